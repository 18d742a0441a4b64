//! The edge of a VPC: internet gateways, NAT gateways and the public addresses that they use.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::interface::{Attachment, InterfaceKind, NetworkInterface, NewInterface};
use crate::quota::Quota;
use crate::state::{PublicAddress, State};
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// Public addresses come from 198.18.0.0/16: half of the block that RFC 2544 sets aside, so that they look public to
/// every program and collide with nothing on the real internet.
pub const PUBLIC_POOL_BASE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// How long a NAT gateway is shown after its deletion.
pub const DELETED_NAT_GATEWAY_SHOWN_MILLISECONDS: u64 = 3_600_000;

/// An internet gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// Its id.
    pub id: InternetGatewayId,
    /// Whose it is.
    pub owner: AccountId,
    /// What it is attached to.
    pub vpc: Option<VpcId>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    /// Its id.
    pub id: NatGatewayId,
    /// Whose it is.
    pub owner: AccountId,
    /// The VPC of its subnet.
    pub vpc: VpcId,
    /// Where its interface is.
    pub subnet: SubnetId,
    /// Its interface, until it is deleted.
    pub interface: Option<NetworkInterfaceId>,
    /// Its private address, kept for the record after deletion.
    pub private_address: Ipv4Addr,
    /// Its Elastic IP address; none for a private NAT gateway.
    pub allocation: Option<AllocationId>,
    /// The public address, kept for the record after deletion.
    pub public_address: Option<Ipv4Addr>,
    /// How far it is.
    pub state: NatGatewayState,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub deleted_at: Option<Timestamp>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// How far a NAT gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NatGatewayState {
    /// Not yet known to the data plane.
    Pending,
    /// Working.
    Available,
    /// Gone, shown for an hour as AWS shows it.
    Deleted,
}

impl NatGatewayState {
    /// Whether it still exists.
    pub fn is_live(self) -> bool {
        match self {
            Self::Pending | Self::Available => true,
            Self::Deleted => false,
        }
    }

    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Deleted => "deleted",
        }
    }
}

/// An Elastic IP address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Its id.
    pub id: AllocationId,
    /// Whose it is.
    pub owner: AccountId,
    /// The address.
    pub public_address: Ipv4Addr,
    /// What it stands for.
    pub association: Option<AddressAssociation>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// The link of an Elastic IP address to a private one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressAssociation {
    /// Its id.
    pub id: AddressAssociationId,
    /// The interface.
    pub interface: NetworkInterfaceId,
    /// The interface's address.
    pub private_address: Ipv4Addr,
}

pub(crate) fn create_internet_gateway(txn: &mut Txn, tags: &TagSet) -> Result<InternetGatewayId, ModelError> {
    txn.room_for_one::<InternetGateway>(Quota::Vpcs)?;
    let id = txn.mint::<InternetGateway>(InternetGatewayId::from_number)?;
    let tags = tag::collect(tags)?;
    txn.insert(InternetGateway { id, owner: txn.account, vpc: None, tags });
    Ok(id)
}

pub(crate) fn delete_internet_gateway(txn: &mut Txn, id: InternetGatewayId) -> Result<(), ModelError> {
    if let Some(vpc) = txn.get::<InternetGateway>(id)?.vpc {
        return Err(ModelError::InUse { resource: id.into(), used_by: vpc.to_string() });
    }
    txn.remove::<InternetGateway>(id).map(|_| ())
}

pub(crate) fn attach(txn: &mut Txn, id: InternetGatewayId, vpc: VpcId) -> Result<(), ModelError> {
    let gateway = txn.get::<InternetGateway>(id)?;
    txn.get::<Vpc>(vpc)?;
    if let Some(vpc) = gateway.vpc {
        return Err(ModelError::GatewayAttached { gateway: id, vpc });
    }
    if let Some(other) = internet_gateway_of(&txn.state, vpc) {
        return Err(ModelError::VpcHasGateway { vpc, gateway: other });
    }
    txn.update::<InternetGateway>(id, |gateway| gateway.vpc = Some(vpc))
}

/// The internet gateway that is attached to a VPC.
pub fn internet_gateway_of(state: &State, vpc: VpcId) -> Option<InternetGatewayId> {
    state.internet_gateways.values().find(|gateway| gateway.vpc == Some(vpc)).map(|gateway| gateway.id)
}

pub(crate) fn detach(txn: &mut Txn, id: InternetGatewayId, vpc: VpcId) -> Result<(), ModelError> {
    let gateway = txn.get::<InternetGateway>(id)?;
    txn.get::<Vpc>(vpc)?;
    if gateway.vpc != Some(vpc) {
        return Err(ModelError::GatewayNotAttached { gateway: id, vpc });
    }
    let mapped = txn.state.public_addresses.values().any(|public| match public {
        PublicAddress::Automatic(interface) => in_vpc(&txn.state, *interface, vpc),
        PublicAddress::Elastic(allocation) => {
            let association = txn.state.addresses.get(allocation).and_then(|address| address.association);
            association.is_some_and(|association| in_vpc(&txn.state, association.interface, vpc))
        }
    });
    if mapped {
        return Err(ModelError::PublicAddressesMapped { vpc });
    }
    txn.update::<InternetGateway>(id, |gateway| gateway.vpc = None)
}

