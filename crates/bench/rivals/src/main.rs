//! What the policy evaluator is measured against: the crates `iam-rs` and `cedar-policy` on the same case.
//!
//! Prints one line of JSON: processor time of one decision, in nanoseconds, by the name of the crate. A program of its
//! own, in a workspace of its own, so that nothing else is built with their many dependencies.
//!
//! The case is that of `postern-bench`: a role session reads an object through a gateway endpoint, under two identity,
//! two endpoint and three bucket statements. Neither crate knows how types of policies combine, so each is spared that:
//! - `iam-rs` reads the same documents and walks all seven statements once, as if they were of one type.
//! - Cedar has the seven statements in its own language; the endpoint's allowance, which only filters, is a `forbid`.
//! Both are given policies that were read before, and a request that is made.

use std::collections::HashMap;
use std::hint::black_box;
use std::str::FromStr;
use std::time::{Duration, Instant};

use cedar_policy::{Authorizer, Entities, EntityUid, PolicySet, RestrictedExpression};

const DOCUMENTS: [&str; 3] = [
    include_str!("../../../policy/tests/role_session/identity.json"),
    include_str!("../../../policy/tests/role_session/endpoint.json"),
    include_str!("../../../policy/tests/role_session/bucket.json"),
];
const ROLE: &str = "arn:aws:iam::111111111111:role/app";
const ACTION: &str = "s3:GetObject";
const RESOURCE: &str = "arn:aws:s3:::reports/2026/november/23.csv";
const ENDPOINT: &str = "vpce-0a1b2c3d4e5f60718";
const ELSEWHERE: &str = "vpce-00000000000000000";

const CEDAR: &str = r#"
permit (principal == Role::"arn:aws:iam::111111111111:role/app",
    action in [Action::"s3:GetObject", Action::"s3:GetObjectVersion", Action::"s3:ListBucket"], resource)
when { (context.resource like "arn:aws:s3:::reports" || context.resource like "arn:aws:s3:::reports/*")
    && ["eu-central-1", "us-east-1"].contains(context.requestedRegion) };

forbid (principal == Role::"arn:aws:iam::111111111111:role/app",
    action in [Action::"s3:DeleteObject", Action::"s3:DeleteObjectVersion", Action::"s3:PutLifecycleConfiguration"], resource)
when { context.resource like "arn:aws:s3:::reports/final/*" };

forbid (principal, action, resource)
unless { (context.resource like "arn:aws:s3:::reports" || context.resource like "arn:aws:s3:::reports/*"
    || context.resource like "arn:aws:s3:::logs" || context.resource like "arn:aws:s3:::logs/*")
    && context.principalAccount == "111111111111" };

forbid (principal, action, resource)
when { context.resourceAccount != "111111111111" };

forbid (principal, action, resource)
when { (context.resource like "arn:aws:s3:::reports" || context.resource like "arn:aws:s3:::reports/*")
    && !(["vpce-0a1b2c3d4e5f60718", "vpce-0a1b2c3d4e5f60719"].contains(context.sourceVpce)) };

forbid (principal, action, resource)
when { (context.resource like "arn:aws:s3:::reports" || context.resource like "arn:aws:s3:::reports/*")
    && !context.secureTransport };

permit (principal == Role::"arn:aws:iam::111111111111:role/app",
    action in [Action::"s3:GetObject", Action::"s3:GetObjectVersion", Action::"s3:GetObjectTagging"], resource)
when { context.resource like "arn:aws:s3:::reports/*" && context.vpcSourceIp.isInRange(ip("10.0.0.0/16")) };
"#;

/// Of this thread, as Linux counts it: a neighbour's load is not in it.
fn processor_time() -> Result<Duration, String> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").map_err(|error| error.to_string())?;
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    first.map(Duration::from_nanos).ok_or_else(|| format!("`{text}` is no time"))
}

/// Processor time of one call, in nanoseconds.
fn each(time: Duration, work: impl Fn()) -> Result<f64, String> {
    let (began, used) = (Instant::now(), processor_time()?);
    let mut count = 0_u32;
    while began.elapsed() < time {
        (0..64).for_each(|_| work());
        count += 64;
    }
    Ok((processor_time()? - used).as_secs_f64() * 1e9 / f64::from(count))
}

mod iam {
    use iam_rs::{Arn, Context, Decision, IAMPolicy, IAMRequest, PolicyEvaluator, Principal, PrincipalId};

    use super::{ACTION, DOCUMENTS, RESOURCE, ROLE};

