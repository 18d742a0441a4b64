//! `cargo xtask dist`: the release archive.
//!
//! INVARIANT: the archive is made only from a binary that was seen to be static and to start; equal inputs give an
//! equal archive (names sorted, owners and times fixed).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process::{Job, Show, cargo, clean};
use crate::workspace::Workspace;

/// Shells that completions are written for.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Builds, checks and packs.
pub fn run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    let target = choose_target(&host_target()?, &installed_targets());
    println!("Building a static postern {} for {target}", workspace.version());
    let binary = build(workspace, &target)?;
    check(&binary)?;

    let dist = workspace.target().join("dist");
    let name = format!("postern-{}-{target}", workspace.version());
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fill(workspace, &binary, &folder)?;
    checksums(&folder)?;
    let archive = pack(&dist, &name)?;
    fs::remove_dir_all(&folder)?;
    println!("{}", archive.display());
    Ok(ExitCode::SUCCESS)
}

/// The toolchain's own target triple.
fn host_target() -> anyhow::Result<String> {
    let mut command = clean("rustc");
    command.arg("-vV");
    let output = Job::new("rustc -vV", command).require()?;
    let host = output.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host")
}

/// Targets whose standard library is installed; none known where the toolchain does not come from rustup.
fn installed_targets() -> Vec<String> {
    let mut command = clean("rustup");
    command.args(["target", "list", "--installed"]);
    match Job::new("rustup target list", command).require() {
        Ok(output) => output.lines().map(|line| line.trim().to_owned()).collect(),
        Err(_) => Vec::new(),
    }
}

/// musl if its standard library is there, else glibc linked statically.
fn choose_target(host: &str, installed: &[String]) -> String {
    let musl = host.replace("-linux-gnu", "-linux-musl");
    if installed.contains(&musl) { musl } else { host.to_owned() }
}

fn build(workspace: &Workspace, target: &str) -> anyhow::Result<PathBuf> {
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-feature=+crt-static");
    let mut command = cargo();
    // The target is named although it is the host's: so the flag does not reach procedural macros.
    command.args(["build", "--release", "--locked", "--package", "postern", "--target", target]);
    command.env("RUSTFLAGS", flags.trim()).current_dir(workspace.root());
    Job::new("cargo build", command).show(Show::Live).timeout(Duration::from_secs(3600)).require()?;
    Ok(workspace.target().join(target).join("release/postern"))
}

/// Fails unless the binary needs no shared library and starts in an empty environment.
fn check(binary: &Path) -> anyhow::Result<()> {
    let mut ldd = Command::new("ldd");
    ldd.arg(binary).env("LC_ALL", "C");
    let libraries = Job::new("ldd", ldd).run()?.output;
    if !is_static(&libraries) {
        bail!("`{}` is not static:\n{libraries}", binary.display());
    }
    let mut version = Command::new(binary);
    version.arg("--version").env_clear();
    let version = Job::new("postern --version", version).timeout(Duration::from_secs(30)).require()?;
    println!("Statically linked, and starts: {}", version.trim());
    Ok(())
}

/// What ldd says about static programs and about static position-independent ones.
fn is_static(ldd: &str) -> bool {
    ldd.contains("statically linked") || ldd.contains("not a dynamic executable")
}

fn fill(workspace: &Workspace, binary: &Path, folder: &Path) -> anyhow::Result<()> {
    let root = workspace.root();
    copy(binary, &folder.join("postern"))?;
    for name in ["LICENSE", "NOTICE"] {
        copy(&root.join(name), &folder.join(name))?;
    }
    copy(&root.join("packaging/postern.service"), &folder.join("postern.service"))?;
    fs::create_dir(folder.join("completions"))?;
    for shell in SHELLS {
        let mut command = Command::new(binary);
        command.args(["completions", shell]).env_clear();
        let script = Job::new(format!("postern completions {shell}"), command).require()?;
        fs::write(folder.join("completions").join(format!("postern.{shell}")), script)?;
    }
    fs::create_dir(folder.join("labs"))?;
    for entry in fs::read_dir(root.join("labs"))? {
        let path = entry?.path();
        if let Some(name) = path.file_name()
            && path.is_file()
        {
            copy(&path, &folder.join("labs").join(name))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("`{}` cannot be copied", from.display()))?;
    Ok(())
}

/// Writes SHA256SUMS over every file of the folder.
fn checksums(folder: &Path) -> anyhow::Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "find . -type f | LC_ALL=C sort | sed 's|^./||' | xargs -d '\\n' sha256sum"]);
    command.current_dir(folder);
    let sums = Job::new("sha256sum", command).require()?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    Ok(())
}

/// Makes the archive and the checksum beside it.
fn pack(dist: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let file = format!("{name}.tar.gz");
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--mode=u+w,go-w,a+rX",
    ]);
    // gzip without name and time, so that the bytes depend on the content alone.
    tar.args(["--use-compress-program", "gzip -9n", "--create", "--file", &file, name]).current_dir(dist);
    Job::new("tar", tar).require()?;
    let mut sum = Command::new("sha256sum");
    sum.arg(&file).current_dir(dist);
    fs::write(dist.join("SHA256SUMS"), Job::new("sha256sum", sum).require()?)?;
    Ok(dist.join(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn musl_is_preferred_where_it_is_installed() {
        let gnu = "x86_64-unknown-linux-gnu";
        let musl = "x86_64-unknown-linux-musl".to_owned();
        assert_eq!(choose_target(gnu, &[gnu.to_owned()]), gnu);
        assert_eq!(choose_target(gnu, &[gnu.to_owned(), musl.clone()]), musl);
        assert_eq!(choose_target(gnu, &[]), gnu);
    }

    #[test]
    fn only_static_programs_pass() {
        assert!(is_static("\tstatically linked\n"));
        assert!(is_static("\tnot a dynamic executable\n"));
        assert!(!is_static("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n"));
    }
}
