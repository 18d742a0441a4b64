//! What `up`, its keeper and the instances' init processes say to each other.
//!
//! A keeper and its instances may outlive the `up` that made them, and be taken over by one of another version: all
//! that is said here has one number, [`VERSION`], which is compared before anything else is said.
//!
//! A message is one packet of a `SOCK_SEQPACKET` pair: JSON, with descriptors beside it. One that is larger than a
//! packet goes through a memory file whose descriptor comes first.

use std::io::{self, IoSlice, Read};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair};
use nix::sys::time::{TimeVal, TimeValLike};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::port::Port;
use super::spec::{InstanceSpec, WindowSize, base64_bytes};
use super::{fdpass, sys};

/// The largest message that travels as a packet; larger ones go through a memory file.
const INLINE_BYTES: usize = 32 * 1024;
/// The largest message of all: an instance's files are in it.
const MAX_MESSAGE_BYTES: u64 = 64 << 20;

/// Goes up with every change of a message here, but for [`Call`] and [`Answer`], which must stay as they are.
pub(super) const VERSION: u32 = 1;

const INLINE: u8 = 0;
const IN_MEMORY_FILE: u8 = 1;

/// `up` to keeper; each is answered by one [`KeeperReply`], in order.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum KeeperRequest {
    /// A network namespace without an instance.
    CreateNetwork(NetworkKind),
    /// A sandbox: namespaces, file system and init process.
    CreateInstance(Box<InstanceSpec>),
    /// Kill and reap a sandbox.
    DestroyInstance(u32),
    /// Kill every sandbox and exit.
    Shutdown,
    /// From now on outlive an `up` that ends without a word, for so many seconds; zero is not to. Two descriptors where
    /// the keeper has no socket yet on which to be found: that one, bound, and the directory that it is in.
    Linger {
        /// For how long.
        seconds: u32,
        /// What the socket is called in its directory, if one comes with this.
        socket: Option<String>,
    },
    /// A file system for pinned objects, where nobody has another one. With `anew`, an empty one in any case.
    Pins {
        /// Whether what is pinned is to be given up.
        anew: bool,
    },
    /// Remember a port for whoever takes over. One descriptor where it leads into a network of somebody else's.
    KeepPort(KeptPort),
    /// A port is gone.
    DropPort {
        /// What its host end is called.
        name: String,
    },
    /// Keep the reading end of what an instance's programs print, which comes with this, so that they can go on printing.
    KeepConsole(u32),
    /// An instance is finished: whoever takes over finds it as it should be.
    Finished(u32),
    /// What is there, for whoever takes over.
    Inventory,
    /// The descriptors of an instance that is there.
    FetchInstance(u32),
    /// The reading end of an instance's console, and what was printed meanwhile.
    FetchConsole(u32),
    /// The fabric.
    FetchFabric,
    /// The network of somebody else's that a port leads into.
    FetchGuest {
        /// What the port's host end is called.
        name: String,
    },
}

/// A port that is kept for whoever takes over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptPort {
    /// What it is to its owner.
    pub label: String,
    /// Its two ends.
    pub port: Port,
    /// The instance that it leads into; none where that is somebody else's network.
    pub instance: Option<String>,
}

/// An instance that is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct KeptInstance {
    /// What the keeper calls it.
    pub number: u32,
    /// What its owner calls it.
    pub name: String,
    /// Whether it was finished.
    pub finished: bool,
    /// Whether there is a console.
    pub console: bool,
}

/// What somebody says first who found a keeper by its socket.
///
/// INVARIANT: these words stay as they are in all versions, so that any `up` can speak to any keeper.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    /// The caller's [`VERSION`].
    pub version: u32,
    /// What it wants.
    pub wish: Wish,
}

/// What may be wanted of a keeper whose `up` is gone.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Wish {
    /// To know how it is.
    Look,
    /// To be its `up`.
    TakeOver,
    /// Its end.
    End,
}

/// What the keeper answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// There is an `up`.
    Busy,
    /// It lingers.
    Lingers {
        /// Its [`VERSION`].
        version: u32,
        /// For how much longer, in milliseconds.
        milliseconds: u64,
        /// How many instances there are.
        instances: usize,
    },
    /// The caller is its `up` from now on.
    Taken,
    /// It ends.
    Ends,
}

/// The namespaces that belong to the region and not to an instance.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum NetworkKind {
    /// Where the host ends of all ports are. Its own stack is kept from answering.
    Fabric,
    /// Where Postern's own listeners are.
    Doors,
}

/// Keeper to `up`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum KeeperReply {
    /// One descriptor: the namespace.
    Network,
    /// Two descriptors: the channel to the instance's init process, and its network namespace.
    Instance {
        /// What [`KeeperRequest::DestroyInstance`] takes.
        number: u32,
    },
    /// One descriptor: the file system for pinned objects.
    Pins,
    /// What is there.
    Inventory {
        /// All instances.
        instances: Vec<KeptInstance>,
        /// All ports.
        ports: Vec<KeptPort>,
        /// How often it was taken over.
        takeovers: u32,
    },
    /// One descriptor: the reading end, unless nobody prints any more.
    Console {
        /// What was printed meanwhile.
        #[serde(with = "base64_bytes")]
        printed: Vec<u8>,
    },
    /// Done, nothing to tell.
    Done,
    /// Not done.
    Failed(Failure),
}

