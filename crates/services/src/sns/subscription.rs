//! Subscriptions: asked for, confirmed, shown, changed, ended.

use postern_model::AccountId;
use postern_model::iam::Secret;
use postern_model::sns::{self as model, Confirmation, SnsAction, is_token_valid};
use postern_wire::crypto;
use postern_wire::sns::*;

use super::attribute::{self, OfSubscription};
use super::topic::page;
use super::{Call, Outcome, ask, error};

/// What stands for the ARN of a subscription that waits.
const PENDING: &str = "PendingConfirmation";
/// Protocols that AWS has and this endpoint has not.
const OTHER_PROTOCOLS: [&str; 7] = ["application", "email", "email-json", "firehose", "lambda", "sms", "sqs"];
/// How long an endpoint's URL may be. AWS names no number; this one is ours.
const MAX_ENDPOINT_BYTES: usize = 2_048;
/// Bytes of a token, which is twice as many digits.
const TOKEN_BYTES: usize = 64;

/// So many digits that nobody can guess.
fn token() -> Outcome<String> {
    let mut bytes = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| error::internal("no token could be drawn"))?;
    Ok(crypto::hex(&bytes))
}

fn check_protocol(protocol: &str, endpoint: &str) -> Outcome<()> {
    match protocol {
        "http" | "https" => {
            let fits =
                endpoint.starts_with(&format!("{protocol}://")) && endpoint.len() <= MAX_ENDPOINT_BYTES;
            if fits { Ok(()) } else { Err(error::invalid("Endpoint must match the specified protocol")) }
        }
        known if OTHER_PROTOCOLS.contains(&known) => Err(error::unsupported("Protocol", known)),
        other => Err(error::invalid(&format!("Does not support this protocol string: {other}"))),
    }
}

fn protocol(endpoint: &str) -> &str {
    endpoint.split(':').next().unwrap_or_default()
}

fn boolean(parameter: &str, value: Option<&str>) -> Outcome<bool> {
    match value {
        None | Some("" | "false" | "False" | "FALSE") => Ok(false),
        Some("true" | "True" | "TRUE") => Ok(true),
        Some(_) => Err(error::invalid(parameter)),
    }
}

/// A subscription as lists have it.
fn show(topic: &model::Topic, id: &str, found: &model::Subscription) -> Subscription {
    let arn = if found.is_confirmed() { topic.subscription_arn(id) } else { PENDING.to_owned() };
    Subscription {
        subscription_arn: Some(arn),
        owner: Some(found.owner.to_string()),
        protocol: Some(protocol(&found.endpoint).to_owned()),
        endpoint: Some(found.endpoint.clone()),
        topic_arn: Some(topic.arn.clone()),
    }
}

fn attributes(topic: &model::Topic, id: &str, found: &model::Subscription) -> Vec<(&'static str, String)> {
    let (pending, authenticated) = match found.confirmation {
        Confirmation::Pending { .. } => (true, false),
        Confirmation::Confirmed { authenticate_on_unsubscribe } => (false, authenticate_on_unsubscribe),
    };
    let mut shown = vec![
        ("SubscriptionArn", topic.subscription_arn(id)),
        ("TopicArn", topic.arn.clone()),
        ("Owner", found.owner.to_string()),
        ("Protocol", protocol(&found.endpoint).to_owned()),
        ("Endpoint", found.endpoint.clone()),
        ("PendingConfirmation", pending.to_string()),
        ("ConfirmationWasAuthenticated", authenticated.to_string()),
        ("RawMessageDelivery", found.raw.to_string()),
    ];
    shown.extend(found.delivery_policy.clone().map(|policy| ("DeliveryPolicy", policy)));
    shown
}

