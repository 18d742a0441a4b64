//! The operations, from parsed input to output.
//!
//! Each takes its input apart field by field, so that a field added to the protocol must be looked at: it is honoured,
//! or refused by name. Each says what it asks for and gets a permit before it touches the store.
//!
//! INVARIANT: the store is reached only through [`Vault::open`], which takes a permit.

mod attributes;
mod bucket;
mod bucket_settings;
mod conditions;
mod copy;
mod delete;
pub(in crate::s3) mod integrity;
mod list;
mod multipart;
mod policy;
mod public;
mod read;
mod shape;
mod tagging;
mod target;
mod unset;
mod write;

use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Uri};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::admission::Admission;
use super::error::Failure;
use super::gate::{Ask, BucketFacts, Caller, Gate, KeyValue, Keys, Permit};
use super::precheck::AuthType;
use super::service::PolicyCheck;
use super::storage::record::{Bucket as StoredBucket, Millis, Versioning};
use super::storage::{Store, StoreError};

/// The store behind a lock that only a permit opens.
struct Vault {
    store: Store,
}

impl Vault {
    fn open(&self, _permit: &Permit) -> &Store {
        &self.store
    }

    /// What authorisation itself needs to know.
    fn facts(&self, bucket: &str) -> Result<Option<Facts>, StoreError> {
        Ok(self.store.bucket(bucket)?.map(|found| Facts::of(bucket, found)))
    }
}

/// What is known of a bucket before it is known whether the caller may do anything in it.
struct Facts {
    bucket: Arc<BucketFacts>,
    versioning: Option<Versioning>,
}

impl Facts {
    fn of(name: &str, record: StoredBucket) -> Self {
        let StoredBucket { owner, policy, versioning, public_access_block, .. } = record;
        let restricts_public = public_access_block.is_some_and(|block| block.restrict_public_buckets);
        let policy = policy.map(Arc::from);
        let bucket = BucketFacts { name: name.to_owned(), owner, policy, restricts_public };
        Self { bucket: Arc::new(bucket), versioning }
    }
}

/// The operations over one store.
pub(super) struct Operations {
    vault: Vault,
    gate: Arc<dyn Gate>,
    region: String,
    policy_check: Option<PolicyCheck>,
}

impl Operations {
    pub(super) fn new(
        store: Store,
        gate: Arc<dyn Gate>,
        region: String,
        policy_check: Option<PolicyCheck>,
    ) -> Self {
        Self { vault: Vault { store }, gate, region, policy_check }
    }

    /// Takes the admission out of a request and splits it into session and input.
    fn begin<T>(&self, request: S3Request<T>) -> Result<(Session<'_>, T), Failure> {
        let S3Request { input, method, uri, headers, mut extensions, trailing_headers, .. } = request;
        let Admission { caller, auth } =
            extensions.remove::<Admission>().ok_or_else(|| Failure::access_denied("Access Denied"))?;
        Ok((Session { ops: self, caller, auth, method, uri, headers, extensions, trailing_headers }, input))
    }
}

/// The operations, for the protocol layer of one request.
pub(super) struct Shared(pub(super) Arc<Operations>);

/// One admitted request.
struct Session<'o> {
    ops: &'o Operations,
    caller: Caller,
    auth: AuthType,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
    trailing_headers: Option<s3s::TrailingHeaders>,
}

/// A bucket that exists, and the permit for what is to be done in it.
struct Opened<'o> {
    facts: Arc<BucketFacts>,
    versioning: Option<Versioning>,
    permit: Permit,
    vault: &'o Vault,
}

impl Opened<'_> {
    fn store(&self) -> &Store {
        self.vault.open(&self.permit)
    }
}

impl<'o> Session<'o> {
    /// Asks the gate.
    fn permit(
        &self,
        action: &'static str,
        resource: String,
        bucket: Option<&Arc<BucketFacts>>,
        mut context: Keys,
    ) -> Result<Permit, Failure> {
        self.common_keys(bucket.map(Arc::as_ref), &mut context);
        let ask = Ask { action, resource, bucket: bucket.cloned(), context };
        Ok(self.ops.gate.authorise(&self.extensions, &ask)?)
    }

