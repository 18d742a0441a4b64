//! Random topologies, commands and flows. Values are drawn close to each other and to the edges of blocks and port
//! ranges, so that rules nest, touch and overlap often.

mod balancer;
mod command;
mod endpoint;
mod flow;
mod peering;
mod resolver;
mod transit;
mod vpn;

use std::net::Ipv4Addr;

use postern_model::gateway::{Address, internet_gateway_of};
use postern_model::instance::{InstanceState, Launch, LaunchInterface, MetadataOptions};
use postern_model::interface::{InterfaceChange, InterfaceKind, NewInterface};
use postern_model::prefix_list::NewPrefixList;
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::security_group::{NewRule, Peer, Permission, Traffic};
use postern_model::{
    AccountId, Action, AllocationId, InternetGatewayId, IpNet, Ipv4Net, NatGatewayId, NetworkAclId,
    NetworkInterfaceId, PrefixListId, ResourceId, RouteTableId, SecurityGroupId, State, SubnetId, VpcId,
};

pub use balancer::health;
pub use command::command;
pub use flow::{flow, flow_between, uplink};

use crate::random::Random;
use crate::world::{World, accounts};

/// Blocks of VPCs: several that overlap, and one inside the pool of public addresses.
const VPC_BLOCKS: [&str; 6] =
    ["10.0.0.0/16", "10.0.0.0/16", "10.0.0.0/20", "10.1.0.0/16", "172.16.0.0/24", "198.18.0.0/20"];

/// A random topology: two accounts, three or four VPCs with something of every kind in them, then random changes.
pub fn topology(random: &mut Random) -> World {
    let mut world = World::new(random.number());
    let count = 3 + random.below(2);
    for n in 0..count {
        let account = accounts()[n % 2];
        furnish(&mut world, random, account);
    }
    if random.chance(60) {
        transit::join(&mut world, random);
    }
    peering::join(&mut world, random);
    vpn::join(&mut world, random);
    for _ in 0..random.below(30) {
        let (account, action) = command(random, &world.state);
        // A refused command is one that the model knows to be impossible.
        let _ = world.run(account, action);
    }
    world
}

/// Makes a VPC with something of every kind in it. What the model refuses is left out.
fn furnish(world: &mut World, random: &mut Random, account: AccountId) {
    let block = net(random.one(VPC_BLOCKS));
    let created = world.create(account, Action::CreateVpc { cidr: block, tags: Vec::new() });
    let Ok(Some(ResourceId::Vpc(vpc))) = created else { return };
    if random.chance(20) {
        let _ = world.run(account, Action::SetVpcDns { vpc, support: Some(false), hostnames: None });
    }
    for n in 0..2 + random.below(2) {
        let length = 24_u8.max(block.prefix_len() + 2) + u8::try_from(random.below(3)).unwrap_or(0);
        let size = 1_u32 << (32 - length);
        let base = u32::from(block.network()) + size * u32::try_from(n).unwrap_or(0);
        if let Ok(cidr) = Ipv4Net::new(base.into(), length) {
            let zone = random.chance(30).then(|| "us-east-1b".to_owned());
            let _ = world.run(account, Action::CreateSubnet { vpc, cidr, zone, tags: Vec::new() });
        }
    }
    gateway(world, random, account, vpc);
    groups(world, random, account, vpc);
    interfaces(world, random, account, vpc);
    edge(world, random, account, vpc);
}

fn gateway(world: &mut World, random: &mut Random, account: AccountId, vpc: VpcId) {
    let created = world.create(account, Action::CreateInternetGateway { tags: Vec::new() });
    if let (Ok(Some(ResourceId::InternetGateway(gateway))), true) = (created, random.chance(85)) {
        let _ = world.run(account, Action::AttachInternetGateway { gateway, vpc });
    }
}

