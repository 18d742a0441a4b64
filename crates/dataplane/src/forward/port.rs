//! The ports of the forwarder: one for each interface that is plugged in, and one for the doors.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_model::{Mac, NetworkInterfaceId};

use super::counters::PortCounters;
use super::decider::{Decider, InterfaceInfo};
use super::flow::FlowId;
use super::fragment::Fragments;
use super::key::{KeyHash, PortNumber};
use super::limit::{Bucket, Limits};
use super::template::Templates;
use crate::kernel::{Checks, Maps};

/// Who is behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// An interface.
    Interface(NetworkInterfaceId),
    /// Postern's own doors.
    Doors,
}

/// A port.
#[derive(Debug)]
pub struct Port {
    /// Who is behind it.
    pub owner: Owner,
    /// The hardware address there.
    pub mac: Mac,
    /// What the plan says of the interface; none for the doors, and for an interface that the plan does not know.
    pub info: Option<Arc<InterfaceInfo>>,
    /// Which plan said so.
    revision: u64,
    /// Whether the kernel program stands on it.
    pub by_program: bool,
    pub(crate) counters: PortCounters,
    pub(crate) templates: Templates,
    pub(crate) fragments: Fragments,
    pub(crate) upcalls: Bucket,
    pub(crate) replies: Bucket,
    pub(crate) logged: Bucket,
    /// Flows begun here whose both ends are done, oldest first, with when that was. Some may be gone already.
    pub(crate) closed: VecDeque<(FlowId, u64)>,
    /// How many may be there before those that are gone are taken out.
    pub(crate) closed_most: usize,
    /// The index of its host end, which is still to be added.
    awaited: Option<u32>,
}

impl Port {
    /// The interface behind it.
    pub const fn interface(&self) -> Option<NetworkInterfaceId> {
        match self.owner {
            Owner::Interface(id) => Some(id),
            Owner::Doors => None,
        }
    }

    /// Whether the forwarder's time is shared out among this port and others: where it carries everything itself, and
    /// for the doors, which speak for all, it is not.
    pub(crate) fn shares_time(&self) -> bool {
        self.by_program && self.owner != Owner::Doors
    }

    /// Tells the kernel program what the plan says of it.
    fn describe(&self, maps: &Maps, number: PortNumber) {
        let doors = postern_path::Door::ALL.map(|door| door.address());
        let checks = match self.owner {
            Owner::Interface(_) => self.info.as_deref().map(Checks::from),
            Owner::Doors => Some(Checks { addresses: &doors, any_source: false, bounded: false }),
        };
        maps.describe_port(number, self.mac, checks.as_ref(), self.revision);
    }
}

#[derive(Debug)]
struct Place {
    number: PortNumber,
    port: Option<Port>,
}

/// All ports.
#[derive(Debug)]
pub struct Ports {
    places: Vec<Place>,
    free: VecDeque<usize>,
    by_interface: HashMap<NetworkInterfaceId, PortNumber>,
    doors: Option<PortNumber>,
    limits: Limits,
    hash: KeyHash,
    revision: u64,
    /// The first place that the kernel program may not have been told of since the plan changed.
    stale: usize,
    /// Where the kernel program reads about ports.
    maps: Option<Arc<Maps>>,
}

impl Ports {
    pub(crate) fn new(limits: Limits, hash: KeyHash, maps: Option<Arc<Maps>>) -> Self {
        Self {
            places: Vec::new(),
            free: VecDeque::new(),
            by_interface: HashMap::new(),
            doors: None,
            limits,
            hash,
            revision: 1,
            stale: 0,
            maps,
        }
    }

    /// Adds a port. One of the same owner gives way. None where there are too many.
    pub fn add(&mut self, owner: Owner, mac: Mac, now: u64) -> Option<PortNumber> {
        self.remove(self.of(owner));
        let place = self.free.pop_front().unwrap_or(self.places.len());
        if place >= PortNumber::MOST {
            return None;
        }
        let port = self.port(owner, mac, now);
        let number = match self.places.get_mut(place) {
            Some(taken) => {
                taken.port = Some(port);
                taken.number
            }
            None => {
                // Below PortNumber::MOST.
                let number = PortNumber::new(place as u32, 0);
                self.places.push(Place { number, port: Some(port) });
                number
            }
        };
        if let Some(maps) = &self.maps {
            maps.begin_port(number);
        }
        match owner {
            Owner::Interface(id) => drop(self.by_interface.insert(id, number)),
            Owner::Doors => self.doors = Some(number),
        }
        Some(number)
    }

    fn port(&self, owner: Owner, mac: Mac, now: u64) -> Port {
        Port {
            owner,
            mac,
            info: None,
            revision: 0,
            by_program: false,
            counters: PortCounters::default(),
            templates: Templates::new(self.limits.templates_per_port, self.hash),
            fragments: Fragments::new(self.limits.fragments_per_port, self.hash),
            upcalls: Bucket::new(self.limits.upcalls, now),
            replies: Bucket::new(self.limits.replies, now),
            logged: Bucket::new(self.limits.logged_refusals, now),
            closed: VecDeque::new(),
            closed_most: 64,
            awaited: None,
        }
    }

