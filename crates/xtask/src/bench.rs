//! `cargo xtask bench`: installs what Postern is measured against, builds in release mode, and measures.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::install::{self, Purpose};
use crate::process::cargo;
use crate::workspace::{TOOLS_VARIABLE, Workspace, search_path};

/// The document that figures are kept in.
const DOCUMENT: &str = "docs/performance.md";

/// What is measured, and what becomes of the figures.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What to measure, instead of everything: paths, private-link, first-packet, route-change, decide, scale,
    /// isolation, policy, s3, dynamodb
    name: Option<String>,
    /// How often each figure is taken; the median counts
    #[arg(long)]
    rounds: Option<u32>,
    /// How long one throughput or rate is measured, in seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// The processors to use, such as `0,1`: the first for clients, the second for servers
    #[arg(long)]
    cpus: Option<String>,
    /// Of the paths, measure only those with one of these in their names, such as `kernel,nftables`
    #[arg(long)]
    only: Option<String>,
    /// Write every figure of every round to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Put the tables into docs/performance.md; everything has to be measured for it
    #[arg(long, conflicts_with = "name")]
    write_docs: bool,
}

impl Options {
    /// As the benchmark program has them.
    fn arguments(&self, workspace: &Workspace) -> anyhow::Result<Vec<String>> {
        let mut arguments: Vec<String> = self.name.iter().cloned().collect();
        let mut add = |name: &str, value: Option<String>| {
            arguments.extend(value.into_iter().flat_map(|value| [format!("--{name}"), value]));
        };
        add("rounds", self.rounds.map(|rounds| rounds.to_string()));
        add("seconds", self.seconds.map(|seconds| seconds.to_string()));
        add("cpus", self.cpus.clone());
        add("only", self.only.clone());
        let json = self.json.as_ref().map(std::path::absolute).transpose()?;
        add("json", json.map(|json| json.display().to_string()));
        let document = self.write_docs.then(|| workspace.root().join(DOCUMENT));
        add("docs", document.map(|document| document.display().to_string()));
        Ok(arguments)
    }
}

/// The benchmark that has programs of others to be built.
const POLICY: &str = "policy";

/// The policy evaluators to compare with, which are in no other build.
fn build_rivals(workspace: &Workspace) -> anyhow::Result<()> {
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--manifest-path", "crates/bench/rivals/Cargo.toml"]);
    command.arg("--target-dir").arg(workspace.target().join("rivals")).current_dir(workspace.root());
    let built = command.status().context("cargo cannot be started")?.success();
    anyhow::ensure!(built, "the other policy evaluators cannot be built");
    Ok(())
}

/// Measures; passes on the exit status.
pub fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<ExitCode> {
    println!("[1/2] What Postern is measured against");
    install::run(workspace, Purpose::Bench)?;

    println!("\n[2/2] Building in release mode (some minutes the first time), then measuring");
    let tools = workspace.tools_dir()?;
    let mut command = cargo();
    command.args(["build", "--release", "--package", "postern"]).current_dir(workspace.root());
    anyhow::ensure!(
        command.status().context("cargo cannot be started")?.success(),
        "postern cannot be built"
    );
    if options.name.as_deref().is_none_or(|name| name == POLICY) {
        build_rivals(workspace)?;
    }
    // Not through a pipe: progress is for the terminal, and Ctrl-C must reach the benchmarks, which clean up.
    let mut command = cargo();
    command.args(["run", "--release", "--package", "postern-bench", "--"]);
    command.args(options.arguments(workspace)?).current_dir(workspace.root());
    command.arg("--rivals").arg(workspace.target().join("rivals/release/postern-bench-rivals"));
    command.env(TOOLS_VARIABLE, &tools).env("PATH", search_path(&tools));
    let status = command.status().context("cargo cannot be started")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
