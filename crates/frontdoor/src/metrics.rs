//! Counters of the front door, in Prometheus's text format.
//!
//! INVARIANT: the number of series is bounded: operations are counted by name only where their service knows them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Beyond these many series, requests are counted as `other`.
const SERIES_MAX: usize = 4096;
/// Upper bounds of the latency histogram, in seconds.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// The front door's counters.
#[derive(Debug, Default)]
pub struct Metrics {
    series: Mutex<Series>,
    counters: [AtomicU64; Counter::ALL.len()],
}

#[derive(Debug, Default)]
struct Series {
    requests: BTreeMap<(String, String, String), u64>,
    latency: BTreeMap<String, Histogram>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// Things that happen to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// A connection was accepted.
    ConnectionAccepted,
    /// A connection came from an address that stands for nobody, and was closed.
    PeerUnknown,
    /// A connection was closed because its sender had too many.
    PeerOverLimit,
    /// A connection was closed because its interface had too many.
    InterfaceOverLimit,
    /// A connection was closed because its account had too many.
    AccountOverLimit,
    /// The server waited because it had as many connections as it may.
    ConnectionsExhausted,
    /// A TLS handshake failed.
    TlsFailed,
    /// A connection ended by an error: garbage, a time limit, a reset.
    ConnectionBroken,
    /// A task of a connection panicked, which is a bug.
    TaskPanicked,
    /// An audit record was written.
    AuditWritten,
    /// An audit record could not be written.
    AuditLost,
    /// The audit log was to be rotated and could not be: it goes on in the same file.
    AuditNotRotated,
}

impl Counter {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::ConnectionAccepted,
        Self::PeerUnknown,
        Self::PeerOverLimit,
        Self::InterfaceOverLimit,
        Self::AccountOverLimit,
        Self::ConnectionsExhausted,
        Self::TlsFailed,
        Self::ConnectionBroken,
        Self::TaskPanicked,
        Self::AuditWritten,
        Self::AuditLost,
        Self::AuditNotRotated,
    ];

    /// The metric's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectionAccepted => "postern_frontdoor_connections_total",
            Self::PeerUnknown => "postern_frontdoor_unknown_peers_total",
            Self::PeerOverLimit => "postern_frontdoor_peer_connections_refused_total",
            Self::InterfaceOverLimit => "postern_frontdoor_interface_connections_refused_total",
            Self::AccountOverLimit => "postern_frontdoor_account_connections_refused_total",
            Self::ConnectionsExhausted => "postern_frontdoor_connections_exhausted_total",
            Self::TlsFailed => "postern_frontdoor_tls_failures_total",
            Self::ConnectionBroken => "postern_frontdoor_connections_broken_total",
            Self::TaskPanicked => "postern_frontdoor_panics_total",
            Self::AuditWritten => "postern_frontdoor_audit_records_total",
            Self::AuditLost => "postern_frontdoor_audit_records_lost_total",
            Self::AuditNotRotated => "postern_frontdoor_audit_rotations_failed_total",
        }
    }
}

impl Metrics {
    /// One more of these.
    pub fn count(&self, counter: Counter) {
        self.counters[counter as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// So many more of these.
    pub fn count_many(&self, counter: Counter, count: u64) {
        self.counters[counter as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// How many of these there were.
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// Counts a request: its service, its operation, `OK` or the code of its error, and how long it took.
    pub fn request(&self, service: &str, operation: &str, code: &str, took: Duration) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (service.to_owned(), operation.to_owned(), code.to_owned());
        if series.requests.len() >= SERIES_MAX && !series.requests.contains_key(&key) {
            key = ("other".to_owned(), "other".to_owned(), "other".to_owned());
        }
        let latency_of = key.0.clone();
        *series.requests.entry(key).or_default() += 1;
        let histogram = series.latency.entry(latency_of).or_default();
        let seconds = took.as_secs_f64();
        for (count, bound) in histogram.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= bound);
        }
        histogram.count += 1;
        histogram.seconds += seconds;
    }

    /// All of it in Prometheus's text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for counter in Counter::ALL {
            let _ = writeln!(text, "# TYPE {0} counter\n{0} {1}", counter.name(), self.get(counter));
        }
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        text.push_str("# TYPE postern_requests_total counter\n");
        for ((service, operation, code), count) in &series.requests {
            let _ = writeln!(
                text,
                "postern_requests_total{{service=\"{service}\",operation=\"{operation}\",code=\"{code}\"}} {count}"
            );
        }
        text.push_str("# TYPE postern_request_duration_seconds histogram\n");
        for (service, histogram) in &series.latency {
            histogram.render(&mut text, service);
        }
        text
    }
}

impl Histogram {
    fn render(&self, text: &mut String, service: &str) {
        let name = "postern_request_duration_seconds";
        for (count, bound) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(text, "{name}_bucket{{service=\"{service}\",le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(text, "{name}_bucket{{service=\"{service}\",le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(text, "{name}_sum{{service=\"{service}\"}} {}", self.seconds);
        let _ = writeln!(text, "{name}_count{{service=\"{service}\"}} {}", self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_and_timed() {
        let metrics = Metrics::default();
        metrics.request("iam", "GetUser", "OK", Duration::from_millis(2));
        metrics.request("iam", "GetUser", "OK", Duration::from_millis(20));
        metrics.count(Counter::PeerUnknown);
        let text = metrics.render();
        for line in [
            "postern_requests_total{service=\"iam\",operation=\"GetUser\",code=\"OK\"} 2",
            "postern_request_duration_seconds_bucket{service=\"iam\",le=\"0.0025\"} 1",
            "postern_request_duration_seconds_bucket{service=\"iam\",le=\"+Inf\"} 2",
            "postern_frontdoor_unknown_peers_total 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn series_are_bounded() {
        let metrics = Metrics::default();
        for n in 0..2 * SERIES_MAX {
            metrics.request("s", &format!("Op{n}"), "OK", Duration::ZERO);
        }
        assert!(metrics.series.lock().unwrap().requests.len() <= SERIES_MAX + 1);
    }
}
