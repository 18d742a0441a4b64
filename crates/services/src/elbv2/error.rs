//! ELBv2's codes and sentences for what cannot be done.
//!
//! Codes from the errors of each operation in the ELBv2 API reference; sentences as AWS writes them, where it does.

use postern_model::elb::{Listener, LoadBalancer, TargetGroup};
use postern_model::{AccountId, ModelError, Quota, ResourceId, State};
use postern_wire::AwsError;

use super::arn;
use crate::commands::CommandError;

pub(super) fn validation(message: impl Into<String>) -> AwsError {
    AwsError::new("ValidationError", message)
}

pub(super) fn invalid_configuration(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidConfigurationRequest", message)
}

/// Something that AWS has and this endpoint has not.
pub(super) fn unsupported(what: &str) -> AwsError {
    invalid_configuration(format!("{what} is not supported by this endpoint yet."))
}

pub(super) fn internal(what: &str) -> AwsError {
    AwsError::new("InternalFailure", format!("An internal error has occurred: {what}")).with_status(500)
}

pub(super) fn load_balancer_not_found(arn: &str) -> AwsError {
    AwsError::new("LoadBalancerNotFound", format!("Load balancer '{arn}' not found"))
}

pub(super) fn listener_not_found() -> AwsError {
    AwsError::new("ListenerNotFound", "One or more listeners not found")
}

pub(super) fn target_group_not_found() -> AwsError {
    AwsError::new("TargetGroupNotFound", "One or more target groups not found")
}

/// A command that was not carried out.
pub(super) fn of_command(state: &State, account: AccountId, failure: CommandError) -> AwsError {
    match failure {
        CommandError::Refused(refusal) => of_model(state, account, &refusal),
        CommandError::Storage(why) => internal(&format!("the change could not be stored: {why}")),
    }
}

/// How a resource is named in sentences: by its ARN where it has one.
fn named(state: &State, account: AccountId, resource: ResourceId) -> String {
    let arn = match resource {
        ResourceId::LoadBalancer(id) => {
            state.get::<LoadBalancer>(account, id).map(|found| arn::load_balancer(state, &found)).ok()
        }
        ResourceId::Listener(id) => {
            state.get::<Listener>(account, id).map(|found| arn::listener(state, &found)).ok()
        }
        ResourceId::TargetGroup(id) => {
            state.get::<TargetGroup>(account, id).map(|found| arn::target_group(state, &found)).ok()
        }
        ResourceId::Vpc(_)
        | ResourceId::Subnet(_)
        | ResourceId::RouteTable(_)
        | ResourceId::InternetGateway(_)
        | ResourceId::NatGateway(_)
        | ResourceId::VpcPeeringConnection(_)
        | ResourceId::CustomerGateway(_)
        | ResourceId::VpnGateway(_)
        | ResourceId::VpnConnection(_)
        | ResourceId::TransitGateway(_)
        | ResourceId::TransitGatewayAttachment(_)
        | ResourceId::TransitGatewayRouteTable(_)
        | ResourceId::Address(_)
        | ResourceId::NetworkInterface(_)
        | ResourceId::SecurityGroup(_)
        | ResourceId::SecurityGroupRule(_)
        | ResourceId::NetworkAcl(_)
        | ResourceId::PrefixList(_)
        | ResourceId::VpcEndpoint(_)
        | ResourceId::EndpointService(_)
        | ResourceId::ConnectionNotification(_)
        | ResourceId::ResolverEndpoint(_)
        | ResourceId::Instance(_)
        | ResourceId::DhcpOptions(_)
        | ResourceId::KeyPair(_) => None,
    };
    arn.unwrap_or_else(|| resource.to_string())
}

