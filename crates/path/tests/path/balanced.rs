//! The oracle's opinion about load balancers, straight from the "Network Load Balancers" guide: pages "Target groups"
//! (client IP preservation, cross-zone, fail open), "Security groups", "Listeners".

use std::net::Ipv4Addr;

use postern_model::elb::{
    CrossZone, GroupProtocol, Listener, ListenerProtocol, LoadBalancer, Target, TargetGroup, TargetId,
    TargetKey, TargetType, TargetZone,
};
use postern_model::instance::InstanceState;
use postern_model::interface::{InterfaceKind, NetworkInterface};
use postern_model::route::RouteTarget;
use postern_model::{LoadBalancerId, ResourceId, VpcEndpointId};
use postern_path::{Balanced, Deliver, DropReason, SourceRewrite};

use crate::oracle::{Answer, Kind, Oracle, Packet, Port, Sender, Way, back, first_group};

/// What hands a flow to its target.
#[derive(Clone, Copy)]
struct Hand<'a> {
    own: &'a NetworkInterface,
    balancer: LoadBalancerId,
    preserves: bool,
}

/// How a flow came to the load balancer.
pub struct Came {
    /// What became of its source so far.
    pub source: SourceRewrite,
    pub hops: Vec<Ipv4Addr>,
    pub mtu: u16,
    pub endpoint: Option<VpcEndpointId>,
}

impl<'a> Oracle<'a> {
    /// The load balancer, if it hands on what comes to this interface, and the listener that does.
    pub fn listens(
        &self,
        interface: &NetworkInterface,
        packet: Packet,
    ) -> Option<(&'a LoadBalancer, &'a TargetGroup, &'a str)> {
        if interface.kind != InterfaceKind::LoadBalancer {
            return None;
        }
        let mut balancers = self.state.load_balancers.values();
        let (balancer, zone) = balancers.find_map(|balancer| {
            let zone = balancer.zones.iter().find(|zone| zone.interface == interface.id)?;
            Some((balancer, zone))
        })?;
        let takes = |listener: &Listener| match packet.kind {
            Kind::Tcp { to: Port::Is(port), .. } => {
                listener.port == port && listener.protocol != ListenerProtocol::Udp
            }
            Kind::Udp { to: Port::Is(port), .. } => {
                listener.port == port && listener.protocol != ListenerProtocol::Tcp
            }
            Kind::Tcp { .. } | Kind::Udp { .. } | Kind::Icmp(..) | Kind::Other(_) => false,
        };
        let listener = self.state.listeners.values().find(|x| x.load_balancer == balancer.id && takes(x))?;
        let group = self.state.target_groups.get(&listener.group)?;
        // A PROXY protocol header is nothing that packets alone can be given.
        let plain = !group.attributes.proxy_protocol_v2 && group.protocol != GroupProtocol::Tls;
        plain.then_some((balancer, group, &zone.zone))
    }

    fn where_is(&self, group: &TargetGroup, key: TargetKey) -> Option<Ipv4Addr> {
        match key.id {
            TargetId::Address(address) => Some(address),
            TargetId::Instance(id) => {
                let instance =
                    self.state.instances.values().find(|x| x.id == id && x.owner == group.owner)?;
                let interfaces = self.state.network_interfaces.values();
                let mut own = interfaces
                    .filter(|x| x.attachment.is_some_and(|a| a.instance == Some(id) && a.device_index == 0));
                let running = instance.state == InstanceState::Running;
                own.next().filter(|_| running).map(|x| x.private_addresses[0].address)
            }
        }
    }

    /// "The load balancer node distributes traffic across the registered targets in its Availability Zone only", or all
    /// enabled zones with cross-zone; "if there are no healthy targets, … to all".
    fn target(
        &self,
        balancer: &LoadBalancer,
        group: &TargetGroup,
        zone: &str,
        client: Packet,
    ) -> Option<(Ipv4Addr, u16)> {
        let crosses = match group.attributes.cross_zone {
            CrossZone::On => true,
            CrossZone::Off => false,
            CrossZone::AsLoadBalancer => balancer.attributes.cross_zone,
        };
        let usable = |target: &Target| {
            let near = match &target.zone {
                TargetZone::All => true,
                TargetZone::Zone(own) => {
                    own == zone || (crosses && balancer.zones.iter().any(|other| other.zone == *own))
                }
            };
            near && target.deregistered_at.is_none()
        };
        let all: Vec<_> = group
            .targets
            .iter()
            .filter(|(_, target)| usable(target))
            .filter_map(|(key, _)| Some((*key, self.where_is(group, *key)?)))
            .collect();
        let healthy = |(key, _): &&(TargetKey, Ipv4Addr)| self.health.get(&(group.id, *key)) == Some(&true);
        let some_healthy = all.iter().any(|one| healthy(&one));
        let open = all.iter().filter(|one| !some_healthy || healthy(one));
        let bucket = bucket(client, group.attributes.stickiness);
        open.max_by_key(|(key, _)| rank(bucket, *key)).map(|(key, at)| (*at, key.port))
    }

