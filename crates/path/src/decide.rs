//! The decision: one walk through the stages, in their order, for one flow.
//!
//! INVARIANT: every predicate that the walk consults narrows the cover to where it answers the same, and every
//! resource that it reads (absences included) is among the consulted stamps. What is missing is a refusal.

mod back;
mod balance;
mod endpoint;
mod internet;
mod remote;
mod route;
mod rules;
mod transit;

use std::net::Ipv4Addr;

use postern_model::{Ipv4Net, ResourceId, SubnetId, TransitGatewayAttachmentId, VpcId, VpnGatewayId};

use crate::balance::Choice;
use crate::cover::{Cover, End, v4};
use crate::decision::*;
use crate::flow::{Flow, Transport};
use crate::plan::slots::SlotKey;
use crate::plan::{InterfacePlan, NatPlan, Plan, VpnGatewayPlan};
use crate::stage::{DropReason, Stage};

use balance::Balancing;
use rules::Direction;

/// The largest packet inside a VPC ("Network maximum transmission unit (MTU)").
pub const VPC_MTU: u16 = 9001;
/// The largest packet over an internet gateway.
pub const INTERNET_MTU: u16 = 1500;
/// The largest packet over a VPN ("Customer gateway device best practices"): one that is larger is not told of.
pub const VPN_MTU: u16 = 1446;
/// The largest packet through a transit gateway between VPCs ("Maximum transmission unit (MTU)"). A sender of larger ones is
/// told ("Path MTU Discovery").
pub const TRANSIT_MTU: u16 = 8500;
/// The largest packet through a VPC endpoint.
pub const ENDPOINT_MTU: u16 = 8500;
/// The largest packet through a NAT gateway that stays inside the VPC ("NAT gateway basics").
pub const NAT_MTU: u16 = 8500;

/// The resolver's and instance metadata's addresses at every link ("Amazon DNS server", "Instance metadata").
pub const LINK_RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
/// See [`LINK_RESOLVER`].
pub const LINK_METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// A walk that ended in a refusal.
struct Refused(Refusal);

type Walked<T> = Result<T, Refused>;

impl Plan {
    /// Decides about a flow.
    pub fn decide(&self, flow: &Flow) -> Decision {
        self.walk(flow, Before::default())
    }

    /// Decides again about a flow that passed before, after something in `before.cut` has changed. AWS does not ask
    /// security groups again about connections that it tracks ("Security group connection tracking"), so they are asked
    /// only where `before.cut` holds one of them, be it one that the interface no longer has. Nor does a load balancer
    /// choose again: a connection keeps its target for as long as that may have any.
    pub fn decide_again(&self, flow: &Flow, before: Before<'_>) -> Decision {
        self.walk(flow, before)
    }

    fn walk(&self, flow: &Flow, before: Before<'_>) -> Decision {
        let mut walk = Walk {
            plan: self,
            flow,
            tracked: before.cut,
            present: before.present,
            cover: Cover::everything(flow),
            steps: Steps::new(),
            consulted: Stamps::new(),
            cut: Stamps::new(),
            choice: None,
            balancing: None,
        };
        let outcome = match walk.run() {
            Ok(action) => Outcome::Forward(action),
            Err(Refused(refusal)) => Outcome::Refuse(refusal),
        };
        let Walk { steps, cover, consulted, cut, choice, .. } = walk;
        Decision { steps, outcome, cover, consulted, cut, choice }
    }
}

struct Walk<'a> {
    plan: &'a Plan,
    flow: &'a Flow,
    /// For a flow that passed before: what it was cut by.
    tracked: Option<&'a [Stamp]>,
    /// And the target that it has.
    present: Option<Present>,
    cover: Cover,
    steps: Steps,
    consulted: Stamps,
    cut: Stamps,
    choice: Option<Box<Choice>>,
    /// From the load balancer on: the second part of the way.
    balancing: Option<Balancing<'a>>,
}

/// Whose the address and port are that packets are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The flow's own.
    Own,
    /// The address is another, the port the flow's own.
    Address,
    /// Both are others, and the port any of those that are given out.
    Port,
}

