//! IAM's codes and sentences for what cannot be done.
//!
//! Codes and statuses from the errors of each operation in the IAM API reference.

use postern_model::ModelError;
use postern_wire::AwsError;

use crate::commands::CommandError;

/// A policy that was to be a permissions boundary is not there.
pub(super) fn no_boundary_policy(arn: &str) -> AwsError {
    no_such(format!("Scope ARN: {arn} does not exist or is not attachable."))
}

pub(super) fn no_such(message: String) -> AwsError {
    AwsError::new("NoSuchEntity", message).with_status(404)
}

/// Something is not there, by the model's word for its kind.
pub(super) fn not_found(kind: &str, name: &str) -> AwsError {
    no_such(match kind {
        "user" => format!("The user with name {name} cannot be found."),
        "role" => format!("The role with name {name} cannot be found."),
        "instance profile" => format!("Instance Profile {name} cannot be found."),
        "policy" => format!("Policy {name} was not found."),
        "attached policy" => format!("Policy {name} was not found."),
        "policy version" => format!("Policy {name} does not exist or is not attachable."),
        "boundary" => return no_boundary_policy(name),
        "user boundary" => format!("The user with name {name} has no permissions boundary."),
        "role boundary" => format!("The role with name {name} has no permissions boundary."),
        "access key" => format!("The Access Key with id {name} cannot be found."),
        other => format!("The {other} with name {name} cannot be found."),
    })
}

fn exists(kind: &str, name: &str) -> AwsError {
    let message = match kind {
        "user" => format!("User with name {name} already exists."),
        "role" => format!("Role with name {name} already exists."),
        "group" => format!("Group with name {name} already exists."),
        "instance profile" => format!("Instance Profile {name} already exists."),
        "policy" => format!("A policy called {name} already exists. Duplicate names are not allowed."),
        other => format!("The {other} {name} already exists."),
    };
    AwsError::new("EntityAlreadyExists", message).with_status(409)
}

pub(super) fn delete_conflict(message: impl Into<String>) -> AwsError {
    AwsError::new("DeleteConflict", message).with_status(409)
}

pub(super) fn limit_exceeded(message: impl Into<String>) -> AwsError {
    AwsError::new("LimitExceeded", message).with_status(409)
}

pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidInput", message)
}

pub(super) fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", message)
}

pub(super) fn malformed_policy(message: impl Into<String>) -> AwsError {
    AwsError::new("MalformedPolicyDocument", message)
}

/// A parameter that is not honoured.
pub(super) fn unsupported(parameter: &str) -> AwsError {
    invalid(format!("The parameter {parameter} is not supported by this endpoint yet."))
}

pub(super) fn of_command(error: &CommandError) -> AwsError {
    match error {
        CommandError::Refused(error) => of_model(error),
        CommandError::Storage(reason) => {
            tracing::error!(reason, "a change could not be stored");
            let message =
                "The request processing has failed because of an unknown error, exception or failure.";
            AwsError::new("ServiceFailure", message).with_status(500)
        }
    }
}

fn in_use(kind: &str, what: &str) -> AwsError {
    delete_conflict(match (kind, what) {
        (_, "policies") => "Cannot delete entity, must delete policies first.".to_owned(),
        (_, "access keys") => "Cannot delete entity, must delete access keys first.".to_owned(),
        ("user", "groups") | ("group", "users") => {
            "Cannot delete entity, must remove users from group first.".to_owned()
        }
        ("instance profile", "a role") => {
            "Cannot delete entity, must remove roles from instance profile first.".to_owned()
        }
        ("role", "instance profiles") => {
            "Cannot delete entity, must remove roles from instance profile first.".to_owned()
        }
        ("policy version", _) => "Cannot delete the default version of a policy.".to_owned(),
        ("policy", "versions") => "This policy has more than one version. Before you delete a policy, you must \
                                   delete the policy's versions. The default version is deleted with the policy."
            .to_owned(),
        ("policy", _) => "Cannot delete a policy attached to entities.".to_owned(),
        (kind, what) => format!("Cannot delete entity, the {kind} still has {what}."),
    })
}

