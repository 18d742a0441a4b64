//! Buckets: make, find, list, remove.

use std::sync::Arc;

use s3s::S3Response;
use s3s::dto::*;

use super::shape::{acl_not_supported, off, owner, refuse, timestamp};
use super::{Failure, Keys, Session, arn, blocking, now};
use crate::s3::gate::{BucketFacts, KeyValue};
use crate::s3::storage::{StoreError, record};

/// The region whose buckets have no location constraint.
const FIRST_REGION: &str = "us-east-1";
const MAX_LISTED: usize = 10_000;

impl Session<'_> {
    pub(super) async fn create_bucket(
        self,
        input: CreateBucketInput,
    ) -> Result<S3Response<CreateBucketOutput>, Failure> {
        let CreateBucketInput {
            acl,
            bucket,
            create_bucket_configuration,
            grant_full_control,
            grant_read,
            grant_read_acp,
            grant_write,
            grant_write_acp,
            object_lock_enabled_for_bucket,
            object_ownership,
        } = input;
        refuse! {
            grant_full_control => "x-amz-grant-full-control", grant_read => "x-amz-grant-read",
            grant_read_acp => "x-amz-grant-read-acp", grant_write => "x-amz-grant-write",
            grant_write_acp => "x-amz-grant-write-acp",
        }
        off(object_lock_enabled_for_bucket, "x-amz-bucket-object-lock-enabled")?;
        if acl.is_some_and(|acl| acl.as_str() != BucketCannedACL::PRIVATE) {
            return Err(acl_not_supported());
        }
        if object_ownership
            .is_some_and(|ownership| ownership.as_str() != ObjectOwnership::BUCKET_OWNER_ENFORCED)
        {
            return Err(Failure::not_implemented("x-amz-object-ownership"));
        }
        let constraint = match create_bucket_configuration {
            None => None,
            Some(CreateBucketConfiguration { bucket, location, location_constraint }) => {
                refuse! { bucket => "CreateBucketConfiguration/Bucket", location => "CreateBucketConfiguration/Location" }
                location_constraint
            }
        };
        let constraint = constraint.as_ref().map(BucketLocationConstraint::as_str);
        let mut keys = Keys::new();
        if let Some(constraint) = constraint {
            keys.insert("s3:locationconstraint".into(), KeyValue::One(constraint.to_owned()));
        }
        let account = self.account()?.to_owned();
        let facts = BucketFacts {
            name: bucket.clone(),
            owner: account.clone(),
            policy: None,
            restricts_public: false,
        };
        let permit = self.permit("s3:CreateBucket", arn(&bucket, None), Some(&Arc::new(facts)), keys)?;
        check_location(&self.ops.region, constraint)?;
        let made = record::Bucket::new(account.clone(), self.ops.region.clone(), now());
        match self.ops.vault.open(&permit).create_bucket(&bucket, made).await {
            Ok(()) => {}
            // As on AWS, which answers the owner's second try with success in its first region only.
            Err(StoreError::BucketExists { owner })
                if owner == account && self.ops.region == FIRST_REGION => {}
            Err(StoreError::BucketExists { owner }) if owner == account => {
                return Err(Failure::new(
                    http::StatusCode::CONFLICT,
                    "BucketAlreadyOwnedByYou",
                    "Your previous request to create the named bucket succeeded and you already own it.",
                )
                .with("BucketName", bucket));
            }
            Err(other) => {
                let failure = Failure::from(other);
                return Err(if failure.code == "BucketAlreadyExists" {
                    failure.with("BucketName", bucket)
                } else {
                    failure
                });
            }
        }
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{bucket}")) }))
    }

    pub(super) async fn head_bucket(
        self,
        input: HeadBucketInput,
    ) -> Result<S3Response<HeadBucketOutput>, Failure> {
        let HeadBucketInput { bucket, expected_bucket_owner } = input;
        self.open("s3:ListBucket", &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
        Ok(S3Response::new(HeadBucketOutput {
            access_point_alias: Some(false),
            bucket_region: Some(self.ops.region.clone()),
            ..HeadBucketOutput::default()
        }))
    }

    pub(super) async fn get_bucket_location(
        self,
        input: GetBucketLocationInput,
    ) -> Result<S3Response<GetBucketLocationOutput>, Failure> {
        let GetBucketLocationInput { bucket, expected_bucket_owner } = input;
        self.open("s3:GetBucketLocation", &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
        let region = &self.ops.region;
        let constraint = (region != FIRST_REGION).then(|| BucketLocationConstraint::from(region.clone()));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: constraint }))
    }

    pub(super) async fn delete_bucket(
        self,
        input: DeleteBucketInput,
    ) -> Result<S3Response<DeleteBucketOutput>, Failure> {
        let DeleteBucketInput { bucket, expected_bucket_owner } = input;
        let opened =
            self.open("s3:DeleteBucket", &bucket, None, expected_bucket_owner.as_deref(), Keys::new())?;
        opened.store().delete_bucket(&bucket).await.map_err(|error| match error {
            StoreError::BucketNotEmpty { .. } => Failure::from(error).with("BucketName", &bucket),
            other => other.into(),
        })?;
        Ok(S3Response::new(DeleteBucketOutput {}))
    }

    pub(super) async fn list_buckets(
        self,
        input: ListBucketsInput,
    ) -> Result<S3Response<ListBucketsOutput>, Failure> {
        let ListBucketsInput { bucket_region, continuation_token, max_buckets, prefix } = input;
        let permit = self.permit("s3:ListAllMyBuckets", "*".to_owned(), None, Keys::new())?;
        let account = self.account()?.to_owned();
        let max = match max_buckets {
            None => MAX_LISTED,
            Some(max @ 1..=10_000) => usize::try_from(max).unwrap_or(MAX_LISTED),
            Some(max) => {
                return Err(Failure::invalid_argument(
                    "max-buckets",
                    max.to_string(),
                    "Argument max-buckets must be an integer between 1 and 10000",
                ));
            }
        };
        let after = match &continuation_token {
            None => String::new(),
            Some(token) => super::list::read_token(token)?,
        };
        let store = self.ops.vault.open(&permit).clone();
        let wanted = prefix.clone().unwrap_or_default();
        // Every bucket here is in this region.
        let elsewhere = bucket_region.is_some_and(|region| region != self.ops.region);
        let (listed, listed_for) = (account.clone(), elsewhere);
        let (found, more) = blocking(move || match listed_for {
            true => Ok((Vec::new(), false)),
            false => store.list_buckets(&listed, &wanted, &after, max),
        })
        .await?;
        let next = more.then(|| found.last().map(|(name, _)| super::list::write_token(name))).flatten();
        // AWS names each bucket's region only when the listing is paged.
        let paged = max_buckets.is_some() || continuation_token.is_some();
        let buckets = found
            .into_iter()
            .map(|(name, bucket)| Bucket {
                bucket_region: paged.then_some(bucket.region),
                creation_date: Some(timestamp(bucket.created)),
                name: Some(name),
            })
            .collect();
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            continuation_token: next,
            owner: Some(owner(&account)),
            prefix,
        }))
    }
}

