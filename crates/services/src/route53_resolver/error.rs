//! Resolver's codes for what cannot be done ("Errors" of each operation in the API reference, which names the codes and
//! when they come; the sentences are not documented).

use postern_frontdoor::JsonError;
use postern_model::{ModelError, Quota, ResolverEndpointId, ResourceId};
use serde_json::{Value, json};

use crate::commands::CommandError;

fn error(code: &str, message: impl Into<String>, more: &[(&str, &str)]) -> JsonError {
    let message = message.into();
    let mut body = json!({ "__type": code, "Message": message });
    for (name, value) in more {
        body[*name] = Value::from(*value);
    }
    JsonError { code: code.to_owned(), message, status: 400, body: body.to_string() }
}

pub(super) fn denied(message: &str) -> JsonError {
    error("AccessDeniedException", message, &[])
}

/// "One or more parameters in this request are not valid." `FieldName` is "the name of the parameter that's invalid".
pub(super) fn invalid_parameter(field: &str, message: impl Into<String>) -> JsonError {
    error("InvalidParameterException", message, &[("FieldName", field)])
}

/// "The request is invalid."
pub(super) fn invalid_request(message: impl Into<String>) -> JsonError {
    error("InvalidRequestException", message, &[])
}

/// What AWS has and this endpoint does not.
pub(super) fn unsupported(field: &str, value: &str) -> JsonError {
    invalid_parameter(field, format!("{field} '{value}' is not supported by this endpoint yet."))
}

pub(super) fn not_one_of(field: &str, value: &str, all: &str) -> JsonError {
    invalid_parameter(field, format!("{field} '{value}' is none of {all}."))
}

/// "The specified resource doesn't exist."
pub(super) fn not_found(kind: &str, id: &str) -> JsonError {
    let message = format!("Resolver endpoint with ID '{id}' does not exist");
    error("ResourceNotFoundException", message, &[("ResourceType", kind)])
}

/// "The value that you specified for `NextToken` in a `List` request isn't valid."
pub(super) fn invalid_token() -> JsonError {
    error("InvalidNextTokenException", "Invalid value passed for the NextToken parameter", &[])
}

fn exists(message: String) -> JsonError {
    error("ResourceExistsException", message, &[("ResourceType", "resolver-endpoint")])
}

fn limit(message: String) -> JsonError {
    error("LimitExceededException", message, &[("ResourceType", "resolver-endpoint")])
}

/// An address that is not the endpoint's.
pub(super) fn address_not_found(address: &str, endpoint: ResolverEndpointId) -> JsonError {
    let message = format!("IP address '{address}' is not associated with resolver endpoint '{endpoint}'");
    error("ResourceNotFoundException", message, &[("ResourceType", "ip-address")])
}

/// A command that was not carried out.
pub(super) fn of_command(failure: CommandError) -> JsonError {
    let refusal = match failure {
        CommandError::Refused(refusal) => refusal,
        CommandError::Storage(why) => {
            return JsonError::internal(format!("a change could not be stored: {why}"));
        }
    };
    let ip = |message: String| invalid_parameter("Ip", message);
    match refusal {
        ModelError::NotFound(ResourceId::ResolverEndpoint(id)) => {
            not_found("resolver-endpoint", &id.to_string())
        }
        ModelError::NotFound(ResourceId::Subnet(id)) => {
            invalid_parameter("SubnetId", format!("The subnet ID '{id}' does not exist"))
        }
        ModelError::NotFound(ResourceId::SecurityGroup(id)) => error(
            "ResourceNotFoundException",
            format!("The security group '{id}' does not exist"),
            &[("ResourceType", "security-group")],
        ),
        ModelError::CreatorRequestTaken { request, .. } => {
            exists(format!("Resolver endpoint with creator request ID '{request}' already exists"))
        }
        ModelError::ResolverAddressesTooFew { least } => {
            invalid_request(format!("Resolver endpoint needs to have at least {least} IP addresses"))
        }
        ModelError::ResolverAddressNotFound { endpoint, address } => {
            address_not_found(&address.to_string(), endpoint)
        }
        ModelError::AddressOutsideSubnet { address, subnet }
        | ModelError::AddressReserved { address, subnet } => invalid_request(format!(
            "IP address '{address}' is either not in subnet '{subnet}' CIDR range or is reserved"
        )),
        ModelError::AddressInUse { address, subnet } => {
            exists(format!("The IP address '{address}' in subnet '{subnet}' is already in use"))
        }
        ModelError::SubnetFull { subnet } => ip(format!("Subnet '{subnet}' has no available IP address")),
        ModelError::DifferentVpcs { a, b } => {
            invalid_request(format!("'{a}' is not in the VPC '{b}': an endpoint is in one VPC alone"))
        }
        ModelError::WrongState { resource, state, .. } => {
            invalid_request(format!("Resolver endpoint '{resource}' is {state}, and cannot be changed now"))
        }
        ModelError::Quota { quota, limit: most } => limit(match quota {
            Quota::ResolverEndpoints => {
                format!("The account has reached its limit of {most} resolver endpoints")
            }
            Quota::ResolverAddresses => format!("An endpoint can have at most {most} IP addresses"),
            other => format!("The account has reached its limit of {other}: {most}"),
        }),
        ModelError::TooManyTags { limit: most } => limit(format!("A resource can have at most {most} tags")),
        other => invalid_request(format!("The request cannot be carried out: {other}.")),
    }
}

/// "The specified tag is invalid."
pub(super) fn invalid_tag(message: impl Into<String>) -> JsonError {
    error("InvalidTagException", message, &[])
}
