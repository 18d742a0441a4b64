//! Multipart uploads.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>

use http::StatusCode;
use s3s::S3Response;
use s3s::dto::*;

use super::conditions::{ReadConditions, write_condition};
use super::copy::{From, Sourced, pump};
use super::integrity::{Announced, MAX_PUT_BYTES, algorithm_named, too_large};
use super::shape::{self, ChecksumFields, canonical_id, check_payer, owner, put_checksum, refuse, timestamp};
use super::tagging::request_keys;
use super::write::{refuse_write_extras, written};
use super::{Failure, Keys, Session, now};
use crate::s3::storage::digest::{Algorithm, ChecksumKind};
use crate::s3::storage::multipart::{ExpectedWhole, ListedPart, MAX_PARTS};
use crate::s3::storage::record::{Part as StoredPart, Upload};

pub(super) const MAX_LISTED: i32 = 1000;

/// A part number within S3's bounds.
pub(super) fn part_number(number: i32) -> Result<u32, Failure> {
    u32::try_from(number).ok().filter(|number| (1..=MAX_PARTS).contains(number)).ok_or_else(|| {
        Failure::invalid_argument(
            "partNumber",
            number.to_string(),
            "Part number must be an integer between 1 and 10000, inclusive",
        )
    })
}

/// A number in a request that may be anything but negative.
pub(super) fn at_least_zero(name: &str, given: i32) -> Result<usize, Failure> {
    usize::try_from(given).map_err(|_| {
        Failure::invalid_argument(
            name,
            given.to_string(),
            format!("Argument {name} must be an integer between 0 and 2147483647"),
        )
    })
}

pub(super) fn initiator(upload: &Upload) -> Initiator {
    Initiator { display_name: None, id: Some(canonical_id(&upload.initiator)) }
}

/// How the object's checksum will come from those of its parts.
fn checksum_kind(
    algorithm: Algorithm,
    named: bool,
    kind: Option<&ChecksumType>,
) -> Result<ChecksumKind, Failure> {
    let joinable = match algorithm {
        Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme => true,
        Algorithm::Sha1 | Algorithm::Sha256 => false,
    };
    let mismatch = |kind: &str| {
        Failure::invalid_request(format!(
            "The {kind} checksum type cannot be used with the {} checksum algorithm.",
            algorithm.name().to_ascii_lowercase()
        ))
    };
    match kind.map(ChecksumType::as_str) {
        None if algorithm == Algorithm::Crc64Nvme => Ok(ChecksumKind::FullObject),
        None => Ok(ChecksumKind::Composite),
        Some(_) if !named => Err(Failure::invalid_request(
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )),
        Some(kind @ ChecksumType::FULL_OBJECT) if !joinable => Err(mismatch(kind)),
        Some(kind @ ChecksumType::COMPOSITE) if algorithm == Algorithm::Crc64Nvme => Err(mismatch(kind)),
        Some(ChecksumType::FULL_OBJECT) => Ok(ChecksumKind::FullObject),
        Some(ChecksumType::COMPOSITE) => Ok(ChecksumKind::Composite),
        Some(_) => Err(Failure::invalid_request("Value for x-amz-checksum-type header is invalid.")),
    }
}

