//! Connection notifications: which topic hears what happens between endpoints and services.
//!
//! Rules from "CreateVpcEndpointConnectionNotification" in the EC2 API reference. "You can create a connection
//! notification for interface endpoints only."

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::endpoint::VpcEndpoint;
use crate::endpoint_service::EndpointService;
use crate::error::ModelError;
use crate::id::*;
use crate::tag::Tags;
use crate::txn::Txn;

/// How many an account may have. AWS names no number; this one is ours.
pub const MAX_NOTIFICATIONS: usize = 500;

/// Something that happens to an endpoint's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConnectionEvent {
    /// The service's owner accepted it.
    Accept,
    /// It was made.
    Connect,
    /// Its owner deleted it.
    Delete,
    /// The service's owner rejected it.
    Reject,
}

impl ConnectionEvent {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Accept, Self::Connect, Self::Delete, Self::Reject];

    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "Accept",
            Self::Connect => "Connect",
            Self::Delete => "Delete",
            Self::Reject => "Reject",
        }
    }
}

/// Whose connections a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notified {
    /// Every endpoint's to a service of the owner's.
    Service(EndpointServiceId),
    /// An endpoint of the owner's.
    Endpoint(VpcEndpointId),
}

/// A connection notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionNotification {
    /// Its id.
    pub id: ConnectionNotificationId,
    /// Whose it is.
    pub owner: AccountId,
    /// What it is about.
    pub about: Notified,
    /// The ARN of the topic.
    pub topic: String,
    /// What is told. Never empty.
    pub events: BTreeSet<ConnectionEvent>,
    /// Nobody can write on it: every resource has tags here, and AWS has no way to give this one any.
    pub tags: Tags,
}

/// What can be done with connection notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum ConnectionNotificationAction {
    Create {
        about: Notified,
        topic: String,
        events: BTreeSet<ConnectionEvent>,
    },
    /// None leaves it as it is.
    Modify {
        notification: ConnectionNotificationId,
        topic: Option<String>,
        events: Option<BTreeSet<ConnectionEvent>>,
    },
    Delete {
        notification: ConnectionNotificationId,
    },
}

pub(crate) fn apply(txn: &mut Txn, action: ConnectionNotificationAction) -> Result<(), ModelError> {
    match action {
        ConnectionNotificationAction::Create { about, topic, events } => create(txn, about, topic, events),
        ConnectionNotificationAction::Modify { notification, topic, events } => {
            topic.iter().try_for_each(|topic| check_topic(txn, topic))?;
            events.iter().try_for_each(check_events)?;
            txn.update::<ConnectionNotification>(notification, |found| {
                found.topic = topic.unwrap_or_else(|| found.topic.clone());
                found.events = events.unwrap_or_else(|| found.events.clone());
            })
        }
        ConnectionNotificationAction::Delete { notification } => {
            txn.remove::<ConnectionNotification>(notification).map(|_| ())
        }
    }
}

fn create(
    txn: &mut Txn,
    about: Notified,
    topic: String,
    events: BTreeSet<ConnectionEvent>,
) -> Result<(), ModelError> {
    match about {
        Notified::Service(service) => {
            txn.get::<EndpointService>(service)?;
        }
        Notified::Endpoint(endpoint) => {
            let found = txn.get::<VpcEndpoint>(endpoint)?;
            if found.interface.is_none() || !found.state.is_live() {
                return Err(ModelError::NotFound(endpoint.into()));
            }
        }
    }
    check_topic(txn, &topic)?;
    check_events(&events)?;
    let own = txn.state.visible::<ConnectionNotification>(txn.account).count();
    if own >= MAX_NOTIFICATIONS {
        return Err(ModelError::Limit { what: "connection notifications", limit: MAX_NOTIFICATIONS });
    }
    let id = txn.mint::<ConnectionNotification>(ConnectionNotificationId::from_number)?;
    let owner = txn.account;
    txn.insert(ConnectionNotification { id, owner, about, topic, events, tags: Tags::new() });
    Ok(())
}

/// Whether the topic lets itself be told is asked each time that something is told: its policy may change.
fn check_topic(txn: &Txn, topic: &str) -> Result<(), ModelError> {
    txn.admit(|txn| match txn.state.topics.contains_key(topic) {
        true => Ok(()),
        false => Err(ModelError::TopicNotFound(topic.to_owned())),
    })
}

fn check_events(events: &BTreeSet<ConnectionEvent>) -> Result<(), ModelError> {
    if events.is_empty() { Err(ModelError::NoConnectionEvents) } else { Ok(()) }
}

/// What an endpoint was told about goes with it.
pub(crate) fn forget_about(txn: &mut Txn, about: Notified) {
    let gone = txn.state.connection_notifications.values().filter(|found| found.about == about);
    let gone: Vec<ConnectionNotificationId> = gone.map(|found| found.id).collect();
    for id in gone {
        txn.state.connection_notifications.remove(&id);
        txn.events.push(crate::Event::Deleted(id.into()));
    }
}
