//! Organizations' codes and sentences for what cannot be done ("Errors" of each operation in the Organizations API
//! reference).

use postern_frontdoor::JsonError;
use postern_model::ModelError;
use postern_model::organization::{Node, OrganizationRefusal as Refusal};
use serde_json::json;

use crate::commands::CommandError;

pub(super) fn error(code: &str, message: impl Into<String>) -> JsonError {
    let message = message.into();
    let body = json!({ "__type": code, "Message": message }).to_string();
    JsonError { code: code.to_owned(), message, status: 400, body }
}

fn with_reason(code: &str, reason: &str, message: impl Into<String>) -> JsonError {
    let message = message.into();
    let body = json!({ "__type": code, "Message": message, "Reason": reason }).to_string();
    JsonError { code: code.to_owned(), message, status: 400, body }
}

pub(super) fn invalid_input(reason: &str, message: impl Into<String>) -> JsonError {
    with_reason("InvalidInputException", reason, message)
}

fn constraint(reason: &str, message: impl Into<String>) -> JsonError {
    with_reason("ConstraintViolationException", reason, message)
}

/// Not JSON at all.
pub(super) fn malformed_document() -> JsonError {
    JsonError::common("SerializationException", "")
}

pub(super) fn malformed_policy(why: &str) -> JsonError {
    let message = format!(
        "The provided policy document does not meet the requirements of the specified policy type: {why}."
    );
    error("MalformedPolicyDocumentException", message)
}

pub(super) fn not_in_use() -> JsonError {
    error("AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
}

pub(super) fn denied() -> JsonError {
    error("AccessDeniedException", "You don't have permissions to access this resource.")
}

pub(super) fn not_found(node: Node) -> JsonError {
    let (code, what) = match node {
        Node::Root => ("RootNotFoundException", "a root"),
        Node::Unit => ("OrganizationalUnitNotFoundException", "an organizational unit"),
        Node::Account => ("AccountNotFoundException", "an account"),
        Node::Parent => ("ParentNotFoundException", "a parent"),
        Node::Destination => ("DestinationParentNotFoundException", "a destination parent"),
        Node::Target => ("TargetNotFoundException", "a target"),
        Node::Policy => ("PolicyNotFoundException", "a policy"),
        Node::Handshake => ("HandshakeNotFoundException", "a handshake"),
    };
    error(code, format!("You specified {what} that doesn't exist."))
}

pub(super) fn of_command(failure: &CommandError) -> JsonError {
    match failure {
        CommandError::Refused(ModelError::Organization(refusal)) => of_refusal(refusal),
        CommandError::Refused(ModelError::TooManyTags { limit }) => {
            constraint("MAX_TAG_LIMIT_EXCEEDED", format!("A resource can have at most {limit} tags."))
        }
        CommandError::Refused(ModelError::IdentityName { name, .. }) => invalid_input(
            "INVALID_ROLE_NAME",
            format!("You provided the role name {name}, which is not valid."),
        ),
        CommandError::Refused(other) => {
            invalid_input("INVALID_PATTERN", format!("The request cannot be carried out: {other}."))
        }
        CommandError::Storage(reason) => {
            JsonError::internal(format!("a change could not be stored: {reason}"))
        }
    }
}

fn of_refusal(refusal: &Refusal) -> JsonError {
    match refusal {
        Refusal::NotInUse => not_in_use(),
        Refusal::NotManagement => denied(),
        Refusal::AlreadyIn(_) => error(
            "AlreadyInOrganizationException",
            "The provided account is already a member of an organization.",
        ),
        Refusal::NotFound { node, .. } => not_found(*node),
        Refusal::NotEmpty => error(
            "OrganizationNotEmptyException",
            "To delete an organization you must first remove all member accounts (except the master).",
        ),
        Refusal::UnitNotEmpty(_) => error(
            "OrganizationalUnitNotEmptyException",
            "The specified OU is not empty. Move all accounts to another root or to other OUs, remove all child \
             OUs, and try the operation again.",
        ),
        Refusal::UnitExists(_) => {
            error("DuplicateOrganizationalUnitException", "An OU with the same name already exists.")
        }
        Refusal::TooDeep(_) => constraint(
            "OU_DEPTH_LIMIT_EXCEEDED",
            "You attempted to create an OU tree that is too many levels deep.",
        ),
        Refusal::NotThere { .. } => error(
            "SourceParentNotFoundException",
            "You specified a source parent that doesn't exist, or that the account is not in.",
        ),
        Refusal::ThereAlready { .. } => error(
            "DuplicateAccountException",
            "That account is already present in the specified destination.",
        ),
        Refusal::ManagementStays => error(
            "MasterCannotLeaveOrganizationException",
            "You can't remove a management account from an organization. If you want the management account to \
             become a member account in another organization, you must first delete the current organization of \
             the management account.",
        ),
        Refusal::BillingOnly => error(
            "PolicyTypeNotAvailableForOrganizationException",
            "You can't use the specified policy type with the feature set currently enabled for this \
             organization.",
        ),
        Refusal::TypeEnabled => {
            error("PolicyTypeAlreadyEnabledException", "The specified policy type is already enabled.")
        }
        Refusal::TypeNotEnabled => error(
            "PolicyTypeNotEnabledException",
            "This operation can be performed only for enabled policy types.",
        ),
        Refusal::PolicyExists(_) => {
            error("DuplicatePolicyException", "A policy with the same name already exists.")
        }
        Refusal::PolicyAttached(_) => error(
            "PolicyInUseException",
            "The policy is attached to one or more entities. You must detach it from all roots, OUs, and \
             accounts before performing this operation.",
        ),
        Refusal::PolicyOfAws(_) => invalid_input(
            "IMMUTABLE_POLICY",
            "You specified a policy that is managed by AWS and can't be modified.",
        ),
        Refusal::AttachedAlready { .. } => error(
            "DuplicatePolicyAttachmentException",
            "The selected policy is already attached to the specified target.",
        ),
        Refusal::NotAttached { .. } => {
            error("PolicyNotAttachedException", "The policy isn't attached to the specified target.")
        }
        Refusal::LastPolicy(_) => constraint(
            "MIN_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED",
            "You cannot remove the last policy attached to the specified target. You must have at least one \
             attached at all times.",
        ),
        Refusal::TooManyAttached { .. } => constraint(
            "MAX_POLICY_TYPE_ATTACHMENT_LIMIT_EXCEEDED",
            "You have attached the maximum number of policies to the specified target.",
        ),
        Refusal::InvitedAlready(_) => error(
            "DuplicateHandshakeException",
            "A handshake with the same action and target already exists.",
        ),
        Refusal::HandshakeSettled(_) => error(
            "InvalidHandshakeTransitionException",
            "You can't perform the operation on the handshake in its current state.",
        ),
        Refusal::EmailTaken(_) => constraint(
            "EMAIL_ALREADY_EXISTS",
            "Another account of this region has that email address already.",
        ),
        Refusal::Full { what, limit } => {
            let reason = match *what {
                "organizational units" => "OU_NUMBER_LIMIT_EXCEEDED",
                "policies of the type" => "POLICY_NUMBER_LIMIT_EXCEEDED",
                _ => "ACCOUNT_NUMBER_LIMIT_EXCEEDED",
            };
            constraint(reason, format!("You have exceeded the allowed number of {what}: {limit}."))
        }
    }
}
