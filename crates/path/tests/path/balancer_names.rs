//! The names of load balancers: where they lead, for whom, and what becomes of zones without healthy targets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use postern_model::elb::LoadBalancer;
use postern_path::name::ENDPOINT_TTL_SECONDS;
use postern_path::{NameSource, Plan, Question, Resolution, Viewer};
use postern_testkit::Topology;

const ZONES: &str = "
vpc a 10.0.0.0/16
igw a
subnet a.one 10.0.1.0/24 zone=us-east-1a
subnet a.two 10.0.2.0/24 zone=us-east-1b
group a.open
  in all from 0.0.0.0/0
  out all to 0.0.0.0/0
instance c1 in a.one groups=open ip=10.0.1.10
instance c2 in a.two groups=open ip=10.0.2.10
instance t1 in a.one groups=open ip=10.0.1.11
instance t2 in a.two groups=open ip=10.0.2.11
vpc b 10.0.0.0/16
subnet b.one 10.0.1.0/24
instance far in b.one ip=10.0.1.10


";

/// The topology with these lines of a load balancer, and what changes then.
fn read(balancer: &str, then: &str) -> Topology {
    let text = format!("{ZONES}balancer a.lb in one,two {balancer}\n{then}");
    Topology::read(&text).unwrap_or_else(|why| panic!("{why}"))
}

fn balancer(topology: &Topology) -> &LoadBalancer {
    topology.state.load_balancers.values().next().expect("a load balancer")
}

/// What the instance's resolver says about a name, in the order of the zones.
fn asked(topology: &Topology, plan: &Plan, who: &str, name: &str, number: usize) -> Vec<Ipv4Addr> {
    let interface = topology.interface(who).expect("an instance");
    let vpc = plan.interface(interface).expect("an interface").vpc;
    match plan.resolve_for(vpc, Some(Viewer { interface, number }), name, Question::Address) {
        Resolution::Addresses { addresses, source } => {
            assert_eq!(source, NameSource::LoadBalancer(balancer(topology).id));
            assert_eq!(source.ttl_seconds(), ENDPOINT_TTL_SECONDS);
            addresses
        }
        other => panic!("{name}: {other:?}"),
    }
}

/// The zones of the load balancer that an instance is sent to by its name.
fn zones_for(topology: &Topology, who: &str, number: usize) -> String {
    let name = balancer(topology).dns_name("us-east-1");
    let known: BTreeMap<_, _> =
        balancer(topology).zones.iter().map(|z| (z.address, z.zone.clone())).collect();
    let said = asked(topology, &topology.plan, who, &name, number);
    let letters = said.iter().map(|address| known[address].trim_start_matches("us-east-1").to_owned());
    letters.collect()
}

#[test]
fn the_name_leads_to_the_healthy_zones_and_each_zones_name_to_its_own() {
    let both = "listen tcp 80 -> 8080 t1 t2";
    for (then, expected) in [
        ("", "ab"),
        ("then up t1", "a"),
        ("then up t2", "b"),
        ("then up t1\nthen up t2", "ab"),
        ("then up t1\nthen up t2\nthen down t2", "a"),
        ("then down t1\nthen down t2", "ab"),
        ("then up t1\nthen up t2\nthen stop t1", "b"),
        ("then up t1\nthen up t2\nthen deregister t1", "b"),
    ] {
        let topology = read(&format!("\n  {both}"), then);
        // From elsewhere it is the same, as everybody may ask.
        assert_eq!(zones_for(&topology, "c1", 0), expected, "{then}");
        assert_eq!(zones_for(&topology, "far", 0), expected, "{then}");
        let name = balancer(&topology).dns_name("us-east-1");
        for zone in &balancer(&topology).zones {
            let own = format!("{}.{}", zone.zone, name.to_ascii_uppercase());
            assert_eq!(asked(&topology, &topology.plan, "c2", &own, 0), [zone.address], "{then}");
        }
    }
}

#[test]
fn every_group_must_have_a_healthy_target_for_the_zone() {
    let two = "\n  listen tcp 80 -> 8080 t1 t2\n  listen tcp 81 -> 8081 t2";
    let all_up = "then up t1\nthen up t2";
    assert_eq!(zones_for(&read(two, all_up), "c1", 0), "b");
    // Where zones are crossed, a healthy target anywhere does; also for groups that packets alone are not handed to.
    assert_eq!(zones_for(&read(&format!("cross-zone{two}"), all_up), "c1", 0), "ab");
    let relayed = "\n  listen tcp 80 -> 8080 t1 proxy";
    assert_eq!(zones_for(&read(relayed, all_up.lines().next().unwrap_or_default()), "c1", 0), "a");
    // Nothing to lead to is nothing to be without.
    assert_eq!(zones_for(&read("", ""), "c1", 0), "ab");
}

#[test]
fn clients_are_sent_to_their_own_zone_where_the_load_balancer_says_so() {
    let up = "then up t1\nthen up t2";
    let listens = "\n  listen tcp 80 -> 8080 t1 t2";
    let topology = read(&format!("routing=zone{listens}"), up);
    for number in 0..10 {
        assert_eq!(zones_for(&topology, "c1", number), "a");
        assert_eq!(zones_for(&topology, "c2", number), "b");
    }
    // Who has no healthy zone of its own gets what there is.
    let topology = read(&format!("routing=zone{listens}"), "then up t1\nthen up t2\nthen down t2");
    assert_eq!(zones_for(&topology, "c2", 0), "a");
    let topology = read(&format!("routing=partial{listens}"), up);
    let near = (0..100).filter(|number| zones_for(&topology, "c2", *number) == "b").count();
    assert_eq!(near, 85);
    // Also for a client that asks twice each time, of which every second question is this one.
    let near = (0..200).step_by(2).filter(|number| zones_for(&topology, "c2", *number) == "b").count();
    assert!((80..=90).contains(&near), "{near}");
}

#[test]
fn a_load_balancer_for_the_internet_gives_public_addresses_to_everybody() {
    let topology = read("public\n  listen tcp 80 -> 8080 t1 t2", "then up t1");
    let name = balancer(&topology).dns_name("us-east-1");
    let interface = balancer(&topology).zones[0].interface;
    let public = topology.state.network_interfaces[&interface].automatic_public_address.expect("it has one");
    for who in ["c1", "far"] {
        assert_eq!(asked(&topology, &topology.plan, who, &name, 0), [public]);
    }
}

#[test]
fn names_that_are_nobodys_stay_so() {
    let topology = read("\n  listen tcp 80 -> 8080 t1", "");
    let vpc = balancer(&topology).vpc;
    let name = balancer(&topology).dns_name("us-east-1");
    let resolve = |plan: &Plan, name: &str| plan.resolve(vpc, name, Question::Address);
    for other in [
        format!("us-east-1c.{name}"),
        format!("us-east-1a.us-east-1a.{name}"),
        name.replacen("a-lb-", "b-lb-", 1),
        name.replacen("a-lb-", "a-lb-0", 1),
        name.replace(".elb.", ".alb."),
        "elb.us-east-1.amazonaws.com".to_owned(),
    ] {
        assert_eq!(resolve(&topology.plan, &other), Resolution::Unknown, "{other}");
    }
    assert_eq!(topology.plan.resolve(vpc, &name, Question::Other), Resolution::NoData);
    // A name goes with its load balancer.
    let gone = read("\n  listen tcp 80 -> 8080 t1", "then delete a.lb");
    assert_eq!(resolve(&gone.plan, &name), Resolution::Unknown);
}
