//! What has to be compiled again when a state changes: what changed, and what follows from that.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use postern_model::elb::{Listener, LoadBalancer, TargetGroup, TargetId, TargetKey};
use postern_model::endpoint::{EndpointKind, VpcEndpoint};
use postern_model::endpoint_service::EndpointService;
use postern_model::gateway::{Address, InternetGateway, NatGateway};
use postern_model::instance::Instance;
use postern_model::interface::NetworkInterface;
use postern_model::network_acl::NetworkAcl;
use postern_model::peering::VpcPeeringConnection;
use postern_model::prefix_list::PrefixList;
use postern_model::route::{RouteDestination, RouteTable};
use postern_model::security_group::{Peer, SecurityGroup, SecurityGroupRule};
use postern_model::subnet::Subnet;
use postern_model::transit::{TransitGateway, TransitGatewayAttachment, TransitGatewayRouteTable};
use postern_model::vpc::Vpc;
use postern_model::vpn::{VpnConnection, VpnGateway};
use postern_model::{
    InstanceId, InternetGatewayId, ListenerId, LoadBalancerId, NatGatewayId, NetworkAclId,
    NetworkInterfaceId, PrefixListId, RouteTableId, SecurityGroupId, State, SubnetId, TargetGroupId,
    TransitGatewayAttachmentId, TransitGatewayId, TransitGatewayRouteTableId, VpcEndpointId, VpcId,
    VpcPeeringConnectionId, VpnConnectionId, VpnGatewayId,
};

/// What has to be compiled again.
#[derive(Default)]
pub(super) struct Dirty {
    pub vpcs: BTreeSet<VpcId>,
    pub members: BTreeSet<VpcId>,
    pub subnets: BTreeSet<SubnetId>,
    pub tables: BTreeSet<RouteTableId>,
    pub groups: BTreeSet<SecurityGroupId>,
    pub acls: BTreeSet<NetworkAclId>,
    pub lists: BTreeSet<PrefixListId>,
    pub interfaces: BTreeSet<NetworkInterfaceId>,
    pub gateways: BTreeSet<InternetGatewayId>,
    pub nat_gateways: BTreeSet<NatGatewayId>,
    pub endpoints: BTreeSet<VpcEndpointId>,
    pub target_groups: BTreeSet<TargetGroupId>,
    pub listeners: BTreeSet<ListenerId>,
    /// Load balancers, and interfaces that are or were theirs.
    pub balancers: BTreeSet<LoadBalancerId>,
    pub fronts: BTreeSet<NetworkInterfaceId>,
    /// VPCs whose gateway endpoints changed.
    pub gateway_endpoints: BTreeSet<VpcId>,
    pub peerings: BTreeSet<VpcPeeringConnectionId>,
    pub transit_gateways: BTreeSet<TransitGatewayId>,
    pub transit_attachments: BTreeSet<TransitGatewayAttachmentId>,
    pub transit_tables: BTreeSet<TransitGatewayRouteTableId>,
    pub vpn_gateways: BTreeSet<VpnGatewayId>,
    pub vpn_connections: BTreeSet<VpnConnectionId>,
    /// The ports of connections that are gone.
    pub gone_links: BTreeSet<NetworkInterfaceId>,
    pub services: bool,
}

/// What happened to one entry of a table.
struct Change<'a, T> {
    old: Option<&'a Arc<T>>,
    new: Option<&'a Arc<T>>,
}

/// The entries that differ between two tables. Shared parts are not looked at.
fn changes<'a, K: Ord + Copy, T: PartialEq>(
    old: &'a OrdMap<K, Arc<T>>,
    new: &'a OrdMap<K, Arc<T>>,
) -> impl Iterator<Item = (K, Change<'a, T>)> {
    old.diff(new).map(|item| match item {
        DiffItem::Add(id, value) => (*id, Change { old: None, new: Some(value) }),
        DiffItem::Update { old: (id, old), new: (_, new) } => {
            (*id, Change { old: Some(old), new: Some(new) })
        }
        DiffItem::Remove(id, value) => (*id, Change { old: Some(value), new: None }),
    })
}

impl Dirty {
    /// What differs between two states, with all that follows from it.
    pub fn between(old: &State, new: &State) -> Self {
        let mut dirty = Self::default();
        dirty.own_changes(old, new);
        dirty.follow_prefix_lists(new);
        dirty.follow_vpcs(old, new);
        dirty.follow_balancers(old, new);
        dirty.follow_vpns(old, new);
        dirty.follow_transit(old, new);
        dirty
    }

