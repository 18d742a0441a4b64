//! Everything the forwarder remembers, and how flows are made and ended with all that they hold.
//!
//! INVARIANT: what a flow holds (a port of a NAT gateway, an address that stands for its sender, its place in the
//! counts) is taken when it is made and released when it is removed, in this file and nowhere else.

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::{NetworkInterfaceId, ResourceId};
use postern_path::{Action, Deliver, Door, DropReason, Peer, SourceRewrite, Stamp, Through};

use tokio::sync::mpsc::Sender;

use super::choice::Choice;
use super::counters::{Gateways, Resources};
use super::flow::{Claim, FlowEntry, FlowId, FlowTable, KeyTaken, Opening};
use super::generation::Generations;
use super::key::{Address, FlowKey, KeyHash, PortNumber};
use super::limit::Limits;
use super::live::Live;
use super::log::Logged;
use super::nat::{self, NatPorts, SpaceKey};
use super::packet::{ipv4, protocol};
use super::peer::{Peers, Variant};
use super::phase::{Direction, Phase};
use super::port::{Owner, Ports};
use super::uplink::{UplinkDirectory, UplinkKey, Wanted};
use super::verdict::Verdict;
use crate::kernel::{Contended, Ended, KernelTables, Maps};

const SECOND: u64 = 1_000_000_000;
/// Under pressure a flow gives way so long after both ends were done.
pub(super) const CLOSED_AGE: u64 = SECOND;
/// Under pressure a NAT gateway's half-open flow gives way after so long.
const HALF_OPEN_AGE: u64 = 10 * SECOND;
/// Ports that are looked at for one to take away.
pub(super) const PORT_CANDIDATES: usize = 256;
/// Addresses that one peer may have: service addresses that it uses the same port to.
const MOST_VARIANTS: Variant = 64;
/// How often a flow is begun anew with a way back of which the kernel program has a key at the same moment.
const CLAIM_TRIES: usize = 8;
/// How many ways back are tried for one flow: the ports of a NAT gateway that the program takes one after another just
/// before us.
const WAYS_BACK: usize = 1_024;

/// Everything the forwarder remembers.
#[derive(Debug)]
pub struct Tables {
    pub(crate) ports: Ports,
    pub(crate) flows: FlowTable,
    pub(crate) peers: Peers,
    pub(crate) nat: NatPorts,
    pub(crate) generations: Arc<Generations>,
    pub(crate) uplink: Arc<UplinkDirectory>,
    /// Who asks the other side of connections that leave the region; nobody, and they wait for nothing.
    pub(crate) opener: Option<Sender<Wanted>>,
    pub(crate) unknown_port: u64,
    /// Where the kernel program makes and carries flows too.
    pub(super) kernel: Option<KernelTables>,
    pub(super) gateways: Gateways,
    /// Because of what packets were dropped.
    pub(crate) resources: Resources,
    flows_per_port: usize,
    choice: Choice,
    pub(super) logged: Vec<Logged>,
    pub(super) log_lost: u64,
}

/// A flow that is about to be made.
#[derive(Debug, Clone)]
pub(crate) struct NewFlow<'a> {
    pub key: FlowKey,
    pub interface: NetworkInterfaceId,
    pub verdict: &'a Arc<Verdict>,
    pub action: &'a Action,
    /// The template that it is made of, where the kernel program has it.
    pub template: Option<u32>,
}

/// What a flow's source became, and what it holds for that.
struct Source {
    address: Address,
    port: u16,
    space: Option<SpaceKey>,
    peer: Option<(Ipv4Addr, Variant)>,
}

/// Why a flow was not made.
enum NotMade {
    Refused(DropReason),
    /// With this way back.
    Contended(FlowKey),
}

impl From<DropReason> for NotMade {
    fn from(reason: DropReason) -> Self {
        Self::Refused(reason)
    }
}

