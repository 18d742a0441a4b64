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
use crate::index::Index;
use crate::json::{Json, Node};
use crate::place::Place;
use crate::statement::Statement;

/// No document is read beyond this, whatever quota was asked for.
const LONGEST_BYTES: usize = 131_072 * 4;

/// What every level of the parser needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) kind: Kind,
    pub(crate) version: Version,
}

/// What the whole is called in errors.
const WHOLE: &str = "the document";

pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, ParseError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let text = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let place = text.chars().fold(Place::START, Place::after);
        ParseError::NotUtf8 { valid_up_to_bytes: error.valid_up_to(), place }
    })
}

pub(crate) fn document(text: &str, kind: Kind, limit: usize) -> Result<PolicyDocument, ParseError> {
    check_length(text, kind, limit)?;
    if kind.is_kept_by_iam() {
        check_characters(text)?;
    }
    let whole = Node::parse(text)?;
    let members = match whole.json {
        Json::Object(members) => members,
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_)) => {
            let problem = Problem::WrongType { expected: "an object", found: other.noun() };
            return Err(problem.at(WHOLE, whole.place));
        }
    };
    let mut version = None;
    let mut id = None;
    let mut statements = None;
    for member in members {
        match member.name.as_str() {
            "Version" => version = Some(read_version(&member.value)?),
            "Id" => id = Some(Arc::from(string(&member.value, "Id")?)),
            "Statement" => statements = Some(member.value),
            _ => return Err(Problem::UnknownElement(member.name).at(WHOLE, member.place)),
        }
    }
    check_version(version, kind, whole.place)?;
    let statements = statements.ok_or_else(|| Problem::Missing("Statement").at(WHOLE, whole.place))?;
    let rules = Rules { kind, version: version.unwrap_or(Version::V2008) };
    let statements: Arc<[Statement]> = Arc::from(read_statements(statements, rules)?);
    let index = Arc::new(Index::new(&statements));
    Ok(PolicyDocument { text: Arc::from(text), kind, version, id, statements, index })
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
    let mut place = Place::START;
    for character in text.chars() {
        if !matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{ff}') {
            return Err(Problem::BadCharacter { code: u32::from(character) }.at(WHOLE, place));
        }
        place = place.after(character);
    }
    Ok(())
}

fn read_version(value: &Node) -> Result<Version, ParseError> {
    match string(value, "Version")? {
        "2008-10-17" => Ok(Version::V2008),
        "2012-10-17" => Ok(Version::V2012),
        other => Err(Problem::BadVersion(other.to_owned()).at("Version", value.place)),
    }
}

/// <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_rcps_syntax.html>
fn check_version(version: Option<Version>, kind: Kind, place: Place) -> Result<(), ParseError> {
    match (kind, version) {
        (Kind::ResourceControl, None) => Err(Problem::Missing("Version").at(WHOLE, place)),
        (Kind::ResourceControl, Some(Version::V2008)) => {
            Err(Problem::BadStatement { why: "`Version` is `2012-10-17` only", kind }.at("Version", place))
        }
        (
            Kind::ResourceControl
            | Kind::Identity
            | Kind::Resource
            | Kind::Trust
            | Kind::Endpoint { .. }
            | Kind::Boundary
            | Kind::Session
            | Kind::ServiceControl,
            _,
        ) => Ok(()),
    }
}

fn read_statements(value: Node, rules: Rules) -> Result<Vec<Statement>, ParseError> {
    let (place, end) = (value.place, value.end);
    let items = match value.json {
        Json::List(items) => items,
        object @ Json::Object(_) => vec![Node { place, end, json: object }],
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_)) => {
            let problem = Problem::WrongType { expected: "an object or a list", found: other.noun() };
            return Err(problem.at("Statement", place));
        }
    };
    if items.is_empty() {
        return Err(Problem::Empty.at("Statement", place));
    }
    let mut seen = BTreeSet::new();
    let mut statements = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = format!("Statement[{index}]");
        let place = item.place;
        let statement = statement::read(item, &at, rules)?;
        if let (Some(sid), true) = (&statement.sid, rules.kind.is_kept_by_iam()) {
            let repeated = !sid.is_empty() && !seen.insert(Arc::clone(sid));
            if repeated {
                return Err(Problem::DuplicateSid(sid.to_string()).at(format!("{at}.Sid"), place));
            }
        }
        statements.push(statement);
    }
    Ok(statements)
}

/// A string element.
fn string<'a>(value: &'a Node, at: &str) -> Result<&'a str, ParseError> {
    match &value.json {
        Json::Text(text) => Ok(text),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_) => {
            Err(Problem::WrongType { expected: "a string", found: value.json.noun() }.at(at, value.place))
        }
    }
}

/// A string or a list of strings, not empty, each with its place.
fn strings<'a>(value: &'a Node, at: &str) -> Result<Vec<(&'a str, Place)>, ParseError> {
    let items = match &value.json {
        Json::Text(text) => return Ok(vec![(text.as_str(), value.place)]),
        Json::List(items) => items,
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => {
            let problem =
                Problem::WrongType { expected: "a string or a list of strings", found: value.json.noun() };
            return Err(problem.at(at, value.place));
        }
    };
    if items.is_empty() {
        return Err(Problem::Empty.at(at, value.place));
    }
    items.iter().map(|item| string(item, at).map(|text| (text, item.place))).collect()
}
