//! `postern lab`: the labs that ship with Postern, and the user's own.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};

use super::up;
use crate::cli::{LabCommand, Output, UpArgs};
use crate::lab::{self, JsonReporter, Lab, Reporter, Shard, TextReporter};
use crate::lab_target::RegionTarget;
use crate::paths::StateDir;
use crate::region::Region;

/// How many regions share the runs with a step left out.
const OMISSION_REGIONS: usize = 6;

/// The labs that ship with Postern.
const SHIPPED: [(&str, &str); 2] = [
    ("gateway-s3", include_str!("../../../../labs/gateway-s3.toml")),
    ("gateway-vs-nat", include_str!("../../../../labs/gateway-vs-nat.toml")),
];

/// Lists or runs labs.
pub fn run(state_dir: Option<&Path>, command: LabCommand, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::List => list(output),
        LabCommand::Run { name, on: true, without, omissions: _, shard: _ } => {
            let lab = load(&name)?;
            let target = RegionTarget::connect(&StateDir::resolve(state_dir)?, tools())?;
            run_one(&lab, &target, without, true, output)
        }
        LabCommand::Run { name, on: false, without: _, omissions: true, shard: None } => {
            verify(&name, output)
        }
        LabCommand::Run { name, on: false, without: _, omissions: true, shard: Some(index) } => {
            let lab = load(&name)?;
            in_own_region(move |target| {
                verify_shard(&lab, Shard { index, of: OMISSION_REGIONS }, target, output)
            })
        }
        LabCommand::Run { name, on: false, without, omissions: false, shard: _ } => {
            let lab = load(&name)?;
            in_own_region(move |target| run_one(&lab, target, without, false, output))
        }
    }
}

fn run_one(
    lab: &Lab,
    target: &RegionTarget,
    leave_out: Option<String>,
    cleanup: bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let options = lab::Options { leave_out, cleanup, ..lab::Options::default() };
    let outcome = lab::run(lab, &target, &mut *reporter(output), &options);
    Ok(if outcome.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list(output: Output) -> anyhow::Result<ExitCode> {
    let labs = SHIPPED.iter().map(|(name, text)| Lab::parse(text, name)).collect::<Result<Vec<_>, _>>()?;
    match output {
        Output::Text => {
            let mut rows = crate::table::table(&["lab", "what it shows"]);
            for lab in &labs {
                rows.add_row([&lab.name, &lab.title]);
            }
            crate::table::print(&rows);
        }
        Output::Json => {
            let labs = labs.iter().map(|lab| serde_json::json!({ "name": lab.name, "title": lab.title }));
            println!("{}", serde_json::to_string_pretty(&labs.collect::<Vec<_>>())?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A lab of Postern's by name, or a file.
fn load(name: &str) -> anyhow::Result<Lab> {
    if let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) {
        return Ok(Lab::parse(text, name)?);
    }
    let text = std::fs::read_to_string(name).with_context(|| {
        format!("`{name}` is neither a lab (postern lab list) nor a file that can be read")
    })?;
    Ok(Lab::parse(&text, name)?)
}

fn reporter(output: Output) -> Box<dyn Reporter> {
    match output {
        Output::Text => Box::new(TextReporter::new(std::io::stdout())),
        Output::Json => Box::new(JsonReporter::new(std::io::stdout())),
    }
}

/// Runs the lab without each of its API steps in turn. Most of the time is spent waiting for what does not come, so
/// several regions share the runs, each in a process of its own.
fn verify(name: &str, output: Output) -> anyhow::Result<ExitCode> {
    load(name)?;
    let program = std::env::current_exe().context("this program cannot be found")?;
    let start = |index: usize| {
        let mut command = Command::new(&program);
        command.args(["lab", "run", name, "--omissions", "--shard", &index.to_string()]);
        if output == Output::Json {
            command.args(["--output", "json"]);
        }
        command.spawn().context("cannot start a region of its own")
    };
    let mut children = (0..OMISSION_REGIONS).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let mut passed = true;
    for child in &mut children {
        passed &= child.wait()?.success();
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A part of the runs, in one region, which is reset in between.
fn verify_shard(lab: &Lab, shard: Shard, target: &RegionTarget, output: Output) -> anyhow::Result<ExitCode> {
    let mut make_target = || {
        target.reset().map_err(|error| format!("{error:#}"))?;
        Ok(target)
    };
    let mut observe = |omission: &lab::Omission| match output {
        Output::Text => println!("{omission}"),
        Output::Json => println!("{}", serde_json::json!(omission)),
    };
    let report = lab::verify_omissions_of(lab, shard, &mut make_target, &mut observe);
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a region that goes when `lab` is done.
fn in_own_region(
    lab: impl FnOnce(&RegionTarget) -> anyhow::Result<ExitCode> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    if std::env::var_os("RUST_LOG").is_some() {
        up::log_to_stderr();
    }
    let directory =
        tempfile::Builder::new().prefix("postern-lab-").tempdir().context("cannot make a directory")?;
    let args = UpArgs {
        listen: "127.0.0.1:0".parse()?,
        listen_names: Vec::new(),
        region: "us-east-1".to_owned(),
        dev: false,
        ephemeral: true,
        uplink: None,
        tools: tools(),
        audit_log_size: NonZeroU32::MIN,
        audit_log_files: NonZeroU32::MIN,
    };
    let options = up::options(StateDir::resolve(Some(directory.path()))?, args)?;
    let state_dir = options.state_dir.clone();
    let host = up::start_host(&options);
    if let Err(error) = &host {
        bail!("a lab needs packets: {error}");
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    runtime.block_on(async {
        let region = Region::start(host, options).await?;
        let ran =
            tokio::task::spawn_blocking(move || lab(&RegionTarget::connect(&state_dir, tools())?)).await;
        region.shutdown().await?;
        ran.context("the lab ended early")?
    })
}

/// Where the client programs are: as told, or where `cargo xtask install` puts them.
fn tools() -> Option<PathBuf> {
    let told = std::env::var_os("POSTERN_TOOLS").map(PathBuf::from);
    told.or_else(|| std::env::current_dir().ok().map(|here| here.join("target/tools")))
        .filter(|path| path.is_dir())
}
