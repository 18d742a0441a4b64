//! Lists in pages: `Marker`, `PageSize`, `NextMarker`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Outcome, error};

/// How many items a page has when nobody says, and at most ("PageSize": 1 to 400).
const MOST_ITEMS: usize = 400;

/// A page, and where the next one begins.
pub(super) type Page<T> = (Option<Vec<T>>, Option<String>);

/// The page after `marker`, in the order of the items' keys.
pub(super) fn page<T>(
    mut items: Vec<(String, T)>,
    marker: Option<&str>,
    size: Option<i64>,
) -> Outcome<Page<T>> {
    let after = marker.map(read_marker).transpose()?;
    let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(MOST_ITEMS).clamp(1, MOST_ITEMS);
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    items.retain(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let more = items.len() > size;
    items.truncate(size);
    let next = items.last().filter(|_| more).map(|(key, _)| STANDARD.encode(key));
    Ok((Some(items.into_iter().map(|(_, item)| item).collect()), next))
}

fn read_marker(marker: &str) -> Outcome<String> {
    let read = STANDARD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    read.ok_or_else(|| error::validation(format!("'{marker}' is not a valid marker")))
}
