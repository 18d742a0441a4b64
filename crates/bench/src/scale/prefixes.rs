//! A million prefixes: what they cost when the plan is compiled, when it is changed, and when it decides.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::time::ClockId;
use postern_model::prefix_list::NewPrefixList;
use postern_model::quota::Quota;
use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::{AccountId, Action, IpNet, Ipv4Net, PrefixListId, State, VpcId};
use postern_path::{Flow, Plan, Transport};
use postern_store::{Ledger, Sources};
use postern_testkit::Topology;

use crate::Options;
use crate::cpu::{self, Pinning};
use crate::report::{Goal, Outcome, Table, fixed};
use crate::stats::median;

/// How many prefixes there are.
pub const PREFIXES: usize = 1_000_000;
/// Prefixes of a list, and so of a table: more are not allowed.
const OF_A_LIST: usize = 1_000;
/// Each VPC has this many tables at most beside its main one.
const TABLES_OF_A_VPC: usize = 500;
/// Changes that are timed in a round.
const CHANGES: usize = 50;
/// What a figure varies by and still counts as the same.
const SAME: f64 = 1.25;

const TOPOLOGY: &str = "\
vpc a 10.0.0.0/16
subnet a.private 10.0.1.0/24
igw a
group a.open
  in tcp 443 from 10.0.0.0/16
interface one in a.private attached groups=open ip=10.0.1.10 public
interface two in a.private attached groups=open ip=10.0.1.11
vpc b 10.0.0.0/16
igw b
";

/// Adds tables with so many routes: to a list of prefixes each, by the internet gateway of their VPC. The subnets of the
/// first VPC use the first of them.
pub fn widen(topology: &Topology, prefixes: usize) -> anyhow::Result<State> {
    let ledger = Ledger::ephemeral(topology.state.clone(), Sources::system())?;
    let account = postern_testkit::world::accounts()[0];
    let act = |action| ledger.execute_blocking(account, None, action).map(|done| done.state);
    for (quota, limit) in [(Quota::PrefixLists, 1_000), (Quota::RouteTables, 1_000), (Quota::Routes, 1_000)] {
        act(Action::SetQuota { quota, limit: Some(limit) })?;
    }
    let lists = lists(&act, account, prefixes)?;
    let vpcs: Vec<VpcId> =
        ledger.state().vpcs.values().filter(|vpc| vpc.owner == account).map(|vpc| vpc.id).collect();
    for (n, list) in lists.iter().enumerate() {
        let vpc = *vpcs.get(n / TABLES_OF_A_VPC).context("there are too few VPCs")?;
        let before = ledger.state();
        let after = act(Action::CreateRouteTable { vpc, tags: Default::default() })?;
        let mut tables = after.route_tables.keys().filter(|id| !before.route_tables.contains_key(*id));
        let table = *tables.next().context("no route table was made")?;
        let mut gateways = after.internet_gateways.values();
        let gateway = gateways.find(|gateway| gateway.vpc == Some(vpc)).context("a VPC has no gateway")?.id;
        act(Action::CreateRoute {
            table,
            destination: RouteDestination::PrefixList(*list),
            target: RouteTargetChoice::Target(RouteTarget::InternetGateway(gateway)),
        })?;
        if n == 0 {
            for subnet in after.subnets.values().filter(|subnet| subnet.vpc == vpc) {
                act(Action::AssociateRouteTable { table, subnet: subnet.id })?;
            }
        }
    }
    Ok((*ledger.state()).clone())
}

fn lists<E: std::error::Error + Send + Sync + 'static>(
    act: &impl Fn(Action) -> Result<std::sync::Arc<State>, E>,
    account: AccountId,
    prefixes: usize,
) -> anyhow::Result<Vec<PrefixListId>> {
    let mut last = None;
    for (n, from) in (0..prefixes).step_by(OF_A_LIST).enumerate() {
        let entries: Vec<_> =
            (from..prefixes.min(from + OF_A_LIST)).map(|n| (block(n), String::new())).collect();
        last = Some(act(Action::CreateManagedPrefixList(NewPrefixList {
            name: format!("list-{n}"),
            ipv6: false,
            max_entries: u32::try_from(entries.len())?,
            entries,
            tags: Default::default(),
        }))?);
    }
    let state = last.context("no prefixes were asked for")?;
    Ok(state.prefix_lists.values().filter(|list| list.owner == Some(account)).map(|list| list.id).collect())
}

/// Blocks of sixteen addresses from 20.0.0.0 on.
fn block(n: usize) -> IpNet {
    let address = std::net::Ipv4Addr::from(0x1400_0000 + 16 * n as u32);
    IpNet::V4(Ipv4Net::new(address, 28).unwrap_or_default())
}

/// One size.
struct Scene {
    prefixes: usize,
    ledger: Ledger,
    state: std::sync::Arc<State>,
    plan: Plan,
    flows: Vec<Flow>,
    compile: Duration,
    megabytes: f64,
    /// Of each round: ns a decision, µs an unrelated change.
    decide: Vec<f64>,
    change: Vec<f64>,
}

