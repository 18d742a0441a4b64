//! Through VPC endpoints: gateway endpoints, that routes lead to, and interface endpoints, that have addresses; and through
//! inbound endpoints of resolvers, that have addresses too.

use postern_model::{ResolverEndpointId, SubnetId, VpcEndpointId, VpcId};

use super::{Arrival, ENDPOINT_MTU, Sender, Walk, Walked};
use crate::cover::End;
use crate::decision::{Action, Deliver, Door, Hops, IdleTimeouts, SourceRewrite, Through, Why};
use crate::flow::Transport;
use crate::plan::{BalancerPlan, InterfacePlan, Target};
use crate::stage::{DropReason, Stage};

/// Where resolvers are asked.
const DNS_PORT: u16 = 53;

impl<'a> Walk<'a> {
    /// Through a gateway endpoint.
    pub(super) fn through_endpoint(
        &mut self,
        sender: Sender<'a>,
        id: VpcEndpointId,
        vpc: VpcId,
        hops: Hops,
    ) -> Walked<Action> {
        self.answer_into(sender)?;
        // INVARIANT: who is behind a request (`aws:VpcSourceIp`) is who gets its answer. AWS sends the answer to the
        // holder of the source address, so an interface speaks to a service for its own addresses only, whether or not
        // it checks sources.
        if !self.is_own(sender) {
            return self.refuse(DropReason::ReturnRoute, id.into());
        }
        self.pass(Stage::Endpoint, Some(id.into()), None, Why::EndpointAvailable);
        let source = self.identity(sender, Through::Endpoint(id, vpc));
        // Endpoints drop what is too large without a word.
        Ok(Action { mtu_reported: false, ..self.deliver_at_front_door(sender, source, hops, ENDPOINT_MTU) })
    }

    /// Through an interface endpoint, by one of its interfaces.
    pub(super) fn through_interface(
        &mut self,
        sender: Sender<'a>,
        target: &'a InterfacePlan,
        id: VpcEndpointId,
        hops: Hops,
    ) -> Walked<Action> {
        self.come_in(sender, target, true)?;
        let Some(endpoint) = self.plan.endpoints.get(&id) else {
            return self.refuse(DropReason::EndpointNotAvailable, id.into());
        };
        self.consult(endpoint.stamp);
        if !endpoint.passes {
            return self.refuse(DropReason::EndpointNotAvailable, id.into());
        }
        match self.flow.transport {
            Transport::Tcp { .. } => {}
            // Services of users may take datagrams.
            Transport::Udp { .. } if endpoint.balancers.is_some() => {}
            // AWS's services are spoken to over TCP, and nobody answers an echo there.
            Transport::Udp { .. } | Transport::Icmp { .. } | Transport::Other { .. } => {
                return self.refuse(DropReason::EndpointProtocol, id.into());
            }
        }
        self.pass(Stage::Endpoint, Some(id.into()), None, Why::EndpointAvailable);
        self.go_back(sender, target, true)?;
        if !self.answers_come_here(sender, target.subnet)? {
            return self.refuse(DropReason::ReturnRoute, id.into());
        }
        let source = self.identity(sender, Through::Endpoint(id, endpoint.vpc));
        if let Some(balancers) = &endpoint.balancers {
            let balancer = balancers.get(&target.subnet).copied();
            return self.reach_balancer(sender, id, balancer, source, hops);
        }
        let (door, idle) = (Door::FrontDoor, IdleTimeouts::GATEWAY);
        // "Automatically tracked connections": those through an interface endpoint are, so no group cuts them.
        let to = self.arrive(source, Some(door.address()), Deliver::Door(door), hops, ENDPOINT_MTU, idle);
        Ok(Action { mtu_reported: false, ..to })
    }

