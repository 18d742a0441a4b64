//! Peerings between the VPCs of a world, and routes over them.

use postern_model::peering::{PeeringAction, VpcPeeringConnection};
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::{
    AccountId, Action, IpNet, Ipv4Net, ResourceId, RouteTableId, State, VpcId, VpcPeeringConnectionId,
};

use super::{nat_gateways, near_block, net, tables};
use crate::random::Random;
use crate::world::World;

/// Peers the VPCs of a world two by two, most of them for good, with routes at both sides for the most part.
pub(super) fn join(world: &mut World, random: &mut Random) {
    let all: Vec<_> = world.state.vpcs.values().map(|vpc| (vpc.id, vpc.owner)).collect();
    for (n, (vpc, owner)) in all.iter().enumerate() {
        for (peer, peer_owner) in all.iter().skip(n + 1) {
            if random.chance(70) {
                peer_two(world, random, (*vpc, *owner), (*peer, *peer_owner));
            }
        }
    }
}

fn peer_two(
    world: &mut World,
    random: &mut Random,
    (vpc, owner): (VpcId, AccountId),
    (peer, peer_owner): (VpcId, AccountId),
) {
    let ask = PeeringAction::Create { vpc, peer, peer_owner, tags: Vec::new() };
    let created = world.create(owner, Action::Peering(ask));
    let Ok(Some(ResourceId::VpcPeeringConnection(peering))) = created else { return };
    if random.chance(90) {
        // What overlaps has failed, and is not accepted.
        let _ = world.run(peer_owner, Action::Peering(PeeringAction::Accept { peering }));
    }
    for (near, near_owner, far) in [(vpc, owner, peer), (peer, peer_owner, vpc)] {
        for table in tables(&world.state, near) {
            let block = world.state.vpcs.get(&far).map(|far| far.primary_cidr()).unwrap_or_default();
            let nat = random.of(&nat_gateways(&world.state, near)).map(RouteTarget::NatGateway);
            // Now and then a NAT gateway stands before the peering.
            let target = match nat {
                Some(nat) if random.chance(40) => nat,
                Some(_) | None => RouteTarget::VpcPeering(peering),
            };
            if random.chance(85) {
                route(world, near_owner, table, block, target);
            }
            if random.chance(12) {
                // As if the other side's endpoints could be used.
                let block = net(random.one(["198.19.0.0/16", "198.19.0.0/22", "192.168.0.0/16"]));
                route(world, near_owner, table, block, RouteTarget::VpcPeering(peering));
            }
        }
    }
}

fn route(world: &mut World, account: AccountId, table: RouteTableId, block: Ipv4Net, target: RouteTarget) {
    let destination = RouteDestination::Cidr(IpNet::V4(block));
    let target = RouteTargetChoice::Target(target);
    let _ = world.run(account, Action::CreateRoute { table, destination, target });
}

/// A peering that a VPC is a side of.
pub(super) fn of_vpc(random: &mut Random, state: &State, vpc: VpcId) -> Option<VpcPeeringConnectionId> {
    let all = state.vpc_peering_connections.values();
    let own: Vec<_> = all.filter(|x| x.sides().iter().any(|side| side.vpc == vpc)).map(|x| x.id).collect();
    random.of(&own)
}

/// The VPC at the other side of one.
pub(super) fn peer_of(random: &mut Random, state: &State, vpc: VpcId) -> Option<VpcId> {
    let found: &VpcPeeringConnection = state.vpc_peering_connections.get(&of_vpc(random, state, vpc)?)?;
    found.sides().map(|side| side.vpc).into_iter().find(|other| *other != vpc)
}

/// A change of a VPC's peerings, or of a route over one.
pub(super) fn change(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let peering = of_vpc(random, state, vpc)?;
    let all: Vec<_> = state.vpcs.values().map(|vpc| (vpc.id, vpc.owner)).collect();
    let (peer, peer_owner) = random.of(&all)?;
    Some(match random.below(8) {
        0 => Action::Peering(PeeringAction::Delete { peering }),
        1 => Action::Peering(PeeringAction::Create { vpc, peer, peer_owner, tags: Vec::new() }),
        2..4 => Action::Peering(PeeringAction::Accept { peering }),
        4 => Action::Peering(PeeringAction::ReportReady { peering }),
        5 => {
            let on = Some(random.chance(50));
            Action::Peering(PeeringAction::ModifyOptions { peering, requester_dns: on, accepter_dns: None })
        }
        _ => {
            let table = random.of(&tables(state, vpc))?;
            let block = near_block(random, state, peer);
            let destination = RouteDestination::Cidr(IpNet::V4(block));
            let target = RouteTargetChoice::Target(RouteTarget::VpcPeering(peering));
            Action::CreateRoute { table, destination, target }
        }
    })
}
