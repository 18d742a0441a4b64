//! Every operation served, with every parameter and every member of its response, against botocore.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use postern_wire::error::ErrorStyle;
use postern_wire::query::{self, DecodeError, Form};
use postern_wire::shape::{Kind, Service, StructureShape};
use postern_wire::value::{Fields, Value};
use postern_wire::{AwsError, SERVICES, Timestamp, client, ec2, elbv2, iam, sns, sts, xml};
use serde_json::{Value as Json, json};

fn service(name: &str) -> &'static Service {
    SERVICES.iter().find(|service| service.name == name).unwrap()
}

fn operations() -> impl Iterator<Item = (&'static Service, &'static str)> {
    let of = |service: &&'static Service| {
        let service = *service;
        service.operations.iter().map(move |operation| (service, operation.name))
    };
    SERVICES.iter().flat_map(of)
}

/// Through the typed request and back, so that the generated structs are part of the test.
fn through_the_struct(service: &Service, form: &Form) -> Result<Form, DecodeError> {
    match service.name {
        "ec2" => ec2::Request::decode(form).map(ec2::Request::encode),
        "elasticloadbalancing" => elbv2::Request::decode(form).map(elbv2::Request::encode),
        "iam" => iam::Request::decode(form).map(iam::Request::encode),
        "sns" => sns::Request::decode(form).map(sns::Request::encode),
        "sts" => sts::Request::decode(form).map(sts::Request::encode),
        other => panic!("`{other}` is not in the test"),
    }
}

#[test]
fn every_request_of_botocore_is_understood_whole() {
    let input: String = operations().map(|(service, name)| format!("{} {name}\n", service.name)).collect();
    let output = support::oracle("protocols.py", &["requests"], &input);
    let mut parameters = 0;
    for line in output.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        let (service, name) =
            (service(line["service"].as_str().unwrap()), line["operation"].as_str().unwrap());
        let form = form(&line["form"]);
        parameters += form.parameters.len();
        // The client direction makes the same form of the same parameters.
        let encoded = client::encode(service, name, &line["parameters"]).unwrap();
        assert_eq!(normal(encoded), form, "{name}");
        // What is decoded encodes to the same form, so no parameter was lost, and each fitted its type.
        let (operation, fields) =
            query::decode_fields(service, &form).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(normal(query::encode(service, operation, &fields)), form, "{name}");
        assert_eq!(normal(through_the_struct(service, &form).unwrap()), form, "{name}");
        misnamed_parameters_are_refused(service, &form);
        let known = operation.parameters(service.protocol).into_iter().map(|parameter| parameter.name);
        // The items of a list of unions have another member each, so all items are taken for the first.
        let first = |step: &str| if step.parse::<u32>().is_ok() { "1".to_owned() } else { step.to_owned() };
        let sent =
            form.parameters.keys().map(|name| name.split('.').map(first).collect::<Vec<_>>().join("."));
        assert_eq!(known.collect::<BTreeSet<_>>(), sent.collect(), "{name}");
    }
    assert_eq!(output.lines().count(), operations().count());
    assert!(parameters > 1500, "{parameters}");
}

/// botocore writes its sample's date without milliseconds.
fn normal(mut form: Form) -> Form {
    for value in form.parameters.values_mut() {
        if value == "2026-01-31T12:34:56.000Z" {
            *value = "2026-01-31T12:34:56Z".to_owned();
        }
    }
    form
}

fn form(json: &Json) -> Form {
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    let mut parameters: BTreeMap<String, String> =
        json.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let action = parameters.remove("Action").unwrap();
    let form = Form { action, version: parameters.remove("Version"), parameters };
    let body = form.to_body();
    assert_eq!(Form::parse("", body.as_bytes(), query::Limits::DEFAULT), Ok(form.clone()));
    form
}

/// Each parameter in turn under a name that does not exist.
fn misnamed_parameters_are_refused(service: &Service, form: &Form) {
    for name in form.parameters.keys() {
        for wrong in [format!("{name}x"), format!("x{name}"), format!("{name}.1x")] {
            let mut form = form.clone();
            form.parameters.insert(wrong.clone(), "1".to_owned());
            match query::decode_fields(service, &form) {
                Err(DecodeError::UnknownParameter { parameter }) => {
                    assert!(wrong == parameter || name.starts_with(&parameter), "{wrong} {parameter}");
                }
                other => panic!("{} {wrong}: {other:?}", form.action),
            }
        }
    }
}

