//! Topics, subscriptions and connection notifications.

use std::collections::BTreeSet;

use postern_model::connection_notification::{
    ConnectionEvent, ConnectionNotification, ConnectionNotificationAction, Notified,
};
use postern_model::endpoint::VpcEndpoint;
use postern_model::endpoint_service::EndpointService;
use postern_model::iam::Secret;
use postern_model::sns::{SnsAction, topic_arn};
use postern_model::{ConnectionNotificationId, EndpointServiceId, VpcEndpointId};

use super::Draw;

impl Draw<'_> {
    /// A command about connection notifications.
    pub(super) fn notification(&mut self, kind: &str) -> ConnectionNotificationAction {
        let notification =
            |draw: &mut Self| draw.id::<ConnectionNotification>(ConnectionNotificationId::from_number);
        match kind {
            "Create" => {
                let about = if self.random.chance(50) {
                    Notified::Service(self.id::<EndpointService>(EndpointServiceId::from_number))
                } else {
                    Notified::Endpoint(self.id::<VpcEndpoint>(VpcEndpointId::from_number))
                };
                ConnectionNotificationAction::Create { about, topic: self.topic(), events: self.events() }
            }
            "Modify" => {
                let topic = self.random.chance(50).then(|| self.topic());
                let events = self.random.chance(50).then(|| self.events());
                ConnectionNotificationAction::Modify { notification: notification(self), topic, events }
            }
            "Delete" => ConnectionNotificationAction::Delete { notification: notification(self) },
            _ => panic!("no way to draw Notification.{kind}"),
        }
    }

    /// A command about topics.
    pub(super) fn sns(&mut self, kind: &str) -> SnsAction {
        match kind {
            "CreateTopic" => SnsAction::CreateTopic {
                name: self.random.of(&["a", "b", "c", "not a name"]).to_owned(),
                display_name: String::new(),
                policy: None,
                tags: self.tags(),
            },
            "DeleteTopic" => SnsAction::DeleteTopic { topic: self.topic() },
            "SetDisplayName" => {
                SnsAction::SetDisplayName { topic: self.topic(), display_name: "x".to_owned() }
            }
            "SetPolicy" => SnsAction::SetPolicy { topic: self.topic(), policy: Some("{}".to_owned()) },
            "Subscribe" => SnsAction::Subscribe {
                topic: self.topic(),
                id: format!("{:016x}", self.random.next()),
                token: Secret("token".to_owned()),
                owner: self.account,
                endpoint: "http://127.0.0.1:1/".to_owned(),
                raw: self.random.chance(50),
                delivery_policy: None,
            },
            "ConfirmSubscription" => {
                let (topic, subscription) = self.subscription();
                let authenticate_on_unsubscribe = self.random.chance(50);
                SnsAction::ConfirmSubscription { topic, subscription, authenticate_on_unsubscribe }
            }
            "Unsubscribe" => {
                let (topic, subscription) = self.subscription();
                SnsAction::Unsubscribe { topic, subscription }
            }
            "SetRawDelivery" => {
                let (topic, subscription) = self.subscription();
                SnsAction::SetRawDelivery { topic, subscription, raw: true }
            }
            "SetDeliveryPolicy" => {
                let (topic, subscription) = self.subscription();
                SnsAction::SetDeliveryPolicy { topic, subscription, policy: Some("{}".to_owned()) }
            }
            "TagTopic" => SnsAction::TagTopic { topic: self.topic(), tags: self.tags() },
            "UntagTopic" => SnsAction::UntagTopic { topic: self.topic(), keys: vec!["Name".to_owned()] },
            _ => panic!("no way to draw Sns.{kind}"),
        }
    }

    fn topic(&mut self) -> String {
        let name = self.random.of(&["a", "b", "c"]);
        topic_arn(self.state, self.account, name)
    }

    fn subscription(&mut self) -> (String, String) {
        let own = self.state.topics.values().filter(|topic| topic.owner == self.account);
        let all = own.flat_map(|topic| topic.subscriptions.keys().map(|id| (topic.arn.clone(), id.clone())));
        let all: Vec<_> = all.collect();
        if all.is_empty() { (self.topic(), "nobody".to_owned()) } else { self.random.of(&all) }
    }

    fn events(&mut self) -> BTreeSet<ConnectionEvent> {
        let count = self.random.of(&[1, 2, 4, 0]);
        ConnectionEvent::ALL.into_iter().take(count).collect()
    }
}
