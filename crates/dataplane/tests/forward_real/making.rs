//! Flows that the kernel program makes of templates, and what it refuses by them: what comes out, what is listed, what is
//! logged, and that all of it adds up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_dataplane::forward::packet::ROUTER_MAC;
use postern_dataplane::forward::{FlowOutcome, FlowRecord, Limits, LiveFlow, Options, PortCounters, Rate};
use postern_dataplane::host::{Host, MAX_BATCH, StartOptions, VirtioNetHdr, start};
use postern_path::{DropReason, Flow, Transport};

use crate::rig::{Dice, Packet, Rig, echo, tcp, udp};
use crate::world::{
    A, B, BALANCERS, NAT, OPEN, OUTSIDE, Rules, SERVICES, TARGET_PORT, TARGETS, address, eni, load_program,
    load_roomy, mac,
};

const PATIENCE: Duration = Duration::from_secs(5);
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const RST: u8 = 0x04;
const FIN: u8 = 0x11;

fn host(directory: &Path) -> Host {
    start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap()
}

fn packet(at: usize, destination: Ipv4Addr, protocol: u8, content: Vec<u8>) -> Packet {
    Packet { at, source: address(at as u64), destination, protocol, ttl: 64, flags: 0x4000, content }
}

/// A SYN, a datagram or an echo request.
fn first(at: usize, to: Ipv4Addr, protocol: u8, port: u16) -> Packet {
    let content = match protocol {
        6 => tcp((port, 80), SYN, &[2, 4, 0x23, 0x28], 0),
        17 => udp((port, 80), 10),
        _ => echo(8, port),
    };
    packet(at, to, protocol, content)
}

fn segment(at: usize, to: Ipv4Addr, port: u16, flags: u8) -> Packet {
    packet(at, to, 6, tcp((port, 80), flags, &[], 0))
}

impl Rig {
    /// Puts a packet in, and waits for all that comes of it. Gives the port that the receiver sees it from.
    fn put(&mut self, packet: &Packet) -> Option<u16> {
        self.put_and_see(packet).first().map(|(_, frame)| u16::from_be_bytes([frame[34], frame[35]]))
    }

    /// The same. Gives who receives something, and what.
    fn put_and_see(&mut self, packet: &Packet) -> Vec<(usize, Vec<u8>)> {
        let (header, frame) = packet.frame(&mut Dice::new(1), false, 0);
        assert!(self.inner[packet.at].send(&header, &frame).unwrap());
        self.received += 1;
        let (out, _) = self.settle(self.received);
        out.into_iter().map(|(at, _, frame)| (at, frame)).collect()
    }

    fn port(&self, number: u64) -> PortCounters {
        self.counters().interface(eni(number)).unwrap().counters
    }

    fn publish(&self, rules: Rules) {
        self.forwarder.publish(Arc::new(rules), rules.stamps()).wait().unwrap();
    }
}

