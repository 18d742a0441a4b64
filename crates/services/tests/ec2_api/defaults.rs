//! The default VPC, and what goes there when nothing else is named.

use postern_services::ec2::IMAGE_ID;
use serde_json::{Value, json};

use crate::support::{Api, at, text, texts};
use crate::world::instance_type;

fn launch(api: &Api, more: Value) -> Result<Value, String> {
    let mut request =
        json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1 });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = api.attempt("RunInstances", request).map_err(|error| error.to_string())?;
    Ok(at(&answer, "Instances.0").clone())
}

#[test]
fn a_new_account_has_none_and_says_so() {
    let api = Api::empty();
    let no_default = "VPCIdNotSpecified: No default VPC for this user";
    assert!(launch(&api, json!({})).unwrap_err().starts_with(no_default));
    let group = json!({ "GroupName": "web", "Description": "for tests" });
    assert_eq!(api.refusal("CreateSecurityGroup", group), no_default);
    assert_eq!(
        api.refusal("CreateDefaultSubnet", json!({ "AvailabilityZone": "us-east-1a" })),
        "DefaultVpcDoesNotExist: There is no default VPC for this account in this region."
    );
    let attribute = json!({ "AttributeNames": ["default-vpc"] });
    let told = api.call("DescribeAccountAttributes", attribute);
    assert_eq!(at(&told, "AccountAttributes.0.AttributeValues.0.AttributeValue"), "none");
}

#[test]
fn it_is_shown_as_the_default_and_is_one_alone() {
    let api = Api::empty();
    let made = api.call("CreateDefaultVpc", json!({}));
    let vpc = text(&made, "Vpc.VpcId");
    assert_eq!(at(&made, "Vpc.IsDefault"), true);
    assert_eq!(at(&made, "Vpc.CidrBlock"), "172.31.0.0/16");
    let default = json!({ "Filters": [{ "Name": "is-default", "Values": ["true"] }] });
    assert_eq!(texts(&api.call("DescribeVpcs", default), "Vpcs", "VpcId"), [vpc.as_str()]);
    let default = json!({ "Filters": [{ "Name": "default-for-az", "Values": ["true"] }] });
    let subnets = api.call("DescribeSubnets", default);
    assert_eq!(texts(&subnets, "Subnets", "VpcId").len(), 3);
    assert_eq!(at(&subnets, "Subnets.0.MapPublicIpOnLaunch"), true);
    assert_eq!(
        api.refusal("CreateDefaultVpc", json!({})),
        "DefaultVpcAlreadyExists: A Default VPC already exists for this account in this region."
    );
    let told = api.call("DescribeAccountAttributes", json!({ "AttributeNames": ["default-vpc"] }));
    assert_eq!(at(&told, "AccountAttributes.0.AttributeValues.0.AttributeValue"), &json!(vpc));
    let zone = json!({ "AvailabilityZoneId": "use1-az1" });
    let taken = api.refusal("CreateDefaultSubnet", zone);
    assert!(taken.starts_with("DefaultSubnetAlreadyExistsInAvailabilityZone: 'subnet-"), "{taken}");
    assert!(taken.ends_with("' is already the default subnet in us-east-1a."), "{taken}");
    // It goes as any other does, and can be had again.
    for id in texts(&subnets, "Subnets", "SubnetId") {
        api.call("DeleteSubnet", json!({ "SubnetId": id }));
    }
    let gateways = api.call("DescribeInternetGateways", json!({}));
    let gateway = text(&gateways, "InternetGateways.0.InternetGatewayId");
    api.call("DetachInternetGateway", json!({ "VpcId": vpc, "InternetGatewayId": gateway }));
    api.call("DeleteVpc", json!({ "VpcId": vpc }));
    api.call("CreateDefaultVpc", json!({}));
}

#[test]
fn instances_and_groups_go_there_when_they_name_nothing_else() {
    let api = Api::empty();
    let made = api.call("CreateDefaultVpc", json!({}));
    let vpc = text(&made, "Vpc.VpcId");
    let instance = launch(&api, json!({})).unwrap();
    assert_eq!(instance["VpcId"], json!(vpc));
    assert_eq!(instance["Placement"]["AvailabilityZone"], "us-east-1a");
    let shown = api.call("DescribeInstances", json!({ "InstanceIds": [instance["InstanceId"]] }));
    assert!(at(&shown, "Reservations.0.Instances.0.PublicIpAddress").is_string(), "{shown}");
    for placement in
        [json!({ "AvailabilityZone": "us-east-1c" }), json!({ "AvailabilityZoneId": "use1-az3" })]
    {
        let instance = launch(&api, json!({ "Placement": placement })).unwrap();
        assert_eq!(instance["Placement"]["AvailabilityZone"], "us-east-1c");
    }
    let group = api.call("CreateSecurityGroup", json!({ "GroupName": "web", "Description": "for tests" }));
    let group = text(&group, "GroupId");
    let shown = api.call("DescribeSecurityGroups", json!({ "GroupIds": [group] }));
    assert_eq!(text(&shown, "SecurityGroups.0.VpcId"), vpc);
    let instance = launch(&api, json!({ "SecurityGroupIds": [group] })).unwrap();
    assert_eq!(text(&instance, "SecurityGroups.0.GroupId"), group);
}

#[test]
fn a_default_vpc_without_the_subnet_says_which_is_missing() {
    let api = Api::empty();
    let vpc = text(&api.call("CreateDefaultVpc", json!({})), "Vpc.VpcId");
    let subnets = api.call("DescribeSubnets", json!({}));
    let mut left = texts(&subnets, "Subnets", "AvailabilityZone");
    for (id, zone) in texts(&subnets, "Subnets", "SubnetId").iter().zip(left.clone()) {
        api.call("DeleteSubnet", json!({ "SubnetId": id }));
        left.retain(|other| *other != zone);
        let refusal = launch(&api, json!({ "Placement": { "AvailabilityZone": zone } })).unwrap_err();
        match left.is_empty() {
            false => {
                let missing = format!("MissingInput: No default subnet for availability zone: '{zone}'.");
                assert_eq!(refusal, missing);
            }
            true => assert_eq!(
                refusal,
                format!(
                    "MissingInput: No subnets found for the default VPC '{vpc}'. Please specify a subnet."
                )
            ),
        }
    }
}
