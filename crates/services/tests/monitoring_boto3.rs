//! boto3 as a client of CloudWatch, against a front door on loopback, over meters that say what they are told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use iam_support::*;
use postern_frontdoor::{Audit, HostNames, Metrics, Mount};
use postern_services::monitoring::{Meters, Metric, Monitoring, MonitoringDoor, Reading, Unit, Value};

const EXPECTED: &str = "\
listed: [('ActiveConnections', 2), ('BytesProcessed', 2)]
of one: 1
of none: 0
sums: [(0, 300.0), (-60, 40.0)]
of five minutes: [(0, 300.0), (-300, 40.0)]
samples: [(0, 2.0), (-60, 1.0)]
greatest: [(0, 9.0), (-60, 2.0)] [(0, 6.0), (-60, 2.0)]
unit: True []
unknown: []
oldest first: [40.0, 300.0]
pages: [([300.0], 'PartialData'), ([40.0], 'Complete')]
statistics: BytesProcessed [(40.0, 40.0, 'Bytes', False), (300.0, 300.0, 'Bytes', False)]
percentile: ValidationError
math: ValidationError
backwards: ValidationError
period: InvalidParameterValue
twice: ValidationError
token: InvalidNextToken
too many: InvalidParameterCombination
no statistic: InvalidParameterCombination
not served: InvalidAction
form: ['300', '40']
form refuses: ValidationError
form knows not: InvalidAction
json: ['ActiveConnections']
json refuses: MissingRequiredParameterException MissingParameter;Sender
wrong key: InvalidSignatureException
";

/// Says each reading once, at a time that it is told.
#[derive(Default)]
struct Script {
    now: Mutex<i64>,
    readings: Mutex<Vec<Reading>>,
}

impl Meters for Script {
    fn measure(&self) -> Vec<Reading> {
        std::mem::take(&mut self.readings.lock().unwrap())
    }

    fn now_seconds(&self) -> i64 {
        *self.now.lock().unwrap()
    }
}

fn readings(owner: u64, bytes: u64, connections: u64) -> Vec<Reading> {
    let reading = |name, unit, value| {
        let dimensions = vec![("VPC Endpoint Id", "vpce-1".to_owned()), ("Service Name", "s".to_owned())];
        let metric = Metric::new("AWS/PrivateLinkEndpoints", name, dimensions);
        Reading { account: account(owner), metric, unit, value }
    };
    vec![
        reading("BytesProcessed", Unit::Bytes, Value::More(bytes)),
        reading("ActiveConnections", Unit::Count, Value::Now(connections)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_hears_what_was_measured_in_every_protocol() {
    let world = World::over(Memory::at_real_time(), false);
    let script = Arc::new(Script::default());
    let monitoring = Arc::new(Monitoring::new(Arc::clone(&script) as _));
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // At the beginning of five minutes, so that the periods of the script are those that it expects.
    let now = i64::try_from(seconds).unwrap().div_euclid(300) * 300;
    // What another account's endpoint had is nobody else's to see.
    let measured =
        [(now - 60, ONE, 40, 2), (now, ONE, 100, 3), (now + 20, ONE, 200, 9), (now + 21, TWO, 7_000, 7)];
    for (at, owner, bytes, connections) in measured {
        *script.now.lock().unwrap() = at;
        *script.readings.lock().unwrap() = readings(owner, bytes, connections);
        monitoring.measure();
    }
    let metrics = Arc::new(Metrics::default());
    let (audit, mut records) = Audit::channel(100, Arc::clone(&metrics));
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let keeps = Arc::clone(&recorded);
    tokio::spawn(async move {
        while let Some(record) = records.recv().await {
            keeps.lock().unwrap().push(record);
        }
    });
    let door = MonitoringDoor::new(
        monitoring,
        Arc::clone(&world.authoriser),
        "us-east-1",
        audit.clone(),
        Arc::clone(&metrics),
        Duration::from_secs(5),
    );
    let mount = Mount {
        signing_name: "monitoring",
        hosts: HostNames::of_service("monitoring", "us-east-1"),
        service: Arc::new(door),
    };
    let (address, _) = front_door_to(&world, false, vec![mount], audit, &metrics).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/iam_support/measuring.py");
    let output = tokio::process::Command::new(tool("python3"))
        .args([script, &format!("http://{address}"), &now.to_string()])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, EXPECTED, "{}", String::from_utf8_lossy(&output.stderr));
    // Who could not show the key is recorded by it.
    let recorded = recorded.lock().unwrap();
    let unknown = recorded.iter().map(|record| &record.user_identity).find(|who| who.kind == "Unknown");
    assert!(unknown.is_some_and(|who| who.access_key_id.is_some()), "{unknown:?}");
}
