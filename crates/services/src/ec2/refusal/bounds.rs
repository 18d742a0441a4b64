//! What AWS says of bounds that are reached: of quotas, and of what nobody can raise.

use postern_model::Quota;
use postern_wire::AwsError;

/// The code and sentence of a bound that nobody can move.
pub(super) fn limit(what: &str, limit: usize) -> AwsError {
    let (code, message) = match what {
        "private addresses of an interface" => (
            "PrivateIpAddressLimitExceeded",
            format!("Number of private addresses will exceed limit of {limit} for the interface."),
        ),
        "bytes of user data" => ("InvalidParameterValue", format!("User data is limited to {limit} bytes")),
        "gateway endpoints of a VPC" => (
            "VpcEndpointLimitExceeded",
            format!("Maximum number of VPC endpoints of type Gateway has been reached ({limit})."),
        ),
        other => ("ResourceLimitExceeded", format!("No more than {limit} {other} are allowed.")),
    };
    AwsError::new(code, message)
}

/// The code and sentence of a quota.
pub(super) fn quota(operation: &str, quota: Quota, limit: usize) -> AwsError {
    let reached = |what: &str| format!("The maximum number of {what} has been reached.");
    let (code, message) = match quota {
        Quota::Vpcs if operation == "CreateInternetGateway" => {
            ("InternetGatewayLimitExceeded", reached("internet gateways"))
        }
        Quota::Vpcs => ("VpcLimitExceeded", reached("VPCs")),
        Quota::Subnets => ("SubnetLimitExceeded", reached("subnets")),
        Quota::VpcBlocks => (
            "CidrLimitExceeded",
            format!("This network has met its maximum number of allowed CIDRs: {limit}"),
        ),
        Quota::ElasticAddresses => ("AddressLimitExceeded", reached("addresses")),
        Quota::NatGateways => (
            "NatGatewayLimitExceeded",
            format!("Performing this operation would exceed the limit of {limit} NAT gateways"),
        ),
        Quota::PeeringsPerVpc => (
            "ActiveVpcPeeringConnectionPerVpcLimitExceeded",
            reached("active VPC peering connections of the VPC"),
        ),
        Quota::PendingPeerings => {
            ("PendingVpcPeeringConnectionLimitExceeded", reached("pending VPC peering connections"))
        }
        Quota::CustomerGateways => ("CustomerGatewayLimitExceeded", reached("customer gateways")),
        Quota::VpnGateways => ("VpnGatewayLimitExceeded", reached("virtual private gateways")),
        Quota::VpnConnections => ("VpnConnectionLimitExceeded", reached("VPN connections")),
        Quota::TransitGateways => ("TransitGatewayLimitExceeded", reached("transit gateways")),
        Quota::TransitGatewayRouteTables => {
            ("TransitGatewayRouteTableLimitExceeded", reached("route tables of the transit gateway"))
        }
        Quota::TransitGatewayRoutes => ("RouteLimitExceeded", reached("routes of the transit gateway")),
        Quota::RouteTables => ("RouteTableLimitExceeded", reached("route tables")),
        Quota::Routes => ("RouteLimitExceeded", reached("routes")),
        // AWS documents no code of its own for these two.
        Quota::PrefixLists => ("ResourceLimitExceeded", reached("prefix lists")),
        Quota::KeyPairs => ("ResourceLimitExceeded", reached("key pairs")),
        Quota::NetworkAcls => ("NetworkAclLimitExceeded", reached("network acls")),
        Quota::NetworkAclRules => ("NetworkAclEntryLimitExceeded", reached("network acl entries")),
        Quota::SecurityGroups => ("SecurityGroupLimitExceeded", reached("security groups")),
        Quota::SecurityGroupRules => {
            ("RulesPerSecurityGroupLimitExceeded", reached("rules per security group"))
        }
        Quota::GroupsPerInterface => {
            ("SecurityGroupsPerInterfaceLimitExceeded", reached("security groups per interface"))
        }
        Quota::Interfaces => ("NetworkInterfaceLimitExceeded", reached("network interfaces")),
        Quota::InterfaceEndpoints => (
            "VpcEndpointLimitExceeded",
            format!("Maximum number of VPC endpoints of type Interface has been reached ({limit})."),
        ),
        Quota::GatewayEndpoints => (
            "VpcEndpointLimitExceeded",
            format!("Maximum number of VPC endpoints of type Gateway has been reached ({limit})."),
        ),
        Quota::EndpointServices => ("ResourceLimitExceeded", reached("VPC endpoint services")),
        // No operation of this API makes these.
        Quota::LoadBalancers
        | Quota::Listeners
        | Quota::TargetGroups
        | Quota::TargetsOfGroup
        | Quota::TargetsOfLoadBalancer
        | Quota::ResolverEndpoints
        | Quota::ResolverAddresses => ("ResourceLimitExceeded", reached(quota.name())),
        Quota::DhcpOptions => ("DhcpOptionsLimitExceeded", reached("DHCP option sets")),
    };
    AwsError::new(code, message)
}
