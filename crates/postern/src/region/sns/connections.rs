//! What happens between endpoints and services, told to the topics that want to hear of it.
//!
//! The events are those of "Create a notification for an endpoint service" in the AWS PrivateLink guide. AWS documents no
//! form for what they say; this one is ours.

use std::collections::BTreeSet;
use std::sync::Arc;

use postern_model::connection_notification::{ConnectionEvent, ConnectionNotification, Notified};
use postern_model::endpoint::{EndpointState, VpcEndpoint};
use postern_model::endpoint_service::{self, EndpointService};
use postern_model::{Event, ResourceId, State, VpcEndpointId};
use postern_services::ec2::{TELLER, source_arn};
use postern_services::sns::{Deliveries as _, Message, service_may_publish};
use postern_store::{Change, Ledger, WatchError};
use serde_json::json;

use super::{Ended, Posts};

/// Tells topics of every change from `before` on, as long as the ledger is open.
pub async fn tell_of_connections(ledger: Ledger, before: Arc<State>, posts: Posts) {
    let mut watcher = ledger.watch(before.revision);
    let mut before = before;
    // The ledger itself is not held open by who watches it.
    drop(ledger);
    loop {
        match watcher.next().await {
            Ok(change) => {
                for (event, endpoint) in happened(&before, &change) {
                    tell(&change.state, event, &endpoint, &posts);
                }
                before = change.state;
            }
            Err(WatchError::Lagged { first, last, state }) => {
                tracing::warn!(first, last, "what happened to endpoints in these revisions is not told");
                before = state;
            }
            Err(WatchError::Closed) => return,
        }
    }
}

/// What a change did to endpoints, each as it was when something could still be said of it.
fn happened(before: &State, change: &Change) -> Vec<(ConnectionEvent, Arc<VpcEndpoint>)> {
    let touched = change.events.iter().filter_map(|event| match event {
        Event::Created(ResourceId::VpcEndpoint(id))
        | Event::Changed(ResourceId::VpcEndpoint(id))
        | Event::Deleted(ResourceId::VpcEndpoint(id)) => Some(*id),
        Event::Created(_) | Event::Changed(_) | Event::Deleted(_) | Event::IdentityChanged => None,
    });
    let touched: BTreeSet<VpcEndpointId> = touched.collect();
    let told = |id: VpcEndpointId| {
        let (was, is) = (before.vpc_endpoints.get(&id), change.state.vpc_endpoints.get(&id));
        let event = event(was.map(|was| was.state), is.map(|is| is.state))?;
        Some((event, Arc::clone(is.or(was)?)))
    };
    touched.into_iter().filter_map(told).collect()
}

/// What became of an endpoint by going from one state to another.
fn event(was: Option<EndpointState>, is: Option<EndpointState>) -> Option<ConnectionEvent> {
    let lived = was.is_some_and(EndpointState::is_live);
    let Some(is) = is.filter(|is| is.is_live()) else {
        return lived.then_some(ConnectionEvent::Delete);
    };
    match (was, is) {
        (None, _) => Some(ConnectionEvent::Connect),
        (
            Some(EndpointState::PendingAcceptance | EndpointState::Rejected),
            EndpointState::Pending | EndpointState::Available,
        ) => Some(ConnectionEvent::Accept),
        (Some(was), EndpointState::Rejected) if was != EndpointState::Rejected => {
            Some(ConnectionEvent::Reject)
        }
        (Some(_), _) => None,
    }
}

fn tell(state: &State, event: ConnectionEvent, endpoint: &VpcEndpoint, posts: &Posts) {
    if endpoint.interface.is_none() {
        return;
    }
    let service = endpoint_service::by_name(state, &endpoint.service_name);
    let wanted = state.connection_notifications.values().filter(|notification| {
        let about = match notification.about {
            Notified::Service(id) => service.is_some_and(|service| service.id == id),
            Notified::Endpoint(id) => id == endpoint.id,
        };
        about && notification.events.contains(&event)
    });
    for notification in wanted {
        tell_one(state, event, endpoint, service.map(Arc::as_ref), notification, posts);
    }
}

fn tell_one(
    state: &State,
    event: ConnectionEvent,
    endpoint: &VpcEndpoint,
    service: Option<&EndpointService>,
    notification: &ConnectionNotification,
    posts: &Posts,
) {
    let region = &state.region.name;
    let source = source_arn(region, notification.owner, notification.about);
    let may = |topic: &&Arc<_>| service_may_publish(topic, TELLER, &source, notification.owner, region);
    let Some(topic) = state.topics.get(&notification.topic).filter(may) else {
        tracing::info!(notification = %notification.id, topic = notification.topic, "the topic is gone, or lets nobody tell it");
        return posts.count(Ended::Refused);
    };
    // Of an endpoint its id, account and state alone: all that AWS tells the owner of a service.
    let text = json!({
        "event": event.name(),
        "notificationId": notification.id.to_string(),
        "region": region,
        "serviceId": service.map(|service| service.id.to_string()),
        "serviceName": endpoint.service_name,
        "vpcEndpointId": endpoint.id.to_string(),
        "vpcEndpointOwner": endpoint.owner.to_string(),
        "vpcEndpointState": endpoint.state.name(),
    });
    let subject = format!("VPC endpoint connection: {}", event.name());
    let now = posts.0.commands.now_milliseconds();
    posts.publish(topic, Message::new(Some(subject), text.to_string(), now));
}

#[cfg(test)]
mod tests {
    use EndpointState::*;

    use super::*;

    #[test]
    fn each_event_is_a_change_of_state() {
        let all = [
            None,
            Some(PendingAcceptance),
            Some(Pending),
            Some(Available),
            Some(Rejected),
            Some(Deleting),
            Some(Deleted),
        ];
        let told = |was, is| event(was, is).map(ConnectionEvent::name);
        assert_eq!(told(None, Some(PendingAcceptance)), Some("Connect"));
        assert_eq!(told(None, Some(Pending)), Some("Connect"));
        assert_eq!(told(Some(PendingAcceptance), Some(Pending)), Some("Accept"));
        assert_eq!(told(Some(Rejected), Some(Pending)), Some("Accept"));
        assert_eq!(told(Some(Pending), Some(Available)), None, "that it works is no event");
        assert_eq!(told(Some(Available), Some(Rejected)), Some("Reject"));
        assert_eq!(told(Some(PendingAcceptance), Some(Rejected)), Some("Reject"));
        for was in all {
            let lives = was.is_some_and(EndpointState::is_live);
            assert_eq!(told(was, Some(Deleting)), lives.then_some("Delete"), "{was:?}");
            assert_eq!(told(was, None), lives.then_some("Delete"), "{was:?}");
            assert_eq!(told(was, was), None, "{was:?}");
        }
    }
}
