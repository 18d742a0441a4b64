//! The forwarder against the real kernel: namespaces, veth pairs, whole TCP stacks on both sides.
//!
//! Starting the host needs a process without threads, so each case runs in a process of its own: this executable
//! again, with the case's name in the environment. As root each case runs three times: by the forwarder alone, with the
//! kernel program, and as a user without any privilege.
#![expect(clippy::unwrap_used, reason = "a case fails by panicking, with the value at hand")]

mod cases;
mod counting;
mod fuzz;
mod hitless;
mod lockstep;
mod making;
mod measure;
mod net;
mod rig;
mod world;

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A user number that no system uses.
const NOBODY_IN_PARTICULAR: u32 = 64_002;
const CASE_VARIABLE: &str = "POSTERN_FORWARD_CASE";
const DIR_VARIABLE: &str = "POSTERN_FORWARD_DIR";
const CASE_PATIENCE: Duration = Duration::from_secs(90);

type Case = (&'static str, fn(&Path));

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

const CASES: &[Case] = &[
    ("neighbours", cases::neighbours),
    ("large_transfer", cases::large_transfer),
    ("door", cases::door),
    ("nat_gateway", cases::nat_gateway),
    ("errors_and_hops", cases::errors_and_hops),
    ("path_mtu", cases::path_mtu),
    ("changes", cases::changes),
    ("silence", cases::silence),
    ("many_connections", cases::many_connections),
    ("unplugged", cases::unplugged),
    ("counting", counting::counting),
];

/// Cases about the kernel program.
const KERNEL: &[Case] = &[
    ("lockstep", lockstep::lockstep),
    ("beginnings", lockstep::beginnings),
    ("crowded", cases::crowded),
    ("program_swaps", hitless::program_swaps),
    ("gone_on_with", hitless::gone_on_with),
    ("first_packets", making::first_packets),
    ("balanced", making::balanced),
    ("begun_again", making::begun_again),
    ("refused", making::refused),
    ("revoked", making::revoked),
    ("spray", making::spray),
    ("filler", making::filler),
    ("short_lives", making::short_lives),
    ("ports_run_out", making::ports_run_out),
    ("both_sides", making::both_sides),
    ("fuzz", fuzz::fuzz),
    ("bad_input", fuzz::bad_input),
];

/// What cases start in order to kill it.
const VICTIMS: &[Case] = &[(hitless::REGION, hitless::region)];

/// Cases that run only when they are asked for by name.
const ON_REQUEST: &[Case] = &[("measure", measure::measure)];

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CASE_VARIABLE) {
        let directory = PathBuf::from(std::env::var(DIR_VARIABLE).unwrap());
        let (_, case) = CASES
            .iter()
            .chain(KERNEL)
            .chain(ON_REQUEST)
            .chain(VICTIMS)
            .find(|(known, _)| *known == name)
            .unwrap();
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
    let ways: &[(&str, Way)] = if nix::unistd::geteuid().is_root() {
        &[("root", Way::Root), ("kernel", Way::Kernel), ("user", Way::User)]
    } else {
        &[("user", Way::User)]
    };
    let all = ways.iter().flat_map(|(title, way)| {
        let kernel = if *way == Way::Kernel { KERNEL } else { &[] };
        let cases = CASES.iter().chain(kernel).chain(ON_REQUEST);
        cases.map(move |(name, _)| (format!("{title}::{name}"), *name, *way))
    });
    let chosen: Vec<(String, &str, Way)> = all
        .filter(|(title, name, _)| {
            let unasked = filters.is_empty() && !ON_REQUEST.iter().any(|(known, _)| known == name);
            unasked || filters.iter().any(|part| fits(title, part))
        })
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
    let directory = tempfile::Builder::new().prefix("postern-forward-").tempdir().map_err(text)?;
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
        .env(world::KERNEL_VARIABLE, if way == Way::Kernel { "1" } else { "" })
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
