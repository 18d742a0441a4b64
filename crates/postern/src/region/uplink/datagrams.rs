//! What leaves the region a packet at a time: UDP and ICMP echo. Each flow has a socket of its own outside, so that
//! only answers from whom it spoke to come back.
//!
//! INVARIANT: a socket outside lives as long as its flow does in the forwarder, which bounds and accounts them.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use postern_dataplane::forward::{UplinkDirectory, UplinkFlow, UplinkKey};
use tokio::net::UdpSocket;

use super::echo;
use super::meter::{Carried, Meter, Place, Refused};
use super::outside::{self, Outside};

const UDP: u8 = 17;
const ICMP: u8 = 1;
/// The largest IP packet.
const PACKET_BYTES: usize = 65_535;

/// How long a packet may wait for room at its socket: no longer, for others wait behind it.
const MOMENT: Duration = Duration::from_millis(5);

/// How often it is asked again whether an address that is spoken to has become the host's own.
const LOOK: Duration = Duration::from_secs(1);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Datagrams, without their headers.
    Udp,
    /// ICMP messages, which come with their IP header and go without.
    Echo,
}

/// Carries packets of one kind.
pub struct Datagrams {
    kind: Kind,
    directory: Arc<UplinkDirectory>,
    outside: Arc<Outside>,
    meter: Arc<Meter>,
    inside: UdpSocket,
    flows: Mutex<HashMap<UplinkKey, Sender>>,
}

/// A flow's socket outside.
struct Sender {
    socket: Arc<UdpSocket>,
    flow: UplinkFlow,
    /// When its destination was last found not to be the host's.
    checked: Instant,
}

/// A packet as it came to the door.
struct Arrived<'p> {
    key: UplinkKey,
    payload: &'p [u8],
}

