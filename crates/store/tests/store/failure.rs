//! The disk runs full or fails while the ledger goes on.

use postern_store::{CommitError, Ledger, Store, StoreError};

use crate::disk::{Disk, Faults, Random};
use crate::workload::*;

fn is_full(error: &CommitError) -> bool {
    match error {
        CommitError::Storage(error) => match error.as_ref() {
            StoreError::Disk { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        },
        CommitError::Refused(_) | CommitError::Busy { .. } | CommitError::Closed => false,
    }
}

fn ledger_on(disk: &Disk, snapshot_every: u64) -> Ledger {
    let (store, state) = Store::open_on(disk.clone(), options(snapshot_every)).unwrap();
    let ledger = Ledger::over(store, state, sources()).unwrap();
    if ledger.state().accounts.is_empty() {
        ledger.execute_blocking(account(), None, create_account()).unwrap();
    }
    ledger
}

#[test]
fn a_full_disk_refuses_changes_and_takes_them_again_when_there_is_room() {
    for snapshot_every in [10, 1_000] {
        let disk = Disk::default();
        let ledger = ledger_on(&disk, snapshot_every);
        disk.faults(Faults { capacity: Some(disk.length() + 40_000), ..Faults::default() });
        let mut watcher = ledger.watch(ledger.state().revision);
        let mut done = Vec::new();
        let error = loop {
            let name = format!("{}", done.len());
            let before = ledger.state();
            match ledger.execute_blocking(account(), None, key_pair(&name)) {
                Ok(_) => done.push(name),
                Err(error) => {
                    assert!(*ledger.state() == *before);
                    break error;
                }
            }
            assert!(done.len() < 100_000, "the disk never ran full");
        };
        assert!(is_full(&error), "{error}");
        assert!(error.to_string().contains("no storage space"), "{error}");
        // Reading goes on, and it stays refused while there is no room.
        assert_eq!(ledger.state().key_pairs.len(), done.len());
        assert!(ledger.put_blob_blocking("large", &vec![7; 200_000]).is_err());
        assert_eq!(ledger.get_blob("large"), None);
        disk.faults(Faults::default());
        put(&ledger, "after");
        ledger.put_blob_blocking("large", &vec![7; 200_000]).unwrap();
        // Watchers saw what was committed and nothing else.
        let mut seen = 0;
        while watcher.try_next().is_some_and(|change| change.is_ok()) {
            seen += 1;
        }
        assert_eq!(seen, done.len() + 1);
        let expected = ledger.state();
        drop(ledger);
        let (store, state) = Store::open_on(Disk::with(disk.image()), options(1_000)).unwrap();
        assert!(state == *expected);
        assert_eq!(store.get_blob("large").map(|blob| blob.len()), Some(200_000));
    }
}

#[test]
fn after_any_failure_of_the_disk_the_state_is_as_before_and_nothing_acknowledged_is_lost() {
    let rounds = std::env::var("POSTERN_STORE_FAILURES").map_or(150, |text| text.parse().unwrap());
    for seed in 0..rounds {
        let mut random = Random(seed);
        let disk = Disk::forgetful(seed);
        let ledger = ledger_on(&disk, 9);
        let mut failures = 0;
        for n in 0..30 {
            if random.chance(15) {
                disk.faults(Faults { fail_in: Some(random.below(25)), ..Faults::default() });
            }
            let before = ledger.state();
            match ledger.execute_blocking(account(), None, key_pair(&n.to_string())) {
                Ok(committed) => assert_eq!(committed.revision, before.revision + 1),
                Err(CommitError::Storage(_)) => {
                    failures += 1;
                    assert!(*ledger.state() == *before, "seed {seed}: a failed change shows");
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        let expected = ledger.state();
        // The power fails as well, before anything is put in order.
        let image = disk.after_power_failure(&mut random);
        disk.faults(Faults { dead: true, ..Faults::default() });
        drop(ledger);
        let (_, state) = Store::open_on(Disk::with(image), options(1_000)).unwrap();
        let at_least = state.revision >= expected.revision;
        assert!(at_least, "seed {seed}: {} of {} after {failures}", state.revision, expected.revision);
        let names_found = names(&state);
        assert!(names(&expected).iter().all(|name| names_found.contains(name)), "seed {seed}");
    }
}

#[test]
fn a_dead_disk_fails_every_change_and_reading_goes_on() {
    let disk = Disk::default();
    let ledger = ledger_on(&disk, 1_000);
    put(&ledger, "one");
    disk.faults(Faults { dead: true, ..Faults::default() });
    for _ in 0..3 {
        let error = ledger.execute_blocking(account(), None, key_pair("two")).unwrap_err();
        assert!(matches!(error, CommitError::Storage(_)), "{error}");
    }
    assert_eq!(names(&ledger.state()), ["one"]);
    // What the model refuses needs no disk.
    let refused = ledger.execute_blocking(account(), None, key_pair("one")).unwrap_err();
    assert!(matches!(refused, CommitError::Refused(_)), "{refused}");
    disk.faults(Faults::default());
    put(&ledger, "two");
}
