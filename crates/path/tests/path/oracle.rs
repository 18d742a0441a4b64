//! A second opinion: where a flow goes, found by looking through the whole state for each question, straight from
//! AWS's documentation. It shares nothing with the plan or with `decide` but the words that answers are made of.
//!
//! Pages, as they are cited below: "Security groups" and "Network ACLs" (VPC guide), "Route priority", "Middlebox
//! routing", "NAT gateway basics", "Internet gateways", "Gateway endpoints" (PrivateLink guide), "DNS attributes".

use std::net::{IpAddr, Ipv4Addr};

use crate::balanced::Came;
use postern_model::endpoint::{EndpointKind, EndpointState};
use postern_model::gateway::{NatGateway, PUBLIC_POOL_BASE};
use postern_model::instance::InstanceState;
use postern_model::interface::{InterfaceKind, NetworkInterface};
use postern_model::network_acl::AclEntry;
use postern_model::peering::PeeringState;
use postern_model::route::{RouteDestination, RouteTable, RouteTarget};
use postern_model::security_group::{Peer as RulePeer, Traffic};
use postern_model::subnet::Subnet;
use postern_model::vpc::Vpc;
use postern_model::vpn::{VpnConnection, VpnEnd};
use postern_model::{
    IpNet, Ipv4Net, NatGatewayId, NetworkAclId, NetworkInterfaceId, ResolverEndpointId, ResourceId,
    SecurityGroupId, State, SubnetId, VpcEndpointId, VpcId, VpcPeeringConnectionId, VpnGatewayId,
};
use postern_path::{
    Action, Balanced, Deliver, Door, DropReason, Flow, Health, Peer, SourceRewrite, Through, Transport,
    Uplink,
};

/// What becomes of a flow.
pub type Answer = Result<Way, (DropReason, ResourceId)>;

/// How a flow that passes goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub source: SourceRewrite,
    pub destination: Option<IpAddr>,
    pub deliver: Deliver,
    pub hops: Vec<Ipv4Addr>,
    pub mtu: u16,
    pub balanced: Option<Balanced>,
}

impl From<&Action> for Way {
    fn from(action: &Action) -> Self {
        Self {
            source: action.source,
            destination: action.destination,
            deliver: action.deliver,
            hops: action.hops.addresses.iter().flatten().copied().collect(),
            mtu: action.mtu,
            balanced: action.balanced,
        }
    }
}

/// One packet, as rules see it. A port that nobody can know in advance is all that it may be.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Tcp { from: Port, to: Port },
    Udp { from: Port, to: Port },
    Icmp(u8, u8),
    Other(u8),
}

#[derive(Debug, Clone, Copy)]
pub enum Port {
    Is(u16),
    /// "NAT gateway basics": a NAT gateway uses ports 1024 to 65535.
    OfNat,
}

/// Who is sending at this point of the way.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    pub vpc: VpcId,
    pub subnet: SubnetId,
    pub packet: Packet,
    pub nat: Option<&'a NatGateway>,
    /// From a network on premises, by this connection.
    pub on_premises: Option<&'a VpnConnection>,
    /// The subnet where a transit gateway lets the packet into the VPC.
    pub transit: Option<SubnetId>,
}

pub fn answer(state: &State, uplink: Option<Uplink>, health: &Health, flow: &Flow) -> Answer {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (flow.source, flow.destination) else { panic!("only IPv4") };
    let connection = state.vpn_connections.values().find(|x| x.link.port == flow.entry);
    let own = state.network_interfaces.values().find(|x| x.id == flow.entry);
    if own.is_none() && connection.is_none() {
        return Err((DropReason::UnknownPort, flow.entry.into()));
    }
    let kind = match flow.transport {
        Transport::Tcp { source_port, destination_port } => {
            Kind::Tcp { from: Port::Is(source_port), to: Port::Is(destination_port) }
        }
        Transport::Udp { source_port, destination_port } => {
            Kind::Udp { from: Port::Is(source_port), to: Port::Is(destination_port) }
        }
        Transport::Icmp { kind, code, identifier: _ } => Kind::Icmp(kind, code),
        Transport::Other { protocol } => Kind::Other(protocol),
    };
    let packet = Packet { from, to, kind };
    let oracle = |own| Oracle { state, uplink, health, entry: flow.entry, own, packet };
    match (own, connection) {
        (Some(own), _) => oracle(Some(own.as_ref())).answer(own),
        (None, Some(connection)) => oracle(None).come_from_premises(connection),
        (None, None) => Err((DropReason::UnknownPort, flow.entry.into())),
    }
}

pub struct Oracle<'a> {
    pub state: &'a State,
    uplink: Option<Uplink>,
    pub health: &'a Health,
    pub entry: NetworkInterfaceId,
    /// Who sends; nobody of the region's for what comes from a network on premises.
    pub own: Option<&'a NetworkInterface>,
    pub packet: Packet,
}

pub fn has(interface: &NetworkInterface, address: Ipv4Addr) -> bool {
    interface.private_addresses.iter().any(|private| private.address == address)
}

impl<'a> Oracle<'a> {
    /// Whether the first sender has an address.
    pub fn own_has(&self, address: Ipv4Addr) -> bool {
        self.own.is_some_and(|own| has(own, address))
    }

    fn answer(&self, own: &'a NetworkInterface) -> Answer {
        let packet = self.packet;
        if own.source_dest_check && !has(own, packet.from) {
            return Err((DropReason::SpoofedSource, own.id.into()));
        }
        let vpc = self.vpc(own.vpc);
        if let Some(answer) = self.link(own, vpc) {
            return answer;
        }
        // "Security groups": what no rule of any of the groups allows is denied.
        if !self.groups_allow(own, true, packet, None) {
            return Err((DropReason::EgressSecurityGroup, first_group(own)));
        }
        let (vpc, subnet) = (own.vpc, own.subnet);
        let sender = Sender { vpc, subnet, packet, nat: None, on_premises: None, transit: None };
        self.leave(sender, Vec::new())
    }

