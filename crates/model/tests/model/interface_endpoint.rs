//! "Access an AWS service using an interface VPC endpoint" in the AWS PrivateLink guide.

use std::net::Ipv4Addr;

use postern_model::endpoint::{
    DnsChoice, DnsOptions, DnsRecordIpType, EndpointChange, EndpointState, InterfaceChange, InterfacePart,
    NewInterfaceEndpoint, VpcEndpoint,
};
use postern_model::interface::{
    InterfaceChange as ChangeOfInterface, InterfaceKind, NetworkInterface, NewInterface,
};
use postern_model::vpc::Vpc;
use postern_model::*;

use crate::world::{World, create_route, net, new_endpoint, new_interface};

const EC2: &str = "com.amazonaws.us-east-1.ec2";
const S3: &str = "com.amazonaws.us-east-1.s3";

fn new(vpc: VpcId, service: &str, subnets: &[SubnetId]) -> NewInterfaceEndpoint {
    NewInterfaceEndpoint {
        vpc,
        service_name: service.to_owned(),
        subnets: subnets.to_vec(),
        addresses: Vec::new(),
        groups: Vec::new(),
        private_dns: false,
        dns: DnsChoice::default(),
        policy: None,
        tags: Vec::new(),
    }
}

fn create(new: NewInterfaceEndpoint) -> Action {
    Action::CreateInterfaceEndpoint(new)
}

fn modify(endpoint: VpcEndpointId, interface: InterfaceChange) -> Action {
    Action::ModifyVpcEndpoint { endpoint, change: EndpointChange { interface, ..EndpointChange::default() } }
}

/// A subnet of each of two zones in a VPC whose DNS attributes are both on.
fn zones() -> (World, VpcId, [SubnetId; 2]) {
    let (mut world, vpc, one) = World::with_subnet();
    world.run(Action::SetVpcDns { vpc, support: None, hostnames: Some(true) });
    let two = subnet(&mut world, vpc, "10.0.2.0/24", "us-east-1b");
    (world, vpc, [one, two])
}

fn subnet(world: &mut World, vpc: VpcId, cidr: &str, zone: &str) -> SubnetId {
    let zone = Some(zone.to_owned());
    world.make(Action::CreateSubnet { vpc, cidr: net(cidr), zone, tags: Vec::new() })
}

fn part(world: &World, endpoint: VpcEndpointId) -> InterfacePart {
    world.get::<VpcEndpoint>(endpoint).interface.clone().unwrap()
}

fn interface(world: &World, endpoint: VpcEndpointId, subnet: SubnetId) -> std::sync::Arc<NetworkInterface> {
    world.get::<NetworkInterface>(part(world, endpoint).interfaces[&subnet])
}

fn state(world: &World, endpoint: VpcEndpointId) -> &'static str {
    world.get::<VpcEndpoint>(endpoint).state.name()
}

#[test]
fn it_has_an_interface_of_its_own_in_each_subnet() {
    let (mut world, vpc, [one, two]) = zones();
    let chosen = Ipv4Addr::new(10, 0, 2, 77);
    let endpoint: VpcEndpointId = world
        .make(create(NewInterfaceEndpoint { addresses: vec![(two, chosen)], ..new(vpc, EC2, &[one, two]) }));
    let in_one = interface(&world, endpoint, one);
    assert_eq!(in_one.kind, InterfaceKind::VpcEndpoint(endpoint));
    assert_eq!(in_one.description, format!("VPC Endpoint Interface {endpoint}"));
    assert!(in_one.kind.is_requester_managed() && in_one.source_dest_check);
    let attachment = in_one.attachment.unwrap();
    assert_eq!((attachment.instance, attachment.device_index), (None, 1));
    let default = world.get::<Vpc>(vpc).default_security_group;
    assert_eq!((&in_one.groups, &part(&world, endpoint).groups), (&vec![default], &vec![default]));
    assert_eq!(in_one.primary_address(), Ipv4Addr::new(10, 0, 1, 4), "the first that is free");
    assert_eq!(interface(&world, endpoint, two).primary_address(), chosen);
    // Without subnets it is there all the same, with a group and no interface.
    let bare: VpcEndpointId = world.make(create(new(vpc, EC2, &[])));
    assert_eq!((part(&world, bare).interfaces.len(), part(&world, bare).groups), (0, vec![default]));
    assert_ne!(part(&world, bare).label, part(&world, endpoint).label);
}

