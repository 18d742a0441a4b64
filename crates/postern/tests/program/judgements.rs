//! Why requests are allowed or refused: of one that was made, of one that nobody made, and by the way of an instance's
//! packets; each time from the evaluator that decided, and each change that is proposed turns the decision round.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Region, World, eventually};
use crate::network::{Network, audit, role, text};

crate::both_ways!(a_refusal_is_explained_and_its_remedy_works);
crate::one_way!(what_cannot_be_judged_is_said, what_is_supposed_meets_the_policies_of_topics_and_roles);

const BUCKET: &str = "judged";

fn put_policy(aws: &Aws, statement: &Value) {
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let put = aws.s3("PUT", &format!("/{BUCKET}"), "policy=", policy.as_bytes()).unwrap();
    assert_eq!(put.status, 204, "{}", put.text());
}

/// What `aws` in an instance gets when it asks for the object, and the id of the answer.
fn ask(region: &Region<'_>, instance: &str) -> (bool, String) {
    let line = format!("AWS_MAX_ATTEMPTS=1 aws s3api get-object --bucket {BUCKET} --key k got");
    let ran = region.exec(instance, &["/bin/sh", "-c", &line]);
    let decision = if ran.code == Some(0) { "allowed" } else { "denied" };
    let record = eventually("the request is recorded", 10, || {
        let of_instance = |record: &&Value| {
            record["eventName"] == "GetObject" && record["additionalEventData"]["instanceId"] == instance
        };
        let records = audit(region);
        records
            .iter()
            .rfind(of_instance)
            .filter(|r| r["additionalEventData"]["decision"] == decision)
            .cloned()
    });
    (ran.code == Some(0), text(&record["requestID"]))
}

