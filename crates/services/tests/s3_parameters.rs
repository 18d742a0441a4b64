//! Every parameter of every S3 operation, sent through the front door: honoured, or refused by name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;
mod s3_support;

use iam_support::tool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parameter_is_honoured_or_refused_by_name() {
    let front = s3_support::Front::start(false).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3_support/parameters.py");
    let output = tokio::process::Command::new(tool("python3"))
        .args([script, &front.url()])
        .env_clear()
        .env("HOME", front.home())
        .env("PATH", "/usr/bin:/bin")
        .env("PYTHONUTF8", "1")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let last = told.lines().last().unwrap_or_default();
    println!("{last}");
    // As many as there are today, so that a model that is not found cannot pass for one without parameters.
    let checked = last.split(' ').next().and_then(|count| count.parse::<u32>().ok()).unwrap_or_default();
    assert!(output.status.success() && checked > 450, "{told}{}", String::from_utf8_lossy(&output.stderr));
}
