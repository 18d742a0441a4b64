//! Connections: accepted, told apart, bounded, and handed as requests to a service.
//!
//! INVARIANT: who is behind a connection is looked up once, when it is accepted, by the other end's address alone. An
//! address inside the VPCs that stands for nobody gets no connection.
//! INVARIANT: a request that was read is served to its end and recorded, though its client be gone by then: what it
//! changed must not depend on who still listens, and nobody changes anything without a record. It keeps its
//! connection's places as long, and a server that closes can be waited for until all are served ([`Server::idle`]).
//! INVARIANT: everything waits for a bounded time: the first byte, the handshake, a header, a body that stalls, a
//! reader that reads nothing. And there is a bounded number of everything.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use postern_path::PeerLookup;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::body::{HttpService, ResponseBody, Watched, plain};
use crate::caller::Origin;
use crate::metrics::{Counter, Metrics};
use crate::places::{Place, Places};
use crate::stream::{AnswerHops, GuardedStream};

/// The first byte of a TLS handshake record (RFC 8446, section 5.1). No HTTP method starts with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// The bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time: so many from inside the VPCs, and as many from outside.
    pub connections: usize,
    /// Connections at a time from one address: inside the VPCs, or outside beyond loopback.
    pub connections_per_peer: usize,
    /// Connections at a time from all addresses of one interface.
    pub connections_per_interface: usize,
    /// Connections at a time from all interfaces of one account.
    pub connections_per_account: usize,
    /// How long the first byte and the TLS handshake may take, each.
    pub handshake: Duration,
    /// How long a header may take, and how long a connection may idle between requests.
    pub header: Duration,
    /// How long a body may take over each further [`BODY_STEP_BYTES`](crate::body::BODY_STEP_BYTES), and how long a
    /// client may read nothing of its answer.
    pub stall: Duration,
    /// Bytes of a header.
    pub header_bytes: usize,
    /// Lines of a header.
    pub headers: usize,
    /// How long running requests get to end when the server closes.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_peer: 512,
            connections_per_interface: 1024,
            connections_per_account: 2048,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            header_bytes: 64 * 1024,
            headers: 100,
            drain: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The defaults, or less where a process has fewer descriptors. There are three sets of places (from inside the
    /// VPCs, from outside, and instance metadata's), and a quarter is left for files.
    pub fn within(descriptors: usize) -> Self {
        let most = Self::default().connections;
        let connections = (descriptors / 4).clamp(8, most);
        Self {
            connections,
            connections_per_account: connections / 2,
            connections_per_interface: connections / 4,
            connections_per_peer: connections / 8,
            ..Self::default()
        }
    }
}

/// What stands behind a listener's connections.
#[derive(Clone)]
pub enum OriginSource {
    /// Whoever reaches the listener from outside every VPC. Plain HTTP and TLS on the same port; TLS alone where the
    /// listener is not on a loopback address.
    Outside,
    /// Interfaces inside the VPCs, by the addresses that stand for them.
    Inside {
        /// Who stands behind an address.
        peers: Arc<dyn PeerLookup>,
        /// Whether connections are TLS (port 443) or plain (port 80).
        tls: bool,
    },
}

/// Why a listener is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// TLS is asked for, and the server was made without it.
    #[error("the listener needs tls, and there is no certificate authority")]
    NoTls,
    /// The listener's own address is not known.
    #[error("the listener cannot be used")]
    Listener(#[source] io::Error),
    /// Without signatures, whoever reaches the port is root.
    #[error("signatures are not checked, so `{0}`, which is not a loopback address, is not served")]
    NotLoopback(SocketAddr),
}

/// Serves one service to any number of listeners. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    service: Arc<dyn HttpService>,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    metrics: Arc<Metrics>,
    places: Arc<Places>,
    closing: watch::Sender<bool>,
    /// How many requests are under way.
    under_way: watch::Sender<usize>,
}

/// A request that is under way, counted while it lives.
struct UnderWay(Arc<Shared>);

