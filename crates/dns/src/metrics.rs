//! What became of queries, counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! results {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What became of a query.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum QueryResult { $($(#[$doc])* $name,)* }

        impl QueryResult {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As metrics label it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

results! {
    /// Answered with addresses or a name.
    Answered = "answered",
    /// The name is there, without what was asked for.
    NoData = "no-data",
    /// Nobody has the name.
    Unknown = "unknown",
    /// The VPC's resolver is off: no answer.
    Off = "off",
    /// No query, or one of a kind that is not served.
    Malformed = "malformed",
    /// Whoever asks is nobody in the region: no answer.
    NobodyKnown = "nobody-known",
    /// A resolver of the host's answered.
    Forwarded = "forwarded",
    /// None of them did, or none is known.
    Failed = "failed",
    /// Too many queries were under way, in all or of one VPC.
    Busy = "busy",
}

/// How many queries ended in which way.
#[derive(Debug, Default)]
pub struct Metrics([AtomicU64; QueryResult::ALL.len()]);

impl Metrics {
    pub(crate) fn count(&self, result: QueryResult) {
        if let Some(counter) = self.0.get(result as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many ended in this way.
    pub fn get(&self, result: QueryResult) -> u64 {
        self.0.get(result as usize).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}
