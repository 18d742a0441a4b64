//! The beginning: from a process that has just been started to one with a keeper, a fabric and doors.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::keeper::{self, KeeperOptions, Privilege};
use super::port::PortMaker;
use super::protocol::{KeeperReply, KeeperRequest, NetworkKind, packet_pair};
use super::sys::{self, Fork};
use super::turn::Turns;
use super::{Host, KEEPER_PATIENCE, KeeperProcess, Lease, Namespace, PortError, Refusal, ask};

/// How the host side is started.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// A directory of the region's own, made if it is not there. It stays empty: what is made in it is in memory and
    /// seen by the keeper only.
    pub runtime_dir: PathBuf,
    /// Directories that no instance may see, the state directory first of all. The caller's home directory is always
    /// among them, as are `/root`, `/home`, `/tmp`, `/run` and `/var`.
    pub hidden: Vec<PathBuf>,
}

/// Why there are no instances and no packets on this machine. The program can do the rest without.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// [`start`] was not called first.
    #[error("the host side cannot be started now: {0}")]
    TooLate(io::Error),
    /// The directory cannot be used.
    #[error("cannot use the runtime directory `{}`: {source}", .path.display())]
    RuntimeDir {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The kernel gives an ordinary user no user namespace, or one without rights in it.
    #[error("no packets can move: {step} is not permitted to this user: {source}; {remedy}")]
    UserNamespace {
        /// What was tried.
        step: &'static str,
        /// What the system says.
        source: io::Error,
        /// What can be done about it.
        remedy: &'static str,
    },
    /// Processes or sockets could not be had.
    #[error("cannot start the keeper: {0}")]
    Keeper(io::Error),
    /// The keeper could not set things up.
    #[error("no packets can move: {0}")]
    Setup(String),
    /// The keeper ended before it answered.
    #[error("the keeper ended while it was starting")]
    KeeperGone,
    /// The fabric cannot be used.
    #[error("cannot use the fabric: {0}")]
    Fabric(#[from] PortError),
}

/// Starts the host side. To be called from the main thread of a process that has no other thread yet, and whose main
/// thread lives as long as the process: the keeper ends with it.
///
/// Without root this process is afterwards root of a user namespace of its own, with the same files and the same
/// network. On error nothing has changed, unless it is [`HostError::Setup`] or later, after which the process may be
/// in that namespace but has no keeper.
pub fn start(options: StartOptions) -> Result<Host, HostError> {
    sys::require_single_thread().map_err(HostError::TooLate)?;
    let runtime_dir = usable_directory(&options.runtime_dir)?;
    let hidden = hidden_directories(&options.hidden);
    // Every instance and every port costs descriptors.
    sys::limit(libc::RLIMIT_NOFILE as i32, u64::MAX, u64::MAX).map_err(HostError::Keeper)?;
    let privilege = choose_privilege();
    if privilege == Privilege::Unprivileged {
        try_namespaces()?;
        enter_user_namespace().map_err(|(step, source)| refuse(step, source))?;
    }
    let (lease, keeper_end) = packet_pair().map_err(HostError::Keeper)?;
    let namespaces =
        libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    let keeper = match sys::fork_into(namespaces).map_err(HostError::Keeper)? {
        Fork::Child => keeper::run(KeeperOptions { privilege, runtime_dir, hidden }, keeper_end),
        Fork::Parent(pid) => pid,
    };
    drop(keeper_end);
    let lease = Lease::new(lease);
    match assemble(&lease) {
        Ok((fabric, doors, ports)) => Ok(Host {
            privilege,
            keeper: KeeperProcess::Child(keeper),
            lease: Mutex::new(Some(Arc::new(lease))),
            turns: Turns::default(),
            fabric,
            doors,
            ports,
            instances: Mutex::default(),
            making: Mutex::default(),
            lingers_at: OnceLock::new(),
            inheritance: Mutex::default(),
            owned: AtomicBool::new(true),
        }),
        Err(error) => {
            drop(lease);
            let _ = sys::kill(keeper, libc::SIGKILL);
            let _ = sys::reap(keeper);
            Err(error)
        }
    }
}

fn assemble(lease: &Lease) -> Result<(Namespace, Namespace, PortMaker), HostError> {
    lease.set_patience(KEEPER_PATIENCE).map_err(HostError::Keeper)?;
    match lease.receive() {
        Ok(Some((KeeperReply::Failed(failure), _))) => return Err(HostError::Setup(failure.to_string())),
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => return Err(HostError::KeeperGone),
    }
    let fabric = network(lease, NetworkKind::Fabric, "fabric")?;
    let doors = network(lease, NetworkKind::Doors, "doors")?;
    let ports = PortMaker::new(fabric.clone())?;
    Ok((fabric, doors, ports))
}

pub(super) fn network(lease: &Lease, kind: NetworkKind, name: &str) -> Result<Namespace, HostError> {
    let (_, fds) = ask(lease, &KeeperRequest::CreateNetwork(kind), &[]).map_err(|refusal| match refusal {
        Refusal::Gone => HostError::KeeperGone,
        Refusal::Failed(failure) => HostError::Setup(failure.to_string()),
    })?;
    let fd: Option<OwnedFd> = fds.into_iter().next();
    fd.map(|fd| Namespace::from_fd(fd, name)).ok_or(HostError::KeeperGone)
}

fn usable_directory(path: &Path) -> Result<PathBuf, HostError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::canonicalize(path))
        .map_err(|source| HostError::RuntimeDir { path: path.to_owned(), source })
}

