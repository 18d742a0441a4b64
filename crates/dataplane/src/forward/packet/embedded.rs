//! The packet that an ICMP error is about, of which only the start is there.

use std::net::Ipv4Addr;

use postern_path::Transport;

use super::bytes::{address_at, u8_at, u16_at};
use super::ipv4::{self, Ipv4, is_query};
use super::protocol;

/// The packet that an ICMP error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Embedded {
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
    /// What it carried.
    pub transport: Transport,
}

impl Embedded {
    /// Reads it behind the header of the error. None where it is cut too short to name a flow, is itself an error,
    /// or is not the first part of its packet.
    pub fn parse(frame: &[u8], error: &Ipv4) -> Option<Self> {
        let quoted = frame.get(error.transport_at + ipv4::ICMP_HEADER_BYTES..error.end())?;
        let first = u8_at(quoted, 0)?;
        let header_bytes = usize::from(first & 15) * 4;
        let sound = first >> 4 == 4 && header_bytes >= ipv4::HEADER_BYTES && u16_at(quoted, 6)? & 0x1fff == 0;
        let rest = quoted.get(header_bytes..)?;
        let transport = match u8_at(quoted, 9)? {
            protocol::TCP => {
                Transport::Tcp { source_port: u16_at(rest, 0)?, destination_port: u16_at(rest, 2)? }
            }
            protocol::UDP => {
                Transport::Udp { source_port: u16_at(rest, 0)?, destination_port: u16_at(rest, 2)? }
            }
            protocol::ICMP => {
                let (kind, code) = (u8_at(rest, 0)?, u8_at(rest, 1)?);
                let identifier = u16_at(rest, 4)?;
                if ipv4::is_error(kind) {
                    return None;
                }
                Transport::Icmp { kind, code, identifier: if is_query(kind) { identifier } else { 0 } }
            }
            protocol => Transport::Other { protocol },
        };
        let embedded =
            Self { source: address_at(quoted, 12)?, destination: address_at(quoted, 16)?, transport };
        sound.then_some(embedded)
    }
}
