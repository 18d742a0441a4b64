//! "How AWS Site-to-Site VPN works" and "Site-to-Site VPN routing options" in the Site-to-Site VPN guide.

use std::net::Ipv4Addr;

use postern_model::route::{RouteTable, RouteTarget};
use postern_model::vpn::*;
use postern_model::*;

use crate::world::{World, cidr, create_route, net};

fn gateway(world: &mut World) -> VpnGatewayId {
    world.make(Action::Vpn(VpnAction::CreateGateway { amazon_asn: AMAZON_ASN, tags: Vec::new() }))
}

fn attach(gateway: VpnGatewayId, vpc: VpcId) -> Action {
    Action::Vpn(VpnAction::AttachGateway { gateway, vpc })
}

fn detach(gateway: VpnGatewayId, vpc: VpcId) -> Action {
    Action::Vpn(VpnAction::DetachGateway { gateway, vpc })
}

fn customer(world: &mut World, last: u8) -> CustomerGatewayId {
    let address = Ipv4Addr::new(203, 0, 113, last);
    let (bgp_asn, device_name, tags) = (65_000, None, Vec::new());
    world.make(Action::Vpn(VpnAction::CreateCustomerGateway { bgp_asn, address, device_name, tags }))
}

fn connection(world: &mut World, vpn_gateway: VpnGatewayId, last: u8) -> VpnConnectionId {
    let customer_gateway = customer(world, last);
    let tags = Vec::new();
    world.make(Action::Vpn(VpnAction::CreateConnection { customer_gateway, near: vpn_gateway.into(), tags }))
}

fn add(connection: VpnConnectionId, block: &str) -> Action {
    Action::Vpn(VpnAction::CreateRoute { connection, block: net(block) })
}

#[test]
fn a_gateway_is_attached_to_one_vpc_and_a_vpc_has_one() {
    let mut world = World::new();
    let (vpc, other) = (world.vpc("10.0.0.0/16"), world.vpc("10.1.0.0/16"));
    let (one, two) = (gateway(&mut world), gateway(&mut world));
    assert_eq!(world.refusal(detach(one, vpc)), ModelError::VpnGatewayNotAttached { gateway: one, vpc });
    world.run(attach(one, vpc));
    world.run(attach(one, vpc));
    assert_eq!(world.refusal(attach(one, other)), ModelError::VpnGatewayAttached { gateway: one, vpc });
    assert_eq!(world.refusal(attach(two, vpc)), ModelError::VpcHasVpnGateway { vpc, gateway: one });
    let delete = Action::Vpn(VpnAction::DeleteGateway { gateway: one });
    let in_use = ModelError::InUse { resource: one.into(), used_by: vpc.to_string() };
    assert_eq!(world.refusal(delete.clone()), in_use);
    let in_use = ModelError::InUse { resource: vpc.into(), used_by: one.to_string() };
    assert_eq!(world.refusal(Action::DeleteVpc { vpc }), in_use);
    world.run(detach(one, vpc));
    world.run(delete);
    world.run(Action::DeleteVpc { vpc });
}

#[test]
fn a_connection_holds_both_of_its_ends() {
    let mut world = World::new();
    let near = gateway(&mut world);
    let one = connection(&mut world, near, 1);
    let found = world.get::<VpnConnection>(one);
    let delete = Action::Vpn(VpnAction::DeleteCustomerGateway { gateway: found.customer_gateway });
    let used_by = one.to_string();
    assert_eq!(
        world.refusal(delete.clone()),
        ModelError::InUse { resource: found.customer_gateway.into(), used_by: used_by.clone() }
    );
    let delete_near = Action::Vpn(VpnAction::DeleteGateway { gateway: near });
    assert_eq!(world.refusal(delete_near.clone()), ModelError::InUse { resource: near.into(), used_by });
    // Asked for again, it is the one that is there.
    let (customer_gateway, near) = (found.customer_gateway, near.into());
    let again = VpnAction::CreateConnection { customer_gateway, near, tags: Vec::new() };
    world.run(Action::Vpn(again));
    assert_eq!(world.state.vpn_connections.len(), 1);
    world.run(Action::Vpn(VpnAction::DeleteConnection { connection: one }));
    world.run(delete);
    world.run(delete_near);
}

#[test]
fn each_tunnel_has_a_block_and_a_port_of_its_own() {
    let mut world = World::new();
    let near = gateway(&mut world);
    let all: Vec<_> = (1..20).map(|last| connection(&mut world, near, last)).collect();
    let links: Vec<_> = all.iter().map(|id| world.get::<VpnConnection>(*id).link).collect();
    for (n, link) in links.iter().enumerate() {
        assert!(net("169.254.0.0/16").contains(&link.inside) && link.inside.prefix_len() == 30);
        assert!(!net("169.254.168.0/22").contains(&link.inside));
        assert!(link.inside.contains(&link.near()) && link.inside.contains(&link.far()) && !link.up);
        assert!(links.iter().skip(n + 1).all(|other| (other.port, other.inside) != (link.port, link.inside)));
    }
    let report = |up| Action::Vpn(VpnAction::ReportLink { connection: all[0], up });
    world.run(report(true));
    assert!(world.get::<VpnConnection>(all[0]).link.up);
}

#[test]
fn routes_are_static_and_some_are_propagated() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let (near, table) = (gateway(&mut world), world.main_table(vpc));
    let one = connection(&mut world, near, 1);
    for block in ["192.168.0.0/16", "172.16.0.0/12", "10.0.7.0/24"] {
        world.run(add(one, block));
    }
    let host_bits = ModelError::HostBits("192.168.7.1/24".parse().unwrap());
    assert_eq!(world.refusal(add(one, "192.168.7.1/24")), host_bits);
    let propagate = Action::Vpn(VpnAction::SetPropagation { table, gateway: near, on: true });
    let refused = ModelError::VpnGatewayNotAttached { gateway: near, vpc };
    assert_eq!(world.refusal(propagate.clone()), refused);
    let by_hand = create_route(table, cidr("172.16.0.0/12"), RouteTarget::VpnGateway(near));
    assert_eq!(world.refusal(by_hand.clone()), refused);
    world.run(attach(near, vpc));
    world.run(propagate);
    let there = |world: &World| {
        let found = propagated(&world.state, &world.get::<RouteTable>(table));
        found.into_keys().map(|block| block.to_string()).collect::<Vec<_>>()
    };
    // What lies in the VPC's own block is local, whatever a connection says.
    assert_eq!(there(&world), ["172.16.0.0/12", "192.168.0.0/16"]);
    world.run(by_hand);
    assert_eq!(there(&world), ["192.168.0.0/16"]);
    let route = |world: &World| *world.get::<RouteTable>(table).routes.values().next().unwrap();
    assert!(!route(&world).is_blackhole(&world.state, vpc));
    world.run(detach(near, vpc));
    assert!(route(&world).is_blackhole(&world.state, vpc));
    assert_eq!(there(&world), Vec::<String>::new());
    let gone = |block: &str| Action::Vpn(VpnAction::DeleteRoute { connection: one, block: net(block) });
    world.run(gone("192.168.0.0/16"));
    let (connection, block) = (one, net("192.168.0.0/16"));
    assert_eq!(world.refusal(gone("192.168.0.0/16")), ModelError::VpnRouteNotFound { connection, block });
}
