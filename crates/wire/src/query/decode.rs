//! A form to a request's fields, by the operation's table.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::constraint;
use super::form::{Form, FormError, Limits};
use crate::shape::{Kind, List, OperationInfo, Protocol, Service, StructureShape};
use crate::timestamp::Timestamp;
use crate::value::{Fields, Structure, Value};

/// Why a form is not a request of a served operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The form itself is broken.
    #[error(transparent)]
    Form(#[from] FormError),
    /// No such operation.
    #[error("the action `{action}` is not served by {service}, version {version}")]
    UnknownAction {
        /// The service asked.
        service: &'static str,
        /// The operation asked for.
        action: String,
        /// The version asked for, or the one that is served.
        version: String,
    },
    /// `Version` is missing.
    #[error("the request has no `Version`")]
    NoVersion,
    /// A parameter that the operation does not have.
    #[error("the parameter `{parameter}` is not recognized")]
    UnknownParameter {
        /// As it stands in the form.
        parameter: String,
    },
    /// A parameter that the operation cannot do without.
    #[error("the parameter `{parameter}` is missing")]
    MissingParameter {
        /// As it would stand in the form.
        parameter: String,
    },
    /// A value that is not of the parameter's type.
    #[error("the value `{value}` of the parameter `{parameter}` is not {expected}")]
    Malformed {
        /// As it stands in the form.
        parameter: String,
        /// As given.
        value: String,
        /// A noun with its article.
        expected: &'static str,
    },
    /// A value beyond the parameter's constraints.
    #[error("the value `{value}` of the parameter `{parameter}` is not allowed: {constraint}")]
    NotAllowed {
        /// As it stands in the form.
        parameter: String,
        /// As given.
        value: String,
        /// What it breaks.
        constraint: constraint::Broken,
    },
}

/// Decodes the request of one operation.
///
/// # Errors
/// When the form is of another operation, or a parameter is unknown, missing or malformed.
pub fn decode<O: crate::Operation>(form: &Form) -> Result<O::Request, DecodeError> {
    let (operation, fields) = decode_fields(O::service(), form)?;
    if operation.name != O::NAME {
        return Err(unknown_action(O::service(), form));
    }
    Ok(O::Request::from_fields(fields))
}

/// Decodes the request of the operation that the form names.
///
/// # Errors
/// When the operation is not served, or a parameter is unknown, missing or malformed.
pub fn decode_fields(
    service: &Service,
    form: &Form,
) -> Result<(&'static OperationInfo, Fields), DecodeError> {
    let version = form.version.as_deref().ok_or(DecodeError::NoVersion)?;
    let served = service.operation(&form.action).filter(|_| version == service.api_version);
    let operation = served.ok_or_else(|| unknown_action(service, form))?;
    let tree = Node::grow(form, Limits::DEFAULT)?;
    let fields = Decoder { protocol: service.protocol }.structure(operation.input, &tree, "")?;
    Ok((operation, fields))
}

fn unknown_action(service: &Service, form: &Form) -> DecodeError {
    DecodeError::UnknownAction {
        service: service.name,
        action: form.action.clone(),
        version: form.version.clone().unwrap_or_else(|| service.api_version.to_owned()),
    }
}

/// The parameters by the steps of their names.
#[derive(Default)]
struct Node<'a> {
    value: Option<&'a str>,
    steps: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    fn grow(form: &'a Form, limits: Limits) -> Result<Self, DecodeError> {
        let mut root = Self::default();
        for (name, value) in &form.parameters {
            let mut node = &mut root;
            for (depth, step) in name.split('.').enumerate() {
                if depth >= limits.steps || step.is_empty() {
                    return Err(DecodeError::UnknownParameter { parameter: name.clone() });
                }
                node = node.steps.entry(step).or_default();
            }
            node.value = Some(value);
        }
        Ok(root)
    }

    /// Some parameter that stands here or below, by its whole name.
    fn any_parameter(&self, path: &str) -> String {
        match (self.value, self.steps.iter().next()) {
            (Some(_), _) | (None, None) => path.to_owned(),
            (None, Some((step, node))) => node.any_parameter(&join(path, step)),
        }
    }

    /// A scalar has no steps below.
    fn scalar(&self, path: &str) -> Result<&'a str, DecodeError> {
        match (self.value, self.steps.iter().next()) {
            (Some(value), None) => Ok(value),
            (_, Some((step, node))) => {
                Err(DecodeError::UnknownParameter { parameter: node.any_parameter(&join(path, step)) })
            }
            (None, None) => Err(DecodeError::MissingParameter { parameter: path.to_owned() }),
        }
    }
}

fn join(path: &str, step: &str) -> String {
    if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") }
}

struct Decoder {
    protocol: Protocol,
}

