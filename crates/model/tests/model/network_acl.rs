//! "Network ACL rules" in the VPC user guide.

use postern_model::network_acl::{AclEntry, NetworkAcl};
use postern_model::security_group::Traffic;
use postern_model::subnet::Subnet;
use postern_model::vpc::Vpc;
use postern_model::*;

use crate::world::World;

fn entry(number: u16) -> AclEntry {
    AclEntry { number, allow: true, traffic: Traffic::All, cidr: "10.1.2.3/8".parse().unwrap() }
}

fn world() -> (World, VpcId, SubnetId, NetworkAclId) {
    let (mut world, vpc, subnet) = World::with_subnet();
    let acl = world.make(Action::CreateNetworkAcl { vpc, tags: Vec::new() });
    (world, vpc, subnet, acl)
}

#[test]
fn a_new_one_denies_all_and_numbers_are_1_to_32766() {
    let (mut world, _, _, acl) = world();
    assert!(world.get::<NetworkAcl>(acl).ingress.is_empty());
    let create = |number| Action::CreateNetworkAclEntry { acl, egress: false, entry: entry(number) };
    for number in [0, 32_767] {
        assert_eq!(world.refusal(create(number)), ModelError::RuleNumber(number.into()));
    }
    world.run(create(1));
    world.run(create(32_766));
    // Host bits are cleared rather than refused.
    assert_eq!(world.get::<NetworkAcl>(acl).ingress[&1].cidr.to_string(), "10.0.0.0/8");
}

#[test]
fn a_number_is_taken_once_in_a_direction() {
    let (mut world, _, _, acl) = world();
    let create = |egress| Action::CreateNetworkAclEntry { acl, egress, entry: entry(100) };
    world.run(create(false));
    assert_eq!(world.refusal(create(false)), ModelError::AclEntryExists { acl, number: 100 });
    world.run(create(true));
    let replace = |number| Action::ReplaceNetworkAclEntry { acl, egress: false, entry: entry(number) };
    world.run(replace(100));
    let missing = ModelError::AclEntryNotFound { acl, number: 101 };
    assert_eq!(world.refusal(replace(101)), missing);
    let delete = |number| Action::DeleteNetworkAclEntry { acl, egress: false, number };
    assert_eq!(world.refusal(delete(101)), missing);
    world.run(delete(100));
}

#[test]
fn twenty_rules_a_direction_and_forty_at_most() {
    let (mut world, _, _, acl) = world();
    let outward = |number| Action::CreateNetworkAclEntry { acl, egress: true, entry: entry(number) };
    let full = |limit| ModelError::Quota { quota: Quota::NetworkAclRules, limit };
    (1..=20).for_each(|number| world.run(outward(number)));
    assert_eq!(world.refusal(outward(21)), full(20));
    world.run(Action::CreateNetworkAclEntry { acl, egress: false, entry: entry(21) });
    world.raise(Quota::NetworkAclRules);
    (21..=40).for_each(|number| world.run(outward(number)));
    assert_eq!(world.refusal(outward(41)), full(40));
}

#[test]
fn a_subnet_has_one_and_what_is_used_or_default_stays() {
    let (mut world, vpc, subnet, acl) = world();
    let default = world.get::<Vpc>(vpc).default_network_acl;
    assert_eq!(world.get::<Subnet>(subnet).network_acl, default);
    let association = world.get::<Subnet>(subnet).network_acl_association;
    world.run(Action::ReplaceNetworkAclAssociation { association, acl });
    assert_eq!(world.get::<Subnet>(subnet).network_acl, acl);
    assert_eq!(
        world.refusal(Action::ReplaceNetworkAclAssociation { association, acl }),
        ModelError::AssociationNotFound(association.to_string())
    );
    assert_eq!(
        world.refusal(Action::DeleteNetworkAcl { acl }),
        ModelError::InUse { resource: acl.into(), used_by: subnet.to_string() }
    );
    assert_eq!(
        world.refusal(Action::DeleteNetworkAcl { acl: default }),
        ModelError::DefaultResource(default.into())
    );
    let elsewhere = world.vpc("10.0.0.0/16");
    let foreign = world.get::<Vpc>(elsewhere).default_network_acl;
    let association = world.get::<Subnet>(subnet).network_acl_association;
    assert_eq!(
        world.refusal(Action::ReplaceNetworkAclAssociation { association, acl: foreign }),
        ModelError::DifferentVpcs { a: foreign.into(), b: subnet.into() }
    );
    world.run(Action::DeleteSubnet { subnet });
    world.run(Action::DeleteNetworkAcl { acl });
}
