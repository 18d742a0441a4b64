//! Random histories: packets, changes, time that passes, ports that come and go. After each event an oracle that
//! knows nothing of tables says whether what passed was allowed to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use postern_path::{Flow, PeerLookup, Transport};
use proptest::prelude::*;

use super::frames::{self, ACK, Content, FIN, Packet, RST, SYN, check_sums, echo, read, tcp, udp};
use super::script::{Bench, GROUP_SLOTS, OUTSIDE, Out, ROUTE_SLOTS, SERVICE, address, eni};
use crate::forward::limit::Limits;
use crate::forward::packet::Ipv4;
use crate::forward::step::Fate;
use crate::host::VirtioNetHdr;

#[derive(Debug, Clone)]
enum Event {
    /// An interface sends to a destination.
    Send {
        from: u64,
        to: u8,
        kind: u8,
        ports: (u16, u16),
        ttl: u8,
    },
    /// Whoever received a flow's packet last answers, or its sender goes on.
    Go {
        which: u16,
        back: bool,
        flags: u8,
    },
    /// A frame is sent again as it was, or damaged.
    Noise {
        which: u16,
        damage: Option<(u8, u8)>,
    },
    Refuse {
        from: u64,
        to: u8,
        refuse: bool,
    },
    Route {
        from: u64,
        routed: bool,
    },
    Wait {
        milliseconds: u32,
    },
    Replug {
        which: u64,
    },
}

fn any_event() -> impl Strategy<Value = Event> {
    let interface = || 0_u64..8;
    let flags = prop_oneof![
        4 => Just(ACK), 2 => Just(SYN | ACK), 2 => Just(FIN | ACK), 1 => Just(RST | ACK), 2 => Just(SYN)
    ];
    let ttl = prop_oneof![1 => 0_u8..3, 8 => Just(64_u8)];
    prop_oneof![
        8 => (interface(), 0_u8..8, 0_u8..5, (1020_u16..1026, 80_u16..82), ttl)
            .prop_map(|(from, to, kind, ports, ttl)| Event::Send { from, to, kind, ports, ttl }),
        8 => (any::<u16>(), any::<bool>(), flags).prop_map(|(which, back, flags)| Event::Go { which, back, flags }),
        2 => (any::<u16>(), any::<Option<(u8, u8)>>())
            .prop_map(|(which, damage)| Event::Noise { which, damage }),
        1 => (interface(), 0_u8..8, any::<bool>())
            .prop_map(|(from, to, refuse)| Event::Refuse { from, to, refuse }),
        1 => (interface(), any::<bool>()).prop_map(|(from, routed)| Event::Route { from, routed }),
        1 => prop_oneof![0_u32..2_000, 20_000_u32..400_000].prop_map(|milliseconds| Event::Wait { milliseconds }),
        1 => (0_u64..9).prop_map(|which| Event::Replug { which }),
    ]
}

fn destination(number: u8) -> Ipv4Addr {
    match number {
        0..=3 => address(u64::from(number)),
        4 => OUTSIDE,
        5 => SERVICE[0],
        6 => SERVICE[1],
        _ => Ipv4Addr::new(10, 0, 0, 2),
    }
}

/// A conversation as its two ends know it.
#[derive(Debug, Clone)]
struct Talk {
    from: u64,
    sent: Packet,
    out: Out,
    seen: Packet,
    flow: Flow,
}

#[derive(Default)]
struct World {
    talks: Vec<Talk>,
    frames: Vec<(u64, Vec<u8>)>,
    /// Flows that a packet passed by, and that have not ended since: tracked ones.
    begun: BTreeSet<String>,
}

/// A packet's flow, by the entry it came in by.
fn flow_of(from: u64, packet: &Packet) -> Flow {
    let transport = match &packet.content {
        Content::Tcp { ports, .. } => Transport::Tcp { source_port: ports.0, destination_port: ports.1 },
        Content::Udp { ports, .. } => Transport::Udp { source_port: ports.0, destination_port: ports.1 },
        Content::Icmp { kind, code, rest, .. } => {
            // Only queries and their answers have one (RFC 792).
            let has_identifier = matches!(kind, 0 | 8 | 13..=18);
            let identifier = if has_identifier { u16::from_be_bytes([rest[0], rest[1]]) } else { 0 };
            Transport::Icmp { kind: *kind, code: *code, identifier }
        }
        Content::Raw { protocol, .. } => Transport::Other { protocol: *protocol },
    };
    Flow { entry: eni(from), source: packet.source.into(), destination: packet.destination.into(), transport }
}

/// The packet of the other direction.
fn answer(packet: &Packet, flags: u8) -> Packet {
    let content = match &packet.content {
        Content::Tcp { ports, .. } => {
            return tcp((packet.destination, ports.1), (packet.source, ports.0), flags);
        }
        Content::Udp { ports, .. } => {
            return udp((packet.destination, ports.1), (packet.source, ports.0), b"answer");
        }
        Content::Icmp { rest, payload, .. } => {
            Content::Icmp { kind: 0, code: 0, rest: *rest, payload: payload.clone() }
        }
        Content::Raw { .. } => packet.content.clone(),
    };
    Packet::new(packet.destination, packet.source, content)
}

