//! Random flows, biased to the edges of everything that a rule, a route or a block can name.

use std::net::Ipv4Addr;

use postern_model::interface::{InterfaceKind, NetworkInterface};
use postern_model::network_acl::NetworkAcl;
use postern_model::security_group::Traffic;
use postern_model::{NetworkInterfaceId, State, VpcId};
use postern_path::{Flow, Transport, Uplink};

use super::{interfaces_of, offset, peering, subnets, transit, vpn};
use crate::random::Random;

/// A flow from some interface, mostly one that takes part; none in a state without any.
pub fn flow(random: &mut Random, state: &State) -> Option<Flow> {
    let all: Vec<_> = state.network_interfaces.keys().copied().collect();
    if random.chance(1) {
        let entry = NetworkInterfaceId::from_number(0xdead_0000_0000);
        let vpc = state.vpcs.keys().next().copied()?;
        return Some(flow_of(random, state, vpc, entry, Ipv4Addr::new(10, 0, 0, 9)));
    }
    if random.chance(8)
        && let Some((connection, vpc)) = vpn::any(random, state)
    {
        let source = vpn::address(random, state, &connection);
        let any = state.vpcs.keys().next().copied()?;
        let (vpc, port) = (vpc.unwrap_or(any), connection.link.port);
        if let Some(resolver) = resolver_address(random, state, vpc).filter(|_| random.chance(20)) {
            return Some(flow_between(random, state, port, source, resolver));
        }
        return match balancer_address(random, state, vpc) {
            Some(balancer) if random.chance(30) => Some(flow_between(random, state, port, source, balancer)),
            Some(_) | None => Some(flow_of(random, state, vpc, port, source)),
        };
    }
    if random.chance(10)
        && let Some(flow) = between_networks(random, state)
    {
        return Some(flow);
    }
    let mut entry = random.of(&all)?;
    let mut found = state.network_interfaces.get(&entry)?;
    // What AWS manages sends nothing of its own.
    if found.kind != InterfaceKind::Interface && random.chance(90) {
        entry = random.of(&all)?;
        found = state.network_interfaces.get(&entry)?;
    }
    let own: Vec<_> = found.private_addresses.iter().map(|private| private.address).collect();
    let source = if random.chance(if found.source_dest_check { 95 } else { 60 }) {
        random.of(&own)?
    } else {
        address(random, state, found.vpc)
    };
    Some(flow_of(random, state, found.vpc, entry, source))
}

/// Between interfaces of two VPCs that a peering or a transit gateway joins.
fn between_networks(random: &mut Random, state: &State) -> Option<Flow> {
    let (vpc, other) = if random.chance(30) {
        let all: Vec<_> = state.vpcs.keys().copied().collect();
        let vpc = random.of(&all)?;
        (vpc, peering::peer_of(random, state, vpc)?)
    } else {
        transit::pair(random, state)?
    };
    let entry = random.of(&interfaces_of(state, vpc))?;
    let own = &state.network_interfaces.get(&entry)?.private_addresses;
    let source = random.of(own)?.address;
    let resolver = resolver_address(random, state, other).filter(|_| random.chance(25));
    let destination = resolver.or_else(|| private_address(random, state, other))?;
    Some(flow_between(random, state, entry, source, destination))
}

fn flow_of(
    random: &mut Random,
    state: &State,
    vpc: VpcId,
    entry: NetworkInterfaceId,
    source: Ipv4Addr,
) -> Flow {
    let destination = address(random, state, vpc);
    flow_between(random, state, entry, source, destination)
}

/// How packets leave the region: mostly somehow.
pub fn uplink(random: &mut Random) -> Option<Uplink> {
    let link = "up0".parse().ok()?;
    random.chance(70).then(|| Uplink { link, echo: random.chance(50) })
}

