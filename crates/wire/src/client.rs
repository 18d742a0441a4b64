//! The query protocols for programs that call the API: JSON with AWS's own names in, JSON out.
//!
//! `encode` takes what the `aws` command takes as `--cli-input-json`; `decode` gives what it prints. Blobs are base64
//! text in both directions. Random tokens are the caller's: [`idempotency_tokens`] names the parameters that want one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json};

use crate::query::{self, Form};
use crate::shape::{Kind, OperationInfo, Protocol, Service, StructureShape};
use crate::timestamp::Timestamp;
use crate::value::{Fields, Value, disagrees};
use crate::xml::{self, ReadError};

/// Why parameters cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The service has no such operation.
    #[error("the service `{service}` has no operation `{operation}` here")]
    UnknownOperation {
        /// The service.
        service: &'static str,
        /// The operation asked for.
        operation: String,
    },
    /// The operation has no such parameter.
    #[error("the operation `{operation}` has no parameter `{parameter}`")]
    UnknownParameter {
        /// The operation.
        operation: &'static str,
        /// AWS's names, joined with dots.
        parameter: String,
    },
    /// The operation needs a parameter.
    #[error("the operation `{operation}` needs the parameter `{parameter}`")]
    MissingParameter {
        /// The operation.
        operation: &'static str,
        /// AWS's names, joined with dots.
        parameter: String,
    },
    /// A parameter has another type.
    #[error("the parameter `{parameter}` of `{operation}` is not {expected}")]
    Malformed {
        /// The operation.
        operation: &'static str,
        /// AWS's names, joined with dots.
        parameter: String,
        /// A noun with its article.
        expected: &'static str,
    },
}

/// Why an answer cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The service has no such operation.
    #[error("the service `{service}` has no operation `{operation}` here")]
    UnknownOperation {
        /// The service.
        service: &'static str,
        /// The operation asked for.
        operation: String,
    },
    /// The document is not the operation's response.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The form that asks for `operation` with `parameters`, an object with AWS's names.
///
/// # Errors
/// When the operation or a parameter is unknown, a required one is missing, or one has another type.
pub fn encode(service: &Service, operation: &str, parameters: &Json) -> Result<Form, EncodeError> {
    let operation = service.operation(operation).ok_or_else(|| EncodeError::UnknownOperation {
        service: service.name,
        operation: operation.to_owned(),
    })?;
    let fields = Encoder { operation: operation.name }.structure(operation.input, parameters, "")?;
    Ok(query::encode(service, operation, &fields))
}

/// The parameters that the caller should fill with a random token when it has none.
pub fn idempotency_tokens(operation: &OperationInfo) -> impl Iterator<Item = &'static str> {
    operation.input.members.iter().filter(|member| member.idempotency_token).map(|member| member.name)
}

/// The JSON that the `aws` command prints for a response document.
///
/// # Errors
/// When the operation is unknown or the document is not its response.
pub fn decode(service: &Service, operation: &str, document: &str) -> Result<Json, DecodeError> {
    let operation = service.operation(operation).ok_or_else(|| DecodeError::UnknownOperation {
        service: service.name,
        operation: operation.to_owned(),
    })?;
    let fields = xml::read_response(service, operation, document)?;
    Ok(operation
        .output
        .map_or_else(|| Json::Object(Map::new()), |shape| object(service.protocol, shape, fields)))
}

/// The code, message and request id of an error document of the query protocols or of S3.
pub fn decode_error(document: &str) -> Option<(String, String, Option<String>)> {
    let root = xml::parse(document).ok()?;
    let error = match root.name.as_str() {
        "Response" => root.child("Errors")?.child("Error")?,
        "ErrorResponse" => root.child("Error")?,
        "Error" => &root,
        _ => return None,
    };
    let text = |element: &xml::Element, name| element.child(name).map(|child| child.text.clone());
    let request_id = text(&root, "RequestID").or_else(|| text(&root, "RequestId"));
    Some((text(error, "Code")?, text(error, "Message").unwrap_or_default(), request_id))
}

struct Encoder {
    operation: &'static str,
}

