//! What follows from the outcomes of a target's checks.

use postern_model::elb::HealthCheck;
use postern_services::elbv2::health::{Failure, Seen};

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered well.
    Success,
    /// It did not.
    Failure(Failure),
    /// There was nowhere to check from yet.
    NotTried,
}

/// What the checks of one target saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    seen: Seen,
    /// How many checks in a row were like the last one.
    streak: u32,
    last_failed: bool,
}

impl Default for Record {
    fn default() -> Self {
        Self { seen: Seen::Nothing, streak: 0, last_failed: false }
    }
}

impl Record {
    /// What is to be said of the target.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Counts a check. "HealthyThresholdCount: the number of consecutive successful health checks required before
    /// considering an unhealthy target healthy"; a new target needs one.
    pub fn after(&mut self, outcome: Outcome, check: &HealthCheck) {
        let failed = match outcome {
            Outcome::NotTried => return,
            Outcome::Success => false,
            Outcome::Failure(_) => true,
        };
        self.streak = if failed == self.last_failed { self.streak.saturating_add(1) } else { 1 };
        self.last_failed = failed;
        self.seen = match (outcome, self.seen) {
            (Outcome::Success, Seen::Nothing | Seen::Beginning | Seen::Healthy) => Seen::Healthy,
            (Outcome::Success, Seen::Unhealthy(_)) if self.streak >= check.healthy_threshold => Seen::Healthy,
            (Outcome::Failure(failure), _) if self.streak >= check.unhealthy_threshold => {
                Seen::Unhealthy(failure)
            }
            (Outcome::Failure(_), Seen::Nothing) => Seen::Beginning,
            (_, seen) => seen,
        };
    }
}

#[cfg(test)]
mod tests {
    use postern_model::elb::{HealthPort, HealthProtocol};

    use super::*;

    fn seen(outcomes: &str) -> Seen {
        let check = HealthCheck {
            protocol: HealthProtocol::Tcp,
            port: HealthPort::Traffic,
            interval_seconds: 5,
            timeout_seconds: 2,
            healthy_threshold: 3,
            unhealthy_threshold: 2,
        };
        let mut record = Record::default();
        for outcome in outcomes.chars() {
            let outcome = match outcome {
                '+' => Outcome::Success,
                '-' => Outcome::Failure(Failure::Timeout),
                _ => Outcome::NotTried,
            };
            record.after(outcome, &check);
        }
        record.seen()
    }

    #[test]
    fn thresholds_count_checks_in_a_row() {
        let unhealthy = Seen::Unhealthy(Failure::Timeout);
        for (outcomes, expected) in [
            ("", Seen::Nothing),
            ("..", Seen::Nothing),
            ("-", Seen::Beginning),
            ("--", unhealthy),
            ("-.-", unhealthy),
            ("-+", Seen::Healthy),
            ("+", Seen::Healthy),
            ("+-", Seen::Healthy),
            ("+-+-+-", Seen::Healthy),
            ("+--", unhealthy),
            ("--++", unhealthy),
            ("--++-++", unhealthy),
            ("--+++", Seen::Healthy),
        ] {
            assert_eq!(seen(outcomes), expected, "{outcomes}");
        }
    }
}
