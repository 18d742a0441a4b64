//! Quotas, each with AWS's code and sentence.

use postern_model::{Action, Quota};
use serde_json::json;

use crate::requests;
use crate::support::at;
use crate::world::{built, with_ids};

/// What each request that makes something says when there may be none of it.
const REFUSALS: &[(Quota, &str, &str)] = &[
    (Quota::Vpcs, "CreateVpc", "VpcLimitExceeded: The maximum number of VPCs has been reached."),
    (Quota::Vpcs, "CreateDefaultVpc", "VpcLimitExceeded: The maximum number of VPCs has been reached."),
    (
        Quota::Vpcs,
        "CreateInternetGateway",
        "InternetGatewayLimitExceeded: The maximum number of internet gateways has been reached.",
    ),
    (Quota::Subnets, "CreateSubnet", "SubnetLimitExceeded: The maximum number of subnets has been reached."),
    (
        Quota::VpcBlocks,
        "AssociateVpcCidrBlock",
        "CidrLimitExceeded: This network has met its maximum number of allowed CIDRs: 0",
    ),
    (
        Quota::ElasticAddresses,
        "AllocateAddress",
        "AddressLimitExceeded: The maximum number of addresses has been reached.",
    ),
    (
        Quota::NatGateways,
        "CreateNatGateway",
        "NatGatewayLimitExceeded: Performing this operation would exceed the limit of 0 NAT gateways",
    ),
    (
        Quota::PendingPeerings,
        "CreateVpcPeeringConnection",
        "PendingVpcPeeringConnectionLimitExceeded: The maximum number of pending VPC peering connections has been \
         reached.",
    ),
    (
        Quota::PeeringsPerVpc,
        "AcceptVpcPeeringConnection",
        "ActiveVpcPeeringConnectionPerVpcLimitExceeded: The maximum number of active VPC peering connections of the \
         VPC has been reached.",
    ),
    (
        Quota::CustomerGateways,
        "CreateCustomerGateway",
        "CustomerGatewayLimitExceeded: The maximum number of customer gateways has been reached.",
    ),
    (
        Quota::VpnGateways,
        "CreateVpnGateway",
        "VpnGatewayLimitExceeded: The maximum number of virtual private gateways has been reached.",
    ),
    (
        Quota::VpnConnections,
        "CreateVpnConnection",
        "VpnConnectionLimitExceeded: The maximum number of VPN connections has been reached.",
    ),
    (
        Quota::TransitGateways,
        "CreateTransitGateway",
        "TransitGatewayLimitExceeded: The maximum number of transit gateways has been reached.",
    ),
    (
        Quota::TransitGatewayRouteTables,
        "CreateTransitGatewayRouteTable",
        "TransitGatewayRouteTableLimitExceeded: The maximum number of route tables of the transit gateway has been \
         reached.",
    ),
    (
        Quota::TransitGatewayRoutes,
        "CreateTransitGatewayRoute",
        "RouteLimitExceeded: The maximum number of routes of the transit gateway has been reached.",
    ),
    (
        Quota::RouteTables,
        "CreateRouteTable",
        "RouteTableLimitExceeded: The maximum number of route tables has been reached.",
    ),
    (Quota::Routes, "CreateRoute", "RouteLimitExceeded: The maximum number of routes has been reached."),
    (
        Quota::PrefixLists,
        "CreateManagedPrefixList",
        "ResourceLimitExceeded: The maximum number of prefix lists has been reached.",
    ),
    (
        Quota::NetworkAcls,
        "CreateNetworkAcl",
        "NetworkAclLimitExceeded: The maximum number of network acls has been reached.",
    ),
    (
        Quota::NetworkAclRules,
        "CreateNetworkAclEntry",
        "NetworkAclEntryLimitExceeded: The maximum number of network acl entries has been reached.",
    ),
    (
        Quota::SecurityGroups,
        "CreateSecurityGroup",
        "SecurityGroupLimitExceeded: The maximum number of security groups has been reached.",
    ),
    (
        Quota::SecurityGroupRules,
        "AuthorizeSecurityGroupIngress",
        "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached.",
    ),
    (
        Quota::GroupsPerInterface,
        "CreateNetworkInterface",
        "SecurityGroupsPerInterfaceLimitExceeded: The maximum number of security groups per interface has been reached.",
    ),
    (
        Quota::Interfaces,
        "CreateNetworkInterface",
        "NetworkInterfaceLimitExceeded: The maximum number of network interfaces has been reached.",
    ),
    (
        Quota::Interfaces,
        "RunInstances",
        "NetworkInterfaceLimitExceeded: The maximum number of network interfaces has been reached.",
    ),
    (
        Quota::GatewayEndpoints,
        "CreateVpcEndpoint",
        "VpcEndpointLimitExceeded: Maximum number of VPC endpoints of type Gateway has been reached (0).",
    ),
    (
        Quota::InterfaceEndpoints,
        "CreateVpcEndpoint",
        "VpcEndpointLimitExceeded: Maximum number of VPC endpoints of type Interface has been reached (0).",
    ),
    (
        Quota::EndpointServices,
        "CreateVpcEndpointServiceConfiguration",
        "ResourceLimitExceeded: The maximum number of VPC endpoint services has been reached.",
    ),
    (
        Quota::DhcpOptions,
        "CreateDhcpOptions",
        "DhcpOptionsLimitExceeded: The maximum number of DHCP option sets has been reached.",
    ),
    (
        Quota::KeyPairs,
        "ImportKeyPair",
        "ResourceLimitExceeded: The maximum number of key pairs has been reached.",
    ),
];

