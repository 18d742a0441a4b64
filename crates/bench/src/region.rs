//! A region as the program has it between its API and its packets: ledger, plan, forwarder, ports.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use postern_dataplane::forward::{self, Forwarder};
use postern_dataplane::host::{self, Frames, Host, Namespace, PacketSocket, PortRoute, PortSpec, Prefix};
use postern_dataplane::kernel::KernelProgram;
use postern_model::{AccountId, Action, NetworkInterfaceId, RouteTableId, State};
use postern_path::decide::VPC_MTU;
use postern_path::{Door, Plan};
use postern_store::{Ledger, Sources};
use postern_testkit::Topology;

use crate::netns;

/// The inner end of the doors' port.
const DOORS_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x0d];

/// How long the kernel program may take to stand on every port.
const PATIENCE: Duration = Duration::from_secs(120);

/// A region.
pub struct Region {
    host: Arc<Host>,
    topology: Topology,
    ledger: Ledger,
    state: Arc<State>,
    plan: Arc<Plan>,
    /// What moves the packets.
    pub forwarder: Forwarder,
    doors: Namespace,
}

impl Region {
    /// A region with this topology, kept nowhere.
    pub fn start(host: &Arc<Host>, text: &str) -> anyhow::Result<Self> {
        let topology = Topology::read(text).map_err(anyhow::Error::msg)?;
        Ok(Self { doors: host.doors().clone(), ..Self::start_of(host, topology, None)? })
    }

    /// The same kept nowhere, whose flows the kernel program carries.
    pub fn start_in_kernel(host: &Arc<Host>, text: &str, program: KernelProgram) -> anyhow::Result<Self> {
        Self::start_of(host, Topology::read(text).map_err(anyhow::Error::msg)?, Some(program))
    }

    /// The same of a topology that is read already. Its doors have a network of their own.
    pub fn start_of(
        host: &Arc<Host>,
        topology: Topology,
        program: Option<KernelProgram>,
    ) -> anyhow::Result<Self> {
        let ledger = Ledger::ephemeral(topology.state.clone(), Sources::system())?;
        let state = ledger.state();
        let plan = Arc::new(Plan::compile(&state).plan);
        let options = forward::Options::with_seed(RandomState::new().hash_one(0));
        let current: Vec<_> = plan.slots().collect();
        let forwarder = Forwarder::start_with(Arc::clone(&plan) as _, &current, options, program)?;
        let doors = netns::create()?;
        Ok(Self { host: Arc::clone(host), topology, ledger, state, plan, forwarder, doors })
    }

    /// What is so.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The interface of this name.
    pub fn interface(&self, name: &str) -> anyhow::Result<NetworkInterfaceId> {
        self.topology.interface(name).with_context(|| format!("there is no interface `{name}`"))
    }

    /// The route table of this name.
    pub fn route_table(&self, name: &str) -> anyhow::Result<RouteTableId> {
        match self.topology.id(name) {
            Some(postern_model::ResourceId::RouteTable(id)) => Ok(id),
            Some(_) | None => anyhow::bail!("there is no route table `{name}`"),
        }
    }

    /// Whose everything in account one is.
    pub fn account(&self) -> AccountId {
        postern_testkit::world::accounts()[0]
    }

    /// The public address of an interface.
    pub fn public_address(&self, name: &str) -> anyhow::Result<Ipv4Addr> {
        let interface = self.interface(name)?;
        let mut addresses = self.state.addresses.values();
        let found = addresses.find(|address| address.association.is_some_and(|a| a.interface == interface));
        Ok(found.with_context(|| format!("`{name}` has no public address"))?.public_address)
    }

    /// An address of S3.
    pub fn s3_address(&self) -> anyhow::Result<Ipv4Addr> {
        let service = self.state.services.get("com.amazonaws.us-east-1.s3").context("there is no S3")?;
        service.public_addresses.first().copied().context("S3 has no address")
    }

    /// Makes a namespace, and plugs it in as the program plugs in an instance's.
    pub fn plug(&self, name: &str) -> anyhow::Result<Namespace> {
        let (target, id, socket) = self.link(name)?;
        self.forwarder.add_port(id, socket).wait()??;
        Ok(target)
    }

    /// The same without waiting for the kernel program.
    pub fn plug_soon(&self, name: &str) -> anyhow::Result<Namespace> {
        let (target, id, socket) = self.link(name)?;
        self.forwarder.add_port_soon(id, socket).wait()??;
        Ok(target)
    }

