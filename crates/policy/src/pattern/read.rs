//! From text to the parts of a pattern.

use crate::document::Version;
use crate::error::Problem;
use crate::glob::Token;
use crate::key::Key;
use crate::request::Facts;

/// How a text is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syntax {
    wildcards: bool,
    variables: bool,
    /// Compare without distinguishing case; goes without wildcards.
    pub(super) fold_case: bool,
}

impl Syntax {
    pub(crate) fn literal(version: Version) -> Self {
        Self { wildcards: false, variables: version.has_variables(), fold_case: false }
    }

    pub(crate) fn wild(version: Version) -> Self {
        Self { wildcards: true, ..Self::literal(version) }
    }

    pub(crate) fn folded(version: Version) -> Self {
        Self { fold_case: true, ..Self::literal(version) }
    }
}

/// What a pattern is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Unit(Unit),
    Many,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unit {
    Text(String),
    One,
    Variable(Variable),
}

/// `${key}` or `${key, 'default'}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    key: Key,
    default: Option<String>,
}

impl Part {
    pub(super) fn into_unit(self) -> Option<Unit> {
        match self {
            Self::Unit(unit) => Some(unit),
            Self::Many => None,
        }
    }

    pub(super) fn fixed_token(&self) -> Option<Token<'_>> {
        match self {
            Self::Unit(Unit::Text(text)) => Some(Token::Text(text)),
            Self::Unit(Unit::One) => Some(Token::One),
            Self::Many => Some(Token::Many),
            Self::Unit(Unit::Variable(_)) => None,
        }
    }
}

impl Unit {
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Variable(variable) => Some(variable.key.written()),
            Self::Text(_) | Self::One => None,
        }
    }
}

impl Variable {
    /// The key, of a variable that has no default.
    pub(super) fn bare_key(&self) -> Option<&Key> {
        self.default.is_none().then_some(&self.key)
    }

    /// Hands on the value in the request, else the default. A multivalued key cannot be put into a text: no value.
    pub(super) fn with_value<R>(&self, facts: &Facts<'_>, read: impl FnOnce(&str) -> R) -> Option<R> {
        match facts.lookup(&self.key) {
            Some(found) if found.multivalued() => None,
            Some(found) => found.values().next().map(|value| value.with_text(read)),
            None => self.default.as_deref().map(read),
        }
    }
}

pub(super) fn read_parts(text: &str, syntax: Syntax) -> Result<Vec<Part>, Problem> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let special = match character {
            '*' if syntax.wildcards => Some((Part::Many, 1)),
            '?' if syntax.wildcards => Some((Part::Unit(Unit::One), 1)),
            '$' if syntax.variables && rest.starts_with("${") => {
                let (unit, length) = read_variable(rest)?;
                Some((Part::Unit(unit), length))
            }
            _ => None,
        };
        match special {
            Some((Part::Unit(Unit::Text(escaped)), length)) => {
                literal.push_str(&escaped);
                rest = &rest[length..];
            }
            Some((part, length)) => {
                if !literal.is_empty() {
                    parts.push(Part::Unit(Unit::Text(std::mem::take(&mut literal))));
                }
                parts.push(part);
                rest = &rest[length..];
            }
            None => {
                literal.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Unit(Unit::Text(literal)));
    }
    Ok(parts)
}

/// Reads a variable at the beginning of the text; returns it with its length in bytes.
fn read_variable(text: &str) -> Result<(Unit, usize), Problem> {
    let bad = || Problem::BadVariable(text.chars().take(80).collect());
    let inside = text.strip_prefix("${").ok_or_else(bad)?;
    for special in ["*", "?", "$"] {
        if inside.strip_prefix(special).is_some_and(|after| after.starts_with('}')) {
            return Ok((Unit::Text(special.to_owned()), 4));
        }
    }
    let key_end = inside.find([',', '}']).ok_or_else(bad)?;
    let key = inside[..key_end].trim();
    if !is_condition_key(key) {
        return Err(bad());
    }
    let mut rest = &inside[key_end..];
    let mut default = None;
    if let Some(after_comma) = rest.strip_prefix(',') {
        let quoted = after_comma.trim_start().strip_prefix('\'').ok_or_else(bad)?;
        let (value, after) = quoted.split_once('\'').ok_or_else(bad)?;
        default = Some(value.to_owned());
        rest = after.trim_start();
    }
    let after = rest.strip_prefix('}').ok_or_else(bad)?;
    Ok((Unit::Variable(Variable { key: Key::new(key), default }), text.len() - after.len()))
}

/// `prefix:name`; prefixes may be host names with paths, names may be tag keys.
pub(crate) fn is_condition_key(key: &str) -> bool {
    key.split_once(':').is_some_and(|(prefix, name)| {
        let in_prefix = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
        !prefix.is_empty()
            && prefix.chars().all(in_prefix)
            && !name.is_empty()
            && !key.contains(['*', '?', '$'])
    })
}
