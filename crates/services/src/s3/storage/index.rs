//! The index: one redb file, one writer thread that commits waiting writes together, and many readers.
//!
//! INVARIANT: a write is answered only after the transaction that holds it is on disk.
//! INVARIANT: a job changes nothing unless all its checks passed, so one refused job never spoils its neighbours.
//! INVARIANT: after a commit of unknown outcome no content file is removed on its account until the index has been
//! opened anew and says whether it is referenced.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, mpsc};
use std::thread::JoinHandle;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc as queue, oneshot};

use super::blob::{Pending, Pins};
use super::disk::{BlobId, Disk};
use super::error::StoreError;

/// `format` and other facts about the store itself.
pub const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Bucket name to [`super::record::Bucket`].
pub const BUCKETS: TableDefinition<&str, &[u8]> = TableDefinition::new("buckets");
/// (bucket, key) to [`super::record::Object`].
pub const OBJECTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("objects");
/// (bucket, key, age) to [`super::record::Version`]: what is not current of the versions of a key, newest first.
pub const VERSIONS: TableDefinition<(&str, &str, u64), &[u8]> = TableDefinition::new("versions");
/// (bucket, key) to the age at which its null version is in [`VERSIONS`].
pub const NULLS: TableDefinition<(&str, &str), u64> = TableDefinition::new("nulls");
/// Body number to inline bytes or a list of [`super::record::Segment`].
pub const BODIES: TableDefinition<u64, &[u8]> = TableDefinition::new("bodies");
/// Every referenced content file.
pub const BLOBS: TableDefinition<u128, ()> = TableDefinition::new("blobs");
/// (bucket, key, upload id) to [`super::record::Upload`].
pub const UPLOADS: TableDefinition<(&str, &str, &str), &[u8]> = TableDefinition::new("uploads");
/// (upload id, part number) to [`super::record::Part`].
pub const PARTS: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("parts");

/// The form of the index. In the first one there were no versions.
const FORMAT: u64 = 2;
const FORMAT_WITHOUT_VERSIONS: u64 = 1;
const CACHE_BYTES: usize = 16 << 20;
const MAX_BATCH: usize = 64;
const MAX_WAITING: usize = 1024;

/// Content that a committed write made unreachable.
#[derive(Default, Debug)]
pub struct Freed {
    /// The body number under which readers may still hold the files, if there were several.
    pub body: Option<u64>,
    /// The files.
    pub blobs: Vec<BlobId>,
}

/// What a write left behind: its answer, and the content it freed.
pub type Written<T> = Result<(T, Freed), StoreError>;

trait Job: Send {
    /// Does the work; an error means that the disk failed and the whole transaction must go.
    fn run(&mut self, txn: &WriteTransaction) -> Result<(), StoreError>;
    /// Answers, after the commit or its failure.
    fn settle(self: Box<Self>, committed: &Result<(), StoreError>, shared: &Shared);
}

struct Task<T, F> {
    work: Option<F>,
    outcome: Option<Written<T>>,
    pending: Option<Pending>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send,
    F: FnOnce(&WriteTransaction) -> Written<T> + Send,
{
    fn run(&mut self, txn: &WriteTransaction) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        let outcome = work(txn);
        let fault = outcome.as_ref().err().filter(|error| error.is_fault()).cloned();
        self.outcome = Some(outcome);
        fault.map_or(Ok(()), Err)
    }

    fn settle(mut self: Box<Self>, committed: &Result<(), StoreError>, shared: &Shared) {
        let answer = match (committed, self.outcome.take()) {
            (Ok(()), Some(Ok((value, freed)))) => {
                if let Some(pending) = &mut self.pending {
                    pending.keep();
                }
                shared.reap(freed);
                Ok(value)
            }
            // A refusal changed nothing; dropping `pending` removes the content it brought.
            (_, Some(Err(refusal))) if !refusal.is_fault() => Err(refusal),
            (Ok(()), Some(Err(fault))) => Err(fault),
            (Ok(()), None) => Err(StoreError::Failed("the write was not run".to_owned())),
            (Err(fault), _) => {
                if let Some(pending) = &mut self.pending {
                    shared.settle_unknown(pending);
                }
                Err(fault.clone())
            }
        };
        // The asker may have gone away; what was committed stays committed.
        let _ = self.reply.send(answer);
    }
}

