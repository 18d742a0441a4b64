//! What keeps a bucket from being public: Block Public Access, ownership of objects, and ACLs, which are off.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html>

use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;

use super::shape::{acl_not_supported, check_payer, which};
use super::target::{self, Target};
use super::unset::has_no;
use super::{Failure, Keys, Session};
use crate::s3::storage::record::PublicAccessBlock;

impl Session<'_> {
    pub(super) async fn put_public_access_block(
        self,
        input: PutPublicAccessBlockInput,
    ) -> Result<S3Response<PutPublicAccessBlockOutput>, Failure> {
        let PutPublicAccessBlockInput {
            bucket,
            // Both digests were verified with the document.
            checksum_algorithm: _,
            content_md5: _,
            expected_bucket_owner,
            public_access_block_configuration:
                PublicAccessBlockConfiguration {
                    block_public_acls,
                    block_public_policy,
                    ignore_public_acls,
                    restrict_public_buckets,
                },
        } = input;
        let owner = expected_bucket_owner.as_deref();
        let opened = self.open("s3:PutBucketPublicAccessBlock", &bucket, None, owner, Keys::new())?;
        let block = PublicAccessBlock {
            block_public_acls: block_public_acls.unwrap_or(false),
            ignore_public_acls: ignore_public_acls.unwrap_or(false),
            block_public_policy: block_public_policy.unwrap_or(false),
            restrict_public_buckets: restrict_public_buckets.unwrap_or(false),
        };
        opened.store().change_bucket(&bucket, move |bucket| bucket.public_access_block = Some(block)).await?;
        Ok(S3Response::new(PutPublicAccessBlockOutput {}))
    }

    pub(super) async fn get_public_access_block(
        self,
        input: GetPublicAccessBlockInput,
    ) -> Result<S3Response<GetPublicAccessBlockOutput>, Failure> {
        let GetPublicAccessBlockInput { bucket, expected_bucket_owner } = input;
        let owner = expected_bucket_owner.as_deref();
        let opened = self.open("s3:GetBucketPublicAccessBlock", &bucket, None, owner, Keys::new())?;
        let Some(block) = opened.store().bucket(&bucket)?.and_then(|record| record.public_access_block)
        else {
            return Err(has_no(
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
                &bucket,
            ));
        };
        let shown = PublicAccessBlockConfiguration {
            block_public_acls: Some(block.block_public_acls),
            block_public_policy: Some(block.block_public_policy),
            ignore_public_acls: Some(block.ignore_public_acls),
            restrict_public_buckets: Some(block.restrict_public_buckets),
        };
        Ok(S3Response::new(GetPublicAccessBlockOutput { public_access_block_configuration: Some(shown) }))
    }

    pub(super) async fn delete_public_access_block(
        self,
        input: DeletePublicAccessBlockInput,
    ) -> Result<S3Response<DeletePublicAccessBlockOutput>, Failure> {
        let DeletePublicAccessBlockInput { bucket, expected_bucket_owner } = input;
        let owner = expected_bucket_owner.as_deref();
        // "To use this operation, you must have the s3:PutBucketPublicAccessBlock permission."
        // Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeletePublicAccessBlock.html>
        let opened = self.open("s3:PutBucketPublicAccessBlock", &bucket, None, owner, Keys::new())?;
        opened.store().change_bucket(&bucket, |bucket| bucket.public_access_block = None).await?;
        Ok(S3Response::with_status(DeletePublicAccessBlockOutput {}, StatusCode::NO_CONTENT))
    }

    pub(super) async fn get_bucket_policy_status(
        self,
        input: GetBucketPolicyStatusInput,
    ) -> Result<S3Response<GetBucketPolicyStatusOutput>, Failure> {
        let GetBucketPolicyStatusInput { bucket, expected_bucket_owner } = input;
        let owner = expected_bucket_owner.as_deref();
        let opened = self.open("s3:GetBucketPolicyStatus", &bucket, None, owner, Keys::new())?;
        let Some(policy) = &opened.facts.policy else {
            return Err(has_no("NoSuchBucketPolicy", "The bucket policy does not exist", &bucket));
        };
        // A policy that cannot be read lets nobody in.
        let checked = self.ops.policy_check.as_ref().and_then(|check| check(&bucket, policy).ok());
        let is_public = Some(checked.is_some_and(|policy| policy.public));
        Ok(S3Response::new(GetBucketPolicyStatusOutput { policy_status: Some(PolicyStatus { is_public }) }))
    }

    /// The bucket's owner owns every object in it; nothing else can be chosen.
    pub(super) async fn put_bucket_ownership_controls(
        self,
        input: PutBucketOwnershipControlsInput,
    ) -> Result<S3Response<PutBucketOwnershipControlsOutput>, Failure> {
        let PutBucketOwnershipControlsInput {
            bucket,
            content_md5: _,
            expected_bucket_owner,
            ownership_controls: OwnershipControls { rules },
        } = input;
        let owner = expected_bucket_owner.as_deref();
        self.open("s3:PutBucketOwnershipControls", &bucket, None, owner, Keys::new())?;
        match rules.as_slice() {
            [rule] => match rule.object_ownership.as_str() {
                ObjectOwnership::BUCKET_OWNER_ENFORCED => {
                    Ok(S3Response::new(PutBucketOwnershipControlsOutput {}))
                }
                ObjectOwnership::BUCKET_OWNER_PREFERRED | ObjectOwnership::OBJECT_WRITER => {
                    Err(Failure::not_implemented_element("ObjectOwnership"))
                }
                _ => Err(Failure::malformed_xml()),
            },
            _ => Err(Failure::malformed_xml()),
        }
    }

    /// While ACLs are off, none can be set, not even the one that there is.
    pub(super) async fn put_bucket_acl(
        self,
        input: PutBucketAclInput,
    ) -> Result<S3Response<PutBucketAclOutput>, Failure> {
        let PutBucketAclInput {
            acl: _,
            access_control_policy: _,
            bucket,
            checksum_algorithm: _,
            content_md5: _,
            expected_bucket_owner,
            grant_full_control: _,
            grant_read: _,
            grant_read_acp: _,
            grant_write: _,
            grant_write_acp: _,
        } = input;
        self.open("s3:PutBucketAcl", &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
        Err(acl_not_supported())
    }

    /// The same for an object.
    pub(super) async fn put_object_acl(
        self,
        input: PutObjectAclInput,
    ) -> Result<S3Response<PutObjectAclOutput>, Failure> {
        let PutObjectAclInput {
            acl: _,
            access_control_policy: _,
            bucket,
            checksum_algorithm: _,
            content_md5: _,
            expected_bucket_owner,
            grant_full_control: _,
            grant_read: _,
            grant_read_acp: _,
            grant_write: _,
            grant_write_acp: _,
            key,
            request_payer,
            version_id,
        } = input;
        check_payer(request_payer.as_ref())?;
        let which = which(version_id.as_deref())?;
        let target = Target { bucket: &bucket, key: &key, which, owner: expected_bucket_owner.as_deref() };
        self.object(target::PUT_ACL, &target, Keys::new())?;
        Err(acl_not_supported())
    }
}
