//! The caller's side of the control socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use postern_dataplane::host::fdpass;

use super::{Reply, Request};
use crate::paths::StateDir;

/// A connection to a region.
pub struct Client(UnixStream);

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Client {
    /// Connects to the region of a state directory.
    pub fn connect(state_dir: &StateDir) -> anyhow::Result<Self> {
        Self::connect_to(&state_dir.control_socket()).map_err(|error| {
            anyhow::Error::new(error).context(format!(
                "no region runs with the state directory `{}`: start one with `postern up`",
                state_dir.root().display()
            ))
        })
    }

    /// Connects to a control socket.
    pub fn connect_to(socket: &Path) -> std::io::Result<Self> {
        UnixStream::connect(socket).map(Self)
    }

    /// Waits at most so long until a reply begins to come, or the end of them.
    pub fn wait(&self, patience: Duration) -> anyhow::Result<bool> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error).context("waiting for the region"),
        }
    }

    /// Sends a request, with descriptors.
    pub fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> anyhow::Result<()> {
        let bytes = serde_json::to_vec(request).context("writing a request")?;
        fdpass::send(&self.0, &bytes, fds).or_else(|error| match self.next() {
            // Whoever is turned away is told why before the door closes.
            Ok(Some((Reply::Failed(reason), _))) => bail!(reason),
            Ok(_) | Err(_) => Err(anyhow::Error::new(error).context("the region does not listen")),
        })
    }

    /// The next reply, with its descriptors; none when there are no more.
    pub fn next(&self) -> anyhow::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let Some((bytes, fds)) = fdpass::recv(&self.0).context("the region does not answer")? else {
            return Ok(None);
        };
        let reply = serde_json::from_slice(&bytes).context("the region runs another version of Postern")?;
        Ok(Some((reply, fds)))
    }

    /// Sends a request that has one reply.
    pub fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> anyhow::Result<Reply> {
        self.send(request, fds)?;
        match self.next()? {
            Some((Reply::Failed(reason), _)) => bail!(reason),
            Some((reply, _)) => Ok(reply),
            None => bail!("the region ended before it answered"),
        }
    }
}
