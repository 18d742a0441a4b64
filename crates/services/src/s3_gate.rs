//! S3's place behind the front door: its [`Gate`] over the authoriser, and the record of each of its requests.
//!
//! INVARIANT: where a request came from is what the front door put into its extensions; a request without an origin
//! is refused.
//! INVARIANT: a temporary key works only with the token that was issued with it, and only while both hold.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::header::{HOST, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use postern_frontdoor::audit::{BucketAndKey, Call};
use postern_frontdoor::{
    Ask as DoorAsk, Audit, Authoriser, Caller as DoorCaller, CredentialError, Evidence, HttpService, Metrics,
    Notes, Origin, Record, RequestBody, Responding, ResponseBody, Traits, UserIdentity,
};
use postern_policy::{Context, Kind, NamedPolicy, PolicyDocument, Value, is_public, unenforceable};
use postern_wire::query::percent::{self, Plus};
use postern_wire::sigv4::{self, SecretAccessKey};

use crate::bucket_policy;
use crate::directory::cache::PolicyCache;
use crate::directory::condition_keys;
use crate::directory::session::KEY_PREFIX;
use crate::malformed;
use crate::s3::host::Hosts;
use crate::s3::pieces::{self, Keep, Pieces};
use crate::s3::signing::{Key, signed_parts};
use crate::s3::storage::record::Bucket;
use crate::s3::{
    Ask, Caller, Enforceable, Gate, KeyValue, Permit, PolicyCheck, Refusal, S3Service, SecretLookup,
};

/// A token that no client can send, so that none is the right one: it has a line end in it.
const NO_TOKEN: &str = "\n";

/// What S3 asks, answered by the front door's authoriser.
pub struct S3Gate {
    authoriser: Arc<Authoriser>,
    bucket_policies: PolicyCache,
}

impl S3Gate {
    /// Over this authoriser.
    pub fn new(authoriser: Arc<Authoriser>) -> Self {
        Self { authoriser, bucket_policies: PolicyCache::default() }
    }

    fn caller(&self, caller: &Caller, visit: &Visit) -> Result<DoorCaller, Refusal> {
        match caller {
            Caller::Anonymous => Ok(said(DoorCaller::anonymous(), visit)),
            Caller::Signed { access_key, .. } => {
                let known = self.authoriser.directory().credential(access_key, visit.token.as_deref());
                known.map(|known| said(known.caller, visit)).map_err(|_| denied())
            }
        }
    }

    fn ask(&self, ask: &Ask) -> Result<DoorAsk, Refusal> {
        let mut context = Context::new();
        for (key, value) in &ask.context {
            match value {
                KeyValue::One(one) => context.insert(key, one.clone()),
                KeyValue::Many(many) => context.insert_many(key, many.iter().cloned().map(Value::Text)),
            }
        }
        let bucket = ask.bucket.as_deref();
        let policy = bucket.and_then(|bucket| Some((bucket, bucket.policy.as_ref()?)));
        let resource_policy = policy.map(|(bucket, text)| {
            let document = self.bucket_policies.document(Kind::Resource, text).map_err(|_| Refusal {
                message: format!(
                    "the policy of bucket `{}` cannot be read, so nothing is allowed",
                    bucket.name
                ),
            })?;
            Ok(Arc::new(NamedPolicy::new(bucket.name.clone(), document)))
        });
        let owner = bucket.map(|bucket| bucket.owner.parse().map_err(|_| denied()));
        Ok(DoorAsk {
            action: ask.action.to_owned(),
            resource: ask.resource.clone(),
            resource_account: owner.transpose()?,
            resource_policy: resource_policy.transpose()?,
            context,
        })
    }
}

/// What the root user of a bucket's account may always do, whatever the bucket's policy says, so that nobody locks a
/// bucket for ever ("Bucket policies": "the root principal in a bucket owner's account can perform …").
const POLICY_ACTIONS: [&str; 3] = ["s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"];

fn is_owner_root(caller: &DoorCaller, ask: &DoorAsk) -> bool {
    caller.identity == postern_frontdoor::Identity::Root
        && caller.account.is_some()
        && caller.account == ask.resource_account
}

/// Whether a public policy is to let nobody in but the bucket's own account, and this is somebody else.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>,
/// "RestrictPublicBuckets"
fn is_restricted(caller: &DoorCaller, ask: &Ask, asked: &DoorAsk) -> bool {
    ask.bucket.as_ref().is_some_and(|bucket| bucket.restricts_public) && is_public_to(caller, asked)
}

