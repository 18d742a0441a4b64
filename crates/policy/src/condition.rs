//! Compiled conditions: one operator on one key.
//!
//! Missing keys: a positive operator is false, a negated one true, `…IfExists` true, `ForAllValues` true,
//! `ForAnyValue` false; `Null` is about presence itself.
//! Without a set operator a multivalued key meets a positive operator when any of its values does, and a
//! negated operator when none does, so that a negated operator is always the complement of its positive one.

use std::sync::Arc;

use ipnet::IpNet;
use time::OffsetDateTime;

use crate::pattern::{ArnPattern, Pattern, SplitArn};
use crate::request::Facts;
use crate::value::{Number, Value};

#[derive(Debug, Clone)]
pub(crate) struct Condition {
    /// As written, for explanations.
    pub(crate) operator: Arc<str>,
    /// As written.
    pub(crate) key: Arc<str>,
    /// As written, shortened.
    pub(crate) wanted: Arc<str>,
    pub(crate) lower_case_key: String,
    pub(crate) quantifier: Option<Quantifier>,
    pub(crate) negated: bool,
    pub(crate) if_exists: bool,
    pub(crate) test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    ForAllValues,
    ForAnyValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a value is compared with; the values of the policy are alternatives.
#[derive(Debug, Clone)]
pub(crate) enum Test {
    Text(Vec<Pattern>),
    TextIgnoringCase(Vec<Pattern>),
    Number(Comparison, Vec<Number>),
    Instant(Comparison, Vec<OffsetDateTime>),
    Bool(Vec<bool>),
    Binary(Vec<Vec<u8>>),
    Network(Vec<IpNet>),
    Arn(Vec<ArnPattern>),
    /// `true` asks for absence.
    Null(Vec<bool>),
}

impl Comparison {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Condition {
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        let found = facts.lookup(&self.lower_case_key);
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&found.is_none());
        }
        let values = found.as_ref().map_or(&[][..], |found| found.values());
        let hit = |value: &Value| self.test.hits(value, facts) != self.negated;
        match self.quantifier {
            _ if values.is_empty() || (self.quantifier.is_some() && values.iter().all(is_blank)) => {
                self.holds_without_value()
            }
            None if self.negated => values.iter().all(hit),
            None | Some(Quantifier::ForAnyValue) => values.iter().any(hit),
            Some(Quantifier::ForAllValues) => values.iter().all(hit),
        }
    }

    fn holds_without_value(&self) -> bool {
        match self.quantifier {
            _ if self.if_exists => true,
            None => self.negated,
            Some(Quantifier::ForAllValues) => true,
            Some(Quantifier::ForAnyValue) => false,
        }
    }

    /// The keys of policy variables in the values.
    pub(crate) fn variable_keys(&self) -> Vec<&str> {
        match &self.test {
            Test::Text(patterns) | Test::TextIgnoringCase(patterns) => {
                patterns.iter().flat_map(Pattern::keys).collect()
            }
            Test::Arn(patterns) => patterns.iter().flat_map(ArnPattern::keys).collect(),
            Test::Number(..)
            | Test::Instant(..)
            | Test::Bool(_)
            | Test::Binary(_)
            | Test::Network(_)
            | Test::Null(_) => Vec::new(),
        }
    }
}

/// AWS counts a set of empty strings as an empty set.
fn is_blank(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.is_empty())
}

impl Test {
    /// Whether any of the policy's values fits this value of the request.
    fn hits(&self, value: &Value, facts: &Facts<'_>) -> bool {
        match self {
            Self::Text(patterns) => {
                let text = value.text();
                patterns.iter().any(|pattern| pattern.matches(&text, facts))
            }
            Self::TextIgnoringCase(patterns) => {
                let text = value.text().to_lowercase();
                patterns.iter().any(|pattern| pattern.matches(&text, facts))
            }
            Self::Number(comparison, numbers) => value
                .as_number()
                .is_some_and(|left| numbers.iter().any(|right| comparison.holds(&left, right))),
            Self::Instant(comparison, instants) => value
                .as_instant()
                .is_some_and(|left| instants.iter().any(|right| comparison.holds(&left, right))),
            Self::Bool(truths) => value.as_bool().is_some_and(|truth| truths.contains(&truth)),
            Self::Binary(wanted) => {
                value.as_binary().is_some_and(|bytes| wanted.iter().any(|want| want[..] == bytes[..]))
            }
            Self::Network(networks) => {
                value.as_ip().is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
            Self::Arn(patterns) => {
                let text = value.text();
                let arn = SplitArn::new(&text);
                patterns.iter().any(|pattern| pattern.matches(arn, facts))
            }
            // Presence is decided before values are looked at.
            Self::Null(_) => false,
        }
    }
}
