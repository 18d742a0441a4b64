//! Who has how many connections.
//!
//! INVARIANT: whoever is inside the VPCs cannot take the places of those outside: each has its own.
//! INVARIANT: neither one address, nor one interface with all of its addresses, nor one account with all of its
//! interfaces can take all the places: each is bounded below the whole.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use postern_model::{AccountId, NetworkInterfaceId};
use tokio::sync::Semaphore;

use crate::caller::Origin;
use crate::metrics::Counter;
use crate::server::Limits;

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Address(IpAddr),
    Interface(NetworkInterfaceId),
    Account(AccountId),
}

/// The places of one server.
pub(crate) struct Places {
    pub(crate) inside: Arc<Semaphore>,
    pub(crate) outside: Arc<Semaphore>,
    limits: Limits,
    held: Mutex<HashMap<Holder, usize>>,
}

/// A connection's place among those of its address, its interface and its account, counted while it lives.
pub(crate) struct Place {
    places: Arc<Places>,
    holders: Vec<Holder>,
}

impl Places {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            inside: Arc::new(Semaphore::new(limits.connections)),
            outside: Arc::new(Semaphore::new(limits.connections)),
            limits,
            held: Mutex::default(),
        })
    }

    /// A place for a connection from there, or what counts its refusal.
    pub(crate) fn take(self: &Arc<Self>, origin: &Origin) -> Result<Place, Counter> {
        let bounded = self.bounds(origin);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for (holder, limit, counter) in &bounded {
            if held.get(holder).copied().unwrap_or_default() >= *limit {
                return Err(*counter);
            }
        }
        let holders: Vec<Holder> = bounded.into_iter().map(|(holder, _, _)| holder).collect();
        for holder in &holders {
            *held.entry(*holder).or_default() += 1;
        }
        Ok(Place { places: Arc::clone(self), holders })
    }

    fn bounds(&self, origin: &Origin) -> Vec<(Holder, usize, Counter)> {
        let Limits { connections_per_peer, connections_per_interface, connections_per_account, .. } =
            self.limits;
        let address = (Holder::Address(origin.remote.ip()), connections_per_peer, Counter::PeerOverLimit);
        match origin.peer {
            Some(peer) => vec![
                address,
                (Holder::Interface(peer.interface), connections_per_interface, Counter::InterfaceOverLimit),
                (Holder::Account(peer.account), connections_per_account, Counter::AccountOverLimit),
            ],
            // All programs of this machine share its loopback address.
            None if origin.remote.ip().is_loopback() => Vec::new(),
            None => vec![address],
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        for holder in &self.holders {
            if let Some(count) = held.get_mut(holder) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    held.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use postern_model::VpcId;
    use postern_path::{Peer, Through};

    use super::*;

    fn from(account: u64, interface: u64, address: u8) -> Origin {
        let peer = Peer {
            account: AccountId::from_number(account).unwrap(),
            vpc: VpcId::from_number(1 << 40),
            interface: NetworkInterfaceId::from_number((1 << 41) + interface),
            instance: None,
            address: Ipv4Addr::new(10, 0, 0, address),
            through: Through::Link,
        };
        let remote = SocketAddr::from(([240, 0, u8::try_from(account).unwrap(), address], 9));
        Origin { peer: Some(peer), remote, secure: false }
    }

    #[test]
    fn many_addresses_of_one_account_leave_room_for_others() {
        let limits = Limits {
            connections_per_peer: 2,
            connections_per_interface: 3,
            connections_per_account: 4,
            ..Limits::default()
        };
        let places = Places::new(limits);
        let one = |interface, address| places.take(&from(1, interface, address));
        let mut kept = vec![one(1, 1).ok().unwrap(), one(1, 1).ok().unwrap()];
        assert_eq!(one(1, 1).err(), Some(Counter::PeerOverLimit));
        kept.push(one(1, 2).ok().unwrap());
        assert_eq!(one(1, 3).err(), Some(Counter::InterfaceOverLimit), "another address of the interface");
        kept.push(one(2, 4).ok().unwrap());
        assert_eq!(one(3, 5).err(), Some(Counter::AccountOverLimit), "another interface of the account");
        assert!(places.take(&from(2, 9, 1)).is_ok(), "somebody else");
        kept.pop();
        assert!(one(3, 5).is_ok(), "after one has gone");
        drop(kept);
        assert!(places.held.lock().unwrap().is_empty(), "nobody is remembered who has no connection");
    }

    #[test]
    fn outside_each_address_is_bounded_but_this_machines_own() {
        let places = Places::new(Limits { connections_per_peer: 1, ..Limits::default() });
        let take = |address: [u8; 4]| {
            let remote = SocketAddr::from((address, 9));
            places.take(&Origin { peer: None, remote, secure: false })
        };
        let _first = take([10, 77, 0, 2]).ok().unwrap();
        assert_eq!(take([10, 77, 0, 2]).err(), Some(Counter::PeerOverLimit));
        let (_one, _two) = (take([127, 0, 0, 1]).ok().unwrap(), take([127, 0, 0, 1]).ok().unwrap());
    }
}
