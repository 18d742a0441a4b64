//! Values of condition keys, and the decimal numbers and instants that operators compare.
//!
//! A value is read as the type that an operator needs; one that cannot be read as that type matches nothing.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One value of a condition key in a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text; also ARNs and decimal numbers.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// An address.
    Ip(IpAddr),
    /// An instant.
    Time(OffsetDateTime),
    /// Bytes.
    Binary(Vec<u8>),
}

impl Value {
    /// An instant in any form that policies write one in: ISO 8601, or seconds since 1970.
    #[must_use]
    pub fn instant(text: &str) -> Option<Self> {
        parse_instant(text).map(Self::Time)
    }

    /// The value as string operators and policy variables see it.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(_) | Self::Integer(_) | Self::Ip(_) | Self::Time(_) | Self::Binary(_) => {
                Cow::Owned(self.view().with_text(str::to_owned))
            }
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        match self {
            Self::Text(text) => View::Text(text),
            Self::Bool(truth) => View::Bool(*truth),
            Self::Integer(number) => View::Integer(*number),
            Self::Ip(address) => View::Ip(*address),
            Self::Time(instant) => View::Time(*instant),
            Self::Binary(bytes) => View::Binary(bytes),
        }
    }
}

/// A value of the context, or one that was derived and is kept nowhere.
#[derive(Debug, Clone, Copy)]
pub(crate) enum View<'a> {
    Text(&'a str),
    Bool(bool),
    Integer(i64),
    Ip(IpAddr),
    Time(OffsetDateTime),
    Binary(&'a [u8]),
}

impl View<'_> {
    /// Hands on the value as text. Only the text of bytes, which are long, takes memory.
    pub(crate) fn with_text<R>(self, read: impl FnOnce(&str) -> R) -> R {
        let mut short = ShortText::default();
        match self {
            Self::Text(text) => read(text),
            Self::Bool(true) => read("true"),
            Self::Bool(false) => read("false"),
            Self::Integer(number) => read(short.show(format_args!("{number}"))),
            Self::Ip(address) => read(short.show(format_args!("{address}"))),
            Self::Time(instant) => match instant.format_into(&mut short, &Rfc3339) {
                Ok(_) => read(short.as_str()),
                // Years outside 0..=9999 have no RFC 3339 form.
                Err(_) => Self::Integer(instant.unix_timestamp()).with_text(read),
            },
            Self::Binary(bytes) => read(&STANDARD.encode(bytes)),
        }
    }

    pub(crate) fn as_bool(self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(truth),
            Self::Text(text) => parse_bool(text),
            Self::Integer(_) | Self::Ip(_) | Self::Time(_) | Self::Binary(_) => None,
        }
    }

    /// Whether the value is a number, and this holds for it.
    pub(crate) fn is_number(self, test: impl Fn(Number<'_>) -> bool) -> bool {
        let read = |text: &str| Number::parse(text).is_some_and(&test);
        match self {
            Self::Text(_) | Self::Integer(_) => self.with_text(read),
            Self::Time(instant) => Self::Integer(instant.unix_timestamp()).with_text(read),
            Self::Bool(_) | Self::Ip(_) | Self::Binary(_) => false,
        }
    }

    pub(crate) fn as_ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.to_canonical()),
            Self::Text(text) => text.parse::<IpAddr>().ok().map(|address| address.to_canonical()),
            Self::Bool(_) | Self::Integer(_) | Self::Time(_) | Self::Binary(_) => None,
        }
    }

    pub(crate) fn as_instant(self) -> Option<OffsetDateTime> {
        match self {
            Self::Time(instant) => Some(instant),
            Self::Integer(seconds) => OffsetDateTime::from_unix_timestamp(seconds).ok(),
            Self::Text(text) => parse_instant(text),
            Self::Bool(_) | Self::Ip(_) | Self::Binary(_) => None,
        }
    }

    pub(crate) fn is_binary(self, test: impl Fn(&[u8]) -> bool) -> bool {
        match self {
            Self::Binary(bytes) => test(bytes),
            Self::Text(text) => parse_binary(text).is_some_and(|bytes| test(&bytes)),
            Self::Bool(_) | Self::Integer(_) | Self::Ip(_) | Self::Time(_) => false,
        }
    }

    /// AWS counts a set of empty strings as an empty set.
    pub(crate) fn is_blank(self) -> bool {
        matches!(self, Self::Text(""))
    }
}

/// Room for the text of a number, an address or an instant, which all are shorter.
struct ShortText {
    bytes: [u8; 64],
    length: usize,
}

impl Default for ShortText {
    fn default() -> Self {
        Self { bytes: [0; 64], length: 0 }
    }
}

impl ShortText {
    fn show(&mut self, what: fmt::Arguments<'_>) -> &str {
        // INVARIANT: nothing that is shown here is longer than the room.
        let fits = io::Write::write_fmt(self, what).is_ok();
        debug_assert!(fits, "`{what}` is not short");
        self.as_str()
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

/// In memory: `std::io` is where the formatting of instants wants to write.
impl io::Write for ShortText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.length + bytes.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(io::ErrorKind::WriteZero)?;
        room.copy_from_slice(bytes);
        self.length = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

macro_rules! value_from {
    ($($from:ty => |$value:ident| $into:expr),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $into
            }
        })+
    };
}

