//! Takes in content and verifies it: length, Content-MD5, checksum in a header or in a trailer, payload signature.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode};
use s3s::TrailingHeaders;
use s3s::dto::StreamingBlob;

use crate::s3::error::{Failure, sentence};
use crate::s3::pieces::SIGNED_PIECE_BYTES_MAX;
use crate::s3::storage::blob::{Intake, Taken};
use crate::s3::storage::digest::Algorithm;

/// The largest content of one PUT in bytes.
pub(in crate::s3) const MAX_PUT_BYTES: u64 = 5 << 30;

/// The header that carries a checksum of `algorithm`.
pub(in crate::s3) fn checksum_header(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "x-amz-checksum-crc32",
        Algorithm::Crc32c => "x-amz-checksum-crc32c",
        Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        Algorithm::Sha1 => "x-amz-checksum-sha1",
        Algorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

/// An algorithm by S3's name of it.
pub(in crate::s3) fn algorithm_named(name: &str) -> Option<Algorithm> {
    Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name)
}

pub(in crate::s3) fn several_checksums() -> Failure {
    Failure::invalid_request(
        "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
    )
}

pub(in crate::s3) fn parse_md5(value: &str) -> Result<[u8; 16], Failure> {
    let invalid = || {
        Failure::new(StatusCode::BAD_REQUEST, "InvalidDigest", "The Content-MD5 you specified was invalid.")
            .with("Content-MD5", value)
    };
    STANDARD.decode(value).map_err(|_| invalid())?.try_into().map_err(|_| invalid())
}

pub(in crate::s3) fn parse_checksum(algorithm: Algorithm, value: &str) -> Result<Vec<u8>, Failure> {
    match STANDARD.decode(value) {
        Ok(bytes) if bytes.len() == algorithm.len_bytes() => Ok(bytes),
        Ok(_) | Err(_) => Err(Failure::invalid_request(format!(
            "Value for {} header is invalid.",
            checksum_header(algorithm)
        ))),
    }
}

pub(in crate::s3) fn bad_md5(expected: &str, computed: &[u8; 16]) -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "BadDigest",
        "The Content-MD5 you specified did not match what we received.",
    )
    .with("ExpectedDigest", expected)
    .with("CalculatedDigest", STANDARD.encode(computed))
}

pub(in crate::s3) fn bad_checksum(algorithm: Algorithm) -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "BadDigest",
        format!("The {} you specified did not match the calculated checksum.", algorithm.name()),
    )
}

/// What a request says about the content it carries.
pub(in crate::s3) struct Announced {
    /// The checksum's algorithm: the announced one, or S3's default.
    pub(in crate::s3) algorithm: Algorithm,
    /// Whether the request named the algorithm.
    pub(in crate::s3) named: bool,
    checksum: Expect,
    md5: Option<[u8; 16]>,
    length: u64,
}

enum Expect {
    Nothing,
    Value(Vec<u8>),
    Trailer,
}

