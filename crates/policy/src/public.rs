//! Whether a resource policy lets anybody in, as S3's Block Public Access sees it.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>, "The meaning
//! of public"

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::condition::{Condition, Quantifier, Test};
use crate::document::{Effect, PolicyDocument};
use crate::statement::Statement;

/// Keys that tell one caller or one way from all others, in lower case.
const TELLING_KEYS: [&str; 11] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
];

/// Networks that reach less than the internet, however wide they are.
const PRIVATE: [(Ipv4Addr, u8); 3] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// Whether a statement of the policy allows something to everybody, and no condition of it holds only for fixed callers
/// or ways.
#[must_use]
pub fn is_public(document: &PolicyDocument) -> bool {
    document.statements.iter().any(allows_everybody)
}

fn allows_everybody(statement: &Statement) -> bool {
    let everybody = statement.principals.as_ref().is_some_and(|clause| clause.anyone || clause.negated);
    statement.effect == Effect::Allow && everybody && !statement.conditions.iter().any(narrows)
}

/// Whether the condition holds for fixed values only.
fn narrows(condition: &Condition) -> bool {
    let for_all = condition.quantifier == Some(Quantifier::ForAllValues);
    // These hold where the key is missing, too.
    if condition.negated || condition.if_exists || for_all {
        return false;
    }
    let key = condition.key.written().to_lowercase();
    match &condition.test {
        Test::Network(networks) => key == "aws:sourceip" && networks.iter().all(is_narrow),
        Test::Text(_) | Test::TextIgnoringCase(_) | Test::Arn(_) => {
            TELLING_KEYS.contains(&key.as_str()) && condition.values.iter().all(|value| is_fixed(&key, value))
        }
        Test::Number(..) | Test::Instant(..) | Test::Bool(_) | Test::Binary(_) | Test::Null(_) => false,
    }
}

/// Whether a value stands for itself alone. Sessions of one role are fixed by its id, and access points by the account
/// in their ARN.
fn is_fixed(key: &str, value: &str) -> bool {
    let fixed = |text: &str| !text.contains(['*', '?']) && !text.contains("${");
    match key {
        "aws:userid" => match value.split_once(':') {
            Some((role, session)) => fixed(role) && !session.contains("${"),
            None => fixed(value),
        },
        "s3:dataaccesspointarn" => {
            value.split(':').nth(4).is_some_and(|account| fixed(account) && !account.is_empty())
        }
        _ => fixed(value),
    }
}

fn is_narrow(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => {
            let private = |(base, length): &(Ipv4Addr, u8)| {
                let base = IpNet::new(IpAddr::V4(*base), *length);
                base.is_ok_and(|base| base.contains(&IpNet::V4(*network)))
            };
            network.prefix_len() >= 8 || PRIVATE.iter().any(private)
        }
        IpNet::V6(network) => network.prefix_len() >= 32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Kind;

    fn public(principal: &str, condition: &str) -> bool {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", {principal}, "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::b/*"{condition}}}]}}"#
        );
        is_public(&PolicyDocument::parse(&text, Kind::Resource).unwrap())
    }

    #[test]
    fn who_is_everybody() {
        assert!(public(r#""Principal": "*""#, ""));
        assert!(public(r#""Principal": {"AWS": "*"}"#, ""));
        assert!(public(r#""Principal": {"AWS": ["111122223333", "*"]}"#, ""));
        assert!(public(r#""NotPrincipal": {"AWS": "111122223333"}"#, ""));
        assert!(!public(r#""Principal": {"AWS": "111122223333"}"#, ""));
        let denies = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:*",
            "Resource": "arn:aws:s3:::b/*"}}"#;
        assert!(!is_public(&PolicyDocument::parse(denies, Kind::Resource).unwrap()));
    }

    #[test]
    fn what_narrows() {
        let with = |condition: &str| public(r#""Principal": "*""#, &format!(r#", "Condition": {condition}"#));
        for narrow in [
            r#"{"StringEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}}"#,
            r#"{"StringEquals": {"aws:SourceVpc": ["vpc-1", "vpc-2"]}}"#,
            r#"{"ArnLike": {"aws:SourceArn": "arn:aws:sns:us-east-1:111122223333:t"}}"#,
            r#"{"StringLike": {"aws:userid": "AROAEXAMPLE:*"}}"#,
            r#"{"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "10.0.0.0/8"]}}"#,
            r#"{"StringEquals": {"aws:PrincipalOrgID": "o-abc"}, "Bool": {"aws:SecureTransport": "true"}}"#,
            r#"{"StringLike": {"s3:DataAccessPointArn": "arn:aws:s3:us-east-1:111122223333:accesspoint/*"}}"#,
        ] {
            assert!(!with(narrow), "{narrow}");
        }
        for wide in [
            r#"{"StringLike": {"aws:SourceVpce": "vpce-*"}}"#,
            r#"{"StringEquals": {"aws:SourceVpc": ["vpc-1", "${aws:PrincipalTag/vpc}"]}}"#,
            r#"{"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}"#,
            r#"{"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}"#,
            r#"{"ForAllValues:StringEquals": {"aws:SourceVpc": "vpc-1"}}"#,
            r#"{"StringEquals": {"aws:UserAgent": "secret"}}"#,
            r#"{"Bool": {"aws:SecureTransport": "true"}}"#,
            r#"{"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "0.0.0.0/1"]}}"#,
            r#"{"IpAddress": {"aws:SourceIp": "::/0"}}"#,
            r#"{"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}"#,
            r#"{"StringLike": {"s3:DataAccessPointArn": "arn:aws:s3:us-east-1:*:accesspoint/*"}}"#,
        ] {
            assert!(with(wide), "{wide}");
        }
    }
}
