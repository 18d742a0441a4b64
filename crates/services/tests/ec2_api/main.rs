//! The EC2 API, from the outside: real forms in, real documents out, over a region that lives in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod authorisation;
mod defaults;
mod endpoint_services;
mod endpoints;
mod every_operation;
mod filters;
mod instances;
mod interface_endpoints;
mod keys;
mod network;
mod pages;
mod parameters;
mod peerings;
mod quotas;
mod requests;
mod security;
mod support;
mod tagging;
mod transits;
mod vpns;
mod world;
