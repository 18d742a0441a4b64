//! From states to plans, and from plans to packets: after [`Planner::follow`] returns, packets follow the state.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use postern_dataplane::forward::Forwarder;
use postern_dns::Views;
use postern_model::State;
use postern_path::Plan;

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
    pub fn follow(&self, state: &Arc<State>) {
        // Nothing in here panics half way.
        let _guard = self.advancing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        if current.state.revision >= state.revision {
            return;
        }
        let compiled = current.plan.advance(&current.state, state);
        report(&compiled.diagnostics);
        let planned = Planned { state: Arc::clone(state), plan: Arc::new(compiled.plan) };
        if let Some(forwarder) = &self.forwarder {
            publish(forwarder, &planned.plan, compiled.changed);
        }
        self.current.store(Arc::new(planned));
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

fn publish(forwarder: &Forwarder, plan: &Arc<Plan>, changed: Vec<postern_path::Stamp>) {
    if let Err(error) = forwarder.publish(Arc::clone(plan) as _, changed).wait() {
        tracing::error!(%error, "the forwarder does not take the plan: packets follow an older one");
    }
}

impl Planned {
    /// A state, compiled from nothing.
    pub fn new(state: Arc<State>) -> Self {
        let compiled = Plan::compile(&state);
        report(&compiled.diagnostics);
        Self { state, plan: Arc::new(compiled.plan) }
    }
}

impl Views for Planner {
    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.current.load().plan)
    }
}
