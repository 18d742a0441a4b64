//! VPC endpoints, and the services that they lead to.
//!
//! Rules from "Gateway endpoints" and "Access AWS services" in the AWS PrivateLink guide. An endpoint is `pending` until
//! the data plane reports that it knows it, then `available`.

mod catalogue;
mod interface;
mod names;
mod upstream;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

pub use catalogue::Service;
pub(crate) use catalogue::catalogue;
pub use interface::{
    DnsChoice, DnsOptions, DnsRecordIpType, InterfaceChange, InterfacePart, NewInterfaceEndpoint,
};
pub(crate) use interface::{create as create_interface, holds_group};
pub use names::EndpointDns;
pub use upstream::{
    MAX_PRIVATE_NAMES, NewUpstream, OwnService, UnknownProtocol, Upstream, UpstreamKey, UpstreamProtocol,
    full_name,
};
pub(crate) use upstream::{add as add_service, remove as remove_service, restore as restore_services};

use crate::connection_notification::{Notified, forget_about};
use crate::error::ModelError;
use crate::id::*;
use crate::quota::Quota;
use crate::route::{Route, RouteDestination, RouteTable, RouteTarget};
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// How many gateway endpoints a VPC may have, however high the quota of the account is ("Amazon VPC quotas").
pub const MAX_GATEWAY_ENDPOINTS_PER_VPC: usize = 255;

/// A VPC endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcEndpoint {
    /// Its id.
    pub id: VpcEndpointId,
    /// Whose it is.
    pub owner: AccountId,
    /// The VPC that it serves.
    pub vpc: VpcId,
    /// What it leads to, such as `com.amazonaws.us-east-1.s3`.
    pub service_name: String,
    /// How it is reached.
    pub kind: EndpointKind,
    /// The route tables that lead to it.
    pub route_tables: OrdSet<RouteTableId>,
    /// What only an interface endpoint has.
    // INVARIANT: it is there for interface endpoints, and for no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfacePart>,
    /// The text of its policy; none means full access.
    pub policy: Option<String>,
    /// How far it is.
    pub state: EndpointState,
    /// Since when.
    pub created_at: Timestamp,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointKind {
    /// By routes to the service's prefix list.
    Gateway,
    /// By the addresses of network interfaces in the VPC's own subnets.
    Interface,
}

impl EndpointKind {
    /// AWS's word for it on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "Gateway",
            Self::Interface => "Interface",
        }
    }
}

/// How far an endpoint is ("Endpoint lifecycle" in the AWS PrivateLink guide).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointState {
    /// The owner of the service has not accepted it yet.
    PendingAcceptance,
    /// Not yet known to the data plane.
    Pending,
    /// Working.
    Available,
    /// The owner of the service does not want it.
    Rejected,
    /// Nobody accepted it in time.
    Expired,
    /// It could not be made.
    Failed,
    /// Packets and names are being taken away.
    Deleting,
    /// They are gone.
    Deleted,
}

impl EndpointState {
    /// AWS's word for it on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::PendingAcceptance => "pendingAcceptance",
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// Whether packets pass: an endpoint becomes available only after they do.
    pub fn passes(self) -> bool {
        match self {
            Self::Pending | Self::Available => true,
            Self::PendingAcceptance
            | Self::Rejected
            | Self::Expired
            | Self::Failed
            | Self::Deleting
            | Self::Deleted => false,
        }
    }

    /// Whether it is still somebody's endpoint. Whoever deletes one gives its place up at once.
    pub fn is_live(self) -> bool {
        match self {
            Self::PendingAcceptance
            | Self::Pending
            | Self::Available
            | Self::Rejected
            | Self::Expired
            | Self::Failed => true,
            Self::Deleting | Self::Deleted => false,
        }
    }
}

/// How a gateway endpoint is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewGatewayEndpoint {
    /// The VPC that it will serve.
    pub vpc: VpcId,
    /// What it will lead to.
    pub service_name: String,
    /// The route tables that will lead to it.
    pub route_tables: Vec<RouteTableId>,
    /// The text of its policy; none means full access.
    pub policy: Option<String>,
    /// Its tags.
    pub tags: TagSet,
}

