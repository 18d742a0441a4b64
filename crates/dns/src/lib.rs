//! The resolver of every VPC: DNS on the wire in front of what the plan says about a name.
//!
//! **Job.** Read a query, find out whose VPC it is from, answer what [`postern_path::Plan::resolve`] says.
//!
//! **Invariants.**
//! - Which VPC's view is answered follows from the flow that carried the query, never from the query.
//! - What the region knows is answered at once, and so is what nobody knows where there is no uplink: NXDOMAIN, not a
//!   wait. With an uplink other names are asked of the host's resolvers, and answered in a bounded time; names of the
//!   region's never are.
//! - No bytes from the network make it panic; queries under way are bounded.
//!
//! **Must never know.** How names are decided, or how packets come here.

mod answer;
mod further;
mod metrics;
mod serve;
mod upstream;

pub use answer::{Answer, Asker, answer};
pub use further::Further;
pub use metrics::{Metrics, QueryResult};
pub use serve::{Resolver, Views};
pub use upstream::Upstream;
