//! All that the program and the forwarder share, mapped.
#![expect(unsafe_code, reason = "flows and templates are written beside a program that reads them")]

use std::ptr::addr_of_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use postern_path::{IdleTimeouts, Stamp};

use super::index::Index;
use super::layout::{
    ChoiceTable, FlowSlot, GatewayTally, LiveSlot, NOWHERE, NoteRing, PORTS, PlaceRing, PortDrops, PortLive,
    PortMasks, PortSlot, PortTally, STAMPS, Settings, TEMPLATE_STAMPS, TemplateSlot,
};
use super::mapping::Mapped;
use super::stub::Notes;
use super::template::Recipe;
use crate::forward::FlowKey;

/// How often a flow's life is looked at that the program is changing. It needs some nanoseconds for that.
const LOCK_TRIES: usize = 20_000;

/// The maps of one program.
#[derive(Debug)]
pub struct Maps {
    pub(super) settings: Mapped<Settings>,
    pub(super) places: Mapped<AtomicU64>,
    pub(super) ports: Mapped<PortSlot>,
    pub(super) masks: Mapped<PortMasks>,
    pub(super) port_lives: Mapped<PortLive>,
    pub(super) port_drops: Mapped<PortDrops>,
    pub(super) flows: Mapped<FlowSlot>,
    pub(super) index: Index,
    pub(super) templates: Mapped<TemplateSlot>,
    pub(super) template_index: Index,
    pub(super) choices: Mapped<ChoiceTable>,
    pub(super) generations: Mapped<AtomicU64>,
    pub(super) port_tallies: Mapped<PortTally>,
    pub(super) gateway_tallies: Mapped<GatewayTally>,
    /// What is written down for whoever goes on after this process.
    pub(super) notes: Arc<Notes>,
    pub(super) place_rings: Mapped<PlaceRing>,
    pub(super) note_rings: Mapped<NoteRing>,
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
    pub template: Option<u32>,
    pub flags: u32,
    pub stamps: &'a [Stamp],
}

