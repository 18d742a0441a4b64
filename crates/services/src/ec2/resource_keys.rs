//! The condition keys of EC2 that follow from what a request is about: which VPC a subnet is in, which zone, and the like.
//!
//! From "Resource types defined by Amazon EC2" and "Condition keys for Amazon EC2" in the service authorization reference
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html>): each type of resource has the keys of
//! its row, and a resource that is made has those that the request says of it. `ec2:Vpc` and `ec2:Subnet` are ARNs, the others
//! texts. What this endpoint does not have at all (IPAM pools, placement groups, volumes, …) has no keys.

use postern_model::endpoint::VpcEndpoint;
use postern_model::gateway::Address;
use postern_model::instance::{Instance, KeyPair};
use postern_model::interface::NetworkInterface;
use postern_model::network_acl::NetworkAcl;
use postern_model::peering::{PeeredVpc, VpcPeeringConnection};
use postern_model::route::RouteTable;
use postern_model::security_group::SecurityGroup;
use postern_model::subnet::Subnet;
use postern_model::{AccountId, ResourceId, State, SubnetId, VpcId};

use super::view::zone_id;

/// Keys with their values.
pub(super) type Keys = Vec<(&'static str, String)>;

/// The keys that are set here, in small letters.
pub(crate) const KEYS: [&str; 21] = [
    "ec2:acceptervpc",
    "ec2:allocationid",
    "ec2:availabilityzone",
    "ec2:availabilityzoneid",
    "ec2:dhcpoptionsid",
    "ec2:domain",
    "ec2:instanceid",
    "ec2:instancetype",
    "ec2:internetgatewayid",
    "ec2:keypairname",
    "ec2:keypairtype",
    "ec2:networkaclid",
    "ec2:networkinterfaceid",
    "ec2:publicipaddress",
    "ec2:requestervpc",
    "ec2:routetableid",
    "ec2:securitygroupid",
    "ec2:subnet",
    "ec2:subnetid",
    "ec2:vpc",
    "ec2:vpcid",
];

/// A VPC as policies name it.
fn vpc_arn(state: &State, owner: AccountId, vpc: VpcId) -> String {
    format!("arn:aws:ec2:{}:{owner}:vpc/{vpc}", state.region.name)
}

fn zone(state: &State, zone: &str) -> Keys {
    let mut keys = vec![("ec2:AvailabilityZone", zone.to_owned())];
    keys.extend(zone_id(state, zone).map(|id| ("ec2:AvailabilityZoneId", id)));
    keys
}

/// Of a resource that is there, and that the account sees.
pub(super) fn of(state: &State, account: AccountId, id: ResourceId) -> Keys {
    let in_vpc = |key: &'static str, id: String, owner: AccountId, vpc: VpcId| {
        vec![(key, id), ("ec2:Vpc", vpc_arn(state, owner, vpc))]
    };
    match id {
        ResourceId::Vpc(id) => vec![("ec2:VpcID", id.to_string())],
        ResourceId::Subnet(id) => match state.get::<Subnet>(account, id) {
            Ok(subnet) => {
                let mut keys = in_vpc("ec2:SubnetID", id.to_string(), subnet.owner, subnet.vpc);
                keys.extend(zone(state, &subnet.zone));
                keys
            }
            Err(_) => Keys::new(),
        },
        ResourceId::RouteTable(id) => state.get::<RouteTable>(account, id).map_or_else(
            |_| Keys::new(),
            |table| in_vpc("ec2:RouteTableID", id.to_string(), table.owner, table.vpc),
        ),
        ResourceId::SecurityGroup(id) => state.get::<SecurityGroup>(account, id).map_or_else(
            |_| Keys::new(),
            |group| in_vpc("ec2:SecurityGroupID", id.to_string(), group.owner, group.vpc),
        ),
        ResourceId::NetworkAcl(id) => state.get::<NetworkAcl>(account, id).map_or_else(
            |_| Keys::new(),
            |acl| in_vpc("ec2:NetworkAclID", id.to_string(), acl.owner, acl.vpc),
        ),
        ResourceId::NetworkInterface(id) => match state.get::<NetworkInterface>(account, id) {
            Ok(interface) => {
                let mut keys = vec![("ec2:NetworkInterfaceID", id.to_string())];
                keys.extend(in_subnet(state, account, interface.subnet));
                keys
            }
            Err(_) => Keys::new(),
        },
        ResourceId::Instance(id) => match state.get::<Instance>(account, id) {
            Ok(instance) => {
                let mut keys = vec![
                    ("ec2:InstanceID", id.to_string()),
                    ("ec2:InstanceType", instance.instance_type.clone()),
                ];
                let subnet = state.get::<Subnet>(account, instance.subnet);
                keys.extend(subnet.into_iter().flat_map(|subnet| zone(state, &subnet.zone)));
                keys
            }
            Err(_) => Keys::new(),
        },
        ResourceId::TransitGateway(id) => vec![("ec2:transitGatewayId", id.to_string())],
        ResourceId::TransitGatewayAttachment(id) => {
            vec![("ec2:transitGatewayAttachmentId", id.to_string())]
        }
        ResourceId::TransitGatewayRouteTable(id) => {
            vec![("ec2:transitGatewayRouteTableId", id.to_string())]
        }
        ResourceId::InternetGateway(id) => vec![("ec2:InternetGatewayID", id.to_string())],
        ResourceId::Address(id) => state.get::<Address>(account, id).map_or_else(
            |_| Keys::new(),
            |address| {
                vec![
                    ("ec2:AllocationId", id.to_string()),
                    ("ec2:PublicIpAddress", address.public_address.to_string()),
                    ("ec2:Domain", "vpc".to_owned()),
                ]
            },
        ),
        ResourceId::VpcPeeringConnection(id) => {
            let found = state.get::<VpcPeeringConnection>(account, id);
            let side = |peered: &PeeredVpc| vpc_arn(state, peered.owner, peered.vpc);
            found.map_or_else(
                |_| Keys::new(),
                |peering| {
                    vec![
                        ("ec2:RequesterVpc", side(&peering.requester)),
                        ("ec2:AccepterVpc", side(&peering.accepter)),
                    ]
                },
            )
        }
        ResourceId::KeyPair(id) => state.get::<KeyPair>(account, id).map_or_else(
            |_| Keys::new(),
            |pair| vec![("ec2:KeyPairName", pair.name.clone()), ("ec2:KeyPairType", pair.key_type.clone())],
        ),
        ResourceId::DhcpOptions(id) => vec![("ec2:DhcpOptionsID", id.to_string())],
        ResourceId::VpcEndpoint(id) => state.get::<VpcEndpoint>(account, id).map_or_else(
            |_| Keys::new(),
            |endpoint| vec![("ec2:VpceServiceName", endpoint.service_name.clone())],
        ),
        ResourceId::SecurityGroupRule(_)
        | ResourceId::NatGateway(_)
        | ResourceId::CustomerGateway(_)
        | ResourceId::VpnGateway(_)
        | ResourceId::VpnConnection(_)
        | ResourceId::PrefixList(_)
        | ResourceId::EndpointService(_)
        | ResourceId::ConnectionNotification(_)
        | ResourceId::LoadBalancer(_)
        | ResourceId::Listener(_)
        | ResourceId::TargetGroup(_)
        | ResourceId::ResolverEndpoint(_) => Keys::new(),
    }
}

