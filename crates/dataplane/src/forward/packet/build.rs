//! Packets that the forwarder itself sends: ICMP errors and TCP resets.
//!
//! They are complete, checksums included, and go to the sender of the packet that they are about.

use std::net::Ipv4Addr;

use postern_model::Mac;

use super::bytes::{array, put_u16};
use super::ipv4::{HEADER_BYTES, Ipv4};
use super::tcp::{Flags, Tcp};
use super::{Tuple, checksum, ethernet, protocol, tcp};

/// The most bytes of IP in an ICMP error (RFC 1812, 4.3.2.3).
const ERROR_BYTES: usize = 576;
/// The time to live of what starts here.
const TTL: u8 = 64;

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// No way there.
    NetworkUnreachable,
    /// Too long for the way, which takes packets of up to so many bytes.
    FragmentationNeeded(u16),
    /// Passed too many routers.
    TimeExceeded,
}

impl Notice {
    const fn kind_and_code(self) -> [u8; 2] {
        match self {
            Self::NetworkUnreachable => [3, 0],
            Self::FragmentationNeeded(_) => [3, 4],
            Self::TimeExceeded => [11, 0],
        }
    }
}

/// An ICMP error from `router` to the sender of a packet, about it.
pub fn notice(frame: &[u8], packet: &Ipv4, notice: Notice, router: Ipv4Addr) -> Option<Vec<u8>> {
    let about = frame.get(packet.header_at()..packet.end())?;
    let about = about.get(..about.len().min(ERROR_BYTES - HEADER_BYTES - 8))?;
    let mut message = Vec::with_capacity(8 + about.len());
    message.extend_from_slice(&notice.kind_and_code());
    message.extend_from_slice(&[0; 6]);
    message.extend_from_slice(about);
    if let Notice::FragmentationNeeded(mtu) = notice {
        put_u16(&mut message, 6, mtu)?;
    }
    let sum = checksum::over(&message);
    put_u16(&mut message, 2, sum)?;
    ipv4_frame(Mac(array(frame, 6)?), router, packet.source, protocol::ICMP, &message)
}

/// A reset that ends the connection of a segment at its sender, as its receiver would send it (RFC 9293, 3.10.7.1).
/// None about a reset.
pub fn reset(frame: &[u8], packet: &Ipv4, segment: &Tcp) -> Option<Vec<u8>> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    let payload = packet.end() - packet.transport_at - segment.header_bytes;
    let occupied = u32::try_from(payload).ok()?
        + u32::from(segment.flags.has(Flags::SYN))
        + u32::from(segment.flags.has(Flags::FIN));
    let (sequence, acknowledged, flags) = if segment.flags.has(Flags::ACK) {
        (segment.acknowledged, 0, Flags::RST)
    } else {
        (0, segment.sequence.wrapping_add(occupied), Flags::RST | Flags::ACK)
    };
    let mut reset = Vec::with_capacity(tcp::HEADER_BYTES);
    reset.extend_from_slice(&segment.destination_port.to_be_bytes());
    reset.extend_from_slice(&segment.source_port.to_be_bytes());
    reset.extend_from_slice(&sequence.to_be_bytes());
    reset.extend_from_slice(&acknowledged.to_be_bytes());
    reset.extend_from_slice(&[5 << 4, flags, 0, 0, 0, 0, 0, 0]);
    let pseudo = checksum::pseudo_header(packet.destination, packet.source, protocol::TCP, 20);
    let sum = !checksum::fold(pseudo + checksum::sum(&reset));
    put_u16(&mut reset, tcp::CHECKSUM_AT, sum)?;
    ipv4_frame(Mac(array(frame, 6)?), packet.destination, packet.source, protocol::TCP, &reset)
}

/// A reset that ends the connection of a segment at its receiver, who sees it as `to` says: as its sender would send it who
/// has said all that came before. None about a reset.
pub fn reset_receiver(segment: &Tcp, to: &Tuple, receiver: Mac) -> Option<Vec<u8>> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    let mut reset = Vec::with_capacity(tcp::HEADER_BYTES);
    reset.extend_from_slice(&to.source_port.to_be_bytes());
    reset.extend_from_slice(&to.destination_port.to_be_bytes());
    reset.extend_from_slice(&segment.sequence.to_be_bytes());
    reset.extend_from_slice(&[0; 4]);
    reset.extend_from_slice(&[5 << 4, Flags::RST, 0, 0, 0, 0, 0, 0]);
    let pseudo = checksum::pseudo_header(to.source, to.destination, protocol::TCP, 20);
    let sum = !checksum::fold(pseudo + checksum::sum(&reset));
    put_u16(&mut reset, tcp::CHECKSUM_AT, sum)?;
    ipv4_frame(receiver, to.source, to.destination, protocol::TCP, &reset)
}

/// A frame from the router with one whole packet.
pub fn ipv4_frame(
    to: Mac,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let total = u16::try_from(HEADER_BYTES + payload.len()).ok()?;
    let mut frame = Vec::with_capacity(ethernet::HEADER_BYTES + usize::from(total));
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&ethernet::ROUTER_MAC.0);
    frame.extend_from_slice(&ethernet::IPV4.to_be_bytes());
    frame.extend_from_slice(&[0x45, 0]);
    frame.extend_from_slice(&total.to_be_bytes());
    // Identification zero with "don't fragment" (RFC 6864).
    frame.extend_from_slice(&[0, 0, 0x40, 0, TTL, protocol, 0, 0]);
    frame.extend_from_slice(&source.octets());
    frame.extend_from_slice(&destination.octets());
    let sum = checksum::over(frame.get(ethernet::HEADER_BYTES..)?);
    put_u16(&mut frame, ethernet::HEADER_BYTES + 10, sum)?;
    frame.extend_from_slice(payload);
    Some(frame)
}
