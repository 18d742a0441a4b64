//! Who may act: users, groups of them, roles, managed policies, instance profiles and access keys of an account.
//!
//! Policy documents are texts here; what they mean is known to the policy language alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::event::Event;
use crate::group;
pub use crate::group::Group;
use crate::id::{AccountId, Timestamp};
use crate::policy_version::{self, Versions};
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// How many of each kind an account may have. AWS's quotas: 5,000 users, 1,000 roles, 1,500 policies, 1,000 profiles.
const MAX_OF_A_KIND: usize = 5_000;
/// How many access keys a user may have ("IAM and AWS STS quotas").
const MAX_KEYS_PER_USER: usize = 2;

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

fn edit_policies(
    iam: &mut Iam,
    identity: &Identity,
    change: impl FnOnce(&mut IdentityPolicies) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    match identity {
        Identity::User(name) => edit("user", &mut iam.users, name, |user| change(&mut user.policies)),
        Identity::Group(name) => edit("group", &mut iam.groups, name, |group| change(&mut group.policies)),
        Identity::Role(name) => edit("role", &mut iam.roles, name, |role| change(&mut role.policies)),
    }
}

pub(crate) fn apply(txn: &mut Txn, action: IamAction) -> Result<(), ModelError> {
    with_iam(txn, |iam, txn| apply_to(iam, txn, action))
}

