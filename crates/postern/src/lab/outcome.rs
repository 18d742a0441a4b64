//! What became of a lab and of each of its steps.

use std::time::Duration;

use serde::Serialize;

use super::engine::RunError;
use super::expect::Difference;

/// What became of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Every step, in order.
    pub steps: Vec<StepOutcome>,
    /// The clean-up steps that failed.
    pub cleanup_failed: Vec<StepOutcome>,
    /// Why no step was done at all.
    pub not_begun: Option<RunError>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepOutcome {
    /// Which one.
    pub id: String,
    /// How it came out.
    #[serde(flatten)]
    pub result: StepResult,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: serde::Serializer>(elapsed: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(elapsed.as_secs_f64())
}

/// How a step came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum StepResult {
    /// As expected.
    Held,
    /// Otherwise.
    Failed(Problem),
    /// It was left out on request.
    LeftOut,
    /// The lab ended before it.
    NotReached,
    /// A clean-up step for something that was never made.
    NothingToDo,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// What differed in the last attempt.
    pub differences: Vec<Difference>,
    /// How often it was tried.
    pub attempts: u32,
}

impl Outcome {
    /// Whether every step held, and the clean-up too.
    pub fn passed(&self) -> bool {
        self.not_begun.is_none()
            && !self.interrupted
            && self.failed_step().is_none()
            && self.cleanup_failed.is_empty()
    }

    /// The first step that failed.
    pub fn failed_step(&self) -> Option<&StepOutcome> {
        self.steps.iter().find(|step| matches!(step.result, StepResult::Failed(_)))
    }

    /// How many steps held.
    pub fn held(&self) -> usize {
        self.steps.iter().filter(|step| step.result == StepResult::Held).count()
    }
}
