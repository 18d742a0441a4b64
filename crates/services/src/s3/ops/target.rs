//! An object, or a version of one, that a request is about: what it asks for, and what is said when it is not there.

use http::header::{ALLOW, HeaderName, HeaderValue, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use s3s::dto::TimestampFormat;

use super::shape::{timestamp_seconds, version_text};
use super::{Facts, Failure, KeyValue, Keys, Opened, Session, arn};
use crate::s3::gate::Permit;
use crate::s3::storage::Looked;
use crate::s3::storage::blob::Source;
use crate::s3::storage::record::{Marker, Object as Stored};
use crate::s3::storage::version::{Found, Which};

const DELETE_MARKER: HeaderName = HeaderName::from_static("x-amz-delete-marker");
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// An action, and what it is called when a version is named.
/// Source: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>
#[derive(Clone, Copy)]
pub(super) struct Action {
    latest: &'static str,
    version: &'static str,
}

impl Action {
    const fn new(latest: &'static str, version: &'static str) -> Self {
        Self { latest, version }
    }

    pub(super) fn on(self, which: Which) -> &'static str {
        match which {
            Which::Latest => self.latest,
            Which::Null | Which::Id(_) => self.version,
        }
    }
}

pub(super) const GET: Action = Action::new("s3:GetObject", "s3:GetObjectVersion");
pub(super) const GET_ACL: Action = Action::new("s3:GetObjectAcl", "s3:GetObjectVersionAcl");
pub(super) const PUT_ACL: Action = Action::new("s3:PutObjectAcl", "s3:PutObjectVersionAcl");
pub(super) const GET_ATTRIBUTES: Action =
    Action::new("s3:GetObjectAttributes", "s3:GetObjectVersionAttributes");
pub(super) const GET_TAGGING: Action = Action::new("s3:GetObjectTagging", "s3:GetObjectVersionTagging");
pub(super) const PUT_TAGGING: Action = Action::new("s3:PutObjectTagging", "s3:PutObjectVersionTagging");
pub(super) const DELETE_TAGGING: Action =
    Action::new("s3:DeleteObjectTagging", "s3:DeleteObjectVersionTagging");
pub(super) const DELETE: Action = Action::new("s3:DeleteObject", "s3:DeleteObjectVersion");
// These have one name.
pub(super) const GET_RETENTION: Action = Action::new("s3:GetObjectRetention", "s3:GetObjectRetention");
pub(super) const GET_LEGAL_HOLD: Action = Action::new("s3:GetObjectLegalHold", "s3:GetObjectLegalHold");

/// An object that a request is about.
#[derive(Clone, Copy)]
pub(super) struct Target<'r> {
    pub(super) bucket: &'r str,
    pub(super) key: &'r str,
    pub(super) which: Which,
    pub(super) owner: Option<&'r str>,
}

impl Target<'_> {
    /// The version that is named.
    fn version(&self) -> Option<String> {
        match self.which {
            Which::Latest => None,
            Which::Null => Some(version_text(None)),
            Which::Id(id) => Some(version_text(Some(id))),
        }
    }

    /// The condition keys that the request has because of what it is about.
    pub(super) fn keys(&self) -> Keys {
        let mut keys = Keys::new();
        if let Some(version) = self.version() {
            keys.insert("s3:VersionId".into(), KeyValue::One(version));
        }
        keys
    }
}

/// What was found, closed until the caller may see it: all that authorisation itself learns are the object's tags.
pub(super) struct Sealed(Found<(Stored, Source)>);

impl Sealed {
    fn add_tags(&self, keys: &mut Keys) {
        if let Found::Object((object, _)) = &self.0 {
            add_existing_tags(object, keys);
        }
    }

    fn open(self, _permit: &Permit) -> Found<(Stored, Source)> {
        self.0
    }
}

fn add_existing_tags(object: &Stored, keys: &mut Keys) {
    for (name, value) in &object.tags {
        keys.insert(format!("s3:ExistingObjectTag/{name}").into(), KeyValue::One(value.clone()));
    }
}

