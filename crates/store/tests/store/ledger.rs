//! The ledger as its callers see it.

use std::sync::Arc;

use postern_model::{Action, Command, Event, ModelError, State, Timestamp};
use postern_store::{CommitError, Ledger, Store, WatchError};

use crate::disk::Disk;
use crate::workload::*;

fn ephemeral() -> Ledger {
    let ledger = Ledger::ephemeral(State::new(region()), sources()).unwrap();
    ledger.execute_blocking(account(), None, create_account()).unwrap();
    ledger
}

fn on_disk(disk: &Disk, snapshot_every: u64) -> Ledger {
    let (store, state) = Store::open_on(disk.clone(), options(snapshot_every)).unwrap();
    Ledger::over(store, state, sources()).unwrap()
}

#[tokio::test]
async fn a_command_gives_its_own_state_and_a_refusal_changes_nothing() {
    let ledger = ephemeral();
    let old = ledger.state();
    let committed = ledger.execute(account(), None, key_pair("one")).await.unwrap();
    assert_eq!((committed.revision, committed.repeated), (2, false));
    assert!(matches!(*committed.events, [Event::Created(_)]));
    assert!(Arc::ptr_eq(&committed.state, &ledger.state()));
    assert!(old.key_pairs.is_empty());
    let error = ledger.execute(account(), None, key_pair("one")).await.unwrap_err();
    assert!(matches!(error, CommitError::Refused(ModelError::KeyPairExists(_))), "{error}");
    assert!(Arc::ptr_eq(&committed.state, &ledger.state()));
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let ledger = ephemeral();
    put(&ledger, "one");
    let before = ledger.state();
    assert_eq!(ledger.dry_run_action(account(), key_pair("two")), Ok(()));
    let refused = ledger.dry_run_action(account(), key_pair("one"));
    assert_eq!(refused, Err(ModelError::KeyPairExists("one".to_owned())));
    assert!(Arc::ptr_eq(&before, &ledger.state()));
}

#[test]
fn a_repeated_token_changes_nothing_now_or_after_a_restart() {
    let disk = Disk::default();
    let token = || Some("once".to_owned());
    let ledger = on_disk(&disk, 1_000);
    ledger.execute_blocking(account(), None, create_account()).unwrap();
    let first = ledger.execute_blocking(account(), token(), gateway()).unwrap();
    let again = ledger.execute_blocking(account(), token(), gateway()).unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!((again.revision, &again.events), (first.revision, &first.events));
    drop(ledger);
    let ledger = on_disk(&Disk::with(disk.image()), 1_000);
    let later = ledger.execute_blocking(account(), token(), gateway()).unwrap();
    assert!(later.repeated);
    assert_eq!(later.events, first.events);
}

#[test]
fn commands_carry_the_time_and_seeds_of_the_ledger() {
    let ledger = ephemeral();
    let mut watcher = ledger.watch(1);
    put(&ledger, "one");
    let command =
        Command { account: account(), at: Timestamp(5), seed: 9, client_token: None, action: gateway() };
    ledger.commit_blocking(command.clone()).unwrap();
    let first = watcher.try_next().unwrap().unwrap();
    assert_eq!((first.revision, first.command.at), (2, Timestamp(2)));
    assert_eq!(*watcher.try_next().unwrap().unwrap().command, command);
    assert!(watcher.try_next().is_none());
}

#[tokio::test]
async fn a_watcher_sees_every_revision_in_order_however_they_were_committed() {
    let ledger = ephemeral();
    let mut watcher = ledger.watch(0);
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    ledger.execute(account(), None, key_pair(&format!("{task}-{n}"))).await.unwrap();
                }
            })
        })
        .collect();
    for expected in 1..=401 {
        let change = watcher.next().await.unwrap();
        assert_eq!((change.revision, change.state.revision), (expected, expected));
        assert!(!change.events.is_empty());
    }
    for task in tasks {
        task.await.unwrap();
    }
    drop(ledger);
    assert!(matches!(watcher.next().await, Err(WatchError::Closed)));
}

#[tokio::test]
async fn a_slow_watcher_is_told_and_goes_on_from_the_state_it_is_given() {
    let ledger = ephemeral();
    let mut watcher = ledger.watch(1);
    for _ in 0..1_200 {
        ledger.execute(account(), None, change()).await.unwrap();
    }
    let Err(WatchError::Lagged { first, last, state }) = watcher.next().await else { panic!("not told") };
    assert_eq!((first, last, state.revision), (2, 1_201, 1_201));
    assert!(watcher.try_next().is_none());
    ledger.execute(account(), None, change()).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().revision, 1_202);
    // One who starts within what is kept sees it all.
    let mut late = ledger.watch(1_000);
    for expected in 1_001..=1_202 {
        assert_eq!(late.try_next().unwrap().unwrap().revision, expected);
    }
}

