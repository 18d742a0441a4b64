//! A scripted network: two VPCs with the same addresses, a NAT gateway, an endpoint, and a policy that tests change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use postern_model::elb::{TargetId, TargetKey};
use postern_model::{
    AccountId, LoadBalancerId, Mac, NatGatewayId, NetworkInterfaceId, ResourceId, SubnetId, VpcEndpointId,
    VpcId,
};
use postern_path::{
    Action, Balanced, Before, Choice, Cover, Decision, Deliver, Door, DropReason, End, Flow, Hops,
    IdleTimeouts, Outcome, Peer, Refusal, Reply, SourceRewrite, Stamp, Table, Through,
};

use super::frames::Packet;
use crate::forward::decider::{Decider, InterfaceInfo};
use crate::forward::key::PortNumber;
use crate::forward::limit::Limits;
use crate::forward::port::Owner;
use crate::forward::step::{Effects, Fate, Frame, step};
use crate::forward::tables::Tables;
use crate::host::VirtioNetHdr;

pub const SECOND: u64 = 1_000_000_000;
/// Where the NAT gateway is seen.
pub const VISIBLE: Ipv4Addr = Ipv4Addr::new(52, 1, 1, 1);
/// The NAT gateway's hop.
pub const NAT_HOP: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);
/// A server that is reached through the NAT gateway.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Two addresses of a service, behind the endpoint.
pub const SERVICE: [Ipv4Addr; 2] = [Ipv4Addr::new(54, 231, 0, 1), Ipv4Addr::new(54, 231, 0, 2)];
/// Two addresses of nobody's in the region.
pub const WORLD: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(203, 0, 113, 8)];
pub const DOORS_MAC: Mac = Mac([2, 9, 9, 9, 9, 9]);

pub fn eni(number: u64) -> NetworkInterfaceId {
    NetworkInterfaceId::from_number(1 << 40 | number)
}

pub fn mac(number: u64) -> Mac {
    Mac([2, 0, 0, 0, 1, number as u8])
}

/// Interfaces 0 to 3 are in one VPC, 4 to 7 in another with the same addresses; 8 is the server outside.
pub fn address(number: u64) -> Ipv4Addr {
    if number == 8 { OUTSIDE } else { Ipv4Addr::new(10, 0, 0, 10 + (number % 4) as u8) }
}

pub fn vpc(number: u64) -> VpcId {
    VpcId::from_number((1 << 40) | (number / 4))
}

pub const GATEWAY_ID: NatGatewayId = NatGatewayId::from_number(1 << 40 | 1);

pub fn endpoint(number: u64) -> VpcEndpointId {
    VpcEndpointId::from_number((1 << 40) | (number / 4))
}

/// A load balancer in the first VPC, at its port 80, and the interfaces of its targets, which take connections at 8080.
pub const BALANCER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);
pub const TARGETS: [u64; 3] = [1, 2, 3];
pub const BALANCER_ID: LoadBalancerId = LoadBalancerId::from_number(77);

/// Slot of a target, which changes when it fails.
pub const fn target_slot(target: u64) -> u32 {
    200 + target as u32
}

/// Slot of the policy ("security group") of each interface; then of its routes; then of all else.
pub const GROUP_SLOTS: u32 = 0;
pub const ROUTE_SLOTS: u32 = 100;

/// The network as decided about. A change makes another one.
#[derive(Debug, Clone)]
pub struct Script {
    /// Interfaces whose group refuses new flows to a destination.
    pub refused: BTreeSet<(u64, Ipv4Addr)>,
    /// Interfaces that have no route at all.
    pub unrouted: BTreeSet<u64>,
    pub generations: BTreeMap<u32, u64>,
    pub mtu: u16,
    pub mtu_reported: bool,
    pub source_dest_check: bool,
    pub idle: IdleTimeouts,
    /// Of the load balancer's targets, those that get new connections.
    pub healthy: Vec<u64>,
    pub preserves: bool,
}

