//! The resolver of every VPC: DNS on the wire in front of what the plan says about a name.
//!
//! **Job.** Read a query, find out whose VPC it is from, answer what [`postern_path::Plan::resolve`] says.
//!
//! **Invariants.**
//! - Which VPC's view is answered follows from the flow that carried the query, never from the query.
//! - An answer always comes at once: a name that nobody knows is NXDOMAIN, not a wait.
//! - No bytes from the network make it panic; queries under way are bounded.
//!
//! **Must never know.** How names are decided, or how packets come here.

mod answer;
mod serve;

pub use answer::{Asker, answer};
pub use serve::{Resolver, Views};
