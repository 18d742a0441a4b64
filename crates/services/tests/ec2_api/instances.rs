//! Instances, from launch to termination.

use postern_model::Action;
use postern_model::iam::IamAction;
use postern_model::instance::InstanceState;
use postern_services::ec2::IMAGE_ID;
use serde_json::{Value, json};

use crate::support::{Api, at, text, texts};
use crate::world::{Ids, base64, built, instance_type};

fn launch(ids: &Ids, more: Value) -> Value {
    let mut launch = json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1, "SubnetId": ids["subnet"] });
    launch.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    launch
}

fn shown(api: &Api, id: &str) -> Value {
    at(&api.call("DescribeInstances", json!({ "InstanceIds": [id] })), "Reservations.0.Instances.0").clone()
}

fn report(api: &Api, id: &str, state: InstanceState) {
    api.report(Action::ReportInstance { instance: id.parse().unwrap(), state, reason: String::new() });
}

#[test]
fn an_instance_starts_pending_and_shows_what_clients_read() {
    let (api, ids) = built();
    let run = api.call("RunInstances", launch(ids, json!({ "UserData": base64("#!/bin/sh\n") })));
    let id = text(&run, "Instances.0.InstanceId");
    assert_eq!(at(&run, "Instances.0.State"), &json!({ "Code": 0, "Name": "pending" }));
    assert_eq!(at(&run, "OwnerId"), "111111111111");
    report(&api, &id, InstanceState::Running);
    let instance = shown(&api, &id);
    assert_eq!(instance["State"]["Name"], "running");
    let private = text(&instance, "PrivateIpAddress");
    assert_eq!(instance["PrivateDnsName"], format!("ip-{}.ec2.internal", private.replace('.', "-")));
    let public = text(&instance, "PublicIpAddress");
    assert_eq!(
        instance["PublicDnsName"],
        format!("ec2-{}.compute-1.amazonaws.com", public.replace('.', "-"))
    );
    assert_eq!(instance["Placement"]["AvailabilityZone"], "us-east-1a");
    assert_eq!(instance["Monitoring"], json!({ "State": "disabled" }));
    assert_eq!(instance["RootDeviceName"], "/dev/xvda");
    assert_eq!(instance["BlockDeviceMappings"], json!([]));
    assert_eq!(instance["MetadataOptions"]["HttpTokens"], "required");
    assert_eq!(instance["VirtualizationType"], "hvm");
    assert_eq!(instance["NetworkInterfaces"][0]["Attachment"]["DeviceIndex"], 0);
    assert_eq!(instance["NetworkInterfaces"][0]["Attachment"]["DeleteOnTermination"], true);
    let status = api.call("DescribeInstanceStatus", json!({ "InstanceIds": [id] }));
    assert_eq!(at(&status, "InstanceStatuses.0.InstanceStatus.Status"), "ok");
    assert_eq!(at(&status, "InstanceStatuses.0.SystemStatus.Details.0.Status"), "passed");
    // The reads of Terraform's aws_instance.
    let attribute =
        |name: &str| api.call("DescribeInstanceAttribute", json!({ "InstanceId": id, "Attribute": name }));
    assert_eq!(attribute("disableApiTermination")["DisableApiTermination"], json!({ "Value": false }));
    assert_eq!(attribute("disableApiStop")["DisableApiStop"], json!({ "Value": false }));
    assert_eq!(
        attribute("instanceInitiatedShutdownBehavior")["InstanceInitiatedShutdownBehavior"],
        json!({ "Value": "stop" })
    );
    assert_eq!(attribute("userData")["UserData"], json!({ "Value": base64("#!/bin/sh\n") }));
    let kind = api.call("DescribeInstanceTypes", json!({ "InstanceTypes": [instance_type()] }));
    assert_eq!(at(&kind, "InstanceTypes.0.BurstablePerformanceSupported"), false);
    let image = api.call("DescribeImages", json!({ "ImageIds": [IMAGE_ID] }));
    assert_eq!(at(&image, "Images.0.RootDeviceName"), "/dev/xvda");
    let console = api.call("GetConsoleOutput", json!({ "InstanceId": id }));
    assert_eq!(text(&console, "Output"), base64(&format!("hello from {id}\n")));
}

