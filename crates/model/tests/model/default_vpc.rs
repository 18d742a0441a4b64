//! The default VPC, and what belongs to it.

use postern_model::default_vpc::{find, subnets};
use postern_model::route::{RouteTable, RouteTarget};
use postern_model::vpc::Vpc;
use postern_model::*;

use crate::world::{World, cidr};

fn zone(name: &str) -> Action {
    Action::CreateDefaultSubnet { zone: name.to_owned() }
}

#[test]
fn it_has_a_subnet_in_each_zone_and_a_way_out() {
    let mut world = World::new();
    assert!(find(&world.state, world.account).is_none());
    assert_eq!(world.refusal(zone("us-east-1a")), ModelError::NoDefaultVpc);
    let id: VpcId = world.make(Action::CreateDefaultVpc);
    let vpc = world.get::<Vpc>(id);
    assert_eq!(vpc.primary_cidr().to_string(), "172.31.0.0/16");
    assert!(vpc.is_default && vpc.dns_hostnames && vpc.dns_support);
    let shown: Vec<_> = subnets(&world.state, world.account)
        .into_iter()
        .map(|s| format!("{} {} {}", s.zone, s.cidr, s.map_public_ip_on_launch))
        .collect();
    let expected =
        ["us-east-1a 172.31.0.0/20 true", "us-east-1b 172.31.16.0/20 true", "us-east-1c 172.31.32.0/20 true"];
    assert_eq!(shown, expected);
    let table = world.get::<RouteTable>(vpc.main_route_table);
    let gateway = gateway::internet_gateway_of(&world.state, id).unwrap();
    assert_eq!(table.routes.get(&cidr("0.0.0.0/0")).unwrap().target, RouteTarget::InternetGateway(gateway));
    assert_eq!(world.refusal(Action::CreateDefaultVpc), ModelError::DefaultVpcExists(id));
}

#[test]
fn a_zone_has_one_default_subnet_and_gets_another_when_it_is_gone() {
    let mut world = World::new();
    let vpc: VpcId = world.make(Action::CreateDefaultVpc);
    let first = subnets(&world.state, world.account)[0].id;
    let there = ModelError::DefaultSubnetExists { subnet: first, zone: "us-east-1a".to_owned() };
    assert_eq!(world.refusal(zone("us-east-1a")), there);
    assert_eq!(world.refusal(zone("us-east-1z")), ModelError::ZoneNotFound("us-east-1z".to_owned()));
    world.run(Action::DeleteSubnet { subnet: first });
    // What stands in the way of the lowest block is gone round.
    world.subnet(vpc, "172.31.0.0/24");
    world.run(zone("us-east-1a"));
    assert_eq!(subnets(&world.state, world.account)[0].cidr.to_string(), "172.31.48.0/20");
    let first = subnets(&world.state, world.account)[0].id;
    world.run(Action::DeleteSubnet { subnet: first });
    world.subnet(vpc, "172.31.64.0/18");
    world.subnet(vpc, "172.31.128.0/17");
    world.subnet(vpc, "172.31.48.0/28");
    assert_eq!(world.refusal(zone("us-east-1a")), ModelError::NoBlockForDefaultSubnet(vpc));
}
