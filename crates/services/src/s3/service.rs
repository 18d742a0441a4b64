//! S3 as one function from request to response.

use std::sync::{Arc, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HeaderValue, SERVER};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode, Version};
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::S3ServiceBuilder;
use tracing::Instrument as _;

use super::admission::{Admit, OneKey};
use super::body_guard::guard;
use super::error::{FIELDS_HEADER, Failure, escape, is_fixed, sentence};
use super::gate::Gate;
use super::host::{Hosts, SharedHosts};
use super::ops::{Operations, Shared};
use super::pieces::{self, Pieces};
use super::precheck::{KnownKey, precheck};
use super::range;
use super::storage::Store;

/// Documents (lists of keys to delete, of parts, policies) may be this long.
pub(super) const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// What is known of a bucket policy that can be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforceable {
    /// Whether it lets anybody in, in the sense of S3's Block Public Access.
    pub public: bool,
}

/// Decides whether a bucket policy can be enforced: given the bucket's name and the document, `Err` says why not.
pub type PolicyCheck = Arc<dyn Fn(&str, &str) -> Result<Enforceable, String> + Send + Sync>;

/// How an [`S3Service`] is set up.
#[derive(Clone)]
pub struct Options {
    /// The region it serves.
    pub region: String,
    /// The names it answers to.
    pub hosts: Hosts,
    /// What accepts bucket policies; without it they are refused.
    pub policy_check: Option<PolicyCheck>,
}

impl Options {
    /// For `region`, under AWS's names, without bucket policies.
    pub fn new(region: &str) -> Self {
        Self { region: region.to_owned(), hosts: Hosts::new(region, []), policy_check: None }
    }
}

/// S3 behind its gate. Cheap to clone.
#[derive(Clone)]
pub struct S3Service {
    operations: Arc<Operations>,
    config: Arc<StaticConfigProvider>,
    gate: Arc<dyn Gate>,
    hosts: Arc<Hosts>,
    region: Arc<str>,
}

impl S3Service {
    /// S3 over `store`, asking `gate`.
    pub fn new(store: Store, gate: Arc<dyn Gate>, options: Options) -> Self {
        let Options { region, hosts, policy_check } = options;
        let operations = Arc::new(Operations::new(store, Arc::clone(&gate), region.clone(), policy_check));
        let mut config = S3Config::default();
        config.xml_max_body_size = MAX_DOCUMENT_BYTES;
        let config = Arc::new(StaticConfigProvider::new(Arc::new(config)));
        Self { operations, config, gate, hosts: Arc::new(hosts), region: region.into() }
    }

    /// The protocol layer for one request: the only secret it gets to know is that of the key which the request names.
    fn protocol(&self, key: Option<KnownKey>) -> s3s::service::S3Service {
        let mut builder = S3ServiceBuilder::new(Shared(Arc::clone(&self.operations)));
        builder.set_config(Arc::clone(&self.config) as _);
        builder.set_auth(OneKey(key));
        builder.set_access(Admit);
        builder.set_host(SharedHosts(Arc::clone(&self.hosts)));
        builder.build()
    }

    /// Answers one request. What the front door knows of the peer goes into the request's extensions, where the gate
    /// finds it.
    pub async fn call<B>(&self, request: Request<B>) -> Response<s3s::Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let ids = Ids::draw();
        let (parts, body) = request.into_parts();
        let awaited = parts.version <= Version::HTTP_11 && parts.headers.contains_key(EXPECT);
        let empty = body.is_end_stream();
        let seen = Seen { head: parts.method == Method::HEAD, resource: parts.uri.path().to_owned(), ids };
        // What is logged of a failure is found by the id that its caller was told.
        let span = tracing::error_span!("request", id = %seen.ids.request, service = "s3");
        let mut response = match self.answer(parts, body).instrument(span).await {
            Ok(response) => seen.dress(response),
            Err(failure) => seen.render(&failure),
        };
        seen.stamp(&mut response);
        // A client that waits to be told to send content and has none is not told: hyper leaves the 100 (Continue) out, as
        // it may (RFC 9110, section 10.1.1). Some versions of botocore, that in the `aws` command 1.46 among them, then
        // take their next answer on the connection to begin behind its status line, and wait for its end for ever.
        // A client that waits to be told to send its content does not send it after a refusal. The connection would take
        // the next request for that content.
        if awaited && (empty || !response.status().is_success()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer<B>(&self, mut parts: Parts, body: B) -> Result<Response<s3s::Body>, Failure>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        let (claim, key) = precheck(&parts, self.gate.as_ref(), &self.region)?;
        range::settle(&mut parts, key.as_ref(), &self.region);
        let (body, verdict) = match pieces::bounded(&parts) {
            Some(keep) => guard(&parts, Pieces::new(Box::pin(body), keep), &self.hosts)?,
            None => guard(&parts, body, &self.hosts)?,
        };
        parts.extensions.insert(claim);
        let answered = self.protocol(key).call(Request::from_parts(parts, body)).await;
        let refused =
            verdict.and_then(|verdict| verdict.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(failure) = refused {
            return Err(failure);
        }
        answered.map_err(|error| {
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::error!(%error, "the protocol layer failed");
            Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                sentence("InternalError").unwrap_or_default(),
            )
        })
    }
}

