//! Addresses that stand for peers: who is behind a connection to one of Postern's doors.
//!
//! INVARIANT: an address stands for at most one [`Peer`] at a time; it is given to another only after it had no flow
//! for the whole quarantine. Addresses are given out in turn, so that in practice one comes back after 268 million
//! others.
//!
//! One peer may have several addresses, told apart by a *variant*: the same port of the same peer to two service
//! addresses would be one and the same connection to the door that stands for both.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock};

use postern_model::NetworkInterfaceId;
use postern_path::{Peer, PeerLookup};

/// The first address that stands for a peer. Those below it in 240.0.0.0/4 are the doors' own.
pub const FIRST: u32 = u32::from_be_bytes([240, 0, 1, 0]);
/// The last one: 255.255.255.255 is everybody.
pub const LAST: u32 = u32::from_be_bytes([255, 255, 255, 254]);
/// How long an address without flows still stands for its peer, in nanoseconds.
pub const QUARANTINE: u64 = 60_000_000_000;

/// Which address of a peer.
pub type Variant = u8;

/// The shared part: answers whose identity an address is, from any thread.
#[derive(Debug, Default)]
pub struct PeerDirectory {
    peers: RwLock<HashMap<Ipv4Addr, Peer>>,
}

impl PeerDirectory {
    fn set(&self, address: Ipv4Addr, peer: Option<Peer>) {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        match peer {
            Some(peer) => peers.insert(address, peer),
            None => peers.remove(&address),
        };
    }
}

impl PeerLookup for PeerDirectory {
    fn peer(&self, address: IpAddr) -> Option<Peer> {
        let IpAddr::V4(address) = address else { return None };
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&address).copied()
    }
}

#[derive(Debug)]
struct Standing {
    peer: Peer,
    variant: Variant,
    flows: u32,
    /// When the last flow ended, if there is none.
    idle_since: u64,
    /// Whether it waits in the queue of those to be taken back.
    queued: bool,
}

/// No address is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoPeerAddress;

/// The forwarder's part: gives addresses to peers and takes them back.
#[derive(Debug)]
pub struct Peers {
    directory: Arc<PeerDirectory>,
    addresses: HashMap<(Peer, Variant), Ipv4Addr>,
    entries: HashMap<Ipv4Addr, Standing>,
    /// Addresses whose last flow ended, each once. One that is used again stays in here until its turn comes.
    idle: VecDeque<(Ipv4Addr, u64)>,
    /// How many addresses stand for each interface.
    by_interface: HashMap<NetworkInterfaceId, usize>,
    next: u32,
    most: usize,
    most_per_interface: usize,
}

impl Peers {
    /// Nobody yet; at most `most` addresses at once, and at most so many for one interface.
    pub fn new(most: usize, most_per_interface: usize) -> Self {
        Self {
            directory: Arc::default(),
            addresses: HashMap::new(),
            entries: HashMap::new(),
            idle: VecDeque::new(),
            by_interface: HashMap::new(),
            next: FIRST,
            most: most.min((LAST - FIRST) as usize),
            most_per_interface,
        }
    }

    /// The part that the doors ask.
    pub fn directory(&self) -> Arc<PeerDirectory> {
        Arc::clone(&self.directory)
    }

    /// How many addresses stand for somebody.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The address that a peer has, or would be given.
    ///
    /// It stands for the peer from now on, and at least for the quarantine even if no flow comes of it. For `is_kept` see
    /// [`Self::sweep`].
    pub fn intern(
        &mut self,
        peer: &Peer,
        variant: Variant,
        now: u64,
        is_kept: impl FnMut(Ipv4Addr) -> bool,
    ) -> Result<Ipv4Addr, NoPeerAddress> {
        if let Some(address) = self.addresses.get(&(*peer, variant)) {
            return Ok(*address);
        }
        if self.is_full(peer.interface) {
            self.sweep(now, 64, is_kept);
        }
        if self.is_full(peer.interface) {
            return Err(NoPeerAddress);
        }
        let address = self.unused();
        *self.by_interface.entry(peer.interface).or_default() += 1;
        self.addresses.insert((*peer, variant), address);
        self.entries
            .insert(address, Standing { peer: *peer, variant, flows: 0, idle_since: now, queued: true });
        self.idle.push_back((address, now));
        self.directory.set(address, Some(*peer));
        Ok(address)
    }

    fn is_full(&self, interface: NetworkInterfaceId) -> bool {
        let own = self.by_interface.get(&interface).copied().unwrap_or(0);
        self.entries.len() >= self.most || own >= self.most_per_interface
    }

    /// The next address in turn that stands for nobody. There is one, for fewer are given out than there are.
    fn unused(&mut self) -> Ipv4Addr {
        loop {
            let address = Ipv4Addr::from(self.next);
            self.next = if self.next >= LAST { FIRST } else { self.next + 1 };
            if !self.entries.contains_key(&address) {
                return address;
            }
        }
    }

    /// A flow of the address begins.
    pub fn hold(&mut self, address: Ipv4Addr) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.flows += 1;
        }
    }

    /// A flow of the address has ended.
    pub fn release(&mut self, address: Ipv4Addr, now: u64) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.flows = entry.flows.saturating_sub(1);
        }
        self.was_used(address, now);
    }

    /// Until now there was a flow of the address, whoever held it.
    pub fn was_used(&mut self, address: Ipv4Addr, now: u64) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        if entry.flows == 0 {
            entry.idle_since = now;
            if !entry.queued {
                entry.queued = true;
                self.idle.push_back((address, now));
            }
        }
    }

    /// Takes back addresses whose quarantine is over, looking at `budget` of them at most; not those that `is_kept` by
    /// somebody else, who says so by [`Self::was_used`] when they are no more.
    pub fn sweep(&mut self, now: u64, budget: usize, mut is_kept: impl FnMut(Ipv4Addr) -> bool) {
        for _ in 0..budget {
            let Some((address, since)) = self.idle.front().copied() else { return };
            if now.saturating_sub(since) < QUARANTINE {
                return;
            }
            self.idle.pop_front();
            let Some(entry) = self.entries.get_mut(&address) else { continue };
            if entry.flows > 0 {
                entry.queued = false;
            } else if now.saturating_sub(entry.idle_since) < QUARANTINE {
                self.idle.push_back((address, entry.idle_since));
            } else if is_kept(address) {
                entry.queued = false;
            } else if let Some(entry) = self.entries.remove(&address) {
                self.addresses.remove(&(entry.peer, entry.variant));
                if let Entry::Occupied(mut own) = self.by_interface.entry(entry.peer.interface) {
                    *own.get_mut() -= 1;
                    if *own.get() == 0 {
                        own.remove();
                    }
                }
                self.directory.set(address, None);
            }
        }
    }
}
