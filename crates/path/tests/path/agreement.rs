//! `decide` and the oracle agree about every flow of every topology.

use std::collections::BTreeMap;

use postern_model::{ResourceId, State};
use postern_path::{
    Decision, Deliver, Door, DropReason, Flow, Health, Outcome, Plan, SourceRewrite, Stage, Through, Uplink,
    Verdict, Why,
};
use postern_testkit::coverage;
use postern_testkit::{Random, draw};

use crate::oracle::{self, Answer, Way};
use crate::seeds;

const TOPOLOGIES: u64 = 800;
const FLOWS: usize = 300;
/// How often everything that can be said has to come up in the usual run.
const LEAST: usize = 5;

/// What `decide` says, in the oracle's words.
pub fn said(decision: &Decision) -> Answer {
    match &decision.outcome {
        Outcome::Forward(action) => Ok(Way::from(action)),
        Outcome::Refuse(refusal) => {
            Err((refusal.reason, refusal.resource.expect("a refusal names what caused it")))
        }
    }
}

/// Where the two do not say the same.
pub fn disagreement(
    state: &State,
    (uplink, health): (Option<Uplink>, &Health),
    plan: &Plan,
    flow: &Flow,
) -> Option<(Answer, Decision)> {
    let decision = plan.decide(flow);
    let answer = oracle::answer(state, uplink, health, flow);
    (said(&decision) != answer).then_some((answer, decision))
}

/// What came up: what stages said, and in which ways flows went.
#[derive(Default)]
struct Seen {
    stages: BTreeMap<(Stage, Option<DropReason>), usize>,
    ways: BTreeMap<&'static str, usize>,
}

const WAYS: [&str; 31] = [
    "balanced",
    "balanced, with the client's address",
    "balanced from the internet",
    "balanced from on premises",
    "link",
    "resolver endpoint",
    "over a VPN to a resolver endpoint",
    "over a peering to a resolver endpoint",
    "endpoint",
    "endpoint behind NAT",
    "interface endpoint",
    "interface endpoint behind NAT",
    "internet to a service",
    "internet to a service behind NAT",
    "inside",
    "over a peering",
    "over a VPN to on premises",
    "over a VPN from on premises",
    "over a VPN to an interface endpoint",
    "over a peering behind NAT",
    "over a transit gateway",
    "over a transit gateway behind NAT",
    "over a transit gateway to an interface endpoint",
    "over a transit gateway to on premises",
    "over a transit gateway to a resolver endpoint",
    "over a transit gateway from on premises",
    "over a peering to an interface endpoint",
    "inside behind NAT",
    "internet to an interface",
    "out of the region",
    "out of the region behind NAT",
];

