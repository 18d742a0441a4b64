//! Forwarder and kernel program, packet by packet: the same frames go into two rigs, one with the program and one
//! without, and every byte that comes out, every flow and every counter must be the same.
//!
//! Frames are put in as a sender's kernel makes them (checksums left to the hardware, segments still to be cut) and as
//! no kernel makes them (forged, cut short, with options, tagged). Answers are made of what was delivered.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use postern_dataplane::forward::packet::{ROUTER_MAC, checksum};
use postern_dataplane::forward::{Counters, Decider, Forwarder, LiveFlow, Options, Rate};
use postern_dataplane::host::{
    FrameBatch, Host, MAX_BATCH, Mac, Namespace, PacketSocket, PortSpec, StartOptions, VirtioNetHdr, start,
};
use postern_path::Door;

use crate::world::{
    A, B, DOORS_MAC, OUTSIDE, Rules, SERVICES, VISIBLE, address, eni, load_program, mac, network,
};

/// Interfaces 0, 1 and 2, and then the doors.
const LINKS: usize = 4;
const DOORS: usize = 3;
const PACKETS: usize = 6_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// Numbers that look like chance and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

/// A frame as it came out: where, its offload state, its bytes.
type Out = (usize, VirtioNetHdr, Vec<u8>);

/// Four links, and what is between them.
struct Rig {
    forwarder: Forwarder,
    inner: Vec<PacketSocket>,
    batch: FrameBatch,
    taken: [u64; LINKS],
    /// Packets that the counters told of as sent there.
    told: [u64; LINKS],
    /// Frames that were put in.
    received: u64,
    _alive: Vec<Sender<()>>,
}

impl Rig {
    fn start(host: &Host, rules: Rules, with_program: bool) -> Self {
        let program = with_program.then(|| load_program(host.fabric()).unwrap());
        let mut options = Options::with_seed(7);
        // How many answers are left out depends on the moment at which each of the two takes a packet.
        options.limits.replies = Rate { per_second: 1_000_000, burst: 1_000_000 };
        let forwarder = Forwarder::start_with(Arc::new(rules), &rules.stamps(), options, program).unwrap();
        let mut alive = Vec::new();
        let inner = (0..LINKS).map(|number| {
            let (namespace, lives) = network();
            alive.push(lives);
            quieten(&namespace);
            let port = host
                .create_port(&PortSpec {
                    target: namespace.clone(),
                    inside_name: "ens5".to_owned(),
                    // Nobody's in any plan: the kernel inside takes no frame for its own.
                    mac: Mac([2, 7, 7, 7, 7, number as u8]),
                    mtu: 9001,
                    addresses: Vec::new(),
                    gateway: None,
                    neighbours: Vec::new(),
                    routes: Vec::new(),
                })
                .unwrap();
            let socket = host.open_port(&port).unwrap();
            let added = match number {
                DOORS => forwarder.add_doors_port(socket, postern_model::Mac(DOORS_MAC)),
                number => forwarder.add_port(eni(number as u64), socket),
            };
            added.wait().unwrap().unwrap();
            PacketSocket::open(&namespace, "ens5").unwrap()
        });
        let inner = inner.collect();
        Self {
            forwarder,
            inner,
            batch: FrameBatch::new(MAX_BATCH),
            taken: [0; LINKS],
            told: [0; LINKS],
            received: 0,
            _alive: alive,
        }
    }

    fn counters(&self) -> Counters {
        self.forwarder.counters().wait().unwrap()
    }

    fn take_out(&mut self, out: &mut Vec<Out>) {
        for (at, inner) in self.inner.iter().enumerate() {
            while inner.recv_batch(&mut self.batch).unwrap() > 0 {
                for (meta, bytes) in self.batch.frames() {
                    out.push((at, meta.header, bytes.to_vec()));
                    self.taken[at] += 1;
                }
            }
        }
    }

