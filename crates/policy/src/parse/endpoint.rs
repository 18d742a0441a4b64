//! What endpoint policies may not do with wildcards.
//!
//! <https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-access.html>

use super::condition::Base;
use crate::document::Kind;
use crate::error::Problem;
use crate::pattern::ArnPattern;

/// Global keys whose values AWS generates. Organization paths are left out: they are matched by wildcards.
const GENERATED_IDS: [&str; 11] = [
    "aws:principalaccount",
    "aws:principalorgid",
    "aws:resourceaccount",
    "aws:resourceorgid",
    "aws:sourceaccount",
    "aws:sourceorgid",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:vpceaccount",
    "aws:vpceorgid",
    "aws:ec2instancesourcevpc",
];

/// How many characters have to stand beside a wildcard.
const BESIDE_WILDCARD: usize = 6;

pub(super) fn check_arn(text: &str, pattern: &ArnPattern, kind: Kind) -> Result<(), Problem> {
    if is_endpoint(kind) && pattern.mixes_account() {
        return rule(text, "the account of an arn is an id or a wildcard in an endpoint policy, not both");
    }
    Ok(())
}

pub(super) fn check_condition(base: Base, key: &str, values: &[String], kind: Kind) -> Result<(), Problem> {
    if !is_endpoint(kind) {
        return Ok(());
    }
    let generated = GENERATED_IDS.iter().any(|id| id.eq_ignore_ascii_case(key));
    match base {
        Base::Numeric(_) if generated => {
            rule(key, "numeric operators cannot be used with this key in an endpoint policy")
        }
        Base::StringLike => values.iter().try_for_each(|value| check_wildcards(value, generated)),
        Base::StringEquals
        | Base::StringEqualsIgnoreCase
        | Base::Numeric(_)
        | Base::Date(_)
        | Base::Bool
        | Base::BinaryEquals
        | Base::IpAddress
        | Base::Arn
        | Base::Null => Ok(()),
    }
}

fn check_wildcards(value: &str, generated: bool) -> Result<(), Problem> {
    let is_wildcard = |c: char| c == '*' || c == '?';
    if generated && value.contains(is_wildcard) {
        return rule(value, "wildcards cannot be used with this key in an endpoint policy");
    }
    let pieces: Vec<usize> = value.split(is_wildcard).map(|piece| piece.chars().count()).collect();
    let lonely = pieces.windows(2).any(|beside| beside.iter().all(|length| *length < BESIDE_WILDCARD));
    if lonely {
        return rule(value, "a wildcard in an endpoint policy needs six characters before or after it");
    }
    Ok(())
}

fn is_endpoint(kind: Kind) -> bool {
    match kind {
        Kind::Endpoint { .. } => true,
        Kind::Identity
        | Kind::Resource
        | Kind::Trust
        | Kind::Boundary
        | Kind::Session
        | Kind::ServiceControl
        | Kind::ResourceControl => false,
    }
}

fn rule(value: &str, why: &'static str) -> Result<(), Problem> {
    Err(Problem::EndpointRule { value: value.to_owned(), why })
}
