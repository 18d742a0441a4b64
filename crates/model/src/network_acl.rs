//! Network ACLs: stateless, numbered rules on subnets. The lowest number that matches decides; none means deny.
//!
//! Rules from "Network ACL rules" in the VPC user guide.

use imbl::OrdMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::quota::Quota;
use crate::security_group::Traffic;
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// The highest rule number that people may use.
pub const MAX_RULE_NUMBER: u16 = 32_766;

/// A network ACL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkAcl {
    /// Its id.
    pub id: NetworkAclId,
    /// Whose it is.
    pub owner: AccountId,
    /// The VPC that it is part of.
    pub vpc: VpcId,
    /// Rules about packets that enter its subnets, by number.
    pub ingress: OrdMap<u16, AclEntry>,
    /// Rules about packets that leave its subnets, by number.
    pub egress: OrdMap<u16, AclEntry>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclEntry {
    /// Its place in the order.
    pub number: u16,
    /// Whether it lets packets pass.
    pub allow: bool,
    /// Which packets.
    pub traffic: Traffic,
    /// From (or to) which addresses.
    pub cidr: IpNet,
}

impl NetworkAcl {
    /// The rules of one direction.
    pub fn entries(&self, egress: bool) -> &OrdMap<u16, AclEntry> {
        if egress { &self.egress } else { &self.ingress }
    }

    fn entries_mut(&mut self, egress: bool) -> &mut OrdMap<u16, AclEntry> {
        if egress { &mut self.egress } else { &mut self.ingress }
    }
}

/// The ACL that came with the VPC: lets everything pass.
pub(crate) fn insert_default(txn: &mut Txn, id: NetworkAclId, vpc: VpcId) {
    let all = AclEntry {
        number: 100,
        allow: true,
        traffic: Traffic::All,
        cidr: IpNet::V4(ipnet::Ipv4Net::default()),
    };
    let entries = OrdMap::unit(all.number, all);
    txn.insert(NetworkAcl {
        id,
        owner: txn.account,
        vpc,
        ingress: entries.clone(),
        egress: entries,
        tags: Tags::new(),
    });
}

pub(crate) fn create(txn: &mut Txn, vpc: VpcId, tags: &TagSet) -> Result<(), ModelError> {
    txn.get::<Vpc>(vpc)?;
    let id = txn.mint::<NetworkAcl>(NetworkAclId::from_number)?;
    txn.within(Quota::NetworkAcls, |txn| {
        txn.state.network_acls.values().filter(|acl| acl.vpc == vpc).count() + 1
    })?;
    let tags = tag::collect(tags)?;
    txn.insert(NetworkAcl {
        id,
        owner: txn.account,
        vpc,
        ingress: OrdMap::new(),
        egress: OrdMap::new(),
        tags,
    });
    Ok(())
}

pub(crate) fn delete(txn: &mut Txn, id: NetworkAclId) -> Result<(), ModelError> {
    let acl = txn.get::<NetworkAcl>(id)?;
    if txn.get::<Vpc>(acl.vpc)?.default_network_acl == id {
        return Err(ModelError::DefaultResource(id.into()));
    }
    if let Some(subnet) = txn.state.subnets.values().find(|subnet| subnet.network_acl == id) {
        return Err(ModelError::InUse { resource: id.into(), used_by: subnet.id.to_string() });
    }
    txn.remove::<NetworkAcl>(id).map(|_| ())
}

fn check_entry(entry: &AclEntry) -> Result<(), ModelError> {
    if !(1..=MAX_RULE_NUMBER).contains(&entry.number) {
        return Err(ModelError::RuleNumber(entry.number.into()));
    }
    match entry.traffic {
        Traffic::Tcp(from, to) | Traffic::Udp(from, to) if from > to => {
            Err(ModelError::PortRange { from: from.into(), to: to.into() })
        }
        Traffic::All | Traffic::Tcp(..) | Traffic::Udp(..) | Traffic::Icmp(..) | Traffic::Protocol(_) => {
            Ok(())
        }
    }
}

/// The entry with the host bits of its block cleared, as AWS stores it.
fn canonical(entry: AclEntry) -> AclEntry {
    AclEntry { cidr: entry.cidr.trunc(), ..entry }
}

pub(crate) fn create_entry(
    txn: &mut Txn,
    id: NetworkAclId,
    egress: bool,
    entry: AclEntry,
) -> Result<(), ModelError> {
    let acl = txn.get::<NetworkAcl>(id)?;
    check_entry(&entry)?;
    if acl.entries(egress).contains_key(&entry.number) {
        return Err(ModelError::AclEntryExists { acl: id, number: entry.number });
    }
    txn.within(Quota::NetworkAclRules, |_| acl.entries(egress).len() + 1)?;
    txn.update::<NetworkAcl>(id, |acl| {
        acl.entries_mut(egress).insert(entry.number, canonical(entry));
    })
}

pub(crate) fn replace_entry(
    txn: &mut Txn,
    id: NetworkAclId,
    egress: bool,
    entry: AclEntry,
) -> Result<(), ModelError> {
    let acl = txn.get::<NetworkAcl>(id)?;
    check_entry(&entry)?;
    if !acl.entries(egress).contains_key(&entry.number) {
        return Err(ModelError::AclEntryNotFound { acl: id, number: entry.number });
    }
    txn.update::<NetworkAcl>(id, |acl| {
        acl.entries_mut(egress).insert(entry.number, canonical(entry));
    })
}

pub(crate) fn delete_entry(
    txn: &mut Txn,
    id: NetworkAclId,
    egress: bool,
    number: u16,
) -> Result<(), ModelError> {
    let acl = txn.get::<NetworkAcl>(id)?;
    if !acl.entries(egress).contains_key(&number) {
        return Err(ModelError::AclEntryNotFound { acl: id, number });
    }
    txn.update::<NetworkAcl>(id, |acl| {
        acl.entries_mut(egress).remove(&number);
    })
}

pub(crate) fn replace_association(
    txn: &mut Txn,
    association: NetworkAclAssociationId,
    id: NetworkAclId,
) -> Result<(), ModelError> {
    let acl = txn.get::<NetworkAcl>(id)?;
    let subnet = {
        let mut subnets = txn.state.visible::<Subnet>(txn.account);
        subnets.find(|subnet| subnet.network_acl_association == association).cloned()
    };
    let subnet = subnet.ok_or_else(|| ModelError::AssociationNotFound(association.to_string()))?;
    if subnet.vpc != acl.vpc {
        return Err(ModelError::DifferentVpcs { a: id.into(), b: subnet.id.into() });
    }
    let new = NetworkAclAssociationId::from_number(txn.id_number());
    txn.update::<Subnet>(subnet.id, |subnet| {
        subnet.network_acl = id;
        subnet.network_acl_association = new;
    })
}
