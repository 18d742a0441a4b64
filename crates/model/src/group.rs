//! Groups of users.
//!
//! Rules from "IAM user groups" and "IAM and AWS STS quotas" in the IAM user guide: a group holds users, not groups; its
//! policies are its users' policies; nothing can name it as a principal.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::iam::{Iam, IdentityPolicies, absent, check_name, edit, in_use, missing, unique_id};
use crate::id::Timestamp;
use crate::txn::Txn;

/// How many groups an account may have.
const MAX_GROUPS: usize = 300;
/// How many groups a user may be in.
const MAX_GROUPS_PER_USER: usize = 10;

/// A group. Who is in it is told by the users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name, unique in the account.
    pub name: String,
    /// `/` or `/a/b/`.
    pub path: String,
    /// AWS's `AGPA…`.
    pub unique_id: String,
    /// What its users may do.
    pub policies: IdentityPolicies,
    /// Since when.
    pub created_at: Timestamp,
}

pub(crate) fn create(iam: &mut Iam, txn: &mut Txn, name: String, path: String) -> Result<(), ModelError> {
    check_name("group", &name, 128)?;
    absent("group", iam.groups.keys(), &name)?;
    let count = iam.groups.len();
    txn.admit(|_| {
        let limit = ModelError::Limit { what: "groups of an account", limit: MAX_GROUPS };
        if count < MAX_GROUPS { Ok(()) } else { Err(limit) }
    })?;
    let unique_id = unique_id(txn, "AGPA");
    let policies = IdentityPolicies::default();
    let group = Group { name: name.clone(), path, unique_id, policies, created_at: txn.at };
    iam.groups.insert(name, Arc::new(group));
    Ok(())
}

/// A new name goes with the users, who stay in the group.
pub(crate) fn update(
    iam: &mut Iam,
    name: &str,
    new_name: Option<String>,
    new_path: Option<String>,
) -> Result<(), ModelError> {
    edit("group", &mut iam.groups, name, |group| {
        group.path = new_path.unwrap_or_else(|| group.path.clone());
        Ok(())
    })?;
    let Some(new_name) = new_name.filter(|new_name| new_name != name) else { return Ok(()) };
    check_name("group", &new_name, 128)?;
    let others: Vec<&String> = iam.groups.keys().filter(|other| *other != name).collect();
    absent("group", others.into_iter(), &new_name)?;
    let group = iam.groups.remove(name).ok_or_else(|| missing("group", name))?;
    iam.groups.insert(new_name.clone(), Arc::new(Group { name: new_name.clone(), ..(*group).clone() }));
    for user in members(iam, name) {
        edit("user", &mut iam.users, &user, |user| {
            user.groups.remove(name);
            user.groups.insert(new_name.clone());
            Ok(())
        })?;
    }
    Ok(())
}

pub(crate) fn delete(iam: &mut Iam, name: &str) -> Result<(), ModelError> {
    let group = iam.groups.get(name).ok_or_else(|| missing("group", name))?;
    if !members(iam, name).is_empty() {
        return Err(in_use("group", name, "users"));
    }
    if !group.policies.inline.is_empty() || !group.policies.attached.is_empty() {
        return Err(in_use("group", name, "policies"));
    }
    iam.groups.remove(name);
    Ok(())
}

/// Adding a user who is there already changes nothing.
pub(crate) fn add_user(iam: &mut Iam, txn: &Txn, group: String, user: &str) -> Result<(), ModelError> {
    if !iam.groups.contains_key(&group) {
        return Err(missing("group", &group));
    }
    edit("user", &mut iam.users, user, |user| {
        let full = user.groups.len() >= MAX_GROUPS_PER_USER && !user.groups.contains(&group);
        txn.admit(|_| {
            let limit = ModelError::Limit { what: "groups of a user", limit: MAX_GROUPS_PER_USER };
            if full { Err(limit) } else { Ok(()) }
        })?;
        user.groups.insert(group);
        Ok(())
    })
}

/// Removing a user who is not there changes nothing, as on AWS.
pub(crate) fn remove_user(iam: &mut Iam, group: &str, user: &str) -> Result<(), ModelError> {
    if !iam.groups.contains_key(group) {
        return Err(missing("group", group));
    }
    edit("user", &mut iam.users, user, |user| {
        user.groups.remove(group);
        Ok(())
    })
}

/// The names of a group's users.
fn members(iam: &Iam, group: &str) -> Vec<String> {
    let within = iam.users.values().filter(|user| user.groups.contains(group));
    within.map(|user| user.name.clone()).collect()
}
