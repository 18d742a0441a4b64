//! Who may act: users, groups of them, roles, managed policies, instance profiles and access keys of an account.
//!
//! Policy documents are texts here; what they mean is known to the policy language alone.

mod apply;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::event::Event;
pub use crate::group::Group;
use crate::id::{AccountId, Timestamp};
use crate::policy_version::Versions;
use crate::state::State;
use crate::tag::{TagSet, Tags};
use crate::txn::Txn;

pub(crate) use apply::apply;

/// How many of each kind an account may have. AWS's quotas: 5,000 users, 1,000 roles, 1,500 policies, 1,000 profiles.
const MAX_OF_A_KIND: usize = 5_000;

/// The identities of one account. Tables are by name; managed policies by ARN.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each table is named after what it holds")]
pub struct Iam {
    pub users: OrdMap<String, Arc<User>>,
    #[serde(default)]
    pub groups: OrdMap<String, Arc<Group>>,
    pub roles: OrdMap<String, Arc<Role>>,
    pub policies: OrdMap<String, Arc<ManagedPolicy>>,
    pub instance_profiles: OrdMap<String, Arc<InstanceProfile>>,
    pub access_keys: OrdMap<String, Arc<AccessKey>>,
}

impl Iam {
    /// The ARNs of the permissions boundaries of all users and roles, as often as they are used.
    pub fn boundaries(&self) -> impl Iterator<Item = &str> {
        let of_users = self.users.values().filter_map(|user| user.permissions_boundary.as_deref());
        of_users.chain(self.roles.values().filter_map(|role| role.permissions_boundary.as_deref()))
    }
}

/// The policies of a user, group or role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdentityPolicies {
    /// Documents of its own, by name.
    pub inline: BTreeMap<String, String>,
    /// ARNs of managed policies.
    pub attached: BTreeSet<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its name, unique in the account.
    pub name: String,
    /// `/` or `/a/b/`.
    pub path: String,
    /// AWS's `AIDA…`.
    pub unique_id: String,
    /// What it may do.
    pub policies: IdentityPolicies,
    /// The ARN of the managed policy that it may not do more than.
    #[serde(default)]
    pub permissions_boundary: Option<String>,
    /// The names of the groups that it is in. INVARIANT: each of them is there.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Its name, unique in the account.
    pub name: String,
    /// `/` or `/a/b/`.
    pub path: String,
    /// AWS's `AROA…`.
    pub unique_id: String,
    /// Who may assume it.
    pub trust_policy: String,
    /// What it is for.
    pub description: String,
    /// How long a session of it may last.
    pub max_session_seconds: u32,
    /// What it may do.
    pub policies: IdentityPolicies,
    /// The ARN of the managed policy that it may not do more than.
    #[serde(default)]
    pub permissions_boundary: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// A managed policy of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedPolicy {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// `/` or `/a/b/`.
    pub path: String,
    /// AWS's `ANPA…`.
    pub unique_id: String,
    /// What it is for.
    pub description: String,
    /// What it says: the text of the default version.
    pub document: String,
    /// Its versions.
    #[serde(default)]
    pub versions: Versions,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// An instance profile: the role that programs in an instance have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfile {
    /// Its name, unique in the account.
    pub name: String,
    /// `/` or `/a/b/`.
    pub path: String,
    /// AWS's `AIPA…`.
    pub unique_id: String,
    /// Its role.
    pub role: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// An access key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…`.
    pub id: String,
    /// What signs.
    pub secret: String,
    /// Whose it is.
    pub owner: KeyOwner,
    /// Whether it works.
    pub active: bool,
    /// Since when.
    pub created_at: Timestamp,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // INVARIANT: a secret never reaches a log.
        f.debug_struct("AccessKey").field("id", &self.id).field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Whose an access key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyOwner {
    /// The account's root user.
    Root,
    /// A user, by name.
    User(String),
}

/// A change to an account's identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum IamAction {
    CreateUser {
        name: String,
        path: String,
        #[serde(default)]
        permissions_boundary: Option<String>,
        tags: TagSet,
    },
    DeleteUser {
        name: String,
    },
    CreateRole {
        name: String,
        path: String,
        trust_policy: String,
        description: String,
        max_session_seconds: u32,
        #[serde(default)]
        permissions_boundary: Option<String>,
        tags: TagSet,
    },
    DeleteRole {
        name: String,
    },
    UpdateTrustPolicy {
        role: String,
        document: String,
    },
    /// None takes the boundary away.
    SetPermissionsBoundary {
        identity: Bounded,
        arn: Option<String>,
    },
    CreateGroup {
        name: String,
        path: String,
    },
    UpdateGroup {
        name: String,
        new_name: Option<String>,
        new_path: Option<String>,
    },
    DeleteGroup {
        name: String,
    },
    AddUserToGroup {
        group: String,
        user: String,
    },
    RemoveUserFromGroup {
        group: String,
        user: String,
    },
    PutInlinePolicy {
        identity: Identity,
        policy: String,
        document: String,
    },
    DeleteInlinePolicy {
        identity: Identity,
        policy: String,
    },
    AttachPolicy {
        identity: Identity,
        arn: String,
    },
    DetachPolicy {
        identity: Identity,
        arn: String,
    },
    CreatePolicy {
        name: String,
        path: String,
        description: String,
        document: String,
        tags: TagSet,
    },
    DeletePolicy {
        arn: String,
    },
    CreatePolicyVersion {
        arn: String,
        document: String,
        set_default: bool,
    },
    SetDefaultPolicyVersion {
        arn: String,
        version: u32,
    },
    DeletePolicyVersion {
        arn: String,
        version: u32,
    },
    UpdateRole {
        role: String,
        description: Option<String>,
        max_session_seconds: Option<u32>,
    },
    CreateInstanceProfile {
        name: String,
        path: String,
        tags: TagSet,
    },
    DeleteInstanceProfile {
        name: String,
    },
    AddRoleToInstanceProfile {
        profile: String,
        role: String,
    },
    RemoveRoleFromInstanceProfile {
        profile: String,
        role: String,
    },
    CreateAccessKey {
        user: String,
        id: String,
        secret: Secret,
    },
    SetAccessKey {
        user: Option<String>,
        id: String,
        active: bool,
    },
    DeleteAccessKey {
        user: Option<String>,
        id: String,
    },
    TagRole {
        role: String,
        tags: TagSet,
    },
    UntagRole {
        role: String,
        keys: Vec<String>,
    },
    Tag {
        what: Tagged,
        tags: TagSet,
    },
    Untag {
        what: Tagged,
        keys: Vec<String>,
    },
}

