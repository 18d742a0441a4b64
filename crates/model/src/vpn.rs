//! Site-to-Site VPN: networks on premises, joined to a VPC by a virtual private gateway.
//!
//! Rules from "How AWS Site-to-Site VPN works" and "Site-to-Site VPN routing options" in the Site-to-Site VPN guide. What
//! IPsec does between two sites is done here by a link into a network namespace or to a tap: [`VpnConnection::link`].
//!
//! INVARIANT: a virtual private gateway is attached to one VPC, and a VPC has one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::quota::Quota;
use crate::route::{RouteDestination, RouteTable};
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::transit::{self, TransitGateway};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// How many static routes a connection may have: "Static routes from a customer gateway device to a Site-to-Site VPN
/// connection on a virtual private gateway: 100".
pub const MAX_ROUTES: usize = 100;
/// The Amazon side's number where none is given ("AmazonSideAsn").
pub const AMAZON_ASN: u64 = 64_512;

/// The other end of a VPN, as its owner describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerGateway {
    /// Its id.
    pub id: CustomerGatewayId,
    /// Whose it is.
    pub owner: AccountId,
    /// Its autonomous system's number.
    pub bgp_asn: u64,
    /// Its public address.
    pub address: Ipv4Addr,
    /// What people call the device.
    pub device_name: Option<String>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// The VPC's end of VPNs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnGateway {
    /// Its id.
    pub id: VpnGatewayId,
    /// Whose it is.
    pub owner: AccountId,
    /// The Amazon side's number.
    pub amazon_asn: u64,
    /// What it is attached to.
    pub vpc: Option<VpcId>,
    /// What people wrote on it.
    pub tags: Tags,
}

/// A VPN between the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnConnection {
    /// Its id.
    pub id: VpnConnectionId,
    /// Whose it is.
    pub owner: AccountId,
    /// The end on premises.
    pub customer_gateway: CustomerGatewayId,
    /// The region's end.
    #[serde(rename = "vpn_gateway")]
    pub near: VpnEnd,
    /// The blocks on premises ("static routes").
    pub routes: BTreeSet<Ipv4Net>,
    /// The tunnel.
    pub link: VpnLink,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// The region's end of a VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VpnEnd {
    /// A virtual private gateway: a VPC.
    Virtual(VpnGatewayId),
    /// A transit gateway, which the connection is attached to.
    Transit(TransitGatewayId),
}

impl VpnConnection {
    /// The virtual private gateway that it ends at, if it does at one.
    pub const fn virtual_gateway(&self) -> Option<VpnGatewayId> {
        match self.near {
            VpnEnd::Virtual(id) => Some(id),
            VpnEnd::Transit(_) => None,
        }
    }

    /// The VPCs that it leads to: that of its gateway, or those that are attached to the same transit gateway.
    pub fn vpcs(&self, state: &State) -> Vec<VpcId> {
        match self.near {
            VpnEnd::Virtual(id) => {
                state.vpn_gateways.get(&id).and_then(|gateway| gateway.vpc).into_iter().collect()
            }
            VpnEnd::Transit(id) => transit::attachments_of(state, id).filter_map(|x| x.to.vpc()).collect(),
        }
    }

    /// The blocks on premises that routes lead to: its own, or those of the transit gateway's tables.
    pub fn blocks(&self, state: &State) -> BTreeSet<Ipv4Net> {
        match self.near {
            VpnEnd::Virtual(_) => self.routes.clone(),
            VpnEnd::Transit(gateway) => {
                let own = transit::attachment_of_vpn(state, self.id).map(|attachment| attachment.id);
                let tables = state.transit_gateway_route_tables.values();
                let routes = tables.filter(|x| x.gateway == gateway).flat_map(|table| &table.routes);
                let own = routes.filter(|(_, target)| target.is_some() && **target == own);
                own.map(|(block, _)| *block).collect()
            }
        }
    }
}

impl std::fmt::Display for VpnEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Virtual(id) => id.fmt(f),
            Self::Transit(id) => id.fmt(f),
        }
    }
}

impl From<VpnGatewayId> for VpnEnd {
    fn from(id: VpnGatewayId) -> Self {
        Self::Virtual(id)
    }
}

impl From<TransitGatewayId> for VpnEnd {
    fn from(id: TransitGatewayId) -> Self {
        Self::Transit(id)
    }
}

/// By its id alone, as when every connection ended at a virtual private gateway.
impl Serialize for VpnEnd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VpnEnd {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        if let Ok(id) = text.parse::<TransitGatewayId>() {
            return Ok(Self::Transit(id));
        }
        text.parse().map(Self::Virtual).map_err(serde::de::Error::custom)
    }
}

