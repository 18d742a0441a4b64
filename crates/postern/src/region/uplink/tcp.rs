//! Connections that leave the region: one inside, one outside, and all bytes from either to the other.
//!
//! INVARIANT: a connection lives as long as its flow does in the forwarder, and no longer: what cuts the flow ends the
//! connection outside.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use postern_dataplane::forward::{UplinkDirectory, UplinkFlow, UplinkKey};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};

use super::meter::{Carried, Meter, Place, Refused};
use super::outside::Outside;

/// Bytes that wait in each direction.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the listener rests when there is no descriptor for another connection.
const REST: Duration = Duration::from_millis(50);
const TCP: u8 = 6;

/// Carries connections.
pub struct Connections {
    pub directory: Arc<UplinkDirectory>,
    pub outside: Arc<Outside>,
    pub meter: Arc<Meter>,
}

impl Connections {
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
            // There are never more than flows, which are bounded.
            let this = Arc::clone(&self);
            tokio::spawn(async move { this.carry(inside, from).await });
        }
    }

    /// Carries one connection to its end. One that does not end well is reset, at both ends.
    async fn carry(&self, mut inside: TcpStream, from: SocketAddr) {
        match self.connect(from).await {
            Ok(opened) => self.copy(&mut inside, opened, from).await,
            Err(why) => {
                self.meter.refuse(why);
                tracing::debug!(%from, why = why.name(), "a connection does not leave the region");
                reset(&inside);
            }
        }
    }

    /// The other half of a connection, where its flow is for.
    async fn connect(&self, from: SocketAddr) -> Result<Opened, Refused> {
        let IpAddr::V4(stand_in) = from.ip() else { return Err(Refused::UnknownFlow) };
        let key = UplinkKey { stand_in, port: from.port(), protocol: TCP };
        let flow = self.directory.flow(&key).ok_or(Refused::UnknownFlow)?;
        let place = self.meter.place(flow.peer.interface, Carried::Tcp)?;
        let (destination, port) = (flow.destination, flow.port);
        let mut watched = flow.clone();
        tokio::select! {
            connected = self.outside.connect(destination, port) => {
                Ok(Opened { outside: connected?, flow, _place: place })
            }
            () = watched.ended() => Err(Refused::UnknownFlow),
        }
    }

    async fn copy(&self, inside: &mut TcpStream, opened: Opened, from: SocketAddr) {
        let Opened { outside, mut flow, _place } = opened;
        let mut outside = Metered { stream: outside, meter: &self.meter };
        let copied = tokio::select! {
            copied = copy_bidirectional_with_sizes(inside, &mut outside, BUFFER_BYTES, BUFFER_BYTES) => copied.map(|_| ()),
            () = flow.ended() => Err(io::ErrorKind::ConnectionAborted.into()),
        };
        if let Err(error) = copied {
            tracing::debug!(%from, %error, "a connection through the uplink broke");
            reset(inside);
            reset(&outside.stream);
        }
    }
}

/// A connection whose other half is there.
struct Opened {
    outside: TcpStream,
    flow: UplinkFlow,
    _place: Place,
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
