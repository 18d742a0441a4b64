//! Multipart uploads: parts are content files of their own; completing an upload only writes the list of them.
//!
//! INVARIANT: completing or aborting an upload removes, with the same commit, every reference to parts not used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use redb::{ReadableTable, WriteTransaction};
use std::sync::Arc;

use super::blob::{Intake, Place, Taken};
use super::digest::{Algorithm, ChecksumKind, Hasher, hex, md5_of};
use super::disk::BlobId;
use super::error::StoreError;
use super::index::{BLOBS, BODIES, Freed, PARTS, UPLOADS};
use super::record::{Checksum, Content, Hex128, Millis, Object, Part, Segment, Upload};
use super::version::Stack;
use super::{Precondition, Store, blob, find, require_bucket};

/// Parts other than the last have at least this many bytes.
pub const MIN_PART_BYTES: u64 = 5 << 20;
/// The largest object in bytes.
pub const MAX_OBJECT_BYTES: u64 = 5 << 40;
/// Part numbers go from 1 to this.
pub const MAX_PARTS: u32 = 10_000;

/// A part as listed by the client that completes an upload.
#[derive(Clone, Debug)]
pub struct ListedPart {
    /// Its number.
    pub number: u32,
    /// Its ETag without quotes.
    pub etag: String,
    /// Its checksum in base64, if the client repeats it.
    pub checksum: Option<String>,
}

/// What the client says about the whole while completing.
#[derive(Clone, Debug, Default)]
pub struct ExpectedWhole {
    /// The object's size.
    pub size: Option<u64>,
    /// The object's checksum.
    pub checksum: Option<String>,
}

/// A page of a listing of parts.
#[derive(Clone, Debug)]
pub struct PartPage {
    /// The upload.
    pub upload: Upload,
    /// (number, part), in order.
    pub parts: Vec<(u32, Part)>,
    /// Whether there are more.
    pub truncated: bool,
}

impl Store {
    /// Begins an upload and returns its id.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], or the disk's.
    pub async fn create_upload(&self, bucket: &str, key: &str, upload: Upload) -> Result<String, StoreError> {
        blob::check_room(self.inner.disk.as_ref())?;
        // Ids of one key sort by initiation; the random half keeps them from being guessed.
        let id = format!("{:012x}{}", upload.initiated, BlobId::random()?);
        let (bucket, key, answer) = (bucket.to_owned(), key.to_owned(), id.clone());
        self.write(move |txn| {
            require_bucket(txn, &bucket)?;
            let mut uploads = txn.open_table(UPLOADS)?;
            uploads.insert(
                (bucket.as_str(), key.as_str(), id.as_str()),
                serde_json::to_vec(&upload)?.as_slice(),
            )?;
            Ok(((), Freed::default()))
        })
        .await?;
        Ok(answer)
    }

    /// Looks an upload up.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchUpload`], or the disk's.
    pub fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, StoreError> {
        self.inner.index.read(|txn| {
            // Also answers whether the bucket exists.
            find(txn, bucket, key)?;
            upload_in(&txn.open_table(UPLOADS)?, bucket, key, id)
        })
    }

    /// Begins to take a part's content in, with `algorithm` and that of the upload computed on the way.
    pub fn part_intake(&self, algorithm: Algorithm, upload: &Upload) -> Intake {
        Intake::new(Arc::clone(&self.inner.disk), Hasher::new(algorithm).also(upload.algorithm), 0)
    }

    /// Makes `taken` part `number` of the upload, in place of an earlier one of that number.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchUpload`], or the disk's.
    pub async fn put_part(
        &self,
        (bucket, key, id): (&str, &str, &str),
        number: u32,
        taken: Taken,
        modified: Millis,
    ) -> Result<Part, StoreError> {
        blob::check_room(self.inner.disk.as_ref())?;
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        let Taken { size, sums, place } = taken;
        let (blob, pending) = match place {
            Place::File(pending) => (pending.id().0, Some(pending)),
            // An empty part has no file; its number stands for nothing on disk.
            Place::Inline(_) => (EMPTY_BLOB, None),
        };
        let work = move |txn: &WriteTransaction| {
            require_bucket(txn, &bucket)?;
            let upload = upload_in(&txn.open_table(UPLOADS)?, &bucket, &key, &id)?;
            let checksum =
                sums.in_algorithm(upload.algorithm).ok_or(StoreError::WholeDiffers("checksum algorithm"))?;
            let part = Part {
                size,
                etag: hex(&sums.md5),
                checksum: STANDARD.encode(checksum),
                modified,
                blob: Hex128(blob),
            };
            let mut freed = Freed::default();
            let mut blobs = txn.open_table(BLOBS)?;
            if part.blob.0 != EMPTY_BLOB {
                blobs.insert(part.blob.0, ())?;
            }
            let record = serde_json::to_vec(&part)?;
            if let Some(old) = txn.open_table(PARTS)?.insert((id.as_str(), number), record.as_slice())? {
                let old: Part = serde_json::from_slice(old.value())?;
                blobs.remove(old.blob.0)?;
                freed.blobs.extend(file_of(old.blob));
            }
            Ok((part, freed))
        };
        self.inner.index.write(pending, work).await
    }

