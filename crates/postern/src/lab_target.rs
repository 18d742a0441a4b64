//! A region as the lab engine drives it: through its API and its control socket, as any client would.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cli::Protocol;
use crate::control::{Reply, Request, TraceRequest};
use crate::lab::{CallError, Ran, Target};
use crate::paths::StateDir;
use crate::region_client::RegionClient;

/// How much of a program's output is kept.
const KEPT_BYTES: u64 = 1 << 20;
/// How often a program outside is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A region that a lab runs in.
pub struct RegionTarget {
    client: RegionClient,
    state_dir: StateDir,
    /// Where the client programs are.
    tools: Option<PathBuf>,
}

impl RegionTarget {
    /// The region of a state directory; programs outside have the `bin` of `tools` on their PATH.
    pub fn connect(state_dir: &StateDir, tools: Option<PathBuf>) -> anyhow::Result<Self> {
        Ok(Self { client: RegionClient::connect(state_dir)?, state_dir: state_dir.clone(), tools })
    }

    /// Returns the region to its start.
    pub fn reset(&self) -> anyhow::Result<()> {
        match self.client.control()?.ask(&Request::Reset, &[])? {
            Reply::Done => Ok(()),
            other => bail!("the region gave an answer to another question: {other:?}"),
        }
    }

    /// As now; after a reset there are other keys.
    fn fresh(&self) -> anyhow::Result<RegionClient> {
        RegionClient::connect(&self.state_dir)
    }

    fn run_inside(
        &self,
        instance: &str,
        argv: &[String],
        input: Option<&str>,
        timeout: Duration,
    ) -> anyhow::Result<Ran> {
        let (stdin, mut stdout, mut stderr) = (input_file(input)?, temporary()?, temporary()?);
        let control = self.client.control()?;
        control.set_patience(timeout)?;
        let request = Request::Exec { instance: instance.to_owned(), argv: argv.to_vec(), terminal: None };
        control.send(&request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
        let deadline = Instant::now() + timeout;
        let exit = loop {
            match control.next() {
                Ok(Some((Reply::Started, _))) => {}
                Ok(Some((Reply::Exited(code), _))) => break Some(i32::from(code)),
                Ok(Some((Reply::Failed(reason), _))) => bail!(reason),
                Ok(Some((other, _))) => bail!("the region gave an answer to another question: {other:?}"),
                Ok(None) => bail!("the region ended while the program ran"),
                // Dropping the connection ends the program.
                Err(_) if Instant::now() >= deadline => break None,
                Err(error) => return Err(error),
            }
        };
        Ok(Ran {
            exit: exit.unwrap_or(-1),
            stdout: read_back(&mut stdout)?,
            stderr: read_back(&mut stderr)?,
            timed_out: exit.is_none(),
        })
    }

    fn run_here(&self, argv: &[String], input: Option<&str>, timeout: Duration) -> anyhow::Result<Ran> {
        let (program, arguments) = argv.split_first().context("no program is named")?;
        let (mut stdout, mut stderr) = (temporary()?, temporary()?);
        let mut command = Command::new(program);
        command.args(arguments).stdin(input_file(input)?).stdout(Stdio::from(stdout.try_clone()?));
        command.stderr(Stdio::from(stderr.try_clone()?));
        for (name, value) in self.fresh()?.environment() {
            command.env(name, value);
        }
        if let Some(tools) = &self.tools {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(folders)?);
        }
        // What it starts ends with it.
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot run `{program}`"))?;
        let deadline = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if Instant::now() >= deadline {
                let group =
                    Pid::from_raw(i32::try_from(child.id()).context("the program has no process id")?);
                killpg(group, Signal::SIGKILL)?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(LOOK);
        };
        Ok(Ran {
            exit: status.and_then(|status| status.code()).unwrap_or(-1),
            stdout: read_back(&mut stdout)?,
            stderr: read_back(&mut stderr)?,
            timed_out: status.is_none(),
        })
    }
}

fn temporary() -> anyhow::Result<File> {
    tempfile::tempfile().context("cannot make a temporary file")
}

fn input_file(input: Option<&str>) -> anyhow::Result<File> {
    let Some(input) = input else { return Ok(File::open("/dev/null")?) };
    let mut file = temporary()?;
    file.write_all(input.as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn read_back(file: &mut File) -> anyhow::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(KEPT_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Target for &RegionTarget {
    fn call(
        &self,
        account: Option<&str>,
        service: &str,
        operation: &str,
        parameters: &Value,
    ) -> Result<Value, CallError> {
        let transport = |error: anyhow::Error| CallError::Transport(format!("{error:#}"));
        let answer = self.fresh().and_then(|client| client.call(account, service, operation, parameters));
        answer
            .map_err(transport)?
            .map_err(|refusal| CallError::Aws { code: refusal.code, message: refusal.message })
    }

    fn run(
        &self,
        instance: &str,
        argv: &[String],
        input: Option<&str>,
        timeout: Duration,
    ) -> Result<Ran, String> {
        self.run_inside(instance, argv, input, timeout).map_err(|error| format!("{error:#}"))
    }

    fn run_outside(&self, argv: &[String], input: Option<&str>, timeout: Duration) -> Result<Ran, String> {
        self.run_here(argv, input, timeout).map_err(|error| format!("{error:#}"))
    }

    fn trace(&self, from: &str, to: &str, protocol: &str, probe: bool) -> Result<Value, String> {
        let trace = || -> anyhow::Result<Value> {
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "icmp" => Protocol::Icmp,
                other => bail!("`{other}` is not a protocol: tcp, udp or icmp"),
            };
            let request = TraceRequest { from: from.to_owned(), to: to.to_owned(), protocol, probe };
            match self.client.control()?.ask(&Request::Trace(request), &[])? {
                Reply::Trace(trace) => Ok(trace),
                other => bail!("the region gave an answer to another question: {other:?}"),
            }
        };
        trace().map_err(|error| format!("{error:#}"))
    }

    fn records(&self, after: u64) -> Result<Vec<Value>, String> {
        let records = || match self.client.control()?.ask(&Request::Records { after }, &[])? {
            Reply::Records(records) => Ok(records),
            other => bail!("the region gave an answer to another question: {other:?}"),
        };
        records().map_err(|error| format!("{error:#}"))
    }

    fn region(&self) -> String {
        self.client.variable("AWS_DEFAULT_REGION").unwrap_or_default().to_owned()
    }
}
