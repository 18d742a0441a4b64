//! One interface attacks: what is left of the others' new connections and throughput, to what they have beside a process
//! that burns as much of the processor without sending.
//!
//! Attacker and burner are one thread each, always ready to run, on the processor of the victim's client, with the
//! same priority: the scheduler gives both the same. What the kernel does for the attacker's packets in its own time
//! is in that share; what anybody else does because of them, softirq threads and the forwarder above all, is on top,
//! and is what is measured.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use postern_dataplane::forward::PortCounters;
use postern_dataplane::forward::packet::ROUTER_MAC;
use postern_dataplane::host::{Host, MAX_BATCH, Namespace, PacketSocket, VirtioNetHdr};
use postern_dataplane::kernel::{KernelProgram, Size};
use postern_model::NetworkInterfaceId;
use postern_testkit::{Random, Topology};

use crate::Options;
use crate::cpu::{self, Pinning};
use crate::load::requests::{self, Habit};
use crate::load::{Route, Servers, stream};
use crate::region::Region;
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::median;

/// Clients at once.
const CLIENTS: usize = 32;
/// What the victim keeps at least.
const KEPT: f64 = 0.9;
/// Before anything is measured beside it, an attack has gone on for this long.
const UNDER_WAY: Duration = Duration::from_millis(300);

const TOPOLOGY: &str = "\
vpc a 10.0.0.0/16
subnet a.private 10.0.1.0/24
subnet a.other 10.0.2.0/24
group a.servers
  in tcp 5000-5999 from 10.0.0.0/16
  in udp 5000-5999 from 10.0.0.0/16
interface server in a.other attached groups=servers ip=10.0.2.10
interface bystander in a.other attached groups=servers ip=10.0.2.11
interface client in a.private attached groups=servers ip=10.0.1.10
interface attacker in a.private attached groups=servers ip=10.0.1.66
";
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);
const BYSTANDER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 11);
const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 66);

/// What goes on beside the victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    /// Nothing is sent.
    Burner,
    /// Connections begun and left, from ever new ports.
    SynFlood,
    /// Datagrams to all ports, most of which no rule lets in.
    UdpSpray,
    /// Datagrams that rules let in, each of a flow of its own.
    FlowFiller,
    /// Packets from addresses that are not the sender's.
    Spoofer,
}

impl Beside {
    const ATTACKS: [Self; 4] = [Self::SynFlood, Self::UdpSpray, Self::FlowFiller, Self::Spoofer];

    fn in_words(self) -> &'static str {
        match self {
            Self::Burner => "a process that sends nothing",
            Self::SynFlood => "a SYN flood",
            Self::UdpSpray => "a UDP spray over random ports",
            Self::FlowFiller => "a flow-table filler",
            Self::Spoofer => "a spoofing sender",
        }
    }

    /// A frame of the attack.
    fn write(self, random: &mut Random, mac: [u8; 6], frame: &mut Vec<u8>) {
        let any = |random: &mut Random| 1_024 + random.below(64_000) as u16;
        let allowed = 5_000 + random.below(1_000) as u16;
        let (protocol, source, port) = match self {
            Self::Burner | Self::SynFlood => (6, ATTACKER, allowed),
            Self::UdpSpray => (17, ATTACKER, any(random)),
            Self::FlowFiller => (17, ATTACKER, allowed),
            Self::Spoofer => (17, Ipv4Addr::from(0x0a00_0000 + random.below(1 << 16) as u32), allowed),
        };
        let source_port = any(random);
        frame.clear();
        frame.extend_from_slice(&ROUTER_MAC.0);
        frame.extend_from_slice(&mac);
        frame.extend_from_slice(&[8, 0]);
        let transport: &[u8] = match protocol {
            6 => &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0],
            _ => &[0, 12, 0, 0, b'f', b'l', b'o', b'w'],
        };
        let length = (20 + 4 + transport.len()) as u16;
        let mut header = [0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&BYSTANDER.octets());
        let sum = checksum(&header, 0);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend_from_slice(&header);
        let start = frame.len();
        frame.extend_from_slice(&source_port.to_be_bytes());
        frame.extend_from_slice(&port.to_be_bytes());
        frame.extend_from_slice(transport);
        let pseudo = sum_of(&header[12..20]) + u32::from(protocol) + u32::from(length - 20);
        let sum = checksum(frame.get(start..).unwrap_or_default(), pseudo);
        let at = start + if protocol == 6 { 16 } else { 6 };
        if let Some(place) = frame.get_mut(at..at + 2) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
}

