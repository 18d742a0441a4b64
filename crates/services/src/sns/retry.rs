//! How deliveries are repeated: the delivery policy of a subscription, and the pauses that follow from it.
//!
//! From "Amazon SNS message delivery retries" in the developer guide: four phases, one after the other (no delay, a least
//! delay, a growing one, the greatest one). AWS names four ways to grow and gives no formula for them; these are ours.

use serde::{Deserialize, Serialize};

/// The retries of `http` and `https` endpoints, as a delivery policy names them. What is left out is as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// Seconds.
    pub min_delay_target: u32,
    /// Seconds.
    pub max_delay_target: u32,
    /// How many in all.
    pub num_retries: u32,
    /// How many of them with the greatest delay.
    pub num_max_delay_retries: u32,
    /// How many of them at once.
    pub num_no_delay_retries: u32,
    /// How many of them with the least delay.
    pub num_min_delay_retries: u32,
    /// How delays grow between the least and the greatest.
    pub backoff_function: Backoff,
}

/// How delays grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Each by more than the one before, by a fixed step.
    Arithmetic,
    /// Each by many times the one before.
    Exponential,
    /// Each by a fixed factor.
    Geometric,
    /// Each by as much.
    Linear,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            min_delay_target: 20,
            max_delay_target: 20,
            num_retries: 3,
            num_max_delay_retries: 0,
            num_no_delay_retries: 0,
            num_min_delay_retries: 0,
            backoff_function: Backoff::Linear,
        }
    }
}

/// A whole delivery policy of a subscription.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeliveryPolicy {
    healthy_retry_policy: Option<RetryPolicy>,
}

/// "The total … can't exceed 3,600 seconds", which is one delay's bound as well.
const MAX_SECONDS: u64 = 3_600;
/// "0 to 100".
const MAX_RETRIES: u32 = 100;

impl RetryPolicy {
    /// The retries that a delivery policy's text asks for.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy: DeliveryPolicy = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let retries = policy.healthy_retry_policy.unwrap_or_default();
        retries.check().map(|()| retries)
    }

    /// Those of a subscription; one that cannot be read, which none is that was set, has the usual ones.
    pub fn of(policy: Option<&str>) -> Self {
        policy.and_then(|text| Self::parse(text).ok()).unwrap_or_default()
    }

    fn check(&self) -> Result<(), String> {
        let parts = [self.num_no_delay_retries, self.num_min_delay_retries, self.num_max_delay_retries];
        let phases: u64 = parts.iter().copied().map(u64::from).sum();
        let problems = [
            (self.num_retries > MAX_RETRIES, "numRetries must be less than or equal to 100"),
            (self.min_delay_target == 0, "minDelayTarget must be greater than or equal to 1"),
            (
                self.min_delay_target > self.max_delay_target,
                "minDelayTarget must be less than or equal to maxDelayTarget",
            ),
            (phases > u64::from(self.num_retries), "the phases must not have more retries than numRetries"),
        ];
        if let Some((_, why)) = problems.iter().find(|(is, _)| *is) {
            return Err((*why).to_owned());
        }
        let total: u64 = self.delays_seconds().map(u64::from).sum();
        if total > MAX_SECONDS {
            return Err(format!(
                "the total of all delays must be less than or equal to 3600 seconds, and is {total}"
            ));
        }
        Ok(())
    }

    /// The pauses before each retry, in seconds.
    pub fn delays_seconds(&self) -> impl Iterator<Item = u32> + use<> {
        let policy = *self;
        let backoff = self
            .num_retries
            .saturating_sub(self.num_no_delay_retries)
            .saturating_sub(self.num_min_delay_retries)
            .saturating_sub(self.num_max_delay_retries);
        let times = |count: u32, seconds: u32| (0..count).map(move |_| seconds);
        times(policy.num_no_delay_retries, 0)
            .chain(times(policy.num_min_delay_retries, policy.min_delay_target))
            .chain((1..=backoff).map(move |at| policy.grown(f64::from(at) / f64::from(backoff))))
            .chain(times(policy.num_max_delay_retries, policy.max_delay_target))
    }

    /// The delay after this part of the growing phase.
    fn grown(&self, part: f64) -> u32 {
        let (least, most) = (f64::from(self.min_delay_target), f64::from(self.max_delay_target));
        let delay = match self.backoff_function {
            Backoff::Linear => least + (most - least) * part,
            Backoff::Arithmetic => least + (most - least) * part * part,
            Backoff::Geometric => least * (most / least).powf(part),
            Backoff::Exponential => least + (most - least) * ((10.0 * part).exp2() - 1.0) / 1_023.0,
        };
        // Between two numbers of seconds that fit.
        delay.round() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(text: &str) -> Vec<u32> {
        RetryPolicy::parse(text).unwrap().delays_seconds().collect()
    }

    #[test]
    fn the_usual_retries_are_those_of_aws() {
        assert_eq!(delays("{}"), [20, 20, 20]);
        assert_eq!(RetryPolicy::of(None), RetryPolicy::default());
    }

    #[test]
    fn the_phases_follow_each_other() {
        let policy = |function: &str| {
            delays(&format!(
                r#"{{"healthyRetryPolicy": {{"minDelayTarget": 1, "maxDelayTarget": 16, "numRetries": 8,
                "numNoDelayRetries": 1, "numMinDelayRetries": 1, "numMaxDelayRetries": 2,
                "backoffFunction": "{function}"}}}}"#
            ))
        };
        assert_eq!(policy("linear"), [0, 1, 5, 9, 12, 16, 16, 16]);
        assert_eq!(policy("arithmetic"), [0, 1, 2, 5, 9, 16, 16, 16]);
        assert_eq!(policy("geometric"), [0, 1, 2, 4, 8, 16, 16, 16]);
        assert_eq!(policy("exponential"), [0, 1, 1, 1, 4, 16, 16, 16]);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let retries = |text: &str| RetryPolicy::parse(&format!(r#"{{"healthyRetryPolicy": {{{text}}}}}"#));
        for wrong in [
            r#""numRetries": 101"#,
            r#""minDelayTarget": 0"#,
            r#""minDelayTarget": 30"#,
            r#""numNoDelayRetries": 2, "numMaxDelayRetries": 2"#,
            r#""maxDelayTarget": 3600, "numRetries": 3"#,
            r#""numRetrys": 1"#,
            r#""backoffFunction": "quadratic""#,
        ] {
            assert!(retries(wrong).is_err(), "{wrong}");
        }
        assert!(RetryPolicy::parse("{\"throttlePolicy\": {}}").is_err());
        assert!(retries(r#""numRetries": 0"#).is_ok());
    }
}
