//! What the tests commit: small commands of one account that leave a trace in the state.

use std::sync::atomic::{AtomicU64, Ordering};

use postern_model::instance::NewKeyPair;
use postern_model::{AccountId, Action, Quota, Region, State, Timestamp};
use postern_store::{Ledger, Options, Sources};

pub fn account() -> AccountId {
    AccountId::from_number(123_456_789_012).unwrap()
}

pub fn region() -> Region {
    Region::new("us-east-1").unwrap()
}

pub fn options(snapshot_every: u64) -> Options {
    Options { snapshot_every, ..Options::new(region()) }
}

/// A clock that counts, and seeds that are never the same in one run of the tests.
pub fn sources() -> Sources {
    static SEED: AtomicU64 = AtomicU64::new(1);
    let now = AtomicU64::new(1);
    Sources::new(
        move || Timestamp(now.fetch_add(1, Ordering::Relaxed)),
        || SEED.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x2545_f491_4f6c_dd1d),
    )
}

pub fn create_account() -> Action {
    Action::CreateAccount { name: "ours".to_owned(), root_key: None }
}

/// A key pair of this name. A second one of the same name is refused.
pub fn key_pair(name: &str) -> Action {
    Action::CreateKeyPair(NewKeyPair {
        name: name.to_owned(),
        key_type: "ed25519".to_owned(),
        public_key: format!("ssh-ed25519 {}", "A".repeat(68)),
        fingerprint: "SHA256:".to_owned(),
        tags: vec![("made-by".to_owned(), "a test".to_owned())],
    })
}

pub fn gateway() -> Action {
    Action::CreateInternetGateway { tags: Vec::new() }
}

/// A change that can be made any number of times.
pub fn change() -> Action {
    Action::SetQuota { quota: Quota::Vpcs, limit: Some(7) }
}

pub fn names(state: &State) -> Vec<&str> {
    state.key_pairs.values().map(|pair| pair.name.as_str()).collect()
}

pub fn put(ledger: &Ledger, name: &str) -> u64 {
    ledger.execute_blocking(account(), None, key_pair(name)).unwrap().revision
}
