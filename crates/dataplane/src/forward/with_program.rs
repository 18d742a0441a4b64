//! What the forwarder and the kernel program both make: templates that the program uses, and flows that it made of them.
//!
//! INVARIANT: a flow of the program's is the forwarder's from when it is met here: when a packet of it comes up, when its
//! port is needed, when it is listed or over. Until then nothing of it is in user space but what is mapped, and what it
//! holds (a port of a NAT gateway, an address that stands for its sender) is held by its key and by its template.

use std::net::IpAddr;
use std::sync::Arc;

use postern_path::{Action, Deliver, Door, IdleTimeouts, Outcome, Reply, SourceRewrite, Stamp};
use smallvec::SmallVec;

use super::flow::{Claim, FlowEntry, FlowId, Opening};
use super::key::{FlowKey, PortNumber};
use super::live::Live;
use super::log::LiveFlow;
use super::nat::SpaceKey;
use super::packet::protocol;
use super::phase::{Direction, Phase};
use super::port::Owner;
use super::tables::{CLOSED_AGE, PORT_CANDIDATES, Tables, ports_of, through};
use super::template::{Found, Kernel, Told};
use super::verdict::Verdict;
use crate::kernel::layout::{GATEWAYS, HAS_NAT_PORT, Kind};
use crate::kernel::{Contended, FlowCopy, KernelTables, Recipe, fits_template};

/// Flows of the program's that are logged in one go.
const NOTES_AT_ONCE: usize = 2_048;

/// How much more is looked at where flows are over almost as fast as others begin.
const CROWDED: usize = 2;

/// The NAT gateway's ports that a flow has one of, by its way back.
pub(super) fn space_of(reverse: &FlowKey) -> (SpaceKey, u16) {
    let (target_port, port) = match reverse.protocol {
        protocol::ICMP => (reverse.destination_port, reverse.source_port),
        _ => (reverse.source_port, reverse.destination_port),
    };
    let space =
        SpaceKey::new(reverse.port, reverse.destination, reverse.source, target_port, reverse.protocol);
    (space, port)
}

impl Tables {
    /// A port is the kernel program's from now on, and so are flows that began there before, and what is decided about
    /// others to come.
    pub(super) fn hand_over(&mut self, port: PortNumber, now: u64) {
        if self.kernel.is_none() {
            return;
        }
        self.ports.tell_templates_again();
        let is_of_port = |flow: &FlowEntry| {
            let ours = matches!(flow.claim, Claim::Marked | Claim::Blocking);
            let waits = flow.uplink.is_some() || !matches!(flow.opening, Opening::Done);
            ours && !waits && (flow.forward.port == port || flow.reverse.port == port)
        };
        for id in self.flows.ids_where(is_of_port) {
            let (Some(kernel), Some(flow)) = (&mut self.kernel, self.flows.get_mut(id)) else { continue };
            kernel.release(flow, now);
            match kernel.share(flow, None, false, now) {
                Ok(()) => kernel.begin(flow),
                // Somebody was faster between the two: there cannot be two of one key.
                Err(Contended) => self.end(id, now),
            }
        }
    }

    /// The flow of packets with this key, whoever made it.
    pub(super) fn lookup(&mut self, key: &FlowKey, now: u64) -> Option<(FlowId, Direction)> {
        if let Some(found) = self.flows.find(key) {
            return Some(found);
        }
        let (place, direction) = self.kernel.as_ref()?.find(key)?;
        Some((self.adopt(place, now)?, direction))
    }

    /// A flow of the program's becomes one of the forwarder's. None where it is over, or its port is gone.
    fn adopt(&mut self, place: u32, now: u64) -> Option<FlowId> {
        let kernel = self.kernel.as_mut()?;
        let (copy, live) = kernel.look(place)?;
        let interface = self.ports.get(copy.forward.port).and_then(|port| port.interface());
        let Some(interface) = interface.filter(|_| live.phase() != Phase::Reset) else {
            self.collect(place, now);
            return None;
        };
        let (copy, verdict, live) = kernel.adopt(place)?;
        let space = (copy.flags & HAS_NAT_PORT != 0).then(|| space_of(&copy.reverse));
        let peer = match verdict.action().map(|action| action.source) {
            Some(SourceRewrite::Identity { .. }) => Some(copy.reverse.destination.v4()),
            Some(SourceRewrite::Keep | SourceRewrite::Address(_) | SourceRewrite::Port { .. }) | None => None,
        };
        let flow = FlowEntry {
            forward: copy.forward,
            reverse: copy.reverse,
            interface,
            verdict,
            idle: copy.idle,
            live,
            closing: None,
            claim: Claim::Shared,
            space: space.map(|(space, _)| space),
            peer,
            gateway: copy.gateway.map(|at| at as usize),
            uplink: None,
            opening: Opening::Done,
        };
        // Its keys are in the index that is shared, and so are all of the forwarder's.
        let id = self.flows.insert(flow).ok()?;
        if let Some((space, port)) = space {
            self.nat.take(&space, port);
        }
        if let Some(address) = peer {
            self.peers.hold(address);
        }
        Some(id)
    }

