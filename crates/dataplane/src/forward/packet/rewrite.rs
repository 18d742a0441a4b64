//! Giving a packet other addresses and ports, with all checksums following.

use std::net::Ipv4Addr;

use super::bytes::{address_at, put, put_u16, u8_at, u16_at};
use super::checksum::Delta;
use super::ipv4::{Content, Ipv4};
use super::{Fragment, Malformed, protocol, tcp};

/// From and to of a packet, with ports. In ICMP queries `source_port` is the identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
    /// From.
    pub source_port: u16,
    /// To; without meaning in ICMP.
    pub destination_port: u16,
}

impl Ipv4 {
    /// Whether its ports, or the identifier of an ICMP query, are those of `to`.
    #[inline]
    fn keeps_ports(&self, to: &Tuple) -> bool {
        match self.content {
            Content::Tcp(tcp) => {
                (tcp.source_port, tcp.destination_port) == (to.source_port, to.destination_port)
            }
            Content::Udp { source_port, destination_port } => {
                (source_port, destination_port) == (to.source_port, to.destination_port)
            }
            Content::Icmp { kind, code: _, identifier } => {
                !super::ipv4::is_query(kind) || identifier == to.source_port
            }
            Content::IcmpError | Content::Opaque => true,
        }
    }
}

/// Whether the transport checksum is all there, or only the pseudo header's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// All there.
    Whole,
    /// The pseudo header's only.
    Partial,
}

/// Writes addresses, ports and time to live. The packet must be the one that was parsed from the frame.
///
/// Fails without a change of meaning only where the frame is not the one parsed.
#[inline]
pub fn rewrite(frame: &mut [u8], packet: &Ipv4, to: &Tuple, ttl: u8, sum: Sum) -> Result<(), Malformed> {
    // Checksums of what stays are not touched: of the two forms of zero, the sender's stays.
    let same_addresses = (packet.source, packet.destination) == (to.source, to.destination);
    if same_addresses && ttl == packet.ttl && packet.keeps_ports(to) {
        return Ok(());
    }
    let addresses = addresses(frame, packet, to, ttl).ok_or(Malformed)?;
    if packet.fragment == Fragment::Later || (same_addresses && packet.keeps_ports(to)) {
        return Ok(());
    }
    transport(frame, packet, to, addresses, sum).ok_or(Malformed)
}

/// Writes the IP header's part. Returns what it did to the pseudo header.
#[inline]
fn addresses(frame: &mut [u8], packet: &Ipv4, to: &Tuple, ttl: u8) -> Option<Delta> {
    let at = packet.header_at();
    let old_word = u16_at(frame, at + 8)?;
    put(frame, at + 8, &[ttl])?;
    let new_word = u16_at(frame, at + 8)?;
    let delta = Delta::NONE.address(packet.source, to.source).address(packet.destination, to.destination);
    put(frame, at + 12, &to.source.octets())?;
    put(frame, at + 16, &to.destination.octets())?;
    let checksum = u16_at(frame, at + 10)?;
    put_u16(frame, at + 10, delta.word(old_word, new_word).applied(checksum))?;
    Some(delta)
}

#[inline]
fn transport(frame: &mut [u8], packet: &Ipv4, to: &Tuple, addresses: Delta, sum: Sum) -> Option<()> {
    let at = packet.transport_at;
    match packet.content {
        Content::Tcp(was) => {
            let ports = Delta::NONE
                .word(was.source_port, to.source_port)
                .word(was.destination_port, to.destination_port);
            put_u16(frame, at, to.source_port)?;
            put_u16(frame, at + 2, to.destination_port)?;
            update(frame, at + tcp::CHECKSUM_AT, addresses, ports, sum)
        }
        Content::Udp { source_port, destination_port } => {
            let ports =
                Delta::NONE.word(source_port, to.source_port).word(destination_port, to.destination_port);
            put_u16(frame, at, to.source_port)?;
            put_u16(frame, at + 2, to.destination_port)?;
            let none = sum == Sum::Whole && u16_at(frame, at + 6)? == 0;
            if none {
                // The sender left it out (RFC 768).
                return Some(());
            }
            update(frame, at + 6, addresses, ports, sum)?;
            if sum == Sum::Whole && u16_at(frame, at + 6)? == 0 {
                put_u16(frame, at + 6, 0xffff)?;
            }
            Some(())
        }
        Content::Icmp { kind, code: _, identifier } => {
            if super::ipv4::is_query(kind) && identifier != to.source_port {
                put_u16(frame, at + 4, to.source_port)?;
                let delta = Delta::NONE.word(identifier, to.source_port);
                let checksum = u16_at(frame, at + 2)?;
                put_u16(frame, at + 2, delta.applied(checksum))?;
            }
            Some(())
        }
        Content::IcmpError | Content::Opaque => Some(()),
    }
}

