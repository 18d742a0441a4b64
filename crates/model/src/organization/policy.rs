//! Policies of organizations, and what they are attached to.

use std::sync::Arc;

use super::{
    ControlKind, ControlPolicy, Node, Organization, OrganizationRefusal, RCP_FULL_ACCESS, new_id,
    usual_policy,
};
use crate::error::ModelError;
use crate::tag::{self, TagSet};
use crate::txn::Txn;

/// How many policies of a type an organization may have.
const MAX_POLICIES: usize = 1_000;
/// How many policies of a type may be attached to a root, unit or account.
const MAX_ATTACHED: usize = 5;

/// Disabling a type detaches its policies everywhere; enabling it again brings back AWS's own only.
pub(super) fn set_type(
    organization: &mut Organization,
    kind: ControlKind,
    enabled: bool,
) -> Result<(), ModelError> {
    if !organization.all_features {
        return Err(OrganizationRefusal::BillingOnly.into());
    }
    if enabled {
        if !organization.enabled.insert(kind) {
            return Err(OrganizationRefusal::TypeEnabled.into());
        }
        let everywhere = std::iter::once(organization.root.clone())
            .chain(organization.units.keys().cloned())
            .chain(organization.members.keys().map(ToString::to_string));
        for target in everywhere.collect::<Vec<_>>() {
            organization.attachments.entry(target).or_default().insert(usual_policy(kind).to_owned());
        }
        return Ok(());
    }
    if !organization.enabled.remove(&kind) {
        return Err(OrganizationRefusal::TypeNotEnabled.into());
    }
    let mut attachments = std::mem::take(&mut organization.attachments);
    for attached in attachments.values_mut() {
        attached.retain(|policy| organization.kind_of(policy) != Some(kind));
    }
    attachments.retain(|_, attached| !attached.is_empty());
    organization.attachments = attachments;
    Ok(())
}

fn check_name(
    organization: &Organization,
    kind: ControlKind,
    name: &str,
    own: Option<&str>,
) -> Result<(), ModelError> {
    let of_aws = match kind {
        ControlKind::Service => "FullAWSAccess",
        ControlKind::Resource => "RCPFullAWSAccess",
    };
    let mut others = organization.policies.values().filter(|policy| Some(policy.id.as_str()) != own);
    if name == of_aws || others.any(|policy| policy.kind == kind && policy.name == name) {
        return Err(OrganizationRefusal::PolicyExists(name.to_owned()).into());
    }
    Ok(())
}

pub(super) fn create(
    organization: &mut Organization,
    txn: &mut Txn,
    new: ControlPolicy,
    tags: &TagSet,
) -> Result<(), ModelError> {
    if !organization.all_features {
        return Err(OrganizationRefusal::BillingOnly.into());
    }
    check_name(organization, new.kind, &new.name, None)?;
    let count = organization.policies.values().filter(|policy| policy.kind == new.kind).count();
    txn.admit(|_| match count < MAX_POLICIES {
        true => Ok(()),
        false => Err(OrganizationRefusal::Full { what: "policies of the type", limit: MAX_POLICIES }.into()),
    })?;
    let id = new_id(txn, "p-", 10);
    let tags = tag::collect(tags)?;
    organization.policies.insert(id.clone(), Arc::new(ControlPolicy { id: id.clone(), ..new }));
    if !tags.is_empty() {
        organization.tags.insert(id, tags);
    }
    Ok(())
}

/// A policy of the organization's own.
fn own(organization: &Organization, id: &str) -> Result<Arc<ControlPolicy>, ModelError> {
    match (organization.policies.get(id), organization.kind_of(id)) {
        (Some(own), _) => Ok(Arc::clone(own)),
        (None, Some(_)) => Err(OrganizationRefusal::PolicyOfAws(id.to_owned()).into()),
        (None, None) => Err(OrganizationRefusal::NotFound { node: Node::Policy, id: id.to_owned() }.into()),
    }
}

pub(super) fn update(
    organization: &mut Organization,
    id: &str,
    name: Option<String>,
    description: Option<String>,
    document: Option<String>,
) -> Result<(), ModelError> {
    let old = own(organization, id)?;
    let name = name.unwrap_or_else(|| old.name.clone());
    check_name(organization, old.kind, &name, Some(id))?;
    let policy = ControlPolicy {
        id: id.to_owned(),
        kind: old.kind,
        name,
        description: description.unwrap_or_else(|| old.description.clone()),
        document: document.unwrap_or_else(|| old.document.clone()),
    };
    organization.policies.insert(id.to_owned(), Arc::new(policy));
    Ok(())
}

pub(super) fn delete(organization: &mut Organization, id: &str) -> Result<(), ModelError> {
    own(organization, id)?;
    if organization.attachments.values().any(|attached| attached.contains(id)) {
        return Err(OrganizationRefusal::PolicyAttached(id.to_owned()).into());
    }
    organization.policies.remove(id);
    organization.tags.remove(id);
    Ok(())
}

/// The types of a policy and its target, which have to be there.
fn check_both(organization: &Organization, policy: &str, target: &str) -> Result<ControlKind, ModelError> {
    let missing = |node, id: &str| OrganizationRefusal::NotFound { node, id: id.to_owned() };
    let kind = organization.kind_of(policy).ok_or_else(|| missing(Node::Policy, policy))?;
    organization.node(target).ok_or_else(|| missing(Node::Target, target))?;
    if !organization.enabled.contains(&kind) {
        return Err(OrganizationRefusal::TypeNotEnabled.into());
    }
    Ok(kind)
}

pub(super) fn attach(
    organization: &mut Organization,
    txn: &Txn,
    policy: String,
    target: &str,
) -> Result<(), ModelError> {
    let kind = check_both(organization, &policy, target)?;
    if organization.attached(target, kind).any(|attached| attached == policy) {
        return Err(OrganizationRefusal::AttachedAlready { policy, target: target.to_owned() }.into());
    }
    let count = organization.attached(target, kind).count();
    txn.admit(|_| match count < MAX_ATTACHED {
        true => Ok(()),
        false => {
            let target = target.to_owned();
            Err(OrganizationRefusal::TooManyAttached { target, limit: MAX_ATTACHED }.into())
        }
    })?;
    organization.attachments.entry(target.to_owned()).or_default().insert(policy);
    Ok(())
}

/// What allows everything as resource control policies go stays; of service control policies one stays at least.
pub(super) fn detach(organization: &mut Organization, policy: &str, target: &str) -> Result<(), ModelError> {
    let kind = check_both(organization, policy, target)?;
    if !organization.attached(target, kind).any(|attached| attached == policy) {
        let (policy, target) = (policy.to_owned(), target.to_owned());
        return Err(OrganizationRefusal::NotAttached { policy, target }.into());
    }
    if policy == RCP_FULL_ACCESS {
        return Err(OrganizationRefusal::PolicyOfAws(policy.to_owned()).into());
    }
    if kind == ControlKind::Service && organization.attached(target, kind).count() == 1 {
        return Err(OrganizationRefusal::LastPolicy(target.to_owned()).into());
    }
    if let Some(attached) = organization.attachments.get_mut(target) {
        attached.remove(policy);
    }
    organization.attachments.retain(|_, attached| !attached.is_empty());
    Ok(())
}
