//! The way of a request to an upstream: who, what, may they, and then on.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue, USER_AGENT, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use postern_frontdoor::audit::Call as Called;
use postern_frontdoor::authenticate::authenticate_pieces;
use postern_frontdoor::body::{BodyError, full};
use postern_frontdoor::{
    Audit, Authoriser, Caller, Collector, Dialect, HttpService, Metrics, Notes, Origin, Record, RequestBody,
    Responding, ResponseBody, UserIdentity, Watched, request_id,
};
use postern_model::endpoint::{Upstream, UpstreamKey};
use postern_wire::AwsError;
use postern_wire::sigv4::{self, PayloadCheck, RequestParts, Rules, SecretAccessKey, Signer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::{self, Call};
use super::client::{Client, strip};
use super::resource::{Place, asks};
use super::{s3, s3_document};

/// Bytes of a request: above what AWS's services take in one (10 MiB of a Kinesis record batch, 6 MB of an invocation).
const BODY_BYTES_MAX: usize = 16 << 20;
/// How long a request may take to come, and how long either side may fall silent.
const STALL: Duration = Duration::from_secs(30);
/// Requests that an upstream is asked at a time.
const UNDER_WAY_MAX: usize = 256;

/// Headers of a signature that is made anew.
const OF_SIGNATURE: [&str; 4] =
    ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];

/// A service that an upstream answers for, as the front door has it.
pub struct UpstreamDoor {
    upstream: Arc<Upstream>,
    /// None where the stored URL is none, which the model does not let be.
    client: Option<Client>,
    authoriser: Arc<Authoriser>,
    region: String,
    mark: String,
    audit: Audit,
    metrics: Arc<Metrics>,
    bodies: Collector,
    under_way: Arc<Semaphore>,
}

/// How far a request came.
#[derive(Default)]
struct Course {
    operation: Option<String>,
    caller: Option<Caller>,
    /// Postern did not let it through.
    refused: bool,
    notes: Notes,
}

/// Why a request has no answer of the upstream's.
type Refused = (Dialect, AwsError);

impl UpstreamDoor {
    /// To this upstream, decided by this authoriser, in a region, with the mark of what is handed on from it.
    pub fn new(
        upstream: Arc<Upstream>,
        authoriser: Arc<Authoriser>,
        (region, mark): (&str, &str),
        audit: Audit,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client: Client::new(&upstream.url),
            upstream,
            authoriser,
            region: region.to_owned(),
            mark: mark.to_owned(),
            audit,
            metrics,
            bodies: Collector::new(BODY_BYTES_MAX, STALL),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        }
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let started = Instant::now();
        let Some(origin) = request.extensions().get::<Origin>().copied() else {
            let mut response = Response::new(full("the origin of the request is not known\n"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        let (parts, body) = request.into_parts();
        let id = request_id();
        let mut course = Course::default();
        let (response, error) = match self.attempt(&parts, body, &origin, &id, &mut course).await {
            Ok(response) => {
                let error = error_of(&response);
                (response, error)
            }
            Err((dialect, error)) => (dialect.response(&error, &id), Some((error.code, error.message))),
        };
        let code = error.as_ref().map_or("OK", |(code, _)| code.as_str());
        // Operations and codes are others' texts here, so requests are counted by neither.
        let counted = if course.refused || code == "OK" { code } else { "Failed" };
        self.metrics.request(&self.upstream.signing_name, "upstream", counted, started.elapsed());
        self.record(&parts, &origin, &id, &course, (response.status(), error)).await;
        self.authoriser.remember(&id, course.notes);
        with_id(response, &id)
    }

    async fn attempt(
        &self,
        parts: &Parts,
        body: RequestBody,
        origin: &Origin,
        id: &str,
        course: &mut Course,
    ) -> Result<Response<ResponseBody>, Refused> {
        let usual = super::dialect_of(self.upstream.protocol, &self.upstream.signing_name);
        let usual = Dialect::said_by(parts).unwrap_or(usual);
        if self.was_here(&parts.headers) {
            return Err((usual, looped()));
        }
        let body = self.bodies.collect(body).await.map_err(|error| (usual, error.to_aws()))?;
        let asked = self.asked(parts);
        let call = call::read(&self.upstream, &asked, &body)?;
        course.operation = Some(call.operation.clone());
        let (caller, pieces) = self.caller(parts, &body, &call, course).await?;
        self.authorise(parts, origin, &caller, &call, course)?;
        let place = Arc::clone(&self.under_way).try_acquire_owned();
        let place = place.map_err(|_| {
            (call.dialect, call.dialect.unavailable("Too many requests to the service are under way."))
        })?;
        let request = self.request(&asked, body, &call, pieces.as_ref())?;
        let unavailable = |why: &dyn std::fmt::Display| {
            // INVARIANT: where an upstream is, is its operator's to know.
            tracing::warn!(request_id = id, service = self.upstream.service, error = %why, "an upstream gave no answer");
            (call.dialect, call.dialect.unavailable("The service gave no answer."))
        };
        let client = self.client.as_ref().ok_or_else(|| unavailable(&"its URL is none"))?;
        let answered = client.ask(request).await.map_err(|error| unavailable(&Chain(&error)))?;
        let (mut head, body) = answered.into_parts();
        strip(&mut head.headers);
        let body = Held { body: Watched::new(body, STALL), _place: place };
        Ok(Response::from_parts(head, body.boxed_unsync()))
    }

    /// The request as it is read here and by the upstream: signatures are about the one that came.
    fn asked<'p>(&self, parts: &'p Parts) -> Cow<'p, Parts> {
        let names = self.upstream.own.as_ref().map_or(&[][..], |own| own.private_dns_names.as_slice());
        let target = match self.upstream.signing_name.as_str() {
            "s3" => s3::plain_target(&parts.uri, host_of(parts), names),
            _ => None,
        };
        match target {
            Some(uri) => {
                let mut asked = parts.clone();
                asked.uri = uri;
                Cow::Owned(asked)
            }
            None => Cow::Borrowed(parts),
        }
    }

