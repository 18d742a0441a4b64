//! Connection notifications: which topic hears what happens between endpoints and services.
//!
//! What is told, and when, is the program's business; whether a topic lets itself be told is asked when it is told.

use std::collections::BTreeSet;

use postern_model::connection_notification::{
    ConnectionEvent, ConnectionNotification, ConnectionNotificationAction, Notified,
};
use postern_model::endpoint::VpcEndpoint;
use postern_model::endpoint_service::EndpointService;
use postern_model::sns::Topic;
use postern_model::{AccountId, Action, ConnectionNotificationId, ModelError, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::endpoint_service_configuration::{BOUNDS, unsuccessful_item};
use super::error;
use super::filters::{self, FilterTable, Row, text};
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::{created, some};
use crate::sns::service_may_publish;

/// How many notifications one request may delete.
const MAX_DELETED: usize = 25;

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateVpcEndpointConnectionNotification = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, &[
            "ConnectionEvents", "ConnectionNotificationArn", "ServiceId", "VpcEndpointId",
        ]],
        asked: &[Asked::Named(By::Id, "ServiceId"), Asked::Named(By::Id, "VpcEndpointId")],
    },
    operation! { write ModifyVpcEndpointConnectionNotification = modify;
        honoured: &[DRY_RUN, &["ConnectionEvents", "ConnectionNotificationArn", "ConnectionNotificationId"]],
    },
    operation! { read DescribeVpcEndpointConnectionNotifications = describe;
        filters: filters::names::<ec2::ConnectionNotification>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["ConnectionNotificationId"]],
    },
    operation! { write DeleteVpcEndpointConnectionNotifications = delete;
        honoured: &[DRY_RUN, &["ConnectionNotificationId"]],
    },
];

fn show(state: &State, notification: &ConnectionNotification) -> ec2::ConnectionNotification {
    let (service_id, vpc_endpoint_id) = match notification.about {
        Notified::Service(id) => (some(id), None),
        Notified::Endpoint(id) => (None, some(id)),
    };
    ec2::ConnectionNotification {
        connection_events: Some(notification.events.iter().map(|event| event.name().to_owned()).collect()),
        connection_notification_arn: some(&notification.topic),
        connection_notification_id: some(notification.id),
        connection_notification_state: some("Enabled"),
        connection_notification_type: some("Topic"),
        service_id,
        service_region: some(&state.region.name),
        vpc_endpoint_id,
    }
}

