//! The stages that are lists of rules: security groups and network ACLs.

use std::net::Ipv4Addr;

use postern_model::network_acl::AclEntry;
use postern_model::security_group::Traffic;
use postern_model::{IpNet, SecurityGroupId, SecurityGroupRuleId, SubnetId, VpcId};

use super::{Walk, Walked};
use crate::cover::{End, v4};
use crate::decision::{Reply, Rule, Stamp, Why};
use crate::flow::Transport;
use crate::plan::{GroupPlan, InterfacePlan, PeerPlan, RulePlan};
use crate::stage::{DropReason, Stage};

/// The ports that a NAT gateway takes for its own side of a flow: any of them may be chosen, so a rule about an answer
/// to it must hold for all ("NAT gateway basics").
const NAT_PORTS: (u16, u16) = (1024, u16::MAX);

/// Which packets of a flow an ACL is asked about.
#[derive(Clone, Copy)]
pub(super) struct Direction {
    /// Whether the rules for packets that leave the subnet are asked.
    egress: bool,
    /// Whether it is about the answers.
    answer: bool,
    /// The sender's address where it is not the flow's own.
    from: Option<Ipv4Addr>,
    /// Whether the sender's port is one of a NAT gateway's.
    nat_port: bool,
}

impl Direction {
    /// Packets from the flow's sender.
    pub(super) fn forward(egress: bool) -> Self {
        Self { egress, answer: false, from: None, nat_port: false }
    }

    /// Packets back to the flow's sender.
    pub(super) fn answer(egress: bool) -> Self {
        Self { egress, answer: true, from: None, nat_port: false }
    }

    /// The sender has become this one.
    pub(super) fn sender(self, address: Ipv4Addr) -> Self {
        Self { from: Some(address), ..self }
    }

    /// The sender has become this one, with a port of a NAT gateway's.
    pub(super) fn nat_sender(self, address: Ipv4Addr) -> Self {
        Self { from: Some(address), nat_port: true, ..self }
    }

    /// Which end's address an entry's block is about: the far one for packets that come in, for those that leave the
    /// one that they go to; answers swap the two.
    fn far_end(self) -> End {
        match (self.egress, self.answer) {
            (true, false) | (false, true) => End::Destination,
            (false, false) | (true, true) => End::Source,
        }
    }

    /// That end's address, where it is not the flow's own.
    fn far_address(self) -> Option<Ipv4Addr> {
        match self.far_end() {
            End::Source => self.from,
            // Where the receiver gets another address, its ACL is asked about the sender's.
            End::Destination => None,
        }
    }
}

/// Ports that may be the packets' and that no entry has decided about yet: any of a NAT gateway's may be chosen.
type Undecided = smallvec::SmallVec<[(u16, u16); 4]>;

impl<'a> Walk<'a> {
    /// Asks an ACL of a subnet. Lowest number first, the first entry that matches decides, none means deny.
    pub(super) fn acl(&mut self, subnet: SubnetId, stage: Stage, direction: Direction) -> Walked<()> {
        let plan = self.plan;
        let reason = match stage {
            Stage::EgressNetworkAcl => DropReason::EgressNetworkAcl,
            Stage::IngressNetworkAcl => DropReason::IngressNetworkAcl,
            _ => DropReason::ReturnNetworkAcl,
        };
        if direction.answer && !self.has_answers() {
            return Ok(());
        }
        let Some(subnet_plan) = plan.subnets.get(&subnet) else { return self.refuse(reason, subnet.into()) };
        self.consult(subnet_plan.stamp);
        let id = subnet_plan.acl;
        let Some(acl) = plan.acls.get(&id) else { return self.refuse(reason, id.into()) };
        self.consult(acl.stamp);
        let entries = if direction.egress { &acl.egress } else { &acl.ingress };
        let mut undecided = Undecided::from_slice(&[NAT_PORTS]);
        for entry in entries {
            if !self.entry_matches(entry, direction, &undecided) {
                continue;
            }
            let rule = Some(Rule::NetworkAcl(Some(entry.number)));
            if !entry.allow {
                return self.refuse_by(reason, id.into(), rule, Reply::Silence);
            }
            if let Some(ports) = self.nat_ports(entry.traffic, direction) {
                undecided = without(&undecided, ports);
                if !undecided.is_empty() {
                    continue;
                }
            }
            let why = if direction.answer { Why::AnswerPasses } else { Why::RuleAllows };
            self.pass(stage, Some(id.into()), rule, why);
            return Ok(());
        }
        self.refuse_by(reason, id.into(), Some(Rule::NetworkAcl(None)), Reply::Silence)
    }

