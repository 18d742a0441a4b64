//! Topics and who hears them: subscribers on this machine, and what they are told of endpoints' connections.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Ran, World};
use crate::network::{Network, text};

crate::one_way!(
    subscribers_hear_what_is_published_once_they_said_that_they_want_it,
    topics_are_told_of_connections_that_their_policies_let_tell_them,
    boto3_is_served_with_topics,
    messages_go_where_the_operator_lets_them,
);

/// What a subscriber got.
struct Post {
    kind: String,
    body: String,
}

impl Post {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A subscriber, which answers with one status after the other, and with the last one from then on.
struct Subscriber {
    url: String,
    posts: Receiver<Post>,
}

impl Subscriber {
    fn new(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hear", listener.local_addr().unwrap());
        let (sender, posts) = channel();
        let mut statuses = statuses.to_vec();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut line, mut length, mut kind) = (String::new(), 0, String::new());
                while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                    let (name, value) = line.split_once(':').unwrap_or_default();
                    match name.to_ascii_lowercase().as_str() {
                        "content-length" => length = value.trim().parse().unwrap(),
                        "x-amz-sns-message-type" => kind = value.trim().to_owned(),
                        _ => {}
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                if stream.read_exact(&mut body).is_err() {
                    continue;
                }
                let status = if statuses.len() > 1 { statuses.remove(0) } else { statuses[0] };
                let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
                let _ = stream.get_mut().write_all(answer.as_bytes());
                if sender.send(Post { kind, body: String::from_utf8(body).unwrap() }).is_err() {
                    return;
                }
            }
        });
        Self { url, posts }
    }

    #[track_caller]
    fn hear(&self) -> Post {
        self.posts.recv_timeout(Duration::from_secs(30)).expect("a message")
    }

    fn nothing(&self) -> bool {
        self.posts.try_recv().is_err()
    }
}

fn sns(aws: &Aws, operation: &str, parameters: Value) -> Value {
    aws.call("sns", operation, parameters)
}

fn topic(aws: &Aws, name: &str) -> String {
    text(&sns(aws, "CreateTopic", json!({ "Name": name }))["TopicArn"])
}

/// Subscribes, and confirms by the URL that the subscriber was told.
fn subscribed(aws: &Aws, topic: &str, subscriber: &Subscriber, attributes: Value) -> String {
    let asked = json!({ "TopicArn": topic, "Protocol": "http", "Endpoint": subscriber.url, "Attributes": attributes });
    assert_eq!(sns(aws, "Subscribe", asked)["SubscriptionArn"], "pending confirmation");
    let question = subscriber.hear();
    assert_eq!(question.kind, "SubscriptionConfirmation");
    let url = text(&question.json()["SubscribeURL"]);
    let path = url.strip_prefix(&format!("http://{}", aws.host)).expect("the region's own URL");
    let answer = Aws::page(&aws.host, "GET", path).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let listed = sns(aws, "ListSubscriptionsByTopic", json!({ "TopicArn": topic }));
    let own = listed["Subscriptions"].as_array().unwrap().iter().find(|s| s["Endpoint"] == subscriber.url);
    text(&own.unwrap()["SubscriptionArn"])
}

fn publish(aws: &Aws, topic: &str, message: &str) {
    sns(aws, "Publish", json!({ "TopicArn": topic, "Message": message, "Subject": "About" }));
}