/// Real paths of what is hidden, the caller's home among them; what does not exist needs no hiding.
fn hidden_directories(asked: &[PathBuf]) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut hidden: Vec<PathBuf> =
        asked.iter().cloned().chain(home).filter_map(|path| fs::canonicalize(path).ok()).collect();
    hidden.sort();
    hidden.dedup();
    hidden
}

/// Real root is one that may administer the machine and to whom all user numbers belong: root of a container with a
/// part of them is treated as an ordinary user.
fn choose_privilege() -> Privilege {
    let administers = nix::unistd::geteuid().is_root()
        && sys::has_capabilities(&[sys::CAP_NET_ADMIN, sys::CAP_SETGID, sys::CAP_SETUID, sys::CAP_SYS_ADMIN]);
    let all_users = fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    if administers && all_users { Privilege::Root } else { Privilege::Unprivileged }
}

type Step = (&'static str, io::Error);

/// Makes the calling process root of a new user namespace, in the mounts and the network it was in.
fn enter_user_namespace() -> Result<(), Step> {
    let uid = nix::unistd::geteuid();
    let gid = nix::unistd::getegid();
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| (NEEDS[0], errno.into()))?;
    let step = NEEDS[1];
    fs::write("/proc/self/setgroups", "deny").map_err(|error| (step, error))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(|error| (step, error))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(|error| (step, error))
}

/// What an ordinary user needs, in the order in which it is tried.
const NEEDS: [&str; 4] = [
    "a user namespace",
    "mapping users in a user namespace",
    "mount, network and PID namespaces",
    "mounting proc and sysfs in namespaces",
];

/// Tries in a child what cannot be taken back: a process whose user namespace gives it no rights would be worse off
/// than before.
pub(super) fn try_namespaces() -> Result<(), HostError> {
    let (reader, writer) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| HostError::Keeper(errno.into()))?;
    let failed = sys::in_child(|| {
        let others = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWPID;
        let outcome = enter_user_namespace()
            .and_then(|()| unshare(others).map_err(|errno| (NEEDS[2], errno.into())))
            .and_then(|()| mount_kernel_file_systems().map_err(|error| (NEEDS[3], error)));
        match outcome {
            Ok(()) => 0,
            Err((step, error)) => {
                let index = NEEDS.iter().position(|known| *known == step).unwrap_or(0);
                let _ = nix::unistd::write(&writer, &[u8::try_from(index).unwrap_or(0)]);
                error.raw_os_error().and_then(|errno| u8::try_from(errno).ok()).unwrap_or(u8::MAX)
            }
        }
    })
    .map_err(HostError::Keeper)?;
    drop(writer);
    if failed == 0 {
        return Ok(());
    }
    let mut index = [0_u8];
    let _ = nix::unistd::read(&reader, &mut index);
    let step = NEEDS.get(usize::from(index[0])).copied().unwrap_or(NEEDS[0]);
    Err(refuse(step, io::Error::from_raw_os_error(i32::from(failed))))
}

/// Mounts proc and sysfs for the namespaces that the caller has just made, in a child: only a child is in the new PID
/// namespace. The kernel refuses where the mounts that are there hide parts of what these would show.
pub(super) fn mount_kernel_file_systems() -> io::Result<()> {
    let attempt = || -> nix::Result<()> {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>)?;
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)
    };
    let failed = sys::in_child(|| match attempt() {
        Ok(()) => 0,
        Err(errno) => u8::try_from(errno as i32).unwrap_or(u8::MAX),
    })?;
    if failed == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(i32::from(failed))) }
}

fn refuse(step: &'static str, source: io::Error) -> HostError {
    let says = |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    let remedy = if step == NEEDS[3] {
        "a container hides parts of /proc or /sys: unmask them, or run on the host itself"
    } else if says("/proc/sys/user/max_user_namespaces", "0") {
        "raise the sysctl `user.max_user_namespaces`, or run as root"
    } else if says("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "set the sysctl `kernel.unprivileged_userns_clone` to 1, or run as root"
    } else if says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "set the sysctl `kernel.apparmor_restrict_unprivileged_userns` to 0, or run as root"
    } else {
        "a container or a security policy forbids it: allow user namespaces, or run as root on the host"
    };
    HostError::UserNamespace { step, source, remedy }
}
