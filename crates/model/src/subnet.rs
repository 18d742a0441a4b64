//! Subnets: parts of a VPC's blocks, each in one zone, with five addresses that are AWS's own.
//!
//! Rules from "Subnet CIDR blocks" in the VPC user guide.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::interface::NetworkInterface;
use crate::quota::Quota;
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::{Vpc, check_block, overlap};

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// Whose it is.
    pub owner: AccountId,
    /// The VPC that it is part of.
    pub vpc: VpcId,
    /// Its block.
    pub cidr: Ipv4Net,
    /// The name of its zone.
    pub zone: String,
    /// Whether instances launched into it get a public address.
    pub map_public_ip_on_launch: bool,
    /// The route table that was chosen for it; none means the VPC's main one.
    pub route_table: Option<(RouteTableAssociationId, RouteTableId)>,
    /// Its network ACL.
    pub network_acl: NetworkAclId,
    /// The link to that ACL.
    pub network_acl_association: NetworkAclAssociationId,
    /// Whether it is the default subnet of its zone.
    #[serde(default)]
    pub default_for_zone: bool,
    /// What people wrote on it.
    pub tags: Tags,
}

impl Subnet {
    /// The router's address: the base plus one.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()) + 1)
    }

    /// Whether this is one of the five: the first four and the last ("Subnet sizing for IPv4").
    pub fn is_reserved(&self, address: Ipv4Addr) -> bool {
        let base = u32::from(self.cidr.network());
        let offset = u32::from(address).wrapping_sub(base);
        offset < 4 || address == self.cidr.broadcast()
    }

    /// The addresses that an interface can have, lowest first.
    pub fn assignable(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let base = u32::from(self.cidr.network());
        let last = u32::from(self.cidr.broadcast());
        (base + 4..last).map(Ipv4Addr::from)
    }

    /// How many addresses are left.
    pub fn available_address_count(&self, state: &State) -> usize {
        let first = (self.vpc, self.cidr.network().into());
        let last = (self.vpc, self.cidr.broadcast().into());
        let all = 1usize << (32 - self.cidr.prefix_len());
        all.saturating_sub(5).saturating_sub(state.private_addresses.range(first..=last).count())
    }

    /// The route table that its packets follow.
    pub fn effective_route_table(&self, vpc: &Vpc) -> RouteTableId {
        self.route_table.map_or(vpc.main_route_table, |(_, table)| table)
    }
}

pub(crate) fn create(
    txn: &mut Txn,
    vpc: VpcId,
    cidr: Ipv4Net,
    zone: Option<&str>,
    tags: &TagSet,
) -> Result<SubnetId, ModelError> {
    let vpc = txn.get::<Vpc>(vpc)?;
    check_block(cidr)?;
    if !vpc.blocks.iter().any(|block| block.cidr.contains(&cidr)) {
        return Err(ModelError::BlockOutsideVpc { cidr, vpc: vpc.id });
    }
    let others = || txn.state.subnets.values().filter(|subnet| subnet.vpc == vpc.id);
    if let Some(other) = others().find(|subnet| overlap(subnet.cidr, cidr)) {
        return Err(ModelError::BlockOverlap { cidr, other: other.cidr });
    }
    txn.within(Quota::Subnets, |_| others().count() + 1)?;
    let zones = &txn.state.region.zones;
    let found = match zone {
        None => zones.first(),
        Some(wanted) => zones.iter().find(|zone| zone.name == wanted || zone.id == wanted),
    };
    let zone = match found {
        Some(zone) => zone.name.clone(),
        None => return Err(ModelError::ZoneNotFound(zone.unwrap_or_default().to_owned())),
    };
    let id = txn.mint::<Subnet>(SubnetId::from_number)?;
    let network_acl_association = NetworkAclAssociationId::from_number(txn.id_number());
    let tags = tag::collect(tags)?;
    txn.insert(Subnet {
        id,
        owner: txn.account,
        vpc: vpc.id,
        cidr,
        zone,
        map_public_ip_on_launch: false,
        route_table: None,
        network_acl: vpc.default_network_acl,
        network_acl_association,
        default_for_zone: false,
        tags,
    });
    Ok(id)
}

pub(crate) fn delete(txn: &mut Txn, id: SubnetId) -> Result<(), ModelError> {
    txn.get::<Subnet>(id)?;
    if let Some(interface) = txn.state.visible::<NetworkInterface>(txn.account).find(|x| x.subnet == id) {
        return Err(ModelError::InUse { resource: id.into(), used_by: interface.id.to_string() });
    }
    let nat_gateway = txn.state.nat_gateways.values().find(|x| x.subnet == id && x.state.is_live());
    if let Some(nat_gateway) = nat_gateway {
        return Err(ModelError::InUse { resource: id.into(), used_by: nat_gateway.id.to_string() });
    }
    if let Some(attachment) = crate::transit::holds_subnet(&txn.state, id) {
        return Err(ModelError::InUse { resource: id.into(), used_by: attachment.to_string() });
    }
    txn.remove::<Subnet>(id).map(|_| ())
}

pub(crate) fn set_map_public_ip(txn: &mut Txn, id: SubnetId, on: bool) -> Result<(), ModelError> {
    txn.update::<Subnet>(id, |subnet| subnet.map_public_ip_on_launch = on)
}

/// A free address of the subnet: the wanted one, or the lowest.
pub(crate) fn pick_address(
    state: &State,
    subnet: &Subnet,
    wanted: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, ModelError> {
    let taken = |address: Ipv4Addr| state.private_addresses.contains_key(&(subnet.vpc, address.into()));
    let Some(address) = wanted else {
        // Walks the taken addresses in order until a gap, so it costs as much as the subnet is full.
        let range = (subnet.vpc, subnet.cidr.network().into())..=(subnet.vpc, subnet.cidr.broadcast().into());
        let mut used = state.private_addresses.range(range).map(|((_, address), _)| *address).peekable();
        for candidate in subnet.assignable() {
            while used.next_if(|address| *address < std::net::IpAddr::V4(candidate)).is_some() {}
            if used.peek() != Some(&candidate.into()) {
                return Ok(candidate);
            }
        }
        return Err(ModelError::SubnetFull { subnet: subnet.id });
    };
    if !subnet.cidr.contains(&address) {
        return Err(ModelError::AddressOutsideSubnet { address: address.into(), subnet: subnet.id });
    }
    if subnet.is_reserved(address) {
        return Err(ModelError::AddressReserved { address: address.into(), subnet: subnet.id });
    }
    if taken(address) {
        return Err(ModelError::AddressInUse { address: address.into(), subnet: subnet.id });
    }
    Ok(address)
}
