//! What a request asks for: `SNS:<Operation>` on the topic that it names, whose policy has a say.
//!
//! Resource types and condition keys from "Actions, resources, and condition keys for Amazon SNS" in the service
//! authorization reference. The condition keys that are set here stand in [`crate::directory::condition_keys`] too.

use postern_frontdoor::Ask;
use postern_model::sns::{is_topic_name, topic_arn};
use postern_model::{AccountId, State, Tags};
use postern_policy::Context;
use postern_wire::sns::{Request, Tag};

use super::{Outcome, error, policy};

/// Whose topic an ARN names, if it is one of this region's in form.
pub(super) fn read_topic_arn(state: &State, text: &str) -> Option<AccountId> {
    let rest = text.strip_prefix("arn:aws:sns:")?.strip_prefix(&state.region.name)?.strip_prefix(':')?;
    let (account, name) = rest.split_once(':')?;
    let account = account.parse().ok()?;
    is_topic_name(name).then_some(account)
}

/// The topic's ARN and the subscription's id that a subscription's ARN is made of.
pub(super) fn read_subscription_arn<'a>(state: &State, text: &'a str) -> Option<(&'a str, &'a str)> {
    let (topic, id) = text.rsplit_once(':')?;
    read_topic_arn(state, topic).map(|_| (topic, id))
}

struct Asker<'a> {
    state: &'a State,
    account: AccountId,
    action: String,
}

/// Everything that a request asks for.
pub(super) fn asks(state: &State, account: AccountId, request: &Request) -> Outcome<Vec<Ask>> {
    let asker = Asker { state, account, action: format!("SNS:{}", request.name()) };
    let asks = match request {
        Request::CreateTopic(r) => {
            let arn = topic_arn(state, account, r.name.as_deref().unwrap_or_default());
            let context = with_tags(Context::new(), &r.tags);
            let mut asks = vec![asker.plain(arn.clone(), context.clone())];
            if !r.tags.is_empty() {
                let tagging = Asker { action: "SNS:TagResource".to_owned(), ..asker };
                asks.push(tagging.plain(arn, context));
            }
            asks
        }
        Request::Subscribe(r) => {
            let mut context = Context::new();
            context.insert("sns:Protocol", r.protocol.clone().unwrap_or_default());
            if let Some(endpoint) = &r.endpoint {
                context.insert("sns:Endpoint", endpoint.clone());
            }
            vec![asker.topic(r.topic_arn.as_deref(), context)?]
        }
        Request::DeleteTopic(r) => vec![asker.topic(r.topic_arn.as_deref(), Context::new())?],
        Request::GetTopicAttributes(r) => vec![asker.topic(r.topic_arn.as_deref(), Context::new())?],
        Request::SetTopicAttributes(r) => vec![asker.topic(r.topic_arn.as_deref(), Context::new())?],
        Request::ConfirmSubscription(r) => vec![asker.topic(r.topic_arn.as_deref(), Context::new())?],
        Request::ListSubscriptionsByTopic(r) => vec![asker.topic(r.topic_arn.as_deref(), Context::new())?],
        Request::Publish(r) => {
            let arn = r.topic_arn.as_deref().or(r.target_arn.as_deref());
            vec![asker.topic(arn, Context::new())?]
        }
        Request::GetSubscriptionAttributes(r) => {
            vec![asker.of_subscription(r.subscription_arn.as_deref())?]
        }
        Request::SetSubscriptionAttributes(r) => {
            vec![asker.of_subscription(r.subscription_arn.as_deref())?]
        }
        Request::TagResource(r) => {
            vec![asker.topic(r.resource_arn.as_deref(), with_tags(Context::new(), &r.tags))?]
        }
        Request::UntagResource(r) => {
            let mut context = Context::new();
            context.insert_many("aws:TagKeys", r.tag_keys.iter().cloned());
            vec![asker.topic(r.resource_arn.as_deref(), context)?]
        }
        Request::ListTagsForResource(r) => vec![asker.topic(r.resource_arn.as_deref(), Context::new())?],
        // These have no resource types.
        Request::ListTopics(_) | Request::ListSubscriptions(_) | Request::Unsubscribe(_) => {
            vec![asker.plain("*".to_owned(), Context::new())]
        }
    };
    Ok(asks)
}

impl Asker<'_> {
    /// Something of the caller's own.
    fn plain(&self, resource: String, context: Context) -> Ask {
        Ask { action: self.action.clone(), resource, resource_account: None, resource_policy: None, context }
    }

    /// A topic. One of another account that is not there is refused as one that does not let the caller in.
    fn topic(&self, arn: Option<&str>, context: Context) -> Outcome<Ask> {
        let arn = arn.unwrap_or_default();
        let owner = read_topic_arn(self.state, arn).ok_or_else(|| error::invalid("TopicArn"))?;
        let topic = self.state.topics.get(arn);
        let mut ask = self.plain(arn.to_owned(), with_resource_tags(context, topic.map(|topic| &topic.tags)));
        ask.resource_account = Some(owner);
        // INVARIANT: a policy that cannot be read lets nobody in, its owner's root user apart.
        ask.resource_policy = topic.and_then(|topic| policy::policy_of(topic).ok());
        Ok(ask)
    }

    /// Attributes of a subscription are its owner's business, whoever has the topic.
    fn of_subscription(&self, arn: Option<&str>) -> Outcome<Ask> {
        let arn = arn.unwrap_or_default();
        let (topic, id) =
            read_subscription_arn(self.state, arn).ok_or_else(|| error::invalid("SubscriptionArn"))?;
        let found = self.state.topics.get(topic).and_then(|topic| topic.subscriptions.get(id));
        if found.is_some_and(|found| found.owner == self.account) {
            return Ok(self.plain(topic.to_owned(), Context::new()));
        }
        self.topic(Some(topic), Context::new())
    }
}

fn with_tags(mut context: Context, tags: &[Tag]) -> Context {
    for tag in tags {
        let key = tag.key.as_deref().unwrap_or_default();
        context.insert(&format!("aws:RequestTag/{key}"), tag.value.clone().unwrap_or_default());
    }
    context.insert_many("aws:TagKeys", tags.iter().filter_map(|tag| tag.key.clone()));
    context
}

fn with_resource_tags(mut context: Context, tags: Option<&Tags>) -> Context {
    for (key, value) in tags.into_iter().flatten() {
        context.insert(&format!("aws:ResourceTag/{key}"), value.clone());
    }
    context
}
