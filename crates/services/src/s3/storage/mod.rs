//! The durable object store: buckets, objects and multipart uploads on a directory. It knows no HTTP and no policy.
//!
//! Content over [`blob::INLINE_MAX_BYTES`] lives in files of random name, written once; everything else is in one
//! index ([`index`]). A write makes its file durable, then commits a transaction that refers to it; only then is it
//! answered, and only then is what it replaced removed.
//!
//! INVARIANT: an acknowledged write survives a crash; an unacknowledged one is there whole or not at all.
//! INVARIANT: at open, content files that the index does not refer to are removed.

pub mod blob;
pub mod digest;
pub mod disk;
pub mod error;
pub mod index;
pub mod list;
pub mod multipart;
pub mod record;
pub mod transfer;
pub mod version;
pub mod version_list;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};

use serde::{Deserialize, Serialize};

use self::blob::{Files, INLINE_MAX_BYTES, Intake, Pins, Place, Source, SourceKind, Taken};
use self::digest::{Algorithm, Hasher};
use self::disk::{BlobId, Disk, OsDisk};
pub use self::error::StoreError;
use self::index::{BLOBS, BODIES, BUCKETS, Freed, Index, NULLS, OBJECTS, PARTS, UPLOADS, VERSIONS};
use self::record::{Bucket, Checksum, Content, Headers, Hex128, Marker, Millis, Object, Segment, Tags};
use self::version::{Found, Stack, Which};

/// Buckets that one account may own, as on AWS.
pub const MAX_BUCKETS: usize = 10_000;

/// What must be true of the key for a write to go ahead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// `If-None-Match: *`: there is no object.
    Absent,
    /// `If-Match: *`: there is an object.
    Present,
    /// `If-Match: "…"`: the object has this ETag (without quotes).
    Etag(String),
}

impl Precondition {
    /// Whether the condition holds, given what is at `key` now.
    ///
    /// # Errors
    /// [`StoreError::PreconditionFailed`], or [`StoreError::NoSuchKey`] where an object was required.
    pub fn check(&self, key: &str, current: Option<&Object>) -> Result<(), StoreError> {
        match (self, current) {
            (Self::None, _) | (Self::Absent, None) | (Self::Present, Some(_)) => Ok(()),
            (Self::Absent, Some(_)) => Err(StoreError::PreconditionFailed("If-None-Match")),
            (Self::Etag(etag), Some(object)) if *etag == object.etag => Ok(()),
            (Self::Etag(_), Some(_)) => Err(StoreError::PreconditionFailed("If-Match")),
            (Self::Etag(_) | Self::Present, None) => Err(StoreError::NoSuchKey(key.to_owned())),
        }
    }

    /// As [`Precondition::check`], for what is to be removed.
    fn check_removed(&self, key: &str, current: Option<&Object>) -> Result<(), StoreError> {
        self.check(key, current).map_err(|error| match error {
            StoreError::NoSuchKey(_) => StoreError::PreconditionFailed("If-Match"),
            other => other,
        })
    }
}

/// What an object carries beside its bytes.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// Headers and user metadata.
    pub headers: Headers,
    /// When it is written.
    pub modified: Millis,
    /// Its checksum.
    pub checksum: Option<Checksum>,
    /// Its tags.
    pub tags: Tags,
}

/// A bucket and what was looked for in it, as they were at one moment.
pub struct Looked {
    /// The bucket.
    pub bucket: Bucket,
    /// What was looked for.
    pub found: Found<(Object, Source)>,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    /// Buckets.
    pub buckets: u64,
    /// Objects that are current.
    pub objects: u64,
    /// Versions that are not, and delete markers.
    #[serde(default)]
    pub versions: u64,
    /// Multipart uploads in progress.
    pub uploads: u64,
    /// Parts of those.
    pub parts: u64,
    /// Contents kept in the index, and lists of parts.
    pub bodies: u64,
    /// Content files.
    pub files: u64,
}

