//! The forwarder's hand in the program's templates.
//!
//! INVARIANT: the place of a template is another's only when no flow refers to it any more, and not before a program that
//! found it has long ended. What a flow that the program made was decided by is therefore to be had from its template.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_path::{IdleTimeouts, Outcome, Stamp, Table};
use smallvec::SmallVec;

use super::choices::ChoiceTables;
use super::index::{Entry, Index};
use super::layout::{Kind, STAND_INS, TEMPLATES};
use super::maps::Maps;
use super::table::REST;
use crate::forward::{FlowKey, Mask, PortNumber, ResourceDrops, Variant, Verdict};

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
    /// By which table a target is chosen, if that is what it says: its place.
    pub table: u32,
    /// The destination port that the receiver sees; zero where it stays.
    pub to_port: u16,
    /// How many ports are given out.
    pub ports: u16,
}

/// What user space keeps of a template of the program's.
#[derive(Debug)]
struct Anchor {
    verdict: Arc<Verdict>,
    /// The port that its flows go out by; none where it is refused.
    exit: Option<PortNumber>,
    hash: u32,
    /// Addresses that stand for its sender, by which of them each is.
    stand_ins: [Option<Ipv4Addr>; STAND_INS],
    /// The table by which it chooses.
    table: Option<u32>,
}

/// All templates of the program.
#[derive(Debug)]
pub(super) struct KernelTemplates {
    maps: Arc<Maps>,
    anchors: Vec<Option<Anchor>>,
    choices: ChoiceTables,
    free: Vec<u32>,
    /// Those that are given up, with when that was.
    retired: VecDeque<(u32, u64)>,
    /// The templates that know an address, or whose flows have it.
    by_address: HashMap<Ipv4Addr, SmallVec<[u32; 2]>>,
}

