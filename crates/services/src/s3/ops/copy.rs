//! CopyObject, and the source side of UploadPartCopy.

use futures::StreamExt as _;
use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;

use super::conditions::{ReadConditions, header_condition, write_condition};
use super::integrity::{MAX_PUT_BYTES, algorithm_named};
use super::shape::{self, full_checksum, put_checksum, refuse, timestamp, which};
use super::tagging::{copied, request_keys};
use super::target::{self, Target};
use super::write::{refuse_early, refuse_write_extras, written};
use super::{Failure, Keys, Opened, Session, now};
use crate::s3::storage::blob::{Intake, Source, Taken};
use crate::s3::storage::digest::Algorithm;
use crate::s3::storage::record::{Object as Stored, Tags};
use crate::s3::storage::version::Which;
use crate::s3::storage::{Attributes, StoreError};

/// A copy source, as the request names it.
pub(super) struct From {
    pub(super) source: CopySource,
    pub(super) owner: Option<String>,
    pub(super) conditions: ReadConditions,
}

/// What a copy source turned out to be.
pub(super) struct Sourced<'o> {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) which: Which,
    pub(super) object: Stored,
    pub(super) source: Source,
    /// Its version, as the answer names it.
    pub(super) version: Option<String>,
    opened: Opened<'o>,
}

