//! A route changes: how long until the first packet takes the new one, with few and with many interfaces.
//!
//! A client sends a datagram every now and then to an address that a route leads to one appliance or to another. The
//! time runs from the call that changes the route (made durable, planned, published, as in the program) to the first
//! datagram at the other appliance. A datagram that was sent after the change was published must not arrive at the
//! old one.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::Context;
use postern_dataplane::host::{Host, Namespace};
use postern_model::Action;
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};

use crate::Options;
use crate::cpu::{self, Pinning};
use crate::netns;
use crate::region::{Region, crowd};
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::{Times, median};

/// How many interfaces there are.
const SIZES: [usize; 3] = [10, 1_000, 10_000];
/// Changes of each size in a round, and how many of them follow each other before the next size has its turn.
const CHANGES: usize = 200;
const BLOCK: usize = 10;
/// Between two datagrams.
const PAUSE: Duration = Duration::from_micros(20);
/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where the datagrams are sent.
const TARGET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const PORT: u16 = 5_300;
/// How much later a p99 may be with the most interfaces, to count as not growing: what a figure varies by.
const SAME: f64 = 1.25;

/// Interfaces that the topology has beside the crowd.
const OWN: usize = 3;
const TOPOLOGY: &str = "\
vpc a 10.0.0.0/16
subnet a.clients 10.0.1.0/24
subnet a.appliances 10.0.2.0/24
group a.open
  in udp 5000-5999 from 10.0.0.0/16
interface client in a.clients attached groups=open
interface first in a.appliances attached groups=open no-check
interface second in a.appliances attached groups=open no-check
table a.t subnets=clients
  198.51.100.0/24 -> first
";

/// A region of one size, with its client and appliances.
struct Scene {
    interfaces: usize,
    region: Region,
    appliances: [Appliance; 2],
    /// Which one the route leads to.
    now: usize,
    sending: Arc<AtomicBool>,
    times: Parts,
    /// From planning to the first packet, of each round.
    rounds: Vec<Times>,
}

/// What is measured.
#[derive(Default)]
struct Parts {
    commit: Times,
    plan: Times,
    publish: Times,
    /// From the beginning of planning to the first packet.
    published_to_packet: Times,
    /// From the call to the first packet.
    all: Times,
    late: u64,
}

struct Appliance {
    /// When it is to say that a datagram has come.
    armed: Arc<AtomicBool>,
    came: Receiver<Instant>,
    /// The latest time of sending among what came, in nanoseconds of the run.
    latest: Arc<AtomicU64>,
}

/// Measures all of it.
pub fn run(host: &Arc<Host>, pinning: &Pinning, place: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let mut scenes = Vec::new();
    for interfaces in SIZES {
        eprintln!("route change: making {interfaces} interfaces");
        scenes.push(Scene::new(host, pinning, place, interfaces, start)?);
    }
    for round in 0..options.rounds {
        eprintln!("route change: round {} of {}", round + 1, options.rounds);
        scenes.iter_mut().for_each(|scene| scene.rounds.push(Times::default()));
        for block in 0..CHANGES / BLOCK {
            let first = (block + round as usize) % scenes.len();
            let (before, from) = scenes.split_at_mut(first);
            for scene in from.iter_mut().chain(before) {
                scene.block(start).with_context(|| format!("with {} interfaces", scene.interfaces))?;
            }
        }
    }
    Ok(outcome(&mut scenes))
}

impl Scene {
    fn new(
        host: &Arc<Host>,
        pinning: &Pinning,
        place: &Path,
        interfaces: usize,
        start: Instant,
    ) -> anyhow::Result<Self> {
        let folder = place.join(format!("ledger-{interfaces}"));
        std::fs::create_dir(&folder)?;
        let text = format!("{TOPOLOGY}{}", crowd(interfaces.saturating_sub(OWN)));
        let region = Region::start(host, &text, Some(&folder))?;
        let client = region.plug("client")?;
        let appliances =
            ["first", "second"].map(|name| Appliance::start(&region.plug(name)?, pinning, start));
        let [first, second] = appliances;
        let sending = Arc::new(AtomicBool::new(false));
        send(&client, pinning.client, Arc::clone(&sending), start)?;
        let appliances = [first?, second?];
        let interfaces = region.state().network_interfaces.len();
        Ok(Self {
            interfaces,
            region,
            appliances,
            now: 0,
            sending,
            times: Parts::default(),
            rounds: Vec::new(),
        })
    }

