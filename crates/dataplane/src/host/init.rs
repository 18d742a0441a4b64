//! Process 1 of an instance: first it builds the sandbox around itself, then it starts, supervises and reaps the
//! programs in it.
//!
//! Every program of an instance is started here, on behalf of `up`, be it user data, a service or `postern exec`.
//! The other way, a command-line process that enters the namespaces by itself, was not taken: it needs different
//! steps with and without root, it would make processes that nobody supervises or counts, and the process would for
//! a moment be a foreign one with the caller's memory and environment inside the instance.
//!
//! INVARIANT: a program has no capability, no way to one, no descriptor but its standard ones, and an environment
//! made from nothing.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::etc;
use super::keeper::{self, Ids};
use super::protocol::{AtStep, BuildMessage, Channel, Failure, InitAction, InitReport, InitRequest};
use super::sandbox;
use super::spec::{InstanceSpec, LOGIN_HOME, LOGIN_ID, LOGIN_USER, WindowSize};
use super::sys::{self, Fork};

/// How many programs may run under supervision at once.
const MAX_CHILDREN: usize = 1_024;
/// How many processes an instance's user may have.
const MAX_PROCESSES: u64 = 4_096;
/// How many descriptors a program may have open: at first, and if it asks.
const OPEN_FILES: (u64, u64) = (1_024, 65_536);

/// What an init process is born with.
pub(super) struct Birth<'a> {
    pub spec: &'a InstanceSpec,
    pub staging: &'a Path,
    pub shared: &'a Path,
    pub hidden: &'a [PathBuf],
    pub ids: Ids,
    pub keeper: Channel<BuildMessage, BuildMessage>,
    pub control: OwnedFd,
}

/// The whole life of an init process.
pub(super) fn run(birth: Birth<'_>) -> ! {
    let network = match build(&birth) {
        Ok(network) => network,
        Err(failure) => {
            let _ = birth.keeper.send(&BuildMessage::Failed(failure), &[]);
            sys::exit_now(1);
        }
    };
    let control = match isolate_descriptors(birth.control, network, birth.keeper) {
        Ok(control) => control,
        Err(_) => sys::exit_now(1),
    };
    let mut init = Init {
        control: Channel::new(control),
        environment: base_environment(birth.spec),
        ids: birth.ids,
        children: BTreeMap::new(),
        deadlines: BTreeMap::new(),
        ending: None,
        next_child: 1,
    };
    sys::exit_now(init.serve())
}

/// From a fresh process in fresh namespaces to the inside of a finished sandbox. Returns the network namespace.
fn build(birth: &Birth<'_>) -> Result<OwnedFd, Failure> {
    let Birth { spec, ids, .. } = *birth;
    sys::die_with_parent().at(|| "tying the instance to the keeper".to_owned())?;
    let _ = nix::unistd::setsid();
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::unistd::sethostname(&spec.host_name).at(|| format!("setting the host name `{}`", spec.host_name))?;
    sys::bring_up("lo").at(|| "bringing `lo` up".to_owned())?;
    let places = sandbox::Places { staging: birth.staging, shared: birth.shared, hidden: birth.hidden };
    let root = sandbox::build(spec, &places, ids.owners())?;
    configure_network(ids, &root)?;
    let network = keeper::current_network()?;
    // The maps are written by the keeper, which must be able to open this process's `/proc` entries for that.
    sys::set_dumpable(true).at(|| "opening the process to the keeper".to_owned())?;
    fs::write("/proc/self/oom_score_adj", "500")
        .at(|| "offering the instance to the memory killer".to_owned())?;
    unshare(CloneFlags::CLONE_NEWUSER).at(|| "making a user namespace".to_owned())?;
    ask_for_maps(&birth.keeper)?;
    if let Ids::Range(_) = ids {
        sys::become_user(0, 0).at(|| "becoming the instance's root".to_owned())?;
    }
    sandbox::forbid_user_namespaces(&root)?;
    harden(&spec.name)?;
    Ok(network)
}

