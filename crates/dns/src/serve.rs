//! The listener: UDP and TCP in the doors' namespace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postern_model::VpcId;
use postern_path::{PeerLookup, Plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::{Asker, answer};

/// How many TCP connections are served at once.
const MAX_TCP_CONNECTIONS: usize = 1_024;
/// How long a TCP connection may be idle.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// The largest query that is read over UDP.
const MAX_UDP_QUERY_BYTES: usize = 4_096;
/// What an answer over UDP may have without a word from the client (RFC 1035, 4.2.1).
const PLAIN_UDP_BYTES: u16 = 512;

/// The plan as it is now.
pub trait Views: Send + Sync {
    /// The plan.
    fn plan(&self) -> Arc<Plan>;
}

/// The resolver of all VPCs of a region.
pub struct Resolver {
    peers: Arc<dyn PeerLookup>,
    views: Arc<dyn Views>,
    rotation: AtomicUsize,
}

impl Resolver {
    /// One that knows askers from `peers` and answers from `views`.
    pub fn new(peers: Arc<dyn PeerLookup>, views: Arc<dyn Views>) -> Self {
        Self { peers, views, rotation: AtomicUsize::new(0) }
    }

    /// Answers until the socket fails.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn serve_udp(&self, socket: UdpSocket) -> std::io::Result<()> {
        let mut buffer = vec![0; MAX_UDP_QUERY_BYTES];
        loop {
            let (length, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error about an earlier answer is nothing to stop for.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let query = buffer.get(..length).unwrap_or_default();
            if let Some(reply) = self.answer(from, query, PLAIN_UDP_BYTES)
                && let Err(error) = socket.send_to(&reply, from).await
            {
                tracing::debug!(%from, %error, "an answer could not be sent");
            }
        }
    }

    /// Answers until the listener fails.
    ///
    /// # Errors
    /// What the listener says.
    pub async fn serve_tcp(self: Arc<Self>, listener: TcpListener) -> std::io::Result<()> {
        let places = Arc::new(Semaphore::new(MAX_TCP_CONNECTIONS));
        loop {
            let (stream, from) = listener.accept().await?;
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
            let Some(reply) = self.answer(from, &query, u16::MAX) else { return Ok(()) };
            let Ok(length) = u16::try_from(reply.len()) else { return Ok(()) };
            timeout(TCP_IDLE, async {
                stream.write_u16(length).await?;
                stream.write_all(&reply).await
            })
            .await??;
        }
    }

    fn answer(&self, from: SocketAddr, query: &[u8], max_bytes: u16) -> Option<Vec<u8>> {
        let vpc: VpcId = self.peers.peer(from.ip())?.vpc;
        let rotation = self.rotation.fetch_add(1, Ordering::Relaxed);
        answer(&self.views.plan(), Asker { vpc, max_bytes, rotation }, query)
    }
}
