//! A request's fields to a form, by the operation's table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::form::Form;
use crate::operation::Operation;
use crate::shape::{Kind, List, OperationInfo, Protocol, Service, StructureShape};
use crate::value::{Fields, Structure, Value, disagrees};

/// The form that asks for `operation` with these fields.
///
/// The fields come from a generated struct or from [`crate::client`], so they agree with the table.
pub fn encode(service: &Service, operation: &OperationInfo, fields: &Fields) -> Form {
    encode_shape(service, operation.name, operation.input, fields)
}

/// The form that asks for an operation with a typed request; lists that are empty are left out.
pub fn encode_request<O: Operation>(request: O::Request) -> Form {
    let (service, shape) = (O::service(), O::Request::SHAPE);
    let fields = request.into_fields().into_iter().map(given).collect();
    encode_shape(service, O::NAME, shape, &fields)
}

/// A struct's list cannot be absent, only empty.
fn given(field: Option<Value>) -> Option<Value> {
    match field? {
        Value::List(items) if items.is_empty() => None,
        Value::List(items) => {
            Some(Value::List(items.into_iter().filter_map(|item| given(Some(item))).collect()))
        }
        Value::Structure(fields) => Some(Value::Structure(fields.into_iter().map(given).collect())),
        scalar @ (Value::Text(_)
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Double(_)
        | Value::Timestamp(_)
        | Value::Blob(_)) => Some(scalar),
    }
}

fn encode_shape(service: &Service, operation: &str, shape: &StructureShape, fields: &Fields) -> Form {
    let version = Some(service.api_version.to_owned());
    let mut form = Form { action: operation.to_owned(), version, ..Form::default() };
    Encoder { protocol: service.protocol, form: &mut form }.structure(shape, fields, "");
    form
}

struct Encoder<'a> {
    protocol: Protocol,
    form: &'a mut Form,
}

impl Encoder<'_> {
    fn structure(&mut self, shape: &StructureShape, fields: &Fields, path: &str) {
        for (member, field) in shape.members.iter().zip(fields) {
            let name = member.query_name;
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            if let Some(value) = field {
                self.value(member.kind, value, path);
            }
        }
    }

    fn value(&mut self, kind: Kind, value: &Value, path: String) {
        match (kind, value) {
            (Kind::Structure(shape), Value::Structure(fields)) => self.structure(shape, fields, &path),
            (Kind::List(list), Value::List(items)) => self.list(list, items, path),
            (_, scalar) => self.put(path, text(scalar)),
        }
    }

    fn list(&mut self, list: &List, items: &[Value], path: String) {
        let path = match (self.protocol, items) {
            (Protocol::Ec2, _) => path,
            (Protocol::Query, []) => return self.put(path, String::new()),
            (Protocol::Query, [_, ..]) => format!("{path}.{}", list.query_item),
        };
        for (index, item) in items.iter().enumerate() {
            self.value(list.item, item, format!("{path}.{}", index + 1));
        }
    }

    fn put(&mut self, path: String, text: String) {
        self.form.parameters.insert(path, text);
    }
}

fn text(scalar: &Value) -> String {
    match scalar {
        Value::Text(text) => text.clone(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Timestamp(at) => at.iso_millis(),
        Value::Blob(bytes) => BASE64.encode(bytes),
        Value::List(_) | Value::Structure(_) => disagrees("a scalar", scalar),
    }
}
