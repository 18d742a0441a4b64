//! What went through the uplink, counted, and how much may at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use postern_model::NetworkInterfaceId;

/// What is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// Connections.
    Tcp,
    /// Datagrams of one sender's port to one receiver's.
    Udp,
    /// Echo requests of one identifier.
    Echo,
}

impl Carried {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Echo];

    /// As metrics label it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "icmp",
        }
    }
}

/// Why something that came to the uplink's door was not carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Nobody knows the flow any more.
    UnknownFlow,
    /// The address is the host's own: an instance reaches nothing of the host.
    HostAddress,
    /// The host has no way there.
    Unreachable,
    /// Whoever has the address refused.
    Declined,
    /// Nobody answered in time.
    TimedOut,
    /// The interface, or all together, have as many as they may.
    TooMany,
    /// The host gave no socket.
    Socket,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::UnknownFlow,
        Self::HostAddress,
        Self::Unreachable,
        Self::Declined,
        Self::TimedOut,
        Self::TooMany,
        Self::Socket,
    ];

    /// As metrics label it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownFlow => "unknown-flow",
            Self::HostAddress => "host-address",
            Self::Unreachable => "unreachable",
            Self::Declined => "refused",
            Self::TimedOut => "timed-out",
            Self::TooMany => "too-many",
            Self::Socket => "no-socket",
        }
    }
}

/// The counters, and the places that there are.
#[derive(Debug)]
pub struct Meter {
    begun: [AtomicU64; Carried::ALL.len()],
    open: [AtomicU64; Carried::ALL.len()],
    refused: [AtomicU64; Refused::ALL.len()],
    outward_bytes: AtomicU64,
    inward_bytes: AtomicU64,
    places: Mutex<Places>,
    most: usize,
    most_per_interface: usize,
}

#[derive(Debug, Default)]
struct Places {
    all: usize,
    by_interface: HashMap<NetworkInterfaceId, usize>,
}

/// A place among what is carried at once.
#[derive(Debug)]
pub struct Place {
    meter: Arc<Meter>,
    interface: NetworkInterfaceId,
    what: Carried,
}

impl Drop for Place {
    fn drop(&mut self) {
        of(&self.meter.open, self.what as usize).fetch_sub(1, Ordering::Relaxed);
        let mut places = self.meter.places();
        places.all = places.all.saturating_sub(1);
        if let Some(own) = places.by_interface.get_mut(&self.interface) {
            *own -= 1;
            if *own == 0 {
                places.by_interface.remove(&self.interface);
            }
        }
    }
}

/// A counter of an array with one for each value.
fn of(counters: &[AtomicU64], at: usize) -> &AtomicU64 {
    static NONE: AtomicU64 = AtomicU64::new(0);
    counters.get(at).unwrap_or(&NONE)
}

impl Meter {
    /// Nothing yet, with so many places, and so many for one interface.
    pub fn new(most: usize, most_per_interface: usize) -> Self {
        Self {
            begun: Default::default(),
            open: Default::default(),
            refused: Default::default(),
            outward_bytes: AtomicU64::new(0),
            inward_bytes: AtomicU64::new(0),
            places: Mutex::default(),
            most,
            most_per_interface,
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // Nothing in a critical section here panics half way.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if the interface may have one more.
    pub fn place(self: &Arc<Self>, interface: NetworkInterfaceId, what: Carried) -> Result<Place, Refused> {
        let mut places = self.places();
        let own = places.by_interface.get(&interface).copied().unwrap_or(0);
        if places.all >= self.most || own >= self.most_per_interface {
            return Err(Refused::TooMany);
        }
        places.all += 1;
        places.by_interface.insert(interface, own + 1);
        of(&self.begun, what as usize).fetch_add(1, Ordering::Relaxed);
        of(&self.open, what as usize).fetch_add(1, Ordering::Relaxed);
        Ok(Place { meter: Arc::clone(self), interface, what })
    }

    /// One was not carried, or no further.
    pub fn refuse(&self, why: Refused) {
        of(&self.refused, why as usize).fetch_add(1, Ordering::Relaxed);
    }

    /// So many bytes left the region.
    pub fn outward(&self, bytes: usize) {
        self.outward_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// So many bytes came in.
    pub fn inward(&self, bytes: usize) {
        self.inward_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many were ever begun of a kind.
    pub fn begun(&self, what: Carried) -> u64 {
        of(&self.begun, what as usize).load(Ordering::Relaxed)
    }

    /// How many are carried now.
    pub fn open(&self, what: Carried) -> u64 {
        of(&self.open, what as usize).load(Ordering::Relaxed)
    }

    /// How many were refused for a reason.
    pub fn refused(&self, why: Refused) -> u64 {
        of(&self.refused, why as usize).load(Ordering::Relaxed)
    }

    /// Bytes out and in.
    pub fn bytes(&self) -> [u64; 2] {
        [&self.outward_bytes, &self.inward_bytes].map(|counter| counter.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_has_its_share_and_no_more() {
        let meter = Arc::new(Meter::new(3, 2));
        let [one, other] = [1, 2].map(NetworkInterfaceId::from_number);
        let place = |interface| meter.place(interface, Carried::Tcp);
        let first = place(one).unwrap();
        let _second = place(one).unwrap();
        assert_eq!(place(one).unwrap_err(), Refused::TooMany);
        let third = place(other).unwrap();
        assert_eq!(place(other).unwrap_err(), Refused::TooMany, "all places are taken");
        assert_eq!((meter.open(Carried::Tcp), meter.begun(Carried::Tcp)), (3, 3));
        drop((first, third));
        assert!(place(one).is_ok());
        assert_eq!((meter.open(Carried::Tcp), meter.begun(Carried::Tcp)), (1, 4));
    }
}
