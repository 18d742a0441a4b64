//! What a request asks for: `organizations:<Operation>` on the ARNs of what it names.
//!
//! Resource types and condition keys from "Actions, resources, and condition keys for AWS Organizations" in the service
//! authorization reference.

use postern_frontdoor::Ask;
use postern_model::organization::{Node, Organization};
use postern_policy::Context;

use super::request::{Request, Tag};
use super::shape::{arn, kind_name, policy_arn};

/// Everything that a request asks for. `organization` is the caller's, if it has one.
pub(super) fn asks(organization: Option<&Organization>, request: &Request) -> Vec<Ask> {
    let context = context(organization, request);
    let ask = |resource: String| Ask {
        action: format!("organizations:{}", request.name()),
        resource,
        resource_account: None,
        resource_policy: None,
        context: context.clone(),
    };
    resources(organization, request).into_iter().map(ask).collect()
}

/// What a request is about; `*` for what knows no resource, and for what is not there.
fn resources(organization: Option<&Organization>, request: &Request) -> Vec<String> {
    let node = |id: &str| organization.map_or_else(|| "*".to_owned(), |found| node_arn(found, id));
    let policy = |id: &str| {
        let known = organization.and_then(|found| Some((found, found.kind_of(id)?)));
        known.map_or_else(|| "*".to_owned(), |(found, kind)| policy_arn(found, kind, id))
    };
    let handshake = |id: &str| {
        let known = organization.filter(|found| found.handshakes.contains_key(id));
        known.map_or_else(|| "*".to_owned(), |found| arn(found, "handshake", &format!("invite/{id}")))
    };
    match request {
        Request::CreateOrganization(_)
        | Request::DescribeOrganization(_)
        | Request::DeleteOrganization(_)
        | Request::ListRoots(_)
        | Request::ListAccounts(_)
        | Request::CreateAccount(_)
        | Request::DescribeCreateAccountStatus(_)
        | Request::ListCreateAccountStatus(_)
        | Request::LeaveOrganization(_)
        | Request::ListHandshakesForAccount(_)
        | Request::ListHandshakesForOrganization(_)
        | Request::CreatePolicy(_)
        | Request::ListPolicies(_) => vec!["*".to_owned()],
        Request::CreateOrganizationalUnit(r) => vec![node(&r.parent_id)],
        Request::DescribeOrganizationalUnit(r) => vec![node(&r.organizational_unit_id)],
        Request::UpdateOrganizationalUnit(r) => vec![node(&r.organizational_unit_id)],
        Request::DeleteOrganizationalUnit(r) => vec![node(&r.organizational_unit_id)],
        Request::ListOrganizationalUnitsForParent(r) => vec![node(&r.parent_id)],
        Request::ListAccountsForParent(r) => vec![node(&r.parent_id)],
        Request::ListChildren(r) => vec![node(&r.parent_id)],
        Request::ListParents(r) => vec![node(&r.child_id)],
        Request::DescribeAccount(r) => vec![node(&r.account_id)],
        Request::MoveAccount(r) => {
            vec![node(&r.account_id), node(&r.source_parent_id), node(&r.destination_parent_id)]
        }
        Request::RemoveAccountFromOrganization(r) => vec![node(&r.account_id)],
        Request::InviteAccountToOrganization(r) => {
            vec![organization.map_or_else(|| "*".to_owned(), |found| arn(found, "account", &r.target.id))]
        }
        Request::AcceptHandshake(r) => vec![handshake(&r.handshake_id)],
        Request::DeclineHandshake(r) => vec![handshake(&r.handshake_id)],
        Request::CancelHandshake(r) => vec![handshake(&r.handshake_id)],
        Request::DescribeHandshake(r) => vec![handshake(&r.handshake_id)],
        Request::EnablePolicyType(r) => vec![node(&r.root_id)],
        Request::DisablePolicyType(r) => vec![node(&r.root_id)],
        Request::DescribePolicy(r) => vec![policy(&r.policy_id)],
        Request::UpdatePolicy(r) => vec![policy(&r.policy_id)],
        Request::DeletePolicy(r) => vec![policy(&r.policy_id)],
        Request::ListPoliciesForTarget(r) => vec![node(&r.target_id)],
        Request::ListTargetsForPolicy(r) => vec![policy(&r.policy_id)],
        Request::AttachPolicy(r) => vec![policy(&r.policy_id), node(&r.target_id)],
        Request::DetachPolicy(r) => vec![policy(&r.policy_id), node(&r.target_id)],
        Request::TagResource(r) => vec![tagged(organization, &r.resource_id)],
        Request::UntagResource(r) => vec![tagged(organization, &r.resource_id)],
        Request::ListTagsForResource(r) => vec![tagged(organization, &r.resource_id)],
    }
}

