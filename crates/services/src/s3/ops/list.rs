//! ListObjects, ListObjectsV2, ListObjectVersions and ListMultipartUploads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::S3Response;
use s3s::dto::*;

use super::shape::{self, check_payer, owner, refuse, timestamp, version_text, which_named};
use super::{Failure, KeyValue, Keys, Opened, Session, blocking};
use crate::s3::storage::list::{ListAsk, ObjectPage};
use crate::s3::storage::record::{Marker, Object as Stored, Version};
use crate::s3::storage::version::Which;

const MAX_ENTRIES: i32 = 1000;

/// Continuation tokens are the last entry, in Base64: they stay good whatever happens to the objects.
pub(super) fn write_token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

pub(super) fn read_token(token: &str) -> Result<String, Failure> {
    let read = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    read.filter(|last| !last.is_empty()).ok_or_else(|| {
        Failure::invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    })
}

/// How many entries are asked for.
fn at_most(given: Option<i32>, name: &str) -> Result<i32, Failure> {
    match given {
        None => Ok(MAX_ENTRIES),
        Some(count) if count < 0 => Err(Failure::invalid_argument(
            name,
            count.to_string(),
            format!("Argument {name} must be an integer between 0 and 2147483647"),
        )),
        Some(count) => Ok(count.min(MAX_ENTRIES)),
    }
}

/// A key as it stands in a URL's path.
pub(super) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            byte => {
                // Writing into a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// How keys are written in the answer.
#[derive(Clone, Copy)]
struct Spelling {
    url: bool,
}

impl Spelling {
    fn of(encoding: Option<&EncodingType>) -> Result<Self, Failure> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { url: false }),
            Some(EncodingType::URL) => Ok(Self { url: true }),
            Some(other) => Err(Failure::invalid_argument(
                "encoding-type",
                other,
                "Invalid Encoding Method specified in Request",
            )),
        }
    }

    fn write(self, text: &str) -> String {
        if self.url { percent_encoded(text) } else { text.to_owned() }
    }

    fn optional(self, text: Option<String>) -> Option<String> {
        text.map(|text| self.write(&text))
    }

    fn prefixes(self, prefixes: &[String]) -> Option<Vec<CommonPrefix>> {
        let listed =
            prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(self.write(prefix)) }).collect();
        (!prefixes.is_empty()).then_some(listed)
    }

    fn object(self, key: &str, stored: &Stored, owned_by: Option<&str>) -> Object {
        Object {
            checksum_algorithm: stored.checksum.as_ref().map(|sum| vec![shape::algorithm(sum.algorithm)]),
            checksum_type: stored.checksum.as_ref().map(|sum| shape::kind(sum.kind)),
            e_tag: Some(shape::etag(&stored.etag)),
            key: Some(self.write(key)),
            last_modified: Some(timestamp(stored.modified)),
            owner: owned_by.map(owner),
            restore_status: None,
            size: i64::try_from(stored.size).ok(),
            storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        }
    }
}

impl Spelling {
    fn version(self, key: &str, stored: &Stored, latest: bool, owned_by: &str) -> ObjectVersion {
        ObjectVersion {
            checksum_algorithm: stored.checksum.as_ref().map(|sum| vec![shape::algorithm(sum.algorithm)]),
            checksum_type: stored.checksum.as_ref().map(|sum| shape::kind(sum.kind)),
            e_tag: Some(shape::etag(&stored.etag)),
            is_latest: Some(latest),
            key: Some(self.write(key)),
            last_modified: Some(timestamp(stored.modified)),
            owner: Some(owner(owned_by)),
            restore_status: None,
            size: i64::try_from(stored.size).ok(),
            storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
            version_id: Some(version_text(stored.version)),
        }
    }

    fn marker(self, key: &str, marker: &Marker, latest: bool, owned_by: &str) -> DeleteMarkerEntry {
        DeleteMarkerEntry {
            is_latest: Some(latest),
            key: Some(self.write(key)),
            last_modified: Some(timestamp(marker.modified)),
            owner: Some(owner(owned_by)),
            version_id: Some(version_text(marker.version)),
        }
    }
}

/// The condition keys of a listing.
fn listing_keys(prefix: Option<&str>, delimiter: Option<&str>, max: Option<i32>) -> Keys {
    let mut keys = Keys::new();
    let mut set = |key: &'static str, value: Option<String>| {
        if let Some(value) = value {
            keys.insert(key.into(), KeyValue::One(value));
        }
    };
    set("s3:prefix", prefix.map(str::to_owned));
    set("s3:delimiter", delimiter.map(str::to_owned));
    set("s3:max-keys", max.map(|max| max.to_string()));
    keys
}

async fn page_of(opened: &Opened<'_>, ask: ListAsk) -> Result<ObjectPage, Failure> {
    let (store, bucket) = (opened.store().clone(), opened.facts.name.clone());
    blocking(move || store.list_objects(&bucket, &ask)).await
}

