//! S3 behind the front door, as boto3 sees it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;
mod s3_support;

/// The number at the beginning of the last line that a program printed.
fn held(told: &str) -> u32 {
    let last = told.lines().last().unwrap_or_default();
    println!("{last}");
    last.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// Every parameter of every S3 operation: honoured, or refused by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parameter_is_honoured_or_refused_by_name() {
    let told = s3_support::Front::start(false).await.run("parameters.py", &[]).await;
    // As many as there are today, so that a model that is not found cannot pass for one without parameters.
    assert!(held(&told) > 500, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_kept_as_by_aws() {
    let told = s3_support::Front::start(false).await.run("versions.py", &[]).await;
    assert!(held(&told) > 100, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_kept_and_policies_ask_for_them() {
    let told = s3_support::Front::start(false).await.run("tags.py", &[]).await;
    assert!(held(&told) > 40, "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_public_by_accident() {
    let told = s3_support::Front::start(false).await.run("public.py", &[]).await;
    assert!(held(&told) > 30, "{told}");
}

const PIECES: &str = "\
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

/// Uploads in signed `aws-chunked` pieces, as boto3 does not send them: with right and with wrong signatures, where
/// signatures are checked and where they are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_are_checked_where_signatures_are() {
    let (checked, dev) = (s3_support::Front::start(false).await, s3_support::Front::start(true).await);
    assert_eq!(checked.run("pieces.py", &[&dev]).await, PIECES);
}