fn node_arn(organization: &Organization, id: &str) -> String {
    match organization.node(id) {
        Some(Node::Root) => arn(organization, "root", id),
        Some(Node::Unit) => arn(organization, "ou", id),
        Some(Node::Account) => arn(organization, "account", id),
        Some(Node::Parent | Node::Destination | Node::Target | Node::Policy | Node::Handshake) | None => {
            "*".to_owned()
        }
    }
}

/// A policy, or what stands in the tree.
fn tagged(organization: Option<&Organization>, id: &str) -> String {
    let Some(organization) = organization else { return "*".to_owned() };
    match organization.kind_of(id) {
        Some(kind) => policy_arn(organization, kind, id),
        None => node_arn(organization, id),
    }
}

/// `organizations:PolicyType`, and what is known of tags.
fn context(organization: Option<&Organization>, request: &Request) -> Context {
    let mut context = Context::new();
    let of_policy = |id: &str| organization.and_then(|found| found.kind_of(id)).map(kind_name);
    let kind = match request {
        Request::EnablePolicyType(r) => Some(r.policy_type.as_str()),
        Request::DisablePolicyType(r) => Some(r.policy_type.as_str()),
        Request::CreatePolicy(r) => Some(r.kind.as_str()),
        Request::ListPolicies(r) => Some(r.filter.as_str()),
        Request::ListPoliciesForTarget(r) => Some(r.filter.as_str()),
        Request::DescribePolicy(r) => of_policy(&r.policy_id),
        Request::UpdatePolicy(r) => of_policy(&r.policy_id),
        Request::DeletePolicy(r) => of_policy(&r.policy_id),
        Request::ListTargetsForPolicy(r) => of_policy(&r.policy_id),
        Request::AttachPolicy(r) => of_policy(&r.policy_id),
        Request::DetachPolicy(r) => of_policy(&r.policy_id),
        _ => None,
    };
    if let Some(kind) = kind {
        context.insert("organizations:PolicyType", kind.to_owned());
    }
    add_tags(&mut context, request);
    let existing = named(request).and_then(|id| organization?.tags.get(id));
    for (key, value) in existing.into_iter().flatten() {
        context.insert(&format!("aws:ResourceTag/{key}"), value.clone());
    }
    context
}

/// What of a request's resources can have tags.
fn named(request: &Request) -> Option<&str> {
    match request {
        Request::TagResource(r) => Some(&r.resource_id),
        Request::UntagResource(r) => Some(&r.resource_id),
        Request::ListTagsForResource(r) => Some(&r.resource_id),
        Request::DescribePolicy(r) => Some(&r.policy_id),
        Request::UpdatePolicy(r) => Some(&r.policy_id),
        Request::DeletePolicy(r) => Some(&r.policy_id),
        Request::DescribeAccount(r) => Some(&r.account_id),
        Request::DescribeOrganizationalUnit(r) => Some(&r.organizational_unit_id),
        Request::UpdateOrganizationalUnit(r) => Some(&r.organizational_unit_id),
        Request::DeleteOrganizationalUnit(r) => Some(&r.organizational_unit_id),
        _ => None,
    }
}

fn add_tags(context: &mut Context, request: &Request) {
    let given: &[Tag] = match request {
        Request::CreateOrganizationalUnit(r) => &r.tags,
        Request::CreateAccount(r) => &r.tags,
        Request::InviteAccountToOrganization(r) => &r.tags,
        Request::CreatePolicy(r) => &r.tags,
        Request::TagResource(r) => &r.tags,
        Request::UntagResource(r) => {
            context.insert_many("aws:TagKeys", r.tag_keys.iter().cloned());
            return;
        }
        _ => return,
    };
    for tag in given {
        context.insert(&format!("aws:RequestTag/{}", tag.key), tag.value.clone());
    }
    context.insert_many("aws:TagKeys", given.iter().map(|tag| tag.key.clone()));
}
