//! The disk: a database with the last snapshot of the state and the commands since.
//!
//! Tables: `meta` (format, region, head), `snapshot` (one state), `log` (the commands after it, by revision), `blobs`.
//!
//! INVARIANT: the head says the last revision in every transaction, so a log that has lost its end is noticed.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use imbl::OrdMap;
use postern_model::{Command, Event, Region, State, replay};
use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::medium::{Directory, Medium};
use crate::record::{self, Name, RecordError};

/// The format that this version writes, and the newest that it reads. It goes up when an earlier version could not read
/// what this one writes, so that the earlier one says so by the number: 2 has batches, quotas and default VPCs.
pub const FORMAT: u64 = 2;
/// The oldest format that this version reads. What is opened goes on in the newest.
pub const OLDEST_FORMAT: u64 = 1;
/// How large a blob may be.
pub const MAX_BLOB_BYTES: usize = 1 << 20;
/// How many blobs there may be.
pub const MAX_BLOBS: usize = 1_024;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const SNAPSHOT: TableDefinition<u64, &[u8]> = TableDefinition::new("snapshot");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const BLOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("blobs");

/// Blobs by name.
pub type Blobs = OrdMap<String, Arc<[u8]>>;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// The region that it holds. A new store is made for it, a store of another one is refused.
    pub region: Region,
    /// After how many commands the state is written anew and the log begins again.
    pub snapshot_every: u64,
    /// How much of the database is kept in memory.
    pub cache_bytes: usize,
}

impl Options {
    /// The usual ones.
    pub fn new(region: Region) -> Self {
        Self { region, snapshot_every: 1_000, cache_bytes: 16 << 20 }
    }
}

/// The first record, never sealed, so that every version can read it.
#[derive(Debug, Serialize, Deserialize)]
struct Format {
    format: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    revision: u64,
}

/// A command in the log, and what it did when it was first applied.
#[derive(Debug, Deserialize)]
struct Logged {
    command: Command,
    events: Vec<Event>,
}

/// A change of the disk. A list of them is written whole or not at all.
pub(crate) enum Write {
    /// The command that made a revision.
    Command { revision: u64, record: Vec<u8> },
    /// The state at a revision: the commands up to it are no longer needed.
    Snapshot { revision: u64, record: Vec<u8> },
    /// Another state in place of all that was, as a new revision.
    Reset { revision: u64, record: Vec<u8> },
    /// A blob, or none any more.
    Blob { name: String, record: Option<Vec<u8>> },
}

