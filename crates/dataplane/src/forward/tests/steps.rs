//! One behaviour at a time.

use std::net::Ipv4Addr;

use postern_path::{DropReason, PeerLookup, Through};

use super::frames::{self, ACK, Content, FIN, MORE, Packet, RST, SYN, check_sums, echo, read, tcp, udp};
use super::script::{
    Bench, DOORS_MAC, NAT_HOP, OUTSIDE, Out, ROUTE_SLOTS, SECOND, SERVICE, VISIBLE, address, endpoint, eni,
    mac, vpc,
};
use crate::forward::limit::{Limits, Rate};
use crate::forward::log::FlowOutcome;
use crate::forward::packet::{ROUTER_MAC, arp, ethernet};
use crate::forward::port::Owner;
use crate::forward::step::Fate;
use crate::forward::tests::script::Script;
use crate::host::VirtioNetHdr;

const A: Out = Out::Interface(0);
const B: Out = Out::Interface(1);
const NAT_TARGET: Out = Out::Interface(8);

fn a(port: u16) -> (Ipv4Addr, u16) {
    (address(0), port)
}

fn b(port: u16) -> (Ipv4Addr, u16) {
    (address(1), port)
}

/// Opens a connection through the whole handshake. Returns the ends as the server sees them.
fn connect(
    bench: &mut Bench,
    client: (Ipv4Addr, u16),
    server: (Ipv4Addr, u16),
) -> ((Ipv4Addr, u16), (Ipv4Addr, u16)) {
    let (out, frame) = bench.pass(A, tcp(client, server, SYN));
    let (source, destination, ports, _) = read(&frame);
    let seen = ((source, ports.0), (destination, ports.1));
    let (back, frame) = bench.pass(out, tcp(seen.1, seen.0, SYN | ACK));
    assert_eq!(back, A);
    let (source, destination, ports, _) = read(&frame);
    assert_eq!(((source, ports.0), (destination, ports.1)), (server, client));
    bench.pass(A, tcp(client, server, ACK));
    seen
}

#[test]
fn neighbours_talk_through_the_router() {
    let mut bench = Bench::new();
    let (out, frame) = bench.pass(A, udp(a(5000), b(53), b"question"));
    assert_eq!(out, B);
    let header = ethernet::Ethernet::parse(&frame).unwrap();
    assert_eq!((header.destination, header.source), (mac(1), ROUTER_MAC));
    assert_eq!(read(&frame), (address(0), address(1), (5000, 53), 64), "no hop inside a VPC");
    assert_eq!(bench.pass(B, udp(b(53), a(5000), b"answer")).0, A);
    bench.check();
}

#[test]
fn equal_addresses_of_two_vpcs_do_not_meet() {
    let mut bench = Bench::new();
    for (from, to) in [(0, 1), (4, 5)] {
        let sent = udp((address(from), 7), (address(to), 8), b"x");
        assert_eq!(bench.pass(Out::Interface(from), sent).0, Out::Interface(to));
    }
    assert_eq!(bench.tables.flows.len(), 2);
}

#[test]
fn nobody_uses_what_is_not_theirs() {
    let mut bench = Bench::new();
    let spoofed = tcp(b(1), a(2), SYN);
    assert_eq!(bench.dropped(A, spoofed).0, DropReason::SpoofedSource);
    let mut bytes = tcp(a(1), b(2), SYN).sent_by(mac(1)).build();
    let effects = bench.send_bytes(A, &mut bytes, VirtioNetHdr::default());
    assert!(matches!(effects.fate, Fate::Drop { reason: DropReason::SpoofedMac, .. }));
    assert_eq!(bench.dropped(Out::Doors, tcp(a(1), b(2), SYN)).0, DropReason::SpoofedSource);
    let mut router = Bench::with(Script { source_dest_check: false, ..Script::default() }, Limits::default());
    assert_eq!(router.pass(A, udp((Ipv4Addr::new(10, 0, 0, 77), 1), b(2), b"routed")).0, B);
    assert_eq!(
        router.dropped(A, udp((Ipv4Addr::LOCALHOST, 1), b(2), b"martian")).0,
        DropReason::SpoofedSource
    );
    bench.check();
    router.check();
}

#[test]
fn what_is_not_carried_is_counted() {
    let mut bench = Bench::new();
    let multicast = udp(a(1), (Ipv4Addr::new(224, 0, 0, 251), 5353), b"mdns");
    assert_eq!(bench.dropped(A, multicast).0, DropReason::Multicast);
    for kind in [[0x86, 0xdd], [0x81, 0x00]] {
        let mut bytes = tcp(a(1), b(2), SYN).sent_by(mac(0)).build();
        bytes[12..14].copy_from_slice(&kind);
        let effects = bench.send_bytes(A, &mut bytes, VirtioNetHdr::default());
        assert!(matches!(effects.fate, Fate::Drop { reason: DropReason::Unsupported, .. }));
    }
    bench.check();
}

