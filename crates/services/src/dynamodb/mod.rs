//! DynamoDB: tables of accounts, behind the front door's policies.
//!
//! A request passes, in this order:
//! 1. the front door reads its operation and verifies who signed it ([`postern_frontdoor::json`]);
//! 2. [`shape`] refuses what is not served by its name, and what has another type than it should;
//! 3. [`engine`] reads it, so that what makes no sense is refused before anything is decided;
//! 4. [`ask`] says what it asks for: an action on each table or index, with the keys and attributes it names;
//! 5. with the permits, [`engine`] carries it out in the [`store`] of the caller's own account.
//!
//! The engine is `dynoxide-rs` over SQLite, one database for each account. It knows one account and one region of its
//! own: [`arn`] puts the right ones into its answers.
//!
//! INVARIANT: the tables that a request was authorised on are the tables that it is carried out on: whoever makes,
//! changes or deletes tables waits for requests between their authorisation and their end.

pub mod store;

mod arn;
mod ask;
mod engine;
mod error;
mod expression;
mod operation;
mod service;
mod shape;

pub use self::service::DynamoDbService;
pub use self::store::{Store, StoreError};
