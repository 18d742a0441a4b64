//! CloudWatch, as far as it is asked what was measured: `GetMetricData`, `GetMetricStatistics`, `ListMetrics`.
//!
//! A request passes, in this order:
//! 1. [`wire`] reads it in whichever of CloudWatch's three protocols it speaks (CBOR, JSON, forms);
//! 2. [`door`] verifies who signed it, and asks whether they may;
//! 3. [`query`] carries it out over [`series`], which hold what [`Meters`] measured, minute by minute.
//!
//! INVARIANT: an account sees what was measured of its own resources, and nothing else.
//! INVARIANT: what is kept is bounded: the oldest minutes give way.
//! INVARIANT: every parameter is honoured or refused by its name.

mod cbor;
mod door;
mod input;
mod query;
pub mod series;
mod wire;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::door::MonitoringDoor;
pub use self::series::{Metric, Reading, Series, Unit, Value};

/// What measures. The program implements it over the data plane's counters.
pub trait Meters: Send + Sync {
    /// What happened since this was last called, and what is so now.
    fn measure(&self) -> Vec<Reading>;

    /// The time: seconds since 1970.
    fn now_seconds(&self) -> i64;
}

/// What was measured so far, and what measures on.
pub struct Monitoring {
    meters: Arc<dyn Meters>,
    series: Mutex<Series>,
}

impl Monitoring {
    /// Nothing yet, by these meters.
    pub fn new(meters: Arc<dyn Meters>) -> Self {
        Self { meters, series: Mutex::default() }
    }

    /// Measures now. Answers are about what was measured up to the question, so that whoever asks right after something
    /// happened hears of it.
    pub fn measure(&self) {
        drop(self.measured());
    }

    /// Forgets all of it.
    pub fn clear(&self) {
        *self.measured() = Series::default();
    }

    fn measured(&self) -> MutexGuard<'_, Series> {
        // Taken before anything is measured: what one call got the meters do not tell again.
        // A reading is recorded whole or not at all.
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let readings = self.meters.measure();
        series.record(self.meters.now_seconds(), readings);
        series
    }
}
