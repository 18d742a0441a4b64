//! Load balancers one change after the other: which connections keep their target, and which end.

use postern_path::{Before, Decision, DropReason, Flow, Health, Outcome, Plan, Present};
use postern_testkit::Topology;

const TOPOLOGY: &str = "
vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
subnet a.two 10.0.2.0/24
group a.open
  in all from 0.0.0.0/0
  out all to 0.0.0.0/0
instance c in a.one groups=open ip=10.0.1.10
instance t1 in a.two groups=open ip=10.0.2.11
instance t2 in a.two groups=open ip=10.0.2.12
instance t3 in a.two groups=open ip=10.0.2.13
balancer a.lb in one ip=10.0.1.99
  listen tcp 80 -> 8080 t1 t2 t3 hide
";

fn read(text: &str) -> Topology {
    Topology::read(text).unwrap_or_else(|why| panic!("{why}"))
}

fn decided(topology: &Topology, flow: &str) -> (Flow, Decision) {
    topology.probe(flow).unwrap_or_else(|why| panic!("{why}")).decided.expect("it is decided")
}

fn present(decision: &Decision) -> Present {
    match &decision.outcome {
        Outcome::Forward(action) => action.present().expect("it is balanced"),
        Outcome::Refuse(refusal) => panic!("{refusal:?}"),
    }
}

/// A flow and its target, before anything happens.
fn before(port: u16) -> (Topology, Flow, Decision) {
    let topology = read(TOPOLOGY);
    let (flow, decision) = decided(&topology, &format!("c -> a.lb.one:80 tcp sport={port}"));
    (topology, flow, decision)
}

fn again(plan: &Plan, flow: &Flow, old: &Decision) -> Outcome {
    plan.decide_again(flow, Before { cut: Some(&old.cut), present: Some(present(old)) }).outcome
}

fn is_cut(old: &Decision, changed: &[postern_path::Stamp]) -> bool {
    old.cut
        .iter()
        .any(|old| changed.iter().any(|new| new.slot == old.slot && new.generation != old.generation))
}

/// The health of the targets at these addresses.
fn health(topology: &Topology, found: &[(&str, bool)]) -> Health {
    let group = topology.state.target_groups.values().next().expect("a group");
    let at = |name: &str| {
        let place = group.targets.keys().find(|key| {
            let at = group.place_of(&topology.state, **key).expect("it runs");
            at.ip().to_string() == name
        });
        (group.id, *place.expect("a target"))
    };
    found.iter().map(|(name, healthy)| (at(name), *healthy)).collect()
}

#[test]
fn flows_spread_and_a_target_that_fails_moves_only_its_own() {
    let topology = read(TOPOLOGY);
    let all = [("10.0.2.11", true), ("10.0.2.12", true), ("10.0.2.13", true)];
    let one_fails = [("10.0.2.11", true), ("10.0.2.12", false), ("10.0.2.13", true)];
    let plans = [&all, &one_fails]
        .map(|found| topology.plan.with_health(&topology.state, &health(&topology, found)).plan);
    let mut moved = 0;
    for port in 40_000..41_000 {
        let (flow, _) = decided(&topology, &format!("c -> a.lb.one:80 tcp sport={port}"));
        let [one, other] = plans.each_ref().map(|plan| present(&plan.decide(&flow)).to);
        if one.ip().to_string() == "10.0.2.12" {
            assert_ne!(one, other);
            moved += 1;
        } else {
            assert_eq!(one, other, "{flow} had another target");
        }
    }
    assert!((200..470).contains(&moved), "{moved} of 1,000 had the one that failed");
}

