//! Forwarder and kernel program, packet by packet: the same frames go into two rigs, one with the program and one
//! without, and every byte that comes out, every flow and every counter must be the same.
//!
//! Frames are put in as a sender's kernel makes them (checksums left to the hardware, segments still to be cut) and as
//! no kernel makes them (forged, cut short, with options, tagged). Answers are made of what was delivered.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_dataplane::forward::packet::checksum;
use postern_dataplane::forward::{Counters, Decider, LiveFlow};
use postern_dataplane::host::{StartOptions, VirtioNetHdr, start};
use postern_path::Door;

use crate::rig::{DOORS, Dice, Out, Packet, Rig, echo, tcp, udp};
use crate::world::{A, B, BALANCER, BALANCERS, OPEN, OUTSIDE, Rules, SERVICES, VISIBLE, address, eni};

const PACKETS: usize = 6_000;

/// A first packet, or one that looks like it.
fn fresh(dice: &mut Dice) -> Packet {
    let at = dice.pick(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, DOORS]);
    let source = if at == DOORS { Door::FrontDoor.address() } else { address(at as u64) };
    let near = [
        A,
        B,
        B,
        OUTSIDE,
        OUTSIDE,
        SERVICES[0],
        SERVICES[1],
        VISIBLE,
        Ipv4Addr::new(10, 0, 0, 77),
        BALANCERS[0],
        BALANCERS[0],
        BALANCERS[1],
    ];
    let destination = dice.pick(&near);
    // Some ports again and again, others for the first time.
    let own = if dice.one_in(2) { dice.roll(6) } else { dice.roll(2_000) };
    let ports = (32_768 + own as u16, dice.pick(&[80, 443, 53]));
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
pub fn plain(mut counters: Counters) -> Counters {
    for port in &mut counters.ports {
        (port.counters.in_kernel, port.counters.new_in_kernel) = (Default::default(), 0);
        port.counters.flows = 0;
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
    let mut rules = OPEN;
    let mut rigs = [false, true].map(|with_program| Rig::start(&host, rules, with_program));
    let mut dice = Dice::new(seed);
    let mut delivered: Vec<Out> = Vec::new();
    let mut large = 0;
    for number in 0..PACKETS as u64 {
        if dice.one_in(100) {
            change(&mut dice, &mut rules, &rigs);
        }
        while rigs[0].flows().iter().any(is_about_to_end) {
            // Which of the rigs is a moment ahead must not matter.
            pass_time(&rigs, 1);
        }
        let answered = if delivered.is_empty() || dice.one_in(3) {
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
    let (made, begun) = (sum(|port| port.new_in_kernel), sum(|port| port.new_flows));
    println!(
        "note: {carried} of {passed} packets in the kernel, {made} of {begun} flows, {dropped} dropped, {large} to be cut"
    );
    let balanced = rigs[1].counters().gateway(BALANCER.into()).map_or(0, |counters| counters.attempts);
    assert!(balanced > 100, "only {balanced} flows by the load balancer");
    assert!(carried * 3 > passed * 2, "the program carries little");
    assert!(made * 5 > begun, "the program makes few flows");
    assert!(dropped > 100 && large > 100, "too little was tried");
    drop(rigs);
    host.shutdown(Duration::ZERO).unwrap();
}

/// What looks like a beginning goes to the forwarder, who may have to let it wait for the other side.
pub fn beginnings(directory: &Path) {
    let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
    let mut rig = Rig::start(&host, OPEN, true);
    let mut dice = Dice::new(1);
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
        // Never about as long as addresses stand for peers without a flow: which rig is a moment ahead must not matter.
        pass_time(rigs, dice.pick(&[4, 25, 45, 400]));
        return;
    }
    if dice.one_in(2) {
        // Nothing that a flow rests on changes, unless its target fails.
        let target = dice.roll(2);
        rules.healthy[target] = !rules.healthy[target];
        rules.failed[target] += u64::from(!rules.healthy[target]);
    }
    rules.generation += 1;
    (rules.routed, rules.open) = (!dice.one_in(8), !dice.one_in(4));
    for rig in rigs {
        rig.forwarder.publish(Arc::new(*rules) as Arc<dyn Decider>, rules.stamps()).wait().unwrap();
    }
}
