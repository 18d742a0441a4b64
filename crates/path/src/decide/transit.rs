//! Over transit gateways: into one by the attachment in the sender's zone, by the route table that the attachment is associated
//! with, and out by another attachment into its VPC or to its network on premises.
//!
//! What comes into a VPC so reaches the addresses of the VPC and nothing beyond them, as with peerings
//! ([`super::remote`]); the route table of the attachment's subnet may lead it through an appliance on the way.

use std::net::Ipv4Addr;

use postern_model::{
    ResourceId, SubnetId, TransitGatewayAttachmentId, TransitGatewayId, TransitGatewayRouteTableId, VpcId,
};

use super::route::route_rule;
use super::rules::Direction;
use super::{Came, Seen, Sender, VPN_MTU, Walk, Walked, seen_as};
use crate::cover::{End, v4};
use crate::decision::{Action, Deliver, Hops, IdleTimeouts, Reply, Rule, Why};
use crate::plan::{Target, TransitAttachmentPlan, TransitEnd, TransitRoutePlan};
use crate::stage::{DropReason, Stage};

/// An attachment, with its id.
pub(super) type Door<'a> = (TransitGatewayAttachmentId, &'a TransitAttachmentPlan);

/// What was found in a transit gateway's table.
enum Onward<'a> {
    /// An attachment, by this route.
    To(TransitGatewayRouteTableId, Rule, Door<'a>),
    /// The attachment has no table, or the table no route.
    Nothing(ResourceId),
    /// The route is a black hole.
    Blackhole(TransitGatewayRouteTableId, Rule),
}

