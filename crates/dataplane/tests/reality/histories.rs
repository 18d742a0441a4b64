//! Random histories on the forwarder's pure core: the model changes, packets pass, are sent again and answered, time
//! leaps, interfaces are plugged out and in.
//!
//! An oracle that knows the plan and what was let pass before, and no table of the forwarder's, says after each step
//! whether what passed was allowed to:
//! - what the plan allows now passes as it says;
//! - of what it does not allow, only flows that passed before, none of whose *cut* stamps has changed since, or about
//!   which it is decided again that the same is done;
//! - no two living flows are one to their receiver, and a living flow keeps the port that a gateway gave it;
//! - in = delivered + dropped + pending, at each port; between two steps nothing is pending.

use std::collections::{BTreeMap, HashMap};

use postern_dataplane::forward::{
    Decider, Effects, Fate, Frame, Limits, LiveFlow, Owner, PortNumber, Rate, Tables, step,
};
use postern_dataplane::host::VirtioNetHdr;
use postern_model::interface::InterfaceKind;
use postern_model::{Mac, NetworkInterfaceId};
use postern_path::{Action, Before, DropReason, Flow, Outcome, Plan, SourceRewrite, Stamp, Transport};
use postern_testkit::{Random, World, draw};

use crate::expect::{Receiver, arrives_for, may_send, receiver};
use crate::frames::{ACK, FIN, Id, RST, SYN, Seen, Tuple, build, read, v4};
use crate::world::DOORS_MAC;

const HISTORIES: u64 = 300;
/// In so many a fault has to be noticed.
const FAULTY: u64 = 60;
const STEPS: usize = 160;
const SECOND: u64 = 1_000_000_000;
/// How often each kind of event has to come up in the usual run.
const LEAST: usize = 10;

/// What a history went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seldom {
    packets: usize,
    passed: usize,
    changes: usize,
    /// Passed because it had before, although it would not begin any more.
    tracked: usize,
    /// Passed because the same was decided again.
    restamped: usize,
    cut: usize,
    answers: usize,
    /// Packets of flows that a gateway gave a port.
    translated: usize,
}

/// A flow that passed.
#[derive(Debug, Clone)]
struct Talk {
    flow: Flow,
    action: Action,
    cut: Vec<Stamp>,
    /// As its receiver sees it.
    seen: Tuple,
    at: Receiver,
    /// When its last packet passed.
    last: u64,
    begun: u64,
}

/// What was counted at a port, by who put packets in and looked at what came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    put_in: u64,
    passed: u64,
    dropped: u64,
    delivered: u64,
}

struct History {
    world: World,
    plan: Plan,
    tables: Tables,
    now: u64,
    ports: BTreeMap<Receiver, PortNumber>,
    counts: BTreeMap<Receiver, Count>,
    talks: Vec<Talk>,
    /// The talk of each flow.
    of_flow: HashMap<Flow, usize>,
    generations: HashMap<u32, u64>,
    seen: Seldom,
    packets: u32,
    /// A fault: changes are not announced.
    stale: bool,
}

fn limits() -> Limits {
    let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    Limits { upcalls: rate, replies: rate, flows: 4_096, ..Limits::default() }
}

impl History {
    fn new(random: &mut Random, stale: bool) -> Self {
        let world = draw::topology(random);
        let compiled = Plan::compile(&world.state);
        let plan = compiled.plan;
        let mut tables = Tables::new(limits(), random.number());
        tables.plan_changed(&compiled.changed);
        let now = SECOND;
        let interfaces = world.state.network_interfaces.values();
        let plugged = interfaces.filter(|found| found.kind == InterfaceKind::Interface);
        let plugged: Vec<_> = plugged.filter(|x| plan.interface(x.id).is_some_and(|x| x.attached)).collect();
        let owners = plugged.iter().map(|found| (Some(found.id), Owner::Interface(found.id), Mac([0; 6])));
        let ports: BTreeMap<Receiver, PortNumber> = owners
            .chain([(None, Owner::Doors, DOORS_MAC)])
            .map(|(at, owner, mac)| (at, tables.add_port(owner, mac, now).unwrap()))
            .collect();
        let generations = plan.slots().map(|stamp| (stamp.slot, stamp.generation)).collect();
        Self {
            world,
            plan,
            tables,
            now,
            counts: ports.keys().map(|at| (*at, Count::default())).collect(),
            ports,
            talks: Vec::new(),
            of_flow: HashMap::new(),
            generations,
            seen: Seldom::default(),
            packets: 0,
            stale,
        }
    }