#[test]
fn it_is_available_once_it_is_known_and_deleted_once_it_is_forgotten() {
    let (mut world, vpc, [one, _]) = zones();
    let endpoint: VpcEndpointId = world.make(create(new(vpc, EC2, &[one])));
    assert_eq!(state(&world, endpoint), "pending");
    world.run(Action::ReportVpcEndpointReady { endpoint });
    assert_eq!(state(&world, endpoint), "available");
    world.run(Action::ReportVpcEndpointGone { endpoint });
    assert_eq!(state(&world, endpoint), "available", "nobody deletes it");
    let eni = part(&world, endpoint).interfaces[&one];
    world.run(Action::DeleteVpcEndpoint { endpoint });
    assert_eq!(state(&world, endpoint), "deleting");
    assert!(!world.state.network_interfaces.contains_key(&eni), "its interfaces go with it");
    // Once more is the same, and to change it is too late.
    world.run(Action::DeleteVpcEndpoint { endpoint });
    let wrong = |state, needed| ModelError::WrongState { resource: endpoint.into(), state, needed };
    let change = InterfaceChange { add_subnets: vec![one], ..InterfaceChange::default() };
    assert_eq!(world.refusal(modify(endpoint, change.clone())), wrong("deleting", "available"));
    assert_eq!(world.refusal(Action::ForgetVpcEndpoint { endpoint }), wrong("deleting", "deleted"));
    world.run(Action::ReportVpcEndpointReady { endpoint });
    assert_eq!(state(&world, endpoint), "deleting", "what is being deleted does not come back");
    world.run(Action::ReportVpcEndpointGone { endpoint });
    assert_eq!(state(&world, endpoint), "deleted");
    let gone = ModelError::NotFound(endpoint.into());
    assert_eq!(world.refusal(Action::DeleteVpcEndpoint { endpoint }), gone);
    assert_eq!(world.refusal(modify(endpoint, change)), gone);
    // Nothing holds the VPC any more.
    world.run(Action::DeleteSubnet { subnet: one });
    world.run(Action::ForgetVpcEndpoint { endpoint });
    assert!(world.state.vpc_endpoints.is_empty());
}

#[test]
fn a_zone_has_one_of_its_subnets() {
    let (mut world, vpc, [one, two]) = zones();
    let same_zone = world.subnet(vpc, "10.0.3.0/24");
    let taken = ModelError::EndpointZoneTaken { existing: one };
    assert_eq!(world.refusal(create(new(vpc, EC2, &[one, same_zone]))), taken);
    assert_eq!(world.refusal(create(new(vpc, EC2, &[one, one]))), taken);
    let endpoint: VpcEndpointId = world.make(create(new(vpc, EC2, &[one, two])));
    let add = |add: SubnetId, remove: &[SubnetId]| {
        let (add_subnets, remove_subnets) = (vec![add], remove.to_vec());
        modify(endpoint, InterfaceChange { add_subnets, remove_subnets, ..InterfaceChange::default() })
    };
    assert_eq!(world.refusal(add(same_zone, &[])), taken);
    let kept = part(&world, endpoint).interfaces[&two];
    world.run(add(same_zone, &[one]));
    let now = part(&world, endpoint);
    assert_eq!(now.interfaces.keys().copied().collect::<Vec<_>>().len(), 2);
    assert_eq!(now.interfaces.get(&two), Some(&kept), "what stays is the same one");
    assert!(now.interfaces.contains_key(&same_zone) && !now.interfaces.contains_key(&one));
    assert_eq!(world.refusal(add(one, &[one])), ModelError::EndpointSubnet { subnet: one });
    let elsewhere = world.vpc("10.1.0.0/16");
    let foreign = world.subnet(elsewhere, "10.1.1.0/24");
    assert_eq!(
        world.refusal(create(new(vpc, EC2, &[foreign]))),
        ModelError::DifferentVpcs { a: foreign.into(), b: vpc.into() }
    );
}

