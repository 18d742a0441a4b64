//! Route tables of subnets, and where they lead.

use std::net::Ipv4Addr;

use postern_model::{NetworkInterfaceId, ResourceId, RouteTableId, SubnetId};

use super::{Sender, Walk, Walked};
use crate::cover::{End, v4};
use crate::decision::{Action, Hops, Reply, Rule, Why};
use crate::plan::interval::IntervalMap;
use crate::plan::{RoutePlan, Target};
use crate::stage::{DropReason, Stage};

impl<'a> Walk<'a> {
    /// Where the route table of the sender's subnet leads.
    pub(super) fn route(&mut self, sender: Sender<'a>, destination: Ipv4Addr, hops: Hops) -> Walked<Action> {
        let (table, route) = self.find_route(sender.subnet, End::Destination, destination)?;
        let Some(route) = route else { return self.refuse(DropReason::NoRoute, table.into()) };
        let rule = Some(route_rule(&route));
        let gone =
            |walk: &mut Self| walk.refuse_by(DropReason::Blackhole, table.into(), rule, Reply::Silence);
        let plan = self.plan;
        match route.target {
            Target::Local => {
                self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
                self.deliver_inside(sender, destination, hops)
            }
            // A load balancer's targets are in its VPC.
            Target::InternetGateway(_)
            | Target::NatGateway(_)
            | Target::VpcEndpoint(_)
            | Target::Peering(_)
            | Target::VpnGateway(_)
            | Target::TransitGateway(_)
                if self.balancing.is_some() =>
            {
                gone(self)
            }
            Target::InternetGateway(id) => {
                let Some(gateway) = plan.internet_gateways.get(&id) else { return gone(self) };
                self.consult(gateway.stamp);
                if gateway.vpc != Some(sender.vpc) {
                    return gone(self);
                }
                self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
                self.over_internet(sender, id, destination, hops)
            }
            Target::NatGateway(id) => {
                // A NAT gateway does not send to another one.
                let found = plan.nat_gateways.get(&id).filter(|_| sender.nat.is_none());
                let Some(nat) = found else { return gone(self) };
                self.consult(nat.stamp);
                self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
                self.through_nat(sender, id, nat, destination, hops)
            }
            Target::NetworkInterface(id) => self.through_router(sender, (table, rule), id, hops),
            Target::VpcEndpoint(id) => {
                let Some(endpoint) = plan.endpoints.get(&id) else { return gone(self) };
                self.consult(endpoint.stamp);
                self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
                self.through_endpoint(sender, id, endpoint.vpc, hops)
            }
            Target::Peering(id) => {
                let Some(far) = self.peering_from(id, sender.vpc) else { return gone(self) };
                self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
                self.over_peering(sender, id, far, destination, hops)
            }
            Target::VpnGateway(id) => {
                let found = plan.vpn_gateways.get(&id);
                found.iter().for_each(|gateway| self.consult(gateway.stamp));
                let Some(gateway) = found.filter(|gateway| gateway.vpc == Some(sender.vpc)) else {
                    return gone(self);
                };
                self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
                self.go_to_premises(sender, id, gateway, destination, hops)
            }
            Target::TransitGateway(id) => {
                let Some(door) = self.transit_door(id, sender.vpc) else { return gone(self) };
                self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
                self.over_transit(sender, door, destination, hops)
            }
        }
    }

    /// To an interface that routes, whatever address the packets are for.
    pub(super) fn through_router(
        &mut self,
        sender: Sender<'a>,
        (table, rule): (RouteTableId, Option<Rule>),
        id: NetworkInterfaceId,
        hops: Hops,
    ) -> Walked<Action> {
        let found = self.plan.interface(id);
        found.iter().for_each(|target| self.consult(target.stamp));
        let Some(target) = found.filter(|target| target.attached) else {
            return self.refuse_by(DropReason::Blackhole, table.into(), rule, Reply::Silence);
        };
        self.pass(Stage::Route, Some(table.into()), rule, Why::LongestPrefix);
        if target.source_dest_check {
            return self.refuse(DropReason::DestinationCheck, id.into());
        }
        self.enter(sender, target, self.arrival_inside(sender, hops))
    }

    /// The route of a subnet to the flow's address at one end.
    pub(super) fn find_route(
        &mut self,
        subnet: SubnetId,
        end: End,
        address: Ipv4Addr,
    ) -> Walked<(RouteTableId, Option<RoutePlan>)> {
        match self.look_up(subnet, end, address) {
            Ok(found) => Ok(found),
            Err(missing) => self.refuse(DropReason::NoRoute, missing),
        }
    }

    /// The same, or else what is not there.
    pub(super) fn look_up(
        &mut self,
        subnet: SubnetId,
        end: End,
        address: Ipv4Addr,
    ) -> Result<(RouteTableId, Option<RoutePlan>), ResourceId> {
        let plan = self.plan;
        let subnet_plan = plan.subnets.get(&subnet).ok_or(subnet)?;
        self.consult(subnet_plan.stamp);
        let id = subnet_plan.route_table;
        let table = plan.route_tables.get(&id).ok_or(id)?;
        self.consult(table.stamp);
        let found = self.find_interval(&table.intervals, end, address);
        let route = found.and_then(|at| table.routes.get(at).copied());
        Ok((id, route))
    }

    /// Which of a table's routes an address at one end meets.
    pub(super) fn find_interval(
        &mut self,
        intervals: &IntervalMap<u32>,
        end: End,
        address: Ipv4Addr,
    ) -> Option<usize> {
        let found = intervals.find(u32::from(address));
        // Behind a gateway the address at this end is not the flow's own, and does not narrow the box.
        let own = match end {
            End::Source => v4(self.flow.source),
            End::Destination => v4(self.flow.destination),
        };
        if own == address {
            self.cover.keep_interval(end, found.low, found.high);
        }
        usize::try_from(found.value?).ok()
    }
}

pub(super) fn route_rule(route: &RoutePlan) -> Rule {
    match route.target {
        Target::Local => Rule::Local(route.block.into()),
        Target::InternetGateway(_)
        | Target::NatGateway(_)
        | Target::NetworkInterface(_)
        | Target::VpcEndpoint(_)
        | Target::Peering(_)
        | Target::VpnGateway(_)
        | Target::TransitGateway(_) => Rule::Route(route.block.into(), route.list),
    }
}
