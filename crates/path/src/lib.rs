//! Where a flow goes, and why: the one function that decides is the one that explains.
//!
//! **Job.** [`Plan::compile`] turns a state into tables that are quick to ask; [`Plan::decide`] follows a flow
//! through them, stage by stage; [`explain`] says in words what it did.
//!
//! **Invariants.**
//! - Pure: no input or output, no clock, no randomness. The same plan and flow give the same decision.
//! - Inside a decision's [`Cover`] every flow is decided the same, as long as no resource in `consulted` changes.
//! - What is not allowed is refused: a missing resource is a refusal with a reason, never a skipped rule.
//!
//! **Must never know.** How packets are parsed or moved, AWS's wire formats, policies.

pub mod balance;
mod balancer_name;
pub mod cover;
pub mod decide;
pub mod decision;
mod endpoint_name;
pub mod explain;
pub mod flow;
pub mod name;
pub mod plan;
pub mod stage;
pub mod uplink;

pub use balance::{Choice, Table};
pub use balancer_name::Viewer;
pub use cover::{Cover, End};
pub use decision::*;
pub use flow::{Flow, Transport};
pub use name::{NameSource, Question, Resolution};
pub use plan::{Compiled, Diagnostic, Health, InterfacePlan, Plan, RemoteEnd, RemotePlan};
pub use stage::{DropReason, Stage};
pub use uplink::{LinkName, Uplink};
