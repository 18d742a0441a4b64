//! From text to a compiled document.
//!
//! INVARIANT: what is accepted is enforced as written. Anything not understood is refused, never skipped.

mod condition;
mod endpoint;
mod principal;
mod statement;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::document::{Kind, PolicyDocument, Version, WhiteSpace};
use crate::error::{ParseError, Problem};
use crate::json::Json;

/// No document is read beyond this, whatever quota was asked for.
const LONGEST_BYTES: usize = 131_072 * 4;

/// What every level of the parser needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) kind: Kind,
    pub(crate) version: Version,
}

pub(crate) fn document(text: &str, kind: Kind, limit: usize) -> Result<PolicyDocument, ParseError> {
    check_length(text, kind, limit)?;
    if kind.is_kept_by_iam() {
        check_characters(text)?;
    }
    let entries = match Json::parse(text)? {
        Json::Object(entries) => entries,
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_)) => {
            return Err(Problem::WrongType { expected: "an object", found: other.noun() }.at("the document"));
        }
    };
    let mut version = Version::V2008;
    let mut id = None;
    let mut statements = None;
    for (name, value) in entries {
        match name.as_str() {
            "Version" => version = read_version(&value)?,
            "Id" => id = Some(Arc::from(string(&value, "Id")?)),
            "Statement" => statements = Some(value),
            _ => return Err(Problem::UnknownElement(name).at("the document")),
        }
    }
    let statements = statements.ok_or_else(|| Problem::Missing("Statement").at("the document"))?;
    let statements = read_statements(statements, Rules { kind, version })?;
    Ok(PolicyDocument { text: Arc::from(text), kind, version, id, statements: Arc::from(statements) })
}

fn check_length(text: &str, kind: Kind, limit: usize) -> Result<(), ParseError> {
    let (_, white_space) = kind.limit();
    let actual = match white_space {
        // White space that does not count is still read, so the whole is bounded first.
        _ if text.len() > LONGEST_BYTES => text.len(),
        WhiteSpace::Counted => text.chars().count(),
        WhiteSpace::Ignored => text.chars().filter(|c| !c.is_whitespace()).count(),
    };
    if actual > limit || text.len() > LONGEST_BYTES {
        return Err(ParseError::TooLong { kind, limit: limit.min(LONGEST_BYTES), actual });
    }
    Ok(())
}

/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>, name requirements.
fn check_characters(text: &str) -> Result<(), ParseError> {
    let bad = |c: &char| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}');
    match text.chars().find(bad) {
        Some(character) => Err(Problem::BadCharacter { code: u32::from(character) }.at("the document")),
        None => Ok(()),
    }
}

fn read_version(value: &Json) -> Result<Version, ParseError> {
    match string(value, "Version")? {
        "2008-10-17" => Ok(Version::V2008),
        "2012-10-17" => Ok(Version::V2012),
        other => Err(Problem::BadVersion(other.to_owned()).at("Version")),
    }
}

fn read_statements(value: Json, rules: Rules) -> Result<Vec<crate::document::Statement>, ParseError> {
    let items = match value {
        Json::List(items) => items,
        object @ Json::Object(_) => vec![object],
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_)) => {
            let problem = Problem::WrongType { expected: "an object or a list", found: other.noun() };
            return Err(problem.at("Statement"));
        }
    };
    if items.is_empty() {
        return Err(Problem::Empty.at("Statement"));
    }
    let mut seen = BTreeSet::new();
    let mut statements = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = format!("Statement[{index}]");
        let statement = statement::read(item, &at, rules)?;
        if let (Some(sid), true) = (&statement.sid, rules.kind.is_kept_by_iam()) {
            let repeated = !sid.is_empty() && !seen.insert(Arc::clone(sid));
            if repeated {
                return Err(Problem::DuplicateSid(sid.to_string()).at(format!("{at}.Sid")));
            }
        }
        statements.push(statement);
    }
    Ok(statements)
}

/// A string element.
fn string<'a>(value: &'a Json, at: &str) -> Result<&'a str, ParseError> {
    match value {
        Json::Text(text) => Ok(text),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            Err(Problem::WrongType { expected: "a string", found: value.noun() }.at(at))
        }
    }
}

/// A string or a list of strings, not empty.
fn strings<'a>(value: &'a Json, at: &str) -> Result<Vec<&'a str>, ParseError> {
    let items = match value {
        Json::Text(text) => return Ok(vec![text.as_str()]),
        Json::List(items) => items,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {
            let problem =
                Problem::WrongType { expected: "a string or a list of strings", found: value.noun() };
            return Err(problem.at(at));
        }
    };
    if items.is_empty() {
        return Err(Problem::Empty.at(at));
    }
    items.iter().map(|item| string(item, at)).collect()
}
