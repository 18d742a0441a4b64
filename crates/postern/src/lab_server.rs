//! A program that a lab starts and that answers at a port until the lab ends.
//!
//! INVARIANT: it ends with this process, however that ends: a shell holds a pipe from here, and ends its group when the pipe
//! closes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::lab::Started;

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long the end of a program that was killed may take.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// How much of what it said is told where it failed.
const SAID_BYTES: u64 = 4096;
/// The program, and beside it who waits for the pipe to close. Whoever comes to an end first takes the other along.
const KEEPER: &str = r#"( "$@" </dev/null; kill -KILL 0 ) & cat >/dev/null; kill -KILL 0"#;

/// One that runs.
pub struct Server {
    port: u16,
    keeper: Child,
    /// Ends the program when it is closed.
    pipe: Option<ChildStdin>,
}

impl Server {
    /// Starts it, and waits until something listens at its port, which it reads from the variable `PORT`.
    pub fn start(
        program: &Started<'_>,
        surround: impl FnOnce(&mut Command) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let port = free_port()?;
        let mut said = tempfile::tempfile().context("cannot make a temporary file")?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", KEEPER, "sh"]).args(program.argv).stdin(Stdio::piped());
        command.stdout(said.try_clone()?).stderr(said.try_clone()?);
        surround(&mut command)?;
        command.env("PORT", port.to_string()).process_group(0);
        let mut keeper = command.spawn().context("cannot run `/bin/sh`")?;
        let pipe = keeper.stdin.take();
        let mut server = Self { port, keeper, pipe };
        let deadline = Instant::now() + program.timeout;
        while TcpStream::connect(address(port)).is_err() {
            if server.keeper.try_wait()?.is_some() {
                bail!("it ended before it listened at port {port}: {}", tail(&mut said)?);
            }
            if program.is_interrupted() {
                bail!("it was interrupted");
            }
            if Instant::now() >= deadline {
                bail!("it does not listen at port {port}: {}", tail(&mut said)?);
            }
            std::thread::sleep(LOOK);
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.pipe.take());
        if let Err(error) = self.keeper.wait() {
            tracing::warn!(%error, port = self.port, "a lab's server cannot be waited for");
        }
        // The shell has told the system to end all of them; the last one may still be on its way out.
        let deadline = Instant::now() + END_PATIENCE;
        while TcpStream::connect(address(self.port)).is_ok() && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that nobody has at the moment.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

fn tail(said: &mut File) -> anyhow::Result<String> {
    let length = said.seek(SeekFrom::End(0))?;
    said.seek(SeekFrom::Start(length.saturating_sub(SAID_BYTES)))?;
    let mut bytes = Vec::new();
    said.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started<'a>(argv: &'a [String], seconds: u64) -> Started<'a> {
        Started { argv, input: None, timeout: Duration::from_secs(seconds), interrupt: None }
    }

    fn argv(line: &str) -> Vec<String> {
        ["sh", "-c", line].map(str::to_owned).to_vec()
    }

    #[test]
    fn it_answers_until_it_is_let_go() {
        let line = "exec /usr/bin/python3 -m http.server --bind 127.0.0.1 $PORT";
        let server = Server::start(&started(&argv(line), 20), |_| Ok(())).unwrap();
        let address = address(server.port());
        assert!(TcpStream::connect(address).is_ok());
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn one_that_fails_says_why() {
        let failed = Server::start(&started(&argv("echo no >&2; exit 3"), 20), |_| Ok(())).err().unwrap();
        let said = failed.to_string();
        assert!(said.contains("it ended before it listened") && said.ends_with(": no"), "{said}");
        let silent = Server::start(&started(&argv("sleep 30"), 1), |_| Ok(())).err().unwrap();
        assert!(silent.to_string().contains("does not listen"), "{silent}");
    }
}
