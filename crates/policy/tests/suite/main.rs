//! The tests of the policy language: fixtures, properties, and what neither can say.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod api;
mod bad_input;
mod documents;
mod fixture;
mod flips;
mod large;
mod organization;
mod properties;
mod rules;
mod warnings;
