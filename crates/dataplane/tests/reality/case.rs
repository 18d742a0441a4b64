//! One topology: packets go in, and what comes out is what `decide` said.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use postern_dataplane::forward::PortCounters;
use postern_model::interface::{InterfaceChange, InterfaceKind};
use postern_model::route::RouteTarget;
use postern_model::{Mac, NetworkInterfaceId, State};
use postern_path::{Action, DropReason, Flow, Outcome, Plan, Reply, SourceRewrite, Transport, Uplink};
use postern_testkit::{Random, draw};

use crate::expect::{Expect, Receiver, Taken, check_arrival, check_directory, expect, may_send, receiver};
use crate::fault::Fault;
use crate::frames::{ACK, Id, SYN, Seen, TTL, Tuple, build, v4};
use crate::world::{DOORS_MAC, INTERFACES, World};
use postern_testkit::coverage::{self, Drawn};

const CASES: u64 = 40;
const FLOWS: usize = 150;
/// Flows that are drawn to find so many.
const DRAWS: usize = 1_500;
/// The most that are refused for one reason, or what is drawn most often is all there is.
const ALIKE: usize = 12;
/// As [`draw::flow`] names an interface that nobody has.
const UNKNOWN: NetworkInterfaceId = NetworkInterfaceId::from_number(0xdead_0000_0000);

/// The comparison, for each seed.
pub fn reality(directory: &Path) {
    let mut world = World::start(directory);
    let (seeds, usual) = crate::seeds(CASES);
    let (mut drawn, mut run) = (Drawn::new(), Run::default());
    for seed in seeds.clone() {
        run.number += 1;
        match one(&mut world, &mut run, seed, None) {
            Ok(more) => drawn.extend(more),
            Err(why) => panic!(
                "failed with POSTERN_REALITY_SEED={seed} POSTERN_REALITY_CASES=1 (or, if it needs those before it, \
                 with POSTERN_REALITY_SEED={} POSTERN_REALITY_CASES={}): {why}",
                seeds.start,
                seed - seeds.start + 1
            ),
        }
    }
    world.stop();
    println!(
        "note: {} topologies, {} packets arrived, {} were refused, {} answered",
        seeds.end - seeds.start,
        run.arrived,
        run.refused,
        run.answered
    );
    if usual {
        let missing: Vec<_> = coverage::wanted().difference(&drawn).copied().collect();
        assert!(missing.is_empty(), "never drawn: {missing:?}");
    }
}

/// Which comparison this is, and what came of all so far.
#[derive(Debug, Default)]
pub struct Run {
    pub number: u32,
    pub arrived: usize,
    pub refused: usize,
    pub answered: usize,
}

/// A packet that went in, and what is to become of it.
struct Sent {
    at: Receiver,
    flow: Flow,
    expect: Expect,
}

/// One topology, before and after some changes. Returns what stages said.
pub fn one(world: &mut World, run: &mut Run, seed: u64, fault: Option<Fault>) -> Result<Drawn, String> {
    let random = &mut Random::new(seed);
    let mut topology = draw::topology(random);
    let (mut drawn, mut taken, mut packets) = (Drawn::new(), Taken::default(), 0);
    let mut uplink = draw::uplink(random);
    world.plug(&[]);
    publish(world, topology.state.clone(), uplink, fault);
    world.plug(&interfaces(&world.plan, &world.state));
    for round in 0..2 {
        if round > 0 {
            change(random, &mut topology);
            if random.chance(30) {
                uplink = draw::uplink(random);
            }
            publish(world, topology.state.clone(), uplink, fault);
        }
        let sent = draw_flows(world, random, &mut taken, &mut drawn);
        first_packets(world, run, &mut packets, &sent)?;
    }
    Ok(drawn)
}