#[test]
fn instances_stop_start_reboot_and_end() {
    let (api, ids) = built();
    let id = &ids["i"];
    api.call("RebootInstances", json!({ "InstanceIds": [id] }));
    assert_eq!(*api.consoles.reboots.lock().unwrap(), [id.parse().unwrap()]);
    let stopped = api.call("StopInstances", json!({ "InstanceIds": [id] }));
    assert_eq!(at(&stopped, "StoppingInstances.0.PreviousState.Name"), "running");
    assert_eq!(at(&stopped, "StoppingInstances.0.CurrentState"), &json!({ "Code": 64, "Name": "stopping" }));
    assert!(
        api.refusal("StartInstances", json!({ "InstanceIds": [id] })).starts_with("IncorrectInstanceState: ")
    );
    report(&api, id, InstanceState::Stopped);
    assert_eq!(shown(&api, id).get("PublicIpAddress"), None);
    assert!(
        api.refusal("RebootInstances", json!({ "InstanceIds": [id] }))
            .starts_with("IncorrectInstanceState: ")
    );
    let started = api.call("StartInstances", json!({ "InstanceIds": [id] }));
    assert_eq!(at(&started, "StartingInstances.0.CurrentState.Name"), "pending");
    report(&api, id, InstanceState::Running);
    api.call(
        "ModifyInstanceAttribute",
        json!({ "InstanceId": id, "DisableApiTermination": { "Value": true } }),
    );
    assert_eq!(
        api.refusal("TerminateInstances", json!({ "InstanceIds": [id] })),
        format!(
            "OperationNotPermitted: The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again."
        )
    );
    api.call(
        "ModifyInstanceAttribute",
        json!({ "InstanceId": id, "Attribute": "disableApiTermination", "Value": "false" }),
    );
    let ended = api.call("TerminateInstances", json!({ "InstanceIds": [id] }));
    assert_eq!(at(&ended, "TerminatingInstances.0.CurrentState.Name"), "shutting-down");
    report(&api, id, InstanceState::Terminated);
    let gone = shown(&api, id);
    assert_eq!(gone["State"], json!({ "Code": 48, "Name": "terminated" }));
    assert_eq!(gone.get("VpcId"), None);
    assert_eq!(gone["NetworkInterfaces"], json!([]));
    // What was plugged in by hand stays.
    let plugged =
        api.call("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [ids["plugged-eni"]] }));
    assert_eq!(at(&plugged, "NetworkInterfaces.0.Status"), "available");
    // One that is not there, and none changes.
    let both = json!({ "InstanceIds": [ids["stopped"], "i-0123456789abcdef0"] });
    assert!(api.refusal("StartInstances", both).starts_with("InvalidInstanceID.NotFound: "));
    assert_eq!(shown(&api, &ids["stopped"])["State"]["Name"], "stopped");
}

#[test]
fn a_launch_is_refused_in_awss_words() {
    let (api, ids) = built();
    let refused = |more: Value| api.refusal("RunInstances", launch(ids, more));
    assert_eq!(
        refused(json!({ "ImageId": "ami-0fedcba9876543210" })),
        "InvalidAMIID.NotFound: The image id '[ami-0fedcba9876543210]' does not exist"
    );
    assert_eq!(
        refused(json!({ "ImageId": "ami-x" })),
        "InvalidAMIID.Malformed: Invalid id: \"ami-x\" (expecting \"ami-...\")"
    );
    assert!(refused(json!({ "InstanceType": "x1.32xlarge" })).starts_with("Unsupported: "));
    assert!(refused(json!({ "InstanceType": "dog.large" })).starts_with("InvalidParameterValue: "));
    let arm = if cfg!(target_arch = "aarch64") { "t3.micro" } else { "t4g.micro" };
    assert!(refused(json!({ "InstanceType": arm })).starts_with("InvalidParameterValue: The architecture "));
    assert_eq!(
        refused(json!({ "KeyName": "nobodys" })),
        "InvalidKeyPair.NotFound: The key pair 'nobodys' does not exist"
    );
    assert_eq!(
        refused(json!({ "IamInstanceProfile": { "Name": "nobodys" } })),
        "InvalidParameterValue: Value (nobodys) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    );
    assert_eq!(
        refused(json!({ "UserData": "!" })),
        "InvalidUserData.Malformed: Invalid BASE64 encoding of user data."
    );
    assert_eq!(
        refused(json!({ "UserData": base64(&"x".repeat(16_385)) })),
        "InvalidParameterValue: User data is limited to 16384 bytes"
    );
    assert!(
        refused(json!({ "MinCount": 0 }))
            .starts_with("InvalidParameterValue: Value (0) for parameter minCount")
    );
    assert!(
        refused(json!({ "MinCount": 2 }))
            .starts_with("InvalidParameterValue: Value (1) for parameter maxCount")
    );
    assert!(refused(json!({ "MinCount": 1000, "MaxCount": 1000 })).starts_with("InstanceLimitExceeded: "));
    assert!(
        refused(json!({ "Placement": { "AvailabilityZone": "us-east-1c" } }))
            .starts_with("InvalidParameterValue: Value (us-east-1c)")
    );
    assert!(
        refused(json!({ "NetworkInterfaces": [{ "SubnetId": ids["subnet"] }] }))
            .starts_with("InvalidParameterCombination: ")
    );
    assert!(
        refused(json!({ "MetadataOptions": { "HttpTokens": "optional" } }))
            .starts_with("UnsupportedOperation: ")
    );
    let no_subnet =
        json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1 });
    assert!(api.refusal("RunInstances", no_subnet).starts_with("VPCIdNotSpecified: "));
    let taken = json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1,
        "NetworkInterfaces": [{ "DeviceIndex": 0, "NetworkInterfaceId": ids["plugged-eni"] }] });
    assert_eq!(
        api.refusal("RunInstances", taken),
        format!("InvalidNetworkInterface.InUse: Interface: [{}] in use.", ids["plugged-eni"])
    );
    assert!(
        refused(json!({ "PrivateIpAddress": "10.0.0.77", "MinCount": 2, "MaxCount": 2 }))
            .starts_with("InvalidParameterCombination: ")
    );
}

