//! PutObject.

use s3s::S3Response;
use s3s::dto::*;

use super::conditions::write_condition;
use super::integrity::Announced;
use super::shape::{self, full_checksum, put_checksum, refuse};
use super::tagging::request_keys;
use super::{Failure, Session, now};
use crate::s3::storage::digest::Algorithm;
use crate::s3::storage::{Attributes, Precondition};

/// The header fields of a write that are refused, by name.
macro_rules! refuse_write_extras {
    ($($extra:ident),*) => { refuse! { $($extra => $crate::s3::ops::write::header_of(stringify!($extra))),* } };
}
pub(super) use refuse_write_extras;

/// The header of a refused field.
pub(super) fn header_of(field: &'static str) -> &'static str {
    match field {
        "grant_full_control" => "x-amz-grant-full-control",
        "grant_read" => "x-amz-grant-read",
        "grant_read_acp" => "x-amz-grant-read-acp",
        "grant_write_acp" => "x-amz-grant-write-acp",
        "object_lock_legal_hold_status" => "x-amz-object-lock-legal-hold",
        "object_lock_mode" => "x-amz-object-lock-mode",
        "object_lock_retain_until_date" => "x-amz-object-lock-retain-until-date",
        "sse_customer_algorithm" => "x-amz-server-side-encryption-customer-algorithm",
        "sse_customer_key" => "x-amz-server-side-encryption-customer-key",
        "sse_customer_key_md5" => "x-amz-server-side-encryption-customer-key-md5",
        "ssekms_encryption_context" => "x-amz-server-side-encryption-context",
        "ssekms_key_id" => "x-amz-server-side-encryption-aws-kms-key-id",
        "server_side_encryption" => "x-amz-server-side-encryption",
        "website_redirect_location" => "x-amz-website-redirect-location",
        "write_offset_bytes" => "x-amz-write-offset-bytes",
        "copy_source_sse_customer_algorithm" => "x-amz-copy-source-server-side-encryption-customer-algorithm",
        "copy_source_sse_customer_key" => "x-amz-copy-source-server-side-encryption-customer-key",
        "copy_source_sse_customer_key_md5" => "x-amz-copy-source-server-side-encryption-customer-key-md5",
        other => other,
    }
}

/// Takes the input of an operation apart that says what an object is to carry. What these operations have in common
/// is refused here or becomes `written` and `tags`; the fields `besides` become variables of the caller's.
macro_rules! written {
    ($written:ident, $tags:ident = $input:ident as $kind:ident, besides: $($own:ident $(: $pattern:pat)?,)*) => {
        let $kind {
            acl,
            bucket_key_enabled,
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            content_type,
            expires,
            grant_full_control,
            grant_read,
            grant_read_acp,
            grant_write_acp,
            metadata,
            object_lock_legal_hold_status,
            object_lock_mode,
            object_lock_retain_until_date,
            request_payer,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            ssekms_encryption_context,
            ssekms_key_id,
            server_side_encryption,
            storage_class,
            tagging,
            website_redirect_location,
            $($own $(: $pattern)?,)*
        } = $input;
        refuse_write_extras!(
            grant_full_control,
            grant_read,
            grant_read_acp,
            grant_write_acp,
            object_lock_legal_hold_status,
            object_lock_mode,
            object_lock_retain_until_date,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            ssekms_encryption_context,
            ssekms_key_id,
            server_side_encryption,
            website_redirect_location
        );
        $crate::s3::ops::shape::off(bucket_key_enabled, "x-amz-server-side-encryption-bucket-key-enabled")?;
        $crate::s3::ops::shape::check_acl(acl.as_ref())?;
        $crate::s3::ops::shape::check_payer(request_payer.as_ref())?;
        $crate::s3::ops::shape::check_storage_class(storage_class.as_ref())?;
        let $tags = $crate::s3::ops::tagging::of_header(tagging.as_deref())?;
        let $written = $crate::s3::ops::shape::GivenHeaders {
            content_type,
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            expires,
            metadata,
        };
    };
}
pub(super) use written;

impl Session<'_> {
    pub(super) async fn put_object(
        self,
        input: PutObjectInput,
    ) -> Result<S3Response<PutObjectOutput>, Failure> {
        written! { written, tags = input as PutObjectInput, besides:
            body,
            bucket,
            // These are read from the request's headers and trailers.
            checksum_algorithm: _,
            checksum_crc32: _,
            checksum_crc32c: _,
            checksum_crc64nvme: _,
            checksum_sha1: _,
            checksum_sha256: _,
            content_length,
            content_md5,
            expected_bucket_owner,
            if_match,
            if_none_match,
            key,
            write_offset_bytes,
        }
        refuse_write_extras!(write_offset_bytes);
        let owner = expected_bucket_owner.as_deref();
        let opened = self.open("s3:PutObject", &bucket, Some(&key), owner, request_keys(&tags))?;
        self.may_tag(&opened, &key, &tags)?;
        let condition = write_condition(if_match.as_ref(), if_none_match.as_ref())?;
        let headers = written.keep()?;
        let announced =
            Announced::read(&self.headers, content_length, content_md5.as_deref(), Algorithm::Crc64Nvme)?;
        let store = opened.store();
        refuse_early(store, &bucket, &key, &condition)?;
        let intake = store.intake(announced.algorithm);
        let taken = announced.take(intake, body, self.trailing_headers.as_ref()).await?;
        let checksum = full_checksum(&taken.sums);
        let attributes = Attributes { headers, modified: now(), checksum: Some(checksum.clone()), tags };
        let object = store.put_object(&bucket, &key, taken, attributes, condition).await?;
        let mut output = PutObjectOutput {
            e_tag: Some(shape::etag(&object.etag)),
            version_id: shape::written_version(object.version),
            ..PutObjectOutput::default()
        };
        put_checksum!(output, checksum.algorithm, &checksum.value);
        output.checksum_type = Some(shape::kind(checksum.kind));
        Ok(S3Response::new(output))
    }
}

/// Looks at a condition before the content is taken in; the one that counts is checked when it is stored.
pub(super) fn refuse_early(
    store: &crate::s3::storage::Store,
    bucket: &str,
    key: &str,
    condition: &Precondition,
) -> Result<(), Failure> {
    if *condition == Precondition::None {
        return Ok(());
    }
    let current = store.object(bucket, key)?;
    Ok(condition.check(key, current.as_ref())?)
}
