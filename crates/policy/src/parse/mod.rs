//! From text to a compiled document.
//!
//! INVARIANT: what is accepted is enforced as written. Anything not understood is refused, never skipped.

mod condition;
mod endpoint;
mod faults;
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

use self::faults::Faults;

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

/// The document, or everything that is wrong with it; never nothing.
pub(crate) fn document(text: &str, kind: Kind, limit: usize) -> Result<PolicyDocument, Vec<ParseError>> {
    let whole = readable(text, kind, limit).map_err(|error| vec![error])?;
    let mut faults = Faults::default();
    let document = read(text, whole, kind, &mut faults);
    faults.or(document)
}

/// The document as JSON.
fn readable(text: &str, kind: Kind, limit: usize) -> Result<Node, ParseError> {
    check_length(text, kind, limit)?;
    if kind.is_kept_by_iam() {
        check_characters(text)?;
    }
    Node::parse(text)
}

fn read(text: &str, whole: Node, kind: Kind, faults: &mut Faults) -> Option<PolicyDocument> {
    let members = match whole.json {
        Json::Object(members) => members,
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_)) => {
            let problem = Problem::WrongType { expected: "an object", found: other.noun() };
            faults.push(problem.at(WHOLE, whole.place));
            return None;
        }
    };
    let (mut version, mut id, mut statements, mut misread) = (None, None, None, false);
    for member in members {
        match member.name.as_str() {
            "Version" => {
                version = faults.take(read_version(&member.value));
                misread = version.is_none();
            }
            "Id" => id = faults.take(string(&member.value, "Id")).map(Arc::from),
            "Statement" => statements = Some(member.value),
            _ => faults.push(Problem::UnknownElement(member.name).at(WHOLE, member.place)),
        }
    }
    if !misread {
        faults.take(check_version(version, kind, whole.place));
    }
    let statements = statements.ok_or_else(|| Problem::Missing("Statement").at(WHOLE, whole.place));
    let statements = faults.take(statements)?;
    // Of a version that nobody knows the newest is the likeliest.
    let usual = if misread { Version::V2012 } else { Version::V2008 };
    let rules = Rules { kind, version: version.unwrap_or(usual) };
    let statements: Arc<[Statement]> = Arc::from(read_statements(statements, rules, faults)?);
    let index = Arc::new(Index::new(&statements));
    Some(PolicyDocument { text: Arc::from(text), kind, version, id, statements, index })
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

fn read_statements(value: Node, rules: Rules, faults: &mut Faults) -> Option<Vec<Statement>> {
    let (place, end) = (value.place, value.end);
    let items = match value.json {
        Json::List(items) => items,
        object @ Json::Object(_) => vec![Node { place, end, json: object }],
        other @ (Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_)) => {
            let problem = Problem::WrongType { expected: "an object or a list", found: other.noun() };
            faults.push(problem.at("Statement", place));
            return None;
        }
    };
    if items.is_empty() {
        faults.push(Problem::Empty.at("Statement", place));
        return None;
    }
    let mut seen = BTreeSet::new();
    let mut statements = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let at = format!("Statement[{index}]");
        let place = item.place;
        let Some(statement) = statement::read(item, &at, rules, faults) else { continue };
        if let (Some(sid), true) = (&statement.sid, rules.kind.is_kept_by_iam()) {
            let repeated = !sid.is_empty() && !seen.insert(Arc::clone(sid));
            if repeated {
                faults.push(Problem::DuplicateSid(sid.to_string()).at(format!("{at}.Sid"), place));
            }
        }
        statements.push(statement);
    }
    Some(statements)
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
