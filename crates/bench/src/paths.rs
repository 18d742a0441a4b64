//! Throughput, new connections and requests over every path, and over what else could carry them.

mod private_link;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Pid;
use postern_dataplane::host::Host;
use postern_dataplane::kernel::{KernelProgram, Size};
use serde::Serialize;

use crate::Options;
use crate::cpu::Pinning;
use crate::load::requests::{self, Answered, Habit};
use crate::load::{Route, Servers, stream};
use crate::middle::{self, Proxy};
use crate::netns;
use crate::region::Region;
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::median;

/// Clients at once where many ask.
const MANY: usize = 32;

/// Client and NAT gateway in one VPC, another VPC with the same addresses, S3 by a gateway endpoint.
const TOPOLOGY: &str = "\
vpc a 10.0.0.0/16
subnet a.private 10.0.1.0/24
subnet a.other 10.0.2.0/24
subnet a.public 10.0.3.0/24
igw a
group a.servers
  in tcp 5000-5999 from 10.0.0.0/16
  in udp 5000-5999 from 10.0.0.0/16
group a.clients
  in icmp from 0.0.0.0/0
nat a.n in a.public
table a.t subnets=private
  0.0.0.0/0 -> nat n
endpoint a.s3 s3 tables=t
table a.main
  0.0.0.0/0 -> igw
interface local in a.other attached groups=servers ip=10.0.2.10
interface client in a.private attached groups=clients ip=10.0.1.10
vpc b 10.0.0.0/16
subnet b.public 10.0.1.0/24
igw b
group b.servers
  in tcp 5000-5999 from 0.0.0.0/0
  in udp 5000-5999 from 0.0.0.0/0
table b.main
  0.0.0.0/0 -> igw
interface remote in b.public attached groups=servers ip=10.0.1.10
eip remote
";

/// One of those that are compared.
pub struct Contender {
    /// What it is called.
    pub name: &'static str,
    /// Where its client sends.
    pub route: Route,
    servers: Servers,
    /// Processes that take part beside this one.
    others: Vec<Pid>,
}

/// All contenders, up and answering.
pub struct Field {
    /// In the order in which they are reported; the direct link first.
    pub contenders: Vec<Contender>,
    /// Behind Postern's three.
    pub region: Region,
    /// Behind those of the kernel program, where it can be had.
    _in_kernel: Option<Region>,
    /// How connections send by default in their namespaces.
    pub congestion: String,
    /// Ends with the field.
    _proxies: Vec<Proxy>,
    /// What the tables are called.
    title: &'static str,
    /// What is to be reached, by what was measured.
    goals: Goals,
}

/// What is to be reached, by what was measured.
type Goals = fn(&Field, &[Vec<Figures>]) -> Vec<Goal>;

/// Postern's paths, as they are reported.
pub const POSTERN: [&str; 3] =
    ["Postern, instance to instance", "Postern, NAT gateway", "Postern, gateway endpoint"];
/// The same with the kernel program.
pub const KERNEL: [&str; 3] = [
    "Postern, kernel program, instance to instance",
    "Postern, kernel program, NAT gateway",
    "Postern, kernel program, gateway endpoint",
];
/// The one that all are compared with.
pub const DIRECT: &str = "direct veth pair";
const HAPROXY: &str = "HAProxy, tcp";

impl Field {
    /// Postern's paths and the direct link.
    pub fn small(host: &Arc<Host>, pinning: &Pinning) -> anyhow::Result<Self> {
        let (route, servers) = middle::direct(pinning)?;
        let mut contenders = vec![Contender { name: DIRECT, route, servers, others: Vec::new() }];
        let region = Region::start(host, TOPOLOGY)?;
        postern(&region, POSTERN, pinning, &mut contenders)?;
        Self::of(contenders, (region, None), Vec::new()).ready(pinning)
    }

    /// Everybody.
    pub fn whole(host: &Arc<Host>, pinning: &Pinning, place: &Path) -> anyhow::Result<Self> {
        let plain = |name, (route, servers)| Contender { name, route, servers, others: Vec::new() };
        let (route, servers, haproxy) = middle::haproxy(pinning, place)?;
        let mut contenders = vec![
            plain(DIRECT, middle::direct(pinning)?),
            plain("Linux routing", middle::routed(pinning)?),
            plain("nftables DNAT and SNAT", middle::nftables(pinning)?),
            Contender { name: HAPROXY, route, servers, others: vec![haproxy.pid] },
        ];
        let region = Region::start(host, TOPOLOGY)?;
        postern(&region, POSTERN, pinning, &mut contenders)?;
        let in_kernel = in_kernel(host, pinning, &mut contenders)?;
        Self::of(contenders, (region, in_kernel), vec![haproxy]).ready(pinning)
    }