fn subscribers_hear_what_is_published_once_they_said_that_they_want_it(world: &World) {
    let region = world.up_in("state", &["--sns-to", "127.0.0.0/8"]);
    let aws = region.aws();
    let topic = topic(&aws, "news");
    let (one, raw) = (Subscriber::new(&[200]), Subscriber::new(&[200]));
    // One that waits hears nothing but the question; a token that it was not told confirms nothing.
    let asked = json!({ "TopicArn": topic, "Protocol": "http", "Endpoint": one.url });
    sns(&aws, "Subscribe", asked.clone());
    publish(&aws, &topic, "too early");
    assert_eq!(one.hear().kind, "SubscriptionConfirmation");
    let guessed = json!({ "TopicArn": topic, "Token": "00" });
    let (code, message) = aws.refused("sns", "ConfirmSubscription", guessed);
    assert_eq!((code.as_str(), message.as_str()), ("InvalidParameter", "Invalid parameter: Token"));
    // Asked again, the same subscription asks again.
    let subscription = subscribed(&aws, &topic, &one, json!({}));
    subscribed(&aws, &topic, &raw, json!({ "RawMessageDelivery": "true" }));
    publish(&aws, &topic, "hello");
    let heard = one.hear();
    assert_eq!(heard.kind, "Notification");
    let heard = heard.json();
    assert_eq!((&heard["Message"], &heard["Subject"]), (&json!("hello"), &json!("About")), "{heard}");
    assert_eq!((&heard["TopicArn"], &heard["SignatureVersion"]), (&json!(topic), &json!("2")), "{heard}");
    assert_eq!(raw.hear().body, "hello");
    verify(world, &aws, &heard);

    // Subscriptions outlive the process; nobody in particular can end one by its URL.
    region.down();
    let region = world.up_in("state", &["--sns-to", "127.0.0.0/8"]);
    let aws = region.aws();
    publish(&aws, &topic, "again");
    let url = text(&one.hear().json()["UnsubscribeURL"]);
    assert_eq!(raw.hear().body, "again");
    let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
    assert_eq!(Aws::page(&aws.host, "GET", &path).unwrap().status, 200);
    let (code, _) =
        aws.refused("sns", "GetSubscriptionAttributes", json!({ "SubscriptionArn": subscription }));
    assert_eq!(code, "NotFound");
    publish(&aws, &topic, "to the other one");
    assert_eq!(raw.hear().body, "to the other one");
    assert!(one.nothing());

    // What fails is delivered later, as the subscription's policy says; what is refused is not.
    let retries =
        json!({ "healthyRetryPolicy": { "numRetries": 2, "minDelayTarget": 1, "maxDelayTarget": 1 } });
    let (weak, gone) = (Subscriber::new(&[200, 500, 503, 200]), Subscriber::new(&[200, 404, 200]));
    for subscriber in [&weak, &gone] {
        subscribed(&aws, &topic, subscriber, json!({ "DeliveryPolicy": retries.to_string() }));
    }
    publish(&aws, &topic, "thrice");
    for _ in 0..3 {
        assert_eq!(weak.hear().json()["Message"], "thrice");
    }
    assert_eq!(gone.hear().json()["Message"], "thrice");
    publish(&aws, &topic, "once");
    assert_eq!(gone.hear().json()["Message"], "once", "what it refused did not come again");
    assert_eq!(weak.hear().json()["Message"], "once");
    let metrics = Aws::page(&aws.host, "GET", "/_postern/metrics").unwrap().text();
    assert!(metrics.contains("postern_sns_deliveries_total{result=\"failed\"} 1\n"), "{metrics}");
    region.down();
}