#[test]
fn every_response_is_read_by_botocore_as_it_was_meant() {
    let documents: Vec<(&Service, &str, String)> = operations()
        .map(|(service, name)| {
            let shape = service.operation(name).unwrap().output.unwrap_or(StructureShape::EMPTY);
            (service, name, xml::response(service, name, shape, &sample_fields(shape, name), "id-1"))
        })
        .collect();
    let input: String = documents
        .iter()
        .map(|(service, operation, document)| {
            format!("{}\n", json!({"service": service.name, "operation": operation, "document": document}))
        })
        .collect();
    let output = support::oracle("protocols.py", &["responses"], &input);
    assert_eq!(output.lines().count(), documents.len());
    for ((service, operation, document), line) in documents.iter().zip(output.lines()) {
        let read: Json = serde_json::from_str(line).unwrap();
        assert_eq!(client::decode(service, operation, document).unwrap(), read, "{operation}");
    }
}

fn sample_fields(shape: &StructureShape, path: &str) -> Fields {
    let member =
        |member: &postern_wire::shape::Member| Some(sample(member.kind, &format!("{path}.{}", member.name)));
    shape.members.iter().map(member).collect()
}

/// As `response_value` of the oracle has it.
fn sample(kind: Kind, path: &str) -> Value {
    let length = i64::try_from(path.len()).unwrap();
    match kind {
        Kind::Text(_) => Value::Text(format!("{path} <&>\"'\r\n\u{e9}\u{1f600}")),
        Kind::Boolean => Value::Boolean(length % 2 == 0),
        Kind::Integer(_) => Value::Integer(length),
        Kind::Long(_) => Value::Integer(5_000_000_000 + length),
        Kind::Double => Value::Double(f64::from(u32::try_from(length).unwrap()) + 0.5),
        Kind::Timestamp => Value::Timestamp(Timestamp::from_seconds(1_700_000_000 + length)),
        Kind::Blob => Value::Blob(path.as_bytes().to_vec()),
        Kind::List(list) => {
            Value::List((1..=2).map(|index| sample(list.item, &format!("{path}.{index}"))).collect())
        }
        Kind::Structure(shape) => Value::Structure(sample_fields(shape, path)),
    }
}

#[test]
fn every_error_body_is_read_by_botocore() {
    let styles = [
        ("ec2", ErrorStyle::Ec2),
        ("query", ErrorStyle::Query { xml_namespace: iam::SERVICE.xml_namespace }),
        ("rest-xml", ErrorStyle::S3),
        ("json", ErrorStyle::Json { content_type: "application/x-amz-json-1.0" }),
    ];
    let error =
        AwsError::new("Some.Code", "A <sentence> & \"more\"").with_status(403).with_detail("Region", "r");
    let bodies = styles.map(|(protocol, style)| (protocol, error.body(style, "id-1", Some("/a&b"))));
    let line = |(protocol, body): &(&str, postern_wire::error::ErrorBody)| {
        format!("{}\n", json!({"protocol": protocol, "status": body.status, "body": body.body}))
    };
    let output = support::oracle("protocols.py", &["errors"], &bodies.iter().map(line).collect::<String>());
    for ((protocol, body), line) in bodies.iter().zip(output.lines()) {
        let read: Json = serde_json::from_str(line).unwrap();
        // botocore takes S3's and the JSON services' request id from a header.
        let in_body = matches!(*protocol, "ec2" | "query");
        let request_id = if in_body { json!("id-1") } else { Json::Null };
        assert_eq!(read, json!(["Some.Code", "A <sentence> & \"more\"", request_id]), "{protocol}");
        if *protocol != "json" {
            let (code, message, request_id) = client::decode_error(&body.body).unwrap();
            assert_eq!(
                (code.as_str(), message.as_str()),
                ("Some.Code", "A <sentence> & \"more\""),
                "{protocol}"
            );
            assert_eq!(request_id.as_deref(), Some("id-1"), "{protocol}");
        }
    }
}
