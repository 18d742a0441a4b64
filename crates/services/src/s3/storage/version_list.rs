//! Ordered listings of all versions of a bucket's objects: by key, and of each key the newest first.

use std::ops::Bound;

use redb::ReadableTable;

use super::Store;
use super::error::StoreError;
use super::index::{BUCKETS, NULLS, OBJECTS, VERSIONS};
use super::list::{ListAsk, after_all, common_prefix, first_bound};
use super::object_in;
use super::record::Version;
use super::version::{Which, age_of};

/// One version in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// What it is.
    pub version: Version,
    /// Whether it is the newest of its key.
    pub latest: bool,
}

/// One page of a listing of versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionPage {
    /// Versions, in order.
    pub versions: Vec<Listed>,
    /// Common prefixes, in order.
    pub prefixes: Vec<String>,
    /// The last entry of this page, if there are more after it: a key and which version, or a common prefix.
    pub next: Option<(String, Option<Which>)>,
}

/// Where a listing goes on.
struct Start {
    /// In the table of what is current.
    current: Bound<String>,
    /// In that of the other versions.
    behind: Bound<(String, u64)>,
}

impl Start {
    fn at(key: Bound<String>) -> Self {
        let behind = match &key {
            Bound::Included(key) => Bound::Included((key.clone(), 0)),
            // Behind all versions of the key.
            Bound::Excluded(key) => Bound::Excluded((key.clone(), u64::MAX)),
            Bound::Unbounded => Bound::Unbounded,
        };
        Self { current: key, behind }
    }
}

/// What a table has next: the key, and for one that is not current its age.
struct Head {
    key: String,
    age: Option<u64>,
    record: Vec<u8>,
}

impl Store {
    /// Lists the versions of a bucket's objects; with `behind` from behind that version of key `ask.after`, else from
    /// behind all versions of it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub fn list_versions(
        &self,
        bucket: &str,
        ask: &ListAsk,
        behind: Option<Which>,
    ) -> Result<VersionPage, StoreError> {
        self.inner.index.read(|txn| {
            if txn.open_table(BUCKETS)?.get(bucket)?.is_none() {
                return Err(StoreError::NoSuchBucket(bucket.to_owned()));
            }
            let tables = Tables {
                bucket,
                objects: txn.open_table(OBJECTS)?,
                versions: txn.open_table(VERSIONS)?,
                nulls: txn.open_table(NULLS)?,
            };
            let start = match behind {
                Some(which) if ask.after >= ask.prefix => Some(tables.behind(&ask.after, which)?),
                Some(_) | None => first_bound(ask).map(Start::at),
            };
            tables.page(ask, start)
        })
    }
}

struct Tables<'a, O, V, N> {
    bucket: &'a str,
    objects: O,
    versions: V,
    nulls: N,
}

