//! Gateway endpoints and the services that they lead to.

use postern_model::{Action, Quota};
use serde_json::{Value, json};

use crate::support::{Api, at, text, texts};
use crate::world::{Ids, built};

const S3: &str = "com.amazonaws.us-east-1.s3";
/// As AWS returns it, to the letter.
const FULL_ACCESS: &str = r#"{"Version":"2008-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}"#;

fn prefix_routes(api: &Api, table: &str) -> Vec<Value> {
    let answer = api.call("DescribeRouteTables", json!({ "RouteTableIds": [table] }));
    let routes = at(&answer, "RouteTables.0.Routes").as_array().unwrap().clone();
    routes.into_iter().filter(|route| route.get("DestinationPrefixListId").is_some()).collect()
}

#[test]
fn an_endpoint_makes_its_routes_and_takes_them_away() {
    let (api, ids) = built();
    let made = api.call(
        "CreateVpcEndpoint",
        json!({ "VpcId": ids["vpc"], "ServiceName": S3, "RouteTableIds": [ids["rtb"]], "ClientToken": "c" }),
    );
    let id = text(&made, "VpcEndpoint.VpcEndpointId");
    assert_eq!(at(&made, "VpcEndpoint.State"), "pending");
    assert_eq!(at(&made, "VpcEndpoint.VpcEndpointType"), "Gateway");
    assert_eq!(at(&made, "VpcEndpoint.PolicyDocument"), FULL_ACCESS);
    assert_eq!(at(&made, "ClientToken"), "c");
    let again = api.call(
        "CreateVpcEndpoint",
        json!({ "VpcId": ids["vpc"], "ServiceName": S3, "RouteTableIds": [ids["rtb"]], "ClientToken": "c" }),
    );
    assert_eq!(text(&again, "VpcEndpoint.VpcEndpointId"), id);
    api.report(Action::ReportVpcEndpointReady { endpoint: id.parse().unwrap() });
    let shown = api.call("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [id] }));
    assert_eq!(at(&shown, "VpcEndpoints.0.State"), "available");
    let route = json!({ "DestinationPrefixListId": "pl-63a5400a", "GatewayId": id, "Origin": "CreateRoute", "State": "active" });
    assert_eq!(prefix_routes(&api, &ids["rtb"]), std::slice::from_ref(&route));
    assert_eq!(
        api.refusal(
            "CreateVpcEndpoint",
            json!({ "VpcId": ids["vpc"], "ServiceName": S3, "RouteTableIds": [ids["rtb"]] })
        ),
        format!(
            "RouteAlreadyExists: route table {} already has a route with destination-prefix-list-id pl-63a5400a",
            ids["rtb"]
        )
    );
    api.call("ModifyVpcEndpoint", json!({ "VpcEndpointId": id, "RemoveRouteTableIds": [ids["rtb"]], "AddRouteTableIds": [ids["spare-rtb"]] }));
    assert_eq!(prefix_routes(&api, &ids["rtb"]), Vec::<Value>::new());
    assert_eq!(prefix_routes(&api, &ids["spare-rtb"]), [route]);
    let deleted = api.call("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [id, "vpce-0123456789abcdef0"] }));
    assert_eq!(texts(&deleted, "Unsuccessful", "ResourceId"), ["vpce-0123456789abcdef0"]);
    assert_eq!(at(&deleted, "Unsuccessful.0.Error.Code"), "InvalidVpcEndpoint.NotFound");
    let before = api.state();
    let again = api.call("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [id] }));
    assert_eq!(texts(&again, "Unsuccessful", "ResourceId"), [id.as_str()]);
    assert_eq!(api.state().revision, before.revision, "what changes nothing makes no revision");
    assert_eq!(prefix_routes(&api, &ids["spare-rtb"]), Vec::<Value>::new());
    assert!(
        api.refusal("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [id] }))
            .starts_with("InvalidVpcEndpointId.NotFound: ")
    );
}

fn create(api: &Api, ids: &Ids, more: Value) -> String {
    let mut request = json!({ "VpcId": ids["spare-vpc"], "ServiceName": S3 });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.refusal("CreateVpcEndpoint", request)
}

#[test]
fn what_is_not_served_says_so() {
    let (api, ids) = built();
    for kind in ["GatewayLoadBalancer", "Resource", "ServiceNetwork"] {
        assert_eq!(
            create(&api, ids, json!({ "VpcEndpointType": kind })),
            format!(
                "UnsupportedOperation: The value ({kind}) of the parameter VpcEndpointType is not supported by this endpoint yet: gateway and interface endpoints are served"
            )
        );
    }
    assert!(
        create(&api, ids, json!({ "VpcEndpointType": "gateway" }))
            .starts_with("InvalidParameterValue: Value (gateway)")
    );
    assert_eq!(
        create(&api, ids, json!({ "ServiceName": "com.amazonaws.us-east-1.cloudfront" })),
        "InvalidServiceName: The Vpc Endpoint Service 'com.amazonaws.us-east-1.cloudfront' does not exist"
    );
    assert_eq!(
        create(&api, ids, json!({ "ServiceName": "com.amazonaws.us-east-1.ec2" })),
        "InvalidParameter: Endpoint type (Gateway) does not match available service types ([Interface])."
    );
    let nobodys = "arn:aws:vpc-lattice:us-east-1:123456789012:resourceconfiguration/rcfg-0123456789abcdef0";
    for (arn, code, what) in [
        (nobodys, "InvalidResourceConfigurationArn.NotFound", "does not exist"),
        ("rcfg-0123456789abcdef0", "InvalidResourceConfigurationArn.Malformed", "is malformed"),
        (
            "arn:aws:vpc-lattice:us-east-1:123456789012:service/svc-0",
            "InvalidResourceConfigurationArn.Malformed",
            "is malformed",
        ),
    ] {
        assert_eq!(
            create(&api, ids, json!({ "VpcEndpointType": "Resource", "ResourceConfigurationArn": arn })),
            format!("{code}: The Resource Configuration ARN '{arn}' {what}")
        );
    }
    let subnet = &ids["spare-subnet"];
    for (name, value) in [
        ("PrivateDnsEnabled", json!(true)),
        ("SubnetIds", json!([subnet])),
        ("SecurityGroupIds", json!([ids["sg"]])),
        ("SubnetConfigurations", json!([{ "SubnetId": subnet, "Ipv4": "10.0.0.9" }])),
    ] {
        assert_eq!(
            create(&api, ids, json!({ name: value })),
            format!("InvalidParameter: {name} is applicable only to Interface VPC Endpoints.")
        );
    }
    let inbound_only = json!({ "PrivateDnsOnlyForInboundResolverEndpoint": true });
    let refusal = "InvalidParameter: DnsOptions PrivateDnsOnlyForInboundResolverEndpoint is applicable only to Interface VPC Endpoints.";
    assert_eq!(create(&api, ids, json!({ "DnsOptions": inbound_only })), refusal);
    let change = json!({ "VpcEndpointId": ids["vpce"], "DnsOptions": inbound_only });
    assert_eq!(api.refusal("ModifyVpcEndpoint", change), refusal);
    let request = json!({ "ServiceRegion": "eu-west-1" });
    assert!(
        create(&api, ids, request).starts_with("InvalidParameter: ServiceRegion (eu-west-1) is applicable")
    );
}

#[test]
fn a_policy_is_kept_as_given_or_refused() {
    let (api, ids) = built();
    let policy = r#"{ "Statement": [ {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"} ] }"#;
    let stored = || {
        text(
            &api.call("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [ids["vpce"]] })),
            "VpcEndpoints.0.PolicyDocument",
        )
    };
    api.call("ModifyVpcEndpoint", json!({ "VpcEndpointId": ids["vpce"], "PolicyDocument": policy }));
    assert_eq!(stored(), policy);
    for bad in [
        "dog".to_owned(),
        "{}".to_owned(),
        r#"{"Statement":[{"Effect":"Maybe","Principal":"*","Action":"*","Resource":"*"}]}"#.to_owned(),
        format!(r#"{{"Statement":[{{"Sid":"{}","Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}]}}"#, "x".repeat(20_480)),
        r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:CalledViaFirst":"o-1"}}}]}"#.to_owned(),
    ] {
        let refusal = api.refusal("ModifyVpcEndpoint", json!({ "VpcEndpointId": ids["vpce"], "PolicyDocument": bad }));
        assert!(refusal.starts_with("InvalidPolicyDocument: "), "{refusal}");
        assert!(create(&api, ids, json!({ "PolicyDocument": bad })).starts_with("InvalidPolicyDocument: "));
        assert_eq!(stored(), policy);
    }
    let known = policy.replace(
        r#""arn:aws:s3:::b/*""#,
        r#""arn:aws:s3:::b/*","Condition":{"StringEquals":{"aws:SourceVpc":"vpc-1","s3:prefix":"x"}}"#,
    );
    api.call("ModifyVpcEndpoint", json!({ "VpcEndpointId": ids["vpce"], "PolicyDocument": known }));
    let both = json!({ "VpcEndpointId": ids["vpce"], "PolicyDocument": policy, "ResetPolicy": true });
    assert!(api.refusal("ModifyVpcEndpoint", both).starts_with("InvalidParameterCombination: "));
    api.call("ModifyVpcEndpoint", json!({ "VpcEndpointId": ids["vpce"], "ResetPolicy": true }));
    assert_eq!(stored(), FULL_ACCESS);
}

#[test]
fn the_quota_of_gateway_endpoints_has_its_code() {
    let (api, ids) = built();
    api.report(Action::SetQuota { quota: Quota::GatewayEndpoints, limit: None });
    for _ in 1..20 {
        api.call("CreateVpcEndpoint", json!({ "VpcId": ids["spare-vpc"], "ServiceName": S3 }));
    }
    assert!(create(&api, ids, json!({})).starts_with("VpcEndpointLimitExceeded: "));
}

#[test]
fn services_are_those_that_endpoints_can_lead_to() {
    let (api, _) = built();
    let of_aws = json!([{ "Name": "owner", "Values": ["amazon"] }]);
    let services = api.call("DescribeVpcEndpointServices", json!({ "Filters": of_aws }));
    let of_region = [
        "dynamodb",
        "ec2",
        "elasticloadbalancing",
        "execute-api",
        "kinesis-streams",
        "logs",
        "monitoring",
        "s3",
        "sts",
    ];
    let names: Vec<&str> =
        services["ServiceNames"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(names.contains(&"com.amazonaws.iam"), "{names:?}");
    for name in of_region {
        assert!(names.contains(&format!("com.amazonaws.us-east-1.{name}").as_str()), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("cloudfront")), "public only: {names:?}");
    // What has both kinds of endpoints is there twice.
    let of_s3 = api.call("DescribeVpcEndpointServices", json!({ "ServiceNames": [S3] }));
    let (gateway, interface) = (at(&of_s3, "ServiceDetails.0"), at(&of_s3, "ServiceDetails.1"));
    assert_eq!(gateway["BaseEndpointDnsNames"], json!(["s3.us-east-1.amazonaws.com"]));
    assert_eq!(gateway["ServiceType"], json!([{ "ServiceType": "Gateway" }]));
    assert_eq!(gateway["Owner"], "amazon");
    assert_eq!(gateway["VpcEndpointPolicySupported"], true);
    assert!(gateway.get("PrivateDnsName").is_none());
    assert_eq!(interface["BaseEndpointDnsNames"], json!(["s3.us-east-1.vpce.amazonaws.com"]));
    assert_eq!(interface["ServiceType"], json!([{ "ServiceType": "Interface" }]));
    assert_eq!(interface["PrivateDnsName"], "s3.us-east-1.amazonaws.com");
    assert_eq!(interface["PrivateDnsNameVerificationState"], "verified");
    assert_eq!(at(interface, "PrivateDnsNames.1.PrivateDnsName"), "*.s3.us-east-1.amazonaws.com");
    assert_ne!(interface["ServiceId"], gateway["ServiceId"]);
    let filters = json!([
        { "Name": "service-type", "Values": ["Interface"] }, { "Name": "service-name", "Values": ["*.kinesis-streams"] }
    ]);
    let of_kinesis = api.call("DescribeVpcEndpointServices", json!({ "Filters": filters }));
    let detail = at(&of_kinesis, "ServiceDetails.0");
    assert_eq!(detail["PrivateDnsName"], "kinesis.us-east-1.amazonaws.com");
    assert_eq!(detail["BaseEndpointDnsNames"], json!(["kinesis.us-east-1.vpce.amazonaws.com"]));
    assert_eq!(detail["AvailabilityZones"], json!(["us-east-1a", "us-east-1b", "us-east-1c"]));
    for name in ["dog", "cloudfront"] {
        let name = format!("com.amazonaws.us-east-1.{name}");
        assert_eq!(
            api.refusal("DescribeVpcEndpointServices", json!({ "ServiceNames": [name] })),
            format!("InvalidServiceName: The Vpc Endpoint Service '{name}' does not exist")
        );
    }
    assert!(
        api.refusal("DescribeVpcEndpointServices", json!({ "ServiceRegions": ["eu-west-1"] }))
            .starts_with("UnsupportedOperation: ")
    );
}