    /// Whether a request was handed on from here before.
    fn was_here(&self, headers: &HeaderMap) -> bool {
        let mut ways = headers.get_all(VIA).iter().filter_map(|way| way.to_str().ok());
        ways.any(|way| way.contains(&self.mark))
    }

    async fn caller(
        &self,
        parts: &Parts,
        body: &[u8],
        call: &Call,
        course: &mut Course,
    ) -> Result<(Caller, Option<PayloadCheck>), Refused> {
        let directory = self.authoriser.directory().as_ref();
        let rules = Rules { service: &self.upstream.signing_name, regions: &[self.region.as_str()] };
        let known = authenticate_pieces(directory, parts, body, &rules, call.dialect.style());
        let (caller, pieces) = known.map_err(|error| {
            course.refused = true;
            (call.dialect, error)
        })?;
        course.caller = Some(caller.clone());
        directory.welcome(&caller).await.map_err(|reason| {
            tracing::error!(reason, "a caller could not be welcomed");
            let error =
                AwsError::new("InternalFailure", "The request could not be prepared.").with_status(500);
            (call.dialect, error)
        })?;
        Ok((caller, pieces))
    }

    fn authorise(
        &self,
        parts: &Parts,
        origin: &Origin,
        caller: &Caller,
        call: &Call,
        course: &mut Course,
    ) -> Result<(), Refused> {
        let denied = |why: String| (call.dialect, call.dialect.denied(why));
        let account = caller.account.ok_or_else(|| denied("Access Denied".to_owned()))?;
        let place = Place {
            region: &self.region,
            account,
            host: host_of(parts),
            method: &parts.method,
            path: parts.uri.path(),
        };
        for ask in asks(&self.upstream, call, &place).map_err(|error| (call.dialect, error))? {
            let permit = self.authoriser.authorise(caller, origin, &ask, &mut course.notes);
            if let Err(refusal) = permit {
                course.refused = true;
                return Err(denied(refusal.message));
            }
        }
        Ok(())
    }

