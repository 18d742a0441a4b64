//! Transit gateways that join VPCs of one account, and networks on premises to them.

use std::collections::BTreeMap;

use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::transit::{Attached, TransitAction, TransitGatewayAttachment, TransitOptions};
use postern_model::{
    AccountId, Action, IpNet, Ipv4Net, ResourceId, RouteTableId, State, SubnetId, TransitGatewayAttachmentId,
    TransitGatewayId, TransitGatewayRouteTableId, VpcId,
};

use super::{nat_gateways, near_block, net, subnets, tables, vpn};
use crate::random::Random;
use crate::world::{World, accounts};

/// Gives most accounts a gateway that most of their VPCs are attached to, with routes to each other.
pub(super) fn join(world: &mut World, random: &mut Random) {
    for account in accounts() {
        if random.chance(70) {
            gateway(world, random, account);
        }
    }
}

fn gateway(world: &mut World, random: &mut Random, account: AccountId) {
    let options = TransitOptions {
        default_association: random.chance(95),
        default_propagation: random.chance(92),
        ..TransitOptions::default()
    };
    let new =
        TransitAction::Create { description: String::new(), amazon_asn: 64_512, options, tags: Vec::new() };
    let created = world.create(account, Action::Transit(new));
    let Ok(Some(ResourceId::TransitGateway(gateway))) = created else { return };
    let all = world.state.vpcs.values().filter(|vpc| vpc.owner == account);
    let all: Vec<_> = all.map(|vpc| (vpc.id, vpc.primary_cidr())).collect();
    for (vpc, _) in &all {
        if random.chance(92) {
            let subnets = entrances(random, &world.state, *vpc);
            let (vpc, dns_support) = (*vpc, random.chance(80));
            let new = TransitAction::AttachVpc { gateway, vpc, subnets, dns_support, tags: Vec::new() };
            let _ = world.run(account, Action::Transit(new));
        }
    }
    if random.chance(60) {
        vpn::connection(world, random, account, gateway.into());
    }
    let _ = world.run(account, Action::Transit(TransitAction::CreateTable { gateway, tags: Vec::new() }));
    for _ in 0..2 {
        if let Some(action) = of_table(random, &world.state, gateway) {
            let _ = world.run(account, Action::Transit(action));
        }
    }
    for (vpc, _) in &all {
        for table in tables(&world.state, *vpc) {
            for block in all.iter().filter(|(other, _)| other != vpc).map(|(_, block)| *block) {
                // Now and then a NAT gateway stands before the transit gateway.
                let nat = random.of(&nat_gateways(&world.state, *vpc)).filter(|_| random.chance(45));
                let target = nat.map_or(RouteTarget::TransitGateway(gateway), RouteTarget::NatGateway);
                if random.chance(90) {
                    route(world, account, (table, target), block);
                }
            }
            if random.chance(40) {
                let beyond = net(random.one(vpn::BLOCKS));
                route(world, account, (table, RouteTarget::TransitGateway(gateway)), beyond);
            }
        }
    }
}

fn route(
    world: &mut World,
    account: AccountId,
    (table, target): (RouteTableId, RouteTarget),
    block: Ipv4Net,
) {
    let destination = RouteDestination::Cidr(IpNet::V4(block));
    let target = RouteTargetChoice::Target(target);
    let _ = world.run(account, Action::CreateRoute { table, destination, target });
}

/// A subnet in most zones of a VPC.
fn entrances(random: &mut Random, state: &State, vpc: VpcId) -> Vec<SubnetId> {
    let mut zones: BTreeMap<String, Vec<SubnetId>> = BTreeMap::new();
    for subnet in subnets(state, vpc).iter().filter_map(|id| state.subnets.get(id)) {
        zones.entry(subnet.zone.clone()).or_default().push(subnet.id);
    }
    zones
        .values()
        .filter(|_| random.chance(85))
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|all| random.of(all))
        .collect()
}

fn attachments(state: &State, gateway: TransitGatewayId) -> Vec<TransitGatewayAttachmentId> {
    postern_model::transit::attachments_of(state, gateway).map(|attachment| attachment.id).collect()
}

fn tables_of(state: &State, gateway: TransitGatewayId) -> Vec<TransitGatewayRouteTableId> {
    let all = state.transit_gateway_route_tables.values().filter(|table| table.gateway == gateway);
    all.map(|table| table.id).collect()
}

