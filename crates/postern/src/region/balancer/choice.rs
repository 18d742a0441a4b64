//! Which target gets a connection that begins with a PROXY protocol header.
//!
//! By rendezvous hashing: each target's rank follows from the flow and the target alone, so one that comes or goes moves the
//! flows that become or were its own, and no others. Health and zones only say who may be chosen.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{SocketAddr, SocketAddrV4};

use postern_model::elb::{Listener, LoadBalancer, TargetGroup, TargetKey};
use postern_model::{ListenerId, State};
use postern_services::elbv2::health::Seen;

use super::Id;

/// What a connection is to be carried to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The target.
    pub id: Id,
    /// Where it is.
    pub to: SocketAddrV4,
    /// How long it may be idle.
    pub idle_timeout_seconds: u32,
}

/// The target of a connection that a client makes to a listener in a zone.
pub fn choose(
    state: &State,
    listener: ListenerId,
    zone: &str,
    client: SocketAddr,
    seen: impl Fn(Id) -> Seen,
) -> Option<Choice> {
    let listener = state.listeners.get(&listener)?;
    let balancer = state.load_balancers.get(&listener.load_balancer)?;
    let group = state.target_groups.get(&listener.group)?;
    let reachable: Vec<_> = reachable(state, balancer, group, zone).collect();
    let healthy = |(key, _): &&(TargetKey, SocketAddrV4)| seen((group.id, *key)) == Seen::Healthy;
    let by_rank = |(key, _): &&(TargetKey, SocketAddrV4)| rank(listener, group, client, *key);
    // "If there are no healthy targets, the load balancer sends requests to all registered targets" (fail open).
    let best =
        reachable.iter().filter(healthy).max_by_key(by_rank).or_else(|| reachable.iter().max_by_key(by_rank));
    best.map(|(key, to)| Choice {
        id: (group.id, *key),
        to: *to,
        idle_timeout_seconds: listener.tcp_idle_timeout_seconds,
    })
}

fn rank(listener: &Listener, group: &TargetGroup, client: SocketAddr, key: TargetKey) -> u64 {
    // Its keys are fixed, so every process chooses alike.
    let mut hasher = DefaultHasher::new();
    // With stickiness a client address keeps its target, whatever port it speaks from.
    let port = if group.attributes.stickiness { 0 } else { client.port() };
    (listener.id, client.ip(), port, key).hash(&mut hasher);
    hasher.finish()
}

