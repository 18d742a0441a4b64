//! How services change the region: one trait, which the program implements over its ledger.

use std::sync::Arc;

use postern_model::{AccountId, Action, Event, ModelError, State};

/// What a command did.
#[derive(Debug, Clone)]
pub struct Done {
    /// The state after it.
    pub state: Arc<State>,
    /// What it changed; the first `Created` is what was asked for.
    pub events: Vec<Event>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// The model refused it.
    #[error(transparent)]
    Refused(#[from] ModelError),
    /// It could not be made durable; nothing changed.
    #[error("the change could not be stored: {0}")]
    Storage(String),
}

/// What a command's future gives.
pub type Executing<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Done, CommandError>> + Send + 'a>>;

/// The region's state, and the one way to change it.
pub trait Commands: Send + Sync {
    /// The state as it is now.
    fn state(&self) -> Arc<State>;

    /// Carries a command out. It is durable, and packets follow it, before this gives an answer.
    fn execute<'a>(
        &'a self,
        account: AccountId,
        client_token: Option<String>,
        action: Action,
    ) -> Executing<'a>;

    /// Whether a command would be carried out.
    ///
    /// # Errors
    /// What the model would say.
    fn dry_run(&self, account: AccountId, action: &Action) -> Result<(), ModelError>;

    /// The time, for expiry of credentials: milliseconds since 1970.
    fn now_milliseconds(&self) -> u64;
}
