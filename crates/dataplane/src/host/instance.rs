//! An instance as `up` holds it: the channel to its init process, and the programs that run in it.
//!
//! One small thread an instance reads what init reports. INVARIANT: whoever waits for an answer or for a program's
//! end gets one, be it that the instance is gone.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::namespace::Namespace;
use super::protocol::{Channel, Failure, InitAction, InitReport, InitRequest};
use super::spec::{LOGIN_HOME, SpecError, WindowSize, check_environment};

/// How long init may take to start a program or to send a signal.
const INIT_PATIENCE: Duration = Duration::from_secs(30);
/// How long after its grace an instance may take to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(5);

type Control = Channel<InitReport, InitRequest>;

/// A program to be run.
#[derive(Debug, Clone)]
pub struct ProgramSpec {
    /// The program, by path or by a name that is looked up in `PATH`, and its arguments.
    pub argv: Vec<String>,
    /// Environment beside the instance's.
    pub environment: Vec<(String, String)>,
    /// Where it starts.
    pub directory: String,
}

impl ProgramSpec {
    /// A program that starts in the login user's home with the instance's environment.
    #[must_use]
    pub fn new(argv: Vec<String>) -> Self {
        Self { argv, environment: Vec::new(), directory: LOGIN_HOME.to_owned() }
    }
}

/// What a program's standard input, output and error are.
#[derive(Debug)]
pub enum Stdio {
    /// These.
    Descriptors([OwnedFd; 3]),
    /// A new terminal of the instance's; its master comes back in [`Child::terminal`].
    Terminal(WindowSize),
}

impl Stdio {
    /// Nothing to read; what is written is lost.
    pub fn null() -> io::Result<Self> {
        let null = OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null")?);
        Ok(Self::Descriptors([null.try_clone()?, null.try_clone()?, null]))
    }

    /// Nothing to read; output and errors go to `log`.
    pub fn log(log: OwnedFd) -> io::Result<Self> {
        let null = OwnedFd::from(std::fs::File::open("/dev/null")?);
        Ok(Self::Descriptors([null, log.try_clone()?, log]))
    }
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such instance.
    #[error("there is no instance `{0}`")]
    NoInstance(String),
    /// The environment cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// There is no such program.
    #[error("there is no program `{program}` in the instance `{instance}`")]
    NotFound {
        /// Which program.
        program: String,
        /// In which instance.
        instance: String,
    },
    /// It is there and cannot be executed: no permission, a directory, no format that the system knows.
    #[error("`{program}` in the instance `{instance}` cannot be executed: {reason}")]
    NotExecutable {
        /// Which program.
        program: String,
        /// In which instance.
        instance: String,
        /// What the system says.
        reason: String,
    },
    /// It could not be started, such as where there is no room for it.
    #[error("{step} in the instance `{instance}`: {reason}")]
    Failed {
        /// In which instance.
        instance: String,
        /// What was being done.
        step: String,
        /// What the system says.
        reason: String,
    },
    /// The instance has ended, or does not answer.
    #[error("the instance `{0}` has ended")]
    Ended(String),
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Signalled(i32),
    /// With its whole instance.
    InstanceEnded,
}

impl ExitStatus {
    fn from_wait_status(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Self::Signalled(libc::WTERMSIG(status))
        } else {
            Self::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
        }
    }

    /// What a shell makes of it: the status, or 128 and the signal.
    #[must_use]
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
            Self::InstanceEnded => 128 + 9,
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signalled(signal) => write!(f, "signal {signal}"),
            Self::InstanceEnded => f.write_str("end of the instance"),
        }
    }
}

/// A program that was started. Dropping this does not end it.
#[derive(Debug)]
pub struct Child {
    number: u32,
    line: Arc<Line>,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// The terminal's master, where a terminal was asked for.
    pub terminal: Option<OwnedFd>,
}