impl Decoder {
    fn structure(&self, shape: &StructureShape, node: &Node<'_>, path: &str) -> Result<Fields, DecodeError> {
        if node.value.is_some() {
            return Err(DecodeError::UnknownParameter { parameter: path.to_owned() });
        }
        let known = |step: &&str| shape.members.iter().any(|member| member.query_name == *step);
        if let Some((step, below)) = node.steps.iter().find(|(step, _)| !known(step)) {
            return Err(DecodeError::UnknownParameter { parameter: below.any_parameter(&join(path, step)) });
        }
        let mut fields = Fields::with_capacity(shape.members.len());
        for member in shape.members {
            let path = join(path, member.query_name);
            match node.steps.get(member.query_name) {
                Some(below) => fields.push(Some(self.value(member.kind, below, &path)?)),
                None if member.required => return Err(DecodeError::MissingParameter { parameter: path }),
                None => fields.push(None),
            }
        }
        Ok(fields)
    }

    fn value(&self, kind: Kind, node: &Node<'_>, path: &str) -> Result<Value, DecodeError> {
        let value = match kind {
            Kind::Structure(shape) => Value::Structure(self.structure(shape, node, path)?),
            Kind::List(list) => Value::List(self.list(list, node, path)?),
            Kind::Text(_) => Value::Text(node.scalar(path)?.to_owned()),
            Kind::Boolean => Value::Boolean(boolean(node.scalar(path)?, path)?),
            Kind::Integer(_) => {
                Value::Integer(i64::from(parsed::<i32>(node.scalar(path)?, path, "a 32-bit number")?))
            }
            Kind::Long(_) => Value::Integer(parsed(node.scalar(path)?, path, "a 64-bit number")?),
            Kind::Double => Value::Double(double(node.scalar(path)?, path)?),
            Kind::Timestamp => Value::Timestamp(timestamp(node.scalar(path)?, path)?),
            Kind::Blob => Value::Blob(blob(node.scalar(path)?, path)?),
        };
        match constraint::check(kind, &value) {
            Ok(()) => Ok(value),
            Err((shown, constraint)) => {
                Err(DecodeError::NotAllowed { parameter: path.to_owned(), value: shown, constraint })
            }
        }
    }

    /// Items stand in the order of their indices; indices may leave gaps, as AWS's own tools do at times.
    fn list(&self, list: &List, node: &Node<'_>, path: &str) -> Result<Vec<Value>, DecodeError> {
        let (items, path) = match self.protocol {
            Protocol::Ec2 => (node, path.to_owned()),
            Protocol::Query => match (node.value, node.steps.get(list.query_item)) {
                // The query protocol writes an empty list as a parameter without value.
                (Some(""), None) if node.steps.is_empty() => return Ok(Vec::new()),
                (None, Some(items)) if node.steps.len() == 1 => (items, join(path, list.query_item)),
                _ => return Err(DecodeError::UnknownParameter { parameter: node.any_parameter(path) }),
            },
        };
        if items.value.is_some() {
            return Err(DecodeError::UnknownParameter { parameter: path });
        }
        let mut numbered = Vec::with_capacity(items.steps.len());
        for (step, item) in &items.steps {
            let path = join(&path, step);
            let Some(index) = list_index(step) else {
                return Err(DecodeError::UnknownParameter { parameter: item.any_parameter(&path) });
            };
            numbered.push((index, item, path));
        }
        numbered.sort_by_key(|(index, _, _)| *index);
        numbered.into_iter().map(|(_, item, path)| self.value(list.item, item, &path)).collect()
    }
}

/// `1` to [`Limits::index`], in its shortest form.
fn list_index(step: &str) -> Option<usize> {
    let digits = step.bytes().all(|byte| byte.is_ascii_digit()) && !step.starts_with('0');
    step.parse().ok().filter(|index| digits && (1..=Limits::DEFAULT.index).contains(index))
}

fn malformed(path: &str, value: &str, expected: &'static str) -> DecodeError {
    DecodeError::Malformed { parameter: path.to_owned(), value: value.to_owned(), expected }
}

fn boolean(text: &str, path: &str) -> Result<bool, DecodeError> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err(malformed(path, text, "a boolean")),
    }
}

fn parsed<T: std::str::FromStr>(text: &str, path: &str, expected: &'static str) -> Result<T, DecodeError> {
    let plain = !text.starts_with('+');
    text.parse().ok().filter(|_| plain).ok_or_else(|| malformed(path, text, expected))
}

fn double(text: &str, path: &str) -> Result<f64, DecodeError> {
    let number: f64 = parsed(text, path, "a number")?;
    if number.is_finite() { Ok(number) } else { Err(malformed(path, text, "a number")) }
}

fn timestamp(text: &str, path: &str) -> Result<Timestamp, DecodeError> {
    Timestamp::parse_iso(text).map_err(|_| malformed(path, text, "a date and time"))
}

fn blob(text: &str, path: &str) -> Result<Vec<u8>, DecodeError> {
    BASE64.decode(text).map_err(|_| malformed(path, text, "base64"))
}
