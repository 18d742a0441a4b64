//! Patterns with wildcards and policy variables, for text and for ARNs.
//!
//! INVARIANT: the value of a variable is literal text. It is compared where the variable stands and never read as a
//! pattern, so a value of `*` matches an asterisk and nothing else.
//! INVARIANT: a pattern with a variable that has no value matches nothing.
//! Matching takes no memory, but for long texts: between two stars a variable, or a run of very many `?`, is then
//! searched for by a method whose time is linear.

mod arn;
mod read;

use crate::error::Problem;
use crate::glob::{Glob, Piece, Token};
use crate::key::Key;
use crate::request::Facts;

use self::read::{Part, Unit, read_parts};

pub(crate) use self::arn::{ArnPattern, SplitArn};
pub(crate) use self::read::{Syntax, is_condition_key};

/// Up to here a run with a variable is compared at each place of a text, which takes no memory.
const SHORT_BYTES: usize = 256;

/// How a pattern with a variable begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening<'p> {
    pub(crate) before: &'p str,
    pub(crate) key: &'p Key,
    pub(crate) after: &'p str,
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

    /// With what every text begins that fits.
    pub(crate) fn beginning(&self) -> &str {
        match &self.shape {
            Shape::Fixed(glob) => glob.beginning(),
            Shape::Whole(units) | Shape::Starred { first: units, .. } => match units.first() {
                Some(Unit::Text(text)) => text,
                Some(Unit::One | Unit::Variable(_)) | None => "",
            },
            // Letters of either case fit.
            Shape::Folded(_) => "",
        }
    }

    /// With what every text begins that fits, where that is a text (perhaps none), a variable without a default, and a
    /// text again (perhaps none).
    fn opening(&self) -> Option<Opening<'_>> {
        let (Shape::Whole(units) | Shape::Starred { first: units, .. }) = &self.shape else { return None };
        let (before, rest) = match units.as_slice() {
            [Unit::Text(before), rest @ ..] => (before.as_str(), rest),
            rest => ("", rest),
        };
        let (Unit::Variable(variable), rest) = rest.split_first()? else { return None };
        let after = match rest.first() {
            Some(Unit::Text(after)) => after,
            Some(Unit::One | Unit::Variable(_)) | None => "",
        };
        Some(Opening { before, key: variable.bare_key()?, after })
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