impl Session<'_> {
    pub(super) async fn create_multipart_upload(
        self,
        input: CreateMultipartUploadInput,
    ) -> Result<S3Response<CreateMultipartUploadOutput>, Failure> {
        written! { written, tags = input as CreateMultipartUploadInput, besides:
            bucket,
            checksum_algorithm,
            checksum_type,
            expected_bucket_owner,
            key,
        }
        let owner_id = expected_bucket_owner.as_deref();
        let opened = self.open("s3:PutObject", &bucket, Some(&key), owner_id, request_keys(&tags))?;
        self.may_tag(&opened, &key, &tags)?;
        let named = checksum_algorithm.is_some();
        let algorithm = match &checksum_algorithm {
            None => Algorithm::Crc64Nvme,
            Some(name) => algorithm_named(name.as_str()).ok_or_else(|| {
                Failure::invalid_request(
                    "Checksum algorithm provided is unsupported. Please try again with any of the valid types: \
                     [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
                )
            })?,
        };
        let kind = checksum_kind(algorithm, named, checksum_type.as_ref())?;
        let upload = Upload {
            initiated: now(),
            initiator: self.caller.account().unwrap_or("anonymous").to_owned(),
            headers: written.keep()?,
            tags,
            algorithm,
            kind,
            algorithm_named: named,
        };
        let id = opened.store().create_upload(&bucket, &key, upload).await?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            checksum_algorithm,
            checksum_type: named.then(|| shape::kind(kind)),
            key: Some(key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn upload_part(
        self,
        input: UploadPartInput,
    ) -> Result<S3Response<UploadPartOutput>, Failure> {
        let UploadPartInput {
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
            key,
            part_number: number,
            request_payer,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            upload_id,
        } = input;
        refuse_write_extras!(sse_customer_algorithm, sse_customer_key, sse_customer_key_md5);
        check_payer(request_payer.as_ref())?;
        let owner_id = expected_bucket_owner.as_deref();
        let opened = self.open("s3:PutObject", &bucket, Some(&key), owner_id, Keys::new())?;
        let number = part_number(number)?;
        let store = opened.store();
        let upload = store.upload(&bucket, &key, &upload_id)?;
        let announced =
            Announced::read(&self.headers, content_length, content_md5.as_deref(), upload.algorithm)?;
        let named = announced.named;
        if upload.algorithm_named && named && announced.algorithm != upload.algorithm {
            return Err(Failure::invalid_request(format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                upload.algorithm.name().to_ascii_lowercase(),
                announced.algorithm.name().to_ascii_lowercase()
            )));
        }
        // An upload that named no algorithm keeps sums in S3's own; the part's is verified and shown all the same.
        let intake = store.part_intake(announced.algorithm, &upload);
        let taken = announced.take(intake, body, self.trailing_headers.as_ref()).await?;
        let shown = shape::full_checksum(&taken.sums);
        let part = store.put_part((&bucket, &key, &upload_id), number, taken, now()).await?;
        let mut output =
            UploadPartOutput { e_tag: Some(shape::etag(&part.etag)), ..UploadPartOutput::default() };
        if named || upload.algorithm_named {
            put_checksum!(output, shown.algorithm, &shown.value);
        }
        Ok(S3Response::new(output))
    }

    pub(super) async fn upload_part_copy(
        self,
        input: UploadPartCopyInput,
    ) -> Result<S3Response<UploadPartCopyOutput>, Failure> {
        let UploadPartCopyInput {
            bucket,
            copy_source,
            copy_source_if_match,
            copy_source_if_modified_since,
            copy_source_if_none_match,
            copy_source_if_unmodified_since,
            copy_source_range,
            copy_source_sse_customer_algorithm,
            copy_source_sse_customer_key,
            copy_source_sse_customer_key_md5,
            expected_bucket_owner,
            expected_source_bucket_owner,
            key,
            part_number: number,
            request_payer,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            upload_id,
        } = input;
        refuse_write_extras!(
            copy_source_sse_customer_algorithm,
            copy_source_sse_customer_key,
            copy_source_sse_customer_key_md5,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5
        );
        check_payer(request_payer.as_ref())?;
        let owner_id = expected_bucket_owner.as_deref();
        let target = self.open("s3:PutObject", &bucket, Some(&key), owner_id, Keys::new())?;
        let number = part_number(number)?;
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
        let Sourced { object, source, version, .. } = self.source(&from)?;
        let span = match &copy_source_range {
            None => 0..object.size,
            Some(range) => copied_range(range, object.size)?,
        };
        if span.end - span.start > MAX_PUT_BYTES {
            return Err(too_large(span.end - span.start));
        }
        let store = target.store();
        let upload = store.upload(&bucket, &key, &upload_id)?;
        let taken = pump(&source, span, store.part_intake(upload.algorithm, &upload)).await?;
        let part = store.put_part((&bucket, &key, &upload_id), number, taken, now()).await?;
        let mut result = CopyPartResult {
            e_tag: Some(shape::etag(&part.etag)),
            last_modified: Some(timestamp(part.modified)),
            ..CopyPartResult::default()
        };
        if upload.algorithm_named {
            put_checksum!(result, upload.algorithm, &part.checksum);
        }
        let output = UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: version,
            ..UploadPartCopyOutput::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn complete_multipart_upload(
        self,
        input: CompleteMultipartUploadInput,
    ) -> Result<S3Response<CompleteMultipartUploadOutput>, Failure> {
        let CompleteMultipartUploadInput {
            bucket,
            checksum_crc32,
            checksum_crc32c,
            checksum_crc64nvme,
            checksum_sha1,
            checksum_sha256,
            checksum_type,
            expected_bucket_owner,
            if_match,
            if_none_match,
            key,
            mpu_object_size,
            multipart_upload,
            request_payer,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            upload_id,
        } = input;
        refuse_write_extras!(sse_customer_algorithm, sse_customer_key, sse_customer_key_md5);
        check_payer(request_payer.as_ref())?;
        let owner_id = expected_bucket_owner.as_deref();
        let opened = self.open("s3:PutObject", &bucket, Some(&key), owner_id, Keys::new())?;
        let condition = write_condition(if_match.as_ref(), if_none_match.as_ref())?;
        let store = opened.store();
        let upload = store.upload(&bucket, &key, &upload_id)?;
        if checksum_type.is_some_and(|given| given.as_str() != shape::kind(upload.kind).as_str()) {
            return Err(Failure::invalid_request(format!(
                "The upload was created using the {} checksum mode. The complete request must use the same checksum \
                 mode.",
                shape::kind(upload.kind).as_str()
            )));
        }
        let fields = ChecksumFields {
            crc32: checksum_crc32,
            crc32c: checksum_crc32c,
            crc64nvme: checksum_crc64nvme,
            sha1: checksum_sha1,
            sha256: checksum_sha256,
        };
        let whole = in_algorithm(fields.single()?, &upload)?;
        let size = mpu_object_size
            .map(u64::try_from)
            .transpose()
            .map_err(|_| Failure::invalid_request("Value for x-amz-mp-object-size header is invalid."))?;
        let parts = multipart_upload.and_then(|listed| listed.parts).filter(|parts| !parts.is_empty());
        let listed =
            parts.ok_or_else(Failure::malformed_xml)?.into_iter().map(|part| listed_part(part, &upload));
        let listed = listed.collect::<Result<Vec<_>, Failure>>()?;
        if listed.len() > MAX_PARTS as usize {
            return Err(Failure::malformed_xml());
        }
        let expected = ExpectedWhole { size, checksum: whole };
        let path = super::list::percent_encoded(&key);
        let location = format!("https://{bucket}.s3.{}.amazonaws.com/{path}", self.ops.region);
        let object =
            store.complete_upload((&bucket, &key, &upload_id), listed, expected, condition, now()).await?;
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(bucket),
            e_tag: Some(shape::etag(&object.etag)),
            key: Some(key),
            location: Some(location),
            version_id: shape::written_version(object.version),
            ..CompleteMultipartUploadOutput::default()
        };
        if let Some(checksum) = &object.checksum {
            put_checksum!(output, checksum.algorithm, &checksum.value);
            output.checksum_type = Some(shape::kind(checksum.kind));
        }
        Ok(S3Response::new(output))
    }

    pub(super) async fn abort_multipart_upload(
        self,
        input: AbortMultipartUploadInput,
    ) -> Result<S3Response<AbortMultipartUploadOutput>, Failure> {
        let AbortMultipartUploadInput {
            bucket,
            expected_bucket_owner,
            if_match_initiated_time,
            key,
            request_payer,
            upload_id,
        } = input;
        refuse! { if_match_initiated_time => "x-amz-if-match-initiated-time" }
        check_payer(request_payer.as_ref())?;
        let owner_id = expected_bucket_owner.as_deref();
        let opened = self.open("s3:AbortMultipartUpload", &bucket, Some(&key), owner_id, Keys::new())?;
        opened.store().abort_upload(&bucket, &key, &upload_id).await?;
        Ok(S3Response::with_status(AbortMultipartUploadOutput::default(), StatusCode::NO_CONTENT))
    }

    pub(super) async fn list_parts(
        self,
        input: ListPartsInput,
    ) -> Result<S3Response<ListPartsOutput>, Failure> {
        let ListPartsInput {
            bucket,
            expected_bucket_owner,
            key,
            max_parts,
            part_number_marker,
            request_payer,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            upload_id,
        } = input;
        refuse_write_extras!(sse_customer_algorithm, sse_customer_key, sse_customer_key_md5);
        check_payer(request_payer.as_ref())?;
        let owner_id = expected_bucket_owner.as_deref();
        let opened = self.open("s3:ListMultipartUploadParts", &bucket, Some(&key), owner_id, Keys::new())?;
        let max = max_parts.unwrap_or(MAX_LISTED).min(MAX_LISTED);
        let most = at_least_zero("max-parts", max)?;
        let marker = part_number_marker.unwrap_or(0);
        let after = at_least_zero("part-number-marker", marker)?;
        let after = u32::try_from(after).unwrap_or(u32::MAX);
        let (store, at) = (opened.store().clone(), (bucket.clone(), key.clone(), upload_id.clone()));
        let page = super::blocking(move || store.list_parts((&at.0, &at.1, &at.2), after, most)).await?;
        let next = page.parts.last().map(|(number, _)| *number);
        let upload = &page.upload;
        let parts: Vec<Part> =
            page.parts.iter().map(|(number, part)| shown_part(*number, part, upload)).collect();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(bucket),
            checksum_algorithm: upload.algorithm_named.then(|| shape::algorithm(upload.algorithm)),
            checksum_type: upload.algorithm_named.then(|| shape::kind(upload.kind)),
            initiator: Some(initiator(upload)),
            is_truncated: Some(page.truncated),
            key: Some(key),
            max_parts: Some(max),
            next_part_number_marker: next
                .filter(|_| page.truncated)
                .and_then(|next| i32::try_from(next).ok()),
            owner: Some(owner(&opened.facts.owner)),
            part_number_marker: Some(marker),
            parts: (!parts.is_empty()).then_some(parts),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            upload_id: Some(upload_id),
            ..ListPartsOutput::default()
        }))
    }
}

