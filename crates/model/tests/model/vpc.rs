//! "VPC CIDR blocks" and "Delete your VPC" in the VPC user guide.

use std::collections::BTreeMap;

use postern_model::vpc::{DhcpOptions, Vpc};
use postern_model::*;

use crate::world::{World, net};

fn create(cidr: &str) -> Action {
    Action::CreateVpc { cidr: net(cidr), tags: Vec::new() }
}

#[test]
fn a_block_is_between_16_and_28() {
    let mut world = World::new();
    for size in ["10.0.0.0/15", "10.0.0.0/29", "10.0.0.0/8", "10.0.0.0/32"] {
        let error = ModelError::BlockSize { cidr: net(size), shortest: 28, longest: 16 };
        assert_eq!(world.refusal(create(size)), error);
    }
    world.vpc("10.0.0.0/16");
    world.vpc("10.0.0.0/28");
    assert_eq!(world.refusal(create("10.0.0.1/16")), ModelError::HostBits("10.0.0.1/16".parse().unwrap()));
}

#[test]
fn blocks_that_mean_something_everywhere_are_refused() {
    let mut world = World::new();
    for block in ["0.0.0.0/16", "127.0.0.0/16", "169.254.0.0/16", "224.0.0.0/16", "240.0.0.0/16"] {
        assert_eq!(world.refusal(create(block)), ModelError::BlockRestricted { cidr: net(block) });
    }
    // A public block is allowed, and so is the same block twice: VPCs are isolated.
    world.vpc("54.1.0.0/16");
    world.vpc("54.1.0.0/16");
}

#[test]
fn a_new_vpc_has_its_parts() {
    let mut world = World::new();
    let id = world.vpc("10.0.0.0/16");
    assert_eq!(world.events.first(), Some(&Event::Created(id.into())));
    let vpc = world.get::<Vpc>(id);
    assert!(vpc.dns_support && !vpc.dns_hostnames);
    assert_eq!(vpc.resolver().to_string(), "10.0.0.2");
    let options = &world.get::<DhcpOptions>(vpc.dhcp_options).options;
    assert_eq!(options["domain-name-servers"], ["AmazonProvidedDNS"]);
    assert_eq!(options["domain-name"], ["ec2.internal"]);
    let group = world.get::<security_group::SecurityGroup>(vpc.default_security_group);
    assert_eq!((group.name.as_str(), group.rules.len()), ("default", 2));
    let acl = world.get::<network_acl::NetworkAcl>(vpc.default_network_acl);
    assert!(acl.ingress[&100].allow && acl.egress[&100].allow);
}

#[test]
fn secondary_blocks_do_not_overlap_and_keep_to_their_range() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let associate = |cidr: &str| Action::AssociateVpcCidrBlock { vpc, cidr: net(cidr) };
    let overlap = |cidr: &str| ModelError::BlockOverlap { cidr: net(cidr), other: net("10.0.0.0/16") };
    assert_eq!(world.refusal(associate("10.0.0.0/16")), overlap("10.0.0.0/16"));
    assert_eq!(world.refusal(associate("10.0.128.0/24")), overlap("10.0.128.0/24"));
    for restricted in ["172.16.0.0/16", "192.168.0.0/16", "198.19.0.0/16"] {
        assert_eq!(
            world.refusal(associate(restricted)),
            ModelError::BlockRestricted { cidr: net(restricted) }
        );
    }
    for allowed in ["10.1.0.0/16", "100.64.0.0/16", "54.1.0.0/24", "10.2.0.0/28"] {
        world.run(associate(allowed));
    }
    assert_eq!(
        world.refusal(associate("10.3.0.0/16")),
        ModelError::Quota { quota: Quota::VpcBlocks, limit: 5 }
    );
}

#[test]
fn a_block_goes_only_when_it_is_empty_and_the_first_one_stays() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    world.run(Action::AssociateVpcCidrBlock { vpc, cidr: net("10.1.0.0/16") });
    let [first, second] = *world.get::<Vpc>(vpc).blocks else { panic!("two blocks") };
    let subnet = world.subnet(vpc, "10.1.1.0/24");
    let disassociate = |association| Action::DisassociateVpcCidrBlock { association };
    assert_eq!(
        world.refusal(disassociate(first.association)),
        ModelError::PrimaryBlock { cidr: first.cidr, vpc }
    );
    assert_eq!(
        world.refusal(disassociate(second.association)),
        ModelError::BlockHasSubnets { cidr: second.cidr, vpc }
    );
    world.run(Action::DeleteSubnet { subnet });
    world.run(disassociate(second.association));
    assert_eq!(world.get::<Vpc>(vpc).blocks, [first]);
}

#[test]
fn a_vpc_goes_only_when_nothing_is_in_it() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let in_use = |by: String| ModelError::InUse { resource: vpc.into(), used_by: by };
    let delete = || Action::DeleteVpc { vpc };

    let subnet = world.subnet(vpc, "10.0.0.0/24");
    assert_eq!(world.refusal(delete()), in_use(subnet.to_string()));
    world.run(Action::DeleteSubnet { subnet });

    let gateway = world.internet_gateway(vpc);
    assert_eq!(world.refusal(delete()), in_use(gateway.to_string()));
    world.run(Action::DetachInternetGateway { gateway, vpc });

    let endpoint = world.endpoint(vpc, "s3", &[]);
    assert_eq!(world.refusal(delete()), in_use(endpoint.to_string()));
    world.run(Action::DeleteVpcEndpoint { endpoint });

    let table = world.table(vpc);
    assert_eq!(world.refusal(delete()), in_use(table.to_string()));
    world.run(Action::DeleteRouteTable { table });

    let group = world.group(vpc, "web");
    assert_eq!(world.refusal(delete()), in_use(group.to_string()));
    world.run(Action::DeleteSecurityGroup { group });

    let acl: NetworkAclId = world.make(Action::CreateNetworkAcl { vpc, tags: Vec::new() });
    assert_eq!(world.refusal(delete()), in_use(acl.to_string()));
    world.run(Action::DeleteNetworkAcl { acl });

    world.run(delete());
    assert_eq!(world.refusal(delete()), ModelError::NotFound(vpc.into()));
    assert!(world.state.route_tables.is_empty() && world.state.security_groups.is_empty());
    assert!(world.state.network_acls.is_empty());
}

#[test]
fn dhcp_options_in_use_stay() {
    let mut world = World::new();
    let vpc = world.vpc("10.0.0.0/16");
    let options = BTreeMap::from([("domain-name".to_owned(), vec!["example.com".to_owned()])]);
    let options: DhcpOptionsId = world.make(Action::CreateDhcpOptions { options, tags: Vec::new() });
    world.run(Action::AssociateDhcpOptions { vpc, options });
    assert_eq!(
        world.refusal(Action::DeleteDhcpOptions { options }),
        ModelError::InUse { resource: options.into(), used_by: vpc.to_string() }
    );
    world.run(Action::DeleteVpc { vpc });
    world.run(Action::DeleteDhcpOptions { options });
}
