//! Where the program looks for a flow: buckets of eight slots, of which a key may be in two.
//!
//! INVARIANT: one thread writes. A slot changes in one piece, so that a reader finds a flow or does not.

use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{Bucket, Settings};
use super::mapping::Mapped;
use crate::forward::FlowKey;

/// The place of a flow and the direction that a key is of, as a slot's lower half has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub place: u32,
    pub reverse: bool,
}

impl Entry {
    const fn slot(self, hash: u32) -> u64 {
        (hash as u64) << 32 | (self.place as u64 + 1) << 1 | self.reverse as u64
    }

    /// Back from a slot that is not empty.
    const fn of_slot(slot: u64) -> Option<Self> {
        let reverse = slot & 1 == 1;
        match (slot as u32 >> 1).checked_sub(1) {
            Some(place) => Some(Self { place, reverse }),
            None => None,
        }
    }
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    buckets: Mapped<Bucket>,
}

impl Index {
    /// Over a power of two of buckets.
    pub fn new(buckets: Mapped<Bucket>) -> Self {
        assert!(buckets.len().is_power_of_two(), "the program masks");
        Self { buckets }
    }

    /// The hash of a key, as the program computes it.
    pub fn hash(settings: &Settings, key: &FlowKey) -> u32 {
        let [a, b, c, d, e] = settings.secrets.each_ref().map(|secret| secret.load(Ordering::Relaxed));
        let word = |address: [u8; 4]| u64::from(u32::from_ne_bytes(address));
        let ports = u64::from(key.source_port) << 16 | u64::from(key.destination_port);
        let sum = a
            .wrapping_mul(u64::from(key.protocol))
            .wrapping_add(b.wrapping_mul(word(key.source.v4().octets())))
            .wrapping_add(c.wrapping_mul(word(key.destination.v4().octets())))
            .wrapping_add(d.wrapping_mul(ports))
            .wrapping_add(e.wrapping_mul(u64::from(key.port.0)));
        (sum >> 32) as u32
    }

    /// The two buckets of a hash.
    fn buckets(&self, hash: u32) -> impl Iterator<Item = &Bucket> {
        let mask = self.buckets.len() - 1;
        let other = hash.wrapping_mul(0x9e37_79b1) >> 7;
        [hash, other].into_iter().filter_map(move |at| self.buckets.get(at as usize & mask))
    }

    /// Adds an entry. False where there is no room.
    pub fn insert(&self, hash: u32, entry: Entry) -> bool {
        let free = |bucket: &&Bucket| bucket.slots.iter().filter(|slot| is_free(slot)).count();
        // Into the emptier one, so that both stay roomy.
        let emptier = self.buckets(hash).max_by_key(free);
        match emptier.and_then(|bucket| bucket.slots.iter().find(|slot| is_free(slot))) {
            Some(slot) => {
                slot.store(entry.slot(hash), Ordering::Release);
                true
            }
            None => false,
        }
    }

    /// Removes an entry, if it is there.
    pub fn remove(&self, hash: u32, entry: Entry) {
        let mut slots = self.buckets(hash).flat_map(|bucket| &bucket.slots);
        if let Some(slot) = slots.find(|slot| slot.load(Ordering::Relaxed) == entry.slot(hash)) {
            slot.store(0, Ordering::Release);
        }
    }

    /// Whether there is such an entry.
    pub fn has(&self, hash: u32, entry: Entry) -> bool {
        let mut slots = self.buckets(hash).flat_map(|bucket| &bucket.slots);
        slots.any(|slot| slot.load(Ordering::Relaxed) == entry.slot(hash))
    }

    /// Removes every entry for which `keep` does not hold.
    pub fn retain(&self, keep: impl Fn(Entry) -> bool) {
        let buckets = (0..self.buckets.len()).filter_map(|at| self.buckets.get(at));
        for slot in buckets.flat_map(|bucket| &bucket.slots) {
            let word = slot.load(Ordering::Relaxed);
            if word != 0 && !Entry::of_slot(word).is_some_and(&keep) {
                slot.store(0, Ordering::Release);
            }
        }
    }
}

fn is_free(slot: &AtomicU64) -> bool {
    slot.load(Ordering::Relaxed) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the index says about a hash.
    fn entries(index: &Index, hash: u32) -> Vec<u64> {
        let slots = index.buckets(hash).flat_map(|bucket| &bucket.slots);
        slots.map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| (slot >> 32) as u32 == hash).collect()
    }

    #[test]
    fn half_full_it_has_room_for_all() {
        let index = Index::new(Mapped::anonymous(1_024).unwrap());
        let hash = |number: u32| number.wrapping_mul(0x85eb_ca6b).rotate_left(13).wrapping_mul(0xc2b2_ae35);
        let entry = |place| Entry { place, reverse: place % 2 == 1 };
        for place in 0..4_096 {
            assert!(index.insert(hash(place), entry(place)), "flow {place}");
        }
        for place in 0..4_096 {
            assert!(entries(&index, hash(place)).contains(&entry(place).slot(hash(place))));
            index.remove(hash(place), entry(place));
        }
        let left = (0..1_024).filter_map(|at| index.buckets.get(at)).flat_map(|bucket| &bucket.slots);
        assert_eq!(left.filter(|slot| !is_free(slot)).count(), 0);
    }

    #[test]
    fn a_full_bucket_takes_no_more() {
        let index = Index::new(Mapped::anonymous(1).unwrap());
        let taken = (0..20).filter(|place| index.insert(*place, Entry { place: *place, reverse: false }));
        assert_eq!(taken.count(), 8);
    }
}