impl Call<'_> {
    /// A subscription by its ARN: topic, id, and itself.
    fn subscription(
        &self,
        arn: Option<&str>,
    ) -> Outcome<(std::sync::Arc<model::Topic>, String, model::Subscription)> {
        let (topic, id) = ask::read_subscription_arn(&self.state, arn.unwrap_or_default())
            .ok_or_else(|| error::invalid("SubscriptionArn"))?;
        let topic = self.state.topics.get(topic).ok_or_else(error::subscription_not_found)?;
        let found = topic.subscriptions.get(id).ok_or_else(error::subscription_not_found)?;
        Ok((std::sync::Arc::clone(topic), id.to_owned(), found.clone()))
    }

    pub(super) async fn subscribe(&mut self, request: SubscribeInput) -> Outcome<SubscribeResponse> {
        let SubscribeInput { topic_arn, protocol, endpoint, attributes, return_subscription_arn } = request;
        let (account, endpoint) = (self.account()?, endpoint.unwrap_or_default());
        let topic = self.topic(topic_arn.as_deref())?;
        check_protocol(&protocol.unwrap_or_default(), &endpoint)?;
        self.deliveries.check_endpoint(&endpoint).map_err(|why| error::invalid_because("Endpoint", &why))?;
        let (mut raw, mut delivery_policy) = (false, None);
        for (key, value) in attribute::given(attributes.into_iter().map(|entry| (entry.key, entry.value)))? {
            match attribute::of_subscription(&key, &value)? {
                OfSubscription::RawMessageDelivery(given) => raw = given,
                OfSubscription::DeliveryPolicy(given) => delivery_policy = given,
                OfSubscription::AsItIs => {}
            }
        }
        let now = self.now();
        let there = topic.subscriptions.iter().find(|(_, found)| {
            let lives = found.is_confirmed() || is_token_valid(found, now);
            found.owner == account && found.endpoint == endpoint && lives
        });
        let id = match there {
            Some((_, found)) if (found.raw, &found.delivery_policy) != (raw, &delivery_policy) => {
                let why = "Subscription already exists with different attributes";
                return Err(error::invalid_because("Attributes", why));
            }
            Some((id, found)) if found.is_confirmed() => {
                return Ok(SubscribeResponse { subscription_arn: Some(topic.subscription_arn(id)) });
            }
            Some((id, _)) => id.clone(),
            None => {
                let id = postern_frontdoor::request_id();
                let subscribe = SnsAction::Subscribe {
                    topic: topic.arn.clone(),
                    id: id.clone(),
                    token: Secret(token()?),
                    owner: account,
                    endpoint,
                    raw,
                    delivery_policy,
                };
                self.execute(topic.owner, subscribe).await?;
                id
            }
        };
        let topic = self.topic(Some(&topic.arn))?;
        self.deliveries.ask_for_confirmation(&topic, &id);
        let arn = match return_subscription_arn {
            Some(true) => topic.subscription_arn(&id),
            Some(false) | None => "pending confirmation".to_owned(),
        };
        Ok(SubscribeResponse { subscription_arn: Some(arn) })
    }

    pub(super) async fn confirm_subscription(
        &mut self,
        request: ConfirmSubscriptionInput,
    ) -> Outcome<ConfirmSubscriptionResponse> {
        let ConfirmSubscriptionInput { topic_arn, token, authenticate_on_unsubscribe } = request;
        let authenticate = boolean("AuthenticateOnUnsubscribe", authenticate_on_unsubscribe.as_deref())?;
        if authenticate && self.account.is_none() {
            return Err(error::authorization("AuthenticateOnUnsubscribe needs a signed request"));
        }
        let (given, now) = (token.unwrap_or_default(), self.now());
        let topic = self.topic(topic_arn.as_deref())?;
        let is_meant = |found: &model::Subscription| match &found.confirmation {
            Confirmation::Pending { token } => {
                crypto::equal(token.0.as_bytes(), given.as_bytes()) && is_token_valid(found, now)
            }
            Confirmation::Confirmed { .. } => false,
        };
        let found = topic.subscriptions.iter().find(|(_, found)| is_meant(found));
        let (id, _) = found.ok_or_else(|| error::invalid("Token"))?;
        let confirm = SnsAction::ConfirmSubscription {
            topic: topic.arn.clone(),
            subscription: id.clone(),
            authenticate_on_unsubscribe: authenticate,
        };
        self.execute(topic.owner, confirm).await?;
        Ok(ConfirmSubscriptionResponse { subscription_arn: Some(topic.subscription_arn(id)) })
    }

    /// "If the subscription requires authentication for deletion, only the owner of the subscription or the topic's
    /// owner can unsubscribe": whoever is somebody has to be one of them anyway.
    pub(super) async fn unsubscribe(&mut self, request: UnsubscribeInput) -> Outcome<()> {
        let (topic, id, found) = self.subscription(request.subscription_arn.as_deref())?;
        let may = match (self.account, &found.confirmation) {
            (Some(account), _) => account == found.owner || account == topic.owner,
            (None, Confirmation::Confirmed { authenticate_on_unsubscribe }) => !authenticate_on_unsubscribe,
            // Nobody was told a URL yet.
            (None, Confirmation::Pending { .. }) => false,
        };
        if !may {
            return Err(error::authorization("The subscription is somebody else's"));
        }
        let action = SnsAction::Unsubscribe { topic: topic.arn.clone(), subscription: id };
        self.execute(topic.owner, action).await
    }

    pub(super) fn list_subscriptions(
        &self,
        request: ListSubscriptionsInput,
    ) -> Outcome<ListSubscriptionsResponse> {
        let account = self.account()?;
        let is_own = |found: &model::Subscription, owner: AccountId| owner == found.owner;
        let all = self.state.topics.values().flat_map(|topic| {
            let own = topic.subscriptions.iter().filter(|(_, found)| is_own(found, account));
            own.map(|(id, found)| (topic.subscription_arn(id), show(topic, id, found)))
        });
        let (subscriptions, next_token) = page(all, request.next_token.as_deref())?;
        Ok(ListSubscriptionsResponse { subscriptions: Some(subscriptions), next_token })
    }

    pub(super) fn list_subscriptions_by_topic(
        &self,
        request: ListSubscriptionsByTopicInput,
    ) -> Outcome<ListSubscriptionsByTopicResponse> {
        let topic = self.topic(request.topic_arn.as_deref())?;
        let all = topic.subscriptions.iter().map(|(id, found)| (id.clone(), show(&topic, id, found)));
        let (subscriptions, next_token) = page(all, request.next_token.as_deref())?;
        Ok(ListSubscriptionsByTopicResponse { subscriptions: Some(subscriptions), next_token })
    }

    pub(super) fn get_subscription_attributes(
        &self,
        request: GetSubscriptionAttributesInput,
    ) -> Outcome<GetSubscriptionAttributesResponse> {
        let (topic, id, found) = self.subscription(request.subscription_arn.as_deref())?;
        let entry = |(key, value): (&str, String)| SubscriptionAttributesMapEntry {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        let shown = attributes(&topic, &id, &found).into_iter().map(entry).collect();
        Ok(GetSubscriptionAttributesResponse { attributes: Some(shown) })
    }

    pub(super) async fn set_subscription_attributes(
        &mut self,
        request: SetSubscriptionAttributesInput,
    ) -> Outcome<()> {
        let SetSubscriptionAttributesInput { subscription_arn, attribute_name, attribute_value } = request;
        let (topic, subscription, _) = self.subscription(subscription_arn.as_deref())?;
        let (owner, topic) = (topic.owner, topic.arn.clone());
        let (name, value) = (attribute_name.unwrap_or_default(), attribute_value.unwrap_or_default());
        let action = match attribute::of_subscription(&name, &value)? {
            OfSubscription::RawMessageDelivery(raw) => SnsAction::SetRawDelivery { topic, subscription, raw },
            OfSubscription::DeliveryPolicy(policy) => {
                SnsAction::SetDeliveryPolicy { topic, subscription, policy }
            }
            OfSubscription::AsItIs => return Ok(()),
        };
        self.execute(owner, action).await
    }
}