    fn event(&mut self, random: &mut Random) -> Result<(), String> {
        match random.below(100) {
            0..40 => self.begin(random)?,
            40..80 => self.go_on(random)?,
            80..91 => {
                self.change(random);
                // Those that are under way are who notices.
                for _ in 0..4 {
                    self.go_on(random)?;
                }
            }
            91..97 => {
                // Mostly within what flows may be silent for.
                self.now +=
                    random.one([SECOND / 10, SECOND, 20 * SECOND, 40 * SECOND, 340 * SECOND, 360 * SECOND]);
                self.tables.sweep(self.now, 50);
            }
            97 => self.replug(random),
            _ => self.now += SECOND / 1000,
        }
        self.check_tables()
    }

    fn change(&mut self, random: &mut Random) {
        let before = self.world.state.clone();
        let (account, action) = draw::command(random, &before);
        // What the model refuses changes nothing.
        let _ = self.world.run(account, action);
        let compiled = self.plan.advance(&before, &self.world.state);
        // The plan first, then the generations; what comes after both is said to be in effect.
        self.plan = compiled.plan;
        if !self.stale {
            self.tables.plan_changed(&compiled.changed);
        }
        self.generations = self.plan.slots().map(|stamp| (stamp.slot, stamp.generation)).collect();
        self.seen.changes += 1;
    }

    fn replug(&mut self, random: &mut Random) {
        let all: Vec<NetworkInterfaceId> = self.ports.keys().copied().flatten().collect();
        let Some(id) = random.of(&all) else { return };
        let owner = Owner::Interface(id);
        assert!(self.tables.remove_port(owner, self.now));
        let number = self.tables.add_port(owner, Mac([0; 6]), self.now).unwrap();
        self.ports.insert(Some(id), number);
        self.counts.insert(Some(id), Count::default());
        self.forget(|talk| talk.flow.entry == id || talk.at == Some(id));
    }

    /// These flows have ended.
    fn forget(&mut self, ended: impl Fn(&Talk) -> bool) {
        let talks = &self.talks;
        self.of_flow.retain(|_, at| !ended(&talks[*at]));
    }

    fn begin(&mut self, random: &mut Random) -> Result<(), String> {
        let drawn: Vec<Flow> = (0..6)
            .filter_map(|_| draw::flow(random, &self.world.state))
            .filter(|flow| self.ports.contains_key(&Some(flow.entry)) && may_send(v4(flow.source)))
            .collect();
        // Few flows come as far as a NAT gateway.
        let translated = drawn.iter().find(|flow| match self.plan.decide(flow).outcome {
            Outcome::Forward(action) => matches!(action.source, SourceRewrite::Port { .. }),
            Outcome::Refuse(_) => false,
        });
        let flow = translated.or(drawn.first()).copied();
        let Some(flow) = flow else { return Ok(()) };
        let tuple =
            Tuple { source: v4(flow.source), destination: v4(flow.destination), transport: flow.transport };
        self.send(Some(flow.entry), &tuple, SYN)
    }

    /// A flow's packet is sent again, or its next, or its answer.
    fn go_on(&mut self, random: &mut Random) -> Result<(), String> {
        let recent = self.talks.len().saturating_sub(20);
        let Some(talk) = random.of(&self.talks[recent..]) else { return Ok(()) };
        let (from, tuple) = if random.chance(50) {
            let flow = talk.flow;
            let (source, destination) = (v4(flow.source), v4(flow.destination));
            (Some(flow.entry), Tuple { source, destination, transport: flow.transport })
        } else {
            (talk.at, talk.seen.reversed())
        };
        let flags = random.one([SYN, ACK, ACK, ACK, SYN | ACK, SYN | ACK, FIN | ACK, RST | ACK]);
        if from.is_none() || may_send(tuple.source) { self.send(from, &tuple, flags) } else { Ok(()) }
    }

