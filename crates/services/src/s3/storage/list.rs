//! Ordered listings of buckets, objects and uploads: prefix, delimiter, resumption.
//!
//! Order is that of the keys' UTF-8 bytes, as in S3. Keys that share what comes after the prefix up to the delimiter
//! are rolled up into one common prefix, which counts as one entry and is skipped over with a single seek.

use std::ops::Bound;

use super::Store;
use super::error::StoreError;
use super::index::{BUCKETS, OBJECTS, UPLOADS};
use super::record::{Bucket, Object, Upload};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct ListAsk {
    /// Only keys that begin with this.
    pub prefix: String,
    /// Roll up at the first occurrence of this after the prefix; empty for no rolling up.
    pub delimiter: String,
    /// Only entries after this key or common prefix; empty for all.
    pub after: String,
    /// At most this many entries.
    pub max: usize,
}

/// One page of a listing of objects.
#[derive(Clone, Debug, Default)]
pub struct ObjectPage {
    /// Objects, in order.
    pub objects: Vec<(String, Object)>,
    /// Common prefixes, in order.
    pub prefixes: Vec<String>,
    /// The last entry of this page, if there are more after it.
    pub next: Option<String>,
}

/// One page of a listing of uploads.
#[derive(Clone, Debug, Default)]
pub struct UploadPage {
    /// (key, upload id, upload), in order of key, then of initiation.
    pub uploads: Vec<(String, String, Upload)>,
    /// Common prefixes, in order.
    pub prefixes: Vec<String>,
    /// The key and upload id of the last entry, if there are more after it; the id is empty for a common prefix.
    pub next: Option<(String, String)>,
}

/// The common prefix that `key` is rolled up into, if any.
pub(super) fn common_prefix<'k>(key: &'k str, prefix: &str, delimiter: &str) -> Option<&'k str> {
    if delimiter.is_empty() {
        return None;
    }
    let found = key.get(prefix.len()..)?.find(delimiter)?;
    key.get(..prefix.len() + found + delimiter.len())
}

