//! Tags of objects: as documents of their own, and in the header of a write.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html>

use http::StatusCode;
use postern_wire::query::percent::{self, Plus};
use s3s::S3Response;
use s3s::dto::*;

use super::shape::{check_payer, which};
use super::target::{self, Target};
use super::{Failure, KeyValue, Keys, Opened, Session, arn};
use crate::s3::storage::record::{Object as Stored, Tags};
use crate::s3::storage::version::Found;

/// Whose tags they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Bucket,
    Object,
}

impl Of {
    /// How many there may be.
    fn most(self) -> usize {
        match self {
            Self::Bucket => 50,
            Self::Object => 10,
        }
    }
}

const MAX_NAME_UNITS: usize = 128;
const MAX_VALUE_UNITS: usize = 256;

fn invalid(field: &'static str, given: &str, message: &str) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "InvalidTag", message).with(field, given)
}

/// Length is counted in UTF-16.
fn fits(text: &str, most: usize) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "+-=._:/@".contains(c);
    text.encode_utf16().count() <= most && text.chars().all(allowed)
}

fn check(tags: Vec<(String, String)>, of: Of) -> Result<Tags, Failure> {
    let most = of.most();
    if tags.len() > most {
        let message = match of {
            Of::Bucket => format!("Bucket tag count cannot be greater than {most}"),
            Of::Object => format!("Object tags cannot be greater than {most}"),
        };
        return Err(Failure::new(StatusCode::BAD_REQUEST, "BadRequest", message));
    }
    let mut kept = Tags::new();
    for (name, value) in tags {
        if name.is_empty() || !fits(&name, MAX_NAME_UNITS) {
            return Err(invalid("TagKey", &name, "The TagKey you have provided is invalid"));
        }
        if !fits(&value, MAX_VALUE_UNITS) {
            return Err(invalid("TagValue", &value, "The TagValue you have provided is invalid"));
        }
        if name.starts_with("aws:") {
            return Err(invalid("TagKey", &name, "System tags cannot be added/updated by requester"));
        }
        if kept.contains_key(&name) {
            return Err(invalid("TagKey", &name, "Cannot provide multiple Tags with the same key"));
        }
        kept.insert(name, value);
    }
    Ok(kept)
}

/// The tags in a document.
pub(super) fn of_document(tagging: Tagging, of: Of) -> Result<Tags, Failure> {
    let tags = tagging.tag_set.into_iter().map(|Tag { key, value }| key.zip(value));
    check(tags.collect::<Option<Vec<_>>>().ok_or_else(Failure::malformed_xml)?, of)
}

/// The tags in the header of a write: the query string of a URL.
pub(super) fn of_header(header: Option<&str>) -> Result<Tags, Failure> {
    let unreadable = || {
        Failure::invalid_argument(
            "x-amz-tagging",
            header.unwrap_or_default(),
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag \
             name duplicates.",
        )
    };
    let mut tags: Vec<(String, String)> = Vec::new();
    for pair in header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text| percent::decode(text, Plus::Space).map_err(|_| unreadable());
        let (name, value) = (decode(name)?, decode(value)?);
        if tags.iter().any(|(given, _)| *given == name) {
            return Err(unreadable());
        }
        tags.push((name, value));
    }
    check(tags, Of::Object)
}

pub(super) fn shown(tags: &Tags) -> Vec<Tag> {
    let tag = |(name, value): (&String, &String)| Tag { key: Some(name.clone()), value: Some(value.clone()) };
    tags.iter().map(tag).collect()
}

/// The condition keys of a request that sets tags.
pub(super) fn request_keys(tags: &Tags) -> Keys {
    let mut keys = Keys::new();
    for (name, value) in tags {
        keys.insert(format!("s3:RequestObjectTag/{name}").into(), KeyValue::One(value.clone()));
    }
    if !tags.is_empty() {
        keys.insert("s3:RequestObjectTagKeys".into(), KeyValue::Many(tags.keys().cloned().collect()));
    }
    keys
}

