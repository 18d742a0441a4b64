//! Policy documents on their way in and out.

use postern_policy::{Kind, PolicyDocument, unenforceable};
use postern_wire::AwsError;
use postern_wire::query::percent;

use super::error::malformed_policy;
use crate::directory::condition_keys;
use crate::malformed;

/// Reads a document, and makes sure that all of it can be enforced here.
///
/// # Errors
/// `MalformedPolicyDocument`, with the reason.
pub fn check(text: &str, kind: Kind) -> Result<PolicyDocument, AwsError> {
    let document = PolicyDocument::parse(text, kind)
        .map_err(|error| malformed_policy(malformed::by_iam(&error, kind)))?;
    let unknown = unenforceable(&document, &condition_keys::is_provided);
    match unknown.first() {
        None => Ok(document),
        Some(key) => Err(malformed_policy(format!(
            "The condition key {key} cannot be enforced by this endpoint, so the policy is not stored."
        ))),
    }
}

/// A document as IAM's answers carry it: URL-encoded by RFC 3986.
pub(super) fn encoded(text: &str) -> Option<String> {
    Some(percent::encode(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_enforced_is_refused_by_name() {
        let about = |key: &str| {
            let text = format!(
                r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"s3:*","Resource":"*",
                    "Condition":{{"StringEquals":{{"{key}":"x"}}}}}}}}"#
            );
            check(&text, Kind::Identity).map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(about("aws:SourceVpce"), Ok(()));
        assert_eq!(about("s3:prefix"), Ok(()));
        assert_eq!(about("aws:PrincipalTag/team"), Ok(()));
        assert_eq!(
            about("aws:CalledViaFirst"),
            Err("MalformedPolicyDocument: The condition key aws:CalledViaFirst cannot be enforced by this \
                 endpoint, so the policy is not stored."
                .to_owned())
        );
    }
}
