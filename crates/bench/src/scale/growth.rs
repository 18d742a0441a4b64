//! What a packet and a new connection cost in a large region, beside a small one in the same round: with a thousand
//! interfaces plugged in, with a hundred thousand flows live, with a million prefixes in the plan.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use postern_dataplane::host::{Host, Namespace};
use postern_dataplane::kernel::{KernelProgram, Size};
use postern_testkit::Topology;

use super::prefixes;
use crate::Options;
use crate::cpu::Pinning;
use crate::load::requests::{self, Habit};
use crate::load::{Route, Servers};
use crate::region::{Region, crowd};
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::median;

/// Clients at once.
const CLIENTS: usize = 32;
const INTERFACES: usize = 1_000;
/// From two interfaces, each from so many ports to so many.
const SENDERS: [&str; 2] = ["e0", "e1"];
const FROM_PORTS: u16 = 50;
const TO_PORTS: std::ops::Range<u16> = 5_000..6_000;
/// What those make together.
const FLOWS: usize = SENDERS.len() * FROM_PORTS as usize * 1_000;
/// What of the small region's rates is left at least: what neighbours on the machine take is in it.
const SAME: f64 = 0.9;

const TOPOLOGY: &str = "\
vpc a 10.0.0.0/16
subnet a.private 10.0.1.0/24
subnet a.other 10.0.2.0/24
igw a
group a.servers
  in tcp 5000-5999 from 10.0.0.0/16
  in udp 5000-5999 from 10.0.0.0/16
interface local in a.other attached groups=servers ip=10.0.2.10
interface sink in a.other attached groups=servers ip=10.0.2.11
interface client in a.private attached groups=servers ip=10.0.1.10
vpc b 10.0.0.0/16
igw b
";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);
const SINK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 11);

/// One region.
struct Scene {
    what: &'static str,
    region: Region,
    route: Route,
    /// Namespaces from which flows are begun.
    senders: Vec<Namespace>,
    _held: Vec<Namespace>,
    /// Requests and connections a second, of each round.
    requests: Vec<f64>,
    connections: Vec<f64>,
    failures: u64,
}

/// Measures all of it.
pub fn run(host: &Arc<Host>, pinning: &Pinning, options: &Options) -> anyhow::Result<Outcome> {
    let mut scenes = vec![
        Scene::new(host, pinning, "10 interfaces, few flows, few prefixes", 10, 10, false)?,
        Scene::new(host, pinning, "1,000 interfaces", INTERFACES, 10, false)?,
        Scene::new(host, pinning, "100,000 flows live", 10, 10, true)?,
        Scene::new(host, pinning, "1,000,000 prefixes", 10, prefixes::PREFIXES, false)?,
    ];
    let time = Duration::from_secs_f64(options.seconds);
    let mut live = Vec::new();
    for round in 0..options.rounds as usize {
        eprintln!("scale: round {} of {}", round + 1, options.rounds);
        for habit in [Habit::Keep, Habit::Renew] {
            let first = round % scenes.len();
            let (before, from) = scenes.split_at_mut(first);
            for scene in from.iter_mut().chain(before) {
                if !scene.senders.is_empty() {
                    live.push(scene.fill().context("making flows")? as f64);
                }
                scene.measure(habit, time, pinning)?;
            }
        }
    }
    Ok(outcome(&scenes, &live))
}

impl Scene {
    fn new(
        host: &Arc<Host>,
        pinning: &Pinning,
        what: &'static str,
        interfaces: usize,
        prefixes: usize,
        many_flows: bool,
    ) -> anyhow::Result<Self> {
        eprintln!("scale: making a region with {what}");
        let mut topology = Topology::read(&format!("{TOPOLOGY}{}", crowd(interfaces.saturating_sub(3))))
            .map_err(anyhow::Error::msg)?;
        topology.state = prefixes::widen(&topology, prefixes)?;
        let program = KernelProgram::load(host.fabric(), Size::default(), RandomState::new().hash_one(0));
        let program =
            program.inspect_err(|error| eprintln!("scale: without the kernel program: {error}")).ok();
        let region = Region::start_of(host, topology, program)?;
        let (client, server, sink) = (region.plug("client")?, region.plug("local")?, region.plug("sink")?);
        let mut held = vec![sink];
        for n in 0..interfaces.saturating_sub(3) {
            held.push(region.plug_soon(&format!("e{n}"))?);
        }
        let senders =
            if many_flows { held.iter().skip(1).take(SENDERS.len()).cloned().collect() } else { Vec::new() };
        Servers::start(&server, pinning)?;
        let route = Route { client, target: SERVER, through: None };
        requests::until_ready(&route, pinning.client)?;
        region.settle()?;
        held.push(server);
        let (requests, connections, failures) = (Vec::new(), Vec::new(), 0);
        Ok(Self { what, region, route, senders, _held: held, requests, connections, failures })
    }

