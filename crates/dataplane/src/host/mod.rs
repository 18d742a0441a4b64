//! Instances as sandboxes and links as packet ports, on this machine's kernel, with root or without.
//!
//! ```text
//!   up (API, resolver, forwarder …)            host's network, host's mounts
//!    │ lease (closes when up dies)
//!    ▼
//!   keeper                                     process 1 of its own PID namespace, empty network
//!    ├─ init of i-1 ── programs of i-1         own user, mount, PID, IPC, UTS, network namespaces
//!    ├─ init of i-2 ── …
//!    └ made for up:  fabric network            host ends of all ports, read by packet sockets
//!                    doors network             Postern's own listeners
//! ```
//!
//! Without root the same stands one user namespace deeper: [`start`] enters one in which the caller is root, and
//! keeps the host's network and mounts for `up` itself. Nothing differs after that but the user numbers that
//! instances are mapped to.
//!
//! INVARIANT: everything hangs on descriptors and processes, nothing on names in the host's file system; when `up`
//! ends, in whatever way, the kernel takes all of it down. Where [`Host::linger`] was asked for, the keeper holds it for
//! a stated time after an `up` that was killed, so that another one can take it over ([`take_over`]).

mod etc;
mod ethtool;
pub mod fdpass;
mod init;
mod instance;
mod keeper;
mod kept;
mod linger;
mod namespace;
mod netlink;
mod orphan;
pub mod outside;
mod packet;
mod port;
mod probe;
mod protocol;
mod pty;
mod sandbox;
mod spec;
mod start;
pub(crate) mod sys;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub use instance::{Child, ExitStatus, Instance, ProgramSpec, SpawnError, Stdio};
pub use keeper::Privilege;
pub use namespace::{Namespace, NamespaceError};
pub use orphan::{
    Inheritance, InheritedInstance, InheritedPort, Into, Lingering, Orphan, end, look, take_over,
};
pub use packet::{
    FrameBatch, FrameMeta, Frames, MAX_BATCH, MAX_FRAME_BYTES, PacketError, PacketSocket, PacketStatistics,
    VirtioNetHdr,
};
pub(crate) use packet::{HANDED_UP, before_tag};
pub use port::{Mac, Port, PortError, PortRoute, PortSpec, Prefix};
pub use probe::{Feature, probe};
pub use pty::{pty_relay, window_size};
pub use spec::{FileSpec, InstanceSpec, LOGIN_HOME, LOGIN_ID, LOGIN_USER, SpecError, WindowSize};
pub use start::{HostError, StartOptions, start};
pub use sys::end_with_closed_pipes;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use port::PortMaker;
use protocol::{Channel, Failure, KeeperReply, KeeperRequest, KeptPort};
use turn::Turns;

/// How long the keeper may take over one request.
const KEEPER_PATIENCE: Duration = Duration::from_secs(30);

type Lease = Channel<KeeperReply, KeeperRequest>;

/// The host side of a region. Dropping it takes everything down.
#[derive(Debug)]
pub struct Host {
    privilege: Privilege,
    keeper: KeeperProcess,
    /// `None` once the keeper was told to end.
    lease: Mutex<Option<Arc<Lease>>>,
    turns: Turns,
    fabric: Namespace,
    doors: Namespace,
    ports: PortMaker,
    instances: Mutex<BTreeMap<String, Arc<Instance>>>,
    /// Names of instances that are being made.
    making: Mutex<BTreeSet<String>>,
    /// The socket by which the keeper is found while it lingers, if it may.
    lingers_at: OnceLock<PathBuf>,
    /// What the keeper kept of the region before.
    inheritance: Mutex<Option<Inheritance>>,
    /// Whether the keeper ends with this. One that was taken over does not before the region is ready.
    owned: AtomicBool,
}

/// The keeper's process.
#[derive(Debug)]
enum KeeperProcess {
    /// We have made it.
    Child(libc::pid_t),
    /// Another `up` has.
    Adopted(OwnedFd),
}

impl KeeperProcess {
    /// Waits until it has ended.
    fn wait(&self) -> io::Result<()> {
        match self {
            Self::Child(pid) => sys::reap(*pid).map(drop),
            Self::Adopted(process) => {
                let milliseconds = i32::try_from(KEEPER_PATIENCE.as_millis()).unwrap_or(i32::MAX);
                match sys::wait_readable([process.as_raw_fd()], milliseconds)? {
                    [true] => Ok(()),
                    [false] => Err(io::ErrorKind::TimedOut.into()),
                }
            }
        }
    }
}

