//! How two plans differ, generations aside: a plan that was advanced must be the one that is compiled anew.

use std::hash::Hash;
use std::sync::Arc;

use super::{
    AclPlan, EndpointPlan, FrontPlan, GatewayPlan, GroupPlan, GroupTargets, InterfacePlan, ListenerPlan,
    NatPlan, PeeringPlan, Plan, RouteTablePlan, SubnetPlan, Table, TransitAttachmentPlan, TransitGatewayPlan,
    TransitTablePlan, VpcPlan, VpnGatewayPlan,
};
use crate::decision::Stamp;

pub(super) const NO_STAMP: Stamp = Stamp { slot: 0, generation: 0 };

/// Something compiled, without its stamps.
pub(super) trait Unstamped: Clone + PartialEq {
    fn unstamped(&self) -> Self;
}

macro_rules! unstamped {
    ($($name:ident { $($stamp:ident),+ })*) => {$(
        impl Unstamped for $name {
            fn unstamped(&self) -> Self {
                Self { $($stamp: NO_STAMP,)+ ..self.clone() }
            }
        }
    )*};
}

unstamped! {
    InterfacePlan { stamp, groups_stamp }
    VpcPlan { stamp, members }
    SubnetPlan { stamp }
    RouteTablePlan { stamp }
    GroupPlan { stamp }
    AclPlan { stamp }
    GatewayPlan { stamp }
    NatPlan { stamp }
    EndpointPlan { stamp }
    ListenerPlan { stamp }
    PeeringPlan { stamp }
    TransitGatewayPlan { stamp }
    TransitAttachmentPlan { stamp }
    TransitTablePlan { stamp }
    VpnGatewayPlan { stamp }
}

impl Unstamped for GroupTargets {
    fn unstamped(&self) -> Self {
        let mut all = Self { stamp: NO_STAMP, ..self.clone() };
        all.targets.iter_mut().for_each(|target| target.stamp = NO_STAMP);
        all
    }
}

impl Unstamped for FrontPlan {
    fn unstamped(&self) -> Self {
        let mut all = Self { stamp: NO_STAMP, ..self.clone() };
        for listener in &mut all.listeners {
            listener.listener = listener.listener.unstamped();
            listener.group = listener.group.unstamped();
        }
        all
    }
}

impl<T: Unstamped> Unstamped for Arc<T> {
    fn unstamped(&self) -> Self {
        Arc::new((**self).unstamped())
    }
}

fn same<K: Hash + Eq, V: Unstamped>(one: &Table<K, V>, other: &Table<K, V>) -> bool {
    let matches = |(key, value): (&K, &V)| other.get(key).is_some_and(|v| v.unstamped() == value.unstamped());
    one.len() == other.len() && one.iter().all(matches)
}

impl Plan {
    /// The tables in which two plans differ, generations and slots aside. Looks at everything.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let tables = [
            ("interfaces", same(&self.interfaces, &other.interfaces)),
            ("addresses", self.addresses == other.addresses),
            ("public addresses", self.public == other.public),
            ("VPCs", same(&self.vpcs, &other.vpcs)),
            ("subnets", same(&self.subnets, &other.subnets)),
            ("route tables", same(&self.route_tables, &other.route_tables)),
            ("security groups", same(&self.groups, &other.groups)),
            ("network ACLs", same(&self.acls, &other.acls)),
            ("prefix lists", self.prefix_lists == other.prefix_lists),
            ("internet gateways", same(&self.internet_gateways, &other.internet_gateways)),
            ("NAT gateways", same(&self.nat_gateways, &other.nat_gateways)),
            ("endpoints", same(&self.endpoints, &other.endpoints)),
            ("target groups", same(&self.target_groups, &other.target_groups)),
            ("listeners", same(&self.listeners, &other.listeners)),
            ("load balancers", same(&self.fronts, &other.fronts)),
            ("gateway endpoints of VPCs", self.gateway_endpoints == other.gateway_endpoints),
            ("virtual private gateways", same(&self.vpn_gateways, &other.vpn_gateways)),
            ("transit gateways", same(&self.transit_gateways, &other.transit_gateways)),
            ("attachments of transit gateways", same(&self.transit_attachments, &other.transit_attachments)),
            ("route tables of transit gateways", same(&self.transit_tables, &other.transit_tables)),
            ("peerings", same(&self.peerings, &other.peerings)),
            ("names over peerings", self.peer_names == other.peer_names),
            ("names of endpoints", self.endpoint_names == other.endpoint_names),
            ("names of load balancers", self.balancer_names == other.balancer_names),
            ("services", self.services == other.services),
            ("names", self.names == other.names),
            ("uplink", self.uplink == other.uplink),
        ];
        tables.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}
