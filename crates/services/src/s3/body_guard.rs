//! Verifies `Content-MD5` and `x-amz-checksum-…` of requests whose body is an XML or JSON document; the protocol
//! layer verifies neither. (Object content is verified by the operation that stores it.)

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use http_body::{Body, Frame, SizeHint};

use super::error::Failure;
use super::ops::integrity::{self, checksum_header};
use super::storage::digest::{Algorithm, Hasher};

/// Where the guard leaves its verdict; the protocol layer would only report that the body could not be read.
pub(super) type Verdict = Arc<Mutex<Option<Failure>>>;

/// What a document's headers say it sums to.
struct Expected {
    md5: Option<[u8; 16]>,
    checksum: Option<(Algorithm, Vec<u8>)>,
}

impl Expected {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let md5 = match headers.get("content-md5") {
            Some(value) => Some(integrity::parse_md5(value.to_str().unwrap_or_default())?),
            None => None,
        };
        let mut checksum = None;
        for algorithm in Algorithm::ALL {
            if let Some(value) = headers.get(checksum_header(algorithm)) {
                let value = integrity::parse_checksum(algorithm, value.to_str().unwrap_or_default())?;
                if checksum.replace((algorithm, value)).is_some() {
                    return Err(integrity::several_checksums());
                }
            }
        }
        Ok((md5.is_some() || checksum.is_some()).then_some(Self { md5, checksum }))
    }
}

/// Whether the request's body is a document whose sums nobody else checks.
fn carries_document(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair.split('=').next(), Some("delete" | "policy")))
}

/// Wraps `body` if its request announces sums of a document.
///
/// # Errors
/// If what it announces cannot be read.
pub(super) fn guard<B>(parts: &Parts, body: B) -> Result<(s3s::Body, Option<Verdict>), Failure>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let expected = if carries_document(parts) { Expected::of(&parts.headers)? } else { None };
    let Some(expected) = expected else {
        return Ok((s3s::Body::http_body_unsync(Plain { inner: Box::pin(body) }), None));
    };
    let verdict = Verdict::default();
    let algorithm = expected.checksum.as_ref().map_or(Algorithm::Crc64Nvme, |(algorithm, _)| *algorithm);
    let guarded = Guarded {
        inner: Plain { inner: Box::pin(body) },
        hasher: Some(Hasher::new(algorithm)),
        expected,
        verdict: Arc::clone(&verdict),
    };
    Ok((s3s::Body::http_body_unsync(guarded), Some(verdict)))
}

/// A body with its error type erased.
struct Plain<B> {
    inner: Pin<Box<B>>,
}

/// An error of the connection that a body comes over.
#[derive(Debug, thiserror::Error)]
#[error("the request body could not be read: {0}")]
pub(super) struct BodyError(Box<dyn std::error::Error + Send + Sync>);

impl<B> Body for Plain<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.inner.as_mut().poll_frame(cx).map_err(|error| BodyError(error.into()))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

struct Guarded<B> {
    inner: Plain<B>,
    hasher: Option<Hasher>,
    expected: Expected,
    verdict: Verdict,
}

impl<B> Guarded<B> {
    fn judge(&mut self) -> Result<(), BodyError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let sums = hasher.finish();
        let failure = match (&self.expected.md5, &self.expected.checksum) {
            (Some(md5), _) if *md5 != sums.md5 => Some(integrity::bad_md5(&STANDARD.encode(md5), &sums.md5)),
            (_, Some((algorithm, value))) if *value != sums.checksum => {
                Some(integrity::bad_checksum(*algorithm))
            }
            _ => None,
        };
        match failure {
            None => Ok(()),
            Some(failure) => {
                *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                Err(BodyError("the document differs from its checksum".into()))
            }
        }
    }
}

impl<B> Body for Guarded<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(data), Some(hasher)) = (frame.data_ref(), &mut this.hasher) {
                    hasher.update(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => Poll::Ready(this.judge().err().map(Err)),
            other => other,
        }
    }

    // Not the inner one's: the end must be polled for, so that the verdict falls.
    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