    pub fn balance(
        &self,
        sender: Sender<'a>,
        own: &'a NetworkInterface,
        (balancer, group, zone): (&'a LoadBalancer, &'a TargetGroup, &'a str),
        came: Came,
    ) -> Answer {
        let id: ResourceId = balancer.id.into();
        let client = Packet { from: self.packet.from, to: self.packet.to, kind: self.packet.kind };
        let Some((at, port)) = self.target(balancer, group, zone, client) else {
            return Err((DropReason::NoTarget, id));
        };
        let usual = match (group.target_type, group.protocol) {
            (TargetType::Instance, _) | (TargetType::Ip, GroupProtocol::Udp | GroupProtocol::TcpUdp) => true,
            (TargetType::Ip, GroupProtocol::Tcp | GroupProtocol::Tls) => false,
        };
        // "Client IP preservation has no effect on traffic from AWS PrivateLink."
        let preserves = group.attributes.preserve_client_ip.unwrap_or(usual) && came.endpoint.is_none();
        let address = own.private_addresses[0].address;
        let source_port = |from| if preserves { from } else { Port::OfNat };
        let kind = match sender.packet.kind {
            Kind::Tcp { from, .. } => Kind::Tcp { from: source_port(from), to: Port::Is(port) },
            Kind::Udp { from, .. } => Kind::Udp { from: source_port(from), to: Port::Is(port) },
            other => other,
        };
        let from = if preserves { sender.packet.from } else { address };
        let packet = Packet { from, to: at, kind };
        let source = if preserves {
            came.source
        } else {
            let counted = match (sender.nat, came.endpoint) {
                (Some(nat), _) => nat.id.into(),
                (None, Some(endpoint)) => endpoint.into(),
                (None, None) => id,
            };
            let (private_address, visible_address) = (address.into(), address.into());
            SourceRewrite::Port { gateway: counted, private_address, visible_address }
        };
        if !self.groups_allow(own, true, packet, None) {
            return Err((DropReason::EgressSecurityGroup, first_group(own)));
        }
        let hand = Hand { own, balancer: balancer.id, preserves };
        let target = self.on_the_way(own, packet)?;
        self.hand_over(hand, target, packet)?;
        let balanced = Some(Balanced { load_balancer: balancer.id, port, preserves });
        let deliver = Deliver::Interface(target.id);
        Ok(Way { source, destination: Some(at.into()), deliver, hops: came.hops, mtu: came.mtu, balanced })
    }

    /// Who gets packets that a load balancer's interface sends: the target, or an appliance that the route leads to.
    fn on_the_way(
        &self,
        own: &NetworkInterface,
        packet: Packet,
    ) -> Result<&'a NetworkInterface, (DropReason, ResourceId)> {
        let at_target = || {
            let found = self.holder(own.vpc, packet.to).ok_or((DropReason::NoSuchAddress, own.vpc.into()))?;
            if found.kind != InterfaceKind::Interface {
                return Err((DropReason::NoSuchAddress, found.id.into()));
            }
            if !self.runs(found) {
                return Err((DropReason::TargetDown, found.id.into()));
            }
            Ok(found)
        };
        if self.subnet(own.subnet).cidr.contains(&packet.to) {
            return at_target();
        }
        self.acl(own.subnet, true, packet).map_err(|acl| (DropReason::EgressNetworkAcl, acl.into()))?;
        let table = self.table_of(own.subnet);
        let Some((route, _)) = self.best(table, packet.to) else {
            return Err((DropReason::NoRoute, table.id.into()));
        };
        let Some(route) = route else { return at_target() };
        let router = match route {
            RouteTarget::NetworkInterface(id) => self.state.network_interfaces.values().find(|x| x.id == id),
            RouteTarget::InternetGateway(_)
            | RouteTarget::NatGateway(_)
            | RouteTarget::VpcPeering(_)
            | RouteTarget::VpnGateway(_)
            | RouteTarget::TransitGateway(_)
            | RouteTarget::VpcEndpoint(_) => None,
        };
        match router.filter(|x| self.runs(x)) {
            None => Err((DropReason::Blackhole, table.id.into())),
            Some(router) if router.source_dest_check => Err((DropReason::DestinationCheck, router.id.into())),
            Some(router) => Ok(router),
        }
    }

