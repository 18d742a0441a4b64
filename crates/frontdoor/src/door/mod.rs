//! The front door itself: from a request to its service's answer.
//!
//! INVARIANT: a query service is called with a [`Permit`](crate::Permit) for each of its asks, and its asks are never
//! empty unless AWS lets everybody do that operation.
//! INVARIANT: what a service says of a failure of its own stays in the program's log, by the request's id: it may hold
//! paths and other details of the host. The caller is told that there was a failure, and the id.

mod turn_away;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode};
use postern_path::Through;
use postern_wire::error::{ErrorBody, ErrorStyle};
use postern_wire::query::{DecodeError, Form, FormError, Limits as FormLimits};
use postern_wire::shape::Protocol;
use postern_wire::sigv4::Rules;
use postern_wire::{AwsError, SERVICES};
use tokio::net::TcpListener;
use tracing::Instrument as _;

use crate::ambiguity;
use crate::audit::{Audit, Call, Record, UserIdentity};
use crate::authenticate::authenticate;
use crate::authorise::Authoriser;
use crate::body::{Collector, HttpService, RequestBody, Responding, ResponseBody, full, plain};
use crate::caller::{Caller, Origin};
use crate::evidence::Notes;
use crate::host::{HostNames, bare};
use crate::metrics::Metrics;
use crate::others::OtherServices;
use crate::pages::Pages;
use crate::random::request_id;
use crate::route::{Asked, Route, claim, is_cross_site, is_local_host, route, text};
use crate::server::{Limits, OriginSource, ServeError, Server};
use crate::service::{Answer, QueryRequest, QueryService};
use crate::tls::{Authority, TlsError, server_config};

/// Bytes of a request of a query service.
pub const QUERY_BODY_BYTES_MAX: usize = 1 << 20;

/// What a front door is made of.
pub struct Config {
    /// The region it stands in.
    pub region: String,
    /// Who may do what.
    pub authoriser: Arc<Authoriser>,
    /// Who certifies its names.
    pub authority: Arc<Authority>,
    /// The services that speak a query protocol.
    pub query_services: Vec<Arc<dyn QueryService>>,
    /// The services that answer HTTP themselves. One of them should be `s3`, which gets all that is nobody else's.
    pub http_services: Vec<Mount>,
    /// Services that come and go, and those that nobody serves here: whoever asks for one of these is told so, by TLS and
    /// in AWS's words.
    pub others: Arc<dyn OtherServices>,
    /// Further names: how this machine is called. Certificates are made for them and for S3's buckets under them, and
    /// Postern's own pages answer.
    pub names: Vec<String>,
    /// The addresses that it listens at, for certificates.
    pub addresses: Vec<IpAddr>,
    /// Where calls are recorded.
    pub audit: Audit,
    /// Where they are counted.
    pub metrics: Arc<Metrics>,
    /// Postern's own pages.
    pub pages: Arc<dyn Pages>,
    /// Signatures need not be checked, and everything can be reset; only loopback addresses are served.
    pub dev: bool,
    /// The bounds on connections.
    pub limits: Limits,
}

/// A service that answers HTTP itself: it authenticates, asks for its permits and records its calls.
pub struct Mount {
    /// Its name in credential scopes.
    pub signing_name: &'static str,
    /// Its host names.
    pub hosts: HostNames,
    /// The service.
    pub service: Arc<dyn HttpService>,
}

/// Why there is no front door.
#[derive(Debug, thiserror::Error)]
pub enum FrontDoorError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The directory does not check signatures, and nobody said that this is a development region.
    #[error("signatures are not checked, which only --dev allows")]
    SignaturesUnchecked,
    /// Two services have one name.
    #[error("there are two services of the name `{0}`")]
    ServiceTwice(&'static str),
}

/// The one door for every request. Cheap to clone.
#[derive(Clone)]
pub struct FrontDoor {
    server: Server,
    audit: Audit,
    dev: bool,
}