    /// Lists parts with numbers above `after`, at most `max`.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchUpload`], or the disk's.
    pub fn list_parts(
        &self,
        (bucket, key, id): (&str, &str, &str),
        after: u32,
        max: usize,
    ) -> Result<PartPage, StoreError> {
        self.inner.index.read(|txn| {
            find(txn, bucket, key)?;
            let upload = upload_in(&txn.open_table(UPLOADS)?, bucket, key, id)?;
            let mut page = PartPage { upload, parts: Vec::new(), truncated: false };
            for entry in txn.open_table(PARTS)?.range((id, after.saturating_add(1))..=(id, u32::MAX))? {
                let (number, record) = entry?;
                if page.parts.len() == max {
                    page.truncated = true;
                    break;
                }
                page.parts.push((number.value().1, serde_json::from_slice(record.value())?));
            }
            Ok(page)
        })
    }

    /// Forgets an upload and its parts.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchUpload`], or the disk's.
    pub async fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), StoreError> {
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        self.write(move |txn| {
            require_bucket(txn, &bucket)?;
            upload_in(&txn.open_table(UPLOADS)?, &bucket, &key, &id)?;
            txn.open_table(UPLOADS)?.remove((bucket.as_str(), key.as_str(), id.as_str()))?;
            let blobs = take_parts(txn, &id)?
                .into_iter()
                .flat_map(|(_, part)| file_of(part.blob))
                .collect::<Vec<_>>();
            forget(txn, &blobs)?;
            Ok(((), Freed { body: None, blobs }))
        })
        .await
    }

    /// Makes the listed parts, in their order, the object.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBucket`], [`StoreError::NoSuchUpload`], the errors about parts, conditions and the whole,
    /// or the disk's; the upload then stays as it was.
    pub async fn complete_upload(
        &self,
        (bucket, key, id): (&str, &str, &str),
        listed: Vec<ListedPart>,
        expected: ExpectedWhole,
        condition: Precondition,
        modified: Millis,
    ) -> Result<Object, StoreError> {
        blob::check_room(self.inner.disk.as_ref())?;
        let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
        let body = self.next_body();
        self.write(move |txn| {
            let versioning = require_bucket(txn, &bucket)?.versioning;
            let upload = upload_in(&txn.open_table(UPLOADS)?, &bucket, &key, &id)?;
            let chosen = choose(txn, &id, &listed)?;
            let named = upload.algorithm_named;
            let object = assemble(upload, &chosen, body, &expected, modified)?;
            let stack = Stack { txn, bucket: &bucket, key: &key };
            condition.check(&key, stack.current()?.as_ref())?;
            // All checks passed: from here on only the disk can fail.
            txn.open_table(UPLOADS)?.remove((bucket.as_str(), key.as_str(), id.as_str()))?;
            let all = take_parts(txn, &id)?;
            let unused: Vec<BlobId> = all
                .into_iter()
                .filter(|(number, _)| listed.binary_search_by_key(number, |part| part.number).is_err())
                .flat_map(|(_, part)| file_of(part.blob))
                .collect();
            forget(txn, &unused)?;
            let segments: Vec<Segment> = chosen
                .iter()
                .map(|part| Segment {
                    blob: part.blob,
                    size: part.size,
                    // Sums that the client did not ask for are not shown.
                    checksum: named.then(|| part.checksum.clone()),
                })
                .collect();
            txn.open_table(BODIES)?.insert(body, serde_json::to_vec(&segments)?.as_slice())?;
            let (object, mut freed) = stack.put(versioning, object)?;
            // Readers hold only the replaced object's files; keeping the unused parts with them does no harm.
            freed.blobs.extend(unused);
            Ok((object, freed))
        })
        .await
    }
}

/// Marks a part without bytes, which needs no content file.
const EMPTY_BLOB: u128 = 0;

pub(super) fn file_of(blob: Hex128) -> Option<BlobId> {
    (blob.0 != EMPTY_BLOB).then_some(BlobId(blob.0))
}

