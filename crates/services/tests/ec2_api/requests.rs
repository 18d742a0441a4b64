//! For every operation a request that succeeds in [`crate::world`].

use postern_services::ec2::IMAGE_ID;
use serde_json::{Value, json};

use crate::support::{Api, text};
use crate::world::{PUBLIC_KEY, base64, instance_type, other_instance_type};

/// The operations and their requests.
pub fn all() -> Vec<(&'static str, Value)> {
    let mut all = network();
    all.extend(interfaces());
    all.extend(security());
    all.extend(endpoints());
    all.extend(instances());
    all.extend(peerings());
    all.extend(vpns());
    all.extend(transits());
    all.extend(others());
    all
}

/// Makes what an operation needs and what stands in the way of another's request.
pub fn prepare(api: &Api, operation: &str) {
    if operation == "CreateDefaultSubnet" {
        api.call("CreateDefaultVpc", json!({}));
        let of_zone = json!([{ "Name": "default-for-az", "Values": ["true"] },
            { "Name": "availability-zone", "Values": ["us-east-1b"] }]);
        let subnets = api.call("DescribeSubnets", json!({ "Filters": of_zone }));
        api.call("DeleteSubnet", json!({ "SubnetId": text(&subnets, "Subnets.0.SubnetId") }));
    }
}

fn transits() -> Vec<(&'static str, Value)> {
    let of = |table: &str, attachment: &str| json!({ "TransitGatewayRouteTableId": table, "TransitGatewayAttachmentId": attachment });
    let route =
        |block: &str| json!({ "TransitGatewayRouteTableId": "$tgw-rtb", "DestinationCidrBlock": block });
    let mut new_route = route("10.70.0.0/16");
    new_route["TransitGatewayAttachmentId"] = json!("$tgw-attach");
    let mut blackhole = route("10.50.0.0/16");
    blackhole["Blackhole"] = json!(true);
    vec![
        (
            "CreateTransitGateway",
            json!({ "Description": "new", "Options": { "AmazonSideAsn": 64_600, "VpnEcmpSupport": "disable" } }),
        ),
        (
            "ModifyTransitGateway",
            json!({ "TransitGatewayId": "$tgw", "Options": { "AssociationDefaultRouteTableId": "$tgw-rtb" } }),
        ),
        ("DeleteTransitGateway", json!({ "TransitGatewayId": "$spare-tgw" })),
        ("DescribeTransitGateways", json!({ "TransitGatewayIds": ["$tgw"] })),
        (
            "CreateTransitGatewayVpcAttachment",
            json!({ "TransitGatewayId": "$spare-tgw", "VpcId": "$peer-one", "SubnetIds": ["$peer-one-subnet"] }),
        ),
        (
            "ModifyTransitGatewayVpcAttachment",
            json!({ "TransitGatewayAttachmentId": "$tgw-attach", "AddSubnetIds": ["$peer-one-other"] }),
        ),
        ("DeleteTransitGatewayVpcAttachment", json!({ "TransitGatewayAttachmentId": "$tgw-attach" })),
        ("DescribeTransitGatewayVpcAttachments", json!({ "TransitGatewayAttachmentIds": ["$tgw-attach"] })),
        ("DescribeTransitGatewayAttachments", json!({ "TransitGatewayAttachmentIds": ["$tgw-attach"] })),
        ("CreateTransitGatewayRouteTable", json!({ "TransitGatewayId": "$tgw" })),
        ("DeleteTransitGatewayRouteTable", json!({ "TransitGatewayRouteTableId": "$tgw-rtb" })),
        ("DescribeTransitGatewayRouteTables", json!({ "TransitGatewayRouteTableIds": ["$tgw-rtb"] })),
        ("AssociateTransitGatewayRouteTable", of("$tgw-rtb", "$loose-attach")),
        ("DisassociateTransitGatewayRouteTable", of("$tgw-main", "$tgw-attach")),
        ("EnableTransitGatewayRouteTablePropagation", of("$tgw-rtb", "$loose-attach")),
        ("DisableTransitGatewayRouteTablePropagation", of("$tgw-main", "$tgw-attach")),
        ("GetTransitGatewayRouteTableAssociations", json!({ "TransitGatewayRouteTableId": "$tgw-main" })),
        ("GetTransitGatewayRouteTablePropagations", json!({ "TransitGatewayRouteTableId": "$tgw-main" })),
        ("GetTransitGatewayAttachmentPropagations", json!({ "TransitGatewayAttachmentId": "$tgw-attach" })),
        ("CreateTransitGatewayRoute", new_route),
        ("ReplaceTransitGatewayRoute", blackhole),
        ("DeleteTransitGatewayRoute", route("10.50.0.0/16")),
        (
            "SearchTransitGatewayRoutes",
            json!({ "TransitGatewayRouteTableId": "$tgw-rtb",
                "Filters": [{ "Name": "type", "Values": ["static", "propagated"] }] }),
        ),
    ]
}