#[tokio::test]
async fn a_replaced_state_is_a_new_revision_that_watchers_start_again_from() {
    let disk = Disk::default();
    let ledger = on_disk(&disk, 5);
    ledger.execute(account(), None, create_account()).await.unwrap();
    for n in 0..12 {
        ledger.execute(account(), None, key_pair(&n.to_string())).await.unwrap();
    }
    ledger.put_blob_blocking("ca/key", b"secret").unwrap();
    let mut watcher = ledger.watch(ledger.state().revision);
    let replaced = ledger.replace_blocking(State::new(region())).unwrap();
    assert_eq!(replaced.revision, 14);
    let Err(WatchError::Lagged { state, .. }) = watcher.next().await else { panic!("not told") };
    assert!(state.accounts.is_empty());
    ledger.execute(account(), None, create_account()).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().revision, 15);
    let expected = ledger.state();
    drop(ledger);
    let again = on_disk(&Disk::with(disk.image()), 5);
    assert!(*again.state() == *expected);
    assert_eq!(again.get_blob("ca/key").as_deref(), Some(b"secret".as_slice()));
}

#[test]
fn the_log_begins_again_and_the_state_goes_on() {
    let disk = Disk::default();
    let mut expected: Option<Arc<State>> = None;
    for round in 0..5 {
        let ledger = on_disk(&disk, 10);
        if round == 0 {
            ledger.execute_blocking(account(), None, create_account()).unwrap();
        }
        if let Some(expected) = &expected {
            assert!(*ledger.state() == **expected);
        }
        for n in 0..100 {
            put(&ledger, &format!("{round}-{n}"));
        }
        expected = Some(ledger.state());
    }
    // What has been deleted from the log is used again: the file does not grow with every command.
    let before = disk.length();
    let ledger = on_disk(&disk, 10);
    for n in 0..1_000 {
        let pair = put_and_find(&ledger, &format!("temporary-{n}"));
        ledger.execute_blocking(account(), None, Action::DeleteKeyPair { key_pair: pair }).unwrap();
    }
    drop(ledger);
    assert!(disk.length() <= before * 4, "{} bytes became {}", before, disk.length());
}

fn put_and_find(ledger: &Ledger, name: &str) -> postern_model::KeyPairId {
    let committed = ledger.execute_blocking(account(), None, key_pair(name)).unwrap();
    match committed.events.first() {
        Some(Event::Created(postern_model::ResourceId::KeyPair(id))) => *id,
        other => panic!("the first event is {other:?}"),
    }
}

#[test]
fn blobs_are_kept_replaced_removed_and_limited() {
    let disk = Disk::default();
    let ledger = on_disk(&disk, 1_000);
    assert_eq!(ledger.get_blob("ca/key"), None);
    ledger.put_blob_blocking("ca/key", b"one").unwrap();
    ledger.put_blob_blocking("ca/key", b"two").unwrap();
    ledger.put_blob_blocking("gone", b"three").unwrap();
    ledger.remove_blob_blocking("gone").unwrap();
    for name in ["", "A", "a b", &"a".repeat(129)] {
        let error = ledger.put_blob_blocking(name, b"").unwrap_err().to_string();
        assert!(error.contains(&format!("`{name}` is not a name for a blob")), "{error}");
    }
    let error = ledger.put_blob_blocking("large", &vec![0; (1 << 20) + 1]).unwrap_err().to_string();
    assert!(error.contains("1048576 bytes of a blob are allowed"), "{error}");
    drop(ledger);
    let ledger = on_disk(&Disk::with(disk.image()), 1_000);
    assert_eq!(ledger.get_blob("ca/key").as_deref(), Some(b"two".as_slice()));
    assert_eq!(ledger.get_blob("gone"), None);
    let ephemeral = ephemeral();
    ephemeral.put_blob_blocking("ca/key", b"one").unwrap();
    assert_eq!(ephemeral.get_blob("ca/key").as_deref(), Some(b"one".as_slice()));
}

#[test]
fn an_answer_that_nobody_waits_for_changes_the_state_all_the_same() {
    let ledger = ephemeral();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut future = Box::pin(ledger.execute(account(), None, key_pair("dropped")));
        let polled = std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context)));
        drop(polled.await);
        drop(future);
    });
    put(&ledger, "next");
    assert_eq!(names(&ledger.state()).len(), 2);
}
