//! Random load balancers: with and without security groups, listeners and targets.

use postern_model::elb::*;
use postern_model::interface::InterfaceKind;
use postern_model::{AccountId, Action, ResourceId, State, TargetGroupId, VpcId};
use postern_path::Health;

use super::{groups_of, subnets};
use crate::random::Random;
use crate::topology::balancer::usual_check;
use crate::world::World;

pub(super) fn new(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let subnet = random.of(&subnets(state, vpc))?;
    let groups = random.of(&groups_of(state, vpc)).filter(|_| random.chance(40)).into_iter().collect();
    let new = NewLoadBalancer {
        name: format!("lb{}", random.below(100)),
        scheme: if random.chance(30) { Scheme::Internal } else { Scheme::InternetFacing },
        zones: vec![NewLoadBalancerZone { subnet, address: None, allocation: None }],
        groups,
        tags: Vec::new(),
    };
    Some(Action::Elb(ElbAction::CreateLoadBalancer(new)))
}

/// A load balancer with listeners and targets. What the model refuses is left out.
pub(super) fn furnish(world: &mut World, random: &mut Random, account: AccountId, vpc: VpcId) {
    let Some(balancer) = new(random, &world.state, vpc) else { return };
    if world.run(account, balancer).is_err() {
        return;
    }
    for _ in 0..2 {
        let group = new_group(random, vpc);
        let Ok(Some(ResourceId::TargetGroup(group))) = world.create(account, group) else { continue };
        for _ in 0..random.below(4) {
            if let Some(register) = register(random, &world.state, group) {
                let _ = world.run(account, register);
            }
        }
        if let Some(listener) = listener(random, &world.state, vpc) {
            let _ = world.run(account, listener);
        }
    }
}

fn new_group(random: &mut Random, vpc: VpcId) -> Action {
    let protocol = random.one([GroupProtocol::Tcp, GroupProtocol::Tcp, GroupProtocol::TcpUdp]);
    Action::Elb(ElbAction::CreateTargetGroup(NewTargetGroup {
        name: format!("g{}", random.below(1_000)),
        protocol,
        port: random.one([443, 80, 8_080]),
        vpc,
        target_type: if random.chance(60) { TargetType::Instance } else { TargetType::Ip },
        health_check: usual_check(),
        tags: Vec::new(),
    }))
}

fn groups_of_targets(state: &State, vpc: VpcId) -> Vec<TargetGroupId> {
    state.target_groups.values().filter(|group| group.vpc == vpc).map(|group| group.id).collect()
}

fn register(random: &mut Random, state: &State, group: TargetGroupId) -> Option<Action> {
    let found = state.target_groups.get(&group)?;
    let id = match found.target_type {
        TargetType::Instance => {
            let instances = state.instances.values().filter(|instance| instance.vpc == found.vpc);
            TargetId::Instance(random.of(&instances.map(|instance| instance.id).collect::<Vec<_>>())?)
        }
        TargetType::Ip => {
            // Now and then one that no load balancer hands anything to.
            let any = random.chance(10);
            let fits = |kind| any || kind == InterfaceKind::Interface;
            let all = state.network_interfaces.values().filter(|x| x.vpc == found.vpc && fits(x.kind));
            TargetId::Address(random.of(&all.map(|x| x.primary_address()).collect::<Vec<_>>())?)
        }
    };
    let port = random.chance(30).then(|| random.one([443, 444]));
    Some(Action::Elb(ElbAction::RegisterTargets { group, targets: vec![NewTarget { id, port, zone: None }] }))
}

fn listener(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let all: Vec<_> = state.load_balancers.values().filter(|b| b.vpc == vpc).map(|b| b.id).collect();
    Some(Action::Elb(ElbAction::CreateListener(NewListener {
        load_balancer: random.of(&all)?,
        protocol: random.one([ListenerProtocol::Tcp, ListenerProtocol::Tcp, ListenerProtocol::TcpUdp]),
        port: random.one([443, 443, 80, 53]),
        group: random.of(&groups_of_targets(state, vpc))?,
        tags: Vec::new(),
    })))
}

/// A change of who gets the connections of load balancers.
pub(super) fn change(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let group = random.of(&groups_of_targets(state, vpc));
    let listeners: Vec<_> = state.listeners.keys().copied().collect();
    let keys = |group| {
        state.target_groups.get(&group).map(|found| found.targets.keys().copied().collect::<Vec<_>>())
    };
    Some(match random.below(9) {
        0 => new_group(random, vpc),
        1 | 2 => register(random, state, group?)?,
        3 => {
            let key = random.of(&keys(group?)?)?;
            let targets = vec![(key.id, random.chance(50).then_some(key.port))];
            Action::Elb(ElbAction::DeregisterTargets { group: group?, targets })
        }
        4 => Action::Elb(ElbAction::ForgetTargets { group: group?, targets: keys(group?)? }),
        5 => listener(random, state, vpc)?,
        6 => Action::Elb(ElbAction::DeleteListener { listener: random.of(&listeners)? }),
        7 => {
            let load_balancer = state.load_balancers.values().find(|balancer| balancer.vpc == vpc)?.id;
            let attributes =
                LoadBalancerAttributes { cross_zone: random.chance(50), ..LoadBalancerAttributes::default() };
            Action::Elb(ElbAction::ModifyLoadBalancerAttributes { load_balancer, attributes })
        }
        _ => {
            let attributes = GroupAttributes {
                preserve_client_ip: random.one([None, Some(false), Some(true)]),
                proxy_protocol_v2: random.chance(10),
                stickiness: random.chance(20),
                terminate_on_deregistration: random.chance(40),
                cross_zone: random.one([CrossZone::AsLoadBalancer, CrossZone::On, CrossZone::Off]),
                unhealthy: UnhealthyTargets { terminate: random.chance(70) },
                ..GroupAttributes::default()
            };
            Action::Elb(ElbAction::ModifyTargetGroupAttributes { group: group?, attributes })
        }
    })
}

pub(super) fn delete(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let all: Vec<_> = state.load_balancers.values().filter(|b| b.vpc == vpc).map(|b| b.id).collect();
    let load_balancer = random.of(&all)?;
    Some(Action::Elb(ElbAction::DeleteLoadBalancer { load_balancer }))
}

/// How checks find targets: mostly healthy, some not, and of some nothing is known yet.
pub fn health(random: &mut Random, state: &State) -> Health {
    let all = state.target_groups.values();
    let targets = all.flat_map(|group| group.targets.keys().map(|key| (group.id, *key)));
    targets
        .filter_map(|id| match random.below(10) {
            0..6 => Some((id, true)),
            6..8 => Some((id, false)),
            _ => None,
        })
        .collect()
}