    /// Everything that came out since the last time, once all that the counters tell of is there. Of a packet that
    /// was cut into fragments they tell once.
    fn settle(&mut self, received: u64) -> (Vec<Out>, Counters) {
        let deadline = Instant::now() + PATIENCE;
        let mut out = Vec::new();
        let before = self.taken;
        loop {
            self.take_out(&mut out);
            let counters = self.counters();
            let came: u64 = counters.ports.iter().map(|port| port.counters.received.packets).sum();
            let mut told = self.told;
            for (told, port) in told.iter_mut().zip(&counters.ports) {
                *told = port.counters.delivered.packets + port.counters.replies;
            }
            let all_out = (0..LINKS).all(|at| told[at] - self.told[at] <= self.taken[at] - before[at]);
            if came == received && all_out {
                self.told = told;
                return (out, counters);
            }
            assert!(Instant::now() < deadline, "{came} of {received}; {:?}: {counters:?}", self.taken);
        }
    }

    fn flows(&self) -> Vec<LiveFlow> {
        let mut flows = self.forwarder.flows(100_000).wait().unwrap();
        flows.sort_by_key(|flow| format!("{:?}{:?}", flow.flow, flow.source));
        flows
    }
}

/// No kernel speaks unasked.
fn quieten(namespace: &Namespace) {
    namespace
        .run(|| {
            for which in ["all", "default"] {
                // Where the kernel has no IPv6 there is nothing to turn off.
                let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
            }
        })
        .unwrap();
}

/// An IPv4 packet that is about to be made.
#[derive(Clone)]
struct Packet {
    at: usize,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    ttl: u8,
    flags: u16,
    /// The transport header, with a checksum of zero, and what follows.
    content: Vec<u8>,
}

fn tcp(ports: (u16, u16), flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
    let mut header = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    header.extend([0, 0, 0, 7, 0, 0, 0, 9, ((20 + options.len()) / 4 * 16) as u8, flags]);
    header.extend([0x10, 0, 0, 0, 0, 0]);
    header.extend(options);
    header.extend((0..payload).map(|at| at as u8));
    header
}

fn udp(ports: (u16, u16), payload: usize) -> Vec<u8> {
    let mut header = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    header.extend(((8 + payload) as u16).to_be_bytes());
    header.extend([0, 0]);
    header.extend((0..payload).map(|at| at as u8));
    header
}