fn apply_to(iam: &mut Iam, txn: &mut Txn, action: IamAction) -> Result<(), ModelError> {
    match action {
        IamAction::CreateUser { name, path, permissions_boundary, tags } => {
            check_boundary(iam, permissions_boundary.as_deref())?;
            create_user(iam, txn, name, path, permissions_boundary, &tags)
        }
        IamAction::DeleteUser { name } => delete_user(iam, &name),
        IamAction::CreateRole {
            name,
            path,
            trust_policy,
            description,
            max_session_seconds,
            permissions_boundary,
            tags,
        } => {
            check_name("role", &name, 64)?;
            absent("role", iam.roles.keys(), &name)?;
            check_boundary(iam, permissions_boundary.as_deref())?;
            let unique_id = unique_id(txn, "AROA");
            let role = Role {
                name: name.clone(),
                path,
                unique_id,
                trust_policy,
                description,
                max_session_seconds,
                policies: IdentityPolicies::default(),
                permissions_boundary,
                created_at: txn.at,
                tags: tag::collect(&tags)?,
            };
            iam.roles.insert(name, Arc::new(role));
            Ok(())
        }
        IamAction::DeleteRole { name } => delete_role(iam, &name),
        IamAction::UpdateTrustPolicy { role, document } => edit("role", &mut iam.roles, &role, |role| {
            role.trust_policy = document;
            Ok(())
        }),
        IamAction::SetPermissionsBoundary { identity, arn } => set_boundary(iam, &identity, arn),
        IamAction::CreateGroup { name, path } => group::create(iam, txn, name, path),
        IamAction::UpdateGroup { name, new_name, new_path } => group::update(iam, &name, new_name, new_path),
        IamAction::DeleteGroup { name } => group::delete(iam, &name),
        IamAction::AddUserToGroup { group, user } => group::add_user(iam, txn, group, &user),
        IamAction::RemoveUserFromGroup { group, user } => group::remove_user(iam, &group, &user),
        IamAction::PutInlinePolicy { identity, policy, document } => {
            check_name("policy", &policy, 128)?;
            edit_policies(iam, &identity, |policies| {
                policies.inline.insert(policy, document);
                Ok(())
            })
        }
        IamAction::DeleteInlinePolicy { identity, policy } => edit_policies(iam, &identity, |policies| {
            policies.inline.remove(&policy).map(|_| ()).ok_or_else(|| missing("policy", &policy))
        }),
        IamAction::AttachPolicy { identity, arn } => {
            check_attachable(iam, &arn)?;
            edit_policies(iam, &identity, |policies| {
                policies.attached.insert(arn);
                Ok(())
            })
        }
        IamAction::DetachPolicy { identity, arn } => edit_policies(iam, &identity, |policies| {
            if policies.attached.remove(&arn) { Ok(()) } else { Err(missing("attached policy", &arn)) }
        }),
        IamAction::CreatePolicy { name, path, description, document, tags } => {
            create_policy(iam, txn, name, path, description, document, &tags)
        }
        IamAction::DeletePolicy { arn } => delete_policy(iam, &arn),
        IamAction::CreatePolicyVersion { arn, document, set_default } => {
            let at = txn.at;
            edit("policy", &mut iam.policies, &arn, |policy| {
                policy_version::create(policy, at, document, set_default)
            })
        }
        IamAction::SetDefaultPolicyVersion { arn, version } => {
            edit("policy", &mut iam.policies, &arn, |policy| policy_version::make_default(policy, version))
        }
        IamAction::DeletePolicyVersion { arn, version } => {
            edit("policy", &mut iam.policies, &arn, |policy| policy_version::delete(policy, version))
        }
        IamAction::UpdateRole { role, description, max_session_seconds } => {
            edit("role", &mut iam.roles, &role, |role| {
                role.description = description.unwrap_or_else(|| role.description.clone());
                role.max_session_seconds = max_session_seconds.unwrap_or(role.max_session_seconds);
                Ok(())
            })
        }
        IamAction::CreateInstanceProfile { name, path, tags } => {
            check_name("instance profile", &name, 128)?;
            absent("instance profile", iam.instance_profiles.keys(), &name)?;
            let unique_id = unique_id(txn, "AIPA");
            let tags = tag::collect(&tags)?;
            let profile =
                InstanceProfile { name: name.clone(), path, unique_id, role: None, created_at: txn.at, tags };
            iam.instance_profiles.insert(name, Arc::new(profile));
            Ok(())
        }
        IamAction::DeleteInstanceProfile { name } => delete_profile(iam, txn, &name),
        IamAction::AddRoleToInstanceProfile { profile, role } => {
            if !iam.roles.contains_key(&role) {
                return Err(missing("role", &role));
            }
            edit("instance profile", &mut iam.instance_profiles, &profile, |profile| {
                if profile.role.is_some() {
                    return Err(ModelError::ProfileHasRole);
                }
                profile.role = Some(role);
                Ok(())
            })
        }
        IamAction::RemoveRoleFromInstanceProfile { profile, role } => {
            edit("instance profile", &mut iam.instance_profiles, &profile, |profile| {
                if profile.role.as_deref() != Some(role.as_str()) {
                    return Err(missing("role", &role));
                }
                profile.role = None;
                Ok(())
            })
        }
        IamAction::CreateAccessKey { user, id, secret } => create_access_key(iam, txn, user, id, secret),
        IamAction::SetAccessKey { user, id, active } => {
            own_key(iam, user.as_deref(), &id)?;
            edit("access key", &mut iam.access_keys, &id, |key| {
                key.active = active;
                Ok(())
            })
        }
        IamAction::DeleteAccessKey { user, id } => {
            own_key(iam, user.as_deref(), &id)?;
            iam.access_keys.remove(&id);
            Ok(())
        }
        IamAction::TagRole { role, tags } => {
            edit("role", &mut iam.roles, &role, |role| tag::put_in_any_case(&mut role.tags, &tags))
        }
        IamAction::UntagRole { role, keys } => edit("role", &mut iam.roles, &role, |role| {
            tag::remove_in_any_case(&mut role.tags, &keys);
            Ok(())
        }),
        IamAction::Tag { what, tags } => edit_tags(iam, &what, |existing| match &what {
            Tagged::User(_) => tag::put_in_any_case(existing, &tags),
            Tagged::Policy(_) | Tagged::InstanceProfile(_) => tag::put(existing, &tags),
        }),
        IamAction::Untag { what, keys } => edit_tags(iam, &what, |existing| {
            match &what {
                Tagged::User(_) => tag::remove_in_any_case(existing, &keys),
                Tagged::Policy(_) | Tagged::InstanceProfile(_) => {
                    existing.retain(|key, _| !keys.contains(key));
                }
            }
            Ok(())
        }),
    }
}

