//! The host side against the real kernel, as root and as an ordinary user.
//!
//! Starting the host needs a process without threads, so this harness runs each case in a process of its own: the
//! same executable again with the case's name in the environment. As root each case runs twice, the second time as
//! a user without any privilege or group; otherwise once. The same executable is also the program that cases run in
//! instances ([`tools`]).
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a case fails by panicking, with the value at hand"
)]

mod cases;
mod lifetime;
mod relay;
mod secure_shell;
mod tools;
mod traffic;

use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// A user number that no system uses.
const NOBODY_IN_PARTICULAR: u32 = 64_001;
const CASE_VARIABLE: &str = "POSTERN_TEST_CASE";
const DIR_VARIABLE: &str = "POSTERN_TEST_DIR";
const CASE_PATIENCE: Duration = Duration::from_secs(60);

type Case = (&'static str, fn(&Context));

const CASES: &[Case] = &[
    ("isolation", cases::isolation),
    ("hidden_directories", cases::hidden_directories),
    ("identity_and_files", cases::identity_and_files),
    ("exit_status", cases::exit_status),
    ("stopping", cases::stopping),
    ("terminal", cases::terminal),
    ("terminal_relay", cases::terminal_relay),
    ("descriptors_travel", cases::descriptors_travel),
    ("refusals", cases::refusals),
    ("many_at_once", cases::many_at_once),
    ("probe", cases::probe),
    ("ping_and_transfer", traffic::ping_and_transfer),
    ("doors", traffic::doors),
    ("foreign_namespace", traffic::foreign_namespace),
    ("secure_shell", secure_shell::secure_shell),
    ("fabric_is_silent", traffic::fabric_is_silent),
    ("tap", traffic::tap),
    ("many_ports", traffic::many_ports),
    ("port_refusals", traffic::port_refusals),
    ("kill_leaves_nothing", lifetime::kill_leaves_nothing),
    ("kill_at_any_moment", lifetime::kill_at_any_moment),
    ("shutdown_leaves_nothing", lifetime::shutdown_leaves_nothing),
    ("keeper_death_is_seen", lifetime::keeper_death_is_seen),
    ("too_late", lifetime::too_late),
];

/// What a case finds.
pub struct Context {
    /// This executable, world-readable.
    pub program: PathBuf,
    /// A directory of the case's own.
    pub dir: PathBuf,
    /// Whether it runs as root.
    pub root: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().map(String::as_str) == Some("tool") {
        return tools::run(&arguments[1..]);
    }
    if let Ok(name) = std::env::var(CASE_VARIABLE) {
        return run_case_here(&name);
    }
    // Runners ask for `--format terse`, which names no test.
    let named = |argument: &&String| !argument.starts_with("--") && *argument != "terse";
    let filter: Vec<&String> = arguments.iter().filter(named).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let chosen: Vec<(String, Case, bool)> = ways()
        .into_iter()
        .flat_map(|(way, root)| CASES.iter().map(move |case| (format!("{way}::{}", case.0), *case, root)))
        .filter(|(name, _, _)| {
            filter.is_empty()
                || filter.iter().any(|part| if exact { name == *part } else { name.contains(part.as_str()) })
        })
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            chosen.iter().for_each(|(name, _, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    run_all(&chosen)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn ways() -> Vec<(&'static str, bool)> {
    if is_root() { vec![("root", true), ("user", false)] } else { vec![("user", false)] }
}

fn run_all(chosen: &[(String, Case, bool)]) -> ExitCode {
    let mut failed = Vec::new();
    println!("running {} tests", chosen.len());
    for (name, case, root) in chosen {
        let began = Instant::now();
        let outcome = run_case_apart(case.0, *root);
        let took = began.elapsed().as_millis();
        match outcome {
            Ok(output) => {
                println!("test {name} ... ok ({took} ms)");
                output
                    .lines()
                    .filter(|line| line.starts_with("note:"))
                    .for_each(|line| println!("    {line}"));
            }
            Err(output) => {
                println!("test {name} ... FAILED ({took} ms)\n{output}");
                failed.push(name);
            }
        }
    }
    println!("\ntest result: {} passed; {} failed: {failed:?}", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a case in a process of its own. Returns what it printed.
fn run_case_apart(case: &str, root: bool) -> Result<String, String> {
    let dir =
        tempfile::Builder::new().prefix("postern-host-").tempdir().map_err(|error| error.to_string())?;
    let (program, work) = prepare(dir.path(), root).map_err(|error| error.to_string())?;
    let output = std::fs::File::create(dir.path().join("output")).map_err(|error| error.to_string())?;
    let mut command = Command::new(&program);
    command
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &work)
        .env("SECRET_OF_THE_CALLER", "swordfish")
        .env(CASE_VARIABLE, case)
        .env(DIR_VARIABLE, &work)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(|error| error.to_string())?)
        .stderr(output);
    if let Some(server) = std::env::var_os(secure_shell::SERVER_VARIABLE) {
        command.env(secure_shell::SERVER_VARIABLE, server);
    }
    if is_root() && !root {
        drop_privileges(&mut command);
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let deadline = Instant::now() + CASE_PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.to_string(),
            Ok(None) if Instant::now() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                break "too slow".to_owned();
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => break error.to_string(),
        }
    };
    let mut text = String::new();
    std::fs::File::open(dir.path().join("output"))
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if status == "exit status: 0" { Ok(text) } else { Err(format!("{text}\n{status}")) }
}

/// A world-readable copy of this executable, and a directory that belongs to who runs the case.
fn prepare(dir: &Path, root: bool) -> std::io::Result<(PathBuf, PathBuf)> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
    let tools = dir.join("tools");
    std::fs::create_dir(&tools)?;
    let program = tools.join("case");
    let this = std::env::current_exe()?;
    if std::fs::hard_link(&this, &program).is_err() {
        std::fs::copy(&this, &program)?;
    }
    let work = dir.join("work");
    std::fs::create_dir(&work)?;
    if is_root() && !root {
        chown(&work, Some(NOBODY_IN_PARTICULAR), Some(NOBODY_IN_PARTICULAR))?;
    }
    Ok((program, work))
}

#[expect(unsafe_code, reason = "only so can a child give up its groups before it is started")]
fn drop_privileges(command: &mut Command) {
    // SAFETY: the closure does system calls only.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setgroups(&[])?;
            nix::unistd::setgid(NOBODY_IN_PARTICULAR.into())?;
            Ok(nix::unistd::setuid(NOBODY_IN_PARTICULAR.into())?)
        });
    }
}

fn run_case_here(name: &str) -> ExitCode {
    let context = Context {
        program: std::env::current_exe().expect("this program"),
        dir: std::env::var_os(DIR_VARIABLE).map(PathBuf::from).expect("a directory"),
        root: is_root(),
    };
    if let Some(victim) = lifetime::victim(name) {
        victim(&context);
        return ExitCode::SUCCESS;
    }
    let Some((_, case)) = CASES.iter().find(|(known, _)| *known == name) else {
        eprintln!("no case `{name}`");
        return ExitCode::FAILURE;
    };
    // A panic unwinds through the case, so that its host is dropped, and then makes the exit status.
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&context))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
