//! Keys of the tables, in the layout that a kernel program can share: fixed sizes, no pointers, no gaps.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use postern_model::NetworkInterfaceId;
use postern_path::{Flow, Transport};

use super::packet::{Tuple, protocol};

/// A port of the forwarder: a place in the port table, and which of the ports that had the place one after the
/// other.
///
/// INVARIANT: the number of a port that is gone belongs to no other port until the place was taken 4,096 times more;
/// flows of ports that are gone are found and removed long before.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortNumber(pub u32);

impl PortNumber {
    const PLACE_BITS: u32 = 20;
    /// The bits of a number that are the place.
    pub(crate) const PLACE_MASK: u32 = (1 << Self::PLACE_BITS) - 1;
    /// How many ports there can be.
    pub const MOST: usize = 1 << Self::PLACE_BITS;

    pub(crate) const fn new(place: u32, life: u32) -> Self {
        Self(place & ((1 << Self::PLACE_BITS) - 1) | life << Self::PLACE_BITS)
    }

    /// The place in the port table.
    #[inline]
    pub const fn place(self) -> usize {
        (self.0 & ((1 << Self::PLACE_BITS) - 1)) as usize
    }

    /// The same place's next port.
    pub(crate) const fn next_life(self) -> Self {
        Self::new(self.0, (self.0 >> Self::PLACE_BITS) + 1)
    }
}

/// An address in sixteen bytes; IPv4 as IPv6 maps it.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// The address as IPv4. Only such are in the tables yet.
    #[inline]
    pub const fn v4(self) -> Ipv4Addr {
        let [.., a, b, c, d] = self.0;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The address.
    pub const fn ip(self) -> IpAddr {
        Ipv6Addr::from_octets(self.0).to_canonical()
    }
}

impl From<Ipv4Addr> for Address {
    #[inline]
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_ipv6_mapped().octets())
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => Self(address.octets()),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

/// What names one direction of a flow: the port that its packets come in by, and their five-tuple.
///
/// In ICMP `source_port` is the identifier, and `destination_port` type and code, so that two ends may use the same
/// identifier toward each other.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowKey {
    /// From.
    pub source: Address,
    /// To.
    pub destination: Address,
    /// The port that packets come in by.
    pub port: PortNumber,
    /// From.
    pub source_port: u16,
    /// To.
    pub destination_port: u16,
    /// The IP protocol.
    pub protocol: u8,
    /// Zero, for a layout without gaps. Templates keep the mask's number here.
    pub(crate) mark: u8,
    /// Zero too. Templates of one target among several keep its number and one here.
    pub(crate) choice: u16,
}

const _: () = assert!(size_of::<FlowKey>() == 44, "no gaps");

impl FlowKey {
    /// The fields for programs in C: what each is called, how it is declared, and where it is.
    pub(crate) const FIELDS: [(&str, &str, usize); 8] = [
        ("source", "__u32 source[4]", offset_of!(Self, source)),
        ("destination", "__u32 destination[4]", offset_of!(Self, destination)),
        ("port", "__u32 port", offset_of!(Self, port)),
        ("source_port", "__u16 source_port", offset_of!(Self, source_port)),
        ("destination_port", "__u16 destination_port", offset_of!(Self, destination_port)),
        ("protocol", "__u8 protocol", offset_of!(Self, protocol)),
        ("mark", "__u8 mark", offset_of!(Self, mark)),
        ("choice", "__u16 choice", offset_of!(Self, choice)),
    ];

    /// The key of packets with this tuple.
    #[inline]
    pub fn new(port: PortNumber, source: Ipv4Addr, destination: Ipv4Addr, transport: Transport) -> Self {
        let (source_port, destination_port) = numbers(transport);
        Self::from_parts(
            port,
            source.into(),
            destination.into(),
            transport.protocol(),
            source_port,
            destination_port,
        )
    }

    pub(crate) const fn from_parts(
        port: PortNumber,
        source: Address,
        destination: Address,
        protocol: u8,
        source_port: u16,
        destination_port: u16,
    ) -> Self {
        Self { source, destination, port, source_port, destination_port, protocol, mark: 0, choice: 0 }
    }

    /// What the key says about the transport.
    pub const fn transport(&self) -> Transport {
        let (source_port, destination_port) = (self.source_port, self.destination_port);
        match self.protocol {
            protocol::TCP => Transport::Tcp { source_port, destination_port },
            protocol::UDP => Transport::Udp { source_port, destination_port },
            protocol::ICMP => {
                let [kind, code] = destination_port.to_be_bytes();
                Transport::Icmp { kind, code, identifier: source_port }
            }
            protocol => Transport::Other { protocol },
        }
    }