#[inline]
fn update(frame: &mut [u8], at: usize, addresses: Delta, ports: Delta, sum: Sum) -> Option<()> {
    let checksum = u16_at(frame, at)?;
    let updated = match sum {
        Sum::Whole => addresses.and(ports).applied(checksum),
        Sum::Partial => addresses.applied_to_partial(checksum),
    };
    put_u16(frame, at, updated)
}

/// Rewrites an ICMP error: its own addresses and, seen from the other end, the packet that it is about.
///
/// `outer` is what the error's own source and destination become, `inner` the tuple of the packet that it is about.
pub fn rewrite_error(
    frame: &mut [u8],
    packet: &Ipv4,
    outer: (Ipv4Addr, Ipv4Addr),
    inner: &Tuple,
    ttl: u8,
) -> Result<(), Malformed> {
    let to = Tuple { source: outer.0, destination: outer.1, source_port: 0, destination_port: 0 };
    addresses(frame, packet, &to, ttl).ok_or(Malformed)?;
    let at = packet.transport_at;
    let end = packet.end();
    let about = frame.get_mut(at + 8..end).ok_or(Malformed)?;
    let delta = rewrite_quoted(about, inner).ok_or(Malformed)?;
    let checksum = u16_at(frame, at + 2).ok_or(Malformed)?;
    put_u16(frame, at + 2, delta.applied(checksum)).ok_or(Malformed)
}

/// How many bytes of a quoted packet can change: the longest IP header and a transport header up to its checksum.
const QUOTED_BYTES: usize = 60 + 20;

/// Rewrites the start of a packet as it stands in an ICMP error. Returns what that does to the error's checksum.
fn rewrite_quoted(quoted: &mut [u8], to: &Tuple) -> Option<Delta> {
    let length = quoted.len().min(QUOTED_BYTES) & !1;
    let before = super::checksum::sum(quoted.get(..length)?);
    let header_bytes = usize::from(u8_at(quoted, 0)? & 15) * 4;
    let addresses = Delta::NONE
        .address(address_at(quoted, 12)?, to.source)
        .address(address_at(quoted, 16)?, to.destination);
    let checksum = u16_at(quoted, 10)?;
    put(quoted, 12, &to.source.octets())?;
    put(quoted, 16, &to.destination.octets())?;
    put_u16(quoted, 10, addresses.applied(checksum))?;
    match u8_at(quoted, 9)? {
        number @ (protocol::TCP | protocol::UDP) => {
            let ports = Delta::NONE
                .word(u16_at(quoted, header_bytes)?, to.source_port)
                .word(u16_at(quoted, header_bytes + 2)?, to.destination_port);
            put_u16(quoted, header_bytes, to.source_port)?;
            put_u16(quoted, header_bytes + 2, to.destination_port)?;
            let at = header_bytes + if number == protocol::TCP { tcp::CHECKSUM_AT } else { 6 };
            // Of TCP often only the ports are quoted.
            let checksum = u16_at(quoted, at).filter(|sum| number == protocol::TCP || *sum != 0);
            if let Some(checksum) = checksum {
                put_u16(quoted, at, addresses.and(ports).applied(checksum))?;
            }
        }
        protocol::ICMP => {
            let identifier = u16_at(quoted, header_bytes + 4)?;
            if super::ipv4::is_query(u8_at(quoted, header_bytes)?) && identifier != to.source_port {
                let checksum = u16_at(quoted, header_bytes + 2)?;
                put_u16(quoted, header_bytes + 4, to.source_port)?;
                let delta = Delta::NONE.word(identifier, to.source_port);
                put_u16(quoted, header_bytes + 2, delta.applied(checksum))?;
            }
        }
        _ => {}
    }
    let after = super::checksum::sum(quoted.get(..length)?);
    Some(Delta::NONE.sums(before, after))
}
