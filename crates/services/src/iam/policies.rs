//! Managed policies, and the rules for policies of every kind.

use postern_model::iam::{Iam, IamAction, IdentityPolicies};
use postern_policy::{Kind, SizeQuota};
use postern_wire::AwsError;
use postern_wire::iam::*;

use super::error::{limit_exceeded, no_such, not_found, unsupported};
use super::page::page;
use super::{Call, Outcome, document, required, shape, tags};
use crate::directory::managed::{self, AwsPolicy};

/// How many managed policies may be attached to a user, group or role ("IAM and AWS STS quotas").
const ATTACHED_MAX: usize = 10;

/// A policy that a request names.
pub(super) enum Found {
    Own(std::sync::Arc<postern_model::iam::ManagedPolicy>),
    Aws(&'static AwsPolicy),
}

impl Call<'_> {
    pub(super) fn policy(&self, arn: &str) -> Outcome<Found> {
        let own = self.iam().policies.get(arn).cloned().map(Found::Own);
        own.or_else(|| managed::find(arn).map(Found::Aws)).ok_or_else(|| not_found("policy", arn))
    }

    fn shown(&self, found: &Found) -> Policy {
        match found {
            Found::Own(policy) => shape::policy(&self.iam(), policy, true),
            Found::Aws(policy) => shape::aws_policy(&self.iam(), policy),
        }
    }

    pub(super) async fn create_policy(
        &mut self,
        request: CreatePolicyRequest,
    ) -> Outcome<CreatePolicyResponse> {
        let CreatePolicyRequest { description, path, policy_document, policy_name, tags } = request;
        let name = required(policy_name, "PolicyName")?;
        let text = required(policy_document, "PolicyDocument")?;
        let path = path.unwrap_or_else(|| "/".to_owned());
        if !document::check(&text, Kind::Identity)?.fits(SizeQuota::Managed) {
            let quota = SizeQuota::Managed.characters();
            return Err(limit_exceeded(format!("Cannot exceed quota for PolicySize: {quota}")));
        }
        let arn = format!("arn:aws:iam::{}:policy{path}{name}", self.account);
        let create = IamAction::CreatePolicy {
            name,
            path,
            description: description.unwrap_or_default(),
            document: text,
            tags: tags::given(tags)?,
        };
        self.execute(create).await?;
        let policy = self.policy(&arn)?;
        Ok(CreatePolicyResponse { policy: Some(self.shown(&policy)) })
    }

    pub(super) fn get_policy(&self, request: GetPolicyRequest) -> Outcome<GetPolicyResponse> {
        let GetPolicyRequest { policy_arn } = request;
        let found = self.policy(&required(policy_arn, "PolicyArn")?)?;
        Ok(GetPolicyResponse { policy: Some(self.shown(&found)) })
    }

    pub(super) async fn delete_policy(&mut self, request: DeletePolicyRequest) -> Outcome<()> {
        let DeletePolicyRequest { policy_arn } = request;
        let arn = required(policy_arn, "PolicyArn")?;
        match self.policy(&arn)? {
            Found::Own(_) => self.execute(IamAction::DeletePolicy { arn }).await,
            Found::Aws(_) => {
                let message = "You are not allowed to delete a policy that AWS manages.";
                Err(AwsError::new("AccessDenied", message).with_status(403))
            }
        }
    }

    pub(super) fn list_policies(&self, request: ListPoliciesRequest) -> Outcome<ListPoliciesResponse> {
        let ListPoliciesRequest { marker, max_items, only_attached, path_prefix, policy_usage_filter, scope } =
            request;
        let (own, aws) = match scope.as_deref() {
            None | Some("All") => (true, true),
            Some("Local") => (true, false),
            Some("AWS") => (false, true),
            Some(_) => return Err(unsupported("Scope")),
        };
        let iam = self.iam();
        let prefix = path_prefix.unwrap_or_default();
        let own = iam.policies.values().filter(|_| own).map(|policy| shape::policy(&iam, policy, false));
        let aws = managed::ALL.iter().filter(|_| aws).map(|policy| shape::aws_policy(&iam, policy));
        let kept = |policy: &Policy| {
            let path = policy.path.as_deref().unwrap_or_default();
            let attached = policy.attachment_count.unwrap_or_default() > 0;
            let limits = policy.permissions_boundary_usage_count.unwrap_or_default() > 0;
            let used = match policy_usage_filter.as_deref() {
                None => true,
                Some("PermissionsBoundary") => limits,
                Some(_) => attached,
            };
            path.starts_with(&prefix) && used && (attached || only_attached != Some(true))
        };
        let mut all: Vec<(String, Policy)> = own
            .chain(aws)
            .filter(kept)
            .map(|policy| (policy.arn.clone().unwrap_or_default(), policy))
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        let rows = all.iter().map(|(arn, policy)| (arn.as_str(), policy.clone()));
        let page = page(rows, marker.as_deref(), max_items)?;
        Ok(ListPoliciesResponse {
            is_truncated: page.is_truncated,
            marker: page.marker,
            policies: Some(page.items),
        })
    }
}

/// The policies attached to an identity whose paths start with `prefix`, as rows in the order of their ARNs.
pub(super) fn attached<'p>(
    policies: &'p IdentityPolicies,
    prefix: Option<&'p str>,
) -> impl Iterator<Item = (&'p str, AttachedPolicy)> {
    let in_path = move |arn: &&String| {
        let path = arn.split_once(":policy").map_or("/", |(_, path)| path);
        prefix.is_none_or(|prefix| path.starts_with(prefix))
    };
    policies.attached.iter().filter(in_path).map(|arn| {
        let policy_name = arn.rsplit('/').next().map(str::to_owned);
        (arn.as_str(), AttachedPolicy { policy_arn: Some(arn.clone()), policy_name })
    })
}

/// A policy can be attached that is there, as long as there are not too many.
pub(super) fn check_attachable(
    iam: &Iam,
    policies: &IdentityPolicies,
    arn: &str,
    quota: &str,
) -> Outcome<()> {
    if !iam.policies.contains_key(arn) && managed::find(arn).is_none() {
        return Err(no_such(format!("Policy {arn} does not exist or is not attachable.")));
    }
    if policies.attached.len() >= ATTACHED_MAX && !policies.attached.contains(arn) {
        return Err(limit_exceeded(format!("Cannot exceed quota for {quota}: {ATTACHED_MAX}")));
    }
    Ok(())
}

/// The inline policies of an identity share one quota, in which white space does not count.
pub(super) fn check_inline_size(
    policies: &IdentityPolicies,
    name: &str,
    text: &str,
    quota: SizeQuota,
    owner: &str,
) -> Outcome<()> {
    let size = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    let others = policies.inline.iter().filter(|(other, _)| other.as_str() != name);
    let total = size(text) + others.map(|(_, text)| size(text)).sum::<usize>();
    if total <= quota.characters() {
        return Ok(());
    }
    let limit = quota.characters();
    Err(limit_exceeded(format!("Maximum policy size of {limit} bytes exceeded for {owner}")))
}
