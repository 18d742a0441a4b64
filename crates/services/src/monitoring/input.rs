//! The members of a request, each read as what it must be, and those that nobody asked for refused by their names.

use postern_wire::Timestamp;
use serde_json::{Map, Value};

use super::wire::Fault;

/// Metric math, other accounts and the like are not here; what was asked for is refused by its name.
pub(super) fn not_served(path: &str) -> Fault {
    validation(format!("The parameter {path} is not supported."))
}

/// What does not fit, in the words that CloudWatch has for most of it.
pub(super) fn validation(message: String) -> Fault {
    Fault { shape: "ValidationError", code: "ValidationError", message }
}

pub(super) fn invalid(message: String) -> Fault {
    Fault { shape: "InvalidParameterValueException", code: "InvalidParameterValue", message }
}

pub(super) fn missing(path: &str) -> Fault {
    let message = format!("The parameter {path} is required.");
    Fault { shape: "MissingRequiredParameterException", code: "MissingParameter", message }
}

pub(super) fn combination(message: String) -> Fault {
    Fault { shape: "InvalidParameterCombinationException", code: "InvalidParameterCombination", message }
}

/// The members of a structure.
pub(super) struct Input<'a> {
    members: &'a Map<String, Value>,
    /// Where it is, with a dot behind it.
    path: String,
}

impl<'a> Input<'a> {
    /// The request itself, which may have these members.
    pub fn new(members: &'a Map<String, Value>, known: &[&str]) -> Result<Self, Fault> {
        Self::at(members, String::new(), known)
    }

    fn at(members: &'a Map<String, Value>, path: String, known: &[&str]) -> Result<Self, Fault> {
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(not_served(&format!("{path}{unknown}"))),
            None => Ok(Self { members, path }),
        }
    }

    /// What a member is called in errors.
    pub fn path(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str) -> Fault {
        invalid(format!("The value for parameter {} is not of its type.", self.path(name)))
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Fault> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| self.wrong(name))).transpose()
    }

    pub fn needed_text(&self, name: &str) -> Result<&'a str, Fault> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| missing(&self.path(name)))
    }

    pub fn number(&self, name: &str) -> Result<Option<i64>, Fault> {
        let read = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
        self.get(name).map(|value| read(value).ok_or_else(|| self.wrong(name))).transpose()
    }

    pub fn truth(&self, name: &str) -> Result<Option<bool>, Fault> {
        let read = |value: &Value| value.as_bool().or_else(|| value.as_str()?.parse().ok());
        self.get(name).map(|value| read(value).ok_or_else(|| self.wrong(name))).transpose()
    }

    /// Seconds since 1970, rounded down.
    pub fn needed_time(&self, name: &str) -> Result<i64, Fault> {
        let value = self.get(name).ok_or_else(|| missing(&self.path(name)))?;
        let text = || Timestamp::parse_iso(value.as_str()?).ok().map(Timestamp::seconds);
        // Whoever writes a time that no clock shows gets nothing for it.
        let number =
            value.as_f64().map(|seconds| Timestamp::from_millis((seconds * 1_000.0) as i64).seconds());
        number.or_else(text).ok_or_else(|| self.wrong(name))
    }

    pub fn texts(&self, name: &str) -> Result<Vec<&'a str>, Fault> {
        let items = self.list(name)?;
        items.iter().map(|item| item.as_str().ok_or_else(|| self.wrong(name))).collect()
    }

    fn list(&self, name: &str) -> Result<&'a [Value], Fault> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            // An empty list of a form.
            Some(Value::String(text)) if text.is_empty() => Ok(&[]),
            Some(_) => Err(self.wrong(name)),
        }
    }

    pub fn structure(&self, name: &str, known: &[&str]) -> Result<Option<Self>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let members = value.as_object().ok_or_else(|| self.wrong(name))?;
        Self::at(members, format!("{}.", self.path(name)), known).map(Some)
    }

    pub fn structures(&self, name: &str, known: &[&str]) -> Result<Vec<Self>, Fault> {
        let each = self.list(name)?.iter().zip(1..).map(|(item, place)| {
            let members = item.as_object().ok_or_else(|| self.wrong(name))?;
            Self::at(members, format!("{}.member.{place}.", self.path(name)), known)
        });
        each.collect()
    }
}
