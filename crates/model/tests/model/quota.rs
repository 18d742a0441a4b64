//! Quotas, one by one: the usual one is AWS's, and the operator can raise it.

use postern_model::instance::NewKeyPair;
use postern_model::interface::{InterfaceKind, NewInterface};
use postern_model::prefix_list::NewPrefixList;
use postern_model::*;

use crate::world::{World, launch, net, new_interface};

/// Makes things until the quota is reached, which is where the quota says; raised by one, there is room for one more.
fn reaches(world: &mut World, quota: Quota, there: usize, mut one_more: impl FnMut(usize) -> Action) {
    // A small one stands for the large, so that a test is short. The usual one is looked at by itself.
    let limit = quota.usual().min(there + 3);
    world.run(Action::SetQuota { quota, limit: Some(limit) });
    (there..limit).for_each(|n| world.run(one_more(n)));
    assert_eq!(world.refusal(one_more(limit)), ModelError::Quota { quota, limit });
    world.run(Action::SetQuota { quota, limit: Some(limit + 1) });
    world.run(one_more(limit));
    assert_eq!(world.refusal(one_more(limit + 1)), ModelError::Quota { quota, limit: limit + 1 });
    world.run(Action::SetQuota { quota, limit: None });
}

#[test]
fn the_usual_ones_are_those_of_aws() {
    let usual: Vec<_> = Quota::ALL.iter().map(|quota| format!("{quota} {}", quota.usual())).collect();
    let expected = [
        "vpcs-per-region 5",
        "subnets-per-vpc 200",
        "blocks-per-vpc 5",
        "elastic-ips-per-region 5",
        "nat-gateways-per-zone 5",
        "active-vpc-peering-connections-per-vpc 50",
        "outstanding-vpc-peering-connection-requests 25",
        "customer-gateways-per-region 50",
        "virtual-private-gateways-per-region 5",
        "vpn-connections-per-region 50",
        "transit-gateways-per-account 5",
        "route-tables-per-transit-gateway 20",
        "routes-per-transit-gateway 10000",
        "route-tables-per-vpc 200",
        "routes-per-route-table 500",
        "prefix-lists-per-region 100",
        "network-acls-per-vpc 200",
        "rules-per-network-acl 20",
        "security-groups-per-region 2500",
        "rules-per-security-group 60",
        "security-groups-per-interface 5",
        "interfaces-per-region 5000",
        "gateway-endpoints-per-region 20",
        "interface-endpoints-per-vpc 50",
        "endpoint-services-per-region 100",
        "network-load-balancers-per-region 50",
        "listeners-per-network-load-balancer 50",
        "target-groups-per-region 3000",
        "targets-per-target-group 1000",
        "targets-per-network-load-balancer 3000",
        "resolver-endpoints-per-region 4",
        "addresses-per-resolver-endpoint 6",
        "dhcp-options-per-region 100",
        "key-pairs-per-region 5000",
    ];
    assert_eq!(usual, expected);
    assert!(Quota::ALL.iter().all(|quota| quota.usual() <= quota.most()));
    assert!(Quota::ALL.iter().all(|quota| quota.name().parse() == Ok(*quota)));
    assert!("none".parse::<Quota>().is_err());
}

#[test]
fn each_is_reached_and_raised() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let tags = Vec::new;
    reaches(&mut world, Quota::Vpcs, 1, |_| Action::CreateVpc { cidr: net("10.0.0.0/16"), tags: tags() });
    reaches(&mut world, Quota::Vpcs, 0, |_| Action::CreateInternetGateway { tags: tags() });
    reaches(&mut world, Quota::Subnets, 1, |n| Action::CreateSubnet {
        vpc,
        cidr: net(&format!("10.0.{}.0/24", 100 + n)),
        zone: None,
        tags: tags(),
    });
    reaches(&mut world, Quota::VpcBlocks, 1, |n| Action::AssociateVpcCidrBlock {
        vpc,
        cidr: net(&format!("10.{n}.0.0/16")),
    });
    reaches(&mut world, Quota::ElasticAddresses, 0, |_| Action::AllocateAddress { tags: tags() });
    reaches(&mut world, Quota::RouteTables, 1, |_| Action::CreateRouteTable { vpc, tags: tags() });
    reaches(&mut world, Quota::NetworkAcls, 1, |_| Action::CreateNetworkAcl { vpc, tags: tags() });
    let groups = world.state.security_groups.len();
    reaches(&mut world, Quota::SecurityGroups, groups, |n| Action::CreateSecurityGroup {
        vpc,
        name: format!("group-{n}"),
        description: String::new(),
        tags: tags(),
    });
    let options = world.state.dhcp_options.len();
    reaches(&mut world, Quota::DhcpOptions, options, |n| Action::CreateDhcpOptions {
        options: [("domain-name".to_owned(), vec![format!("{n}.example")])].into(),
        tags: tags(),
    });
    reaches(&mut world, Quota::PrefixLists, 0, |n| {
        let (name, entries) = (format!("list-{n}"), Vec::new());
        Action::CreateManagedPrefixList(NewPrefixList {
            name,
            ipv6: false,
            max_entries: 1,
            entries,
            tags: tags(),
        })
    });
    reaches(&mut world, Quota::Interfaces, 0, |_| Action::CreateNetworkInterface(new_interface(subnet)));
    let instances = world.state.network_interfaces.len();
    reaches(&mut world, Quota::Interfaces, instances, |_| Action::RunInstances(launch(subnet)));
}

