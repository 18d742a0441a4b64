//! An endpoint to a user's service: nothing carries packets there yet, and it is not taken for one of AWS's.

use std::net::Ipv4Addr;

use postern_model::elb::{ElbAction, NewLoadBalancer, NewLoadBalancerZone, Scheme};
use postern_model::endpoint::{DnsChoice, NewInterfaceEndpoint, VpcEndpoint};
use postern_model::endpoint_service::{EndpointService, EndpointServiceAction, NewEndpointService};
use postern_model::{Action, ResourceId};
use postern_path::{DropReason, Flow, Outcome, Plan, Question, Resolution, Transport};
use postern_testkit::Topology;
use postern_testkit::world::{World, accounts};

const TOPOLOGY: &str = "
vpc a 10.0.0.0/16 dns=on hostnames=on
subnet a.one 10.0.1.0/24
instance i1 in a.one ip=10.0.1.10
";

#[test]
fn it_leads_nowhere_and_says_so() {
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
    let Outcome::Refuse(refusal) = plan.decide(&flow).outcome else { panic!("it is carried") };
    assert_eq!((refusal.reason, refusal.resource), (DropReason::EndpointNotAvailable, Some(endpoint)));
    assert_eq!(plan.resolve(vpc, &name, Question::Address), Resolution::Unknown);
}
