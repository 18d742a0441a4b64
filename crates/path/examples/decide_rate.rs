//! How many decisions a second one core makes, and what a change costs, with few and with many interfaces.
//!
//! `cargo run --release -p postern-path --example decide_rate`

#![expect(clippy::expect_used, reason = "a measurement that cannot go on fails")]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use postern_model::endpoint::NewGatewayEndpoint;
use postern_model::instance::{InstanceState, Launch, LaunchInterface, MetadataOptions};
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::security_group::{NewRule, Peer, Permission, Traffic};
use postern_model::{
    AccountId, Action, IpNet, Ipv4Net, ResourceId, RouteTableId, SecurityGroupId, State, SubnetId, VpcId,
};
use postern_path::{Flow, Outcome, Plan, Transport};
use postern_testkit::{Random, World, world::accounts};

const SUBNETS: usize = 50;

/// A region under construction.
struct Build {
    world: World,
    account: AccountId,
}

impl Build {
    fn run(&mut self, action: Action) {
        self.world.run(self.account, action).expect("the model takes it");
    }

    fn create(&mut self, action: Action) -> ResourceId {
        self.world.create(self.account, action).expect("the model takes it").expect("something was made")
    }

    fn vpc(&mut self) -> VpcId {
        let cidr = net("10.0.0.0/16");
        match self.create(Action::CreateVpc { cidr, tags: Vec::new() }) {
            ResourceId::Vpc(id) => id,
            other => panic!("{other} is not a VPC"),
        }
    }

    fn subnet(&mut self, vpc: VpcId, n: usize) -> SubnetId {
        let third = u8::try_from(n).expect("fewer than 256 subnets");
        let cidr = Ipv4Net::new(Ipv4Addr::new(10, 0, third, 0), 24).expect("a block");
        match self.create(Action::CreateSubnet { vpc, cidr, zone: None, tags: Vec::new() }) {
            ResourceId::Subnet(id) => id,
            other => panic!("{other} is not a subnet"),
        }
    }

    /// A group with ten rules, the last of which lets HTTPS in.
    fn group(&mut self, vpc: VpcId) -> SecurityGroupId {
        let (name, description) = ("web".to_owned(), String::new());
        let id = self.create(Action::CreateSecurityGroup { vpc, name, description, tags: Vec::new() });
        let ResourceId::SecurityGroup(group) = id else { panic!("{id} is not a group") };
        let rule = |n: u8| {
            let traffic =
                if n == 9 { Traffic::Tcp(443, 443) } else { Traffic::Tcp(8_000 + u16::from(n), 9_000) };
            let peer = Peer::Cidr(IpNet::V4(net("10.0.0.0/16")));
            NewRule { permission: Permission { egress: false, traffic, peer }, description: String::new() }
        };
        let rules = (0..10).map(rule).collect();
        self.run(Action::AuthorizeSecurityGroup { group, rules, tags: Vec::new() });
        group
    }

    fn instances(&mut self, subnet: SubnetId, group: SecurityGroupId, count: usize) {
        let mut left = count;
        while left > 0 {
            let count = left.min(100);
            left -= count;
            let before: Vec<_> = self.world.state.instances.keys().copied().collect();
            self.run(Action::RunInstances(launch(subnet, group, count)));
            let all = self.world.state.instances.keys().copied();
            let new: Vec<_> = all.filter(|id| before.binary_search(id).is_err()).collect();
            for instance in new {
                let (state, reason) = (InstanceState::Running, String::new());
                self.run(Action::ReportInstance { instance, state, reason });
            }
        }
    }
}

fn launch(subnet: SubnetId, group: SecurityGroupId, count: usize) -> Launch {
    Launch {
        count,
        least: None,
        image: "ami-1".to_owned(),
        instance_type: "t3.micro".to_owned(),
        interface: LaunchInterface::New {
            subnet,
            groups: Some(vec![group]),
            private_address: None,
            public_address: None,
            description: String::new(),
            delete_on_termination: true,
        },
        key_name: None,
        profile: None,
        user_data: None,
        metadata: MetadataOptions::default(),
        termination_protected: false,
        tags: Vec::new(),
        interface_tags: Vec::new(),
    }
}

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a block")
}

