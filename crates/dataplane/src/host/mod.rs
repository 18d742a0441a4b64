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
//! ends, in whatever way, the kernel takes all of it down.

mod etc;
mod ethtool;
pub mod fdpass;
mod init;
mod instance;
mod keeper;
mod namespace;
mod netlink;
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use instance::{Child, ExitStatus, Instance, ProgramSpec, SpawnError, Stdio};
pub use keeper::Privilege;
pub use namespace::{Namespace, NamespaceError};
pub use packet::{
    FrameBatch, FrameMeta, Frames, MAX_BATCH, MAX_FRAME_BYTES, PacketError, PacketSocket, PacketStatistics,
    VirtioNetHdr,
};
pub use port::{Mac, Port, PortError, PortRoute, PortSpec, Prefix};
pub use probe::{Feature, probe};
pub use pty::{pty_relay, window_size};
pub use spec::{FileSpec, InstanceSpec, LOGIN_HOME, LOGIN_ID, LOGIN_USER, SpecError, WindowSize};
pub use start::{HostError, StartOptions, start};
pub use sys::end_with_closed_pipes;

use port::PortMaker;
use protocol::{Channel, Failure, KeeperReply, KeeperRequest};
use turn::Turns;

/// How long the keeper may take over one request.
const KEEPER_PATIENCE: Duration = Duration::from_secs(30);

type Lease = Channel<KeeperReply, KeeperRequest>;

/// The host side of a region. Dropping it takes everything down.
#[derive(Debug)]
pub struct Host {
    privilege: Privilege,
    keeper: libc::pid_t,
    /// `None` once the keeper was told to end.
    lease: Mutex<Option<Arc<Lease>>>,
    turns: Turns,
    fabric: Namespace,
    doors: Namespace,
    ports: PortMaker,
    instances: Mutex<BTreeMap<String, Arc<Instance>>>,
    /// Names of instances that are being made.
    making: Mutex<BTreeSet<String>>,
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
        let (reply, fds) = self.ask_keeper(&request).map_err(|failure| match failure {
            Refusal::Gone => InstanceError::KeeperGone,
            Refusal::Failed(failure) => {
                InstanceError::Build { name: name.clone(), reason: failure.to_string() }
            }
        })?;
        let built = match (reply, <[_; 2]>::try_from(fds)) {
            (KeeperReply::Instance { number }, Ok([control, network])) => {
                Instance::new(&name, number, control, Namespace::from_fd(network, &name))
            }
            (KeeperReply::Instance { .. } | KeeperReply::Network | KeeperReply::Done, _)
            | (KeeperReply::Failed(_), _) => return Err(InstanceError::KeeperGone),
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
        self.ask_keeper(&KeeperRequest::DestroyInstance(instance.number()))
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
        self.ports.delete(port)
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
        match self.ask_keeper(&KeeperRequest::Shutdown) {
            Ok(_) => {}
            Err(Refusal::Gone) if self.lease().is_none() => return Ok(()),
            Err(Refusal::Gone) => errors.push("the keeper had ended already".to_owned()),
            Err(Refusal::Failed(failure)) => errors.push(failure.to_string()),
        }
        // With the lease gone the keeper ends, if it has not.
        *self.lease() = None;
        match sys::reap(self.keeper) {
            Ok(_) => {}
            Err(error) => errors.push(format!("waiting for the keeper: {error}")),
        }
        if errors.is_empty() { Ok(()) } else { Err(ShutdownError(errors)) }
    }

    fn ask_keeper(
        &self,
        request: &KeeperRequest,
    ) -> Result<(KeeperReply, Vec<std::os::fd::OwnedFd>), Refusal> {
        let (lease, turn) = {
            let lease = self.lease();
            let lease = lease.as_ref().ok_or(Refusal::Gone)?;
            lease.send(request, &[]).map_err(|_| Refusal::Gone)?;
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

fn ask(lease: &Lease, request: &KeeperRequest) -> Result<(KeeperReply, Vec<std::os::fd::OwnedFd>), Refusal> {
    lease.send(request, &[]).map_err(|_| Refusal::Gone)?;
    hear(lease)
}

fn hear(lease: &Lease) -> Result<(KeeperReply, Vec<std::os::fd::OwnedFd>), Refusal> {
    match lease.receive() {
        Ok(Some((KeeperReply::Failed(failure), _))) => Err(Refusal::Failed(failure)),
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(_) => Err(Refusal::Gone),
    }
}
