//! Small conversions between the protocol's shapes and the store's records, and the refusal of what is not honoured.

use std::time::{Duration, UNIX_EPOCH};

use s3s::dto::{self, ETag, ObjectCannedACL, Timestamp};
use time::OffsetDateTime;

use super::Failure;
use crate::s3::storage::digest::{Algorithm, ChecksumKind};
use crate::s3::storage::record::{Checksum, Headers, Millis};
use crate::s3::storage::version::{VersionId, Which};

/// Refuses a field that is given and not honoured, by its header's name.
pub(super) fn absent<T>(field: Option<&T>, header: &str) -> Result<(), Failure> {
    match field {
        None => Ok(()),
        Some(_) => Err(Failure::not_implemented(header)),
    }
}

/// Refuses a switch that is on.
pub(super) fn off(field: Option<bool>, header: &str) -> Result<(), Failure> {
    match field {
        None | Some(false) => Ok(()),
        Some(true) => Err(Failure::not_implemented(header)),
    }
}

/// Refuses each field that is given, by its header's name.
macro_rules! refuse {
    ($($field:expr => $header:expr),* $(,)?) => {
        $($crate::s3::ops::shape::absent($field.as_ref(), $header)?;)*
    };
}
pub(super) use refuse;

/// Canned ACLs that change nothing while the bucket's owner owns every object; others are refused.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html>
pub(super) fn check_acl(acl: Option<&ObjectCannedACL>) -> Result<(), Failure> {
    match acl.map(ObjectCannedACL::as_str) {
        None | Some(ObjectCannedACL::PRIVATE | ObjectCannedACL::BUCKET_OWNER_FULL_CONTROL) => Ok(()),
        Some(_) => Err(acl_not_supported()),
    }
}

pub(super) fn acl_not_supported() -> Failure {
    Failure::new(
        http::StatusCode::BAD_REQUEST,
        "AccessControlListNotSupported",
        "The bucket does not allow ACLs",
    )
}

/// Who pays is the bucket's owner, whoever offers to; only the one word may be said.
pub(super) fn check_payer(payer: Option<&dto::RequestPayer>) -> Result<(), Failure> {
    match payer.map(dto::RequestPayer::as_str) {
        None | Some(dto::RequestPayer::REQUESTER) => Ok(()),
        Some(other) => {
            Err(Failure::invalid_argument("x-amz-request-payer", other, "Unknown request payer specified"))
        }
    }
}

/// Only the standard storage class exists here.
pub(super) fn check_storage_class(class: Option<&dto::StorageClass>) -> Result<(), Failure> {
    match class.map(dto::StorageClass::as_str) {
        None | Some(dto::StorageClass::STANDARD) => Ok(()),
        Some(_) => Err(Failure::not_implemented("x-amz-storage-class")),
    }
}

/// Which version a request is about.
pub(super) fn which(version: Option<&str>) -> Result<Which, Failure> {
    which_named("versionId", version)
}

/// The same, for a parameter of that name.
pub(super) fn which_named(name: &str, version: Option<&str>) -> Result<Which, Failure> {
    match version {
        None => Ok(Which::Latest),
        Some("null") => Ok(Which::Null),
        Some("") => Err(Failure::invalid_argument(name, "", "Version id cannot be the empty string")),
        Some(text) => match VersionId::parse(text) {
            Some(id) => Ok(Which::Id(id)),
            None => Err(Failure::invalid_argument(name, text, "Invalid version id specified")),
        },
    }
}

/// A version as it is shown; that without an id is called `null`.
pub(super) fn version_text(version: Option<VersionId>) -> String {
    version.map_or_else(|| "null".to_owned(), |id| id.to_string())
}

/// The version of what was just written, as a header: a new null version is not told of.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html>, "Response when versioning is suspended"
pub(super) fn written_version(version: Option<VersionId>) -> Option<String> {
    version.map(|id| id.to_string())
}

pub(super) fn timestamp(millis: Millis) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(millis))
}

/// As HTTP headers show time: whole seconds.
pub(super) fn timestamp_seconds(millis: Millis) -> Timestamp {
    timestamp(millis - millis % 1000)
}

pub(super) fn unix_seconds(timestamp: &Timestamp) -> i64 {
    OffsetDateTime::from(timestamp.clone()).unix_timestamp()
}