/// Log records until there are so many, or no more come.
fn records(log: &mut tokio::sync::broadcast::Receiver<FlowRecord>, count: usize) -> Vec<FlowRecord> {
    let deadline = Instant::now() + PATIENCE;
    let mut records = Vec::new();
    while records.len() < count && Instant::now() < deadline {
        match log.try_recv() {
            Ok(record) => records.push(record),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    // A moment for those that should not be.
    std::thread::sleep(Duration::from_millis(250));
    records.extend(std::iter::from_fn(|| log.try_recv().ok()));
    records
}

fn seen(flow: &LiveFlow) -> (String, (IpAddr, u16)) {
    (format!("{}", flow.flow), flow.source)
}

/// Every first packet but one of each kind makes its flow in the kernel; it is listed, logged and counted as any other.
pub fn first_packets(directory: &Path) {
    const EACH: u16 = 10;
    let host = host(directory);
    let mut rig = Rig::start(&host, OPEN, true);
    let mut log = rig.forwarder.subscribe();
    let ways = [B, OUTSIDE, SERVICES[0]];
    let kinds: Vec<(Ipv4Addr, u8)> =
        ways.into_iter().flat_map(|to| [6, 17, 1].map(|kind| (to, kind))).collect();
    for (to, protocol) in &kinds {
        for port in 0..=EACH {
            assert!(rig.put(&first(0, *to, *protocol, 4_000 + port)).is_some(), "{to} {protocol} {port}");
        }
    }
    let all = kinds.len() as u64 * u64::from(EACH + 1);
    let own = rig.port(0);
    assert_eq!((own.new_flows, own.flows), (all, all));
    assert_eq!(own.new_in_kernel, all - kinds.len() as u64, "the first of each kind is decided: {own:?}");
    assert_eq!(own.upcalls + own.template_hits, all);
    let gateway = *rig.counters().gateway(NAT.into()).unwrap();
    assert_eq!((gateway.attempts, gateway.active), (3 * u64::from(EACH + 1), 3 * u64::from(EACH + 1)));
    let listed: BTreeMap<_, _> = rig.flows().iter().map(seen).collect();
    assert_eq!(listed.len() as u64, all);
    let logged: BTreeMap<_, _> = records(&mut log, all as usize)
        .into_iter()
        .map(|record| match record.outcome {
            FlowOutcome::Accepted { source, .. } => (format!("{}", record.flow), source),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(logged, listed);
    assert_eq!(rig.counters().log_lost, 0);
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// The program hands a load balancer's connections to the targets that the decider would choose. Only the first of each
/// target is decided; one that fails loses its own connections, and what comes after goes to the others.
pub fn balanced(directory: &Path) {
    const EACH: u16 = 30;
    let host = host(directory);
    let mut rig = Rig::start(&host, OPEN, true);
    let kinds: Vec<_> = BALANCERS.into_iter().flat_map(|to| [6, 17].map(|protocol| (to, protocol))).collect();
    let put = |rig: &mut Rig, to, protocol, port| {
        let out = rig.put_and_see(&first(0, to, protocol, port));
        let (at, frame) = out.into_iter().next()?;
        let sender = <[u8; 4]>::try_from(&frame[26..30]).unwrap();
        assert_eq!(Ipv4Addr::from(sender), if to == BALANCERS[1] { A } else { to }, "who the target sees");
        assert_eq!(u16::from_be_bytes([frame[36], frame[37]]), TARGET_PORT);
        Some(at as u64)
    };
    let mut received = BTreeMap::new();
    for (to, protocol) in &kinds {
        for port in 4_000..4_000 + EACH {
            received.insert((*to, *protocol, port), put(&mut rig, *to, *protocol, port).unwrap());
        }
    }
    let shares = TARGETS.map(|target| received.values().filter(|at| **at == target).count());
    assert!(shares.iter().all(|share| *share > received.len() / 4), "{shares:?}");
    let (all, own) = (received.len() as u64, rig.port(0));
    assert_eq!((own.new_flows, own.flows), (all, all));
    let decided = (kinds.len() * TARGETS.len()) as u64;
    assert_eq!(own.new_in_kernel, all - decided, "the first of each kind and target is decided: {own:?}");
    let listed = rig.flows();
    for ((to, protocol, port), at) in &received {
        let transport = match protocol {
            6 => Transport::Tcp { source_port: *port, destination_port: 80 },
            _ => Transport::Udp { source_port: *port, destination_port: 80 },
        };
        let flow = Flow { entry: eni(0), source: A.into(), destination: (*to).into(), transport };
        assert_eq!(OPEN.target_of(&flow), Some(*at), "{flow}");
        assert!(listed.iter().any(|known| known.flow == flow), "{flow}");
    }

    // The first target is gone. Its connections end; those of the other, and new ones, are the other's.
    let rules = Rules { generation: 2, healthy: [false, true], failed: [2, 1], ..OPEN };
    rig.publish(rules);
    for ((to, protocol, port), at) in &received {
        let now = put_again(&mut rig, *to, *protocol, *port);
        assert_eq!(now, (*at == TARGETS[1]).then_some(*at), "{to} {protocol} {port}");
    }
    let before = rig.port(0).new_in_kernel;
    for (to, protocol) in &kinds {
        for port in 5_000..5_000 + EACH {
            assert_eq!(put(&mut rig, *to, *protocol, port), Some(TARGETS[1]));
        }
    }
    let made = rig.port(0).new_in_kernel - before;
    assert_eq!(made, kinds.len() as u64 * u64::from(EACH - 1), "one of each kind is decided again");
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// Another packet of a connection that was begun. Gives which target received it.
fn put_again(rig: &mut Rig, to: Ipv4Addr, protocol: u8, port: u16) -> Option<u64> {
    let packet = if protocol == 6 { segment(0, to, port, ACK) } else { first(0, to, protocol, port) };
    let out = rig.put_and_see(&packet);
    // Both ends of a connection that is cut are told.
    let is_reset = |frame: &[u8]| frame[23] == 6 && frame[47] & RST != 0;
    out.iter().find(|(_, frame)| !is_reset(frame)).map(|(at, _)| *at as u64)
}

/// A flow that was reset or closed is over, and its sender begins it again with the same port, in the kernel.
pub fn begun_again(directory: &Path) {
    let host = host(directory);
    let mut rig = Rig::start(&host, OPEN, true);
    for to in [B, OUTSIDE, SERVICES[0]] {
        let before = rig.port(0);
        // One by the forwarder, one by the program.
        let ports = [5_000, 5_001].map(|port| (port, rig.put(&first(0, to, 6, port)).unwrap()));
        let flows = |rig: &Rig| rig.port(0).flows - before.flows;
        assert_eq!(flows(&rig), 2);
        for (port, as_seen) in ports {
            rig.put(&segment(0, to, port, RST)).unwrap();
            assert_eq!(flows(&rig), 1, "a reset ends a flow at once");
            assert_eq!(rig.put(&first(0, to, 6, port)), Some(as_seen), "the same port finds the same again");
            assert_eq!(flows(&rig), 2);
        }
        let began_again = rig.port(0).new_in_kernel - before.new_in_kernel;
        assert_eq!(began_again, 3, "{to}: one for the first time, and two again");
        assert_eq!(rig.flows().iter().filter(|flow| flow.flow.destination == IpAddr::V4(to)).count(), 2);
        let phases = |rig: &Rig| -> BTreeSet<&str> {
            let flows = rig.flows();
            flows
                .iter()
                .filter(|flow| flow.flow.destination == IpAddr::V4(to))
                .map(|flow| flow.phase)
                .collect()
        };
        assert_eq!(phases(&rig), BTreeSet::from(["syn-sent"]));
    }
    // Closed by both ends, and begun again: its counts begin again, too.
    rig.put(&first(0, B, 6, 5_002)).unwrap();
    let back = |flags| Packet { source: B, ..packet(1, A, 6, tcp((80, 5_002), flags, &[], 0)) };
    rig.put(&back(SYN | ACK)).unwrap();
    rig.put(&segment(0, B, 5_002, ACK)).unwrap();
    rig.put(&segment(0, B, 5_002, FIN)).unwrap();
    rig.put(&back(FIN)).unwrap();
    let flow = |rig: &Rig| {
        let port = |flow: &&LiveFlow| flow.source.1 == 5_002;
        *rig.flows().iter().find(port).unwrap()
    };
    assert_eq!((flow(&rig).phase, flow(&rig).volumes[0].packets), ("closed", 3));
    let before = rig.port(0);
    rig.put(&first(0, B, 6, 5_002)).unwrap();
    let after = rig.port(0);
    assert_eq!((flow(&rig).phase, flow(&rig).volumes[0].packets), ("syn-sent", 1));
    assert_eq!(after.new_in_kernel, before.new_in_kernel + 1);
    assert_eq!((after.new_flows, after.flows), (before.new_flows + 1, before.flows));
    // What was silent for too long begins again in the same way, also without a connection.
    rig.put(&first(0, B, 17, 5_003)).unwrap();
    rig.put(&first(0, B, 17, 5_004)).unwrap();
    rig.forwarder.clock().advance(Duration::from_secs(400));
    rig.put(&first(0, B, 17, 5_004)).unwrap();
    assert_eq!(rig.flows().len(), 1);
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// Packets that a template refuses are dropped in the kernel and counted by their reason; so many are logged as a port may
/// log.
pub fn refused(directory: &Path) {
    const PACKETS: u64 = 300;
    let host = host(directory);
    let rate = Rate { per_second: 1, burst: 20 };
    let options =
        Options { limits: Limits { logged_refusals: rate, ..Limits::default() }, ..Options::with_seed(7) };
    let program = load_program(host.fabric()).unwrap();
    let mut rig = Rig::start_with(&host, Rules { open: false, ..OPEN }, options, Some(program));
    let mut log = rig.forwarder.subscribe();
    for number in 0..PACKETS {
        let protocol = if number % 3 == 0 { 6 } else { 17 };
        assert_eq!(rig.put(&first(0, B, protocol, 1_000 + number as u16)), None);
    }
    let own = rig.port(0);
    assert_eq!(own.drops.get(DropReason::EgressSecurityGroup), PACKETS, "{own:?}");
    assert_eq!((own.received.packets, own.drops.total()), (PACKETS, PACKETS));
    assert_eq!(own.upcalls + own.template_hits, PACKETS, "each was decided, or by a template");
    let logged = records(&mut log, 20);
    assert!(logged.iter().all(|record| !record.outcome.is_accepted()));
    assert_eq!(logged.len() as u64 + own.unlogged, PACKETS);
    assert!((20..=25).contains(&logged.len()), "{}", logged.len());
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// Nothing is made of a template after a change of what it rests on was effective; what it made before is tracked.
pub fn revoked(directory: &Path) {
    let host = host(directory);
    let mut rig = Rig::start(&host, OPEN, true);
    let mut rules = OPEN;
    for round in 0..20_u16 {
        let port = 2_000 + 10 * round;
        for number in 0..3 {
            assert!(rig.put(&first(0, B, 6, port + number)).is_some());
        }
        rules = Rules { generation: rules.generation + 1, open: false, ..rules };
        rig.publish(rules);
        assert_eq!(rig.put(&first(0, B, 6, port + 3)), None, "round {round}");
        assert_eq!(rig.put(&first(0, B, 6, port + 4)), None, "round {round}");
        assert!(
            rig.put(&first(0, B, 6, port + 1)).is_some(),
            "the same SYN again is of a flow that is tracked"
        );
        rules = Rules { generation: rules.generation + 1, open: true, ..rules };
        rig.publish(rules);
    }
    let own = rig.port(0);
    assert_eq!(own.drops.get(DropReason::EgressSecurityGroup), 40, "{own:?}");
    assert_eq!(own.new_flows, 60);
    assert_eq!(own.new_in_kernel, 40, "{own:?}");
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// What a port asks of the forwarder is kept to a rate, and ARP is answered whatever else it sends.
pub fn spray(directory: &Path) {
    const PACKETS: u64 = 500;
    let host = host(directory);
    let rate = Rate { per_second: 1, burst: 50 };
    let options =
        Options { limits: Limits { handed_up: rate, ..Limits::default() }, ..Options::with_seed(7) };
    let program = load_program(host.fabric()).unwrap();
    let mut rig = Rig::start_with(&host, OPEN, options, Some(program));
    for number in 0..PACKETS {
        // To nobody, by a protocol of which the program knows nothing.
        let destination = Ipv4Addr::new(10, 0, 1, number as u8);
        let unknown = Packet { source: A, ..packet(0, destination, 47, vec![0; 20]) };
        assert_eq!(rig.put(&unknown), None);
    }
    let own = rig.port(0);
    let limited = own.drops.get(DropReason::RateLimited);
    assert!((PACKETS - 60..=PACKETS - 50).contains(&limited), "{own:?}");
    assert_eq!(own.received.packets, own.drops.total());
    let mut arp =
        [&[0xff; 6][..], &mac(0), &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac(0), &A.octets(), &[0; 6]].concat();
    arp.extend(crate::world::GATEWAY.octets());
    assert!(rig.inner[0].send(&VirtioNetHdr::default(), &arp).unwrap());
    rig.received += 1;
    let (out, counters) = rig.settle(rig.received);
    assert_eq!(counters.interface(eni(0)).unwrap().counters.answered, 1);
    assert_eq!(out[0].2[6..12], ROUTER_MAC.0);
    // Others are not kept from anything.
    assert!(rig.put(&first(1, A, 6, 999)).is_some());
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// How many flows a port begins is kept to a rate, whatever becomes of them; those that it has, and others, go on.
pub fn filler(directory: &Path) {
    const BURST: u32 = 50;
    const PACKETS: u16 = 200;
    let host = host(directory);
    let rate = Rate { per_second: 1, burst: BURST };
    let options = Options { limits: Limits { begun: rate, ..Limits::default() }, ..Options::with_seed(7) };
    let program = load_program(host.fabric()).unwrap();
    let mut rig = Rig::start_with(&host, OPEN, options, Some(program));
    let arrived = (0..PACKETS).filter(|number| rig.put(&first(0, B, 6, 2_000 + number)).is_some()).count();
    let own = rig.port(0);
    let begun = own.new_flows;
    // The forwarder decided about the first; and some seconds may have passed.
    assert!((u64::from(BURST) + 1..=u64::from(BURST) + 15).contains(&begun), "{own:?}");
    assert_eq!(arrived as u64, begun);
    assert_eq!(own.drops.get(DropReason::RateLimited), u64::from(PACKETS) - begun, "{own:?}");
    assert_eq!((own.drops.total() + own.passed.packets, own.flows), (u64::from(PACKETS), begun));
    assert!(rig.put(&first(0, B, 6, 2_001)).is_some(), "a flow that is there goes on");
    assert!(rig.put(&first(1, A, 6, 999)).is_some() && rig.put(&first(1, A, 6, 998)).is_some());
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// Connections that are closed are kept for some seconds, but where they take much of the table they give way after one.
pub fn short_lives(directory: &Path) {
    const ROOM: u32 = 1 << 10;
    let host = host(directory);
    let program = load_roomy(host.fabric(), ROOM).unwrap();
    let mut rig = Rig::start_with(&host, OPEN, Options::with_seed(7), Some(program));
    let come_and_go = |rig: &mut Rig, ports: std::ops::Range<u16>| {
        for port in ports {
            let back = |flags| Packet { source: B, ..packet(1, A, 6, tcp((80, port), flags, &[], 0)) };
            rig.put(&first(0, B, 6, port)).unwrap();
            for packet in [back(SYN | ACK), segment(0, B, port, ACK), segment(0, B, port, FIN), back(FIN)] {
                rig.put(&packet).unwrap();
            }
        }
        rig.forwarder.clock().advance(Duration::from_millis(1_100));
        // Places are looked at meanwhile, all of them more than once.
        std::thread::sleep(Duration::from_millis(500));
    };
    come_and_go(&mut rig, 5_000..5_100);
    assert_eq!(rig.flows().len(), 100, "there is room enough");
    come_and_go(&mut rig, 6_000..6_000 + (ROOM / 4) as u16);
    let left = rig.flows().len() as u32;
    // Those go until it is not crowded any more, and those that the forwarder made stay.
    assert!((1..=ROOM / 4).contains(&left), "{left} are left");
    assert_eq!(u64::from(left), rig.port(0).flows);
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// All ports of a NAT gateway toward one target: each is one connection's, whoever of forwarder and program gave it; then
/// there are no more, until some may be taken away.
pub fn ports_run_out(directory: &Path) {
    const PORTS: usize = 64_512;
    let host = host(directory);
    let program = load_roomy(host.fabric(), 1 << 18).unwrap();
    let mut rig = Rig::start_with(&host, OPEN, Options::with_seed(7), Some(program));
    let mut dice = Dice::new(3);
    let frames: Vec<_> =
        (1_024..=u16::MAX).map(|port| segment(0, OUTSIDE, port, SYN).frame(&mut dice, false, 0)).collect();
    let mut ports = BTreeSet::new();
    for chunk in frames.chunks(MAX_BATCH.min(32)) {
        let batch: Vec<_> = chunk.iter().map(|(header, frame)| (*header, &frame[..])).collect();
        assert_eq!(rig.inner[0].send_batch(&batch).unwrap(), batch.len());
        rig.received += batch.len() as u64;
        let (out, _) = rig.settle(rig.received);
        for (at, _, frame) in out {
            assert_eq!(at, 2);
            assert!(ports.insert(u16::from_be_bytes([frame[34], frame[35]])), "a port of two connections");
        }
    }
    let own = rig.port(0);
    println!("note: {} of {} in the kernel", own.new_in_kernel, own.new_flows);
    assert_eq!((ports.len(), own.new_flows), (PORTS, PORTS as u64));
    assert!(own.new_in_kernel > PORTS as u64 / 2, "{own:?}");
    assert_eq!(rig.put(&segment(1, OUTSIDE, 5_000, SYN)), None);
    assert_eq!(rig.port(1).drops.get(DropReason::PortAllocation), 1);
    assert_eq!(rig.counters().gateway(NAT.into()).unwrap().port_allocation_errors, 1);
    // They never came about.
    rig.forwarder.clock().advance(Duration::from_secs(11));
    std::thread::sleep(Duration::from_millis(12));
    let taken = rig.put(&segment(1, OUTSIDE, 5_000, SYN)).unwrap();
    assert!(ports.contains(&taken));
    let gateway = *rig.counters().gateway(NAT.into()).unwrap();
    assert_eq!((gateway.attempts, gateway.active), (PORTS as u64 + 1, PORTS as u64));
    assert_eq!(rig.flows().len(), PORTS);
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

/// The same connections begun at the same time on two processors, while templates come and go under them, so that
/// forwarder and program make them side by side: each is made once, and no two have a port in common.
pub fn both_sides(directory: &Path) {
    const ROUNDS: u16 = 40;
    const EACH: u16 = 50;
    let host = host(directory);
    let mut rig = Rig::start(&host, OPEN, true);
    let mut rules = OPEN;
    for round in 0..ROUNDS {
        let frames = |at: usize| -> Vec<_> {
            let ports = 1_024 + round * EACH..1_024 + (round + 1) * EACH;
            let mut dice = Dice::new(3);
            ports.map(|port| segment(at, OUTSIDE, port, SYN).frame(&mut dice, false, 0)).collect()
        };
        rules.generation += 1;
        std::thread::scope(|scope| {
            let (a, b, rig) = (frames(0), frames(1), &rig);
            for (at, frames) in [(0, &a), (0, &a), (1, &b), (1, &b)] {
                let frames = frames.clone();
                scope.spawn(move || {
                    for (header, frame) in &frames {
                        assert!(rig.inner[at].send(header, frame).unwrap());
                    }
                });
            }
            rig.publish(rules);
        });
        rig.received += 4 * u64::from(EACH);
        rig.settle(rig.received);
    }
    let flows = rig.flows();
    let begun: BTreeSet<_> = flows.iter().map(|flow| format!("{}", flow.flow)).collect();
    let ports: BTreeSet<_> = flows.iter().map(|flow| flow.source).collect();
    let all = 2 * usize::from(ROUNDS) * usize::from(EACH);
    let counters = rig.counters();
    let sum =
        |of: fn(&PortCounters) -> u64| counters.ports.iter().map(|port| of(&port.counters)).sum::<u64>();
    let (made, dropped) = (sum(|port| port.new_in_kernel), sum(|port| port.drops.total()));
    println!("note: {made} of {all} in the kernel, {dropped} packets dropped");
    assert_eq!((flows.len(), begun.len(), ports.len()), (all, all, all));
    assert_eq!((sum(|port| port.new_flows), sum(|port| port.flows)), (all as u64, all as u64));
    assert_eq!(sum(|port| port.passed.packets) + dropped, sum(|port| port.received.packets));
    let reasons: Vec<_> = counters.ports.iter().flat_map(|port| port.counters.drops.iter()).collect();
    assert_eq!(dropped, 0, "{reasons:?}");
    assert!(made > all as u64 / 10 && made < all as u64, "one side alone made {made}");
    assert!(rig.flows().iter().all(|flow| flow.volumes[0].packets == 2), "each SYN was sent twice");
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}