/// The sender as the next stage sees it: behind a NAT gateway it is the gateway's interface.
#[derive(Clone, Copy)]
struct Sender<'a> {
    vpc: VpcId,
    subnet: SubnetId,
    address: Ipv4Addr,
    seen: Seen,
    /// The interface whose groups count; none behind a gateway.
    interface: Option<&'a InterfacePlan>,
    /// The way in from a network on premises, whose address this is then; the VPC is the one that it leads to, and the
    /// subnet nobody's.
    remote: Option<Came<'a>>,
    /// The subnet where a transit gateway lets the packets into the VPC that they are for.
    transit: Option<SubnetId>,
    /// The NAT gateway that the packets came through.
    nat: Option<(postern_model::NatGatewayId, &'a NatPlan)>,
}

/// By what packets came from a network on premises.
#[derive(Clone, Copy)]
enum Came<'a> {
    /// A virtual private gateway.
    Virtual(VpnGatewayId, &'a VpnGatewayPlan),
    /// A transit gateway, by the attachment of their VPN.
    Transit(TransitGatewayAttachmentId),
}

/// How packets come to an interface.
struct Arrival {
    hops: Hops,
    /// What became of their source.
    source: SourceRewrite,
    /// What became of their destination, for those that come from the internet.
    destination: Option<Ipv4Addr>,
    mtu: u16,
}

impl<'a> Walk<'a> {
    fn run(&mut self) -> Walked<Action> {
        // ICMP rules name types and codes, so a cover never spans several.
        if let Transport::Icmp { .. } = self.flow.transport {
            let (_, type_and_code) = self.flow.transport.ports();
            self.cover.consult_ports(End::Destination, type_and_code, type_and_code);
        }
        let plan = self.plan;
        let Some(interface) = plan.interface(self.flow.entry) else {
            return self.refuse(DropReason::UnknownPort, self.flow.entry.into());
        };
        self.consult(interface.stamp);
        self.source_check(interface)?;
        let destination = v4(self.flow.destination);
        if let Some(remote) = interface.remote {
            return self.come_from_premises(remote, destination);
        }
        if let Some(door) = self.link_service(interface, destination)? {
            return Ok(self.deliver_at_link(interface, door));
        }
        self.egress_groups(interface)?;
        let sender = Sender {
            vpc: interface.vpc,
            subnet: interface.subnet,
            address: v4(self.flow.source),
            seen: Seen::Own,
            interface: Some(interface),
            remote: None,
            transit: None,
            nat: None,
        };
        self.leave(sender, interface.cidr, destination, Hops::NONE)
    }

    // ---- bookkeeping

    /// A resource whose change voids the decision and cuts flows made from it.
    fn consult(&mut self, stamp: Stamp) {
        self.depend(stamp);
        if !self.cut.contains(&stamp) {
            self.cut.push(stamp);
        }
    }

    /// A resource whose change voids the decision and leaves tracked flows alone.
    fn depend(&mut self, stamp: Stamp) {
        if !self.consulted.contains(&stamp) {
            self.consulted.push(stamp);
        }
    }

    fn depend_on_key(&mut self, key: SlotKey) {
        if let Some(stamp) = self.plan.slot(key) {
            self.depend(stamp);
        }
    }

    fn pass(&mut self, stage: Stage, resource: Option<ResourceId>, rule: Option<Rule>, why: Why) {
        self.steps.push(Step { stage, resource, rule, verdict: Verdict::Pass(why) });
    }

    fn refuse<T>(&mut self, reason: DropReason, resource: ResourceId) -> Walked<T> {
        self.refuse_by(reason, resource, None, Reply::Silence)
    }

    fn refuse_by<T>(
        &mut self,
        reason: DropReason,
        resource: ResourceId,
        rule: Option<Rule>,
        reply: Reply,
    ) -> Walked<T> {
        let stage = reason.stage();
        self.steps.push(Step { stage, resource: Some(resource), rule, verdict: Verdict::Refuse(reason) });
        Err(Refused(Refusal { reason, resource: Some(resource), reply }))
    }

    // ---- stages

    /// Out of the sender's subnet, whose block this is, or to a neighbour in it: traffic within a subnet meets neither
    /// an ACL nor a route ("Network ACLs", "Route tables").
    fn leave(
        &mut self,
        sender: Sender<'a>,
        subnet: Ipv4Net,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        if self.goes_into(subnet) {
            self.pass(Stage::EgressNetworkAcl, None, None, Why::SameSubnet);
            let local = Some(Rule::Local(subnet.into()));
            self.pass(Stage::Route, Some(sender.subnet.into()), local, Why::LongestPrefix);
            return self.deliver_inside(sender, destination, hops);
        }
        self.acl(sender.subnet, Stage::EgressNetworkAcl, Direction::forward(true))?;
        self.route(sender, destination, hops)
    }

