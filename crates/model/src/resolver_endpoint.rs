//! Inbound endpoints of Route 53 Resolver: addresses in a VPC that answer for its resolver to networks outside it.
//!
//! Rules from "Forwarding inbound DNS queries to your VPCs" in the Route 53 developer guide, and `CreateResolverEndpoint` in
//! the Resolver API reference.
//!
//! INVARIANT: an endpoint that nobody is deleting has at least [`LEAST_ADDRESSES`], all in one VPC, each with an interface.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::interface::{Attachment, InterfaceKind, NetworkInterface, NewInterface, resolve_groups};
use crate::quota::Quota;
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// "Even though the minimum is 1, Route 53 requires that you create at least two."
pub const LEAST_ADDRESSES: usize = 2;

/// An inbound endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverEndpoint {
    /// Its id.
    pub id: ResolverEndpointId,
    /// Whose it is.
    pub owner: AccountId,
    /// What the request that made it was called.
    pub creator_request_id: String,
    /// What it is called.
    pub name: Option<String>,
    /// Whose resolver it answers for.
    pub vpc: VpcId,
    /// The groups of all its interfaces.
    pub groups: Vec<SecurityGroupId>,
    /// Where it answers, in the order in which the addresses were added.
    pub addresses: Vec<ResolverAddress>,
    /// How far it is.
    pub state: ResolverEndpointState,
    /// Since when.
    pub created_at: Timestamp,
    /// Since when it is as it is.
    pub modified_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// One address of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverAddress {
    /// Its id.
    pub id: ResolverAddressId,
    /// Where it is.
    pub subnet: SubnetId,
    /// What has it.
    pub interface: NetworkInterfaceId,
    /// The address.
    pub address: Ipv4Addr,
    /// Whether packets for it are answered.
    pub attached: bool,
    /// Since when.
    pub created_at: Timestamp,
    /// Since when it is as it is.
    pub modified_at: Timestamp,
}

/// How far an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResolverEndpointState {
    /// Its interfaces are there, and the data plane does not know them yet.
    Creating,
    /// It answers.
    Operational,
    /// The same with other addresses than before, which the data plane does not know yet.
    Updating,
    /// Its interfaces are gone.
    Deleting,
}

impl ResolverEndpointState {
    /// As AWS writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Operational => "OPERATIONAL",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        }
    }
}

/// What an endpoint is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewResolverEndpoint {
    /// What the request is called.
    pub creator_request_id: String,
    /// What the endpoint is to be called.
    pub name: Option<String>,
    /// The groups of its interfaces.
    pub groups: Vec<SecurityGroupId>,
    /// Subnets of one VPC, each with the address that was chosen there, if one was.
    pub addresses: Vec<(SubnetId, Option<Ipv4Addr>)>,
    /// Its tags.
    pub tags: TagSet,
}

/// What can be done with endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum ResolverAction {
    CreateEndpoint(NewResolverEndpoint),
    UpdateEndpoint {
        endpoint: ResolverEndpointId,
        name: Option<String>,
    },
    AssociateAddress {
        endpoint: ResolverEndpointId,
        subnet: SubnetId,
        address: Option<Ipv4Addr>,
    },
    DisassociateAddress {
        endpoint: ResolverEndpointId,
        address: ResolverAddressId,
    },
    DeleteEndpoint {
        endpoint: ResolverEndpointId,
    },
    /// The data plane answers at all addresses.
    ReportReady {
        endpoint: ResolverEndpointId,
    },
    /// The data plane no longer knows it.
    ReportGone {
        endpoint: ResolverEndpointId,
    },
}

