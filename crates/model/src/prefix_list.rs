//! Managed prefix lists: named sets of blocks, AWS's own and customers'.
//!
//! Rules from "Consolidate and manage network CIDR blocks with managed prefix lists" in the VPC user guide.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::quota::Quota;
use crate::route::{RouteDestination, RouteTable};
use crate::security_group::{Peer, SecurityGroup, heavier_family};
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// The largest size a list may have.
pub const MAX_SIZE: u32 = 1_000;
/// How many old versions are kept for `RestoreManagedPrefixListVersion`.
pub const MAX_VERSIONS: usize = 1_000;

/// A prefix list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// Its id.
    pub id: PrefixListId,
    /// Whose it is; none means AWS's, for everybody to use.
    pub owner: Option<AccountId>,
    /// Its name. Those that start `com.amazonaws` are AWS's.
    pub name: String,
    /// Whether its blocks are IPv6.
    pub ipv6: bool,
    /// Its blocks and what each is for.
    #[serde(with = "entries_as_list")]
    pub entries: BTreeMap<IpNet, String>,
    /// How many blocks it may have.
    pub max_entries: u32,
    /// Goes up with each change of the entries.
    pub version: u64,
    /// The entries of earlier versions.
    pub history: BTreeMap<u64, Vec<(IpNet, String)>>,
    /// What people wrote on it.
    pub tags: Tags,
}

mod entries_as_list {
    use std::collections::BTreeMap;

    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(entries: &BTreeMap<IpNet, String>, to: S) -> Result<S::Ok, S::Error> {
        entries.iter().collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<IpNet, String>, D::Error> {
        Ok(Vec::<(IpNet, String)>::deserialize(from)?.into_iter().collect())
    }
}

fn check_name(name: &str) -> Result<(), ModelError> {
    if name.is_empty() || name.chars().count() > 255 || name.starts_with("com.amazonaws") {
        return Err(ModelError::PrefixListName(name.to_owned()));
    }
    Ok(())
}

fn check_entry(ipv6: bool, cidr: IpNet) -> Result<(), ModelError> {
    if cidr.trunc() != cidr || matches!(cidr, IpNet::V6(_)) != ipv6 {
        return Err(ModelError::HostBits(cidr));
    }
    Ok(())
}

/// How a list is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPrefixList {
    /// Its name.
    pub name: String,
    /// Whether its blocks are IPv6.
    pub ipv6: bool,
    /// How many blocks it may have.
    pub max_entries: u32,
    /// Its first blocks.
    pub entries: Vec<(IpNet, String)>,
    /// Its tags.
    pub tags: TagSet,
}

pub(crate) fn create(txn: &mut Txn, new: NewPrefixList) -> Result<(), ModelError> {
    check_name(&new.name)?;
    if !(1..=MAX_SIZE).contains(&new.max_entries) {
        return Err(ModelError::PrefixListSize(new.max_entries));
    }
    txn.within(Quota::PrefixLists, |txn| {
        let lists = txn.state.visible::<PrefixList>(txn.account);
        lists.filter(|list| list.owner == Some(txn.account)).count() + 1
    })?;
    let id = txn.mint::<PrefixList>(PrefixListId::from_number)?;
    let mut entries = BTreeMap::new();
    for (cidr, description) in new.entries {
        check_entry(new.ipv6, cidr)?;
        entries.insert(cidr, description);
    }
    if entries.len() > size(new.max_entries) {
        return Err(ModelError::PrefixListFull { list: id, limit: new.max_entries });
    }
    let tags = tag::collect(&new.tags)?;
    txn.insert(PrefixList {
        id,
        owner: Some(txn.account),
        name: new.name,
        ipv6: new.ipv6,
        entries,
        max_entries: new.max_entries,
        version: 1,
        history: BTreeMap::new(),
        tags,
    });
    Ok(())
}

fn size(max_entries: u32) -> usize {
    usize::try_from(max_entries).unwrap_or(usize::MAX)
}

fn own(txn: &Txn, id: PrefixListId) -> Result<std::sync::Arc<PrefixList>, ModelError> {
    let list = txn.get::<PrefixList>(id)?;
    if list.owner.is_none() { Err(ModelError::PrefixListManaged(id)) } else { Ok(list) }
}

/// What can change of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PrefixListChange {
    /// The version that the change is meant for.
    pub current_version: Option<u64>,
    /// A new name.
    pub name: Option<String>,
    /// A new size.
    pub max_entries: Option<u32>,
    /// Blocks to add or describe anew.
    pub add: Vec<(IpNet, String)>,
    /// Blocks to remove.
    pub remove: Vec<IpNet>,
}