    /// Whether an entry is about any of the packets that are not decided about yet.
    fn entry_matches(&mut self, entry: &AclEntry, direction: Direction, undecided: &Undecided) -> bool {
        let traffic_matches = match self.nat_ports(entry.traffic, direction) {
            Some((low, high)) => undecided.iter().any(|(first, last)| low <= *last && high >= *first),
            None => {
                let transport = self.flow.transport;
                let transport = if direction.answer { transport.reversed() } else { transport };
                self.traffic_matches(entry.traffic, transport, direction.answer)
            }
        };
        if !traffic_matches {
            return false;
        }
        match direction.far_address() {
            Some(address) => match entry.cidr {
                IpNet::V4(block) => block.contains(&address),
                IpNet::V6(_) => false,
            },
            None => match (direction.far_end(), self.toward(), entry.cidr) {
                (End::Destination, Some(to), IpNet::V4(block)) => block.contains(to.ip()),
                (End::Destination, Some(_), IpNet::V6(_)) => false,
                (End::Source, _, _) | (End::Destination, None, _) => {
                    self.cover.consult_block(direction.far_end(), entry.cidr)
                }
            },
        }
    }

    /// The ports that an entry is about, where the packets' are any of a NAT gateway's.
    fn nat_ports(&self, traffic: Traffic, direction: Direction) -> Option<(u16, u16)> {
        match (traffic, self.flow.transport) {
            (Traffic::Tcp(low, high), Transport::Tcp { .. })
            | (Traffic::Udp(low, high), Transport::Udp { .. })
                if direction.answer && direction.nat_port =>
            {
                Some((low, high))
            }
            (
                Traffic::All | Traffic::Tcp(..) | Traffic::Udp(..) | Traffic::Icmp(..) | Traffic::Protocol(_),
                _,
            ) => None,
        }
    }

    /// Whether rules about this traffic are about the flow's packets, or about the answers.
    fn traffic_matches(&mut self, traffic: Traffic, transport: Transport, answer: bool) -> bool {
        // The port that an answer goes to is the one that the flow came from.
        let end = if answer { End::Source } else { End::Destination };
        // Toward a target it is not the flow's own.
        let toward = self.toward().filter(|_| !answer);
        match (traffic, transport) {
            (Traffic::All, _) => true,
            (Traffic::Tcp(low, high), Transport::Tcp { .. })
            | (Traffic::Udp(low, high), Transport::Udp { .. }) => match toward {
                Some(to) => (low..=high).contains(&to.port()),
                None => self.cover.consult_ports(end, low, high),
            },
            (Traffic::Icmp(kind, code), Transport::Icmp { kind: k, code: c, .. }) => {
                kind.is_none_or(|kind| kind == k) && code.is_none_or(|code| code == c)
            }
            (Traffic::Protocol(number), transport) => number == transport.protocol(),
            (Traffic::Tcp(..) | Traffic::Udp(..) | Traffic::Icmp(..), _) => false,
        }
    }

    /// The rules of the sender's groups.
    pub(super) fn egress_groups(&mut self, interface: &InterfacePlan) -> Walked<()> {
        if self.is_tracked(interface) {
            self.pass(Stage::EgressSecurityGroup, None, None, Why::Tracked);
            return Ok(());
        }
        if self.is_unfiltered(interface) {
            self.pass(Stage::EgressSecurityGroup, None, None, Why::NoGroups);
            return Ok(());
        }
        let found = self.find_rule(interface, true, |walk, rule| match walk.toward() {
            Some(to) => walk.peer_at(&rule.peer, *to.ip(), |walk| walk.member_of(interface.vpc, *to.ip())),
            None => {
                let address = v4(walk.flow.destination);
                walk.peer_matches(&rule.peer, End::Destination, address, |walk| {
                    walk.cover.pin(End::Destination);
                    walk.member_of(interface.vpc, address)
                })
            }
        });
        match found {
            Some((group, rule)) => {
                let rule = Some(Rule::SecurityGroup(rule));
                self.pass(Stage::EgressSecurityGroup, Some(group.into()), rule, Why::RuleAllows);
                Ok(())
            }
            None => {
                let resource = interface.groups.first().map_or(interface.id.into(), |group| (*group).into());
                self.refuse(DropReason::EgressSecurityGroup, resource)
            }
        }
    }

