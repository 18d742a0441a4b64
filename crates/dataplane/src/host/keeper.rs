//! The keeper: the one process that makes namespaces and sandboxes, and whose death ends them all.
//!
//! It is process 1 of a PID namespace of its own, so that the kernel kills everything below it when it ends, in
//! whatever way. It holds a lease: one end of a packet pair whose other end only `up` has. When that end closes, or
//! the parent's main thread ends, the keeper ends. It has one thread, an empty network namespace and no descriptor
//! of `up`'s but the lease and standard error.
//!
//! Where `up` has told it to linger, it does not end with an `up` that ends without a word, but waits a stated time for
//! another one, which finds it by a socket and takes it over with everything that it keeps ([`super::kept`]).
//!
//! INVARIANT: nothing the keeper makes is reachable from the host's file system or from a process outside, except
//! through descriptors that `up` and the keeper hold; so nothing is left when both are gone.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};

use super::etc;
use super::init;
use super::kept::Kept;
use super::linger::Linger;
use super::protocol::{
    Answer, AtStep, BuildMessage, Channel, Failure, KeeperReply, KeeperRequest, NetworkKind, VERSION, Wish,
    packet_pair,
};
use super::sandbox::{self, Owners};
use super::spec::{InstanceSpec, LOGIN_ID};
use super::sys::{self, Fork};

/// The first host user number that instances are mapped to under root. The range up to 2147483647 is left unused by
/// the conventions of systemd (`UIDS-GIDS.md`) and of `useradd`.
const FIRST_HOST_ID: u32 = 0x7000_0000;
/// How many numbers each instance has.
const IDS_PER_INSTANCE: u32 = 65_536;
/// How many instances there may be at once.
pub(super) const MAX_INSTANCES: u32 = 4_096;
/// Sandboxes that are built at the same time. They wait for other things than each other, most of the time.
const BUILT_AT_ONCE: usize = 8;
/// How long a sandbox may take to build.
const BUILD_PATIENCE: Duration = Duration::from_secs(20);

/// Under which privileges everything is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Real root: every instance has a range of host user numbers of its own.
    Root,
    /// An ordinary user in a user namespace: programs in instances run as that user.
    Unprivileged,
}

/// What the keeper is started with.
pub(super) struct KeeperOptions {
    pub privilege: Privilege,
    pub runtime_dir: PathBuf,
    pub hidden: Vec<PathBuf>,
}

type Lease = Channel<KeeperRequest, KeeperReply>;

struct Keeper {
    options: KeeperOptions,
    staging: PathBuf,
    /// What all instances share of their `/etc`.
    shared: PathBuf,
    /// The keeper's own, empty network.
    own_network: OwnedFd,
    /// Instance number to the process id of its init.
    instances: BTreeMap<u32, libc::pid_t>,
    /// None while it lingers.
    lease: Option<Lease>,
    linger: Linger,
    kept: Kept,
    /// What was heard and is still to be answered.
    put_back: Option<Heard>,
}

type Heard = io::Result<Option<(KeeperRequest, Vec<OwnedFd>)>>;

/// The whole life of the keeper process.
pub(super) fn run(options: KeeperOptions, lease: OwnedFd) -> ! {
    let lease = Lease::new(match settle(lease) {
        Ok(lease) => lease,
        Err(failure) => abandon(&failure),
    });
    let status = match Keeper::prepare(options, lease) {
        Ok(mut keeper) => keeper.serve(),
        Err(()) => 1,
    };
    sys::exit_now(status)
}

/// There is nobody to tell: standard error is all that is left.
fn abandon(failure: &Failure) -> ! {
    say(&failure.to_string());
    sys::exit_now(1)
}

/// Tells whoever reads standard error, if there is still anybody.
fn say(what: &str) {
    let _ = writeln!(io::stderr(), "postern keeper: {what}");
}