fn configure_network(ids: Ids, root: &sandbox::BuiltRoot) -> Result<(), Failure> {
    let group = ids.owners().login;
    let proc = format!("/proc/self/fd/{}/sys", root.unmasked_proc.as_raw_fd());
    keeper::write_sysctls(
        Path::new(&proc),
        &[
            ("net/ipv4/ping_group_range", &format!("{group} {group}")),
            ("net/ipv4/ip_unprivileged_port_start", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
        ],
    )
}

fn ask_for_maps(keeper: &Channel<BuildMessage, BuildMessage>) -> Result<(), Failure> {
    let step = || "mapping the instance's users".to_owned();
    keeper.send(&BuildMessage::MapMe, &[]).at(step)?;
    match keeper.receive().at(step)? {
        Some((BuildMessage::Mapped, _)) => Ok(()),
        Some((BuildMessage::Failed(failure), _)) => Err(failure),
        Some((BuildMessage::MapMe | BuildMessage::Ready, _)) | None => {
            Err(io::Error::other("the keeper gave no answer")).at(step)
        }
    }
}

/// What holds for this process and everything it starts.
fn harden(name: &str) -> Result<(), Failure> {
    let step = || "hardening the instance".to_owned();
    sys::new_session_keyring();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    sys::limit(libc::RLIMIT_CORE as i32, 0, 0).at(step)?;
    sys::limit(libc::RLIMIT_NPROC as i32, MAX_PROCESSES, MAX_PROCESSES).at(step)?;
    sys::limit(libc::RLIMIT_NOFILE as i32, OPEN_FILES.0, OPEN_FILES.1).at(step)?;
    sys::forbid_new_privileges().at(step)?;
    sys::wipe_process_title(&format!("postern-init {name}")).at(step)?;
    sys::keep_capabilities(&[sys::CAP_KILL, sys::CAP_SETUID, sys::CAP_SETGID, sys::CAP_SETPCAP]).at(step)?;
    // Programs run as the same user where there is no root: they must not read this process's memory.
    sys::set_dumpable(false).at(step)
}

/// Tells the keeper that the sandbox stands, and keeps the control channel only, as number 3.
fn isolate_descriptors(
    control: OwnedFd,
    network: OwnedFd,
    keeper: Channel<BuildMessage, BuildMessage>,
) -> io::Result<OwnedFd> {
    let control_copy = sys::copy_fd_above(control.as_raw_fd(), 10)?;
    keeper.send(&BuildMessage::Ready, &[network.as_fd()])?;
    drop((control, network, keeper));
    sys::install_fd(control_copy.as_raw_fd(), 3)?;
    drop(control_copy);
    let control = sys::adopt_fd(3)?;
    sys::close_from(4)?;
    Ok(control)
}

fn base_environment(spec: &InstanceSpec) -> BTreeMap<String, String> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let basics = [
        ("HOME", LOGIN_HOME),
        ("LANG", "C.UTF-8"),
        ("LOGNAME", LOGIN_USER),
        ("PATH", path),
        ("SHELL", etc::login_shell()),
        ("USER", LOGIN_USER),
        ("XDG_RUNTIME_DIR", "/run/user/1000"),
    ];
    basics
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .chain(spec.environment.iter().cloned())
        .collect()
}

struct Init {
    control: Channel<InitRequest, InitReport>,
    environment: BTreeMap<String, String>,
    ids: Ids,
    /// Child number to process id, which is also its process group.
    children: BTreeMap<u32, libc::pid_t>,
    /// When a child that was asked to stop is killed.
    deadlines: BTreeMap<u32, Instant>,
    /// When this process ends, whatever is left.
    ending: Option<Instant>,
    next_child: u32,
}

impl Init {
    /// Serves until it is told to end or `up` is gone. Returns the exit status.
    fn serve(&mut self) -> i32 {
        let Ok(signals) = sys::signal_descriptor(&[libc::SIGCHLD]) else {
            return 1;
        };
        loop {
            let fds = [self.control.as_raw_fd(), signals.as_raw_fd()];
            let Ok([asked, child_ended]) = sys::wait_readable(fds, self.patience()) else {
                return 1;
            };
            if child_ended {
                sys::drain_signals(signals.as_fd());
            }
            let everything_ended = self.reap_ended();
            self.kill_overdue();
            if let Some(deadline) = self.ending
                && (everything_ended || Instant::now() >= deadline)
            {
                return 0;
            }
            if asked {
                match self.control.receive() {
                    Ok(Some((request, fds))) => self.answer(request, fds),
                    Ok(None) => return 0,
                    Err(_) => return 1,
                }
            }
        }
    }

    /// Milliseconds until the next deadline, -1 where there is none.
    fn patience(&self) -> i32 {
        let now = Instant::now();
        self.deadlines.values().chain(&self.ending).min().map_or(-1, |next| {
            let left = next.saturating_duration_since(now).as_millis();
            i32::try_from(left).unwrap_or(i32::MAX).saturating_add(1)
        })
    }

