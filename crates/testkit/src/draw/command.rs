//! Random changes of a state, drawn so that most of them can succeed.

use postern_model::gateway::internet_gateway_of;
use postern_model::instance::{InstanceChange, InstanceState, MetadataOptions};
use postern_model::interface::{InterfaceChange, InterfaceKind, NewInterface};
use postern_model::network_acl::AclEntry;
use postern_model::prefix_list::PrefixListChange;
use postern_model::route::{RouteDestination, RouteTargetChoice};
use postern_model::security_group::{NewRule, Peer, Permission, RuleChoice, Traffic};
use postern_model::{AccountId, Action, InstanceId, IpNet, ResourceId, RouteTableId, State, VpcId};

use super::{
    acls, addresses, balancer, endpoint, groups_of, interfaces_of, launch, lists, nat_gateways, near_block,
    own_gateways, peering, resolver, subnets, tables, target, transit, vpn,
};
use crate::random::Random;
use crate::world::accounts;

/// A change of some resource, and whose it is.
pub fn command(random: &mut Random, state: &State) -> (AccountId, Action) {
    let vpcs: Vec<_> = state.vpcs.values().map(|vpc| (vpc.id, vpc.owner)).collect();
    let Some((vpc, account)) = random.of(&vpcs) else {
        return (accounts()[0], Action::AllocateAddress { tags: Vec::new() });
    };
    for _ in 0..20 {
        let drawn = match random.below(6) {
            0 | 1 => Some(rule(random, state, vpc, account).1),
            2 => routing(random, state, vpc),
            3 => interface(random, state, vpc, account),
            4 => instance(random, state, vpc),
            5 if random.chance(30) => peering::change(random, state, vpc),
            5 if random.chance(15) => resolver::command(random, state, vpc),
            5 if random.chance(30) => vpn::change(random, state, vpc),
            5 if random.chance(40) => transit::change(random, state, vpc),
            _ => edge(random, state, vpc, account),
        };
        if let Some(action) = drawn {
            return (account, action);
        }
    }
    (account, Action::AllocateAddress { tags: Vec::new() })
}

/// A change of a security group, a network ACL or a prefix list.
pub(super) fn rule(
    random: &mut Random,
    state: &State,
    vpc: VpcId,
    account: AccountId,
) -> (AccountId, Action) {
    let drawn = (0..10).find_map(|_| match random.below(6) {
        0..3 => group_rule(random, state, vpc, account),
        3 | 4 => acl_rule(random, state, vpc),
        _ => list_change(random, state, vpc, account),
    });
    (account, drawn.unwrap_or(Action::AllocateAddress { tags: Vec::new() }))
}

fn traffic(random: &mut Random) -> Traffic {
    let low = port(random);
    let high = if random.chance(40) { low } else { port(random).max(low) };
    match random.below(12) {
        0..3 => Traffic::All,
        3..7 => Traffic::Tcp(low, high),
        7 => Traffic::Tcp(0, u16::MAX),
        8 => Traffic::Udp(low, high),
        9 => Traffic::Icmp(random.one([None, Some(8), Some(0), Some(3)]), random.one([None, None, Some(0)])),
        10 => Traffic::Tcp(1024, u16::MAX),
        _ => Traffic::Protocol(random.one([47, 50])),
    }
}

/// Ports that are near each other, so that ranges touch.
fn port(random: &mut Random) -> u16 {
    random.one([0, 22, 53, 80, 81, 442, 443, 444, 1023, 1024, 1025, 8080, 32_768, 40_000, 61_000, 65_535])
}

fn group_rule(random: &mut Random, state: &State, vpc: VpcId, account: AccountId) -> Option<Action> {
    let all = groups_of(state, vpc);
    let group = random.of(&all)?;
    let found = state.security_groups.get(&group)?;
    let rules: Vec<_> = found.rules.values().map(|rule| (rule.id, rule.permission)).collect();
    let peer = match random.below(6) {
        0..3 => Peer::Cidr(IpNet::V4(near_block(random, state, vpc))),
        3 => Peer::PrefixList(random.of(&lists(state, account))?),
        4 => Peer::Cidr("::/0".parse().ok()?),
        _ => Peer::Group(random.of(&all)?),
    };
    let permission = Permission { egress: random.chance(50), traffic: traffic(random), peer };
    Some(match random.below(10) {
        0..5 => {
            let rules = vec![NewRule { permission, description: String::new() }];
            Action::AuthorizeSecurityGroup { group, rules, tags: Vec::new() }
        }
        5..8 => {
            let (id, old) = random.of(&rules)?;
            if old.egress && old.traffic == Traffic::All && random.chance(70) {
                return None;
            }
            let egress = old.egress;
            Action::RevokeSecurityGroup { group, egress, rules: RuleChoice::Ids(vec![id]) }
        }
        _ => {
            let (rule, old) = random.of(&rules)?;
            if old.egress && old.traffic == Traffic::All && random.chance(70) {
                return None;
            }
            let permission = Permission { egress: old.egress, ..permission };
            let new = NewRule { permission, description: String::new() };
            Action::ModifySecurityGroupRule { group, rule, new }
        }
    })
}

