//! Labs: scenarios that drive a region from outside and inside and say where it differs from what was expected.
//!
//! A lab is a TOML file (`docs/labs.md`) that is read into a [`Lab`], run by [`run`] against a [`Target`], and told to
//! a [`Reporter`]. [`verify_omissions`] checks a lab itself: with any one of its API steps left out it must fail, and
//! exactly at the step that was said to need it.
//!
//! INVARIANT: a lab touches a region only through [`Target`], so a lab that holds says something about the region and
//! not about the engine.
//! INVARIANT: whatever a lab file says is either honoured or refused when the file is read.

mod aws_command;
mod clock;
mod engine;
mod expect;
#[cfg(test)]
mod fake;
mod format;
mod made_up;
mod omission;
mod path;
mod report;
mod say;
mod seen;
#[cfg(test)]
mod shipped_tests;
mod step;
mod target;
mod template;

pub use engine::{Options, Outcome, Problem, RunError, StepOutcome, StepResult, run};
pub use expect::Difference;
pub use format::{Lab, LabError};
pub use omission::{Omission, OmissionReport, OmissionResult, verify_omissions, verify_omissions_telling};
pub use report::{Event, JsonReporter, Reporter, Silent, TextReporter};
pub use target::{CallError, Ran, Target};
