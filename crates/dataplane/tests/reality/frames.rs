//! Frames as a test writes and reads them. Each carries, as the last bytes of its payload, which one it is; a router's
//! error about it quotes them.

use std::net::{IpAddr, Ipv4Addr};

use postern_dataplane::forward::packet::{ROUTER_MAC, checksum, protocol};
use postern_model::Mac;
use postern_path::Transport;

pub const TTL: u8 = 64;
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

const MARK: &[u8; 4] = b"PSTN";
const ETHERNET: usize = 14;
const IP: usize = 20;

/// Which packet of which run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    pub run: u32,
    pub packet: u32,
}

/// Addresses, and what is behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple {
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub transport: Transport,
}

impl Tuple {
    /// The answer's.
    pub fn reversed(&self) -> Self {
        Self { source: self.destination, destination: self.source, transport: self.transport.reversed() }
    }
}

/// A packet as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub tuple: Tuple,
    pub ttl: u8,
    pub id: Option<Id>,
    /// Of TCP.
    pub flags: u8,
}

pub fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is not of IPv4"),
    }
}

/// A whole frame, sums and all.
pub fn build(sender: Mac, tuple: &Tuple, flags: u8, id: Id) -> Vec<u8> {
    let mut payload = MARK.to_vec();
    payload.extend(id.run.to_be_bytes());
    payload.extend(id.packet.to_be_bytes());
    let segment = segment(tuple, flags, &payload);
    let mut frame = Vec::with_capacity(ETHERNET + IP + segment.len());
    frame.extend(ROUTER_MAC.0);
    frame.extend(sender.0);
    frame.extend([8, 0, 0x45, 0]);
    frame.extend(((IP + segment.len()) as u16).to_be_bytes());
    frame.extend((id.packet as u16).to_be_bytes());
    frame.extend([0, 0, TTL, tuple.transport.protocol(), 0, 0]);
    frame.extend(tuple.source.octets());
    frame.extend(tuple.destination.octets());
    let sum = checksum::over(&frame[ETHERNET..]).to_be_bytes();
    frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum);
    frame.extend(segment);
    frame
}

fn segment(tuple: &Tuple, flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports = |from: u16, to: u16| [from.to_be_bytes(), to.to_be_bytes()].concat();
    let (mut bytes, sum_at) = match tuple.transport {
        Transport::Tcp { source_port, destination_port } => {
            let rest = [0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0];
            ([ports(source_port, destination_port), rest.to_vec()].concat(), Some(16))
        }
        Transport::Udp { source_port, destination_port } => {
            let length = (8 + payload.len() as u16).to_be_bytes();
            ([ports(source_port, destination_port), length.to_vec(), vec![0, 0]].concat(), Some(6))
        }
        Transport::Icmp { kind, code, identifier } => {
            let [high, low] = identifier.to_be_bytes();
            (vec![kind, code, 0, 0, high, low, 0, 1], Some(2))
        }
        Transport::Other { protocol: _ } => (Vec::new(), None),
    };
    bytes.extend(payload);
    if let Some(at) = sum_at {
        let sum = transport_sum(tuple, &bytes).to_be_bytes();
        bytes[at..at + 2].copy_from_slice(&sum);
    }
    bytes
}

/// The sum over a segment: what belongs into its field where that is zero, and zero where that is there.
fn transport_sum(tuple: &Tuple, segment: &[u8]) -> u16 {
    let pseudo = match tuple.transport {
        Transport::Tcp { .. } | Transport::Udp { .. } => {
            let number = tuple.transport.protocol();
            checksum::pseudo_header(tuple.source, tuple.destination, number, segment.len() as u16)
        }
        Transport::Icmp { .. } | Transport::Other { .. } => 0,
    };
    !checksum::fold(pseudo + checksum::sum(segment))
}

/// Reads a frame, whose sums have to be right.
pub fn read(frame: &[u8]) -> Result<Seen, String> {
    let wrong = |what: &str| Err(format!("{what}: {frame:?}"));
    if frame.len() < ETHERNET + IP + 8 || frame[12..15] != [8, 0, 0x45] {
        return wrong("not IPv4 without options");
    }
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let Some(packet) = frame.get(ETHERNET..ETHERNET + total) else { return wrong("cut short") };
    if checksum::over(&packet[..IP]) != 0 {
        return wrong("a wrong header sum");
    }
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let segment = &packet[IP..];
    let number = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    let transport = match packet[9] {
        protocol::TCP => Transport::Tcp { source_port: number(0), destination_port: number(2) },
        protocol::UDP => Transport::Udp { source_port: number(0), destination_port: number(2) },
        protocol::ICMP => Transport::Icmp { kind: segment[0], code: segment[1], identifier: number(4) },
        protocol => Transport::Other { protocol },
    };
    let tuple = Tuple { source: address(12), destination: address(16), transport };
    let summed = !matches!(transport, Transport::Other { .. });
    if summed && transport_sum(&tuple, segment) != 0 {
        return wrong("a wrong transport sum");
    }
    let flags = if packet[9] == protocol::TCP { segment[13] } else { 0 };
    Ok(Seen { tuple, ttl: packet[8], id: id(segment), flags })
}

fn id(segment: &[u8]) -> Option<Id> {
    let tail = segment.get(segment.len().checked_sub(12)?..)?;
    let number = |at: usize| u32::from_be_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]]);
    tail.starts_with(MARK).then(|| Id { run: number(4), packet: number(8) })
}