    /// Goes on with ports that the kernel program stands on: interfaces, and the indices of their host ends, which are
    /// still to be added. `life` is that of the ports that take other places.
    pub(crate) fn go_on(
        &mut self,
        inherited: &[(NetworkInterfaceId, u32)],
        life: u32,
        decider: &dyn Decider,
        now: u64,
    ) {
        let Some(maps) = self.maps.clone() else { return };
        self.revision = maps.settings().revision.load(Ordering::SeqCst);
        let mut found: HashMap<usize, (PortNumber, Port)> = HashMap::new();
        for (interface, index) in inherited {
            let Some(number) = maps.number_of(*index) else { continue };
            let mut port = self.port(Owner::Interface(*interface), Mac([0; 6]), now);
            port.awaited = Some(*index);
            self.by_interface.insert(*interface, number);
            found.insert(number.place(), (number, port));
        }
        let places = found.keys().max().map_or(0, |last| last + 1);
        for place in 0..places {
            let (number, port) = match found.remove(&place) {
                Some((number, port)) => (number, Some(port)),
                // Below PortNumber::MOST, as all that were found.
                None => (PortNumber::new(place as u32, life), None),
            };
            if port.is_none() {
                self.free.push_back(place);
            }
            self.places.push(Place { number, port });
        }
        maps.keep_ports(|number| self.get(number).is_some());
        let numbers: Vec<_> = self.iter().map(|(number, _)| number).collect();
        for number in numbers {
            let _ = self.fresh(number, decider);
        }
    }

    /// The port of an owner that the kernel program stands on since before this process, if its host end has this index
    /// and was not added yet. It is added now.
    pub(crate) fn arrived(&mut self, owner: Owner, index: u32) -> Option<PortNumber> {
        let number = self.of(owner)?;
        let port = self.get_mut(number)?;
        port.awaited.take_if(|awaited| *awaited == index)?;
        Some(number)
    }

    /// Ports that were never added.
    pub(crate) fn awaited(&self) -> Vec<Owner> {
        self.iter().filter(|(_, port)| port.awaited.is_some()).map(|(_, port)| port.owner).collect()
    }

    /// Removes a port. Its flows are found to be dead wherever they are met.
    pub fn remove(&mut self, number: Option<PortNumber>) -> Option<Port> {
        let number = number?;
        let place = self.places.get_mut(number.place()).filter(|place| place.number == number)?;
        let port = place.port.take()?;
        place.number = number.next_life();
        self.free.push_back(number.place());
        if let Some(maps) = &self.maps {
            maps.detach_port(number);
        }
        match port.owner {
            Owner::Interface(id) => drop(self.by_interface.remove(&id)),
            Owner::Doors => self.doors = None,
        }
        Some(port)
    }

    /// The kernel program delivers to a port no more.
    pub(crate) fn detached(&self, number: PortNumber) {
        if let Some(maps) = &self.maps {
            maps.detach_port(number);
        }
    }

    /// The port of an owner.
    #[inline]
    pub fn of(&self, owner: Owner) -> Option<PortNumber> {
        match owner {
            Owner::Interface(id) => self.by_interface.get(&id).copied(),
            Owner::Doors => self.doors,
        }
    }

    /// A port, if it is still there.
    #[inline]
    pub fn get(&self, number: PortNumber) -> Option<&Port> {
        let place = self.places.get(number.place())?;
        if place.number == number { place.port.as_ref() } else { None }
    }

    /// A port, to be changed.
    #[inline]
    pub fn get_mut(&mut self, number: PortNumber) -> Option<&mut Port> {
        let place = self.places.get_mut(number.place())?;
        if place.number == number { place.port.as_mut() } else { None }
    }

    /// What the kernel program could not be told of before it may be told now, since there is a port more that is its own.
    pub fn tell_templates_again(&mut self) {
        for port in self.places.iter_mut().filter_map(|place| place.port.as_mut()) {
            port.templates.try_again();
        }
    }

    /// All ports with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (PortNumber, &Port)> {
        self.places.iter().filter_map(|place| Some((place.number, place.port.as_ref()?)))
    }

    /// There is another plan: what the last one said of interfaces is to be asked again.
    pub(crate) fn plan_changed(&mut self) {
        self.revision += 1;
        self.stale = 0;
        if let Some(maps) = &self.maps {
            maps.settings().revision.store(self.revision, Ordering::SeqCst);
        }
    }

    /// Tells the kernel program what the plan says of ports of which no packet has come up since it changed, looking at
    /// `budget` places. Without that their packets would need the forwarder, which may be gone by then. True where there
    /// are more.
    pub(crate) fn tell_plan(&mut self, decider: &dyn Decider, budget: usize) -> bool {
        if self.maps.is_none() {
            return false;
        }
        let until = self.places.len().min(self.stale.saturating_add(budget));
        for at in self.stale..until {
            if let Some(number) = self.places.get(at).map(|place| place.number) {
                let _ = self.fresh(number, decider);
            }
        }
        self.stale = until;
        until < self.places.len()
    }

    /// The kernel program stands on a port's host end.
    pub(crate) fn attached(&mut self, number: PortNumber, interface: u32) {
        if let (Some(maps), Some(place)) = (&self.maps, self.places.get_mut(number.place()))
            && let Some(port) = place.port.as_mut().filter(|_| place.number == number)
        {
            maps.attach_port(number, interface);
            port.by_program = true;
            // What the plan says is to be written there, too.
            port.revision = 0;
        }
    }

    /// A port with what the plan says of it now. None if there is no such port.
    #[inline]
    pub(crate) fn fresh(&mut self, number: PortNumber, decider: &dyn Decider) -> Option<&mut Port> {
        let place = self.places.get_mut(number.place()).filter(|place| place.number == number)?;
        let port = place.port.as_mut()?;
        if port.revision != self.revision {
            port.revision = self.revision;
            if let Owner::Interface(id) = port.owner {
                let info = decider.interface(id).map(Arc::new);
                port.mac = info.as_ref().map_or(port.mac, |info| info.mac);
                port.info = info;
            }
            if let Some(maps) = &self.maps {
                port.describe(maps, number);
            }
        }
        Some(port)
    }
}
