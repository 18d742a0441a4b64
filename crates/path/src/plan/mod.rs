//! The plan: a state compiled into tables that are quick to ask on a packet's way.
//!
//! A plan is a value like a state: the next one shares everything that did not change, so a change costs as much as
//! it changes and not as much as there is ([`Plan::advance`]).

mod balance;
mod compare;
mod compile;
mod dirty;
pub mod interval;
pub mod slots;
mod transit;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;
use postern_model::network_acl::AclEntry;
use postern_model::security_group::Traffic;
use postern_model::{
    AccountId, InstanceId, InternetGatewayId, Ipv4Net, ListenerId, LoadBalancerId, Mac, NatGatewayId,
    NetworkAclId, NetworkInterfaceId, PrefixListId, ResolverEndpointId, RouteTableId, SecurityGroupId,
    SecurityGroupRuleId, SubnetId, TargetGroupId, TransitGatewayAttachmentId, TransitGatewayId,
    TransitGatewayRouteTableId, VpcEndpointId, VpcId, VpcPeeringConnectionId, VpnConnectionId, VpnGatewayId,
};
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;

pub use balance::Health;
pub(crate) use balance::{FrontListener, FrontPlan, GroupTargets, ListenerPlan};
pub use compile::{Compiled, Diagnostic};
use interval::IntervalMap;
use slots::Slots;
pub(crate) use transit::{
    TransitAttachmentPlan, TransitEnd, TransitGatewayPlan, TransitRoutePlan, TransitTablePlan,
};

use crate::balancer_name::NamedBalancer;
use crate::decision::Stamp;
use crate::endpoint_name::{EndpointNames, NamesOfEndpoint};
use crate::name::Names;
use crate::uplink::Uplink;

/// A persistent hash table.
pub type Table<K, V> = GenericHashMap<K, V, FxBuildHasher, DefaultSharedPtr>;

/// A state, compiled.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Goes up with each compilation.
    pub generation: u64,
    pub(crate) interfaces: Table<NetworkInterfaceId, Arc<InterfacePlan>>,
    pub(crate) addresses: Table<(VpcId, Ipv4Addr), NetworkInterfaceId>,
    pub(crate) public: Table<Ipv4Addr, (NetworkInterfaceId, Ipv4Addr)>,
    pub(crate) vpcs: Table<VpcId, Arc<VpcPlan>>,
    pub(crate) subnets: Table<SubnetId, Arc<SubnetPlan>>,
    pub(crate) route_tables: Table<RouteTableId, Arc<RouteTablePlan>>,
    pub(crate) groups: Table<SecurityGroupId, Arc<GroupPlan>>,
    pub(crate) acls: Table<NetworkAclId, Arc<AclPlan>>,
    pub(crate) prefix_lists: Table<PrefixListId, Arc<IntervalMap<()>>>,
    pub(crate) internet_gateways: Table<InternetGatewayId, GatewayPlan>,
    pub(crate) nat_gateways: Table<NatGatewayId, Arc<NatPlan>>,
    pub(crate) endpoints: Table<VpcEndpointId, Arc<EndpointPlan>>,
    pub(crate) gateway_endpoints: Table<VpcId, GatewayEndpoints>,
    pub(crate) vpn_gateways: Table<VpnGatewayId, Arc<VpnGatewayPlan>>,
    pub(crate) transit_gateways: Table<TransitGatewayId, Arc<TransitGatewayPlan>>,
    pub(crate) transit_attachments: Table<TransitGatewayAttachmentId, Arc<TransitAttachmentPlan>>,
    pub(crate) transit_tables: Table<TransitGatewayRouteTableId, Arc<TransitTablePlan>>,
    pub(crate) peerings: Table<VpcPeeringConnectionId, Arc<PeeringPlan>>,
    /// Whether public names of the second VPC lead to private addresses in the first one.
    pub(crate) peer_names: Table<(VpcId, VpcId), bool>,
    pub(crate) endpoint_names: EndpointNames,
    pub(crate) target_groups: Table<TargetGroupId, Arc<GroupTargets>>,
    pub(crate) listeners: Table<ListenerId, Arc<ListenerPlan>>,
    pub(crate) fronts: Table<NetworkInterfaceId, Arc<FrontPlan>>,
    pub(crate) balancer_names: Table<LoadBalancerId, Arc<NamedBalancer>>,
    health: Health,
    pub(crate) services: Arc<IntervalMap<u16>>,
    pub(crate) names: Arc<Names>,
    pub(crate) uplink: Option<Uplink>,
    slots: Slots,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in the model")]