    /// Condition keys that every request to S3 has.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/bucket-policy-s3-sigv4-conditions.html>
    fn common_keys(&self, bucket: Option<&BucketFacts>, keys: &mut Keys) {
        let mut set = |key: &'static str, value: String| {
            keys.insert(key.into(), KeyValue::One(value));
        };
        if let Some(bucket) = bucket {
            set("s3:ResourceAccount", bucket.owner.clone());
        }
        match self.auth {
            AuthType::Anonymous => {}
            AuthType::Header => {
                set("s3:authType", "REST-HEADER".to_owned());
                set("s3:signatureversion", "AWS4-HMAC-SHA256".to_owned());
            }
            AuthType::Query => {
                set("s3:authType", "REST-QUERY-STRING".to_owned());
                set("s3:signatureversion", "AWS4-HMAC-SHA256".to_owned());
                if let Some(age) = self.signature_age_millis() {
                    set("s3:signatureAge", age.to_string());
                }
            }
        }
        for (header, key) in [
            ("x-amz-content-sha256", "s3:x-amz-content-sha256"),
            ("x-amz-acl", "s3:x-amz-acl"),
            ("x-amz-copy-source", "s3:x-amz-copy-source"),
            ("x-amz-metadata-directive", "s3:x-amz-metadata-directive"),
            ("x-amz-storage-class", "s3:x-amz-storage-class"),
            ("x-amz-object-ownership", "s3:x-amz-object-ownership"),
            ("if-match", "s3:if-match"),
            ("if-none-match", "s3:if-none-match"),
        ] {
            if let Some(value) = self.headers.get(header).and_then(|value| value.to_str().ok()) {
                set(key, value.to_owned());
            }
        }
    }

    fn signature_age_millis(&self) -> Option<i64> {
        let query = self.uri.query()?;
        let date = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Date="))?;
        let format = time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let signed = time::PrimitiveDateTime::parse(date, &format).ok()?.assume_utc();
        i64::try_from((time::OffsetDateTime::now_utc() - signed).whole_milliseconds()).ok()
    }

    /// Asks for `action` on a bucket or on `key` in it, and requires that the bucket exists and belongs to whom the
    /// client expects.
    fn open(
        &self,
        action: &'static str,
        bucket: &str,
        key: Option<&str>,
        expected_owner: Option<&str>,
        context: Keys,
    ) -> Result<Opened<'o>, Failure> {
        let facts = self.ops.vault.facts(bucket)?;
        self.enter(action, (bucket, key), expected_owner, facts, context)
    }

    /// As [`Session::open`], once it was looked whether there is such a bucket.
    fn enter(
        &self,
        action: &'static str,
        (bucket, key): (&str, Option<&str>),
        expected_owner: Option<&str>,
        facts: Option<Facts>,
        context: Keys,
    ) -> Result<Opened<'o>, Failure> {
        // Bucket names are public; who is nobody learns that a name is free, as on AWS.
        if facts.is_none() && self.caller == Caller::Anonymous {
            return Err(Failure::no_such_bucket(bucket));
        }
        let known = facts.as_ref().map(|facts| &facts.bucket);
        let permit = self.permit(action, arn(bucket, key), known, context)?;
        // AWS answers 301 (PermanentRedirect) for a bucket of another region. A region of Postern's knows of no other one, so
        // that every bucket which is not here is nowhere, and there is no address to send a client to.
        let Facts { bucket: facts, versioning } = facts.ok_or_else(|| Failure::no_such_bucket(bucket))?;
        if expected_owner.is_some_and(|expected| expected != facts.owner) {
            return Err(Failure::access_denied("Access Denied"));
        }
        Ok(Opened { facts, versioning, permit, vault: &self.ops.vault })
    }

    /// The caller's account, for operations that nobody may do anonymously.
    fn account(&self) -> Result<&str, Failure> {
        self.caller.account().ok_or_else(|| Failure::access_denied("Access Denied"))
    }
}

/// The ARN of a bucket or of an object in it.
fn arn(bucket: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
        None => format!("arn:aws:s3:::{bucket}"),
    }
}

/// Now.
pub(super) fn now() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs store work that may read much of the index off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(StoreError::Failed(error.to_string()).into()),
    }
}

type Answer<T> = S3Result<S3Response<T>>;

macro_rules! serve {
    ($($operation:ident($input:ty) -> $output:ty;)*) => {
        #[async_trait::async_trait]
        impl S3 for Shared {
            $(async fn $operation(&self, request: S3Request<$input>) -> Answer<$output> {
                let (session, input) = self.0.begin(request)?;
                Ok(session.$operation(input).await?)
            })*
        }
    };
}

serve! {
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
    copy_object(CopyObjectInput) -> CopyObjectOutput;
    create_bucket(CreateBucketInput) -> CreateBucketOutput;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
    delete_bucket_tagging(DeleteBucketTaggingInput) -> DeleteBucketTaggingOutput;
    delete_bucket_policy(DeleteBucketPolicyInput) -> DeleteBucketPolicyOutput;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    delete_public_access_block(DeletePublicAccessBlockInput) -> DeletePublicAccessBlockOutput;
    get_bucket_accelerate_configuration(GetBucketAccelerateConfigurationInput) -> GetBucketAccelerateConfigurationOutput;
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput;
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput;
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput;
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput) -> GetBucketLifecycleConfigurationOutput;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput;
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput) -> GetBucketNotificationConfigurationOutput;
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput;
    get_bucket_policy(GetBucketPolicyInput) -> GetBucketPolicyOutput;
    get_bucket_policy_status(GetBucketPolicyStatusInput) -> GetBucketPolicyStatusOutput;
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput;
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput;
    get_bucket_tagging(GetBucketTaggingInput) -> GetBucketTaggingOutput;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput;
    get_object(GetObjectInput) -> GetObjectOutput;
    get_object_acl(GetObjectAclInput) -> GetObjectAclOutput;
    get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput;
    get_object_legal_hold(GetObjectLegalHoldInput) -> GetObjectLegalHoldOutput;
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput;
    get_object_retention(GetObjectRetentionInput) -> GetObjectRetentionOutput;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput;
    get_public_access_block(GetPublicAccessBlockInput) -> GetPublicAccessBlockOutput;
    head_bucket(HeadBucketInput) -> HeadBucketOutput;
    head_object(HeadObjectInput) -> HeadObjectOutput;
    list_buckets(ListBucketsInput) -> ListBucketsOutput;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput;
    list_objects(ListObjectsInput) -> ListObjectsOutput;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
    list_parts(ListPartsInput) -> ListPartsOutput;
    put_bucket_acl(PutBucketAclInput) -> PutBucketAclOutput;
    put_bucket_ownership_controls(PutBucketOwnershipControlsInput) -> PutBucketOwnershipControlsOutput;
    put_bucket_policy(PutBucketPolicyInput) -> PutBucketPolicyOutput;
    put_bucket_tagging(PutBucketTaggingInput) -> PutBucketTaggingOutput;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput;
    put_object(PutObjectInput) -> PutObjectOutput;
    put_object_acl(PutObjectAclInput) -> PutObjectAclOutput;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput;
    put_public_access_block(PutPublicAccessBlockInput) -> PutPublicAccessBlockOutput;
    upload_part(UploadPartInput) -> UploadPartOutput;
    upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
}
