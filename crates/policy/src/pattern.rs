//! Patterns with wildcards and policy variables, for text and for ARNs.
//!
//! INVARIANT: the value of a variable is literal text. It is compared where the variable stands and never read as a
//! pattern, so a value of `*` matches an asterisk and nothing else.
//! INVARIANT: a pattern with a variable that has no value matches nothing.
//! Matching takes no memory, but for long texts: between two stars a variable, or a run of very many `?`, is then
//! searched for by a method whose time is linear.

use crate::arn::segments;
use crate::document::Version;
use crate::error::Problem;
use crate::glob::{Glob, Piece, Token};
use crate::key::Key;
use crate::request::Facts;

/// Up to here a run with a variable is compared at each place of a text, which takes no memory.
const SHORT_BYTES: usize = 256;

/// How a text is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syntax {
    wildcards: bool,
    variables: bool,
    /// Compare without distinguishing case; goes without wildcards.
    fold_case: bool,
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
enum Part {
    Unit(Unit),
    Many,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Unit {
    Text(String),
    One,
    Variable(Variable),
}

/// `${key}` or `${key, 'default'}`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    key: Key,
    default: Option<String>,
}

/// A text pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    shape: Shape,
    /// Text without wildcards and variables, and not empty.
    is_plain_text: bool,
    /// A wildcard beside something else.
    mixes_wildcards: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// Without variables.
    Fixed(Glob),
    /// With variables, without a star.
    Whole(Vec<Unit>),
    /// With variables and stars.
    Starred { first: Vec<Unit>, between: Vec<Between>, last: Vec<Unit> },
    /// Compared without distinguishing case.
    Folded(Vec<Unit>),
}

/// What stands between two stars.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Between {
    Fixed(Piece),
    Open(Vec<Unit>),
}

impl Pattern {
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, Problem> {
        let parts = read_parts(text, syntax)?;
        if syntax.fold_case {
            let units = parts.into_iter().filter_map(Part::into_unit).collect();
            return Ok(Self { shape: Shape::Folded(units), is_plain_text: false, mixes_wildcards: false });
        }
        Ok(Self::compile(parts))
    }

    fn compile(parts: Vec<Part>) -> Self {
        let is_plain_text = matches!(parts.as_slice(), [Part::Unit(Unit::Text(_))]);
        let is_wildcard = |part: &Part| matches!(part, Part::Many | Part::Unit(Unit::One));
        let mixes_wildcards = parts.len() > 1 && parts.iter().any(is_wildcard);
        let tokens: Option<Vec<Token<'_>>> = parts.iter().map(Part::fixed_token).collect();
        let shape = match tokens {
            Some(tokens) => Shape::Fixed(Glob::from_tokens(tokens)),
            None => Shape::with_variables(parts),
        };
        Self { shape, is_plain_text, mixes_wildcards }
    }

    pub(crate) fn matches(&self, text: &str, facts: &Facts<'_>) -> bool {
        match &self.shape {
            Shape::Fixed(glob) => glob.matches(text),
            Shape::Whole(units) => strip_start(units, text, facts) == Some(""),
            Shape::Folded(units) => equals_folded(units, text, facts),
            Shape::Starred { first, between, last } => {
                matches_starred(first, between, last, text, facts).is_some()
            }
        }
    }

    /// The condition keys that the pattern's variables name.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut units: Vec<&Unit> = Vec::new();
        match &self.shape {
            Shape::Fixed(_) => {}
            Shape::Whole(all) | Shape::Folded(all) => units.extend(all),
            Shape::Starred { first, between, last } => {
                units.extend(first);
                for piece in between {
                    match piece {
                        Between::Fixed(_) => {}
                        Between::Open(open) => units.extend(open),
                    }
                }
                units.extend(last);
            }
        }
        units.into_iter().filter_map(Unit::key).collect()
    }

    /// The text of a pattern without wildcards and variables.
    pub(crate) fn plain_text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Fixed(glob) => glob.plain_text(),
            Shape::Whole(_) | Shape::Starred { .. } | Shape::Folded(_) => None,
        }
    }

    fn is_one_variable(&self) -> bool {
        matches!(&self.shape, Shape::Whole(units) if matches!(units.as_slice(), [Unit::Variable(_)]))
    }

    fn is_empty(&self) -> bool {
        matches!(&self.shape, Shape::Fixed(glob) if *glob == Glob::new(""))
    }
}