pub(crate) fn apply(txn: &mut Txn, action: ResolverAction) -> Result<(), ModelError> {
    match action {
        ResolverAction::CreateEndpoint(new) => create(txn, new),
        ResolverAction::UpdateEndpoint { endpoint, name } => rename(txn, endpoint, name),
        ResolverAction::AssociateAddress { endpoint, subnet, address } => {
            associate(txn, endpoint, subnet, address)
        }
        ResolverAction::DisassociateAddress { endpoint, address } => disassociate(txn, endpoint, address),
        ResolverAction::DeleteEndpoint { endpoint } => delete(txn, endpoint),
        ResolverAction::ReportReady { endpoint } => ready(txn, endpoint),
        ResolverAction::ReportGone { endpoint } => gone(txn, endpoint),
    }
}

fn create(txn: &mut Txn, new: NewResolverEndpoint) -> Result<(), ModelError> {
    let NewResolverEndpoint { creator_request_id, name, groups, addresses, tags } = new;
    let first = match addresses.first() {
        Some((subnet, _)) if addresses.len() >= LEAST_ADDRESSES => txn.get::<Subnet>(*subnet)?,
        Some(_) | None => return Err(ModelError::ResolverAddressesTooFew { least: LEAST_ADDRESSES }),
    };
    let same = |known: &&std::sync::Arc<ResolverEndpoint>| known.creator_request_id == creator_request_id;
    let taken = txn.state.visible::<ResolverEndpoint>(txn.account).find(same).map(|known| known.id);
    if let Some(endpoint) = taken {
        return Err(ModelError::CreatorRequestTaken { request: creator_request_id, endpoint });
    }
    txn.room_for_one::<ResolverEndpoint>(Quota::ResolverEndpoints)?;
    txn.within(Quota::ResolverAddresses, |_| addresses.len())?;
    let groups = resolve_groups(txn, first.vpc, Some(groups))?;
    let id = txn.mint::<ResolverEndpoint>(ResolverEndpointId::from_number)?;
    let tags = tag::collect(&tags)?;
    txn.insert(ResolverEndpoint {
        id,
        owner: txn.account,
        creator_request_id,
        name,
        vpc: first.vpc,
        groups,
        addresses: Vec::new(),
        state: ResolverEndpointState::Creating,
        created_at: txn.at,
        modified_at: txn.at,
        tags,
    });
    addresses.into_iter().try_for_each(|(subnet, address)| add_address(txn, id, subnet, address))
}

/// Makes the interface of one more address.
fn add_address(
    txn: &mut Txn,
    id: ResolverEndpointId,
    subnet: SubnetId,
    private_address: Option<Ipv4Addr>,
) -> Result<(), ModelError> {
    let endpoint = txn.get::<ResolverEndpoint>(id)?;
    if txn.get::<Subnet>(subnet)?.vpc != endpoint.vpc {
        return Err(ModelError::DifferentVpcs { a: subnet.into(), b: endpoint.vpc.into() });
    }
    let address_id = ResolverAddressId::from_number(txn.id_number());
    let new = NewInterface {
        subnet,
        description: format!("Route 53 Resolver: {id}:{address_id}"),
        private_address,
        secondary_addresses: Vec::new(),
        secondary_count: 0,
        groups: Some(endpoint.groups.clone()),
        kind: InterfaceKind::ResolverEndpoint(id),
        tags: Vec::new(),
    };
    let interface = crate::interface::insert(txn, new)?;
    let attachment = Attachment {
        id: AttachmentId::from_number(txn.id_number()),
        instance: None,
        device_index: 1,
        delete_on_termination: false,
        attached_at: txn.at,
    };
    txn.update::<NetworkInterface>(interface, |interface| interface.attachment = Some(attachment))?;
    let now = txn.at;
    let address = ResolverAddress {
        id: address_id,
        subnet,
        interface,
        address: txn.get::<NetworkInterface>(interface)?.primary_address(),
        attached: false,
        created_at: now,
        modified_at: now,
    };
    txn.update::<ResolverEndpoint>(id, |endpoint| endpoint.addresses.push(address))
}