fn not_found(state: &State, account: AccountId, resource: ResourceId) -> AwsError {
    match resource {
        ResourceId::Subnet(id) => {
            AwsError::new("SubnetNotFound", format!("The subnet ID '{id}' does not exist"))
        }
        ResourceId::SecurityGroup(id) => {
            AwsError::new("InvalidSecurityGroup", format!("The security group '{id}' does not exist"))
        }
        ResourceId::Address(id) => {
            AwsError::new("AllocationIdNotFound", format!("The allocation ID '{id}' does not exist"))
        }
        ResourceId::Vpc(id) => validation(format!("The VPC ID '{id}' is not found")),
        ResourceId::Instance(id) => AwsError::new(
            "InvalidTarget",
            format!("The following targets are not in a running state and cannot be registered: '{id}'"),
        ),
        ResourceId::LoadBalancer(_) => load_balancer_not_found(&named(state, account, resource)),
        ResourceId::Listener(_) => listener_not_found(),
        ResourceId::TargetGroup(_) => target_group_not_found(),
        ResourceId::RouteTable(_)
        | ResourceId::InternetGateway(_)
        | ResourceId::NatGateway(_)
        | ResourceId::VpcPeeringConnection(_)
        | ResourceId::CustomerGateway(_)
        | ResourceId::VpnGateway(_)
        | ResourceId::VpnConnection(_)
        | ResourceId::TransitGateway(_)
        | ResourceId::TransitGatewayAttachment(_)
        | ResourceId::TransitGatewayRouteTable(_)
        | ResourceId::NetworkInterface(_)
        | ResourceId::SecurityGroupRule(_)
        | ResourceId::NetworkAcl(_)
        | ResourceId::PrefixList(_)
        | ResourceId::VpcEndpoint(_)
        | ResourceId::EndpointService(_)
        | ResourceId::ConnectionNotification(_)
        | ResourceId::ResolverEndpoint(_)
        | ResourceId::DhcpOptions(_)
        | ResourceId::KeyPair(_) => validation(format!("'{resource}' does not exist")),
    }
}

fn in_use(state: &State, account: AccountId, resource: ResourceId) -> AwsError {
    let name = named(state, account, resource);
    match resource {
        ResourceId::TargetGroup(_) => AwsError::new(
            "ResourceInUse",
            format!("Target group '{name}' is currently in use by a listener or a rule"),
        ),
        _ => AwsError::new(
            "ResourceInUse",
            format!(
                "Load balancer '{name}' cannot be deleted because it is currently associated with another service"
            ),
        ),
    }
}

fn quota(quota: Quota, limit: usize) -> AwsError {
    let (code, what) = match quota {
        Quota::LoadBalancers => ("TooManyLoadBalancers", "load balancers"),
        Quota::Listeners => ("TooManyListeners", "listeners for this load balancer"),
        Quota::TargetGroups => ("TooManyTargetGroups", "target groups"),
        Quota::TargetsOfGroup => ("TooManyTargets", "targets of a target group"),
        Quota::TargetsOfLoadBalancer => ("TooManyTargets", "targets of a load balancer"),
        other => {
            return AwsError::new("OperationNotPermitted", format!("The quota {other} is reached: {limit}"));
        }
    };
    AwsError::new(code, format!("The maximum number of {what} has been reached: {limit}"))
}

/// A target that cannot be.
fn target(target: &str, why: &str) -> AwsError {
    let invalid = |message: String| AwsError::new("InvalidTarget", message);
    match why {
        "is not running" | "is not in a state in which it can be registered" => invalid(format!(
            "The following targets are not in a running state and cannot be registered: '{target}'"
        )),
        "is not in the VPC of the group" => {
            invalid(format!("The following targets are not in the target group VPC: '{target}'"))
        }
        "is not registered" => {
            invalid(format!("The following targets are not registered with the target group: '{target}'"))
        }
        "is not of the group's target type" => {
            validation(format!("The target '{target}' does not match the target type of the target group"))
        }
        "is outside the VPC" => unsupported(&format!("The target '{target}', an address outside the VPC,")),
        other => validation(format!("The target '{target}' {other}")),
    }
}

/// A number that is none of those it may be, by AWS's name of its parameter.
pub(super) fn out_of_range(what: &str, given: u64, least: u64, most: u64) -> AwsError {
    validation(format!("{what} '{given}' must be between {least} and {most} inclusive"))
}

