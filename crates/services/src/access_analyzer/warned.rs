//! Findings of a document that can be used.

use postern_policy::{Concern, PolicyDocument, Warning};

use super::finding::{Check, Finding};

/// In the order of the text.
pub(super) fn findings(document: &PolicyDocument, resource_type: Option<&str>) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    if !document.names_version() {
        let details =
            "We recommend that you specify the Version element to help you with debugging permission issues.";
        all.push(Check::warning("missing-version").finding(None, details));
    }
    let warned = document.warnings();
    all.extend(warned.iter().filter_map(|warning| of_warning(document, warning)));
    if let Some(resource_type) = resource_type {
        all.extend(of_other_services(document, resource_type));
    }
    all.sort_by_key(|finding| finding.place);
    // Of several private addresses in one condition there is one finding.
    all.dedup();
    all
}

/// The prefix of the actions on a type of resources.
pub(super) fn prefix_of(resource_type: &str) -> Option<&'static str> {
    match resource_type {
        "AWS::S3::Bucket" | "AWS::S3::AccessPoint" | "AWS::S3::MultiRegionAccessPoint" => Some("s3:"),
        "AWS::S3ObjectLambda::AccessPoint" => Some("s3-object-lambda:"),
        "AWS::DynamoDB::Table" => Some("dynamodb:"),
        "AWS::IAM::AssumeRolePolicyDocument" => Some("sts:"),
        _ => None,
    }
}

fn of_other_services(document: &PolicyDocument, resource_type: &str) -> Vec<Finding> {
    let Some(prefix) = prefix_of(resource_type) else { return Vec::new() };
    let all = (0..document.statement_count()).flat_map(|statement| document.actions(statement));
    let others = all.filter(|(action, _)| {
        *action != "*" && *action != "*:*" && !action.to_ascii_lowercase().starts_with(prefix)
    });
    let finding = |(action, place)| {
        let details = format!(
            "The action {action} is not supported for the resource-based policy attached to the resource type \
             {resource_type}."
        );
        Check::error("unsupported-action-in-policy").finding(Some(place), details)
    };
    others.map(finding).collect()
}

/// What AWS says of the same; nothing where it has no check for it.
fn of_warning(document: &PolicyDocument, warning: &Warning) -> Option<Finding> {
    let (check, details) = match &warning.concern {
        Concern::UnknownService { action } => {
            let service = action.split(':').next().unwrap_or_default();
            let details = format!("The service {service} specified in the action does not exist.");
            (Check::error("invalid-service-in-action"), details)
        }
        Concern::UnknownAction { action, near } => {
            let meant = near.as_ref().map(|near| format!(" Did you mean {near}?")).unwrap_or_default();
            (Check::error("invalid-action"), format!("The action {action} does not exist.{meant}"))
        }
        Concern::UnknownKey { key, near: _ } => unknown_key(key),
        Concern::KeyOfOtherActions { key } => {
            let actions: Vec<&str> = document.actions(warning.statement).map(|(action, _)| action).collect();
            let details = format!(
                "The following actions: {} are not supported by the condition key {key}. The condition will not be \
                 evaluated for these actions. We recommend that you move these actions to a different statement without \
                 this condition key.",
                actions.join(", ")
            );
            (Check::error("unsupported-action-for-condition-key"), details)
        }
        Concern::TypeMismatch { key, operator, wanted } => {
            let details = format!(
                "Use the operator type {wanted} instead of operator {operator} for the condition key {key}."
            );
            (Check::warning("type-mismatch"), details)
        }
        Concern::PrivateSourceIp { network: _, negated, all } => private_address(*negated, *all),
        Concern::ForAllValuesOnSingle { key } => {
            let details = format!(
                "Using ForAllValues qualifier with the single-valued condition key {key} can be overly permissive. We \
                 recommend that you remove ForAllValues:."
            );
            (Check::security("forallvalues-with-single-valued-key"), details)
        }
        Concern::SetWithoutQuantifier { key } => {
            let details = format!(
                "The request context key {key} has multiple values. Use the ForAllValues or ForAnyValue condition key \
                 qualifiers in your policy."
            );
            (Check::error("missing-qualifier"), details)
        }
        Concern::LiteralWildcard { .. } => {
            let details = "Your condition value includes a * or ? character. If you meant to use a wildcard (*, ?), update \
                           the condition operator to include Like.";
            (Check::warning("wildcard-without-like-operator"), details.to_owned())
        }
        Concern::LiteralVariable { .. } => {
            let details = "To include variables in your policy, use the policy version 2012-10-17 or later.";
            (Check::error("variable-unsupported-in-version"), details.to_owned())
        }
        Concern::AllowsAllOthers => {
            let details = "Using Allow with NotPrincipal can be overly permissive. We recommend that you use Principal \
                           instead.";
            (Check::security("allow-with-not-principal"), details.to_owned())
        }
        // AWS has no check for these; some can only stand in endpoint policies, which it does not validate.
        Concern::UnreachedService { .. }
        | Concern::KeyOfTheEndpointItself { .. }
        | Concern::KeyAbsentThroughEndpoints { .. }
        | Concern::ForAllValuesWithoutNull { .. }
        | Concern::AllowsNothing { .. }
        | Concern::DeniesAllOthers
        | Concern::AccountIsRootOnly { .. } => return None,
        // The enum may grow; a concern that is new is no finding of AWS's until somebody looked.
        _ => return None,
    };
    Some(check.finding(Some(warning.place), details))
}

fn unknown_key(key: &str) -> (Check, String) {
    match key.split_once(':') {
        Some((service, _)) if !service.eq_ignore_ascii_case("aws") => {
            let details = format!(
                "The condition key {key} does not exist in the service {service}. Use a valid condition key."
            );
            (Check::error("invalid-service-condition-key"), details)
        }
        Some(_) | None => {
            let details = format!("The condition key {key} does not exist. Use a valid condition key.");
            (Check::error("invalid-global-condition-key"), details)
        }
    }
}

fn private_address(negated: bool, all: bool) -> (Check, String) {
    let effect = if negated { "have no effect" } else { "will not have the desired effect" };
    let details = if all {
        let (first, second) = (
            "aws:SourceIp works only for public IP address ranges.",
            "The values for condition key aws:SourceIp include only private IP addresses and",
        );
        let last = "Update the value to include only public IP addresses.";
        if negated {
            format!("{second} has no effect. {first} {last}")
        } else {
            format!("{first} {second} {effect}. {last}")
        }
    } else {
        format!(
            "The values for condition key aws:SourceIp include a mix of private and public IP addresses. The private \
             addresses {effect}. aws:SourceIp works only for public IP address ranges. To define permissions for private \
             IP ranges, use aws:VpcSourceIp."
        )
    };
    let check = match (all, negated) {
        (true, false) => Check::error("private-ip-address"),
        (true, true) => Check::error("private-not-ip-address"),
        (false, false) => Check::suggestion("private-ip-address-subset"),
        (false, true) => Check::suggestion("private-not-ip-address-subset"),
    };
    (check, details)
}
