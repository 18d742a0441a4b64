//! GetObject and HeadObject.

use std::ops::Range as Span;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;
use s3s::stream::{ByteStream, RemainingLength};

use super::conditions::ReadConditions;
use super::shape::{self, check_payer, put_checksum, refuse, timestamp_seconds, which};
use super::target::{self, Target, tell};
use super::{Failure, Keys, Session};
use crate::s3::storage::blob::{ContentStream, Source};
use crate::s3::storage::record::Object as Stored;
use crate::s3::storage::version::Which;

/// What S3 calls content of which nobody said what it is.
const UNKNOWN_TYPE: &str = "binary/octet-stream";

/// Response headers that the query overrides.
struct Overrides {
    cache_control: Option<String>,
    content_disposition: Option<String>,
    content_encoding: Option<String>,
    content_language: Option<String>,
    content_type: Option<String>,
    expires: Option<Timestamp>,
}

/// What GetObject and HeadObject have in common.
struct Look {
    bucket: String,
    key: String,
    owner: Option<String>,
    conditions: ReadConditions,
    part: Option<i32>,
    range: Option<Range>,
    which: Which,
    checksum: bool,
    overrides: Overrides,
}

/// The answer to a look, before the bytes.
struct Found {
    object: Stored,
    source: Source,
    span: Span<u64>,
    partial: bool,
    part: Option<u32>,
    version: Option<String>,
    /// How many tags it has, if the caller may know.
    tags: Option<usize>,
}

macro_rules! look_of {
    ($kind:ident, $input:expr) => {{
        let $kind {
            bucket,
            checksum_mode,
            expected_bucket_owner,
            if_match,
            if_modified_since,
            if_none_match,
            if_unmodified_since,
            key,
            part_number,
            range,
            request_payer,
            response_cache_control,
            response_content_disposition,
            response_content_encoding,
            response_content_language,
            response_content_type,
            response_expires,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            version_id,
        } = $input;
        refuse! {
            sse_customer_algorithm => "x-amz-server-side-encryption-customer-algorithm",
            sse_customer_key => "x-amz-server-side-encryption-customer-key",
            sse_customer_key_md5 => "x-amz-server-side-encryption-customer-key-md5",
        }
        check_payer(request_payer.as_ref())?;
        Look {
            bucket,
            key,
            owner: expected_bucket_owner,
            conditions: ReadConditions { if_match, if_none_match, if_modified_since, if_unmodified_since },
            part: part_number,
            range,
            which: which(version_id.as_deref())?,
            checksum: wants_checksum(checksum_mode.as_ref())?,
            overrides: Overrides {
                cache_control: response_cache_control,
                content_disposition: response_content_disposition,
                content_encoding: response_content_encoding,
                content_language: response_content_language,
                content_type: response_content_type,
                expires: response_expires,
            },
        }
    }};
}

macro_rules! describe {
    ($output:expr, $found:expr, $look:expr) => {{
        let Found { object, span, partial, part, version, .. } = $found;
        let Overrides {
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            content_type,
            expires,
        } = $look.overrides;
        let headers = &object.headers;
        $output.accept_ranges = Some("bytes".to_owned());
        $output.cache_control = cache_control.or_else(|| headers.cache_control.clone());
        $output.content_disposition = content_disposition.or_else(|| headers.content_disposition.clone());
        $output.content_encoding = content_encoding.or_else(|| headers.content_encoding.clone());
        $output.content_language = content_language.or_else(|| headers.content_language.clone());
        let kind = content_type.or_else(|| headers.content_type.clone());
        $output.content_type = Some(kind.unwrap_or_else(|| UNKNOWN_TYPE.to_owned()));
        $output.expires = expires.or_else(|| headers.expires_seconds.and_then(from_unix_seconds));
        $output.content_length = i64::try_from(span.end - span.start).ok();
        $output.content_range =
            partial.then(|| format!("bytes {}-{}/{}", span.start, span.end.saturating_sub(1), object.size));
        $output.e_tag = Some(shape::etag(&object.etag));
        $output.last_modified = Some(timestamp_seconds(object.modified));
        $output.metadata = (!headers.user.is_empty()).then(|| headers.user.clone().into_iter().collect());
        $output.version_id = version.clone();
        if part.is_some() {
            $output.parts_count = object.parts.and_then(|parts| i32::try_from(parts).ok());
        }
        // The checksum is that of the whole.
        if let (true, false, Some(checksum)) = ($look.checksum, *partial, &object.checksum) {
            put_checksum!($output, checksum.algorithm, &checksum.value);
            $output.checksum_type = Some(shape::kind(checksum.kind));
        }
    }};
}

