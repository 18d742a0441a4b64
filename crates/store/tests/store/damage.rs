//! What cannot be opened: another region's, a later version's, somebody else's, damaged. Always an error that says
//! what, never a panic, never a wrong state.

use std::fs;
use std::path::Path;

use postern_model::{Command, Region, State, Timestamp, apply};
use postern_store::{Ledger, Options, Sources, Store, StoreError};
use redb::{ReadableDatabase, TableDefinition};

use crate::disk::{Disk, Random};
use crate::workload::*;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

/// A directory with twenty commands in it, eighteen of them behind a snapshot.
fn filled(directory: &Path) -> State {
    let ledger = Ledger::open(directory, options(1_000), sources()).unwrap();
    ledger.execute_blocking(account(), None, create_account()).unwrap();
    put(&ledger, "first");
    drop(ledger);
    // Not closed in order, so the log stays.
    let (mut store, state) = Store::open(directory, options(1_000)).unwrap();
    append(&mut store, state)
}

fn append(store: &mut Store, mut state: State) -> State {
    for n in 0..18 {
        let seed = 77 + n;
        let (account, action) = (account(), key_pair(&n.to_string()));
        let at = Timestamp(seed);
        let command = Command { account, at, seed, client_token: None, action };
        let (next, events) = apply(&state, &command).unwrap();
        store.append(next.revision, &command, &events).unwrap();
        state = next;
    }
    assert_eq!(state.revision, 20);
    state
}

fn edit(directory: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(directory.join("state.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

fn error_of(directory: &Path) -> StoreError {
    Store::open(directory, options(1_000)).map(|_| ()).unwrap_err()
}

#[test]
fn a_store_opens_again_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let expected = filled(directory.path());
    let (_, state) = Store::open(directory.path(), options(1_000)).unwrap();
    assert!(state == expected);
}

#[test]
fn a_second_opener_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path(), options(1_000), Sources::system()).unwrap();
    let error = error_of(directory.path());
    let place = directory.path().display().to_string();
    assert!(matches!(&error, StoreError::InUse { place: found, .. } if *found == place), "{error}");
    assert_eq!(error.to_string(), format!("`{place}` is in use by process {}", std::process::id()));
    drop(ledger);
    Store::open(directory.path(), options(1_000)).unwrap();
}

#[test]
fn another_region_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    let other = Options::new(Region::new("eu-west-1").unwrap());
    let error = Store::open(directory.path(), other).map(|_| ()).unwrap_err();
    assert!(error.to_string().ends_with("holds region `us-east-1`, not `eu-west-1`"), "{error}");
}