#[test]
fn only_a_syn_begins_a_connection() {
    let mut bench = Bench::new();
    for flags in [ACK, SYN | ACK, FIN | ACK, RST, SYN | FIN] {
        let (reason, replies) = bench.dropped(A, tcp(a(1000), b(80), flags));
        assert_eq!((reason, replies.len()), (DropReason::NoFlow, 0), "silent between interfaces");
    }
    for target in [(OUTSIDE, 80), (SERVICE[0], 443)] {
        let (reason, replies) = bench.dropped(A, tcp(a(1000), target, ACK));
        assert_eq!(reason, DropReason::NoFlow);
        let [reset] = &replies[..] else { panic!("gateways and endpoints tell") };
        check_sums(reset);
        assert_eq!(read(reset), (target.0, address(0), (target.1, 1000), 64));
        assert_eq!((reset[47], &reset[38..42]), (RST, &2000_u32.to_be_bytes()[..]));
    }
    assert!(bench.dropped(A, tcp(a(1000), (OUTSIDE, 80), RST)).1.is_empty(), "no reset about a reset");
    assert_eq!(bench.tables.flows.len(), 0);
    assert_eq!(bench.tables.nat.spaces(), 0);
    bench.check();
}

#[test]
fn a_nat_gateway_translates_both_ways() {
    let mut bench = Bench::new();
    let (seen, _) = connect(&mut bench, a(40000), (OUTSIDE, 443));
    assert_eq!(seen.0, VISIBLE);
    assert!(seen.1 >= 1024);
    let other = Out::Interface(4);
    let (out, frame) = bench.pass(other, tcp((address(4), 40000), (OUTSIDE, 443), SYN));
    assert_eq!(out, NAT_TARGET);
    assert_ne!(read(&frame).2.0, seen.1, "the same address and port in another VPC is another connection");
    let (out, frame) = bench.pass(A, echo(address(0), OUTSIDE, 8, 77));
    assert_eq!(out, NAT_TARGET);
    let (_, _, (identifier, _), ttl) = read(&frame);
    assert_eq!(ttl, 63);
    let (out, frame) = bench.pass(NAT_TARGET, echo(OUTSIDE, VISIBLE, 0, identifier));
    assert_eq!((out, read(&frame).1, read(&frame).2.0), (A, address(0), 77));
    let gre = Packet::new(address(0), OUTSIDE, Content::Raw { protocol: 47, payload: vec![0; 8] });
    assert_eq!(bench.dropped(A, gre).0, DropReason::NatProtocol);
    bench.check();
    let counters = bench.tables.counters();
    let gateway = counters.gateway(super::script::GATEWAY_ID.into()).unwrap();
    assert_eq!((gateway.active, gateway.attempts, gateway.inward.packets), (3, 3, 2));
}

#[test]
fn a_door_sees_who_it_is() {
    let mut bench = Bench::new();
    let directory = bench.tables.peers.directory();
    for number in [0, 4] {
        let sent = tcp((address(number), 40000), (SERVICE[0], 443), SYN);
        let (out, frame) = bench.pass(Out::Interface(number), sent);
        assert_eq!(out, Out::Doors);
        assert_eq!(ethernet::Ethernet::parse(&frame).unwrap().destination, DOORS_MAC);
        let (source, destination, ports, _) = read(&frame);
        assert_eq!((destination, ports), (Ipv4Addr::new(240, 0, 0, 1), (40000, 443)));
        let peer = directory.peer(source.into()).unwrap();
        assert_eq!((peer.interface, peer.address), (eni(number), address(number)));
        assert_eq!(peer.through, Through::Endpoint(endpoint(number), vpc(number)));
        let (out, frame) = bench.pass(Out::Doors, tcp((destination, 443), (source, 40000), SYN | ACK));
        assert_eq!(out, Out::Interface(number));
        assert_eq!(read(&frame), (SERVICE[0], address(number), (443, 40000), 64));
    }
    bench.check();
}