/// Whether a policy is public, and this is somebody of another account than the bucket's.
fn is_public_to(caller: &DoorCaller, asked: &DoorAsk) -> bool {
    (caller.account.is_none() || caller.account != asked.resource_account)
        && asked.resource_policy.as_ref().is_some_and(|policy| is_public(policy.document()))
}

/// Whether a bucket's Block Public Access turns this caller away before any policy is asked.
pub fn is_blocked(bucket: &Bucket, caller: &DoorCaller, asked: &DoorAsk) -> bool {
    bucket.public_access_block.is_some_and(|block| block.restrict_public_buckets)
        && is_public_to(caller, asked)
}

/// The setting by which [`is_blocked`] turns callers away.
pub const RESTRICTED: &str = "RestrictPublicBuckets";

/// What S3 says to whom that setting turns away: those of the same organization read it as an explicit deny of the bucket's
/// policy, and others nothing.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html>
pub fn turned_away(evidence: &Evidence) -> String {
    let request = &evidence.request;
    if !evidence.same_organization {
        return postern_policy::ACCESS_DENIED.to_owned();
    }
    format!(
        "User: {} is not authorized to perform: {} on resource: \"{}\" with an explicit deny in a resource-based policy",
        request.principal.display_name(),
        request.action,
        request.resource
    )
}

/// A caller with what its request says of its program.
fn said(mut caller: DoorCaller, visit: &Visit) -> DoorCaller {
    caller.traits.user_agent.clone_from(&visit.traits.user_agent);
    caller.traits.referer.clone_from(&visit.traits.referer);
    caller
}

fn denied() -> Refusal {
    Refusal { message: postern_policy::ACCESS_DENIED.to_owned() }
}

impl Gate for S3Gate {
    fn secret(&self, access_key: &str, token: Option<&str>) -> Option<SecretLookup> {
        let given = || token.map(str::to_owned);
        let looked_up = |secret_key: String, account: String, session_token, expired| {
            Some(SecretLookup { secret_key, account, session_token, expired })
        };
        let temporary = access_key.starts_with(KEY_PREFIX);
        match self.authoriser.directory().credential(access_key, token) {
            Ok(known) => {
                let account = known.caller.account?.to_string();
                // A token that came with the key and was accepted is the right one.
                looked_up(known.secret, account, given(), false)
            }
            Err(CredentialError::Expired(_)) => looked_up(String::new(), String::new(), given(), true),
            // S3 tells a wrong token, or none, from a key that is not there.
            Err(CredentialError::InvalidToken(_)) => {
                let expected = temporary.then(|| NO_TOKEN.to_owned());
                looked_up(String::new(), String::new(), expected, false)
            }
            Err(CredentialError::Unknown(_)) => None,
        }
    }

    fn authorise(&self, extensions: &http::Extensions, ask: &Ask) -> Result<Permit, Refusal> {
        let visit = extensions.get::<Arc<Visit>>().ok_or_else(denied)?;
        let caller = extensions.get::<Caller>().ok_or_else(denied)?;
        let caller = self.caller(caller, visit)?;
        *visit.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(UserIdentity::of(&caller));
        let mut asked = self.ask(ask)?;
        if is_owner_root(&caller, &asked) && POLICY_ACTIONS.contains(&ask.action) {
            asked.resource_policy = None;
        }
        let mut notes = visit.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if is_restricted(&caller, ask, &asked) {
            let evidence = self.authoriser.weigh(&caller, &visit.origin, &asked);
            let evidence = evidence.map_err(|refusal| Refusal { message: refusal.message })?;
            let evidence = evidence.turned_away(RESTRICTED);
            let message = turned_away(&evidence);
            notes.take_turned_away(evidence);
            return Err(Refusal { message });
        }
        match self.authoriser.authorise(&caller, &visit.origin, &asked, &mut notes) {
            Ok(_) => Ok(Permit::issued_by(self)),
            Err(refusal) => Err(Refusal { message: refusal.message }),
        }
    }

    fn name(&self, extensions: &http::Extensions) -> Option<String> {
        let (visit, caller) = (extensions.get::<Arc<Visit>>()?, extensions.get::<Caller>()?);
        self.caller(caller, visit).ok().map(|caller| caller.principal.display_name())
    }
}

