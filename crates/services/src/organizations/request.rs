//! The requests of the operations that are served, as AWS's model has them.
//!
//! INVARIANT: a member that is not here refuses the request by its name.

use postern_frontdoor::JsonError;
use serde::Deserialize;

use super::error::{self, invalid_input};
use crate::json_requests::requests;

requests! {
    CreateOrganization { feature_set: Option<String> }
    DescribeOrganization {}
    DeleteOrganization {}
    ListRoots { next_token: Option<String>, max_results: Option<i64> }
    CreateOrganizationalUnit { parent_id: String, name: String, #[serde(default)] tags: Vec<Tag> }
    DescribeOrganizationalUnit { organizational_unit_id: String }
    UpdateOrganizationalUnit { organizational_unit_id: String, name: Option<String> }
    DeleteOrganizationalUnit { organizational_unit_id: String }
    ListOrganizationalUnitsForParent {
        parent_id: String, next_token: Option<String>, max_results: Option<i64>
    }
    ListAccounts { next_token: Option<String>, max_results: Option<i64> }
    ListAccountsForParent { parent_id: String, next_token: Option<String>, max_results: Option<i64> }
    ListChildren {
        parent_id: String, child_type: String, next_token: Option<String>, max_results: Option<i64>
    }
    ListParents { child_id: String, next_token: Option<String>, max_results: Option<i64> }
    DescribeAccount { account_id: String }
    CreateAccount {
        email: String, account_name: String, role_name: Option<String>,
        iam_user_access_to_billing: Option<String>, #[serde(default)] tags: Vec<Tag>
    }
    DescribeCreateAccountStatus { create_account_request_id: String }
    ListCreateAccountStatus {
        #[serde(default)] states: Vec<String>, next_token: Option<String>, max_results: Option<i64>
    }
    MoveAccount { account_id: String, source_parent_id: String, destination_parent_id: String }
    RemoveAccountFromOrganization { account_id: String }
    LeaveOrganization {}
    InviteAccountToOrganization { target: Party, notes: Option<String>, #[serde(default)] tags: Vec<Tag> }
    AcceptHandshake { handshake_id: String }
    DeclineHandshake { handshake_id: String }
    CancelHandshake { handshake_id: String }
    DescribeHandshake { handshake_id: String }
    ListHandshakesForAccount {
        filter: Option<HandshakeFilter>, next_token: Option<String>, max_results: Option<i64>
    }
    ListHandshakesForOrganization {
        filter: Option<HandshakeFilter>, next_token: Option<String>, max_results: Option<i64>
    }
    EnablePolicyType { root_id: String, policy_type: String }
    DisablePolicyType { root_id: String, policy_type: String }
    CreatePolicy {
        content: String, description: String, name: String, #[serde(rename = "Type")] kind: String,
        #[serde(default)] tags: Vec<Tag>
    }
    DescribePolicy { policy_id: String }
    UpdatePolicy {
        policy_id: String, name: Option<String>, description: Option<String>, content: Option<String>
    }
    DeletePolicy { policy_id: String }
    ListPolicies { filter: String, next_token: Option<String>, max_results: Option<i64> }
    ListPoliciesForTarget {
        target_id: String, filter: String, next_token: Option<String>, max_results: Option<i64>
    }
    ListTargetsForPolicy { policy_id: String, next_token: Option<String>, max_results: Option<i64> }
    AttachPolicy { policy_id: String, target_id: String }
    DetachPolicy { policy_id: String, target_id: String }
    TagResource { resource_id: String, tags: Vec<Tag> }
    UntagResource { resource_id: String, tag_keys: Vec<String> }
    ListTagsForResource { resource_id: String, next_token: Option<String> }
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

/// Who is invited.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Party {
    pub(super) id: String,
    #[serde(rename = "Type")]
    pub(super) kind: String,
}

/// Which handshakes are wanted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct HandshakeFilter {
    pub(super) action_type: Option<String>,
    pub(super) parent_handshake_id: Option<String>,
}

fn document<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            let text = error.to_string();
            let text = text.split(" at line ").next().unwrap_or_default().to_owned();
            let reason = if text.starts_with("missing field") { "INPUT_REQUIRED" } else { "INVALID_PATTERN" };
            invalid_input(
                reason,
                format!("You provided invalid values for one or more of the request parameters: {text}."),
            )
        }
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => error::malformed_document(),
    })
}
