//! Instance metadata, version 2: what programs in an instance ask at 169.254.169.254.
//!
//! INVARIANT: an answer is about the instance that the connection came from, which the peer's address says and
//! nothing in the request.
//! INVARIANT: nothing is told without a token that was made for this instance, and a token is made for nobody who
//! came through a proxy (`X-Forwarded-For`).
//! INVARIANT: the packets that answer a PUT take as many hops as the instance's options allow and no more, so that with
//! a limit of one a container or another host behind the instance never gets a token.
//! Source: "Use IMDSv2", "Instance metadata categories" and "Configure the instance metadata options"
//! (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-options.html>: the hop limit is
//! the time to live of the PUT response's packets) in the EC2 user guide.

mod credentials;
pub mod identity;
mod token;
mod tree;

use std::num::NonZeroU8;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue, SERVER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use postern_frontdoor::body::full;
use postern_frontdoor::{AnswerHops, HttpService, Metrics, Origin, RequestBody, Responding, ResponseBody};
use postern_model::State;
use postern_model::instance::Instance;
use postern_path::Peer;
use postern_wire::Timestamp;

use self::credentials::RoleCredentials;
use self::identity::IdentitySigner;
use self::tree::Node;
use crate::commands::Commands;
use crate::directory::session::SessionKeys;

const TTL_HEADER: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN_HEADER: &str = "x-aws-ec2-metadata-token";

/// Instance metadata, as a [`Server`](postern_frontdoor::Server) on the metadata door serves it.
pub struct Imds {
    commands: Arc<dyn Commands>,
    sessions: Arc<SessionKeys>,
    credentials: RoleCredentials,
    identity: Option<IdentitySigner>,
    metrics: Arc<Metrics>,
}

impl Imds {
    /// Over the region's state, with credentials and tokens made by these keys.
    pub fn new(commands: Arc<dyn Commands>, sessions: Arc<SessionKeys>, metrics: Arc<Metrics>) -> Self {
        let credentials = RoleCredentials::new(Arc::clone(&sessions));
        Self { commands, sessions, credentials, identity: None, metrics }
    }

    /// The same with signatures of identity documents.
    #[must_use]
    pub fn signing(self, identity: IdentitySigner) -> Self {
        Self { identity: Some(identity), ..self }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.commands.now_milliseconds()).unwrap_or(i64::MAX))
    }

    fn answer(&self, request: &Request<RequestBody>) -> Result<Reply, StatusCode> {
        let state = self.commands.state();
        let peer = request.extensions().get::<Origin>().and_then(|origin| origin.peer);
        let peer = peer.ok_or(StatusCode::FORBIDDEN)?;
        let instance = instance_of(&state, &peer).ok_or(StatusCode::FORBIDDEN)?;
        if !instance.metadata.enabled {
            return Err(StatusCode::FORBIDDEN);
        }
        let (path, headers) = (request.uri().path(), request.headers());
        if request.method() == Method::PUT {
            // Whoever serves the connection has to see to the limit; without that there is no answer.
            let hops = request.extensions().get::<AnswerHops>();
            let hops = hops.ok_or(StatusCode::INTERNAL_SERVER_ERROR)?;
            hops.limit(NonZeroU8::new(instance.metadata.hop_limit).unwrap_or(NonZeroU8::MIN));
        }
        match *request.method() {
            Method::PUT if path == "/latest/api/token" => self.token(headers, instance),
            Method::GET | Method::HEAD => {
                let given = headers.get(TOKEN_HEADER).ok_or(StatusCode::UNAUTHORIZED)?;
                if !token::is_good(&self.sessions, instance.id, self.now(), given.as_bytes()) {
                    return Err(StatusCode::UNAUTHORIZED);
                }
                self.get(&state, instance, &peer, path)
            }
            _ => Err(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn token(&self, headers: &HeaderMap, instance: &Instance) -> Result<Reply, StatusCode> {
        if headers.contains_key("x-forwarded-for") {
            return Err(StatusCode::FORBIDDEN);
        }
        let ttl = headers.get(TTL_HEADER).and_then(|ttl| ttl.to_str().ok()).and_then(|ttl| ttl.parse().ok());
        let ttl = ttl.filter(|ttl| token::TTL_SECONDS.contains(ttl)).ok_or(StatusCode::BAD_REQUEST)?;
        let text = token::make(&self.sessions, instance.id, self.now().plus_seconds(ttl));
        Ok(Reply { text: text.into_bytes(), content_type: "text/plain", ttl: Some(ttl) })
    }

    fn get(&self, state: &State, instance: &Instance, peer: &Peer, path: &str) -> Result<Reply, StatusCode> {
        let signs = self.identity.is_some();
        let node = tree::find(state, instance, peer, signs, path).ok_or(StatusCode::NOT_FOUND)?;
        let plain = |text: String| Reply { text: text.into_bytes(), content_type: "text/plain", ttl: None };
        match node {
            Node::Text(text) => Ok(plain(text)),
            Node::Bytes(bytes) => {
                Ok(Reply { text: bytes, content_type: "application/octet-stream", ttl: None })
            }
            Node::Folder(entries) => Ok(plain(tree::listing(&entries))),
            Node::KeyPair { .. } => Ok(plain("openssh-key".to_owned())),
            Node::Signature(document) => {
                let signature = self.identity.as_ref().and_then(|identity| identity.signature(&document));
                signature.map(plain).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Node::Message(document) => {
                let message = self.identity.as_ref().and_then(|identity| identity.message(&document));
                message.map(plain).ok_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Node::ProfileInfo => {
                let text = self.credentials.info(state, instance, self.now());
                text.map(plain).ok_or(StatusCode::NOT_FOUND)
            }
            Node::Credentials => {
                let text = self.credentials.document(state, instance, self.now());
                text.map(plain).ok_or(StatusCode::NOT_FOUND)
            }
        }
    }
}

/// The instance behind a connection, as long as it may ask.
fn instance_of<'s>(state: &'s State, peer: &Peer) -> Option<&'s Arc<Instance>> {
    let instance = state.instances.get(&peer.instance?)?;
    let lives = instance.owner == peer.account && instance.state.is_live();
    lives.then_some(instance)
}

/// An answer.
struct Reply {
    text: Vec<u8>,
    content_type: &'static str,
    ttl: Option<i64>,
}

impl HttpService for Imds {
    fn call<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        let started = std::time::Instant::now();
        let answered = self.answer(&request);
        let code =
            answered.as_ref().err().map_or_else(|| "OK".to_owned(), |status| status.as_u16().to_string());
        let operation = if request.method() == Method::PUT { "PutToken" } else { "GetMetadata" };
        self.metrics.request("imds", operation, &code, started.elapsed());
        let mut response = match answered {
            Ok(reply) => respond(reply),
            Err(status) => refuse(status),
        };
        response.headers_mut().insert(SERVER, HeaderValue::from_static("EC2ws"));
        Box::pin(std::future::ready(response))
    }
}

fn respond(reply: Reply) -> Response<ResponseBody> {
    let mut response = Response::new(full(reply.text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    if let Some(ttl) = reply.ttl {
        headers.insert(TTL_HEADER, HeaderValue::from(ttl));
    }
    response
}

fn refuse(status: StatusCode) -> Response<ResponseBody> {
    let reason = status.canonical_reason().unwrap_or_default();
    let number = status.as_u16();
    let mut response = Response::new(full(format!("{number} - {reason}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
