//! The model's identities as IAM's answers show them.

use postern_model::iam::{Group, Iam, InstanceProfile, ManagedPolicy, Role, User};
use postern_model::{AccountId, Timestamp};
use postern_wire::iam;

use super::document::encoded;
use super::tags::shown;
use crate::directory::managed::AwsPolicy;
use crate::directory::{group_arn, role_arn, user_arn};

/// The first version of a policy, and the only one of those of AWS.
pub(super) const FIRST_VERSION: &str = "v1";
/// When AWS's own policies were made, as far as this region is concerned.
const AWS_POLICIES_MADE_AT: postern_wire::Timestamp = postern_wire::Timestamp::from_seconds(1_423_248_239);

pub(super) fn time(at: Timestamp) -> Option<postern_wire::Timestamp> {
    Some(postern_wire::Timestamp::from_millis(i64::try_from(at.0).unwrap_or(i64::MAX)))
}

/// A boundary as answers show it; lists leave it out ("ListUsers", "ListRoles").
fn boundary(arn: Option<&String>, detailed: bool) -> Option<iam::AttachedPermissionsBoundary> {
    arn.filter(|_| detailed).map(|arn| iam::AttachedPermissionsBoundary {
        permissions_boundary_arn: Some(arn.clone()),
        permissions_boundary_type: Some("Policy".to_owned()),
    })
}

/// A group.
pub(super) fn group(account: AccountId, group: &Group) -> iam::Group {
    iam::Group {
        arn: Some(group_arn(account, group)),
        create_date: time(group.created_at),
        group_id: Some(group.unique_id.clone()),
        group_name: Some(group.name.clone()),
        path: Some(group.path.clone()),
    }
}

/// A user; lists leave tags out.
pub(super) fn user(account: AccountId, user: &User, detailed: bool) -> iam::User {
    iam::User {
        arn: Some(user_arn(account, user)),
        create_date: time(user.created_at),
        path: Some(user.path.clone()),
        permissions_boundary: boundary(user.permissions_boundary.as_ref(), detailed),
        tags: shown(&user.tags).filter(|_| detailed),
        user_id: Some(user.unique_id.clone()),
        user_name: Some(user.name.clone()),
        ..iam::User::default()
    }
}

/// A role; lists leave tags out.
pub(super) fn role(account: AccountId, role: &Role, detailed: bool) -> iam::Role {
    iam::Role {
        arn: Some(role_arn(account, role)),
        assume_role_policy_document: encoded(&role.trust_policy),
        create_date: time(role.created_at),
        description: Some(role.description.clone()).filter(|text| !text.is_empty()),
        max_session_duration: Some(i64::from(role.max_session_seconds)),
        path: Some(role.path.clone()),
        permissions_boundary: boundary(role.permissions_boundary.as_ref(), detailed),
        role_id: Some(role.unique_id.clone()),
        role_name: Some(role.name.clone()),
        tags: shown(&role.tags).filter(|_| detailed),
        ..iam::Role::default()
    }
}

/// The ARN of an instance profile.
pub(crate) fn profile_arn(account: AccountId, profile: &InstanceProfile) -> String {
    format!("arn:aws:iam::{account}:instance-profile{}{}", profile.path, profile.name)
}

pub(super) fn profile(
    account: AccountId,
    iam: &Iam,
    profile: &InstanceProfile,
    detailed: bool,
) -> iam::InstanceProfile {
    let held = profile.role.as_ref().and_then(|name| iam.roles.get(name));
    iam::InstanceProfile {
        arn: Some(profile_arn(account, profile)),
        create_date: time(profile.created_at),
        instance_profile_id: Some(profile.unique_id.clone()),
        instance_profile_name: Some(profile.name.clone()),
        path: Some(profile.path.clone()),
        roles: Some(held.iter().map(|held| role(account, held, false)).collect()),
        tags: shown(&profile.tags).filter(|_| detailed),
    }
}

/// How many identities a managed policy is attached to.
pub(super) fn attachments(iam: &Iam, arn: &str) -> usize {
    let users = iam.users.values().filter(|user| user.policies.attached.contains(arn)).count();
    let groups = iam.groups.values().filter(|group| group.policies.attached.contains(arn)).count();
    users + groups + iam.roles.values().filter(|role| role.policies.attached.contains(arn)).count()
}

/// A policy of the account's own; lists leave description and tags out.
pub(super) fn policy(iam: &Iam, policy: &ManagedPolicy, detailed: bool) -> iam::Policy {
    iam::Policy {
        create_date: time(policy.created_at),
        default_version_id: Some(format!("v{}", policy.versions.default)),
        update_date: time(policy.default_version_created_at()),
        description: Some(policy.description.clone()).filter(|text| detailed && !text.is_empty()),
        path: Some(policy.path.clone()),
        tags: shown(&policy.tags).filter(|_| detailed),
        ..any_policy(iam, &policy.arn, &policy.name, &policy.unique_id)
    }
}

/// One of AWS's policies.
pub(super) fn aws_policy(iam: &Iam, policy: &AwsPolicy) -> iam::Policy {
    iam::Policy {
        create_date: Some(AWS_POLICIES_MADE_AT),
        update_date: Some(AWS_POLICIES_MADE_AT),
        path: Some("/".to_owned()),
        ..any_policy(iam, &policy.arn(), policy.name, policy.id)
    }
}

fn any_policy(iam: &Iam, arn: &str, name: &str, id: &str) -> iam::Policy {
    let limited = iam.boundaries().filter(|boundary| *boundary == arn).count();
    iam::Policy {
        arn: Some(arn.to_owned()),
        attachment_count: i64::try_from(attachments(iam, arn)).ok(),
        default_version_id: Some(FIRST_VERSION.to_owned()),
        is_attachable: Some(true),
        permissions_boundary_usage_count: i64::try_from(limited).ok(),
        policy_id: Some(id.to_owned()),
        policy_name: Some(name.to_owned()),
        ..iam::Policy::default()
    }
}

/// A version of a policy.
pub(super) fn version(
    id: &str,
    is_default: bool,
    made_at: Option<postern_wire::Timestamp>,
    document: Option<&str>,
) -> iam::PolicyVersion {
    iam::PolicyVersion {
        create_date: Some(made_at.unwrap_or(AWS_POLICIES_MADE_AT)),
        document: document.and_then(encoded),
        is_default_version: Some(is_default),
        version_id: Some(id.to_owned()),
    }
}
