//! What the fixtures cannot say: typed values, constructors, and who is told what.

use crate::fixture;
use std::net::Ipv4Addr;

use postern_policy::{
    ACCESS_DENIED, AccountId, Action, Arn, Context, Kind, Outcome, PolicySet, Principal, Request, Value,
    decide, evaluate, is_derived_key,
};
use time::OffsetDateTime;

fn request(context: Context) -> Request {
    Request::new(Principal::Anonymous, Action::parse("s3:GetObject").unwrap(), "arn:aws:s3:::b/k")
        .with_resource_account(fixture::HOME.parse().unwrap())
        .with_context(context)
}

fn allows(condition: &str, context: Context) -> bool {
    let statement = format!(
        r#"{{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{condition}}}"#
    );
    let mut set = PolicySet::new();
    set.set_resource(fixture::policy("resource", &statement, Kind::Resource)).unwrap();
    decide(&set, &request(context)) == Outcome::Allowed
}

#[test]
fn typed_values_meet_their_operators() {
    let instant = OffsetDateTime::from_unix_timestamp(1_704_067_200).unwrap();
    let with = |value: Value| Context::new().with("a:b", value);
    for (condition, value) in [
        (r#"{"IpAddress":{"a:b":"10.0.0.0/8"}}"#, Value::from(Ipv4Addr::new(10, 1, 2, 3))),
        (r#"{"IpAddress":{"a:b":"10.0.0.0/8"}}"#, Value::from(Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped())),
        (r#"{"StringEquals":{"a:b":"10.1.2.3"}}"#, Value::from(Ipv4Addr::new(10, 1, 2, 3))),
        (r#"{"Bool":{"a:b":"true"}}"#, Value::from(true)),
        (r#"{"StringEquals":{"a:b":"true"}}"#, Value::from(true)),
        (r#"{"NumericGreaterThan":{"a:b":"9"}}"#, Value::from(10)),
        (r#"{"StringLike":{"a:b":"1?"}}"#, Value::from(10)),
        (r#"{"DateEquals":{"a:b":"2024-01-01T00:00:00Z"}}"#, Value::from(instant)),
        (r#"{"NumericEquals":{"a:b":"1704067200"}}"#, Value::from(instant)),
        (r#"{"StringEquals":{"a:b":"2024-01-01T00:00:00Z"}}"#, Value::from(instant)),
        (r#"{"DateEquals":{"a:b":"2024-01-01"}}"#, Value::from(1_704_067_200_i64)),
        (r#"{"BinaryEquals":{"a:b":"QUI="}}"#, Value::from(b"AB".to_vec())),
    ] {
        assert!(allows(condition, with(value.clone())), "{condition} on {value:?}");
    }
    for (condition, value) in [
        (r#"{"IpAddress":{"a:b":"0.0.0.0/0"}}"#, Value::from(10)),
        (r#"{"Bool":{"a:b":"true"}}"#, Value::from(1)),
        (r#"{"NumericEquals":{"a:b":"1"}}"#, Value::from(true)),
        (r#"{"DateEquals":{"a:b":"2024-01-01"}}"#, Value::from(true)),
    ] {
        assert!(!allows(condition, with(value.clone())), "{condition} on {value:?}");
    }
}

#[test]
fn the_context_does_not_distinguish_case_and_keeps_the_last_value() {
    let mut context = Context::new().with("aws:SourceVpce", "vpce-1").with("AWS:sourcevpce", "vpce-2");
    assert_eq!(context.get("aws:SOURCEVPCE"), [Value::from("vpce-2")]);
    assert_eq!(context.iter().count(), 1);
    context.insert_many::<&str>("aws:SourceVpce", []);
    assert!(context.get("aws:SourceVpce").is_empty() && context.iter().count() == 0);
}

#[test]
fn names_are_checked() {
    assert_eq!(
        Arn::parse("arn:aws:iam::1").unwrap_err().to_string(),
        "`arn:aws:iam::1` is not an arn of the form arn:partition:service:region:account:resource"
    );
    assert!("12345678901".parse::<AccountId>().is_err() && "12345678901é".parse::<AccountId>().is_err());
    for text in ["s3", "s3:", ":Get", "s3:Get*", "s3:a:b", ""] {
        assert_eq!(
            Action::parse(text).unwrap_err().to_string(),
            format!("`{text}` is not an action of the form service:Name")
        );
    }
    assert!(is_derived_key("AWS:PrincipalArn") && !is_derived_key("aws:SourceVpce"));
}

#[test]
fn s3_tells_the_reason_to_its_own() {
    let eve = Principal::User { arn: Arn::parse("arn:aws:iam::222222222222:user/eve").unwrap() };
    let ana = Principal::User { arn: Arn::parse("arn:aws:iam::111111111111:user/ana").unwrap() };
    let mut set = PolicySet::new();
    let denial = |set: &PolicySet, principal: &Principal| {
        let request = Request { principal: principal.clone(), ..request(Context::new()) };
        let evaluation = evaluate(set, &request);
        (evaluation.denial().unwrap().clone(), request)
    };
    let (refused, request) = denial(&set, &ana);
    assert!(refused.is_told_by_s3(&request, false));
    let (refused, request) = denial(&set, &eve);
    assert!(!refused.is_told_by_s3(&request, false) && refused.is_told_by_s3(&request, true));
    assert_eq!(refused.plain_message(), ACCESS_DENIED);

    let nothing = r#"{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}"#;
    set.set_endpoint(fixture::policy("vpce-1", nothing, Kind::Endpoint { gateway: true })).unwrap();
    let (refused, request) = denial(&set, &eve);
    assert!(!refused.is_told_by_s3(&request, true), "an endpoint's refusal across accounts stays plain");
    let (refused, request) = denial(&set, &ana);
    assert!(refused.is_told_by_s3(&request, false));
}

#[test]
fn a_policy_known_by_its_arn_is_appended() {
    let mut set = PolicySet::new();
    let deny = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    let name = "arn:aws:iam::111111111111:policy/limits";
    set.set_boundary(fixture::policy(name, deny, Kind::Boundary)).unwrap();
    let principal = Principal::User { arn: Arn::parse("arn:aws:iam::111111111111:user/ana").unwrap() };
    let request = Request { principal, ..request(Context::new()) };
    let denied = evaluate(&set, &request);
    assert!(denied.denial().unwrap().message_with_policy(&request, true).ends_with(
        " with an explicit deny in a permissions boundary: arn:aws:iam::111111111111:policy/limits"
    ));
}

#[test]
fn a_decision_tells_which_statements_made_it_with_places_and_values() {
    let mut set = PolicySet::new();
    let identity = include_str!("../role_session/identity.json");
    let bucket = include_str!("../role_session/bucket.json");
    set.add_identity(fixture::policy("reader", identity, Kind::Identity)).unwrap();
    set.set_resource(fixture::policy("reports", bucket, Kind::Resource)).unwrap();
    let principal = Principal::AssumedRole {
        role_arn: Arn::parse("arn:aws:iam::111111111111:role/app").unwrap(),
        session_arn: Arn::parse("arn:aws:sts::111111111111:assumed-role/app/one").unwrap(),
    };
    let context = Context::new()
        .with("aws:SourceVpce", "vpce-0a1b2c3d4e5f60718")
        .with("aws:SecureTransport", true)
        .with("aws:RequestedRegion", "us-east-1");
    let mut request = Request { principal, ..request(context) };
    request.resource = "arn:aws:s3:::reports/k".to_owned();
    let told = |request: &Request| {
        let evaluation = evaluate(&set, request);
        let mut lines = Vec::new();
        for reason in evaluation.decisive() {
            lines.push(format!("{reason} ({})", reason.place.unwrap()));
            lines.extend(reason.conditions.iter().map(ToString::to_string));
        }
        (evaluation.is_allowed(), lines)
    };
    let (allowed, lines) = told(&request);
    assert!(allowed);
    assert_eq!(
        lines,
        [
            "identity-based policy `reader`, statement 0 (`ReadReports`): allows (line 4, column 5)",
            "`StringEquals` on `aws:RequestedRegion` with `eu-central-1` or `us-east-1` holds: the request has `us-east-1`",
        ]
    );
    request.context.remove("aws:SourceVpce");
    request.context.insert("aws:SecureTransport", false);
    let (allowed, lines) = told(&request);
    assert!(!allowed);
    assert_eq!(
        lines,
        [
            "resource-based policy `reports`, statement 0 (`OnlyByTheEndpoint`): denies, naming anyone (line 4, column 5)",
            "`StringNotEquals` on `aws:SourceVpce` with `vpce-0a1b2c3d4e5f60718` or `vpce-0a1b2c3d4e5f60719` holds: the \
             request does not have this key",
            "resource-based policy `reports`, statement 1 (`OnlyByTls`): denies, naming anyone (line 12, column 5)",
            "`Bool` on `aws:SecureTransport` with `false` holds: the request has `false`",
        ]
    );
}

#[test]
fn a_document_is_printed_in_one_plain_form() {
    let text = r#"{"Statement":{"Condition":{"NumericLessThan":{"s3:max-keys":10},"StringLike":{"s3:prefix":["a\"*","${*}"],
        "aws:SourceVpce":["vpce-1"]}},"Resource":["*"],"NotAction":["s3:*","ec2:*"],"Effect":"Deny","Sid":"a b",
        "NotPrincipal":{"Service":["ec2.amazonaws.com"],"AWS":["111111111111","*"]}},"Version":"2012-10-17","Id":"\u0007"}"#;
    let document = postern_policy::PolicyDocument::parse(text, Kind::Resource).unwrap();
    let wanted = r#"{
  "Version": "2012-10-17",
  "Id": "\u0007",
  "Statement": [
    {
      "Sid": "a b",
      "Effect": "Deny",
      "NotPrincipal": { "AWS": ["*", "arn:aws:iam::111111111111:root"], "Service": "ec2.amazonaws.com" },
      "NotAction": ["s3:*", "ec2:*"],
      "Resource": "*",
      "Condition": {
        "NumericLessThan": {
          "s3:max-keys": "10"
        },
        "StringLike": {
          "s3:prefix": ["a\"*", "${*}"],
          "aws:SourceVpce": "vpce-1"
        }
      }
    }
  ]
}"#;
    assert_eq!(document.print(), wanted);
    let again = postern_policy::PolicyDocument::parse(wanted, Kind::Resource).unwrap();
    assert!(document.says_the_same(&again));
    // Whoever says something else does not say the same.
    for (from, to) in [
        ("\"10\"", "\"11\""),
        ("Deny", "Allow"),
        ("a b", "ab"),
        ("ec2:*", "ec3:*"),
        ("s3:prefix", "s3:Prefix"),
    ] {
        let other = postern_policy::PolicyDocument::parse(&wanted.replace(from, to), Kind::Resource).unwrap();
        assert!(!document.says_the_same(&other), "{from} became {to}");
    }
}

#[test]
fn a_simulation_takes_every_key_from_its_context() {
    let principal = Principal::User { arn: Arn::parse("arn:aws:iam::111111111111:user/ana").unwrap() };
    let statement = r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:username":"bob"}}}"#;
    let mut set = PolicySet::new();
    set.add_identity(fixture::policy("identity", statement, Kind::Identity)).unwrap();
    let real = Request { principal, ..request(Context::new().with("aws:username", "bob")) };
    assert!(!evaluate(&set, &real).is_allowed(), "nobody claims to be somebody else");
    assert!(evaluate(&set, &real.clone().simulated()).is_allowed());
    let silent = Request { context: Context::new(), ..real }.simulated();
    assert!(!evaluate(&set, &silent).is_allowed());
}

#[test]
fn a_document_tells_its_keys_and_where_its_statements_stand() {
    let text = "{\"Version\":\"2012-10-17\",\n \"Statement\": [{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"},\n\
                {\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"arn:aws:s3:::${aws:username}\",\n\
                \"Condition\":{\"Null\":{\"AWS:UserName\":\"true\",\"aws:SourceVpce\":\"true\"}}}]}";
    let document = postern_policy::PolicyDocument::parse(text, Kind::Identity).unwrap();
    assert_eq!(document.condition_keys(), ["AWS:UserName", "aws:SourceVpce"]);
    let places =
        |statement| document.statement_places(statement).map(|(start, end)| format!("{start} to {end}"));
    assert_eq!(places(0).as_deref(), Some("line 2, column 16 to line 2, column 62"));
    assert_eq!(places(1).as_deref(), Some("line 3, column 1 to line 4, column 70"));
    assert_eq!(places(2), None);
}