fn groups(world: &mut World, random: &mut Random, account: AccountId, vpc: VpcId) {
    for name in ["web", "db"] {
        let (name, description) = (name.to_owned(), String::new());
        let _ = world.run(account, Action::CreateSecurityGroup { vpc, name, description, tags: Vec::new() });
    }
    for group in groups_of(&world.state, vpc) {
        // Most groups let a good deal in, so that flows come far enough to meet what comes after.
        let traffic = random.one([Traffic::All, Traffic::All, Traffic::Tcp(443, 443), Traffic::Udp(0, 1024)]);
        let peer = Peer::Cidr(IpNet::V4(Ipv4Net::default()));
        let permission = Permission { egress: false, traffic, peer };
        let rules = vec![NewRule { permission, description: String::new() }];
        if random.chance(60) {
            let _ = world.run(account, Action::AuthorizeSecurityGroup { group, rules, tags: Vec::new() });
        }
    }
    let entries = vec![(IpNet::V4(near_block(random, &world.state, vpc)), String::new())];
    let list =
        NewPrefixList { name: "list".to_owned(), ipv6: false, max_entries: 4, entries, tags: Vec::new() };
    let _ = world.run(account, Action::CreateManagedPrefixList(list));
    let _ = world.run(account, Action::CreateNetworkAcl { vpc, tags: Vec::new() });
    for _ in 0..10 {
        let (account, action) = command::rule(random, &world.state, vpc, account);
        let _ = world.run(account, action);
    }
}

fn interfaces(world: &mut World, random: &mut Random, account: AccountId, vpc: VpcId) {
    for _ in 0..3 {
        let launch = launch(random, &world.state, vpc);
        let created = launch.and_then(|l| world.create(account, Action::RunInstances(l)).ok().flatten());
        if let Some(ResourceId::Instance(instance)) = created {
            let report =
                Action::ReportInstance { instance, state: InstanceState::Running, reason: String::new() };
            let _ = world.run(account, report);
        }
    }
    // One that routes.
    let Some(subnet) = random.of(&subnets(&world.state, vpc)) else { return };
    let new = NewInterface {
        subnet,
        description: String::new(),
        private_address: None,
        secondary_addresses: Vec::new(),
        secondary_count: 0,
        groups: Some(Vec::new()),
        kind: InterfaceKind::Interface,
        tags: Vec::new(),
    };
    let created = world.create(account, Action::CreateNetworkInterface(new));
    if let Ok(Some(ResourceId::NetworkInterface(interface))) = created {
        let _ =
            world.run(account, Action::AttachNetworkInterface { interface, instance: None, device_index: 0 });
        let change = InterfaceChange::SourceDestCheck(random.chance(30));
        let _ = world.run(account, Action::ModifyNetworkInterface { interface, change });
    }
}