/// A few changes, among them one that is drawn seldom: interfaces that routes lead to check destinations.
fn change(random: &mut Random, topology: &mut postern_testkit::World) {
    let tables = topology.state.route_tables.values();
    let routes = tables.flat_map(|table| table.routes.values().map(|route| (table.owner, route.target)));
    let routers: Vec<_> = routes
        .filter_map(|(owner, target)| match target {
            RouteTarget::NetworkInterface(id) => Some((owner, id)),
            RouteTarget::InternetGateway(_)
            | RouteTarget::NatGateway(_)
            | RouteTarget::VpcEndpoint(_)
            | RouteTarget::VpcPeering(_)
            | RouteTarget::VpnGateway(_)
            | RouteTarget::TransitGateway(_) => None,
        })
        .collect();
    for (owner, interface) in routers {
        if random.chance(50) {
            let change = InterfaceChange::SourceDestCheck(true);
            let _ = topology.run(owner, postern_model::Action::ModifyNetworkInterface { interface, change });
        }
    }
    for _ in 0..1 + random.below(6) {
        let (account, action) = draw::command(random, &topology.state);
        // What the model refuses changes nothing.
        let _ = topology.run(account, action);
    }
}

fn publish(world: &mut World, state: State, uplink: Option<Uplink>, fault: Option<Fault>) {
    let told = state.clone();
    world.publish(state, uplink, |plan| match fault {
        None => Arc::new(plan.clone()),
        Some(fault) => fault.decider(plan, &told),
    });
}

/// The interfaces that the links become: attached ones, and one that no plan knows.
fn interfaces(plan: &Plan, state: &State) -> Vec<NetworkInterfaceId> {
    let all = state.network_interfaces.values().filter(|found| found.kind == InterfaceKind::Interface);
    let attached =
        all.map(|found| found.id).filter(|id| plan.interface(*id).is_some_and(|plan| plan.attached));
    // The ends of VPNs among them.
    let up = state.vpn_connections.values().filter(|connection| connection.link.up);
    let links: Vec<_> = up.map(|connection| connection.link.port).take(3).collect();
    attached.take(INTERFACES - 1 - links.len()).chain(links.iter().copied()).chain([UNKNOWN]).collect()
}

fn draw_flows(world: &World, random: &mut Random, taken: &mut Taken, drawn: &mut Drawn) -> Vec<Sent> {
    let expected = |flow: &Flow| expect(&world.plan, flow, |id| world.is_plugged(id));
    let (mut all, mut refused) = (Vec::new(), BTreeMap::<_, usize>::new());
    for _ in 0..DRAWS {
        let flow = draw::flow(random, &world.state).filter(|flow| world.is_plugged(flow.entry));
        // Whoever does not check sources checks for senders that cannot be.
        let flow = flow.filter(|flow| may_send(v4(flow.source)));
        let common = |flow: &Flow| match expected(flow) {
            Expect::Drop(reason, _) => refused.get(&reason).is_some_and(|count| *count >= ALIKE),
            Expect::Arrive(_) => false,
        };
        let flow = flow.filter(|flow| !common(flow));
        let Some(flow) = flow.and_then(|flow| taken.new_one(flow, expected)) else { continue };
        let expect = expected(&flow);
        if let Expect::Drop(reason, _) = expect {
            *refused.entry(reason).or_default() += 1;
        }
        let decision = world.plan.decide(&flow);
        drawn.extend(coverage::of(&decision));
        let reset = matches!(decision.outcome, Outcome::Refuse(refusal) if refusal.reply == Reply::Reset);
        if reset && matches!(flow.transport, Transport::Tcp { .. }) {
            continue;
        }
        all.push(Sent { at: Some(flow.entry), flow, expect });
        if all.len() == FLOWS {
            break;
        }
    }
    all
}

fn tuple(flow: &Flow) -> Tuple {
    Tuple { source: v4(flow.source), destination: v4(flow.destination), transport: flow.transport }
}

fn mac(plan: &Plan, at: Receiver) -> Mac {
    match at {
        None => DOORS_MAC,
        Some(id) => plan.interface(id).map_or(Mac([2, 1, 1, 1, 1, 1]), |interface| interface.mac),
    }
}

/// What counters have to go up by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Moved {
    received: u64,
    passed: u64,
    replies: u64,
    delivered: u64,
    drops: BTreeMap<DropReason, u64>,
}

