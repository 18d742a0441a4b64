//! Connections: accepted, told apart, bounded, and handed as requests to a service.
//!
//! INVARIANT: who is behind a connection is looked up once, when it is accepted, by the other end's address alone. An
//! address inside the VPCs that stands for nobody gets no connection.
//! INVARIANT: everything waits for a bounded time: the first byte, the handshake, a header, a body that stalls, a
//! reader that reads nothing. And there is a bounded number of everything.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use postern_path::PeerLookup;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::body::{HttpService, Watched};
use crate::caller::Origin;
use crate::metrics::{Counter, Metrics};

/// The first byte of a TLS handshake record (RFC 8446, section 5.1). No HTTP method starts with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// The bounds of a server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at a time: so many from inside the VPCs, and as many from outside.
    pub connections: usize,
    /// Connections at a time from one address inside the VPCs.
    pub connections_per_peer: usize,
    /// How long the first byte and the TLS handshake may take, each.
    pub handshake: Duration,
    /// How long a header may take, and how long a connection may idle between requests.
    pub header: Duration,
    /// How long a body may stall, and a client may read nothing of its answer.
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
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            header_bytes: 64 * 1024,
            headers: 100,
            drain: Duration::from_secs(5),
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
    /// INVARIANT: whoever is inside the VPCs cannot take the places of those outside: each has its own.
    inside: Arc<Semaphore>,
    outside: Arc<Semaphore>,
    per_peer: Mutex<HashMap<IpAddr, usize>>,
    closing: watch::Sender<bool>,
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
            inside: Arc::new(Semaphore::new(limits.connections)),
            outside: Arc::new(Semaphore::new(limits.connections)),
            per_peer: Mutex::default(),
            closing: watch::Sender::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Ends every [`serve_tcp`](Self::serve_tcp), after the requests under way, which get a bounded time.
    pub fn close(&self) {
        self.shared.closing.send_replace(true);
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
            OriginSource::Outside => Arc::clone(&self.shared.outside),
            OriginSource::Inside { .. } => Arc::clone(&self.shared.inside),
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
    /// Its place among its sender's connections.
    _place: Option<Place>,
}

#[derive(Clone, Copy)]
enum Transport {
    Plain,
    Tls,
    /// The first byte tells.
    Either,
}

/// One of a peer's connections, counted while it lives.
struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.shared.per_peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
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

    fn admit(
        self: &Arc<Self>,
        remote: SocketAddr,
        source: &OriginSource,
        loopback: bool,
    ) -> Option<Admitted> {
        match source {
            OriginSource::Outside => {
                let transport = match (&self.tls, loopback) {
                    (None, _) => Transport::Plain,
                    (Some(_), true) => Transport::Either,
                    (Some(_), false) => Transport::Tls,
                };
                let origin = Origin { peer: None, remote, secure: false };
                Some(Admitted { origin, transport, _place: None })
            }
            OriginSource::Inside { peers, tls } => {
                let Some(peer) = peers.peer(remote.ip()) else {
                    self.metrics.count(Counter::PeerUnknown);
                    tracing::warn!(%remote, "a connection from an address that stands for nobody was closed");
                    return None;
                };
                let place = self.place(remote.ip())?;
                let transport = if *tls { Transport::Tls } else { Transport::Plain };
                let origin = Origin { peer: Some(peer), remote, secure: false };
                Some(Admitted { origin, transport, _place: Some(place) })
            }
        }
    }

    fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut counts = self.per_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= self.limits.connections_per_peer {
            self.metrics.count(Counter::PeerOverLimit);
            return None;
        }
        *count += 1;
        Some(Place { shared: Arc::clone(self), address })
    }

    fn reap(&self, ended: &Result<(), tokio::task::JoinError>) {
        if ended.as_ref().is_err_and(tokio::task::JoinError::is_panic) {
            self.metrics.count(Counter::TaskPanicked);
            tracing::error!("a connection's task panicked");
        }
    }
}

impl Admitted {
    async fn serve(self, shared: Arc<Shared>, stream: TcpStream, _slot: Option<OwnedSemaphorePermit>) {
        let _ = stream.set_nodelay(true);
        let secure = match self.transport {
            Transport::Plain => Some(false),
            Transport::Tls => Some(true),
            Transport::Either => {
                first_byte(&stream, shared.limits.handshake).await.map(|b| b == TLS_HANDSHAKE)
            }
        };
        let (Some(secure), origin) = (secure, self.origin) else { return };
        let stream = StallGuard::new(stream, shared.limits.stall);
        match (secure, &shared.tls) {
            (false, _) => converse(&shared, stream, Origin { secure, ..origin }).await,
            (true, Some(tls)) => match timeout(shared.limits.handshake, tls.accept(stream)).await {
                Ok(Ok(stream)) => converse(&shared, stream, Origin { secure, ..origin }).await,
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

/// Requests and answers, until one side ends it.
async fn converse<S>(shared: &Arc<Shared>, stream: S, origin: Origin)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = shared.limits;
    let answer = service_fn(|request: Request<Incoming>| async move {
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(origin);
        let body = Watched::new(body, limits.stall).boxed_unsync();
        Ok::<_, std::convert::Infallible>(shared.service.call(Request::from_parts(parts, body)).await)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.headers)
        .keep_alive(true);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), answer));
    let mut closing = shared.closing.subscribe();
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        shared.metrics.count(Counter::ConnectionBroken);
        tracing::debug!(%error, remote = %origin.remote, "a connection broke");
    }
}

/// A stream that fails when its reader takes nothing for a while.
struct StallGuard {
    inner: TcpStream,
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl StallGuard {
    fn new(inner: TcpStream, limit: Duration) -> Self {
        Self { inner, limit, waiting: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.waiting = None;
            return done;
        }
        let limit = self.limit;
        let waiting =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for StallGuard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for StallGuard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(context);
        self.watch(context, shut)
    }
}
