//! What requests ask for, and that nothing is served without it.

use postern_frontdoor::Caller;
use postern_services::ec2::IMAGE_ID;
use postern_wire::{client, ec2};
use serde_json::{Value, json};

use crate::requests;
use crate::support::{ALICE, user};
use crate::world::{built, instance_type, with_ids};

fn asked(operation: &str, parameters: Value) -> Vec<String> {
    let (api, ids) = built();
    let asks = api.asks(&user(ALICE, "ana"), operation, &with_ids(&parameters, ids)).unwrap();
    let mut asked: Vec<String> = asks
        .into_iter()
        .map(|ask| {
            let mut line = format!("{} {}", ask.action, ask.resource);
            for (name, id) in ids {
                line = line.replace(id.as_str(), &format!("${name}"));
            }
            line.replace("arn:aws:ec2:us-east-1:111111111111:", "…:")
        })
        .collect();
    asked.sort();
    asked
}

#[test]
fn actions_are_asked_on_what_they_are_about() {
    assert_eq!(asked("DescribeVpcs", json!({ "VpcIds": ["$vpc"] })), ["ec2:DescribeVpcs *"]);
    assert_eq!(asked("DeleteVpc", json!({ "VpcId": "$vpc" })), ["ec2:DeleteVpc …:vpc/$vpc"]);
    assert_eq!(
        asked(
            "CreateSubnet",
            json!({ "VpcId": "$vpc", "CidrBlock": "10.0.0.0/24", "TagSpecifications": [
            { "ResourceType": "subnet", "Tags": [{ "Key": "a", "Value": "b" }] }] })
        ),
        ["ec2:CreateSubnet …:subnet/*", "ec2:CreateSubnet …:vpc/$vpc", "ec2:CreateTags …:subnet/*"]
    );
    assert_eq!(
        asked("CreateVpcEndpoint", json!({ "VpcId": "$vpc", "ServiceName": "x", "RouteTableIds": ["$rtb"] })),
        [
            "ec2:CreateVpcEndpoint …:route-table/$rtb",
            "ec2:CreateVpcEndpoint …:vpc-endpoint/*",
            "ec2:CreateVpcEndpoint …:vpc/$vpc"
        ]
    );
    // Policies cannot limit these to a resource.
    assert_eq!(asked("CreateDefaultVpc", json!({})), ["ec2:CreateDefaultVpc *"]);
    assert_eq!(
        asked("CreateDefaultSubnet", json!({ "AvailabilityZone": "us-east-1a" })),
        ["ec2:CreateDefaultSubnet *"]
    );
    // By way of links.
    assert_eq!(
        asked("DisassociateRouteTable", json!({ "AssociationId": "$rtbassoc" })),
        ["ec2:DisassociateRouteTable …:route-table/$rtb", "ec2:DisassociateRouteTable …:subnet/$subnet"]
    );
    assert_eq!(
        asked("DisassociateAddress", json!({ "PublicIp": "$public-ip" })),
        ["ec2:DisassociateAddress …:elastic-ip/$eip"]
    );
    assert_eq!(
        asked("DetachNetworkInterface", json!({ "AttachmentId": "$attachment" })),
        ["ec2:DetachNetworkInterface …:network-interface/$plugged-eni"]
    );
    assert_eq!(asked("DeleteKeyPair", json!({ "KeyPairId": "$key" })), ["ec2:DeleteKeyPair …:key-pair/mine"]);
    assert_eq!(
        asked("CreateTags", json!({ "Resources": ["$vpc", "$i"], "Tags": [{ "Key": "a", "Value": "b" }] })),
        ["ec2:CreateTags …:instance/$i", "ec2:CreateTags …:vpc/$vpc"]
    );
}

