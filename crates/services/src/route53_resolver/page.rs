//! Lists in pages: `MaxResults`, `NextToken`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_frontdoor::JsonError;
use serde_json::{Value, json};

use super::error;

/// "If you don't specify a value for `MaxResults`, Resolver returns up to 100", which is also the most.
const ITEMS_MAX: usize = 100;

/// A page of a list, under its name. Items come with keys, in the order of which they are listed: what comes or goes
/// between two pages moves nothing else.
pub(super) fn page(
    name: &str,
    items: impl IntoIterator<Item = (String, Value)>,
    token: Option<&str>,
    max: Option<i64>,
) -> Result<Value, JsonError> {
    let after = token.map(read).transpose()?;
    let max = match max {
        None => ITEMS_MAX,
        Some(given) => {
            let fits = usize::try_from(given).ok().filter(|max| (1..=ITEMS_MAX).contains(max));
            let wrong = || format!("MaxResults must be from 1 to {ITEMS_MAX}, not {given}.");
            fits.ok_or_else(|| error::invalid_parameter("MaxResults", wrong()))?
        }
    };
    let mut rest: Vec<_> =
        items.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).collect();
    rest.sort_by(|one, other| one.0.cmp(&other.0));
    let more = rest.len() > max;
    rest.truncate(max);
    let last = rest.last().map(|(key, _)| STANDARD.encode(key)).filter(|_| more);
    let items: Vec<Value> = rest.into_iter().map(|(_, item)| item).collect();
    let mut answer = json!({ name: items });
    if let Some(last) = last {
        answer["NextToken"] = json!(last);
    }
    Ok(answer)
}

fn read(token: &str) -> Result<String, JsonError> {
    let read = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    read.ok_or_else(error::invalid_token)
}
