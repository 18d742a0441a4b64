//! The store's tests: what survives which failure, on disks that fail on purpose and in processes that are killed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archive;
mod backup;
mod crash;
mod damage;
mod disk;
mod earlier;
mod failure;
mod kill;
mod ledger;
mod speed;
mod workload;
