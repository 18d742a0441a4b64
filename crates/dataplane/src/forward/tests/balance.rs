//! Flows by a load balancer: which target, what it sees, how answers come back, and how they end.

use std::collections::BTreeSet;

use postern_path::DropReason;

use super::frames::{ACK, FIN, Packet, RST, SYN, tcp, udp};
use super::script::*;

fn to_balancer(port: u16, flags: u8) -> Packet {
    tcp((address(0), port), (BALANCER, 80), flags)
}

/// Ports and addresses of a frame as it came out: source, destination.
fn ends(frame: &[u8]) -> ((std::net::Ipv4Addr, u16), (std::net::Ipv4Addr, u16)) {
    let address = |at: usize| std::net::Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    ((address(26), port(34)), (address(30), port(36)))
}

/// Begins a connection; gives the target, and what it sees of the client.
fn begin(bench: &mut Bench, port: u16) -> (u64, (std::net::Ipv4Addr, u16)) {
    let (out, frame) = bench.pass(Out::Interface(0), to_balancer(port, SYN));
    let Out::Interface(target) = out else { panic!("{out:?}") };
    let (from, to) = ends(&frame);
    assert_eq!(to, (address(target), 8_080));
    (target, from)
}

#[test]
fn each_connection_has_a_target_and_a_port_of_its_own_and_answers_come_from_the_load_balancer() {
    let mut bench = Bench::new();
    let (mut targets, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for port in 40_000..40_300 {
        let (target, from) = begin(&mut bench, port);
        assert_eq!(from.0, BALANCER);
        assert!((1_024..60_992).contains(&from.1), "the last ports are the load balancer's own");
        assert!(seen.insert((target, from)), "two connections are one to their target");
        targets.insert(target);
        let (back, frame) =
            bench.pass(Out::Interface(target), tcp((address(target), 8_080), from, SYN | ACK));
        assert_eq!((back, ends(&frame)), (Out::Interface(0), ((BALANCER, 80), (address(0), port))));
        assert_eq!(bench.pass(Out::Interface(0), to_balancer(port, ACK)).0, Out::Interface(target));
    }
    assert_eq!(targets, BTreeSet::from(TARGETS));
    // One template that chooses, and one for each target.
    let counters = bench.tables.counters();
    let own = counters.interface(eni(0)).unwrap();
    assert_eq!((own.counters.upcalls, own.templates), (3, 4));
    assert_eq!(counters.gateway(BALANCER_ID.into()).unwrap().active, 300);
    bench.check();
}

#[test]
fn with_the_clients_address_the_target_sees_the_client() {
    let mut bench = Bench::with(Script { preserves: true, ..Script::default() }, Default::default());
    let (target, from) = begin(&mut bench, 40_000);
    assert_eq!(from, (address(0), 40_000));
    let answer = tcp((address(target), 8_080), from, SYN | ACK);
    let (back, frame) = bench.pass(Out::Interface(target), answer);
    assert_eq!((back, ends(&frame)), (Out::Interface(0), ((BALANCER, 80), (address(0), 40_000))));
    assert_eq!(bench.tables.counters().gateway(BALANCER_ID.into()).unwrap().active, 1);
    bench.check();
}

#[test]
fn datagrams_are_handed_on_too() {
    let mut bench = Bench::new();
    let (out, frame) = bench.pass(Out::Interface(0), udp((address(0), 5_000), (BALANCER, 80), b"question"));
    let Out::Interface(target) = out else { panic!("{out:?}") };
    let (from, to) = ends(&frame);
    assert_eq!((from.0, to), (BALANCER, (address(target), 8_080)));
    let (back, frame) = bench.pass(out, udp(to, from, b"answer"));
    assert_eq!((back, ends(&frame)), (Out::Interface(0), ((BALANCER, 80), (address(0), 5_000))));
}

#[test]
fn a_target_that_fails_is_avoided_and_its_connections_are_reset_at_both_ends() {
    let mut bench = Bench::new();
    let begun: Vec<_> = (40_000..40_060).map(|port| (port, begin(&mut bench, port))).collect();
    let failed = begun[0].1.0;
    bench.publish(|script| {
        script.healthy.retain(|target| *target != failed);
        // The group's slot is what templates rest on.
        vec![script.bump(target_slot(failed)), script.bump(GROUP_SLOTS)]
    });
    for port in 41_000..41_060 {
        assert_ne!(begin(&mut bench, port).0, failed);
    }
    for (port, (target, from)) in begun {
        let (effects, _) = bench.send(Out::Interface(0), to_balancer(port, ACK));
        if target != failed {
            assert!(effects.emitted.is_empty(), "others go on");
            continue;
        }
        let resets: Vec<_> =
            effects.emitted.iter().map(|(at, frame)| (bench.out(*at), ends(frame), frame[47])).collect();
        let to_target = (Out::Interface(target), (from, (address(target), 8_080)), RST);
        let to_client = (Out::Interface(0), ((BALANCER, 80), (address(0), port)), RST);
        assert_eq!(resets, [to_target, to_client]);
        let again = bench.dropped(Out::Interface(0), to_balancer(port, ACK));
        assert_eq!((again.0, again.1.len()), (DropReason::NoFlow, 1), "and it stays over");
    }
    bench.check();
}

#[test]
fn a_target_that_comes_takes_nobodys_connections() {
    let few = Script { healthy: vec![1, 2], ..Script::default() };
    let mut bench = Bench::with(few, Default::default());
    let begun: Vec<_> = (40_000..40_060).map(|port| (port, begin(&mut bench, port).0)).collect();
    bench.publish(|script| {
        script.healthy = TARGETS.to_vec();
        vec![script.bump(GROUP_SLOTS), script.bump(ROUTE_SLOTS)]
    });
    // What they rest on has changed, too: each is decided again, and stays where it is.
    for (port, target) in &begun {
        assert_eq!(bench.pass(Out::Interface(0), to_balancer(*port, ACK)).0, Out::Interface(*target));
    }
    let moved = (50_000..50_060).filter(|port| begin(&mut bench, *port).0 == 3).count();
    assert!(moved > 5, "the new one gets {moved} of 60 new connections");
    bench.check();
}

#[test]
fn nobody_to_hand_it_to_is_no_flow() {
    let mut bench = Bench::with(Script { healthy: Vec::new(), ..Script::default() }, Default::default());
    assert_eq!(bench.dropped(Out::Interface(0), to_balancer(40_000, SYN)).0, DropReason::NoSuchAddress);
    assert_eq!(bench.tables.counters().flows, 0);
}

#[test]
fn an_idle_connection_is_forgotten_and_its_client_told() {
    let mut bench = Bench::new();
    let (target, from) = begin(&mut bench, 40_000);
    bench.pass(Out::Interface(target), tcp((address(target), 8_080), from, SYN | ACK));
    bench.pass(Out::Interface(0), to_balancer(40_000, ACK));
    bench.now += 351 * SECOND;
    let (reason, replies) = bench.dropped(Out::Interface(0), to_balancer(40_000, ACK | FIN));
    assert_eq!((reason, replies.len()), (DropReason::NoFlow, 1));
    assert_eq!(replies[0][47] & RST, RST);
}
