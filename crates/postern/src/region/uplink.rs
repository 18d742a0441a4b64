//! The uplink: a door that leads out of the region, by sockets on an interface of the host's.
//!
//! ```text
//!   instance ──► forwarder ──► door (doors' namespace) ──► this ──► socket on the host, bound to the interface
//!                    └── directory: who, and where to ──────┘
//! ```
//!
//! INVARIANT: the host's routes, firewall and sysctls stay as they are, and no packet of an instance's is the host's:
//! what leaves is what any program of the same user could send.

mod datagrams;
mod echo;
mod meter;
mod outside;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use postern_dataplane::forward::Forwarder;
use postern_dataplane::host::Host;
use postern_dataplane::host::outside::{
    allow_fragments, echo_socket, open_file_limit, raw_echo_socket, silence_echoes,
};
use postern_path::{Door, LinkName};
use tokio::net::UdpSocket;

use super::ailments::Ailments;
use super::doors::keep;
use datagrams::{Datagrams, Kind};
use outside::Outside;
use tcp::Connections;

pub use meter::{Carried, Meter, Refused};

/// What is carried at once at most, if there are descriptors for it: two for each connection.
const MOST: u64 = 16_384;
/// The part of the descriptors that the uplink may take, as a divisor.
const DESCRIPTORS: u64 = 4;
/// The part of all places that one interface may take, as a divisor.
const SHARE: usize = 4;

/// Connections that may wait to be looked at.
const WAITING: usize = 4_096;

/// An uplink that is ready to be served.
pub struct Uplink {
    /// The host's interface.
    pub link: LinkName,
    /// What is counted.
    pub meter: Arc<Meter>,
    outside: Arc<Outside>,
    /// The sockets at the doors for echoes, or why none are carried.
    echo: Result<Vec<(Door, UdpSocket)>, String>,
}

impl Uplink {
    /// Gets everything that it takes. An uplink without echoes is one too.
    pub fn open(host: &Host, link: LinkName) -> anyhow::Result<Self> {
        let outside = Outside::new(link).context("cannot ask the host for its routes")?;
        let most = MOST.min(open_file_limit()? / DESCRIPTORS);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let echo = echo_sockets(host, link);
        if let Err(why) = &echo {
            tracing::warn!(%link, why, "no ICMP echo leaves the region");
        }
        let meter = Arc::new(Meter::new(most, (most / SHARE).max(1)));
        Ok(Self { link, meter, outside: Arc::new(outside), echo })
    }

    /// What decisions know of it.
    pub fn setting(&self) -> postern_path::Uplink {
        postern_path::Uplink { link: self.link, echo: self.echo.is_ok() }
    }

    /// Where it leads and what it carries, in words.
    pub fn in_words(&self) -> String {
        match &self.echo {
            Ok(_) => format!("{}: TCP, UDP and ICMP echo", self.link),
            Err(why) => format!("{}: TCP and UDP; no ICMP echo: {why}", self.link),
        }
    }

    /// Opens the door.
    pub async fn serve(
        self,
        host: &Host,
        forwarder: &Arc<Forwarder>,
        ailments: &Arc<Ailments>,
    ) -> anyhow::Result<()> {
        let Self { link: _, meter, outside, echo } = self;
        let directory = forwarder.uplink();
        let address = SocketAddr::new(IpAddr::V4(Door::Uplink.address()), Door::Uplink.port().unwrap_or(1));
        let listener = host.doors().listen_tcp(address).context("cannot listen at the uplink's door")?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let connections =
            Arc::new(Connections::new(Arc::clone(forwarder), Arc::clone(&outside), Arc::clone(&meter)));
        let (wanted, first) = forwarder.open_outside_first(WAITING);
        first.await?;
        keep("uplink, connections", ailments, Arc::clone(&connections).open(wanted));
        keep("uplink, TCP", ailments, connections.serve(listener));

        let socket = host.doors().bind_udp(address).context("cannot bind the uplink's door")?;
        allow_fragments(&socket)?;
        socket.set_nonblocking(true)?;
        let datagrams = |kind, socket| {
            let (directory, outside, meter) =
                (Arc::clone(&directory), Arc::clone(&outside), Arc::clone(&meter));
            Arc::new(Datagrams::new(kind, directory, outside, meter, socket)).serve()
        };
        keep("uplink, UDP", ailments, datagrams(Kind::Udp, UdpSocket::from_std(socket)?));
        for (door, socket) in echo.into_iter().flatten() {
            match door {
                Door::Uplink => keep("uplink, ICMP echo", ailments, datagrams(Kind::Echo, socket)),
                Door::FrontDoor | Door::Resolver | Door::Metadata => {
                    keep("ICMP echo", ailments, echo::answer(socket));
                }
            }
        }
        Ok(())
    }
}

/// The sockets at the doors for echoes. The doors' kernel answers none from then on.
fn echo_sockets(host: &Host, link: LinkName) -> Result<Vec<(Door, UdpSocket)>, String> {
    echo_socket(link.as_str()).map_err(|error| {
        format!("the host lets this user send none (sysctl net.ipv4.ping_group_range): {error}")
    })?;
    let of_door = |door: &Door| -> Result<(Door, UdpSocket), String> {
        let raw = raw_echo_socket(host.doors(), door.address()).map_err(|error| error.to_string())?;
        Ok((*door, UdpSocket::from_std(raw).map_err(|error| error.to_string())?))
    };
    let sockets = Door::ALL.iter().map(of_door).collect::<Result<Vec<_>, _>>()?;
    let silenced = silence_echoes(host.doors()).map_err(|error| error.to_string())?;
    silenced.map_err(|error| format!("the doors' kernel cannot be kept from answering: {error}"))?;
    Ok(sockets)
}
