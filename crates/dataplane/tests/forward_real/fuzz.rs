//! The kernel program on whatever bytes there may be, beside the forwarder: what it carries it carries as the forwarder
//! does, byte for byte; what it drops the forwarder drops for the same reason; and what it leaves alone it leaves as it
//! was.
//!
//! Frames are put into the program by `BPF_PROG_TEST_RUN`, so that no sender's kernel keeps any of them from it; they
//! never have a partial checksum, which is what `lockstep` is for. What the program leaves to the forwarder goes on as a
//! real frame. `POSTERN_FUZZ_CASES` says how many, `POSTERN_FUZZ_SEED` which.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use postern_dataplane::forward::packet::{ROUTER_MAC, checksum};
use postern_dataplane::forward::{
    Counters, Effects, Fate, Forwarder, Frame, GatewayCounters, Options, Owner, PortNumber, Rate, Tables,
    step,
};
use postern_dataplane::host::{FrameBatch, MAX_BATCH, PacketSocket, StartOptions, VirtioNetHdr, start};
use postern_dataplane::kernel::{MAX_TRIAL_BYTES, Trial, Verdict};
use postern_path::{Door, DropReason};

use crate::lockstep::plain;
use crate::rig::{DOORS, Dice, LINKS, Links};
use crate::world::{
    A, B, DOORS_MAC, OPEN, OUTSIDE, Rules, SERVICES, VISIBLE, address, eni, load_program, mac,
};

/// Frames that are tried in CI.
const CASES: usize = 4_000;
const PATIENCE: Duration = Duration::from_secs(5);
const SEED: u64 = 7;

/// What comes out: where, and its bytes.
type Out = (usize, Vec<u8>);

/// The forwarder's own step, without anything around it.
struct Reference {
    tables: Tables,
    rules: Rules,
    ports: [PortNumber; LINKS],
}

impl Reference {
    fn new(rules: Rules, options: &Options, now: u64) -> Self {
        let mut tables = Tables::new(options.limits, options.seed);
        tables.plan_changed(&rules.stamps());
        let ports = [0, 1, 2, DOORS].map(|number| {
            let (owner, mac) = match number {
                DOORS => (Owner::Doors, postern_model::Mac(DOORS_MAC)),
                number => (Owner::Interface(eni(number as u64)), postern_model::Mac([0; 6])),
            };
            tables.add_port(owner, mac, now).unwrap()
        });
        Self { tables, rules, ports }
    }

    fn link(&self, port: PortNumber) -> usize {
        self.ports.iter().position(|known| *known == port).unwrap()
    }

    /// What becomes of a frame: everything that goes out, in order.
    fn take(&mut self, at: usize, frame: &[u8], now: u64) -> (Fate, Vec<Out>) {
        let mut bytes = frame.to_vec();
        let header = VirtioNetHdr::default();
        // A tag is still among the bytes; both drop what is behind one.
        let mut taken = Frame { bytes: &mut bytes, header, tagged: false };
        let Effects { fate, emitted } = step(&mut self.tables, &self.rules, self.ports[at], &mut taken, now);
        let mut out = Vec::new();
        if let Fate::Deliver(exit) = fate {
            out.push((self.link(exit), bytes));
        }
        out.extend(emitted.into_iter().map(|(exit, frame)| (self.link(exit), frame)));
        (fate, out)
    }
}

/// The program, with a real forwarder and real links behind it.
struct Rig {
    forwarder: Forwarder,
    trial: Trial,
    /// Indices of the host ends.
    outer: Vec<u32>,
    inner: Vec<PacketSocket>,
    batch: FrameBatch,
    _alive: Vec<Sender<()>>,
}

impl Rig {
    fn start(host: &postern_dataplane::host::Host, rules: Rules, options: Options) -> Self {
        let program = load_program(host.fabric()).unwrap();
        let trial = Trial::of(&program).unwrap();
        let forwarder =
            Forwarder::start_with(Arc::new(rules), &rules.stamps(), options, Some(program)).unwrap();
        let Links { inner, outer, alive } = Links::plugged_in(host, &forwarder);
        Self { forwarder, trial, outer, inner, batch: FrameBatch::new(MAX_BATCH), _alive: alive }
    }

    fn counters(&self) -> Counters {
        self.forwarder.counters().wait().unwrap()
    }

