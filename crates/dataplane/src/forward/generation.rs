//! The generation array: one number for each resource that decisions rest on.
//!
//! INVARIANT: a number only goes up. What was decided on other numbers than those that are here is void.
//!
//! The array is shared: the forwarder's thread stores, anybody may read. It grows by chunks that never move, so that
//! a reader needs no lock. An *epoch* beside it goes up after each change; whoever compared all numbers in an epoch
//! need not compare them again in the same one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use postern_path::Stamp;

use crate::kernel::Maps;

const CHUNK_SLOTS: usize = 16_384;
const CHUNKS: usize = 4_096;

/// All generations.
#[derive(Debug)]
pub struct Generations {
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
    epoch: AtomicU64,
    /// Where the first slots and the epoch are, if the kernel program compares too.
    maps: Option<Arc<Maps>>,
}

impl Default for Generations {
    fn default() -> Self {
        Self::with(None)
    }
}

impl Generations {
    /// The slots that there can be.
    pub const MOST_SLOTS: usize = CHUNK_SLOTS * CHUNKS;

    /// None is stored yet; those that fit are kept where the kernel program reads them.
    pub(crate) fn with(maps: Option<Arc<Maps>>) -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(), epoch: AtomicU64::new(1), maps }
    }

    fn epoch_cell(&self) -> &AtomicU64 {
        self.maps.as_ref().map_or(&self.epoch, |maps| &maps.settings().epoch)
    }

    fn shared(&self, slot: u32) -> Option<&AtomicU64> {
        self.maps.as_ref()?.generation(slot)
    }

    /// The generation in a slot; zero, which no resource has, in one that was never stored.
    #[inline]
    pub fn get(&self, slot: u32) -> u64 {
        if let Some(generation) = self.shared(slot) {
            return generation.load(Ordering::Acquire);
        }
        let slot = slot as usize;
        self.chunks
            .get(slot / CHUNK_SLOTS)
            .and_then(OnceLock::get)
            .and_then(|chunk| chunk.get(slot % CHUNK_SLOTS))
            .map_or(0, |generation| generation.load(Ordering::Acquire))
    }

    /// Stores the generations of what changed, and begins a new epoch. Slots beyond the end of the array are not
    /// stored, so nothing that rests on them is ever valid; how many is returned.
    pub fn store(&self, changed: &[Stamp]) -> usize {
        let mut beyond = 0;
        for stamp in changed {
            if let Some(generation) = self.shared(stamp.slot) {
                generation.fetch_max(stamp.generation, Ordering::AcqRel);
                continue;
            }
            let slot = stamp.slot as usize;
            match self.chunks.get(slot / CHUNK_SLOTS) {
                Some(chunk) => {
                    let chunk = chunk.get_or_init(|| (0..CHUNK_SLOTS).map(|_| AtomicU64::new(0)).collect());
                    if let Some(generation) = chunk.get(slot % CHUNK_SLOTS) {
                        generation.fetch_max(stamp.generation, Ordering::AcqRel);
                    }
                }
                None => beyond += 1,
            }
        }
        self.epoch_cell().fetch_add(1, Ordering::AcqRel);
        beyond
    }

    /// The epoch: it stays the same as long as no generation changes.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch_cell().load(Ordering::Acquire)
    }

    /// Whether all of these are as they were.
    pub fn all_current(&self, stamps: &[Stamp]) -> bool {
        stamps.iter().all(|stamp| self.get(stamp.slot) == stamp.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_never_goes_down_and_what_is_unknown_is_never_current() {
        let generations = Generations::default();
        let stamp = |slot, generation| Stamp { slot, generation };
        assert!(!generations.all_current(&[stamp(70_000, 3)]));
        assert_eq!(generations.store(&[stamp(70_000, 3)]), 0);
        assert!(generations.all_current(&[stamp(70_000, 3)]));
        let epoch = generations.epoch();
        generations.store(&[stamp(70_000, 2)]);
        assert!(generations.all_current(&[stamp(70_000, 3)]));
        assert!(generations.epoch() > epoch);
        assert_eq!(generations.store(&[stamp(u32::MAX, 1)]), 1);
        assert!(!generations.all_current(&[stamp(u32::MAX, 1)]));
    }
}
