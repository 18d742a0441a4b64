//! Content: taking it in as a stream, and giving it out again.
//!
//! INVARIANT: memory per stream is bounded by two batches on the way in and one chunk on the way out.
//! INVARIANT: content that no committed write refers to is removed, at once if its writer gives up, at the next open
//! if the program dies.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::task::JoinHandle;

use super::digest::{Hasher, Sums};
use super::disk::{BlobId, BlobRead, BlobWrite, Disk};
use super::error::StoreError;
use super::index::Freed;
use super::record::Segment;

/// Content up to this many bytes lives in the index: one durable write instead of three.
pub const INLINE_MAX_BYTES: usize = 16 << 10;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_CHUNKS: usize = 1024;
const CHUNK_BYTES: u64 = 512 << 10;
/// Writes stop while the disk has less than this free, so that deletes still find room to be recorded.
const RESERVE_BYTES: u64 = 16 << 20;

/// A content file that no committed write refers to yet. Dropping it removes the file.
pub struct Pending {
    disk: Arc<dyn Disk>,
    id: BlobId,
    kept: bool,
}

impl Pending {
    /// The file.
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// Leaves the file in place.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed at the next open.
            let _ = self.disk.remove(self.id);
        }
    }
}

/// Content that was taken in and made durable, waiting to be referred to.
pub struct Taken {
    /// Its length in bytes.
    pub size: u64,
    /// Its sums.
    pub sums: Sums,
    pub(super) place: Place,
}

pub(super) enum Place {
    Inline(Bytes),
    File(Pending),
}

struct Writing {
    file: Box<dyn BlobWrite>,
    pending: Pending,
    hasher: Box<Hasher>,
}

