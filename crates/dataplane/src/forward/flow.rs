//! The flow table: both directions of each conversation, found by what their packets look like where they come in.
//!
//! INVARIANT: a flow is in the index under both of its keys or under none, and no two flows share a key.
//!
//! What a flow holds beside its place here (a NAT gateway's port, a peer's address, counts) is released with it by
//! [`super::tables::Tables`]. How one direction's packets are rewritten is not stored: it is the other direction's
//! key, read backwards.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::NetworkInterfaceId;
use postern_path::IdleTimeouts;

use super::key::{FlowKey, KeyHash, PortNumber};
use super::live::Live;
use super::nat::SpaceKey;
use super::packet::Tuple;
use super::phase::{Direction, Phase};
use super::uplink::UplinkKey;
use super::verdict::Verdict;
use crate::host::VirtioNetHdr;

/// A flow's place in the table, and which of the flows that had it one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowId {
    place: u32,
    life: u32,
}

/// A flow.
#[derive(Debug)]
pub struct FlowEntry {
    /// Packets as the first one.
    pub forward: FlowKey,
    /// Packets back.
    pub reverse: FlowKey,
    /// The interface that the first packet came from.
    pub interface: NetworkInterfaceId,
    /// Why it passes, and how.
    pub verdict: Arc<Verdict>,
    /// How long it may be silent.
    pub idle: IdleTimeouts,
    /// How far it has come, when it began, when its last packet passed, and what passed.
    pub live: Live,
    /// When it had begun, if it is known to be done since, and waits for its place to be needed. The kernel program may
    /// have begun it again after that.
    pub closing: Option<u64>,
    /// What the kernel program knows of it.
    pub claim: Claim,
    /// The NAT gateway's ports of which it has one.
    pub space: Option<SpaceKey>,
    /// The address that stands for its sender.
    pub peer: Option<Ipv4Addr>,
    /// Where its gateway or endpoint is counted.
    pub gateway: Option<usize>,
    /// What it looks like at the uplink's door, if it leaves the region.
    pub uplink: Option<UplinkKey>,
    /// Whether it waits for the other side, outside the region.
    pub opening: Opening,
}

/// How far a connection that leaves the region is with the other side.
#[derive(Debug, Clone, Default)]
pub enum Opening {
    /// There is nothing to wait for.
    #[default]
    Done,
    /// The other side is to be asked.
    Wanted,
    /// It was asked, and this first packet waits for what it says.
    Asked(Box<Held>),
}

/// What the kernel program knows of a flow, so that it makes no other with one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Claim {
    /// Nothing: there is no program, or it makes no flows of this protocol.
    #[default]
    None,
    /// All: it carries the flow.
    Shared,
    /// That its keys are taken.
    Marked,
    /// That it is to make no flows at all between these ports, since there was no room for a mark.
    Blocking,
}

/// A packet that waits, as it came.
#[derive(Debug, Clone)]
pub struct Held {
    /// Its bytes.
    pub frame: Vec<u8>,
    /// Its offload state.
    pub header: VirtioNetHdr,
}

impl FlowEntry {
    /// The port that packets of a direction go out by.
    #[inline]
    pub const fn exit(&self, direction: Direction) -> PortNumber {
        match direction {
            Direction::Forward => self.reverse.port,
            Direction::Reverse => self.forward.port,
        }
    }

    /// What packets of a direction look like where they go out: as what the other direction's packets answer to.
    #[inline]
    pub const fn rewritten(&self, direction: Direction) -> Tuple {
        match direction {
            Direction::Forward => self.reverse.answer(self.reverse.port).tuple(),
            Direction::Reverse => self.forward.answer(self.forward.port).tuple(),
        }
    }

    /// How long it may be silent as it is now, in nanoseconds.
    #[inline]
    pub fn patience(&self) -> u64 {
        self.live.phase().patience(&self.idle)
    }

    /// Whether it was silent for too long, or reset where that does not end it at once.
    #[inline]
    pub fn is_expired(&self, now: u64) -> bool {
        now.saturating_sub(self.live.seen()) > self.patience() || self.live.phase() == Phase::Reset
    }

    /// Whether it is known to be done, and was not begun again since.
    pub fn is_closing(&self) -> bool {
        self.closing == Some(self.live.begun())
    }

    /// Whether both ends were done so long ago.
    pub fn is_closed_since(&self, age: u64, now: u64) -> bool {
        self.live.phase() == Phase::Closed && now.saturating_sub(self.live.seen()) >= age
    }
}

/// A key is taken by another flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTaken(pub FlowId);

#[derive(Debug)]
struct Place {
    life: u32,
    flow: Option<Box<FlowEntry>>,
}

/// All flows.
#[derive(Debug)]
pub struct FlowTable {
    index: HashMap<FlowKey, (FlowId, Direction), KeyHash>,
    places: Vec<Place>,
    free: Vec<u32>,
    hand: usize,
    most: usize,
}