    /// What the upstream is asked: what came, or the same signed anew.
    fn request(
        &self,
        parts: &Parts,
        mut body: Vec<u8>,
        call: &Call,
        pieces: Option<&PayloadCheck>,
    ) -> Result<Request<Bytes>, Refused> {
        let unsigned = |why: &dyn std::fmt::Display| {
            tracing::error!(service = self.upstream.service, error = %why, "a request cannot be signed anew");
            (call.dialect, call.dialect.unavailable("The request could not be handed on."))
        };
        let mut headers = parts.headers.clone();
        strip(&mut headers);
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::EXPECT);
        if self.upstream.signing_name == "s3" {
            body = s3_document::whole(&mut headers, body, pieces).map_err(|error| (call.dialect, error))?;
        }
        let mut uri =
            Uri::from(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
        if let (Some(key), Some(client)) = (&self.upstream.key, &self.client) {
            // Those on the way after us add to it, so that no signature can be about it.
            headers.remove(VIA);
            uri = without_signature(&uri).ok_or_else(|| unsigned(&"its query string"))?;
            let host = HeaderValue::from_str(client.authority()).map_err(|error| unsigned(&error))?;
            headers.insert(header::HOST, host);
            self.sign(key, parts.method.as_str(), &uri, &mut headers, &body)
                .map_err(|error| unsigned(&error))?;
        }
        let ways = parts.headers.get_all(VIA).iter().filter(|_| self.upstream.key.is_some());
        for way in ways {
            headers.append(VIA, way.clone());
        }
        let way = HeaderValue::from_str(&format!("1.1 {}", self.mark)).map_err(|error| unsigned(&error))?;
        headers.append(VIA, way);
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn sign(
        &self,
        key: &UpstreamKey,
        method: &str,
        uri: &Uri,
        headers: &mut HeaderMap,
        body: &[u8],
    ) -> Result<(), sigv4::SigningError> {
        for name in OF_SIGNATURE {
            headers.remove(name);
        }
        let secret = SecretAccessKey::new(key.secret.0.clone());
        let signer = Signer {
            access_key_id: &key.id,
            secret: &secret,
            session_token: None,
            region: key.region.as_deref().unwrap_or(&self.region),
            service: &self.upstream.signing_name,
        };
        let signed =
            RequestParts { method, path: uri.path(), query: uri.query().unwrap_or_default(), headers };
        let signed = signer.sign(&signed, &Signer::hash(body), self.authoriser.directory().now())?;
        headers.extend(signed.headers);
        Ok(())
    }

    async fn record(
        &self,
        parts: &Parts,
        origin: &Origin,
        id: &str,
        course: &Course,
        (status, error): (StatusCode, Option<(String, String)>),
    ) {
        let mut record = Record::of(Called {
            at: self.authoriser.directory().now(),
            service: &self.upstream.signing_name,
            operation: course.operation.as_deref().unwrap_or("unknown"),
            region: &self.region,
            identity: UserIdentity::behind(course.caller.as_ref(), parts),
            origin,
            user_agent: parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
            request_id: id,
            status: status.as_u16(),
            error,
        });
        // JSON services refuse with the status 400.
        if course.refused {
            record.additional_event_data.decision = "denied";
        }
        self.audit.record(record).await;
    }
}

impl HttpService for UpstreamDoor {
    fn call<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        Box::pin(self.answer(request))
    }
}

/// The host that a request is for, without its port.
fn host_of(parts: &Parts) -> &str {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    host.split(':').next().unwrap_or_default()
}

/// A request would go round for ever ("508 Loop Detected": RFC 5842, section 7.2).
fn looped() -> AwsError {
    let why = "The service's upstream leads back to this region, so that nobody answers.";
    AwsError::new("LoopDetected", why).with_status(508)
}

/// A URL without what a presigned one has of its signature.
fn without_signature(uri: &Uri) -> Option<Uri> {
    let of_signature = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let parts =
            ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Security-Token"];
        name.strip_prefix("X-Amz-").is_some_and(|rest| parts.contains(&rest))
    };
    let Some(query) = uri.query() else { return Some(uri.clone()) };
    let query: Vec<&str> = query.split('&').filter(|pair| !of_signature(pair)).collect();
    let query = query.join("&");
    let text = if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) };
    text.parse().ok()
}

/// What an upstream's answer says of a failure without its body: the code, where it has one in a header.
fn error_of(response: &Response<ResponseBody>) -> Option<(String, String)> {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return None;
    }
    let header = response.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let code = header.and_then(|value| value.split(':').next()).map(str::to_owned);
    Some((code.unwrap_or_else(|| response.status().as_u16().to_string()), String::new()))
}

/// INVARIANT: the id that a caller knows an answer by is the one that is recorded.
fn with_id(mut response: Response<ResponseBody>, id: &str) -> Response<ResponseBody> {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        for name in ["x-amzn-requestid", "x-amz-request-id"] {
            if name == "x-amzn-requestid" || headers.contains_key(name) {
                headers.insert(HeaderName::from_static(name), id.clone());
            }
        }
    }
    response
}

/// An error with its causes.
struct Chain<'e>(&'e dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// The body of an answer, whose place among those under way is held until it ends.
struct Held {
    body: Watched<Incoming>,
    _place: OwnedSemaphorePermit,
}

impl Body for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