/// Why the keeper could not be told what to do for whoever comes after us.
#[derive(Debug, thiserror::Error)]
pub enum LingerError {
    /// It has ended, and everything with it.
    #[error("the keeper has ended")]
    KeeperGone,
    /// It tried.
    #[error("the keeper cannot: {0}")]
    Failed(String),
    /// The socket by which it is to be found cannot be made.
    #[error("cannot listen at `{}`: {source}", .path.display())]
    Socket {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Why an instance could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The specification asks for what cannot be.
    #[error("the instance `{name}` cannot be made: {source}")]
    Spec {
        /// Which instance.
        name: String,
        /// What is wrong.
        source: SpecError,
    },
    /// The name is taken.
    #[error("there is an instance `{0}` already")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no instance `{0}`")]
    NotFound(String),
    /// A step of building it failed.
    #[error("the instance `{name}` cannot be made: {reason}")]
    Build {
        /// Which instance.
        name: String,
        /// Which step, and what the system says.
        reason: String,
    },
    /// The keeper is gone, and all instances with it.
    #[error("the keeper of the instances has ended")]
    KeeperGone,
}

/// What went wrong while everything was taken down. All of it was tried.
#[derive(Debug, thiserror::Error)]
#[error("taking the host side down: {}", .0.join("; "))]
pub struct ShutdownError(pub Vec<String>);

impl Host {
    /// With whose privileges everything was made.
    #[must_use]
    pub fn privilege(&self) -> Privilege {
        self.privilege
    }

    /// The network that holds the host ends of all ports.
    #[must_use]
    pub fn fabric(&self) -> &Namespace {
        &self.fabric
    }

    /// The network that holds Postern's own listeners.
    #[must_use]
    pub fn doors(&self) -> &Namespace {
        &self.doors
    }

    /// Makes a sandbox. No program runs in it yet, and no port leads to it.
    pub fn create_instance(&self, spec: &InstanceSpec) -> Result<Arc<Instance>, InstanceError> {
        let name = spec.name.clone();
        spec.check().map_err(|source| InstanceError::Spec { name: name.clone(), source })?;
        // Two of one name cannot be made at once; of different names many can.
        if !self.making().insert(name.clone()) {
            return Err(InstanceError::Exists(name));
        }
        let made = if self.instance(&name).is_some() {
            Err(InstanceError::Exists(name.clone()))
        } else {
            self.make_instance(spec)
        };
        if let Ok(instance) = &made {
            self.instances().insert(name.clone(), Arc::clone(instance));
        }
        self.making().remove(&name);
        made
    }

    fn make_instance(&self, spec: &InstanceSpec) -> Result<Arc<Instance>, InstanceError> {
        let name = spec.name.clone();
        let request = KeeperRequest::CreateInstance(Box::new(spec.clone()));
        let (reply, fds) = self.ask_keeper(&request, &[]).map_err(|failure| match failure {
            Refusal::Gone => InstanceError::KeeperGone,
            Refusal::Failed(failure) => {
                InstanceError::Build { name: name.clone(), reason: failure.to_string() }
            }
        })?;
        let built = match (reply, <[_; 2]>::try_from(fds)) {
            (KeeperReply::Instance { number }, Ok([control, network])) => {
                Instance::new(&name, number, control, Namespace::from_fd(network, &name))
            }
            (_, _) => return Err(InstanceError::KeeperGone),
        };
        built.map(Arc::new).map_err(|error| InstanceError::Build {
            name: name.clone(),
            reason: format!("starting a thread: {error}"),
        })
    }

    /// The instance of this name.
    #[must_use]
    pub fn instance(&self, name: &str) -> Option<Arc<Instance>> {
        self.instances().get(name).cloned()
    }

    /// Ends every program of an instance (`SIGTERM`, after the grace `SIGKILL`), and its sandbox.
    pub fn destroy_instance(&self, name: &str, grace: Duration) -> Result<(), InstanceError> {
        let instance =
            self.instances().remove(name).ok_or_else(|| InstanceError::NotFound(name.to_owned()))?;
        instance.shut_down(grace);
        self.ask_keeper(&KeeperRequest::DestroyInstance(instance.number()), &[])
            .map(drop)
            .map_err(|_| InstanceError::KeeperGone)
    }

