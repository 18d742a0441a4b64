//! `decide` is what packets do: random topologies on the real kernel, and random histories without one.
//!
//! - *Reality*: sixteen interfaces are made once; for each topology the plan changes and the namespaces do not. Every
//!   packet says which one it is, and what became of it is compared with `Plan::decide`: receiver, addresses and
//!   ports, identity, and by what each interface's packets were dropped.
//! - *Faults*: a fault in each stage is noticed by that comparison.
//! - *Histories*: changes, packets, repetitions and leaps of the clock in any order, on the forwarder's pure core.
//!
//! `POSTERN_REALITY_CASES` and `POSTERN_REALITY_SEED` choose how many topologies or histories there are, and the first.
//! Starting the host needs a process without threads, so each case runs in a process of its own: this executable
//! again, with the case's name in the environment. As root the first runs three times: by the forwarder alone, with the
//! kernel program, and without any privilege.
#![expect(clippy::unwrap_used, reason = "a case fails by panicking, with the value at hand")]

mod case;
mod expect;
mod fault;
mod frames;
mod histories;
mod world;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A user number that no system uses.
const NOBODY_IN_PARTICULAR: u32 = 64_003;
const CASE_VARIABLE: &str = "POSTERN_REALITY_CASE";
const DIR_VARIABLE: &str = "POSTERN_REALITY_DIR";
const CASE_PATIENCE: Duration = Duration::from_secs(600);

type Case = (&'static str, fn(&Path));

/// What runs with and without privileges.
const REALITY: Case = ("reality", case::reality);
/// What runs without.
const ONCE: &[Case] = &[
    ("faults", fault::faults),
    ("histories", |_| histories::histories()),
    ("stale_generations_are_noticed", |_| histories::stale_generations_are_noticed()),
];

/// Set where the kernel program carries flows.
const KERNEL_VARIABLE: &str = "POSTERN_REALITY_KERNEL";

/// With what a case runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All privileges.
    Root,
    /// All privileges, and the kernel program.
    Kernel,
    /// No privileges.
    User,
}

/// A number from the environment.
fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not `{text}`")))
}

/// The seeds to try, of which there are usually so many, and whether that is the usual choice.
fn seeds(usual: u64) -> (std::ops::Range<u64>, bool) {
    let (first, count) = (from_env("POSTERN_REALITY_SEED"), from_env("POSTERN_REALITY_CASES"));
    let from = first.unwrap_or(1);
    (from..from + count.unwrap_or(usual), first.is_none() && count.is_none_or(|count| count >= usual))
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE_VARIABLE) {
        let directory = PathBuf::from(std::env::var(DIR_VARIABLE).unwrap());
        let (_, case) = [REALITY].iter().chain(ONCE).find(|(known, _)| *known == name).unwrap();
        if let Some(why) = world::kernel_is_missing() {
            println!("note: not run, the kernel program cannot be loaded here: {why}");
            return ExitCode::SUCCESS;
        }
        case(&directory);
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Runners ask for `--format terse`, which names no test.
    let named = |argument: &&String| !argument.starts_with("--") && *argument != "terse";
    let filters: Vec<&String> = arguments.iter().filter(named).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let fits = |title: &str, part: &str| if exact { title == part } else { title.contains(part) };
    let root = nix::unistd::geteuid().is_root();
    let ways: &[(&str, Way)] = if root {
        &[("root", Way::Root), ("kernel", Way::Kernel), ("user", Way::User)]
    } else {
        &[("user", Way::User)]
    };
    let real = ways.iter().map(|(title, way)| (format!("{title}::{}", REALITY.0), REALITY.0, *way));
    let once = ONCE.iter().map(|(name, _)| ((*name).to_owned(), *name, Way::User));
    let chosen: Vec<(String, &str, Way)> = real
        .chain(once)
        .filter(|(title, _, _)| filters.is_empty() || filters.iter().any(|part| fits(title, part)))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            chosen.iter().for_each(|(title, _, _)| println!("{title}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (title, name, way) in &chosen {
        let began = Instant::now();
        let outcome = run_apart(name, *way);
        let took = began.elapsed().as_millis();
        match outcome {
            Ok(text) => {
                println!("test {title} ... ok ({took} ms)");
                text.lines().filter(|line| line.starts_with("note:")).for_each(|line| println!("    {line}"));
            }
            Err(text) => {
                failed += 1;
                println!("test {title} ... FAILED ({took} ms)\n{text}");
            }
        }
    }
    println!("\ntest result: {} passed; {failed} failed", chosen.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case in a process of its own. Returns what it printed.
fn run_apart(name: &str, way: Way) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let directory = tempfile::Builder::new().prefix("postern-reality-").tempdir().map_err(text)?;
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).map_err(text)?;
    let program = directory.path().join("case");
    let this = std::env::current_exe().map_err(text)?;
    if std::fs::hard_link(&this, &program).is_err() {
        std::fs::copy(&this, &program).map_err(text)?;
    }
    let work = directory.path().join("work");
    std::fs::create_dir(&work).map_err(text)?;
    let mut command = Command::new(&program);
    command
        .current_dir("/")
        .env(CASE_VARIABLE, name)
        .env(DIR_VARIABLE, &work)
        .env(KERNEL_VARIABLE, if way == Way::Kernel { "1" } else { "" })
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if nix::unistd::geteuid().is_root() && way == Way::User {
        let id = NOBODY_IN_PARTICULAR;
        chown(&work, Some(id), Some(id)).map_err(text)?;
        command.uid(id).gid(id);
    }
    let child = command.spawn().map_err(text)?;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait
            .recv_timeout(CASE_PATIENCE)
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().map_err(text)?;
    drop(done);
    let _ = watch.join();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(printed)
    } else {
        Err(format!("{printed}{}\n{}", String::from_utf8_lossy(&output.stderr), output.status))
    }
}
