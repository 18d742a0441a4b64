//! What changes identities, and when it may.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{
    AccessKey, Bounded, Iam, IamAction, Identity, IdentityPolicies, InstanceProfile, KeyOwner, ManagedPolicy,
    Role, Secret, Tagged, User, absent, check_name, edit, find_key, in_use, missing, unique_id, with_iam,
};
use crate::error::ModelError;
use crate::group;
use crate::policy_version::{self, Versions};
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// How many access keys a user may have ("IAM and AWS STS quotas").
const MAX_KEYS_PER_USER: usize = 2;

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
