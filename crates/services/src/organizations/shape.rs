//! An organization as answers show it.

use postern_model::organization::{
    ControlKind, ControlPolicy, Creation, FULL_ACCESS, Handshake, HandshakeState, Organization,
    RCP_FULL_ACCESS, Unit,
};
use postern_model::{AccountId, Timestamp};
use serde_json::{Value, json};

/// What the root of every organization is called.
const ROOT_NAME: &str = "Root";

/// Seconds since 1970, as AWS's JSON protocol writes moments.
pub(super) fn time(at: Timestamp) -> Value {
    // Milliseconds of this age are exact in a double.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit into 53 bits")]
    let seconds = at.0 as f64 / 1_000.0;
    json!(seconds)
}

/// AWS's name of a type.
pub(super) fn kind_name(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::Service => "SERVICE_CONTROL_POLICY",
        ControlKind::Resource => "RESOURCE_CONTROL_POLICY",
    }
}

fn kind_in_arn(kind: ControlKind) -> &'static str {
    match kind {
        ControlKind::Service => "service_control_policy",
        ControlKind::Resource => "resource_control_policy",
    }
}

/// The ARN of something in an organization, by what stands before its id: `ou`, `account`, …
pub(super) fn arn(organization: &Organization, kind: &str, id: &str) -> String {
    format!("arn:aws:organizations::{}:{kind}/{}/{id}", organization.management, organization.id)
}

/// The ARN of a policy; that of AWS's own names no account.
pub(crate) fn policy_arn(organization: &Organization, kind: ControlKind, id: &str) -> String {
    match id {
        FULL_ACCESS | RCP_FULL_ACCESS => {
            format!("arn:aws:organizations::aws:policy/{}/{id}", kind_in_arn(kind))
        }
        own => format!(
            "arn:aws:organizations::{}:policy/{}/{}/{own}",
            organization.management,
            organization.id,
            kind_in_arn(kind)
        ),
    }
}

/// The organization; its managers see which policies it can use.
pub(super) fn organization(organization: &Organization) -> Value {
    let management = organization.management.to_string();
    let types = [ControlKind::Service].into_iter().filter(|_| organization.all_features);
    let types: Vec<Value> =
        types.map(|kind| json!({ "Type": kind_name(kind), "Status": "ENABLED" })).collect();
    json!({
        "Id": organization.id,
        "Arn": format!("arn:aws:organizations::{management}:organization/{}", organization.id),
        "FeatureSet": if organization.all_features { "ALL" } else { "CONSOLIDATED_BILLING" },
        "MasterAccountArn": arn(organization, "account", &management),
        "MasterAccountId": management,
        "AvailablePolicyTypes": types,
    })
}

pub(super) fn root(organization: &Organization) -> Value {
    let types = organization.enabled.iter();
    let types: Vec<Value> =
        types.map(|kind| json!({ "Type": kind_name(*kind), "Status": "ENABLED" })).collect();
    json!({
        "Id": organization.root,
        "Arn": arn(organization, "root", &organization.root),
        "Name": ROOT_NAME,
        "PolicyTypes": types,
    })
}

/// The ids from the organization down to something, as `aws:PrincipalOrgPaths` has them.
fn path(organization: &Organization, id: &str) -> String {
    format!("{}/{}/", organization.id, organization.line(id).join("/"))
}

pub(super) fn unit(organization: &Organization, unit: &Unit) -> Value {
    json!({
        "Id": unit.id,
        "Arn": arn(organization, "ou", &unit.id),
        "Name": unit.name,
        "Path": path(organization, &unit.id),
    })
}

/// A member; what is not known of it is left out.
pub(super) fn account(organization: &Organization, id: AccountId) -> Option<Value> {
    let member = organization.members.get(&id)?;
    let mut shown = json!({
        "Id": id.to_string(),
        "Arn": arn(organization, "account", &id.to_string()),
        "Name": member.name,
        "Status": "ACTIVE",
        "State": "ACTIVE",
        "Paths": [path(organization, &id.to_string())],
        "JoinedMethod": if member.created { "CREATED" } else { "INVITED" },
        "JoinedTimestamp": time(member.joined_at),
    });
    if let Some(object) = shown.as_object_mut().filter(|_| !member.email.is_empty()) {
        object.insert("Email".to_owned(), json!(member.email));
    }
    Some(shown)
}

pub(super) fn creation(creation: &Creation) -> Value {
    json!({
        "Id": creation.id,
        "AccountName": creation.name,
        "State": "SUCCEEDED",
        "RequestedTimestamp": time(creation.at),
        "CompletedTimestamp": time(creation.at),
        "AccountId": creation.account.to_string(),
    })
}

pub(super) fn handshake(organization: &Organization, handshake: &Handshake, now: Timestamp) -> Value {
    let state = match handshake.state {
        HandshakeState::Open if now >= handshake.expires_at => "EXPIRED",
        HandshakeState::Open => "OPEN",
        HandshakeState::Accepted => "ACCEPTED",
        HandshakeState::Declined => "DECLINED",
        HandshakeState::Canceled => "CANCELED",
    };
    let features = if organization.all_features { "ALL" } else { "CONSOLIDATED_BILLING" };
    let mut resources = vec![
        json!({ "Type": "ORGANIZATION", "Value": organization.id, "Resources": [
            { "Type": "ORGANIZATION_FEATURE_SET", "Value": features },
        ]}),
        json!({ "Type": "ACCOUNT", "Value": handshake.account.to_string() }),
    ];
    if !handshake.notes.is_empty() {
        resources.push(json!({ "Type": "NOTES", "Value": handshake.notes }));
    }
    json!({
        "Id": handshake.id,
        "Arn": arn(organization, "handshake", &format!("invite/{}", handshake.id)),
        "Parties": [
            { "Id": organization.id.trim_start_matches("o-"), "Type": "ORGANIZATION" },
            { "Id": handshake.account.to_string(), "Type": "ACCOUNT" },
        ],
        "State": state,
        "RequestedTimestamp": time(handshake.requested_at),
        "ExpirationTimestamp": time(handshake.expires_at),
        "Action": "INVITE",
        "Resources": resources,
    })
}

/// A policy without its text.
pub(super) fn policy_summary(organization: &Organization, policy: &ControlPolicy) -> Value {
    let of_aws = [FULL_ACCESS, RCP_FULL_ACCESS].contains(&policy.id.as_str());
    json!({
        "Id": policy.id,
        "Arn": policy_arn(organization, policy.kind, &policy.id),
        "Name": policy.name,
        "Description": policy.description,
        "Type": kind_name(policy.kind),
        "AwsManaged": of_aws,
    })
}

/// What a policy is attached to.
pub(super) fn target(organization: &Organization, id: &str) -> Value {
    let (kind, in_arn, name) = if id == organization.root {
        ("ROOT", "root", ROOT_NAME.to_owned())
    } else if let Some(unit) = organization.units.get(id) {
        ("ORGANIZATIONAL_UNIT", "ou", unit.name.clone())
    } else {
        let member = id.parse::<AccountId>().ok().and_then(|account| organization.members.get(&account));
        ("ACCOUNT", "account", member.map_or_else(String::new, |member| member.name.clone()))
    };
    json!({ "TargetId": id, "Arn": arn(organization, in_arn, id), "Name": name, "Type": kind })
}
