//! Which operation a request is for, and what it names.
//!
//! INVARIANT: a request is read in one protocol, and one that shows signs of another is refused: what is authorised here
//! must be what the upstream does, and it reads the request by itself.
//! INVARIANT: of what a request names, only what its operation is known to take counts.
//! Source: Smithy's pages of the protocols, and botocore's models by [`postern_wire::protocols`].

use std::fmt;

use super::s3::{self, Want};
use http::Method;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use postern_frontdoor::Dialect;
use postern_model::endpoint::{Upstream, UpstreamProtocol};
use postern_wire::AwsError;
use postern_wire::protocols::{is_taken_known, rest_operation, taken};
use postern_wire::query::{Form, Limits};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

/// How long the name of an operation may be.
const OPERATION_MAX: usize = 128;
/// How many items of a list are looked at. AWS's lists of resources are shorter.
const ITEMS_MAX: usize = 1_000;

/// What a request asks of a service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// Such as `PutLogEvents`.
    pub operation: String,
    /// What it names: the members of its input at the top level, each value by itself.
    pub members: Vec<(String, String)>,
    /// How its sender reads errors.
    pub dialect: Dialect,
    /// What it asks for, of a request to S3, which follows from more than members.
    pub wants: Vec<Want>,
}

impl Call {
    /// What it gives for this member.
    pub fn values<'a>(&'a self, member: &str) -> impl Iterator<Item = &'a str> {
        self.members.iter().filter(move |(name, _)| name == member).map(|(_, value)| value.as_str())
    }
}

/// Reads a request, whose body is there as a whole.
pub(super) fn read(upstream: &Upstream, parts: &Parts, body: &[u8]) -> Result<Call, (Dialect, AwsError)> {
    let usual = super::dialect_of(upstream.protocol, &upstream.signing_name);
    let dialect = match Dialect::said_by(parts) {
        Some(Dialect::Xml) | None if upstream.protocol == UpstreamProtocol::Ec2 => Dialect::Ec2,
        Some(said) => said,
        None => usual,
    };
    let call = match upstream.protocol {
        UpstreamProtocol::Json
        | UpstreamProtocol::Query
        | UpstreamProtocol::Ec2
        | UpstreamProtocol::RpcV2Cbor => rpc(upstream, parts, body, dialect),
        UpstreamProtocol::RestXml if upstream.signing_name == "s3" => of_s3(parts, body, usual),
        UpstreamProtocol::RestJson | UpstreamProtocol::RestXml => rest(upstream, parts, body, usual),
        // "execute-api:Invoke" is the one action of callers ("Control access to a REST API with IAM permissions").
        UpstreamProtocol::ExecuteApi => plain_path(parts, usual).map(|()| Call {
            operation: "Invoke".to_owned(),
            members: Vec::new(),
            dialect: usual,
            wants: Vec::new(),
        }),
    };
    call.map_err(|error| (dialect, error))
}

/// The protocols in which the request names its operation. Services speak several of them, and clients choose.
fn rpc(upstream: &Upstream, parts: &Parts, body: &[u8], dialect: Dialect) -> Result<Call, AwsError> {
    if parts.method != Method::POST && parts.method != Method::GET {
        return Err(unknown(dialect));
    }
    let targeted = parts.headers.contains_key("x-amz-target");
    let in_path = parts.uri.path() != "/";
    let query = parts.uri.query().unwrap_or_default();
    let acted = query.split('&').any(|pair| pair.starts_with("Action="));
    match dialect {
        Dialect::Json { .. } if targeted && !in_path && !acted && parts.method == Method::POST => {
            let operation = one_header(parts, "x-amz-target")?.rsplit('.').next().unwrap_or_default();
            let operation = operation_named(operation, dialect)?;
            if !is_json(parts) {
                return Err(unknown(dialect));
            }
            let members = json_members(body)?;
            known_members(upstream, operation, members, dialect)
        }
        Dialect::Cbor if !targeted && !acted && parts.method == Method::POST => {
            let operation = parts.uri.path().rsplit_once("/operation/").map(|(_, operation)| operation);
            let operation = operation_named(operation.unwrap_or_default(), dialect)?;
            if is_taken_known(&upstream.signing_name) {
                let why = "Requests in CBOR are not served for this service, whose resources they name.";
                return Err(AwsError::new("SerializationException", why));
            }
            Ok(Call { operation, members: Vec::new(), dialect, wants: Vec::new() })
        }
        // A form, in the body or in the query string.
        Dialect::Xml | Dialect::Ec2 if !targeted && !in_path => {
            let form = Form::parse(query, body, Limits::DEFAULT).map_err(|error| malformed(&error))?;
            let operation = operation_named(&form.action, dialect)?;
            let members =
                form.parameters.into_iter().map(|(name, value)| (list_name(&name), value)).collect();
            known_members(upstream, operation, members, dialect)
        }
        _ => Err(unknown(dialect)),
    }
}

