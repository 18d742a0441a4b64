//! Patterns for ARNs.

use super::read::{Part, Syntax, Unit, read_parts};
use super::{Opening, Pattern};
use crate::arn::segments;
use crate::document::Version;
use crate::error::Problem;
use crate::key::Key;
use crate::request::Facts;

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

    /// How every ARN begins that fits, if that has a variable: how long the text before it is, the variable's key, and the
    /// text behind it.
    pub(crate) fn opening(&self) -> Option<(usize, &Key, &str)> {
        match self {
            Self::Prefixed { prefix, name } => {
                let Opening { before, key, after } = name.opening()?;
                Some((prefix.len() + before.len(), key, after))
            }
            Self::Any | Self::Parts(_) | Self::Whole(_) => None,
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