    /// The flow that begins with a packet of this key.
    pub const fn flow(&self, entry: NetworkInterfaceId) -> Flow {
        Flow {
            entry,
            source: self.source.ip(),
            destination: self.destination.ip(),
            transport: self.transport(),
        }
    }

    /// The key of the answers to packets of this key that come in by `port`.
    #[inline]
    pub const fn answer(&self, port: PortNumber) -> Self {
        let (source_port, destination_port) = numbers(self.transport().reversed());
        Self::from_parts(port, self.destination, self.source, self.protocol, source_port, destination_port)
    }

    /// Addresses and ports as they are written into a packet.
    #[inline]
    pub const fn tuple(&self) -> Tuple {
        Tuple {
            source: self.source.v4(),
            destination: self.destination.v4(),
            source_port: self.source_port,
            destination_port: self.destination_port,
        }
    }

    /// The key as numbers, for hashing.
    #[inline]
    fn words(&self) -> [u64; 6] {
        let half = |bytes: &[u8; 16], upper: bool| {
            let all = u128::from_ne_bytes(*bytes);
            if upper { (all >> 64) as u64 } else { all as u64 }
        };
        let ports = u64::from(self.source_port) << 16 | u64::from(self.destination_port);
        let rest = u64::from(self.choice) << 16 | u64::from(self.protocol) << 8 | u64::from(self.mark);
        [
            half(&self.source.0, false),
            half(&self.source.0, true),
            half(&self.destination.0, false),
            half(&self.destination.0, true),
            u64::from(self.port.0) << 32 | ports,
            rest,
        ]
    }
}

impl Hash for FlowKey {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.words() {
            state.write_u64(word);
        }
    }
}

/// The two numbers by which a key tells conversations apart.
const fn numbers(transport: Transport) -> (u16, u16) {
    match transport {
        Transport::Icmp { identifier, .. } => (identifier, transport.ports().1),
        Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Other { .. } => transport.ports(),
    }
}

/// Hashes keys quickly, with a secret, since whoever sends packets chooses most of a key.
#[derive(Debug, Clone, Copy)]
pub struct KeyHash {
    secret: [u64; 2],
}

impl KeyHash {
    /// With a secret that nobody outside knows.
    pub fn with_seed(seed: u64) -> Self {
        // Odd and dense, whatever the seed is.
        let spread = |number: u64| mix(number ^ 0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93) | 1;
        Self { secret: [spread(seed), spread(seed.rotate_left(32) ^ 0xa076_1d64_78bd_642f)] }
    }
}

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;
    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher { state: self.secret[0], secret: self.secret[1] }
    }
}

/// See [`KeyHash`].
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher {
    state: u64,
    secret: u64,
}

#[inline]
const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

impl Hasher for KeyHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.state = mix(self.state ^ word, self.secret);
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(part) {
                *to = *from;
            }
            self.write_u64(u64::from_ne_bytes(word));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        mix(self.state, self.secret ^ 0x589c_5d8d_3f0a_11c3)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_transport() -> impl Strategy<Value = Transport> {
        prop_oneof![
            any::<(u16, u16)>().prop_map(|(s, d)| Transport::Tcp { source_port: s, destination_port: d }),
            any::<(u16, u16)>().prop_map(|(s, d)| Transport::Udp { source_port: s, destination_port: d }),
            any::<(u8, u8, u16)>().prop_map(|(kind, code, identifier)| Transport::Icmp {
                kind,
                code,
                identifier
            }),
            (0_u8..)
                .prop_filter("has ports", |p| ![1, 6, 17].contains(p))
                .prop_map(|protocol| { Transport::Other { protocol } }),
        ]
    }

    proptest! {
        #[test]
        fn the_answer_to_an_answer_is_the_question(
            source in any::<u32>(), destination in any::<u32>(), transport in any_transport(), port in any::<u32>()
        ) {
            let key = FlowKey::new(PortNumber(port), source.into(), destination.into(), transport);
            prop_assert_eq!(key.transport(), transport);
            prop_assert_eq!(key.answer(PortNumber(7)).answer(PortNumber(port)), key);
        }
    }

    #[test]
    fn equal_identifiers_toward_each_other_are_two_flows() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let request = Transport::Icmp { kind: 8, code: 0, identifier: 5 };
        let ours = FlowKey::new(PortNumber(1), a, b, request);
        let theirs = FlowKey::new(PortNumber(2), b, a, request);
        assert_ne!(ours, theirs.answer(PortNumber(1)));
    }

    #[test]
    fn a_place_that_is_taken_again_is_another_port() {
        let port = PortNumber::new(5, 0);
        assert_eq!(port.next_life().place(), 5);
        assert_ne!(port.next_life(), port);
        assert_eq!(PortNumber::new(5, 4095).next_life(), port, "after 4,096 lives the numbers begin again");
    }
}