    pub fn evaluator() -> Result<PolicyEvaluator, String> {
        let documents = DOCUMENTS.iter().map(|text| IAMPolicy::from_json(text));
        let documents = documents.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        Ok(PolicyEvaluator::with_policies(documents))
    }

    pub fn request(endpoint: &str) -> Result<IAMRequest, String> {
        let context = Context::new()
            .with_string("aws:SourceVpce", endpoint)
            .with_string("aws:SourceVpc", "vpc-0a1b2c3d4e5f60718")
            .with_string("aws:VpcSourceIp", "10.0.1.5")
            .with_string("aws:VpceAccount", "111111111111")
            .with_boolean("aws:SecureTransport", true)
            .with_string("aws:CurrentTime", "1970-01-01T00:00:00Z")
            .with_string("aws:RequestedRegion", "us-east-1")
            .with_string("aws:userid", "AROAEXAMPLEEXAMPLE123:i-0123456789abcdef0")
            .with_string("aws:PrincipalAccount", "111111111111")
            .with_string("aws:ResourceAccount", "111111111111");
        let resource = Arn::parse(RESOURCE).map_err(|error| format!("{error:?}"))?;
        let principal = Principal::Aws(PrincipalId::String(ROLE.to_owned()));
        Ok(IAMRequest::new_with_context(principal, ACTION, resource, context))
    }

    pub fn allows(evaluator: &PolicyEvaluator, request: &IAMRequest) -> bool {
        evaluator.evaluate(request).is_ok_and(|result| result.decision == Decision::Allow)
    }
}

fn cedar_request(endpoint: &str) -> Result<cedar_policy::Request, String> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let context = HashMap::from([
        ("sourceVpce", text(endpoint)),
        ("sourceVpc", text("vpc-0a1b2c3d4e5f60718")),
        ("vpcSourceIp", RestrictedExpression::new_ip("10.0.1.5")),
        ("vpceAccount", text("111111111111")),
        ("secureTransport", RestrictedExpression::new_bool(true)),
        ("currentTime", RestrictedExpression::new_long(0)),
        ("requestedRegion", text("us-east-1")),
        ("userid", text("AROAEXAMPLEEXAMPLE123:i-0123456789abcdef0")),
        ("principalAccount", text("111111111111")),
        ("resourceAccount", text("111111111111")),
        ("resource", text(RESOURCE)),
    ]);
    let context = context.into_iter().map(|(key, value)| (key.to_owned(), value));
    let context = cedar_policy::Context::from_pairs(context).map_err(|error| error.to_string())?;
    let uid = |text: String| EntityUid::from_str(&text).map_err(|error| error.to_string());
    let (principal, action) = (uid(format!("Role::\"{ROLE}\""))?, uid(format!("Action::\"{ACTION}\""))?);
    let resource = uid(format!("Object::\"{RESOURCE}\""))?;
    cedar_policy::Request::new(principal, action, resource, context, None).map_err(|error| error.to_string())
}

fn run() -> Result<(), String> {
    let seconds: f64 =
        std::env::args().nth(1).and_then(|text| text.parse().ok()).ok_or("say how many seconds")?;
    let time = Duration::from_secs_f64(seconds);

    let evaluator = iam::evaluator()?;
    let (through, elsewhere) = (iam::request(ENDPOINT)?, iam::request(ELSEWHERE)?);
    if !iam::allows(&evaluator, &through) || iam::allows(&evaluator, &elsewhere) {
        return Err("iam-rs decides the case otherwise".to_owned());
    }
    let iam_rs = each(time, || {
        black_box(black_box(&evaluator).evaluate(black_box(&through)).is_ok());
    })?;

    let policies = PolicySet::from_str(CEDAR).map_err(|error| error.to_string())?;
    let (authorizer, entities) = (Authorizer::new(), Entities::empty());
    let (through, elsewhere) = (cedar_request(ENDPOINT)?, cedar_request(ELSEWHERE)?);
    for (request, wanted) in
        [(&through, cedar_policy::Decision::Allow), (&elsewhere, cedar_policy::Decision::Deny)]
    {
        let response = authorizer.is_authorized(request, &policies, &entities);
        let failed = response.diagnostics().errors().next().map(ToString::to_string);
        if response.decision() != wanted || failed.is_some() {
            return Err(format!("cedar-policy decides the case otherwise: {failed:?}"));
        }
    }
    let cedar = each(time, || {
        black_box(authorizer.is_authorized(black_box(&through), black_box(&policies), &entities));
    })?;
    println!("{}", serde_json::json!({"iam-rs": iam_rs, "cedar-policy": cedar}));
    Ok(())
}

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
