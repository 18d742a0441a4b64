//! CopyObject, and the source side of UploadPartCopy.

use futures::StreamExt as _;
use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;

use super::conditions::{ReadConditions, header_condition, write_condition};
use super::integrity::{MAX_PUT_BYTES, algorithm_named};
use super::shape::{self, check_version, full_checksum, put_checksum, refuse, timestamp};
use super::write::{refuse_early, refuse_write_extras, written};
use super::{Failure, Keys, Session, now};
use crate::s3::storage::blob::{Intake, Source, Taken};
use crate::s3::storage::digest::Algorithm;
use crate::s3::storage::record::Object as Stored;
use crate::s3::storage::{Attributes, StoreError};

/// A copy source, as the request names it.
pub(super) struct From {
    pub(super) source: CopySource,
    pub(super) owner: Option<String>,
    pub(super) conditions: ReadConditions,
}

impl Session<'_> {
    /// Asks for the source and looks it up.
    pub(super) fn source(&self, from: &From) -> Result<(String, String, Stored, Source), Failure> {
        let (bucket, key) = match &from.source {
            CopySource::Bucket { bucket, key, version_id } => {
                check_version(version_id.as_deref())?;
                (bucket.to_string(), key.to_string())
            }
            CopySource::AccessPoint { .. } | CopySource::Outpost { .. } => {
                return Err(Failure::not_implemented("x-amz-copy-source"));
            }
        };
        let opened = self.open("s3:GetObject", &bucket, Some(&key), from.owner.as_deref(), Keys::new())?;
        let (object, source) = self.fetch(&opened, &key)?;
        from.conditions.check_source(&object)?;
        Ok((bucket, key, object, source))
    }

    pub(super) async fn copy_object(
        self,
        input: CopyObjectInput,
    ) -> Result<S3Response<CopyObjectOutput>, Failure> {
        written! { written = input as CopyObjectInput, besides:
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
        check_tagging_directive(tagging_directive.as_ref())?;
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
        let target =
            self.open("s3:PutObject", &bucket, Some(&key), expected_bucket_owner.as_deref(), Keys::new())?;
        let (source_bucket, source_key, object, source) = self.source(&from)?;
        if !replace_headers
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
        let attributes = Attributes { headers, modified: now(), checksum: Some(checksum.clone()) };
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
            ..CopyObjectOutput::default()
        }))
    }
}

/// There are no tags to copy, and with tags to set `x-amz-tagging` is refused: both directives come to the same.
fn check_tagging_directive(directive: Option<&TaggingDirective>) -> Result<(), Failure> {
    match directive.map(TaggingDirective::as_str) {
        None | Some(TaggingDirective::COPY | TaggingDirective::REPLACE) => Ok(()),
        Some(other) => {
            Err(Failure::invalid_argument("x-amz-tagging-directive", other, "Unknown tagging directive."))
        }
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
