//! Through a load balancer: to a target of the listener's group, and what that target and the way to it say.
//!
//! The way has two parts, each of which meets what anybody's packets meet there: from the client to the load balancer's
//! interface, and from that interface to the target, which sees the load balancer in the client's place unless the group
//! preserves the client's address.

use std::net::SocketAddrV4;
use std::sync::Arc;

use postern_model::{
    Ipv4Net, LoadBalancerId, ResourceId, SecurityGroupId, SecurityGroupRuleId, VpcEndpointId,
};

use super::rules::Direction;
use super::{Arrival, Seen, Sender, Walk, Walked, seen_as};
use crate::balance::Choice;
use crate::cover::End;
use crate::decision::{
    Action, Balanced, Deliver, Hops, IdleTimeouts, Present, Reply, Rule, SourceRewrite, Why,
};
use crate::flow::Transport;
use crate::plan::{FrontListener, FrontPlan, InterfacePlan, PeerPlan};
use crate::stage::{DropReason, Stage};

/// A flow on its way from a load balancer to a target.
#[derive(Clone, Copy)]
pub(super) struct Balancing<'a> {
    balancer: &'a InterfacePlan,
    id: LoadBalancerId,
    target: SocketAddrV4,
    preserves: bool,
    /// What becomes of the source in all.
    source: SourceRewrite,
    hops: Hops,
    mtu: u16,
    /// Whether the flow came through an endpoint.
    through_endpoint: bool,
    idle: IdleTimeouts,
}

/// An endpoint forgets a connection after 350 seconds, whatever its listener remembers.
fn through_endpoint(idle: IdleTimeouts) -> IdleTimeouts {
    let most = IdleTimeouts::GATEWAY.tcp_established_seconds;
    IdleTimeouts { tcp_established_seconds: idle.tcp_established_seconds.min(most), ..idle }
}

impl<'a> Walk<'a> {
    /// Where packets go from here on, if that is not where their sender sent them.
    pub(super) fn toward(&self) -> Option<SocketAddrV4> {
        self.balancing.map(|balancing| balancing.target)
    }

    /// Whether packets go to somebody in this subnet.
    pub(super) fn goes_into(&mut self, subnet: Ipv4Net) -> bool {
        match self.toward() {
            Some(to) => subnet.contains(to.ip()),
            None => self.cover.consult_block(End::Destination, subnet.into()),
        }
    }

