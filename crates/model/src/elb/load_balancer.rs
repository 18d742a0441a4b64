//! Load balancers: a name, zones with an interface each, security groups.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::LoadBalancerAttributes;
use super::listener::{self, Listener};
use crate::error::ModelError;
use crate::gateway::{Address, AddressAssociation, internet_gateway_of};
use crate::id::*;
use crate::interface::{Attachment, InterfaceKind, NetworkInterface, NewInterface};
use crate::quota::Quota;
use crate::security_group::SecurityGroup;
use crate::state::State;
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// How many zones a load balancer may have: as many as any region has.
pub const MAX_ZONES: usize = 16;

/// A network load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its id.
    pub id: LoadBalancerId,
    /// Whose it is.
    pub owner: AccountId,
    /// Its name, the account's only one.
    pub name: String,
    /// Whether its name gives public addresses.
    pub scheme: Scheme,
    /// The VPC of its subnets.
    pub vpc: VpcId,
    /// Where it takes connections, by the names of the zones. Never empty.
    pub zones: Vec<LoadBalancerZone>,
    /// Its security groups. One that was made without never gets any.
    pub groups: Vec<SecurityGroupId>,
    /// Whether they filter what comes through endpoints too.
    pub enforce_on_endpoints: bool,
    /// What can be set of it.
    pub attributes: LoadBalancerAttributes,
    /// How far it is.
    pub state: LoadBalancerState,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

impl LoadBalancer {
    /// Its name in DNS: `name-id.elb.region.amazonaws.com`.
    pub fn dns_name(&self, region: &str) -> String {
        format!("{}-{:016x}.elb.{region}.amazonaws.com", self.name, self.id.number())
    }

    /// Its listeners.
    pub fn listeners<'a>(
        &self,
        state: &'a State,
    ) -> impl Iterator<Item = &'a std::sync::Arc<Listener>> + use<'a> {
        let id = self.id;
        state.listeners.values().filter(move |listener| listener.load_balancer == id)
    }
}

/// Who a load balancer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// Whoever reaches its private addresses.
    Internal,
    /// The internet too.
    InternetFacing,
}

/// How far a load balancer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadBalancerState {
    /// Not yet known to the data plane.
    Provisioning,
    /// Working.
    Active,
}

/// A load balancer in one zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancerZone {
    /// The zone's name.
    pub zone: String,
    /// Where its interface is.
    pub subnet: SubnetId,
    /// Its interface.
    pub interface: NetworkInterfaceId,
    /// The interface's address.
    pub address: Ipv4Addr,
    /// Its Elastic IP address, if it was given one.
    pub allocation: Option<AllocationId>,
}

/// How a load balancer is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLoadBalancer {
    /// Its name.
    pub name: String,
    /// Who it will be for.
    pub scheme: Scheme,
    /// Where it will take connections.
    pub zones: Vec<NewLoadBalancerZone>,
    /// Its security groups.
    pub groups: Vec<SecurityGroupId>,
    /// Its tags.
    pub tags: TagSet,
}

/// A zone that a load balancer is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewLoadBalancerZone {
    /// The subnet that says which zone, and that its interface will be in.
    pub subnet: SubnetId,
    /// Its address, if it was chosen.
    pub address: Option<Ipv4Addr>,
    /// Its Elastic IP address; only for the internet.
    pub allocation: Option<AllocationId>,
}

/// Names have 1 to 32 letters, digits and hyphens, none at an end, and do not begin like AWS's own ("CreateLoadBalancer",
/// "CreateTargetGroup").
pub(super) fn check_name(kind: &'static str, name: &str) -> Result<(), ModelError> {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let ends = name.starts_with('-') || name.ends_with('-') || name.starts_with("internal-");
    if name.is_empty() || name.len() > 32 || !letters || ends {
        return Err(ModelError::BalancingName { kind, name: name.to_owned() });
    }
    Ok(())
}

