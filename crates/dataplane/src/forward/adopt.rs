//! Going on with flows that the kernel program carried for a forwarder that is gone.
//!
//! Each is decided again on the plan of now. One of which the same is done as before stays, rests on that plan, and takes
//! what it holds (a NAT gateway's port, its place in the counts). Every other ends.
//!
//! INVARIANT: the program carries every flow that stays from beginning to end: what it compares goes up last, when all
//! that stay rest on it. After that nothing passes that the plan of now refuses.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use postern_model::NetworkInterfaceId;
use postern_path::{Action, Before, Deliver, Outcome, Present, SourceRewrite, Stamp};

use super::decider::Decider;
use super::flow::{Claim, FlowEntry, Opening};
use super::key::{Address, FlowKey, PortNumber};
use super::nat::SpaceKey;
use super::phase::Phase;
use super::port::Owner;
use super::tables::{Tables, through};
use super::verdict::Verdict;
use super::with_program::space_of;
use crate::kernel::{Found, KernelProgram, Maps};

/// What was gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adopted {
    /// Ports.
    pub ports: usize,
    /// Flows that stay.
    pub flows: usize,
    /// Flows that the program knew and that ended: the plan does not do the same for them, or they were with a door, where
    /// nobody knows them any more.
    pub ended: usize,
}

/// Verdicts that many flows between the same two ports share.
type Shared = HashMap<(PortNumber, PortNumber), Arc<Verdict>>;

/// How long a program that runs may need to end. It cannot be interrupted, and takes some microseconds.
const SETTLED: Duration = Duration::from_millis(2);

/// What was looked at.
#[derive(Default)]
struct Seen {
    /// Places of flows that stay, and that the program goes on carrying.
    known: HashSet<u32>,
    /// Places of those that end.
    ended: HashSet<u32>,
    shared: Shared,
}

/// Under what a flow is gone on with.
struct Judge<'a> {
    decider: &'a dyn Decider,
    /// Whether the plan is of the state that packets followed before.
    same_state: bool,
    now: u64,
}

impl Tables {
    /// Goes on with what the program carries. `current` is every generation of the plan, `same_state` whether packets
    /// followed the plan's state before.
    pub(crate) fn go_on(
        &mut self,
        program: &KernelProgram,
        decider: &dyn Decider,
        current: &[Stamp],
        same_state: bool,
        now: u64,
    ) -> Adopted {
        let Some(inherited) = program.inherited() else { return Adopted::default() };
        let (_, adoptions) = program.followed();
        // Numbers of ports come again after 4,096 lives; those of before are far from these.
        let life = (adoptions as u32).wrapping_mul(64);
        self.ports.go_on(inherited, life, decider, now);
        for name in program.maps().gateways() {
            // One that cannot be read keeps its place, and nobody has it.
            match name.parse() {
                Ok(id) => drop(self.gateways.place(id)),
                Err(error) => {
                    tracing::warn!(%error, name, "a gateway of before is not known");
                    break;
                }
            }
        }
        let judge = Judge { decider, same_state, now };
        let maps = program.maps();
        let mut seen = Seen::default();
        self.go_on_with_all(&maps, &judge, &mut seen, false);
        // Only now: what rests on the plan of before does not hold from here on.
        maps.outdate(program.last_generation() + 1);
        let beyond = self.generations.store(current);
        if beyond > 0 {
            tracing::error!(beyond, "generations beyond the array: their flows are decided one by one");
        }
        // Until a moment ago templates of before made flows. They rest on what was decided last.
        std::thread::sleep(SETTLED);
        self.go_on_with_all(&maps, &judge, &mut seen, true);
        let boxes = maps.template_boxes();
        maps.clear_templates();
        if let Some(kernel) = &mut self.kernel {
            kernel.free_others(&seen.known, now);
            kernel.stock(now);
        }
        self.decide_boxes(&boxes, &judge);
        self.balance(&maps);
        Adopted { ports: self.ports.iter().count(), flows: self.flows.len(), ended: seen.ended.len() }
    }

