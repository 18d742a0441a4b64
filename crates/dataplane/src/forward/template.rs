//! Templates: decisions about whole boxes of flows, so that the next flow of a box needs none.
//!
//! INVARIANT: a template is used only while every stamp that its decision consulted equals the generation array, and
//! only for flows inside its decision's cover.
//!
//! A template is the largest box with aligned sides inside the cover that contains the flow; so whether a flow is in
//! it is a lookup of the masked flow. Where a decision chose a target among several there are two: one of the box in which
//! that is the way to choose, and one of the flows of a box that have this target. At most [`MOST_MASKS`] shapes of boxes are tried per port. When all are taken,
//! a finer shape that is there already serves as well, for a part of the cover is a cover.

use std::collections::HashMap;
use std::sync::Arc;

use postern_path::{Choice, Cover, Flow, Table};

use super::generation::Generations;
use super::key::{Address, FlowKey, KeyHash, PortNumber};
use super::verdict::Verdict;
use postern_path::Stamps;

/// The shapes of boxes of one port.
pub const MOST_MASKS: usize = 8;
/// How many templates are looked at to make room for one.
const EVICTION_STEPS: usize = 16;
/// A template that was not used for so long may give way, in nanoseconds.
const IDLE: u64 = 10_000_000_000;

/// The shape of a box: how many leading bits of each field are fixed.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Of the source, of 128.
    pub source: u8,
    /// Of the destination, of 128.
    pub destination: u8,
    /// Of the source port, of 16.
    pub source_port: u8,
    /// Of the destination port (in ICMP: type and code), of 16.
    pub destination_port: u8,
}

impl Mask {
    /// The largest box with aligned sides inside a cover that contains its flow.
    pub fn inside(cover: &Cover, flow: &Flow) -> Self {
        let (source_port, destination_port) = flow.transport.ports();
        Self {
            source: 96 + cover.source.prefix_len(),
            destination: 96 + cover.destination.prefix_len(),
            source_port: aligned_bits(source_port, cover.source_ports),
            destination_port: aligned_bits(destination_port, cover.destination_ports),
        }
    }

    /// The fixed bits of the source port.
    pub(super) const fn source_port_mask(&self) -> u16 {
        leading_ones(self.source_port)
    }

    /// The fixed bits of the destination port.
    pub(super) const fn destination_port_mask(&self) -> u16 {
        leading_ones(self.destination_port)
    }

    /// Whether every box of this shape lies inside a box of the other.
    const fn is_finer_than(&self, other: &Self) -> bool {
        self.source >= other.source
            && self.destination >= other.destination
            && self.source_port >= other.source_port
            && self.destination_port >= other.destination_port
    }

    /// The box of this shape that a flow is in.
    #[inline]
    fn apply(&self, number: u8, point: &FlowKey, choice: u16) -> FlowKey {
        let mut key = FlowKey::from_parts(
            point.port,
            mask_address(point.source, self.source),
            mask_address(point.destination, self.destination),
            point.protocol,
            point.source_port & leading_ones(self.source_port),
            point.destination_port & leading_ones(self.destination_port),
        );
        (key.mark, key.choice) = (number, choice);
        key
    }
}

/// A target's number as templates keep it: zero is none.
const fn choice_number(chosen: u16) -> Option<u16> {
    chosen.checked_add(1)
}

#[inline]
fn mask_address(address: Address, bits: u8) -> Address {
    let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    Address((u128::from_be_bytes(address.0) & mask).to_be_bytes())
}

#[inline]
const fn leading_ones(bits: u8) -> u16 {
    match u16::MAX.checked_shl(16_u32.saturating_sub(bits as u32)) {
        Some(mask) => mask,
        None => 0,
    }
}

