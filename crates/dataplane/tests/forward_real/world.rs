//! A small network on the real kernel: interfaces 0 and 1 in a VPC, 2 outside it behind a NAT gateway, and the doors.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use postern_dataplane::forward::packet::ROUTER_MAC;
use postern_dataplane::forward::{Clock, Counters, Decider, Forwarder, InterfaceInfo, Options};
use postern_dataplane::host::{
    Host, Mac, Namespace, Orphan, Port, PortRoute, PortSpec, Prefix, StartOptions, start, take_over,
};
use postern_dataplane::kernel::{KernelError, KernelProgram, Pins, Size};
use postern_model::elb::{TargetId, TargetKey};
use postern_model::{
    AccountId, LoadBalancerId, NatGatewayId, NetworkInterfaceId, ResourceId, VpcEndpointId, VpcId,
};
use postern_path::{
    Action, Balanced, Before, Choice, Cover, Decision, Deliver, Door, DropReason, End, Flow, Hops,
    IdleTimeouts, Outcome, Peer, Refusal, Reply, SourceRewrite, Stamp, Table, Through,
};

pub const A: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
pub const B: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
/// A server outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Services behind the endpoint.
pub const SERVICES: [Ipv4Addr; 2] = [Ipv4Addr::new(54, 231, 0, 1), Ipv4Addr::new(54, 231, 0, 2)];
/// What the server outside sees.
pub const VISIBLE: Ipv4Addr = Ipv4Addr::new(52, 1, 1, 1);
pub const NAT_HOP: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 9);
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Two addresses of a load balancer, of which the second lets targets see the client. Its targets are interfaces 1 and 2, at
/// another port.
pub const BALANCERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 90), Ipv4Addr::new(10, 0, 0, 91)];
pub const BALANCER: LoadBalancerId = LoadBalancerId::from_number(1 << 40);
pub const TARGETS: [u64; 2] = [1, 2];
pub const TARGET_PORT: u16 = 8_080;
/// The slot of the first target's generation.
const FIRST_TARGET: u32 = 40;

/// The way to [`OUTSIDE`] takes packets of up to so many bytes.
pub const OUTSIDE_MTU: u16 = 1500;

pub const VPC: VpcId = VpcId::from_number(1 << 40);
pub const ENDPOINT: VpcEndpointId = VpcEndpointId::from_number(1 << 40);
pub const NAT: NatGatewayId = NatGatewayId::from_number(1 << 40);

pub const fn eni(number: u64) -> NetworkInterfaceId {
    NetworkInterfaceId::from_number(1 << 40 | number)
}

pub const fn mac(number: u64) -> [u8; 6] {
    [2, 0, 0, 0, 0, 16 + number as u8]
}

pub const DOORS_MAC: [u8; 6] = [2, 0, 0, 0, 0, 8];

pub fn address(number: u64) -> Ipv4Addr {
    match number {
        0 => A,
        1 => B,
        _ => OUTSIDE,
    }
}

/// What is decided, and may be changed by making another one.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub generation: u64,
    /// Whether there is a route to anything.
    pub routed: bool,
    /// Whether a security group lets new flows pass.
    pub open: bool,
    /// Which of the load balancer's targets get new connections.
    pub healthy: [bool; 2],
    /// How often each of them failed.
    pub failed: [u64; 2],
}

/// Everything passes.
pub const OPEN: Rules = Rules { generation: 1, routed: true, open: true, healthy: [true; 2], failed: [1; 2] };

fn is_balanced(flow: &Flow) -> bool {
    BALANCERS.iter().any(|address| flow.destination == *address)
}

impl Rules {
    /// The slots: 0 is the group, 1 are the routes, then come some that never change, and the targets.
    pub fn stamps(&self) -> Vec<Stamp> {
        let plain = (0..2).map(|slot| Stamp { slot, generation: self.generation });
        plain.chain((0..2).map(|target| self.target(target))).collect()
    }

    fn target(&self, target: usize) -> Stamp {
        Stamp { slot: FIRST_TARGET + target as u32, generation: self.failed[target] }
    }

    fn table(&self) -> (Table, Vec<usize>) {
        let numbers: Vec<_> = (0..2).filter(|target| self.healthy[*target]).collect();
        let key = |target: &usize| TargetKey {
            id: TargetId::Address(address(TARGETS[*target])),
            port: TARGET_PORT,
        };
        (Table::new(&numbers.iter().map(key).collect::<Vec<_>>(), false), numbers)
    }

