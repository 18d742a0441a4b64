//! Decisions a second, on one processor, with ten thousand interfaces in the plan.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::time::ClockId;
use postern_path::{Flow, InterfacePlan, Outcome as Decided, Plan, Transport};
use postern_testkit::{Random, Topology};
use serde::Serialize;

use crate::Options;
use crate::cpu::{self, Pinning};
use crate::region::crowd;
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::median;

const INTERFACES: usize = 10_000;
/// Different flows of a kind; enough not to stay in the nearest cache.
const FLOWS: usize = 1 << 16;
const SEED: u64 = 20_240_601;

const TOPOLOGY: &str = "\
vpc a 10.0.0.0/16
subnet a.public 10.0.1.0/24
igw a
nat a.n in a.public
table a.public-table subnets=public
  0.0.0.0/0 -> igw
table a.main
  0.0.0.0/0 -> nat n
  192.168.0.0/16 -> nat n
endpoint a.s3 s3 tables=main
";

/// Where flows go.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// To another interface, most to a port that is open.
    Local,
    /// To S3.
    Endpoint,
    /// Out by the NAT gateway, to AWS's other public services.
    Nat,
    /// To where nobody is.
    Nowhere,
}

const KINDS: [(&str, &[Kind]); 5] = [
    ("mixed", &[Kind::Local, Kind::Local, Kind::Endpoint, Kind::Nat, Kind::Nowhere]),
    ("within the VPC", &[Kind::Local]),
    ("to S3 by an endpoint", &[Kind::Endpoint]),
    ("to a service by NAT", &[Kind::Nat]),
    ("to no address", &[Kind::Nowhere]),
];

/// Measures all of it.
pub fn run(pinning: &Pinning, options: &Options) -> anyhow::Result<Outcome> {
    eprintln!("decide: making {INTERFACES} interfaces");
    let topology = Topology::read(&format!("{TOPOLOGY}{}", crowd(INTERFACES))).map_err(anyhow::Error::msg)?;
    let sets = KINDS.map(|(_, kinds)| flows(&topology.plan, &topology, kinds));
    let rates = std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            cpu::pin(&[pinning.client])?;
            let mut rates = vec![Vec::new(); KINDS.len()];
            for round in 0..options.rounds {
                eprintln!("decide: round {} of {}", round + 1, options.rounds);
                for (rates, flows) in rates.iter_mut().zip(&sets) {
                    let flows = flows.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
                    rates.push(rate(&topology.plan, flows, Duration::from_secs_f64(options.seconds / 2.0))?);
                }
            }
            anyhow::Ok(rates)
        });
        worker.join().map_err(|_| anyhow::anyhow!("the thread that decides panicked"))?
    })?;
    Ok(outcome(&topology.plan, &sets, &rates))
}

fn flows(plan: &Plan, topology: &Topology, kinds: &[Kind]) -> anyhow::Result<Vec<Flow>> {
    let mut random = Random::new(SEED);
    let mut interfaces: Vec<&InterfacePlan> =
        plan.interfaces().filter(|one| one.attached && !one.nat_gateway).collect();
    interfaces.sort_by_key(|one| one.id);
    let service = |name: &str| {
        let found = topology.state.services.get(&format!("com.amazonaws.us-east-1.{name}"));
        found.map(|service| service.public_addresses.clone()).context("no such service")
    };
    let (s3, other) = (service("s3")?, service("ec2")?);
    let mut draw = |below: usize| random.below(below);
    let mut flows = Vec::with_capacity(FLOWS);
    for n in 0..FLOWS {
        let entry = interfaces.get(draw(interfaces.len())).context("no interface")?;
        let (port, destination) = match kinds[n % kinds.len()] {
            Kind::Local => {
                let to = interfaces.get(draw(interfaces.len())).context("no interface")?;
                (if draw(4) == 0 { 22 } else { 443 }, *to.addresses.first().context("no address")?)
            }
            Kind::Endpoint => (443, s3[draw(s3.len())]),
            Kind::Nat => (443, other[draw(other.len())]),
            Kind::Nowhere => (443, std::net::Ipv4Addr::new(203, 0, 113, draw(254) as u8)),
        };
        flows.push(Flow {
            entry: entry.id,
            source: (*entry.addresses.first().context("no address")?).into(),
            destination: destination.into(),
            transport: Transport::Tcp { source_port: 10_000 + draw(50_000) as u16, destination_port: port },
        });
    }
    Ok(flows)
}

/// Decisions a second.
#[derive(Debug, Clone, Copy, Serialize)]
struct Rate {
    /// Of the thread's processor time.
    processor: f64,
    /// Of the clock on the wall, in which neighbours had the processor too.
    wall: f64,
}

/// Decisions in each second, above all of this thread's processor time, which a neighbour's load does not use up.
fn rate(plan: &Plan, flows: &[Flow], time: Duration) -> anyhow::Result<Rate> {
    let clock = || anyhow::Ok(Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?));
    let (began, used) = (Instant::now(), clock()?);
    let mut decided = 0;
    while began.elapsed() < time {
        for flow in flows.iter().skip(decided % flows.len()).take(4_096) {
            black_box(plan.decide(black_box(flow)));
            decided += 1;
        }
    }
    let each = |time: Duration| decided as f64 / time.as_secs_f64();
    Ok(Rate { processor: each(clock()?.saturating_sub(used)), wall: each(began.elapsed()) })
}

fn outcome(plan: &Plan, sets: &[anyhow::Result<Vec<Flow>>; KINDS.len()], rates: &[Vec<Rate>]) -> Outcome {
    let mut table = Table::new(
        "decide",
        ["flows", "decisions/s", "ns each", "by the wall clock, /s", "let pass"].map(str::to_owned),
    );
    let mut goals = Vec::new();
    let mut raw = serde_json::Map::new();
    for (((name, _), set), rates) in KINDS.iter().zip(sets).zip(rates) {
        let of_processor: Vec<f64> = rates.iter().map(|rate| rate.processor).collect();
        let rate = median(of_processor.iter().copied());
        let wall = median(rates.iter().map(|rate| rate.wall));
        let flows: &[Flow] = set.as_deref().unwrap_or_default();
        let pass =
            flows.iter().filter(|flow| matches!(plan.decide(flow).outcome, Decided::Forward(_))).count();
        let part = 100.0 * pass as f64 / flows.len().max(1) as f64;
        table.row(vec![
            (*name).to_owned(),
            fixed(rate, 0),
            fixed(1e9 / rate, 0),
            fixed(wall, 0),
            format!("{part:.0} %"),
        ]);
        raw.insert((*name).to_owned(), serde_json::json!(rates));
        if *name == "mixed" {
            goals.push(
                Goal::at_least("decide, mixed flows, 10,000 interfaces, one processor", rate, 1e6, 0, "/s")
                    .over(&of_processor),
            );
        }
    }
    table.note(format!(
        "{INTERFACES} interfaces in {} subnets and 20 groups of five rules each; {FLOWS} different flows of each kind; \
         by the thread's processor time; mixed is two in five within the VPC, and one in five of each other kind.",
        INTERFACES.div_ceil(250)
    ));
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
