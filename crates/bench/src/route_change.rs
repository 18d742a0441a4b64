//! A route changes: how long until the first packet takes the new one, with few and with many interfaces.
//!
//! Everything is as its users have it: the program itself runs on a state directory, the network is made by requests,
//! client and appliances are plugged in by `postern attach`. The client sends a datagram every now and then to an
//! address that a route leads to one appliance or to the other. The time runs from the signed `ReplaceRoute` request
//! to the first datagram at the other appliance. A datagram that was sent after the answer must not arrive at the old
//! one.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::time::{Duration, Instant};

use anyhow::Context;
use postern_dataplane::host::Namespace;

use crate::Options;
use crate::cpu::{self, Pinning};
use crate::netns;
use crate::program::{Ec2, Program, form};
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
const ROUTE: &str = "198.51.100.0/24";
const PORT: u16 = 5_300;
/// How much later a p99 may be with the most interfaces, to count as not growing: what a figure varies by.
const SAME: f64 = 1.25;

/// Interfaces that are there beside the crowd: the client's and the appliances'.
const OWN: usize = 3;
/// Interfaces of the crowd in one subnet, and the groups that they are in.
const IN_A_SUBNET: usize = 250;
const GROUPS: usize = 20;

/// A region of one size, with its client and appliances.
struct Scene {
    interfaces: usize,
    program: Program,
    ec2: Ec2,
    table: String,
    appliances: [Appliance; 2],
    /// Which one the route leads to.
    now: usize,
    sending: Arc<AtomicBool>,
    times: Parts,
    /// From the request to the first packet, of each round.
    rounds: Vec<Times>,
}

/// What is measured.
#[derive(Default)]
struct Parts {
    /// From the request to its answer.
    answer: Times,
    /// From the request to the first packet.
    packet: Times,
    /// The program's processor time for the changes themselves, each block's.
    cpu_microseconds: Vec<f64>,
    late: u64,
}

struct Appliance {
    interface: String,
    /// When it is to say that a datagram has come.
    armed: Arc<AtomicBool>,
    came: Receiver<Instant>,
    /// The latest time of sending among what came, in nanoseconds of the run.
    latest: Arc<AtomicU64>,
}

