//! Covers and generations are sound: inside a cover everything is decided the same, and whatever changes a decision
//! changes a generation that the decision rests on.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use postern_model::Ipv4Net;
use postern_path::{Before, Cover, Decision, Flow, Outcome, Plan, Stamp, Transport};
use postern_testkit::{Random, World, draw};

use crate::seeds;

const TOPOLOGIES: u64 = 80;
const FLOWS: usize = 60;
const COMMANDS: usize = 40;
const KEPT: usize = 60;

fn set(stamps: &[Stamp]) -> BTreeSet<Stamp> {
    stamps.iter().copied().collect()
}

/// How two decisions differ, if they do. Everything counts: what is done, why, and what it rests on.
fn difference(one: &Decision, other: &Decision) -> Option<String> {
    if one.outcome != other.outcome {
        return Some(format!("outcome {:?} and {:?}", one.outcome, other.outcome));
    }
    if one.steps != other.steps {
        return Some(format!("steps {:#?} and {:#?}", one.steps, other.steps));
    }
    if set(&one.consulted) != set(&other.consulted) {
        return Some("what they rest on".to_owned());
    }
    (set(&one.cut) != set(&other.cut)).then(|| "what cuts them".to_owned())
}

fn with_ports(transport: Transport, source: u16, destination: u16) -> Transport {
    match transport {
        Transport::Tcp { .. } => Transport::Tcp { source_port: source, destination_port: destination },
        Transport::Udp { .. } => Transport::Udp { source_port: source, destination_port: destination },
        Transport::Icmp { .. } => {
            let [kind, code] = destination.to_be_bytes();
            Transport::Icmp { kind, code, identifier: source }
        }
        other @ Transport::Other { .. } => other,
    }
}

fn at(flow: &Flow, source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16)) -> Flow {
    let transport = with_ports(flow.transport, ports.0, ports.1);
    Flow { source: source.into(), destination: destination.into(), transport, ..*flow }
}

fn ends(block: Ipv4Net) -> [Ipv4Addr; 2] {
    [block.network(), block.broadcast()]
}

/// All sixteen corners of a box.
fn corners(flow: &Flow, cover: &Cover) -> Vec<Flow> {
    let mut all = Vec::new();
    for source in ends(cover.source) {
        for destination in ends(cover.destination) {
            for source_port in [cover.source_ports.0, cover.source_ports.1] {
                for destination_port in [cover.destination_ports.0, cover.destination_ports.1] {
                    all.push(at(flow, source, destination, (source_port, destination_port)));
                }
            }
        }
    }
    all
}

fn inside(random: &mut Random, flow: &Flow, cover: &Cover) -> Flow {
    let mut address = |block: Ipv4Net| {
        let (low, high) = (u32::from(block.network()), u32::from(block.broadcast()));
        Ipv4Addr::from(random.between(low, high))
    };
    let (source, destination) = (address(cover.source), address(cover.destination));
    let mut port = |(low, high): (u16, u16)| {
        u16::try_from(random.between(low.into(), high.into())).expect("between two ports")
    };
    at(flow, source, destination, (port(cover.source_ports), port(cover.destination_ports)))
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("only IPv4 is drawn"),
    }
}

/// Just outside: one step over each side, the rest as the flow.
fn outside(flow: &Flow, cover: &Cover) -> Vec<Flow> {
    let (source, destination) = (v4(flow.source), v4(flow.destination));
    let ports = flow.transport.ports();
    let beside = |block: Ipv4Net| {
        let below = u32::from(block.network()).checked_sub(1);
        let above = u32::from(block.broadcast()).checked_add(1);
        below.into_iter().chain(above).map(Ipv4Addr::from).collect::<Vec<_>>()
    };
    let over = |(low, high): (u16, u16)| low.checked_sub(1).into_iter().chain(high.checked_add(1));
    let mut all: Vec<Flow> = Vec::new();
    all.extend(beside(cover.source).into_iter().map(|x| at(flow, x, destination, ports)));
    all.extend(beside(cover.destination).into_iter().map(|x| at(flow, source, x, ports)));
    if matches!(flow.transport, Transport::Tcp { .. } | Transport::Udp { .. }) {
        all.extend(over(cover.source_ports).map(|x| at(flow, source, destination, (x, ports.1))));
        all.extend(over(cover.destination_ports).map(|x| at(flow, source, destination, (ports.0, x))));
    }
    all
}

fn check_box(random: &mut Random, plan: &Plan, flow: &Flow) {
    let decision = plan.decide(flow);
    let cover = decision.cover;
    assert!(cover.contains(flow), "{flow} is outside its own cover {cover:?}");
    let points = corners(flow, &cover).into_iter().chain((0..6).map(|_| inside(random, flow, &cover)));
    for point in points.collect::<Vec<_>>() {
        // ICMP and other protocols have no ports to be at the corners of, and others may have another target.
        if decision.covers(&point)
            && let Some(differ) = difference(&decision, &plan.decide(&point))
        {
            panic!("{point} is in the cover of {flow}, {cover:?}, but is decided otherwise: {differ}");
        }
    }
    for point in outside(flow, &cover) {
        assert!(!cover.contains(&point), "{point} is just outside of {cover:?}");
        // A cover of a flow outside that reaches in again has to agree as well.
        let other = plan.decide(&point);
        if other.covers(flow)
            && let Some(differ) = difference(&decision, &other)
        {
            panic!(
                "{flow} is in the cover of {point}, {:?}, but is decided otherwise: {differ}",
                other.cover
            );
        }
    }
}

