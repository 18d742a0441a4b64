//! Between networks: over peerings into other VPCs, and over VPNs from and to networks on premises.
//!
//! What comes from elsewhere reaches the addresses of a VPC and nothing beyond them: no gateway, no endpoint that a route
//! leads to, no third network ("Edge to edge routing through a gateway or private connection", "Transitive peering").

use std::net::Ipv4Addr;

use postern_model::{ResourceId, SubnetId, VpcId, VpcPeeringConnectionId, VpnGatewayId};

use super::route::route_rule;
use super::{Came, Seen, Sender, VPN_MTU, Walk, Walked};
use crate::cover::{End, v4};
use crate::decision::{Action, Deliver, Hops, IdleTimeouts, Reply, Why};
use crate::plan::slots::SlotKey;
use crate::plan::{RemoteEnd, RemotePlan, Target, VpcPlan, VpnGatewayPlan};
use crate::stage::{DropReason, Stage};

impl<'a> Walk<'a> {
    /// Over a peering, to the VPC at its other side.
    pub(super) fn over_peering(
        &mut self,
        sender: Sender<'a>,
        id: VpcPeeringConnectionId,
        far: VpcId,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let plan = self.plan;
        // What a router passes on from elsewhere does not go on to a third network.
        let near = plan.vpcs.get(&sender.vpc);
        if sender.nat.is_none() && !near.is_some_and(|near| self.is_in(near, End::Source)) {
            return self.refuse(DropReason::NotTransitive, id.into());
        }
        let Some(vpc) = plan.vpcs.get(&far) else { return self.refuse(DropReason::NotTransitive, id.into()) };
        if !self.is_in(vpc, End::Destination) {
            return self.beyond_vpc(far, id.into(), destination);
        }
        self.pass(Stage::Remote, Some(id.into()), None, Why::LeadsTo(far));
        self.deliver_in(far, sender, destination, hops)
    }

    /// Whether the address at one end of the flow lies in a VPC.
    pub(super) fn is_in(&mut self, vpc: &VpcPlan, end: End) -> bool {
        self.consult(vpc.stamp);
        let mut blocks = vpc.blocks.iter();
        blocks.any(|block| self.cover.consult_block(end, (*block).into()))
    }

    /// What comes into a VPC from elsewhere and is for no address of it. Where a gateway endpoint would have taken it, that
    /// is the reason: "Endpoint connections cannot be extended out of a VPC."
    pub(super) fn beyond_vpc<T>(&mut self, vpc: VpcId, way: ResourceId, destination: Ipv4Addr) -> Walked<T> {
        let plan = self.plan;
        self.depend_on_key(SlotKey::GatewayEndpoints(vpc));
        for (endpoint, blocks) in plan.gateway_endpoints.get(&vpc).into_iter().flat_map(|all| all.iter()) {
            let found = blocks.find(u32::from(destination));
            self.cover.keep_interval(End::Destination, found.low, found.high);
            if found.value.is_some() {
                return self.refuse(DropReason::RemoteToGatewayEndpoint, (*endpoint).into());
            }
        }
        self.refuse(DropReason::NotTransitive, way)
    }

    /// The VPC that a peering leads to from another one, if packets pass.
    pub(super) fn peering_from(&mut self, id: VpcPeeringConnectionId, near: VpcId) -> Option<VpcId> {
        let peering = self.plan.peerings.get(&id)?;
        self.consult(peering.stamp);
        peering.beyond(near)
    }