    fn came(&self) -> (u64, Counters) {
        let counters = self.counters();
        (counters.ports.iter().map(|port| port.counters.received.packets).sum(), counters)
    }

    /// Sends a frame for real, and waits until the forwarder has had it. None where the sender's kernel refuses it.
    fn send(&mut self, at: usize, frame: &[u8], said: &str) -> Option<Vec<Out>> {
        let (before, _) = self.came();
        if !self.inner[at].send(&VirtioNetHdr::default(), frame).is_ok_and(|sent| sent) {
            return None;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut out = Vec::new();
        loop {
            for (at, inner) in self.inner.iter().enumerate() {
                while inner.recv_batch(&mut self.batch).unwrap() > 0 {
                    out.extend(self.batch.frames().map(|(_, bytes)| (at, bytes.to_vec())));
                }
            }
            let (came, _) = self.came();
            if came == before + 1 {
                return Some(out);
            }
            assert!(Instant::now() < deadline, "{said}: {came} after {before}");
        }
    }
}

/// Both, in step.
struct Pair {
    rig: Rig,
    reference: Reference,
    /// How often the program said what: left alone, dropped, carried.
    said: [usize; 3],
}

impl Pair {
    fn start(host: &postern_dataplane::host::Host) -> Self {
        let rules = OPEN;
        let mut options = Options::with_seed(7);
        // What is left out because of a rate depends on the moment.
        let plenty = Rate { per_second: 1_000_000, burst: 1_000_000 };
        (options.limits.replies, options.limits.upcalls) = (plenty, plenty);
        let rig = Rig::start(host, rules, options.clone());
        let reference = Reference::new(rules, &options, rig.forwarder.clock().now());
        Self { rig, reference, said: [0; 3] }
    }

    /// One frame through both. Gives what was delivered.
    fn compare(&mut self, at: usize, frame: &[u8], said: &str) -> Vec<Out> {
        let Ok((verdict, after)) = self.rig.trial.run(self.rig.outer[at], frame) else {
            // The kernel tries no packet of it; as a real frame it comes all the same.
            let now = self.rig.forwarder.clock().now();
            return self.go_up(at, frame, now, said);
        };
        let now = self.rig.forwarder.clock().now();
        let place = match verdict {
            Verdict::Pass => 0,
            Verdict::Drop => 1,
            Verdict::Redirect => 2,
            Verdict::Other(other) => panic!("{said}: the program says `{other}`"),
        };
        self.said[place] += 1;
        let (fate, out) = match verdict {
            Verdict::Pass => {
                assert_eq!(after, frame, "{said}: it is changed and passed");
                return self.go_up(at, frame, now, said);
            }
            Verdict::Drop | Verdict::Redirect | Verdict::Other(_) => self.reference.take(at, frame, now),
        };
        if verdict == Verdict::Drop {
            assert!(matches!(fate, Fate::Drop { .. }), "{said}: dropped, and {fate:?}");
        } else {
            assert!(matches!(fate, Fate::Deliver(_)), "{said}: carried, and {fate:?}");
            assert_eq!(out.len(), 1, "{said}: {out:?}");
            assert_eq!(out[0].1, after, "{said}: carried otherwise");
        }
        self.counted_alike(said);
        out
    }

    /// What the program leaves to the forwarder.
    fn go_up(&mut self, at: usize, frame: &[u8], now: u64, said: &str) -> Vec<Out> {
        // The sender's kernel refuses some frames: then neither sees it.
        let Some(theirs) = self.rig.send(at, frame, said) else { return Vec::new() };
        let (_, ours) = self.reference.take(at, frame, now);
        let mut theirs = theirs;
        let deadline = Instant::now() + PATIENCE;
        while theirs.len() < ours.len() && Instant::now() < deadline {
            for (at, inner) in self.rig.inner.iter().enumerate() {
                while inner.recv_batch(&mut self.rig.batch).unwrap() > 0 {
                    theirs.extend(self.rig.batch.frames().map(|(_, bytes)| (at, bytes.to_vec())));
                }
            }
        }
        assert_eq!(sorted(&ours), sorted(&theirs), "{said}");
        self.counted_alike(said);
        ours
    }