    fn send(&mut self, from: Receiver, tuple: &Tuple, flags: u8) -> Result<(), String> {
        let mac = match from {
            None => DOORS_MAC,
            Some(id) => self.plan.interface(id).map_or(Mac([0; 6]), |found| found.mac),
        };
        self.packets += 1;
        let id = Id { run: 0, packet: self.packets };
        let mut bytes = build(mac, tuple, flags, id);
        let mut frame = Frame { bytes: &mut bytes, header: VirtioNetHdr::default(), tagged: false };
        let Effects { fate, emitted } =
            step(&mut self.tables, &self.plan as &dyn Decider, self.ports[&from], &mut frame, self.now);
        for (_, frame) in &emitted {
            read(frame)?;
        }
        self.seen.packets += 1;
        let own = self.counts.entry(from).or_default();
        own.put_in += 1;
        match fate {
            Fate::Deliver(exit) => {
                own.passed += 1;
                let at = *self.ports.iter().find(|(_, number)| **number == exit).ok_or("out by no port")?.0;
                self.counts.entry(at).or_default().delivered += 1;
                self.seen.passed += 1;
                let seen = read(&bytes)?;
                let passed = Passed { from, sent: *tuple, flags, at, seen };
                self.passed(&passed).map_err(|why| format!("{passed:?}: {why}"))
            }
            Fate::Drop { reason, resource: _ } => {
                own.dropped += 1;
                self.dropped(from, tuple, reason);
                Ok(())
            }
            Fate::DeliverPieces(_) | Fate::Answered | Fate::Held => {
                Err(format!("{fate:?} of a small packet"))
            }
        }
    }

    fn dropped(&mut self, from: Receiver, tuple: &Tuple, reason: DropReason) {
        if reason == DropReason::Cut {
            self.seen.cut += 1;
            let (flow, answered) = (flow_of(from, tuple), self.answered(from, tuple));
            let flows: Vec<_> = answered.iter().map(|at| self.talks[*at].flow).chain(flow).collect();
            self.of_flow.retain(|flow, _| !flows.contains(flow));
        }
    }

    /// The talks that a packet may answer: one, and those before it that looked the same and may be over.
    fn answered(&self, from: Receiver, tuple: &Tuple) -> Vec<usize> {
        let asked = tuple.reversed();
        let known = self.of_flow.values().copied();
        known.filter(|at| self.talks[*at].at == from && self.talks[*at].seen == asked).collect()
    }

    fn passed(&mut self, passed: &Passed) -> Result<(), String> {
        let flow = flow_of(passed.from, &passed.sent);
        let own = flow.and_then(|flow| self.of_flow.get(&flow).copied());
        let answered = self.answered(passed.from, &passed.sent);
        let may_begin = passed.flags & ACK == 0 || !matches!(passed.sent.transport, Transport::Tcp { .. });
        let mut why_not = "it answers nothing".to_owned();
        for at in answered {
            let right_place = passed.at == Some(self.talks[at].flow.entry);
            let begins = self.may_begin_anew(at, passed);
            match self.holds(at, right_place).and_then(|()| self.answer(at, passed)) {
                Ok(()) if begins => {
                    self.begins_anew(passed);
                    return Ok(());
                }
                Ok(()) => return Ok(()),
                Err(why) => why_not = why,
            }
        }
        let Some(flow) = flow else { return Err(why_not) };
        let decision = self.plan.decide(&flow);
        let now_allowed = match decision.outcome {
            Outcome::Forward(action) if may_begin || own.is_some() => {
                fits(&flow, &action, passed).map(|()| action)
            }
            Outcome::Forward(_) => Err("it begins nothing".to_owned()),
            Outcome::Refuse(refusal) => Err(format!("refused: {}", refusal.reason.name())),
        };
        match (own, now_allowed) {
            (None, Err(why)) => Err(format!("{why}; {why_not}")),
            (Some(at), allowed) if self.goes_on(at, passed) => {
                let before = self.seen;
                let held = self.holds(at, passed.at == self.talks[at].at);
                match (held, allowed) {
                    (Ok(()), Ok(_)) => self.seen = before,
                    (Ok(()), Err(_)) => self.seen.tracked += 1,
                    (Err(_), Ok(action)) => self.remember(flow, action, &decision.cut, passed),
                    (Err(why), Err(not)) => return Err(format!("{why}; {not}")),
                }
                self.after(flow, passed);
                Ok(())
            }
            (Some(_) | None, Ok(action)) => {
                self.remember(flow, action, &decision.cut, passed);
                self.after(flow, passed);
                Ok(())
            }
            (Some(at), Err(why)) => Err(format!("{why}, and is not as {:?}", self.talks[at])),
        }
    }

