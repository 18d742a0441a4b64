//! "Network Load Balancers" guide and the ELBv2 API reference.

use postern_model::elb::*;
use postern_model::gateway::Address;
use postern_model::instance::InstanceState;
use postern_model::interface::{InterfaceKind, NetworkInterface};
use postern_model::*;

use crate::world::World;

pub fn zone(subnet: SubnetId) -> NewLoadBalancerZone {
    NewLoadBalancerZone { subnet, address: None, allocation: None }
}

pub fn balancer(name: &str, zones: Vec<NewLoadBalancerZone>) -> NewLoadBalancer {
    let (name, groups) = (name.to_owned(), Vec::new());
    NewLoadBalancer { name, scheme: Scheme::Internal, zones, groups, tags: Vec::new() }
}

fn health() -> HealthCheck {
    HealthCheck {
        protocol: HealthProtocol::Tcp,
        port: HealthPort::Traffic,
        interval_seconds: 30,
        timeout_seconds: 10,
        healthy_threshold: 5,
        unhealthy_threshold: 2,
    }
}

fn group(name: &str, vpc: VpcId, protocol: GroupProtocol, target_type: TargetType) -> Action {
    let name = name.to_owned();
    let new = NewTargetGroup {
        name,
        protocol,
        port: 80,
        vpc,
        target_type,
        health_check: health(),
        tags: Vec::new(),
    };
    Action::Elb(ElbAction::CreateTargetGroup(new))
}

fn listener(
    load_balancer: LoadBalancerId,
    protocol: ListenerProtocol,
    port: u16,
    group: TargetGroupId,
) -> Action {
    let new = NewListener { load_balancer, protocol, port, group, tags: Vec::new() };
    Action::Elb(ElbAction::CreateListener(new))
}

fn create(new: NewLoadBalancer) -> Action {
    Action::Elb(ElbAction::CreateLoadBalancer(new))
}

fn register(group: TargetGroupId, id: TargetId, zone: Option<&str>) -> Action {
    let target = NewTarget { id, port: None, zone: zone.map(str::to_owned) };
    Action::Elb(ElbAction::RegisterTargets { group, targets: vec![target] })
}

fn key(id: TargetId) -> TargetKey {
    TargetKey { id, port: 80 }
}

#[test]
fn a_load_balancer_has_an_interface_in_each_zone() {
    let (mut world, vpc, first) = World::with_subnet();
    let second = world.make(Action::CreateSubnet {
        vpc,
        cidr: crate::world::net("10.0.2.0/24"),
        zone: Some("us-east-1b".to_owned()),
        tags: Vec::new(),
    });
    let twin = world.subnet(vpc, "10.0.3.0/24");
    let chosen = NewLoadBalancerZone { address: Some("10.0.2.77".parse().unwrap()), ..zone(second) };
    let id: LoadBalancerId = world.make(create(balancer("one", vec![zone(first), chosen])));
    let found = world.get::<LoadBalancer>(id);
    assert_eq!((found.state, found.vpc), (LoadBalancerState::Provisioning, vpc));
    let shown: Vec<_> =
        found.zones.iter().map(|zone| (zone.zone.as_str(), zone.address.to_string())).collect();
    assert_eq!(shown, [("us-east-1a", "10.0.1.4".to_owned()), ("us-east-1b", "10.0.2.77".to_owned())]);
    let interface = world.get::<NetworkInterface>(found.zones[0].interface);
    assert_eq!(interface.kind, InterfaceKind::LoadBalancer);
    assert_eq!(interface.description, format!("ELB net/one/{:016x}", id.number()));
    assert_eq!(interface.groups, []);
    let refused = world.refusal(Action::DeleteNetworkInterface { interface: interface.id });
    assert!(matches!(refused, ModelError::InUse { .. }), "{refused}");

    world.run(Action::Elb(ElbAction::ReportLoadBalancerActive { load_balancer: id }));
    assert_eq!(world.get::<LoadBalancer>(id).state, LoadBalancerState::Active);
    let twice = ModelError::ZoneTwice { subnet: twin, zone: "us-east-1a".to_owned() };
    assert_eq!(world.refusal(create(balancer("two", vec![zone(first), zone(twin)]))), twice);
    assert_eq!(world.refusal(create(balancer("two", Vec::new()))), ModelError::NoZones);
    let taken = ModelError::BalancingNameTaken { kind: "load balancer", name: "one".to_owned() };
    assert_eq!(world.refusal(create(balancer("one", vec![zone(first)]))), taken);
    for name in ["", "-a", "a-", "a_b", "internal-a", "abcdefghijklmnopqrstuvwxyz1234567"] {
        let refused = world.refusal(create(balancer(name, vec![zone(first)])));
        assert_eq!(refused, ModelError::BalancingName { kind: "load balancer", name: name.to_owned() });
    }

    // The zone that stays keeps its interface; the other one goes with its address.
    world.run(Action::Elb(ElbAction::SetSubnets { load_balancer: id, zones: vec![zone(second)] }));
    let left = world.get::<LoadBalancer>(id);
    assert_eq!(left.zones, found.zones[1..]);
    world.run(Action::DeleteSubnet { subnet: first });
    world.run(Action::Elb(ElbAction::DeleteLoadBalancer { load_balancer: id }));
    world.run(Action::DeleteSubnet { subnet: second });
}

