//! AWS's own clients against a front door on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;

const EXPECTED: &str = "\
root: arn:aws:iam::111122223333:root
wrong secret: SignatureDoesNotMatch
unknown key: InvalidClientTokenId
user: arn:aws:iam::111122223333:user/ana
user lists users: AccessDenied
user lists users: ['ana']
policy comes back: 2012-10-17
pages: 6
simulated: ['allowed', 'implicitDeny']
decided by: [{'SourcePolicyId': 'lists', 'SourcePolicyType': 'user', 'StartPosition': {'Line': 1, 'Column': 37}, \
'EndPosition': {'Line': 1, 'Column': 110}}]
across accounts: {'IAM Policy': 'allowed', 'Resource Policy': 'implicitDeny'}
keys: ['aws:username']
boundary: arn:aws:iam::aws:policy/AmazonS3FullAccess
members: ['bob']
used by: ['admins']
beyond the boundary: AccessDenied
of the group: 2
out of the group: AccessDenied
before the policy: 0
under the policy: AccessDenied
by a member: AccessDeniedException
accounts: ['111122223333', '444455556666']
joined: datetime
after leaving: 0
session: arn:aws:sts::111122223333:assumed-role/app/here
session without token: InvalidClientTokenId
session with a broken token: InvalidClientTokenId
session of a deleted role: InvalidClientTokenId
skewed clock: SignatureDoesNotMatch
presigned: 200
presigned and changed: HTTP 403
oversized body: HTTP 413
unsigned form: HTTP 403
tls: arn:aws:iam::111122223333:root
tls by address: arn:aws:iam::111122223333:root
tls without the bundle: SSLError
dev, any key: arn:aws:iam::123456789012:root
dev, an account: arn:aws:iam::444455556666:root
dev, an issued key: arn:aws:iam::123456789012:user/dev
dev, its policies: AccessDenied
dev, skewed clock: arn:aws:iam::123456789012:root
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_and_the_aws_command_are_served() {
    let (plain, dev) =
        (World::over(Memory::at_real_time(), false), World::over(Memory::at_real_time(), true));
    let (address, authority, metrics) = front_door(&plain, false).await;
    let (dev_address, ..) = front_door(&dev, true).await;
    let home = tempfile::tempdir().unwrap();
    let bundle = home.path().join("ca.pem");
    std::fs::write(&bundle, authority.certificate_pem()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/iam_support/clients.py");
    let command = |program: &str| {
        let mut command = tokio::process::Command::new(tool(program));
        command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").kill_on_drop(true);
        command
    };
    let output = command("python3")
        .args([script, &format!("http://{address}"), &format!("http://{dev_address}")])
        .arg(&bundle)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, EXPECTED, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(metrics.get(postern_frontdoor::Counter::TaskPanicked), 0);
    let aws = command("aws")
        .args(["sts", "get-caller-identity", "--output", "text", "--query", "Arn"])
        .env("AWS_ENDPOINT_URL", format!("https://localhost:{}", address.port()))
        .env("AWS_CA_BUNDLE", &bundle)
        .env("AWS_ACCESS_KEY_ID", "AKIAROOT1")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&aws.stdout);
    assert_eq!(told.trim(), "arn:aws:iam::111122223333:root", "{}", String::from_utf8_lossy(&aws.stderr));
}