    fn hand_over(
        &self,
        hand: Hand<'a>,
        target: &'a NetworkInterface,
        packet: Packet,
    ) -> Result<(), (DropReason, ResourceId)> {
        // "NAT loopback, also known as hairpinning, is not supported when client IP preservation is enabled."
        if hand.preserves && target.id == self.entry {
            return Err((DropReason::Hairpin, hand.balancer.into()));
        }
        let crossing = hand.own.subnet != target.subnet;
        if crossing {
            self.acl(target.subnet, false, packet)
                .map_err(|acl| (DropReason::IngressNetworkAcl, acl.into()))?;
        }
        // Groups of targets name the load balancer's groups, whosever address they see.
        if !self.groups_allow_of(target, packet, hand.own) {
            return Err((DropReason::IngressSecurityGroup, first_group(target)));
        }
        let Some(answer) = back(packet) else { return Ok(()) };
        if crossing {
            self.return_acl(target.subnet, true, answer)?;
            self.return_acl(hand.own.subnet, false, answer)?;
        }
        if hand.preserves {
            return Ok(());
        }
        // The load balancer's own address is in the VPC: answers to it need a way.
        let to = packet.from;
        if self.subnet(target.subnet).cidr.contains(&to) {
            return Ok(());
        }
        let table = self.table_of(target.subnet);
        let lost = Err((DropReason::ReturnRoute, table.id.into()));
        match self.best(table, to) {
            Some((None, _)) => Ok(()),
            Some((Some(route), _)) => match route {
                RouteTarget::NetworkInterface(id) => {
                    let found = self.state.network_interfaces.values().find(|x| x.id == id);
                    let passes_on = found.is_some_and(|x| self.runs(x) && !x.source_dest_check);
                    if id == self.entry || passes_on { Ok(()) } else { lost }
                }
                RouteTarget::InternetGateway(_)
                | RouteTarget::NatGateway(_)
                | RouteTarget::VpcPeering(_)
                | RouteTarget::VpnGateway(_)
                | RouteTarget::TransitGateway(_)
                | RouteTarget::VpcEndpoint(_) => lost,
            },
            None => lost,
        }
    }
}

// ---- which target, as decision 12 writes it down

fn splitmix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn bucket(client: Packet, sticky: bool) -> u64 {
    let (protocol, from, to) = match client.kind {
        Kind::Tcp { from: Port::Is(from), to: Port::Is(to) } => (6_u64, from, to),
        Kind::Udp { from: Port::Is(from), to: Port::Is(to) } => (17, from, to),
        other => panic!("{other:?} is not balanced"),
    };
    let from = if sticky { 0 } else { from };
    let sum = protocol
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(u64::from(u32::from(client.from)).wrapping_mul(0xbf58_476d_1ce4_e5b9))
        .wrapping_add(u64::from(u32::from(client.to)).wrapping_mul(0x94d0_49bb_1331_11eb))
        .wrapping_add((u64::from(from) * 65_536 + u64::from(to)).wrapping_mul(0xd6e8_feb8_6659_fd93));
    (sum ^ (sum >> 32)).wrapping_mul(0xa076_1d64_78bd_642f) / (1 << 54)
}

fn rank(bucket: u64, key: TargetKey) -> u64 {
    let (kind, number) = match key.id {
        TargetId::Instance(id) => (1_u64, id.number()),
        TargetId::Address(address) => (2, u64::from(u32::from(address))),
    };
    let identity = splitmix(splitmix(number).wrapping_add(kind * 65_536 + u64::from(key.port)));
    splitmix(identity.wrapping_add(bucket.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}
