//! Removing objects, one or up to a thousand at a time.

use http::HeaderMap;
use s3s::S3Response;
use s3s::dto::*;

use super::conditions::write_condition;
use super::shape::{check_payer, off, refuse, version_text, which};
use super::target::{self, Target};
use super::{Failure, Session, arn, now};
use crate::s3::gate::Permit;
use crate::s3::storage::Precondition;
use crate::s3::storage::digest::Algorithm;
use crate::s3::storage::record::Marker;
use crate::s3::storage::version::Which;

const MAX_DELETED: usize = 1000;

impl Session<'_> {
    pub(super) async fn delete_object(
        self,
        input: DeleteObjectInput,
    ) -> Result<S3Response<DeleteObjectOutput>, Failure> {
        let DeleteObjectInput {
            bucket,
            bypass_governance_retention,
            expected_bucket_owner,
            if_match,
            if_match_last_modified_time,
            if_match_size,
            key,
            mfa,
            request_payer,
            version_id,
        } = input;
        refuse! {
            if_match_last_modified_time => "x-amz-if-match-last-modified-time",
            if_match_size => "x-amz-if-match-size", mfa => "x-amz-mfa",
        }
        check_payer(request_payer.as_ref())?;
        off(bypass_governance_retention, "x-amz-bypass-governance-retention")?;
        let which = which(version_id.as_deref())?;
        let condition = write_condition(if_match.as_ref(), None)?;
        let target = Target { bucket: &bucket, key: &key, which, owner: expected_bucket_owner.as_deref() };
        let opened = self.open(target::DELETE.on(which), &bucket, Some(&key), target.owner, target.keys())?;
        let marker = self.remove(&opened.permit, &target, condition).await?;
        let made = marker.as_ref().map(|marker| version_text(marker.version));
        let output = DeleteObjectOutput {
            delete_marker: marker.is_some().then_some(true),
            version_id: version_id.or(made),
            request_charged: None,
        };
        Ok(S3Response::with_status(output, http::StatusCode::NO_CONTENT))
    }

    pub(super) async fn delete_objects(
        self,
        input: DeleteObjectsInput,
    ) -> Result<S3Response<DeleteObjectsOutput>, Failure> {
        let DeleteObjectsInput {
            bucket,
            bypass_governance_retention,
            checksum_algorithm: _,
            delete: Delete { objects, quiet },
            expected_bucket_owner,
            mfa,
            request_payer,
        } = input;
        refuse! { mfa => "x-amz-mfa" }
        check_payer(request_payer.as_ref())?;
        off(bypass_governance_retention, "x-amz-bypass-governance-retention")?;
        require_digest(&self.headers)?;
        if objects.is_empty() || objects.len() > MAX_DELETED {
            return Err(Failure::malformed_xml());
        }
        let facts = self.ops.vault.facts(&bucket)?.ok_or_else(|| Failure::no_such_bucket(&bucket))?.bucket;
        if expected_bucket_owner.is_some_and(|expected| expected != facts.owner) {
            return Err(Failure::access_denied("Access Denied"));
        }
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in objects {
            let (key, version_id) = (object.key.clone(), object.version_id.clone());
            let removed = async {
                let (which, condition) = identified(&object)?;
                let target = Target { bucket: &bucket, key: &key, which, owner: None };
                let resource = arn(&bucket, Some(&key));
                let permit = self.permit(target::DELETE.on(which), resource, Some(&facts), target.keys())?;
                self.remove(&permit, &target, condition).await
            };
            match removed.await {
                Ok(marker) => deleted.push(DeletedObject {
                    delete_marker: marker.is_some().then_some(true),
                    delete_marker_version_id: marker.map(|marker| version_text(marker.version)),
                    key: Some(key),
                    version_id,
                }),
                Err(failure) => errors.push(Error {
                    code: Some(failure.code.to_owned()),
                    key: Some(key),
                    message: Some(failure.message),
                    version_id,
                }),
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet.unwrap_or(false)).then_some(deleted),
            errors: (!errors.is_empty()).then_some(errors),
            request_charged: None,
        }))
    }

    /// Removes what the permit is for. Answers the delete marker that was made or removed.
    async fn remove(
        &self,
        permit: &Permit,
        target: &Target<'_>,
        condition: Precondition,
    ) -> Result<Option<Marker>, Failure> {
        let store = self.ops.vault.open(permit);
        let Target { bucket, key, which, .. } = *target;
        Ok(match which {
            Which::Latest => store.delete_object(bucket, key, condition, now()).await?,
            Which::Null | Which::Id(_) => store.delete_version(bucket, key, which, condition).await?,
        })
    }
}

fn identified(object: &ObjectIdentifier) -> Result<(Which, Precondition), Failure> {
    let ObjectIdentifier { e_tag, key: _, last_modified_time, size, version_id } = object;
    refuse! { last_modified_time => "Object/LastModifiedTime", size => "Object/Size" }
    let which = which(version_id.as_deref())?;
    let condition = match e_tag {
        None => Precondition::None,
        Some(etag) if etag.value() == "*" => Precondition::Present,
        Some(etag) => Precondition::Etag(etag.value().to_owned()),
    };
    Ok((which, condition))
}

fn require_digest(headers: &HeaderMap) -> Result<(), Failure> {
    let summed = headers.contains_key("content-md5")
        || Algorithm::ALL
            .iter()
            .any(|algorithm| headers.contains_key(super::integrity::checksum_header(*algorithm)));
    if summed {
        return Ok(());
    }
    Err(Failure::invalid_request("Missing required header for this request: Content-MD5 OR x-amz-checksum-*"))
}
