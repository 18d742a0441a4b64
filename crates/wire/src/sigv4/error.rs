//! What can be wrong with a signature or with the credentials behind it, and each service's words for it.

use super::SKEW_MAX_SECONDS;
use crate::error::{AwsError, ErrorStyle};
use crate::timestamp::Timestamp;

/// Bytes of a canonical request that an error repeats.
const SHOWN_BYTES_MAX: usize = 16 * 1024;

/// Why a signature is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Signature version 2.
    #[error("signature version 2 is not supported: {found} was given")]
    Version2 {
        /// Where it was seen.
        found: &'static str,
    },
    /// Another algorithm.
    #[error("the algorithm `{found}` is not supported")]
    Algorithm {
        /// Its name.
        found: String,
    },
    /// A signature in the header and one in the query string.
    #[error("the request is signed both in its header and in its query string")]
    TwoMechanisms,
    /// Not of the form it should have.
    #[error("the authorization is malformed: {reason}")]
    Malformed {
        /// What is wrong, a sentence without its full stop.
        reason: String,
    },
    /// A presigned URL lacks one of its parameters.
    #[error("the presigned URL lacks one of its parameters")]
    PresignedIncomplete,
    /// `X-Amz-Expires` is out of range.
    #[error("`X-Amz-Expires` {reason}")]
    Expires {
        /// What is wrong.
        reason: &'static str,
    },
    /// No date to go by.
    #[error("the request has neither an `x-amz-date` nor a `date` header")]
    NoDate,
    /// A date in another form.
    #[error("`{found}` is not a date of a signature")]
    Date {
        /// As given.
        found: String,
    },
    /// The scope is for another day than the request.
    #[error("the credential is for the date `{found}`, the request of `{at}`")]
    ScopeDate {
        /// The scope's date.
        found: String,
        /// The request's time.
        at: Timestamp,
    },
    /// The scope is for another service.
    #[error("the credential is for the service `{found}`, not `{expected}`")]
    Service {
        /// The scope's.
        found: String,
        /// The one asked.
        expected: String,
    },
    /// The scope is for another region.
    #[error("the credential is for the region `{found}`, not `{expected}`")]
    Region {
        /// The scope's.
        found: String,
        /// The one asked.
        expected: String,
    },
    /// `host` is not among the signed headers.
    #[error("the host is not signed")]
    HostNotSigned,
    /// Headers that have to be signed are not.
    #[error("the headers `{headers}` are not signed")]
    HeadersNotSigned {
        /// Their names, joined by commas.
        headers: String,
    },
    /// A header that was signed is not in the request.
    #[error("the header `{header}` was signed and is not there")]
    SignedHeaderAbsent {
        /// Its name.
        header: String,
    },
    /// The clocks are too far apart.
    #[error("the request of `{at}` is more than 15 minutes from `{now}`")]
    Skewed {
        /// The request's time.
        at: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// A presigned URL of the future.
    #[error("the presigned URL of `{at}` does not hold yet at `{now}`")]
    NotYetValid {
        /// Its time.
        at: Timestamp,
        /// Ours.
        now: Timestamp,
    },
    /// A presigned URL of the past.
    #[error("the presigned URL of `{at}` held for {expires_seconds} seconds, and it is `{now}`")]
    Expired {
        /// Its time.
        at: Timestamp,
        /// How long it held.
        expires_seconds: i64,
        /// Our time.
        now: Timestamp,
    },
    /// The payload's hash is needed and not there.
    #[error("the request does not say the hash of its payload")]
    NoPayloadHash,
    /// The payload's hash is neither a hash nor one of S3's words.
    #[error("`{found}` is not the hash of a payload")]
    PayloadHash {
        /// As given.
        found: String,
    },
    /// The body is not the one whose hash was signed.
    #[error("the payload has the hash `{computed}`, not `{declared}`")]
    PayloadMismatch {
        /// As given.
        declared: String,
        /// As computed.
        computed: String,
    },
    /// Another secret, or another request.
    #[error("the signature does not match")]
    DoesNotMatch(Box<Mismatch>),
}