impl Writing {
    fn begin(disk: &Arc<dyn Disk>, hasher: Box<Hasher>) -> io::Result<Self> {
        if disk.free_bytes()? < RESERVE_BYTES {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = BlobId::random()?;
        let file = disk.create(id)?;
        Ok(Self { file, pending: Pending { disk: Arc::clone(disk), id, kept: false }, hasher })
    }

    fn append(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for chunk in batch {
            self.file.append(chunk)?;
            self.hasher.update(chunk);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<(Pending, Sums)> {
        self.file.sync()?;
        self.pending.disk.sync_entry(self.pending.id)?;
        Ok((self.pending, self.hasher.finish()))
    }
}

enum Stage {
    Collecting(Box<Hasher>),
    Working(JoinHandle<io::Result<Writing>>),
    Broken,
}

/// Takes content in. Dropping it before [`Intake::finish`] removes what was written.
pub struct Intake {
    disk: Arc<dyn Disk>,
    stage: Stage,
    batch: Vec<Bytes>,
    batch_bytes: usize,
    size: u64,
    inline_max: usize,
}

impl Intake {
    pub(super) fn new(disk: Arc<dyn Disk>, hasher: Hasher, inline_max: usize) -> Self {
        let stage = Stage::Collecting(Box::new(hasher));
        Self { disk, stage, batch: Vec::new(), batch_bytes: 0, size: 0, inline_max }
    }

    /// Bytes taken in so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes in the next bytes; waits while the disk is behind.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`]; the intake is then of no further use.
    pub async fn push(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.size += chunk.len() as u64;
        self.batch_bytes += chunk.len();
        self.batch.push(chunk);
        if self.batch_bytes >= BATCH_BYTES {
            let batch = self.take_batch();
            let writing = self.settled().await?;
            let disk = Arc::clone(&self.disk);
            self.stage = Stage::Working(tokio::task::spawn_blocking(move || {
                let mut writing = writing.on(&disk)?;
                writing.append(&batch)?;
                Ok(writing)
            }));
        } else if self.batch.len() >= BATCH_CHUNKS {
            // Many tiny chunks would cost more in bookkeeping than in bytes.
            let joined = self.joined();
            self.batch.push(joined);
        }
        Ok(())
    }

    /// Makes the content durable and returns its sums.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`]; nothing is left behind.
    pub async fn finish(mut self) -> Result<Taken, StoreError> {
        let size = self.size;
        if self.size <= self.inline_max as u64 {
            let bytes = self.joined();
            let Settled::Fresh(mut hasher) = self.settled().await? else {
                return Err(StoreError::Failed("short content was already written".to_owned()));
            };
            hasher.update(&bytes);
            return Ok(Taken { size, sums: hasher.finish(), place: Place::Inline(bytes) });
        }
        let batch = self.take_batch();
        let writing = self.settled().await?;
        let disk = Arc::clone(&self.disk);
        let (pending, sums) = joined_task(tokio::task::spawn_blocking(move || {
            let mut writing = writing.on(&disk)?;
            writing.append(&batch)?;
            writing.finish()
        }))
        .await?;
        Ok(Taken { size, sums, place: Place::File(pending) })
    }

    async fn settled(&mut self) -> Result<Settled, StoreError> {
        match std::mem::replace(&mut self.stage, Stage::Broken) {
            Stage::Collecting(hasher) => Ok(Settled::Fresh(hasher)),
            Stage::Working(task) => Ok(Settled::Begun(joined_task(task).await?)),
            Stage::Broken => Err(StoreError::Failed("an earlier write of this content failed".to_owned())),
        }
    }

    fn take_batch(&mut self) -> Vec<Bytes> {
        self.batch_bytes = 0;
        std::mem::take(&mut self.batch)
    }

    fn joined(&mut self) -> Bytes {
        if self.batch.len() == 1 {
            return self.batch.pop().unwrap_or_default();
        }
        let mut all = BytesMut::with_capacity(self.batch_bytes);
        self.batch.drain(..).for_each(|chunk| all.extend_from_slice(&chunk));
        all.freeze()
    }
}

enum Settled {
    Fresh(Box<Hasher>),
    Begun(Writing),
}

impl Settled {
    fn on(self, disk: &Arc<dyn Disk>) -> io::Result<Writing> {
        match self {
            Self::Fresh(hasher) => Writing::begin(disk, hasher),
            Self::Begun(writing) => Ok(writing),
        }
    }
}

async fn joined_task<T>(task: JoinHandle<io::Result<T>>) -> Result<T, StoreError> {
    Ok(task.await.map_err(|error| StoreError::Failed(error.to_string()))??)
}

/// Refuses early when the disk is as good as full.
pub(super) fn check_room(disk: &dyn Disk) -> Result<(), StoreError> {
    if disk.free_bytes()? < RESERVE_BYTES { Err(StoreError::Full) } else { Ok(()) }
}

/// Which contents must not be removed yet: those of several files that are being read, so that overwriting an object
/// does not cut its readers short (a reader of a single file holds it open, which the kernel honours by itself), and
/// all of them while the whole store is copied.
#[derive(Default)]
pub struct Pins {
    held: Mutex<Holds>,
}

#[derive(Default)]
struct Holds {
    /// By body number.
    read: HashMap<u64, Held>,
    /// How many copies of the whole store are being made.
    freezes: usize,
    /// To be removed when the last of those is done.
    condemned: Vec<BlobId>,
}

#[derive(Default)]
struct Held {
    readers: usize,
    condemned: Vec<BlobId>,
}

impl Holds {
    /// Those of `blobs` that can be removed now.
    fn removable(&mut self, blobs: Vec<BlobId>) -> Vec<BlobId> {
        if self.freezes == 0 {
            return blobs;
        }
        self.condemned.extend(blobs);
        Vec::new()
    }
}

impl Pins {
    fn holds(&self) -> MutexGuard<'_, Holds> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds body `body` until the pin is dropped. The caller must look the object up again afterwards: only if it
    /// still has this body is the pin sure to have come before any removal.
    pub(super) fn pin(self: &Arc<Self>, disk: &Arc<dyn Disk>, body: u64) -> BodyPin {
        self.holds().read.entry(body).or_default().readers += 1;
        BodyPin { pins: Arc::clone(self), disk: Arc::clone(disk), body }
    }

    /// Holds everything that is there until the value is dropped.
    pub(super) fn freeze(self: &Arc<Self>, disk: &Arc<dyn Disk>) -> Freeze {
        self.holds().freezes += 1;
        Freeze { pins: Arc::clone(self), disk: Arc::clone(disk) }
    }

    /// Removes content that no write refers to any more, now or when its last reader is done.
    pub(super) fn condemn(&self, disk: &dyn Disk, freed: Freed) {
        let mut holds = self.holds();
        if let Some(body) = freed.body
            && let Some(held) = holds.read.get_mut(&body)
        {
            held.condemned.extend(freed.blobs);
            return;
        }
        let removable = holds.removable(freed.blobs);
        drop(holds);
        remove_all(disk, &removable);
    }
}

fn remove_all(disk: &dyn Disk, blobs: &[BlobId]) {
    for blob in blobs {
        // What cannot be removed now is removed at the next open.
        if let Err(error) = disk.remove(*blob) {
            tracing::warn!(%blob, %error, "unreferenced content could not be removed");
        }
    }
}

/// Keeps the files of one body from being removed.
pub(super) struct BodyPin {
    pins: Arc<Pins>,
    disk: Arc<dyn Disk>,
    body: u64,
}

impl Drop for BodyPin {
    fn drop(&mut self) {
        let mut holds = self.pins.holds();
        let last = holds.read.get_mut(&self.body).is_some_and(|entry| {
            entry.readers -= 1;
            entry.readers == 0
        });
        if last {
            let condemned = holds.read.remove(&self.body).map(|entry| entry.condemned).unwrap_or_default();
            let removable = holds.removable(condemned);
            drop(holds);
            remove_all(self.disk.as_ref(), &removable);
        }
    }
}

/// Keeps all files from being removed.
pub(super) struct Freeze {
    pins: Arc<Pins>,
    disk: Arc<dyn Disk>,
}

impl Drop for Freeze {
    fn drop(&mut self) {
        let mut holds = self.pins.holds();
        holds.freezes -= 1;
        let removable = if holds.freezes == 0 { std::mem::take(&mut holds.condemned) } else { Vec::new() };
        drop(holds);
        remove_all(self.disk.as_ref(), &removable);
    }
}

/// An object's bytes, held so that they can be read to the end whatever happens to the object.
#[derive(Clone)]
pub struct Source {
    pub(super) kind: SourceKind,
    pub(super) size: u64,
}

#[derive(Clone)]
pub(super) enum SourceKind {
    Inline(Bytes),
    File(Arc<dyn BlobRead>),
    Files(Arc<Files>),
}

pub(super) struct Files {
    pub(super) segments: Vec<Segment>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) _pin: BodyPin,
}

impl Source {
    /// The parts the content was uploaded in; empty unless it was a multipart upload.
    pub fn segments(&self) -> &[Segment] {
        match &self.kind {
            SourceKind::Files(files) => &files.segments,
            SourceKind::Inline(_) | SourceKind::File(_) => &[],
        }
    }

    /// Streams `range`, which must lie within the content.
    pub fn stream(&self, range: Range<u64>) -> ContentStream {
        let end = range.end.min(self.size);
        let start = range.start.min(end);
        match &self.kind {
            SourceKind::Inline(bytes) => {
                // Inline content is far smaller than any usize.
                let slice = bytes.slice(start as usize..end as usize);
                ContentStream { at: end, end, ready: Some(slice), reading: None, source: None }
            }
            SourceKind::File(_) | SourceKind::Files(_) => {
                ContentStream { at: start, end, ready: None, reading: None, source: Some(self.clone()) }
            }
        }
    }

    /// Reads some bytes at `at`, at most up to `end`, never across two files.
    fn read_some(&self, at: u64, end: u64) -> io::Result<Bytes> {
        match &self.kind {
            SourceKind::Inline(bytes) => Ok(bytes.slice(at as usize..end as usize)),
            SourceKind::File(file) => read_chunk(file.as_ref(), at, end),
            SourceKind::Files(files) => {
                let mut start = 0;
                for segment in &files.segments {
                    if at < start + segment.size {
                        let file = files.disk.open(BlobId(segment.blob.0))?;
                        return read_chunk(file.as_ref(), at - start, segment.size.min(end - start));
                    }
                    start += segment.size;
                }
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        }
    }
}

fn read_chunk(file: &dyn BlobRead, at: u64, end: u64) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed((end - at).min(CHUNK_BYTES) as usize);
    file.read_exact_at(&mut chunk, at)?;
    Ok(chunk.freeze())
}

/// A range of an object's bytes, in order, in chunks.
pub struct ContentStream {
    at: u64,
    end: u64,
    ready: Option<Bytes>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    source: Option<Source>,
}

impl ContentStream {
    /// Bytes still to come.
    pub fn remaining(&self) -> u64 {
        self.end - self.at + self.ready.as_ref().map_or(0, |ready| ready.len() as u64)
    }
}

impl Stream for ContentStream {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = Pin::into_inner(self);
        if let Some(ready) = this.ready.take() {
            return Poll::Ready((!ready.is_empty()).then_some(Ok(ready)));
        }
        if this.at >= this.end {
            return Poll::Ready(None);
        }
        let Some(source) = &this.source else { return Poll::Ready(None) };
        let (at, end) = (this.at, this.end);
        let reading = this.reading.get_or_insert_with(|| {
            let source = source.clone();
            tokio::task::spawn_blocking(move || source.read_some(at, end))
        });
        match Pin::new(reading).poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(done) => {
                this.reading = None;
                let chunk = done.map_err(io::Error::other).and_then(|chunk| chunk);
                match &chunk {
                    Ok(chunk) => this.at += chunk.len() as u64,
                    Err(_) => this.at = this.end,
                }
                Poll::Ready(Some(chunk))
            }
        }
    }
}
