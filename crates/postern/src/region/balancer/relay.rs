//! What carries a TCP listener's connections that begin with a PROXY protocol header: from a load balancer's own address
//! to a target that was chosen, by way of a socket on each side in the load balancer's network.
//!
//! Targets see the load balancer's address, and the client's in the header. A group that preserves the client's address
//! besides is not carried, nor is UDP with a header: the API refuses listeners of both by name.
//!
//! INVARIANT: a connection that is cut (its target is no longer healthy, or was let go, or it was idle for too long) ends
//! with a reset on both sides, never as if all had been said.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_dataplane::host::Namespace;
use postern_model::ListenerId;
use postern_path::{Peer, PeerLookup, Through};
use postern_services::commands::Commands;
use postern_services::elbv2::health::Health;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::choice::{Choice, choose};
use super::{Checks, Id};

/// How many connections may be carried at once. One more is reset.
const MOST_CONNECTIONS: usize = 4_096;
/// How long a target may take to accept.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
const BUFFER_BYTES: usize = 16 << 10;
/// What a PROXY protocol header of version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What all connections share.
pub struct Carrier {
    commands: Arc<dyn Commands>,
    checks: Arc<Checks>,
    peers: Arc<dyn PeerLookup>,
    room: Arc<Semaphore>,
    cuts: Mutex<BTreeMap<Id, watch::Sender<()>>>,
}

impl Carrier {
    /// Nothing is carried yet.
    pub fn new(commands: Arc<dyn Commands>, checks: Arc<Checks>, peers: Arc<dyn PeerLookup>) -> Self {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        Self { commands, checks, peers, room, cuts: Mutex::default() }
    }

    /// Cuts every connection to a target.
    pub fn cut(&self, target: Id) {
        let cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = cuts.get(&target) {
            sender.send_replace(());
        }
    }

    /// Hears when connections to a target are cut.
    fn hear(&self, target: Id) -> watch::Receiver<()> {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody hears are of no use.
        if cuts.len() > MOST_CONNECTIONS {
            cuts.retain(|_, sender| !sender.is_closed());
        }
        cuts.entry(target).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Takes connections until the future is dropped.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        id: ListenerId,
        zone: String,
        network: Namespace,
    ) {
        loop {
            let (client, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, listener = %id, "a connection could not be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
                tracing::warn!(most = MOST_CONNECTIONS, "a load balancer carries no more connections");
                reset(&client);
                continue;
            };
            let (carrier, zone, network) = (Arc::clone(&self), zone.clone(), network.clone());
            tokio::spawn(async move {
                carrier.carry(client, from, id, &zone, network).await;
                drop(place);
            });
        }
    }

    async fn carry(
        &self,
        client: TcpStream,
        from: SocketAddr,
        listener: ListenerId,
        zone: &str,
        network: Namespace,
    ) {
        let state = self.commands.state();
        let choice = choose(&state, listener, zone, from, |(group, key)| self.checks.seen(group, key));
        drop(state);
        let Some(choice) = choice else { return reset(&client) };
        let cut = self.hear(choice.id);
        let Some(mut target) = connect(network, choice.to).await else { return reset(&client) };
        let peer = self.peers.peer(from.ip());
        if !introduce(&mut target, from, client.local_addr().ok(), peer).await {
            return reset(&client);
        }
        let idle = Duration::from_secs(choice.idle_timeout_seconds.into());
        talk(client, target, idle, cut, &choice).await;
    }
}

/// Makes the end of a connection a reset.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection cannot be reset");
    }
}

/// A connection from a load balancer's network.
async fn connect(network: Namespace, to: SocketAddrV4) -> Option<TcpStream> {
    let socket = tokio::task::spawn_blocking(move || network.run(TcpSocket::new_v4)).await;
    let Ok(Ok(Ok(socket))) = socket else { return None };
    tokio::time::timeout(CONNECT_PATIENCE, socket.connect(SocketAddr::V4(to))).await.ok()?.ok()
}

