//! The accounts' tables: one database for each account, in a directory of the region's.
//!
//! INVARIANT: a request reaches the database of one account, and no other: no account ever sees another's tables.
//! INVARIANT: an acknowledged write survives a crash: the database commits it to the disk first (SQLite's write-ahead
//! log with `synchronous=FULL`, its default).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dynoxide::types::KeyType;
use dynoxide::{Database, DynoxideError, actions};
use postern_frontdoor::JsonError;
use postern_model::AccountId;
use serde::Deserialize as _;
use tokio::sync::{Mutex as Turn, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use super::arn::TableRef;
use super::ask::Table;
use super::engine::{Answer, Work};
use super::operation::Effect;

/// How many databases are open at a time, unless more than that are in use.
const OPEN_MAX: usize = 256;
/// How many tables of an account are remembered.
const KNOWN_MAX: usize = 4_096;
const EXTENSION: &str = "sqlite";
/// What copies for a backup are called, with a number.
const SNAPSHOT: &str = "snapshot-";
/// The first bytes of what [`Frozen::write`] writes.
const MAGIC: &[u8; 8] = b"dynamo 1";

/// Why the tables cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The engine.
    #[error("the tables of account {account} cannot be used: {reason}")]
    Engine {
        /// Whose.
        account: AccountId,
        /// What it said.
        reason: String,
    },
    /// A copy that is none.
    #[error("the copy of the tables is not whole: {0}")]
    Malformed(&'static str),
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

fn engine_error(account: AccountId) -> impl FnOnce(DynoxideError) -> StoreError {
    move |error| StoreError::Engine { account, reason: error.to_string() }
}

/// All accounts' tables. Cheap to clone; the last clone closes them.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    open: Mutex<BTreeMap<AccountId, Arc<Account>>>,
    /// Held by who opens one, so that none is opened twice.
    opening: Turn<()>,
    snapshots: AtomicU64,
}

impl Store {
    /// Opens the tables in directory `root`, making it if missing. The caller sees to it that nobody else has it open.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(root).map_err(io_error("make", root))?;
        // What a backup left behind that was cut short.
        for entry in fs::read_dir(root).map_err(io_error("read", root))? {
            let path = entry.map_err(io_error("read", root))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(SNAPSHOT) {
                fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
            }
        }
        let inner = Inner {
            root: root.to_owned(),
            open: Mutex::default(),
            opening: Turn::default(),
            snapshots: AtomicU64::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// One account's tables.
    pub(super) async fn account(&self, id: AccountId) -> Result<Arc<Account>, StoreError> {
        if let Some(account) = self.inner.opened(id) {
            return Ok(account);
        }
        let _opening = self.inner.opening.lock().await;
        let inner = Arc::clone(&self.inner);
        let opened = tokio::task::spawn_blocking(move || inner.open(id)).await;
        opened.unwrap_or_else(|panic| Err(StoreError::Engine { account: id, reason: panic.to_string() }))
    }

    /// Gives up what is remembered of an account: the next request opens it anew.
    pub(super) fn close(&self, account: &Arc<Account>) {
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.get(&account.id).is_some_and(|current| Arc::ptr_eq(current, account)) {
            open.remove(&account.id);
        }
    }

    /// Deletes items whose time is over, of the accounts whose tables were used since the start.
    ///
    /// "DynamoDB automatically deletes expired items within a few days of their expiration time."
    /// Source: "Using time to live (TTL) in DynamoDB".
    pub async fn sweep(&self) {
        for account in self.inner.all_opened() {
            // The engine goes over its tables page by page, and lets others between.
            let swept = tokio::task::spawn_blocking(move || account.database.sweep_ttl()).await;
            match swept {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(%error, "expired items could not be deleted"),
                Err(panic) => tracing::error!(%panic, "expired items could not be deleted"),
            }
        }
    }

    /// Deletes everything.
    ///
    /// # Errors
    /// When something cannot be deleted; the rest may be.
    pub async fn clear(&self) -> Result<(), StoreError> {
        let _opening = self.inner.opening.lock().await;
        // Requests that are under way end first.
        let mut held = Vec::new();
        for account in self.inner.all_opened() {
            held.push(Arc::clone(&account.definitions).write_owned().await);
        }
        let inner = Arc::clone(&self.inner);
        let cleared = tokio::task::spawn_blocking(move || {
            inner.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
            fs::remove_dir_all(&inner.root).map_err(io_error("remove", &inner.root))?;
            fs::create_dir_all(&inner.root).map_err(io_error("make", &inner.root))
        });
        let cleared = cleared.await;
        drop(held);
        cleared.unwrap_or(Err(StoreError::Malformed("the tables could not be removed")))
    }

    /// A copy of all tables, each account's of one moment after this was called. Blocks, and is for threads that no
    /// tasks run on.
    ///
    /// # Errors
    /// When the disk or an account's database fails.
    pub fn freeze(&self) -> Result<Frozen, StoreError> {
        let number = self.inner.snapshots.fetch_add(1, Ordering::Relaxed);
        let directory = self.inner.root.join(format!("{SNAPSHOT}{number}"));
        fs::create_dir(&directory).map_err(io_error("make", &directory))?;
        let mut frozen = Frozen { directory, accounts: Vec::new() };
        for id in self.inner.accounts()? {
            let account = self.inner.open(id)?;
            let copy = frozen.copy_of(id);
            // Whoever waits for its turn holds up no thread.
            let _turn = account.turn.blocking_lock();
            let path = copy.to_str().ok_or(StoreError::Malformed("the directory's name is no text"))?;
            account.database.vacuum_into(path).map_err(engine_error(id))?;
            frozen.accounts.push(id);
        }
        Ok(frozen)
    }

    /// Makes the tables in directory `root`, which is not there, from a copy. Says of how many accounts.
    ///
    /// # Errors
    /// When the copy is not whole, or cannot be written.
    pub fn restore(root: &Path, from: &mut dyn Read) -> Result<usize, StoreError> {
        let cut = |_| StoreError::Malformed("it is cut short");
        fs::create_dir_all(root).map_err(io_error("make", root))?;
        let (mut magic, mut number) = ([0; 8], [0; 8]);
        from.read_exact(&mut magic).map_err(cut)?;
        if &magic != MAGIC {
            return Err(StoreError::Malformed("it does not begin as one"));
        }
        from.read_exact(&mut number).map_err(cut)?;
        let count = u64::from_be_bytes(number);
        for _ in 0..count {
            from.read_exact(&mut number).map_err(cut)?;
            let id = AccountId::from_number(u64::from_be_bytes(number));
            let id = id.ok_or(StoreError::Malformed("it names an account that cannot be"))?;
            from.read_exact(&mut number).map_err(cut)?;
            let length = u64::from_be_bytes(number);
            let path = database_path(root, id);
            let mut file = File::create_new(&path).map_err(io_error("make", &path))?;
            let copied = io::copy(&mut from.take(length), &mut file).map_err(io_error("write", &path))?;
            if copied != length {
                return Err(StoreError::Malformed("it is cut short"));
            }
            file.sync_all().map_err(io_error("write", &path))?;
            // Not before it was looked at is it known to be one.
            Database::new(path.to_string_lossy().as_ref()).map_err(engine_error(id))?;
        }
        if from.read(&mut number).map_err(cut)? != 0 {
            return Err(StoreError::Malformed("there is more than it says"));
        }
        let synced = File::open(root).and_then(|directory| directory.sync_all());
        synced.map_err(io_error("write", root))?;
        usize::try_from(count).map_err(|_| StoreError::Malformed("it names too many accounts"))
    }
}

fn database_path(root: &Path, id: AccountId) -> PathBuf {
    root.join(id.to_string()).with_extension(EXTENSION)
}

impl Inner {
    fn opened(&self, id: AccountId) -> Option<Arc<Account>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn all_opened(&self) -> Vec<Arc<Account>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Opens an account's tables, unless they are. Blocks.
    fn open(&self, id: AccountId) -> Result<Arc<Account>, StoreError> {
        if let Some(account) = self.opened(id) {
            return Ok(account);
        }
        let path = database_path(&self.root, id);
        let path = path.to_str().ok_or(StoreError::Malformed("the directory's name is no text"))?;
        let database = Database::new(path).map_err(engine_error(id))?;
        let account = Account {
            id,
            database,
            definitions: Arc::default(),
            turn: Arc::default(),
            known: Mutex::default(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_MAX {
            open.retain(|_, account| Arc::strong_count(account) > 1);
        }
        Ok(Arc::clone(open.entry(id).or_insert_with(|| Arc::new(account))))
    }

    /// The accounts that have tables, or had.
    fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        let mut accounts = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(io_error("read", &self.root))? {
            let path = entry.map_err(io_error("read", &self.root))?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                let id = path.file_stem().and_then(|id| id.to_str()).and_then(|id| id.parse().ok());
                accounts.push(id.ok_or(StoreError::Malformed("a file is not named after an account"))?);
            }
        }
        accounts.sort_unstable();
        Ok(accounts)
    }
}

/// A copy of all tables on the disk; dropping it removes it.
pub struct Frozen {
    directory: PathBuf,
    accounts: Vec<AccountId>,
}

impl Frozen {
    fn copy_of(&self, id: AccountId) -> PathBuf {
        database_path(&self.directory, id)
    }

    /// Writes it: how many accounts, and for each its number, how many bytes, and those. Numbers are in network order.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn write(&self, to: &mut dyn Write) -> Result<(), StoreError> {
        let stream = || io_error("write", Path::new("the backup"));
        to.write_all(MAGIC).map_err(stream())?;
        to.write_all(&(self.accounts.len() as u64).to_be_bytes()).map_err(stream())?;
        for id in &self.accounts {
            let path = self.copy_of(*id);
            let mut file = File::open(&path).map_err(io_error("open", &path))?;
            let length = file.metadata().map_err(io_error("look at", &path))?.len();
            to.write_all(&id.number().to_be_bytes()).map_err(stream())?;
            to.write_all(&length.to_be_bytes()).map_err(stream())?;
            io::copy(&mut file, to).map_err(io_error("copy", &path))?;
        }
        Ok(())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, path = %self.directory.display(), "a copy of tables is left over");
        }
    }
}

