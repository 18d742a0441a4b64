//! Copying a whole store out as one stream, while it is used, and making one from such a stream.
//!
//! The stream is a sequence of records: a length of four bytes, JSON, and behind some the bytes that the JSON
//! announces. It is neither checked nor compressed here: what carries it does that.
//!
//! INVARIANT: a copy is of one moment. Everything that was acknowledged before [`Store::freeze`] was called is in it,
//! and every object in it is whole.
//! INVARIANT: memory is bounded by one chunk of content and one record, whatever the store holds.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::blob::Freeze;
use super::disk::{BlobId, Disk, OsDisk};
use super::error::StoreError;
use super::index::{self, BLOBS, BODIES, BUCKETS, NULLS, OBJECTS, PARTS, Snapshot, UPLOADS, VERSIONS};
use super::record::{Bucket, Content, Hex128, Object, Part, Segment, Upload, Version};
use super::version::{age_of, raise_rank};
use super::{Census, Store, body_in, census_in, multipart};

/// The form of the stream. In the first one there were no versions.
const FORMAT: u64 = 2;
const FORMAT_WITHOUT_VERSIONS: u64 = 1;
const CHUNK_BYTES: usize = 512 << 10;
/// A record is at most this long: the list of 10,000 parts is the longest that is made.
const MAX_RECORD_BYTES: u32 = 16 << 20;
/// After so many bytes of the index a transaction is ended and another one begun.
const BATCH_BYTES: u64 = 8 << 20;
/// What a record without bytes of its own counts for.
const RECORD_BYTES: u64 = 512;

#[derive(Serialize, Deserialize)]
enum Record {
    Begin {
        format: u64,
    },
    Bucket {
        name: String,
        bucket: Bucket,
    },
    /// Bytes in the index; they follow.
    Body {
        number: u64,
        bytes: u64,
    },
    /// A content file; its bytes follow.
    File {
        blob: Hex128,
        bytes: u64,
    },
    Object {
        bucket: String,
        key: String,
        object: Object,
    },
    /// What is not current of a key's versions. The age of what has an id follows from that.
    Version {
        bucket: String,
        key: String,
        age: u64,
        version: Version,
    },
    Upload {
        bucket: String,
        key: String,
        id: String,
        upload: Upload,
    },
    Part {
        upload: String,
        number: u32,
        part: Part,
    },
    /// How much was in all of it.
    End(Census),
}

/// A store at one moment. It keeps all that was there from being removed until it is dropped.
pub struct Frozen {
    // The transaction goes before the files may.
    snapshot: Snapshot,
    disk: Arc<dyn Disk>,
    _freeze: Freeze,
}

impl Store {
    /// Holds the store as it is now, for a copy; it goes on meanwhile. Space that is freed until the copy is made
    /// becomes free when it is done.
    ///
    /// # Errors
    /// The disk's.
    pub fn freeze(&self) -> Result<Frozen, StoreError> {
        let disk = Arc::clone(&self.inner.disk);
        // INVARIANT: first nothing is removed any more, then the moment is chosen.
        let freeze = self.inner.index.pins().freeze(&disk);
        Ok(Frozen { snapshot: self.inner.index.snapshot()?, disk, _freeze: freeze })
    }

    /// Makes a store in the directory `root`, which must hold none, from a stream.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if there is a store, if the stream cannot be read or does not fit together, or if the
    /// disk fails. What was made until then is left to the caller to remove.
    pub fn restore(root: &Path, from: &mut dyn Read) -> Result<Census, StoreError> {
        if root.join("index.redb").exists() {
            return Err(StoreError::Failed(format!("`{}` holds objects already", root.display())));
        }
        Self::restore_on(Arc::new(OsDisk::open(root)?), from)
    }