value_from! {
    &str => |value| Self::Text(value.to_owned()),
    String => |value| Self::Text(value),
    bool => |value| Self::Bool(value),
    i64 => |value| Self::Integer(value),
    i32 => |value| Self::Integer(i64::from(value)),
    u32 => |value| Self::Integer(i64::from(value)),
    IpAddr => |value| Self::Ip(value),
    std::net::Ipv4Addr => |value| Self::Ip(IpAddr::V4(value)),
    std::net::Ipv6Addr => |value| Self::Ip(IpAddr::V6(value)),
    OffsetDateTime => |value| Self::Time(value),
    Vec<u8> => |value| Self::Binary(value),
}

pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

pub(crate) fn parse_binary(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// ISO 8601 as in W3C's profile (a year at least; a missing offset means UTC), or seconds since 1970.
pub(crate) fn parse_instant(text: &str) -> Option<OffsetDateTime> {
    if text.len() > 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return OffsetDateTime::from_unix_timestamp(text.parse().ok()?).ok();
    }
    let (date, time) = text.split_once(['T', 't']).unwrap_or((text, "00:00:00Z"));
    let date = match date.len() {
        4 => format!("{date}-01-01"),
        7 => format!("{date}-01"),
        _ => date.to_owned(),
    };
    let offset_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, offset) = time.split_at(offset_at);
    let seconds = if clock.len() == 5 { ":00" } else { "" };
    let offset = match offset {
        "" => "Z".to_owned(),
        compact if compact.len() == 5 && compact.is_ascii() && !compact.contains(':') => {
            format!("{}:{}", &compact[..3], &compact[3..])
        }
        other => other.to_owned(),
    };
    OffsetDateTime::parse(&format!("{date}T{clock}{seconds}{offset}"), &Rfc3339).ok()
}

/// A decimal number, exact whatever its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<'a> {
    negative: bool,
    /// Without leading zeros.
    whole: &'a str,
    /// Without trailing zeros.
    fraction: &'a str,
}

/// A number of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnNumber {
    negative: bool,
    whole: Box<str>,
    fraction: Box<str>,
}

impl OwnNumber {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Number { negative, whole, fraction } = Number::parse(text)?;
        Some(Self { negative, whole: whole.into(), fraction: fraction.into() })
    }

    pub(crate) fn view(&self) -> Number<'_> {
        Number { negative: self.negative, whole: &self.whole, fraction: &self.fraction }
    }
}

impl<'a> Number<'a> {
    /// Reads digits with an optional sign and an optional fraction; no exponents, at most 64 characters.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (minus, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (digits, ""),
        };
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || text.len() > 64 || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let zero = whole.is_empty() && fraction.is_empty();
        Some(Self { negative: minus && !zero, whole, fraction })
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        let by_length = self.whole.len().cmp(&other.whole.len());
        by_length.then_with(|| self.whole.cmp(other.whole)).then_with(|| self.fraction.cmp(other.fraction))
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.magnitude(other),
            (true, true) => other.magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::{Number, OwnNumber, View, parse_instant};
    use proptest::prelude::*;
    use time::OffsetDateTime;

    proptest! {
        #[test]
        fn numbers_order_like_integers(left in any::<i32>(), right in any::<i32>(), scale in 0_usize..6) {
            let as_number = |value: i32| {
                let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
                let (whole, fraction) = digits.split_at(digits.len() - scale);
                let sign = if value < 0 { "-" } else { "" };
                let point = if scale == 0 { "" } else { "." };
                OwnNumber::parse(&format!("{sign}{whole}{point}{fraction}")).unwrap()
            };
            prop_assert_eq!(as_number(left).view().cmp(&as_number(right).view()), left.cmp(&right));
        }
    }

    #[test]
    fn the_longest_texts_are_short() {
        let address = std::net::Ipv6Addr::from([0xffff; 8]);
        let year_9999 =
            OffsetDateTime::from_unix_timestamp(253_402_300_799).unwrap().replace_nanosecond(123_456_789);
        for (view, text) in [
            (View::Integer(i64::MIN), "-9223372036854775808"),
            (View::Ip(address.into()), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            (View::Time(year_9999.unwrap()), "9999-12-31T23:59:59.123456789Z"),
            (View::Time(OffsetDateTime::from_unix_timestamp(-99_999_999_999).unwrap()), "-99999999999"),
        ] {
            assert_eq!(view.with_text(str::to_owned), text);
        }
    }

    #[test]
    fn numbers_that_are_none() {
        for text in ["", "-", ".5", "5.", "1e3", "0x10", "1 ", "NaN", "inf"] {
            assert_eq!(Number::parse(text), None, "{text}");
        }
        assert_eq!(Number::parse("-0.0"), Number::parse("0"));
        assert_eq!(Number::parse("007.50"), Number::parse("7.5"));
    }

    #[test]
    fn instants_in_every_accepted_form() {
        for text in [
            "2024-01-01",
            "2024",
            "2024-01",
            "2024-01-01T00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.000Z",
            "2024-01-01T01:00:00+01:00",
            "2024-01-01T01:00+0100",
            "1704067200",
        ] {
            assert_eq!(parse_instant(text).map(|at| at.unix_timestamp()), Some(1_704_067_200), "{text}");
        }
        for text in ["", "tomorrow", "2024-13-01", "2024-01-01T", "T", "2024-01-01T00:00:00é", "é-é"] {
            assert_eq!(parse_instant(text), None, "{text}");
        }
    }
}