/// A region on a disk, opened by this process alone.
pub struct Store {
    medium: Arc<dyn Medium>,
    options: Options,
    /// None after the disk has failed, until it is opened again.
    database: Option<Database>,
    /// Whether what the disk gives back may not be what is on it.
    suspect: bool,
    /// The last revision that was acknowledged.
    revision: u64,
    blobs: Blobs,
    /// The commands in the log, and how many bytes they are.
    log: (u64, u64),
    /// The revision of the snapshot, and how many bytes it is.
    snapshot: (u64, u64),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("place", &self.medium.name()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory, or makes one there: the last snapshot and the commands since.
    pub fn open(directory: &Path, options: Options) -> Result<(Self, State), StoreError> {
        Self::open_on(Directory::take(directory)?, options)
    }

    /// Opens the store on a medium, or makes one there.
    pub fn open_on(medium: impl Medium, options: Options) -> Result<(Self, State), StoreError> {
        let state = State::new(options.region.clone());
        Self::open_or_make(Arc::new(medium), options, &state, &Blobs::new())
    }

    /// The region that a directory holds; none if there is no store in it.
    pub fn region_in(directory: &Path) -> Result<Option<Region>, StoreError> {
        let nameless = Region { name: String::new(), zones: Vec::new() };
        if !directory.exists() {
            return Ok(None);
        }
        let mut store = Self::closed(Arc::new(Directory::take(directory)?), Options::new(nameless));
        store.guarded(|store| match store.open_database()? {
            None => Ok(None),
            Some(database) => {
                store.check_format(&database)?;
                store.meta(&database, "region", Name::Region).map(Some)
            }
        })
    }

    /// Makes a store that begins with a state.
    pub(crate) fn make(directory: Directory, state: &State, blobs: &Blobs) -> Result<Self, StoreError> {
        let options = Options::new(state.region.clone());
        Self::open_or_make(Arc::new(directory), options, state, blobs).map(|(store, _)| store)
    }

    fn closed(medium: Arc<dyn Medium>, options: Options) -> Self {
        Self {
            medium,
            options,
            database: None,
            suspect: false,
            revision: 0,
            blobs: Blobs::new(),
            log: (0, 0),
            snapshot: (0, 0),
        }
    }

    fn open_or_make(
        medium: Arc<dyn Medium>,
        options: Options,
        first: &State,
        blobs: &Blobs,
    ) -> Result<(Self, State), StoreError> {
        let mut store = Self::closed(medium, options);
        let state = store.guarded(|store| {
            let database = match store.open_database()? {
                Some(database) => database,
                None => store.build(first, blobs)?,
            };
            let format = store.check_format(&database)?;
            let state = store.load(&database)?;
            if format != FORMAT {
                store.mark_format(&database)?;
            }
            store.database = Some(database);
            Ok(state)
        })?;
        Ok((store, state))
    }

    /// Puts a few bytes under a name.
    pub fn put_blob(&mut self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        check_blob(&self.blobs, name, content)?;
        self.write(&[blob_write(name, Some(content))])?;
        self.blobs.insert(name.to_owned(), content.into());
        Ok(())
    }

    /// What was put under a name.
    pub fn get_blob(&self, name: &str) -> Option<Arc<[u8]>> {
        self.blobs.get(name).cloned()
    }

    /// Appends the command that made `revision`, the next one, and what it did. Durable on return.
    pub fn append(&mut self, revision: u64, command: &Command, events: &[Event]) -> Result<(), StoreError> {
        if revision != self.revision + 1 {
            let reason = format!("it does not follow revision {}", self.revision);
            return Err(self.damage(Name::Command(revision), reason));
        }
        let record = self.command_record(revision, command, events)?;
        self.write(&[Write::Command { revision, record }])
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The record of a command.
    pub(crate) fn command_record(
        &self,
        revision: u64,
        command: &Command,
        events: &[Event],
    ) -> Result<Vec<u8>, StoreError> {
        #[derive(Serialize)]
        struct Logging<'a> {
            command: &'a Command,
            events: &'a [Event],
        }
        let logged = Logging { command, events };
        let name = Name::Command(revision);
        record::write(name, &logged).map_err(|error| self.damaged(name, &error))
    }

    /// Whether the log has grown so long that the state should be written anew. The work of writing a state is spread
    /// over as many bytes of log.
    pub(crate) fn wants_snapshot(&self) -> bool {
        let (commands, bytes) = self.log;
        let every = self.options.snapshot_every;
        commands >= every && (bytes >= self.snapshot.1 || commands >= every.saturating_mul(64))
    }

    /// Whether there are commands since the last snapshot.
    pub(crate) fn has_log(&self) -> bool {
        self.log.0 > 0
    }

    pub(crate) fn snapshot_every(&self) -> u64 {
        self.options.snapshot_every
    }

    pub(crate) fn medium(&self) -> Arc<dyn Medium> {
        self.medium.clone()
    }

    /// Whether the database has to be built anew before anything can be written.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Builds the database anew from what is in memory. After a failed write or flush an operating system may show
    /// data that it has not written and never will, so nothing that is read back can be relied on.
    pub(crate) fn rebuild(&mut self, state: &State, blobs: &Blobs) -> Result<(), StoreError> {
        self.guarded(|store| {
            store.database = None;
            let database = store.build(state, blobs)?;
            store.database = Some(database);
            store.suspect = false;
            store.revision = state.revision;
            store.log = (0, 0);
            store.snapshot.0 = state.revision;
            Ok(())
        })
    }

    /// Writes all of these or none, and flushes. After an error nothing of them will be found later, as far as the
    /// disk can be read again.
    pub(crate) fn write(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        // INVARIANT: a snapshot only ever gives way to a later one: the commands behind the later one are gone.
        if let [Write::Snapshot { revision, .. }] = writes
            && *revision <= self.snapshot.0
        {
            return Ok(());
        }
        let outcome = self.guarded(|store| {
            if store.suspect {
                return Err(store.damage(Name::Head, "the disk has failed since it was opened".to_owned()));
            }
            if store.database.is_none() {
                store.reopen()?;
            }
            let Some(database) = &store.database else { return Ok(()) };
            store.transact(database, writes)
        });
        match outcome {
            Ok(()) => {
                self.count(writes);
                Ok(())
            }
            Err(error) => {
                // The database refuses to go on after an error of the disk: it is opened again, now if that is
                // possible, else before the next write.
                self.database = None;
                // A full disk refuses a write at once; after any other error more may have been lost than is said.
                self.suspect |= !is_full(&error);
                if !self.suspect
                    && let Err(error) = self.guarded(Self::reopen)
                {
                    tracing::warn!(%error, "the store stays closed until the next change");
                    self.suspect |= !is_full(&error);
                }
                Err(error)
            }
        }
    }

    fn count(&mut self, writes: &[Write]) {
        let length = |record: &[u8]| u64::try_from(record.len()).unwrap_or(u64::MAX);
        for write in writes {
            match write {
                Write::Command { revision, record } => {
                    self.revision = *revision;
                    self.log = (self.log.0 + 1, self.log.1.saturating_add(length(record)));
                }
                Write::Snapshot { revision, record } => {
                    // Commands that came while the snapshot was made stay in the log; their bytes are counted again
                    // as if they were average ones.
                    let left = self.revision.saturating_sub(*revision);
                    let average = self.log.1.checked_div(self.log.0).unwrap_or(0);
                    self.log = (left, left.saturating_mul(average));
                    self.snapshot = (*revision, length(record));
                }
                Write::Reset { revision, record } => {
                    self.revision = *revision;
                    self.log = (0, 0);
                    self.snapshot = (*revision, length(record));
                }
                Write::Blob { .. } => {}
            }
        }
    }

    fn transact(&self, database: &Database, writes: &[Write]) -> Result<(), StoreError> {
        let transaction = database.begin_write().map_err(|e| self.fault(e))?;
        let mut head = None;
        {
            let mut log = transaction.open_table(LOG).map_err(|e| self.fault(e))?;
            for write in writes {
                match write {
                    Write::Command { revision, record } => {
                        log.insert(revision, record.as_slice()).map_err(|e| self.fault(e))?;
                        head = Some(*revision);
                    }
                    Write::Snapshot { revision, record } | Write::Reset { revision, record } => {
                        let mut snapshot = transaction.open_table(SNAPSHOT).map_err(|e| self.fault(e))?;
                        snapshot.retain(|_, _| false).map_err(|e| self.fault(e))?;
                        snapshot.insert(revision, record.as_slice()).map_err(|e| self.fault(e))?;
                        log.retain_in(..=*revision, |_, _| false).map_err(|e| self.fault(e))?;
                        if matches!(write, Write::Reset { .. }) {
                            head = Some(*revision);
                        }
                    }
                    Write::Blob { name, record } => {
                        let mut blobs = transaction.open_table(BLOBS).map_err(|e| self.fault(e))?;
                        match record {
                            Some(record) => blobs.insert(name.as_str(), record.as_slice()).map(drop),
                            None => blobs.remove(name.as_str()).map(drop),
                        }
                        .map_err(|e| self.fault(e))?;
                    }
                }
            }
            if let Some(revision) = head {
                let mut meta = transaction.open_table(META).map_err(|e| self.fault(e))?;
                let record = self.sealed(Name::Head, &Head { revision })?;
                meta.insert("head", record.as_slice()).map_err(|e| self.fault(e))?;
            }
        }
        transaction.commit().map_err(|e| self.fault(e))
    }

    /// Opens the database again after an error, without what was written but never acknowledged.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let database = self.open_database()?;
        let database = database.ok_or_else(|| self.damage(Name::Head, "the database is gone".to_owned()))?;
        let head: Head = self.meta(&database, "head", Name::Head)?;
        if head.revision < self.revision {
            let reason =
                format!("revision {} was acknowledged, and {} is the last", self.revision, head.revision);
            return Err(self.damage(Name::Head, reason));
        }
        if head.revision > self.revision {
            let transaction = database.begin_write().map_err(|e| self.fault(e))?;
            {
                let mut log = transaction.open_table(LOG).map_err(|e| self.fault(e))?;
                log.retain_in(self.revision + 1.., |_, _| false).map_err(|e| self.fault(e))?;
                let mut meta = transaction.open_table(META).map_err(|e| self.fault(e))?;
                let record = self.sealed(Name::Head, &Head { revision: self.revision })?;
                meta.insert("head", record.as_slice()).map_err(|e| self.fault(e))?;
            }
            transaction.commit().map_err(|e| self.fault(e))?;
        }
        self.database = Some(database);
        Ok(())
    }

