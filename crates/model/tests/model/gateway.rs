//! "Internet gateways", "NAT gateways" and "Elastic IP addresses" in the VPC user guide.

use std::net::Ipv4Addr;

use postern_model::gateway::{Address, NatGateway, NatGatewayState, elastic_of};
use postern_model::interface::{InterfaceKind, NetworkInterface};
use postern_model::*;

use crate::world::World;

fn associate(allocation: AllocationId, interface: NetworkInterfaceId, allow_reassociation: bool) -> Action {
    Action::AssociateAddress { allocation, interface, private_address: None, allow_reassociation }
}

fn nat(subnet: SubnetId, allocation: Option<AllocationId>) -> Action {
    Action::CreateNatGateway { subnet, allocation, private_address: None, tags: Vec::new() }
}

/// What an Elastic IP address stands for.
fn interface_of(world: &World, allocation: AllocationId) -> Option<NetworkInterfaceId> {
    world.get::<Address>(allocation).association.map(|association| association.interface)
}

#[test]
fn a_vpc_has_one_internet_gateway_and_a_gateway_one_vpc() {
    let (mut world, vpc, _) = World::with_subnet();
    let gateway = world.internet_gateway(vpc);
    let other: InternetGatewayId = world.make(Action::CreateInternetGateway { tags: Vec::new() });
    assert_eq!(
        world.refusal(Action::AttachInternetGateway { gateway: other, vpc }),
        ModelError::VpcHasGateway { vpc, gateway }
    );
    let elsewhere = world.vpc("10.0.0.0/16");
    assert_eq!(
        world.refusal(Action::AttachInternetGateway { gateway, vpc: elsewhere }),
        ModelError::GatewayAttached { gateway, vpc }
    );
    assert_eq!(
        world.refusal(Action::DetachInternetGateway { gateway, vpc: elsewhere }),
        ModelError::GatewayNotAttached { gateway, vpc: elsewhere }
    );
    assert_eq!(
        world.refusal(Action::DeleteInternetGateway { gateway }),
        ModelError::InUse { resource: gateway.into(), used_by: vpc.to_string() }
    );
    world.run(Action::DetachInternetGateway { gateway, vpc });
    world.run(Action::DeleteInternetGateway { gateway });
}

#[test]
fn a_gateway_stays_while_public_addresses_are_mapped() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let gateway = world.internet_gateway(vpc);
    let (allocation, interface) = (world.address(), world.interface(subnet));
    world.run(associate(allocation, interface, false));
    let mapped = ModelError::PublicAddressesMapped { vpc };
    assert_eq!(world.refusal(Action::DetachInternetGateway { gateway, vpc }), mapped);
    let association = world.get::<Address>(allocation).association.unwrap().id;
    world.run(Action::DisassociateAddress { association });
    world.run(Action::SetMapPublicIpOnLaunch { subnet, on: true });
    world.instance(subnet);
    assert_eq!(world.refusal(Action::DetachInternetGateway { gateway, vpc }), mapped);
}

#[test]
fn public_addresses_come_from_the_pool_and_go_back() {
    let mut world = World::new();
    let (one, two) = (world.address(), world.address());
    let (one, two) = (world.get::<Address>(one), world.get::<Address>(two));
    assert_ne!(one.public_address, two.public_address);
    assert_eq!(one.public_address.octets()[..2], gateway::PUBLIC_POOL_BASE.octets()[..2]);
    world.run(Action::ReleaseAddress { allocation: one.id });
    assert!(!world.state.public_addresses.contains_key(&one.public_address));
    assert_eq!(
        world.refusal(Action::ReleaseAddress { allocation: one.id }),
        ModelError::NotFound(one.id.into())
    );
}

#[test]
fn an_address_stands_for_one_private_address() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let (allocation, a, b) = (world.address(), world.interface(subnet), world.interface(subnet));
    assert_eq!(world.refusal(associate(allocation, a, false)), ModelError::VpcWithoutGateway { vpc });
    world.internet_gateway(vpc);
    world.run(associate(allocation, a, false));
    let associated = ModelError::AddressAssociated { allocation, interface: a };
    assert_eq!(world.refusal(Action::ReleaseAddress { allocation }), associated);
    assert_eq!(world.refusal(associate(allocation, b, false)), associated);
    world.run(associate(allocation, b, true));
    assert_eq!(interface_of(&world, allocation), Some(b));

    // The other way round: an interface that has one gets another.
    let second = world.address();
    assert_eq!(
        world.refusal(associate(second, b, false)),
        ModelError::AddressAssociated { allocation, interface: b }
    );
    world.run(associate(second, b, true));
    assert_eq!((interface_of(&world, allocation), interface_of(&world, second)), (None, Some(b)));
    let stranger = Ipv4Addr::new(10, 0, 1, 99);
    assert_eq!(
        world.refusal(Action::AssociateAddress {
            allocation,
            interface: b,
            private_address: Some(stranger),
            allow_reassociation: false
        }),
        ModelError::AddressNotAssigned { address: stranger.into(), interface: b }
    );
    world.run(Action::DeleteNetworkInterface { interface: b });
    assert_eq!(interface_of(&world, second), None);
}

