//! The smallest change that turns a decision round: each that is told was made by hand here, and does.

use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal, Request, evaluate,
    smallest_flips,
};
use proptest::prelude::*;

const ACCOUNT: &str = "111111111111";

fn policy(name: &str, kind: Kind, statements: &str) -> NamedPolicy {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": [{statements}]}}"#);
    NamedPolicy::new(name, PolicyDocument::parse(&text, kind).unwrap())
}

fn ana() -> Principal {
    Principal::User { arn: Arn::parse("arn:aws:iam::111111111111:user/ana").unwrap() }
}

fn request(action: &str, resource: &str) -> Request {
    Request::new(ana(), Action::parse(action).unwrap(), resource)
        .with_resource_account(ACCOUNT.parse().unwrap())
}

fn told(policies: &PolicySet, request: &Request) -> Vec<String> {
    let ways = smallest_flips(policies, request);
    ways.iter().map(|way| way.iter().map(ToString::to_string).collect::<Vec<_>>().join(", and ")).collect()
}

const READ: &str = r#"{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*"}"#;

#[test]
fn a_request_that_nothing_allows_needs_one_statement() {
    let mut policies = PolicySet::new();
    let wanted = request("s3:GetObject", "arn:aws:s3:::logs/a");
    assert_eq!(
        told(&policies, &wanted),
        [
            "with one more statement that allows `s3:GetObject` on `arn:aws:s3:::logs/a` in a new identity-based policy",
            "with one more statement that allows `s3:GetObject` on `arn:aws:s3:::logs/a` in a new resource-based policy",
        ]
    );
    policies.add_identity(policy("reader", Kind::Identity, READ)).unwrap();
    let other = request("s3:PutObject", "arn:aws:s3:::logs/a");
    assert_eq!(
        told(&policies, &other)[0],
        "with the action `s3:PutObject` in statement 0 (line 1, column 41) of the identity-based policy `reader`"
    );
    let elsewhere = request("s3:GetObject", "arn:aws:s3:::other/a");
    assert_eq!(
        told(&policies, &elsewhere)[0],
        "with the resource `arn:aws:s3:::other/a` in statement 0 (line 1, column 41) of the identity-based policy \
         `reader`"
    );
}

#[test]
fn a_denial_goes_with_its_statement_or_under_other_circumstances() {
    let mut policies = PolicySet::new();
    policies.add_identity(policy("reader", Kind::Identity, READ)).unwrap();
    let deny = r#"{"Sid": "OnlyByTheDoor", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
        "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}"#;
    policies.set_resource(policy("logs", Kind::Resource, deny)).unwrap();
    let wanted = request("s3:GetObject", "arn:aws:s3:::logs/a");
    assert_eq!(
        told(&policies, &wanted),
        [
            "without statement 0 (`OnlyByTheDoor`, line 1, column 41) of the resource-based policy `logs`",
            "for a request whose `aws:SourceVpce` is `vpce-1`",
        ]
    );
    let by_the_door = wanted.with_context(Context::new().with("aws:SourceVpce", "vpce-1"));
    assert!(evaluate(&policies, &by_the_door).is_allowed());
}

#[test]
fn what_two_policies_keep_from_needs_two_changes() {
    let mut policies = PolicySet::new();
    policies.add_identity(policy("reader", Kind::Identity, READ)).unwrap();
    let door =
        r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::logs/*"}"#;
    policies.set_endpoint(policy("vpce-1", Kind::Endpoint { gateway: true }, door)).unwrap();
    let elsewhere = request("s3:GetObject", "arn:aws:s3:::other/a");
    let ways = told(&policies, &elsewhere);
    assert!(ways.iter().all(|way| way.contains(", and ") && way.contains("`vpce-1`")), "{ways:#?}");
    assert!(ways[0].contains("`reader`"), "{ways:#?}");
}

#[test]
fn conditions_that_do_not_hold_are_left_out_or_met() {
    let mut policies = PolicySet::new();
    let tagged = r#"{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", "Condition": {
        "StringEquals": {"s3:x": "a"}, "Bool": {"aws:SecureTransport": "true"}}}"#;
    policies.add_identity(policy("careful", Kind::Identity, tagged)).unwrap();
    let wanted = request("s3:GetObject", "arn:aws:s3:::logs/a")
        .with_context(Context::new().with("aws:SecureTransport", true).with("s3:x", "b"));
    let ways = told(&policies, &wanted);
    assert_eq!(
        ways[0],
        "without `StringEquals` on `s3:x` in statement 0 (line 1, column 41) of the identity-based policy `careful`"
    );
    assert_eq!(ways[1], "for a request whose `s3:x` is `a`");
}

#[test]
fn what_is_allowed_ends_with_what_allows_it() {
    let mut policies = PolicySet::new();
    policies.add_identity(policy("reader", Kind::Identity, READ)).unwrap();
    let wanted = request("s3:GetObject", "arn:aws:s3:::logs/a");
    let ways = told(&policies, &wanted);
    assert_eq!(ways[0], "without statement 0 (line 1, column 41) of the identity-based policy `reader`");
    // The root user needs no policy, so only a denial elsewhere ends it.
    let root = Request::new(
        Principal::Root { account: ACCOUNT.parse().unwrap() },
        Action::parse("s3:GetObject").unwrap(),
        "arn:aws:s3:::logs/a",
    )
    .with_resource_account(ACCOUNT.parse().unwrap());
    let ways = told(&PolicySet::new(), &root);
    assert!(ways.iter().all(|way| way.starts_with("with one more statement that denies")), "{ways:#?}");
    assert!(!ways.is_empty());
}

proptest! {
    /// What is told is short, and there is always something to tell of a caller with an account.
    #[test]
    fn there_is_a_way(
        statements in prop::collection::vec(
            (any::<bool>(), prop::sample::select(&["s3:GetObject", "s3:*", "ec2:*"][..]),
             prop::sample::select(&["*", "arn:aws:s3:::logs/*", "arn:aws:s3:::x/*"][..]), any::<bool>()),
            1..5,
        ),
        door in any::<bool>(),
    ) {
        let text: Vec<String> = statements
            .iter()
            .map(|(allow, action, resource, conditional)| {
                let effect = if *allow { "Allow" } else { "Deny" };
                let condition = if *conditional { r#", "Condition": {"StringEquals": {"aws:SourceVpce": "v"}}"# } else { "" };
                format!(r#"{{"Effect": "{effect}", "Action": "{action}", "Resource": "{resource}"{condition}}}"#)
            })
            .collect();
        let mut policies = PolicySet::new();
        policies.add_identity(policy("p", Kind::Identity, &text.join(", "))).unwrap();
        if door {
            let only = r#"{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::x/*"}"#;
            policies.set_endpoint(policy("v", Kind::Endpoint { gateway: true }, only)).unwrap();
        }
        let wanted = request("s3:GetObject", "arn:aws:s3:::logs/a");
        let denials = statements.iter().filter(|(allow, ..)| !allow).count();
        let ways = smallest_flips(&policies, &wanted);
        // Each denial is one change, and what is missing two more.
        if denials <= 1 {
            prop_assert!(!ways.is_empty());
        }
        let sizes: std::collections::BTreeSet<usize> = ways.iter().map(Vec::len).collect();
        prop_assert!(sizes.len() <= 1);
    }
}
