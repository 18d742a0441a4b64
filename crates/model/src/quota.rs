//! Quotas: how many of a thing an account may have, and what the operator made of that.
//!
//! The usual values and how far they can be raised are those of "Amazon VPC quotas" in the VPC user guide, where that
//! page has them. They are rules about what is accepted, so a log is replayed without them: a quota that becomes
//! smaller, here or by the operator, takes nothing away.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::ModelError;
use crate::id::{AccountId, Timestamp};
use crate::state::State;
use crate::txn::Txn;

macro_rules! quotas {
    ($($(#[$doc:meta])* $quota:ident: $name:literal, $usual:literal, $most:literal;)*) => {
        /// Something that an account may have so many of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Quota {
            $($(#[$doc])* #[serde(rename = $name)] $quota,)*
        }

        impl Quota {
            /// All of them, in the order in which they are listed.
            pub const ALL: &[Self] = &[$(Self::$quota),*];

            /// What the operator calls it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$quota => $name,)* }
            }

            /// How many an account may have that nobody raised it for.
            pub fn usual(self) -> usize {
                match self { $(Self::$quota => $usual,)* }
            }

            /// How far it can be raised.
            pub fn most(self) -> usize {
                match self { $(Self::$quota => $most,)* }
            }
        }
    };
}

quotas! {
    /// VPCs, and internet gateways too: "Increasing this quota increases the quota on internet gateways per Region by
    /// the same amount."
    Vpcs: "vpcs-per-region", 5, 1_000;
    /// Subnets of a VPC.
    Subnets: "subnets-per-vpc", 200, 1_000;
    /// Address blocks of a VPC, its first included.
    VpcBlocks: "blocks-per-vpc", 5, 50;
    /// Elastic IP addresses.
    ElasticAddresses: "elastic-ips-per-region", 5, 1_000;
    /// NAT gateways of a zone, those included that are not ready yet.
    NatGateways: "nat-gateways-per-zone", 5, 200;
    /// Peering connections of a VPC that work ("Amazon VPC quotas").
    PeeringsPerVpc: "active-vpc-peering-connections-per-vpc", 50, 125;
    /// Peering connections that an account asked for and nobody has answered.
    PendingPeerings: "outstanding-vpc-peering-connection-requests", 25, 1_000;
    /// Customer gateways ("Site-to-Site VPN quotas").
    CustomerGateways: "customer-gateways-per-region", 50, 1_000;
    /// Virtual private gateways.
    VpnGateways: "virtual-private-gateways-per-region", 5, 1_000;
    /// VPN connections.
    VpnConnections: "vpn-connections-per-region", 50, 1_000;
    /// Transit gateways ("Amazon VPC Transit Gateways quotas").
    TransitGateways: "transit-gateways-per-account", 5, 1_000;
    /// Route tables of a transit gateway.
    TransitGatewayRouteTables: "route-tables-per-transit-gateway", 20, 1_000;
    /// Static routes of a transit gateway, by all of its route tables.
    TransitGatewayRoutes: "routes-per-transit-gateway", 10_000, 100_000;
    /// Route tables of a VPC, its main one included.
    RouteTables: "route-tables-per-vpc", 200, 1_000;
    /// Routes of a route table. A prefix list counts with its size.
    Routes: "routes-per-route-table", 500, 1_000;
    /// Prefix lists of a customer's own.
    PrefixLists: "prefix-lists-per-region", 100, 1_000;
    /// Network ACLs of a VPC, its default one included.
    NetworkAcls: "network-acls-per-vpc", 200, 1_000;
    /// Rules of a network ACL, for each direction.
    NetworkAclRules: "rules-per-network-acl", 20, 40;
    /// Security groups.
    SecurityGroups: "security-groups-per-region", 2_500, 10_000;
    /// Rules of a security group, for each direction and each of IPv4 and IPv6. A prefix list counts with its size.
    SecurityGroupRules: "rules-per-security-group", 60, 1_000;
    /// Security groups of an interface.
    GroupsPerInterface: "security-groups-per-interface", 5, 16;
    /// Network interfaces, those of gateways included.
    Interfaces: "interfaces-per-region", 5_000, 100_000;
    /// Gateway endpoints.
    GatewayEndpoints: "gateway-endpoints-per-region", 20, 1_000;
    /// Interface endpoints of a VPC.
    InterfaceEndpoints: "interface-endpoints-per-vpc", 50, 1_000;
    /// Endpoint services. AWS names no number; this one is ours.
    EndpointServices: "endpoint-services-per-region", 100, 10_000;
    /// Network load balancers ("Quotas for your Network Load Balancers").
    LoadBalancers: "network-load-balancers-per-region", 50, 10_000;
    /// Listeners of a load balancer.
    Listeners: "listeners-per-network-load-balancer", 50, 1_000;
    /// Target groups.
    TargetGroups: "target-groups-per-region", 3_000, 30_000;
    /// Targets of a target group.
    TargetsOfGroup: "targets-per-target-group", 1_000, 100_000;
    /// Targets of a load balancer, by all of its groups.
    TargetsOfLoadBalancer: "targets-per-network-load-balancer", 3_000, 100_000;
    /// Inbound endpoints of Route 53 Resolver ("Quotas on Route 53 VPC Resolver": "Endpoints per AWS Region").
    ResolverEndpoints: "resolver-endpoints-per-region", 4, 1_000;
    /// Addresses of such an endpoint ("IP addresses per endpoint").
    ResolverAddresses: "addresses-per-resolver-endpoint", 6, 20;
    /// Sets of DHCP options. AWS has a code for too many of them and names no number; this one is ours.
    DhcpOptions: "dhcp-options-per-region", 100, 1_000;
    /// Key pairs.
    KeyPairs: "key-pairs-per-region", 5_000, 100_000;
}

/// How many rules an interface may have by all of its groups: "The quota for security groups per network interface
/// multiplied by the quota for rules per security group cannot exceed 1,000."
pub const MAX_RULES_OF_AN_INTERFACE: usize = 1_000;

/// What the operator made of the quotas of an account; what is not here is as usual.
pub type Quotas = BTreeMap<Quota, usize>;

/// How many requests for more are remembered of an account; the oldest go.
pub const MAX_REQUESTS: usize = 100;

/// A request for more of a quota, and what was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaRequest {
    /// Its id.
    pub id: String,
    /// AWS's code of the quota.
    pub code: String,
    /// What it is about.
    pub quota: Quota,
    /// How many were asked for.
    pub desired: usize,
    /// Whether there are as many now.
    pub approved: bool,
    /// When.
    pub at: Timestamp,
    /// Who asked, in AWS's JSON.
    pub requester: String,
}

/// There is no quota of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quota")]
pub struct UnknownQuota(pub String);

impl std::str::FromStr for Quota {
    type Err = UnknownQuota;

    fn from_str(text: &str) -> Result<Self, UnknownQuota> {
        let found = Self::ALL.iter().copied().find(|quota| quota.name() == text);
        found.ok_or_else(|| UnknownQuota(text.to_owned()))
    }
}

impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Every quota as high as it can be by itself: for worlds that are about something else.
pub fn highest() -> Arc<Quotas> {
    Arc::new(Quota::ALL.iter().map(|quota| (*quota, quota.most())).collect())
}

/// How many of it the account may have.
pub fn limit(state: &State, account: AccountId, quota: Quota) -> usize {
    let own = state.quotas.get(&account).and_then(|quotas| quotas.get(&quota));
    own.copied().unwrap_or_else(|| quota.usual())
}

/// Sets a quota of the command's account; none makes it as usual again.
pub(crate) fn set(txn: &mut Txn, quota: Quota, limit: Option<usize>) -> Result<(), ModelError> {
    txn.admit(|txn| check(txn, quota, limit.unwrap_or_else(|| quota.usual())))?;
    let mut quotas = txn.state.quotas.get(&txn.account).cloned().unwrap_or_default();
    let own = Arc::make_mut(&mut quotas);
    match limit {
        Some(limit) => own.insert(quota, limit),
        None => own.remove(&quota),
    };
    txn.state.quotas.insert(txn.account, quotas);
    txn.events.push(crate::Event::IdentityChanged);
    Ok(())
}

/// Asks for more of a quota. It is decided at once, by how far the quota can be raised, and remembered either way.
pub(crate) fn request(
    txn: &mut Txn,
    quota: Quota,
    (code, id): (String, String),
    desired: usize,
    requester: String,
) -> Result<(), ModelError> {
    let there = limit(&txn.state, txn.account, quota);
    if desired <= there {
        return Err(ModelError::QuotaNotRaised { quota, given: desired, there });
    }
    let approved = check(txn, quota, desired).is_ok();
    if approved {
        let mut quotas = txn.state.quotas.get(&txn.account).cloned().unwrap_or_default();
        Arc::make_mut(&mut quotas).insert(quota, desired);
        txn.state.quotas.insert(txn.account, quotas);
    }
    let mut requests = txn.state.quota_requests.get(&txn.account).cloned().unwrap_or_default();
    let known = Arc::make_mut(&mut requests);
    known.push(QuotaRequest { id, code, quota, desired, approved, at: txn.at, requester });
    if known.len() > MAX_REQUESTS {
        known.remove(0);
    }
    txn.state.quota_requests.insert(txn.account, requests);
    txn.events.push(crate::Event::IdentityChanged);
    Ok(())
}

/// Refuses a quota that is too high by itself or together with another one.
fn check(txn: &Txn, quota: Quota, given: usize) -> Result<(), ModelError> {
    let most = quota.most();
    if given > most {
        return Err(ModelError::QuotaTooHigh { quota, given, most });
    }
    let Some(other) = factor_of(quota) else { return Ok(()) };
    let there = limit(&txn.state, txn.account, other);
    if given.saturating_mul(there) > MAX_RULES_OF_AN_INTERFACE {
        return Err(ModelError::QuotasTooHigh {
            quota,
            given,
            other,
            there,
            most: MAX_RULES_OF_AN_INTERFACE,
        });
    }
    Ok(())
}

/// The quota that a quota is multiplied with, and their product bounded.
fn factor_of(quota: Quota) -> Option<Quota> {
    match quota {
        Quota::SecurityGroupRules => Some(Quota::GroupsPerInterface),
        Quota::GroupsPerInterface => Some(Quota::SecurityGroupRules),
        Quota::Vpcs
        | Quota::Subnets
        | Quota::VpcBlocks
        | Quota::ElasticAddresses
        | Quota::NatGateways
        | Quota::RouteTables
        | Quota::PeeringsPerVpc
        | Quota::PendingPeerings
        | Quota::CustomerGateways
        | Quota::VpnGateways
        | Quota::VpnConnections
        | Quota::TransitGateways
        | Quota::TransitGatewayRouteTables
        | Quota::TransitGatewayRoutes
        | Quota::Routes
        | Quota::PrefixLists
        | Quota::NetworkAcls
        | Quota::NetworkAclRules
        | Quota::SecurityGroups
        | Quota::Interfaces
        | Quota::GatewayEndpoints
        | Quota::InterfaceEndpoints
        | Quota::EndpointServices
        | Quota::LoadBalancers
        | Quota::Listeners
        | Quota::TargetGroups
        | Quota::TargetsOfGroup
        | Quota::TargetsOfLoadBalancer
        | Quota::ResolverEndpoints
        | Quota::ResolverAddresses
        | Quota::DhcpOptions
        | Quota::KeyPairs => None,
    }
}