/// The fewest leading bits that keep a port inside a range.
fn aligned_bits(port: u16, (low, high): (u16, u16)) -> u8 {
    let fits = |bits: u8| {
        let mask = leading_ones(bits);
        port & mask >= low && port | !mask <= high
    };
    (0..=16).find(|bits| fits(*bits)).unwrap_or(16)
}

/// What a decision depends on, as a key: identifiers are left out.
fn point(port: PortNumber, flow: &Flow) -> FlowKey {
    let (source_port, destination_port) = flow.transport.ports();
    FlowKey::from_parts(
        port,
        flow.source.into(),
        flow.destination.into(),
        flow.transport.protocol(),
        source_port,
        destination_port,
    )
}

/// What the kernel program knows of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Nothing yet.
    Untold,
    /// Nothing, and that stays so.
    Cannot,
    /// All, at this place.
    Knows(u32),
}

#[derive(Debug)]
struct Template {
    key: FlowKey,
    mask: Mask,
    /// Of one that only chooses: what the choice rests on.
    verdict: Arc<Verdict>,
    /// How targets are chosen; none where there is nothing to choose, or the choice is made.
    table: Option<Arc<Table>>,
    kernel: Kernel,
    /// The epoch in which all of its stamps were last found to be current.
    epoch: u64,
    used: u64,
}

impl Template {
    /// Whether both choose alike, and rest on the same.
    fn is_same_chooser(&self, other: &Self) -> bool {
        let same_table = self.table.as_ref().zip(other.table.as_ref());
        same_table.is_some_and(|(one, other)| Arc::ptr_eq(one, other))
            && self.verdict.consulted == other.verdict.consulted
    }

    /// When it was last used, here or in the kernel.
    fn last_used(&self, used_in_kernel: impl Fn(u32) -> u64) -> u64 {
        match self.kernel {
            Kernel::Knows(place) => self.used.max(used_in_kernel(place)),
            Kernel::Untold | Kernel::Cannot => self.used,
        }
    }
}

/// A template that says what is decided about a flow.
#[derive(Debug, Clone)]
pub struct Found {
    /// What.
    pub verdict: Arc<Verdict>,
    /// Where it is.
    pub at: usize,
    /// Where the one is that chose the flow's target.
    pub chooser: Option<usize>,
}

/// A template as the kernel program is told of it.
#[derive(Debug, Clone)]
pub struct Told {
    /// The box.
    pub key: FlowKey,
    /// Its shape.
    pub mask: Mask,
    /// What it says.
    pub verdict: Arc<Verdict>,
    /// How it chooses among several, if it does.
    pub table: Option<Arc<Table>>,
    /// What the program knows of it.
    pub kernel: Kernel,
}

/// What became of a decision that was to be a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It is one.
    Yes,
    /// There is no room for another shape.
    NoMask,
    /// There is no room for another template.
    NoRoom,
    /// It rests on what has changed already, or does not cover its own flow.
    Void,
}

/// The templates of one port.
#[derive(Debug)]
pub struct Templates {
    masks: [Option<(Mask, usize)>; MOST_MASKS],
    index: HashMap<FlowKey, usize, KeyHash>,
    templates: Vec<Template>,
    most: usize,
    hand: usize,
    /// Where the kernel program has templates that are no more.
    gone: Vec<u32>,
}

impl Templates {
    /// Room for `most` templates.
    pub fn new(most: usize, hash: KeyHash) -> Self {
        Self {
            masks: [None; MOST_MASKS],
            index: HashMap::with_hasher(hash),
            templates: Vec::new(),
            most,
            hand: 0,
            gone: Vec::new(),
        }
    }

    /// How many there are, void ones included.
    pub fn len(&self) -> usize {
        self.templates.len()
    }