fn edit_tags(
    iam: &mut Iam,
    what: &Tagged,
    change: impl FnOnce(&mut Tags) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    match what {
        Tagged::User(name) => edit("user", &mut iam.users, name, |user| change(&mut user.tags)),
        Tagged::Policy(arn) => edit("policy", &mut iam.policies, arn, |policy| change(&mut policy.tags)),
        Tagged::InstanceProfile(name) => {
            edit("instance profile", &mut iam.instance_profiles, name, |profile| change(&mut profile.tags))
        }
    }
}

fn create_user(
    iam: &mut Iam,
    txn: &mut Txn,
    name: String,
    path: String,
    permissions_boundary: Option<String>,
    tags: &TagSet,
) -> Result<(), ModelError> {
    check_name("user", &name, 64)?;
    absent("user", iam.users.keys(), &name)?;
    let unique_id = unique_id(txn, "AIDA");
    let policies = IdentityPolicies::default();
    let tags = tag::collect(tags)?;
    let user = User {
        name: name.clone(),
        path,
        unique_id,
        policies,
        permissions_boundary,
        groups: BTreeSet::new(),
        created_at: txn.at,
        tags,
    };
    iam.users.insert(name, Arc::new(user));
    Ok(())
}

fn delete_user(iam: &mut Iam, name: &str) -> Result<(), ModelError> {
    let user = iam.users.get(name).ok_or_else(|| missing("user", name))?;
    if !user.policies.inline.is_empty() || !user.policies.attached.is_empty() {
        return Err(in_use("user", name, "policies"));
    }
    if iam.access_keys.values().any(|key| key.owner == KeyOwner::User(name.to_owned())) {
        return Err(in_use("user", name, "access keys"));
    }
    if !user.groups.is_empty() {
        return Err(in_use("user", name, "groups"));
    }
    iam.users.remove(name);
    Ok(())
}

fn delete_role(iam: &mut Iam, name: &str) -> Result<(), ModelError> {
    let role = iam.roles.get(name).ok_or_else(|| missing("role", name))?;
    if !role.policies.inline.is_empty() || !role.policies.attached.is_empty() {
        return Err(in_use("role", name, "policies"));
    }
    if iam.instance_profiles.values().any(|profile| profile.role.as_deref() == Some(name)) {
        return Err(in_use("role", name, "instance profiles"));
    }
    iam.roles.remove(name);
    Ok(())
}

fn create_policy(
    iam: &mut Iam,
    txn: &mut Txn,
    name: String,
    path: String,
    description: String,
    document: String,
    tags: &TagSet,
) -> Result<(), ModelError> {
    check_name("policy", &name, 128)?;
    let arn = format!("arn:aws:iam::{}:policy{path}{name}", txn.account);
    absent("policy", iam.policies.values().map(|policy| &policy.name), &name)?;
    let unique_id = unique_id(txn, "ANPA");
    let tags = tag::collect(tags)?;
    let created_at = txn.at;
    let policy = ManagedPolicy {
        arn: arn.clone(),
        name,
        path,
        unique_id,
        description,
        document,
        versions: Versions::default(),
        created_at,
        tags,
    };
    iam.policies.insert(arn, Arc::new(policy));
    Ok(())
}

/// A boundary is a managed policy that could be attached.
fn check_boundary(iam: &Iam, arn: Option<&str>) -> Result<(), ModelError> {
    arn.map_or(Ok(()), |arn| check_attachable(iam, arn).map_err(|_| missing("boundary", arn)))
}