/// The store. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    // Dropped first: its threads use the disk.
    index: Index,
    disk: Arc<dyn Disk>,
    next_body: AtomicU64,
}

impl Store {
    /// Opens the store in directory `root`, making it if missing.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if another process has it open, if it was written by a later version, or if the disk
    /// fails.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let disk = OsDisk::open(root).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => {
                StoreError::Failed(format!("`{}` is in use by another process", root.display()))
            }
            _ => error.into(),
        })?;
        Self::open_on(Arc::new(disk))
    }

    /// Opens the store on `disk` and removes what crashed writes left there.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_on(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let pins = Arc::new(Pins::default());
        let index = Index::open(Arc::clone(&disk), pins)?;
        let next_body = index.read(|txn| {
            let last = txn.open_table(BODIES)?.last()?.map_or(0, |(number, _)| number.value());
            Ok(last + 1)
        })?;
        remove_unreferenced(disk.as_ref(), &index)?;
        Ok(Self { inner: Arc::new(Inner { index, disk, next_body: AtomicU64::new(next_body) }) })
    }

    /// Counts what the store holds.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn census(&self) -> Result<Census, StoreError> {
        self.inner.index.read(census_in)
    }

    fn next_body(&self) -> u64 {
        self.inner.next_body.fetch_add(1, Ordering::Relaxed)
    }

    /// Looks a bucket up.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn bucket(&self, name: &str) -> Result<Option<Bucket>, StoreError> {
        self.inner.index.read(|txn| bucket_in(&txn.open_table(BUCKETS)?, name))
    }

    /// Makes a bucket, at most [`MAX_BUCKETS`] an account.
    ///
    /// # Errors
    /// [`StoreError::BucketExists`], [`StoreError::TooManyBuckets`], or the disk's.
    pub async fn create_bucket(&self, name: &str, bucket: Bucket) -> Result<(), StoreError> {
        let name = name.to_owned();
        blob::check_room(self.inner.disk.as_ref())?;
        self.write(move |txn| {
            let mut buckets = txn.open_table(BUCKETS)?;
            if let Some(existing) = bucket_in(&buckets, &name)? {
                return Err(StoreError::BucketExists { owner: existing.owner });
            }
            // Parsing is skipped while even all buckets together are fewer than one account may own.
            if buckets.len()? >= MAX_BUCKETS as u64 && count_owned(&buckets, &bucket.owner)? >= MAX_BUCKETS {
                return Err(StoreError::TooManyBuckets { limit: MAX_BUCKETS });
            }
            buckets.insert(name.as_str(), serde_json::to_vec(&bucket)?.as_slice())?;
            Ok(((), Freed::default()))
        })
        .await
    }

    /// Changes what is set of a bucket.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub async fn change_bucket(
        &self,
        name: &str,
        change: impl FnOnce(&mut Bucket) + Send + 'static,
    ) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |txn| {
            let mut bucket = require_bucket(txn, &name)?;
            change(&mut bucket);
            txn.open_table(BUCKETS)?.insert(name.as_str(), serde_json::to_vec(&bucket)?.as_slice())?;
            Ok(((), Freed::default()))
        })
        .await
    }

    /// Removes an empty bucket; uploads in progress in it are aborted.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::BucketNotEmpty`], or the disk's.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |txn| {
            let bucket = require_bucket(txn, &name)?;
            if version::any_in(txn, &name)? {
                return Err(StoreError::BucketNotEmpty { versioned: bucket.versioning.is_some() });
            }
            let freed = multipart::abort_all(txn, &name)?;
            txn.open_table(BUCKETS)?.remove(name.as_str())?;
            Ok(((), freed))
        })
        .await
    }

    /// Forgets everything: buckets, objects, uploads. Reads that are under way may end early.
    ///
    /// # Errors
    /// The disk's.
    pub async fn clear(&self) -> Result<(), StoreError> {
        self.write(|txn| {
            let mut blobs = txn.open_table(BLOBS)?;
            let files = blobs.iter()?.map(|entry| entry.map(|(blob, _)| BlobId(blob.value())));
            let freed = Freed { body: None, blobs: files.collect::<Result<_, _>>()? };
            blobs.retain(|_, ()| false)?;
            txn.open_table(BUCKETS)?.retain(|_, _| false)?;
            txn.open_table(OBJECTS)?.retain(|_, _| false)?;
            txn.open_table(VERSIONS)?.retain(|_, _| false)?;
            txn.open_table(NULLS)?.retain(|_, _| false)?;
            txn.open_table(BODIES)?.retain(|_, _| false)?;
            txn.open_table(UPLOADS)?.retain(|_, _| false)?;
            txn.open_table(PARTS)?.retain(|_, _| false)?;
            Ok(((), freed))
        })
        .await
    }

    /// Begins to take content in, with MD5 and `algorithm` computed on the way.
    pub fn intake(&self, algorithm: Algorithm) -> Intake {
        Intake::new(Arc::clone(&self.inner.disk), Hasher::new(algorithm), INLINE_MAX_BYTES)
    }

    /// Makes `taken` the object `key`, in place of what was there or on top of it, as the bucket's versioning says.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::PreconditionFailed`], [`StoreError::NoSuchKey`] (`If-Match`
    /// without an object), or the disk's.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        taken: Taken,
        attributes: Attributes,
        condition: Precondition,
    ) -> Result<Object, StoreError> {
        blob::check_room(self.inner.disk.as_ref())?;
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let Taken { size, sums, place } = taken;
        let (content, inline, pending) = match place {
            Place::Inline(bytes) => (Content::Inline(self.next_body()), Some(bytes), None),
            Place::File(pending) => (Content::Blob(Hex128(pending.id().0)), None, Some(pending)),
        };
        let object = Object {
            size,
            etag: digest::hex(&sums.md5),
            modified: attributes.modified,
            content,
            headers: attributes.headers,
            checksum: attributes.checksum,
            parts: None,
            version: None,
            tags: attributes.tags,
        };
        let work = move |txn: &WriteTransaction| {
            let versioning = require_bucket(txn, &bucket)?.versioning;
            let stack = Stack { txn, bucket: &bucket, key: &key };
            condition.check(&key, stack.current()?.as_ref())?;
            match (&object.content, inline) {
                (Content::Inline(number), Some(bytes)) => {
                    txn.open_table(BODIES)?.insert(number, bytes.as_ref())?;
                }
                (Content::Blob(blob), _) => {
                    txn.open_table(BLOBS)?.insert(blob.0, ())?;
                }
                (Content::Inline(_), None) | (Content::Parts(_), _) => {
                    return Err(StoreError::Failed("content without a place".to_owned()));
                }
            }
            stack.put(versioning, object)
        };
        self.inner.index.write(pending, work).await
    }

    /// Removes an object, or puts a delete marker, which is answered, on top of it, as the bucket's versioning says.
    /// Removing what is not there succeeds, unless a condition says otherwise.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::PreconditionFailed`], or the disk's.
    pub async fn delete_object(
        &self,
        bucket: &str,
        key: &str,
        condition: Precondition,
        modified: Millis,
    ) -> Result<Option<Marker>, StoreError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.write(move |txn| {
            let versioning = require_bucket(txn, &bucket)?.versioning;
            let stack = Stack { txn, bucket: &bucket, key: &key };
            condition.check_removed(&key, stack.current()?.as_ref())?;
            stack.delete(versioning, modified)
        })
        .await
    }

    /// Removes one version for ever and answers the delete marker if it was one. Removing what is not there succeeds,
    /// unless a condition says otherwise.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::PreconditionFailed`], or the disk's.
    pub async fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        which: Which,
        condition: Precondition,
    ) -> Result<Option<Marker>, StoreError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.write(move |txn| {
            require_bucket(txn, &bucket)?;
            let stack = Stack { txn, bucket: &bucket, key: &key };
            if condition != Precondition::None {
                let there = stack.change(which, |_| {})?.object();
                condition.check_removed(&key, there.as_ref())?;
            }
            stack.remove(which)
        })
        .await
    }

    /// Sets an object's tags.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub async fn set_tags(
        &self,
        bucket: &str,
        key: &str,
        which: Which,
        tags: Tags,
    ) -> Result<Found<Object>, StoreError> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.write(move |txn| {
            require_bucket(txn, &bucket)?;
            let stack = Stack { txn, bucket: &bucket, key: &key };
            Ok((stack.change(which, |object| object.tags = tags)?, Freed::default()))
        })
        .await
    }

    /// Looks an object up. `None` if there is no such key.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Option<Object>, StoreError> {
        self.inner.index.read(|txn| find(txn, bucket, key))
    }

    /// Looks an object up and holds its content, as [`Store::look`] does.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub fn read(&self, bucket: &str, key: &str) -> Result<Option<(Object, Source)>, StoreError> {
        match self.look(bucket, key, Which::Latest)? {
            Some(looked) => Ok(looked.found.object()),
            None => Err(StoreError::NoSuchBucket(bucket.to_owned())),
        }
    }

    /// Looks a version of an object up and holds its content, so that it can be read to the end even if it is
    /// overwritten or deleted meanwhile. `None` if there is no such bucket.
    ///
    /// # Errors
    /// The disk's.
    pub fn look(&self, bucket: &str, key: &str, which: Which) -> Result<Option<Looked>, StoreError> {
        // Each round lost means that another writer replaced the object in between.
        for _ in 0..100 {
            let seen = self.inner.index.read(|txn| {
                let Some(record) = bucket_in(&txn.open_table(BUCKETS)?, bucket)? else { return Ok(None) };
                let found = version::look_up(txn, bucket, key, which)?;
                let body = match &found {
                    Found::Object(Object {
                        content: Content::Inline(number) | Content::Parts(number),
                        ..
                    }) => body_in(txn, *number)?,
                    Found::Object(_) | Found::Marker(_) | Found::Nothing => None,
                };
                Ok(Some((record, found, body)))
            })?;
            let Some((record, found, body)) = seen else { return Ok(None) };
            let object = match found {
                Found::Object(object) => object,
                Found::Marker(marker) => {
                    return Ok(Some(Looked { bucket: record, found: Found::Marker(marker) }));
                }
                Found::Nothing => return Ok(Some(Looked { bucket: record, found: Found::Nothing })),
            };
            if let Some(kind) = self.hold(bucket, key, &object, body)? {
                let source = Source { kind, size: object.size };
                return Ok(Some(Looked { bucket: record, found: Found::Object((object, source)) }));
            }
        }
        Err(StoreError::Failed(format!("the content of `{bucket}/{key}` is missing")))
    }

    fn hold(
        &self,
        bucket: &str,
        key: &str,
        object: &Object,
        body: Option<Vec<u8>>,
    ) -> Result<Option<SourceKind>, StoreError> {
        let missing = || StoreError::Failed(format!("the content of `{bucket}/{key}` is missing"));
        match object.content {
            Content::Inline(_) => Ok(Some(SourceKind::Inline(body.ok_or_else(missing)?.into()))),
            Content::Blob(blob) => match self.inner.disk.open(BlobId(blob.0)) {
                Ok(file) => Ok(Some(SourceKind::File(file))),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            },
            Content::Parts(number) => {
                let pin = self.inner.index.pins().pin(&self.inner.disk, number);
                // No other content ever gets this number while the store is open.
                if self.inner.index.read(|txn| Ok(txn.open_table(BODIES)?.get(number)?.is_none()))? {
                    return Ok(None);
                }
                let segments = serde_json::from_slice(&body.ok_or_else(missing)?)?;
                let disk = Arc::clone(&self.inner.disk);
                Ok(Some(SourceKind::Files(Arc::new(Files { segments, disk, _pin: pin }))))
            }
        }
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> index::Written<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.index.write(None, work).await
    }
}

