//! Policies that a simulation leaves out, as if they were not attached.

use postern_policy::Glob;
use postern_wire::iam::{InlinePolicyIdentifierType, PolicyIdentifier};

use super::super::Outcome;
use super::super::error::invalid;
use crate::directory::managed::ARN_PREFIX;

/// What is left out.
pub(super) enum Exclusion {
    /// Every policy of a type.
    Type(String),
    /// Managed policies by ARN, with wildcards in the name.
    Managed(Glob),
    /// An inline policy of entities whose name fits.
    Inline { policy: String, attachment_type: String, attachment: Glob },
}

/// Reads a list of them.
pub(super) fn read(list: Vec<PolicyIdentifier>) -> Outcome<Vec<Exclusion>> {
    list.into_iter().map(one).collect()
}

fn one(identifier: PolicyIdentifier) -> Outcome<Exclusion> {
    let PolicyIdentifier { inline_policy_identifier, policy_arn, policy_type } = identifier;
    match (inline_policy_identifier, policy_arn, policy_type) {
        (Some(inline), None, None) => read_inline(inline),
        (None, Some(arn), None) => read_arn(&arn),
        (None, None, Some(name)) => Ok(Exclusion::Type(name)),
        _ => Err(invalid(
            "An entry of PolicyExclusionList has one of PolicyType, PolicyArn and InlinePolicyIdentifier.",
        )),
    }
}

fn read_inline(inline: InlinePolicyIdentifierType) -> Outcome<Exclusion> {
    let InlinePolicyIdentifierType { attachment_name, attachment_type, policy_name } = inline;
    match (attachment_name, attachment_type, policy_name) {
        (Some(attachment), Some(attachment_type), Some(policy)) => {
            Ok(Exclusion::Inline { policy, attachment_type, attachment: Glob::new(&attachment) })
        }
        _ => Err(invalid("An InlinePolicyIdentifier of PolicyExclusionList is not complete.")),
    }
}

/// One star at most, and no wildcard before the name.
fn read_arn(text: &str) -> Outcome<Exclusion> {
    let before_name = text.split_once(":policy/").map(|(before, _)| before);
    let well_formed = before_name.is_some_and(|before| {
        before.starts_with("arn:aws:iam::") && !before.contains(['*', '?']) && text.matches('*').count() <= 1
    });
    if well_formed {
        Ok(Exclusion::Managed(Glob::new(text)))
    } else {
        Err(invalid(format!("Invalid PolicyArn {text} in PolicyExclusionList.")))
    }
}

impl Exclusion {
    /// Whether this inline policy of this entity is left out.
    pub(super) fn is_inline(&self, kind: &str, name: &str, policy: &str) -> bool {
        match self {
            Self::Type(type_name) => type_name == "inline",
            Self::Managed(_) => false,
            Self::Inline { policy: wanted, attachment_type, attachment } => {
                wanted == policy && attachment_type == kind && attachment.matches(name)
            }
        }
    }

    /// Whether this managed policy is left out.
    pub(super) fn is_managed(&self, arn: &str) -> bool {
        match self {
            Self::Type(name) if name == "aws-managed" => arn.starts_with(ARN_PREFIX),
            Self::Type(name) if name == "user-managed" => !arn.starts_with(ARN_PREFIX),
            Self::Type(_) | Self::Inline { .. } => false,
            Self::Managed(pattern) => pattern.matches(arn),
        }
    }

    /// Whether this service control policy is left out.
    pub(super) fn is_service_control(&self, arn: &str) -> bool {
        match self {
            Self::Type(name) => name == "scp",
            Self::Managed(pattern) => pattern.matches(arn),
            Self::Inline { .. } => false,
        }
    }

    /// Whether this policy is left out as a permissions boundary.
    pub(super) fn is_boundary(&self, arn: &str) -> bool {
        match self {
            Self::Type(name) => name == "permission-boundary",
            Self::Managed(pattern) => pattern.matches(arn),
            Self::Inline { .. } => false,
        }
    }
}
