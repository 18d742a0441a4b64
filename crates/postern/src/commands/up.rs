//! `postern up`: a region until it is told to stop.

use std::io::{IsTerminal, Write};
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use postern_dataplane::host::{self, Host, HostError, Orphan, StartOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Output, UpArgs};
use crate::paths::StateDir;
use crate::region::{Options, Region, Rotation};
use crate::supervisor::{self, News};

/// For how long everything goes on without this process where nothing else was said: a supervisor has started it again
/// long before.
const LINGER_SECONDS: u32 = 60;
const MIB: NonZeroU64 = NonZeroU64::new(1 << 20).unwrap();

/// Runs it.
pub fn run(state_dir: StateDir, args: UpArgs, output: Output) -> anyhow::Result<ExitCode> {
    log_to_stderr();
    let options = options(state_dir, args)?;
    let taken = options.state_dir.take()?;
    let host = take_over_or_start(&options)?;
    raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    runtime.block_on(async {
        let region = Region::start(taken, host, options).await?;
        // Before anybody is told: whoever hears that it is ready may end it at once.
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        announce(&region, output);
        supervisor::tell(News::Ready);
        tokio::select! {
            () = region.stopped() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        supervisor::tell(News::Stopping);
        tracing::info!("ending");
        region.shutdown().await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What the arguments mean; the state directory exists afterwards.
pub fn options(state_dir: StateDir, args: UpArgs) -> anyhow::Result<Options> {
    let UpArgs {
        listen,
        listen_names,
        region,
        dev,
        ephemeral,
        uplink,
        sns_to,
        verify_dns,
        verify_dns_again,
        tools,
        audit_log_size,
        audit_log_files,
        forwarder,
        linger,
    } = args;
    if dev && !listen.ip().is_loopback() {
        anyhow::bail!(
            "with --dev whoever reaches the API is root, so it listens on loopback addresses only, and `{}` is none",
            listen.ip()
        );
    }
    if let Some(link) = &uplink {
        host::outside::check_link(link.as_str())?;
    }
    let bytes = NonZeroU64::from(audit_log_size).saturating_mul(MIB);
    let audit_log = Rotation { bytes, kept: audit_log_files };
    let tools = tools
        .map(|tools| tools.canonicalize().with_context(|| format!("--tools: `{}`", tools.display())))
        .transpose()?;
    let region = postern_model::Region::new(&region)?;
    let linger = linger_seconds(linger, forwarder, ephemeral)?;
    state_dir.create()?;
    Ok(Options {
        state_dir,
        listen,
        listen_names,
        region,
        dev,
        ephemeral,
        uplink,
        sns_to,
        verify_dns,
        verify_dns_again: Duration::from_secs(verify_dns_again.into()),
        tools,
        audit_log,
        forwarder_only: forwarder,
        linger,
    })
}

/// For how long everything goes on without this process, as asked for or as is usual.
fn linger_seconds(asked: Option<u32>, forwarder: bool, ephemeral: bool) -> anyhow::Result<u32> {
    let obstacles = [
        (forwarder, "with --forwarder this process carries all packets"),
        (ephemeral, "with --ephemeral there is no state to come back to"),
        (
            !nix::unistd::geteuid().is_root(),
            "only root has the kernel program, which carries packets meanwhile",
        ),
    ];
    let obstacle = obstacles.iter().find(|(there, _)| *there).map(|(_, why)| why);
    match (asked, obstacle) {
        (Some(1..), Some(why)) => anyhow::bail!("--linger: {why}"),
        (Some(seconds), _) => Ok(seconds),
        (None, Some(_)) => Ok(0),
        (None, None) => Ok(LINGER_SECONDS),
    }
}

/// Takes over what a region with this state directory left when it was killed, if that is still there; otherwise starts
/// the host side anew. INVARIANT: called before any thread exists, by whoever has the state directory.
fn take_over_or_start(options: &Options) -> anyhow::Result<Result<Host, HostError>> {
    let socket = options.state_dir.keeper_socket();
    let unwanted = [
        (options.forwarder_only, "packets are to be carried by the forwarder"),
        (options.ephemeral, "nothing is to be kept"),
    ];
    match unwanted.iter().find(|(is, _)| *is).map(|(_, why)| why) {
        Some(reason) => match host::end(&socket) {
            Ok(true) => tracing::warn!(reason, "what a killed region left was ended"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "what a killed region left does not end"),
        },
        None => match host::take_over(&socket) {
            Orphan::Taken(host) => return Ok(Ok(*host)),
            Orphan::None => {}
            Orphan::Anothers(process) => anyhow::bail!(
                "the keeper of a region that runs, process {process}, listens at `{}`",
                socket.display()
            ),
            Orphan::Ended(reason) => {
                tracing::warn!(reason, "what a killed region left cannot be gone on with, and was ended");
            }
        },
    }
    let host = start_host(options);
    if let Ok(host) = &host
        && options.linger > 0
    {
        host.keep_for_others(&socket);
    }
    Ok(host)
}

/// Connections are descriptors, and what a process gets by default is little. Called after the host side has started:
/// programs in instances keep the limit that they know.
fn raise_descriptors() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the number of descriptors stays as it is: fewer connections are taken at a time");
    }
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

fn announce(region: &Region, output: Output) {
    let (url, packets, uplink) = (region.url(), region.packets_in_words(), region.uplink_in_words());
    let text = match output {
        Output::Text => {
            let uplink = uplink.map(|uplink| format!("uplink: {uplink}\n")).unwrap_or_default();
            format!("ready: {url} (packets: {packets})\n{uplink}point aws at it:  eval \"$(postern env)\"\n")
        }
        Output::Json => {
            format!("{}\n", serde_json::json!({ "url": url, "packets": packets, "uplink": uplink }))
        }
    };
    // In one piece, for whoever waits for the first line may read no further; and nobody may be listening at all,
    // which is no reason to end.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
