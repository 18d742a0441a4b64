//! "Configure route tables" in the VPC user guide.

use postern_model::route::{Associated, RouteDestination, RouteTable, RouteTarget, RouteTargetChoice};
use postern_model::subnet::Subnet;
use postern_model::vpc::Vpc;
use postern_model::*;

use crate::world::{World, cidr, create_route, net, s3_list};

const ANYWHERE: &str = "0.0.0.0/0";

fn is_blackhole(world: &World, table: RouteTableId, destination: RouteDestination) -> bool {
    let table = world.get::<RouteTable>(table);
    table.routes[&destination].is_blackhole(&world.state, table.vpc)
}

#[test]
fn a_subnet_follows_the_main_table_until_it_chooses_one() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let effective = |world: &World| {
        let vpc = world.get::<Vpc>(vpc);
        world.get::<Subnet>(subnet).effective_route_table(&vpc)
    };
    let main = world.main_table(vpc);
    assert_eq!(effective(&world), main);
    let own = world.table(vpc);
    world.run(Action::AssociateRouteTable { table: own, subnet });
    assert_eq!(effective(&world), own);
    let other = world.table(vpc);
    assert_eq!(
        world.refusal(Action::AssociateRouteTable { table: other, subnet }),
        ModelError::SubnetAssociated { subnet }
    );
    let in_use = ModelError::InUse { resource: own.into(), used_by: subnet.to_string() };
    assert_eq!(world.refusal(Action::DeleteRouteTable { table: own }), in_use);
    let (association, _) = world.get::<Subnet>(subnet).route_table.unwrap();
    world.run(Action::ReplaceRouteTableAssociation { association, table: other });
    let (association, _) = world.get::<Subnet>(subnet).route_table.unwrap();
    world.run(Action::DisassociateRouteTable { association });
    assert_eq!(effective(&world), main);
    world.run(Action::DeleteRouteTable { table: own });
}

#[test]
fn the_main_table_can_be_replaced_but_not_left_out_or_deleted() {
    let (mut world, vpc, _) = World::with_subnet();
    let (main, association) = (world.main_table(vpc), world.get::<Vpc>(vpc).main_association);
    let in_use = |table: RouteTableId| ModelError::InUse { resource: table.into(), used_by: vpc.to_string() };
    assert_eq!(world.refusal(Action::DeleteRouteTable { table: main }), in_use(main));
    assert_eq!(
        world.refusal(Action::DisassociateRouteTable { association }),
        ModelError::MainRouteTable(main)
    );
    let table = world.table(vpc);
    world.run(Action::ReplaceRouteTableAssociation { association, table });
    assert_eq!(world.main_table(vpc), table);
    let found = route::find_association(&world.state, world.account, world.get::<Vpc>(vpc).main_association);
    assert_eq!(found, Ok((Associated::Main(vpc), table)));
    assert_eq!(world.refusal(Action::DeleteRouteTable { table }), in_use(table));
    world.run(Action::DeleteRouteTable { table: main });

    let elsewhere = world.vpc("10.0.0.0/16");
    let foreign = world.main_table(elsewhere);
    let association = world.get::<Vpc>(vpc).main_association;
    assert_eq!(
        world.refusal(Action::ReplaceRouteTableAssociation { association, table: foreign }),
        ModelError::DifferentVpcs { a: foreign.into(), b: vpc.into() }
    );
}

#[test]
fn one_route_leads_to_a_destination() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let gateway = world.internet_gateway(vpc);
    let interface = world.interface(subnet);
    let table = world.main_table(vpc);
    let to_gateway = RouteTarget::InternetGateway(gateway);
    let to_interface = RouteTarget::NetworkInterface(interface);
    world.run(create_route(table, cidr(ANYWHERE), to_gateway));
    world.run(create_route(table, cidr(ANYWHERE), to_gateway));
    assert_eq!(
        world.refusal(create_route(table, cidr(ANYWHERE), to_interface)),
        ModelError::RouteExists { table, destination: cidr(ANYWHERE) }
    );
    let target = RouteTargetChoice::Target(to_interface);
    world.run(Action::ReplaceRoute { table, destination: cidr(ANYWHERE), target });
    assert_eq!(world.get::<RouteTable>(table).routes[&cidr(ANYWHERE)].target, to_interface);
    let missing = ModelError::RouteNotFound { table, destination: cidr("1.0.0.0/8") };
    assert_eq!(
        world.refusal(Action::ReplaceRoute { table, destination: cidr("1.0.0.0/8"), target }),
        missing
    );
    assert_eq!(world.refusal(Action::DeleteRoute { table, destination: cidr("1.0.0.0/8") }), missing);
    world.run(Action::DeleteRoute { table, destination: cidr(ANYWHERE) });
    assert!(world.get::<RouteTable>(table).routes.is_empty());
}

