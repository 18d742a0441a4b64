//! From a state to a plan, and from one plan to the next by what changed between two states.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use postern_model::elb::TargetKey;
use postern_model::endpoint::{EndpointKind, VpcEndpoint};
use postern_model::endpoint_service::{EndpointService, by_name};
use postern_model::interface::{InterfaceKind, NetworkInterface};
use postern_model::route::{RouteDestination, RouteTarget, interface_can_route};
use postern_model::security_group::Peer;
use postern_model::transit::attachment_of_vpn;
use postern_model::vpn::{self, VpnEnd};
use postern_model::{
    InternetGatewayId, IpNet, Ipv4Net, NatGatewayId, NetworkAclId, NetworkInterfaceId, PrefixListId,
    ResolverEndpointId, ResourceId, RouteTableId, SecurityGroupId, State, SubnetId, TargetGroupId,
    VpcEndpointId, VpcId, VpcPeeringConnectionId, VpnConnectionId, VpnGatewayId,
};

use super::dirty::Dirty;
use super::interval::IntervalMap;
use super::slots::SlotKey;
use super::{
    AclPlan, BalancerPlan, EndpointPlan, GatewayPlan, GroupPlan, Health, InterfacePlan, NatPlan, PeerPlan,
    PeeringPlan, Plan, RemoteEnd, RemotePlan, RoutePlan, RouteTablePlan, RulePlan, SubnetPlan, Target,
    VpcPlan, VpnGatewayPlan,
};
use crate::decision::Stamp;
use crate::endpoint_name::NamesOfEndpoint;
use crate::name::{Names, ServiceName, public_domain};
use crate::uplink::Uplink;

/// A plan, and how it differs from the one before.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// The slots whose generation went up.
    pub changed: Vec<Stamp>,
    /// What could not be compiled as it stands, and is refused on the packet's way.
    pub diagnostics: Vec<Diagnostic>,
}

/// Something in a state that a plan cannot follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What it is about.
    pub resource: ResourceId,
    /// What is wrong.
    pub problem: String,
}

impl Plan {
    /// Compiles a state from nothing, in a region that no packet leaves.
    pub fn compile(state: &State) -> Compiled {
        Self::compile_with_uplink(state, None)
    }

    /// Compiles a state from nothing, in a region that packets leave by this uplink.
    pub fn compile_with_uplink(state: &State, uplink: Option<Uplink>) -> Compiled {
        Self::compile_above(state, uplink, 0)
    }

    /// The same with generations above this one: nothing that was decided by a plan whose last generation it was looks
    /// current to one that goes on with what that plan's packets left.
    pub fn compile_above(state: &State, uplink: Option<Uplink>, generation: u64) -> Compiled {
        let nothing = State {
            services: OrdMap::new(),
            prefix_lists: OrdMap::new(),
            ..State::new(state.region.clone())
        };
        Self { uplink, generation, ..Self::default() }.advance(&nothing, state)
    }

    /// The same plan with another uplink, or none. Plans that are advanced from it have that one.
    pub fn with_uplink(&self, uplink: Option<Uplink>) -> Compiled {
        let mut plan = self.clone();
        let mut changed = Vec::new();
        if plan.uplink != uplink {
            plan.uplink = uplink;
            plan.generation += 1;
            changed.push(plan.slots.bump(SlotKey::Uplink, plan.generation));
        }
        Compiled { plan, changed, diagnostics: Vec::new() }
    }