#[test]
fn one_port_to_two_service_addresses_is_two_connections() {
    let mut bench = Bench::new();
    let directory = bench.tables.peers.directory();
    let seen: Vec<_> =
        SERVICE.iter().map(|service| read(&bench.pass(A, tcp(a(40000), (*service, 443), SYN)).1).0).collect();
    assert_ne!(seen[0], seen[1]);
    assert_eq!(directory.peer(seen[0].into()), directory.peer(seen[1].into()));
    for (address, service) in seen.iter().zip(SERVICE) {
        let answer = tcp((Ipv4Addr::new(240, 0, 0, 1), 443), (*address, 40000), SYN | ACK);
        assert_eq!(read(&bench.pass(Out::Doors, answer).1).0, service);
    }
    let third = read(&bench.pass(A, tcp(a(40001), (SERVICE[1], 443), SYN)).1).0;
    assert!(seen.contains(&third), "a peer has few addresses");
    bench.check();
}

#[test]
fn a_peers_address_is_quarantined() {
    let mut bench = Bench::new();
    let directory = bench.tables.peers.directory();
    let seen = read(&bench.pass(A, tcp(a(40000), (SERVICE[0], 443), SYN)).1).0;
    let answer = || tcp((Ipv4Addr::new(240, 0, 0, 1), 443), (seen, 40000), RST | ACK);
    bench.pass(Out::Doors, answer());
    assert_eq!(bench.tables.flows.len(), 0, "a reset ends a flow at once");
    bench.now += 59 * SECOND;
    bench.tables.sweep(bench.now, 100);
    assert!(directory.peer(seen.into()).is_some());
    let again = read(&bench.pass(A, tcp(a(40000), (SERVICE[0], 443), SYN)).1).0;
    assert_eq!(again, seen, "the same peer finds its address again");
    bench.pass(Out::Doors, answer());
    bench.now += 61 * SECOND;
    bench.tables.sweep(bench.now, 100);
    assert!(directory.peer(seen.into()).is_none());
    let later = read(&bench.pass(A, tcp(a(40000), (SERVICE[0], 443), SYN)).1).0;
    assert_ne!(later, seen);
}

#[test]
fn traceroute_shows_the_gateway_and_no_endpoint() {
    let mut bench = Bench::new();
    let (reason, replies) = bench.dropped(A, udp(a(33434), (OUTSIDE, 33434), b"probe").ttl(1));
    assert_eq!(reason, DropReason::TtlExpired);
    let [notice] = &replies[..] else { panic!("the gateway says so") };
    check_sums(notice);
    assert_eq!((read(notice).0, read(notice).1, notice[34]), (NAT_HOP, address(0), 11));
    assert_eq!(&notice[42 + 12..42 + 16], &address(0).octets(), "about the packet as it was sent");
    assert_eq!((bench.tables.flows.len(), bench.tables.nat.spaces()), (0, 0), "before any flow or port");
    assert_eq!(bench.pass(A, udp(a(33434), (OUTSIDE, 33435), b"probe").ttl(2)).0, NAT_TARGET);
    assert_eq!(read(&bench.pass(A, tcp(a(1000), (SERVICE[0], 443), SYN).ttl(1)).1).3, 1);
    bench.check();
}

#[test]
fn errors_find_their_way_back() {
    let mut bench = Bench::new();
    for (from, target) in [(NAT_TARGET, (OUTSIDE, 9)), (Out::Doors, (SERVICE[0], 9)), (B, b(9))] {
        let (out, seen) = bench.pass(A, udp(a(3000), target, b"anybody?"));
        assert_eq!(out, from);
        let (source, destination, _, _) = read(&seen);
        let error = frames::error_about(destination, source, 3, 3, &seen, 28);
        let before = bench.tables.live_flows(bench.now, 10);
        bench.now += 10;
        let (out, frame) = bench.pass(from, error);
        assert_eq!((out, read(&frame).0, read(&frame).1), (A, target.0, address(0)));
        let quoted = &frame[42..];
        assert_eq!((&quoted[12..16], &quoted[16..20]), (&address(0).octets()[..], &target.0.octets()[..]));
        assert_eq!(&quoted[20..24], &[[0x0b, 0xb8], target.1.to_be_bytes()].concat());
        let idle = |flows: &[crate::forward::LiveFlow]| flows.iter().map(|flow| flow.idle).sum::<u64>();
        assert!(idle(&bench.tables.live_flows(bench.now, 10)) > idle(&before), "refreshes nothing");
    }
    let foreign = udp((OUTSIDE, 1), (VISIBLE, 2), b"never sent").build();
    let error = frames::error_about(OUTSIDE, VISIBLE, 3, 3, &foreign, 28);
    assert_eq!(bench.dropped(NAT_TARGET, error).0, DropReason::UnrelatedIcmp);
    bench.check();
}