#[test]
fn a_target_that_fails_loses_its_connections_and_no_others() {
    let (topology, flow, old) = before(40_000);
    let mine = present(&old).to.ip().to_string();
    for name in ["10.0.2.11", "10.0.2.12", "10.0.2.13"] {
        let next = topology.plan.with_health(&topology.state, &health(&topology, &[(name, false)]));
        assert_eq!(is_cut(&old, &next.changed), name == mine);
        match again(&next.plan, &flow, &old) {
            Outcome::Refuse(refusal) => assert_eq!((refusal.reason, name), (DropReason::TargetGone, &*mine)),
            Outcome::Forward(action) => {
                assert_ne!(name, mine);
                assert_eq!(action.present(), Some(present(&old)));
            }
        }
        // It fails once: who got it while nobody is healthy keeps it.
        let (_, fail_open) = (flow, next.plan.decide(&flow));
        let healthy = health(&topology, &[(name, false), ("10.0.2.12", name != "10.0.2.12")]);
        let later = next.plan.with_health(&topology.state, &healthy);
        let kept = again(&later.plan, &flow, &fail_open);
        assert!(matches!(kept, Outcome::Forward(_)) || name != "10.0.2.12", "{kept:?}");
    }
}

#[test]
fn a_connection_keeps_its_target_while_others_come_and_go() {
    let (topology, flow, old) = before(40_001);
    let more = format!("{TOPOLOGY}then up t1\nthen up t2\nthen up t3\n");
    for then in ["then stop t1", "then stop t2", "then stop t3"] {
        let now = read(&format!("{more}{then}\n"));
        let next = topology.plan.advance(&topology.state, &now.state);
        let stays = again(&next.plan, &flow, &old);
        let own = then.ends_with(&present(&old).to.ip().octets()[3].to_string().split_off(1));
        assert_eq!(matches!(stays, Outcome::Forward(_)), !own, "{then}: {stays:?}");
    }
}

#[test]
fn who_is_let_go_of_keeps_its_connections_unless_the_group_ends_them() {
    for (text, ends) in [(TOPOLOGY.to_owned(), false), (TOPOLOGY.replace("hide", "hide terminate"), true)] {
        let topology = read(&text);
        let (flow, old) = decided(&topology, "c -> a.lb.one:80 tcp sport=40002");
        let name = format!("t{}", present(&old).to.ip().octets()[3] - 10);
        let draining = read(&format!("{text}then deregister {name}\n"));
        let next = topology.plan.advance(&topology.state, &draining.state);
        assert_ne!(present(&next.plan.decide(&flow)).to, present(&old).to, "new ones go elsewhere");
        assert!(matches!(again(&next.plan, &flow, &old), Outcome::Forward(_)), "it is draining");
        let mut gone = draining.state.clone();
        let group = gone.target_groups.keys().next().copied().expect("a group");
        let found = gone.target_groups.get_mut(&group).map(std::sync::Arc::make_mut).expect("a group");
        let left = found.targets.iter().filter(|(_, target)| target.deregistered_at.is_none());
        found.targets = left.map(|(key, target)| (*key, target.clone())).collect();
        let last = next.plan.advance(&draining.state, &gone);
        assert!(is_cut(&old, &last.changed), "it is looked at once more");
        assert_eq!(matches!(again(&last.plan, &flow, &old), Outcome::Refuse(_)), ends);
    }
}

#[test]
fn the_same_plan_comes_of_health_before_and_after_a_change() {
    let topology = read(TOPOLOGY);
    let stopped = read(&format!("{TOPOLOGY}then stop t2\n"));
    let found = health(&topology, &[("10.0.2.11", true), ("10.0.2.12", false), ("10.0.2.13", true)]);
    let one =
        topology.plan.with_health(&topology.state, &found).plan.advance(&topology.state, &stopped.state).plan;
    let other =
        topology.plan.advance(&topology.state, &stopped.state).plan.with_health(&stopped.state, &found).plan;
    assert_eq!(one.differences(&other), Vec::<&str>::new());
    assert!(topology.plan.differences(&one).contains(&"target groups"));
    assert!(one.with_health(&stopped.state, &found).changed.is_empty(), "the same is no change");
}