impl Moved {
    fn between(before: &PortCounters, after: &PortCounters) -> Self {
        let drops = after.drops.iter().map(|(reason, count)| (reason, count - before.drops.get(reason)));
        Self {
            received: after.received.packets - before.received.packets,
            passed: after.passed.packets - before.passed.packets,
            replies: after.replies - before.replies,
            delivered: after.delivered.packets - before.delivered.packets,
            drops: drops.filter(|(_, count)| *count > 0).collect(),
        }
    }
}

type Moves = BTreeMap<Receiver, Moved>;
type Arrived = BTreeMap<Id, Vec<(Receiver, Seen)>>;

/// Puts packets in. Returns what came out by which one it was; the counters have moved as they should.
fn exchange(
    world: &mut World,
    frames: BTreeMap<Receiver, Vec<Vec<u8>>>,
    should: &Moves,
) -> Result<Arrived, String> {
    let before = world.tally();
    let count: usize = frames.values().map(Vec::len).sum();
    frames.iter().for_each(|(at, frames)| world.put_in(*at, frames));
    let (seen, after) = world.settle(&before, count as u64)?;
    let mut arrived = Arrived::new();
    for (at, seen) in seen {
        let id = seen.id.ok_or_else(|| format!("{at:?} received what nobody sent: {seen:?}"))?;
        arrived.entry(id).or_default().push((at, seen));
    }
    for (at, after) in after.all() {
        let before = before.of(at).unwrap_or_default();
        let moved = Moved::between(&before, &after);
        let should = should.get(&at).cloned().unwrap_or_default();
        if moved != should {
            return Err(format!("the counters of {at:?} moved by {moved:?} and should by {should:?}"));
        }
    }
    Ok(arrived)
}

/// First packets of flows, and then the answers to those that arrived.
fn first_packets(world: &mut World, run: &mut Run, packets: &mut u32, sent: &[Sent]) -> Result<(), String> {
    let first = *packets;
    let id = |at: usize| Id { run: run.number, packet: first + at as u32 };
    *packets += 2 * sent.len() as u32;
    let (mut frames, mut moves) = (BTreeMap::<_, Vec<_>>::new(), Moves::new());
    for (at, sent) in sent.iter().enumerate() {
        let frame = build(mac(&world.plan, sent.at), &tuple(&sent.flow), SYN, id(at));
        frames.entry(sent.at).or_default().push(frame);
        let own = moves.entry(sent.at).or_default();
        own.received += 1;
        match sent.expect {
            Expect::Arrive(action) => {
                own.passed += 1;
                moves.entry(receiver(&action)).or_default().delivered += 1;
            }
            Expect::Drop(reason, says) => {
                *own.drops.entry(reason).or_default() += 1;
                own.replies += u64::from(says.is_some());
            }
        }
    }
    let mut arrived = exchange(world, frames, &moves).map_err(|why| explained(world, sent, &why))?;
    let (peers, directory) = (world.forwarder.peers(), world.forwarder.uplink());
    let mut to_answer = Vec::new();
    for (at, sent) in sent.iter().enumerate() {
        let seen = arrived.remove(&id(at)).unwrap_or_default();
        let check = match (&sent.expect, seen.as_slice()) {
            (Expect::Drop(_, None), []) => Ok(()),
            (Expect::Drop(_, Some(router)), [(place, seen)]) => check_notice(sent, *router, *place, seen),
            (Expect::Arrive(action), [(place, seen)]) if *place == receiver(action) => {
                to_answer.push((at, *action, *place, *seen));
                check_arrival(&sent.flow, action, seen, &*peers)
                    .and_then(|()| check_directory(&sent.flow, action, seen, &directory))
            }
            (_, seen) => Err(format!("it came out as {seen:?}")),
        };
        check.map_err(|why| format!("{why}\n{}", words(world, sent)))?;
        match sent.expect {
            Expect::Arrive(_) => run.arrived += 1,
            Expect::Drop(..) => run.refused += 1,
        }
    }
    if let Some(stray) = arrived.pop_first() {
        return Err(format!("nobody sent {stray:?}"));
    }
    one_port_each(&to_answer)?;
    let answered = |at: usize| Id { packet: first + (sent.len() + at) as u32, run: run.number };
    run.answered += answers(world, sent, &to_answer, answered)?;
    Ok(())
}

