//! Templates: decisions about whole boxes of flows, so that the next flow of a box needs none.
//!
//! INVARIANT: a template is used only while every stamp that its decision consulted equals the generation array, and
//! only for flows inside its decision's cover.
//!
//! A template is the largest box with aligned sides inside the cover that contains the flow; so whether a flow is in
//! it is a lookup of the masked flow. At most [`MOST_MASKS`] shapes of boxes are tried per port. When all are taken,
//! a finer shape that is there already serves as well, for a part of the cover is a cover.

use std::collections::HashMap;
use std::sync::Arc;

use postern_path::{Cover, Flow};

use super::generation::Generations;
use super::key::{Address, FlowKey, KeyHash, PortNumber};
use super::verdict::Verdict;

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
    fn apply(&self, number: u8, point: &FlowKey) -> FlowKey {
        let mut key = FlowKey::from_parts(
            point.port,
            mask_address(point.source, self.source),
            mask_address(point.destination, self.destination),
            point.protocol,
            point.source_port & leading_ones(self.source_port),
            point.destination_port & leading_ones(self.destination_port),
        );
        key.mark = number;
        key
    }
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
    verdict: Arc<Verdict>,
    kernel: Kernel,
    /// The epoch in which all of its stamps were last found to be current.
    epoch: u64,
    used: u64,
}

impl Template {
    /// When it was last used, here or in the kernel.
    fn last_used(&self, used_in_kernel: impl Fn(u32) -> u64) -> u64 {
        match self.kernel {
            Kernel::Knows(place) => self.used.max(used_in_kernel(place)),
            Kernel::Untold | Kernel::Cannot => self.used,
        }
    }
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
    ) -> Option<(Arc<Verdict>, usize)> {
        let point = point(port, flow);
        let epoch = generations.epoch();
        for number in 0..MOST_MASKS {
            let Some((mask, _)) = self.masks.get(number).copied().flatten() else { continue };
            // There are eight masks.
            let Some(at) = self.index.get(&mask.apply(number as u8, &point)).copied() else { continue };
            let Some(template) = self.templates.get_mut(at) else { continue };
            if template.epoch != epoch {
                if !template.verdict.is_current(generations) {
                    self.remove(at);
                    continue;
                }
                template.epoch = epoch;
            }
            template.used = now;
            return Some((Arc::clone(&template.verdict), at));
        }
        None
    }

    /// Keeps a decision for all flows of the largest box around this one. `used_in_kernel` says when the kernel program last
    /// used one of its templates.
    pub fn install(
        &mut self,
        port: PortNumber,
        flow: &Flow,
        (cover, verdict): (&Cover, &Arc<Verdict>),
        generations: &Generations,
        used_in_kernel: impl Fn(u32) -> u64,
        now: u64,
    ) -> Installed {
        let epoch = generations.epoch();
        if !cover.contains(flow) || !verdict.is_current(generations) {
            return Installed::Void;
        }
        if self.templates.len() >= self.most && !self.make_room(generations, used_in_kernel, now) {
            return Installed::NoRoom;
        }
        let Some((number, mask)) = self.shape(Mask::inside(cover, flow)) else {
            return Installed::NoMask;
        };
        let key = mask.apply(number, &point(port, flow));
        let template =
            Template { key, mask, verdict: Arc::clone(verdict), kernel: Kernel::Untold, epoch, used: now };
        match self.index.get(&key).and_then(|at| self.templates.get_mut(*at)) {
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

    /// A template: its box, its shape, what it says, and what the kernel program knows of it.
    pub fn at(&self, at: usize) -> Option<(FlowKey, Mask, Arc<Verdict>, Kernel)> {
        let template = self.templates.get(at)?;
        Some((template.key, template.mask, Arc::clone(&template.verdict), template.kernel))
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