    fn open_database(&self) -> Result<Option<Database>, StoreError> {
        self.medium.open(&self.builder()).map_err(|e| self.fault(e))
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        // Checks every page's checksum. Without it a damaged file may be trusted, or end the process.
        builder.set_check_integrity_on_open(true);
        builder
    }

    /// Makes a database that begins with this state. One half made is never seen under its name.
    fn build(&self, state: &State, blobs: &Blobs) -> Result<Database, StoreError> {
        let database = self.medium.open_new(&self.builder()).map_err(|e| self.fault(e))?;
        self.initialise(&database, state, blobs)?;
        database.close().map_err(|e| self.fault(e))?;
        self.medium.adopt_new()?;
        let database = self.open_database()?;
        database.ok_or_else(|| self.damage(Name::Head, "the new database is gone".to_owned()))
    }

    fn format_record(&self) -> Result<Vec<u8>, StoreError> {
        let format = serde_json::to_vec(&Format { format: FORMAT });
        format.map_err(|error| self.damaged(Name::Region, &error.into()))
    }

    /// Says of a store of an earlier format that what follows is of this one.
    fn mark_format(&self, database: &Database) -> Result<(), StoreError> {
        let record = self.format_record()?;
        let transaction = database.begin_write().map_err(|e| self.fault(e))?;
        {
            let mut meta = transaction.open_table(META).map_err(|e| self.fault(e))?;
            meta.insert("format", record.as_slice()).map_err(|e| self.fault(e))?;
        }
        transaction.commit().map_err(|e| self.fault(e))
    }

