//! VPC endpoints, and the services that they lead to.
//!
//! Rules from "Gateway endpoints" in the AWS PrivateLink guide. An endpoint is `pending` until the data plane reports
//! that it knows it, then `available`.

use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::*;
use crate::prefix_list::PrefixList;
use crate::quota::Quota;
use crate::route::{Route, RouteDestination, RouteTable, RouteTarget};
use crate::state::Region;
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
    /// The text of its policy; none means full access.
    pub policy: Option<String>,
    /// How far it is.
    pub state: EndpointState,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointKind {
    /// By routes to the service's prefix list.
    Gateway,
}

/// How far an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndpointState {
    /// Not yet known to the data plane.
    Pending,
    /// Working.
    Available,
}

impl EndpointState {
    /// AWS's word for it on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
        }
    }
}

/// A service that has a public name, and may have endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// For example `com.amazonaws.us-east-1.s3`.
    pub name: String,
    /// The public names that resolve to it; a leading `*.` stands for any labels.
    pub dns_names: Vec<String>,
    /// The public addresses that those names resolve to.
    pub public_addresses: Vec<Ipv4Addr>,
    /// All the addresses it may have. Sorted; a prefix list has the same ones.
    pub public_blocks: Vec<Ipv4Net>,
    /// The prefix list of its blocks, for those that gateway endpoints can lead to.
    pub prefix_list: Option<PrefixListId>,
    /// Which kinds of endpoints can lead to it.
    pub endpoint_kinds: Vec<EndpointKind>,
    /// Whether an endpoint to it can have a policy.
    pub endpoint_policies: bool,
}

/// AWS's services of a region, and their prefix lists.
///
/// Their public addresses come from 198.19.0.0/16, the other half of the block that public addresses come from
/// ([`crate::gateway::PUBLIC_POOL_BASE`]).
pub(crate) fn catalogue(
    region: &Region,
) -> (OrdMap<String, Arc<Service>>, OrdMap<PrefixListId, Arc<PrefixList>>) {
    let r = &region.name;
    let gateway = [
        // The ids of us-east-1 are AWS's own.
        (
            "s3",
            0x63a5_400a,
            0,
            vec![
                format!("s3.{r}.amazonaws.com"),
                format!("*.s3.{r}.amazonaws.com"),
                "s3.amazonaws.com".to_owned(),
                "*.s3.amazonaws.com".to_owned(),
            ],
        ),
        (
            "dynamodb",
            0x02cd_2c6b,
            16,
            // The second: what accounts have for themselves ("Account-based endpoints").
            vec![format!("dynamodb.{r}.amazonaws.com"), format!("*.ddb.{r}.amazonaws.com")],
        ),
    ];
    let plain = [
        ("ec2", 128, vec![format!("ec2.{r}.amazonaws.com"), "ec2.amazonaws.com".to_owned()]),
        ("sts", 129, vec![format!("sts.{r}.amazonaws.com"), "sts.amazonaws.com".to_owned()]),
        ("iam", 130, vec!["iam.amazonaws.com".to_owned()]),
    ];
    let mut services = OrdMap::new();
    let mut prefix_lists = OrdMap::new();
    for (short, id_in_us_east_1, third_octet, dns_names) in gateway {
        let id = PrefixListId::from_number(prefix_list_number(r, id_in_us_east_1));
        let name = format!("com.amazonaws.{r}.{short}");
        let blocks = vec![block(third_octet, 22), block(third_octet + 4, 22)];
        let entries = blocks.iter().map(|cidr| (IpNet::V4(*cidr), String::new())).collect();
        prefix_lists.insert(
            id,
            Arc::new(PrefixList {
                id,
                owner: None,
                name: name.clone(),
                ipv6: false,
                entries,
                max_entries: 2,
                version: 1,
                history: Default::default(),
                tags: Tags::new(),
            }),
        );
        services.insert(
            name.clone(),
            Arc::new(Service {
                name,
                dns_names,
                // One in each block. More would make clients without a way there try for longer: each address is
                // waited for.
                public_addresses: [0, 4].map(|n| Ipv4Addr::new(198, 19, third_octet + n, 10)).to_vec(),
                public_blocks: blocks,
                prefix_list: Some(id),
                endpoint_kinds: vec![EndpointKind::Gateway],
                endpoint_policies: true,
            }),
        );
    }
    for (short, third_octet, dns_names) in plain {
        let name = format!("com.amazonaws.{r}.{short}");
        services.insert(
            name.clone(),
            Arc::new(Service {
                name,
                dns_names,
                public_addresses: (1..=2).map(|n| Ipv4Addr::new(198, 19, third_octet, 10 * n)).collect(),
                public_blocks: vec![block(third_octet, 24)],
                prefix_list: None,
                endpoint_kinds: Vec::new(),
                endpoint_policies: false,
            }),
        );
    }
    (services, prefix_lists)
}

fn block(third_octet: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::new(198, 19, third_octet, 0), length).unwrap_or_default()
}

/// AWS's number in us-east-1, another one (FNV-1a of the region) elsewhere; eight digits.
fn prefix_list_number(region: &str, in_us_east_1: u64) -> u64 {
    if region == "us-east-1" {
        return in_us_east_1;
    }
    let hash =
        region.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u64::from(hash ^ (in_us_east_1 & 0xffff_ffff) as u32)
}

/// How an endpoint is made.
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
    let (Some(list), true) = (service.prefix_list, service.endpoint_kinds.contains(&EndpointKind::Gateway))
    else {
        return Err(ModelError::EndpointType { service: new.service_name, kind: "Gateway" });
    };
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
        policy: new.policy,
        state: EndpointState::Pending,
        created_at: txn.at,
        tags,
    });
    new.route_tables.into_iter().try_for_each(|table| add_route_table(txn, id, list, table))
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

/// What can change of a gateway endpoint.
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
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

pub(crate) fn modify(txn: &mut Txn, id: VpcEndpointId, change: EndpointChange) -> Result<(), ModelError> {
    let endpoint = txn.get::<VpcEndpoint>(id)?;
    let service = txn.state.services.get(&endpoint.service_name).cloned();
    let list = service.and_then(|service| service.prefix_list);
    let list = list.ok_or_else(|| ModelError::ServiceNotFound(endpoint.service_name.clone()))?;
    for table in change.remove_route_tables {
        txn.get::<RouteTable>(table)?;
        if endpoint.route_tables.contains(&table) {
            remove_route_table(txn, id, table)?;
        }
    }
    for table in change.add_route_tables {
        add_route_table(txn, id, list, table)?;
    }
    match change.policy {
        None => Ok(()),
        Some(policy) => txn.update::<VpcEndpoint>(id, |endpoint| endpoint.policy = policy),
    }
}

pub(crate) fn delete(txn: &mut Txn, id: VpcEndpointId) -> Result<(), ModelError> {
    let endpoint = txn.get::<VpcEndpoint>(id)?;
    for table in &endpoint.route_tables {
        remove_route_table(txn, id, *table)?;
    }
    txn.remove::<VpcEndpoint>(id).map(|_| ())
}

/// The data plane reports that it knows the endpoint.
pub(crate) fn ready(txn: &mut Txn, id: VpcEndpointId) -> Result<(), ModelError> {
    if txn.get::<VpcEndpoint>(id)?.state == EndpointState::Pending {
        txn.update::<VpcEndpoint>(id, |endpoint| endpoint.state = EndpointState::Available)?;
    }
    Ok(())
}
