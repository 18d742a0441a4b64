//! "Amazon EC2 instance state changes" in the EC2 user guide, and interfaces plugged into instances.

use std::net::Ipv4Addr;

use postern_model::instance::{Instance, InstanceChange, InstanceState, Launch, LaunchInterface, NewKeyPair};
use postern_model::interface::NetworkInterface;
use postern_model::*;

use crate::world::{World, launch, net};

fn state(world: &World, instance: InstanceId) -> InstanceState {
    world.get::<Instance>(instance).state
}

fn in_subnet(subnet: SubnetId, public_address: Option<bool>) -> Action {
    let interface = LaunchInterface::New {
        subnet,
        groups: None,
        private_address: None,
        public_address,
        description: String::new(),
        delete_on_termination: true,
    };
    Action::RunInstances(Launch { interface, ..launch(subnet) })
}

#[test]
fn an_instance_is_launched_stopped_started_and_terminated() {
    let (mut world, _, subnet) = World::with_subnet();
    let id: InstanceId = world.make(Action::RunInstances(launch(subnet)));
    let instances = vec![id];
    assert_eq!(state(&world, id), InstanceState::Pending);
    let interface = world.primary_interface(id);
    assert_eq!(interface.attachment.unwrap().device_index, 0);
    world.report(id, InstanceState::Running);

    world.run(Action::StopInstances { instances: instances.clone() });
    assert_eq!(state(&world, id), InstanceState::Stopping);
    assert!(matches!(
        world.refusal(Action::StartInstances { instances: instances.clone() }),
        ModelError::WrongState { state: "stopping", .. }
    ));
    world.report(id, InstanceState::Stopped);
    world.run(Action::StartInstances { instances: instances.clone() });
    assert_eq!(state(&world, id), InstanceState::Pending);
    world.report(id, InstanceState::Running);
    assert_eq!(world.primary_interface(id).primary_address(), interface.primary_address());

    world.run(Action::TerminateInstances { instances: instances.clone() });
    assert_eq!(state(&world, id), InstanceState::ShuttingDown);
    world.report(id, InstanceState::Terminated);
    assert!(world.state.network_interfaces.is_empty());
    assert!(matches!(
        world.refusal(Action::StartInstances { instances: instances.clone() }),
        ModelError::WrongState { state: "terminated", .. }
    ));
    // Terminating again is answered as if it were new.
    world.run(Action::TerminateInstances { instances });
    world.run(Action::ForgetInstance { instance: id });
    assert!(world.state.instances.is_empty());
}

#[test]
fn a_report_only_completes_what_is_under_way() {
    let (mut world, _, subnet) = World::with_subnet();
    let instance = world.instance(subnet);
    for state in [InstanceState::Pending, InstanceState::Terminated, InstanceState::ShuttingDown] {
        let report = Action::ReportInstance { instance, state, reason: String::new() };
        assert!(matches!(world.refusal(report), ModelError::WrongState { .. }));
    }
    assert!(matches!(
        world.refusal(Action::ForgetInstance { instance }),
        ModelError::WrongState { needed: "terminated", .. }
    ));
}

#[test]
fn a_launch_of_several_applies_whole_or_not_at_all() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.0.0/28");
    let many = |count| Action::RunInstances(Launch { count, ..launch(subnet) });
    for count in [0, 101] {
        let error = ModelError::InstanceCount { given: count, limit: 100 };
        assert_eq!(world.refusal(many(count)), error);
    }
    assert_eq!(world.refusal(many(12)), ModelError::SubnetFull { subnet });
    assert!(world.state.instances.is_empty() && world.state.private_addresses.is_empty());
    world.run(many(11));
    let instances: Vec<_> = world.state.instances.values().collect();
    assert!(instances.iter().all(|i| i.reservation == instances[0].reservation));
    let mut places: Vec<_> = instances.iter().map(|i| i.launch_index).collect();
    places.sort_unstable();
    assert_eq!(places, (0..11).collect::<Vec<_>>());
    let made = world.events.iter().take(11);
    assert!(made.into_iter().all(|event| matches!(event, Event::Created(ResourceId::Instance(_)))));
}

