//! `postern lab`: the labs that ship with Postern, and the user's own.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::up;
use crate::cli::{LabCommand, LabRunArgs, Output, UpArgs};
use crate::interrupt::{self, Came, INTERRUPTED};
use crate::lab::{self, JsonReporter, Lab, LeftOver, Leftovers, Reporter, Shard, TextReporter};
use crate::lab_target::RegionTarget;
use crate::paths::StateDir;
use crate::region::Region;
use crate::region_client::RegionClient;

/// How many regions share the runs with a step left out.
const OMISSION_REGIONS: usize = 6;

/// The labs that ship with Postern.
const SHIPPED: [(&str, &str); 9] = [
    ("gateway-s3", include_str!("../../../../labs/gateway-s3.toml")),
    ("gateway-vs-nat", include_str!("../../../../labs/gateway-vs-nat.toml")),
    ("policies", include_str!("../../../../labs/policies.toml")),
    ("interface-private-dns", include_str!("../../../../labs/interface-private-dns.toml")),
    ("s3-two-doors", include_str!("../../../../labs/s3-two-doors.toml")),
    ("privatelink", include_str!("../../../../labs/privatelink.toml")),
    ("who-may-come-in", include_str!("../../../../labs/who-may-come-in.toml")),
    ("limits", include_str!("../../../../labs/limits.toml")),
    ("other-programs", include_str!("../../../../labs/other-programs.toml")),
];

/// Lists or runs labs.
pub fn run(command: LabCommand, output: Output) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::List => list(output),
        LabCommand::Run(args) => run_lab(args, output),
    }
}

fn run_lab(args: LabRunArgs, output: Output) -> anyhow::Result<ExitCode> {
    let LabRunArgs { name, on, profile, set, without, omissions, shard, forwarder } = args;
    let lab = load(&name)?;
    let order = Order { lab, variables: variables(&set)?, leave_out: without, output };
    // INVARIANT: nothing is started for a lab that cannot be run.
    lab::check(&order.lab, &order.options())?;
    let tools = tools()?;
    match (on, omissions, shard) {
        (Some(url), _, _) => run_on(&order, &url, profile.as_deref(), tools),
        (None, false, _) => in_own_region(tools, forwarder, move |target, interrupt| {
            let options = lab::Options { interrupt: Some(interrupt), ..order.options() };
            let outcome = lab::run(&order.lab, &target, &mut *reporter(output), &options);
            Ok(code_of(&outcome))
        }),
        (None, true, None) => verify(&name, &set, forwarder, output),
        (None, true, Some(index)) => in_own_region(tools, forwarder, move |target, interrupt| {
            verify_shard(&order, Shard { index, of: OMISSION_REGIONS }, target, interrupt)
        }),
    }
}

/// What is to be run.
struct Order {
    lab: Lab,
    variables: BTreeMap<String, String>,
    leave_out: Option<String>,
    output: Output,
}

impl Order {
    fn options(&self) -> lab::Options<'static> {
        lab::Options {
            leave_out: self.leave_out.clone(),
            variables: self.variables.clone(),
            ..lab::Options::default()
        }
    }
}

