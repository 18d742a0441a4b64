//! One of everything, made through the API itself.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use postern_model::elb::{ElbAction, NewLoadBalancer, NewLoadBalancerZone, Scheme};
use postern_model::iam::IamAction;
use postern_model::instance::InstanceState;
use postern_model::peering::PeeringAction;
use postern_model::sns::SnsAction;
use postern_model::{Action, Event, ResourceId, State};
use postern_services::ec2::IMAGE_ID;
use serde_json::{Value, json};

use crate::support::{Api, BOB, at, text};

/// Names of things, and their ids.
pub type Ids = BTreeMap<&'static str, String>;

/// The region with one of everything of Alice's in it, and the ids.
pub fn built() -> (Api, &'static Ids) {
    let (state, alice, _) = world();
    (Api::over(state.clone()), alice)
}

/// The ids of Bob's things, in the same region.
pub fn bobs() -> &'static Ids {
    &world().2
}

fn world() -> &'static (State, Ids, Ids) {
    static WORLD: OnceLock<(State, Ids, Ids)> = OnceLock::new();
    WORLD.get_or_init(build)
}

/// An instance type that the host's image runs on.
pub fn instance_type() -> &'static str {
    if cfg!(target_arch = "aarch64") { "t4g.micro" } else { "t3.micro" }
}

/// Another one.
pub fn other_instance_type() -> &'static str {
    if cfg!(target_arch = "aarch64") { "t4g.small" } else { "t3.small" }
}

/// Puts ids in the place of their names: `$vpc`.
pub fn with_ids(template: &Value, ids: &BTreeMap<&str, String>) -> Value {
    match template {
        Value::String(name) => match name.strip_prefix('$') {
            Some(name) => Value::String(ids.get(name).unwrap_or_else(|| panic!("no id `{name}`")).clone()),
            None => template.clone(),
        },
        Value::Array(items) => Value::Array(items.iter().map(|item| with_ids(item, ids)).collect()),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), with_ids(value, ids))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
    }
}

fn tags(kind: &str) -> Value {
    json!([{ "ResourceType": kind, "Tags": [{ "Key": "Name", "Value": format!("the {kind}") }] }])
}