    /// Whether what could be an answer may begin another flow, the other way round: a SYN does after an established
    /// connection, and a datagram where the first flow may have been silent for too long.
    fn may_begin_anew(&self, at: usize, passed: &Passed) -> bool {
        let talk = &self.talks[at];
        match talk.flow.transport {
            Transport::Tcp { .. } => passed.flags == SYN,
            Transport::Udp { .. } => self.now - talk.last > u64::from(talk.action.idle.udp_seconds) * SECOND,
            Transport::Icmp { .. } | Transport::Other { .. } => false,
        }
    }

    fn begins_anew(&mut self, passed: &Passed) {
        let Some(flow) = flow_of(passed.from, &passed.sent) else { return };
        let decision = self.plan.decide(&flow);
        match decision.outcome {
            Outcome::Forward(action) if fits(&flow, &action, passed).is_ok() => {
                self.remember(flow, action, &decision.cut, passed);
            }
            Outcome::Forward(_) | Outcome::Refuse(_) => {}
        }
    }

    /// Whether a packet looks as those before it did.
    fn goes_on(&self, at: usize, passed: &Passed) -> bool {
        self.talks[at].seen == passed.seen.tuple && self.talks[at].at == passed.at
    }

    /// Whether a flow that passed before may still. If it was decided again, that is what it rests on now.
    fn holds(&mut self, at: usize, right_place: bool) -> Result<(), String> {
        let talk = &self.talks[at];
        if !right_place {
            return Err("it came out elsewhere".to_owned());
        }
        if self.now - talk.last > longest_silence(&talk.action, talk.flow.transport) {
            return Err("its flow was silent for too long".to_owned());
        }
        let changed =
            talk.cut.iter().any(|stamp| self.generations.get(&stamp.slot) != Some(&stamp.generation));
        if changed {
            let before = Before { cut: Some(&talk.cut), present: talk.action.present() };
            let again = self.plan.decide_again(&talk.flow, before);
            if again.outcome != Outcome::Forward(talk.action) {
                return Err(format!("it was cut: {:?}", again.outcome));
            }
            self.seen.restamped += 1;
            self.talks[at].cut = again.cut.to_vec();
        }
        Ok(())
    }

    fn answer(&mut self, at: usize, passed: &Passed) -> Result<(), String> {
        let flow = self.talks[at].flow;
        let asked =
            Tuple { source: v4(flow.source), destination: v4(flow.destination), transport: flow.transport };
        if passed.seen.tuple != asked.reversed() {
            return Err(format!("it is no answer to {asked:?}"));
        }
        self.seen.answers += 1;
        self.after(flow, passed);
        Ok(())
    }

    fn remember(&mut self, flow: Flow, action: Action, cut: &[Stamp], passed: &Passed) {
        self.of_flow.insert(flow, self.talks.len());
        let seen = passed.seen.tuple;
        let (at, last, begun) = (passed.at, self.now, self.now);
        self.talks.push(Talk { flow, action, cut: cut.to_vec(), seen, at, last, begun });
    }

    /// A packet of a flow passed.
    fn after(&mut self, flow: Flow, passed: &Passed) {
        let Some(at) = self.of_flow.get(&flow).copied() else { return };
        self.talks[at].last = self.now;
        if let SourceRewrite::Port { .. } = self.talks[at].action.source {
            self.seen.translated += 1;
        }
        if passed.flags & RST != 0 && matches!(flow.transport, Transport::Tcp { .. }) {
            self.of_flow.remove(&flow);
        }
    }

    fn check_tables(&self) -> Result<(), String> {
        for port in self.tables.counters().ports {
            let c = port.counters;
            let counted = Count {
                put_in: c.received.packets,
                passed: c.passed.packets,
                dropped: c.drops.total(),
                delivered: c.delivered.packets,
            };
            let own = self.counts.get(&port.interface).copied().unwrap_or_default();
            if counted != own || own.put_in != own.passed + own.dropped {
                return Err(format!("{:?} counted {counted:?} and not {own:?}", port.interface));
            }
        }
        let mut all = HashMap::new();
        for live in self.tables.live_flows(self.now, usize::MAX) {
            self.check_port(&live)?;
            let protocol = live.flow.transport.protocol();
            let message = match live.flow.transport {
                Transport::Icmp { kind, code, .. } => (kind, code),
                Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Other { .. } => (0, 0),
            };
            if let Some(other) =
                all.insert((live.exit, live.source, live.destination, protocol, message), live)
            {
                return Err(format!("{live:?} and {other:?} are one to their receiver"));
            }
        }
        Ok(())
    }