#[test]
fn an_address_is_chosen_in_a_subnet_of_the_endpoint() {
    let (mut world, vpc, [one, two]) = zones();
    let (taken, free) = (Ipv4Addr::new(10, 0, 1, 9), Ipv4Addr::new(10, 0, 1, 10));
    let other = NewInterface { private_address: Some(taken), ..new_interface(one) };
    world.run(Action::CreateNetworkInterface(other));
    let at = |subnet, address| NewInterfaceEndpoint {
        addresses: vec![(subnet, address)],
        ..new(vpc, EC2, &[one])
    };
    assert!(matches!(world.refusal(create(at(one, taken))), ModelError::AddressInUse { .. }));
    let reserved = Ipv4Addr::new(10, 0, 1, 1);
    assert!(matches!(world.refusal(create(at(one, reserved))), ModelError::AddressReserved { .. }));
    assert_eq!(world.refusal(create(at(two, free))), ModelError::EndpointSubnet { subnet: two });
    let endpoint: VpcEndpointId = world.make(create(new(vpc, EC2, &[one])));
    let first = interface(&world, endpoint, one).id;
    let to = |address| {
        modify(endpoint, InterfaceChange { addresses: vec![(one, address)], ..InterfaceChange::default() })
    };
    world.run(to(free));
    let second = interface(&world, endpoint, one);
    assert_eq!(second.primary_address(), free);
    assert_ne!(second.id, first, "another address is another interface");
    world.run(to(free));
    assert_eq!(interface(&world, endpoint, one).id, second.id, "the same address is the same one");
}

#[test]
fn its_groups_are_those_of_its_interfaces() {
    let (mut world, vpc, [one, _]) = zones();
    let (web, db) = (world.group(vpc, "web"), world.group(vpc, "db"));
    let with = NewInterfaceEndpoint { groups: vec![web], ..new(vpc, EC2, &[one]) };
    let endpoint: VpcEndpointId = world.make(create(with));
    let groups = |add: &[SecurityGroupId], remove: &[SecurityGroupId]| {
        let (add_groups, remove_groups) = (add.to_vec(), remove.to_vec());
        modify(endpoint, InterfaceChange { add_groups, remove_groups, ..InterfaceChange::default() })
    };
    assert_eq!(world.refusal(groups(&[], &[web])), ModelError::EndpointWithoutGroup { endpoint });
    assert_eq!(world.refusal(groups(&[], &[db])), ModelError::NotFound(db.into()));
    world.run(groups(&[db], &[web]));
    assert_eq!(interface(&world, endpoint, one).groups, [db]);
    world.run(Action::DeleteSecurityGroup { group: web });
    // Even without interfaces an endpoint holds its groups.
    let away = InterfaceChange { remove_subnets: vec![one], ..InterfaceChange::default() };
    world.run(modify(endpoint, away));
    let in_use = ModelError::InUse { resource: db.into(), used_by: endpoint.to_string() };
    assert_eq!(world.refusal(Action::DeleteSecurityGroup { group: db }), in_use);
    world.run(Action::DeleteVpcEndpoint { endpoint });
    world.run(Action::DeleteSecurityGroup { group: db });
}

#[test]
fn its_interfaces_are_nobodys_to_change() {
    let (mut world, vpc, [one, _]) = zones();
    let endpoint: VpcEndpointId = world.make(create(new(vpc, EC2, &[one])));
    let eni = interface(&world, endpoint, one);
    let interface = eni.id;
    let attachment = eni.attachment.unwrap().id;
    let managed = ModelError::InterfaceManaged { interface };
    assert_eq!(world.refusal(Action::DetachNetworkInterface { attachment }), managed);
    let change = ChangeOfInterface::SourceDestCheck(false);
    assert_eq!(world.refusal(Action::ModifyNetworkInterface { interface, change }), managed);
    let assign = Action::AssignPrivateAddresses { interface, addresses: Vec::new(), count: 1 };
    assert_eq!(world.refusal(assign), managed);
    assert_eq!(
        world.refusal(Action::DeleteNetworkInterface { interface }),
        ModelError::InUse { resource: interface.into(), used_by: attachment.to_string() }
    );
    assert!(matches!(world.refusal(Action::DeleteSubnet { subnet: one }), ModelError::InUse { .. }));
    // And it is no target of a route either.
    let table = world.main_table(vpc);
    let route =
        create_route(table, crate::world::cidr("0.0.0.0/0"), route::RouteTarget::VpcEndpoint(endpoint));
    assert_eq!(world.refusal(route), ModelError::RouteTargetUnsupported(endpoint.into()));
    // Who makes an interface cannot make it an endpoint's.
    let forged = NewInterface { kind: InterfaceKind::VpcEndpoint(endpoint), ..new_interface(one) };
    let own: NetworkInterfaceId = world.make(Action::CreateNetworkInterface(forged));
    assert_eq!(world.get::<NetworkInterface>(own).kind, InterfaceKind::Interface);
}

