//! Every filter of every listing.

use postern_services::ec2::{Entry, entries};
use serde_json::{Value, json};

use crate::support::Api;
use crate::world::built;

/// Filters by what AWS has and nothing here has: they are known, and nothing passes them.
const NEVER: &[&str] = &[
    "affinity",
    "association.gateway-id",
    "attached-ebs-status.status",
    "block-device-mapping.*",
    "customer-gateway-configuration",
    "customer-owned-ipv4-pool",
    "enable-lni-at-device-index",
    "event.*",
    "group-long-name",
    "host-id",
    "instance-lifecycle",
    "ipv6-address",
    "ipv6-addresses.ipv6-address",
    "ipv6-cidr-block-association.*",
    "kernel-id",
    "message",
    "network-interface.ipv6-addresses.ipv6-address",
    "network-interface.requester-id",
    "outpost-arn",
    "parent-zone-id",
    "parent-zone-name",
    "placement-group-name",
    "placement-partition-number",
    "platform",
    "product-code",
    "product-code.type",
    "ramdisk-id",
    "requester-id",
    "route.carrier-gateway-id",
    "route.destination-ipv6-cidr-block",
    "route.egress-only-internet-gateway-id",
    "spot-instance-request-id",
    "sriov-net-support",
    "state-reason-code",
    "state-reason-message",
];

fn is_never(entry: &Entry, name: &str) -> bool {
    // What is AWS's has no tags.
    if entry.name == "DescribeImages" && name.starts_with("tag") {
        return true;
    }
    // An instance has a reason for its state, an image has none; a gateway manages interfaces, people do not.
    let instances = entry.name == "DescribeInstances" && name.starts_with("state-reason");
    let interfaces = entry.name == "DescribeNetworkInterfaces" && name == "requester-id";
    let zones = entry.name == "DescribeVpnGateways" && name == "availability-zone";
    let known = |never: &&str| match never.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => *never == name,
    };
    // No route of a transit gateway's leads to a prefix list.
    let lists = entry.name == "SearchTransitGatewayRoutes" && name == "prefix-list-id";
    zones || lists || NEVER.iter().any(known) && !instances && !interfaces
}

/// The rows of a listing's answer, launches opened.
fn rows(answer: &Value) -> Vec<Value> {
    let lists = answer.as_object().unwrap().iter().filter(|(key, _)| *key != "ServiceNames");
    let rows: Vec<Value> = lists.filter_map(|(_, list)| list.as_array()).flatten().cloned().collect();
    if answer.get("Reservations").is_none() {
        return rows;
    }
    rows.iter().flat_map(|row| row["Instances"].as_array().unwrap().clone()).collect()
}

/// What a listing has to be told besides.
fn required(operation: &str) -> Value {
    match operation {
        "DescribeVpcEndpointServicePermissions" => json!({ "ServiceId": built().1["service"] }),
        "GetTransitGatewayRouteTableAssociations" | "GetTransitGatewayRouteTablePropagations" => {
            json!({ "TransitGatewayRouteTableId": built().1["tgw-main"] })
        }
        "GetTransitGatewayAttachmentPropagations" => {
            json!({ "TransitGatewayAttachmentId": built().1["tgw-attach"] })
        }
        "SearchTransitGatewayRoutes" => json!({ "TransitGatewayRouteTableId": built().1["tgw-rtb"] }),
        _ => json!({}),
    }
}

fn listed(api: &Api, operation: &str, filters: Value) -> Vec<Value> {
    let mut request = required(operation);
    request["Filters"] = filters;
    rows(&api.call(operation, request))
}

/// The name of the member that holds filters.
fn filtered(api: &Api, operation: &str, name: &str, value: &str) -> Vec<Value> {
    let filters = json!([{ "Name": name, "Values": [value] }]);
    if operation == "DescribeNatGateways" {
        return rows(&api.call(operation, json!({ "Filter": filters })));
    }
    listed(api, operation, filters)
}

