//! boto3 as a client of load balancers, against a front door on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;
use postern_model::{Action, Event};

const EXPECTED: &str = "\
zones: ['us-east-1a', 'us-east-1b']
state: provisioning
created: True
check: HTTP /up 200-299
forwards: forward
target: 10.0.1.9 80 us-east-1a initial Elb.RegistrationInProgress
target: 10.0.2.9 81 us-east-1b initial Elb.RegistrationInProgress
port of checks: 8080
cross-zone: true
tags: [2, 0]
groups: InvalidConfigurationRequest
alb: InvalidConfigurationRequest
rule actions: UnknownParameter
rules: InvalidAction
pages: 1
gone: LoadBalancerNotFound
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_is_served_from_making_to_deleting() {
    let world = World::over(Memory::at_real_time(), false);
    let made = |action| match world.memory.run(account(ONE), action).unwrap().events[0] {
        Event::Created(id) => id,
        other => panic!("{other:?}"),
    };
    let cidr = "10.0.0.0/16".parse().unwrap();
    let vpc = made(Action::CreateVpc { cidr, tags: Vec::new() }).to_string();
    let subnet = |cidr: &str, zone: &str| {
        let (vpc, cidr) = (vpc.parse().unwrap(), cidr.parse().unwrap());
        made(Action::CreateSubnet { vpc, cidr, zone: Some(zone.to_owned()), tags: Vec::new() }).to_string()
    };
    let (first, second) = (subnet("10.0.1.0/24", "us-east-1a"), subnet("10.0.2.0/24", "us-east-1b"));
    let (address, ..) = front_door(&world, false).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/iam_support/balancing.py");
    let output = tokio::process::Command::new(tool("python3"))
        .args([script, &format!("http://{address}"), &vpc, &first, &second])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, EXPECTED, "{}", String::from_utf8_lossy(&output.stderr));
}