#[test]
fn inside_a_cover_everything_is_decided_the_same() {
    seeds::each(TOPOLOGIES, |_, random| {
        let state = draw::topology(random).state;
        let plan = Plan::compile_with_uplink(&state, draw::uplink(random)).plan;
        let plan = plan.with_health(&state, &draw::health(random, &state)).plan;
        for _ in 0..FLOWS {
            if let Some(flow) = draw::flow(random, &state) {
                check_box(random, &plan, &flow);
            }
        }
    });
}

/// The generation of every slot, as the data plane keeps it.
#[derive(Default)]
struct Generations(Vec<u64>);

impl Generations {
    fn store(&mut self, changed: &[Stamp]) {
        for stamp in changed {
            let slot = usize::try_from(stamp.slot).expect("a slot");
            if self.0.len() <= slot {
                self.0.resize(slot + 1, 0);
            }
            assert!(self.0[slot] <= stamp.generation, "the generation of slot {slot} went down");
            self.0[slot] = stamp.generation;
        }
    }

    fn hold(&self, stamps: &[Stamp]) -> bool {
        stamps.iter().all(|stamp| self.0.get(stamp.slot as usize) == Some(&stamp.generation))
    }
}

/// A decision that somebody keeps: a template's, and a flow's that was made of it.
struct Kept {
    flow: Flow,
    template: Decision,
    tracked: Option<Decision>,
}

impl Kept {
    fn new(plan: &Plan, flow: Flow) -> Self {
        let template = plan.decide(&flow);
        let passes = matches!(template.outcome, Outcome::Forward(_));
        Self { flow, tracked: passes.then(|| template.clone()), template }
    }

    /// After a change: what is still current is still right.
    fn check(&mut self, random: &mut Random, plan: &Plan, now: &Generations, counts: &mut Counts) {
        let decision = plan.decide(&self.flow);
        if now.hold(&self.template.consulted) {
            counts.kept += 1;
            let point = inside(random, &self.flow, &self.template.cover);
            for flow in [self.flow, point].iter().filter(|flow| self.template.covers(flow)) {
                if let Some(differ) = difference(&self.template, &plan.decide(flow)) {
                    panic!("{flow} is decided otherwise, and nothing that it rested on changed: {differ}");
                }
            }
        } else {
            counts.void += 1;
            counts.changed += usize::from(self.template.outcome != decision.outcome);
            self.template = decision;
        }
        let Some(tracked) = self.tracked.take() else { return };
        let present = match &tracked.outcome {
            Outcome::Forward(action) => action.present(),
            Outcome::Refuse(_) => None,
        };
        let again = plan.decide_again(&self.flow, Before { cut: Some(&tracked.cut), present });
        if now.hold(&tracked.cut) {
            assert!(
                again.outcome == tracked.outcome,
                "{}: nothing cut the flow, but it is now {:?} and was {:?}",
                self.flow,
                again.outcome,
                tracked.outcome
            );
            self.tracked = Some(tracked);
        } else if again.outcome == tracked.outcome {
            counts.restamped += 1;
            self.tracked = Some(again);
        } else {
            counts.cut += 1;
        }
    }
}

#[derive(Default)]
struct Counts {
    kept: usize,
    void: usize,
    changed: usize,
    restamped: usize,
    cut: usize,
}

fn history(random: &mut Random, counts: &mut Counts) {
    let mut world: World = draw::topology(random);
    let first = Plan::compile_with_uplink(&world.state, draw::uplink(random));
    let mut now = Generations::default();
    now.store(&first.changed);
    let mut plan = first.plan;
    let mut kept: Vec<Kept> = Vec::new();
    for _ in 0..COMMANDS {
        while kept.len() < KEPT {
            let Some(flow) = draw::flow(random, &world.state) else { return };
            kept.push(Kept::new(&plan, flow));
        }
        let before = world.state.clone();
        let (account, action) = draw::command(random, &world.state);
        if world.run(account, action.clone()).is_err() {
            continue;
        }
        let next = plan.advance(&before, &world.state);
        now.store(&next.changed);
        plan = next.plan;
        if random.chance(10) {
            let other = plan.with_health(&world.state, &draw::health(random, &world.state));
            now.store(&other.changed);
            plan = other.plan;
        }
        if random.chance(10) {
            let other = plan.with_uplink(draw::uplink(random));
            now.store(&other.changed);
            plan = other.plan;
        }
        for one in &mut kept {
            one.check(random, &plan, &now, counts);
        }
        let at = random.below(kept.len());
        kept.swap_remove(at);
    }
}

#[test]
fn what_changes_a_decision_changes_a_generation_that_it_rests_on() {
    let all = seeds::each(TOPOLOGIES, |_, random| {
        let mut counts = Counts::default();
        history(random, &mut counts);
        counts
    });
    if !seeds::is_single() {
        let sum = |of: fn(&Counts) -> usize| all.iter().map(of).sum::<usize>();
        // A run in which nothing happened says nothing.
        let seen =
            [sum(|c| c.kept), sum(|c| c.void), sum(|c| c.changed), sum(|c| c.restamped), sum(|c| c.cut)];
        assert!(seen.iter().all(|count| *count > 50), "kept, void, changed, restamped, cut: {seen:?}");
        // Most changes leave most decisions alone.
        assert!(seen[0] > 3 * seen[1], "kept, void, changed, restamped, cut: {seen:?}");
    }
}
