//! "Security group rules" in the VPC user guide.

use postern_model::interface::{InterfaceChange, NetworkInterface, NewInterface};
use postern_model::security_group::{NewRule, Peer, Permission, RuleChoice, SecurityGroup, Traffic};
use postern_model::vpc::Vpc;
use postern_model::*;

use crate::world::{World, new_interface, s3_list};

fn https(egress: bool, peer: Peer) -> Permission {
    Permission { egress, traffic: Traffic::Tcp(443, 443), peer }
}

fn anywhere() -> Peer {
    Peer::Cidr("0.0.0.0/0".parse().unwrap())
}

fn authorize(group: SecurityGroupId, permission: Permission) -> Action {
    let rules = vec![NewRule { permission, description: "because".to_owned() }];
    Action::AuthorizeSecurityGroup { group, rules, tags: Vec::new() }
}

fn revoke(group: SecurityGroupId, permission: Permission) -> Action {
    let rules = RuleChoice::Permissions(vec![permission]);
    Action::RevokeSecurityGroup { group, egress: permission.egress, rules }
}

#[test]
fn a_new_group_lets_everything_out_and_nothing_in() {
    let (mut world, vpc, _) = World::with_subnet();
    let group = world.group(vpc, "web");
    let rules = &world.get::<SecurityGroup>(group).rules;
    let permissions: Vec<_> = rules.values().map(|rule| rule.permission).collect();
    assert_eq!(permissions, [Permission { egress: true, traffic: Traffic::All, peer: anywhere() }]);
}

#[test]
fn a_name_is_taken_once_in_a_vpc() {
    let (mut world, vpc, _) = World::with_subnet();
    world.group(vpc, "web");
    for name in ["web", "default"] {
        let name = name.to_owned();
        let again = Action::CreateSecurityGroup {
            vpc,
            name: name.clone(),
            description: String::new(),
            tags: Vec::new(),
        };
        assert_eq!(world.refusal(again), ModelError::GroupNameTaken { name, vpc });
    }
    let elsewhere = world.vpc("10.0.0.0/16");
    world.group(elsewhere, "web");
}

#[test]
fn a_rule_is_there_once_whatever_it_is_described_as() {
    let (mut world, vpc, _) = World::with_subnet();
    let group = world.group(vpc, "web");
    let permission = https(false, anywhere());
    world.run(authorize(group, permission));
    let rule = format!("{permission:?}");
    let rules = vec![NewRule { permission, description: "another reason".to_owned() }];
    assert_eq!(
        world.refusal(Action::AuthorizeSecurityGroup { group, rules, tags: Vec::new() }),
        ModelError::RuleExists { rule: rule.clone(), group }
    );
    // The same in the other direction is another rule.
    world.run(authorize(group, https(true, anywhere())));
    world.run(revoke(group, permission));
    assert_eq!(world.refusal(revoke(group, permission)), ModelError::RuleNotFound { rule, group });
    let twice = vec![NewRule { permission, description: String::new() }; 2];
    assert!(matches!(
        world.refusal(Action::AuthorizeSecurityGroup { group, rules: twice, tags: Vec::new() }),
        ModelError::RuleExists { .. }
    ));
}

#[test]
fn rules_are_revoked_and_changed_by_id_in_their_direction() {
    let (mut world, vpc, _) = World::with_subnet();
    let group = world.group(vpc, "web");
    let rule: SecurityGroupRuleId = world.make(authorize(group, https(false, anywhere())));
    let by_id = |egress| Action::RevokeSecurityGroup { group, egress, rules: RuleChoice::Ids(vec![rule]) };
    let missing = ModelError::RuleNotFound { rule: rule.to_string(), group };
    assert_eq!(world.refusal(by_id(true)), missing);
    let new = |permission| NewRule { permission, description: "new".to_owned() };
    let change = |permission| Action::ModifySecurityGroupRule { group, rule, new: new(permission) };
    assert_eq!(world.refusal(change(https(true, anywhere()))), missing);
    world.run(change(https(false, Peer::PrefixList(s3_list()))));
    assert_eq!(world.get::<SecurityGroup>(group).rules[&rule].permission.peer, Peer::PrefixList(s3_list()));
    world.run(by_id(false));
    assert_eq!(world.get::<SecurityGroup>(group).rules.len(), 1);
}

#[test]
fn what_a_rule_names_is_there_and_in_the_same_vpc() {
    let (mut world, vpc, _) = World::with_subnet();
    let group = world.group(vpc, "web");
    let elsewhere = world.vpc("10.0.0.0/16");
    let foreign = world.group(elsewhere, "web");
    assert_eq!(
        world.refusal(authorize(group, https(false, Peer::Group(foreign)))),
        ModelError::DifferentVpcs { a: group.into(), b: foreign.into() }
    );
    let nobody = PrefixListId::from_number(1 << 40);
    assert_eq!(
        world.refusal(authorize(group, https(false, Peer::PrefixList(nobody)))),
        ModelError::NotFound(nobody.into())
    );
    let host_bits = Peer::Cidr("10.0.0.1/8".parse().unwrap());
    assert_eq!(
        world.refusal(authorize(group, https(false, host_bits))),
        ModelError::HostBits("10.0.0.1/8".parse().unwrap())
    );
    let backwards = Permission { egress: false, traffic: Traffic::Tcp(443, 80), peer: anywhere() };
    assert_eq!(world.refusal(authorize(group, backwards)), ModelError::PortRange { from: 443, to: 80 });
}

