//! Policies of topics: who may publish and subscribe besides the owner.

use std::sync::Arc;

use postern_model::AccountId;
use postern_model::sns::Topic;
use postern_policy::{
    Action, Context, Kind, NamedPolicy, Outcome, PolicyDocument, PolicySet, Principal, Request, unenforceable,
};
use serde_json::{Value, json};

use crate::directory::condition_keys;

/// SNS's limit on a topic's policy: "30 KB".
const MAX_POLICY_BYTES: usize = 30 << 10;

/// What requests carry that a service makes on its own behalf, and no others.
const OF_SERVICES: [&str; 3] = ["aws:sourcearn", "aws:sourceaccount", "aws:sourceowner"];

/// What a topic has that was given no policy, as AWS writes it.
pub fn default_policy(topic: &Topic) -> String {
    let actions = [
        "SNS:GetTopicAttributes",
        "SNS:SetTopicAttributes",
        "SNS:AddPermission",
        "SNS:RemovePermission",
        "SNS:DeleteTopic",
        "SNS:Subscribe",
        "SNS:ListSubscriptionsByTopic",
        "SNS:Publish",
    ];
    json!({
        "Version": "2008-10-17",
        "Id": "__default_policy_ID",
        "Statement": [{
            "Sid": "__default_statement_ID",
            "Effect": "Allow",
            "Principal": { "AWS": "*" },
            "Action": actions,
            "Resource": topic.arn,
            "Condition": { "StringEquals": { "AWS:SourceOwner": topic.owner.to_string() } },
        }],
    })
    .to_string()
}

/// The policy of a topic: the one that it was given, or else what every topic has.
///
/// # Errors
/// Why it cannot be read; it lets nobody in then.
pub fn policy_of(topic: &Topic) -> Result<Arc<NamedPolicy>, String> {
    let text = topic.policy.clone().unwrap_or_else(|| default_policy(topic));
    let document = PolicyDocument::parse(&text, Kind::Resource).map_err(|error| error.to_string())?;
    Ok(Arc::new(NamedPolicy::new(topic.arn.as_str(), document)))
}

/// What a topic's policy can be about. SNS refuses anything else, and wildcards: "Policy statement action out of service
/// scope!" (as reported at <https://github.com/hashicorp/terraform/issues/12740>,
/// <https://github.com/cdklabs/cdk-nag/issues/676>).
/// <https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-language-api-permissions-reference.html>
const OF_TOPICS: [&str; 12] = [
    "addpermission",
    "deletetopic",
    "getdataprotectionpolicy",
    "gettopicattributes",
    "listsubscriptionsbytopic",
    "listtagsforresource",
    "publish",
    "putdataprotectionpolicy",
    "receive",
    "removepermission",
    "settopicattributes",
    "subscribe",
];

/// Refuses statements about anything that is not done to a topic.
fn check_scope(text: &str) -> Result<(), String> {
    let document: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let statements = match &document["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        one => std::slice::from_ref(one),
    };
    for statement in statements {
        for element in ["Action", "NotAction"].into_iter().filter_map(|name| statement.get(name)) {
            let actions = match element {
                Value::Array(actions) => actions.as_slice(),
                one => std::slice::from_ref(one),
            };
            let known = |action: &Value| {
                let action = action.as_str().unwrap_or_default().to_ascii_lowercase();
                action.strip_prefix("sns:").is_some_and(|name| OF_TOPICS.contains(&name))
            };
            if !actions.iter().all(known) {
                return Err("Policy statement action out of service scope!".to_owned());
            }
        }
    }
    Ok(())
}

/// Takes a policy only if it is about topics, and every condition in it can be enforced.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(format!("Policy Reason: Policy length {} is more than {MAX_POLICY_BYTES}", text.len()));
    }
    let document =
        PolicyDocument::parse(text, Kind::Resource).map_err(|error| format!("Policy Error: {error}"))?;
    check_scope(text)?;
    let provided = |key: &str| {
        condition_keys::is_provided(key) || OF_SERVICES.contains(&key.to_ascii_lowercase().as_str())
    };
    match unenforceable(&document, &provided).first() {
        None => Ok(()),
        Some(key) => {
            Err(format!("Policy Reason: The condition key {key} cannot be enforced by this endpoint"))
        }
    }
}

/// Whether a service, such as `vpce.amazonaws.com`, may publish to a topic for the sake of a resource of an account.
pub fn service_may_publish(
    topic: &Topic,
    service: &str,
    resource: &str,
    account: AccountId,
    region: &str,
) -> bool {
    let mut policies = PolicySet::default();
    let set = policy_of(topic).is_ok_and(|policy| policies.set_resource((*policy).clone()).is_ok());
    let (Ok(action), true) = (Action::parse("SNS:Publish"), set) else { return false };
    let context = Context::new()
        .with("aws:SourceArn", resource)
        .with("aws:SourceAccount", account.to_string())
        .with("aws:RequestedRegion", region)
        .with("aws:SecureTransport", postern_policy::Value::Bool(true))
        .with("aws:ViaAWSService", postern_policy::Value::Bool(false));
    let principal = Principal::Service { name: service.to_owned() };
    let mut request = Request::new(principal, action, topic.arn.clone()).with_context(context);
    if let Ok(owner) = topic.owner.to_string().parse() {
        request = request.with_resource_account(owner);
    }
    matches!(postern_policy::decide(&policies, &request), Outcome::Allowed)
}
