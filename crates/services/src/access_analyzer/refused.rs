//! The findings of a document that cannot be used: every reason against it, as far as it can be read on.

use postern_policy::{Kind, ParseError, Place, Problem};

use super::finding::{Check, Finding};
use super::path;

pub(super) fn finding(error: &ParseError, text: &str) -> Finding {
    let place = error.place();
    let (check, details) = match error {
        ParseError::TooLong { kind, limit, actual } => too_long(*kind, *limit, *actual),
        ParseError::NotUtf8 { .. } => {
            (Check::error("json-syntax-error"), "Fix the JSON syntax error.".into())
        }
        ParseError::Json { place, .. } => {
            let (offset, Place { line, column }) = (path::offset(text, *place), *place);
            let details = format!("Fix the JSON syntax error at index {offset} line {line} column {column}.");
            (Check::error("json-syntax-error"), details)
        }
        ParseError::Element { at, problem, .. } => element(at, problem),
    };
    check.finding(place, details)
}

fn too_long(kind: Kind, limit: usize, actual: usize) -> (Check, String) {
    let granular = "We recommend that you use multiple granular policies.";
    match kind {
        Kind::ServiceControl | Kind::ResourceControl => (
            Check::error("policy-size-exceeds-scp-quota"),
            format!(
                "The {actual} characters in the service control policy (SCP) exceed the {limit} character maximum for SCPs. \
                 {granular}"
            ),
        ),
        Kind::Trust => (
            Check::warning("policy-size-exceeds-role-trust-policy-quota"),
            "The characters in the role trust policy, excluding whitespace, exceed the character maximum. We recommend that \
             you request a role trust policy length quota increase using Service Quotas and AWS Support Center. If the \
             quotas have already been increased, then you can ignore this warning."
                .to_owned(),
        ),
        Kind::Identity | Kind::Boundary | Kind::Session => (
            Check::warning("policy-size-exceeds-identity-policy-quota"),
            format!(
                "The {actual} characters in the identity policy, excluding whitespace, exceed the {limit} character maximum \
                 for inline and managed policies. {granular}"
            ),
        ),
        Kind::Resource | Kind::Endpoint { .. } => (
            Check::warning("policy-size-exceeds-resource-policy-quota"),
            format!(
                "The {actual} characters in the resource policy exceed the {limit} character maximum for resource policies. \
                 {granular}"
            ),
        ),
    }
}

/// What is wrong with one element. Where AWS's sentence says less than is known, what is known follows it.
fn element(at: &str, problem: &Problem) -> (Check, String) {
    let last = at.rsplit('.').next().unwrap_or(at);
    let error = |name: &'static str, details: String| (Check::error(name), details);
    match problem {
        Problem::WrongType { expected, found } => error(
            "data-type-mismatch",
            format!("The text does not match the expected JSON data type {expected}. It is {found}."),
        ),
        Problem::UnknownElement(name) => {
            error("invalid-policy-element", format!("The policy element {name} is not valid."))
        }
        Problem::Missing(name) => missing(name),
        Problem::Both(first, second) => error(
            "unsupported-element-combination",
            format!(
                "The policy elements {first} and {second} can not be used in the same statement. Remove one of these elements."
            ),
        ),
        Problem::Forbidden { element, kind } => forbidden(element, *kind),
        Problem::Empty => {
            error("invalid-policy-element", format!("The policy element {last} is not valid. It must not be empty."))
        }
        Problem::BadVersion(version) => error(
            "invalid-version",
            format!(
                "The version {version} is not valid. Use one of the following versions: 2012-10-17, 2008-10-17"
            ),
        ),
        Problem::BadEffect(effect) => {
            error("invalid-effect", format!("The effect {effect} is not valid. Use Allow or Deny."))
        }
        Problem::BadSid(_) => error(
            "unsupported-sid",
            "Update the characters in the Sid element to use one of the following character types: [a-z, A-Z, 0-9]"
                .to_owned(),
        ),
        Problem::DuplicateSid(_) => error(
            "unique-sids-required",
            "Duplicate statement IDs are not supported for this policy type. Update the Sid value.".to_owned(),
        ),
        Problem::BadCharacter { .. } => {
            error("json-syntax-error", format!("Fix the JSON syntax error. In {at}: {problem}."))
        }
        Problem::BadAction { value, why } => {
            error("invalid-action", format!("The action {value} does not exist: {why}."))
        }
        Problem::BadResource { why, .. } => error(
            "invalid-arn-resource",
            format!(
                "Resource ARN does not match the expected ARN format. Update the resource portion of the ARN: {why}."
            ),
        ),
        Problem::BadPrincipal { value, why } => error(
            "invalid-principal-format",
            format!(
                "The Principal element contents are not valid. Specify a key-value pair in the Principal element. {value}: \
                 {why}."
            ),
        ),
        Problem::BadStatement { .. } => {
            error("unsupported-element-combination", format!("{at} is not valid: {problem}."))
        }
        Problem::DuplicateConditionKey(key, _) => error(
            "duplicate-keys-with-different-case",
            format!(
                "The condition key {key} appears more than once with different capitalization in the same condition block. \
                 Remove the duplicate condition keys."
            ),
        ),
        Problem::UnknownOperator(operator) => error(
            "invalid-condition-operator",
            format!("The condition operator {operator} is not valid. Use a valid condition operator."),
        ),
        Problem::BadConditionKey(_) => error(
            "invalid-condition-key-format",
            "The condition key format is not valid. Use the format service:keyname.".to_owned(),
        ),
        Problem::BadValue { .. } => bad_value(at),
        Problem::BadVariable(variable) => bad_variable(variable),
        Problem::EndpointRule { value, why } => {
            error("invalid-policy-element", format!("The policy element {value} is not valid: {why}."))
        }
    }
}

