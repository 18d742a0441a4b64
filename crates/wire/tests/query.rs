//! The query protocols on hand-written forms: what is decoded, and what is refused in which words.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use postern_wire::error::ErrorStyle;
use postern_wire::query::{DecodeError, Form, Limits, decode};
use postern_wire::shape::Protocol;
use postern_wire::{Operation, ec2, iam, sts};
use proptest::prelude::*;
use serde_json::json;

fn form(body: &str) -> Form {
    Form::parse("", body.as_bytes(), Limits::DEFAULT).unwrap()
}

/// Code and message of the refusal.
fn refusal(version: &str, body: &str) -> String {
    let body = format!("{body}&Version={version}");
    let form = match Form::parse("", body.as_bytes(), Limits::DEFAULT) {
        Ok(form) => form,
        Err(error) => {
            return DecodeError::from(error).to_aws(Protocol::Ec2).to_string();
        }
    };
    match version {
        "2016-11-15" => ec2::Request::decode(&form).unwrap_err().to_aws(Protocol::Ec2).to_string(),
        "2010-05-08" => iam::Request::decode(&form).unwrap_err().to_aws(Protocol::Query).to_string(),
        _ => sts::Request::decode(&form).unwrap_err().to_aws(Protocol::Query).to_string(),
    }
}

#[test]
fn an_ec2_request_is_decoded() {
    let body = "Action=CreateVpcEndpoint&Version=2016-11-15&VpcId=vpc-1&RouteTableId.2=rtb-b&RouteTableId.1=rtb-a\
                &PrivateDnsEnabled=false&TagSpecification.1.ResourceType=vpc-endpoint\
                &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=a%20b%26c";
    let ec2::Request::CreateVpcEndpoint(request) = ec2::Request::decode(&form(body)).unwrap() else {
        panic!("another operation");
    };
    assert_eq!(request.vpc_id.as_deref(), Some("vpc-1"));
    assert_eq!(request.route_table_ids, ["rtb-a", "rtb-b"]);
    assert_eq!(request.private_dns_enabled, Some(false));
    assert_eq!(request.tag_specifications[0].tags[0].value.as_deref(), Some("a b&c"));
    let ec2::Request::CreateVpcEndpoint(again) = ec2::Request::decode(&form(body)).unwrap() else {
        panic!("another operation");
    };
    assert_eq!(
        postern_wire::Structure::set_members(&*again),
        ["PrivateDnsEnabled", "RouteTableId", "TagSpecification", "VpcId"]
    );
    let typed = decode::<ec2::op::CreateVpcEndpoint>(&form(body)).unwrap();
    assert_eq!(typed, *request);
}