    /// Some changes, one after the other, with the client sending.
    fn block(&mut self, start: Instant) -> anyhow::Result<()> {
        self.sending.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
        for n in 0..BLOCK {
            self.change(start)?;
            // Not in step with the client.
            std::thread::sleep(Duration::from_micros(2_000 + (n as u64 * 137) % 1_000));
        }
        self.sending.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn change(&mut self, start: Instant) -> anyhow::Result<()> {
        let next = 1 - self.now;
        let target = self.region.interface(["first", "second"][next])?;
        let destination =
            RouteDestination::Cidr(postern_model::Ipv4Net::new_assert([198, 51, 100, 0].into(), 24).into());
        let target = RouteTargetChoice::Target(RouteTarget::NetworkInterface(target));
        let action = Action::ReplaceRoute { table: self.region.route_table("a.t")?, destination, target };
        let (old, new) = (&self.appliances[self.now], &self.appliances[next]);
        while new.came.try_recv().is_ok() {}
        new.armed.store(true, Ordering::Release);
        let change = self.region.change(action)?;
        let published = u64::try_from((Instant::now() - start).as_nanos())?;
        let came = new.came.recv_timeout(PATIENCE).context("no packet takes the new route")?;
        let all = came.saturating_duration_since(change.asked);
        self.times.commit.add(change.commit);
        self.times.plan.add(change.plan);
        self.times.publish.add(change.publish);
        self.times.published_to_packet.add(all.saturating_sub(change.commit));
        self.times.all.add(all);
        if let Some(round) = self.rounds.last_mut() {
            round.add(all.saturating_sub(change.commit));
        }
        // What was under way has arrived by now.
        std::thread::sleep(Duration::from_millis(2));
        self.times.late += u64::from(old.latest.load(Ordering::Acquire) > published);
        self.now = next;
        Ok(())
    }
}

impl Appliance {
    fn start(namespace: &Namespace, pinning: &Pinning, start: Instant) -> anyhow::Result<Self> {
        netns::ip(namespace, &format!("address add {TARGET}/32 dev lo"))?;
        let socket = namespace.bind_udp(SocketAddr::from((TARGET, PORT)))?;
        let (sender, came) = mpsc::sync_channel(16);
        let appliance = Self { armed: Arc::default(), came, latest: Arc::default() };
        let (armed, latest) = (Arc::clone(&appliance.armed), Arc::clone(&appliance.latest));
        let processor = pinning.server;
        std::thread::Builder::new().name("appliance".to_owned()).spawn(move || {
            if cpu::pin(&[processor]).is_ok() {
                receive(&socket, &armed, &latest, &sender, start);
            }
        })?;
        Ok(appliance)
    }
}

fn receive(
    socket: &UdpSocket,
    armed: &AtomicBool,
    latest: &AtomicU64,
    came: &SyncSender<Instant>,
    start: Instant,
) {
    let mut stamp = [0; 8];
    loop {
        if !matches!(socket.recv(&mut stamp), Ok(8)) {
            continue;
        }
        let now = Instant::now();
        debug_assert!(now >= start);
        latest.fetch_max(u64::from_le_bytes(stamp), Ordering::AcqRel);
        if armed.swap(false, Ordering::AcqRel) {
            let _ = came.try_send(now);
        }
    }
}

/// Sends while it is told to, each datagram with the time of its sending.
fn send(
    client: &Namespace,
    processor: usize,
    sending: Arc<AtomicBool>,
    start: Instant,
) -> anyhow::Result<()> {
    let socket = client.bind_udp(SocketAddr::from(([0; 4], 0)))?;
    socket.connect(SocketAddr::from((TARGET, PORT)))?;
    std::thread::Builder::new().name("sender".to_owned()).spawn(move || {
        if cpu::pin(&[processor]).is_err() {
            return;
        }
        loop {
            if sending.load(Ordering::Relaxed) {
                let stamp = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                let _ = socket.send(&stamp.to_le_bytes());
                std::thread::sleep(PAUSE);
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    })?;
    Ok(())
}

fn outcome(scenes: &mut [Scene]) -> Outcome {
    let header = [
        "interfaces",
        "call to first packet, p50 ms",
        "p99 ms",
        "planning to first packet, p50 ms",
        "p99 ms",
        "commit p50 ms",
        "commit p99 ms",
        "plan p50 ms",
        "publish p50 ms",
        "changes",
    ];
    let mut table = Table::new("Route change", header.map(str::to_owned));
    let mut goals = Vec::new();
    let mut raw = Vec::new();
    let (mut late, mut changes) = (0, 0);
    let mut tails: Vec<Vec<f64>> = Vec::new();
    for scene in scenes {
        let Parts { commit, plan, publish, published_to_packet, all, late: scene_late } = &mut scene.times;
        let of = |times: &mut Times, part| times.percentile(part) / 1e3;
        let figures = [
            of(all, 0.5),
            of(all, 0.99),
            of(published_to_packet, 0.5),
            of(published_to_packet, 0.99),
            of(commit, 0.5),
            of(commit, 0.99),
            of(plan, 0.5),
            of(publish, 0.5),
        ];
        let cells = figures.iter().map(|figure| fixed(*figure, 2));
        let count = all.len();
        table.row(
            std::iter::once(scene.interfaces.to_string()).chain(cells).chain([count.to_string()]).collect(),
        );
        let what = format!("route change with {} interfaces, call to first packet, p99", scene.interfaces);
        goals.push(Goal::below(&what, figures[1], 10.0, 2, " ms"));
        late += *scene_late;
        changes += count;
        tails.push(scene.rounds.iter_mut().map(|times| times.percentile(0.99) / 1e3).collect());
        raw.push(
            serde_json::json!({ "interfaces": scene.interfaces, "changes": count, "milliseconds": figures,
            "tail_milliseconds_of_rounds": tails.last(), "late": *scene_late }),
        );
    }
    if let (Some(few), Some(many)) = (tails.first(), tails.last()) {
        let what = "route change, p99 of planning to first packet, most interfaces to fewest";
        let ratios: Vec<f64> = few.iter().zip(many).map(|(few, many)| many / few).collect();
        goals.push(Goal::below(what, median(ratios.iter().copied()), SAME, 2, "").over(&ratios));
    }
    goals.push(Goal::none("route changes with a later packet on the old route", late));
    table.note(format!(
        "The call is made durable on disk (commit), planned and published as in the program; the client sends every {} \
         µs or somewhat more. After {changes} changes, packets sent later than the answer came by the old route {late} \
         times.",
        PAUSE.as_micros()
    ));
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
