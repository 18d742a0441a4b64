//! A network namespace held by a descriptor.
//!
//! INVARIANT: no thread of the program changes its namespace for longer than one closure: [`Namespace::run`] enters
//! on a thread made for it, so that a pooled thread can never come back to its pool in the wrong network.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace. It lives at least as long as a value that refers to it, and clones are cheap.
#[derive(Debug, Clone)]
pub struct Namespace {
    fd: Arc<OwnedFd>,
    name: Arc<str>,
}

/// Why something could not be done inside a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// There is nothing to open at the path.
    #[error("cannot open the network namespace `{}`: {source}", .path.display())]
    Open {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A namespace of another owner, or a file that is none.
    #[error("cannot enter the network namespace `{name}`: {source}")]
    Enter {
        /// Which one.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// No thread could be had, or it panicked.
    #[error("the thread for the network namespace `{name}` failed: {reason}")]
    Thread {
        /// Which one.
        name: String,
        /// What happened.
        reason: String,
    },
    /// A socket could not be opened in it.
    #[error("cannot open a socket on `{address}` in the network namespace `{name}`: {source}")]
    Socket {
        /// Which one.
        name: String,
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl Namespace {
    /// Takes over a descriptor of a network namespace; `name` is for error messages.
    pub(crate) fn from_fd(fd: OwnedFd, name: &str) -> Self {
        Self { fd: Arc::new(fd), name: name.into() }
    }

    /// Somebody else's namespace by an open descriptor; `name` is for error messages. Whether it is a network
    /// namespace, and one that may be entered, is tried at once.
    pub fn from_descriptor(fd: OwnedFd, name: &str) -> Result<Self, NamespaceError> {
        let namespace = Self::from_fd(fd, name);
        namespace.run(|| ())?;
        Ok(namespace)
    }

    /// A new one with nothing in it. It goes with the last value that refers to it; `name` is for error messages.
    pub fn create(name: &str) -> Result<Self, NamespaceError> {
        let failed = |source: io::Error| NamespaceError::Enter { name: name.to_owned(), source };
        // A thread of its own, for it stays in the new network until it ends.
        let made = std::thread::Builder::new().stack_size(256 * 1024).spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let thread =
            |reason: &str| NamespaceError::Thread { name: name.to_owned(), reason: reason.to_owned() };
        let joined = made.map_err(failed)?.join().map_err(|_| thread("it panicked"))?;
        Ok(Self::from_fd(joined.map_err(failed)?.into(), name))
    }

    /// Somebody else's namespace by its path, `/proc/PID/ns/net` or `/run/netns/NAME`.
    pub fn open(path: &Path) -> Result<Self, NamespaceError> {
        let file =
            File::open(path).map_err(|source| NamespaceError::Open { path: path.to_owned(), source })?;
        Ok(Self::from_fd(file.into(), &path.display().to_string()))
    }

    /// The namespace that the calling thread is in.
    pub fn current() -> Result<Self, NamespaceError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Whether both are one and the same namespace.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let number =
            |namespace: &Self| nix::sys::stat::fstat(namespace).map(|stat| (stat.st_dev, stat.st_ino));
        Arc::ptr_eq(&self.fd, &other.fd) || number(self).is_ok_and(|ours| number(other) == Ok(ours))
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `job` inside the namespace, on a thread of its own, and returns what it returned. Sockets that the job
    /// opens stay in the namespace wherever they are used later.
    pub fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        let thread = |reason: String| NamespaceError::Thread { name: self.name.to_string(), reason };
        std::thread::scope(|scope| {
            let worker = std::thread::Builder::new()
                .name(format!("ns-{}", self.name).chars().take(15).collect())
                .stack_size(256 * 1024)
                .spawn_scoped(scope, || setns(self.as_fd(), CloneFlags::CLONE_NEWNET).map(|()| job()))
                .map_err(|error| thread(error.to_string()))?;
            match worker.join() {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(errno)) => {
                    Err(NamespaceError::Enter { name: self.name.to_string(), source: errno.into() })
                }
                Err(_) => Err(thread("it panicked".to_owned())),
            }
        })
    }

    /// A TCP listener inside the namespace.
    pub fn listen_tcp(&self, address: SocketAddr) -> Result<TcpListener, NamespaceError> {
        self.run(|| TcpListener::bind(address))?.map_err(|source| self.socket_error(address, source))
    }

    /// A UDP socket inside the namespace.
    pub fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, NamespaceError> {
        self.run(|| UdpSocket::bind(address))?.map_err(|source| self.socket_error(address, source))
    }

    pub(super) fn socket_error(&self, address: SocketAddr, source: io::Error) -> NamespaceError {
        NamespaceError::Socket { name: self.name.to_string(), address, source }
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
