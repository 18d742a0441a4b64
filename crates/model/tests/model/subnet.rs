//! "Subnet CIDR blocks" in the VPC user guide.

use std::net::Ipv4Addr;

use postern_model::interface::{NetworkInterface, NewInterface};
use postern_model::subnet::Subnet;
use postern_model::*;

use crate::world::{World, net, new_interface};

fn create(vpc: VpcId, cidr: &str, zone: Option<&str>) -> Action {
    Action::CreateSubnet { vpc, cidr: net(cidr), zone: zone.map(str::to_owned), tags: Vec::new() }
}

#[test]
fn a_subnet_lies_in_its_vpc_and_overlaps_no_other() {
    let (mut world, vpc, _) = World::with_subnet();
    let outside = ModelError::BlockOutsideVpc { cidr: net("10.1.0.0/24"), vpc };
    assert_eq!(world.refusal(create(vpc, "10.1.0.0/24", None)), outside);
    for overlapping in ["10.0.1.0/24", "10.0.1.128/25", "10.0.0.0/23"] {
        assert_eq!(
            world.refusal(create(vpc, overlapping, None)),
            ModelError::BlockOverlap { cidr: net(overlapping), other: net("10.0.1.0/24") }
        );
    }
    assert_eq!(
        world.refusal(create(vpc, "10.0.2.0/29", None)),
        ModelError::BlockSize { cidr: net("10.0.2.0/29"), shortest: 28, longest: 16 }
    );
}

#[test]
fn a_zone_has_a_name_and_an_id() {
    let (mut world, vpc, _) = World::with_subnet();
    let by_name: SubnetId = world.make(create(vpc, "10.0.2.0/24", Some("us-east-1b")));
    let by_id: SubnetId = world.make(create(vpc, "10.0.3.0/24", Some("use1-az2")));
    assert_eq!(world.get::<Subnet>(by_name).zone, "us-east-1b");
    assert_eq!(world.get::<Subnet>(by_id).zone, "us-east-1b");
    assert_eq!(
        world.refusal(create(vpc, "10.0.4.0/24", Some("eu-west-1a"))),
        ModelError::ZoneNotFound("eu-west-1a".to_owned())
    );
}

#[test]
fn five_addresses_are_reserved_and_the_rest_can_be_had() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/28");
    let at = |last: u8| {
        let private_address = Some(Ipv4Addr::new(10, 0, 0, last));
        Action::CreateNetworkInterface(NewInterface { private_address, ..new_interface(subnet) })
    };
    for last in [0, 1, 2, 3, 15] {
        let address = Ipv4Addr::new(10, 0, 0, last).into();
        assert_eq!(world.refusal(at(last)), ModelError::AddressReserved { address, subnet });
    }
    let address = Ipv4Addr::new(10, 0, 0, 16).into();
    assert_eq!(world.refusal(at(16)), ModelError::AddressOutsideSubnet { address, subnet });
    world.run(at(7));
    let address = Ipv4Addr::new(10, 0, 0, 7).into();
    assert_eq!(world.refusal(at(7)), ModelError::AddressInUse { address, subnet });

    assert_eq!(world.get::<Subnet>(subnet).available_address_count(&world.state), 10);
    let addresses: Vec<_> = (0..10).map(|_| world.interface(subnet)).collect();
    let addresses =
        addresses.iter().map(|id| world.get::<NetworkInterface>(*id).primary_address().octets()[3]);
    assert_eq!(addresses.collect::<Vec<_>>(), [4, 5, 6, 8, 9, 10, 11, 12, 13, 14]);
    assert_eq!(world.get::<Subnet>(subnet).available_address_count(&world.state), 0);

    let full = ModelError::SubnetFull { subnet };
    assert_eq!(world.refusal(Action::CreateNetworkInterface(new_interface(subnet))), full);
    assert_eq!(world.refusal(Action::RunInstances(crate::world::launch(subnet))), full);
    let private_nat =
        Action::CreateNatGateway { subnet, allocation: None, private_address: None, tags: Vec::new() };
    assert_eq!(world.refusal(private_nat), full);
}

#[test]
fn an_address_can_be_had_again_once_it_is_let_go() {
    let (mut world, _, subnet) = World::with_subnet();
    let interface = world.interface(subnet);
    let address = world.get::<NetworkInterface>(interface).primary_address();
    world.run(Action::DeleteNetworkInterface { interface });
    let again = world.interface(subnet);
    assert_eq!(world.get::<NetworkInterface>(again).primary_address(), address);
}

#[test]
fn a_subnet_with_an_interface_in_it_stays() {
    let (mut world, _, subnet) = World::with_subnet();
    let interface = world.interface(subnet);
    assert_eq!(
        world.refusal(Action::DeleteSubnet { subnet }),
        ModelError::InUse { resource: subnet.into(), used_by: interface.to_string() }
    );
    world.run(Action::DeleteNetworkInterface { interface });
    world.run(Action::DeleteSubnet { subnet });
}