/// The signature is that of the key whose certificate is at the URL.
fn verify(world: &World, aws: &Aws, message: &Value) {
    let url = text(&message["SigningCertURL"]);
    let path = url.strip_prefix(&format!("http://{}", aws.host)).unwrap();
    let certificate = Aws::page(&aws.host, "GET", path).unwrap().text();
    let names = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"];
    let signed: String = names.iter().map(|name| format!("{name}\n{}\n", text(&message[*name]))).collect();
    let file = |name: &str, content: &[u8]| {
        let path = world.home().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let script = format!(
        "printf %s '{}' | base64 -d > {home}/signature && openssl x509 -in {} -noout -pubkey > {home}/key && \
         openssl dgst -sha256 -verify {home}/key -signature {home}/signature {}",
        text(&message["Signature"]),
        file("certificate", certificate.as_bytes()),
        file("signed", signed.as_bytes()),
        home = world.home().display()
    );
    let mut command = std::process::Command::new("/bin/sh");
    command.args(["-c", &script]);
    let ran = Ran::of(command, b"");
    assert!(ran.stdout.contains("Verified OK"), "{} {}", ran.stdout, ran.stderr);
}

fn topics_are_told_of_connections_that_their_policies_let_tell_them(world: &World) {
    let region = world.up(&["--sns-to", "127.0.0.1/32"]);
    let aws = region.aws();
    let (provider, consumer) = (Network::new(&aws), Network::new(&aws));
    let new = json!({ "Name": "one", "Type": "network", "Scheme": "internal", "Subnets": [provider.subnet] });
    let balancer = aws.call("elasticloadbalancing", "CreateLoadBalancer", new);
    let arn = text(&balancer["LoadBalancers"][0]["LoadBalancerArn"]);
    let service = aws.ec2(
        "CreateVpcEndpointServiceConfiguration",
        json!({ "AcceptanceRequired": true, "NetworkLoadBalancerArns": [arn] }),
    )["ServiceConfiguration"]
        .clone();
    let (service, name) = (text(&service["ServiceId"]), text(&service["ServiceName"]));
    let topic = topic(&aws, "connections");
    let subscriber = Subscriber::new(&[200]);
    subscribed(&aws, &topic, &subscriber, json!({}));

    let wanted = json!({
        "ServiceId": service, "ConnectionNotificationArn": topic,
        "ConnectionEvents": ["Accept", "Connect", "Delete", "Reject"],
    });
    let made = aws.ec2("CreateVpcEndpointConnectionNotification", wanted)["ConnectionNotification"].clone();
    assert_eq!(made["ConnectionNotificationState"], "Enabled");
    let notification = text(&made["ConnectionNotificationId"]);
    let endpoint = || {
        let wanted = json!({
            "VpcId": consumer.vpc, "VpcEndpointType": "Interface", "SubnetIds": [consumer.subnet], "ServiceName": name,
        });
        text(&aws.ec2("CreateVpcEndpoint", wanted)["VpcEndpoint"]["VpcEndpointId"])
    };
    // A topic with AWS's own policy lets no service tell it.
    let unheard = endpoint();
    aws.ec2("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [unheard] }));
    let account = text(&aws.call("sts", "GetCallerIdentity", json!({}))["Account"]);
    let policy = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "Service": "vpce.amazonaws.com" }, "Action": "SNS:Publish",
        "Resource": topic,
        "Condition": {
            "ArnLike": { "aws:SourceArn": format!("arn:aws:ec2:us-east-1:{account}:vpc-endpoint-service/{service}") },
            "StringEquals": { "aws:SourceAccount": account },
        },
    }] });
    let set = json!({ "TopicArn": topic, "AttributeName": "Policy", "AttributeValue": policy.to_string() });
    sns(&aws, "SetTopicAttributes", set);

    let told = |endpoint: &str, event: &str, state: &str| {
        let heard = subscriber.hear().json();
        let heard: Value = serde_json::from_str(heard["Message"].as_str().unwrap()).unwrap();
        assert_eq!(heard["event"], event, "{heard}");
        assert_eq!(heard["vpcEndpointId"], endpoint, "{heard}");
        assert_eq!(heard["vpcEndpointState"], state, "{heard}");
        assert_eq!(heard["serviceId"], service, "{heard}");
        assert_eq!(heard["notificationId"], notification, "{heard}");
        assert!(!heard.to_string().contains(&consumer.vpc), "the VPC is the consumer's own: {heard}");
    };
    let one = endpoint();
    told(&one, "Connect", "pendingAcceptance");
    let named = json!({ "ServiceId": service, "VpcEndpointIds": [one] });
    aws.ec2("AcceptVpcEndpointConnections", named.clone());
    told(&one, "Accept", "pending");
    aws.ec2("RejectVpcEndpointConnections", named);
    told(&one, "Reject", "rejected");
    // Fewer events are fewer messages.
    let fewer = json!({ "ConnectionNotificationId": notification, "ConnectionEvents": ["Delete"] });
    aws.ec2("ModifyVpcEndpointConnectionNotification", fewer);
    let other = endpoint();
    aws.ec2("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [one] }));
    told(&one, "Delete", "deleting");
    let shown = aws.ec2(
        "DescribeVpcEndpointConnectionNotifications",
        json!({ "Filters": [{ "Name": "service-id", "Values": [service] }] }),
    );
    assert_eq!(shown["ConnectionNotificationSet"][0]["ConnectionEvents"], json!(["Delete"]));
    aws.ec2(
        "DeleteVpcEndpointConnectionNotifications",
        json!({ "ConnectionNotificationIds": [notification] }),
    );
    let (code, _) = aws.refused(
        "ec2",
        "ModifyVpcEndpointConnectionNotification",
        json!({ "ConnectionNotificationId": notification, "ConnectionEvents": ["Accept"] }),
    );
    assert_eq!(code, "InvalidConnectionNotification");
    aws.ec2("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [other] }));
    publish(&aws, &topic, "the last word");
    assert_eq!(subscriber.hear().json()["Message"], "the last word", "nothing was told after the deletion");
    region.down();
}

const BOTO3: &str = r#"
import sys, boto3, botocore
sns = boto3.client("sns")
arn = sns.create_topic(Name="a", Attributes={"DisplayName": "A"}, Tags=[{"Key": "k", "Value": "v"}])["TopicArn"]
assert sns.create_topic(Name="a", Attributes={"DisplayName": "A"}, Tags=[{"Key": "k", "Value": "v"}])["TopicArn"] == arn
print(sns.get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"])
print(sns.list_tags_for_resource(ResourceArn=arn)["Tags"])
print(sns.list_topics()["Topics"] == [{"TopicArn": arn}])
for call in [
    lambda: sns.create_topic(Name="a"),
    lambda: sns.create_topic(Name="a b"),
    lambda: sns.create_topic(Name="b.fifo", Attributes={"FifoTopic": "true"}),
    lambda: sns.create_topic(Name="b", Attributes={"KmsMasterKeyId": "alias/aws/sns"}),
    lambda: sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:1:q"),
    lambda: sns.subscribe(TopicArn=arn, Protocol="https", Endpoint="http://127.0.0.1/"),
    lambda: sns.subscribe(TopicArn=arn, Protocol="http", Endpoint="http://127.0.0.1/", Attributes={"FilterPolicy": "{}"}),
    lambda: sns.publish(TopicArn=arn + "x", Message="m"),
    lambda: sns.publish(TopicArn="arn:aws:sns:us-east-1:999999999999:a", Message="m"),
    lambda: sns.publish(TopicArn=arn, Message="m", Subject="a\nb"),
    lambda: sns.publish(TopicArn=arn, Message="m", MessageStructure="json"),
    lambda: sns.publish(TopicArn=arn, Message="m", MessageAttributes={"n": {"DataType": "Number", "StringValue": "x"}}),
    lambda: sns.set_topic_attributes(TopicArn=arn, AttributeName="Policy", AttributeValue="{}"),
    lambda: sns.set_topic_attributes(TopicArn=arn, AttributeName="SignatureVersion", AttributeValue="1"),
]:
    try:
        print("not refused", call())
    except botocore.exceptions.ClientError as error:
        print(error.response["Error"]["Code"], error.response["Error"]["Message"][:60])
print("MessageId" in sns.publish(TopicArn=arn, Message="m", MessageAttributes={
    "n": {"DataType": "Number", "StringValue": "1"}, "b": {"DataType": "Binary", "BinaryValue": b"x"}}))
sns.untag_resource(ResourceArn=arn, TagKeys=["k"])
sns.delete_topic(TopicArn=arn)
print(sns.list_topics()["Topics"])
"#;

const BOTO3_SAYS: &str = "\
A
[{'Key': 'k', 'Value': 'v'}]
True
InvalidParameter Invalid parameter: Attributes Reason: Topic already exists w
InvalidParameter Invalid parameter: Topic Name
InvalidParameter Invalid parameter: AttributeName Reason: FifoTopic is not su
InvalidParameter Invalid parameter: AttributeName Reason: KmsMasterKeyId is n
InvalidParameter Invalid parameter: Protocol Reason: sqs is not supported by 
InvalidParameter Invalid parameter: Endpoint must match the specified protoco
InvalidParameter Invalid parameter: AttributeName Reason: FilterPolicy is not
NotFound Topic does not exist
AuthorizationError User: arn:aws:iam::ACCOUNT:root is not authorized to pe
InvalidParameter Invalid parameter: Subject
InvalidParameter Invalid parameter: Message Structure Reason: JSON message bo
ParameterValueInvalid The message attribute 'n' is not a number
InvalidParameter Invalid parameter: Policy Error: STATEMENT
InvalidParameter Invalid parameter: SignatureVersion Reason: 1, other than 2,
True
[]
";

fn boto3_is_served_with_topics(world: &World) {
    let region = world.up(&["--sns-to", "127.0.0.0/8"]);
    let aws = region.aws();
    let ran = aws.boto3(BOTO3);
    let account = text(&aws.call("sts", "GetCallerIdentity", json!({}))["Account"]);
    // Where the sentence is the policy language's own, its beginning is enough.
    let told: String = ran
        .stdout
        .lines()
        .map(|line| match line.split_once("Policy Error: ") {
            Some((start, _)) => format!("{start}Policy Error: STATEMENT\n"),
            None => format!("{}\n", line.replace(&account, "ACCOUNT")),
        })
        .collect();
    assert_eq!(told, BOTO3_SAYS, "{}", ran.stderr);
    region.down();
}

fn messages_go_where_the_operator_lets_them(world: &World) {
    let subscriber = Subscriber::new(&[200]);
    let subscribe = |aws: &Aws, endpoint: &str| {
        let topic = topic(aws, "news");
        aws.refused(
            "sns",
            "Subscribe",
            json!({ "TopicArn": topic, "Protocol": "http", "Endpoint": endpoint }),
        )
        .1
    };
    // By default nowhere.
    let region = world.up(&[]);
    let message = subscribe(&region.aws(), &subscriber.url);
    assert!(message.contains("this region posts messages nowhere: `postern up --sns-to`"), "{message}");
    region.down();
    // Not beyond the blocks, whatever a name says; and never to the region itself.
    let region = world.up_in("other", &["--sns-to", "127.0.0.1/32"]);
    let aws = region.aws();
    for endpoint in ["http://127.0.0.2/", "http://[::1]/", "http://192.0.2.1/", "http://user@127.0.0.1/"] {
        let message = subscribe(&aws, endpoint);
        assert!(message.starts_with("Invalid parameter: Endpoint Reason: "), "{message}");
    }
    let (topic, own) = (topic(&aws, "news"), format!("http://{}/_postern/reset", aws.host));
    sns(&aws, "Subscribe", json!({ "TopicArn": topic, "Protocol": "http", "Endpoint": own }));
    crate::harness::eventually("it to fail", 30, || {
        let metrics = Aws::page(&aws.host, "GET", "/_postern/metrics").unwrap().text();
        let failed = "postern_sns_deliveries_total{result=\"failed\"} 1\n";
        metrics.contains(failed).then_some(())
    });
    assert!(subscriber.nothing());
    region.down();
}
