//! The power fails at any moment: what was acknowledged is there, in order, and nothing by halves.
//!
//! `POSTERN_STORE_CRASHES` sets how many crashes are tried, `POSTERN_STORE_SEED` with what randomness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use postern_model::State;
use postern_store::{Ledger, Store};

use crate::disk::{Disk, Random, Replay, torn};
use crate::workload::*;

const CRASHES: usize = 2_000;

/// One run whose every operation on the disk is known.
struct Run {
    first: Vec<u8>,
    trace: Vec<crate::disk::Op>,
    /// After how many operations which revision, or which blob, had been acknowledged.
    acknowledged: Vec<(usize, Acknowledged)>,
    states: BTreeMap<u64, Arc<State>>,
}

enum Acknowledged {
    Revision(u64),
    Blob(String),
}

fn run(threads: usize, commands: usize, snapshot_every: u64) -> Run {
    let disk = Disk::default();
    let (store, state) = Store::open_on(disk.clone(), options(snapshot_every)).unwrap();
    let first = disk.image();
    disk.trace();
    let ledger = Ledger::over(store, state.clone(), sources()).unwrap();
    let mut watcher = ledger.watch(0);
    let acknowledged = Mutex::new(Vec::new());
    let acknowledge = |what| acknowledged.lock().unwrap().push((disk.position(), what));
    acknowledge(Acknowledged::Revision(
        ledger.execute_blocking(account(), None, create_account()).unwrap().revision,
    ));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (ledger, acknowledge) = (&ledger, &acknowledge);
            scope.spawn(move || {
                for n in 0..commands / threads {
                    acknowledge(Acknowledged::Revision(put(ledger, &format!("{thread}-{n}"))));
                    if n % 16 == 5 {
                        let name = format!("blob/{thread}-{n}");
                        ledger.put_blob_blocking(&name, name.as_bytes()).unwrap();
                        acknowledge(Acknowledged::Blob(name));
                    }
                }
            });
        }
    });
    drop(ledger);
    let mut states = BTreeMap::from([(0, Arc::new(state))]);
    while let Some(Ok(change)) = watcher.try_next() {
        states.insert(change.revision, change.state);
    }
    Run { first, trace: disk.take_trace(), acknowledged: acknowledged.into_inner().unwrap(), states }
}

impl Run {
    /// Checks what is found after a crash behind `position` operations.
    fn check(&self, position: usize, image: Vec<u8>, random: &mut Random) {
        let disk = Disk::with(image);
        let (mut store, state) = Store::open_on(disk.clone(), options(1_000)).unwrap();
        let before = self.acknowledged.iter().filter(|(at, _)| *at <= position);
        for (_, what) in before {
            match what {
                Acknowledged::Revision(revision) => {
                    assert!(state.revision >= *revision, "revision {revision} was acknowledged and is gone");
                }
                Acknowledged::Blob(name) => {
                    assert_eq!(store.get_blob(name).as_deref(), Some(name.as_bytes()));
                }
            }
        }
        assert!(state == *self.states[&state.revision], "revision {} is another one", state.revision);
        if random.chance(10) {
            // It goes on from there, and the next crash loses nothing either.
            store.put_blob("after", b"all").unwrap();
            drop(store);
            let image = disk.after_power_failure(random);
            let (store, again) = Store::open_on(Disk::with(image), options(1_000)).unwrap();
            assert!(again == state);
            assert_eq!(store.get_blob("after").as_deref(), Some(b"all".as_slice()));
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_fails() {
    let from_env = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let crashes = from_env("POSTERN_STORE_CRASHES").map_or(CRASHES, |n| n as usize);
    let seed = from_env("POSTERN_STORE_SEED").unwrap_or(1);
    let mut random = Random(seed);
    let mut done = 0;
    // One caller, whose every command is a transaction, and many, who share them; with and without snapshots.
    for (threads, commands, every) in [(1, 60, 1_000), (1, 60, 7), (4, 160, 1_000), (4, 160, 20)] {
        let run = run(threads, commands, every);
        assert!(run.trace.len() > 50, "{} operations", run.trace.len());
        let each = (crashes / 4).div_ceil(run.trace.len()).max(1);
        let mut replay = Replay::new(run.first.clone(), &run.trace);
        let mut position = 0;
        loop {
            for _ in 0..each {
                let state = random.clone();
                let image = torn(&replay.durable, &replay.pending, &mut random);
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    run.check(position, image, &mut random);
                }));
                if let Err(panic) = outcome {
                    eprintln!(
                        "POSTERN_STORE_SEED={seed}: {threads} threads, operation {position}, {state:?}"
                    );
                    std::panic::resume_unwind(panic);
                }
                done += 1;
            }
            if !replay.step() {
                break;
            }
            position += 1;
        }
    }
    println!("{done} crashes");
    assert!(done >= crashes);
}