    /// What was decided about a flow, if that still holds, and which template says so.
    #[inline]
    pub fn find(
        &mut self,
        port: PortNumber,
        flow: &Flow,
        generations: &Generations,
        now: u64,
    ) -> Option<Found> {
        let point = point(port, flow);
        let at = self.lookup(&point, 0, generations, now)?;
        let template = self.templates.get(at)?;
        let Some(table) = &template.table else {
            return Some(Found { verdict: Arc::clone(&template.verdict), at, chooser: None });
        };
        let choice = choice_number(table.choose(flow)?)?;
        let chosen = self.lookup(&point, choice, generations, now)?;
        // What is void goes when it is met, and others move.
        let chooser = self.lookup(&point, 0, generations, now)?;
        let verdict = Arc::clone(&self.templates.get(chosen)?.verdict);
        Some(Found { verdict, at: chosen, chooser: Some(chooser) })
    }

    /// The template of a box that a point is in and that still holds.
    fn lookup(&mut self, point: &FlowKey, choice: u16, generations: &Generations, now: u64) -> Option<usize> {
        let epoch = generations.epoch();
        for number in 0..MOST_MASKS {
            let Some((mask, _)) = self.masks.get(number).copied().flatten() else { continue };
            // There are eight masks.
            let key = mask.apply(number as u8, point, choice);
            let Some(at) = self.index.get(&key).copied() else { continue };
            let Some(template) = self.templates.get_mut(at) else { continue };
            if template.epoch != epoch {
                if !template.verdict.is_current(generations) {
                    self.remove(at);
                    continue;
                }
                template.epoch = epoch;
            }
            template.used = now;
            return Some(at);
        }
        None
    }

    /// Keeps a decision for all flows of the largest box around this one. `used_in_kernel` says when the kernel program last
    /// used one of its templates.
    pub fn install(
        &mut self,
        port: PortNumber,
        flow: &Flow,
        (cover, verdict, choice): (&Cover, &Arc<Verdict>, Option<&Choice>),
        generations: &Generations,
        used_in_kernel: impl Fn(u32) -> u64 + Copy,
        now: u64,
    ) -> Installed {
        if !cover.contains(flow) || !verdict.is_current(generations) {
            return Installed::Void;
        }
        let of = |cover: &Cover, choice| (Mask::inside(cover, flow), point(port, flow), choice);
        let Some(choice) = choice else {
            return self.keep(of(cover, 0), (verdict, None), generations, used_in_kernel, now);
        };
        let Some(number) = choice_number(choice.chosen) else { return Installed::NoRoom };
        let chooser = Arc::new(Verdict {
            outcome: verdict.outcome,
            consulted: verdict.consulted.iter().take(choice.consulted).copied().collect(),
            cut: Stamps::new(),
            before_choice: 0,
        });
        let table = Some(&choice.table);
        match self.keep(of(&choice.cover, 0), (&chooser, table), generations, used_in_kernel, now) {
            Installed::Yes => self.keep(of(cover, number), (verdict, None), generations, used_in_kernel, now),
            other @ (Installed::NoMask | Installed::NoRoom | Installed::Void) => other,
        }
    }

    /// Keeps one template.
    fn keep(
        &mut self,
        (mask, point, choice): (Mask, FlowKey, u16),
        (verdict, table): (&Arc<Verdict>, Option<&Arc<Table>>),
        generations: &Generations,
        used_in_kernel: impl Fn(u32) -> u64,
        now: u64,
    ) -> Installed {
        let epoch = generations.epoch();
        if self.templates.len() >= self.most && !self.make_room(generations, used_in_kernel, now) {
            return Installed::NoRoom;
        }
        let Some((number, mask)) = self.shape(mask) else {
            return Installed::NoMask;
        };
        let key = mask.apply(number, &point, choice);
        let (verdict, table) = (Arc::clone(verdict), table.map(Arc::clone));
        let template = Template { key, mask, verdict, table, kernel: Kernel::Untold, epoch, used: now };
        match self.index.get(&key).and_then(|at| self.templates.get_mut(*at)) {
            // The same once more: another of its targets was met for the first time.
            Some(older) if older.is_same_chooser(&template) => older.used = now,
            Some(older) => {
                let older = std::mem::replace(older, template);
                self.leave(older.kernel);
            }
            None => {
                self.index.insert(key, self.templates.len());
                self.templates.push(template);
                if let Some(Some((_, count))) = self.masks.get_mut(usize::from(number)) {
                    *count += 1;
                }
            }
        }
        Installed::Yes
    }

