//! One change after the other: which decisions it voids, which flows it cuts, and what is decided about those again.

use postern_path::{Before, Decision, Flow, Outcome, Plan, Stamp, Verdict, Why};
use postern_testkit::Topology;

/// What a change does to a flow that was decided before it.
struct Change {
    before: Decision,
    /// What is decided now about a new flow of the same kind.
    new: Decision,
    /// What is decided now about the old one.
    again: Decision,
    voids: bool,
    cuts: bool,
}

fn is_changed(stamps: &[Stamp], changed: &[Stamp]) -> bool {
    stamps.iter().any(|old| changed.iter().any(|new| new.slot == old.slot))
}

/// What is known of a flow that this was decided about.
fn known(before: &Decision) -> Before<'_> {
    let present = match &before.outcome {
        Outcome::Forward(action) => action.present(),
        Outcome::Refuse(_) => None,
    };
    Before { cut: Some(&before.cut), present }
}

fn passes(decision: &Decision) -> bool {
    matches!(decision.outcome, Outcome::Forward(_))
}

impl Change {
    /// `then` is what happens after the flow was decided.
    fn new(topology: &str, flow: &str, then: &str) -> Self {
        let old = Topology::read(topology).unwrap_or_else(|why| panic!("{why}"));
        // The same lines make the same ids, so the second state is the first and what happened then.
        let now = Topology::read(&format!("{topology}\n{then}\n")).unwrap_or_else(|why| panic!("{why}"));
        let probe = old.probe(flow).unwrap_or_else(|why| panic!("{why}"));
        let (flow, before): (Flow, Decision) = probe.decided.expect("it is decided");
        let next = old.plan.advance(&old.state, &now.state);
        assert_eq!(next.plan.differences(&Plan::compile(&now.state).plan), Vec::<&str>::new());
        Self {
            voids: is_changed(&before.consulted, &next.changed),
            cuts: is_changed(&before.cut, &next.changed),
            new: next.plan.decide(&flow),
            again: next.plan.decide_again(&flow, known(&before)),
            before,
        }
    }

    /// New flows are refused, and the old one is ended.
    fn ends(self) {
        assert!(passes(&self.before) && self.voids && self.cuts, "{:#?}", self.before);
        assert!(!passes(&self.new) && !passes(&self.again));
    }

    /// New flows are refused, and the old one lives on without being asked about.
    fn spares(self) {
        assert!(passes(&self.before) && self.voids && !self.cuts && !passes(&self.new));
    }

    /// The old flow is decided about again, as one that is tracked, and lives on.
    fn restamps(self) {
        assert!(passes(&self.before) && self.cuts);
        assert_eq!(self.again.outcome, self.before.outcome);
        let tracked = Verdict::Pass(Why::Tracked);
        assert!(self.again.steps.iter().any(|step| step.verdict == tracked));
    }

    /// Something that it rests on changed, but nothing about it: decided again, the same.
    fn stays(self) {
        assert!(self.voids && self.cuts);
        assert_eq!((self.new.outcome, self.again.outcome), (self.before.outcome, self.before.outcome));
    }

    /// Nothing that it rested on changed.
    fn leaves_alone(self) {
        assert!(!self.voids && !self.cuts);
        assert_eq!(self.new, self.before);
    }
}

const PAIR: &str = "
vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
subnet a.two 10.0.2.0/24
group a.open
  in all from 0.0.0.0/0
  out all to 0.0.0.0/0
group a.narrow
  in tcp 443 from 10.0.0.0/8
  out tcp 443 to 10.0.0.0/8
group a.shut
  in tcp 1 from 10.9.9.9/32
  out tcp 1 to 10.9.9.9/32
group a.port
  in tcp 443 from 0.0.0.0/0
  out all to 0.0.0.0/0
instance o1 in a.one groups=open ip=10.0.1.10
instance o2 in a.two groups=open ip=10.0.2.10
instance n1 in a.one groups=narrow ip=10.0.1.11
instance n2 in a.two groups=narrow ip=10.0.2.11
instance p2 in a.two groups=port ip=10.0.2.12
";

#[test]
fn a_tracked_flow_outlives_its_rule() {
    // "Security group connection tracking": a change of rules does not end a connection that is tracked.
    Change::new(PAIR, "n1 -> n2:443 tcp", "then revoke a.narrow#1").spares();
    Change::new(PAIR, "n1 -> n2:443 tcp", "then revoke a.narrow#2").spares();
    // Nor does a change of the groups, though interfaces change with it.
    Change::new(PAIR, "n1 -> n2:443 tcp", "then groups n1 a.shut").restamps();
    Change::new(PAIR, "n1 -> n2:443 tcp", "then groups n2 a.shut").restamps();
}

