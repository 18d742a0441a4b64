//! `postern up`: a region until it is told to stop.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use postern_dataplane::host::{self, Host, HostError, StartOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::UpArgs;
use crate::paths::StateDir;
use crate::region::{Options, Region};

/// Runs it.
pub fn run(state_dir: StateDir, args: UpArgs) -> anyhow::Result<ExitCode> {
    log_to_stderr();
    let options = options(state_dir, args)?;
    let host = start_host(&options);
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    runtime.block_on(async {
        let region = Region::start(host, options).await?;
        announce(&region);
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::select! {
            () = region.stopped() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
        region.shutdown().await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What the arguments mean; the state directory exists afterwards.
pub fn options(state_dir: StateDir, args: UpArgs) -> anyhow::Result<Options> {
    let UpArgs { listen, region, dev, ephemeral, tools, forwarder } = args;
    if !listen.ip().is_loopback() {
        anyhow::bail!(
            "the API listens on loopback addresses only, and `{}` is none: clients elsewhere need TLS, which is not \
             required of them yet",
            listen.ip()
        );
    }
    let tools = tools
        .map(|tools| tools.canonicalize().with_context(|| format!("`{}`", tools.display())))
        .transpose()?;
    let region = postern_model::Region::new(&region)?;
    state_dir.create()?;
    Ok(Options { state_dir, listen, region, dev, ephemeral, tools, forwarder_only: forwarder })
}

/// Starts the host side. INVARIANT: called before any thread exists.
pub fn start_host(options: &Options) -> Result<Host, HostError> {
    host::start(StartOptions {
        runtime_dir: options.state_dir.runtime(),
        hidden: vec![options.state_dir.root().to_owned()],
    })
}

/// Logs to standard error, for people on a terminal, as JSON elsewhere; RUST_LOG chooses how much.
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,s3s=off"));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logger.with_target(false).init();
    } else {
        logger.json().init();
    }
}

fn announce(region: &Region) {
    println!("ready: {} (packets: {})", region.url(), region.packets_in_words());
    println!("point aws at it:  eval \"$(postern env)\"");
}
