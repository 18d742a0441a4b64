//! The program itself, as its users start it: `postern up` on a state directory of the run's own, asked over HTTP
//! with signatures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use postern_dataplane::host::Namespace;

use crate::client::{Caller, Client, REGION};
use crate::cpu;

/// How long the program may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(10);
/// How many interfaces the account may have.
const INTERFACES: &str = "20000";
/// Connections that ask at the same time while something large is made.
const HANDS: usize = 4;

/// A running region with one account.
pub struct Program {
    path: PathBuf,
    state: PathBuf,
    child: Child,
    _output: Option<BufReader<ChildStdout>>,
    address: SocketAddr,
    access_key: String,
    secret: String,
}

/// The parameters of a request: names and values.
pub type Parameters<'a> = &'a [(&'a str, &'a str)];

impl Program {
    /// Starts one, and waits until it is ready.
    pub fn start(path: &Path, state: &Path) -> anyhow::Result<Self> {
        ensure!(
            path.is_file(),
            "there is no `{}`: `cargo build --release -p postern` makes it",
            path.display()
        );
        // The kernel tells it to end when the thread that started it does, which is the measurer's first one.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]).arg(path).arg("--state-dir").arg(state);
        command.args(["up", "--listen", "127.0.0.1:0", "--region", REGION]);
        command.env("RUST_LOG", "warn").stdin(Stdio::null()).stdout(Stdio::piped());
        // The measurer's threads wait for signals elsewhere; the program is to hear its own.
        let own = SigSet::thread_get_mask()?;
        SigSet::empty().thread_set_mask()?;
        let spawned = command.spawn();
        own.thread_set_mask()?;
        let mut child = spawned.context("`setpriv` cannot be started")?;
        // Kept open: the program may have more to say.
        let mut output = child.stdout.take().map(BufReader::new);
        let address = output.as_mut().context("no output").and_then(|output| {
            let mut line = String::new();
            output.read_line(&mut line)?;
            let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://"));
            url.and_then(|address| address.parse().ok())
                .with_context(|| format!("it printed `{}`", line.trim()))
        });
        let address = match address {
            Ok(address) => address,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.context("the region did not become ready"));
            }
        };
        let (path, state) = (path.to_owned(), state.to_owned());
        let mut program = Self {
            path,
            state,
            child,
            _output: output,
            address,
            access_key: String::new(),
            secret: String::new(),
        };
        let key = program.run(&["--output", "json", "account", "create", "bench"])?;
        let key: serde_json::Value = serde_json::from_str(&key)?;
        let account = key["account"].as_str().context("no `account`")?;
        program.run(&["account", "quota", account, "interfaces-per-region", INTERFACES])?;
        let of = |name: &str| key[name].as_str().map(str::to_owned).with_context(|| format!("no `{name}`"));
        (program.access_key, program.secret) = (of("access_key_id")?, of("secret_access_key")?);
        Ok(program)
    }

    /// A connection to one of its services, as the account's root user.
    pub fn client(&self, service: &'static str) -> anyhow::Result<Client> {
        let caller = Caller { access_key: self.access_key.clone(), secret: self.secret.clone(), service };
        Client::connect(self.address, caller)
    }

    /// A connection to its EC2 API.
    pub fn ec2(&self) -> anyhow::Result<Ec2> {
        Ok(Ec2(self.client("ec2")?))
    }

    /// Makes requests of one kind on several connections at once.
    pub fn all(&self, requests: &[String]) -> anyhow::Result<()> {
        std::thread::scope(|scope| {
            let hands: Vec<_> = (0..HANDS)
                .map(|hand| {
                    scope.spawn(move || {
                        let mut ec2 = self.ec2()?;
                        let mut own = requests.iter().skip(hand).step_by(HANDS);
                        own.try_for_each(|body| ec2.post(body).map(drop))
                    })
                })
                .collect();
            hands.into_iter().try_for_each(|hand| match hand.join() {
                Ok(done) => done,
                Err(_) => bail!("a thread that made requests failed"),
            })
        })
    }

    /// Plugs a namespace into a subnet. Returns its interface.
    pub fn attach(&self, namespace: &Namespace, subnet: &str, group: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd());
        let printed = self.run(&["attach", "--netns", &path, "--subnet", subnet, "--group", group])?;
        let interface = printed.split_whitespace().next().context("`attach` printed nothing")?;
        Ok(interface.to_owned())
    }

    /// One of its own pages, which it shows to programs of this machine only.
    pub fn page(&self, name: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        let host = self.address;
        write!(stream, "GET /_postern/{name} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("the page is cut off")?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "the page `{name}` was answered with `{head}`");
        Ok(body.to_owned())
    }

    /// The processor time that it has used.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        cpu::used_by(self.pid()?)
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// Lets it take everything down by itself, which may take so long.
    pub fn end(mut self, patience: Duration) -> anyhow::Result<()> {
        kill(self.pid()?, Signal::SIGTERM)?;
        let deadline = Instant::now() + patience;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "the program does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// One of its commands, which must succeed.
    fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.path).arg("--state-dir").arg(&self.state).args(arguments).output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`postern {}`: {}", arguments.join(" "), complaint.trim());
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Program {
    /// Lets it take everything down by itself.
    fn drop(&mut self) {
        if let Ok(pid) = self.pid() {
            let _ = kill(pid, Signal::SIGTERM);
        }
        let pause = Duration::from_millis(20);
        for _ in 0..GRACE.as_millis() / pause.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(pause);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to an EC2 API.
pub struct Ec2(pub Client);

impl Ec2 {
    /// Asks for something, and returns the answer's text.
    pub fn call(&mut self, action: &str, parameters: Parameters<'_>) -> anyhow::Result<String> {
        self.post(&form(action, parameters))
    }

    /// The same, of which one element counts.
    pub fn make(
        &mut self,
        action: &str,
        parameters: Parameters<'_>,
        element: &str,
    ) -> anyhow::Result<String> {
        let answer = self.call(action, parameters)?;
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let found = answer.split_once(&open).and_then(|(_, rest)| Some(rest.split_once(&close)?.0));
        Ok(found.with_context(|| format!("`{action}` answered without `{element}`: {answer}"))?.to_owned())
    }

    fn post(&mut self, body: &str) -> anyhow::Result<String> {
        self.0.request("POST", "/", body.as_bytes())
    }
}

/// The body of a request.
pub fn form(action: &str, parameters: Parameters<'_>) -> String {
    let mut body = format!("Action={action}&Version=2016-11-15");
    for (name, value) in parameters {
        // The values that are sent here are ids, numbers and blocks of addresses.
        body.push_str(&format!("&{name}={}", value.replace('/', "%2F")));
    }
    body
}
