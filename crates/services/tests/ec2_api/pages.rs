//! Pages: every listing with `MaxResults` is walked from its first page to its last.

use postern_services::ec2::entries;
use serde_json::{Value, json};

use crate::support::{Api, text};
use crate::world::{Ids, base64, built};

/// Seven more of everything that can be listed.
fn crowd(api: &Api, ids: &Ids) {
    for n in 0..7 {
        let vpc = api.call("CreateVpc", json!({ "CidrBlock": "10.5.0.0/16" }));
        let peer = text(&vpc, "Vpc.VpcId");
        crowd_transit(api, ids, &peer, n);
        api.call("CreateVpcPeeringConnection", json!({ "VpcId": ids["peer-one"], "PeerVpcId": peer }));
        api.call("CreateSubnet", json!({ "VpcId": ids["vpc"], "CidrBlock": format!("10.0.1{n}0.0/24") }));
        api.call("CreateRouteTable", json!({ "VpcId": ids["vpc"] }));
        api.call("CreateInternetGateway", json!({}));
        api.call("CreateNatGateway", json!({ "SubnetId": ids["subnet"], "ConnectivityType": "private" }));
        api.call("AllocateAddress", json!({}));
        api.call("CreateNetworkInterface", json!({ "SubnetId": ids["subnet"] }));
        api.call("CreateNetworkAcl", json!({ "VpcId": ids["vpc"] }));
        api.call(
            "CreateVpcEndpoint",
            json!({ "VpcId": ids["vpc"], "ServiceName": "com.amazonaws.us-east-1.s3" }),
        );
        let wanted = format!("com.amazonaws.vpce.us-east-1.{}", ids["service"]);
        api.call(
            "CreateVpcEndpoint",
            json!({ "VpcId": ids["vpc"], "VpcEndpointType": "Interface", "ServiceName": wanted }),
        );
        api.call("CreateVpcEndpointServiceConfiguration", json!({ "NetworkLoadBalancerArns": [ids["nlb"]] }));
        let user = format!("arn:aws:iam::111122223333:user/u{n}");
        api.call(
            "ModifyVpcEndpointServicePermissions",
            json!({ "ServiceId": ids["service"], "AddAllowedPrincipals": [user] }),
        );
        let options = json!([{ "Key": "domain-name", "Values": [format!("{n}.example")] }]);
        api.call("CreateDhcpOptions", json!({ "DhcpConfigurations": options }));
        let group = api.call(
            "CreateSecurityGroup",
            json!({
            "VpcId": ids["vpc"], "GroupName": format!("g{n}"), "Description": "x" }),
        );
        let lists = json!([{ "IpProtocol": "-1", "PrefixListIds": [{ "PrefixListId": ids["pl"] }] }]);
        api.call(
            "AuthorizeSecurityGroupIngress",
            json!({ "GroupId": text(&group, "GroupId"), "IpPermissions": lists }),
        );
    }
    let run = api.call("RunInstances", json!({
        "ImageId": postern_services::ec2::IMAGE_ID, "InstanceType": crate::world::instance_type(), "MinCount": 7,
        "MaxCount": 7, "SubnetId": ids["subnet"], "IamInstanceProfile": { "Name": "readers" },
        "UserData": base64("x") }));
    assert_eq!(run["Instances"].as_array().unwrap().len(), 7);
}

/// One more of everything about transit gateways.
fn crowd_transit(api: &Api, ids: &Ids, vpc: &str, n: usize) {
    api.call("CreateTransitGateway", json!({}));
    let subnet = api.call("CreateSubnet", json!({ "VpcId": vpc, "CidrBlock": "10.5.0.0/24" }));
    let attach = json!({ "TransitGatewayId": ids["tgw"], "VpcId": vpc,
        "SubnetIds": [text(&subnet, "Subnet.SubnetId")] });
    api.call("CreateTransitGatewayVpcAttachment", attach);
    let table = api.call("CreateTransitGatewayRouteTable", json!({ "TransitGatewayId": ids["tgw"] }));
    let table = text(&table, "TransitGatewayRouteTable.TransitGatewayRouteTableId");
    let both =
        json!({ "TransitGatewayRouteTableId": table, "TransitGatewayAttachmentId": ids["tgw-attach"] });
    api.call("EnableTransitGatewayRouteTablePropagation", both);
    let route = json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"],
        "DestinationCidrBlock": format!("10.8{n}.0.0/16"), "Blackhole": true });
    api.call("CreateTransitGatewayRoute", route);
}

/// The items of an answer's list.
fn items(answer: &Value) -> Vec<Value> {
    let lists = answer.as_object().unwrap().iter().filter(|(key, _)| *key != "ServiceNames");
    lists.filter_map(|(_, list)| list.as_array()).flatten().cloned().collect()
}

