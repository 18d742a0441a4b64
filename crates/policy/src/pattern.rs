//! Patterns with wildcards and policy variables, for text and for ARNs.
//!
//! INVARIANT: the value of a variable is literal text. It is put in as [`Token::Text`], never read again as a
//! pattern, so a value of `*` matches an asterisk and nothing else.
//! INVARIANT: a pattern with a variable that has no value matches nothing.

use crate::arn::segments;
use crate::document::Version;
use crate::error::Problem;
use crate::glob::{Glob, Token};
use crate::request::Facts;

/// How a text is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syntax {
    pub(crate) wildcards: bool,
    pub(crate) variables: bool,
    /// Compare without distinguishing case; the caller hands in text in lower case.
    pub(crate) fold_case: bool,
}

impl Syntax {
    pub(crate) fn literal(version: Version) -> Self {
        Self { wildcards: false, variables: version.has_variables(), fold_case: false }
    }

    pub(crate) fn wild(version: Version) -> Self {
        Self { wildcards: true, ..Self::literal(version) }
    }

    pub(crate) fn folded(self) -> Self {
        Self { fold_case: true, ..self }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    One,
    Many,
    Variable(Variable),
}

/// `${key}` or `${key, 'default'}`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    key: String,
    lower_case_key: String,
    default: Option<String>,
}

/// A text pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
    /// Present when there is no variable.
    fixed: Option<Glob>,
    fold_case: bool,
}

impl Pattern {
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, Problem> {
        Ok(Self::compile(read_parts(text, syntax)?, syntax.fold_case))
    }

    fn compile(mut parts: Vec<Part>, fold_case: bool) -> Self {
        if fold_case {
            for part in &mut parts {
                if let Part::Text(text) = part {
                    *text = text.to_lowercase();
                }
            }
        }
        let tokens: Option<Vec<Token<'_>>> = parts.iter().map(Part::fixed_token).collect();
        let fixed = tokens.map(Glob::from_tokens);
        Self { parts, fixed, fold_case }
    }

    pub(crate) fn matches(&self, text: &str, facts: &Facts<'_>) -> bool {
        match &self.fixed {
            Some(glob) => glob.matches(text),
            None => self.resolve(facts).is_some_and(|glob| glob.matches(text)),
        }
    }

    /// The pattern with its variables' values in place; `None` when one has no value.
    fn resolve(&self, facts: &Facts<'_>) -> Option<Glob> {
        let mut values = Vec::new();
        for part in &self.parts {
            if let Part::Variable(variable) = part {
                let value = variable.value(facts)?;
                values.push(if self.fold_case { value.to_lowercase() } else { value });
            }
        }
        let mut values = values.iter();
        let tokens: Option<Vec<Token<'_>>> = self
            .parts
            .iter()
            .map(|part| part.fixed_token().or_else(|| values.next().map(|value| Token::Text(value))))
            .collect();
        tokens.map(Glob::from_tokens)
    }

    /// The condition keys that the pattern's variables name.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable.key.as_str()),
            Part::Text(_) | Part::One | Part::Many => None,
        })
    }

    fn is_plain_text(&self) -> bool {
        matches!(self.parts.as_slice(), [Part::Text(_)])
    }

    /// A wildcard beside something else.
    fn mixes_wildcards(&self) -> bool {
        self.parts.len() > 1 && self.parts.iter().any(|part| matches!(part, Part::One | Part::Many))
    }
}

impl Part {
    fn fixed_token(&self) -> Option<Token<'_>> {
        match self {
            Self::Text(text) => Some(Token::Text(text)),
            Self::One => Some(Token::One),
            Self::Many => Some(Token::Many),
            Self::Variable(_) => None,
        }
    }
}