    /// A flow to the load balancer, by whom it is handed on: how targets are chosen, which one was, and who that is.
    fn choice(&self, flow: &Flow, cover: Cover) -> Option<(Box<Choice>, usize)> {
        let (table, numbers) = self.table();
        let chosen = table.choose(flow).filter(|_| is_balanced(flow))?;
        // It rests on all that does not follow from the target.
        let choice = Choice { table: Arc::new(table), chosen, cover, consulted: FIRST_TARGET as usize };
        Some((Box::new(choice), numbers[usize::from(chosen)]))
    }

    /// The number of the interface of the target that gets a new flow.
    pub fn target_of(&self, flow: &Flow) -> Option<u64> {
        let (_, target) = self.choice(flow, Cover::everything(flow))?;
        Some(TARGETS[target])
    }

    fn handed_to(&self, flow: &Flow, target: usize) -> Action {
        let IpAddr::V4(own) = flow.destination else { panic!("only IPv4") };
        let preserves = own == BALANCERS[1];
        let source = SourceRewrite::Port {
            gateway: BALANCER.into(),
            private_address: own.into(),
            visible_address: own.into(),
        };
        Action {
            source: if preserves { SourceRewrite::Keep } else { source },
            destination: Some(address(TARGETS[target]).into()),
            deliver: Deliver::Interface(eni(TARGETS[target])),
            hops: Hops::NONE,
            mtu: 8500,
            mtu_reported: false,
            idle: IdleTimeouts::GATEWAY,
            resets: true,
            balanced: Some(Balanced { load_balancer: BALANCER, port: TARGET_PORT, preserves }),
        }
    }

    fn action(&self, flow: &Flow) -> Option<Action> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (flow.source, flow.destination) else {
            return None;
        };
        let near = |target| Action {
            source: SourceRewrite::Keep,
            destination: None,
            deliver: Deliver::Interface(eni(target)),
            hops: Hops::NONE,
            mtu: 9001,
            mtu_reported: true,
            idle: IdleTimeouts::INTERFACE,
            resets: false,
            balanced: None,
        };
        if SERVICES.contains(&destination) {
            let peer = Peer {
                account: AccountId::from_number(1).unwrap(),
                vpc: VPC,
                interface: flow.entry,
                instance: None,
                address: source,
                through: Through::Endpoint(ENDPOINT, VPC),
            };
            return Some(Action {
                source: SourceRewrite::Identity { peer, gateway: None },
                destination: Some(Door::FrontDoor.address().into()),
                deliver: Deliver::Door(Door::FrontDoor),
                mtu: 8500,
                mtu_reported: false,
                idle: IdleTimeouts::GATEWAY,
                resets: true,
                ..near(0)
            });
        }
        match destination {
            A => Some(near(0)),
            B => Some(near(1)),
            OUTSIDE => {
                let mut hops = Hops::NONE;
                hops.push(NAT_HOP);
                Some(Action {
                    source: SourceRewrite::Port {
                        gateway: NAT.into(),
                        private_address: NAT_HOP.into(),
                        visible_address: VISIBLE.into(),
                    },
                    hops,
                    mtu: OUTSIDE_MTU,
                    idle: IdleTimeouts::GATEWAY,
                    resets: true,
                    ..near(2)
                })
            }
            _ => None,
        }
    }

    fn decision(&self, flow: &Flow, before: Option<Before<'_>>) -> Decision {
        let tracked = before.is_some_and(|before| before.cut.is_some());
        let refuse = |reason| {
            let resource = Some(ResourceId::NetworkInterface(flow.entry));
            Outcome::Refuse(Refusal { reason, resource, reply: Reply::Silence })
        };
        let mut cover = Cover::everything(flow);
        cover.pin(End::Source);
        cover.pin(End::Destination);
        let present = before.and_then(|before| before.present).filter(|_| is_balanced(flow));
        let chosen = self.choice(flow, cover).filter(|_| present.is_none());
        let target = chosen.as_ref().map(|(_, target)| *target).or_else(|| {
            present.and_then(|present| (0..2).find(|at| address(TARGETS[*at]) == *present.to.ip()))
        });
        let failed = |target: usize| {
            let cut = before.and_then(|before| before.cut).unwrap_or_default();
            let stamp = self.target(target);
            cut.iter().any(|old| old.slot == stamp.slot && old.generation != stamp.generation)
        };
        let action = match target {
            Some(target) => Some(self.handed_to(flow, target)),
            None => self.action(flow),
        };
        let outcome = match action {
            _ if target.is_some_and(failed) => refuse(DropReason::TargetGone),
            _ if !self.open && !tracked => refuse(DropReason::EgressSecurityGroup),
            _ if !self.routed => refuse(DropReason::NoRoute),
            Some(action) => Outcome::Forward(action),
            None => refuse(DropReason::NoSuchAddress),
        };
        let [group, routes] = [0, 1].map(|slot| Stamp { slot, generation: self.generation });
        Decision {
            steps: Default::default(),
            outcome,
            cover,
            // As much as the longest ways through gateways rest on.
            consulted: [group, routes]
                .into_iter()
                .chain((2..FIRST_TARGET).map(|slot| Stamp { slot, generation: 0 }))
                .chain(target.map(|at| self.target(at)))
                .collect(),
            cut: [routes].into_iter().chain(target.map(|at| self.target(at))).collect(),
            choice: chosen.map(|(choice, _)| choice),
        }
    }
}

