//! How a keeper lives on for a while after its `up` has ended without a word, and how it is found meanwhile.
//!
//! INVARIANT: the time begins when an `up` that was ready is gone, and begins anew only when another one is ready: ups
//! that come and fail do not make it longer.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{Backlog, SockFlag, accept4, getsockopt, listen};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::protocol::{Answer, AtStep, Call, Channel, Failure};
use super::sys;

/// How long a caller has to say what it wants.
const CALL_PATIENCE: Duration = Duration::from_secs(2);
/// How many callers may wait.
const CALLERS: i32 = 8;

/// Where the keeper is found.
struct Door {
    listener: OwnedFd,
    directory: OwnedFd,
    name: String,
}

impl Drop for Door {
    fn drop(&mut self) {
        // One that somebody has removed is gone already.
        let _ = unlinkat(&self.directory, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

/// Whether a keeper lingers, and until when.
#[derive(Default)]
pub(super) struct Linger {
    lasting: Duration,
    door: Option<Door>,
    until: Option<Instant>,
}

impl Linger {
    /// Lingers from now on for so long, when the time comes.
    pub fn set(
        &mut self,
        lasting: Duration,
        socket: Option<String>,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let step = || "preparing to linger".to_owned();
        self.until = None;
        self.lasting = lasting;
        if lasting.is_zero() {
            self.door = None;
            return Ok(());
        }
        if let (Some(name), Ok([listener, directory])) = (socket, <[_; 2]>::try_from(fds)) {
            // Here and not by whoever has bound it, so that those who call are told this process's number.
            listen(&listener, Backlog::new(CALLERS).at(step)?).at(step)?;
            self.door = Some(Door { listener, directory, name });
        }
        if self.door.is_none() {
            return Err(io::Error::other("there is no socket to be found by")).at(step);
        }
        sys::outlive_parent().at(step)
    }

    /// The `up` is gone. Gives how long is left, none where there is nothing to wait for.
    pub fn begin(&mut self) -> Option<Duration> {
        let until = match self.until {
            Some(until) => until,
            None if self.door.is_some() => Instant::now() + self.lasting,
            None => return None,
        };
        self.until = Some(until);
        Some(self.left())
    }

    /// How much longer.
    pub fn left(&self) -> Duration {
        self.until.map_or(self.lasting, |until| until.saturating_duration_since(Instant::now()))
    }

    /// Milliseconds until nobody waits any more.
    pub fn patience(&self) -> i32 {
        i32::try_from(self.left().as_millis()).unwrap_or(i32::MAX).saturating_add(1)
    }

    /// Whether nobody has come in time.
    pub fn is_over(&self) -> bool {
        self.until.is_some() && self.left().is_zero()
    }

    /// The socket on which callers come, -1 where there is none.
    pub fn socket(&self) -> RawFd {
        self.door.as_ref().map_or(-1, |door| door.listener.as_raw_fd())
    }

    /// The next caller with what it says, if it is one that may say anything.
    pub fn accept(&self) -> io::Result<(Channel<Call, Answer>, Call)> {
        let caller = accept4(self.socket(), SockFlag::SOCK_CLOEXEC)?;
        let caller = sys::adopt_fd(caller)?;
        let who = getsockopt(&caller, PeerCredentials)?;
        if who.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let channel = Channel::new(caller);
        channel.set_patience(CALL_PATIENCE)?;
        match channel.receive()? {
            Some((call, _)) => Ok((channel, call)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
