//! Flows that leave the region: what each was for, before its destination became the uplink's door.
//!
//! INVARIANT: a flow is in the directory before the first of its packets goes to the door, and leaves it with the flow:
//! whoever carries it on hears of its end, whatever ended it. So there are never more than there are flows, which are
//! bounded and accounted to the interface that begins them.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{PoisonError, RwLock};

use postern_path::Peer;
use tokio::sync::watch;

use super::flow::FlowId;

/// What a flow looks like at the uplink's door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UplinkKey {
    /// The address that stands for the sender.
    pub stand_in: Ipv4Addr,
    /// The sender's port, or the identifier of its echoes.
    pub port: u16,
    /// The IP protocol.
    pub protocol: u8,
}

/// Why no connection came about outside, for which a first packet waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// The other side refused, or the connection is not to be.
    Refused,
    /// There is no way to it.
    Unreachable,
    /// It said nothing.
    Silent,
}

impl NotOpened {
    /// As the flow log names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "outside-refused",
            Self::Unreachable => "outside-unreachable",
            Self::Silent => "outside-silent",
        }
    }
}

/// A connection that is to be made outside, of which the first packet waits.
#[derive(Debug)]
pub struct Wanted {
    /// What it looks like at the door.
    pub key: UplinkKey,
    /// Who began it, and where to.
    pub flow: UplinkFlow,
    /// Which flow waits. Another may look the same by the time that something has come of this one.
    pub(super) id: FlowId,
}

/// A flow that leaves the region.
#[derive(Debug, Clone)]
pub struct UplinkFlow {
    /// Who began it.
    pub peer: Peer,
    /// Where to.
    pub destination: Ipv4Addr,
    /// Which port there; zero for echoes.
    pub port: u16,
    ended: watch::Receiver<()>,
}

impl UplinkFlow {
    /// Waits until the flow is over in the forwarder.
    pub async fn ended(&mut self) {
        // Nothing is ever sent: the only news is that the sender is gone.
        while self.ended.changed().await.is_ok() {}
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.ended.has_changed().is_err()
    }
}

#[derive(Debug)]
struct Entry {
    flow: UplinkFlow,
    /// Goes with the entry.
    _alive: watch::Sender<()>,
}

/// All flows that leave the region, to be asked from any thread.
#[derive(Debug, Default)]
pub struct UplinkDirectory {
    flows: RwLock<HashMap<UplinkKey, Entry>>,
}

impl UplinkDirectory {
    /// The flow that looks like this at the door.
    pub fn flow(&self, key: &UplinkKey) -> Option<UplinkFlow> {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        let flows = self.flows.read().unwrap_or_else(PoisonError::into_inner);
        flows.get(key).map(|entry| entry.flow.clone())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.flows.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn begin(&self, key: UplinkKey, peer: Peer, destination: (Ipv4Addr, u16)) {
        let (alive, ended) = watch::channel(());
        let (destination, port) = destination;
        let entry = Entry { flow: UplinkFlow { peer, destination, port, ended }, _alive: alive };
        self.flows.write().unwrap_or_else(PoisonError::into_inner).insert(key, entry);
    }

    pub(super) fn end(&self, key: &UplinkKey) {
        self.flows.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
