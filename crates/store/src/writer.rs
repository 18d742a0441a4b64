//! The writer: applies what is queued, writes it in one transaction, publishes it, then answers.
//!
//! INVARIANT: nobody is answered before what the answer rests on is durable. That holds for refusals too: one that
//! was decided on a change that could not be written is an error of the disk, not a refusal.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use postern_model::{AccountId, Action, Command, Event, State, apply};
use tokio::sync::oneshot;

use crate::backup;
use crate::error::{CommitError, StoreError};
use crate::ledger::{Committed, Published, Shared};
use crate::medium::Medium;
use crate::store::{Blobs, Store, Write, blob_write, check_blob, snapshot_record};
use crate::watch::Change;

/// How many requests may wait.
const MAX_WAITING: usize = 4_096;
/// How many requests share a transaction.
const MAX_BATCH: usize = 256;

/// How an answer gets back: to a task or to a thread.
pub(crate) enum Reply<T> {
    Waker(oneshot::Sender<T>),
    Channel(SyncSender<T>),
}

impl<T> Reply<T> {
    pub fn waker() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self::Waker(sender), receiver)
    }

    pub fn channel() -> (Self, Receiver<T>) {
        let (sender, receiver) = sync_channel(1);
        (Self::Channel(sender), receiver)
    }

    fn send(self, answer: T) {
        // Whoever asked may be gone: the change stands all the same.
        match self {
            Self::Waker(sender) => drop(sender.send(answer)),
            Self::Channel(sender) => drop(sender.try_send(answer)),
        }
    }
}

type CommitReply = Reply<Result<Committed, CommitError>>;
type BlobReply = Reply<Result<(), CommitError>>;

pub(crate) enum Request {
    Execute {
        account: AccountId,
        client_token: Option<String>,
        action: Action,
        reply: CommitReply,
    },
    Commit {
        command: Command,
        reply: CommitReply,
    },
    Replace {
        state: Box<State>,
        reply: CommitReply,
    },
    Blob {
        name: String,
        content: Option<Arc<[u8]>>,
        reply: BlobReply,
    },
    /// The state of an earlier revision has been encoded.
    Snapshot {
        revision: u64,
        record: Result<Vec<u8>, StoreError>,
    },
}

/// What waits for the writer.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    closed: bool,
}

impl Queue {
    pub fn push(&self, request: Request) -> Result<(), CommitError> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return Err(CommitError::Closed);
        }
        if waiting.requests.len() >= MAX_WAITING {
            return Err(CommitError::Busy { limit: MAX_WAITING });
        }
        waiting.requests.push_back(request);
        self.ready.notify_one();
        Ok(())
    }

    pub fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.ready.notify_one();
    }

    /// Some requests, in order, as soon as there are any; none when the queue is closed and empty.
    fn take(&self) -> Vec<Request> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.requests.is_empty() && !waiting.closed {
            waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let count = waiting.requests.len().min(MAX_BATCH);
        waiting.requests.drain(..count).collect()
    }
}

/// An answer that waits for the disk.
enum Answer {
    Committed {
        committed: Committed,
        reply: CommitReply,
    },
    /// A refusal, and whether it rests on what this batch has changed before.
    Refused {
        error: CommitError,
        on_batch: bool,
        reply: CommitReply,
    },
    Blob {
        refused: Option<StoreError>,
        reply: BlobReply,
    },
}