    /// The plan of `new`, from this one, which is `old`'s. Costs as much as the two states differ.
    pub fn advance(&self, old: &State, new: &State) -> Compiled {
        let dirty = Dirty::between(old, new);
        let mut plan = self.clone();
        plan.generation += 1;
        let mut compiler = Compiler { plan, changed: Vec::new(), diagnostics: Vec::new(), state: new };
        compiler.keep(SlotKey::Uplink);
        compiler.lists(&dirty.lists);
        compiler.services(dirty.services);
        dirty.vpcs.union(&dirty.members).for_each(|id| compiler.vpc(*id, dirty.members.contains(id)));
        dirty.subnets.iter().for_each(|id| compiler.subnet(*id));
        dirty.tables.iter().for_each(|id| compiler.table(*id));
        dirty.groups.iter().for_each(|id| compiler.group(*id));
        dirty.acls.iter().for_each(|id| compiler.acl(*id));
        dirty.gateways.iter().for_each(|id| compiler.gateway(*id));
        dirty.nat_gateways.iter().for_each(|id| compiler.nat_gateway(*id));
        dirty.endpoints.iter().for_each(|id| compiler.endpoint(*id));
        dirty.gateway_endpoints.iter().for_each(|vpc| compiler.gateway_endpoints(*vpc));
        dirty.vpn_gateways.iter().for_each(|id| compiler.vpn_gateway(*id));
        dirty.gone_links.iter().for_each(|port| compiler.drop_interface(*port));
        dirty.vpn_connections.iter().for_each(|id| compiler.link(*id));
        dirty.transit_gateways.iter().for_each(|id| compiler.transit_gateway(*id));
        dirty.transit_attachments.iter().for_each(|id| compiler.transit_attachment(*id));
        dirty.transit_tables.iter().for_each(|id| compiler.transit_table(*id));
        // Those that let go of two VPCs come before those that join them.
        dirty.peerings.iter().for_each(|id| compiler.part(*id));
        dirty.peerings.iter().for_each(|id| compiler.peering(*id));
        compiler.interfaces(&dirty.interfaces);
        compiler.balancing(&dirty, None);
        compiler.done()
    }

    /// The same plan where targets are found to be like this; none is known of the others. `state` is the plan's.
    pub fn with_health(&self, state: &State, health: &Health) -> Compiled {
        let before = self.health.clone();
        let groups: BTreeSet<_> = before.diff(health).map(|item| item_group(&item)).collect();
        let mut plan = self.clone();
        plan.health = health.clone();
        if groups.is_empty() {
            return Compiled { plan, changed: Vec::new(), diagnostics: Vec::new() };
        }
        plan.generation += 1;
        let dirty = Dirty::of_groups(groups, state);
        let mut compiler = Compiler { plan, changed: Vec::new(), diagnostics: Vec::new(), state };
        compiler.balancing(&dirty, Some(&before));
        compiler.done()
    }
}

fn item_group(item: &DiffItem<'_, '_, (TargetGroupId, TargetKey), bool>) -> TargetGroupId {
    match item {
        DiffItem::Add((group, _), _) | DiffItem::Remove((group, _), _) => *group,
        DiffItem::Update { new: ((group, _), _), .. } => *group,
    }
}

pub(super) struct Compiler<'a> {
    pub(super) plan: Plan,
    changed: Vec<Stamp>,
    diagnostics: Vec<Diagnostic>,
    pub(super) state: &'a State,
}