/// Measures all of it. The calling process holds the namespaces that are plugged in.
pub fn run(pinning: &Pinning, place: &Path, options: &Options) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let mut scenes = Vec::new();
    for interfaces in SIZES {
        eprintln!("route change: making {interfaces} interfaces");
        let state = place.join(format!("region-{interfaces}"));
        let program = Program::start(&options.program()?, &state)?;
        scenes.push(Scene::new(program, pinning, interfaces, start)?);
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

/// The VPC that is as large as asked, in the account's default state otherwise.
struct Network {
    vpc: String,
    clients: String,
    appliances: String,
    group: String,
    table: String,
}

impl Network {
    fn make(ec2: &mut Ec2) -> anyhow::Result<Self> {
        let vpc = ec2.make("CreateVpc", &[("CidrBlock", "10.0.0.0/16")], "vpcId")?;
        let mut subnet =
            |block: &str| ec2.make("CreateSubnet", &[("VpcId", &vpc), ("CidrBlock", block)], "subnetId");
        let (clients, appliances) = (subnet("10.0.1.0/24")?, subnet("10.0.2.0/24")?);
        let group = group(ec2, &vpc, "bench")?;
        rule(ec2, &group, "udp", ("5000", "5999"), "10.0.0.0/16")?;
        let table = ec2.make("CreateRouteTable", &[("VpcId", &vpc)], "routeTableId")?;
        ec2.call("AssociateRouteTable", &[("RouteTableId", &table), ("SubnetId", &clients)])?;
        Ok(Self { vpc, clients, appliances, group, table })
    }

    /// So many interfaces beside, in twenty groups that refer to each other.
    fn crowd(&self, program: &Program, ec2: &mut Ec2, interfaces: usize) -> anyhow::Result<()> {
        let groups: Vec<String> =
            (0..GROUPS).map(|n| group(ec2, &self.vpc, &format!("g{n}"))).collect::<anyhow::Result<_>>()?;
        for (n, own) in groups.iter().enumerate() {
            rule(ec2, own, "tcp", ("443", "443"), "10.0.0.0/16")?;
            rule(ec2, own, "udp", ("5000", "5999"), "10.0.0.0/16")?;
            rule(ec2, own, "tcp", ("8000", "8999"), "192.168.0.0/16")?;
            let next = groups.get((n + 1) % GROUPS).context("there are no groups")?;
            let parameters = [
                ("GroupId", own.as_str()),
                ("IpPermissions.1.IpProtocol", "tcp"),
                ("IpPermissions.1.FromPort", "5432"),
                ("IpPermissions.1.ToPort", "5432"),
                ("IpPermissions.1.Groups.1.GroupId", next),
            ];
            ec2.call("AuthorizeSecurityGroupIngress", &parameters)?;
        }
        let mut subnets = Vec::new();
        for n in 0..interfaces.div_ceil(IN_A_SUBNET) {
            let block = format!("10.0.{}.0/24", 16 + n);
            let parameters = [("VpcId", self.vpc.as_str()), ("CidrBlock", &block)];
            subnets.push(ec2.make("CreateSubnet", &parameters, "subnetId")?);
        }
        let requests: Vec<String> = (0..interfaces)
            .filter_map(|n| {
                let (subnet, group) = (subnets.get(n / IN_A_SUBNET)?, groups.get(n % GROUPS)?);
                Some(form("CreateNetworkInterface", &[("SubnetId", subnet), ("SecurityGroupId.1", group)]))
            })
            .collect();
        program.all(&requests)
    }
}

fn group(ec2: &mut Ec2, vpc: &str, name: &str) -> anyhow::Result<String> {
    let parameters = [("VpcId", vpc), ("GroupName", name), ("GroupDescription", "bench")];
    ec2.make("CreateSecurityGroup", &parameters, "groupId")
}

fn rule(ec2: &mut Ec2, group: &str, protocol: &str, ports: (&str, &str), from: &str) -> anyhow::Result<()> {
    let parameters = [
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", protocol),
        ("IpPermissions.1.FromPort", ports.0),
        ("IpPermissions.1.ToPort", ports.1),
        ("IpPermissions.1.IpRanges.1.CidrIp", from),
    ];
    ec2.call("AuthorizeSecurityGroupIngress", &parameters).map(drop)
}

impl Scene {
    fn new(program: Program, pinning: &Pinning, interfaces: usize, start: Instant) -> anyhow::Result<Self> {
        let mut ec2 = program.ec2()?;
        let network = Network::make(&mut ec2)?;
        network.crowd(&program, &mut ec2, interfaces.saturating_sub(OWN))?;
        let plug = |subnet: &str| {
            let namespace = netns::create()?;
            let interface = program.attach(&namespace, subnet, &network.group)?;
            anyhow::Ok((namespace, interface))
        };
        let (client, _) = plug(&network.clients)?;
        let mut appliance = || {
            let (namespace, interface) = plug(&network.appliances)?;
            let unchecked = [("NetworkInterfaceId", interface.as_str()), ("SourceDestCheck.Value", "false")];
            ec2.call("ModifyNetworkInterfaceAttribute", &unchecked)?;
            Appliance::start(&namespace, interface, pinning, start)
        };
        let appliances = [appliance()?, appliance()?];
        let Network { table, .. } = network;
        let [first, _] = &appliances;
        let parameters = route(&table, &first.interface);
        ec2.call("CreateRoute", &parameters)?;
        let sending = Arc::new(AtomicBool::new(false));
        send(&client, pinning.client, Arc::clone(&sending), start)?;
        let (times, rounds) = (Parts::default(), Vec::new());
        Ok(Self { interfaces, program, ec2, table, appliances, now: 0, sending, times, rounds })
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
        std::thread::sleep(Duration::from_millis(10));
        self.quiet_changes()
    }

    /// What a change costs the program, when it moves no packets meanwhile.
    fn quiet_changes(&mut self) -> anyhow::Result<()> {
        let before = self.program.cpu()?;
        for n in 0..BLOCK {
            let [first, second] = &self.appliances;
            // An even number of them, so that the route is again as it was.
            let to = if (n + self.now).is_multiple_of(2) { second } else { first };
            self.ec2.call("ReplaceRoute", &route(&self.table, &to.interface))?;
        }
        let used = self.program.cpu()?.saturating_sub(before);
        self.times.cpu_microseconds.push(used.as_secs_f64() * 1e6 / BLOCK as f64);
        Ok(())
    }

    fn change(&mut self, start: Instant) -> anyhow::Result<()> {
        let next = 1 - self.now;
        let (old, new) = (&self.appliances[self.now], &self.appliances[next]);
        while new.came.try_recv().is_ok() {}
        let body = form("ReplaceRoute", &route(&self.table, &new.interface));
        let prepared = self.ec2.0.prepare("POST", "/", body.as_bytes())?;
        new.armed.store(true, Ordering::Release);
        let asked = Instant::now();
        self.ec2.0.send(&prepared, body.as_bytes())?;
        let answered = Instant::now();
        let came = new.came.recv_timeout(PATIENCE).context("no packet takes the new route")?;
        self.times.answer.add(answered - asked);
        let packet = came.saturating_duration_since(asked);
        self.times.packet.add(packet);
        if let Some(round) = self.rounds.last_mut() {
            round.add(packet);
        }
        // What was under way has arrived by now.
        std::thread::sleep(Duration::from_millis(2));
        let answered = u64::try_from((answered - start).as_nanos())?;
        self.times.late += u64::from(old.latest.load(Ordering::Acquire) > answered);
        self.now = next;
        Ok(())
    }
}

fn route<'a>(table: &'a str, interface: &'a str) -> [(&'static str, &'a str); 3] {
    [("RouteTableId", table), ("DestinationCidrBlock", ROUTE), ("NetworkInterfaceId", interface)]
}