pub(crate) fn create_gateway(txn: &mut Txn, new: NewGatewayEndpoint) -> Result<(), ModelError> {
    txn.get::<Vpc>(new.vpc)?;
    let service = txn.state.services.get(&new.service_name).cloned();
    let service = service.ok_or_else(|| ModelError::ServiceNotFound(new.service_name.clone()))?;
    check_kind(&service, EndpointKind::Gateway)?;
    let list = service.prefix_list.ok_or_else(|| ModelError::ServiceNotFound(new.service_name.clone()))?;
    check_count(txn, new.vpc)?;
    let id = txn.mint::<VpcEndpoint>(VpcEndpointId::from_number)?;
    let tags = tag::collect(&new.tags)?;
    txn.insert(VpcEndpoint {
        id,
        owner: txn.account,
        vpc: new.vpc,
        service_name: new.service_name,
        kind: EndpointKind::Gateway,
        route_tables: OrdSet::new(),
        interface: None,
        policy: new.policy,
        state: EndpointState::Pending,
        created_at: txn.at,
        deleted_at: None,
        tags,
    });
    new.route_tables.into_iter().try_for_each(|table| add_route_table(txn, id, list, table))
}

/// Refuses a kind of endpoint that a service does not have.
fn check_kind(service: &Service, kind: EndpointKind) -> Result<(), ModelError> {
    if service.endpoint_kinds.contains(&kind) {
        return Ok(());
    }
    let offered: Vec<_> = service.endpoint_kinds.iter().map(|kind| kind.name()).collect();
    Err(ModelError::EndpointType {
        service: service.name.clone(),
        kind: kind.name(),
        offered: offered.join(", "),
    })
}

fn check_count(txn: &Txn, vpc: VpcId) -> Result<(), ModelError> {
    let gateways = |txn: &Txn, only: Option<VpcId>| {
        let endpoints = txn.state.visible::<VpcEndpoint>(txn.account);
        endpoints.filter(|e| e.kind == EndpointKind::Gateway && only.is_none_or(|vpc| e.vpc == vpc)).count()
    };
    txn.within(Quota::GatewayEndpoints, |txn| gateways(txn, None) + 1)?;
    let (what, limit) = ("gateway endpoints of a VPC", MAX_GATEWAY_ENDPOINTS_PER_VPC);
    if gateways(txn, Some(vpc)) >= limit { Err(ModelError::Limit { what, limit }) } else { Ok(()) }
}

/// Puts the route to the service's prefix list into a table.
fn add_route_table(
    txn: &mut Txn,
    id: VpcEndpointId,
    list: PrefixListId,
    table_id: RouteTableId,
) -> Result<(), ModelError> {
    let endpoint = txn.get::<VpcEndpoint>(id)?;
    let table = txn.get::<RouteTable>(table_id)?;
    if table.vpc != endpoint.vpc {
        return Err(ModelError::DifferentVpcs { a: table_id.into(), b: endpoint.vpc.into() });
    }
    let destination = RouteDestination::PrefixList(list);
    if table.routes.contains_key(&destination) {
        return Err(ModelError::RouteExists { table: table_id, destination });
    }
    crate::route::check_room(txn, &table, destination)?;
    let route = Route { destination, target: RouteTarget::VpcEndpoint(id) };
    txn.update::<RouteTable>(table_id, |table| {
        table.routes.insert(destination, route);
    })?;
    txn.update::<VpcEndpoint>(id, |endpoint| {
        endpoint.route_tables.insert(table_id);
    })
}

fn remove_route_table(txn: &mut Txn, id: VpcEndpointId, table_id: RouteTableId) -> Result<(), ModelError> {
    txn.update::<RouteTable>(table_id, |table| {
        let leads_here = |route: &&Route| route.target == RouteTarget::VpcEndpoint(id);
        let gone: Vec<_> = table.routes.values().filter(leads_here).map(|route| route.destination).collect();
        for destination in gone {
            table.routes.remove(&destination);
        }
    })?;
    txn.update::<VpcEndpoint>(id, |endpoint| {
        endpoint.route_tables.remove(&table_id);
    })
}

/// What can change of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointChange {
    /// Route tables that will lead to it.
    pub add_route_tables: Vec<RouteTableId>,
    /// Route tables that will no longer lead to it.
    pub remove_route_tables: Vec<RouteTableId>,
    /// A new policy: `Some(None)` means full access again.
    // Left out when there is none, so that a command reads back from a log as it was: `null` is `Some(None)`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub policy: Option<Option<String>>,
    /// What only an interface endpoint has.
    #[serde(default, skip_serializing_if = "InterfaceChange::is_nothing")]
    pub interface: InterfaceChange,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