/// The refusals that commands of IAM can have, in IAM's words; others in the model's own.
fn of_model(error: &ModelError) -> AwsError {
    match error {
        ModelError::IdentityNotFound { kind, name } => not_found(kind, name),
        ModelError::IdentityExists { kind, name } => exists(kind, name),
        ModelError::IdentityInUse { kind, what, .. } => in_use(kind, what),
        ModelError::IdentityName { kind, name } => {
            validation(format!("The specified value for the name of the {kind} is invalid: {name}"))
        }
        ModelError::ProfileHasRole => {
            limit_exceeded("Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1")
        }
        ModelError::Limit { what: "access keys of a user", limit } => {
            limit_exceeded(format!("Cannot exceed quota for AccessKeysPerUser: {limit}"))
        }
        ModelError::Limit { what: "groups of a user", limit } => {
            limit_exceeded(format!("Cannot exceed quota for GroupsPerUser: {limit}"))
        }
        ModelError::Limit { what: "groups of an account", limit } => {
            limit_exceeded(format!("Cannot exceed quota for GroupsPerAccount: {limit}"))
        }
        ModelError::Limit { what: "versions of a policy", limit } => limit_exceeded(format!(
            "A managed policy can have up to {limit} versions. Before you create a new version, you must delete an \
             existing version."
        )),
        ModelError::Limit { what, limit } => {
            limit_exceeded(format!("Cannot exceed quota for {what}: {limit}"))
        }
        ModelError::TooManyTags { limit } => {
            limit_exceeded(format!("The number of tags has reached the maximum limit: {limit}"))
        }
        ModelError::InvalidTagKey(key) => invalid(format!("The tag key {key} is invalid.")),
        ModelError::InvalidTagValue(value) => invalid(format!("The tag value {value} is invalid.")),
        // Nothing that commands of IAM are refused for.
        ModelError::AccountNotFound(..)
        | ModelError::AccountExists(..)
        | ModelError::PeeringExists { .. }
        | ModelError::VpnGatewayAttached { .. }
        | ModelError::VpnGatewayNotAttached { .. }
        | ModelError::VpcHasVpnGateway { .. }
        | ModelError::VpnRouteNotFound { .. }
        | ModelError::TransitAttached { .. }
        | ModelError::TransitNotAttached { .. }
        | ModelError::TransitWithoutSubnet { .. }
        | ModelError::TransitZoneTaken { .. }
        | ModelError::TransitAssociated { .. }
        | ModelError::TransitNotAssociated { .. }
        | ModelError::TransitPropagates { .. }
        | ModelError::TransitNotPropagating { .. }
        | ModelError::TransitRouteExists { .. }
        | ModelError::TransitRouteNotFound { .. }
        | ModelError::TransitConnection { .. }
        | ModelError::PeeringNotYours { .. }
        | ModelError::PeeringTransition { .. }
        | ModelError::NotFound(..)
        | ModelError::Organization(..)
        | ModelError::AssociationNotFound(..)
        | ModelError::AttachmentNotFound(..)
        | ModelError::InUse { .. }
        | ModelError::WrongState { .. }
        | ModelError::DifferentVpcs { .. }
        | ModelError::DifferentZones { .. }
        | ModelError::HostBits(..)
        | ModelError::BlockSize { .. }
        | ModelError::BlockRestricted { .. }
        | ModelError::BlockOverlap { .. }
        | ModelError::BlockOutsideVpc { .. }
        | ModelError::BlockHasSubnets { .. }
        | ModelError::PrimaryBlock { .. }
        | ModelError::ZoneNotFound(..)
        | ModelError::SubnetFull { .. }
        | ModelError::AddressOutsideSubnet { .. }
        | ModelError::AddressReserved { .. }
        | ModelError::AddressInUse { .. }
        | ModelError::AddressNotAssigned { .. }
        | ModelError::PublicAddressesExhausted
        | ModelError::RouteExists { .. }
        | ModelError::RouteNotFound { .. }
        | ModelError::RouteManaged { .. }
        | ModelError::RouteShadowsLocal { .. }
        | ModelError::RouteRestricted { .. }
        | ModelError::RouteTargetUnsupported(..)
        | ModelError::MainRouteTable(..)
        | ModelError::SubnetAssociated { .. }
        | ModelError::GatewayAttached { .. }
        | ModelError::VpcHasGateway { .. }
        | ModelError::GatewayNotAttached { .. }
        | ModelError::VpcWithoutGateway { .. }
        | ModelError::PublicAddressesMapped { .. }
        | ModelError::AddressAssociated { .. }
        | ModelError::GroupNameTaken { .. }
        | ModelError::DefaultResource(..)
        | ModelError::RuleExists { .. }
        | ModelError::RuleNotFound { .. }
        | ModelError::PortRange { .. }
        | ModelError::InvalidProtocol(..)
        | ModelError::RuleNumber(..)
        | ModelError::AclEntryExists { .. }
        | ModelError::AclEntryNotFound { .. }
        | ModelError::PrefixListManaged(..)
        | ModelError::PrefixListName(..)
        | ModelError::PrefixListVersion { .. }
        | ModelError::PrefixListNoVersion { .. }
        | ModelError::PrefixListFull { .. }
        | ModelError::PrefixListEntryNotFound { .. }
        | ModelError::PrefixListMixedChange
        | ModelError::PrefixListSize(..)
        | ModelError::ServiceNotFound(..)
        | ModelError::EndpointType { .. }
        | ModelError::EndpointPart { .. }
        | ModelError::EndpointZoneTaken { .. }
        | ModelError::EndpointSubnet { .. }
        | ModelError::EndpointWithoutGroup { .. }
        | ModelError::NoPrivateName { .. }
        | ModelError::PrivateDnsAttributes { .. }
        | ModelError::PrivateNameTaken { .. }
        | ModelError::ResolverAddressesTooFew { .. }
        | ModelError::CreatorRequestTaken { .. }
        | ModelError::ResolverAddressNotFound { .. }
        | ModelError::InboundOnly { .. }
        | ModelError::InboundOnlyWithoutGateway { .. }
        | ModelError::EndpointAssociated { .. }
        | ModelError::EndpointZoneUnsupported { .. }
        | ModelError::EndpointPolicyUnsupported { .. }
        | ModelError::ServiceConnected(..)
        | ModelError::NoLoadBalancers
        | ModelError::PrivateDnsName(..)
        | ModelError::NoPrivateDnsName(..)
        | ModelError::Principal(..)
        | ModelError::NoConnectionEvents
        | ModelError::QuotaNotRaised { .. }
        | ModelError::TopicNotFound(..)
        | ModelError::TopicName(..)
        | ModelError::TopicDiffers(..)
        | ModelError::SubscriptionNotFound(..)
        | ModelError::BalancingName { .. }
        | ModelError::BalancingNameTaken { .. }
        | ModelError::NoZones
        | ModelError::ZoneTwice { .. }
        | ModelError::AddressNotForInternal { .. }
        | ModelError::PrivateAddressNotForInternet { .. }
        | ModelError::GroupsOfLoadBalancer { .. }
        | ModelError::DeletionProtected(..)
        | ModelError::ListenerExists { .. }
        | ModelError::ListenerProtocol { .. }
        | ModelError::Target { .. }
        | ModelError::OutOfRange { .. }
        | ModelError::Quota { .. }
        | ModelError::QuotaTooHigh { .. }
        | ModelError::QuotasTooHigh { .. }
        | ModelError::UpstreamValue { .. }
        | ModelError::UpstreamExists { .. }
        | ModelError::UpstreamNotFound { .. }
        | ModelError::UpstreamOfAws { .. }
        | ModelError::UpstreamNameTaken { .. }
        | ModelError::UpstreamInUse { .. }
        | ModelError::KeyPairExists(..)
        | ModelError::KeyPairNotFound(..)
        | ModelError::InstanceCount { .. }
        | ModelError::TerminationProtected(..)
        | ModelError::DeviceIndexTaken { .. }
        | ModelError::PrimaryInterface(..)
        | ModelError::InterfaceManaged { .. }
        | ModelError::ProfileWithoutRole { .. }
        | ModelError::DefaultVpcExists(..)
        | ModelError::NoDefaultVpc
        | ModelError::DefaultSubnetExists { .. }
        | ModelError::NoBlockForDefaultSubnet(..)
        | ModelError::Unchangeable { .. }
        | ModelError::TokenReused { .. }
        | ModelError::IdsExhausted => AwsError::new("ValidationError", format!("{error}.")),
    }
}