    fn of(
        contenders: Vec<Contender>,
        (region, in_kernel): (Region, Option<Region>),
        proxies: Vec<Proxy>,
    ) -> Self {
        let (congestion, title) = (String::new(), "Paths");
        Self { contenders, region, _in_kernel: in_kernel, congestion, _proxies: proxies, title, goals }
    }

    /// A consumer's endpoint, the provider's load balancer and its targets, beside what else could balance.
    pub fn private_link(host: &Arc<Host>, pinning: &Pinning, place: &Path) -> anyhow::Result<Self> {
        private_link::field(host, pinning, place)?.ready(pinning)
    }

    /// Leaves out the paths that were not asked for: all whose names have none of these parts, but for the direct one.
    pub fn narrow(&mut self, parts: &[String]) {
        let is_asked_for = |name: &str| parts.iter().any(|part| name.contains(part.as_str()));
        if !parts.is_empty() {
            self.contenders.retain(|contender| contender.name == DIRECT || is_asked_for(contender.name));
        }
    }

    /// Waits until every path answers.
    fn ready(mut self, pinning: &Pinning) -> anyhow::Result<Self> {
        let mut ways: Vec<String> = Vec::new();
        for Contender { name, route, .. } in &self.contenders {
            requests::until_ready(route, pinning.client).with_context(|| format!("{name} does not work"))?;
            ways.push(netns::congestion(&route.client)?);
        }
        ways.sort();
        ways.dedup();
        self.congestion = ways.join(", ");
        Ok(self)
    }
}

/// Postern's paths with the kernel program, where the kernel takes it.
fn in_kernel(
    host: &Arc<Host>,
    pinning: &Pinning,
    contenders: &mut Vec<Contender>,
) -> anyhow::Result<Option<Region>> {
    match KernelProgram::load(host.fabric(), Size::default(), RandomState::new().hash_one(0)) {
        Ok(program) => {
            let region = Region::start_in_kernel(host, TOPOLOGY, program)?;
            postern(&region, KERNEL, pinning, contenders)?;
            Ok(Some(region))
        }
        Err(error) => {
            eprintln!("paths: without the kernel program: {error}");
            Ok(None)
        }
    }
}