    /// Makes a store on an empty `disk` from a stream.
    ///
    /// # Errors
    /// As [`Store::restore`].
    pub fn restore_on(disk: Arc<dyn Disk>, from: &mut dyn Read) -> Result<Census, StoreError> {
        let announced = {
            let database = index::open_database(disk.as_ref())?;
            Import { disk: disk.as_ref(), from, shards: BTreeSet::new() }.run(&database)?
        };
        let made = Self::open_on(disk)?;
        let census = made.census()?;
        if census != announced {
            return Err(odd(&format!("it announces {announced:?} and holds {census:?}")));
        }
        Ok(census)
    }
}

impl Frozen {
    /// Writes the store as a stream.
    ///
    /// # Errors
    /// [`StoreError::Failed`] if the stream cannot be written, or the disk's.
    pub fn write(&self, to: &mut dyn Write) -> Result<Census, StoreError> {
        self.snapshot.read(|txn| {
            let mut out = Export { txn, disk: self.disk.as_ref(), snapshot: &self.snapshot, to };
            out.put(&Record::Begin { format: FORMAT })?;
            out.buckets()?;
            out.objects()?;
            out.versions()?;
            out.uploads()?;
            let census = census_in(txn)?;
            out.put(&Record::End(census))?;
            Ok(census)
        })
    }
}

fn unwritten(error: &std::io::Error) -> StoreError {
    StoreError::Failed(format!("the copy cannot be written: {error}"))
}

fn unread(error: &std::io::Error) -> StoreError {
    StoreError::Failed(format!("the copy cannot be read: {error}"))
}

fn odd(what: &str) -> StoreError {
    StoreError::Failed(format!("the copy of what S3 holds does not fit together: {what}"))
}

struct Export<'a> {
    txn: &'a ReadTransaction,
    disk: &'a dyn Disk,
    snapshot: &'a Snapshot,
    to: &'a mut dyn Write,
}

impl Export<'_> {
    fn put(&mut self, record: &Record) -> Result<(), StoreError> {
        self.snapshot.check()?;
        let json = serde_json::to_vec(record)?;
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_RECORD_BYTES);
        let length = length.ok_or_else(|| odd("a record is too long"))?;
        self.raw(&length.to_be_bytes())?;
        self.raw(&json)
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.to.write_all(bytes).map_err(|error| unwritten(&error))
    }

    fn buckets(&mut self) -> Result<(), StoreError> {
        for entry in self.txn.open_table(BUCKETS)?.iter()? {
            let (name, bucket) = entry?;
            let bucket = serde_json::from_slice(bucket.value())?;
            self.put(&Record::Bucket { name: name.value().to_owned(), bucket })?;
        }
        Ok(())
    }

    fn objects(&mut self) -> Result<(), StoreError> {
        for entry in self.txn.open_table(OBJECTS)?.iter()? {
            let (name, record) = entry?;
            let object: Object = serde_json::from_slice(record.value())?;
            self.content(&object)?;
            let (bucket, key) = name.value();
            self.put(&Record::Object { bucket: bucket.to_owned(), key: key.to_owned(), object })?;
        }
        Ok(())
    }

    fn versions(&mut self) -> Result<(), StoreError> {
        for entry in self.txn.open_table(VERSIONS)?.iter()? {
            let (name, record) = entry?;
            let version: Version = serde_json::from_slice(record.value())?;
            if let Version::Object(object) = &version {
                self.content(object)?;
            }
            let (bucket, key, age) = name.value();
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            self.put(&Record::Version { bucket, key, age, version })?;
        }
        Ok(())
    }

    fn content(&mut self, object: &Object) -> Result<(), StoreError> {
        match object.content {
            Content::Inline(number) => drop(self.body(number)?),
            Content::Blob(blob) => self.file(blob, object.size)?,
            Content::Parts(number) => {
                let segments: Vec<Segment> = serde_json::from_slice(&self.body(number)?)?;
                segments.iter().try_for_each(|segment| self.file(segment.blob, segment.size))?;
            }
        }
        Ok(())
    }

    fn uploads(&mut self) -> Result<(), StoreError> {
        for entry in self.txn.open_table(UPLOADS)?.iter()? {
            let (name, record) = entry?;
            let (bucket, key, id) = name.value();
            let (bucket, key, id) = (bucket.to_owned(), key.to_owned(), id.to_owned());
            self.put(&Record::Upload { bucket, key, id, upload: serde_json::from_slice(record.value())? })?;
        }
        for entry in self.txn.open_table(PARTS)?.iter()? {
            let (name, record) = entry?;
            let part: Part = serde_json::from_slice(record.value())?;
            self.file(part.blob, part.size)?;
            let (upload, number) = name.value();
            self.put(&Record::Part { upload: upload.to_owned(), number, part })?;
        }
        Ok(())
    }

    fn body(&mut self, number: u64) -> Result<Vec<u8>, StoreError> {
        let body = body_in(self.txn, number)?;
        let body = body.ok_or_else(|| StoreError::Failed(format!("body `{number}` is missing")))?;
        self.put(&Record::Body { number, bytes: body.len() as u64 })?;
        self.raw(&body)?;
        Ok(body)
    }

    fn file(&mut self, blob: Hex128, bytes: u64) -> Result<(), StoreError> {
        let Some(id) = multipart::file_of(blob) else { return Ok(()) };
        self.put(&Record::File { blob, bytes })?;
        let file = self.disk.open(id)?;
        let (mut at, mut chunk) = (0, vec![0; CHUNK_BYTES]);
        while at < bytes {
            let length = usize::try_from(bytes - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let piece = chunk.get_mut(..length).unwrap_or_default();
            file.read_exact_at(piece, at)?;
            self.to.write_all(piece).map_err(|error| unwritten(&error))?;
            at += length as u64;
        }
        Ok(())
    }
}

