//! The ports of NAT gateways and load balancers: one space for each visible address, target and protocol, as AWS has them.
//!
//! INVARIANT: a port of a space belongs to at most one flow. It is free again when its flow is removed, and only
//! then; which flow may be removed for another is said in [`super::tables`].
//!
//! Where the kernel program makes flows too, the index that both share is the truth about ports: a port that is free
//! here may be taken there, and is then noted here when it is met (in [`super::shared`]).
//!
//! A sender's own port decides where the search for a free one starts, moved by a secret of the sender's. So the same
//! port of the same sender finds the same port again, and a target that still waits out the last connection with it
//! (TIME-WAIT) sees timestamps that go on and accepts the next; with a port of somebody else's it would drop the SYN
//! (RFC 7323, 5.3). And two senders that count through the same ports seldom meet.

use std::collections::{HashMap, VecDeque};

use super::choice::Choice;
use super::flow::FlowId;
use super::key::{Address, FlowKey, KeyHash, PortNumber};

/// The lowest port that is given out.
pub const FIRST_PORT: u16 = 1024;
/// How many there are.
pub const PORTS: usize = 65_536 - FIRST_PORT as usize;
/// Spaces with fewer ports in use than this keep a list of them, others a bit for each.
const SPARSE: usize = 128;
const WORDS: usize = PORTS / 64;
/// How many of them a load balancer gives out: the last ones are for what its interfaces say themselves (health checks,
/// connections that are relayed), which come from the same address ([`OWN_PORTS`]).
pub const BALANCER_PORTS: usize = 59_968;
/// The ports that are left for a load balancer's own sockets.
pub const OWN_PORTS: (u16, u16) = (FIRST_PORT + BALANCER_PORTS as u16, u16::MAX);

const _: () = assert!(PORTS.is_multiple_of(64) && BALANCER_PORTS.is_multiple_of(64), "whole words");

/// Whose ports: the port that answers come in by, the address that the target sees, the target with its port, and
/// the protocol.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpaceKey(FlowKey);

impl SpaceKey {
    /// The space of flows to this target, seen from this address.
    pub const fn new(
        exit: PortNumber,
        visible: Address,
        target: Address,
        target_port: u16,
        protocol: u8,
    ) -> Self {
        Self(FlowKey::from_parts(exit, target, visible, protocol, target_port, 0))
    }
}

#[derive(Debug)]
enum Used {
    Sparse(Vec<u16>),
    Dense(Box<[u64; WORDS]>),
}

/// The ports of one space.
#[derive(Debug)]
struct Space {
    used: Used,
    count: usize,
    /// Flows whose both ends are done, oldest first, with when that was. Some may be gone already.
    closed: VecDeque<(FlowId, u64)>,
    /// Where the search for half-open flows goes on.
    hand: u16,
}

impl Space {
    fn new() -> Self {
        Self { used: Used::Sparse(Vec::new()), count: 0, closed: VecDeque::new(), hand: 0 }
    }

    fn is_used(&self, index: u16) -> bool {
        match &self.used {
            Used::Sparse(list) => list.binary_search(&index).is_ok(),
            Used::Dense(bits) => {
                bits.get(usize::from(index) / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
            }
        }
    }

    /// The first free port of the first so many, from `start` on, and around.
    fn free_from(&self, start: u16, ports: usize) -> Option<u16> {
        if self.count >= ports {
            return None;
        }
        match &self.used {
            // Among one more candidates than are used, one is free.
            Used::Sparse(list) => {
                (0..=list.len()).map(|step| wrap(start, step, ports)).find(|index| !self.is_used(*index))
            }
            Used::Dense(bits) => {
                let first = usize::from(start) / 64;
                let below = (1_u64 << (start % 64)) - 1;
                let words = ports / 64;
                (0..=words).find_map(|step| {
                    let at = (first + step) % words;
                    let skipped = if step == 0 { below } else { 0 };
                    let free = !(bits.get(at)? | skipped);
                    let index = at * 64 + free.trailing_zeros() as usize;
                    (free != 0).then(|| u16::try_from(index).ok())?
                })
            }
        }
    }

    fn set(&mut self, index: u16, used: bool) {
        if self.is_used(index) == used {
            return;
        }
        match &mut self.used {
            Used::Sparse(list) => match (list.binary_search(&index), used) {
                (Err(at), true) => list.insert(at, index),
                (Ok(at), false) => drop(list.remove(at)),
                (Ok(_), true) | (Err(_), false) => {}
            },
            Used::Dense(bits) => {
                if let Some(word) = bits.get_mut(usize::from(index) / 64) {
                    *word ^= 1 << (index % 64);
                }
            }
        }
        self.count = if used { self.count + 1 } else { self.count.saturating_sub(1) };
        self.densify();
    }

    fn densify(&mut self) {
        let Used::Sparse(list) = &self.used else { return };
        if list.len() < SPARSE {
            return;
        }
        let mut bits = Box::new([0_u64; WORDS]);
        for index in list {
            if let Some(word) = bits.get_mut(usize::from(*index) / 64) {
                *word |= 1 << (index % 64);
            }
        }
        self.used = Used::Dense(bits);
    }
}

/// `step` ports after `start`, around the end.
fn wrap(start: u16, step: usize, ports: usize) -> u16 {
    // Below PORTS, which fits.
    ((usize::from(start) + step) % ports) as u16
}

/// All spaces.
#[derive(Debug)]
pub struct NatPorts {
    spaces: HashMap<SpaceKey, Space, KeyHash>,
    choice: Choice,
}

impl NatPorts {
    /// No port is in use.
    pub fn new(hash: KeyHash, choice: Choice) -> Self {
        Self { spaces: HashMap::with_hasher(hash), choice }
    }