/// The least string that is greater than everything beginning with `prefix`; `None` if there is none.
pub(super) fn after_all(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let mut next = u32::from(last) + 1;
        if next == 0xD800 {
            next = 0xE000;
        }
        if let Some(next) = char::from_u32(next) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

/// Where a listing begins: `Some((bound, key))`, or `None` if nothing can follow.
pub(super) fn first_bound(ask: &ListAsk) -> Option<Bound<String>> {
    if ask.after.is_empty() || ask.after < ask.prefix {
        return Some(Bound::Included(ask.prefix.clone()));
    }
    // Resuming after a common prefix skips all that it stands for.
    match common_prefix(&ask.after, &ask.prefix, &ask.delimiter) {
        Some(rolled) if rolled == ask.after && ask.after.starts_with(&ask.prefix) => {
            after_all(rolled).map(Bound::Included)
        }
        Some(_) | None => Some(Bound::Excluded(ask.after.clone())),
    }
}

impl Store {
    /// Lists objects of a bucket. May take as long as a disk needs to read a page of the index per entry.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub fn list_objects(&self, bucket: &str, ask: &ListAsk) -> Result<ObjectPage, StoreError> {
        self.inner.index.read(|txn| {
            if txn.open_table(BUCKETS)?.get(bucket)?.is_none() {
                return Err(StoreError::NoSuchBucket(bucket.to_owned()));
            }
            let objects = txn.open_table(OBJECTS)?;
            let mut page = ObjectPage::default();
            let (mut last, mut bound) = (None, first_bound(ask));
            if ask.max == 0 {
                return Ok(page);
            }
            'seek: while let Some(start) = bound.take() {
                let start = start.as_ref().map(|key| (bucket, key.as_str()));
                for entry in objects.range::<(&str, &str)>((start, Bound::Unbounded))? {
                    let (key, record) = entry?;
                    let (of, key) = key.value();
                    if of != bucket || !key.starts_with(&ask.prefix) {
                        break 'seek;
                    }
                    if page.objects.len() + page.prefixes.len() == ask.max {
                        page.next = last;
                        return Ok(page);
                    }
                    match common_prefix(key, &ask.prefix, &ask.delimiter) {
                        Some(rolled) => {
                            page.prefixes.push(rolled.to_owned());
                            last = Some(rolled.to_owned());
                            bound = after_all(rolled).map(Bound::Included);
                            continue 'seek;
                        }
                        None => {
                            page.objects.push((key.to_owned(), serde_json::from_slice(record.value())?));
                            last = Some(key.to_owned());
                        }
                    }
                }
            }
            Ok(page)
        })
    }

    /// Lists the uploads in progress of a bucket; with `after_id` the entry after that upload of key `ask.after`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub fn list_uploads(
        &self,
        bucket: &str,
        ask: &ListAsk,
        after_id: &str,
    ) -> Result<UploadPage, StoreError> {
        self.inner.index.read(|txn| {
            if txn.open_table(BUCKETS)?.get(bucket)?.is_none() {
                return Err(StoreError::NoSuchBucket(bucket.to_owned()));
            }
            let uploads = txn.open_table(UPLOADS)?;
            let mut page = UploadPage::default();
            let mut last = None;
            // A key marker without an upload id skips all uploads of that key.
            let mut bound = match (ask.after.as_str(), after_id) {
                (key, id) if !key.is_empty() && !id.is_empty() && key >= ask.prefix.as_str() => {
                    Some(Bound::Excluded((key.to_owned(), id.to_owned())))
                }
                _ => first_bound(ask).map(|bound| match bound {
                    Bound::Excluded(key) => Bound::Included((format!("{key}\0"), String::new())),
                    Bound::Included(key) => Bound::Included((key, String::new())),
                    Bound::Unbounded => Bound::Unbounded,
                }),
            };
            if ask.max == 0 {
                return Ok(page);
            }
            'seek: while let Some(start) = bound.take() {
                let start = start.as_ref().map(|(key, id)| (bucket, key.as_str(), id.as_str()));
                for entry in uploads.range::<(&str, &str, &str)>((start, Bound::Unbounded))? {
                    let (key, record) = entry?;
                    let (of, key, id) = key.value();
                    if of != bucket || !key.starts_with(&ask.prefix) {
                        break 'seek;
                    }
                    if page.uploads.len() + page.prefixes.len() == ask.max {
                        page.next = last;
                        return Ok(page);
                    }
                    match common_prefix(key, &ask.prefix, &ask.delimiter) {
                        Some(rolled) => {
                            page.prefixes.push(rolled.to_owned());
                            last = Some((rolled.to_owned(), String::new()));
                            bound = after_all(rolled).map(|key| Bound::Included((key, String::new())));
                            continue 'seek;
                        }
                        None => {
                            let upload = serde_json::from_slice(record.value())?;
                            page.uploads.push((key.to_owned(), id.to_owned(), upload));
                            last = Some((key.to_owned(), id.to_owned()));
                        }
                    }
                }
            }
            Ok(page)
        })
    }

    /// Lists an account's buckets in order of name, after `after`, at most `max`; also says whether there are more.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn list_buckets(
        &self,
        owner: &str,
        prefix: &str,
        after: &str,
        max: usize,
    ) -> Result<(Vec<(String, Bucket)>, bool), StoreError> {
        self.inner.index.read(|txn| {
            let buckets = txn.open_table(BUCKETS)?;
            let mut page = Vec::new();
            let start = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
            for entry in buckets.range::<&str>((start, Bound::Unbounded))? {
                let (name, record) = entry?;
                if !name.value().starts_with(prefix) {
                    break;
                }
                let bucket: Bucket = serde_json::from_slice(record.value())?;
                if bucket.owner != owner {
                    continue;
                }
                if page.len() == max {
                    return Ok((page, true));
                }
                page.push((name.value().to_owned(), bucket));
            }
            Ok((page, false))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_all_is_the_least_upper_bound() {
        for (prefix, bound) in [("a", "b"), ("a/", "a0"), ("é", "ê"), ("\u{D7FF}", "\u{E000}")] {
            assert_eq!(after_all(prefix).as_deref(), Some(bound), "{prefix:?}");
        }
        assert_eq!(after_all("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(after_all("\u{10FFFF}"), None);
        assert_eq!(after_all(""), None);
    }

    #[test]
    fn rolling_up() {
        assert_eq!(common_prefix("a/b/c", "", "/"), Some("a/"));
        assert_eq!(common_prefix("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(common_prefix("a/b", "a/", "/"), None);
        assert_eq!(common_prefix("axyb", "a", "xy"), Some("axy"));
        assert_eq!(common_prefix("a", "", ""), None);
    }
}
