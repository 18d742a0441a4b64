//! The parts of a TCP header that a forwarder looks at.

use super::bytes::{u8_at, u16_at, u32_at};

/// The length of a header without options.
pub const HEADER_BYTES: usize = 20;
/// Where the checksum is.
pub const CHECKSUM_AT: usize = 16;

/// The control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender is done.
    pub const FIN: u8 = 1;
    /// A connection begins.
    pub const SYN: u8 = 2;
    /// A connection is no more.
    pub const RST: u8 = 4;
    /// Something is acknowledged.
    pub const ACK: u8 = 16;

    /// Whether any of the bits is set.
    #[inline]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Whether this begins a connection: SYN and nothing that contradicts it.
    #[inline]
    pub const fn begins(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }
}

/// A TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// From.
    pub source_port: u16,
    /// To.
    pub destination_port: u16,
    /// Of the first byte.
    pub sequence: u32,
    /// The next byte that the sender expects.
    pub acknowledged: u32,
    /// The control bits.
    pub flags: Flags,
    /// How long the header is, options included.
    pub header_bytes: usize,
}

impl Tcp {
    /// Reads a header that ends at or before the end of `segment`.
    #[inline]
    pub fn parse(segment: &[u8]) -> Option<Self> {
        let header_bytes = usize::from(u8_at(segment, 12)? >> 4) * 4;
        let whole = header_bytes >= HEADER_BYTES && header_bytes <= segment.len();
        let tcp = Self {
            source_port: u16_at(segment, 0)?,
            destination_port: u16_at(segment, 2)?,
            sequence: u32_at(segment, 4)?,
            acknowledged: u32_at(segment, 8)?,
            flags: Flags(u8_at(segment, 13)?),
            header_bytes,
        };
        whole.then_some(tcp)
    }
}
