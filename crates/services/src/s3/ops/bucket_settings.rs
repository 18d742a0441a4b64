//! What is set of a bucket: versioning and tags.

use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;

use super::shape::refuse;
use super::tagging::{self, Of};
use super::unset::has_no;
use super::{Failure, Keys, Session};
use crate::s3::storage::record::Versioning;

impl Session<'_> {
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html>
    pub(super) async fn put_bucket_versioning(
        self,
        input: PutBucketVersioningInput,
    ) -> Result<S3Response<PutBucketVersioningOutput>, Failure> {
        let PutBucketVersioningInput {
            bucket,
            // Both digests were verified with the document.
            checksum_algorithm: _,
            content_md5: _,
            expected_bucket_owner,
            mfa,
            versioning_configuration: VersioningConfiguration { mfa_delete, status },
        } = input;
        refuse! { mfa => "x-amz-mfa" }
        let owner = expected_bucket_owner.as_deref();
        let opened = self.open("s3:PutBucketVersioning", &bucket, None, owner, Keys::new())?;
        match mfa_delete.as_ref().map(MFADelete::as_str) {
            // Nobody has a device here that would be asked.
            None | Some(MFADelete::DISABLED) => {}
            Some(MFADelete::ENABLED) => return Err(Failure::not_implemented_element("MfaDelete")),
            Some(_) => return Err(Failure::malformed_xml()),
        }
        let versioning = match status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            Some(_) => return Err(Failure::malformed_xml()),
            None => {
                return Err(Failure::new(
                    StatusCode::BAD_REQUEST,
                    "IllegalVersioningConfigurationException",
                    "The Versioning element must be specified",
                ));
            }
        };
        opened.store().change_bucket(&bucket, move |bucket| bucket.versioning = Some(versioning)).await?;
        Ok(S3Response::new(PutBucketVersioningOutput {}))
    }

    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html>
    pub(super) async fn put_bucket_tagging(
        self,
        input: PutBucketTaggingInput,
    ) -> Result<S3Response<PutBucketTaggingOutput>, Failure> {
        let PutBucketTaggingInput {
            bucket,
            checksum_algorithm: _,
            content_md5: _,
            expected_bucket_owner,
            tagging,
        } = input;
        let owner = expected_bucket_owner.as_deref();
        let opened = self.open("s3:PutBucketTagging", &bucket, None, owner, Keys::new())?;
        let tags = tagging::of_document(tagging, Of::Bucket)?;
        opened.store().change_bucket(&bucket, move |bucket| bucket.tags = tags).await?;
        Ok(S3Response::with_status(PutBucketTaggingOutput {}, StatusCode::NO_CONTENT))
    }

    pub(super) async fn get_bucket_tagging(
        self,
        input: GetBucketTaggingInput,
    ) -> Result<S3Response<GetBucketTaggingOutput>, Failure> {
        let GetBucketTaggingInput { bucket, expected_bucket_owner } = input;
        let owner = expected_bucket_owner.as_deref();
        let opened = self.open("s3:GetBucketTagging", &bucket, None, owner, Keys::new())?;
        match opened.store().bucket(&bucket)?.map(|record| record.tags).filter(|tags| !tags.is_empty()) {
            Some(tags) => Ok(S3Response::new(GetBucketTaggingOutput { tag_set: tagging::shown(&tags) })),
            None => Err(has_no("NoSuchTagSet", "The TagSet does not exist", &bucket)),
        }
    }

    pub(super) async fn delete_bucket_tagging(
        self,
        input: DeleteBucketTaggingInput,
    ) -> Result<S3Response<DeleteBucketTaggingOutput>, Failure> {
        let DeleteBucketTaggingInput { bucket, expected_bucket_owner } = input;
        let owner = expected_bucket_owner.as_deref();
        // "To use this operation, you must have permission to perform the s3:PutBucketTagging action."
        // Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketTagging.html>
        let opened = self.open("s3:PutBucketTagging", &bucket, None, owner, Keys::new())?;
        opened.store().change_bucket(&bucket, |bucket| bucket.tags.clear()).await?;
        Ok(S3Response::with_status(DeleteBucketTaggingOutput {}, StatusCode::NO_CONTENT))
    }
}