#[test]
fn size_is_told_where_aws_tells_it() {
    let big = || udp(a(1), b(2), &[0; 2000]);
    let mut bench = Bench::with(Script { mtu: 1500, ..Script::default() }, Limits::default());
    let (reason, replies) = bench.dropped(A, big());
    assert_eq!((reason, replies.len()), (DropReason::TooBig, 1));
    check_sums(&replies[0]);
    assert_eq!((replies[0][34], replies[0][35]), (3, 4));
    assert_eq!(&replies[0][40..42], &1500_u16.to_be_bytes());
    assert_eq!(bench.tables.flows.len(), 0);
    let (effects, _) = bench.send(A, big().fragment(0, 5));
    assert!(matches!(effects.fate, Fate::DeliverPieces(_)));
    assert_eq!(effects.emitted.len(), 2, "what may be cut is cut");
    effects.emitted.iter().for_each(|(_, piece)| check_sums(piece));
    bench.check();
    let mut silent =
        Bench::with(Script { mtu: 1500, mtu_reported: false, ..Script::default() }, Limits::default());
    for fragment in [frames::DONT_FRAGMENT, 0] {
        let (reason, replies) = silent.dropped(A, big().fragment(fragment, 5));
        assert_eq!((reason, replies.len()), (DropReason::TooBig, 0));
    }
}

#[test]
fn large_frames_are_measured_by_their_segments() {
    let mut bench = Bench::with(Script { mtu: 1500, ..Script::default() }, Limits::default());
    connect(&mut bench, a(1000), b(80));
    let mut send = |gso_size: u16| {
        let mut packet = tcp(a(1000), b(80), ACK).sent_by(mac(0));
        if let Content::Tcp { payload, .. } = &mut packet.content {
            *payload = vec![7; 60_000];
        }
        let header = VirtioNetHdr {
            flags: VirtioNetHdr::NEEDS_CSUM,
            gso_type: VirtioNetHdr::GSO_TCPV4,
            hdr_len: 54,
            gso_size,
            csum_start: 34,
            csum_offset: 16,
        };
        bench.send_bytes(A, &mut packet.build_partial(), header).fate
    };
    assert!(matches!(send(1460), Fate::Deliver(_)));
    assert!(matches!(send(1461), Fate::Drop { reason: DropReason::TooBig, .. }));
    assert!(matches!(send(0), Fate::Drop { reason: DropReason::Unsupported, .. }));
}

#[test]
fn segment_sizes_fit_the_way() {
    let mut bench = Bench::with(Script { mtu: 8500, ..Script::default() }, Limits::default());
    let with_size = |from, to, flags| {
        let mut packet = tcp(from, to, flags);
        if let Content::Tcp { options, .. } = &mut packet.content {
            *options = vec![2, 4, 0x23, 0x01];
        }
        packet
    };
    let (_, frame) = bench.pass(A, with_size(a(1000), b(80), SYN));
    assert_eq!(u16::from_be_bytes([frame[56], frame[57]]), 8460);
    let (_, frame) = bench.pass(B, with_size(b(80), a(1000), SYN | ACK));
    assert_eq!(u16::from_be_bytes([frame[56], frame[57]]), 8460);
}

#[test]
fn fragments_follow_their_first() {
    let mut bench = Bench::new();
    let later = |offset: u16| {
        Packet::new(address(0), OUTSIDE, Content::Raw { protocol: 17, payload: vec![3; 16] })
            .fragment(offset, 55)
    };
    assert_eq!(bench.dropped(A, later(3)).0, DropReason::Fragment);
    let mut first = udp(a(5000), (OUTSIDE, 53), &[1; 16]).fragment(MORE, 55).sent_by(mac(0)).build();
    // The length in the UDP header is the whole packet's.
    first[38..40].copy_from_slice(&40_u16.to_be_bytes());
    let effects = bench.send_bytes(A, &mut first, VirtioNetHdr::default());
    assert!(matches!(effects.fate, Fate::Deliver(_)));
    let (out, frame) = bench.pass(A, later(3));
    assert_eq!((out, read(&frame).0), (NAT_TARGET, VISIBLE));
    assert_eq!(&frame[34..], &[3; 16], "no ports are written over data");
    bench.now += 16 * SECOND;
    assert_eq!(bench.dropped(A, later(3)).0, DropReason::Fragment);
    let overlapping = Packet::new(address(0), OUTSIDE, Content::Raw { protocol: 6, payload: vec![0; 16] });
    assert_eq!(bench.dropped(A, overlapping.fragment(1, 56)).0, DropReason::Malformed);
    bench.check();
}

