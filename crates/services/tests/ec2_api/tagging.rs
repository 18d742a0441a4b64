//! Tags: at creation, later, and in lists.

use serde_json::{Value, json};

use crate::support::{at, text, texts};
use crate::world::built;

#[test]
fn tags_are_put_on_replaced_and_taken_away() {
    let (api, ids) = built();
    let tags = || at(&api.call("DescribeVpcs", json!({ "VpcIds": [ids["vpc"]] })), "Vpcs.0.Tags").clone();
    let tag = |key: &str, value: &str| json!({ "Key": key, "Value": value });
    api.call("CreateTags", json!({ "Resources": [ids["vpc"]], "Tags": [tag("Name", "new"), tag("a", "")] }));
    assert_eq!(tags(), json!([tag("Name", "new"), tag("a", "")]));
    // With a value, only where the value is the same.
    api.call(
        "DeleteTags",
        json!({ "Resources": [ids["vpc"]], "Tags": [tag("Name", "other"), { "Key": "a" }] }),
    );
    assert_eq!(tags(), json!([tag("Name", "new")]));
    api.call("DeleteTags", json!({ "Resources": [ids["vpc"]] }));
    assert_eq!(tags(), json!([]));
}

#[test]
fn tags_are_refused_in_awss_words() {
    let (api, ids) = built();
    let create = |resource: &str, tags: Value| {
        api.refusal("CreateTags", json!({ "Resources": [resource], "Tags": tags }))
    };
    let vpc = &ids["vpc"];
    assert_eq!(
        create("dog-1", json!([{ "Key": "a", "Value": "b" }])),
        "InvalidID: The ID 'dog-1' is not valid"
    );
    assert!(
        create("vpc-0123456789abcdef0", json!([{ "Key": "a", "Value": "b" }]))
            .starts_with("InvalidVpcID.NotFound: ")
    );
    assert_eq!(
        create(vpc, json!([{ "Key": "AWS:x", "Value": "b" }])),
        "InvalidParameterValue: Tag keys starting with 'aws:' are reserved for internal use: 'AWS:x'"
    );
    assert_eq!(
        create(vpc, json!([{ "Key": "k".repeat(129), "Value": "b" }])),
        "InvalidParameterValue: Tag key exceeds the maximum length of 128 characters"
    );
    assert_eq!(
        create(vpc, json!([{ "Key": "k", "Value": "v".repeat(257) }])),
        "InvalidParameterValue: Tag value exceeds the maximum length of 256 characters"
    );
    assert_eq!(
        create(vpc, json!([{ "Key": "k" }])),
        "InvalidParameterValue: Tag value cannot be null. Use empty string instead."
    );
    let twice = json!([{ "Key": "k", "Value": "1" }, { "Key": "k", "Value": "2" }]);
    assert_eq!(create(vpc, twice), "InvalidParameterValue: Duplicate tag key 'k' specified.");
    let many: Vec<Value> = (0..51).map(|n| json!({ "Key": n.to_string(), "Value": "" })).collect();
    assert!(create(vpc, json!(many)).starts_with("TagLimitExceeded: "));
    let wrong_kind = json!([{ "ResourceType": "subnet", "Tags": [{ "Key": "a", "Value": "b" }] }]);
    assert_eq!(
        api.refusal("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16", "TagSpecifications": wrong_kind })),
        "InvalidParameterValue: 'subnet' is not a valid taggable resource type for this operation."
    );
    let empty = json!([{ "ResourceType": "vpc", "Tags": [] }]);
    assert_eq!(
        api.refusal("CreateVpc", json!({ "CidrBlock": "10.0.0.0/16", "TagSpecifications": empty })),
        "InvalidParameterValue: Tag specification must have at least one tag"
    );
    // One that cannot be had, and none is.
    let some =
        json!({ "Resources": [vpc, "subnet-0123456789abcdef0"], "Tags": [{ "Key": "z", "Value": "z" }] });
    let before = api.state();
    assert!(api.refusal("CreateTags", some).starts_with("InvalidSubnetID.NotFound: "));
    assert_eq!(api.state(), before);
}

#[test]
fn all_tags_are_listed_with_their_kinds() {
    let (api, ids) = built();
    let listed = api.call("DescribeTags", json!({}));
    let kinds: std::collections::BTreeSet<String> =
        texts(&listed, "Tags", "ResourceType").into_iter().collect();
    let expected = [
        "customer-gateway",
        "dhcp-options",
        "elastic-ip",
        "instance",
        "internet-gateway",
        "key-pair",
        "natgateway",
        "network-acl",
        "network-interface",
        "prefix-list",
        "route-table",
        "security-group",
        "security-group-rule",
        "subnet",
        "transit-gateway",
        "transit-gateway-attachment",
        "transit-gateway-route-table",
        "vpc",
        "vpc-endpoint",
        "vpc-endpoint-service",
        "vpc-peering-connection",
        "vpn-connection",
        "vpn-gateway",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let of = |name: &str, value: &str| {
        api.call("DescribeTags", json!({ "Filters": [{ "Name": name, "Values": [value] }] }))
    };
    assert_eq!(text(&of("resource-id", &ids["vpc"]), "Tags.0.Value"), "the vpc");
    assert_eq!(text(&of("tag:Name", "the vpc"), "Tags.0.ResourceId"), ids["vpc"]);
}

/// Deleting all tags of something rests on the same list.
#[test]
fn the_tags_of_an_endpoint_service_are_listed_and_all_deleted() {
    let (api, ids) = built();
    let tags = json!([{ "ResourceType": "vpc-endpoint-service", "Tags": [{ "Key": "a", "Value": "b" }] }]);
    let new = json!({ "NetworkLoadBalancerArns": [ids["nlb"]], "TagSpecifications": tags });
    let made = api.call("CreateVpcEndpointServiceConfiguration", new);
    let id = text(&made, "ServiceConfiguration.ServiceId");
    let listed =
        || api.call("DescribeTags", json!({ "Filters": [{ "Name": "resource-id", "Values": [id] }] }));
    assert_eq!(text(&listed(), "Tags.0.ResourceType"), "vpc-endpoint-service");
    api.call("DeleteTags", json!({ "Resources": [id] }));
    assert!(texts(&listed(), "Tags", "Key").is_empty());
    let shown = api.call("DescribeVpcEndpointServiceConfigurations", json!({ "ServiceIds": [id] }));
    assert!(texts(&shown, "ServiceConfigurations.0.Tags", "Key").is_empty());
}
