//! Ethernet headers.

use postern_model::Mac;

use super::bytes::{array, put, u16_at};

/// How long the header is.
pub const HEADER_BYTES: usize = 14;
/// IPv4 follows.
pub const IPV4: u16 = 0x0800;
/// ARP follows.
pub const ARP: u16 = 0x0806;

/// The hardware address of every router: the one neighbour that an interface ever sees.
pub const ROUTER_MAC: Mac = Mac([0x02, 0x50, 0x4f, 0x53, 0x54, 0x01]);
/// Everybody's.
pub const BROADCAST: Mac = Mac([0xff; 6]);

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet {
    /// To.
    pub destination: Mac,
    /// From.
    pub source: Mac,
    /// What follows.
    pub kind: u16,
}

impl Ethernet {
    /// Reads it; none where the frame is too short.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        Some(Self {
            destination: Mac(array(frame, 0)?),
            source: Mac(array(frame, 6)?),
            kind: u16_at(frame, 12)?,
        })
    }

    /// Whether it is for a group, which broadcast is too.
    #[inline]
    pub fn is_group(&self) -> bool {
        self.destination.0.first().is_some_and(|byte| byte & 1 == 1)
    }
}

/// Sets both addresses.
#[inline]
pub fn address(frame: &mut [u8], destination: Mac, source: Mac) -> Option<()> {
    put(frame, 0, &destination.0)?;
    put(frame, 6, &source.0)
}
