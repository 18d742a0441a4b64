//! What the protocol layer may go on with: operations that are served and headers that are understood.
//!
//! INVARIANT: every operation takes the [`Admission`] out of its request; without one, because this check did not
//! run, it refuses.

use std::sync::Arc;

use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Result, s3_error};

use super::error::Failure;
use super::gate::{Caller, Gate};
use super::precheck::{AuthType, Claim};

/// The mark that a request passed [`Admit`].
#[derive(Clone, Debug)]
pub(super) struct Admission {
    pub(super) caller: Caller,
    pub(super) auth: AuthType,
}

/// The operations that are served. All others answer NotImplemented.
const SERVED: [&str; 23] = [
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteBucketPolicy",
    "DeleteObject",
    "DeleteObjects",
    "GetBucketLocation",
    "GetBucketPolicy",
    "GetObject",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutBucketPolicy",
    "PutObject",
    "UploadPart",
    "UploadPartCopy",
];

/// The `x-amz-` headers that some operation reads; an operation refuses those it reads but cannot honour. A header
/// that is not here is refused for every operation.
const UNDERSTOOD: [&str; 57] = [
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
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-object-ownership",
    "x-amz-optional-object-attributes",
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
        if !SERVED.contains(&name) {
            return Err(Failure::new(
                http::StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                format!("The operation {name} is not implemented"),
            )
            .into());
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

/// Hands secrets to the signature check.
pub(super) struct Secrets(pub(super) Arc<dyn Gate>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        match self.0.secret(access_key) {
            Some(known) => Ok(SecretKey::from(known.secret_key)),
            None => Err(s3_error!(InvalidAccessKeyId)),
        }
    }
}
