//! The outer process: makes what must be cleaned up, runs the measurer, cleans up whatever becomes of it.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// Tells the measurer that it is one, and which folder is its own.
const PLACE_VARIABLE: &str = "POSTERN_BENCH_PLACE";
/// Which ways of congestion control a namespace that is not the first may have by default.
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";
/// How long the measurer may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The folder of the measurer, in the measurer.
pub fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE_VARIABLE).map(PathBuf::from)
}

/// Runs this program again as the measurer, for so many minutes at most.
pub fn run(limit_minutes: u64) -> ExitCode {
    match attempt(Duration::from_secs(limit_minutes * 60)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(limit: Duration) -> anyhow::Result<ExitCode> {
    // Signals that would end this process are read instead, so that it cleans up first.
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let folder = tempfile::Builder::new().prefix("postern-bench-").tempdir()?;
    let allowed = Allowed::look();
    let mut measurer = start(folder.path())?;
    let outcome = wait(&mut measurer, &signals, limit);
    allowed.restore();
    folder.close().context("the temporary folder could not be removed")?;
    outcome
}

fn start(folder: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    // The measurer ends when its standard input does. In a process group of its own it does not hear the terminal's
    // interrupt, which is ours to pass on.
    command
        .args(std::env::args_os().skip(1))
        .env(PLACE_VARIABLE, folder)
        .stdin(Stdio::piped())
        .process_group(0);
    command.spawn().context("the measurer cannot be started")
}

fn wait(measurer: &mut Child, signals: &SignalFd, limit: Duration) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = measurer.try_wait()? {
            return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        let reason = match signals.read_signal()? {
            Some(_) => "interrupted",
            None if Instant::now() > deadline => "the time limit is over (--limit-minutes)",
            None => {
                let timeout = PollTimeout::from(100_u16);
                poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], timeout)?;
                continue;
            }
        };
        eprintln!("\n{reason}: cleaning up");
        end(measurer)?;
        return Ok(ExitCode::FAILURE);
    }
}

/// Asks the measurer to end, and makes it.
fn end(measurer: &mut Child) -> anyhow::Result<()> {
    drop(measurer.stdin.take());
    let pid = Pid::from_raw(i32::try_from(measurer.id())?);
    let _ = kill(pid, Signal::SIGTERM);
    let deadline = Instant::now() + GRACE;
    while measurer.try_wait()?.is_none() {
        if Instant::now() > deadline {
            measurer.kill()?;
            measurer.wait()?;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What a namespace that is not the first may send by, as it was, and cubic beside it for as long as namespaces are
/// made. The measurer takes that back at once; the supervisor looks after it, should the measurer not get that far.
#[derive(Debug)]
pub struct Allowed {
    before: Option<String>,
}

impl Allowed {
    /// Remembers what is so; nothing where cubic is allowed already.
    pub fn look() -> Self {
        let before = std::fs::read_to_string(ALLOWED).ok().map(|before| before.trim().to_owned());
        Self { before: before.filter(|before| !before.split_whitespace().any(|name| name == "cubic")) }
    }

    /// Allows cubic too. Only root can; without, each connection is set to cubic by itself.
    pub fn widen(&self) {
        if let Some(before) = &self.before {
            let _ = std::fs::write(ALLOWED, format!("{before} cubic"));
        }
    }

    /// Takes it back, unless it is so or somebody else has changed it meanwhile.
    pub fn restore(&self) {
        let Some(before) = &self.before else { return };
        let now = std::fs::read_to_string(ALLOWED).unwrap_or_default();
        if now.trim() == format!("{before} cubic")
            && let Err(error) = std::fs::write(ALLOWED, before)
        {
            eprintln!("error: `{ALLOWED}` could not be set back to `{before}`: {error}");
        }
    }
}

/// In the measurer: ends the process when the supervisor has gone.
pub fn end_with_supervisor() -> anyhow::Result<()> {
    std::thread::Builder::new().name("supervised".to_owned()).spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(1);
    })?;
    Ok(())
}