fn of_model(state: &State, account: AccountId, refusal: &ModelError) -> AwsError {
    match refusal {
        ModelError::NotFound(resource) => not_found(state, account, *resource),
        ModelError::InUse { resource, .. } => in_use(state, account, *resource),
        ModelError::DeletionProtected(resource) => AwsError::new(
            "OperationNotPermitted",
            format!(
                "Load balancer '{}' cannot be deleted because deletion protection is enabled",
                named(state, account, *resource)
            ),
        ),
        ModelError::BalancingName { kind, name } => validation(format!(
            "The {kind} name '{name}' must be 1 to 32 alphanumeric characters or hyphens, must not begin or end with a \
             hyphen, and must not begin with \"internal-\""
        )),
        ModelError::BalancingNameTaken { kind: "target group", name } => AwsError::new(
            "DuplicateTargetGroupName",
            format!("A target group with the same name '{name}' exists, but with different settings"),
        ),
        ModelError::BalancingNameTaken { name, .. } => AwsError::new(
            "DuplicateLoadBalancerName",
            format!("A load balancer with the same name '{name}' exists, but with different settings"),
        ),
        ModelError::NoZones => validation("At least one subnet must be specified"),
        ModelError::ZoneTwice { .. } => invalid_configuration(
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        ),
        ModelError::AddressNotForInternal { .. } => invalid_configuration(
            "You cannot specify an allocation ID for a subnet of an internal load balancer",
        ),
        ModelError::PrivateAddressNotForInternet { .. } => invalid_configuration(
            "You cannot specify a private IPv4 address for a subnet of an internet-facing load balancer",
        ),
        ModelError::GroupsOfLoadBalancer { made_without: true, .. } => invalid_configuration(
            "You cannot set security groups on a load balancer that was created without security groups",
        ),
        ModelError::GroupsOfLoadBalancer { made_without: false, .. } => {
            invalid_configuration("You cannot remove all security groups of a load balancer")
        }
        ModelError::ListenerExists { port, .. } => AwsError::new(
            "DuplicateListener",
            format!("A listener already exists on this port for this load balancer: {port}"),
        ),
        ModelError::ListenerProtocol { listener, group_protocol, .. } => AwsError::new(
            "IncompatibleProtocols",
            format!(
                "The protocol {group_protocol} of the target group is not compatible with a {listener} listener"
            ),
        ),
        ModelError::Target { target: text, why, .. } => target(text, why),
        ModelError::OutOfRange { what, given, least, most } => out_of_range(what, *given, *least, *most),
        ModelError::Quota { quota: reached, limit } => quota(*reached, *limit),
        ModelError::VpcWithoutGateway { vpc } => {
            AwsError::new("InvalidSubnet", format!("VPC {vpc} has no internet gateway"))
        }
        ModelError::DifferentVpcs { a: ResourceId::SecurityGroup(id), .. } => AwsError::new(
            "InvalidSecurityGroup",
            format!("The security group '{id}' is not in the VPC of the load balancer"),
        ),
        ModelError::DifferentVpcs { a, b } => {
            let (a, b) = (named(state, account, *a), named(state, account, *b));
            invalid_configuration(format!("'{a}' and '{b}' are in different VPCs"))
        }
        ModelError::SubnetFull { subnet } => AwsError::new(
            "InvalidSubnet",
            format!("Not enough IP space available in {subnet}. A load balancer needs a free address."),
        ),
        ModelError::AddressOutsideSubnet { address, subnet }
        | ModelError::AddressReserved { address, subnet }
        | ModelError::AddressInUse { address, subnet } => invalid_configuration(format!(
            "The private IPv4 address '{address}' cannot be used in subnet '{subnet}'"
        )),
        ModelError::AddressAssociated { allocation, .. } => {
            AwsError::new("AllocationIdNotFound", format!("The allocation ID '{allocation}' is in use"))
        }
        ModelError::TooManyTags { limit } => {
            AwsError::new("TooManyTags", format!("The maximum number of tags for a resource is {limit}"))
        }
        // The other ones say nothing about load balancers, and say it well enough.
        other => validation(format!("{other}.")),
    }
}