#[test]
fn one_for_the_internet_has_public_addresses_and_needs_a_gateway() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let facing = |zone| NewLoadBalancer { scheme: Scheme::InternetFacing, ..balancer("web", vec![zone]) };
    assert_eq!(world.refusal(create(facing(zone(subnet)))), ModelError::VpcWithoutGateway { vpc });
    world.internet_gateway(vpc);
    let allocation = world.address();
    let elastic = NewLoadBalancerZone { allocation: Some(allocation), ..zone(subnet) };
    let internal = world.refusal(create(balancer("in", vec![elastic.clone()])));
    assert_eq!(internal, ModelError::AddressNotForInternal { allocation });
    let with_address = NewLoadBalancerZone { address: Some("10.0.1.9".parse().unwrap()), ..zone(subnet) };
    let chosen = world.refusal(create(facing(with_address)));
    assert_eq!(chosen, ModelError::PrivateAddressNotForInternet { subnet });

    let id: LoadBalancerId = world.make(create(facing(elastic)));
    let interface = world.get::<LoadBalancer>(id).zones[0].interface;
    let association = world.get::<Address>(allocation).association.unwrap();
    assert_eq!(association.interface, interface);
    let let_go = Action::DisassociateAddress { association: association.id };
    assert_eq!(world.refusal(let_go), ModelError::InterfaceManaged { interface });
    world.run(Action::Elb(ElbAction::DeleteLoadBalancer { load_balancer: id }));
    assert_eq!(world.get::<Address>(allocation).association, None);
    let id: LoadBalancerId = world.make(create(facing(zone(subnet))));
    let interface = world.get::<LoadBalancer>(id).zones[0].interface;
    assert!(world.get::<NetworkInterface>(interface).automatic_public_address.is_some());
}

#[test]
fn security_groups_are_chosen_at_the_beginning_or_never() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let (a, b) = (world.group(vpc, "a"), world.group(vpc, "b"));
    let without: LoadBalancerId = world.make(create(balancer("without", vec![zone(subnet)])));
    let grouped = NewLoadBalancer { groups: vec![a], ..balancer("grouped", vec![zone(subnet)]) };
    let grouped: LoadBalancerId = world.make(create(grouped));
    let set = |load_balancer, groups: &[SecurityGroupId], enforce_on_endpoints| {
        let groups = groups.to_vec();
        Action::Elb(ElbAction::SetSecurityGroups { load_balancer, groups, enforce_on_endpoints })
    };
    let refused = ModelError::GroupsOfLoadBalancer { load_balancer: without, made_without: true };
    assert_eq!(world.refusal(set(without, &[a], None)), refused);
    let refused = ModelError::GroupsOfLoadBalancer { load_balancer: grouped, made_without: false };
    assert_eq!(world.refusal(set(grouped, &[], None)), refused);
    world.run(set(grouped, &[b], Some(false)));
    let found = world.get::<LoadBalancer>(grouped);
    assert_eq!((found.groups.as_slice(), found.enforce_on_endpoints), ([b].as_slice(), false));
    assert_eq!(world.get::<NetworkInterface>(found.zones[0].interface).groups, [b]);
}

