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
/// Where in a phase's number its kind is.
const KIND_SHIFT: u32 = 16;

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
    /// TCP: one end has said that there is no connection. Only the kernel program leaves a flow so; the forwarder, which
    /// ends a flow at once then, ends it where it meets it.
    Reset,
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
            Self::Closed | Self::Reset | Self::Other => self,
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
                Self::Reset | Self::Datagrams(_) | Self::Other => return self,
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
            Self::Reset => 0,
            Self::Datagrams([2, 2]) => seconds(idle.udp_stream_seconds),
            Self::Datagrams(_) => seconds(idle.udp_seconds),
            Self::Other => seconds(idle.other_seconds),
        }
    }

    /// The numbers of phases and their times, for programs in C.
    pub(crate) const NUMBERS: [(&str, u64); 12] = [
        ("PHASE_SHIFT", KIND_SHIFT as u64),
        ("PHASE_SYN_SENT", 1),
        ("PHASE_SYN_RECEIVED", 2),
        ("PHASE_ESTABLISHED", 3),
        ("PHASE_HALF_CLOSED", 4),
        ("PHASE_CLOSED", 5),
        ("PHASE_DATAGRAMS", 6),
        ("PHASE_OTHER", 7),
        ("PHASE_RESET", 8),
        ("HALF_OPEN_SECONDS", HALF_OPEN / SECOND),
        ("HALF_CLOSED_SECONDS", HALF_CLOSED / SECOND),
        ("CLOSED_SECONDS", CLOSED / SECOND),
    ];

    /// As a number: which phase, and two bytes of what it holds.
    #[inline]
    pub const fn code(self) -> u64 {
        let (kind, first, second) = match self {
            Self::SynSent => (1, 0, 0),
            Self::SynReceived => (2, 0, 0),
            Self::Established => (3, 0, 0),
            Self::HalfClosed(done) => (4, done, 0),
            Self::Closed => (5, 0, 0),
            Self::Datagrams([forward, reverse]) => (6, forward, reverse),
            Self::Other => (7, 0, 0),
            Self::Reset => (8, 0, 0),
        };
        kind << KIND_SHIFT | (first as u64) << 8 | second as u64
    }

    /// Back from [`Self::code`]. A number that is none is a flow that is done.
    #[inline]
    pub const fn from_code(code: u64) -> Self {
        let [second, first, kind, ..] = code.to_le_bytes();
        match kind {
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::HalfClosed(first),
            6 => Self::Datagrams([first, second]),
            7 => Self::Other,
            8 => Self::Reset,
            _ => Self::Closed,
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
            Self::Reset => "reset",
            Self::Datagrams([0, _] | [_, 0]) => "one-way",
            Self::Datagrams([2, 2]) => "stream",
            Self::Datagrams(_) => "answered",
            Self::Other => "active",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_its_number() {
        let datagrams = (0..3).flat_map(|a| (0..3).map(move |b| Phase::Datagrams([a, b])));
        let others = [
            Phase::SynSent,
            Phase::SynReceived,
            Phase::Established,
            Phase::Closed,
            Phase::Reset,
            Phase::Other,
        ];
        let phases: Vec<Phase> =
            others.into_iter().chain((1..4).map(Phase::HalfClosed)).chain(datagrams).collect();
        for (at, phase) in phases.iter().enumerate() {
            assert_eq!(Phase::from_code(phase.code()), *phase);
            assert!(phases.iter().skip(at + 1).all(|other| other.code() != phase.code()));
        }
    }
}