impl FlowTable {
    /// Room for `most` flows.
    pub fn new(most: usize, hash: KeyHash) -> Self {
        Self {
            index: HashMap::with_hasher(hash),
            places: Vec::new(),
            free: Vec::new(),
            hand: 0,
            most: most.min(u32::MAX as usize),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.len() >= self.most
    }

    /// The flow of packets with this key, and their direction.
    #[inline]
    pub fn find(&self, key: &FlowKey) -> Option<(FlowId, Direction)> {
        self.index.get(key).copied()
    }

    /// A flow, if it is still there.
    #[inline]
    pub fn get(&self, id: FlowId) -> Option<&FlowEntry> {
        let place = self.places.get(id.place as usize)?;
        if place.life == id.life { place.flow.as_deref() } else { None }
    }

    /// A flow, to be changed. Its keys must stay.
    #[inline]
    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut FlowEntry> {
        let place = self.places.get_mut(id.place as usize)?;
        if place.life == id.life { place.flow.as_deref_mut() } else { None }
    }

    /// Adds a flow under both of its keys, or under none where one is taken; it is given back then.
    pub fn insert(&mut self, flow: FlowEntry) -> Result<FlowId, (KeyTaken, Box<FlowEntry>)> {
        let taken = [&flow.reverse, &flow.forward].into_iter().find_map(|key| self.index.get(key));
        if let Some((other, _)) = taken {
            return Err((KeyTaken(*other), Box::new(flow)));
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.places.push(Place { life: 0, flow: None });
                // There is room for fewer than u32::MAX.
                (self.places.len() - 1) as u32
            }
        };
        let Some(slot) = self.places.get_mut(place as usize) else { unreachable!("the place was just made") };
        let id = FlowId { place, life: slot.life };
        // The reverse first, as the kernel program must: an answer cannot come before the flow is whole.
        self.index.insert(flow.reverse, (id, Direction::Reverse));
        self.index.insert(flow.forward, (id, Direction::Forward));
        slot.flow = Some(Box::new(flow));
        Ok(id)
    }

    /// Removes a flow, if it is still there.
    pub fn remove(&mut self, id: FlowId) -> Option<Box<FlowEntry>> {
        let place = self.places.get_mut(id.place as usize).filter(|place| place.life == id.life)?;
        let flow = place.flow.take()?;
        place.life = place.life.wrapping_add(1);
        self.free.push(id.place);
        self.index.remove(&flow.forward);
        self.index.remove(&flow.reverse);
        Some(flow)
    }

    /// The next flow in turn for which `gone` holds, looking at up to `budget` places. The budget is used up.
    pub fn next_where(&mut self, budget: &mut usize, gone: impl Fn(&FlowEntry) -> bool) -> Option<FlowId> {
        while *budget > 0 && !self.places.is_empty() {
            *budget -= 1;
            self.hand = (self.hand + 1) % self.places.len();
            let place = self.places.get(self.hand)?;
            if place.flow.as_deref().is_some_and(&gone) {
                return Some(FlowId { place: self.hand as u32, life: place.life });
            }
        }
        None
    }

    /// The flows for which something holds.
    pub fn ids_where(&self, holds: impl Fn(&FlowEntry) -> bool) -> Vec<FlowId> {
        let places = (0_u32..).zip(&self.places);
        places
            .filter(|(_, place)| place.flow.as_deref().is_some_and(&holds))
            .map(|(number, place)| FlowId { place: number, life: place.life })
            .collect()
    }

    /// All flows, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &FlowEntry> {
        self.places.iter().filter_map(|place| place.flow.as_deref())
    }

    /// Panics where the invariant does not hold.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert_eq!(self.index.len(), 2 * self.len());
        for flow in self.iter() {
            let ids = [&flow.forward, &flow.reverse].map(|key| self.index.get(key).copied());
            assert_eq!(ids[0].unwrap().0, ids[1].unwrap().0);
            assert_eq!((ids[0].unwrap().1, ids[1].unwrap().1), (Direction::Forward, Direction::Reverse));
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_path::{DropReason, Outcome, Refusal, Reply, Transport};

    use super::*;

    #[test]
    fn a_key_is_one_flows_only() {
        let mut table = FlowTable::new(10, KeyHash::with_seed(5));
        let key = |port: u32, source: u8, destination: u8| {
            let address = |last| Ipv4Addr::new(10, 0, 0, last);
            let transport = Transport::Udp { source_port: 1, destination_port: 2 };
            FlowKey::new(PortNumber(port), address(source), address(destination), transport)
        };
        let refusal = Refusal { reason: DropReason::NoRoute, resource: None, reply: Reply::Silence };
        let entry = |forward: FlowKey, reverse: FlowKey| FlowEntry {
            forward,
            reverse,
            interface: NetworkInterfaceId::from_number(1 << 40),
            verdict: Arc::new(Verdict {
                outcome: Outcome::Refuse(refusal),
                consulted: Default::default(),
                cut: Default::default(),
                before_choice: 0,
            }),
            idle: IdleTimeouts::INTERFACE,
            live: Live::new(Phase::Other, 0),
            closing: None,
            claim: Claim::None,
            space: None,
            peer: None,
            gateway: None,
            uplink: None,
            opening: Opening::Done,
        };
        let (ours, theirs, other) = (key(1, 1, 2), key(2, 2, 1), key(3, 3, 1));
        let id = table.insert(entry(ours, theirs)).unwrap();
        for (forward, reverse) in [(ours, other), (other, theirs), (theirs, other), (other, ours)] {
            assert_eq!(table.insert(entry(forward, reverse)).unwrap_err().0, KeyTaken(id));
            assert_eq!(table.find(&other), None, "nothing is half there");
            table.check();
        }
        assert!(table.remove(id).is_some() && table.remove(id).is_none());
        let again = table.insert(entry(other, ours)).unwrap();
        assert!(table.get(id).is_none(), "an old id never leads to another flow");
        assert_eq!(table.find(&ours), Some((again, Direction::Reverse)));
        table.check();
    }
}
