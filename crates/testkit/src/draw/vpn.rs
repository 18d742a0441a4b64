//! VPNs of the VPCs of a world, with routes to what is on premises.

use std::net::Ipv4Addr;

use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::transit::{TransitAction, attachment_of, attachment_of_vpn};
use postern_model::vpn::{VpnAction, VpnConnection, VpnEnd, gateway_of};
use postern_model::{AccountId, Action, IpNet, Ipv4Net, ResourceId, State, VpcId, VpnConnectionId};

use super::{net, tables};
use crate::random::Random;
use crate::world::World;

/// Blocks on premises: some that nest, and some that lie in VPCs.
pub(super) const BLOCKS: [&str; 6] =
    ["192.168.0.0/16", "192.168.0.0/20", "192.168.7.0/24", "10.0.0.0/8", "10.1.0.0/24", "0.0.0.0/0"];

/// Gives most VPCs a gateway with a connection or two.
pub(super) fn join(world: &mut World, random: &mut Random) {
    let all: Vec<_> = world.state.vpcs.values().map(|vpc| (vpc.id, vpc.owner)).collect();
    for (vpc, owner) in all {
        if random.chance(60) {
            gateway(world, random, vpc, owner);
        }
    }
}

fn gateway(world: &mut World, random: &mut Random, vpc: VpcId, account: AccountId) {
    let new = VpnAction::CreateGateway { amazon_asn: 64_512, tags: Vec::new() };
    let created = world.create(account, Action::Vpn(new));
    let Ok(Some(ResourceId::VpnGateway(gateway))) = created else { return };
    if random.chance(90) {
        let _ = world.run(account, Action::Vpn(VpnAction::AttachGateway { gateway, vpc }));
    }
    for _ in 0..1 + random.below(2) {
        connection(world, random, account, gateway.into());
    }
    for table in tables(&world.state, vpc) {
        if random.chance(60) {
            let _ = world.run(account, Action::Vpn(VpnAction::SetPropagation { table, gateway, on: true }));
        }
        if random.chance(40) {
            let block = net(random.one(BLOCKS));
            let destination = RouteDestination::Cidr(IpNet::V4(block));
            let target = RouteTargetChoice::Target(RouteTarget::VpnGateway(gateway));
            let _ = world.run(account, Action::CreateRoute { table, destination, target });
        }
    }
}

/// A connection with some routes, mostly one that something is plugged into.
pub(super) fn connection(world: &mut World, random: &mut Random, account: AccountId, near: VpnEnd) {
    let last = u8::try_from(world.state.customer_gateways.len()).unwrap_or(u8::MAX);
    let new = VpnAction::CreateCustomerGateway {
        bgp_asn: 65_000,
        address: Ipv4Addr::new(203, 0, 113, last),
        device_name: None,
        tags: Vec::new(),
    };
    let created = world.create(account, Action::Vpn(new));
    let Ok(Some(ResourceId::CustomerGateway(customer_gateway))) = created else { return };
    let new = VpnAction::CreateConnection { customer_gateway, near, tags: Vec::new() };
    let created = world.create(account, Action::Vpn(new));
    let Ok(Some(ResourceId::VpnConnection(connection))) = created else { return };
    for _ in 0..1 + random.below(2) {
        let block = net(random.one(BLOCKS));
        let _ = world.run(account, Action::Vpn(VpnAction::CreateRoute { connection, block }));
    }
    // At a transit gateway, the routes are those of its tables.
    if let Some(attachment) = attachment_of_vpn(&world.state, connection).map(|x| (x.id, x.gateway)) {
        let tables = world.state.transit_gateway_route_tables.values();
        let table = tables.filter(|x| x.gateway == attachment.1).map(|x| x.id).next();
        for (table, block) in table.into_iter().flat_map(|table| BLOCKS.map(|block| (table, net(block)))) {
            let target = Some(attachment.0);
            if random.chance(40) {
                let route = TransitAction::CreateRoute { table, block, target };
                let _ = world.run(account, Action::Transit(route));
            }
        }
    }
    let up = random.chance(85);
    let _ = world.run(account, Action::Vpn(VpnAction::ReportLink { connection, up }));
}

/// The VPNs that come into a VPC, or that would.
fn of_vpc(state: &State, vpc: VpcId) -> Vec<VpnConnectionId> {
    let gateway = gateway_of(state, vpc);
    let leads = |x: &&std::sync::Arc<VpnConnection>| match x.near {
        VpnEnd::Virtual(id) => Some(id) == gateway,
        VpnEnd::Transit(id) => attachment_of(state, id, vpc).is_some(),
    };
    let all = state.vpn_connections.values().filter(leads);
    all.map(|connection| connection.id).collect()
}

/// Any VPN, with the VPC that it comes into, if there is one.
pub(super) fn any(random: &mut Random, state: &State) -> Option<(VpnConnection, Option<VpcId>)> {
    let all: Vec<_> = state.vpn_connections.values().collect();
    let connection = random.of(&all)?;
    let vpc = match connection.near {
        VpnEnd::Virtual(id) => state.vpn_gateways.get(&id)?.vpc,
        VpnEnd::Transit(id) => super::transit::of_gateway(random, state, id, None),
    };
    Some(((**connection).clone(), vpc))
}

/// An address on premises, mostly one that a connection leads to.
pub(super) fn address(random: &mut Random, state: &State, connection: &VpnConnection) -> Ipv4Addr {
    let blocks: Vec<Ipv4Net> = connection.blocks(state).into_iter().collect();
    let block = if random.chance(85) { random.of(&blocks) } else { None };
    let block = block.unwrap_or_else(|| net(random.one(BLOCKS)));
    let inside = u32::from(block.network()) + 10;
    if block.prefix_len() == 0 { Ipv4Addr::new(192, 168, 7, 10) } else { Ipv4Addr::from(inside) }
}

/// An address on premises that a VPC has a VPN to.
pub(super) fn beyond(random: &mut Random, state: &State, vpc: VpcId) -> Option<Ipv4Addr> {
    let connection = state.vpn_connections.get(&random.of(&of_vpc(state, vpc))?)?;
    Some(address(random, state, connection))
}

/// A change of a VPC's VPNs.
pub(super) fn change(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let connection = random.of(&of_vpc(state, vpc))?;
    let block = net(random.one(BLOCKS));
    let gateway = match gateway_of(state, vpc) {
        Some(gateway) => gateway,
        // Of one at a transit gateway, only whether something is plugged in.
        None => {
            let up = random.chance(60);
            return Some(Action::Vpn(VpnAction::ReportLink { connection, up }));
        }
    };
    Some(Action::Vpn(match random.below(8) {
        0 => VpnAction::DetachGateway { gateway, vpc },
        1 => VpnAction::DeleteConnection { connection },
        2 => VpnAction::CreateRoute { connection, block },
        3 => VpnAction::DeleteRoute { connection, block },
        4 | 5 => VpnAction::ReportLink { connection, up: random.chance(60) },
        _ => {
            let table = random.of(&tables(state, vpc))?;
            VpnAction::SetPropagation { table, gateway, on: random.chance(70) }
        }
    }))
}
