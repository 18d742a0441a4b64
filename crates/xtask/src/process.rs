//! Running programs: output to a log, progress while it lasts, a time limit, nothing left behind.
//!
//! INVARIANTS
//! - Every program has a time limit; past it the program and everything it started is ended.
//! - Output of a program that failed is never hidden: it was shown as it came, or is printed whole afterwards.
//! - Only descendants of this process are ever signalled.

use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How much of a program's output is kept for reading results from it.
const KEPT_BYTES: usize = 1 << 20;
/// How much of a program's output goes to its log.
const LOG_LIMIT_BYTES: u64 = 256 << 20;
/// How long what a program started may live on after it ended.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);
/// Between asking a program to end and killing it.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);

/// When a program's output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// As it comes.
    Live,
    /// Whole, if the program fails.
    OnFailure,
}

/// A program to run.
#[derive(Debug)]
pub struct Job {
    command: Command,
    title: String,
    timeout: Duration,
    show: Show,
    log: Option<PathBuf>,
    output_to: Option<PathBuf>,
}

/// How a program ended.
#[derive(Debug)]
pub enum Outcome {
    /// By itself.
    Exited(ExitStatus),
    /// Ended by us after this long.
    TimedOut(Duration),
}

/// What a finished program leaves to look at.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// The last megabyte of standard output and standard error, in the order written.
    pub output: String,
    /// Processes it had started that were still there after a grace period, as `pid name`; they are ended.
    pub leftovers: Vec<String>,
}

impl Finished {
    /// Whether the program said that all is well.
    pub fn succeeded(&self) -> bool {
        match self.outcome {
            Outcome::Exited(status) => status.success(),
            Outcome::TimedOut(_) => false,
        }
    }

    /// Why the program did not succeed, in words.
    pub fn failure(&self) -> String {
        match self.outcome {
            Outcome::Exited(status) => status.to_string(),
            Outcome::TimedOut(limit) => {
                format!("ended by its time limit of {} s", limit.as_secs())
            }
        }
    }
}

impl Job {
    /// A program under the name that people see; by default quiet, with ten minutes to run.
    pub fn new(title: impl Into<String>, command: Command) -> Self {
        let timeout = Duration::from_secs(600);
        Self { command, title: title.into(), timeout, show: Show::OnFailure, log: None, output_to: None }
    }

    /// Writes standard output to a file of its own; only standard error is shown, logged and kept.
    pub fn output_to(mut self, path: PathBuf) -> Self {
        self.output_to = Some(path);
        self
    }

    /// Sets the time limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets when output is shown.
    pub fn show(mut self, show: Show) -> Self {
        self.show = show;
        self
    }

    /// Keeps the output in a file.
    pub fn log(mut self, log: PathBuf) -> Self {
        self.log = Some(log);
        self
    }

    /// Runs the program and fails unless it succeeds; the error holds what it printed.
    pub fn require(self) -> anyhow::Result<String> {
        let title = self.title.clone();
        let show = self.show;
        let finished = self.run()?;
        if finished.succeeded() {
            return Ok(finished.output);
        }
        match show {
            Show::Live => bail!("{title}: {}", finished.failure()),
            Show::OnFailure => bail!("{title}: {}\n{}", finished.failure(), finished.output.trim_end()),
        }
    }

