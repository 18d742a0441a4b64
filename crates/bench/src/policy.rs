//! Decisions of the policy evaluator: the processor time of one, beside `iam-rs` and `cedar-policy` on the same case.
//!
//! The others are a program of their own (`crates/bench/rivals`), so that no other build carries their dependencies; in
//! each round all take turns on one processor. That a decision takes no memory is a test of the `policy` crate.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::time::ClockId;
use postern_policy::{
    Action, Arn, Context, Kind, NamedPolicy, Outcome as Decided, PolicyDocument, PolicySet, Principal,
    Request, Value, decide, evaluate,
};
use serde::Deserialize;

use crate::Options;
use crate::cpu::{self, Pinning};
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::median;

/// The documents of the case, which the crate's own test of allocations has too.
const IDENTITY: &str = include_str!("../../policy/tests/role_session/identity.json");
const ENDPOINT: &str = include_str!("../../policy/tests/role_session/endpoint.json");
const BUCKET: &str = include_str!("../../policy/tests/role_session/bucket.json");

const STATEMENTS: usize = 1_000;

/// What is decided under.
struct Case {
    name: &'static str,
    policies: PolicySet,
    /// What a decision may cost, in nanoseconds.
    aim: f64,
}

/// Of the other crates, nanoseconds each.
#[derive(Debug, Deserialize)]
struct Rivals {
    #[serde(rename = "iam-rs")]
    iam_rs: f64,
    #[serde(rename = "cedar-policy")]
    cedar: f64,
}

/// What the rounds gave, in nanoseconds.
#[derive(Default)]
struct Rounds {
    /// Of each case, to decide.
    decide: Vec<Vec<f64>>,
    /// The first case, with reasons.
    explain: Vec<f64>,
    rivals: Vec<Rivals>,
}

/// Measures all of it.
pub fn run(pinning: &Pinning, options: &Options) -> anyhow::Result<Outcome> {
    let rivals = options.rivals()?;
    ensure!(
        rivals.is_file(),
        "there is no `{}`: `cargo build --release --manifest-path crates/bench/rivals/Cargo.toml --target-dir \
         target/rivals` makes it, as `cargo xtask bench policy` does",
        rivals.display()
    );
    let (cases, request) = (cases()?, request()?);
    for case in &cases {
        ensure!(decide(&case.policies, &request) == Decided::Allowed, "`{}` is not allowed", case.name);
    }
    let rounds = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            cpu::pin(&[pinning.client])?;
            measure(&cases, &request, &rivals, options)
        });
        worker.join().map_err(|_| anyhow::anyhow!("the thread that decides panicked"))?
    })?;
    Ok(outcome(&cases, &rounds))
}

fn measure(cases: &[Case], request: &Request, rivals: &Path, options: &Options) -> anyhow::Result<Rounds> {
    let time = Duration::from_secs_f64(options.seconds / 4.0);
    let mut rounds = Rounds { decide: vec![Vec::new(); cases.len()], ..Rounds::default() };
    for round in 0..options.rounds {
        eprintln!("policy: round {} of {}", round + 1, options.rounds);
        for (figures, case) in rounds.decide.iter_mut().zip(cases) {
            figures.push(each(time, || {
                black_box(decide(black_box(&case.policies), black_box(request)));
            })?);
        }
        if let Some(first) = cases.first() {
            rounds.explain.push(each(time, || {
                black_box(evaluate(black_box(&first.policies), black_box(request)));
            })?);
        }
        // It inherits the processor of this thread.
        let output = Command::new(rivals).arg(time.as_secs_f64().to_string()).output();
        let output = output.with_context(|| format!("`{}` cannot be started", rivals.display()))?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim().to_owned());
        rounds.rivals.push(serde_json::from_slice(&output.stdout).context("figures of the other crates")?);
    }
    Ok(rounds)
}

/// Processor time of one call, in nanoseconds.
fn each(time: Duration, work: impl Fn()) -> anyhow::Result<f64> {
    let clock = || anyhow::Ok(Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?));
    let (began, used) = (Instant::now(), clock()?);
    let mut count = 0_u32;
    while began.elapsed() < time {
        (0..64).for_each(|_| work());
        count += 64;
    }
    Ok(clock()?.saturating_sub(used).as_secs_f64() * 1e9 / f64::from(count))
}

fn named(name: &str, text: &str, kind: Kind) -> anyhow::Result<NamedPolicy> {
    Ok(NamedPolicy::new(name, PolicyDocument::parse_within(text, kind, usize::MAX)?))
}

/// Two identity, two endpoint and three bucket statements.
fn role_session() -> anyhow::Result<PolicySet> {
    let mut set = PolicySet::new();
    set.add_identity(named("reader", IDENTITY, Kind::Identity)?)?;
    set.set_endpoint(named("vpce", ENDPOINT, Kind::Endpoint { gateway: true })?)?;
    set.set_resource(named("reports", BUCKET, Kind::Resource)?)?;
    Ok(set)
}