/// A tunnel: a port of the data plane's, like that of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnLink {
    /// What the data plane calls the port.
    pub port: NetworkInterfaceId,
    /// The hardware address of its end on premises.
    pub mac: Mac,
    /// The tunnel's own block of four addresses: the first host is Amazon's, the second the customer gateway's.
    pub inside: Ipv4Net,
    /// Whether something is plugged in, and since when it is so or not.
    pub up: bool,
    /// See `up`.
    pub changed_at: Timestamp,
}

impl VpnLink {
    /// Amazon's inside address.
    pub fn near(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.inside.network()) + 1)
    }

    /// The customer gateway's inside address.
    pub fn far(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.inside.network()) + 2)
    }
}

/// What can be done with VPNs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum VpnAction {
    CreateCustomerGateway {
        bgp_asn: u64,
        address: Ipv4Addr,
        device_name: Option<String>,
        tags: TagSet,
    },
    DeleteCustomerGateway {
        gateway: CustomerGatewayId,
    },
    CreateGateway {
        amazon_asn: u64,
        tags: TagSet,
    },
    DeleteGateway {
        gateway: VpnGatewayId,
    },
    AttachGateway {
        gateway: VpnGatewayId,
        vpc: VpcId,
    },
    DetachGateway {
        gateway: VpnGatewayId,
        vpc: VpcId,
    },
    CreateConnection {
        customer_gateway: CustomerGatewayId,
        #[serde(rename = "vpn_gateway")]
        near: VpnEnd,
        tags: TagSet,
    },
    DeleteConnection {
        connection: VpnConnectionId,
    },
    CreateRoute {
        connection: VpnConnectionId,
        block: Ipv4Net,
    },
    DeleteRoute {
        connection: VpnConnectionId,
        block: Ipv4Net,
    },
    /// Whether a table has the routes of a gateway's connections.
    SetPropagation {
        table: RouteTableId,
        gateway: VpnGatewayId,
        on: bool,
    },
    /// Something is plugged into the tunnel, or no longer.
    ReportLink {
        connection: VpnConnectionId,
        up: bool,
    },
}

pub(crate) fn apply(txn: &mut Txn, action: VpnAction) -> Result<(), ModelError> {
    use VpnAction::*;
    match action {
        CreateCustomerGateway { bgp_asn, address, device_name, tags } => {
            create_customer_gateway(txn, bgp_asn, address, device_name, &tags)
        }
        DeleteCustomerGateway { gateway } => delete_customer_gateway(txn, gateway),
        CreateGateway { amazon_asn, tags } => create_gateway(txn, amazon_asn, &tags),
        DeleteGateway { gateway } => delete_gateway(txn, gateway),
        AttachGateway { gateway, vpc } => attach(txn, gateway, vpc),
        DetachGateway { gateway, vpc } => detach(txn, gateway, vpc),
        CreateConnection { customer_gateway, near, tags } => {
            create_connection(txn, customer_gateway, near, &tags)
        }
        DeleteConnection { connection } => delete_connection(txn, connection),
        CreateRoute { connection, block } => create_route(txn, connection, block),
        DeleteRoute { connection, block } => delete_route(txn, connection, block),
        SetPropagation { table, gateway, on } => set_propagation(txn, table, gateway, on),
        ReportLink { connection, up } => report_link(txn, connection, up),
    }
}

fn create_customer_gateway(
    txn: &mut Txn,
    bgp_asn: u64,
    address: Ipv4Addr,
    device_name: Option<String>,
    tags: &TagSet,
) -> Result<(), ModelError> {
    txn.room_for_one::<CustomerGateway>(Quota::CustomerGateways)?;
    let id = txn.mint::<CustomerGateway>(CustomerGatewayId::from_number)?;
    let (owner, tags) = (txn.account, tag::collect(tags)?);
    txn.insert(CustomerGateway { id, owner, bgp_asn, address, device_name, tags });
    Ok(())
}

fn delete_customer_gateway(txn: &mut Txn, id: CustomerGatewayId) -> Result<(), ModelError> {
    txn.get::<CustomerGateway>(id)?;
    let used = txn.state.vpn_connections.values().find(|connection| connection.customer_gateway == id);
    if let Some(connection) = used {
        return Err(ModelError::InUse { resource: id.into(), used_by: connection.id.to_string() });
    }
    txn.remove::<CustomerGateway>(id).map(|_| ())
}