    fn own_changes(&mut self, old: &State, new: &State) {
        self.vpcs.extend(changes::<_, Vpc>(&old.vpcs, &new.vpcs).map(|(id, _)| id));
        self.subnets.extend(changes::<_, Subnet>(&old.subnets, &new.subnets).map(|(id, _)| id));
        self.tables.extend(changes::<_, RouteTable>(&old.route_tables, &new.route_tables).map(|(id, _)| id));
        self.groups.extend(
            changes::<_, SecurityGroup>(&old.security_groups, &new.security_groups).map(|(id, _)| id),
        );
        self.acls.extend(changes::<_, NetworkAcl>(&old.network_acls, &new.network_acls).map(|(id, _)| id));
        self.lists.extend(changes::<_, PrefixList>(&old.prefix_lists, &new.prefix_lists).map(|(id, _)| id));
        self.nat_gateways
            .extend(changes::<_, NatGateway>(&old.nat_gateways, &new.nat_gateways).map(|(id, _)| id));
        for (id, change) in changes::<_, VpcEndpoint>(&old.vpc_endpoints, &new.vpc_endpoints) {
            self.endpoints.insert(id);
            let gateways =
                [change.old, change.new].into_iter().flatten().filter(|x| x.kind == EndpointKind::Gateway);
            self.gateway_endpoints.extend(gateways.map(|endpoint| endpoint.vpc));
        }
        let (was, is) = (&old.vpc_peering_connections, &new.vpc_peering_connections);
        self.peerings.extend(changes::<_, VpcPeeringConnection>(was, is).map(|(id, _)| id));
        self.follow_users_services(old, new);
        self.gateways.extend(
            changes::<_, InternetGateway>(&old.internet_gateways, &new.internet_gateways).map(|(id, _)| id),
        );
        self.services = old.services != new.services;
        for (id, change) in changes::<_, NetworkInterface>(&old.network_interfaces, &new.network_interfaces) {
            self.interfaces.insert(id);
            let addresses = |x: Option<&Arc<NetworkInterface>>| x.map(|x| x.private_addresses.clone());
            if addresses(change.old) != addresses(change.new) {
                self.members.extend(change.old.or(change.new).map(|x| x.vpc));
            }
        }
        for (_, change) in changes::<_, Address>(&old.addresses, &new.addresses) {
            let associated = [change.old, change.new].into_iter().flatten().filter_map(|a| a.association);
            self.interfaces.extend(associated.map(|association| association.interface));
        }
        self.follow_instances(old, new);
    }

    /// Endpoints follow the services of users that they lead to, and those their load balancers.
    fn follow_users_services(&mut self, old: &State, new: &State) {
        let balancers: BTreeSet<_> =
            changes::<_, LoadBalancer>(&old.load_balancers, &new.load_balancers).map(|(id, _)| id).collect();
        let mut services: BTreeSet<_> =
            changes::<_, EndpointService>(&old.endpoint_services, &new.endpoint_services)
                .map(|(id, _)| id)
                .collect();
        if !balancers.is_empty() {
            let behind = new
                .endpoint_services
                .values()
                .filter(|service| !service.load_balancers.is_disjoint(&balancers));
            services.extend(behind.map(|service| service.id));
        }
        if services.is_empty() {
            return;
        }
        let leads_there = |endpoint: &&Arc<VpcEndpoint>| {
            let id = endpoint.service_name.rsplit_once('.').and_then(|(_, id)| id.parse().ok());
            id.is_some_and(|id| services.contains(&id))
        };
        self.endpoints.extend(new.vpc_endpoints.values().filter(leads_there).map(|endpoint| endpoint.id));
    }

    /// Interfaces follow the state of what they are plugged into. One look at all of them for any number of
    /// instances.
    fn follow_instances(&mut self, old: &State, new: &State) {
        let all = changes::<_, Instance>(&old.instances, &new.instances);
        let moved = all.filter(|(_, change)| change.old.map(|i| i.state) != change.new.map(|i| i.state));
        let moved: BTreeSet<_> = moved.map(|(id, _)| id).collect();
        if moved.is_empty() {
            return;
        }
        let plugged = |interface: &NetworkInterface| interface.attachment.and_then(|a| a.instance);
        let interfaces = new.network_interfaces.values();
        let follow = interfaces.filter(|x| plugged(x).is_some_and(|instance| moved.contains(&instance)));
        self.interfaces.extend(follow.map(|interface| interface.id));
        self.follow_targets(new, &moved);
    }

    /// Target groups follow the state of their instances.
    fn follow_targets(&mut self, new: &State, moved: &BTreeSet<InstanceId>) {
        let has = |group: &&Arc<TargetGroup>| {
            moved.iter().any(|id| {
                let from = TargetKey { id: TargetId::Instance(*id), port: 0 };
                group.targets.range(from..).next().is_some_and(|(key, _)| key.id == from.id)
            })
        };
        self.target_groups.extend(new.target_groups.values().filter(has).map(|group| group.id));
    }

    /// Listeners follow their groups, and load balancers their listeners.
    fn follow_balancers(&mut self, old: &State, new: &State) {
        self.target_groups
            .extend(changes::<_, TargetGroup>(&old.target_groups, &new.target_groups).map(|(id, _)| id));
        for (id, change) in changes::<_, Listener>(&old.listeners, &new.listeners) {
            self.listeners.insert(id);
            self.balancers.extend([change.old, change.new].into_iter().flatten().map(|x| x.load_balancer));
        }
        for (id, change) in changes::<_, LoadBalancer>(&old.load_balancers, &new.load_balancers) {
            self.balancers.insert(id);
            let zones = change.old.into_iter().flat_map(|balancer| &balancer.zones);
            self.fronts.extend(zones.map(|zone| zone.interface));
        }
        self.follow_groups_of_listeners(new);
    }