fn in_vpc(state: &State, interface: NetworkInterfaceId, vpc: VpcId) -> bool {
    state.network_interfaces.get(&interface).is_some_and(|interface| interface.vpc == vpc)
}

/// A public address that nothing has.
pub(crate) fn pick_public_address(txn: &mut Txn) -> Result<Ipv4Addr, ModelError> {
    let base = u32::from(PUBLIC_POOL_BASE);
    for _ in 0..4_096 {
        let offset = (txn.next_random() & 0xffff) as u32;
        // Neither the first nor the last address of a /24: people (and some programs) mistrust them.
        if matches!(offset & 0xff, 0 | 255) {
            continue;
        }
        let address = Ipv4Addr::from(base + offset);
        if !txn.state.public_addresses.contains_key(&address) {
            return Ok(address);
        }
    }
    Err(ModelError::PublicAddressesExhausted)
}

pub(crate) fn allocate_address(txn: &mut Txn, tags: &TagSet) -> Result<(), ModelError> {
    txn.room_for_one::<Address>(Quota::ElasticAddresses)?;
    let id = txn.mint::<Address>(AllocationId::from_number)?;
    let public_address = pick_public_address(txn)?;
    let tags = tag::collect(tags)?;
    txn.state.public_addresses.insert(public_address, PublicAddress::Elastic(id));
    txn.insert(Address { id, owner: txn.account, public_address, association: None, tags });
    Ok(())
}

pub(crate) fn release_address(txn: &mut Txn, id: AllocationId) -> Result<(), ModelError> {
    let address = txn.get::<Address>(id)?;
    if let Some(association) = address.association {
        return Err(ModelError::AddressAssociated { allocation: id, interface: association.interface });
    }
    txn.state.public_addresses.remove(&address.public_address);
    txn.remove::<Address>(id).map(|_| ())
}

/// The Elastic IP address of a private address of an interface.
pub fn elastic_of(state: &State, interface: NetworkInterfaceId, private: Ipv4Addr) -> Option<&Address> {
    let stands_for = |address: &&std::sync::Arc<Address>| {
        address.association.is_some_and(|a| a.interface == interface && a.private_address == private)
    };
    state.addresses.values().find(stands_for).map(AsRef::as_ref)
}

pub(crate) fn associate_address(
    txn: &mut Txn,
    id: AllocationId,
    interface: NetworkInterfaceId,
    private_address: Option<Ipv4Addr>,
    allow_reassociation: bool,
) -> Result<(), ModelError> {
    let address = txn.get::<Address>(id)?;
    let found = txn.get::<NetworkInterface>(interface)?;
    // NAT gateways and load balancers keep the addresses that they were made with.
    if found.kind.is_requester_managed() {
        return Err(ModelError::InterfaceManaged { interface });
    }
    let private_address = private_address.unwrap_or_else(|| found.primary_address());
    if !found.private_addresses.iter().any(|x| x.address == private_address) {
        return Err(ModelError::AddressNotAssigned { address: private_address.into(), interface });
    }
    if internet_gateway_of(&txn.state, found.vpc).is_none() {
        return Err(ModelError::VpcWithoutGateway { vpc: found.vpc });
    }
    if let Some(current) = address.association {
        if (current.interface, current.private_address) == (interface, private_address) {
            return Ok(());
        }
        if !allow_reassociation || is_managed(txn, current.interface) {
            return Err(ModelError::AddressAssociated { allocation: id, interface: current.interface });
        }
    }
    let other = elastic_of(&txn.state, interface, private_address).map(|other| other.id);
    if let Some(other) = other {
        if !allow_reassociation {
            return Err(ModelError::AddressAssociated { allocation: other, interface });
        }
        txn.update::<Address>(other, |address| address.association = None)?;
    }
    // "If the instance already has a public address, it is released."
    if found.primary_address() == private_address {
        release_automatic(txn, interface)?;
    }
    let association = AddressAssociation {
        id: AddressAssociationId::from_number(txn.id_number()),
        interface,
        private_address,
    };
    txn.update::<Address>(id, |address| address.association = Some(association))
}

fn is_managed(txn: &Txn, interface: NetworkInterfaceId) -> bool {
    let found = txn.state.network_interfaces.get(&interface);
    found.is_some_and(|interface| interface.kind.is_requester_managed())
}

/// Gives an automatic public address back to the pool.
pub(crate) fn release_automatic(txn: &mut Txn, interface: NetworkInterfaceId) -> Result<(), ModelError> {
    let Some(public) = txn.get::<NetworkInterface>(interface)?.automatic_public_address else {
        return Ok(());
    };
    txn.state.public_addresses.remove(&public);
    txn.update::<NetworkInterface>(interface, |interface| interface.automatic_public_address = None)
}