/// A flow of random protocol and ports.
pub fn flow_between(
    random: &mut Random,
    state: &State,
    entry: NetworkInterfaceId,
    source: Ipv4Addr,
    destination: Ipv4Addr,
) -> Flow {
    let source_port = if random.chance(70) { 40_000 } else { port(random, state) };
    let asks = |found: &NetworkInterface| matches!(found.kind, InterfaceKind::ResolverEndpoint(_));
    let here = |found: &NetworkInterface| found.private_addresses.iter().any(|x| x.address == destination);
    let resolves = state.network_interfaces.values().any(|found| asks(found) && here(found));
    let at_link = destination.is_link_local() || resolves || random.chance(5);
    let destination_port =
        if at_link && random.chance(60) { random.one([53, 53, 80]) } else { port(random, state) };
    let transport = match random.below(20) {
        0..12 => Transport::Tcp { source_port, destination_port },
        12..16 => Transport::Udp { source_port, destination_port },
        16..19 => {
            let (kind, code) = random.one([(8, 0), (8, 0), (0, 0), (3, 1), (13, 0), (11, 0)]);
            Transport::Icmp { kind, code, identifier: 7 }
        }
        _ => Transport::Other { protocol: random.one([47, 50, 132]) },
    };
    Flow { entry, source: source.into(), destination: destination.into(), transport }
}

/// An address that matters in this VPC, or one beside it.
pub(super) fn address(random: &mut Random, state: &State, vpc: VpcId) -> Ipv4Addr {
    // Now and then what matters in a VPC that is peered with it, or that a transit gateway leads to.
    let peer = match random.below(100) {
        0..15 => peering::peer_of(random, state, vpc),
        15..25 => transit::other_vpc(random, state, vpc),
        _ => None,
    };
    let vpc = peer.unwrap_or(vpc);
    if random.chance(4)
        && let Some(beyond) = vpn::beyond(random, state, vpc)
    {
        return beyond;
    }
    let exact = match random.below(20) {
        0..6 => private_address(random, state, vpc),
        6 => block_edge(random, state, vpc),
        7..9 => service_address(random, state),
        9..13 => public_address(random, state),
        13 => list_edge(random, state),
        14 => random.of(&[
            Ipv4Addr::new(169, 254, 169, 253),
            Ipv4Addr::new(169, 254, 169, 254),
            Ipv4Addr::new(169, 254, 0, 0),
        ]),
        15 => state.vpcs.get(&vpc).map(|vpc| vpc.resolver()),
        16 => random.of(&[
            Ipv4Addr::new(8, 8, 8, 8),
            Ipv4Addr::new(203, 0, 113, 9),
            Ipv4Addr::new(100, 64, 0, 0),
            Ipv4Addr::new(192, 0, 0, 255),
            Ipv4Addr::new(198, 18, 0, 0),
            Ipv4Addr::new(198, 18, 255, 255),
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::BROADCAST,
            Ipv4Addr::new(192, 168, 7, 7),
        ]),
        _ => route_edge(random, state, vpc),
    };
    let exact = exact.unwrap_or(Ipv4Addr::new(10, 0, 0, 4));
    let by = if random.chance(80) { 0 } else { random.one([-1, 1]) };
    offset(exact, by)
}

fn private_address(random: &mut Random, state: &State, vpc: VpcId) -> Option<Ipv4Addr> {
    let mut interfaces = interfaces_of(state, vpc);
    if random.chance(20) {
        // Those of endpoints, which are less numerous than they matter.
        let is_of_endpoint = |id: &NetworkInterfaceId| {
            let of =
                |kind| matches!(kind, InterfaceKind::VpcEndpoint(_) | InterfaceKind::ResolverEndpoint(_));
            state.network_interfaces.get(id).is_some_and(|found| of(found.kind))
        };
        interfaces.retain(is_of_endpoint);
    } else if random.chance(25) {
        let is_of_balancer = |id: &NetworkInterfaceId| {
            state.network_interfaces.get(id).is_some_and(|x| x.kind == InterfaceKind::LoadBalancer)
        };
        interfaces.retain(is_of_balancer);
    }
    let interface = random.of(&interfaces)?;
    let all = &state.network_interfaces.get(&interface)?.private_addresses;
    random.of(all).map(|private| private.address)
}

fn balancer_address(random: &mut Random, state: &State, vpc: VpcId) -> Option<Ipv4Addr> {
    let in_vpc = state.network_interfaces.values().filter(|found| found.vpc == vpc);
    let own = in_vpc.filter(|found| found.kind == InterfaceKind::LoadBalancer);
    let all: Vec<_> = own.flat_map(|found| &found.private_addresses).map(|one| one.address).collect();
    random.of(&all)
}

fn resolver_address(random: &mut Random, state: &State, vpc: VpcId) -> Option<Ipv4Addr> {
    let in_vpc = state.network_interfaces.values().filter(|found| found.vpc == vpc);
    let own = in_vpc.filter(|found| matches!(found.kind, InterfaceKind::ResolverEndpoint(_)));
    let all: Vec<_> = own.flat_map(|found| &found.private_addresses).map(|one| one.address).collect();
    random.of(&all)
}

