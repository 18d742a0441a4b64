//! The model's tests: AWS's rules one by one, and properties of random histories.
//!
//! `world` is the small language that the rules are written in; `draw` draws random commands for `properties`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod batch;
mod default_vpc;
mod draw;
mod elb;
mod endpoint;
mod endpoint_service;
mod gateway;
mod iam;
mod instance;
mod interface_endpoint;
mod network_acl;
mod peering;
mod prefix_list;
mod properties;
mod quota;
mod route;
mod security_group;
mod subnet;
mod tag;
mod upstream;
mod vpc;
mod vpn;
mod world;