    /// Through an inbound endpoint of the resolver of the VPC that it is in. It takes DNS, whoever reaches its address:
    /// "DNS resolvers on your network can forward DNS queries to Route 53 VPC Resolver via this endpoint."
    pub(super) fn through_resolver(
        &mut self,
        sender: Sender<'a>,
        target: &'a InterfacePlan,
        id: ResolverEndpointId,
        hops: Hops,
    ) -> Walked<Action> {
        self.come_in(sender, target, true)?;
        let vpc = target.vpc;
        let Some(vpc_plan) = self.plan.vpcs.get(&vpc) else {
            return self.refuse(DropReason::ResolverOff, vpc.into());
        };
        self.consult(vpc_plan.stamp);
        if !vpc_plan.dns_support {
            return self.refuse(DropReason::ResolverOff, vpc.into());
        }
        let asks = match self.flow.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } => {
                self.cover.consult_ports(End::Destination, DNS_PORT, DNS_PORT)
            }
            Transport::Icmp { .. } | Transport::Other { .. } => false,
        };
        if !asks {
            return self.refuse(DropReason::EndpointProtocol, id.into());
        }
        self.pass(Stage::Endpoint, Some(id.into()), None, Why::AnsweredFor(vpc));
        self.go_back(sender, target, true)?;
        if !self.answers_come_here(sender, target.subnet)? {
            return self.refuse(DropReason::ReturnRoute, id.into());
        }
        // Its groups are those of an interface like others, so what they do not track they cut.
        if sender.nat.is_none() {
            sender.interface.iter().for_each(|interface| self.untracked_cuts(interface, true));
            self.untracked_cuts(target, false);
        }
        let source = self.identity(sender, Through::Resolver(id, vpc));
        let door = Door::Resolver;
        let mtu = self.arrival_inside(sender, hops).mtu;
        let idle = if sender.nat.is_some() { IdleTimeouts::GATEWAY } else { IdleTimeouts::INTERFACE };
        Ok(self.arrive(source, Some(door.address()), Deliver::Door(door), hops, mtu, idle))
    }

    /// To the load balancer of a user's service, in the service's own VPC, whose addresses may be those of the sender's:
    /// targets see the load balancer, and the load balancer itself an address that stands for the sender. "The load balancer's security groups evaluate the client's address" unless they
    /// were told not to.
    fn reach_balancer(
        &mut self,
        sender: Sender<'a>,
        id: VpcEndpointId,
        balancer: Option<BalancerPlan>,
        source: SourceRewrite,
        hops: Hops,
    ) -> Walked<Action> {
        let plan = self.plan;
        let found = balancer.and_then(|balancer| Some((balancer, plan.interface(balancer.interface)?)));
        let Some((balancer, target)) = found else {
            return self.refuse(DropReason::EndpointNotAvailable, id.into());
        };
        self.consult(target.stamp);
        let Some(address) = target.addresses.first().copied().filter(|_| target.attached) else {
            return self.refuse(DropReason::TargetDown, target.id.into());
        };
        if balancer.filters {
            self.ingress_groups(None, sender.address, target)?;
        }
        let front = plan.fronts.get(&target.id);
        if let Some((front, listener)) = front.and_then(|front| Some((front, self.listener(front)?))) {
            // The networks of both sides may have the same addresses: what the load balancer hands on is its own.
            let arrival = Arrival { hops, source, destination: None, mtu: ENDPOINT_MTU };
            return self.balance(sender, target, (front, listener), arrival, Some(id));
        }
        if let Transport::Udp { .. } = self.flow.transport {
            // Nobody at the interface itself takes any.
            return self.refuse(DropReason::EndpointProtocol, id.into());
        }
        let (deliver, idle) = (Deliver::Interface(target.id), IdleTimeouts::GATEWAY);
        let to = self.arrive(source, Some(address), deliver, hops, ENDPOINT_MTU, idle);
        Ok(Action { mtu_reported: false, ..to })
    }

    /// Whether the answer to who is behind a request comes to this very interface: the address is its own, or the
    /// endpoint's subnet routes it here, as to an appliance that looks at what it passes on ("Middlebox routing").
    ///
    /// INVARIANT: who is behind a request (`aws:VpcSourceIp`) is who gets its answer.
    fn answers_come_here(&mut self, sender: Sender<'a>, subnet: SubnetId) -> Walked<bool> {
        if self.is_own(sender) {
            return Ok(true);
        }
        let plan = self.plan;
        if plan.subnets.get(&subnet).is_none_or(|found| found.cidr.contains(&sender.address)) {
            return Ok(false);
        }
        let (_, route) = self.find_route(subnet, End::Source, sender.address)?;
        Ok(route.is_some_and(|route| route.target == Target::NetworkInterface(self.flow.entry)))
    }
}
