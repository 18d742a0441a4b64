//! Load: clients and servers of the run's own, the same code for every contender.
//!
//! Sockets belong to the namespace of the thread that opened them, so every client and server thread is started from
//! inside its namespace.

pub mod echo;
pub mod requests;
pub mod responder;
pub mod stream;

use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use postern_dataplane::host::Namespace;

use crate::cpu::Pinning;

/// Requests and connections are spread over so many ports, so that no table of ports runs out.
pub const PORTS: u16 = 8;
/// The first of them.
pub const FIRST_PORT: u16 = 5_001;
/// Where bytes are taken in.
pub const STREAM_PORT: u16 = 5_100;
/// Where datagrams come back from.
pub const ECHO_PORT: u16 = 5_200;
/// The bytes of a request, and of its answer.
pub const MESSAGE_BYTES: usize = 128;

/// All servers of one contender.
pub struct Servers {
    /// Where bytes are taken in.
    pub sink: stream::Sink,
}

impl Servers {
    /// Starts them in a namespace, on every address. They end with the process.
    pub fn start(namespace: &Namespace, pinning: &Pinning) -> anyhow::Result<Self> {
        responder::start(namespace, pinning.server)?;
        echo::start(namespace, pinning.server)?;
        Ok(Self { sink: stream::Sink::start(namespace, pinning.server)? })
    }
}

/// Where a client sends.
#[derive(Debug, Clone)]
pub struct Route {
    /// The client's namespace.
    pub client: Namespace,
    /// The address that it asks.
    pub target: Ipv4Addr,
    /// The namespace in the middle, where there is one that nobody else holds.
    #[expect(dead_code, reason = "held, so that the namespace lives as long as the route")]
    pub through: Option<Namespace>,
}

/// Makes a socket send as all others do, where the namespace's default could not be set.
pub fn use_cubic(socket: &impl AsFd) {
    // Where even that is not permitted the report says so, by what the sockets really use.
    let _ = setsockopt(socket, sockopt::TcpCongestion, &"cubic".into());
}