    /// Ends a flow that the program made, if it is over and the forwarder knows nothing of it.
    pub(super) fn collect(&mut self, place: u32, now: u64) -> bool {
        let Some(kernel) = &mut self.kernel else { return false };
        let (ports, crowded) = (&self.ports, kernel.is_crowded());
        let is_over = |flow: &FlowCopy, phase: Phase, seen: u64| {
            let silent = now.saturating_sub(seen);
            phase == Phase::Reset
                || silent > phase.patience(&flow.idle)
                || (crowded && phase == Phase::Closed && silent >= CLOSED_AGE)
                || ports.get(flow.forward.port).is_none()
                || ports.get(flow.reverse.port).is_none()
        };
        let Some((flow, ended)) = kernel.collect(place, now, is_over) else { return false };
        if flow.flags & HAS_NAT_PORT != 0 {
            let (space, port) = space_of(&flow.reverse);
            self.nat.give_back(&space, port);
        }
        // Of other flows it stands for nobody.
        self.peers.was_used(flow.reverse.destination.v4(), now);
        if !ended.counted {
            self.count_end(flow.forward.port, flow.gateway.map(|at| at as usize));
        }
        true
    }

    /// Collects flows of the program's that are over, looking at half of `budget` places, and gives it new ones.
    pub(super) fn sweep_shared(&mut self, now: u64, budget: usize) {
        // Each costs a look at memory that the program writes to.
        let crowded = self.kernel.as_ref().is_some_and(KernelTables::is_crowded);
        let mut left = if crowded { budget * CROWDED } else { budget / 2 };
        while let Some(place) = self.kernel.as_mut().and_then(|kernel| kernel.next_stranger(&mut left, now)) {
            self.collect(place, now);
        }
        let Some(kernel) = &mut self.kernel else { return };
        kernel.stock(now);
        let refused = kernel.settle_templates(now);
        refused.into_iter().for_each(|drops| self.resources.add(drops));
    }

    /// A port of a NAT gateway that is nobody's, taken for a flow.
    pub(super) fn free_port(
        &mut self,
        (space, ports): (&SpaceKey, usize),
        sender: &FlowKey,
        reverse: &impl Fn(u16) -> FlowKey,
        now: u64,
    ) -> Option<u16> {
        // Free, but what would come back has the key of a flow that somebody began the other way around.
        let mut passed_over = SmallVec::<[u16; 4]>::new();
        let found = loop {
            let port = self.nat.free(space, sender, ports).filter(|_| passed_over.len() < PORT_CANDIDATES);
            let Some(port) = port else { break None };
            let key = reverse(port);
            let holder = self.kernel.as_ref().and_then(|kernel| kernel.find(&key));
            match holder {
                // It was reset, which ends a flow at once.
                Some((place, _)) if self.is_reset(place) && self.collect(place, now) => continue,
                // Noted here, it is not looked at again.
                Some((place, Direction::Reverse)) if self.has_nat_port(place) => {}
                Some(_) => passed_over.push(port),
                None if self.flows.find(&key).is_some() => passed_over.push(port),
                None => break Some(port),
            }
            self.nat.take(space, port);
        };
        passed_over.into_iter().for_each(|port| self.nat.give_back(space, port));
        found.inspect(|port| self.nat.take(space, *port))
    }

    fn has_nat_port(&self, place: u32) -> bool {
        let found = self.kernel.as_ref().and_then(|kernel| kernel.look(place));
        found.is_some_and(|(copy, _)| copy.flags & HAS_NAT_PORT != 0)
    }

    fn is_reset(&self, place: u32) -> bool {
        let live = self.kernel.as_ref().and_then(|kernel| kernel.look(place));
        live.is_some_and(|(_, live)| live.phase() == Phase::Reset)
    }

