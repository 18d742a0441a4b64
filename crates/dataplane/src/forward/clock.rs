//! Time as the forwarder sees it, and the kernel program with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::kernel::Maps;

/// Time that passes, and that tests can let pass.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Offset>);

/// What is added to the kernel's monotonic clock.
#[derive(Debug)]
struct Offset {
    own: AtomicU64,
    /// The kernel program's copy, if there is one.
    maps: OnceLock<Arc<Maps>>,
}

impl Default for Clock {
    fn default() -> Self {
        // It starts at a second, so that what never happened is in the past.
        let own = AtomicU64::new(1_000_000_000_u64.wrapping_sub(monotonic()));
        Self(Arc::new(Offset { own, maps: OnceLock::new() }))
    }
}

/// The kernel's monotonic clock, in nanoseconds.
fn monotonic() -> u64 {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        // Neither is ever negative on this clock.
        Ok(time) => time.tv_sec().unsigned_abs() * 1_000_000_000 + time.tv_nsec().unsigned_abs(),
        Err(_) => unreachable!("every kernel has this clock"),
    }
}

impl Clock {
    /// Nanoseconds since some moment; never goes back.
    pub fn now(&self) -> u64 {
        monotonic().wrapping_add(self.0.own.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.own.fetch_add(by, Ordering::SeqCst);
        self.tell();
    }

    /// The kernel program goes by this clock from now on.
    pub(super) fn lead(&self, maps: &Arc<Maps>) {
        if self.0.maps.set(Arc::clone(maps)).is_err() {
            tracing::error!("one clock leads two kernel programs");
        }
        self.tell();
    }

    /// Goes on as the kernel program's clock does, and leads it from now on.
    pub(super) fn go_on(&self, maps: &Arc<Maps>) {
        self.0.own.store(maps.settings().clock_offset.load(Ordering::SeqCst), Ordering::SeqCst);
        self.lead(maps);
    }

    fn tell(&self) {
        if let Some(maps) = self.0.maps.get() {
            maps.settings().clock_offset.store(self.0.own.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }
}