/// The same packet as it came out.
fn seen(packet: &Packet, frame: &[u8]) -> Packet {
    let (source, destination, ports, ttl) = read(frame);
    let mut seen = Packet { source, destination, ttl, ..packet.clone() };
    match &mut seen.content {
        Content::Tcp { ports: place, .. } | Content::Udp { ports: place, .. } => *place = ports,
        Content::Icmp { rest, .. } => [rest[0], rest[1]] = ports.0.to_be_bytes(),
        Content::Raw { .. } => {}
    }
    seen
}

fn key(flow: &Flow) -> String {
    format!("{flow}")
}

impl World {
    fn send(&mut self, bench: &mut Bench, from: u64, packet: Packet) {
        let flow = flow_of(from, &packet);
        let (effects, frame) = bench.send(Out::Interface(from), packet.clone());
        self.frames.push((from, packet.clone().sent_by(super::script::mac(from)).build()));
        effects.emitted.iter().for_each(|(_, frame)| check_sums(frame));
        let Fate::Deliver(port) = effects.fate else { return };
        check_sums(&frame);
        let out = bench.out(port);
        let talk = Talk { from, seen: seen(&packet, &frame), sent: packet, out, flow };
        self.check_allowed(bench, &talk);
        self.begun.insert(key(&flow));
        self.talks.push(talk);
    }

    /// What passed as the first packet of a flow is allowed now, or is of a tracked flow that nothing has cut, or is
    /// the answer to one.
    fn check_allowed(&self, bench: &Bench, talk: &Talk) {
        let allowed = bench.script.allows(&talk.flow);
        let answers = self.talks.iter().any(|other| {
            let back = other.flow.transport.reversed();
            let at_receiver = other.out == Out::Interface(talk.from);
            let to_sender =
                (other.seen.source, other.seen.destination) == (talk.sent.destination, talk.sent.source);
            at_receiver && to_sender && back.protocol() == talk.flow.transport.protocol()
        });
        if answers {
            return;
        }
        let tracked = self.begun.contains(&key(&talk.flow)) && !bench.script.unrouted.contains(&talk.from);
        assert!(allowed.is_ok() || tracked, "{} passed although {:?}", talk.flow, allowed.err());
        let expected = bench.script.action(&talk.flow).map(|action| action.deliver);
        let expected_out = expected.map(|deliver| match deliver {
            postern_path::Deliver::Interface(id) => Out::Interface(id.number() & 0xff),
            postern_path::Deliver::Door(_) => Out::Doors,
        });
        assert_eq!(Some(talk.out), expected_out);
        if talk.out == Out::Doors {
            let peer = bench.tables.peers.directory().peer(talk.seen.source.into()).unwrap();
            assert_eq!((peer.interface, peer.address), (eni(talk.from), talk.sent.source));
        }
    }

    fn go(&mut self, bench: &mut Bench, which: u16, back: bool, flags: u8) {
        if self.talks.is_empty() {
            return;
        }
        let talk = self.talks[usize::from(which) % self.talks.len()].clone();
        if !back {
            let mut packet = talk.sent.clone();
            if let Content::Tcp { flags: place, .. } = &mut packet.content {
                *place = flags;
            }
            self.send(bench, talk.from, packet);
            return;
        }
        let packet = answer(&talk.seen, flags);
        match talk.out {
            Out::Interface(number) => self.send(bench, number, packet),
            Out::Doors => {
                let (effects, frame) = bench.send(Out::Doors, packet);
                if let Fate::Deliver(port) = effects.fate {
                    check_sums(&frame);
                    let (source, destination, _, _) = read(&frame);
                    let to_sender = self.talks.iter().any(|other| {
                        other.out == Out::Doors
                            && bench.out(port) == Out::Interface(other.from)
                            && (other.sent.destination, other.sent.source) == (source, destination)
                    });
                    assert!(to_sender, "an answer went to somebody who never asked");
                }
            }
        }
    }

    fn noise(&mut self, bench: &mut Bench, which: u16, damage: Option<(u8, u8)>) {
        if self.frames.is_empty() {
            return;
        }
        let (from, mut frame) = self.frames[usize::from(which) % self.frames.len()].clone();
        if let Some((at, value)) = damage {
            let at = usize::from(at) % frame.len();
            frame[at] = value;
        }
        let sent = frame.clone();
        let effects = bench.send_bytes(Out::Interface(from), &mut frame, VirtioNetHdr::default());
        if let Fate::Deliver(port) = effects.fate {
            let sent = written(&sent);
            let flow = flow_of(from, &sent);
            let talk = Talk { from, seen: seen(&sent, &frame), sent, out: bench.out(port), flow };
            self.check_allowed(bench, &talk);
            self.begun.insert(key(&flow));
            self.talks.push(talk);
        }
    }
}

