//! AWS's codes and sentences for what cannot be done.
//!
//! Codes from "Error codes for the Amazon EC2 API"; sentences as AWS writes them. What the model refuses is in
//! [`super::refusal`].

use postern_model::{MalformedId, ResourceId};
use postern_wire::AwsError;

use super::refusal::refused;
use crate::commands::CommandError;

/// What a dry run of an allowed request ends with.
pub fn dry_run() -> AwsError {
    AwsError::new("DryRunOperation", "Request would have succeeded, but DryRun flag is set.").with_status(412)
}

/// What the policies did not allow.
pub fn unauthorized(why: &str) -> AwsError {
    let message = format!("You are not authorized to perform this operation. {why}");
    AwsError::new("UnauthorizedOperation", message).with_status(403)
}

/// An operation that is not served.
pub fn unknown_action(name: &str) -> AwsError {
    AwsError::new("InvalidAction", format!("The action {name} is not valid for this web service."))
}

/// What AWS has and this endpoint does not have yet.
pub fn not_served(what: &str) -> AwsError {
    AwsError::new("UnsupportedOperation", what)
}

/// A parameter that is not honoured.
pub fn unsupported(parameter: &str) -> AwsError {
    not_served(&format!("The parameter {parameter} is not supported by this endpoint yet"))
}

/// A parameter of which only some values are honoured.
pub fn unsupported_value(parameter: &str, value: &str, values: &[&str]) -> AwsError {
    let values = values.join(", ");
    not_served(&format!(
        "The value ({value}) of the parameter {parameter} is not supported by this endpoint yet. \
         Supported values: {values}"
    ))
}

/// A failure that is no fault of the request.
pub fn internal(what: &str) -> AwsError {
    AwsError::new("InternalError", format!("An internal error has occurred: {what}")).with_status(500)
}

/// A text that is not the id it should be.
pub fn malformed_id(malformed: &MalformedId) -> AwsError {
    let MalformedId { text, prefix } = malformed;
    let code = match *prefix {
        "vpc" => "InvalidVpcID.Malformed",
        "subnet" => "InvalidSubnetID.Malformed",
        "rtb" => "InvalidRouteTableId.Malformed",
        "igw" => "InvalidInternetGatewayId.Malformed",
        "nat" => "NatGatewayMalformed",
        "cgw" => "InvalidCustomerGatewayId.Malformed",
        "vgw" => "InvalidVpnGatewayID.Malformed",
        "vpn" => "InvalidVpnConnectionID.Malformed",
        "tgw" => "InvalidTransitGatewayID.Malformed",
        "tgw-attach" => "InvalidTransitGatewayAttachmentID.Malformed",
        "tgw-rtb" => "InvalidRouteTableId.Malformed",
        "pcx" => "InvalidVpcPeeringConnectionId.Malformed",
        "eipalloc" => "InvalidAllocationID.Malformed",
        "eni" => "InvalidNetworkInterfaceId.Malformed",
        "eni-attach" => "InvalidNetworkInterfaceAttachmentId.Malformed",
        "sg" => "InvalidGroupId.Malformed",
        "sgr" => "InvalidSecurityGroupRuleId.Malformed",
        "acl" => "InvalidNetworkAclId.Malformed",
        "pl" => "InvalidPrefixListId.Malformed",
        "vpce" => "InvalidVpcEndpointId.Malformed",
        "vpce-svc" => "InvalidVpcEndpointServiceId.Malformed",
        "i" => "InvalidInstanceID.Malformed",
        "dopt" => "InvalidDhcpOptionsId.Malformed",
        "key" => "InvalidKeyPairId.Malformed",
        "rtbassoc" | "eipassoc" | "aclassoc" | "vpc-cidr-assoc" | "iip-assoc" => {
            "InvalidAssociationID.Malformed"
        }
        // No prefix of ours: an id of any resource was wanted.
        _ => return AwsError::new("InvalidID", format!("The ID '{text}' is not valid")),
    };
    AwsError::new(code, format!("Invalid id: \"{text}\" (expecting \"{prefix}-...\")"))
}

/// What AWS calls a resource in its sentences.
pub fn noun(resource: ResourceId) -> &'static str {
    match resource {
        ResourceId::Vpc(_) => "vpc",
        ResourceId::Subnet(_) => "subnet",
        ResourceId::RouteTable(_) => "routeTable",
        ResourceId::InternetGateway(_) => "internetGateway",
        ResourceId::NatGateway(_) => "NAT gateway",
        ResourceId::VpcPeeringConnection(_) => "vpcPeeringConnection",
        ResourceId::CustomerGateway(_) => "customerGateway",
        ResourceId::VpnGateway(_) => "vpnGateway",
        ResourceId::VpnConnection(_) => "vpnConnection",
        ResourceId::TransitGateway(_) => "transitGateway",
        ResourceId::TransitGatewayAttachment(_) => "transitGatewayAttachment",
        ResourceId::TransitGatewayRouteTable(_) => "routeTable",
        ResourceId::Address(_) => "allocation",
        ResourceId::NetworkInterface(_) => "networkInterface",
        ResourceId::SecurityGroup(_) => "security group",
        ResourceId::SecurityGroupRule(_) => "security group rule",
        ResourceId::NetworkAcl(_) => "networkAcl",
        ResourceId::PrefixList(_) => "prefix list",
        ResourceId::VpcEndpoint(_) => "Vpc Endpoint",
        ResourceId::EndpointService(_) => "VpcEndpointService",
        ResourceId::ConnectionNotification(_) => "ConnectionNotification",
        ResourceId::LoadBalancer(_) => "load balancer",
        ResourceId::Listener(_) => "listener",
        ResourceId::TargetGroup(_) => "target group",
        ResourceId::ResolverEndpoint(_) => "resolver endpoint",
        ResourceId::Instance(_) => "instance",
        ResourceId::DhcpOptions(_) => "dhcpOption",
        ResourceId::KeyPair(_) => "key pair",
    }
}