impl Variable {
    /// The value in the request, else the default. A multivalued key cannot be put into a text: no value.
    fn value(&self, facts: &Facts<'_>) -> Option<String> {
        match facts.lookup(&self.lower_case_key) {
            Some(found) if found.multivalued() => None,
            Some(found) => found.values().first().map(|value| value.text().into_owned()),
            None => self.default.clone(),
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
            '?' if syntax.wildcards => Some((Part::One, 1)),
            '$' if syntax.variables && rest.starts_with("${") => Some(read_variable(rest)?),
            _ => None,
        };
        match special {
            Some((Part::Text(escaped), length)) => {
                literal.push_str(&escaped);
                rest = &rest[length..];
            }
            Some((part, length)) => {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
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
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// Reads a variable at the beginning of the text; returns it with its length in bytes.
fn read_variable(text: &str) -> Result<(Part, usize), Problem> {
    let bad = || Problem::BadVariable(text.chars().take(80).collect());
    let inside = text.strip_prefix("${").ok_or_else(bad)?;
    for special in ["*", "?", "$"] {
        if inside.strip_prefix(special).is_some_and(|after| after.starts_with('}')) {
            return Ok((Part::Text(special.to_owned()), 4));
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
    let variable = Variable { key: key.to_owned(), lower_case_key: key.to_lowercase(), default };
    Ok((Part::Variable(variable), text.len() - after.len()))
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
        if !prefix.fixed.as_ref().is_some_and(|glob| glob.matches("arn")) || !prefix.is_plain_text() {
            return Err(bad("it must be `*` or begin with `arn:`"));
        }
        if !service.is_plain_text() {
            return Err(bad("its service part must be written out, without wildcards"));
        }
        if partition.is_plain_text() && !is_partition(text) {
            return Err(bad("its partition does not exist"));
        }
        if name.parts.is_empty() {
            return Err(bad("it names no resource"));
        }
        Ok(Self::Parts(parts))
    }

    /// A value of an `Arn…` condition operator.
    pub(crate) fn condition(text: &str, version: Version) -> Result<Self, Problem> {
        let bad = || Problem::BadValue { value: text.to_owned(), expected: "an arn with six parts" };
        if text == "*" {
            return Ok(Self::Any);
        }
        let whole = Pattern::parse(text, Syntax::wild(version))?;
        if matches!(whole.parts.as_slice(), [Part::Variable(_)]) {
            return Ok(Self::Whole(whole));
        }
        let parts = arn_parts(text, version)?.ok_or_else(bad)?;
        let [prefix, ..] = parts.as_ref();
        if !prefix.is_plain_text() || !text.starts_with("arn:") {
            return Err(bad());
        }
        Ok(Self::Parts(parts))
    }

    pub(crate) fn matches(&self, arn: SplitArn<'_>, facts: &Facts<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Whole(pattern) => pattern.matches(arn.text, facts),
            Self::Parts(patterns) => arn.parts.is_some_and(|parts| {
                patterns.iter().zip(parts).all(|(pattern, part)| pattern.matches(part, facts))
            }),
        }
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        match self {
            Self::Any => Vec::new(),
            Self::Whole(pattern) => pattern.keys().collect(),
            Self::Parts(patterns) => patterns.iter().flat_map(Pattern::keys).collect(),
        }
    }

    /// Whether the account part is an id beside a wildcard, which endpoint policies may not have.
    pub(crate) fn mixes_account(&self) -> bool {
        match self {
            Self::Any | Self::Whole(_) => false,
            Self::Parts(patterns) => {
                let [_, _, _, _, account, _] = patterns.as_ref();
                account.mixes_wildcards()
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
        let Part::Text(literal) = part else {
            push_part(&mut groups, part);
            continue;
        };
        let colons_left = 6_usize.saturating_sub(groups.len());
        for (index, piece) in literal.splitn(colons_left + 1, ':').enumerate() {
            if index > 0 {
                groups.push(Vec::new());
            }
            if !piece.is_empty() {
                push_part(&mut groups, Part::Text(piece.to_owned()));
            }
        }
    }
    let patterns: Vec<Pattern> = groups.into_iter().map(|parts| Pattern::compile(parts, false)).collect();
    Ok(<[Pattern; 6]>::try_from(patterns).ok().map(Box::new))
}

fn push_part(groups: &mut [Vec<Part>], part: Part) {
    if let Some(group) = groups.last_mut() {
        group.push(part);
    }
}