    /// Reaps what has ended, orphans too. True where no process is left but this one.
    fn reap_ended(&mut self) -> bool {
        while let Some((pid, wait_status)) = sys::reap_any() {
            let found = self.children.iter().find(|(_, known)| **known == pid);
            if let Some((&child, _)) = found {
                self.children.remove(&child);
                self.deadlines.remove(&child);
                self.report(&InitReport::Exited { child, wait_status }, &[]);
            }
        }
        // -1 stands for every process that may be signalled; none is an error.
        sys::kill(-1, 0).is_err()
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        let overdue: Vec<u32> = self
            .deadlines
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(child, _)| *child)
            .collect();
        for child in overdue {
            self.deadlines.remove(&child);
            self.signal(child, libc::SIGKILL);
        }
    }

    fn report(&self, report: &InitReport, fds: &[std::os::fd::BorrowedFd<'_>]) {
        // Where this fails `up` is gone, which the next turn of the loop sees.
        let _ = self.control.send(report, fds);
    }

    fn answer(&mut self, request: InitRequest, fds: Vec<OwnedFd>) {
        let sequence = request.sequence;
        match request.action {
            InitAction::Spawn { argv, environment, directory, terminal } => {
                let program = Program {
                    argv,
                    environment: self.environment.clone().into_iter().chain(environment).collect(),
                    directory,
                    ids: self.ids,
                };
                match self.spawn(&program, terminal, fds) {
                    Ok((child, master)) => {
                        let fds: Vec<_> = master.iter().map(AsFd::as_fd).collect();
                        self.report(&InitReport::Spawned { sequence, child }, &fds);
                    }
                    Err(failure) => {
                        self.report(&InitReport::SpawnFailed { sequence, failure }, &[]);
                    }
                }
            }
            InitAction::Signal { child, signal } => {
                let found = self.signal(child, signal);
                self.report(&InitReport::Signalled { sequence, found }, &[]);
            }
            InitAction::Stop { child, grace_milliseconds } => {
                let found = self.signal(child, libc::SIGTERM);
                if found {
                    self.deadlines.insert(child, after(grace_milliseconds));
                }
                self.report(&InitReport::Signalled { sequence, found }, &[]);
            }
            InitAction::Shutdown { grace_milliseconds } => {
                let found = sys::kill(-1, libc::SIGTERM).is_ok();
                self.ending = Some(after(grace_milliseconds));
                self.report(&InitReport::Signalled { sequence, found }, &[]);
            }
        }
    }

    fn signal(&self, child: u32, signal: i32) -> bool {
        self.children
            .get(&child)
            .is_some_and(|pid| sys::kill(-pid, signal).or_else(|_| sys::kill(*pid, signal)).is_ok())
    }

    fn spawn(
        &mut self,
        program: &Program,
        terminal: Option<WindowSize>,
        fds: Vec<OwnedFd>,
    ) -> Result<(u32, Option<OwnedFd>), Failure> {
        if self.children.len() >= MAX_CHILDREN {
            let full = format!("`{MAX_CHILDREN}` programs run in the instance already");
            return Err(io::Error::other(full)).at(|| "starting a program".to_owned());
        }
        let (master, standard) = match terminal {
            Some(size) => {
                let (master, slave) = open_terminal(size).at(|| "making a terminal".to_owned())?;
                let copy = || slave.try_clone().at(|| "making a terminal".to_owned());
                (Some(master), vec![copy()?, copy()?, slave])
            }
            None => (None, fds),
        };
        let standard: [OwnedFd; 3] = standard
            .try_into()
            .map_err(|_| io::Error::other("three descriptors are needed"))
            .at(|| "starting a program".to_owned())?;
        let pid = program.start(&standard, terminal.is_some())?;
        let child = self.next_child;
        self.next_child = self.next_child.wrapping_add(1);
        self.children.insert(child, pid);
        Ok((child, master))
    }
}

fn after(milliseconds: u64) -> Instant {
    // A grace is never longer than a day, so the sum cannot overflow.
    Instant::now() + Duration::from_millis(milliseconds.min(86_400_000))
}

/// A pseudo terminal of the instance, which belongs to the login user: master and slave.
fn open_terminal(size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    sys::set_file_identity(LOGIN_ID, LOGIN_ID);
    let master = File::options().read(true).write(true).open("/dev/ptmx");
    let own = nix::unistd::geteuid().as_raw();
    sys::set_file_identity(own, nix::unistd::getegid().as_raw());
    let master = OwnedFd::from(master?);
    sys::unlock_terminal(master.as_fd())?;
    let slave = sys::terminal_peer(master.as_fd())?;
    sys::set_terminal_size(master.as_fd(), size.rows, size.columns)?;
    Ok((master, slave))
}

