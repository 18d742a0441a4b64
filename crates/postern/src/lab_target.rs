//! A region as the lab engine drives it: through its API and its control socket, as any client would.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

use crate::cli::Protocol;
use crate::control::{NewService, Reply, Request, TraceRequest};
use crate::lab::{CallError, Ran, ServiceChange, Started, Target};
use crate::lab_server::Server;
use crate::region_client::RegionClient;
use crate::said::said;

/// How much of a program's output is kept.
const KEPT_BYTES: u64 = 1 << 20;
/// How often a program is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// A region that a lab runs in.
pub struct RegionTarget {
    client: RegionClient,
    /// Where the client programs are.
    tools: Option<PathBuf>,
    /// What the lab started and that answers until it ends.
    servers: Mutex<Vec<Server>>,
}

impl RegionTarget {
    /// Programs outside have the `bin` of `tools` on their PATH.
    pub fn new(client: RegionClient, tools: Option<PathBuf>) -> Self {
        Self { client, tools, servers: Mutex::default() }
    }

    /// Returns the region to its start, and ends the programs that answered for it.
    pub fn reset(&self) -> anyhow::Result<()> {
        self.servers().clear();
        match self.client.control()?.ask(&Request::Reset, &[])? {
            Reply::Done => Ok(()),
            other => bail!("the region gave an answer to another question: {other:?}"),
        }
    }

    fn run_inside(&self, instance: &str, program: &Started<'_>) -> anyhow::Result<Ran> {
        let (stdin, mut stdout, mut stderr) = (input_file(program.input)?, temporary()?, temporary()?);
        let control = self.client.control()?;
        let argv = program.argv.to_vec();
        let request = Request::Exec { instance: instance.to_owned(), argv, terminal: None };
        control.send(&request, &[stdin.as_fd(), stdout.as_fd(), stderr.as_fd()])?;
        let watch = Watch::over(program);
        // Where it has to end before its time: dropping the connection ends the program.
        let end = loop {
            if let Some(end) = watch.cut_short() {
                break end;
            }
            if !control.wait(LOOK)? {
                continue;
            }
            match control.next()? {
                Some((Reply::Started, _)) => {}
                Some((Reply::Exited(code), _)) => break End::Itself(i32::from(code)),
                Some((Reply::NotStarted { reason, .. } | Reply::Failed(reason), _)) => bail!(reason),
                Some((other, _)) => bail!("the region gave an answer to another question: {other:?}"),
                None => bail!("the region ended while the program ran"),
            }
        };
        end.with(&mut stdout, &mut stderr)
    }

    fn servers(&self) -> MutexGuard<'_, Vec<Server>> {
        // A list stays one, whatever became of its user.
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: &ServiceChange) -> anyhow::Result<Value> {
        let control = self.client.control()?;
        let request = match change.clone() {
            ServiceChange::Add { name, upstream, private_dns, protocol, signing_name, key } => {
                Request::AddService(NewService {
                    name,
                    upstream,
                    private_dns,
                    protocol,
                    signing_name,
                    owner: None,
                    key,
                    upstream_region: None,
                })
            }
            ServiceChange::Remove { name } => Request::RemoveService { name },
        };
        match control.ask(&request, &[])? {
            Reply::Services(services) => Ok(serde_json::to_value(services.first())?),
            Reply::Done => Ok(Value::Object(serde_json::Map::new())),
            other => bail!("the region gave an answer to another question: {other:?}"),
        }
    }

    /// Makes an account that is not there yet. No API does that here, and a lab may need several.
    fn ensure_account(&self, account: &str) -> anyhow::Result<()> {
        let control = self.client.control()?;
        match control.ask(&Request::ListAccounts, &[])? {
            Reply::Accounts(accounts) if accounts.iter().any(|known| known.id == account) => return Ok(()),
            Reply::Accounts(_) => {}
            other => bail!("the region gave an answer to another question: {other:?}"),
        }
        let create = Request::CreateAccount { name: "lab".to_owned(), id: Some(account.to_owned()) };
        match control.ask(&create, &[])? {
            Reply::Key(_) => Ok(()),
            other => bail!("the region gave an answer to another question: {other:?}"),
        }
    }

    fn run_here(&self, program: &Started<'_>) -> anyhow::Result<Ran> {
        let (name, arguments) = program.argv.split_first().context("no program is named")?;
        let (mut stdout, mut stderr) = (temporary()?, temporary()?);
        let mut command = Command::new(name);
        command.args(arguments).stdin(input_file(program.input)?).stdout(Stdio::from(stdout.try_clone()?));
        command.stderr(Stdio::from(stderr.try_clone()?));
        self.surround(&mut command)?;
        command.envs(self.client.environment(None)?);
        // What it starts ends with it.
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("cannot run `{name}`"))?;
        let watch = Watch::over(program);
        let end = loop {
            if let Some(status) = child.try_wait()? {
                break End::Itself(status.code().unwrap_or(-1));
            }
            if let Some(end) = watch.cut_short() {
                let group =
                    Pid::from_raw(i32::try_from(child.id()).context("the program has no process id")?);
                killpg(group, Signal::SIGKILL)?;
                child.wait()?;
                break end;
            }
            std::thread::sleep(LOOK);
        };
        end.with(&mut stdout, &mut stderr)
    }
}