impl Row for ec2::ConnectionNotification {
    const FILTERS: FilterTable<Self> = &[
        ("connection-notification-arn", |n| text(n.connection_notification_arn.as_ref())),
        ("connection-notification-id", |n| text(n.connection_notification_id.as_ref())),
        ("connection-notification-state", |n| text(n.connection_notification_state.as_ref())),
        ("connection-notification-type", |n| text(n.connection_notification_type.as_ref())),
        ("service-id", |n| text(n.service_id.as_ref())),
        ("vpc-endpoint-id", |n| text(n.vpc_endpoint_id.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.connection_notification_id.clone().unwrap_or_default()
    }
}

fn events(names: &[String]) -> Result<BTreeSet<ConnectionEvent>, AwsError> {
    let read = |name: &String| {
        let found = ConnectionEvent::ALL.into_iter().find(|event| event.name() == name);
        let why = "Valid values are Accept, Connect, Delete and Reject.";
        found.ok_or_else(|| parameters::invalid("ConnectionEvents", name, why))
    };
    names.iter().map(read).collect()
}

/// The topic of an ARN: one of the caller's own, or of who lets it be told about this. Another one is as one that is not
/// there.
fn topic(call: &Call<'_>, about: Notified, arn: String) -> Result<String, AwsError> {
    let start = format!("arn:aws:sns:{}:", call.region());
    let named = |rest: &str| rest.split_once(':').is_some_and(|(_, name)| !name.contains(':'));
    if !arn.strip_prefix(&start).is_some_and(named) {
        let why = "It is not the ARN of an SNS topic of this Region.";
        return Err(parameters::invalid("ConnectionNotificationArn", &arn, why));
    }
    let may_be_told = |topic: &Topic| {
        let source = source_arn(call.region(), call.account, about);
        topic.owner == call.account
            || service_may_publish(topic, TELLER, &source, call.account, call.region())
    };
    let found = call.state.topics.get(&arn).is_some_and(|topic| may_be_told(topic));
    if found { Ok(arn) } else { Err(call.refuse(ModelError::TopicNotFound(arn))) }
}

/// Who tells topics what happens to connections, as their policies name it.
pub const TELLER: &str = "vpce.amazonaws.com";

/// For whose sake it does, as conditions of policies name it (`aws:SourceArn`).
pub fn source_arn(region: &str, account: AccountId, about: Notified) -> String {
    let (kind, id) = match about {
        Notified::Service(id) => ("vpc-endpoint-service", id.to_string()),
        Notified::Endpoint(id) => ("vpc-endpoint", id.to_string()),
    };
    format!("arn:aws:ec2:{region}:{account}:{kind}/{id}")
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateVpcEndpointConnectionNotificationRequest,
) -> Result<ec2::CreateVpcEndpointConnectionNotificationResult, AwsError> {
    let about = match (request.service_id, request.vpc_endpoint_id) {
        (Some(service), None) => Notified::Service(call.get::<EndpointService>(&service)?.id),
        (None, Some(endpoint)) => {
            let found = call.get::<VpcEndpoint>(&endpoint)?;
            if found.interface.is_none() {
                let why = "Connection notifications are for interface endpoints only.";
                return Err(parameters::invalid("VpcEndpointId", endpoint, why));
            }
            Notified::Endpoint(found.id)
        }
        (Some(_), Some(_)) => {
            return Err(parameters::combination("ServiceId and VpcEndpointId cannot be given together"));
        }
        (None, None) => return Err(parameters::missing("ServiceId")),
    };
    let arn = parameters::required(request.connection_notification_arn, "ConnectionNotificationArn")?;
    let action = ConnectionNotificationAction::Create {
        about,
        topic: topic(call, about, arn)?,
        events: events(&request.connection_events)?,
    };
    let client_token = request.client_token;
    let done = call.execute(client_token.as_deref(), Action::ConnectionNotification(action)).await?;
    let id = created!(done, ConnectionNotification)?;
    let found = done.state.get::<ConnectionNotification>(call.account, id).map_err(|e| call.refuse(e))?;
    let connection_notification = Some(show(&done.state, &found));
    Ok(ec2::CreateVpcEndpointConnectionNotificationResult { client_token, connection_notification })
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyVpcEndpointConnectionNotificationRequest,
) -> Result<ec2::ModifyVpcEndpointConnectionNotificationResult, AwsError> {
    let id = parameters::required(request.connection_notification_id, "ConnectionNotificationId")?;
    let found = call.get::<ConnectionNotification>(&id)?;
    let (notification, about) = (found.id, found.about);
    let given = Some(request.connection_events).filter(|events| !events.is_empty());
    let action = ConnectionNotificationAction::Modify {
        notification,
        topic: request.connection_notification_arn.map(|arn| topic(call, about, arn)).transpose()?,
        events: given.map(|given| events(&given)).transpose()?,
    };
    call.execute(None, Action::ConnectionNotification(action)).await?;
    Ok(ec2::ModifyVpcEndpointConnectionNotificationResult { return_value: Some(true) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpcEndpointConnectionNotificationsRequest,
) -> Result<ec2::DescribeVpcEndpointConnectionNotificationsResult, AwsError> {
    let ids: Vec<String> = request.connection_notification_id.into_iter().collect();
    let rows = call.select::<ConnectionNotification>(&ids)?;
    let rows = rows.iter().map(|notification| show(&call.state, notification)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results.map(|most| most.min(BOUNDS.most)),
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (connection_notification_set, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeVpcEndpointConnectionNotificationsResult { connection_notification_set, next_token })
}

/// Each notification is deleted by itself; what cannot be is told in the answer.
async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteVpcEndpointConnectionNotificationsRequest,
) -> Result<ec2::DeleteVpcEndpointConnectionNotificationsResult, AwsError> {
    let texts = request.connection_notification_ids;
    if texts.is_empty() {
        return Err(parameters::missing("ConnectionNotificationId"));
    }
    if texts.len() > MAX_DELETED {
        let why = format!("At most {MAX_DELETED} notifications can be deleted at once.");
        return Err(parameters::invalid("ConnectionNotificationId", texts.len(), &why));
    }
    let ids: Vec<ConnectionNotificationId> = parameters::ids(&texts)?;
    let mut unsuccessful = Vec::new();
    for notification in ids {
        if call.state.get::<ConnectionNotification>(call.account, notification).is_err() {
            let refused = error::not_found(&[notification.into()]);
            unsuccessful.push(unsuccessful_item(notification.to_string(), refused));
            continue;
        }
        let action = ConnectionNotificationAction::Delete { notification };
        match call.execute(None, Action::ConnectionNotification(action)).await {
            Ok(_) => {}
            Err(refused) if refused.code == "DryRunOperation" => {}
            Err(other) => return Err(other),
        }
    }
    Ok(ec2::DeleteVpcEndpointConnectionNotificationsResult { unsuccessful: Some(unsuccessful) })
}
