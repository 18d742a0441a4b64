//! What the protocol layer may go on with: operations that are served and headers that are understood.
//!
//! INVARIANT: every operation takes the [`Admission`] out of its request; without one, because this check did not
//! run, it refuses.

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::error::Failure;
use super::gate::Caller;
use super::precheck::{AuthType, Claim, KnownKey, decode};

/// The mark that a request passed [`Admit`].
#[derive(Clone, Debug)]
pub(super) struct Admission {
    pub(super) caller: Caller,
    pub(super) auth: AuthType,
}

/// The operations that are served, each with the words of the query string that name it. All others answer
/// NotImplemented.
const SERVED: &[(&str, &[&str])] = &[
    ("AbortMultipartUpload", &[]),
    ("CompleteMultipartUpload", &[]),
    ("CopyObject", &[]),
    ("CreateBucket", &[]),
    ("CreateMultipartUpload", &["uploads"]),
    ("DeleteBucket", &[]),
    ("DeleteBucketPolicy", &["policy"]),
    ("DeleteBucketTagging", &["tagging"]),
    ("DeleteObject", &[]),
    ("DeleteObjectTagging", &["tagging"]),
    ("DeleteObjects", &["delete"]),
    ("DeletePublicAccessBlock", &["publicAccessBlock"]),
    ("GetBucketAccelerateConfiguration", &["accelerate"]),
    ("GetBucketAcl", &["acl"]),
    ("GetBucketCors", &["cors"]),
    ("GetBucketEncryption", &["encryption"]),
    ("GetBucketLifecycleConfiguration", &["lifecycle"]),
    ("GetBucketLocation", &["location"]),
    ("GetBucketLogging", &["logging"]),
    ("GetBucketNotificationConfiguration", &["notification"]),
    ("GetBucketOwnershipControls", &["ownershipControls"]),
    ("GetBucketPolicy", &["policy"]),
    ("GetBucketPolicyStatus", &["policyStatus"]),
    ("GetBucketReplication", &["replication"]),
    ("GetBucketRequestPayment", &["requestPayment"]),
    ("GetBucketTagging", &["tagging"]),
    ("GetBucketVersioning", &["versioning"]),
    ("GetBucketWebsite", &["website"]),
    ("GetObject", &[]),
    ("GetObjectAcl", &["acl"]),
    ("GetObjectAttributes", &["attributes"]),
    ("GetObjectLegalHold", &["legal-hold"]),
    ("GetObjectLockConfiguration", &["object-lock"]),
    ("GetObjectRetention", &["retention"]),
    ("GetObjectTagging", &["tagging"]),
    ("GetPublicAccessBlock", &["publicAccessBlock"]),
    ("HeadBucket", &[]),
    ("HeadObject", &[]),
    ("ListBuckets", &[]),
    ("ListMultipartUploads", &["uploads"]),
    ("ListObjects", &[]),
    ("ListObjectVersions", &["versions"]),
    ("ListObjectsV2", &[]),
    ("ListParts", &[]),
    ("PutBucketAcl", &["acl"]),
    ("PutBucketOwnershipControls", &["ownershipControls"]),
    ("PutBucketPolicy", &["policy"]),
    ("PutBucketTagging", &["tagging"]),
    ("PutBucketVersioning", &["versioning"]),
    ("PutObject", &[]),
    ("PutObjectAcl", &["acl"]),
    ("PutObjectTagging", &["tagging"]),
    ("PutPublicAccessBlock", &["publicAccessBlock"]),
    ("UploadPart", &[]),
    ("UploadPartCopy", &[]),
];

/// The words of query strings by which AWS tells its operations apart. The protocol layer does not know all of them
/// and would take a request with one it does not know for another operation: `PUT /bucket/key?annotation` for an
/// upload of the object.
const NAMING_WORDS: [&str; 40] = [
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataAnnotationTable",
    "metadataConfiguration",
    "metadataInventoryTable",
    "metadataJournalTable",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploads",
    "versioning",
    "versions",
    "website",
];

