//! What AWS's services know: their actions, and the condition keys that requests to them carry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use crate::glob::Glob;

const TEXT: &str = include_str!("catalogue.txt");

/// The farthest that a misspelt name is looked for, in letters.
const NEAR: usize = 2;

pub(super) struct Catalogue {
    /// By name; in lower case the names of its actions, and how they are written.
    services: BTreeMap<&'static str, BTreeMap<String, &'static str>>,
    /// Services whose actions are not listed.
    others: BTreeSet<&'static str>,
    /// By lower-case name.
    keys: BTreeMap<String, KeyFacts>,
}

/// What is known of a condition key.
#[derive(Debug)]
pub(super) struct KeyFacts {
    pub(super) name: &'static str,
    pub(super) value_type: ValueType,
    pub(super) multivalued: bool,
    /// The actions whose requests carry it, in lower case and without their service; empty if they are many.
    pub(super) actions: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    Text,
    Bool,
    Number,
    Date,
    Address,
    Arn,
}

/// What is known of an action pattern.
pub(super) enum ActionFacts {
    /// There is such an action, or it cannot be said.
    Known,
    /// No service has this name.
    UnknownService,
    /// The service has no such action; perhaps this is meant.
    UnknownAction(Option<String>),
}

impl Catalogue {
    pub(super) fn get() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(Self::read)
    }

    fn read() -> Self {
        let mut catalogue =
            Self { services: BTreeMap::new(), others: BTreeSet::new(), keys: BTreeMap::new() };
        let mut service = "";
        for line in TEXT.lines() {
            let mut words = line.split(' ');
            match words.next() {
                Some("service") => {
                    service = words.next().unwrap_or_default();
                    catalogue.services.entry(service).or_default();
                }
                Some("actions") => {
                    let named = words.map(|name| (name.to_ascii_lowercase(), name));
                    catalogue.services.entry(service).or_default().extend(named);
                }
                Some("key") => catalogue.add_key(words),
                Some("others") => catalogue.others.extend(words),
                Some(_) | None => {}
            }
        }
        catalogue
    }

    fn add_key(&mut self, mut words: std::str::Split<'static, char>) {
        let (Some(name), Some(type_name)) = (words.next(), words.next()) else { return };
        let Some((value_type, multivalued)) = ValueType::read(type_name) else { return };
        let actions = words.map(str::to_ascii_lowercase).collect();
        self.keys.insert(name.to_lowercase(), KeyFacts { name, value_type, multivalued, actions });
    }

    /// What there is to an action pattern in lower case.
    pub(super) fn action(&self, service: &str, name: &str) -> ActionFacts {
        let Some(actions) = self.services.get(service).filter(|actions| !actions.is_empty()) else {
            return if self.others.contains(service) {
                ActionFacts::Known
            } else {
                ActionFacts::UnknownService
            };
        };
        let pattern = Glob::new(name);
        if actions.keys().any(|action| pattern.matches(action)) {
            return ActionFacts::Known;
        }
        let near = nearest(name, actions.keys().map(String::as_str));
        let near = near.and_then(|near| actions.get(near)).map(|action| format!("{service}:{action}"));
        ActionFacts::UnknownAction(near)
    }

    /// What is known of a key in lower case. A key with a name of the policy's own is known by its family.
    pub(super) fn key(&self, key: &str) -> Option<&KeyFacts> {
        self.keys.get(key).or_else(|| {
            let separator = key.find('/').or_else(|| key.rfind(':'))?;
            self.keys.get(&format!("{}*", &key[..=separator]))
        })
    }

    /// A known key that differs from this one by a letter or two.
    pub(super) fn key_like(&self, key: &str) -> Option<&'static str> {
        // Every service has its own keys; one of another is not what was meant.
        let prefix = &key[..=key.find(':')?];
        let same_prefix = self.keys.keys().map(String::as_str).filter(|known| known.starts_with(prefix));
        nearest(key, same_prefix).and_then(|near| self.keys.get(near)).map(|facts| facts.name)
    }

    /// Whether all keys of a prefix are listed.
    pub(super) fn lists_keys_of(&self, prefix: &str) -> bool {
        self.services.contains_key(prefix)
    }

    /// Whether keys may begin with this prefix.
    pub(super) fn is_prefix(&self, prefix: &str) -> bool {
        // Identity providers have keys that begin with their names.
        self.lists_keys_of(prefix)
            || self.others.contains(prefix)
            || prefix.contains(['.', '/'])
            || prefix == "saml"
    }
}

impl ValueType {
    /// What the names of the operators begin with that compare it.
    pub(super) fn operators(self) -> &'static str {
        match self {
            Self::Text => "String",
            Self::Bool => "Bool",
            Self::Number => "Numeric",
            Self::Date => "Date",
            Self::Address => "IpAddress",
            Self::Arn => "ARN",
        }
    }

    fn read(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "string" => (Self::Text, false),
            "strings" => (Self::Text, true),
            "bool" => (Self::Bool, false),
            "number" => (Self::Number, false),
            "date" => (Self::Date, false),
            "address" => (Self::Address, false),
            "arn" => (Self::Arn, false),
            "arns" => (Self::Arn, true),
            _ => return None,
        })
    }
}

/// The candidate that the fewest letters tell apart from a name, and not more than a few.
fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let near = candidates.filter(|candidate| candidate.len().abs_diff(name.len()) <= NEAR);
    let measured = near.map(|candidate| (distance(name, candidate), candidate));
    measured.filter(|(letters, _)| *letters <= NEAR).min().map(|(_, candidate)| candidate)
}

/// How many letters have to be put in, taken out, replaced, or swapped with their neighbour.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (line, from) in left.iter().enumerate() {
        let mut row = vec![line + 1];
        for (column, to) in right.iter().enumerate() {
            let before = &rows[line];
            let replaced = before[column] + usize::from(from != to);
            let mut least = replaced.min(before[column + 1] + 1).min(row[column] + 1);
            let swapped = line > 0 && column > 0 && *from == right[column - 1] && left[line - 1] == *to;
            if swapped {
                least = least.min(rows[line - 1][column - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_catalogue_is_read() {
        let catalogue = Catalogue::get();
        let count = |word: &str| TEXT.lines().filter(|line| line.starts_with(&format!("{word} "))).count();
        assert_eq!(catalogue.services.len(), count("service"));
        assert_eq!(catalogue.keys.len(), count("key"));
        let others: usize = TEXT
            .lines()
            .filter_map(|line| line.strip_prefix("others "))
            .map(|line| line.split(' ').count())
            .sum();
        assert_eq!(catalogue.others.len(), others);
        for (service, actions) in &catalogue.services {
            assert_eq!(actions.is_empty(), *service == "aws", "{service}");
        }
        let known = ["#", "service", "actions", "key", "others", ""];
        assert!(TEXT.lines().all(|line| known.contains(&line.split(' ').next().unwrap_or_default())));
    }

    #[test]
    fn letters_are_counted() {
        for (left, right, letters) in [
            ("", "", 0),
            ("a", "", 1),
            ("abc", "abd", 1),
            ("getobjct", "getobject", 1),
            ("ab", "ba", 1),
            ("vcpe", "vpce", 1),
        ] {
            assert_eq!(distance(left, right), letters, "{left} {right}");
            assert_eq!(distance(right, left), letters, "{right} {left}");
        }
    }
}
