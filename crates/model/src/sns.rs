//! Topics, and who hears what is published to them.
//!
//! Rules from the "Amazon Simple Notification Service" API reference and developer guide. What is published is no part
//! of the state: it goes to the subscribers of the moment, or nowhere.
//!
//! INVARIANT: a command changes topics of its own account alone, subscriptions to them included. Whoever subscribes to
//! another's topic does so in the owner's name, which the topic's policy has to allow before a command is made.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::event::Event;
use crate::iam::Secret;
use crate::id::{AccountId, Timestamp};
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// How many topics an account may have. AWS's number is 100,000; this one is ours.
pub const MAX_TOPICS: usize = 1_000;
/// How many subscriptions a topic may have, those that wait included. AWS's number is 12,500,000; this one is ours.
pub const MAX_SUBSCRIPTIONS: usize = 1_000;
/// "Confirmation tokens are valid for two days", in milliseconds. What nobody confirmed until then is forgotten.
pub const TOKEN_LIFETIME: u64 = 2 * 24 * 60 * 60 * 1_000;
/// How long the name of a topic may be.
const MAX_NAME: usize = 256;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// `arn:aws:sns:us-east-1:111122223333:name`.
    pub arn: String,
    /// Whose it is.
    pub owner: AccountId,
    /// The name that mail would come from.
    pub display_name: String,
    /// Who may do what with it; none is what AWS gives every topic.
    pub policy: Option<String>,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
    /// Who hears it, by what stands behind the topic's ARN in theirs.
    pub subscriptions: OrdMap<String, Subscription>,
    /// How many subscriptions there were that are gone.
    pub deleted_subscriptions: u64,
}

impl Topic {
    /// What stands at the end of its ARN.
    pub fn name(&self) -> &str {
        self.arn.rsplit(':').next().unwrap_or_default()
    }

    /// The ARN of one of its subscriptions.
    pub fn subscription_arn(&self, id: &str) -> String {
        format!("{}:{id}", self.arn)
    }
}

/// Who hears what is published to a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Who subscribed.
    pub owner: AccountId,
    /// Where messages go: a URL of `http` or `https`.
    pub endpoint: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Whether the endpoint wants it.
    pub confirmation: Confirmation,
    /// Whether it gets the message alone, without what SNS says about it.
    pub raw: bool,
    /// How deliveries are repeated, as it was given.
    pub delivery_policy: Option<String>,
}

/// Whether an endpoint wants a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confirmation {
    /// Whoever names the token shows that the endpoint got it.
    Pending {
        /// Known to the endpoint alone.
        token: Secret,
    },
    /// It does.
    Confirmed {
        /// Whether only who has credentials may end it.
        authenticate_on_unsubscribe: bool,
    },
}

impl Subscription {
    /// Whether messages go there.
    pub fn is_confirmed(&self) -> bool {
        matches!(self.confirmation, Confirmation::Confirmed { .. })
    }
}

/// What can be done with topics. Names are AWS's where AWS has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum SnsAction {
    CreateTopic {
        name: String,
        display_name: String,
        policy: Option<String>,
        tags: TagSet,
    },
    DeleteTopic {
        topic: String,
    },
    SetDisplayName {
        topic: String,
        display_name: String,
    },
    /// None is what AWS gives every topic.
    SetPolicy {
        topic: String,
        policy: Option<String>,
    },
    /// The id and the token are not drawn from the command's seed: whoever knows one of them must not find the other.
    Subscribe {
        topic: String,
        id: String,
        token: Secret,
        owner: AccountId,
        endpoint: String,
        raw: bool,
        delivery_policy: Option<String>,
    },
    ConfirmSubscription {
        topic: String,
        subscription: String,
        authenticate_on_unsubscribe: bool,
    },
    Unsubscribe {
        topic: String,
        subscription: String,
    },
    SetRawDelivery {
        topic: String,
        subscription: String,
        raw: bool,
    },
    SetDeliveryPolicy {
        topic: String,
        subscription: String,
        policy: Option<String>,
    },
    TagTopic {
        topic: String,
        tags: TagSet,
    },
    UntagTopic {
        topic: String,
        keys: Vec<String>,
    },
}

/// The ARN of a topic of that name.
pub fn topic_arn(state: &State, account: AccountId, name: &str) -> String {
    format!("arn:aws:sns:{}:{account}:{name}", state.region.name)
}