pub(super) fn create(txn: &mut Txn, new: NewLoadBalancer) -> Result<(), ModelError> {
    check_name("load balancer", &new.name)?;
    if txn.state.visible::<LoadBalancer>(txn.account).any(|other| other.name == new.name) {
        return Err(ModelError::BalancingNameTaken { kind: "load balancer", name: new.name });
    }
    let vpc = check_zones(txn, &new.zones, new.scheme, None)?;
    let groups = check_groups(txn, vpc, new.groups)?;
    txn.room_for_one::<LoadBalancer>(Quota::LoadBalancers)?;
    let id = txn.mint::<LoadBalancer>(LoadBalancerId::from_number)?;
    let tags = tag::collect(&new.tags)?;
    txn.insert(LoadBalancer {
        id,
        owner: txn.account,
        name: new.name,
        scheme: new.scheme,
        vpc,
        zones: Vec::new(),
        groups,
        enforce_on_endpoints: true,
        attributes: LoadBalancerAttributes::default(),
        state: LoadBalancerState::Provisioning,
        created_at: txn.at,
        tags,
    });
    new.zones.into_iter().try_for_each(|zone| add_zone(txn, id, &zone))
}

/// The VPC of all the subnets, each in a zone of its own.
fn check_zones(
    txn: &Txn,
    zones: &[NewLoadBalancerZone],
    scheme: Scheme,
    vpc: Option<VpcId>,
) -> Result<VpcId, ModelError> {
    if zones.len() > MAX_ZONES {
        return Err(ModelError::Limit { what: "zones of a load balancer", limit: MAX_ZONES });
    }
    let (mut vpc, mut seen) = (vpc, BTreeSet::new());
    for zone in zones {
        let subnet = txn.get::<Subnet>(zone.subnet)?;
        let expected = *vpc.get_or_insert(subnet.vpc);
        if subnet.vpc != expected {
            return Err(ModelError::DifferentVpcs { a: subnet.id.into(), b: expected.into() });
        }
        if !seen.insert(subnet.zone.clone()) {
            return Err(ModelError::ZoneTwice { subnet: subnet.id, zone: subnet.zone.clone() });
        }
        match (scheme, zone.allocation) {
            (Scheme::Internal, Some(allocation)) => {
                return Err(ModelError::AddressNotForInternal { allocation });
            }
            // A chosen private address is for those that have no public one.
            (Scheme::InternetFacing, _) if zone.address.is_some() => {
                return Err(ModelError::PrivateAddressNotForInternet { subnet: subnet.id });
            }
            (Scheme::Internal, None) => {}
            (Scheme::InternetFacing, _) => {
                if internet_gateway_of(&txn.state, subnet.vpc).is_none() {
                    return Err(ModelError::VpcWithoutGateway { vpc: subnet.vpc });
                }
            }
        }
    }
    vpc.filter(|_| !zones.is_empty()).ok_or(ModelError::NoZones)
}