pub(crate) fn modify(txn: &mut Txn, id: PrefixListId, change: PrefixListChange) -> Result<(), ModelError> {
    let list = own(txn, id)?;
    if let Some(name) = &change.name {
        check_name(name)?;
    }
    let entries_change = !change.add.is_empty() || !change.remove.is_empty();
    if entries_change && change.max_entries.is_some() {
        return Err(ModelError::PrefixListMixedChange);
    }
    if let Some(given) = change.current_version.filter(|given| *given != list.version) {
        return Err(ModelError::PrefixListVersion { list: id, current: list.version, given });
    }
    let mut entries = list.entries.clone();
    for cidr in &change.remove {
        if entries.remove(cidr).is_none() {
            return Err(ModelError::PrefixListEntryNotFound { list: id, cidr: *cidr });
        }
    }
    for (cidr, description) in change.add {
        check_entry(list.ipv6, cidr)?;
        entries.insert(cidr, description);
    }
    let limit = change.max_entries.unwrap_or(list.max_entries);
    if !(1..=MAX_SIZE).contains(&limit) {
        return Err(ModelError::PrefixListSize(limit));
    }
    if entries.len() > size(limit) {
        return Err(ModelError::PrefixListFull { list: id, limit });
    }
    let grows = limit > list.max_entries;
    txn.update::<PrefixList>(id, |list| {
        if entries_change {
            replace_entries(list, entries);
        }
        list.name = change.name.unwrap_or_else(|| list.name.clone());
        list.max_entries = limit;
    })?;
    if grows { check_references(txn, id) } else { Ok(()) }
}

/// How much of the quota of a route table or a security group a reference to a list uses: "the maximum number of entries
/// for the prefix list counts as the same number of rules or routes". The lists of S3 and DynamoDB weigh 1 ("AWS-managed
/// prefix list weight").
pub(crate) fn weight(state: &State, id: PrefixListId) -> usize {
    let own = state.prefix_lists.get(&id).filter(|list| list.owner.is_some());
    own.map_or(1, |list| size(list.max_entries))
}

/// A list that grew may be too much for what refers to it.
fn check_references(txn: &Txn, id: PrefixListId) -> Result<(), ModelError> {
    let state = &txn.state;
    let destination = RouteDestination::PrefixList(id);
    for table in state.visible::<RouteTable>(txn.account).filter(|t| t.routes.contains_key(&destination)) {
        txn.within(Quota::Routes, |_| {
            table.routes.keys().map(|destination| crate::route::weight(state, *destination)).sum()
        })?;
    }
    for group in state.visible::<SecurityGroup>(txn.account) {
        let rules = || group.rules.values().map(|rule| rule.permission);
        for egress in [false, true] {
            if rules().any(|rule| rule.egress == egress && rule.peer == Peer::PrefixList(id)) {
                txn.within(Quota::SecurityGroupRules, |_| {
                    heavier_family(state, rules().filter(|rule| rule.egress == egress))
                })?;
            }
        }
    }
    Ok(())
}

fn replace_entries(list: &mut PrefixList, entries: BTreeMap<IpNet, String>) {
    let old = std::mem::replace(&mut list.entries, entries);
    list.history.insert(list.version, old.into_iter().collect());
    list.version += 1;
    while list.history.len() > MAX_VERSIONS {
        list.history.pop_first();
    }
}

pub(crate) fn restore(
    txn: &mut Txn,
    id: PrefixListId,
    previous: u64,
    current: u64,
) -> Result<(), ModelError> {
    let list = own(txn, id)?;
    if current != list.version {
        return Err(ModelError::PrefixListVersion { list: id, current: list.version, given: current });
    }
    let old = list.history.get(&previous).cloned();
    let old = old.ok_or(ModelError::PrefixListNoVersion { list: id, version: previous })?;
    if old.len() > size(list.max_entries) {
        return Err(ModelError::PrefixListFull { list: id, limit: list.max_entries });
    }
    txn.update::<PrefixList>(id, |list| replace_entries(list, old.into_iter().collect()))
}

/// What uses a list: route tables and security groups.
pub fn associations(state: &State, account: AccountId, id: PrefixListId) -> Vec<ResourceId> {
    let tables = state.visible::<RouteTable>(account);
    let tables = tables.filter(|table| table.routes.contains_key(&RouteDestination::PrefixList(id)));
    let groups = state.visible::<SecurityGroup>(account);
    let refers = |group: &std::sync::Arc<SecurityGroup>| {
        group.rules.values().any(|rule| rule.permission.peer == Peer::PrefixList(id))
    };
    let groups = groups.filter(|group| refers(group));
    tables.map(|table| table.id.into()).chain(groups.map(|group| group.id.into())).collect()
}

pub(crate) fn delete(txn: &mut Txn, id: PrefixListId) -> Result<(), ModelError> {
    own(txn, id)?;
    if let Some(used_by) = associations(&txn.state, txn.account, id).first() {
        return Err(ModelError::InUse { resource: id.into(), used_by: used_by.to_string() });
    }
    txn.remove::<PrefixList>(id).map(|_| ())
}