impl<'a> Walk<'a> {
    /// Where a transit gateway is joined to a VPC.
    pub(super) fn transit_door(&mut self, id: TransitGatewayId, vpc: VpcId) -> Option<Door<'a>> {
        let gateway = self.plan.transit_gateways.get(&id)?;
        self.consult(gateway.stamp);
        self.transit_attachment(*gateway.vpcs.get(&vpc)?)
    }

    fn transit_attachment(&mut self, id: TransitGatewayAttachmentId) -> Option<Door<'a>> {
        let attachment = self.plan.transit_attachments.get(&id)?;
        self.consult(attachment.stamp);
        Some((id, attachment))
    }

    /// Out of the sender's VPC by a transit gateway: "traffic is forwarded to the transit gateway only when the transit gateway
    /// has an attachment in a subnet in the same Availability Zone".
    pub(super) fn over_transit(
        &mut self,
        sender: Sender<'a>,
        near: Door<'a>,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let zone = self.zone_of(sender.subnet);
        let Some(entrance) = zone.and_then(|zone| near.1.subnet_in(zone)) else {
            return self.refuse(DropReason::NoTransitZone, near.0.into());
        };
        // "Inbound rules use the source IP address to evaluate traffic from the instances to the transit gateway", also where
        // those are in the same subnet.
        self.acl(entrance, Stage::IngressNetworkAcl, seen_as(sender, Direction::forward(false)))?;
        self.across(sender, near, zone, destination, hops)
    }

    /// In from a network on premises whose VPN is attached to a transit gateway.
    pub(super) fn come_by_transit(
        &mut self,
        id: TransitGatewayAttachmentId,
        destination: Ipv4Addr,
    ) -> Walked<Action> {
        let Some(near) = self.transit_attachment(id) else {
            return self.refuse(DropReason::NoNetworkBehind, id.into());
        };
        let sender = Sender {
            vpc: VpcId::from_number(0),
            subnet: SubnetId::from_number(0),
            address: v4(self.flow.source),
            seen: Seen::Own,
            interface: None,
            remote: Some(Came::Transit(id)),
            transit: None,
            nat: None,
        };
        let action = self.across(sender, near, None, destination, Hops::NONE)?;
        Ok(Action { mtu: action.mtu.min(VPN_MTU), mtu_reported: false, ..action })
    }

    /// By the gateway's table to another attachment.
    fn across(
        &mut self,
        sender: Sender<'a>,
        near: Door<'a>,
        zone: Option<&'a str>,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let (table, rule, far) = match self.find_onward(near, End::Destination, destination) {
            Onward::To(table, rule, far) => (table, rule, far),
            Onward::Nothing(by) => return self.refuse(DropReason::NoTransitRoute, by),
            Onward::Blackhole(table, rule) => {
                let (reason, rule) = (DropReason::TransitBlackhole, Some(rule));
                return self.refuse_by(reason, table.into(), rule, Reply::Silence);
            }
        };
        self.pass(Stage::TransitGateway, Some(table.into()), Some(rule), Why::LongestPrefix);
        match &far.1.end {
            TransitEnd::Vpc { vpc, .. } => self.out_into_vpc(sender, far, *vpc, zone, destination, hops),
            TransitEnd::Vpn { port } => {
                let link = self.plan.interface(*port);
                self.out_to_premises(sender, far, link, hops)
            }
        }
    }

    /// Into the VPC of an attachment, by its subnet in the zone that the packets come from, or by its first.
    fn out_into_vpc(
        &mut self,
        sender: Sender<'a>,
        far: Door<'a>,
        vpc: VpcId,
        zone: Option<&'a str>,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let plan = self.plan;
        let found = plan.vpcs.get(&vpc).zip(far.1.exit_for(zone));
        let Some((vpc_plan, exit)) = found else {
            return self.refuse(DropReason::NotTransitive, far.0.into());
        };
        if !self.is_in(vpc_plan, End::Destination) {
            return self.beyond_vpc(vpc, far.0.into(), destination);
        }
        self.pass(Stage::Remote, Some(far.0.into()), None, Why::LeadsTo(vpc));
        // Who is on premises is behind what is asked in the VPC that they come into.
        let vpc_of_sender = if sender.remote.is_some() { vpc } else { sender.vpc };
        let sender = Sender { transit: Some(exit), vpc: vpc_of_sender, ..sender };
        let Some(subnet) = plan.subnets.get(&exit) else {
            return self.refuse(DropReason::NoRoute, exit.into());
        };
        self.consult(subnet.stamp);
        if self.cover.consult_block(End::Destination, subnet.cidr.into()) {
            return self.deliver_in(vpc, sender, destination, hops);
        }
        let (table, route) = self.find_route(exit, End::Destination, destination)?;
        let Some(route) = route else { return self.refuse(DropReason::NoRoute, table.into()) };
        let rule = Some(route_rule(&route));
        match route.target {
            Target::Local => self.deliver_in(vpc, sender, destination, hops),
            Target::NetworkInterface(id) => self.through_router(sender, (table, rule), id, hops),
            Target::InternetGateway(_)
            | Target::NatGateway(_)
            | Target::VpcEndpoint(_)
            | Target::Peering(_)
            | Target::VpnGateway(_)
            | Target::TransitGateway(_) => {
                self.refuse_by(DropReason::NotTransitive, table.into(), rule, Reply::Silence)
            }
        }
    }

    /// Out by a VPN that is attached.
    fn out_to_premises(
        &mut self,
        sender: Sender<'a>,
        far: Door<'a>,
        link: Option<&'a crate::plan::InterfacePlan>,
        hops: Hops,
    ) -> Walked<Action> {
        let found = link.and_then(|link| Some((link, link.remote?.connection)));
        let Some((link, connection)) = found else {
            return self.refuse(DropReason::NoNetworkBehind, far.0.into());
        };
        self.consult(link.stamp);
        if !link.attached {
            return self.refuse(DropReason::TargetDown, connection.into());
        }
        self.pass(Stage::Remote, Some(connection.into()), None, Why::OnPremises);
        if self.lands_at(sender, far, None) != Some(sender.subnet) {
            self.answer_into(sender)?;
        }
        if self.has_answers() {
            self.answer_across(sender, far, None)?;
        }
        if let (None, Some(interface)) = (sender.nat, sender.interface) {
            self.untracked_cuts(interface, true);
        }
        let idle = if sender.nat.is_some() { IdleTimeouts::GATEWAY } else { IdleTimeouts::INTERFACE };
        let source = self.nat_source(sender, |nat| nat.private);
        let to = self.arrive(source, None, Deliver::Interface(link.id), hops, VPN_MTU, idle);
        Ok(Action { mtu_reported: false, ..to })
    }

    // ---- the way back

    /// The answer from a subnet, whose route leads it to a transit gateway.
    pub(super) fn back_by_transit(
        &mut self,
        sender: Sender<'a>,
        (id, vpc, subnet): (TransitGatewayId, VpcId, SubnetId),
        by: ResourceId,
    ) -> Walked<()> {
        let Some(near) = self.transit_door(id, vpc) else {
            return self.refuse(DropReason::ReturnRoute, by);
        };
        let zone = self.zone_of(subnet);
        let Some(entrance) = zone.and_then(|zone| near.1.subnet_in(zone)) else {
            return self.refuse(DropReason::ReturnRoute, near.0.into());
        };
        self.acl(entrance, Stage::ReturnNetworkAcl, seen_as(sender, Direction::answer(false)))?;
        self.answer_across(sender, near, zone)
    }

    /// The answer that came into the gateway by an attachment leaves it by the sender's.
    fn answer_across(&mut self, sender: Sender<'a>, near: Door<'a>, zone: Option<&'a str>) -> Walked<()> {
        let (table, rule, far) = match self.find_onward(near, End::Source, sender.address) {
            Onward::To(table, rule, far) => (table, rule, far),
            Onward::Nothing(by) => return self.refuse(DropReason::ReturnRoute, by),
            Onward::Blackhole(table, rule) => {
                let (reason, rule) = (DropReason::ReturnRoute, Some(rule));
                return self.refuse_by(reason, table.into(), rule, Reply::Silence);
            }
        };
        let lost = |walk: &mut Self| {
            walk.refuse_by(DropReason::ReturnRoute, table.into(), Some(rule), Reply::Silence)
        };
        let exit = match (sender.remote, &far.1.end) {
            (Some(Came::Transit(own)), _) if own == far.0 => None,
            (None, TransitEnd::Vpc { vpc, .. }) if *vpc == sender.vpc => far.1.exit_for(zone),
            (Some(_), _) | (None, TransitEnd::Vpc { .. } | TransitEnd::Vpn { .. }) => return lost(self),
        };
        self.pass(Stage::ReturnRoute, Some(table.into()), Some(rule), Why::AnswerPasses);
        let Some(exit) = exit else { return Ok(()) };
        if !self.is_somebodys(sender) {
            return self.refuse(DropReason::ReturnRoute, sender.vpc.into());
        }
        if exit == sender.subnet {
            return Ok(());
        }
        self.acl(exit, Stage::ReturnNetworkAcl, seen_as(sender, Direction::answer(true)))?;
        self.way_back(Sender { transit: None, ..sender }, sender.vpc, exit)
    }

    /// The subnet of the sender's VPC where the answer from a subnet comes out of a transit gateway, if it goes by one: what
    /// comes out where it is for meets no ACL ("Inbound rules are not evaluated").
    pub(super) fn answer_lands_at(
        &mut self,
        sender: Sender<'a>,
        vpc: VpcId,
        subnet: SubnetId,
    ) -> Option<SubnetId> {
        if !self.has_answers() || vpc == sender.vpc {
            return None;
        }
        let (_, route) = self.look_up(subnet, End::Source, sender.address).ok()?;
        let Target::TransitGateway(id) = route?.target else { return None };
        let near = self.transit_door(id, vpc)?;
        let zone = self.zone_of(subnet);
        self.lands_at(sender, near, zone)
    }

    fn lands_at(&mut self, sender: Sender<'a>, near: Door<'a>, zone: Option<&'a str>) -> Option<SubnetId> {
        if sender.remote.is_some() || !self.has_answers() {
            return None;
        }
        match self.find_onward(near, End::Source, sender.address) {
            Onward::To(_, _, far) => match &far.1.end {
                TransitEnd::Vpc { vpc, .. } if *vpc == sender.vpc => far.1.exit_for(zone),
                TransitEnd::Vpc { .. } | TransitEnd::Vpn { .. } => None,
            },
            Onward::Nothing(_) | Onward::Blackhole(..) => None,
        }
    }

    // ---- tables

    fn zone_of(&mut self, subnet: SubnetId) -> Option<&'a str> {
        let subnet = self.plan.subnets.get(&subnet)?;
        self.consult(subnet.stamp);
        Some(&subnet.zone)
    }

    /// Where the table of an attachment leads.
    fn find_onward(&mut self, near: Door<'a>, end: End, address: Ipv4Addr) -> Onward<'a> {
        let plan = self.plan;
        let Some(id) = near.1.table else { return Onward::Nothing(near.0.into()) };
        let Some(table) = plan.transit_tables.get(&id) else { return Onward::Nothing(near.0.into()) };
        self.consult(table.stamp);
        let found = self.find_interval(&table.intervals, end, address);
        let route = found.and_then(|at| table.routes.get(at));
        let Some(TransitRoutePlan { block, target }) = route.copied() else {
            return Onward::Nothing(id.into());
        };
        let rule = Rule::Route(block.into(), None);
        match target.and_then(|target| self.transit_attachment(target)) {
            Some(far) => Onward::To(id, rule, far),
            None => Onward::Blackhole(id, rule),
        }
    }
}