/// NAT gateway, endpoints, tables and default routes: mostly a public subnet and private ones behind a NAT gateway, so
/// that many flows come far.
fn edge(world: &mut World, random: &mut Random, account: AccountId, vpc: VpcId) {
    for _ in 0..3 {
        let _ = world.run(account, Action::AllocateAddress { tags: Vec::new() });
    }
    let all = subnets(&world.state, vpc);
    let public = all.first().copied().filter(|_| random.chance(70)).or(random.of(&all));
    if let (Some(subnet), true) = (public, random.chance(85)) {
        let free = addresses(&world.state, account, false);
        let allocation = if random.chance(80) { random.of(&free) } else { None };
        let nat = Action::CreateNatGateway { subnet, allocation, private_address: None, tags: Vec::new() };
        let _ = world.run(account, nat);
    }
    if random.chance(60) {
        balancer::furnish(world, random, account, vpc);
    }
    if let (Some(allocation), Some(interface)) =
        (random.of(&addresses(&world.state, account, false)), random.of(&interfaces_of(&world.state, vpc)))
    {
        let (private_address, allow_reassociation) = (None, false);
        let action = Action::AssociateAddress { allocation, interface, private_address, allow_reassociation };
        let _ = world.run(account, action);
    }
    let gateway = internet_gateway_of(&world.state, vpc).map(RouteTarget::InternetGateway);
    let nat = random.of(&nat_gateways(&world.state, vpc)).map(RouteTarget::NatGateway);
    for (subnet, usual) in all.iter().copied().zip([gateway, nat, gateway]) {
        let created = world.create(account, Action::CreateRouteTable { vpc, tags: Vec::new() });
        let Ok(Some(ResourceId::RouteTable(table))) = created else { continue };
        if random.chance(85) {
            let _ = world.run(account, Action::AssociateRouteTable { table, subnet });
        }
        let target = usual.filter(|_| random.chance(80)).or(target(random, &world.state, vpc));
        default_route(world, account, table, target);
        // Now and then a NAT gateway stands between two subnets.
        let other = random.of(&all).and_then(|other| world.state.subnets.get(&other)).map(|other| other.cidr);
        if let (Some(cidr), Some(nat), true) = (other, nat, random.chance(35)) {
            let (destination, target) =
                (RouteDestination::Cidr(IpNet::V4(cidr)), RouteTargetChoice::Target(nat));
            let _ = world.run(account, Action::CreateRoute { table, destination, target });
        }
    }
    if let Some(main) = world.state.vpcs.get(&vpc).map(|vpc| vpc.main_route_table) {
        let target = target(random, &world.state, vpc).filter(|_| random.chance(80));
        default_route(world, account, main, target);
    }
    for service in ["s3", "dynamodb"] {
        if random.chance(50) {
            let new = endpoint::new_gateway(random, &world.state, vpc, service);
            let _ = world.run(account, new);
        }
    }
    for service in ["ec2", "s3"] {
        if random.chance(60) {
            let new = endpoint::new_interface(random, &world.state, vpc, service);
            let _ = world.run(account, new);
        }
    }
    if let Some(new) = resolver::new(random, &world.state, vpc).filter(|_| random.chance(50)) {
        let _ = world.run(account, new);
    }
}

fn default_route(world: &mut World, account: AccountId, table: RouteTableId, target: Option<RouteTarget>) {
    let destination = RouteDestination::Cidr(IpNet::V4(Ipv4Net::default()));
    if let Some(target) = target.map(RouteTargetChoice::Target) {
        let _ = world.run(account, Action::CreateRoute { table, destination, target });
    }
}

fn launch(random: &mut Random, state: &State, vpc: VpcId) -> Option<Launch> {
    let subnet = random.of(&subnets(state, vpc))?;
    let chosen = random.of(&groups_of(state, vpc));
    let interface = LaunchInterface::New {
        subnet,
        groups: if random.chance(70) { chosen.map(|group| vec![group]) } else { None },
        private_address: None,
        public_address: Some(random.chance(50)),
        description: String::new(),
        delete_on_termination: random.chance(70),
    };
    Some(Launch {
        count: 1,
        least: None,
        image: "ami-1".to_owned(),
        instance_type: "t3.micro".to_owned(),
        interface,
        key_name: None,
        profile: None,
        user_data: None,
        metadata: MetadataOptions::default(),
        termination_protected: false,
        tags: Vec::new(),
        interface_tags: Vec::new(),
    })
}

/// Where a route of this VPC may lead.
fn target(random: &mut Random, state: &State, vpc: VpcId) -> Option<RouteTarget> {
    let gateway = internet_gateway_of(state, vpc).map(RouteTarget::InternetGateway);
    let nat = random.of(&nat_gateways(state, vpc)).map(RouteTarget::NatGateway);
    let routers: Vec<_> = state.network_interfaces.values().filter(|x| x.vpc == vpc).collect();
    let routing: Vec<_> = routers.iter().filter(|x| !x.source_dest_check).map(|x| x.id).collect();
    let any: Vec<_> = routers.iter().map(|x| x.id).collect();
    let router = if random.chance(80) { random.of(&routing) } else { random.of(&any) };
    match random.below(6) {
        0..3 => gateway.or(nat),
        3..5 => nat.or(gateway),
        _ => router.map(RouteTarget::NetworkInterface),
    }
}

