//! Security groups: stateful allow rules on interfaces.
//!
//! Rules from "Security group rules" in the VPC user guide.

use imbl::OrdMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::prefix_list::PrefixList;
use crate::quota::Quota;
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// A security group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// Whose it is.
    pub owner: AccountId,
    /// The VPC that it is part of.
    pub vpc: VpcId,
    /// Its name, unique in the VPC. The one named `default` came with the VPC.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// What it allows.
    pub rules: OrdMap<SecurityGroupRuleId, SecurityGroupRule>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// Its id.
    pub id: SecurityGroupRuleId,
    /// Which way, which packets and with whom.
    pub permission: Permission,
    /// What it is for.
    pub description: String,
    /// What people wrote on it.
    pub tags: Tags,
}

/// Which way, which packets and with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Permission {
    /// Whether it is about packets that leave the interface.
    pub egress: bool,
    /// Which packets.
    pub traffic: Traffic,
    /// With whom.
    pub peer: Peer,
}

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Traffic {
    /// All of them.
    All,
    /// TCP to these destination ports, both ends included.
    Tcp(u16, u16),
    /// UDP to these destination ports, both ends included.
    Udp(u16, u16),
    /// ICMP of this type and code; none means any.
    Icmp(Option<u8>, Option<u8>),
    /// Another protocol, by its number, any ports.
    Protocol(u8),
}

impl Traffic {
    /// The IP protocol number; none means any.
    pub fn protocol(self) -> Option<u8> {
        match self {
            Self::All => None,
            Self::Tcp(..) => Some(6),
            Self::Udp(..) => Some(17),
            Self::Icmp(..) => Some(1),
            Self::Protocol(number) => Some(number),
        }
    }
}

/// With whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// The addresses of a block.
    Cidr(IpNet),
    /// The interfaces of a group.
    Group(SecurityGroupId),
    /// The addresses of a prefix list.
    PrefixList(PrefixListId),
}

/// A rule as a request gives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRule {
    /// Which way, which packets and with whom.
    pub permission: Permission,
    /// What it is for.
    pub description: String,
}

/// The group that came with the VPC: lets its own members in and everything out.
pub(crate) fn insert_default(txn: &mut Txn, id: SecurityGroupId, vpc: VpcId) {
    let inward = Permission { egress: false, traffic: Traffic::All, peer: Peer::Group(id) };
    let rules = [inward, ALLOW_ALL_OUT];
    let group = SecurityGroup {
        id,
        owner: txn.account,
        vpc,
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        rules: rules.into_iter().map(|permission| new_rule(txn, permission)).collect(),
        tags: Tags::new(),
    };
    txn.insert(group);
}

/// What a new group allows until it is revoked.
const ALLOW_ALL_OUT: Permission = Permission {
    egress: true,
    traffic: Traffic::All,
    peer: Peer::Cidr(IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0))),
};

fn new_rule(txn: &mut Txn, permission: Permission) -> (SecurityGroupRuleId, SecurityGroupRule) {
    let id = SecurityGroupRuleId::from_number(txn.id_number());
    (id, SecurityGroupRule { id, permission, description: String::new(), tags: Tags::new() })
}

pub(crate) fn create(
    txn: &mut Txn,
    vpc: VpcId,
    name: String,
    description: String,
    tags: &TagSet,
) -> Result<(), ModelError> {
    txn.get::<Vpc>(vpc)?;
    let mut groups = txn.state.security_groups.values();
    if groups.any(|group| group.vpc == vpc && group.name == name) {
        return Err(ModelError::GroupNameTaken { name, vpc });
    }
    txn.room_for_one::<SecurityGroup>(Quota::SecurityGroups)?;
    let id = txn.mint::<SecurityGroup>(SecurityGroupId::from_number)?;
    let tags = tag::collect(tags)?;
    let rules = OrdMap::from_iter([new_rule(txn, ALLOW_ALL_OUT)]);
    txn.insert(SecurityGroup { id, owner: txn.account, vpc, name, description, rules, tags });
    Ok(())
}

/// What refers to a group from outside it: an interface, or a rule of another group.
pub(crate) fn referenced_from_elsewhere(state: &State, id: SecurityGroupId) -> Option<String> {
    let mut interfaces = state.network_interfaces.values();
    let interface = interfaces.find(|x| x.groups.contains(&id)).map(|x| x.id.to_string());
    let rule = || {
        let mut groups = state.security_groups.values().filter(|group| group.id != id);
        let refers = |group: &std::sync::Arc<SecurityGroup>| {
            group.rules.values().any(|rule| rule.permission.peer == Peer::Group(id))
        };
        groups.find(|group| refers(group)).map(|group| group.id.to_string())
    };
    let endpoint = || crate::endpoint::holds_group(state, id).map(|endpoint| endpoint.to_string());
    interface.or_else(endpoint).or_else(rule)
}

pub(crate) fn delete(txn: &mut Txn, id: SecurityGroupId) -> Result<(), ModelError> {
    let group = txn.get::<SecurityGroup>(id)?;
    if txn.get::<Vpc>(group.vpc)?.default_security_group == id {
        return Err(ModelError::DefaultResource(id.into()));
    }
    if let Some(used_by) = referenced_from_elsewhere(&txn.state, id) {
        return Err(ModelError::InUse { resource: id.into(), used_by });
    }
    txn.remove::<SecurityGroup>(id).map(|_| ())
}