#[test]
fn listeners_share_no_port_and_lead_to_groups_that_fit() {
    use ListenerProtocol::{Tcp, TcpUdp, Udp};
    let (mut world, vpc, subnet) = World::with_subnet();
    let one: LoadBalancerId = world.make(create(balancer("one", vec![zone(subnet)])));
    let two: LoadBalancerId = world.make(create(balancer("two", vec![zone(subnet)])));
    let tcp: TargetGroupId = world.make(group("tcp", vpc, GroupProtocol::Tcp, TargetType::Ip));
    let both: TargetGroupId = world.make(group("both", vpc, GroupProtocol::TcpUdp, TargetType::Ip));
    let first: ListenerId = world.make(listener(one, Tcp, 80, tcp));
    assert_eq!(
        world.refusal(listener(one, TcpUdp, 80, both)),
        ModelError::ListenerExists { listener: first, port: 80 }
    );
    world.run(listener(one, Udp, 80, both));
    let unfit = ModelError::ListenerProtocol { listener: "UDP", group: tcp, group_protocol: "TCP" };
    assert_eq!(world.refusal(listener(one, Udp, 81, tcp)), unfit);
    // A group is of one load balancer.
    let in_use = ModelError::InUse { resource: tcp.into(), used_by: one.to_string() };
    assert_eq!(world.refusal(listener(two, Tcp, 80, tcp)), in_use);
    let change = ListenerChange { port: Some(8_080), ..ListenerChange::default() };
    world.run(Action::Elb(ElbAction::ModifyListener { listener: first, change }));
    world.run(listener(one, Tcp, 80, both));
    let delete = Action::Elb(ElbAction::DeleteTargetGroup { group: tcp });
    assert!(matches!(world.refusal(delete.clone()), ModelError::InUse { .. }));
    world.run(Action::Elb(ElbAction::DeleteListener { listener: first }));
    world.run(delete);
    // The others go with their load balancer.
    world.run(Action::Elb(ElbAction::DeleteLoadBalancer { load_balancer: one }));
    assert!(world.state.listeners.is_empty());
}