pub(crate) fn disassociate_address(
    txn: &mut Txn,
    association: AddressAssociationId,
) -> Result<(), ModelError> {
    let found = txn.state.visible::<Address>(txn.account).find_map(|address| {
        let current = address.association.filter(|current| current.id == association)?;
        Some((address.id, current))
    });
    let (id, current) = found.ok_or_else(|| ModelError::AssociationNotFound(association.to_string()))?;
    if is_managed(txn, current.interface) {
        return Err(ModelError::InterfaceManaged { interface: current.interface });
    }
    txn.update::<Address>(id, |address| address.association = None)
}

/// How many NAT gateways of the account live in a zone.
fn live_in_zone(txn: &Txn, zone: &str) -> usize {
    let counts = |gateway: &&std::sync::Arc<NatGateway>| {
        gateway.state.is_live() && txn.get::<Subnet>(gateway.subnet).is_ok_and(|subnet| subnet.zone == zone)
    };
    txn.state.visible::<NatGateway>(txn.account).filter(counts).count()
}

pub(crate) fn create_nat_gateway(
    txn: &mut Txn,
    subnet: SubnetId,
    allocation: Option<AllocationId>,
    private_address: Option<Ipv4Addr>,
    tags: &TagSet,
) -> Result<(), ModelError> {
    let found = txn.get::<Subnet>(subnet)?;
    forget_deleted(txn)?;
    txn.within(Quota::NatGateways, |txn| live_in_zone(txn, &found.zone) + 1)?;
    let public = match allocation {
        None => None,
        Some(id) => {
            let address = txn.get::<Address>(id)?;
            if let Some(association) = address.association {
                return Err(ModelError::AddressAssociated {
                    allocation: id,
                    interface: association.interface,
                });
            }
            if internet_gateway_of(&txn.state, found.vpc).is_none() {
                return Err(ModelError::VpcWithoutGateway { vpc: found.vpc });
            }
            Some(address.public_address)
        }
    };
    let id = txn.mint::<NatGateway>(NatGatewayId::from_number)?;
    let tags = tag::collect(tags)?;
    let interface = crate::interface::insert(
        txn,
        NewInterface {
            subnet,
            description: format!("Interface for NAT Gateway {id}"),
            private_address,
            secondary_addresses: Vec::new(),
            secondary_count: 0,
            groups: Some(Vec::new()),
            kind: InterfaceKind::NatGateway,
            tags: Vec::new(),
        },
    )?;
    let attachment = Attachment {
        id: AttachmentId::from_number(txn.id_number()),
        instance: None,
        device_index: 1,
        delete_on_termination: false,
        attached_at: txn.at,
    };
    txn.update::<NetworkInterface>(interface, |interface| {
        interface.attachment = Some(attachment);
        interface.source_dest_check = false;
    })?;
    let private_address = txn.get::<NetworkInterface>(interface)?.primary_address();
    if let Some(allocation) = allocation {
        let association = AddressAssociation {
            id: AddressAssociationId::from_number(txn.id_number()),
            interface,
            private_address,
        };
        txn.update::<Address>(allocation, |address| address.association = Some(association))?;
    }
    txn.insert(NatGateway {
        id,
        owner: txn.account,
        vpc: found.vpc,
        subnet,
        interface: Some(interface),
        private_address,
        allocation,
        public_address: public,
        state: NatGatewayState::Pending,
        created_at: txn.at,
        deleted_at: None,
        tags,
    });
    txn.events.rotate_right(1);
    Ok(())
}

/// Deleted NAT gateways are shown for an hour ("Delete a NAT gateway"); they go when the account makes a new one.
fn forget_deleted(txn: &mut Txn) -> Result<(), ModelError> {
    let now = txn.at.0;
    let old = |gateway: &&std::sync::Arc<NatGateway>| {
        gateway.deleted_at.is_some_and(|at| now.saturating_sub(at.0) > DELETED_NAT_GATEWAY_SHOWN_MILLISECONDS)
    };
    let gone: Vec<_> = txn.state.visible::<NatGateway>(txn.account).filter(old).map(|g| g.id).collect();
    gone.into_iter().try_for_each(|id| txn.remove::<NatGateway>(id).map(|_| ()))
}

pub(crate) fn delete_nat_gateway(txn: &mut Txn, id: NatGatewayId) -> Result<(), ModelError> {
    let gateway = txn.get::<NatGateway>(id)?;
    if !gateway.state.is_live() {
        return Ok(());
    }
    if let Some(allocation) = gateway.allocation {
        txn.update::<Address>(allocation, |address| address.association = None)?;
    }
    if let Some(interface) = gateway.interface {
        crate::interface::remove(txn, interface)?;
    }
    let deleted_at = txn.at;
    txn.update::<NatGateway>(id, |gateway| {
        gateway.state = NatGatewayState::Deleted;
        gateway.interface = None;
        gateway.deleted_at = Some(deleted_at);
    })
}

/// The data plane reports that it knows the gateway.
pub(crate) fn nat_gateway_ready(txn: &mut Txn, id: NatGatewayId) -> Result<(), ModelError> {
    if txn.get::<NatGateway>(id)?.state == NatGatewayState::Pending {
        txn.update::<NatGateway>(id, |gateway| gateway.state = NatGatewayState::Available)?;
    }
    Ok(())
}
