//! Transit gateways: VPCs and VPNs that reach each other by route tables of the gateway's own.
//!
//! Rules from "How AWS Transit Gateway works", "Amazon VPC attachments" and "Transit gateway route tables" in the Transit
//! Gateway guide. What an attachment propagates is not stored: it follows from the blocks of its VPC ([`routes`]).
//!
//! INVARIANT: a VPC has one attachment to a gateway at most, with one subnet in each of its zones at most; an attachment is
//! associated with one route table of its gateway at most.

mod attachment;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

pub use attachment::{MAX_ATTACHMENTS, MAX_GATEWAYS_OF_VPC};
pub(crate) use attachment::{attach_vpn, detach_vpn, holds_subnet, holds_vpc};
pub use table::{Found, routes};

use crate::error::ModelError;
use crate::id::*;
use crate::quota::Quota;
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// A transit gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitGateway {
    /// Its id.
    pub id: TransitGatewayId,
    /// Whose it is.
    pub owner: AccountId,
    /// What people call it.
    pub description: String,
    /// The Amazon side's number.
    pub amazon_asn: u64,
    /// What it does by itself.
    pub options: TransitOptions,
    /// The table that new attachments are associated with, where they are (`AssociationDefaultRouteTableId`).
    pub association_table: Option<TransitGatewayRouteTableId>,
    /// The table that new attachments propagate to, where they do (`PropagationDefaultRouteTableId`).
    pub propagation_table: Option<TransitGatewayRouteTableId>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// What a transit gateway does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitOptions {
    /// Whether new attachments are associated with a default table.
    pub default_association: bool,
    /// Whether they propagate to one.
    pub default_propagation: bool,
    /// Whether public names lead to private addresses across the gateway.
    pub dns_support: bool,
    /// Whether routes over several VPNs are used at once. Static ones never are.
    pub vpn_ecmp: bool,
}

impl Default for TransitOptions {
    /// AWS's.
    fn default() -> Self {
        Self { default_association: true, default_propagation: true, dns_support: true, vpn_ecmp: true }
    }
}

/// What is attached to a transit gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitGatewayAttachment {
    /// Its id.
    pub id: TransitGatewayAttachmentId,
    /// Whose it is.
    pub owner: AccountId,
    /// The gateway.
    pub gateway: TransitGatewayId,
    /// What is attached.
    pub to: Attached,
    /// The table that says where its packets go, and since when.
    pub association: Option<TransitGatewayRouteTableId>,
    /// The tables that its routes are in.
    pub propagations: std::collections::BTreeSet<TransitGatewayRouteTableId>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// What an attachment joins to its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attached {
    /// A VPC.
    Vpc {
        /// Which.
        vpc: VpcId,
        /// Where the gateway is in it, by zone: "one subnet from each Availability Zone".
        subnets: BTreeMap<String, SubnetId>,
        /// Whether public names lead to private addresses across the gateway, as far as this VPC is concerned.
        dns_support: bool,
    },
    /// A network on premises.
    Vpn(VpnConnectionId),
}

impl Attached {
    /// AWS's word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Vpc { .. } => "vpc",
            Self::Vpn(_) => "vpn",
        }
    }

    /// What is attached.
    pub fn resource(&self) -> ResourceId {
        match self {
            Self::Vpc { vpc, .. } => (*vpc).into(),
            Self::Vpn(connection) => (*connection).into(),
        }
    }

    /// The VPC, if it is one.
    pub const fn vpc(&self) -> Option<VpcId> {
        match self {
            Self::Vpc { vpc, .. } => Some(*vpc),
            Self::Vpn(_) => None,
        }
    }

    /// Where the gateway is in the VPC, by zone.
    pub fn subnets(&self) -> impl Iterator<Item = (&String, SubnetId)> {
        let subnets = match self {
            Self::Vpc { subnets, .. } => Some(subnets),
            Self::Vpn(_) => None,
        };
        subnets.into_iter().flatten().map(|(zone, subnet)| (zone, *subnet))
    }
}