    /// A living flow keeps its port.
    fn check_port(&self, live: &LiveFlow) -> Result<(), String> {
        let Some(talk) = self.of_flow.get(&live.flow).map(|at| &self.talks[*at]) else { return Ok(()) };
        let port = match talk.seen.transport {
            Transport::Tcp { source_port, .. } | Transport::Udp { source_port, .. } => source_port,
            Transport::Icmp { identifier, .. } => identifier,
            Transport::Other { .. } => return Ok(()),
        };
        let same = (v4(live.source.0), live.source.1) == (talk.seen.source, port);
        let same_flow = self.now - live.age <= talk.begun;
        if same_flow && !same {
            return Err(format!("{live:?} was seen as {:?}", talk.seen));
        }
        Ok(())
    }
}

/// A packet that passed.
#[derive(Debug)]
struct Passed {
    from: Receiver,
    sent: Tuple,
    flags: u8,
    at: Receiver,
    seen: Seen,
}

fn flow_of(from: Receiver, tuple: &Tuple) -> Option<Flow> {
    let (source, destination) = (tuple.source.into(), tuple.destination.into());
    Some(Flow { entry: from?, source, destination, transport: tuple.transport })
}

/// What passed is as the action says.
fn fits(flow: &Flow, action: &Action, passed: &Passed) -> Result<(), String> {
    let source = match action.source {
        SourceRewrite::Keep => Some(v4(flow.source)),
        SourceRewrite::Address(address) => Some(v4(address)),
        SourceRewrite::Port { visible_address, .. } => Some(v4(visible_address)),
        SourceRewrite::Identity { .. } => None,
    };
    let seen = passed.seen.tuple;
    let right = receiver(action) == passed.at
        && seen.destination == arrives_for(flow, action)
        && source.is_none_or(|source| source == seen.source);
    if right { Ok(()) } else { Err(format!("it should go by {action:?}")) }
}

/// No flow of this kind is remembered for longer.
fn longest_silence(action: &Action, transport: Transport) -> u64 {
    let idle = &action.idle;
    let seconds = match transport {
        Transport::Tcp { .. } => idle.tcp_established_seconds,
        Transport::Udp { .. } => idle.udp_stream_seconds.max(idle.udp_seconds),
        Transport::Icmp { .. } | Transport::Other { .. } => idle.other_seconds,
    };
    u64::from(seconds) * SECOND
}

fn run(seed: u64, stale: bool) -> Result<Seldom, String> {
    let random = &mut Random::new(seed);
    let mut history = History::new(random, stale);
    for step in 0..STEPS {
        history.event(random).map_err(|why| format!("at step {step}: {why}"))?;
    }
    Ok(history.seen)
}

pub fn histories() {
    let (seeds, usual) = crate::seeds(HISTORIES);
    let mut all = Seldom::default();
    for seed in seeds {
        match run(seed, false) {
            Ok(seen) => {
                all.packets += seen.packets;
                all.passed += seen.passed;
                all.changes += seen.changes;
                all.tracked += seen.tracked;
                all.restamped += seen.restamped;
                all.cut += seen.cut;
                all.answers += seen.answers;
                all.translated += seen.translated;
            }
            Err(why) => panic!("failed with POSTERN_REALITY_SEED={seed} POSTERN_REALITY_CASES=1: {why}"),
        }
    }
    println!("note: {all:?}");
    if usual {
        let least = [all.tracked, all.restamped, all.cut, all.answers, all.translated];
        assert!(least.iter().all(|count| *count >= LEAST), "drawn too seldom: {all:?}");
    }
}

/// Where changes do not reach the generations, what was decided before goes on passing, and is noticed.
pub fn stale_generations_are_noticed() {
    let noticed = (1..=FAULTY).filter(|seed| run(*seed, true).is_err()).count();
    println!("note: noticed in {noticed} of {FAULTY}");
    assert!(noticed > 0);
}