/// What an action on a bucket or an object asks for, by the ARN and what the bucket says of itself: for explanations,
/// which make no request of S3's.
///
/// # Errors
/// Where the bucket's policy cannot be read.
pub fn described(action: &str, resource: &str, bucket: Option<(&str, &Bucket)>) -> Result<DoorAsk, String> {
    let policy = bucket.and_then(|(name, bucket)| Some((name, bucket.policy.as_ref()?)));
    let policy = policy.map(|(name, text)| {
        let document = PolicyDocument::parse(text, Kind::Resource).map_err(|error| error.to_string())?;
        Ok::<_, String>(Arc::new(NamedPolicy::new(name.to_owned(), document)))
    });
    let mut context = Context::new();
    let owner = bucket.map(|(_, bucket)| bucket.owner.as_str());
    if let Some(owner) = owner {
        context.insert("s3:ResourceAccount", owner.to_owned());
    }
    Ok(DoorAsk {
        action: action.to_owned(),
        resource: resource.to_owned(),
        resource_account: owner.and_then(|owner| owner.parse().ok()),
        resource_policy: policy.transpose()?,
        context,
    })
}

/// What accepts bucket policies: those that are about their bucket, and of which every condition can be enforced.
pub fn policy_check() -> PolicyCheck {
    Arc::new(|bucket, text| {
        let document =
            PolicyDocument::parse(text, Kind::Resource).map_err(|error| malformed::by_s3(&error))?;
        bucket_policy::check(bucket, text)?;
        match unenforceable(&document, &condition_keys::is_provided).first() {
            None => Ok(Enforceable { public: is_public(&document) }),
            Some(key) => Err(format!("The condition key {key} cannot be enforced by this endpoint")),
        }
    })
}

/// One request to S3: who came, with what, and who it turned out to be.
#[derive(Debug)]
struct Visit {
    origin: Origin,
    token: Option<String>,
    /// What the request says of the program that made it.
    traits: Traits,
    caller: Mutex<Option<UserIdentity>>,
    notes: Mutex<Notes>,
}

/// S3 as the front door mounts it.
pub struct S3Door {
    service: S3Service,
    authoriser: Arc<Authoriser>,
    hosts: Hosts,
    region: String,
    audit: Audit,
    metrics: Arc<Metrics>,
}

