//! What services say of a policy document that they do not take: the sentence of AWS's service, and in brackets what it is about and
//! where, which AWS does not say.
//!
//! AWS documents the codes and few of the sentences; the others are as its users report them.

use postern_policy::{Kind, ParseError, Problem};

/// IAM's and STS's sentences.
pub fn by_iam(error: &ParseError, kind: Kind) -> String {
    let said = match error {
        ParseError::Json { .. } | ParseError::NotUtf8 { .. } if kind == Kind::Trust => {
            "This policy contains invalid Json".to_owned()
        }
        ParseError::Json { .. } | ParseError::NotUtf8 { .. } | ParseError::TooLong { .. } => {
            "Syntax errors in policy.".to_owned()
        }
        ParseError::Element { problem, .. } => of_iam(problem),
    };
    format!("{said} ({error})")
}

fn of_iam(problem: &Problem) -> String {
    match problem {
        Problem::Missing(element) if element.contains("Action") => {
            "Policy statement must contain actions.".to_owned()
        }
        Problem::Missing(element) if element.contains("Resource") => {
            "Policy statement must contain resources.".to_owned()
        }
        Problem::Missing("Principal") => "Missing required field Principal".to_owned(),
        Problem::Forbidden { element: "Principal" | "NotPrincipal", .. } => {
            "Policy document should not specify a principal.".to_owned()
        }
        Problem::Forbidden { element, .. } => format!("Has prohibited field {element}"),
        Problem::BadAction { value, .. } => match value.split_once(':') {
            None => "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.".to_owned(),
            Some((_, name)) if name.contains(':') => {
                "Actions/Condition can contain only one colon.".to_owned()
            }
            Some((vendor, _)) => format!("Vendor {vendor} is not valid"),
        },
        Problem::BadResource { value, .. } => format!("Resource {value} must be in ARN format or \"*\"."),
        Problem::BadPrincipal { value, .. } => format!("Invalid principal in policy: \"AWS\":\"{value}\""),
        Problem::DuplicateSid(_) => "Statement IDs (SID) in a single policy must be unique.".to_owned(),
        Problem::BadSid(_) => {
            "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular \
                               expression [0-9A-Za-z]*"
                .to_owned()
        }
        Problem::WrongType { .. }
        | Problem::UnknownElement(_)
        | Problem::Missing(_)
        | Problem::Both(..)
        | Problem::Empty
        | Problem::BadVersion(_)
        | Problem::BadEffect(_)
        | Problem::BadCharacter { .. }
        | Problem::BadStatement { .. }
        | Problem::DuplicateConditionKey(..)
        | Problem::UnknownOperator(_)
        | Problem::BadConditionKey(_)
        | Problem::BadValue { .. }
        | Problem::BadVariable(_)
        | Problem::EndpointRule { .. } => "Syntax errors in policy.".to_owned(),
    }
}

/// S3's sentences about bucket policies.
pub fn by_s3(error: &ParseError) -> String {
    let said = match error {
        ParseError::Json { .. } | ParseError::NotUtf8 { .. } | ParseError::TooLong { .. } => {
            "Policies must be valid JSON and the first byte must be '{'".to_owned()
        }
        ParseError::Element { problem, at, .. } => match problem {
            Problem::Missing(element) => {
                format!("Missing required field {}", element.split(' ').next().unwrap_or_default())
            }
            Problem::UnknownElement(name) => format!("Unknown field {name}"),
            Problem::BadEffect(effect) => format!("Invalid effect: {effect}"),
            Problem::BadAction { .. } => "Policy has invalid action".to_owned(),
            Problem::BadResource { .. } => "Policy has invalid resource".to_owned(),
            Problem::BadPrincipal { .. } => "Invalid principal in policy".to_owned(),
            Problem::UnknownOperator(operator) => format!("Invalid Condition type : {operator}"),
            Problem::BadConditionKey(key) => format!("Policy has an invalid condition key - {key}"),
            Problem::BadVersion(_) => "The policy must contain a valid version string".to_owned(),
            Problem::Empty if at == "Statement" => {
                "Could not parse the policy: Statement is empty!".to_owned()
            }
            Problem::WrongType { .. }
            | Problem::Both(..)
            | Problem::Forbidden { .. }
            | Problem::Empty
            | Problem::BadSid(_)
            | Problem::DuplicateSid(_)
            | Problem::BadCharacter { .. }
            | Problem::BadStatement { .. }
            | Problem::DuplicateConditionKey(..)
            | Problem::BadValue { .. }
            | Problem::BadVariable(_)
            | Problem::EndpointRule { .. } => "Invalid policy syntax.".to_owned(),
        },
    };
    format!("{said} ({error})")
}