impl KernelTemplates {
    pub fn new(maps: Arc<Maps>) -> Self {
        let choices = ChoiceTables::new(Arc::clone(&maps));
        Self {
            maps,
            choices,
            anchors: Vec::new(),
            free: Vec::new(),
            retired: VecDeque::new(),
            by_address: HashMap::new(),
        }
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
            let table = (recipe.kind == Kind::Choose).then_some(recipe.table);
            *slot = Some(Anchor { verdict, exit, hash, stand_ins: [None; STAND_INS], table });
        }
        Some(place)
    }

    /// The place of a table, for a template that is about to be installed. None where the program cannot choose by it.
    pub fn hold_table(&mut self, table: &Arc<Table>) -> Option<u32> {
        self.choices.hold(table)
    }

    /// The template was not installed.
    pub fn let_go_of_table(&mut self, place: u32) {
        self.choices.let_go(place);
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

    /// One of the addresses that stand for a template's sender is this, from now on.
    pub fn stand_in(&mut self, place: u32, variant: Variant, address: Ipv4Addr) {
        let Some(Some(anchor)) = self.anchors.get_mut(place as usize) else { return };
        let Some(template) = self.maps.template(place) else { return };
        // Further ones are of flows that met others with the same port.
        let at = usize::from(variant);
        let (Some(known), Some(slot)) = (anchor.stand_ins.get_mut(at), template.stand_ins.get(at)) else {
            return;
        };
        // One that was taken out, and that flows still have, is not to be forgotten.
        if known.is_none_or(|known| known == address) {
            *known = Some(address);
            let places = self.by_address.entry(address).or_default();
            if !places.contains(&place) {
                places.push(place);
            }
            slot.store(u32::from_ne_bytes(address.octets()), Ordering::SeqCst);
        }
    }

    /// Whether flows that the program made have an address. If not, it makes no more with it.
    ///
    /// The program counts a flow first and then looks whether the address is still there; this takes the address out first
    /// and then looks at the count. So one of them sees the other.
    pub fn keeps(&mut self, address: Ipv4Addr) -> bool {
        let Some(places) = self.by_address.get(&address) else { return false };
        let mut taken_out = SmallVec::<[(u32, usize); 4]>::new();
        for place in places {
            let at = self.anchor(*place).and_then(|anchor| variant_of(anchor, address));
            let (Some(template), Some(at)) = (self.maps.template(*place), at) else { continue };
            if let (Some(slot), Some(users)) = (template.stand_ins.get(at), template.stand_in_users.get(at)) {
                let was = slot.swap(0, Ordering::SeqCst);
                if users.load(Ordering::SeqCst) > 0 {
                    slot.store(was, Ordering::SeqCst);
                    return true;
                }
                taken_out.push((*place, at));
            }
        }
        for (place, at) in taken_out {
            let known = self.anchors.get_mut(place as usize).and_then(Option::as_mut);
            if let Some(known) = known.and_then(|anchor| anchor.stand_ins.get_mut(at)) {
                *known = None;
            }
        }
        self.by_address.remove(&address);
        false
    }

    /// One flow more refers to a template.
    pub fn refer(&self, place: u32) {
        if let Some(template) = self.maps.template(place) {
            template.users.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A flow that refers to a template has ended. `seen_as` is what the receiver saw of its sender, if the program made it.
    pub fn leave(&self, place: u32, seen_as: Option<Ipv4Addr>) {
        let Some(template) = self.maps.template(place) else { return };
        template.users.fetch_sub(1, Ordering::SeqCst);
        let at = self.anchor(place).zip(seen_as).and_then(|(anchor, address)| variant_of(anchor, address));
        if let Some(users) = at.and_then(|at| template.stand_in_users.get(at)) {
            users.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Gives up a template: no flow is made of it any more.
    pub fn retire(&mut self, place: u32, now: u64) {
        let Some(anchor) = self.anchor(place) else { return };
        self.maps.template_index.remove(anchor.hash, Entry::Place { place, reverse: false });
        if let Some(template) = self.maps.template(place) {
            template.life.fetch_or(1, Ordering::SeqCst);
        }
        self.retired.push_back((place, now));
    }

    /// What the program refused by templates, with what caused it.
    pub fn refused(&self) -> impl Iterator<Item = ResourceDrops> {
        (0..).zip(&self.anchors).filter_map(|(place, anchor)| self.refused_by(place, anchor.as_ref()?))
    }

    fn refused_by(&self, place: u32, anchor: &Anchor) -> Option<ResourceDrops> {
        let (resource, reason) = match &anchor.verdict.outcome {
            Outcome::Refuse(refusal) => (refusal.resource?, refusal.reason),
            Outcome::Forward(_) => return None,
        };
        let packets = self.maps.template(place)?.refused.load(Ordering::Relaxed);
        (packets > 0).then_some(ResourceDrops { resource, reason, packets })
    }

    /// Lets go of templates that were given up and that no flow refers to. Gives what was refused by them.
    pub fn settle(&mut self, now: u64) -> Vec<ResourceDrops> {
        let mut refused = Vec::new();
        for _ in 0..SETTLED_AT_ONCE.min(self.retired.len()) {
            let Some((place, since)) = self.retired.pop_front() else { break };
            let users = self.maps.template(place).map_or(0, |template| template.users.load(Ordering::SeqCst));
            if now.saturating_sub(since) < REST || users > 0 {
                self.retired.push_back((place, since));
                continue;
            }
            let anchor = self.anchors.get_mut(place as usize).and_then(Option::take);
            anchor.iter().filter_map(|anchor| anchor.table).for_each(|table| self.choices.let_go(table));
            refused.extend(anchor.as_ref().and_then(|anchor| self.refused_by(place, anchor)));
            for address in anchor.iter().flat_map(|anchor| anchor.stand_ins).flatten() {
                if let Some(places) = self.by_address.get_mut(&address) {
                    places.retain(|known| *known != place);
                    if places.is_empty() {
                        self.by_address.remove(&address);
                    }
                }
            }
            self.free.push(place);
        }
        refused
    }
}

/// Which of the addresses that stand for a template's sender this is.
fn variant_of(anchor: &Anchor, address: Ipv4Addr) -> Option<usize> {
    anchor.stand_ins.iter().position(|known| *known == Some(address))
}