impl<O, V, N> Tables<'_, O, V, N>
where
    O: ReadableTable<(&'static str, &'static str), &'static [u8]>,
    V: ReadableTable<(&'static str, &'static str, u64), &'static [u8]>,
    N: ReadableTable<(&'static str, &'static str), u64>,
{
    fn page(&self, ask: &ListAsk, mut next: Option<Start>) -> Result<VersionPage, StoreError> {
        let mut page = VersionPage::default();
        let mut last = None;
        if ask.max == 0 {
            return Ok(page);
        }
        'seek: while let Some(start) = next.take() {
            let mut heads = self.merged(&start)?;
            while let Some(head) = heads.next().transpose()? {
                if !head.key.starts_with(&ask.prefix) {
                    break 'seek;
                }
                if page.versions.len() + page.prefixes.len() == ask.max {
                    page.next = last;
                    return Ok(page);
                }
                if let Some(rolled) = common_prefix(&head.key, &ask.prefix, &ask.delimiter) {
                    page.prefixes.push(rolled.to_owned());
                    last = Some((rolled.to_owned(), None));
                    next = after_all(rolled).map(|key| Start::at(Bound::Included(key)));
                    continue 'seek;
                }
                let listed = self.listed(head)?;
                let which = listed.version.id().map_or(Which::Null, Which::Id);
                last = Some((listed.key.clone(), Some(which)));
                page.versions.push(listed);
            }
        }
        Ok(page)
    }

    /// Both tables in one order.
    fn merged(
        &self,
        start: &Start,
    ) -> Result<impl Iterator<Item = Result<Head, StoreError>> + use<'_, O, V, N>, StoreError> {
        let current = start.current.as_ref().map(|key| (self.bucket, key.as_str()));
        let current = self.objects.range::<(&str, &str)>((current, Bound::Unbounded))?;
        let current = current.map(|entry| -> Result<_, StoreError> {
            let (name, record) = entry?;
            let (bucket, key) = name.value();
            let head = Head { key: key.to_owned(), age: None, record: record.value().to_vec() };
            Ok((bucket.to_owned(), head))
        });
        let behind = start.behind.as_ref().map(|(key, age)| (self.bucket, key.as_str(), *age));
        let behind = self.versions.range::<(&str, &str, u64)>((behind, Bound::Unbounded))?;
        let behind = behind.map(|entry| -> Result<_, StoreError> {
            let (name, record) = entry?;
            let (bucket, key, age) = name.value();
            let head = Head { key: key.to_owned(), age: Some(age), record: record.value().to_vec() };
            Ok((bucket.to_owned(), head))
        });
        let mine = |entry: &Result<(String, Head), StoreError>| {
            entry.as_ref().map_or(true, |(bucket, _)| bucket == self.bucket)
        };
        let mut current = current.take_while(mine).map(|entry| entry.map(|(_, head)| head)).peekable();
        let mut behind = behind.take_while(mine).map(|entry| entry.map(|(_, head)| head)).peekable();
        Ok(std::iter::from_fn(move || match (current.peek(), behind.peek()) {
            (Some(Err(_)), _) | (Some(_), None) => current.next(),
            (Some(Ok(first)), Some(Ok(other))) if first.key <= other.key => current.next(),
            (_, Some(_)) => behind.next(),
            (None, None) => None,
        }))
    }

    fn listed(&self, head: Head) -> Result<Listed, StoreError> {
        let Head { key, age, record } = head;
        let Some(age) = age else {
            let version = Version::Object(serde_json::from_slice(&record)?);
            return Ok(Listed { key, version, latest: true });
        };
        let version: Version = serde_json::from_slice(&record)?;
        // INVARIANT: only a delete marker can be the newest without being in the table of what is current.
        let latest = match &version {
            Version::Object(_) => false,
            Version::Marker(_) => {
                let newest = self.versions.range((self.bucket, key.as_str(), 0)..)?.next().transpose()?;
                let is_newest = newest.is_some_and(|(name, _)| name.value().2 == age);
                is_newest && self.objects.get((self.bucket, key.as_str()))?.is_none()
            }
        };
        Ok(Listed { key, version, latest })
    }

    /// Where what is older than this version begins. It may have gone since it was listed: what came behind it then
    /// still does, even if it is current by now.
    fn behind(&self, key: &str, which: Which) -> Result<Start, StoreError> {
        let current = object_in(&self.objects, self.bucket, key)?;
        let without_current = |age| Start {
            current: Bound::Excluded(key.to_owned()),
            behind: Bound::Excluded((key.to_owned(), age)),
        };
        let all_but_current =
            Start { current: Bound::Excluded(key.to_owned()), behind: Bound::Included((key.to_owned(), 0)) };
        Ok(match (which, current.as_ref().map(|current| current.version)) {
            (Which::Latest, _) => Start::at(Bound::Excluded(key.to_owned())),
            (Which::Null, Some(None)) => all_but_current,
            (Which::Null, _) => match self.nulls.get((self.bucket, key))? {
                Some(age) => without_current(age.value()),
                // It had no place of its own, so that only the beginning is sure to miss nothing.
                None => Start::at(Bound::Included(key.to_owned())),
            },
            (Which::Id(id), Some(Some(current))) if current.rank() >= id.rank() => {
                without_current(age_of(id.rank()))
            }
            (Which::Id(_), Some(Some(_))) => Start::at(Bound::Included(key.to_owned())),
            (Which::Id(id), Some(None)) => {
                let age = age_of(id.rank());
                // A null version on top of it is newer. Where it is gone, that has come up from behind it.
                match self.versions.get((self.bucket, key, age))? {
                    Some(_) => without_current(age),
                    None => Start::at(Bound::Included(key.to_owned())),
                }
            }
            (Which::Id(id), None) => without_current(age_of(id.rank())),
        })
    }
}