impl Compiler<'_> {
    fn done(self) -> Compiled {
        let Self { plan, changed, diagnostics, state: _ } = self;
        Compiled { plan, changed, diagnostics }
    }

    /// Who gets the connections of load balancers. `before` is how targets were found to be before, if
    /// that changed.
    fn balancing(&mut self, dirty: &Dirty, before: Option<&Health>) {
        dirty.target_groups.iter().for_each(|id| self.target_group(*id, before));
        dirty.listeners.iter().for_each(|id| self.listener(*id));
        let state = self.state;
        let balancers = dirty.balancers.iter().filter_map(|id| state.load_balancers.get(id));
        let there: BTreeSet<_> =
            balancers.clone().flat_map(|balancer| balancer.zones.iter().map(|zone| zone.interface)).collect();
        dirty.fronts.difference(&there).for_each(|gone| self.no_front(*gone));
        balancers.for_each(|balancer| self.fronts(balancer));
        dirty.balancers.iter().for_each(|id| self.balancer_names(*id));
    }

    /// A new generation for a thing.
    pub(super) fn stamp(&mut self, key: SlotKey) -> Stamp {
        let stamp = self.plan.slots.bump(key, self.plan.generation);
        self.changed.push(stamp);
        stamp
    }

    pub(super) fn resource(&mut self, id: impl Into<ResourceId>) -> Stamp {
        self.stamp(SlotKey::Resource(id.into()))
    }

    /// The thing is gone.
    pub(super) fn release(&mut self, key: SlotKey) {
        let stamp = self.plan.slots.release(key, self.plan.generation);
        self.changed.extend(stamp);
    }

    /// The thing's stamp, made if it has none yet.
    fn keep(&mut self, key: SlotKey) -> Stamp {
        self.plan.slots.get(key).unwrap_or_else(|| self.stamp(key))
    }

    fn lists(&mut self, dirty: &BTreeSet<PrefixListId>) {
        for id in dirty {
            let Some(list) = self.state.prefix_lists.get(id) else {
                self.plan.prefix_lists.remove(id);
                continue;
            };
            let blocks = list.entries.keys().filter_map(v4_block).map(|block| (block, ()));
            self.plan.prefix_lists.insert(*id, Arc::new(IntervalMap::new(blocks)));
        }
    }

    fn services(&mut self, dirty: bool) {
        if dirty {
            self.stamp(SlotKey::Services);
            let blocks = self.state.services.values().zip(0u16..);
            let blocks =
                blocks.flat_map(|(service, n)| service.public_blocks.iter().map(move |block| (*block, n)));
            self.plan.services = Arc::new(IntervalMap::new(blocks));
            self.plan.names = Arc::new(names(self.state));
        }
    }

    fn vpc(&mut self, id: VpcId, members_changed: bool) {
        let Some(vpc) = self.state.vpcs.get(&id) else {
            self.plan.vpcs.remove(&id);
            self.release(SlotKey::Resource(id.into()));
            self.release(SlotKey::Members(id));
            self.release(SlotKey::GatewayEndpoints(id));
            return;
        };
        self.keep(SlotKey::GatewayEndpoints(id));
        let members = SlotKey::Members(id);
        let members = if members_changed { self.stamp(members) } else { self.keep(members) };
        let compiled = |stamp| VpcPlan {
            stamp,
            members,
            blocks: vpc.blocks.iter().map(|block| block.cidr).collect(),
            dns_support: vpc.dns_support,
            dns_hostnames: vpc.dns_hostnames,
            resolver: vpc.resolver(),
        };
        // A change of the members alone leaves the VPC's own generation as it is.
        let old = self.plan.vpcs.get(&id).map(|old| old.stamp);
        let unchanged = old.filter(|stamp| {
            let same = self.plan.vpcs.get(&id).map(|old| VpcPlan { members, ..(**old).clone() });
            same == Some(compiled(*stamp))
        });
        let stamp = unchanged.unwrap_or_else(|| self.resource(id));
        self.plan.vpcs.insert(id, Arc::new(compiled(stamp)));
    }

    fn subnet(&mut self, id: SubnetId) {
        let Some(subnet) = self.state.subnets.get(&id) else {
            self.plan.subnets.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let Some(vpc) = self.state.vpcs.get(&subnet.vpc) else {
            return self.broken(id, "its VPC is not there");
        };
        let stamp = self.resource(id);
        let route_table = subnet.effective_route_table(vpc);
        self.plan.subnets.insert(
            id,
            Arc::new(SubnetPlan {
                stamp,
                zone: subnet.zone.clone(),
                cidr: subnet.cidr,
                route_table,
                acl: subnet.network_acl,
            }),
        );
    }

    fn broken(&mut self, id: impl Into<ResourceId>, problem: &str) {
        self.diagnostics.push(Diagnostic { resource: id.into(), problem: problem.to_owned() });
    }

    fn table(&mut self, id: RouteTableId) {
        let Some(table) = self.state.route_tables.get(&id) else {
            self.plan.route_tables.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let stamp = self.resource(id);
        let blocks = self.state.vpcs.get(&table.vpc).map(|vpc| vpc.blocks.clone()).unwrap_or_default();
        let local = blocks.into_iter().map(|block| RoutePlan {
            block: block.cidr,
            list: None,
            target: Target::Local,
        });
        let mut routes: Vec<RoutePlan> = local.collect();
        let mut by_list = Vec::new();
        for route in table.routes.values() {
            let target = match route.target {
                RouteTarget::InternetGateway(id) => Target::InternetGateway(id),
                RouteTarget::NatGateway(id) => Target::NatGateway(id),
                RouteTarget::NetworkInterface(id) => Target::NetworkInterface(id),
                RouteTarget::VpcEndpoint(id) => Target::VpcEndpoint(id),
                RouteTarget::VpcPeering(id) => Target::Peering(id),
                RouteTarget::VpnGateway(id) => Target::VpnGateway(id),
                RouteTarget::TransitGateway(id) => Target::TransitGateway(id),
            };
            match route.destination {
                RouteDestination::Cidr(cidr) => {
                    routes.extend(v4_block(&cidr).map(|block| RoutePlan { block, list: None, target }));
                }
                RouteDestination::PrefixList(list) => match self.state.prefix_lists.get(&list) {
                    None => self
                        .broken(id, &format!("its route to `{list}` names a prefix list that is not there")),
                    Some(entries) => {
                        let blocks = entries.entries.keys().filter_map(v4_block);
                        by_list.extend(blocks.map(|block| RoutePlan { block, list: Some(list), target }));
                    }
                },
            }
        }
        // INVARIANT: of equal blocks the first wins: local, then static, then prefix lists, then propagated routes
        // ("Route priority").
        routes.extend(by_list);
        let propagated = vpn::propagated(self.state, table).into_iter();
        routes.extend(propagated.map(|(block, gateway)| RoutePlan {
            block,
            list: None,
            target: Target::VpnGateway(gateway),
        }));
        let intervals = IntervalMap::new(routes.iter().map(|route| route.block).zip(0u32..));
        self.plan.route_tables.insert(id, Arc::new(RouteTablePlan { stamp, intervals, routes }));
    }

    fn group(&mut self, id: SecurityGroupId) {
        let Some(group) = self.state.security_groups.get(&id) else {
            self.plan.groups.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let stamp = self.resource(id);
        let (mut egress, mut ingress) = (Vec::new(), Vec::new());
        for rule in group.rules.values() {
            let peer = match rule.permission.peer {
                Peer::Cidr(cidr) => v4_block(&cidr).map_or(PeerPlan::Never, PeerPlan::Block),
                Peer::Group(id) => PeerPlan::Group(id),
                Peer::PrefixList(list) => {
                    self.plan.prefix_lists.get(&list).cloned().map_or(PeerPlan::Never, PeerPlan::List)
                }
            };
            let compiled = RulePlan { id: rule.id, traffic: rule.permission.traffic, peer };
            if rule.permission.egress { egress.push(compiled) } else { ingress.push(compiled) }
        }
        self.plan.groups.insert(id, Arc::new(GroupPlan { stamp, egress, ingress }));
    }

    fn acl(&mut self, id: NetworkAclId) {
        let Some(acl) = self.state.network_acls.get(&id) else {
            self.plan.acls.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let stamp = self.resource(id);
        let egress = acl.egress.values().copied().collect();
        let ingress = acl.ingress.values().copied().collect();
        self.plan.acls.insert(id, Arc::new(AclPlan { stamp, egress, ingress }));
    }

    fn gateway(&mut self, id: InternetGatewayId) {
        let Some(gateway) = self.state.internet_gateways.get(&id) else {
            self.plan.internet_gateways.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let stamp = self.resource(id);
        self.plan.internet_gateways.insert(id, GatewayPlan { stamp, vpc: gateway.vpc });
    }

    fn nat_gateway(&mut self, id: NatGatewayId) {
        let live = self.state.nat_gateways.get(&id).filter(|gateway| gateway.state.is_live());
        let Some(gateway) = live else {
            self.plan.nat_gateways.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let compiled = |stamp| NatPlan {
            stamp,
            subnet: gateway.subnet,
            private: gateway.private_address,
            public: gateway.public_address,
        };
        // From pending to available nothing changes for packets.
        let old =
            self.plan.nat_gateways.get(&id).filter(|old| ***old == compiled(old.stamp)).map(|old| old.stamp);
        let stamp = old.unwrap_or_else(|| self.resource(id));
        self.plan.nat_gateways.insert(id, Arc::new(compiled(stamp)));
    }

    fn endpoint(&mut self, id: VpcEndpointId) {
        let known = self.plan.endpoints.get(&id).cloned();
        known.iter().for_each(|known| self.plan.endpoint_names.remove(&known.names));
        let Some(endpoint) = self.state.vpc_endpoints.get(&id) else {
            self.plan.endpoints.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        // An endpoint's policy and tags are nothing that packets depend on, nor is whether it is available yet: that the
        // plan knows it is what makes it so.
        let own = by_name(self.state, &endpoint.service_name);
        let carried = own.is_some() || self.state.services.contains_key(&endpoint.service_name);
        let passes = endpoint.state.passes() && carried;
        let balancers = own.filter(|_| passes).map(|own| balancers_of(self.state, endpoint, own));
        let same = known.filter(|known| known.passes == passes && known.balancers == balancers);
        let same = same.map(|known| known.stamp);
        let stamp = same.unwrap_or_else(|| self.resource(id));
        let names =
            if passes { NamesOfEndpoint::new(self.state, endpoint) } else { NamesOfEndpoint::default() };
        self.plan.endpoint_names.insert(&names);
        self.plan
            .endpoints
            .insert(id, Arc::new(EndpointPlan { stamp, vpc: endpoint.vpc, passes, balancers, names }));
    }

    /// The gateway endpoints of a VPC.
    fn gateway_endpoints(&mut self, vpc: VpcId) {
        let own = self.state.vpc_endpoints.values();
        let own = own.filter(|x| x.vpc == vpc && x.kind == EndpointKind::Gateway && x.state.passes());
        let with_blocks = own.filter_map(|endpoint| {
            let list = self.state.services.get(&endpoint.service_name)?.prefix_list?;
            Some((endpoint.id, Arc::clone(self.plan.prefix_lists.get(&list)?)))
        });
        let now: Vec<_> = with_blocks.collect();
        let before = self.plan.gateway_endpoints.get(&vpc).map_or(&[][..], |all| all.as_slice());
        if before == now.as_slice() {
            return;
        }
        if now.is_empty() {
            self.plan.gateway_endpoints.remove(&vpc);
        } else {
            self.plan.gateway_endpoints.insert(vpc, Arc::new(now));
        }
        if self.state.vpcs.contains_key(&vpc) {
            self.stamp(SlotKey::GatewayEndpoints(vpc));
        }
    }

    fn vpn_gateway(&mut self, id: VpnGatewayId) {
        let Some(gateway) = self.state.vpn_gateways.get(&id) else {
            self.plan.vpn_gateways.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let connections: Vec<_> = vpn::connections_of(self.state, id).collect();
        let routes = connections.iter().zip(0u32..);
        let routes =
            routes.flat_map(|(connection, n)| connection.routes.iter().map(move |block| (*block, n)));
        let compiled = |stamp| VpnGatewayPlan {
            stamp,
            vpc: gateway.vpc,
            routes: IntervalMap::new(routes.clone()),
            links: connections.iter().map(|connection| connection.link.port).collect(),
        };
        let old = self.plan.vpn_gateways.get(&id).map(|old| old.stamp);
        let same =
            old.filter(|stamp| self.plan.vpn_gateways.get(&id).is_some_and(|x| **x == compiled(*stamp)));
        let stamp = same.unwrap_or_else(|| self.resource(id));
        self.plan.vpn_gateways.insert(id, Arc::new(compiled(stamp)));
    }

    /// The end of a connection: an interface of no VPC.
    fn link(&mut self, id: VpnConnectionId) {
        let Some(connection) = self.state.vpn_connections.get(&id) else { return };
        let link = connection.link;
        let end = match connection.near {
            VpnEnd::Virtual(id) => Some(RemoteEnd::Virtual(id)),
            VpnEnd::Transit(_) => {
                attachment_of_vpn(self.state, id).map(|attachment| RemoteEnd::Transit(attachment.id))
            }
        };
        let Some(end) = end else { return self.broken(id, "its attachment is not there") };
        let key = SlotKey::Groups(link.port);
        let compiled = InterfacePlan {
            id: link.port,
            stamp: Stamp { slot: 0, generation: 0 },
            account: connection.owner,
            vpc: VpcId::from_number(0),
            subnet: SubnetId::from_number(0),
            mac: link.mac,
            groups: smallvec::SmallVec::new(),
            groups_stamp: self.keep(key),
            addresses: smallvec::smallvec![link.far()],
            public_addresses: smallvec::smallvec![None],
            source_dest_check: false,
            unfiltered: false,
            nat_gateway: false,
            endpoint: None,
            resolver_endpoint: None,
            attached: link.up,
            instance: None,
            remote: Some(RemotePlan { connection: id, end }),
            gateway: link.near(),
            cidr: link.inside,
            resolver: link.near(),
        };
        self.keep_interface(compiled);
    }

    /// Puts an interface into the plan, with a new generation if it is not what it was.
    fn keep_interface(&mut self, compiled: InterfacePlan) {
        let id = compiled.id;
        let old = self.plan.interfaces.get(&id).cloned();
        let unchanged = old.filter(|old| **old == InterfacePlan { stamp: old.stamp, ..compiled.clone() });
        let stamp = unchanged.map(|old| old.stamp).unwrap_or_else(|| self.resource(id));
        self.plan.interfaces.insert(id, Arc::new(InterfacePlan { stamp, ..compiled }));
    }

    fn drop_interface(&mut self, id: NetworkInterfaceId) {
        self.plan.interfaces.remove(&id);
        self.release(SlotKey::Resource(id.into()));
        self.release(SlotKey::Groups(id));
    }

    /// Takes out what a peering put among the names.
    fn part(&mut self, id: VpcPeeringConnectionId) {
        let known = self.plan.peerings.get(&id).filter(|known| known.passes).map(|known| known.vpcs);
        if let Some([one, other]) = known {
            self.plan.peer_names.remove(&(one, other));
            self.plan.peer_names.remove(&(other, one));
        }
    }

    fn peering(&mut self, id: VpcPeeringConnectionId) {
        let Some(peering) = self.state.vpc_peering_connections.get(&id) else {
            self.plan.peerings.remove(&id);
            return self.release(SlotKey::Resource(id.into()));
        };
        let [one, other] = peering.sides();
        let (passes, vpcs) = (peering.state.passes(), [one.vpc, other.vpc]);
        if passes {
            // A side says what the other may see of it.
            self.plan.peer_names.insert((one.vpc, other.vpc), other.dns_from_remote);
            self.plan.peer_names.insert((other.vpc, one.vpc), one.dns_from_remote);
        }
        // From provisioning to active, or by its options, nothing changes for packets.
        let same =
            self.plan.peerings.get(&id).filter(|known| known.passes == passes).map(|known| known.stamp);
        let stamp = same.unwrap_or_else(|| self.resource(id));
        self.plan.peerings.insert(id, Arc::new(PeeringPlan { stamp, passes, vpcs }));
    }

    fn interfaces(&mut self, dirty: &BTreeSet<NetworkInterfaceId>) {
        let before = self.public_of(dirty);
        // Those that let go of addresses come before those that take them.
        for id in dirty {
            if let Some(old) = self.plan.interfaces.get(id).cloned() {
                old.addresses.iter().for_each(|address| {
                    self.plan.addresses.remove(&(old.vpc, *address));
                });
                for public in old.public_addresses.iter().flatten() {
                    self.plan.public.remove(public);
                }
            }
        }
        dirty.iter().for_each(|id| self.interface(*id));
        // Every way over the internet rests on this one, so it changes only when who has what does.
        if before != self.public_of(dirty) || self.plan.slots.get(SlotKey::PublicAddresses).is_none() {
            self.stamp(SlotKey::PublicAddresses);
        }
    }

    /// The public addresses of these interfaces, and the private ones that they stand for.
    fn public_of(&self, all: &BTreeSet<NetworkInterfaceId>) -> Vec<(NetworkInterfaceId, Ipv4Addr, Ipv4Addr)> {
        let interfaces = all.iter().filter_map(|id| self.plan.interfaces.get(id));
        let each = interfaces.flat_map(|interface| {
            let pairs = interface.public_addresses.iter().zip(&interface.addresses);
            pairs.filter_map(|(public, private)| Some((interface.id, (*public)?, *private)))
        });
        each.collect()
    }

    /// Compiles one interface.
    fn interface(&mut self, id: NetworkInterfaceId) {
        let Some(interface) = self.state.network_interfaces.get(&id) else {
            return self.drop_interface(id);
        };
        let subnet = self.state.subnets.get(&interface.subnet);
        let vpc = self.state.vpcs.get(&interface.vpc);
        let (Some(subnet), Some(vpc)) = (subnet, vpc) else {
            return self.broken(id, "its subnet is not there");
        };
        let groups: smallvec::SmallVec<[SecurityGroupId; 4]> = interface.groups.iter().copied().collect();
        let old = self.plan.interfaces.get(&id).cloned();
        let same_groups = old.as_ref().filter(|old| old.groups == groups).map(|old| old.groups_stamp);
        let compiled = InterfacePlan {
            id,
            stamp: Stamp { slot: 0, generation: 0 },
            account: interface.owner,
            vpc: interface.vpc,
            subnet: interface.subnet,
            mac: interface.mac,
            groups,
            groups_stamp: same_groups.unwrap_or_else(|| self.stamp(SlotKey::Groups(id))),
            addresses: interface.private_addresses.iter().map(|private| private.address).collect(),
            public_addresses: self.public_addresses(interface),
            source_dest_check: interface.source_dest_check,
            unfiltered: interface.kind == InterfaceKind::LoadBalancer && interface.groups.is_empty(),
            nat_gateway: interface.kind == InterfaceKind::NatGateway,
            endpoint: endpoint_of(interface.kind),
            resolver_endpoint: resolver_endpoint_of(interface.kind),
            attached: interface_can_route(self.state, id),
            instance: interface.attachment.and_then(|attachment| attachment.instance),
            remote: None,
            gateway: subnet.gateway(),
            cidr: subnet.cidr,
            resolver: vpc.resolver(),
        };
        for (address, public) in compiled.addresses.iter().zip(&compiled.public_addresses) {
            self.plan.addresses.insert((compiled.vpc, *address), id);
            if let Some(public) = public {
                self.plan.public.insert(*public, (id, *address));
            }
        }
        self.keep_interface(compiled);
    }

    /// The public address of each private one.
    fn public_addresses(&self, interface: &NetworkInterface) -> smallvec::SmallVec<[Option<Ipv4Addr>; 2]> {
        let elastic = |private: Ipv4Addr| {
            postern_model::gateway::elastic_of(self.state, interface.id, private)
                .map(|address| address.public_address)
        };
        let automatic = |n: usize| interface.automatic_public_address.filter(|_| n == 0);
        let each = interface.private_addresses.iter().enumerate();
        each.map(|(n, private)| automatic(n).or_else(|| elastic(private.address))).collect()
    }
}

/// The load balancer's interface that each interface of an endpoint leads to: one in its own zone, of the first of the
/// service's load balancers that has one there.
fn balancers_of(
    state: &State,
    endpoint: &VpcEndpoint,
    service: &EndpointService,
) -> BTreeMap<SubnetId, BalancerPlan> {
    let all = || service.load_balancers.iter().filter_map(|id| state.load_balancers.get(id));
    let subnets = endpoint.interface.iter().flat_map(|part| part.interfaces.keys());
    let lead = subnets.filter_map(|subnet| {
        let zone = &state.subnets.get(subnet)?.zone;
        let found = all().find_map(|balancer| {
            let there = balancer.zones.iter().find(|known| known.zone == *zone)?;
            Some(BalancerPlan { interface: there.interface, filters: balancer.enforce_on_endpoints })
        });
        Some((*subnet, found?))
    });
    lead.collect()
}

/// The interface endpoint that an interface of this kind is of.
fn endpoint_of(kind: InterfaceKind) -> Option<VpcEndpointId> {
    match kind {
        InterfaceKind::VpcEndpoint(id) => Some(id),
        InterfaceKind::Interface
        | InterfaceKind::NatGateway
        | InterfaceKind::LoadBalancer
        | InterfaceKind::ResolverEndpoint(_) => None,
    }
}

/// The inbound endpoint of a resolver that an interface of this kind is of.
fn resolver_endpoint_of(kind: InterfaceKind) -> Option<ResolverEndpointId> {
    match kind {
        InterfaceKind::ResolverEndpoint(id) => Some(id),
        InterfaceKind::Interface
        | InterfaceKind::NatGateway
        | InterfaceKind::LoadBalancer
        | InterfaceKind::VpcEndpoint(_) => None,
    }
}

/// What the names of the region's services and instances are.
fn names(state: &State) -> Names {
    let mut services = Vec::new();
    for service in state.services.values() {
        let leads_to =
            ServiceName { service: service.name.clone(), addresses: service.public_addresses.clone() };
        let leads_to = Arc::new(leads_to);
        services
            .extend(service.dns_names.iter().map(|name| (name.to_ascii_lowercase(), Arc::clone(&leads_to))));
    }
    let region = &state.region.name;
    Names {
        private_domain: postern_model::vpc::domain_name(region),
        public_domain: public_domain(region),
        region_domain: format!("{region}.amazonaws.com"),
        endpoint_domain: format!("{region}.vpce.amazonaws.com"),
        services,
    }
}

fn v4_block(cidr: &IpNet) -> Option<Ipv4Net> {
    match cidr {
        IpNet::V4(block) => Some(*block),
        IpNet::V6(_) => None,
    }
}