    /// Runs the program to its end, or to its time limit.
    pub fn run(mut self) -> anyhow::Result<Finished> {
        // Orphans of the program come to us instead of to init, so that they can be found and ended.
        nix::sys::prctl::set_child_subreaper(true).context("orphans cannot be adopted")?;
        let (reader, writer) = std::io::pipe()?;
        let output: Stdio = match &self.output_to {
            Some(path) => {
                File::create(path).with_context(|| format!("`{}` cannot be written", path.display()))?.into()
            }
            None => writer.try_clone()?.into(),
        };
        self.command.stdin(Stdio::null()).stdout(output).stderr(writer);
        let program = self.command.get_program().to_os_string();
        let mut child =
            self.command.spawn().with_context(|| format!("`{}` cannot be started", program.display()))?;
        // The command holds the pipe's writing end: the reader sees the end only once it is gone.
        self.command = Command::new("true");
        let sink = Sink::new(self.show, self.log.as_deref())?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            // Nobody listens any more after a time-out; that is no error.
            let _ = sender.send(sink.copy(reader));
        });

        let started = Instant::now();
        let mut progress = Progress::new(&self.title, self.show);
        let outcome = loop {
            if let Some(status) = child.try_wait()? {
                break Outcome::Exited(status);
            }
            if started.elapsed() > self.timeout {
                progress.clear();
                end(&descendants(), TERMINATE_GRACE);
                child.wait()?;
                break Outcome::TimedOut(self.timeout);
            }
            progress.tick(started.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        };
        progress.clear();
        let leftovers = end_leftovers();
        let output = match receiver.recv_timeout(Duration::from_secs(5)) {
            Ok(output) => output?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                bail!("{}: the end of its output never came", self.title)
            }
        };
        Ok(Finished { outcome, output, leftovers })
    }
}

/// Where output goes as it comes.
struct Sink {
    show: Show,
    log: Option<File>,
}

impl Sink {
    fn new(show: Show, log: Option<&Path>) -> anyhow::Result<Self> {
        let log = match log {
            Some(path) => {
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder)?;
                }
                Some(File::create(path).with_context(|| format!("`{}` cannot be written", path.display()))?)
            }
            None => None,
        };
        Ok(Self { show, log })
    }

    /// Copies to log and terminal; returns the last part.
    fn copy(mut self, mut reader: impl Read) -> std::io::Result<String> {
        let mut kept: Vec<u8> = Vec::new();
        let mut logged = 0u64;
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let Some(chunk) = buffer.get(..count) else { break };
            if self.show == Show::Live {
                std::io::stdout().write_all(chunk)?;
                std::io::stdout().flush()?;
            }
            if let Some(log) = &mut self.log
                && logged < LOG_LIMIT_BYTES
            {
                log.write_all(chunk)?;
                logged += chunk.len() as u64;
            }
            kept.extend_from_slice(chunk);
            if kept.len() > 2 * KEPT_BYTES {
                kept.drain(..kept.len() - KEPT_BYTES);
            }
        }
        let start = kept.len().saturating_sub(KEPT_BYTES);
        Ok(String::from_utf8_lossy(kept.get(start..).unwrap_or_default()).into_owned())
    }
}

/// Says that a quiet program still runs: in place on a terminal, by a line every half minute elsewhere.
struct Progress<'a> {
    title: &'a str,
    show: Show,
    terminal: bool,
    next: Duration,
    drawn: bool,
}

impl<'a> Progress<'a> {
    fn new(title: &'a str, show: Show) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let next = Duration::from_secs(if terminal { 1 } else { 30 });
        Self { title, show, terminal, next, drawn: false }
    }

    fn tick(&mut self, elapsed: Duration) {
        if self.show == Show::Live || elapsed < self.next {
            return;
        }
        if self.terminal {
            eprint!("\r\x1b[2K  … {} ({} s)", self.title, elapsed.as_secs());
            self.drawn = true;
            self.next = elapsed + Duration::from_secs(1);
        } else {
            eprintln!("  … {} ({} s)", self.title, elapsed.as_secs());
            self.next = elapsed + Duration::from_secs(30);
        }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            eprint!("\r\x1b[2K");
        }
    }
}

/// A process that descends from this one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    name: String,
    zombie: bool,
}

/// Reads one line of /proc/PID/stat; the name may hold spaces and brackets.
fn parse_stat(line: &str) -> Option<Process> {
    let (pid, rest) = line.split_once(" (")?;
    let (name, fields) = rest.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let zombie = matches!(state, "Z" | "X");
    Some(Process { pid: pid.parse().ok()?, parent, name: name.to_owned(), zombie })
}

/// The living processes that descend from `root`.
fn descend(processes: &[Process], root: i32) -> Vec<Process> {
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in processes.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            if !process.zombie {
                found.push(process.clone());
            }
        }
    }
    found
}

/// The living processes that descend from this one.
fn descendants() -> Vec<Process> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let processes: Vec<Process> = folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
        .collect();
    descend(&processes, Pid::this().as_raw())
}

