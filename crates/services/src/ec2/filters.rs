//! The one engine of `Filter.N.Name` and `Filter.N.Value.M`.
//!
//! Rules from "List and filter using the CLI and API" in the EC2 user guide: filters are joined by AND, the values of
//! one by OR; `*` stands for any characters, `?` for one, a backslash takes their meaning away; values distinguish
//! case. What a filter looks at is what the response shows.

use postern_wire::{AwsError, ec2};

/// How many values the filters of one request may have.
const MAX_VALUES: usize = 200;

/// A filter's name, and what a row has for it.
pub type FilterTable<R> = &'static [(&'static str, fn(&R) -> Vec<String>)];

/// A row of a listing.
pub trait Row: Sized + 'static {
    /// Its filters.
    const FILTERS: FilterTable<Self>;
    /// Whether the filters `tag:<key>` and `tag-key` are there.
    const TAGGED: bool = true;

    /// What rows are ordered by; no two rows have the same.
    fn key(&self) -> String;

    /// Its tags.
    fn tags(&self) -> &[ec2::Tag] {
        &[]
    }
}

/// The names of a row's filters.
pub fn names<R: Row>() -> Vec<&'static str> {
    let tags: &[&str] = if R::TAGGED { &["tag:Name", "tag-key"] } else { &[] };
    R::FILTERS.iter().map(|(name, _)| *name).chain(tags.iter().copied()).collect()
}

/// The value of a member that is one text.
pub fn text(value: Option<&String>) -> Vec<String> {
    value.cloned().into_iter().collect()
}

/// The value of a member that is a boolean or a number.
pub fn shown(value: Option<impl ToString>) -> Vec<String> {
    value.map(|value| value.to_string()).into_iter().collect()
}

/// The values of a member of every item of a list.
pub fn each<T, V: ToString>(items: Option<&Vec<T>>, value: impl Fn(&T) -> Option<V>) -> Vec<String> {
    items.into_iter().flatten().filter_map(|item| value(item).map(|value| value.to_string())).collect()
}

/// For what AWS can filter by and nothing in Postern has.
pub fn none<R>(_: &R) -> Vec<String> {
    Vec::new()
}

/// The rows that pass all filters.
pub fn retain<R: Row>(mut rows: Vec<R>, filters: &[ec2::Filter]) -> Result<Vec<R>, AwsError> {
    if filters.iter().map(|filter| filter.values.len()).sum::<usize>() > MAX_VALUES {
        return Err(AwsError::new(
            "FilterLimitExceeded",
            format!("The maximum number of filter values specified on a single call is {MAX_VALUES}"),
        ));
    }
    for filter in filters {
        let name = filter.name.as_deref().unwrap_or("null");
        let values = values_of::<R>(name).ok_or_else(|| invalid(name))?;
        if filter.values.is_empty() {
            return Err(AwsError::new("InvalidParameterValue", format!("The filter '{name}' has no values")));
        }
        let patterns: Vec<Vec<Step>> = filter.values.iter().map(|pattern| steps(pattern)).collect();
        rows.retain(|row| {
            let found = values.of(row);
            patterns.iter().any(|pattern| found.iter().any(|value| matches(pattern, value)))
        });
    }
    Ok(rows)
}

fn invalid(name: &str) -> AwsError {
    AwsError::new("InvalidParameterValue", format!("The filter '{name}' is invalid"))
}

/// Where a filter's values come from.
enum Values<'a, R> {
    Member(fn(&R) -> Vec<String>),
    TagKeys,
    Tag(&'a str),
}

fn values_of<R: Row>(name: &str) -> Option<Values<'_, R>> {
    if let Some((_, values)) = R::FILTERS.iter().find(|(known, _)| *known == name) {
        return Some(Values::Member(*values));
    }
    match name.split_once(':') {
        Some(("tag", key)) if R::TAGGED => Some(Values::Tag(key)),
        None if R::TAGGED && name == "tag-key" => Some(Values::TagKeys),
        Some(_) | None => None,
    }
}

impl<R: Row> Values<'_, R> {
    fn of(&self, row: &R) -> Vec<String> {
        match self {
            Self::Member(values) => values(row),
            Self::TagKeys => row.tags().iter().filter_map(|tag| tag.key.clone()).collect(),
            Self::Tag(key) => {
                let tags = row.tags().iter().filter(|tag| tag.key.as_deref() == Some(*key));
                tags.filter_map(|tag| tag.value.clone()).collect()
            }
        }
    }
}

/// One step of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Any,
    One,
    Exactly(char),
}

fn steps(pattern: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        // Several stars in a row are one.
        if letter == '*' && steps.last() == Some(&Step::Any) {
            continue;
        }
        steps.push(match letter {
            '*' => Step::Any,
            '?' => Step::One,
            '\\' => Step::Exactly(letters.next().unwrap_or('\\')),
            other => Step::Exactly(other),
        });
    }
    steps
}

/// Whether a value has a pattern's form. Costs at most the square of the value's length, whatever the pattern.
fn matches(steps: &[Step], value: &str) -> bool {
    let letters: Vec<char> = value.chars().collect();
    if steps.iter().filter(|step| **step != Step::Any).count() > letters.len() {
        return false;
    }
    let (mut at, mut from) = (0, 0);
    // Where to go back to: the step after the last `*`, and the letter that it takes next.
    let mut retry: Option<(usize, usize)> = None;
    while from < letters.len() {
        match steps.get(at) {
            Some(Step::Any) => {
                retry = Some((at + 1, from));
                at += 1;
                continue;
            }
            Some(Step::One) => {
                (at, from) = (at + 1, from + 1);
                continue;
            }
            Some(Step::Exactly(letter)) if letters.get(from) == Some(letter) => {
                (at, from) = (at + 1, from + 1);
                continue;
            }
            Some(Step::Exactly(_)) | None => {}
        }
        match retry {
            None => return false,
            Some((step, letter)) => {
                (at, from) = (step, letter + 1);
                retry = Some((step, letter + 1));
            }
        }
    }
    steps.iter().skip(at).all(|step| *step == Step::Any)
}

#[cfg(test)]
mod tests {
    use super::{matches, steps};
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_in_the_user_guide() {
        for (pattern, value, expected) in [
            ("web", "web", true),
            ("web", "Web", false),
            ("web", "webs", false),
            ("w*", "web", true),
            ("*b", "web", true),
            ("*e*", "web", true),
            ("w?b", "web", true),
            ("w?b", "weeb", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            (r"\*amazon\?\\", r"*amazon?\", true),
            (r"\*", "x", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(&steps(pattern), value), expected, "{pattern} {value}");
        }
    }

    /// The definition, without care for cost.
    fn naive(pattern: &[char], value: &[char]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some(('*', rest)) => (0..=value.len()).any(|n| naive(rest, &value[n..])),
            Some(('?', rest)) => !value.is_empty() && naive(rest, &value[1..]),
            Some((letter, rest)) => value.first() == Some(letter) && naive(rest, &value[1..]),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*?]{0,8}", value in "[ab]{0,8}") {
            let letters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&steps(&pattern), &value), naive(&letters(&pattern), &letters(&value)));
        }
    }
}
