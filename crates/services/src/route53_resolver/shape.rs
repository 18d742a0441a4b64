//! How endpoints are shown, and what they can be filtered by.

use postern_frontdoor::JsonError;
use postern_model::resolver_endpoint::{ResolverAddress, ResolverEndpoint, ResolverEndpointState};
use postern_model::{AccountId, ResolverEndpointId, State, Timestamp};
use serde_json::{Value, json};

use super::error;
use super::request::Filter;

/// `arn:aws:route53resolver:us-east-1:123456789012:resolver-endpoint/rslvr-in-…`.
pub(super) fn arn(state: &State, account: AccountId, id: &str) -> String {
    format!("arn:aws:route53resolver:{}:{account}:resolver-endpoint/{id}", state.region.name)
}

/// The endpoint that an ARN names; none if it is not one of the account's in this region.
pub(super) fn named(state: &State, account: AccountId, text: &str) -> Option<ResolverEndpointId> {
    let id: ResolverEndpointId = text.strip_prefix(&arn(state, account, ""))?.parse().ok()?;
    state.get::<ResolverEndpoint>(account, id).ok().map(|found| found.id)
}

fn time(at: Timestamp) -> String {
    postern_wire::Timestamp::from_millis(i64::try_from(at.0).unwrap_or(i64::MAX)).iso_millis()
}

fn message(state: ResolverEndpointState) -> &'static str {
    match state {
        ResolverEndpointState::Creating => "Creating the Resolver Endpoint",
        ResolverEndpointState::Operational => "This Resolver Endpoint is operational.",
        ResolverEndpointState::Updating => "Updating the Resolver Endpoint",
        ResolverEndpointState::Deleting => "Deleting the Resolver Endpoint",
    }
}

/// `ResolverEndpoint`.
pub(super) fn endpoint(state: &State, endpoint: &ResolverEndpoint) -> Value {
    let groups: Vec<String> = endpoint.groups.iter().map(ToString::to_string).collect();
    let mut shown = json!({
        "Id": endpoint.id.to_string(),
        "CreatorRequestId": endpoint.creator_request_id,
        "Arn": arn(state, endpoint.owner, &endpoint.id.to_string()),
        "SecurityGroupIds": groups,
        "Direction": "INBOUND",
        "IpAddressCount": endpoint.addresses.len(),
        "HostVPCId": endpoint.vpc.to_string(),
        "Status": endpoint.state.name(),
        "StatusMessage": message(endpoint.state),
        "CreationTime": time(endpoint.created_at),
        "ModificationTime": time(endpoint.modified_at),
        "ResolverEndpointType": "IPV4",
        "Protocols": ["Do53"],
        "RniEnhancedMetricsEnabled": false,
    });
    if let Some(name) = &endpoint.name {
        shown["Name"] = json!(name);
    }
    shown
}

/// `IpAddressResponse`.
pub(super) fn address(address: &ResolverAddress) -> Value {
    let (status, message) = match address.attached {
        true => ("ATTACHED", "This IP address is operational."),
        false => ("ATTACHING", "This IP address is being attached."),
    };
    json!({
        "IpId": address.id.to_string(),
        "SubnetId": address.subnet.to_string(),
        "Ip": address.address.to_string(),
        "Status": status,
        "StatusMessage": message,
        "CreationTime": time(address.created_at),
        "ModificationTime": time(address.modified_at),
    })
}

/// Whether an endpoint is among those that filters ask for. "In early versions of Resolver, values for `Name` were listed as
/// uppercase, with underscore (_) delimiters … Uppercase values for `Name` are still supported."
pub(super) fn wanted(endpoint: &ResolverEndpoint, filters: &[Filter]) -> Result<bool, JsonError> {
    for filter in filters {
        let holds = |value: &String| match filter.name.as_str() {
            "CreatorRequestId" | "CREATOR_REQUEST_ID" => Ok(*value == endpoint.creator_request_id),
            "Direction" | "DIRECTION" => match value.as_str() {
                "INBOUND" => Ok(true),
                "OUTBOUND" | "INBOUND_DELEGATION" => Ok(false),
                other => Err(error::not_one_of("Direction", other, "INBOUND, OUTBOUND, INBOUND_DELEGATION")),
            },
            "HostVPCId" | "HOST_VPC_ID" => Ok(*value == endpoint.vpc.to_string()),
            "IpAddressCount" | "IP_ADDRESS_COUNT" => Ok(*value == endpoint.addresses.len().to_string()),
            "Name" | "NAME" => Ok(endpoint.name.as_ref() == Some(value)),
            "SecurityGroupIds" | "SECURITY_GROUP_IDS" => {
                Ok(endpoint.groups.iter().any(|group| group.to_string() == *value))
            }
            "Status" | "STATUS" => Ok(value == endpoint.state.name()),
            other => Err(unknown_filter(other)),
        };
        let mut any = false;
        for value in &filter.values {
            any |= holds(value)?;
        }
        if !any {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses a filter that no endpoint could answer, whether or not there are endpoints.
pub(super) fn check(filters: &[Filter]) -> Result<(), JsonError> {
    const KNOWN: [&str; 14] = [
        "CreatorRequestId",
        "CREATOR_REQUEST_ID",
        "Direction",
        "DIRECTION",
        "HostVPCId",
        "HOST_VPC_ID",
        "IpAddressCount",
        "IP_ADDRESS_COUNT",
        "Name",
        "NAME",
        "SecurityGroupIds",
        "SECURITY_GROUP_IDS",
        "Status",
        "STATUS",
    ];
    let unknown = filters.iter().find(|filter| !KNOWN.contains(&filter.name.as_str()));
    unknown.map_or(Ok(()), |filter| Err(unknown_filter(&filter.name)))
}

fn unknown_filter(name: &str) -> JsonError {
    error::invalid_parameter("Filters", format!("The filter '{name}' is invalid"))
}