/// A word in the query string that names another operation than this one.
fn foreign_word(operation: &str, query: Option<&str>) -> Option<&'static str> {
    let own = SERVED.iter().find(|(name, _)| *name == operation).map_or(&[][..], |(_, words)| *words);
    let given = query.unwrap_or_default().split('&').filter_map(|pair| decode(pair.split('=').next()?));
    let mut given = given.filter(|word| !own.contains(&word.as_str()));
    given.find_map(|word| NAMING_WORDS.iter().find(|naming| **naming == word).copied())
}

/// The `x-amz-` headers that some operation reads; an operation refuses those it reads but cannot honour. A header
/// that is not here is refused for every operation.
const UNDERSTOOD: [&str; 60] = [
    "x-amz-acl",
    "x-amz-api-version",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-bypass-governance-retention",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-mode",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-confirm-remove-self-bucket-access",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-expected-bucket-owner",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-if-match-initiated-time",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-metadata-directive",
    "x-amz-mfa",
    "x-amz-mp-object-size",
    "x-amz-max-parts",
    "x-amz-object-attributes",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-ownership",
    "x-amz-optional-object-attributes",
    "x-amz-part-number-marker",
    "x-amz-request-payer",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-security-token",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-source-expected-bucket-owner",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-trailer",
];

/// Whether a header is one that some operation reads.
fn is_understood(name: &str) -> bool {
    let Some(_) = name.strip_prefix("x-amz-") else { return true };
    name.starts_with("x-amz-meta-")
        || matches!(name, "x-amz-user-agent" | "x-amz-website-redirect-location" | "x-amz-write-offset-bytes")
        || UNDERSTOOD.contains(&name)
}

fn not_served(message: &str) -> s3s::S3Error {
    Failure::new(http::StatusCode::NOT_IMPLEMENTED, "NotImplemented", message).into()
}

/// The default-deny check in front of every operation.
pub(super) struct Admit;

#[async_trait::async_trait]
impl S3Access for Admit {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let Claim { caller, auth } =
            cx.extensions_mut().remove::<Claim>().ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))?;
        // The protocol layer parsed the signature on its own: both must have read the same key, or none.
        let verified = cx.credentials().map(|credentials| credentials.access_key.as_str());
        let claimed = match &caller {
            Caller::Anonymous => None,
            Caller::Signed { access_key, .. } => Some(access_key.as_str()),
        };
        if verified != claimed {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let name = cx.s3_op().name();
        if !SERVED.iter().any(|(served, _)| *served == name) {
            return Err(not_served(&format!("The operation {name} is not implemented")));
        }
        if let Some(word) = foreign_word(name, cx.uri().query()) {
            return Err(not_served(&format!(
                "The operation with `{word}` in its query string is not implemented"
            )));
        }
        if let Some(header) = cx.headers().keys().find(|name| !is_understood(name.as_str())) {
            return Err(Failure::not_implemented(header.as_str()).into());
        }
        let extensions = cx.extensions_mut();
        extensions.insert(caller.clone());
        extensions.insert(Admission { caller, auth });
        Ok(())
    }
}

/// Hands the signature check the one secret that the request's key has.
pub(super) struct OneKey(pub(super) Option<KnownKey>);

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match &self.0 {
            Some(known) if known.access_key == access_key => Ok(SecretKey::from(known.secret.as_str())),
            Some(_) | None => Err(s3_error!(InvalidAccessKeyId)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_names_another_operation_is_found() {
        assert_eq!(foreign_word("PutObject", Some("annotation=x")), Some("annotation"));
        assert_eq!(foreign_word("PutObject", Some("x-id=PutObject&X-Amz-Date=1")), None);
        assert_eq!(foreign_word("ListObjects", Some("abac")), Some("abac"));
        assert_eq!(foreign_word("ListObjects", Some("%61bac=")), Some("abac"));
        assert_eq!(foreign_word("GetBucketPolicy", Some("policy")), None);
        assert_eq!(foreign_word("GetBucketPolicy", Some("policy&acl")), Some("acl"));
        assert_eq!(foreign_word("GetObject", None), None);
    }
}