    /// Out of the sender's subnet, or to a neighbour in it.
    fn leave(&self, sender: Sender<'a>, hops: Vec<Ipv4Addr>) -> Answer {
        let subnet = self.subnet(sender.subnet);
        // "Network ACLs": they are at the subnet's edge, so neighbours meet none; nor do they need a route.
        if subnet.cidr.contains(&sender.packet.to) {
            return self.neighbour(sender, hops);
        }
        if let Err(acl) = self.acl(sender.subnet, true, sender.packet) {
            return Err((DropReason::EgressNetworkAcl, acl.into()));
        }
        let table = self.table_of(sender.subnet);
        let Some((route, _)) = self.best(table, sender.packet.to) else {
            return Err((DropReason::NoRoute, table.id.into()));
        };
        let gone = Err((DropReason::Blackhole, table.id.into()));
        let Some(route) = route else { return self.neighbour(sender, hops) };
        match route {
            RouteTarget::InternetGateway(id) => {
                let attached =
                    self.state.internet_gateways.values().find(|x| x.id == id && x.vpc == Some(sender.vpc));
                if attached.is_some() { self.internet(sender, id.into(), hops) } else { gone }
            }
            RouteTarget::NatGateway(id) => {
                let live = self.state.nat_gateways.values().find(|x| x.id == id && x.state.is_live());
                // From one NAT gateway to another is nothing that a flow's one translation can say.
                match live.filter(|_| sender.nat.is_none()) {
                    Some(nat) => self.nat(sender, nat, hops),
                    None => gone,
                }
            }
            RouteTarget::NetworkInterface(id) => self.by_router(sender, table, id, hops),
            RouteTarget::TransitGateway(id) => match self.attachment_of(id, sender.vpc) {
                Some(attachment) => self.to_transit(sender, attachment, hops),
                None => gone,
            },
            RouteTarget::VpcEndpoint(id) => match self.state.vpc_endpoints.values().find(|x| x.id == id) {
                Some(endpoint) => self.endpoint(sender, Through::Endpoint(id, endpoint.vpc), id.into(), hops),
                None => gone,
            },
            RouteTarget::VpcPeering(id) => match self.other_side(id, sender.vpc) {
                Some(far) => self.peered(sender, id, far, hops),
                None => gone,
            },
            RouteTarget::VpnGateway(id) => {
                let attached = self.state.vpn_gateways.values().find(|x| x.id == id);
                if attached.is_some_and(|x| x.vpc == Some(sender.vpc)) {
                    self.go_to_premises(sender, id, hops)
                } else {
                    gone
                }
            }
        }
    }

    pub fn by_router(
        &self,
        sender: Sender<'a>,
        table: &RouteTable,
        id: NetworkInterfaceId,
        hops: Vec<Ipv4Addr>,
    ) -> Answer {
        let found = self.state.network_interfaces.values().find(|x| x.id == id);
        let Some(router) = found.filter(|x| self.runs(x)) else {
            return Err((DropReason::Blackhole, table.id.into()));
        };
        // "Middlebox routing": the check has to be off on an interface that routes.
        if router.source_dest_check {
            return Err((DropReason::DestinationCheck, id.into()));
        }
        self.enter(sender, router, hops)
    }

    /// The other VPC of a peering that works.
    fn other_side(&self, id: VpcPeeringConnectionId, near: VpcId) -> Option<VpcId> {
        let peering = self.state.vpc_peering_connections.values().find(|x| x.id == id)?;
        let works = matches!(peering.state, PeeringState::Provisioning | PeeringState::Active);
        let [one, other] = peering.sides().map(|side| side.vpc);
        let far = if one == near { Some(other) } else { (other == near).then_some(one) };
        far.filter(|_| works)
    }

    /// "VPC peering limitations": from an address of the one VPC to an address of the other, and nothing else; what a
    /// gateway endpoint is for is not for who comes from elsewhere ("Gateway endpoints").
    fn peered(
        &self,
        sender: Sender<'a>,
        id: VpcPeeringConnectionId,
        far: VpcId,
        hops: Vec<Ipv4Addr>,
    ) -> Answer {
        if sender.nat.is_none() && !self.has_block(sender.vpc, sender.packet.from) {
            return Err((DropReason::NotTransitive, id.into()));
        }
        self.enter_vpc(sender, far, id.into(), hops)
    }

    pub fn has_block(&self, vpc: VpcId, address: Ipv4Addr) -> bool {
        self.vpc(vpc).blocks.iter().any(|block| block.cidr.contains(&address))
    }

    /// Into a VPC from elsewhere: to its addresses and no farther.
    fn enter_vpc(&self, sender: Sender<'a>, far: VpcId, way: ResourceId, hops: Vec<Ipv4Addr>) -> Answer {
        if self.has_block(far, sender.packet.to) {
            return self.neighbour_in(far, sender, hops);
        }
        Err(self.beyond_vpc(far, sender.packet.to, way))
    }

    /// Why what comes into a VPC from elsewhere does not reach an address that is not the VPC's.
    pub fn beyond_vpc(&self, far: VpcId, to: Ipv4Addr, way: ResourceId) -> (DropReason, ResourceId) {
        let works = |x: &EndpointState| matches!(x, EndpointState::Pending | EndpointState::Available);
        let leads = self.state.vpc_endpoints.values().find(|x| {
            let list = self.state.services.get(&x.service_name).and_then(|service| service.prefix_list);
            let list = list.and_then(|list| self.state.prefix_lists.get(&list));
            let takes =
                list.is_some_and(|list| list.entries.keys().any(|block| block.contains(&IpAddr::V4(to))));
            x.vpc == far && x.kind == EndpointKind::Gateway && works(&x.state) && takes
        });
        match leads {
            Some(endpoint) => (DropReason::RemoteToGatewayEndpoint, endpoint.id.into()),
            None => (DropReason::NotTransitive, way),
        }
    }