#[test]
fn an_untracked_flow_does_not() {
    // "Untracked connections": everything from and to everywhere, both ways.
    Change::new(PAIR, "o1 -> o2:443 tcp", "then revoke a.open#1").ends();
    Change::new(PAIR, "o1 -> o2:443 tcp", "then groups o1 a.shut").ends();
    Change::new(PAIR, "o1 -> o2:443 tcp", "then groups o2 a.shut").ends();
    // One port from everywhere, when everything may answer.
    Change::new(PAIR, "n1 -> p2:443 tcp", "then revoke a.port#1").ends();
    // Only TCP and UDP are ever untracked.
    Change::new(PAIR, "o1 -> o2 icmp", "then revoke a.open#1").spares();
    // One end may track what the other does not.
    Change::new(PAIR, "n1 -> p2:443 tcp", "then revoke a.narrow#2").spares();
    Change::new(PAIR, "n1 -> p2:443 tcp", "then groups n1 a.shut").restamps();
}

#[test]
fn connections_through_a_nat_gateway_are_always_tracked() {
    // "Automatically tracked connections".
    let topology = format!("{PAIR}igw a\nnat a.n in two\ntable a.t subnets=one\n  10.0.2.0/24 -> nat n\n");
    Change::new(&topology, "o1 -> p2:443 tcp", "then revoke a.port#1").spares();
    Change::new(&topology, "o1 -> p2:443 tcp", "then groups o1 a.shut").restamps();
}

#[test]
fn a_gateway_endpoint_does_not_make_its_flows_tracked() {
    let topology = format!("{PAIR}endpoint a.s3 s3 tables=main\n");
    Change::new(&topology, "o1 -> s3:443 tcp", "then revoke a.open#2").ends();
    Change::new(&topology, "o1 -> s3:443 tcp", "then delete a.s3").ends();
    Change::new(&topology, "n1 -> n2:443 tcp", "then delete a.s3").stays();
}

const ENDPOINT: &str = "
subnet a.zone-b 10.0.3.0/24 zone=us-east-1b
endpoint a.api ec2 subnets=one,zone-b groups=open ip=10.0.1.99
endpoint a.other sts subnets=one groups=open
";

#[test]
fn an_interface_endpoint_makes_its_flows_tracked_and_cuts_them_when_it_goes() {
    let topology = format!("{PAIR}{ENDPOINT}");
    let flow = "o1 -> a.api.one:443 tcp";
    // "Automatically tracked connections".
    Change::new(&topology, flow, "then revoke a.open#1").spares();
    Change::new(&topology, flow, "then regroup a.api a.open a.shut").restamps();
    Change::new(&topology, flow, "then groups o1 a.shut").restamps();
    Change::new(&topology, flow, "then delete a.api").ends();
    Change::new(&topology, flow, "then leave a.api one").ends();
    // What happens to its other subnets, its names or another endpoint is nothing to it.
    Change::new(&topology, flow, "then leave a.api zone-b").leaves_alone();
    Change::new(&topology, flow, "then delete a.other").leaves_alone();
    let dns = format!("{topology}then private a.api on\n")
        .replace("vpc a 10.0.0.0/16", "vpc a 10.0.0.0/16 hostnames=on");
    Change::new(&dns, flow, "then private a.api off").leaves_alone();
}

#[test]
fn a_rule_that_opens_the_way_back_makes_new_flows_untracked() {
    let topology = "
vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
group a.in
  in tcp 443 from 0.0.0.0/0
  out tcp 1 to 10.9.9.9/32
group a.more
  in tcp 1 from 10.9.9.9/32
  out tcp 1 to 10.9.9.9/32
instance i1 in a.one ip=10.0.1.10
instance i2 in a.one groups=in,more ip=10.0.1.11
";
    let change = Change::new(topology, "i1 -> i2:443 tcp", "then allow a.more out all to 0.0.0.0/0");
    assert!(change.voids && !change.cuts && change.new.cut.len() > change.before.cut.len());
}

#[test]
fn joining_a_group_voids_a_refusal_that_rested_on_it() {
    let topology = "
vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
group a.server
  in all from 0.0.0.0/0
group a.client
  out tcp 443 to group server
instance c1 in a.one groups=client ip=10.0.1.10
instance s1 in a.one ip=10.0.1.11
";
    let change = Change::new(topology, "c1 -> s1:443 tcp", "then groups s1 a.server");
    assert!(!passes(&change.before) && change.voids && passes(&change.new));
}

