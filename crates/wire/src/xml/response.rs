//! Responses of the query protocols, written and read by the operation's table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::read::{Element, XmlError, parse};
use super::write::Writer;
use crate::shape::{Kind, List, OperationInfo, Protocol, Service, StructureShape};
use crate::timestamp::Timestamp;
use crate::value::{Fields, Value, disagrees};

/// The document that answers `operation`.
///
/// EC2: `<OpResponse><requestId/>…</OpResponse>`, with `<return>true</return>` where there is nothing to say.
/// Query: `<OpResponse><OpResult>…</OpResult><ResponseMetadata><RequestId/></ResponseMetadata></OpResponse>`.
pub fn response(
    service: &Service,
    operation: &str,
    shape: &StructureShape,
    fields: &Fields,
    request_id: &str,
) -> String {
    let mut writer = Writer::default();
    let root = format!("{operation}Response");
    writer.open_with_namespace(&root, service.xml_namespace);
    let acknowledged = shape.name.is_empty();
    match service.protocol {
        Protocol::Ec2 => {
            writer.element("requestId", request_id);
            if acknowledged {
                writer.element("return", "true");
            }
            structure(&mut writer, service.protocol, shape, fields);
        }
        Protocol::Query => {
            if !acknowledged {
                let result = format!("{operation}Result");
                writer.open(&result);
                structure(&mut writer, service.protocol, shape, fields);
                writer.close(&result);
            }
            writer.open("ResponseMetadata");
            writer.element("RequestId", request_id);
            writer.close("ResponseMetadata");
        }
    }
    writer.close(&root);
    writer.finish()
}

fn structure(writer: &mut Writer, protocol: Protocol, shape: &StructureShape, fields: &Fields) {
    for (member, field) in shape.members.iter().zip(fields) {
        if let Some(value) = field {
            element(writer, protocol, member.xml_name, member.kind, value);
        }
    }
}

fn element(writer: &mut Writer, protocol: Protocol, name: &str, kind: Kind, value: &Value) {
    match (kind, value) {
        (Kind::List(list), Value::List(items)) if !items.is_empty() => {
            writer.open(name);
            for item in items {
                element(writer, protocol, list.xml_item, list.item, item);
            }
            writer.close(name);
        }
        (Kind::Structure(shape), Value::Structure(fields)) => {
            writer.open(name);
            structure(writer, protocol, shape, fields);
            writer.close(name);
        }
        (Kind::List(_), _) => writer.empty(name),
        (_, scalar) => writer.element(name, &text(protocol, scalar)),
    }
}

fn text(protocol: Protocol, scalar: &Value) -> String {
    match scalar {
        Value::Text(text) => text.clone(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Timestamp(at) => match protocol {
            Protocol::Ec2 => at.iso_millis(),
            Protocol::Query => at.iso_seconds(),
        },
        Value::Blob(bytes) => BASE64.encode(bytes),
        Value::List(_) | Value::Structure(_) => disagrees("a scalar", scalar),
    }
}

/// Why a document is not the response of an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not XML.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// Another document.
    #[error("the document is `{found}`, not `{expected}`")]
    Root {
        /// The root's name.
        found: String,
        /// The name it should have.
        expected: String,
    },
    /// The result is not in the document.
    #[error("the document has no `{expected}`")]
    NoResult {
        /// The element that is missing.
        expected: String,
    },
    /// An element's text is not of its member's type.
    #[error("the text `{text}` of `{element}` is not {expected}")]
    Malformed {
        /// The element's name.
        element: String,
        /// Its text.
        text: String,
        /// A noun with its article.
        expected: &'static str,
    },
}

/// Reads the response of `operation`; elements that the table does not know are left out, as AWS's clients do.
///
/// # Errors
/// When the document is not well-formed, is another operation's, or holds a value of the wrong type.
pub fn read_response(
    service: &Service,
    operation: &OperationInfo,
    document: &str,
) -> Result<Fields, ReadError> {
    let root = parse(document)?;
    let expected = format!("{}Response", operation.name);
    if root.name != expected {
        return Err(ReadError::Root { found: root.name, expected });
    }
    let Some(shape) = operation.output else { return Ok(Fields::new()) };
    match service.protocol {
        Protocol::Ec2 => read_structure(shape, &root),
        Protocol::Query => {
            let expected = format!("{}Result", operation.name);
            let result = root.child(&expected).ok_or(ReadError::NoResult { expected })?;
            read_structure(shape, result)
        }
    }
}

fn read_structure(shape: &StructureShape, element: &Element) -> Result<Fields, ReadError> {
    let read = |member: &crate::shape::Member| {
        element.child(member.xml_name).map(|child| read_value(member.kind, child)).transpose()
    };
    shape.members.iter().map(read).collect()
}

fn read_value(kind: Kind, element: &Element) -> Result<Value, ReadError> {
    let text = element.text.as_str();
    let malformed =
        |expected| ReadError::Malformed { element: element.name.clone(), text: text.to_owned(), expected };
    Ok(match kind {
        Kind::Text(_) => Value::Text(text.to_owned()),
        Kind::Boolean => Value::Boolean(text.parse().map_err(|_| malformed("a boolean"))?),
        Kind::Integer(_) | Kind::Long(_) => Value::Integer(text.parse().map_err(|_| malformed("a number"))?),
        Kind::Double => Value::Double(text.parse().map_err(|_| malformed("a number"))?),
        Kind::Timestamp => {
            Value::Timestamp(Timestamp::parse_iso(text).map_err(|_| malformed("a date and time"))?)
        }
        Kind::Blob => Value::Blob(BASE64.decode(text).map_err(|_| malformed("base64"))?),
        Kind::List(list) => Value::List(read_list(list, element)?),
        Kind::Structure(shape) => Value::Structure(read_structure(shape, element)?),
    })
}

/// As AWS's clients do, takes every child as an item, whatever its name.
fn read_list(list: &List, element: &Element) -> Result<Vec<Value>, ReadError> {
    element.children.iter().map(|child| read_value(list.item, child)).collect()
}
