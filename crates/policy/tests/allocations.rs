//! A decision takes no memory: an allocator counts what each thread takes.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::hint::black_box;

use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, Outcome, PolicyDocument, PolicySet, Principal, Request, Value,
    decide, evaluate,
};
use time::OffsetDateTime;

/// How many pieces of memory are taken.
fn allocations<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let mut result = None;
    let taken = allocation_counter::measure(|| result = Some(black_box(work())));
    (taken.count_total, result.unwrap())
}

fn named(name: &str, text: &str, kind: Kind) -> NamedPolicy {
    NamedPolicy::new(name, PolicyDocument::parse(text, kind).unwrap())
}

fn arn(text: &str) -> Arn {
    Arn::parse(text).unwrap()
}

/// A session of a role of the bucket's account, through a gateway endpoint, with eight keys.
fn role_session() -> (PolicySet, Request) {
    let mut set = PolicySet::new();
    set.add_identity(named("reader", include_str!("role_session/identity.json"), Kind::Identity)).unwrap();
    let endpoint =
        named("vpce", include_str!("role_session/endpoint.json"), Kind::Endpoint { gateway: true });
    set.set_endpoint(endpoint).unwrap();
    set.set_resource(named("reports", include_str!("role_session/bucket.json"), Kind::Resource)).unwrap();
    let principal = Principal::AssumedRole {
        role_arn: arn("arn:aws:iam::111111111111:role/app"),
        session_arn: arn("arn:aws:sts::111111111111:assumed-role/app/i-0123456789abcdef0"),
    };
    let context = Context::new()
        .with("aws:SourceVpce", "vpce-0a1b2c3d4e5f60718")
        .with("aws:SourceVpc", "vpc-0a1b2c3d4e5f60718")
        .with("aws:VpcSourceIp", std::net::Ipv4Addr::new(10, 0, 1, 5))
        .with("aws:VpceAccount", "111111111111")
        .with("aws:SecureTransport", true)
        .with("aws:CurrentTime", OffsetDateTime::UNIX_EPOCH)
        .with("aws:RequestedRegion", "us-east-1")
        .with("aws:userid", "AROAEXAMPLEEXAMPLE123:i-0123456789abcdef0");
    let action = Action::parse("s3:GetObject").unwrap();
    let request = Request::new(principal, action, "arn:aws:s3:::reports/2026/november/23.csv")
        .with_resource_account("111111111111".parse().unwrap())
        .with_context(context);
    (set, request)
}

#[test]
fn a_role_session_through_an_endpoint_is_decided_without_memory() {
    let (set, mut request) = role_session();
    assert_eq!(allocations(|| decide(&set, &request)), (0, Outcome::Allowed));
    // Refused, explicitly by the bucket and implicitly by nothing but the endpoint.
    request.context.insert("aws:SourceVpce", "vpce-0000000000000000");
    let (count, outcome) = allocations(|| decide(&set, &request));
    assert!(
        count == 0
            && matches!(outcome, Outcome::Denied(denial) if denial.sid.as_deref() == Some("OnlyByTheEndpoint"))
    );
    request.context.remove("aws:SourceVpce");
    request.resource = "arn:aws:s3:::elsewhere/k".to_owned();
    let (count, outcome) = allocations(|| decide(&set, &request));
    assert!(count == 0 && matches!(outcome, Outcome::Denied(denial) if !denial.explicit));
    // The counter counts.
    assert!(allocations(|| evaluate(&set, &request)).0 > 0);
}

/// Every operator on values of every type, variables, wildcards, every kind of caller.
#[test]
fn nor_does_any_operator_take_memory() {
    let conditions = [
        r#"{"StringEquals":{"a:text":"x","a:number":"10","a:ip":"10.1.2.3","a:time":"1970-01-01T00:00:00Z","a:truth":"true"}}"#,
        r#"{"StringEquals":{"a:text":"${aws:username, 'x'}"},"StringLike":{"a:path":"home/${a:text}/*/z?"}}"#,
        r#"{"StringLike":{"a:path":"*/${a:text}/*/?z*"}}"#,
        r#"{"StringEqualsIgnoreCase":{"a:text":["Y","X"]},"StringNotLike":{"a:path":"*nowhere*"}}"#,
        r#"{"NumericLessThan":{"a:number":"10.5"},"NumericGreaterThan":{"a:decimal":"3.14"}}"#,
        r#"{"DateLessThan":{"a:time":"2030-01-01"},"DateEquals":{"a:number":"1970-01-01T00:00:10Z"}}"#,
        r#"{"Bool":{"a:truth":"true"},"Null":{"a:none":"true","a:text":"false"},"BinaryEquals":{"a:bytes":"QUI="}}"#,
        r#"{"IpAddress":{"a:ip":"10.0.0.0/8"},"NotIpAddress":{"a:ip":["2001:db8::/32","192.0.2.0/24"]}}"#,
        r#"{"ArnLike":{"a:arn":"arn:aws:s3:*:*:b*/${a:text}"},"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::*:role/none"}}"#,
        r#"{"ForAllValues:StringLike":{"a:many":["o*","t*"]},"ForAnyValue:StringEquals":{"a:many":"two"}}"#,
        r#"{"StringEqualsIfExists":{"a:none":"x"},"StringNotEquals":{"aws:PrincipalAccount":"222222222222"}}"#,
    ];
    let context = Context::new()
        .with("a:text", "x")
        .with("a:path", "home/x/y/zz")
        .with("a:number", 10)
        .with("a:decimal", "3.141")
        .with("a:ip", std::net::Ipv4Addr::new(10, 1, 2, 3))
        .with("a:time", OffsetDateTime::UNIX_EPOCH)
        .with("a:truth", true)
        .with("a:bytes", Value::Binary(b"AB".to_vec()))
        .with("a:arn", "arn:aws:s3:::bucket/x")
        .with_many("a:many", ["one", "two"]);
    let principals = [
        Principal::Anonymous,
        Principal::Root { account: "111111111111".parse().unwrap() },
        Principal::User { arn: arn("arn:aws:iam::111111111111:user/x") },
        Principal::FederatedUser {
            session_arn: arn("arn:aws:sts::111111111111:federated-user/fay"),
            issuer_arn: arn("arn:aws:iam::111111111111:user/x"),
        },
        Principal::Service { name: "ec2.amazonaws.com".to_owned() },
    ];
    for condition in conditions {
        let statement = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:Get*",
                "Resource":"arn:aws:s3:::b/${{a:text}}/*","Condition":{condition}}}}}"#
        );
        let mut set = PolicySet::new();
        set.set_resource(named("bucket", &statement, Kind::Resource)).unwrap();
        for principal in &principals {
            let request =
                Request::new(principal.clone(), Action::parse("s3:GetObject").unwrap(), "arn:aws:s3:::b/x/y")
                    .with_resource_account("111111111111".parse().unwrap())
                    .with_context(context.clone());
            let (count, outcome) = allocations(|| decide(&set, &request));
            assert_eq!((count, &outcome), (0, &Outcome::Allowed), "{condition} for {principal:?}");
        }
    }
}