impl S3Door {
    /// This service, whose gate has to be an [`S3Gate`] over the same authoriser.
    pub fn new(
        service: S3Service,
        authoriser: Arc<Authoriser>,
        hosts: Hosts,
        region: impl Into<String>,
        audit: Audit,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { service, authoriser, hosts, region: region.into(), audit, metrics }
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let started = Instant::now();
        let Some(origin) = request.extensions().get::<Origin>().copied() else {
            let mut response =
                Response::new(postern_frontdoor::body::full("the origin of the request is not known\n"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        let (mut parts, body) = request.into_parts();
        let claim = sigv4::parse(&signed_parts(&parts)).ok().flatten();
        let token = claim.as_ref().and_then(|claim| claim.session_token.clone());
        let mut traits = Traits::default();
        traits.hear(&parts.headers);
        let visit = Visit { origin, token, traits, caller: Mutex::default(), notes: Mutex::default() };
        let visit = Arc::new(visit);
        parts.extensions.insert(Arc::clone(&visit));
        let about = About::of(&parts, &self.hosts);
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
        let checked = self.authoriser.directory().checks_signatures();
        let in_pieces = match &claim {
            Some(claim) if !checked => self.sign_anew(&mut parts, claim),
            Some(_) | None => None,
        };
        let answered = match in_pieces {
            Some(keep) => self.service.call(Request::from_parts(parts, Pieces::new(body, keep))).await,
            None => self.service.call(Request::from_parts(parts, body)).await,
        };
        let (head, body) = answered.into_parts();
        let error = error_of(head.status, &body);
        let code = error.as_ref().map_or("OK", |(code, _)| code.as_str());
        self.metrics.request("s3", about.operation, code, started.elapsed());
        let known = visit.caller.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let id = head.headers.get("x-amz-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
        let mut record = Record::of(Call {
            at: self.authoriser.directory().now(),
            service: "s3",
            operation: about.operation,
            region: &self.region,
            identity: known.unwrap_or_else(|| UserIdentity::unknown(claim.map(|claim| claim.access_key_id))),
            origin: &origin,
            user_agent: agent.as_deref(),
            request_id: id,
            status: head.status.as_u16(),
            error,
        });
        record.request_parameters =
            about.bucket.map(|bucket_name| BucketAndKey { bucket_name, key: about.key });
        self.audit.record(record).await;
        let notes = std::mem::take(&mut *visit.notes.lock().unwrap_or_else(PoisonError::into_inner));
        self.authoriser.remember(id, notes);
        Response::from_parts(head, body.map_err(Into::into).boxed_unsync())
    }

    /// Where signatures are not checked, S3 still checks them: a request whose signature is not right gets one that
    /// is. Says what to keep of a body that comes in pieces whose signatures have to go.
    fn sign_anew(&self, parts: &mut Parts, claim: &sigv4::Unverified) -> Option<Keep> {
        let directory = self.authoriser.directory();
        let Ok(known) = directory.credential(&claim.access_key_id, claim.session_token.as_deref()) else {
            return None;
        };
        let secret = SecretAccessKey::new(known.secret);
        let key = Key { claim, secret: &secret, region: &self.region, now: directory.now() };
        // The signature of each piece rests on the one before and so on the head's, which may be wrong.
        let in_pieces = pieces::announce(parts);
        if in_pieces.is_some() || !key.holds(parts) {
            key.sign(parts);
        }
        in_pieces
    }
}

impl HttpService for S3Door {
    fn call<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        Box::pin(self.answer(request))
    }
}

/// Code and sentence of an error document.
fn error_of(status: StatusCode, body: &s3s::Body) -> Option<(String, String)> {
    if status.is_success() || status == StatusCode::NOT_MODIFIED {
        return None;
    }
    let document = body.bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let told = document.as_deref().and_then(postern_wire::client::decode_error);
    // Answers to HEAD have no document.
    Some(
        told.map_or_else(
            || (status.as_u16().to_string(), String::new()),
            |(code, message, _)| (code, message),
        ),
    )
}

/// What a request is about, for its record.
#[derive(Debug, PartialEq, Eq)]
struct About {
    operation: &'static str,
    bucket: Option<String>,
    key: Option<String>,
}

impl About {
    fn of(parts: &Parts, hosts: &Hosts) -> Self {
        let host =
            parts.headers.get(HOST).and_then(|host: &HeaderValue| host.to_str().ok()).unwrap_or_default();
        let path =
            percent::decode(parts.uri.path(), Plus::Plus).unwrap_or_else(|_| parts.uri.path().to_owned());
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = match hosts.bucket(host) {
            Some(bucket) => (bucket, path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let text = |text: &str| (!text.is_empty()).then(|| text.chars().take(1024).collect::<String>());
        let (bucket, key) = (text(bucket), text(key));
        Self { operation: operation(parts, bucket.is_some(), key.is_some()), bucket, key }
    }
}

/// The names of operations that only look, by the word in the query string that makes them so; of a bucket and, where
/// there is one, of an object.
const LOOKS: [(&str, &str, Option<&str>); 21] = [
    ("accelerate", "GetBucketAccelerateConfiguration", None),
    ("acl", "GetBucketAcl", Some("GetObjectAcl")),
    ("attributes", "unknown", Some("GetObjectAttributes")),
    ("cors", "GetBucketCors", None),
    ("encryption", "GetBucketEncryption", None),
    ("legal-hold", "unknown", Some("GetObjectLegalHold")),
    ("lifecycle", "GetBucketLifecycleConfiguration", None),
    ("location", "GetBucketLocation", None),
    ("logging", "GetBucketLogging", None),
    ("notification", "GetBucketNotificationConfiguration", None),
    ("object-lock", "GetObjectLockConfiguration", None),
    ("ownershipControls", "GetBucketOwnershipControls", None),
    ("policy", "GetBucketPolicy", None),
    ("policyStatus", "GetBucketPolicyStatus", None),
    ("publicAccessBlock", "GetPublicAccessBlock", None),
    ("replication", "GetBucketReplication", None),
    ("requestPayment", "GetBucketRequestPayment", None),
    ("retention", "unknown", Some("GetObjectRetention")),
    ("tagging", "GetBucketTagging", Some("GetObjectTagging")),
    ("versioning", "GetBucketVersioning", None),
    ("website", "GetBucketWebsite", None),
];

/// The operations that change what the same words name: of a bucket, or of an object.
const CHANGES: [(Method, &str, bool, &str); 12] = [
    (Method::PUT, "acl", false, "PutBucketAcl"),
    (Method::PUT, "acl", true, "PutObjectAcl"),
    (Method::PUT, "ownershipControls", false, "PutBucketOwnershipControls"),
    (Method::PUT, "publicAccessBlock", false, "PutPublicAccessBlock"),
    (Method::DELETE, "publicAccessBlock", false, "DeletePublicAccessBlock"),
    (Method::PUT, "policy", false, "PutBucketPolicy"),
    (Method::DELETE, "policy", false, "DeleteBucketPolicy"),
    (Method::PUT, "tagging", false, "PutBucketTagging"),
    (Method::DELETE, "tagging", false, "DeleteBucketTagging"),
    (Method::PUT, "tagging", true, "PutObjectTagging"),
    (Method::DELETE, "tagging", true, "DeleteObjectTagging"),
    (Method::PUT, "versioning", false, "PutBucketVersioning"),
];

/// AWS's name of the operation, by method, target and the words in the query string; `unknown` for those that are not
/// served.
fn operation(parts: &Parts, bucket: bool, key: bool) -> &'static str {
    let query = parts.uri.query().unwrap_or_default();
    let has = |word: &str| query.split('&').any(|pair| pair.split('=').next() == Some(word));
    let copies = parts.headers.contains_key("x-amz-copy-source");
    let look = LOOKS.iter().find(|(word, ..)| has(word));
    match (parts.method.clone(), bucket, key) {
        (Method::GET, false, _) => "ListBuckets",
        (Method::GET, true, key) if look.is_some() => {
            look.map_or(
                "unknown",
                |(_, of_bucket, of_object)| {
                    if key { of_object.unwrap_or("unknown") } else { of_bucket }
                },
            )
        }
        (Method::GET, true, true) if has("uploadId") => "ListParts",
        (Method::GET, true, true) => "GetObject",
        (Method::GET, true, false) if has("uploads") => "ListMultipartUploads",
        (Method::GET, true, false) if has("versions") => "ListObjectVersions",
        (Method::GET, true, false) if has("list-type") => "ListObjectsV2",
        (Method::GET, true, false) => "ListObjects",
        (Method::PUT | Method::DELETE, true, key) if look.is_some() => {
            let (word, ..) = look.copied().unwrap_or_default();
            let named =
                |(method, of, _, _): &&(Method, &str, bool, &str)| *method == parts.method && *of == word;
            let mut named = CHANGES.iter().filter(named).filter(|(.., of_object, _)| *of_object == key);
            named.next().map_or("unknown", |(.., name)| name)
        }
        (Method::HEAD, true, true) => "HeadObject",
        (Method::HEAD, true, false) => "HeadBucket",
        (Method::PUT, true, true) if has("partNumber") && copies => "UploadPartCopy",
        (Method::PUT, true, true) if has("partNumber") => "UploadPart",
        (Method::PUT, true, true) if copies => "CopyObject",
        (Method::PUT, true, true) => "PutObject",
        (Method::PUT, true, false) => "CreateBucket",
        (Method::DELETE, true, true) if has("uploadId") => "AbortMultipartUpload",
        (Method::DELETE, true, true) => "DeleteObject",
        (Method::DELETE, true, false) => "DeleteBucket",
        (Method::POST, true, true) if has("uploads") => "CreateMultipartUpload",
        (Method::POST, true, true) if has("uploadId") => "CompleteMultipartUpload",
        (Method::POST, true, false) if has("delete") => "DeleteObjects",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_recorded_by_what_they_are_about() {
        let hosts = Hosts::new("us-east-1", []);
        let about = |method: &str, host: &str, uri: &str| {
            let (parts, ()) = Request::builder()
                .method(method)
                .uri(uri)
                .header("host", host)
                .body(())
                .unwrap()
                .into_parts();
            let About { operation, bucket, key } = About::of(&parts, &hosts);
            format!("{operation} {} {}", bucket.unwrap_or_default(), key.unwrap_or_default())
        };
        let (path, virtual_host) = ("s3.us-east-1.amazonaws.com", "logs.s3.us-east-1.amazonaws.com");
        assert_eq!(about("GET", path, "/logs/a/b%20c"), "GetObject logs a/b c");
        assert_eq!(about("GET", virtual_host, "/a/b"), "GetObject logs a/b");
        assert_eq!(about("GET", virtual_host, "/?list-type=2&prefix=x"), "ListObjectsV2 logs ");
        assert_eq!(about("GET", "127.0.0.1:4566", "/"), "ListBuckets  ");
        assert_eq!(about("PUT", path, "/logs/a?partNumber=1&uploadId=u"), "UploadPart logs a");
        assert_eq!(about("POST", path, "/logs?delete"), "DeleteObjects logs ");
        assert_eq!(about("GET", path, "/logs?acl"), "GetBucketAcl logs ");
        assert_eq!(about("GET", path, "/logs/a?acl"), "GetObjectAcl logs a");
        assert_eq!(about("PUT", path, "/logs/a?tagging"), "PutObjectTagging logs a");
        assert_eq!(about("DELETE", path, "/logs?tagging"), "DeleteBucketTagging logs ");
        assert_eq!(about("PUT", path, "/logs/a?acl"), "PutObjectAcl logs a");
        assert_eq!(about("DELETE", path, "/logs?versioning"), "unknown logs ");
        assert_eq!(about("DELETE", path, "/logs?policy"), "DeleteBucketPolicy logs ");
        assert_eq!(about("OPTIONS", path, "/logs"), "unknown logs ");
    }
}
