//! Groups of users and their inline and attached policies.

use std::sync::Arc;

use postern_model::iam::{Group, IamAction, Identity};
use postern_policy::{Kind, SizeQuota};
use postern_wire::iam::*;

use super::error::{delete_conflict, not_found};
use super::page::page;
use super::{Call, Outcome, document, policies, required, shape};

impl Call<'_> {
    pub(super) fn group(&self, name: &str) -> Outcome<Arc<Group>> {
        self.iam().groups.get(name).cloned().ok_or_else(|| not_found("group", name))
    }

    pub(super) async fn create_group(&mut self, request: CreateGroupRequest) -> Outcome<CreateGroupResponse> {
        let CreateGroupRequest { group_name, path } = request;
        let name = required(group_name, "GroupName")?;
        let path = path.unwrap_or_else(|| "/".to_owned());
        self.execute(IamAction::CreateGroup { name: name.clone(), path }).await?;
        Ok(CreateGroupResponse { group: Some(shape::group(self.account, &*self.group(&name)?)) })
    }

    pub(super) fn get_group(&self, request: GetGroupRequest) -> Outcome<GetGroupResponse> {
        let GetGroupRequest { group_name, marker, max_items } = request;
        let name = required(group_name, "GroupName")?;
        let group = shape::group(self.account, &*self.group(&name)?);
        let iam = self.iam();
        let users = iam.users.iter().filter(|(_, user)| user.groups.contains(&name));
        let shown = users.map(|(name, user)| (name.as_str(), shape::user(self.account, user, false)));
        let page = page(shown, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(GetGroupResponse { group: Some(group), is_truncated, marker, users: Some(page.items) })
    }

    pub(super) async fn update_group(&mut self, request: UpdateGroupRequest) -> Outcome<()> {
        let UpdateGroupRequest { group_name, new_group_name, new_path } = request;
        let name = required(group_name, "GroupName")?;
        self.execute(IamAction::UpdateGroup { name, new_name: new_group_name, new_path }).await
    }

    pub(super) async fn delete_group(&mut self, request: DeleteGroupRequest) -> Outcome<()> {
        let DeleteGroupRequest { group_name } = request;
        let name = required(group_name, "GroupName")?;
        if !self.group(&name)?.policies.attached.is_empty() {
            return Err(delete_conflict("Cannot delete entity, must detach all policies first."));
        }
        self.execute(IamAction::DeleteGroup { name }).await
    }

    pub(super) fn list_groups(&self, request: ListGroupsRequest) -> Outcome<ListGroupsResponse> {
        let ListGroupsRequest { marker, max_items, path_prefix } = request;
        let prefix = path_prefix.unwrap_or_default();
        let iam = self.iam();
        let groups = iam.groups.iter().filter(|(_, group)| group.path.starts_with(&prefix));
        let shown = groups.map(|(name, group)| (name.as_str(), shape::group(self.account, group)));
        let page = page(shown, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListGroupsResponse { groups: Some(page.items), is_truncated, marker })
    }

    pub(super) async fn add_user_to_group(&mut self, request: AddUserToGroupRequest) -> Outcome<()> {
        let AddUserToGroupRequest { group_name, user_name } = request;
        let (group, user) = (required(group_name, "GroupName")?, required(user_name, "UserName")?);
        self.execute(IamAction::AddUserToGroup { group, user }).await
    }

    pub(super) async fn remove_user_from_group(
        &mut self,
        request: RemoveUserFromGroupRequest,
    ) -> Outcome<()> {
        let RemoveUserFromGroupRequest { group_name, user_name } = request;
        let (group, user) = (required(group_name, "GroupName")?, required(user_name, "UserName")?);
        self.execute(IamAction::RemoveUserFromGroup { group, user }).await
    }

    pub(super) fn list_groups_for_user(
        &self,
        request: ListGroupsForUserRequest,
    ) -> Outcome<ListGroupsForUserResponse> {
        let ListGroupsForUserRequest { marker, max_items, user_name } = request;
        let user = self.user(&required(user_name, "UserName")?)?;
        let iam = self.iam();
        let groups = user.groups.iter().filter_map(|name| iam.groups.get(name));
        let shown = groups.map(|group| (group.name.as_str(), shape::group(self.account, group)));
        let page = page(shown, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListGroupsForUserResponse { groups: Some(page.items), is_truncated, marker })
    }

    pub(super) async fn put_group_policy(&mut self, request: PutGroupPolicyRequest) -> Outcome<()> {
        let PutGroupPolicyRequest { group_name, policy_document, policy_name } = request;
        let (name, policy) = (required(group_name, "GroupName")?, required(policy_name, "PolicyName")?);
        let text = required(policy_document, "PolicyDocument")?;
        document::check(&text, Kind::Identity)?;
        let group = self.group(&name)?;
        let owner = format!("group {name}");
        policies::check_inline_size(&group.policies, &policy, &text, SizeQuota::GroupInline, &owner)?;
        let identity = Identity::Group(name);
        self.execute(IamAction::PutInlinePolicy { identity, policy, document: text }).await
    }

    pub(super) fn get_group_policy(&self, request: GetGroupPolicyRequest) -> Outcome<GetGroupPolicyResponse> {
        let GetGroupPolicyRequest { group_name, policy_name } = request;
        let (name, policy) = (required(group_name, "GroupName")?, required(policy_name, "PolicyName")?);
        let group = self.group(&name)?;
        let text = group.policies.inline.get(&policy).ok_or_else(|| not_found("group policy", &policy))?;
        Ok(GetGroupPolicyResponse {
            group_name: Some(name),
            policy_document: document::encoded(text),
            policy_name: Some(policy),
        })
    }

    pub(super) async fn delete_group_policy(&mut self, request: DeleteGroupPolicyRequest) -> Outcome<()> {
        let DeleteGroupPolicyRequest { group_name, policy_name } = request;
        let (name, policy) = (required(group_name, "GroupName")?, required(policy_name, "PolicyName")?);
        if !self.group(&name)?.policies.inline.contains_key(&policy) {
            return Err(not_found("group policy", &policy));
        }
        self.execute(IamAction::DeleteInlinePolicy { identity: Identity::Group(name), policy }).await
    }

    pub(super) fn list_group_policies(
        &self,
        request: ListGroupPoliciesRequest,
    ) -> Outcome<ListGroupPoliciesResponse> {
        let ListGroupPoliciesRequest { group_name, marker, max_items } = request;
        let group = self.group(&required(group_name, "GroupName")?)?;
        let names = group.policies.inline.keys().map(|name| (name.as_str(), name.clone()));
        let page = page(names, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListGroupPoliciesResponse { is_truncated, marker, policy_names: Some(page.items) })
    }

    pub(super) async fn attach_group_policy(&mut self, request: AttachGroupPolicyRequest) -> Outcome<()> {
        let AttachGroupPolicyRequest { group_name, policy_arn } = request;
        let (name, arn) = (required(group_name, "GroupName")?, required(policy_arn, "PolicyArn")?);
        let group = self.group(&name)?;
        policies::check_attachable(&self.iam(), &group.policies, &arn, "PoliciesPerGroup")?;
        self.execute(IamAction::AttachPolicy { identity: Identity::Group(name), arn }).await
    }

    pub(super) async fn detach_group_policy(&mut self, request: DetachGroupPolicyRequest) -> Outcome<()> {
        let DetachGroupPolicyRequest { group_name, policy_arn } = request;
        let (name, arn) = (required(group_name, "GroupName")?, required(policy_arn, "PolicyArn")?);
        self.group(&name)?;
        self.execute(IamAction::DetachPolicy { identity: Identity::Group(name), arn }).await
    }

    pub(super) fn list_attached_group_policies(
        &self,
        request: ListAttachedGroupPoliciesRequest,
    ) -> Outcome<ListAttachedGroupPoliciesResponse> {
        let ListAttachedGroupPoliciesRequest { group_name, marker, max_items, path_prefix } = request;
        let group = self.group(&required(group_name, "GroupName")?)?;
        let attached = policies::attached(&group.policies, path_prefix.as_deref());
        let page = page(attached, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListAttachedGroupPoliciesResponse { attached_policies: Some(page.items), is_truncated, marker })
    }
}