    fn source_check(&mut self, interface: &InterfacePlan) -> Walked<()> {
        let id = Some(interface.id.into());
        if !interface.source_dest_check {
            self.pass(Stage::Source, id, None, Why::SourceCheckOff);
            return Ok(());
        }
        for address in &interface.addresses {
            let block = Ipv4Net::from(*address);
            if self.cover.consult_block(End::Source, block.into()) {
                self.pass(Stage::Source, id, None, Why::OwnAddress);
                return Ok(());
            }
        }
        self.refuse(DropReason::SpoofedSource, interface.id.into())
    }

    /// The resolver and instance metadata, which neither groups nor ACLs filter ("Security groups don't filter
    /// traffic to and from …").
    fn link_service(&mut self, interface: &InterfacePlan, destination: Ipv4Addr) -> Walked<Option<Door>> {
        let link = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
        let resolver = Ipv4Net::from(interface.resolver);
        let at_resolver = self.cover.consult_block(End::Destination, resolver.into());
        if !at_resolver && !self.cover.consult_block(End::Destination, link.into()) {
            return Ok(None);
        }
        self.cover.pin(End::Destination);
        let id: ResourceId = interface.id.into();
        let port = match self.flow.transport {
            Transport::Tcp { destination_port, .. } => Some((true, destination_port)),
            Transport::Udp { destination_port, .. } => Some((false, destination_port)),
            Transport::Icmp { .. } | Transport::Other { .. } => None,
        };
        let (_, low) = self.flow.transport.ports();
        self.cover.consult_ports(End::Destination, low, low);
        match port {
            Some((_, 53)) if at_resolver || destination == LINK_RESOLVER => {
                let vpc = self.plan.vpcs.get(&interface.vpc);
                let Some(vpc) = vpc else {
                    return self.refuse(DropReason::ResolverOff, interface.vpc.into());
                };
                self.consult(vpc.stamp);
                if !vpc.dns_support {
                    return self.refuse(DropReason::ResolverOff, interface.vpc.into());
                }
                self.pass(Stage::Link, Some(interface.vpc.into()), None, Why::LinkService);
                Ok(Some(Door::Resolver))
            }
            Some((true, 80)) if destination == LINK_METADATA && interface.instance.is_some() => {
                self.pass(Stage::Link, Some(id), None, Why::LinkService);
                Ok(Some(Door::Metadata))
            }
            Some(_) | None => self.refuse(DropReason::NoSuchLinkService, id),
        }
    }

    fn deliver_at_link(&mut self, interface: &InterfacePlan, door: Door) -> Action {
        // The sender's address is part of who it is.
        self.cover.pin(End::Source);
        let peer = self.peer(interface, v4(self.flow.source), Through::Link);
        let source = SourceRewrite::Identity { peer, gateway: None };
        self.arrive(
            source,
            Some(door.address()),
            Deliver::Door(door),
            Hops::NONE,
            VPC_MTU,
            IdleTimeouts::INTERFACE,
        )
    }

    fn peer(&self, interface: &InterfacePlan, address: Ipv4Addr, through: Through) -> Peer {
        let InterfacePlan { account, vpc, id, instance, .. } = *interface;
        Peer { account, vpc, interface: id, instance, address, through }
    }

    /// What becomes of the source when the packets leave a NAT gateway, or nothing.
    fn nat_source(&self, sender: Sender<'_>, visible: fn(&NatPlan) -> Ipv4Addr) -> SourceRewrite {
        match sender.nat {
            None => SourceRewrite::Keep,
            Some((gateway, nat)) => SourceRewrite::Port {
                gateway: gateway.into(),
                private_address: nat.private.into(),
                visible_address: visible(nat).into(),
            },
        }
    }