impl FrontDoor {
    /// Opens it; nothing is served before [`serve_tcp`](Self::serve_tcp).
    ///
    /// # Errors
    /// See [`FrontDoorError`].
    pub fn new(config: Config) -> Result<Self, FrontDoorError> {
        if !config.dev && !config.authoriser.directory().checks_signatures() {
            return Err(FrontDoorError::SignaturesUnchecked);
        }
        let (dev, audit) = (config.dev, config.audit.clone());
        let (limits, metrics) = (config.limits, Arc::clone(&config.metrics));
        let query: Vec<Desk> =
            config.query_services.into_iter().map(|service| Desk::new(service, &config.region)).collect();
        let mut names: Vec<&'static str> = query
            .iter()
            .map(|desk| desk.name)
            .chain(config.http_services.iter().map(|m| m.signing_name))
            .collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(FrontDoorError::ServiceTwice(twice.first().copied().unwrap_or_default()));
        }
        let hosts = query.iter().map(|desk| &desk.hosts).chain(config.http_services.iter().map(|m| &m.hosts));
        let own_names = HostNames::new(&config.names);
        // Nothing is under an address, and clients take no wildcard for names under `localhost`.
        let has_names_below = |name: &&str| *name != "localhost" && name.parse::<IpAddr>().is_err();
        let under_own = own_names.iter().filter(has_names_below).map(|name| format!("*.{name}"));
        let under_own = HostNames::new(under_own.collect::<Vec<_>>());
        let certified = HostNames::new(
            hosts.chain([&own_names, &under_own]).flat_map(HostNames::iter).collect::<Vec<_>>(),
        );
        let tls = server_config(
            config.authority,
            certified,
            Arc::clone(&config.others),
            &own_names,
            &config.addresses,
        )?;
        let hall = Hall {
            region: config.region,
            authoriser: config.authoriser,
            query,
            http: config.http_services,
            others: config.others,
            audit: config.audit,
            metrics: Arc::clone(&metrics),
            pages: config.pages,
            own_names,
            addresses: config.addresses,
            bodies: Collector::new(QUERY_BODY_BYTES_MAX, limits.stall),
            dev,
        };
        Ok(Self { server: Server::new(Arc::new(hall), Some(tls), limits, metrics), audit, dev })
    }

    /// Serves a listener until [`close`](Self::close). Dropping the future ends its connections at once.
    ///
    /// # Errors
    /// Where the listener is outside the VPCs, not on a loopback address, and signatures are not checked.
    pub async fn serve_tcp(&self, listener: TcpListener, source: OriginSource) -> Result<(), ServeError> {
        let address = listener.local_addr().map_err(ServeError::Listener)?;
        match source {
            OriginSource::Outside if self.dev && !address.ip().is_loopback() => {
                Err(ServeError::NotLoopback(address))
            }
            OriginSource::Outside | OriginSource::Inside { .. } => {
                self.server.serve_tcp(listener, source).await
            }
        }
    }

    /// Ends every [`serve_tcp`](Self::serve_tcp), after the requests under way.
    pub fn close(&self) {
        self.server.close();
    }

    /// Waits, for so long at most, until no request is under way, those included whose clients have gone, and all that
    /// was answered is in the audit log. Says whether that is so. After [`close`](Self::close) it stays so.
    pub async fn settled(&self, patience: Duration) -> bool {
        let until = tokio::time::Instant::now() + patience;
        let idle = tokio::time::timeout_at(until, self.server.idle()).await.is_ok();
        let written = self.audit.settled(until.saturating_duration_since(tokio::time::Instant::now())).await;
        idle && written
    }
}

/// Where the requests of one query service are taken in.
struct Desk {
    name: &'static str,
    hosts: HostNames,
    service: Arc<dyn QueryService>,
}

impl Desk {
    fn new(service: Arc<dyn QueryService>, region: &str) -> Self {
        let name = service.signing_name();
        Self { name, hosts: HostNames::of_service(name, region), service }
    }

    fn protocol(&self) -> Protocol {
        match self.service.error_style() {
            ErrorStyle::Ec2 => Protocol::Ec2,
            ErrorStyle::Query { .. } | ErrorStyle::S3 | ErrorStyle::Json { .. } => Protocol::Query,
        }
    }
}

/// What is behind the door.
struct Hall {
    region: String,
    authoriser: Arc<Authoriser>,
    query: Vec<Desk>,
    http: Vec<Mount>,
    others: Arc<dyn OtherServices>,
    audit: Audit,
    metrics: Arc<Metrics>,
    pages: Arc<dyn Pages>,
    own_names: HostNames,
    /// Where this machine listens outside the VPCs.
    addresses: Vec<IpAddr>,
    bodies: Collector,
    dev: bool,
}

impl HttpService for Hall {
    fn call<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        Box::pin(self.answer(request))
    }

    fn refuse_plain<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        Box::pin(self.in_the_clear(request))
    }

    fn note_unreadable<'a>(
        &'a self,
        origin: &'a Origin,
        status: StatusCode,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(self.unreadable(origin, status))
    }
}