impl Session<'_> {
    /// Who writes an object with tags must be allowed to tag it, too.
    pub(super) fn may_tag(&self, opened: &Opened<'_>, key: &str, tags: &Tags) -> Result<(), Failure> {
        if tags.is_empty() {
            return Ok(());
        }
        let resource = arn(&opened.facts.name, Some(key));
        self.permit("s3:PutObjectTagging", resource, Some(&opened.facts), request_keys(tags))
            .map(|_permit| ())
    }

    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html>
    pub(super) async fn put_object_tagging(
        self,
        input: PutObjectTaggingInput,
    ) -> Result<S3Response<PutObjectTaggingOutput>, Failure> {
        let PutObjectTaggingInput {
            bucket,
            checksum_algorithm: _,
            content_md5: _,
            expected_bucket_owner,
            key,
            request_payer,
            tagging,
            version_id,
        } = input;
        check_payer(request_payer.as_ref())?;
        let which = which(version_id.as_deref())?;
        let tags = of_document(tagging, Of::Object)?;
        let target = Target { bucket: &bucket, key: &key, which, owner: expected_bucket_owner.as_deref() };
        let (opened, ..) = self.object(target::PUT_TAGGING, &target, request_keys(&tags))?;
        let version_id = self.retag(&opened, &target, tags).await?;
        Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
    }

    pub(super) async fn get_object_tagging(
        self,
        input: GetObjectTaggingInput,
    ) -> Result<S3Response<GetObjectTaggingOutput>, Failure> {
        let GetObjectTaggingInput { bucket, expected_bucket_owner, key, request_payer, version_id } = input;
        check_payer(request_payer.as_ref())?;
        let which = which(version_id.as_deref())?;
        let target = Target { bucket: &bucket, key: &key, which, owner: expected_bucket_owner.as_deref() };
        let (opened, object, _) = self.object(target::GET_TAGGING, &target, Keys::new())?;
        Ok(S3Response::new(GetObjectTaggingOutput {
            tag_set: shown(&object.tags),
            version_id: opened.shown_version(&object),
        }))
    }

    pub(super) async fn delete_object_tagging(
        self,
        input: DeleteObjectTaggingInput,
    ) -> Result<S3Response<DeleteObjectTaggingOutput>, Failure> {
        let DeleteObjectTaggingInput { bucket, expected_bucket_owner, key, version_id } = input;
        let which = which(version_id.as_deref())?;
        let target = Target { bucket: &bucket, key: &key, which, owner: expected_bucket_owner.as_deref() };
        let (opened, ..) = self.object(target::DELETE_TAGGING, &target, Keys::new())?;
        let version_id = self.retag(&opened, &target, Tags::new()).await?;
        Ok(S3Response::with_status(DeleteObjectTaggingOutput { version_id }, StatusCode::NO_CONTENT))
    }

    /// Sets the tags of an object that was there a moment ago.
    async fn retag(
        &self,
        opened: &Opened<'_>,
        target: &Target<'_>,
        tags: Tags,
    ) -> Result<Option<String>, Failure> {
        match opened.store().set_tags(target.bucket, target.key, target.which, tags).await? {
            Found::Object(object) => Ok(opened.shown_version(&object)),
            Found::Marker(_) | Found::Nothing => Err(Failure::no_such_key(target.key)),
        }
    }
}

/// The tags of a copy: those of its source, or those in the request.
pub(super) fn copied(
    directive: Option<&TaggingDirective>,
    source: &Stored,
    given: Tags,
) -> Result<Tags, Failure> {
    match directive.map(TaggingDirective::as_str) {
        None | Some(TaggingDirective::COPY) => Ok(source.tags.clone()),
        Some(TaggingDirective::REPLACE) => Ok(given),
        Some(other) => {
            Err(Failure::invalid_argument("x-amz-tagging-directive", other, "Unknown tagging directive."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> String {
        match of_header(Some(header)) {
            Ok(tags) => format!("{tags:?}"),
            Err(failure) => format!("{}: {}", failure.code, failure.message),
        }
    }

    #[test]
    fn headers() {
        assert_eq!(read(""), "{}");
        assert_eq!(read("a=b&c+d=%C3%BC&e"), r#"{"a": "b", "c d": "ü", "e": ""}"#);
        assert!(read("a=%FF").starts_with("InvalidArgument: The header 'x-amz-tagging' shall be encoded"));
        assert!(
            read("a=1&%61=2").starts_with("InvalidArgument: The header 'x-amz-tagging' shall be encoded")
        );
        assert_eq!(read("=b"), "InvalidTag: The TagKey you have provided is invalid");
        assert_eq!(read("a=%3C"), "InvalidTag: The TagValue you have provided is invalid");
        assert_eq!(read("aws:x=b"), "InvalidTag: System tags cannot be added/updated by requester");
        let many: Vec<String> = (0..11).map(|number| format!("t{number}=x")).collect();
        assert_eq!(read(&many.join("&")), "BadRequest: Object tags cannot be greater than 10");
        assert_eq!(read(&"a".repeat(129)), "InvalidTag: The TagKey you have provided is invalid");
        assert!(read(&"a".repeat(128)).starts_with('{'));
    }
}
