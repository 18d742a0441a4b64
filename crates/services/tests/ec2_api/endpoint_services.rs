//! Endpoint services: who offers them, who may know of them, and who is connected.

use postern_model::endpoint_service::EndpointServiceAction;
use postern_model::{Action, Quota};
use postern_wire::{client, ec2};
use serde_json::{Value, json};

use crate::support::{Api, BOB, at, text, texts, user};
use crate::world::{bobs, built};

fn name(service: &str) -> String {
    format!("com.amazonaws.vpce.us-east-1.{service}")
}

fn as_bob(api: &Api, operation: &str, parameters: Value) -> Result<Value, String> {
    api.try_as(BOB, operation, &parameters).map_err(|error| error.to_string())
}

/// An endpoint of Bob's to a service.
fn endpoint_of_bob(service: &str, more: Value) -> Value {
    let ids = bobs();
    let mut all = json!({ "VpcId": ids["vpc"], "VpcEndpointType": "Interface", "SubnetIds": [ids["subnet"]],
        "ServiceName": name(service) });
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

#[test]
fn a_service_is_made_shown_changed_and_deleted() {
    let (api, ids) = built();
    let made = api.call(
        "CreateVpcEndpointServiceConfiguration",
        json!({
        "AcceptanceRequired": false, "NetworkLoadBalancerArns": [ids["nlb"]], "PrivateDnsName": "*.example.com",
        "SupportedIpAddressTypes": ["ipv4"], "SupportedRegions": ["us-east-1"], "ClientToken": "c" }),
    );
    let made = at(&made, "ServiceConfiguration");
    let id = text(made, "ServiceId");
    assert_eq!(text(made, "ServiceName"), name(&id));
    assert_eq!(at(made, "ServiceState"), "Available");
    assert_eq!(at(made, "ServiceType.0.ServiceType"), "Interface");
    assert_eq!(at(made, "AcceptanceRequired"), false);
    assert_eq!(at(made, "AvailabilityZones"), &json!(["us-east-1a"]));
    assert_eq!(at(made, "AvailabilityZoneIds"), &json!(["use1-az1"]));
    assert_eq!(at(made, "NetworkLoadBalancerArns"), &json!([ids["nlb"]]));
    assert_eq!(at(made, "BaseEndpointDnsNames"), &json!([format!("{id}.us-east-1.vpce.amazonaws.com")]));
    assert_eq!(
        at(made, "SupportedRegions"),
        &json!([{ "Region": "us-east-1", "ServiceState": "Available" }])
    );
    let private = at(made, "PrivateDnsNameConfiguration");
    assert_eq!((at(private, "State"), at(private, "Type")), (&json!("pendingVerification"), &json!("TXT")));
    assert!(text(private, "Value").starts_with("vpce:") && text(private, "Name").starts_with('_'));

    api.call(
        "ModifyVpcEndpointServiceConfiguration",
        json!({
        "ServiceId": id, "AcceptanceRequired": true, "AddNetworkLoadBalancerArns": [ids["spare-nlb"]],
        "RemoveNetworkLoadBalancerArns": [ids["nlb"]], "RemovePrivateDnsName": true,
        "AddSupportedRegions": ["us-east-1"] }),
    );
    let payer = json!({ "ServiceId": id, "PayerResponsibility": "ServiceOwner" });
    api.call("ModifyVpcEndpointServicePayerResponsibility", payer);
    let shown = api.call("DescribeVpcEndpointServiceConfigurations", json!({ "ServiceIds": [id] }));
    let shown = at(&shown, "ServiceConfigurations.0");
    assert_eq!(at(shown, "AcceptanceRequired"), true);
    assert_eq!(at(shown, "NetworkLoadBalancerArns"), &json!([ids["spare-nlb"]]));
    assert_eq!(shown.get("PrivateDnsName"), None);
    assert_eq!(at(shown, "PayerResponsibility"), "ServiceOwner");
    let unknown = "vpce-svc-0123456789abcdef0";
    let gone = api.call("DeleteVpcEndpointServiceConfigurations", json!({ "ServiceIds": [id, unknown] }));
    assert_eq!(texts(&gone, "Unsuccessful", "ResourceId"), [unknown]);
    assert_eq!(at(&gone, "Unsuccessful.0.Error.Code"), "InvalidVpcEndpointService.NotFound");
    assert_eq!(
        api.refusal("DescribeVpcEndpointServiceConfigurations", json!({ "ServiceIds": [id] })),
        format!("InvalidVpcEndpointServiceId.NotFound: The VpcEndpointService Id '{id}' does not exist")
    );
}

#[test]
fn what_a_service_cannot_be_is_refused_by_name() {
    let (api, ids) = built();
    let nobodys = format!("{}0", &ids["nlb"][..ids["nlb"].len() - 1]);
    let new = |more: Value| {
        let mut all = json!({ "NetworkLoadBalancerArns": [ids["nlb"]] });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    for (parameters, expected) in [
        (json!({}), "MissingParameter: The request must contain the parameter NetworkLoadBalancerArn".to_owned()),
        (
            new(json!({ "NetworkLoadBalancerArns": ["nlb"] })),
            "InvalidNetworkLoadBalancerArn.Malformed: The Network Load Balancer ARN 'nlb' is malformed".to_owned(),
        ),
        (
            new(json!({ "NetworkLoadBalancerArns": [nobodys] })),
            format!(
                "InvalidNetworkLoadBalancerArn.NotFound: The Network Load Balancer ARN '{nobodys}' does not exist"
            ),
        ),
        (
            new(json!({ "PrivateDnsName": "localhost" })),
            "InvalidParameter: Private DNS name 'localhost' is not a valid domain name.".to_owned(),
        ),
        (
            new(json!({ "GatewayLoadBalancerArns": ["arn:x"] })),
            "UnsupportedOperation: The parameter GatewayLoadBalancerArn.1 is not supported by this endpoint yet"
                .to_owned(),
        ),
        (
            new(json!({ "SupportedRegions": ["eu-west-1"] })),
            "UnsupportedOperation: The value (eu-west-1) of the parameter SupportedRegion is not supported by this \
             endpoint yet. Supported values: us-east-1"
                .to_owned(),
        ),
        (
            new(json!({ "SupportedIpAddressTypes": ["ipv6"] })),
            "UnsupportedOperation: The value (ipv6) of the parameter SupportedIpAddressType.1 is not supported by \
             this endpoint yet. Supported values: ipv4"
                .to_owned(),
        ),
    ] {
        let refused = api.refusal("CreateVpcEndpointServiceConfiguration", parameters.clone());
        assert_eq!(refused, expected, "{parameters}");
    }
    let bad = json!({ "ServiceId": ids["service"], "AddAllowedPrincipals": ["arn:aws:iam::1:root"] });
    assert_eq!(
        api.refusal("ModifyVpcEndpointServicePermissions", bad),
        "InvalidParameter: Invalid principal: 'arn:aws:iam::1:root'. Specify the ARN of an account, a user or a role \
         without a path, or *."
    );
    let usual = Action::SetQuota { quota: Quota::EndpointServices, limit: Some(2) };
    api.report(usual);
    assert_eq!(
        api.refusal("CreateVpcEndpointServiceConfiguration", new(json!({}))),
        "ResourceLimitExceeded: The maximum number of VPC endpoint services has been reached."
    );
}

#[test]
fn permissions_are_kept_by_principal() {
    let (api, ids) = built();
    let (service, ann) = (&ids["spare-service"], format!("arn:aws:iam::{BOB:012}:user/ann"));
    let add = json!({ "ServiceId": service, "AddAllowedPrincipals": [ann, "*"] });
    let added = api.call("ModifyVpcEndpointServicePermissions", add.clone());
    assert_eq!(texts(&added, "AddedPrincipals", "Principal"), ["*", ann.as_str()]);
    assert_eq!(texts(&added, "AddedPrincipals", "PrincipalType"), ["All", "User"]);
    assert!(text(&added, "AddedPrincipals.0.ServicePermissionId").starts_with("vpce-svc-perm-"));
    // Adding what is there adds nothing.
    assert_eq!(at(&api.call("ModifyVpcEndpointServicePermissions", add), "AddedPrincipals"), &json!([]));
    api.call(
        "ModifyVpcEndpointServicePermissions",
        json!({ "ServiceId": service, "RemoveAllowedPrincipals": ["*"] }),
    );
    let shown = api.call("DescribeVpcEndpointServicePermissions", json!({ "ServiceId": service }));
    assert_eq!(texts(&shown, "AllowedPrincipals", "Principal"), [ann]);
}

#[test]
fn another_account_is_connected_when_it_is_allowed_and_accepted() {
    let (api, ids) = built();
    let service = &ids["service"];
    let unknown = format!("InvalidServiceName: The Vpc Endpoint Service '{}' does not exist", name(service));
    let try_it = |more: Value| as_bob(&api, "CreateVpcEndpoint", endpoint_of_bob(service, more));
    assert_eq!(try_it(json!({})), Err(unknown));
    let everybody =
        json!({ "ServiceId": service, "AddAllowedPrincipals": [format!("arn:aws:iam::{BOB:012}:root")] });
    api.call("ModifyVpcEndpointServicePermissions", everybody);
    assert_eq!(
        try_it(json!({ "SubnetIds": [bobs()["private"]] })),
        Err(format!(
            "InvalidParameter: The VPC endpoint service {} does not support the availability zone of the subnet: {}.",
            name(service),
            bobs()["private"]
        ))
    );
    let made = try_it(json!({})).unwrap();
    let id = text(&made, "VpcEndpoint.VpcEndpointId");
    assert_eq!(at(&made, "VpcEndpoint.State"), "pendingAcceptance");

    let of_bob = json!([{ "Name": "vpc-endpoint-owner", "Values": [format!("{BOB:012}")] }]);
    let shown = api.call("DescribeVpcEndpointConnections", json!({ "Filters": of_bob }));
    assert_eq!(texts(&shown, "VpcEndpointConnections", "VpcEndpointId"), [id.as_str()]);
    let row = at(&shown, "VpcEndpointConnections.0");
    assert_eq!(at(row, "VpcEndpointState"), "pendingAcceptance");
    assert_eq!(
        (text(row, "ServiceId"), at(row, "NetworkLoadBalancerArns")),
        (service.clone(), &json!([ids["nlb"]]))
    );
    assert!(!row.to_string().contains(&bobs()["vpc"]), "an owner sees nothing of the consumer's VPC: {row}");
    // The consumer sees no connections: it has no service that Bob's endpoint leads to.
    let bobs_view = as_bob(&api, "DescribeVpcEndpointConnections", json!({})).unwrap();
    assert!(!bobs_view.to_string().contains(&id));

    let named = json!({ "ServiceId": service, "VpcEndpointIds": [id] });
    let state = || {
        let shown = as_bob(&api, "DescribeVpcEndpoints", json!({ "VpcEndpointIds": [id] })).unwrap();
        text(&shown, "VpcEndpoints.0.State")
    };
    assert_eq!(at(&api.call("AcceptVpcEndpointConnections", named.clone()), "Unsuccessful"), &json!([]));
    assert_eq!(state(), "pending");
    let again = api.call("AcceptVpcEndpointConnections", named.clone());
    assert_eq!(at(&again, "Unsuccessful.0.Error.Code"), "InvalidState");
    let deletion = api.call("DeleteVpcEndpointServiceConfigurations", json!({ "ServiceIds": [service] }));
    assert_eq!(at(&deletion, "Unsuccessful.0.Error.Code"), "ExistingVpcEndpointConnections");
    assert_eq!(
        at(&deletion, "Unsuccessful.0.Error.Message"),
        "Service has existing active VPC Endpoint connections!"
    );
    api.call("RejectVpcEndpointConnections", named);
    assert_eq!(state(), "rejected");
    let theirs = json!({ "ServiceId": service, "VpcEndpointIds": [id] });
    assert!(
        as_bob(&api, "AcceptVpcEndpointConnections", theirs)
            .unwrap_err()
            .starts_with("InvalidVpcEndpointServiceId.NotFound")
    );
}

#[test]
fn a_private_name_can_be_had_once_it_is_verified() {
    let (api, ids) = built();
    let service = &ids["service"];
    let own = json!({ "VpcId": ids["vpc"], "VpcEndpointType": "Interface", "SubnetIds": [ids["subnet"]],
        "ServiceName": name(service), "PrivateDnsEnabled": true });
    assert!(
        api.refusal("CreateVpcEndpoint", own.clone())
            .starts_with("InvalidParameter: Private DNS can't be enabled")
    );
    let id = service.parse().unwrap();
    let record_value = api.state().endpoint_services[&id].private_dns.as_ref().unwrap().record_value.clone();
    let verified = true;
    let report = EndpointServiceAction::ReportPrivateDnsVerification { service: id, record_value, verified };
    api.report(Action::EndpointService(report));
    let shown = api.call("DescribeVpcEndpointServiceConfigurations", json!({ "ServiceIds": [service] }));
    assert_eq!(at(&shown, "ServiceConfigurations.0.PrivateDnsNameConfiguration.State"), "verified");
    let made = api.call("CreateVpcEndpoint", own);
    assert!(texts(&made, "VpcEndpoint.DnsEntries", "DnsName").contains(&"api.example.com".to_owned()));
}

#[test]
fn those_who_are_allowed_see_a_service_and_nobody_else() {
    let (api, ids) = built();
    let service = &ids["spare-service"];
    let wanted = json!({ "ServiceNames": [name(service)] });
    let unknown = format!("InvalidServiceName: The Vpc Endpoint Service '{}' does not exist", name(service));
    // Its owner sees it; another account does not, by name or among all.
    assert_eq!(
        texts(&api.call("DescribeVpcEndpointServices", wanted.clone()), "ServiceDetails", "ServiceId"),
        std::slice::from_ref(service)
    );
    assert_eq!(as_bob(&api, "DescribeVpcEndpointServices", wanted.clone()), Err(unknown.clone()));
    assert!(!as_bob(&api, "DescribeVpcEndpointServices", json!({})).unwrap().to_string().contains(service));
    // A user who is allowed sees it and can have an endpoint; another user of the account cannot.
    let ann = format!("arn:aws:iam::{BOB:012}:user/ann");
    let allow = json!({ "ServiceId": service, "AddAllowedPrincipals": [ann] });
    api.call("ModifyVpcEndpointServicePermissions", allow);
    let everything = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    for user in ["ann", "ben"] {
        api.directory.policies.lock().unwrap().insert(user.to_owned(), everything.to_owned());
    }
    let as_user = |who: &str, operation: &str, parameters: &Value| {
        let form = client::encode(&ec2::SERVICE, operation, parameters).unwrap();
        api.send(&user(BOB, who), &form).map_err(|error| error.to_string())
    };
    let shown = as_user("ann", "DescribeVpcEndpointServices", &wanted).unwrap();
    let detail = at(&shown, "ServiceDetails.0");
    assert_eq!(at(detail, "AvailabilityZones"), &json!(["us-east-1a"]));
    assert_eq!(at(detail, "AcceptanceRequired"), true);
    assert_eq!(at(detail, "VpcEndpointPolicySupported"), false);
    assert_eq!(as_user("ben", "DescribeVpcEndpointServices", &wanted), Err(unknown.clone()));
    let new = endpoint_of_bob(service, json!({}));
    assert_eq!(as_user("ben", "CreateVpcEndpoint", &new), Err(unknown));
    let made = as_user("ann", "CreateVpcEndpoint", &new).unwrap();
    assert_eq!(at(&made, "VpcEndpoint.State"), "pendingAcceptance");
}
