//! Services that the operator added.

use postern_model::endpoint::{
    DnsChoice, EndpointState, NewInterfaceEndpoint, NewUpstream, UpstreamKey, UpstreamProtocol,
};
use postern_model::iam::Secret;
use postern_model::*;

use crate::world::World;

fn new(name: &str) -> NewUpstream {
    NewUpstream {
        name: name.to_owned(),
        url: "http://127.0.0.1:5000".to_owned(),
        protocol: UpstreamProtocol::Json,
        signing_name: name.replace('.', "-"),
        action_prefix: name.replace('.', "-"),
        key: None,
        private_dns_names: Vec::new(),
        owner: None,
    }
}

fn remove(name: &str) -> Action {
    Action::RemoveService { name: name.to_owned() }
}

#[test]
fn a_service_of_aws_keeps_its_names_and_gets_somebody_who_answers() {
    let mut world = World::new();
    let before = world.state.services.clone();
    world.run(Action::AddService(new("logs")));
    assert_eq!(world.state.services, before);
    let name = "com.amazonaws.us-east-1.logs";
    assert_eq!(world.state.upstreams[name].url, "http://127.0.0.1:5000");
    let again = world.refusal(Action::AddService(new("logs")));
    assert_eq!(again, ModelError::UpstreamExists { service: name.to_owned() });
    world.run(remove("logs"));
    assert!(world.state.upstreams.is_empty());
    assert_eq!(world.refusal(remove("logs")), ModelError::UpstreamNotFound { service: name.to_owned() });
    let owned = NewUpstream { owner: Some(world.account), ..new("logs") };
    assert_eq!(
        world.refusal(Action::AddService(owned)),
        ModelError::UpstreamOfAws { service: name.to_owned() }
    );
}

#[test]
fn a_service_of_ones_own_has_names_and_addresses_until_it_goes() {
    let mut world = World::new();
    let names = vec!["API.partner.example".to_owned(), "*.api.partner.example".to_owned()];
    let partner = NewUpstream { private_dns_names: names, owner: Some(world.account), ..new("partner.api") };
    world.run(Action::AddService(partner.clone()));
    world.run(Action::AddService(new("objects")));
    let service = &world.state.services["com.amazonaws.us-east-1.partner.api"];
    assert_eq!(service.endpoint_label, "partner-api");
    assert_eq!(service.private_dns_names, ["api.partner.example", "*.api.partner.example"]);
    assert!(service.dns_names.is_empty(), "nobody but endpoints leads to a partner's name");
    assert_eq!(world.state.route_of(service), "com.amazonaws.us-east-1.partner.api");
    let objects = &world.state.services["com.amazonaws.us-east-1.objects"];
    assert_eq!(objects.dns_names, ["objects.us-east-1.amazonaws.com"]);
    assert_ne!(objects.public_blocks, service.public_blocks);
    world.run(remove("partner.api"));
    assert!(!world.state.services.contains_key("com.amazonaws.us-east-1.partner.api"));
    world.run(Action::AddService(partner));
}

#[test]
fn what_is_in_use_stays() {
    let (mut world, vpc, subnet) = World::with_subnet();
    world.run(Action::AddService(new("objects")));
    let endpoint: VpcEndpointId = world.make(Action::CreateInterfaceEndpoint(NewInterfaceEndpoint {
        vpc,
        service_name: "com.amazonaws.us-east-1.objects".to_owned(),
        addresses: Vec::new(),
        subnets: vec![subnet],
        groups: Vec::new(),
        private_dns: false,
        dns: DnsChoice::default(),
        policy: None,
        tags: Vec::new(),
    }));
    let service = "com.amazonaws.us-east-1.objects".to_owned();
    assert_eq!(world.refusal(remove("objects")), ModelError::UpstreamInUse { service, endpoint });
    world.run(Action::ReportVpcEndpointReady { endpoint });
    world.run(Action::DeleteVpcEndpoint { endpoint });
    assert_eq!(world.state.vpc_endpoints[&endpoint].state, EndpointState::Deleting);
    world.run(remove("objects"));
    assert!(world.state.vpc_endpoints[&endpoint].dns(&world.state).own.is_empty());
    world.run(Action::ReportVpcEndpointGone { endpoint });
}

