//! S3: its protocol, its durable storage, and a door in front that denies by default.
//!
//! A request passes, in this order:
//! 1. [`service`] names it (request id) and [`precheck`] settles whose key it claims;
//! 2. the protocol layer (`s3s`) verifies the signature and parses the operation;
//! 3. [`admission`] lets through only operations that are served, with headers that are understood, and notes the
//!    verified caller;
//! 4. [`ops`] says what the operation asks for, gets a [`gate::Permit`] from the [`gate::Gate`] for each ask, and only
//!    with it reaches the [`storage`];
//! 5. [`service`] puts errors into S3's words.

pub mod gate;
pub mod host;
pub mod service;
pub mod storage;

mod admission;
mod body_guard;
mod error;
mod ops;
pub(crate) mod pieces;
mod precheck;
mod range;
pub(crate) mod signing;

pub use self::gate::{Ask, BucketFacts, Caller, Gate, KeyValue, Permit, Refusal, SecretLookup};
pub use self::service::{Enforceable, Options, PolicyCheck, S3Service};
