//! From states to plans, and from plans to packets: after [`Planner::follow`] returns, packets follow the state.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use postern_dataplane::forward::{Forwarder, Stopped};
use postern_dns::Views;
use postern_model::State;
use postern_path::{Health, Plan, Uplink};

/// A state and its plan.
#[derive(Debug)]
pub struct Planned {
    /// The state.
    pub state: Arc<State>,
    /// Compiled.
    pub plan: Arc<Plan>,
}

/// Keeps the plan in step with the state.
pub struct Planner {
    current: ArcSwap<Planned>,
    /// Held while a plan is made and published, so that plans follow each other in the order of their states.
    advancing: Mutex<()>,
    forwarder: Option<Arc<Forwarder>>,
}

impl Planner {
    /// One that begins with this plan, which the forwarder, if there is one, began with.
    pub fn new(first: Planned, forwarder: Option<Arc<Forwarder>>) -> Self {
        Self { current: ArcSwap::from_pointee(first), advancing: Mutex::new(()), forwarder }
    }

    /// Makes packets follow `state`, unless they follow a later one already.
    ///
    /// # Errors
    /// Where the forwarder has stopped: packets, and what is explained, stay as they were.
    pub fn follow(&self, state: &Arc<State>) -> Result<(), Stopped> {
        // Nothing in here panics half way.
        let _guard = self.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        if current.state.revision >= state.revision {
            return Ok(());
        }
        let compiled = current.plan.advance(&current.state, state);
        report(&compiled.diagnostics);
        let planned = Planned { state: Arc::clone(state), plan: Arc::new(compiled.plan) };
        if let Some(forwarder) = &self.forwarder {
            forwarder.publish(Arc::clone(&planned.plan) as _, compiled.changed).wait()?;
            forwarder.note_state(state.revision);
        }
        self.current.store(Arc::new(planned));
        Ok(())
    }

    /// Makes packets follow what checks found of targets.
    ///
    /// # Errors
    /// Where the forwarder has stopped: packets, and what is explained, stay as they were.
    pub fn follow_health(&self, health: &Health) -> Result<(), Stopped> {
        // Nothing in here panics half way.
        let _guard = self.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let compiled = current.plan.with_health(&current.state, health);
        let planned = Planned { state: Arc::clone(&current.state), plan: Arc::new(compiled.plan) };
        if let Some(forwarder) = &self.forwarder
            && !compiled.changed.is_empty()
        {
            forwarder.publish(Arc::clone(&planned.plan) as _, compiled.changed).wait()?;
        }
        self.current.store(Arc::new(planned));
        Ok(())
    }

    /// What packets follow now.
    pub fn current(&self) -> Arc<Planned> {
        self.current.load_full()
    }
}

fn report(diagnostics: &[postern_path::Diagnostic]) {
    for diagnostic in diagnostics {
        tracing::error!(resource = %diagnostic.resource, problem = diagnostic.problem, "packets cannot follow this");
    }
}

impl Planned {
    /// A state, compiled from nothing, in a region that packets leave by this uplink.
    /// Its generations begin above `generation`.
    pub fn new(state: Arc<State>, uplink: Option<Uplink>, generation: u64) -> Self {
        let compiled = Plan::compile_above(&state, uplink, generation);
        report(&compiled.diagnostics);
        Self { state, plan: Arc::new(compiled.plan) }
    }
}

impl Views for Planner {
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.current.load().plan)
    }
}
