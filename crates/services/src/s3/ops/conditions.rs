//! Conditional requests: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, on reads, writes and copy
//! sources.
//! Source: RFC 9110 section 13; <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html>

use http::header::{ETAG, HeaderValue, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, StatusCode};
use s3s::dto::{ETagCondition, Timestamp, TimestampFormat};

use super::Failure;
use super::shape::{timestamp_seconds, unix_seconds};
use crate::s3::storage::Precondition;
use crate::s3::storage::record::Object;

/// Conditions on an object that is to be read.
pub(super) struct ReadConditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

enum Outcome {
    Holds,
    Fails(&'static str),
    NotModified(&'static str),
}

impl ReadConditions {
    fn outcome(&self, object: &Object) -> Outcome {
        let modified = i64::try_from(object.modified / 1000).unwrap_or(i64::MAX);
        let matches = |condition: &ETagCondition| match condition.as_etag() {
            None => true,
            Some(etag) => etag.value() == object.etag,
        };
        // Each pair: the ETag, if given, decides alone.
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition) => return Outcome::Fails("If-Match"),
            (None, Some(since)) if modified > unix_seconds(since) => {
                return Outcome::Fails("If-Unmodified-Since");
            }
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if matches(condition) => Outcome::NotModified("If-None-Match"),
            (None, Some(since)) if modified <= unix_seconds(since) => {
                Outcome::NotModified("If-Modified-Since")
            }
            _ => Outcome::Holds,
        }
    }

    /// For GET and HEAD.
    pub(super) fn check(&self, object: &Object) -> Result<(), Failure> {
        match self.outcome(object) {
            Outcome::Holds => Ok(()),
            Outcome::Fails(condition) => Err(Failure::precondition(condition)),
            Outcome::NotModified(_) => Err(not_modified(object)),
        }
    }

    /// For the source of a copy, where nothing is "not modified".
    pub(super) fn check_source(&self, object: &Object) -> Result<(), Failure> {
        match self.outcome(object) {
            Outcome::Holds => Ok(()),
            Outcome::Fails(condition) | Outcome::NotModified(condition) => {
                Err(Failure::precondition(&format!("x-amz-copy-source-{condition}")))
            }
        }
    }
}

fn not_modified(object: &Object) -> Failure {
    let mut failure = Failure::new(StatusCode::NOT_MODIFIED, "NotModified", "Not Modified");
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", object.etag)) {
        failure = failure.header(ETAG, etag);
    }
    let mut date = Vec::new();
    if timestamp_seconds(object.modified).format(TimestampFormat::HttpDate, &mut date).is_ok()
        && let Ok(date) = HeaderValue::from_bytes(&date)
    {
        failure = failure.header(LAST_MODIFIED, date);
    }
    failure
}

/// A condition in a header, for operations of which the protocol layer does not read it.
pub(super) fn header_condition(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Option<ETagCondition>, Failure> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let read = ETagCondition::parse_http_header(value.as_bytes());
    read.map(Some).map_err(|_| {
        let given = String::from_utf8_lossy(value.as_bytes()).into_owned();
        Failure::invalid_argument(name.as_str(), given, "The condition is neither an entity tag nor `*`")
    })
}

/// The condition of a write.
pub(super) fn write_condition(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> Result<Precondition, Failure> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (None, Some(condition)) if condition.is_any() => Ok(Precondition::Absent),
        // As on AWS, where only `*` may be given here.
        (None, Some(_)) => Err(Failure::not_implemented("If-None-Match")),
        (Some(condition), None) => Ok(match condition.as_etag() {
            None => Precondition::Present,
            Some(etag) => Precondition::Etag(etag.value().to_owned()),
        }),
        (Some(_), Some(_)) => Err(Failure::not_implemented("If-Match, If-None-Match")),
    }
}
