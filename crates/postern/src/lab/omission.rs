//! Checks a lab by leaving its API steps out, one at a time.
//!
//! A lab that also passes without one of its steps proves nothing about that step. So each API step that changes or saves something
//! names the step that needs it (`needed_by`), and this runs the lab once without it and requires the failure there.

use std::fmt;
use std::sync::atomic::Ordering;

use serde::Serialize;

use super::engine::{Options, run};
use super::expect::Difference;
use super::format::Lab;
use super::outcome::StepResult;
use super::report::Silent;
use super::target::Target;

/// What came of leaving steps out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OmissionReport {
    /// The lab with nothing left out, and then each step left out.
    pub omissions: Vec<Omission>,
}

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Omission {
    /// The step that was left out; none for the run with all of them.
    pub left_out: Option<String>,
    /// What came of it.
    pub result: OmissionResult,
}

/// What came of leaving a step out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum OmissionResult {
    /// As it has to be: with all steps it passed, or without one it failed where that was needed.
    Right,
    /// With nothing left out it failed here, so leaving out shows nothing.
    FailsAnyway {
        /// Where it failed.
        at: String,
        /// What differed.
        differences: Vec<Difference>,
    },
    /// It passed without the step.
    PassesWithout {
        /// Where it had to fail.
        needed_by: String,
    },
    /// It failed at another step.
    FailsElsewhere {
        /// Where it had to fail.
        needed_by: String,
        /// Where it failed.
        at: String,
        /// What differed.
        differences: Vec<Difference>,
    },
    /// The step does not say which one needs it.
    Undeclared,
    /// It could not be run.
    NotRun {
        /// Why.
        why: String,
    },
}

impl OmissionReport {
    /// Whether the lab passes with all its steps and each of them is needed where it says.
    pub fn passed(&self) -> bool {
        !self.omissions.is_empty()
            && self.omissions.iter().all(|omission| omission.result == OmissionResult::Right)
    }
}

impl fmt::Display for OmissionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.omissions.iter().try_for_each(|omission| writeln!(f, "{omission}"))
    }
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without = match &self.left_out {
            None => "with all steps".to_owned(),
            Some(step) => format!("without `{step}`"),
        };
        let list = |differences: &[Difference]| {
            let words =
                differences.iter().map(|d| format!("{}: expected {}, seen {}", d.what, d.expected, d.seen));
            words.collect::<Vec<_>>().join("; ")
        };
        match &self.result {
            OmissionResult::Right => write!(f, "ok      {without}"),
            OmissionResult::FailsAnyway { at, differences } => {
                write!(f, "FAILED  {without}: fails at `{at}` ({})", list(differences))
            }
            OmissionResult::PassesWithout { needed_by } => {
                write!(f, "FAILED  {without}: passes, and `{needed_by}` had to fail")
            }
            OmissionResult::FailsElsewhere { needed_by, at, differences } => {
                write!(
                    f,
                    "FAILED  {without}: fails at `{at}` and not at `{needed_by}` ({})",
                    list(differences)
                )
            }
            OmissionResult::Undeclared => write!(f, "FAILED  {without}: the step has no `needed_by`"),
            OmissionResult::NotRun { why } => write!(f, "FAILED  {without}: {why}"),
        }
    }
}

/// A part of the runs, so that several regions can share them: every `of`th, beginning with this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from zero.
    pub index: usize,
    /// How many parts there are.
    pub of: usize,
}

impl Shard {
    /// All runs.
    #[cfg(test)]
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    fn has(self, run: usize) -> bool {
        run % self.of.max(1) == self.index
    }
}

/// Runs a lab with nothing left out and then without each API step that changes or saves something and each other step
/// that has a `needed_by`, as far as they are in the shard; each time in a fresh region from `make_target`, which goes
/// when it is dropped, with these options but for what is left out. `observe` is told of each run's end. Where the
/// whole lab fails the rest is not run.
pub fn verify_omissions_of<T: Target>(
    lab: &Lab,
    shard: Shard,
    options: &Options<'_>,
    make_target: &mut dyn FnMut() -> Result<T, String>,
    observe: &mut dyn FnMut(&Omission),
) -> OmissionReport {
    let mut omissions = Vec::new();
    let mut add = |left_out: Option<&str>, result: OmissionResult| {
        let omission = Omission { left_out: left_out.map(str::to_owned), result };
        observe(&omission);
        omissions.push(omission);
    };
    let mut goes_on = true;
    if shard.has(0) {
        let whole = one_run(lab, make_target, options, None, None);
        goes_on = whole == OmissionResult::Right;
        add(None, whole);
    }
    let steps = lab.steps.iter().filter(|step| step.can_be_needed());
    let mine = (1..).zip(steps).filter(|(run, _)| goes_on && shard.has(*run)).map(|(_, step)| step);
    for step in mine {
        if options.interrupt.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            add(Some(&step.id), OmissionResult::NotRun { why: "interrupted".to_owned() });
            break;
        }
        let result = match &step.needed_by {
            None => OmissionResult::Undeclared,
            Some(needed_by) => one_run(lab, make_target, options, Some(&step.id), Some(needed_by)),
        };
        add(Some(&step.id), result);
    }
    OmissionReport { omissions }
}

fn one_run<T: Target>(
    lab: &Lab,
    make_target: &mut dyn FnMut() -> Result<T, String>,
    options: &Options<'_>,
    leave_out: Option<&str>,
    needed_by: Option<&str>,
) -> OmissionResult {
    let target = match make_target() {
        Ok(target) => target,
        Err(why) => return OmissionResult::NotRun { why },
    };
    let options = Options { leave_out: leave_out.map(str::to_owned), ..options.clone() };
    let outcome = run(lab, &target, &mut Silent, &options);
    if let Some(why) = &outcome.not_begun {
        return OmissionResult::NotRun { why: why.to_string() };
    }
    if outcome.interrupted {
        return OmissionResult::NotRun { why: "interrupted".to_owned() };
    }
    let failed = outcome.failed_step().map(|step| {
        let differences = match &step.result {
            StepResult::Failed(problem) => problem.differences.clone(),
            StepResult::Held | StepResult::LeftOut | StepResult::NotReached | StepResult::NothingToDo => {
                Vec::new()
            }
        };
        (step.id.clone(), differences)
    });
    if let Some((at, differences)) = &failed
        && let Some(failure) = differences.iter().find(|difference| difference.is_failure_of_region())
    {
        // A region that is not there fails every step and shows nothing about any.
        return OmissionResult::NotRun { why: format!("at `{at}`: {}", failure.seen) };
    }
    match (failed, needed_by) {
        (None, None) => OmissionResult::Right,
        (Some((at, differences)), None) => OmissionResult::FailsAnyway { at, differences },
        (None, Some(needed_by)) => OmissionResult::PassesWithout { needed_by: needed_by.to_owned() },
        (Some((at, _)), Some(needed_by)) if at == needed_by => OmissionResult::Right,
        (Some((at, differences)), Some(needed_by)) => {
            OmissionResult::FailsElsewhere { needed_by: needed_by.to_owned(), at, differences }
        }
    }
}