impl Shape {
    fn with_variables(parts: Vec<Part>) -> Self {
        let mut runs: Vec<Vec<Unit>> = vec![Vec::new()];
        for part in parts {
            match (part.into_unit(), runs.last_mut()) {
                (Some(unit), Some(run)) => run.push(unit),
                (Some(_) | None, _) => runs.push(Vec::new()),
            }
        }
        let last = runs.pop().unwrap_or_default();
        if runs.is_empty() {
            return Self::Whole(last);
        }
        let first = runs.remove(0);
        let between = runs.into_iter().filter(|run| !run.is_empty()).map(Between::new).collect();
        Self::Starred { first, between, last }
    }
}

impl Between {
    fn new(units: Vec<Unit>) -> Self {
        let has_variable = units.iter().any(|unit| unit.key().is_some());
        if has_variable {
            return Self::Open(units);
        }
        let mut piece = Piece::default();
        for unit in &units {
            match unit {
                Unit::Text(text) => piece.push_text(text),
                Unit::One => piece.push_one(),
                Unit::Variable(_) => {}
            }
        }
        Self::Fixed(piece)
    }

    /// The end of the first place where this fits.
    fn end_of_leftmost(&self, text: &str, facts: &Facts<'_>) -> Option<usize> {
        match self {
            Self::Fixed(piece) => piece.end_of_leftmost(text),
            Self::Open(units) if text.len() <= SHORT_BYTES => {
                let starts = text.char_indices().map(|(start, _)| start).chain([text.len()]);
                let mut fits = starts.filter_map(|start| strip_start(units, &text[start..], facts));
                fits.next().map(|rest| text.len() - rest.len())
            }
            Self::Open(units) => {
                let mut piece = Piece::default();
                for unit in units {
                    match unit {
                        Unit::Text(text) => piece.push_text(text),
                        Unit::One => piece.push_one(),
                        Unit::Variable(variable) => {
                            variable.with_value(facts, |value| piece.push_text(value))?
                        }
                    }
                }
                if piece.is_empty() { Some(0) } else { piece.end_of_leftmost(text) }
            }
        }
    }
}

/// As in [`Glob`]: the first and the last run are anchored, what stands between is taken at its leftmost place.
fn matches_starred(
    first: &[Unit],
    between: &[Between],
    last: &[Unit],
    text: &str,
    facts: &Facts<'_>,
) -> Option<()> {
    let rest = strip_start(first, text, facts)?;
    let mut body = strip_end(last, rest, facts)?;
    for piece in between {
        body = &body[piece.end_of_leftmost(body, facts)?..];
    }
    Some(())
}

/// What is left of the text behind these units.
fn strip_start<'t>(units: &[Unit], text: &'t str, facts: &Facts<'_>) -> Option<&'t str> {
    let mut rest = text;
    for unit in units {
        rest = match unit {
            Unit::Text(literal) => rest.strip_prefix(literal.as_str())?,
            Unit::Variable(variable) => variable.with_value(facts, |value| rest.strip_prefix(value))??,
            Unit::One => {
                let mut characters = rest.chars();
                characters.next()?;
                characters.as_str()
            }
        };
    }
    Some(rest)
}

/// What is left of the text before these units.
fn strip_end<'t>(units: &[Unit], text: &'t str, facts: &Facts<'_>) -> Option<&'t str> {
    let mut rest = text;
    for unit in units.iter().rev() {
        rest = match unit {
            Unit::Text(literal) => rest.strip_suffix(literal.as_str())?,
            Unit::Variable(variable) => variable.with_value(facts, |value| rest.strip_suffix(value))??,
            Unit::One => {
                let mut characters = rest.chars();
                characters.next_back()?;
                characters.as_str()
            }
        };
    }
    Some(rest)
}

