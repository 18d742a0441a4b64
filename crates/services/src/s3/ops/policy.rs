//! Bucket policies: stored only if whoever enforces them accepts the document.

use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;

use super::{Failure, Keys, Opened, Session, arn};

/// S3's limit on a bucket policy.
const MAX_POLICY_BYTES: usize = 20 << 10;

impl Session<'_> {
    fn blocks_public_policy(&self, opened: &Opened<'_>) -> Result<bool, Failure> {
        let record = opened.store().bucket(&opened.facts.name)?;
        let block = record.and_then(|record| record.public_access_block);
        Ok(block.is_some_and(|block| block.block_public_policy))
    }

    fn public_policy(&self, bucket: &str) -> Failure {
        Failure::access_denied(match self.ops.gate.name(&self.extensions) {
            None => "Access Denied".to_owned(),
            Some(name) => format!(
                "User: {name} is not authorized to perform: s3:PutBucketPolicy on resource: \"{}\" because public \
                 policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
                arn(bucket, None)
            ),
        })
    }

    pub(super) async fn put_bucket_policy(
        self,
        input: PutBucketPolicyInput,
    ) -> Result<S3Response<PutBucketPolicyOutput>, Failure> {
        // Both digests were verified with the body. The root user of the bucket's account can always change the policy
        // again, so there is nothing to confirm.
        let PutBucketPolicyInput {
            bucket,
            checksum_algorithm: _,
            confirm_remove_self_bucket_access: _,
            content_md5: _,
            expected_bucket_owner,
            policy,
        } = input;
        let opened =
            self.open("s3:PutBucketPolicy", &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
        let Some(check) = &self.ops.policy_check else {
            return Err(Failure::new(
                StatusCode::NOT_IMPLEMENTED,
                "NotImplemented",
                "Bucket policies are not enforced here and therefore not stored",
            ));
        };
        if policy.len() > MAX_POLICY_BYTES {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "PolicyTooLarge",
                format!("Policies must not exceed {MAX_POLICY_BYTES} bytes"),
            ));
        }
        let enforceable = check(&bucket, &policy)
            .map_err(|why| Failure::new(StatusCode::BAD_REQUEST, "MalformedPolicy", why))?;
        if enforceable.public && self.blocks_public_policy(&opened)? {
            return Err(self.public_policy(&bucket));
        }
        opened.store().change_bucket(&bucket, move |bucket| bucket.policy = Some(policy)).await?;
        Ok(S3Response::with_status(PutBucketPolicyOutput {}, StatusCode::NO_CONTENT))
    }

    pub(super) async fn get_bucket_policy(
        self,
        input: GetBucketPolicyInput,
    ) -> Result<S3Response<GetBucketPolicyOutput>, Failure> {
        let GetBucketPolicyInput { bucket, expected_bucket_owner } = input;
        let opened =
            self.open("s3:GetBucketPolicy", &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
        match &opened.facts.policy {
            Some(policy) => {
                let policy = Some(policy.to_string());
                let mut response = S3Response::new(GetBucketPolicyOutput { policy });
                let json = http::HeaderValue::from_static("application/json");
                response.headers.insert(http::header::CONTENT_TYPE, json);
                Ok(response)
            }
            None => Err(Failure::new(
                StatusCode::NOT_FOUND,
                "NoSuchBucketPolicy",
                "The bucket policy does not exist",
            )
            .with("BucketName", bucket)),
        }
    }

    pub(super) async fn delete_bucket_policy(
        self,
        input: DeleteBucketPolicyInput,
    ) -> Result<S3Response<DeleteBucketPolicyOutput>, Failure> {
        let DeleteBucketPolicyInput { bucket, expected_bucket_owner } = input;
        let opened =
            self.open("s3:DeleteBucketPolicy", &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
        opened.store().change_bucket(&bucket, |bucket| bucket.policy = None).await?;
        Ok(S3Response::new(DeleteBucketPolicyOutput {}))
    }
}