impl Default for Script {
    fn default() -> Self {
        let slots = (0..9).flat_map(|number| [GROUP_SLOTS + number, ROUTE_SLOTS + number]);
        let slots = slots.chain(TARGETS.map(target_slot));
        Self {
            refused: BTreeSet::new(),
            unrouted: BTreeSet::new(),
            generations: slots.map(|slot| (slot, 1)).collect(),
            mtu: 9001,
            mtu_reported: true,
            source_dest_check: true,
            idle: IdleTimeouts::INTERFACE,
            healthy: TARGETS.to_vec(),
            preserves: false,
        }
    }
}

impl Script {
    pub fn all_stamps(&self) -> Vec<Stamp> {
        self.generations
            .iter()
            .map(|(slot, generation)| Stamp { slot: *slot, generation: *generation })
            .collect()
    }

    pub fn stamp(&self, slot: u32) -> Stamp {
        Stamp { slot, generation: self.generations[&slot] }
    }

    /// A slot changes.
    pub fn bump(&mut self, slot: u32) -> Stamp {
        *self.generations.get_mut(&slot).unwrap() += 1;
        self.stamp(slot)
    }

    fn number(id: NetworkInterfaceId) -> u64 {
        id.number() & 0xff
    }

    /// What is done to a flow, by its destination.
    pub fn action(&self, flow: &Flow) -> Option<Action> {
        let entry = Self::number(flow.entry);
        let IpAddr::V4(destination) = flow.destination else { return None };
        let IpAddr::V4(source) = flow.source else { return None };
        let near = Action {
            source: SourceRewrite::Keep,
            destination: None,
            deliver: Deliver::Interface(eni(0)),
            hops: Hops::NONE,
            mtu: self.mtu,
            mtu_reported: self.mtu_reported,
            idle: self.idle,
            resets: false,
            balanced: None,
        };
        let peer = |through| Peer {
            account: AccountId::from_number(1).unwrap(),
            vpc: vpc(entry),
            interface: flow.entry,
            instance: None,
            address: source,
            through,
        };
        let door = |door: Door, through| Action {
            source: SourceRewrite::Identity { peer: peer(through), gateway: None },
            destination: Some(door.address().into()),
            deliver: Deliver::Door(door),
            idle: IdleTimeouts::GATEWAY,
            resets: true,
            ..near
        };
        if let Some((_, target)) = self.chosen(flow) {
            return self.balanced(flow, target);
        }
        if entry < 8 && destination == OUTSIDE {
            let mut hops = Hops::NONE;
            hops.push(NAT_HOP);
            return Some(Action {
                source: SourceRewrite::Port {
                    gateway: GATEWAY_ID.into(),
                    private_address: NAT_HOP.into(),
                    visible_address: VISIBLE.into(),
                },
                deliver: Deliver::Interface(eni(8)),
                hops,
                idle: IdleTimeouts::GATEWAY,
                resets: true,
                ..near
            });
        }
        if WORLD.contains(&destination) {
            let idle = self.idle;
            return Some(Action { idle, ..door(Door::Uplink, Through::Internet(VISIBLE)) });
        }
        if SERVICE.contains(&destination) {
            return Some(door(Door::FrontDoor, Through::Endpoint(endpoint(entry), vpc(entry))));
        }
        if destination == Ipv4Addr::new(10, 0, 0, 2) {
            return Some(door(Door::Resolver, Through::Link));
        }
        let target = (0..8).find(|number| vpc(*number) == vpc(entry) && address(*number) == destination)?;
        Some(Action { deliver: Deliver::Interface(eni(target)), ..near })
    }

    fn table(&self) -> Arc<Table> {
        let key = |target: &u64| TargetKey { id: TargetId::Address(address(*target)), port: 8_080 };
        Arc::new(Table::new(&self.healthy.iter().map(key).collect::<Vec<_>>(), false))
    }

    /// Whether a flow is for the load balancer.
    fn is_balanced(flow: &Flow) -> bool {
        flow.destination == BALANCER && flow.transport.ports().1 == 80 && Self::number(flow.entry) < 4
    }

    /// The target of a new flow, by its number among those that are healthy.
    fn chosen(&self, flow: &Flow) -> Option<(u16, u64)> {
        let number = self.table().choose(flow).filter(|_| Self::is_balanced(flow))?;
        Some((number, self.healthy[usize::from(number)]))
    }