impl Tables {
    /// Nothing yet. The seed is a secret.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self::with(limits, seed, None)
    }

    /// Nothing yet, in tables that are shared with the kernel program where there is one.
    pub(crate) fn with(limits: Limits, seed: u64, maps: Option<&Arc<Maps>>) -> Self {
        let hash = KeyHash::with_seed(seed);
        // Where there was a forwarder before, what it chose goes on: a sender finds the port that it had.
        let choice = maps.and_then(|maps| maps.choice()).unwrap_or_else(|| Choice::with_seed(seed));
        if let Some(maps) = maps {
            maps.configure(&choice, &limits);
        }
        Self {
            ports: Ports::new(limits, hash, maps.map(Arc::clone)),
            flows: FlowTable::new(limits.flows, hash),
            peers: Peers::new(limits.peers, limits.peers_per_port),
            nat: NatPorts::new(hash, choice),
            generations: Arc::new(Generations::with(maps.map(Arc::clone))),
            uplink: Arc::default(),
            opener: None,
            unknown_port: 0,
            kernel: maps.map(|maps| KernelTables::new(Arc::clone(maps))),
            gateways: Gateways::default(),
            resources: Resources::default(),
            flows_per_port: limits.flows_per_port,
            choice,
            logged: Vec::new(),
            log_lost: 0,
        }
    }

    /// Adds a port. One of the same owner gives way. None where there are too many.
    pub fn add_port(&mut self, owner: Owner, mac: postern_model::Mac, now: u64) -> Option<PortNumber> {
        self.remove_port(owner, now);
        self.ports.add(owner, mac, now)
    }

    /// Removes an owner's port.
    pub fn remove_port(&mut self, owner: Owner, now: u64) -> bool {
        // What the kernel counted goes with the port, but for what others are told of.
        let number = self.ports.of(owner);
        let port = number.and_then(|number| Some((number, self.ports.get(number)?)));
        let drops = port.map(|(number, port)| self.drops_of_sender(number, port)).unwrap_or_default();
        drops.into_iter().for_each(|drops| self.resources.add(drops));
        let Some(mut port) = self.ports.remove(number) else { return false };
        port.templates.clear();
        self.give_up(port.templates.take_gone(), now);
        true
    }

    /// Another plan is in use from now on, in which this changed. The plan comes first, then the generations: what
    /// is looked up after this never uses what was decided before.
    pub fn plan_changed(&mut self, changed: &[Stamp]) {
        self.ports.plan_changed();
        let beyond = self.generations.store(changed);
        if beyond > 0 {
            tracing::error!(beyond, "generations beyond the array: their flows are decided one by one");
        }
    }

    /// The generation array, for whoever else compares.
    pub fn generations(&self) -> Arc<Generations> {
        Arc::clone(&self.generations)
    }

    /// The flow of packets with this key. One that was silent for too long, or whose other end is unplugged, ends
    /// here.
    #[inline]
    pub(crate) fn find(&mut self, key: &FlowKey, now: u64) -> Option<(FlowId, Direction)> {
        let (id, direction) = self.lookup(key, now)?;
        let flow = self.flows.get(id)?;
        if flow.is_expired(now) || self.ports.get(flow.exit(direction)).is_none() {
            self.end(id, now);
            return None;
        }
        Some((id, direction))
    }

    /// Makes a flow with all that it needs, or nothing. Where the kernel program makes the same one at the same moment, that
    /// is it.
    pub(crate) fn begin(&mut self, new: &NewFlow<'_>, now: u64) -> Result<FlowId, DropReason> {
        let (mut contended, mut tries, mut ways) = (None, 0, 0);
        while tries < CLAIM_TRIES && ways < WAYS_BACK {
            match self.make(new, now) {
                Ok(id) => return Ok(id),
                Err(NotMade::Refused(reason)) => return Err(reason),
                Err(NotMade::Contended(reverse)) if contended == Some(reverse) => tries += 1,
                // At a NAT gateway another port is free, and who runs along its ports just before us stops somewhere.
                Err(NotMade::Contended(reverse)) => (contended, tries, ways) = (Some(reverse), 1, ways + 1),
            }
            if let Some((id, Direction::Forward)) = self.find(&new.key, now) {
                return Ok(id);
            }
        }
        // Another flow has a key of it, and goes on.
        Err(DropReason::PortAllocation)
    }

    fn make(&mut self, new: &NewFlow<'_>, now: u64) -> Result<FlowId, NotMade> {
        let exit = match new.action.deliver {
            Deliver::Interface(id) => self.ports.of(Owner::Interface(id)),
            Deliver::Door(_) => self.ports.of(Owner::Doors),
        };
        let exit = exit.ok_or(DropReason::TargetDown)?;
        self.make_room(new.key.port, now)?;
        let destination = match new.action.deliver {
            Deliver::Door(door) => door.address().into(),
            Deliver::Interface(_) => new.action.destination.map_or(new.key.destination, Address::from),
        };
        let to_port = destination_port(new);
        let seen_from = |address: Address, port: u16| {
            FlowKey::from_parts(exit, address, destination, new.key.protocol, port, to_port).answer(exit)
        };
        let source = self.source(new, exit, destination, &seen_from, now)?;
        let reverse = seen_from(source.address, source.port);
        let inserted = self.insert(new, reverse, &source, now);
        match (&inserted, source.space, source.peer) {
            (Err(_), Some(space), _) => self.nat.give_back(&space, source.port),
            (Ok(_), _, Some((address, variant))) => {
                if let (Some(kernel), Some(template)) = (&mut self.kernel, new.template) {
                    kernel.stand_in(template, variant, address);
                }
            }
            (Err(_) | Ok(_), _, _) => {}
        }
        inserted
    }

    fn insert(
        &mut self,
        new: &NewFlow<'_>,
        reverse: FlowKey,
        source: &Source,
        now: u64,
    ) -> Result<FlowId, NotMade> {
        if reverse == new.key {
            // It would be its own answer.
            return Err(DropReason::Unsupported.into());
        }
        self.vacate(&reverse, now);
        let gateway = through(new.action).and_then(|id| self.gateway_place(id));
        let mut flow = FlowEntry {
            forward: new.key,
            reverse,
            interface: new.interface,
            verdict: Arc::clone(new.verdict),
            idle: new.action.idle,
            live: Live::new(Phase::start(new.key.protocol), now),
            closing: None,
            claim: Claim::None,
            space: source.space,
            peer: source.peer.map(|(address, _)| address),
            gateway,
            uplink: None,
            opening: Opening::Done,
        };
        if let Some(kernel) = &mut self.kernel {
            let waits = new.action.deliver == Deliver::Door(Door::Uplink);
            let shared = kernel.share(&mut flow, new.template, waits, now);
            shared.map_err(|Contended| NotMade::Contended(reverse))?;
        }
        let id = match self.flows.insert(flow) {
            Ok(id) => id,
            Err((KeyTaken(_), mut flow)) => {
                if let Some(kernel) = &mut self.kernel {
                    kernel.release(&mut flow, now);
                }
                return Err(DropReason::PortAllocation.into());
            }
        };
        self.announce(id, new.action);
        if let Some((address, _)) = source.peer {
            self.peers.hold(address);
        }
        if let Some(port) = self.ports.get_mut(new.key.port) {
            port.counters.flows = port.counters.flows.wrapping_add(1);
            port.counters.new_flows += 1;
        }
        if let Some(counters) = self.gateways.get_mut(gateway) {
            counters.active = counters.active.wrapping_add(1);
            counters.attempts += 1;
        }
        if let (Some(kernel), Some(flow)) = (&self.kernel, self.flows.get(id)) {
            kernel.begin(flow);
        }
        self.log_begun(new.key, &reverse, new.interface, new.action);
        Ok(id)
    }

    /// Where a gateway is counted. Whoever goes on after us finds it there.
    pub(super) fn gateway_place(&mut self, id: ResourceId) -> Option<usize> {
        let before = self.gateways.len();
        let place = self.gateways.place(id)?;
        if place == before
            && let Some(kernel) = &self.kernel
        {
            kernel.maps().note_gateway(place, &id.to_string());
        }
        Some(place)
    }

    /// Makes known where a flow that leaves the region was for.
    fn announce(&mut self, id: FlowId, action: &Action) {
        let (Deliver::Door(Door::Uplink), Some(peer)) = (action.deliver, peer(action)) else { return };
        let Some(flow) = self.flows.get_mut(id) else { return };
        let seen = flow.rewritten(Direction::Forward);
        let key =
            UplinkKey { stand_in: seen.source, port: seen.source_port, protocol: flow.forward.protocol };
        let port = match flow.forward.protocol {
            protocol::TCP | protocol::UDP => flow.forward.destination_port,
            _ => 0,
        };
        flow.uplink = Some(key);
        if self.opener.is_some() && flow.forward.protocol == protocol::TCP {
            flow.opening = Opening::Wanted;
        }
        self.uplink.begin(key, peer, (flow.forward.destination.v4(), port));
    }

    /// What the source becomes.
    fn source(
        &mut self,
        new: &NewFlow<'_>,
        exit: PortNumber,
        destination: Address,
        seen_from: &impl Fn(Address, u16) -> FlowKey,
        now: u64,
    ) -> Result<Source, DropReason> {
        let kept = |address| Source { address, port: new.key.source_port, space: None, peer: None };
        match new.action.source {
            SourceRewrite::Keep => Ok(kept(new.key.source)),
            SourceRewrite::Address(address) => Ok(kept(address.into())),
            SourceRewrite::Port { gateway, private_address: _, visible_address } => {
                if !may_translate(&new.key) {
                    return Err(DropReason::NatProtocol);
                }
                let ports = ports_of(new.action);
                let visible = Address::from(visible_address);
                let target_port = match new.key.protocol {
                    // Of ICMP, what answers are: type and code.
                    protocol::ICMP => new.key.answer(exit).destination_port,
                    _ => destination_port(new),
                };
                let space = SpaceKey::new(exit, visible, destination, target_port, new.key.protocol);
                let taken = self.take_port((&space, ports), &new.key, |port| seen_from(visible, port), now);
                let Some(port) = taken else {
                    let at = self.gateway_place(gateway);
                    if let Some(counters) = self.gateways.get_mut(at) {
                        counters.port_allocation_errors += 1;
                    }
                    return Err(DropReason::PortAllocation);
                };
                Ok(Source { address: visible, port, space: Some(space), peer: None })
            }
            SourceRewrite::Identity { peer, gateway: _ } => {
                let (address, variant) = self.stand_in(
                    &peer,
                    told_apart_by(new),
                    |address| seen_from(address, new.key.source_port),
                    now,
                )?;
                Ok(Source { peer: Some((address, variant)), ..kept(address.into()) })
            }
        }
    }

    /// An address that stands for a peer, and under which this flow is not yet another's.
    ///
    /// Which one is tried first depends on the destination: the door may still wait out a connection of the same port
    /// to another of its addresses (TIME-WAIT), and would drop the SYN of this one, whose timestamps are its own.
    fn stand_in(
        &mut self,
        peer: &Peer,
        destination: (Address, u16),
        reverse: impl Fn(Address) -> FlowKey,
        now: u64,
    ) -> Result<(Ipv4Addr, Variant), DropReason> {
        let first = self.choice.stand_in(destination.0, destination.1);
        for variant in (first..MOST_VARIANTS).chain(0..first) {
            let kernel = &mut self.kernel;
            let is_kept = |address| kernel.as_mut().is_some_and(|kernel| kernel.keeps(address));
            let interned = self.peers.intern(peer, variant, now, is_kept);
            let address = interned.map_err(|_| DropReason::TableFull)?;
            let reverse = reverse(address.into());
            self.vacate(&reverse, now);
            if self.lookup(&reverse, now).is_none() {
                return Ok((address, variant));
            }
        }
        Err(DropReason::PortAllocation)
    }

    /// A port of a NAT gateway: a free one, else that of the oldest flow that is done, else of one that never came
    /// about or was silent for too long.
    fn take_port(
        &mut self,
        (space, ports): (&SpaceKey, usize),
        sender: &FlowKey,
        reverse: impl Fn(u16) -> FlowKey,
        now: u64,
    ) -> Option<u16> {
        if let Some(port) = self.free_port((space, ports), sender, &reverse, now) {
            return Some(port);
        }
        while let Some(id) = self.nat.oldest_closed(space, now, CLOSED_AGE) {
            if self.flows.get(id).is_some_and(|flow| flow.live.phase() == Phase::Closed) {
                self.end(id, now);
                return self.free_port((space, ports), sender, &reverse, now);
            }
        }
        for port in self.nat.next_used(space, PORT_CANDIDATES) {
            let Some((id, _)) = self.lookup(&reverse(port), now) else { continue };
            let gives_way = self.flows.get(id).is_some_and(|flow| {
                let half_open = flow.live.phase().is_half_open()
                    && now.saturating_sub(flow.live.begun()) >= HALF_OPEN_AGE;
                // One that the kernel program has closed may not be in the queue above yet.
                half_open || flow.is_closed_since(CLOSED_AGE, now) || flow.is_expired(now)
            });
            if gives_way {
                self.end(id, now);
                return self.free_port((space, ports), sender, &reverse, now);
            }
        }
        None
    }

    /// Frees a key whose flow is done or was silent for too long.
    fn vacate(&mut self, key: &FlowKey, now: u64) {
        let Some((id, direction)) = self.lookup(key, now) else { return };
        let gone = self.flows.get(id).is_some_and(|flow| {
            flow.is_expired(now)
                || flow.live.phase() == Phase::Closed
                || self.ports.get(flow.exit(direction)).is_none()
        });
        if gone {
            self.end(id, now);
        }
    }

    /// Makes room for a flow of a port: where there is none, the oldest of its flows that are done go.
    fn make_room(&mut self, port: PortNumber, now: u64) -> Result<(), DropReason> {
        let most = self.flows_per_port;
        let full = |tables: &Self| {
            let own =
                tables.ports.get(port).map_or(0, |entry| tables.port_counters(port, entry.counters).flows);
            tables.flows.is_full() || own >= most as u64
        };
        if !full(self) {
            return Ok(());
        }
        loop {
            let Some(entry) = self.ports.get_mut(port) else { return Err(DropReason::UnknownPort) };
            match entry.closed.front() {
                Some((id, since)) if now.saturating_sub(*since) >= CLOSED_AGE => {
                    let id = *id;
                    entry.closed.pop_front();
                    // Unless it was begun again since.
                    if self.flows.get(id).is_some_and(|flow| flow.live.phase() == Phase::Closed) {
                        self.end(id, now);
                    }
                }
                Some(_) | None => break,
            }
            if !full(self) {
                return Ok(());
            }
        }
        self.sweep(now, 256);
        if full(self) { Err(DropReason::TableFull) } else { Ok(()) }
    }

    /// Both ends of a flow are done, since `now`: it is among the first to give way.
    pub(crate) fn closed(&mut self, id: FlowId, now: u64) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        if flow.is_closing() {
            return;
        }
        flow.closing = Some(flow.live.begun());
        let Some(flow) = self.flows.get(id) else { return };
        let flows = &self.flows;
        let alive = |id| flows.get(id).is_some();
        if let Some(space) = &flow.space {
            self.nat.closed(space, id, now, alive);
        }
        if let Some(port) = self.ports.get_mut(flow.forward.port) {
            // Not as often as there is one more, and not more than so many that are gone.
            if port.closed.len() >= port.closed_most {
                port.closed.retain(|(id, _)| alive(*id));
                port.closed_most = 2 * port.closed.len() + 64;
            }
            port.closed.push_back((id, now));
        }
    }

    /// Removes a flow and releases what it holds.
    pub(crate) fn end(&mut self, id: FlowId, now: u64) {
        let Some(mut flow) = self.flows.remove(id) else { return };
        let ended = match &mut self.kernel {
            Some(kernel) => kernel.release(&mut flow, now),
            None => Ended { counted: false },
        };
        if let Some(space) = flow.space {
            // The port that the other end sees is where its packets go; an ICMP query's is its identifier.
            self.nat.give_back(&space, flow.rewritten(Direction::Forward).source_port);
        }
        if let Some(address) = flow.peer {
            self.peers.release(address, now);
        }
        if let Some(key) = flow.uplink {
            self.uplink.end(&key);
        }
        if !ended.counted {
            self.count_end(flow.forward.port, flow.gateway);
        }
    }

    /// A flow is not among those that are known any more. What the kernel program counted is added when it is read, so that
    /// these numbers alone may be below zero.
    pub(super) fn count_end(&mut self, port: PortNumber, gateway: Option<usize>) {
        if let Some(port) = self.ports.get_mut(port) {
            port.counters.flows = port.counters.flows.wrapping_sub(1);
        }
        if let Some(counters) = self.gateways.get_mut(gateway) {
            counters.active = counters.active.wrapping_sub(1);
        }
    }

    /// Collects flows that are over and addresses whose quarantine is, looking at `budget` places.
    pub fn sweep(&mut self, now: u64, budget: usize) {
        let mut left = budget;
        loop {
            let ports = &self.ports;
            let gone = |flow: &FlowEntry| {
                flow.is_expired(now)
                    || ports.get(flow.forward.port).is_none()
                    || ports.get(flow.reverse.port).is_none()
            };
            // Those that the kernel program has closed are to be noticed, too.
            let closed = |flow: &FlowEntry| flow.live.phase() == Phase::Closed && !flow.is_closing();
            let Some(id) = self.flows.next_where(&mut left, |flow| gone(flow) || closed(flow)) else { break };
            let closed_at = self.flows.get(id).filter(|flow| !gone(flow)).map(|flow| flow.live.seen());
            match closed_at {
                Some(at) => self.closed(id, at),
                None => self.end(id, now),
            }
        }
        self.sweep_shared(now, budget);
        let kernel = &mut self.kernel;
        self.peers.sweep(now, budget, |address| kernel.as_mut().is_some_and(|kernel| kernel.keeps(address)));
    }

    /// Counts a packet of a flow at its gateway.
    #[inline]
    pub(crate) fn count_at_gateway(&mut self, at: Option<usize>, direction: Direction, bytes: usize) {
        if let Some(counters) = self.gateways.get_mut(at) {
            match direction {
                Direction::Forward => counters.outward.add(bytes),
                Direction::Reverse => counters.inward.add(bytes),
            }
        }
    }

    /// Another verdict says the same of a flow.
    pub(crate) fn confirm(&mut self, id: FlowId, verdict: Arc<Verdict>, now: u64) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        flow.verdict = verdict;
        if let Some(kernel) = &mut self.kernel {
            kernel.restamp(flow, now);
        }
    }
}

