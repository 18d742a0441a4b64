//! Attributes of topics and subscriptions, by AWS's names.
//!
//! Names from "CreateTopic", "SetTopicAttributes" and "SetSubscriptionAttributes" in the SNS API reference. What AWS has
//! and nothing here follows is refused by its name.

use std::collections::BTreeMap;

use super::retry::RetryPolicy;
use super::{Outcome, error, policy};

/// What AWS has of topics and nothing here follows.
const UNSUPPORTED_OF_TOPICS: &[&str] = &[
    "ArchivePolicy",
    "ContentBasedDeduplication",
    "DataProtectionPolicy",
    "DeliveryPolicy",
    "FifoThroughputScope",
    "FifoTopic",
    "KmsMasterKeyId",
    "TracingConfig",
];

/// And of subscriptions.
const UNSUPPORTED_OF_SUBSCRIPTIONS: &[&str] =
    &["FilterPolicy", "FilterPolicyScope", "RedrivePolicy", "ReplayPolicy", "SubscriptionRoleArn"];

/// How long a display name may be.
const MAX_DISPLAY_NAME: usize = 100;

/// An attribute of a topic that was given.
pub(super) enum OfTopic {
    DisplayName(String),
    /// None for what AWS gives every topic.
    Policy(Option<String>),
    /// It says what is so.
    AsItIs,
}

/// Reads an attribute of a topic. An empty value, as some clients send for all that they do not set, says nothing about
/// what there is not.
pub(super) fn of_topic(name: &str, value: &str) -> Outcome<OfTopic> {
    match name {
        "DisplayName" => {
            let fits = value.chars().count() <= MAX_DISPLAY_NAME && !value.chars().any(char::is_control);
            if fits { Ok(OfTopic::DisplayName(value.to_owned())) } else { Err(error::invalid("DisplayName")) }
        }
        "Policy" if value.is_empty() => Ok(OfTopic::Policy(None)),
        "Policy" => {
            policy::check(value).map_err(|why| error::invalid(&why))?;
            Ok(OfTopic::Policy(Some(value.to_owned())))
        }
        "SignatureVersion" if value == "2" => Ok(OfTopic::AsItIs),
        "SignatureVersion" => Err(error::unsupported("SignatureVersion", &format!("{value}, other than 2,"))),
        known if UNSUPPORTED_OF_TOPICS.contains(&known) => {
            if value.is_empty() || (known == "FifoTopic" && value == "false") {
                return Ok(OfTopic::AsItIs);
            }
            Err(error::unsupported("AttributeName", known))
        }
        _ => Err(error::invalid("AttributeName")),
    }
}

/// An attribute of a subscription that was given.
pub(super) enum OfSubscription {
    RawMessageDelivery(bool),
    DeliveryPolicy(Option<String>),
    /// It says what is so.
    AsItIs,
}

/// Reads an attribute of a subscription.
pub(super) fn of_subscription(name: &str, value: &str) -> Outcome<OfSubscription> {
    match (name, value) {
        ("RawMessageDelivery", "true") => Ok(OfSubscription::RawMessageDelivery(true)),
        ("RawMessageDelivery", "false") => Ok(OfSubscription::RawMessageDelivery(false)),
        ("RawMessageDelivery", _) => Err(error::invalid_because(
            "Attributes",
            &format!("RawMessageDelivery: Invalid value [{value}]. Must be true or false."),
        )),
        ("DeliveryPolicy", "" | "{}") => Ok(OfSubscription::DeliveryPolicy(None)),
        ("DeliveryPolicy", text) => {
            RetryPolicy::parse(text)
                .map_err(|why| error::invalid_because("DeliveryPolicy", &why.to_string()))?;
            Ok(OfSubscription::DeliveryPolicy(Some(text.to_owned())))
        }
        (known, "") if UNSUPPORTED_OF_SUBSCRIPTIONS.contains(&known) => Ok(OfSubscription::AsItIs),
        (known, _) if UNSUPPORTED_OF_SUBSCRIPTIONS.contains(&known) => {
            Err(error::unsupported("AttributeName", known))
        }
        _ => Err(error::invalid("AttributeName")),
    }
}

/// Attributes of a request by name. One may stand once.
pub(super) fn given(
    entries: impl IntoIterator<Item = (Option<String>, Option<String>)>,
) -> Outcome<BTreeMap<String, String>> {
    let mut given = BTreeMap::new();
    for (name, value) in entries {
        let name = name.unwrap_or_default();
        if given.insert(name.clone(), value.unwrap_or_default()).is_some() {
            return Err(error::invalid_because("Attributes", &format!("{name} is given more than once")));
        }
    }
    Ok(given)
}
