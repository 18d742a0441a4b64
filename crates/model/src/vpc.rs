//! VPCs: the isolated networks themselves, their address blocks and DNS attributes, and DHCP options.
//!
//! Rules from "VPC CIDR blocks" and "DNS attributes for your VPC" in the VPC user guide.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::endpoint::EndpointState;
use crate::error::ModelError;
use crate::gateway::InternetGateway;
use crate::id::*;
use crate::network_acl::NetworkAcl;
use crate::quota::Quota;
use crate::route::RouteTable;
use crate::security_group::SecurityGroup;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Whose it is.
    pub owner: AccountId,
    /// Its address blocks, the primary one first. Never empty.
    pub blocks: Vec<VpcBlock>,
    /// `enableDnsSupport`: whether the VPC's resolver answers.
    pub dns_support: bool,
    /// `enableDnsHostnames`: whether instances with public addresses get public names.
    pub dns_hostnames: bool,
    /// What DHCP tells instances.
    pub dhcp_options: DhcpOptionsId,
    /// The route table of the subnets that name none.
    pub main_route_table: RouteTableId,
    /// The link of that table to this VPC.
    pub main_association: RouteTableAssociationId,
    /// The group of the interfaces that name none.
    pub default_security_group: SecurityGroupId,
    /// The ACL of the subnets that name none.
    pub default_network_acl: NetworkAclId,
    /// Whether it is the account's default one.
    #[serde(default)]
    pub is_default: bool,
    /// What people wrote on it.
    pub tags: Tags,
}

/// One address block of a VPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcBlock {
    /// The link of the block to its VPC.
    pub association: VpcCidrAssociationId,
    /// The block.
    pub cidr: Ipv4Net,
}

impl Vpc {
    /// The first block.
    pub fn primary_cidr(&self) -> Ipv4Net {
        // INVARIANT: `blocks` is never empty.
        self.blocks.first().map(|block| block.cidr).unwrap_or_default()
    }

    /// Whether the address is inside one of the blocks.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.blocks.iter().any(|block| block.cidr.contains(&address))
    }

    /// The VPC's resolver: the base of the primary block plus two ("Amazon DNS server").
    pub fn resolver(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.primary_cidr().network()) + 2)
    }
}

/// What DHCP tells instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOptions {
    /// Its id.
    pub id: DhcpOptionsId,
    /// Whose it is.
    pub owner: AccountId,
    /// Option names and their values, such as `domain-name-servers` and `AmazonProvidedDNS`.
    pub options: BTreeMap<String, Vec<String>>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// Refuses what is not a block of /16 to /28 with clear host bits.
pub(crate) fn check_block(cidr: Ipv4Net) -> Result<(), ModelError> {
    if cidr.trunc() != cidr {
        return Err(ModelError::HostBits(cidr.into()));
    }
    if !(16..=28).contains(&cidr.prefix_len()) {
        return Err(ModelError::BlockSize { cidr, shortest: 28, longest: 16 });
    }
    Ok(())
}

/// Blocks that mean something else everywhere: this network, loopback, link-local, multicast and reserved.
fn check_unrestricted(cidr: Ipv4Net) -> Result<(), ModelError> {
    let restricted = [("0.0.0.0", 8), ("127.0.0.0", 8), ("169.254.0.0", 16), ("224.0.0.0", 3)];
    let overlaps = |(base, length): &(&str, u8)| {
        let base: Ipv4Addr = base.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        Ipv4Net::new(base, *length).is_ok_and(|block| overlap(block, cidr))
    };
    if restricted.iter().any(overlaps) { Err(ModelError::BlockRestricted { cidr }) } else { Ok(()) }
}

/// Refuses a block of a private range beside a first block of another range ("IPv4 VPC CIDR block association
/// restrictions"): a VPC that starts in 10.0.0.0/8 may not have one of 172.16.0.0/12, and so on. 198.19.0.0/16 goes
/// with nothing but itself and public blocks.
fn check_beside(primary: Ipv4Net, cidr: Ipv4Net) -> Result<(), ModelError> {
    let ranges = [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16), ([198, 19, 0, 0], 16)];
    let other_range = |(base, length): &([u8; 4], u8)| {
        let range = Ipv4Net::new(Ipv4Addr::from(*base), *length).unwrap_or_default();
        overlap(range, cidr) && !overlap(range, primary)
    };
    if ranges.iter().any(other_range) { Err(ModelError::BlockRestricted { cidr }) } else { Ok(()) }
}

/// Whether two blocks share an address.
pub fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

