//! The built program from outside: its commands, its API, real instances, crashes, bad input.
//!
//! Each case starts regions of its own on free ports, and checks afterwards that nothing of them is left. As root,
//! cases run twice where it matters: as root and as a user without privileges.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a case fails by panicking, with the value at hand"
)]

mod attacks;
mod aws;
mod backup;
mod bad_input;
mod balancers;
mod commands;
mod doors;
mod durability;
mod harness;
mod hitless;
mod hostile;
mod inbound_resolver;
mod interface_endpoints;
mod judgements;
mod labs;
mod life;
mod limits;
mod listening;
mod measures;
mod metadata;
mod network;
mod network_keys;
mod notifications;
mod on_premises;
mod paths;
mod policy_check;
mod private_names;
mod programs;
mod records;
mod transit;
mod uplink;
mod upstreams;