#[test]
fn as_many_are_launched_as_there_is_room_for() {
    let (api, ids) = built();
    let many = |min: i64, token: &str| {
        launch(
            ids,
            json!({ "SubnetId": ids["spare-subnet"], "MinCount": min, "MaxCount": 20, "ClientToken": token }),
        )
    };
    assert!(api.refusal("RunInstances", many(12, "a")).starts_with("InsufficientFreeAddressesInSubnet: "));
    let run = api.call("RunInstances", many(2, "b"));
    assert_eq!(at(&run, "Instances").as_array().unwrap().len(), 11);
    // Repeated, although there is no room now.
    let again = api.call("RunInstances", many(2, "b"));
    let instances = |answer: &Value| texts(answer, "Instances", "InstanceId");
    assert_eq!(instances(&again).len(), 11);
    assert_eq!(instances(&again), instances(&run));
    let launches: Vec<_> =
        at(&run, "Instances").as_array().unwrap().iter().map(|i| i["AmiLaunchIndex"].clone()).collect();
    assert!((0..11).all(|n| launches.contains(&json!(n))));
    assert!(
        api.refusal("RunInstances", launch(ids, json!({ "ClientToken": "b" })))
            .starts_with("IdempotentParameterMismatch: ")
    );
}

#[test]
fn an_interface_of_ones_own_can_be_the_first() {
    let (api, ids) = built();
    let own = json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1,
        "NetworkInterfaces": [{ "DeviceIndex": 0, "NetworkInterfaceId": ids["spare-eni"] }] });
    let run = api.call("RunInstances", own);
    assert_eq!(at(&run, "Instances.0.PrivateIpAddress"), "10.0.0.70");
    let new = json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1,
        "NetworkInterfaces": [{ "DeviceIndex": 0, "SubnetId": ids["subnet"], "AssociatePublicIpAddress": false, "Groups": [ids["spare-sg"]],
            "PrivateIpAddress": "10.0.0.200", "DeleteOnTermination": false, "Description": "mine" }],
        "TagSpecifications": [{ "ResourceType": "network-interface", "Tags": [{ "Key": "a", "Value": "b" }] }] });
    let run = api.call("RunInstances", new);
    assert_eq!(at(&run, "Instances.0").get("PublicIpAddress"), None);
    let interface = at(&run, "Instances.0.NetworkInterfaces.0");
    assert_eq!(interface["Description"], "mine");
    assert_eq!(interface["Groups"][0]["GroupId"], json!(ids["spare-sg"]));
    let eni = api.call(
        "DescribeNetworkInterfaces",
        json!({ "NetworkInterfaceIds": [interface["NetworkInterfaceId"]] }),
    );
    assert_eq!(at(&eni, "NetworkInterfaces.0.TagSet.0.Key"), "a");
}

