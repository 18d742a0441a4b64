//! Network interfaces: the doors of a subnet, each with addresses, groups and what it is plugged into.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::gateway::Address;
use crate::id::*;
use crate::instance::Instance;
use crate::quota::Quota;
use crate::security_group::SecurityGroup;
use crate::subnet::{Subnet, pick_address};
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// How many private addresses an interface may have. AWS's limit is the instance type's, 50 at most.
pub const MAX_PRIVATE_ADDRESSES: usize = 50;

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInterface {
    /// Its id.
    pub id: NetworkInterfaceId,
    /// Whose it is.
    pub owner: AccountId,
    /// The VPC of its subnet.
    pub vpc: VpcId,
    /// Where it is.
    pub subnet: SubnetId,
    /// Its hardware address.
    pub mac: Mac,
    /// What it is for.
    pub description: String,
    /// Its addresses, the primary one first. Never empty.
    pub private_addresses: Vec<PrivateAddress>,
    /// Its security groups.
    pub groups: Vec<SecurityGroupId>,
    /// Whether packets must be from or to one of its own addresses.
    pub source_dest_check: bool,
    /// What made it.
    pub kind: InterfaceKind,
    /// What it is plugged into.
    pub attachment: Option<Attachment>,
    /// A public address that came with the launch of its instance.
    pub automatic_public_address: Option<Ipv4Addr>,
    /// Whether its instance was launched with a public address, so that each start gives it another one.
    #[serde(default)]
    pub public_address_at_launch: bool,
    /// What people wrote on it.
    pub tags: Tags,
}

impl NetworkInterface {
    /// The first address.
    pub fn primary_address(&self) -> Ipv4Addr {
        // INVARIANT: `private_addresses` is never empty.
        self.private_addresses.first().map_or(Ipv4Addr::UNSPECIFIED, |private| private.address)
    }
}

/// One address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateAddress {
    /// The address.
    pub address: Ipv4Addr,
}

/// What made an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceKind {
    /// A person, or the launch of an instance.
    Interface,
    /// A NAT gateway.
    NatGateway,
    /// An interface endpoint.
    VpcEndpoint(VpcEndpointId),
    /// A network load balancer.
    LoadBalancer,
    /// An inbound endpoint of Route 53 Resolver.
    ResolverEndpoint(ResolverEndpointId),
}

impl InterfaceKind {
    /// Whether AWS made it, so that people cannot change it.
    pub fn is_requester_managed(self) -> bool {
        match self {
            Self::Interface => false,
            Self::NatGateway | Self::VpcEndpoint(_) | Self::LoadBalancer | Self::ResolverEndpoint(_) => true,
        }
    }
}

/// What an interface is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its id.
    pub id: AttachmentId,
    /// The instance; none for a gateway, or for somebody else's container or machine (`postern attach`).
    pub instance: Option<InstanceId>,
    /// Which of the instance's interfaces it is.
    pub device_index: u32,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
    /// Since when.
    pub attached_at: Timestamp,
}

/// What an interface is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInterface {
    /// Where it will be.
    pub subnet: SubnetId,
    /// What it is for.
    pub description: String,
    /// The primary address, if it was chosen.
    pub private_address: Option<Ipv4Addr>,
    /// More addresses.
    pub secondary_addresses: Vec<Ipv4Addr>,
    /// How many more that are free.
    #[serde(default)]
    pub secondary_count: usize,
    /// Its groups; none given means the VPC's default one.
    pub groups: Option<Vec<SecurityGroupId>>,
    /// What makes it.
    pub kind: InterfaceKind,
    /// Its tags.
    pub tags: TagSet,
}

/// Makes an interface and reports it.
pub(crate) fn insert(txn: &mut Txn, new: NewInterface) -> Result<NetworkInterfaceId, ModelError> {
    let subnet = txn.get::<Subnet>(new.subnet)?;
    let groups = match new.kind {
        InterfaceKind::Interface | InterfaceKind::VpcEndpoint(_) | InterfaceKind::ResolverEndpoint(_) => {
            resolve_groups(txn, subnet.vpc, new.groups)?
        }
        InterfaceKind::NatGateway => Vec::new(),
        // A load balancer may have none, and then no default one either.
        InterfaceKind::LoadBalancer if new.groups.as_ref().is_none_or(Vec::is_empty) => Vec::new(),
        InterfaceKind::LoadBalancer => resolve_groups(txn, subnet.vpc, new.groups)?,
    };
    txn.room_for_one::<NetworkInterface>(Quota::Interfaces)?;
    let id = txn.mint::<NetworkInterface>(NetworkInterfaceId::from_number)?;
    check_address_count(new.secondary_addresses.len().saturating_add(new.secondary_count).saturating_add(1))?;
    let secondary = new.secondary_addresses.into_iter().map(Some);
    let chosen = [new.private_address].into_iter().chain(secondary);
    let chosen = chosen.chain(std::iter::repeat_n(None, new.secondary_count));
    let mut private_addresses = Vec::new();
    for wanted in chosen {
        let address = pick_address(&txn.state, &subnet, wanted)?;
        txn.state.private_addresses.insert((subnet.vpc, address.into()), id);
        private_addresses.push(PrivateAddress { address });
    }
    let mac = mac_of(txn);
    let tags = tag::collect(&new.tags)?;
    txn.insert(NetworkInterface {
        id,
        owner: txn.account,
        vpc: subnet.vpc,
        subnet: subnet.id,
        mac,
        description: new.description,
        private_addresses,
        groups,
        source_dest_check: true,
        kind: new.kind,
        attachment: None,
        automatic_public_address: None,
        public_address_at_launch: false,
        tags,
    });
    Ok(id)
}

