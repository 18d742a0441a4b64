//! Accounts: who owns resources. Two accounts never see each other's.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::event::Event;
use crate::iam::{AccessKey, Iam, KeyOwner};
use crate::id::{AccountId, Timestamp};
use crate::txn::Txn;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its twelve digits.
    pub id: AccountId,
    /// What its owner calls it.
    pub name: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// Makes the command's account, with an access key for its root user if one is given.
pub(crate) fn create(
    txn: &mut Txn,
    name: String,
    root_key: Option<(String, String)>,
) -> Result<(), ModelError> {
    if txn.state.accounts.contains_key(&txn.account) {
        return Err(ModelError::AccountExists(txn.account));
    }
    let account = Account { id: txn.account, name, created_at: txn.at };
    txn.state.accounts.insert(txn.account, Arc::new(account));
    txn.state.iam.insert(txn.account, Arc::new(Iam::default()));
    txn.events.push(Event::IdentityChanged);
    root_key.map_or(Ok(()), |key| create_root_key(txn, key))
}

/// Gives the root user of the command's account one more access key.
pub(crate) fn create_root_key(txn: &mut Txn, (id, secret): (String, String)) -> Result<(), ModelError> {
    let created_at = txn.at;
    crate::iam::insert_key(txn, AccessKey { id, secret, owner: KeyOwner::Root, active: true, created_at })
}