/// What the writer thread, the reaper thread and the readers share.
pub struct Shared {
    disk: Arc<dyn Disk>,
    // None while the index could not be opened again after a failure.
    database: RwLock<Option<Database>>,
    // How often the index was opened again. What was read of an earlier one may have been written over since.
    reopened: AtomicU64,
    pins: Arc<Pins>,
    reaper: Mutex<Option<mpsc::SyncSender<Freed>>>,
}

impl Shared {
    fn guard(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the index anew. Waits for readers, which are all short, so that none sees pages change under it.
    fn reopen(&self) -> Result<(), StoreError> {
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        self.reopened.fetch_add(1, Ordering::AcqRel);
        *slot = None;
        *slot = Some(open_database(self.disk.as_ref())?);
        Ok(())
    }

    fn commit(&self, mut batch: Vec<Box<dyn Job>>) {
        if self.guard().is_none()
            && let Err(error) = self.reopen()
        {
            let failed = Err(error);
            batch.into_iter().for_each(|job| job.settle(&failed, self));
            return;
        }
        let committed = self.attempt(&mut batch);
        if let Err(error) = &committed {
            tracing::error!(%error, "the object index failed to commit and is opened anew");
            if let Err(error) = self.reopen() {
                tracing::error!(%error, "the object index cannot be opened");
            }
        }
        batch.into_iter().for_each(|job| job.settle(&committed, self));
    }

    fn attempt(&self, batch: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let guard = self.guard();
        let Some(database) = guard.as_ref() else {
            return Err(StoreError::Failed("the index is closed".to_owned()));
        };
        let txn = database.begin_write()?;
        for job in batch {
            // Dropping the transaction undoes its other jobs too.
            job.run(&txn)?;
        }
        txn.commit()?;
        Ok(())
    }

    /// Decides, by the index as it is now, whether content of an unacknowledged write stays.
    fn settle_unknown(&self, pending: &mut Pending) {
        let referenced = self.guard().as_ref().map(|database| -> Result<bool, StoreError> {
            Ok(database.begin_read()?.open_table(BLOBS)?.get(pending.id().0)?.is_some())
        });
        match referenced {
            // Not referenced: dropping `pending` removes it.
            Some(Ok(false)) => {}
            // Referenced, or nobody can tell: the next open decides.
            Some(Ok(true) | Err(_)) | None => pending.keep(),
        }
    }

    fn reap(&self, freed: Freed) {
        if freed.blobs.is_empty() {
            return;
        }
        if let Some(reaper) = self.reaper.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A reaper that is gone leaves the files to the next open.
            let _ = reaper.send(freed);
        }
    }
}

pub(super) fn open_database(disk: &dyn Disk) -> Result<Database, StoreError> {
    let backend = disk.index()?;
    let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(Backend(backend))?;
    let txn = database.begin_write()?;
    let to_make = {
        let mut meta = txn.open_table(META)?;
        let format = meta.get("format")?.map(|value| value.value());
        match format {
            Some(FORMAT) => false,
            None | Some(FORMAT_WITHOUT_VERSIONS) => {
                meta.insert("format", FORMAT)?;
                true
            }
            Some(other) => {
                return Err(StoreError::Failed(format!(
                    "the store has format `{other}`, this program reads `{FORMAT}`"
                )));
            }
        }
    };
    if to_make {
        txn.open_table(BUCKETS)?;
        txn.open_table(OBJECTS)?;
        txn.open_table(VERSIONS)?;
        txn.open_table(NULLS)?;
        txn.open_table(BODIES)?;
        txn.open_table(BLOBS)?;
        txn.open_table(UPLOADS)?;
        txn.open_table(PARTS)?;
        txn.commit()?;
    } else {
        txn.abort()?;
    }
    Ok(database)
}

/// redb wants a sized backend; the seam hands out a boxed one.
#[derive(Debug)]
struct Backend(Box<dyn redb::StorageBackend>);

impl redb::StorageBackend for Backend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.0.close()
    }
}