/// How many things are in an answer: instances for launches.
fn count(items: &[Value]) -> usize {
    items.iter().map(|item| item.get("Instances").and_then(Value::as_array).map_or(1, Vec::len)).sum()
}

/// There are too few of these for two pages: that a page has a size shows in its bounds alone.
const FEW: &[&str] = &["DescribeImages", "DescribePrefixLists"];

#[test]
fn pages_together_are_the_whole() {
    let (api, ids) = built();
    crowd(&api, ids);
    let mut walked = 0;
    for entry in entries() {
        if !entry.honoured.iter().copied().flatten().any(|path| *path == "MaxResults") {
            continue;
        }
        let base = match entry.name {
            "GetManagedPrefixListEntries" | "GetManagedPrefixListAssociations" => {
                json!({ "PrefixListId": ids["pl"] })
            }
            "DescribeVpcEndpointServicePermissions" => json!({ "ServiceId": ids["service"] }),
            "DescribeInstanceStatus" => json!({ "IncludeAllInstances": true }),
            "GetTransitGatewayRouteTableAssociations" | "GetTransitGatewayRouteTablePropagations" => {
                json!({ "TransitGatewayRouteTableId": ids["tgw-main"] })
            }
            "GetTransitGatewayAttachmentPropagations" => {
                json!({ "TransitGatewayAttachmentId": ids["tgw-attach"] })
            }
            "SearchTransitGatewayRoutes" => json!({ "TransitGatewayRouteTableId": ids["tgw-rtb"],
                "Filters": [{ "Name": "type", "Values": ["*"] }] }),
            _ => json!({}),
        };
        let with = |member: &str, value: Value| {
            let mut request = base.clone();
            request[member] = value;
            request
        };
        let whole = items(&api.call(entry.name, base.clone()));
        let size = if api.attempt(entry.name, with("MaxResults", json!(1))).is_ok() { 1 } else { 5 };
        let mut together = Vec::new();
        let mut pages = 0;
        let mut request = with("MaxResults", json!(size));
        loop {
            let answer = api.call(entry.name, request.clone());
            let page = items(&answer);
            assert!(count(&page) <= size, "{}", entry.name);
            together.extend(page);
            pages += 1;
            match answer.get("NextToken") {
                Some(token) => request["NextToken"] = token.clone(),
                None => break,
            }
        }
        assert_eq!(count(&together), count(&whole), "{}", entry.name);
        if entry.name != "DescribeInstances" {
            assert_eq!(together, whole, "{}", entry.name);
        }
        assert_eq!(pages > 1, !FEW.contains(&entry.name), "{}: {} rows", entry.name, whole.len());
        for bad in [json!(0), json!(-1), json!(1_000_000)] {
            let most_is_cut = entry.name.starts_with("DescribeVpcEndpoint");
            if most_is_cut && bad == json!(1_000_000) {
                continue;
            }
            let error = api.refusal(entry.name, with("MaxResults", bad.clone()));
            assert!(error.starts_with("InvalidParameterValue: Value ("), "{} {bad}: {error}", entry.name);
        }
        walked += 1;
    }
    assert!(walked >= 20, "{walked}");
}

#[test]
fn a_token_of_another_listing_is_none() {
    let (api, ids) = built();
    crowd(&api, ids);
    let token = text(&api.call("DescribeVpcs", json!({ "MaxResults": 5 })), "NextToken");
    for bad in [token.as_str(), "", "zzz", "!!"] {
        assert_eq!(
            api.refusal("DescribeSubnets", json!({ "NextToken": bad })),
            format!("InvalidNextToken: The token '{bad}' is invalid")
        );
    }
    // Rows that come between two pages are neither repeated nor hide others.
    api.call("CreateVpc", json!({ "CidrBlock": "10.5.0.0/16" }));
    let rest = api.call("DescribeVpcs", json!({ "NextToken": token }));
    let first = api.call("DescribeVpcs", json!({ "MaxResults": 5 }));
    let ids_of = |answer: &Value| crate::support::texts(answer, "Vpcs", "VpcId");
    assert!(ids_of(&rest).iter().all(|id| !ids_of(&first)[..4].contains(id)));
}

#[test]
fn ids_and_pages_exclude_each_other_for_instances() {
    let (api, ids) = built();
    for operation in ["DescribeInstances", "DescribeInstanceStatus"] {
        assert_eq!(
            api.refusal(operation, json!({ "InstanceIds": [ids["i"]], "MaxResults": 5 })),
            "InvalidParameterCombination: The parameter instancesSet cannot be used with the parameter maxResults"
        );
    }
}
