//! The oracle's part about transit gateways, straight from "How AWS Transit Gateway works" and "Network ACLs for transit
//! gateways".

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::route::RouteTarget;
use postern_model::transit::{Attached, TransitGatewayAttachment, TransitGatewayRouteTable};
use postern_model::vpn::VpnConnection;
use postern_model::{Ipv4Net, ResourceId, SubnetId, TransitGatewayAttachmentId, TransitGatewayId, VpcId};
use postern_path::{Deliver, DropReason, SourceRewrite};

use crate::oracle::{Answer, Oracle, Sender, Way, back};

type Refused = (DropReason, ResourceId);

/// What a transit gateway's table says.
enum Said<'a> {
    Nothing(ResourceId),
    Blackhole(ResourceId),
    Leads(ResourceId, &'a TransitGatewayAttachment),
}

impl<'a> Oracle<'a> {
    fn attachments(&self) -> impl Iterator<Item = &'a Arc<TransitGatewayAttachment>> + use<'a> {
        self.state.transit_gateway_attachments.values()
    }

    pub fn attachment_of(
        &self,
        gateway: TransitGatewayId,
        vpc: VpcId,
    ) -> Option<&'a TransitGatewayAttachment> {
        let found = self.attachments().find(|x| x.gateway == gateway && x.to.vpc() == Some(vpc));
        found.map(AsRef::as_ref)
    }

    fn attachment_of_vpn(&self, connection: &VpnConnection) -> &'a TransitGatewayAttachment {
        let mut all = self.attachments();
        all.find(|x| x.to == Attached::Vpn(connection.id)).expect("a VPN at a transit gateway is attached")
    }

    fn zone(&self, subnet: SubnetId) -> &'a str {
        &self.subnet(subnet).zone
    }

    /// The attachment's subnet in the zone.
    fn entrance(&self, attachment: &TransitGatewayAttachment, zone: &str) -> Option<SubnetId> {
        attachment.to.subnets().find(|(known, _)| *known == zone).map(|(_, subnet)| subnet)
    }

    /// The same, or the first of its zones.
    fn exit(&self, attachment: &TransitGatewayAttachment, zone: Option<&str>) -> SubnetId {
        let own = zone.and_then(|zone| self.entrance(attachment, zone));
        let first = attachment.to.subnets().min_by_key(|(zone, _)| zone.as_str()).map(|(_, subnet)| subnet);
        own.or(first).expect("an attachment of a VPC has a subnet")
    }

    /// The longest route; of equal ones a static one, then that of the VPC that was attached first.
    fn ask(&self, from: &TransitGatewayAttachment, to: Ipv4Addr) -> Said<'a> {
        let Some(id) = from.association else { return Said::Nothing(from.id.into()) };
        let table: &TransitGatewayRouteTable = &self.state.transit_gateway_route_tables[&id];
        let mut best: Option<(u8, Option<TransitGatewayAttachmentId>)> = None;
        let mut take = |block: &Ipv4Net, target| {
            if block.contains(&to) && best.is_none_or(|(length, _)| block.prefix_len() > length) {
                best = Some((block.prefix_len(), target));
            }
        };
        table.routes.iter().for_each(|(block, target)| take(block, *target));
        let mut propagating: Vec<_> = self.attachments().filter(|x| x.propagations.contains(&id)).collect();
        propagating.sort_by_key(|x| (x.created_at, x.id));
        for attachment in propagating {
            let vpc = attachment.to.vpc().map(|vpc| &self.state.vpcs[&vpc]);
            let blocks = vpc.into_iter().flat_map(|vpc| &vpc.blocks);
            blocks.for_each(|block| take(&block.cidr, Some(attachment.id)));
        }
        let Some((_, target)) = best else { return Said::Nothing(id.into()) };
        match self.attachments().find(|x| Some(x.id) == target) {
            Some(far) => Said::Leads(id.into(), far),
            None => Said::Blackhole(id.into()),
        }
    }

    pub fn to_transit(
        &self,
        sender: Sender<'a>,
        near: &TransitGatewayAttachment,
        hops: Vec<Ipv4Addr>,
    ) -> Answer {
        let zone = self.zone(sender.subnet);
        let Some(entrance) = self.entrance(near, zone) else {
            return Err((DropReason::NoTransitZone, near.id.into()));
        };
        let packet = sender.packet;
        self.acl(entrance, false, packet).map_err(|acl| (DropReason::IngressNetworkAcl, acl.into()))?;
        self.across_transit(sender, near, Some(zone), hops)
    }

    pub fn premises_to_transit(&self, connection: &'a VpnConnection) -> Answer {
        let sender = Sender {
            vpc: VpcId::from_number(0),
            subnet: SubnetId::from_number(0),
            packet: self.packet,
            nat: None,
            on_premises: Some(connection),
            transit: None,
        };
        let near = self.attachment_of_vpn(connection);
        let way = self.across_transit(sender, near, None, Vec::new())?;
        Ok(Way { mtu: way.mtu.min(1446), ..way })
    }

    fn across_transit(
        &self,
        sender: Sender<'a>,
        near: &TransitGatewayAttachment,
        zone: Option<&str>,
        hops: Vec<Ipv4Addr>,
    ) -> Answer {
        let to = sender.packet.to;
        let far = match self.ask(near, to) {
            Said::Nothing(by) => return Err((DropReason::NoTransitRoute, by)),
            Said::Blackhole(by) => return Err((DropReason::TransitBlackhole, by)),
            Said::Leads(_, far) => far,
        };
        let vpc = match far.to {
            Attached::Vpc { vpc, .. } => vpc,
            Attached::Vpn(id) => return self.out_by_vpn(sender, far, &self.state.vpn_connections[&id], hops),
        };
        if !self.has_block(vpc, to) {
            return Err(self.beyond_vpc(vpc, to, far.id.into()));
        }
        let exit = self.exit(far, zone);
        let vpc_of_sender = if sender.on_premises.is_some() { vpc } else { sender.vpc };
        let sender = Sender { transit: Some(exit), vpc: vpc_of_sender, ..sender };
        if self.subnet(exit).cidr.contains(&to) {
            return self.neighbour_in(vpc, sender, hops);
        }
        let table = self.table_of(exit);
        match self.best(table, to).map(|(route, _)| route) {
            None => Err((DropReason::NoRoute, table.id.into())),
            Some(None) => self.neighbour_in(vpc, sender, hops),
            Some(Some(RouteTarget::NetworkInterface(id))) => self.by_router(sender, table, id, hops),
            Some(Some(_)) => Err((DropReason::NotTransitive, table.id.into())),
        }
    }

    fn out_by_vpn(
        &self,
        sender: Sender<'a>,
        far: &TransitGatewayAttachment,
        connection: &VpnConnection,
        hops: Vec<Ipv4Addr>,
    ) -> Answer {
        if !connection.link.up {
            return Err((DropReason::TargetDown, connection.id.into()));
        }
        if let Some(answer) = back(sender.packet) {
            let comes_out = self.comes_out_at(sender, far, None);
            if sender.on_premises.is_none() && comes_out != Some(sender.subnet) {
                self.return_acl(sender.subnet, false, answer)?;
            }
            self.answer_across(sender, far, None)?;
        }
        let source = match sender.nat {
            None => SourceRewrite::Keep,
            Some(nat) => self.translated(nat, nat.private_address),
        };
        let deliver = Deliver::Interface(connection.link.port);
        Ok(Way { source, destination: None, deliver, hops, mtu: 1446, balanced: None })
    }

    // ---- the way back

    fn comes_out_at(
        &self,
        sender: Sender<'a>,
        near: &TransitGatewayAttachment,
        zone: Option<&str>,
    ) -> Option<SubnetId> {
        match self.ask(near, sender.packet.from) {
            Said::Leads(_, far) if far.to.vpc() == Some(sender.vpc) => Some(self.exit(far, zone)),
            Said::Leads(..) | Said::Nothing(_) | Said::Blackhole(_) => None,
        }
    }

    /// Where in the sender's VPC the answer from a subnet of another one comes out of a transit gateway.
    pub fn answer_comes_out_at(&self, sender: Sender<'a>, subnet: SubnetId) -> Option<SubnetId> {
        let vpc = self.subnet(subnet).vpc;
        let route = self.best(self.table_of(subnet), sender.packet.from)?.0?;
        match route {
            RouteTarget::TransitGateway(id) if vpc != sender.vpc => {
                self.comes_out_at(sender, self.attachment_of(id, vpc)?, Some(self.zone(subnet)))
            }
            _ => None,
        }
    }

    pub fn back_by_transit(
        &self,
        sender: Sender<'_>,
        subnet: SubnetId,
        id: TransitGatewayId,
    ) -> Result<(), Refused> {
        let Some(near) = self.attachment_of(id, self.subnet(subnet).vpc) else {
            return Err((DropReason::ReturnRoute, self.table_of(subnet).id.into()));
        };
        let zone = self.zone(subnet);
        let Some(entrance) = self.entrance(near, zone) else {
            return Err((DropReason::ReturnRoute, near.id.into()));
        };
        if let Some(answer) = back(sender.packet) {
            self.return_acl(entrance, false, answer)?;
        }
        self.answer_across(sender, near, Some(zone))
    }

    fn answer_across(
        &self,
        sender: Sender<'_>,
        near: &TransitGatewayAttachment,
        zone: Option<&str>,
    ) -> Result<(), Refused> {
        let from = sender.packet.from;
        let (table, far) = match self.ask(near, from) {
            Said::Nothing(by) | Said::Blackhole(by) => return Err((DropReason::ReturnRoute, by)),
            Said::Leads(table, far) => (table, far),
        };
        if let Some(connection) = sender.on_premises {
            let same = far.to == Attached::Vpn(connection.id);
            return if same { Ok(()) } else { Err((DropReason::ReturnRoute, table)) };
        }
        if far.to.vpc() != Some(sender.vpc) {
            return Err((DropReason::ReturnRoute, table));
        }
        let somebody = sender.nat.is_some() || self.own_has(from) || self.holder(sender.vpc, from).is_some();
        if !somebody {
            return Err((DropReason::ReturnRoute, sender.vpc.into()));
        }
        let exit = self.exit(far, zone);
        if exit == sender.subnet {
            return Ok(());
        }
        if let Some(answer) = back(sender.packet) {
            self.return_acl(exit, true, answer)?;
        }
        self.way_back(Sender { transit: None, ..sender }, exit)
    }

    pub fn back_over_transit(
        &self,
        connection: &VpnConnection,
        subnet: SubnetId,
        to: Ipv4Addr,
    ) -> Result<(), Refused> {
        let table = self.table_of(subnet);
        let Some((Some(RouteTarget::TransitGateway(id)), _)) = self.best(table, to) else {
            return Err((DropReason::ReturnRoute, table.id.into()));
        };
        let vpc = self.subnet(subnet).vpc;
        let none = SubnetId::from_number(0);
        let (packet, on_premises) = (self.packet, Some(connection));
        let sender = Sender { vpc, subnet: none, packet, nat: None, on_premises, transit: None };
        self.back_by_transit(sender, subnet, id)
    }
}
