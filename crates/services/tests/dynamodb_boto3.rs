//! AWS's own client against DynamoDB behind a front door on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod dynamodb_support;
mod iam_support;

use dynamodb_support::Front;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_does_with_tables_and_items_what_its_examples_do() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let front = Front::over(disk.path()).await;
    let told = front.python("clients.py").await;
    assert_eq!(told, include_str!("dynamodb_support/clients.expected"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_about_tables_items_and_attributes() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let front = Front::over(disk.path()).await;
    let told = front.python("policies.py").await;
    assert_eq!(told, include_str!("dynamodb_support/policies.expected"));
    // What was refused stands in the records as that, although its status is 400.
    let records = front.records.lock().unwrap();
    let of = |name: &str, denied: bool| {
        let fits = |record: &&postern_frontdoor::Record| {
            record.event_source == "dynamodb.amazonaws.com"
                && record.event_name == name
                && (record.additional_event_data.decision == "denied") == denied
        };
        records.iter().filter(fits).count()
    };
    assert!(of("GetItem", true) > 5 && of("GetItem", false) > 5 && of("ListTables", false) == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_parameter_is_honoured_or_refused_by_name() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let front = Front::over(disk.path()).await;
    let told = front.python("parameters.py").await;
    // As many as there are today, so that a model that is not found cannot pass for one without parameters.
    let checked = told.split(' ').next().and_then(|count| count.parse::<u32>().ok()).unwrap_or_default();
    assert!(checked > 250, "{told}");
}