fn way(way: &Way, decision: &Decision) -> &'static str {
    let over_vpn =
        decision.steps.iter().any(|step| matches!(step.resource, Some(ResourceId::VpnConnection(_))));
    if let Some(balanced) = way.balanced {
        let out = decision.steps.iter().any(|step| step.stage == Stage::InternetGateway);
        return match balanced.preserves {
            _ if out => "balanced from the internet",
            _ if over_vpn => "balanced from on premises",
            true => "balanced, with the client's address",
            false => "balanced",
        };
    }
    // Only interfaces have groups.
    let by_interface = decision.steps.iter().any(|step| step.stage == Stage::IngressSecurityGroup);
    let peered = decision.steps.iter().any(|step| step.stage == Stage::Remote);
    let outward = decision.steps.iter().any(|step| step.verdict == Verdict::Pass(Why::OnPremises));
    let resolver = way.deliver == Deliver::Door(Door::Resolver);
    if decision.steps.iter().any(|step| step.stage == Stage::TransitGateway) {
        return match way.source {
            _ if resolver => "over a transit gateway to a resolver endpoint",
            _ if outward => "over a transit gateway to on premises",
            // That of a VPN.
            SourceRewrite::Keep if way.mtu == 1446 => "over a transit gateway from on premises",
            SourceRewrite::Keep | SourceRewrite::Address(_) => "over a transit gateway",
            SourceRewrite::Port { .. } => "over a transit gateway behind NAT",
            SourceRewrite::Identity { .. } => "over a transit gateway to an interface endpoint",
        };
    }
    match (way.source, way.destination.is_some()) {
        _ if resolver && over_vpn => "over a VPN to a resolver endpoint",
        _ if resolver && peered => "over a peering to a resolver endpoint",
        _ if outward => "over a VPN to on premises",
        (SourceRewrite::Identity { .. }, _) if over_vpn => "over a VPN to an interface endpoint",
        _ if over_vpn => "over a VPN from on premises",
        (SourceRewrite::Keep, _) if peered => "over a peering",
        (SourceRewrite::Port { .. }, false) if peered => "over a peering behind NAT",
        (SourceRewrite::Identity { .. }, _) if peered => "over a peering to an interface endpoint",
        (SourceRewrite::Keep, _) => "inside",
        (SourceRewrite::Address(_), _) | (SourceRewrite::Port { .. }, true) => "internet to an interface",
        (SourceRewrite::Port { .. }, false) => "inside behind NAT",
        (SourceRewrite::Identity { peer, gateway }, _) => match (peer.through, gateway) {
            (Through::Link, _) => "link",
            (Through::Resolver(..), None) => "resolver endpoint",
            (Through::Resolver(..), Some(_)) => "resolver endpoint behind NAT",
            (Through::Endpoint(..), None) if by_interface => "interface endpoint",
            (Through::Endpoint(..), Some(_)) if by_interface => "interface endpoint behind NAT",
            (Through::Endpoint(..), None) => "endpoint",
            (Through::Endpoint(..), Some(_)) => "endpoint behind NAT",
            (Through::Internet(_), gateway) => match (way.deliver, gateway) {
                (Deliver::Door(Door::Uplink), None) => "out of the region",
                (Deliver::Door(Door::Uplink), Some(_)) => "out of the region behind NAT",
                (_, None) => "internet to a service",
                (_, Some(_)) => "internet to a service behind NAT",
            },
        },
    }
}

fn compare(random: &mut Random) -> Seen {
    let state = draw::topology(random).state;
    let uplink = draw::uplink(random);
    let health = draw::health(random, &state);
    let plan = Plan::compile_with_uplink(&state, uplink).plan.with_health(&state, &health).plan;
    let mut seen = Seen::default();
    for _ in 0..FLOWS {
        let Some(flow) = draw::flow(random, &state) else { continue };
        if let Some((answer, decision)) = disagreement(&state, (uplink, &health), &plan, &flow) {
            let words = postern_path::explain::explain(&flow, &decision);
            panic!("the oracle says {answer:#?}\nof\n{words}\n{:#?}", said(&decision));
        }
        let decision = plan.decide(&flow);
        coverage::of(&decision).for_each(|said| *seen.stages.entry(said).or_default() += 1);
        said(&decision).iter().for_each(|went| *seen.ways.entry(way(went, &decision)).or_default() += 1);
    }
    seen
}

#[test]
fn decide_says_what_the_oracle_says() {
    let mut all = Seen::default();
    for seen in seeds::each(TOPOLOGIES, |_, random| compare(random)) {
        seen.stages.into_iter().for_each(|(said, count)| *all.stages.entry(said).or_default() += count);
        seen.ways.into_iter().for_each(|(way, count)| *all.ways.entry(way).or_default() += count);
    }
    if std::env::var_os("POSTERN_COUNTS").is_some() {
        println!("{:#?}\n{:#?}", all.stages, all.ways);
    }
    if !seeds::is_single() {
        let rare = |said: &&(Stage, Option<DropReason>)| all.stages.get(*said).is_none_or(|n| *n < LEAST);
        let wanted = coverage::wanted();
        let rare: Vec<_> = wanted.iter().filter(rare).collect();
        assert!(rare.is_empty(), "drawn too seldom: {rare:?}");
        let rare: Vec<_> = WAYS.iter().filter(|way| all.ways.get(*way).is_none_or(|n| *n < LEAST)).collect();
        assert!(rare.is_empty(), "drawn too seldom: {rare:?}");
        let unknown: Vec<_> = all.stages.keys().filter(|said| !wanted.contains(said)).collect();
        assert!(unknown.is_empty(), "drawn, but not known to be possible: {unknown:?}");
    }
}