#[test]
fn silence_ends_flows() {
    let mut bench = Bench::new();
    connect(&mut bench, a(1000), (OUTSIDE, 80));
    bench.now += 350 * SECOND;
    bench.pass(A, tcp(a(1000), (OUTSIDE, 80), ACK));
    bench.now += 350 * SECOND + 1;
    let (reason, replies) = bench.dropped(A, tcp(a(1000), (OUTSIDE, 80), ACK));
    assert_eq!((reason, replies.len()), (DropReason::NoFlow, 1), "a reset tells that it is over");
    assert_eq!(bench.tables.nat.spaces(), 0);
    bench.pass(A, udp(a(1), b(2), b"one way"));
    bench.now += 31 * SECOND;
    bench.tables.sweep(bench.now, 100);
    assert_eq!(bench.tables.flows.len(), 0);
    bench.check();
}

#[test]
fn a_closed_connection_lingers_and_its_tuple_begins_anew() {
    let mut bench = Bench::new();
    connect(&mut bench, a(1000), b(80));
    bench.pass(A, tcp(a(1000), b(80), FIN | ACK));
    bench.pass(B, tcp(b(80), a(1000), FIN | ACK));
    bench.pass(A, tcp(a(1000), b(80), ACK));
    connect(&mut bench, a(1000), b(80));
    bench.now += 3600 * SECOND;
    bench.pass(A, tcp(a(1000), b(80), ACK));
    bench.pass(A, tcp(a(1000), b(80), FIN | ACK));
    bench.pass(B, tcp(b(80), a(1000), FIN | ACK));
    bench.publish(|script| {
        script.refused.insert((0, address(1)));
        vec![script.bump(0)]
    });
    bench.pass(B, tcp(b(80), a(1000), FIN | ACK));
    assert_eq!(
        bench.dropped(A, tcp(a(1000), b(80), SYN)).0,
        DropReason::EgressSecurityGroup,
        "what is over lets nothing new pass"
    );
    bench.check();
}

#[test]
fn a_new_connection_on_an_old_flow_is_decided() {
    let mut bench = Bench::new();
    connect(&mut bench, a(1000), b(80));
    bench.pass(A, tcp(a(1000), b(80), SYN));
    assert_eq!(bench.tables.flows.len(), 1, "a repeated SYN is nothing new while nothing changed");
    bench.publish(|script| {
        script.refused.insert((0, address(1)));
        vec![script.bump(0)]
    });
    bench.pass(A, tcp(a(1000), b(80), ACK));
    assert_eq!(bench.dropped(A, tcp(a(1000), b(80), SYN)).0, DropReason::EgressSecurityGroup);
    connect(&mut bench, a(1001), (SERVICE[0], 443));
    let mut other = Bench::new();
    other.publish(|script| {
        script.refused.insert((1, address(0)));
        vec![script.bump(1)]
    });
    connect(&mut other, a(1000), b(80));
    assert_eq!(
        other.dropped(B, tcp(b(80), a(1000), SYN)).0,
        DropReason::EgressSecurityGroup,
        "an answer's way is no way to begin"
    );
}

#[test]
fn groups_keep_tracked_flows_and_routes_cut_them() {
    let mut bench = Bench::new();
    connect(&mut bench, a(1000), b(80));
    connect(&mut bench, a(1001), (SERVICE[0], 443));
    bench.publish(|script| {
        script.refused.extend([(0, address(1)), (0, SERVICE[0])]);
        vec![script.bump(0)]
    });
    bench.pass(A, tcp(a(1000), b(80), ACK));
    assert_eq!(bench.dropped(A, tcp(a(1002), b(80), SYN)).0, DropReason::EgressSecurityGroup);
    bench.publish(|script| vec![script.bump(ROUTE_SLOTS)]);
    bench.pass(A, tcp(a(1000), b(80), ACK));
    let upcalls = bench.tables.counters().ports[0].counters.upcalls;
    bench.pass(B, tcp(b(80), a(1000), ACK));
    assert_eq!(
        bench.tables.counters().ports[0].counters.upcalls,
        upcalls,
        "decided once more, not for each packet"
    );
    bench.publish(|script| {
        script.unrouted.insert(0);
        vec![script.bump(ROUTE_SLOTS)]
    });
    assert_eq!(bench.dropped(B, tcp(b(80), a(1000), ACK)), (DropReason::Cut, Vec::new()));
    let (reason, replies) = bench.dropped(A, tcp(a(1001), (SERVICE[0], 443), ACK));
    assert_eq!((reason, replies.len()), (DropReason::Cut, 1));
    assert_eq!(bench.tables.flows.len(), 0);
    bench.check();
}