fn acl_rule(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    if random.chance(15) {
        let subnet = random.of(&subnets(state, vpc))?;
        let association = state.subnets.get(&subnet)?.network_acl_association;
        return Some(Action::ReplaceNetworkAclAssociation {
            association,
            acl: random.of(&acls(state, vpc))?,
        });
    }
    let acl = random.of(&acls(state, vpc))?;
    let egress = random.chance(50);
    let number = random.one([1, 50, 100, 200, 300]);
    let cidr = if random.chance(50) { "0.0.0.0/0".parse().ok()? } else { near_block(random, state, vpc) };
    let entry =
        AclEntry { number, allow: random.chance(65), traffic: traffic(random), cidr: IpNet::V4(cidr) };
    Some(match random.below(6) {
        0..3 => Action::CreateNetworkAclEntry { acl, egress, entry },
        3..5 => Action::ReplaceNetworkAclEntry { acl, egress, entry },
        _ => Action::DeleteNetworkAclEntry { acl, egress, number },
    })
}

fn list_change(random: &mut Random, state: &State, vpc: VpcId, account: AccountId) -> Option<Action> {
    let own: Vec<_> =
        state.prefix_lists.values().filter(|list| list.owner == Some(account)).map(|x| x.id).collect();
    let list = random.of(&own)?;
    let found = state.prefix_lists.get(&list)?;
    let there: Vec<_> = found.entries.keys().copied().collect();
    let add = vec![(IpNet::V4(near_block(random, state, vpc)), String::new())];
    let remove = random.of(&there).filter(|_| random.chance(60)).into_iter().collect();
    let change = PrefixListChange { current_version: Some(found.version), add, remove, ..Default::default() };
    Some(Action::ModifyManagedPrefixList { list, change })
}

fn routing(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let table = random.of(&tables(state, vpc))?;
    let subnet = random.of(&subnets(state, vpc))?;
    Some(match random.below(12) {
        0..4 => {
            let destination = destination(random, state, vpc, table);
            Action::CreateRoute { table, destination, target: choice(random, state, vpc)? }
        }
        4..6 => {
            let destination = existing_destination(random, state, table)?;
            Action::ReplaceRoute { table, destination, target: choice(random, state, vpc)? }
        }
        6..8 => Action::DeleteRoute { table, destination: existing_destination(random, state, table)? },
        8 => match state.subnets.get(&subnet)?.route_table {
            None => Action::AssociateRouteTable { table, subnet },
            Some((association, _)) => Action::DisassociateRouteTable { association },
        },
        9 => {
            let chosen = state.subnets.get(&subnet)?.route_table.map(|(association, _)| association);
            let main = state.vpcs.get(&vpc)?.main_association;
            let association = chosen.filter(|_| random.chance(60)).unwrap_or(main);
            Action::ReplaceRouteTableAssociation { association, table }
        }
        10 => Action::DeleteRouteTable { table },
        _ => Action::CreateRouteTable { vpc, tags: Vec::new() },
    })
}

fn destination(random: &mut Random, state: &State, vpc: VpcId, table: RouteTableId) -> RouteDestination {
    let owner = state.route_tables.get(&table).map(|table| table.owner);
    let own: Vec<_> = state.prefix_lists.values().filter(|list| list.owner == owner).map(|x| x.id).collect();
    match random.of(&own) {
        Some(list) if random.chance(25) => RouteDestination::PrefixList(list),
        _ => RouteDestination::Cidr(IpNet::V4(near_block(random, state, vpc))),
    }
}

fn existing_destination(random: &mut Random, state: &State, table: RouteTableId) -> Option<RouteDestination> {
    let there: Vec<_> = state.route_tables.get(&table)?.routes.keys().copied().collect();
    random.of(&there)
}

fn choice(random: &mut Random, state: &State, vpc: VpcId) -> Option<RouteTargetChoice> {
    target(random, state, vpc).map(RouteTargetChoice::Target)
}

fn interface(random: &mut Random, state: &State, vpc: VpcId, account: AccountId) -> Option<Action> {
    let id = random.of(&interfaces_of(state, vpc))?;
    let found = state.network_interfaces.get(&id)?;
    let addresses: Vec<_> = found.private_addresses.iter().map(|private| private.address).collect();
    Some(match random.below(14) {
        0..3 => {
            let change = InterfaceChange::SourceDestCheck(random.chance(40));
            Action::ModifyNetworkInterface { interface: id, change }
        }
        3..6 => {
            let groups = (0..1 + random.below(2)).filter_map(|_| random.of(&groups_of(state, vpc))).collect();
            let change = InterfaceChange::Groups(groups);
            Action::ModifyNetworkInterface { interface: id, change }
        }
        6 => Action::AssignPrivateAddresses { interface: id, addresses: Vec::new(), count: 1 },
        7 => Action::UnassignPrivateAddresses { interface: id, addresses: vec![*addresses.last()?] },
        8 => Action::DetachNetworkInterface { attachment: found.attachment?.id },
        9 => Action::AttachNetworkInterface { interface: id, instance: None, device_index: 0 },
        10 => Action::DeleteNetworkInterface { interface: id },
        11 => Action::CreateNetworkInterface(NewInterface {
            subnet: random.of(&subnets(state, vpc))?,
            description: String::new(),
            private_address: None,
            secondary_addresses: Vec::new(),
            secondary_count: 0,
            groups: random.of(&groups_of(state, vpc)).map(|group| vec![group]),
            kind: InterfaceKind::Interface,
            tags: Vec::new(),
        }),
        12 => Action::CreateTags { resources: vec![any_resource(random, state, vpc)?], tags: tags() },
        _ => {
            let taken = random.chance(30);
            let allocation = random.of(&self::addresses(state, account, taken))?;
            let private_address = random.of(&addresses);
            Action::AssociateAddress { allocation, interface: id, private_address, allow_reassociation: true }
        }
    })
}

