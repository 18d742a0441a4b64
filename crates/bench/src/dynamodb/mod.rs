//! DynamoDB beside its own engine: processor time of the server for each request.
//!
//! Postern is the whole program: signature, policies, audit log, and then the engine. The other is the engine behind the
//! plain HTTP server that comes with it: no signature is verified, no policy decided, nothing recorded. Both keep a table
//! in SQLite on the disk and are asked the same requests on loopback over plain HTTP.

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

/// Different items.
const ITEMS: usize = 16;
/// What an item holds beside its key.
const ITEM_BYTES: usize = 1 << 10;
/// What is asked for, how often in a round, and what is aimed at.
const ASKS: [(&str, usize, Option<f64>); 2] = [("GetItem", 2_000, Some(1.25)), ("PutItem", 400, None)];

/// Who is measured.
enum Server {
    Postern(Program, Client),
    Engine(Sample, Client),
}

/// The engine in a process of its own. It ends when its standard input does.
struct Sample(Child);

impl Server {
    fn postern(program: &Path, place: &Path) -> anyhow::Result<Self> {
        let program = Program::start(program, &place.join("region-dynamodb"))?;
        let client = program.client("dynamodb")?;
        Self::Postern(program, client).with_table()
    }

    fn engine(place: &Path) -> anyhow::Result<Self> {
        let directory = place.join("engine");
        std::fs::create_dir(&directory)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve-dynamodb").arg(&directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut sample = Sample(command.spawn().context("the engine cannot be started")?);
        let mut line = String::new();
        BufReader::new(sample.0.stdout.take().context("no output")?).read_line(&mut line)?;
        let address: SocketAddr = line.trim().parse().context("the engine did not start")?;
        let (access_key, secret) = (server::ACCESS_KEY.to_owned(), server::SECRET.to_owned());
        let client = Client::connect(address, Caller { access_key, secret, service: "dynamodb" })?;
        Self::Engine(sample, client).with_table()
    }

    fn with_table(mut self) -> anyhow::Result<Self> {
        let table = serde_json::json!({
            "TableName": "bench", "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{ "AttributeName": "id", "KeyType": "HASH" }],
            "AttributeDefinitions": [{ "AttributeName": "id", "AttributeType": "S" }],
        });
        let body = table.to_string().into_bytes();
        let prepared = self.client().prepare_json("DynamoDB_20120810.CreateTable", &body)?;
        self.client().send(&prepared, &body)?;
        for n in 0..ITEMS {
            let body = document("PutItem", n);
            let prepared = self.client().prepare_json("DynamoDB_20120810.PutItem", &body)?;
            self.client().send(&prepared, &body)?;
        }
        Ok(self)
    }

    fn client(&mut self) -> &mut Client {
        match self {
            Self::Postern(_, client) | Self::Engine(_, client) => client,
        }
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        match self {
            Self::Postern(program, _) => program.cpu(),
            Self::Engine(sample, _) => cpu::used_by(Pid::from_raw(i32::try_from(sample.0.id())?)),
        }
    }

    /// Microseconds of processor time for each request.
    fn measure(&mut self, operation: &str, count: usize) -> anyhow::Result<f64> {
        let target = format!("DynamoDB_20120810.{operation}");
        let client = self.client();
        let prepared: Vec<_> = (0..ITEMS)
            .map(|n| {
                let body = document(operation, n);
                Ok((client.prepare_json(&target, &body)?, body))
            })
            .collect::<anyhow::Result<_>>()?;
        for (head, body) in &prepared {
            client.send(head, body)?;
        }
        let before = self.cpu()?;
        let client = self.client();
        for (head, body) in prepared.iter().cycle().take(count) {
            let got = client.send(head, body)?;
            let whole = operation == "PutItem" || got > ITEM_BYTES;
            anyhow::ensure!(whole, "`{got}` bytes are no item");
        }
        let used = self.cpu()?.saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / count as f64)
    }
}

/// A request's body about one of the items.
fn document(operation: &str, n: usize) -> Vec<u8> {
    let key = serde_json::json!({ "S": format!("item-{n}") });
    let document = match operation {
        "GetItem" => serde_json::json!({ "TableName": "bench", "Key": { "id": key } }),
        _ => serde_json::json!({
            "TableName": "bench",
            "Item": { "id": key, "text": { "S": "i".repeat(ITEM_BYTES) }, "count": { "N": "7" } },
        }),
    };
    document.to_string().into_bytes()
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures all of it.
pub fn run(place: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let mut servers = [Server::postern(&options.program()?, place)?, Server::engine(place)?];
    let mut rounds: Vec<[[f64; 2]; ASKS.len()]> = Vec::new();
    for round in 0..options.rounds {
        eprintln!("dynamodb: round {} of {}", round + 1, options.rounds);
        let mut figures = [[f64::NAN; 2]; ASKS.len()];
        for (figures, (operation, count, _)) in figures.iter_mut().zip(ASKS) {
            for turn in 0..2 {
                let at = (turn + round as usize) % 2;
                figures[at] = servers[at].measure(operation, count).context(operation)?;
            }
        }
        rounds.push(figures);
    }
    Ok(outcome(&rounds))
}

fn outcome(rounds: &[[[f64; 2]; ASKS.len()]]) -> Outcome {
    let header = ["request", "Postern, CPU µs", "its engine, CPU µs", "ratio"];
    let title = "DynamoDB: processor time of the server for each request";
    let mut table = Table::new(title, header.map(str::to_owned));
    let mut goals = Vec::new();
    let mut raw = serde_json::Map::new();
    for (n, (name, _, aim)) in ASKS.iter().enumerate() {
        let of = |at: usize| median(rounds.iter().map(|round| round[n][at]));
        let ratios: Vec<f64> = rounds.iter().map(|round| round[n][0] / round[n][1]).collect();
        let ratio = median(ratios.iter().copied());
        table.row(vec![(*name).to_owned(), fixed(of(0), 0), fixed(of(1), 0), fixed(ratio, 2)]);
        if let Some(aim) = aim {
            let goal = Goal::below(&format!("DynamoDB {name}, CPU to its engine's"), ratio, *aim, 2, "");
            goals.push(goal.over(&ratios));
        }
        let pairs: Vec<_> = rounds.iter().map(|round| round[n]).collect();
        raw.insert((*name).to_owned(), serde_json::json!(pairs));
    }
    table.note(
        "One connection, plain HTTP on loopback, items of 1 KiB. Postern is the whole program: signature, policies, \
         audit log, and the engine. The other is the engine behind the HTTP server that comes with it, which verifies \
         nothing."
            .to_owned(),
    );
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