/// A region's paths.
fn postern(
    region: &Region,
    names: [&'static str; 3],
    pinning: &Pinning,
    contenders: &mut Vec<Contender>,
) -> anyhow::Result<()> {
    let client = region.plug("client")?;
    let (local, remote, doors) = (region.plug("local")?, region.plug("remote")?, region.open_doors()?);
    let targets = [
        (local, std::net::Ipv4Addr::new(10, 0, 2, 10)),
        (remote, region.public_address("remote")?),
        (doors, region.s3_address()?),
    ];
    for (name, (server, target)) in names.into_iter().zip(targets) {
        let servers = Servers::start(&server, pinning)?;
        let route = Route { client: client.clone(), target, through: None };
        contenders.push(Contender { name, route, servers, others: Vec::new() });
    }
    Ok(())
}

/// What one contender did in one round.
#[derive(Debug, Clone, Default, Serialize)]
struct Figures {
    one_stream_gbit_s: f64,
    eight_streams_gbit_s: f64,
    cpu_s_per_gb_one_stream: f64,
    cpu_s_per_gb_eight_streams: f64,
    connections_s: f64,
    connection_p50_us: f64,
    connection_p99_us: f64,
    requests_s: f64,
    request_p50_us: f64,
    request_p99_us: f64,
    single_requests_s: f64,
    single_p50_us: f64,
    single_p99_us: f64,
    failures: u64,
}

/// Measures all of it.
pub fn run(field: &Field, pinning: &Pinning, options: &Options) -> anyhow::Result<Outcome> {
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    for round in 0..options.rounds {
        eprintln!("{}: round {} of {}", field.title, round + 1, options.rounds);
        rounds.push(one_round(field, pinning, options, round as usize)?);
    }
    Ok(outcome(field, &rounds))
}

/// Each figure in turn for each contender, beginning with another one every round.
fn one_round(
    field: &Field,
    pinning: &Pinning,
    options: &Options,
    round: usize,
) -> anyhow::Result<Vec<Figures>> {
    let time = Duration::from_secs_f64(options.seconds);
    let count = field.contenders.len();
    let mut figures = vec![Figures::default(); count];
    let measures: [Measure; 5] = [one_stream, eight_streams, connections, requests, single_requests];
    for measure in measures {
        for turn in 0..count {
            let at = (turn + round) % count;
            if let (Some(contender), Some(figures)) = (field.contenders.get(at), figures.get_mut(at)) {
                let measured = measure(contender, pinning, time, figures);
                measured.with_context(|| format!("measuring {}", contender.name))?;
            }
        }
    }
    Ok(figures)
}

type Measure = fn(&Contender, &Pinning, Duration, &mut Figures) -> anyhow::Result<()>;

fn one_stream(of: &Contender, pinning: &Pinning, time: Duration, into: &mut Figures) -> anyhow::Result<()> {
    let carried = stream::carry(&of.route, &of.servers.sink, 1, time, pinning.client, &of.others)?;
    into.one_stream_gbit_s = carried.gigabits;
    into.cpu_s_per_gb_one_stream = carried.cpu_per_gigabyte;
    Ok(())
}

fn eight_streams(
    of: &Contender,
    pinning: &Pinning,
    time: Duration,
    into: &mut Figures,
) -> anyhow::Result<()> {
    let carried = stream::carry(&of.route, &of.servers.sink, 8, time, pinning.client, &of.others)?;
    into.eight_streams_gbit_s = carried.gigabits;
    into.cpu_s_per_gb_eight_streams = carried.cpu_per_gigabyte;
    Ok(())
}

fn connections(of: &Contender, pinning: &Pinning, time: Duration, into: &mut Figures) -> anyhow::Result<()> {
    let mut answered = requests::ask(&of.route, MANY, Habit::Renew, time, pinning.client)?;
    into.connections_s = answered.rate;
    (into.connection_p50_us, into.connection_p99_us) = percentiles(&mut answered);
    into.failures += answered.failures;
    Ok(())
}

fn requests(of: &Contender, pinning: &Pinning, time: Duration, into: &mut Figures) -> anyhow::Result<()> {
    let mut answered = requests::ask(&of.route, MANY, Habit::Keep, time, pinning.client)?;
    into.requests_s = answered.rate;
    (into.request_p50_us, into.request_p99_us) = percentiles(&mut answered);
    into.failures += answered.failures;
    Ok(())
}

fn single_requests(
    of: &Contender,
    pinning: &Pinning,
    time: Duration,
    into: &mut Figures,
) -> anyhow::Result<()> {
    let mut answered = requests::ask(&of.route, 1, Habit::Keep, time / 2, pinning.client)?;
    into.single_requests_s = answered.rate;
    (into.single_p50_us, into.single_p99_us) = percentiles(&mut answered);
    into.failures += answered.failures;
    Ok(())
}

fn percentiles(answered: &mut Answered) -> (f64, f64) {
    (answered.times.percentile(0.5), answered.times.percentile(0.99))
}

/// A figure, its name, and how many decimals are shown.
type Column = (&'static str, fn(&Figures) -> f64, usize);

const FIGURES: [Column; 10] = [
    ("1 stream, Gbit/s", |f| f.one_stream_gbit_s, 1),
    ("8 streams, Gbit/s", |f| f.eight_streams_gbit_s, 1),
    ("CPU s/GB", |f| f.cpu_s_per_gb_one_stream, 2),
    ("new connections/s", |f| f.connections_s, 0),
    ("requests/s, 32", |f| f.requests_s, 0),
    ("p50 µs, 32", |f| f.request_p50_us, 0),
    ("p99 µs, 32", |f| f.request_p99_us, 0),
    ("requests/s, 1", |f| f.single_requests_s, 0),
    ("p50 µs, 1", |f| f.single_p50_us, 1),
    ("p99 µs, 1", |f| f.single_p99_us, 1),
];

fn outcome(field: &Field, rounds: &[Vec<Figures>]) -> Outcome {
    let header =
        || std::iter::once("path".to_owned()).chain(FIGURES.iter().map(|(name, _, _)| (*name).to_owned()));
    let title = field.title;
    let mut absolute = Table::new(&format!("{title}: medians"), header());
    let relative = format!("{title}: medians of the ratios to the direct veth pair in the same round");
    let mut relative = Table::new(&relative, header());
    for (at, contender) in field.contenders.iter().enumerate() {
        let row = |cell: &dyn Fn(&Column) -> String| {
            std::iter::once(contender.name.to_owned()).chain(FIGURES.iter().map(cell)).collect()
        };
        absolute.row(row(&|(_, figure, decimals)| fixed(of(rounds, at, *figure), *decimals)));
        relative.row(row(&|(_, figure, _)| fixed(ratio(rounds, at, 0, *figure), 2)));
    }
    absolute.note(format!(
        "TCP, veth MTU 9001 (the paths clamp the MSS to what AWS has: 1500 behind a NAT gateway, 8500 at an \
         endpoint). Congestion control: {}. A request and its answer have 128 bytes; 32 or 1 is the number of \
         connections, and connections are made by 32 clients. CPU counts client, server and what is in the middle.",
        field.congestion
    ));
    let failures: u64 = rounds.iter().flatten().map(|figures| figures.failures).sum();
    absolute.note(format!(
        "Requests that failed or were not answered within 2 s, of all contenders: {failures}."
    ));
    let raw = raw(field, rounds);
    Outcome { tables: vec![absolute, relative], goals: (field.goals)(field, rounds), raw }
}

fn of(rounds: &[Vec<Figures>], at: usize, figure: fn(&Figures) -> f64) -> f64 {
    median(rounds.iter().filter_map(|round| round.get(at)).map(figure))
}

fn ratio(rounds: &[Vec<Figures>], at: usize, to: usize, figure: fn(&Figures) -> f64) -> f64 {
    median(ratios(rounds, at, to, figure))
}

/// The ratio of each round.
fn ratios(rounds: &[Vec<Figures>], at: usize, to: usize, figure: fn(&Figures) -> f64) -> Vec<f64> {
    rounds.iter().filter_map(|round| Some(figure(round.get(at)?) / figure(round.get(to)?))).collect()
}

fn goals(field: &Field, rounds: &[Vec<Figures>]) -> Vec<Goal> {
    let place = |name| field.contenders.iter().position(|contender| contender.name == name);
    let Some(haproxy) = place(HAPROXY) else { return Vec::new() };
    let mut goals = Vec::new();
    for name in POSTERN {
        let Some(at) = place(name) else { continue };
        let stream = ratios(rounds, at, haproxy, |f| f.one_stream_gbit_s);
        goals.push(
            Goal::at_least(
                &format!("{name}: one stream, to HAProxy's"),
                median(stream.iter().copied()),
                1.0,
                2,
                "",
            )
            .over(&stream),
        );
        let connections = ratios(rounds, at, haproxy, |f| f.connections_s);
        goals.push(
            Goal::at_least(
                &format!("{name}: new connections, to HAProxy's"),
                median(connections.iter().copied()),
                0.5,
                2,
                "",
            )
            .over(&connections),
        );
    }
    for name in KERNEL {
        if let Some(at) = place(name) {
            goals.extend(kernel_goals(rounds, name, at, haproxy));
        }
    }
    goals
}

/// A figure of a round.
type Figure = fn(&Figures) -> f64;

/// What the kernel program is to reach, to the direct veth pair and to HAProxy.
fn kernel_goals(rounds: &[Vec<Figures>], name: &str, at: usize, haproxy: usize) -> Vec<Goal> {
    let aims: [(&str, Figure, f64, f64); 4] = [
        ("one stream", |f| f.one_stream_gbit_s, 0.97, 2.0),
        ("eight streams", |f| f.eight_streams_gbit_s, 0.95, 2.0),
        ("requests", |f| f.requests_s, 0.93, 1.8),
        ("new connections", |f| f.connections_s, 0.95, 1.2),
    ];
    let goal = |what: &str, to: usize, figure: Figure, whose: &str, aim: f64| {
        let all = ratios(rounds, at, to, figure);
        let what = format!("{name}: {what}, to {whose}");
        Goal::at_least(&what, median(all.iter().copied()), aim, 2, "").over(&all)
    };
    aims.into_iter()
        .flat_map(|(what, figure, direct, proxy)| {
            [
                goal(what, 0, figure, "the direct pair's", direct),
                goal(what, haproxy, figure, "HAProxy's", proxy),
            ]
        })
        .collect()
}

fn raw(field: &Field, rounds: &[Vec<Figures>]) -> serde_json::Value {
    let contenders: serde_json::Map<_, _> = field
        .contenders
        .iter()
        .enumerate()
        .map(|(at, contender)| {
            let rounds: Vec<_> = rounds.iter().filter_map(|round| round.get(at)).collect();
            (contender.name.to_owned(), serde_json::json!(rounds))
        })
        .collect();
    serde_json::json!({ "congestion_control": field.congestion, "rounds": contenders })
}