    /// The listener that takes the flow at a load balancer's interface, if one does.
    pub(super) fn listener(&mut self, front: &'a FrontPlan) -> Option<&'a FrontListener> {
        self.depend(front.stamp);
        let udp = match self.flow.transport {
            Transport::Tcp { .. } => false,
            Transport::Udp { .. } => true,
            Transport::Icmp { .. } | Transport::Other { .. } => return None,
        };
        let found = front.listeners.iter().find(|one| {
            let takes = if udp { one.listener.udp } else { one.listener.tcp };
            takes && self.cover.consult_ports(End::Destination, one.listener.port, one.listener.port)
        });
        if found.is_none() {
            // A listener that comes takes over what goes to the interface itself.
            self.consult(front.stamp);
        }
        found
    }

    /// Hands the flow on to a target. It has come in at the load balancer's interface, and answers find their way back from
    /// there.
    pub(super) fn balance(
        &mut self,
        sender: Sender<'a>,
        balancer: &'a InterfacePlan,
        (front, listener): (&'a FrontPlan, &'a FrontListener),
        arrival: Arrival,
        endpoint: Option<VpcEndpointId>,
    ) -> Walked<Action> {
        self.consult(listener.listener.stamp);
        let id = front.load_balancer;
        let Some(own) = balancer.addresses.first().copied() else {
            return self.refuse(DropReason::TargetDown, balancer.id.into());
        };
        let present = match self.present {
            Some(present) => self.keep(present, listener, id)?,
            None => self.choose(listener, id)?,
        };
        // "Client IP preservation has no effect on traffic from AWS PrivateLink."
        let preserves = present.preserves && endpoint.is_none();
        let counted = match (sender.nat, endpoint) {
            (Some((gateway, _)), _) => gateway.into(),
            (None, Some(endpoint)) => endpoint.into(),
            (None, None) => ResourceId::from(id),
        };
        let (source, from) = if preserves {
            let (vpc, subnet) = (balancer.vpc, balancer.subnet);
            (arrival.source, Sender { vpc, subnet, interface: None, remote: None, transit: None, ..sender })
        } else {
            self.pass(Stage::LoadBalancer, Some(id.into()), None, Why::SourceBecomes(own.into()));
            let (gateway, address) = (counted, own.into());
            let source = SourceRewrite::Port { gateway, private_address: address, visible_address: address };
            let (vpc, subnet) = (balancer.vpc, balancer.subnet);
            let (address, seen) = (own, Seen::Port);
            let (interface, remote, transit, nat) = (None, None, None, None);
            (source, Sender { vpc, subnet, address, seen, interface, remote, transit, nat })
        };
        self.balancing = Some(Balancing {
            balancer,
            id,
            target: present.to,
            preserves,
            source,
            hops: arrival.hops,
            mtu: arrival.mtu,
            through_endpoint: endpoint.is_some(),
            idle: if endpoint.is_some() { through_endpoint(present.idle) } else { present.idle },
        });
        self.egress_groups(balancer)?;
        self.leave(from, balancer.cidr, *present.to.ip(), arrival.hops)
    }

    /// Chooses a target for a new flow.
    fn choose(&mut self, listener: &'a FrontListener, id: LoadBalancerId) -> Walked<Present> {
        let number = listener.table.choose(self.flow);
        let place = number.and_then(|number| listener.eligible.get(usize::from(number)));
        let found = place.and_then(|at| listener.group.targets.get(*at));
        let Some((number, target, to)) =
            number.zip(found).and_then(|(number, target)| Some((number, target, target.at?)))
        else {
            return self.refuse_by(DropReason::NoTarget, id.into(), None, Reply::Reset);
        };
        self.choice = Some(Box::new(Choice {
            table: Arc::clone(&listener.table),
            chosen: number,
            cover: self.cover,
            consulted: self.consulted.len(),
        }));
        self.consult(target.stamp);
        // No more than a group may have.
        let of = u16::try_from(listener.eligible.len()).unwrap_or(u16::MAX);
        let why = Why::HandedTo { target: target.key, to, of, healthy: listener.healthy };
        self.pass(Stage::LoadBalancer, Some(id.into()), None, why);
        Ok(Present { to, preserves: listener.listener.preserves, idle: listener.listener.idle })
    }

    /// A flow that has a target keeps it: also one that is draining, or is let go of by a group that does not end its
    /// connections with that ("Deregistration delay").
    fn keep(&mut self, present: Present, listener: &'a FrontListener, id: LoadBalancerId) -> Walked<Present> {
        let group = &listener.group;
        match group.targets.iter().find(|target| target.at == Some(present.to)) {
            Some(target) => {
                self.consult(target.stamp);
                let before = self.tracked.unwrap_or_default().iter();
                let failed = before.filter(|stamp| stamp.slot == target.stamp.slot);
                if failed.into_iter().any(|stamp| stamp.generation != target.stamp.generation) {
                    return self.refuse(DropReason::TargetGone, id.into());
                }
            }
            None => {
                self.consult(group.stamp);
                if group.terminates {
                    return self.refuse(DropReason::TargetGone, id.into());
                }
            }
        }
        self.pass(Stage::LoadBalancer, Some(id.into()), None, Why::StaysWith(present.to));
        Ok(present)
    }

    /// Into the target's subnet and interface (or those of an appliance on the way there), and the answer back to the load
    /// balancer.
    pub(super) fn reach_target(
        &mut self,
        sender: Sender<'a>,
        target: &'a InterfacePlan,
        balancing: Balancing<'a>,
    ) -> Walked<Action> {
        // "NAT loopback, also known as hairpinning, is not supported when client IP preservation is enabled."
        if balancing.preserves && target.id == self.flow.entry {
            return self.refuse(DropReason::Hairpin, balancing.id.into());
        }
        let crossing = sender.subnet != target.subnet;
        if crossing {
            let direction = seen_as(sender, Direction::forward(false));
            self.acl(target.subnet, Stage::IngressNetworkAcl, direction)?;
        } else {
            self.pass(Stage::IngressNetworkAcl, None, None, Why::SameSubnet);
        }
        self.target_groups(sender, target, balancing.balancer)?;
        if crossing {
            let direction = seen_as(sender, Direction::answer(true));
            self.acl(target.subnet, Stage::ReturnNetworkAcl, direction)?;
            self.answer_into(sender)?;
        }
        // What a target says to a client whose address it sees goes by the load balancer all the same, whatever its routes.
        if !balancing.preserves {
            self.way_back(sender, target.vpc, target.subnet)?;
        }
        let Balancing { id, target: to, preserves, source, hops, mtu, through_endpoint, idle, .. } =
            balancing;
        let deliver = Deliver::Interface(target.id);
        let action = self.arrive(source, Some(*to.ip()), deliver, hops, mtu, idle);
        Ok(Action {
            mtu_reported: !through_endpoint,
            resets: true,
            balanced: Some(Balanced { load_balancer: id, port: to.port(), preserves }),
            ..action
        })
    }

    /// The rules of the target's groups. Those that name a group are about the load balancer's, whether or not the target
    /// sees the client; the clients' own groups count for nothing there ("Target security groups").
    fn target_groups(
        &mut self,
        sender: Sender<'a>,
        target: &'a InterfacePlan,
        balancer: &'a InterfacePlan,
    ) -> Walked<()> {
        if self.is_tracked(target) {
            self.pass(Stage::IngressSecurityGroup, None, None, Why::Tracked);
            return Ok(());
        }
        if self.is_unfiltered(target) {
            self.pass(Stage::IngressSecurityGroup, None, None, Why::NoGroups);
            return Ok(());
        }
        let found = self.find_rule(target, false, |walk, rule| match (&rule.peer, sender.seen) {
            (PeerPlan::Block(_) | PeerPlan::List(_) | PeerPlan::Never, Seen::Own) => {
                walk.peer_matches(&rule.peer, End::Source, sender.address, |_| None)
            }
            (PeerPlan::Group(_), _) | (_, Seen::Address | Seen::Port) => {
                walk.peer_at(&rule.peer, sender.address, |_| Some(balancer))
            }
        });
        self.let_in(target, found)
    }

    /// What the first rule that allows a flow into an interface means, or that there is none.
    pub(super) fn let_in(
        &mut self,
        target: &InterfacePlan,
        found: Option<(SecurityGroupId, SecurityGroupRuleId)>,
    ) -> Walked<()> {
        match found {
            Some((group, rule)) => {
                let rule = Some(Rule::SecurityGroup(rule));
                self.pass(Stage::IngressSecurityGroup, Some(group.into()), rule, Why::RuleAllows);
                Ok(())
            }
            None => {
                let resource = target.groups.first().map_or(target.id.into(), |group| (*group).into());
                self.refuse(DropReason::IngressSecurityGroup, resource)
            }
        }
    }
}