/// Measures it with few prefixes and with many, in turn.
pub fn run(pinning: &Pinning, options: &Options) -> anyhow::Result<Outcome> {
    let topology = Topology::read(TOPOLOGY).map_err(anyhow::Error::msg)?;
    let mut scenes = Vec::new();
    for prefixes in [10, PREFIXES] {
        eprintln!("scale: making {prefixes} prefixes");
        scenes.push(Scene::new(&topology, prefixes)?);
    }
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            cpu::pin(&[pinning.client])?;
            for _ in 0..options.rounds {
                for scene in &mut scenes {
                    scene.round(Duration::from_secs_f64(options.seconds / 4.0))?;
                }
            }
            anyhow::Ok(())
        });
        worker.join().map_err(|_| anyhow::anyhow!("the thread that decides panicked"))?
    })?;
    Ok(outcome(&scenes))
}

impl Scene {
    fn new(topology: &Topology, prefixes: usize) -> anyhow::Result<Self> {
        let before = resident_megabytes()?;
        let ledger = Ledger::ephemeral(widen(topology, prefixes)?, Sources::system())?;
        let (state, begun) = (ledger.state(), Instant::now());
        let plan = Plan::compile(&state).plan;
        let (compile, megabytes) = (begun.elapsed(), resident_megabytes()? - before);
        let entry = topology.interface("one").context("there is no interface")?;
        let flows = (0..4_096)
            .map(|n| Flow {
                entry,
                source: std::net::Ipv4Addr::new(10, 0, 1, 10).into(),
                // Half of them to where the first table's list leads, as far as it goes.
                destination: std::net::Ipv4Addr::from(0x1400_0000 + 7 * n).into(),
                transport: Transport::Tcp { source_port: 10_000 + n as u16, destination_port: 443 },
            })
            .collect();
        let (decide, change) = (Vec::new(), Vec::new());
        Ok(Self { prefixes, ledger, state, plan, flows, compile, megabytes, decide, change })
    }

    fn round(&mut self, time: Duration) -> anyhow::Result<()> {
        let clock = || anyhow::Ok(Duration::from(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?));
        let (begun, used) = (Instant::now(), clock()?);
        let mut decided = 0_usize;
        while begun.elapsed() < time {
            for flow in &self.flows {
                black_box(self.plan.decide(black_box(flow)));
            }
            decided += self.flows.len();
        }
        self.decide.push(clock()?.saturating_sub(used).as_secs_f64() * 1e9 / decided as f64);
        // Something that has nothing to do with any prefix.
        let account = postern_testkit::world::accounts()[0];
        let mut spent = Duration::ZERO;
        for n in 0..CHANGES {
            let vpc = self.state.vpcs.values().find(|vpc| vpc.owner == account).context("no VPC")?.id;
            let action = Action::SetVpcDns { vpc, support: Some(n.is_multiple_of(2)), hostnames: None };
            let next = self.ledger.execute_blocking(account, None, action)?.state;
            let used = clock()?;
            self.plan = self.plan.advance(&self.state, &next).plan;
            spent += clock()?.saturating_sub(used);
            self.state = next;
        }
        self.change.push(spent.as_secs_f64() * 1e6 / CHANGES as f64);
        Ok(())
    }
}

/// The memory that this process holds.
fn resident_megabytes() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split_whitespace().nth(1).context("`/proc/self/statm` is empty")?.parse()?;
    Ok(pages * 4_096.0 / 1e6)
}

fn outcome(scenes: &[Scene]) -> Outcome {
    let header = [
        "prefixes",
        "compiled in, s",
        "memory of state and plan, MB",
        "decide, ns",
        "an unrelated change, µs",
    ];
    let mut table = Table::new("Scale: prefixes in the plan", header.map(str::to_owned));
    for scene in scenes {
        table.row(vec![
            fixed(scene.prefixes as f64, 0),
            fixed(scene.compile.as_secs_f64(), 2),
            fixed(scene.megabytes, 0),
            fixed(median(scene.decide.iter().copied()), 0),
            fixed(median(scene.change.iter().copied()), 1),
        ]);
    }
    table.note(format!(
        "Route tables with a route to a managed prefix list each, {OF_A_LIST} prefixes to a list; by the thread's \
         processor time, but for compiling. Flows go to 4,096 addresses by a table that is full; an unrelated change \
         switches a VPC's DNS."
    ));
    let ratio = |of: fn(&Scene) -> &Vec<f64>| -> Vec<f64> {
        match scenes {
            [few, many, ..] => of(many).iter().zip(of(few)).map(|(many, few)| many / few).collect(),
            [] | [_] => Vec::new(),
        }
    };
    let goal = |what: &str, ratios: &[f64]| {
        Goal::below(what, median(ratios.iter().copied()), SAME, 2, "").over(ratios)
    };
    let (decide, change) = (ratio(|scene| &scene.decide), ratio(|scene| &scene.change));
    let goals = vec![
        goal("a decision with 1,000,000 prefixes, to one with 10", &decide),
        goal("an unrelated change with 1,000,000 prefixes, to one with 10", &change),
    ];
    let raw: Vec<_> = scenes
        .iter()
        .map(|scene| {
            serde_json::json!({
                "prefixes": scene.prefixes, "compile_s": scene.compile.as_secs_f64(),
                "plan_megabytes": scene.megabytes, "decide_ns": scene.decide, "change_us": scene.change,
            })
        })
        .collect();
    Outcome { tables: vec![table], goals, raw: raw.into() }
}