#[test]
fn a_secondary_address_has_an_elastic_one_of_its_own_until_it_is_taken_away() {
    let (mut world, vpc, subnet) = World::with_subnet();
    world.internet_gateway(vpc);
    let (allocation, interface) = (world.address(), world.interface(subnet));
    let second = Ipv4Addr::new(10, 0, 1, 50);
    world.run(Action::AssignPrivateAddresses { interface, addresses: vec![second], count: 0 });
    let private_address = Some(second);
    world.run(Action::AssociateAddress {
        allocation,
        interface,
        private_address,
        allow_reassociation: false,
    });
    assert_eq!(elastic_of(&world.state, interface, second).map(|address| address.id), Some(allocation));
    world.run(Action::UnassignPrivateAddresses { interface, addresses: vec![second] });
    assert_eq!(interface_of(&world, allocation), None);
    let primary = world.get::<NetworkInterface>(interface).primary_address();
    assert_eq!(
        world.refusal(Action::UnassignPrivateAddresses { interface, addresses: vec![primary] }),
        ModelError::AddressNotAssigned { address: primary.into(), interface }
    );
}

#[test]
fn an_elastic_address_takes_the_place_of_an_automatic_one() {
    let (mut world, vpc, subnet) = World::with_subnet();
    world.internet_gateway(vpc);
    world.run(Action::SetMapPublicIpOnLaunch { subnet, on: true });
    let instance = world.instance(subnet);
    let interface = world.primary_interface(instance);
    let automatic = interface.automatic_public_address.unwrap();
    let allocation = world.address();
    world.run(associate(allocation, interface.id, false));
    assert_eq!(world.primary_interface(instance).automatic_public_address, None);
    assert!(!world.state.public_addresses.contains_key(&automatic));
}

#[test]
fn a_nat_gateway_lives_with_an_interface_and_an_address() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let allocation = world.address();
    assert_eq!(world.refusal(nat(subnet, Some(allocation))), ModelError::VpcWithoutGateway { vpc });
    world.internet_gateway(vpc);
    let gateway: NatGatewayId = world.make(nat(subnet, Some(allocation)));
    let found = world.get::<NatGateway>(gateway);
    let interface = world.get::<NetworkInterface>(found.interface.unwrap());
    assert_eq!(found.state, NatGatewayState::Pending);
    assert_eq!((interface.kind, interface.source_dest_check), (InterfaceKind::NatGateway, false));
    assert_eq!(interface.description, format!("Interface for NAT Gateway {gateway}"));
    assert_eq!(interface_of(&world, allocation), Some(interface.id));
    world.run(Action::ReportNatGatewayReady { gateway });
    assert_eq!(world.get::<NatGateway>(gateway).state, NatGatewayState::Available);

    assert_eq!(
        world.refusal(nat(subnet, Some(allocation))),
        ModelError::AddressAssociated { allocation, interface: interface.id }
    );
    let in_use = ModelError::InUse { resource: subnet.into(), used_by: interface.id.to_string() };
    assert_eq!(world.refusal(Action::DeleteSubnet { subnet }), in_use);

    world.run(Action::DeleteNatGateway { gateway });
    let deleted = world.get::<NatGateway>(gateway);
    assert_eq!((deleted.state, deleted.interface), (NatGatewayState::Deleted, None));
    assert_eq!(deleted.public_address, Some(world.get::<Address>(allocation).public_address));
    assert_eq!(interface_of(&world, allocation), None);
    world.run(Action::DeleteSubnet { subnet });
    world.run(Action::DeleteNatGateway { gateway });
}

#[test]
fn the_interface_of_a_nat_gateway_is_its_own() {
    let (mut world, vpc, subnet) = World::with_subnet();
    world.internet_gateway(vpc);
    let (allocation, other) = (world.address(), world.address());
    let gateway: NatGatewayId = world.make(nat(subnet, Some(allocation)));
    let interface = world.get::<NatGateway>(gateway).interface.unwrap();
    let attachment = world.get::<NetworkInterface>(interface).attachment.unwrap().id;
    let managed = ModelError::InterfaceManaged { interface };
    assert_eq!(world.refusal(associate(other, interface, true)), managed);
    let association = world.get::<Address>(allocation).association.unwrap().id;
    assert_eq!(world.refusal(Action::DisassociateAddress { association }), managed);
    assert_eq!(world.refusal(Action::DetachNetworkInterface { attachment }), managed);
    let change = interface::InterfaceChange::SourceDestCheck(true);
    assert_eq!(world.refusal(Action::ModifyNetworkInterface { interface, change }), managed);
    assert_eq!(
        world.refusal(Action::AssignPrivateAddresses { interface, addresses: Vec::new(), count: 1 }),
        managed
    );
    let in_use = ModelError::InUse { resource: interface.into(), used_by: attachment.to_string() };
    assert_eq!(world.refusal(Action::DeleteNetworkInterface { interface }), in_use);
    // Its address cannot be taken away to another interface either.
    let thief = world.interface(subnet);
    assert_eq!(
        world.refusal(associate(allocation, thief, true)),
        ModelError::AddressAssociated { allocation, interface }
    );
}

#[test]
fn a_deleted_nat_gateway_is_shown_for_an_hour() {
    let (mut world, _, subnet) = World::with_subnet();
    let old: NatGatewayId = world.make(nat(subnet, None));
    world.run(Action::DeleteNatGateway { gateway: old });
    let newer: NatGatewayId = world.make(nat(subnet, None));
    assert!(world.state.nat_gateways.contains_key(&old));
    world.now += 3_600_001;
    let newest: NatGatewayId = world.make(nat(subnet, None));
    assert_eq!(world.state.nat_gateways.len(), 2);
    assert!(world.state.nat_gateways.contains_key(&newer) && world.state.nat_gateways.contains_key(&newest));
}
