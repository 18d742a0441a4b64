//! What is counted: of each interface, and of each gateway and endpoint.

use std::collections::{BTreeMap, HashMap};

use postern_model::{NetworkInterfaceId, ResourceId};
use postern_path::DropReason;

/// Packets and their bytes of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Packets; a large one that the kernel is still to cut counts once.
    pub packets: u64,
    /// Bytes of IP.
    pub bytes: u64,
}

impl Volume {
    /// One packet more.
    #[inline]
    pub const fn add(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// All of these more.
    pub const fn add_all(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }

    /// One packet less: it comes again.
    pub const fn take_back(&mut self, bytes: usize) {
        self.packets = self.packets.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }
}

const REASONS: usize = 64;
const _: () = {
    let mut at = 0;
    while at < DropReason::ALL.len() {
        assert!((DropReason::ALL[at].code() as usize) < REASONS, "each reason has a counter");
        at += 1;
    }
};

/// How many packets were dropped, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drops([u64; REASONS]);

impl Default for Drops {
    fn default() -> Self {
        Self([0; REASONS])
    }
}

impl Drops {
    /// One more.
    pub fn count(&mut self, reason: DropReason) {
        if let Some(counter) = self.0.get_mut(usize::from(reason.code())) {
            *counter += 1;
        }
    }

    /// So many more.
    pub(crate) fn count_many(&mut self, reason: DropReason, how_many: u64) {
        if let Some(counter) = self.0.get_mut(usize::from(reason.code())) {
            *counter += how_many;
        }
    }

    /// How many for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0.get(usize::from(reason.code())).copied().unwrap_or(0)
    }

    /// How many for any.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons for which there were any.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.get(*reason))).filter(|(_, count)| *count > 0)
    }
}

/// The counters of one port.
///
/// INVARIANT: `received.packets = passed.packets + answered + drops.total()`, but for `SendFailed`, which is found
/// out after a packet has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortCounters {
    /// What came in.
    pub received: Volume,
    /// What of that went on.
    pub passed: Volume,
    /// What of that the kernel program carried, without the forwarder.
    pub in_kernel: Volume,
    /// What was answered here: ARP and DHCP.
    pub answered: u64,
    /// What was delivered here.
    pub delivered: Volume,
    /// What was sent here by the forwarder itself: ICMP errors, resets, ARP and DHCP answers.
    pub replies: u64,
    /// Replies that were left out because there were too many.
    pub replies_suppressed: u64,
    /// Flows begun from here that are known now.
    pub flows: u64,
    /// Flows begun from here, ever.
    pub new_flows: u64,
    /// Those of them that the kernel program made.
    pub new_in_kernel: u64,
    /// Decisions asked for.
    pub upcalls: u64,
    /// Flows decided by a template.
    pub template_hits: u64,
    /// Refusals that were left out of the log because there were too many.
    pub unlogged: u64,
    /// Packets that the kernel could not keep for the forwarder.
    pub overruns: u64,
    /// What was dropped.
    pub drops: Drops,
}

/// The counters of a port, and whose it is; none for the doors'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortReport {
    /// Whose.
    pub interface: Option<NetworkInterfaceId>,
    /// What was counted.
    pub counters: PortCounters,
    /// Templates that are kept.
    pub templates: usize,
    /// Whether the kernel program stands there.
    pub by_program: bool,
}

/// How many packets were dropped because of one resource: the rule's, route's or gateway's that the refusal came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceDrops {
    /// Which.
    pub resource: ResourceId,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub packets: u64,
}

/// Pairs of resource and reason that are counted at most.
const MOST_RESOURCES: usize = 65_536;

/// The counts of all resources that any packet was dropped because of.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    counts: HashMap<(ResourceId, DropReason), u64>,
    /// Drops that there was no room to tell apart.
    further: u64,
}

impl Resources {
    /// One more.
    pub fn count(&mut self, resource: ResourceId, reason: DropReason) {
        self.add(ResourceDrops { resource, reason, packets: 1 });
    }