/// Resources of one kind that are not the caller's. Never empty.
pub fn not_found(missing: &[ResourceId]) -> AwsError {
    let Some(first) = missing.first() else {
        return internal("something is missing and nobody knows what");
    };
    let list = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let noun = noun(*first);
    let plain = || match missing {
        [_] => format!("The {noun} ID '{list}' does not exist"),
        _ => format!("The {noun} IDs '{list}' do not exist"),
    };
    let (code, message) = match first {
        ResourceId::Vpc(_) => ("InvalidVpcID.NotFound", plain()),
        ResourceId::Subnet(_) => ("InvalidSubnetID.NotFound", plain()),
        ResourceId::RouteTable(_) => ("InvalidRouteTableID.NotFound", plain()),
        ResourceId::InternetGateway(_) => ("InvalidInternetGatewayID.NotFound", plain()),
        ResourceId::NatGateway(_) => ("NatGatewayNotFound", format!("NAT gateway {list} was not found")),
        ResourceId::VpcPeeringConnection(_) => ("InvalidVpcPeeringConnectionID.NotFound", plain()),
        ResourceId::CustomerGateway(_) => ("InvalidCustomerGatewayID.NotFound", plain()),
        ResourceId::VpnGateway(_) => ("InvalidVpnGatewayID.NotFound", plain()),
        ResourceId::VpnConnection(_) => ("InvalidVpnConnectionID.NotFound", plain()),
        ResourceId::TransitGateway(_) => ("InvalidTransitGatewayID.NotFound", plain()),
        ResourceId::TransitGatewayAttachment(_) => ("InvalidTransitGatewayAttachmentID.NotFound", plain()),
        ResourceId::TransitGatewayRouteTable(_) => ("InvalidRouteTableID.NotFound", plain()),
        ResourceId::Address(_) => ("InvalidAllocationID.NotFound", plain()),
        ResourceId::NetworkInterface(_) => ("InvalidNetworkInterfaceID.NotFound", plain()),
        ResourceId::SecurityGroup(_) => {
            ("InvalidGroup.NotFound", format!("The security group '{list}' does not exist"))
        }
        ResourceId::SecurityGroupRule(_) => ("InvalidSecurityGroupRuleId.NotFound", plain()),
        ResourceId::NetworkAcl(_) => ("InvalidNetworkAclID.NotFound", plain()),
        ResourceId::PrefixList(_) => ("InvalidPrefixListID.NotFound", plain()),
        ResourceId::VpcEndpoint(_) => {
            ("InvalidVpcEndpointId.NotFound", format!("The Vpc Endpoint Id '{list}' does not exist"))
        }
        ResourceId::EndpointService(_) => (
            "InvalidVpcEndpointServiceId.NotFound",
            format!("The VpcEndpointService Id '{list}' does not exist"),
        ),
        ResourceId::ConnectionNotification(_) => (
            "InvalidConnectionNotification",
            format!("The ConnectionNotification Id '{list}' does not exist"),
        ),
        ResourceId::LoadBalancer(_) => {
            ("InvalidNetworkLoadBalancerArn.NotFound", format!("The load balancer '{list}' does not exist"))
        }
        ResourceId::Listener(_) | ResourceId::TargetGroup(_) | ResourceId::ResolverEndpoint(_) => {
            ("InvalidID", plain())
        }
        ResourceId::Instance(_) => ("InvalidInstanceID.NotFound", plain()),
        ResourceId::DhcpOptions(_) => ("InvalidDhcpOptionID.NotFound", plain()),
        ResourceId::KeyPair(_) => ("InvalidKeyPair.NotFound", plain()),
    };
    AwsError::new(code, message)
}

/// A key pair that is not there.
pub fn key_pair_not_found(name: &str) -> AwsError {
    AwsError::new("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist"))
}

/// An association that is not there.
pub fn association_not_found(id: &str) -> AwsError {
    AwsError::new("InvalidAssociationID.NotFound", format!("The association ID '{id}' does not exist"))
}

/// An attachment that is not there.
pub fn attachment_not_found(id: &str) -> AwsError {
    let message = format!("The networkInterface attachment ID '{id}' does not exist");
    AwsError::new("InvalidAttachmentID.NotFound", message)
}

/// A command that was not carried out.
pub fn failed(operation: &str, failure: CommandError) -> AwsError {
    match failure {
        CommandError::Refused(refusal) => refused(operation, refusal),
        CommandError::Storage(why) => internal(&format!("the change could not be stored: {why}")),
    }
}

/// A gateway endpoint's route that is there already.
pub fn route_to_list_exists(
    table: postern_model::RouteTableId,
    list: postern_model::PrefixListId,
) -> AwsError {
    AwsError::new(
        "RouteAlreadyExists",
        format!("route table {table} already has a route with destination-prefix-list-id {list}"),
    )
}

/// A service that nobody can have endpoints to.
pub fn service_not_found(name: &str) -> AwsError {
    AwsError::new("InvalidServiceName", format!("The Vpc Endpoint Service '{name}' does not exist"))
}
