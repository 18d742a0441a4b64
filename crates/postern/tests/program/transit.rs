//! Transit gateways, packet by packet: VPCs and a network on premises that reach each other by the gateway's tables, and no
//! longer as soon as those say otherwise.

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Region, World};
use crate::network::{Network, private_address, text};

crate::both_ways!(vpcs_reach_each_other_over_a_transit_gateway, a_vpn_at_a_transit_gateway_reaches_its_vpcs);

/// Says what comes of a connection: who answered from where, or the error.
const CONNECT: &str = r#"
import socket, sys
try:
    there = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
    print("connected")
except OSError as error:
    print(type(error).__name__)
"#;

/// Two VPCs that are attached to a transit gateway, with routes to each other.
struct Joined {
    gateway: String,
    table: String,
    one: Network,
    other: Network,
    attachments: [String; 2],
}

fn network(aws: &Aws, block: &str, subnet: &str) -> Network {
    let vpc = text(&aws.ec2("CreateVpc", json!({ "CidrBlock": block }))["Vpc"]["VpcId"]);
    let subnet = aws.ec2("CreateSubnet", json!({ "VpcId": vpc, "CidrBlock": subnet }));
    let of_vpc = json!({ "Filters": [{ "Name": "vpc-id", "Values": [vpc] }] });
    let table = text(&aws.ec2("DescribeRouteTables", of_vpc.clone())["RouteTables"][0]["RouteTableId"]);
    let group = text(&aws.ec2("DescribeSecurityGroups", of_vpc)["SecurityGroups"][0]["GroupId"]);
    let everybody = json!([{ "IpProtocol": "tcp", "FromPort": 0, "ToPort": 65_535,
        "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }]);
    aws.ec2("AuthorizeSecurityGroupIngress", json!({ "GroupId": group, "IpPermissions": everybody }));
    Network { vpc, subnet: text(&subnet["Subnet"]["SubnetId"]), table, group }
}

impl Joined {
    fn new(aws: &Aws) -> Self {
        let (one, other) =
            (network(aws, "10.0.0.0/16", "10.0.1.0/24"), network(aws, "10.1.0.0/16", "10.1.1.0/24"));
        let made = aws.ec2("CreateTransitGateway", json!({}))["TransitGateway"].clone();
        let gateway = text(&made["TransitGatewayId"]);
        let table = text(&made["Options"]["AssociationDefaultRouteTableId"]);
        let attachments = [&one, &other].map(|network| {
            let new =
                json!({ "TransitGatewayId": gateway, "VpcId": network.vpc, "SubnetIds": [network.subnet] });
            let made = aws.ec2("CreateTransitGatewayVpcAttachment", new);
            text(&made["TransitGatewayVpcAttachment"]["TransitGatewayAttachmentId"])
        });
        let joined = Self { gateway, table, one, other, attachments };
        joined.route(aws, &joined.one, "10.1.0.0/16");
        joined.route(aws, &joined.other, "10.0.0.0/16");
        joined
    }

    fn route(&self, aws: &Aws, from: &Network, block: &str) {
        let route = json!({ "RouteTableId": from.table, "DestinationCidrBlock": block,
            "TransitGatewayId": self.gateway });
        aws.ec2("CreateRoute", route);
    }

    /// A static route of the gateway's table.
    fn lead(&self, aws: &Aws, block: &str, to: Option<&str>) {
        let mut route = json!({ "TransitGatewayRouteTableId": self.table, "DestinationCidrBlock": block });
        match to {
            Some(attachment) => route["TransitGatewayAttachmentId"] = json!(attachment),
            None => route["Blackhole"] = json!(true),
        }
        aws.ec2("CreateTransitGatewayRoute", route);
    }

    fn forget(&self, aws: &Aws, block: &str) {
        let route = json!({ "TransitGatewayRouteTableId": self.table, "DestinationCidrBlock": block });
        aws.ec2("DeleteTransitGatewayRoute", route);
    }
}

/// What the last stage of a trace refused, and by what.
fn refusal(trace: &Value) -> (String, String) {
    let last = trace["stages"].as_array().unwrap().last().unwrap();
    assert_eq!(trace["arrives"], false, "{trace}");
    (text(&last["stage"]), text(&last["resource"]))
}

/// An interface endpoint for the EC2 API; its address.
fn door(aws: &Aws, network: &Network) -> String {
    let new = json!({ "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet],
        "ServiceName": "com.amazonaws.us-east-1.ec2", "PrivateDnsEnabled": false });
    let made = aws.ec2("CreateVpcEndpoint", new);
    let interfaces = json!({ "NetworkInterfaceIds": [made["VpcEndpoint"]["NetworkInterfaceIds"][0]] });
    text(&aws.ec2("DescribeNetworkInterfaces", interfaces)["NetworkInterfaces"][0]["PrivateIpAddress"])
}

fn connect(region: &Region<'_>, from: &str, to: &str, port: &str) -> String {
    region.exec(from, &["/usr/bin/python3", "-c", CONNECT, to, port]).stdout.trim().to_owned()
}

fn vpcs_reach_each_other_over_a_transit_gateway(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let joined = Joined::new(&aws);
    let (here, there) = (joined.one.run(&aws, json!({})), joined.other.run(&aws, json!({})));
    let (near, far) = (private_address(&aws, &here), private_address(&aws, &there));

    // Nobody listens on port 9, and each instance says so to the other.
    assert_eq!(connect(&region, &here, &far, "9"), "ConnectionRefusedError");
    assert_eq!(connect(&region, &there, &near, "9"), "ConnectionRefusedError");
    let probed = region.json(&["trace", "--from", &here, "--to", &format!("{far}:9"), "--probe"]);
    assert_eq!((&probed["arrives"], &probed["probe"]["agrees"]), (&json!(true), &json!(true)), "{probed}");
    let stages = probed["stages"].as_array().unwrap();
    let by = stages.iter().find(|stage| stage["stage"] == "transit gateway").unwrap();
    assert_eq!((&by["resource"], &by["rule"]), (&json!(joined.table), &json!("route 10.1.0.0/16")));

    // The interface endpoint of the one serves the other; its gateway endpoint is named as what does not.
    let door = door(&aws, &joined.other);
    assert_eq!(connect(&region, &here, &door, "443"), "connected");
    let gateway_endpoint = joined.other.s3_endpoint(&aws);
    joined.route(&aws, &joined.one, "198.19.0.0/16");
    joined.lead(&aws, "198.19.0.0/16", Some(&joined.attachments[1]));
    let trace = region.json(&["trace", "--from", &here, "--to", "198.19.0.10:443"]);
    assert_eq!(refusal(&trace), ("endpoint".to_owned(), gateway_endpoint));
    assert_eq!(connect(&region, &here, "198.19.0.10", "443"), "TimeoutError");

    // A static route goes before the propagated one, in either direction, and packets follow at once.
    joined.lead(&aws, "10.1.0.0/16", None);
    assert_eq!(connect(&region, &here, &far, "9"), "TimeoutError");
    joined.forget(&aws, "10.1.0.0/16");
    assert_eq!(connect(&region, &here, &far, "9"), "ConnectionRefusedError");
    joined.lead(&aws, "10.0.1.0/24", None);
    assert_eq!(connect(&region, &here, &far, "9"), "TimeoutError");
    let trace = region.json(&["trace", "--from", &here, "--to", &format!("{far}:9")]);
    assert_eq!(refusal(&trace), ("return route".to_owned(), joined.table.clone()));
    joined.forget(&aws, "10.0.1.0/24");

    // Without a subnet of its own zone, an instance reaches nothing over the gateway.
    let elsewhere =
        json!({ "VpcId": joined.one.vpc, "CidrBlock": "10.0.2.0/24", "AvailabilityZone": "us-east-1b" });
    let subnet = text(&aws.ec2("CreateSubnet", elsewhere)["Subnet"]["SubnetId"]);
    let apart = joined.one.run(&aws, json!({ "SubnetId": subnet }));
    assert_eq!(connect(&region, &apart, &far, "9"), "TimeoutError");
    let more = json!({ "TransitGatewayAttachmentId": joined.attachments[0], "AddSubnetIds": [subnet] });
    aws.ec2("ModifyTransitGatewayVpcAttachment", more);
    assert_eq!(connect(&region, &apart, &far, "9"), "ConnectionRefusedError");

    // An attachment that follows no table sends nothing.
    let both = json!({ "TransitGatewayRouteTableId": joined.table,
        "TransitGatewayAttachmentId": joined.attachments[0] });
    aws.ec2("DisassociateTransitGatewayRouteTable", both);
    let trace = region.json(&["trace", "--from", &here, "--to", &format!("{far}:9")]);
    assert_eq!(refusal(&trace), ("transit gateway".to_owned(), joined.attachments[0].clone()));
    assert_eq!(connect(&region, &here, &far, "9"), "TimeoutError");
    region.down();
}

fn a_vpn_at_a_transit_gateway_reaches_its_vpcs(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let joined = Joined::new(&aws);
    let instances = [&joined.one, &joined.other].map(|network| network.run(&aws, json!({})));
    let door = door(&aws, &joined.other);
    let customer = json!({ "Type": "ipsec.1", "BgpAsn": 65_000, "IpAddress": "203.0.113.7" });
    let customer = text(&aws.ec2("CreateCustomerGateway", customer)["CustomerGateway"]["CustomerGatewayId"]);
    let new = json!({ "Type": "ipsec.1", "CustomerGatewayId": customer, "TransitGatewayId": joined.gateway,
        "Options": { "StaticRoutesOnly": true } });
    let vpn = text(&aws.ec2("CreateVpnConnection", new)["VpnConnection"]["VpnConnectionId"]);
    let of_vpn = json!({ "Filters": [{ "Name": "resource-id", "Values": [vpn] }] });
    let attached = aws.ec2("DescribeTransitGatewayAttachments", of_vpn);
    let attachment = text(&attached["TransitGatewayAttachments"][0]["TransitGatewayAttachmentId"]);

    // Nobody on premises has an address before a route says so.
    let none = region.run(&["exec", &vpn, "--", "/bin/true"]);
    assert!(none.failure().contains("no static route"), "{none:?}");
    joined.lead(&aws, "192.168.0.0/16", Some(&attachment));
    [&joined.one, &joined.other]
        .into_iter()
        .for_each(|network| joined.route(&aws, network, "192.168.0.0/16"));
    for instance in &instances {
        let address = private_address(&aws, instance);
        assert_eq!(connect(&region, &vpn, &address, "9"), "ConnectionRefusedError", "{address}");
        assert_eq!(connect(&region, instance, "192.168.0.1", "9"), "ConnectionRefusedError");
    }
    assert_eq!(connect(&region, &vpn, &door, "443"), "connected");
    let trace = region.json(&["trace", "--from", &vpn, "--to", &format!("{door}:443"), "--probe"]);
    assert_eq!((&trace["arrives"], &trace["probe"]["agrees"]), (&json!(true), &json!(true)), "{trace}");

    // Only the route of the VPC that answers counts.
    let route = json!({ "RouteTableId": joined.one.table, "DestinationCidrBlock": "192.168.0.0/16" });
    aws.ec2("DeleteRoute", route);
    let addresses = instances.each_ref().map(|instance| private_address(&aws, instance));
    assert_eq!(connect(&region, &vpn, &addresses[0], "9"), "TimeoutError");
    assert_eq!(connect(&region, &vpn, &addresses[1], "9"), "ConnectionRefusedError");
    joined.forget(&aws, "192.168.0.0/16");
    assert_eq!(connect(&region, &vpn, &addresses[1], "9"), "TimeoutError");
    aws.ec2("DeleteVpnConnection", json!({ "VpnConnectionId": vpn }));
    region.down();
}
