//! Uploads in signed `aws-chunked` pieces, as boto3 does not send them: with right and with wrong signatures, where
//! signatures are checked and where they are not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;
mod s3_support;

use iam_support::tool;

const EXPECTED: &str = "\
checked, right: 200 300000
checked, right, with trailer: 200 300000
checked, wrong trailer: 400 BadDigest
checked, wrong piece: 403 SignatureDoesNotMatch
checked, wrong head: 403 SignatureDoesNotMatch
checked, unknown key: 403 InvalidAccessKeyId
checked, wrong trailer signature: 403 SignatureDoesNotMatch
checked, cut short: 400 IncompleteBody
dev, right: 200 300000
dev, right, with trailer: 200 300000
dev, wrong trailer: 400 BadDigest
dev, wrong piece: 200 300000
dev, wrong head: 200 300000
dev, unknown key: 200 300000
dev, wrong trailer signature: 200 300000
dev, cut short: 400 IncompleteBody
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_are_checked_where_signatures_are() {
    let (checked, dev) = (s3_support::Front::start(false).await, s3_support::Front::start(true).await);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/s3_support/pieces.py");
    let output = tokio::process::Command::new(tool("python3"))
        .args([script, &checked.url(), &dev.url()])
        .env_clear()
        .env("HOME", checked.home())
        .env("PATH", "/usr/bin:/bin")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, EXPECTED, "{}", String::from_utf8_lossy(&output.stderr));
}