#[test]
fn templates_decide_for_their_box_and_only_while_nothing_changed() {
    let mut bench = Bench::new();
    for port in 2000..2100 {
        bench.pass(A, udp(a(port), b(53), b"x"));
    }
    let upcalls = |bench: &Bench| bench.tables.counters().ports[0].counters.upcalls;
    assert!(upcalls(&bench) <= 2, "{}", upcalls(&bench));
    bench.publish(|script| {
        script.refused.insert((0, address(1)));
        vec![script.bump(0)]
    });
    assert_eq!(bench.dropped(A, udp(a(3000), b(53), b"x")).0, DropReason::EgressSecurityGroup);
    let asked = upcalls(&bench);
    for port in 3001..3040 {
        assert_eq!(bench.dropped(A, udp(a(port), b(53), b"x")).0, DropReason::EgressSecurityGroup);
    }
    assert!(upcalls(&bench) <= asked + 1, "refusals are templates too");
    bench.pass(A, udp(a(2050), b(53), b"known"));
    bench.check();
}

#[test]
fn a_port_that_is_unplugged_takes_its_flows_along() {
    let mut bench = Bench::new();
    connect(&mut bench, a(1000), b(80));
    assert!(bench.tables.remove_port(Owner::Interface(eni(1)), bench.now));
    assert_eq!(bench.dropped(A, tcp(a(1000), b(80), ACK)).0, DropReason::NoFlow);
    assert_eq!(bench.dropped(A, tcp(a(1001), b(80), SYN)).0, DropReason::TargetDown);
    let number = bench.tables.add_port(Owner::Interface(eni(1)), mac(1), bench.now).unwrap();
    assert_ne!(number, bench.ports[&1]);
    bench.ports.insert(1, number);
    connect(&mut bench, a(1002), b(80));
    bench.tables.sweep(bench.now, 1000);
    assert_eq!(bench.tables.flows.len(), 1);
    bench.check();
}

#[test]
fn the_router_answers_for_all_but_the_asker() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, from, sender: postern_model::Mac, sender_address, target| {
        let question = arp::Question { sender: ROUTER_MAC, sender_address: target, target: sender_address };
        let mut bytes = arp::answer(&question, sender);
        bytes[21] = 1;
        let effects = bench.send_bytes(from, &mut bytes, VirtioNetHdr::default());
        (effects.fate, effects.emitted.first().map(|(_, frame)| frame.clone()))
    };
    for last in [1, 2, 11, 200] {
        let target = Ipv4Addr::new(10, 0, 0, last);
        let (_, answer) = ask(&mut bench, A, mac(0), address(0), target);
        let answer = answer.unwrap();
        assert_eq!((&answer[22..28], &answer[28..32]), (&ROUTER_MAC.0[..], &target.octets()[..]));
        assert_eq!(answer[21], 2);
    }
    assert!(ask(&mut bench, A, mac(0), address(0), Ipv4Addr::new(169, 254, 169, 254)).1.is_some());
    assert!(ask(&mut bench, A, mac(0), Ipv4Addr::UNSPECIFIED, address(0)).1.is_none(), "no double");
    assert!(ask(&mut bench, A, mac(0), address(0), Ipv4Addr::new(10, 1, 0, 1)).1.is_none());
    let (fate, answer) = ask(&mut bench, A, mac(0), address(1), address(2));
    assert!(answer.is_none() && matches!(fate, Fate::Drop { reason: DropReason::SpoofedSource, .. }));
    let door = Ipv4Addr::new(240, 0, 0, 1);
    assert!(ask(&mut bench, Out::Doors, DOORS_MAC, door, Ipv4Addr::new(240, 3, 2, 1)).1.is_some());
    assert!(ask(&mut bench, Out::Doors, DOORS_MAC, door, Ipv4Addr::new(240, 0, 0, 2)).1.is_none());
    bench.check();
}

/// A DHCP client's message with these options after its type.
fn dhcp_message(kind: u8, client: Ipv4Addr, options: &[u8]) -> Packet {
    let mut message = vec![0; 236];
    message[..3].copy_from_slice(&[1, 1, 6]);
    message[4..8].copy_from_slice(b"xid!");
    message[12..16].copy_from_slice(&client.octets());
    message[28..34].copy_from_slice(&mac(0).0);
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, kind]);
    message.extend(options);
    message.push(255);
    let all = postern_model::Mac([0xff; 6]);
    Packet { to: all, ..udp((client, 68), (Ipv4Addr::BROADCAST, 67), &message) }
}