    /// The connection of a gateway that leads to an address: the longest static route, of equal ones the first.
    fn connection_to(&self, gateway: VpnGatewayId, to: Ipv4Addr) -> Option<&'a VpnConnection> {
        let of_gateway = self.state.vpn_connections.values().filter(|x| x.near == VpnEnd::Virtual(gateway));
        let routes = of_gateway.flat_map(|x| x.routes.iter().map(move |block| (block, x)));
        let matching: Vec<_> = routes.filter(|(block, _)| block.contains(&to)).collect();
        let longest = matching.iter().map(|(block, _)| block.prefix_len()).max()?;
        matching.into_iter().find(|(block, _)| block.prefix_len() == longest).map(|(_, x)| x.as_ref())
    }

    /// "How AWS Site-to-Site VPN works": into the VPC that the gateway is attached to, and out of it by static routes.
    fn come_from_premises(&self, connection: &'a VpnConnection) -> Answer {
        let gateway = match connection.near {
            VpnEnd::Virtual(gateway) => gateway,
            VpnEnd::Transit(_) => return self.premises_to_transit(connection),
        };
        let found = self.state.vpn_gateways.values().find(|x| x.id == gateway);
        let Some(vpc) = found.and_then(|x| x.vpc) else {
            return Err((DropReason::NoNetworkBehind, gateway.into()));
        };
        let (packet, subnet) = (self.packet, SubnetId::from_number(0));
        let sender = Sender { vpc, subnet, packet, nat: None, on_premises: Some(connection), transit: None };
        let way = self.enter_vpc(sender, vpc, gateway.into(), Vec::new())?;
        Ok(Way { mtu: 1446, ..way })
    }

    fn go_to_premises(&self, sender: Sender<'a>, gateway: VpnGatewayId, hops: Vec<Ipv4Addr>) -> Answer {
        let from = sender.packet.from;
        if sender.nat.is_none() && !self.has_block(sender.vpc, from) {
            return Err((DropReason::NotTransitive, gateway.into()));
        }
        let Some(connection) = self.connection_to(gateway, sender.packet.to) else {
            return Err((DropReason::NoNetworkBehind, gateway.into()));
        };
        if !connection.link.up {
            return Err((DropReason::TargetDown, connection.id.into()));
        }
        if let Some(back) = back(sender.packet) {
            self.return_acl(sender.subnet, false, back)?;
            let somebody =
                sender.nat.is_some() || self.own_has(from) || self.holder(sender.vpc, from).is_some();
            if !somebody {
                return Err((DropReason::ReturnRoute, sender.vpc.into()));
            }
        }
        let source = match sender.nat {
            None => SourceRewrite::Keep,
            Some(nat) => self.translated(nat, nat.private_address),
        };
        let deliver = Deliver::Interface(connection.link.port);
        Ok(Way { source, destination: None, deliver, hops, mtu: 1446, balanced: None })
    }

    /// The answer goes back by the gateway and the connection that the question came by.
    fn back_to_premises(
        &self,
        connection: &VpnConnection,
        subnet: SubnetId,
        to: Ipv4Addr,
    ) -> Result<(), (DropReason, ResourceId)> {
        let table = self.table_of(subnet);
        let gateway = match connection.near {
            VpnEnd::Virtual(gateway) => gateway,
            VpnEnd::Transit(_) => return self.back_over_transit(connection, subnet, to),
        };
        let by_gateway = self.best(table, to).and_then(|(route, _)| route);
        let leads = by_gateway == Some(RouteTarget::VpnGateway(gateway));
        let same = self.connection_to(gateway, to).is_some_and(|x| x.id == connection.id);
        if leads && same { Ok(()) } else { Err((DropReason::ReturnRoute, table.id.into())) }
    }

    /// The resolver, instance metadata and their like ("Amazon DNS server", "Instance metadata"): neither groups nor
    /// ACLs filter them.
    fn link(&self, own: &NetworkInterface, vpc: &Vpc) -> Option<Answer> {
        let to = self.packet.to;
        let base = vpc.blocks.first().map(|block| u32::from(block.cidr.network()));
        let resolver = Ipv4Addr::from(base.unwrap_or(0) + 2);
        let link_local = to.octets()[0..2] == [169, 254];
        if to != resolver && !link_local {
            return None;
        }
        let port = match self.packet.kind {
            Kind::Tcp { to: Port::Is(port), .. } => Some(("tcp", port)),
            Kind::Udp { to: Port::Is(port), .. } => Some(("udp", port)),
            Kind::Tcp { .. } | Kind::Udp { .. } | Kind::Icmp(..) | Kind::Other(_) => None,
        };
        let at_resolver = to == resolver || to == Ipv4Addr::new(169, 254, 169, 253);
        let in_instance = own.attachment.is_some_and(|attachment| attachment.instance.is_some());
        Some(match port {
            Some((_, 53)) if at_resolver && !vpc.dns_support => Err((DropReason::ResolverOff, vpc.id.into())),
            Some((_, 53)) if at_resolver => Ok(self.at_link(own, Door::Resolver)),
            Some(("tcp", 80)) if to == Ipv4Addr::new(169, 254, 169, 254) && in_instance => {
                Ok(self.at_link(own, Door::Metadata))
            }
            Some(_) | None => Err((DropReason::NoSuchLinkService, own.id.into())),
        })
    }

    fn at_link(&self, own: &NetworkInterface, door: Door) -> Way {
        let source = self.identity(own.vpc, self.packet.from, Through::Link, None);
        let destination = Some(door.address().into());
        Way { source, destination, deliver: Deliver::Door(door), hops: Vec::new(), mtu: 9001, balanced: None }
    }

    fn identity(
        &self,
        vpc: VpcId,
        address: Ipv4Addr,
        through: Through,
        gateway: Option<NatGatewayId>,
    ) -> SourceRewrite {
        let of_link = || {
            let link = self.state.vpn_connections.values().find(|x| x.link.port == self.entry);
            link.map(|x| (x.owner, x.link.port, None))
        };
        let of_own = self.own.map(|own| (own.owner, own.id, own.attachment.and_then(|a| a.instance)));
        let (account, interface, instance) = of_own.or_else(of_link).expect("the flow came in somewhere");
        let peer = Peer { account, vpc, interface, instance, address, through };
        SourceRewrite::Identity { peer, gateway }
    }

    /// Who in the VPC has the address.
    pub fn holder(&self, vpc: VpcId, address: Ipv4Addr) -> Option<&'a NetworkInterface> {
        self.state.network_interfaces.values().find(|x| x.vpc == vpc && has(x, address)).map(AsRef::as_ref)
    }

    pub fn runs(&self, interface: &NetworkInterface) -> bool {
        match interface.attachment.map(|attachment| attachment.instance) {
            None => false,
            Some(None) => true,
            Some(Some(id)) => self.state.instances.values().any(|instance| {
                instance.id == id && matches!(instance.state, InstanceState::Pending | InstanceState::Running)
            }),
        }
    }

    fn neighbour(&self, sender: Sender<'a>, hops: Vec<Ipv4Addr>) -> Answer {
        self.neighbour_in(sender.vpc, sender, hops)
    }

    pub fn neighbour_in(&self, vpc: VpcId, sender: Sender<'a>, hops: Vec<Ipv4Addr>) -> Answer {
        let Some(target) = self.holder(vpc, sender.packet.to) else {
            return Err((DropReason::NoSuchAddress, vpc.into()));
        };
        if target.kind == InterfaceKind::NatGateway {
            return Err((DropReason::NoSuchAddress, target.id.into()));
        }
        if !self.runs(target) {
            return Err((DropReason::TargetDown, target.id.into()));
        }
        match target.kind {
            InterfaceKind::VpcEndpoint(id) => self.interface_endpoint(sender, target, id, hops),
            InterfaceKind::ResolverEndpoint(id) => self.resolver_endpoint(sender, target, id, hops),
            InterfaceKind::Interface | InterfaceKind::NatGateway | InterfaceKind::LoadBalancer => {
                self.enter(sender, target, hops)
            }
        }
    }

    /// "Forwarding inbound DNS queries to your VPCs": its interfaces have groups like others, and take DNS on port 53 for
    /// the resolver of their VPC.
    fn resolver_endpoint(
        &self,
        sender: Sender<'a>,
        target: &'a NetworkInterface,
        id: ResolverEndpointId,
        hops: Vec<Ipv4Addr>,
    ) -> Answer {
        self.comes_in(sender, target)?;
        if !self.state.vpcs.values().any(|x| x.id == target.vpc && x.dns_support) {
            return Err((DropReason::ResolverOff, target.vpc.into()));
        }
        if !matches!(
            sender.packet.kind,
            Kind::Tcp { to: Port::Is(53), .. } | Kind::Udp { to: Port::Is(53), .. }
        ) {
            return Err((DropReason::EndpointProtocol, id.into()));
        }
        self.goes_back(sender, target)?;
        if !self.is_answered(sender, target) {
            return Err((DropReason::ReturnRoute, id.into()));
        }
        let gateway = sender.nat.map(|nat| nat.id);
        let source =
            self.identity(sender.vpc, sender.packet.from, Through::Resolver(id, target.vpc), gateway);
        let destination = Some(Door::Resolver.address().into());
        let mtu = if sender.nat.is_some() || sender.transit.is_some() { 8500 } else { 9001 };
        Ok(Way { source, destination, deliver: Deliver::Door(Door::Resolver), hops, mtu, balanced: None })
    }

    /// Whether what is answered there comes back to who sent it: the holder of the address, or an appliance that routes
    /// lead answers through.
    fn is_answered(&self, sender: Sender<'a>, target: &'a NetworkInterface) -> bool {
        let from = sender.packet.from;
        let by_route = || {
            let route = self.best(self.table_of(target.subnet), from).and_then(|(route, _)| route);
            let here = route.is_some_and(|x| x == RouteTarget::NetworkInterface(self.entry));
            here && !self.subnet(target.subnet).cidr.contains(&from)
        };
        sender.nat.is_some() || sender.on_premises.is_some() || self.own_has(from) || by_route()
    }

    /// Into an interface of the same VPC.
    fn enter(&self, sender: Sender<'a>, target: &'a NetworkInterface, hops: Vec<Ipv4Addr>) -> Answer {
        self.comes_in(sender, target)?;
        self.goes_back(sender, target)?;
        let source = match sender.nat {
            None => SourceRewrite::Keep,
            Some(nat) => self.translated(nat, nat.private_address),
        };
        // "NAT gateway basics": 8500 bytes; "Network MTU": 9001 inside a VPC.
        // As with a transit gateway.
        let mtu = if sender.nat.is_some() || sender.transit.is_some() { 8500 } else { 9001 };
        if let Some(listens) = self.listens(target, sender.packet) {
            return self.balance(sender, target, listens, Came { source, hops, mtu, endpoint: None });
        }
        let deliver = Deliver::Interface(target.id);
        Ok(Way { source, destination: None, deliver, hops, mtu, balanced: None })
    }

    /// Whether the subnet and the groups of an interface of the same VPC let the packet in.
    fn comes_in(
        &self,
        sender: Sender<'a>,
        target: &NetworkInterface,
    ) -> Result<(), (DropReason, ResourceId)> {
        let packet = sender.packet;
        // "Network ACLs for transit gateways": from its subnet to others, and not within it.
        let crossing = sender.transit.unwrap_or(sender.subnet) != target.subnet;
        if let (true, Some(exit)) = (crossing, sender.transit) {
            self.acl(exit, true, packet).map_err(|acl| (DropReason::EgressNetworkAcl, acl.into()))?;
        }
        if let (true, Err(acl)) = (crossing, self.acl(target.subnet, false, packet)) {
            return Err((DropReason::IngressNetworkAcl, acl.into()));
        }
        let from = if sender.nat.is_some() { None } else { self.own };
        if !self.groups_allow(target, false, packet, from) {
            return Err((DropReason::IngressSecurityGroup, first_group(target)));
        }
        Ok(())
    }

    /// Whether the answer comes back from there.
    fn goes_back(
        &self,
        sender: Sender<'a>,
        target: &NetworkInterface,
    ) -> Result<(), (DropReason, ResourceId)> {
        let Some(back) = back(sender.packet) else { return Ok(()) };
        if let Some(connection) = sender.on_premises {
            self.return_acl(target.subnet, true, back)?;
            return self.back_to_premises(connection, target.subnet, sender.packet.from);
        }
        if sender.subnet != target.subnet {
            self.return_acl(target.subnet, true, back)?;
            if self.answer_comes_out_at(sender, target.subnet) != Some(sender.subnet) {
                self.return_acl(sender.subnet, false, back)?;
            }
        }
        self.way_back(sender, target.subnet)
    }

    /// "Access an AWS service using an interface VPC endpoint": its interfaces have groups like others, it takes TCP, and
    /// the service sees who is behind it.
    fn interface_endpoint(
        &self,
        sender: Sender<'a>,
        target: &'a NetworkInterface,
        id: VpcEndpointId,
        hops: Vec<Ipv4Addr>,
    ) -> Answer {
        self.comes_in(sender, target)?;
        let endpoint = self.state.vpc_endpoints.values().find(|x| x.id == id);
        let works = |x: &EndpointState| matches!(x, EndpointState::Pending | EndpointState::Available);
        let is_of_aws = |name: &String| self.state.services.contains_key(name);
        let endpoint = endpoint.filter(|x| works(&x.state) && is_of_aws(&x.service_name));
        let Some(endpoint) = endpoint else {
            return Err((DropReason::EndpointNotAvailable, id.into()));
        };
        if !matches!(sender.packet.kind, Kind::Tcp { .. }) {
            return Err((DropReason::EndpointProtocol, id.into()));
        }
        self.goes_back(sender, target)?;
        if !self.is_answered(sender, target) {
            return Err((DropReason::ReturnRoute, id.into()));
        }
        self.to_service(sender, Through::Endpoint(id, endpoint.vpc), hops, 8500)
    }

    pub fn translated(&self, nat: &NatGateway, visible: Ipv4Addr) -> SourceRewrite {
        SourceRewrite::Port {
            gateway: nat.id.into(),
            private_address: nat.private_address.into(),
            visible_address: visible.into(),
        }
    }

    /// The answer from a subnet to the sender finds its way: to somebody who has the address or who passes it on.
    pub fn way_back(&self, sender: Sender<'_>, subnet: SubnetId) -> Result<(), (DropReason, ResourceId)> {
        let to = sender.packet.from;
        let its_own = sender.nat.is_some() || self.own_has(to);
        let somebody = its_own || self.holder(sender.vpc, to).is_some();
        let nobody = Err((DropReason::ReturnRoute, sender.vpc.into()));
        // Networks that a transit gateway joins may have the same addresses.
        let home = self.subnet(subnet).vpc == sender.vpc;
        if self.subnet(subnet).cidr.contains(&to) {
            return if somebody && home { Ok(()) } else { nobody };
        }
        let table = self.table_of(subnet);
        let lost = Err((DropReason::ReturnRoute, table.id.into()));
        match self.best(table, to) {
            None => lost,
            Some((None, _)) => {
                if somebody && home {
                    Ok(())
                } else {
                    nobody
                }
            }
            Some((Some(target), _)) => match target {
                RouteTarget::NetworkInterface(id) => {
                    let found = self.state.network_interfaces.values().find(|x| x.id == id);
                    let passes_on = found.is_some_and(|x| self.runs(x) && !x.source_dest_check);
                    if id == self.entry || passes_on { Ok(()) } else { lost }
                }
                RouteTarget::TransitGateway(id) => self.back_by_transit(sender, subnet, id),
                RouteTarget::VpcPeering(id)
                    if self.other_side(id, self.subnet(subnet).vpc) == Some(sender.vpc) =>
                {
                    if somebody {
                        Ok(())
                    } else {
                        nobody
                    }
                }
                RouteTarget::InternetGateway(_)
                | RouteTarget::NatGateway(_)
                | RouteTarget::VpcPeering(_)
                | RouteTarget::VpnGateway(_)
                | RouteTarget::VpcEndpoint(_) => lost,
            },
        }
    }

    fn nat(&self, sender: Sender<'a>, nat: &'a NatGateway, mut hops: Vec<Ipv4Addr>) -> Answer {
        // "NAT gateway basics": TCP, UDP and ICMP; of the last only questions can be told apart by their answers.
        match sender.packet.kind {
            Kind::Tcp { .. } | Kind::Udp { .. } | Kind::Icmp(8, _) => {}
            Kind::Icmp(..) | Kind::Other(_) => return Err((DropReason::NatProtocol, nat.id.into())),
        }
        if nat.subnet != sender.subnet {
            if let Err(acl) = self.acl(nat.subnet, false, sender.packet) {
                return Err((DropReason::IngressNetworkAcl, acl.into()));
            }
            if let Some(back) = back(sender.packet) {
                self.return_acl(nat.subnet, true, back)?;
                self.return_acl(sender.subnet, false, back)?;
            }
        }
        self.way_back(sender, nat.subnet)?;
        hops.push(nat.private_address);
        let kind = match sender.packet.kind {
            Kind::Tcp { from: _, to } => Kind::Tcp { from: Port::OfNat, to },
            Kind::Udp { from: _, to } => Kind::Udp { from: Port::OfNat, to },
            other => other,
        };
        let packet = Packet { from: nat.private_address, to: sender.packet.to, kind };
        self.leave(
            Sender {
                vpc: sender.vpc,
                subnet: nat.subnet,
                packet,
                nat: Some(nat),
                on_premises: None,
                transit: None,
            },
            hops,
        )
    }

    /// To a service's own address: "Gateway endpoints" or over the internet.
    fn to_service(&self, sender: Sender<'a>, through: Through, hops: Vec<Ipv4Addr>, mtu: u16) -> Answer {
        let source = self.identity(sender.vpc, sender.packet.from, through, sender.nat.map(|nat| nat.id));
        let destination = Some(Door::FrontDoor.address().into());
        Ok(Way { source, destination, deliver: Deliver::Door(Door::FrontDoor), hops, mtu, balanced: None })
    }

    fn endpoint(&self, sender: Sender<'a>, through: Through, id: ResourceId, hops: Vec<Ipv4Addr>) -> Answer {
        if let Some(back) = back(sender.packet) {
            self.return_acl(sender.subnet, false, back)?;
        }
        // The answer goes to the holder of the address, so nobody else gets one.
        let its_own = sender.nat.is_some() || self.own_has(sender.packet.from);
        if !its_own {
            return Err((DropReason::ReturnRoute, id));
        }
        self.to_service(sender, through, hops, 8500)
    }

    /// Out of the region, where there is a way. Nobody on the internet has a private or reserved address (RFC 6890).
    fn out(&self, sender: Sender<'a>, public: Ipv4Addr, gateway: ResourceId, hops: Vec<Ipv4Addr>) -> Answer {
        let Some(uplink) = self.uplink else { return Err((DropReason::NoUplink, gateway)) };
        let to = sender.packet.to;
        let [a, b, c, _] = to.octets();
        let nobodys = to.is_private()
            || to.is_loopback()
            || to.is_link_local()
            || matches!(a, 0 | 224..=255)
            || (a == 100 && (64..128).contains(&b))
            || (a == 198 && (b == 18 || b == 19))
            || (a, b, c) == (192, 0, 0);
        if nobodys {
            return Err((DropReason::NotCarried, gateway));
        }
        match sender.packet.kind {
            Kind::Tcp { .. } | Kind::Udp { .. } => {}
            Kind::Icmp(8, 0) if uplink.echo => {}
            Kind::Icmp(..) | Kind::Other(_) => return Err((DropReason::UplinkProtocol, gateway)),
        }
        let through = Through::Internet(public);
        let source = self.identity(sender.vpc, sender.packet.from, through, sender.nat.map(|nat| nat.id));
        let destination = Some(Door::Uplink.address().into());
        let deliver = Deliver::Door(Door::Uplink);
        Ok(Way { source, destination, deliver, hops, mtu: 1500, balanced: None })
    }

    /// "Internet gateways": one to one between a private address and the public one that stands for it.
    fn internet(&self, sender: Sender<'a>, gateway: ResourceId, hops: Vec<Ipv4Addr>) -> Answer {
        let public = match sender.nat {
            Some(nat) => nat.public_address,
            None => self.own.and_then(|own| self.public_of(own, sender.packet.from)),
        };
        let Some(public) = public else { return Err((DropReason::NoPublicAddress, gateway)) };
        if let Some(back) = back(sender.packet) {
            self.return_acl(sender.subnet, false, back)?;
        }
        let to = sender.packet.to;
        let mut services = self.state.services.values();
        if services.any(|service| service.public_blocks.iter().any(|block| block.contains(&to))) {
            return self.to_service(sender, Through::Internet(public), hops, 1500);
        }
        let holder = self.state.network_interfaces.values().find_map(|x| {
            let private = x.private_addresses.iter().find(|p| self.public_of(x, p.address) == Some(to))?;
            Some((x, private.address))
        });
        let pool = to.octets()[0..2] == PUBLIC_POOL_BASE.octets()[0..2];
        let Some((target, private)) = holder.filter(|_| pool) else {
            return self.out(sender, public, gateway, hops);
        };
        if target.kind == InterfaceKind::NatGateway {
            return Err((DropReason::NoSuchAddress, target.id.into()));
        }
        if !self.runs(target) {
            return Err((DropReason::TargetDown, target.id.into()));
        }
        let source = match sender.nat {
            Some(nat) => self.translated(nat, public),
            None => SourceRewrite::Address(public.into()),
        };
        let packet = Packet { from: public, to: private, ..sender.packet };
        if let Err(acl) = self.acl(target.subnet, false, packet) {
            return Err((DropReason::IngressNetworkAcl, acl.into()));
        }
        if !self.groups_allow(target, false, packet, None) {
            return Err((DropReason::IngressSecurityGroup, first_group(target)));
        }
        if let Some(back) = back(packet) {
            self.return_acl(target.subnet, true, back)?;
            let table = self.table_of(target.subnet);
            let by_gateway = self.best(table, public).is_some_and(|(route, _)| {
                route.is_some_and(|to| match to {
                    RouteTarget::InternetGateway(id) => {
                        let mut gateways = self.state.internet_gateways.values();
                        gateways.any(|x| x.id == id && x.vpc == Some(target.vpc))
                    }
                    RouteTarget::NatGateway(_)
                    | RouteTarget::NetworkInterface(_)
                    | RouteTarget::VpcPeering(_)
                    | RouteTarget::VpnGateway(_)
                    | RouteTarget::TransitGateway(_)
                    | RouteTarget::VpcEndpoint(_) => false,
                })
            });
            if !by_gateway {
                return Err((DropReason::ReturnRoute, table.id.into()));
            }
        }
        if let Some(listens) = self.listens(target, packet) {
            let came = Came { source, hops, mtu: 1500, endpoint: None };
            return self.balance(Sender { packet, ..sender }, target, listens, came);
        }
        let (deliver, destination) = (Deliver::Interface(target.id), Some(private.into()));
        Ok(Way { source, destination, deliver, hops, mtu: 1500, balanced: None })
    }

    fn public_of(&self, interface: &NetworkInterface, private: Ipv4Addr) -> Option<Ipv4Addr> {
        let first = interface.private_addresses.first().map(|p| p.address);
        let automatic = interface.automatic_public_address.filter(|_| first == Some(private));
        let elastic = || {
            let mut all = self.state.addresses.values();
            let stands = all.find(|address| {
                address
                    .association
                    .is_some_and(|a| a.interface == interface.id && a.private_address == private)
            });
            stands.map(|address| address.public_address)
        };
        automatic.or_else(elastic)
    }

    // ---- rules

    pub fn groups_allow(
        &self,
        interface: &NetworkInterface,
        egress: bool,
        packet: Packet,
        sender: Option<&NetworkInterface>,
    ) -> bool {
        let far = if egress { packet.to } else { packet.from };
        let is_member = |group: SecurityGroupId| {
            // "Security group referencing": the private addresses of the interfaces that have the group. "Middlebox
            // routing": what a middlebox passes on does not count as its or the first sender's group's.
            let holder = if egress {
                self.holder(interface.vpc, far)
            } else {
                sender.filter(|sender| sender.vpc == interface.vpc && has(sender, far))
            };
            holder.is_some_and(|holder| holder.groups.contains(&group))
        };
        // "If you don't associate a security group with your Network Load Balancer", nothing filters it.
        if interface.kind == InterfaceKind::LoadBalancer && interface.groups.is_empty() {
            return true;
        }
        let groups = interface.groups.iter().filter_map(|id| self.state.security_groups.get(id));
        let mut rules = groups.flat_map(|group| group.rules.values()).map(|rule| rule.permission);
        rules.any(|rule| {
            let peer =
                match rule.peer {
                    RulePeer::Cidr(IpNet::V4(block)) => block.contains(&far),
                    RulePeer::Cidr(IpNet::V6(_)) => false,
                    RulePeer::Group(group) => is_member(group),
                    RulePeer::PrefixList(list) => self.state.prefix_lists.get(&list).is_some_and(|list| {
                        list.entries.keys().any(|block| block.contains(&IpAddr::V4(far)))
                    }),
                };
            rule.egress == egress && peer && matches_traffic(rule.traffic, packet.kind, 0)
        })
    }

    /// Whether a target's groups let in what a load balancer hands it.
    pub fn groups_allow_of(
        &self,
        target: &NetworkInterface,
        packet: Packet,
        balancer: &NetworkInterface,
    ) -> bool {
        let groups = target.groups.iter().filter_map(|id| self.state.security_groups.get(id));
        let mut rules = groups.flat_map(|group| group.rules.values()).map(|rule| rule.permission);
        rules.any(|rule| {
            let peer = match rule.peer {
                RulePeer::Cidr(block) => block.contains(&IpAddr::V4(packet.from)),
                RulePeer::Group(group) => balancer.groups.contains(&group),
                RulePeer::PrefixList(list) => self.state.prefix_lists.get(&list).is_some_and(|list| {
                    list.entries.keys().any(|block| block.contains(&IpAddr::V4(packet.from)))
                }),
            };
            !rule.egress && peer && matches_traffic(rule.traffic, packet.kind, 0)
        })
    }

    pub fn return_acl(
        &self,
        subnet: SubnetId,
        egress: bool,
        packet: Packet,
    ) -> Result<(), (DropReason, ResourceId)> {
        self.acl(subnet, egress, packet).map_err(|acl| (DropReason::ReturnNetworkAcl, acl.into()))
    }

    /// "Network ACLs": the lowest number that matches decides, and what none matches is denied.
    pub fn acl(&self, subnet: SubnetId, egress: bool, packet: Packet) -> Result<(), NetworkAclId> {
        let id = self.subnet(subnet).network_acl;
        let acl = &self.state.network_acls[&id];
        let mut entries: Vec<&AclEntry> = acl.entries(egress).values().collect();
        entries.sort_by_key(|entry| entry.number);
        let far = if egress { packet.to } else { packet.from };
        let allows = |port: u16| {
            let first = entries.iter().find(|entry| {
                entry.cidr.contains(&IpAddr::V4(far)) && matches_traffic(entry.traffic, packet.kind, port)
            });
            first.is_some_and(|entry| entry.allow)
        };
        // Any of a NAT gateway's ports may be the one: the ends of ranges tell for all of them.
        let edges = entries.iter().flat_map(|entry| match entry.traffic {
            Traffic::Tcp(low, high) | Traffic::Udp(low, high) => {
                [low.saturating_sub(1), low, high, high.saturating_add(1)]
            }
            Traffic::All | Traffic::Icmp(..) | Traffic::Protocol(_) => [1024; 4],
        });
        let mut ports = edges.chain([1024, u16::MAX]).filter(|port| *port >= 1024);
        if ports.all(allows) { Ok(()) } else { Err(id) }
    }

    // ---- routes

    /// "Route priority": the longest prefix; of equal ones the local route, then static ones, then prefix lists. An
    /// inner none is the local route.
    pub fn best(&self, table: &'a RouteTable, to: Ipv4Addr) -> Option<(Option<RouteTarget>, u8)> {
        let mut all: Vec<(u8, u8, Option<RouteTarget>)> = Vec::new();
        let contains = |block: &IpNet| block.contains(&IpAddr::V4(to));
        for block in &self.vpc(table.vpc).blocks {
            if block.cidr.contains(&to) {
                all.push((block.cidr.prefix_len(), 3, None));
            }
        }
        for route in table.routes.values() {
            match route.destination {
                RouteDestination::Cidr(block) if contains(&block) => {
                    all.push((block.prefix_len(), 2, Some(route.target)));
                }
                RouteDestination::Cidr(_) => {}
                RouteDestination::PrefixList(list) => {
                    let entries = self.state.prefix_lists.get(&list).map(|list| &list.entries);
                    let matching = entries.iter().flat_map(|e| e.keys()).filter(|block| contains(block));
                    all.extend(matching.map(|block| (block.prefix_len(), 1, Some(route.target))));
                }
            }
        }
        // "The local route is preferred even if the propagated routes are more specific."
        let local = |block: &Ipv4Net| self.vpc(table.vpc).blocks.iter().any(|own| own.cidr.contains(block));
        for connection in self.state.vpn_connections.values() {
            let VpnEnd::Virtual(gateway) = connection.near else { continue };
            let found = self.state.vpn_gateways.values().find(|x| x.id == gateway);
            let attached = found.is_some_and(|x| x.vpc == Some(table.vpc));
            if !attached || !table.propagating.contains(&gateway) {
                continue;
            }
            let matching = connection.routes.iter().filter(|block| block.contains(&to) && !local(block));
            all.extend(matching.map(|block| (block.prefix_len(), 0, Some(RouteTarget::VpnGateway(gateway)))));
        }
        // Of several prefix lists AWS takes one and stays with it; here that is the first by id.
        let best = all.iter().map(|(length, rank, _)| (*length, *rank)).max()?;
        let first = all.iter().find(|(length, rank, _)| (*length, *rank) == best)?;
        Some((first.2, first.0))
    }

    pub fn table_of(&self, subnet: SubnetId) -> &'a RouteTable {
        let subnet = self.subnet(subnet);
        let chosen = subnet.route_table.map(|(_, table)| table);
        let id = chosen.unwrap_or(self.vpc(subnet.vpc).main_route_table);
        &self.state.route_tables[&id]
    }

    pub fn subnet(&self, id: SubnetId) -> &'a Subnet {
        &self.state.subnets[&id]
    }

    fn vpc(&self, id: VpcId) -> &'a Vpc {
        &self.state.vpcs[&id]
    }
}