impl super::Vault {
    fn look(&self, target: &Target<'_>) -> Result<(Option<Facts>, Sealed), Failure> {
        match self.store.look(target.bucket, target.key, target.which)? {
            Some(Looked { bucket, found }) => Ok((Some(Facts::of(target.bucket, bucket)), Sealed(found))),
            None => Ok((None, Sealed(Found::Nothing))),
        }
    }
}

impl<'o> Session<'o> {
    /// Asks for `action` on an object, which must exist. `more` are condition keys of the request.
    pub(super) fn object(
        &self,
        action: Action,
        target: &Target<'_>,
        more: Keys,
    ) -> Result<(Opened<'o>, Stored, Source), Failure> {
        let (opened, found) = self.look_at(action, target, more)?;
        match found {
            Found::Object((object, source)) => Ok((opened, object, source)),
            Found::Marker(marker) => Err(self.marked(&opened, target, &marker)),
            Found::Nothing => Err(self.missing(&opened, target)),
        }
    }

    /// The same for an object that need not exist.
    pub(super) fn look_at(
        &self,
        action: Action,
        target: &Target<'_>,
        mut keys: Keys,
    ) -> Result<(Opened<'o>, Found<(Stored, Source)>), Failure> {
        let (facts, sealed) = self.ops.vault.look(target)?;
        sealed.add_tags(&mut keys);
        keys.append(&mut target.keys());
        let at = (target.bucket, Some(target.key));
        let opened = self.enter(action.on(target.which), at, target.owner, facts, keys)?;
        let found = sealed.open(&opened.permit);
        Ok((opened, found))
    }

    /// Whether the caller may do something else with an object that was found, too.
    pub(super) fn also(
        &self,
        opened: &Opened<'_>,
        action: Action,
        target: &Target<'_>,
        object: &Stored,
    ) -> Result<Permit, Failure> {
        let mut keys = target.keys();
        add_existing_tags(object, &mut keys);
        self.permit(action.on(target.which), arn(target.bucket, Some(target.key)), Some(&opened.facts), keys)
    }

    /// The refusal for what does not exist: only who may list the bucket learns so.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>, "Permissions"
    fn missing(&self, opened: &Opened<'_>, target: &Target<'_>) -> Failure {
        let bucket = &opened.facts.name;
        match self.permit("s3:ListBucket", arn(bucket, None), Some(&opened.facts), Keys::new()) {
            Ok(_permit) => match target.version() {
                None => Failure::no_such_key(target.key),
                Some(version) => Failure::no_such_version(target.key, &version),
            },
            Err(refusal) => refusal,
        }
    }

    /// The refusal for a delete marker: on top of a key it is as if nothing were there; by its own id it is there, and
    /// can only be deleted.
    /// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeleteMarker.html>
    fn marked(&self, opened: &Opened<'_>, target: &Target<'_>, marker: &Marker) -> Failure {
        let refusal = match target.which {
            Which::Latest => match self.missing(opened, target) {
                missing if missing.code == "NoSuchKey" => missing,
                denied => return denied,
            },
            Which::Null | Which::Id(_) => Failure::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
            .with("Method", self.method.as_str())
            .with("ResourceType", "DeleteMarker")
            .header(ALLOW, HeaderValue::from_static("DELETE")),
        };
        let mut date = Vec::new();
        let written = timestamp_seconds(marker.modified).format(TimestampFormat::HttpDate, &mut date);
        let date = written.ok().and_then(|()| HeaderValue::from_bytes(&date).ok());
        let version = HeaderValue::from_str(&version_text(marker.version)).ok();
        let told = [
            (DELETE_MARKER, Some(HeaderValue::from_static("true"))),
            (VERSION_ID, version),
            (LAST_MODIFIED, date),
        ];
        told.into_iter().fold(refusal, |refusal, (name, value)| match value {
            Some(value) => refusal.header(name, value),
            None => refusal,
        })
    }
}

impl Opened<'_> {
    /// The version of an object as an answer names it: not in a bucket that never kept any.
    pub(super) fn shown_version(&self, object: &Stored) -> Option<String> {
        self.versioning.map(|_| version_text(object.version))
    }
}

/// Adds a header that the protocol layer has no field for.
pub(super) fn tell(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
