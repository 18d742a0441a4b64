//! An endpoint to a user's service: it leads to the load balancer in its own zone, and is not taken for one of AWS's.

use std::net::Ipv4Addr;

use postern_model::elb::{ElbAction, LoadBalancer, NewLoadBalancer, NewLoadBalancerZone, Scheme};
use postern_model::endpoint::{DnsChoice, NewInterfaceEndpoint, VpcEndpoint};
use postern_model::endpoint_service::{EndpointService, EndpointServiceAction, NewEndpointService};
use postern_model::{Action, ResourceId};
use postern_path::{
    Deliver, DropReason, Flow, Outcome, Plan, Question, Resolution, SourceRewrite, Through, Transport,
};
use postern_testkit::Topology;
use postern_testkit::world::{World, accounts};

const TOPOLOGY: &str = "
vpc a 10.0.0.0/16 dns=on hostnames=on
subnet a.one 10.0.1.0/24
instance i1 in a.one ip=10.0.1.10
";

#[test]
fn it_leads_to_the_load_balancer_of_its_zone() {
    let topology = Topology::read(TOPOLOGY).unwrap_or_else(|why| panic!("{why}"));
    let (Some(ResourceId::Vpc(vpc)), Some(ResourceId::Subnet(subnet))) =
        (topology.id("a"), topology.id("a.one"))
    else {
        panic!("a VPC and a subnet");
    };
    let mut world = World::new(11);
    world.state = topology.state.clone();
    let account = accounts()[0];
    let mut make =
        |action| world.create(account, action).expect("it can be made").expect("something is made");
    let zones = vec![NewLoadBalancerZone { subnet, address: None, allocation: None }];
    let balancer = make(Action::Elb(ElbAction::CreateLoadBalancer(NewLoadBalancer {
        name: "lb".to_owned(),
        scheme: Scheme::Internal,
        zones,
        groups: Vec::new(),
        tags: Vec::new(),
    })));
    let ResourceId::LoadBalancer(balancer) = balancer else { panic!("a load balancer") };
    let service = make(Action::EndpointService(EndpointServiceAction::Create(NewEndpointService {
        acceptance_required: false,
        load_balancers: vec![balancer],
        private_dns_name: None,
        tags: Vec::new(),
    })));
    let ResourceId::EndpointService(service) = service else { panic!("a service") };
    let address = Ipv4Addr::new(10, 0, 1, 99);
    let endpoint = make(Action::CreateInterfaceEndpoint(NewInterfaceEndpoint {
        vpc,
        service_name: format!("com.amazonaws.vpce.us-east-1.{service}"),
        subnets: vec![subnet],
        addresses: vec![(subnet, address)],
        groups: Vec::new(),
        private_dns: false,
        dns: DnsChoice::default(),
        policy: None,
        tags: Vec::new(),
    }));
    let state = world.state;
    assert!(state.get::<EndpointService>(account, service).is_ok());
    let ResourceId::VpcEndpoint(id) = endpoint else { panic!("an endpoint") };
    let name = state.get::<VpcEndpoint>(account, id).expect("it is there").dns(&state).own[0].0.clone();
    let plan = Plan::compile(&state).plan;
    let entry = topology.interface("i1").expect("an interface");
    let transport = Transport::Tcp { source_port: 40_000, destination_port: 443 };
    let flow =
        Flow { entry, source: Ipv4Addr::new(10, 0, 1, 10).into(), destination: address.into(), transport };
    let Outcome::Forward(action) = plan.decide(&flow).outcome else { panic!("it is refused") };
    let zone = state.get::<LoadBalancer>(account, balancer).expect("it is there").zones[0].clone();
    assert_eq!(action.deliver, Deliver::Interface(zone.interface));
    assert_eq!(action.destination, Some(zone.address.into()));
    let SourceRewrite::Identity { peer, .. } = action.source else { panic!("{:?}", action.source) };
    assert_eq!((peer.address, peer.through), (Ipv4Addr::new(10, 0, 1, 10), Through::Endpoint(id, vpc)));
    let resolved = plan.resolve(vpc, &name, Question::Address);
    assert!(matches!(resolved, Resolution::Addresses { addresses, .. } if addresses == [address]));

    // The owner's word ends it.
    let reject = EndpointServiceAction::RejectConnections { service, endpoints: vec![id] };
    let mut rejected = World::new(12);
    rejected.state = state.clone();
    rejected.run(account, Action::EndpointService(reject)).expect("it can be rejected");
    let advanced = Plan::compile(&rejected.state).plan;
    let Outcome::Refuse(refusal) = advanced.decide(&flow).outcome else { panic!("it is carried") };
    assert_eq!((refusal.reason, refusal.resource), (DropReason::EndpointNotAvailable, Some(endpoint)));
}
