//! S3 behind a front door on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use postern_frontdoor::{Audit, Limits, Metrics, OriginSource, Server};
use postern_services::s3::host::Hosts;
use postern_services::s3::storage::Store;
use postern_services::s3::{Options, S3Service};
use postern_services::s3_gate::{S3Door, S3Gate, policy_check};

use crate::iam_support::{Memory, World, tool};

/// S3 of account 111122223333, whose root user has the key `AKIAROOT1` with the secret `secret`.
pub struct Front {
    address: SocketAddr,
    _disk: tempfile::TempDir,
    home: tempfile::TempDir,
    _world: World,
}

impl Front {
    /// Starts it; with `dev` it does not check signatures.
    pub async fn start(dev: bool) -> Self {
        let world = World::over(Memory::at_real_time(), dev);
        let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let gate = Arc::new(S3Gate::new(Arc::clone(&world.authoriser)));
        let options = Options { policy_check: Some(policy_check()), ..Options::new("us-east-1") };
        let service = S3Service::new(Store::open(disk.path()).unwrap(), gate, options);
        let metrics = Arc::new(Metrics::default());
        let (audit, mut records) = Audit::channel(1000, Arc::clone(&metrics));
        // Records are another test's; here they only must not fill up.
        tokio::spawn(async move { while records.recv().await.is_some() {} });
        let hosts = Hosts::new("us-east-1", []);
        let authoriser = Arc::clone(&world.authoriser);
        let door =
            Arc::new(S3Door::new(service, authoriser, hosts, "us-east-1", audit, Arc::clone(&metrics)));
        let server = Server::new(door as _, None, Limits::default(), metrics);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { server.serve_tcp(listener, OriginSource::Outside).await });
        let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { address, _disk: disk, home, _world: world }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An empty folder for the client.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a program of this folder's against it and `others`, and returns what it printed. It must succeed.
    pub async fn run(&self, script: &str, others: &[&Self]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3_support").join(script);
        let output = tokio::process::Command::new(tool("python3"))
            .arg(script)
            .arg(self.url())
            .args(others.iter().map(|other| other.url()))
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", "/usr/bin:/bin")
            .env("PYTHONUTF8", "1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        told
    }
}