/// Requires that a bucket which is to be at `constraint` belongs into `region`.
fn check_location(region: &str, constraint: Option<&str>) -> Result<(), Failure> {
    let illegal = |which: &str| {
        Failure::new(
            http::StatusCode::BAD_REQUEST,
            "IllegalLocationConstraintException",
            format!(
                "The {which} location constraint is incompatible for the region specific endpoint this request \
                 was sent to."
            ),
        )
    };
    match constraint {
        None if region == FIRST_REGION => Ok(()),
        None => Err(illegal("unspecified")),
        Some(FIRST_REGION) if region == FIRST_REGION => Err(Failure::new(
            http::StatusCode::BAD_REQUEST,
            "InvalidLocationConstraint",
            "The specified location-constraint is not valid",
        )
        .with("LocationConstraint", FIRST_REGION)),
        Some(constraint) if constraint == region => Ok(()),
        // AWS's first name of the region. Where the bucket is is told by the name of today, which AWS's clients take for
        // the same.
        // Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html>, "LocationConstraint"
        Some("EU") if region == "eu-west-1" => Ok(()),
        Some(constraint) => Err(illegal(constraint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_made_in_the_region_that_is_asked() {
        let code = |region, constraint| check_location(region, constraint).err().map(|failure| failure.code);
        assert_eq!(code("eu-west-1", Some("EU")), None);
        assert_eq!(code("eu-west-1", Some("eu-west-1")), None);
        assert_eq!(code("us-east-1", None), None);
        let illegal = Some("IllegalLocationConstraintException");
        assert_eq!(code("eu-west-1", None), illegal);
        assert_eq!(code("eu-west-1", Some("eu")), illegal);
        assert_eq!(code("eu-central-1", Some("EU")), illegal);
        assert_eq!(code("us-east-1", Some("EU")), illegal);
        assert_eq!(code("us-east-1", Some("us-east-1")), Some("InvalidLocationConstraint"));
    }
}