    fn initialise(&self, database: &Database, state: &State, blobs: &Blobs) -> Result<(), StoreError> {
        let format = self.format_record()?;
        let region = self.sealed(Name::Region, &state.region)?;
        let head = self.sealed(Name::Head, &Head { revision: state.revision })?;
        let snapshot = self.sealed(Name::Snapshot(state.revision), state)?;
        let transaction = database.begin_write().map_err(|e| self.fault(e))?;
        {
            let mut meta = transaction.open_table(META).map_err(|e| self.fault(e))?;
            for (name, record) in [("format", &format), ("region", &region), ("head", &head)] {
                meta.insert(name, record.as_slice()).map_err(|e| self.fault(e))?;
            }
            let mut snapshots = transaction.open_table(SNAPSHOT).map_err(|e| self.fault(e))?;
            snapshots.insert(state.revision, snapshot.as_slice()).map_err(|e| self.fault(e))?;
            transaction.open_table(LOG).map_err(|e| self.fault(e))?;
            let mut table = transaction.open_table(BLOBS).map_err(|e| self.fault(e))?;
            for (name, content) in blobs {
                let record = record::seal(Name::Blob(name), content);
                table.insert(name.as_str(), record.as_slice()).map_err(|e| self.fault(e))?;
            }
        }
        transaction.commit().map_err(|e| self.fault(e))
    }