/// A policy that lets one bucket through.
pub const ONE_BUCKET: &str =
    r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::one/*"}]}"#;

/// An ed25519 key that nobody has.
pub const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJMoXzFxGkpn2yNcT2Jx9tZg3GNbT5Yy2wQfVb9l3pMX brought";

fn iam(api: &Api) {
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "Service": "ec2.amazonaws.com" }, "Action": "sts:AssumeRole" }] });
    let path = "/".to_owned();
    for role in ["reader", "writer"] {
        for action in [
            IamAction::CreateRole {
                name: role.to_owned(),
                path: path.clone(),
                trust_policy: trust.to_string(),
                description: String::new(),
                permissions_boundary: None,
                max_session_seconds: 3_600,
                tags: Vec::new(),
            },
            IamAction::CreateInstanceProfile {
                name: format!("{role}s"),
                path: path.clone(),
                tags: Vec::new(),
            },
            IamAction::AddRoleToInstanceProfile { profile: format!("{role}s"), role: role.to_owned() },
        ] {
            api.report(Action::Iam(action));
        }
    }
}

fn network(api: &Api, ids: &mut Ids) {
    let vpc = api.call("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16", "TagSpecifications": tags("vpc") }));
    ids.insert("vpc", text(&vpc, "Vpc.VpcId"));
    let vpc = json!(ids["vpc"]);
    api.call("ModifyVpcAttribute", json!({ "VpcId": vpc, "EnableDnsHostnames": { "Value": true } }));
    let block = api.call("AssociateVpcCidrBlock", json!({ "VpcId": vpc, "CidrBlock": "10.1.0.0/16" }));
    ids.insert("block", text(&block, "CidrBlockAssociation.AssociationId"));
    let spare = api.call("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16" }));
    ids.insert("spare-vpc", text(&spare, "Vpc.VpcId"));
    let gateways = api.call("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16" }));
    ids.insert("gateway-vpc", text(&gateways, "Vpc.VpcId"));
    for (name, cidr, zone) in [
        ("subnet", "10.0.0.0/24", "us-east-1a"),
        ("private", "10.0.1.0/24", "us-east-1b"),
        ("spare-subnet", "10.0.2.0/28", "us-east-1a"),
    ] {
        let subnet = api.call(
            "CreateSubnet",
            json!({
            "VpcId": vpc, "CidrBlock": cidr, "AvailabilityZone": zone, "TagSpecifications": tags("subnet") }),
        );
        ids.insert(name, text(&subnet, "Subnet.SubnetId"));
    }
    let on = json!({ "SubnetId": ids["subnet"], "MapPublicIpOnLaunch": { "Value": true } });
    api.call("ModifySubnetAttribute", on);
    for name in ["igw", "spare-igw"] {
        let igw = api.call("CreateInternetGateway", json!({ "TagSpecifications": tags("internet-gateway") }));
        ids.insert(name, text(&igw, "InternetGateway.InternetGatewayId"));
    }
    api.call("AttachInternetGateway", json!({ "VpcId": vpc, "InternetGatewayId": ids["igw"] }));
    let lone = api.call("CreateInternetGateway", json!({}));
    ids.insert("lone-igw", text(&lone, "InternetGateway.InternetGatewayId"));
    api.call(
        "AttachInternetGateway",
        json!({ "VpcId": ids["gateway-vpc"], "InternetGatewayId": ids["lone-igw"] }),
    );
    for name in ["eip", "spare-eip", "nat-eip"] {
        let eip = api.call("AllocateAddress", json!({ "TagSpecifications": tags("elastic-ip") }));
        ids.insert(name, text(&eip, "AllocationId"));
        if name == "eip" {
            ids.insert("public-ip", text(&eip, "PublicIp"));
        }
    }
    let nat = api.call(
        "CreateNatGateway",
        json!({
        "SubnetId": ids["subnet"], "AllocationId": ids["nat-eip"], "TagSpecifications": tags("natgateway") }),
    );
    ids.insert("nat", text(&nat, "NatGateway.NatGatewayId"));
    api.report(Action::ReportNatGatewayReady { gateway: ids["nat"].parse().unwrap() });
    for (name, subnet) in [("rtb", Some("subnet")), ("private-rtb", Some("private")), ("spare-rtb", None)] {
        let rtb =
            api.call("CreateRouteTable", json!({ "VpcId": vpc, "TagSpecifications": tags("route-table") }));
        ids.insert(name, text(&rtb, "RouteTable.RouteTableId"));
        if let Some(subnet) = subnet {
            let link = api
                .call("AssociateRouteTable", json!({ "RouteTableId": ids[name], "SubnetId": ids[subnet] }));
            ids.insert(
                if name == "rtb" { "rtbassoc" } else { "private-rtbassoc" },
                text(&link, "AssociationId"),
            );
        }
    }
    api.call(
        "CreateRoute",
        json!({
        "RouteTableId": ids["rtb"], "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": ids["igw"] }),
    );
    api.call("CreateRoute", json!({
        "RouteTableId": ids["private-rtb"], "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": ids["nat"] }));
    let options = api.call(
        "CreateDhcpOptions",
        json!({
        "DhcpConfigurations": [{ "Key": "domain-name", "Values": ["example.com"] }],
        "TagSpecifications": tags("dhcp-options") }),
    );
    ids.insert("dopt", text(&options, "DhcpOptions.DhcpOptionsId"));
}

fn security(api: &Api, ids: &mut Ids) {
    let list = api.call("CreateManagedPrefixList", json!({
        "PrefixListName": "offices", "AddressFamily": "IPv4", "MaxEntries": 5,
        "Entries": [{ "Cidr": "192.0.2.0/24", "Description": "here" }], "TagSpecifications": tags("prefix-list") }));
    ids.insert("pl", text(&list, "PrefixList.PrefixListId"));
    let spare = api.call(
        "CreateManagedPrefixList",
        json!({
        "PrefixListName": "old", "AddressFamily": "IPv4", "MaxEntries": 1 }),
    );
    ids.insert("spare-pl", text(&spare, "PrefixList.PrefixListId"));
    api.call(
        "ModifyManagedPrefixList",
        json!({
        "PrefixListId": ids["pl"], "CurrentVersion": 1, "AddEntries": [{ "Cidr": "198.51.100.0/24" }] }),
    );
    for name in ["sg", "spare-sg"] {
        let group = api.call(
            "CreateSecurityGroup",
            json!({
            "VpcId": ids["vpc"], "GroupName": name.replace("sg", "group"), "Description": "for tests",
            "TagSpecifications": tags("security-group") }),
        );
        ids.insert(name, text(&group, "GroupId"));
    }
    let rules = api.call("AuthorizeSecurityGroupIngress", json!({
        "GroupId": ids["sg"], "TagSpecifications": tags("security-group-rule"), "IpPermissions": [
            { "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{ "CidrIp": "10.0.0.0/8" }] },
            { "IpProtocol": "tcp", "FromPort": 80, "ToPort": 81, "UserIdGroupPairs": [{ "GroupId": ids["sg"] }] },
            { "IpProtocol": "icmp", "FromPort": 8, "ToPort": 0, "IpRanges": [{ "CidrIp": "0.0.0.0/0", "Description": "ping" }] },
            { "IpProtocol": "tcp", "FromPort": 25, "ToPort": 25, "PrefixListIds": [{ "PrefixListId": ids["pl"] }] },
            { "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "Ipv6Ranges": [{ "CidrIpv6": "::/0" }] }] }));
    let ssh = at(&rules, "SecurityGroupRules").as_array().unwrap();
    let ssh = ssh.iter().find(|rule| rule["FromPort"] == json!(22)).unwrap();
    ids.insert("sgr", text(ssh, "SecurityGroupRuleId"));
    let out = api.call("AuthorizeSecurityGroupEgress", json!({
        "GroupId": ids["sg"], "IpPermissions": [
            { "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{ "PrefixListId": ids["pl"] }] },
            { "IpProtocol": "tcp", "FromPort": 5, "ToPort": 6, "UserIdGroupPairs": [{ "GroupId": ids["sg"] }] },
            { "IpProtocol": "udp", "FromPort": 7, "ToPort": 7, "Ipv6Ranges": [{ "CidrIpv6": "::/0" }] }] }));
    ids.insert("egress-sgr", text(&out, "SecurityGroupRules.0.SecurityGroupRuleId"));
    for name in ["acl", "spare-acl"] {
        let acl = api.call(
            "CreateNetworkAcl",
            json!({ "VpcId": ids["vpc"], "TagSpecifications": tags("network-acl") }),
        );
        ids.insert(name, text(&acl, "NetworkAcl.NetworkAclId"));
    }
    for (number, protocol, more) in [
        (100, "6", json!({ "CidrBlock": "0.0.0.0/0", "PortRange": { "From": 1, "To": 2 } })),
        (110, "1", json!({ "CidrBlock": "0.0.0.0/0", "IcmpTypeCode": { "Type": 8, "Code": -1 } })),
        (120, "-1", json!({ "Ipv6CidrBlock": "::/0" })),
    ] {
        let mut entry = json!({ "NetworkAclId": ids["acl"], "RuleNumber": number, "Protocol": protocol,
            "RuleAction": "allow", "Egress": false });
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.call("CreateNetworkAclEntry", entry);
    }
    let acls = api.call(
        "DescribeNetworkAcls",
        json!({ "Filters": [
        { "Name": "association.subnet-id", "Values": [ids["private"]] }] }),
    );
    let associations = at(&acls, "NetworkAcls.0.Associations").as_array().unwrap();
    let association = associations.iter().find(|a| a["SubnetId"] == json!(ids["private"])).unwrap();
    let link = text(association, "NetworkAclAssociationId");
    let moved = api
        .call("ReplaceNetworkAclAssociation", json!({ "AssociationId": link, "NetworkAclId": ids["acl"] }));
    ids.insert("aclassoc", text(&moved, "NewAssociationId"));
}

fn instances(api: &Api, ids: &mut Ids) {
    api.call(
        "ImportKeyPair",
        json!({
        "KeyName": "mine", "PublicKeyMaterial": base64(PUBLIC_KEY), "TagSpecifications": tags("key-pair") }),
    );
    let pairs = api.call("DescribeKeyPairs", json!({}));
    ids.insert("key", text(&pairs, "KeyPairs.0.KeyPairId"));
    for (name, subnet, profile) in [("i", "subnet", Some("readers")), ("stopped", "private", None)] {
        let mut launch = json!({
            "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1, "KeyName": "mine",
            "SubnetId": ids[subnet], "SecurityGroupIds": [ids["sg"]], "UserData": base64("#!/bin/sh\n"),
            "TagSpecifications": tags("instance") });
        if let Some(profile) = profile {
            launch["IamInstanceProfile"] = json!({ "Name": profile });
        }
        let run = api.call("RunInstances", launch);
        ids.insert(name, text(&run, "Instances.0.InstanceId"));
        let report = |state| Action::ReportInstance {
            instance: ids[name].parse().unwrap(),
            state,
            reason: String::new(),
        };
        api.report(report(InstanceState::Running));
    }
    api.call("StopInstances", json!({ "InstanceIds": [ids["stopped"]] }));
    let instance = ids["stopped"].parse().unwrap();
    api.report(Action::ReportInstance {
        instance,
        state: InstanceState::Stopped,
        reason: "User initiated".to_owned(),
    });
    let profiles = api.call("DescribeIamInstanceProfileAssociations", json!({}));
    ids.insert("iip", text(&profiles, "IamInstanceProfileAssociations.0.AssociationId"));
    for (name, second_name, last) in
        [("eni", "eni-second", 50), ("plugged-eni", "plugged-second", 60), ("spare-eni", "spare-second", 70)]
    {
        let (first, second) = (format!("10.0.0.{last}"), format!("10.0.0.{}", last + 1));
        let eni = api.call(
            "CreateNetworkInterface",
            json!({
            "SubnetId": ids["subnet"], "Description": name, "Groups": [ids["sg"]], "PrivateIpAddresses": [
                { "PrivateIpAddress": first, "Primary": true }, { "PrivateIpAddress": second }],
            "TagSpecifications": tags("network-interface") }),
        );
        ids.insert(name, text(&eni, "NetworkInterface.NetworkInterfaceId"));
        ids.insert(second_name, text(&eni, "NetworkInterface.PrivateIpAddresses.1.PrivateIpAddress"));
    }
    let plugged = api.call(
        "AttachNetworkInterface",
        json!({
        "NetworkInterfaceId": ids["plugged-eni"], "InstanceId": ids["i"], "DeviceIndex": 1 }),
    );
    ids.insert("attachment", text(&plugged, "AttachmentId"));
    api.call(
        "CreateRoute",
        json!({
        "RouteTableId": ids["rtb"], "DestinationCidrBlock": "203.0.113.0/24",
        "NetworkInterfaceId": ids["plugged-eni"] }),
    );
    let more = api.call("AllocateAddress", json!({}));
    api.call(
        "AssociateAddress",
        json!({
        "AllocationId": text(&more, "AllocationId"), "NetworkInterfaceId": ids["plugged-eni"] }),
    );
    let eip =
        api.call("AssociateAddress", json!({ "AllocationId": ids["eip"], "NetworkInterfaceId": ids["eni"] }));
    ids.insert("eipassoc", text(&eip, "AssociationId"));
}

pub fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Everything of one account.
fn furnish(api: &Api) -> Ids {
    let mut ids = Ids::new();
    iam(api);
    network(api, &mut ids);
    security(api, &mut ids);
    let endpoint = api.call(
        "CreateVpcEndpoint",
        json!({
        "VpcId": ids["vpc"], "ServiceName": "com.amazonaws.us-east-1.s3", "RouteTableIds": [ids["private-rtb"]],
        "PolicyDocument": ONE_BUCKET,
        "TagSpecifications": tags("vpc-endpoint") }),
    );
    ids.insert("vpce", text(&endpoint, "VpcEndpoint.VpcEndpointId"));
    api.report(Action::ReportVpcEndpointReady { endpoint: ids["vpce"].parse().unwrap() });
    instances(api, &mut ids);
    services(api, &mut ids);
    peerings(api, &mut ids);
    vpns(api, &mut ids);
    transits(api, &mut ids);
    ids
}

/// A VPN of the first of these VPCs, and ends that have none.
fn vpns(api: &Api, ids: &mut Ids) {
    for (name, address) in [("cgw", "203.0.113.7"), ("spare-cgw", "203.0.113.8")] {
        let made = api.call(
            "CreateCustomerGateway",
            json!({ "Type": "ipsec.1", "BgpAsn": 65_000, "IpAddress": address,
                "TagSpecifications": tags("customer-gateway") }),
        );
        ids.insert(name, text(&made, "CustomerGateway.CustomerGatewayId"));
    }
    for name in ["vgw", "spare-vgw"] {
        let made = api
            .call("CreateVpnGateway", json!({ "Type": "ipsec.1", "TagSpecifications": tags("vpn-gateway") }));
        ids.insert(name, text(&made, "VpnGateway.VpnGatewayId"));
    }
    api.call("AttachVpnGateway", json!({ "VpcId": ids["peer-one"], "VpnGatewayId": ids["vgw"] }));
    let made = api.call(
        "CreateVpnConnection",
        json!({ "Type": "ipsec.1", "CustomerGatewayId": ids["cgw"], "VpnGatewayId": ids["vgw"],
            "Options": { "StaticRoutesOnly": true }, "TagSpecifications": tags("vpn-connection") }),
    );
    ids.insert("vpn", text(&made, "VpnConnection.VpnConnectionId"));
    let route = json!({ "VpnConnectionId": ids["vpn"], "DestinationCidrBlock": "192.168.0.0/16" });
    api.call("CreateVpnConnectionRoute", route);
}

/// A transit gateway with two VPCs and a VPN, one of which follows no table, and one with nothing.
fn transits(api: &Api, ids: &mut Ids) {
    let subnets = [
        ("peer-one-subnet", "peer-one", "10.20.0.0/24", "us-east-1a"),
        ("peer-one-other", "peer-one", "10.20.1.0/24", "us-east-1b"),
        ("peer-two-subnet", "peer-two", "10.21.0.0/24", "us-east-1a"),
    ];
    for (name, vpc, block, zone) in subnets {
        let subnet = json!({ "VpcId": ids[vpc], "CidrBlock": block, "AvailabilityZone": zone });
        let made = api.call("CreateSubnet", subnet);
        ids.insert(name, text(&made, "Subnet.SubnetId"));
    }
    let new = json!({ "Description": "all", "TagSpecifications": tags("transit-gateway") });
    let made = api.call("CreateTransitGateway", new);
    ids.insert("tgw", text(&made, "TransitGateway.TransitGatewayId"));
    ids.insert("tgw-main", text(&made, "TransitGateway.Options.AssociationDefaultRouteTableId"));
    let off = json!({ "DefaultRouteTableAssociation": "disable", "DefaultRouteTablePropagation": "disable" });
    let made = api.call("CreateTransitGateway", json!({ "Options": off }));
    ids.insert("spare-tgw", text(&made, "TransitGateway.TransitGatewayId"));
    let attached =
        [("tgw-attach", "peer-one", "peer-one-subnet"), ("loose-attach", "peer-two", "peer-two-subnet")];
    for (name, vpc, subnet) in attached {
        let made = api.call(
            "CreateTransitGatewayVpcAttachment",
            json!({ "TransitGatewayId": ids["tgw"], "VpcId": ids[vpc], "SubnetIds": [ids[subnet]],
                "TagSpecifications": tags("transit-gateway-attachment") }),
        );
        ids.insert(name, text(&made, "TransitGatewayVpcAttachment.TransitGatewayAttachmentId"));
    }
    let loose = json!({ "TransitGatewayRouteTableId": ids["tgw-main"],
        "TransitGatewayAttachmentId": ids["loose-attach"] });
    api.call("DisassociateTransitGatewayRouteTable", loose);
    let made = api.call(
        "CreateTransitGatewayRouteTable",
        json!({ "TransitGatewayId": ids["tgw"], "TagSpecifications": tags("transit-gateway-route-table") }),
    );
    ids.insert("tgw-rtb", text(&made, "TransitGatewayRouteTable.TransitGatewayRouteTableId"));
    let both = json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"],
        "TransitGatewayAttachmentId": ids["tgw-attach"] });
    api.call("EnableTransitGatewayRouteTablePropagation", both.clone());
    let mut route = both;
    route["DestinationCidrBlock"] = json!("10.50.0.0/16");
    api.call("CreateTransitGatewayRoute", route);
    api.call(
        "CreateVpnConnection",
        json!({ "Type": "ipsec.1", "CustomerGatewayId": ids["cgw"], "TransitGatewayId": ids["tgw"],
            "Options": { "StaticRoutesOnly": true } }),
    );
    let route = json!({ "RouteTableId": ids["peer-rtb"], "DestinationCidrBlock": "10.60.0.0/16",
        "TransitGatewayId": ids["tgw"] });
    api.call("CreateRoute", route);
}

/// Three VPCs, two of which are peered, and one that waits to be.
fn peerings(api: &Api, ids: &mut Ids) {
    let blocks = [("peer-one", "10.20.0.0/16"), ("peer-two", "10.21.0.0/16"), ("peer-three", "10.22.0.0/16")];
    for (name, block) in blocks {
        let vpc = api.call("CreateVpc", json!({ "CidrBlock": block }));
        ids.insert(name, text(&vpc, "Vpc.VpcId"));
        let names = json!({ "VpcId": ids[name], "EnableDnsHostnames": { "Value": true } });
        api.call("ModifyVpcAttribute", names);
    }
    for (name, peer) in [("pcx", "peer-two"), ("waiting-pcx", "peer-three")] {
        let asked = api.call(
            "CreateVpcPeeringConnection",
            json!({
            "VpcId": ids["peer-one"], "PeerVpcId": ids[peer], "TagSpecifications": tags("vpc-peering-connection") }),
        );
        ids.insert(name, text(&asked, "VpcPeeringConnection.VpcPeeringConnectionId"));
    }
    api.call("AcceptVpcPeeringConnection", json!({ "VpcPeeringConnectionId": ids["pcx"] }));
    let peering = ids["pcx"].parse().unwrap();
    api.report(Action::Peering(PeeringAction::ReportReady { peering }));
    let of_vpc = json!([{ "Name": "vpc-id", "Values": [ids["peer-one"]] }]);
    let tables = api.call("DescribeRouteTables", json!({ "Filters": of_vpc }));
    let table = text(&tables, "RouteTables.0.RouteTableId");
    api.call(
        "CreateRoute",
        json!({
        "RouteTableId": table, "DestinationCidrBlock": "10.21.0.0/16", "VpcPeeringConnectionId": ids["pcx"] }),
    );
    ids.insert("peer-rtb", table);
}

/// Load balancers, services behind them and an endpoint that wants to be connected.
fn services(api: &Api, ids: &mut Ids) {
    for name in ["nlb", "spare-nlb"] {
        let new = NewLoadBalancer {
            name: name.to_owned(),
            scheme: Scheme::Internal,
            zones: vec![NewLoadBalancerZone {
                subnet: ids["subnet"].parse().unwrap(),
                address: None,
                allocation: None,
            }],
            groups: Vec::new(),
            tags: Vec::new(),
        };
        let events = api.report(Action::Elb(ElbAction::CreateLoadBalancer(new)));
        let Event::Created(ResourceId::LoadBalancer(id)) = events[0] else { panic!("{events:?}") };
        let owner = api.state().load_balancers[&id].owner;
        let arn = "arn:aws:elasticloadbalancing:us-east-1";
        ids.insert(name, format!("{arn}:{owner}:loadbalancer/net/{name}/{:016x}", id.number()));
    }
    for name in ["service", "spare-service"] {
        let mut new = json!({
            "NetworkLoadBalancerArns": [ids["nlb"]], "TagSpecifications": tags("vpc-endpoint-service") });
        if name == "service" {
            new["PrivateDnsName"] = json!("api.example.com");
        }
        let made = api.call("CreateVpcEndpointServiceConfiguration", new);
        ids.insert(name, text(&made, "ServiceConfiguration.ServiceId"));
    }
    let owner = text(&api.call("DescribeVpcs", json!({ "VpcIds": [ids["vpc"]] })), "Vpcs.0.OwnerId");
    let allow = json!({ "ServiceId": ids["service"],
        "AddAllowedPrincipals": [format!("arn:aws:iam::{owner}:root")] });
    api.call("ModifyVpcEndpointServicePermissions", allow);
    let wanted = api.call(
        "CreateVpcEndpoint",
        json!({
        "VpcId": ids["gateway-vpc"], "VpcEndpointType": "Interface",
        "ServiceName": format!("com.amazonaws.vpce.us-east-1.{}", ids["service"]) }),
    );
    ids.insert("connection", text(&wanted, "VpcEndpoint.VpcEndpointId"));
    let create = SnsAction::CreateTopic {
        name: "events".to_owned(),
        display_name: String::new(),
        policy: None,
        tags: Vec::new(),
    };
    api.report(Action::Sns(create));
    ids.insert("topic", format!("arn:aws:sns:us-east-1:{owner}:events"));
    let notified = api.call(
        "CreateVpcEndpointConnectionNotification",
        json!({ "ServiceId": ids["service"], "ConnectionNotificationArn": ids["topic"], "ConnectionEvents": ["Accept"] }),
    );
    api.call(
        "CreateVpcEndpointConnectionNotification",
        json!({ "VpcEndpointId": ids["connection"], "ConnectionNotificationArn": ids["topic"],
            "ConnectionEvents": ["Reject"] }),
    );
    ids.insert("nfn", text(&notified, "ConnectionNotification.ConnectionNotificationId"));
}

/// Alice's and Bob's worlds are alike, addresses and names included, so that nothing but ids tells them apart.
fn build() -> (State, Ids, Ids) {
    let api = Api::empty();
    let alice = furnish(&api);
    let api = api.asked_by(BOB);
    let bob = furnish(&api);
    let state = (*api.state()).clone();
    let broken = postern_model::invariants::check(&state);
    assert!(broken.is_empty(), "{broken:?}");
    (state, alice, bob)
}
