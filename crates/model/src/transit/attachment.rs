//! What is attached to transit gateways: VPCs by a subnet in each zone, and VPNs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Attached, TransitGateway, TransitGatewayAttachment, attachment_of, attachments_of};
use crate::error::ModelError;
use crate::id::*;
use crate::state::State;
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// "Attachments per transit gateway: 5,000".
pub const MAX_ATTACHMENTS: usize = 5_000;
/// "Transit gateways per VPC: 5".
pub const MAX_GATEWAYS_OF_VPC: usize = 5;

pub(super) fn attach_vpc(
    txn: &mut Txn,
    gateway: TransitGatewayId,
    (vpc, subnets): (VpcId, &[SubnetId]),
    dns_support: bool,
    tags: &TagSet,
) -> Result<(), ModelError> {
    txn.get::<TransitGateway>(gateway)?;
    txn.get::<Vpc>(vpc)?;
    // "A transit gateway cannot have more than one VPC attachment to the same VPC."
    if let Some(attachment) = attachment_of(&txn.state, gateway, vpc) {
        return Err(ModelError::TransitAttached { attachment: attachment.id, resource: vpc.into() });
    }
    let of_vpc = txn.state.transit_gateway_attachments.values().filter(|x| x.to.vpc() == Some(vpc));
    if of_vpc.count() >= MAX_GATEWAYS_OF_VPC {
        return Err(ModelError::Limit { what: "transit gateways of a VPC", limit: MAX_GATEWAYS_OF_VPC });
    }
    let subnets = with_subnets(txn, vpc, BTreeMap::new(), subnets)?;
    if subnets.is_empty() {
        return Err(ModelError::TransitWithoutSubnet { vpc });
    }
    insert(txn, gateway, Attached::Vpc { vpc, subnets, dns_support }, tag::collect(tags)?)
}

/// The subnets of an attachment with some more: one in a zone, all of the VPC.
fn with_subnets(
    txn: &Txn,
    vpc: VpcId,
    mut there: BTreeMap<String, SubnetId>,
    more: &[SubnetId],
) -> Result<BTreeMap<String, SubnetId>, ModelError> {
    for id in more {
        let subnet = txn.get::<Subnet>(*id)?;
        if subnet.vpc != vpc {
            return Err(ModelError::DifferentVpcs { a: (*id).into(), b: vpc.into() });
        }
        // "You must specify at least one subnet, but we recommend that you specify two … You can specify only one subnet
        // per Availability Zone."
        if there.contains_key(&subnet.zone) {
            return Err(ModelError::TransitZoneTaken { subnet: *id, zone: subnet.zone.clone() });
        }
        there.insert(subnet.zone.clone(), *id);
    }
    Ok(there)
}

/// Puts an attachment where the gateway's default tables are.
fn insert(txn: &mut Txn, gateway: TransitGatewayId, to: Attached, tags: Tags) -> Result<(), ModelError> {
    if attachments_of(&txn.state, gateway).count() >= MAX_ATTACHMENTS {
        return Err(ModelError::Limit { what: "attachments of a transit gateway", limit: MAX_ATTACHMENTS });
    }
    let found = txn.get::<TransitGateway>(gateway)?;
    let id = txn.mint::<TransitGatewayAttachment>(TransitGatewayAttachmentId::from_number)?;
    let association = found.association_table.filter(|_| found.options.default_association);
    let propagations = found.propagation_table.filter(|_| found.options.default_propagation);
    txn.insert(TransitGatewayAttachment {
        id,
        owner: txn.account,
        gateway,
        to,
        association,
        propagations: propagations.into_iter().collect(),
        created_at: txn.at,
        tags,
    });
    Ok(())
}

pub(super) fn modify(
    txn: &mut Txn,
    id: TransitGatewayAttachmentId,
    (add, remove): (&[SubnetId], &[SubnetId]),
    dns: Option<bool>,
) -> Result<(), ModelError> {
    let found = txn.get::<TransitGatewayAttachment>(id)?;
    let Attached::Vpc { vpc, subnets, dns_support } = &found.to else {
        return Err(ModelError::NotFound(id.into()));
    };
    let there: BTreeSet<_> = subnets.values().copied().collect();
    if let Some(stranger) = remove.iter().find(|subnet| !there.contains(subnet)) {
        return Err(ModelError::NotFound((*stranger).into()));
    }
    let mut left = subnets.clone();
    left.retain(|_, subnet| !remove.contains(subnet));
    let subnets = with_subnets(txn, *vpc, left, add)?;
    if subnets.is_empty() {
        return Err(ModelError::TransitWithoutSubnet { vpc: *vpc });
    }
    let to = Attached::Vpc { vpc: *vpc, subnets, dns_support: dns.unwrap_or(*dns_support) };
    txn.update::<TransitGatewayAttachment>(id, |attachment| attachment.to = to)
}

/// Routes that lead to it stay, and are black holes.
pub(super) fn delete_vpc(txn: &mut Txn, id: TransitGatewayAttachmentId) -> Result<(), ModelError> {
    match txn.get::<TransitGatewayAttachment>(id)?.to {
        Attached::Vpc { .. } => txn.remove::<TransitGatewayAttachment>(id).map(|_| ()),
        // It goes with its connection.
        Attached::Vpn(_) => Err(ModelError::NotFound(id.into())),
    }
}

/// Attaches a new VPN.
pub(crate) fn attach_vpn(
    txn: &mut Txn,
    gateway: TransitGatewayId,
    connection: VpnConnectionId,
) -> Result<(), ModelError> {
    insert(txn, gateway, Attached::Vpn(connection), Tags::new())
}

/// Takes the attachment of a VPN away, if it has one.
pub(crate) fn detach_vpn(txn: &mut Txn, connection: VpnConnectionId) -> Result<(), ModelError> {
    match super::attachment_of_vpn(&txn.state, connection).map(|attachment| attachment.id) {
        Some(id) => txn.remove::<TransitGatewayAttachment>(id).map(|_| ()),
        None => Ok(()),
    }
}

/// The attachment that keeps a VPC from going.
pub(crate) fn holds_vpc(state: &State, vpc: VpcId) -> Option<TransitGatewayAttachmentId> {
    let mut all = state.transit_gateway_attachments.values();
    all.find(|attachment| attachment.to.vpc() == Some(vpc)).map(|attachment| attachment.id)
}

/// The attachment that keeps a subnet from going.
pub(crate) fn holds_subnet(state: &State, subnet: SubnetId) -> Option<TransitGatewayAttachmentId> {
    let mut all = state.transit_gateway_attachments.values();
    all.find(|x| x.to.subnets().any(|(_, known)| known == subnet)).map(|attachment| attachment.id)
}