impl<'o> Session<'o> {
    /// Asks for the source and looks it up.
    pub(super) fn source(&self, from: &From) -> Result<Sourced<'o>, Failure> {
        let (bucket, key, which) = match &from.source {
            CopySource::Bucket { bucket, key, version_id } => {
                (bucket.to_string(), key.to_string(), which(version_id.as_deref())?)
            }
            CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
                return Err(Failure::not_implemented("x-amz-copy-source"));
            }
        };
        let target = Target { bucket: &bucket, key: &key, which, owner: from.owner.as_deref() };
        let (opened, object, source) =
            self.object(target::GET, &target, Keys::new()).map_err(|failure| match failure.code {
                "MethodNotAllowed" => Failure::invalid_request(
                    "The source of a copy request may not specifically refer to a delete marker by version id.",
                ),
                _ => failure,
            })?;
        from.conditions.check_source(&object)?;
        let version = opened.shown_version(&object);
        Ok(Sourced { bucket, key, which, object, source, version, opened })
    }

    /// The tags of a copy. Those of the source the caller must be allowed to read.
    fn copied_tags(
        &self,
        sourced: &Sourced<'_>,
        directive: Option<&TaggingDirective>,
        given: Tags,
    ) -> Result<Tags, Failure> {
        let tags = copied(directive, &sourced.object, given)?;
        let from_source = directive.is_none_or(|directive| directive.as_str() == TaggingDirective::COPY);
        if from_source && !tags.is_empty() {
            let Sourced { bucket, key, which, .. } = sourced;
            let target = Target { bucket, key, which: *which, owner: None };
            self.also(&sourced.opened, target::GET_TAGGING, &target, &sourced.object)?;
        }
        Ok(tags)
    }

    pub(super) async fn copy_object(
        self,
        input: CopyObjectInput,
    ) -> Result<S3Response<CopyObjectOutput>, Failure> {
        written! { written, given_tags = input as CopyObjectInput, besides:
            bucket,
            checksum_algorithm,
            copy_source,
            copy_source_if_match,
            copy_source_if_modified_since,
            copy_source_if_none_match,
            copy_source_if_unmodified_since,
            copy_source_sse_customer_algorithm,
            copy_source_sse_customer_key,
            copy_source_sse_customer_key_md5,
            expected_bucket_owner,
            expected_source_bucket_owner,
            key,
            metadata_directive,
            tagging_directive,
        }
        refuse_write_extras!(
            copy_source_sse_customer_algorithm,
            copy_source_sse_customer_key,
            copy_source_sse_customer_key_md5
        );
        // The protocol layer does not read these two.
        let if_match = header_condition(&self.headers, &http::header::IF_MATCH)?;
        let if_none_match = header_condition(&self.headers, &http::header::IF_NONE_MATCH)?;
        let condition = write_condition(if_match.as_ref(), if_none_match.as_ref())?;
        let replace_headers = match metadata_directive.as_ref().map(MetadataDirective::as_str) {
            None | Some(MetadataDirective::COPY) => false,
            Some(MetadataDirective::REPLACE) => true,
            Some(other) => {
                return Err(Failure::invalid_argument(
                    "x-amz-metadata-directive",
                    other,
                    "Unknown metadata directive.",
                ));
            }
        };
        let from = From {
            source: copy_source,
            owner: expected_source_bucket_owner,
            conditions: ReadConditions {
                if_match: copy_source_if_match,
                if_none_match: copy_source_if_none_match,
                if_modified_since: copy_source_if_modified_since,
                if_unmodified_since: copy_source_if_unmodified_since,
            },
        };
        let owner = expected_bucket_owner.as_deref();
        let target = self.open("s3:PutObject", &bucket, Some(&key), owner, request_keys(&given_tags))?;
        let sourced = self.source(&from)?;
        let tags = self.copied_tags(&sourced, tagging_directive.as_ref(), given_tags)?;
        self.may_tag(&target, &key, &tags)?;
        let Sourced { bucket: source_bucket, key: source_key, which, object, source, version, .. } = sourced;
        // A version by its id can be copied onto its own key: that is how it is made current again.
        // Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/RestoringPreviousVersions.html>
        let restores = which != Which::Latest && target.versioning.is_some();
        if !replace_headers
            && !restores
            && checksum_algorithm.is_none()
            && (&source_bucket, &source_key) == (&bucket, &key)
        {
            return Err(Failure::invalid_request(
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        if object.size > MAX_PUT_BYTES {
            return Err(Failure::invalid_request(format!(
                "The specified copy source is larger than the maximum allowable size for a copy source: {MAX_PUT_BYTES}"
            )));
        }
        let headers = if replace_headers { written.keep()? } else { object.headers.clone() };
        let algorithm = copied_algorithm(checksum_algorithm.as_ref(), &object)?;
        let store = target.store();
        refuse_early(store, &bucket, &key, &condition)?;
        let taken = pump(&source, 0..object.size, store.intake(algorithm)).await?;
        let checksum = full_checksum(&taken.sums);
        let attributes = Attributes { headers, modified: now(), checksum: Some(checksum.clone()), tags };
        let copied = store.put_object(&bucket, &key, taken, attributes, condition).await?;
        let mut result = CopyObjectResult {
            e_tag: Some(shape::etag(&copied.etag)),
            last_modified: Some(timestamp(copied.modified)),
            checksum_type: Some(shape::kind(checksum.kind)),
            ..CopyObjectResult::default()
        };
        put_checksum!(result, checksum.algorithm, &checksum.value);
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            copy_source_version_id: version,
            version_id: shape::written_version(copied.version),
            ..CopyObjectOutput::default()
        }))
    }
}

/// The named algorithm, or that of the source.
fn copied_algorithm(named: Option<&ChecksumAlgorithm>, object: &Stored) -> Result<Algorithm, Failure> {
    match named {
        Some(name) => algorithm_named(name.as_str()).ok_or_else(|| {
            Failure::new(
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, \
                 CRC32C, CRC64NVME, SHA1, SHA256]",
            )
        }),
        None => Ok(object.checksum.as_ref().map_or(Algorithm::Crc64Nvme, |checksum| checksum.algorithm)),
    }
}

/// Copies a range of a source into an intake.
pub(super) async fn pump(
    source: &Source,
    span: std::ops::Range<u64>,
    mut intake: Intake,
) -> Result<Taken, StoreError> {
    let mut stream = source.stream(span);
    while let Some(chunk) = stream.next().await {
        intake.push(chunk?).await?;
    }
    intake.finish().await
}
