//! The way back: whether the answer to a flow reaches its sender.

use std::net::Ipv4Addr;

use postern_model::{SubnetId, VpcId};

use super::route::route_rule;
use super::{Came, Sender, Walk, Walked};
use crate::cover::End;
use crate::decision::{Reply, Why};
use crate::flow::Transport;
use crate::plan::{InterfacePlan, Target};
use crate::stage::{DropReason, Stage};

impl<'a> Walk<'a> {
    /// Whether the sender's address is the entry interface's own, or a gateway's that translates for it.
    pub(super) fn is_own(&mut self, sender: Sender<'_>) -> bool {
        let Some(interface) = sender.interface else { return true };
        self.cover.pin(End::Source);
        interface.addresses.contains(&sender.address)
    }

    /// Whether somebody in the sender's VPC has the address that it sends from. An interface that does not check
    /// sources may use any.
    pub(super) fn is_somebodys(&mut self, sender: Sender<'_>) -> bool {
        let Some(interface) = sender.interface else { return true };
        self.cover.pin(End::Source);
        if interface.addresses.contains(&sender.address) {
            return true;
        }
        let plan = self.plan;
        let holder = plan.addresses.get(&(sender.vpc, sender.address)).and_then(|id| plan.interface(*id));
        match holder {
            Some(holder) => self.consult(holder.stamp),
            None => {
                if let Some(vpc) = plan.vpcs.get(&sender.vpc) {
                    self.depend(vpc.members);
                }
            }
        }
        holder.is_some()
    }

    /// The answer from a subnet of this VPC, the sender's own or one that it reached, comes to somebody in the sender's: who
    /// has the address, or passes it on.
    ///
    /// It may take another way than the flow did, as long as there is one ("Middlebox routing").
    pub(super) fn way_back(&mut self, sender: Sender<'a>, vpc: VpcId, subnet: SubnetId) -> Walked<()> {
        if !self.has_answers() {
            return Ok(());
        }
        match sender.remote {
            None => {}
            Some(Came::Virtual(remote, gateway)) => {
                return self.back_to_premises(sender, (remote, gateway), subnet);
            }
            Some(Came::Transit(_)) => return self.back_over_transit(sender, vpc, subnet),
        }
        let plan = self.plan;
        let is_somebodys = self.is_somebodys(sender);
        let nobody = |walk: &mut Self| walk.refuse(DropReason::ReturnRoute, sender.vpc.into());
        if let Some(found) = plan.subnets.get(&subnet) {
            self.consult(found.stamp);
            if found.cidr.contains(&sender.address) {
                // The networks that a transit gateway joins may have the same addresses.
                return if is_somebodys && vpc == sender.vpc { Ok(()) } else { nobody(self) };
            }
        }
        let (table, route) = self.find_route(subnet, End::Source, sender.address)?;
        let rule = route.as_ref().map(route_rule);
        match route.map(|route| route.target) {
            Some(Target::Local) if is_somebodys && vpc == sender.vpc => {}
            Some(Target::Local) => return nobody(self),
            Some(Target::Peering(id)) if self.peering_from(id, vpc) == Some(sender.vpc) => {
                if !is_somebodys {
                    return nobody(self);
                }
            }
            Some(Target::TransitGateway(id)) => {
                self.pass(Stage::ReturnRoute, Some(table.into()), rule, Why::AnswerPasses);
                return self.back_by_transit(sender, (id, vpc, subnet), table.into());
            }
            Some(Target::NetworkInterface(id)) if id == self.flow.entry => {}
            Some(Target::NetworkInterface(id)) => {
                let router = plan.interface(id);
                router.iter().for_each(|router| self.consult(router.stamp));
                if !router.is_some_and(|router| router.attached && !router.source_dest_check) {
                    return self.refuse_by(DropReason::ReturnRoute, table.into(), rule, Reply::Silence);
                }
            }
            Some(
                Target::InternetGateway(_)
                | Target::NatGateway(_)
                | Target::VpcEndpoint(_)
                | Target::Peering(_)
                | Target::VpnGateway(_),
            )
            | None => {
                return self.refuse_by(DropReason::ReturnRoute, table.into(), rule, Reply::Silence);
            }
        }
        self.pass(Stage::ReturnRoute, Some(table.into()), rule, Why::AnswerPasses);
        Ok(())
    }

    /// The answer to a sender on premises whose VPN is attached to a transit gateway.
    fn back_over_transit(&mut self, sender: Sender<'a>, vpc: VpcId, subnet: SubnetId) -> Walked<()> {
        let (table, route) = self.find_route(subnet, End::Source, sender.address)?;
        let rule = route.as_ref().map(route_rule);
        let Some(Target::TransitGateway(id)) = route.map(|route| route.target) else {
            return self.refuse_by(DropReason::ReturnRoute, table.into(), rule, Reply::Silence);
        };
        self.pass(Stage::ReturnRoute, Some(table.into()), rule, Why::AnswerPasses);
        self.back_by_transit(sender, (id, vpc, subnet), table.into())
    }

    /// The answer to a public address leaves by an internet gateway of the target's own VPC.
    pub(super) fn way_out(&mut self, public: Ipv4Addr, target: &InterfacePlan) -> Walked<()> {
        if !self.has_answers() {
            return Ok(());
        }
        let plan = self.plan;
        let (table, route) = self.find_route(target.subnet, End::Source, public)?;
        let rule = route.as_ref().map(route_rule);
        let gateway = match route.map(|route| route.target) {
            Some(Target::InternetGateway(id)) => plan.internet_gateways.get(&id),
            Some(
                Target::Local
                | Target::NatGateway(_)
                | Target::NetworkInterface(_)
                | Target::VpcEndpoint(_)
                | Target::Peering(_)
                | Target::VpnGateway(_)
                | Target::TransitGateway(_),
            )
            | None => None,
        };
        gateway.iter().for_each(|gateway| self.consult(gateway.stamp));
        if gateway.is_none_or(|gateway| gateway.vpc != Some(target.vpc)) {
            return self.refuse_by(DropReason::ReturnRoute, table.into(), rule, Reply::Silence);
        }
        self.pass(Stage::ReturnRoute, Some(table.into()), rule, Why::AnswerPasses);
        Ok(())
    }

    /// Whether there is anything to come back: of ICMP, only questions have answers.
    pub(super) fn has_answers(&self) -> bool {
        match self.flow.transport {
            Transport::Icmp { kind, .. } => matches!(kind, 8 | 13),
            Transport::Tcp { .. } | Transport::Udp { .. } | Transport::Other { .. } => true,
        }
    }
}