    /// Goes on with every flow that is there and was not seen yet. The last time nobody but us changes any, and what flows
    /// rested on is not to be compared any more.
    fn go_on_with_all(&mut self, maps: &Maps, judge: &Judge<'_>, seen: &mut Seen, last: bool) {
        let epoch = self.generations.epoch();
        for place in 0..maps.room() {
            if seen.known.contains(&place) || seen.ended.contains(&place) {
                continue;
            }
            // One that is over may be begun again before this is done, and is looked at again then.
            let found = maps.found(place, last).filter(|found| !self.is_over(found, judge.now));
            let Some(found) = found else { continue };
            let held = last || maps.holds(&found.stamps);
            match self.go_on_with(&found, judge, &mut seen.shared, held) {
                Some(id) => {
                    if let Some(flow) = self.flows.get(id).filter(|flow| flow.live.place().is_some()) {
                        flow.live.found_to_hold(epoch);
                        seen.known.insert(place);
                    }
                }
                None => drop(seen.ended.insert(place)),
            }
        }
    }

    /// Decides about boxes of flows that there were templates of, so that the program goes on making flows of them.
    fn decide_boxes(&mut self, boxes: &[FlowKey], judge: &Judge<'_>) {
        let generations = Arc::clone(&self.generations);
        for within in boxes {
            let Some(port) = self.ports.get_mut(within.port) else { continue };
            let Some(interface) = port.interface() else { continue };
            // The lowest flow of the box stands for all of it.
            let flow = within.flow(interface);
            if port.templates.find(within.port, &flow, &generations, judge.now).is_none() {
                let decision = judge.decider.decide(&flow);
                let verdict = Arc::new(Verdict::from(&decision));
                let decided = (&decision.cover, &verdict, decision.choice.as_deref());
                // Where it cannot be kept, the next flow is decided on its own.
                let _ = port.templates.install(within.port, &flow, decided, &generations, |_| 0, judge.now);
            }
            let kept = port.templates.find(within.port, &flow, &generations, judge.now);
            if let Some(found) = kept {
                let _ = self.share_template(within.port, &found, judge.now);
            }
        }
    }

    /// What the program counted of flows that began and ended goes on, and is added whenever it is read: so it is taken away
    /// here from how many there are.
    fn balance(&mut self, maps: &Maps) {
        let numbers: Vec<_> = self.ports.iter().map(|(number, _)| number).collect();
        for number in numbers {
            if let Some(port) = self.ports.get_mut(number) {
                port.counters.flows = port.counters.flows.wrapping_sub(maps.port_balance(number));
            }
        }
        for place in 0..self.gateways.len() {
            if let Some(counters) = self.gateways.get_mut(Some(place)) {
                counters.active = counters.active.wrapping_sub(maps.gateway_balance(place));
            }
        }
    }

    /// Whether a flow was reset, or silent for too long.
    fn is_over(&self, found: &Found, now: u64) -> bool {
        let Some(live) = self.kernel.as_ref().map(|kernel| kernel.live(found)) else { return true };
        let phase = live.phase();
        phase == Phase::Reset || now.saturating_sub(live.seen()) > phase.patience(&found.idle)
    }

    /// Makes a flow of one that the program carries, or nothing.
    fn go_on_with(
        &mut self,
        found: &Found,
        judge: &Judge<'_>,
        shared: &mut Shared,
        held: bool,
    ) -> Option<super::flow::FlowId> {
        let interface = self.ports.get(found.forward.port)?.interface()?;
        let live = self.kernel.as_ref()?.live(found);
        let verdict = self.still_passes(found, interface, judge, held)?;
        let action = *verdict.action()?;
        let space = self.claim(found, &action)?;
        let sharers = (found.forward.port, found.reverse.port);
        let verdict = match shared.get(&sharers) {
            Some(known) if **known == verdict => Arc::clone(known),
            Some(_) | None => {
                let verdict = Arc::new(verdict);
                shared.insert(sharers, Arc::clone(&verdict));
                verdict
            }
        };
        let entry = FlowEntry {
            forward: found.forward,
            reverse: found.reverse,
            interface,
            verdict,
            idle: found.idle,
            live,
            closing: None,
            claim: Claim::None,
            space,
            peer: None,
            gateway: found.gateway,
            uplink: None,
            opening: Opening::Done,
        };
        let taken = |tables: &mut Self| {
            if let Some(space) = &space {
                tables.nat.give_back(space, nat_port(found));
            }
        };
        if self.flows.is_full() {
            taken(self);
            return None;
        }
        let Ok(id) = self.flows.insert(entry) else {
            taken(self);
            return None;
        };
        if let (Some(kernel), Some(flow)) = (&mut self.kernel, self.flows.get_mut(id)) {
            kernel.go_on(flow, judge.now);
        }
        if let Some(port) = self.ports.get_mut(found.forward.port) {
            port.counters.flows += 1;
        }
        if let Some(counters) = self.gateways.get_mut(found.gateway) {
            counters.active += 1;
        }
        Some(id)
    }