    /// The flows of the program's that the forwarder knows nothing of, as they are listed.
    pub(super) fn strangers(&self, now: u64) -> impl Iterator<Item = LiveFlow> {
        self.kernel.iter().flat_map(move |kernel| {
            kernel.strangers().filter_map(move |place| {
                let (copy, live) = kernel.look(place)?;
                let verdict = kernel.verdict(&copy)?;
                self.stranger(&copy, verdict.action()?, &live, now)
            })
        })
    }

    fn stranger(&self, flow: &FlowCopy, action: &Action, live: &Live, now: u64) -> Option<LiveFlow> {
        let patience = live.phase().patience(&flow.idle);
        let over = live.phase() == Phase::Reset || now.saturating_sub(live.seen()) > patience;
        let interface = self.ports.get(flow.forward.port)?.interface().filter(|_| !over)?;
        self.listed(flow.forward, &flow.reverse, interface, action, (live, patience), now)
    }

    /// Forgets which flows the program made since the last time they were logged.
    pub(crate) fn drop_notes(&mut self) {
        if let Some(kernel) = &self.kernel {
            let _ = kernel.notes(usize::MAX);
        }
    }

    /// Logs the flows that the program made since the last time.
    pub(crate) fn take_notes(&mut self) {
        let Some(kernel) = &self.kernel else { return };
        if !kernel.maps().logs_flows() {
            return;
        }
        let (flows, lost) = kernel.notes(NOTES_AT_ONCE);
        self.lose(lost);
        for flow in flows {
            let verdict = self.kernel.as_ref().and_then(|kernel| kernel.verdict(&flow)).map(Arc::clone);
            let interface = self.ports.get(flow.forward.port).and_then(|port| port.interface());
            match (verdict.as_ref().and_then(|verdict| verdict.action()), interface) {
                (Some(action), Some(interface)) => {
                    self.log_begun(flow.forward, &flow.reverse, interface, action);
                }
                // Whoever began it is unplugged.
                (Some(_) | None, _) => self.lose(1),
            }
        }
    }

    /// Lets the program use the template that a flow was decided by, if it can. Gives its place among the program's.
    pub(crate) fn share_template(&mut self, port: PortNumber, found: &Found, now: u64) -> Option<u32> {
        if let Some(chooser) = found.chooser {
            self.share_one(port, chooser, now)?;
        }
        self.share_one(port, found.at, now)
    }

    fn share_one(&mut self, port: PortNumber, at: usize, now: u64) -> Option<u32> {
        let kernel = self.kernel.as_ref()?;
        let owner = self.ports.get_mut(port)?;
        let told = owner.templates.at(at)?;
        let known = told.kernel;
        let exit = match exit_of(&told.verdict).filter(|_| told.table.is_none()) {
            None => None,
            Some(owner) => Some(self.ports.of(owner)?),
        };
        match known {
            Kernel::Cannot => return None,
            Kernel::Knows(place) if kernel.template_exit(place) == exit => {
                kernel.grant(port);
                return Some(place);
            }
            Kernel::Untold | Kernel::Knows(_) => {}
        }
        let place = self.tell(&told, exit);
        let told = place.map_or(Kernel::Cannot, Kernel::Knows);
        if let Some(owner) = self.ports.get_mut(port) {
            owner.templates.tell(at, told);
        }
        // One with another way out was given up.
        self.retire_templates(port, now);
        place
    }

