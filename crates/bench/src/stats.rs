//! Medians and percentiles.

/// The middle of some figures; not a number if there are none.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
    figures.sort_by(f64::total_cmp);
    let (low, high) = (figures.len().saturating_sub(1) / 2, figures.len() / 2);
    match (figures.get(low), figures.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        (_, _) => f64::NAN,
    }
}

/// Times of one kind, in nanoseconds.
#[derive(Debug, Clone, Default)]
pub struct Times {
    nanoseconds: Vec<u64>,
    sorted: bool,
}

/// Times that are kept at most.
const MOST: usize = 4_000_000;

impl Times {
    /// One more. Beyond what is kept, it is left out.
    pub fn add(&mut self, time: std::time::Duration) {
        if self.nanoseconds.len() < MOST {
            self.nanoseconds.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            self.sorted = false;
        }
    }

    /// Those of another.
    pub fn extend(&mut self, other: &Self) {
        let room = MOST.saturating_sub(self.nanoseconds.len());
        self.nanoseconds.extend(other.nanoseconds.iter().take(room));
        self.sorted = false;
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.nanoseconds.len()
    }

    /// The time that this part of all is not above, in microseconds.
    pub fn percentile(&mut self, part: f64) -> f64 {
        if !self.sorted {
            self.nanoseconds.sort_unstable();
            self.sorted = true;
        }
        let last = self.nanoseconds.len().saturating_sub(1);
        let at = (last as f64 * part).ceil() as usize;
        self.nanoseconds.get(at.min(last)).map_or(f64::NAN, |nanoseconds| *nanoseconds as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0, f64::NAN]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let mut times = Times::default();
        (0..=100).rev().for_each(|n| times.add(Duration::from_micros(n)));
        assert_eq!(
            (times.percentile(0.5), times.percentile(0.99), times.percentile(1.0)),
            (50.0, 99.0, 100.0)
        );
        assert!(Times::default().percentile(0.5).is_nan());
    }
}