impl Announced {
    /// Reads the headers; `default` is the algorithm if none is named.
    pub(in crate::s3) fn read(
        headers: &HeaderMap,
        content_length: Option<i64>,
        content_md5: Option<&str>,
        default: Algorithm,
    ) -> Result<Self, Failure> {
        // Content in pieces (`aws-chunked`, as clients send it over TLS) may come without a length of the whole
        // request; it announces its own.
        let decoded = text(headers, "x-amz-decoded-content-length").and_then(|length| length.parse().ok());
        let length = decoded
            .or(content_length)
            .and_then(|length: i64| u64::try_from(length).ok())
            .ok_or_else(|| {
                Failure::new(
                    StatusCode::LENGTH_REQUIRED,
                    "MissingContentLength",
                    sentence("MissingContentLength").unwrap_or_default(),
                )
            })?;
        let md5 = content_md5.map(parse_md5).transpose()?;
        let mut found: Option<(Algorithm, Expect)> = None;
        let mut announce = |algorithm, expect| match found.replace((algorithm, expect)) {
            None => Ok(()),
            Some(_) => Err(several_checksums()),
        };
        for algorithm in Algorithm::ALL {
            if let Some(value) = text(headers, checksum_header(algorithm)) {
                announce(algorithm, Expect::Value(parse_checksum(algorithm, value)?))?;
            }
        }
        for trailer in text(headers, "x-amz-trailer").unwrap_or_default().split(',').map(str::trim) {
            if trailer.is_empty() {
                continue;
            }
            let algorithm = Algorithm::ALL
                .into_iter()
                .find(|algorithm| checksum_header(*algorithm).eq_ignore_ascii_case(trailer));
            let algorithm = algorithm.ok_or_else(|| {
                Failure::invalid_request("The value specified in the x-amz-trailer header is not supported")
            })?;
            announce(algorithm, Expect::Trailer)?;
        }
        let named = match text(headers, "x-amz-sdk-checksum-algorithm") {
            None => None,
            Some(name) => Some(algorithm_named(&name.to_ascii_uppercase()).ok_or_else(|| {
                Failure::invalid_request("Value for x-amz-sdk-checksum-algorithm header is invalid.")
            })?),
        };
        let (algorithm, checksum) = match (found, named) {
            (Some((algorithm, _)), Some(named)) if algorithm != named => {
                return Err(Failure::invalid_request(
                    "Value for x-amz-sdk-checksum-algorithm header is invalid.",
                ));
            }
            (Some(found), _) => found,
            (None, Some(_)) => {
                return Err(Failure::invalid_request(
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
                     headers were found.",
                ));
            }
            (None, None) => (default, Expect::Nothing),
        };
        let named = !matches!(checksum, Expect::Nothing);
        if length > MAX_PUT_BYTES {
            return Err(too_large(length));
        }
        Ok(Self { algorithm, named, checksum, md5, length })
    }

    /// Streams `body` into `intake` and verifies all that was announced.
    pub(in crate::s3) async fn take(
        self,
        mut intake: Intake,
        body: Option<StreamingBlob>,
        trailers: Option<&TrailingHeaders>,
    ) -> Result<Taken, Failure> {
        if let Some(mut body) = body {
            while let Some(chunk) = body.next().await {
                intake.push(chunk.map_err(|error| stream_failure(&error.to_string()))?).await?;
                if intake.size() > self.length {
                    return Err(incomplete());
                }
            }
        }
        if intake.size() != self.length {
            return Err(incomplete());
        }
        let expected = match self.checksum {
            Expect::Nothing => None,
            Expect::Value(value) => Some(value),
            Expect::Trailer => Some(trailing(trailers, self.algorithm)?),
        };
        let taken = intake.finish().await?;
        if let Some(md5) = self.md5
            && md5 != taken.sums.md5
        {
            return Err(bad_md5(&STANDARD.encode(md5), &taken.sums.md5));
        }
        match expected {
            Some(value) if value != taken.sums.checksum => Err(bad_checksum(self.algorithm)),
            Some(_) | None => Ok(taken),
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn trailing(trailers: Option<&TrailingHeaders>, algorithm: Algorithm) -> Result<Vec<u8>, Failure> {
    let malformed = || {
        Failure::new(
            StatusCode::BAD_REQUEST,
            "MalformedTrailerError",
            "The request contained trailing data that was not well-formed or did not conform to our published schema.",
        )
    };
    let headers = trailers.and_then(TrailingHeaders::take).ok_or_else(malformed)?;
    let value = text(&headers, checksum_header(algorithm)).ok_or_else(malformed)?;
    parse_checksum(algorithm, value.trim())
}

pub(in crate::s3) fn too_large(size: u64) -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
    )
    .with("ProposedSize", size.to_string())
    .with("MaxSizeAllowed", MAX_PUT_BYTES.to_string())
}

fn incomplete() -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "IncompleteBody", sentence("IncompleteBody").unwrap_or_default())
}

/// The protocol layer's stream errors are private types; their texts are all it shows of them. Tests pin them.
fn stream_failure(error: &str) -> Failure {
    if error.contains("Sha256Mismatch") {
        Failure::new(
            StatusCode::BAD_REQUEST,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )
    } else if error.contains("SignatureMismatch") {
        Failure::new(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            sentence("SignatureDoesNotMatch").unwrap_or_default(),
        )
    } else if error.contains("FormatError") {
        Failure::invalid_request(format!(
            "The body is not in pieces as it was announced, or a signed piece is longer than \
             {SIGNED_PIECE_BYTES_MAX} bytes"
        ))
    } else {
        tracing::debug!(error, "an upload ended early");
        incomplete()
    }
}
