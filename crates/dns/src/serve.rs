//! The listener: UDP and TCP in the doors' namespace.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern_model::VpcId;
use postern_path::{PeerLookup, Plan, Through};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::{Answer, Asker, answer};
use crate::further::Further;
use crate::metrics::{Metrics, QueryResult};
use crate::upstream::{Place, Upstream};

/// How many TCP connections are served at once.
const MAX_TCP_CONNECTIONS: usize = 1_024;
/// How long a TCP connection may be idle.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// The largest query that is read over UDP.
const MAX_UDP_QUERY_BYTES: usize = 4_096;
/// What an answer over UDP may have without a word from the client (RFC 1035, 4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;

/// How long the listener rests when there is no descriptor or memory for another connection.
const REST: Duration = Duration::from_millis(50);

/// The plan as it is now.
pub trait Views: Send + Sync {
    /// The plan.
    fn plan(&self) -> Arc<Plan>;
}

/// The resolver of all VPCs of a region.
pub struct Resolver {
    peers: Arc<dyn PeerLookup>,
    views: Arc<dyn Views>,
    upstream: Option<Arc<Upstream>>,
    metrics: Arc<Metrics>,
    rotation: AtomicUsize,
}

/// What is to be done about a query.
enum Next {
    Silence,
    Reply(Vec<u8>),
    /// Ask the host's resolvers, in this place among the queries under way.
    Ask(Arc<Upstream>, Place, Box<Further>),
}

impl Resolver {
    /// One that knows askers from `peers` and answers from `views`.
    pub fn new(peers: Arc<dyn PeerLookup>, views: Arc<dyn Views>) -> Self {
        Self { peers, views, upstream: None, metrics: Arc::default(), rotation: AtomicUsize::new(0) }
    }

    /// The same, with the host's resolvers for names that are not the region's.
    pub fn with_upstream(self, upstream: Option<Arc<Upstream>>) -> Self {
        Self { upstream, ..self }
    }

    /// What became of queries.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Answers until the socket fails.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn serve_udp(self: Arc<Self>, socket: UdpSocket) -> std::io::Result<()> {
        let socket = Arc::new(socket);
        let mut buffer = vec![0; MAX_UDP_QUERY_BYTES];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error about an earlier answer is nothing to stop for.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let query = buffer.get(..length).unwrap_or_default();
            match self.next(from, query, PLAIN_UDP_BYTES) {
                Next::Silence => {}
                Next::Reply(reply) => send(&socket, &reply, from).await,
                // As many as there are places.
                Next::Ask(upstream, place, further) => {
                    let (resolver, socket) = (Arc::clone(&self), Arc::clone(&socket));
                    tokio::spawn(async move {
                        if let Some(reply) = resolver.ask(&upstream, place, &further).await {
                            send(&socket, &reply, from).await;
                        }
                    });
                }
            }
        }
    }

    /// Answers for as long as it is polled.
    pub async fn serve_tcp(self: Arc<Self>, listener: TcpListener) -> Infallible {
        let places = Arc::new(Semaphore::new(MAX_TCP_CONNECTIONS));
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: some will be closed.
                    tracing::warn!(%error, "a DNS connection could not be accepted");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            // INVARIANT: a connection beyond the bound is closed at once and waits for nothing.
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            let resolver = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(error) = resolver.serve_connection(stream, from).await {
                    tracing::debug!(%from, %error, "a DNS connection ended");
                }
                drop(place);
            });
        }
    }

    async fn serve_connection(&self, mut stream: TcpStream, from: SocketAddr) -> std::io::Result<()> {
        loop {
            let length = match timeout(TCP_IDLE, stream.read_u16()).await {
                Ok(Ok(length)) => length,
                Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            };
            let mut query = vec![0; usize::from(length)];
            timeout(TCP_IDLE, stream.read_exact(&mut query)).await??;
            let reply = match self.next(from, &query, u16::MAX) {
                Next::Silence => return Ok(()),
                Next::Reply(reply) => Some(reply),
                Next::Ask(upstream, place, further) => self.ask(&upstream, place, &further).await,
            };
            let Some(reply) = reply else { return Ok(()) };
            let Ok(length) = u16::try_from(reply.len()) else { return Ok(()) };
            timeout(TCP_IDLE, async {
                stream.write_u16(length).await?;
                stream.write_all(&reply).await
            })
            .await??;
        }
    }

    fn next(&self, from: SocketAddr, query: &[u8], max_bytes: u16) -> Next {
        let Some(peer) = self.peers.peer(from.ip()) else {
            self.metrics.count(QueryResult::NobodyKnown);
            return Next::Silence;
        };
        let rotation = self.rotation.fetch_add(1, Ordering::Relaxed);
        let (vpc, inbound) = match peer.through {
            // Who asks may be in another VPC, or in none: the answer is that of the endpoint's.
            Through::Resolver(_, vpc) => (vpc, true),
            Through::Link | Through::Endpoint(..) | Through::Internet(_) => (peer.vpc, false),
        };
        let asker = Asker { vpc, inbound, interface: Some(peer.interface), max_bytes, rotation };
        match answer(&self.views.plan(), asker, query) {
            Answer::Silence(result) => {
                self.metrics.count(result);
                Next::Silence
            }
            Answer::Reply(bytes, result) => {
                self.metrics.count(result);
                Next::Reply(bytes)
            }
            Answer::Further(further) => self.go_further(vpc, further),
        }
    }

    fn go_further(&self, vpc: VpcId, further: Box<Further>) -> Next {
        let place = self.upstream.as_ref().and_then(|upstream| Some((upstream, upstream.place(vpc)?)));
        if let Some((upstream, place)) = place {
            return Next::Ask(Arc::clone(upstream), place, further);
        }
        self.metrics.count(if self.upstream.is_some() { QueryResult::Busy } else { QueryResult::Failed });
        further.failure().map_or(Next::Silence, Next::Reply)
    }

    /// What the host's resolvers say, or that they say nothing.
    async fn ask(&self, upstream: &Upstream, place: Place, further: &Further) -> Option<Vec<u8>> {
        let heard = upstream.ask(further).await;
        drop(place);
        self.metrics.count(if heard.is_some() { QueryResult::Forwarded } else { QueryResult::Failed });
        match heard {
            Some(heard) => further.reply(heard),
            None => further.failure(),
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(reply, to).await {
        tracing::debug!(%to, %error, "an answer could not be sent");
    }
}