/// The two ids under which a request can be asked about.
struct Ids {
    request: String,
    host: String,
}

impl Ids {
    fn draw() -> Self {
        let mut bytes = [0u8; 56];
        // Without randomness the ids are all zero, which harms nothing but their use.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        let request = super::storage::digest::hex(&bytes[..8]).to_ascii_uppercase();
        Self { request, host: STANDARD.encode(&bytes[8..]) }
    }
}

/// What is remembered of a request for its answer.
struct Seen {
    head: bool,
    resource: String,
    ids: Ids,
}

impl Seen {
    /// Rewords an error of the protocol layer; leaves a success alone.
    fn dress(&self, response: Response<s3s::Body>) -> Response<s3s::Body> {
        let status = response.status();
        if status.is_success() {
            return with_controls_escaped(response);
        }
        let (mut parts, body) = response.into_parts();
        let fields = parts.headers.remove(FIELDS_HEADER);
        let ours = fields.is_some();
        let fields = fields.and_then(|fields| STANDARD.decode(fields.as_bytes()).ok()).unwrap_or_default();
        let fields = String::from_utf8(fields).unwrap_or_default();
        let xml = body.bytes().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default();
        let code = element(&xml, "Code").unwrap_or("InternalError");
        let worded = element(&xml, "Message");
        let message = match (ours, worded, sentence(code)) {
            (true, Some(message), _) => message,
            (_, _, Some(message)) if is_fixed(code) => message,
            (_, Some(message), _) => message,
            (_, None, Some(message)) => message,
            (_, None, None) => code,
        };
        // `code` and `message` come out of XML and are escaped already.
        let document = self.document(code, message, &fields);
        let mut rewritten = self.response(status, document);
        parts.headers.remove(CONTENT_LENGTH);
        parts.headers.remove(CONTENT_TYPE);
        rewritten.headers_mut().extend(parts.headers);
        rewritten
    }

    fn render(&self, failure: &Failure) -> Response<s3s::Body> {
        let document = self.document(failure.code, &escape(&failure.message), &failure.fields_xml());
        let mut response = self.response(failure.status, document);
        if let Some(headers) = &failure.headers {
            response.headers_mut().extend(headers.as_ref().clone());
        }
        response
    }

    fn document(&self, code: &str, message: &str, fields: &str) -> String {
        let Self { resource, ids, .. } = self;
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
             {fields}<Resource>{}</Resource><RequestId>{}</RequestId><HostId>{}</HostId></Error>",
            escape(resource),
            ids.request,
            ids.host,
        )
    }

    fn response(&self, status: StatusCode, document: String) -> Response<s3s::Body> {
        let bare = self.head || status == StatusCode::NOT_MODIFIED;
        let body = if bare { s3s::Body::empty() } else { s3s::Body::from(document) };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        if !bare {
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        }
        response
    }

    fn stamp(&self, response: &mut Response<s3s::Body>) {
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("AmazonS3"));
        for (name, value) in [("x-amz-request-id", &self.ids.request), ("x-amz-id-2", &self.ids.host)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

/// Writes control characters in a document as references, as AWS does: a carriage return as it is would be read as a
/// line feed. Other ones have no place in XML 1.0 at all, which is what `encoding-type=url` is for.
/// Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>, "EncodingType"
fn with_controls_escaped(response: Response<s3s::Body>) -> Response<s3s::Body> {
    let is_control = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | 0x7f);
    let is_document =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes() == b"application/xml");
    let Some(document) = response.body().bytes().filter(|_| is_document) else { return response };
    if !document.iter().any(is_control) {
        return response;
    }
    let mut escaped = Vec::with_capacity(document.len() + 64);
    for byte in &document {
        match is_control(byte) {
            true => escaped.extend_from_slice(format!("&#x{byte:X};").as_bytes()),
            false => escaped.push(*byte),
        }
    }
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, s3s::Body::from(Bytes::from(escaped)))
}

/// The text of the first element of that name, still escaped.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}