/// A block that matters in this VPC: of a subnet, an interface, the VPC itself, a service, everything, or the half of
/// one of these.
fn near_block(random: &mut Random, state: &State, vpc: VpcId) -> Ipv4Net {
    let address = flow::address(random, state, vpc);
    let around = match random.below(9) {
        0 => Some(Ipv4Net::default()),
        1..4 => {
            random.of(&subnets(state, vpc)).and_then(|id| state.subnets.get(&id)).map(|subnet| subnet.cidr)
        }
        4 => state.vpcs.get(&vpc).map(|vpc| vpc.primary_cidr()),
        5 => Ipv4Net::new(address, 31).ok(),
        6 => Ipv4Net::new(address, u8::try_from(random.below(33)).unwrap_or(32)).ok(),
        7 => Some(net(random.one(["198.19.0.0/16", "198.18.0.0/16", "198.19.0.0/22", "128.0.0.0/1"]))),
        _ => Some(Ipv4Net::from(address)),
    };
    let block = around.unwrap_or_default().trunc();
    let halves = Ipv4Net::new(block.network(), (block.prefix_len() + 1).min(32));
    if random.chance(20) { halves.unwrap_or(block) } else { block }
}

fn of_vpc<T, Id>(all: impl Iterator<Item = T>, keep: impl Fn(&T) -> Option<Id>) -> Vec<Id> {
    all.filter_map(|x| keep(&x)).collect()
}

fn subnets(state: &State, vpc: VpcId) -> Vec<SubnetId> {
    of_vpc(state.subnets.values(), |x| (x.vpc == vpc).then_some(x.id))
}

fn tables(state: &State, vpc: VpcId) -> Vec<RouteTableId> {
    of_vpc(state.route_tables.values(), |x| (x.vpc == vpc).then_some(x.id))
}

fn groups_of(state: &State, vpc: VpcId) -> Vec<SecurityGroupId> {
    of_vpc(state.security_groups.values(), |x| (x.vpc == vpc).then_some(x.id))
}

fn acls(state: &State, vpc: VpcId) -> Vec<NetworkAclId> {
    of_vpc(state.network_acls.values(), |x| (x.vpc == vpc).then_some(x.id))
}

fn nat_gateways(state: &State, vpc: VpcId) -> Vec<NatGatewayId> {
    of_vpc(state.nat_gateways.values(), |x| (x.vpc == vpc).then_some(x.id))
}

fn interfaces_of(state: &State, vpc: VpcId) -> Vec<NetworkInterfaceId> {
    of_vpc(state.network_interfaces.values(), |x| (x.vpc == vpc).then_some(x.id))
}

fn lists(state: &State, account: AccountId) -> Vec<PrefixListId> {
    of_vpc(state.prefix_lists.values(), |x| x.owner.is_none_or(|owner| owner == account).then_some(x.id))
}

fn own_gateways(state: &State, account: AccountId) -> Vec<InternetGatewayId> {
    of_vpc(state.internet_gateways.values(), |x| (x.owner == account).then_some(x.id))
}

/// Elastic addresses of an account, those that stand for something or those that do not.
fn addresses(state: &State, account: AccountId, associated: bool) -> Vec<AllocationId> {
    state
        .visible::<Address>(account)
        .filter(|address| address.association.is_some() == associated)
        .map(|address| address.id)
        .collect()
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap_or_default()
}

fn offset(address: Ipv4Addr, by: i64) -> Ipv4Addr {
    let moved = (i64::from(u32::from(address)) + by).clamp(0, i64::from(u32::MAX));
    Ipv4Addr::from(u32::try_from(moved).unwrap_or(0))
}
