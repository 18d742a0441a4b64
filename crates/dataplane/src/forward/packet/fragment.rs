//! Cutting a packet into fragments (RFC 791), where AWS's routers do.

use super::bytes::{put_u16, u16_at};
use super::ethernet;
use super::ipv4::Ipv4;
use super::{Malformed, checksum, protocol, rewrite::Sum, tcp};

/// The frames that carry a packet in pieces of at most `mtu` bytes. The packet is already rewritten, and may be
/// fragmented. A partial checksum is completed first, since no piece has all that it covers.
pub fn fragments(frame: &mut [u8], packet: &Ipv4, mtu: u16, sum: Sum) -> Result<Vec<Vec<u8>>, Malformed> {
    if sum == Sum::Partial {
        complete_checksum(frame, packet).ok_or(Malformed)?;
    }
    let header = frame.get(..packet.transport_at).ok_or(Malformed)?;
    let payload = frame.get(packet.transport_at..packet.end()).ok_or(Malformed)?;
    let room = usize::from(mtu).saturating_sub(packet.header_bytes()) & !7;
    if room == 0 {
        return Err(Malformed);
    }
    let flags = u16_at(header, ethernet::HEADER_BYTES + 6).ok_or(Malformed)?;
    let count = payload.len().div_ceil(room);
    let piece = |(index, part): (usize, &[u8])| {
        let last = index + 1 == count;
        let offset = (flags & 0x1fff) + u16::try_from(index * room / 8).ok()?;
        let more = if last { flags & 0x2000 } else { 0x2000 };
        let mut piece = Vec::with_capacity(header.len() + part.len());
        piece.extend_from_slice(header);
        piece.extend_from_slice(part);
        let at = ethernet::HEADER_BYTES;
        put_u16(&mut piece, at + 2, u16::try_from(packet.header_bytes() + part.len()).ok()?)?;
        put_u16(&mut piece, at + 6, more | (offset & 0x1fff))?;
        put_u16(&mut piece, at + 10, 0)?;
        let sum = checksum::over(piece.get(at..packet.transport_at)?);
        put_u16(&mut piece, at + 10, sum)?;
        Some(piece)
    };
    payload.chunks(room).enumerate().map(piece).collect::<Option<_>>().ok_or(Malformed)
}

/// Fills in a checksum of which only the pseudo header's sum is there.
pub fn complete_checksum(frame: &mut [u8], packet: &Ipv4) -> Option<()> {
    let offset = if packet.protocol == protocol::TCP { tcp::CHECKSUM_AT } else { 6 };
    let segment = frame.get_mut(packet.transport_at..packet.end())?;
    let complete = match (checksum::over(segment), packet.protocol) {
        (0, protocol::UDP) => 0xffff,
        (sum, _) => sum,
    };
    put_u16(segment, offset, complete)
}
