//! `cargo xtask install`: the client programs that labs, tests and benchmarks use.
//!
//! INVARIANTS
//! - Nothing is installed on the host: no package, no service, no file outside the tools folder.
//! - A program counts as installed once it ran and told its version.
//! - Running it again does nothing but look.

mod cargo_tools;
mod debian;
mod python;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use crate::process::{Job, clean};
use crate::workspace::{SYSTEM_FOLDERS, TOOLS_VARIABLE, Workspace, search_path};

pub use cargo_tools::Subcommand;

/// What programs are installed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Purpose {
    /// The labs: aws, OpenSSH, traceroute, dig, ip, ping
    Demo,
    /// The same, and what `cargo xtask test` runs
    Test,
    /// The same as for the labs, and what Postern is measured against
    Bench,
}

/// A program that comes from the host or from a Debian package.
struct Program {
    name: &'static str,
    package: &'static str,
    /// Other names the package's file goes by before its installation scripts have run.
    unpacked: &'static [&'static str],
    version: &'static [&'static str],
    /// What the line that tells the version holds; the exit status says nothing with some of them.
    marker: &'static str,
}

const fn program(
    name: &'static str,
    package: &'static str,
    version: &'static [&'static str],
    marker: &'static str,
) -> Program {
    Program { name, package, unpacked: &[], version, marker }
}

const LAB_PROGRAMS: [Program; 9] = [
    program("ssh", "openssh-client", &["-V"], "OpenSSH_"),
    program("ssh-keygen", "openssh-client", &["-?"], "usage: ssh-keygen"),
    // sshd has no option for its version before 9.3: the complaint about the option names it.
    program("sshd", "openssh-server", &["-V"], "OpenSSH_"),
    Program {
        name: "traceroute",
        package: "traceroute",
        unpacked: &["traceroute.db"],
        version: &["--version"],
        marker: "traceroute",
    },
    program("dig", "bind9-dnsutils", &["-v"], "DiG"),
    program("nslookup", "bind9-dnsutils", &["-version"], "nslookup"),
    program("ip", "iproute2", &["-V"], "iproute2"),
    program("ss", "iproute2", &["-V"], "iproute2"),
    program("ping", "iputils-ping", &["-V"], "ping"),
];

const BENCH_PROGRAMS: [Program; 3] = [
    program("haproxy", "haproxy", &["-v"], "HAProxy version"),
    program("nft", "nftables", &["--version"], "nftables"),
    // The package of its module for streams brings the program.
    program("nginx", "libnginx-mod-stream", &["-v"], "nginx version"),
];

/// What compiles the kernel program.
const BPF_PROGRAMS: [Program; 2] = [
    program("clang-19", "clang-19", &["--version"], "clang version 19"),
    program("llvm-strip-19", "llvm-19", &["--version"], "LLVM version 19"),
];

/// What tests look at Postern with, beside the client programs of the labs.
const TEST_PROGRAMS: [Program; 2] = [
    program("curl", "curl", &["--version"], "curl "),
    program("openssl", "openssl", &["version"], "OpenSSL "),
];

/// Installs the compiler of the kernel program, if it is missing.
pub fn compiler(workspace: &Workspace) -> anyhow::Result<()> {
    let tools = workspace.tools_dir()?;
    let _lock = lock(&tools)?;
    install_programs(&tools, &BPF_PROGRAMS.iter().collect::<Vec<_>>())
}

fn lock(tools: &Path) -> anyhow::Result<File> {
    fs::create_dir_all(tools.join("bin"))?;
    let lock = File::create(tools.join(".lock")).context("the tools folder cannot be locked")?;
    lock.lock().context("the tools folder cannot be locked")?;
    Ok(lock)
}

/// Installs what is missing and prints one line per program: name, version, where.
pub fn run(workspace: &Workspace, purpose: Purpose) -> anyhow::Result<()> {
    let tools = workspace.tools_dir()?;
    println!("Client programs, in {}:", tools.display());
    let _lock = lock(&tools)?;
    python::install(&tools)?;
    python::install_moto(&tools)?;
    let mut programs: Vec<&Program> = LAB_PROGRAMS.iter().collect();
    match purpose {
        Purpose::Demo => {}
        Purpose::Test => programs.extend(BPF_PROGRAMS.iter().chain(&TEST_PROGRAMS)),
        Purpose::Bench => programs.extend(&BENCH_PROGRAMS),
    }
    install_programs(&tools, &programs)?;
    match purpose {
        Purpose::Demo | Purpose::Bench => {}
        Purpose::Test => cargo_tools::install(&tools),
    }
    Ok(())
}

