//! How long one decision takes: a role session through an endpoint, and documents of a thousand statements.
//!
//! `cargo run --release -p postern-policy --example decide_rate`

#![expect(clippy::expect_used, reason = "a measurement that cannot go on fails")]

use std::hint::black_box;
use std::time::Instant;

use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, Outcome, PolicyDocument, PolicySet, Principal, Request, decide,
    evaluate,
};
use time::OffsetDateTime;

fn named(name: &str, text: &str, kind: Kind) -> NamedPolicy {
    NamedPolicy::new(name, PolicyDocument::parse_within(text, kind, usize::MAX).expect("a valid policy"))
}

fn request() -> Request {
    let arn = |text| Arn::parse(text).expect("an arn");
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
    let action = Action::parse("s3:GetObject").expect("an action");
    Request::new(principal, action, "arn:aws:s3:::reports/2026/november/23.csv")
        .with_resource_account("111111111111".parse().expect("an account"))
        .with_context(context)
}

fn role_session() -> PolicySet {
    let mut set = PolicySet::new();
    let identity = include_str!("../tests/role_session/identity.json");
    set.add_identity(named("reader", identity, Kind::Identity)).expect("its place");
    let endpoint = include_str!("../tests/role_session/endpoint.json");
    set.set_endpoint(named("vpce", endpoint, Kind::Endpoint { gateway: true })).expect("its place");
    let bucket = include_str!("../tests/role_session/bucket.json");
    set.set_resource(named("reports", bucket, Kind::Resource)).expect("its place");
    set
}

/// The role session, and one more document of a thousand statements before its own.
fn thousand(statement: impl Fn(usize) -> String) -> PolicySet {
    let statements: Vec<String> = (0..1_000).map(statement).collect();
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
    let mut set = role_session();
    set.add_identity(named("thousand", &text, Kind::Identity)).expect("its place");
    set
}

/// Of this thread, as Linux counts it: a neighbour's load is not in it.
fn processor_time_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("linux");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}

fn main() {
    let request = request();
    let cases = [
        ("role session through an endpoint", role_session()),
        (
            "a thousand statements, an action each",
            thousand(|n| {
                format!(r#"{{"Effect":"Allow","Action":"s3:Do{n}","Resource":"arn:aws:s3:::reports/*"}}"#)
            }),
        ),
        (
            "a thousand statements, the action, a bucket each",
            thousand(|n| {
                format!(
                    r#"{{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::reports{n}/*"}}"#
                )
            }),
        ),
        (
            "a thousand statements, any action of S3, an endpoint each",
            thousand(|n| {
                format!(
                    r#"{{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:s3:::*",
                        "Condition":{{"StringEquals":{{"aws:SourceVpce":"vpce-{n:017}"}}}}}}"#
                )
            }),
        ),
        (
            "a thousand statements, a variable in each",
            thousand(|n| {
                format!(
                    r#"{{"Effect":"Deny","Action":["s3:Get*","s3:Put*"],
                        "Resource":"arn:aws:s3:::reports/${{aws:PrincipalAccount}}/{n}*/*"}}"#
                )
            }),
        ),
    ];
    for (name, set) in cases {
        assert_eq!(decide(&set, &request), Outcome::Allowed, "{name}");
        let each = |work: &dyn Fn()| {
            let (started, used) = (Instant::now(), processor_time_ns());
            let mut count = 0;
            while started.elapsed().as_millis() < 500 {
                for _ in 0..100 {
                    work();
                }
                count += 100;
            }
            (processor_time_ns() - used) / count
        };
        let deciding = each(&|| {
            black_box(decide(black_box(&set), black_box(&request)));
        });
        let explaining = each(&|| {
            black_box(evaluate(black_box(&set), black_box(&request)));
        });
        println!("{name}: {deciding} ns to decide, {explaining} ns to explain");
    }
}