    /// Waits until the kernel program, if there is one, stands on every port.
    pub fn settle(&self) -> anyhow::Result<()> {
        if self.forwarder.received_by_ports() == Frames::All {
            return Ok(());
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.forwarder.counters().wait()?.ports.iter().all(|port| port.by_program) {
            anyhow::ensure!(Instant::now() < deadline, "the kernel program does not stand on every port");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Makes a namespace and the link to it.
    fn link(&self, name: &str) -> anyhow::Result<(Namespace, NetworkInterfaceId, PacketSocket)> {
        let id = self.interface(name)?;
        let interface = self.state.network_interfaces.get(&id).context("it is not there")?;
        let subnet = self.state.subnets.get(&interface.subnet).context("its subnet is not there")?;
        let length = subnet.cidr.prefix_len();
        let target = netns::create()?;
        let addresses = interface.private_addresses.iter();
        let spec = PortSpec {
            target: target.clone(),
            inside_name: "ens5".to_owned(),
            mac: host::Mac(interface.mac.0),
            mtu: u32::from(VPC_MTU),
            addresses: addresses.map(|p| Prefix { address: p.address.into(), length }).collect(),
            gateway: Some(subnet.gateway().into()),
            neighbours: Vec::new(),
            routes: Vec::new(),
        };
        let port = self.host.create_port(&spec)?;
        let socket = self.host.open_port_for(&port, self.forwarder.received_by_ports())?;
        Ok((target, id, socket))
    }

    /// Plugs the doors' namespace in as the program does. One region of a host can do so with the host's.
    pub fn open_doors(&self) -> anyhow::Result<Namespace> {
        let router = IpAddr::V4(Ipv4Addr::new(240, 0, 0, 254));
        let prefix = |address: IpAddr, length| Prefix { address, length };
        let peers = prefix(IpAddr::V4(Ipv4Addr::new(240, 0, 0, 0)), 4);
        netns::prepare(&self.doors)?;
        let spec = PortSpec {
            target: self.doors.clone(),
            inside_name: "doors".to_owned(),
            mac: host::Mac(DOORS_MAC),
            mtu: u32::from(VPC_MTU),
            addresses: Door::ALL.iter().map(|door| prefix(door.address().into(), 32)).collect(),
            gateway: None,
            neighbours: vec![(router, host::Mac(forward::packet::ROUTER_MAC.0))],
            routes: vec![
                PortRoute { destination: prefix(router, 32), via: None },
                PortRoute { destination: peers, via: Some(router) },
            ],
        };
        let port = self.host.create_port(&spec)?;
        let socket = self.host.open_port(&port)?;
        self.forwarder.add_doors_port(socket, postern_model::Mac(DOORS_MAC)).wait()??;
        Ok(self.doors.clone())
    }

    /// Does what the program does for an API call that changes something.
    pub fn change(&mut self, action: Action) -> anyhow::Result<()> {
        let committed = self.ledger.execute_blocking(self.account(), None, action)?;
        let compiled = self.plan.advance(&self.state, &committed.state);
        let plan = Arc::new(compiled.plan);
        self.forwarder.publish(Arc::clone(&plan) as _, compiled.changed).wait()?;
        self.state = committed.state;
        self.plan = plan;
        Ok(())
    }
}

/// A VPC that is as large as asked: so many interfaces, 250 to a subnet, in twenty groups that refer to each other.
pub fn crowd(interfaces: usize) -> String {
    let mut text = String::new();
    for group in 0..20 {
        let next = (group + 1) % 20;
        text.push_str(&format!(
            "group a.g{group}\n  in tcp 443 from 10.0.0.0/16\n  in tcp 5432 from group g{next}\n  \
             in udp 5000-5999 from 10.0.0.0/16\n  in tcp 8000-8999 from 192.168.0.0/16\n  in icmp from 10.0.0.0/8\n"
        ));
    }
    for subnet in 0..interfaces.div_ceil(250) {
        text.push_str(&format!("subnet a.s{subnet} 10.0.{}.0/24\n", 16 + subnet));
    }
    for n in 0..interfaces {
        text.push_str(&format!("interface e{n} in a.s{} attached groups=g{}\n", n / 250, n % 20));
    }
    text
}