impl Session<'_> {
    pub(super) async fn get_object(
        self,
        input: GetObjectInput,
    ) -> Result<S3Response<GetObjectOutput>, Failure> {
        let look = look_of!(GetObjectInput, input);
        let found = self.look(&look)?;
        let mut output = GetObjectOutput::default();
        describe!(output, &found, look);
        output.body = Some(StreamingBlob::new(Body(found.source.stream(found.span.clone()))));
        Ok(answer(output, &found))
    }

    pub(super) async fn head_object(
        self,
        input: HeadObjectInput,
    ) -> Result<S3Response<HeadObjectOutput>, Failure> {
        let look = look_of!(HeadObjectInput, input);
        let found = self.look(&look)?;
        let mut output = HeadObjectOutput::default();
        describe!(output, &found, look);
        Ok(answer(output, &found))
    }

    fn look(&self, look: &Look) -> Result<Found, Failure> {
        look.overrides.check(self)?;
        let Look { bucket, key, owner, which, .. } = look;
        let target = Target { bucket, key, which: *which, owner: owner.as_deref() };
        let (opened, object, source) = self.object(target::GET, &target, Keys::new())?;
        look.conditions.check(&object)?;
        let (span, part) = span_of(look, &object, &source)?;
        let partial = look.range.is_some() || part.is_some();
        let version = opened.shown_version(&object);
        let tags = match object.tags.len() {
            0 => None,
            tags => self.also(&opened, target::GET_TAGGING, &target, &object).ok().map(|_permit| tags),
        };
        Ok(Found { object, source, span, partial, part, version, tags })
    }
}

impl Overrides {
    fn check(&self, session: &Session<'_>) -> Result<(), Failure> {
        let Self {
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            content_type,
            expires,
        } = self;
        let any = [cache_control, content_disposition, content_encoding, content_language, content_type]
            .into_iter()
            .any(Option::is_some)
            || expires.is_some();
        if any && session.caller.account().is_none() {
            return Err(Failure::invalid_request(
                "Request specific response headers cannot be used for anonymous GET requests.",
            ));
        }
        let texts = [cache_control, content_disposition, content_encoding, content_language, content_type];
        match texts.into_iter().flatten().find(|text| http::HeaderValue::from_str(text).is_err()) {
            Some(text) => Err(Failure::invalid_argument(
                "response-*",
                text,
                "Header value cannot be represented using ISO-8859-1.",
            )),
            None => Ok(()),
        }
    }
}

fn from_unix_seconds(seconds: i64) -> Option<Timestamp> {
    time::OffsetDateTime::from_unix_timestamp(seconds).ok().map(Timestamp::from)
}

fn answer<T>(output: T, found: &Found) -> S3Response<T> {
    let mut response = match found.partial {
        true => S3Response::with_status(output, StatusCode::PARTIAL_CONTENT),
        false => S3Response::new(output),
    };
    if let Some(tags) = found.tags {
        tell(&mut response.headers, "x-amz-tagging-count", &tags.to_string());
    }
    response
}

fn wants_checksum(mode: Option<&ChecksumMode>) -> Result<bool, Failure> {
    match mode.map(ChecksumMode::as_str) {
        None => Ok(false),
        Some(ChecksumMode::ENABLED) => Ok(true),
        Some(other) => Err(Failure::invalid_argument(
            "x-amz-checksum-mode",
            other,
            "Value for x-amz-checksum-mode header is invalid.",
        )),
    }
}

/// Which bytes are asked for, and the part number if it was by part.
fn span_of(look: &Look, object: &Stored, source: &Source) -> Result<(Span<u64>, Option<u32>), Failure> {
    match (&look.range, look.part) {
        (Some(_), Some(_)) => {
            Err(Failure::invalid_request("Cannot specify both Range header and partNumber query parameter"))
        }
        (None, None) => Ok((0..object.size, None)),
        (Some(range), None) => {
            let span = range.check(object.size).ok().filter(|span| !span.is_empty());
            span.map(|span| (span, None)).ok_or_else(|| {
                let header = http::HeaderValue::from_str(&format!("bytes */{}", object.size));
                let failure = Failure::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    "InvalidRange",
                    "The requested range is not satisfiable",
                )
                .with("RangeRequested", range.to_header_string())
                .with("ActualObjectSize", object.size.to_string());
                match header {
                    Ok(header) => failure.header(http::header::CONTENT_RANGE, header),
                    Err(_) => failure,
                }
            })
        }
        (None, Some(part)) => part_span(part, object, source),
    }
}

fn part_span(part: i32, object: &Stored, source: &Source) -> Result<(Span<u64>, Option<u32>), Failure> {
    let number = super::multipart::part_number(part)?;
    let segments = source.segments();
    if segments.is_empty() && number == 1 {
        return Ok((0..object.size, Some(1)));
    }
    let mut start = 0;
    for (index, segment) in (1..).zip(segments) {
        if index == number {
            return Ok((start..start + segment.size, Some(number)));
        }
        start += segment.size;
    }
    Err(Failure::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "InvalidPartNumber",
        "The requested partnumber is not satisfiable",
    )
    .with("PartNumberRequested", part.to_string())
    .with("ActualPartCount", segments.len().max(1).to_string()))
}

/// Content as the protocol layer wants it.
struct Body(ContentStream);

impl Stream for Body {
    type Item = Result<Bytes, s3s::StdError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map_err(|error| {
            tracing::error!(%error, "stored content could not be read");
            error.into()
        })
    }
}

impl ByteStream for Body {
    fn remaining_length(&self) -> RemainingLength {
        usize::try_from(self.0.remaining())
            .map_or_else(|_| RemainingLength::unknown(), RemainingLength::new_exact)
    }
}
