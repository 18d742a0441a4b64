//! Transit gateways in a plan: what is attached to them, and their route tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use postern_model::transit::{Attached, routes};
use postern_model::{
    Ipv4Net, NetworkInterfaceId, SubnetId, TransitGatewayAttachmentId, TransitGatewayId,
    TransitGatewayRouteTableId, VpcId,
};

use super::Plan;
use super::compile::Compiler;
use super::interval::IntervalMap;
use super::slots::SlotKey;
use crate::decision::Stamp;

/// A transit gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransitGatewayPlan {
    /// Changes when `vpcs` does.
    pub stamp: Stamp,
    /// The attachment of each VPC.
    pub vpcs: BTreeMap<VpcId, TransitGatewayAttachmentId>,
    /// The VPCs among which public names lead to private addresses.
    pub names: BTreeSet<VpcId>,
}

/// What is attached to a transit gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransitAttachmentPlan {
    pub stamp: Stamp,
    /// The table that its packets follow.
    pub table: Option<TransitGatewayRouteTableId>,
    pub end: TransitEnd,
}

/// What an attachment leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransitEnd {
    /// A VPC, and where the gateway is in it by zone.
    Vpc { vpc: VpcId, subnets: BTreeMap<String, SubnetId> },
    /// The end of a VPN.
    Vpn { port: NetworkInterfaceId },
}

impl TransitAttachmentPlan {
    /// The subnet in a zone.
    pub fn subnet_in(&self, zone: &str) -> Option<SubnetId> {
        match &self.end {
            TransitEnd::Vpc { subnets, .. } => subnets.get(zone).copied(),
            TransitEnd::Vpn { .. } => None,
        }
    }

    /// Where what comes from a zone comes out: "a transit gateway attempts to keep traffic … in the originating Availability
    /// Zone until it reaches its destination". AWS says nothing of what comes from elsewhere; here it is the first zone.
    pub fn exit_for(&self, zone: Option<&str>) -> Option<SubnetId> {
        let first = match &self.end {
            TransitEnd::Vpc { subnets, .. } => subnets.values().next().copied(),
            TransitEnd::Vpn { .. } => None,
        };
        zone.and_then(|zone| self.subnet_in(zone)).or(first)
    }
}

/// A route table of a transit gateway's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransitTablePlan {
    pub stamp: Stamp,
    pub intervals: IntervalMap<u32>,
    pub routes: Vec<TransitRoutePlan>,
}

/// One of its routes; without a target it is a black hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransitRoutePlan {
    pub block: Ipv4Net,
    pub target: Option<TransitGatewayAttachmentId>,
}

impl Compiler<'_> {
    pub(super) fn transit_gateway(&mut self, id: TransitGatewayId) {
        let Some(gateway) = self.state.transit_gateways.get(&id) else {
            self.plan.transit_gateways.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let (mut vpcs, mut names) = (BTreeMap::new(), BTreeSet::new());
        for attachment in postern_model::transit::attachments_of(self.state, id) {
            let Attached::Vpc { vpc, dns_support, .. } = attachment.to else { continue };
            vpcs.insert(vpc, attachment.id);
            if dns_support && gateway.options.dns_support {
                names.insert(vpc);
            }
        }
        let same = self.plan.transit_gateways.get(&id).filter(|old| old.vpcs == vpcs).map(|old| old.stamp);
        let stamp = same.unwrap_or_else(|| self.resource(id));
        self.plan.transit_gateways.insert(id, Arc::new(TransitGatewayPlan { stamp, vpcs, names }));
    }

    pub(super) fn transit_attachment(&mut self, id: TransitGatewayAttachmentId) {
        let found = self.state.transit_gateway_attachments.get(&id);
        let end = found.and_then(|attachment| match &attachment.to {
            Attached::Vpc { vpc, subnets, .. } => {
                Some(TransitEnd::Vpc { vpc: *vpc, subnets: subnets.clone() })
            }
            Attached::Vpn(id) => {
                self.state.vpn_connections.get(id).map(|x| TransitEnd::Vpn { port: x.link.port })
            }
        });
        let Some((attachment, end)) = found.zip(end) else {
            self.plan.transit_attachments.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let compiled =
            |stamp| TransitAttachmentPlan { stamp, table: attachment.association, end: end.clone() };
        let old = self.plan.transit_attachments.get(&id);
        let same = old.filter(|old| ***old == compiled(old.stamp)).map(|old| old.stamp);
        let stamp = same.unwrap_or_else(|| self.resource(id));
        self.plan.transit_attachments.insert(id, Arc::new(compiled(stamp)));
    }

    pub(super) fn transit_table(&mut self, id: TransitGatewayRouteTableId) {
        let Some(table) = self.state.transit_gateway_route_tables.get(&id) else {
            self.plan.transit_tables.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let all = routes(self.state, table).into_iter();
        let routes: Vec<_> =
            all.map(|(block, found)| TransitRoutePlan { block, target: found.target }).collect();
        let same = self.plan.transit_tables.get(&id).filter(|old| old.routes == routes).map(|old| old.stamp);
        let stamp = same.unwrap_or_else(|| self.resource(id));
        let intervals = IntervalMap::new(routes.iter().map(|route| route.block).zip(0u32..));
        self.plan.transit_tables.insert(id, Arc::new(TransitTablePlan { stamp, intervals, routes }));
    }
}

impl Plan {
    /// Whether public names of one VPC lead to private addresses in another, over a transit gateway: both attachments and the
    /// gateway support it.
    pub(crate) fn names_over_transit(&self, one: VpcId, other: VpcId) -> bool {
        self.transit_gateways
            .values()
            .any(|gateway| gateway.names.contains(&one) && gateway.names.contains(&other))
    }
}
