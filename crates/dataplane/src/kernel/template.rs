//! The forwarder's hand in the program's templates.
//!
//! INVARIANT: the place of a template is another's only when no flow refers to it any more, and not before a program that
//! found it has long ended. What a flow that the program made was decided by is therefore to be had from its template.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_path::{IdleTimeouts, Stamp};
use smallvec::SmallVec;

use super::index::{Entry, Index};
use super::layout::{Kind, TEMPLATES};
use super::maps::Maps;
use super::table::REST;
use crate::forward::{FlowKey, Mask, PortNumber, Verdict};

/// Templates that are given up and are looked at in one go.
const SETTLED_AT_ONCE: usize = 16;

/// What the program is to know of a template.
#[derive(Debug)]
pub(crate) struct Recipe<'a> {
    /// The box, with its shape's number.
    pub key: FlowKey,
    /// Its shape.
    pub mask: Mask,
    pub source_mask: u32,
    pub destination_mask: u32,
    pub port_masks: u32,
    /// What it rests on; the first `cut` of these also cut the flows.
    pub stamps: &'a [Stamp],
    pub cut: usize,
    pub kind: Kind,
    /// Why it is refused, and whether the sender is told.
    pub reason: u8,
    pub answered: bool,
    /// The port that packets go out by.
    pub exit: u32,
    /// The destination and the source that the receiver sees, as in packets; zero where they stay.
    pub destination: u32,
    pub visible: u32,
    pub gateway: Option<u32>,
    pub mtu: u16,
    pub hops: u8,
    pub idle: IdleTimeouts,
}

/// What user space keeps of a template of the program's.
#[derive(Debug)]
struct Anchor {
    verdict: Arc<Verdict>,
    /// The port that its flows go out by; none where it is refused.
    exit: Option<PortNumber>,
    hash: u32,
    /// Addresses that stand for its sender, which it holds.
    held: SmallVec<[Ipv4Addr; 2]>,
    /// When the last of its flows ended, or it was given up.
    last: u64,
}

/// All templates of the program.
#[derive(Debug)]
pub(super) struct KernelTemplates {
    maps: Arc<Maps>,
    anchors: Vec<Option<Anchor>>,
    free: Vec<u32>,
    /// Those that are given up, with when that was.
    retired: VecDeque<(u32, u64)>,
}

impl KernelTemplates {
    pub fn new(maps: Arc<Maps>) -> Self {
        Self { maps, anchors: Vec::new(), free: Vec::new(), retired: VecDeque::new() }
    }

    /// Lets the program use a template. None where there is no room.
    pub fn install(
        &mut self,
        recipe: &Recipe<'_>,
        verdict: Arc<Verdict>,
        exit: Option<PortNumber>,
    ) -> Option<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.anchors.len() < TEMPLATES as usize => {
                self.anchors.push(None);
                (self.anchors.len() - 1) as u32
            }
            None => return None,
        };
        let hash = Index::hash(self.maps.settings(), &recipe.key);
        self.maps.write_template(place, recipe);
        self.show_shape(recipe);
        let entry = Entry::Place { place, reverse: false };
        // Only this thread writes here.
        if self.maps.template_index.claim(hash, entry, |_| false).is_err() {
            self.free.push(place);
            return None;
        }
        if let Some(slot) = self.anchors.get_mut(place as usize) {
            *slot = Some(Anchor { verdict, exit, hash, held: SmallVec::new(), last: 0 });
        }
        Some(place)
    }

    /// Lets the program look for boxes of a shape.
    fn show_shape(&self, recipe: &Recipe<'_>) {
        let shape = usize::from(recipe.key.mark);
        let Some(masks) = self.maps.masks.get(recipe.key.port.place()) else { return };
        let fields = [
            (&masks.source, recipe.source_mask),
            (&masks.destination, recipe.destination_mask),
            (&masks.ports, recipe.port_masks),
        ];
        for (field, mask) in fields {
            if let Some(slot) = field.get(shape) {
                slot.store(mask, Ordering::Relaxed);
            }
        }
        masks.used.fetch_or(1 << shape, Ordering::Release);
    }

    /// The verdict of a template's flows.
    pub fn verdict(&self, place: u32) -> Option<&Arc<Verdict>> {
        self.anchor(place).map(|anchor| &anchor.verdict)
    }

    /// The port that a template's flows go out by.
    pub fn exit(&self, place: u32) -> Option<PortNumber> {
        self.anchor(place)?.exit
    }

    /// When a template was last used, to some seconds.
    pub fn used(&self, place: u32) -> u64 {
        self.maps.template(place).map_or(0, |template| template.used.load(Ordering::Relaxed))
    }

    fn anchor(&self, place: u32) -> Option<&Anchor> {
        self.anchors.get(place as usize)?.as_ref()
    }

    /// One of the addresses that stand for a template's sender. True where the template holds it from now on.
    pub fn stand_in(&mut self, place: u32, variant: usize, address: Ipv4Addr) -> bool {
        let Some(Some(anchor)) = self.anchors.get_mut(place as usize) else { return false };
        let Some(template) = self.maps.template(place) else { return false };
        let Some(slot) = template.stand_ins.get(variant) else { return false };
        if slot.load(Ordering::Relaxed) != 0 {
            return false;
        }
        slot.store(u32::from_ne_bytes(address.octets()), Ordering::Release);
        anchor.held.push(address);
        true
    }

    /// One flow more refers to a template.
    pub fn refer(&self, place: u32) {
        if let Some(template) = self.maps.template(place) {
            template.users.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A flow that refers to a template has ended.
    pub fn leave(&mut self, place: u32, now: u64) {
        if let Some(template) = self.maps.template(place) {
            template.users.fetch_sub(1, Ordering::SeqCst);
        }
        if let Some(Some(anchor)) = self.anchors.get_mut(place as usize) {
            anchor.last = now;
        }
    }

    /// Gives up a template: no flow is made of it any more.
    pub fn retire(&mut self, place: u32, now: u64) {
        let Some(Some(anchor)) = self.anchors.get_mut(place as usize) else { return };
        anchor.last = now;
        self.maps.template_index.remove(anchor.hash, Entry::Place { place, reverse: false });
        if let Some(template) = self.maps.template(place) {
            template.life.fetch_or(1, Ordering::SeqCst);
        }
        self.retired.push_back((place, now));
    }

    /// Lets go of templates that were given up and that no flow refers to. Gives the addresses that they held, and since when
    /// they need not have.
    pub fn settle(&mut self, now: u64) -> SmallVec<[(Ipv4Addr, u64); 2]> {
        let mut held = SmallVec::new();
        for _ in 0..SETTLED_AT_ONCE.min(self.retired.len()) {
            let Some((place, since)) = self.retired.pop_front() else { break };
            let users = self.maps.template(place).map_or(0, |template| template.users.load(Ordering::SeqCst));
            if now.saturating_sub(since) < REST || users > 0 {
                self.retired.push_back((place, since));
                continue;
            }
            if let Some(anchor) = self.anchors.get_mut(place as usize).and_then(Option::take) {
                held.extend(anchor.held.iter().map(|address| (*address, anchor.last)));
            }
            self.free.push(place);
        }
        held
    }
}
