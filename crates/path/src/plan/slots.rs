//! Generations: one slot for each thing that decisions rest on, with a number that goes up whenever it changes.
//!
//! INVARIANT: the number in a slot never goes down, and a slot that is used again starts above everything that was
//! ever in it. So an old stamp can never look current.

use postern_model::elb::TargetKey;
use postern_model::{NetworkInterfaceId, ResourceId, TargetGroupId, VpcId};

use super::Table;
use crate::decision::Stamp;

/// What has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKey {
    /// A resource.
    Resource(ResourceId),
    /// Which security groups an interface has. Only flows that those do not track rest on it while they live.
    Groups(NetworkInterfaceId),
    /// Which addresses of a VPC somebody has.
    Members(VpcId),
    /// Which gateway endpoints a VPC has. Only what comes from elsewhere and is refused rests on it.
    GatewayEndpoints(VpcId),
    /// Which public addresses somebody has.
    PublicAddresses,
    /// Where the services are.
    Services,
    /// How packets leave the region.
    Uplink,
    /// What a load balancer's interface does with new connections.
    Balancing(NetworkInterfaceId),
    /// Where a target is, and how often it was found to fail. Its connections rest on it.
    Target(TargetGroupId, TargetKey),
}

/// All slots.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    stamps: Table<SlotKey, Stamp>,
    free: imbl::Vector<u32>,
    next: u32,
}

impl Slots {
    /// Gives the thing a new generation, and a slot if it has none.
    pub fn bump(&mut self, key: SlotKey, generation: u64) -> Stamp {
        let known = self.stamps.get(&key).map(|stamp| stamp.slot);
        let slot = known.or_else(|| self.free.pop_front()).unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        let stamp = Stamp { slot, generation };
        self.stamps.insert(key, stamp);
        stamp
    }

    /// The thing is gone: its slot gets a last generation and may be used again.
    pub fn release(&mut self, key: SlotKey, generation: u64) -> Option<Stamp> {
        let Stamp { slot, .. } = self.stamps.remove(&key)?;
        self.free.push_back(slot);
        Some(Stamp { slot, generation })
    }

    /// The thing's stamp as it is.
    pub fn get(&self, key: SlotKey) -> Option<Stamp> {
        self.stamps.get(&key).copied()
    }

    /// All that are in use.
    pub fn iter(&self) -> impl Iterator<Item = Stamp> + '_ {
        self.stamps.values().copied()
    }

    /// One above the highest slot that was ever used.
    pub fn len(&self) -> u32 {
        self.next
    }

    /// Whether none was ever used.
    pub fn is_empty(&self) -> bool {
        self.next == 0
    }
}
