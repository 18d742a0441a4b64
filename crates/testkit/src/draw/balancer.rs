//! Random load balancers: interfaces that may have no security groups.

use postern_model::elb::{ElbAction, NewLoadBalancer, NewLoadBalancerZone, Scheme};
use postern_model::{Action, State, VpcId};

use super::{groups_of, subnets};
use crate::random::Random;

pub(super) fn new(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let subnet = random.of(&subnets(state, vpc))?;
    let groups = random.of(&groups_of(state, vpc)).filter(|_| random.chance(40)).into_iter().collect();
    let new = NewLoadBalancer {
        name: format!("lb{}", random.below(100)),
        scheme: if random.chance(70) { Scheme::Internal } else { Scheme::InternetFacing },
        zones: vec![NewLoadBalancerZone { subnet, address: None, allocation: None }],
        groups,
        tags: Vec::new(),
    };
    Some(Action::Elb(ElbAction::CreateLoadBalancer(new)))
}

pub(super) fn delete(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let all: Vec<_> = state.load_balancers.values().filter(|b| b.vpc == vpc).map(|b| b.id).collect();
    let load_balancer = random.of(&all)?;
    Some(Action::Elb(ElbAction::DeleteLoadBalancer { load_balancer }))
}
