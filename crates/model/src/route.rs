//! Route tables: where packets that leave a subnet go.
//!
//! Rules from "Configure route tables" in the VPC user guide. Whether a route is a black hole is not stored: it
//! follows from whether its target is there ([`Route::is_blackhole`]).

use std::collections::BTreeSet;
use std::fmt;

use imbl::OrdMap;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::endpoint::VpcEndpoint;
use crate::error::ModelError;
use crate::gateway::{InternetGateway, NatGateway};
use crate::id::*;
use crate::instance::{Instance, InstanceState};
use crate::interface::NetworkInterface;
use crate::peering::{PeeringState, VpcPeeringConnection};
use crate::prefix_list::PrefixList;
use crate::quota::Quota;
use crate::state::State;
use crate::subnet::Subnet;
use crate::tag::{self, TagSet, Tags};
use crate::transit::{self, TransitGateway};
use crate::txn::Txn;
use crate::vpc::Vpc;
use crate::vpn::VpnGateway;

/// A route table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouteTable {
    /// Its id.
    pub id: RouteTableId,
    /// Whose it is.
    pub owner: AccountId,
    /// The VPC that it is part of.
    pub vpc: VpcId,
    /// What people, and gateway endpoints, put in it. The local routes of the VPC's blocks are implied.
    #[serde(with = "routes_as_list")]
    pub routes: OrdMap<RouteDestination, Route>,
    /// The virtual private gateways whose connections' routes are in it too ([`crate::vpn::propagated`]).
    #[serde(default)]
    pub propagating: BTreeSet<VpnGatewayId>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// Where a route applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RouteDestination {
    /// A block of addresses.
    Cidr(IpNet),
    /// The blocks of a prefix list.
    PrefixList(PrefixListId),
}

impl fmt::Display for RouteDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(cidr) => cidr.fmt(f),
            Self::PrefixList(id) => fmt::Display::fmt(id, f),
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteTarget {
    /// The VPC's internet gateway.
    InternetGateway(InternetGatewayId),
    /// A NAT gateway.
    NatGateway(NatGatewayId),
    /// A network interface of an instance that routes.
    NetworkInterface(NetworkInterfaceId),
    /// A gateway endpoint. Only the endpoint itself puts and removes such a route.
    VpcEndpoint(VpcEndpointId),
    /// The VPC at the other side of a peering.
    VpcPeering(VpcPeeringConnectionId),
    /// The networks on premises that a virtual private gateway leads to.
    VpnGateway(VpnGatewayId),
    /// What a transit gateway's route tables lead to.
    TransitGateway(TransitGatewayId),
}

impl RouteTarget {
    /// The id of what it leads to.
    pub fn resource(self) -> ResourceId {
        match self {
            Self::InternetGateway(id) => id.into(),
            Self::NatGateway(id) => id.into(),
            Self::NetworkInterface(id) => id.into(),
            Self::VpcEndpoint(id) => id.into(),
            Self::VpcPeering(id) => id.into(),
            Self::VpnGateway(id) => id.into(),
            Self::TransitGateway(id) => id.into(),
        }
    }
}

/// One route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where it applies.
    pub destination: RouteDestination,
    /// Where it leads.
    pub target: RouteTarget,
}

impl Route {
    /// Whether the target cannot take packets: it is gone, or not attached ("blackhole").
    pub fn is_blackhole(&self, state: &State, vpc: VpcId) -> bool {
        match self.target {
            RouteTarget::InternetGateway(id) => {
                state.internet_gateways.get(&id).is_none_or(|gateway| gateway.vpc != Some(vpc))
            }
            RouteTarget::NatGateway(id) => {
                state.nat_gateways.get(&id).is_none_or(|gateway| !gateway.state.is_live())
            }
            RouteTarget::NetworkInterface(id) => !interface_can_route(state, id),
            RouteTarget::VpcEndpoint(id) => !state.vpc_endpoints.contains_key(&id),
            RouteTarget::VpcPeering(id) => {
                state.vpc_peering_connections.get(&id).is_none_or(|peering| !peering.state.passes())
            }
            RouteTarget::VpnGateway(id) => {
                state.vpn_gateways.get(&id).is_none_or(|gateway| gateway.vpc != Some(vpc))
            }
            RouteTarget::TransitGateway(id) => transit::attachment_of(state, id, vpc).is_none(),
        }
    }
}