fn vpns() -> Vec<(&'static str, Value)> {
    let propagation = json!({ "RouteTableId": "$peer-rtb", "GatewayId": "$vgw" });
    vec![
        (
            "CreateCustomerGateway",
            json!({ "Type": "ipsec.1", "BgpAsn": 65_001, "IpAddress": "203.0.113.9", "DeviceName": "edge" }),
        ),
        ("DeleteCustomerGateway", json!({ "CustomerGatewayId": "$spare-cgw" })),
        ("DescribeCustomerGateways", json!({ "CustomerGatewayIds": ["$cgw"] })),
        ("CreateVpnGateway", json!({ "Type": "ipsec.1", "AmazonSideAsn": 65_100 })),
        ("DeleteVpnGateway", json!({ "VpnGatewayId": "$spare-vgw" })),
        ("DescribeVpnGateways", json!({ "VpnGatewayIds": ["$vgw"] })),
        ("AttachVpnGateway", json!({ "VpcId": "$peer-two", "VpnGatewayId": "$spare-vgw" })),
        ("DetachVpnGateway", json!({ "VpcId": "$peer-one", "VpnGatewayId": "$vgw" })),
        (
            "CreateVpnConnection",
            json!({ "Type": "ipsec.1", "CustomerGatewayId": "$spare-cgw", "VpnGatewayId": "$spare-vgw",
                "Options": { "StaticRoutesOnly": true } }),
        ),
        ("DeleteVpnConnection", json!({ "VpnConnectionId": "$vpn" })),
        ("DescribeVpnConnections", json!({ "VpnConnectionIds": ["$vpn"] })),
        (
            "CreateVpnConnectionRoute",
            json!({ "VpnConnectionId": "$vpn", "DestinationCidrBlock": "172.16.0.0/12" }),
        ),
        (
            "DeleteVpnConnectionRoute",
            json!({ "VpnConnectionId": "$vpn", "DestinationCidrBlock": "192.168.0.0/16" }),
        ),
        ("EnableVgwRoutePropagation", propagation.clone()),
        ("DisableVgwRoutePropagation", propagation),
    ]
}

fn peerings() -> Vec<(&'static str, Value)> {
    vec![
        (
            "CreateVpcPeeringConnection",
            json!({ "VpcId": "$peer-two", "PeerVpcId": "$peer-three", "PeerRegion": "us-east-1" }),
        ),
        ("AcceptVpcPeeringConnection", json!({ "VpcPeeringConnectionId": "$waiting-pcx" })),
        ("RejectVpcPeeringConnection", json!({ "VpcPeeringConnectionId": "$waiting-pcx" })),
        ("DeleteVpcPeeringConnection", json!({ "VpcPeeringConnectionId": "$pcx" })),
        ("DescribeVpcPeeringConnections", json!({ "VpcPeeringConnectionIds": ["$pcx"] })),
        (
            "ModifyVpcPeeringConnectionOptions",
            json!({ "VpcPeeringConnectionId": "$pcx",
                "RequesterPeeringConnectionOptions": { "AllowDnsResolutionFromRemoteVpc": true } }),
        ),
    ]
}