/// A step of a longer job that failed, in another process.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {reason}")]
pub(super) struct Failure {
    /// What was being done, with the value.
    pub step: String,
    /// What the system said.
    pub reason: String,
    /// Its number, where it has one.
    pub errno: Option<i32>,
}

impl Failure {
    pub(super) fn new(step: String, error: &io::Error) -> Self {
        Self { step, reason: error.to_string(), errno: error.raw_os_error() }
    }
}

/// Names the step that an error happened in.
pub(super) trait AtStep<T> {
    /// The value, or a [`Failure`] at this step.
    fn at(self, step: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> AtStep<T> for Result<T, E> {
    fn at(self, step: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(step(), &error.into()))
    }
}

/// Builder of a sandbox and keeper, while the sandbox is being made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum BuildMessage {
    /// Builder: I am in my new user namespace, write its maps.
    MapMe,
    /// Keeper: they are written.
    Mapped,
    /// Builder: finished; one descriptor, the network namespace.
    Ready,
    /// Either: it did not work.
    Failed(Failure),
}

/// `up` to an instance's init process. `sequence` comes back in the answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InitRequest {
    pub sequence: u64,
    pub action: InitAction,
}

/// What an init process can be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum InitAction {
    /// Run a program. Three descriptors where `terminal` is `None`.
    Spawn {
        argv: Vec<String>,
        environment: Vec<(String, String)>,
        directory: String,
        terminal: Option<WindowSize>,
    },
    /// Signal a program's process group.
    Signal { child: u32, signal: i32 },
    /// `SIGTERM`, then `SIGKILL` after the grace.
    Stop { child: u32, grace_milliseconds: u64 },
    /// The same to everything in the instance; then init exits.
    Shutdown { grace_milliseconds: u64 },
}

/// An instance's init process to `up`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum InitReport {
    /// Runs; one descriptor, the terminal's master, where a terminal was asked for.
    Spawned { sequence: u64, child: u32 },
    /// Does not run.
    SpawnFailed { sequence: u64, failure: Failure },
    /// The signal was sent or the stop begun; false where there is no such program (any more).
    Signalled { sequence: u64, found: bool },
    /// A program ended, with its wait status.
    Exited { child: u32, wait_status: i32 },
}

/// One end of a packet pair on which messages `In` come and messages `Out` go.
#[derive(Debug)]
pub(super) struct Channel<In, Out> {
    socket: OwnedFd,
    messages: PhantomData<fn(In) -> Out>,
}

/// Two connected packet sockets.
pub(super) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

impl<In: DeserializeOwned, Out: Serialize> Channel<In, Out> {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, messages: PhantomData }
    }

    /// Bounds how long [`Channel::receive`] waits; no time is no bound.
    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
        setsockopt(&self.socket, ReceiveTimeout, &TimeVal::seconds(seconds))?;
        Ok(())
    }

    /// The socket, for other messages.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    pub(super) fn send(&self, message: &Out, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let json = serde_json::to_vec(message)?;
        if json.len() <= INLINE_BYTES {
            let parts = [IoSlice::new(&[INLINE]), IoSlice::new(&json)];
            return fdpass::send_packet(self.socket.as_raw_fd(), &parts, fds).map(drop);
        }
        let file = sys::memory_file(&json)?;
        let mut all = vec![file.as_fd()];
        all.extend_from_slice(fds);
        let parts = [IoSlice::new(&[IN_MEMORY_FILE])];
        fdpass::send_packet(self.socket.as_raw_fd(), &parts, &all).map(drop)
    }

    /// The next message; `None` when the other end is gone.
    pub(super) fn receive(&self) -> io::Result<Option<(In, Vec<OwnedFd>)>> {
        let mut buffer = vec![0_u8; INLINE_BYTES + 1];
        let (length, mut fds) = match fdpass::recv_packet(self.socket.as_raw_fd(), &mut buffer) {
            Ok(received) => received,
            // The other end died with messages of ours unread.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((kind, inline)) = buffer[..length].split_first() else {
            return Ok(None);
        };
        let message = if *kind == IN_MEMORY_FILE && !fds.is_empty() {
            let mut json = Vec::new();
            std::fs::File::from(fds.remove(0)).take(MAX_MESSAGE_BYTES).read_to_end(&mut json)?;
            serde_json::from_slice(&json)?
        } else {
            serde_json::from_slice(inline)?
        };
        Ok(Some((message, fds)))
    }
}

impl<In, Out> AsRawFd for Channel<In, Out> {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl<In, Out> AsFd for Channel<In, Out> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