/// The condition keys of EC2 alone that each ask of an operation has.
fn keys(operation: &str, parameters: Value) -> Vec<String> {
    let (api, ids) = built();
    let asks = api.asks(&user(ALICE, "ana"), operation, &with_ids(&parameters, ids)).unwrap();
    let mut lines: Vec<String> = asks
        .into_iter()
        .map(|ask| {
            let mut line = ask.resource.rsplit(':').next().unwrap().to_owned();
            for (key, values) in ask.context.iter().filter(|(key, _)| key.starts_with("ec2:")) {
                assert!(postern_services::directory::condition_keys::is_provided(key), "{key}");
                if key != "ec2:region" && !key.starts_with("ec2:resourcetag") {
                    line.push_str(&format!(" {}={}", key.strip_prefix("ec2:").unwrap(), values[0].text()));
                }
            }
            for (name, id) in ids {
                line = line.replace(id.as_str(), &format!("${name}"));
            }
            line.replace("arn:aws:ec2:us-east-1:111111111111:", "…:")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn what_follows_from_a_resource_is_among_its_keys() {
    let subnet = "subnet/$subnet availabilityzone=us-east-1a availabilityzoneid=use1-az1 subnetid=$subnet vpc=…:vpc/$vpc";
    assert_eq!(
        keys(
            "CreateVpcEndpoint",
            json!({ "VpcId": "$vpc", "ServiceName": "com.amazonaws.us-east-1.s3", "RouteTableIds": ["$rtb"],
                    "SubnetIds": ["$subnet"], "SecurityGroupIds": ["$sg"] })
        ),
        [
            "route-table/$rtb routetableid=$rtb vpc=…:vpc/$vpc",
            "security-group/$sg securitygroupid=$sg vpc=…:vpc/$vpc",
            subnet,
            "vpc-endpoint/* vpceservicename=com.amazonaws.us-east-1.s3 vpceserviceowner=amazon",
            "vpc/$vpc vpcid=$vpc",
        ]
    );
    assert_eq!(
        keys("DeleteVpcEndpoints", json!({ "VpcEndpointIds": ["$vpce"] })),
        ["vpc-endpoint/$vpce vpceservicename=com.amazonaws.us-east-1.s3 vpceserviceowner=amazon"]
    );
    assert_eq!(
        keys(
            "CreateSubnet",
            json!({ "VpcId": "$vpc", "CidrBlock": "10.0.0.0/24", "AvailabilityZone": "us-east-1b" })
        ),
        [
            "subnet/* availabilityzone=us-east-1b availabilityzoneid=use1-az2 vpc=…:vpc/$vpc",
            "vpc/$vpc vpcid=$vpc"
        ]
    );
    assert_eq!(
        keys("TerminateInstances", json!({ "InstanceIds": ["$i"] })),
        [format!(
            "instance/$i availabilityzone=us-east-1a availabilityzoneid=use1-az1 instanceid=$i instancetype={}",
            instance_type()
        )]
    );
    assert_eq!(
        keys("CreateNetworkInterface", json!({ "SubnetId": "$subnet", "Groups": ["$sg"] })),
        [
            "network-interface/* availabilityzone=us-east-1a availabilityzoneid=use1-az1 subnet=…:subnet/$subnet vpc=…:vpc/$vpc",
            "security-group/$sg securitygroupid=$sg vpc=…:vpc/$vpc",
            subnet,
        ]
    );
    assert_eq!(
        keys(
            "CreateVpcPeeringConnection",
            json!({ "VpcId": "$vpc", "PeerVpcId": "vpc-0123456789abcdef0", "PeerOwnerId": "222222222222" })
        )
        .iter()
        .find(|line| line.starts_with("vpc-peering-connection"))
        .unwrap(),
        "vpc-peering-connection/* acceptervpc=arn:aws:ec2:us-east-1:222222222222:vpc/vpc-0123456789abcdef0 requestervpc=…:vpc/$vpc"
    );
}

#[test]
fn a_policy_lets_endpoints_be_made_in_one_vpc_only() {
    let (api, ids) = built();
    let (vpc, ana) = (&ids["vpc"], user(ALICE, "ana"));
    let arn = |vpc: &str| format!("arn:aws:ec2:us-east-1:111111111111:vpc/{vpc}");
    let try_in = |only: &str| {
        let policy = json!({ "Version": "2012-10-17", "Statement": [
            { "Effect": "Allow", "Action": "ec2:CreateVpcEndpoint", "Resource": "*" },
            { "Effect": "Deny", "Action": "ec2:CreateVpcEndpoint", "Resource": "arn:aws:ec2:*:*:route-table/*",
              "Condition": { "ArnNotEquals": { "ec2:Vpc": arn(only) } } } ] });
        api.directory.policies.lock().unwrap().insert("ana".to_owned(), policy.to_string());
        let parameters = json!({ "VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "RouteTableIds": [ids["rtb"]], "DryRun": true });
        let form = client::encode(&ec2::SERVICE, "CreateVpcEndpoint", &parameters).unwrap();
        api.send(&ana, &form).unwrap_err().code
    };
    assert_eq!(try_in(vpc), "DryRunOperation");
    assert_eq!(try_in("vpc-0123456789abcdef0"), "UnauthorizedOperation");
}

#[test]
fn a_launch_asks_for_the_role_as_well() {
    let launch = json!({ "ImageId": IMAGE_ID, "InstanceType": instance_type(), "MinCount": 1, "MaxCount": 1,
        "SubnetId": "$subnet", "SecurityGroupIds": ["$sg"], "KeyName": "mine", "IamInstanceProfile": { "Name": "readers" } });
    assert_eq!(
        asked("RunInstances", launch),
        [
            "ec2:RunInstances arn:aws:ec2:us-east-1::image/ami-0123456789abcdef0",
            "ec2:RunInstances …:instance/*",
            "ec2:RunInstances …:key-pair/mine",
            "ec2:RunInstances …:network-interface/*",
            "ec2:RunInstances …:security-group/$sg",
            "ec2:RunInstances …:subnet/$subnet",
            "iam:PassRole arn:aws:iam::111111111111:role/reader",
        ]
    );
}

#[test]
fn policies_decide_by_resource_tag_and_request() {
    let (api, ids) = built();
    let ana = user(ALICE, "ana");
    let ask = |operation: &str, parameters: Value| {
        let form = client::encode(&ec2::SERVICE, operation, &parameters).unwrap();
        api.send(&ana, &form).map(|_| ()).map_err(|error| (error.status, error.to_string()))
    };
    let policy = |statement: Value| {
        let document = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
        api.directory.policies.lock().unwrap().insert("ana".to_owned(), document);
    };
    let (status, message) = ask("DescribeVpcs", json!({})).unwrap_err();
    assert_eq!(status, 403);
    assert!(
        message.starts_with("UnauthorizedOperation: You are not authorized to perform this operation. User: arn:aws:iam::111111111111:user/ana is not authorized to perform: ec2:DescribeVpcs"),
        "{message}"
    );
    let tagged = |condition: Value| json!({ "Effect": "Allow", "Action": "ec2:DeleteVpc", "Resource": "*", "Condition": condition });
    policy(tagged(json!({ "StringEquals": { "aws:ResourceTag/Name": "the dog" } })));
    assert!(
        ask("DeleteVpc", json!({ "VpcId": ids["vpc"] }))
            .unwrap_err()
            .1
            .starts_with("UnauthorizedOperation: ")
    );
    policy(tagged(
        json!({ "StringEquals": { "aws:ResourceTag/Name": "the vpc", "ec2:Region": "us-east-1" } }),
    ));
    // Allowed, and then the model's word.
    assert!(
        ask("DeleteVpc", json!({ "VpcId": ids["vpc"] })).unwrap_err().1.starts_with("DependencyViolation: ")
    );
    let create = json!({ "CidrBlock": "10.0.0.0/16", "TagSpecifications": [{ "ResourceType": "vpc", "Tags": [{ "Key": "team", "Value": "blue" }] }] });
    policy(json!([{ "Effect": "Allow", "Action": "ec2:CreateVpc", "Resource": "*" }]));
    assert!(ask("CreateVpc", create.clone()).unwrap_err().1.contains("ec2:CreateTags"));
    policy(json!([
        { "Effect": "Allow", "Action": "ec2:CreateVpc", "Resource": "*", "Condition": { "StringEquals": { "aws:RequestTag/team": "blue" } } },
        { "Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*", "Condition": { "StringEquals": { "ec2:CreateAction": "CreateVpc" }, "ForAllValues:StringEquals": { "aws:TagKeys": "team" } } }
    ]));
    assert_eq!(ask("CreateVpc", create), Ok(()));
    // A dry run tells who may from who may not.
    assert!(
        ask("DeleteSubnet", json!({ "SubnetId": ids["subnet"], "DryRun": true }))
            .unwrap_err()
            .1
            .starts_with("UnauthorizedOperation: ")
    );
}

/// The examples of "Identity-based policy examples for AWS PrivateLink".
#[test]
fn policies_decide_by_whose_service_an_endpoint_leads_to() {
    let (api, ids) = built();
    let ana = user(ALICE, "ana");
    let policy = |action: &str, kind: &str, condition: Value| {
        let statement = json!([
            { "Effect": "Allow", "Action": action, "NotResource": format!("arn:aws:ec2:*:*:{kind}/*") },
            { "Effect": "Allow", "Action": action, "Resource": format!("arn:aws:ec2:*:*:{kind}/*"), "Condition": condition }
        ]);
        let document = json!({ "Version": "2012-10-17", "Statement": statement }).to_string();
        api.directory.policies.lock().unwrap().insert("ana".to_owned(), document);
    };
    let ask = |operation: &str, mut parameters: Value| {
        parameters["DryRun"] = true.into();
        let form = client::encode(&ec2::SERVICE, operation, &parameters).unwrap();
        let code = api.send(&ana, &form).map(|_| ()).unwrap_err().code;
        assert!(["DryRunOperation", "UnauthorizedOperation"].contains(&code.as_str()), "{operation}: {code}");
        code == "DryRunOperation"
    };
    let endpoint = |service: &str| {
        ask(
            "CreateVpcEndpoint",
            json!({ "VpcId": ids["vpc"], "VpcEndpointType": "Interface", "ServiceName": service }),
        )
    };
    let (of_aws, own) =
        ("com.amazonaws.us-east-1.ec2", format!("com.amazonaws.vpce.us-east-1.{}", ids["service"]));
    let gone = "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0";

    policy(
        "ec2:CreateVpcEndpoint",
        "vpc-endpoint",
        json!({ "StringEquals": { "ec2:VpceServiceOwner": ["amazon"] } }),
    );
    assert_eq!([endpoint(of_aws), endpoint(&own), endpoint(gone)], [true, false, false]);
    policy(
        "ec2:CreateVpcEndpoint",
        "vpc-endpoint",
        json!({ "StringEquals": { "ec2:VpceServiceOwner": ALICE.to_string() } }),
    );
    assert_eq!([endpoint(of_aws), endpoint(&own), endpoint(gone)], [false, true, false]);
    let names = json!({ "StringLike": { "ec2:VpceServiceName": ["com.amazonaws.us-east-1.e*"] } });
    policy("ec2:CreateVpcEndpoint", "vpc-endpoint", names);
    assert_eq!(
        [endpoint(of_aws), endpoint(&own), endpoint("com.amazonaws.us-east-1.s3")],
        [true, false, false]
    );

    let condition = json!({ "StringEquals": { "ec2:VpceServicePrivateDnsName": ["example.com"] } });
    policy("ec2:*VpcEndpointServiceConfiguration", "vpc-endpoint-service", condition);
    let made = |name: &str| {
        let new = json!({ "NetworkLoadBalancerArns": [ids["nlb"]], "PrivateDnsName": name });
        ask("CreateVpcEndpointServiceConfiguration", new)
    };
    assert_eq!([made("example.com"), made("example.org")], [true, false]);
    let changed = |change: Value| {
        let mut parameters = json!({ "ServiceId": ids["service"] });
        parameters.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        ask("ModifyVpcEndpointServiceConfiguration", parameters)
    };
    assert!(changed(json!({ "PrivateDnsName": "example.com" })));
    assert!(!changed(json!({ "PrivateDnsName": "example.org" })));
    assert!(!changed(json!({ "AcceptanceRequired": true })));
}

#[test]
fn nothing_is_served_without_permits_for_all_of_it() {
    let (api, ids) = built();
    for (operation, template) in requests::all() {
        let before = api.state();
        let error = api.serve_with(ALICE, operation, &with_ids(&template, ids), Vec::new()).unwrap_err();
        assert_eq!(error.code, "UnauthorizedOperation", "{operation}");
        assert_eq!(api.state(), before);
    }
}

#[test]
fn nobody_gets_nothing() {
    let (api, _) = built();
    let form = client::encode(&ec2::SERVICE, "DescribeVpcs", &json!({})).unwrap();
    let error = api.send(&Caller::anonymous(), &form).unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("AuthFailure", 401));
    let mut unknown = form;
    unknown.action = "DescribeDogs".to_owned();
    let error = api.send(&user(ALICE, "ana"), &unknown).unwrap_err();
    assert_eq!(
        error.to_string(),
        "InvalidAction: The action DescribeDogs is not valid for this web service."
    );
}