#[test]
fn attributes_change_one_at_a_time() {
    let (api, ids) = built();
    let modify = |instance: &str, more: Value| {
        let mut change = json!({ "InstanceId": ids[instance] });
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        api.attempt("ModifyInstanceAttribute", change).map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(
        modify("i", json!({ "InstanceType": { "Value": "t3.small" } }))
            .unwrap_err()
            .starts_with("IncorrectInstanceState: ")
    );
    assert_eq!(modify("i", json!({ "SourceDestCheck": { "Value": false } })), Ok(()));
    assert_eq!(shown(&api, &ids["i"])["SourceDestCheck"], false);
    assert_eq!(modify("i", json!({ "Groups": [ids["spare-sg"]] })), Ok(()));
    assert_eq!(shown(&api, &ids["i"])["SecurityGroups"][0]["GroupId"], json!(ids["spare-sg"]));
    assert_eq!(modify("stopped", json!({ "UserData": { "Value": base64("echo") } })), Ok(()));
    assert_eq!(modify("i", json!({ "InstanceInitiatedShutdownBehavior": { "Value": "stop" } })), Ok(()));
    assert!(
        modify("i", json!({ "InstanceInitiatedShutdownBehavior": { "Value": "terminate" } }))
            .unwrap_err()
            .starts_with("UnsupportedOperation: ")
    );
    let two = json!({ "SourceDestCheck": { "Value": false }, "DisableApiTermination": { "Value": true } });
    assert!(modify("i", two).unwrap_err().starts_with("InvalidParameterCombination: "));
    let options = api
        .call("ModifyInstanceMetadataOptions", json!({ "InstanceId": ids["i"], "HttpEndpoint": "disabled" }));
    assert_eq!(at(&options, "InstanceMetadataOptions.State"), "pending");
    assert_eq!(shown(&api, &ids["i"])["MetadataOptions"]["HttpEndpoint"], "disabled");
    let far = json!({ "InstanceId": ids["i"], "HttpPutResponseHopLimit": 65 });
    assert!(
        api.refusal("ModifyInstanceMetadataOptions", far).starts_with("InvalidParameterValue: Value (65)")
    );
}

#[test]
fn profiles_come_and_go() {
    let (api, ids) = built();
    let profile = json!({ "Name": "writers" });
    let taken = api.refusal(
        "AssociateIamInstanceProfile",
        json!({ "InstanceId": ids["i"], "IamInstanceProfile": profile }),
    );
    assert_eq!(taken, format!("IncorrectState: There is an existing association for instance {}", ids["i"]));
    let gone = api.call("DisassociateIamInstanceProfile", json!({ "AssociationId": ids["iip"] }));
    assert_eq!(at(&gone, "IamInstanceProfileAssociation.State"), "disassociating");
    let arn = "arn:aws:iam::111111111111:instance-profile/writers";
    let given = api.call(
        "AssociateIamInstanceProfile",
        json!({ "InstanceId": ids["i"], "IamInstanceProfile": { "Arn": arn } }),
    );
    assert_eq!(at(&given, "IamInstanceProfileAssociation.State"), "associating");
    assert_eq!(shown(&api, &ids["i"])["IamInstanceProfile"]["Arn"], arn);
    for bad in [
        "arn:aws:iam::222222222222:instance-profile/writers",
        "arn:aws:iam::111111111111:instance-profile/x/writers",
        "writers",
    ] {
        let refusal = api.refusal(
            "AssociateIamInstanceProfile",
            json!({ "InstanceId": ids["stopped"], "IamInstanceProfile": { "Arn": bad } }),
        );
        assert!(refusal.starts_with("InvalidParameterValue: "), "{refusal}");
    }
}

#[test]
fn a_profile_without_a_role_is_refused_wherever_an_instance_would_get_it() {
    let (api, ids) = built();
    let (name, path, tags) = ("bare".to_owned(), "/of/ours/".to_owned(), Vec::new());
    api.report(Action::Iam(IamAction::CreateInstanceProfile { name, path, tags }));
    let bare = json!({ "Name": "bare" });
    let expected = "InvalidParameterValue: IAM Instance Profile \
        \"arn:aws:iam::111111111111:instance-profile/of/ours/bare\" has no associated IAM Roles";
    assert_eq!(api.refusal("RunInstances", launch(ids, json!({ "IamInstanceProfile": bare }))), expected);
    let given = json!({ "InstanceId": ids["stopped"], "IamInstanceProfile": bare });
    assert_eq!(api.refusal("AssociateIamInstanceProfile", given), expected);
    let replaced = json!({ "AssociationId": ids["iip"], "IamInstanceProfile": bare });
    assert_eq!(api.refusal("ReplaceIamInstanceProfileAssociation", replaced), expected);
    assert!(shown(&api, &ids["i"])["IamInstanceProfile"]["Arn"].as_str().unwrap().ends_with("/readers"));
}

#[test]
fn a_profile_takes_the_place_of_another() {
    let (api, ids) = built();
    let writers = json!({ "AssociationId": ids["iip"], "IamInstanceProfile": { "Name": "writers" } });
    let replaced = api.call("ReplaceIamInstanceProfileAssociation", writers.clone());
    let association = text(&replaced, "IamInstanceProfileAssociation.AssociationId");
    assert_ne!(association, ids["iip"]);
    let shown = shown(&api, &ids["i"]);
    assert_eq!(shown["IamInstanceProfile"]["Arn"], "arn:aws:iam::111111111111:instance-profile/writers");
    // The association that was replaced is gone.
    assert_eq!(
        api.refusal("ReplaceIamInstanceProfileAssociation", writers),
        format!("InvalidAssociationID.NotFound: The association ID '{}' does not exist", ids["iip"])
    );
}

#[test]
fn terminated_instances_are_listed_but_not_their_status() {
    let (api, ids) = built();
    let all = api.call("DescribeInstanceStatus", json!({}));
    assert_eq!(texts(&all, "InstanceStatuses", "InstanceId"), [ids["i"].clone()]);
    let all = api.call("DescribeInstanceStatus", json!({ "IncludeAllInstances": true }));
    assert_eq!(at(&all, "InstanceStatuses").as_array().unwrap().len(), 2);
    let types = api.refusal("DescribeInstanceTypes", json!({ "InstanceTypes": ["x1.32xlarge"] }));
    assert_eq!(
        types,
        "InvalidInstanceType: The following supplied instance types do not exist: [x1.32xlarge]"
    );
    assert_eq!(at(&api.call("DescribeImages", json!({ "Owners": ["self"] })), "Images"), &json!([]));
    assert_eq!(
        at(&api.call("DescribeImages", json!({ "Owners": ["amazon"] })), "Images").as_array().unwrap().len(),
        1
    );
}