fn a_refusal_is_explained_and_its_remedy_works(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let allowed = json!({ "Version": "2012-10-17", "Statement": [
        { "Sid": "Read", "Effect": "Allow", "Action": "s3:Get*", "Resource": "*" } ] });
    role(&aws, "reader", &allowed);
    let instance = network.run(&aws, json!({ "IamInstanceProfile": { "Name": "reader" } }));
    let endpoint = network.s3_endpoint(&aws);
    assert_eq!(aws.s3("PUT", &format!("/{BUCKET}"), "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", &format!("/{BUCKET}/k"), "", b"content").unwrap().status, 200);
    put_policy(
        &aws,
        &json!({ "Sid": "ByAnotherDoor", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
            "Resource": format!("arn:aws:s3:::{BUCKET}/*"),
            "Condition": { "StringNotEquals": { "aws:SourceVpce": "vpce-0123456789abcdef0" } } }),
    );

    // A request that was made, by its id.
    let (passed, id) = ask(&region, &instance);
    assert!(!passed);
    let why = region.json(&["why", &id]);
    let decided = &why["requests"][0];
    assert_eq!((&decided["allowed"], &decided["action"]), (&json!(false), &json!("s3:GetObject")));
    assert_eq!(decided["context"]["aws:sourcevpce"], json!([endpoint]));
    assert!(
        text(&decided["message"]).ends_with("with an explicit deny in a resource-based policy"),
        "{decided}"
    );
    let decisive: Vec<&Value> =
        decided["statements"].as_array().unwrap().iter().filter(|said| said["decisive"] == true).collect();
    assert_eq!(decisive.len(), 1, "{decided}");
    assert_eq!(decisive[0]["sid"], "ByAnotherDoor");
    assert_eq!(decisive[0]["policy"], BUCKET);
    assert!(decisive[0]["place"][1].as_u64().unwrap() > 1, "{decided}");
    assert!(text(&decisive[0]["conditions"][0]).contains(&endpoint), "{decided}");
    assert_eq!(why["record"]["requestID"], id.as_str());
    let ways = decided["smallest_changes"].to_string();
    assert!(ways.contains("without statement 0") && ways.contains("whose `aws:SourceVpce` is"), "{ways}");
    let said = region.run(&["why", &id]).stdout;
    assert!(said.contains("`ByAnotherDoor`") && said.contains("it would be allowed"), "{said}");

    // The same before it is made: the way of its packets, then the policies.
    let resource = format!("arn:aws:s3:::{BUCKET}/k");
    let asked = ["--action", "s3:GetObject", "--resource", &resource];
    let trace = region.json(&[&["trace", "--from", &instance], &asked[..]].concat());
    assert_eq!(trace["arrives"], true);
    assert!(trace["stages"].to_string().contains(&endpoint), "{trace}");
    assert_eq!(trace["request"]["allowed"], false);
    assert_eq!(trace["request"]["context"]["aws:sourcevpce"], json!([endpoint]));
    assert!(
        text(&trace["request"]["principal"]).ends_with(&format!("assumed-role/reader/{instance}")),
        "{trace}"
    );
    let simulated = region.json(&[&["simulate", "--from", &instance], &asked[..]].concat());
    assert_eq!(simulated["message"], decided["message"]);
    let by_the_other = [
        &["simulate", "--from", &instance, "--context", "aws:SourceVpce=vpce-0123456789abcdef0"],
        &asked[..],
    ]
    .concat();
    assert_eq!(region.json(&by_the_other)["allowed"], true);

    // A remedy that was proposed, made for real: the condition names this endpoint.
    put_policy(
        &aws,
        &json!({ "Sid": "ByThisDoor", "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
            "Resource": format!("arn:aws:s3:::{BUCKET}/*"),
            "Condition": { "StringNotEquals": { "aws:SourceVpce": endpoint } } }),
    );
    let (passed, id) = ask(&region, &instance);
    assert!(passed);
    let why = region.json(&["why", &id]);
    assert_eq!(why["requests"][0]["allowed"], true);
    assert!(why["requests"][0]["smallest_changes"][0][0].as_str().unwrap().contains("`Read`"), "{why}");
    // From outside of every VPC the same request has no endpoint.
    let root = text(&aws.call("sts", "GetCallerIdentity", json!({}))["Arn"]);
    let outside = region.json(&[&["simulate", "--principal", &root], &asked[..]].concat());
    assert_eq!(outside["allowed"], false);
    assert!(
        outside["context"].get("aws:sourcevpce").is_none()
            && outside["context"].get("aws:sourceip").is_some()
    );
    let outside = aws.s3("GET", &format!("/{BUCKET}/k"), "", b"").unwrap();
    assert_eq!(outside.status, 403);

    // Without a way there is no request.
    aws.ec2("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
    let trace = region.json(&[&["trace", "--from", &instance], &asked[..]].concat());
    assert_eq!(trace["arrives"], false);
    assert!(trace.get("request").is_none() && text(&trace["text"]).contains("no policy is asked"), "{trace}");
    region.end_by(Signal::SIGTERM);
}

fn what_cannot_be_judged_is_said(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let root = text(&aws.call("sts", "GetCallerIdentity", json!({}))["Arn"]);
    let instance = Network::new(&aws).run(&aws, json!({}));
    for (arguments, said) in [
        (&["why", "no-such-request"][..], "there is no request `no-such-request`"),
        (&["simulate", "--principal", "somebody", "--action", "s3:GetObject"], "`somebody` is nobody here"),
        (&["simulate", "--principal", &root, "--action", "GetObject"], "`GetObject` is not an action"),
        (
            &["simulate", "--principal", &root, "--action", "s3:GetObject", "--resource", "b"],
            "`b` is neither an ARN",
        ),
        (
            &[
                "simulate",
                "--principal",
                &root,
                "--action",
                "s3:GetObject",
                "--resource",
                "arn:aws:s3:::none/k",
            ],
            "there is no bucket `none`",
        ),
        (&["simulate", "--from", &instance, "--action", "ec2:DescribeVpcs"], "`postern trace` says why"),
        (
            &["simulate", "--from", &instance, "--action", "nothing:Do"],
            "no service here has actions like `nothing:Do`",
        ),
    ] {
        let ran = region.run(arguments);
        assert_ne!(ran.code, Some(0), "{arguments:?}: {}", ran.stdout);
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
    // A request that no policy was asked about is known, and that is said.
    let forged = Aws { secret: "another".to_owned(), ..aws.clone() };
    assert!(forged.try_call("ec2", "DescribeVpcs", &json!({})).is_err());
    let id = eventually("it is recorded", 10, || {
        let denied = |record: &Value| record["errorCode"] == "AuthFailure";
        audit(&region).into_iter().find(denied).map(|record| text(&record["requestID"]))
    });
    let ran = region.run(&["why", &id]);
    assert!(ran.stderr.contains("nothing is known any more"), "{}{}", ran.stdout, ran.stderr);
    region.end_by(Signal::SIGTERM);
}

/// A request that nobody has made meets the same policies as one that was made.
fn what_is_supposed_meets_the_policies_of_topics_and_roles(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let root = text(&aws.call("sts", "GetCallerIdentity", json!({}))["Arn"]);
    let user = text(&aws.call("iam", "CreateUser", json!({ "UserName": "ana" }))["User"]["Arn"]);
    let topic = text(&aws.call("sns", "CreateTopic", json!({ "Name": "news" }))["TopicArn"]);
    let simulate = |principal: &str, action: &str, resource: &str| {
        region.json(&["simulate", "--principal", principal, "--action", action, "--resource", resource])
    };
    assert_eq!(simulate(&user, "sns:Publish", &topic)["allowed"], false);
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": user }, "Action": "sns:Publish", "Resource": topic } ] });
    let set = json!({ "TopicArn": topic, "AttributeName": "Policy", "AttributeValue": policy.to_string() });
    aws.call("sns", "SetTopicAttributes", set);
    assert_eq!(simulate(&user, "sns:Publish", &topic)["allowed"], true);

    let all = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "sts:*", "Resource": "*" } ] });
    let put = json!({ "UserName": "ana", "PolicyName": "all", "PolicyDocument": all.to_string() });
    aws.call("iam", "PutUserPolicy", put);
    role(&aws, "reader", &all);
    let arn = user.replace("user/ana", "role/reader");
    let assumed = simulate(&user, "sts:AssumeRole", &arn);
    assert_eq!(assumed["allowed"], false, "it trusts EC2 alone: {assumed}");
    let trust = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": user }, "Action": "sts:AssumeRole" } ] });
    let update = json!({ "RoleName": "reader", "PolicyDocument": trust.to_string() });
    aws.call("iam", "UpdateAssumeRolePolicy", update);
    assert_eq!(simulate(&user, "sts:AssumeRole", &arn)["allowed"], true);
    let refused = |principal: &str, action: &str, resource: &str| {
        let ran =
            region.run(&["simulate", "--principal", principal, "--action", action, "--resource", resource]);
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
        ran.stderr
    };
    let by_root = refused(&root, "sts:AssumeRole", &arn);
    assert!(by_root.contains("Roles may not be assumed by root accounts"), "{by_root}");

    let made = region.json(&["account", "create", "other", "--id", "222222222222"]);
    let other_account =
        Aws { key: text(&made["access_key_id"]), secret: text(&made["secret_access_key"]), ..aws.clone() };
    let (other, object) = ("arn:aws:iam::222222222222:root", format!("arn:aws:s3:::{BUCKET}/k"));
    let bucket = format!("/{BUCKET}");
    assert_eq!(aws.s3("PUT", &bucket, "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("DELETE", &bucket, "publicAccessBlock=", b"").unwrap().status, 204);
    put_policy(
        &aws,
        &json!({ "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": object }),
    );
    assert_eq!(simulate(other, "s3:GetObject", &object)["allowed"], true);
    let block = "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets>\
        </PublicAccessBlockConfiguration>";
    let put = aws.s3("PUT", &bucket, "publicAccessBlock=", block.as_bytes()).unwrap();
    assert_eq!(put.status, 200, "{}", put.text());
    let blocked = simulate(other, "s3:GetObject", &object);
    assert_eq!(
        (&blocked["allowed"], &blocked["turned_away_by"]),
        (&json!(false), &json!("RestrictPublicBuckets"))
    );
    // And so it is explained to who asks why, of a request that was made.
    let answer = other_account.s3("GET", &format!("{bucket}/k"), "", b"").unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    let id = postern_wire::client::decode_error(&answer.text()).unwrap().2.unwrap();
    let why = region.json(&["why", &id]);
    assert_eq!(why["requests"][0]["turned_away_by"], "RestrictPublicBuckets", "{why}");
    assert!(
        text(&why["text"]).contains("decided by  RestrictPublicBuckets: the bucket's policy is public"),
        "{why}"
    );
    assert_eq!(simulate(&root, "s3:GetObject", &object)["allowed"], true);
    region.end_by(Signal::SIGTERM);
}
