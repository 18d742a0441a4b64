//! Labs: scenarios that drive a region from outside and inside and say where it differs from what was expected.
//!
//! A lab is a TOML file (`docs/labs.md`) that is read into a [`Lab`], run by [`run`] against a [`Target`], and told to
//! a [`Reporter`]. [`verify_omissions_of`] checks a lab itself: with any one of its API steps left out it must fail, and
//! exactly at the step that was said to need it.
//!
//! INVARIANT: a lab touches a region only through [`Target`], so a lab that holds says something about the region and
//! not about the engine.
//! INVARIANT: whatever a lab file says is either honoured or refused when the file is read.

mod aws_command;
#[cfg(test)]
mod cleanup_tests;
mod clock;
mod engine;
#[cfg(test)]
mod engine_tests;
mod expect;
#[cfg(test)]
mod fake;
mod format;
#[cfg(test)]
mod format_tests;
mod keys;
mod leftovers;
mod made_up;
mod omission;
mod outcome;
mod path;
mod report;
mod say;
mod seen;
#[cfg(test)]
mod shipped_tests;
mod step;
mod target;
mod template;

pub use engine::{Options, check, run};
pub use format::Lab;
pub use leftovers::{LeftOver, Leftovers};
pub use omission::{Omission, Shard, verify_omissions_of};
pub use outcome::Outcome;
pub use report::{JsonReporter, Reporter, TextReporter};
pub use target::{CallError, Ran, ServiceChange, Started, Target};
