//! IPv4 headers, and what is behind them as far as a flow depends on it.

use std::net::Ipv4Addr;

use super::bytes::{address_at, u8_at, u16_at};
use super::{checksum, ethernet, protocol, tcp};

/// The length of a header without options.
pub const HEADER_BYTES: usize = 20;
/// The length of a UDP header.
pub const UDP_HEADER_BYTES: usize = 8;
/// The length of an ICMP header.
pub const ICMP_HEADER_BYTES: usize = 8;

/// The frame makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// An IPv4 packet in a frame: what was read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4 {
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
    /// What it carries.
    pub protocol: u8,
    /// How many more routers it may pass.
    pub ttl: u8,
    /// Names the packet that a fragment is of.
    pub identification: u16,
    /// Whether routers may not fragment it.
    pub dont_fragment: bool,
    /// Which part of a packet it is.
    pub fragment: Fragment,
    /// Bytes of the whole packet, header included.
    pub total_bytes: usize,
    /// Where in the frame the transport header starts.
    pub transport_at: usize,
    /// What it carries, as far as it was read.
    pub content: Content,
}

/// Which part of a packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// The first, which has the ports.
    First,
    /// Another, which has not.
    Later,
}

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// TCP.
    Tcp(tcp::Tcp),
    /// UDP.
    Udp {
        /// From.
        source_port: u16,
        /// To.
        destination_port: u16,
    },
    /// An ICMP message that is no error.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
        /// Of queries: which conversation. Zero in others.
        identifier: u16,
    },
    /// An ICMP error about another packet, which follows.
    IcmpError,
    /// Any other protocol, and fragments without a header.
    Opaque,
}

/// The ICMP types that carry an identifier.
pub const fn is_query(kind: u8) -> bool {
    matches!(kind, 0 | 8 | 13..=18)
}

/// The ICMP type by which a router names a better one.
pub const REDIRECT: u8 = 5;

/// The ICMP types that are about another packet.
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | REDIRECT | 11 | 12)
}

impl Ipv4 {
    /// Reads the packet behind the Ethernet header.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        Self::parse_header(frame, ethernet::HEADER_BYTES).ok_or(Malformed)
    }

    fn parse_header(frame: &[u8], at: usize) -> Option<Self> {
        let first = u8_at(frame, at)?;
        let header_bytes = usize::from(first & 15) * 4;
        let total_bytes = usize::from(u16_at(frame, at + 2)?);
        let header = frame.get(at..at + header_bytes)?;
        // What follows the packet is Ethernet's padding.
        let packet = frame.get(at..at + total_bytes)?;
        let sound = first >> 4 == 4
            && header_bytes >= HEADER_BYTES
            && total_bytes >= header_bytes
            && checksum::over(header) == 0;
        let flags = u16_at(header, 6)?;
        let offset = usize::from(flags & 0x1fff) * 8;
        let more = flags & 0x2000 != 0;
        let fragment = match (offset, more) {
            (0, false) => Fragment::Whole,
            (0, true) => Fragment::First,
            (_, _) => Fragment::Later,
        };
        let payload = packet.get(header_bytes..)?;
        // No packet is longer, in however many fragments it comes.
        let sound = sound && HEADER_BYTES + offset + payload.len() <= usize::from(u16::MAX);
        let protocol = u8_at(header, 9)?;
        let packet = Self {
            source: address_at(header, 12)?,
            destination: address_at(header, 16)?,
            protocol,
            ttl: u8_at(header, 8)?,
            identification: u16_at(header, 4)?,
            dont_fragment: flags & 0x4000 != 0,
            fragment,
            total_bytes,
            transport_at: at + header_bytes,
            content: content(protocol, fragment, offset, payload)?,
        };
        sound.then_some(packet)
    }

    /// Where in the frame the IP header starts.
    pub const fn header_at(&self) -> usize {
        ethernet::HEADER_BYTES
    }

    /// Bytes of the IP header.
    pub const fn header_bytes(&self) -> usize {
        self.transport_at - ethernet::HEADER_BYTES
    }

    /// Where in the frame the packet ends.
    pub const fn end(&self) -> usize {
        ethernet::HEADER_BYTES + self.total_bytes
    }

    /// Whether it is TCP that begins a connection or answers to that, so that it may carry a segment size.
    pub fn is_syn(&self) -> bool {
        match self.content {
            Content::Tcp(tcp) => tcp.flags.has(tcp::Flags::SYN),
            Content::Udp { .. } | Content::Icmp { .. } | Content::IcmpError | Content::Opaque => false,
        }
    }

    /// Whether an ICMP error may be sent about it (RFC 1122, 3.2.2): not about errors, later fragments, or what
    /// was for many.
    pub fn may_be_reported(&self) -> bool {
        let about_error = match self.content {
            Content::IcmpError => true,
            Content::Tcp(_) | Content::Udp { .. } | Content::Icmp { .. } | Content::Opaque => false,
        };
        !about_error && self.fragment != Fragment::Later && !is_many(self.destination)
    }
}

/// Whether an address stands for more than one machine.
pub fn is_many(address: Ipv4Addr) -> bool {
    address.is_multicast() || address.is_broadcast()
}

/// Reads the transport header. None where it is cut short, or could be overwritten by a fragment (RFC 1858).
#[inline]
fn content(protocol: u8, fragment: Fragment, offset: usize, payload: &[u8]) -> Option<Content> {
    if fragment == Fragment::Later {
        let overlaps_header = protocol == protocol::TCP && offset < tcp::HEADER_BYTES;
        return (!overlaps_header).then_some(Content::Opaque);
    }
    Some(match protocol {
        protocol::TCP => Content::Tcp(tcp::Tcp::parse(payload)?),
        protocol::UDP => {
            let length = usize::from(u16_at(payload, 4)?);
            let fits = fragment == Fragment::First || length <= payload.len();
            if length < UDP_HEADER_BYTES || !fits || payload.len() < UDP_HEADER_BYTES {
                return None;
            }
            Content::Udp { source_port: u16_at(payload, 0)?, destination_port: u16_at(payload, 2)? }
        }
        protocol::ICMP => {
            let (kind, code) = (u8_at(payload, 0)?, u8_at(payload, 1)?);
            let identifier = u16_at(payload, 4)?;
            if payload.len() < ICMP_HEADER_BYTES {
                return None;
            }
            if is_error(kind) {
                Content::IcmpError
            } else {
                Content::Icmp { kind, code, identifier: if is_query(kind) { identifier } else { 0 } }
            }
        }
        _ => Content::Opaque,
    })
}