impl Appliance {
    fn start(
        namespace: &Namespace,
        interface: String,
        pinning: &Pinning,
        start: Instant,
    ) -> anyhow::Result<Self> {
        netns::ip(namespace, &format!("address add {TARGET}/32 dev lo"))?;
        let socket = namespace.bind_udp(SocketAddr::from((TARGET, PORT)))?;
        let (sender, came) = mpsc::sync_channel(16);
        let appliance = Self { interface, armed: Arc::default(), came, latest: Arc::default() };
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
        "request to first packet, p50 ms",
        "p99 ms",
        "request to answer, p50 ms",
        "p99 ms",
        "the program's CPU, µs a change",
        "changes",
    ];
    let mut table = Table::new("Route change", header.map(str::to_owned));
    let mut goals = Vec::new();
    let mut raw = Vec::new();
    let (mut late, mut changes) = (0, 0);
    let (mut pooled, mut tails): (Vec<f64>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    let mut costs: Vec<f64> = Vec::new();
    for scene in scenes {
        let Parts { answer, packet, cpu_microseconds, late: scene_late } = &mut scene.times;
        let of = |times: &mut Times, part| times.percentile(part) / 1e3;
        let figures = [of(packet, 0.5), of(packet, 0.99), of(answer, 0.5), of(answer, 0.99)];
        let cost = median(cpu_microseconds.iter().copied());
        let cells = figures.iter().map(|figure| fixed(*figure, 2)).chain([fixed(cost, 0)]);
        let count = packet.len();
        table.row(
            std::iter::once(scene.interfaces.to_string()).chain(cells).chain([count.to_string()]).collect(),
        );
        let what = format!("route change with {} interfaces, request to first packet, p99", scene.interfaces);
        goals.push(Goal::below(&what, figures[1], 10.0, 2, " ms"));
        late += *scene_late;
        changes += count;
        costs.push(cost);
        pooled.push(figures[1]);
        tails.push(scene.rounds.iter_mut().map(|times| times.percentile(0.99) / 1e3).collect());
        raw.push(
            serde_json::json!({ "interfaces": scene.interfaces, "changes": count, "milliseconds": figures,
            "cpu_microseconds": cost, "tail_milliseconds_of_rounds": tails.last(), "late": *scene_late }),
        );
    }
    if let ([few, .., many], [all_few, .., all_many], [cheap, .., dear]) =
        (tails.as_slice(), pooled.as_slice(), costs.as_slice())
    {
        let what = "route change, p99 of all changes, most interfaces to fewest";
        goals.push(Goal::below(what, all_many / all_few, SAME, 2, ""));
        let what = "route change, p99 within a round, most interfaces to fewest";
        let ratios: Vec<f64> = few.iter().zip(many).map(|(few, many)| many / few).collect();
        goals.push(Goal::below(what, median(ratios.iter().copied()), SAME, 2, "").over(&ratios));
        let what = "route change, the program's CPU, most interfaces to fewest";
        goals.push(Goal::below(what, dear / cheap, SAME, 2, ""));
    }
    goals.push(Goal::none("route changes with a later packet on the old route", late));
    table.note(format!(
        "The program itself, on a state directory: each request is signed, authenticated, authorised, made durable on \
         disk, planned, published, written to the audit log and answered. The client sends every {} µs or somewhat \
         more; the CPU is of changes while it does not send. After {changes} changes, packets sent later than the \
         answer came by the old route {late} times.",
        PAUSE.as_micros()
    ));
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
