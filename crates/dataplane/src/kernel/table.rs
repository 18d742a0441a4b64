//! The forwarder's hand in the maps: which flows the program knows, and where.
//!
//! INVARIANT: a place that was a flow's is not another's for [`REST`]: a program that found it just before it was
//! taken away has long ended by then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use postern_path::Stamp;

use super::index::{Entry, Index};
use super::layout::{ANY_SOURCE, DROPS, GATEWAYS, GENERATIONS, NOWHERE, PORTS, STAMPS, mac_halves};
use super::maps::{Fixed, Maps, SharedFlow};
use crate::forward::live::Live;
use crate::forward::packet::protocol;
use crate::forward::{FlowEntry, InterfaceInfo, PortCounters, PortNumber, Volume};
use postern_model::Mac;

/// In nanoseconds.
const REST: u64 = 1_000_000_000;

/// The flows that the program knows.
#[derive(Debug)]
pub(crate) struct KernelTables {
    maps: Arc<Maps>,
    /// Places that were a flow's, with when they were given up.
    rested: VecDeque<(u32, u64)>,
    /// The first place that was never used.
    fresh: u32,
    /// How many flows there are, and how many of them each port began, by its place.
    flows: u32,
    of_port: Vec<u32>,
}

impl KernelTables {
    /// None yet.
    pub fn new(maps: Arc<Maps>) -> Self {
        Self { maps, rested: VecDeque::new(), fresh: 0, flows: 0, of_port: vec![0; PORTS as usize] }
    }

    /// What is shared with the program.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Lets the program carry a flow, where it can: its ports are the program's, what it rests on fits, there is room.
    pub fn share(&mut self, flow: &mut FlowEntry, now: u64) {
        if !self.can_carry(flow) || !self.leaves_room(flow.forward.port) {
            return;
        }
        let Some(action) = flow.verdict.action() else { return };
        let Some(place) = self.take_place(now) else { return };
        let fixed = Fixed {
            forward: flow.forward,
            reverse: flow.reverse,
            mtu: action.mtu,
            hops: action.hops.count(),
            gateway: flow.gateway.and_then(|at| u32::try_from(at).ok()),
            idle: flow.idle,
            stamps: &flow.verdict.cut,
        };
        self.count(flow.forward.port, 1);
        let shared = SharedFlow { maps: Arc::clone(&self.maps), place };
        flow.live.copy_to(&shared);
        self.maps.write_flow(place, &fixed);
        // The reverse first: an answer cannot come before the flow is whole.
        let keys = [(&flow.reverse, true), (&flow.forward, false)];
        let there =
            keys.map(|(key, reverse)| self.maps.index.insert(self.hash(key), Entry { place, reverse }));
        flow.live = Live::shared(shared);
        if there.contains(&false) {
            self.take_back(flow, now);
        }
    }

    /// Takes a flow away from the program. What the program noted of it goes on with the flow.
    pub fn take_back(&mut self, flow: &mut FlowEntry, now: u64) {
        let Some(place) = flow.live.place() else { return };
        for (key, reverse) in [(&flow.forward, false), (&flow.reverse, true)] {
            self.maps.index.remove(self.hash(key), Entry { place, reverse });
        }
        self.maps.end_life(place);
        self.count(flow.forward.port, -1);
        flow.live = flow.live.own_copy();
        self.rested.push_back((place, now));
    }

    /// A flow rests on something else than before.
    pub fn restamp(&mut self, flow: &mut FlowEntry, now: u64) {
        let Some(place) = flow.live.place() else { return };
        if fits(&flow.verdict.cut) {
            self.maps.write_stamps(place, &flow.verdict.cut);
        } else {
            self.take_back(flow, now);
        }
    }

    /// The maps, to be held for longer.
    pub(super) const fn shared_maps(&self) -> &Arc<Maps> {
        &self.maps
    }

