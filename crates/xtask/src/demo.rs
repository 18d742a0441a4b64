//! `cargo xtask demo`: the first lab, from nothing, with real packets.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;

use crate::install::{self, Purpose};
use crate::process::{Job, Show, cargo, clean};
use crate::workspace::{DEMO_LAB, TOOLS_VARIABLE, Workspace, search_path};

/// Installs what the lab uses, builds, and runs the lab in a region of its own; passes on its exit status.
pub fn run(workspace: &Workspace) -> anyhow::Result<ExitCode> {
    println!("[1/3] The programs that the lab runs in its instances");
    install::run(workspace, Purpose::Demo)?;

    println!("\n[2/3] Building Postern in release mode (some minutes the first time)");
    let mut build = cargo();
    build.args(["build", "--release", "--package", "postern"]).current_dir(workspace.root());
    Job::new("cargo build", build).show(Show::Live).timeout(Duration::from_secs(3600)).require()?;

    println!("\n[3/3] Lab {DEMO_LAB}: a region of its own is started, the lab runs in it, all is taken down");
    let postern = workspace.target().join("release/postern");
    let tools = workspace.tools_dir()?;
    // Not through a pipe: the lab may use the terminal, and Ctrl-C must reach it.
    let mut lab: Command = clean(&postern);
    lab.args(["lab", "run", DEMO_LAB]).current_dir(workspace.root());
    lab.env(TOOLS_VARIABLE, &tools).env("PATH", search_path(&tools));
    let status = lab.status().with_context(|| format!("`{}` cannot be started", postern.display()))?;
    if status.success() {
        println!("\nLab {DEMO_LAB}: every step held.");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("\nLab {DEMO_LAB} failed: {status}");
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