/// A route table of a transit gateway's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitGatewayRouteTable {
    /// Its id.
    pub id: TransitGatewayRouteTableId,
    /// Whose it is.
    pub owner: AccountId,
    /// The gateway.
    pub gateway: TransitGatewayId,
    /// Its static routes: the attachment that each leads to, or none for a black hole.
    pub routes: BTreeMap<Ipv4Net, Option<TransitGatewayAttachmentId>>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// What can be done with transit gateways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum TransitAction {
    Create {
        description: String,
        amazon_asn: u64,
        options: TransitOptions,
        tags: TagSet,
    },
    Modify {
        gateway: TransitGatewayId,
        change: TransitChange,
    },
    Delete {
        gateway: TransitGatewayId,
    },
    AttachVpc {
        gateway: TransitGatewayId,
        vpc: VpcId,
        subnets: Vec<SubnetId>,
        dns_support: bool,
        tags: TagSet,
    },
    ModifyVpcAttachment {
        attachment: TransitGatewayAttachmentId,
        add: Vec<SubnetId>,
        remove: Vec<SubnetId>,
        dns_support: Option<bool>,
    },
    DeleteVpcAttachment {
        attachment: TransitGatewayAttachmentId,
    },
    CreateTable {
        gateway: TransitGatewayId,
        tags: TagSet,
    },
    DeleteTable {
        table: TransitGatewayRouteTableId,
    },
    Associate {
        table: TransitGatewayRouteTableId,
        attachment: TransitGatewayAttachmentId,
    },
    Disassociate {
        table: TransitGatewayRouteTableId,
        attachment: TransitGatewayAttachmentId,
    },
    SetPropagation {
        table: TransitGatewayRouteTableId,
        attachment: TransitGatewayAttachmentId,
        on: bool,
    },
    /// None is a black hole.
    CreateRoute {
        table: TransitGatewayRouteTableId,
        block: Ipv4Net,
        target: Option<TransitGatewayAttachmentId>,
    },
    ReplaceRoute {
        table: TransitGatewayRouteTableId,
        block: Ipv4Net,
        target: Option<TransitGatewayAttachmentId>,
    },
    DeleteRoute {
        table: TransitGatewayRouteTableId,
        block: Ipv4Net,
    },
}

/// What of a transit gateway is to be another; none where it stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's parameters of the same names")]
pub struct TransitChange {
    pub description: Option<String>,
    pub amazon_asn: Option<u64>,
    pub default_association: Option<bool>,
    pub default_propagation: Option<bool>,
    pub association_table: Option<TransitGatewayRouteTableId>,
    pub propagation_table: Option<TransitGatewayRouteTableId>,
    pub dns_support: Option<bool>,
    pub vpn_ecmp: Option<bool>,
}

pub(crate) fn apply(txn: &mut Txn, action: TransitAction) -> Result<(), ModelError> {
    use TransitAction::*;
    match action {
        Create { description, amazon_asn, options, tags } => {
            create(txn, description, amazon_asn, options, &tags)
        }
        Modify { gateway, change } => modify(txn, gateway, change),
        Delete { gateway } => delete(txn, gateway),
        AttachVpc { gateway, vpc, subnets, dns_support, tags } => {
            attachment::attach_vpc(txn, gateway, (vpc, &subnets), dns_support, &tags)
        }
        ModifyVpcAttachment { attachment, add, remove, dns_support } => {
            attachment::modify(txn, attachment, (&add, &remove), dns_support)
        }
        DeleteVpcAttachment { attachment } => attachment::delete_vpc(txn, attachment),
        CreateTable { gateway, tags } => table::create(txn, gateway, tag::collect(&tags)?).map(|_| ()),
        DeleteTable { table } => table::delete(txn, table),
        Associate { table, attachment } => table::associate(txn, table, attachment),
        Disassociate { table, attachment } => table::disassociate(txn, table, attachment),
        SetPropagation { table, attachment, on } => table::set_propagation(txn, table, attachment, on),
        CreateRoute { table, block, target } => table::create_route(txn, table, block, target),
        ReplaceRoute { table, block, target } => table::replace_route(txn, table, block, target),
        DeleteRoute { table, block } => table::delete_route(txn, table, block),
    }
}

/// The attachments of a gateway.
pub fn attachments_of(
    state: &State,
    gateway: TransitGatewayId,
) -> impl Iterator<Item = &Arc<TransitGatewayAttachment>> {
    state.transit_gateway_attachments.values().filter(move |attachment| attachment.gateway == gateway)
}

