//! Sockets on the host's network, bound to the uplink's interface.
//!
//! INVARIANT: nothing that an instance says is told to an address of the host's own. The kernel is asked before each
//! connection is made and again when it is there, so an address that the host got meanwhile is known too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use postern_dataplane::host::outside::{HostRoutes, Reach, echo_socket};
use postern_path::LinkName;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::meter::Refused;

/// How long a connection may take to come about: about as long as Linux would repeat its SYN at the client's end.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is said that the host gives no sockets or no routes: what an instance sends must not fill the host's log.
const COMPLAIN: Duration = Duration::from_secs(10);

/// The host's side of the uplink.
#[derive(Debug)]
pub struct Outside {
    link: LinkName,
    routes: HostRoutes,
    complained: Mutex<Option<Instant>>,
}

impl Outside {
    /// Over this interface.
    pub fn new(link: LinkName) -> io::Result<Self> {
        Ok(Self { link, routes: HostRoutes::open(link.as_str())?, complained: Mutex::default() })
    }

    /// Refuses what is the host's own, and what it has no way to.
    pub fn check(&self, address: Ipv4Addr) -> Result<(), Refused> {
        match self.routes.reach(address) {
            Ok(Reach::Elsewhere) => Ok(()),
            Ok(Reach::Host) => Err(Refused::HostAddress),
            Ok(Reach::Nowhere) => Err(Refused::Unreachable),
            // What cannot be known is not allowed.
            Err(error) => {
                self.complain("the host's routes cannot be read", &error);
                Err(Refused::Socket)
            }
        }
    }

    /// A connection.
    pub async fn connect(&self, address: Ipv4Addr, port: u16) -> Result<TcpStream, Refused> {
        self.check(address)?;
        let open = || -> io::Result<TcpSocket> {
            let socket = TcpSocket::new_v4()?;
            socket.bind_device(Some(self.link.as_str().as_bytes()))?;
            // Whoever is gone without a word is found out some day.
            socket.set_keepalive(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|error| self.no_socket(&error))?;
        let connected = socket.connect(SocketAddr::new(address.into(), port));
        match tokio::time::timeout(CONNECT_PATIENCE, connected).await {
            Ok(Ok(stream)) => self.check(address).map(|()| stream),
            Ok(Err(error)) => Err(why(&error)),
            Err(_) => Err(Refused::TimedOut),
        }
    }

    /// A socket for datagrams to and from one receiver.
    pub async fn datagrams(&self, address: Ipv4Addr, port: u16) -> Result<UdpSocket, Refused> {
        self.check(address)?;
        let socket =
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(|error| self.no_socket(&error))?;
        socket.bind_device(Some(self.link.as_str().as_bytes())).map_err(|error| self.no_socket(&error))?;
        socket.connect((address, port)).await.map_err(|error| why(&error))?;
        self.check(address).map(|()| socket)
    }

    /// A socket for echoes to and from one receiver.
    pub async fn echoes(&self, address: Ipv4Addr) -> Result<UdpSocket, Refused> {
        self.check(address)?;
        let socket = echo_socket(self.link.as_str()).and_then(UdpSocket::from_std);
        let socket = socket.map_err(|error| self.no_socket(&error))?;
        socket.connect((address, 0)).await.map_err(|error| why(&error))?;
        self.check(address).map(|()| socket)
    }

    fn no_socket(&self, error: &io::Error) -> Refused {
        self.complain("no socket can be had for the uplink", error);
        Refused::Socket
    }

    fn complain(&self, of: &str, error: &io::Error) {
        // The critical section is one assignment.
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            *complained = Some(Instant::now());
            tracing::warn!(link = %self.link, %error, "{of}");
        }
    }
}

/// Why there is no connection, or no answer to a packet.
pub fn why(error: &io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Refused::Declined,
        io::ErrorKind::TimedOut => Refused::TimedOut,
        _ => Refused::Unreachable,
    }
}
