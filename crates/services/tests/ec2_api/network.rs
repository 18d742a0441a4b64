//! VPCs, subnets, routes, gateways, addresses and interfaces, as AWS shows and refuses them.

use postern_model::Action;
use serde_json::json;

use crate::support::{Api, at, text, texts};
use crate::world::built;

fn vpc(api: &Api, cidr: &str) -> String {
    text(&api.call("CreateVpc", json!({ "CidrBlock": cidr })), "Vpc.VpcId")
}

#[test]
fn a_new_vpc_has_what_comes_with_it() {
    let api = Api::empty();
    let made = api.call("CreateVpc", json!({ "CidrBlock": "10.0.0.9/16" }));
    assert_eq!(at(&made, "Vpc.State"), "pending");
    // The block in its canonical form.
    assert_eq!(at(&made, "Vpc.CidrBlock"), "10.0.0.0/16");
    let id = text(&made, "Vpc.VpcId");
    let vpcs = api.call("DescribeVpcs", json!({}));
    assert_eq!(at(&vpcs, "Vpcs.0.State"), "available");
    assert_eq!(at(&vpcs, "Vpcs.0.IsDefault"), false);
    assert_eq!(at(&vpcs, "Vpcs.0.CidrBlockAssociationSet.0.CidrBlockState.State"), "associated");
    // The reads of Terraform's aws_vpc.
    let by = |operation: &str, filters: serde_json::Value| api.call(operation, json!({ "Filters": filters }));
    let of_vpc = json!({ "Name": "vpc-id", "Values": [id] });
    let tables =
        by("DescribeRouteTables", json!([of_vpc, { "Name": "association.main", "Values": ["true"] }]));
    assert_eq!(
        at(&tables, "RouteTables.0.Routes"),
        &json!([{ "DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "Origin": "CreateRouteTable", "State": "active" }])
    );
    assert_eq!(at(&tables, "RouteTables.0.Associations.0.Main"), true);
    assert_eq!(at(&tables, "RouteTables.0.Associations.0.AssociationState.State"), "associated");
    let acls = by("DescribeNetworkAcls", json!([of_vpc, { "Name": "default", "Values": ["true"] }]));
    let numbers: Vec<_> = at(&acls, "NetworkAcls.0.Entries")
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["RuleNumber"].clone())
        .collect();
    assert_eq!(numbers, [json!(100), json!(32767), json!(100), json!(32767)]);
    let groups =
        by("DescribeSecurityGroups", json!([of_vpc, { "Name": "group-name", "Values": ["default"] }]));
    assert_eq!(at(&groups, "SecurityGroups.0.Description"), "default VPC security group");
    for (attribute, member, value) in [
        ("enableDnsSupport", "EnableDnsSupport", true),
        ("enableDnsHostnames", "EnableDnsHostnames", false),
        ("enableNetworkAddressUsageMetrics", "EnableNetworkAddressUsageMetrics", false),
    ] {
        let answer = api.call("DescribeVpcAttribute", json!({ "VpcId": id, "Attribute": attribute }));
        assert_eq!(answer, json!({ "VpcId": id, member: { "Value": value } }));
    }
    let options = api.call("DescribeDhcpOptions", json!({}));
    assert_eq!(
        texts(&options, "DhcpOptions.0.DhcpConfigurations", "Key"),
        ["domain-name", "domain-name-servers"]
    );
}

#[test]
fn blocks_are_refused_in_awss_words() {
    let (api, ids) = built();
    let vpc = |cidr: &str| api.refusal("CreateVpc", json!({ "CidrBlock": cidr }));
    assert_eq!(vpc("10.0.0.0/15"), "InvalidVpc.Range: The CIDR '10.0.0.0/15' is invalid.");
    assert_eq!(vpc("10.0.0.0/29"), "InvalidVpc.Range: The CIDR '10.0.0.0/29' is invalid.");
    assert!(vpc("127.0.0.0/16").starts_with("InvalidVpc.Range: The CIDR '127.0.0.0/16' is restricted."));
    assert_eq!(
        vpc("dog"),
        "InvalidParameterValue: Value (dog) for parameter cidrBlock is invalid. This is not a valid CIDR block."
    );
    assert_eq!(
        api.refusal("CreateVpc", json!({})),
        "MissingParameter: The request must contain the parameter cidrBlock"
    );
    let subnet = |cidr: &str| api.refusal("CreateSubnet", json!({ "VpcId": ids["vpc"], "CidrBlock": cidr }));
    assert_eq!(subnet("10.9.0.0/24"), "InvalidSubnet.Range: The CIDR '10.9.0.0/24' is invalid.");
    assert_eq!(
        subnet("10.0.0.0/25"),
        "InvalidSubnet.Conflict: The CIDR '10.0.0.0/25' conflicts with another subnet"
    );
    let block =
        |cidr: &str| api.refusal("AssociateVpcCidrBlock", json!({ "VpcId": ids["vpc"], "CidrBlock": cidr }));
    assert!(block("10.0.0.0/17").starts_with("InvalidVpc.Range: "));
    assert!(block("172.16.0.0/16").starts_with("InvalidVpc.Range: The CIDR '172.16.0.0/16' is restricted."));
    assert!(
        api.refusal(
            "CreateSubnet",
            json!({ "VpcId": ids["vpc"], "CidrBlock": "10.0.77.0/24", "AvailabilityZone": "eu-west-1a" })
        )
        .starts_with("InvalidParameterValue: Value (eu-west-1a) for parameter availabilityZone is invalid.")
    );
}

#[test]
fn ids_that_are_none_and_ids_of_nothing() {
    let api = Api::empty();
    assert_eq!(
        api.refusal("DeleteVpc", json!({ "VpcId": "vpc-xyz" })),
        "InvalidVpcID.Malformed: Invalid id: \"vpc-xyz\" (expecting \"vpc-...\")"
    );
    assert_eq!(
        api.refusal("DescribeManagedPrefixLists", json!({ "PrefixListIds": ["pl-xyz"] })),
        "InvalidPrefixListId.Malformed: Invalid id: \"pl-xyz\" (expecting \"pl-...\")"
    );
    for (operation, member, id, error) in [
        (
            "DescribeVpcs",
            "VpcIds",
            "vpc-0123456789abcdef0",
            "InvalidVpcID.NotFound: The vpc ID 'vpc-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeSubnets",
            "SubnetIds",
            "subnet-0123456789abcdef0",
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeRouteTables",
            "RouteTableIds",
            "rtb-0123456789abcdef0",
            "InvalidRouteTableID.NotFound: The routeTable ID 'rtb-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeInternetGateways",
            "InternetGatewayIds",
            "igw-0123456789abcdef0",
            "InvalidInternetGatewayID.NotFound: The internetGateway ID 'igw-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeNatGateways",
            "NatGatewayIds",
            "nat-0123456789abcdef0",
            "NatGatewayNotFound: NAT gateway nat-0123456789abcdef0 was not found",
        ),
        (
            "DescribeAddresses",
            "AllocationIds",
            "eipalloc-0123456789abcdef0",
            "InvalidAllocationID.NotFound: The allocation ID 'eipalloc-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeNetworkInterfaces",
            "NetworkInterfaceIds",
            "eni-0123456789abcdef0",
            "InvalidNetworkInterfaceID.NotFound: The networkInterface ID 'eni-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeSecurityGroups",
            "GroupIds",
            "sg-0123456789abcdef0",
            "InvalidGroup.NotFound: The security group 'sg-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeNetworkAcls",
            "NetworkAclIds",
            "acl-0123456789abcdef0",
            "InvalidNetworkAclID.NotFound: The networkAcl ID 'acl-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeVpcEndpoints",
            "VpcEndpointIds",
            "vpce-0123456789abcdef0",
            "InvalidVpcEndpointId.NotFound: The Vpc Endpoint Id 'vpce-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeInstances",
            "InstanceIds",
            "i-0123456789abcdef0",
            "InvalidInstanceID.NotFound: The instance ID 'i-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeManagedPrefixLists",
            "PrefixListIds",
            "pl-0123456789abcdef0",
            "InvalidPrefixListID.NotFound: The prefix list ID 'pl-0123456789abcdef0' does not exist",
        ),
        (
            "DescribeDhcpOptions",
            "DhcpOptionsIds",
            "dopt-0123456789abcdef0",
            "InvalidDhcpOptionID.NotFound: The dhcpOption ID 'dopt-0123456789abcdef0' does not exist",
        ),
    ] {
        assert_eq!(api.refusal(operation, json!({ member: [id] })), error);
    }
    assert_eq!(
        api.refusal(
            "DescribeInstances",
            json!({ "InstanceIds": ["i-0123456789abcdef0", "i-0123456789abcdef1"] })
        ),
        "InvalidInstanceID.NotFound: The instance IDs 'i-0123456789abcdef0, i-0123456789abcdef1' do not exist"
    );
}

#[test]
fn what_is_in_use_stays() {
    let (api, ids) = built();
    for (operation, member, name, error) in [
        (
            "DeleteVpc",
            "VpcId",
            "vpc",
            "DependencyViolation: The vpc '$' has dependencies and cannot be deleted.",
        ),
        (
            "DeleteSubnet",
            "SubnetId",
            "subnet",
            "DependencyViolation: The subnet '$' has dependencies and cannot be deleted.",
        ),
        (
            "DeleteRouteTable",
            "RouteTableId",
            "rtb",
            "DependencyViolation: The routeTable '$' has dependencies and cannot be deleted.",
        ),
        (
            "DeleteInternetGateway",
            "InternetGatewayId",
            "igw",
            "DependencyViolation: The internetGateway '$' has dependencies and cannot be deleted.",
        ),
        ("DeleteSecurityGroup", "GroupId", "sg", "DependencyViolation: resource $ has a dependent object"),
        (
            "DeleteNetworkAcl",
            "NetworkAclId",
            "acl",
            "DependencyViolation: The networkAcl '$' has dependencies and cannot be deleted.",
        ),
        (
            "DeleteNetworkInterface",
            "NetworkInterfaceId",
            "plugged-eni",
            "InvalidParameterValue: Network interface '$' is currently in use.",
        ),
    ] {
        let refusal = api.refusal(operation, json!({ member: ids[name] }));
        assert_eq!(refusal, error.replace('$', &ids[name]));
    }
    let detach = json!({ "InternetGatewayId": ids["igw"], "VpcId": ids["vpc"] });
    assert!(api.refusal("DetachInternetGateway", detach).starts_with("DependencyViolation: Network "));
    let attach = |igw: &str, vpc: &str| {
        api.refusal("AttachInternetGateway", json!({ "InternetGatewayId": ids[igw], "VpcId": ids[vpc] }))
    };
    assert!(attach("igw", "spare-vpc").starts_with("Resource.AlreadyAssociated: resource igw-"));
    assert!(attach("spare-igw", "vpc").starts_with("InvalidParameterValue: Network vpc-"));
    let detach = json!({ "InternetGatewayId": ids["spare-igw"], "VpcId": ids["vpc"] });
    assert!(api.refusal("DetachInternetGateway", detach).starts_with("Gateway.NotAttached: resource igw-"));
}

#[test]
fn routes_show_where_they_lead_and_when_nowhere() {
    let (api, ids) = built();
    let routes = |table: &str| {
        let answer = api.call("DescribeRouteTables", json!({ "RouteTableIds": [ids[table]] }));
        at(&answer, "RouteTables.0.Routes").as_array().unwrap().clone()
    };
    let private = routes("private-rtb");
    assert!(private.contains(&json!({
        "DestinationPrefixListId": "pl-63a5400a", "GatewayId": ids["vpce"], "Origin": "CreateRoute", "State": "active" })));
    assert!(private.contains(&json!({
        "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": ids["nat"], "Origin": "CreateRoute", "State": "active" })));
    // One local route for each block of the VPC.
    assert_eq!(private.iter().filter(|route| route["GatewayId"] == "local").count(), 2);
    api.call("DeleteNatGateway", json!({ "NatGatewayId": ids["nat"] }));
    let private = routes("private-rtb");
    let to_nat = private.iter().find(|route| route["NatGatewayId"] == json!(ids["nat"])).unwrap();
    assert_eq!(to_nat["State"], "blackhole");
    let to_instance =
        routes("rtb").into_iter().find(|route| route["DestinationCidrBlock"] == "203.0.113.0/24").unwrap();
    assert_eq!(to_instance["InstanceId"], json!(ids["i"]));
    assert_eq!(to_instance["NetworkInterfaceId"], json!(ids["plugged-eni"]));
}

#[test]
fn routes_are_refused_in_awss_words() {
    let (api, ids) = built();
    let create = |member: &str, destination: &str, target: &str, id: &str| {
        api.refusal("CreateRoute", json!({ "RouteTableId": ids["rtb"], member: destination, target: id }))
    };
    assert_eq!(
        create("DestinationCidrBlock", "0.0.0.0/0", "NatGatewayId", &ids["nat"]),
        "RouteAlreadyExists: The route identified by 0.0.0.0/0 already exists."
    );
    assert!(
        create("DestinationCidrBlock", "10.0.0.128/25", "GatewayId", &ids["igw"])
            .starts_with("InvalidParameterValue: Route destination")
    );
    for target in ["GatewayId", "VpcEndpointId"] {
        assert_eq!(
            create("DestinationCidrBlock", "198.51.100.0/24", target, &ids["vpce"]),
            format!(
                "RouteNotSupported: Route table contains unsupported route target: {}. VPC Endpoints of this type cannot be used as route targets.",
                ids["vpce"]
            )
        );
    }
    // AWS's own lists get their routes from endpoints alone.
    assert!(
        create("DestinationPrefixListId", "pl-63a5400a", "GatewayId", &ids["igw"])
            .starts_with("InvalidParameterValue: The route to pl-63a5400a")
    );
    let delete = json!({ "RouteTableId": ids["private-rtb"], "DestinationPrefixListId": "pl-63a5400a" });
    assert!(
        api.refusal("DeleteRoute", delete).starts_with("InvalidParameterValue: The route to pl-63a5400a")
    );
    let delete = json!({ "RouteTableId": ids["rtb"], "DestinationCidrBlock": "8.8.8.0/24" });
    assert_eq!(
        api.refusal("DeleteRoute", delete),
        format!(
            "InvalidRoute.NotFound: no route with destination-cidr-block 8.8.8.0/24 in route table {}",
            ids["rtb"]
        )
    );
    let replace =
        json!({ "RouteTableId": ids["rtb"], "DestinationCidrBlock": "8.8.8.0/24", "GatewayId": ids["igw"] });
    assert_eq!(
        api.refusal("ReplaceRoute", replace),
        "InvalidParameterValue: There is no route defined for '8.8.8.0/24' in the route table. Use CreateRoute instead."
    );
    let both = json!({ "RouteTableId": ids["rtb"], "DestinationCidrBlock": "8.8.8.0/24", "GatewayId": ids["igw"], "NatGatewayId": ids["nat"] });
    assert!(api.refusal("CreateRoute", both).starts_with("InvalidParameterCombination: "));
    let other = json!({ "RouteTableId": ids["rtb"], "DestinationCidrBlock": "8.8.8.0/24", "GatewayId": ids["lone-igw"] });
    assert!(api.refusal("CreateRoute", other).ends_with("belong to different networks"));
    // An instance as a target is its interface.
    api.call("CreateRoute", json!({ "RouteTableId": ids["rtb"], "DestinationCidrBlock": "8.8.4.0/24", "InstanceId": ids["stopped"] }));
}

#[test]
fn associations_of_tables_move() {
    let (api, ids) = built();
    let main = |vpc: &str| {
        let filters = json!([{ "Name": "vpc-id", "Values": [vpc] }, { "Name": "association.main", "Values": ["true"] }]);
        let answer = api.call("DescribeRouteTables", json!({ "Filters": filters }));
        (
            text(&answer, "RouteTables.0.RouteTableId"),
            text(&answer, "RouteTables.0.Associations.0.RouteTableAssociationId"),
        )
    };
    let (_, association) = main(&ids["vpc"]);
    let moved = api.call(
        "ReplaceRouteTableAssociation",
        json!({ "AssociationId": association, "RouteTableId": ids["spare-rtb"] }),
    );
    assert_eq!(main(&ids["vpc"]), (ids["spare-rtb"].clone(), text(&moved, "NewAssociationId")));
    let refusal =
        api.refusal("DisassociateRouteTable", json!({ "AssociationId": text(&moved, "NewAssociationId") }));
    assert!(
        refusal.starts_with("InvalidParameterValue: cannot disassociate the main route table association")
    );
    let refusal = api.refusal(
        "AssociateRouteTable",
        json!({ "RouteTableId": ids["spare-rtb"], "SubnetId": ids["subnet"] }),
    );
    assert!(refusal.starts_with("Resource.AlreadyAssociated: "));
    assert_eq!(
        api.refusal("DisassociateRouteTable", json!({ "AssociationId": "rtbassoc-0123456789abcdef0" })),
        "InvalidAssociationID.NotFound: The association ID 'rtbassoc-0123456789abcdef0' does not exist"
    );
}

#[test]
fn a_nat_gateway_lives_and_is_remembered() {
    let (api, ids) = built();
    let refusal = api.refusal("CreateNatGateway", json!({ "SubnetId": ids["subnet"] }));
    assert_eq!(refusal, "MissingParameter: The request must contain the parameter AllocationId");
    let made = api.call(
        "CreateNatGateway",
        json!({ "SubnetId": ids["subnet"], "AllocationId": ids["spare-eip"], "ClientToken": "once" }),
    );
    let id = text(&made, "NatGateway.NatGatewayId");
    assert_eq!(at(&made, "ClientToken"), "once");
    assert_eq!(at(&made, "NatGateway.State"), "pending");
    // The same token changes nothing; with other parameters it is refused.
    let again = api.call(
        "CreateNatGateway",
        json!({ "SubnetId": ids["subnet"], "AllocationId": ids["spare-eip"], "ClientToken": "once" }),
    );
    assert_eq!(text(&again, "NatGateway.NatGatewayId"), id);
    let other =
        json!({ "SubnetId": ids["private"], "AllocationId": ids["spare-eip"], "ClientToken": "once" });
    assert!(api.refusal("CreateNatGateway", other).starts_with("IdempotentParameterMismatch: "));
    api.report(Action::ReportNatGatewayReady { gateway: id.parse().unwrap() });
    let shown = api.call("DescribeNatGateways", json!({ "NatGatewayIds": [id] }));
    assert_eq!(at(&shown, "NatGateways.0.State"), "available");
    assert_eq!(at(&shown, "NatGateways.0.ConnectivityType"), "public");
    assert_eq!(at(&shown, "NatGateways.0.NatGatewayAddresses.0.AllocationId"), &json!(ids["spare-eip"]));
    let eni = text(&shown, "NatGateways.0.NatGatewayAddresses.0.NetworkInterfaceId");
    let interface = api.call("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [eni] }));
    assert_eq!(at(&interface, "NetworkInterfaces.0.InterfaceType"), "nat_gateway");
    assert_eq!(at(&interface, "NetworkInterfaces.0.RequesterManaged"), true);
    assert_eq!(at(&interface, "NetworkInterfaces.0.Attachment.InstanceOwnerId"), "amazon-aws");
    api.call("DeleteNatGateway", json!({ "NatGatewayId": id }));
    let shown = api.call("DescribeNatGateways", json!({ "NatGatewayIds": [id] }));
    assert_eq!(at(&shown, "NatGateways.0.State"), "deleted");
}

#[test]
fn addresses_are_associated_and_let_go() {
    let (api, ids) = built();
    let in_use = api.refusal("ReleaseAddress", json!({ "AllocationId": ids["eip"] }));
    assert!(in_use.starts_with("InvalidIPAddress.InUse: "));
    let fixed = json!({ "AllocationId": ids["eip"], "NetworkInterfaceId": ids["spare-eni"], "AllowReassociation": false });
    assert!(
        api.refusal("AssociateAddress", fixed).starts_with("Resource.AlreadyAssociated: resource eipalloc-")
    );
    // Without saying so, it moves.
    api.call(
        "AssociateAddress",
        json!({ "AllocationId": ids["eip"], "NetworkInterfaceId": ids["spare-eni"] }),
    );
    let shown = api.call("DescribeAddresses", json!({ "PublicIps": [ids["public-ip"]] }));
    assert_eq!(at(&shown, "Addresses.0.NetworkInterfaceId"), &json!(ids["spare-eni"]));
    let several =
        api.refusal("AssociateAddress", json!({ "PublicIp": ids["public-ip"], "InstanceId": ids["i"] }));
    assert!(several.starts_with("InvalidInstanceID: There are multiple interfaces attached to instance"));
    api.call("AssociateAddress", json!({ "PublicIp": ids["public-ip"], "InstanceId": ids["stopped"] }));
    api.call("DisassociateAddress", json!({ "PublicIp": ids["public-ip"] }));
    api.call("ReleaseAddress", json!({ "PublicIp": ids["public-ip"] }));
    assert_eq!(
        api.refusal("DescribeAddresses", json!({ "PublicIps": [ids["public-ip"]] })),
        format!("InvalidAddress.NotFound: Address '{}' not found.", ids["public-ip"])
    );
    let lone = api.call("CreateSubnet", json!({ "VpcId": ids["spare-vpc"], "CidrBlock": "10.0.0.0/24" }));
    let eni = api.call("CreateNetworkInterface", json!({ "SubnetId": text(&lone, "Subnet.SubnetId") }));
    let eni = text(&eni, "NetworkInterface.NetworkInterfaceId");
    let refusal = api
        .refusal("AssociateAddress", json!({ "AllocationId": ids["spare-eip"], "NetworkInterfaceId": eni }));
    assert!(refusal.starts_with("Gateway.NotAttached: Network vpc-"));
}

#[test]
fn interfaces_have_addresses_names_and_groups() {
    let (api, ids) = built();
    let shown = api.call("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [ids["eni"]] }));
    let eni = at(&shown, "NetworkInterfaces.0");
    assert_eq!(eni["PrivateDnsName"], "ip-10-0-0-50.ec2.internal");
    assert_eq!(eni["Status"], "available");
    assert_eq!(eni["InterfaceType"], "interface");
    assert_eq!(eni["Association"]["PublicIp"], json!(ids["public-ip"]));
    let dashed = ids["public-ip"].replace('.', "-");
    assert_eq!(eni["Association"]["PublicDnsName"], format!("ec2-{dashed}.compute-1.amazonaws.com"));
    assert_eq!(
        texts(&shown, "NetworkInterfaces.0.PrivateIpAddresses", "PrivateIpAddress"),
        ["10.0.0.50", "10.0.0.51"]
    );
    let made = api.call(
        "CreateNetworkInterface",
        json!({ "SubnetId": ids["subnet"], "SecondaryPrivateIpAddressCount": 2, "ClientToken": "t" }),
    );
    assert_eq!(at(&made, "NetworkInterface.PrivateIpAddresses").as_array().unwrap().len(), 3);
    let again = api.call(
        "CreateNetworkInterface",
        json!({ "SubnetId": ids["subnet"], "SecondaryPrivateIpAddressCount": 2, "ClientToken": "t" }),
    );
    assert_eq!(made, again);
    let many = json!({ "SubnetId": ids["spare-subnet"], "SecondaryPrivateIpAddressCount": 20 });
    let before = api.state().network_interfaces.len();
    assert!(api.refusal("CreateNetworkInterface", many).starts_with("InsufficientFreeAddressesInSubnet: "));
    assert_eq!(api.state().network_interfaces.len(), before);
    for (address, error) in [
        ("10.0.0.1", "InvalidParameterValue: Address 10.0.0.1 is in subnet's reserved address range"),
        (
            "10.0.7.7",
            "InvalidParameterValue: Address 10.0.7.7 does not fall within the subnet's address range",
        ),
        ("10.0.0.50", "InvalidIPAddress.InUse: Address 10.0.0.50 is in use."),
    ] {
        assert_eq!(
            api.refusal(
                "CreateNetworkInterface",
                json!({ "SubnetId": ids["subnet"], "PrivateIpAddress": address })
            ),
            error
        );
    }
    let assigned = api.call(
        "AssignPrivateIpAddresses",
        json!({ "NetworkInterfaceId": ids["eni"], "SecondaryPrivateIpAddressCount": 2 }),
    );
    assert_eq!(at(&assigned, "AssignedPrivateIpAddresses").as_array().unwrap().len(), 2);
    let refusal = api.refusal(
        "UnassignPrivateIpAddresses",
        json!({ "NetworkInterfaceId": ids["eni"], "PrivateIpAddresses": ["10.0.0.50"] }),
    );
    assert!(refusal.starts_with("InvalidParameterValue: "));
    for (attribute, member) in
        [("description", "Description"), ("groupSet", "Groups"), ("sourceDestCheck", "SourceDestCheck")]
    {
        let answer = api.call(
            "DescribeNetworkInterfaceAttribute",
            json!({ "NetworkInterfaceId": ids["eni"], "Attribute": attribute }),
        );
        assert!(answer.get(member).is_some(), "{answer}");
    }
    let two =
        json!({ "NetworkInterfaceId": ids["eni"], "Description": { "Value": "x" }, "Groups": [ids["sg"]] });
    assert!(api.refusal("ModifyNetworkInterfaceAttribute", two).starts_with("InvalidParameterCombination: "));
    let primary = api.call("DescribeInstances", json!({ "InstanceIds": [ids["i"]] }));
    let attachment = text(&primary, "Reservations.0.Instances.0.NetworkInterfaces.0.Attachment.AttachmentId");
    assert_eq!(
        api.refusal("DetachNetworkInterface", json!({ "AttachmentId": attachment })),
        "OperationNotPermitted: The network interface at device index 0 cannot be detached."
    );
    let taken = json!({ "NetworkInterfaceId": ids["spare-eni"], "InstanceId": ids["i"], "DeviceIndex": 1 });
    assert!(
        api.refusal("AttachNetworkInterface", taken)
            .ends_with("already has an interface attached at device index '1'.")
    );
    let foreign = json!({ "SubnetId": ids["subnet"], "Groups": [default_group(&api, &ids["spare-vpc"])] });
    assert!(api.refusal("CreateNetworkInterface", foreign).contains("belong to different networks"));
}

fn default_group(api: &Api, vpc: &str) -> String {
    let filters =
        json!([{ "Name": "vpc-id", "Values": [vpc] }, { "Name": "group-name", "Values": ["default"] }]);
    text(&api.call("DescribeSecurityGroups", json!({ "Filters": filters })), "SecurityGroups.0.GroupId")
}

#[test]
fn subnets_count_their_addresses_and_zones_have_ids() {
    let api = Api::empty();
    let vpc = vpc(&api, "10.0.0.0/16");
    let made = api.call(
        "CreateSubnet",
        json!({ "VpcId": vpc, "CidrBlock": "10.0.0.0/28", "AvailabilityZoneId": "use1-az2" }),
    );
    assert_eq!(at(&made, "Subnet.AvailabilityZone"), "us-east-1b");
    assert_eq!(at(&made, "Subnet.AvailableIpAddressCount"), 11);
    let arn = format!("arn:aws:ec2:us-east-1:111111111111:subnet/{}", text(&made, "Subnet.SubnetId"));
    assert_eq!(at(&made, "Subnet.SubnetArn"), &json!(arn));
    let zones = api.call("DescribeAvailabilityZones", json!({ "ZoneNames": ["us-east-1b"] }));
    assert_eq!(at(&zones, "AvailabilityZones.0.ZoneId"), "use1-az2");
    let regions = api.call("DescribeRegions", json!({}));
    assert_eq!(
        at(&regions, "Regions"),
        &json!([{ "Endpoint": "ec2.us-east-1.amazonaws.com", "OptInStatus": "opt-in-not-required", "RegionName": "us-east-1" }])
    );
    let attributes =
        api.call("DescribeAccountAttributes", json!({ "AttributeNames": ["supported-platforms"] }));
    assert_eq!(at(&attributes, "AccountAttributes.0.AttributeValues.0.AttributeValue"), "VPC");
}

#[test]
fn terraforms_plain_parameters_are_understood() {
    let api = Api::empty();
    let made = api.call(
        "CreateVpc",
        json!({
        "CidrBlock": "10.0.0.0/16", "AmazonProvidedIpv6CidrBlock": false, "InstanceTenancy": "default" }),
    );
    let vpc = text(&made, "Vpc.VpcId");
    api.call("AllocateAddress", json!({ "Domain": "vpc" }));
    assert_eq!(
        api.refusal("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16", "InstanceTenancy": "dedicated" })),
        "UnsupportedOperation: The value (dedicated) of the parameter InstanceTenancy is not supported by this endpoint yet. Supported values: default"
    );
    assert_eq!(
        api.refusal(
            "CreateSubnet",
            json!({ "VpcId": vpc, "CidrBlock": "10.0.0.0/24", "Ipv6CidrBlock": "::/64" })
        ),
        "UnsupportedOperation: The parameter Ipv6CidrBlock is not supported by this endpoint yet"
    );
}

#[test]
fn a_vpc_can_have_no_dhcp_options() {
    let (api, ids) = built();
    let of = |vpc: &str| text(&api.call("DescribeVpcs", json!({ "VpcIds": [vpc] })), "Vpcs.0.DhcpOptionsId");
    let sets = || texts(&api.call("DescribeDhcpOptions", json!({})), "DhcpOptions", "DhcpOptionsId");
    let before = sets();
    for vpc in ["vpc", "spare-vpc"] {
        api.call("AssociateDhcpOptions", json!({ "VpcId": ids[vpc], "DhcpOptionsId": "default" }));
        assert_eq!(of(&ids[vpc]), "default");
    }
    assert_eq!(sets(), before);
    api.call("AssociateDhcpOptions", json!({ "VpcId": ids["vpc"], "DhcpOptionsId": ids["dopt"] }));
    assert_eq!(of(&ids["vpc"]), ids["dopt"]);
    let create = |key: &str, values: serde_json::Value| {
        api.refusal("CreateDhcpOptions", json!({ "DhcpConfigurations": [{ "Key": key, "Values": values }] }))
    };
    assert!(create("dog", json!(["x"])).starts_with("InvalidParameterValue: Value (dog)"));
    assert!(
        create("ntp-servers", json!(["x"]))
            .starts_with("InvalidParameterValue: Value (x) for parameter ntp-servers")
    );
    assert!(
        create("domain-name-servers", json!(["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4", "5.5.5.5"]))
            .contains("At most 4")
    );
}