    fn load(&mut self, database: &Database) -> Result<State, StoreError> {
        let region: Region = self.meta(database, "region", Name::Region)?;
        if region.name != self.options.region.name {
            return Err(StoreError::OtherRegion {
                place: self.medium.name(),
                stored: region.name,
                asked: self.options.region.name.clone(),
            });
        }
        let head: Head = self.meta(database, "head", Name::Head)?;
        let transaction = database.begin_read().map_err(|e| self.fault(e))?;
        let mut state = {
            let snapshots = transaction.open_table(SNAPSHOT).map_err(|e| self.fault(e))?;
            let last = snapshots.last().map_err(|e| self.fault(e))?;
            let (revision, record) =
                last.ok_or_else(|| self.damage(Name::Snapshot(head.revision), "it is missing".to_owned()))?;
            let name = Name::Snapshot(revision.value());
            self.snapshot = (revision.value(), u64::try_from(record.value().len()).unwrap_or(u64::MAX));
            let state: State =
                record::read(name, record.value()).map_err(|error| self.damaged(name, &error))?;
            if state.revision != revision.value() {
                return Err(self.damage(name, format!("it says revision {}", state.revision)));
            }
            revive(state)
        };
        let log = transaction.open_table(LOG).map_err(|e| self.fault(e))?;
        self.log = (log.len().map_err(|e| self.fault(e))?, 0);
        for entry in log.iter().map_err(|e| self.fault(e))? {
            let (revision, record) = entry.map_err(|e| self.fault(e))?;
            state = self.replay(&state, revision.value(), record.value())?;
            self.log.1 = self.log.1.saturating_add(u64::try_from(record.value().len()).unwrap_or(u64::MAX));
        }
        if state.revision != head.revision {
            let missing = Name::Command(state.revision.min(head.revision) + 1);
            return Err(self.damage(missing, format!("revision {} should be the last", head.revision)));
        }
        self.revision = head.revision;
        self.blobs = self.load_blobs(&transaction)?;
        Ok(state)
    }

    fn replay(&self, state: &State, revision: u64, record: &[u8]) -> Result<State, StoreError> {
        let name = Name::Command(revision);
        if revision != state.revision + 1 {
            let missing = Name::Command(state.revision + 1);
            return Err(self.damage(missing, format!("it is missing; revision {revision} is next")));
        }
        let logged: Logged = record::read(name, record).map_err(|error| self.damaged(name, &error))?;
        let (next, events) = replay(state, &logged.command)
            .map_err(|error| self.damage(name, format!("it is refused when it is replayed: {error}")))?;
        if events != logged.events || next.revision != revision {
            return Err(self.damage(name, "it does something else when it is replayed".to_owned()));
        }
        Ok(next)
    }

    fn load_blobs(&self, transaction: &redb::ReadTransaction) -> Result<Blobs, StoreError> {
        let table = transaction.open_table(BLOBS).map_err(|e| self.fault(e))?;
        let mut blobs = Blobs::new();
        for entry in table.iter().map_err(|e| self.fault(e))? {
            let (name, record) = entry.map_err(|e| self.fault(e))?;
            let content = record::open(Name::Blob(name.value()), record.value());
            let content = content.map_err(|error| self.damaged(Name::Blob(name.value()), &error))?;
            blobs.insert(name.value().to_owned(), content.into());
        }
        Ok(blobs)
    }

