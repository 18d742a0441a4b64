//! What was measured: for each metric of an account a point for each minute in which there was something to say.
//!
//! Rules from "CloudWatch concepts" in the CloudWatch user guide: statistics, periods, retention.

use std::collections::{BTreeMap, VecDeque};

use postern_model::AccountId;

/// Seconds of a point: "AWS services send metrics in one-minute intervals".
pub const MINUTE: i64 = 60;
/// "Data points with a period of 60 seconds are available for 15 days."
const MINUTES_KEPT: i64 = 15 * 24 * 60;
/// Points that are kept of all metrics together. AWS has no such bound; this one is ours, some 100 MB.
const MOST_POINTS: usize = 2_000_000;
/// Metrics that are kept at most.
const MOST_METRICS: usize = 100_000;

/// Which metric: a name in a namespace, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// Such as `AWS/NetworkELB`.
    pub namespace: &'static str,
    /// Such as `ProcessedBytes`.
    pub name: &'static str,
    /// By their names.
    dimensions: Vec<(&'static str, String)>,
}

impl Metric {
    /// A metric of these dimensions, in any order.
    pub fn new(
        namespace: &'static str,
        name: &'static str,
        mut dimensions: Vec<(&'static str, String)>,
    ) -> Self {
        dimensions.sort();
        Self { namespace, name, dimensions }
    }

    /// Its dimensions, by their names.
    pub fn dimensions(&self) -> &[(&'static str, String)] {
        &self.dimensions
    }
}

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// AWS's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Bytes => "Bytes",
        }
    }
}

/// What was measured of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// So much more than at the last time. A minute has one sample of it: their sum.
    More(u64),
    /// So much now. Each time is a sample.
    Now(u64),
}

/// What was measured of a metric of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Whose.
    pub account: AccountId,
    /// Which.
    pub metric: Metric,
    /// Of what.
    pub unit: Unit,
    /// How much.
    pub value: Value,
}

/// The samples of a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// All of them together.
    pub sum: f64,
    /// The least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
    /// How many.
    pub samples: f64,
}

impl Point {
    fn one(value: f64) -> Self {
        Self { sum: value, least: value, greatest: value, samples: 1.0 }
    }

    fn with(self, other: Self) -> Self {
        Self {
            sum: self.sum + other.sum,
            least: self.least.min(other.least),
            greatest: self.greatest.max(other.greatest),
            samples: self.samples + other.samples,
        }
    }
}

/// The points of a metric.
#[derive(Debug)]
struct One {
    unit: Unit,
    /// By their minutes since 1970.
    points: VecDeque<(i64, Point)>,
}

/// All metrics.
#[derive(Debug, Default)]
pub struct Series {
    all: BTreeMap<(AccountId, Metric), One>,
    points: usize,
}

impl Series {
    /// Takes down what was measured at a time.
    pub fn record(&mut self, now_seconds: i64, readings: Vec<Reading>) {
        let minute = now_seconds.div_euclid(MINUTE);
        self.forget_before(minute - MINUTES_KEPT);
        for reading in readings {
            self.record_one(minute, reading);
        }
        while self.points > MOST_POINTS {
            let oldest = self.all.values().filter_map(|one| one.points.front()).map(|(at, _)| *at).min();
            let Some(oldest) = oldest else { return };
            self.forget_before(oldest + 1);
        }
    }

    fn record_one(&mut self, minute: i64, Reading { account, metric, unit, value }: Reading) {
        let key = (account, metric);
        if self.all.len() >= MOST_METRICS && !self.all.contains_key(&key) {
            tracing::debug!(
                most = MOST_METRICS,
                name = key.1.name,
                "a metric is not kept: there are too many"
            );
            return;
        }
        let one = self.all.entry(key).or_insert_with(|| One { unit, points: VecDeque::new() });
        let new = match value {
            Value::More(number) | Value::Now(number) => Point::one(number as f64),
        };
        // A clock that was set back adds to the last minute there is.
        match (one.points.back_mut(), value) {
            (Some((at, point)), Value::More(_)) if *at >= minute => {
                let sum = point.sum + new.sum;
                *point = Point { samples: point.samples, ..Point::one(sum) };
            }
            (Some((at, point)), Value::Now(_)) if *at >= minute => *point = point.with(new),
            (Some(_) | None, Value::More(_) | Value::Now(_)) => {
                one.points.push_back((minute, new));
                self.points += 1;
            }
        }
    }

    fn forget_before(&mut self, minute: i64) {
        let points = &mut self.points;
        self.all.retain(|_, one| {
            while one.points.front().is_some_and(|(at, _)| *at < minute) {
                one.points.pop_front();
                *points -= 1;
            }
            !one.points.is_empty()
        });
    }