    /// What the plan says of a flow, if it is the same as before.
    fn still_passes(
        &self,
        found: &Found,
        interface: NetworkInterfaceId,
        judge: &Judge<'_>,
        held: bool,
    ) -> Option<Verdict> {
        let flow = found.forward.flow(interface);
        let present = present(found);
        let same = |decision| {
            let verdict = Verdict::from(&decision);
            match &verdict.outcome {
                Outcome::Forward(action) => self.does_the_same(found, action),
                Outcome::Refuse(_) => false,
            }
            .then_some(verdict)
        };
        // As a new one; or as one that is tracked, which security groups do not end. Whether those have let it pass before,
        // and it is not an untracked one that they have ended since, is known only if nothing changed meanwhile.
        // One that a load balancer handed to a target stays with that, whoever would be chosen now.
        let as_new = Before { cut: None, present: Some(present) };
        same(judge.decider.decide_again(&flow, as_new)).or_else(|| {
            let as_tracked = Before { cut: Some(&[]), present: Some(present) };
            (held && judge.same_state).then(|| same(judge.decider.decide_again(&flow, as_tracked))).flatten()
        })
    }

    /// Whether an action would make this flow of its first packet, but for the port of a NAT gateway.
    fn does_the_same(&self, found: &Found, action: &Action) -> bool {
        let Deliver::Interface(target) = action.deliver else { return false };
        let exit = found.reverse.port;
        if self.ports.of(Owner::Interface(target)) != Some(exit) {
            return false;
        }
        let key = found.forward;
        let (source, port) = match action.source {
            SourceRewrite::Keep => (key.source, key.source_port),
            SourceRewrite::Address(address) => (address.into(), key.source_port),
            SourceRewrite::Port { visible_address, .. } => (Address::from(visible_address), nat_port(found)),
            // Only doors are told who is behind a connection.
            SourceRewrite::Identity { .. } => return false,
        };
        let destination = action.destination.map_or(key.destination, Address::from);
        let to_port = action.balanced.map_or(key.destination_port, |balanced| balanced.port);
        let seen = FlowKey::from_parts(exit, source, destination, key.protocol, port, to_port);
        let gateway = found.gateway.and_then(|place| self.gateways.at(place));
        seen.answer(exit) == found.reverse
            && gateway == through(action)
            && found.mtu == action.mtu
            && found.hops == action.hops.count()
            && found.idle == action.idle
    }

    /// Takes the port of a NAT gateway that a flow has. None where another flow has it, which cannot be.
    fn claim(&mut self, found: &Found, action: &Action) -> Option<Option<SpaceKey>> {
        match action.source {
            SourceRewrite::Port { .. } => {
                let (space, port) = space_of(&found.reverse);
                self.nat.claim(&space, port).then_some(Some(space))
            }
            SourceRewrite::Keep | SourceRewrite::Address(_) | SourceRewrite::Identity { .. } => Some(None),
        }
    }
}

/// The target that a flow has, if a load balancer handed it to one.
fn present(found: &Found) -> Present {
    let seen = found.reverse.answer(found.reverse.port);
    Present {
        to: SocketAddrV4::new(seen.destination.v4(), seen.destination_port),
        preserves: (seen.source, seen.source_port) == (found.forward.source, found.forward.source_port),
        idle: found.idle,
    }
}

/// The port that the other end sees: where its packets go to, or the identifier of its answers.
const fn nat_port(found: &Found) -> u16 {
    found.reverse.answer(found.reverse.port).source_port
}
