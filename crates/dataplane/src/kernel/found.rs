//! What the program knew before this process, read out of the maps: flows, ports, templates.
//!
//! INVARIANT: the program carries flows on while they are read, and may make others, begin one again where it is, or end
//! one. What is read of a flow is whole: its life is the same before and after.
#![expect(unsafe_code, reason = "flows are read beside a program that writes them")]

use std::collections::HashSet;
use std::ptr::addr_of_mut;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use postern_path::{IdleTimeouts, Stamp};
use smallvec::SmallVec;

use super::index::{Entry, Index};
use super::layout::{NOWHERE, RING, STAMPS, TEMPLATES};
use super::maps::{Maps, SharedFlow};
use super::table::KernelTables;
use crate::forward::live::Live;
use crate::forward::{FlowKey, PortNumber};

/// A flow that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub place: u32,
    pub forward: FlowKey,
    pub reverse: FlowKey,
    pub mtu: u16,
    pub hops: u8,
    pub gateway: Option<usize>,
    pub idle: IdleTimeouts,
    pub stamps: SmallVec<[Stamp; 16]>,
}

impl Maps {
    /// How many places there are for flows.
    pub(crate) fn room(&self) -> u32 {
        // As many as the program was loaded for, in 32 bits.
        self.flows.len() as u32
    }

    /// Whether a place was never a flow's.
    pub(crate) fn is_fresh(&self, place: u32) -> bool {
        self.life(place).load(Ordering::Acquire) == 0
    }

    /// The flow at a place, if there is one that packets are carried by. With `stopped`, also one that a forwarder was in
    /// the middle of changing when it was killed: its keys, by which it is found, do not change.
    pub(crate) fn found(&self, place: u32, stopped: bool) -> Option<Found> {
        let life = self.life(place).load(Ordering::Acquire);
        if self.is_fresh(place) || (life & 1 == 1 && !stopped) {
            return None;
        }
        let found = self.peek(place)?;
        fence(Ordering::SeqCst);
        let whole = self.life(place).load(Ordering::Relaxed) == life;
        let hash = |key| Index::hash(self.settings(), key);
        let there = |key, reverse| self.index.has(hash(key), Entry::Place { place, reverse });
        let indexed = there(&found.forward, false) && there(&found.reverse, true);
        (whole && indexed).then_some(found)
    }

    fn peek(&self, place: u32) -> Option<Found> {
        let flow = self.flows.pointer(place as usize)?.as_ptr();
        let copy = self.peek_flow(place);
        // SAFETY: within the mapping. These are integers, whatever is there; who goes by them compares the life.
        unsafe {
            let stamps = usize::from(addr_of_mut!((*flow).stamps).read_volatile()).min(STAMPS);
            let slots = addr_of_mut!((*flow).slots).read_volatile();
            let generations = addr_of_mut!((*flow).generations).read_volatile();
            let pairs = slots.into_iter().zip(generations).take(stamps);
            Some(Found {
                place,
                forward: copy.forward,
                reverse: copy.reverse,
                mtu: addr_of_mut!((*flow).mtu).read_volatile(),
                hops: addr_of_mut!((*flow).hops).read_volatile(),
                gateway: copy.gateway.map(|place| place as usize),
                idle: copy.idle,
                stamps: pairs.map(|(slot, generation)| Stamp { slot, generation }).collect(),
            })
        }
    }

    /// A flow goes on under this process: it rests on these stamps, and on no template.
    pub(super) fn go_on(&self, place: u32, stamps: &[Stamp]) {
        let Some(flow) = self.flows.pointer(place as usize) else { return };
        self.lock(place);
        fence(Ordering::SeqCst);
        // SAFETY: within the mapping. The life is odd by the line above: the program does not write here, and goes by
        // nothing that it reads.
        unsafe {
            addr_of_mut!((*flow.as_ptr()).template).write(NOWHERE);
            addr_of_mut!((*flow.as_ptr()).flags).write(0);
            super::maps::write_stamps(flow.as_ptr(), stamps);
        }
        self.publish(place);
    }

