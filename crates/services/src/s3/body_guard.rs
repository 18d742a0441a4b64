//! Looks at bodies that are XML or JSON documents before the protocol layer reads them: verifies `Content-MD5` and
//! `x-amz-checksum-…`, and refuses elements of AWS's that are not served by their names. The protocol layer does
//! neither. (Object content is verified by the operation that stores it.)

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, Method};
use http_body::{Body, Frame, SizeHint};

use super::error::Failure;
use super::host::Hosts;
use super::ops::integrity::{self, checksum_header};
use super::service::MAX_DOCUMENT_BYTES;
use super::storage::digest::{Algorithm, Hasher};

/// Where the guard leaves its verdict; the protocol layer would only report that the body could not be read.
pub(super) type Verdict = Arc<Mutex<Option<Failure>>>;

/// What a document's headers say it sums to.
#[derive(Default)]
struct Expected {
    md5: Option<[u8; 16]>,
    checksum: Option<(Algorithm, Vec<u8>)>,
}

impl Expected {
    fn of(headers: &HeaderMap) -> Result<Self, Failure> {
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
        Ok(Self { md5, checksum })
    }
}

/// Elements of AWS's documents that are not served. The protocol layer does not know them and would only say that the
/// document is malformed.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompletedPart.html>,
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html>
const UNSERVED_ELEMENTS: [&str; 6] =
    ["ChecksumMD5", "ChecksumSHA512", "ChecksumXXHASH128", "ChecksumXXHASH3", "ChecksumXXHASH64", "Tags"];

/// What kind of document a request's body is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Document {
    /// Its sums stand in the head.
    Summed,
    /// The sums in the head, if any, are those of an object.
    Plain,
}

/// The words in the query string of requests whose document has sums in the head.
const SUMMED_WORDS: [&str; 7] =
    ["acl", "delete", "ownershipControls", "policy", "publicAccessBlock", "tagging", "versioning"];

impl Document {
    fn of(parts: &Parts, hosts: &Hosts) -> Option<Self> {
        let query = parts.uri.query().unwrap_or_default();
        let has = |word: &str| query.split('&').any(|pair| pair.split('=').next() == Some(word));
        if SUMMED_WORDS.into_iter().any(has) {
            return Some(Self::Summed);
        }
        let completes = parts.method == Method::POST && has("uploadId");
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let path = parts.uri.path().trim_start_matches('/');
        let of_bucket = match hosts.bucket(host) {
            Some(_) => path.is_empty(),
            None => !path.trim_end_matches('/').contains('/'),
        };
        (completes || (parts.method == Method::PUT && of_bucket)).then_some(Self::Plain)
    }
}

/// Wraps `body` if it is a document.
///
/// # Errors
/// If the sums that the head announces cannot be read.
pub(super) fn guard<B>(parts: &Parts, body: B, hosts: &Hosts) -> Result<(s3s::Body, Option<Verdict>), Failure>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
{
    let expected = match Document::of(parts, hosts) {
        None => return Ok((s3s::Body::http_body_unsync(Plain { inner: Box::pin(body) }), None)),
        Some(Document::Plain) => Expected::default(),
        Some(Document::Summed) => Expected::of(&parts.headers)?,
    };
    let verdict = Verdict::default();
    let algorithm = expected.checksum.as_ref().map_or(Algorithm::Crc64Nvme, |(algorithm, _)| *algorithm);
    let guarded = Guarded {
        inner: Plain { inner: Box::pin(body) },
        hasher: Some(Hasher::new(algorithm)),
        seen: BytesMut::new(),
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

/// The first element in a document that is not served.
fn unserved_element(document: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(document).ok().filter(|text| text.trim_start().starts_with('<'))?;
    // Names of elements; no text of a document can hold a `<`.
    let mut names =
        text.split('<').skip(1).map(|after| after.split([' ', '>', '/']).next().unwrap_or_default());
    names.find_map(|name| UNSERVED_ELEMENTS.iter().find(|unserved| **unserved == name).copied())
}

struct Guarded<B> {
    inner: Plain<B>,
    hasher: Option<Hasher>,
    seen: BytesMut,
    expected: Expected,
    verdict: Verdict,
}

impl<B> Guarded<B> {
    fn judge(&mut self) -> Result<(), BodyError> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let sums = hasher.finish();
        let unserved = unserved_element(&self.seen).map(Failure::not_implemented_element);
        let failure = match (&self.expected.md5, &self.expected.checksum) {
            (Some(md5), _) if *md5 != sums.md5 => Some(integrity::bad_md5(&STANDARD.encode(md5), &sums.md5)),
            (_, Some((algorithm, value))) if *value != sums.checksum => {
                Some(integrity::bad_checksum(*algorithm))
            }
            _ => unserved,
        };
        match failure {
            None => Ok(()),
            Some(failure) => {
                *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                Err(BodyError("the document is refused".into()))
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
                    // What is longer is refused by the protocol layer.
                    if this.seen.len() <= MAX_DOCUMENT_BYTES {
                        this.seen.extend_from_slice(data);
                    }
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
