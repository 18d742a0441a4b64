//! "Share your services through AWS PrivateLink" in the AWS PrivateLink guide.

use postern_model::elb::ElbAction;
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
    world.run(start.clone());
    assert_eq!(name(&world).state, PrivateDnsState::PendingVerification);
    let change = EndpointServiceChange { private_dns_name: PrivateDnsChange::Remove, ..Default::default() };
    world.run(Action::EndpointService(EndpointServiceAction::Modify { service, change }));
    assert_eq!(world.refusal(start), ModelError::NoPrivateDnsName(service));
}