pub(crate) fn apply(txn: &mut Txn, action: SnsAction) -> Result<(), ModelError> {
    use SnsAction::*;
    match action {
        CreateTopic { name, display_name, policy, tags } => create(txn, &name, display_name, policy, &tags),
        DeleteTopic { topic } => {
            own(txn, &topic)?;
            txn.state.topics.remove(&topic);
            txn.events.push(Event::IdentityChanged);
            Ok(())
        }
        SetDisplayName { topic, display_name } => {
            change(txn, &topic, |topic| topic.display_name = display_name)
        }
        SetPolicy { topic, policy } => change(txn, &topic, |topic| topic.policy = policy),
        Subscribe { topic, id, token, owner, endpoint, raw, delivery_policy } => {
            let confirmation = Confirmation::Pending { token };
            let created_at = txn.at;
            let new = Subscription { owner, endpoint, created_at, confirmation, raw, delivery_policy };
            subscribe(txn, &topic, id, new)
        }
        ConfirmSubscription { topic, subscription, authenticate_on_unsubscribe } => {
            let confirmation = Confirmation::Confirmed { authenticate_on_unsubscribe };
            change_subscription(txn, &topic, &subscription, |found| found.confirmation = confirmation)
        }
        Unsubscribe { topic, subscription } => {
            known(txn, &topic, &subscription)?;
            change(txn, &topic, |topic| {
                topic.subscriptions.remove(&subscription);
                topic.deleted_subscriptions += 1;
            })
        }
        SetRawDelivery { topic, subscription, raw } => {
            change_subscription(txn, &topic, &subscription, |found| found.raw = raw)
        }
        SetDeliveryPolicy { topic, subscription, policy } => {
            change_subscription(txn, &topic, &subscription, |found| found.delivery_policy = policy)
        }
        TagTopic { topic, tags } => {
            let mut changed = own(txn, &topic)?.tags.clone();
            tag::put(&mut changed, &tags)?;
            change(txn, &topic, |topic| topic.tags = changed)
        }
        UntagTopic { topic, keys } => {
            change(txn, &topic, |topic| topic.tags.retain(|key, _| !keys.contains(key)))
        }
    }
}

/// "Topic names must be made up of only uppercase and lowercase ASCII letters, numbers, underscores, and hyphens, and
/// must be between 1 and 256 characters long."
pub fn is_topic_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// "If the requester already owns a topic with the specified name, that topic's ARN is returned without creating a new
/// topic": whoever asks for the same thing gets it, and for another one a refusal.
fn create(
    txn: &mut Txn,
    name: &str,
    display_name: String,
    policy: Option<String>,
    tags: &TagSet,
) -> Result<(), ModelError> {
    if !is_topic_name(name) {
        return Err(ModelError::TopicName(name.to_owned()));
    }
    let arn = topic_arn(&txn.state, txn.account, name);
    let tags = tag::collect(tags)?;
    if let Some(there) = txn.state.topics.get(&arn) {
        let same = there.display_name == display_name && there.policy == policy && there.tags == tags;
        return if same { Ok(()) } else { Err(ModelError::TopicDiffers(arn)) };
    }
    let own = txn.state.topics.values().filter(|topic| topic.owner == txn.account).count();
    if own >= MAX_TOPICS {
        return Err(ModelError::Limit { what: "topics", limit: MAX_TOPICS });
    }
    let topic = Topic {
        arn: arn.clone(),
        owner: txn.account,
        display_name,
        policy,
        created_at: txn.at,
        tags,
        subscriptions: OrdMap::new(),
        deleted_subscriptions: 0,
    };
    txn.state.topics.insert(arn, Arc::new(topic));
    txn.events.push(Event::IdentityChanged);
    Ok(())
}

fn own(txn: &Txn, arn: &str) -> Result<Arc<Topic>, ModelError> {
    let found = txn.state.topics.get(arn).filter(|topic| topic.owner == txn.account);
    found.cloned().ok_or_else(|| ModelError::TopicNotFound(arn.to_owned()))
}

fn known(txn: &Txn, topic: &str, subscription: &str) -> Result<(), ModelError> {
    let there = own(txn, topic)?.subscriptions.contains_key(subscription);
    if there { Ok(()) } else { Err(ModelError::SubscriptionNotFound(subscription.to_owned())) }
}

fn change(txn: &mut Txn, arn: &str, change: impl FnOnce(&mut Topic)) -> Result<(), ModelError> {
    let mut topic = own(txn, arn)?;
    change(Arc::make_mut(&mut topic));
    txn.state.topics.insert(arn.to_owned(), topic);
    txn.events.push(Event::IdentityChanged);
    Ok(())
}

fn change_subscription(
    txn: &mut Txn,
    arn: &str,
    id: &str,
    work: impl FnOnce(&mut Subscription),
) -> Result<(), ModelError> {
    known(txn, arn, id)?;
    change(txn, arn, |topic| {
        if let Some(found) = topic.subscriptions.get_mut(id) {
            work(found);
        }
    })
}

/// What nobody confirmed in time makes room for what comes.
fn subscribe(txn: &mut Txn, arn: &str, id: String, new: Subscription) -> Result<(), ModelError> {
    let mut topic = own(txn, arn)?;
    let now = txn.at;
    let changed = Arc::make_mut(&mut topic);
    let stays = |there: &Subscription| there.is_confirmed() || is_token_valid(there, now);
    let late: Vec<String> =
        changed.subscriptions.iter().filter(|(_, there)| !stays(there)).map(|(id, _)| id.clone()).collect();
    for id in late {
        changed.subscriptions.remove(&id);
    }
    if changed.subscriptions.contains_key(&id) {
        return Err(ModelError::IdsExhausted);
    }
    if changed.subscriptions.len() >= MAX_SUBSCRIPTIONS {
        return Err(ModelError::Limit { what: "subscriptions of a topic", limit: MAX_SUBSCRIPTIONS });
    }
    changed.subscriptions.insert(id, new);
    txn.state.topics.insert(arn.to_owned(), topic);
    txn.events.push(Event::IdentityChanged);
    Ok(())
}

/// Whether the token of a subscription that waits still confirms it.
pub fn is_token_valid(subscription: &Subscription, now: Timestamp) -> bool {
    now.0.saturating_sub(subscription.created_at.0) < TOKEN_LIFETIME
}
