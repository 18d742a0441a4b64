//! One request under way: whose it is, the state it sees, and the one way for it to change something.
//!
//! INVARIANT: with `DryRun` nothing changes: what would change something ends here with `DryRunOperation`.

use std::str::FromStr;
use std::sync::Arc;

use postern_model::state::Resource;
use postern_model::{AccountId, Action, InstanceId, MalformedId, ModelError, State, Timestamp};
use postern_wire::query::Form;
use postern_wire::{AwsError, ec2};

use super::filters::{self, Row};
use super::pagination::{self, Bounds};
use super::table::Entry;
use super::{Consoles, error, parameters, refusal};
use crate::commands::{Commands, Done};

/// How long a client token may be ("Ensuring idempotency").
const MAX_TOKEN_CHARS: usize = 64;

/// One request under way.
pub struct Call<'a> {
    commands: &'a dyn Commands,
    consoles: &'a dyn Consoles,
    /// Whose request it is.
    pub account: AccountId,
    /// Who in the account asks, as an ARN without a path; none for its root user.
    pub principal: Option<String>,
    /// The operation's name.
    pub operation: &'static str,
    /// The state when it came.
    pub state: Arc<State>,
    dry_run: bool,
}

/// What a listing was asked for besides ids.
pub struct Listing {
    /// Which rows.
    pub filters: Vec<ec2::Filter>,
    /// How many at once.
    pub max_results: Option<i64>,
    /// Where to go on.
    pub next_token: Option<String>,
    /// What `max_results` may be.
    pub bounds: Bounds,
}

/// The rows of one page and the token of the next one, as responses hold them.
pub type Listed<R> = (Option<Vec<R>>, Option<String>);

impl<'a> Call<'a> {
    pub(super) fn new(
        commands: &'a dyn Commands,
        consoles: &'a dyn Consoles,
        (account, principal): (AccountId, Option<String>),
        entry: &Entry,
        form: &Form,
        state: Arc<State>,
    ) -> Self {
        let dry_run = form.parameters.get("DryRun").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Self { commands, consoles, account, principal, operation: entry.name, state, dry_run }
    }

    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The region's name.
    pub fn region(&self) -> &str {
        &self.state.region.name
    }

    /// The time, as responses hold it.
    pub fn now(&self) -> postern_wire::Timestamp {
        super::view::timestamp(self.time())
    }

    /// The time, as the model has it.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.commands.now_milliseconds())
    }

    /// The model's refusal in AWS's words.
    pub fn refuse(&self, refusal: ModelError) -> AwsError {
        refusal::refused(self.operation, refusal)
    }

    /// Carries a command out.
    pub async fn execute(&self, client_token: Option<&str>, action: Action) -> Result<Done, AwsError> {
        let token = client_token.map(|token| self.token(token)).transpose()?;
        if self.dry_run {
            let verdict = self.commands.dry_run(self.account, &action);
            return Err(verdict.map_or_else(|refusal| self.refuse(refusal), |()| error::dry_run()));
        }
        let done = self.commands.execute(self.account, token, action).await;
        done.map_err(|failure| error::failed(self.operation, failure))
    }

    /// AWS's tokens belong to one operation; the model's to an account.
    fn token(&self, text: &str) -> Result<String, AwsError> {
        if text.chars().count() > MAX_TOKEN_CHARS {
            return Err(parameters::invalid(
                "clientToken",
                text,
                &format!("Client tokens have at most {MAX_TOKEN_CHARS} characters."),
            ));
        }
        Ok(format!("ec2:{}:{text}", self.operation))
    }

    /// Asks an instance to reboot.
    pub fn reboot(&self, instance: InstanceId) -> Result<(), AwsError> {
        if self.dry_run {
            return Err(error::dry_run());
        }
        let rebooted = self.consoles.reboot(instance);
        rebooted.map_err(|why| {
            AwsError::new(
                "IncorrectInstanceState",
                format!("The instance '{instance}' cannot be rebooted: {why}"),
            )
        })
    }

    /// What an instance printed.
    pub fn console(&self, instance: InstanceId) -> Option<Vec<u8>> {
        self.consoles.console(instance)
    }

    /// A resource of the caller's, by an id as the request gave it.
    pub fn get<R: Resource>(&self, text: &str) -> Result<Arc<R>, AwsError>
    where
        R::Id: FromStr<Err = MalformedId>,
    {
        let id = parameters::id::<R::Id>(text)?;
        self.state.get::<R>(self.account, id).map_err(|refusal| self.refuse(refusal))
    }

    /// The resources of these ids, each once and all there; with no ids, all of the caller's.
    pub fn select<R: Resource>(&self, ids: &[String]) -> Result<Vec<Arc<R>>, AwsError>
    where
        R::Id: FromStr<Err = MalformedId>,
    {
        if ids.is_empty() {
            return Ok(self.state.visible::<R>(self.account).cloned().collect());
        }
        let mut wanted = Vec::with_capacity(ids.len());
        for text in ids {
            let id = parameters::id::<R::Id>(text)?;
            if !wanted.contains(&id) {
                wanted.push(id);
            }
        }
        let mut found = Vec::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for id in wanted {
            match self.state.get::<R>(self.account, id) {
                Ok(resource) => found.push(resource),
                Err(_) => missing.push(id.into()),
            }
        }
        if missing.is_empty() { Ok(found) } else { Err(error::not_found(&missing)) }
    }

    /// One page of the rows that pass the filters.
    pub fn list<R: Row>(&self, rows: Vec<R>, listing: Listing) -> Result<Listed<R>, AwsError> {
        let rows = filters::retain(rows, &listing.filters)?;
        let page = pagination::page(
            self.operation,
            rows,
            listing.bounds,
            listing.max_results,
            listing.next_token.as_deref(),
        )?;
        Ok((Some(page.rows), page.next_token))
    }

    /// All rows that pass the filters, for operations without pages.
    pub fn all<R: Row>(&self, rows: Vec<R>, filters: &[ec2::Filter]) -> Result<Option<Vec<R>>, AwsError> {
        let mut rows = filters::retain(rows, filters)?;
        rows.sort_by_cached_key(Row::key);
        Ok(Some(rows))
    }
}
