//! Versions of objects: how a key keeps what was written to it before.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/versioning-workflows.html>
//!
//! What a key stands for today is in [`OBJECTS`], whether or not its bucket keeps versions. All that it stood for
//! before, and every delete marker, is in [`VERSIONS`], the newest first.
//!
//! INVARIANT: of a key that has no entry in `OBJECTS` the newest entry in `VERSIONS`, if any, is a delete marker.
//! INVARIANT: ranks go up with each version that is made, so that what is in `OBJECTS` is newer than all of its key in
//! `VERSIONS`. (A null version gets its rank when it goes there.)
//! INVARIANT: one version of a key at most is its null version. If that is in `VERSIONS`, [`NULLS`] says where.

use std::fmt;

use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::index::{Freed, META, NULLS, OBJECTS, VERSIONS, Written};
use super::record::{Marker, Object, Version, Versioning};
use super::{object_in, release, require_bucket};

/// Where the rank that was given last is kept.
const LAST_RANK: &str = "rank";

/// The id of a version, which S3's clients take as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionId {
    /// Keeps the id from being guessed.
    random: u64,
    rank: u64,
}

impl VersionId {
    /// Reads an id as it is written; `None` if none was ever written so.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let (random, rank) = text.split_at_checked(16).filter(|_| plain)?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Self { random: number(random)?, rank: number(rank)? })
    }

    pub(super) fn rank(self) -> u64 {
        self.rank
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.random, self.rank)
    }
}

impl Serialize for VersionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VersionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no version id")))
    }
}

/// Which version of a key is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// The one that was made last.
    #[default]
    Latest,
    /// The one that was made without versioning, called `null`.
    Null,
    /// The one with this id.
    Id(VersionId),
}

impl Which {
    fn is(self, version: Option<VersionId>) -> bool {
        match self {
            Self::Latest => true,
            Self::Null => version.is_none(),
            Self::Id(id) => version == Some(id),
        }
    }
}

/// What there is where a version of a key was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<T> {
    /// An object.
    Object(T),
    /// A delete marker.
    Marker(Marker),
    /// Nothing.
    Nothing,
}

impl<T> Found<T> {
    /// The object, if it is one.
    pub fn object(self) -> Option<T> {
        match self {
            Self::Object(object) => Some(object),
            Self::Marker(_) | Self::Nothing => None,
        }
    }
}

/// Where a version of this rank stands among those of its key.
pub(super) fn age_of(rank: u64) -> u64 {
    u64::MAX - rank
}

/// The versions behind the current one, newest first.
type Behind = (&'static str, &'static str, u64);

fn newest(
    versions: &impl ReadableTable<Behind, &'static [u8]>,
    bucket: &str,
    key: &str,
) -> Result<Option<(u64, Version)>, StoreError> {
    match versions.range((bucket, key, 0)..=(bucket, key, u64::MAX))?.next() {
        Some(entry) => {
            let (at, record) = entry?;
            Ok(Some((at.value().2, serde_json::from_slice(record.value())?)))
        }
        None => Ok(None),
    }
}

fn at_age(
    versions: &impl ReadableTable<Behind, &'static [u8]>,
    bucket: &str,
    key: &str,
    age: u64,
) -> Result<Option<Version>, StoreError> {
    match versions.get((bucket, key, age))? {
        Some(record) => Ok(Some(serde_json::from_slice(record.value())?)),
        None => Ok(None),
    }
}

/// Looks a version up.
pub(super) fn look_up(
    txn: &ReadTransaction,
    bucket: &str,
    key: &str,
    which: Which,
) -> Result<Found<Object>, StoreError> {
    let current = object_in(&txn.open_table(OBJECTS)?, bucket, key)?;
    if let Some(current) = current.filter(|current| which.is(current.version)) {
        return Ok(Found::Object(current));
    }
    let versions = txn.open_table(VERSIONS)?;
    let version = match which {
        // INVARIANT: what is newest there while there is no current object is a delete marker.
        Which::Latest => newest(&versions, bucket, key)?.map(|(_, version)| version),
        Which::Null => match txn.open_table(NULLS)?.get((bucket, key))? {
            Some(age) => at_age(&versions, bucket, key, age.value())?,
            None => None,
        },
        Which::Id(id) => at_age(&versions, bucket, key, age_of(id.rank))?,
    };
    Ok(match version.filter(|version| which.is(version.id())) {
        Some(Version::Object(object)) => Found::Object(object),
        Some(Version::Marker(marker)) => Found::Marker(marker),
        None => Found::Nothing,
    })
}