/// Asks processes to end, then kills what is still there of them and of what they started.
fn end(processes: &[Process], grace: Duration) {
    for process in processes {
        // It may be gone already, which is what is wanted.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGTERM);
    }
    let asked = Instant::now();
    while asked.elapsed() < grace && !descendants().is_empty() {
        std::thread::sleep(Duration::from_millis(50));
    }
    for process in descendants() {
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
    }
}

/// After a program ended: waits a little for what it started, ends the rest and names it.
fn end_leftovers() -> Vec<String> {
    let started = Instant::now();
    let mut left = descendants();
    while !left.is_empty() && started.elapsed() < LEFTOVER_GRACE {
        std::thread::sleep(Duration::from_millis(50));
        left = descendants();
    }
    if !left.is_empty() {
        end(&left, TERMINATE_GRACE);
    }
    // No child of ours runs now: whatever can be reaped is an adopted orphan.
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
    left.into_iter().map(|process| format!("{} {}", process.pid, process.name)).collect()
}

/// Cargo, without what the cargo that runs us added to the environment: that would make build scripts run
/// again, and installed programs load the toolchain's libraries.
pub fn cargo() -> Command {
    let mut command = clean(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.env("CARGO_TERM_COLOR", "never");
    command
}

/// A program without what cargo added to the environment.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let added = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if added || text == "LD_LIBRARY_PATH" {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn stat_lines_are_read_whatever_the_name() {
        let process = parse_stat("42 (a) b (c) S 7 42 42 0 -1").unwrap();
        assert_eq!(process, Process { pid: 42, parent: 7, name: "a) b (c".to_owned(), zombie: false });
        assert!(parse_stat("43 (x) Z 1 1").unwrap().zombie);
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn descendants_pass_through_the_dead() {
        let process = |pid, parent, zombie| Process { pid, parent, name: String::new(), zombie };
        let all = [process(2, 1, false), process(3, 2, true), process(4, 3, false), process(5, 9, false)];
        let pids: Vec<i32> = descend(&all, 1).iter().map(|process| process.pid).collect();
        assert_eq!(pids, [2, 4]);
    }

    #[test]
    fn output_is_bounded_to_its_last_part() {
        let sink = Sink { show: Show::OnFailure, log: None };
        let mut input = vec![b'a'; 5 * KEPT_BYTES];
        input.extend_from_slice(b"the end");
        let output = sink.copy(input.as_slice()).unwrap();
        assert_eq!(output.len(), KEPT_BYTES);
        assert!(output.ends_with("the end"));
    }

    // The tests below start programs and look at all descendants of this process, so they are one test:
    // in one process, tests run side by side.
    #[test]
    fn programs_end_in_time_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("logs/one.log");
        let finished =
            Job::new("one", shell("echo out; echo err >&2; exit 3")).log(log.clone()).run().unwrap();
        assert!(!finished.succeeded());
        assert_eq!(finished.output, "out\nerr\n");
        assert_eq!(fs::read_to_string(log).unwrap(), "out\nerr\n");
        assert!(finished.failure().contains('3'), "{}", finished.failure());
        assert!(finished.leftovers.is_empty());

        let error = Job::new("two", shell("echo why; false")).require().unwrap_err().to_string();
        assert!(error.starts_with("two: ") && error.ends_with("why"), "{error}");

        let slow = Job::new("slow", shell("trap '' TERM; sleep 60 & sleep 60"));
        let started = Instant::now();
        let finished = slow.timeout(Duration::from_millis(200)).run().unwrap();
        assert!(matches!(finished.outcome, Outcome::TimedOut(_)));
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(descendants().is_empty());

        let finished = Job::new("daemon", shell("setsid sleep 60 & exit 0")).run().unwrap();
        assert!(finished.succeeded());
        assert_eq!(finished.leftovers.len(), 1, "{:?}", finished.leftovers);
        assert!(finished.leftovers.iter().all(|name| name.ends_with("sleep")), "{:?}", finished.leftovers);
        assert!(descendants().is_empty());
    }
}