fn echo(kind: u8, identifier: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1, 1, 2, 3]);
    let sum = checksum::over(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

impl Packet {
    const fn checksum_at(&self) -> Option<usize> {
        match self.protocol {
            6 => Some(16),
            17 => Some(6),
            _ => None,
        }
    }

    fn header_bytes(&self) -> usize {
        if self.protocol == 6 { usize::from(self.content[12] >> 4) * 4 } else { 8 }
    }

    /// The frame, with the checksum whole, partial (as it must be of one that is still to be cut), or left out.
    fn frame(&self, dice: &mut Dice, partial: bool, segment: u16) -> (VirtioNetHdr, Vec<u8>) {
        let mac = if self.at == DOORS { DOORS_MAC } else { mac(self.at as u64) };
        let mut frame = [&ROUTER_MAC.0[..], &mac, &[8, 0, 0x45, 0]].concat();
        frame.extend(((20 + self.content.len()) as u16).to_be_bytes());
        frame.extend((dice.roll(65_536) as u16).to_be_bytes());
        frame.extend(self.flags.to_be_bytes());
        frame.extend([self.ttl, self.protocol, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        let sum = checksum::over(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut content = self.content.clone();
        let mut header = VirtioNetHdr::default();
        if let Some(at) = self.checksum_at() {
            let length = content.len() as u16;
            let pseudo = checksum::pseudo_header(self.source, self.destination, self.protocol, length);
            let left_out = self.protocol == 17 && !partial && dice.one_in(4);
            let sum = if partial {
                (header.flags, header.csum_start, header.csum_offset) =
                    (VirtioNetHdr::NEEDS_CSUM, 34, at as u16);
                checksum::fold(pseudo)
            } else if left_out {
                0
            } else {
                !checksum::fold(pseudo + checksum::sum(&content))
            };
            content[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        if segment > 0 {
            let kind = if self.protocol == 6 { VirtioNetHdr::GSO_TCPV4 } else { VirtioNetHdr::GSO_UDP_L4 };
            (header.gso_type, header.gso_size) = (kind, segment);
            header.hdr_len = (34 + self.header_bytes()) as u16;
        }
        frame.extend(content);
        (header, frame)
    }
}

/// A first packet, or one that looks like it.
fn fresh(dice: &mut Dice) -> Packet {
    let at = dice.pick(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, DOORS]);
    let source = if at == DOORS { Door::FrontDoor.address() } else { address(at as u64) };
    let near = [A, B, B, OUTSIDE, OUTSIDE, SERVICES[0], SERVICES[1], VISIBLE, Ipv4Addr::new(10, 0, 0, 77)];
    let destination = dice.pick(&near);
    let ports = (32_768 + dice.roll(6) as u16, dice.pick(&[80, 443, 53]));
    let (protocol, content) = match dice.roll(8) {
        0 => (1, echo(dice.pick(&[8, 8, 8, 0, 13]), 1 + dice.roll(3) as u16)),
        1 | 2 => (17, udp(ports, dice.roll(1_200))),
        3 if dice.one_in(3) => {
            (6, tcp(ports, dice.pick(&[0x10, 0x11, 0x04, 0x12, 0x18, 0x03]), &[], dice.roll(40)))
        }
        4 if dice.one_in(3) => (dice.pick(&[47, 50, 132]), vec![0; 40]),
        _ => {
            let sizes: [&[u8]; 5] = [
                &[2, 4, 0x23, 0x28, 1, 1, 1, 0],
                &[2, 4, 0x02, 0x00],
                &[1, 1, 2, 4, 0x23, 0x28, 0, 0],
                &[],
                &[3, 3, 7, 2, 4, 0x23, 0x28, 0],
            ];
            (6, tcp(ports, 0x02, dice.pick(&sizes), 0))
        }
    };
    let ttl = if dice.one_in(12) { dice.pick(&[255, 2, 1]) } else { 64 };
    Packet { at, source, destination, protocol, ttl, flags: dice.pick(&[0, 0x4000]), content }
}

/// Another packet of the conversation that a frame, as it was delivered, is of: an answer to it.
fn answer(dice: &mut Dice, (at, _, frame): &Out) -> Option<Packet> {
    if frame.get(12..15)? != [8, 0, 0x45] || frame[20] & 0x3f != 0 || frame[21] != 0 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let (ports, protocol) = ((port(36), port(34)), frame[23]);
    let content = match protocol {
        1 if frame[34] == 8 => echo(0, port(38)),
        1 => echo(8, port(38)),
        17 => udp(ports, dice.pick(&[0, 1, 7, 500, 1_472, 3_000])),
        6 => {
            let flags = match frame[47] & 0x17 {
                0x02 => dice.pick(&[0x12, 0x12, 0x12, 0x14]),
                0x12 => 0x10,
                0x11 => dice.pick(&[0x10, 0x11, 0x11]),
                _ => {
                    dice.pick(&[0x10, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x18, 0x11, 0x11, 0x14, 0x02, 0x12])
                }
            };
            let sizes: [&[u8]; 3] = [&[2, 4, 0x23, 0x28], &[2, 4, 1, 0, 4, 2, 0, 0], &[1, 1, 1, 0]];
            let options = if flags & 2 == 2 { dice.pick(&sizes) } else { &[] };
            let long = dice.pick(&[0, 1, 2, 99, 1_460, 1_461, 4_000, 8_900, 20_000, 60_000]);
            tcp(ports, flags, options, if flags & 7 == 0 && flags & 8 == 8 { long } else { 0 })
        }
        _ => return None,
    };
    Some(Packet {
        at: *at,
        source: address(30),
        destination: address(26),
        protocol,
        ttl: if dice.one_in(16) { dice.pick(&[2, 1]) } else { 64 },
        flags: dice.pick(&[0x4000, 0x4000, 0]),
        content,
    })
}

/// How a frame goes in: whole or to be cut, and sometimes spoilt.
fn shoot(dice: &mut Dice, packet: &Packet) -> (VirtioNetHdr, Vec<u8>) {
    let payload = packet.content.len().saturating_sub(packet.header_bytes());
    let cuttable = matches!(packet.protocol, 6 | 17) && packet.flags & 0x3fff == 0;
    let segment = dice.pick(&[500, 1_400, 1_448, 8_000]);
    let cut = cuttable && payload > usize::from(segment) && payload / usize::from(segment) < 60;
    let must = payload > 8_961;
    if cut && (must || dice.one_in(2)) {
        return packet.frame(dice, true, segment);
    }
    let mut packet = packet.clone();
    if must {
        packet.content.truncate(1_000);
    }
    let partial = packet.checksum_at().is_some() && dice.one_in(2);
    let (header, mut frame) = packet.frame(dice, partial, 0);
    if !dice.one_in(10) {
        return (header, frame);
    }
    match dice.roll(11) {
        0 => frame[6] ^= 4,
        1 => frame[29] ^= 1,
        2 => frame[24] ^= 1,
        3 => frame.extend([0; 9]),
        4 if !partial => frame.truncate(dice.pick(&[20, 33, 34, 36, 40, 50])),
        5 if !partial => drop(frame.splice(12..12, [0x81, 0, 0, 5])),
        6 => frame[12..14].copy_from_slice(&[0x86, 0xdd]),
        7 => frame[0..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 1]),
        8 if frame.len() > 46 => frame[46] = dice.pick(&[0x10, 0x40, 0xf0]),
        9 if frame.len() > 39 => frame[38] ^= 0x40,
        _ => {
            // A fragment: with a checksum that is right.
            let flags = dice.pick(&[0x2000_u16, 0x2003, 0x0003, 0x0001]);
            frame[20..22].copy_from_slice(&flags.to_be_bytes());
            frame[24..26].copy_from_slice(&[0, 0]);
            let sum = checksum::over(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
    }
    (header, frame)
}

/// What two rigs must agree on. How many flows are known depends on when the silent ones are collected; those that are
/// not over are compared one by one.
fn plain(mut counters: Counters) -> Counters {
    for port in &mut counters.ports {
        (port.counters.in_kernel, port.counters.flows) = (Default::default(), 0);
        port.by_program = false;
    }
    counters.gateways.iter_mut().for_each(|(_, gateway)| gateway.active = 0);
    Counters { flows: 0, peers: 0, waits: 0, ..counters }
}

/// Without what depends on when exactly it was asked for.
fn timeless(flow: &LiveFlow) -> LiveFlow {
    LiveFlow { age: 0, idle: 0, ..*flow }
}

/// Without how much of the frame lies in one piece of the kernel's memory.
fn comparable(out: &[Out]) -> Vec<Out> {
    let mut out = out.to_vec();
    out.iter_mut().for_each(|(_, header, _)| header.hdr_len = 0);
    out.sort_by(|a, b| (a.0, &a.2).cmp(&(b.0, &b.2)));
    out
}

pub fn lockstep(directory: &Path) {
    let seed = std::env::var("POSTERN_LOCKSTEP_SEED").map_or(1, |seed| seed.parse().unwrap());
    let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
    let mut rules = Rules { generation: 1, routed: true, open: true };
    let mut rigs = [false, true].map(|with_program| Rig::start(&host, rules, with_program));
    let mut dice = Dice(seed);
    let mut delivered: Vec<Out> = Vec::new();
    let mut large = 0;
    for number in 0..PACKETS as u64 {
        if dice.one_in(60) {
            change(&mut dice, &mut rules, &rigs);
        }
        while rigs[0].flows().iter().any(is_about_to_end) {
            // Which of the rigs is a moment ahead must not matter.
            pass_time(&rigs, 1);
        }
        let answered = if delivered.is_empty() || dice.one_in(6) {
            None
        } else {
            let at = delivered.len() - 1 - dice.roll(delivered.len().min(12));
            answer(&mut dice, &delivered[at])
        };
        let packet = answered.unwrap_or_else(|| fresh(&mut dice));
        let (header, frame) = shoot(&mut dice, &packet);
        large += u64::from(header.gso_size > 0);
        let said = format!("seed {seed}, packet {number} at {}: {header:?} {frame:02x?}", packet.at);
        let sent = rigs.each_ref().map(|rig| rig.inner[packet.at].send(&header, &frame));
        let sent = sent.map(|sent| sent.is_ok_and(|sent| sent));
        assert_eq!(sent[0], sent[1], "{said}");
        if !sent[0] {
            // The sender's kernel has seen that it is nonsense.
            continue;
        }
        let before: u64 = rigs[0].received;
        let [mut one, mut other] = rigs.each_mut().map(|rig| {
            rig.received = before + 1;
            rig.settle(before + 1)
        });
        let deadline = Instant::now() + Duration::from_millis(100);
        while one.0.len() != other.0.len() && Instant::now() < deadline {
            // A fragment is on its way.
            let [ours, theirs] = &mut rigs;
            ours.take_out(&mut one.0);
            theirs.take_out(&mut other.0);
        }
        assert_eq!(comparable(&one.0), comparable(&other.0), "{said}: {:?} {:?}", one.1, other.1);
        assert_eq!(plain(one.1), plain(other.1), "{said}");
        let flows = rigs.each_ref().map(Rig::flows);
        let [ours, theirs] = flows.each_ref().map(|flows| flows.iter().map(timeless).collect::<Vec<_>>());
        assert_eq!(ours, theirs, "{said}");
        for (ours, theirs) in flows[0].iter().zip(&flows[1]) {
            assert!(ours.idle.abs_diff(theirs.idle) < 2_000_000_000, "{said}: {ours:?} {theirs:?}");
        }
        delivered.extend(one.0);
    }
    let ports = rigs[1].counters().ports;
    let sum = |of: fn(&postern_dataplane::forward::PortCounters) -> u64| -> u64 {
        ports.iter().map(|port| of(&port.counters)).sum()
    };
    let (carried, passed) = (sum(|port| port.in_kernel.packets), sum(|port| port.passed.packets));
    let dropped = sum(|port| port.drops.total());
    println!("note: {carried} of {passed} packets in the kernel, {dropped} dropped, {large} to be cut");
    assert!(carried * 3 > passed, "the program carries little");
    assert!(dropped > 100 && large > 100, "too little was tried");
    drop(rigs);
    host.shutdown(Duration::ZERO).unwrap();
}

/// What looks like a beginning goes to the forwarder, who may have to let it wait for the other side.
pub fn beginnings(directory: &Path) {
    let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
    let mut rig = Rig::start(&host, Rules { generation: 1, routed: true, open: true }, true);
    let mut dice = Dice(1);
    let mut in_kernel = |flags: u8| {
        let content = tcp((40_000, 80), flags, &[], 0);
        let packet =
            Packet { at: 0, source: A, destination: B, protocol: 6, ttl: 64, flags: 0x4000, content };
        let (header, frame) = packet.frame(&mut dice, false, 0);
        assert!(rig.inner[0].send(&header, &frame).unwrap());
        rig.received += 1;
        let (out, counters) = rig.settle(rig.received);
        assert_eq!(out.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [1], "flags {flags:#x}");
        counters.interface(eni(0)).unwrap().counters.in_kernel.packets
    };
    assert_eq!([0x02, 0x10, 0x12, 0x13, 0x02, 0x10].map(&mut in_kernel), [0, 1, 1, 1, 1, 2]);
    drop(rig);
    host.shutdown(Duration::ZERO).unwrap();
}

fn is_about_to_end(flow: &LiveFlow) -> bool {
    flow.patience.saturating_sub(flow.idle) < 300_000_000
}

fn pass_time(rigs: &[Rig; 2], seconds: u64) {
    rigs.iter().for_each(|rig| rig.forwarder.clock().advance(Duration::from_secs(seconds)));
    // The program reads a clock that ticks some hundred times a second.
    std::thread::sleep(Duration::from_millis(12));
}

/// Time passes, or the plan changes.
fn change(dice: &mut Dice, rules: &mut Rules, rigs: &[Rig; 2]) {
    if dice.one_in(3) {
        pass_time(rigs, dice.pick(&[3, 20, 40, 400]));
        return;
    }
    rules.generation += 1;
    (rules.routed, rules.open) = (!dice.one_in(8), !dice.one_in(4));
    for rig in rigs {
        rig.forwarder.publish(Arc::new(*rules) as Arc<dyn Decider>, rules.stamps()).wait().unwrap();
    }
}
