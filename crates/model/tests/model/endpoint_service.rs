//! "Share your services through AWS PrivateLink" in the AWS PrivateLink guide.

use postern_model::elb::ElbAction;
use postern_model::endpoint::{DnsChoice, EndpointState, NewInterfaceEndpoint, VpcEndpoint};
use postern_model::endpoint_service::*;
use postern_model::*;

use crate::elb::{balancer, zone};
use crate::world::World;

fn new(load_balancer: LoadBalancerId) -> NewEndpointService {
    NewEndpointService {
        acceptance_required: true,
        load_balancers: vec![load_balancer],
        private_dns_name: None,
        tags: Vec::new(),
    }
}

fn world() -> (World, LoadBalancerId) {
    let (mut world, _, subnet) = World::with_subnet();
    let new = balancer("one", vec![zone(subnet)]);
    let id = world.make(Action::Elb(ElbAction::CreateLoadBalancer(new)));
    (world, id)
}

fn create(new: NewEndpointService) -> Action {
    Action::EndpointService(EndpointServiceAction::Create(new))
}

fn allow(service: EndpointServiceId, add: &[&str], remove: &[&str]) -> Action {
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
    let (add, remove) = (texts(add), texts(remove));
    let action = EndpointServiceAction::ModifyPermissions { service, add, add_tags: Vec::new(), remove };
    Action::EndpointService(action)
}

#[test]
fn a_service_holds_its_load_balancers() {
    let (mut world, one) = world();
    let none = NewEndpointService { load_balancers: Vec::new(), ..new(one) };
    assert_eq!(world.refusal(create(none)), ModelError::NoLoadBalancers);
    let service: EndpointServiceId = world.make(create(new(one)));
    let found = world.get::<EndpointService>(service);
    assert_eq!(found.name("us-east-1"), format!("com.amazonaws.vpce.us-east-1.{service}"));
    assert_eq!(by_name(&world.state, &found.name("us-east-1")).map(|found| found.id), Some(service));
    assert_eq!(by_name(&world.state, &found.name("us-west-2")), None);
    assert_eq!(found.zones(&world.state).into_iter().collect::<Vec<_>>(), ["us-east-1a"]);
    let delete = Action::Elb(ElbAction::DeleteLoadBalancer { load_balancer: one });
    let in_use = ModelError::InUse { resource: one.into(), used_by: service.to_string() };
    assert_eq!(world.refusal(delete.clone()), in_use);
    let change = EndpointServiceChange { remove_load_balancers: vec![one], ..Default::default() };
    let modify = Action::EndpointService(EndpointServiceAction::Modify { service, change });
    assert_eq!(world.refusal(modify), ModelError::NoLoadBalancers);
    world.run(Action::EndpointService(EndpointServiceAction::Delete { service }));
    world.run(delete);
}

#[test]
fn principals_are_allowed_by_account_user_role_or_star() {
    let (mut world, one) = world();
    let service: EndpointServiceId = world.make(create(new(one)));
    let other = AccountId::from_number(222_222_222_222).unwrap();
    let user = Some("arn:aws:iam::222222222222:user/ann");
    let admits = |world: &World, principal| world.get::<EndpointService>(service).admits(other, principal);
    assert!(world.get::<EndpointService>(service).admits(world.account, None));
    assert!(!admits(&world, user));
    for (principal, whole_account) in
        [("arn:aws:iam::222222222222:root", true), ("arn:aws:iam::222222222222:user/ann", false), ("*", true)]
    {
        world.run(allow(service, &[principal], &[]));
        assert_eq!((admits(&world, user), admits(&world, None)), (true, whole_account), "{principal}");
        world.run(allow(service, &[], &[principal]));
        assert!(!admits(&world, user), "{principal}");
    }
    for bad in ["", "222222222222", "arn:aws:iam::1:root", "arn:aws:iam::222222222222:user/a/b", "**"] {
        assert_eq!(world.refusal(allow(service, &[bad], &[])), ModelError::Principal(bad.to_owned()));
    }
    // Allowing anew keeps the permission that is there.
    world.run(allow(service, &["*"], &[]));
    let first = world.get::<EndpointService>(service).permissions["*"].id;
    world.run(allow(service, &["*"], &[]));
    assert_eq!(world.get::<EndpointService>(service).permissions["*"].id, first);
}