/// `TopicArn` of `TopicArn`, and `Names` of `Names.member.3`.
fn list_name(parameter: &str) -> String {
    let is_item = |rest: &str| {
        let number = rest.strip_prefix("member.").unwrap_or(rest);
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    match parameter.split_once('.') {
        Some((name, rest)) if is_item(rest) => name.to_owned(),
        Some(_) | None => parameter.to_owned(),
    }
}

fn rest(upstream: &Upstream, parts: &Parts, body: &[u8], dialect: Dialect) -> Result<Call, AwsError> {
    if parts.headers.contains_key("x-amz-target") {
        return Err(unknown(dialect));
    }
    plain_path(parts, dialect)?;
    let query = parts.uri.query().unwrap_or_default();
    let found = rest_operation(&upstream.signing_name, parts.method.as_str(), parts.uri.path(), query);
    let found = found.ok_or_else(|| unknown(dialect))?;
    let mut members: Vec<(String, String)> =
        found.labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    // What the path names is what the operation is about; only where it names nothing, the document does.
    if members.is_empty() && upstream.protocol == UpstreamProtocol::RestJson && !body.is_empty() {
        members = json_members(body)?;
    }
    let operation = found.name.to_owned();
    match upstream.protocol {
        UpstreamProtocol::RestXml => Ok(Call { operation, members, dialect, wants: Vec::new() }),
        _ => known_members(upstream, operation, members, dialect),
    }
}

fn of_s3(parts: &Parts, body: &[u8], dialect: Dialect) -> Result<Call, AwsError> {
    let targeted = parts.headers.contains_key("x-amz-target");
    if targeted {
        return Err(unknown(dialect));
    }
    plain_path(parts, dialect)?;
    let s3::Asked { operation, wants } = s3::read(parts, body)?;
    Ok(Call { operation: operation.to_owned(), members: Vec::new(), dialect, wants })
}

/// Leaves of the members those that the operation takes. One that is not known has none, and is asked for as a whole.
///
/// INVARIANT: a member that differs in case alone from one that counts refuses the request: some readers take it for that
/// one.
fn known_members(
    upstream: &Upstream,
    operation: String,
    mut members: Vec<(String, String)>,
    dialect: Dialect,
) -> Result<Call, AwsError> {
    let takes = taken(&upstream.signing_name, &operation).unwrap_or_default();
    let taken = |name: &str| takes.contains(&name);
    let is_variant = |name: &str| !taken(name) && takes.iter().any(|known| known.eq_ignore_ascii_case(name));
    if let Some((name, _)) = members.iter().find(|(name, _)| is_variant(name)) {
        let why = format!("The member `{name}` is spelt otherwise than the operation has it.");
        return Err(AwsError::new("SerializationException", why));
    }
    members.retain(|(name, _)| taken(name));
    Ok(Call { operation, members, dialect, wants: Vec::new() })
}

/// A path that nobody could take for another: without empty, `.` or `..` segments, encoded or not.
fn plain_path(parts: &Parts, dialect: Dialect) -> Result<(), AwsError> {
    let path = parts.uri.path();
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    let segments: Vec<&str> = lower.strip_prefix('/').unwrap_or(&lower).split('/').collect();
    let (last, before) = segments.split_last().unwrap_or((&"", &[]));
    let odd = |segment: &&str| segment.is_empty() || *segment == "." || *segment == "..";
    if before.iter().any(odd) || *last == "." || *last == ".." || lower.contains('\\') {
        return Err(match dialect {
            Dialect::S3 => AwsError::new("InvalidURI", "Couldn't parse the specified URI."),
            _ => AwsError::new("ValidationException", "The path of the request is not a plain one."),
        });
    }
    Ok(())
}

fn is_json(parts: &Parts) -> bool {
    let mut given = parts.headers.get_all(CONTENT_TYPE).iter();
    let (Some(one), None) = (given.next(), given.next()) else { return false };
    let name =
        one.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    name == "application/x-amz-json-1.1" || name == "application/x-amz-json-1.0"
}

fn one_header<'p>(parts: &'p Parts, name: &str) -> Result<&'p str, AwsError> {
    let mut given = parts.headers.get_all(name).iter();
    match (given.next().and_then(|value| value.to_str().ok()), given.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(AwsError::new("ValidationException", format!("The header {name} is not given once."))),
    }
}

