//! The forwarder: moves packets between ports as `decide` says, and is the reference for every other executor.
//!
//! ```text
//!   frame ──► parse ──► anti-spoof ──► flow? ──yes──► cut? ──no──► ttl, mtu, rewrite ──► exit port
//!                                       │no            │yes
//!                                       ▼              ▼
//!                            template? or decide ──► new flow, or the same one again, or refused
//! ```
//!
//! **Job.** [`step`] is the whole of it as one function without input or output: tables, a frame, the time, and what
//! is to be done. [`Forwarder`] is the thread around it that reads and writes frames.
//!
//! **Invariants.**
//! - The first packet of a connection that leaves the region waits for the other side, if somebody asks it.
//! - A packet passes only by a flow, and a flow comes only of a decision that still holds.
//! - Packets looked up after a change was reported effective use nothing that was decided before it.
//! - Every table is bounded and accounted to the interface that fills it; where a bound bites, a counter says so.
//! - No bytes that come in make it panic.

mod adopt;
mod attacher;
mod choice;
mod clock;
mod counters;
mod decider;
mod flow;
mod fragment;
mod generation;
mod key;
mod limit;
mod link;
pub(crate) mod live;
mod log;
mod nat;
pub mod packet;
mod peer;
pub(crate) mod phase;
mod port;
mod report;
mod run;
mod step;
mod tables;
mod template;
mod time_share;
mod uplink;
mod verdict;
mod with_program;
mod worker;

pub use adopt::Adopted;
pub(crate) use choice::{Choice, USUAL_VARIANTS};
pub use clock::Clock;
pub use counters::{
    Counters, Drops, GatewayCounters, GatewayReport, PortCounters, PortReport, ResourceDrops, Volume,
};
pub use decider::{Decider, InterfaceInfo};
pub(crate) use flow::{Claim, FlowEntry};
pub use generation::Generations;
pub use key::{Address, FlowKey, PortNumber};
pub use limit::{Limits, Rate};
pub use log::{FlowOutcome, FlowRecord, LiveFlow, Logged};
pub use nat::OWN_PORTS;
pub(crate) use nat::{FIRST_PORT as NAT_FIRST_PORT, PORTS as NAT_PORTS};
pub(crate) use peer::Variant;
pub use peer::{PeerDirectory, QUARANTINE};
pub use phase::Direction;
pub use port::Owner;
pub use run::{Forwarder, ForwarderError, Options, Pending, Stopped};
pub use step::{Effects, Fate, Frame, step};
pub use tables::Tables;
pub(crate) use template::{MOST_MASKS, Mask};
pub use uplink::{NotOpened, UplinkDirectory, UplinkFlow, UplinkKey, Wanted};
pub(crate) use verdict::Verdict;

#[cfg(test)]
mod tests;
