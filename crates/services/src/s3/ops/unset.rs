//! What nothing has been set of: the answers to questions about features whose settings are not served.
//!
//! Clients such as Terraform ask all of these about every bucket that they manage. Each answer is AWS's for a bucket
//! or an object on which the feature was never set, and it is true here: the operations that would set it are refused.

use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;

use super::shape::{self, check_payer, owner, which};
use super::target::{self, Action, Target};
use super::{Failure, Keys, Opened, Session};
use crate::s3::storage::record::Versioning;

/// What a bucket has not: code and sentence.
pub(super) fn has_no(code: &'static str, message: &str, bucket: &str) -> Failure {
    Failure::new(StatusCode::NOT_FOUND, code, message).with("BucketName", bucket)
}

/// The one grant there is while ACLs are off.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html>
fn owners_grant(account: &str) -> Grant {
    Grant {
        grantee: Some(Grantee {
            display_name: None,
            email_address: None,
            id: Some(shape::canonical_id(account)),
            type_: Type::from_static(Type::CANONICAL_USER),
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }
}

/// Operations on a bucket whose answer is that there is nothing.
macro_rules! bucket_has_none {
    ($($operation:ident($input:ident) -> $output:ty: $action:literal, $code:literal, $message:literal;)*) => {
        impl Session<'_> {
            $(pub(super) async fn $operation(self, input: $input) -> Result<S3Response<$output>, Failure> {
                let $input { bucket, expected_bucket_owner } = input;
                self.open($action, &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
                Err(has_no($code, $message, &bucket))
            })*
        }
    };
}

bucket_has_none! {
    get_bucket_cors(GetBucketCorsInput) -> GetBucketCorsOutput:
        "s3:GetBucketCORS", "NoSuchCORSConfiguration", "The CORS configuration does not exist";
    // Nothing is encrypted at rest here, so AWS's default of today, AES256, would be untrue.
    get_bucket_encryption(GetBucketEncryptionInput) -> GetBucketEncryptionOutput:
        "s3:GetEncryptionConfiguration", "ServerSideEncryptionConfigurationNotFoundError",
        "The server side encryption configuration was not found";
    get_bucket_lifecycle_configuration(GetBucketLifecycleConfigurationInput)
        -> GetBucketLifecycleConfigurationOutput:
        "s3:GetLifecycleConfiguration", "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist";
    get_bucket_replication(GetBucketReplicationInput) -> GetBucketReplicationOutput:
        "s3:GetReplicationConfiguration", "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found";
    get_bucket_website(GetBucketWebsiteInput) -> GetBucketWebsiteOutput:
        "s3:GetBucketWebsite", "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration";
    get_object_lock_configuration(GetObjectLockConfigurationInput) -> GetObjectLockConfigurationOutput:
        "s3:GetBucketObjectLockConfiguration", "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket";
}

/// Operations on a bucket whose answer is a document.
macro_rules! bucket_says {
    ($($operation:ident($input:ident) -> $output:ty: $action:literal, $answer:expr;)*) => {
        impl Session<'_> {
            $(pub(super) async fn $operation(self, input: $input) -> Result<S3Response<$output>, Failure> {
                let $input { bucket, expected_bucket_owner } = input;
                let opened = self.open($action, &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
                let answer: fn(&Opened<'_>) -> $output = $answer;
                Ok(S3Response::new(answer(&opened)))
            })*
        }
    };
}

bucket_says! {
    get_bucket_acl(GetBucketAclInput) -> GetBucketAclOutput: "s3:GetBucketAcl", |opened| GetBucketAclOutput {
        grants: Some(vec![owners_grant(&opened.facts.owner)]),
        owner: Some(owner(&opened.facts.owner)),
    };
    get_bucket_logging(GetBucketLoggingInput) -> GetBucketLoggingOutput: "s3:GetBucketLogging",
        |_| GetBucketLoggingOutput::default();
    get_bucket_notification_configuration(GetBucketNotificationConfigurationInput)
        -> GetBucketNotificationConfigurationOutput: "s3:GetBucketNotification",
        |_| GetBucketNotificationConfigurationOutput::default();
    get_bucket_ownership_controls(GetBucketOwnershipControlsInput) -> GetBucketOwnershipControlsOutput:
        "s3:GetBucketOwnershipControls", |_| GetBucketOwnershipControlsOutput {
            ownership_controls: Some(OwnershipControls { rules: vec![OwnershipControlsRule {
                object_ownership: ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED),
            }] }),
        };
    get_bucket_request_payment(GetBucketRequestPaymentInput) -> GetBucketRequestPaymentOutput:
        "s3:GetBucketRequestPayment", |_| GetBucketRequestPaymentOutput {
            payer: Some(Payer::from_static(Payer::BUCKET_OWNER)),
        };
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput: "s3:GetBucketVersioning",
        |opened| GetBucketVersioningOutput {
            mfa_delete: None,
            status: opened.versioning.map(|versioning| BucketVersioningStatus::from_static(match versioning {
                Versioning::Enabled => BucketVersioningStatus::ENABLED,
                Versioning::Suspended => BucketVersioningStatus::SUSPENDED,
            })),
        };
}

/// An object that is asked about.
struct About {
    bucket: String,
    expected_owner: Option<String>,
    key: String,
    payer: Option<RequestPayer>,
    version: Option<String>,
}

impl Session<'_> {
    pub(super) async fn get_bucket_accelerate_configuration(
        self,
        input: GetBucketAccelerateConfigurationInput,
    ) -> Result<S3Response<GetBucketAccelerateConfigurationOutput>, Failure> {
        let GetBucketAccelerateConfigurationInput { bucket, expected_bucket_owner, request_payer } = input;
        check_payer(request_payer.as_ref())?;
        let owner_id = expected_bucket_owner.as_deref();
        self.open("s3:GetAccelerateConfiguration", &bucket, None, owner_id, Keys::new())?;
        Ok(S3Response::new(GetBucketAccelerateConfigurationOutput::default()))
    }

    pub(super) async fn get_object_acl(
        self,
        input: GetObjectAclInput,
    ) -> Result<S3Response<GetObjectAclOutput>, Failure> {
        let GetObjectAclInput { bucket, expected_bucket_owner, key, request_payer, version_id } = input;
        let opened = self.about(
            target::GET_ACL,
            About {
                bucket,
                expected_owner: expected_bucket_owner,
                key,
                payer: request_payer,
                version: version_id,
            },
        )?;
        // The bucket's owner owns every object in it.
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(vec![owners_grant(&opened.facts.owner)]),
            owner: Some(owner(&opened.facts.owner)),
            request_charged: None,
        }))
    }

    pub(super) async fn get_object_legal_hold(
        self,
        input: GetObjectLegalHoldInput,
    ) -> Result<S3Response<GetObjectLegalHoldOutput>, Failure> {
        let GetObjectLegalHoldInput { bucket, expected_bucket_owner, key, request_payer, version_id } = input;
        self.about(
            target::GET_LEGAL_HOLD,
            About {
                bucket,
                expected_owner: expected_bucket_owner,
                key,
                payer: request_payer,
                version: version_id,
            },
        )?;
        Err(no_object_lock())
    }

    pub(super) async fn get_object_retention(
        self,
        input: GetObjectRetentionInput,
    ) -> Result<S3Response<GetObjectRetentionOutput>, Failure> {
        let GetObjectRetentionInput { bucket, expected_bucket_owner, key, request_payer, version_id } = input;
        self.about(
            target::GET_RETENTION,
            About {
                bucket,
                expected_owner: expected_bucket_owner,
                key,
                payer: request_payer,
                version: version_id,
            },
        )?;
        Err(no_object_lock())
    }

    /// Asks for `action` on an object, which must exist.
    fn about(&self, action: Action, about: About) -> Result<Opened<'_>, Failure> {
        let About { bucket, expected_owner, key, payer, version } = about;
        check_payer(payer.as_ref())?;
        let which = which(version.as_deref())?;
        let target = Target { bucket: &bucket, key: &key, which, owner: expected_owner.as_deref() };
        let (opened, ..) = self.object(action, &target, Keys::new())?;
        Ok(opened)
    }
}

fn no_object_lock() -> Failure {
    Failure::invalid_request("Bucket is missing Object Lock Configuration")
}