const ROUTERS: &str = "
vpc a 10.0.0.0/16
subnet a.app 10.0.1.0/24
subnet a.db 10.0.2.0/24
subnet a.fw 10.0.3.0/24
group a.open
  in tcp from 10.0.0.0/8
instance i1 in a.app groups=open ip=10.0.1.10
instance i2 in a.app groups=open ip=10.0.1.11
instance d1 in a.db groups=open ip=10.0.2.10
instance there in a.fw groups=open ip=10.0.3.10 no-check
instance back in a.fw groups=open ip=10.0.3.11 no-check
table a.t1 subnets=app
  10.0.2.0/24 -> there
table a.t2 subnets=db
  10.0.1.0/24 -> back
endpoint a.s3 s3 tables=main
";

#[test]
fn a_flow_rests_on_the_routers_of_both_ways() {
    Change::new(ROUTERS, "i1 -> d1:80 tcp", "then check there on").ends();
    Change::new(ROUTERS, "i1 -> d1:80 tcp", "then stop there").ends();
    // What the appliance passes on comes back by the other one.
    let passed_on = "there -> d1:80 tcp from=10.0.1.10";
    Change::new(ROUTERS, passed_on, "then check back on").ends();
    Change::new(ROUTERS, passed_on, "then stop back").ends();
    Change::new(ROUTERS, passed_on, "then unroute a.t1 10.0.2.0/24").leaves_alone();
    Change::new(ROUTERS, "there -> i1:80 tcp", "then unroute a.t2 10.0.1.0/24").leaves_alone();
}

#[test]
fn a_flow_rests_on_who_has_the_address_that_it_is_from() {
    Change::new(ROUTERS, "there -> i1:80 tcp from=10.0.1.11", "then terminate i2").ends();
    let nobodys = Change::new(ROUTERS, "there -> s3:443 tcp from=10.0.1.11", "then stop i2");
    assert!(!passes(&nobodys.before) && !nobodys.voids);
}

#[test]
fn a_new_block_of_a_vpc_is_a_local_route() {
    Change::new(PAIR, "n1 -> 10.0.2.11:443 tcp", "then block a 10.5.0.0/16").stays();
}

#[test]
fn a_way_over_the_internet_rests_on_who_has_public_addresses_and_not_on_who_else_changes() {
    let topology = "
vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
igw a
group a.open
  in tcp from 198.18.0.0/16
instance i1 in a.one groups=open ip=10.0.1.10 public
instance i2 in a.one groups=open ip=10.0.1.11 public
instance i3 in a.one groups=open ip=10.0.1.12 public
table a.main
  0.0.0.0/0 -> igw
";
    Change::new(topology, "i1 -> public(i2):443 tcp", "then groups i3 a.default").leaves_alone();
    Change::new(topology, "i1 -> public(i2):443 tcp", "then stop i2").ends();
    Change::new(topology, "i1 -> public(i2):443 tcp", "then stop i1").ends();
    let other = Change::new(topology, "i1 -> public(i2):443 tcp", "then stop i3");
    assert!(other.voids && !other.cuts && other.new.outcome == other.before.outcome);
}

#[test]
fn another_uplink_ends_what_left_by_it() {
    let topology = "
vpc a 10.0.0.0/16
subnet a.pub 10.0.0.0/24 public-ip
igw a
instance i1 in a.pub ip=10.0.0.10
instance i2 in a.pub ip=10.0.0.11
table a.t1 subnets=pub
  0.0.0.0/0 -> igw
uplink up0 echo
";
    let world = Topology::read(topology).unwrap_or_else(|why| panic!("{why}"));
    let decided =
        |flow: &str| world.probe(flow).unwrap_or_else(|why| panic!("{why}")).decided.expect("it is");
    let (leaves, before) = decided("i1 -> 203.0.113.9:443 tcp");
    let (stays, beside) = decided("i1 -> s3:443 tcp");
    assert!(passes(&before) && passes(&beside));
    let none = world.plan.with_uplink(None);
    assert!(is_changed(&before.consulted, &none.changed) && is_changed(&before.cut, &none.changed));
    assert!(!is_changed(&beside.consulted, &none.changed), "a service is reached without");
    assert!(!passes(&none.plan.decide_again(&leaves, known(&before))));
    assert!(passes(&none.plan.decide(&stays)));
    // And back again: the refusal rests on it as well.
    let refused = none.plan.decide(&leaves);
    let again = none.plan.with_uplink(world.plan.uplink());
    assert!(is_changed(&refused.consulted, &again.changed));
    assert!(passes(&again.plan.decide(&leaves)));
    assert!(world.plan.with_uplink(world.plan.uplink()).changed.is_empty(), "the same is no change");
}

