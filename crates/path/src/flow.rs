//! What is decided about: a flow, named by the interface that it enters by and its five-tuple.

use std::fmt;
use std::net::IpAddr;

use postern_model::NetworkInterfaceId;
use serde::{Deserialize, Serialize};

/// The first packet of a flow, as far as a decision depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// The interface whose owner sent it.
    pub entry: NetworkInterfaceId,
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// What it carries.
    pub transport: Transport,
}

/// The part of a packet that says which conversation it is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "protocol and header field names")]
pub enum Transport {
    Tcp {
        source_port: u16,
        destination_port: u16,
    },
    Udp {
        source_port: u16,
        destination_port: u16,
    },
    /// `identifier` tells echo conversations apart; it decides nothing.
    Icmp {
        kind: u8,
        code: u8,
        identifier: u16,
    },
    /// Any other protocol, by its number. It has no ports.
    Other {
        protocol: u8,
    },
}

impl Transport {
    /// The IP protocol number.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmp { .. } => 1,
            Self::Other { protocol } => protocol,
        }
    }

    /// The two numbers that rules look at: source and destination port, or for ICMP type and code in the place of
    /// the destination port (type in the high byte) and zero for the source port.
    pub const fn ports(self) -> (u16, u16) {
        match self {
            Self::Tcp { source_port, destination_port } | Self::Udp { source_port, destination_port } => {
                (source_port, destination_port)
            }
            Self::Icmp { kind, code, identifier: _ } => (0, u16::from_be_bytes([kind, code])),
            Self::Other { .. } => (0, 0),
        }
    }

    /// The same conversation seen from the other end. ICMP echo requests answer with replies.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Tcp { source_port, destination_port } => {
                Self::Tcp { source_port: destination_port, destination_port: source_port }
            }
            Self::Udp { source_port, destination_port } => {
                Self::Udp { source_port: destination_port, destination_port: source_port }
            }
            Self::Icmp { kind, code, identifier } => {
                let kind = match kind {
                    8 => 0,
                    0 => 8,
                    13 => 14,
                    14 => 13,
                    other => other,
                };
                Self::Icmp { kind, code, identifier }
            }
            Self::Other { protocol } => Self::Other { protocol },
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { source_port, destination_port } => write!(f, "tcp {source_port}->{destination_port}"),
            Self::Udp { source_port, destination_port } => write!(f, "udp {source_port}->{destination_port}"),
            Self::Icmp { kind, code, identifier } => {
                write!(f, "icmp type {kind} code {code} id {identifier}")
            }
            Self::Other { protocol } => write!(f, "protocol {protocol}"),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {} {}", self.entry, self.source, self.destination, self.transport)
    }
}
