//! The network as a value: resources, the commands that change them, and the rules AWS holds them to.
//!
//! **Job.** `apply(&State, &Command)` gives the next state and what changed, or the reason why not.
//!
//! **Invariants.**
//! - Pure: no input or output, no clock, no randomness. Time and the seed of every new id come in with the command,
//!   so a log of commands replays to the same state.
//! - A command applies whole or not at all.
//! - Every state that `apply` returns satisfies [`invariants::check`].
//!
//! **Must never know.** AWS's wire formats and error codes (the API edge translates [`ModelError`]), how packets
//! move, what a policy document means (documents are opaque texts here).

pub mod account;
pub mod command;
pub mod connection_notification;
pub mod default_vpc;
pub mod elb;
pub mod endpoint;
pub mod endpoint_service;
pub mod error;
pub mod event;
pub mod gateway;
pub mod group;
pub mod iam;
pub mod id;
pub mod instance;
pub mod interface;
pub mod invariants;
pub mod network_acl;
pub mod organization;
pub mod peering;
pub mod policy_version;
pub mod prefix_list;
pub mod quota;
pub mod resolver_endpoint;
pub mod route;
pub mod security_group;
pub mod sns;
pub mod state;
pub mod subnet;
pub mod tag;
pub mod transit;
pub mod vpc;
pub mod vpn;

mod txn;

pub use command::{Action, Command, apply, replay};
pub use error::ModelError;
pub use event::Event;
pub use id::*;
pub use ipnet::{IpNet, Ipv4Net};
pub use quota::Quota;
pub use state::{Region, State, Zone};
pub use tag::{TagSet, Tags};