/// Those that a zone's address may hand connections to, and where they are.
fn reachable<'a>(
    state: &'a State,
    balancer: &'a LoadBalancer,
    group: &'a TargetGroup,
    zone: &'a str,
) -> impl Iterator<Item = (TargetKey, SocketAddrV4)> + 'a {
    let offered = group.targets.iter().filter(move |(_, target)| group.is_offered_in(balancer, zone, target));
    offered.filter_map(|(key, _)| Some((*key, group.place_of(state, *key)?)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postern_model::elb::*;
    use postern_model::{AccountId, Action, Command, Event, Region, ResourceId, Timestamp, apply};

    use super::*;

    struct World {
        state: State,
        events: Vec<Event>,
        seed: u64,
    }

    impl World {
        fn run(&mut self, action: Action) -> Option<ResourceId> {
            self.seed += 1;
            let account = AccountId::from_number(1).unwrap();
            let at = Timestamp(self.seed);
            let command = Command { account, at, seed: self.seed, client_token: None, action };
            let (state, events) = apply(&self.state, &command).unwrap();
            (self.state, self.events) = (state, events);
            match self.events.first() {
                Some(Event::Created(id)) => Some(*id),
                _ => None,
            }
        }

        fn subnet(&mut self, vpc: postern_model::VpcId, cidr: &str, zone: &str) -> postern_model::SubnetId {
            let (cidr, zone) = (cidr.parse().unwrap(), Some(zone.to_owned()));
            match self.run(Action::CreateSubnet { vpc, cidr, zone, tags: Vec::new() }) {
                Some(ResourceId::Subnet(id)) => id,
                other => panic!("{other:?}"),
            }
        }
    }

    /// A listener over two zones with ten targets in the first and one in the second.
    fn world() -> (World, ListenerId, postern_model::TargetGroupId, postern_model::LoadBalancerId) {
        let state = State::new(Region::new("us-east-1").unwrap());
        let mut world = World { state, events: Vec::new(), seed: 0 };
        world.run(Action::CreateAccount { name: "one".to_owned(), root_key: None });
        let cidr = "10.0.0.0/16".parse().unwrap();
        let Some(ResourceId::Vpc(vpc)) = world.run(Action::CreateVpc { cidr, tags: Vec::new() }) else {
            panic!()
        };
        let subnets = [("10.0.1.0/24", "us-east-1a"), ("10.0.2.0/24", "us-east-1b")]
            .map(|(c, z)| world.subnet(vpc, c, z));
        let zones = subnets.map(|subnet| NewLoadBalancerZone { subnet, address: None, allocation: None });
        let new = NewLoadBalancer {
            name: "one".to_owned(),
            scheme: Scheme::Internal,
            zones: zones.to_vec(),
            groups: Vec::new(),
            tags: Vec::new(),
        };
        let made = world.run(Action::Elb(ElbAction::CreateLoadBalancer(new)));
        let Some(ResourceId::LoadBalancer(load_balancer)) = made else { panic!() };
        let health_check = HealthCheck {
            protocol: HealthProtocol::Tcp,
            port: HealthPort::Traffic,
            interval_seconds: 30,
            timeout_seconds: 10,
            healthy_threshold: 3,
            unhealthy_threshold: 3,
        };
        let new = NewTargetGroup {
            name: "g".to_owned(),
            protocol: GroupProtocol::Tcp,
            port: 80,
            vpc,
            target_type: TargetType::Ip,
            health_check,
            tags: Vec::new(),
        };
        let made = world.run(Action::Elb(ElbAction::CreateTargetGroup(new)));
        let Some(ResourceId::TargetGroup(group)) = made else { panic!() };
        let addresses = (10..20).map(|n| format!("10.0.1.{n}")).chain(["10.0.2.9".to_owned()]);
        let id = |text: String| TargetId::Address(text.parse().unwrap());
        let targets = addresses.map(|text| NewTarget { id: id(text), port: None, zone: None }).collect();
        world.run(Action::Elb(ElbAction::RegisterTargets { group, targets }));
        let (protocol, port, tags) = (ListenerProtocol::Tcp, 80, Vec::new());
        let new = NewListener { load_balancer, protocol, port, group, tags };
        let made = world.run(Action::Elb(ElbAction::CreateListener(new)));
        let Some(ResourceId::Listener(listener)) = made else { panic!() };
        (world, listener, group, load_balancer)
    }

    /// Where each of a thousand flows goes.
    fn flows(
        world: &World,
        listener: ListenerId,
        zone: &str,
        seen: impl Fn(Id) -> Seen + Copy,
    ) -> BTreeMap<u16, TargetKey> {
        let client = |port| SocketAddr::from(([10, 0, 9, 9], port));
        let chosen = |port| choose(&world.state, listener, zone, client(port), seen).map(|c| (port, c.id.1));
        (1_000..2_000).filter_map(chosen).collect()
    }

    #[test]
    fn who_leaves_moves_its_own_flows_alone() {
        let (mut world, listener, group, _) = world();
        let healthy = |_| Seen::Healthy;
        let before = flows(&world, listener, "us-east-1a", healthy);
        let gone: TargetKey = "10.0.1.13:80".parse().unwrap();
        let share = before.values().filter(|key| **key == gone).count();
        assert!((50..200).contains(&share), "{share} of 1,000 flows to one of ten targets");
        world.run(Action::Elb(ElbAction::DeregisterTargets { group, targets: vec![(gone.id, None)] }));
        let after = flows(&world, listener, "us-east-1a", healthy);
        for (flow, key) in &before {
            assert_eq!(after[flow] == *key, *key != gone, "{flow}");
        }
        // And when it comes back, exactly those return.
        let back = NewTarget { id: gone.id, port: None, zone: None };
        world.run(Action::Elb(ElbAction::RegisterTargets { group, targets: vec![back] }));
        assert_eq!(flows(&world, listener, "us-east-1a", healthy), before);
    }

    #[test]
    fn zones_keep_to_their_own_targets_unless_they_are_crossed() {
        let (mut world, listener, group, load_balancer) = world();
        let healthy = |_| Seen::Healthy;
        let only: TargetKey = "10.0.2.9:80".parse().unwrap();
        let in_b = |world: &World| flows(world, listener, "us-east-1b", healthy);
        assert!(in_b(&world).values().all(|key| *key == only));
        let attributes = LoadBalancerAttributes { cross_zone: true, ..LoadBalancerAttributes::default() };
        world.run(Action::Elb(ElbAction::ModifyLoadBalancerAttributes { load_balancer, attributes }));
        assert!(in_b(&world).values().any(|key| *key != only));
        // The group's own word counts more.
        let attributes = GroupAttributes { cross_zone: CrossZone::Off, ..GroupAttributes::default() };
        world.run(Action::Elb(ElbAction::ModifyTargetGroupAttributes { group, attributes }));
        assert!(in_b(&world).values().all(|key| *key == only));
    }

    #[test]
    fn the_unhealthy_are_avoided_while_somebody_is_healthy() {
        let (world, listener, ..) = world();
        let one: TargetKey = "10.0.1.10:80".parse().unwrap();
        let one_alone = |(_, key): Id| {
            if key == one {
                Seen::Healthy
            } else {
                Seen::Unhealthy(postern_services::elbv2::health::Failure::Timeout)
            }
        };
        assert!(flows(&world, listener, "us-east-1a", one_alone).values().all(|key| *key == one));
        let nobody = flows(&world, listener, "us-east-1a", |_| Seen::Beginning);
        assert!(nobody.values().any(|key| *key != one), "with nobody healthy all are tried");
    }

    #[test]
    fn with_stickiness_an_address_keeps_its_target() {
        let (mut world, listener, group, _) = world();
        let attributes = GroupAttributes { stickiness: true, ..GroupAttributes::default() };
        world.run(Action::Elb(ElbAction::ModifyTargetGroupAttributes { group, attributes }));
        let all = flows(&world, listener, "us-east-1a", |_| Seen::Healthy);
        let first = all.values().next().unwrap();
        assert!(all.values().all(|key| key == first));
    }
}