    /// Sends a datagram of each flow; returns how many flows are live then.
    fn fill(&self) -> anyhow::Result<usize> {
        for _ in 0..20 {
            for sender in &self.senders {
                sender.run(send_all)??;
            }
            let live = self.region.forwarder.counters().wait()?.flows;
            if live >= FLOWS {
                return Ok(live);
            }
        }
        let live = self.region.forwarder.counters().wait()?.flows;
        ensure!(live >= FLOWS, "only {live} flows are live");
        Ok(live)
    }

    fn measure(&mut self, habit: Habit, time: Duration, pinning: &Pinning) -> anyhow::Result<()> {
        let answered = requests::ask(&self.route, CLIENTS, habit, time, pinning.client)?;
        self.failures += answered.failures;
        match habit {
            Habit::Keep => self.requests.push(answered.rate),
            Habit::Renew => self.connections.push(answered.rate),
        }
        Ok(())
    }
}

/// From the namespace that the thread is in, a datagram of every flow, no faster than the forwarder can read them.
fn send_all() -> std::io::Result<()> {
    for port in 0..FROM_PORTS {
        let socket = UdpSocket::bind(SocketAddr::from(([0; 4], 20_000 + port)))?;
        for to in TO_PORTS {
            // Nobody listens there, which the socket is told at times.
            let _ = socket.send_to(b"flow", SocketAddr::from((SINK, to)));
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    Ok(())
}

fn outcome(scenes: &[Scene], live: &[f64]) -> Outcome {
    let header = ["region", "requests/s", "to the small one's", "new connections/s", "to the small one's"];
    let mut table = Table::new("Scale: packets in a large region", header.map(str::to_owned));
    let mut goals = Vec::new();
    let Some(small) = scenes.first() else {
        return Outcome { tables: vec![table], goals, raw: serde_json::Value::Null };
    };
    let ratios = |ours: &[f64], theirs: &[f64]| -> Vec<f64> {
        ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
    };
    for scene in scenes {
        let requests = ratios(&scene.requests, &small.requests);
        let connections = ratios(&scene.connections, &small.connections);
        table.row(vec![
            scene.what.to_owned(),
            fixed(median(scene.requests.iter().copied()), 0),
            fixed(median(requests.iter().copied()), 2),
            fixed(median(scene.connections.iter().copied()), 0),
            fixed(median(connections.iter().copied()), 2),
        ]);
        if !std::ptr::eq(scene, small) {
            for (what, ratios) in [("requests", requests), ("new connections", connections)] {
                let what = format!("{what} with {}, to a small region's", scene.what);
                let ratio = median(ratios.iter().copied());
                goals.push(Goal::at_least(&what, ratio, SAME, 2, "").over(&ratios));
            }
        }
    }
    let failures: u64 = scenes.iter().map(|scene| scene.failures).sum();
    table.note(format!(
        "{CLIENTS} clients, instance to instance, by the kernel program; ratios are of the same round. Flows live when they \
         were counted, before each figure: {} (median). Requests that failed, of all regions: {failures}.",
        fixed(median(live.iter().copied()), 0)
    ));
    let raw: serde_json::Map<_, _> = scenes
        .iter()
        .map(|scene| {
            let figures =
                serde_json::json!({ "requests_s": scene.requests, "connections_s": scene.connections });
            (scene.what.to_owned(), figures)
        })
        .collect();
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