impl Encoder {
    fn structure(&self, shape: &StructureShape, json: &Json, path: &str) -> Result<Fields, EncodeError> {
        let Json::Object(given) = json else {
            return Err(self.malformed(path, "an object"));
        };
        let mut fields: Fields = vec![None; shape.members.len()];
        for (name, value) in given {
            let path = join(path, name);
            let Some((position, member)) = shape.member(name) else {
                return Err(EncodeError::UnknownParameter { operation: self.operation, parameter: path });
            };
            fields[position] = Some(self.value(member.kind, value, &path)?);
        }
        let missing =
            shape.members.iter().zip(&fields).find(|(member, field)| member.required && field.is_none());
        if let Some((member, _)) = missing {
            let parameter = join(path, member.name);
            return Err(EncodeError::MissingParameter { operation: self.operation, parameter });
        }
        Ok(fields)
    }

    fn value(&self, kind: Kind, json: &Json, path: &str) -> Result<Value, EncodeError> {
        let (value, expected) = match kind {
            Kind::Structure(shape) => return Ok(Value::Structure(self.structure(shape, json, path)?)),
            // A map's entries are a list on the wire, and an object in AWS's JSON.
            Kind::List(list) if list.query_item == "entry" && json.is_object() => {
                let entry =
                    |(key, value): (&String, &Json)| serde_json::json!({ "Key": key, "Value": value });
                let entries = json.as_object().into_iter().flatten().map(entry).collect();
                return self.value(kind, &Json::Array(entries), path);
            }
            Kind::List(list) => {
                let items = json.as_array().ok_or_else(|| self.malformed(path, "a list"))?;
                let item =
                    |(index, item)| self.value(list.item, item, &join(path, &format!("{}", index + 1)));
                return items.iter().enumerate().map(item).collect::<Result<_, _>>().map(Value::List);
            }
            Kind::Text(_) => (json.as_str().map(|text| Value::Text(text.to_owned())), "a string"),
            Kind::Boolean => (json.as_bool().map(Value::Boolean), "a boolean"),
            Kind::Integer(_) => {
                let number = json.as_i64().filter(|number| i32::try_from(*number).is_ok());
                (number.map(Value::Integer), "a 32-bit number")
            }
            Kind::Long(_) => (json.as_i64().map(Value::Integer), "a 64-bit number"),
            Kind::Double => (json.as_f64().map(Value::Double), "a number"),
            Kind::Timestamp => {
                let at = json.as_str().and_then(|text| Timestamp::parse_iso(text).ok());
                (at.map(Value::Timestamp), "a date and time")
            }
            Kind::Blob => {
                let bytes = json.as_str().and_then(|text| BASE64.decode(text).ok());
                (bytes.map(Value::Blob), "base64")
            }
        };
        value.ok_or_else(|| self.malformed(path, expected))
    }

    fn malformed(&self, path: &str, expected: &'static str) -> EncodeError {
        let parameter = if path.is_empty() { "(all)" } else { path };
        EncodeError::Malformed { operation: self.operation, parameter: parameter.to_owned(), expected }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn object(protocol: Protocol, shape: &StructureShape, fields: Fields) -> Json {
    let present = shape.members.iter().zip(fields).filter_map(|(member, field)| Some((member, field?)));
    Json::Object(
        present.map(|(member, field)| (member.name.to_owned(), json(protocol, member.kind, field))).collect(),
    )
}

fn json(protocol: Protocol, kind: Kind, value: Value) -> Json {
    match (kind, value) {
        (Kind::Structure(shape), Value::Structure(fields)) => object(protocol, shape, fields),
        (Kind::List(list), Value::List(items)) => {
            Json::Array(items.into_iter().map(|item| json(protocol, list.item, item)).collect())
        }
        (_, Value::Text(text)) => Json::String(text),
        (_, Value::Boolean(boolean)) => Json::Bool(boolean),
        (_, Value::Integer(number)) => Json::from(number),
        (_, Value::Double(number)) => Json::from(number),
        (_, Value::Timestamp(at)) => Json::String(match protocol {
            Protocol::Ec2 => at.iso_millis(),
            Protocol::Query => at.iso_seconds(),
        }),
        (_, Value::Blob(bytes)) => Json::String(BASE64.encode(bytes)),
        (_, other @ (Value::List(_) | Value::Structure(_))) => disagrees("a scalar", &other),
    }
}
