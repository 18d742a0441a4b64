//! S3 beside s3s-fs: processor time of the server for each request.
//!
//! Postern is the whole program, front door, policies and audit log included; s3s-fs has a server loop around it and
//! nothing else. Both stand behind the same protocol library, on loopback over plain HTTP, check the same signature
//! and the same hash of the body. s3s-fs answers a write before it is on disk; Postern after.

pub mod server;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Pid;

use crate::Options;
use crate::client::{Caller, Client};
use crate::cpu;
use crate::program::Program;
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::median;

/// Different objects of a size.
const OBJECTS: usize = 16;

/// What is asked for, how large it is, and how often in a round.
const ASKS: [(&str, &str, usize, usize); 4] = [
    ("PUT 4 KiB", "PUT", 4 << 10, 400),
    ("GET 4 KiB", "GET", 4 << 10, 800),
    ("PUT 1 MiB", "PUT", 1 << 20, 64),
    ("GET 1 MiB", "GET", 1 << 20, 128),
];

/// Who is measured.
enum Server {
    Postern(Program, Client),
    S3sFs(Sample, Client),
}

/// s3s-fs in a process of its own. It ends when its standard input does.
struct Sample(Child);

impl Server {
    fn postern(program: &Path, place: &Path) -> anyhow::Result<Self> {
        let program = Program::start(program, &place.join("region-s3"))?;
        let client = program.client("s3")?;
        Self::Postern(program, client).with_bucket()
    }

    fn s3s_fs(place: &Path) -> anyhow::Result<Self> {
        let directory = place.join("s3s-fs");
        std::fs::create_dir(&directory)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve-s3").arg(&directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut sample = Sample(command.spawn().context("s3s-fs cannot be started")?);
        let mut line = String::new();
        BufReader::new(sample.0.stdout.take().context("no output")?).read_line(&mut line)?;
        let address: SocketAddr = line.trim().parse().context("s3s-fs did not start")?;
        let (access_key, secret) = (server::ACCESS_KEY.to_owned(), server::SECRET.to_owned());
        let client = Client::connect(address, Caller { access_key, secret, service: "s3" })?;
        Self::S3sFs(sample, client).with_bucket()
    }

    fn with_bucket(mut self) -> anyhow::Result<Self> {
        self.client().request("PUT", "/bench", &[])?;
        Ok(self)
    }

    fn client(&mut self) -> &mut Client {
        match self {
            Self::Postern(_, client) | Self::S3sFs(_, client) => client,
        }
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        match self {
            Self::Postern(program, _) => program.cpu(),
            Self::S3sFs(sample, _) => cpu::used_by(Pid::from_raw(i32::try_from(sample.0.id())?)),
        }
    }

    /// Microseconds of processor time for each request.
    fn measure(&mut self, (_, method, bytes, count): (&str, &str, usize, usize)) -> anyhow::Result<f64> {
        let content = vec![b's'; bytes];
        let body = if method == "PUT" { content.as_slice() } else { &[] };
        let client = self.client();
        let prepared: Vec<_> = (0..OBJECTS)
            .map(|n| client.prepare(method, &format!("/bench/{bytes}-{n}"), body))
            .collect::<anyhow::Result<_>>()?;
        for one in &prepared {
            client.send(one, body)?;
        }
        let before = self.cpu()?;
        let client = self.client();
        for one in prepared.iter().cycle().take(count) {
            let got = client.send(one, body)?;
            anyhow::ensure!(method == "PUT" || got == bytes, "`{got}` bytes came instead of `{bytes}`");
        }
        let used = self.cpu()?.saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / count as f64)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures all of it.
pub fn run(place: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let mut servers = [Server::postern(&options.program()?, place)?, Server::s3s_fs(place)?];
    let mut rounds: Vec<[[f64; 2]; ASKS.len()]> = Vec::new();
    for round in 0..options.rounds {
        eprintln!("s3: round {} of {}", round + 1, options.rounds);
        let mut figures = [[f64::NAN; 2]; ASKS.len()];
        for (figures, ask) in figures.iter_mut().zip(ASKS) {
            for turn in 0..2 {
                let at = (turn + round as usize) % 2;
                figures[at] = servers[at].measure(ask).context(ask.0)?;
            }
        }
        rounds.push(figures);
    }
    Ok(outcome(&rounds))
}

fn outcome(rounds: &[[[f64; 2]; ASKS.len()]]) -> Outcome {
    let header = ["request", "Postern, CPU µs", "s3s-fs, CPU µs", "ratio"];
    let mut table =
        Table::new("S3: processor time of the server for each request", header.map(str::to_owned));
    let mut goals = Vec::new();
    let mut raw = serde_json::Map::new();
    for (n, (name, _, _, _)) in ASKS.iter().enumerate() {
        let of = |at: usize| median(rounds.iter().map(|round| round[n][at]));
        let ratios: Vec<f64> = rounds.iter().map(|round| round[n][0] / round[n][1]).collect();
        let ratio = median(ratios.iter().copied());
        table.row(vec![(*name).to_owned(), fixed(of(0), 0), fixed(of(1), 0), fixed(ratio, 2)]);
        goals.push(Goal::below(&format!("S3 {name}, CPU to s3s-fs's"), ratio, 1.25, 2, "").over(&ratios));
        let pairs: Vec<_> = rounds.iter().map(|round| round[n]).collect();
        raw.insert((*name).to_owned(), serde_json::json!(pairs));
    }
    table.note(
        "One connection, plain HTTP on loopback, a signature over the body's hash that both check. Postern is the \
         whole program: front door, policies, audit log. s3s-fs has nothing of that, and does not wait for the disk; \
         Postern does."
            .to_owned(),
    );
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