/// A change of a table of a gateway's, or of who follows it.
fn of_table(random: &mut Random, state: &State, gateway: TransitGatewayId) -> Option<TransitAction> {
    let table = random.of(&tables_of(state, gateway))?;
    let attachment = random.of(&attachments(state, gateway))?;
    let block = some_block(random, state, attachment);
    let there: Vec<_> = state.transit_gateway_route_tables.get(&table)?.routes.keys().copied().collect();
    let target = Some(attachment).filter(|_| random.chance(45));
    Some(match random.below(9) {
        0..3 => TransitAction::CreateRoute { table, block, target },
        3 => TransitAction::ReplaceRoute { table, block: random.of(&there)?, target },
        4 => TransitAction::DeleteRoute { table, block: random.of(&there)? },
        5 => TransitAction::Associate { table, attachment },
        6 => {
            let table = state.transit_gateway_attachments.get(&attachment)?.association?;
            if random.chance(50) {
                return None;
            }
            TransitAction::Disassociate { table, attachment }
        }
        _ => {
            let there = state.transit_gateway_attachments.get(&attachment)?.propagations.contains(&table);
            TransitAction::SetPropagation { table, attachment, on: !there }
        }
    })
}

/// A block that an attachment is about, or a part of it.
fn some_block(random: &mut Random, state: &State, id: TransitGatewayAttachmentId) -> Ipv4Net {
    match state.transit_gateway_attachments.get(&id).map(|attachment| &attachment.to) {
        Some(Attached::Vpc { vpc, .. }) => near_block(random, state, *vpc),
        Some(Attached::Vpn(_)) | None => net(random.one(vpn::BLOCKS)),
    }
}

fn of_vpc(random: &mut Random, state: &State, vpc: VpcId) -> Option<TransitGatewayAttachment> {
    let all = state.transit_gateway_attachments.values();
    let all: Vec<_> = all.filter(|attachment| attachment.to.vpc() == Some(vpc)).collect();
    random.of(&all).map(|attachment| (**attachment).clone())
}

/// Two VPCs that are attached to the same gateway.
pub(super) fn pair(random: &mut Random, state: &State) -> Option<(VpcId, VpcId)> {
    let all: Vec<_> = state.transit_gateway_attachments.values().filter_map(|x| x.to.vpc()).collect();
    let vpc = random.of(&all)?;
    Some((vpc, other_vpc(random, state, vpc)?))
}

/// Another VPC that is attached to a gateway of this one's.
pub(super) fn other_vpc(random: &mut Random, state: &State, vpc: VpcId) -> Option<VpcId> {
    let own = of_vpc(random, state, vpc)?;
    of_gateway(random, state, own.gateway, Some(vpc))
}

/// A VPC that is attached to a gateway, and not this one.
pub(super) fn of_gateway(
    random: &mut Random,
    state: &State,
    gateway: TransitGatewayId,
    but: Option<VpcId>,
) -> Option<VpcId> {
    let all = postern_model::transit::attachments_of(state, gateway).filter_map(|x| x.to.vpc());
    let others: Vec<_> = all.filter(|vpc| Some(*vpc) != but).collect();
    random.of(&others)
}

/// A change of the transit gateways that a VPC is attached to.
pub(super) fn change(random: &mut Random, state: &State, vpc: VpcId) -> Option<Action> {
    let own = of_vpc(random, state, vpc)?;
    let gateway = own.gateway;
    let there: Vec<_> = own.to.subnets().map(|(_, subnet)| subnet).collect();
    Some(match random.below(12) {
        0 => Action::Transit(TransitAction::DeleteVpcAttachment { attachment: own.id }),
        1 | 2 => {
            let add =
                subnets(state, vpc).into_iter().filter(|subnet| !there.contains(subnet)).collect::<Vec<_>>();
            let add = random.of(&add).into_iter().collect();
            let attachment = own.id;
            let dns_support = Some(random.chance(70));
            Action::Transit(TransitAction::ModifyVpcAttachment {
                attachment,
                add,
                remove: Vec::new(),
                dns_support,
            })
        }
        3 => {
            let (attachment, remove) = (own.id, vec![random.of(&there)?]);
            let (add, dns_support) = (Vec::new(), None);
            Action::Transit(TransitAction::ModifyVpcAttachment { attachment, add, remove, dns_support })
        }
        4 | 5 => {
            let table = random.of(&tables(state, vpc))?;
            let other = random.of(&attachments(state, gateway))?;
            let block = some_block(random, state, other);
            let destination = RouteDestination::Cidr(IpNet::V4(block));
            let target = RouteTargetChoice::Target(RouteTarget::TransitGateway(gateway));
            Action::CreateRoute { table, destination, target }
        }
        _ => Action::Transit(of_table(random, state, gateway)?),
    })
}