struct Program {
    argv: Vec<String>,
    environment: BTreeMap<String, String>,
    directory: String,
    ids: Ids,
}

impl Program {
    /// Starts the program and returns its process id once it is running, or why it could not be.
    fn start(&self, standard: &[OwnedFd; 3], terminal: bool) -> Result<libc::pid_t, Failure> {
        let prepared = self.prepare()?;
        // The write end closes when the program is executed; before that the child puts its error in.
        let (verdict, report) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).at(|| self.step())?;
        match sys::fork_into(0).at(|| self.step())? {
            Fork::Child => {
                let failure = self.become_program(&prepared, standard, terminal, report.as_raw_fd());
                let _ = serde_json::to_writer(File::from(report), &failure);
                sys::exit_now(127);
            }
            Fork::Parent(pid) => {
                drop(report);
                let mut told = Vec::new();
                let read = io::Read::read_to_end(&mut io::Read::take(File::from(verdict), 4096), &mut told);
                if read.is_ok() && told.is_empty() {
                    return Ok(pid);
                }
                let _ = sys::reap(pid);
                Err(serde_json::from_slice(&told).map_err(io::Error::from).at(|| self.step())?)
            }
        }
    }

    fn step(&self) -> String {
        let name = self.argv.first().map_or("", String::as_str);
        format!("starting `{name}`")
    }

    fn prepare(&self) -> Result<Prepared, Failure> {
        let text = |text: &str| CString::new(text).map_err(io::Error::other).at(|| self.step());
        let argv: Vec<CString> = self.argv.iter().map(|arg| text(arg)).collect::<Result<_, _>>()?;
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| text(&format!("{name}={value}")))
            .collect::<Result<_, _>>()?;
        let name = self
            .argv
            .first()
            .filter(|name| !name.is_empty())
            .ok_or_else(|| io::Error::other("no program is named"))
            .at(|| self.step())?;
        let path = self.environment.get("PATH").map_or("", String::as_str);
        let candidates = if name.contains('/') {
            vec![text(name)?]
        } else {
            path.split(':')
                .filter(|dir| !dir.is_empty())
                .map(|dir| text(&format!("{dir}/{name}")))
                .collect::<Result<_, _>>()?
        };
        Ok(Prepared { argv, environment, candidates })
    }

    /// In the child: everything up to the program itself. Returns only on failure.
    fn become_program(
        &self,
        prepared: &Prepared,
        standard: &[OwnedFd; 3],
        terminal: bool,
        report: RawFd,
    ) -> Failure {
        match self.shed(standard, terminal, report) {
            Err(failure) => failure,
            Ok(()) => prepared.execute(|| self.step()),
        }
    }

    fn shed(&self, standard: &[OwnedFd; 3], terminal: bool, report: RawFd) -> Result<(), Failure> {
        let step = || self.step();
        nix::unistd::setsid().at(step)?;
        place_descriptors(standard, report).at(step)?;
        if terminal {
            sys::take_terminal(0).at(step)?;
        }
        sys::drop_bounding_capabilities().at(step)?;
        if let Ids::Range(_) = self.ids {
            sys::become_user(LOGIN_ID, LOGIN_ID).at(step)?;
        }
        sys::keep_capabilities(&[]).at(step)?;
        std::env::set_current_dir(&self.directory)
            .at(|| format!("entering the directory `{}`", self.directory))?;
        sys::reset_signals();
        Ok(())
    }
}

/// Puts the standard descriptors where they belong and marks all others to be closed when the program starts.
fn place_descriptors(standard: &[OwnedFd; 3], report: RawFd) -> io::Result<()> {
    // Copies first: one of the sources may have a number that is a target.
    let copies = [
        sys::copy_fd_above(standard[0].as_raw_fd(), 10)?,
        sys::copy_fd_above(standard[1].as_raw_fd(), 10)?,
        sys::copy_fd_above(standard[2].as_raw_fd(), 10)?,
    ];
    for (copy, target) in copies.iter().zip(0..) {
        sys::install_fd(copy.as_raw_fd(), target)?;
    }
    debug_assert!(report > 2);
    sys::close_on_exec_from(3)
}

struct Prepared {
    argv: Vec<CString>,
    environment: Vec<CString>,
    candidates: Vec<CString>,
}

impl Prepared {
    /// Tries the candidates in order, as a shell does. Returns why none of them could be executed.
    fn execute(&self, step: impl Fn() -> String) -> Failure {
        let mut worst = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            let error = sys::execute(candidate, &self.argv, &self.environment);
            let absent = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR));
            if !absent {
                worst = error;
            }
        }
        Failure::new(step(), &worst)
    }
}