impl Child {
    /// Waits for its end.
    pub async fn wait(&mut self) -> ExitStatus {
        match self.exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or(ExitStatus::InstanceEnded),
            Err(_) => ExitStatus::InstanceEnded,
        }
    }

    /// The same, blocking the thread, at most so long; `None` where it still runs.
    #[must_use]
    pub fn wait_timeout(&self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        let mut state = self.line.state();
        loop {
            if let Some(status) = *self.exit.borrow() {
                return Some(status);
            }
            if state.ended {
                return Some(ExitStatus::InstanceEnded);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            state = self.line.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How it ended; `None` where it still runs.
    #[must_use]
    pub fn try_status(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Sends a signal to its process group. False where it has ended.
    pub fn signal(&self, signal: i32) -> Result<bool, SpawnError> {
        self.line.signal(InitAction::Signal { child: self.number, signal })
    }

    /// Asks it to end (`SIGTERM`), and makes it end after the grace (`SIGKILL`). Returns at once.
    pub fn stop(&self, grace: Duration) -> Result<bool, SpawnError> {
        let grace_milliseconds = milliseconds(grace);
        self.line.signal(InitAction::Stop { child: self.number, grace_milliseconds })
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A sandbox. It ends with its `Host`, or by `Host::destroy_instance`.
#[derive(Debug)]
pub struct Instance {
    number: u32,
    network: Namespace,
    line: Arc<Line>,
}

impl Instance {
    pub(super) fn new(name: &str, number: u32, control: OwnedFd, network: Namespace) -> io::Result<Self> {
        Self::go_on(name, number, control, network, 0)
    }

    /// One that others, so many, spoke to before. What its init process still has to say to them, it says to us.
    pub(super) fn go_on(
        name: &str,
        number: u32,
        control: OwnedFd,
        network: Namespace,
        others: u32,
    ) -> io::Result<Self> {
        // INVARIANT: an answer to somebody before us answers no question of ours.
        let next_sequence = u64::from(others) << 32;
        let line = Arc::new(Line {
            instance: name.to_owned(),
            control: Control::new(control),
            state: Mutex::new(LineState { next_sequence, ..LineState::default() }),
            changed: Condvar::new(),
            ended: watch::channel(false).0,
        });
        let reader = Arc::clone(&line);
        std::thread::Builder::new()
            .name("instance".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || reader.read_reports())?;
        Ok(Self { number, network, line })
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.line.instance
    }

    /// Its network, to make ports to or to open a probe's socket in.
    #[must_use]
    pub fn network(&self) -> &Namespace {
        &self.network
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether its init process is gone.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.line.state().ended
    }

    /// Becomes true when the instance ends, by itself or not.
    #[must_use]
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.line.ended.subscribe()
    }

    /// Runs a program.
    pub fn spawn(&self, program: &ProgramSpec, stdio: Stdio) -> Result<Child, SpawnError> {
        check_environment(&program.environment)?;
        let (terminal, fds) = match stdio {
            Stdio::Descriptors(fds) => (None, Vec::from(fds)),
            Stdio::Terminal(size) => (Some(size), Vec::new()),
        };
        let action = InitAction::Spawn {
            argv: program.argv.clone(),
            environment: program.environment.clone(),
            directory: program.directory.clone(),
            terminal,
        };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        match self.line.ask(action, &fds)? {
            Answer::Spawned { number, exit, terminal } => {
                Ok(Child { number, line: Arc::clone(&self.line), exit, terminal })
            }
            Answer::Failed(failure) => Err(self.line.explain(program, failure)),
            Answer::Signalled(_) => Err(SpawnError::Ended(self.name().to_owned())),
        }
    }

    /// Asks everything in it to end, and waits until it has or the grace is over.
    pub(super) fn shut_down(&self, grace: Duration) {
        let grace_milliseconds = milliseconds(grace);
        if self.line.ask(InitAction::Shutdown { grace_milliseconds }, &[]).is_ok() {
            self.line.wait_for_end(grace.saturating_add(END_PATIENCE));
        }
    }
}

/// What an init process answered.
enum Answer {
    Spawned { number: u32, exit: watch::Receiver<Option<ExitStatus>>, terminal: Option<OwnedFd> },
    Failed(Failure),
    Signalled(bool),
}

/// The connection to one init process.
struct Line {
    instance: String,
    control: Control,
    state: Mutex<LineState>,
    /// A program or the instance has ended.
    changed: Condvar,
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct LineState {
    next_sequence: u64,
    waiting: BTreeMap<u64, mpsc::SyncSender<Answer>>,
    children: BTreeMap<u32, watch::Sender<Option<ExitStatus>>>,
    ended: bool,
}

impl Line {
    fn state(&self) -> MutexGuard<'_, LineState> {
        // Every change of the state is one statement; there is nothing to find half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, action: InitAction, fds: &[BorrowedFd<'_>]) -> Result<Answer, SpawnError> {
        let gone = || SpawnError::Ended(self.instance.clone());
        let (sender, answer) = mpsc::sync_channel(1);
        let sequence = {
            let mut state = self.state();
            if state.ended {
                return Err(gone());
            }
            state.next_sequence += 1;
            let sequence = state.next_sequence;
            state.waiting.insert(sequence, sender);
            sequence
        };
        let answer = self
            .control
            .send(&InitRequest { sequence, action }, fds)
            .ok()
            .and_then(|()| answer.recv_timeout(INIT_PATIENCE).ok());
        self.state().waiting.remove(&sequence);
        answer.ok_or_else(gone)
    }

    fn signal(&self, action: InitAction) -> Result<bool, SpawnError> {
        match self.ask(action, &[])? {
            Answer::Signalled(found) => Ok(found),
            Answer::Spawned { .. } | Answer::Failed(_) => Err(SpawnError::Ended(self.instance.clone())),
        }
    }

    /// The reader thread's whole life.
    fn read_reports(&self) {
        while let Ok(Some((report, fds))) = self.control.receive() {
            self.take(report, fds);
            self.changed.notify_all();
        }
        let mut state = self.state();
        state.ended = true;
        state.waiting.clear();
        for child in std::mem::take(&mut state.children).into_values() {
            child.send_replace(Some(ExitStatus::InstanceEnded));
        }
        drop(state);
        self.ended.send_replace(true);
        self.changed.notify_all();
    }

    fn take(&self, report: InitReport, fds: Vec<OwnedFd>) {
        let mut state = self.state();
        let (sequence, answer) = match report {
            InitReport::Exited { child, wait_status } => {
                if let Some(child) = state.children.remove(&child) {
                    child.send_replace(Some(ExitStatus::from_wait_status(wait_status)));
                }
                return;
            }
            InitReport::Spawned { sequence, child } => {
                // Registered before anybody hears of it: its end cannot be missed.
                let (sender, exit) = watch::channel(None);
                state.children.insert(child, sender);
                let terminal = fds.into_iter().next();
                (sequence, Answer::Spawned { number: child, exit, terminal })
            }
            InitReport::SpawnFailed { sequence, failure } => (sequence, Answer::Failed(failure)),
            InitReport::Signalled { sequence, found } => (sequence, Answer::Signalled(found)),
        };
        if let Some(asker) = state.waiting.remove(&sequence) {
            // An asker that has given up does not listen any more.
            let _ = asker.try_send(answer);
        }
    }

    fn wait_for_end(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        while !state.ended {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn explain(&self, program: &ProgramSpec, failure: Failure) -> SpawnError {
        let name = program.argv.first().cloned().unwrap_or_default();
        let starting = failure.step == format!("starting `{name}`");
        if starting && failure.errno == Some(libc::ENOENT) {
            return SpawnError::NotFound { program: name, instance: self.instance.clone() };
        }
        let of_the_file = [
            libc::EACCES,
            libc::ENOEXEC,
            libc::EISDIR,
            libc::EPERM,
            libc::ENOTDIR,
            libc::ELOOP,
            libc::ENAMETOOLONG,
            libc::E2BIG,
            libc::ETXTBSY,
            libc::ELIBBAD,
        ];
        if starting && failure.errno.is_some_and(|errno| of_the_file.contains(&errno)) {
            let (instance, reason) = (self.instance.clone(), failure.reason);
            return SpawnError::NotExecutable { program: name, instance, reason };
        }
        SpawnError::Failed { instance: self.instance.clone(), step: failure.step, reason: failure.reason }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("instance", &self.instance).finish_non_exhaustive()
    }
}