pub struct InterfacePlan {
    pub id: NetworkInterfaceId,
    pub stamp: Stamp,
    pub account: AccountId,
    pub vpc: VpcId,
    pub subnet: SubnetId,
    pub mac: Mac,
    pub groups: SmallVec<[SecurityGroupId; 4]>,
    /// Changes when `groups` does.
    pub groups_stamp: Stamp,
    /// Its private addresses, the primary one first.
    pub addresses: SmallVec<[Ipv4Addr; 2]>,
    /// The public address of each private one.
    pub public_addresses: SmallVec<[Option<Ipv4Addr>; 2]>,
    pub source_dest_check: bool,
    /// Whether it is a load balancer's that has no groups, so that nothing filters it.
    pub unfiltered: bool,
    /// Whether it is a NAT gateway's.
    pub nat_gateway: bool,
    /// The interface endpoint that it is of.
    pub endpoint: Option<VpcEndpointId>,
    /// The inbound endpoint of a resolver that it is of.
    pub resolver_endpoint: Option<ResolverEndpointId>,
    /// Whether it is plugged into something that runs.
    pub attached: bool,
    pub instance: Option<InstanceId>,
    /// For the end of a VPN: what it leads to. Its VPC is nobody's, and so is its subnet.
    pub remote: Option<RemotePlan>,
    /// The subnet router's address.
    pub gateway: Ipv4Addr,
    /// The subnet's block.
    pub cidr: Ipv4Net,
    /// The VPC's resolver.
    pub resolver: Ipv4Addr,
}

impl InterfacePlan {
    /// The public address of a private one.
    pub(crate) fn public_of(&self, private: Ipv4Addr) -> Option<Ipv4Addr> {
        let at = self.addresses.iter().position(|address| *address == private)?;
        self.public_addresses.get(at).copied().flatten()
    }
}

/// The end of a VPN: what comes from a network on premises comes in here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemotePlan {
    /// The connection.
    pub connection: VpnConnectionId,
    /// The region's end of it.
    pub end: RemoteEnd,
}

/// The region's end of a VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteEnd {
    /// A virtual private gateway.
    Virtual(VpnGatewayId),
    /// A transit gateway, by the connection's attachment to it.
    Transit(TransitGatewayAttachmentId),
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VpcPlan {
    pub stamp: Stamp,
    pub members: Stamp,
    pub blocks: SmallVec<[Ipv4Net; 4]>,
    pub dns_support: bool,
    pub dns_hostnames: bool,
    pub resolver: Ipv4Addr,
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubnetPlan {
    pub stamp: Stamp,
    /// The zone's name.
    pub zone: String,
    pub cidr: Ipv4Net,
    pub route_table: RouteTableId,
    pub acl: NetworkAclId,
}

/// A route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteTablePlan {
    pub stamp: Stamp,
    pub intervals: IntervalMap<u32>,
    pub routes: Vec<RoutePlan>,
}

/// One block that a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoutePlan {
    pub block: Ipv4Net,
    pub list: Option<PrefixListId>,
    pub target: Target,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Local,
    InternetGateway(InternetGatewayId),
    NatGateway(NatGatewayId),
    NetworkInterface(NetworkInterfaceId),
    VpcEndpoint(VpcEndpointId),
    Peering(VpcPeeringConnectionId),
    VpnGateway(VpnGatewayId),
    TransitGateway(TransitGatewayId),
}

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupPlan {
    pub stamp: Stamp,
    pub egress: Vec<RulePlan>,
    pub ingress: Vec<RulePlan>,
}

