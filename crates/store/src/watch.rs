//! Watching: every revision in order, from a bounded history. Who falls behind is told so, and where to go on from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use postern_model::{Command, Event, State};
use tokio::sync::watch;

/// How many revisions are kept for watchers.
pub(crate) const HISTORY: usize = 1_024;

/// One revision.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its number.
    pub revision: u64,
    /// What made it.
    pub command: Arc<Command>,
    /// What changed.
    pub events: Arc<[Event]>,
    /// The state that it made.
    pub state: Arc<State>,
}

/// Why there is no next change.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WatchError {
    /// The watcher was too slow, or the state was replaced. It goes on after `state`.
    #[error("revisions {first} to {last} were missed")]
    Lagged {
        /// The first revision that was missed.
        first: u64,
        /// The last one.
        last: u64,
        /// The state to start again from.
        state: Arc<State>,
    },
    /// The ledger has been closed, and there is nothing more to see.
    #[error("the ledger is closed")]
    Closed,
}

/// The last revisions, shared by all watchers.
pub(crate) struct History {
    changes: Mutex<Recent>,
    head: watch::Sender<u64>,
}

struct Recent {
    changes: VecDeque<Change>,
    /// What the last change made, or what to start from if there is none.
    state: Arc<State>,
    /// Whether nothing more will come.
    closed: bool,
}

impl History {
    pub fn new(state: Arc<State>) -> Self {
        let head = watch::Sender::new(state.revision);
        Self { changes: Mutex::new(Recent { changes: VecDeque::new(), state, closed: false }), head }
    }

    pub fn push(&self, changes: Vec<Change>) {
        let mut recent = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            recent.state = change.state.clone();
            recent.changes.push_back(change);
        }
        while recent.changes.len() > HISTORY {
            recent.changes.pop_front();
        }
        let revision = recent.state.revision;
        drop(recent);
        self.head.send_replace(revision);
    }

    /// The state was replaced: every watcher has to start again.
    pub fn replace(&self, state: Arc<State>) {
        let revision = state.revision;
        let mut recent = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        recent.changes.clear();
        recent.state = state;
        drop(recent);
        self.head.send_replace(revision);
    }

    /// Nothing more will come.
    pub fn close(&self) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.head.send_modify(|_| ());
    }

    /// The change that made a revision; none if it is still to come.
    fn get(&self, revision: u64) -> Option<Result<Change, WatchError>> {
        let recent = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if revision > recent.state.revision {
            return recent.closed.then_some(Err(WatchError::Closed));
        }
        let first = recent.changes.front().map_or(recent.state.revision + 1, |change| change.revision);
        let index = revision.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        Some(match index.and_then(|index| recent.changes.get(index)) {
            Some(change) => Ok(change.clone()),
            None => {
                let state = recent.state.clone();
                Err(WatchError::Lagged { first: revision, last: state.revision, state })
            }
        })
    }
}

/// Sees every revision in order.
pub struct Watcher {
    history: Arc<History>,
    head: watch::Receiver<u64>,
    next: u64,
}

impl Watcher {
    pub(crate) fn new(history: &Arc<History>, after: u64) -> Self {
        let head = history.head.subscribe();
        Self { history: history.clone(), head, next: after.saturating_add(1) }
    }

    /// The next revision, as soon as there is one. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Change, WatchError> {
        loop {
            if let Some(found) = self.try_next() {
                return found;
            }
            // Marks the current head as seen before looking again, so no revision slips between.
            if self.head.changed().await.is_err() {
                return Err(WatchError::Closed);
            }
        }
    }

    /// The next revision, if there is one already.
    pub fn try_next(&mut self) -> Option<Result<Change, WatchError>> {
        let found = self.history.get(self.next)?;
        match &found {
            Ok(change) => self.next = change.revision + 1,
            Err(WatchError::Lagged { state, .. }) => self.next = state.revision + 1,
            Err(WatchError::Closed) => {}
        }
        Some(found)
    }
}
