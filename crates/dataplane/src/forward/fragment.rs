//! The ports of fragmented packets, learned from their first fragments.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

use super::key::KeyHash;

/// How long the rest of a packet may take, in nanoseconds.
const PATIENCE: u64 = 15_000_000_000;

/// What all fragments of a packet have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// From.
    pub source: Ipv4Addr,
    /// To.
    pub destination: Ipv4Addr,
    /// Of the packet.
    pub identification: u16,
    /// What it carries.
    pub protocol: u8,
}

/// The packets of one port that came in pieces.
#[derive(Debug)]
pub struct Fragments {
    /// The two numbers of the flow's key, and when the first fragment came.
    known: HashMap<FragmentKey, ((u16, u16), u64), KeyHash>,
    order: VecDeque<(FragmentKey, u64)>,
    most: usize,
}

impl Fragments {
    /// Remembers `most` packets at most.
    pub fn new(most: usize, hash: KeyHash) -> Self {
        Self { known: HashMap::with_hasher(hash), order: VecDeque::new(), most }
    }

    /// A first fragment passed. The oldest is forgotten where there is no room.
    pub fn learn(&mut self, key: FragmentKey, ports: (u16, u16), now: u64) {
        while self.order.len() >= self.most.max(1) {
            self.forget_oldest();
        }
        self.known.insert(key, (ports, now));
        self.order.push_back((key, now));
    }

    /// The ports of a later fragment's packet.
    pub fn ports(&mut self, key: &FragmentKey, now: u64) -> Option<(u16, u16)> {
        while self.order.front().is_some_and(|(_, since)| now.saturating_sub(*since) > PATIENCE) {
            self.forget_oldest();
        }
        self.known.get(key).map(|(ports, _)| *ports)
    }

    fn forget_oldest(&mut self) {
        if let Some((key, since)) = self.order.pop_front()
            && self.known.get(&key).is_some_and(|(_, learned)| *learned == since)
        {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_forgets_in_time() {
        let key = |identification| FragmentKey {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            identification,
            protocol: 17,
        };
        let mut fragments = Fragments::new(4, KeyHash::with_seed(3));
        for number in 0..100 {
            fragments.learn(key(number), (number, 53), u64::from(number));
        }
        assert_eq!(fragments.known.len(), 4);
        assert_eq!(fragments.ports(&key(99), 100), Some((99, 53)));
        assert_eq!(fragments.ports(&key(95), 100), None);
        assert_eq!(fragments.ports(&key(99), PATIENCE + 100), None);
        assert!(fragments.known.is_empty());
    }
}