fn operation_named(name: &str, dialect: Dialect) -> Result<String, AwsError> {
    let named =
        !name.is_empty() && name.len() <= OPERATION_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if named { Ok(name.to_owned()) } else { Err(unknown(dialect)) }
}

/// As services of each protocol answer what is no operation of theirs.
fn unknown(dialect: Dialect) -> AwsError {
    match dialect {
        Dialect::Json { .. } | Dialect::Cbor => {
            AwsError::new("UnknownOperationException", "The request names no operation of this service.")
        }
        Dialect::RestJson | Dialect::ExecuteApi => {
            AwsError::new("UnknownOperationException", "The request fits no operation of this service.")
                .with_status(404)
        }
        Dialect::S3 => {
            AwsError::new("MethodNotAllowed", "The specified method is not allowed against this resource.")
                .with_status(405)
        }
        Dialect::Xml | Dialect::Ec2 => {
            AwsError::new("InvalidAction", "The request names no operation of this service.")
        }
    }
}

fn malformed(error: &dyn fmt::Display) -> AwsError {
    AwsError::new("ValidationError", format!("The request cannot be read: {error}."))
}

/// The members of a JSON object at the top level that are texts or lists of texts, each value by itself.
fn json_members(body: &[u8]) -> Result<Vec<(String, String)>, AwsError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let members = serde_json::from_slice::<Members>(body);
    let members = members.map_err(|error| {
        AwsError::new("SerializationException", format!("The document cannot be read: {error}."))
    })?;
    Ok(members.0)
}