#[test]
fn a_launch_names_what_is_there() {
    let (mut world, _, subnet) = World::with_subnet();
    let key_name = Some("mine".to_owned());
    let with_key = Action::RunInstances(Launch { key_name, ..launch(subnet) });
    assert_eq!(world.refusal(with_key), ModelError::KeyPairNotFound("mine".to_owned()));
    let profile = Some("web".to_owned());
    assert_eq!(
        world.refusal(Action::RunInstances(Launch { profile, ..launch(subnet) })),
        ModelError::IdentityNotFound { kind: "instance profile", name: "web".to_owned() }
    );
    let user_data = Some(vec![0; 16_385]);
    assert_eq!(
        world.refusal(Action::RunInstances(Launch { user_data, ..launch(subnet) })),
        ModelError::Limit { what: "bytes of user data", limit: 16_384 }
    );
}

#[test]
fn an_automatic_public_address_lasts_until_the_stop_and_comes_back_with_the_start() {
    let (mut world, vpc, subnet) = World::with_subnet();
    world.internet_gateway(vpc);
    // What the launch says counts, whatever the subnet says, at the first start and at each later one.
    for (by_subnet, asked, expected) in
        [(true, None, true), (false, None, false), (false, Some(true), true), (true, Some(false), false)]
    {
        world.run(Action::SetMapPublicIpOnLaunch { subnet, on: by_subnet });
        let instance: InstanceId = world.make(in_subnet(subnet, asked));
        world.report(instance, InstanceState::Running);
        let public = |world: &World| world.primary_interface(instance).automatic_public_address;
        assert_eq!(public(&world).is_some(), expected);
        world.run(Action::StopInstances { instances: vec![instance] });
        assert_eq!(public(&world).is_some(), expected, "until it has stopped");
        world.report(instance, InstanceState::Stopped);
        assert_eq!(public(&world), None);
        world.run(Action::StartInstances { instances: vec![instance] });
        assert_eq!(public(&world).is_some(), expected, "subnet {by_subnet}, launch {asked:?}");
    }
}

#[test]
fn a_protected_instance_is_not_terminated() {
    let (mut world, _, subnet) = World::with_subnet();
    let (instance, other) = (world.instance(subnet), world.instance(subnet));
    let protect = |on| Action::ModifyInstance { instance, change: InstanceChange::TerminationProtection(on) };
    world.run(protect(true));
    let terminate = || Action::TerminateInstances { instances: vec![other, instance] };
    assert_eq!(world.refusal(terminate()), ModelError::TerminationProtected(instance));
    assert_eq!(state(&world, other), InstanceState::Running);
    world.run(protect(false));
    world.run(terminate());
}

#[test]
fn a_launch_that_fails_ends_it_and_a_start_that_fails_leaves_it_stopped() {
    let (mut world, _, subnet) = World::with_subnet();
    let failing = |world: &mut World, instance| {
        let state = world.get::<Instance>(instance).state_after_failed_start();
        let reason = "no room".to_owned();
        world.run(Action::ReportInstance { instance, state, reason });
        let instance = world.get::<Instance>(instance);
        (instance.state, instance.state_reason.clone())
    };
    let launched: InstanceId = world.make(Action::RunInstances(launch(subnet)));
    assert_eq!(failing(&mut world, launched), (InstanceState::Terminated, "no room".to_owned()));
    let instance = world.instance(subnet);
    for _ in 0..2 {
        world.run(Action::StopInstances { instances: vec![instance] });
        world.report(instance, InstanceState::Stopped);
        world.run(Action::StartInstances { instances: vec![instance] });
        assert_eq!(failing(&mut world, instance), (InstanceState::Stopped, "no room".to_owned()));
        // It can be started again, and then runs.
        world.run(Action::StartInstances { instances: vec![instance] });
        world.report(instance, InstanceState::Running);
    }
}