fn check_address_count(count: usize) -> Result<(), ModelError> {
    if count > MAX_PRIVATE_ADDRESSES {
        return Err(ModelError::Limit {
            what: "private addresses of an interface",
            limit: MAX_PRIVATE_ADDRESSES,
        });
    }
    Ok(())
}

/// A locally administered unicast address, starting `02` as AWS's do.
pub(crate) fn mac_of(txn: &mut Txn) -> Mac {
    let [a, b, c, d, e, ..] = txn.next_random().to_le_bytes();
    Mac([0x02, a, b, c, d, e])
}

/// The groups, each of the VPC and named once; none given means the default one, for an interface has at least one.
pub(crate) fn resolve_groups(
    txn: &Txn,
    vpc: VpcId,
    groups: Option<Vec<SecurityGroupId>>,
) -> Result<Vec<SecurityGroupId>, ModelError> {
    let given = groups.unwrap_or_default();
    if given.is_empty() {
        return Ok(vec![txn.get::<Vpc>(vpc)?.default_security_group]);
    }
    let mut groups = Vec::with_capacity(given.len());
    for id in given {
        if txn.get::<SecurityGroup>(id)?.vpc != vpc {
            return Err(ModelError::DifferentVpcs { a: id.into(), b: vpc.into() });
        }
        if !groups.contains(&id) {
            groups.push(id);
        }
    }
    txn.within(Quota::GroupsPerInterface, |_| groups.len())?;
    Ok(groups)
}

/// Makes an interface for a person: those of gateways come with the gateway alone.
pub(crate) fn create(txn: &mut Txn, new: NewInterface) -> Result<(), ModelError> {
    insert(txn, NewInterface { kind: InterfaceKind::Interface, ..new }).map(|_| ())
}

/// The interface, if a person may change it.
fn changeable(txn: &Txn, id: NetworkInterfaceId) -> Result<std::sync::Arc<NetworkInterface>, ModelError> {
    let interface = txn.get::<NetworkInterface>(id)?;
    if interface.kind.is_requester_managed() {
        return Err(ModelError::InterfaceManaged { interface: id });
    }
    Ok(interface)
}

pub(crate) fn delete(txn: &mut Txn, id: NetworkInterfaceId) -> Result<(), ModelError> {
    let interface = txn.get::<NetworkInterface>(id)?;
    if let Some(attachment) = interface.attachment {
        let used_by = attachment.instance.map_or_else(|| attachment.id.to_string(), |i| i.to_string());
        return Err(ModelError::InUse { resource: id.into(), used_by });
    }
    remove(txn, id)
}

/// Removes an interface, whatever it is plugged into, and lets go of its addresses.
pub(crate) fn remove(txn: &mut Txn, id: NetworkInterfaceId) -> Result<(), ModelError> {
    crate::gateway::release_automatic(txn, id)?;
    release_elastic(txn, id, None)?;
    let interface = txn.remove::<NetworkInterface>(id)?;
    for private in &interface.private_addresses {
        txn.state.private_addresses.remove(&(interface.vpc, private.address.into()));
    }
    Ok(())
}

/// Lets go of the Elastic IP addresses of an interface, or of one of its addresses.
fn release_elastic(
    txn: &mut Txn,
    id: NetworkInterfaceId,
    private: Option<Ipv4Addr>,
) -> Result<(), ModelError> {
    let of_interface = |address: &&std::sync::Arc<Address>| {
        address
            .association
            .is_some_and(|a| a.interface == id && private.is_none_or(|p| p == a.private_address))
    };
    let elastic: Vec<_> = txn.state.addresses.values().filter(of_interface).map(|a| a.id).collect();
    for allocation in elastic {
        txn.update::<Address>(allocation, |address| address.association = None)?;
    }
    Ok(())
}