#[test]
fn a_private_name_leads_to_one_endpoint_and_needs_both_dns_attributes() {
    let (mut world, vpc, [one, _]) = zones();
    let private = |service: &str| NewInterfaceEndpoint { private_dns: true, ..new(vpc, service, &[]) };
    for (support, hostnames) in [(false, true), (true, false)] {
        world.run(Action::SetVpcDns { vpc, support: Some(support), hostnames: Some(hostnames) });
        let refusal = world.refusal(create(private(EC2)));
        assert_eq!(refusal, ModelError::PrivateDnsAttributes { vpc });
    }
    world.run(Action::SetVpcDns { vpc, support: Some(true), hostnames: Some(true) });
    let first: VpcEndpointId = world.make(create(private(EC2)));
    let taken = ModelError::PrivateNameTaken { name: "ec2.us-east-1.amazonaws.com".to_owned(), vpc };
    assert_eq!(world.refusal(create(private(EC2))), taken);
    // A second one without is no harm, and cannot get it later either.
    let second: VpcEndpointId = world.make(create(new(vpc, EC2, &[one])));
    let turn = |endpoint, on| {
        modify(endpoint, InterfaceChange { private_dns: Some(on), ..InterfaceChange::default() })
    };
    assert_eq!(world.refusal(turn(second, true)), taken);
    world.run(turn(first, true));
    world.run(turn(first, false));
    world.run(turn(second, true));
    assert!(part(&world, second).private_dns && !part(&world, first).private_dns);
    // Whoever deletes it gives the name up.
    world.run(Action::DeleteVpcEndpoint { endpoint: second });
    world.run(turn(first, true));
    let other = world.vpc("10.1.0.0/16");
    world.run(Action::SetVpcDns { vpc: other, support: None, hostnames: Some(true) });
    world.run(create(NewInterfaceEndpoint { vpc: other, ..private(EC2) }));
    assert_eq!(
        world.refusal(create(private("com.amazonaws.us-east-1.dynamodb"))),
        ModelError::NoPrivateName {
            service: "com.amazonaws.us-east-1.dynamodb".to_owned(),
            unverified: false
        }
    );
}

#[test]
fn names_for_inbound_resolvers_alone_need_a_gateway_endpoint() {
    let (mut world, vpc, _) = zones();
    let with = |service: &str, private_dns, inbound_only| {
        let dns = DnsChoice { record_ip_type: None, inbound_only };
        create(NewInterfaceEndpoint { private_dns, dns, ..new(vpc, service, &[]) })
    };
    let without_gateway = ModelError::InboundOnlyWithoutGateway { vpc };
    let inbound_only = |world: &World, endpoint| part(world, endpoint).dns.inbound_only;
    // Of a service that has both, private names are for inbound resolvers alone where nothing else is said.
    assert_eq!(world.refusal(with(S3, true, None)), without_gateway);
    let endpoint: VpcEndpointId = world.make(with(S3, true, Some(false)));
    assert!(!inbound_only(&world, endpoint));
    let turn = |private_dns, inbound_only| {
        let dns = DnsChoice { record_ip_type: None, inbound_only };
        modify(endpoint, InterfaceChange { private_dns, dns, ..InterfaceChange::default() })
    };
    assert_eq!(world.refusal(turn(None, Some(true))), without_gateway);
    world.run(new_endpoint(vpc, "s3", &[]));
    world.run(turn(None, Some(true)));
    assert!(inbound_only(&world, endpoint));
    world.run(turn(Some(false), None));
    assert!(!inbound_only(&world, endpoint), "there are no private names");
    world.run(turn(Some(true), None));
    assert!(inbound_only(&world, endpoint), "as for a new one");
    world.run(turn(Some(true), Some(false)));
    world.run(turn(Some(true), None));
    assert!(!inbound_only(&world, endpoint), "what was said stays");
    let impossible = |service: &str| ModelError::InboundOnly { service: service.to_owned() };
    assert_eq!(world.refusal(with(EC2, true, Some(true))), impossible(EC2));
    assert_eq!(world.refusal(turn(Some(false), Some(true))), impossible(S3));
}