struct Import<'a> {
    disk: &'a dyn Disk,
    from: &'a mut dyn Read,
    /// A file of each shard directory that something was put into.
    shards: BTreeSet<BlobId>,
}

impl Import<'_> {
    /// Reads everything into the index and returns what the stream says that there is.
    fn run(mut self, database: &Database) -> Result<Census, StoreError> {
        match self.next()? {
            Record::Begin { format: FORMAT | FORMAT_WITHOUT_VERSIONS } => {}
            Record::Begin { format } => {
                return Err(StoreError::Failed(format!(
                    "the copy of what S3 holds has format `{format}`, this program reads `{FORMAT}`"
                )));
            }
            _ => return Err(odd("it has no beginning")),
        }
        let census = loop {
            let txn = database.begin_write()?;
            let ended = self.batch(&txn)?;
            txn.commit()?;
            if let Some(census) = ended {
                break census;
            }
        };
        // One entry made durable makes those beside it durable.
        self.shards.iter().try_for_each(|id| self.disk.sync_entry(*id))?;
        let mut more = [0];
        match self.from.read(&mut more).map_err(|error| unread(&error))? {
            0 => Ok(census),
            _ => Err(odd("it goes on behind its end")),
        }
    }

    /// Reads some records; what the stream says of its size once it has ended.
    fn batch(&mut self, txn: &WriteTransaction) -> Result<Option<Census>, StoreError> {
        let mut written = 0;
        while written < BATCH_BYTES {
            match self.next()? {
                Record::Begin { .. } => return Err(odd("it begins twice")),
                Record::Bucket { name, bucket } => {
                    let record = serde_json::to_vec(&bucket)?;
                    txn.open_table(BUCKETS)?.insert(name.as_str(), record.as_slice())?;
                }
                Record::Body { number, bytes } => {
                    let body = self.bytes(bytes)?;
                    txn.open_table(BODIES)?.insert(number, body.as_slice())?;
                    written += bytes;
                }
                Record::File { blob, bytes } => {
                    self.file(BlobId(blob.0), bytes)?;
                    txn.open_table(BLOBS)?.insert(blob.0, ())?;
                }
                Record::Object { bucket, key, object } => {
                    check_content(txn, &object)?;
                    object.version.map_or(Ok(()), |id| raise_rank(txn, id.rank()))?;
                    let record = serde_json::to_vec(&object)?;
                    txn.open_table(OBJECTS)?.insert((bucket.as_str(), key.as_str()), record.as_slice())?;
                }
                Record::Version { bucket, key, age, version } => {
                    put_version(txn, (&bucket, &key, age), &version)?
                }
                Record::Upload { bucket, key, id, upload } => {
                    let record = serde_json::to_vec(&upload)?;
                    let name = (bucket.as_str(), key.as_str(), id.as_str());
                    txn.open_table(UPLOADS)?.insert(name, record.as_slice())?;
                }
                Record::Part { upload, number, part } => {
                    check_blob(txn, part.blob)?;
                    let record = serde_json::to_vec(&part)?;
                    txn.open_table(PARTS)?.insert((upload.as_str(), number), record.as_slice())?;
                }
                Record::End(census) => return Ok(Some(census)),
            }
            written += RECORD_BYTES;
        }
        Ok(None)
    }

    fn next(&mut self) -> Result<Record, StoreError> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).map_err(|error| unread(&error))?;
        let json = self.bytes(u64::from(u32::from_be_bytes(length)))?;
        serde_json::from_slice(&json).map_err(|error| odd(&error.to_string()))
    }

    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, StoreError> {
        if length > u64::from(MAX_RECORD_BYTES) {
            return Err(odd("a record is too long"));
        }
        // At most the bound, so it fits.
        let mut bytes = vec![0; length as usize];
        self.from.read_exact(&mut bytes).map_err(|error| unread(&error))?;
        Ok(bytes)
    }

    fn file(&mut self, id: BlobId, bytes: u64) -> Result<(), StoreError> {
        let mut file = self.disk.create(id)?;
        let (mut left, mut chunk) = (bytes, vec![0; CHUNK_BYTES]);
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let piece = chunk.get_mut(..length).unwrap_or_default();
            self.from.read_exact(piece).map_err(|error| unread(&error))?;
            file.append(piece)?;
            left -= length as u64;
        }
        file.sync()?;
        if !self.shards.iter().any(|other| other.0 >> 120 == id.0 >> 120) {
            self.shards.insert(id);
        }
        Ok(())
    }
}

