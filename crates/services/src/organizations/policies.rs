//! Policies of the organization, their types and what they are attached to.

use std::sync::Arc;

use postern_model::organization::{
    ControlKind, ControlPolicy, FULL_ACCESS, Node, Organization, OrganizationAction, RCP_FULL_ACCESS,
};
use postern_policy::{FULL_AWS_ACCESS, Kind, PolicyDocument, unenforceable};
use serde_json::{Value, json};

use super::call::{Call, Outcome, sized, tags};
use super::page::{Wanted, page};
use super::request::*;
use super::{error, shape};
use crate::directory::condition_keys;

/// What AWS's own resource control policy says.
const RCP_FULL_AWS_ACCESS: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

impl Call<'_> {
    pub(super) async fn set_policy_type(&mut self, root: &str, kind: &str, enabled: bool) -> Outcome<Value> {
        let organization = self.managed()?;
        let kind = read_kind(kind)?;
        if root != organization.root {
            return Err(error::not_found(Node::Root));
        }
        self.execute(OrganizationAction::SetPolicyType { kind, enabled }).await?;
        Ok(json!({ "Root": shape::root(&*self.managed()?) }))
    }

    pub(super) async fn create_policy(&mut self, request: CreatePolicy) -> Outcome<Value> {
        let CreatePolicy { content, description, name, kind, tags: given } = request;
        self.managed()?;
        let kind = read_kind(&kind)?;
        sized("Name", &name, 1, 128)?;
        sized("Description", &description, 0, 512)?;
        check(kind, &content)?;
        let create = OrganizationAction::CreatePolicy {
            kind,
            name: name.clone(),
            description,
            document: content,
            tags: tags(given)?,
        };
        self.execute(create).await?;
        let organization = self.managed()?;
        let mut all = organization.policies.values();
        let made = all.find(|policy| policy.kind == kind && policy.name == name);
        let made = made.ok_or_else(|| error::not_found(Node::Policy))?;
        Ok(shown(&organization, made))
    }

    pub(super) fn describe_policy(&self, id: &str) -> Outcome<Value> {
        let organization = self.managed()?;
        let policy = find(&organization, id).ok_or_else(|| error::not_found(Node::Policy))?;
        Ok(shown(&organization, &policy))
    }

    pub(super) async fn update_policy(&mut self, request: UpdatePolicy) -> Outcome<Value> {
        let UpdatePolicy { policy_id: policy, name, description, content: document } = request;
        let organization = self.managed()?;
        let kind = organization.kind_of(&policy).ok_or_else(|| error::not_found(Node::Policy))?;
        name.iter().try_for_each(|name| sized("Name", name, 1, 128))?;
        description.iter().try_for_each(|text| sized("Description", text, 0, 512))?;
        document.iter().try_for_each(|text| check(kind, text))?;
        let update = OrganizationAction::UpdatePolicy { policy: policy.clone(), name, description, document };
        self.execute(update).await?;
        self.describe_policy(&policy)
    }

    pub(super) fn list_policies(&self, request: ListPolicies) -> Outcome<Value> {
        let ListPolicies { filter, next_token: token, max_results: max } = request;
        let organization = self.managed()?;
        let kind = read_kind(&filter)?;
        let own = organization.policies.values().filter(|policy| policy.kind == kind).cloned();
        // AWS's own is there once the organization can have policies at all.
        let of_aws = organization.all_features.then(|| Arc::new(of_aws(kind)));
        let all = own.chain(of_aws);
        let all = all.map(|policy| (policy.id.clone(), shape::policy_summary(&organization, &policy)));
        page("Policies", all, Wanted { token, max })
    }

    pub(super) fn list_policies_for_target(&self, request: ListPoliciesForTarget) -> Outcome<Value> {
        let ListPoliciesForTarget { target_id, filter, next_token: token, max_results: max } = request;
        let organization = self.managed()?;
        let kind = read_kind(&filter)?;
        organization.node(&target_id).ok_or_else(|| error::not_found(Node::Target))?;
        let attached = organization.attached(&target_id, kind).filter_map(|id| find(&organization, id));
        let shown = attached.map(|policy| (policy.id.clone(), shape::policy_summary(&organization, &policy)));
        page("Policies", shown, Wanted { token, max })
    }

    pub(super) fn list_targets_for_policy(&self, request: ListTargetsForPolicy) -> Outcome<Value> {
        let ListTargetsForPolicy { policy_id, next_token: token, max_results: max } = request;
        let organization = self.managed()?;
        organization.kind_of(&policy_id).ok_or_else(|| error::not_found(Node::Policy))?;
        let all = organization.attachments.iter().filter(|(_, attached)| attached.contains(&policy_id));
        let shown = all.map(|(target, _)| (target.clone(), shape::target(&organization, target)));
        page("Targets", shown, Wanted { token, max })
    }
}

/// The types that there are here; of the others AWS has, nothing would be enforced.
fn read_kind(text: &str) -> Outcome<ControlKind> {
    match text {
        "SERVICE_CONTROL_POLICY" => Ok(ControlKind::Service),
        "RESOURCE_CONTROL_POLICY" => Ok(ControlKind::Resource),
        other => {
            let message = format!("The policy type {other} is not supported by this endpoint.");
            Err(error::invalid_input("INVALID_ENUM_POLICY_TYPE", message))
        }
    }
}

/// What the policy language calls the type.
pub(crate) fn language_kind(kind: ControlKind) -> Kind {
    match kind {
        ControlKind::Service => Kind::ServiceControl,
        ControlKind::Resource => Kind::ResourceControl,
    }
}

/// Reads a document, and makes sure that all of it can be enforced here.
fn check(kind: ControlKind, text: &str) -> Outcome<()> {
    let document = PolicyDocument::parse(text, language_kind(kind));
    let document = document.map_err(|why| error::malformed_policy(&why.to_string()))?;
    match unenforceable(&document, &condition_keys::is_provided).first() {
        None => Ok(()),
        Some(key) => {
            let why = format!("the condition key {key} cannot be enforced by this endpoint");
            Err(error::malformed_policy(&why))
        }
    }
}

/// AWS's own policy of a type.
fn of_aws(kind: ControlKind) -> ControlPolicy {
    let (id, name, document) = match kind {
        ControlKind::Service => (FULL_ACCESS, "FullAWSAccess", FULL_AWS_ACCESS),
        ControlKind::Resource => (RCP_FULL_ACCESS, "RCPFullAWSAccess", RCP_FULL_AWS_ACCESS),
    };
    ControlPolicy {
        id: id.to_owned(),
        kind,
        name: name.to_owned(),
        description: "Allows access to every operation".to_owned(),
        document: document.to_owned(),
    }
}

fn find(organization: &Organization, id: &str) -> Option<Arc<ControlPolicy>> {
    let own = organization.policies.get(id).cloned();
    own.or_else(|| organization.kind_of(id).map(|kind| Arc::new(of_aws(kind))))
}

fn shown(organization: &Organization, policy: &ControlPolicy) -> Value {
    json!({ "Policy": {
        "PolicySummary": shape::policy_summary(organization, policy),
        "Content": policy.document,
    }})
}