fn set_boundary(iam: &mut Iam, identity: &Bounded, arn: Option<String>) -> Result<(), ModelError> {
    check_boundary(iam, arn.as_deref())?;
    let replace = |kind, name: &String, boundary: &mut Option<String>| {
        if arn.is_none() && boundary.is_none() {
            return Err(ModelError::IdentityNotFound { kind, name: name.clone() });
        }
        *boundary = arn;
        Ok(())
    };
    match identity {
        Bounded::User(name) => edit("user", &mut iam.users, name, |user| {
            replace("user boundary", name, &mut user.permissions_boundary)
        }),
        Bounded::Role(name) => edit("role", &mut iam.roles, name, |role| {
            replace("role boundary", name, &mut role.permissions_boundary)
        }),
    }
}

/// A policy that can be attached is the account's own, or one of AWS's, which no state holds: which of those there are
/// is for the caller to know.
fn check_attachable(iam: &Iam, arn: &str) -> Result<(), ModelError> {
    if arn.starts_with("arn:aws:iam::aws:policy/") || iam.policies.contains_key(arn) {
        return Ok(());
    }
    Err(missing("policy", arn))
}

fn delete_policy(iam: &mut Iam, arn: &str) -> Result<(), ModelError> {
    let attached = iam.users.values().any(|user| user.policies.attached.contains(arn))
        || iam.groups.values().any(|group| group.policies.attached.contains(arn))
        || iam.roles.values().any(|role| role.policies.attached.contains(arn));
    if attached || iam.boundaries().any(|boundary| boundary == arn) {
        return Err(in_use("policy", arn, "identities attached"));
    }
    let policy = iam.policies.get(arn).ok_or_else(|| missing("policy", arn))?;
    if !policy.versions.others.is_empty() {
        return Err(in_use("policy", arn, "versions"));
    }
    iam.policies.remove(arn);
    Ok(())
}

fn delete_profile(iam: &mut Iam, txn: &Txn, name: &str) -> Result<(), ModelError> {
    let profile = iam.instance_profiles.get(name).ok_or_else(|| missing("instance profile", name))?;
    if profile.role.is_some() {
        return Err(in_use("instance profile", name, "a role"));
    }
    let used = txn.state.visible::<crate::instance::Instance>(txn.account).any(|instance| {
        instance.state.is_live() && instance.profile.as_ref().is_some_and(|(_, used)| used == name)
    });
    if used {
        return Err(in_use("instance profile", name, "instances"));
    }
    iam.instance_profiles.remove(name);
    Ok(())
}

fn create_access_key(
    iam: &mut Iam,
    txn: &Txn,
    user: String,
    id: String,
    Secret(secret): Secret,
) -> Result<(), ModelError> {
    if !iam.users.contains_key(&user) {
        return Err(missing("user", &user));
    }
    if find_key(&txn.state, &id).is_some() {
        return Err(ModelError::IdentityExists { kind: "access key", name: id });
    }
    let owner = KeyOwner::User(user);
    if iam.access_keys.values().filter(|key| key.owner == owner).count() >= MAX_KEYS_PER_USER {
        return Err(ModelError::Limit { what: "access keys of a user", limit: MAX_KEYS_PER_USER });
    }
    let key = AccessKey { id: id.clone(), secret, owner, active: true, created_at: txn.at };
    iam.access_keys.insert(id, Arc::new(key));
    Ok(())
}

/// The key, if it is this user's (none given: the root user's).
fn own_key<'a>(iam: &'a Iam, user: Option<&str>, id: &str) -> Result<&'a Arc<AccessKey>, ModelError> {
    let wanted = user.map_or(KeyOwner::Root, |name| KeyOwner::User(name.to_owned()));
    let found = iam.access_keys.get(id).filter(|key| key.owner == wanted);
    found.ok_or_else(|| missing("access key", id))
}
