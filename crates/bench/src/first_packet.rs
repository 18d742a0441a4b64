//! The first packet of a flow that nothing is known about: how long it takes, beside a plain round trip.
//!
//! Before each probe the route table of the client's subnet changes, which voids every template that rests on it, so
//! that the packet has to be decided about. The forwarder's own counters say afterwards that it was.

use anyhow::Context;
use postern_model::Action;
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};

use crate::Options;
use crate::cpu::{self, Pinning};
use crate::load::echo::Probe;
use crate::paths::{Contender, DIRECT, Field, POSTERN};
use crate::region::Region;
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::{Times, median};

/// Probes of a kind in a round.
const PROBES: usize = 200;

/// The times of one path, or of the link.
#[derive(Default)]
struct Kinds {
    /// Over a flow that is known.
    known: Times,
    /// A flow's first packet that a template lets pass.
    template: Times,
    /// A flow's first packet that is decided about.
    decided: Times,
    /// How many of those there were, as the forwarder counted.
    upcalls: u64,
}

/// Measures all of it.
pub fn run(field: &mut Field, pinning: &Pinning, options: &Options) -> anyhow::Result<Outcome> {
    let mut rounds: Vec<Vec<Kinds>> = Vec::new();
    for round in 0..options.rounds {
        eprintln!("first packet: round {} of {}", round + 1, options.rounds);
        rounds.push(one_round(field, pinning)?);
    }
    Ok(outcome(&field.contenders, rounds))
}

/// The kinds in turn, probe by probe.
fn one_round(field: &mut Field, pinning: &Pinning) -> anyhow::Result<Vec<Kinds>> {
    // This thread is the client; publishing is done by the forwarder's own thread.
    let Field { contenders, region, .. } = field;
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            cpu::pin(&[pinning.client])?;
            let mut all = Vec::new();
            let measured = |name| name == DIRECT || POSTERN.contains(&name);
            for contender in contenders.iter().filter(|contender| measured(contender.name)) {
                let kinds = probe(contender, region);
                all.push(kinds.with_context(|| format!("probing {}", contender.name))?);
            }
            anyhow::Ok(all)
        });
        client.join().map_err(|_| anyhow::anyhow!("the client panicked"))?
    })
}

fn probe(contender: &Contender, region: &mut Region) -> anyhow::Result<Kinds> {
    let mut kinds = Kinds::default();
    let postern = POSTERN.contains(&contender.name);
    let warm = Probe::open(&contender.route)?;
    warm.round_trip()?;
    for _ in 0..PROBES {
        kinds.known.add(warm.round_trip()?);
        // On the plain link there is nothing to decide, but a new socket costs what it costs.
        kinds.template.add(Probe::open(&contender.route)?.round_trip()?);
        if postern {
            let fresh = Probe::open(&contender.route)?;
            touch(region)?;
            let before = upcalls(region)?;
            kinds.decided.add(fresh.round_trip()?);
            kinds.upcalls += upcalls(region)? - before;
            // The known flow is decided about again here, not when it is timed.
            warm.round_trip()?;
        }
    }
    Ok(kinds)
}

/// Changes the client's route table, in a way that no packet here is led by.
fn touch(region: &mut Region) -> anyhow::Result<()> {
    let table = region.route_table("a.t")?;
    let destination =
        RouteDestination::Cidr(postern_model::Ipv4Net::new_assert([203, 0, 113, 0].into(), 24).into());
    let there =
        region.state().route_tables.get(&table).is_some_and(|table| table.routes.contains_key(&destination));
    let action = if there {
        Action::DeleteRoute { table, destination }
    } else {
        let target = RouteTarget::NetworkInterface(region.interface("local")?);
        Action::CreateRoute { table, destination, target: RouteTargetChoice::Target(target) }
    };
    region.change(action)
}

/// Decisions that the client's packets have asked for.
fn upcalls(region: &Region) -> anyhow::Result<u64> {
    let counters = region.forwarder.counters().wait()?;
    let client = counters.interface(region.interface("client")?).context("the client has no port")?;
    Ok(client.counters.upcalls)
}

fn outcome(contenders: &[Contender], rounds: Vec<Vec<Kinds>>) -> Outcome {
    let header = [
        "path",
        "known flow, p50 µs",
        "new flow by a template, p50 µs",
        "decided, p50 µs",
        "decided, p99 µs",
        "decided, to a plain round trip",
    ];
    let mut table = Table::new("First packet", header.map(str::to_owned));
    let mut raw = serde_json::Map::new();
    let mut goals = Vec::new();
    let mut rounds = rounds;
    let plain: Vec<f64> = rounds
        .iter_mut()
        .map(|round| round.first_mut().map_or(f64::NAN, |kinds| kinds.known.percentile(0.5)))
        .collect();
    let mut probes = (0, 0);
    let measured = |name| name == DIRECT || POSTERN.contains(&name);
    for (at, contender) in contenders.iter().filter(|contender| measured(contender.name)).enumerate() {
        let mut all = Kinds::default();
        let mut per_round = Vec::new();
        for (round, plain) in rounds.iter_mut().zip(&plain) {
            let Some(kinds) = round.get_mut(at) else { continue };
            let medians = [&mut kinds.known, &mut kinds.template, &mut kinds.decided]
                .map(|times| times.percentile(0.5));
            per_round.push((medians, medians[2] / plain));
            all.known.extend(&kinds.known);
            all.template.extend(&kinds.template);
            all.decided.extend(&kinds.decided);
            all.upcalls += kinds.upcalls;
        }
        let middle = |n: usize| median(per_round.iter().map(|(medians, _)| medians[n]));
        let ratio = median(per_round.iter().map(|(_, ratio)| *ratio));
        let p99 = all.decided.percentile(0.99);
        let cell = |figure: f64| fixed(figure, 1);
        let row = [cell(middle(0)), cell(middle(1)), cell(middle(2)), cell(p99), fixed(ratio, 2)];
        table.row(std::iter::once(contender.name.to_owned()).chain(row).collect());
        if POSTERN.contains(&contender.name) {
            probes = (probes.0 + all.decided.len(), probes.1 + all.upcalls);
            goals.push(
                Goal::below(
                    &format!("{}: first packet, to a plain round trip", contender.name),
                    ratio,
                    4.0,
                    2,
                    "",
                )
                .over(&per_round.iter().map(|(_, ratio)| *ratio).collect::<Vec<_>>()),
            );
        }
        raw.insert(
            contender.name.to_owned(),
            serde_json::json!({ "p50_us_of_rounds": per_round, "decided_p99_us": p99 }),
        );
    }
    table.note(format!(
        "A datagram of 64 bytes there and back; the plain round trip is the direct veth pair's known flow. {} of {} \
         probes were decided about by the forwarder's own count.",
        probes.1, probes.0
    ));
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
