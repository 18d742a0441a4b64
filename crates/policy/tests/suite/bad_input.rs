//! Documents that nobody means well: they are refused with a reason and a place, and allow nothing.

use crate::fixture;
use postern_policy::{Kind, ParseError, PolicyDocument};
use serde_json::{Value, json};

const KINDS: [Kind; 9] = [
    Kind::Identity,
    Kind::Resource,
    Kind::Trust,
    Kind::Endpoint { gateway: true },
    Kind::Endpoint { gateway: false },
    Kind::Boundary,
    Kind::Session,
    Kind::ServiceControl,
    Kind::ResourceControl,
];

/// With every element that a kind may have.
fn complete(kind: Kind) -> Value {
    let mut statement = json!({
        "Sid": "One",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": ["arn:aws:s3:::b/*"],
        "Condition": {"StringLike": {"s3:prefix": ["a*"]}, "Bool": {"aws:SecureTransport": "true"}},
    });
    match kind {
        Kind::Identity | Kind::Boundary | Kind::Session | Kind::ServiceControl => {}
        Kind::Resource | Kind::Endpoint { gateway: false } => {
            statement["Principal"] = json!({"AWS": ["111111111111"]});
        }
        Kind::Endpoint { gateway: true } => statement["Principal"] = json!("*"),
        Kind::Trust => {
            statement["Principal"] = json!({"Service": "ec2.amazonaws.com"});
            statement["Action"] = json!(["sts:AssumeRole"]);
            statement.as_object_mut().unwrap().remove("Resource");
        }
        Kind::ResourceControl => {
            statement["Principal"] = json!("*");
            statement["Effect"] = json!("Deny");
        }
    }
    if matches!(kind, Kind::Endpoint { .. }) {
        statement["Condition"]["StringLike"] = json!({"s3:prefix": ["abcdefg*"]});
    }
    json!({"Version": "2012-10-17", "Id": "id", "Statement": [statement]})
}

/// The path to every value of a document.
fn paths(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                paths(item, &format!("{here}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                paths(member, &format!("{here}/{name}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What the language does accept: a scalar of any type as a condition's value, conditions that ask for nothing, texts
/// that mean nothing.
fn is_legal(path: &str, wrong: &Value) -> bool {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (parts.as_slice(), wrong) {
        (["Id"], Value::String(_)) => true,
        (["Statement", _, "Sid"], Value::String(_)) => true,
        (["Statement", _, "Condition"], Value::Object(members)) => members.is_empty(),
        (["Statement", _, "Condition", _], Value::Object(members)) => members.is_empty(),
        (
            ["Statement", _, "Condition", "StringLike", _, ..],
            Value::String(_) | Value::Number(_) | Value::Bool(_),
        ) => true,
        (["Statement", _, "Condition", "Bool", _], Value::Bool(_)) => true,
        _ => false,
    }
}

#[test]
fn every_wrong_type_anywhere_is_refused_with_its_place() {
    let wrong = [
        json!(null),
        json!(true),
        json!(7),
        json!(-1.5e300),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([[]]),
        json!([null]),
        json!({"a": 1}),
        json!([{}]),
    ];
    let mut tried = 0;
    for kind in KINDS {
        let whole = complete(kind);
        PolicyDocument::parse(&whole.to_string(), kind).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let mut found = Vec::new();
        paths(&whole, "", &mut found);
        for path in &found {
            for wrong in &wrong {
                let mut document = whole.clone();
                *document.pointer_mut(path).unwrap() = wrong.clone();
                let parsed = PolicyDocument::parse(&document.to_string(), kind);
                let what = format!("{wrong} at {path} of {kind}");
                match parsed {
                    Ok(_) => assert!(is_legal(path, wrong), "{what} is accepted"),
                    Err(error) => {
                        assert!(error.place().is_some_and(|place| place.line == 1), "{what}: {error}");
                    }
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 1_000, "only {tried}");
}

#[test]
fn every_missing_element_is_refused_or_optional() {
    for kind in KINDS {
        let whole = complete(kind);
        for element in whole["Statement"][0].as_object().unwrap().keys() {
            let mut document = whole.clone();
            document["Statement"][0].as_object_mut().unwrap().remove(element);
            let parsed = PolicyDocument::parse(&document.to_string(), kind);
            let optional = ["Sid", "Condition"].contains(&element.as_str());
            assert_eq!(parsed.is_ok(), optional, "{kind} without {element}: {parsed:?}");
        }
    }
}

#[test]
fn a_megabyte_is_refused_at_once_whatever_it_is() {
    let megabyte = 1 << 20;
    let valid = fixture::document_text("full", Kind::Identity);
    let documents = [
        " ".repeat(megabyte),
        "x".repeat(megabyte),
        "[".repeat(megabyte),
        format!("{valid}{}", " ".repeat(megabyte)),
        valid.replace("s3", &"a".repeat(megabyte)) + &"\n".repeat(megabyte),
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{}]}}"#,
            vec![r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#; 25_000].join(",")
        ),
    ];
    let started = std::time::Instant::now();
    for (number, text) in documents.iter().enumerate() {
        for kind in KINDS {
            let refused = PolicyDocument::parse_within(text, kind, usize::MAX);
            assert!(matches!(refused, Err(ParseError::TooLong { .. })), "document {number} as {kind}");
        }
    }
    assert!(started.elapsed().as_secs() < 10, "took {:?}", started.elapsed());
}

#[test]
fn a_thousand_levels_are_refused_without_using_up_the_stack() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        let text = format!("{}1{}", open.repeat(1_000), close.repeat(1_000));
        let error = PolicyDocument::parse_within(&text, Kind::Resource, usize::MAX).unwrap_err();
        assert!(error.to_string().contains("more than 16 levels deep"), "{error}");
        let inside = complete(Kind::Resource).to_string().replace(r#""a*""#, &text);
        let error = PolicyDocument::parse_within(&inside, Kind::Resource, usize::MAX).unwrap_err();
        assert!(error.to_string().contains("levels deep"), "{error}");
    }
    let unclosed = "[".repeat(400_000);
    assert!(PolicyDocument::parse_within(&unclosed, Kind::Resource, usize::MAX).is_err());
}

#[test]
fn what_is_not_text_is_refused_where_it_stops_being_so() {
    let mut bytes = fixture::document_text("full", Kind::Identity).replace(',', ",\n").into_bytes();
    let at = bytes.len() - 3;
    bytes[at] = 0xff;
    let error = PolicyDocument::parse_bytes(&bytes, Kind::Identity).unwrap_err();
    assert!(matches!(error, ParseError::NotUtf8 { valid_up_to_bytes, .. } if valid_up_to_bytes == at));
    assert_eq!(
        error.to_string(),
        format!("the document is not utf-8 from byte {at} on, at line 4, column 14")
    );
    // Overlong, half of a surrogate pair, beyond Unicode, cut off.
    for wrong in [&[0xc0, 0xaf][..], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80], &[0xe6, 0x97]] {
        let bytes = [br#"{"Version":""#, wrong].concat();
        let error = PolicyDocument::parse_bytes(&bytes, Kind::Identity).unwrap_err();
        assert!(matches!(error, ParseError::NotUtf8 { valid_up_to_bytes: 12, .. }), "{error}");
    }
    // A byte order mark is no white space of JSON.
    let marked = format!("\u{feff}{}", fixture::document_text("full", Kind::Resource));
    let error = PolicyDocument::parse(&marked, Kind::Resource).unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed json at line 1, column 1: expected a value, found character U+FEFF"
    );
}

#[test]
fn operators_that_do_not_exist_are_refused() {
    let with = |operator: &str, value: Value| {
        let mut document = complete(Kind::Identity);
        document["Statement"][0]["Condition"] = json!({operator: {"aws:SourceVpce": value}});
        PolicyDocument::parse(&document.to_string(), Kind::Identity)
    };
    for operator in [
        "",
        "stringEquals",
        "StringEqual",
        "StringEquals ",
        "StringNotEqualsIfExist",
        "IfExists",
        "NullIfExists",
        "ForAllValues:Null",
        "ForAnyValues:StringEquals",
        "ForAllValues",
        "ForAllValues:",
        "ForAllValues:ForAnyValue:StringEquals",
        "NotIpAddressIf",
        "BinaryNotEquals",
        "BoolNot",
        "StringLikeIgnoreCase",
        "DateBefore",
        "StringEqualsIfExistsIfExists",
    ] {
        let error = with(operator, json!("true")).unwrap_err().to_string();
        assert!(error.contains(&format!("unknown condition operator `{operator}`")), "{operator}: {error}");
    }
    for (operator, value) in [
        ("StringEquals", "x"),
        ("StringNotLikeIfExists", "x"),
        ("ForAnyValue:ArnNotLikeIfExists", "arn:aws:s3:::b"),
        ("ForAllValues:NumericLessThanEqualsIfExists", "1"),
        ("DateGreaterThanEquals", "2024"),
        ("BoolIfExists", "true"),
        ("BinaryEqualsIfExists", "QQ=="),
        ("NotIpAddressIfExists", "::1"),
        ("Null", "true"),
    ] {
        assert!(with(operator, json!(value)).is_ok(), "{operator}");
    }
}