/// One account's tables.
pub(super) struct Account {
    id: AccountId,
    database: Database,
    /// Whoever is between its authorisation and its end holds it; whoever changes tables holds it alone.
    definitions: Arc<RwLock<()>>,
    /// The engine serves one at a time: others wait here, where they hold up no thread.
    turn: Arc<Turn<()>>,
    /// What policies have to know of tables; none for a table that is not there.
    known: Mutex<BTreeMap<String, Option<Arc<Table>>>>,
}

/// That tables stay as they are, or that nobody else looks at them.
pub(super) enum Hold {
    Shared { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

impl Account {
    /// Waits until an operation of this effect may be authorised.
    pub(super) async fn hold(&self, effect: Effect) -> Hold {
        let definitions = Arc::clone(&self.definitions);
        match effect {
            Effect::Point | Effect::Items => Hold::Shared { _guard: definitions.read_owned().await },
            Effect::Tables => Hold::Alone { _guard: definitions.write_owned().await },
        }
    }

    /// What policies have to know of those of these tables that are there. The caller has a [`Hold`].
    ///
    /// # Errors
    /// When the engine fails.
    pub(super) async fn tables(
        &self,
        named: &[TableRef],
        _hold: &Hold,
    ) -> Result<BTreeMap<TableRef, Arc<Table>>, JsonError> {
        let mut tables = BTreeMap::new();
        for table in named.iter().filter(|table| table.account == self.id) {
            if let Some(known) = self.table(&table.name).await? {
                tables.insert(table.clone(), known);
            }
        }
        Ok(tables)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<Table>>, JsonError> {
        let known = |name| self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(known) = known(name) {
            return Ok(known);
        }
        let turn = self.turn.lock().await;
        let table = describe(&self.database, name)?.map(Arc::new);
        drop(turn);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(name.to_owned(), table.clone());
        Ok(table)
    }

    /// Carries out what was allowed.
    ///
    /// # Errors
    /// The engine's refusal or failure.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        store: &Store,
        work: Work,
        effect: Effect,
        hold: Hold,
    ) -> Result<Answer, JsonError> {
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let account = Arc::clone(self);
        let job = move || {
            // INVARIANT: what was known of tables is forgotten before anybody else may look.
            let done = catch_unwind(AssertUnwindSafe(|| work.carry_out(&account.database)));
            if matches!(effect, Effect::Tables) {
                account.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            drop((turn, hold));
            done
        };
        let done = match effect {
            // A read by the key takes less time than to hand it to another thread.
            Effect::Point => job(),
            // The job goes on to its end, whether or not its caller waits for it.
            Effect::Items | Effect::Tables => match tokio::task::spawn_blocking(job).await {
                Ok(done) => done,
                Err(gone) => return Err(JsonError::internal(gone.to_string())),
            },
        };
        done.unwrap_or_else(|_| {
            // The engine is of no further use after a panic.
            store.close(self);
            Err(JsonError::internal("the engine panicked"))
        })
    }
}

/// What policies have to know of a table, if it is there.
fn describe(database: &Database, name: &str) -> Result<Option<Table>, JsonError> {
    let failed = |error: DynoxideError| JsonError::internal(error.to_string());
    let request = serde_json::json!({ "TableName": name });
    let Ok(request) = actions::describe_table::DescribeTableRequest::deserialize(request) else {
        // No table can have such a name.
        return Ok(None);
    };
    let described = match database.describe_table(request) {
        Ok(described) => described.table,
        Err(DynoxideError::ResourceNotFoundException(_)) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let partition_key = |schema: &[dynoxide::types::KeySchemaElement]| {
        let first = schema.iter().find(|key| key.key_type == KeyType::HASH);
        first.map(|key| key.attribute_name.clone()).unwrap_or_default()
    };
    let global = described.global_secondary_indexes.iter().flatten();
    let global = global.map(|index| (index.index_name.clone(), partition_key(&index.key_schema)));
    let local = described.local_secondary_indexes.iter().flatten();
    let local = local.map(|index| (index.index_name.clone(), partition_key(&index.key_schema)));
    let arn = dynoxide::streams::table_arn(name);
    let tags = actions::list_tags_of_resource::ListTagsOfResourceRequest { resource_arn: Some(arn) };
    let tags = database.list_tags_of_resource(tags).map_err(failed)?.tags;
    Ok(Some(Table {
        partition_key: partition_key(&described.key_schema),
        indexes: global.chain(local).collect(),
        tags: tags.into_iter().map(|tag| (tag.key, tag.value)).collect(),
    }))
}