/// A VPC of that many interfaces, a NAT gateway and an endpoint of S3; the first subnet is public.
fn region(interfaces: usize) -> (World, AccountId, RouteTableId) {
    let account = accounts()[0];
    let mut build = Build { world: World::new(1), account };
    let vpc = build.vpc();
    let id = build.create(Action::CreateInternetGateway { tags: Vec::new() });
    let ResourceId::InternetGateway(gateway) = id else { panic!("{id} is not a gateway") };
    build.run(Action::AttachInternetGateway { gateway, vpc });
    let group = build.group(vpc);
    let subnets: Vec<_> = (0..SUBNETS).map(|n| build.subnet(vpc, n)).collect();
    let id = build.create(Action::AllocateAddress { tags: Vec::new() });
    let ResourceId::Address(allocation) = id else { panic!("{id} is not an address") };
    let (subnet, allocation) = (subnets[0], Some(allocation));
    let id = build.create(Action::CreateNatGateway {
        subnet,
        allocation,
        private_address: None,
        tags: Vec::new(),
    });
    let ResourceId::NatGateway(nat) = id else { panic!("{id} is not a NAT gateway") };
    let id = build.create(Action::CreateRouteTable { vpc, tags: Vec::new() });
    let ResourceId::RouteTable(public) = id else { panic!("{id} is not a table") };
    build.run(Action::AssociateRouteTable { table: public, subnet: subnets[0] });
    let main = build.world.state.vpcs.get(&vpc).expect("the VPC").main_route_table;
    let everything = RouteDestination::Cidr(IpNet::V4(Ipv4Net::default()));
    for (table, target) in
        [(public, RouteTarget::InternetGateway(gateway)), (main, RouteTarget::NatGateway(nat))]
    {
        let target = RouteTargetChoice::Target(target);
        build.run(Action::CreateRoute { table, destination: everything, target });
    }
    let service_name = "com.amazonaws.us-east-1.s3".to_owned();
    let route_tables = vec![main];
    let new = NewGatewayEndpoint { vpc, service_name, route_tables, policy: None, tags: Vec::new() };
    build.run(Action::CreateGatewayEndpoint(new));
    for (n, subnet) in subnets.iter().enumerate() {
        let share = interfaces / SUBNETS + usize::from(n < interfaces % SUBNETS);
        build.instances(*subnet, group, share);
    }
    (build.world, account, main)
}

/// What is asked, by name, each from a random interface.
fn questions(state: &State) -> Vec<(&'static str, Vec<Flow>)> {
    let senders: Vec<_> = state.network_interfaces.values().filter(|x| !x.groups.is_empty()).collect();
    let mut random = Random::new(1);
    let s3 = Ipv4Addr::new(198, 19, 0, 10);
    let ec2 = Ipv4Addr::new(198, 19, 128, 10);
    let mut flows = |to: Option<Ipv4Addr>, port: u16| -> Vec<Flow> {
        let flow = |_| {
            let from = random.of(&senders).expect("an interface");
            let other = random.of(&senders).expect("an interface").primary_address();
            let source_port = u16::try_from(random.between(32_768, 60_000)).expect("a port");
            Flow {
                entry: from.id,
                source: from.primary_address().into(),
                destination: to.unwrap_or(other).into(),
                transport: Transport::Tcp { source_port, destination_port: port },
            }
        };
        (0..20_000).map(flow).collect()
    };
    vec![
        ("to another interface", flows(None, 443)),
        ("refused by a group", flows(None, 22)),
        ("to S3 by the endpoint", flows(Some(s3), 443)),
        ("to EC2's API by NAT", flows(Some(ec2), 443)),
    ]
}

/// How long this thread has been on a processor, so that other programs do not count; by the clock where the kernel
/// does not say.
fn busy(since: Instant) -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = said.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanoseconds.map_or_else(|| since.elapsed(), Duration::from_nanos)
}

fn rate(plan: &Plan, flows: &[Flow]) -> (f64, usize) {
    let start = Instant::now();
    let before = busy(start);
    let (mut count, mut passed) = (0_u32, 0);
    while start.elapsed() < Duration::from_secs(1) {
        for flow in flows {
            let decision = black_box(plan).decide(black_box(flow));
            passed += usize::from(matches!(decision.outcome, Outcome::Forward(_)));
            count += 1;
            black_box(&decision);
        }
    }
    (f64::from(count) / (busy(start) - before).as_secs_f64(), passed)
}

/// How long one advance takes, the middle one of many.
fn advance(plan: &Plan, old: &State, new: &State) -> Duration {
    let mut all: Vec<Duration> = (0..201)
        .map(|_| {
            let start = Instant::now();
            let next = plan.advance(old, new);
            let took = start.elapsed();
            black_box(&next);
            took
        })
        .collect();
    all.sort();
    all[all.len() / 2]
}

fn main() {
    for interfaces in [10, 1_000, 10_000] {
        let (mut world, account, table) = region(interfaces);
        let start = Instant::now();
        let plan = Plan::compile(&world.state).plan;
        println!("{interfaces} interfaces: compiled from nothing in {:?}", start.elapsed());
        if interfaces == 10_000 {
            for (what, flows) in questions(&world.state) {
                let (rate, passed) = rate(&plan, &flows);
                println!("  {what}: {:.2} million decisions a second ({passed} passed)", rate / 1e6);
            }
        }
        let before = world.state.clone();
        let nat = world.state.nat_gateways.keys().next().copied().expect("the NAT gateway");
        let destination = RouteDestination::Cidr(IpNet::V4(net("172.16.0.0/12")));
        let target = RouteTargetChoice::Target(RouteTarget::NatGateway(nat));
        world.run(account, Action::CreateRoute { table, destination, target }).expect("the model takes it");
        println!("  after one CreateRoute: advanced in {:?}", advance(&plan, &before, &world.state));
        let before = world.state.clone();
        let plan = Plan::compile(&before).plan;
        let instance = world.state.instances.keys().next().copied().expect("an instance");
        world.run(account, Action::StopInstances { instances: vec![instance] }).expect("the model takes it");
        println!("  after one StopInstances: advanced in {:?}", advance(&plan, &before, &world.state));
    }
}