#[test]
fn refusals_name_the_parameter() {
    let ec2 = "2016-11-15";
    let iam = "2010-05-08";
    let long = "x".repeat(65);
    for (version, body, expected) in [
        (ec2, "Action=DeleteVpc&VpcId=v&Foo=1", "UnknownParameter: The parameter Foo is not recognized"),
        (ec2, "Action=DeleteVpc", "MissingParameter: The request must contain the parameter VpcId"),
        (ec2, "Action=DeleteVpc&VpcId.1=v", "UnknownParameter: The parameter VpcId.1 is not recognized"),
        (
            ec2,
            "Action=DeleteVpc&VpcId=v&VpcId.1=w",
            "UnknownParameter: The parameter VpcId.1 is not recognized",
        ),
        (ec2, "Action=DescribeVpcs&VpcId=v", "UnknownParameter: The parameter VpcId is not recognized"),
        (ec2, "Action=DescribeVpcs&VpcId.0=v", "UnknownParameter: The parameter VpcId.0 is not recognized"),
        (ec2, "Action=DescribeVpcs&VpcId.01=v", "UnknownParameter: The parameter VpcId.01 is not recognized"),
        (
            ec2,
            "Action=DescribeVpcs&VpcId.1001=v",
            "UnknownParameter: The parameter VpcId.1001 is not recognized",
        ),
        (ec2, "Action=DescribeVpcs&VpcId..1=v", "UnknownParameter: The parameter VpcId..1 is not recognized"),
        (
            ec2,
            "Action=DescribeVpcs&Filter.1.Name=a&Filter.1.Values.1=b",
            "UnknownParameter: The parameter Filter.1.Values.1 is not recognized",
        ),
        (
            ec2,
            "Action=DescribeVpcs&DryRun=maybe",
            "InvalidParameterValue: Value (maybe) for parameter DryRun is invalid. It is not a boolean.",
        ),
        (
            ec2,
            "Action=DescribeVpcs&MaxResults=4",
            "InvalidParameterValue: Value (4) for parameter MaxResults is invalid. \
             Expecting a value between 5 and 1000.",
        ),
        (
            ec2,
            "Action=DescribeVpcs&MaxResults=99999999999",
            "InvalidParameterValue: Value (99999999999) for parameter MaxResults is invalid. \
             It is not a 32-bit number.",
        ),
        (
            ec2,
            "Action=CreateVpc&InstanceTenancy=gold",
            "InvalidParameterValue: Value (gold) for parameter InstanceTenancy is invalid. \
             Expected one of: default, dedicated, host.",
        ),
        (ec2, "Action=MakeTea", "InvalidAction: The action MakeTea is not valid for this web service."),
        (ec2, "VpcId=v", "MissingAction: The request is missing an action or a required parameter."),
        (
            ec2,
            "Action=DeleteVpc&VpcId=v&VpcId=w",
            "MalformedQueryString: The parameter `VpcId` is given more than once.",
        ),
        (
            ec2,
            "Action=DeleteVpc&VpcId=%zz",
            "MalformedQueryString: The parameter `VpcId` is not properly encoded: a percent sign at byte 0 is not \
             followed by two hexadecimal digits.",
        ),
        (
            ec2,
            "Action=DeleteVpc&VpcId=%01",
            "MalformedQueryString: The parameter `VpcId` holds a character that is not allowed.",
        ),
        (
            ec2,
            "Action=DeleteVpc&VpcId=v&SignatureVersion=2",
            "InvalidRequest: Signature version 2 is not supported: `SignatureVersion` was given. \
             Please use AWS4-HMAC-SHA256.",
        ),
        (
            ec2,
            "Action=DeleteVpc&VpcId=v&X-Amz-Signature=1",
            "UnknownParameter: The parameter X-Amz-Signature is not recognized",
        ),
        (iam, "Action=MakeTea", "InvalidAction: Could not find operation MakeTea for version 2010-05-08"),
        (
            iam,
            "Action=GetRole",
            "ValidationError: 1 validation error detected: Value null at 'roleName' failed to satisfy constraint: \
             Member must not be null",
        ),
        (
            iam,
            "Action=GetRole&RoleName=a%20b",
            "ValidationError: 1 validation error detected: Value 'a b' at 'roleName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [\\w+=,.@-]+",
        ),
        (
            iam,
            &format!("Action=GetRole&RoleName={long}"),
            &format!(
                "ValidationError: 1 validation error detected: Value '{long}' at 'roleName' failed to satisfy \
                 constraint: Member must have length between 1 and 64"
            ),
        ),
        (
            iam,
            "Action=TagRole&RoleName=r&Tags.member.1.Value=v",
            "ValidationError: 1 validation error detected: Value null at 'tags.1.member.key' failed to satisfy \
             constraint: Member must not be null",
        ),
        (
            iam,
            "Action=TagRole&RoleName=r&Tags.1.Key=k",
            "UnknownParameter: The parameter Tags.1.Key is not recognized",
        ),
    ] {
        assert_eq!(refusal(version, body), expected, "{body}");
    }
}

#[test]
fn a_presigned_url_carries_the_form_and_the_signature() {
    let query = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Date=d&X-Amz-Signature=s";
    let form = Form::parse(query, b"", Limits::DEFAULT).unwrap();
    assert!(form.parameters.is_empty());
    let unsigned = Form::parse(&query.replace("&X-Amz-Signature=s", ""), b"", Limits::DEFAULT).unwrap();
    assert_eq!(unsigned.parameters.keys().collect::<Vec<_>>(), ["X-Amz-Date"]);
}

#[test]
fn bounds_hold() {
    let many: String = (0..20_000).map(|number| format!("&a{number}=1")).collect();
    let deep = format!("Action=DescribeVpcs&{}=1", vec!["a"; 100_000].join("."));
    let error = Form::parse("", many.as_bytes(), Limits::DEFAULT).unwrap_err();
    assert_eq!(error.to_string(), "the request has more than 10000 parameters");
    assert!(refusal("2016-11-15", &deep).starts_with("UnknownParameter"));
    let error = Form::parse("", &vec![b'a'; (1 << 20) + 1], Limits::DEFAULT).unwrap_err();
    assert_eq!(error.to_string(), "the request has 1048577 bytes of parameters, more than 1048576");
}

