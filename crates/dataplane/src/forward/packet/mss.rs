//! The segment size that TCP ends announce to each other, lowered to what fits the way.

use super::bytes::{put_u16, u8_at, u16_at};
use super::checksum::Delta;
use super::ipv4::{Content, Ipv4};
use super::rewrite::Sum;
use super::tcp;

/// Lowers the segment size in a SYN or SYN-ACK to `most`. One that is lower, or not there, stays.
pub fn clamp(frame: &mut [u8], packet: &Ipv4, most: u16, sum: Sum) {
    if let Content::Tcp(header) = packet.content {
        // Options that make no sense are left as they are: the receiver ignores them too.
        let _ = clamp_options(frame, packet.transport_at, header.header_bytes, most, sum);
    }
}

fn clamp_options(frame: &mut [u8], at: usize, header_bytes: usize, most: u16, sum: Sum) -> Option<()> {
    let end = at + header_bytes;
    let mut option = at + tcp::HEADER_BYTES;
    while option < end {
        let length = match u8_at(frame, option)? {
            0 => return None,
            1 => 1,
            2 if u8_at(frame, option + 1)? == 4 && option + 4 <= end => {
                return lower(frame, at, option + 2, most, sum);
            }
            _ => usize::from(u8_at(frame, option + 1)?).max(2),
        };
        option += length;
    }
    None
}

fn lower(frame: &mut [u8], transport_at: usize, at: usize, most: u16, sum: Sum) -> Option<()> {
    let announced = u16_at(frame, at)?;
    if announced <= most {
        return None;
    }
    put_u16(frame, at, most)?;
    match sum {
        // What is not in the sum yet needs no correction.
        Sum::Partial => {}
        Sum::Whole => {
            // The option may lie on an odd offset, where its bytes count in the other halves of their words.
            let (old, new) = if (at - transport_at) % 2 == 1 {
                (announced.swap_bytes(), most.swap_bytes())
            } else {
                (announced, most)
            };
            let checksum_at = transport_at + tcp::CHECKSUM_AT;
            let checksum = u16_at(frame, checksum_at)?;
            put_u16(frame, checksum_at, Delta::NONE.word(old, new).applied(checksum))?;
        }
    }
    Some(())
}
