//! What is to become of a packet that begins a flow, by the plan.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use postern_dataplane::forward::packet::ipv4::is_error;
use postern_dataplane::forward::{UplinkDirectory, UplinkKey};
use postern_model::NetworkInterfaceId;
use postern_path::{
    Action, Deliver, Door, DropReason, Flow, Outcome, Peer, PeerLookup, Plan, Reply, SourceRewrite, Transport,
};

use crate::frames::{Seen, TTL, Tuple, v4};

/// Who receives: an interface, or the doors.
pub type Receiver = Option<NetworkInterfaceId>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It arrives, by this action.
    Arrive(Action),
    /// It does not, and whether a router says so.
    Drop(DropReason, Option<Ipv4Addr>),
}

/// What is to become of a flow's first packet.
pub fn expect(plan: &Plan, flow: &Flow, plugged: impl Fn(NetworkInterfaceId) -> bool) -> Expect {
    let (source, destination) = (v4(flow.source), v4(flow.destination));
    let Some(entry) = plan.interface(flow.entry) else { return Expect::Drop(DropReason::UnknownPort, None) };
    if destination.is_multicast() || destination.is_broadcast() {
        return Expect::Drop(DropReason::Multicast, None);
    }
    if entry.source_dest_check && !entry.addresses.contains(&source) {
        return Expect::Drop(DropReason::SpoofedSource, None);
    }
    // It quotes no packet, so it is about none.
    if matches!(flow.transport, Transport::Icmp { kind, .. } if is_error(kind)) {
        return Expect::Drop(DropReason::UnrelatedIcmp, None);
    }
    match plan.decide(flow).outcome {
        Outcome::Refuse(refusal) => {
            let says = match refusal.reply {
                // A reset names no packet that was sent: those that get one are not sent here.
                Reply::Silence | Reply::Reset => None,
                Reply::NetworkUnreachable(router) => Some(router),
            };
            Expect::Drop(refusal.reason, says)
        }
        Outcome::Forward(action) => match receiver(&action) {
            Some(target) if !plugged(target) => Expect::Drop(DropReason::TargetDown, None),
            // It would be its own answer.
            _ if answer_to(flow, &action) == Some(*flow) => Expect::Drop(DropReason::Unsupported, None),
            Some(_) | None => Expect::Arrive(action),
        },
    }
}

/// Whether a packet may be from this address, whoever passes it on.
pub fn may_send(address: Ipv4Addr) -> bool {
    (1..224).contains(&address.octets()[0]) && !address.is_loopback()
}

pub fn receiver(action: &Action) -> Receiver {
    match action.deliver {
        Deliver::Interface(id) => Some(id),
        Deliver::Door(_) => None,
    }
}

/// Where the receiver finds the packet to be for.
pub fn arrives_for(flow: &Flow, action: &Action) -> Ipv4Addr {
    match action.deliver {
        Deliver::Door(door) => door.address(),
        Deliver::Interface(_) => v4(action.destination.unwrap_or(flow.destination)),
    }
}

/// The flow that an answer looks like, where an interface receives and the ports stay.
fn answer_to(flow: &Flow, action: &Action) -> Option<Flow> {
    let seen_as = match action.source {
        SourceRewrite::Keep => flow.source,
        SourceRewrite::Address(address) => address,
        SourceRewrite::Port { .. } | SourceRewrite::Identity { .. } => return None,
    };
    Some(Flow {
        entry: receiver(action)?,
        source: arrives_for(flow, action).into(),
        destination: seen_as,
        transport: at_receiver(flow.transport, action).reversed(),
    })
}

/// What an arriving packet is, in words, if it is not what it is to be.
pub fn check_arrival(
    flow: &Flow,
    action: &Action,
    seen: &Seen,
    peers: &dyn PeerLookup,
) -> Result<(), String> {
    let tuple = &seen.tuple;
    let same = |what: &str, is: String, should: String| {
        if is == should { Ok(()) } else { Err(format!("{what} is {is} and should be {should}")) }
    };
    same("the destination", tuple.destination.to_string(), arrives_for(flow, action).to_string())?;
    same("the time to live", seen.ttl.to_string(), (TTL - action.hops.count()).to_string())?;
    let mut transport = tuple.transport;
    match action.source {
        SourceRewrite::Keep => same("the source", tuple.source.to_string(), flow.source.to_string())?,
        SourceRewrite::Address(address) => same("the source", tuple.source.to_string(), address.to_string())?,
        SourceRewrite::Port { gateway: _, private_address: _, visible_address } => {
            same("the source", tuple.source.to_string(), visible_address.to_string())?;
            transport = with_number(transport, number(flow.transport));
        }
        SourceRewrite::Identity { peer, gateway: _ } => check_peer(tuple, &peer, peers)?,
    }
    same("the transport", transport.to_string(), at_receiver(flow.transport, action).to_string())
}

