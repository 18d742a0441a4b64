//! Several commands as one. That a batch does what its parts do is a property of random histories.

use postern_model::instance::{Instance, Launch};
use postern_model::interface::{NetworkInterface, NewInterface};
use postern_model::*;

use crate::world::{World, launch, new_interface};

#[test]
fn a_batch_is_one_revision_and_applies_whole_or_not_at_all() {
    let mut world = World::new();
    let before = world.state.revision;
    let gateway = || Action::CreateInternetGateway { tags: Vec::new() };
    world.run(Action::Batch(vec![gateway(), gateway()]));
    assert_eq!(world.state.internet_gateways.len(), 2);
    assert_eq!(world.state.revision, before + 1);
    assert!(matches!(world.events[..], [Event::Created(_), Event::Created(_)]));
    let nobodys = InternetGatewayId::from_number(u64::MAX);
    let fails = vec![gateway(), Action::DeleteInternetGateway { gateway: nobodys }, gateway()];
    assert_eq!(world.refusal(Action::Batch(fails)), ModelError::NotFound(nobodys.into()));
    assert_eq!(world.state.internet_gateways.len(), 2);
    let many = vec![Action::Batch(Vec::new()); 1_001];
    let limit = ModelError::Limit { what: "parts of a batch", limit: 1_000 };
    assert_eq!(world.refusal(Action::Batch(many)), limit);
}

#[test]
fn a_launch_starts_as_many_as_there_is_room_for_and_no_fewer_than_are_enough() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    // Sixteen addresses, of which five are reserved.
    let subnet = world.subnet(vpc, "10.0.1.0/28");
    let of = |count, least| Action::RunInstances(Launch { count, least, ..launch(subnet) });
    assert_eq!(world.refusal(of(20, None)), ModelError::SubnetFull { subnet });
    assert_eq!(world.refusal(of(20, Some(12))), ModelError::SubnetFull { subnet });
    world.run(of(20, Some(3)));
    assert_eq!(world.state.visible::<Instance>(world.account).count(), 11);
    assert_eq!(world.refusal(of(1, None)), ModelError::SubnetFull { subnet });
}

#[test]
fn an_interface_gets_all_its_addresses_or_is_not_made() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let subnet = world.subnet(vpc, "10.0.1.0/28");
    let with = |more| {
        Action::CreateNetworkInterface(NewInterface { secondary_count: more, ..new_interface(subnet) })
    };
    assert_eq!(world.refusal(with(11)), ModelError::SubnetFull { subnet });
    let limit = ModelError::Limit { what: "private addresses of an interface", limit: 50 };
    assert_eq!(world.refusal(with(50)), limit);
    let interface: NetworkInterfaceId = world.make(with(10));
    assert_eq!(world.get::<NetworkInterface>(interface).private_addresses.len(), 11);
}