/// A frame that passed, as a test would have written it.
fn written(frame: &[u8]) -> Packet {
    let packet = Ipv4::parse(frame).unwrap();
    let (source, destination, ports, _) = read(frame);
    match packet.protocol {
        6 => tcp((source, ports.0), (destination, ports.1), SYN),
        17 => udp((source, ports.0), (destination, ports.1), b"damaged"),
        1 => {
            let content = Content::Icmp {
                kind: frame[34],
                code: frame[35],
                rest: [frame[38], frame[39], frame[40], frame[41]],
                payload: frame[42..].to_vec(),
            };
            Packet::new(source, destination, content)
        }
        protocol => Packet::new(source, destination, Content::Raw { protocol, payload: Vec::new() }),
    }
}

/// No two flows that are alive look the same to their receiver. Returns which there are.
fn check_unique(bench: &Bench) -> BTreeSet<String> {
    let mut live = BTreeSet::new();
    let mut seen = BTreeMap::new();
    for flow in bench.tables.live_flows(bench.now, usize::MAX) {
        let protocol = flow.flow.transport.protocol();
        live.insert(key(&flow.flow));
        let at = (flow.exit, flow.source, flow.destination, protocol);
        if let Some(other) = seen.insert(format!("{at:?}"), flow) {
            panic!("{flow:?} and {other:?} are one to their receiver");
        }
    }
    live
}

fn run(events: Vec<Event>, limits: Limits) {
    let mut bench = Bench::with(super::script::Script::default(), limits);
    let mut world = World::default();
    for event in events {
        match event {
            Event::Send { from, to, kind, ports, ttl } => {
                let (source, destination) = (address(from), destination(to));
                if source == destination {
                    continue;
                }
                let packet = match kind {
                    0..=2 => tcp((source, ports.0), (destination, ports.1), SYN),
                    3 => udp((source, ports.0), (destination, ports.1), b"question"),
                    _ => echo(source, destination, 8, ports.0),
                };
                world.send(&mut bench, from, packet.ttl(ttl));
            }
            Event::Go { which, back, flags } => world.go(&mut bench, which, back, flags),
            Event::Noise { which, damage } => world.noise(&mut bench, which, damage),
            Event::Refuse { from, to, refuse } => bench.publish(|script| {
                let rule = (from, destination(to));
                if refuse {
                    script.refused.insert(rule)
                } else {
                    script.refused.remove(&rule)
                };
                vec![script.bump(GROUP_SLOTS + from as u32)]
            }),
            Event::Route { from, routed } => {
                bench.publish(|script| {
                    if routed {
                        script.unrouted.remove(&from)
                    } else {
                        script.unrouted.insert(from)
                    };
                    vec![script.bump(ROUTE_SLOTS + from as u32)]
                });
            }
            Event::Wait { milliseconds } => {
                bench.now += u64::from(milliseconds) * 1_000_000;
                bench.tables.sweep(bench.now, 50);
            }
            Event::Replug { which } => {
                let owner = crate::forward::port::Owner::Interface(eni(which));
                bench.tables.remove_port(owner, bench.now);
                let number = bench.tables.add_port(owner, super::script::mac(which), bench.now).unwrap();
                bench.ports.insert(which, number);
            }
        }
        bench.check();
        let live = check_unique(&bench);
        world.begun.retain(|flow| live.contains(flow));
    }
    // Everything ends, and nothing stays held.
    for _ in 0..2 {
        bench.now += 500_000 * super::script::SECOND;
        bench.tables.sweep(bench.now, 1000);
    }
    bench.check();
    assert_eq!(bench.tables.flows.len(), 0);
    assert_eq!(bench.tables.nat.spaces(), 0);
    assert!(bench.tables.peers.len() == 0);
}

proptest! {
    #[test]
    fn nothing_passes_that_is_not_allowed(events in proptest::collection::vec(any_event(), 1..250)) {
        run(events, Limits::default());
    }

    #[test]
    fn nor_where_tables_are_small(events in proptest::collection::vec(any_event(), 1..250)) {
        run(events, Limits { flows: 12, flows_per_port: 4, templates_per_port: 2, peers: 3, fragments_per_port: 1, ..Limits::default() });
    }

    #[test]
    fn no_frame_panics(
        bytes in proptest::collection::vec(any::<u8>(), 0..120), header in any::<[u8; 10]>(), from in 0_u64..9, kind in 0_u8..3,
    ) {
        let mut bench = Bench::new();
        let mut frame = bytes;
        if frame.len() > 34 && kind > 0 {
            frame[6..12].copy_from_slice(&super::script::mac(from).0);
            frame[12..14].copy_from_slice(if kind == 1 { &[8, 0] } else { &[8, 6] });
            frame[14] = 0x45;
            let total = (frame.len() - 14) as u16;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            frame[24..26].copy_from_slice(&[0, 0]);
            frame[26..30].copy_from_slice(&address(from).octets());
            let sum = !frames::sum(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        bench.send_bytes(Out::Interface(from), &mut frame, VirtioNetHdr::from_bytes(header));
        bench.check();
    }
}
