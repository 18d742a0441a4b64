//! "Consolidate and manage network CIDR blocks with managed prefix lists" in the VPC user guide.

use postern_model::prefix_list::{NewPrefixList, PrefixList, PrefixListChange, associations};
use postern_model::route::{RouteDestination, RouteTarget};
use postern_model::security_group::{NewRule, Peer, Permission, RuleChoice, Traffic};
use postern_model::*;

use crate::world::{World, create_route, s3_list};

fn entries(blocks: &[&str]) -> Vec<(IpNet, String)> {
    blocks.iter().map(|block| (block.parse().unwrap(), String::new())).collect()
}

fn create(name: &str, max_entries: u32, blocks: &[&str]) -> Action {
    Action::CreateManagedPrefixList(NewPrefixList {
        name: name.to_owned(),
        ipv6: false,
        max_entries,
        entries: entries(blocks),
        tags: Vec::new(),
    })
}

fn add(list: PrefixListId, version: u64, blocks: &[&str]) -> Action {
    let change = PrefixListChange {
        current_version: Some(version),
        add: entries(blocks),
        ..PrefixListChange::default()
    };
    Action::ModifyManagedPrefixList { list, change }
}

fn resize(list: PrefixListId, size: u32) -> Action {
    let change = PrefixListChange { max_entries: Some(size), ..PrefixListChange::default() };
    Action::ModifyManagedPrefixList { list, change }
}

#[test]
fn each_change_of_the_entries_makes_a_version_that_can_be_restored() {
    let mut world = World::new();
    let list: PrefixListId = world.make(create("ours", 3, &["10.0.0.0/16"]));
    world.run(add(list, 1, &["10.1.0.0/16"]));
    assert_eq!(
        world.refusal(add(list, 1, &["10.2.0.0/16"])),
        ModelError::PrefixListVersion { list, current: 2, given: 1 }
    );
    let restore = |previous, current| Action::RestoreManagedPrefixListVersion { list, previous, current };
    assert_eq!(world.refusal(restore(1, 1)), ModelError::PrefixListVersion { list, current: 2, given: 1 });
    assert_eq!(world.refusal(restore(7, 2)), ModelError::PrefixListNoVersion { list, version: 7 });
    world.run(restore(1, 2));
    let found = world.get::<PrefixList>(list);
    assert_eq!((found.version, found.entries.len()), (3, 1));
    // A new name or size makes no version.
    world.run(resize(list, 4));
    assert_eq!(world.get::<PrefixList>(list).version, 3);
}

#[test]
fn the_size_holds_and_does_not_change_with_the_entries() {
    let mut world = World::new();
    for size in [0, 1_001] {
        assert_eq!(world.refusal(create("ours", size, &[])), ModelError::PrefixListSize(size));
    }
    assert!(matches!(
        world.refusal(create("ours", 1, &["10.0.0.0/16", "10.1.0.0/16"])),
        ModelError::PrefixListFull { limit: 1, .. }
    ));
    let list: PrefixListId = world.make(create("ours", 2, &["10.0.0.0/16", "10.1.0.0/16"]));
    assert_eq!(world.refusal(add(list, 1, &["10.2.0.0/16"])), ModelError::PrefixListFull { list, limit: 2 });
    assert_eq!(world.refusal(resize(list, 1)), ModelError::PrefixListFull { list, limit: 1 });
    let both = PrefixListChange {
        max_entries: Some(5),
        add: entries(&["10.2.0.0/16"]),
        ..PrefixListChange::default()
    };
    assert_eq!(
        world.refusal(Action::ModifyManagedPrefixList { list, change: both }),
        ModelError::PrefixListMixedChange
    );
    let remove =
        PrefixListChange { remove: vec!["10.9.0.0/16".parse().unwrap()], ..PrefixListChange::default() };
    assert_eq!(
        world.refusal(Action::ModifyManagedPrefixList { list, change: remove }),
        ModelError::PrefixListEntryNotFound { list, cidr: "10.9.0.0/16".parse().unwrap() }
    );
}

#[test]
fn names_and_entries_are_checked() {
    let mut world = World::new();
    assert_eq!(
        world.refusal(create("com.amazonaws.mine", 1, &[])),
        ModelError::PrefixListName("com.amazonaws.mine".to_owned())
    );
    for wrong in ["10.0.0.1/8", "fd00::/8"] {
        assert_eq!(world.refusal(create("ours", 1, &[wrong])), ModelError::HostBits(wrong.parse().unwrap()));
    }
}

#[test]
fn aws_own_lists_are_for_all_to_see_and_nobody_to_change() {
    let mut world = World::new();
    let list = s3_list();
    assert_eq!(world.get::<PrefixList>(list).name, "com.amazonaws.us-east-1.s3");
    let managed = ModelError::PrefixListManaged(list);
    assert_eq!(world.refusal(add(list, 1, &["10.0.0.0/8"])), managed);
    assert_eq!(world.refusal(Action::DeleteManagedPrefixList { list }), managed);
    let tags = vec![("a".to_owned(), "b".to_owned())];
    assert_eq!(world.refusal(Action::CreateTags { resources: vec![list.into()], tags }), managed);
}

#[test]
fn a_list_in_use_stays() {
    let (mut world, vpc, _) = World::with_subnet();
    let list: PrefixListId = world.make(create("ours", 2, &["10.9.0.0/16"]));
    let (table, gateway) = (world.main_table(vpc), world.internet_gateway(vpc));
    let destination = RouteDestination::PrefixList(list);
    world.run(create_route(table, destination, RouteTarget::InternetGateway(gateway)));
    let in_use = |by: String| ModelError::InUse { resource: list.into(), used_by: by };
    assert_eq!(world.refusal(Action::DeleteManagedPrefixList { list }), in_use(table.to_string()));
    world.run(Action::DeleteRoute { table, destination });

    let group = world.group(vpc, "web");
    let permission = Permission { egress: true, traffic: Traffic::All, peer: Peer::PrefixList(list) };
    let rules = vec![NewRule { permission, description: String::new() }];
    world.run(Action::AuthorizeSecurityGroup { group, rules, tags: Vec::new() });
    assert_eq!(associations(&world.state, world.account, list), [group.into()]);
    assert_eq!(world.refusal(Action::DeleteManagedPrefixList { list }), in_use(group.to_string()));
    let rules = RuleChoice::Permissions(vec![permission]);
    world.run(Action::RevokeSecurityGroup { group, egress: true, rules });
    world.run(Action::DeleteManagedPrefixList { list });
}