    fn through_nat(
        &mut self,
        sender: Sender<'a>,
        id: postern_model::NatGatewayId,
        nat: &'a NatPlan,
        destination: Ipv4Addr,
        mut hops: Hops,
    ) -> Walked<Action> {
        match self.flow.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Icmp { kind: 8, .. } => {}
            Transport::Icmp { .. } | Transport::Other { .. } => {
                return self.refuse(DropReason::NatProtocol, id.into());
            }
        }
        // Into the gateway's subnet and, for the answer, out of it again.
        if nat.subnet != sender.subnet {
            self.acl(nat.subnet, Stage::IngressNetworkAcl, Direction::forward(false))?;
            self.acl(nat.subnet, Stage::ReturnNetworkAcl, Direction::answer(true))?;
            self.acl(sender.subnet, Stage::ReturnNetworkAcl, Direction::answer(false))?;
        }
        self.way_back(sender, sender.vpc, nat.subnet)?;
        hops.push(nat.private);
        self.pass(Stage::NatGateway, Some(id.into()), None, Why::SourceBecomes(nat.private.into()));
        let behind = Sender {
            vpc: sender.vpc,
            subnet: nat.subnet,
            address: nat.private,
            seen: Seen::Port,
            interface: None,
            remote: None,
            transit: None,
            nat: Some((id, nat)),
        };
        let Some(subnet) = self.plan.subnets.get(&nat.subnet) else {
            return self.refuse(DropReason::NoRoute, nat.subnet.into());
        };
        self.consult(subnet.stamp);
        self.leave(behind, subnet.cidr, destination, hops)
    }

    /// The sender as a door sees it.
    fn identity(&mut self, sender: Sender<'_>, through: Through) -> SourceRewrite {
        if sender.nat.is_none() {
            // The sender's address is part of who it is.
            self.cover.pin(End::Source);
        }
        match self.plan.interface(self.flow.entry) {
            Some(entry) => SourceRewrite::Identity {
                // From on premises, it is the VPC that they came into.
                peer: Peer { vpc: sender.vpc, ..self.peer(entry, sender.address, through) },
                gateway: sender.nat.map(|(id, _)| id),
            },
            // The walk began at this interface, so it is there.
            None => SourceRewrite::Keep,
        }
    }

    fn deliver_at_front_door(
        &mut self,
        sender: Sender<'a>,
        source: SourceRewrite,
        hops: Hops,
        mtu: u16,
    ) -> Action {
        if let Some(interface) = sender.interface {
            self.untracked_cuts(interface, true);
        }
        let door = Door::FrontDoor;
        self.pass(Stage::Target, None, None, Why::ServiceAddress);
        self.arrive(source, Some(door.address()), Deliver::Door(door), hops, mtu, IdleTimeouts::GATEWAY)
    }

    /// The answer from outside the VPC enters the sender's subnet.
    fn answer_into(&mut self, sender: Sender<'a>) -> Walked<()> {
        if sender.remote.is_some() {
            return Ok(());
        }
        let direction = seen_as(sender, Direction::answer(false));
        self.acl(sender.subnet, Stage::ReturnNetworkAcl, direction)
    }

    fn deliver_inside(&mut self, sender: Sender<'a>, destination: Ipv4Addr, hops: Hops) -> Walked<Action> {
        self.deliver_in(sender.vpc, sender, destination, hops)
    }

    /// To who has an address of a VPC, the sender's own or one that it reaches.
    fn deliver_in(
        &mut self,
        vpc: VpcId,
        sender: Sender<'a>,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        if self.balancing.is_none() {
            self.cover.pin(End::Destination);
        }
        let plan = self.plan;
        let found = plan.addresses.get(&(vpc, destination)).and_then(|id| plan.interface(*id));
        let Some(target) = found else {
            if let Some(vpc) = plan.vpcs.get(&vpc) {
                self.depend(vpc.members);
            }
            return self.refuse(DropReason::NoSuchAddress, vpc.into());
        };
        self.consult(target.stamp);
        // What is translated once is not translated again, so neither an endpoint nor a load balancer is a target.
        let taken = target.endpoint.is_some() || target.resolver_endpoint.is_some();
        let translates = taken || plan.fronts.contains_key(&target.id);
        if target.nat_gateway || (self.balancing.is_some() && translates) {
            // A NAT gateway takes no connections.
            return self.refuse(DropReason::NoSuchAddress, target.id.into());
        }
        if !target.attached {
            return self.refuse(DropReason::TargetDown, target.id.into());
        }
        self.pass(Stage::Target, Some(target.id.into()), None, Why::InterfaceHas(target.id));
        match (target.endpoint, target.resolver_endpoint) {
            (Some(id), _) => self.through_interface(sender, target, id, hops),
            (None, Some(id)) => self.through_resolver(sender, target, id, hops),
            (None, None) => self.enter(sender, target, self.arrival_inside(sender, hops)),
        }
    }

    /// Packets that came by private addresses alone.
    fn arrival_inside(&self, sender: Sender<'_>, hops: Hops) -> Arrival {
        let source = self.nat_source(sender, |nat| nat.private);
        let mtu = match (sender.nat, sender.remote, sender.transit) {
            (Some(_), _, _) => NAT_MTU,
            (None, Some(_), _) => VPN_MTU,
            (None, None, Some(_)) => TRANSIT_MTU,
            (None, None, None) => VPC_MTU,
        };
        Arrival { hops, source, destination: None, mtu }
    }

    /// Into the receiver's subnet and interface, and the answer out of it and back.
    fn enter(&mut self, sender: Sender<'a>, target: &'a InterfacePlan, arrival: Arrival) -> Walked<Action> {
        if let Some(balancing) = self.balancing {
            return self.reach_target(sender, target, balancing);
        }
        let Arrival { hops, source, destination, mtu } = arrival;
        let inside = destination.is_none();
        self.come_in(sender, target, inside)?;
        self.go_back(sender, target, inside)?;
        let front = self.plan.fronts.get(&target.id);
        if let Some((front, listener)) = front.and_then(|front| Some((front, self.listener(front)?))) {
            return self.balance(sender, target, (front, listener), arrival, None);
        }
        // "Automatically tracked connections": those through a NAT gateway are.
        if sender.nat.is_none() {
            sender.interface.iter().for_each(|interface| self.untracked_cuts(interface, true));
            self.untracked_cuts(target, false);
        }
        let idle = if sender.nat.is_some() { IdleTimeouts::GATEWAY } else { IdleTimeouts::INTERFACE };
        let deliver = Deliver::Interface(target.id);
        let action = self.arrive(source, destination, deliver, hops, mtu, idle);
        Ok(Action { resets: action.resets || front.is_some(), ..action })
    }

    /// Into the receiver's subnet and interface. `inside` is whether the packets came by private addresses alone.
    fn come_in(&mut self, sender: Sender<'a>, target: &'a InterfacePlan, inside: bool) -> Walked<()> {
        // Out of a transit gateway into its own subnet, "inbound rules are not evaluated".
        if inside && sender.transit.unwrap_or(sender.subnet) == target.subnet {
            let why = if sender.transit.is_some() { Why::TransitSubnet } else { Why::SameSubnet };
            self.pass(Stage::IngressNetworkAcl, None, None, why);
        } else {
            if let Some(exit) = sender.transit {
                let direction = seen_as(sender, Direction::forward(true));
                self.acl(exit, Stage::EgressNetworkAcl, direction)?;
            }
            let direction = seen_as(sender, Direction::forward(false));
            self.acl(target.subnet, Stage::IngressNetworkAcl, direction)?;
        }
        self.ingress_groups(sender.interface.filter(|_| inside), sender.address, target)
    }

    /// The answer out of the receiver's subnet, and back to the sender.
    fn go_back(&mut self, sender: Sender<'a>, target: &'a InterfacePlan, inside: bool) -> Walked<()> {
        if !(inside && sender.subnet == target.subnet) {
            let direction = seen_as(sender, Direction::answer(true));
            self.acl(target.subnet, Stage::ReturnNetworkAcl, direction)?;
            if inside && self.answer_lands_at(sender, target.vpc, target.subnet) != Some(sender.subnet) {
                self.answer_into(sender)?;
            }
        }
        if inside {
            self.way_back(sender, target.vpc, target.subnet)
        } else {
            self.way_out(sender.address, target)
        }
    }

    fn arrive(
        &mut self,
        source: SourceRewrite,
        destination: Option<Ipv4Addr>,
        deliver: Deliver,
        hops: Hops,
        mtu: u16,
        idle: IdleTimeouts,
    ) -> Action {
        self.pass(Stage::Delivered, None, None, Why::Arrives(deliver));
        let destination = destination.map(Into::into);
        let resets = match source {
            SourceRewrite::Keep | SourceRewrite::Address(_) => false,
            SourceRewrite::Port { .. } | SourceRewrite::Identity { .. } => true,
        };
        Action { source, destination, deliver, hops, mtu, mtu_reported: true, idle, resets, balanced: None }
    }
}

/// What an ACL is asked about: the sender as it is there.
fn seen_as(sender: Sender<'_>, direction: Direction) -> Direction {
    match sender.seen {
        Seen::Own => direction,
        Seen::Address => direction.sender(sender.address),
        Seen::Port => direction.nat_sender(sender.address),
    }
}