    /// Goes on with a flow that the program knew before this process.
    pub fn go_on(&mut self, flow: &mut FlowEntry, now: u64) {
        let Some(place) = flow.live.place() else { return };
        self.count(flow.forward.port, 1);
        if fits(&flow.verdict.cut) {
            self.maps.write_stamps(place, &flow.verdict.cut);
        } else {
            self.take_back(flow, now);
        }
    }

    /// All flows that the program is to know of those before this process are known now; places of others are free.
    pub fn free_others(&mut self, known: &std::collections::HashSet<u32>, now: u64) {
        self.maps.index.retain(|entry| known.contains(&entry.place));
        let used = (0..self.maps.room()).rev().find(|place| !self.maps.is_fresh(*place));
        self.fresh = used.map_or(0, |last| last + 1);
        for place in (0..self.fresh).filter(|place| !known.contains(place)) {
            self.maps.end_life(place);
            self.rested.push_back((place, now));
        }
    }

    fn hash(&self, key: &crate::forward::FlowKey) -> u32 {
        Index::hash(self.maps.settings(), key)
    }

    fn can_carry(&self, flow: &FlowEntry) -> bool {
        let carried = matches!(flow.forward.protocol, protocol::TCP | protocol::UDP | protocol::ICMP);
        let counted = flow.gateway.is_none_or(|at| at < GATEWAYS as usize);
        let ports = [flow.forward.port, flow.reverse.port];
        carried && counted && fits(&flow.verdict.cut) && ports.iter().all(|port| self.has(*port))
    }

    /// Whether a port is the program's.
    fn has(&self, port: PortNumber) -> bool {
        self.maps.port(port.place()).is_some_and(|slot| slot.interface.load(Ordering::Relaxed) != 0)
    }

    /// Whether a port leaves others as much room as it has itself, so that none of them takes all of it.
    fn leaves_room(&self, port: PortNumber) -> bool {
        let own = self.of_port.get(port.place()).copied().unwrap_or(0);
        (own as usize) < self.maps.flows.len().saturating_sub(self.flows as usize)
    }

    fn count(&mut self, port: PortNumber, more: i32) {
        let own = self.of_port.get_mut(port.place());
        [Some(&mut self.flows), own].into_iter().flatten().for_each(|count| {
            *count = count.saturating_add_signed(more);
        });
    }

    fn take_place(&mut self, now: u64) -> Option<u32> {
        match self.rested.front() {
            Some((place, since)) if now.saturating_sub(*since) >= REST => {
                let place = *place;
                self.rested.pop_front();
                Some(place)
            }
            Some(_) | None if (self.fresh as usize) < self.maps.flows.len() => {
                self.fresh += 1;
                Some(self.fresh - 1)
            }
            Some(_) | None => None,
        }
    }
}

/// Whether the program can compare all of these.
fn fits(stamps: &[Stamp]) -> bool {
    stamps.len() <= STAMPS && stamps.iter().all(|stamp| stamp.slot < GENERATIONS)
}

impl Maps {
    /// A port begins at a place where nothing was counted yet.
    pub(crate) fn begin_port(&self, number: PortNumber) {
        for tally in self.port_tallies(number.place()) {
            let counts = [
                &tally.carried_packets,
                &tally.carried_bytes,
                &tally.delivered_packets,
                &tally.delivered_bytes,
                &tally.dropped_bytes,
            ];
            counts.into_iter().chain(&tally.drops).for_each(|count| count.store(0, Ordering::Relaxed));
        }
    }

    /// The program stands on the host end with this index, which is the port's from now on.
    pub(crate) fn attach_port(&self, number: PortNumber, interface: u32) {
        let Some(slot) = self.port(number.place()) else { return };
        slot.revision.store(0, Ordering::Release);
        slot.known.store(0, Ordering::Relaxed);
        slot.checks.store(0, Ordering::Relaxed);
        slot.number.store(number.0, Ordering::Release);
        slot.interface.store(interface, Ordering::Release);
        if let Some(place) = self.place_of(interface) {
            place.store(number.place() as u64 + 1, Ordering::Release);
        }
    }

