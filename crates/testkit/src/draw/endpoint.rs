//! Random VPC endpoints of both kinds, and changes of them.

use postern_model::endpoint::{
    DnsChoice, EndpointChange, InterfaceChange, InterfacePart, NewGatewayEndpoint, NewInterfaceEndpoint,
    VpcEndpoint,
};
use postern_model::{Action, RouteTableId, SecurityGroupId, State, SubnetId, VpcId};

use super::{groups_of, subnets, tables};
use crate::random::Random;

pub(super) fn new_gateway(random: &mut Random, state: &State, vpc: VpcId, service: &str) -> Action {
    let route_tables = tables(state, vpc).into_iter().filter(|_| random.chance(60)).collect();
    let service_name = format!("com.amazonaws.us-east-1.{service}");
    let (policy, tags) = (None, Vec::new());
    Action::CreateGatewayEndpoint(NewGatewayEndpoint { vpc, service_name, route_tables, policy, tags })
}

pub(super) fn new_interface(random: &mut Random, state: &State, vpc: VpcId, service: &str) -> Action {
    Action::CreateInterfaceEndpoint(NewInterfaceEndpoint {
        vpc,
        service_name: format!("com.amazonaws.us-east-1.{service}"),
        subnets: one_in_each_zone(random, state, vpc),
        addresses: Vec::new(),
        groups: groups(random, state, vpc),
        // What a name leads to is no part of a flow's way.
        private_dns: false,
        dns: DnsChoice::default(),
        policy: None,
        tags: Vec::new(),
    })
}

/// Most of the time as many subnets as an endpoint can have; now and then one zone too often, which the model refuses.
fn one_in_each_zone(random: &mut Random, state: &State, vpc: VpcId) -> Vec<SubnetId> {
    let mut zones = std::collections::BTreeSet::new();
    let mut all = subnets(state, vpc);
    let first = random.below(all.len().max(1));
    all.rotate_left(first);
    let fits = |id: &SubnetId| state.subnets.get(id).is_some_and(|subnet| zones.insert(subnet.zone.clone()));
    all.into_iter().filter(fits).collect()
}

fn groups(random: &mut Random, state: &State, vpc: VpcId) -> Vec<SecurityGroupId> {
    random.of(&groups_of(state, vpc)).filter(|_| random.chance(70)).into_iter().collect()
}

/// Something that happens to the endpoints of a VPC.
pub(super) fn command(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let all: Vec<_> = state.vpc_endpoints.values().filter(|x| x.vpc == vpc).map(|x| x.id).collect();
    Some(match random.below(8) {
        0 => {
            let service = random.one(["s3", "dynamodb"]);
            new_gateway(random, state, vpc, service)
        }
        1 => {
            let service = random.one(["ec2", "s3", "sts"]);
            new_interface(random, state, vpc, service)
        }
        2 | 3 => Action::DeleteVpcEndpoint { endpoint: random.of(&all)? },
        4 => {
            let endpoint = random.of(&all)?;
            match random.below(3) {
                0 => Action::ReportVpcEndpointReady { endpoint },
                1 => Action::ReportVpcEndpointGone { endpoint },
                _ => Action::ForgetVpcEndpoint { endpoint },
            }
        }
        _ => {
            let endpoint = random.of(&all)?;
            let change = change(random, state, state.vpc_endpoints.get(&endpoint)?);
            Action::ModifyVpcEndpoint { endpoint, change }
        }
    })
}

fn change(random: &mut Random, state: &State, found: &VpcEndpoint) -> EndpointChange {
    let policy = random.chance(20).then(|| Some("{}".to_owned()));
    if let Some(part) = &found.interface {
        let interface = change_of_interface(random, state, found, part);
        return EndpointChange { policy, interface, ..EndpointChange::default() };
    }
    let leads = |table: &RouteTableId| found.route_tables.contains(table);
    let others: Vec<_> = tables(state, found.vpc).into_iter().filter(|table| !leads(table)).collect();
    let there: Vec<_> = found.route_tables.iter().copied().collect();
    EndpointChange {
        add_route_tables: random.of(&others).filter(|_| random.chance(60)).into_iter().collect(),
        remove_route_tables: random.of(&there).filter(|_| random.chance(40)).into_iter().collect(),
        policy,
        interface: InterfaceChange::default(),
    }
}

fn change_of_interface(
    random: &mut Random,
    state: &State,
    found: &VpcEndpoint,
    part: &InterfacePart,
) -> InterfaceChange {
    let there: Vec<_> = part.interfaces.keys().copied().collect();
    let new: Vec<_> = groups(random, state, found.vpc);
    let new: Vec<_> = new.into_iter().filter(|group| !part.groups.contains(group)).collect();
    let changes_groups = !new.is_empty() && random.chance(50);
    InterfaceChange {
        add_subnets: random
            .of(&subnets(state, found.vpc))
            .filter(|_| random.chance(40))
            .into_iter()
            .collect(),
        remove_subnets: random.of(&there).filter(|_| random.chance(40)).into_iter().collect(),
        remove_groups: if changes_groups { part.groups.clone() } else { Vec::new() },
        add_groups: if changes_groups { new } else { Vec::new() },
        ..InterfaceChange::default()
    }
}