    /// In from a network on premises, to the VPC that the VPN's gateway is attached to.
    pub(super) fn come_from_premises(&mut self, remote: RemotePlan, destination: Ipv4Addr) -> Walked<Action> {
        let plan = self.plan;
        let id = match remote.end {
            RemoteEnd::Virtual(id) => id,
            RemoteEnd::Transit(attachment) => return self.come_by_transit(attachment, destination),
        };
        let Some(gateway) = plan.vpn_gateways.get(&id) else {
            return self.refuse(DropReason::NoNetworkBehind, id.into());
        };
        self.consult(gateway.stamp);
        let found = gateway.vpc.and_then(|vpc| Some((vpc, plan.vpcs.get(&vpc)?)));
        let Some((vpc, vpc_plan)) = found else {
            return self.refuse(DropReason::NoNetworkBehind, id.into());
        };
        self.pass(Stage::Remote, Some(remote.connection.into()), None, Why::LeadsTo(vpc));
        if !self.is_in(vpc_plan, End::Destination) {
            return self.beyond_vpc(vpc, id.into(), destination);
        }
        let sender = Sender {
            vpc,
            subnet: SubnetId::from_number(0),
            address: v4(self.flow.source),
            seen: Seen::Own,
            interface: None,
            remote: Some(Came::Virtual(id, gateway)),
            transit: None,
            nat: None,
        };
        let action = self.deliver_in(vpc, sender, destination, Hops::NONE)?;
        // "Path MTU Discovery is not supported" over a VPN.
        Ok(Action { mtu: action.mtu.min(VPN_MTU), mtu_reported: false, ..action })
    }

    /// Out to a network on premises, by the connection whose static route is the longest that matches.
    pub(super) fn go_to_premises(
        &mut self,
        sender: Sender<'a>,
        id: VpnGatewayId,
        gateway: &'a VpnGatewayPlan,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let plan = self.plan;
        let near = plan.vpcs.get(&sender.vpc);
        if sender.nat.is_none() && !near.is_some_and(|near| self.is_in(near, End::Source)) {
            return self.refuse(DropReason::NotTransitive, id.into());
        }
        let Some(link) = self.connection_to(gateway, End::Destination, destination) else {
            return self.refuse(DropReason::NoNetworkBehind, id.into());
        };
        let found = plan.interface(link).and_then(|link| Some((link, link.remote?.connection)));
        let Some((link, connection)) = found else {
            return self.refuse(DropReason::NoNetworkBehind, id.into());
        };
        self.consult(link.stamp);
        if !link.attached {
            return self.refuse(DropReason::TargetDown, connection.into());
        }
        self.pass(Stage::Remote, Some(connection.into()), None, Why::OnPremises);
        self.answer_into(sender)?;
        if self.has_answers() && !self.is_somebodys(sender) {
            return self.refuse(DropReason::ReturnRoute, sender.vpc.into());
        }
        if let (None, Some(interface)) = (sender.nat, sender.interface) {
            self.untracked_cuts(interface, true);
        }
        let idle = if sender.nat.is_some() { IdleTimeouts::GATEWAY } else { IdleTimeouts::INTERFACE };
        let source = self.nat_source(sender, |nat| nat.private);
        let to = self.arrive(source, None, Deliver::Interface(link.id), hops, VPN_MTU, idle);
        Ok(Action { mtu_reported: false, ..to })
    }

    /// The end of the connection that leads to an address on premises.
    fn connection_to(
        &mut self,
        gateway: &VpnGatewayPlan,
        end: End,
        address: Ipv4Addr,
    ) -> Option<postern_model::NetworkInterfaceId> {
        let found = gateway.routes.find(u32::from(address));
        self.cover.keep_interval(end, found.low, found.high);
        gateway.links.get(usize::try_from(found.value?).ok()?).copied()
    }

    /// The answer from a subnet to a sender on premises goes to the gateway that it came by, and by the same connection.
    pub(super) fn back_to_premises(
        &mut self,
        sender: Sender<'a>,
        (id, gateway): (VpnGatewayId, &'a VpnGatewayPlan),
        subnet: SubnetId,
    ) -> Walked<()> {
        let (table, route) = self.find_route(subnet, End::Source, sender.address)?;
        let rule = route.as_ref().map(route_rule);
        let to_gateway = route.is_some_and(|route| route.target == Target::VpnGateway(id));
        if !to_gateway || self.connection_to(gateway, End::Source, sender.address) != Some(self.flow.entry) {
            return self.refuse_by(DropReason::ReturnRoute, table.into(), rule, Reply::Silence);
        }
        self.pass(Stage::ReturnRoute, Some(table.into()), rule, Why::AnswerPasses);
        Ok(())
    }
}
