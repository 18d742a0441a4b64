//! Points in time, to the millisecond, and the forms in which AWS writes them.

use std::fmt;

use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::{OffsetDateTime, PrimitiveDateTime};

/// Milliseconds since 1970-01-01 UTC, between the years 1 and 9999.
///
/// INVARIANT: every value can be written as a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// What is not a date in the form asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date and time")]
pub struct NotATimestamp(pub String);

const EARLIEST_MILLIS: i64 = -62_135_596_800_000;
const LATEST_MILLIS: i64 = 253_402_300_799_999;

impl Timestamp {
    /// The start of 1970.
    pub const EPOCH: Self = Self(0);

    /// Milliseconds since 1970; beyond the years that can be written, the nearest one that can.
    pub const fn from_millis(millis: i64) -> Self {
        if millis < EARLIEST_MILLIS {
            Self(EARLIEST_MILLIS)
        } else if millis > LATEST_MILLIS {
            Self(LATEST_MILLIS)
        } else {
            Self(millis)
        }
    }

    /// Seconds since 1970; beyond the years that can be written, the nearest one that can.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The same point `seconds` later (or earlier).
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_millis(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// `2026-01-31T12:34:56.789Z`, as EC2 and S3 write.
    pub fn iso_millis(self) -> String {
        let at = self.date_time();
        format!("{}.{:03}Z", seconds_text(at), at.millisecond())
    }

    /// `2026-01-31T12:34:56Z`, as IAM and STS write.
    pub fn iso_seconds(self) -> String {
        format!("{}Z", seconds_text(self.date_time()))
    }

    /// `20260131T123456Z`, as SigV4 writes.
    pub fn basic(self) -> String {
        seconds_text(self.date_time()).replace(['-', ':'], "") + "Z"
    }

    /// `20260131`, the date of a credential scope.
    pub fn basic_date(self) -> String {
        let mut basic = self.basic();
        basic.truncate(8);
        basic
    }

    /// `Sat, 31 Jan 2026 12:34:56 GMT`, as in HTTP headers.
    pub fn http_date(self) -> String {
        let at = self.date_time();
        let day = &at.weekday().to_string()[..3];
        let month = &at.month().to_string()[..3];
        let (hour, minute, second) = at.to_hms();
        format!("{day}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT", at.day(), at.year())
    }

    /// Reads an ISO 8601 date and time with a zone, or without one, which means UTC.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse_iso(text: &str) -> Result<Self, NotATimestamp> {
        let zoned = OffsetDateTime::parse(text, &Rfc3339).ok();
        let parsed = zoned.or_else(|| OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).ok());
        parsed.map(Self::from_date_time).ok_or_else(|| NotATimestamp(text.to_owned()))
    }

    /// Reads `20260131T123456Z`, and nothing else.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse_basic(text: &str) -> Result<Self, NotATimestamp> {
        let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        if text.len() != 16 {
            return Err(NotATimestamp(text.to_owned()));
        }
        PrimitiveDateTime::parse(text, &format)
            .map(|at| Self::from_date_time(at.assume_utc()))
            .map_err(|_| NotATimestamp(text.to_owned()))
    }

    /// Reads the date of an HTTP or mail header.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse_http(text: &str) -> Result<Self, NotATimestamp> {
        OffsetDateTime::parse(text, &Rfc2822)
            .map(Self::from_date_time)
            .map_err(|_| NotATimestamp(text.to_owned()))
    }

    fn from_date_time(at: OffsetDateTime) -> Self {
        let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
        Self::from_millis(i64::try_from(millis).unwrap_or(if millis < 0 { i64::MIN } else { i64::MAX }))
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(at: std::time::SystemTime) -> Self {
        Self::from_date_time(at.into())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.iso_millis())
    }
}

fn seconds_text(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_hms();
    format!("{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}", at.year(), u8::from(at.month()), at.day())
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn one_instant_in_every_form() {
        let at = Timestamp::from_millis(1_769_862_896_789);
        assert_eq!(at.iso_millis(), "2026-01-31T12:34:56.789Z");
        assert_eq!(at.iso_seconds(), "2026-01-31T12:34:56Z");
        assert_eq!(at.basic(), "20260131T123456Z");
        assert_eq!(at.basic_date(), "20260131");
        assert_eq!(at.http_date(), "Sat, 31 Jan 2026 12:34:56 GMT");
        let whole = Timestamp::from_seconds(at.seconds());
        assert_eq!(Timestamp::parse_basic(&at.basic()), Ok(whole));
        assert_eq!(Timestamp::parse_http(&at.http_date()), Ok(whole));
        assert_eq!(Timestamp::parse_http("Sat, 31 Jan 2026 12:34:56 -0000"), Ok(whole));
        assert_eq!(Timestamp::parse_iso("2026-01-31T12:34:56.789"), Ok(at));
        assert_eq!(Timestamp::parse_iso("2026-01-31T13:34:56.789+01:00"), Ok(at));
    }

    #[test]
    fn what_is_not_a_date_is_refused() {
        for text in ["", "20260131T123456", "20260132T123456Z", "2026-01-31T12:34:56Z", "+0260131T123456Z"] {
            assert!(Timestamp::parse_basic(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_ends_of_time_can_be_written() {
        assert_eq!(Timestamp::from_millis(i64::MIN).iso_seconds(), "0001-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).iso_millis(), "9999-12-31T23:59:59.999Z");
    }
}
