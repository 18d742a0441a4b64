//! DynamoDB behind a front door on loopback, beside IAM and STS.
#![expect(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use postern_frontdoor::{Audit, HostNames, JsonDoor, Metrics, Mount, Record};
use postern_services::dynamodb::{DynamoDbService, Store};

use crate::iam_support::{Memory, World, front_door_to, tool};

/// DynamoDB of two accounts, whose root users have the keys `AKIAROOT1` and `AKIAROOT2` with the secret `secret`.
pub struct Front {
    pub address: SocketAddr,
    pub world: World,
    pub store: Store,
    pub records: Arc<Mutex<Vec<Record>>>,
    home: tempfile::TempDir,
}

impl Front {
    /// Starts it over the tables in this directory.
    pub async fn over(directory: &Path) -> Self {
        let world = World::over(Memory::at_real_time(), false);
        let store = Store::open(directory).unwrap();
        let metrics = Arc::new(Metrics::default());
        let (audit, mut received) = Audit::channel(1000, Arc::clone(&metrics));
        let records: Arc<Mutex<Vec<Record>>> = Arc::default();
        let kept = Arc::clone(&records);
        tokio::spawn(async move {
            while let Some(record) = received.recv().await {
                kept.lock().unwrap().push(record);
            }
        });
        let mount = Mount {
            signing_name: "dynamodb",
            hosts: HostNames::of_dynamodb("us-east-1"),
            service: Arc::new(door(&store, &world, &audit, &metrics)),
        };
        let (address, _) = front_door_to(&world, false, vec![mount], audit, &metrics).await;
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { address, world, store, records, home }
    }

    /// Runs a script of this directory with boto3, and gives what it printed.
    pub async fn python(&self, script: &str) -> String {
        let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dynamodb_support")).join(script);
        let output = tokio::process::Command::new(tool("python3"))
            .arg(script)
            .arg(format!("http://{}", self.address))
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env("PYTHONUTF8", "1")
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        told
    }
}

/// DynamoDB as it is mounted.
pub fn door(store: &Store, world: &World, audit: &Audit, metrics: &Arc<Metrics>) -> JsonDoor {
    JsonDoor::new(
        Arc::new(DynamoDbService::new(store.clone(), "us-east-1")),
        Arc::clone(&world.authoriser),
        "us-east-1",
        audit.clone(),
        Arc::clone(metrics),
        Duration::from_secs(30),
    )
}
