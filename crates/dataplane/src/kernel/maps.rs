//! All that the program and the forwarder share, mapped.
#![expect(unsafe_code, reason = "flows are written beside a program that reads them")]

use std::ptr::addr_of_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use postern_path::{IdleTimeouts, Stamp};

use super::index::Index;
use super::layout::{
    FlowSlot, GatewayTally, LiveSlot, NOWHERE, PORTS, PortSlot, PortTally, STAMPS, Settings,
};
use super::mapping::Mapped;
use super::stub::Notes;
use crate::forward::FlowKey;

/// The maps of one program.
#[derive(Debug)]
pub struct Maps {
    pub(super) settings: Mapped<Settings>,
    pub(super) places: Mapped<AtomicU64>,
    pub(super) ports: Mapped<PortSlot>,
    pub(super) flows: Mapped<FlowSlot>,
    pub(super) index: Index,
    pub(super) generations: Mapped<AtomicU64>,
    pub(super) port_tallies: Mapped<PortTally>,
    pub(super) gateway_tallies: Mapped<GatewayTally>,
    /// What is written down for whoever goes on after this process.
    pub(super) notes: Arc<Notes>,
}

/// What does not change while a flow lives, but for its stamps.
#[derive(Debug)]
pub(super) struct Fixed<'a> {
    pub forward: FlowKey,
    pub reverse: FlowKey,
    pub mtu: u16,
    pub hops: u8,
    pub gateway: Option<u32>,
    pub idle: IdleTimeouts,
    pub stamps: &'a [Stamp],
}

impl Maps {
    /// What holds for all packets.
    #[inline]
    pub(crate) fn settings(&self) -> &Settings {
        // There is one.
        match self.settings.get(0) {
            Some(settings) => settings,
            None => unreachable!("a mapping is never empty"),
        }
    }

    /// The generation in a slot that the program sees.
    #[inline]
    pub(crate) fn generation(&self, slot: u32) -> Option<&AtomicU64> {
        self.generations.get(slot as usize)
    }

    /// Notes which gateway is counted at a place.
    pub(crate) fn note_gateway(&self, place: usize, name: &str) {
        self.notes.name_gateway(place, name);
    }

    /// Which gateways are counted, in the order of their places.
    pub(crate) fn gateways(&self) -> Vec<String> {
        self.notes.gateways().collect()
    }

    /// The port at a place.
    pub(crate) fn port(&self, place: usize) -> Option<&PortSlot> {
        self.ports.get(place)
    }

    /// What was counted at a port, by all processors.
    pub(crate) fn port_tallies(&self, place: usize) -> impl Iterator<Item = &PortTally> {
        let of_one = PORTS as usize;
        let here = if place < of_one { place } else { usize::MAX };
        (here..self.port_tallies.len()).step_by(of_one).filter_map(|at| self.port_tallies.get(at))
    }

    /// What was counted at a gateway, by all processors.
    pub(crate) fn gateway_tallies(&self, place: usize) -> impl Iterator<Item = &GatewayTally> {
        let of_one = super::layout::GATEWAYS as usize;
        let here = if place < of_one { place } else { usize::MAX };
        (here..self.gateway_tallies.len()).step_by(of_one).filter_map(|at| self.gateway_tallies.get(at))
    }

    /// What changes with every packet of the flow at a place.
    #[inline]
    fn live(&self, place: u32) -> &LiveSlot {
        let Some(flow) = self.flows.pointer(place as usize) else {
            unreachable!("a shared flow has a place")
        };
        // SAFETY: within the mapping, which lives as long as `self`; the part that is referred to is atomics only.
        unsafe { &*addr_of_mut!((*flow.as_ptr()).live) }
    }

    /// Writes a flow into a free place, for nobody to find yet. Its live part is written by the caller, before.
    pub(super) fn write_flow(&self, place: u32, fixed: &Fixed<'_>) {
        self.change(place, |flow| {
            let idle = fixed.idle;
            // SAFETY: the pointer is to a flow in the mapping, see `change`.
            unsafe {
                addr_of_mut!((*flow).forward).write(fixed.forward);
                addr_of_mut!((*flow).reverse).write(fixed.reverse);
                addr_of_mut!((*flow).mtu).write(fixed.mtu);
                addr_of_mut!((*flow).hops).write(fixed.hops);
                addr_of_mut!((*flow).gateway).write(fixed.gateway.unwrap_or(NOWHERE));
                addr_of_mut!((*flow).idle).write([
                    idle.tcp_established_seconds,
                    idle.udp_stream_seconds,
                    idle.udp_seconds,
                    idle.other_seconds,
                ]);
                write_stamps(flow, fixed.stamps);
            }
        });
    }

    /// Writes what a flow rests on. There are at most [`STAMPS`].
    pub(super) fn write_stamps(&self, place: u32, stamps: &[Stamp]) {
        // SAFETY: the pointer is to a flow in the mapping, see `change`.
        self.change(place, |flow| unsafe { write_stamps(flow, stamps) });
    }

    /// Changes a flow while its life is odd, so that a program that reads it meanwhile notices.
    fn change(&self, place: u32, change: impl FnOnce(*mut FlowSlot)) {
        let Some(flow) = self.flows.pointer(place as usize) else { return };
        self.end_life(place);
        fence(Ordering::SeqCst);
        // One thread of this process writes here, and nobody holds references to what it writes. The program may read
        // half of it; it compares the life before and after, and leaves the packet to the forwarder.
        change(flow.as_ptr());
        fence(Ordering::SeqCst);
        // SAFETY: within the mapping.
        let life = unsafe { &*addr_of_mut!((*flow.as_ptr()).life) };
        life.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes a flow's life odd: nobody is to go by what is read of it.
    pub(super) fn end_life(&self, place: u32) {
        let Some(flow) = self.flows.pointer(place as usize) else { return };
        // SAFETY: within the mapping, and atomic.
        let life = unsafe { &*addr_of_mut!((*flow.as_ptr()).life) };
        life.fetch_or(1, Ordering::AcqRel);
    }
}

/// # Safety
/// The pointer must be to a flow that only the caller writes.
unsafe fn write_stamps(flow: *mut FlowSlot, stamps: &[Stamp]) {
    let mut slots = [0; STAMPS];
    let mut generations = [0; STAMPS];
    for ((slot, generation), stamp) in slots.iter_mut().zip(&mut generations).zip(stamps) {
        (*slot, *generation) = (stamp.slot, stamp.generation);
    }
    // SAFETY: as the caller promises.
    unsafe {
        addr_of_mut!((*flow).slots).write(slots);
        addr_of_mut!((*flow).generations).write(generations);
        // No more than there is room for.
        addr_of_mut!((*flow).stamps).write(stamps.len().min(STAMPS) as u8);
    }
}

/// A flow's place in the maps.
#[derive(Debug)]
pub(crate) struct SharedFlow {
    pub(super) maps: Arc<Maps>,
    pub(super) place: u32,
}

impl SharedFlow {
    pub(crate) const fn place(&self) -> u32 {
        self.place
    }
}

impl std::ops::Deref for SharedFlow {
    type Target = LiveSlot;
    #[inline]
    fn deref(&self) -> &LiveSlot {
        self.maps.live(self.place)
    }
}
