//! Over the internet: to the region's services, to public addresses in it, and out of it.

use std::net::Ipv4Addr;

use postern_model::{InternetGatewayId, Ipv4Net, NetworkInterfaceId};

use super::{Arrival, INTERNET_MTU, Seen, Sender, Walk, Walked};
use crate::cover::End;
use crate::decision::{Action, Deliver, Door, Hops, IdleTimeouts, Reply, SourceRewrite, Through, Why};
use crate::flow::Transport;
use crate::plan::slots::SlotKey;
use crate::stage::{DropReason, Stage};
use crate::uplink;

impl<'a> Walk<'a> {
    /// Over the internet: to a service, to a public address in the region, or out of it.
    pub(super) fn over_internet(
        &mut self,
        sender: Sender<'a>,
        gateway: InternetGatewayId,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let public = match (sender.nat, sender.interface) {
            (Some((_, nat)), _) => nat.public,
            (None, Some(interface)) => {
                // A sender that does not check sources may use addresses that are not its own.
                self.cover.pin(End::Source);
                interface.public_of(sender.address)
            }
            (None, None) => None,
        };
        let Some(public) = public else { return self.refuse(DropReason::NoPublicAddress, gateway.into()) };
        self.answer_into(sender)?;
        self.pass(Stage::InternetGateway, Some(gateway.into()), None, Why::SourceBecomes(public.into()));
        self.depend_on_key(SlotKey::Services);
        let service = self.plan.services.find(u32::from(destination));
        self.cover.keep_interval(End::Destination, service.low, service.high);
        if service.value.is_some() {
            let source = self.identity(sender, Through::Internet(public));
            return Ok(self.deliver_at_front_door(sender, source, hops, INTERNET_MTU));
        }
        let pool = Ipv4Net::new_assert(postern_model::gateway::PUBLIC_POOL_BASE, 16);
        let mut holder = None;
        if self.cover.consult_block(End::Destination, pool.into()) {
            self.cover.pin(End::Destination);
            self.depend_on_key(SlotKey::PublicAddresses);
            holder = self.plan.public.get(&destination).copied();
        }
        match holder {
            Some((target, private)) => self.in_again(sender, public, target, private, hops),
            None => self.beyond(sender, gateway, public, destination, hops),
        }
    }

    /// Out of the region, by the host's uplink if there is one.
    fn beyond(
        &mut self,
        sender: Sender<'a>,
        gateway: InternetGatewayId,
        public: Ipv4Addr,
        destination: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let reply = Reply::NetworkUnreachable(self.plan.router_of(sender.subnet));
        if let Some(stamp) = self.plan.slot(SlotKey::Uplink) {
            self.consult(stamp);
        }
        let Some(uplink) = self.plan.uplink else {
            return self.refuse_by(DropReason::NoUplink, gateway.into(), None, reply);
        };
        let not_carried = uplink::not_carried(destination);
        self.cover.keep_interval(End::Destination, not_carried.low, not_carried.high);
        if not_carried.value.is_some() {
            return self.refuse_by(DropReason::NotCarried, gateway.into(), None, reply);
        }
        match self.flow.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } => {}
            Transport::Icmp { kind: 8, code: 0, .. } if uplink.echo => {}
            Transport::Icmp { .. } | Transport::Other { .. } => {
                return self.refuse_by(DropReason::UplinkProtocol, gateway.into(), None, reply);
            }
        }
        self.pass(Stage::Uplink, None, None, Why::LeavesBy(uplink.link));
        if let Some(interface) = sender.interface {
            self.untracked_cuts(interface, true);
        }
        let source = self.identity(sender, Through::Internet(public));
        let door = Door::Uplink;
        let idle = if sender.nat.is_some() { IdleTimeouts::GATEWAY } else { IdleTimeouts::INTERFACE };
        Ok(self.arrive(source, Some(door.address()), Deliver::Door(door), hops, INTERNET_MTU, idle))
    }

    /// In again by another internet gateway (or the same one), to an interface with a public address.
    fn in_again(
        &mut self,
        sender: Sender<'a>,
        public: Ipv4Addr,
        target: NetworkInterfaceId,
        private: Ipv4Addr,
        hops: Hops,
    ) -> Walked<Action> {
        let plan = self.plan;
        let found = plan.interface(target).filter(|target| !target.nat_gateway);
        let Some(target) = found else { return self.refuse(DropReason::NoSuchAddress, target.into()) };
        self.consult(target.stamp);
        if !target.attached {
            return self.refuse(DropReason::TargetDown, target.id.into());
        }
        let source = match self.nat_source(sender, |nat| nat.public.unwrap_or(nat.private)) {
            SourceRewrite::Keep => SourceRewrite::Address(public.into()),
            through_nat => through_nat,
        };
        self.pass(Stage::Target, Some(target.id.into()), None, Why::DestinationBecomes(private.into()));
        let seen = match sender.seen {
            Seen::Own | Seen::Address => Seen::Address,
            Seen::Port => Seen::Port,
        };
        let from_outside = Sender { address: public, seen, ..sender };
        let arrival = Arrival { hops, source, destination: Some(private), mtu: INTERNET_MTU };
        self.enter(from_outside, target, arrival)
    }
}