#[test]
fn a_later_format_is_refused_by_its_number() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path());
    edit(directory.path(), |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", br#"{"format":7,"else":[]}"#.as_slice()).unwrap();
    });
    let error = error_of(directory.path());
    assert!(matches!(error, StoreError::UnknownFormat { found: 7, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("has format 7, and this version reads format 2"), "{error}");
}

#[test]
fn a_damaged_missing_or_swapped_command_is_named() {
    let record_of = |directory: &Path, revision: u64| {
        let database = redb::Database::open(directory.join("state.redb")).unwrap();
        let transaction = database.begin_read().unwrap();
        let log = transaction.open_table(LOG).unwrap();
        log.get(revision).unwrap().unwrap().value().to_vec()
    };
    type Change = fn(&mut redb::Table<'_, u64, &'static [u8]>, Vec<u8>, Vec<u8>);
    let changes: [(&str, Change); 6] = [
        ("the command of revision 10: its checksum does not match", |log, mut ten, _| {
            *ten.last_mut().unwrap() ^= 1;
            log.insert(10, ten.as_slice()).unwrap();
        }),
        ("the command of revision 10: its checksum does not match", |log, _, eleven| {
            log.insert(10, eleven.as_slice()).unwrap();
        }),
        ("the command of revision 10: its format is 9", |log, mut ten, _| {
            ten[0] = 9;
            log.insert(10, ten.as_slice()).unwrap();
        }),
        ("the command of revision 10: it is 3 bytes long", |log, ten, _| {
            log.insert(10, &ten[..3]).unwrap();
        }),
        ("the command of revision 10: it is missing; revision 11 is next", |log, _, _| {
            log.remove(10).unwrap();
        }),
        ("the command of revision 10: revision 20 should be the last", |log, _, _| {
            log.retain(|revision, _| revision < 10).unwrap();
        }),
    ];
    for (expected, change) in changes {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path());
        let (ten, eleven) = (record_of(directory.path(), 10), record_of(directory.path(), 11));
        edit(directory.path(), |transaction| {
            change(&mut transaction.open_table(LOG).unwrap(), ten, eleven);
        });
        let error = error_of(directory.path()).to_string();
        assert!(error.contains(expected), "{error}");
        let backup = directory.path().join("last.backup");
        assert!(error.contains(&format!("is kept in `{}`", backup.display())), "{error}");

        // And that can be done: the region as it was at its last snapshot.
        let other = tempfile::tempdir().unwrap();
        let restored = postern_store::restore(&mut fs::File::open(backup).unwrap(), other.path()).unwrap();
        assert_eq!(restored.revision, 2);
        let (_, state) = Store::open(other.path(), options(1_000)).unwrap();
        assert_eq!(names(&state), ["first"]);
    }
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let contents: [&[u8]; 4] = [b"", b"not a database", &[0; 4_096], &[0xff; 100_000]];
    for content in contents {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("state.redb"), content).unwrap();
        let error = error_of(directory.path());
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

#[test]
fn a_cut_or_changed_file_gives_an_error_or_the_same_state() {
    let directory = tempfile::tempdir().unwrap();
    let expected = filled(directory.path());
    let closed = fs::read(directory.path().join("state.redb")).unwrap();
    // The same as a crash leaves it, so that it is repaired before it is read.
    let crashed = Disk::default();
    let (store, state) = Store::open_on(crashed.clone(), options(1_000)).unwrap();
    let ledger = Ledger::over(store, state, sources()).unwrap();
    ledger.execute_blocking(account(), None, create_account()).unwrap();
    put(&ledger, "first");
    drop(ledger);
    let (mut store, state) = Store::open_on(crashed.clone(), options(1_000)).unwrap();
    let expected_crashed = append(&mut store, state);
    try_damages(&closed, &[expected]);
    // After a crash, a damaged last commit looks like one that the crash cut short: then the one before it counts.
    let before = without_last(expected_crashed.clone());
    try_damages(&crashed.image(), &[expected_crashed, before]);
}

/// The state a command earlier.
fn without_last(mut state: State) -> State {
    let last = state.key_pairs.values().max_by_key(|pair| pair.created_at).unwrap().id;
    state.key_pairs.remove(&last);
    state.revision -= 1;
    state
}

fn try_damages(image: &[u8], allowed: &[State]) {
    let rounds = std::env::var("POSTERN_STORE_DAMAGES").map_or(400, |text| text.parse().unwrap());
    let mut refused = 0;
    for seed in 0..rounds {
        let mut random = Random(seed);
        let damaged = damage(image, &mut random);
        match Store::open_on(Disk::with(damaged), options(1_000)) {
            Ok((_, state)) => {
                assert!(allowed.contains(&state), "seed {seed} gives revision {}", state.revision)
            }
            Err(StoreError::Damaged { .. } | StoreError::Disk { .. }) => refused += 1,
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    println!("{refused} of {rounds} were noticed");
    assert!(refused > rounds / 10, "{refused} of {rounds} were noticed");
}

fn damage(image: &[u8], random: &mut Random) -> Vec<u8> {
    let mut damaged = image.to_vec();
    match random.below(4) {
        0 => damaged.truncate(random.below(image.len())),
        1 => damaged.resize(image.len() + random.below(50_000), 0),
        2 => {
            let at = random.below(image.len());
            damaged[at] ^= 1 << random.below(8);
        }
        _ => {
            let from = random.below(image.len());
            let to = (from + random.below(5_000)).min(image.len());
            damaged[from..to].fill(random.next() as u8);
        }
    }
    damaged
}

#[test]
fn what_holds_secrets_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    filled(&directory);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for name in ["state.redb", "last.backup", "lock"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}