/// Whether an interface takes packets: it is attached to something that runs.
pub fn interface_can_route(state: &State, id: NetworkInterfaceId) -> bool {
    let attachment = state.network_interfaces.get(&id).and_then(|interface| interface.attachment);
    match attachment.map(|attachment| attachment.instance) {
        None => false,
        Some(None) => true,
        Some(Some(instance)) => state
            .instances
            .get(&instance)
            .is_some_and(|i| matches!(i.state, InstanceState::Pending | InstanceState::Running)),
    }
}

impl RouteTable {
    /// A route that a block would make useless: one to the same block or a part of it.
    pub(crate) fn destination_within(&self, cidr: Ipv4Net) -> Option<RouteDestination> {
        let within = |destination: &&RouteDestination| match destination {
            RouteDestination::Cidr(IpNet::V4(other)) => cidr.contains(other),
            RouteDestination::Cidr(IpNet::V6(_)) | RouteDestination::PrefixList(_) => false,
        };
        self.routes.keys().find(within).copied()
    }
}

mod routes_as_list {
    use imbl::OrdMap;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Route, RouteDestination};

    pub fn serialize<S: Serializer>(
        routes: &OrdMap<RouteDestination, Route>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        routes.values().collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<OrdMap<RouteDestination, Route>, D::Error> {
        let routes = Vec::<Route>::deserialize(from)?;
        Ok(routes.into_iter().map(|route| (route.destination, route)).collect())
    }
}

pub(crate) fn insert_table(
    txn: &mut Txn,
    id: RouteTableId,
    vpc: VpcId,
    tags: Tags,
) -> Result<(), ModelError> {
    txn.within(Quota::RouteTables, |txn| {
        txn.state.route_tables.values().filter(|table| table.vpc == vpc).count() + 1
    })?;
    txn.insert(RouteTable {
        id,
        owner: txn.account,
        vpc,
        routes: OrdMap::new(),
        propagating: BTreeSet::new(),
        tags,
    });
    Ok(())
}

pub(crate) fn create_table(txn: &mut Txn, vpc: VpcId, tags: &TagSet) -> Result<(), ModelError> {
    txn.get::<Vpc>(vpc)?;
    let id = txn.mint::<RouteTable>(RouteTableId::from_number)?;
    insert_table(txn, id, vpc, tag::collect(tags)?)
}

pub(crate) fn delete_table(txn: &mut Txn, id: RouteTableId) -> Result<(), ModelError> {
    let table = txn.get::<RouteTable>(id)?;
    let vpc = txn.get::<Vpc>(table.vpc)?;
    if vpc.main_route_table == id {
        return Err(ModelError::InUse { resource: id.into(), used_by: vpc.id.to_string() });
    }
    let subnet = txn.state.subnets.values().find(|x| x.route_table.is_some_and(|(_, table)| table == id));
    if let Some(subnet) = subnet {
        return Err(ModelError::InUse { resource: id.into(), used_by: subnet.id.to_string() });
    }
    // A gateway endpoint forgets the table, as AWS's does.
    let endpoints: Vec<_> =
        txn.state.vpc_endpoints.values().filter(|e| e.route_tables.contains(&id)).map(|e| e.id).collect();
    for endpoint in endpoints {
        txn.update::<VpcEndpoint>(endpoint, |e| {
            e.route_tables.remove(&id);
        })?;
    }
    txn.remove::<RouteTable>(id).map(|_| ())
}

/// What a request names as the target of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteTargetChoice {
    /// One of the targets, by its id.
    Target(RouteTarget),
    /// An instance, which must have exactly one interface.
    Instance(InstanceId),
}