    /// Runs a program in an instance.
    pub fn spawn(&self, instance: &str, program: &ProgramSpec, stdio: Stdio) -> Result<Child, SpawnError> {
        self.instance(instance)
            .ok_or_else(|| SpawnError::NoInstance(instance.to_owned()))?
            .spawn(program, stdio)
    }

    /// Runs a program for somebody else, with that process's standard descriptors or on a terminal.
    pub fn spawn_in(
        &self,
        instance: &str,
        argv: Vec<String>,
        stdio: [std::os::fd::OwnedFd; 3],
        terminal: Option<WindowSize>,
    ) -> Result<Child, SpawnError> {
        let stdio = match terminal {
            Some(size) => Stdio::Terminal(size),
            None => Stdio::Descriptors(stdio),
        };
        self.spawn(instance, &ProgramSpec::new(argv), stdio)
    }

    /// Makes a link between the fabric and another network namespace.
    pub fn create_port(&self, spec: &PortSpec) -> Result<Port, PortError> {
        self.ports.create(spec)
    }

    /// Deletes a link. One that went with its target is deleted already.
    pub fn delete_port(&self, port: &Port) -> Result<(), PortError> {
        let deleted = self.ports.delete(port);
        if self.lingers_at.get().is_some()
            && let Err(error) = self.tell_keeper(&KeeperRequest::DropPort { name: port.name.clone() }, &[])
        {
            tracing::warn!(%error, port = port.name, "the keeper remembers a port that is gone");
        }
        deleted
    }

    /// What was kept of the region before, once.
    pub fn inheritance(&self) -> Option<Inheritance> {
        self.inheritance.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The ports among what was kept of the region before, as long as nobody has taken that.
    pub fn inherited_ports(&self) -> Vec<InheritedPort> {
        let inheritance = self.inheritance.lock().unwrap_or_else(PoisonError::into_inner);
        inheritance.as_ref().map(|inheritance| inheritance.ports.clone()).unwrap_or_default()
    }

    /// Whether what is made is kept for whoever takes over.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.lingers_at.get().is_some()
    }

    /// From now on what is made is kept, so that the keeper can linger, and be found by this socket.
    pub fn keep_for_others(&self, socket: &Path) {
        let _ = self.lingers_at.set(socket.to_owned());
    }

