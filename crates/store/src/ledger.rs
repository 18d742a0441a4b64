//! The ledger: the one way in which the state of a region changes.
//!
//! Callers queue commands; one thread (`writer`) applies, writes and publishes them in batches. Reading needs neither
//! the queue nor the thread.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use postern_model::{AccountId, Action, Command, Event, ModelError, State, apply};

use crate::backup;
use crate::error::{CommitError, StoreError};
use crate::sources::Sources;
use crate::store::{Blobs, Options, Store, check_blob};
use crate::watch::{History, Watcher};
use crate::writer::{Queue, Reply, Request, Writer};

/// What a command did.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The state that it made.
    pub state: Arc<State>,
    /// What changed. The first `Created` is the resource that was asked for.
    pub events: Arc<[Event]>,
    /// The revision of that state.
    pub revision: u64,
    /// Whether it repeated a client token: then nothing changed now, and `events` tell what the first one did.
    pub repeated: bool,
}

/// What readers see.
pub(crate) struct Published {
    pub state: Arc<State>,
    pub blobs: Blobs,
}

/// What callers and the writer share.
pub(crate) struct Shared {
    pub published: ArcSwap<Published>,
    pub history: Arc<History>,
    pub queue: Queue,
    pub sources: Sources,
}

struct Inner {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.queue.close();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the writer of the ledger has panicked");
        }
        self.shared.history.close();
    }
}

/// The state of a region, and the one way to change it. Clones are the same ledger; the last one to go closes it.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

impl Ledger {
    /// Opens the region in a directory, or makes one there.
    pub fn open(directory: &Path, options: Options, sources: Sources) -> Result<Self, StoreError> {
        let (store, state) = Store::open(directory, options)?;
        Self::over(store, state, sources)
    }

    /// A ledger over a store that was just opened, and its state.
    pub fn over(store: Store, state: State, sources: Sources) -> Result<Self, StoreError> {
        let blobs = store.blobs().clone();
        Self::start(Some(store), state, blobs, sources)
    }

    /// A ledger that forgets everything when it goes.
    pub fn ephemeral(state: State, sources: Sources) -> Result<Self, StoreError> {
        Self::start(None, state, Blobs::new(), sources)
    }

    fn start(store: Option<Store>, state: State, blobs: Blobs, sources: Sources) -> Result<Self, StoreError> {
        let state = Arc::new(state);
        let shared = Arc::new(Shared {
            published: ArcSwap::from_pointee(Published { state: state.clone(), blobs }),
            history: Arc::new(History::new(state)),
            queue: Queue::default(),
            sources,
        });
        let writer = Writer::new(shared.clone(), store);
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || writer.run());
        let thread = thread.map_err(|source| StoreError::Io {
            action: "start the thread of",
            path: "the ledger".into(),
            source,
        })?;
        Ok(Self { inner: Arc::new(Inner { shared, writer: Mutex::new(Some(thread)) }) })
    }

    /// The state as it is now: a pointer, that later changes do not touch.
    pub fn state(&self) -> Arc<State> {
        self.inner.shared.published.load().state.clone()
    }

    /// Does this on behalf of an account, with the time and the seed of this ledger. Durable when it returns; goes on
    /// if the future is dropped.
    pub async fn execute(
        &self,
        account: AccountId,
        client_token: Option<String>,
        action: Action,
    ) -> Result<Committed, CommitError> {
        let (reply, answer) = Reply::waker();
        self.inner.shared.queue.push(Request::Execute { account, client_token, action, reply })?;
        answer.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Commits a command as it is. Durable when it returns; goes on if the future is dropped.
    pub async fn commit(&self, command: Command) -> Result<Committed, CommitError> {
        let (reply, answer) = Reply::waker();
        self.inner.shared.queue.push(Request::Commit { command, reply })?;
        answer.await.unwrap_or(Err(CommitError::Closed))
    }

    /// As [`Ledger::execute`], for threads that may wait.
    pub fn execute_blocking(
        &self,
        account: AccountId,
        client_token: Option<String>,
        action: Action,
    ) -> Result<Committed, CommitError> {
        let (reply, answer) = Reply::channel();
        self.inner.shared.queue.push(Request::Execute { account, client_token, action, reply })?;
        answer.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// As [`Ledger::commit`], for threads that may wait.
    pub fn commit_blocking(&self, command: Command) -> Result<Committed, CommitError> {
        let (reply, answer) = Reply::channel();
        self.inner.shared.queue.push(Request::Commit { command, reply })?;
        answer.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Whether the command would succeed now. Changes nothing.
    pub fn dry_run(&self, command: &Command) -> Result<(), ModelError> {
        apply(&self.state(), command).map(|_| ())
    }

    /// Whether the account could do this now. Changes nothing.
    pub fn dry_run_action(&self, account: AccountId, action: Action) -> Result<(), ModelError> {
        let sources = &self.inner.shared.sources;
        let (at, seed) = (sources.clock.now(), sources.entropy.seed());
        self.dry_run(&Command { account, at, seed, client_token: None, action })
    }

    /// Puts another state in place of the one that is: a new revision that no command made. Watchers are told that
    /// they lagged. Blobs stay.
    pub fn replace_blocking(&self, state: State) -> Result<Committed, CommitError> {
        let (reply, answer) = Reply::channel();
        self.inner.shared.queue.push(Request::Replace { state: Box::new(state), reply })?;
        answer.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Every revision after this one, in order. Whoever asks for revisions that are no longer kept is told so.
    pub fn watch(&self, after: u64) -> Watcher {
        Watcher::new(&self.inner.shared.history, after)
    }

    /// Puts a few bytes under a name, durably: keys, and what the region's own CA is made of.
    pub fn put_blob_blocking(&self, name: &str, content: &[u8]) -> Result<(), CommitError> {
        check_blob(&self.inner.shared.published.load().blobs, name, content)?;
        self.change_blob(name, Some(content.into()))
    }

    /// Forgets what was put under a name.
    pub fn remove_blob_blocking(&self, name: &str) -> Result<(), CommitError> {
        self.change_blob(name, None)
    }

    fn change_blob(&self, name: &str, content: Option<Arc<[u8]>>) -> Result<(), CommitError> {
        let (reply, answer) = Reply::channel();
        self.inner.shared.queue.push(Request::Blob { name: name.to_owned(), content, reply })?;
        answer.recv().unwrap_or(Err(CommitError::Closed))
    }

    /// What was put under a name.
    pub fn get_blob(&self, name: &str) -> Option<Arc<[u8]>> {
        self.inner.shared.published.load().blobs.get(name).cloned()
    }

    /// Writes a backup of one revision, blobs included, while the ledger goes on. It holds secrets.
    pub fn backup(&self, to: &mut dyn io::Write) -> Result<(), StoreError> {
        let published = self.inner.shared.published.load_full();
        backup::write(to, &published.state, &published.blobs)
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("revision", &self.state().revision).finish_non_exhaustive()
    }
}