/// What is read of a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowCopy {
    /// Packets as the first one.
    pub forward: FlowKey,
    /// Packets back.
    pub reverse: FlowKey,
    /// Where its gateway is counted.
    pub gateway: Option<u32>,
    /// How long it may be silent.
    pub idle: IdleTimeouts,
    /// The template that it was made of.
    pub template: Option<u32>,
    /// What else is known of it.
    pub flags: u32,
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
    pub(super) fn live(&self, place: u32) -> &LiveSlot {
        let Some(flow) = self.flows.pointer(place as usize) else {
            unreachable!("a shared flow has a place")
        };
        // SAFETY: within the mapping, which lives as long as `self`; the part that is referred to is atomics only.
        unsafe { &*addr_of_mut!((*flow.as_ptr()).live) }
    }

    /// The life of the flow at a place: odd while nobody is to go by what is read of it.
    pub(super) fn life(&self, place: u32) -> &AtomicU32 {
        let Some(flow) = self.flows.pointer(place as usize) else {
            unreachable!("a shared flow has a place")
        };
        // SAFETY: within the mapping, and atomic.
        unsafe { &*addr_of_mut!((*flow.as_ptr()).life) }
    }

    /// Writes a flow into a free place, whose life is odd. Its live part is written by the caller.
    pub(super) fn write_flow(&self, place: u32, fixed: &Fixed<'_>) {
        let Some(flow) = self.flows.pointer(place as usize) else { return };
        let (flow, idle) = (flow.as_ptr(), fixed.idle);
        // SAFETY: within the mapping. The life is odd and the place is the caller's: the program does not write here,
        // and goes by nothing that it reads.
        unsafe {
            addr_of_mut!((*flow).forward).write(fixed.forward);
            addr_of_mut!((*flow).reverse).write(fixed.reverse);
            addr_of_mut!((*flow).mtu).write(fixed.mtu);
            addr_of_mut!((*flow).hops).write(fixed.hops);
            addr_of_mut!((*flow).gateway).write(fixed.gateway.unwrap_or(NOWHERE));
            addr_of_mut!((*flow).template).write(fixed.template.unwrap_or(NOWHERE));
            addr_of_mut!((*flow).flags).write(fixed.flags);
            addr_of_mut!((*flow).idle).write(seconds(&idle));
            write_stamps(flow, fixed.stamps);
        }
    }

    /// Writes what a flow rests on. There are at most [`STAMPS`].
    pub(super) fn restamp(&self, place: u32, stamps: &[Stamp]) {
        let Some(flow) = self.flows.pointer(place as usize) else { return };
        self.lock(place);
        fence(Ordering::SeqCst);
        // SAFETY: within the mapping, with a life that is odd by the line above: see `write_flow`.
        unsafe { write_stamps(flow.as_ptr(), stamps) };
        self.publish(place);
    }

    /// What is at a place, whole and of one flow, unless nobody is to go by it now.
    pub(super) fn read_flow(&self, place: u32) -> Option<FlowCopy> {
        if place as usize >= self.flows.len() {
            return None;
        }
        let life = self.life(place).load(Ordering::Acquire);
        if life & 1 == 1 {
            return None;
        }
        let copy = self.peek_flow(place);
        fence(Ordering::SeqCst);
        (self.life(place).load(Ordering::Relaxed) == life).then_some(copy)
    }

    /// What is at a place, whatever its life.
    pub(super) fn peek_flow(&self, place: u32) -> FlowCopy {
        let Some(flow) = self.flows.pointer(place as usize) else {
            unreachable!("a shared flow has a place")
        };
        let flow = flow.as_ptr();
        // SAFETY: within the mapping; integers, of which any bits are a value. The program may write at the same time:
        // who goes by this compares the life before and after, or holds it.
        unsafe {
            let [established, stream, datagrams, other] = addr_of_mut!((*flow).idle).read_volatile();
            let place = |place: u32| (place != NOWHERE).then_some(place);
            FlowCopy {
                forward: addr_of_mut!((*flow).forward).read_volatile(),
                reverse: addr_of_mut!((*flow).reverse).read_volatile(),
                gateway: place(addr_of_mut!((*flow).gateway).read_volatile()),
                idle: IdleTimeouts {
                    tcp_established_seconds: established,
                    udp_stream_seconds: stream,
                    udp_seconds: datagrams,
                    other_seconds: other,
                },
                template: place(addr_of_mut!((*flow).template).read_volatile()),
                flags: addr_of_mut!((*flow).flags).read_volatile(),
            }
        }
    }

    /// Makes the life of a flow that is there odd: nobody else changes it until [`Self::publish`]. The program does so for
    /// some nanoseconds when it begins a flow again. Where one of its processors was stopped in the middle of that, what it
    /// still wants to say is refused by the number.
    pub(super) fn lock(&self, place: u32) {
        let life = self.life(place);
        for _ in 0..LOCK_TRIES {
            let now = life.load(Ordering::Acquire);
            let even = now & 1 == 0;
            if even
                && life
                    .compare_exchange(now, now.wrapping_add(1), Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
            std::hint::spin_loop();
        }
        life.fetch_add(2, Ordering::SeqCst);
    }

    /// Makes the life of the flow at a free place odd.
    pub(super) fn begin_life(&self, place: u32) {
        self.life(place).fetch_or(1, Ordering::SeqCst);
    }

    /// What was written at a place, whose life is odd, is whole.
    pub(super) fn publish(&self, place: u32) {
        fence(Ordering::SeqCst);
        self.life(place).fetch_add(1, Ordering::SeqCst);
    }

    /// The template at a place: the parts that change.
    pub(super) fn template(&self, place: u32) -> Option<TemplateLive<'_>> {
        let template = self.templates.pointer(place as usize)?.as_ptr();
        // SAFETY: within the mapping, which lives as long as `self`, and atomic.
        unsafe {
            Some(TemplateLive {
                life: &*addr_of_mut!((*template).life),
                epoch: &*addr_of_mut!((*template).epoch),
                used: &*addr_of_mut!((*template).used),
                users: &*addr_of_mut!((*template).users),
                refused: &*addr_of_mut!((*template).refused),
                stand_ins: &*addr_of_mut!((*template).stand_ins),
                stand_in_users: &*addr_of_mut!((*template).stand_in_users),
            })
        }
    }

    /// Writes a template into a free place.
    pub(super) fn write_template(&self, place: u32, recipe: &Recipe<'_>) {
        let Some(template) = self.templates.pointer(place as usize) else { return };
        let Some(live) = self.template(place) else { return };
        live.life.fetch_or(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        live.epoch.store(0, Ordering::Relaxed);
        live.used.store(0, Ordering::Relaxed);
        live.users.store(0, Ordering::Relaxed);
        live.refused.store(0, Ordering::Relaxed);
        live.stand_ins
            .iter()
            .chain(live.stand_in_users)
            .for_each(|address| address.store(0, Ordering::Relaxed));
        let template = template.as_ptr();
        let (slots, generations) = split(recipe.stamps);
        // SAFETY: within the mapping. Only this thread writes templates, and the program goes by nothing that it reads
        // while the life is odd.
        unsafe {
            addr_of_mut!((*template).key).write(recipe.key);
            addr_of_mut!((*template).source_mask).write(recipe.source_mask);
            addr_of_mut!((*template).destination_mask).write(recipe.destination_mask);
            addr_of_mut!((*template).port_masks).write(recipe.port_masks);
            // No more than there is room for.
            addr_of_mut!((*template).stamps).write(recipe.stamps.len().min(TEMPLATE_STAMPS) as u8);
            addr_of_mut!((*template).cut).write(recipe.cut.min(STAMPS) as u8);
            addr_of_mut!((*template).kind).write(recipe.kind.number());
            addr_of_mut!((*template).reason).write(recipe.reason);
            addr_of_mut!((*template).exit).write(recipe.exit);
            addr_of_mut!((*template).destination).write(recipe.destination);
            addr_of_mut!((*template).visible).write(recipe.visible);
            addr_of_mut!((*template).gateway).write(recipe.gateway.unwrap_or(NOWHERE));
            addr_of_mut!((*template).mtu).write(recipe.mtu);
            addr_of_mut!((*template).hops).write(recipe.hops);
            addr_of_mut!((*template).answered).write(u8::from(recipe.answered));
            addr_of_mut!((*template).table).write(recipe.table);
            addr_of_mut!((*template).to_port).write(recipe.to_port);
            addr_of_mut!((*template).ports).write(recipe.ports);
            addr_of_mut!((*template).idle).write(seconds(&recipe.idle));
            addr_of_mut!((*template).slots).write(slots);
            addr_of_mut!((*template).generations).write(generations);
        }
        fence(Ordering::SeqCst);
        live.life.fetch_add(1, Ordering::SeqCst);
    }
}