    fn check_format(&self, database: &Database) -> Result<u64, StoreError> {
        let record = self.meta_bytes(database, "format", Name::Region)?;
        let Format { format } =
            serde_json::from_slice(&record).map_err(|error| self.damaged(Name::Region, &error.into()))?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
            return Err(StoreError::UnknownFormat {
                place: self.medium.name(),
                found: format,
                known: FORMAT,
            });
        }
        Ok(format)
    }

    fn meta<T: serde::de::DeserializeOwned>(
        &self,
        database: &Database,
        key: &str,
        name: Name<'_>,
    ) -> Result<T, StoreError> {
        let bytes = self.meta_bytes(database, key, name)?;
        record::read(name, &bytes).map_err(|error| self.damaged(name, &error))
    }

    fn meta_bytes(&self, database: &Database, key: &str, name: Name<'_>) -> Result<Vec<u8>, StoreError> {
        let transaction = database.begin_read().map_err(|e| self.fault(e))?;
        let meta = transaction.open_table(META).map_err(|e| self.fault(e))?;
        let record = meta.get(key).map_err(|e| self.fault(e))?;
        let record = record.ok_or_else(|| self.damage(name, "it is missing".to_owned()))?;
        Ok(record.value().to_vec())
    }

    fn sealed<T: Serialize>(&self, name: Name<'_>, value: &T) -> Result<Vec<u8>, StoreError> {
        record::write(name, value).map_err(|error| self.damaged(name, &error))
    }

    fn damaged(&self, name: Name<'_>, error: &RecordError) -> StoreError {
        self.damage(name, error.to_string())
    }

    fn damage(&self, name: Name<'_>, reason: String) -> StoreError {
        damage_of(self.medium.as_ref(), name.to_string(), reason)
    }

    /// An error of the database, in our words.
    fn fault(&self, error: impl Into<redb::Error>) -> StoreError {
        let place = self.medium.name();
        match error.into() {
            redb::Error::Io(source) if source.kind() == io::ErrorKind::InvalidData => {
                damage_of(self.medium.as_ref(), "the database".to_owned(), source.to_string())
            }
            redb::Error::Io(source) => StoreError::Disk { place, source },
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                StoreError::InUse { place, holder: "another process".to_owned() }
            }
            other => damage_of(self.medium.as_ref(), "the database".to_owned(), other.to_string()),
        }
    }

    /// Runs something over the database. A damaged file can make the database panic (cberner/redb#1333 and its kin):
    /// that is an error like another.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let outcome = catch_unwind(AssertUnwindSafe(|| work(self)));
        outcome.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            Err(damage_of(self.medium.as_ref(), "the database".to_owned(), text.to_owned()))
        })
    }
}

fn is_full(error: &StoreError) -> bool {
    match error {
        StoreError::Disk { source, .. } | StoreError::Io { source, .. } => {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        }
        StoreError::InUse { .. }
        | StoreError::UnknownFormat { .. }
        | StoreError::OtherRegion { .. }
        | StoreError::Damaged { .. }
        | StoreError::NotEmpty { .. }
        | StoreError::BlobName(_)
        | StoreError::BlobLimit { .. } => false,
    }
}

fn damage_of(medium: &dyn Medium, record: String, reason: String) -> StoreError {
    StoreError::Damaged { place: medium.name(), record, reason, backup: medium.backup() }
}

/// A state as it was read, with what is derived and what belongs to this version of the program: AWS's own services
/// and prefix lists follow from the region.
pub(crate) fn revive(mut state: State) -> State {
    state.reindex();
    state
}

/// The record of a state.
pub(crate) fn snapshot_record(state: &State) -> Result<Vec<u8>, StoreError> {
    let name = Name::Snapshot(state.revision);
    record::write(name, state).map_err(|error| StoreError::Damaged {
        place: "the state in memory".to_owned(),
        record: name.to_string(),
        reason: error.to_string(),
        backup: None,
    })
}

pub(crate) fn blob_write(name: &str, content: Option<&[u8]>) -> Write {
    let record = content.map(|content| record::seal(Name::Blob(name), content));
    Write::Blob { name: name.to_owned(), record }
}

pub(crate) fn check_blob(blobs: &Blobs, name: &str, content: &[u8]) -> Result<(), StoreError> {
    let fits = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'/');
    if name.is_empty() || name.len() > 128 || !name.bytes().all(fits) {
        return Err(StoreError::BlobName(name.to_owned()));
    }
    if content.len() > MAX_BLOB_BYTES {
        return Err(StoreError::BlobLimit { what: "bytes of a blob", limit: MAX_BLOB_BYTES });
    }
    if blobs.len() >= MAX_BLOBS && !blobs.contains_key(name) {
        return Err(StoreError::BlobLimit { what: "blobs", limit: MAX_BLOBS });
    }
    Ok(())
}

/// Blobs in an ordinary map, as a backup carries them.
pub(crate) type PlainBlobs = BTreeMap<String, Vec<u8>>;