/// A rule of a security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RulePlan {
    pub id: SecurityGroupRuleId,
    pub traffic: Traffic,
    pub peer: PeerPlan,
}

/// With whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerPlan {
    Block(Ipv4Net),
    Group(SecurityGroupId),
    List(Arc<IntervalMap<()>>),
    /// Blocks of IPv6 match no packet yet.
    Never,
}

/// A network ACL: the rules in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AclPlan {
    pub stamp: Stamp,
    pub egress: Vec<AclEntry>,
    pub ingress: Vec<AclEntry>,
}

/// An internet gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GatewayPlan {
    pub stamp: Stamp,
    pub vpc: Option<VpcId>,
}

/// A NAT gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NatPlan {
    pub stamp: Stamp,
    pub subnet: SubnetId,
    pub private: Ipv4Addr,
    pub public: Option<Ipv4Addr>,
}

/// The gateway endpoints of a VPC, with the blocks of their services.
pub(crate) type GatewayEndpoints = Arc<Vec<(VpcEndpointId, Arc<IntervalMap<()>>)>>;

/// A virtual private gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VpnGatewayPlan {
    pub stamp: Stamp,
    pub vpc: Option<VpcId>,
    /// Which of the links leads to what on premises.
    pub routes: IntervalMap<u32>,
    /// The ends of its connections.
    pub links: Vec<NetworkInterfaceId>,
}

/// A peering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeeringPlan {
    pub stamp: Stamp,
    /// Whether packets pass.
    pub passes: bool,
    pub vpcs: [VpcId; 2],
}

impl PeeringPlan {
    /// The VPC that it leads to from this one, if packets pass.
    pub fn beyond(&self, near: VpcId) -> Option<VpcId> {
        match self.vpcs {
            [one, other] if one == near => Some(other),
            [one, other] if other == near => Some(one),
            _ => None,
        }
        .filter(|_| self.passes)
    }
}

/// A load balancer in the zone of an endpoint's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BalancerPlan {
    /// Its interface there.
    pub interface: NetworkInterfaceId,
    /// Whether its security groups filter what comes through endpoints.
    pub filters: bool,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndpointPlan {
    pub stamp: Stamp,
    pub vpc: VpcId,
    /// Whether packets pass.
    pub passes: bool,
    /// Where each of its interfaces leads, by the subnets that they are in; none for a service of AWS's.
    pub balancers: Option<BTreeMap<SubnetId, BalancerPlan>>,
    /// What it put among the names.
    pub names: NamesOfEndpoint,
}

impl Plan {
    /// An interface, by its id.
    pub fn interface(&self, id: NetworkInterfaceId) -> Option<&InterfacePlan> {
        self.interfaces.get(&id).map(AsRef::as_ref)
    }

    /// All interfaces, in no order.
    pub fn interfaces(&self) -> impl Iterator<Item = &InterfacePlan> {
        self.interfaces.values().map(AsRef::as_ref)
    }

    /// How packets leave the region, if they can.
    pub fn uplink(&self) -> Option<Uplink> {
        self.uplink
    }

    /// All generations that are in use.
    pub fn slots(&self) -> impl Iterator<Item = Stamp> + '_ {
        self.slots.iter()
    }

    /// The stamp of one thing.
    pub fn slot(&self, key: slots::SlotKey) -> Option<Stamp> {
        self.slots.get(key)
    }

    /// The address of a subnet's router.
    pub(crate) fn router_of(&self, subnet: SubnetId) -> Ipv4Addr {
        let base = self.subnets.get(&subnet).map_or(0, |subnet| u32::from(subnet.cidr.network()));
        Ipv4Addr::from(base.wrapping_add(1))
    }

    /// One above the highest slot that was ever used.
    pub fn slot_count(&self) -> u32 {
        self.slots.len()
    }
}