#[test]
fn key_pairs_are_bounded_too() {
    let mut world = World::new();
    let pair = |n: usize| {
        let text = || format!("pair-{n}");
        let (name, key_type, public_key, fingerprint) = (text(), text(), text(), text());
        Action::CreateKeyPair(NewKeyPair { name, key_type, public_key, fingerprint, tags: Vec::new() })
    };
    let quota = Quota::KeyPairs;
    world.run(Action::SetQuota { quota, limit: Some(1) });
    world.run(pair(0));
    assert_eq!(world.refusal(pair(1)), ModelError::Quota { quota, limit: 1 });
}

#[test]
fn nat_gateways_count_by_zone_and_while_they_live() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let zone = Some("us-east-1b".to_owned());
    let elsewhere: SubnetId =
        world.make(Action::CreateSubnet { vpc, cidr: net("10.0.2.0/24"), zone, tags: Vec::new() });
    let gateway = |subnet| Action::CreateNatGateway {
        subnet,
        allocation: None,
        private_address: None,
        tags: Vec::new(),
    };
    let gateways: Vec<NatGatewayId> = (0..5).map(|_| world.make(gateway(subnet))).collect();
    let full = ModelError::Quota { quota: Quota::NatGateways, limit: 5 };
    assert_eq!(world.refusal(gateway(subnet)), full);
    world.run(gateway(elsewhere));
    world.run(Action::DeleteNatGateway { gateway: gateways[0] });
    world.run(gateway(subnet));
    assert_eq!(world.refusal(gateway(subnet)), full);
}

#[test]
fn an_interface_has_five_groups_and_sixteen_at_most() {
    let (mut world, vpc, subnet) = World::with_subnet();
    let groups: Vec<_> = (0..17).map(|n| world.group(vpc, &format!("group-{n}"))).collect();
    let with = |count: usize| {
        let groups = Some(groups[..count].to_vec());
        Action::CreateNetworkInterface(NewInterface {
            groups,
            kind: InterfaceKind::Interface,
            ..new_interface(subnet)
        })
    };
    let (quota, full) =
        (Quota::GroupsPerInterface, |limit| ModelError::Quota { quota: Quota::GroupsPerInterface, limit });
    world.run(with(5));
    assert_eq!(world.refusal(with(6)), full(5));
    let (given, most) = (17, 16);
    let too_high = ModelError::QuotaTooHigh { quota, given, most };
    assert_eq!(world.refusal(Action::SetQuota { quota, limit: Some(17) }), too_high);
    world.raise(quota);
    world.run(with(16));
    assert_eq!(world.refusal(with(17)), full(16));
}

#[test]
fn groups_of_an_interface_and_rules_of_a_group_are_a_thousand_at_most_multiplied() {
    let mut world = World::new();
    let (rules, groups) = (Quota::SecurityGroupRules, Quota::GroupsPerInterface);
    let set = |quota, limit| Action::SetQuota { quota, limit };
    world.run(set(rules, Some(200)));
    let (quota, given, other, there, most) = (rules, 201, groups, 5, 1_000);
    let too_high = ModelError::QuotasTooHigh { quota, given, other, there, most };
    assert_eq!(world.refusal(set(rules, Some(201))), too_high);
    let (quota, given, other, there) = (groups, 6, rules, 200);
    let too_high = ModelError::QuotasTooHigh { quota, given, other, there, most };
    assert_eq!(world.refusal(set(groups, Some(6))), too_high);
    world.run(set(groups, Some(1)));
    world.run(set(rules, Some(1_000)));
    // The usual one may be too high as well.
    let (quota, given, other, there) = (groups, 5, rules, 1_000);
    assert_eq!(
        world.refusal(set(groups, None)),
        ModelError::QuotasTooHigh { quota, given, other, there, most }
    );
    world.run(set(rules, None));
    world.run(set(groups, None));
}

#[test]
fn a_quota_is_of_one_account_and_a_log_is_read_without_it() {
    let mut world = World::new();
    let start = world.state.clone();
    let (account, other) = (world.account, AccountId::from_number(7).unwrap());
    let command =
        |account, seed, action| Command { account, at: Timestamp(1), seed, client_token: None, action };
    let create = |account, seed| {
        command(account, seed, Action::CreateVpc { cidr: net("10.0.0.0/16"), tags: Vec::new() })
    };
    world.raise(Quota::Vpcs);
    world.account = other;
    world.run(Action::CreateAccount { name: String::new(), root_key: None });
    assert_eq!(quota::limit(&world.state, account, Quota::Vpcs), 1_000);
    assert_eq!(quota::limit(&world.state, other, Quota::Vpcs), 5);
    // A log that was written when quotas were larger, or were not asked for, reads as it was written.
    let log: Vec<_> = (0..7).map(|seed| create(account, seed)).collect();
    let replayed = log.iter().fold(start, |state, command| replay(&state, command).unwrap().0);
    assert_eq!(replayed.vpcs.len(), 7);
    let full = ModelError::Quota { quota: Quota::Vpcs, limit: 5 };
    assert_eq!(apply(&replayed, &create(account, 8)).unwrap_err(), full);
}