#[test]
fn a_plan_that_goes_on_is_above_everything_before() {
    let state = Topology::read(PAIR).unwrap_or_else(|why| panic!("{why}")).state;
    let before = Plan::compile(&state).plan;
    let last = before.slots().map(|stamp| stamp.generation).max().expect("there are slots");
    let next = Plan::compile_above(&state, None, last);
    assert!(next.plan.slots().all(|stamp| stamp.generation > last));
    assert!(next.changed.iter().all(|stamp| stamp.generation > last));
    assert_eq!(next.plan.differences(&before), Vec::<&str>::new());
}

const PEERED: &str = "
vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
instance i1 in a.one ip=10.0.1.10
vpc b 10.1.0.0/16
subnet b.one 10.1.1.0/24
group b.in
  in tcp 443 from 10.0.0.0/16
instance w1 in b.one groups=in ip=10.1.1.10
endpoint b.api ec2 subnets=one groups=in ip=10.1.1.99
vpc c 10.2.0.0/16
table a.main
  10.1.0.0/16 -> peering p
  198.19.0.0/22 -> peering p
table b.main
  10.0.0.0/16 -> peering p
";

#[test]
fn a_flow_over_a_peering_rests_on_it_and_on_the_routes_of_both_sides() {
    let topology = format!("{PEERED}peering p a b\npeering q a c\n");
    for flow in ["i1 -> w1:443 tcp", "i1 -> b.api.one:443 tcp"] {
        Change::new(&topology, flow, "then delete p").ends();
        Change::new(&topology, flow, "then unroute a.main 10.1.0.0/16").ends();
        Change::new(&topology, flow, "then unroute b.main 10.0.0.0/16").ends();
        Change::new(&topology, flow, "then delete q").leaves_alone();
    }
    Change::new(&topology, "i1 -> w1:443 tcp", "then revoke b.in#1").spares();
}

#[test]
fn a_peering_that_is_accepted_voids_what_was_refused_before() {
    let topology = format!("{PEERED}peering p a b pending\n");
    let change = Change::new(&topology, "i1 -> w1:443 tcp", "then accept p");
    assert!(!passes(&change.before) && change.voids && passes(&change.new));
}

#[test]
fn what_refuses_beyond_a_peering_rests_on_the_gateway_endpoints_there() {
    let (bare, with) = (format!("{PEERED}peering p a b\n"), "endpoint b.s3 s3 tables=main");
    let change = Change::new(&bare, "i1 -> 198.19.0.10:443 tcp", with);
    let reason = |decision: &Decision| match decision.outcome {
        Outcome::Refuse(refusal) => refusal.reason,
        Outcome::Forward(_) => panic!("it passes"),
    };
    assert_eq!(reason(&change.before), postern_path::DropReason::NotTransitive);
    assert!(change.voids);
    assert_eq!(reason(&change.new), postern_path::DropReason::RemoteToGatewayEndpoint);
}

const ON_PREMISES: &str = "
vpc a 10.0.0.0/16
subnet a.one 10.0.1.0/24
group a.in
  in tcp 443 from 192.168.0.0/16
instance w1 in a.one groups=in ip=10.0.1.10
endpoint a.api ec2 subnets=one groups=in ip=10.0.1.99
vpn site a 192.168.0.0/16
vpn other a 172.16.0.0/16
table a.main
  propagate
";

#[test]
fn a_flow_over_a_vpn_rests_on_its_gateway_its_routes_and_its_tunnel() {
    for flow in
        ["site.link -> w1:443 tcp from=192.168.7.7", "site.link -> a.api.one:443 tcp from=192.168.7.7"]
    {
        Change::new(ON_PREMISES, flow, "then detach a.vgw").ends();
        Change::new(ON_PREMISES, flow, "then forget-route site 192.168.0.0/16").ends();
    }
    let outward = "w1 -> 192.168.7.7:80 tcp";
    Change::new(ON_PREMISES, outward, "then unplug site").ends();
    Change::new(ON_PREMISES, outward, "then delete site").ends();
    Change::new(ON_PREMISES, outward, "then detach a.vgw").ends();
    Change::new(ON_PREMISES, outward, "then unplug other").leaves_alone();
}

#[test]
fn a_tunnel_that_comes_up_voids_what_was_refused_before() {
    let change = Change::new(
        &format!("{ON_PREMISES}then unplug site\n"),
        "w1 -> 192.168.7.7:80 tcp",
        "then plug site",
    );
    assert!(!passes(&change.before) && change.voids && passes(&change.new));
}
