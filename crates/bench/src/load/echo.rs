//! Datagrams that come back: the shortest way to time one packet.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use postern_dataplane::host::Namespace;

use super::{ECHO_PORT, Route};
use crate::cpu;

/// How long a datagram may be under way.
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends every datagram back to where it came from, at every address of the namespace.
pub fn start(namespace: &Namespace, processor: usize) -> anyhow::Result<()> {
    let socket = namespace.bind_udp(SocketAddr::from(([0; 4], ECHO_PORT)))?;
    std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
        let mut buffer = [0; 2_048];
        if cpu::pin(&[processor]).is_err() {
            return;
        }
        loop {
            // An error is about one datagram, such as a port that was closed since.
            if let Ok((count, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(buffer.get(..count).unwrap_or_default(), from);
            }
        }
    })?;
    Ok(())
}

/// A socket of its own, so a flow of its own.
#[derive(Debug)]
pub struct Probe {
    socket: UdpSocket,
}

impl Probe {
    /// Opens one in the client's namespace.
    pub fn open(route: &Route) -> anyhow::Result<Self> {
        let socket = route.client.bind_udp(SocketAddr::from(([0; 4], 0)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(SocketAddr::from((route.target, ECHO_PORT)))?;
        Ok(Self { socket })
    }

    /// There and back again.
    pub fn round_trip(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        self.socket.send(&[b'p'; 64])?;
        let mut buffer = [0; 128];
        match self.socket.recv(&mut buffer) {
            Ok(64) => Ok(began.elapsed()),
            Ok(count) => bail!("`{count}` bytes came back instead of 64"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("a datagram did not come back"),
            Err(error) => Err(error).context("a datagram did not come back"),
        }
    }
}