/// The same, and a thousand identity statements more.
fn thousand(statement: impl Fn(usize) -> String) -> anyhow::Result<PolicySet> {
    let statements: Vec<String> = (0..STATEMENTS).map(statement).collect();
    let text = format!(r#"{{"Version":"2012-10-17","Statement":[{}]}}"#, statements.join(","));
    let mut set = role_session()?;
    set.add_identity(named("thousand", &text, Kind::Identity)?)?;
    Ok(set)
}

fn cases() -> anyhow::Result<Vec<Case>> {
    let deny = |action: &str, resource: &str, condition: &str| {
        format!(r#"{{"Effect":"Deny","Action":{action},"Resource":"arn:aws:s3:::{resource}"{condition}}}"#)
    };
    let equals = |n: usize| format!(r#","Condition":{{"StringEquals":{{"aws:SourceVpce":"vpce-{n:017}"}}}}"#);
    let like = |n: usize| format!(r#","Condition":{{"StringLike":{{"aws:SourceVpce":"vpce-{n:017}*"}}}}"#);
    let variable = |n: usize| format!("reports/${{aws:PrincipalAccount}}/{n}*/*");
    let large = |name, policies: anyhow::Result<PolicySet>| {
        policies.map(|policies| Case { name, policies, aim: 20_000.0 })
    };
    Ok(vec![
        Case { name: "role session through an endpoint", policies: role_session()?, aim: 1_000.0 },
        large(
            "1,000 more statements, each of an action",
            thousand(|n| deny(&format!(r#""s3:Action{n}""#), "reports/*", "")),
        )?,
        large(
            "… of this action, each on a bucket",
            thousand(|n| deny(r#""s3:GetObject""#, &format!("reports{n}/*"), "")),
        )?,
        large("… of all actions, each for an endpoint", thousand(|n| deny(r#""s3:*""#, "*", &equals(n))))?,
        large(
            "… of all actions, each for endpoints by a wildcard",
            thousand(|n| deny(r#""s3:*""#, "*", &like(n))),
        )?,
        large(
            "… of two kinds of actions, each with a variable",
            thousand(|n| deny(r#"["s3:Get*","s3:Put*"]"#, &variable(n), "")),
        )?,
    ])
}

/// A session of a role of the bucket's account reads an object through a gateway endpoint: eight keys.
fn request() -> anyhow::Result<Request> {
    let principal = Principal::AssumedRole {
        role_arn: Arn::parse("arn:aws:iam::111111111111:role/app")?,
        session_arn: Arn::parse("arn:aws:sts::111111111111:assumed-role/app/i-0123456789abcdef0")?,
    };
    let context = Context::new()
        .with("aws:SourceVpce", "vpce-0a1b2c3d4e5f60718")
        .with("aws:SourceVpc", "vpc-0a1b2c3d4e5f60718")
        .with("aws:VpcSourceIp", std::net::Ipv4Addr::new(10, 0, 1, 5))
        .with("aws:VpceAccount", "111111111111")
        .with("aws:SecureTransport", true)
        .with("aws:EpochTime", Value::Integer(0))
        .with("aws:RequestedRegion", "us-east-1")
        .with("aws:userid", "AROAEXAMPLEEXAMPLE123:i-0123456789abcdef0");
    let action = Action::parse("s3:GetObject")?;
    let request = Request::new(principal, action, "arn:aws:s3:::reports/2026/november/23.csv");
    Ok(request.with_resource_account("111111111111".parse()?).with_context(context))
}

fn outcome(cases: &[Case], rounds: &Rounds) -> Outcome {
    let mut table = Table::new("Policies", ["what", "ns each", "to Postern's decision"].map(str::to_owned));
    let mut goals = Vec::new();
    let mut raw = serde_json::Map::new();
    for (case, figures) in cases.iter().zip(&rounds.decide) {
        let middle = median(figures.iter().copied());
        table.row(vec![case.name.to_owned(), fixed(middle, 0), String::new()]);
        let what = format!("policies, {}", case.name);
        goals.push(Goal::below(&what, middle, case.aim, 0, " ns").over(figures));
        raw.insert(case.name.to_owned(), serde_json::json!(figures));
    }
    let own = rounds.decide.first().map(Vec::as_slice).unwrap_or_default();
    let mut beside = |name: &str, figures: Vec<f64>, aim: Option<f64>| {
        let ratios: Vec<f64> = figures.iter().zip(own).map(|(other, own)| other / own).collect();
        let (middle, ratio) = (median(figures.iter().copied()), median(ratios.iter().copied()));
        table.row(vec![name.to_owned(), fixed(middle, 0), fixed(ratio, 1)]);
        if let Some(aim) = aim {
            let what = format!("policies, {name} to Postern");
            goals.push(Goal::at_least(&what, ratio, aim, 1, "").over(&ratios));
        }
        raw.insert(name.to_owned(), serde_json::json!(figures));
    };
    beside("the role session, with all reasons", rounds.explain.clone(), None);
    beside("iam-rs 0.8", rounds.rivals.iter().map(|one| one.iam_rs).collect(), Some(10.0));
    beside("cedar-policy 4.14", rounds.rivals.iter().map(|one| one.cedar).collect(), Some(10.0));
    table.note(
        "By the thread's processor time. The first row is a session of a role that reads an object through a gateway \
         endpoint, under two identity, two endpoint and three bucket statements, with eight condition keys; it and the \
         other crates have the same case. They know no types of policies: iam-rs walks the seven statements once, and \
         Cedar has the endpoint's allowance as a `forbid`. All policies were read before. Postern takes no memory for a \
         decision, which a test counts. The rows of a thousand add an identity policy whose statements all miss."
            .to_owned(),
    );
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
