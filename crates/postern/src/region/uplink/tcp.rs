//! Connections that leave the region: one outside, then one inside, and all bytes from either to the other. The outer
//! one is made first, so that who began it hears what came of it there.
//!
//! INVARIANT: a connection lives as long as its flow does in the forwarder, and no longer: what cuts the flow ends the
//! connection outside.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use postern_dataplane::forward::{Forwarder, NotOpened, UplinkFlow, UplinkKey, Wanted};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;

use super::meter::{Carried, Meter, Place, Refused};
use super::outside::Outside;

/// How long a connection whose other half is there may take to come to the door.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes that wait in each direction: few, for there may be thousands of connections.
const BUFFER_BYTES: usize = 16 << 10;
/// How long the listener rests when there is no descriptor for another connection.
const REST: Duration = Duration::from_millis(50);
const TCP: u8 = 6;

/// Carries connections.
pub struct Connections {
    forwarder: Arc<Forwarder>,
    outside: Arc<Outside>,
    meter: Arc<Meter>,
    /// Those whose other half is there, and that are on their way to the door.
    ready: Mutex<HashMap<UplinkKey, Half>>,
    made: AtomicU64,
}

/// The half of a connection that is outside.
struct Half {
    /// Which of all of them.
    number: u64,
    stream: TcpStream,
    flow: UplinkFlow,
    _place: Place,
}

impl Connections {
    /// None yet, over this.
    pub fn new(forwarder: Arc<Forwarder>, outside: Arc<Outside>, meter: Arc<Meter>) -> Self {
        Self { forwarder, outside, meter, ready: Mutex::default(), made: AtomicU64::new(0) }
    }

    fn ready(&self) -> MutexGuard<'_, HashMap<UplinkKey, Half>> {
        // Each change of it is one insertion or removal.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the outer half of each connection that is wanted, for as long as there is a forwarder that wants any.
    pub async fn open(self: Arc<Self>, mut wanted: Receiver<Wanted>) -> io::Result<()> {
        while let Some(wanted) = wanted.recv().await {
            // There are never more than flows, which are bounded.
            tokio::spawn(Arc::clone(&self).prepare(wanted));
        }
        Err(io::Error::other("the forwarder has stopped"))
    }

    async fn prepare(self: Arc<Self>, wanted: Wanted) {
        let half = match self.connect(&wanted.flow).await {
            Ok(half) => half,
            Err(why) => {
                self.meter.refuse(why);
                tracing::debug!(key = ?wanted.key, why = why.name(), "a connection does not leave the region");
                return self.forwarder.opened(&wanted, Err(told(why)));
            }
        };
        let (number, mut flow) = (half.number, half.flow.clone());
        if !self.lay_ready(wanted.key, half) {
            return;
        }
        self.forwarder.opened(&wanted, Ok(()));
        // Who never comes to the door leaves nothing there.
        let _ = tokio::time::timeout(HANDSHAKE, flow.ended()).await;
        let mut ready = self.ready();
        if ready.get(&wanted.key).is_some_and(|half| half.number == number)
            && let Some(half) = ready.remove(&wanted.key)
        {
            reset(&half.stream);
        }
    }

    /// Lays the outer half of a connection ready, unless its flow is over.
    fn lay_ready(&self, key: UplinkKey, half: Half) -> bool {
        // INVARIANT: no flow's half takes the place of a later one's that looks the same: while this is locked, a flow
        // that is not over has no successor.
        let mut ready = self.ready();
        let lives = !half.flow.has_ended();
        if lives {
            ready.insert(key, half);
        }
        lives
    }

    /// The outer half of a connection.
    async fn connect(&self, flow: &UplinkFlow) -> Result<Half, Refused> {
        let flow = flow.clone();
        let place = self.meter.place(flow.peer.interface, Carried::Tcp)?;
        let mut watched = flow.clone();
        tokio::select! {
            connected = self.outside.connect(flow.destination, flow.port) => {
                let number = self.made.fetch_add(1, Ordering::Relaxed);
                Ok(Half { number, stream: connected?, flow, _place: place })
            }
            () = watched.ended() => Err(Refused::UnknownFlow),
        }
    }

    /// Takes connections until the listener fails.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) -> io::Result<()> {
        loop {
            let (inside, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => {
                    tokio::time::sleep(REST).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.take(from) {
                Some(half) => {
                    let this = Arc::clone(&self);
                    tokio::spawn(async move { this.copy(inside, half, from).await });
                }
                None => {
                    self.meter.refuse(Refused::UnknownFlow);
                    reset(&inside);
                }
            }
        }
    }

    /// The outer half of a connection that has come to the door.
    fn take(&self, from: SocketAddr) -> Option<Half> {
        let IpAddr::V4(stand_in) = from.ip() else { return None };
        let half = self.ready().remove(&UplinkKey { stand_in, port: from.port(), protocol: TCP })?;
        // What is left of a flow that is over is not another one's.
        Some(half).filter(|half| !half.flow.has_ended())
    }

    /// Carries one connection to its end. One that does not end well is reset, at both ends.
    async fn copy(&self, mut inside: TcpStream, half: Half, from: SocketAddr) {
        let Half { stream, mut flow, number: _, _place } = half;
        let mut outside = Metered { stream, meter: &self.meter };
        let both = copy_bidirectional_with_sizes(&mut inside, &mut outside, BUFFER_BYTES, BUFFER_BYTES);
        let copied = tokio::select! {
            copied = both => copied.map(|_| ()),
            () = flow.ended() => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        if let Err(error) = copied {
            tracing::debug!(%from, %error, "a connection through the uplink broke");
            reset(&inside);
            reset(&outside.stream);
        }
    }
}

/// What the sender of a connection that was not made is told.
fn told(why: Refused) -> NotOpened {
    match why {
        Refused::Declined | Refused::TooMany | Refused::Socket => NotOpened::Refused,
        Refused::HostAddress | Refused::Unreachable => NotOpened::Unreachable,
        Refused::TimedOut | Refused::UnknownFlow => NotOpened::Silent,
    }
}

/// Makes the end of a connection a reset: its other side is not to take it for a good one.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a connection ends as if all were well");
    }
}

/// Whether the next connection may do better.
fn is_passing(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let of_this_one = matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::OutOfMemory);
    let full = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS].map(|errno| Some(errno as i32));
    of_this_one || full.contains(&error.raw_os_error())
}

/// A connection outside whose bytes are counted.
struct Metered<'m> {
    stream: TcpStream,
    meter: &'m Meter,
}

impl AsyncRead for Metered<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.meter.inward(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Metered<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &written {
            self.meter.outward(*written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