fn check_permission(txn: &Txn, group: &SecurityGroup, permission: Permission) -> Result<(), ModelError> {
    match permission.traffic {
        Traffic::Tcp(from, to) | Traffic::Udp(from, to) if from > to => {
            return Err(ModelError::PortRange { from: from.into(), to: to.into() });
        }
        Traffic::All | Traffic::Tcp(..) | Traffic::Udp(..) | Traffic::Icmp(..) | Traffic::Protocol(_) => {}
    }
    match permission.peer {
        Peer::Cidr(cidr) if cidr.trunc() != cidr => Err(ModelError::HostBits(cidr)),
        Peer::Cidr(_) => Ok(()),
        Peer::Group(other) => {
            let other = txn.get::<SecurityGroup>(other)?;
            if other.vpc == group.vpc {
                Ok(())
            } else {
                Err(ModelError::DifferentVpcs { a: group.id.into(), b: other.id.into() })
            }
        }
        Peer::PrefixList(list) => txn.get::<PrefixList>(list).map(|_| ()),
    }
}

pub(crate) fn authorize(
    txn: &mut Txn,
    id: SecurityGroupId,
    new: Vec<NewRule>,
    tags: &TagSet,
) -> Result<(), ModelError> {
    let mut group = (*txn.get::<SecurityGroup>(id)?).clone();
    let tags = tag::collect(tags)?;
    for NewRule { permission, description } in new {
        check_permission(txn, &group, permission)?;
        if group.rules.values().any(|rule| rule.permission == permission) {
            return Err(ModelError::RuleExists { rule: format!("{permission:?}"), group: id });
        }
        check_room(txn, &group, None, permission)?;
        let rule_id = SecurityGroupRuleId::from_number(txn.id_number());
        let rule = SecurityGroupRule { id: rule_id, permission, description, tags: tags.clone() };
        group.rules.insert(rule_id, rule);
        txn.events.push(crate::Event::Created(rule_id.into()));
    }
    txn.update::<SecurityGroup>(id, |existing| *existing = group)
}

/// Refuses one more rule than the quota, which is for each direction; `instead` of one that goes, if one goes.
fn check_room(
    txn: &Txn,
    group: &SecurityGroup,
    instead: Option<SecurityGroupRuleId>,
    new: Permission,
) -> Result<(), ModelError> {
    let stays = |rule: &&SecurityGroupRule| Some(rule.id) != instead;
    txn.within(Quota::SecurityGroupRules, |txn| {
        let rules = group.rules.values().filter(stays).map(|rule| rule.permission);
        heavier_family(&txn.state, rules.filter(|rule| rule.egress == new.egress).chain([new]))
    })
}

/// How much of the quota rules of one direction use. "This quota is enforced separately for IPv4 rules and IPv6 rules":
/// it is the family that uses more of it. A group counts for both, a prefix list for both and with its size.
pub(crate) fn heavier_family(state: &State, rules: impl Iterator<Item = Permission>) -> usize {
    let of = |permission: Permission| match permission.peer {
        Peer::Cidr(IpNet::V4(_)) => (1, 0),
        Peer::Cidr(IpNet::V6(_)) => (0, 1),
        Peer::Group(_) => (1, 1),
        Peer::PrefixList(list) => {
            let weight = crate::prefix_list::weight(state, list);
            (weight, weight)
        }
    };
    let (v4, v6) = rules.map(of).fold((0, 0), |(v4, v6), (more_v4, more_v6)| (v4 + more_v4, v6 + more_v6));
    v4.max(v6)
}

/// Which rules to revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleChoice {
    /// These, by id.
    Ids(Vec<SecurityGroupRuleId>),
    /// These, by what they allow.
    Permissions(Vec<Permission>),
}

pub(crate) fn revoke(
    txn: &mut Txn,
    id: SecurityGroupId,
    egress: bool,
    choice: &RuleChoice,
) -> Result<(), ModelError> {
    let group = txn.get::<SecurityGroup>(id)?;
    let ids = match choice {
        RuleChoice::Ids(ids) => ids.clone(),
        RuleChoice::Permissions(permissions) => {
            let find = |permission: &Permission| {
                let found =
                    group.rules.values().find(|rule| rule.permission == *permission).map(|rule| rule.id);
                found.ok_or_else(|| ModelError::RuleNotFound { rule: format!("{permission:?}"), group: id })
            };
            permissions.iter().map(find).collect::<Result<_, _>>()?
        }
    };
    let missing =
        ids.iter().find(|rule| group.rules.get(*rule).is_none_or(|rule| rule.permission.egress != egress));
    if let Some(rule) = missing {
        return Err(ModelError::RuleNotFound { rule: rule.to_string(), group: id });
    }
    for rule in &ids {
        txn.events.push(crate::Event::Deleted((*rule).into()));
    }
    txn.update::<SecurityGroup>(id, |group| {
        for rule in &ids {
            group.rules.remove(rule);
        }
    })
}

pub(crate) fn modify_rule(
    txn: &mut Txn,
    id: SecurityGroupId,
    rule: SecurityGroupRuleId,
    new: NewRule,
) -> Result<(), ModelError> {
    let group = txn.get::<SecurityGroup>(id)?;
    let current = group.rules.get(&rule).filter(|current| current.permission.egress == new.permission.egress);
    if current.is_none() {
        return Err(ModelError::RuleNotFound { rule: rule.to_string(), group: id });
    }
    check_permission(txn, &group, new.permission)?;
    check_room(txn, &group, Some(rule), new.permission)?;
    let taken = group.rules.values().any(|other| other.id != rule && other.permission == new.permission);
    if taken {
        return Err(ModelError::RuleExists { rule: format!("{:?}", new.permission), group: id });
    }
    txn.update::<SecurityGroup>(id, |group| {
        if let Some(current) = group.rules.get_mut(&rule) {
            current.permission = new.permission;
            current.description = new.description;
        }
    })
}