impl Datagrams {
    /// Between this socket at the door and the host's network.
    pub fn new(
        kind: Kind,
        directory: Arc<UplinkDirectory>,
        outside: Arc<Outside>,
        meter: Arc<Meter>,
        inside: UdpSocket,
    ) -> Self {
        Self { kind, directory, outside, meter, inside, flows: Mutex::default() }
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<UplinkKey, Sender>> {
        // Each change of it is one insertion or removal.
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries packets until the socket at the door fails.
    pub async fn serve(self: Arc<Self>) -> io::Result<()> {
        let mut buffer = vec![0; PACKET_BYTES];
        loop {
            let (length, from) = match self.inside.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error about an earlier answer is nothing to stop for.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            let packet = buffer.get(..length).unwrap_or_default();
            let Some(arrived) = arrived(self.kind, packet, from) else { continue };
            if let Err(why) = self.send(&arrived).await {
                self.meter.refuse(why);
                tracing::debug!(%from, why = why.name(), "a packet does not leave the region");
            }
        }
    }

    async fn send(self: &Arc<Self>, arrived: &Arrived<'_>) -> Result<(), Refused> {
        let socket = match self.known(&arrived.key)? {
            Some(socket) => socket,
            None => self.begin(arrived.key).await?,
        };
        match hand_over(&socket, arrived.payload).await {
            Ok(sent) => self.meter.outward(sent),
            // An error about an earlier packet is told once, and this one was not sent.
            Err(error) if is_of_a_packet(&error) => {
                self.meter.refuse(outside::why(&error));
                self.meter.outward(hand_over(&socket, arrived.payload).await.unwrap_or(0));
            }
            // As on a line that is full, what does not fit is lost.
            Err(error) => tracing::debug!(%error, "a packet is lost on its way out of the region"),
        }
        Ok(())
    }

    /// The socket of a flow that still is the same.
    fn known(&self, key: &UplinkKey) -> Result<Option<Arc<UdpSocket>>, Refused> {
        let mut flows = self.flows();
        let Some(sender) = flows.get_mut(key).filter(|sender| !sender.flow.has_ended()) else {
            return Ok(None);
        };
        // A socket sends on to its address whoever has it.
        if sender.checked.elapsed() >= LOOK {
            self.outside.check(sender.flow.destination)?;
            sender.checked = Instant::now();
        }
        Ok(Some(Arc::clone(&sender.socket)))
    }

    async fn begin(self: &Arc<Self>, key: UplinkKey) -> Result<Arc<UdpSocket>, Refused> {
        let flow = self.directory.flow(&key).ok_or(Refused::UnknownFlow)?;
        let what = match self.kind {
            Kind::Udp => Carried::Udp,
            Kind::Echo => Carried::Echo,
        };
        let place = self.meter.place(flow.peer.interface, what)?;
        let socket = match self.kind {
            Kind::Udp => self.outside.datagrams(flow.destination, flow.port).await?,
            Kind::Echo => self.outside.echoes(flow.destination).await?,
        };
        let socket = Arc::new(socket);
        let sender = Sender { socket: Arc::clone(&socket), flow: flow.clone(), checked: Instant::now() };
        self.flows().insert(key, sender);
        tokio::spawn(Arc::clone(self).answers(key, flow, Arc::clone(&socket), place));
        Ok(socket)
    }

    /// Brings answers back for as long as the flow lives.
    async fn answers(
        self: Arc<Self>,
        key: UplinkKey,
        mut flow: UplinkFlow,
        socket: Arc<UdpSocket>,
        place: Place,
    ) {
        tokio::select! {
            () = self.bring(key, &socket) => {}
            () = flow.ended() => {}
        }
        let mut flows = self.flows();
        // Another flow may look the same by now.
        if flows.get(&key).is_some_and(|sender| Arc::ptr_eq(&sender.socket, &socket)) {
            flows.remove(&key);
        }
        drop(place);
    }

    async fn bring(&self, key: UplinkKey, socket: &UdpSocket) {
        loop {
            match self.bring_what_came(key, socket).await {
                Ok(()) => {}
                Err(error) if is_of_a_packet(&error) => self.meter.refuse(outside::why(&error)),
                Err(error) => {
                    tracing::debug!(%error, "a socket outside the region broke");
                    return;
                }
            }
        }
    }

    /// Waits for answers and brings in all that are there. There is a buffer only while there are any: thousands of
    /// flows may wait.
    async fn bring_what_came(&self, key: UplinkKey, socket: &UdpSocket) -> io::Result<()> {
        socket.readable().await?;
        let mut buffer = Vec::with_capacity(PACKET_BYTES);
        loop {
            buffer.clear();
            match socket.try_recv_buf(&mut buffer) {
                Ok(length) => self.meter.inward(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            let port = match self.kind {
                Kind::Udp => key.port,
                Kind::Echo if echo::readdress(&mut buffer, key.port) => 0,
                Kind::Echo => continue,
            };
            let to = SocketAddr::V4(SocketAddrV4::new(key.stand_in, port));
            if let Err(error) = self.inside.send_to(&buffer, to).await {
                tracing::debug!(%to, %error, "an answer from outside could not be brought in");
            }
        }
    }
}

/// Whether an error is what an ICMP message said about one packet: the socket is as good as before.
fn is_of_a_packet(error: &io::Error) -> bool {
    use nix::errno::Errno;
    // All that Linux makes of "destination unreachable" (`icmp_err_convert`).
    let told = [
        Errno::ECONNREFUSED,
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::ENOPROTOOPT,
        Errno::EMSGSIZE,
        Errno::EOPNOTSUPP,
        Errno::EHOSTDOWN,
        Errno::ENONET,
    ];
    told.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// Sends a packet, if the socket takes it now or in a moment: one that is new is not known to take any yet.
async fn hand_over(socket: &UdpSocket, payload: &[u8]) -> io::Result<usize> {
    match socket.try_send(payload) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let sent = tokio::time::timeout(MOMENT, socket.send(payload)).await;
            sent.unwrap_or_else(|_| Err(io::ErrorKind::WouldBlock.into()))
        }
        sent => sent,
    }
}

/// What a packet at the door is of.
fn arrived(kind: Kind, packet: &[u8], from: SocketAddr) -> Option<Arrived<'_>> {
    let SocketAddr::V4(from) = from else { return None };
    let key = |stand_in: Ipv4Addr, port, protocol| UplinkKey { stand_in, port, protocol };
    match kind {
        Kind::Udp => Some(Arrived { key: key(*from.ip(), from.port(), UDP), payload: packet }),
        Kind::Echo => {
            let request = echo::request(packet)?;
            Some(Arrived { key: key(*from.ip(), request.identifier, ICMP), payload: request.message })
        }
    }
}