fn resolve_target(
    txn: &Txn,
    table: &RouteTable,
    choice: RouteTargetChoice,
) -> Result<RouteTarget, ModelError> {
    let target = match choice {
        RouteTargetChoice::Target(target) => target,
        RouteTargetChoice::Instance(id) => {
            let instance = txn.get::<Instance>(id)?;
            let primary = instance.primary_interface(&txn.state).map(|interface| interface.id);
            RouteTarget::NetworkInterface(primary.ok_or(ModelError::WrongState {
                resource: id.into(),
                state: instance.state.name(),
                needed: "running",
            })?)
        }
    };
    let vpc_of_target = match target {
        RouteTarget::InternetGateway(id) => {
            let gateway = txn.get::<InternetGateway>(id)?;
            Some(gateway.vpc.ok_or(ModelError::GatewayNotAttached { gateway: id, vpc: table.vpc })?)
        }
        RouteTarget::NatGateway(id) => Some(txn.get::<NatGateway>(id)?.vpc),
        RouteTarget::NetworkInterface(id) => Some(txn.get::<NetworkInterface>(id)?.vpc),
        RouteTarget::VpcEndpoint(id) => {
            txn.get::<VpcEndpoint>(id)?;
            return Err(ModelError::RouteTargetUnsupported(id.into()));
        }
        // "You can add a route for a VPC peering connection that's in the pending-acceptance state. However, the route
        // has a state of blackhole".
        RouteTarget::VpcPeering(id) => {
            let peering = txn.get::<VpcPeeringConnection>(id)?;
            match peering.status(txn.at) {
                PeeringState::PendingAcceptance | PeeringState::Provisioning | PeeringState::Active => {}
                ended @ (PeeringState::Failed
                | PeeringState::Expired
                | PeeringState::Rejected
                | PeeringState::Deleted) => {
                    let (resource, state) = (id.into(), ended.name());
                    return Err(ModelError::WrongState { resource, state, needed: "active" });
                }
            }
            peering.sides().map(|side| side.vpc).into_iter().find(|vpc| *vpc == table.vpc)
        }
        RouteTarget::VpnGateway(gateway) => {
            let attached = txn.get::<VpnGateway>(gateway)?.vpc;
            Some(attached.ok_or(ModelError::VpnGatewayNotAttached { gateway, vpc: table.vpc })?)
        }
        // "Before you can add a route, the VPC must be attached."
        RouteTarget::TransitGateway(gateway) => {
            txn.get::<TransitGateway>(gateway)?;
            let attached = transit::attachment_of(&txn.state, gateway, table.vpc);
            attached.ok_or(ModelError::TransitNotAttached { gateway, vpc: table.vpc })?;
            Some(table.vpc)
        }
    };
    if vpc_of_target == Some(table.vpc) {
        Ok(target)
    } else {
        Err(ModelError::DifferentVpcs { a: table.id.into(), b: target.resource() })
    }
}

/// Where instance metadata, the resolver and their like are.
const LINK_LOCAL_SERVICES: IpNet =
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::new(169, 254, 168, 0), 22));

/// The block of the table's VPC that a destination lies in.
fn local_block_around(txn: &Txn, table: &RouteTable, cidr: IpNet) -> Result<Option<Ipv4Net>, ModelError> {
    let vpc = txn.get::<Vpc>(table.vpc)?;
    Ok(vpc.blocks.iter().map(|block| block.cidr).find(|block| IpNet::V4(*block).contains(&cidr)))
}

/// Refuses an internet gateway, a peering, a virtual private or a transit gateway as the target of a route inside the VPC: "The target must be a NAT gateway, network
/// interface, or Gateway Load Balancer endpoint."
fn check_target(
    txn: &Txn,
    table: &RouteTable,
    destination: RouteDestination,
    target: RouteTarget,
) -> Result<(), ModelError> {
    match (destination, target) {
        (
            RouteDestination::Cidr(cidr),
            target @ (RouteTarget::InternetGateway(_)
            | RouteTarget::VpcPeering(_)
            | RouteTarget::VpnGateway(_)
            | RouteTarget::TransitGateway(_)),
        ) => {
            let inside = local_block_around(txn, table, cidr)?.is_some();
            if inside { Err(ModelError::RouteTargetUnsupported(target.resource())) } else { Ok(()) }
        }
        (
            RouteDestination::Cidr(_) | RouteDestination::PrefixList(_),
            RouteTarget::InternetGateway(_)
            | RouteTarget::NatGateway(_)
            | RouteTarget::NetworkInterface(_)
            | RouteTarget::VpcEndpoint(_)
            | RouteTarget::VpcPeering(_)
            | RouteTarget::VpnGateway(_)
            | RouteTarget::TransitGateway(_),
        ) => Ok(()),
    }
}