impl UnderWay {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.under_way.send_modify(|count| *count += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl Server {
    /// A server of this service; without `tls` it serves no TLS.
    pub fn new(
        service: Arc<dyn HttpService>,
        tls: Option<Arc<ServerConfig>>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Shared {
            service,
            tls: tls.map(TlsAcceptor::from),
            limits,
            metrics,
            places: Places::new(limits),
            closing: watch::Sender::new(false),
            under_way: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Ends every [`serve_tcp`](Self::serve_tcp), after the requests under way, which get a bounded time.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Waits until no request is under way, those included whose clients have gone.
    pub async fn idle(&self) {
        let mut under_way = self.shared.under_way.subscribe();
        // The sender lives as long as the server.
        let _ = under_way.wait_for(|count| *count == 0).await;
    }

    /// Serves a listener until [`close`](Self::close). Dropping the future ends its connections at once.
    ///
    /// # Errors
    /// Where the listener cannot be served as `source` says.
    pub async fn serve_tcp(&self, listener: TcpListener, source: OriginSource) -> Result<(), ServeError> {
        if let OriginSource::Inside { tls: true, .. } = source
            && self.shared.tls.is_none()
        {
            return Err(ServeError::NoTls);
        }
        let loopback = listener.local_addr().map_err(ServeError::Listener)?.ip().is_loopback();
        let places = match source {
            OriginSource::Outside => Arc::clone(&self.shared.places.outside),
            OriginSource::Inside { .. } => Arc::clone(&self.shared.places.inside),
        };
        let mut closing = self.shared.closing.subscribe();
        let mut tasks = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = closed(&mut closing) => break,
                accepted = self.shared.accept(&listener, &places) => accepted,
            };
            let (stream, remote, slot) = accepted;
            while let Some(ended) = tasks.try_join_next() {
                self.shared.reap(&ended);
            }
            let shared = Arc::clone(&self.shared);
            if let Some(admitted) = shared.admit(remote, &source, loopback) {
                tasks.spawn(async move { admitted.serve(shared, stream, slot).await });
            }
        }
        drop(listener);
        let drained = timeout(self.shared.limits.drain, async {
            while let Some(ended) = tasks.join_next().await {
                self.shared.reap(&ended);
            }
        });
        let _ = drained.await;
        Ok(())
    }
}

/// A connection that may be served.
struct Admitted {
    origin: Origin,
    transport: Transport,
    place: Place,
}

/// The places that a connection has.
struct Held {
    _place: Place,
    _slot: Option<OwnedSemaphorePermit>,
}

#[derive(Clone, Copy)]
enum Transport {
    Plain,
    Tls,
    /// The first byte tells.
    Either,
    /// TLS; who speaks plain HTTP is told so.
    TlsOrRefusal,
}

/// What a connection's requests meet.
#[derive(Clone, Copy)]
enum Manner {
    Served,
    /// They came in the clear where TLS is required.
    Refused,
}

impl Shared {
    /// The next connection, once there is room for it.
    async fn accept(
        &self,
        listener: &TcpListener,
        places: &Arc<Semaphore>,
    ) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        if places.available_permits() == 0 {
            self.metrics.count(Counter::ConnectionsExhausted);
        }
        // The semaphore is never closed, so the slot is always there.
        let slot = Arc::clone(places).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, remote)) => {
                    self.metrics.count(Counter::ConnectionAccepted);
                    return (stream, remote, slot);
                }
                Err(error) => {
                    // Out of descriptors, most likely: some will be closed.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(&self, remote: SocketAddr, source: &OriginSource, loopback: bool) -> Option<Admitted> {
        let (peer, transport) = match source {
            OriginSource::Outside => {
                let transport = match (&self.tls, loopback) {
                    (None, _) => Transport::Plain,
                    (Some(_), true) => Transport::Either,
                    (Some(_), false) => Transport::TlsOrRefusal,
                };
                (None, transport)
            }
            OriginSource::Inside { peers, tls } => {
                let Some(peer) = peers.peer(remote.ip()) else {
                    self.metrics.count(Counter::PeerUnknown);
                    tracing::warn!(%remote, "a connection from an address that stands for nobody was closed");
                    return None;
                };
                (Some(peer), if *tls { Transport::Tls } else { Transport::Plain })
            }
        };
        let origin = Origin { peer, remote, secure: false };
        match self.places.take(&origin) {
            Ok(place) => Some(Admitted { origin, transport, place }),
            Err(counter) => {
                self.metrics.count(counter);
                None
            }
        }
    }