pub(super) fn etag(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

/// The headers of an object as the protocol hands them in.
pub(super) struct GivenHeaders {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) expires: Option<Timestamp>,
    pub(super) metadata: Option<dto::Metadata>,
}

/// S3's limit on user metadata: names and values together.
const MAX_METADATA_BYTES: usize = 2 << 10;

impl GivenHeaders {
    pub(super) fn keep(self) -> Result<Headers, Failure> {
        let user: std::collections::BTreeMap<_, _> = self.metadata.unwrap_or_default().into_iter().collect();
        let size: usize = user.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > MAX_METADATA_BYTES {
            return Err(Failure::new(
                http::StatusCode::BAD_REQUEST,
                "MetadataTooLarge",
                "Your metadata headers exceed the maximum allowed metadata size",
            )
            .with("Size", size.to_string())
            .with("MaxSizeAllowed", MAX_METADATA_BYTES.to_string()));
        }
        Ok(Headers {
            content_type: self.content_type.filter(|kind| !kind.is_empty()),
            cache_control: self.cache_control,
            content_disposition: self.content_disposition,
            content_encoding: self.content_encoding.and_then(without_chunking),
            content_language: self.content_language,
            expires_seconds: self.expires.as_ref().map(unix_seconds),
            user,
        })
    }
}

/// `aws-chunked` is how the request was sent, not what the object is.
fn without_chunking(encoding: String) -> Option<String> {
    let kept: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && *coding != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// A checksum spread over the five fields that the protocol has for it.
#[derive(Default)]
pub(super) struct ChecksumFields {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

impl ChecksumFields {
    pub(super) fn of(algorithm: Algorithm, value: &str) -> Self {
        let mut fields = Self::default();
        *fields.field(algorithm) = Some(value.to_owned());
        fields
    }

    /// The single one that is set, if any.
    pub(super) fn single(mut self) -> Result<Option<(Algorithm, String)>, Failure> {
        let mut found = None;
        for algorithm in Algorithm::ALL {
            if let Some(value) = self.field(algorithm).take()
                && found.replace((algorithm, value)).is_some()
            {
                return Err(super::integrity::several_checksums());
            }
        }
        Ok(found)
    }

    fn field(&mut self, algorithm: Algorithm) -> &mut Option<String> {
        match algorithm {
            Algorithm::Crc32 => &mut self.crc32,
            Algorithm::Crc32c => &mut self.crc32c,
            Algorithm::Crc64Nvme => &mut self.crc64nvme,
            Algorithm::Sha1 => &mut self.sha1,
            Algorithm::Sha256 => &mut self.sha256,
        }
    }
}

/// Moves a checksum into the fields of an output shape.
macro_rules! put_checksum {
    ($output:expr, $algorithm:expr, $value:expr) => {{
        let fields = $crate::s3::ops::shape::ChecksumFields::of($algorithm, $value);
        $output.checksum_crc32 = fields.crc32;
        $output.checksum_crc32c = fields.crc32c;
        $output.checksum_crc64nvme = fields.crc64nvme;
        $output.checksum_sha1 = fields.sha1;
        $output.checksum_sha256 = fields.sha256;
    }};
}
pub(super) use put_checksum;

pub(super) fn kind(kind: ChecksumKind) -> dto::ChecksumType {
    dto::ChecksumType::from_static(match kind {
        ChecksumKind::FullObject => dto::ChecksumType::FULL_OBJECT,
        ChecksumKind::Composite => dto::ChecksumType::COMPOSITE,
    })
}

pub(super) fn algorithm(algorithm: Algorithm) -> dto::ChecksumAlgorithm {
    dto::ChecksumAlgorithm::from_static(algorithm.name())
}

/// The checksum of content that was taken in whole.
pub(super) fn full_checksum(sums: &crate::s3::storage::digest::Sums) -> Checksum {
    use base64::Engine as _;
    let value = base64::engine::general_purpose::STANDARD.encode(&sums.checksum);
    Checksum { algorithm: sums.algorithm, kind: ChecksumKind::FullObject, value }
}

/// S3's 64-digit id of an account's owner. AWS's is opaque; this one is a function of the account.
pub(super) fn canonical_id(account: &str) -> String {
    crate::s3::storage::digest::hex(&Algorithm::Sha256.sum(format!("canonical user of {account}").as_bytes()))
}

pub(super) fn owner(account: &str) -> dto::Owner {
    dto::Owner { display_name: None, id: Some(canonical_id(account)) }
}