    /// The rules of the receiver's groups. `sender` is none for packets from outside the VPC or through a gateway.
    pub(super) fn ingress_groups(
        &mut self,
        sender: Option<&InterfacePlan>,
        from: Ipv4Addr,
        target: &InterfacePlan,
    ) -> Walked<()> {
        if self.is_tracked(target) {
            self.pass(Stage::IngressSecurityGroup, None, None, Why::Tracked);
            return Ok(());
        }
        if self.is_unfiltered(target) {
            self.pass(Stage::IngressSecurityGroup, None, None, Why::NoGroups);
            return Ok(());
        }
        let own_source = from == v4(self.flow.source);
        let found = self.find_rule(target, false, |walk, rule| {
            if own_source {
                walk.peer_matches(&rule.peer, End::Source, from, |walk| {
                    // A group stands for the addresses of its members, not for what they pass on.
                    walk.cover.pin(End::Source);
                    sender.filter(|sender| sender.vpc == target.vpc && sender.addresses.contains(&from))
                })
            } else {
                walk.peer_at(&rule.peer, from, |_| None)
            }
        });
        self.let_in(target, found)
    }

    /// Whether nothing filters an interface: "If you don't associate a security group with your Network Load Balancer …
    /// all clients can access" it. That never changes while it is there.
    pub(super) fn is_unfiltered(&mut self, interface: &InterfacePlan) -> bool {
        if interface.unfiltered {
            self.consult(interface.groups_stamp);
        }
        interface.unfiltered
    }

    /// Whether the flow passed before and the interface's groups are not among what cuts it: then they track it.
    pub(super) fn is_tracked(&self, interface: &InterfacePlan) -> bool {
        let is_groups = |stamp: &Stamp| stamp.slot == interface.groups_stamp.slot;
        self.tracked.is_some_and(|cut| !cut.iter().any(is_groups))
    }

    /// The first rule of an interface's groups that allows the flow.
    pub(super) fn find_rule(
        &mut self,
        interface: &InterfacePlan,
        egress: bool,
        mut peer_matches: impl FnMut(&mut Self, &RulePlan) -> bool,
    ) -> Option<(SecurityGroupId, SecurityGroupRuleId)> {
        let plan = self.plan;
        for id in &interface.groups {
            // A group that is not there allows nothing.
            let Some(group) = plan.groups.get(id) else { continue };
            self.depend(group.stamp);
            for rule in rules(group, egress) {
                if self.traffic_matches(rule.traffic, self.flow.transport, false) && peer_matches(self, rule)
                {
                    return Some((*id, rule.id));
                }
            }
        }
        None
    }

