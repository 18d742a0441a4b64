//! Topics: made, shown, changed, tagged, deleted.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_model::TagSet;
use postern_model::sns::{self as model, SnsAction};
use postern_wire::sns::{Topic, *};
use serde_json::json;

use super::attribute::{self, OfTopic};
use super::retry::RetryPolicy;
use super::{Call, Outcome, ask, default_policy, error};

/// "Each call returns a limited list of topics, up to 100."
const PAGE: usize = 100;

/// One page of items in the order of their keys, and where the next one begins.
pub(super) fn page<T>(
    items: impl Iterator<Item = (String, T)>,
    token: Option<&str>,
) -> Outcome<(Vec<T>, Option<String>)> {
    let read = |token: &str| STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let after = match token {
        Some(token) => Some(read(token).ok_or_else(|| error::invalid("NextToken"))?),
        None => None,
    };
    let mut items: Vec<(String, T)> =
        items.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).collect();
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    let more = items.len() > PAGE;
    items.truncate(PAGE);
    let next = items.last().filter(|_| more).map(|(key, _)| STANDARD.encode(key));
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

fn tags(given: Vec<Tag>) -> Outcome<TagSet> {
    let mut set = TagSet::new();
    for Tag { key, value } in given {
        let key = key.unwrap_or_default();
        if set.iter().any(|(known, _)| *known == key) {
            return Err(error::invalid_because("Tags", &format!("the key {key} is given more than once")));
        }
        set.push((key, value.unwrap_or_default()));
    }
    Ok(set)
}

/// The attributes of a topic, by AWS's names.
fn attributes(topic: &model::Topic) -> Vec<(&'static str, String)> {
    let confirmed = topic.subscriptions.values().filter(|found| found.is_confirmed()).count();
    let pending = topic.subscriptions.len() - confirmed;
    let retries = json!({ "http": {
        "defaultHealthyRetryPolicy": RetryPolicy::default(),
        "disableSubscriptionOverrides": false,
    } });
    vec![
        ("TopicArn", topic.arn.clone()),
        ("Owner", topic.owner.to_string()),
        ("DisplayName", topic.display_name.clone()),
        ("Policy", topic.policy.clone().unwrap_or_else(|| default_policy(topic))),
        ("SubscriptionsConfirmed", confirmed.to_string()),
        ("SubscriptionsPending", pending.to_string()),
        ("SubscriptionsDeleted", topic.deleted_subscriptions.to_string()),
        ("EffectiveDeliveryPolicy", retries.to_string()),
        ("SignatureVersion", "2".to_owned()),
    ]
}

impl Call<'_> {
    pub(super) async fn create_topic(&mut self, request: CreateTopicInput) -> Outcome<CreateTopicResponse> {
        let CreateTopicInput { name, attributes, tags: given, data_protection_policy } = request;
        if data_protection_policy.is_some() {
            return Err(error::unsupported("DataProtectionPolicy", "a data protection policy"));
        }
        let (account, name) = (self.account()?, name.unwrap_or_default());
        let (mut display_name, mut policy) = (String::new(), None);
        for (key, value) in attribute::given(attributes.into_iter().map(|entry| (entry.key, entry.value)))? {
            match attribute::of_topic(&key, &value)? {
                OfTopic::DisplayName(given) => display_name = given,
                OfTopic::Policy(given) => policy = given,
                OfTopic::AsItIs => {}
            }
        }
        let arn = model::topic_arn(&self.state, account, &name);
        let create = SnsAction::CreateTopic { name, display_name, policy, tags: tags(given)? };
        self.execute(account, create).await?;
        Ok(CreateTopicResponse { topic_arn: Some(arn) })
    }

    /// "Deleting a topic … does not result in an error if it does not exist."
    pub(super) async fn delete_topic(&mut self, request: DeleteTopicInput) -> Outcome<()> {
        let arn = request.topic_arn.unwrap_or_default();
        let owner = ask::read_topic_arn(&self.state, &arn).ok_or_else(|| error::invalid("TopicArn"))?;
        match self.execute(owner, SnsAction::DeleteTopic { topic: arn }).await {
            Err(refused) if refused.code == "NotFound" => Ok(()),
            other => other,
        }
    }

    pub(super) fn list_topics(&self, request: ListTopicsInput) -> Outcome<ListTopicsResponse> {
        let account = self.account()?;
        let own = self.state.topics.values().filter(|topic| topic.owner == account);
        let shown = own.map(|topic| (topic.arn.clone(), Topic { topic_arn: Some(topic.arn.clone()) }));
        let (topics, next_token) = page(shown, request.next_token.as_deref())?;
        Ok(ListTopicsResponse { topics: Some(topics), next_token })
    }

    pub(super) fn get_topic_attributes(
        &self,
        request: GetTopicAttributesInput,
    ) -> Outcome<GetTopicAttributesResponse> {
        let topic = self.topic(request.topic_arn.as_deref())?;
        let entry = |(key, value): (&str, String)| TopicAttributesMapEntry {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        Ok(GetTopicAttributesResponse {
            attributes: Some(attributes(&topic).into_iter().map(entry).collect()),
        })
    }

    pub(super) async fn set_topic_attributes(&mut self, request: SetTopicAttributesInput) -> Outcome<()> {
        let SetTopicAttributesInput { topic_arn, attribute_name, attribute_value } = request;
        let topic = self.topic(topic_arn.as_deref())?;
        let name = attribute_name.unwrap_or_default();
        let (owner, topic) = (topic.owner, topic.arn.clone());
        match attribute::of_topic(&name, &attribute_value.unwrap_or_default())? {
            OfTopic::DisplayName(display_name) => {
                self.execute(owner, SnsAction::SetDisplayName { topic, display_name }).await
            }
            OfTopic::Policy(policy) => self.execute(owner, SnsAction::SetPolicy { topic, policy }).await,
            OfTopic::AsItIs => Ok(()),
        }
    }

    /// The topic of a resource's ARN, for tags: nothing else here has any.
    fn tagged(&self, arn: Option<&str>) -> Outcome<Arc<model::Topic>> {
        self.topic(arn).map_err(|refused| match refused.code.as_ref() {
            "NotFound" => error::resource_not_found(),
            _ => refused,
        })
    }

    pub(super) async fn tag_resource(&mut self, request: TagResourceRequest) -> Outcome<TagResourceResponse> {
        let topic = self.tagged(request.resource_arn.as_deref())?;
        let action = SnsAction::TagTopic { topic: topic.arn.clone(), tags: tags(request.tags)? };
        self.execute(topic.owner, action).await?;
        Ok(TagResourceResponse {})
    }

    pub(super) async fn untag_resource(
        &mut self,
        request: UntagResourceRequest,
    ) -> Outcome<UntagResourceResponse> {
        let topic = self.tagged(request.resource_arn.as_deref())?;
        let action = SnsAction::UntagTopic { topic: topic.arn.clone(), keys: request.tag_keys };
        self.execute(topic.owner, action).await?;
        Ok(UntagResourceResponse {})
    }

    pub(super) fn list_tags_for_resource(
        &self,
        request: ListTagsForResourceRequest,
    ) -> Outcome<ListTagsForResourceResponse> {
        let topic = self.tagged(request.resource_arn.as_deref())?;
        let shown = topic.tags.iter();
        let tags = shown.map(|(key, value)| Tag { key: Some(key.clone()), value: Some(value.clone()) });
        Ok(ListTagsForResourceResponse { tags: Some(tags.collect()) })
    }
}