/// Begins a connection with a PROXY protocol header: who speaks, and to which address ("PROXY protocol", section 2.2). Who
/// comes through an endpoint is told by its address in its own VPC and the endpoint's id.
async fn introduce(
    target: &mut TcpStream,
    from: SocketAddr,
    to: Option<SocketAddr>,
    peer: Option<Peer>,
) -> bool {
    let (SocketAddr::V4(from), Some(SocketAddr::V4(to))) = (from, to) else { return false };
    let from = peer.map_or(from, |peer| SocketAddrV4::new(peer.address, from.port()));
    let endpoint = peer.and_then(|peer| match peer.through {
        Through::Endpoint(id, _) => Some(id.to_string()),
        Through::Internet(_) | Through::Resolver(..) | Through::Link => None,
    });
    target.write_all(&header(from, to, endpoint.as_deref())).await.is_ok()
}

/// `PP2_TYPE_AWS`, and its subtype for the id of an endpoint ("Proxy protocol" in the "Network Load Balancers" guide).
const TYPE_AWS: u8 = 0xea;
const SUBTYPE_ENDPOINT: u8 = 0x01;

fn header(from: SocketAddrV4, to: SocketAddrV4, endpoint: Option<&str>) -> Vec<u8> {
    let mut more = Vec::new();
    if let Some((id, length)) = endpoint.and_then(|id| Some((id, u16::try_from(id.len() + 1).ok()?))) {
        more.push(TYPE_AWS);
        more.extend(length.to_be_bytes());
        more.push(SUBTYPE_ENDPOINT);
        more.extend(id.as_bytes());
    }
    let mut header = SIGNATURE.to_vec();
    // Version 2, PROXY; TCP over IPv4; twelve bytes of addresses, and what comes after them.
    header.extend([0x21, 0x11]);
    header.extend(u16::try_from(12 + more.len()).unwrap_or(u16::MAX).to_be_bytes());
    header.extend(from.ip().octets());
    header.extend(to.ip().octets());
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header.extend(more);
    header
}

/// Carries both ways until both have said all, or the connection is cut.
async fn talk(
    mut client: TcpStream,
    mut target: TcpStream,
    idle: Duration,
    mut cut: watch::Receiver<()>,
    choice: &Choice,
) {
    let active = Active { since: Instant::now(), last_milliseconds: AtomicU64::new(0) };
    let whole = {
        let (from_client, to_client) = client.split();
        let (from_target, to_target) = target.split();
        let both = async {
            tokio::try_join!(pump(from_client, to_target, &active), pump(from_target, to_client, &active))
        };
        let is_cut = async {
            if cut.changed().await.is_err() {
                // Nobody can cut it any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            done = both => done.is_ok(),
            () = active.idle_for(idle) => false,
            () = is_cut => {
                tracing::debug!(target = %choice.id.1, "a connection is cut with its target");
                false
            }
        }
    };
    if !whole {
        reset(&client);
        reset(&target);
    }
}

/// When something was last said.
struct Active {
    since: Instant,
    last_milliseconds: AtomicU64,
}

impl Active {
    fn note(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_milliseconds.store(now, Ordering::Relaxed);
    }

    /// Ends when nothing was said for so long.
    async fn idle_for(&self, patience: Duration) {
        loop {
            let last = self.since + Duration::from_millis(self.last_milliseconds.load(Ordering::Relaxed));
            let over = last + patience;
            if Instant::now() >= over {
                return;
            }
            tokio::time::sleep_until(over.into()).await;
        }
    }
}

/// One way.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, active: &Active) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        active.note();
        if read == 0 {
            return to.shutdown().await;
        }
        let Some(said) = buffer.get(..read) else { return Ok(()) };
        to.write_all(said).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn a_header_says_who_speaks_to_whom() {
        let (from, to) = ("10.0.1.9:40000".parse().unwrap(), "10.0.2.7:443".parse().unwrap());
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        expected.extend([10, 0, 1, 9, 10, 0, 2, 7, 0x9c, 0x40, 0x01, 0xbb]);
        assert_eq!(header(from, to, None), expected);
        let through = header(from, to, Some("vpce-1"));
        assert_eq!(through[14..16], [0, 22]);
        assert_eq!(through[28..], *b"\xea\0\x07\x01vpce-1");
    }
}