    fn cut_of(&self, flow: &Flow) -> Vec<Stamp> {
        let routes = self.stamp(ROUTE_SLOTS + Self::number(flow.entry) as u32);
        let target = self.chosen(flow).map(|(_, target)| self.stamp(target_slot(target)));
        [routes].into_iter().chain(target).collect()
    }

    fn choice(&self, flow: &Flow, cover: Cover) -> Option<Box<Choice>> {
        let (chosen, _) = self.chosen(flow)?;
        Some(Box::new(Choice { table: self.table(), chosen, cover, consulted: 1 }))
    }

    /// What is done with a flow that has this target.
    fn balanced(&self, flow: &Flow, target: u64) -> Option<Action> {
        let port = SourceRewrite::Port {
            gateway: BALANCER_ID.into(),
            private_address: BALANCER.into(),
            visible_address: BALANCER.into(),
        };
        Self::is_balanced(flow).then_some(Action {
            source: if self.preserves { SourceRewrite::Keep } else { port },
            destination: Some(address(target).into()),
            deliver: Deliver::Interface(eni(target)),
            hops: Hops::NONE,
            mtu: self.mtu,
            mtu_reported: self.mtu_reported,
            idle: IdleTimeouts::GATEWAY,
            resets: true,
            balanced: Some(Balanced { load_balancer: BALANCER_ID, port: 8_080, preserves: self.preserves }),
        })
    }

    /// Whether the policy lets a new flow pass.
    pub fn allows(&self, flow: &Flow) -> Result<Action, DropReason> {
        let entry = Self::number(flow.entry);
        let IpAddr::V4(destination) = flow.destination else { return Err(DropReason::Unsupported) };
        if self.refused.contains(&(entry, destination)) {
            return Err(DropReason::EgressSecurityGroup);
        }
        if self.unrouted.contains(&entry) {
            return Err(DropReason::NoRoute);
        }
        self.action(flow).ok_or(DropReason::NoSuchAddress)
    }
}

impl Decider for Script {
    fn decide(&self, flow: &Flow) -> Decision {
        let entry = Self::number(flow.entry) as u32;
        let mut cover = Cover::everything(flow);
        // Addresses decide, ports do not, but for a rule that keeps low source ports apart.
        cover.pin(End::Source);
        cover.pin(End::Destination);
        cover.consult_ports(End::Source, 1000, 65535);
        if flow.destination == BALANCER {
            cover.consult_ports(End::Destination, 80, 80);
        }
        let outcome = match self.allows(flow) {
            Ok(action) => Outcome::Forward(action),
            Err(reason) => Outcome::Refuse(Refusal {
                reason,
                resource: Some(ResourceId::Subnet(SubnetId::from_number(1 << 40 | u64::from(entry)))),
                reply: Reply::Silence,
            }),
        };
        Decision {
            steps: Default::default(),
            outcome,
            cover,
            consulted: [self.stamp(GROUP_SLOTS + entry)].into_iter().chain(self.cut_of(flow)).collect(),
            cut: self.cut_of(flow).into_iter().collect(),
            choice: self.choice(flow, cover),
        }
    }

    /// As tracked: groups are not asked.
    fn decide_again(&self, flow: &Flow, before: Before<'_>) -> Decision {
        let cut = before.cut.unwrap_or_default();
        assert!(!cut.is_empty());
        let tracked = Script { refused: BTreeSet::new(), ..self.clone() };
        let Some(present) = before.present else { return tracked.decide(flow) };
        let target = TARGETS.into_iter().find(|target| address(*target) == *present.to.ip()).unwrap();
        let failed =
            cut.iter().any(|stamp| stamp.slot == target_slot(target) && *stamp != self.stamp(stamp.slot));
        let gone = Refusal { reason: DropReason::TargetGone, resource: None, reply: Reply::Silence };
        let outcome = match self.balanced(flow, target) {
            Some(action) if !failed => Outcome::Forward(action),
            Some(_) | None => Outcome::Refuse(gone),
        };
        Decision { outcome, choice: None, ..tracked.decide(flow) }
    }