pub(crate) fn attach(
    txn: &mut Txn,
    id: NetworkInterfaceId,
    instance: Option<InstanceId>,
    device_index: u32,
) -> Result<(), ModelError> {
    let interface = txn.get::<NetworkInterface>(id)?;
    if let Some(attachment) = interface.attachment {
        return Err(ModelError::InUse { resource: id.into(), used_by: attachment.id.to_string() });
    }
    if let Some(instance) = instance {
        let found = txn.get::<Instance>(instance)?;
        if !found.state.is_live() {
            let resource = instance.into();
            return Err(ModelError::WrongState {
                resource,
                state: found.state.name(),
                needed: "running or stopped",
            });
        }
        if found.vpc != interface.vpc {
            return Err(ModelError::DifferentVpcs { a: id.into(), b: instance.into() });
        }
        // "You can attach a network interface to any instance in the same Availability Zone."
        if txn.get::<Subnet>(interface.subnet)?.zone != txn.get::<Subnet>(found.subnet)?.zone {
            return Err(ModelError::DifferentZones { a: id.into(), b: instance.into() });
        }
        let taken = found
            .interfaces(&txn.state)
            .any(|x| x.attachment.is_some_and(|a| a.device_index == device_index));
        if taken {
            return Err(ModelError::DeviceIndexTaken { instance, index: device_index });
        }
    }
    let attachment = Attachment {
        id: AttachmentId::from_number(txn.id_number()),
        instance,
        device_index,
        delete_on_termination: false,
        attached_at: txn.at,
    };
    txn.update::<NetworkInterface>(id, |interface| interface.attachment = Some(attachment))
}

/// The interface that an attachment belongs to.
fn by_attachment(
    txn: &Txn,
    attachment: AttachmentId,
) -> Result<(NetworkInterfaceId, Attachment), ModelError> {
    let mut interfaces = txn.state.visible::<NetworkInterface>(txn.account);
    let found = interfaces.find_map(|interface| {
        let current = interface.attachment.filter(|current| current.id == attachment)?;
        Some((interface.id, current))
    });
    found.ok_or(ModelError::AttachmentNotFound(attachment))
}

pub(crate) fn detach(txn: &mut Txn, attachment: AttachmentId) -> Result<(), ModelError> {
    let (id, current) = by_attachment(txn, attachment)?;
    changeable(txn, id)?;
    if let (Some(instance), 0) = (current.instance, current.device_index) {
        return Err(ModelError::PrimaryInterface(instance));
    }
    txn.update::<NetworkInterface>(id, |interface| interface.attachment = None)
}

/// What can be changed of an interface, one thing at a time as in AWS's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceChange {
    /// What it is for.
    Description(String),
    /// All its groups.
    Groups(Vec<SecurityGroupId>),
    /// Whether packets must be from or to one of its own addresses.
    SourceDestCheck(bool),
    /// Whether it goes with its instance.
    DeleteOnTermination(AttachmentId, bool),
}

pub(crate) fn modify(
    txn: &mut Txn,
    id: NetworkInterfaceId,
    change: InterfaceChange,
) -> Result<(), ModelError> {
    let interface = changeable(txn, id)?;
    match change {
        InterfaceChange::Description(text) => txn.update::<NetworkInterface>(id, |x| x.description = text),
        InterfaceChange::SourceDestCheck(on) => {
            txn.update::<NetworkInterface>(id, |x| x.source_dest_check = on)
        }
        InterfaceChange::Groups(groups) => {
            let groups = resolve_groups(txn, interface.vpc, Some(groups))?;
            txn.update::<NetworkInterface>(id, |x| x.groups = groups)
        }
        InterfaceChange::DeleteOnTermination(attachment, on) => {
            if interface.attachment.is_none_or(|current| current.id != attachment) {
                return Err(ModelError::AttachmentNotFound(attachment));
            }
            txn.update::<NetworkInterface>(id, |x| {
                if let Some(attachment) = &mut x.attachment {
                    attachment.delete_on_termination = on;
                }
            })
        }
    }
}

pub(crate) fn assign_addresses(
    txn: &mut Txn,
    id: NetworkInterfaceId,
    wanted: &[Ipv4Addr],
    count: usize,
) -> Result<(), ModelError> {
    let interface = changeable(txn, id)?;
    let subnet = txn.get::<Subnet>(interface.subnet)?;
    check_address_count(
        interface.private_addresses.len().saturating_add(wanted.len()).saturating_add(count),
    )?;
    let chosen = wanted.iter().copied().map(Some).chain(std::iter::repeat_n(None, count));
    let mut added = Vec::new();
    for wanted in chosen {
        let address = pick_address(&txn.state, &subnet, wanted)?;
        txn.state.private_addresses.insert((subnet.vpc, address.into()), id);
        added.push(PrivateAddress { address });
    }
    txn.update::<NetworkInterface>(id, |interface| interface.private_addresses.extend(added))
}

pub(crate) fn unassign_addresses(
    txn: &mut Txn,
    id: NetworkInterfaceId,
    addresses: &[Ipv4Addr],
) -> Result<(), ModelError> {
    let interface = changeable(txn, id)?;
    for address in addresses {
        // The primary address stays.
        if !interface.private_addresses.iter().skip(1).any(|private| private.address == *address) {
            return Err(ModelError::AddressNotAssigned { address: (*address).into(), interface: id });
        }
        release_elastic(txn, id, Some(*address))?;
        txn.state.private_addresses.remove(&(interface.vpc, (*address).into()));
    }
    txn.update::<NetworkInterface>(id, |interface| {
        interface.private_addresses.retain(|private| !addresses.contains(&private.address));
    })
}
