//! What somebody with a few rights tries who wants more: the names of others' objects in another spelling, URLs that
//! were signed for somewhere else, forms that carry a signature of their own.

use serde_json::{Value, json};

use crate::aws::{Answer, Aws, exchange};
use crate::harness::{World, eventually};
use crate::network::{audit, text};

crate::one_way!(what_is_authorised_is_what_is_served, a_signature_is_for_one_host_and_service);

/// A user who may read what is below `public/` of one bucket, and no more.
fn reader(aws: &Aws) -> Aws {
    aws.call("iam", "CreateUser", json!({ "UserName": "reader" }));
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": "arn:aws:s3:::shared-bucket/public/*",
    }] });
    let policy = json!({ "UserName": "reader", "PolicyName": "p", "PolicyDocument": policy.to_string() });
    aws.call("iam", "PutUserPolicy", policy);
    let key = aws.call("iam", "CreateAccessKey", json!({ "UserName": "reader" }));
    let part = |name: &str| text(&key["AccessKey"][name]);
    Aws { key: part("AccessKeyId"), secret: part("SecretAccessKey"), ..aws.clone() }
}

fn what_is_authorised_is_what_is_served(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    for bucket in ["shared-bucket", "closed-bucket"] {
        assert_eq!(aws.s3("PUT", &format!("/{bucket}"), "", b"").unwrap().status, 200);
    }
    for object in ["shared-bucket/public/note", "shared-bucket/secret", "closed-bucket/secret"] {
        let content = if object.ends_with("secret") { "the secret" } else { "the note" };
        assert_eq!(aws.s3("PUT", &format!("/{object}"), "", content.as_bytes()).unwrap().status, 200);
    }
    let reader = reader(&aws);
    assert_eq!(reader.s3("GET", "/shared-bucket/public/note", "", b"").unwrap().body, b"the note");
    // The same key in another spelling is the same key, and signed as such.
    assert_eq!(reader.s3("GET", "/shared-bucket/public%2Fnote", "", b"").unwrap().body, b"the note");
    for path in [
        "/shared-bucket/secret",
        "/shared-bucket/public/../secret",
        "/shared-bucket/public/%2e%2e/secret",
        "/shared-bucket/public/%2E%2E%2Fsecret",
        "/shared-bucket/public%2F..%2Fsecret",
        "/shared-bucket/public/./../secret",
        "/shared-bucket/public/..%2f..%2fclosed-bucket/secret",
        "/shared-bucket/public/%252e%252e/secret",
        "/shared-bucket%2Fsecret",
        "/shared-bucket%2Fpublic%2F..%2Fsecret",
        "/shared-bucket//secret",
        "//shared-bucket/secret",
        "/./shared-bucket/secret",
        "/shared-bucket/public/../../closed-bucket/secret",
        "/closed-bucket/secret",
        "/closed-bucket/public/secret",
        "/shared-bucket/public\\..\\secret",
        "/shared-bucket/public/%00/../secret",
    ] {
        let Some(answer) = reader.s3("GET", path, "", b"") else { panic!("{path}: no answer") };
        assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        assert!(!answer.text().contains("the secret"), "{path}");
    }
    // A copy reads what it names: its source is asked for like any other.
    for source in [
        "/shared-bucket/secret",
        "shared-bucket/secret",
        "/shared-bucket/public/../secret",
        "/shared-bucket/public/%2e%2e/secret",
        "shared-bucket%2Fsecret",
        "/closed-bucket/secret",
        "//shared-bucket/secret",
    ] {
        let copied = reader.with_header("PUT", "/shared-bucket/public/copy", ("x-amz-copy-source", source));
        assert!((400..500).contains(&copied.status), "{source}: {} {}", copied.status, copied.text());
    }
    assert_eq!(reader.s3("GET", "/shared-bucket/public/copy", "", b"").unwrap().status, 403);
    // What a record says is what was decided about.
    let records = eventually("all is recorded", 10, || {
        let records = audit(&region);
        (records.iter().filter(|r| r["eventName"] == "CopyObject").count() == 7).then_some(records)
    });
    let denied =
        |r: &&Value| r["userIdentity"]["arn"].as_str().is_some_and(|arn| arn.ends_with("user/reader"));
    let denied: Vec<&Value> =
        records.iter().filter(denied).filter(|r| r["errorCode"] == "AccessDenied").collect();
    assert!(denied.len() > 10, "{}", denied.len());
    assert!(denied.iter().all(|r| r["additionalEventData"]["decision"] == "denied"), "{denied:?}");
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn a_signature_is_for_one_host_and_service(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    assert_eq!(aws.s3("PUT", "/shared-bucket", "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/shared-bucket/note", "", b"the note").unwrap().status, 200);
    let s3 = format!("s3.{}.amazonaws.com", aws.region);
    let send = |method: &str, target: &str, host: &str, more: &[(&str, &str)], body: &[u8]| -> Answer {
        let mut headers = vec![("host".to_owned(), host.to_owned())];
        headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        exchange(region.host(), method, target, &headers, body).expect("an answer")
    };
    let url = aws.presigned(&s3, "/shared-bucket/note");
    assert_eq!(send("GET", &url, &s3, &[], b"").body, b"the note");
    // Not at another host, not for another method or object, not with headers that mean more.
    let refused = |answer: Answer| (answer.status, answer.refusal().0);
    let mismatch = (403, "SignatureDoesNotMatch".to_owned());
    assert_eq!(refused(send("GET", &url, region.host(), &[], b"")), mismatch);
    assert_eq!(refused(send("GET", &url, &format!("shared-bucket.{s3}"), &[], b"")), mismatch);
    assert_eq!(refused(send("PUT", &url, &s3, &[], b"other")), mismatch);
    let other = url.replace("/note", "/other");
    assert_eq!(refused(send("GET", &other, &s3, &[], b"")), mismatch);
    assert_eq!(
        refused(send("GET", &format!("{url}&response-content-type=text/html"), &s3, &[], b"")),
        mismatch
    );
    let meaning = [("x-amz-copy-source", "/shared-bucket/other")];
    assert_eq!(send("GET", &url, &s3, &meaning, b"").status, 403);
    // At another service's host it is another service's request, for which it is no signature.
    let elsewhere = send("GET", &url, "iam.amazonaws.com", &[], b"");
    assert_eq!(refused(elsewhere), mismatch);
    // The target says one host, the header another.
    let absolute = format!("http://iam.amazonaws.com{url}");
    assert_eq!(send("GET", &absolute, &s3, &[], b"").status, 400);
    // A form for browsers with a policy of its own, which is another way to sign.
    let form = "--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nforged\r\n\
                --x\r\nContent-Disposition: form-data; name=\"x-amz-credential\"\r\n\r\nAKIA/20260101/us-east-1/s3/aws4_request\r\n\
                --x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\ncontent\r\n--x--\r\n";
    let of_form = [("content-type", "multipart/form-data; boundary=x")];
    let answer = send("POST", "/shared-bucket", &s3, &of_form, form.as_bytes());
    assert!((400..=501).contains(&answer.status), "{}", answer.text());
    assert_eq!(aws.s3("GET", "/shared-bucket/forged", "", b"").unwrap().status, 404);
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}