#[test]
fn names_of_others_are_refused() {
    let mut world = World::new();
    for taken in [
        "logs.us-east-1.amazonaws.com",
        "*.us-east-1.amazonaws.com",
        "bucket.s3.us-east-1.amazonaws.com",
        "abc.execute-api.us-east-1.amazonaws.com",
    ] {
        let stolen = NewUpstream { private_dns_names: vec![taken.to_owned()], ..new("mine") };
        let refused = world.refusal(Action::AddService(stolen));
        assert_eq!(refused, ModelError::UpstreamNameTaken { name: taken.to_owned() });
    }
    let twice = vec!["a.example".to_owned(), "A.example".to_owned()];
    let refused = world.refusal(Action::AddService(NewUpstream { private_dns_names: twice, ..new("mine") }));
    assert_eq!(refused, ModelError::UpstreamNameTaken { name: "a.example".to_owned() });
    // The label of Kinesis' endpoints, whose service has another name.
    let refused = world.refusal(Action::AddService(new("kinesis")));
    assert!(matches!(refused, ModelError::UpstreamNameTaken { .. }), "{refused}");
}

#[test]
fn texts_that_cannot_be_are_refused_by_value() {
    let mut world = World::new();
    let nobody = AccountId::from_number(999_999_999_999).unwrap();
    let refused = world.refusal(Action::AddService(NewUpstream { owner: Some(nobody), ..new("mine") }));
    assert_eq!(refused, ModelError::AccountNotFound(nobody));
    let key = |id: &str, region: Option<&str>| {
        let region = region.map(str::to_owned);
        Some(UpstreamKey { id: id.to_owned(), secret: Secret("secret".to_owned()), region })
    };
    let dns = |name: &str| NewUpstream { private_dns_names: vec![name.to_owned()], ..new("mine") };
    let url = |url: &str| NewUpstream { url: url.to_owned(), ..new("mine") };
    for (wrong, value) in [
        (new(""), ""),
        (new("Mine"), "Mine"),
        (new("mine..two"), "mine..two"),
        (new("-mine"), "-mine"),
        (url("127.0.0.1:5000"), "127.0.0.1:5000"),
        (url("ftp://host"), "ftp://host"),
        (url("http://"), "http://"),
        (url("http://user@host"), "http://user@host"),
        (url("http://host/path"), "http://host/path"),
        (url("http://host:0"), "http://host:0"),
        (url("http://host:65536"), "http://host:65536"),
        (url("http://[::z]:1"), "http://[::z]:1"),
        (dns("partner"), "partner"),
        (dns("*.*.example"), "*.*.example"),
        (dns("two words.example"), "two words.example"),
        (NewUpstream { signing_name: "a b".to_owned(), ..new("mine") }, "a b"),
        (NewUpstream { action_prefix: "a:b".to_owned(), ..new("mine") }, "a:b"),
        (NewUpstream { key: key("A/B", None), ..new("mine") }, "A/B"),
        (NewUpstream { key: key("AKIA", Some("EU")), ..new("mine") }, "EU"),
    ] {
        let refused = world.refusal(Action::AddService(wrong));
        assert!(
            matches!(&refused, ModelError::UpstreamValue { value: told, .. } if told == value),
            "{value}: {refused}"
        );
    }
    for (name, right) in [("a", "https://host"), ("b", "http://[::1]:5000"), ("c", "http://10.0.0.1/")] {
        world.run(Action::AddService(NewUpstream { url: right.to_owned(), ..new(name) }));
    }
}

#[test]
fn a_state_that_was_stored_has_the_services_again() {
    let mut world = World::new();
    world.run(Action::AddService(new("objects")));
    let mut stored = world.state.clone();
    stored.services = Default::default();
    stored.reindex();
    assert_eq!(stored, world.state);
}

#[test]
fn services_of_aws_have_addresses_and_names_of_their_own() {
    let state = World::new().state;
    let mut blocks: Vec<_> =
        state.services.values().flat_map(|service| service.public_blocks.clone()).collect();
    blocks.sort();
    assert!(blocks.windows(2).all(|pair| !pair[0].contains(&pair[1].network())), "{blocks:?}");
    let names: Vec<_> =
        state.services.values().flat_map(|service| service.private_dns_names.clone()).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len());
    let private =
        |short: &str| &state.services[&format!("com.amazonaws.us-east-1.{short}")].private_dns_names;
    assert_eq!(private("kinesis-streams"), &["kinesis.us-east-1.amazonaws.com"]);
    assert_eq!(private("kinesis-firehose"), &["firehose.us-east-1.amazonaws.com"]);
    assert_eq!(private("ecr.api"), &["api.ecr.us-east-1.amazonaws.com"]);
    assert_eq!(private("ecr.dkr"), &["dkr.ecr.us-east-1.amazonaws.com", "*.dkr.ecr.us-east-1.amazonaws.com"]);
    assert_eq!(private("ecs-agent"), &["ecs-a.us-east-1.amazonaws.com"]);
    assert!(!state.services.contains_key("com.amazonaws.us-east-1.cloudfront"));
}