fn block_edge(random: &mut Random, state: &State, vpc: VpcId) -> Option<Ipv4Addr> {
    let blocks = state.vpcs.get(&vpc)?.blocks.iter().map(|block| block.cidr);
    let subnets = subnets(state, vpc).into_iter().filter_map(|id| state.subnets.get(&id)).map(|x| x.cidr);
    let all: Vec<_> = blocks.chain(subnets).collect();
    let block = random.of(&all)?;
    Some(random.one([block.network(), block.broadcast()]))
}

fn service_address(random: &mut Random, state: &State) -> Option<Ipv4Addr> {
    let services: Vec<_> = state.services.values().collect();
    let service = random.of(&services)?;
    if random.chance(70) {
        return random.of(&service.public_addresses);
    }
    let block = random.of(&service.public_blocks)?;
    Some(random.one([block.network(), block.broadcast()]))
}

fn public_address(random: &mut Random, state: &State) -> Option<Ipv4Addr> {
    if random.chance(60) {
        // Those of load balancers, which are less numerous than they matter.
        let own = state.network_interfaces.values().filter(|x| x.kind == InterfaceKind::LoadBalancer);
        let own: Vec<_> = own.filter_map(|x| x.automatic_public_address).collect();
        if let Some(address) = random.of(&own) {
            return Some(address);
        }
    }
    let all: Vec<_> = state.public_addresses.keys().copied().collect();
    random.of(&all)
}

fn list_edge(random: &mut Random, state: &State) -> Option<Ipv4Addr> {
    let all: Vec<_> = state.prefix_lists.values().flat_map(|list| list.entries.keys().copied()).collect();
    edge_of(random, random_v4(&all).as_slice())
}

fn route_edge(random: &mut Random, state: &State, vpc: VpcId) -> Option<Ipv4Addr> {
    let tables = state.route_tables.values().filter(|table| table.vpc == vpc);
    let cidrs: Vec<_> = tables
        .flat_map(|table| table.routes.keys().copied())
        .filter_map(|destination| match destination {
            postern_model::route::RouteDestination::Cidr(cidr) => Some(cidr),
            postern_model::route::RouteDestination::PrefixList(_) => None,
        })
        .collect();
    edge_of(random, random_v4(&cidrs).as_slice())
}

fn random_v4(all: &[postern_model::IpNet]) -> Vec<postern_model::Ipv4Net> {
    all.iter()
        .filter_map(|cidr| match cidr {
            postern_model::IpNet::V4(block) => Some(*block),
            postern_model::IpNet::V6(_) => None,
        })
        .collect()
}

fn edge_of(random: &mut Random, blocks: &[postern_model::Ipv4Net]) -> Option<Ipv4Addr> {
    let block = random.of(blocks)?;
    Some(random.one([block.network(), block.broadcast()]))
}

/// A port that a rule begins or ends with, one beside it, or one that means something.
fn port(random: &mut Random, state: &State) -> u16 {
    if random.chance(60) {
        return random.one([443, 443, 80, 53, 22, 0, 1023, 1024, 32_768, 40_000, 65_535]);
    }
    let (low, high) = rule_ports(random, state).unwrap_or((443, 443));
    let by = random.one([-1, 0, 0, 1]);
    let edge = i32::from(random.one([low, high])) + by;
    u16::try_from(edge.clamp(0, 65_535)).unwrap_or(0)
}

fn rule_ports(random: &mut Random, state: &State) -> Option<(u16, u16)> {
    let groups: Vec<_> = state.security_groups.values().collect();
    let acls: Vec<_> = state.network_acls.values().collect();
    let traffic: Vec<Traffic> = if random.chance(50) {
        random.of(&groups)?.rules.values().map(|rule| rule.permission.traffic).collect()
    } else {
        let acl: &NetworkAcl = random.of(&acls)?;
        acl.ingress.values().chain(acl.egress.values()).map(|entry| entry.traffic).collect()
    };
    match random.of(&traffic)? {
        Traffic::Tcp(low, high) | Traffic::Udp(low, high) => Some((low, high)),
        Traffic::All | Traffic::Icmp(..) | Traffic::Protocol(_) => None,
    }
}