fn create_gateway(txn: &mut Txn, amazon_asn: u64, tags: &TagSet) -> Result<(), ModelError> {
    txn.room_for_one::<VpnGateway>(Quota::VpnGateways)?;
    let id = txn.mint::<VpnGateway>(VpnGatewayId::from_number)?;
    let tags = tag::collect(tags)?;
    txn.insert(VpnGateway { id, owner: txn.account, amazon_asn, vpc: None, tags });
    Ok(())
}

/// "You must first detach it from the VPC", and delete its connections.
fn delete_gateway(txn: &mut Txn, id: VpnGatewayId) -> Result<(), ModelError> {
    let gateway = txn.get::<VpnGateway>(id)?;
    let connection = connections_of(&txn.state, id).next().map(|connection| connection.id.to_string());
    if let Some(used_by) = gateway.vpc.map(|vpc| vpc.to_string()).or(connection) {
        return Err(ModelError::InUse { resource: id.into(), used_by });
    }
    let tables = txn.state.route_tables.values().filter(|table| table.propagating.contains(&id));
    let tables: Vec<_> = tables.filter(|table| table.owner == txn.account).map(|table| table.id).collect();
    for table in tables {
        txn.update::<RouteTable>(table, |table| {
            table.propagating.remove(&id);
        })?;
    }
    txn.remove::<VpnGateway>(id).map(|_| ())
}

/// The virtual private gateway that is attached to a VPC.
pub fn gateway_of(state: &State, vpc: VpcId) -> Option<VpnGatewayId> {
    state.vpn_gateways.values().find(|gateway| gateway.vpc == Some(vpc)).map(|gateway| gateway.id)
}

/// The connections that end at a gateway.
pub fn connections_of(state: &State, gateway: VpnGatewayId) -> impl Iterator<Item = &Arc<VpnConnection>> {
    state.vpn_connections.values().filter(move |connection| connection.near == VpnEnd::Virtual(gateway))
}

fn attach(txn: &mut Txn, id: VpnGatewayId, vpc: VpcId) -> Result<(), ModelError> {
    let gateway = txn.get::<VpnGateway>(id)?;
    txn.get::<Vpc>(vpc)?;
    match gateway.vpc {
        Some(attached) if attached == vpc => return Ok(()),
        Some(attached) => return Err(ModelError::VpnGatewayAttached { gateway: id, vpc: attached }),
        None => {}
    }
    if let Some(other) = gateway_of(&txn.state, vpc) {
        return Err(ModelError::VpcHasVpnGateway { vpc, gateway: other });
    }
    txn.update::<VpnGateway>(id, |gateway| gateway.vpc = Some(vpc))
}

fn detach(txn: &mut Txn, id: VpnGatewayId, vpc: VpcId) -> Result<(), ModelError> {
    let gateway = txn.get::<VpnGateway>(id)?;
    txn.get::<Vpc>(vpc)?;
    if gateway.vpc != Some(vpc) {
        return Err(ModelError::VpnGatewayNotAttached { gateway: id, vpc });
    }
    txn.update::<VpnGateway>(id, |gateway| gateway.vpc = None)
}

fn create_connection(
    txn: &mut Txn,
    customer_gateway: CustomerGatewayId,
    near: VpnEnd,
    tags: &TagSet,
) -> Result<(), ModelError> {
    txn.get::<CustomerGateway>(customer_gateway)?;
    match near {
        VpnEnd::Virtual(id) => txn.get::<VpnGateway>(id).map(|_| ())?,
        VpnEnd::Transit(id) => txn.get::<TransitGateway>(id).map(|_| ())?,
    }
    let same = |x: &&Arc<VpnConnection>| (x.customer_gateway, x.near) == (customer_gateway, near);
    // AWS answers a request for a connection that is there already with that one.
    if let Some(known) = txn.state.vpn_connections.values().find(same).map(|known| known.id) {
        return txn.update::<VpnConnection>(known, |_| {});
    }
    txn.room_for_one::<VpnConnection>(Quota::VpnConnections)?;
    let id = txn.mint::<VpnConnection>(VpnConnectionId::from_number)?;
    let (link, tags) = (new_link(txn)?, tag::collect(tags)?);
    let (owner, created_at) = (txn.account, txn.at);
    let routes = BTreeSet::new();
    txn.insert(VpnConnection { id, owner, customer_gateway, near, routes, link, created_at, tags });
    match near {
        VpnEnd::Virtual(_) => Ok(()),
        VpnEnd::Transit(gateway) => transit::attach_vpn(txn, gateway, id),
    }
}

fn delete_connection(txn: &mut Txn, id: VpnConnectionId) -> Result<(), ModelError> {
    txn.get::<VpnConnection>(id)?;
    transit::detach_vpn(txn, id)?;
    txn.remove::<VpnConnection>(id).map(|_| ())
}

