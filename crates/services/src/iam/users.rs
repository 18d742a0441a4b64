//! Users and their inline and attached policies.

use std::sync::Arc;

use postern_frontdoor::caller::Identity as CallerIdentity;
use postern_model::iam::{IamAction, Identity, User};
use postern_policy::{Kind, SizeQuota};
use postern_wire::iam::*;

use super::error::{delete_conflict, not_found, validation};
use super::page::page;
use super::{Call, Outcome, boundaries, document, policies, required, shape, tags};

impl Call<'_> {
    pub(super) fn user(&self, name: &str) -> Outcome<Arc<User>> {
        self.iam().users.get(name).cloned().ok_or_else(|| not_found("user", name))
    }

    /// The user that a request names, or the caller; none is the root user.
    pub(super) fn user_or_caller(&self, name: Option<String>) -> Outcome<Option<String>> {
        match (name, &self.caller.identity) {
            (Some(name), _) => Ok(Some(name)),
            (None, CallerIdentity::User(name)) => Ok(Some(name.clone())),
            (None, CallerIdentity::Root) => Ok(None),
            (None, CallerIdentity::Role(_) | CallerIdentity::Anonymous) => {
                Err(validation("Must specify userName when calling with non-User credentials"))
            }
        }
    }

    pub(super) async fn create_user(&mut self, request: CreateUserRequest) -> Outcome<CreateUserResponse> {
        let CreateUserRequest { path, permissions_boundary, tags, user_name } = request;
        let permissions_boundary = boundaries::check(&self.iam(), permissions_boundary)?;
        let name = required(user_name, "UserName")?;
        let path = path.unwrap_or_else(|| "/".to_owned());
        let tags = tags::given(tags)?;
        self.execute(IamAction::CreateUser { name: name.clone(), path, permissions_boundary, tags }).await?;
        Ok(CreateUserResponse { user: Some(shape::user(self.account, &*self.user(&name)?, true)) })
    }

    pub(super) fn get_user(&self, request: GetUserRequest) -> Outcome<GetUserResponse> {
        let GetUserRequest { user_name } = request;
        let user = match self.user_or_caller(user_name)? {
            Some(name) => shape::user(self.account, &*self.user(&name)?, true),
            None => postern_wire::iam::User {
                arn: Some(format!("arn:aws:iam::{}:root", self.account)),
                create_date: self.state.accounts.get(&self.account).and_then(|a| shape::time(a.created_at)),
                user_id: Some(self.account.to_string()),
                ..Default::default()
            },
        };
        Ok(GetUserResponse { user: Some(user) })
    }

    pub(super) async fn delete_user(&mut self, request: DeleteUserRequest) -> Outcome<()> {
        let DeleteUserRequest { user_name } = request;
        let name = required(user_name, "UserName")?;
        if !self.user(&name)?.policies.attached.is_empty() {
            return Err(delete_conflict("Cannot delete entity, must detach all policies first."));
        }
        self.execute(IamAction::DeleteUser { name }).await
    }

    pub(super) fn list_users(&self, request: ListUsersRequest) -> Outcome<ListUsersResponse> {
        let ListUsersRequest { marker, max_items, path_prefix } = request;
        let prefix = path_prefix.unwrap_or_default();
        let iam = self.iam();
        let users = iam.users.iter().filter(|(_, user)| user.path.starts_with(&prefix));
        let shown = users.map(|(name, user)| (name.as_str(), shape::user(self.account, user, false)));
        let page = page(shown, marker.as_deref(), max_items)?;
        Ok(ListUsersResponse {
            is_truncated: page.is_truncated,
            marker: page.marker,
            users: Some(page.items),
        })
    }

    pub(super) async fn put_user_policy(&mut self, request: PutUserPolicyRequest) -> Outcome<()> {
        let PutUserPolicyRequest { policy_document, policy_name, user_name } = request;
        let (name, policy) = (required(user_name, "UserName")?, required(policy_name, "PolicyName")?);
        let text = required(policy_document, "PolicyDocument")?;
        document::check(&text, Kind::Identity)?;
        let user = self.user(&name)?;
        policies::check_inline_size(
            &user.policies,
            &policy,
            &text,
            SizeQuota::UserInline,
            &format!("user {name}"),
        )?;
        let identity = Identity::User(name);
        self.execute(IamAction::PutInlinePolicy { identity, policy, document: text }).await
    }

    pub(super) fn get_user_policy(&self, request: GetUserPolicyRequest) -> Outcome<GetUserPolicyResponse> {
        let GetUserPolicyRequest { policy_name, user_name } = request;
        let (name, policy) = (required(user_name, "UserName")?, required(policy_name, "PolicyName")?);
        let user = self.user(&name)?;
        let text = user.policies.inline.get(&policy).ok_or_else(|| not_found("user policy", &policy))?;
        Ok(GetUserPolicyResponse {
            policy_document: document::encoded(text),
            policy_name: Some(policy),
            user_name: Some(name),
        })
    }

    pub(super) async fn delete_user_policy(&mut self, request: DeleteUserPolicyRequest) -> Outcome<()> {
        let DeleteUserPolicyRequest { policy_name, user_name } = request;
        let (name, policy) = (required(user_name, "UserName")?, required(policy_name, "PolicyName")?);
        if !self.user(&name)?.policies.inline.contains_key(&policy) {
            return Err(not_found("user policy", &policy));
        }
        self.execute(IamAction::DeleteInlinePolicy { identity: Identity::User(name), policy }).await
    }

    pub(super) fn list_user_policies(
        &self,
        request: ListUserPoliciesRequest,
    ) -> Outcome<ListUserPoliciesResponse> {
        let ListUserPoliciesRequest { marker, max_items, user_name } = request;
        let user = self.user(&required(user_name, "UserName")?)?;
        let names = user.policies.inline.keys().map(|name| (name.as_str(), name.clone()));
        let page = page(names, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListUserPoliciesResponse { is_truncated, marker, policy_names: Some(page.items) })
    }

    pub(super) async fn attach_user_policy(&mut self, request: AttachUserPolicyRequest) -> Outcome<()> {
        let AttachUserPolicyRequest { policy_arn, user_name } = request;
        let (name, arn) = (required(user_name, "UserName")?, required(policy_arn, "PolicyArn")?);
        let user = self.user(&name)?;
        policies::check_attachable(&self.iam(), &user.policies, &arn, "PoliciesPerUser")?;
        self.execute(IamAction::AttachPolicy { identity: Identity::User(name), arn }).await
    }

    pub(super) async fn detach_user_policy(&mut self, request: DetachUserPolicyRequest) -> Outcome<()> {
        let DetachUserPolicyRequest { policy_arn, user_name } = request;
        let (name, arn) = (required(user_name, "UserName")?, required(policy_arn, "PolicyArn")?);
        self.user(&name)?;
        self.execute(IamAction::DetachPolicy { identity: Identity::User(name), arn }).await
    }

    pub(super) fn list_attached_user_policies(
        &self,
        request: ListAttachedUserPoliciesRequest,
    ) -> Outcome<ListAttachedUserPoliciesResponse> {
        let ListAttachedUserPoliciesRequest { marker, max_items, path_prefix, user_name } = request;
        let user = self.user(&required(user_name, "UserName")?)?;
        let attached = policies::attached(&user.policies, path_prefix.as_deref());
        let page = page(attached, marker.as_deref(), max_items)?;
        let (is_truncated, marker) = (page.is_truncated, page.marker);
        Ok(ListAttachedUserPoliciesResponse { attached_policies: Some(page.items), is_truncated, marker })
    }
}