    /// The port is gone.
    pub(crate) fn detach_port(&self, number: PortNumber) {
        let Some(slot) = self.port(number.place()) else { return };
        if slot.number.load(Ordering::Relaxed) != number.0 {
            return;
        }
        slot.revision.store(0, Ordering::Release);
        slot.number.store(NOWHERE, Ordering::Release);
        let interface = slot.interface.swap(0, Ordering::AcqRel);
        if let Some(place) = self.place_of(interface)
            && place.load(Ordering::Relaxed) == number.place() as u64 + 1
        {
            place.store(0, Ordering::Release);
        }
    }

    pub(super) fn place_of(&self, interface: u32) -> Option<&std::sync::atomic::AtomicU64> {
        self.places.get(interface as usize % self.places.len())
    }

    /// Writes what a plan says of a port. `info` is none where the plan does not know it.
    pub(crate) fn describe_port(
        &self,
        number: PortNumber,
        mac: Mac,
        info: Option<&Checks<'_>>,
        revision: u64,
    ) {
        let Some(slot) = self.port(number.place()) else { return };
        if slot.number.load(Ordering::Relaxed) != number.0 {
            return;
        }
        // While it is written it is of no plan, and its packets go to the forwarder.
        slot.revision.store(0, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let (head, tail) = mac_halves(mac);
        slot.mac_head.store(head, Ordering::Relaxed);
        slot.mac_tail.store(tail, Ordering::Relaxed);
        slot.known.store(u32::from(info.is_some()), Ordering::Relaxed);
        let addresses = info.map_or(&[][..], |checks| checks.addresses);
        for (to, from) in slot.addresses.iter().zip(addresses) {
            to.store(u32::from_ne_bytes(from.octets()), Ordering::Relaxed);
        }
        // As many as there is room for. Packets from further ones are left to the forwarder.
        let count = addresses.len().min(slot.addresses.len()) as u32;
        let any = info.is_some_and(|checks| checks.any_source);
        let any = if any { u32::from(ANY_SOURCE) << 16 } else { 0 };
        slot.checks.store(count | any, Ordering::Relaxed);
        slot.revision.store(revision, Ordering::SeqCst);
    }

    /// Adds what the program counted at a port.
    pub(crate) fn add_port_counts(&self, number: PortNumber, counters: &mut PortCounters) {
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        for tally in self.port_tallies(number.place()) {
            let carried = Volume { packets: read(&tally.carried_packets), bytes: read(&tally.carried_bytes) };
            counters.received.add_all(carried);
            counters.passed.add_all(carried);
            counters.in_kernel.add_all(carried);
            counters.delivered.add_all(Volume {
                packets: read(&tally.delivered_packets),
                bytes: read(&tally.delivered_bytes),
            });
            let mut dropped = Volume { packets: 0, bytes: read(&tally.dropped_bytes) };
            for (reason, count) in DROPS.iter().zip(&tally.drops) {
                let count = read(count);
                dropped.packets += count;
                counters.drops.count_many(*reason, count);
            }
            counters.received.add_all(dropped);
        }
    }

    /// What the program counted at a gateway: outward, inward.
    pub(crate) fn gateway_counts(&self, place: usize) -> [Volume; 2] {
        let mut all = [Volume::default(); 2];
        for tally in self.gateway_tallies(place) {
            for ((all, packets), bytes) in all.iter_mut().zip(&tally.packets).zip(&tally.bytes) {
                let (packets, bytes) = (packets.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed));
                all.add_all(Volume { packets, bytes });
            }
        }
        all
    }
}

/// From which addresses a port may send.
#[derive(Debug)]
pub(crate) struct Checks<'a> {
    pub addresses: &'a [std::net::Ipv4Addr],
    pub any_source: bool,
}

impl<'a> From<&'a InterfaceInfo> for Checks<'a> {
    fn from(info: &'a InterfaceInfo) -> Self {
        Self { addresses: &info.addresses, any_source: !info.source_dest_check }
    }
}
