//! How everything in the program changes the state: durable first, then followed by packets, then answered.

use std::sync::Arc;

use postern_model::{AccountId, Action, ModelError, State};
use postern_services::commands::{CommandError, Commands, Done, Executing};
use postern_store::{CommitError, Ledger};
use tokio::sync::Notify;

use super::ailments::Ailments;
use super::planner::Planner;

/// The ledger and the planner as one.
pub struct RegionCommands {
    ledger: Ledger,
    planner: Arc<Planner>,
    changed: Arc<Notify>,
    ailments: Arc<Ailments>,
}

impl RegionCommands {
    /// Over this ledger. `changed` is told of every change.
    pub fn new(ledger: Ledger, planner: Arc<Planner>, changed: Arc<Notify>, ailments: Arc<Ailments>) -> Self {
        Self { ledger, planner, changed, ailments }
    }

    /// The ledger itself, for backups.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Commands for RegionCommands {
    fn state(&self) -> Arc<State> {
        self.ledger.state()
    }

    fn execute<'a>(
        &'a self,
        account: AccountId,
        client_token: Option<String>,
        action: Action,
    ) -> Executing<'a> {
        Box::pin(async move {
            let committed = self.ledger.execute(account, client_token, action).await.map_err(refused)?;
            // INVARIANT: whoever is told of a change finds packets following it.
            let (planner, state) = (Arc::clone(&self.planner), Arc::clone(&committed.state));
            let followed = tokio::task::spawn_blocking(move || planner.follow(&state)).await;
            self.changed.notify_one();
            let followed =
                followed.map_err(|error| error.to_string()).and_then(|done| done.map_err(|e| e.to_string()));
            if let Err(why) = followed {
                self.ailments.note("planner", &why);
                return Err(CommandError::Storage(format!(
                    "it is stored, and packets do not follow it: {why}"
                )));
            }
            Ok(Done { state: committed.state, events: committed.events.to_vec() })
        })
    }

    fn dry_run(&self, account: AccountId, action: &Action) -> Result<(), ModelError> {
        self.ledger.dry_run_action(account, action.clone())
    }

    fn now_milliseconds(&self) -> u64 {
        now_milliseconds()
    }
}

fn refused(error: CommitError) -> CommandError {
    match error {
        CommitError::Refused(error) => CommandError::Refused(error),
        CommitError::Storage(error) => CommandError::Storage(error.to_string()),
        CommitError::Busy { .. } | CommitError::Closed => CommandError::Storage(error.to_string()),
    }
}

/// The time, in milliseconds since 1970.
pub fn now_milliseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