#[test]
fn a_target_is_there_attached_and_of_the_same_vpc() {
    let (mut world, vpc, _) = World::with_subnet();
    let table = world.main_table(vpc);
    let loose: InternetGatewayId = world.make(Action::CreateInternetGateway { tags: Vec::new() });
    assert_eq!(
        world.refusal(create_route(table, cidr(ANYWHERE), RouteTarget::InternetGateway(loose))),
        ModelError::GatewayNotAttached { gateway: loose, vpc }
    );
    let elsewhere = world.vpc("10.0.0.0/16");
    let other = world.internet_gateway(elsewhere);
    assert_eq!(
        world.refusal(create_route(table, cidr(ANYWHERE), RouteTarget::InternetGateway(other))),
        ModelError::DifferentVpcs { a: table.into(), b: other.into() }
    );
    let nobody = NatGatewayId::from_number(1 << 40);
    assert_eq!(
        world.refusal(create_route(table, cidr(ANYWHERE), RouteTarget::NatGateway(nobody))),
        ModelError::NotFound(nobody.into())
    );
}

#[test]
fn a_route_inside_the_vpc_is_to_a_whole_subnet_and_not_to_the_internet() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let table = world.main_table(vpc);
    let interface = RouteTarget::NetworkInterface(world.interface(subnet));
    let gateway = world.internet_gateway(vpc);
    for inside in ["10.0.0.0/16", "10.0.0.0/17", "10.0.1.0/25"] {
        assert_eq!(
            world.refusal(create_route(table, cidr(inside), interface)),
            ModelError::RouteShadowsLocal { destination: cidr(inside), local: net("10.0.0.0/16") }
        );
    }
    assert_eq!(
        world.refusal(create_route(table, cidr("10.0.1.0/24"), RouteTarget::InternetGateway(gateway))),
        ModelError::RouteTargetUnsupported(gateway.into())
    );
    world.run(create_route(table, cidr("10.0.1.0/24"), interface));
    // A wider one loses to the local route and is allowed.
    world.run(create_route(table, cidr("10.0.0.0/8"), interface));
    assert_eq!(
        world.refusal(create_route(table, cidr("10.0.1.1/24"), interface)),
        ModelError::HostBits("10.0.1.1/24".parse().unwrap())
    );
    assert_eq!(
        world.refusal(create_route(table, cidr("169.254.169.0/24"), interface)),
        ModelError::RouteRestricted { destination: cidr("169.254.169.0/24") }
    );
}

#[test]
fn a_block_wider_than_a_route_is_refused() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let interface = RouteTarget::NetworkInterface(world.interface(subnet));
    world.run(create_route(world.main_table(vpc), cidr("10.1.0.0/24"), interface));
    assert_eq!(
        world.refusal(Action::AssociateVpcCidrBlock { vpc, cidr: net("10.1.0.0/16") }),
        ModelError::RouteShadowsLocal { destination: cidr("10.1.0.0/24"), local: net("10.1.0.0/16") }
    );
    world.run(Action::AssociateVpcCidrBlock { vpc, cidr: net("10.1.0.0/25") });
}

#[test]
fn a_route_is_a_black_hole_while_its_target_cannot_take_packets() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let table = world.main_table(vpc);

    let gateway = world.internet_gateway(vpc);
    world.run(create_route(table, cidr(ANYWHERE), RouteTarget::InternetGateway(gateway)));
    assert!(!is_blackhole(&world, table, cidr(ANYWHERE)));
    world.run(Action::DetachInternetGateway { gateway, vpc });
    assert!(is_blackhole(&world, table, cidr(ANYWHERE)));
    world.run(Action::AttachInternetGateway { gateway, vpc });
    assert!(!is_blackhole(&world, table, cidr(ANYWHERE)));

    let (one, two) = (cidr("1.0.0.0/8"), cidr("2.0.0.0/8"));
    let gateway: NatGatewayId = world.make(Action::CreateNatGateway {
        subnet,
        allocation: None,
        private_address: None,
        tags: Vec::new(),
    });
    world.run(create_route(table, one, RouteTarget::NatGateway(gateway)));
    assert!(!is_blackhole(&world, table, one));
    world.run(Action::DeleteNatGateway { gateway });
    assert!(is_blackhole(&world, table, one));

    let instance = world.instance(subnet);
    let target = RouteTargetChoice::Instance(instance);
    world.run(Action::CreateRoute { table, destination: two, target });
    assert!(!is_blackhole(&world, table, two));
    world.run(Action::StopInstances { instances: vec![instance] });
    assert!(is_blackhole(&world, table, two));
    world.report(instance, instance::InstanceState::Stopped);
    world.run(Action::StartInstances { instances: vec![instance] });
    assert!(!is_blackhole(&world, table, two));
}

#[test]
fn routes_to_aws_own_prefix_lists_are_not_made_by_hand() {
    let (mut world, vpc, _) = World::with_subnet();
    let (table, gateway) = (world.main_table(vpc), world.internet_gateway(vpc));
    let destination = RouteDestination::PrefixList(s3_list());
    assert_eq!(
        world.refusal(create_route(table, destination, RouteTarget::InternetGateway(gateway))),
        ModelError::RouteManaged { table, destination }
    );
}