pub(crate) fn create(txn: &mut Txn, cidr: Ipv4Net, tags: &TagSet) -> Result<VpcId, ModelError> {
    check_block(cidr)?;
    check_unrestricted(cidr)?;
    txn.room_for_one::<Vpc>(Quota::Vpcs)?;
    let id = txn.mint::<Vpc>(VpcId::from_number)?;
    let main_route_table = txn.mint::<RouteTable>(RouteTableId::from_number)?;
    let default_security_group = txn.mint::<SecurityGroup>(SecurityGroupId::from_number)?;
    let default_network_acl = txn.mint::<NetworkAcl>(NetworkAclId::from_number)?;
    let main_association = RouteTableAssociationId::from_number(txn.id_number());
    let block = VpcBlock { association: VpcCidrAssociationId::from_number(txn.id_number()), cidr };
    let tags = tag::collect(tags)?;
    let dhcp_options = default_dhcp_options(txn)?;
    txn.insert(Vpc {
        id,
        owner: txn.account,
        blocks: vec![block],
        dns_support: true,
        dns_hostnames: false,
        dhcp_options,
        main_route_table,
        main_association,
        default_security_group,
        default_network_acl,
        is_default: false,
        tags,
    });
    crate::route::insert_table(txn, main_route_table, id, Tags::new())?;
    crate::security_group::insert_default(txn, default_security_group, id);
    crate::network_acl::insert_default(txn, default_network_acl, id);
    // The asked-for resource is reported first.
    let position = txn.events.iter().position(|e| *e == crate::Event::Created(id.into()));
    if let Some(position) = position {
        txn.events.swap(0, position);
    }
    Ok(id)
}

/// The account's default DHCP options, made with its first VPC.
fn default_dhcp_options(txn: &mut Txn) -> Result<DhcpOptionsId, ModelError> {
    let domain = domain_name(&txn.state.region.name);
    let options = BTreeMap::from([
        ("domain-name".to_owned(), vec![domain]),
        ("domain-name-servers".to_owned(), vec!["AmazonProvidedDNS".to_owned()]),
    ]);
    let known = txn.state.visible::<DhcpOptions>(txn.account).find(|o| o.options == options).map(|o| o.id);
    if let Some(id) = known {
        return Ok(id);
    }
    let id = txn.mint::<DhcpOptions>(DhcpOptionsId::from_number)?;
    txn.insert(DhcpOptions { id, owner: txn.account, options, tags: Tags::new() });
    Ok(id)
}

/// The domain of the private names of instances ("DNS hostnames" in the VPC user guide).
pub fn domain_name(region: &str) -> String {
    if region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") }
}

pub(crate) fn delete(txn: &mut Txn, id: VpcId) -> Result<(), ModelError> {
    let vpc = txn.get::<Vpc>(id)?;
    if let Some(used_by) = first_dependency(txn, &vpc) {
        return Err(ModelError::InUse { resource: id.into(), used_by });
    }
    txn.remove::<RouteTable>(vpc.main_route_table)?;
    txn.remove::<SecurityGroup>(vpc.default_security_group)?;
    txn.remove::<NetworkAcl>(vpc.default_network_acl)?;
    txn.remove::<Vpc>(id)?;
    Ok(())
}

/// What keeps a VPC from going: anything in it that did not come with it.
fn first_dependency(txn: &Txn, vpc: &Vpc) -> Option<String> {
    let state = &txn.state;
    let id = vpc.id;
    let subnet = || state.subnets.values().find(|x| x.vpc == id).map(|x| x.id.to_string());
    let gateway =
        || state.visible::<InternetGateway>(vpc.owner).find(|x| x.vpc == Some(id)).map(|x| x.id.to_string());
    let table = || {
        let mut tables = state.route_tables.values();
        tables.find(|x| x.vpc == id && x.id != vpc.main_route_table).map(|x| x.id.to_string())
    };
    let group = || {
        let mut groups = state.security_groups.values();
        groups.find(|x| x.vpc == id && x.id != vpc.default_security_group).map(|x| x.id.to_string())
    };
    let acl = || {
        let mut acls = state.network_acls.values();
        acls.find(|x| x.vpc == id && x.id != vpc.default_network_acl).map(|x| x.id.to_string())
    };
    // A deleted endpoint is only remembered.
    let endpoint = || {
        let mut endpoints = state.vpc_endpoints.values();
        endpoints.find(|x| x.vpc == id && x.state != EndpointState::Deleted).map(|x| x.id.to_string())
    };
    let peering = || crate::peering::holds_vpc(state, id).map(|peering| peering.to_string());
    let transit = || crate::transit::holds_vpc(state, id).map(|attachment| attachment.to_string());
    let vpn = || crate::vpn::gateway_of(state, id).map(|gateway| gateway.to_string());
    let referenced = || crate::security_group::referenced_from_elsewhere(state, vpc.default_security_group);
    subnet()
        .or_else(gateway)
        .or_else(endpoint)
        .or_else(peering)
        .or_else(transit)
        .or_else(vpn)
        .or_else(table)
        .or_else(group)
        .or_else(acl)
        .or_else(referenced)
}