fn network() -> Vec<(&'static str, Value)> {
    vec![
        ("CreateVpc", json!({ "CidrBlock": "10.9.0.0/16" })),
        ("CreateDefaultVpc", json!({})),
        ("DeleteVpc", json!({ "VpcId": "$spare-vpc" })),
        ("DescribeVpcs", json!({ "VpcIds": ["$vpc"] })),
        ("DescribeVpcAttribute", json!({ "VpcId": "$vpc", "Attribute": "enableDnsSupport" })),
        ("ModifyVpcAttribute", json!({ "VpcId": "$vpc", "EnableDnsSupport": { "Value": false } })),
        ("AssociateVpcCidrBlock", json!({ "VpcId": "$vpc", "CidrBlock": "10.7.0.0/16" })),
        ("DisassociateVpcCidrBlock", json!({ "AssociationId": "$block" })),
        ("CreateSubnet", json!({ "VpcId": "$vpc", "CidrBlock": "10.0.9.0/24" })),
        ("CreateDefaultSubnet", json!({ "AvailabilityZone": "us-east-1b" })),
        ("DeleteSubnet", json!({ "SubnetId": "$spare-subnet" })),
        ("DescribeSubnets", json!({ "SubnetIds": ["$subnet"] })),
        (
            "ModifySubnetAttribute",
            json!({ "SubnetId": "$private", "MapPublicIpOnLaunch": { "Value": true } }),
        ),
        ("CreateRouteTable", json!({ "VpcId": "$vpc" })),
        ("DeleteRouteTable", json!({ "RouteTableId": "$spare-rtb" })),
        ("DescribeRouteTables", json!({ "RouteTableIds": ["$rtb"] })),
        (
            "CreateRoute",
            json!({ "RouteTableId": "$spare-rtb", "DestinationCidrBlock": "192.0.2.0/24", "GatewayId": "$igw" }),
        ),
        (
            "ReplaceRoute",
            json!({ "RouteTableId": "$private-rtb", "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "$igw" }),
        ),
        ("DeleteRoute", json!({ "RouteTableId": "$rtb", "DestinationCidrBlock": "0.0.0.0/0" })),
        ("AssociateRouteTable", json!({ "RouteTableId": "$rtb", "SubnetId": "$spare-subnet" })),
        ("DisassociateRouteTable", json!({ "AssociationId": "$rtbassoc" })),
        (
            "ReplaceRouteTableAssociation",
            json!({ "AssociationId": "$rtbassoc", "RouteTableId": "$spare-rtb" }),
        ),
        ("CreateInternetGateway", json!({})),
        ("DeleteInternetGateway", json!({ "InternetGatewayId": "$spare-igw" })),
        ("DescribeInternetGateways", json!({ "InternetGatewayIds": ["$igw"] })),
        ("AttachInternetGateway", json!({ "InternetGatewayId": "$spare-igw", "VpcId": "$spare-vpc" })),
        ("DetachInternetGateway", json!({ "InternetGatewayId": "$lone-igw", "VpcId": "$gateway-vpc" })),
        ("CreateNatGateway", json!({ "SubnetId": "$subnet", "AllocationId": "$spare-eip" })),
        ("DeleteNatGateway", json!({ "NatGatewayId": "$nat" })),
        ("DescribeNatGateways", json!({ "NatGatewayIds": ["$nat"] })),
        ("AllocateAddress", json!({})),
        ("ReleaseAddress", json!({ "AllocationId": "$spare-eip" })),
        ("AssociateAddress", json!({ "AllocationId": "$spare-eip", "NetworkInterfaceId": "$spare-eni" })),
        ("DisassociateAddress", json!({ "AssociationId": "$eipassoc" })),
        ("DescribeAddresses", json!({ "AllocationIds": ["$eip"] })),
        ("DescribeAddressesAttribute", json!({ "AllocationIds": ["$eip"] })),
        ("DescribeDhcpOptions", json!({ "DhcpOptionsIds": ["$dopt"] })),
        (
            "CreateDhcpOptions",
            json!({ "DhcpConfigurations": [{ "Key": "domain-name-servers", "Values": ["10.0.0.2"] }] }),
        ),
        ("AssociateDhcpOptions", json!({ "DhcpOptionsId": "$dopt", "VpcId": "$vpc" })),
        ("DeleteDhcpOptions", json!({ "DhcpOptionsId": "$dopt" })),
    ]
}

fn interfaces() -> Vec<(&'static str, Value)> {
    vec![
        ("CreateNetworkInterface", json!({ "SubnetId": "$subnet" })),
        ("DeleteNetworkInterface", json!({ "NetworkInterfaceId": "$spare-eni" })),
        ("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": ["$eni"] })),
        (
            "AttachNetworkInterface",
            json!({ "NetworkInterfaceId": "$spare-eni", "InstanceId": "$i", "DeviceIndex": 2 }),
        ),
        ("DetachNetworkInterface", json!({ "AttachmentId": "$attachment" })),
        (
            "ModifyNetworkInterfaceAttribute",
            json!({ "NetworkInterfaceId": "$eni", "SourceDestCheck": { "Value": false } }),
        ),
        (
            "DescribeNetworkInterfaceAttribute",
            json!({ "NetworkInterfaceId": "$eni", "Attribute": "description" }),
        ),
        (
            "AssignPrivateIpAddresses",
            json!({ "NetworkInterfaceId": "$eni", "PrivateIpAddresses": ["10.0.0.99"] }),
        ),
        (
            "UnassignPrivateIpAddresses",
            json!({ "NetworkInterfaceId": "$eni", "PrivateIpAddresses": ["$eni-second"] }),
        ),
    ]
}

