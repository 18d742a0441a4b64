//! Flows that leave the region: where they were for is known, for as long as they live, and connections wait until
//! somebody outside has answered.

use std::net::Ipv4Addr;

use postern_path::{Door, DropReason};
use tokio::sync::mpsc::{Receiver, channel};

use super::frames::{ACK, RST, SYN, check_sums, echo, read, tcp, udp};
use super::script::{Bench, Out, ROUTE_SLOTS, SECOND, WORLD, address};
use crate::forward::packet::protocol;
use crate::forward::step::{Effects, Fate, opened};
use crate::forward::uplink::{Opened, UplinkKey};

const A: Out = Out::Interface(0);
const DOOR: (Ipv4Addr, u16) = (Door::Uplink.address(), 1);

fn a(port: u16) -> (Ipv4Addr, u16) {
    (address(0), port)
}

fn key(frame: &[u8], protocol: u8) -> UplinkKey {
    let (stand_in, _, (port, _), _) = read(frame);
    UplinkKey { stand_in, port, protocol }
}

/// Where the directory says that a flow was for.
fn target(bench: &Bench, key: &UplinkKey) -> Option<(Ipv4Addr, u16)> {
    bench.tables.uplink.flow(key).map(|flow| (flow.destination, flow.port))
}

#[test]
fn all_ports_come_to_the_door_at_one_and_are_told_apart() {
    let mut bench = Bench::new();
    let mut keys = Vec::new();
    for (to, port) in [(WORLD[0], 53), (WORLD[0], 123), (WORLD[1], 53)] {
        let (out, frame) = bench.pass(A, udp(a(40000), (to, port), b"question"));
        assert_eq!(out, Out::Doors);
        let (stand_in, destination, ports, _) = read(&frame);
        assert_eq!((destination, ports), (DOOR.0, (40000, DOOR.1)));
        let key = key(&frame, protocol::UDP);
        assert_eq!(target(&bench, &key), Some((to, port)));
        let (out, frame) = bench.pass(Out::Doors, udp(DOOR, (stand_in, 40000), b"answer"));
        assert_eq!((out, read(&frame).0, read(&frame).2), (A, to, (port, 40000)));
        keys.push(key);
    }
    assert_eq!(bench.tables.uplink.len(), 3, "one port to three places is three flows: {keys:?}");
    let (_, frame) = bench.pass(A, echo(address(0), WORLD[0], 8, 77));
    let asked = UplinkKey { port: 77, ..key(&frame, protocol::ICMP) };
    assert_eq!(target(&bench, &asked), Some((WORLD[0], 0)));
    bench.check();
}

#[test]
fn the_directory_forgets_a_flow_with_it_and_tells_who_waits() {
    let mut bench = Bench::new();
    let (_, frame) = bench.pass(A, udp(a(40000), (WORLD[0], 53), b"question"));
    let by_silence = key(&frame, protocol::UDP);
    let flow = bench.tables.uplink.flow(&by_silence).unwrap();
    bench.now += 31 * SECOND;
    bench.tables.sweep(bench.now, 1_000);
    assert!(flow.has_ended() && target(&bench, &by_silence).is_none());

    let (_, frame) = bench.pass(A, tcp(a(40001), (WORLD[0], 443), SYN));
    let by_reset = key(&frame, protocol::TCP);
    let flow = bench.tables.uplink.flow(&by_reset).unwrap();
    bench.pass(Out::Doors, tcp(DOOR, (by_reset.stand_in, 40001), RST | ACK));
    assert!(flow.has_ended() && target(&bench, &by_reset).is_none());

    let (_, frame) = bench.pass(A, udp(a(40002), (WORLD[0], 53), b"question"));
    let by_change = key(&frame, protocol::UDP);
    let flow = bench.tables.uplink.flow(&by_change).unwrap();
    bench.publish(|script| {
        script.unrouted.insert(0);
        vec![script.bump(ROUTE_SLOTS)]
    });
    assert!(!flow.has_ended(), "nothing was looked at yet");
    let answer = udp(DOOR, (by_change.stand_in, 40002), b"answer");
    assert_eq!(bench.dropped(Out::Doors, answer).0, DropReason::Cut);
    assert!(flow.has_ended() && bench.tables.uplink.is_empty());
    bench.check();
}

/// A bench at which connections wait for somebody outside.
fn waiting(room: usize) -> (Bench, Receiver<UplinkKey>) {
    let mut bench = Bench::new();
    let (opener, wanted) = channel(room);
    bench.tables.opener = Some(opener);
    (bench, wanted)
}

fn begin(bench: &mut Bench, port: u16) -> Effects {
    bench.send(A, tcp(a(port), (WORLD[0], 443), SYN)).0
}