pub(crate) fn set_dns(
    txn: &mut Txn,
    id: VpcId,
    support: Option<bool>,
    hostnames: Option<bool>,
) -> Result<(), ModelError> {
    txn.update::<Vpc>(id, |vpc| {
        vpc.dns_support = support.unwrap_or(vpc.dns_support);
        vpc.dns_hostnames = hostnames.unwrap_or(vpc.dns_hostnames);
    })
}

pub(crate) fn associate_block(txn: &mut Txn, id: VpcId, cidr: Ipv4Net) -> Result<(), ModelError> {
    let vpc = txn.get::<Vpc>(id)?;
    check_block(cidr)?;
    check_unrestricted(cidr)?;
    check_beside(vpc.primary_cidr(), cidr)?;
    if let Some(other) = vpc.blocks.iter().find(|block| overlap(block.cidr, cidr)) {
        return Err(ModelError::BlockOverlap { cidr, other: other.cidr });
    }
    crate::peering::check_new_block(txn, id, cidr)?;
    // "The CIDR block must not be the same or larger than a destination CIDR range in a route in any of the VPC
    // route tables."
    for table in txn.state.route_tables.values().filter(|table| table.vpc == id) {
        if let Some(destination) = table.destination_within(cidr) {
            return Err(ModelError::RouteShadowsLocal { destination, local: cidr });
        }
    }
    txn.within(Quota::VpcBlocks, |_| vpc.blocks.len() + 1)?;
    let block = VpcBlock { association: VpcCidrAssociationId::from_number(txn.id_number()), cidr };
    txn.update::<Vpc>(id, |vpc| vpc.blocks.push(block))
}

pub(crate) fn disassociate_block(txn: &mut Txn, association: VpcCidrAssociationId) -> Result<(), ModelError> {
    let found = txn.state.visible::<Vpc>(txn.account).find_map(|vpc| {
        let index = vpc.blocks.iter().position(|block| block.association == association)?;
        Some((vpc.id, index, *vpc.blocks.get(index)?))
    });
    let (id, index, block) = found.ok_or_else(|| ModelError::AssociationNotFound(association.to_string()))?;
    if index == 0 {
        return Err(ModelError::PrimaryBlock { cidr: block.cidr, vpc: id });
    }
    let used = txn.state.subnets.values().any(|subnet| subnet.vpc == id && overlap(subnet.cidr, block.cidr));
    if used {
        return Err(ModelError::BlockHasSubnets { cidr: block.cidr, vpc: id });
    }
    txn.update::<Vpc>(id, |vpc| vpc.blocks.retain(|block| block.association != association))
}

pub(crate) fn create_dhcp_options(
    txn: &mut Txn,
    options: BTreeMap<String, Vec<String>>,
    tags: &TagSet,
) -> Result<(), ModelError> {
    txn.room_for_one::<DhcpOptions>(Quota::DhcpOptions)?;
    let id = txn.mint::<DhcpOptions>(DhcpOptionsId::from_number)?;
    let tags = tag::collect(tags)?;
    txn.insert(DhcpOptions { id, owner: txn.account, options, tags });
    Ok(())
}

pub(crate) fn associate_dhcp_options(
    txn: &mut Txn,
    id: VpcId,
    options: DhcpOptionsId,
) -> Result<(), ModelError> {
    txn.get::<DhcpOptions>(options)?;
    txn.update::<Vpc>(id, |vpc| vpc.dhcp_options = options)
}

pub(crate) fn delete_dhcp_options(txn: &mut Txn, id: DhcpOptionsId) -> Result<(), ModelError> {
    txn.get::<DhcpOptions>(id)?;
    if let Some(vpc) = txn.state.vpcs.values().find(|vpc| vpc.dhcp_options == id) {
        return Err(ModelError::InUse { resource: id.into(), used_by: vpc.id.to_string() });
    }
    txn.remove::<DhcpOptions>(id).map(|_| ())
}