#[test]
fn a_private_name_is_verified_by_the_record_that_belongs_to_it() {
    let (mut world, one) = world();
    let bad = NewEndpointService { private_dns_name: Some("nolabels".to_owned()), ..new(one) };
    assert_eq!(world.refusal(create(bad)), ModelError::PrivateDnsName("nolabels".to_owned()));
    let named = NewEndpointService { private_dns_name: Some("*.example.com".to_owned()), ..new(one) };
    let service: EndpointServiceId = world.make(create(named));
    let name = |world: &World| world.get::<EndpointService>(service).private_dns.clone().unwrap();
    let first = name(&world);
    assert_eq!(first.state, PrivateDnsState::PendingVerification);
    assert_eq!(first.record(), format!("{}.example.com", first.record_name));
    let report = |record_value: &str, verified| {
        let record_value = record_value.to_owned();
        Action::EndpointService(EndpointServiceAction::ReportPrivateDnsVerification {
            service,
            record_value,
            verified,
        })
    };
    world.run(report("vpce:of-another-name", true));
    assert_eq!(name(&world).state, PrivateDnsState::PendingVerification);
    world.run(report(&first.record_value, true));
    assert_eq!(name(&world).state, PrivateDnsState::Verified);
    // Another name is another record, and nobody has seen it.
    let change = EndpointServiceChange {
        private_dns_name: PrivateDnsChange::Set("api.example.com".to_owned()),
        ..Default::default()
    };
    world.run(Action::EndpointService(EndpointServiceAction::Modify { service, change }));
    assert_eq!(name(&world).state, PrivateDnsState::PendingVerification);
    assert_ne!(name(&world).record_value, first.record_value);
    world.run(report(&name(&world).record_value, false));
    assert_eq!(name(&world).state, PrivateDnsState::Failed);
    let start = Action::EndpointService(EndpointServiceAction::StartPrivateDnsVerification { service });
    assert!(!name(&world).look);
    world.run(start.clone());
    assert_eq!((name(&world).state, name(&world).look), (PrivateDnsState::PendingVerification, true));
    world.run(report(&name(&world).record_value, true));
    assert!(!name(&world).look);
    let change = EndpointServiceChange { private_dns_name: PrivateDnsChange::Remove, ..Default::default() };
    world.run(Action::EndpointService(EndpointServiceAction::Modify { service, change }));
    assert_eq!(world.refusal(start), ModelError::NoPrivateDnsName(service));
}

fn consumer() -> AccountId {
    AccountId::from_number(222_222_222_222).unwrap()
}

/// Does something as the consumer's account.
fn as_consumer<T>(world: &mut World, work: impl FnOnce(&mut World) -> T) -> T {
    let provider = std::mem::replace(&mut world.account, consumer());
    let outcome = work(world);
    world.account = provider;
    outcome
}

fn interface_endpoint(vpc: VpcId, service_name: &str, subnets: &[SubnetId]) -> Action {
    Action::CreateInterfaceEndpoint(NewInterfaceEndpoint {
        vpc,
        service_name: service_name.to_owned(),
        subnets: subnets.to_vec(),
        addresses: Vec::new(),
        groups: Vec::new(),
        private_dns: false,
        dns: DnsChoice::default(),
        policy: None,
        tags: Vec::new(),
    })
}