pub(crate) fn modify(txn: &mut Txn, id: VpcEndpointId, change: EndpointChange) -> Result<(), ModelError> {
    let endpoint = live(txn, id)?;
    match endpoint.kind {
        EndpointKind::Gateway => {
            if !change.interface.is_nothing() {
                return Err(ModelError::EndpointPart { endpoint: id, kind: endpoint.kind });
            }
            modify_tables(txn, &endpoint, &change)?;
        }
        EndpointKind::Interface => {
            if !(change.add_route_tables.is_empty() && change.remove_route_tables.is_empty()) {
                return Err(ModelError::EndpointPart { endpoint: id, kind: endpoint.kind });
            }
            interface::modify(txn, &endpoint, change.interface)?;
        }
    }
    match change.policy {
        None => Ok(()),
        Some(policy) => txn.update::<VpcEndpoint>(id, |endpoint| endpoint.policy = policy),
    }
}

fn modify_tables(txn: &mut Txn, endpoint: &VpcEndpoint, change: &EndpointChange) -> Result<(), ModelError> {
    let service = txn.state.services.get(&endpoint.service_name).cloned();
    let list = service.and_then(|service| service.prefix_list);
    let list = list.ok_or_else(|| ModelError::ServiceNotFound(endpoint.service_name.clone()))?;
    for table in &change.remove_route_tables {
        txn.get::<RouteTable>(*table)?;
        if endpoint.route_tables.contains(table) {
            remove_route_table(txn, endpoint.id, *table)?;
        }
    }
    change.add_route_tables.iter().try_for_each(|table| add_route_table(txn, endpoint.id, list, *table))
}

/// The endpoint, if it is there and nobody deletes it.
fn live(txn: &Txn, id: VpcEndpointId) -> Result<std::sync::Arc<VpcEndpoint>, ModelError> {
    let endpoint = txn.get::<VpcEndpoint>(id)?;
    match endpoint.state {
        EndpointState::Deleted => Err(ModelError::NotFound(id.into())),
        EndpointState::Deleting => Err(ModelError::WrongState {
            resource: id.into(),
            state: endpoint.state.name(),
            needed: EndpointState::Available.name(),
        }),
        EndpointState::PendingAcceptance
        | EndpointState::Pending
        | EndpointState::Available
        | EndpointState::Rejected
        | EndpointState::Expired
        | EndpointState::Failed => Ok(endpoint),
    }
}

/// A gateway endpoint is gone at once; an interface endpoint is `deleting` until the data plane has let go of it.
pub(crate) fn delete(txn: &mut Txn, id: VpcEndpointId) -> Result<(), ModelError> {
    let endpoint = txn.get::<VpcEndpoint>(id)?;
    match (endpoint.kind, endpoint.state) {
        (EndpointKind::Gateway, _) => {
            for table in &endpoint.route_tables {
                remove_route_table(txn, id, *table)?;
            }
            txn.remove::<VpcEndpoint>(id).map(|_| ())
        }
        (EndpointKind::Interface, EndpointState::Deleting) => Ok(()),
        (EndpointKind::Interface, EndpointState::Deleted) => Err(ModelError::NotFound(id.into())),
        (EndpointKind::Interface, _) => interface::delete(txn, &endpoint),
    }
}

/// The data plane reports that it knows the endpoint.
pub(crate) fn ready(txn: &mut Txn, id: VpcEndpointId) -> Result<(), ModelError> {
    if txn.get::<VpcEndpoint>(id)?.state == EndpointState::Pending {
        txn.update::<VpcEndpoint>(id, |endpoint| endpoint.state = EndpointState::Available)?;
    }
    Ok(())
}

/// The data plane reports that it no longer knows the endpoint.
pub(crate) fn gone(txn: &mut Txn, id: VpcEndpointId) -> Result<(), ModelError> {
    let now = txn.at;
    if txn.get::<VpcEndpoint>(id)?.state == EndpointState::Deleting {
        txn.update::<VpcEndpoint>(id, |endpoint| {
            endpoint.state = EndpointState::Deleted;
            endpoint.deleted_at = Some(now);
        })?;
    }
    Ok(())
}

/// A deleted endpoint is no longer shown.
pub(crate) fn forget(txn: &mut Txn, id: VpcEndpointId) -> Result<(), ModelError> {
    match txn.get::<VpcEndpoint>(id)?.state {
        EndpointState::Deleted => {
            forget_about(txn, Notified::Endpoint(id));
            txn.remove::<VpcEndpoint>(id).map(|_| ())
        }
        state => Err(ModelError::WrongState {
            resource: id.into(),
            state: state.name(),
            needed: EndpointState::Deleted.name(),
        }),
    }
}