/// Cuts the process off from what it was forked from.
fn settle(lease: OwnedFd) -> Result<OwnedFd, Failure> {
    sys::die_with_parent().at(|| "tying the keeper to its parent".to_owned())?;
    // Away from the terminal's signals: an interrupt is for `up`, which then takes things down in order.
    nix::unistd::setsid().at(|| "starting a session".to_owned())?;
    nix::unistd::chdir("/").at(|| "leaving the working directory".to_owned())?;
    let null = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .at(|| "opening `/dev/null`".to_owned())?;
    let step = || "closing what the keeper must not hold".to_owned();
    sys::install_fd(null.as_raw_fd(), 0).at(step)?;
    sys::install_fd(null.as_raw_fd(), 1).at(step)?;
    drop(null);
    // The lease goes to number 3, and everything above is closed: locks, listeners, whatever `up` had open.
    let moved = sys::copy_fd_above(lease.as_raw_fd(), 4).at(step)?;
    drop(lease);
    sys::install_fd(moved.as_raw_fd(), 3).at(step)?;
    drop(moved);
    let lease = sys::adopt_fd(3).at(step)?;
    sys::close_from(4).at(step)?;
    sys::wipe_process_title("postern-keeper").at(|| "renaming the process".to_owned())?;
    sys::set_dumpable(false).at(|| "closing the process to others".to_owned())?;
    Ok(lease)
}

impl Keeper {
    /// Sets the stage; tells `up` what went wrong where it does.
    fn prepare(options: KeeperOptions, lease: Lease) -> Result<Self, ()> {
        let made = sandbox::make_mounts_private()
            .and_then(|()| sandbox::mount_proc())
            .and_then(|()| sandbox::mount_staging(&options.runtime_dir))
            .and_then(|staging| Ok((staging, etc::share(&options.runtime_dir)?, own_network()?)));
        match made {
            Ok((staging, shared, own_network)) => {
                lease.send(&KeeperReply::Done, &[]).map_err(drop)?;
                Ok(Self {
                    options,
                    staging,
                    shared,
                    own_network,
                    instances: BTreeMap::new(),
                    lease: Some(lease),
                    linger: Linger::default(),
                    kept: Kept::default(),
                    put_back: None,
                })
            }
            Err(failure) => {
                let _ = lease.send(&KeeperReply::Failed(failure), &[]);
                Err(())
            }
        }
    }

    /// Serves until the lease ends, and as long after that as it lingers. Returns the exit status.
    fn serve(&mut self) -> i32 {
        let Ok(signals) = sys::signal_descriptor(&[libc::SIGCHLD]) else {
            return 1;
        };
        loop {
            let (lease, consoles) = match &self.lease {
                Some(lease) => (lease.as_raw_fd(), Vec::new()),
                // Nobody else reads what instances print.
                None => (-1, self.kept.consoles()),
            };
            let mut fds = vec![lease, signals.as_raw_fd(), self.linger.socket()];
            fds.extend(consoles.iter().map(|(_, reader)| *reader));
            let patience = match (&self.put_back, &self.lease) {
                (Some(_), _) => 0,
                (None, Some(_)) => -1,
                (None, None) => self.linger.patience(),
            };
            let Ok(ready) = sys::wait_for_any(&fds, patience) else {
                return 1;
            };
            let [asked, child_ended, called, printed @ ..] = ready.as_slice() else { return 1 };
            if *child_ended {
                sys::drain_signals(signals.as_fd());
                self.reap_ended();
            }
            let printed = consoles.iter().zip(printed).filter(|(_, printed)| **printed);
            printed.for_each(|((number, _), _)| self.kept.read_console(*number));
            if (*asked || self.put_back.is_some())
                && let ControlFlow::Break(status) = self.hear()
            {
                return status;
            }
            if *called && self.is_called().is_break() {
                return 0;
            }
            if self.lease.is_none() && self.linger.is_over() {
                say("nobody has taken over in time: everything ends");
                return 0;
            }
        }
    }

    /// Does what `up` asks for; or it is gone.
    fn hear(&mut self) -> ControlFlow<i32> {
        let Some(lease) = &self.lease else { return ControlFlow::Continue(()) };
        match self.put_back.take().unwrap_or_else(|| lease.receive()) {
            Ok(Some((KeeperRequest::Shutdown, _))) => {
                self.kill_all();
                self.linger = Linger::default();
                self.reply(Ok((KeeperReply::Done, Vec::new())));
                ControlFlow::Break(0)
            }
            Ok(Some((KeeperRequest::CreateInstance(spec), _))) => {
                self.create_instances(*spec);
                ControlFlow::Continue(())
            }
            Ok(Some((request, fds))) => {
                self.answer(request, fds);
                ControlFlow::Continue(())
            }
            Ok(None) => {
                self.lease = None;
                let Some(left) = self.linger.begin() else { return ControlFlow::Break(0) };
                say(&format!(
                    "the region has ended without a word; {} instances go on for {} s unless another one takes over",
                    self.kept.instances(),
                    left.as_secs_f32().ceil()
                ));
                ControlFlow::Continue(())
            }
            Err(_) => ControlFlow::Break(1),
        }
    }