impl Hall {
    async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        // INVARIANT: the server says where a request came from; one that nobody vouches for is not answered.
        let Some(origin) = request.extensions().get::<Origin>().copied() else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the origin of the request is not known");
        };
        let (mut parts, body) = request.into_parts();
        if let Err(why) = ambiguity::resolve(&mut parts) {
            return self.ambiguous(&parts, &origin, why).await;
        }
        let outside = origin.peer.is_none();
        let endpoint = origin.peer.and_then(|peer| match peer.through {
            Through::Endpoint(endpoint, _) => Some(endpoint),
            Through::Internet(_) | Through::Resolver(..) | Through::Link => None,
        });
        let endpoint_service = endpoint.map(|endpoint| {
            // A name that no service has: what came through an endpoint that is gone reaches nothing.
            self.authoriser.directory().endpoint_service(endpoint).unwrap_or_default()
        });
        let asked = Asked { parts: &parts, outside, endpoint_service: endpoint_service.as_deref() };
        if self.dev && outside && (is_cross_site(&parts) || !self.is_expected_host(&parts)) {
            return self.of_another_site(&parts, &origin).await;
        }
        match route(&asked, |host| self.by_host(host)) {
            Route::Page(name) => self.page(&name, parts, body, &origin).await,
            Route::UnsignedForm => match self.desk_of_anybody(&parts) {
                Some(desk) => self.query(desk, parts, body, &origin).await,
                None => self.unsigned(&parts, body, &origin).await,
            },
            Route::Service(name) => self.service(&name, parts, body, &origin).await,
        }
    }

    /// Whether the host is this machine or one of the services: where no signature protects, a name that somebody
    /// else's DNS points here is refused.
    fn is_expected_host(&self, parts: &Parts) -> bool {
        is_local_host(parts, &self.own_names)
            || text(&parts.headers, "host").is_some_and(|host| self.by_host(&bare(host)).is_some())
    }

    fn by_host(&self, host: &str) -> Option<String> {
        let query = self.query.iter().map(|desk| (desk.name, &desk.hosts));
        let http = self.http.iter().map(|mount| (mount.signing_name, &mount.hosts));
        let mut all = query.chain(http);
        let own = all.find(|(_, hosts)| hosts.contains(host)).map(|(name, _)| name.to_owned());
        own.or_else(|| {
            let others = self.others.hosts();
            others.iter().find(|(_, hosts)| hosts.contains(host)).map(|(name, _)| name.clone())
        })
    }

    /// Where what a URL asks for is served without a signature, at whatever host.
    fn desk_of_anybody(&self, parts: &Parts) -> Option<&Desk> {
        let query = parts.uri.query().filter(|_| parts.method == Method::GET)?;
        let action = Form::parse(query, &[], FormLimits::DEFAULT).ok()?.action;
        self.query.iter().find(|desk| desk.service.serves_unsigned(&action))
    }

    async fn service(
        &self,
        name: &str,
        parts: Parts,
        body: RequestBody,
        origin: &Origin,
    ) -> Response<ResponseBody> {
        if let Some(desk) = self.query.iter().find(|desk| desk.name == name) {
            return self.query(desk, parts, body, origin).await;
        }
        if let Some(mount) = self.http.iter().find(|mount| mount.signing_name == name) {
            return mount.service.call(Request::from_parts(parts, body)).await;
        }
        if let Some(service) = self.others.service(name) {
            return service.call(Request::from_parts(parts, body)).await;
        }
        self.not_served(name, &parts, origin).await
    }

    async fn query(
        &self,
        desk: &Desk,
        parts: Parts,
        body: RequestBody,
        origin: &Origin,
    ) -> Response<ResponseBody> {
        let started = Instant::now();
        let id = request_id();
        let style = desk.service.error_style();
        let mut course = Course::default();
        let span = tracing::error_span!("request", id = %id, service = desk.name);
        let answered = self.attempt(desk, &parts, body, origin, &id, &mut course).instrument(span).await;
        let answered = answered.map_err(|error| veiled(error, desk.name, &id));
        let operation = course.operation.unwrap_or("unknown");
        let (response, status, error) = match answered {
            Ok(answer) => (success(style, answer, &id), 200, None),
            Err(error) => {
                let body = error.body(style, &id, None);
                let status = body.status;
                (respond(body, &id), status, Some((error.code, error.message)))
            }
        };
        let code = error.as_ref().map_or("OK", |(code, _)| code.as_str());
        self.metrics.request(desk.name, operation, code, started.elapsed());
        let call = Call {
            at: self.authoriser.directory().now(),
            service: desk.name,
            operation,
            region: &self.region,
            identity: UserIdentity::behind(course.caller.as_ref(), &parts),
            origin,
            user_agent: text(&parts.headers, USER_AGENT.as_str()),
            request_id: &id,
            status,
            error,
        };
        self.audit.record(Record::of(call)).await;
        self.authoriser.remember(&id, course.notes);
        response
    }

    async fn attempt(
        &self,
        desk: &Desk,
        parts: &Parts,
        body: RequestBody,
        origin: &Origin,
        id: &str,
        course: &mut Course,
    ) -> Result<Answer, AwsError> {
        if parts.method != Method::POST && parts.method != Method::GET {
            return Err(AwsError::new(
                "InvalidAction",
                format!("The method {} is not served.", parts.method),
            ));
        }
        let body = self.bodies.collect(body).await.map_err(|error| error.to_aws())?;
        let directory = self.authoriser.directory().as_ref();
        let regions = [self.region.as_str(), "us-east-1"];
        let regions = if desk.service.is_global() { &regions[..] } else { &regions[..1] };
        let rules = Rules { service: desk.name, regions };
        let style = desk.service.error_style();
        let query = parts.uri.query().unwrap_or_default();
        let parse = || Form::parse(query, &body, FormLimits::DEFAULT);
        let claimed = claim(parts).is_some() || parts.headers.contains_key(AUTHORIZATION);
        let for_anybody = |form: Form| desk.service.serves_unsigned(&form.action);
        let caller = match claimed || !parse().is_ok_and(for_anybody) {
            true => authenticate(directory, parts, &body, &rules, style)?,
            false => Caller::anonymous(),
        };
        let caller = course.caller.insert(caller);
        let form = parse().map_err(|error: FormError| DecodeError::from(error).to_aws(desk.protocol()))?;
        let body = if query.is_empty() { body } else { form.to_body().into_bytes() };
        // Only operations that are known are counted and recorded by name: the rest is foreign text.
        let known = SERVICES.iter().find(|service| service.name == desk.name);
        let known = known.and_then(|service| service.operation(&form.action));
        course.operation = known.map(|operation| operation.name);
        let request = QueryRequest { operation: form.action, body, request_id: id.to_owned() };
        directory.welcome(caller).await.map_err(|reason| {
            tracing::error!(reason, "a caller could not be welcomed");
            AwsError::new("InternalFailure", "The request could not be prepared.").with_status(500)
        })?;
        let asks = desk.service.asks(caller, &request)?;
        if asks.is_empty() && !desk.service.needs_no_permission(&request.operation) {
            tracing::error!(operation = request.operation, "the service asks for nothing");
            return Err(
                AwsError::new("InternalFailure", "The request could not be authorised.").with_status(500)
            );
        }
        let mut permits = Vec::with_capacity(asks.len());
        for ask in &asks {
            let permit = self.authoriser.authorise(caller, origin, ask, &mut course.notes);
            permits.push(permit.map_err(|refusal| desk.service.refused(&refusal))?);
        }
        desk.service.serve(caller, origin, request, permits).await
    }
}

/// A failure of a service's own, as its caller may know it: the rest goes into the log.
fn veiled(error: AwsError, service: &str, id: &str) -> AwsError {
    if error.status != StatusCode::INTERNAL_SERVER_ERROR.as_u16() {
        return error;
    }
    tracing::error!(request_id = id, service, code = error.code, error = error.message, "a request failed");
    let message = format!("An internal error has occurred. Request ID: {id}");
    AwsError::new(error.code, message).with_status(error.status)
}

/// How far a request came.
#[derive(Default)]
struct Course {
    operation: Option<&'static str>,
    caller: Option<Caller>,
    notes: Notes,
}

fn success(style: ErrorStyle, answer: Answer, id: &str) -> Response<ResponseBody> {
    let content_type = match style {
        ErrorStyle::Ec2 => "text/xml;charset=UTF-8",
        ErrorStyle::Query { .. } | ErrorStyle::S3 => "text/xml",
        ErrorStyle::Json { content_type } => content_type,
    };
    respond(ErrorBody { status: 200, content_type, body: answer.body }, id)
}

fn respond(body: ErrorBody, id: &str) -> Response<ResponseBody> {
    let mut response = Response::new(full(body.body));
    *response.status_mut() = StatusCode::from_u16(body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(body.content_type));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}
