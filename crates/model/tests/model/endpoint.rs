//! "Gateway endpoints" in the AWS PrivateLink guide.

use postern_model::endpoint::{EndpointChange, EndpointState, VpcEndpoint};
use postern_model::route::{Route, RouteDestination, RouteTable, RouteTarget, RouteTargetChoice};
use postern_model::*;

use crate::world::{World, create_route, new_endpoint, s3_list};

fn route_of(world: &World, table: RouteTableId) -> Option<Route> {
    world.get::<RouteTable>(table).routes.get(&RouteDestination::PrefixList(s3_list())).copied()
}

fn modify(endpoint: VpcEndpointId, add: &[RouteTableId], remove: &[RouteTableId]) -> Action {
    let (add_route_tables, remove_route_tables) = (add.to_vec(), remove.to_vec());
    let change = EndpointChange { add_route_tables, remove_route_tables, ..EndpointChange::default() };
    Action::ModifyVpcEndpoint { endpoint, change }
}

#[test]
fn routes_come_and_go_with_the_association() {
    let (mut world, vpc, _) = World::with_subnet();
    let (main, other) = (world.main_table(vpc), world.table(vpc));
    let endpoint = world.endpoint(vpc, "s3", &[main]);
    let destination = RouteDestination::PrefixList(s3_list());
    let route = Route { destination, target: RouteTarget::VpcEndpoint(endpoint) };
    assert_eq!((route_of(&world, main), route_of(&world, other)), (Some(route), None));
    assert!(!route.is_blackhole(&world.state, vpc));
    world.run(modify(endpoint, &[other], &[main]));
    assert_eq!((route_of(&world, main), route_of(&world, other)), (None, Some(route)));
    world.run(Action::DeleteVpcEndpoint { endpoint });
    assert_eq!(route_of(&world, other), None);
    assert_eq!(world.refusal(Action::DeleteVpcEndpoint { endpoint }), ModelError::NotFound(endpoint.into()));
}

#[test]
fn its_route_is_nobodys_to_make_change_or_remove() {
    let (mut world, vpc, _) = World::with_subnet();
    let (table, gateway) = (world.main_table(vpc), world.internet_gateway(vpc));
    let endpoint = world.endpoint(vpc, "s3", &[table]);
    let destination = RouteDestination::PrefixList(s3_list());
    let managed = ModelError::RouteManaged { table, destination };
    assert_eq!(world.refusal(Action::DeleteRoute { table, destination }), managed);
    let target = RouteTargetChoice::Target(RouteTarget::InternetGateway(gateway));
    assert_eq!(world.refusal(Action::ReplaceRoute { table, destination, target }), managed);
    let to_endpoint = RouteTarget::VpcEndpoint(endpoint);
    assert_eq!(world.refusal(create_route(table, destination, to_endpoint)), managed);
    assert_eq!(
        world.refusal(create_route(table, crate::world::cidr("0.0.0.0/0"), to_endpoint)),
        ModelError::RouteTargetUnsupported(endpoint.into())
    );
}

#[test]
fn a_table_leads_to_one_endpoint_of_a_service() {
    let (mut world, vpc, _) = World::with_subnet();
    let (main, other) = (world.main_table(vpc), world.table(vpc));
    world.endpoint(vpc, "s3", &[main]);
    let exists =
        ModelError::RouteExists { table: main, destination: RouteDestination::PrefixList(s3_list()) };
    assert_eq!(world.refusal(new_endpoint(vpc, "s3", &[main])), exists);
    let second = world.endpoint(vpc, "s3", &[other]);
    assert_eq!(world.refusal(modify(second, &[main], &[])), exists);
    // Another service on the same table is another route.
    world.endpoint(vpc, "dynamodb", &[main, other]);
}

#[test]
fn a_table_of_another_vpc_is_refused() {
    let (mut world, vpc, _) = World::with_subnet();
    let elsewhere = world.vpc("10.0.0.0/16");
    let foreign = world.main_table(elsewhere);
    assert_eq!(
        world.refusal(new_endpoint(vpc, "s3", &[foreign])),
        ModelError::DifferentVpcs { a: foreign.into(), b: vpc.into() }
    );
}

#[test]
fn only_s3_and_dynamodb_have_gateway_endpoints() {
    let (mut world, vpc, _) = World::with_subnet();
    assert_eq!(
        world.refusal(new_endpoint(vpc, "ec2", &[])),
        ModelError::EndpointType {
            service: "com.amazonaws.us-east-1.ec2".to_owned(),
            kind: "Gateway",
            offered: "Interface".to_owned()
        }
    );
    assert_eq!(
        world.refusal(new_endpoint(vpc, "cloudfront", &[])),
        ModelError::ServiceNotFound("com.amazonaws.us-east-1.cloudfront".to_owned())
    );
}

#[test]
fn a_region_has_twenty_gateway_endpoints_of_an_account() {
    let mut world = World::new();
    world.raise(Quota::Vpcs);
    let vpcs: Vec<_> = (0..10).map(|_| world.vpc("10.0.0.0/16")).collect();
    let mut endpoints = Vec::new();
    for vpc in &vpcs {
        endpoints.extend(["s3", "dynamodb"].map(|service| world.endpoint(*vpc, service, &[])));
    }
    let limit = ModelError::Quota { quota: Quota::GatewayEndpoints, limit: 20 };
    assert_eq!(world.refusal(new_endpoint(vpcs[0], "s3", &[])), limit);
    world.run(Action::DeleteVpcEndpoint { endpoint: endpoints[0] });
    world.endpoint(vpcs[0], "s3", &[]);
}

#[test]
fn it_is_pending_until_the_data_plane_knows_it() {
    let (mut world, vpc, _) = World::with_subnet();
    let endpoint = world.endpoint(vpc, "s3", &[]);
    assert_eq!(world.get::<VpcEndpoint>(endpoint).state, EndpointState::Pending);
    world.run(Action::ReportVpcEndpointReady { endpoint });
    assert_eq!(world.get::<VpcEndpoint>(endpoint).state, EndpointState::Available);
}

#[test]
fn a_policy_is_set_and_reset_and_a_change_reads_back_as_it_was_written() {
    let (mut world, vpc, _) = World::with_subnet();
    let endpoint = world.endpoint(vpc, "s3", &[]);
    let policy = |policy| EndpointChange { policy, ..EndpointChange::default() };
    for (change, expected) in [
        (policy(Some(Some("{}".to_owned()))), Some("{}")),
        (policy(None), Some("{}")),
        (policy(Some(None)), None),
    ] {
        let text = serde_json::to_string(&change).unwrap();
        let change_read: EndpointChange = serde_json::from_str(&text).unwrap();
        assert_eq!(change_read, change);
        world.run(Action::ModifyVpcEndpoint { endpoint, change: change_read });
        assert_eq!(world.get::<VpcEndpoint>(endpoint).policy.as_deref(), expected);
    }
}

#[test]
fn a_deleted_table_is_forgotten() {
    let (mut world, vpc, _) = World::with_subnet();
    let table = world.table(vpc);
    let endpoint = world.endpoint(vpc, "s3", &[table]);
    world.run(Action::DeleteRouteTable { table });
    assert!(world.get::<VpcEndpoint>(endpoint).route_tables.is_empty());
}
