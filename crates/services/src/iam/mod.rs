//! IAM: users, groups, roles, policies, instance profiles and access keys, over the region's commands.
//!
//! INVARIANT: every parameter of a served operation is honoured or refused by its name.
//! INVARIANT: a policy document that cannot be enforced whole is refused, never stored.

mod ask;
mod boundaries;
pub mod document;
mod entities;
mod error;
mod groups;
mod keys;
mod page;
mod policies;
mod policy_versions;
mod profiles;
mod roles;
mod shape;
mod simulate;
mod tags;
mod users;

use std::sync::Arc;

use postern_frontdoor::caller::Identity;
use postern_frontdoor::service::Serving;
use postern_frontdoor::{Answer, Ask, Caller, Origin, Permit, QueryRequest, QueryService, Refusal};
use postern_model::iam::{Iam, IamAction};
use postern_model::{AccountId, Action, State};
use postern_wire::error::ErrorStyle;
use postern_wire::iam::{self, Request, op};
use postern_wire::query::{Form, Limits};
use postern_wire::shape::Protocol;
use postern_wire::{AwsError, Operation, Structure};

use crate::commands::Commands;

pub(crate) use self::shape::profile_arn;

/// IAM.
pub struct IamService {
    commands: Arc<dyn Commands>,
}

impl IamService {
    /// Over the region's commands.
    pub fn new(commands: Arc<dyn Commands>) -> Self {
        Self { commands }
    }
}

/// One request under way.
struct Call<'a> {
    commands: &'a dyn Commands,
    account: AccountId,
    caller: &'a Caller,
    /// The state when it came.
    state: Arc<State>,
}

type Outcome<T> = Result<T, AwsError>;

fn decode(request: &QueryRequest) -> Outcome<Request> {
    let form = Form::parse("", &request.body, Limits::DEFAULT);
    let decoded = form.map_err(Into::into).and_then(|form| Request::decode(&form));
    decoded.map_err(|error| error.to_aws(Protocol::Query))
}

impl QueryService for IamService {
    fn signing_name(&self) -> &'static str {
        iam::SERVICE.name
    }

    fn error_style(&self) -> ErrorStyle {
        ErrorStyle::Query { xml_namespace: iam::SERVICE.xml_namespace }
    }

    fn is_global(&self) -> bool {
        true
    }

    fn asks(&self, caller: &Caller, request: &QueryRequest) -> Result<Vec<Ask>, AwsError> {
        let account = account_of(caller)?;
        // "GetSessionToken" in the STS API reference: its credentials cannot call IAM without MFA.
        let of_user = matches!(caller.identity, Identity::User(_) | Identity::Root);
        if caller.is_temporary() && of_user {
            let message = "The security token included in the request is invalid";
            return Err(AwsError::new("InvalidClientTokenId", message).with_status(403));
        }
        let decoded = decode(request)?;
        Ok(ask::asks(&self.commands.state(), account, caller, &decoded))
    }

    fn refused(&self, refusal: &Refusal) -> AwsError {
        AwsError::new("AccessDenied", refusal.message.clone()).with_status(403)
    }

    fn serve<'a>(
        &'a self,
        caller: &'a Caller,
        _origin: &'a Origin,
        request: QueryRequest,
        _permits: Vec<Permit>,
    ) -> Serving<'a> {
        Box::pin(async move {
            let call = Call {
                commands: self.commands.as_ref(),
                account: account_of(caller)?,
                caller,
                state: self.commands.state(),
            };
            let body = call.dispatch(decode(&request)?, &request.request_id).await?;
            Ok(Answer { body })
        })
    }
}

fn account_of(caller: &Caller) -> Outcome<AccountId> {
    caller.account.ok_or_else(|| AwsError::new("AccessDenied", "Access Denied").with_status(403))
}

