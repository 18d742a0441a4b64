//! How far a conversation has come, and how long it may then be silent.

use postern_path::IdleTimeouts;

use super::packet::tcp::Flags;

const SECOND: u64 = 1_000_000_000;
/// A connection of which only one end was heard.
const HALF_OPEN: u64 = 30 * SECOND;
/// A connection that one end has closed; the other may still send for long.
const HALF_CLOSED: u64 = 240 * SECOND;
/// A connection that both ends have closed: for what is sent again.
const CLOSED: u64 = 10 * SECOND;

/// Which way a packet of a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// As the first packet.
    Forward,
    /// Back.
    Reverse,
}

impl Direction {
    /// As an index.
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::Forward => 0,
            Self::Reverse => 1,
        }
    }

    const fn bit(self) -> u8 {
        1 << self.index()
    }
}

/// How far a conversation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// TCP: one end asked.
    SynSent,
    /// TCP: the other end answered.
    SynReceived,
    /// TCP: both know.
    Established,
    /// TCP: the ends in this set of directions are done.
    HalfClosed(u8),
    /// TCP: both ends are done.
    Closed,
    /// UDP, with how many packets went each way, up to two.
    Datagrams([u8; 2]),
    /// Anything else.
    Other,
}

impl Phase {
    /// Before the first packet.
    pub const fn start(protocol: u8) -> Self {
        match protocol {
            super::packet::protocol::TCP => Self::SynSent,
            super::packet::protocol::UDP => Self::Datagrams([0, 0]),
            _ => Self::Other,
        }
    }

    /// After a packet. A reset is not among these: it ends the flow.
    #[inline]
    pub const fn after(self, direction: Direction, flags: Flags) -> Self {
        match self {
            Self::Established if !flags.has(Flags::FIN) => self,
            Self::SynSent | Self::SynReceived | Self::Established | Self::HalfClosed(_) => {
                self.after_tcp(direction, flags)
            }
            Self::Closed | Self::Other => self,
            Self::Datagrams([forward, reverse]) => match direction {
                Direction::Forward => Self::Datagrams([if forward < 2 { forward + 1 } else { 2 }, reverse]),
                Direction::Reverse => Self::Datagrams([forward, if reverse < 2 { reverse + 1 } else { 2 }]),
            },
        }
    }

    const fn after_tcp(self, direction: Direction, flags: Flags) -> Self {
        if flags.has(Flags::FIN) {
            let done = match self {
                Self::HalfClosed(done) => done | direction.bit(),
                Self::SynSent | Self::SynReceived | Self::Established | Self::Closed => direction.bit(),
                Self::Datagrams(_) | Self::Other => return self,
            };
            return if done == 3 { Self::Closed } else { Self::HalfClosed(done) };
        }
        match (self, direction) {
            (Self::SynSent, Direction::Reverse) if flags.has(Flags::SYN) => Self::SynReceived,
            (Self::SynReceived, Direction::Forward) if flags.has(Flags::ACK) => Self::Established,
            (_, _) => self,
        }
    }

    /// How long the flow may be silent, in nanoseconds.
    #[inline]
    pub fn patience(self, idle: &IdleTimeouts) -> u64 {
        let seconds = |seconds: u32| u64::from(seconds) * SECOND;
        match self {
            Self::SynSent | Self::SynReceived => HALF_OPEN,
            Self::Established => seconds(idle.tcp_established_seconds),
            Self::HalfClosed(_) => HALF_CLOSED.min(seconds(idle.tcp_established_seconds)),
            Self::Closed => CLOSED,
            Self::Datagrams([2, 2]) => seconds(idle.udp_stream_seconds),
            Self::Datagrams(_) => seconds(idle.udp_seconds),
            Self::Other => seconds(idle.other_seconds),
        }
    }

    /// Whether only one end of a connection was heard.
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived)
    }

    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::HalfClosed(_) => "half-closed",
            Self::Closed => "closed",
            Self::Datagrams([0, _] | [_, 0]) => "one-way",
            Self::Datagrams([2, 2]) => "stream",
            Self::Datagrams(_) => "answered",
            Self::Other => "active",
        }
    }
}
