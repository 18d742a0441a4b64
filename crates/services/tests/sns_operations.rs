//! Topics across accounts: whom policies let in, and what nobody with a token could do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use std::sync::{Arc, Mutex};

use iam_support::*;
use postern_frontdoor::Caller;
use postern_model::sns::{Confirmation, Topic};
use postern_services::commands::Commands;
use postern_services::sns::{Deliveries, Message, SnsService, service_may_publish};
use postern_wire::AwsError;
use postern_wire::sns::SERVICE;
use serde_json::{Value as Json, json};

const ENDPOINT: &str = "http://127.0.0.1:1/";

/// Writes down what would be delivered.
#[derive(Default)]
struct Written(Mutex<Vec<String>>);

impl Deliveries for Written {
    fn check_endpoint(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn publish(&self, topic: &Arc<Topic>, message: Message) {
        self.0.lock().unwrap().push(format!("{} {}", topic.name(), message.text));
    }

    fn ask_for_confirmation(&self, _: &Arc<Topic>, _: &str) {}
}

struct Region {
    world: World,
    sns: SnsService,
    written: Arc<Written>,
    one: Caller,
    two: Caller,
}

impl Region {
    fn new() -> Self {
        let world = World::new();
        let written = Arc::new(Written::default());
        let commands: Arc<dyn Commands> = Arc::clone(&world.memory) as _;
        let sns = SnsService::new(commands, Arc::clone(&written) as _);
        let (one, two) = (world.root(), world.caller("AKIAROOT2", None).unwrap());
        Self { world, sns, written, one, two }
    }

    async fn by(&self, caller: &Caller, operation: &str, parameters: Json) -> Result<Json, AwsError> {
        self.world.call(&self.sns, &SERVICE, caller, operation, parameters).await
    }

    async fn topic(&self) -> String {
        let made = self.by(&self.one, "CreateTopic", json!({ "Name": "news" })).await.unwrap();
        made["TopicArn"].as_str().unwrap().to_owned()
    }

    async fn set_policy(&self, topic: &str, statement: Json) {
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let set = json!({ "TopicArn": topic, "AttributeName": "Policy", "AttributeValue": policy });
        self.by(&self.one, "SetTopicAttributes", set).await.unwrap();
    }