/// Makes sure that new versions get higher ranks than this.
pub(super) fn raise_rank(txn: &WriteTransaction, rank: u64) -> Result<(), StoreError> {
    let mut meta = txn.open_table(META)?;
    let last = meta.get(LAST_RANK)?.map_or(0, |last| last.value());
    if rank > last {
        meta.insert(LAST_RANK, rank)?;
    }
    Ok(())
}

/// All versions of one key, in a transaction.
pub(super) struct Stack<'t> {
    pub(super) txn: &'t WriteTransaction,
    pub(super) bucket: &'t str,
    pub(super) key: &'t str,
}

impl Stack<'_> {
    /// What the key stands for.
    pub(super) fn current(&self) -> Result<Option<Object>, StoreError> {
        object_in(&self.txn.open_table(OBJECTS)?, self.bucket, self.key)
    }

    /// Makes `object` what the key stands for.
    pub(super) fn put(&self, versioning: Option<Versioning>, mut object: Object) -> Written<Object> {
        let current = self.current()?;
        let freed = match versioning {
            None => self.release(current.as_ref())?,
            Some(Versioning::Suspended) => self.make_way_for_null(current)?,
            Some(Versioning::Enabled) => {
                self.keep(current)?;
                object.version = Some(self.fresh_id()?);
                Freed::default()
            }
        };
        self.set_current(&object)?;
        Ok((object, freed))
    }

    /// Removes what the key stands for, or puts a delete marker, which is answered, on top of it.
    pub(super) fn delete(&self, versioning: Option<Versioning>, modified: u64) -> Written<Option<Marker>> {
        let current = self.current()?;
        let (version, freed) = match versioning {
            None => {
                let freed = self.release(current.as_ref())?;
                self.unset_current()?;
                return Ok((None, freed));
            }
            Some(Versioning::Suspended) => (None, self.make_way_for_null(current)?),
            Some(Versioning::Enabled) => {
                self.keep(current)?;
                (Some(self.fresh_id()?), Freed::default())
            }
        };
        self.unset_current()?;
        let marker = Marker { version, modified };
        self.push(&Version::Marker(marker.clone()))?;
        Ok((Some(marker), freed))
    }

    /// Removes one version for ever; answers the delete marker if it was one. Removing what is not there changes
    /// nothing.
    pub(super) fn remove(&self, which: Which) -> Written<Option<Marker>> {
        let current = self.current()?;
        if let Some(current) = current.as_ref().filter(|current| which.is(current.version)) {
            let freed = self.release(Some(current))?;
            self.unset_current()?;
            self.promote()?;
            return Ok((None, freed));
        }
        let removed = match self.age(which)? {
            Some(age) => self.take(age, which)?,
            None => None,
        };
        if current.is_none() {
            self.promote()?;
        }
        match removed {
            Some(Version::Object(object)) => Ok((None, self.release(Some(&object))?)),
            Some(Version::Marker(marker)) => Ok((Some(marker), Freed::default())),
            None => Ok((None, Freed::default())),
        }
    }

    /// Changes an object where it is.
    pub(super) fn change(
        &self,
        which: Which,
        change: impl FnOnce(&mut Object),
    ) -> Result<Found<Object>, StoreError> {
        if let Some(mut current) = self.current()?.filter(|current| which.is(current.version)) {
            change(&mut current);
            self.set_current(&current)?;
            return Ok(Found::Object(current));
        }
        let Some(age) = self.age(which)? else { return Ok(Found::Nothing) };
        let mut versions = self.txn.open_table(VERSIONS)?;
        match at_age(&versions, self.bucket, self.key, age)?.filter(|version| which.is(version.id())) {
            Some(Version::Object(mut object)) => {
                change(&mut object);
                let record = serde_json::to_vec(&Version::Object(object.clone()))?;
                versions.insert((self.bucket, self.key, age), record.as_slice())?;
                Ok(Found::Object(object))
            }
            Some(Version::Marker(marker)) => Ok(Found::Marker(marker)),
            None => Ok(Found::Nothing),
        }
    }

    fn set_current(&self, object: &Object) -> Result<(), StoreError> {
        let record = serde_json::to_vec(object)?;
        self.txn.open_table(OBJECTS)?.insert((self.bucket, self.key), record.as_slice())?;
        Ok(())
    }

    fn unset_current(&self) -> Result<(), StoreError> {
        self.txn.open_table(OBJECTS)?.remove((self.bucket, self.key))?;
        Ok(())
    }

    fn release(&self, object: Option<&Object>) -> Result<Freed, StoreError> {
        object.map_or(Ok(Freed::default()), |object| release(self.txn, object))
    }

    /// Where a version is, if it is not the current one.
    fn age(&self, which: Which) -> Result<Option<u64>, StoreError> {
        Ok(match which {
            Which::Latest => {
                newest(&self.txn.open_table(VERSIONS)?, self.bucket, self.key)?.map(|(age, _)| age)
            }
            Which::Null => self.txn.open_table(NULLS)?.get((self.bucket, self.key))?.map(|age| age.value()),
            Which::Id(id) => Some(age_of(id.rank)),
        })
    }

    /// Takes what is at this age out, if it is the version that is meant.
    fn take(&self, age: u64, which: Which) -> Result<Option<Version>, StoreError> {
        let mut versions = self.txn.open_table(VERSIONS)?;
        let found = at_age(&versions, self.bucket, self.key, age)?;
        let Some(version) = found.filter(|version| which.is(version.id())) else { return Ok(None) };
        versions.remove((self.bucket, self.key, age))?;
        if version.id().is_none() {
            self.txn.open_table(NULLS)?.remove((self.bucket, self.key))?;
        }
        Ok(Some(version))
    }

    /// Puts what was current among the versions.
    fn keep(&self, current: Option<Object>) -> Result<(), StoreError> {
        current.map_or(Ok(()), |current| self.push(&Version::Object(current)))
    }

    fn push(&self, version: &Version) -> Result<(), StoreError> {
        let rank = match version.id() {
            Some(id) => id.rank,
            None => self.next_rank()?,
        };
        let age = age_of(rank);
        let record = serde_json::to_vec(version)?;
        self.txn.open_table(VERSIONS)?.insert((self.bucket, self.key, age), record.as_slice())?;
        if version.id().is_none() {
            self.txn.open_table(NULLS)?.insert((self.bucket, self.key), age)?;
        }
        Ok(())
    }

    /// Removes the null version, wherever it is, and puts anything else that is current among the versions.
    fn make_way_for_null(&self, current: Option<Object>) -> Result<Freed, StoreError> {
        if let Some(null) = current.as_ref().filter(|current| current.version.is_none()) {
            return self.release(Some(null));
        }
        self.keep(current)?;
        let null = match self.age(Which::Null)? {
            Some(age) => self.take(age, Which::Null)?,
            None => None,
        };
        match null {
            Some(Version::Object(object)) => self.release(Some(&object)),
            Some(Version::Marker(_)) | None => Ok(Freed::default()),
        }
    }

    /// Makes the newest version current if it is an object. There must be no current one.
    fn promote(&self) -> Result<(), StoreError> {
        let found = newest(&self.txn.open_table(VERSIONS)?, self.bucket, self.key)?;
        let Some((age, Version::Object(object))) = found else { return Ok(()) };
        self.take(age, Which::Latest)?;
        self.set_current(&object)
    }

    fn next_rank(&self) -> Result<u64, StoreError> {
        let mut meta = self.txn.open_table(META)?;
        let next = meta.get(LAST_RANK)?.map_or(0, |last| last.value()) + 1;
        meta.insert(LAST_RANK, next)?;
        Ok(next)
    }

    fn fresh_id(&self) -> Result<VersionId, StoreError> {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes)
            .map_err(|_| StoreError::Failed("the random number generator failed".to_owned()))?;
        Ok(VersionId { random: u64::from_be_bytes(bytes), rank: self.next_rank()? })
    }
}

/// Whether a key of the bucket has a version, current or not.
pub(super) fn any_in(txn: &WriteTransaction, bucket: &str) -> Result<bool, StoreError> {
    require_bucket(txn, bucket)?;
    if let Some(entry) = txn.open_table(OBJECTS)?.range((bucket, "")..)?.next()
        && entry?.0.value().0 == bucket
    {
        return Ok(true);
    }
    match txn.open_table(VERSIONS)?.range((bucket, "", 0)..)?.next() {
        Some(entry) => Ok(entry?.0.value().0 == bucket),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = VersionId { random: 0xfedc_ba98_7654_3210, rank: 7 };
        assert_eq!(id.to_string(), "fedcba98765432100000000000000007");
        assert_eq!(VersionId::parse(&id.to_string()), Some(id));
        for no in ["", "null", "FEDCBA98765432100000000000000007", "+edcba98765432100000000000000007", "é"] {
            assert_eq!(VersionId::parse(no), None, "{no}");
        }
        assert_eq!(VersionId::parse(&"é".repeat(16)), None);
    }
}