/// INVARIANT: a member that stands twice refuses the document: readers differ about which one counts.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut names = std::collections::BTreeSet::new();
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, serde_json::Value>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom(format!("the member `{name}` is given twice")));
                    }
                    match value {
                        serde_json::Value::String(text) => members.push((name, text)),
                        serde_json::Value::Array(items) => {
                            if items.len() > ITEMS_MAX && items.iter().any(serde_json::Value::is_string) {
                                return Err(serde::de::Error::custom(format!(
                                    "the list `{name}` is too long"
                                )));
                            }
                            let texts = items.into_iter().filter_map(|item| item.as_str().map(str::to_owned));
                            members.extend(texts.map(|text| (name.clone(), text)));
                        }
                        serde_json::Value::Null
                        | serde_json::Value::Bool(_)
                        | serde_json::Value::Number(_)
                        | serde_json::Value::Object(_) => {}
                    }
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Reader)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use http::Request;
    use postern_model::Timestamp;

    use super::*;

    pub(crate) fn upstream(signing_name: &str, protocol: UpstreamProtocol) -> Upstream {
        Upstream {
            service: format!("com.amazonaws.us-east-1.{signing_name}"),
            url: "http://127.0.0.1:1".to_owned(),
            protocol,
            signing_name: signing_name.to_owned(),
            action_prefix: signing_name.to_owned(),
            key: None,
            own: None,
            created_at: Timestamp(0),
        }
    }

    pub(crate) fn asked(
        of: &Upstream,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Call, AwsError> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        read(of, &parts, body.as_bytes()).map_err(|(_, error)| error)
    }

    fn told(of: &Upstream, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
        match asked(of, method, target, headers, body) {
            Ok(call) => {
                let members = call.members.iter().map(|(name, value)| format!(" {name}={value}"));
                format!("{}{}", call.operation, members.collect::<String>())
            }
            Err(error) => error.code,
        }
    }

    const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
    const PUT: (&str, &str) = ("x-amz-target", "Logs_20140328.PutLogEvents");

    #[test]
    fn json_requests_are_read_by_their_target() {
        let logs = upstream("logs", UpstreamProtocol::Json);
        let body =
            r#"{"logGroupName": "g", "logStreamName": "s", "logEvents": [{"message": "m"}], "extra": "x"}"#;
        assert_eq!(
            told(&logs, "POST", "/", &[JSON, PUT], body),
            "PutLogEvents logGroupName=g logStreamName=s"
        );
        let query = ("x-amz-target", "Logs_20140328.StartQuery");
        let lists = r#"{"logGroupName": "g", "logGroupNames": ["h", "i"], "limit": 3}"#;
        assert_eq!(
            told(&logs, "POST", "/", &[JSON, query], lists),
            "StartQuery logGroupName=g logGroupNames=h logGroupNames=i"
        );
        let unknown = ("x-amz-target", "Logs_20140328.Invented");
        assert_eq!(told(&logs, "POST", "/", &[JSON, unknown], r#"{"logGroupName": "g"}"#), "Invented");
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let logs = upstream("logs", UpstreamProtocol::Json);
        let other = ("x-amz-target", "Logs_20140328.DeleteLogGroup");
        let action = "Action=DeleteLogGroup";
        for (target, headers, body, expected) in [
            ("/", &[JSON, PUT, other][..], "{}", "ValidationException"),
            ("/?Action=DeleteLogGroup", &[JSON, PUT], "{}", "UnknownOperationException"),
            ("/service/Logs/operation/DeleteLogGroup", &[JSON, PUT], "{}", "UnknownOperationException"),
            ("/", &[FORM, PUT], action, "UnknownOperationException"),
            ("/", &[JSON, FORM, PUT], "{}", "UnknownOperationException"),
            ("/", &[("content-type", "text/plain"), PUT], "{}", "UnknownOperationException"),
            ("/", &[JSON, PUT, ("smithy-protocol", "rpc-v2-cbor")], "{}", "UnknownOperationException"),
            ("/", &[JSON, PUT], r#"{"logGroupName": "a", "logGroupName": "b"}"#, "SerializationException"),
            ("/", &[JSON, PUT], r#"{"logGroupName": "a", "LogGroupName": "b"}"#, "SerializationException"),
            ("/", &[JSON, PUT], r#"{"LOGGROUPNAME": "b"}"#, "SerializationException"),
            ("/", &[JSON, PUT], "[]", "SerializationException"),
            ("/", &[JSON, ("x-amz-target", "Logs_20140328.Put/Log")], "{}", "UnknownOperationException"),
            ("/", &[JSON], "{}", "UnknownOperationException"),
            ("/", &[FORM], "Action=A&Action=B", "ValidationError"),
            ("/?Action=A", &[FORM], "Action=B", "ValidationError"),
        ] {
            assert_eq!(told(&logs, "POST", target, headers, body), expected, "{target} {headers:?} {body}");
        }
        let lambda = upstream("lambda", UpstreamProtocol::RestJson);
        for (target, expected) in [
            ("/2015-03-31/functions/a/../b", "ValidationException"),
            ("/2015-03-31/functions/a/%2E%2e/b", "ValidationException"),
            ("/2015-03-31//functions", "ValidationException"),
            ("/2015-03-31/nothing", "UnknownOperationException"),
        ] {
            assert_eq!(told(&lambda, "GET", target, &[], ""), expected, "{target}");
        }
        assert_eq!(told(&lambda, "GET", "/2015-03-31/functions", &[PUT], ""), "UnknownOperationException");
    }

    #[test]
    fn forms_are_read_by_their_action() {
        let sns = upstream("sns", UpstreamProtocol::Query);
        let publish =
            "Action=Publish&Version=2010-03-31&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A1%3At&Message=m";
        assert_eq!(
            told(&sns, "POST", "/", &[FORM], publish),
            "Publish Message=m TopicArn=arn:aws:sns:us-east-1:1:t"
        );
        assert_eq!(told(&sns, "GET", "/?Action=ListTopics&Version=2010-03-31", &[], ""), "ListTopics");
        let sqs = upstream("sqs", UpstreamProtocol::Json);
        let names = "Action=GetQueueAttributes&QueueUrl=q&AttributeName.1=All";
        assert_eq!(told(&sqs, "POST", "/", &[FORM], names), "GetQueueAttributes QueueUrl=q");
        assert_eq!(list_name("Names.member.3"), "Names");
        assert_eq!(list_name("Names.3"), "Names");
        assert_eq!(list_name("Filter.1.Name"), "Filter.1.Name");
    }

    #[test]
    fn rest_and_cbor_requests_are_read_by_their_path() {
        let lambda = upstream("lambda", UpstreamProtocol::RestJson);
        let invoke = "/2015-03-31/functions/f/invocations?Qualifier=2";
        let body = r#"{"FunctionName": "another"}"#;
        assert_eq!(told(&lambda, "POST", invoke, &[], body), "Invoke FunctionName=f");
        let create = r#"{"FunctionName": "f", "Role": "arn:aws:iam::1:role/r", "Code": {}}"#;
        assert_eq!(
            told(&lambda, "POST", "/2015-03-31/functions", &[], create),
            "CreateFunction FunctionName=f Role=arn:aws:iam::1:role/r"
        );
        let cbor = [("smithy-protocol", "rpc-v2-cbor"), ("content-type", "application/cbor")];
        let monitoring = upstream("monitoring", UpstreamProtocol::RpcV2Cbor);
        let list = "/service/GraniteServiceVersion20100801/operation/ListMetrics";
        assert_eq!(told(&monitoring, "POST", list, &cbor, "\u{0}"), "ListMetrics");
        let kinesis = upstream("kinesis", UpstreamProtocol::Json);
        let describe = "/service/Kinesis_20131202/operation/DescribeStream";
        assert_eq!(told(&kinesis, "POST", describe, &cbor, "\u{0}"), "SerializationException");
    }
}
