//! A request's fields to a form, by the operation's table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::form::Form;
use crate::shape::{Kind, List, OperationInfo, Protocol, Service, StructureShape};
use crate::value::{Fields, Value, disagrees};

/// The form that asks for `operation` with these fields.
///
/// The fields come from a generated struct or from [`crate::client`], so they agree with the table.
pub fn encode(service: &Service, operation: &OperationInfo, fields: &Fields) -> Form {
    let version = Some(service.api_version.to_owned());
    let mut form = Form { action: operation.name.to_owned(), version, ..Form::default() };
    Encoder { protocol: service.protocol, form: &mut form }.structure(operation.input, fields, "");
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