    fn counted_alike(&mut self, said: &str) {
        // Nobody fetches the reference's log. The kernel program is told of a gateway before anything goes through it.
        let plain = |counters| {
            let mut counters = Counters { log_lost: 0, ..plain(counters) };
            counters.gateways.retain(|(_, gateway)| *gateway != GatewayCounters::default());
            counters.gateways.sort_by_key(|(resource, _)| resource.to_string());
            counters
        };
        let (ours, theirs) = (plain(self.reference.tables.counters()), plain(self.rig.counters()));
        assert!(ours == theirs, "{said}: {}", differences(&ours, &theirs));
    }
}

/// What two counters do not agree about.
fn differences(ours: &Counters, theirs: &Counters) -> String {
    let ports = ours.ports.iter().zip(&theirs.ports).enumerate().filter(|(_, (ours, theirs))| ours != theirs);
    let ports: Vec<String> =
        ports.map(|(at, (ours, theirs))| format!("{at}: {ours:?}\n{theirs:?}")).collect();
    let rest = |counters: &Counters| format!("{:?}", Counters { ports: Vec::new(), ..counters.clone() });
    format!("{}\n{}\n{}", ports.join("\n"), rest(ours), rest(theirs))
}

fn sorted(out: &[Out]) -> Vec<Out> {
    let mut out = out.to_vec();
    out.sort();
    out
}

/// Many frames of one seed.
pub fn fuzz(directory: &Path) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("POSTERN_FUZZ_SEED").unwrap_or(SEED);
    let cases = number("POSTERN_FUZZ_CASES").map_or(CASES, |cases| cases as usize);
    println!("note: seed {seed}, {cases} frames");
    let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
    let mut pair = Pair::start(&host);
    let mut dice = Dice::new(seed);
    let mut delivered: Vec<Out> = Vec::new();
    for case in 0..cases {
        let (at, frame) = draw(&mut dice, &delivered);
        let said = format!("seed {seed}, frame {case} at {at}: {}", hex(&frame));
        delivered.extend(pair.compare(at, &frame, &said));
        if delivered.len() > 64 {
            delivered.drain(..32);
        }
    }
    let [passed, dropped, carried] = pair.said;
    println!("note: {passed} left to the forwarder, {dropped} dropped, {carried} carried by the program");
    assert!(carried * 20 > cases && dropped * 50 > cases && passed * 10 > cases, "{:?}", pair.said);
    pair.rig.forwarder.shutdown();
    host.shutdown(Duration::ZERO).unwrap();
}