    /// Speaks to somebody who came by the socket. Breaks where that means the end.
    fn is_called(&mut self) -> ControlFlow<()> {
        // Whoever says nothing, or may not, is not answered.
        let Ok((caller, call)) = self.linger.accept() else { return ControlFlow::Continue(()) };
        if self.lease.is_some() {
            let _ = caller.send(&Answer::Busy, &[]);
            return ControlFlow::Continue(());
        }
        let milliseconds = u64::try_from(self.linger.left().as_millis()).unwrap_or(u64::MAX);
        let lingers = Answer::Lingers { version: VERSION, milliseconds, instances: self.kept.instances() };
        match call.wish {
            Wish::TakeOver if call.version == VERSION => {
                // Where this fails the caller is gone, and somebody else may come.
                let taken =
                    caller.set_patience(Duration::ZERO).and_then(|()| caller.send(&Answer::Taken, &[]));
                if taken.is_ok() {
                    self.kept.takeovers += 1;
                    self.lease = Some(Channel::new(caller.into_socket()));
                }
            }
            Wish::Look | Wish::TakeOver => {
                let _ = caller.send(&lingers, &[]);
            }
            Wish::End => {
                say("it was told to end: everything ends");
                self.kill_all();
                self.linger = Linger::default();
                let _ = caller.send(&Answer::Ends, &[]);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Makes a sandbox, and beside it those that were asked for meanwhile. The answers keep the order of the requests.
    fn create_instances(&mut self, first: InstanceSpec) {
        let mut begun = vec![self.begin_instance(&first)];
        let asked = |lease: &&Lease| matches!(sys::wait_readable([lease.as_raw_fd()], 0), Ok([true]));
        while begun.len() < BUILT_AT_ONCE
            && let Some(lease) = self.lease.as_ref().filter(asked)
        {
            match lease.receive() {
                Ok(Some((KeeperRequest::CreateInstance(spec), _))) => begun.push(self.begin_instance(&spec)),
                other => {
                    self.put_back = Some(other);
                    break;
                }
            }
        }
        for building in begun {
            let outcome = building.and_then(|building| self.finish_instance(building));
            self.reply(outcome);
        }
    }

    fn answer(&mut self, request: KeeperRequest, fds: Vec<OwnedFd>) {
        let done = Ok((KeeperReply::Done, Vec::new()));
        let outcome = match request {
            KeeperRequest::CreateNetwork(kind) => {
                self.create_network(kind).map(|fd| (KeeperReply::Network, vec![fd]))
            }
            KeeperRequest::CreateInstance(spec) => {
                self.begin_instance(&spec).and_then(|building| self.finish_instance(building))
            }
            KeeperRequest::DestroyInstance(number) => {
                self.destroy_instance(number);
                done
            }
            KeeperRequest::Linger { seconds, socket } => {
                let lasting = Duration::from_secs(seconds.into());
                self.linger.set(lasting, socket, fds).and(done)
            }
            other => self.kept.answer(other, fds).unwrap_or(done),
        };
        self.reply(outcome);
    }

    fn reply(&self, outcome: Result<(KeeperReply, Vec<OwnedFd>), Failure>) {
        let (reply, fds) = outcome.unwrap_or_else(|failure| (KeeperReply::Failed(failure), vec![]));
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        // Where this fails the lease has ended, which the next turn of the loop sees.
        if let Some(lease) = &self.lease {
            let _ = lease.send(&reply, &fds);
        }
    }

    fn create_network(&mut self, kind: NetworkKind) -> Result<OwnedFd, Failure> {
        let fd = own_network()?;
        let configured = configure_network(kind);
        setns(&self.own_network, CloneFlags::CLONE_NEWNET)
            .at(|| "going back to the keeper's network".to_owned())?;
        configured?;
        match kind {
            NetworkKind::Fabric => self.kept.keep_fabric(&fd)?,
            // What listens there ends with `up`, and so do all connections to it: the next one makes its own.
            NetworkKind::Doors => {}
        }
        Ok(fd)
    }

    /// Starts the process that builds a sandbox around itself.
    fn begin_instance(&mut self, spec: &InstanceSpec) -> Result<Building, Failure> {
        let number = (0..MAX_INSTANCES)
            .find(|number| !self.instances.contains_key(number))
            .ok_or_else(|| io::Error::other(format!("there are `{MAX_INSTANCES}` instances already")))
            .at(|| format!("making the instance `{}`", spec.name))?;
        let ids = self.ids_of(number);
        let (to_builder, for_builder) = packet_pair().at(|| "making a channel".to_owned())?;
        let (for_up, control) = packet_pair().at(|| "making a channel".to_owned())?;
        let namespaces = libc::CLONE_NEWPID
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWCGROUP;
        match sys::fork_into(namespaces).at(|| "making namespaces".to_owned())? {
            Fork::Child => init::run(init::Birth {
                spec,
                staging: &self.staging,
                shared: &self.shared,
                hidden: &self.options.hidden,
                ids,
                keeper: Channel::new(for_builder),
                control,
            }),
            Fork::Parent(pid) => {
                self.instances.insert(number, pid);
                let name = spec.name.clone();
                Ok(Building { number, pid, ids, builder: Channel::new(to_builder), for_up, name })
            }
        }
    }

    /// Sees a sandbox through until it stands.
    fn finish_instance(&mut self, building: Building) -> Result<(KeeperReply, Vec<OwnedFd>), Failure> {
        let Building { number, name, pid, ids, builder, for_up } = building;
        match watch_build(&builder, pid, ids) {
            Ok(network) => {
                self.kept.keep_instance(number, &name, &for_up, &network)?;
                Ok((KeeperReply::Instance { number }, vec![for_up, network]))
            }
            Err(failure) => {
                self.destroy_instance(number);
                Err(failure)
            }
        }
    }

    fn ids_of(&self, number: u32) -> Ids {
        match self.options.privilege {
            Privilege::Root => Ids::Range(FIRST_HOST_ID + number * IDS_PER_INSTANCE),
            Privilege::Unprivileged => Ids::Caller,
        }
    }

    fn destroy_instance(&mut self, number: u32) {
        self.kept.forget_instance(number);
        if let Some(pid) = self.instances.remove(&number) {
            // Not reaped yet, so the number is still this process's; when it has ended so has its PID namespace.
            let _ = sys::kill(pid, libc::SIGKILL);
            let _ = sys::reap(pid);
        }
    }

    fn kill_all(&mut self) {
        for pid in self.instances.values() {
            let _ = sys::kill(*pid, libc::SIGKILL);
        }
        for pid in std::mem::take(&mut self.instances).into_values() {
            let _ = sys::reap(pid);
        }
    }

    /// An init that ended by itself: `up` sees its channel close.
    fn reap_ended(&mut self) {
        while let Some((ended, _)) = sys::reap_any() {
            let numbers = self.instances.iter().filter(|(_, pid)| **pid == ended).map(|(number, _)| *number);
            for number in numbers.collect::<Vec<_>>() {
                self.instances.remove(&number);
                self.kept.forget_instance(number);
            }
        }
    }
}

/// Which numbers the users of an instance have outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ids {
    /// The instance's 0 to 65535 are these of the host, from here on.
    Range(u32),
    /// The instance's login user is the caller, and there is nobody else.
    Caller,
}

impl Ids {
    /// What goes into `uid_map` and `gid_map`: inside, outside, count.
    fn map(self) -> String {
        match self {
            Self::Range(first) => format!("0 {first} {IDS_PER_INSTANCE}"),
            // In the user namespace that the keeper is in, the caller is number 0.
            Self::Caller => format!("{LOGIN_ID} 0 1"),
        }
    }

    /// The same users as the builder sees them before it enters the instance's user namespace.
    pub(super) fn owners(self) -> Owners {
        match self {
            Self::Range(first) => Owners { root: first, login: first + LOGIN_ID },
            Self::Caller => Owners { root: 0, login: 0 },
        }
    }
}

/// A sandbox that is being built.
struct Building {
    number: u32,
    name: String,
    pid: libc::pid_t,
    ids: Ids,
    builder: Channel<BuildMessage, BuildMessage>,
    /// The channel to its init process.
    for_up: OwnedFd,
}

/// Follows a sandbox being built. Returns its network namespace.
fn watch_build(
    builder: &Channel<BuildMessage, BuildMessage>,
    pid: libc::pid_t,
    ids: Ids,
) -> Result<OwnedFd, Failure> {
    let step = || "building the sandbox".to_owned();
    builder.set_patience(BUILD_PATIENCE).at(step)?;
    loop {
        match builder.receive().at(step)? {
            Some((BuildMessage::MapMe, _)) => {
                let answer = match write_maps(pid, ids) {
                    Ok(()) => BuildMessage::Mapped,
                    Err(failure) => BuildMessage::Failed(failure),
                };
                builder.send(&answer, &[]).at(step)?;
            }
            Some((BuildMessage::Ready, mut fds)) => {
                return fds
                    .pop()
                    .ok_or_else(|| io::Error::other("the network namespace is missing"))
                    .at(step);
            }
            Some((BuildMessage::Failed(failure), _)) => return Err(failure),
            Some((BuildMessage::Mapped, _)) => {}
            None => return Err(io::Error::other("the builder ended early")).at(step),
        }
    }
}

fn write_maps(pid: libc::pid_t, ids: Ids) -> Result<(), Failure> {
    let map = ids.map();
    let write = |name: &str, text: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::write(&path, text).at(|| format!("writing `{text}` to `{name}`"))
    };
    if ids == Ids::Caller {
        write("setgroups", "deny")?;
    }
    write("gid_map", &map)?;
    write("uid_map", &map)
}

/// Moves the process to a new, empty network namespace and returns a descriptor of it.
fn own_network() -> Result<OwnedFd, Failure> {
    unshare(CloneFlags::CLONE_NEWNET).at(|| "making a network namespace".to_owned())?;
    current_network()
}

/// A descriptor of the network namespace that the process is in.
pub(super) fn current_network() -> Result<OwnedFd, Failure> {
    fs::File::open("/proc/self/ns/net").map(OwnedFd::from).at(|| "opening the network namespace".to_owned())
}

fn configure_network(kind: NetworkKind) -> Result<(), Failure> {
    match kind {
        // INVARIANT: the fabric's stack answers nothing. It has no address, not even loopback, forwards nothing,
        // ignores ARP and echo requests, and has no IPv6.
        NetworkKind::Fabric => write_sysctls(
            Path::new("/proc/sys"),
            &[
                ("net/ipv4/ip_forward", "0"),
                ("net/ipv4/conf/all/arp_ignore", "8"),
                ("net/ipv4/conf/default/arp_ignore", "8"),
                ("net/ipv4/icmp_echo_ignore_all", "1"),
                ("net/ipv4/conf/all/rp_filter", "0"),
                ("net/ipv4/conf/default/rp_filter", "0"),
            ],
        ),
        NetworkKind::Doors => {
            sys::bring_up("lo").at(|| "bringing `lo` up".to_owned())?;
            write_sysctls(
                Path::new("/proc/sys"),
                &[
                    ("net/ipv4/ip_forward", "0"),
                    ("net/ipv4/ip_unprivileged_port_start", "0"),
                    ("net/ipv4/ip_nonlocal_bind", "1"),
                    ("net/ipv4/conf/all/rp_filter", "0"),
                    ("net/ipv4/conf/default/rp_filter", "0"),
                ],
            )
        }
    }
}

/// Sets the namespace's own values of these kernel parameters, and switches IPv6 off. A parameter that this kernel
/// does not have is left out.
pub(super) fn write_sysctls(base: &Path, values: &[(&str, &str)]) -> Result<(), Failure> {
    // What is said of all interfaces holds for those to come too. It is said once only: while anybody in the system
    // changes an interface, the kernel lets this write try again and again.
    let no_ipv6 = [("net/ipv6/conf/all/disable_ipv6", "1")];
    for (name, value) in values.iter().chain(&no_ipv6) {
        match fs::write(base.join(name), value) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(|| format!("setting `{name}` to `{value}`")),
        }
    }
    Ok(())
}
