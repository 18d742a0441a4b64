//! Frames as bytes: reading and rewriting Ethernet, ARP, IPv4, TCP, UDP and ICMP in place.
//!
//! INVARIANT: nothing in here panics on any bytes. Every read and write goes through [`bytes`], which answers with
//! nothing where the frame ends too early. A frame that was parsed is never rewritten outside the parts that were
//! seen while parsing.

pub mod arp;
pub mod build;
pub mod bytes;
pub mod checksum;
pub mod dhcp;
pub mod embedded;
pub mod ethernet;
pub mod fragment;
pub mod ipv4;
pub mod mss;
pub mod rewrite;
pub mod tcp;

pub use checksum::Delta;
pub use ethernet::{Ethernet, ROUTER_MAC};
pub use ipv4::{Content, Fragment, Ipv4, Malformed};
pub use rewrite::Tuple;

/// IP protocol numbers.
pub mod protocol {
    /// Internet control messages.
    pub const ICMP: u8 = 1;
    /// Transmission control.
    pub const TCP: u8 = 6;
    /// User datagrams.
    pub const UDP: u8 = 17;
}