fn tags() -> Vec<(String, String)> {
    vec![("name".to_owned(), "new".to_owned())]
}

fn any_resource(random: &mut Random, state: &State, vpc: VpcId) -> Option<ResourceId> {
    Some(match random.below(7) {
        0 => vpc.into(),
        1 => random.of(&subnets(state, vpc))?.into(),
        2 => random.of(&tables(state, vpc))?.into(),
        3 => random.of(&groups_of(state, vpc))?.into(),
        4 => random.of(&acls(state, vpc))?.into(),
        5 => random.of(&nat_gateways(state, vpc))?.into(),
        _ => random.of(&interfaces_of(state, vpc))?.into(),
    })
}

fn instance(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let all: Vec<_> = state.instances.values().filter(|x| x.vpc == vpc).map(|x| x.id).collect();
    if random.chance(20) {
        return launch(random, state, vpc).map(Action::RunInstances);
    }
    let instance = random.of(&all)?;
    let instances = vec![instance];
    Some(match random.below(9) {
        0 => Action::StopInstances { instances },
        1 => Action::StartInstances { instances },
        2 => Action::TerminateInstances { instances },
        3 => Action::ForgetInstance { instance },
        4 => {
            let options = MetadataOptions { enabled: random.chance(50), hop_limit: 2 };
            Action::ModifyInstance { instance, change: InstanceChange::Metadata(options) }
        }
        _ => Action::ReportInstance { instance, state: next_state(state, instance)?, reason: String::new() },
    })
}

fn next_state(state: &State, instance: InstanceId) -> Option<InstanceState> {
    Some(match state.instances.get(&instance)?.state {
        InstanceState::Pending => InstanceState::Running,
        InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => InstanceState::Stopped,
        InstanceState::ShuttingDown | InstanceState::Terminated => InstanceState::Terminated,
    })
}

fn edge(random: &mut Random, state: &State, vpc: VpcId, account: AccountId) -> Option<Action> {
    Some(match random.below(22) {
        19..22 => balancer::change(random, state, vpc)?,
        17 => balancer::new(random, state, vpc)?,
        18 => balancer::delete(random, state, vpc)?,
        0 => Action::AttachInternetGateway { gateway: random.of(&own_gateways(state, account))?, vpc },
        1 => Action::DetachInternetGateway { gateway: internet_gateway_of(state, vpc)?, vpc },
        2 => Action::CreateInternetGateway { tags: Vec::new() },
        3 => Action::DeleteInternetGateway { gateway: random.of(&own_gateways(state, account))? },
        4 | 5 => Action::CreateNatGateway {
            subnet: random.of(&subnets(state, vpc))?,
            allocation: random.of(&addresses(state, account, false)),
            private_address: None,
            tags: Vec::new(),
        },
        6 => Action::DeleteNatGateway { gateway: random.of(&nat_gateways(state, vpc))? },
        7 => Action::ReportNatGatewayReady { gateway: random.of(&nat_gateways(state, vpc))? },
        8 => {
            let association = random.of(&addresses(state, account, true))?;
            let association = state.addresses.get(&association)?.association?.id;
            Action::DisassociateAddress { association }
        }
        9 => Action::ReleaseAddress { allocation: random.of(&addresses(state, account, false))? },
        10..13 => endpoint::command(random, state, vpc)?,
        13 => Action::SetVpcDns { vpc, support: Some(random.chance(60)), hostnames: Some(random.chance(50)) },
        14 => {
            let more = ["10.2.0.0/16", "10.0.128.0/20", "10.3.0.0/24", "100.64.0.0/20", "172.16.9.0/24"];
            Action::AssociateVpcCidrBlock { vpc, cidr: super::net(random.one(more)) }
        }
        15 => {
            let blocks = &state.vpcs.get(&vpc)?.blocks;
            Action::DisassociateVpcCidrBlock { association: blocks.last()?.association }
        }
        _ => {
            let cidr = near_block(random, state, vpc);
            Action::CreateSubnet { vpc, cidr, zone: None, tags: Vec::new() }
        }
    })
}