#[test]
fn the_owner_of_a_service_decides_who_is_connected() {
    let (mut world, one) = world();
    let service: EndpointServiceId = world.make(create(new(one)));
    let name = world.get::<EndpointService>(service).name("us-east-1");
    let (vpc, near, far) = as_consumer(&mut world, |world| {
        world.run(Action::CreateAccount { name: "theirs".to_owned(), root_key: None });
        // The same addresses as the provider's.
        let vpc = world.vpc("10.0.0.0/16");
        let near = world.subnet(vpc, "10.0.1.0/24");
        let far = world.make(Action::CreateSubnet {
            vpc,
            cidr: crate::world::net("10.0.2.0/24"),
            zone: Some("us-east-1b".to_owned()),
            tags: Vec::new(),
        });
        (vpc, near, far)
    });
    let attempt = |world: &mut World, subnets: &[SubnetId]| {
        let action = interface_endpoint(vpc, &name, subnets);
        as_consumer(world, |world| world.refusal(action))
    };
    // Who is not allowed hears what somebody hears who made the name up.
    assert_eq!(attempt(&mut world, &[near]), ModelError::ServiceNotFound(name.clone()));
    world.run(allow(service, &["arn:aws:iam::222222222222:root"], &[]));
    let elsewhere = ModelError::EndpointZoneUnsupported { service: name.clone(), subnet: far };
    assert_eq!(attempt(&mut world, &[far]), elsewhere);
    let endpoint: VpcEndpointId =
        as_consumer(&mut world, |world| world.make(interface_endpoint(vpc, &name, &[near])));
    let state = |world: &World| world.state.vpc_endpoints[&endpoint].state;
    let decide = |accept: bool| {
        let endpoints = vec![endpoint];
        Action::EndpointService(match accept {
            true => EndpointServiceAction::AcceptConnections { service, endpoints },
            false => EndpointServiceAction::RejectConnections { service, endpoints },
        })
    };
    assert_eq!(state(&world), EndpointState::PendingAcceptance);
    let ready = Action::ReportVpcEndpointReady { endpoint };
    as_consumer(&mut world, |world| world.run(ready.clone()));
    assert_eq!(state(&world), EndpointState::PendingAcceptance, "nobody but the owner accepts");
    // The consumer does not decide, and learns of no service.
    let by_consumer = as_consumer(&mut world, |world| world.refusal(decide(true)));
    assert_eq!(by_consumer, ModelError::NotFound(service.into()));
    world.run(decide(true));
    assert_eq!(state(&world), EndpointState::Pending);
    as_consumer(&mut world, |world| world.run(ready));
    assert_eq!(state(&world), EndpointState::Available);
    assert!(matches!(world.refusal(decide(true)), ModelError::WrongState { .. }));
    let delete = Action::EndpointService(EndpointServiceAction::Delete { service });
    assert_eq!(world.refusal(delete.clone()), ModelError::ServiceConnected(service));
    // An available connection can be rejected, and a rejected one accepted.
    world.run(decide(false));
    assert_eq!(state(&world), EndpointState::Rejected);
    world.run(decide(true));
    world.run(decide(false));
    // What is allowed no longer stays connected or not as it is; who is rejected holds nothing up.
    world.run(allow(service, &[], &["arn:aws:iam::222222222222:root"]));
    assert_eq!(attempt(&mut world, &[near]), ModelError::ServiceNotFound(name));
    world.run(delete);
}

#[test]
fn a_service_without_acceptance_connects_at_once_and_has_no_policies() {
    let (mut world, one) = world();
    let open = NewEndpointService { acceptance_required: false, ..new(one) };
    let service: EndpointServiceId = world.make(create(open));
    let name = world.get::<EndpointService>(service).name("us-east-1");
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.1.0/24");
    let Action::CreateInterfaceEndpoint(plain) = interface_endpoint(vpc, &name, &[subnet]) else { panic!() };
    let with_policy = NewInterfaceEndpoint { policy: Some("{}".to_owned()), ..plain.clone() };
    assert_eq!(
        world.refusal(Action::CreateInterfaceEndpoint(with_policy)),
        ModelError::EndpointPolicyUnsupported { service: name.clone() }
    );
    let named = NewInterfaceEndpoint { private_dns: true, ..plain.clone() };
    assert_eq!(
        world.refusal(Action::CreateInterfaceEndpoint(named)),
        ModelError::NoPrivateName { service: name, unverified: false }
    );
    let endpoint: VpcEndpointId = world.make(Action::CreateInterfaceEndpoint(plain));
    assert_eq!(world.get::<VpcEndpoint>(endpoint).state, EndpointState::Pending);
    let known = connections(&world.state, &world.get::<EndpointService>(service)).map(|found| found.id);
    assert_eq!(known.collect::<Vec<_>>(), [endpoint]);
}
