//! Choices that the forwarder and the kernel program make alike: where the search for a NAT gateway's port starts, and
//! which of a peer's addresses a destination sees.
//!
//! Both are drawn by secrets from what is to be told apart (multilinear hashing), in arithmetic that the program has too.

use super::key::{Address, FlowKey};
use super::peer::Variant;

/// Addresses of a peer among which the destination chooses.
pub const USUAL_VARIANTS: Variant = 8;

/// The secrets.
#[derive(Debug, Clone, Copy)]
pub struct Choice([u64; 6]);

impl Choice {
    /// With secrets that nobody outside knows.
    pub const fn with_seed(seed: u64) -> Self {
        let mut secrets = [0; 6];
        let mut state = seed ^ 0x6a09_e667_f3bc_c908;
        let mut at = 0;
        while at < secrets.len() {
            // One step of splitmix64: secrets that say nothing about each other.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            secrets[at] = (mixed ^ (mixed >> 31)) | 1;
            at += 1;
        }
        Self(secrets)
    }

    /// With these secrets.
    pub(crate) const fn with_secrets(secrets: [u64; 6]) -> Self {
        Self(secrets)
    }

    /// The secrets, for the program.
    pub(crate) const fn secrets(&self) -> &[u64; 6] {
        &self.0
    }

    /// Of so many ports, at least one, the first that is tried for a sender's packets with this key.
    pub fn nat_start(&self, sender: &FlowKey, ports: usize) -> u16 {
        let [port, address, start, ..] = self.0;
        let sum = port
            .wrapping_mul(u64::from(sender.port.0))
            .wrapping_add(address.wrapping_mul(word(sender.source)))
            .wrapping_add(start);
        let secret = (sum >> 32) as usize % ports;
        // Below 65,536, as there are no more ports.
        ((usize::from(sender.source_port) + secret) % ports) as u16
    }

    /// Which of a peer's addresses is tried first toward a destination, and the port where that is hidden.
    pub fn stand_in(&self, destination: Address, hidden_port: u16) -> Variant {
        let [.., address, port, start] = self.0;
        let sum = address
            .wrapping_mul(word(destination))
            .wrapping_add(port.wrapping_mul(u64::from(hidden_port)))
            .wrapping_add(start);
        // Below USUAL_VARIANTS.
        ((sum >> 32) % u64::from(USUAL_VARIANTS)) as Variant
    }
}

/// An address as the program reads it out of a packet.
fn word(address: Address) -> u64 {
    u64::from(u32::from_ne_bytes(address.v4().octets()))
}
