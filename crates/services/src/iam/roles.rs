//! Roles: trust, inline and attached policies, tags.

use std::sync::Arc;

use postern_model::iam::{IamAction, Identity, Role};
use postern_policy::{Kind, SizeQuota};
use postern_wire::iam::*;

use super::error::{delete_conflict, not_found};
use super::page::page;
use super::{Call, Outcome, boundaries, document, policies, required, shape, tags};

/// How long a session of a role may last when nobody says, in seconds ("CreateRole").
const DEFAULT_SESSION_SECONDS: u32 = 3600;

impl Call<'_> {
    pub(super) fn role(&self, name: &str) -> Outcome<Arc<Role>> {
        self.iam().roles.get(name).cloned().ok_or_else(|| not_found("role", name))
    }

    pub(super) async fn create_role(&mut self, request: CreateRoleRequest) -> Outcome<CreateRoleResponse> {
        let CreateRoleRequest {
            assume_role_policy_document,
            description,
            max_session_duration,
            path,
            permissions_boundary,
            role_name,
            tags,
        } = request;
        let permissions_boundary = boundaries::check(&self.iam(), permissions_boundary)?;
        let name = required(role_name, "RoleName")?;
        let trust_policy = required(assume_role_policy_document, "AssumeRolePolicyDocument")?;
        document::check(&trust_policy, Kind::Trust)?;
        let seconds = max_session_duration.and_then(|seconds| u32::try_from(seconds).ok());
        let create = IamAction::CreateRole {
            name: name.clone(),
            path: path.unwrap_or_else(|| "/".to_owned()),
            trust_policy,
            description: description.unwrap_or_default(),
            max_session_seconds: seconds.unwrap_or(DEFAULT_SESSION_SECONDS),
            permissions_boundary,
            tags: tags::given(tags)?,
        };
        self.execute(create).await?;
        Ok(CreateRoleResponse { role: Some(shape::role(self.account, &*self.role(&name)?, true)) })
    }

    pub(super) fn get_role(&self, request: GetRoleRequest) -> Outcome<GetRoleResponse> {
        let GetRoleRequest { role_name } = request;
        let found = self.role(&required(role_name, "RoleName")?)?;
        let mut role = shape::role(self.account, &found, true);
        role.role_last_used = Some(RoleLastUsed::default());
        Ok(GetRoleResponse { role: Some(role) })
    }

    pub(super) async fn delete_role(&mut self, request: DeleteRoleRequest) -> Outcome<()> {
        let DeleteRoleRequest { role_name } = request;
        let name = required(role_name, "RoleName")?;
        if !self.role(&name)?.policies.attached.is_empty() {
            return Err(delete_conflict("Cannot delete entity, must detach all policies first."));
        }
        self.execute(IamAction::DeleteRole { name }).await
    }

    pub(super) fn list_roles(&self, request: ListRolesRequest) -> Outcome<ListRolesResponse> {
        let ListRolesRequest { marker, max_items, path_prefix } = request;
        let prefix = path_prefix.unwrap_or_default();
        let iam = self.iam();
        let roles = iam.roles.iter().filter(|(_, role)| role.path.starts_with(&prefix));
        let shown = roles.map(|(name, role)| (name.as_str(), shape::role(self.account, role, false)));
        let page = page(shown, marker.as_deref(), max_items)?;
        Ok(ListRolesResponse {
            is_truncated: page.is_truncated,
            marker: page.marker,
            roles: Some(page.items),
        })
    }

    pub(super) async fn update_trust(&mut self, request: UpdateAssumeRolePolicyRequest) -> Outcome<()> {
        let UpdateAssumeRolePolicyRequest { policy_document, role_name } = request;
        let role = required(role_name, "RoleName")?;
        let document = required(policy_document, "PolicyDocument")?;
        self.role(&role)?;
        document::check(&document, Kind::Trust)?;
        self.execute(IamAction::UpdateTrustPolicy { role, document }).await
    }

    pub(super) async fn update_role(&mut self, request: UpdateRoleRequest) -> Outcome<UpdateRoleResponse> {
        let UpdateRoleRequest { description, max_session_duration, role_name } = request;
        let role = required(role_name, "RoleName")?;
        let max_session_seconds = max_session_duration.and_then(|seconds| u32::try_from(seconds).ok());
        self.execute(IamAction::UpdateRole { role, description, max_session_seconds }).await?;
        Ok(UpdateRoleResponse {})
    }

    pub(super) async fn put_role_policy(&mut self, request: PutRolePolicyRequest) -> Outcome<()> {
        let PutRolePolicyRequest { policy_document, policy_name, role_name } = request;
        let (name, policy) = (required(role_name, "RoleName")?, required(policy_name, "PolicyName")?);
        let text = required(policy_document, "PolicyDocument")?;
        document::check(&text, Kind::Identity)?;
        let role = self.role(&name)?;
        policies::check_inline_size(
            &role.policies,
            &policy,
            &text,
            SizeQuota::RoleInline,
            &format!("role {name}"),
        )?;
        let identity = Identity::Role(name);
        self.execute(IamAction::PutInlinePolicy { identity, policy, document: text }).await
    }

    pub(super) fn get_role_policy(&self, request: GetRolePolicyRequest) -> Outcome<GetRolePolicyResponse> {
        let GetRolePolicyRequest { policy_name, role_name } = request;
        let (name, policy) = (required(role_name, "RoleName")?, required(policy_name, "PolicyName")?);
        let role = self.role(&name)?;
        let text = role.policies.inline.get(&policy).ok_or_else(|| not_found("role policy", &policy))?;
        Ok(GetRolePolicyResponse {
            policy_document: document::encoded(text),
            policy_name: Some(policy),
            role_name: Some(name),
        })
    }

    pub(super) async fn delete_role_policy(&mut self, request: DeleteRolePolicyRequest) -> Outcome<()> {
        let DeleteRolePolicyRequest { policy_name, role_name } = request;
        let (name, policy) = (required(role_name, "RoleName")?, required(policy_name, "PolicyName")?);
        if !self.role(&name)?.policies.inline.contains_key(&policy) {
            return Err(not_found("role policy", &policy));
        }
        self.execute(IamAction::DeleteInlinePolicy { identity: Identity::Role(name), policy }).await
    }

    pub(super) fn list_role_policies(
        &self,
        request: ListRolePoliciesRequest,
    ) -> Outcome<ListRolePoliciesResponse> {
        let ListRolePoliciesRequest { marker, max_items, role_name } = request;
        let role = self.role(&required(role_name, "RoleName")?)?;
        let names = role.policies.inline.keys().map(|name| (name.as_str(), name.clone()));
        let page = page(names, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListRolePoliciesResponse { is_truncated, marker, policy_names: Some(page.items) })
    }

    pub(super) async fn attach_role_policy(&mut self, request: AttachRolePolicyRequest) -> Outcome<()> {
        let AttachRolePolicyRequest { policy_arn, role_name } = request;
        let (name, arn) = (required(role_name, "RoleName")?, required(policy_arn, "PolicyArn")?);
        let role = self.role(&name)?;
        policies::check_attachable(&self.iam(), &role.policies, &arn, "PoliciesPerRole")?;
        self.execute(IamAction::AttachPolicy { identity: Identity::Role(name), arn }).await
    }

    pub(super) async fn detach_role_policy(&mut self, request: DetachRolePolicyRequest) -> Outcome<()> {
        let DetachRolePolicyRequest { policy_arn, role_name } = request;
        let (name, arn) = (required(role_name, "RoleName")?, required(policy_arn, "PolicyArn")?);
        self.role(&name)?;
        self.execute(IamAction::DetachPolicy { identity: Identity::Role(name), arn }).await
    }

    pub(super) fn list_attached_role_policies(
        &self,
        request: ListAttachedRolePoliciesRequest,
    ) -> Outcome<ListAttachedRolePoliciesResponse> {
        let ListAttachedRolePoliciesRequest { marker, max_items, path_prefix, role_name } = request;
        let role = self.role(&required(role_name, "RoleName")?)?;
        let attached = policies::attached(&role.policies, path_prefix.as_deref());
        let page = page(attached, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListAttachedRolePoliciesResponse { attached_policies: Some(page.items), is_truncated, marker })
    }

    pub(super) async fn tag_role(&mut self, request: TagRoleRequest) -> Outcome<()> {
        let TagRoleRequest { role_name, tags } = request;
        let role = required(role_name, "RoleName")?;
        self.role(&role)?;
        self.execute(IamAction::TagRole { role, tags: tags::given(tags)? }).await
    }

    pub(super) async fn untag_role(&mut self, request: UntagRoleRequest) -> Outcome<()> {
        let UntagRoleRequest { role_name, tag_keys } = request;
        let role = required(role_name, "RoleName")?;
        self.execute(IamAction::UntagRole { role, keys: tag_keys }).await
    }

    pub(super) fn list_role_tags(&self, request: ListRoleTagsRequest) -> Outcome<ListRoleTagsResponse> {
        let ListRoleTagsRequest { marker, max_items, role_name } = request;
        let role = self.role(&required(role_name, "RoleName")?)?;
        let tags = role.tags.iter().map(|entry| (entry.0.as_str(), tags::tag(entry)));
        let page = page(tags, marker.as_deref(), max_items)?;
        Ok(ListRoleTagsResponse {
            is_truncated: page.is_truncated,
            marker: page.marker,
            tags: Some(page.items),
        })
    }
}