/// The groups, each of the VPC and named once.
fn check_groups(
    txn: &Txn,
    vpc: VpcId,
    given: Vec<SecurityGroupId>,
) -> Result<Vec<SecurityGroupId>, ModelError> {
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

fn add_zone(txn: &mut Txn, id: LoadBalancerId, zone: &NewLoadBalancerZone) -> Result<(), ModelError> {
    let balancer = txn.get::<LoadBalancer>(id)?;
    let subnet = txn.get::<Subnet>(zone.subnet)?;
    let interface = crate::interface::insert(
        txn,
        NewInterface {
            subnet: zone.subnet,
            description: format!("ELB net/{}/{:016x}", balancer.name, id.number()),
            private_address: zone.address,
            secondary_addresses: Vec::new(),
            secondary_count: 0,
            groups: Some(balancer.groups.clone()),
            kind: InterfaceKind::LoadBalancer,
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
    txn.update::<NetworkInterface>(interface, |interface| interface.attachment = Some(attachment))?;
    let address = txn.get::<NetworkInterface>(interface)?.primary_address();
    match (balancer.scheme, zone.allocation) {
        (Scheme::Internal, _) => {}
        (Scheme::InternetFacing, Some(allocation)) => give_elastic(txn, allocation, interface, address)?,
        (Scheme::InternetFacing, None) => crate::instance::assign_automatic(txn, interface)?,
    }
    let zone = LoadBalancerZone {
        zone: subnet.zone.clone(),
        subnet: subnet.id,
        interface,
        address,
        allocation: zone.allocation,
    };
    txn.update::<LoadBalancer>(id, |balancer| {
        balancer.zones.push(zone);
        balancer.zones.sort_by(|a, b| a.zone.cmp(&b.zone));
    })
}

fn give_elastic(
    txn: &mut Txn,
    allocation: AllocationId,
    interface: NetworkInterfaceId,
    private_address: Ipv4Addr,
) -> Result<(), ModelError> {
    let address = txn.get::<Address>(allocation)?;
    if let Some(association) = address.association {
        return Err(ModelError::AddressAssociated { allocation, interface: association.interface });
    }
    let id = AddressAssociationId::from_number(txn.id_number());
    let association = AddressAssociation { id, interface, private_address };
    txn.update::<Address>(allocation, |address| address.association = Some(association))
}

pub(super) fn set_zones(
    txn: &mut Txn,
    id: LoadBalancerId,
    wanted: Vec<NewLoadBalancerZone>,
) -> Result<(), ModelError> {
    let balancer = txn.get::<LoadBalancer>(id)?;
    check_zones(txn, &wanted, balancer.scheme, Some(balancer.vpc))?;
    let stays = |zone: &LoadBalancerZone| {
        wanted.iter().any(|new| {
            new.subnet == zone.subnet
                && new.allocation == zone.allocation
                && new.address.is_none_or(|address| address == zone.address)
        })
    };
    let (kept, gone): (Vec<_>, Vec<_>) = balancer.zones.iter().cloned().partition(stays);
    for zone in &gone {
        crate::interface::remove(txn, zone.interface)?;
    }
    txn.update::<LoadBalancer>(id, |balancer| balancer.zones.clone_from(&kept))?;
    let is_new = |zone: &&NewLoadBalancerZone| !kept.iter().any(|kept| kept.subnet == zone.subnet);
    wanted.iter().filter(is_new).try_for_each(|zone| add_zone(txn, id, zone))
}

/// "You can't associate a security group with a Network Load Balancer if you did not associate one at creation, nor
/// remove the last one" ("SetSecurityGroups").
pub(super) fn set_groups(
    txn: &mut Txn,
    id: LoadBalancerId,
    groups: Vec<SecurityGroupId>,
    enforce_on_endpoints: Option<bool>,
) -> Result<(), ModelError> {
    let balancer = txn.get::<LoadBalancer>(id)?;
    if balancer.groups.is_empty() || groups.is_empty() {
        return Err(ModelError::GroupsOfLoadBalancer {
            load_balancer: id,
            made_without: balancer.groups.is_empty(),
        });
    }
    let groups = check_groups(txn, balancer.vpc, groups)?;
    for zone in &balancer.zones {
        txn.update::<NetworkInterface>(zone.interface, |interface| interface.groups.clone_from(&groups))?;
    }
    txn.update::<LoadBalancer>(id, |balancer| {
        balancer.groups = groups;
        balancer.enforce_on_endpoints = enforce_on_endpoints.unwrap_or(balancer.enforce_on_endpoints);
    })
}

pub(super) fn delete(txn: &mut Txn, id: LoadBalancerId) -> Result<(), ModelError> {
    let balancer = txn.get::<LoadBalancer>(id)?;
    if balancer.attributes.deletion_protection {
        return Err(ModelError::DeletionProtected(id.into()));
    }
    let service = txn.state.endpoint_services.values().find(|service| service.load_balancers.contains(&id));
    if let Some(service) = service {
        return Err(ModelError::InUse { resource: id.into(), used_by: service.id.to_string() });
    }
    let listeners: Vec<_> = balancer.listeners(&txn.state).map(|listener| listener.id).collect();
    for listener in listeners {
        listener::delete(txn, listener)?;
    }
    for zone in &balancer.zones {
        crate::interface::remove(txn, zone.interface)?;
    }
    txn.remove::<LoadBalancer>(id).map(|_| ())
}

pub(super) fn active(txn: &mut Txn, id: LoadBalancerId) -> Result<(), ModelError> {
    if txn.get::<LoadBalancer>(id)?.state == LoadBalancerState::Provisioning {
        txn.update::<LoadBalancer>(id, |balancer| balancer.state = LoadBalancerState::Active)?;
    }
    Ok(())
}
