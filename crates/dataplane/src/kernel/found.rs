//! Flows that the program knew before this process, read out of the maps.
//!
//! INVARIANT: the program carries them on while they are read. What is read of a flow does not change meanwhile: only its
//! maker writes it, and that one is gone.
#![expect(unsafe_code, reason = "flows are read beside a program that counts in them")]

use std::ptr::addr_of;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_path::{IdleTimeouts, Stamp};
use smallvec::SmallVec;

use super::index::{Entry, Index};
use super::layout::{NOWHERE, STAMPS};
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

    /// The flow at a place, if there is one that packets are carried by.
    pub(crate) fn found(&self, place: u32) -> Option<Found> {
        let flow = self.flows.pointer(place as usize)?.as_ptr();
        // SAFETY: within the mapping, and atomic.
        let life = unsafe { &*addr_of!((*flow).life) }.load(Ordering::Acquire);
        // Zero was never used, and odd is free or half written.
        if life == 0 || life & 1 == 1 {
            return None;
        }
        // SAFETY: within the mapping. These are integers, whatever is there, and nobody writes them now.
        let found = unsafe {
            let [established, stream, datagrams, other] = addr_of!((*flow).idle).read();
            let stamps = usize::from(addr_of!((*flow).stamps).read()).min(STAMPS);
            let (slots, generations) = (addr_of!((*flow).slots).read(), addr_of!((*flow).generations).read());
            let gateway = addr_of!((*flow).gateway).read();
            Found {
                place,
                forward: addr_of!((*flow).forward).read(),
                reverse: addr_of!((*flow).reverse).read(),
                mtu: addr_of!((*flow).mtu).read(),
                hops: addr_of!((*flow).hops).read(),
                gateway: (gateway != NOWHERE).then_some(gateway as usize),
                idle: IdleTimeouts {
                    tcp_established_seconds: established,
                    udp_stream_seconds: stream,
                    udp_seconds: datagrams,
                    other_seconds: other,
                },
                stamps: slots
                    .into_iter()
                    .zip(generations)
                    .map(|(slot, generation)| Stamp { slot, generation })
                    .take(stamps)
                    .collect(),
            }
        };
        let keys = [(&found.forward, false), (&found.reverse, true)];
        let hash = |key| Index::hash(self.settings(), key);
        keys.iter()
            .all(|(key, reverse)| self.index.has(hash(key), Entry { place, reverse: *reverse }))
            .then_some(found)
    }

    /// Whether a place was never a flow's.
    pub(crate) fn is_fresh(&self, place: u32) -> bool {
        let Some(flow) = self.flows.pointer(place as usize) else { return true };
        // SAFETY: within the mapping, and atomic.
        unsafe { &*addr_of!((*flow.as_ptr()).life) }.load(Ordering::Acquire) == 0
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
}

impl KernelTables {
    /// What changes of a flow that was found: it stays where it is.
    pub fn live(&self, found: &Found) -> Live {
        Live::shared(SharedFlow { maps: Arc::clone(self.shared_maps()), place: found.place })
    }
}