pub fn first_group(interface: &NetworkInterface) -> ResourceId {
    interface.groups.first().map_or(interface.id.into(), |group| (*group).into())
}

/// The answer to a packet; ICMP messages that are not questions have none.
pub fn back(packet: Packet) -> Option<Packet> {
    let kind = match packet.kind {
        Kind::Tcp { from, to } => Kind::Tcp { from: to, to: from },
        Kind::Udp { from, to } => Kind::Udp { from: to, to: from },
        Kind::Icmp(8, code) => Kind::Icmp(0, code),
        Kind::Icmp(13, code) => Kind::Icmp(14, code),
        Kind::Icmp(..) => return None,
        Kind::Other(protocol) => Kind::Other(protocol),
    };
    Some(Packet { from: packet.to, to: packet.from, kind })
}

/// Whether rules about `traffic` are about packets of this kind. `port` is what a NAT gateway's port is taken to be.
fn matches_traffic(traffic: Traffic, kind: Kind, port: u16) -> bool {
    let number = |to: Port| match to {
        Port::Is(port) => port,
        Port::OfNat => port,
    };
    match (traffic, kind) {
        (Traffic::All, _) => true,
        (Traffic::Tcp(low, high), Kind::Tcp { to, .. }) | (Traffic::Udp(low, high), Kind::Udp { to, .. }) => {
            (low..=high).contains(&number(to))
        }
        (Traffic::Icmp(kind, code), Kind::Icmp(k, c)) => {
            kind.is_none_or(|kind| kind == k) && code.is_none_or(|code| code == c)
        }
        (Traffic::Protocol(wanted), kind) => wanted == protocol(kind),
        (Traffic::Tcp(..) | Traffic::Udp(..) | Traffic::Icmp(..), _) => false,
    }
}

fn protocol(kind: Kind) -> u8 {
    match kind {
        Kind::Tcp { .. } => 6,
        Kind::Udp { .. } => 17,
        Kind::Icmp(..) => 1,
        Kind::Other(protocol) => protocol,
    }
}

#[test]
fn a_packets_answer_is_its_mirror() {
    let block: Ipv4Net = "10.0.0.0/8".parse().unwrap();
    let kind = Kind::Tcp { from: Port::Is(40_000), to: Port::Is(443) };
    let packet = Packet { from: Ipv4Addr::new(10, 0, 0, 1), to: Ipv4Addr::new(11, 0, 0, 1), kind };
    let answer = back(packet).unwrap();
    assert!(block.contains(&answer.to) && !block.contains(&answer.from));
    assert!(matches_traffic(Traffic::Tcp(40_000, 40_000), answer.kind, 0));
}
