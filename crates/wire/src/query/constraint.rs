//! The constraints that AWS's model puts on a request's values.

use std::fmt;

use super::pattern;
use crate::shape::{Kind, Range, Text};
use crate::value::Value;

/// The constraint that a value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Not one of the values of the enumeration.
    Enumeration(&'static [&'static str]),
    /// Too short or too long.
    Length(Range),
    /// Too small or too great.
    Number(Range),
    /// Too few or too many items.
    Size(Range),
    /// Not of the form that the pattern describes.
    Pattern(&'static str),
}

/// Checks the value itself, not what is inside it; on failure, answers the value as it is shown in an error.
pub fn check(kind: Kind, value: &Value) -> Result<(), (String, Broken)> {
    match (kind, value) {
        (Kind::Text(text), Value::Text(given)) => {
            text_constraint(text, given).map_or(Ok(()), |broken| Err((given.clone(), broken)))
        }
        (Kind::Integer(range) | Kind::Long(range), Value::Integer(given)) if !range.contains(*given) => {
            Err((given.to_string(), Broken::Number(range)))
        }
        (Kind::List(list), Value::List(items)) if !list.size.contains(count(items.len())) => {
            Err((format!("{} items", items.len()), Broken::Size(list.size)))
        }
        (_, _) => Ok(()),
    }
}

fn text_constraint(text: &Text, given: &str) -> Option<Broken> {
    if !text.values.is_empty() && !text.values.contains(&given) {
        return Some(Broken::Enumeration(text.values));
    }
    if !text.length.contains(count(given.chars().count())) {
        return Some(Broken::Length(text.length));
    }
    let pattern = text.pattern?;
    (!pattern::matches(pattern, given)).then_some(Broken::Pattern(pattern))
}

fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// AWS's own words, as in `failed to satisfy constraint: …`.
impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enumeration(values) => {
                write!(formatter, "Member must satisfy enum value set: [{}]", values.join(", "))
            }
            Self::Length(range) => bound(formatter, "have length", *range),
            Self::Number(range) => bound(formatter, "have value", *range),
            Self::Size(range) => bound(formatter, "have length", *range),
            Self::Pattern(pattern) => {
                write!(formatter, "Member must satisfy regular expression pattern: {pattern}")
            }
        }
    }
}

fn bound(formatter: &mut fmt::Formatter<'_>, verb: &str, range: Range) -> fmt::Result {
    let Range { min, max } = range;
    match (min > i64::MIN, max < i64::MAX) {
        (true, true) => write!(formatter, "Member must {verb} between {min} and {max}"),
        (true, false) => write!(formatter, "Member must {verb} greater than or equal to {min}"),
        (false, _) => write!(formatter, "Member must {verb} less than or equal to {max}"),
    }
}

impl Broken {
    /// EC2's way of saying it, as the second sentence of its error.
    pub fn sentence(&self) -> String {
        /// Above this many values, a list helps nobody.
        const VALUES_SHOWN: usize = 20;
        match self {
            Self::Enumeration(values) if values.len() <= VALUES_SHOWN => {
                format!("Expected one of: {}.", values.join(", "))
            }
            Self::Enumeration(_) => "It is not one of the values that this parameter can have.".to_owned(),
            Self::Number(range) => format!("Expecting a value {}.", within(*range)),
            Self::Length(range) => format!("Expecting a length {}.", within(*range)),
            Self::Size(range) => format!("Expecting a number of items {}.", within(*range)),
            Self::Pattern(pattern) => format!("Expecting a value of the pattern {pattern}."),
        }
    }
}

fn within(range: Range) -> String {
    let Range { min, max } = range;
    match (min > i64::MIN, max < i64::MAX) {
        (true, true) => format!("between {min} and {max}"),
        (true, false) => format!("greater than or equal to {min}"),
        (false, _) => format!("less than or equal to {max}"),
    }
}