fn sum_of(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from)).sum()
}

fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + sum_of(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Goes on until it is dropped.
struct Going {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Going {
    fn start(beside: Beside, from: &Namespace, mac: [u8; 6], processor: usize) -> anyhow::Result<Self> {
        let socket = PacketSocket::open(from, "ens5")?;
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopping, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::Builder::new().name("attacker".to_owned()).spawn(move || {
            if cpu::pin(&[processor]).is_ok() {
                go_on(beside, &socket, mac, &stopping, &counted);
            }
        })?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

/// The burner does all that the attackers do, but for sending.
fn go_on(beside: Beside, socket: &PacketSocket, mac: [u8; 6], stop: &AtomicBool, sent: &AtomicU64) {
    let mut random = Random::new(66);
    let mut frames = vec![Vec::new(); MAX_BATCH];
    while !stop.load(Ordering::Relaxed) {
        for frame in &mut frames {
            beside.write(&mut random, mac, frame);
        }
        if beside == Beside::Burner {
            continue;
        }
        let batch: Vec<_> = frames.iter().map(|frame| (VirtioNetHdr::default(), frame.as_slice())).collect();
        if let Ok(count) = socket.send_batch(&batch) {
            sent.fetch_add(count as u64, Ordering::Relaxed);
        }
    }
}

/// The region under attack.
struct Scene {
    region: Region,
    route: Route,
    servers: Servers,
    attacker: Namespace,
    attacker_id: NetworkInterfaceId,
    attacker_mac: [u8; 6],
    _others: Vec<Namespace>,
}

/// What the victim had in each round, beside one of them.
#[derive(Default)]
struct Figures {
    connections: Vec<f64>,
    gigabits: Vec<f64>,
    packets: Vec<f64>,
    /// Parts of a processor that the forwarder and the kernel's softirq threads took meanwhile.
    forwarder: Vec<f64>,
    softirq: Vec<f64>,
}

impl Figures {
    fn extend(&mut self, other: &Self) {
        let Self { connections, gigabits, packets, forwarder, softirq } = self;
        connections.extend(&other.connections);
        gigabits.extend(&other.gigabits);
        packets.extend(&other.packets);
        forwarder.extend(&other.forwarder);
        softirq.extend(&other.softirq);
    }
}

/// An attack, and the burner that took its turn next to it.
#[derive(Default)]
struct Pair {
    attack: Figures,
    burner: Figures,
}

/// Measures all of it.
pub fn run(host: &Arc<Host>, pinning: &Pinning, options: &Options) -> anyhow::Result<Outcome> {
    let scene = Scene::new(host, pinning)?;
    let mut all: Vec<Pair> = Beside::ATTACKS.iter().map(|_| Pair::default()).collect();
    let time = Duration::from_secs_f64(options.seconds);
    for round in 0..options.rounds as usize {
        eprintln!("isolation: round {} of {}", round + 1, options.rounds);
        for turn in 0..Beside::ATTACKS.len() {
            let at = (turn + round) % Beside::ATTACKS.len();
            let (Some(beside), Some(pair)) = (Beside::ATTACKS.get(at), all.get_mut(at)) else { continue };
            let mut turns = [(*beside, &mut pair.attack), (Beside::Burner, &mut pair.burner)];
            if round % 2 == 1 {
                turns.reverse();
            }
            for (beside, figures) in turns {
                scene.measure(beside, time, pinning, figures).context(beside.in_words())?;
            }
        }
    }
    let counters = scene.region.forwarder.counters().wait()?;
    let attacker = counters.interface(scene.attacker_id).context("the attacker has no port")?;
    Ok(outcome(&all, &attacker.counters, attacker.templates))
}

impl Scene {
    fn new(host: &Arc<Host>, pinning: &Pinning) -> anyhow::Result<Self> {
        let topology = Topology::read(TOPOLOGY).map_err(anyhow::Error::msg)?;
        let program = KernelProgram::load(host.fabric(), Size::default(), RandomState::new().hash_one(0));
        let program =
            program.inspect_err(|error| eprintln!("isolation: without the kernel program: {error}")).ok();
        let region = Region::start_of(host, topology, program)?;
        let (client, server) = (region.plug("client")?, region.plug("server")?);
        let (bystander, attacker) = (region.plug("bystander")?, region.plug("attacker")?);
        let servers = Servers::start(&server, pinning)?;
        Servers::start(&bystander, pinning)?;
        let route = Route { client, target: SERVER, through: None };
        requests::until_ready(&route, pinning.client)?;
        let attacker_id = region.interface("attacker")?;
        let interface = region.state().network_interfaces.get(&attacker_id).context("no attacker")?;
        let attacker_mac = interface.mac.0;
        let _others = vec![server, bystander];
        Ok(Self { region, route, servers, attacker, attacker_id, attacker_mac, _others })
    }

    fn measure(
        &self,
        beside: Beside,
        time: Duration,
        pinning: &Pinning,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let going = Going::start(beside, &self.attacker, self.attacker_mac, pinning.client)?;
        std::thread::sleep(UNDER_WAY);
        let (before, begun) = (going.sent.load(Ordering::Relaxed), std::time::Instant::now());
        let others = [cpu::used_by_threads("forwarder"), cpu::used_by_threads("ksoftirqd")];
        let answered = requests::ask(&self.route, CLIENTS, Habit::Renew, time, pinning.client)?;
        let carried = stream::carry(&self.route, &self.servers.sink, 1, time, pinning.client, &[])?;
        let sent = going.sent.load(Ordering::Relaxed) - before;
        let elapsed = begun.elapsed();
        figures.packets.push(sent as f64 / elapsed.as_secs_f64());
        let part = |now: Duration, before: Duration| now.saturating_sub(before).div_duration_f64(elapsed);
        figures.forwarder.push(part(cpu::used_by_threads("forwarder"), others[0]));
        figures.softirq.push(part(cpu::used_by_threads("ksoftirqd"), others[1]));
        figures.connections.push(answered.rate);
        figures.gigabits.push(carried.gigabits);
        drop(going);
        // What waits in the attacker's socket is gone before the next one's turn.
        std::thread::sleep(UNDER_WAY);
        Ok(())
    }
}

fn outcome(all: &[Pair], attacker: &PortCounters, templates: usize) -> Outcome {
    let header = [
        "beside",
        "packets/s of it",
        "new connections/s",
        "to beside the burner",
        "1 stream, Gbit/s",
        "to beside the burner",
        "forwarder, of a processor",
        "softirq threads",
    ];
    let mut table = Table::new("Isolation: one interface attacks", header.map(str::to_owned));
    let mut goals = Vec::new();
    let mut raw = serde_json::Map::new();
    let ratios = |ours: &[f64], theirs: &[f64]| -> Vec<f64> {
        ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect()
    };
    let middle = |figures: &[f64]| median(figures.iter().copied());
    let mut row = |beside: Beside, figures: &Figures, connections: &[f64], gigabits: &[f64]| {
        table.row(vec![
            beside.in_words().to_owned(),
            fixed(middle(&figures.packets), 0),
            fixed(middle(&figures.connections), 0),
            fixed(middle(connections), 2),
            fixed(middle(&figures.gigabits), 1),
            fixed(middle(gigabits), 2),
            fixed(middle(&figures.forwarder), 2),
            fixed(middle(&figures.softirq), 2),
        ]);
        let figures = serde_json::json!({
            "packets_s": figures.packets, "connections_s": figures.connections, "gigabits_s": figures.gigabits,
            "forwarder": figures.forwarder, "softirq": figures.softirq,
        });
        raw.insert(beside.in_words().to_owned(), figures);
    };
    let mut burner = Figures::default();
    for pair in all {
        burner.extend(&pair.burner);
    }
    row(Beside::Burner, &burner, &[1.0], &[1.0]);
    for (beside, Pair { attack, burner }) in Beside::ATTACKS.iter().zip(all) {
        let connections = ratios(&attack.connections, &burner.connections);
        let gigabits = ratios(&attack.gigabits, &burner.gigabits);
        row(*beside, attack, &connections, &gigabits);
        for (what, ratios) in [("new connections", connections), ("throughput", gigabits)] {
            let what = format!("{what} of others beside {}, to beside a burner", beside.in_words());
            goals.push(Goal::at_least(&what, middle(&ratios), KEPT, 2, "").over(&ratios));
        }
    }
    let drops: Vec<String> =
        attacker.drops.iter().map(|(reason, count)| format!("{} {count}", reason.name())).collect();
    table.note(format!(
        "Attacker and burner are one thread each that is always ready to run, on the processor of the victim's client and \
         with its priority; both make up frames, and the burner does not send them. At the end the attacker's port had {} \
         flows and {templates} templates of its own; of {} packets received it lost {} in its socket's buffer, and \
         dropped: {}.",
        attacker.flows,
        attacker.received.packets,
        attacker.overruns,
        drops.join(", ")
    ));
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