    fn follow_groups_of_listeners(&mut self, new: &State) {
        if self.target_groups.is_empty() {
            return;
        }
        let led = new.listeners.values().filter(|listener| self.target_groups.contains(&listener.group));
        let led: Vec<_> = led.map(|listener| (listener.id, listener.load_balancer)).collect();
        for (listener, balancer) in led {
            self.listeners.insert(listener);
            self.balancers.insert(balancer);
        }
    }

    /// What follows these groups, whose targets were found to be otherwise than before.
    pub fn of_groups(groups: BTreeSet<TargetGroupId>, state: &State) -> Self {
        let mut dirty = Self { target_groups: groups, ..Self::default() };
        dirty.follow_groups_of_listeners(state);
        dirty
    }

    /// What names a list is compiled from it.
    fn follow_prefix_lists(&mut self, new: &State) {
        if self.lists.is_empty() {
            return;
        }
        for table in new.route_tables.values() {
            let uses = |list: &PrefixListId| table.routes.contains_key(&RouteDestination::PrefixList(*list));
            if self.lists.iter().any(uses) {
                self.tables.insert(table.id);
            }
        }
        for group in new.security_groups.values() {
            let uses = |rule: &SecurityGroupRule| match rule.permission.peer {
                Peer::PrefixList(list) => self.lists.contains(&list),
                Peer::Cidr(_) | Peer::Group(_) => false,
            };
            if group.rules.values().any(uses) {
                self.groups.insert(group.id);
            }
        }
    }

    /// Gateways follow their connections, and tables the gateways whose routes are in them.
    fn follow_vpns(&mut self, old: &State, new: &State) {
        // Those whose routes in tables are others than before.
        let mut rerouted = BTreeSet::new();
        for (id, change) in changes::<_, VpnGateway>(&old.vpn_gateways, &new.vpn_gateways) {
            self.vpn_gateways.insert(id);
            if change.old.map(|gateway| gateway.vpc) != change.new.map(|gateway| gateway.vpc) {
                rerouted.insert(id);
            }
        }
        for (id, change) in changes::<_, VpnConnection>(&old.vpn_connections, &new.vpn_connections) {
            self.vpn_connections.insert(id);
            let gateway = change.old.or(change.new).and_then(|connection| connection.virtual_gateway());
            self.vpn_gateways.extend(gateway);
            if change.old.map(|connection| &connection.routes)
                != change.new.map(|connection| &connection.routes)
            {
                rerouted.extend(gateway);
            }
            if change.new.is_none() {
                self.gone_links.extend(change.old.map(|connection| connection.link.port));
            }
        }
        if rerouted.is_empty() {
            return;
        }
        let follows = |table: &&Arc<RouteTable>| !table.propagating.is_disjoint(&rerouted);
        self.tables.extend(new.route_tables.values().filter(follows).map(|table| table.id));
    }

    /// Gateways follow what is attached to them, and tables what propagates to them: the blocks of VPCs.
    fn follow_transit(&mut self, old: &State, new: &State) {
        let gateways = changes::<_, TransitGateway>(&old.transit_gateways, &new.transit_gateways);
        self.transit_gateways.extend(gateways.map(|(id, _)| id));
        let (was, is) = (&old.transit_gateway_route_tables, &new.transit_gateway_route_tables);
        self.transit_tables.extend(changes::<_, TransitGatewayRouteTable>(was, is).map(|(id, _)| id));
        let (was, is) = (&old.transit_gateway_attachments, &new.transit_gateway_attachments);
        for (id, change) in changes::<_, TransitGatewayAttachment>(was, is) {
            self.transit_attachments.insert(id);
            for attachment in [change.old, change.new].into_iter().flatten() {
                self.transit_gateways.insert(attachment.gateway);
                self.transit_tables.extend(&attachment.propagations);
            }
        }
        if self.vpcs.is_empty() {
            return;
        }
        let of_vpc =
            |x: &&Arc<TransitGatewayAttachment>| x.to.vpc().is_some_and(|vpc| self.vpcs.contains(&vpc));
        let follow: Vec<_> = is.values().filter(of_vpc).flat_map(|x| x.propagations.clone()).collect();
        self.transit_tables.extend(follow);
    }

    /// Subnets follow their VPC's main table, tables its blocks.
    fn follow_vpcs(&mut self, old: &State, new: &State) {
        for id in &self.vpcs {
            let (old, now) = (old.vpcs.get(id), new.vpcs.get(id));
            if old.map(|vpc| vpc.main_route_table) != now.map(|vpc| vpc.main_route_table) {
                self.subnets.extend(new.subnets.values().filter(|s| s.vpc == *id).map(|s| s.id));
            }
            if old.map(|vpc| &vpc.blocks) != now.map(|vpc| &vpc.blocks) {
                self.tables.extend(new.route_tables.values().filter(|t| t.vpc == *id).map(|t| t.id));
            }
        }
    }
}