impl RegionTarget {
    /// What programs on the caller's machine have about them.
    fn surround(&self, command: &mut Command) -> anyhow::Result<()> {
        // What the caller's shell says of some other account or endpoint must not get between.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("AWS_")) {
                command.env_remove(name);
            }
        }
        if let Some(tools) = &self.tools {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path));
            command.env("PATH", std::env::join_paths(folders)?);
        }
        Ok(())
    }
}

/// How a program came to its end.
#[derive(Clone, Copy)]
enum End {
    /// By itself, with this status.
    Itself(i32),
    /// Its time was over.
    TimedOut,
    /// Somebody interrupted the lab.
    Interrupted,
}

impl End {
    fn with(self, stdout: &mut File, stderr: &mut File) -> anyhow::Result<Ran> {
        let (exit, timed_out, interrupted) = match self {
            Self::Itself(status) => (status, false, false),
            Self::TimedOut => (-1, true, false),
            Self::Interrupted => (-1, false, true),
        };
        Ok(Ran { exit, stdout: read_back(stdout)?, stderr: read_back(stderr)?, timed_out, interrupted })
    }
}

/// Whether a program has to end before it does so by itself.
struct Watch<'a> {
    program: &'a Started<'a>,
    deadline: Instant,
}

impl<'a> Watch<'a> {
    /// From now on.
    fn over(program: &'a Started<'a>) -> Self {
        Self { program, deadline: Instant::now() + program.timeout }
    }

    fn cut_short(&self) -> Option<End> {
        if self.program.is_interrupted() {
            return Some(End::Interrupted);
        }
        (Instant::now() >= self.deadline).then_some(End::TimedOut)
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
        let transport = |error: anyhow::Error| CallError::Transport(said(&error));
        account.map_or(Ok(()), |account| self.ensure_account(account)).map_err(transport)?;
        self.client
            .call(account, service, operation, parameters)
            .map_err(transport)?
            .map_err(|refusal| CallError::Aws { code: refusal.code, message: refusal.message })
    }

    fn run(&self, instance: &str, program: &Started<'_>) -> Result<Ran, String> {
        self.run_inside(instance, program).map_err(|error| said(&error))
    }

    fn run_outside(&self, program: &Started<'_>) -> Result<Ran, String> {
        self.run_here(program).map_err(|error| said(&error))
    }

    fn serve(&self, program: &Started<'_>) -> Result<u16, String> {
        let started = Server::start(program, |command| self.surround(command));
        let server = started.map_err(|error| said(&error))?;
        let port = server.port();
        self.servers().push(server);
        Ok(port)
    }

    fn service(&self, change: &ServiceChange) -> Result<Value, String> {
        self.change(change).map_err(|error| said(&error))
    }

    fn trace(&self, from: &str, to: &str, protocol: &str, probe: bool) -> Result<Value, String> {
        let trace = || -> anyhow::Result<Value> {
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "icmp" => Protocol::Icmp,
                other => bail!("`{other}` is not a protocol: tcp, udp or icmp"),
            };
            let request = TraceRequest {
                from: from.to_owned(),
                to: Some(to.to_owned()),
                protocol,
                probe,
                wanted: None,
            };
            match self.client.control()?.ask(&Request::Trace(request), &[])? {
                Reply::Trace(trace) => Ok(trace),
                other => bail!("the region gave an answer to another question: {other:?}"),
            }
        };
        trace().map_err(|error| said(&error))
    }

    fn records(&self, after: u64) -> Result<Vec<Value>, String> {
        let records = || match self.client.control()?.ask(&Request::Records { after }, &[])? {
            Reply::Records(records) => Ok(records),
            other => bail!("the region gave an answer to another question: {other:?}"),
        };
        records().map_err(|error| said(&error))
    }

    fn region(&self) -> String {
        self.client.region().to_owned()
    }
}