#[test]
fn each_has_its_code_and_sentence() {
    for (quota, operation, expected) in REFUSALS {
        let (api, ids) = built();
        api.report(Action::SetQuota { quota: *quota, limit: Some(0) });
        let (_, template) = requests::all().into_iter().find(|(known, _)| known == operation).unwrap();
        let mut request = with_ids(&template, ids);
        if *quota == Quota::GroupsPerInterface {
            // Without one it has the default group, whatever the quota is.
            request["Groups"] = json!([ids["sg"]]);
        }
        if *quota == Quota::InterfaceEndpoints {
            request["VpcEndpointType"] = json!("Interface");
        }
        let before = api.state();
        assert_eq!(api.refusal(operation, request), *expected, "{operation}");
        assert_eq!(api.state(), before, "{operation}");
    }
    // Load balancers have an API of their own, and so have resolvers' endpoints.
    let of_others = [
        Quota::LoadBalancers,
        Quota::Listeners,
        Quota::TargetGroups,
        Quota::TargetsOfGroup,
        Quota::TargetsOfLoadBalancer,
        Quota::ResolverEndpoints,
        Quota::ResolverAddresses,
    ];
    let known =
        |quota: &Quota| of_others.contains(quota) || REFUSALS.iter().any(|(known, ..)| known == quota);
    let missing = Quota::ALL.iter().find(|quota| !known(quota));
    assert_eq!(missing, None);
}

#[test]
fn account_attributes_tell_them() {
    let (api, _) = built();
    api.report(Action::SetQuota { quota: Quota::ElasticAddresses, limit: Some(9) });
    api.report(Action::SetQuota { quota: Quota::GroupsPerInterface, limit: None });
    let attributes = api.call("DescribeAccountAttributes", json!({}));
    let told = |name: &str| {
        let mut all = at(&attributes, "AccountAttributes").as_array().unwrap().iter();
        let found = all.find(|attribute| attribute["AttributeName"] == name).unwrap();
        at(found, "AttributeValues.0.AttributeValue").clone()
    };
    assert_eq!(told("vpc-max-elastic-ips"), "9");
    assert_eq!(told("vpc-max-security-groups-per-interface"), "5");
}