fn missing(name: &str) -> (Check, String) {
    let (check, details) = match name {
        "Action" => ("missing-action", "Add an Action or NotAction element to the policy statement."),
        "Effect" => {
            ("missing-effect", "Add an Effect element to the policy statement with a value of Allow or Deny.")
        }
        "Principal" => ("missing-principal", "Add a Principal element to the policy statement."),
        "Resource" => ("missing-resource", "Add a Resource or NotResource element to the policy statement."),
        "Statement" => ("missing-statement", "Add a statement to the policy"),
        other => {
            let details = format!("The policy element {other} is not there. Add it.");
            return (Check::error("invalid-policy-element"), details);
        }
    };
    (Check::error(check), details.to_owned())
}

fn forbidden(element: &str, kind: Kind) -> (Check, String) {
    let error = |name: &'static str, details: &str| (Check::error(name), details.to_owned());
    match (element, kind) {
        ("Principal" | "NotPrincipal", Kind::ServiceControl) => error(
            "scp-syntax-error-principal",
            "SCPs do not support specifying principals. Remove the Principal or NotPrincipal element.",
        ),
        ("Principal" | "NotPrincipal", Kind::Identity) => error(
            "unsupported-principal",
            "The policy type IDENTITY_POLICY does not support the Principal element. Remove the Principal element.",
        ),
        ("Resource" | "NotResource", Kind::Trust) => error(
            "role-trust-policy-syntax-error-resource",
            "Role trust policies apply to the role that they are attached to. You cannot specify a resource. Remove the \
             Resource or NotResource element.",
        ),
        (element, kind) => (
            Check::error("invalid-policy-element"),
            format!("The policy element {element} is not valid in {kind}."),
        ),
    }
}

/// The value of a condition, by its operator: `Statement[0].Condition.NumericLessThan.…`.
fn bad_value(at: &str) -> (Check, String) {
    let operator = at.split("Condition.").nth(1).and_then(|rest| rest.split('.').next()).unwrap_or_default();
    let bare = operator.rsplit(':').next().unwrap_or_default();
    let (name, details) = if bare.starts_with("Numeric") {
        ("type-mismatch-number", format!("Add a valid numeric value for the condition operator {operator}."))
    } else if bare.starts_with("Date") {
        let details = "The date condition operator is used with an invalid value. Specify a valid date using YYYY-MM-DD or \
                       other ISO 8601 date/time format.";
        ("type-mismatch-date", details.to_owned())
    } else if bare.contains("IpAddress") {
        let details = format!(
            "The condition operator {operator} is used with an invalid IP range value. Specify the IP range in standard CIDR \
             format."
        );
        ("type-mismatch-ip-range", details)
    } else if bare.starts_with("Binary") {
        let details =
            format!("Add a valid base64-encoded string value for the condition operator {operator}.");
        ("type-mismatch-string", details)
    } else {
        let details =
            format!("Add a valid Boolean value (true or false) for the condition operator {operator}.");
        ("type-mismatch-boolean", details)
    };
    (Check::warning(name), details)
}

fn bad_variable(variable: &str) -> (Check, String) {
    let inside = variable.trim_start_matches("${").trim_end_matches('}');
    let (name, details) = if !variable.ends_with('}') {
        (
            "missing-brace-in-variable",
            "The policy variable is missing a closing curly brace. Add } after the variable text.",
        )
    } else if inside.trim().is_empty() {
        (
            "empty-variable",
            "Empty policy variable. Remove the ${ } variable structure or provide a variable within the structure.",
        )
    } else if inside.contains(',') {
        (
            "missing-quote-in-variable",
            "The policy variable default value must begin and end with a single quote. Add the missing quote.",
        )
    } else {
        (
            "unsupported-space-in-variable",
            "A space is not supported within the policy variable text. Remove the space.",
        )
    };
    (Check::error(name), details.to_owned())
}