/// Refuses a route that a local one would always beat, and one to a prefix list that AWS manages.
fn check_destination(txn: &Txn, table: &RouteTable, destination: RouteDestination) -> Result<(), ModelError> {
    match destination {
        RouteDestination::Cidr(cidr) => {
            if cidr.trunc() != cidr {
                return Err(ModelError::HostBits(cidr));
            }
            // "You can't add routes that are an exact match for or a subset of 169.254.168.0/22."
            if LINK_LOCAL_SERVICES.contains(&cidr) {
                return Err(ModelError::RouteRestricted { destination });
            }
            let Some(local) = local_block_around(txn, table, cidr)? else { return Ok(()) };
            // "The destination must match the entire IPv4 or IPv6 CIDR block of a subnet in your VPC."
            let mut subnets = txn.state.subnets.values().filter(|subnet| subnet.vpc == table.vpc);
            let fits = IpNet::V4(local) != cidr && subnets.any(|subnet| IpNet::V4(subnet.cidr) == cidr);
            if fits { Ok(()) } else { Err(ModelError::RouteShadowsLocal { destination, local }) }
        }
        RouteDestination::PrefixList(id) => {
            let list = txn.get::<PrefixList>(id)?;
            // AWS's own lists get their routes from gateway endpoints alone.
            if list.owner.is_none() {
                Err(ModelError::RouteManaged { table: table.id, destination })
            } else {
                Ok(())
            }
        }
    }
}

/// Refuses one more route than the quota: a prefix list counts with its size.
pub(crate) fn check_room(txn: &Txn, table: &RouteTable, new: RouteDestination) -> Result<(), ModelError> {
    txn.within(Quota::Routes, |txn| {
        table.routes.keys().chain([&new]).map(|destination| weight(&txn.state, *destination)).sum()
    })
}

/// How much of the quota of a table a route uses.
pub(crate) fn weight(state: &State, destination: RouteDestination) -> usize {
    match destination {
        RouteDestination::Cidr(_) => 1,
        RouteDestination::PrefixList(list) => crate::prefix_list::weight(state, list),
    }
}

pub(crate) fn create_route(
    txn: &mut Txn,
    id: RouteTableId,
    destination: RouteDestination,
    choice: RouteTargetChoice,
) -> Result<(), ModelError> {
    let table = txn.get::<RouteTable>(id)?;
    check_destination(txn, &table, destination)?;
    let target = resolve_target(txn, &table, choice)?;
    check_target(txn, &table, destination, target)?;
    if let Some(existing) = table.routes.get(&destination) {
        // Creating the same route again is answered as if it were new.
        if existing.target == target {
            return Ok(());
        }
        return Err(ModelError::RouteExists { table: id, destination });
    }
    check_room(txn, &table, destination)?;
    txn.update::<RouteTable>(id, |table| {
        table.routes.insert(destination, Route { destination, target });
    })
}

fn changeable_route(table: &RouteTable, destination: RouteDestination) -> Result<(), ModelError> {
    let route = table.routes.get(&destination);
    let route = route.ok_or(ModelError::RouteNotFound { table: table.id, destination })?;
    match route.target {
        RouteTarget::VpcEndpoint(_) => Err(ModelError::RouteManaged { table: table.id, destination }),
        RouteTarget::InternetGateway(_)
        | RouteTarget::NatGateway(_)
        | RouteTarget::NetworkInterface(_)
        | RouteTarget::VpcPeering(_)
        | RouteTarget::VpnGateway(_)
        | RouteTarget::TransitGateway(_) => Ok(()),
    }
}