impl Call<'_> {
    /// The account's identities.
    fn iam(&self) -> Arc<Iam> {
        self.state.iam.get(&self.account).cloned().unwrap_or_default()
    }

    /// Carries a change out; the state is then the one after it.
    async fn execute(&mut self, action: IamAction) -> Outcome<()> {
        self.execute_any(Action::Iam(action)).await
    }

    async fn execute_any(&mut self, action: Action) -> Outcome<()> {
        let done = self.commands.execute(self.account, None, action).await;
        self.state = done.map_err(|error| error::of_command(&error))?.state;
        Ok(())
    }

    async fn dispatch(mut self, request: Request, id: &str) -> Outcome<String> {
        let call = &mut self;
        Ok(match request {
            Request::CreateRole(r) => answer::<op::CreateRole>(call.create_role(*r).await?, id),
            Request::GetRole(r) => answer::<op::GetRole>(call.get_role(*r)?, id),
            Request::DeleteRole(r) => answer::<op::DeleteRole>(call.delete_role(*r).await?, id),
            Request::CreateGroup(r) => answer::<op::CreateGroup>(call.create_group(*r).await?, id),
            Request::GetGroup(r) => answer::<op::GetGroup>(call.get_group(*r)?, id),
            Request::UpdateGroup(r) => answer::<op::UpdateGroup>(call.update_group(*r).await?, id),
            Request::DeleteGroup(r) => answer::<op::DeleteGroup>(call.delete_group(*r).await?, id),
            Request::ListGroups(r) => answer::<op::ListGroups>(call.list_groups(*r)?, id),
            Request::AddUserToGroup(r) => answer::<op::AddUserToGroup>(call.add_user_to_group(*r).await?, id),
            Request::RemoveUserFromGroup(r) => {
                answer::<op::RemoveUserFromGroup>(call.remove_user_from_group(*r).await?, id)
            }
            Request::ListGroupsForUser(r) => {
                answer::<op::ListGroupsForUser>(call.list_groups_for_user(*r)?, id)
            }
            Request::PutGroupPolicy(r) => answer::<op::PutGroupPolicy>(call.put_group_policy(*r).await?, id),
            Request::GetGroupPolicy(r) => answer::<op::GetGroupPolicy>(call.get_group_policy(*r)?, id),
            Request::DeleteGroupPolicy(r) => {
                answer::<op::DeleteGroupPolicy>(call.delete_group_policy(*r).await?, id)
            }
            Request::ListGroupPolicies(r) => {
                answer::<op::ListGroupPolicies>(call.list_group_policies(*r)?, id)
            }
            Request::AttachGroupPolicy(r) => {
                answer::<op::AttachGroupPolicy>(call.attach_group_policy(*r).await?, id)
            }
            Request::DetachGroupPolicy(r) => {
                answer::<op::DetachGroupPolicy>(call.detach_group_policy(*r).await?, id)
            }
            Request::ListAttachedGroupPolicies(r) => {
                answer::<op::ListAttachedGroupPolicies>(call.list_attached_group_policies(*r)?, id)
            }
            Request::PutUserPermissionsBoundary(r) => {
                answer::<op::PutUserPermissionsBoundary>(call.put_user_boundary(*r).await?, id)
            }
            Request::DeleteUserPermissionsBoundary(r) => {
                answer::<op::DeleteUserPermissionsBoundary>(call.delete_user_boundary(*r).await?, id)
            }
            Request::PutRolePermissionsBoundary(r) => {
                answer::<op::PutRolePermissionsBoundary>(call.put_role_boundary(*r).await?, id)
            }
            Request::DeleteRolePermissionsBoundary(r) => {
                answer::<op::DeleteRolePermissionsBoundary>(call.delete_role_boundary(*r).await?, id)
            }
            Request::ListEntitiesForPolicy(r) => {
                answer::<op::ListEntitiesForPolicy>(call.list_entities_for_policy(*r)?, id)
            }
            Request::UpdateRole(r) => answer::<op::UpdateRole>(call.update_role(*r).await?, id),
            Request::CreatePolicyVersion(r) => {
                answer::<op::CreatePolicyVersion>(call.create_policy_version(*r).await?, id)
            }
            Request::DeletePolicyVersion(r) => {
                answer::<op::DeletePolicyVersion>(call.delete_policy_version(*r).await?, id)
            }
            Request::SetDefaultPolicyVersion(r) => {
                answer::<op::SetDefaultPolicyVersion>(call.set_default_policy_version(*r).await?, id)
            }
            Request::ListRoles(r) => answer::<op::ListRoles>(call.list_roles(*r)?, id),
            Request::UpdateAssumeRolePolicy(r) => {
                answer::<op::UpdateAssumeRolePolicy>(call.update_trust(*r).await?, id)
            }
            Request::PutRolePolicy(r) => answer::<op::PutRolePolicy>(call.put_role_policy(*r).await?, id),
            Request::GetRolePolicy(r) => answer::<op::GetRolePolicy>(call.get_role_policy(*r)?, id),
            Request::DeleteRolePolicy(r) => {
                answer::<op::DeleteRolePolicy>(call.delete_role_policy(*r).await?, id)
            }
            Request::ListRolePolicies(r) => answer::<op::ListRolePolicies>(call.list_role_policies(*r)?, id),
            Request::AttachRolePolicy(r) => {
                answer::<op::AttachRolePolicy>(call.attach_role_policy(*r).await?, id)
            }
            Request::DetachRolePolicy(r) => {
                answer::<op::DetachRolePolicy>(call.detach_role_policy(*r).await?, id)
            }
            Request::ListAttachedRolePolicies(r) => {
                answer::<op::ListAttachedRolePolicies>(call.list_attached_role_policies(*r)?, id)
            }
            Request::CreatePolicy(r) => answer::<op::CreatePolicy>(call.create_policy(*r).await?, id),
            Request::GetPolicy(r) => answer::<op::GetPolicy>(call.get_policy(*r)?, id),
            Request::GetPolicyVersion(r) => answer::<op::GetPolicyVersion>(call.get_policy_version(*r)?, id),
            Request::DeletePolicy(r) => answer::<op::DeletePolicy>(call.delete_policy(*r).await?, id),
            Request::ListPolicies(r) => answer::<op::ListPolicies>(call.list_policies(*r)?, id),
            Request::ListPolicyVersions(r) => {
                answer::<op::ListPolicyVersions>(call.list_policy_versions(*r)?, id)
            }
            Request::CreateInstanceProfile(r) => {
                answer::<op::CreateInstanceProfile>(call.create_profile(*r).await?, id)
            }
            Request::GetInstanceProfile(r) => answer::<op::GetInstanceProfile>(call.get_profile(*r)?, id),
            Request::DeleteInstanceProfile(r) => {
                answer::<op::DeleteInstanceProfile>(call.delete_profile(*r).await?, id)
            }
            Request::AddRoleToInstanceProfile(r) => {
                answer::<op::AddRoleToInstanceProfile>(call.add_role_to_profile(*r).await?, id)
            }
            Request::RemoveRoleFromInstanceProfile(r) => {
                answer::<op::RemoveRoleFromInstanceProfile>(call.remove_role_from_profile(*r).await?, id)
            }
            Request::ListInstanceProfiles(r) => {
                answer::<op::ListInstanceProfiles>(call.list_profiles(*r)?, id)
            }
            Request::ListInstanceProfilesForRole(r) => {
                answer::<op::ListInstanceProfilesForRole>(call.list_profiles_for_role(*r)?, id)
            }
            Request::CreateUser(r) => answer::<op::CreateUser>(call.create_user(*r).await?, id),
            Request::GetUser(r) => answer::<op::GetUser>(call.get_user(*r)?, id),
            Request::DeleteUser(r) => answer::<op::DeleteUser>(call.delete_user(*r).await?, id),
            Request::ListUsers(r) => answer::<op::ListUsers>(call.list_users(*r)?, id),
            Request::PutUserPolicy(r) => answer::<op::PutUserPolicy>(call.put_user_policy(*r).await?, id),
            Request::GetUserPolicy(r) => answer::<op::GetUserPolicy>(call.get_user_policy(*r)?, id),
            Request::DeleteUserPolicy(r) => {
                answer::<op::DeleteUserPolicy>(call.delete_user_policy(*r).await?, id)
            }
            Request::ListUserPolicies(r) => answer::<op::ListUserPolicies>(call.list_user_policies(*r)?, id),
            Request::AttachUserPolicy(r) => {
                answer::<op::AttachUserPolicy>(call.attach_user_policy(*r).await?, id)
            }
            Request::DetachUserPolicy(r) => {
                answer::<op::DetachUserPolicy>(call.detach_user_policy(*r).await?, id)
            }
            Request::ListAttachedUserPolicies(r) => {
                answer::<op::ListAttachedUserPolicies>(call.list_attached_user_policies(*r)?, id)
            }
            Request::CreateAccessKey(r) => {
                answer::<op::CreateAccessKey>(call.create_access_key(*r).await?, id)
            }
            Request::DeleteAccessKey(r) => {
                answer::<op::DeleteAccessKey>(call.delete_access_key(*r).await?, id)
            }
            Request::ListAccessKeys(r) => answer::<op::ListAccessKeys>(call.list_access_keys(*r)?, id),
            Request::UpdateAccessKey(r) => {
                answer::<op::UpdateAccessKey>(call.update_access_key(*r).await?, id)
            }
            Request::TagRole(r) => answer::<op::TagRole>(call.tag_role(*r).await?, id),
            Request::UntagRole(r) => answer::<op::UntagRole>(call.untag_role(*r).await?, id),
            Request::ListRoleTags(r) => answer::<op::ListRoleTags>(call.list_role_tags(*r)?, id),
            Request::TagUser(r) => answer::<op::TagUser>(call.tag_user(*r).await?, id),
            Request::UntagUser(r) => answer::<op::UntagUser>(call.untag_user(*r).await?, id),
            Request::ListUserTags(r) => answer::<op::ListUserTags>(call.list_user_tags(*r)?, id),
            Request::TagPolicy(r) => answer::<op::TagPolicy>(call.tag_policy(*r).await?, id),
            Request::UntagPolicy(r) => answer::<op::UntagPolicy>(call.untag_policy(*r).await?, id),
            Request::ListPolicyTags(r) => answer::<op::ListPolicyTags>(call.list_policy_tags(*r)?, id),
            Request::TagInstanceProfile(r) => {
                answer::<op::TagInstanceProfile>(call.tag_profile(*r).await?, id)
            }
            Request::UntagInstanceProfile(r) => {
                answer::<op::UntagInstanceProfile>(call.untag_profile(*r).await?, id)
            }
            Request::ListInstanceProfileTags(r) => {
                answer::<op::ListInstanceProfileTags>(call.list_profile_tags(*r)?, id)
            }
            Request::SimulateCustomPolicy(r) => {
                answer::<op::SimulateCustomPolicy>(call.simulate_custom_policy(*r)?, id)
            }
            Request::SimulatePrincipalPolicy(r) => {
                answer::<op::SimulatePrincipalPolicy>(call.simulate_principal_policy(*r)?, id)
            }
            Request::GetContextKeysForCustomPolicy(r) => {
                answer::<op::GetContextKeysForCustomPolicy>(call.context_keys_for_custom_policy(*r)?, id)
            }
            Request::GetContextKeysForPrincipalPolicy(r) => answer::<op::GetContextKeysForPrincipalPolicy>(
                call.context_keys_for_principal_policy(*r)?,
                id,
            ),
        })
    }
}

fn answer<O: Operation>(response: O::Response, request_id: &str) -> String
where
    O::Response: Structure,
{
    O::respond(response, request_id)
}

/// A member that its shape requires, so that decoding has refused requests without it.
fn required(member: Option<String>, name: &str) -> Outcome<String> {
    member.ok_or_else(|| AwsError::new("ValidationError", format!("The parameter {name} is missing.")))
}
