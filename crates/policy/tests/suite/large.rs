//! Documents that are so large that statements are looked up: whatever a resource's variable stands for, what is looked up
//! decides as what is looked at one by one.

use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal, Request, decide, evaluate,
};

const KEY: &str = "aws:PrincipalTag/team";

/// Statement 7 allows a resource with the variable in it; the others are like it.
fn policies(resource: impl Fn(usize) -> String) -> PolicySet {
    let statements: Vec<String> = (0..60)
        .map(|n| format!(r#"{{"Effect":"Allow","Action":"s3:Get*","Resource":"{}"}}"#, resource(n)))
        .collect();
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
    let document = PolicyDocument::parse_within(&text, Kind::Identity, usize::MAX).unwrap();
    let mut policies = PolicySet::new();
    policies.add_identity(NamedPolicy::new("many", document)).unwrap();
    policies
}

#[track_caller]
fn check(policies: &PolicySet, context: &Context, resource: &str, allowed: bool) {
    let user = Principal::User { arn: Arn::parse("arn:aws:iam::111111111111:user/ana").unwrap() };
    let action = Action::parse("s3:GetObject").unwrap();
    let request = Request::new(user, action, resource).with_context(context.clone());
    let explained = evaluate(policies, &request);
    assert_eq!(explained.is_allowed(), allowed, "{resource}");
    assert_eq!(decide(policies, &request), explained.outcome, "{resource}");
}

#[test]
fn a_variable_is_put_into_what_resources_begin_with() {
    let team = |value: &str| Context::new().with(KEY, value);
    let policies = policies(|n| format!("arn:aws:s3:::b/${{{KEY}}}/{n}-*"));
    check(&policies, &team("red"), "arn:aws:s3:::b/red/7-x", true);
    check(&policies, &team("red"), "arn:aws:s3:::b/red/59-", true);
    check(&policies, &team("red"), "arn:aws:s3:::b/red/60-x", false);
    check(&policies, &team("red"), "arn:aws:s3:::b/blue/7-x", false);
    check(&policies, &team("red"), "arn:aws:s3:::b/red", false);
    check(&policies, &team(""), "arn:aws:s3:::b//7-x", true);
    // A value is text, never a wildcard; a key that is absent or has several values fits nothing.
    check(&policies, &team("*"), "arn:aws:s3:::b/red/7-x", false);
    check(&policies, &team("*"), "arn:aws:s3:::b/*/7-x", true);
    check(&policies, &Context::new(), "arn:aws:s3:::b/red/7-x", false);
    check(&policies, &Context::new().with_many(KEY, ["red"]), "arn:aws:s3:::b/red/7-x", false);
    // Longer than what is compared beforehand.
    for length in [200, 232, 233, 234, 235, 236, 237, 238, 239, 240, 241, 300] {
        let long = "ü".repeat(length / 2);
        check(&policies, &team(&long), &format!("arn:aws:s3:::b/{long}/7-x"), true);
        check(&policies, &team(&long), &format!("arn:aws:s3:::b/{long}/77-x"), false);
    }
}

#[test]
fn variables_stand_in_many_ways() {
    let team = Context::new().with(KEY, "red").with("aws:userid", "x");
    let with_default = policies(|n| format!("arn:aws:s3:::b/${{{KEY}, 'none'}}/{n}"));
    check(&with_default, &team, "arn:aws:s3:::b/red/7", true);
    check(&with_default, &Context::new(), "arn:aws:s3:::b/none/7", true);
    let two = policies(|n| format!("arn:aws:s3:::b/${{{KEY}}}${{aws:userid}}/{n}"));
    check(&two, &team, "arn:aws:s3:::b/redx/7", true);
    check(&two, &team, "arn:aws:s3:::b/red/7", false);
    let long = "y".repeat(120);
    let behind_much = policies(|n| format!("arn:aws:s3:::b/{long}/${{{KEY}}}/{n}"));
    check(&behind_much, &team, &format!("arn:aws:s3:::b/{long}/red/7"), true);
    check(&behind_much, &team, &format!("arn:aws:s3:::b/{long}/blue/7"), false);
    let before_much = policies(|n| format!("arn:aws:s3:::b/${{{KEY}}}/{long}{n}"));
    check(&before_much, &team, &format!("arn:aws:s3:::b/red/{long}7"), true);
    check(&before_much, &team, &format!("arn:aws:s3:::b/red/{long}77"), false);
    let of_many_keys = policies(|n| format!("arn:aws:s3:::b/${{aws:PrincipalTag/team{n}}}/x"));
    let eleventh = Context::new().with("aws:PrincipalTag/team11", "red");
    check(&of_many_keys, &eleventh, "arn:aws:s3:::b/red/x", true);
    check(&of_many_keys, &eleventh, "arn:aws:s3:::b/blue/x", false);
    let in_the_account = policies(|n| format!("arn:aws:sqs:us-east-1:${{{KEY}}}:q{n}"));
    check(&in_the_account, &team, "arn:aws:sqs:us-east-1:red:q7", true);
    let asterisk = policies(|n| format!("arn:aws:s3:::b/${{*}}${{{KEY}}}/{n}"));
    check(&asterisk, &team, "arn:aws:s3:::b/*red/7", true);
    check(&asterisk, &team, "arn:aws:s3:::b/xred/7", false);
}