/// A batch being made.
struct Batch {
    state: Arc<State>,
    blobs: Blobs,
    writes: Vec<Write>,
    changes: Vec<Change>,
    replaced: bool,
    answers: Vec<Answer>,
    /// A snapshot to write when the batch is done. A disk too full for it may still have room for commands.
    snapshot: Option<Write>,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    store: Option<Store>,
    /// Encodes a snapshot, so that commands need not wait for that.
    encoder: Option<JoinHandle<()>>,
    /// The revision of the last snapshot that was tried.
    snapshot: u64,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, store: Option<Store>) -> Self {
        Self { shared, store, encoder: None, snapshot: 0 }
    }

    /// Works until the queue is closed and empty.
    pub fn run(mut self) {
        loop {
            let requests = self.shared.queue.take();
            if requests.is_empty() {
                break;
            }
            self.work(requests);
            self.snapshot_if_due();
        }
        self.join_encoder();
        // Requests of the encoder that came after the end.
        let late = self.shared.queue.take();
        self.work(late);
        self.snapshot_at_end();
    }

    fn work(&mut self, requests: Vec<Request>) {
        let before = self.shared.published.load_full();
        let mut batch = Batch {
            state: before.state.clone(),
            blobs: before.blobs.clone(),
            writes: Vec::new(),
            changes: Vec::new(),
            replaced: false,
            answers: Vec::with_capacity(requests.len()),
            snapshot: None,
        };
        for request in requests {
            self.prepare(&mut batch, request);
        }
        let written = match (&mut self.store, batch.writes.is_empty()) {
            (Some(store), false) if store.is_suspect() => {
                store.rebuild(&before.state, &before.blobs).and_then(|()| store.write(&batch.writes))
            }
            (Some(store), false) => store.write(&batch.writes),
            (Some(_), true) | (None, _) => Ok(()),
        };
        let snapshot = batch.snapshot.take();
        match written {
            Ok(()) => self.publish(batch),
            Err(error) => {
                tracing::error!(%error, "changes could not be stored");
                let error = CommitError::from(error);
                batch.answers.into_iter().for_each(|answer| answer.fail(&error));
            }
        }
        if let (Some(snapshot), Some(store)) = (snapshot, &mut self.store)
            && let Err(error) = store.write(&[snapshot])
        {
            tracing::warn!(%error, "the state could not be written anew; the log goes on");
        }
    }

    fn prepare(&mut self, batch: &mut Batch, request: Request) {
        match request {
            Request::Execute { account, client_token, action, reply } => {
                let sources = &self.shared.sources;
                let (at, seed) = (sources.clock.now(), sources.entropy.seed());
                self.apply(batch, Command { account, at, seed, client_token, action }, reply);
            }
            Request::Commit { command, reply } => self.apply(batch, command, reply),
            Request::Replace { state, reply } => {
                self.snapshot = batch.state.revision + 1;
                replace(batch, *state, reply);
            }
            Request::Blob { name, content, reply } => {
                let refused =
                    content.as_ref().and_then(|content| check_blob(&batch.blobs, &name, content).err());
                if refused.is_none() {
                    batch.writes.push(blob_write(&name, content.as_deref()));
                    match content {
                        Some(content) => batch.blobs.insert(name, content),
                        None => batch.blobs.remove(&name),
                    };
                }
                batch.answers.push(Answer::Blob { refused, reply });
            }
            Request::Snapshot { revision, record } => self.finish_snapshot(batch, revision, record),
        }
    }

    fn apply(&self, batch: &mut Batch, command: Command, reply: CommitReply) {
        let on_batch = !batch.writes.is_empty();
        match self.try_apply(batch, command) {
            Ok(committed) => batch.answers.push(Answer::Committed { committed, reply }),
            Err(error) => batch.answers.push(Answer::Refused { error, on_batch, reply }),
        }
    }

    fn try_apply(&self, batch: &mut Batch, command: Command) -> Result<Committed, CommitError> {
        let (state, events) = apply(&batch.state, &command)?;
        let revision = state.revision;
        let (state, events): (_, Arc<[Event]>) = (Arc::new(state), events.into());
        if revision == batch.state.revision {
            return Ok(Committed { state, events, revision, repeated: true });
        }
        if let Some(store) = &self.store {
            let record = store.command_record(revision, &command, &events)?;
            batch.writes.push(Write::Command { revision, record });
        }
        let change =
            Change { revision, command: Arc::new(command), events: events.clone(), state: state.clone() };
        batch.changes.push(change);
        batch.state = state.clone();
        Ok(Committed { state, events, revision, repeated: false })
    }

    fn publish(&self, batch: Batch) {
        let Batch { state, blobs, changes, replaced, answers, .. } = batch;
        self.shared.published.store(Arc::new(Published { state: state.clone(), blobs }));
        if replaced {
            self.shared.history.replace(state);
        } else if !changes.is_empty() {
            self.shared.history.push(changes);
        }
        answers.into_iter().for_each(Answer::send);
    }

    fn snapshot_if_due(&mut self) {
        let Some(store) = self.store.as_ref().filter(|store| store.wants_snapshot()) else { return };
        let published = self.shared.published.load_full();
        let revision = published.state.revision;
        if self.encoder.is_some() || revision < self.snapshot.saturating_add(store.snapshot_every()) {
            return;
        }
        let (shared, medium) = (self.shared.clone(), store.medium());
        let encode = move || {
            let record = snapshot_record(&published.state);
            keep_backup(medium.as_ref(), &published);
            shared.queue.push_internal(Request::Snapshot { revision, record });
        };
        match std::thread::Builder::new().name("ledger-snapshot".to_owned()).spawn(encode) {
            Ok(encoder) => self.encoder = Some(encoder),
            Err(error) => tracing::warn!(%error, "no snapshot could be made now"),
        }
    }

    /// Takes an encoded snapshot into the batch, unless the state was replaced since.
    fn finish_snapshot(&mut self, batch: &mut Batch, revision: u64, record: Result<Vec<u8>, StoreError>) {
        match record {
            Ok(record) if revision > self.snapshot => {
                self.snapshot = revision;
                batch.snapshot = Some(Write::Snapshot { revision, record });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the state could not be encoded"),
        }
        self.join_encoder();
    }

    fn join_encoder(&mut self) {
        if let Some(encoder) = self.encoder.take()
            && encoder.join().is_err()
        {
            tracing::error!("the encoder of a snapshot has panicked");
        }
    }

    fn snapshot_at_end(&mut self) {
        let Some(store) = self.store.as_mut().filter(|store| store.has_log()) else { return };
        let published = self.shared.published.load_full();
        let revision = published.state.revision;
        let written = snapshot_record(&published.state)
            .and_then(|record| store.write(&[Write::Snapshot { revision, record }]));
        match written {
            Ok(()) => keep_backup(store.medium().as_ref(), &published),
            // The log has it all: only the next start takes longer.
            Err(error) => tracing::warn!(%error, "no snapshot could be made at the end"),
        }
    }
}

