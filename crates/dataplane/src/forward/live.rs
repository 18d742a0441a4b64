//! What changes with every packet of a flow: kept by the forwarder, or where the kernel program changes it too.
//!
//! INVARIANT: there is one of it. Whoever lists flows, ends silent ones or looks for a port to take away reads what
//! the last packet wrote, whoever carried it.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::counters::Volume;
use super::packet::tcp::Flags;
use super::phase::{Direction, Phase};
use crate::kernel::SharedFlow;
use crate::kernel::layout::{LiveSlot, WaySlot};

/// See the module.
#[derive(Debug)]
pub struct Live(Place);

#[derive(Debug)]
enum Place {
    Own(LiveSlot),
    Shared(SharedFlow),
}

impl Live {
    /// Of a flow that begins, and has not been found to hold in any epoch.
    pub fn new(phase: Phase, now: u64) -> Self {
        let way = |seen: u64| WaySlot {
            seen: seen.into(),
            packets: 0.into(),
            bytes: 0.into(),
            spare: Default::default(),
        };
        let slot = LiveSlot {
            epoch: 0.into(),
            phase: phase.code().into(),
            begun: now.into(),
            spare: Default::default(),
            ways: [way(now), way(0)],
        };
        Self(Place::Own(slot))
    }

    /// Of a flow that the kernel program knows.
    pub(crate) const fn shared(flow: SharedFlow) -> Self {
        Self(Place::Shared(flow))
    }

    /// Where the program has it.
    pub(crate) fn place(&self) -> Option<u32> {
        match &self.0 {
            Place::Own(_) => None,
            Place::Shared(flow) => Some(flow.place()),
        }
    }

    /// The same in the forwarder's own memory.
    pub(crate) fn own_copy(&self) -> Self {
        let copy = Self::new(Phase::Other, 0);
        self.copy_to(copy.slot());
        copy
    }

    /// It is as far as this, whatever was noted.
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.slot().phase.store(phase.code(), Release);
    }

    /// Writes all of it to another place.
    pub(crate) fn copy_to(&self, to: &LiveSlot) {
        let from = self.slot();
        let pairs = [(&from.epoch, &to.epoch), (&from.phase, &to.phase), (&from.begun, &to.begun)];
        let ways = from.ways.iter().zip(&to.ways).flat_map(|(from, to)| {
            [(&from.seen, &to.seen), (&from.packets, &to.packets), (&from.bytes, &to.bytes)]
        });
        for (from, to) in pairs.into_iter().chain(ways) {
            to.store(from.load(Relaxed), Relaxed);
        }
    }

    #[inline]
    fn slot(&self) -> &LiveSlot {
        match &self.0 {
            Place::Own(slot) => slot,
            Place::Shared(flow) => flow,
        }
    }

    /// The epoch in which the verdict was last found to hold.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.slot().epoch.load(Relaxed)
    }

    /// The verdict was found to hold in this epoch.
    #[inline]
    pub fn found_to_hold(&self, epoch: u64) {
        self.slot().epoch.store(epoch, Relaxed);
    }

    /// How far the flow has come.
    #[inline]
    pub fn phase(&self) -> Phase {
        Phase::from_code(self.slot().phase.load(Acquire))
    }

    /// When its last packet passed, in nanoseconds. In a closed one, when that was.
    #[inline]
    pub fn seen(&self) -> u64 {
        last_seen(self.slot())
    }

    /// When its first packet passed, in nanoseconds.
    pub fn begun(&self) -> u64 {
        self.slot().begun.load(Relaxed)
    }

    /// What passed: forward, reverse.
    pub fn volumes(&self) -> [Volume; 2] {
        self.slot()
            .ways
            .each_ref()
            .map(|way| Volume { packets: way.packets.load(Relaxed), bytes: way.bytes.load(Relaxed) })
    }

    #[inline]
    fn way(&self, direction: Direction) -> &WaySlot {
        let [forward, reverse] = &self.slot().ways;
        match direction {
            Direction::Forward => forward,
            Direction::Reverse => reverse,
        }
    }

    /// A packet passes.
    #[inline]
    pub fn count(&self, direction: Direction, bytes: usize) {
        let way = self.way(direction);
        way.packets.fetch_add(1, Relaxed);
        way.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes when a packet passed, and what it means for the phase; of a fragment without a header (no `flags`) that is
    /// nothing. Returns the phase before and after.
    #[inline]
    pub fn advance(&self, direction: Direction, flags: Option<Flags>, now: u64) -> (Phase, Phase) {
        let slot = self.slot();
        let mut code = slot.phase.load(Acquire);
        if Phase::from_code(code) != Phase::Closed {
            self.way(direction).seen.store(now, Relaxed);
        }
        loop {
            let before = Phase::from_code(code);
            let after = flags.map_or(before, |flags| before.after(direction, flags));
            if after == before {
                return (before, after);
            }
            // The program may have had a packet of the other direction in the meantime.
            match slot.phase.compare_exchange(code, after.code(), AcqRel, Acquire) {
                Ok(_) => return (before, after),
                Err(found) => code = found,
            }
        }
    }
}

/// When the last packet of a flow passed, whichever way it went.
pub(crate) fn last_seen(slot: &LiveSlot) -> u64 {
    slot.ways.iter().map(|way| way.seen.load(Relaxed)).fold(0, u64::max)
}
