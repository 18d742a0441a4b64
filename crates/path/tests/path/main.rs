//! What `decide` is held to: fixtures of every stage, an oracle that shares nothing with it, the soundness of covers
//! and of generations, and plans that were advanced against plans that were compiled anew.
//!
//! `POSTERN_CASES` sets how many random topologies are tried, `POSTERN_SEED` tries the one that failed.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]

mod agreement;
mod balanced;
mod balancer_names;
mod balancing;
mod cover;
mod faults;
mod fixtures;
mod generations;
mod incremental;
mod oracle;
mod seeds;
mod transits;
mod users_service;
