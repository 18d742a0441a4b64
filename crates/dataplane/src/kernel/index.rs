//! Where the program looks for a flow or a template: buckets of eight slots, of which a key may be in two.
//!
//! INVARIANT: a slot changes in one piece, so that a reader finds what it looks for or does not. Of two that claim the
//! same key at the same time, forwarder or program, at most one gets it: each writes its entry into an empty slot and then
//! looks at both buckets again, and who sees another there takes its own back. At least one of them does see the other.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::layout::{Bucket, Settings, TAKEN};
use super::mapping::Mapped;
use crate::forward::FlowKey;

/// What a slot's lower half says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// The place of a flow, and the direction that the key is of.
    Place { place: u32, reverse: bool },
    /// The key is a flow's that only the forwarder knows.
    Forwarder,
}

impl Entry {
    const fn slot(self, hash: u32) -> u64 {
        let lower = match self {
            Self::Place { place, reverse } => (place as u64 + 1) << 1 | reverse as u64,
            Self::Forwarder => TAKEN as u64,
        };
        (hash as u64) << 32 | lower
    }

    /// What a slot says, if it is not empty. The upper half was compared.
    const fn of(slot: u64) -> Option<Self> {
        match slot as u32 {
            0 => None,
            TAKEN => Some(Self::Forwarder),
            lower => Some(Self::Place { place: (lower >> 1) - 1, reverse: lower & 1 == 1 }),
        }
    }
}

