//! Flows that leave the region: where they were for is known, for as long as they live, and connections wait until
//! somebody outside has answered.

use std::net::Ipv4Addr;

use postern_path::{Door, DropReason};
use tokio::sync::mpsc::{Receiver, channel};

use super::frames::{ACK, Content, RST, SYN, check_sums, echo, read, tcp, udp};
use super::script::{Bench, Out, ROUTE_SLOTS, SECOND, WORLD, address};
use crate::forward::log::{FlowOutcome, Logged};
use crate::forward::packet::protocol;
use crate::forward::step::{Effects, Fate, opened};
use crate::forward::uplink::{NotOpened, UplinkKey, Wanted};

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
fn waiting(room: usize) -> (Bench, Receiver<Wanted>) {
    let mut bench = Bench::new();
    let (opener, wanted) = channel(room);
    bench.tables.opener = Some(opener);
    (bench, wanted)
}

fn begin(bench: &mut Bench, port: u16) -> Effects {
    bench.send(A, tcp(a(port), (WORLD[0], 443), SYN)).0
}

/// What became of a connection when this came of it outside: the first packet, and what was sent besides.
fn answered(
    bench: &mut Bench,
    wanted: &Wanted,
    outcome: Result<(), NotOpened>,
) -> (Fate, Vec<u8>, Vec<Vec<u8>>) {
    let script = bench.script.clone();
    let (_, held, effects) = opened(&mut bench.tables, &script, wanted.id, outcome, bench.now).unwrap();
    let emitted = effects.emitted.into_iter().map(|(_, frame)| frame).collect();
    (effects.fate, held.frame, emitted)
}

#[test]
fn a_connection_waits_for_the_other_side() {
    let (mut bench, mut wanted) = waiting(8);
    assert_eq!(begin(&mut bench, 40000).fate, Fate::Held);
    let first = wanted.try_recv().unwrap();
    let key = first.key;
    assert_eq!(target(&bench, &key), Some((WORLD[0], 443)));
    // Sent again, it waits on, and nobody is asked again.
    assert_eq!(begin(&mut bench, 40000).fate, Fate::Held);
    assert!(wanted.try_recv().is_err());
    let (fate, frame, emitted) = answered(&mut bench, &first, Ok(()));
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
    for (outcome, answers) in [(NotOpened::Refused, 1), (NotOpened::Unreachable, 1), (NotOpened::Silent, 0)] {
        assert_eq!(begin(&mut bench, 40000).fate, Fate::Held);
        let wanted = wanted.try_recv().unwrap();
        bench.tables.take_log();
        let (fate, _, emitted) = answered(&mut bench, &wanted, Err(outcome));
        let logged: Vec<Logged> = bench.tables.take_log().0.collect();
        assert_eq!(logged.len(), 1, "{logged:?}");
        assert_eq!(logged[0].outcome, FlowOutcome::NotOpened(outcome));
        assert_eq!((fate, emitted.len()), (Fate::Held, answers), "{outcome:?}");
        for frame in emitted {
            check_sums(&frame);
            match outcome {
                NotOpened::Refused => {
                    assert_eq!(read(&frame).0, WORLD[0]);
                    assert_eq!(flags(&frame) & RST, RST);
                }
                NotOpened::Unreachable | NotOpened::Silent => {
                    assert_eq!(frame[14 + 20..14 + 22], [3, 0], "network unreachable");
                }
            }
        }
        assert!(target(&bench, &wanted.key).is_none(), "the flow is over");
        let script = bench.script.clone();
        assert!(opened(&mut bench.tables, &script, wanted.id, Ok(()), bench.now).is_none(), "and stays so");
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
    assert!(bench.tables.uplink.is_empty() && target(&bench, &first.key).is_none());
    bench.check();
}

#[test]
fn a_change_while_it_waits_counts() {
    let (mut bench, mut wanted) = waiting(8);
    begin(&mut bench, 40000);
    let wanted = wanted.try_recv().unwrap();
    bench.publish(|script| {
        script.unrouted.insert(0);
        vec![script.bump(ROUTE_SLOTS)]
    });
    let (fate, _, _) = answered(&mut bench, &wanted, Ok(()));
    assert!(matches!(fate, Fate::Drop { reason: DropReason::Cut, .. }), "{fate:?}");
    assert!(bench.tables.uplink.is_empty());
    bench.check();
}

#[test]
fn what_came_of_one_connection_is_not_told_of_another_that_looks_the_same() {
    let (mut bench, mut wanted) = waiting(8);
    begin(&mut bench, 40000);
    let before = wanted.try_recv().unwrap();
    bench.now += 500 * SECOND;
    bench.tables.sweep(bench.now, 1_000);
    assert!(before.flow.has_ended());
    begin(&mut bench, 40000);
    let after = wanted.try_recv().unwrap();
    assert_eq!(after.key, before.key);
    let script = bench.script.clone();
    for late in [Ok(()), Err(NotOpened::Refused)] {
        assert!(opened(&mut bench.tables, &script, before.id, late, bench.now).is_none());
    }
    assert!(!after.flow.has_ended(), "it waits on for its own answer");
    assert!(matches!(answered(&mut bench, &after, Ok(())).0, Fate::Deliver(_)));
    bench.check();
}

#[test]
fn of_a_first_packet_sent_again_the_last_goes_on() {
    let (mut bench, mut wanted) = waiting(8);
    begin(&mut bench, 40000);
    let wanted = wanted.try_recv().unwrap();
    // Another program has got the port, and begins with a number of its own.
    let mut again = tcp(a(40000), (WORLD[0], 443), SYN);
    let Content::Tcp { sequence, .. } = &mut again.content else { panic!("{again:?}") };
    *sequence = 0x0bad_cafe;
    assert_eq!(bench.send(A, again).0.fate, Fate::Held);
    let (_, frame, _) = answered(&mut bench, &wanted, Ok(()));
    assert_eq!(frame[14 + 20 + 4..14 + 20 + 8], 0x0bad_cafe_u32.to_be_bytes());
    bench.check();
}