/// What tells the flows of one port of a peer's apart at a door: the address that they are for, and the port where the
/// door has one for all.
fn told_apart_by(new: &NewFlow<'_>) -> (Address, u16) {
    let hidden = destination_port(new) != new.key.destination_port;
    (new.key.destination, if hidden { new.key.destination_port } else { 0 })
}

/// The port that the receiver is spoken to at, or what stands in its place: a door may have one for all.
fn destination_port(new: &NewFlow<'_>) -> u16 {
    let other = match (new.action.deliver, new.key.protocol) {
        (Deliver::Door(door), protocol::TCP | protocol::UDP) => door.port(),
        (Deliver::Interface(_), protocol::TCP | protocol::UDP) => {
            new.action.balanced.map(|balanced| balanced.port)
        }
        (Deliver::Door(_) | Deliver::Interface(_), _) => None,
    };
    other.unwrap_or(new.key.destination_port)
}

/// How many ports there are for a flow: a load balancer keeps some for itself.
pub(super) fn ports_of(action: &Action) -> usize {
    match action.balanced {
        Some(balanced) if !balanced.preserves => nat::BALANCER_PORTS,
        Some(_) | None => nat::PORTS,
    }
}

/// NAT gateways take TCP, UDP and ICMP queries ("NAT gateway basics").
fn may_translate(key: &FlowKey) -> bool {
    match key.protocol {
        protocol::TCP | protocol::UDP => true,
        protocol::ICMP => ipv4::is_query(key.destination_port.to_be_bytes()[0]),
        _ => false,
    }
}

/// The NAT gateway, endpoint or load balancer that an action leads through.
pub(crate) fn through(action: &Action) -> Option<ResourceId> {
    match action.source {
        SourceRewrite::Keep | SourceRewrite::Address(_) => {
            action.balanced.map(|balanced| balanced.load_balancer.into())
        }
        SourceRewrite::Port { gateway, .. } => Some(gateway),
        SourceRewrite::Identity { gateway: Some(gateway), .. } => Some(gateway.into()),
        SourceRewrite::Identity { peer, gateway: None } => match peer.through {
            Through::Endpoint(endpoint, _) => Some(endpoint.into()),
            Through::Resolver(endpoint, _) => Some(endpoint.into()),
            Through::Internet(_) | Through::Link => None,
        },
    }
}

/// Whom the source stands for.
pub(super) fn peer(action: &Action) -> Option<Peer> {
    match action.source {
        SourceRewrite::Keep | SourceRewrite::Address(_) | SourceRewrite::Port { .. } => None,
        SourceRewrite::Identity { peer, .. } => Some(peer),
    }
}