/// What S3 tells about a signature that does not match; nothing of it depends on the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Whose secret was tried.
    pub access_key_id: String,
    /// The canonical request.
    pub canonical_request: String,
    /// The string to sign.
    pub string_to_sign: String,
    /// The signature of the request.
    pub signature_provided: String,
}

const NO_MATCH: &str = "The request signature we calculated does not match the signature you provided. Check your \
                        AWS Secret Access Key and signing method. Consult the service documentation for details.";
const NOT_VALIDATED: &str = "AWS was not able to validate the provided access credentials";
const USE_VERSION_4: &str =
    "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.";

impl SignatureError {
    /// In the words of the service.
    pub fn to_aws(&self, style: ErrorStyle) -> AwsError {
        match style {
            ErrorStyle::S3 => self.s3(),
            ErrorStyle::Ec2 => self.ec2(),
            ErrorStyle::Query { .. } => self.query("SignatureDoesNotMatch", "IncompleteSignature"),
            ErrorStyle::Json { .. } => {
                self.query("InvalidSignatureException", "IncompleteSignatureException")
            }
        }
    }

    fn s3(&self) -> AwsError {
        let denied = |message: &str| AwsError::new("AccessDenied", message).with_status(403);
        let header = |reason: &str| {
            let message = format!("The authorization header is malformed; {reason}.");
            AwsError::new("AuthorizationHeaderMalformed", message)
        };
        let query = |message: &str| AwsError::new("AuthorizationQueryParametersError", message);
        match self {
            Self::Version2 { .. } | Self::Algorithm { .. } => AwsError::new("InvalidRequest", USE_VERSION_4),
            Self::TwoMechanisms => AwsError::new(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string \
                 parameter or the Authorization header should be specified",
            ),
            Self::Malformed { reason } => header(reason),
            Self::PresignedIncomplete => query(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, \
                 X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            ),
            Self::Expires { reason } => query(&format!("X-Amz-Expires {reason}")),
            Self::NoDate | Self::Date { .. } => {
                denied("AWS authentication requires a valid Date or x-amz-date header")
            }
            Self::ScopeDate { found, at } => header(&format!(
                "Invalid credential date \"{found}\". This date is not the same as X-Amz-Date: \"{}\"",
                at.basic_date()
            )),
            Self::Service { found, expected } => header(&format!(
                "incorrect service \"{found}\". This endpoint belongs to \"{expected}\""
            )),
            Self::Region { found, expected } => {
                header(&format!("the region '{found}' is wrong; expecting '{expected}'"))
                    .with_detail("Region", expected)
            }
            Self::HostNotSigned => {
                denied("There were headers present in the request which were not signed")
                    .with_detail("HeadersNotSigned", "host")
            }
            Self::HeadersNotSigned { headers } => {
                denied("There were headers present in the request which were not signed")
                    .with_detail("HeadersNotSigned", headers)
            }
            Self::SignedHeaderAbsent { header } => {
                AwsError::new("SignatureDoesNotMatch", S3_NO_MATCH).with_status(403).with_detail("SignedHeader", header)
            }
            Self::Skewed { at, now } => AwsError::new(
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
            )
            .with_status(403)
            .with_detail("RequestTime", at.basic())
            .with_detail("ServerTime", now.iso_seconds())
            .with_detail("MaxAllowedSkewMilliseconds", (SKEW_MAX_SECONDS * 1000).to_string()),
            Self::NotYetValid { at, now } => denied("Request is not yet valid")
                .with_detail("RequestTime", at.basic())
                .with_detail("ServerTime", now.iso_seconds()),
            Self::Expired { at, expires_seconds, now } => denied("Request has expired")
                .with_detail("X-Amz-Expires", expires_seconds.to_string())
                .with_detail("Expires", at.plus_seconds(*expires_seconds).iso_seconds())
                .with_detail("ServerTime", now.iso_seconds()),
            Self::NoPayloadHash => AwsError::new(
                "InvalidRequest",
                "Missing required header for this request: x-amz-content-sha256",
            ),
            Self::PayloadHash { found } => AwsError::new(
                "InvalidArgument",
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
                 STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 \
                 value.",
            )
            .with_detail("ArgumentName", "x-amz-content-sha256")
            .with_detail("ArgumentValue", found),
            Self::PayloadMismatch { declared, computed } => AwsError::new(
                "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            )
            .with_detail("ClientComputedContentSHA256", declared)
            .with_detail("S3ComputedContentSHA256", computed),
            Self::DoesNotMatch(mismatch) => mismatch.s3(),
        }
    }

    /// EC2 says little about what is wrong with a signature.
    fn ec2(&self) -> AwsError {
        match self {
            Self::Version2 { .. } | Self::Algorithm { .. } => AwsError::new("InvalidRequest", USE_VERSION_4),
            Self::Skewed { .. } | Self::Expired { .. } | Self::NotYetValid { .. } => {
                AwsError::new("RequestExpired", "Request has expired.")
            }
            Self::Malformed { reason } => AwsError::new("IncompleteSignature", format!("{reason}.")),
            Self::PresignedIncomplete
            | Self::Expires { .. }
            | Self::NoDate
            | Self::Date { .. }
            | Self::TwoMechanisms
            | Self::ScopeDate { .. }
            | Self::Service { .. }
            | Self::Region { .. }
            | Self::HostNotSigned
            | Self::HeadersNotSigned { .. }
            | Self::SignedHeaderAbsent { .. }
            | Self::NoPayloadHash
            | Self::PayloadHash { .. }
            | Self::PayloadMismatch { .. }
            | Self::DoesNotMatch(_) => AwsError::new("AuthFailure", NOT_VALIDATED).with_status(401),
        }
    }

    /// IAM, STS and the JSON services say more; only the codes differ among them.
    fn query(&self, no_match: &str, incomplete: &str) -> AwsError {
        let refused = |message: String| AwsError::new(no_match, message).with_status(403);
        let incomplete = |message: String| AwsError::new(incomplete, message);
        match self {
            Self::Version2 { .. } | Self::Algorithm { .. } | Self::TwoMechanisms => {
                incomplete(USE_VERSION_4.to_owned())
            }
            Self::Malformed { reason } => incomplete(format!("{reason}.")),
            Self::PresignedIncomplete => incomplete(
                "AWS query-string parameters must include 'X-Amz-Algorithm', 'X-Amz-Credential', \
                 'X-Amz-Signature', 'X-Amz-SignedHeaders' and 'X-Amz-Date'. Re-examine the query-string \
                 parameters."
                    .to_owned(),
            ),
            Self::Expires { reason } => incomplete(format!("X-Amz-Expires {reason}.")),
            Self::NoDate => incomplete(
                "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
                    .to_owned(),
            ),
            Self::Date { found } => incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{found}'. See \
                 http://en.wikipedia.org/wiki/ISO_8601"
            )),
            Self::ScopeDate { found, at } => refused(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
                 '{found}' != '{}', from '{}'.",
                at.basic_date(),
                at.basic()
            )),
            Self::Service { expected, .. } => {
                refused(format!("Credential should be scoped to correct service: '{expected}'. "))
            }
            Self::Region { .. } => refused("Credential should be scoped to a valid region. ".to_owned()),
            Self::HostNotSigned => refused(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".to_owned(),
            ),
            Self::HeadersNotSigned { headers } => {
                refused(format!("'{headers}' must be a 'SignedHeader' in the AWS Authorization."))
            }
            Self::Skewed { at, now } | Self::NotYetValid { at, now } if at > now => {
                let latest = now.plus_seconds(SKEW_MAX_SECONDS).basic();
                refused(format!(
                    "Signature not yet current: {} is still later than {latest} ({} + 15 min.)",
                    at.basic(),
                    now.basic()
                ))
            }
            Self::Skewed { at, now } | Self::NotYetValid { at, now } => {
                let earliest = now.plus_seconds(-SKEW_MAX_SECONDS).basic();
                refused(format!(
                    "Signature expired: {} is now earlier than {earliest} ({} - 15 min.)",
                    at.basic(),
                    now.basic()
                ))
            }
            Self::Expired { at, expires_seconds, now } => refused(format!(
                "Signature expired: {} is now earlier than {} ({} - {} min.)",
                at.basic(),
                now.plus_seconds(-expires_seconds).basic(),
                now.basic(),
                expires_seconds / 60
            )),
            Self::SignedHeaderAbsent { .. }
            | Self::NoPayloadHash
            | Self::PayloadHash { .. }
            | Self::PayloadMismatch { .. }
            | Self::DoesNotMatch(_) => refused(NO_MATCH.to_owned()),
        }
    }
}