pub(crate) fn replace_route(
    txn: &mut Txn,
    id: RouteTableId,
    destination: RouteDestination,
    choice: RouteTargetChoice,
) -> Result<(), ModelError> {
    let table = txn.get::<RouteTable>(id)?;
    changeable_route(&table, destination)?;
    let target = resolve_target(txn, &table, choice)?;
    check_target(txn, &table, destination, target)?;
    txn.update::<RouteTable>(id, |table| {
        table.routes.insert(destination, Route { destination, target });
    })
}

pub(crate) fn delete_route(
    txn: &mut Txn,
    id: RouteTableId,
    destination: RouteDestination,
) -> Result<(), ModelError> {
    let table = txn.get::<RouteTable>(id)?;
    changeable_route(&table, destination)?;
    txn.update::<RouteTable>(id, |table| {
        table.routes.remove(&destination);
    })
}

pub(crate) fn associate(txn: &mut Txn, id: RouteTableId, subnet: SubnetId) -> Result<(), ModelError> {
    let table = txn.get::<RouteTable>(id)?;
    let found = txn.get::<Subnet>(subnet)?;
    if found.vpc != table.vpc {
        return Err(ModelError::DifferentVpcs { a: id.into(), b: subnet.into() });
    }
    match found.route_table {
        Some((_, current)) if current == id => Ok(()),
        Some(_) => Err(ModelError::SubnetAssociated { subnet }),
        None => {
            let association = RouteTableAssociationId::from_number(txn.id_number());
            txn.update::<Subnet>(subnet, |subnet| subnet.route_table = Some((association, id)))
        }
    }
}

/// What an association links a table to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Associated {
    /// A subnet that chose the table.
    Subnet(SubnetId),
    /// The VPC whose main table it is.
    Main(VpcId),
}

/// Looks an association up among the account's.
pub fn find_association(
    state: &State,
    account: AccountId,
    association: RouteTableAssociationId,
) -> Result<(Associated, RouteTableId), ModelError> {
    let subnet = state.visible::<Subnet>(account).find_map(|subnet| {
        let (id, table) = subnet.route_table?;
        (id == association).then_some((Associated::Subnet(subnet.id), table))
    });
    let main = || {
        let mut vpcs = state.visible::<Vpc>(account);
        vpcs.find(|vpc| vpc.main_association == association)
            .map(|vpc| (Associated::Main(vpc.id), vpc.main_route_table))
    };
    subnet.or_else(main).ok_or_else(|| ModelError::AssociationNotFound(association.to_string()))
}

pub(crate) fn disassociate(txn: &mut Txn, association: RouteTableAssociationId) -> Result<(), ModelError> {
    match find_association(&txn.state, txn.account, association)? {
        (Associated::Subnet(subnet), _) => txn.update::<Subnet>(subnet, |subnet| subnet.route_table = None),
        (Associated::Main(_), table) => Err(ModelError::MainRouteTable(table)),
    }
}

pub(crate) fn replace_association(
    txn: &mut Txn,
    association: RouteTableAssociationId,
    id: RouteTableId,
) -> Result<(), ModelError> {
    let table = txn.get::<RouteTable>(id)?;
    let (associated, _) = find_association(&txn.state, txn.account, association)?;
    let new = RouteTableAssociationId::from_number(txn.id_number());
    match associated {
        Associated::Subnet(subnet) => {
            if txn.get::<Subnet>(subnet)?.vpc != table.vpc {
                return Err(ModelError::DifferentVpcs { a: id.into(), b: subnet.into() });
            }
            txn.update::<Subnet>(subnet, |subnet| subnet.route_table = Some((new, id)))
        }
        Associated::Main(vpc) => {
            if vpc != table.vpc {
                return Err(ModelError::DifferentVpcs { a: id.into(), b: vpc.into() });
            }
            txn.update::<Vpc>(vpc, |vpc| {
                vpc.main_route_table = id;
                vpc.main_association = new;
            })
        }
    }
}