#[test]
fn dhcp_gives_the_interface_its_address() {
    let mut bench = Bench::new();
    let own = [50, 4, 10, 0, 0, 10];
    let mut ask = |kind, client, options: &[u8]| {
        let (effects, _) = bench.send(A, dhcp_message(kind, client, options));
        assert_eq!(effects.fate, Fate::Answered);
        effects.emitted.into_iter().next().map(|(_, frame)| frame)
    };
    let option = |frame: &[u8], wanted: u8| {
        let mut rest = &frame[42 + 240..];
        while rest[0] != 255 {
            let (head, tail) = rest[2..].split_at(usize::from(rest[1]));
            if rest[0] == wanted {
                return head.to_vec();
            }
            rest = tail;
        }
        Vec::new()
    };
    for (kind, options, reply) in [(1, &[][..], 2), (3, &own[..], 5), (3, &[50, 4, 10, 0, 0, 99][..], 6)] {
        let frame = ask(kind, Ipv4Addr::UNSPECIFIED, options).unwrap();
        check_sums(&frame);
        assert_eq!(option(&frame, 53), [reply]);
        assert_eq!(option(&frame, 54), [10, 0, 0, 1]);
        if reply != 6 {
            assert_eq!(&frame[58..62], &address(0).octets());
            assert_eq!((&frame[0..6], read(&frame).1), (&mac(0).0[..], address(0)));
            assert_eq!(option(&frame, 1), [255, 255, 255, 0]);
            assert_eq!((option(&frame, 3), option(&frame, 6)), (vec![10, 0, 0, 1], vec![10, 0, 0, 2]));
            assert_eq!(option(&frame, 26), 9001_u16.to_be_bytes());
            assert_eq!(
                (option(&frame, 12), option(&frame, 15)),
                (b"ip-10-0-0-10".to_vec(), b"ec2.internal".to_vec())
            );
        }
    }
    assert!(ask(3, Ipv4Addr::UNSPECIFIED, &[54, 4, 10, 0, 0, 77]).is_none(), "another server was chosen");
    assert!(ask(7, address(0), &[]).is_none(), "a release needs no answer");
    bench.check();
}

#[test]
fn a_nat_gateway_runs_out_of_ports_and_says_so() {
    let limits = Limits { upcalls: Rate { per_second: 1_000_000, burst: 1_000_000 }, ..Limits::default() };
    let mut bench = Bench::with(Script::default(), limits);
    let from = |number: u32| {
        let number_in = u64::from(number / 40_000) * 4;
        (Out::Interface(number_in), (address(number_in), 2000 + (number % 40_000) as u16))
    };
    for number in 0..64_512 {
        let (port, source) = from(number);
        bench.pass(port, udp(source, (OUTSIDE, 53), b"q"));
    }
    let (port, source) = from(64_512);
    assert_eq!(bench.dropped(port, udp(source, (OUTSIDE, 53), b"q")).0, DropReason::PortAllocation);
    bench.pass(port, udp(source, (OUTSIDE, 54), b"q"));
    let counters = bench.tables.counters();
    assert_eq!(counters.gateway(super::script::GATEWAY_ID.into()).unwrap().port_allocation_errors, 1);
    bench.check();
}

#[test]
fn under_pressure_the_oldest_closed_port_is_used_again() {
    let limits = Limits { upcalls: Rate { per_second: 1_000_000, burst: 1_000_000 }, ..Limits::default() };
    let mut bench = Bench::with(Script::default(), limits);
    let mut first = None;
    for number in 0..64_512_u32 {
        let from = u64::from(number / 40_000) * 4;
        let source = (address(from), 2000 + (number % 40_000) as u16);
        let (_, frame) = bench.pass(Out::Interface(from), tcp(source, (OUTSIDE, 80), SYN));
        first.get_or_insert(read(&frame).2.0);
    }
    let one_more = || tcp((address(4), 60_000), (OUTSIDE, 80), SYN);
    assert_eq!(bench.dropped(Out::Interface(4), one_more()).0, DropReason::PortAllocation);
    let port = first.unwrap();
    bench.pass(NAT_TARGET, tcp((OUTSIDE, 80), (VISIBLE, port), FIN | ACK));
    bench.pass(A, tcp((address(0), 2000), (OUTSIDE, 80), FIN | ACK));
    assert_eq!(bench.dropped(Out::Interface(4), one_more()).0, DropReason::PortAllocation, "not at once");
    bench.now += SECOND;
    let (_, frame) = bench.pass(Out::Interface(4), one_more());
    assert_eq!(read(&frame).2.0, port);
    bench.now += 9 * SECOND;
    bench.pass(Out::Interface(4), tcp((address(4), 60_001), (OUTSIDE, 80), SYN));
    bench.check();
}