/// Installs what the client programs need of Python's, without the others. Returns their environment.
pub fn python(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let tools = workspace.tools_dir()?;
    let _lock = lock(&tools)?;
    python::install(&tools)
}

/// Says how to use the installed programs by hand.
pub fn print_usage(tools: &Path) {
    println!("To use them by hand:");
    println!("  export {TOOLS_VARIABLE}={0} PATH={0}/bin:$PATH", tools.display());
}

/// Leaves programs of the host where they are, gets the others from their packages, and tries every one.
fn install_programs(tools: &Path, programs: &[&Program]) -> anyhow::Result<()> {
    let missing: Vec<&Program> =
        programs.iter().copied().filter(|each| locate(tools, each).is_none()).collect();
    if !missing.is_empty() {
        let mut packages: Vec<&str> = missing.iter().map(|each| each.package).collect();
        packages.sort_unstable();
        packages.dedup();
        debian::unpack(tools, &packages)?;
        for program in missing {
            debian::wrap(tools, program.name, program.unpacked)
                .with_context(|| format!("`{}` of package `{}`", program.name, program.package))?;
        }
    }
    for program in programs {
        let Some(path) = locate(tools, program) else {
            bail!("`{}` is not there after installing package `{}`", program.name, program.package);
        };
        let version = probe(tools, &path, program.version, program.marker)?;
        print_tool(program.name, &version, &path);
    }
    Ok(())
}

/// Where a program is: a wrapper of ours, or the host's own. Folders of people (homes, version managers) in
/// PATH do not count: sandboxes cannot see them.
fn locate(tools: &Path, program: &Program) -> Option<PathBuf> {
    let ours = tools.join("bin").join(program.name);
    if ours.is_file() {
        return Some(ours);
    }
    SYSTEM_FOLDERS.iter().map(|folder| Path::new(folder).join(program.name)).find(|path| path.is_file())
}

/// Runs a program and returns the line that holds `marker`.
fn probe(tools: &Path, path: &Path, arguments: &[&str], marker: &str) -> anyhow::Result<String> {
    let mut command = bare(path, tools);
    command.args(arguments);
    let finished =
        Job::new(path.display().to_string(), command).timeout(std::time::Duration::from_secs(60)).run()?;
    match finished.output.lines().find(|line| line.contains(marker) || line.starts_with(NO_ACCOUNT)) {
        Some(line) => Ok(line.trim().to_owned()),
        None => {
            bail!("`{}` does not run ({}):\n{}", path.display(), finished.failure(), finished.output.trim())
        }
    }
}

/// A program with nothing of the caller's environment, as instances run it.
fn bare(program: &Path, tools: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", search_path(tools)).env("LANG", "C.UTF-8").env("HOME", "/nonexistent");
    command
}

/// What OpenSSH's programs say, and nothing else, to a user id that the host has no account for. Inside an
/// instance every user has one, so this shows as well that the program runs.
const NO_ACCOUNT: &str = "No user exists for uid";

fn print_tool(name: &str, version: &str, path: &Path) {
    // Some programs tell no version: that they explain themselves shows that they run.
    let tells_none = version.starts_with("usage:") || version.starts_with(NO_ACCOUNT);
    let version = if tells_none { "runs" } else { version };
    let version: String = version.chars().take(44).collect();
    println!("  {name:<13} {version:<44}  {}", path.display());
}

/// Writes an executable script whole or not at all.
fn write_script(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let draft = path.with_extension("new");
    fs::write(&draft, text).with_context(|| format!("`{}` cannot be written", draft.display()))?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
    fs::rename(&draft, path).with_context(|| format!("`{}` cannot be written", path.display()))
}

/// A word that a POSIX shell reads back as `text`.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Downloads and builds get the caller's environment (proxies, certificates), but not what would lead them
/// astray.
fn fetching(program: &str) -> Command {
    let mut command = clean(program);
    for name in ["PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PYTHONPATH", "PYTHONHOME"]
    {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_every_character() {
        assert_eq!(quote("/a b/$HOME/`x`/\\"), "'/a b/$HOME/`x`/\\'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }

    #[test]
    fn every_program_of_a_purpose_is_named_once() {
        let mut names: Vec<&str> = LAB_PROGRAMS
            .iter()
            .chain(&BENCH_PROGRAMS)
            .chain(&BPF_PROGRAMS)
            .chain(&TEST_PROGRAMS)
            .map(|each| each.name)
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
