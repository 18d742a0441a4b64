//! AWS's signature version 4: parse, verify, make.
//!
//! Verification takes two steps, because the secret is found by what the request itself says:
//! [`parse`] reads who claims to have signed and what, checking nothing but form ([`Unverified`]); the caller looks
//! up the secret and [`Unverified::verify`] answers a [`Verified`], which cannot be had in any other way.
//!
//! INVARIANT: a `Verified` was signed with the secret given, for one of the regions and the service asked for, within
//! the time allowed, over the method, the path, the whole query string, the host and every `x-amz-` header.
//! What it says about the body stands in [`PayloadCheck`]: a caller that streams has to finish that check.
//!
//! Source: "Signature Version 4 signing process" and "Authenticating Requests (AWS Signature Version 4)" in AWS's
//! general reference and S3's API reference; botocore is the oracle of the tests.

mod authorization;
mod aws_chunked;
mod canonical;
mod chunk;
mod error;
mod key;
mod sign;
mod verify;

use http::HeaderMap;

pub use authorization::{CredentialScope, Placement, Unverified, parse};
pub use aws_chunked::{ChunkedError, Decoder};
pub use chunk::{ChunkChain, ChunkMismatch};
pub use error::{CredentialError, Mismatch, SignatureError};
pub use key::SecretAccessKey;
pub use sign::{Signed, Signer, SigningError};
pub use verify::{Payload, PayloadCheck, Rules, Verified};

/// How far the clock of a request may be from ours, in seconds.
pub const SKEW_MAX_SECONDS: i64 = 15 * 60;
/// How long a presigned URL may hold, in seconds: a week.
pub const EXPIRES_MAX_SECONDS: i64 = 7 * 24 * 60 * 60;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_CHUNKS_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_CHUNKS_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// The parts of a request that are signed, as they stand on the wire.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// `GET`.
    pub method: &'a str,
    /// The path, still percent-encoded.
    pub path: &'a str,
    /// The query string without `?`, still percent-encoded.
    pub query: &'a str,
    /// All headers; `host` has to be among them (of HTTP/2, the caller puts `:authority` there).
    pub headers: &'a HeaderMap,
}

/// How a service reads paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PathStyle {
    /// Dots and double slashes are removed, and the encoded path is encoded once more.
    Normalised,
    /// S3: a key may hold anything, so the path stays as it is.
    Verbatim,
}

impl PathStyle {
    fn of(service: &str) -> Self {
        if service == "s3" { Self::Verbatim } else { Self::Normalised }
    }
}