#[test]
fn responses_are_written_as_the_services_write_them() {
    let vpc = ec2::Vpc { vpc_id: Some("vpc-1".into()), is_default: Some(false), ..Default::default() };
    assert_eq!(
        ec2::op::CreateVpc::respond(ec2::CreateVpcResult { vpc: Some(vpc) }, "id-1"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <CreateVpcResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>id-1</requestId>\
         <vpc><isDefault>false</isDefault><vpcId>vpc-1</vpcId></vpc></CreateVpcResponse>"
    );
    assert_eq!(
        ec2::op::DeleteVpc::respond((), "id-1"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DeleteVpcResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>id-1</requestId>\
         <return>true</return></DeleteVpcResponse>"
    );
    assert_eq!(
        iam::op::DeleteRole::respond((), "id-1"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DeleteRoleResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
         <ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DeleteRoleResponse>"
    );
    let caller = sts::GetCallerIdentityResponse { account: Some("1".into()), ..Default::default() };
    assert_eq!(
        sts::op::GetCallerIdentity::respond(caller, "id-1"),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
}

#[test]
fn the_client_speaks_json() {
    let parameters = json!({"VpcIds": ["vpc-1"], "Filters": [{"Name": "state", "Values": ["available"]}]});
    let form = postern_wire::client::encode(&ec2::SERVICE, "DescribeVpcs", &parameters).unwrap();
    assert_eq!(
        form.to_body(),
        "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=state&Filter.1.Value.1=available&VpcId.1=vpc-1"
    );
    let error =
        postern_wire::client::encode(&ec2::SERVICE, "DescribeVpcs", &json!({"VpcId": "vpc-1"})).unwrap_err();
    assert_eq!(error.to_string(), "the operation `DescribeVpcs` has no parameter `VpcId`");
    let error = postern_wire::client::encode(&ec2::SERVICE, "DeleteVpc", &json!({})).unwrap_err();
    assert_eq!(error.to_string(), "the operation `DeleteVpc` needs the parameter `VpcId`");
    let vpc = ec2::Vpc { vpc_id: Some("vpc-1".into()), tags: Some(vec![]), ..Default::default() };
    let document = ec2::op::CreateVpc::respond(ec2::CreateVpcResult { vpc: Some(vpc) }, "id-1");
    assert_eq!(
        postern_wire::client::decode(&ec2::SERVICE, "CreateVpc", &document).unwrap(),
        json!({"Vpc": {"VpcId": "vpc-1", "Tags": []}})
    );
}

proptest! {
    /// Whatever a form says, the answer is a request or a refusal that can be written.
    #[test]
    fn foreign_forms_never_panic(
        body in prop_oneof![
            any::<Vec<u8>>(),
            "(Action=(DescribeVpcs|CreateVpc|RunInstances)&Version=2016-11-15)(&[A-Za-z.0-9]{1,12}(\\.[0-9]{1,4}){0,3}=[ -~]{0,8}){0,6}"
                .prop_map(String::into_bytes),
        ],
    ) {
        let decoded = Form::parse("", &body, Limits::DEFAULT).map_err(DecodeError::from);
        if let Err(error) = decoded.and_then(|form| ec2::Request::decode(&form)) {
            for protocol in [Protocol::Ec2, Protocol::Query] {
                let body = error.to_aws(protocol).body(ErrorStyle::Ec2, "id-1", None).body;
                prop_assert!(postern_wire::client::decode_error(&body).is_some());
            }
        }
    }

    /// A client reads an answer or refuses it.
    #[test]
    fn foreign_documents_never_panic(document in "(<[a-zA-Z/ ]{0,9}>|[ -~]{0,5}|&[a-z#0-9]{0,4};|<!\\[CDATA\\[)*") {
        let _ = postern_wire::xml::parse(&document);
        let wrapped = format!("<CreateVpcResponse>{document}</CreateVpcResponse>");
        let _ = postern_wire::client::decode(&ec2::SERVICE, "CreateVpc", &wrapped);
    }
}

#[test]
fn secrets_are_not_printed() {
    let key = iam::AccessKey {
        access_key_id: "AKIA".to_owned().into(),
        secret_access_key: Some(postern_wire::Sensitive::new("hush".to_owned())),
        ..Default::default()
    };
    assert!(!format!("{key:?}").contains("hush"));
}
