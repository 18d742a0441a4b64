//! CloudWatch's three protocols: the same operations in CBOR, in JSON and as forms.
//!
//! Source: Smithy's "RPC v2 CBOR", "AWS JSON 1.0" and "AWS Query" protocols, and "AWS Query compatible errors".
//!
//! INVARIANT: a request is read in the one protocol that it says it speaks.

use http::Method;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use postern_frontdoor::body::full;
use postern_frontdoor::{Dialect, ResponseBody};
use postern_wire::query::{Form, Limits};
use postern_wire::xml::Writer;
use postern_wire::{AwsError, Timestamp};
use serde_json::{Map, Value};

use super::cbor;

const XML_NAMESPACE: &str = "http://monitoring.amazonaws.com/doc/2010-08-01/";
const SHAPES: &str = "GraniteServiceVersion20100801";
/// How deep the names of a form's parameters may go.
const DEPTH_MAX: usize = 16;

/// A request, as it was meant in any of the protocols.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    pub operation: String,
    /// Numbers, truth values and times of a form are texts.
    pub input: Map<String, Value>,
}

/// An error of CloudWatch's: JSON and CBOR know it by its shape, forms by its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub shape: &'static str,
    pub code: &'static str,
    pub message: String,
}

/// What an operation answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Out {
    Text(String),
    Number(f64),
    /// Seconds since 1970.
    Time(i64),
    List(Vec<Self>),
    Structure(Vec<(&'static str, Self)>),
}

/// The protocol of a request.
pub(super) fn dialect(parts: &Parts) -> Dialect {
    Dialect::said_by(parts).unwrap_or(Dialect::Xml)
}

/// Reads a request, whose body is there as a whole.
pub(super) fn read(parts: &Parts, body: &[u8]) -> Result<Call, AwsError> {
    let unreadable = |why: &dyn std::fmt::Display| AwsError::new("SerializationException", format!("{why}."));
    let object = |value| match value {
        Value::Object(input) => Ok(input),
        _ => Err(unreadable(&"The document is no structure")),
    };
    let query = parts.uri.query().unwrap_or_default();
    match dialect(parts) {
        Dialect::Cbor if parts.method == Method::POST && query.is_empty() => {
            let path =
                parts.uri.path().strip_prefix("/service/").and_then(|path| path.split_once("/operation/"));
            let operation = path.filter(|(service, _)| *service == SHAPES).map(|(_, operation)| operation);
            let operation = operation.ok_or_else(|| unknown(""))?.to_owned();
            let input = if body.is_empty() {
                Value::Object(Map::new())
            } else {
                cbor::read(body).map_err(|error| unreadable(&error))?
            };
            Ok(Call { operation, input: object(input)? })
        }
        Dialect::Json { .. }
            if parts.method == Method::POST && parts.uri.path() == "/" && query.is_empty() =>
        {
            let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
            let operation = target.and_then(|target| target.strip_prefix(SHAPES)?.strip_prefix('.'));
            let operation = operation.ok_or_else(|| unknown(""))?.to_owned();
            let input = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
            Ok(Call { operation, input: object(input)? })
        }
        Dialect::Xml if parts.uri.path() == "/" => {
            let form = Form::parse(query, body, Limits::DEFAULT).map_err(|error| {
                AwsError::new("MalformedQueryString", format!("The request cannot be read: {error}."))
            })?;
            Ok(Call { input: structure(&form)?, operation: form.action })
        }
        _ => Err(unknown("")),
    }
}

/// The answer to what is no operation that is served.
pub(super) fn unknown(operation: &str) -> AwsError {
    let message = format!("Could not find operation {operation} for version 2010-08-01");
    AwsError::new("InvalidAction", message)
}

/// What a form's parameters stand for: `Dimensions.member.1.Name` is a member of a structure in a list.
fn structure(form: &Form) -> Result<Map<String, Value>, AwsError> {
    let mut all = Map::new();
    for (name, value) in &form.parameters {
        let refused =
            || AwsError::new("MalformedQueryString", format!("The parameter {name} cannot be read."));
        let path: Vec<&str> = name.split('.').collect();
        if path.len() > DEPTH_MAX {
            return Err(refused());
        }
        insert(&mut all, &path, value).ok_or_else(refused)?;
    }
    Ok(all)
}

fn insert(into: &mut Map<String, Value>, path: &[&str], value: &str) -> Option<()> {
    match path {
        [name] => into.insert((*name).to_owned(), Value::from(value)).is_none().then_some(()),
        [name, "member", place, rest @ ..] => {
            // Items come in the order of their texts, so `10` may come before `2`: places are kept until all are there.
            let place: usize = place.parse().ok().filter(|place| (1..=1_000).contains(place))?;
            let list = into.entry(*name).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()?;
            if list.len() < place {
                list.resize(place, Value::Null);
            }
            let item = list.get_mut(place - 1)?;
            if rest.is_empty() {
                *item = Value::from(value);
                return Some(());
            }
            if item.is_null() {
                *item = Value::Object(Map::new());
            }
            insert(item.as_object_mut()?, rest, value)
        }
        [name, rest @ ..] => {
            let inner = into.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            insert(inner.as_object_mut()?, rest, value)
        }
        [] => None,
    }
}

/// An answer, in the protocol of the request.
pub(super) fn answer(dialect: Dialect, operation: &str, out: &Out, id: &str) -> Response<ResponseBody> {
    let (content_type, body) = match dialect {
        Dialect::Cbor => {
            let mut bytes = Vec::new();
            write_cbor(&mut bytes, out);
            ("application/cbor", bytes)
        }
        Dialect::Json { content_type } => (content_type, json(out).to_string().into_bytes()),
        Dialect::RestJson | Dialect::Xml | Dialect::Ec2 | Dialect::S3 | Dialect::ExecuteApi => {
            ("text/xml", xml(operation, out, id).into_bytes())
        }
    };
    let mut response = Response::new(full(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    if dialect == Dialect::Cbor {
        headers.insert(HeaderName::from_static("smithy-protocol"), HeaderValue::from_static("rpc-v2-cbor"));
    }
    response
}

/// A fault of the service's, in the protocol of the request.
pub(super) fn fault(dialect: Dialect, fault: &Fault, id: &str) -> Response<ResponseBody> {
    let code = match dialect {
        Dialect::Cbor | Dialect::Json { .. } => fault.shape,
        Dialect::RestJson | Dialect::Xml | Dialect::Ec2 | Dialect::S3 | Dialect::ExecuteApi => fault.code,
    };
    let error = AwsError::new(code, fault.message.clone());
    let mut response = dialect.response(&error, id);
    // Clients that knew the service by forms go on to read its codes here.
    let compatible = format!("{};Sender", fault.code);
    if response.status() == StatusCode::BAD_REQUEST
        && let Ok(value) = HeaderValue::from_str(&compatible)
    {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-query-error"), value);
    }
    response
}

fn write_cbor(bytes: &mut Vec<u8>, out: &Out) {
    match out {
        Out::Text(text) => cbor::text(bytes, text),
        Out::Number(number) => cbor::number(bytes, *number),
        Out::Time(seconds) => cbor::time(bytes, *seconds),
        Out::List(items) => {
            cbor::head(bytes, 4, items.len() as u64);
            items.iter().for_each(|item| write_cbor(bytes, item));
        }
        Out::Structure(members) => {
            cbor::head(bytes, 5, members.len() as u64);
            for (name, value) in members {
                cbor::text(bytes, name);
                write_cbor(bytes, value);
            }
        }
    }
}

fn json(out: &Out) -> Value {
    match out {
        Out::Text(text) => Value::from(text.as_str()),
        Out::Number(number) => Value::from(*number),
        Out::Time(seconds) => Value::from(*seconds),
        Out::List(items) => items.iter().map(json).collect(),
        Out::Structure(members) => {
            Value::Object(members.iter().map(|(name, value)| ((*name).to_owned(), json(value))).collect())
        }
    }
}

fn xml(operation: &str, out: &Out, id: &str) -> String {
    let (response, result) = (format!("{operation}Response"), format!("{operation}Result"));
    let mut writer = Writer::default();
    writer.open_with_namespace(&response, XML_NAMESPACE);
    write_xml(&mut writer, &result, out);
    writer.open("ResponseMetadata");
    writer.element("RequestId", id);
    writer.close("ResponseMetadata");
    writer.close(&response);
    writer.finish()
}

fn write_xml(writer: &mut Writer, name: &str, out: &Out) {
    match out {
        Out::Text(text) => writer.element(name, text),
        Out::Number(number) => writer.element(name, &number.to_string()),
        Out::Time(seconds) => writer.element(name, &Timestamp::from_seconds(*seconds).iso_seconds()),
        Out::List(items) => {
            writer.open(name);
            items.iter().for_each(|item| write_xml(writer, "member", item));
            writer.close(name);
        }
        Out::Structure(members) => {
            writer.open(name);
            members.iter().for_each(|(name, value)| write_xml(writer, name, value));
            writer.close(name);
        }
    }
}