fn keep_backup(medium: &dyn Medium, published: &Published) {
    let write = |to: &mut dyn std::io::Write| backup::write(to, &published.state, &published.blobs);
    if let Err(error) = medium.keep_backup(&write) {
        tracing::warn!(%error, "the copy of the last snapshot is an older one");
    }
}

impl Queue {
    /// From the writer's own threads: neither bounded nor refused at the end.
    fn push_internal(&self, request: Request) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).requests.push_back(request);
        self.ready.notify_one();
    }
}

fn replace(batch: &mut Batch, mut state: State, reply: CommitReply) {
    let revision = batch.state.revision + 1;
    state.revision = revision;
    let on_batch = !batch.writes.is_empty();
    match snapshot_record(&state) {
        Ok(record) => {
            batch.writes.push(Write::Reset { revision, record });
            batch.state = Arc::new(state);
            batch.replaced = true;
            let state = batch.state.clone();
            let committed = Committed { state, events: Arc::new([]), revision, repeated: false };
            batch.answers.push(Answer::Committed { committed, reply });
        }
        Err(error) => {
            let error = error.into();
            batch.answers.push(Answer::Refused { error, on_batch, reply });
        }
    }
}

impl Answer {
    fn send(self) {
        match self {
            Self::Committed { committed, reply } => reply.send(Ok(committed)),
            Self::Refused { error, reply, .. } => reply.send(Err(error)),
            Self::Blob { refused, reply } => reply.send(refused.map_or(Ok(()), |error| Err(error.into()))),
        }
    }

    /// The batch was not written.
    fn fail(self, error: &CommitError) {
        match self {
            Self::Committed { reply, .. } => reply.send(Err(error.clone())),
            Self::Refused { error: refusal, on_batch: false, reply } => reply.send(Err(refusal)),
            Self::Refused { on_batch: true, reply, .. } => reply.send(Err(error.clone())),
            Self::Blob { refused, reply } => {
                reply.send(Err(refused.map_or_else(|| error.clone(), Into::into)));
            }
        }
    }
}