/// Of something that stands in a subnet.
fn in_subnet(state: &State, account: AccountId, id: SubnetId) -> Keys {
    let Ok(subnet) = state.get::<Subnet>(account, id) else { return Keys::new() };
    let arn = format!("arn:aws:ec2:{}:{}:subnet/{id}", state.region.name, subnet.owner);
    let mut keys = vec![("ec2:Subnet", arn), ("ec2:Vpc", vpc_arn(state, subnet.owner, subnet.vpc))];
    keys.extend(zone(state, &subnet.zone));
    keys
}

/// Of a resource of this kind that is made: what the request says of where and what it is to be.
pub(super) fn of_new<'a>(
    state: &State,
    account: AccountId,
    kind: &str,
    value: impl Fn(&str) -> Option<&'a str>,
) -> Keys {
    let subnet =
        || value("SubnetId").or_else(|| value("NetworkInterface.SubnetId"))?.parse::<SubnetId>().ok();
    let vpc = || {
        let id = value("VpcId")?.parse::<VpcId>().ok()?;
        Some(("ec2:Vpc", vpc_arn(state, account, id)))
    };
    match kind {
        "subnet" => {
            let mut keys: Keys = vpc().into_iter().collect();
            keys.extend(value("AvailabilityZone").into_iter().flat_map(|name| zone(state, name)));
            keys
        }
        "route-table" | "security-group" | "network-acl" => vpc().into_iter().collect(),
        "network-interface" => subnet().map(|id| in_subnet(state, account, id)).unwrap_or_default(),
        "instance" => {
            let kind = value("InstanceType").map(|kind| ("ec2:InstanceType", kind.to_owned()));
            let place = subnet().map(|id| in_subnet(state, account, id)).unwrap_or_default();
            let zones = place.into_iter().filter(|(key, _)| key.starts_with("ec2:AvailabilityZone"));
            kind.into_iter().chain(zones).collect()
        }
        "key-pair" => {
            let name = value("KeyName").map(|name| ("ec2:KeyPairName", name.to_owned()));
            let kind = value("KeyType").map(|kind| ("ec2:KeyPairType", kind.to_owned()));
            name.into_iter().chain(kind).collect()
        }
        "elastic-ip" => vec![("ec2:Domain", "vpc".to_owned())],
        "vpc-peering-connection" => {
            let side = |key, owner: Option<&str>, vpc: Option<&str>| {
                let owner = owner.and_then(|owner| owner.parse().ok()).unwrap_or(account);
                Some((key, vpc_arn(state, owner, vpc?.parse().ok()?)))
            };
            let requester = side("ec2:RequesterVpc", None, value("VpcId"));
            let accepter = side("ec2:AccepterVpc", value("PeerOwnerId"), value("PeerVpcId"));
            requester.into_iter().chain(accepter).collect()
        }
        _ => Keys::new(),
    }
}