/// What changes while a template is there.
#[derive(Debug)]
pub(super) struct TemplateLive<'a> {
    /// Odd while nobody is to go by it.
    pub life: &'a AtomicU32,
    epoch: &'a AtomicU64,
    /// When it was last used.
    pub used: &'a AtomicU64,
    /// Flows that refer to it.
    pub users: &'a AtomicU32,
    /// Packets that were refused by it in the kernel.
    pub refused: &'a AtomicU64,
    /// Addresses that stand for its sender.
    pub stand_ins: &'a [AtomicU32; 8],
    /// Flows that the program made with each of them.
    pub stand_in_users: &'a [AtomicU32; 8],
}

const fn seconds(idle: &IdleTimeouts) -> [u32; 4] {
    [idle.tcp_established_seconds, idle.udp_stream_seconds, idle.udp_seconds, idle.other_seconds]
}

fn split<const MOST: usize>(stamps: &[Stamp]) -> ([u32; MOST], [u64; MOST]) {
    let mut slots = [0; MOST];
    let mut generations = [0; MOST];
    for ((slot, generation), stamp) in slots.iter_mut().zip(&mut generations).zip(stamps) {
        (*slot, *generation) = (stamp.slot, stamp.generation);
    }
    (slots, generations)
}

/// # Safety
/// The pointer must be to a flow that only the caller writes.
pub(super) unsafe fn write_stamps(flow: *mut FlowSlot, stamps: &[Stamp]) {
    let (slots, generations) = split(stamps);
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