/// Every text, number and boolean in a row, as a filter's value would be.
fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
        Value::String(text) => found.push(text.clone()),
        Value::Bool(on) => found.push(on.to_string()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Null => {}
    }
}

#[test]
fn each_filter_lets_some_pass_and_others_not() {
    let (api, _) = built();
    let mut tried = 0;
    let mut wrong = Vec::new();
    for entry in entries() {
        // Those that search by a block take nothing else (`crate::transits`).
        for name in (entry.filters)().into_iter().filter(|name| !name.starts_with("route-search.")) {
            let pass = |value: &str| filtered(&api, entry.name, name, value);
            assert_eq!(pass("no-such-value"), Vec::<Value>::new(), "{} {name}", entry.name);
            let any = pass("*");
            if any.is_empty() != is_never(entry, name) {
                wrong.push(format!("{} {name}: something passes: {}", entry.name, !any.is_empty()));
            }
            let Some(row) = any.first() else { continue };
            // What the filter looks at is something that the row shows, and picks the row.
            let mut shown = Vec::new();
            leaves(row, &mut shown);
            let hit = shown.iter().any(|value| {
                let escaped = value.replace('\\', r"\\").replace('*', r"\*").replace('?', r"\?");
                pass(&escaped).contains(row)
            });
            let hidden = [
                "reservation-id",
                "owner-id",
                "instance-id",
                "tag:Name",
                "tag-key",
                "network-interface.requester-managed",
            ];
            if !hit && !hidden.contains(&name) {
                wrong.push(format!("{} {name}: no value of {row} is it", entry.name));
            }
            tried += 1;
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(tried > 200, "{tried}");
}

#[test]
fn filters_are_joined_by_and_their_values_by_or() {
    let (api, ids) = built();
    let subnets = |filters: Value| listed(&api, "DescribeSubnets", filters).len();
    let of_vpc = json!({ "Name": "vpc-id", "Values": [ids["vpc"]] });
    let zone = |zones: Value| json!({ "Name": "availability-zone", "Values": zones });
    assert_eq!(subnets(json!([of_vpc])), 3);
    assert_eq!(subnets(json!([of_vpc, zone(json!(["us-east-1b"]))])), 1);
    assert_eq!(subnets(json!([of_vpc, zone(json!(["us-east-1a", "us-east-1b"]))])), 3);
    assert_eq!(subnets(json!([of_vpc, zone(json!(["us-east-1?"]))])), 3);
    assert_eq!(subnets(json!([{ "Name": "tag:Name", "Values": ["the sub*"] }])), 3);
    assert_eq!(subnets(json!([{ "Name": "tag:name", "Values": ["the sub*"] }])), 0);
    assert_eq!(subnets(json!([{ "Name": "tag:Name", "Values": [r"the sub\*"] }])), 0);
}

#[test]
fn what_is_no_filter_is_refused_by_name() {
    let (api, _) = built();
    for entry in entries().filter(|entry| !(entry.filters)().is_empty()) {
        let member = if entry.name == "DescribeNatGateways" { "Filter" } else { "Filters" };
        let refusal = |filter: Value| {
            let mut request = required(entry.name);
            request[member] = json!([filter]);
            api.refusal(entry.name, request)
        };
        assert_eq!(
            refusal(json!({ "Name": "colour", "Values": ["red"] })),
            "InvalidParameterValue: The filter 'colour' is invalid"
        );
        assert_eq!(
            refusal(json!({ "Values": ["red"] })),
            "InvalidParameterValue: The filter 'null' is invalid"
        );
        let name = (entry.filters)()[0];
        assert_eq!(
            refusal(json!({ "Name": name })),
            format!("InvalidParameterValue: The filter '{name}' has no values")
        );
    }
    let many: Vec<String> = (0..201).map(|n| n.to_string()).collect();
    assert_eq!(
        api.refusal("DescribeVpcs", json!({ "Filters": [{ "Name": "cidr", "Values": many }] })),
        "FilterLimitExceeded: The maximum number of filter values specified on a single call is 200"
    );
}
