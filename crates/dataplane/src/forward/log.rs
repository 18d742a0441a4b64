//! The flow log: a record for each flow that was let pass or refused.

use std::net::IpAddr;
use std::time::SystemTime;

use postern_model::{NetworkInterfaceId, ResourceId};
use postern_path::{Deliver, DropReason, Flow, Hops, Peer};

use super::uplink::NotOpened;

/// What became of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowRecord {
    /// When.
    pub time: SystemTime,
    /// The flow, with the interface it entered by.
    pub flow: Flow,
    /// How it went.
    pub outcome: FlowOutcome,
}

/// How a flow went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlowOutcome {
    /// It passes.
    Accepted {
        /// Where its packets go.
        deliver: Deliver,
        /// The source that the receiver sees, and its port.
        source: (IpAddr, u16),
        /// The destination that the receiver sees, and its port.
        destination: (IpAddr, u16),
        /// The routers on the way.
        hops: Hops,
        /// Whom the source stands for, at a door.
        peer: Option<Peer>,
        /// The NAT gateway or endpoint that it went through.
        through: Option<ResourceId>,
    },
    /// It does not.
    Refused {
        /// Why.
        reason: DropReason,
        /// What caused it.
        resource: Option<ResourceId>,
    },
    /// It was let pass, and no connection came about outside the region.
    NotOpened(NotOpened),
}

impl FlowOutcome {
    /// Whether it passes.
    pub const fn is_accepted(&self) -> bool {
        match self {
            Self::Accepted { .. } => true,
            Self::Refused { .. } | Self::NotOpened(_) => false,
        }
    }
}

/// What became of a flow, before the time of day is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logged {
    /// The flow.
    pub flow: Flow,
    /// How it went.
    pub outcome: FlowOutcome,
}

/// An interface's live flow, as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveFlow {
    /// The flow, with the interface it entered by.
    pub flow: Flow,
    /// Where its packets go.
    pub deliver: Deliver,
    /// The interface that they go to, or none for a door.
    pub exit: Option<NetworkInterfaceId>,
    /// The source that the receiver sees, and its port.
    pub source: (IpAddr, u16),
    /// The destination that the receiver sees, and its port.
    pub destination: (IpAddr, u16),
    /// How far it has come.
    pub phase: &'static str,
    /// Packets and bytes as the first packet went, and back.
    pub volumes: [super::counters::Volume; 2],
    /// How long ago it began, in nanoseconds.
    pub age: u64,
    /// How long it has been silent, in nanoseconds.
    pub idle: u64,
    /// For how long it may be, in nanoseconds.
    pub patience: u64,
    /// Whom the source stands for, at a door.
    pub peer: Option<Peer>,
    /// The NAT gateway or endpoint that it goes through.
    pub through: Option<ResourceId>,
}