fn shown_part(number: u32, part: &StoredPart, upload: &Upload) -> Part {
    let mut shown = Part {
        e_tag: Some(shape::etag(&part.etag)),
        last_modified: Some(timestamp(part.modified)),
        part_number: i32::try_from(number).ok(),
        size: i64::try_from(part.size).ok(),
        ..Part::default()
    };
    if upload.algorithm_named {
        put_checksum!(shown, upload.algorithm, &part.checksum);
    }
    shown
}

fn listed_part(part: CompletedPart, upload: &Upload) -> Result<ListedPart, Failure> {
    let CompletedPart {
        checksum_crc32,
        checksum_crc32c,
        checksum_crc64nvme,
        checksum_sha1,
        checksum_sha256,
        e_tag,
        part_number: number,
    } = part;
    let fields = ChecksumFields {
        crc32: checksum_crc32,
        crc32c: checksum_crc32c,
        crc64nvme: checksum_crc64nvme,
        sha1: checksum_sha1,
        sha256: checksum_sha256,
    };
    // An upload that named no algorithm kept its own sums: those the client repeats were verified with the parts.
    let checksum = match upload.algorithm_named {
        true => in_algorithm(fields.single()?, upload)?,
        false => None,
    };
    Ok(ListedPart {
        number: part_number(number.ok_or_else(Failure::malformed_xml)?)?,
        etag: e_tag.ok_or_else(Failure::malformed_xml)?.into_value(),
        checksum,
    })
}

/// A checksum must be in the upload's algorithm.
fn in_algorithm(given: Option<(Algorithm, String)>, upload: &Upload) -> Result<Option<String>, Failure> {
    match given {
        None => Ok(None),
        Some((algorithm, value)) if algorithm == upload.algorithm => Ok(Some(value)),
        Some((algorithm, _)) => Err(Failure::invalid_request(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            upload.algorithm.name().to_ascii_lowercase(),
            algorithm.name().to_ascii_lowercase()
        ))),
    }
}

/// `bytes=first-last`, both given and both within the source.
fn copied_range(range: &str, size: u64) -> Result<std::ops::Range<u64>, Failure> {
    let parsed = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    match parsed {
        Some((first, last)) if first <= last && last < size => Ok(first..last + 1),
        Some((first, last)) if first <= last => Err(Failure::invalid_argument(
            "x-amz-copy-source-range",
            range,
            format!("Range specified is not valid for source object of size: {size}"),
        )),
        Some(_) | None => Err(Failure::invalid_argument(
            "x-amz-copy-source-range",
            range,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy",
        )),
    }
}