const S3_NO_MATCH: &str = "The request signature we calculated does not match the signature you provided. Check your \
                           key and signing method.";

impl Mismatch {
    fn s3(&self) -> AwsError {
        let canonical = shown(&self.canonical_request);
        AwsError::new("SignatureDoesNotMatch", S3_NO_MATCH)
            .with_status(403)
            .with_detail("AWSAccessKeyId", &self.access_key_id)
            .with_detail("StringToSign", &self.string_to_sign)
            .with_detail("SignatureProvided", &self.signature_provided)
            .with_detail("StringToSignBytes", spaced_hex(&self.string_to_sign))
            .with_detail("CanonicalRequest", canonical)
            .with_detail("CanonicalRequestBytes", spaced_hex(canonical))
    }
}

fn shown(text: &str) -> &str {
    let mut end = text.len().min(SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn spaced_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// What can be wrong with the credentials, once the signature could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// No signature where one is needed.
    #[error("the request is not signed")]
    Missing,
    /// No such access key, or an inactive one.
    #[error("there is no access key `{access_key_id}`")]
    UnknownKey {
        /// Its id.
        access_key_id: String,
    },
    /// The session token is not that of the access key.
    #[error("the session token does not belong to the access key")]
    Token,
    /// The session is over.
    #[error("the session token has expired")]
    TokenExpired,
}

impl CredentialError {
    /// In the words of the service.
    pub fn to_aws(&self, style: ErrorStyle) -> AwsError {
        let forbidden = |code: &str, message: &str| AwsError::new(code, message).with_status(403);
        let invalid = "The security token included in the request is invalid.";
        let expired = "The security token included in the request is expired";
        let unauthorised = AwsError::new("AuthFailure", NOT_VALIDATED).with_status(401);
        match (self, style) {
            (Self::Missing, ErrorStyle::S3) => forbidden("AccessDenied", "Access Denied"),
            (Self::Missing, ErrorStyle::Ec2) => {
                AwsError::new("MissingParameter", "The request must contain the parameter AWSAccessKeyId")
            }
            (Self::Missing, ErrorStyle::Query { .. }) => {
                forbidden("MissingAuthenticationToken", "Request is missing Authentication Token")
            }
            (Self::Missing, ErrorStyle::Json { .. }) => {
                AwsError::new("MissingAuthenticationTokenException", "Missing Authentication Token")
            }
            (Self::UnknownKey { access_key_id }, ErrorStyle::S3) => forbidden(
                "InvalidAccessKeyId",
                "The AWS Access Key Id you provided does not exist in our records.",
            )
            .with_detail("AWSAccessKeyId", access_key_id),
            (Self::Token, ErrorStyle::S3) => {
                AwsError::new("InvalidToken", "The provided token is malformed or otherwise invalid.")
            }
            (Self::TokenExpired, ErrorStyle::S3) => {
                AwsError::new("ExpiredToken", "The provided token has expired.")
            }
            (Self::UnknownKey { .. } | Self::Token, ErrorStyle::Ec2) => unauthorised,
            (Self::TokenExpired, ErrorStyle::Ec2) => AwsError::new("RequestExpired", "Request has expired."),
            (Self::UnknownKey { .. } | Self::Token, ErrorStyle::Query { .. }) => {
                forbidden("InvalidClientTokenId", invalid)
            }
            (Self::TokenExpired, ErrorStyle::Query { .. }) => forbidden("ExpiredToken", expired),
            (Self::UnknownKey { .. } | Self::Token, ErrorStyle::Json { .. }) => {
                AwsError::new("UnrecognizedClientException", invalid)
            }
            (Self::TokenExpired, ErrorStyle::Json { .. }) => AwsError::new("ExpiredTokenException", expired),
        }
    }
}