fn new_link(txn: &mut Txn) -> Result<VpnLink, ModelError> {
    let is_free = |txn: &Txn, port: NetworkInterfaceId, inside: Ipv4Net| {
        let links = || txn.state.vpn_connections.values().map(|connection| connection.link);
        !txn.state.network_interfaces.contains_key(&port)
            && links().all(|link| link.port != port && link.inside != inside)
    };
    for _ in 0..64 {
        let port = NetworkInterfaceId::from_number(txn.id_number());
        let inside = inside_block(txn.next_random());
        if is_free(txn, port, inside) {
            let mac = crate::interface::mac_of(txn);
            return Ok(VpnLink { port, mac, inside, up: false, changed_at: txn.at });
        }
    }
    Err(ModelError::IdsExhausted)
}

/// A block of four of 169.254.0.0/16, of those that a tunnel may have: "169.254.0.0/30" to "169.254.5.0/30" and
/// "169.254.169.252/30" are reserved, and the /22 around it is for AWS's services.
fn inside_block(random: u64) -> Ipv4Net {
    let [.., a, b] = random.to_be_bytes();
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 16 + a % 128, b & 0xfc), 30)
}

fn create_route(txn: &mut Txn, id: VpnConnectionId, block: Ipv4Net) -> Result<(), ModelError> {
    let connection = txn.get::<VpnConnection>(id)?;
    // "Creates a static route associated with a VPN connection between an existing virtual private gateway and a VPN customer
    // gateway."
    if let VpnEnd::Transit(_) = connection.near {
        return Err(ModelError::TransitConnection { connection: id });
    }
    if block.trunc() != block {
        return Err(ModelError::HostBits(block.into()));
    }
    if connection.routes.len() >= MAX_ROUTES && !connection.routes.contains(&block) {
        return Err(ModelError::Limit { what: "static routes of a VPN connection", limit: MAX_ROUTES });
    }
    txn.update::<VpnConnection>(id, |connection| {
        connection.routes.insert(block);
    })
}

fn delete_route(txn: &mut Txn, id: VpnConnectionId, block: Ipv4Net) -> Result<(), ModelError> {
    if !txn.get::<VpnConnection>(id)?.routes.contains(&block) {
        return Err(ModelError::VpnRouteNotFound { connection: id, block });
    }
    txn.update::<VpnConnection>(id, |connection| {
        connection.routes.remove(&block);
    })
}

fn set_propagation(
    txn: &mut Txn,
    table: RouteTableId,
    gateway: VpnGatewayId,
    on: bool,
) -> Result<(), ModelError> {
    let vpc = txn.get::<RouteTable>(table)?.vpc;
    let found = txn.get::<VpnGateway>(gateway)?;
    // "The virtual private gateway must be attached to the same VPC that the routing tables are associated with."
    if on && found.vpc != Some(vpc) {
        return Err(ModelError::VpnGatewayNotAttached { gateway, vpc });
    }
    txn.update::<RouteTable>(table, |table| {
        if on {
            table.propagating.insert(gateway)
        } else {
            table.propagating.remove(&gateway)
        };
    })
}

fn report_link(txn: &mut Txn, id: VpnConnectionId, up: bool) -> Result<(), ModelError> {
    let at = txn.at;
    txn.update::<VpnConnection>(id, |connection| {
        if connection.link.up != up {
            connection.link.up = up;
            connection.link.changed_at = at;
        }
    })
}

/// The routes that gateways put into a table: those of their connections that neither a static route of the same block nor
/// the local route stands before ("Route priority": the local route is preferred "even if the propagated routes are more
/// specific").
pub fn propagated(state: &State, table: &RouteTable) -> BTreeMap<Ipv4Net, VpnGatewayId> {
    let local = state.vpcs.get(&table.vpc).map(|vpc| vpc.blocks.as_slice()).unwrap_or_default();
    let attached = |id: &&VpnGatewayId| {
        state.vpn_gateways.get(*id).is_some_and(|gateway| gateway.vpc == Some(table.vpc))
    };
    let gateways = table.propagating.iter().filter(attached);
    let all = gateways.flat_map(|gateway| {
        connections_of(state, *gateway).flat_map(|x| x.routes.iter().map(|block| (*block, *gateway)))
    });
    let stands = |(block, _): &(Ipv4Net, VpnGatewayId)| {
        let own = RouteDestination::Cidr(IpNet::V4(*block));
        !table.routes.contains_key(&own) && !local.iter().any(|local| local.cidr.contains(block))
    };
    all.filter(stands).collect()
}