impl Decider for Rules {
    fn decide(&self, flow: &Flow) -> Decision {
        self.decision(flow, None)
    }

    fn decide_again(&self, flow: &Flow, before: Before<'_>) -> Decision {
        self.decision(flow, Some(before))
    }

    fn interface(&self, id: NetworkInterfaceId) -> Option<InterfaceInfo> {
        let number = id.number() & 0xff;
        Some(InterfaceInfo {
            mac: postern_model::Mac(mac(number)),
            addresses: [address(number)].into_iter().collect(),
            source_dest_check: true,
            proxies: false,
            gateway: if number == 2 { Ipv4Addr::new(198, 51, 100, 1) } else { GATEWAY },
            cidr: if number == 2 { "198.51.100.0/24" } else { "10.0.0.0/24" }.parse().unwrap(),
            resolver: Ipv4Addr::new(10, 0, 0, 2),
            hostname: None,
            domain: None,
        })
    }
}

/// Set where the kernel program carries flows.
pub const KERNEL_VARIABLE: &str = "POSTERN_FORWARD_KERNEL";

pub fn is_kernel() -> bool {
    std::env::var(KERNEL_VARIABLE).is_ok_and(|value| !value.is_empty())
}

pub fn load_program(fabric: &Namespace) -> Result<KernelProgram, KernelError> {
    load_roomy(fabric, 1 << 15)
}

pub fn load_roomy(fabric: &Namespace, flows: u32) -> Result<KernelProgram, KernelError> {
    KernelProgram::load(fabric, Size { flows }, 7)
}

/// Why the kernel program cannot be had, where it is asked for.
pub fn kernel_is_missing() -> Option<String> {
    if !is_kernel() {
        return None;
    }
    match load_program(&Namespace::current().unwrap()) {
        Ok(_) => None,
        // A program that the verifier refuses is a mistake of ours.
        Err(error @ KernelError::Verifier(_)) => panic!("{error}"),
        Err(error) => Some(error.to_string()),
    }
}

/// Everything, up and running.
pub struct World {
    pub forwarder: Forwarder,
    pub rules: Rules,
    /// The networks of interfaces 0, 1 and 2.
    pub networks: [Namespace; 3],
    pub doors: Namespace,
    pub host: Host,
    /// Each network lives as long as a thread in it.
    _alive: Vec<Sender<()>>,
    /// The ports of interfaces 0, 1 and 2.
    pub ports: Vec<Port>,
}

fn prefix(address: Ipv4Addr, length: u8) -> Prefix {
    Prefix { address: address.into(), length }
}

/// A network of its own, until the sender is dropped.
pub fn network() -> (Namespace, Sender<()>) {
    let (send, receive) = channel();
    let (alive, end) = channel::<()>();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        send.send(Namespace::current().unwrap()).unwrap();
        let _ = end.recv();
    });
    (receive.recv().unwrap(), alive)
}

impl World {
    pub fn start(directory: &Path) -> Self {
        Self::with_room(directory, 1 << 15)
    }

    /// Where the kernel program carries flows, it carries at most so many.
    pub fn with_room(directory: &Path, flows: u32) -> Self {
        let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
        let program = is_kernel().then(|| load_roomy(host.fabric(), flows).unwrap());
        let (networks, alive): (Vec<_>, _) = (0..3).map(|_| network()).unzip();
        Self { _alive: alive, ..Self::of(host, program, networks.try_into().unwrap()) }
    }