    /// Whether the address at one end is a rule's peer. `member` finds the interface that has the address.
    pub(super) fn peer_matches<'p>(
        &mut self,
        peer: &PeerPlan,
        end: End,
        address: Ipv4Addr,
        member: impl FnOnce(&mut Self) -> Option<&'p InterfacePlan>,
    ) -> bool {
        match peer {
            PeerPlan::Block(block) => self.cover.consult_block(end, (*block).into()),
            PeerPlan::List(list) => {
                let found = list.find(u32::from(address));
                self.cover.keep_interval(end, found.low, found.high);
                found.value.is_some()
            }
            PeerPlan::Group(id) => self.is_member(*id, member),
            PeerPlan::Never => false,
        }
    }

    /// Who has an address in a VPC.
    fn member_of(&mut self, vpc: VpcId, address: Ipv4Addr) -> Option<&'a InterfacePlan> {
        let plan = self.plan;
        if let Some(vpc) = plan.vpcs.get(&vpc) {
            self.depend(vpc.members);
        }
        plan.addresses.get(&(vpc, address)).and_then(|id| plan.interface(*id))
    }

    /// Whether an address that is not the flow's own is a rule's peer: whatever the flow, it is the same one.
    pub(super) fn peer_at<'p>(
        &mut self,
        peer: &PeerPlan,
        address: Ipv4Addr,
        member: impl FnOnce(&mut Self) -> Option<&'p InterfacePlan>,
    ) -> bool {
        match peer {
            PeerPlan::Block(block) => block.contains(&address),
            PeerPlan::List(list) => list.find(u32::from(address)).value.is_some(),
            PeerPlan::Group(id) => self.is_member(*id, member),
            PeerPlan::Never => false,
        }
    }

    fn is_member<'p>(
        &mut self,
        group: SecurityGroupId,
        member: impl FnOnce(&mut Self) -> Option<&'p InterfacePlan>,
    ) -> bool {
        member(self).is_some_and(|interface| {
            self.depend(interface.stamp);
            interface.groups.contains(&group)
        })
    }

    /// Makes the groups of an interface cut the flow where they do not track it: TCP or UDP that a rule allows from or
    /// to everywhere, when another lets everything pass the other way, whatever its port ("Untracked connections").
    pub(super) fn untracked_cuts(&mut self, interface: &InterfacePlan, egress: bool) {
        let tracks_all = matches!(self.flow.transport, Transport::Icmp { .. } | Transport::Other { .. });
        if tracks_all || self.is_tracked(interface) {
            return;
        }
        let plan = self.plan;
        let groups: smallvec::SmallVec<[&GroupPlan; 4]> =
            interface.groups.iter().filter_map(|id| plan.groups.get(id)).map(AsRef::as_ref).collect();
        groups.iter().for_each(|group| self.depend(group.stamp));
        let all =
            |egress| groups.iter().flat_map(move |group| rules(group, egress)).filter(|r| is_everywhere(r));
        let back = all(!egress).any(|rule| is_all_ports(rule.traffic, self.flow.transport));
        let forth =
            back && all(egress).any(|rule| self.traffic_matches(rule.traffic, self.flow.transport, false));
        if forth {
            self.consult(interface.groups_stamp);
            groups.iter().for_each(|group| self.consult(group.stamp));
        }
    }
}

fn rules(group: &GroupPlan, egress: bool) -> &[RulePlan] {
    if egress { &group.egress } else { &group.ingress }
}

fn is_everywhere(rule: &RulePlan) -> bool {
    matches!(rule.peer, PeerPlan::Block(block) if block.prefix_len() == 0)
}

/// Whether a rule is about all packets of a protocol.
fn is_all_ports(traffic: Traffic, transport: Transport) -> bool {
    match (traffic, transport) {
        (Traffic::All, _)
        | (Traffic::Tcp(0, u16::MAX), Transport::Tcp { .. })
        | (Traffic::Udp(0, u16::MAX), Transport::Udp { .. }) => true,
        (Traffic::Protocol(number), _) => number == transport.protocol(),
        (Traffic::Tcp(..) | Traffic::Udp(..) | Traffic::Icmp(..), _) => false,
    }
}

/// What is left of some ports without those of a range.
fn without(ports: &Undecided, (low, high): (u16, u16)) -> Undecided {
    let left = |&(first, last): &(u16, u16)| {
        let below = (first < low).then(|| (first, last.min(low.saturating_sub(1))));
        let above = (last > high).then(|| (first.max(high.saturating_add(1)), last));
        [below, above]
    };
    ports.iter().flat_map(left).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_taken_out_of_others() {
        let ports = Undecided::from_slice(&[(10, 20), (30, 30)]);
        let left = |range| without(&ports, range).to_vec();
        assert_eq!(left((0, 9)), [(10, 20), (30, 30)]);
        assert_eq!(left((12, 14)), [(10, 11), (15, 20), (30, 30)]);
        assert_eq!(left((10, 20)), [(30, 30)]);
        assert_eq!(left((20, 30)), [(10, 19)]);
        assert_eq!(left((0, u16::MAX)), []);
    }
}
