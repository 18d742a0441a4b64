//! Route tables of transit gateways: who follows them, whose routes are in them, and static routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::{Attached, TransitGateway, TransitGatewayAttachment, TransitGatewayRouteTable};
use crate::error::ModelError;
use crate::id::*;
use crate::quota::Quota;
use crate::state::State;
use crate::tag::Tags;
use crate::txn::Txn;

pub(super) fn create(
    txn: &mut Txn,
    gateway: TransitGatewayId,
    tags: Tags,
) -> Result<TransitGatewayRouteTableId, ModelError> {
    txn.get::<TransitGateway>(gateway)?;
    txn.within(Quota::TransitGatewayRouteTables, |txn| {
        txn.state.transit_gateway_route_tables.values().filter(|x| x.gateway == gateway).count() + 1
    })?;
    let id = txn.mint::<TransitGatewayRouteTable>(TransitGatewayRouteTableId::from_number)?;
    let (owner, created_at, routes) = (txn.account, txn.at, BTreeMap::new());
    txn.insert(TransitGatewayRouteTable { id, owner, gateway, routes, created_at, tags });
    Ok(id)
}

/// "You cannot delete a route table with associations", nor a default one while new attachments would get it. Propagations to
/// it end.
pub(super) fn delete(txn: &mut Txn, id: TransitGatewayRouteTableId) -> Result<(), ModelError> {
    let table = txn.get::<TransitGatewayRouteTable>(id)?;
    let gateway = txn.get::<TransitGateway>(table.gateway)?;
    if [gateway.association_table, gateway.propagation_table].contains(&Some(id)) {
        return Err(ModelError::InUse { resource: id.into(), used_by: gateway.id.to_string() });
    }
    let all = || txn.state.transit_gateway_attachments.values();
    if let Some(associated) = all().find(|attachment| attachment.association == Some(id)) {
        return Err(ModelError::InUse { resource: id.into(), used_by: associated.id.to_string() });
    }
    let propagating = all().filter(|attachment| attachment.propagations.contains(&id));
    let propagating: Vec<_> = propagating.map(|attachment| attachment.id).collect();
    for attachment in propagating {
        txn.update::<TransitGatewayAttachment>(attachment, |attachment| {
            attachment.propagations.remove(&id);
        })?;
    }
    txn.remove::<TransitGatewayRouteTable>(id).map(|_| ())
}

/// The table, if it is this gateway's.
pub(super) fn of_gateway(
    txn: &Txn,
    id: TransitGatewayRouteTableId,
    gateway: TransitGatewayId,
) -> Result<Arc<TransitGatewayRouteTable>, ModelError> {
    let table = txn.get::<TransitGatewayRouteTable>(id)?;
    if table.gateway == gateway { Ok(table) } else { Err(ModelError::NotFound(id.into())) }
}

/// A table and an attachment of the same gateway.
fn both(
    txn: &Txn,
    table: TransitGatewayRouteTableId,
    attachment: TransitGatewayAttachmentId,
) -> Result<(Arc<TransitGatewayRouteTable>, Arc<TransitGatewayAttachment>), ModelError> {
    let found = txn.get::<TransitGatewayRouteTable>(table)?;
    let attached = txn.get::<TransitGatewayAttachment>(attachment)?;
    if found.gateway == attached.gateway {
        Ok((found, attached))
    } else {
        Err(ModelError::NotFound(attachment.into()))
    }
}

pub(super) fn associate(
    txn: &mut Txn,
    table: TransitGatewayRouteTableId,
    attachment: TransitGatewayAttachmentId,
) -> Result<(), ModelError> {
    let (_, attached) = both(txn, table, attachment)?;
    if let Some(known) = attached.association {
        return Err(ModelError::TransitAssociated { attachment, table: known });
    }
    txn.update::<TransitGatewayAttachment>(attachment, |attachment| attachment.association = Some(table))
}

pub(super) fn disassociate(
    txn: &mut Txn,
    table: TransitGatewayRouteTableId,
    attachment: TransitGatewayAttachmentId,
) -> Result<(), ModelError> {
    let (_, attached) = both(txn, table, attachment)?;
    if attached.association != Some(table) {
        return Err(ModelError::TransitNotAssociated { attachment, table });
    }
    txn.update::<TransitGatewayAttachment>(attachment, |attachment| attachment.association = None)
}

pub(super) fn set_propagation(
    txn: &mut Txn,
    table: TransitGatewayRouteTableId,
    attachment: TransitGatewayAttachmentId,
    on: bool,
) -> Result<(), ModelError> {
    let (_, attached) = both(txn, table, attachment)?;
    match (on, attached.propagations.contains(&table)) {
        (true, true) => return Err(ModelError::TransitPropagates { attachment, table }),
        (false, false) => return Err(ModelError::TransitNotPropagating { attachment, table }),
        (true, false) | (false, true) => {}
    }
    txn.update::<TransitGatewayAttachment>(attachment, |attachment| {
        if on {
            attachment.propagations.insert(table)
        } else {
            attachment.propagations.remove(&table)
        };
    })
}