    /// Subscribes, and gives the subscription's ARN and its token.
    async fn subscribe(&self, caller: &Caller, topic: &str) -> (String, String) {
        let wanted = json!({ "TopicArn": topic, "Protocol": "http", "Endpoint": ENDPOINT, "ReturnSubscriptionArn": true });
        let made = self.by(caller, "Subscribe", wanted).await.unwrap();
        let arn = made["SubscriptionArn"].as_str().unwrap().to_owned();
        let state = self.world.memory.state();
        let id = arn.rsplit(':').next().unwrap();
        let Confirmation::Pending { token } = &state.topics[topic].subscriptions[id].confirmation else {
            panic!("it waits for nothing")
        };
        (arn, token.0.clone())
    }
}

#[tokio::test]
async fn another_account_needs_the_topics_policy_and_a_user_of_the_owners_a_policy_of_either_kind() {
    let region = Region::new();
    let topic = region.topic().await;
    let publish = json!({ "TopicArn": topic, "Message": "m" });
    let refused = refusal(region.by(&region.two, "Publish", publish.clone()).await);
    assert!(
        refused.starts_with("AuthorizationError: User: arn:aws:iam::444455556666:root is not authorized")
    );
    assert!(refused.contains("SNS:Publish"), "{refused}");
    // A topic that is not there is refused alike.
    let nothing = json!({ "TopicArn": topic.replace("news", "none"), "Message": "m" });
    let other = refusal(region.by(&region.two, "Publish", nothing).await);
    assert_eq!(other.replace("none", "news"), refused);

    let ann = region.world.user("ann", None).await;
    assert!(refusal(region.by(&ann, "Publish", publish.clone()).await).starts_with("AuthorizationError"));
    let two = json!({ "AWS": "arn:aws:iam::444455556666:root" });
    region
        .set_policy(
            &topic,
            json!({ "Effect": "Allow", "Principal": two, "Action": ["SNS:Publish", "SNS:Subscribe"], "Resource": topic,
                "Condition": { "StringLikeIfExists": { "sns:Endpoint": "http://127.0.0.1:*" } } }),
        )
        .await;
    region.by(&region.two, "Publish", publish.clone()).await.unwrap();
    assert!(refusal(region.by(&ann, "Publish", publish.clone()).await).starts_with("AuthorizationError"));
    let ben = region.world.user("ben", Some(&allow("\"sns:Publish\""))).await;
    region.by(&ben, "Publish", publish).await.unwrap();
    assert_eq!(*region.written.0.lock().unwrap(), ["news m", "news m"]);
    // What the policy does not say stays the owner's.
    let set = json!({ "TopicArn": topic, "AttributeName": "DisplayName", "AttributeValue": "mine" });
    assert!(
        refusal(region.by(&region.two, "SetTopicAttributes", set).await).starts_with("AuthorizationError")
    );
    let elsewhere = json!({ "TopicArn": topic, "Protocol": "http", "Endpoint": "http://127.0.0.2:80/" });
    assert!(refusal(region.by(&region.two, "Subscribe", elsewhere).await).starts_with("AuthorizationError"));
}

#[tokio::test]
async fn a_subscription_to_anothers_topic_is_its_subscribers() {
    let region = Region::new();
    let topic = region.topic().await;
    let everybody = json!({ "AWS": "*" });
    region
        .set_policy(
            &topic,
            json!({ "Effect": "Allow", "Principal": everybody, "Action": "SNS:Subscribe", "Resource": topic }),
        )
        .await;
    let (arn, token) = region.subscribe(&region.two, &topic).await;
    let confirm = json!({ "TopicArn": topic, "Token": token });
    let nobody = Caller::anonymous();
    // Whoever has the token was told it; who wants credentials asked for later has to have some now.
    let strict = json!({ "TopicArn": topic, "Token": token, "AuthenticateOnUnsubscribe": "true" });
    assert!(
        refusal(region.by(&nobody, "ConfirmSubscription", strict).await).starts_with("AuthorizationError")
    );
    let confirmed = region.by(&nobody, "ConfirmSubscription", confirm.clone()).await.unwrap();
    assert_eq!(confirmed["SubscriptionArn"], arn.as_str());
    assert_eq!(
        refusal(region.by(&nobody, "ConfirmSubscription", confirm).await),
        "InvalidParameter: Invalid parameter: Token"
    );
    for (caller, count) in [(&region.two, 1), (&region.one, 0)] {
        let listed = region.by(caller, "ListSubscriptions", json!({})).await.unwrap();
        assert_eq!(listed["Subscriptions"].as_array().unwrap().len(), count);
    }
    let of = json!({ "SubscriptionArn": arn });
    let shown = region.by(&region.two, "GetSubscriptionAttributes", of.clone()).await.unwrap();
    assert!(shown["Attributes"].to_string().contains("444455556666"), "{shown}");
    region.by(&region.one, "Unsubscribe", of.clone()).await.unwrap();
    assert_eq!(refusal(region.by(&nobody, "Unsubscribe", of).await), "NotFound: Subscription does not exist");
}

#[tokio::test]
async fn who_asked_for_credentials_is_not_unsubscribed_without() {
    let region = Region::new();
    let topic = region.topic().await;
    let (arn, token) = region.subscribe(&region.one, &topic).await;
    let strict = json!({ "TopicArn": topic, "Token": token, "AuthenticateOnUnsubscribe": "true" });
    region.by(&region.one, "ConfirmSubscription", strict).await.unwrap();
    let of = json!({ "SubscriptionArn": arn });
    for stranger in [&Caller::anonymous(), &region.two] {
        let refused = refusal(region.by(stranger, "Unsubscribe", of.clone()).await);
        assert_eq!(refused, "AuthorizationError: The subscription is somebody else's");
    }
    assert!(
        refusal(
            region.by(&Caller::anonymous(), "Publish", json!({ "TopicArn": topic, "Message": "m" })).await
        )
        .starts_with("AuthorizationError")
    );
    region.by(&region.one, "Unsubscribe", of).await.unwrap();
}

#[tokio::test]
async fn a_token_is_good_for_two_days() {
    let region = Region::new();
    let topic = region.topic().await;
    let (_, token) = region.subscribe(&region.one, &topic).await;
    region.world.memory.advance(2 * 24 * 3_600);
    let late = json!({ "TopicArn": topic, "Token": token });
    assert_eq!(
        refusal(region.by(&region.one, "ConfirmSubscription", late).await),
        "InvalidParameter: Invalid parameter: Token"
    );
    // The next subscription takes the place of the one that is too late.
    region.subscribe(&region.one, &topic).await;
    assert_eq!(region.world.memory.state().topics[&topic].subscriptions.len(), 1);
}

#[tokio::test]
async fn a_service_publishes_where_a_policy_names_it_and_for_whose_sake() {
    let region = Region::new();
    let topic = region.topic().await;
    let may = |source: &str| {
        let state = region.world.memory.state();
        let source = format!("arn:aws:ec2:us-east-1:111122223333:vpc-endpoint-service/{source}");
        service_may_publish(&state.topics[&topic], "vpce.amazonaws.com", &source, account(ONE), "us-east-1")
    };
    assert!(!may("vpce-svc-1"), "AWS's own policy is for accounts");
    let service = json!({ "Service": "vpce.amazonaws.com" });
    let only = json!({ "ArnLike": { "aws:SourceArn": "arn:aws:ec2:*:*:vpc-endpoint-service/vpce-svc-1" } });
    region
        .set_policy(
            &topic,
            json!({ "Effect": "Allow", "Principal": service, "Action": "SNS:Publish", "Resource": topic,
                "Condition": only }),
        )
        .await;
    assert!(may("vpce-svc-1"));
    assert!(!may("vpce-svc-2"));
    // Nobody else can say that it speaks for a resource.
    let publish = json!({ "TopicArn": topic, "Message": "m" });
    assert!(refusal(region.by(&region.two, "Publish", publish).await).starts_with("AuthorizationError"));
}

#[tokio::test]
async fn what_topics_have_not_here_is_refused_by_name() {
    let region = Region::new();
    let topic = region.topic().await;
    let set = |name: &str, value: &str| {
        let set = json!({ "TopicArn": topic, "AttributeName": name, "AttributeValue": value });
        region.by(&region.one, "SetTopicAttributes", set)
    };
    for (name, value) in
        [("TracingConfig", "Active"), ("SignatureVersion", "1"), ("Policy", "{"), ("Nothing", "x")]
    {
        assert!(
            refusal(set(name, value).await).starts_with("InvalidParameter: Invalid parameter: "),
            "{name}"
        );
    }
    let condition = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"SNS:Publish",
        "Resource":"*","Condition":{"StringEquals":{"aws:CalledVia":"x"}}}}"#;
    let refused = refusal(set("Policy", condition).await);
    assert!(refused.contains("aws:CalledVia cannot be enforced"), "{refused}");
    for protocol in ["email", "lambda", "sqs", "smoke"] {
        let wanted = json!({ "TopicArn": topic, "Protocol": protocol, "Endpoint": "x" });
        assert!(refusal(region.by(&region.one, "Subscribe", wanted).await).contains(protocol));
    }
    assert!(region.world.memory.state().topics[&topic].subscriptions.is_empty());
}