fn upload_in(
    uploads: &impl ReadableTable<(&'static str, &'static str, &'static str), &'static [u8]>,
    bucket: &str,
    key: &str,
    id: &str,
) -> Result<Upload, StoreError> {
    match uploads.get((bucket, key, id))? {
        Some(record) => Ok(serde_json::from_slice(record.value())?),
        None => Err(StoreError::NoSuchUpload(id.to_owned())),
    }
}

/// The listed parts, checked against what was uploaded.
fn choose(txn: &WriteTransaction, id: &str, listed: &[ListedPart]) -> Result<Vec<Part>, StoreError> {
    let parts = txn.open_table(PARTS)?;
    let mut chosen = Vec::with_capacity(listed.len());
    let mut previous = 0;
    for (position, wanted) in listed.iter().enumerate() {
        if wanted.number <= previous {
            return Err(StoreError::InvalidPartOrder(wanted.number));
        }
        previous = wanted.number;
        let record = parts.get((id, wanted.number))?.ok_or(StoreError::InvalidPart(wanted.number))?;
        let part: Part = serde_json::from_slice(record.value())?;
        let same_sum = wanted.checksum.as_ref().is_none_or(|checksum| *checksum == part.checksum);
        if part.etag != wanted.etag || !same_sum {
            return Err(StoreError::InvalidPart(wanted.number));
        }
        if part.size < MIN_PART_BYTES && position + 1 < listed.len() {
            return Err(StoreError::PartTooSmall { part: wanted.number, size: part.size, etag: part.etag });
        }
        chosen.push(part);
    }
    Ok(chosen)
}

fn assemble(
    upload: Upload,
    parts: &[Part],
    body: u64,
    expected: &ExpectedWhole,
    modified: Millis,
) -> Result<Object, StoreError> {
    let size = parts.iter().map(|part| part.size).sum();
    if size > MAX_OBJECT_BYTES {
        return Err(StoreError::TooLarge(size));
    }
    if expected.size.is_some_and(|expected| expected != size) {
        return Err(StoreError::WholeDiffers("size"));
    }
    let mut md5s = Vec::with_capacity(parts.len() * 16);
    for part in parts {
        md5s.extend(unhex(&part.etag)?);
    }
    let value = join_checksums(&upload, parts)?;
    if expected.checksum.as_ref().is_some_and(|expected| *expected != value) {
        return Err(StoreError::WholeDiffers("checksum"));
    }
    Ok(Object {
        size,
        etag: format!("{}-{}", hex(&md5_of(&md5s)), parts.len()),
        modified,
        content: Content::Parts(body),
        headers: upload.headers,
        checksum: Some(Checksum { algorithm: upload.algorithm, kind: upload.kind, value }),
        parts: Some(u32::try_from(parts.len()).unwrap_or(u32::MAX)),
        version: None,
        tags: upload.tags,
    })
}

fn join_checksums(upload: &Upload, parts: &[Part]) -> Result<String, StoreError> {
    let unreadable = |_| StoreError::Failed("unreadable checksum of a part".to_owned());
    let sums = parts.iter().map(|part| STANDARD.decode(&part.checksum)).collect::<Result<Vec<_>, _>>();
    let sums = sums.map_err(unreadable)?;
    match upload.kind {
        ChecksumKind::Composite => {
            Ok(format!("{}-{}", STANDARD.encode(upload.algorithm.sum(&sums.concat())), parts.len()))
        }
        ChecksumKind::FullObject => {
            let mut whole = upload.algorithm.sum(b"");
            for (sum, part) in sums.iter().zip(parts) {
                whole = upload.algorithm.combine(&whole, sum, part.size).ok_or_else(|| {
                    StoreError::Failed(format!("{} sums cannot be joined", upload.algorithm.name()))
                })?;
            }
            Ok(STANDARD.encode(whole))
        }
    }
}

fn unhex(text: &str) -> Result<Vec<u8>, StoreError> {
    let value =
        u128::from_str_radix(text, 16).map_err(|_| StoreError::Failed("unreadable ETag".to_owned()))?;
    Ok(value.to_be_bytes().to_vec())
}

/// Removes an upload's parts from the index and returns them.
fn take_parts(txn: &WriteTransaction, id: &str) -> Result<Vec<(u32, Part)>, StoreError> {
    let mut parts = txn.open_table(PARTS)?;
    let mut taken = Vec::new();
    for entry in parts.range((id, 0)..=(id, u32::MAX))? {
        let (number, record) = entry?;
        taken.push((number.value().1, serde_json::from_slice(record.value())?));
    }
    for (number, _) in &taken {
        parts.remove((id, *number))?;
    }
    Ok(taken)
}

fn forget(txn: &WriteTransaction, blobs: &[BlobId]) -> Result<(), StoreError> {
    let mut table = txn.open_table(BLOBS)?;
    for blob in blobs {
        table.remove(blob.0)?;
    }
    Ok(())
}

/// Aborts every upload of a bucket.
pub(super) fn abort_all(txn: &WriteTransaction, bucket: &str) -> Result<Freed, StoreError> {
    let mut uploads = txn.open_table(UPLOADS)?;
    let mut found = Vec::new();
    for entry in uploads.range((bucket, "", "")..)? {
        let (key, _) = entry?;
        let (of, key, id) = key.value();
        if of != bucket {
            break;
        }
        found.push((key.to_owned(), id.to_owned()));
    }
    let mut freed = Freed::default();
    for (key, id) in found {
        uploads.remove((bucket, key.as_str(), id.as_str()))?;
        freed.blobs.extend(take_parts(txn, &id)?.into_iter().filter_map(|(_, part)| file_of(part.blob)));
    }
    forget(txn, &freed.blobs)?;
    Ok(freed)
}