    /// So many more.
    pub fn add(&mut self, drops: ResourceDrops) {
        let room = self.counts.len() < MOST_RESOURCES;
        match self.counts.get_mut(&(drops.resource, drops.reason)) {
            Some(count) => *count += drops.packets,
            None if room => drop(self.counts.insert((drops.resource, drops.reason), drops.packets)),
            None => self.further += drops.packets,
        }
    }

    /// All of them and these beside, in the order of their ids.
    pub fn report(&self, beside: impl Iterator<Item = ResourceDrops>) -> Vec<ResourceDrops> {
        let mut sum: BTreeMap<_, u64> = self.counts.iter().map(|(key, packets)| (*key, *packets)).collect();
        for drops in beside {
            *sum.entry((drops.resource, drops.reason)).or_default() += drops.packets;
        }
        let report = sum.into_iter();
        report.map(|((resource, reason), packets)| ResourceDrops { resource, reason, packets }).collect()
    }

    /// Drops that are in no report.
    pub const fn further(&self) -> u64 {
        self.further
    }
}

/// What went through a NAT gateway or an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GatewayCounters {
    /// From the private side.
    pub outward: Volume,
    /// Back to it.
    pub inward: Volume,
    /// Flows that are known now (`ActiveConnectionCount`).
    pub active: u64,
    /// Flows ever (`ConnectionEstablishedCount` and those that were not answered).
    pub attempts: u64,
    /// Flows for which there was no port (`ErrorPortAllocation`).
    pub port_allocation_errors: u64,
}

/// A gateway or an endpoint, with its counters.
pub type GatewayReport = (ResourceId, GatewayCounters);

/// Gateways and endpoints that are counted at most.
const MOST_GATEWAYS: usize = 65_536;

/// The counters of all gateways and endpoints that anything ever went through.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    counters: Vec<GatewayReport>,
    places: HashMap<ResourceId, usize>,
}

impl Gateways {
    /// How many have a place.
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    /// Who is counted at a place.
    pub fn at(&self, place: usize) -> Option<ResourceId> {
        self.counters.get(place).map(|(id, _)| *id)
    }

    /// Where a gateway is counted; nowhere if there are too many.
    pub fn place(&mut self, id: ResourceId) -> Option<usize> {
        if let Some(at) = self.places.get(&id) {
            return Some(*at);
        }
        if self.counters.len() >= MOST_GATEWAYS {
            return None;
        }
        self.counters.push((id, GatewayCounters::default()));
        self.places.insert(id, self.counters.len() - 1);
        Some(self.counters.len() - 1)
    }

    /// The counters at a place.
    #[inline]
    pub fn get_mut(&mut self, at: Option<usize>) -> Option<&mut GatewayCounters> {
        self.counters.get_mut(at?).map(|(_, counters)| counters)
    }

    /// All of them, in the order of their places.
    pub fn report(&self) -> Vec<GatewayReport> {
        self.counters.clone()
    }
}

/// All counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Of each port.
    pub ports: Vec<PortReport>,
    /// Of each gateway and endpoint.
    pub gateways: Vec<GatewayReport>,
    /// What was dropped because of each resource; drops that none is behind are in the ports' counters alone.
    pub resources: Vec<ResourceDrops>,
    /// Drops because of resources that were too many to be told apart.
    pub further_resources: u64,
    /// Frames that came in by no port.
    pub unknown_port: u64,
    /// Flows known.
    pub flows: usize,
    /// Addresses that stand for peers.
    pub peers: usize,
    /// How often a port was not read for a while, since it had taken more of the forwarder's time than its share.
    pub waits: u64,
    /// Log records that there was no room for before anybody could read them.
    pub log_lost: u64,
}

impl Counters {
    /// Those of an interface, if it has a port.
    pub fn interface(&self, id: NetworkInterfaceId) -> Option<&PortReport> {
        self.ports.iter().find(|port| port.interface == Some(id))
    }

    /// Those of a gateway or endpoint, if anything went through it.
    pub fn gateway(&self, id: ResourceId) -> Option<&GatewayCounters> {
        self.gateways.iter().find(|(gateway, _)| *gateway == id).map(|(_, counters)| counters)
    }
}
