//! One request under way, and what serves each operation.

use std::sync::Arc;

use postern_frontdoor::JsonError;
use postern_model::organization::{Node, Organization, OrganizationAction};
use postern_model::{AccountId, Action, State, TagSet, Timestamp};
use serde_json::{Value, json};

use super::request::{Request, Tag};
use super::{error, shape};
use crate::commands::Commands;

pub(super) type Outcome<T> = Result<T, JsonError>;

pub(super) struct Call<'a> {
    pub(super) commands: &'a dyn Commands,
    pub(super) account: AccountId,
    /// The state when the request came, and after what it changed.
    pub(super) state: Arc<State>,
}

impl Call<'_> {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(self.commands.now_milliseconds())
    }

    /// The organization that the caller is in.
    pub(super) fn organization(&self) -> Outcome<Arc<Organization>> {
        self.state.organization_of(self.account).cloned().ok_or_else(error::not_in_use)
    }

    /// The organization that the caller manages: most operations "can be called only from the organization's management
    /// account".
    pub(super) fn managed(&self) -> Outcome<Arc<Organization>> {
        let organization = self.organization()?;
        if organization.management == self.account { Ok(organization) } else { Err(error::denied()) }
    }

    /// Carries a change out; the state is then the one after it.
    pub(super) async fn execute(&mut self, action: OrganizationAction) -> Outcome<()> {
        let done = self.commands.execute(self.account, None, Action::Organization(action)).await;
        self.state = done.map_err(|failure| error::of_command(&failure))?.state;
        Ok(())
    }

    async fn change(&mut self, action: OrganizationAction) -> Outcome<Value> {
        self.managed()?;
        self.execute(action).await?;
        Ok(json!({}))
    }

    pub(super) async fn answer(&mut self, request: Request) -> Outcome<Value> {
        match request {
            Request::CreateOrganization(r) => self.create(r.feature_set).await,
            Request::DescribeOrganization(_) => {
                Ok(json!({ "Organization": shape::organization(&*self.organization()?) }))
            }
            Request::DeleteOrganization(_) => self.change(OrganizationAction::Delete).await,
            Request::ListRoots(r) => self.list_roots(r),
            Request::CreateOrganizationalUnit(r) => self.create_unit(r).await,
            Request::DescribeOrganizationalUnit(r) => self.describe_unit(&r.organizational_unit_id),
            Request::UpdateOrganizationalUnit(r) => self.update_unit(r).await,
            Request::DeleteOrganizationalUnit(r) => {
                self.change(OrganizationAction::DeleteUnit { unit: r.organizational_unit_id }).await
            }
            Request::ListOrganizationalUnitsForParent(r) => self.list_units(r),
            Request::ListAccounts(r) => self.list_accounts(r),
            Request::ListAccountsForParent(r) => self.list_accounts_for_parent(r),
            Request::ListChildren(r) => self.list_children(r),
            Request::ListParents(r) => self.list_parents(r),
            Request::DescribeAccount(r) => self.describe_account(&r.account_id),
            Request::CreateAccount(r) => self.create_account(r).await,
            Request::DescribeCreateAccountStatus(r) => self.describe_creation(&r.create_account_request_id),
            Request::ListCreateAccountStatus(r) => self.list_creations(r),
            Request::MoveAccount(r) => {
                let account = account_id(&r.account_id)?;
                let (from, to) = (r.source_parent_id, r.destination_parent_id);
                self.change(OrganizationAction::MoveAccount { account, from, to }).await
            }
            Request::RemoveAccountFromOrganization(r) => {
                let account = account_id(&r.account_id)?;
                self.change(OrganizationAction::RemoveAccount { account }).await
            }
            Request::LeaveOrganization(_) => {
                self.execute(OrganizationAction::Leave).await?;
                Ok(json!({}))
            }
            Request::InviteAccountToOrganization(r) => self.invite(r).await,
            Request::AcceptHandshake(r) => self.accept(r.handshake_id).await,
            Request::DeclineHandshake(r) => self.decline(r.handshake_id).await,
            Request::CancelHandshake(r) => self.cancel(r.handshake_id).await,
            Request::DescribeHandshake(r) => self.show_handshake(&r.handshake_id),
            Request::ListHandshakesForAccount(r) => self.list_handshakes_for_account(r),
            Request::ListHandshakesForOrganization(r) => self.list_handshakes_for_organization(r),
            Request::EnablePolicyType(r) => self.set_policy_type(&r.root_id, &r.policy_type, true).await,
            Request::DisablePolicyType(r) => self.set_policy_type(&r.root_id, &r.policy_type, false).await,
            Request::CreatePolicy(r) => self.create_policy(r).await,
            Request::DescribePolicy(r) => self.describe_policy(&r.policy_id),
            Request::UpdatePolicy(r) => self.update_policy(r).await,
            Request::DeletePolicy(r) => {
                self.change(OrganizationAction::DeletePolicy { policy: r.policy_id }).await
            }
            Request::ListPolicies(r) => self.list_policies(r),
            Request::ListPoliciesForTarget(r) => self.list_policies_for_target(r),
            Request::ListTargetsForPolicy(r) => self.list_targets_for_policy(r),
            Request::AttachPolicy(r) => {
                let (policy, target) = (r.policy_id, r.target_id);
                self.change(OrganizationAction::AttachPolicy { policy, target }).await
            }
            Request::DetachPolicy(r) => {
                let (policy, target) = (r.policy_id, r.target_id);
                self.change(OrganizationAction::DetachPolicy { policy, target }).await
            }
            Request::TagResource(r) => {
                let tags = tags(r.tags)?;
                self.change(OrganizationAction::Tag { resource: r.resource_id, tags }).await
            }
            Request::UntagResource(r) => {
                let keys = r.tag_keys;
                self.change(OrganizationAction::Untag { resource: r.resource_id, keys }).await
            }
            Request::ListTagsForResource(r) => self.list_tags(r),
        }
    }
}

/// Twelve digits, of an account of the organization or not.
pub(super) fn account_id(text: &str) -> Outcome<AccountId> {
    text.parse().map_err(|_| error::not_found(Node::Account))
}

/// Tags of a request. A key may stand once.
pub(super) fn tags(given: Vec<Tag>) -> Outcome<TagSet> {
    let mut set = TagSet::new();
    for Tag { key, value } in given {
        if set.iter().any(|(other, _)| other.eq_ignore_ascii_case(&key)) {
            let message = "Duplicate tag keys found. Please note that tag keys are case insensitive.";
            return Err(error::invalid_input("DUPLICATE_TAG_KEY", message));
        }
        set.push((key, value));
    }
    Ok(set)
}

/// Refuses a text that is too short or too long.
pub(super) fn sized(name: &str, text: &str, least: usize, most: usize) -> Outcome<()> {
    let length = text.chars().count();
    let reason = match length {
        short if short < least => "MIN_LENGTH_EXCEEDED",
        long if long > most => "MAX_LENGTH_EXCEEDED",
        _ => return Ok(()),
    };
    let message = format!("{name} must have {least} to {most} characters, not {length}.");
    Err(error::invalid_input(reason, message))
}
