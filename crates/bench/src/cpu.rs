//! Processors: who runs where, and how much time was used.

use std::time::Duration;

use anyhow::Context;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// Who runs where; the same for every contender.
#[derive(Debug, Clone)]
pub struct Pinning {
    /// All load-making clients.
    pub client: usize,
    /// All servers.
    pub server: usize,
    /// What is in the middle: the forwarder, HAProxy, and whoever measures.
    pub all: Vec<usize>,
}

impl Pinning {
    /// Over these processors.
    pub fn new(cpus: &[usize]) -> anyhow::Result<Self> {
        let client = *cpus.first().context("at least one processor is needed (--cpus)")?;
        let server = cpus.get(1).copied().unwrap_or(client);
        Ok(Self { client, server, all: cpus.to_vec() })
    }

    /// In words.
    pub fn in_words(&self) -> String {
        let all: Vec<String> = self.all.iter().map(ToString::to_string).collect();
        format!(
            "clients on processor {}, servers on processor {}, what is in the middle (forwarder, HAProxy with one \
             thread for each processor) on any of {}",
            self.client,
            self.server,
            all.join(", ")
        )
    }
}

/// Keeps the calling thread, and those that it starts, on these processors.
pub fn pin(cpus: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu).with_context(|| format!("`{cpu}` is not a processor"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("cannot run on the processors {cpus:?}"))
}

/// The processor time that this process and some others have used. Work that the kernel does for a packet in the
/// sender's or receiver's time is in it.
pub fn used(others: &[Pid]) -> anyhow::Result<Duration> {
    let mut sum = Duration::from(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?);
    for pid in others {
        sum += used_by(*pid)?;
    }
    Ok(sum)
}

/// The processor time that another process has used.
pub fn used_by(pid: Pid) -> anyhow::Result<Duration> {
    let clock = clock_getcpuclockid(pid).with_context(|| format!("process {pid} has ended"))?;
    Ok(Duration::from(clock.now()?))
}

/// The processor time that threads of this name have used: of this process, and of the kernel where it shows its own.
pub fn used_by_threads(name: &str) -> Duration {
    let of = |directory: &str| -> Duration {
        let tasks = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        tasks
            .filter(|task| {
                std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end().starts_with(name))
            })
            .filter_map(|task| {
                let schedstat = std::fs::read_to_string(task.join("schedstat")).ok()?;
                Some(Duration::from_nanos(schedstat.split(' ').next()?.parse().ok()?))
            })
            .sum()
    };
    of("/proc/self/task") + of("/proc")
}
