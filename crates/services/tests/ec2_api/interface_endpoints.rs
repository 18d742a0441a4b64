//! Interface endpoints: what AWS says of them, and its words for what cannot be.

use postern_model::{Action, Quota};
use serde_json::{Value, json};

use crate::support::{Api, at, text, texts};
use crate::world::{Ids, built};

const EC2: &str = "com.amazonaws.us-east-1.ec2";
const S3: &str = "com.amazonaws.us-east-1.s3";
/// As AWS returns it, to the letter: without a version, and with blanks.
const FULL_ACCESS: &str = "{\n  \"Statement\": [\n    {\n      \"Action\": \"*\", \n      \"Effect\": \"Allow\", \n      \"Principal\": \"*\", \n      \"Resource\": \"*\"\n    }\n  ]\n}";

fn request(ids: &Ids, more: Value) -> Value {
    let mut request = json!({ "VpcEndpointType": "Interface", "VpcId": ids["vpc"], "ServiceName": EC2 });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// Makes one that is available, and gives its id.
fn create(api: &Api, ids: &Ids, more: Value) -> String {
    let id = text(&api.call("CreateVpcEndpoint", request(ids, more)), "VpcEndpoint.VpcEndpointId");
    api.report(Action::ReportVpcEndpointReady { endpoint: id.parse().unwrap() });
    id
}

fn refusal(api: &Api, ids: &Ids, more: Value) -> String {
    api.refusal("CreateVpcEndpoint", request(ids, more))
}

fn shown(api: &Api, id: &str) -> Value {
    at(&api.call("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [id] })), "VpcEndpoints.0").clone()
}

fn modify(api: &Api, id: &str, more: Value) {
    let mut request = json!({ "VpcEndpointId": id });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.call("ModifyVpcEndpoint", request);
}

fn hostnames(api: &Api, ids: &Ids, on: bool) {
    let change = json!({ "VpcId": ids["vpc"], "EnableDnsHostnames": { "Value": on } });
    api.call("ModifyVpcAttribute", change);
}

fn names(endpoint: &Value) -> Vec<&str> {
    let entries = endpoint["DnsEntries"].as_array().unwrap();
    entries.iter().map(|entry| entry["DnsName"].as_str().unwrap()).collect()
}

#[test]
fn one_is_described_as_aws_describes_it() {
    let (api, ids) = built();
    hostnames(&api, ids, true);
    let made = api.call(
        "CreateVpcEndpoint",
        request(
            ids,
            json!({
                "SubnetIds": [ids["subnet"], ids["private"]], "SecurityGroupIds": [ids["sg"]], "PrivateDnsEnabled": true,
                "SubnetConfigurations": [{ "SubnetId": ids["subnet"], "Ipv4": "10.0.0.77" }],
                "DnsOptions": { "DnsRecordIpType": "service-defined" }, "IpAddressType": "ipv4", "ClientToken": "t",
                "TagSpecifications": [{ "ResourceType": "vpc-endpoint", "Tags": [{ "Key": "k", "Value": "v" }] }]
            }),
        ),
    );
    let made = at(&made, "VpcEndpoint");
    assert_eq!(made["State"], "pending");
    let id = text(made, "VpcEndpointId");
    api.report(Action::ReportVpcEndpointReady { endpoint: id.parse().unwrap() });
    let endpoint = shown(&api, &id);
    for (member, expected) in [
        ("State", json!("available")),
        ("VpcEndpointType", json!("Interface")),
        ("VpcId", json!(ids["vpc"])),
        ("ServiceName", json!(EC2)),
        ("ServiceRegion", json!("us-east-1")),
        ("PolicyDocument", json!(FULL_ACCESS)),
        ("IpAddressType", json!("ipv4")),
        ("PrivateDnsEnabled", json!(true)),
        ("RequesterManaged", json!(false)),
        ("RouteTableIds", json!([])),
        ("Groups", json!([{ "GroupId": ids["sg"], "GroupName": "group" }])),
        (
            "DnsOptions",
            json!({ "DnsRecordIpType": "service-defined", "PrivateDnsOnlyForInboundResolverEndpoint": false }),
        ),
        ("Tags", json!([{ "Key": "k", "Value": "v" }])),
        ("OwnerId", json!(text(made, "OwnerId"))),
    ] {
        assert_eq!(endpoint[member], expected, "{member}");
    }
    let mut subnets = vec![ids["subnet"].clone(), ids["private"].clone()];
    subnets.sort();
    assert_eq!(endpoint["SubnetIds"], json!(subnets));
    let entries = endpoint["DnsEntries"].as_array().unwrap();
    let regional = entries[0]["DnsName"].as_str().unwrap();
    let start = regional.strip_suffix(".ec2.us-east-1.vpce.amazonaws.com").unwrap();
    let label = start.strip_prefix(&format!("{id}-")).unwrap();
    assert_eq!(label.len(), 8);
    let zone = |zone: &str| format!("{start}-{zone}.ec2.us-east-1.vpce.amazonaws.com");
    let expected = [
        regional.to_owned(),
        zone("us-east-1a"),
        zone("us-east-1b"),
        "ec2.us-east-1.amazonaws.com".to_owned(),
    ];
    assert_eq!(names(&endpoint), expected);
    let zones: Vec<_> = entries.iter().map(|entry| entry["HostedZoneId"].as_str().unwrap()).collect();
    assert_eq!(zones[..3], ["Z7HUB22UULQXV"; 3]);
    assert!(zones[3] != zones[0] && zones[3].starts_with('Z'), "the private name has a zone of its own");
    assert_eq!(endpoint["NetworkInterfaceIds"].as_array().unwrap().len(), 2);
    assert!(endpoint.get("FailureReason").is_none() && endpoint.get("LastError").is_none());
    for (filter, value) in
        [("vpc-endpoint-type", "Interface"), ("ip-address-type", "ipv4"), ("service-name", EC2)]
    {
        let filters = json!([{ "Name": filter, "Values": [value] }]);
        let found = api.call("DescribeVpcEndpoints", json!({ "Filters": filters }));
        assert!(texts(&found, "VpcEndpoints", "VpcEndpointId").contains(&id), "{filter}");
    }
}

#[test]
fn its_interfaces_are_shown_and_left_alone() {
    let (api, ids) = built();
    let id = create(&api, ids, json!({ "SubnetIds": [ids["subnet"]] }));
    let filters = json!([{ "Name": "interface-type", "Values": ["vpc_endpoint"] }]);
    let found = api.call("DescribeNetworkInterfaces", json!({ "Filters": filters }));
    let eni = at(&found, "NetworkInterfaces.0");
    assert_eq!(eni["NetworkInterfaceId"], shown(&api, &id)["NetworkInterfaceIds"][0]);
    assert_eq!(eni["Description"], format!("VPC Endpoint Interface {id}"));
    assert_eq!((&eni["RequesterManaged"], &eni["RequesterId"]), (&json!(true), &json!("727180483921")));
    assert_eq!((&eni["SourceDestCheck"], &eni["Status"]), (&json!(true), &json!("in-use")));
    let attachment = &eni["Attachment"];
    assert!(text(attachment, "AttachmentId").starts_with("ela-attach-"));
    assert_eq!(
        (&attachment["DeviceIndex"], &attachment["InstanceOwnerId"]),
        (&json!(1), &json!("amazon-aws"))
    );
    let eni = text(eni, "NetworkInterfaceId");
    assert_eq!(
        api.refusal("DetachNetworkInterface", json!({ "AttachmentId": attachment["AttachmentId"] })),
        "OperationNotPermitted: You are not allowed to manage 'ela-attach' attachments."
    );
    assert_eq!(
        api.refusal("DeleteNetworkInterface", json!({ "NetworkInterfaceId": eni })),
        format!("InvalidParameterValue: Network interface '{eni}' is currently in use.")
    );
    let change = json!({ "NetworkInterfaceId": eni, "SourceDestCheck": { "Value": false } });
    assert!(api.refusal("ModifyNetworkInterfaceAttribute", change).starts_with("OperationNotPermitted: "));
    assert!(
        api.refusal("DeleteSubnet", json!({ "SubnetId": ids["subnet"] }))
            .starts_with("DependencyViolation: ")
    );
}

#[test]
fn it_goes_by_deleting_and_deleted() {
    let (api, ids) = built();
    let id = create(&api, ids, json!({ "SubnetIds": [ids["subnet"]] }));
    let done = api.call("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [id] }));
    assert_eq!(done["Unsuccessful"], json!([]));
    let endpoint = shown(&api, &id);
    assert_eq!(endpoint["State"], "deleting");
    for member in ["NetworkInterfaceIds", "SubnetIds", "DnsEntries"] {
        assert_eq!(endpoint[member], json!([]), "{member}");
    }
    assert_eq!(
        api.refusal("ModifyVpcEndpoint", json!({ "VpcEndpointId": id, "ResetPolicy": true })),
        format!(
            "IncorrectState: The Vpc Endpoint '{id}' is deleting, and the operation needs it to be available."
        )
    );
    api.report(Action::ReportVpcEndpointGone { endpoint: id.parse().unwrap() });
    assert_eq!(shown(&api, &id)["State"], "deleted");
    let again = api.call("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [id] }));
    assert_eq!(at(&again, "Unsuccessful.0.Error.Code"), "InvalidVpcEndpoint.NotFound");
    api.report(Action::ForgetVpcEndpoint { endpoint: id.parse().unwrap() });
    assert!(
        api.refusal("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [id] }))
            .starts_with("InvalidVpcEndpointId.NotFound: ")
    );
}

#[test]
fn without_subnets_it_has_no_names_and_still_a_group() {
    let (api, ids) = built();
    let endpoint = shown(&api, &create(&api, ids, json!({})));
    assert_eq!((&endpoint["DnsEntries"], &endpoint["NetworkInterfaceIds"]), (&json!([]), &json!([])));
    assert_eq!(at(&endpoint, "Groups.0.GroupName"), "default");
    assert_eq!(endpoint["PrivateDnsEnabled"], false);
    assert_eq!(at(&endpoint, "DnsOptions.DnsRecordIpType"), "ipv4");
}

#[test]
fn the_names_of_s3_are_for_what_is_below_them() {
    let (api, ids) = built();
    hostnames(&api, ids, true);
    let dns = json!({ "PrivateDnsOnlyForInboundResolverEndpoint": false });
    let id = create(
        &api,
        ids,
        json!({ "ServiceName": S3, "SubnetIds": [ids["subnet"]], "PrivateDnsEnabled": true, "DnsOptions": dns }),
    );
    let endpoint = shown(&api, &id);
    let names = names(&endpoint);
    assert!(names[..2].iter().all(|name| name.starts_with(&format!("*.{id}-"))), "{names:?}");
    assert_eq!(names[2..4], ["s3.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com"]);
    assert_eq!(names.len(), 8, "{names:?}");
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let (api, ids) = built();
    hostnames(&api, ids, true);
    let id = create(&api, ids, json!({ "SubnetIds": [ids["subnet"]] }));
    let first = shown(&api, &id)["NetworkInterfaceIds"][0].clone();
    modify(
        &api,
        &id,
        json!({
            "AddSubnetIds": [ids["private"]], "AddSecurityGroupIds": [ids["sg"]],
            "SubnetConfigurations": [{ "SubnetId": ids["private"], "Ipv4": "10.0.1.88" }],
            "PrivateDnsEnabled": true, "DnsOptions": { "DnsRecordIpType": "ipv4" },
            "PolicyDocument": r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"ec2:Describe*","Resource":"*"}]}"#
        }),
    );
    let endpoint = shown(&api, &id);
    assert_eq!(endpoint["State"], "pending", "until it is known");
    assert!(endpoint["NetworkInterfaceIds"].as_array().unwrap().contains(&first));
    assert_eq!(endpoint["Groups"].as_array().unwrap().len(), 2);
    assert_eq!(endpoint["PrivateDnsEnabled"], true);
    assert!(text(&endpoint, "PolicyDocument").contains("ec2:Describe*"));
    let addresses = api.call(
        "DescribeNetworkInterfaces",
        json!({ "Filters": [{ "Name": "addresses.private-ip-address", "Values": ["10.0.1.88"] }] }),
    );
    assert_eq!(texts(&addresses, "NetworkInterfaces", "SubnetId"), [ids["private"].as_str()]);
    let default = at(&endpoint, "Groups").as_array().unwrap();
    let default = default.iter().find(|group| group["GroupName"] == "default").unwrap();
    modify(
        &api,
        &id,
        json!({
            "RemoveSubnetIds": [ids["subnet"]], "RemoveSecurityGroupIds": [default["GroupId"]],
            "PrivateDnsEnabled": false, "ResetPolicy": true
        }),
    );
    let endpoint = shown(&api, &id);
    assert_eq!(endpoint["SubnetIds"], json!([ids["private"]]));
    assert_eq!(endpoint["Groups"], json!([{ "GroupId": ids["sg"], "GroupName": "group" }]));
    assert_eq!(
        (&endpoint["PrivateDnsEnabled"], &endpoint["PolicyDocument"]),
        (&json!(false), &json!(FULL_ACCESS))
    );
}

#[test]
fn each_refusal_has_awss_code_and_sentence() {
    let (api, ids) = built();
    let (vpc, subnet, spare) = (&ids["vpc"], &ids["subnet"], &ids["spare-subnet"]);
    hostnames(&api, ids, false);
    let both = format!(
        "InvalidParameter: Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {vpc}"
    );
    assert_eq!(refusal(&api, ids, json!({ "PrivateDnsEnabled": true })), both);
    let off = create(&api, ids, json!({}));
    assert_eq!(
        api.refusal("ModifyVpcEndpoint", json!({ "VpcEndpointId": off, "PrivateDnsEnabled": true })),
        both
    );
    hostnames(&api, ids, true);
    create(&api, ids, json!({ "PrivateDnsEnabled": true }));
    let taken = format!(
        "InvalidParameter: private-dns-enabled cannot be set because there is already a conflicting DNS domain for ec2.us-east-1.amazonaws.com in the VPC {vpc}"
    );
    let dynamodb = "com.amazonaws.us-east-1.dynamodb";
    let inbound_only = json!({ "PrivateDnsOnlyForInboundResolverEndpoint": true });
    let with = |service: &str| json!({ "ServiceName": service });
    for (more, expected) in [
        (json!({ "PrivateDnsEnabled": true }), taken.clone()),
        (
            json!({ "SubnetIds": [subnet, spare] }),
            format!("DuplicateSubnetsInSameZone: Found another VPC endpoint subnet in the availability zone of {subnet}"),
        ),
        (
            json!({ "ServiceName": dynamodb, "PrivateDnsEnabled": true }),
            format!(
                "InvalidParameter: Private DNS can't be enabled because the service {dynamodb} does not provide a private DNS name."
            ),
        ),
        (
            json!({ "ServiceName": EC2, "PrivateDnsEnabled": true, "DnsOptions": inbound_only }),
            format!(
                "InvalidParameter: PrivateDnsOnlyForInboundResolverEndpoint needs private DNS and a service that supports both Gateway and Interface VPC Endpoints, and {EC2} is not used so."
            ),
        ),
        (
            with("com.amazonaws.us-east-1.cloudfront"),
            "InvalidServiceName: The Vpc Endpoint Service 'com.amazonaws.us-east-1.cloudfront' does not exist".to_owned(),
        ),
        (
            json!({ "ServiceRegion": "eu-west-1" }),
            format!("InvalidServiceName: The Vpc Endpoint Service '{EC2}' does not exist"),
        ),
        (
            json!({ "RouteTableIds": [ids["rtb"]] }),
            "InvalidParameter: RouteTableIds is applicable only to Gateway VPC Endpoints.".to_owned(),
        ),
        (
            json!({ "DnsOptions": { "DnsRecordIpType": "dualstack" } }),
            "InvalidParameter: The DNS record IP type dualstack is not compatible with the IP address type ipv4.".to_owned(),
        ),
        (
            json!({ "IpAddressType": "dualstack" }),
            "UnsupportedOperation: The value (dualstack) of the parameter IpAddressType is not supported by this endpoint yet. Supported values: ipv4".to_owned(),
        ),
        (
            json!({ "SubnetConfigurations": [{ "SubnetId": subnet, "Ipv4": "10.0.0.99" }] }),
            format!("InvalidParameter: The subnet {subnet} is not one of the VPC endpoint's, or is given twice."),
        ),
        (
            json!({ "SubnetIds": [subnet], "SubnetConfigurations": [{ "SubnetId": subnet, "Ipv4": "10.0.0.1" }] }),
            "InvalidParameterValue: Address 10.0.0.1 is in subnet's reserved address range".to_owned(),
        ),
        (
            json!({ "SubnetIds": ["subnet-0123456789abcdef0"] }),
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-0123456789abcdef0' does not exist".to_owned(),
        ),
        (
            json!({ "SecurityGroupIds": ["sg-0123456789abcdef0"] }),
            "InvalidGroup.NotFound: The security group 'sg-0123456789abcdef0' does not exist".to_owned(),
        ),
    ] {
        assert_eq!(refusal(&api, ids, more.clone()), expected, "{more}");
    }
    let change = json!({ "VpcEndpointId": off, "PrivateDnsEnabled": true });
    assert_eq!(api.refusal("ModifyVpcEndpoint", change), taken);
    let bad = json!({ "PolicyDocument": "{}" });
    assert!(refusal(&api, ids, bad).starts_with("InvalidPolicyDocument: "));
    let table = json!({ "VpcEndpointId": off, "AddRouteTableIds": [ids["rtb"]] });
    assert!(api.refusal("ModifyVpcEndpoint", table).starts_with("InvalidParameter: "));
    let last = shown(&api, &off);
    let last = json!({ "VpcEndpointId": off, "RemoveSecurityGroupIds": [at(&last, "Groups.0.GroupId")] });
    assert_eq!(
        api.refusal("ModifyVpcEndpoint", last),
        format!("InvalidParameter: The VPC endpoint {off} must have at least one security group.")
    );
}

#[test]
fn names_for_inbound_resolvers_alone_need_a_gateway_endpoint() {
    let (api, ids) = built();
    hostnames(&api, ids, true);
    api.call("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [ids["vpce"]] }));
    let without_gateway = format!(
        "InvalidParameter: To set PrivateDnsOnlyForInboundResolverEndpoint to true, the VPC {} must have a Gateway endpoint for the service.",
        ids["vpc"]
    );
    // Also where nothing is said of it, as Terraform's users found out.
    assert_eq!(refusal(&api, ids, json!({ "ServiceName": S3, "PrivateDnsEnabled": true })), without_gateway);
    api.call("CreateVpcEndpoint", json!({ "VpcId": ids["vpc"], "ServiceName": S3 }));
    let id = create(
        &api,
        ids,
        json!({ "ServiceName": S3, "PrivateDnsEnabled": true, "SubnetIds": [ids["subnet"]] }),
    );
    assert_eq!(at(&shown(&api, &id), "DnsOptions.PrivateDnsOnlyForInboundResolverEndpoint"), true);
    modify(&api, &id, json!({ "DnsOptions": { "PrivateDnsOnlyForInboundResolverEndpoint": false } }));
    assert_eq!(at(&shown(&api, &id), "DnsOptions.PrivateDnsOnlyForInboundResolverEndpoint"), false);
}

#[test]
fn a_vpc_has_fifty_and_the_next_one_is_refused_by_its_code() {
    let (api, ids) = built();
    api.report(Action::SetQuota { quota: Quota::InterfaceEndpoints, limit: Some(1) });
    create(&api, ids, json!({}));
    assert_eq!(
        refusal(&api, ids, json!({})),
        "VpcEndpointLimitExceeded: Maximum number of VPC endpoints of type Interface has been reached (1)."
    );
}
