//! Requests, by some clients at once in one thread: each on its connection, or each on a new one.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};

use super::{FIRST_PORT, MESSAGE_BYTES, PORTS, Route, use_cubic};
use crate::cpu;
use crate::stats::Times;

/// How long a client waits for its answer before it gives up.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often clients that wait too long are looked for.
const LOOK: Duration = Duration::from_millis(200);

/// What each client does after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Asks again on the same connection.
    Keep,
    /// Closes, and asks on a new connection.
    Renew,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Answered {
    /// Answers a second.
    pub rate: f64,
    /// From the beginning of a request (or of its connection) to the end of its answer.
    pub times: Times,
    /// Requests that failed or were not answered in time.
    pub failures: u64,
}

/// Lets clients ask for a while. Those of the first tenth of the time are not counted.
pub fn ask(
    route: &Route,
    clients: usize,
    habit: Habit,
    time: Duration,
    processor: usize,
) -> anyhow::Result<Answered> {
    route.client.run(|| {
        cpu::pin(&[processor])?;
        Asking::new(route, clients, habit)?.run(time)
    })?
}

/// Waits until one request is answered: then everything on the way is up.
pub fn until_ready(route: &Route, processor: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let brief = Duration::from_millis(50);
    while Instant::now() < deadline {
        if let Ok(answered) = ask(route, 1, Habit::Renew, brief, processor)
            && answered.times.len() > 0
        {
            return Ok(());
        }
        std::thread::sleep(brief);
    }
    bail!("no request to `{}` is answered", route.target)
}

struct Asking<'a> {
    route: &'a Route,
    habit: Habit,
    epoll: Epoll,
    clients: Vec<Client>,
    next_port: u16,
    answered: Answered,
    counting: bool,
}

struct Client {
    stream: Option<TcpStream>,
    /// Whether the request has gone out.
    asked: bool,
    /// Bytes of the answer.
    got: usize,
    began: Instant,
}

impl<'a> Asking<'a> {
    fn new(route: &'a Route, clients: usize, habit: Habit) -> anyhow::Result<Self> {
        let client = || Client { stream: None, asked: false, got: 0, began: Instant::now() };
        Ok(Self {
            route,
            habit,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            clients: (0..clients).map(|_| client()).collect(),
            next_port: 0,
            answered: Answered::default(),
            counting: false,
        })
    }

    fn run(mut self, time: Duration) -> anyhow::Result<Answered> {
        for at in 0..self.clients.len() {
            self.connect(at)?;
        }
        let begin = Instant::now() + time / 10;
        let end = begin + time;
        let mut looked = Instant::now();
        let mut events = [EpollEvent::empty(); 64];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::from(20_u8)) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error).context("waiting for answers"),
            };
            let now = Instant::now();
            self.counting = now >= begin;
            if now >= end {
                break;
            }
            for event in events.iter().take(ready) {
                // Marks are places.
                self.go_on(event.data() as usize, event.events())?;
            }
            if now - looked > LOOK {
                looked = now;
                self.give_up_late_ones(now)?;
            }
        }
        self.answered.rate = self.answered.times.len() as f64 / time.as_secs_f64();
        Ok(self.answered)
    }

    /// Begins a new connection of a client.
    fn connect(&mut self, at: usize) -> anyhow::Result<()> {
        let port = FIRST_PORT + self.next_port % PORTS;
        self.next_port = self.next_port.wrapping_add(1);
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let began = Instant::now();
        let socket = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        use_cubic(&socket);
        let address = SockaddrIn::from(SocketAddrV4::new(self.route.target, port));
        match socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error).context("a connection cannot be begun"),
        }
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll.add(&socket, EpollEvent::new(interest, at as u64))?;
        if let Some(client) = self.clients.get_mut(at) {
            *client = Client { stream: Some(socket.into()), asked: false, got: 0, began };
        }
        Ok(())
    }

    fn go_on(&mut self, at: usize, events: EpollFlags) -> anyhow::Result<()> {
        let Some(client) = self.clients.get_mut(at) else { return Ok(()) };
        let went = if !client.asked && events.contains(EpollFlags::EPOLLOUT) {
            client.ask().map(|()| false)
        } else {
            client.listen()
        };
        match went {
            Ok(false) => Ok(()),
            Ok(true) => {
                if self.counting {
                    self.answered.times.add(client.began.elapsed());
                }
                self.ask_again(at)
            }
            Err(_) => {
                self.answered.failures += 1;
                self.connect(at)
            }
        }
    }

    fn ask_again(&mut self, at: usize) -> anyhow::Result<()> {
        match self.habit {
            Habit::Renew => self.connect(at),
            Habit::Keep => {
                let Some(client) = self.clients.get_mut(at) else { return Ok(()) };
                client.began = Instant::now();
                client.got = 0;
                if client.ask().is_err() {
                    self.answered.failures += 1;
                    return self.connect(at);
                }
                Ok(())
            }
        }
    }

    fn give_up_late_ones(&mut self, now: Instant) -> anyhow::Result<()> {
        for at in 0..self.clients.len() {
            if self
                .clients
                .get(at)
                .is_some_and(|client| now.saturating_duration_since(client.began) > PATIENCE)
            {
                self.answered.failures += 1;
                self.connect(at)?;
            }
        }
        Ok(())
    }
}

impl Client {
    fn ask(&mut self) -> std::io::Result<()> {
        if let Some(stream) = &mut self.stream {
            // Shorter than any socket's buffer.
            stream.write_all(&[b'q'; MESSAGE_BYTES])?;
            self.asked = true;
        }
        Ok(())
    }

    /// Whether the answer is whole.
    fn listen(&mut self) -> std::io::Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let mut buffer = [0; 2 * MESSAGE_BYTES];
        match stream.read(&mut buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.got += count;
                Ok(self.got >= MESSAGE_BYTES)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