#[test]
fn one_interface_cannot_take_all() {
    let limits = Limits { flows_per_port: 10, ..Limits::default() };
    let mut bench = Bench::with(Script::default(), limits);
    for port in 0..10 {
        bench.pass(A, udp(a(2000 + port), b(53), b"x"));
    }
    assert_eq!(bench.dropped(A, udp(a(3000), b(53), b"x")).0, DropReason::TableFull);
    bench.pass(B, udp(b(3000), a(53), b"x"));
    bench.now += 31 * SECOND;
    bench.pass(A, udp(a(3000), b(53), b"x"));
    bench.check();
    let limits = Limits {
        upcalls: Rate { per_second: 10, burst: 5 },
        replies: Rate { per_second: 10, burst: 2 },
        templates_per_port: 0,
        ..Limits::default()
    };
    let mut bench = Bench::with(Script::default(), limits);
    for port in 0..5 {
        bench.pass(A, udp(a(2000 + port), b(53), b"x"));
    }
    assert_eq!(bench.dropped(A, udp(a(3000), b(53), b"x")).0, DropReason::RateLimited);
    bench.pass(A, udp(a(2000), b(53), b"known flows go on"));
    bench.publish(|script| vec![script.bump(ROUTE_SLOTS)]);
    let again: Vec<bool> = (0..5)
        .map(|port| {
            let (effects, _) = bench.send(A, udp(a(2000 + port), b(53), b"x"));
            matches!(effects.fate, Fate::Drop { reason: DropReason::RateLimited, .. })
        })
        .collect();
    assert!(again.iter().all(|limited| *limited), "deciding again is deciding: {again:?}");
    bench.now += SECOND;
    bench.pass(A, udp(a(2000), b(53), b"a packet was lost, the flow was not"));
    let replies: usize = (0..5).map(|_| bench.dropped(A, udp(a(9), (OUTSIDE, 9), b"x").ttl(1)).1.len()).sum();
    assert_eq!(replies, 2);
    bench.check();
}

#[test]
fn one_interface_cannot_take_all_peers_addresses() {
    let limits = Limits { peers_per_port: 3, ..Limits::default() };
    let mut bench = Bench::with(Script { source_dest_check: false, ..Script::default() }, limits);
    let from = |last| (Ipv4Addr::new(10, 7, 0, last), 40_000);
    for last in 0..3 {
        bench.pass(A, tcp(from(last), (SERVICE[0], 443), SYN));
    }
    assert_eq!(bench.dropped(A, tcp(from(3), (SERVICE[0], 443), SYN)).0, DropReason::TableFull);
    bench.pass(A, tcp(from(1), (SERVICE[0], 444), SYN));
    assert_eq!(bench.pass(B, tcp(b(1), (SERVICE[0], 443), SYN)).0, Out::Doors);
    bench.now += 31 * SECOND;
    bench.tables.sweep(bench.now, 100);
    bench.now += 61 * SECOND;
    bench.pass(A, tcp(from(3), (SERVICE[0], 443), SYN));
    bench.check();
}

#[test]
fn the_log_has_a_line_for_each_flow() {
    let mut bench = Bench::new();
    bench.pass(A, tcp(a(1000), (OUTSIDE, 80), SYN));
    bench.pass(A, tcp(a(1000), (OUTSIDE, 80), SYN));
    bench.dropped(A, tcp(a(1000), (Ipv4Addr::new(10, 0, 0, 99), 80), SYN));
    let (records, lost) = bench.tables.take_log();
    let records: Vec<_> = records.collect();
    assert_eq!((records.len(), lost), (2, 0));
    assert_eq!(records[0].flow.entry, eni(0));
    let FlowOutcome::Accepted { source, destination, through, .. } = records[0].outcome else { panic!() };
    assert_eq!((source.0, destination), (VISIBLE.into(), (OUTSIDE.into(), 80)));
    assert_eq!(through, Some(super::script::GATEWAY_ID.into()));
    let FlowOutcome::Refused { reason, resource } = records[1].outcome else { panic!() };
    assert_eq!(reason, DropReason::NoSuchAddress);
    assert!(resource.is_some());
}

#[test]
fn flows_of_an_unplugged_sender_are_not_listed() {
    let mut bench = Bench::new();
    bench.pass(Out::Interface(0), tcp((address(0), 4000), (address(1), 80), SYN));
    assert_eq!(bench.tables.live_flows(bench.now, 10).len(), 1);
    let owner = crate::forward::port::Owner::Interface(super::script::eni(0));
    bench.tables.remove_port(owner, bench.now);
    bench.tables.add_port(owner, super::script::mac(0), bench.now).unwrap();
    assert_eq!(bench.tables.live_flows(bench.now, 10).len(), 0);
}
