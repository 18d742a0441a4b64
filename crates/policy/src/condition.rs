//! Compiled conditions: one operator on one key.
//!
//! Missing keys: a positive operator is false, a negated one true, `…IfExists` true, `ForAllValues` true,
//! `ForAnyValue` false; `Null` is about presence itself.
//! Without a set operator a multivalued key meets a positive operator when any of its values does, and a
//! negated operator when none does, so that a negated operator is always the complement of its positive one.

use std::sync::Arc;

use ipnet::IpNet;
use time::OffsetDateTime;

use crate::key::Key;
use crate::pattern::{ArnPattern, Pattern, SplitArn};
use crate::place::At;
use crate::request::Facts;
use crate::value::OwnNumber;
use crate::value::View;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    /// As written.
    pub(crate) operator: Arc<str>,
    pub(crate) key: Key,
    /// As written; booleans and numbers too.
    pub(crate) values: Vec<String>,
    pub(crate) quantifier: Option<Quantifier>,
    pub(crate) negated: bool,
    pub(crate) if_exists: bool,
    pub(crate) test: Test,
    /// Of the key.
    pub(crate) at: At,
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
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    Text(Vec<Pattern>),
    TextIgnoringCase(Vec<Pattern>),
    Number(Comparison, Vec<OwnNumber>),
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
        let found = facts.lookup(&self.key);
        if let Test::Null(wanted) = &self.test {
            return wanted.contains(&found.is_none());
        }
        let Some(found) = found else { return self.holds_without_value() };
        let hit = |value: View<'_>| self.test.hits(value, facts) != self.negated;
        match self.quantifier {
            Some(_) if found.values().all(View::is_blank) => self.holds_without_value(),
            None if self.negated => found.values().all(hit),
            None | Some(Quantifier::ForAnyValue) => found.values().any(hit),
            Some(Quantifier::ForAllValues) => found.values().all(hit),
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

impl Test {
    /// Whether any of the policy's values fits this value of the request.
    fn hits(&self, value: View<'_>, facts: &Facts<'_>) -> bool {
        match self {
            Self::Text(patterns) | Self::TextIgnoringCase(patterns) => {
                value.with_text(|text| patterns.iter().any(|pattern| pattern.matches(text, facts)))
            }
            Self::Number(comparison, numbers) => {
                value.is_number(|left| numbers.iter().any(|right| comparison.holds(&left, &right.view())))
            }
            Self::Instant(comparison, instants) => value
                .as_instant()
                .is_some_and(|left| instants.iter().any(|right| comparison.holds(&left, right))),
            Self::Bool(truths) => value.as_bool().is_some_and(|truth| truths.contains(&truth)),
            Self::Binary(wanted) => value.is_binary(|bytes| wanted.iter().any(|want| want[..] == bytes[..])),
            Self::Network(networks) => {
                value.as_ip().is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
            Self::Arn(patterns) => value.with_text(|text| {
                let arn = SplitArn::new(text);
                patterns.iter().any(|pattern| pattern.matches(arn, facts))
            }),
            // Presence is decided before values are looked at.
            Self::Null(_) => false,
        }
    }
}
