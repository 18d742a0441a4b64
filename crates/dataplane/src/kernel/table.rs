//! The forwarder's hand in the program's flows: which it knows, and where; and which it made.
//!
//! INVARIANT: a place that was a flow's is not another's for [`REST`]: a program that found it just before it was
//! taken away has long ended by then.
//!
//! INVARIANT: while a flow is there, each of its keys is in the index, by its place or by a mark, or the program makes no
//! flows between its ports. So nobody makes another with one of them.

use std::collections::{HashSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use postern_path::{Stamp, Table};

use super::index::{Entry, Index, NotClaimed};
use super::layout::{GATEWAYS, GENERATIONS, PORTS, RING, STAMPS, SYN_UP, TEMPLATE_STAMPS};
use super::maps::{Fixed, FlowCopy, Maps, SharedFlow};
use super::template::{KernelTemplates, Recipe};
use crate::forward::live::{Live, last_seen};
use crate::forward::packet::protocol;
use crate::forward::phase::{Direction, Phase};
use crate::forward::{Claim, FlowEntry, FlowKey, PortNumber, ResourceDrops, Variant, Verdict};

/// In nanoseconds.
pub(super) const REST: u64 = 1_000_000_000;
/// How often a key is looked at that somebody is about to have.
const LOOKS: usize = 2_000;
/// A flow that was heard of so short a time ago, in nanoseconds, is not over unless it was reset; if a port of it is gone, it
/// is collected that much later.
const JUST_NOW: u64 = 1_000_000_000;

/// Another flow has a key, or is about to: it is to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contended;

/// Who answers for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Holder {
    /// It is free, or about to be.
    #[default]
    Nobody,
    /// The program, which may have made a flow there.
    Program,
    /// The forwarder, which made the flow there.
    Forwarder,
    /// The forwarder, which knows of the flow that the program made there.
    Adopted,
}

/// How a flow that the program knew ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Whether the program counted its end.
    pub counted: bool,
}

/// The flows that the program knows.
#[derive(Debug)]
pub(crate) struct KernelTables {
    maps: Arc<Maps>,
    pub(super) templates: KernelTemplates,
    /// Places that were a flow's, with when they were given up.
    rested: VecDeque<(u32, u64)>,
    /// The first place that was never used.
    fresh: u32,
    /// By place.
    holders: Vec<Holder>,
    /// How many flows of the forwarder's there are, and how many of them each port began, by its place.
    flows: u32,
    of_port: Vec<u32>,
    /// How many flows of the program's are over, ever; the same by the port that they were made for.
    over: u32,
    over_of_port: Vec<u32>,
    /// Where collecting flows of the program's goes on.
    hand: u32,
}

impl KernelTables {
    /// None yet.
    pub fn new(maps: Arc<Maps>) -> Self {
        Self {
            templates: KernelTemplates::new(Arc::clone(&maps)),
            rested: VecDeque::new(),
            fresh: 0,
            holders: vec![Holder::Nobody; maps.flows.len()],
            flows: 0,
            of_port: vec![0; PORTS as usize],
            over: 0,
            over_of_port: vec![0; PORTS as usize],
            hand: 0,
            maps,
        }
    }

    /// What is shared with the program.
    pub fn maps(&self) -> &Maps {
        &self.maps
    }