    /// A template as the kernel program is told of it.
    pub fn at(&self, at: usize) -> Option<Told> {
        let Template { key, mask, verdict, table, kernel, epoch: _, used: _ } = self.templates.get(at)?;
        let (verdict, table) = (Arc::clone(verdict), table.clone());
        Some(Told { key: *key, mask: *mask, verdict, table, kernel: *kernel })
    }

    /// The kernel program was told of a template, or cannot be.
    pub fn tell(&mut self, at: usize, told: Kernel) {
        if let Some(template) = self.templates.get_mut(at) {
            let before = std::mem::replace(&mut template.kernel, told);
            self.leave(before);
        }
    }

    /// What the kernel program could not be told before it may be told now.
    pub fn try_again(&mut self) {
        for template in &mut self.templates {
            match template.kernel {
                Kernel::Cannot => template.kernel = Kernel::Untold,
                Kernel::Untold | Kernel::Knows(_) => {}
            }
        }
    }

    /// Where the kernel program has templates that are no more.
    pub fn take_gone(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.gone)
    }

    /// Removes all of them.
    pub fn clear(&mut self) {
        while !self.templates.is_empty() {
            self.remove(0);
        }
    }

    fn leave(&mut self, kernel: Kernel) {
        match kernel {
            Kernel::Knows(place) => self.gone.push(place),
            Kernel::Untold | Kernel::Cannot => {}
        }
    }

    /// The shape wanted, or one inside it, with its number.
    fn shape(&mut self, wanted: Mask) -> Option<(u8, Mask)> {
        let numbered = || (0_u8..).zip(self.masks.iter());
        let present = numbered().find_map(|(number, entry)| {
            entry.filter(|(mask, _)| *mask == wanted).map(|(mask, _)| (number, mask))
        });
        let free = || numbered().find(|(_, entry)| entry.is_none_or(|(_, count)| count == 0));
        let finer = || {
            numbered().find_map(|(number, entry)| {
                entry.filter(|(mask, _)| mask.is_finer_than(&wanted)).map(|(mask, _)| (number, mask))
            })
        };
        if let Some(present) = present {
            return Some(present);
        }
        let Some((number, _)) = free() else { return finer() };
        if let Some(entry) = self.masks.get_mut(usize::from(number)) {
            *entry = Some((wanted, 0));
        }
        Some((number, wanted))
    }

    /// Makes room for one template: a void one goes, or one that was not used for long.
    fn make_room(
        &mut self,
        generations: &Generations,
        used_in_kernel: impl Fn(u32) -> u64,
        now: u64,
    ) -> bool {
        for _ in 0..EVICTION_STEPS.min(self.templates.len()) {
            self.hand = (self.hand + 1) % self.templates.len();
            let give_way = self.templates.get(self.hand).is_some_and(|template| {
                let used = template.last_used(&used_in_kernel);
                now.saturating_sub(used) > IDLE || !template.verdict.is_current(generations)
            });
            if give_way {
                self.remove(self.hand);
                return true;
            }
        }
        false
    }

    fn remove(&mut self, at: usize) {
        if at >= self.templates.len() {
            return;
        }
        let gone = self.templates.swap_remove(at);
        self.leave(gone.kernel);
        self.index.remove(&gone.key);
        if let Some(Some((_, count))) = self.masks.get_mut(usize::from(gone.key.mark)) {
            *count = count.saturating_sub(1);
        }
        if let Some(moved) = self.templates.get(at) {
            self.index.insert(moved.key, at);
        }
    }
}
