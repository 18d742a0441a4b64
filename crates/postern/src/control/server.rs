//! The region's side of the control socket: a thread for each caller, at most [`MAX_CALLERS`] of them.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use postern_dataplane::host::fdpass;

use super::{Reply, Request};
use crate::paths::StateDir;
use crate::said::said;

/// How many callers are served at once.
const MAX_CALLERS: usize = 256;
/// How long the listener rests when no caller can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers requests.
pub trait Controlled: Send + Sync + 'static {
    /// Answers one request. `caller` takes further replies where there are several.
    fn answer(&self, request: Request, fds: Vec<OwnedFd>, caller: &Caller) -> anyhow::Result<Reply>;
}

/// Who asked.
pub struct Caller(UnixStream);

impl Caller {
    /// Sends a reply before the last one, with descriptors.
    pub fn send(&self, reply: &Reply, fds: &[OwnedFd]) -> anyhow::Result<()> {
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let bytes = serde_json::to_vec(reply).context("writing a reply")?;
        fdpass::send(&self.0, &bytes, &borrowed).context("the caller has gone")
    }

    /// Waits at most so long for the caller to go. One that waits for replies sends nothing, so its socket becomes
    /// readable when it closes.
    pub fn has_gone(&self, patience: Duration) -> anyhow::Result<bool> {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        Ok(poll(&mut polled, timeout).context("looking after the caller")? > 0)
    }

    /// The socket, to see whether the caller is still there.
    pub fn socket(&self) -> &UnixStream {
        &self.0
    }
}

/// Listens until the process ends.
pub fn listen(state_dir: &StateDir, controlled: Arc<impl Controlled>) -> anyhow::Result<()> {
    let path = state_dir.control_socket();
    // Whoever holds the ledger owns the directory, so what lies here is left over.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the old socket `{}`", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen at `{}`", path.display()))?;
    // INVARIANT: whoever can open this socket can run programs in instances, so only the owner can.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let callers = Arc::new(AtomicUsize::new(0));
    let serve = move || {
        for stream in listener.incoming() {
            let stream = match stream {
                Ok(stream) => stream,
                Err(error) => {
                    // Such as no descriptor being free: it passes, and then commands are served again.
                    tracing::warn!(%error, "a command could not be accepted");
                    thread::sleep(ACCEPT_PAUSE);
                    continue;
                }
            };
            if callers.fetch_add(1, Ordering::Relaxed) >= MAX_CALLERS {
                callers.fetch_sub(1, Ordering::Relaxed);
                refuse(stream);
                continue;
            }
            let (controlled, callers) = (Arc::clone(&controlled), Arc::clone(&callers));
            let serve = move || {
                if let Err(error) = serve_caller(&*controlled, Caller(stream)) {
                    tracing::debug!(error = said(&error), "a command ended early");
                }
                callers.fetch_sub(1, Ordering::Relaxed);
            };
            if let Err(error) = thread::Builder::new().name("control".to_owned()).spawn(serve) {
                tracing::error!(%error, "no thread for a command");
            }
        }
    };
    thread::Builder::new()
        .name("control listener".to_owned())
        .spawn(serve)
        .context("no thread for commands")?;
    Ok(())
}

/// Says so to one caller too many. A new socket has room for that, so it does not wait.
fn refuse(stream: UnixStream) {
    let reason = format!("{MAX_CALLERS} commands speak to the region already");
    if let Err(error) = Caller(stream).send(&Reply::Failed(reason), &[]) {
        tracing::debug!(error = said(&error), "a command was refused and had gone");
    }
}

fn serve_caller(controlled: &impl Controlled, caller: Caller) -> anyhow::Result<()> {
    while let Some((bytes, fds)) = fdpass::recv(&caller.0)? {
        let reply = match serde_json::from_slice(&bytes) {
            Ok(request) => controlled.answer(request, fds, &caller),
            Err(error) => {
                Err(anyhow::Error::new(error).context("the region runs another version of Postern"))
            }
        };
        let reply = reply.unwrap_or_else(|error| Reply::Failed(said(&error)));
        caller.send(&reply, &[])?;
    }
    Ok(())
}