    /// Tells the program of a template, if it can use it.
    fn tell(&mut self, told: &Told, exit: Option<PortNumber>) -> Option<u32> {
        let Told { key, mask, verdict, table, kernel: _ } = told;
        let gateway = verdict.action().and_then(through).map(|id| self.gateway_place(id));
        let kernel = self.kernel.as_mut()?;
        let can = kernel.has(key.port) && exit.is_none_or(|exit| kernel.has(exit));
        let carried = matches!(key.protocol, protocol::TCP | protocol::UDP | protocol::ICMP);
        let (stamps, cut) = cut_first(verdict)?;
        if !can || !carried || !fits_template(&stamps, cut) {
            return None;
        }
        let mut recipe = Recipe {
            key: *key,
            mask: *mask,
            source_mask: address_mask(mask.source)?,
            destination_mask: address_mask(mask.destination)?,
            port_masks: u32::from(mask.source_port_mask()) << 16 | u32::from(mask.destination_port_mask()),
            stamps: &stamps,
            cut,
            kind: Kind::Refuse,
            reason: 0,
            answered: false,
            exit: exit.map_or(0, |exit| exit.0),
            destination: 0,
            visible: 0,
            gateway: None,
            mtu: 0,
            hops: 0,
            idle: IdleTimeouts::INTERFACE,
            table: 0,
            to_port: 0,
            ports: 0,
        };
        if let Some(table) = table {
            (recipe.kind, recipe.table) = (Kind::Choose, kernel.hold_table(table)?);
            let installed = kernel.install(&recipe, Arc::clone(verdict), exit);
            if installed.is_none() {
                kernel.let_go_of_table(recipe.table);
            }
            return installed;
        }
        match &verdict.outcome {
            Outcome::Refuse(refusal) => {
                recipe.reason = refusal.reason.code();
                recipe.answered = match refusal.reply {
                    Reply::Silence => false,
                    Reply::NetworkUnreachable(_) | Reply::Reset => true,
                };
            }
            Outcome::Forward(action) => {
                recipe.gateway = match gateway {
                    None => None,
                    Some(place) => {
                        Some(place.filter(|place| *place < GATEWAYS as usize).map(|place| place as u32)?)
                    }
                };
                describe(&mut recipe, action)?;
            }
        }
        kernel.install(&recipe, Arc::clone(verdict), exit)
    }

    /// Gives up templates of a port that are no more.
    pub(crate) fn retire_templates(&mut self, port: PortNumber, now: u64) {
        if let Some(port) = self.ports.get_mut(port) {
            let gone = port.templates.take_gone();
            self.give_up(gone, now);
        }
    }

    /// Gives up templates, by their places among the program's.
    pub(super) fn give_up(&mut self, gone: Vec<u32>, now: u64) {
        if let Some(kernel) = &mut self.kernel {
            gone.into_iter().for_each(|place| kernel.retire(place, now));
        }
    }
}

/// Behind which port the flows of a verdict go out.
fn exit_of(verdict: &Verdict) -> Option<Owner> {
    verdict.action().map(|action| match action.deliver {
        Deliver::Interface(id) => Owner::Interface(id),
        Deliver::Door(_) => Owner::Doors,
    })
}

/// What a verdict rests on, with those first that cut its flows. None where those are not among it.
fn cut_first(verdict: &Verdict) -> Option<(SmallVec<[Stamp; 16]>, usize)> {
    let mut stamps: SmallVec<[Stamp; 16]> = verdict.cut.iter().copied().collect();
    let cut = stamps.len();
    if !stamps.iter().all(|stamp| verdict.consulted.contains(stamp)) {
        return None;
    }
    // Of one of a target's: what comes before the choice is compared with the template that chooses.
    let own = verdict.consulted.iter().skip(verdict.before_choice);
    stamps.extend(own.filter(|stamp| !verdict.cut.contains(stamp)).copied());
    Some((stamps, cut))
}

/// What the program does with flows that pass. None where that is the forwarder's alone.
fn describe(recipe: &mut Recipe<'_>, action: &Action) -> Option<()> {
    let word = |address: IpAddr| match address {
        IpAddr::V4(address) => Some(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(_) => None,
    };
    recipe.destination = match action.deliver {
        // What leaves the region is announced first, and may have to wait.
        Deliver::Door(Door::Uplink) => return None,
        Deliver::Door(door) => word(door.address().into())?,
        Deliver::Interface(_) => action.destination.map_or(Some(0), word)?,
    };
    (recipe.kind, recipe.visible) = match action.source {
        SourceRewrite::Keep => (Kind::Keep, 0),
        SourceRewrite::Address(address) => (Kind::Address, word(address)?),
        SourceRewrite::Port { visible_address, .. } => (Kind::NatPort, word(visible_address)?),
        // It stands for one sender.
        SourceRewrite::Identity { .. } if recipe.mask.source == 128 => (Kind::StandIn, 0),
        SourceRewrite::Identity { .. } => return None,
    };
    recipe.to_port = action.balanced.map_or(0, |balanced| balanced.port);
    // Below 65,536, as there are no more ports.
    recipe.ports = ports_of(action) as u16;
    (recipe.mtu, recipe.hops, recipe.idle) = (action.mtu, action.hops.count(), action.idle);
    Some(())
}

/// The fixed bits of an IPv4 address, as it is in packets. None where they are fewer than say that it is one.
fn address_mask(bits: u8) -> Option<u32> {
    let bits = u32::from(bits.checked_sub(96)?);
    Some(u32::MAX.checked_shl(32 - bits).unwrap_or(0).to_be())
}
