//! AWS's own client against Access Analyzer behind a front door on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use iam_support::{Memory, World, front_door_to, tool};
use postern_frontdoor::{Audit, HostNames, JsonDoor, Metrics, Mount};
use postern_services::access_analyzer::AccessAnalyzerService;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_hears_of_errors_and_warnings_in_awss_words() {
    let world = World::over(Memory::at_real_time(), false);
    let metrics = Arc::new(Metrics::default());
    let (audit, mut received) = Audit::channel(1000, Arc::clone(&metrics));
    let door = JsonDoor::new(
        Arc::new(AccessAnalyzerService),
        Arc::clone(&world.authoriser),
        "us-east-1",
        audit.clone(),
        Arc::clone(&metrics),
        Duration::from_secs(30),
    );
    let mount = Mount {
        signing_name: "access-analyzer",
        hosts: HostNames::of_service("access-analyzer", "us-east-1"),
        service: Arc::new(door),
    };
    let (address, _) = front_door_to(&world, false, vec![mount], audit, &metrics).await;
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/access_analyzer_support/findings.py"));
    let output = tokio::process::Command::new(tool("python3"))
        .arg(script)
        .arg(format!("http://{address}"))
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("PYTHONUTF8", "1")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(told, include_str!("access_analyzer_support/findings.expected"));
    let mut denied = 0;
    while let Ok(record) = received.try_recv() {
        assert_eq!(record.event_source, "access-analyzer.amazonaws.com");
        denied += usize::from(record.additional_event_data.decision == "denied");
    }
    assert_eq!(denied, 2, "who may not, and whose key is not known");
}