/// What else people write tags on; roles have actions of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tagged {
    /// A user, by name.
    User(String),
    /// A policy of the account's own, by ARN.
    Policy(String),
    /// An instance profile, by name.
    InstanceProfile(String),
}

/// A secret that no log shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What has policies: a user, a group or a role, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Identity {
    User(String),
    Group(String),
    Role(String),
}

/// What can have a permissions boundary: a user or a role, by name. A group cannot ("Permissions boundaries for IAM
/// entities").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Bounded {
    User(String),
    Role(String),
}

/// The instance profile of this name.
pub fn profile<'a>(
    state: &'a State,
    account: AccountId,
    name: &str,
) -> Result<&'a Arc<InstanceProfile>, ModelError> {
    let found = state.iam.get(&account).and_then(|iam| iam.instance_profiles.get(name));
    found.ok_or_else(|| ModelError::IdentityNotFound { kind: "instance profile", name: name.to_owned() })
}

/// The instance profile of this name, which an instance may get: "IAM Instance Profile has no associated IAM Roles" is
/// what RunInstances says otherwise.
pub(crate) fn profile_with_role(txn: &Txn, name: &str) -> Result<(), ModelError> {
    let found = profile(&txn.state, txn.account, name)?;
    txn.admit(|_| match found.role {
        Some(_) => Ok(()),
        None => Err(ModelError::ProfileWithoutRole {
            account: txn.account,
            path: found.path.clone(),
            name: name.to_owned(),
        }),
    })
}

/// The access key of this id, and its account.
pub fn find_key<'a>(state: &'a State, id: &str) -> Option<(AccountId, &'a Arc<AccessKey>)> {
    state.iam.iter().find_map(|(account, iam)| Some((*account, iam.access_keys.get(id)?)))
}

/// AWS's unique ids: a prefix that tells the kind, and seventeen letters and digits of base 32.
pub(crate) fn unique_id(txn: &mut Txn, prefix: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bits = (u128::from(txn.next_random()) << 64) | u128::from(txn.next_random());
    let mut id = prefix.to_owned();
    for _ in 0..17 {
        let letter = ALPHABET.get((bits & 31) as usize).copied().unwrap_or(b'A');
        id.push(char::from(letter));
        bits >>= 5;
    }
    id
}

/// Names are letters, digits and `+=,.@_-`, at most 128 (64 for users and roles) of them.
pub(crate) fn check_name(kind: &'static str, name: &str, longest: usize) -> Result<(), ModelError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if name.is_empty() || name.len() > longest || !name.chars().all(fits) {
        return Err(ModelError::IdentityName { kind, name: name.to_owned() });
    }
    Ok(())
}

/// Names are unique in an account whatever their case ("IAM identifiers").
pub(crate) fn absent<'a>(
    kind: &'static str,
    mut names: impl ExactSizeIterator<Item = &'a String>,
    name: &str,
) -> Result<(), ModelError> {
    let count = names.len();
    if names.any(|other| other.eq_ignore_ascii_case(name)) {
        return Err(ModelError::IdentityExists { kind, name: name.to_owned() });
    }
    if count >= MAX_OF_A_KIND {
        return Err(ModelError::Limit { what: "identities of a kind", limit: MAX_OF_A_KIND });
    }
    Ok(())
}

/// Changes one entry of a table.
pub(crate) fn edit<T: Clone>(
    kind: &'static str,
    table: &mut OrdMap<String, Arc<T>>,
    name: &str,
    change: impl FnOnce(&mut T) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let found = table.get_mut(name);
    let found = found.ok_or_else(|| ModelError::IdentityNotFound { kind, name: name.to_owned() })?;
    change(Arc::make_mut(found))
}

pub(crate) fn in_use(kind: &'static str, name: &str, what: &'static str) -> ModelError {
    ModelError::IdentityInUse { kind, name: name.to_owned(), what }
}

pub(crate) fn missing(kind: &'static str, name: &str) -> ModelError {
    ModelError::IdentityNotFound { kind, name: name.to_owned() }
}

pub(crate) fn insert_key(txn: &mut Txn, key: AccessKey) -> Result<(), ModelError> {
    if find_key(&txn.state, &key.id).is_some() {
        return Err(ModelError::IdentityExists { kind: "access key", name: key.id });
    }
    with_iam(txn, |iam, _| {
        iam.access_keys.insert(key.id.clone(), Arc::new(key));
        Ok(())
    })
}

fn with_iam(
    txn: &mut Txn,
    change: impl FnOnce(&mut Iam, &mut Txn) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let account = txn.account;
    let iam = txn.state.iam.get(&account).ok_or(ModelError::AccountNotFound(account))?;
    let mut iam = (**iam).clone();
    change(&mut iam, txn)?;
    txn.state.iam.insert(account, Arc::new(iam));
    txn.events.push(Event::IdentityChanged);
    Ok(())
}
