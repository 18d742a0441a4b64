//! Lists in pages: `Marker`, `MaxItems`, `IsTruncated`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use postern_wire::AwsError;

use super::error::validation;

/// How many items a page has when nobody says ("MaxItems" in the IAM API reference).
const DEFAULT_ITEMS: usize = 100;

/// A page of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub items: Vec<T>,
    pub is_truncated: Option<bool>,
    /// Where the next page begins.
    pub marker: Option<String>,
}

/// The page after `marker` of items in the order of their keys.
pub(super) fn page<'k, T>(
    items: impl Iterator<Item = (&'k str, T)>,
    marker: Option<&str>,
    max_items: Option<i64>,
) -> Result<Page<T>, AwsError> {
    let after = marker.map(read_marker).transpose()?;
    let max = max_items.and_then(|max| usize::try_from(max).ok()).unwrap_or(DEFAULT_ITEMS).max(1);
    let mut rest = items.filter(|(key, _)| after.as_deref().is_none_or(|after| *key > after));
    let mut items = Vec::new();
    let mut last = "";
    for (key, item) in rest.by_ref().take(max) {
        items.push(item);
        last = key;
    }
    let more = rest.next().is_some();
    Ok(Page { items, is_truncated: Some(more), marker: more.then(|| STANDARD.encode(last)) })
}

fn read_marker(marker: &str) -> Result<String, AwsError> {
    let read = STANDARD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    read.ok_or_else(|| validation(format!("Invalid Marker: {marker}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = ["a", "b", "c", "d", "e"];
        let items = || all.iter().map(|key| (*key, *key));
        let mut seen = Vec::new();
        let mut marker = None;
        loop {
            let next = page(items(), marker.as_deref(), Some(2)).unwrap();
            seen.extend(next.items);
            assert_eq!(next.is_truncated, Some(next.marker.is_some()));
            marker = next.marker;
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        assert_eq!(page(items(), Some("%"), None).unwrap_err().code, "ValidationError");
    }
}