fn put_version(
    txn: &WriteTransaction,
    (bucket, key, age): (&str, &str, u64),
    version: &Version,
) -> Result<(), StoreError> {
    if let Version::Object(object) = version {
        check_content(txn, object)?;
    }
    match version.id() {
        Some(id) if age_of(id.rank()) != age => return Err(odd("a version is not where its id says")),
        Some(_) => {}
        None => drop(txn.open_table(NULLS)?.insert((bucket, key), age)?),
    }
    raise_rank(txn, u64::MAX - age)?;
    txn.open_table(VERSIONS)?.insert((bucket, key, age), serde_json::to_vec(version)?.as_slice())?;
    Ok(())
}

/// An object's content comes before the object.
fn check_content(txn: &WriteTransaction, object: &Object) -> Result<(), StoreError> {
    match object.content {
        Content::Blob(blob) => check_blob(txn, blob),
        Content::Inline(number) => body_of(txn, number).map(|_| ()),
        Content::Parts(number) => {
            let segments: Vec<Segment> =
                serde_json::from_slice(&body_of(txn, number)?).map_err(|error| odd(&error.to_string()))?;
            segments.iter().try_for_each(|segment| check_blob(txn, segment.blob))
        }
    }
}

fn body_of(txn: &WriteTransaction, number: u64) -> Result<Vec<u8>, StoreError> {
    let bodies = txn.open_table(BODIES)?;
    let body = bodies.get(number)?.ok_or_else(|| odd("the content of an object is missing"))?;
    Ok(body.value().to_vec())
}

fn check_blob(txn: &WriteTransaction, blob: Hex128) -> Result<(), StoreError> {
    let Some(id) = multipart::file_of(blob) else { return Ok(()) };
    match txn.open_table(BLOBS)?.get(id.0)? {
        Some(_) => Ok(()),
        None => Err(odd("a content file is missing")),
    }
}