/// EC2's sentence about the policies of endpoints: "The Policy Document is not valid. Syntax error at position (1,75)".
pub fn by_ec2(error: &ParseError) -> String {
    match error.place() {
        Some(place) => format!(
            "The Policy Document is not valid. Syntax error at position ({},{}) ({error})",
            place.line, place.column
        ),
        None => format!("The Policy Document is not valid. ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use postern_policy::PolicyDocument;

    use super::*;

    /// What the service says before the brackets.
    fn said(by: impl Fn(&ParseError) -> String, kind: Kind, text: &str) -> String {
        let error = PolicyDocument::parse(text, kind).unwrap_err();
        let all = by(&error);
        let detail = format!(" ({error})");
        all.strip_suffix(&detail).unwrap().to_owned()
    }

    #[test]
    fn iam_says_what_is_wrong() {
        let statement = |text: &str| format!(r#"{{"Version":"2012-10-17","Statement":{text}}}"#);
        for (kind, text, expected) in [
            (Kind::Identity, "{".to_owned(), "Syntax errors in policy."),
            (Kind::Trust, "{".to_owned(), "This policy contains invalid Json"),
            (
                Kind::Identity,
                statement(r#"{"Effect":"Allow","Resource":"*"}"#),
                "Policy statement must contain actions.",
            ),
            (
                Kind::Identity,
                statement(r#"{"Effect":"Allow","Action":"s3:*"}"#),
                "Policy statement must contain resources.",
            ),
            (
                Kind::Identity,
                statement(r#"{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"}"#),
                "Policy document should not specify a principal.",
            ),
            (
                Kind::Identity,
                statement(r#"{"Effect":"Allow","Action":"get","Resource":"*"}"#),
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
            ),
            (
                Kind::Identity,
                statement(r#"{"Effect":"Allow","Action":"s3:*","Resource":"bucket"}"#),
                "Resource bucket must be in ARN format or \"*\".",
            ),
            (
                Kind::Trust,
                statement(r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}"#),
                "Has prohibited field Resource",
            ),
            (
                Kind::Trust,
                statement(r#"{"Effect":"Allow","Action":"sts:AssumeRole"}"#),
                "Missing required field Principal",
            ),
        ] {
            assert_eq!(said(|error| by_iam(error, kind), kind, &text), expected, "{text}");
        }
    }

    #[test]
    fn s3_and_ec2_have_sentences_of_their_own() {
        let policy = |more: &str| {
            format!(
                r#"{{"Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"*"{more}}}}}"#
            )
        };
        for (text, expected) in [
            ("policy".to_owned(), "Policies must be valid JSON and the first byte must be '{'"),
            (policy(r#","Extra":1"#), "Unknown field Extra"),
            (policy("").replace("Allow", "hello"), "Invalid effect: hello"),
            (policy("").replace("s3:*", "everything"), "Policy has invalid action"),
            (policy("").replace(r#""Resource":"*""#, r#""Resource":"b""#), "Policy has invalid resource"),
            (policy(r#","Condition":{"Like":{"aws:a":"b"}}"#), "Invalid Condition type : Like"),
            (r#"{"Statement":[]}"#.to_owned(), "Could not parse the policy: Statement is empty!"),
        ] {
            assert_eq!(said(by_s3, Kind::Resource, &text), expected, "{text}");
        }
        let kind = Kind::Endpoint { gateway: true };
        let text = "{\n \"Statement\": 3}";
        assert_eq!(
            said(by_ec2, kind, text),
            "The Policy Document is not valid. Syntax error at position (2,15)"
        );
    }
}
