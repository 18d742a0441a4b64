//! Lists in pages: `NextToken`, `MaxResults`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_frontdoor::JsonError;
use serde_json::{Map, Value, json};

use super::error::invalid_input;

/// The most that a page has, and what it has when nobody says (`MaxResults` in the API reference).
const ITEMS_MAX: usize = 20;

/// Which page is wanted.
pub(super) struct Wanted {
    pub(super) token: Option<String>,
    pub(super) max: Option<i64>,
}

/// One page under this name, of items in the order of their keys.
pub(super) fn page(
    name: &str,
    items: impl IntoIterator<Item = (String, Value)>,
    wanted: Wanted,
) -> Result<Value, JsonError> {
    let after = wanted.token.map(|token| read(&token)).transpose()?;
    let max = match wanted.max {
        None => ITEMS_MAX,
        Some(max) => {
            usize::try_from(max).ok().filter(|max| (1..=ITEMS_MAX).contains(max)).ok_or_else(|| {
                invalid_input(
                    "INVALID_PATTERN",
                    format!("MaxResults must be from 1 to {ITEMS_MAX}, not {max}."),
                )
            })?
        }
    };
    let rest = items.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let mut rest: Vec<(String, Value)> = rest.collect();
    rest.sort_by(|one, other| one.0.cmp(&other.0));
    let more = rest.len() > max;
    rest.truncate(max);
    let last = rest.last().map(|(key, _)| STANDARD.encode(key));
    let mut answer = Map::new();
    answer.insert(name.to_owned(), rest.into_iter().map(|(_, item)| item).collect());
    if let Some(last) = last.filter(|_| more) {
        answer.insert("NextToken".to_owned(), json!(last));
    }
    Ok(Value::Object(answer))
}

fn read(token: &str) -> Result<String, JsonError> {
    let read = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    read.ok_or_else(|| {
        let message = "You provided an invalid NextToken.";
        invalid_input("INVALID_PAGINATION_TOKEN", message)
    })
}