#[test]
fn some_things_change_only_while_it_is_stopped() {
    let (mut world, _, subnet) = World::with_subnet();
    let instance = world.instance(subnet);
    let changes = || {
        let changes =
            [InstanceChange::InstanceType("t3.large".to_owned()), InstanceChange::UserData(b"x".to_vec())];
        changes.map(|change| Action::ModifyInstance { instance, change })
    };
    for change in changes() {
        assert!(matches!(world.refusal(change), ModelError::WrongState { needed: "stopped", .. }));
    }
    world.run(Action::StopInstances { instances: vec![instance] });
    world.report(instance, InstanceState::Stopped);
    changes().into_iter().for_each(|change| world.run(change));
}

#[test]
fn an_interface_is_plugged_into_one_instance_of_its_zone_and_vpc() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let (instance, interface) = (world.instance(subnet), world.interface(subnet));
    let attach = |interface, instance, device_index| Action::AttachNetworkInterface {
        interface,
        instance: Some(instance),
        device_index,
    };
    assert_eq!(
        world.refusal(attach(interface, instance, 0)),
        ModelError::DeviceIndexTaken { instance, index: 0 }
    );
    world.run(attach(interface, instance, 1));
    let attachment = world.get::<NetworkInterface>(interface).attachment.unwrap().id;
    assert_eq!(
        world.refusal(attach(interface, instance, 2)),
        ModelError::InUse { resource: interface.into(), used_by: attachment.to_string() }
    );
    assert_eq!(
        world.refusal(Action::DeleteNetworkInterface { interface }),
        ModelError::InUse { resource: interface.into(), used_by: instance.to_string() }
    );
    world.run(Action::DetachNetworkInterface { attachment });
    world.run(Action::DeleteNetworkInterface { interface });

    let primary = world.primary_interface(instance).attachment.unwrap().id;
    assert_eq!(
        world.refusal(Action::DetachNetworkInterface { attachment: primary }),
        ModelError::PrimaryInterface(instance)
    );
    let zone = Some("us-east-1b".to_owned());
    let far: SubnetId =
        world.make(Action::CreateSubnet { vpc, cidr: net("10.0.2.0/24"), zone, tags: Vec::new() });
    let far = world.interface(far);
    assert_eq!(
        world.refusal(attach(far, instance, 1)),
        ModelError::DifferentZones { a: far.into(), b: instance.into() }
    );
}

#[test]
fn an_interface_that_was_there_before_outlives_the_instance() {
    let (mut world, _, subnet) = World::with_subnet();
    let interface = world.interface(subnet);
    let on_it = Launch { interface: LaunchInterface::Existing(interface), ..launch(subnet) };
    let instance: InstanceId = world.make(Action::RunInstances(on_it.clone()));
    let in_use = world.refusal(Action::RunInstances(on_it));
    assert!(matches!(in_use, ModelError::InUse { resource, .. } if resource == interface.into()));
    world.run(Action::TerminateInstances { instances: vec![instance] });
    world.report(instance, InstanceState::Terminated);
    assert_eq!(world.get::<NetworkInterface>(interface).attachment, None);
}

#[test]
fn one_instance_at_a_time_has_a_chosen_address() {
    let (mut world, _, subnet) = World::with_subnet();
    let interface = LaunchInterface::New {
        subnet,
        groups: None,
        private_address: Some(Ipv4Addr::new(10, 0, 1, 20)),
        public_address: None,
        description: String::new(),
        delete_on_termination: true,
    };
    let on = |count| Action::RunInstances(Launch { count, interface: interface.clone(), ..launch(subnet) });
    assert_eq!(world.refusal(on(2)), ModelError::InstanceCount { given: 2, limit: 1 });
    let instance: InstanceId = world.make(on(1));
    assert_eq!(world.primary_interface(instance).primary_address(), Ipv4Addr::new(10, 0, 1, 20));
}

#[test]
fn a_key_pairs_name_is_taken_once() {
    let mut world = World::new();
    let new = || {
        Action::CreateKeyPair(NewKeyPair {
            name: "mine".to_owned(),
            key_type: "ed25519".to_owned(),
            public_key: "ssh-ed25519 AAAA".to_owned(),
            fingerprint: String::new(),
            tags: Vec::new(),
        })
    };
    let key_pair: KeyPairId = world.make(new());
    assert_eq!(world.refusal(new()), ModelError::KeyPairExists("mine".to_owned()));
    world.run(Action::DeleteKeyPair { key_pair });
    world.run(new());
}
