//! `postern exec` and `postern shell`: real programs in an instance.
//!
//! The region starts the program; this process only lends it its descriptors, or relays a terminal of the instance's.
//! The exit status is passed on.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context, bail};
use postern_dataplane::host::{pty_relay, window_size};

use crate::cli::ExecArgs;
use crate::control::client::Client;
use crate::control::{Reply, Request, exit_code};
use crate::paths::StateDir;
use crate::said::said;

/// Says what went wrong, if something did: the exit status tells that apart from the program's own.
pub fn passing_status(run: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    Ok(run().unwrap_or_else(|error| {
        eprintln!("postern: {}", said(&error));
        ExitCode::from(exit_code::POSTERN_FAILED)
    }))
}

/// Runs a program.
pub fn exec(state_dir: &StateDir, args: ExecArgs) -> anyhow::Result<ExitCode> {
    start(state_dir, args.instance, args.command)
}

/// Runs a login shell.
pub fn shell(state_dir: &StateDir, instance: String) -> anyhow::Result<ExitCode> {
    start(state_dir, instance, vec!["/bin/bash".to_owned(), "-l".to_owned()])
}

fn start(state_dir: &StateDir, instance: String, argv: Vec<String>) -> anyhow::Result<ExitCode> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let on_terminal = stdin.is_terminal() && stdout.is_terminal();
    let terminal = window_size().filter(|_| on_terminal).map(|size| (size.rows, size.columns));
    let client = Client::connect(state_dir)?;
    client.send(
        &Request::Exec { instance, argv, terminal },
        &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
    )?;
    // Held until the program has ended: many close their terminal just before, and would otherwise be hung up on.
    let mut held = None;
    loop {
        match client.next()? {
            Some((Reply::Started, mut fds)) => {
                if let Some(master) = fds.pop() {
                    held = Some(master.try_clone().context("keeping the terminal open")?);
                    // Until the program has ended: what it left in the background may keep the terminal open.
                    pty_relay(master, client.as_fd()).context("relaying the terminal")?;
                }
            }
            Some((Reply::Exited(code), _)) => {
                drop(held);
                return Ok(ExitCode::from(code));
            }
            Some((Reply::NotStarted { code, reason }, _)) => {
                eprintln!("postern: {reason}");
                return Ok(ExitCode::from(code));
            }
            Some((Reply::Failed(reason), _)) => bail!(reason),
            Some((other, _)) => bail!("the region gave an answer to another question: {other:?}"),
            None => bail!("the region ended while the program ran"),
        }
    }
}