/// What the receiver finds it to carry: a door may take all ports at one.
fn at_receiver(transport: Transport, action: &Action) -> Transport {
    let port = match action.deliver {
        Deliver::Door(door) => door.port(),
        Deliver::Interface(_) => action.balanced.map(|balanced| balanced.port),
    };
    match (transport, port) {
        (Transport::Tcp { source_port, .. }, Some(destination_port)) => {
            Transport::Tcp { source_port, destination_port }
        }
        (Transport::Udp { source_port, .. }, Some(destination_port)) => {
            Transport::Udp { source_port, destination_port }
        }
        (transport, _) => transport,
    }
}

/// What leaves the region is known by what it was for.
pub fn check_directory(
    flow: &Flow,
    action: &Action,
    seen: &Seen,
    directory: &UplinkDirectory,
) -> Result<(), String> {
    let key = UplinkKey {
        stand_in: seen.tuple.source,
        port: number(seen.tuple.transport),
        protocol: flow.transport.protocol(),
    };
    let found = directory.flow(&key).map(|found| (found.peer.interface, found.destination, found.port));
    let port = match flow.transport {
        Transport::Tcp { destination_port, .. } | Transport::Udp { destination_port, .. } => destination_port,
        Transport::Icmp { .. } | Transport::Other { .. } => 0,
    };
    let should =
        (action.deliver == Deliver::Door(Door::Uplink)).then_some((flow.entry, v4(flow.destination), port));
    if should.is_none() || found == should {
        return Ok(());
    }
    Err(format!("the directory says {found:?} and should say {should:?}"))
}

fn check_peer(tuple: &Tuple, peer: &Peer, peers: &dyn PeerLookup) -> Result<(), String> {
    let is_a_doors = Door::ALL.iter().any(|door| door.address() == tuple.source);
    let found = peers.peer(tuple.source.into());
    if tuple.source.octets()[0] < 240 || is_a_doors || found != Some(*peer) {
        return Err(format!("{} is {found:?} and should be {peer:?}", tuple.source));
    }
    Ok(())
}

/// What a sender may choose to tell its conversations apart.
fn number(transport: Transport) -> u16 {
    match transport {
        Transport::Tcp { source_port, .. } | Transport::Udp { source_port, .. } => source_port,
        Transport::Icmp { identifier, .. } => identifier,
        Transport::Other { .. } => 0,
    }
}

fn with_number(transport: Transport, number: u16) -> Transport {
    match transport {
        Transport::Tcp { source_port: _, destination_port } => {
            Transport::Tcp { source_port: number, destination_port }
        }
        Transport::Udp { source_port: _, destination_port } => {
            Transport::Udp { source_port: number, destination_port }
        }
        Transport::Icmp { kind, code, identifier: _ } => Transport::Icmp { kind, code, identifier: number },
        Transport::Other { protocol } => Transport::Other { protocol },
    }
}

/// Flows that were sent, so that no two are one, or each other's answer.
#[derive(Debug, Default)]
pub struct Taken {
    flows: HashSet<Flow>,
    /// Between whom, where a gateway chooses the port: entry, source, destination, protocol.
    behind_gateways: HashSet<Pair>,
    plain: HashSet<Pair>,
}

type Pair = (NetworkInterfaceId, Ipv4Addr, Ipv4Addr, u8);

fn pair(flow: &Flow) -> Pair {
    (flow.entry, v4(flow.source), v4(flow.destination), flow.transport.protocol())
}

impl Taken {
    /// The flow, or one like it, that is like no other.
    pub fn new_one(&mut self, flow: Flow, expected: impl Fn(&Flow) -> Expect) -> Option<Flow> {
        let count = u16::try_from(self.flows.len() % 20_000).unwrap_or(0);
        let renumbered = Flow { transport: with_number(flow.transport, 20_000 + count), ..flow };
        [flow, renumbered].into_iter().find(|flow| self.take(flow, &expected(flow)))
    }

    fn take(&mut self, flow: &Flow, expect: &Expect) -> bool {
        let (answer, behind) = match expect {
            Expect::Arrive(action) => (answer_to(flow, action), behind_gateway(flow, action)),
            Expect::Drop(..) => (None, None),
        };
        let is_new = !self.flows.contains(flow)
            && answer.is_none_or(|answer| !self.flows.contains(&answer))
            && !self.behind_gateways.contains(&pair(flow))
            && answer.is_none_or(|answer| !self.behind_gateways.contains(&pair(&answer)))
            && behind.is_none_or(|behind| !self.plain.contains(&behind));
        if is_new {
            self.flows.extend([Some(*flow), answer].into_iter().flatten());
            self.plain.extend([Some(*flow), answer].into_iter().flatten().map(|flow| pair(&flow)));
            self.behind_gateways.extend(behind);
        }
        is_new
    }
}

/// From whom to whom answers go that a gateway takes.
fn behind_gateway(flow: &Flow, action: &Action) -> Option<Pair> {
    match action.source {
        SourceRewrite::Port { gateway: _, private_address: _, visible_address } => {
            let protocol = flow.transport.protocol();
            Some((receiver(action)?, arrives_for(flow, action), v4(visible_address), protocol))
        }
        SourceRewrite::Keep | SourceRewrite::Address(_) | SourceRewrite::Identity { .. } => None,
    }
}
