//! How many commits a second. Printed, never asserted: `cargo test -p postern-store --release -- --ignored --nocapture`.

use std::time::Instant;

use postern_model::State;
use postern_store::{Ledger, Options};

use crate::workload::*;

#[test]
#[ignore = "a measurement"]
fn commits_per_second() {
    // A real file system, not one in memory: beside the build's own files.
    let parent = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    for callers in [1, 32] {
        for ephemeral in [false, true] {
            let directory = tempfile::tempdir_in(&parent).unwrap();
            let ledger = if ephemeral {
                Ledger::ephemeral(State::new(region()), sources()).unwrap()
            } else {
                Ledger::open(directory.path(), Options::new(region()), sources()).unwrap()
            };
            ledger.execute_blocking(account(), None, create_account()).unwrap();
            let each = 4_000 / callers;
            let start = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..callers {
                    scope.spawn(|| {
                        for _ in 0..each {
                            ledger.execute_blocking(account(), None, change()).unwrap();
                        }
                    });
                }
            });
            let rate = (each * callers) as f64 / start.elapsed().as_secs_f64();
            let kind = if ephemeral { "in memory" } else { "durable" };
            println!("{callers:2} callers, {kind}: {rate:.0} commits a second");
            if !ephemeral {
                drop(ledger);
                let start = Instant::now();
                let ledger = Ledger::open(directory.path(), Options::new(region()), sources()).unwrap();
                println!("   opened at revision {} in {:?}", ledger.state().revision, start.elapsed());
            }
        }
    }
}