    /// The metrics of an account, with the minute of the last point of each.
    pub fn metrics(&self, account: AccountId) -> impl Iterator<Item = (&Metric, i64)> {
        let own = self.all.iter().filter(move |((owner, _), _)| *owner == account);
        own.filter_map(|((_, metric), one)| Some((metric, one.points.back()?.0)))
    }

    /// The points of a metric in periods that begin at `from` and then every `period` seconds, before `to`, each with the
    /// second at which its period begins; and the metric's unit. None where there is no such metric.
    pub fn points(
        &self,
        account: AccountId,
        (namespace, name): (&str, &str),
        dimensions: &[(String, String)],
        (from, to, period): (i64, i64, i64),
    ) -> Option<(Unit, Vec<(i64, Point)>)> {
        let same = |metric: &Metric| {
            let given = dimensions.iter().map(|(name, value)| (name.as_str(), value));
            metric.namespace == namespace
                && metric.name == name
                && given.eq(metric.dimensions.iter().map(|(name, value)| (*name, value)))
        };
        let mut own = self.all.iter().filter(|((owner, metric), _)| *owner == account && same(metric));
        let (_, one) = own.next()?;
        let mut found: Vec<(i64, Point)> = Vec::new();
        let first = one.points.partition_point(|(minute, _)| minute * MINUTE < from);
        for (minute, point) in one.points.range(first..) {
            let at = minute * MINUTE;
            if at >= to {
                break;
            }
            let begins = from + (at - from).div_euclid(period) * period;
            match found.last_mut() {
                Some((last, together)) if *last == begins => *together = together.with(*point),
                Some(_) | None => found.push((begins, *point)),
            }
        }
        Some((one.unit, found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u64) -> AccountId {
        AccountId::from_number(number).unwrap()
    }

    fn reading(name: &'static str, value: Value) -> Reading {
        let metric = Metric::new("AWS/Test", name, vec![("B", "b".to_owned()), ("A", "a".to_owned())]);
        Reading { account: account(1), metric, unit: Unit::Count, value }
    }

    fn points(series: &Series, name: &str, range: (i64, i64, i64)) -> Vec<(i64, f64, f64, f64, f64)> {
        let dimensions = [("A", "a"), ("B", "b")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let found = series.points(account(1), ("AWS/Test", name), &dimensions, range);
        let all = found.map(|(_, points)| points).unwrap_or_default();
        all.into_iter().map(|(at, p)| (at, p.sum, p.least, p.greatest, p.samples)).collect()
    }

    #[test]
    fn what_was_added_is_one_sample_of_a_minute_and_what_is_so_is_many() {
        let mut series = Series::default();
        for (at, more, now) in [(600, 5, 3), (630, 7, 1), (660, 1, 4), (780, 2, 9)] {
            series.record(at, vec![reading("More", Value::More(more)), reading("Now", Value::Now(now))]);
        }
        let all = (600, 900, 60);
        assert_eq!(
            points(&series, "More", all),
            [(600, 12.0, 12.0, 12.0, 1.0), (660, 1.0, 1.0, 1.0, 1.0), (780, 2.0, 2.0, 2.0, 1.0)]
        );
        assert_eq!(
            points(&series, "Now", all),
            [(600, 4.0, 1.0, 3.0, 2.0), (660, 4.0, 4.0, 4.0, 1.0), (780, 9.0, 9.0, 9.0, 1.0)]
        );
        // Periods begin where the question begins, and its end is not among them.
        assert_eq!(
            points(&series, "More", (540, 780, 120)),
            [(540, 12.0, 12.0, 12.0, 1.0), (660, 1.0, 1.0, 1.0, 1.0)]
        );
        assert_eq!(points(&series, "More", (600, 900, 300)), [(600, 15.0, 1.0, 12.0, 3.0)]);
        assert_eq!(points(&series, "Other", all), []);
    }

    #[test]
    fn what_is_old_is_forgotten_with_its_metric() {
        let mut series = Series::default();
        series.record(0, vec![reading("Old", Value::More(1)), reading("New", Value::More(1))]);
        let late = (MINUTES_KEPT + 1) * MINUTE;
        series.record(late, vec![reading("New", Value::More(2))]);
        let names: Vec<_> = series.metrics(account(1)).map(|(metric, _)| metric.name).collect();
        assert_eq!(names, ["New"]);
        assert_eq!(points(&series, "New", (0, late + 60, 60)), [(late, 2.0, 2.0, 2.0, 1.0)]);
        assert_eq!(series.points, 1);
        assert_eq!(series.metrics(account(2)).count(), 0);
    }
}