/// Why a key was not claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotClaimed {
    /// Both of its buckets are full.
    NoRoom,
    /// Somebody has it, or is about to.
    Contended,
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
        let shape = settings.shape_secret.load(Ordering::Relaxed);
        let word = |address: [u8; 4]| u64::from(u32::from_ne_bytes(address));
        let ports = u64::from(key.source_port) << 16 | u64::from(key.destination_port);
        let sum = a
            .wrapping_mul(u64::from(key.protocol))
            .wrapping_add(b.wrapping_mul(word(key.source.v4().octets())))
            .wrapping_add(c.wrapping_mul(word(key.destination.v4().octets())))
            .wrapping_add(d.wrapping_mul(ports))
            .wrapping_add(e.wrapping_mul(u64::from(key.port.0)))
            .wrapping_add(shape.wrapping_mul(u64::from(key.choice) << 8 | u64::from(key.mark)));
        (sum >> 32) as u32
    }

    /// The two buckets of a hash. Both may be the same.
    fn buckets(&self, hash: u32) -> impl Iterator<Item = &Bucket> {
        let mask = self.buckets.len() - 1;
        let places = [hash as usize & mask, (hash.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask];
        let count = if places[0] == places[1] { 1 } else { 2 };
        places.into_iter().take(count).filter_map(|at| self.buckets.get(at))
    }

    /// Everything that has this hash.
    pub fn holders(&self, hash: u32) -> impl Iterator<Item = Entry> {
        let slots = self.buckets(hash).flat_map(|bucket| &bucket.slots);
        slots
            .map(|slot| slot.load(Ordering::SeqCst))
            .filter(move |slot| (slot >> 32) as u32 == hash)
            .filter_map(Entry::of)
    }

    /// Adds an entry, unless another for which `conflicts` holds is there or comes at the same time.
    pub fn claim(
        &self,
        hash: u32,
        entry: Entry,
        conflicts: impl Fn(Entry) -> bool,
    ) -> Result<(), NotClaimed> {
        if self.holders(hash).any(&conflicts) {
            return Err(NotClaimed::Contended);
        }
        let free = |bucket: &&Bucket| bucket.slots.iter().filter(|slot| is_free(slot)).count();
        // Into the emptier one, so that both stay roomy.
        let emptier = self.buckets(hash).max_by_key(free).ok_or(NotClaimed::NoRoom)?;
        let own = entry.slot(hash);
        let took =
            |slot: &&AtomicU64| slot.compare_exchange(0, own, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let slot = emptier.slots.iter().find(took).ok_or(NotClaimed::NoRoom)?;
        fence(Ordering::SeqCst);
        let others =
            self.buckets(hash).flat_map(|bucket| &bucket.slots).filter(|other| !std::ptr::eq(*other, slot));
        let same = others.map(|slot| slot.load(Ordering::SeqCst)).filter(|slot| (slot >> 32) as u32 == hash);
        if same.filter_map(Entry::of).any(conflicts) {
            slot.store(0, Ordering::SeqCst);
            return Err(NotClaimed::Contended);
        }
        Ok(())
    }

    /// Whether there is such an entry.
    pub fn has(&self, hash: u32, entry: Entry) -> bool {
        self.holders(hash).any(|holder| holder == entry)
    }

    /// Removes every entry for which `keep` does not hold.
    pub fn retain(&self, keep: impl Fn(Entry) -> bool) {
        let buckets = (0..self.buckets.len()).filter_map(|at| self.buckets.get(at));
        for slot in buckets.flat_map(|bucket| &bucket.slots) {
            let word = slot.load(Ordering::SeqCst);
            if word != 0 && !Entry::of(word).is_some_and(&keep) {
                slot.store(0, Ordering::SeqCst);
            }
        }
    }

    /// Removes an entry, if it is there.
    pub fn remove(&self, hash: u32, entry: Entry) {
        let mut slots = self.buckets(hash).flat_map(|bucket| &bucket.slots);
        if let Some(slot) = slots.find(|slot| slot.load(Ordering::Relaxed) == entry.slot(hash)) {
            slot.store(0, Ordering::Release);
        }
    }
}

fn is_free(slot: &AtomicU64) -> bool {
    slot.load(Ordering::Relaxed) == 0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    const fn entry(place: u32) -> Entry {
        Entry::Place { place, reverse: place % 2 == 1 }
    }

    #[test]
    fn half_full_it_has_room_for_all() {
        let index = Index::new(Mapped::anonymous(1_024).unwrap());
        let hash = |number: u32| number.wrapping_mul(0x85eb_ca6b).rotate_left(13).wrapping_mul(0xc2b2_ae35);
        for place in 0..4_096 {
            assert_eq!(index.claim(hash(place), entry(place), |_| true), Ok(()), "flow {place}");
        }
        for place in 0..4_096 {
            assert!(index.holders(hash(place)).any(|found| found == entry(place)));
            index.remove(hash(place), entry(place));
        }
        let left = (0..1_024).filter_map(|at| index.buckets.get(at)).flat_map(|bucket| &bucket.slots);
        assert_eq!(left.filter(|slot| !is_free(slot)).count(), 0);
    }

    #[test]
    fn a_full_bucket_takes_no_more() {
        let index = Index::new(Mapped::anonymous(1).unwrap());
        let taken = (0..20).filter(|place| index.claim(*place, entry(*place), |_| false).is_ok());
        assert_eq!(taken.count(), 8);
    }

    /// Two that claim the same keys all the time: never have both of them one, and it is had often.
    #[test]
    fn a_key_is_claimed_by_one_at_most() {
        const ROUNDS: usize = 100_000;
        let index = Index::new(Mapped::anonymous(4).unwrap());
        let (holders, won) = (AtomicUsize::new(0), [AtomicUsize::new(0), AtomicUsize::new(0)]);
        std::thread::scope(|scope| {
            for (place, won) in (0..2).zip(&won) {
                let (index, holders) = (&index, &holders);
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        if index.claim(7, entry(place), |_| true).is_ok() {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0, "two have it");
                            won.fetch_add(1, Ordering::Relaxed);
                            holders.fetch_sub(1, Ordering::SeqCst);
                            index.remove(7, entry(place));
                        }
                    }
                });
            }
        });
        assert!(won.iter().all(|won| won.load(Ordering::Relaxed) > ROUNDS / 100), "{won:?}");
        assert_eq!(index.holders(7).count(), 0);
    }
}