fn equals_folded(units: &[Unit], text: &str, facts: &Facts<'_>) -> bool {
    let mut left = text.chars().map(fold_case);
    let mut takes =
        |wanted: &str| wanted.chars().map(fold_case).all(|character| left.next() == Some(character));
    let all = units.iter().all(|unit| match unit {
        Unit::Text(literal) => takes(literal),
        Unit::Variable(variable) => variable.with_value(facts, &mut takes) == Some(true),
        Unit::One => takes("?"),
    });
    all && left.next().is_none()
}

/// One character for another, upper case first, so that letters with two lower-case forms fold to one.
fn fold_case(character: char) -> char {
    let mut upper = character.to_uppercase();
    let upper = match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        (Some(_) | None, _) => character,
    };
    let mut lower = upper.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        (Some(_) | None, _) => upper,
    }
}

impl Part {
    fn into_unit(self) -> Option<Unit> {
        match self {
            Self::Unit(unit) => Some(unit),
            Self::Many => None,
        }
    }

    fn fixed_token(&self) -> Option<Token<'_>> {
        match self {
            Self::Unit(Unit::Text(text)) => Some(Token::Text(text)),
            Self::Unit(Unit::One) => Some(Token::One),
            Self::Many => Some(Token::Many),
            Self::Unit(Unit::Variable(_)) => None,
        }
    }
}

impl Unit {
    fn key(&self) -> Option<&str> {
        match self {
            Self::Variable(variable) => Some(variable.key.written()),
            Self::Text(_) | Self::One => None,
        }
    }
}

impl Variable {
    /// Hands on the value in the request, else the default. A multivalued key cannot be put into a text: no value.
    fn with_value<R>(&self, facts: &Facts<'_>, read: impl FnOnce(&str) -> R) -> Option<R> {
        match facts.lookup(&self.key) {
            Some(found) if found.multivalued() => None,
            Some(found) => found.values().next().map(|value| value.with_text(read)),
            None => self.default.as_deref().map(read),
        }
    }
}

fn read_parts(text: &str, syntax: Syntax) -> Result<Vec<Part>, Problem> {
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

/// A pattern for ARNs, compared part by part: a wildcard never crosses one of the first five colons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArnPattern {
    /// `*`.
    Any,
    /// The first five parts are written out: they and their colons, and a pattern for the sixth.
    Prefixed {
        /// Up to and with the fifth colon.
        prefix: Box<str>,
        /// Of what stands behind it.
        name: Pattern,
    },
    /// Six patterns.
    Parts(Box<[Pattern; 6]>),
    /// One variable that stands for a whole ARN.
    Whole(Pattern),
}

/// A text with its ARN parts, split once per evaluation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SplitArn<'a> {
    text: &'a str,
    parts: Option<[&'a str; 6]>,
}

impl<'a> SplitArn<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, parts: segments(text) }
    }
}

impl ArnPattern {
    /// A value of `Resource` or `NotResource`.
    pub(crate) fn resource(text: &str, version: Version) -> Result<Self, Problem> {
        let bad = |why| Problem::BadResource { value: text.to_owned(), why };
        if text == "*" {
            return Ok(Self::Any);
        }
        let parts =
            arn_parts(text, version)?.ok_or_else(|| bad("it must be `*` or an arn with six parts"))?;
        let [prefix, partition, service, _, _, name] = parts.as_ref();
        if !text.starts_with("arn:") || !prefix.is_plain_text {
            return Err(bad("it must be `*` or begin with `arn:`"));
        }
        if !service.is_plain_text {
            return Err(bad("its service part must be written out, without wildcards"));
        }
        if partition.is_plain_text && !is_partition(text) {
            return Err(bad("its partition does not exist"));
        }
        if name.is_empty() {
            return Err(bad("it names no resource"));
        }
        Ok(Self::of_parts(text, parts))
    }