    /// Claims a flow's keys: for its place, if the program can carry it (its ports are the program's, what it rests on
    /// fits, there is room), else for the forwarder alone. Nobody carries it there before [`Self::begin`].
    pub fn share(
        &mut self,
        flow: &mut FlowEntry,
        template: Option<u32>,
        waits: bool,
        now: u64,
    ) -> Result<(), Contended> {
        if !matches!(flow.forward.protocol, protocol::TCP | protocol::UDP | protocol::ICMP) {
            return Ok(());
        }
        if !self.can_carry(flow) || !self.leaves_room(flow.forward.port) {
            return self.mark(flow);
        }
        let Some(action) = flow.verdict.action() else { return Ok(()) };
        let Some(place) = self.take_place(now) else { return self.mark(flow) };
        let fixed = Fixed {
            forward: flow.forward,
            reverse: flow.reverse,
            mtu: action.mtu,
            hops: action.hops.count(),
            gateway: flow.gateway.and_then(|at| u32::try_from(at).ok()),
            idle: flow.idle,
            template,
            flags: if waits { SYN_UP } else { 0 },
            stamps: &flow.verdict.cut,
        };
        self.maps.begin_life(place);
        let shared = SharedFlow { maps: Arc::clone(&self.maps), place };
        flow.live.copy_to(&shared);
        self.maps.write_flow(place, &fixed);
        match self.claim_both(flow, |reverse| Entry::Place { place, reverse }) {
            Ok(()) => {}
            Err(why) => {
                self.rested.push_back((place, now));
                return match why {
                    NotClaimed::NoRoom => self.mark(flow),
                    NotClaimed::Contended => Err(Contended),
                };
            }
        }
        self.count(flow.forward.port, 1);
        // The program may make one less.
        self.grant(flow.forward.port);
        self.hold(place, Holder::Forwarder);
        if let Some(template) = template {
            self.templates.refer(template);
        }
        flow.live = Live::shared(shared);
        flow.claim = Claim::Shared;
        Ok(())
    }

    /// From now on the program carries a flow that was shared, if it was.
    pub fn begin(&self, flow: &FlowEntry) {
        if let Some(place) = flow.live.place() {
            self.maps.publish(place);
        }
    }

    /// Lets the program know that a flow's keys are taken.
    fn mark(&self, flow: &mut FlowEntry) -> Result<(), Contended> {
        match self.claim_both(flow, |_| Entry::Forwarder) {
            Ok(()) => flow.claim = Claim::Marked,
            Err(NotClaimed::Contended) => return Err(Contended),
            Err(NotClaimed::NoRoom) => {
                self.block(flow, true);
                flow.claim = Claim::Blocking;
            }
        }
        Ok(())
    }

    /// Both keys, the reverse first: an answer cannot come before the flow is whole.
    fn claim_both(&self, flow: &FlowEntry, entry: impl Fn(bool) -> Entry) -> Result<(), NotClaimed> {
        self.claim(&flow.reverse, entry(true))?;
        let forward = self.claim(&flow.forward, entry(false));
        if forward.is_err() {
            self.maps.index.remove(self.hash(&flow.reverse), entry(true));
        }
        forward
    }

    fn claim(&self, key: &FlowKey, entry: Entry) -> Result<(), NotClaimed> {
        // A flow of the program's that has the key, or that is not whole yet and may have it.
        let conflicts = |other: Entry| match other {
            Entry::Place { place, reverse } => self.maps.read_flow(place).is_none_or(|flow| {
                let theirs = if reverse { flow.reverse } else { flow.forward };
                theirs == *key
            }),
            Entry::Forwarder => false,
        };
        self.maps.index.claim(self.hash(key), entry, conflicts)
    }

