//! Going on with flows that the kernel program carried for a forwarder that is gone.
//!
//! Each is decided again on the plan of now. One of which the same is done as before stays, rests on that plan, and takes
//! what it holds (a NAT gateway's port, its place in the counts). Every other ends.
//!
//! INVARIANT: the program carries every flow that stays from beginning to end: what it compares goes up last, when all
//! that stay rest on it. After that nothing passes that the plan of now refuses.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use postern_model::NetworkInterfaceId;
use postern_path::{Action, Deliver, Outcome, SourceRewrite, Stamp};

use super::decider::Decider;
use super::flow::{FlowEntry, Opening};
use super::key::{Address, FlowKey, PortNumber};
use super::nat::SpaceKey;
use super::packet::protocol;
use super::port::Owner;
use super::tables::{NewFlow, Tables, destination_port, through};
use super::verdict::Verdict;
use crate::kernel::{Found, KernelProgram};

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
        let (mut known, mut ended) = (HashSet::new(), 0);
        let mut shared = Shared::new();
        let maps = program.maps();
        let epoch = self.generations.epoch();
        for found in (0..maps.room()).filter_map(|place| maps.found(place)) {
            let place = found.place;
            match self.go_on_with(&found, &judge, &mut shared, maps.holds(&found.stamps)) {
                Some(id) => {
                    if let Some(flow) = self.flows.get(id).filter(|flow| flow.live.place().is_some()) {
                        flow.live.found_to_hold(epoch);
                        known.insert(place);
                    }
                }
                None => ended += 1,
            }
        }
        if let Some(kernel) = &mut self.kernel {
            kernel.free_others(&known, now);
        }
        // Only now: what rests on the plan of before does not hold from here on.
        maps.outdate(program.last_generation() + 1);
        let beyond = self.generations.store(current);
        if beyond > 0 {
            tracing::error!(beyond, "generations beyond the array: their flows are decided one by one");
        }
        Adopted { ports: self.ports.iter().count(), flows: self.flows.len(), ended }
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
            // When it began is not written down.
            begun: live.seen(),
            live,
            closing: false,
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
        if self.flows.is_full() || entry.is_expired(judge.now) {
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
        let same = |decision| {
            let verdict = Verdict::from(&decision);
            match &verdict.outcome {
                Outcome::Forward(action) => self.does_the_same(found, interface, &verdict, action),
                Outcome::Refuse(_) => false,
            }
            .then_some(verdict)
        };
        // As a new one; or as one that is tracked, which security groups do not end. Whether those have let it pass before,
        // and it is not an untracked one that they have ended since, is known only if nothing changed meanwhile.
        same(judge.decider.decide(&flow)).or_else(|| {
            (held && judge.same_state).then(|| same(judge.decider.decide_again(&flow, &[]))).flatten()
        })
    }

    /// Whether an action would make this flow of its first packet, but for the port of a NAT gateway.
    fn does_the_same(
        &self,
        found: &Found,
        interface: NetworkInterfaceId,
        verdict: &Verdict,
        action: &Action,
    ) -> bool {
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
        let verdict = Arc::new(verdict.clone());
        let new = NewFlow { key, interface, verdict: &verdict, action };
        let destination = action.destination.map_or(key.destination, Address::from);
        let to_port = destination_port(&new);
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
        let SourceRewrite::Port { visible_address, .. } = action.source else { return Some(None) };
        let target_port = match found.forward.protocol {
            protocol::ICMP => 0,
            _ => found.forward.destination_port,
        };
        let destination = action.destination.map_or(found.forward.destination, Address::from);
        let visible = Address::from(visible_address);
        let space =
            SpaceKey::new(found.reverse.port, visible, destination, target_port, found.forward.protocol);
        self.nat.claim(&space, nat_port(found)).then_some(Some(space))
    }
}

/// The port that the other end sees: where its packets go to, or the identifier of its answers.
const fn nat_port(found: &Found) -> u16 {
    found.reverse.answer(found.reverse.port).source_port
}
