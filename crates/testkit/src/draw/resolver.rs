//! Random inbound endpoints of resolvers, and changes of them.

use postern_model::resolver_endpoint::{NewResolverEndpoint, ResolverAction, ResolverEndpoint};
use postern_model::{Action, State, VpcId};

use super::{groups_of, subnets};
use crate::random::Random;

pub(super) fn new(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let all = subnets(state, vpc);
    let addresses = [random.of(&all)?, random.of(&all)?].map(|subnet| (subnet, None)).to_vec();
    let groups = random.of(&groups_of(state, vpc)).filter(|_| random.chance(70)).into_iter().collect();
    let creator_request_id = random.number().to_string();
    let new = NewResolverEndpoint { creator_request_id, name: None, groups, addresses, tags: Vec::new() };
    Some(Action::Resolver(ResolverAction::CreateEndpoint(new)))
}

/// Something that happens to the endpoints of a VPC's resolver.
pub(super) fn command(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let all: Vec<_> = state.resolver_endpoints.values().filter(|x| x.vpc == vpc).collect();
    let Some(found) = random.of(&all).filter(|_| random.chance(70)) else { return new(random, state, vpc) };
    let ResolverEndpoint { id: endpoint, addresses, .. } = found.as_ref();
    let endpoint = *endpoint;
    Some(Action::Resolver(match random.below(6) {
        0 => ResolverAction::DeleteEndpoint { endpoint },
        1 => ResolverAction::ReportGone { endpoint },
        2 => ResolverAction::AssociateAddress {
            endpoint,
            subnet: random.of(&subnets(state, vpc))?,
            address: None,
        },
        3 => {
            let address = addresses.last()?.id;
            ResolverAction::DisassociateAddress { endpoint, address }
        }
        _ => ResolverAction::ReportReady { endpoint },
    }))
}