impl Session<'_> {
    pub(super) async fn list_objects(
        self,
        input: ListObjectsInput,
    ) -> Result<S3Response<ListObjectsOutput>, Failure> {
        let ListObjectsInput {
            bucket,
            delimiter,
            encoding_type,
            expected_bucket_owner,
            marker,
            max_keys,
            optional_object_attributes,
            prefix,
            request_payer,
        } = input;
        refuse! { optional_object_attributes => "x-amz-optional-object-attributes" }
        check_payer(request_payer.as_ref())?;
        let keys = listing_keys(prefix.as_deref(), delimiter.as_deref(), max_keys);
        let opened = self.open("s3:ListBucket", &bucket, None, expected_bucket_owner.as_deref(), keys)?;
        let max = at_most(max_keys, "max-keys")?;
        let spelling = Spelling::of(encoding_type.as_ref())?;
        let ask = ListAsk {
            prefix: prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone().unwrap_or_default(),
            after: marker.clone().unwrap_or_default(),
            max: usize::try_from(max).unwrap_or_default(),
        };
        let page = page_of(&opened, ask).await?;
        let owned_by = Some(opened.facts.owner.as_str());
        let contents: Vec<Object> =
            page.objects.iter().map(|(key, stored)| spelling.object(key, stored, owned_by)).collect();
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(bucket),
            prefix: Some(spelling.write(&prefix.unwrap_or_default())),
            marker: Some(spelling.write(&marker.unwrap_or_default())),
            max_keys: Some(max),
            is_truncated: Some(page.next.is_some()),
            common_prefixes: spelling.prefixes(&page.prefixes),
            contents: (!contents.is_empty()).then_some(contents),
            // As on AWS: without a delimiter the last key serves as the next marker.
            next_marker: spelling.optional(page.next.filter(|_| delimiter.is_some())),
            delimiter: spelling.optional(delimiter),
            encoding_type,
            request_charged: None,
        }))
    }

    pub(super) async fn list_objects_v2(
        self,
        input: ListObjectsV2Input,
    ) -> Result<S3Response<ListObjectsV2Output>, Failure> {
        let ListObjectsV2Input {
            bucket,
            continuation_token,
            delimiter,
            encoding_type,
            expected_bucket_owner,
            fetch_owner,
            max_keys,
            optional_object_attributes,
            prefix,
            request_payer,
            start_after,
        } = input;
        refuse! { optional_object_attributes => "x-amz-optional-object-attributes" }
        check_payer(request_payer.as_ref())?;
        let keys = listing_keys(prefix.as_deref(), delimiter.as_deref(), max_keys);
        let opened = self.open("s3:ListBucket", &bucket, None, expected_bucket_owner.as_deref(), keys)?;
        let max = at_most(max_keys, "max-keys")?;
        let spelling = Spelling::of(encoding_type.as_ref())?;
        let after = match &continuation_token {
            Some(token) => read_token(token)?,
            None => start_after.clone().unwrap_or_default(),
        };
        let ask = ListAsk {
            prefix: prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone().unwrap_or_default(),
            after,
            max: usize::try_from(max).unwrap_or_default(),
        };
        let page = page_of(&opened, ask).await?;
        let owned_by = fetch_owner.unwrap_or(false).then_some(opened.facts.owner.as_str());
        let contents: Vec<Object> =
            page.objects.iter().map(|(key, stored)| spelling.object(key, stored, owned_by)).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(bucket),
            prefix: Some(spelling.write(&prefix.unwrap_or_default())),
            max_keys: Some(max),
            key_count: i32::try_from(page.objects.len() + page.prefixes.len()).ok(),
            continuation_token,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(write_token),
            common_prefixes: spelling.prefixes(&page.prefixes),
            contents: (!contents.is_empty()).then_some(contents),
            delimiter: spelling.optional(delimiter),
            encoding_type,
            start_after: spelling.optional(start_after),
            request_charged: None,
        }))
    }

    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html>
    pub(super) async fn list_object_versions(
        self,
        input: ListObjectVersionsInput,
    ) -> Result<S3Response<ListObjectVersionsOutput>, Failure> {
        let ListObjectVersionsInput {
            bucket,
            delimiter,
            encoding_type,
            expected_bucket_owner,
            key_marker,
            max_keys,
            optional_object_attributes,
            prefix,
            request_payer,
            version_id_marker,
        } = input;
        refuse! { optional_object_attributes => "x-amz-optional-object-attributes" }
        check_payer(request_payer.as_ref())?;
        let keys = listing_keys(prefix.as_deref(), delimiter.as_deref(), max_keys);
        let opened =
            self.open("s3:ListBucketVersions", &bucket, None, expected_bucket_owner.as_deref(), keys)?;
        let max = at_most(max_keys, "max-keys")?;
        let spelling = Spelling::of(encoding_type.as_ref())?;
        let behind = which_named("version-id-marker", version_id_marker.as_deref())?;
        let behind = (behind != Which::Latest).then_some(behind);
        if version_id_marker.is_some() && key_marker.is_none() {
            return Err(Failure::invalid_argument(
                "version-id-marker",
                version_id_marker.unwrap_or_default(),
                "A version-id marker cannot be specified without a key marker.",
            ));
        }
        let ask = ListAsk {
            prefix: prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone().unwrap_or_default(),
            after: key_marker.clone().unwrap_or_default(),
            max: usize::try_from(max).unwrap_or_default(),
        };
        let (store, name) = (opened.store().clone(), bucket.clone());
        let page = blocking(move || store.list_versions(&name, &ask, behind)).await?;
        let owned_by = opened.facts.owner.as_str();
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        for listed in &page.versions {
            match &listed.version {
                Version::Object(stored) => {
                    versions.push(spelling.version(&listed.key, stored, listed.latest, owned_by));
                }
                Version::Marker(marker) => {
                    markers.push(spelling.marker(&listed.key, marker, listed.latest, owned_by));
                }
            }
        }
        let truncated = page.next.is_some();
        let (next_key, next_version) = page.next.unzip();
        let next_version = next_version.flatten().map(|which| match which {
            Which::Id(id) => version_text(Some(id)),
            Which::Null | Which::Latest => version_text(None),
        });
        Ok(S3Response::new(ListObjectVersionsOutput {
            common_prefixes: spelling.prefixes(&page.prefixes),
            delete_markers: (!markers.is_empty()).then_some(markers),
            delimiter: spelling.optional(delimiter),
            encoding_type,
            is_truncated: Some(truncated),
            key_marker: Some(spelling.write(&key_marker.unwrap_or_default())),
            max_keys: Some(max),
            name: Some(bucket),
            next_key_marker: spelling.optional(next_key),
            next_version_id_marker: next_version,
            prefix: Some(spelling.write(&prefix.unwrap_or_default())),
            request_charged: None,
            version_id_marker,
            versions: (!versions.is_empty()).then_some(versions),
        }))
    }

    pub(super) async fn list_multipart_uploads(
        self,
        input: ListMultipartUploadsInput,
    ) -> Result<S3Response<ListMultipartUploadsOutput>, Failure> {
        let ListMultipartUploadsInput {
            bucket,
            delimiter,
            encoding_type,
            expected_bucket_owner,
            key_marker,
            max_uploads,
            prefix,
            request_payer,
            upload_id_marker,
        } = input;
        check_payer(request_payer.as_ref())?;
        let keys = listing_keys(prefix.as_deref(), delimiter.as_deref(), None);
        let owner_id = expected_bucket_owner.as_deref();
        let opened = self.open("s3:ListBucketMultipartUploads", &bucket, None, owner_id, keys)?;
        let max = at_most(max_uploads, "max-uploads")?;
        let spelling = Spelling::of(encoding_type.as_ref())?;
        let ask = ListAsk {
            prefix: prefix.clone().unwrap_or_default(),
            delimiter: delimiter.clone().unwrap_or_default(),
            after: key_marker.clone().unwrap_or_default(),
            max: usize::try_from(max).unwrap_or_default(),
        };
        // Without a key marker the upload id marker means nothing.
        let after_id = upload_id_marker.clone().filter(|_| key_marker.is_some()).unwrap_or_default();
        let (store, name) = (opened.store().clone(), bucket.clone());
        let page = blocking(move || store.list_uploads(&name, &ask, &after_id)).await?;
        let uploads: Vec<MultipartUpload> = page
            .uploads
            .iter()
            .map(|(key, id, upload)| MultipartUpload {
                checksum_algorithm: upload.algorithm_named.then(|| shape::algorithm(upload.algorithm)),
                checksum_type: upload.algorithm_named.then(|| shape::kind(upload.kind)),
                initiated: Some(timestamp(upload.initiated)),
                initiator: Some(super::multipart::initiator(upload)),
                key: Some(spelling.write(key)),
                owner: Some(owner(&opened.facts.owner)),
                storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                upload_id: Some(id.clone()),
            })
            .collect();
        let (next_key, next_id) = page.next.clone().unzip();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(bucket),
            common_prefixes: spelling.prefixes(&page.prefixes),
            delimiter: spelling.optional(delimiter),
            encoding_type,
            is_truncated: Some(page.next.is_some()),
            key_marker: Some(spelling.write(&key_marker.unwrap_or_default())),
            max_uploads: Some(max),
            next_key_marker: spelling.optional(next_key),
            next_upload_id_marker: next_id.filter(|id| !id.is_empty()),
            prefix: Some(spelling.write(&prefix.unwrap_or_default())),
            request_charged: None,
            upload_id_marker,
            uploads: (!uploads.is_empty()).then_some(uploads),
        }))
    }
}