/// The variables of `--set NAME=VALUE`, each given once.
fn variables(set: &[(String, String)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (name, value) in set {
        if variables.insert(name.clone(), value.clone()).is_some() {
            bail!("the variable `{name}` is set twice");
        }
    }
    Ok(variables)
}

fn code_of(outcome: &lab::Outcome) -> ExitCode {
    match (outcome.interrupted, outcome.passed()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

/// Runs a lab in the region at a URL, and takes down what it made: also when a step fails, and when it is interrupted.
fn run_on(
    order: &Order,
    url: &str,
    profile: Option<&str>,
    tools: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let client = RegionClient::at(url, profile)?;
    if let Some(why) = client.without_control()
        && let Some((step, what)) = order.lab.first_beyond_the_api(order.leave_out.as_deref())
    {
        bail!("step `{step}` {what}, which needs the region's control socket: {why}");
    }
    let (interrupt, leftovers) = (Arc::new(AtomicBool::new(false)), Arc::new(Leftovers::default()));
    let (flag, left) = (Arc::clone(&interrupt), Arc::clone(&leftovers));
    interrupt::watch(move |_, before| {
        if before == 0 {
            flag.store(true, Ordering::Relaxed);
            eprintln!("postern: interrupted: what the lab made is taken down; once more gives up at once");
            return;
        }
        eprintln!("postern: given up; {}", left_in_words(&left.list()));
        std::process::exit(INTERRUPTED.into());
    })?;
    let options = lab::Options {
        cleanup: true,
        interrupt: Some(&interrupt),
        leftovers: Some(&leftovers),
        ..order.options()
    };
    let target = RegionTarget::new(client, tools);
    let outcome = lab::run(&order.lab, &&target, &mut *reporter(order.output), &options);
    let left = leftovers.list();
    if !left.is_empty() {
        eprintln!("postern: {}", left_in_words(&left));
    }
    Ok(code_of(&outcome))
}

fn left_in_words(left: &[LeftOver]) -> String {
    if left.is_empty() {
        return "nothing is known to be left".to_owned();
    }
    let lines: Vec<String> = left.iter().map(|left| format!("\n  {}", left.command)).collect();
    format!("still to be taken down, in this order:{}", lines.concat())
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
fn verify(name: &str, set: &[(String, String)], forwarder: bool, output: Output) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("this program cannot be found")?;
    let start = |index: usize| {
        let mut command = Command::new(&program);
        command.args(["lab", "run", name, "--omissions", "--shard", &index.to_string()]);
        if forwarder {
            command.arg("--forwarder");
        }
        for (name, value) in set {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        if output == Output::Json {
            command.args(["--output", "json"]);
        }
        command.spawn().context("cannot start a region of its own")
    };
    let mut children = (0..OMISSION_REGIONS).map(start).collect::<anyhow::Result<Vec<_>>>()?;
    let numbers: Vec<Pid> = children.iter().filter_map(number).collect();
    interrupt::watch(move |came, _| match came {
        // It came to the regions as well: they take themselves down, and are waited for.
        Came::Interrupt => {}
        Came::Terminate => {
            for pid in &numbers {
                // One that has ended is not waited for before all have.
                let _ = kill(*pid, Signal::SIGTERM);
            }
        }
    })?;
    let mut passed = true;
    for child in &mut children {
        passed &= child.wait()?.success();
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn number(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().map(Pid::from_raw)
}

/// A part of the runs, in one region, which is reset in between.
fn verify_shard(
    order: &Order,
    shard: Shard,
    target: &RegionTarget,
    interrupt: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    let mut make_target = || {
        target.reset().map_err(|error| crate::said::said(&error))?;
        Ok(target)
    };
    let mut observe = |omission: &lab::Omission| match order.output {
        Output::Text => println!("{omission}"),
        Output::Json => println!("{}", serde_json::json!(omission)),
    };
    let options = lab::Options { interrupt: Some(interrupt), ..order.options() };
    let report = lab::verify_omissions_of(&order.lab, shard, &options, &mut make_target, &mut observe);
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts a region that goes when `lab` is done, or was interrupted.
fn in_own_region(
    tools: Option<PathBuf>,
    forwarder: bool,
    lab: impl FnOnce(&RegionTarget, &AtomicBool) -> anyhow::Result<ExitCode> + Send + 'static,
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
        // Programs of the lab may hear what its topics are told.
        sns_to: vec!["127.0.0.0/8".parse()?],
        verify_dns: Vec::new(),
        verify_dns_again: 3_600,
        tools: tools.clone(),
        audit_log_size: NonZeroU32::MIN,
        audit_log_files: NonZeroU32::MIN,
        forwarder,
        linger: None,
    };
    let options = up::options(StateDir::resolve(Some(directory.path()))?, args)?;
    let state_dir = options.state_dir.clone();
    let taken = options.state_dir.take()?;
    let host = up::start_host(&options);
    if let Err(error) = &host {
        bail!("a lab needs packets: {error}");
    }
    let interrupt = Arc::new(AtomicBool::new(false));
    end_on_signal(Arc::clone(&interrupt), directory.path().to_owned())?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    runtime.block_on(async {
        let region = Region::start(taken, host, options).await?;
        let run = move || lab(&RegionTarget::new(RegionClient::connect(&state_dir)?, tools), &interrupt);
        let ran = tokio::task::spawn_blocking(run).await;
        region.shutdown().await?;
        ran.context("the lab ended early")?
    })
}

/// The first signal ends the lab, and the region with it; the second one ends this process, and the kernel takes down
/// what hangs on it.
fn end_on_signal(interrupt: Arc<AtomicBool>, directory: PathBuf) -> anyhow::Result<()> {
    interrupt::watch(move |_, before| {
        if before == 0 {
            interrupt.store(true, Ordering::Relaxed);
            eprintln!("postern: interrupted: the lab's region is taken down; once more gives up at once");
            return;
        }
        match std::fs::remove_dir_all(&directory) {
            Ok(()) => eprintln!("postern: given up; nothing is left"),
            Err(error) => eprintln!("postern: given up; `{}` is left: {error}", directory.display()),
        }
        std::process::exit(INTERRUPTED.into());
    })
}

/// Where the client programs are: as told, or where `cargo xtask install` puts them.
fn tools() -> anyhow::Result<Option<PathBuf>> {
    if let Some(told) = std::env::var_os("POSTERN_TOOLS").filter(|told| !told.is_empty()) {
        let told = PathBuf::from(told);
        if !told.is_dir() {
            bail!("POSTERN_TOOLS: `{}` is not a directory", told.display());
        }
        return Ok(Some(told));
    }
    let here = std::env::current_dir().ok().map(|here| here.join("target/tools"));
    Ok(here.filter(|path| path.is_dir()))
}