    /// A port, of the first so many, for the flow of a sender's packets with this key, that is free as far as is known here.
    pub fn free(&self, key: &SpaceKey, sender: &FlowKey, ports: usize) -> Option<u16> {
        let start = self.choice.nat_start(sender, ports);
        let index = match self.spaces.get(key) {
            Some(space) => space.free_from(start, ports)?,
            None => start,
        };
        Some(FIRST_PORT + index)
    }

    /// Takes this port, for a flow that has it already. False where another flow does, or there is no such port.
    pub fn claim(&mut self, key: &SpaceKey, port: u16) -> bool {
        let Some(index) = port.checked_sub(FIRST_PORT) else { return false };
        let space = self.spaces.entry(*key).or_insert_with(Space::new);
        let free = !space.is_used(index);
        if free {
            space.set(index, true);
        }
        free
    }

    /// A port belongs to a flow.
    pub fn take(&mut self, key: &SpaceKey, port: u16) {
        if let Some(index) = port.checked_sub(FIRST_PORT) {
            self.spaces.entry(*key).or_insert_with(Space::new).set(index, true);
        }
    }

    /// A port's flow is gone.
    pub fn give_back(&mut self, key: &SpaceKey, port: u16) {
        let Some(space) = self.spaces.get_mut(key) else { return };
        if let Some(index) = port.checked_sub(FIRST_PORT) {
            space.set(index, false);
        }
        if space.count == 0 {
            self.spaces.remove(key);
        }
    }

    /// Both ends of a flow are done: its port is the next to be used again under pressure.
    pub fn closed(&mut self, key: &SpaceKey, flow: FlowId, now: u64, alive: impl Fn(FlowId) -> bool) {
        let Some(space) = self.spaces.get_mut(key) else { return };
        if space.closed.len() > 2 * space.count + 64 {
            space.closed.retain(|(flow, _)| alive(*flow));
        }
        space.closed.push_back((flow, now));
    }

    /// The flow that has been done for longest, if that is at least `age`.
    pub fn oldest_closed(&mut self, key: &SpaceKey, now: u64, age: u64) -> Option<FlowId> {
        let space = self.spaces.get_mut(key)?;
        let (_, since) = space.closed.front()?;
        if now.saturating_sub(*since) < age {
            return None;
        }
        space.closed.pop_front().map(|(flow, _)| flow)
    }

    /// The next ports in use, in turn: candidates for being taken away.
    pub fn next_used(&mut self, key: &SpaceKey, how_many: usize) -> impl Iterator<Item = u16> + use<> {
        let mut found = smallvec::SmallVec::<[u16; 64]>::new();
        if let Some(space) = self.spaces.get_mut(key) {
            for _ in 0..how_many {
                space.hand = wrap(space.hand, 1, PORTS);
                if space.is_used(space.hand) {
                    found.push(FIRST_PORT + space.hand);
                }
            }
        }
        found.into_iter()
    }

    /// How many ports of a space are in use.
    #[cfg(test)]
    pub fn in_use(&self, key: &SpaceKey) -> usize {
        self.spaces.get(key).map_or(0, |space| space.count)
    }