/// A block that a route may be about, and what it leads to.
fn check_route(
    txn: &Txn,
    table: TransitGatewayRouteTableId,
    block: Ipv4Net,
    target: Option<TransitGatewayAttachmentId>,
) -> Result<Arc<TransitGatewayRouteTable>, ModelError> {
    let found = txn.get::<TransitGatewayRouteTable>(table)?;
    if block.trunc() != block {
        return Err(ModelError::HostBits(block.into()));
    }
    if let Some(target) = target {
        both(txn, table, target)?;
    }
    Ok(found)
}

pub(super) fn create_route(
    txn: &mut Txn,
    table: TransitGatewayRouteTableId,
    block: Ipv4Net,
    target: Option<TransitGatewayAttachmentId>,
) -> Result<(), ModelError> {
    let found = check_route(txn, table, block, target)?;
    if found.routes.contains_key(&block) {
        return Err(ModelError::TransitRouteExists { table, block });
    }
    // "Total combined routes (dynamic and static) across all route tables for a single transit gateway".
    txn.within(Quota::TransitGatewayRoutes, |txn| {
        let tables = txn.state.transit_gateway_route_tables.values().filter(|x| x.gateway == found.gateway);
        tables.map(|table| table.routes.len()).sum::<usize>() + 1
    })?;
    put(txn, table, block, target)
}

pub(super) fn replace_route(
    txn: &mut Txn,
    table: TransitGatewayRouteTableId,
    block: Ipv4Net,
    target: Option<TransitGatewayAttachmentId>,
) -> Result<(), ModelError> {
    let found = check_route(txn, table, block, target)?;
    if !found.routes.contains_key(&block) {
        return Err(ModelError::TransitRouteNotFound { table, block });
    }
    put(txn, table, block, target)
}

fn put(
    txn: &mut Txn,
    table: TransitGatewayRouteTableId,
    block: Ipv4Net,
    target: Option<TransitGatewayAttachmentId>,
) -> Result<(), ModelError> {
    txn.update::<TransitGatewayRouteTable>(table, |table| {
        table.routes.insert(block, target);
    })
}

pub(super) fn delete_route(
    txn: &mut Txn,
    table: TransitGatewayRouteTableId,
    block: Ipv4Net,
) -> Result<(), ModelError> {
    if !txn.get::<TransitGatewayRouteTable>(table)?.routes.contains_key(&block) {
        return Err(ModelError::TransitRouteNotFound { table, block });
    }
    txn.update::<TransitGatewayRouteTable>(table, |table| {
        table.routes.remove(&block);
    })
}

/// A route of a transit gateway's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where it leads; none is a black hole, and so is one whose attachment is gone.
    pub target: Option<TransitGatewayAttachmentId>,
    /// Whether somebody put it there, and no attachment propagates it.
    pub is_static: bool,
}

impl Found {
    /// The attachment that packets go to.
    pub fn leads_to<'a>(&self, state: &'a State) -> Option<&'a Arc<TransitGatewayAttachment>> {
        state.transit_gateway_attachments.get(&self.target?)
    }
}

/// All routes of a table: "If a static route and a propagated route have the same destination, the static route has the higher
/// priority". A VPC propagates its blocks, a VPN with static routes nothing. Of equal blocks the first VPC's counts: "If you
/// attach a VPC … and its CIDR is identical to the CIDR of another VPC that's already attached to the transit gateway, the
/// routes for the newly attached VPC aren't propagated".
pub fn routes(state: &State, table: &TransitGatewayRouteTable) -> BTreeMap<Ipv4Net, Found> {
    let all = state.transit_gateway_attachments.values();
    let mut propagating: Vec<_> = all.filter(|x| x.propagations.contains(&table.id)).collect();
    propagating.sort_by_key(|attachment| (attachment.created_at, attachment.id));
    let mut routes = BTreeMap::new();
    let fixed =
        table.routes.iter().map(|(block, target)| (*block, Found { target: *target, is_static: true }));
    routes.extend(fixed);
    for attachment in propagating {
        let vpc = match attachment.to {
            Attached::Vpc { vpc, .. } => state.vpcs.get(&vpc),
            Attached::Vpn(_) => None,
        };
        for block in vpc.into_iter().flat_map(|vpc| &vpc.blocks) {
            routes.entry(block.cidr).or_insert(Found { target: Some(attachment.id), is_static: false });
        }
    }
    routes
}