fn words(world: &World, sent: &Sent) -> String {
    let decision = world.plan.decide(&sent.flow);
    let words = postern_path::explain::explain(&sent.flow, &decision);
    format!("{words}\nexpected {:?}", sent.expect)
}

fn explained(world: &World, sent: &[Sent], why: &str) -> String {
    let all: Vec<_> = sent.iter().map(|sent| format!("{} {:?}", sent.flow, sent.expect)).collect();
    let flows = world.forwarder.flows(1000).wait().unwrap_or_default().len();
    format!("{why}\n{flows} flows are known; of\n{}", all.join("\n"))
}

/// A router told the sender.
fn check_notice(sent: &Sent, router: std::net::Ipv4Addr, place: Receiver, seen: &Seen) -> Result<(), String> {
    let told = matches!(seen.tuple.transport, Transport::Icmp { kind: 3, code: 0, .. });
    let to_sender = place == sent.at && seen.tuple.destination == v4(sent.flow.source);
    if told && to_sender && seen.tuple.source == router {
        Ok(())
    } else {
        Err(format!("{router} should have told the sender, and {place:?} received {seen:?}"))
    }
}

type Answerable = (usize, Action, Receiver, Seen);

/// No two flows look the same to their receiver.
fn one_port_each(arrived: &[Answerable]) -> Result<(), String> {
    let translated =
        arrived.iter().filter(|(_, action, ..)| matches!(action.source, SourceRewrite::Port { .. }));
    let mut all: Vec<_> =
        translated.map(|(_, _, place, seen)| format!("{place:?} {:?}", seen.tuple)).collect();
    all.sort();
    match all.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(format!("two flows are one to their receiver: {}", two[0])),
        None => Ok(()),
    }
}

/// Whether a packet has an answer.
const fn is_answered(transport: Transport) -> bool {
    match transport {
        Transport::Icmp { kind, .. } => matches!(kind, 8 | 13),
        Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Other { .. } => true,
    }
}

/// Each receiver answers, and each sender hears it from whom it spoke to. Returns how many there were.
fn answers(
    world: &mut World,
    sent: &[Sent],
    arrived: &[Answerable],
    id: impl Fn(usize) -> Id,
) -> Result<usize, String> {
    // A router may receive what is for an address that nobody can answer from, as 0.0.0.0.
    let is_somebodys = |place: &Receiver, seen: &Seen| place.is_none() || may_send(seen.tuple.destination);
    let answered: Vec<_> = arrived
        .iter()
        .filter(|(at, _, place, seen)| is_answered(sent[*at].flow.transport) && is_somebodys(place, seen))
        .collect();
    let (mut frames, mut moves) = (BTreeMap::<_, Vec<_>>::new(), Moves::new());
    for (at, _, place, seen) in &answered {
        let frame = build(mac(&world.plan, *place), &seen.tuple.reversed(), SYN | ACK, id(*at));
        frames.entry(*place).or_default().push(frame);
        let own = moves.entry(*place).or_default();
        own.received += 1;
        own.passed += 1;
        moves.entry(sent[*at].at).or_default().delivered += 1;
    }
    let mut heard = exchange(world, frames, &moves).map_err(|why| format!("of answers: {why}"))?;
    for (at, action, _, _) in &answered {
        let should = tuple(&sent[*at].flow).reversed();
        let ttl = TTL - action.hops.count();
        let right = |(place, seen): &(Receiver, Seen)| {
            *place == sent[*at].at && seen.tuple == should && seen.ttl == ttl
        };
        let seen = heard.remove(&id(*at)).unwrap_or_default();
        if seen.len() != 1 || !seen.iter().all(right) {
            return Err(format!("the answer came out as {seen:?}\n{}", words(world, &sent[*at])));
        }
    }
    match heard.pop_first() {
        Some(stray) => Err(format!("nobody answered {stray:?}")),
        None => Ok(answered.len()),
    }
}