    /// If this process ends without a word from now on, the keeper lives on for so long, with all instances and what is
    /// kept, and may be taken over. No time is none.
    pub fn linger(&self, seconds: u32) -> Result<(), LingerError> {
        let Some(path) = self.lingers_at.get() else { return Ok(()) };
        if seconds == 0 || !self.owned.load(Ordering::Relaxed) {
            // One that was taken over has its socket.
            self.tell_keeper(&KeeperRequest::Linger { seconds, socket: None }, &[])?;
        } else {
            let (socket, directory) =
                bind_to(path).map_err(|source| LingerError::Socket { path: path.clone(), source })?;
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let request = KeeperRequest::Linger { seconds, socket: name };
            self.tell_keeper(&request, &[socket.as_fd(), directory.as_fd()])?;
        }
        self.owned.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A directory in which objects of the kernel's can be pinned: they stay as long as the keeper does. With `anew`, an
    /// empty one, and what was pinned before is gone.
    pub fn pins(&self, anew: bool) -> Result<OwnedFd, LingerError> {
        let fds = self.tell_keeper(&KeeperRequest::Pins { anew }, &[])?;
        fds.into_iter().next().ok_or(LingerError::KeeperGone)
    }

    /// Keeps a port for whoever takes over, with what it is to its owner.
    pub fn keep_port(&self, label: &str, port: &Port, into: &Into) -> Result<(), LingerError> {
        if !self.keeps() {
            return Ok(());
        }
        let (instance, network) = match into {
            Into::Instance(name) => (Some(name.clone()), None),
            Into::Guest(network) => (None, Some(network.as_fd())),
        };
        let kept = KeptPort { label: label.to_owned(), port: port.clone(), instance };
        let network: Vec<BorrowedFd<'_>> = network.into_iter().collect();
        self.tell_keeper(&KeeperRequest::KeepPort(kept), &network).map(drop)
    }

    /// Keeps the reading end of what an instance prints, so that its programs can go on printing without us.
    pub fn keep_console(&self, instance: &Instance, reader: BorrowedFd<'_>) -> Result<(), LingerError> {
        if !self.keeps() {
            return Ok(());
        }
        self.tell_keeper(&KeeperRequest::KeepConsole(instance.number()), &[reader]).map(drop)
    }

    /// An instance is as it should be: whoever takes over need not make it anew.
    pub fn finished(&self, instance: &Instance) -> Result<(), LingerError> {
        if !self.keeps() {
            return Ok(());
        }
        self.tell_keeper(&KeeperRequest::Finished(instance.number()), &[]).map(drop)
    }

    fn tell_keeper(
        &self,
        request: &KeeperRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Vec<OwnedFd>, LingerError> {
        match self.ask_keeper(request, fds) {
            Ok((_, fds)) => Ok(fds),
            Err(Refusal::Gone) => Err(LingerError::KeeperGone),
            Err(Refusal::Failed(failure)) => Err(LingerError::Failed(failure.to_string())),
        }
    }

    /// Opens the packet socket of a port's host end.
    pub fn open_port(&self, port: &Port) -> Result<PacketSocket, PacketError> {
        self.open_port_for(port, Frames::All)
    }

    /// The same, for these frames only.
    pub fn open_port_for(&self, port: &Port, frames: Frames) -> Result<PacketSocket, PacketError> {
        PacketSocket::open_for(&self.fabric, &port.name, frames)
    }

    /// Makes every address of a network the doors' own: a listener there on the wildcard address serves them all.
    pub fn serve_prefix(&self, prefix: Prefix) -> Result<(), PortError> {
        port::own_prefix(&self.doors, prefix)
    }

    /// Takes everything down in order: programs, sandboxes, keeper. The namespaces end with the last descriptor.
    pub fn shutdown(&self, grace: Duration) -> Result<(), ShutdownError> {
        let instances = std::mem::take(&mut *self.instances());
        std::thread::scope(|scope| {
            for instance in instances.values() {
                scope.spawn(|| instance.shut_down(grace));
            }
        });
        let mut errors = Vec::new();
        match self.ask_keeper(&KeeperRequest::Shutdown, &[]) {
            Ok(_) => {}
            Err(Refusal::Gone) if self.lease().is_none() => return Ok(()),
            Err(Refusal::Gone) => errors.push("the keeper had ended already".to_owned()),
            Err(Refusal::Failed(failure)) => errors.push(failure.to_string()),
        }
        // With the lease gone the keeper ends, if it has not.
        *self.lease() = None;
        match self.keeper.wait() {
            Ok(()) => {}
            Err(error) => errors.push(format!("waiting for the keeper: {error}")),
        }
        if errors.is_empty() { Ok(()) } else { Err(ShutdownError(errors)) }
    }

    fn ask_keeper(
        &self,
        request: &KeeperRequest,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(KeeperReply, Vec<OwnedFd>), Refusal> {
        let (lease, turn) = {
            let lease = self.lease();
            let lease = lease.as_ref().ok_or(Refusal::Gone)?;
            lease.send(request, fds).map_err(|_| Refusal::Gone)?;
            (Arc::clone(lease), self.turns.take())
        };
        turn.wait();
        hear(&lease)
    }

    fn lease(&self) -> MutexGuard<'_, Option<Arc<Lease>>> {
        // A request and the place of its answer are one critical section without a panic in it.
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instances(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Instance>>> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn making(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.owned.load(Ordering::Relaxed) {
            // It lingers on until its time is over.
            *self.lease() = None;
            return;
        }
        if self.lease().is_some()
            && let Err(error) = self.shutdown(Duration::ZERO)
        {
            tracing::warn!(%error, "the host side was not taken down cleanly");
        }
    }
}

/// Why the keeper did not do what it was asked.
enum Refusal {
    /// It is not there any more.
    Gone,
    /// It tried.
    Failed(Failure),
}

/// A socket bound to a path for its owner alone, and the directory that it is in.
fn bind_to(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        // Whoever has the directory has it alone, so what lies here is left over.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let directory = std::fs::File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok((socket, directory.into()))
}

fn ask(
    lease: &Lease,
    request: &KeeperRequest,
    fds: &[BorrowedFd<'_>],
) -> Result<(KeeperReply, Vec<OwnedFd>), Refusal> {
    lease.send(request, fds).map_err(|_| Refusal::Gone)?;
    hear(lease)
}

fn hear(lease: &Lease) -> Result<(KeeperReply, Vec<OwnedFd>), Refusal> {
    match lease.receive() {
        Ok(Some((KeeperReply::Failed(failure), _))) => Err(Refusal::Failed(failure)),
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(_) => Err(Refusal::Gone),
    }
}