    /// How many spaces have a port in use.
    #[cfg(test)]
    pub fn spaces(&self) -> usize {
        self.spaces.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use postern_path::Transport;
    use proptest::prelude::*;

    use super::*;

    fn key(target_port: u16) -> SpaceKey {
        let address = |last| Address::from(Ipv4Addr::new(52, 0, 0, last));
        SpaceKey::new(PortNumber(1), address(1), address(2), target_port, 6)
    }

    fn sender(port: u16) -> FlowKey {
        let transport = Transport::Tcp { source_port: port, destination_port: 443 };
        FlowKey::new(PortNumber(2), Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(52, 0, 0, 2), transport)
    }

    fn empty(seed: u64) -> NatPorts {
        NatPorts::new(KeyHash::with_seed(seed), Choice::with_seed(seed))
    }

    fn take(ports: &mut NatPorts, key: &SpaceKey, sender: &FlowKey) -> Option<u16> {
        let port = ports.free(key, sender, PORTS)?;
        ports.take(key, port);
        Some(port)
    }

    #[test]
    fn the_same_port_finds_the_same_port_again() {
        let mut ports = empty(1);
        let first: Vec<u16> =
            (32_768..61_000).map(|port| take(&mut ports, &key(443), &sender(port)).unwrap()).collect();
        for port in &first {
            ports.give_back(&key(443), *port);
        }
        let again = (32_768..61_000).map(|port| take(&mut ports, &key(443), &sender(port)).unwrap());
        assert!(again.eq(first));
    }

    #[test]
    fn a_space_gives_every_port_once() {
        let mut ports = empty(1);
        let taken: BTreeSet<u16> =
            (0..PORTS).map(|_| take(&mut ports, &key(443), &sender(7)).unwrap()).collect();
        assert_eq!(taken.len(), PORTS);
        assert_eq!(taken.first(), Some(&FIRST_PORT));
        assert_eq!(taken.last(), Some(&u16::MAX));
        assert_eq!(take(&mut ports, &key(443), &sender(7)), None);
        assert!(take(&mut ports, &key(80), &sender(7)).is_some(), "another target has its own");
        ports.give_back(&key(443), 5_000);
        assert_eq!(take(&mut ports, &key(443), &sender(7)), Some(5_000));
        for port in taken {
            ports.give_back(&key(443), port);
        }
        assert_eq!(ports.spaces(), 1);
    }

    #[test]
    fn a_port_that_a_flow_has_already_is_claimed_once() {
        let taken = take(&mut empty(1), &key(443), &sender(7)).unwrap();
        let mut after = empty(2);
        assert!(after.claim(&key(443), taken) && !after.claim(&key(443), taken));
        assert!(after.claim(&key(80), taken), "another target has its own");
        assert!(!after.claim(&key(443), 1_023), "nobody is given this one");
        let others: BTreeSet<u16> =
            (0..500).map(|_| take(&mut after, &key(443), &sender(7)).unwrap()).collect();
        assert!(!others.contains(&taken) && others.len() == 500);
        after.give_back(&key(443), taken);
        assert!(after.claim(&key(443), taken), "it is free again");
    }

    #[test]
    fn a_load_balancer_leaves_the_last_ports_to_itself() {
        let mut ports = empty(3);
        let mut taken = BTreeSet::new();
        while let Some(port) = ports.free(&key(443), &sender(7), BALANCER_PORTS) {
            ports.take(&key(443), port);
            assert!(taken.insert(port), "{port} is given twice");
        }
        assert_eq!(taken.len(), BALANCER_PORTS);
        assert!(taken.iter().all(|port| (FIRST_PORT..OWN_PORTS.0).contains(port)));
    }

    proptest! {
        #[test]
        fn a_port_is_nobody_elses(steps in proptest::collection::vec(any::<Option<u8>>(), 1..600), seed in any::<u64>()) {
            let mut ports = empty(seed);
            let mut held: Vec<u16> = Vec::new();
            for step in steps {
                match step {
                    Some(which) if !held.is_empty() && which < 80 => {
                        let port = held.swap_remove(usize::from(which) % held.len());
                        ports.give_back(&key(1), port);
                    }
                    Some(_) | None => {
                        let port = take(&mut ports, &key(1), &sender(held.len() as u16 * 31)).unwrap();
                        prop_assert!(port >= FIRST_PORT && !held.contains(&port));
                        held.push(port);
                    }
                }
                prop_assert_eq!(ports.in_use(&key(1)), held.len());
            }
        }
    }
}
