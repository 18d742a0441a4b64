//! The caller's side of the control socket.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, bail};
use postern_dataplane::host::fdpass;

use super::{Reply, Request};
use crate::paths::StateDir;

/// A connection to a region.
pub struct Client(UnixStream);

impl Client {
    /// Connects to the region of a state directory.
    pub fn connect(state_dir: &StateDir) -> anyhow::Result<Self> {
        let path = state_dir.control_socket();
        match UnixStream::connect(&path) {
            Ok(stream) => Ok(Self(stream)),
            Err(error) => Err(anyhow::Error::new(error).context(format!(
                "no region runs with the state directory `{}`: start one with `postern up`",
                state_dir.root().display()
            ))),
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

    /// How long a reply may take from now on.
    pub fn set_patience(&self, patience: std::time::Duration) -> anyhow::Result<()> {
        Ok(self.0.set_read_timeout(Some(patience))?)
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
