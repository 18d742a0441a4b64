//! What the index says about buckets, objects, uploads and parts.
//!
//! Records are stored as JSON: fields are named, so a later version can add some without rewriting the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::{Algorithm, ChecksumKind};
use super::version::VersionId;

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// Tags: names with their values.
pub type Tags = BTreeMap<String, String>;

/// What a bucket does with the versions of its objects, once it was told to keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Versioning {
    /// It keeps them.
    Enabled,
    /// It keeps those it has and makes no new ones.
    Suspended,
}

/// What S3 keeps from being public, whatever its policies and ACLs say. What is not said is off.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are four switches of AWS's")]
pub struct PublicAccessBlock {
    /// ACLs that would are refused.
    pub block_public_acls: bool,
    /// ACLs that would are taken for none.
    pub ignore_public_acls: bool,
    /// Bucket policies that would are refused.
    pub block_public_policy: bool,
    /// While the bucket's policy would, only its own account gets in.
    pub restrict_public_buckets: bool,
}

impl PublicAccessBlock {
    /// What a new bucket has.
    pub const ALL: Self = Self {
        block_public_acls: true,
        ignore_public_acls: true,
        block_public_policy: true,
        restrict_public_buckets: true,
    };
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// The account that owns it, 12 digits.
    pub owner: String,
    /// The region it was made in.
    pub region: String,
    /// When it was made.
    pub created: Millis,
    /// Its bucket policy, as it was handed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What it does with versions; `None` until it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versioning: Option<Versioning>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
    /// Its public access block; buckets from before there was one have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_access_block: Option<PublicAccessBlock>,
}

impl Bucket {
    /// A bucket of which nothing is set but the block of public access that AWS's new buckets have.
    pub fn new(owner: impl Into<String>, region: impl Into<String>, created: Millis) -> Self {
        let (owner, region) = (owner.into(), region.into());
        Self {
            owner,
            region,
            created,
            policy: None,
            versioning: None,
            tags: Tags::new(),
            public_access_block: Some(PublicAccessBlock::ALL),
        }
    }
}

/// The headers that a client stores with an object and gets back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Headers {
    /// Content-Type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Cache-Control.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Content-Disposition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// Content-Encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// Content-Language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// Expires, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_seconds: Option<i64>,
    /// User metadata, names in lower case without `x-amz-meta-`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user: BTreeMap<String, String>,
}

impl Headers {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A checksum as S3 shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// Which one.
    pub algorithm: Algorithm,
    /// What it was computed over.
    pub kind: ChecksumKind,
    /// Base64, with `-N` for a composite one over N parts.
    pub value: String,
}

/// Where an object's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// In the index, under this body number.
    Inline(u64),
    /// In one content file.
    Blob(Hex128),
    /// In several content files, listed in the index under this body number.
    Parts(u64),
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// Length of the content in bytes.
    pub size: u64,
    /// The ETag without quotes.
    pub etag: String,
    /// When it was written.
    pub modified: Millis,
    /// Where its bytes are.
    pub content: Content,
    /// What the client stored beside the bytes.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// Its checksum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<Checksum>,
    /// Number of parts if it came from a multipart upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
    /// Which version of its key it is; `None` for the null version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
}

/// A delete marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Which version of its key it is; `None` for the null version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionId>,
    /// When it was made.
    pub modified: Millis,
}

/// A version of a key.
#[expect(clippy::large_enum_variant, reason = "it is read, looked at and dropped, a few at a time")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Version {
    /// An object.
    Object(Object),
    /// A delete marker.
    Marker(Marker),
}

impl Version {
    /// Its id; `None` for the null version.
    pub fn id(&self) -> Option<VersionId> {
        match self {
            Self::Object(object) => object.version,
            Self::Marker(marker) => marker.version,
        }
    }
}

/// One of the content files of an object made from parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The content file.
    pub blob: Hex128,
    /// Its length in bytes.
    pub size: u64,
    /// The part's own checksum, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// A multipart upload in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// When it was begun.
    pub initiated: Millis,
    /// The account that began it.
    pub initiator: String,
    /// What the object will carry.
    #[serde(default, skip_serializing_if = "Headers::is_empty")]
    pub headers: Headers,
    /// The tags that the object will have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: Tags,
    /// The checksum of its parts and of the object.
    pub algorithm: Algorithm,
    /// How the object's checksum comes from those of the parts.
    pub kind: ChecksumKind,
    /// Whether the client named the algorithm; if not, parts' checksums are not shown.
    pub algorithm_named: bool,
}

/// An uploaded part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Length in bytes.
    pub size: u64,
    /// MD5 in hexadecimal; also its ETag.
    pub etag: String,
    /// Its checksum in the upload's algorithm, base64.
    pub checksum: String,
    /// When it was written.
    pub modified: Millis,
    /// Its content file.
    pub blob: Hex128,
}

/// 128 bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex128(pub u128);

impl Serialize for Hex128 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:032x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Hex128 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