    fn reap<T>(&self, ended: &Result<T, tokio::task::JoinError>) {
        if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
            self.metrics.count(Counter::TaskPanicked);
            tracing::error!("a connection's task panicked");
        }
    }
}

impl Admitted {
    async fn serve(self, shared: Arc<Shared>, stream: TcpStream, slot: Option<OwnedSemaphorePermit>) {
        let _ = stream.set_nodelay(true);
        let (secure, manner) = match self.transport {
            Transport::Plain => (false, Manner::Served),
            Transport::Tls => (true, Manner::Served),
            Transport::Either | Transport::TlsOrRefusal => {
                let Some(first) = first_byte(&stream, shared.limits.handshake).await else { return };
                match (first == TLS_HANDSHAKE, self.transport) {
                    (false, Transport::TlsOrRefusal) => (false, Manner::Refused),
                    (secure, _) => (secure, Manner::Served),
                }
            }
        };
        let hops = AnswerHops::default();
        let conversation = Conversation {
            shared: Arc::clone(&shared),
            origin: Origin { secure, ..self.origin },
            manner,
            hops: hops.clone(),
            held: Arc::new(Held { _place: self.place, _slot: slot }),
        };
        let stream = GuardedStream::new(stream, shared.limits.stall, hops);
        match (secure, &shared.tls) {
            (false, _) => conversation.hold(stream).await,
            (true, Some(tls)) => match timeout(shared.limits.handshake, tls.accept(stream)).await {
                Ok(Ok(stream)) => conversation.hold(stream).await,
                Ok(Err(_)) | Err(_) => shared.metrics.count(Counter::TlsFailed),
            },
            (true, None) => {}
        }
    }
}

/// Waits for the server to close.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that the server is gone altogether.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// The first byte that comes, left where it is.
async fn first_byte(stream: &TcpStream, limit: Duration) -> Option<u8> {
    let mut byte = [0u8; 1];
    match timeout(limit, stream.peek(&mut byte)).await {
        Ok(Ok(1)) => Some(byte[0]),
        Ok(Ok(_) | Err(_)) | Err(_) => None,
    }
}

/// Requests and answers on one connection.
struct Conversation {
    shared: Arc<Shared>,
    origin: Origin,
    manner: Manner,
    hops: AnswerHops,
    held: Arc<Held>,
}

impl Conversation {
    async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(self.origin);
        parts.extensions.insert(self.hops.clone());
        let body = Watched::new(body, self.shared.limits.stall).boxed_unsync();
        let request = Request::from_parts(parts, body);
        let (service, manner, held) = (Arc::clone(&self.shared.service), self.manner, Arc::clone(&self.held));
        let under_way = UnderWay::new(&self.shared);
        // A task of its own goes on when the connection ends.
        let serving = tokio::spawn(async move {
            let response = match manner {
                Manner::Served => service.call(request).await,
                Manner::Refused => service.refuse_plain(request).await,
            };
            drop((held, under_way));
            response
        });
        let served = serving.await;
        self.shared.reap(&served);
        let failed = served.is_err();
        let mut response = served
            .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "an internal error has occurred"));
        let last = match manner {
            Manner::Served => failed || self.hops.get().is_some(),
            Manner::Refused => true,
        };
        if last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Goes on until one side ends it.
    async fn hold<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = self.shared.limits;
        let conversation = &self;
        let answer = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, std::convert::Infallible>(conversation.answer(request).await)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_buf_size(limits.header_bytes)
            .max_headers(limits.headers)
            .keep_alive(true);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), answer));
        let mut closing = self.shared.closing.subscribe();
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closed(&mut closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            self.shared.metrics.count(Counter::ConnectionBroken);
            tracing::debug!(%error, remote = %self.origin.remote, "a connection broke");
            if let Some(status) = unreadable(&error) {
                self.shared.service.note_unreadable(&self.origin, status).await;
            }
        }
    }
}

/// What was answered to something that cannot be read as a request, by the library that reads them: if it was that.
fn unreadable(error: &hyper::Error) -> Option<StatusCode> {
    match (error.is_parse_too_large(), error.is_parse()) {
        (true, _) => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        (false, true) => Some(StatusCode::BAD_REQUEST),
        (false, false) => None,
    }
}