/// A VPC's attachment to a gateway.
pub fn attachment_of(
    state: &State,
    gateway: TransitGatewayId,
    vpc: VpcId,
) -> Option<&Arc<TransitGatewayAttachment>> {
    attachments_of(state, gateway).find(|attachment| attachment.to.vpc() == Some(vpc))
}

/// The attachment of a VPN.
pub fn attachment_of_vpn(
    state: &State,
    connection: VpnConnectionId,
) -> Option<&Arc<TransitGatewayAttachment>> {
    state.transit_gateway_attachments.values().find(|x| x.to == Attached::Vpn(connection))
}

fn create(
    txn: &mut Txn,
    description: String,
    amazon_asn: u64,
    options: TransitOptions,
    tags: &TagSet,
) -> Result<(), ModelError> {
    txn.room_for_one::<TransitGateway>(Quota::TransitGateways)?;
    let id = txn.mint::<TransitGateway>(TransitGatewayId::from_number)?;
    let (owner, tags) = (txn.account, tag::collect(tags)?);
    txn.insert(TransitGateway {
        id,
        owner,
        description,
        amazon_asn,
        options,
        association_table: None,
        propagation_table: None,
        created_at: txn.at,
        tags,
    });
    // "By default, the default association route table and the default propagation route table are the same".
    default_tables(txn, id)
}

/// Gives a gateway the default tables that its options want and it has not: one for both.
fn default_tables(txn: &mut Txn, id: TransitGatewayId) -> Result<(), ModelError> {
    let gateway = txn.get::<TransitGateway>(id)?;
    let association = gateway.options.default_association && gateway.association_table.is_none();
    let propagation = gateway.options.default_propagation && gateway.propagation_table.is_none();
    if !association && !propagation {
        return Ok(());
    }
    let known = gateway.association_table.or(gateway.propagation_table);
    let table = match known {
        Some(known) => known,
        None => table::create(txn, id, Tags::new())?,
    };
    txn.update::<TransitGateway>(id, |gateway| {
        if association {
            gateway.association_table = Some(table);
        }
        if propagation {
            gateway.propagation_table = Some(table);
        }
    })
}

fn modify(txn: &mut Txn, id: TransitGatewayId, change: TransitChange) -> Result<(), ModelError> {
    txn.get::<TransitGateway>(id)?;
    for table in [change.association_table, change.propagation_table].into_iter().flatten() {
        table::of_gateway(txn, table, id)?;
    }
    txn.update::<TransitGateway>(id, |gateway| {
        let TransitChange { description, amazon_asn, default_association, default_propagation, .. } = change;
        gateway.description = description.unwrap_or(std::mem::take(&mut gateway.description));
        gateway.amazon_asn = amazon_asn.unwrap_or(gateway.amazon_asn);
        let options = &mut gateway.options;
        options.default_association = default_association.unwrap_or(options.default_association);
        options.default_propagation = default_propagation.unwrap_or(options.default_propagation);
        options.dns_support = change.dns_support.unwrap_or(options.dns_support);
        options.vpn_ecmp = change.vpn_ecmp.unwrap_or(options.vpn_ecmp);
        gateway.association_table = change.association_table.or(gateway.association_table);
        gateway.propagation_table = change.propagation_table.or(gateway.propagation_table);
        if !gateway.options.default_association {
            gateway.association_table = None;
        }
        if !gateway.options.default_propagation {
            gateway.propagation_table = None;
        }
    })?;
    default_tables(txn, id)
}

/// "You can't delete a transit gateway with existing attachments." Its tables go with it.
fn delete(txn: &mut Txn, id: TransitGatewayId) -> Result<(), ModelError> {
    txn.get::<TransitGateway>(id)?;
    if let Some(attachment) = attachments_of(&txn.state, id).next() {
        return Err(ModelError::InUse { resource: id.into(), used_by: attachment.id.to_string() });
    }
    let tables = txn.state.transit_gateway_route_tables.values().filter(|table| table.gateway == id);
    let tables: Vec<_> = tables.map(|table| table.id).collect();
    for table in tables {
        txn.remove::<TransitGatewayRouteTable>(table)?;
    }
    txn.remove::<TransitGateway>(id).map(|_| ())
}
