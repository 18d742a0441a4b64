//! Answers requests: one thread, all connections, an answer as long as the request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use anyhow::Context;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use postern_dataplane::host::Namespace;

use super::{FIRST_PORT, MESSAGE_BYTES, PORTS, use_cubic};
use crate::cpu;

/// Above the highest descriptor that a connection may have.
const HIGHEST: usize = 16_384;

/// Starts it in a namespace, on every address and all ports.
pub fn start(namespace: &Namespace, processor: usize) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for port in FIRST_PORT..FIRST_PORT + PORTS {
        let listener = namespace.listen_tcp(SocketAddr::from(([0; 4], port)))?;
        listener.set_nonblocking(true)?;
        use_cubic(&listener);
        listeners.push(listener);
    }
    let responder = Responder::new(listeners)?;
    std::thread::Builder::new().name("responder".to_owned()).spawn(move || {
        if let Err(error) = cpu::pin(&[processor]).and_then(|()| responder.run()) {
            eprintln!("error: the server of requests ended: {error:#}");
        }
    })?;
    Ok(())
}

struct Responder {
    epoll: Epoll,
    listeners: Vec<TcpListener>,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of a request that is not whole yet.
    partial: usize,
}

impl Responder {
    fn new(listeners: Vec<TcpListener>) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for listener in &listeners {
            epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, mark(listener.as_raw_fd())))?;
        }
        Ok(Self { epoll, listeners, connections: (0..HIGHEST).map(|_| None).collect() })
    }

    fn run(mut self) -> anyhow::Result<()> {
        let mut events = [EpollEvent::empty(); 128];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error).context("waiting for requests"),
            };
            for event in events.iter().take(ready) {
                // Every mark was made of a descriptor.
                let descriptor = event.data() as i32;
                if self.listeners.iter().any(|listener| listener.as_raw_fd() == descriptor) {
                    self.accept(descriptor);
                } else {
                    self.answer(descriptor);
                }
            }
        }
    }

    fn accept(&mut self, listener: i32) {
        let Some(listener) = self.listeners.iter().find(|each| each.as_raw_fd() == listener) else { return };
        while let Ok((stream, _)) = listener.accept() {
            let descriptor = stream.as_raw_fd();
            let Some(place) = self.connections.get_mut(place(descriptor)) else { continue };
            let event = EpollEvent::new(EpollFlags::EPOLLIN, mark(descriptor));
            if self.epoll.add(&stream, event).is_ok() {
                *place = Some(Connection { stream, partial: 0 });
            }
        }
    }

    fn answer(&mut self, descriptor: i32) {
        let Some(place) = self.connections.get_mut(place(descriptor)) else { return };
        if place.as_mut().is_some_and(|connection| !connection.answer()) {
            *place = None;
        }
    }
}

impl Connection {
    /// Answers what has come; there is something, so reading does not wait. False when the connection is over.
    fn answer(&mut self) -> bool {
        let mut buffer = [0; 4 * MESSAGE_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.partial += count;
                while self.partial >= MESSAGE_BYTES {
                    self.partial -= MESSAGE_BYTES;
                    if self.stream.write_all(&[b'a'; MESSAGE_BYTES]).is_err() {
                        return false;
                    }
                }
                true
            }
        }
    }
}

fn mark(descriptor: i32) -> u64 {
    u64::from(descriptor.unsigned_abs())
}

fn place(descriptor: i32) -> usize {
    descriptor.unsigned_abs() as usize
}