    /// The program makes no flows between the ports of a flow that it could not be told of, or does again.
    fn block(&self, flow: &FlowEntry, blocks: bool) {
        for port in [flow.forward.port, flow.reverse.port] {
            let there = self.maps.port(port.place());
            // Another port at the same place was never blocked by it.
            if there.is_none_or(|slot| slot.number.load(Ordering::Relaxed) != port.0) {
                continue;
            }
            if let Some(live) = self.maps.port_lives.get(port.place()) {
                if blocks {
                    live.blocked.fetch_add(1, Ordering::SeqCst);
                } else {
                    live.blocked.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
    }

    /// A flow is over: nobody finds it any more. What the program noted of it goes on with the flow.
    pub fn release(&mut self, flow: &mut FlowEntry, now: u64) -> Ended {
        match flow.claim {
            Claim::None => {}
            Claim::Shared => self.take_back(flow, now),
            Claim::Marked => {
                for key in [&flow.forward, &flow.reverse] {
                    self.maps.index.remove(self.hash(key), Entry::Forwarder);
                }
            }
            Claim::Blocking => self.block(flow, false),
        }
        flow.claim = Claim::None;
        Ended { counted: flow.live.phase() == Phase::Reset }
    }

    fn take_back(&mut self, flow: &mut FlowEntry, now: u64) {
        let Some(place) = flow.live.place() else { return };
        let copy = self.maps.peek_flow(place);
        self.maps.lock(place);
        // From here on the program neither begins it again nor counts its end.
        let phase = self.maps.live(place).phase.swap(Phase::Reset.code(), Ordering::SeqCst);
        flow.live = flow.live.own_copy();
        flow.live.set_phase(Phase::from_code(phase));
        self.forget(place, &copy, now);
    }

    /// Whether so many places are taken that flows which are closed give way early. Short connections begun one after another
    /// would else fill the table with flows that are over, since each is kept for seconds after its last packet.
    pub fn is_crowded(&self) -> bool {
        (self.left() as usize) < self.maps.flows.len() / 4 * 3
    }

    /// Ends a flow of the program's that the forwarder knows nothing of, if `is_over` still holds when nobody can begin it
    /// again any more.
    pub fn collect(
        &mut self,
        place: u32,
        now: u64,
        is_over: impl Fn(&FlowCopy, Phase, u64) -> bool,
    ) -> Option<(FlowCopy, Ended)> {
        if self.holder(place) != Holder::Program {
            return None;
        }
        let copy = self.maps.read_flow(place)?;
        let live = self.maps.live(place);
        // Most are not, and whoever carries their packets is not to be disturbed.
        if !is_over(&copy, Phase::from_code(live.phase.load(Ordering::Relaxed)), last_seen(live)) {
            return None;
        }
        self.maps.lock(place);
        let phase = Phase::from_code(live.phase.load(Ordering::SeqCst));
        if !is_over(&copy, phase, last_seen(live)) {
            self.maps.publish(place);
            return None;
        }
        let phase = live.phase.swap(Phase::Reset.code(), Ordering::SeqCst);
        self.forget(place, &copy, now);
        Some((copy, Ended { counted: Phase::from_code(phase) == Phase::Reset }))
    }

    /// Empties a place whose life is odd.
    fn forget(&mut self, place: u32, flow: &FlowCopy, now: u64) {
        for (key, reverse) in [(&flow.forward, false), (&flow.reverse, true)] {
            self.maps.index.remove(self.hash(key), Entry::Place { place, reverse });
        }
        if let Some(template) = flow.template {
            let made = matches!(self.holder(place), Holder::Program | Holder::Adopted);
            self.templates.leave(template, made.then(|| flow.reverse.destination.v4()));
        }
        match self.holder(place) {
            Holder::Nobody => {}
            Holder::Forwarder => self.count(flow.forward.port, -1),
            Holder::Program | Holder::Adopted => {
                self.over = self.over.wrapping_add(1);
                if let Some(over) = self.over_of_port.get_mut(flow.forward.port.place()) {
                    *over = over.wrapping_add(1);
                }
            }
        }
        self.hold(place, Holder::Nobody);
        self.rested.push_back((place, now));
    }

    /// A flow rests on something else than before.
    pub fn restamp(&mut self, flow: &mut FlowEntry, now: u64) {
        let Some(place) = flow.live.place() else { return };
        if fits(&flow.verdict.cut) {
            self.maps.restamp(place, &flow.verdict.cut);
            return;
        }
        self.take_back(flow, now);
        // Its keys were its own, so that nobody can have come first; and where somebody did, it makes no more.
        if self.mark(flow).is_err() {
            self.block(flow, true);
            flow.claim = Claim::Blocking;
        }
    }

    /// The flow of a key that the program knows. Waits, for a moment, until a flow that is about to be there is.
    pub fn find(&self, key: &FlowKey) -> Option<(u32, Direction)> {
        let hash = self.hash(key);
        for _ in 0..LOOKS {
            let mut unclear = false;
            for entry in self.maps.index.holders(hash) {
                let Entry::Place { place, reverse } = entry else { continue };
                let direction = if reverse { Direction::Reverse } else { Direction::Forward };
                match self.maps.read_flow(place) {
                    Some(flow) if (if reverse { flow.reverse } else { flow.forward }) == *key => {
                        return Some((place, direction));
                    }
                    Some(_) => {}
                    None => unclear = true,
                }
            }
            if !unclear {
                return None;
            }
            std::hint::spin_loop();
        }
        None
    }

    /// A flow of the program's becomes the forwarder's. None where it has it already, or there is none.
    pub fn adopt(&mut self, place: u32) -> Option<(FlowCopy, Arc<Verdict>, Live)> {
        if self.holder(place) != Holder::Program {
            return None;
        }
        let copy = self.maps.read_flow(place)?;
        let verdict = self.templates.verdict(copy.template?)?;
        let live = Live::shared(SharedFlow { maps: Arc::clone(&self.maps), place });
        let adopted = (copy, Arc::clone(verdict), live);
        self.hold(place, Holder::Adopted);
        Some(adopted)
    }

    /// The flows that the program made and the forwarder knows nothing of: where each is.
    pub fn strangers(&self) -> impl Iterator<Item = u32> {
        (0..self.fresh).filter(|place| {
            self.holder(*place) == Holder::Program
                && self.maps.life(*place).load(Ordering::Relaxed).is_multiple_of(2)
        })
    }

    /// The next place at which the program may have a flow that is over, looking at up to `budget`. The budget is used up.
    pub fn next_stranger(&mut self, budget: &mut usize, now: u64) -> Option<u32> {
        while *budget > 0 && self.fresh > 0 {
            *budget -= 1;
            self.hand = (self.hand + 1) % self.fresh;
            if self.holder(self.hand) == Holder::Program
                && self.maps.life(self.hand).load(Ordering::Relaxed).is_multiple_of(2)
                && self.may_be_over(self.hand, now)
            {
                return Some(self.hand);
            }
        }
        None
    }

    /// The shortest look at a flow: the program writes there all the time.
    fn may_be_over(&self, place: u32, now: u64) -> bool {
        let live = self.maps.live(place);
        Phase::from_code(live.phase.load(Ordering::Relaxed)) == Phase::Reset
            || now.saturating_sub(last_seen(live)) >= JUST_NOW
    }

    /// What a flow of the program's is, and the part of it that changes.
    pub fn look(&self, place: u32) -> Option<(FlowCopy, Live)> {
        let live = Live::shared(SharedFlow { maps: Arc::clone(&self.maps), place });
        Some((self.maps.read_flow(place)?, live))
    }

    /// The verdict that a flow of the program's was made by.
    pub fn verdict(&self, flow: &FlowCopy) -> Option<&Arc<Verdict>> {
        self.templates.verdict(flow.template?)
    }

    /// Gives the program as many free places as it may need until the next time.
    pub fn stock(&mut self, now: u64) {
        let processors = self.maps.place_rings.len();
        let each = (self.maps.flows.len() / (4 * processors)).clamp(1, RING);
        for at in 0..processors {
            while self.places_given(at) < each {
                let Some(place) = self.take_place(now) else { return };
                self.maps.begin_life(place);
                self.hold(place, Holder::Program);
                self.give_place(at, place);
            }
        }
    }

    /// How many free places a processor has.
    fn places_given(&self, processor: usize) -> usize {
        let Some(ring) = self.maps.place_rings.get(processor) else { return usize::MAX };
        let (head, tail) = (ring.head.load(Ordering::Acquire), ring.tail.load(Ordering::Relaxed));
        tail.wrapping_sub(head) as usize
    }

    fn give_place(&self, processor: usize, place: u32) {
        let Some(ring) = self.maps.place_rings.get(processor) else { return };
        let tail = ring.tail.load(Ordering::Relaxed);
        if let Some(slot) = ring.places.get(tail as usize % RING) {
            slot.store(place, Ordering::Relaxed);
        }
        ring.tail.store(tail.wrapping_add(1), Ordering::Release);
    }

    /// Says how many flows more the program may make for a port: half of what is left to be had before it has as much as it
    /// leaves to others.
    pub fn grant(&self, port: PortNumber) {
        let Some(live) = self.maps.port_lives.get(port.place()) else { return };
        let made = live.made.load(Ordering::Relaxed);
        let more = self.left().saturating_sub(self.own(port)).div_ceil(2);
        live.may_make.store(made.wrapping_add(more), Ordering::Release);
    }

    fn own(&self, port: PortNumber) -> u32 {
        let made = self.maps.port_lives.get(port.place()).map_or(0, |live| live.made.load(Ordering::Relaxed));
        let of = |counts: &Vec<u32>| counts.get(port.place()).copied().unwrap_or(0);
        of(&self.of_port).wrapping_add(made.wrapping_sub(of(&self.over_of_port)))
    }

    /// Places that are no flow's.
    fn left(&self) -> u32 {
        let rings = (0..self.maps.place_rings.len()).filter_map(|at| self.maps.place_rings.get(at));
        let taken = rings.fold(0_u32, |sum, ring| sum.wrapping_add(ring.head.load(Ordering::Relaxed)));
        let used = self.flows.wrapping_add(taken.wrapping_sub(self.over));
        (self.maps.flows.len() as u32).saturating_sub(used)
    }

    /// Whether a port leaves others as much room as it has itself, so that none of them takes all of it.
    fn leaves_room(&self, port: PortNumber) -> bool {
        self.own(port) < self.left()
    }

    /// The places of flows that the program made since the last time, to be logged, at most so many, and how many it had no
    /// room to note.
    pub fn notes(&self, most: usize) -> (Vec<FlowCopy>, u64) {
        let (mut flows, mut lost) = (Vec::new(), 0);
        for at in 0..self.maps.note_rings.len() {
            let Some(ring) = self.maps.note_rings.get(at) else { continue };
            let head = ring.head.load(Ordering::Acquire);
            let mut tail = ring.tail.load(Ordering::Relaxed);
            while tail != head && flows.len() < most {
                let note =
                    ring.notes.get(tail as usize % RING).map_or(0, |note| note.load(Ordering::Relaxed));
                tail = tail.wrapping_add(1);
                // The keys stay at the place for as long as it rests.
                let flow = self.maps.peek_flow(note as u32 % self.maps.flows.len() as u32);
                if self.hash(&flow.forward) == (note >> 32) as u32 {
                    flows.push(flow);
                } else {
                    lost += 1;
                }
            }
            ring.tail.store(tail, Ordering::Release);
        }
        (flows, lost)
    }

    /// Lets the program use a template.
    pub fn install(
        &mut self,
        recipe: &Recipe<'_>,
        verdict: Arc<Verdict>,
        exit: Option<PortNumber>,
    ) -> Option<u32> {
        let place = self.templates.install(recipe, verdict, exit)?;
        self.grant(recipe.key.port);
        Some(place)
    }

    /// The place of a table by which the program may choose.
    pub fn hold_table(&mut self, table: &Arc<Table>) -> Option<u32> {
        self.templates.hold_table(table)
    }

    /// No template came of it.
    pub fn let_go_of_table(&mut self, place: u32) {
        self.templates.let_go_of_table(place);
    }

    /// The port that a template's flows go out by.
    pub fn template_exit(&self, place: u32) -> Option<PortNumber> {
        self.templates.exit(place)
    }

    /// When the program last used a template, to some seconds.
    pub fn template_used(&self, place: u32) -> u64 {
        self.templates.used(place)
    }

    /// One of the addresses that stand for a template's sender is this, from now on.
    pub fn stand_in(&mut self, template: u32, variant: Variant, address: Ipv4Addr) {
        self.templates.stand_in(template, variant, address);
    }

    /// Whether flows that the program made have an address that stands for a peer. If not, it makes no more with it.
    pub fn keeps(&mut self, address: Ipv4Addr) -> bool {
        self.templates.keeps(address)
    }

    /// Gives up a template.
    pub fn retire(&mut self, template: u32, now: u64) {
        self.templates.retire(template, now);
    }

    /// Lets go of templates that are of no use any more. Gives what was refused by them.
    pub fn settle_templates(&mut self, now: u64) -> Vec<ResourceDrops> {
        self.templates.settle(now)
    }

    /// What the program refused, with what caused it.
    pub fn refused(&self) -> impl Iterator<Item = ResourceDrops> {
        self.templates.refused()
    }

    /// Goes on with a flow that the program knew before this process.
    pub fn go_on(&mut self, flow: &mut FlowEntry, now: u64) {
        let Some(place) = flow.live.place() else { return };
        self.count(flow.forward.port, 1);
        self.hold(place, Holder::Forwarder);
        flow.claim = Claim::Shared;
        let stamps = if fits(&flow.verdict.cut) { &flow.verdict.cut[..] } else { &[] };
        self.maps.go_on(place, stamps);
        self.restamp(flow, now);
    }

    /// All flows that stay of those before this process are known now, and no template makes others: places that are no
    /// flow's are free, or wait for the program still.
    pub fn free_others(&mut self, known: &HashSet<u32>, now: u64) {
        let keep = |entry| matches!(entry, Entry::Place { place, .. } if known.contains(&place));
        self.maps.index.retain(keep);
        let used = (0..self.maps.room()).rev().find(|place| !self.maps.is_fresh(*place));
        self.fresh = used.map_or(0, |last| last + 1);
        let waiting = self.maps.waiting_places();
        for place in 0..self.fresh {
            if known.contains(&place) {
                continue;
            }
            self.maps.begin_life(place);
            if waiting.contains(&place) {
                self.hold(place, Holder::Program);
            } else {
                self.rested.push_back((place, now));
            }
        }
        // All of those that the program has made until now are over, or the forwarder's.
        let rings = (0..self.maps.place_rings.len()).filter_map(|at| self.maps.place_rings.get(at));
        self.over = rings.fold(0_u32, |sum, ring| sum.wrapping_add(ring.head.load(Ordering::Relaxed)));
        for (at, over) in self.over_of_port.iter_mut().enumerate() {
            *over = self.maps.port_lives.get(at).map_or(0, |live| live.made.load(Ordering::Relaxed));
        }
    }

    /// The maps, to be held for longer.
    pub(super) const fn shared_maps(&self) -> &Arc<Maps> {
        &self.maps
    }

    fn hash(&self, key: &FlowKey) -> u32 {
        Index::hash(self.maps.settings(), key)
    }

    fn can_carry(&self, flow: &FlowEntry) -> bool {
        let counted = flow.gateway.is_none_or(|at| at < GATEWAYS as usize);
        let ports = [flow.forward.port, flow.reverse.port];
        counted && fits(&flow.verdict.cut) && ports.iter().all(|port| self.has(*port))
    }

    /// Whether a port is the program's.
    pub fn has(&self, port: PortNumber) -> bool {
        let there = |slot: &AtomicU32, value: u32| slot.load(Ordering::Relaxed) == value;
        self.maps
            .port(port.place())
            .is_some_and(|slot| !there(&slot.interface, 0) && there(&slot.number, port.0))
    }

    fn count(&mut self, port: PortNumber, more: i32) {
        let own = self.of_port.get_mut(port.place());
        [Some(&mut self.flows), own].into_iter().flatten().for_each(|count| {
            *count = count.saturating_add_signed(more);
        });
    }

    fn holder(&self, place: u32) -> Holder {
        self.holders.get(place as usize).copied().unwrap_or_default()
    }

    fn hold(&mut self, place: u32, holder: Holder) {
        if let Some(slot) = self.holders.get_mut(place as usize) {
            *slot = holder;
        }
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

/// Whether the program can compare all of these for a flow.
fn fits(stamps: &[Stamp]) -> bool {
    stamps.len() <= STAMPS && are_numbered(stamps)
}

/// Whether the program can compare all of these for a template, whose flows rest on the first `cut` of them.
pub(crate) fn fits_template(stamps: &[Stamp], cut: usize) -> bool {
    stamps.len() <= TEMPLATE_STAMPS && cut <= STAMPS && are_numbered(stamps)
}

fn are_numbered(stamps: &[Stamp]) -> bool {
    stamps.iter().all(|stamp| stamp.slot < GENERATIONS)
}