    /// A value of an `Arn…` condition operator.
    pub(crate) fn condition(text: &str, version: Version) -> Result<Self, Problem> {
        let bad = || Problem::BadValue { value: text.to_owned(), expected: "an arn with six parts" };
        if text == "*" {
            return Ok(Self::Any);
        }
        let whole = Pattern::parse(text, Syntax::wild(version))?;
        if whole.is_one_variable() {
            return Ok(Self::Whole(whole));
        }
        let parts = arn_parts(text, version)?.ok_or_else(bad)?;
        let [prefix, ..] = parts.as_ref();
        if !prefix.is_plain_text || !text.starts_with("arn:") {
            return Err(bad());
        }
        Ok(Self::of_parts(text, parts))
    }

    fn of_parts(text: &str, parts: Box<[Pattern; 6]>) -> Self {
        let [first @ .., name] = *parts;
        let written_out = first.iter().all(|part| part.is_plain_text || part.is_empty());
        // A variable's escapes (`${*}`) make the text longer than what it stands for, so it is taken apart.
        match text.match_indices(':').nth(4) {
            Some((colon, _)) if written_out && !text[..colon].contains("${") => {
                Self::Prefixed { prefix: text[..=colon].into(), name }
            }
            Some(_) | None => {
                let [a, b, c, d, e] = first;
                Self::Parts(Box::new([a, b, c, d, e, name]))
            }
        }
    }

    pub(crate) fn matches(&self, arn: SplitArn<'_>, facts: &Facts<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Prefixed { prefix, name } => {
                arn.text.strip_prefix(&**prefix).is_some_and(|rest| name.matches(rest, facts))
            }
            Self::Whole(pattern) => pattern.matches(arn.text, facts),
            Self::Parts(patterns) => arn.parts.is_some_and(|parts| {
                patterns.iter().zip(parts).all(|(pattern, part)| pattern.matches(part, facts))
            }),
        }
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        match self {
            Self::Any => Vec::new(),
            Self::Whole(pattern) | Self::Prefixed { name: pattern, .. } => pattern.keys(),
            Self::Parts(patterns) => patterns.iter().flat_map(Pattern::keys).collect(),
        }
    }

    /// Whether the account part is an id beside a wildcard, which endpoint policies may not have.
    pub(crate) fn mixes_account(&self) -> bool {
        match self {
            Self::Any | Self::Whole(_) | Self::Prefixed { .. } => false,
            Self::Parts(patterns) => {
                let [_, _, _, _, account, _] = patterns.as_ref();
                account.mixes_wildcards
            }
        }
    }
}

fn is_partition(arn: &str) -> bool {
    let partition = arn.split(':').nth(1).unwrap_or_default();
    partition == "aws"
        || partition
            .strip_prefix("aws-")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
}

/// Splits at the first five colons that stand outside of variables.
fn arn_parts(text: &str, version: Version) -> Result<Option<Box<[Pattern; 6]>>, Problem> {
    let mut groups: Vec<Vec<Part>> = vec![Vec::new()];
    for part in read_parts(text, Syntax::wild(version))? {
        let Part::Unit(Unit::Text(literal)) = part else {
            push_part(&mut groups, part);
            continue;
        };
        let colons_left = 6_usize.saturating_sub(groups.len());
        for (index, piece) in literal.splitn(colons_left + 1, ':').enumerate() {
            if index > 0 {
                groups.push(Vec::new());
            }
            if !piece.is_empty() {
                push_part(&mut groups, Part::Unit(Unit::Text(piece.to_owned())));
            }
        }
    }
    let patterns: Vec<Pattern> = groups.into_iter().map(Pattern::compile).collect();
    Ok(<[Pattern; 6]>::try_from(patterns).ok().map(Box::new))
}

fn push_part(groups: &mut [Vec<Part>], part: Part) {
    if let Some(group) = groups.last_mut() {
        group.push(part);
    }
}