    /// With these parts; the networks are somebody else's.
    pub fn of(host: Host, program: Option<KernelProgram>, networks: [Namespace; 3]) -> Self {
        let rules = OPEN;
        let options = Options { clock: Clock::default(), ..Options::with_seed(7) };
        let forwarder = Forwarder::start_with(Arc::new(rules), &rules.stamps(), options, program).unwrap();
        let mut ports = Vec::new();
        for (number, namespace) in (0..).zip(&networks) {
            let gateway = rules.interface(eni(number)).unwrap().gateway;
            let port = host
                .create_port(&PortSpec {
                    target: namespace.clone(),
                    inside_name: "ens5".to_owned(),
                    mac: Mac(mac(number)),
                    mtu: 9001,
                    addresses: vec![prefix(address(number), 24)],
                    gateway: Some(gateway.into()),
                    neighbours: Vec::new(),
                    routes: Vec::new(),
                })
                .unwrap();
            forwarder.add_port(eni(number), host.open_port(&port).unwrap()).wait().unwrap().unwrap();
            ports.push(port);
        }
        connect_doors(&host, &forwarder);
        Self { forwarder, rules, networks, doors: host.doors().clone(), host, _alive: Vec::new(), ports }
    }

    /// What a killed one left, under other rules; `same_state` is what is said of the state behind them.
    pub fn go_on(socket: &Path, mut rules: Rules, same_state: bool, networks: [Namespace; 3]) -> Self {
        let Orphan::Taken(host) = take_over(socket) else { panic!("nothing can be taken over") };
        let pins = Pins::new(host.pins(false).unwrap()).unwrap();
        let mut inherited: Vec<_> =
            host.inherited_ports().into_iter().map(|x| (x.label.parse().unwrap(), x.port)).collect();
        inherited.sort_by_key(|(interface, _): &(NetworkInterfaceId, Port)| *interface);
        let owners = inherited.iter().map(|(interface, port)| (*interface, port.index)).collect();
        let program = KernelProgram::adopt(host.fabric(), pins, owners).unwrap().unwrap();
        rules.generation = program.last_generation() + 1;
        let options = Options { same_state, ..Options::with_seed(8) };
        let forwarder =
            Forwarder::start_with(Arc::new(rules), &rules.stamps(), options, Some(program)).unwrap();
        connect_doors(&host, &forwarder);
        for (interface, port) in &inherited {
            forwarder.add_port(*interface, host.open_port(port).unwrap()).wait().unwrap().unwrap();
        }
        assert_eq!(forwarder.give_up_awaited().wait(), Ok(0));
        let ports = inherited.into_iter().map(|(_, port)| port).collect();
        Self {
            forwarder,
            rules,
            networks,
            doors: host.doors().clone(),
            host: *host,
            _alive: Vec::new(),
            ports,
        }
    }

    /// Another plan. Returns how long it took to be effective.
    pub fn publish(&mut self, change: impl FnOnce(&mut Rules)) -> Duration {
        change(&mut self.rules);
        self.rules.generation += 1;
        let began = std::time::Instant::now();
        self.forwarder.publish(Arc::new(self.rules), self.rules.stamps()).wait().unwrap();
        began.elapsed()
    }

    pub fn counters(&self) -> Counters {
        self.forwarder.counters().wait().unwrap()
    }

    /// How many packets of an interface were dropped for a reason.
    pub fn dropped(&self, number: u64, reason: DropReason) -> u64 {
        self.counters().interface(eni(number)).unwrap().counters.drops.get(reason)
    }

    pub fn stop(self) {
        self.forwarder.shutdown();
        self.host.shutdown(Duration::ZERO).unwrap();
    }
}

/// Gives the doors a port.
fn connect_doors(host: &Host, forwarder: &Forwarder) {
    let router = Ipv4Addr::new(240, 0, 0, 254);
    let port = host
        .create_port(&PortSpec {
            target: host.doors().clone(),
            inside_name: "doors".to_owned(),
            mac: Mac(DOORS_MAC),
            mtu: 9001,
            addresses: Door::ALL.iter().map(|door| prefix(door.address(), 24)).collect(),
            gateway: None,
            neighbours: vec![(router.into(), Mac(ROUTER_MAC.0))],
            routes: vec![PortRoute {
                destination: prefix(Ipv4Addr::new(240, 0, 0, 0), 4),
                via: Some(router.into()),
            }],
        })
        .unwrap();
    let socket = host.open_port(&port).unwrap();
    forwarder.add_doors_port(socket, postern_model::Mac(DOORS_MAC)).wait().unwrap().unwrap();
}
