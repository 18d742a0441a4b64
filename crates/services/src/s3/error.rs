//! Refusals in S3's own words: code, status, sentence, and the fields that go with some of them.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
//!
//! The protocol layer cannot carry the extra fields; they travel to [`super::service`] in one internal header, which
//! never reaches a client.

use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode};

use super::gate::Refusal;
use super::storage::StoreError;

/// Marks an error as worded by this module and carries its extra fields as XML, in base64.
pub(super) const FIELDS_HEADER: HeaderName = HeaderName::from_static("x-postern-error-fields");

/// An error on its way to the client.
#[derive(Clone, Debug)]
pub struct Failure {
    pub(super) code: &'static str,
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) headers: Option<Box<HeaderMap>>,
}

impl Failure {
    /// An error of `code`.
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), fields: Vec::new(), headers: None }
    }

    /// Adds a field to the body.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds a response header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.get_or_insert_default().insert(name, value);
        self
    }

    pub(super) fn invalid_argument(name: &str, value: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidArgument", message)
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    pub(super) fn not_implemented(header: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("A header you provided implies functionality that is not implemented: {header}"),
        )
        .with("Header", header)
    }

    pub(super) fn not_implemented_element(element: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("The element {element} in the document you provided is not implemented"),
        )
    }

    pub(super) fn access_denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDenied", message)
    }

    pub(super) fn no_such_bucket(bucket: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchBucket", "The specified bucket does not exist")
            .with("BucketName", bucket)
    }

    pub(super) fn no_such_key(key: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.").with("Key", key)
    }

    pub(super) fn malformed_xml() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedXML", sentence("MalformedXML").unwrap_or_default())
    }

    pub(super) fn no_such_version(key: &str, version: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NoSuchVersion", "The specified version does not exist.")
            .with("Key", key)
            .with("VersionId", version)
    }

    pub(super) fn precondition(condition: &str) -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
        .with("Condition", condition)
    }

    fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "We encountered an internal error. Please try again.",
        )
    }

    /// The extra fields as XML elements.
    pub(super) fn fields_xml(&self) -> String {
        self.fields.iter().map(|(name, value)| format!("<{name}>{}</{name}>", escape(value))).collect()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::access_denied(refusal.message)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let bad = StatusCode::BAD_REQUEST;
        match error {
            StoreError::NoSuchBucket(bucket) => Self::no_such_bucket(&bucket),
            StoreError::BucketExists { owner: _ } => Self::new(
                StatusCode::CONFLICT,
                "BucketAlreadyExists",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the \
                 system. Please select a different name and try again.",
            ),
            StoreError::BucketNotEmpty { versioned: false } => {
                Self::new(StatusCode::CONFLICT, "BucketNotEmpty", "The bucket you tried to delete is not empty")
            }
            StoreError::BucketNotEmpty { versioned: true } => Self::new(
                StatusCode::CONFLICT,
                "BucketNotEmpty",
                "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
            ),
            StoreError::TooManyBuckets { limit } => {
                Self::new(bad, "TooManyBuckets", "You have attempted to create more buckets than allowed")
                    .with("Limit", limit.to_string())
            }
            StoreError::NoSuchKey(key) => Self::no_such_key(&key),
            StoreError::PreconditionFailed(condition) => Self::precondition(condition),
            StoreError::NoSuchUpload(id) => Self::new(
                StatusCode::NOT_FOUND,
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
                 aborted or completed.",
            )
            .with("UploadId", id),
            StoreError::InvalidPart(part) => Self::new(
                bad,
                "InvalidPart",
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the \
                 specified entity tag may not match the part's entity tag.",
            )
            .with("PartNumber", part.to_string()),
            StoreError::InvalidPartOrder(part) => Self::new(
                bad,
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            )
            .with("PartNumber", part.to_string()),
            StoreError::PartTooSmall { part, size, etag } => {
                Self::new(bad, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
                    .with("ETag", etag)
                    .with("MinSizeAllowed", super::storage::multipart::MIN_PART_BYTES.to_string())
                    .with("ProposedSize", size.to_string())
                    .with("PartNumber", part.to_string())
            }
            StoreError::TooLarge(size) => {
                Self::new(bad, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
                    .with("ProposedSize", size.to_string())
            }
            StoreError::WholeDiffers("size") => Self::invalid_request(
                "The provided 'x-amz-mp-object-size' header does not match what was computed.",
            ),
            StoreError::WholeDiffers(what) => {
                Self::new(bad, "BadDigest", format!("The {what} you specified did not match what we received."))
            }
            StoreError::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "InsufficientCapacity",
                "There is no space left on the disk that holds the objects. Nothing was changed.",
            ),
            StoreError::Failed(error) => {
                tracing::error!(%error, "the object store failed");
                Self::internal()
            }
        }
    }
}

impl From<Failure> for S3Error {
    fn from(failure: Failure) -> Self {
        let mut headers = failure.headers.as_deref().cloned().unwrap_or_default();
        let fields = STANDARD.encode(failure.fields_xml());
        if let Ok(fields) = HeaderValue::from_str(&fields) {
            headers.insert(FIELDS_HEADER, fields);
        }
        let code = match S3ErrorCode::from_str(failure.code) {
            Ok(code) => code,
            Err(never) => match never {},
        };
        let mut error = Self::with_message(code, failure.message);
        error.set_status_code(failure.status);
        error.set_headers(headers);
        error
    }
}

/// AWS's sentence for codes that the protocol layer raises in its own words or without any.
pub(super) fn sentence(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" => "Access Denied",
        "IncompleteBody" => {
            "You did not provide the number of bytes specified by the Content-Length HTTP header"
        }
        "InternalError" => "We encountered an internal error. Please try again.",
        "InvalidAccessKeyId" => "The AWS Access Key Id you provided does not exist in our records.",
        "InvalidBucketName" => "The specified bucket is not valid.",
        "InvalidRange" => "The requested range is not satisfiable",
        "InvalidURI" => "Couldn't parse the specified URI.",
        "KeyTooLongError" => "Your key is too long",
        "MalformedXML" => {
            "The XML you provided was not well-formed or did not validate against our published schema"
        }
        "MaxMessageLengthExceeded" => "Your request was too big.",
        "MethodNotAllowed" => "The specified method is not allowed against this resource.",
        "MissingContentLength" => "You must provide the Content-Length HTTP header.",
        "NotImplemented" => "A header you provided implies functionality that is not implemented",
        "RequestTimeTooSkewed" => {
            "The difference between the request time and the current time is too large."
        }
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and \
             signing method."
        }
        _ => return None,
    })
}

/// Whether AWS says the same sentence for this code whatever happened.
pub(super) fn is_fixed(code: &str) -> bool {
    !matches!(code, "AccessDenied" | "NotImplemented")
}

/// Text as XML content.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write the other control characters.
            '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}