fn security() -> Vec<(&'static str, Value)> {
    let ssh = json!([{ "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{ "CidrIp": "10.0.0.0/8" }] }]);
    let https = json!([{ "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }]);
    let lists = json!([
        { "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{ "PrefixListId": "$pl" }] }]);
    let entry = json!({ "NetworkAclId": "$acl", "RuleNumber": 200, "Protocol": "6", "RuleAction": "deny",
        "Egress": true, "CidrBlock": "0.0.0.0/0", "PortRange": { "From": 25, "To": 25 } });
    let mut replaced = entry.clone();
    (replaced["RuleNumber"], replaced["Egress"]) = (json!(100), json!(false));
    vec![
        ("CreateSecurityGroup", json!({ "VpcId": "$vpc", "GroupName": "new", "Description": "new" })),
        ("DeleteSecurityGroup", json!({ "GroupId": "$spare-sg" })),
        ("DescribeSecurityGroups", json!({ "GroupIds": ["$sg"] })),
        ("AuthorizeSecurityGroupIngress", json!({ "GroupId": "$sg", "IpPermissions": https })),
        ("AuthorizeSecurityGroupEgress", json!({ "GroupId": "$sg", "IpPermissions": https })),
        ("RevokeSecurityGroupIngress", json!({ "GroupId": "$sg", "IpPermissions": ssh })),
        ("RevokeSecurityGroupEgress", json!({ "GroupId": "$sg", "IpPermissions": lists })),
        ("DescribeSecurityGroupRules", json!({ "SecurityGroupRuleIds": ["$sgr"] })),
        (
            "ModifySecurityGroupRules",
            json!({ "GroupId": "$sg", "SecurityGroupRules": [{ "SecurityGroupRuleId": "$sgr",
                "SecurityGroupRule": { "IpProtocol": "tcp", "FromPort": 2222, "ToPort": 2222, "CidrIpv4": "10.0.0.0/8" } }] }),
        ),
        ("CreateNetworkAcl", json!({ "VpcId": "$vpc" })),
        ("DeleteNetworkAcl", json!({ "NetworkAclId": "$spare-acl" })),
        ("DescribeNetworkAcls", json!({ "NetworkAclIds": ["$acl"] })),
        ("CreateNetworkAclEntry", entry),
        ("ReplaceNetworkAclEntry", replaced),
        ("DeleteNetworkAclEntry", json!({ "NetworkAclId": "$acl", "RuleNumber": 100, "Egress": false })),
        (
            "ReplaceNetworkAclAssociation",
            json!({ "AssociationId": "$aclassoc", "NetworkAclId": "$spare-acl" }),
        ),
        (
            "CreateManagedPrefixList",
            json!({ "PrefixListName": "new", "AddressFamily": "IPv4", "MaxEntries": 3 }),
        ),
        ("ModifyManagedPrefixList", json!({ "PrefixListId": "$pl", "PrefixListName": "renamed" })),
        ("DeleteManagedPrefixList", json!({ "PrefixListId": "$spare-pl" })),
        ("DescribeManagedPrefixLists", json!({ "PrefixListIds": ["$pl"] })),
        ("GetManagedPrefixListEntries", json!({ "PrefixListId": "$pl" })),
        ("GetManagedPrefixListAssociations", json!({ "PrefixListId": "$pl" })),
        (
            "RestoreManagedPrefixListVersion",
            json!({ "PrefixListId": "$pl", "PreviousVersion": 1, "CurrentVersion": 2 }),
        ),
        ("DescribePrefixLists", json!({ "PrefixListIds": ["pl-63a5400a"] })),
    ]
}

fn endpoints() -> Vec<(&'static str, Value)> {
    vec![
        ("CreateVpcEndpoint", json!({ "VpcId": "$vpc", "ServiceName": "com.amazonaws.us-east-1.dynamodb" })),
        ("ModifyVpcEndpoint", json!({ "VpcEndpointId": "$vpce", "AddRouteTableIds": ["$rtb"] })),
        ("DescribeVpcEndpoints", json!({ "VpcEndpointIds": ["$vpce"] })),
        ("DeleteVpcEndpoints", json!({ "VpcEndpointIds": ["$vpce"] })),
        ("DescribeVpcEndpointServices", json!({ "ServiceNames": ["com.amazonaws.us-east-1.s3"] })),
        ("CreateVpcEndpointServiceConfiguration", json!({ "NetworkLoadBalancerArns": ["$nlb"] })),
        (
            "ModifyVpcEndpointServiceConfiguration",
            json!({ "ServiceId": "$service", "AddNetworkLoadBalancerArns": ["$spare-nlb"] }),
        ),
        ("DescribeVpcEndpointServiceConfigurations", json!({ "ServiceIds": ["$service"] })),
        ("DeleteVpcEndpointServiceConfigurations", json!({ "ServiceIds": ["$spare-service"] })),
        (
            "ModifyVpcEndpointServicePermissions",
            json!({ "ServiceId": "$service", "AddAllowedPrincipals": ["*"] }),
        ),
        ("DescribeVpcEndpointServicePermissions", json!({ "ServiceId": "$service" })),
        (
            "ModifyVpcEndpointServicePayerResponsibility",
            json!({ "ServiceId": "$service", "PayerResponsibility": "ServiceOwner" }),
        ),
        ("DescribeVpcEndpointConnections", json!({})),
        (
            "AcceptVpcEndpointConnections",
            json!({ "ServiceId": "$service", "VpcEndpointIds": ["$connection"] }),
        ),
        (
            "RejectVpcEndpointConnections",
            json!({ "ServiceId": "$service", "VpcEndpointIds": ["$connection"] }),
        ),
        (
            "CreateVpcEndpointConnectionNotification",
            json!({ "ServiceId": "$service", "ConnectionNotificationArn": "$topic", "ConnectionEvents": ["Connect"] }),
        ),
        (
            "ModifyVpcEndpointConnectionNotification",
            json!({ "ConnectionNotificationId": "$nfn", "ConnectionNotificationArn": "$topic" }),
        ),
        ("DescribeVpcEndpointConnectionNotifications", json!({ "ConnectionNotificationId": "$nfn" })),
        ("DeleteVpcEndpointConnectionNotifications", json!({ "ConnectionNotificationIds": ["$nfn"] })),
        ("StartVpcEndpointServicePrivateDnsVerification", json!({ "ServiceId": "$service" })),
    ]
}

fn instances() -> Vec<(&'static str, Value)> {
    vec![
        (
            "RunInstances",
            json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1,
                "SubnetId": "$subnet", "SecurityGroupIds": ["$sg"] }),
        ),
        ("DescribeInstances", json!({ "InstanceIds": ["$i"] })),
        ("StopInstances", json!({ "InstanceIds": ["$i"] })),
        ("StartInstances", json!({ "InstanceIds": ["$stopped"] })),
        ("RebootInstances", json!({ "InstanceIds": ["$i"] })),
        ("TerminateInstances", json!({ "InstanceIds": ["$i"] })),
        ("DescribeInstanceStatus", json!({ "InstanceIds": ["$i", "$stopped"] })),
        ("DescribeInstanceAttribute", json!({ "InstanceId": "$i", "Attribute": "instanceType" })),
        (
            "ModifyInstanceAttribute",
            json!({ "InstanceId": "$stopped", "InstanceType": { "Value": other_instance_type() } }),
        ),
        ("DescribeInstanceTypes", json!({ "InstanceTypes": [instance_type()] })),
        ("DescribeImages", json!({ "ImageIds": [IMAGE_ID] })),
        ("GetConsoleOutput", json!({ "InstanceId": "$i" })),
        (
            "AssociateIamInstanceProfile",
            json!({ "InstanceId": "$stopped", "IamInstanceProfile": { "Name": "writers" } }),
        ),
        (
            "ReplaceIamInstanceProfileAssociation",
            json!({ "AssociationId": "$iip", "IamInstanceProfile": { "Name": "writers" } }),
        ),
        ("DisassociateIamInstanceProfile", json!({ "AssociationId": "$iip" })),
        ("DescribeIamInstanceProfileAssociations", json!({ "AssociationIds": ["$iip"] })),
        ("ModifyInstanceMetadataOptions", json!({ "InstanceId": "$i", "HttpPutResponseHopLimit": 2 })),
        ("CreateKeyPair", json!({ "KeyName": "new", "KeyType": "ed25519" })),
        ("ImportKeyPair", json!({ "KeyName": "new", "PublicKeyMaterial": base64(PUBLIC_KEY) })),
        ("DeleteKeyPair", json!({ "KeyPairId": "$key" })),
        ("DescribeKeyPairs", json!({ "KeyPairIds": ["$key"] })),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    vec![
        ("CreateTags", json!({ "Resources": ["$vpc", "$i"], "Tags": [{ "Key": "team", "Value": "blue" }] })),
        ("DeleteTags", json!({ "Resources": ["$vpc"], "Tags": [{ "Key": "Name" }] })),
        ("DescribeTags", json!({})),
        ("DescribeRegions", json!({})),
        ("DescribeAvailabilityZones", json!({})),
        ("DescribeAccountAttributes", json!({})),
    ]
}