    fn interface(&self, id: NetworkInterfaceId) -> Option<InterfaceInfo> {
        let number = Self::number(id);
        (number < 9).then(|| InterfaceInfo {
            mac: mac(number),
            addresses: [address(number)].into_iter().collect(),
            source_dest_check: self.source_dest_check,
            proxies: false,
            gateway: Ipv4Addr::new(10, 0, 0, 1),
            cidr: "10.0.0.0/24".parse().unwrap(),
            resolver: Ipv4Addr::new(10, 0, 0, 2),
            hostname: Some("ip-10-0-0-10".into()),
            domain: Some("ec2.internal".into()),
        })
    }
}

/// A forwarder's tables with all ports plugged in, and the time.
pub struct Bench {
    pub tables: Tables,
    pub script: Script,
    pub now: u64,
    pub ports: BTreeMap<u64, PortNumber>,
    pub doors: PortNumber,
}

/// Where a frame came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    Interface(u64),
    Doors,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(Script::default(), Limits::default())
    }

    pub fn with(script: Script, limits: Limits) -> Self {
        let mut tables = Tables::new(limits, 42);
        tables.plan_changed(&script.all_stamps());
        let now = SECOND;
        let ports = (0..9)
            .map(|number| {
                let owner = Owner::Interface(eni(number));
                (number, tables.add_port(owner, Mac([0; 6]), now).unwrap())
            })
            .collect();
        let doors = tables.add_port(Owner::Doors, DOORS_MAC, now).unwrap();
        Self { tables, script, now, ports, doors }
    }

    /// The network changes, and the forwarder is told.
    pub fn publish(&mut self, change: impl FnOnce(&mut Script) -> Vec<Stamp>) {
        let changed = change(&mut self.script);
        self.tables.plan_changed(&changed);
    }

    pub fn out(&self, port: PortNumber) -> Out {
        if port == self.doors {
            return Out::Doors;
        }
        Out::Interface(*self.ports.iter().find(|(_, number)| **number == port).unwrap().0)
    }

    /// Sends bytes in by an interface's port.
    pub fn send_bytes(&mut self, from: Out, bytes: &mut [u8], header: VirtioNetHdr) -> Effects {
        let port = match from {
            Out::Interface(number) => self.ports[&number],
            Out::Doors => self.doors,
        };
        let script = self.script.clone();
        let mut frame = Frame { bytes, header, tagged: false };
        step(&mut self.tables, &script, port, &mut frame, self.now)
    }

    /// Sends a packet in by an interface's port, with that interface's hardware address. Returns what became of it
    /// and the frame.
    pub fn send(&mut self, from: Out, packet: Packet) -> (Effects, Vec<u8>) {
        let sender = match from {
            Out::Interface(number) => mac(number),
            Out::Doors => DOORS_MAC,
        };
        let mut bytes = packet.sent_by(sender).build();
        let effects = self.send_bytes(from, &mut bytes, VirtioNetHdr::default());
        (effects, bytes)
    }

    /// Sends a packet that must arrive. Returns where, and as what.
    pub fn pass(&mut self, from: Out, packet: Packet) -> (Out, Vec<u8>) {
        let described = format!("{packet:?}");
        let (effects, bytes) = self.send(from, packet);
        match effects.fate {
            Fate::Deliver(port) => {
                super::frames::check_sums(&bytes);
                (self.out(port), bytes)
            }
            other => panic!("{described} did not pass: {other:?}"),
        }
    }

    /// Sends a packet that must be dropped. Returns why, and what was sent because of it.
    pub fn dropped(&mut self, from: Out, packet: Packet) -> (DropReason, Vec<Vec<u8>>) {
        let described = format!("{packet:?}");
        let (effects, _) = self.send(from, packet);
        match effects.fate {
            Fate::Drop { reason, .. } => {
                (reason, effects.emitted.into_iter().map(|(_, frame)| frame).collect())
            }
            other => panic!("{described} was not dropped: {other:?}"),
        }
    }

    /// Panics where tables and counters do not agree.
    pub fn check(&self) {
        self.tables.flows.check();
        let counters = self.tables.counters();
        for report in &counters.ports {
            let c = report.counters;
            assert_eq!(c.received.packets, c.passed.packets + c.answered + c.drops.total(), "{report:?}");
        }
        for (number, port) in self.tables.ports.iter() {
            let begun = self.tables.flows.iter().filter(|flow| flow.forward.port == number).count();
            assert_eq!(port.counters.flows as usize, begun);
        }
    }
}