#[test]
fn a_prefix_list_weighs_as_many_rules_as_it_may_have_entries() {
    let (mut world, vpc, _) = World::with_subnet();
    let group = world.group(vpc, "web");
    let list: PrefixListId = world.make(Action::CreateManagedPrefixList(prefix_list::NewPrefixList {
        name: "big".to_owned(),
        ipv6: false,
        max_entries: 59,
        entries: Vec::new(),
        tags: Vec::new(),
    }));
    world.run(authorize(group, https(false, Peer::PrefixList(list))));
    let limit = ModelError::Quota { quota: Quota::SecurityGroupRules, limit: 60 };
    let all = |cidr: &str| Peer::Cidr(cidr.parse().unwrap());
    world.run(authorize(group, https(false, anywhere())));
    assert_eq!(world.refusal(authorize(group, https(false, all("10.0.0.0/8")))), limit);
    assert_eq!(world.refusal(authorize(group, https(false, Peer::Group(group)))), limit);
    // "This quota is enforced separately for IPv4 rules and IPv6 rules", and for each direction.
    world.run(authorize(group, https(false, all("::/0"))));
    assert_eq!(world.refusal(authorize(group, https(false, all("fd00::/8")))), limit);
    world.run(authorize(group, https(true, anywhere())));
    // A list cannot grow out of what refers to it, and a rule cannot turn into too much either.
    let grow = |max_entries| Action::ModifyManagedPrefixList {
        list,
        change: prefix_list::PrefixListChange { max_entries: Some(max_entries), ..Default::default() },
    };
    assert_eq!(world.refusal(grow(60)), limit);
    world.run(Action::SetQuota { quota: Quota::GroupsPerInterface, limit: Some(1) });
    world.raise(Quota::SecurityGroupRules);
    world.run(grow(60));
    let rules = world.get::<SecurityGroup>(group).rules.clone();
    let rule = rules.values().find(|rule| rule.permission == https(true, anywhere())).unwrap().id;
    let new = NewRule { permission: https(true, Peer::PrefixList(list)), description: String::new() };
    let into_list = Action::ModifySecurityGroupRule { group, rule, new };
    world.run(Action::SetQuota { quota: Quota::SecurityGroupRules, limit: None });
    assert_eq!(world.refusal(into_list.clone()), limit);
    world.raise(Quota::SecurityGroupRules);
    world.run(into_list);
}

#[test]
fn a_group_in_use_stays() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let default = world.get::<Vpc>(vpc).default_security_group;
    assert_eq!(
        world.refusal(Action::DeleteSecurityGroup { group: default }),
        ModelError::DefaultResource(default.into())
    );
    let (group, other) = (world.group(vpc, "web"), world.group(vpc, "db"));
    let in_use = |by: String| ModelError::InUse { resource: group.into(), used_by: by };
    world.run(authorize(other, https(false, Peer::Group(group))));
    assert_eq!(world.refusal(Action::DeleteSecurityGroup { group }), in_use(other.to_string()));
    world.run(revoke(other, https(false, Peer::Group(group))));

    let new = NewInterface { groups: Some(vec![group]), ..new_interface(subnet) };
    let interface: NetworkInterfaceId = world.make(Action::CreateNetworkInterface(new));
    assert_eq!(world.refusal(Action::DeleteSecurityGroup { group }), in_use(interface.to_string()));
    let change = InterfaceChange::Groups(vec![other, other]);
    world.run(Action::ModifyNetworkInterface { interface, change });
    assert_eq!(world.get::<NetworkInterface>(interface).groups, [other]);
    // A group may name itself: that keeps nobody.
    world.run(authorize(group, https(false, Peer::Group(group))));
    world.run(Action::DeleteSecurityGroup { group });
}

#[test]
fn an_interface_has_at_least_the_default_group_and_only_groups_of_its_vpc() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let default = world.get::<Vpc>(vpc).default_security_group;
    for groups in [None, Some(Vec::new())] {
        let new = NewInterface { groups, ..new_interface(subnet) };
        let interface: NetworkInterfaceId = world.make(Action::CreateNetworkInterface(new));
        assert_eq!(world.get::<NetworkInterface>(interface).groups, [default]);
    }
    let elsewhere = world.vpc("10.0.0.0/16");
    let foreign = world.group(elsewhere, "web");
    let new = NewInterface { groups: Some(vec![foreign]), ..new_interface(subnet) };
    assert_eq!(
        world.refusal(Action::CreateNetworkInterface(new)),
        ModelError::DifferentVpcs { a: foreign.into(), b: vpc.into() }
    );
}