fn census_in(txn: &ReadTransaction) -> Result<Census, StoreError> {
    Ok(Census {
        buckets: txn.open_table(BUCKETS)?.len()?,
        objects: txn.open_table(OBJECTS)?.len()?,
        versions: txn.open_table(VERSIONS)?.len()?,
        uploads: txn.open_table(UPLOADS)?.len()?,
        parts: txn.open_table(PARTS)?.len()?,
        bodies: txn.open_table(BODIES)?.len()?,
        files: txn.open_table(BLOBS)?.len()?,
    })
}

fn remove_unreferenced(disk: &dyn Disk, index: &Index) -> Result<(), StoreError> {
    let mut leftovers = Vec::new();
    index.read(|txn| {
        let blobs = txn.open_table(BLOBS)?;
        let mut failed = None;
        disk.list(&mut |id| match blobs.get(id.0) {
            Ok(Some(_)) => {}
            Ok(None) => leftovers.push(id),
            Err(error) => failed = Some(error),
        })?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    })?;
    if !leftovers.is_empty() {
        tracing::info!(count = leftovers.len(), "removing content left by interrupted writes");
    }
    for id in leftovers {
        disk.remove(id)?;
    }
    Ok(())
}

fn bucket_in(
    buckets: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<Bucket>, StoreError> {
    match buckets.get(name)? {
        Some(record) => Ok(Some(serde_json::from_slice(record.value())?)),
        None => Ok(None),
    }
}

fn count_owned(
    buckets: &impl ReadableTable<&'static str, &'static [u8]>,
    owner: &str,
) -> Result<usize, StoreError> {
    let mut owned = 0;
    for entry in buckets.iter()? {
        let bucket: Bucket = serde_json::from_slice(entry?.1.value())?;
        owned += usize::from(bucket.owner == owner);
    }
    Ok(owned)
}

fn require_bucket(txn: &WriteTransaction, name: &str) -> Result<Bucket, StoreError> {
    bucket_in(&txn.open_table(BUCKETS)?, name)?.ok_or_else(|| StoreError::NoSuchBucket(name.to_owned()))
}

fn object_in(
    objects: &impl ReadableTable<(&'static str, &'static str), &'static [u8]>,
    bucket: &str,
    key: &str,
) -> Result<Option<Object>, StoreError> {
    match objects.get((bucket, key))? {
        Some(record) => Ok(Some(serde_json::from_slice(record.value())?)),
        None => Ok(None),
    }
}

fn find(txn: &ReadTransaction, bucket: &str, key: &str) -> Result<Option<Object>, StoreError> {
    match object_in(&txn.open_table(OBJECTS)?, bucket, key)? {
        Some(object) => Ok(Some(object)),
        None if txn.open_table(BUCKETS)?.get(bucket)?.is_none() => {
            Err(StoreError::NoSuchBucket(bucket.to_owned()))
        }
        None => Ok(None),
    }
}

fn body_in(txn: &ReadTransaction, number: u64) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(txn.open_table(BODIES)?.get(number)?.map(|body| body.value().to_vec()))
}

/// Forgets an object's content and says which files that frees.
fn release(txn: &WriteTransaction, object: &Object) -> Result<Freed, StoreError> {
    match object.content {
        Content::Inline(number) => {
            txn.open_table(BODIES)?.remove(number)?;
            Ok(Freed::default())
        }
        Content::Blob(blob) => {
            txn.open_table(BLOBS)?.remove(blob.0)?;
            Ok(Freed { body: None, blobs: vec![BlobId(blob.0)] })
        }
        Content::Parts(number) => {
            let mut bodies = txn.open_table(BODIES)?;
            let segments: Vec<Segment> = match bodies.remove(number)? {
                Some(list) => serde_json::from_slice(list.value())?,
                None => Vec::new(),
            };
            let mut blobs = txn.open_table(BLOBS)?;
            for segment in &segments {
                blobs.remove(segment.blob.0)?;
            }
            Ok(Freed {
                body: Some(number),
                blobs: segments.iter().filter_map(|segment| multipart::file_of(segment.blob)).collect(),
            })
        }
    }
}