/// The index and its threads. Dropping it waits for what was submitted.
pub struct Index {
    shared: Arc<Shared>,
    jobs: Option<queue::Sender<Box<dyn Job>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Index {
    /// Opens the index on `disk` and starts its threads.
    pub fn open(disk: Arc<dyn Disk>, pins: Arc<Pins>) -> Result<Self, StoreError> {
        let database = open_database(disk.as_ref())?;
        let (reaper, condemned) = mpsc::sync_channel::<Freed>(MAX_WAITING);
        let shared = Arc::new(Shared {
            disk: Arc::clone(&disk),
            database: RwLock::new(Some(database)),
            reopened: AtomicU64::new(0),
            pins: Arc::clone(&pins),
            reaper: Mutex::new(Some(reaper)),
        });
        let reaper = std::thread::Builder::new().name("s3-reaper".to_owned()).spawn(move || {
            for freed in condemned {
                pins.condemn(disk.as_ref(), freed);
            }
        })?;
        let (jobs, mut waiting) = queue::channel::<Box<dyn Job>>(MAX_WAITING);
        let writer_shared = Arc::clone(&shared);
        let writer = std::thread::Builder::new().name("s3-index".to_owned()).spawn(move || {
            while let Some(first) = waiting.blocking_recv() {
                let mut batch = vec![first];
                while batch.len() < MAX_BATCH
                    && let Ok(next) = waiting.try_recv()
                {
                    batch.push(next);
                }
                writer_shared.commit(batch);
            }
        })?;
        Ok(Self { shared, jobs: Some(jobs), threads: vec![writer, reaper] })
    }

    /// Runs `query` on one consistent view. `query` must be short: opening the index anew waits for it.
    pub fn read<T>(
        &self,
        query: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let guard = self.shared.guard();
        match guard.as_ref() {
            Some(database) => query(&database.begin_read()?),
            None => {
                drop(guard);
                self.shared.reopen()?;
                match self.shared.guard().as_ref() {
                    Some(database) => query(&database.begin_read()?),
                    None => Err(StoreError::Failed("the index is closed".to_owned())),
                }
            }
        }
    }

    /// Holds the index as it is now, for a read that takes long. Pages that are freed meanwhile stay.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let guard = self.shared.guard();
        let opened = self.shared.reopened.load(Ordering::Acquire);
        let database = guard.as_ref().ok_or_else(|| StoreError::Failed("the index is closed".to_owned()))?;
        Ok(Snapshot { txn: database.begin_read()?, shared: Arc::clone(&self.shared), opened })
    }

    /// Runs `work` in a transaction and answers once it is on disk. `pending` is content that `work` refers to: it
    /// stays if the write commits and goes if it is refused, whether or not the asker still waits.
    pub async fn write<T: Send + 'static>(
        &self,
        pending: Option<Pending>,
        work: impl FnOnce(&WriteTransaction) -> Written<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Failed("the index has stopped".to_owned());
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task { work: Some(work), outcome: None, pending, reply });
        self.jobs.as_ref().ok_or_else(closed)?.send(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// The pins of readers.
    pub fn pins(&self) -> &Arc<Pins> {
        &self.shared.pins
    }
}

/// The index at one moment.
pub struct Snapshot {
    txn: ReadTransaction,
    shared: Arc<Shared>,
    opened: u64,
}

impl Snapshot {
    /// Runs `query`, which may take long and should [`Snapshot::check`] on its way.
    pub fn read<T>(
        &self,
        query: impl FnOnce(&ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let answer = query(&self.txn)?;
        self.check().map(|()| answer)
    }

    /// Whether what was read is what was there. It is not if the index had to be opened anew, after the disk failed.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.shared.reopened.load(Ordering::Acquire) == self.opened {
            true => Ok(()),
            false => Err(StoreError::Failed("the disk failed while the objects were copied".to_owned())),
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.jobs = None;
        let mut threads = self.threads.drain(..);
        // The writer first: it feeds the reaper.
        if let Some(writer) = threads.next() {
            let _ = writer.join();
        }
        *self.shared.reaper.lock().unwrap_or_else(PoisonError::into_inner) = None;
        for thread in threads {
            let _ = thread.join();
        }
    }
}