/// Refuses what an endpoint that is still busy with something else cannot do.
fn check_operational(txn: &Txn, id: ResolverEndpointId) -> Result<(), ModelError> {
    match txn.get::<ResolverEndpoint>(id)?.state {
        ResolverEndpointState::Operational => Ok(()),
        state @ (ResolverEndpointState::Creating
        | ResolverEndpointState::Updating
        | ResolverEndpointState::Deleting) => Err(ModelError::WrongState {
            resource: id.into(),
            state: state.name(),
            needed: ResolverEndpointState::Operational.name(),
        }),
    }
}

fn rename(txn: &mut Txn, id: ResolverEndpointId, name: Option<String>) -> Result<(), ModelError> {
    check_operational(txn, id)?;
    let now = txn.at;
    txn.update::<ResolverEndpoint>(id, |endpoint| {
        endpoint.name = name.or(endpoint.name.take());
        endpoint.modified_at = now;
    })
}

fn associate(
    txn: &mut Txn,
    id: ResolverEndpointId,
    subnet: SubnetId,
    address: Option<Ipv4Addr>,
) -> Result<(), ModelError> {
    check_operational(txn, id)?;
    let wanted = txn.get::<ResolverEndpoint>(id)?.addresses.len() + 1;
    txn.within(Quota::ResolverAddresses, |_| wanted)?;
    add_address(txn, id, subnet, address)?;
    updating(txn, id)
}

fn disassociate(txn: &mut Txn, id: ResolverEndpointId, address: ResolverAddressId) -> Result<(), ModelError> {
    check_operational(txn, id)?;
    let endpoint = txn.get::<ResolverEndpoint>(id)?;
    let found = endpoint.addresses.iter().find(|known| known.id == address);
    let Some(found) = found else {
        return Err(ModelError::ResolverAddressNotFound { endpoint: id, address });
    };
    if endpoint.addresses.len() <= LEAST_ADDRESSES {
        return Err(ModelError::ResolverAddressesTooFew { least: LEAST_ADDRESSES });
    }
    crate::interface::remove(txn, found.interface)?;
    txn.update::<ResolverEndpoint>(id, |endpoint| endpoint.addresses.retain(|known| known.id != address))?;
    updating(txn, id)
}

fn updating(txn: &mut Txn, id: ResolverEndpointId) -> Result<(), ModelError> {
    let now = txn.at;
    txn.update::<ResolverEndpoint>(id, |endpoint| {
        endpoint.state = ResolverEndpointState::Updating;
        endpoint.modified_at = now;
    })
}

/// Lets go of all addresses. What is deleted already stays so.
fn delete(txn: &mut Txn, id: ResolverEndpointId) -> Result<(), ModelError> {
    let now = txn.at;
    for address in &txn.get::<ResolverEndpoint>(id)?.addresses {
        crate::interface::remove(txn, address.interface)?;
    }
    txn.update::<ResolverEndpoint>(id, |endpoint| {
        endpoint.addresses.clear();
        endpoint.state = ResolverEndpointState::Deleting;
        endpoint.modified_at = now;
    })
}

fn ready(txn: &mut Txn, id: ResolverEndpointId) -> Result<(), ModelError> {
    let now = txn.at;
    match txn.get::<ResolverEndpoint>(id)?.state {
        ResolverEndpointState::Creating | ResolverEndpointState::Updating => {
            txn.update::<ResolverEndpoint>(id, |endpoint| {
                endpoint.state = ResolverEndpointState::Operational;
                endpoint.modified_at = now;
                for address in endpoint.addresses.iter_mut().filter(|address| !address.attached) {
                    address.attached = true;
                    address.modified_at = now;
                }
            })
        }
        ResolverEndpointState::Operational | ResolverEndpointState::Deleting => Ok(()),
    }
}

fn gone(txn: &mut Txn, id: ResolverEndpointId) -> Result<(), ModelError> {
    match txn.get::<ResolverEndpoint>(id)?.state {
        ResolverEndpointState::Deleting => txn.remove::<ResolverEndpoint>(id).map(|_| ()),
        ResolverEndpointState::Creating
        | ResolverEndpointState::Operational
        | ResolverEndpointState::Updating => Ok(()),
    }
}