#[test]
fn targets_are_of_the_vpc_and_of_the_kind_of_their_group() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let instances: TargetGroupId = world.make(group("i", vpc, GroupProtocol::Tcp, TargetType::Instance));
    let addresses: TargetGroupId = world.make(group("a", vpc, GroupProtocol::Tcp, TargetType::Ip));
    let instance = world.instance(subnet);
    let (by_id, by_address) = (TargetId::Instance(instance), TargetId::Address("10.0.1.99".parse().unwrap()));
    let why = |world: &mut World, action| match world.refusal(action) {
        ModelError::Target { why, .. } => why,
        other => panic!("{other}"),
    };
    assert_eq!(why(&mut world, register(instances, by_address, None)), "is not of the group's target type");
    assert_eq!(why(&mut world, register(addresses, by_id, None)), "is not of the group's target type");
    let outside = TargetId::Address("192.0.2.1".parse().unwrap());
    assert_eq!(why(&mut world, register(addresses, outside, None)), "is outside the VPC");
    assert_eq!(why(&mut world, register(addresses, by_address, Some("us-east-1b"))), "is in another zone");
    world.run(register(instances, by_id, None));
    world.run(register(addresses, by_address, Some("all")));
    let zone_of = |world: &World, group, id| world.get::<TargetGroup>(group).targets[&key(id)].zone.clone();
    assert_eq!(zone_of(&world, instances, by_id), TargetZone::Zone("us-east-1a".to_owned()));
    assert_eq!(zone_of(&world, addresses, by_address), TargetZone::All);

    // A target that was deregistered stays until its delay is over, and is back when it is registered again.
    let deregister =
        |id| Action::Elb(ElbAction::DeregisterTargets { group: instances, targets: vec![(id, None)] });
    let forget = Action::Elb(ElbAction::ForgetTargets { group: instances, targets: vec![key(by_id)] });
    assert_eq!(why(&mut world, deregister(by_address)), "is not registered");
    world.run(deregister(by_id));
    assert!(world.get::<TargetGroup>(instances).targets[&key(by_id)].deregistered_at.is_some());
    world.run(register(instances, by_id, None));
    world.run(forget.clone());
    assert!(world.get::<TargetGroup>(instances).targets[&key(by_id)].deregistered_at.is_none());
    world.run(deregister(by_id));
    world.run(forget);
    assert!(world.get::<TargetGroup>(instances).targets.is_empty());

    // Who is gone is no target, and who does not run cannot become one.
    world.run(register(instances, by_id, None));
    world.run(Action::StopInstances { instances: vec![instance] });
    assert_eq!(why(&mut world, register(instances, by_id, None)), "is not running");
    world.run(Action::TerminateInstances { instances: vec![instance] });
    world.report(instance, InstanceState::Terminated);
    assert!(world.get::<TargetGroup>(instances).targets.is_empty());
}

#[test]
fn what_targets_see_follows_from_their_group() {
    let (mut world, vpc, _) = World::with_subnet();
    for (n, (target_type, protocol, preserved)) in [
        (TargetType::Instance, GroupProtocol::Tcp, true),
        (TargetType::Ip, GroupProtocol::Tcp, false),
        (TargetType::Ip, GroupProtocol::Tls, false),
        (TargetType::Ip, GroupProtocol::Udp, true),
        (TargetType::Ip, GroupProtocol::TcpUdp, true),
    ]
    .into_iter()
    .enumerate()
    {
        let id: TargetGroupId = world.make(group(&format!("g{n}"), vpc, protocol, target_type));
        let found = world.get::<TargetGroup>(id);
        assert_eq!(found.preserves_client_address(), preserved, "{target_type:?} {protocol:?}");
        let attributes = GroupAttributes { preserve_client_ip: Some(!preserved), ..found.attributes.clone() };
        world.run(Action::Elb(ElbAction::ModifyTargetGroupAttributes { group: id, attributes }));
        assert_eq!(world.get::<TargetGroup>(id).preserves_client_address(), !preserved);
    }
}

#[test]
fn health_checks_are_bounded() {
    let (mut world, vpc, _) = World::with_subnet();
    let id: TargetGroupId = world.make(group("g", vpc, GroupProtocol::Tcp, TargetType::Ip));
    let refused = |world: &mut World, health_check| match world
        .refusal(Action::Elb(ElbAction::ModifyTargetGroup { group: id, health_check }))
    {
        ModelError::OutOfRange { what, .. } => what,
        other => panic!("{other}"),
    };
    let usual = health();
    let checks = [
        (HealthCheck { interval_seconds: 4, ..usual.clone() }, "health check interval"),
        (HealthCheck { interval_seconds: 301, ..usual.clone() }, "health check interval"),
        (HealthCheck { timeout_seconds: 1, ..usual.clone() }, "health check timeout"),
        (HealthCheck { timeout_seconds: 31, ..usual.clone() }, "health check timeout"),
        (HealthCheck { healthy_threshold: 1, ..usual.clone() }, "healthy threshold"),
        (HealthCheck { unhealthy_threshold: 11, ..usual }, "unhealthy threshold"),
    ];
    for (check, what) in checks {
        assert_eq!(refused(&mut world, check), what);
    }
}