#[test]
fn a_change_is_pending_until_it_is_known() {
    let (mut world, vpc, [one, two]) = zones();
    let endpoint: VpcEndpointId = world.make(create(new(vpc, EC2, &[one])));
    world.run(Action::ReportVpcEndpointReady { endpoint });
    let web = world.group(vpc, "web");
    let changes = [
        (InterfaceChange { add_groups: vec![web], ..InterfaceChange::default() }, "available"),
        (InterfaceChange { add_subnets: vec![two], ..InterfaceChange::default() }, "pending"),
        (InterfaceChange { private_dns: Some(true), ..InterfaceChange::default() }, "pending"),
        (InterfaceChange { private_dns: Some(true), ..InterfaceChange::default() }, "available"),
        (InterfaceChange { remove_subnets: vec![two], ..InterfaceChange::default() }, "pending"),
    ];
    for (change, expected) in changes {
        world.run(modify(endpoint, change.clone()));
        assert_eq!(state(&world, endpoint), expected, "{change:?}");
        world.run(Action::ReportVpcEndpointReady { endpoint });
    }
    let dns = DnsChoice { record_ip_type: Some(DnsRecordIpType::ServiceDefined), inbound_only: None };
    world.run(modify(endpoint, InterfaceChange { dns, ..InterfaceChange::default() }));
    let expected = DnsOptions { record_ip_type: DnsRecordIpType::ServiceDefined, inbound_only: false };
    assert_eq!(part(&world, endpoint).dns, expected);
}

#[test]
fn kinds_of_endpoints_have_parts_of_their_own() {
    let (mut world, vpc, [one, _]) = zones();
    let table = world.main_table(vpc);
    let (gateway, endpoint) =
        (world.endpoint(vpc, "s3", &[table]), world.make(create(new(vpc, EC2, &[one]))));
    let subnets = InterfaceChange { add_subnets: vec![one], ..InterfaceChange::default() };
    let tables = EndpointChange { add_route_tables: vec![table], ..EndpointChange::default() };
    assert!(matches!(world.refusal(modify(gateway, subnets)), ModelError::EndpointPart { .. }));
    let refusal = world.refusal(Action::ModifyVpcEndpoint { endpoint, change: tables });
    assert!(matches!(refusal, ModelError::EndpointPart { .. }));
    let no_such = ModelError::ServiceNotFound("com.amazonaws.us-east-1.cloudfront".to_owned());
    assert_eq!(world.refusal(create(new(vpc, "com.amazonaws.us-east-1.cloudfront", &[]))), no_such);
}

#[test]
fn iam_has_its_endpoints_in_one_region() {
    let (mut world, vpc, _) = zones();
    world.run(create(new(vpc, "com.amazonaws.iam", &[])));
    let state = State::new(Region::new("eu-west-1").unwrap());
    assert!(state.services["com.amazonaws.iam"].endpoint_kinds.is_empty());
}

#[test]
fn a_vpc_has_fifty_of_them_and_a_quota_can_be_raised() {
    let (mut world, vpc, _) = zones();
    let mut endpoints: Vec<VpcEndpointId> = Vec::new();
    for _ in 0..50 {
        endpoints.push(world.make(create(new(vpc, EC2, &[]))));
    }
    let limit = ModelError::Quota { quota: Quota::InterfaceEndpoints, limit: 50 };
    assert_eq!(world.refusal(create(new(vpc, EC2, &[]))), limit);
    let other = world.vpc("10.1.0.0/16");
    world.run(create(new(other, EC2, &[])));
    world.run(Action::DeleteVpcEndpoint { endpoint: endpoints[0] });
    world.run(create(new(vpc, EC2, &[])));
    world.run(Action::SetQuota { quota: Quota::InterfaceEndpoints, limit: Some(51) });
    world.run(create(new(vpc, EC2, &[])));
    assert_eq!(world.get::<VpcEndpoint>(endpoints[1]).state, EndpointState::Pending);
}