/// What became of a connection when this came of it outside: the first packet, and what was sent besides.
fn answered(bench: &mut Bench, key: &UplinkKey, outcome: Opened) -> (Fate, Vec<u8>, Vec<Vec<u8>>) {
    let script = bench.script.clone();
    let (_, held, effects) = opened(&mut bench.tables, &script, key, outcome, bench.now).unwrap();
    let emitted = effects.emitted.into_iter().map(|(_, frame)| frame).collect();
    (effects.fate, held.frame, emitted)
}

#[test]
fn a_connection_waits_for_the_other_side() {
    let (mut bench, mut wanted) = waiting(8);
    assert_eq!(begin(&mut bench, 40000).fate, Fate::Held);
    let key = wanted.try_recv().unwrap();
    assert_eq!(target(&bench, &key), Some((WORLD[0], 443)));
    // Sent again, it waits on, and nobody is asked again.
    assert_eq!(begin(&mut bench, 40000).fate, Fate::Held);
    assert!(wanted.try_recv().is_err());
    let (fate, frame, emitted) = answered(&mut bench, &key, Opened::Yes);
    assert!(matches!(fate, Fate::Deliver(port) if port == bench.doors) && emitted.is_empty());
    check_sums(&frame);
    assert_eq!(read(&frame), (key.stand_in, DOOR.0, (40000, DOOR.1), 64));
    // From here on it is a connection like any other.
    let (out, frame) = bench.pass(Out::Doors, tcp(DOOR, (key.stand_in, 40000), SYN | ACK));
    assert_eq!((out, read(&frame).0), (A, WORLD[0]));
    bench.pass(A, tcp(a(40000), (WORLD[0], 443), ACK));
    bench.check();
    // Other protocols wait for nothing.
    bench.pass(A, udp(a(40000), (WORLD[0], 53), b"question"));
    assert!(wanted.try_recv().is_err());
}

#[test]
fn the_sender_hears_what_came_of_it() {
    let (mut bench, mut wanted) = waiting(8);
    let flags = |frame: &[u8]| frame[14 + 20 + 13];
    for (outcome, answers) in [(Opened::Refused, 1), (Opened::Unreachable, 1), (Opened::Silent, 0)] {
        assert_eq!(begin(&mut bench, 40000).fate, Fate::Held);
        let key = wanted.try_recv().unwrap();
        let (fate, _, emitted) = answered(&mut bench, &key, outcome);
        assert_eq!((fate, emitted.len()), (Fate::Held, answers), "{outcome:?}");
        for frame in emitted {
            check_sums(&frame);
            match outcome {
                Opened::Refused => {
                    assert_eq!(read(&frame).0, WORLD[0]);
                    assert_eq!(flags(&frame) & RST, RST);
                }
                _ => assert_eq!(frame[14 + 20..14 + 22], [3, 0], "network unreachable"),
            }
        }
        assert!(target(&bench, &key).is_none(), "the flow is over");
        let script = bench.script.clone();
        assert!(opened(&mut bench.tables, &script, &key, Opened::Yes, bench.now).is_none(), "and stays so");
    }
    bench.check();
}

#[test]
fn what_waits_is_bounded() {
    let (mut bench, mut wanted) = waiting(1);
    assert_eq!(begin(&mut bench, 40000).fate, Fate::Held);
    let refused = begin(&mut bench, 40001).fate;
    assert!(matches!(refused, Fate::Drop { reason: DropReason::RateLimited, .. }), "{refused:?}");
    assert_eq!(bench.tables.uplink.len(), 1);
    let first = wanted.try_recv().unwrap();
    // Who asks is not there any more; who tries again is refused, and nothing is held for ever.
    drop(wanted);
    assert!(matches!(begin(&mut bench, 40001).fate, Fate::Drop { .. }));
    bench.now += 100 * SECOND;
    bench.tables.sweep(bench.now, 1_000);
    assert!(bench.tables.uplink.is_empty() && target(&bench, &first).is_none());
    bench.check();
}

#[test]
fn a_change_while_it_waits_counts() {
    let (mut bench, mut wanted) = waiting(8);
    begin(&mut bench, 40000);
    let key = wanted.try_recv().unwrap();
    bench.publish(|script| {
        script.unrouted.insert(0);
        vec![script.bump(ROUTE_SLOTS)]
    });
    let (fate, _, _) = answered(&mut bench, &key, Opened::Yes);
    assert!(matches!(fate, Fate::Drop { reason: DropReason::Cut, .. }), "{fate:?}");
    assert!(bench.tables.uplink.is_empty());
    bench.check();
}
