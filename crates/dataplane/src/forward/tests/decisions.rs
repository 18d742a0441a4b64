//! Templates against covers: whatever a template answers must be what its decision covers.

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::IpNet;
use postern_path::{Cover, DropReason, End, Flow, Outcome, Refusal, Reply, Stamp, Transport};
use proptest::prelude::*;

use super::script::eni;
use crate::forward::generation::Generations;
use crate::forward::key::{KeyHash, PortNumber};
use crate::forward::template::{Found, Installed, MOST_MASKS, Templates};
use crate::forward::verdict::Verdict;

/// A flow in a small world, so that boxes are met again.
fn any_flow() -> impl Strategy<Value = Flow> {
    let transport =
        (0_u8..3, 0_u16..600, 0_u16..600).prop_map(|(kind, source_port, destination_port)| match kind {
            0 => Transport::Tcp { source_port, destination_port },
            1 => Transport::Udp { source_port, destination_port },
            _ => Transport::Icmp { kind: (source_port % 16) as u8, code: 0, identifier: destination_port },
        });
    (0_u8..64, 0_u8..64, transport).prop_map(|(source, destination, transport)| Flow {
        entry: eni(0),
        source: Ipv4Addr::new(10, 0, 0, source).into(),
        destination: Ipv4Addr::new(10, 0, 1, destination).into(),
        transport,
    })
}

/// Predicates that a decision consulted.
#[derive(Debug, Clone)]
enum Predicate {
    Block(End, u8, u8),
    Ports(End, u16, u16),
}

fn any_predicate() -> impl Strategy<Value = Predicate> {
    let end = || prop_oneof![Just(End::Source), Just(End::Destination)];
    prop_oneof![
        (end(), any::<u8>(), 8_u8..=32).prop_map(|(end, last, length)| Predicate::Block(end, last, length)),
        (end(), 0_u16..600, 0_u16..600).prop_map(|(end, a, b)| Predicate::Ports(end, a.min(b), a.max(b))),
    ]
}

fn cover(flow: &Flow, predicates: &[Predicate]) -> Cover {
    let mut cover = Cover::everything(flow);
    for predicate in predicates {
        match predicate {
            Predicate::Block(end, last, length) => {
                let third = if *end == End::Source { 0 } else { 1 };
                let block = format!("10.0.{third}.{last}/{length}").parse::<IpNet>().unwrap().trunc();
                cover.consult_block(*end, block);
            }
            Predicate::Ports(end, low, high) => {
                cover.consult_ports(*end, *low, *high);
            }
        }
    }
    cover
}

/// A verdict that can be told from others by its number.
fn verdict(number: u64, slot: u32, generation: u64) -> Arc<Verdict> {
    let subnet = postern_model::SubnetId::from_number(1 << 40 | number);
    Arc::new(Verdict {
        outcome: Outcome::Refuse(Refusal {
            reason: DropReason::NoRoute,
            resource: Some(subnet.into()),
            reply: Reply::Silence,
        }),
        consulted: [Stamp { slot, generation }].into_iter().collect(),
        cut: Default::default(),
        before_choice: 0,
    })
}

#[derive(Debug, Clone)]
enum Event {
    Decide(Flow, Vec<Predicate>, u32),
    Change(u32),
    Wait(u32),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (any_flow(), proptest::collection::vec(any_predicate(), 0..5), 0_u32..4)
            .prop_map(|(flow, predicates, slot)| Event::Decide(flow, predicates, slot)),
        1 => (0_u32..4).prop_map(Event::Change),
        1 => any::<u32>().prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn a_template_answers_inside_its_cover_while_nothing_changed(
        events in proptest::collection::vec(any_event(), 1..80),
        asked in proptest::collection::vec(any_flow(), 20),
        most in 0_usize..40,
    ) {
        let port = PortNumber(3);
        let generations = Generations::default();
        let mut current = [1_u64; 4];
        for slot in 0..4 {
            generations.store(&[Stamp { slot, generation: 1 }]);
        }
        let mut templates = Templates::new(most, KeyHash::with_seed(1));
        // What was ever decided: the oracle looks at all of it.
        let mut decided: Vec<(Arc<Verdict>, Cover)> = Vec::new();
        let mut now = 0;
        for event in events {
            match event {
                Event::Decide(flow, predicates, slot) => {
                    let cover = cover(&flow, &predicates);
                    let verdict = verdict(decided.len() as u64, slot, current[slot as usize]);
                    let installed = templates.install(port, &flow, (&cover, &verdict, None), &generations, |_| 0, now);
                    decided.push((Arc::clone(&verdict), cover));
                    match installed {
                        Installed::Yes => prop_assert!(templates.find(port, &flow, &generations, now).is_some()),
                        Installed::NoRoom => prop_assert!(templates.len() >= most),
                        Installed::NoMask => {}
                        Installed::Void => prop_assert!(false, "it was decided just now"),
                    }
                }
                Event::Change(slot) => {
                    current[slot as usize] += 1;
                    generations.store(&[Stamp { slot, generation: current[slot as usize] }]);
                }
                Event::Wait(time) => now += u64::from(time) * 10,
            }
            prop_assert!(templates.len() <= most);
            for flow in &asked {
                if let Some(Found { verdict: found, .. }) = templates.find(port, flow, &generations, now) {
                    let (_, cover) = decided.iter().find(|(verdict, _)| Arc::ptr_eq(verdict, &found)).unwrap();
                    prop_assert!(cover.contains(flow), "{flow} is not in {cover:?}");
                    let stamp = found.consulted[0];
                    prop_assert_eq!(stamp.generation, current[stamp.slot as usize]);
                }
                prop_assert!(templates.find(PortNumber(4), flow, &generations, now).is_none());
            }
        }
    }
}

#[test]
fn shapes_are_few_and_a_finer_one_serves_as_well() {
    let generations = Generations::default();
    let mut templates = Templates::new(4096, KeyHash::with_seed(1));
    let flow = Flow {
        entry: eni(0),
        source: Ipv4Addr::new(10, 0, 0, 1).into(),
        destination: Ipv4Addr::new(10, 0, 1, 0).into(),
        transport: Transport::Tcp { source_port: 1, destination_port: 2 },
    };
    generations.store(&[Stamp { slot: 0, generation: 1 }]);
    let mut install = |length: u8| {
        let mut cover = Cover::everything(&flow);
        let block = format!("10.0.1.0/{length}").parse::<IpNet>().unwrap().trunc();
        assert!(cover.consult_block(End::Destination, block));
        templates.install(PortNumber(1), &flow, (&cover, &verdict(0, 0, 1), None), &generations, |_| 0, 0)
    };
    let coarse_to_fine: Vec<Installed> = (20..30).map(&mut install).collect();
    let kept = coarse_to_fine.iter().filter(|result| **result == Installed::Yes).count();
    assert_eq!((kept, coarse_to_fine.last()), (MOST_MASKS, Some(&Installed::NoMask)));
    assert_eq!(install(10), Installed::Yes, "a part of the cover is kept by a finer shape");
}