    /// The number of the port whose host end has this index.
    pub(crate) fn number_of(&self, interface: u32) -> Option<PortNumber> {
        let place = self.place_of(interface)?.load(Ordering::Acquire).checked_sub(1)?;
        let place = usize::try_from(place).ok()?;
        let slot = self.port(place)?;
        let number = PortNumber(slot.number.load(Ordering::Acquire));
        let is_it = slot.interface.load(Ordering::Acquire) == interface && number.place() == place;
        (is_it && number.0 != NOWHERE).then_some(number)
    }

    /// Gives up every port but these.
    pub(crate) fn keep_ports(&self, kept: impl Fn(PortNumber) -> bool) {
        for slot in (0..self.ports.len()).filter_map(|place| self.port(place)) {
            let number = PortNumber(slot.number.load(Ordering::Acquire));
            if slot.interface.load(Ordering::Acquire) != 0 && !kept(number) {
                self.detach_port(number);
            }
        }
    }

    /// Whether everything that a flow rests on is as it was.
    pub(crate) fn holds(&self, stamps: &[Stamp]) -> bool {
        stamps.iter().all(|stamp| {
            self.generation(stamp.slot).is_some_and(|now| now.load(Ordering::Acquire) == stamp.generation)
        })
    }

    /// Raises the generation of everything that ever had one, so that nothing decided before holds any more.
    pub(crate) fn outdate(&self, generation: u64) {
        for slot in (0..self.generations.len()).filter_map(|at| self.generations.get(at)) {
            if slot.load(Ordering::Acquire) != 0 {
                slot.fetch_max(generation, Ordering::AcqRel);
            }
        }
    }

    /// The boxes of the templates that the program may use, each with its shape's number.
    pub(crate) fn template_boxes(&self) -> Vec<FlowKey> {
        let of = |place| {
            let template = self.templates.pointer(place as usize)?.as_ptr();
            let life = self.template(place)?.life.load(Ordering::Acquire);
            // SAFETY: within the mapping; integers, which only the forwarder before wrote.
            (life != 0 && life & 1 == 0).then(|| unsafe { addr_of_mut!((*template).key).read_volatile() })
        };
        (0..TEMPLATES).filter_map(of).collect()
    }

    /// Takes away all templates, and what a forwarder before was in the middle of: marks of flows that the program makes
    /// none beside, what ports may make, notes that wait. To be called when no template holds any more.
    pub(crate) fn clear_templates(&self) {
        self.template_index.retain(|_| false);
        for template in (0..TEMPLATES).filter_map(|place| self.template(place)) {
            template.life.fetch_or(1, Ordering::SeqCst);
        }
        for masks in (0..self.masks.len()).filter_map(|at| self.masks.get(at)) {
            masks.used.store(0, Ordering::SeqCst);
        }
        for live in (0..self.port_lives.len()).filter_map(|at| self.port_lives.get(at)) {
            live.blocked.store(0, Ordering::SeqCst);
            live.may_make.store(live.made.load(Ordering::Relaxed), Ordering::SeqCst);
        }
        for ring in (0..self.note_rings.len()).filter_map(|at| self.note_rings.get(at)) {
            ring.tail.store(ring.head.load(Ordering::Acquire), Ordering::Release);
        }
    }

    /// The free places that wait for the program to make flows there. Rings that are not as they should be are emptied.
    pub(super) fn waiting_places(&self) -> HashSet<u32> {
        let mut all = HashSet::new();
        for ring in (0..self.place_rings.len()).filter_map(|at| self.place_rings.get(at)) {
            let (head, tail) = (ring.head.load(Ordering::Acquire), ring.tail.load(Ordering::Acquire));
            let count = tail.wrapping_sub(head);
            let at = |at: u32| {
                let at = head.wrapping_add(at) as usize % RING;
                ring.places.get(at).map_or(NOWHERE, |place| place.load(Ordering::Relaxed))
            };
            let places: Vec<u32> = (0..count.min(RING as u32)).map(at).collect();
            let free = |place: &u32| {
                *place < self.room()
                    && !all.contains(place)
                    && self.life(*place).load(Ordering::Acquire) & 1 == 1
            };
            if count as usize <= RING && places.iter().all(free) {
                all.extend(places);
            } else {
                ring.tail.store(head, Ordering::Release);
            }
        }
        all
    }
}

impl KernelTables {
    /// What changes of a flow that was found: it stays where it is.
    pub fn live(&self, found: &Found) -> Live {
        Live::shared(SharedFlow { maps: Arc::clone(self.shared_maps()), place: found.place })
    }
}
