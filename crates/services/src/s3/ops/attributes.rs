//! GetObjectAttributes.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html>

use s3s::S3Response;
use s3s::dto::*;

use super::multipart::{MAX_LISTED, at_least_zero};
use super::shape::{self, check_payer, put_checksum, refuse, timestamp_seconds, which};
use super::target::{self, Target};
use super::{Failure, Keys, Session};
use crate::s3::storage::record::{Object as Stored, Segment};

impl Session<'_> {
    pub(super) async fn get_object_attributes(
        self,
        input: GetObjectAttributesInput,
    ) -> Result<S3Response<GetObjectAttributesOutput>, Failure> {
        let GetObjectAttributesInput {
            bucket,
            expected_bucket_owner,
            key,
            max_parts,
            object_attributes,
            part_number_marker,
            request_payer,
            sse_customer_algorithm,
            sse_customer_key,
            sse_customer_key_md5,
            version_id,
        } = input;
        refuse! {
            sse_customer_algorithm => "x-amz-server-side-encryption-customer-algorithm",
            sse_customer_key => "x-amz-server-side-encryption-customer-key",
            sse_customer_key_md5 => "x-amz-server-side-encryption-customer-key-md5",
        }
        check_payer(request_payer.as_ref())?;
        let which = which(version_id.as_deref())?;
        let wanted = Wanted::of(&object_attributes)?;
        let max = max_parts.unwrap_or(MAX_LISTED).min(MAX_LISTED);
        let most = at_least_zero("max-parts", max)?;
        let marker = part_number_marker.unwrap_or(0);
        let after = at_least_zero("part-number-marker", marker)?;
        let owner = expected_bucket_owner.as_deref();
        let target = Target { bucket: &bucket, key: &key, which, owner };
        let (opened, object, source) = self.object(target::GET_ATTRIBUTES, &target, Keys::new())?;
        // "To use GetObjectAttributes, you must have READ access to the object", which is another action.
        self.also(&opened, target::GET, &target, &object)?;
        let mut output = GetObjectAttributesOutput {
            last_modified: Some(timestamp_seconds(object.modified)),
            e_tag: wanted.etag.then(|| shape::etag(&object.etag)),
            object_size: wanted.size.then(|| i64::try_from(object.size).unwrap_or(i64::MAX)),
            version_id: opened.shown_version(&object),
            storage_class: wanted.class.then(|| StorageClass::from_static(StorageClass::STANDARD)),
            ..GetObjectAttributesOutput::default()
        };
        if let (true, Some(sum)) = (wanted.checksum, &object.checksum) {
            let mut checksum = Checksum { checksum_type: Some(shape::kind(sum.kind)), ..Checksum::default() };
            put_checksum!(checksum, sum.algorithm, whole(&sum.value));
            output.checksum = Some(checksum);
        }
        if wanted.parts && object.parts.is_some() {
            let mut parts = parts_of(&object, source.segments(), after, most);
            parts.max_parts = Some(max);
            parts.part_number_marker = Some(marker);
            output.object_parts = Some(parts);
        }
        Ok(S3Response::new(output))
    }
}

/// A checksum without the number of parts behind it.
fn whole(value: &str) -> &str {
    value.split('-').next().unwrap_or(value)
}

/// What is asked for; nothing else is answered.
#[derive(Default)]
struct Wanted {
    checksum: bool,
    class: bool,
    etag: bool,
    parts: bool,
    size: bool,
}

impl Wanted {
    fn of(attributes: &[ObjectAttributes]) -> Result<Self, Failure> {
        let mut wanted = Self::default();
        // Clients list them in one header, which the protocol layer does not take apart.
        let names = attributes.iter().flat_map(|given| given.as_str().split(',')).map(str::trim);
        for name in names {
            match name {
                ObjectAttributes::CHECKSUM => wanted.checksum = true,
                ObjectAttributes::ETAG => wanted.etag = true,
                ObjectAttributes::OBJECT_PARTS => wanted.parts = true,
                ObjectAttributes::OBJECT_SIZE => wanted.size = true,
                ObjectAttributes::STORAGE_CLASS => wanted.class = true,
                other => {
                    return Err(Failure::invalid_argument(
                        "x-amz-object-attributes",
                        other,
                        "Invalid attribute name specified.",
                    ));
                }
            }
        }
        if attributes.is_empty() {
            return Err(Failure::invalid_request(
                "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or \
                 empty",
            ));
        }
        Ok(wanted)
    }
}

/// The parts with numbers above `after`. Those of an upload that named no checksum are only counted, as on AWS.
fn parts_of(object: &Stored, segments: &[Segment], after: usize, most: usize) -> GetObjectAttributesParts {
    let total = i32::try_from(segments.len()).ok();
    let algorithm = object.checksum.as_ref().map(|sum| sum.algorithm);
    let listed = (1..).zip(segments).skip(after).filter_map(|(number, segment)| {
        let (algorithm, value) = (algorithm?, segment.checksum.as_ref()?);
        let mut part = ObjectPart {
            part_number: Some(number),
            size: i64::try_from(segment.size).ok(),
            ..ObjectPart::default()
        };
        put_checksum!(part, algorithm, value);
        Some(part)
    });
    let mut parts: Vec<ObjectPart> = listed.take(most.saturating_add(1)).collect();
    let truncated = parts.len() > most;
    parts.truncate(most);
    GetObjectAttributesParts {
        is_truncated: Some(truncated),
        next_part_number_marker: truncated.then(|| parts.last().and_then(|part| part.part_number)).flatten(),
        parts: (!parts.is_empty()).then_some(parts),
        total_parts_count: total,
        ..GetObjectAttributesParts::default()
    }
}
