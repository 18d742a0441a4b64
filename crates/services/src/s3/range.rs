//! The `Range` header as S3 reads it: one range of bytes, or nothing.
//!
//! A `Range` that is not a range, is of another unit or names several is ignored, so the whole object is the answer
//! (RFC 9110, section 14.2: "a server MAY ignore the Range header field", and "MUST" where it does not understand the
//! unit; <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>: "Amazon S3 doesn't support retrieving
//! multiple ranges of data per GET request"). The protocol layer would refuse the request instead.

use http::header::{HeaderValue, RANGE};
use http::request::Parts;
use postern_wire::Timestamp;
use postern_wire::sigv4::{self, Placement, SecretAccessKey};

use super::precheck::KnownKey;
use super::signing::{Key, signed_parts};

/// What is to become of a header.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// It is a range that the protocol layer reads too.
    Range,
    /// It begins behind the end of any object.
    Beyond,
    /// It is none.
    Ignored,
}

/// A range that no object satisfies, written so that the protocol layer reads it.
const BEYOND: &str = "bytes=9223372036854775806-";

fn read(value: &str) -> Reading {
    let Some(range) = value.strip_prefix("bytes=").filter(|range| *range != "-") else {
        return Reading::Ignored;
    };
    if s3s::dto::Range::parse(value).is_ok() {
        return Reading::Range;
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match range.split_once('-') {
        // Only numbers that do not fit come here: anything else that is a range was read above.
        Some((first, last))
            if digits(first) && first.parse::<i64>().is_err() && (last.is_empty() || digits(last)) =>
        {
            Reading::Beyond
        }
        Some(_) | None => Reading::Ignored,
    }
}

/// Takes a header away that is none. Where its signature covers the header, the request is signed anew if it held.
pub(super) fn settle(parts: &mut Parts, key: Option<&KnownKey>, region: &str) {
    let mut given = parts.headers.get_all(RANGE).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return };
    let put = match value.to_str().map_or(Reading::Ignored, read) {
        Reading::Range => return,
        Reading::Beyond => Some(HeaderValue::from_static(BEYOND)),
        Reading::Ignored => None,
    };
    let claim = sigv4::parse(&signed_parts(parts)).ok().flatten();
    let covering = claim.filter(|claim| claim.signed_headers.iter().any(|name| name == RANGE.as_str()));
    let secret = key.map(|key| SecretAccessKey::new(key.secret.clone()));
    let anew = match (&covering, &secret) {
        (None, _) => None,
        (Some(claim), Some(secret)) if claim.placement == Placement::Header => {
            Some(Key { claim, secret, region, now: now() })
        }
        // A signature in the query string says how old it is, which policies ask about; it is left as it is.
        (Some(_), _) => return,
    };
    // A signature that does not hold is found by who checks it.
    if anew.as_ref().is_some_and(|key| !key.holds(parts)) {
        return;
    }
    match put {
        Some(value) => drop(parts.headers.insert(RANGE, value)),
        None => drop(parts.headers.remove(RANGE)),
    }
    if let Some(key) = anew {
        key.sign(parts);
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(i64::try_from(super::ops::now()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_range() {
        for range in ["bytes=0-0", "bytes=5-", "bytes=-7", "bytes=0-9223372036854775807"] {
            assert_eq!(read(range), Reading::Range, "{range}");
        }
        for beyond in ["bytes=9223372036854775808-", "bytes=99999999999999999999999-99999999999999999999999"]
        {
            assert_eq!(read(beyond), Reading::Beyond, "{beyond}");
        }
        assert!(s3s::dto::Range::parse(BEYOND).is_ok());
        for ignored in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-3",
            "lines=0-1",
            "bytes=0-1,3-4",
            "bytes=1",
        ] {
            assert_eq!(read(ignored), Reading::Ignored, "{ignored}");
        }
    }
}
