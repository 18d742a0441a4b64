//! Backups: what is restored is what was there, and what is damaged is refused.

use std::fs;

use postern_model::State;
use postern_store::{Ledger, Store, StoreError, restore};

use crate::workload::*;

fn filled() -> Ledger {
    let ledger = Ledger::ephemeral(State::new(region()), sources()).unwrap();
    ledger.execute_blocking(account(), None, create_account()).unwrap();
    for n in 0..10 {
        put(&ledger, &n.to_string());
    }
    ledger.put_blob_blocking("ca/key", &[0, 159, 255]).unwrap();
    ledger
}

fn backup(ledger: &Ledger) -> Vec<u8> {
    let mut file = Vec::new();
    ledger.backup(&mut file).unwrap();
    file
}

#[test]
fn what_is_restored_is_what_was_there() {
    let ledger = filled();
    let file = backup(&ledger);
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("new");
    let restored = restore(&mut file.as_slice(), &target).unwrap();
    assert_eq!((restored.region, restored.revision), (region(), 11));
    let (store, state) = Store::open(&target, options(1_000)).unwrap();
    assert!(state == *ledger.state());
    assert_eq!(store.get_blob("ca/key").as_deref(), Some([0, 159, 255].as_slice()));
    drop(store);
    // It goes on from there, and is not overwritten.
    let ledger = Ledger::open(&target, options(1_000), sources()).unwrap();
    assert_eq!(put(&ledger, "more"), 12);
    drop(ledger);
    let error = restore(&mut file.as_slice(), &target).unwrap_err();
    assert!(matches!(error, StoreError::NotEmpty { .. }), "{error}");
}

#[test]
fn a_backup_of_a_busy_ledger_is_of_one_revision() {
    let ledger = filled();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..300 {
                put(&ledger, &format!("busy-{n}"));
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let directory = tempfile::tempdir().unwrap();
            let restored = restore(&mut backup(&ledger).as_slice(), directory.path()).unwrap();
            let (_, state) = Store::open(directory.path(), options(1_000)).unwrap();
            assert!(restored.revision >= last);
            assert_eq!(names(&state).len() as u64 + 1, restored.revision);
            last = restored.revision;
        }
    });
}

#[test]
fn a_cut_or_changed_backup_is_refused_and_leaves_nothing() {
    let file = backup(&filled());
    let directory = tempfile::tempdir().unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..file.len()).step_by(97).map(|end| file[..end].to_vec()).collect();
    damaged.extend((0..file.len()).step_by(31).map(|at| {
        let mut changed = file.clone();
        changed[at] ^= 0x04;
        changed
    }));
    // A whole line less is a file less.
    let lines: Vec<_> = file.split_inclusive(|byte| *byte == b'\n').collect();
    damaged.extend((0..lines.len()).map(|without| {
        let kept = lines.iter().enumerate().filter(|(n, _)| *n != without);
        kept.flat_map(|(_, line)| line.to_vec()).collect()
    }));
    for content in damaged {
        let error = restore(&mut content.as_slice(), directory.path()).unwrap_err();
        let told = matches!(error, StoreError::Damaged { .. } | StoreError::UnknownFormat { .. });
        assert!(told, "{error}");
        assert!(!directory.path().join("state.redb").exists());
    }
    let error = restore(&mut file[..100].to_vec().as_slice(), directory.path()).unwrap_err();
    assert_eq!(error.to_string(), "`the backup` is damaged at line 2: the file ends here");
}

#[test]
fn a_state_that_breaks_the_rules_is_refused() {
    let ledger = filled();
    let mut state = (*ledger.state()).clone();
    state.accounts.clear();
    let broken = Ledger::ephemeral(state, sources()).unwrap();
    let file = backup(&broken);
    let directory = tempfile::tempdir().unwrap();
    // Key pairs alone break no named rule, so a VPC of nobody is needed.
    restore(&mut file.as_slice(), &directory.path().join("a")).unwrap();
    let action = postern_model::Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: Vec::new() };
    ledger.execute_blocking(account(), None, action).unwrap();
    let mut state = (*ledger.state()).clone();
    state.accounts.clear();
    let file = backup(&Ledger::ephemeral(state, sources()).unwrap());
    let error = restore(&mut file.as_slice(), &directory.path().join("b")).unwrap_err();
    assert!(error.to_string().contains("everything belongs to an account that is there"), "{error}");
}

#[test]
fn the_last_snapshot_is_kept_beside_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path(), options(10), sources()).unwrap();
    ledger.execute_blocking(account(), None, create_account()).unwrap();
    for n in 0..25 {
        put(&ledger, &n.to_string());
    }
    drop(ledger);
    let other = tempfile::tempdir().unwrap();
    let mut file = fs::File::open(directory.path().join("last.backup")).unwrap();
    assert_eq!(restore(&mut file, other.path()).unwrap().revision, 26);
}