/// Frames that are wrong in a way of their own, or once were treated differently, in the order in which they are tried:
/// each has to be dropped for the reason that is said, or let pass, by both.
pub fn bad_input(directory: &Path) {
    let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
    let mut pair = Pair::start(&host);
    let mut wrong = Vec::new();
    for line in include_str!("bad_input.txt").lines() {
        let Some((title, rest)) = line.split_once('|') else { continue };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [at, expected, bytes] = words[..] else { panic!("three words are wanted: {line}") };
        let byte = |n: usize| u8::from_str_radix(&bytes[n..n + 2], 16).unwrap();
        let frame: Vec<u8> = (0..bytes.len()).step_by(2).map(byte).collect();
        let before = drops(&pair.reference.tables.counters());
        pair.compare(at.parse().unwrap(), &frame, &format!("{title}: {bytes}"));
        let after = drops(&pair.reference.tables.counters());
        let seen: Vec<&str> =
            after.iter().filter(|drop| !before.contains(drop)).map(|(reason, _)| reason.name()).collect();
        let seen = if seen.is_empty() { "passes".to_owned() } else { seen.join("+") };
        if seen != expected {
            wrong.push(format!("{}: {seen} and not {expected}", title.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pair.said.iter().sum::<usize>() > 10, "{:?}", pair.said);
    pair.rig.forwarder.shutdown();
    host.shutdown(Duration::ZERO).unwrap();
}

/// What was dropped so far, by reason, of all ports.
fn drops(counters: &Counters) -> Vec<(DropReason, u64)> {
    let sum = |reason: DropReason| counters.ports.iter().map(|port| port.counters.drops.get(reason)).sum();
    DropReason::ALL.iter().map(|reason| (*reason, sum(*reason))).filter(|(_, count)| *count > 0).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame, and where it comes in: a packet of a conversation that goes on or begins, or not even that; and often
/// something is wrong with it.
fn draw(dice: &mut Dice, delivered: &[Out]) -> (usize, Vec<u8>) {
    let answered = !delivered.is_empty() && dice.roll(3) > 0;
    let drawn = if answered {
        let (at, frame) = &delivered[dice.roll(delivered.len())];
        answer(dice, *at, frame)
    } else {
        None
    };
    let (at, mut frame) = drawn.unwrap_or_else(|| fresh(dice));
    match dice.roll(5) {
        0 => spoil(dice, &mut frame),
        1 if dice.one_in(3) => {
            for byte in &mut frame {
                *byte = dice.roll(256) as u8;
            }
        }
        _ => {}
    }
    frame.truncate(MAX_TRIAL_BYTES);
    (at, frame)
}

/// A whole IPv4 frame.
fn whole(dice: &mut Dice, at: usize, ends: (Ipv4Addr, Ipv4Addr), protocol: u8, content: Vec<u8>) -> Vec<u8> {
    let from = if at == DOORS { DOORS_MAC } else { mac(at as u64) };
    let mut frame = [&ROUTER_MAC.0[..], &from, &[8, 0, 0x45, 0]].concat();
    frame.extend(((20 + content.len()) as u16).to_be_bytes());
    frame.extend((dice.roll(65_536) as u16).to_be_bytes());
    let fragment =
        if dice.one_in(20) { dice.pick(&[0x2000, 0x2001, 0x00b9, 0x8000, 0x6000]) } else { 0x4000_u16 };
    frame.extend(fragment.to_be_bytes());
    frame.extend([if dice.one_in(12) { dice.pick(&[0, 1, 2, 255]) } else { 64 }, protocol, 0, 0]);
    frame.extend(ends.0.octets());
    frame.extend(ends.1.octets());
    frame.extend(content);
    sum_up(&mut frame);
    frame
}

/// Puts the checksums right, where there is room for them.
fn sum_up(frame: &mut [u8]) {
    let Some(header) = frame.get(14).map(|first| usize::from(first & 15) * 4) else { return };
    if header < 20 || frame.len() < 14 + header {
        return;
    }
    frame[24..26].copy_from_slice(&[0, 0]);
    let sum = checksum::over(&frame[14..14 + header]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let at = match frame[23] {
        6 => 16,
        17 => 6,
        1 => 2,
        _ => return,
    };
    let start = 14 + header;
    if frame.len() < start + at + 2 {
        return;
    }
    frame[start + at..start + at + 2].copy_from_slice(&[0, 0]);
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let length = (frame.len() - start) as u16;
    let pseudo = match frame[23] {
        1 => 0,
        protocol => checksum::pseudo_header(address(26), address(30), protocol, length),
    };
    let sum = !checksum::fold(pseudo + checksum::sum(&frame[start..]));
    frame[start + at..start + at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn segment(ports: (u16, u16), flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
    let mut header = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    header.extend([
        0,
        0,
        0,
        7,
        0,
        0,
        0,
        9,
        ((20 + options.len()) / 4 * 16) as u8,
        flags,
        0x10,
        0,
        0,
        0,
        0,
        0,
    ]);
    header.extend(options);
    header.extend((0..payload).map(|at| at as u8));
    header
}

fn datagram(ports: (u16, u16), payload: usize) -> Vec<u8> {
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
    message
}

const OPTIONS: [&[u8]; 6] = [
    &[2, 4, 0x23, 0x28],
    &[2, 4, 2, 0, 1, 1, 4, 2],
    &[1, 1, 2, 4, 0x23, 0x28, 0, 0],
    &[],
    &[2, 0, 0x23, 0x28],
    &[3, 3, 7, 2, 4, 0x23, 0x28, 0],
];

fn fresh(dice: &mut Dice) -> (usize, Vec<u8>) {
    let at = dice.pick(&[0, 0, 0, 1, 1, 1, 2, 2, DOORS]);
    let source = match dice.roll(20) {
        0 => Ipv4Addr::new(10, 0, 0, 99),
        _ if at == DOORS => Door::FrontDoor.address(),
        _ => address(at as u64),
    };
    let near = [A, B, B, OUTSIDE, OUTSIDE, SERVICES[0], SERVICES[1], VISIBLE, Ipv4Addr::new(10, 0, 0, 77)];
    let destination = dice.pick(&near);
    let ports = (32_768 + dice.roll(6) as u16, dice.pick(&[80, 443, 53]));
    let (protocol, content) = match dice.roll(9) {
        0 => (1, echo(dice.pick(&[8, 8, 0, 13, 3, 11]), 1 + dice.roll(3) as u16)),
        1..4 => (17, datagram(ports, dice.roll(1_300))),
        4 => (6, segment(ports, dice.roll(256) as u8, dice.pick(&OPTIONS), dice.roll(40))),
        5 if dice.one_in(3) => (dice.roll(256) as u8, vec![0; dice.roll(60)]),
        _ => (6, segment(ports, 2, dice.pick(&OPTIONS), 0)),
    };
    (at, whole(dice, at, (source, destination), protocol, content))
}

/// An answer to a frame as it was delivered.
fn answer(dice: &mut Dice, at: usize, frame: &[u8]) -> Option<(usize, Vec<u8>)> {
    if frame.get(12..15)? != [8, 0, 0x45] || frame.len() < 42 || frame[20] & 0x3f != 0 || frame[21] != 0 {
        return None;
    }
    let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let ports = (port(36), port(34));
    let content = match frame[23] {
        1 if dice.one_in(3) => {
            // An error about what was delivered, or nearly.
            let mut message = vec![dice.pick(&[3, 11, 5]), dice.pick(&[0, 1, 3, 4]), 0, 0, 0, 0, 5, 0];
            message.extend(&frame[14..frame.len().min(14 + 28 + dice.roll(20))]);
            message
        }
        1 => echo(if frame[34] == 8 { 0 } else { 8 }, port(38)),
        17 => datagram(ports, dice.pick(&[0, 1, 7, 500, 1_472, 2_000])),
        6 if frame.len() >= 54 => {
            let flags = match frame[47] & 0x17 {
                2 => dice.pick(&[0x12, 0x12, 0x12, 0x14]),
                0x12 => 0x10,
                0x11 => dice.pick(&[0x10, 0x11]),
                _ => dice.pick(&[0x10, 0x18, 0x18, 0x18, 0x18, 0x11, 0x14, 2, 0x12]),
            };
            let options: &[u8] = if flags & 2 == 2 { dice.pick(&OPTIONS) } else { &[] };
            let payload = if flags == 0x18 { dice.pick(&[0, 1, 99, 1_460, 3_000]) } else { 0 };
            segment(ports, flags, options, payload)
        }
        _ => return None,
    };
    Some((at, whole(dice, at, (address(30), address(26)), frame[23], content)))
}

/// Something becomes wrong with a frame; often its checksums are right all the same.
fn spoil(dice: &mut Dice, frame: &mut Vec<u8>) {
    let mend = dice.one_in(2);
    match dice.roll(10) {
        0 => frame.truncate(14 + dice.roll(frame.len() - 13)),
        1 => frame.extend(std::iter::repeat_n(0, dice.roll(40))),
        2 => frame[14] = dice.roll(256) as u8,
        3 => frame[16..18].copy_from_slice(&(dice.roll(2_000) as u16).to_be_bytes()),
        4 => {
            // Options of IP, and the length with them.
            let options = dice.pick(&[[1, 1, 1, 0], [7, 4, 4, 0], [148, 4, 0, 0], [131, 0, 0, 0]]);
            frame.splice(34..34, options);
            frame[14] = 0x46;
            let length = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&length.to_be_bytes());
        }
        5 => frame[12..14].copy_from_slice(&dice.pick(&[
            [0x86, 0xdd],
            [8, 6],
            [0, 46],
            [0x88, 0x47],
            [0x81, 0],
        ])),
        6 => frame[dice.pick(&[0, 5, 6, 11])] ^= 1 << dice.roll(8),
        7 => {
            // The first word of the transport header's fourth: where TCP says how long it is.
            if let Some(byte) = frame.get_mut(46) {
                *byte = dice.roll(256) as u8;
            }
        }
        8 => frame[20..22].copy_from_slice(&(dice.roll(65_536) as u16).to_be_bytes()),
        _ => {
            for _ in 0..1 + dice.roll(8) {
                let at = dice.roll(frame.len());
                frame[at] ^= 1 << dice.roll(8);
            }
        }
    }
    if mend {
        sum_up(frame);
    }
}
