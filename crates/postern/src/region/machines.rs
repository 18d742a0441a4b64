//! The sandboxes and ports that stand for instances, and the reconciler that keeps them as the state says.

mod premises;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use postern_dataplane::forward::Forwarder;
use postern_dataplane::host::{
    self, Host, Namespace, PacketSocket, Port, PortSpec, Prefix, ProgramSpec, Stdio,
};
use postern_model::instance::{Instance, InstanceState};
use postern_model::interface::NetworkInterface;
use postern_model::vpn::VpnConnection;
use postern_model::{Action, InstanceId, NetworkInterfaceId, State, Timestamp, VpnConnectionId};
use postern_path::decide::{VPC_MTU, VPN_MTU};
use postern_services::commands::Commands;
use tokio::task::JoinSet;

use super::attach::Guest;
use super::attach_vpn::Ends;
use super::console::Consoles;
use super::reconcile::{Actual, Task, difference, reads_alike};
use super::sandbox::{self, Furnishings};

/// How long programs of a stopped instance have to end by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// How often everything is looked at again, even if nothing was heard of.
pub const PERIOD: Duration = Duration::from_secs(5);

/// Tasks that are worked on at the same time. The keeper builds as many sandboxes at once.
const HANDS: usize = 8;

/// All sandboxes and ports of a region.
pub struct Machines {
    host: Arc<Host>,
    forwarder: Arc<Forwarder>,
    consoles: Consoles,
    furnishings: Furnishings,
    there: Mutex<There>,
}

#[derive(Default)]
struct There {
    machines: BTreeMap<InstanceId, Machine>,
    /// Ports of somebody else's namespaces.
    attached: BTreeMap<NetworkInterfaceId, (Port, Namespace)>,
    /// Hosts on premises, whose ports are among those.
    premises: BTreeMap<VpnConnectionId, Arc<host::Instance>>,
    /// Instances that could not be built, and at which start, so that each failure is told once.
    failed: BTreeMap<InstanceId, Timestamp>,
}

struct Machine {
    instance: Arc<host::Instance>,
    ports: BTreeMap<NetworkInterfaceId, Port>,
}

impl Machines {
    /// None yet.
    pub fn new(
        host: Arc<Host>,
        forwarder: Arc<Forwarder>,
        consoles: Consoles,
        furnishings: Furnishings,
    ) -> Self {
        Self { host, forwarder, consoles, furnishings, there: Mutex::default() }
    }

    /// The sandbox of an instance.
    pub fn sandbox(&self, instance: InstanceId) -> Option<Arc<host::Instance>> {
        self.there().machines.get(&instance).map(|machine| Arc::clone(&machine.instance))
    }

    /// The network namespace that an interface is plugged into.
    pub fn network_of(&self, interface: NetworkInterfaceId) -> Option<Namespace> {
        let there = self.there();
        let plugged = there.machines.values().find(|machine| machine.ports.contains_key(&interface));
        let plugged = plugged.map(|machine| machine.instance.network().clone());
        plugged.or_else(|| there.attached.get(&interface).map(|(_, network)| network.clone()))
    }

    fn there(&self) -> MutexGuard<'_, There> {
        // Each change of it is one insertion or removal.
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn actual(&self) -> Actual {
        let ended = |machine: &Machine| machine.instance.has_ended();
        let there = self.there();
        let machines = there.machines.iter().filter(|(_, machine)| !ended(machine));
        Actual { sandboxes: machines.map(|(id, m)| (*id, m.ports.keys().copied().collect())).collect() }
    }

    /// Keeps the machines as the state says, until the future is dropped.
    pub async fn reconcile(self: Arc<Self>, commands: Arc<dyn Commands>, changed: Arc<tokio::sync::Notify>) {
        // The state in which nothing was left to do, and when everything was looked at.
        let mut settled: Option<(Arc<State>, Instant)> = None;
        loop {
            // However often something else changes, some of what is to be done comes with time alone.
            settled = settled.filter(|(_, looked_at)| looked_at.elapsed() < PERIOD);
            let state = commands.state();
            if self.step(&commands, &state, settled.as_ref().map(|(state, _)| state.as_ref())).await {
                settled = None;
                continue;
            }
            let looked_at = match &settled {
                Some((known, looked_at)) if reads_alike(known, &state) => *looked_at,
                Some(_) | None => Instant::now(),
            };
            settled = Some((state, looked_at));
            // A change that came meanwhile is not missed: `Notify` keeps one.
            let _ = tokio::time::timeout(PERIOD, changed.notified()).await;
        }
    }

    /// Does everything that is to be done now; whether there was any of it. What concerns machines is compared with
    /// the whole state, unless it is as in `settled`, where nothing was left to do.
    async fn step(
        self: &Arc<Self>,
        commands: &Arc<dyn Commands>,
        state: &Arc<State>,
        settled: Option<&State>,
    ) -> bool {
        let machines = Arc::clone(self);
        let ended = tokio::task::spawn_blocking(move || machines.forget_ended()).await;
        let ended = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "looking after sandboxes that ended failed");
            true
        });
        let resets = self.consoles.take_resets();
        if !ended && resets.is_empty() && settled.is_some_and(|settled| reads_alike(settled, state)) {
            return false;
        }
        for id in resets {
            self.consoles.note(id, "reboot");
            let machines = Arc::clone(self);
            // What is running is missing afterwards, and so made anew.
            let destroyed = tokio::task::spawn_blocking(move || machines.destroy(id)).await;
            if let Err(error) = destroyed {
                tracing::error!(%error, instance = %id, "its reboot ended early");
            }
        }
        self.there().failed.retain(|id, _| state.instances.contains_key(id));
        let (machines, seen) = (Arc::clone(self), Arc::clone(state));
        if let Err(error) = tokio::task::spawn_blocking(move || machines.detach_gone_links(&seen)).await {
            tracing::error!(%error, "unplugging what is gone ended early");
        }
        let tasks = difference(state, &self.actual(), true, Timestamp(commands.now_milliseconds()));
        self.work_off(commands, state, tasks).await
    }

    /// Applies tasks, those of different instances at the same time: most of what they take is waiting for the kernel.
    /// Whether anything was done.
    async fn work_off(
        self: &Arc<Self>,
        commands: &Arc<dyn Commands>,
        state: &Arc<State>,
        tasks: Vec<Task>,
    ) -> bool {
        let mut hands = JoinSet::new();
        let mut did = false;
        for chain in chains(tasks) {
            while hands.len() >= HANDS {
                did |= joined(hands.join_next().await);
            }
            let (machines, commands) = (Arc::clone(self), Arc::clone(commands));
            let state = Arc::clone(state);
            hands.spawn(async move { machines.work_through(&commands, &state, chain).await });
        }
        while !hands.is_empty() {
            did |= joined(hands.join_next().await);
        }
        did
    }

    /// Applies tasks one after the other; whether anything was done.
    async fn work_through(
        self: &Arc<Self>,
        commands: &Arc<dyn Commands>,
        state: &Arc<State>,
        tasks: Vec<Task>,
    ) -> bool {
        let mut did = false;
        for task in tasks {
            if let Task::Build(id) = task
                && self.has_failed(state, id)
            {
                continue;
            }
            let machines = Arc::clone(self);
            let for_task = Arc::clone(state);
            let applied = tokio::task::spawn_blocking(move || machines.apply(&for_task, task)).await;
            let applied = applied.unwrap_or_else(|error| {
                tracing::error!(%error, "a task of the reconciler ended early");
                None
            });
            // What failed is tried again at the next look, and not at once: it would fail without end.
            let Some(reports) = applied else { continue };
            did = true;
            for (account, action) in reports {
                if let Err(error) = commands.execute(account, None, action).await {
                    // The state went on meanwhile; the next look sees how.
                    tracing::debug!(%error, "a report came too late");
                }
            }
        }
        did
    }

    /// Whether the start of an instance that the state speaks of was tried and failed.
    fn has_failed(&self, state: &State, id: InstanceId) -> bool {
        let started_at = state.instances.get(&id).map(|instance| instance.launched_at);
        started_at.is_some() && self.there().failed.get(&id).copied() == started_at
    }

    /// Sandboxes whose init has died are taken for gone; whether there were any.
    fn forget_ended(&self) -> bool {
        let ended: Vec<_> = {
            let there = self.there();
            there.machines.iter().filter(|(_, m)| m.instance.has_ended()).map(|(id, _)| *id).collect()
        };
        for id in &ended {
            tracing::warn!(instance = %id, "its sandbox ended by itself and is made anew");
            self.consoles.note(*id, "the sandbox ended by itself and is made anew");
            self.destroy(*id);
        }
        !ended.is_empty()
    }

    /// Applies one task; gives what is to be reported, or none where it is as it was.
    fn apply(&self, state: &State, task: Task) -> Option<Vec<(postern_model::AccountId, Action)>> {
        let reports = match task {
            Task::Build(id) => self.build_and_report(state, id),
            Task::Destroy(id, report) => {
                self.destroy(id);
                self.there().failed.remove(&id);
                let owner = state.instances.get(&id).map(|instance| instance.owner);
                let reason = "User initiated".to_owned();
                match (owner, report) {
                    (Some(owner), Some(state)) => {
                        vec![(owner, Action::ReportInstance { instance: id, state, reason })]
                    }
                    (Some(_) | None, _) => Vec::new(),
                }
            }
            Task::Plug(id, interface) => {
                if let Err(error) = self.plug(state, id, interface) {
                    tracing::error!(instance = %id, %interface, error = crate::said::said(&error), "cannot plug it in");
                    return None;
                }
                Vec::new()
            }
            Task::Unplug(id, interface) => {
                self.unplug(id, interface);
                Vec::new()
            }
            Task::Report(account, action) => vec![(account, *action)],
        };
        Some(reports)
    }

    fn build_and_report(&self, state: &State, id: InstanceId) -> Vec<(postern_model::AccountId, Action)> {
        let Some(instance) = state.instances.get(&id) else { return Vec::new() };
        let report = |state, reason: String| {
            vec![(instance.owner, Action::ReportInstance { instance: id, state, reason })]
        };
        match self.build(state, instance) {
            Ok(()) if instance.state == InstanceState::Pending => {
                report(InstanceState::Running, String::new())
            }
            Ok(()) => Vec::new(),
            Err(error) => {
                let reason = crate::said::said(&error);
                tracing::error!(instance = %id, reason, "cannot be started");
                self.consoles.note(id, "cannot be started: the region's log says why");
                self.destroy(id);
                self.there().failed.insert(id, instance.launched_at);
                // The reason tells of this machine, which whoever asks the API has no business to know.
                report(instance.state_after_failed_start(), "Internal error on launch".to_owned())
            }
        }
    }

    fn build(&self, state: &State, instance: &Instance) -> anyhow::Result<()> {
        let primary = instance.primary_interface(state).context("it has no primary network interface")?;
        let spec = sandbox::spec(state, instance, primary, &self.furnishings);
        let sandbox = self.host.create_instance(&spec)?;
        let machine = Machine { instance: Arc::clone(&sandbox), ports: BTreeMap::new() };
        self.there().machines.insert(instance.id, machine);
        for interface in instance.interfaces(state) {
            self.plug(state, instance.id, interface.id)?;
        }
        self.run_user_data(instance, &sandbox)?;
        self.host.finished(&sandbox)?;
        Ok(())
    }

    /// Takes what was kept of the region before: what is as the state says stays so, and its connections go on.
    pub fn inherit(&self) {
        let Some(host::Inheritance { instances, ports }) = self.host.inheritance() else { return };
        let mut inherited = 0;
        for host::InheritedInstance { instance, console } in instances {
            let Ok(id) = instance.name().parse::<InstanceId>() else {
                // A host on premises is made anew when it is asked for.
                if let Err(error) = self.host.destroy_instance(instance.name(), GRACE) {
                    tracing::warn!(name = instance.name(), %error, "it could not be taken down");
                }
                continue;
            };
            self.there().machines.insert(id, Machine { instance, ports: BTreeMap::new() });
            inherited += 1;
            if let Some((printed, reader)) = console {
                self.consoles.printed_before(id, &printed);
                if let Some(Err(error)) = reader.map(|reader| self.consoles.follow(id, reader)) {
                    tracing::warn!(%error, instance = %id, "what it prints is lost");
                }
            }
        }
        for kept in ports {
            if let Err(error) = self.inherit_port(&kept) {
                let error = crate::said::said(&error);
                tracing::warn!(interface = kept.label, error, "its port is made anew");
                // Nobody would know of it, and it would stand in the way of the next one.
                if let Err(error) = self.host.delete_port(&kept.port) {
                    tracing::warn!(interface = kept.label, %error, "a port could not be deleted");
                }
            }
        }
        match self.forwarder.give_up_awaited().wait() {
            Ok(0) => {}
            Ok(ports) => tracing::warn!(ports, "flows of ports that are gone have ended"),
            Err(error) => tracing::warn!(%error, "the forwarder does not answer"),
        }
        tracing::info!(instances = inherited, "instances went on while there was no region, and go on");
    }

    fn inherit_port(&self, kept: &host::InheritedPort) -> anyhow::Result<()> {
        let interface = kept.label.parse::<NetworkInterfaceId>()?;
        self.hand_over(interface, &kept.port)?;
        let mut there = self.there();
        match &kept.into {
            host::Into::Instance(name) => {
                let machine = there.machines.get_mut(&name.parse()?).context("its instance is not there")?;
                machine.ports.insert(interface, kept.port.clone());
            }
            host::Into::Guest(network) => {
                there.attached.insert(interface, (kept.port.clone(), network.clone()));
            }
        }
        Ok(())
    }

    /// The disk of an instance is new at each start, so user data runs at each start too.
    fn run_user_data(&self, instance: &Instance, sandbox: &host::Instance) -> anyhow::Result<()> {
        let Some(data) = &instance.user_data else { return Ok(()) };
        if !sandbox::is_program(data) {
            self.consoles.note(instance.id, "the user data does not begin with `#!` and is not run");
            return Ok(());
        }
        let (reader, writer) = std::io::pipe()?;
        self.host.keep_console(sandbox, reader.as_fd())?;
        self.consoles.follow(instance.id, reader.into())?;
        let log = Stdio::log(writer.into())?;
        let program = ProgramSpec::new(vec![sandbox::USER_DATA.to_owned()]);
        // As on AWS, a script that cannot be run does not keep its instance from running.
        let mut child = match sandbox.spawn(&program, log) {
            Ok(child) => child,
            Err(error) => {
                self.consoles.note(instance.id, &format!("the user data cannot be run: {error}"));
                return Ok(());
            }
        };
        let (consoles, id) = (self.consoles.clone(), instance.id);
        // Ends with the instance at the latest.
        tokio::spawn(async move {
            let status = child.wait().await;
            consoles.note(id, &format!("the user data ended: {status}"));
        });
        Ok(())
    }

    fn plug(&self, state: &State, id: InstanceId, interface: NetworkInterfaceId) -> anyhow::Result<()> {
        let found = state.network_interfaces.get(&interface).context("the interface is not there")?;
        let network = self.sandbox(id).context("the instance is not there")?.network().clone();
        let index = found.attachment.map_or(0, |attachment| attachment.device_index);
        let name = format!("ens{}", 5 + index);
        let into = host::Into::Instance(id.to_string());
        let port = self.connect(state, found, network, &into, &name, index == 0)?;
        if let Some(machine) = self.there().machines.get_mut(&id) {
            machine.ports.insert(interface, port);
        }
        Ok(())
    }

    /// A link from the fabric to an interface, with the forwarder at its end.
    fn connect(
        &self,
        state: &State,
        interface: &NetworkInterface,
        target: Namespace,
        into: &host::Into,
        name: &str,
        default_route: bool,
    ) -> anyhow::Result<Port> {
        let subnet = state.subnets.get(&interface.subnet).context("its subnet is not there")?;
        let length = subnet.cidr.prefix_len();
        let spec = PortSpec {
            target,
            inside_name: name.to_owned(),
            mac: host::Mac(interface.mac.0),
            mtu: u32::from(VPC_MTU),
            addresses: interface
                .private_addresses
                .iter()
                .map(|private| Prefix { address: IpAddr::V4(private.address), length })
                .collect(),
            gateway: default_route.then(|| IpAddr::V4(subnet.gateway())),
            neighbours: Vec::new(),
            routes: Vec::new(),
        };
        self.make_port(interface.id, &spec, into)
    }

    /// A port with the forwarder at its end.
    fn make_port(
        &self,
        interface: NetworkInterfaceId,
        spec: &PortSpec,
        into: &host::Into,
    ) -> anyhow::Result<Port> {
        let port = self.host.create_port(spec)?;
        let kept = self.host.keep_port(&interface.to_string(), &port, into);
        let handed = kept.map_err(anyhow::Error::from).and_then(|()| self.hand_over(interface, &port));
        if let Err(error) = handed {
            // Nobody would know of it, and it would stand in the way of the next one.
            if let Err(error) = self.host.delete_port(&port) {
                tracing::warn!(%interface, %error, "a port could not be deleted");
            }
            return Err(error);
        }
        Ok(port)
    }

    /// Gives the forwarder the other end of a port.
    fn hand_over(&self, interface: NetworkInterfaceId, port: &Port) -> anyhow::Result<()> {
        let socket = self.host.open_port_for(port, self.forwarder.received_by_ports())?;
        self.forwarder.add_port_soon(interface, socket).wait()??;
        Ok(())
    }

    fn unplug(&self, id: InstanceId, interface: NetworkInterfaceId) {
        let port = self.there().machines.get_mut(&id).and_then(|machine| machine.ports.remove(&interface));
        if let Some(port) = port {
            self.disconnect(interface, &port);
        }
    }

    fn disconnect(&self, interface: NetworkInterfaceId, port: &Port) {
        if let Err(error) = self.forwarder.remove_port(interface).wait() {
            tracing::warn!(%interface, %error, "the forwarder does not let go of a port");
        }
        if let Err(error) = self.host.delete_port(port) {
            tracing::warn!(%interface, %error, "a port could not be deleted");
        }
    }

    fn destroy(&self, id: InstanceId) {
        let Some(machine) = self.there().machines.remove(&id) else { return };
        if let Err(error) = self.host.destroy_instance(&id.to_string(), GRACE) {
            tracing::warn!(instance = %id, %error, "its sandbox could not be taken down");
        }
        // The links went with the sandbox's network; deleting them first would take longer.
        for (interface, port) in &machine.ports {
            self.disconnect(*interface, port);
        }
    }

    /// Plugs somebody else's network namespace or tap in.
    pub fn attach(&self, state: &State, interface: NetworkInterfaceId, guest: Guest) -> anyhow::Result<()> {
        let found = state.network_interfaces.get(&interface).context("the interface is not there")?;
        match guest {
            Guest::Namespace(target, name) => {
                let into = host::Into::Guest(target.clone());
                let port = self.connect(state, found, target.clone(), &into, &name, true)?;
                self.there().attached.insert(interface, (port, target));
            }
            Guest::Tap(name) => {
                let socket = PacketSocket::open(&Namespace::current()?, &name)?;
                self.forwarder.add_port(interface, socket).wait()??;
            }
        }
        Ok(())
    }

    /// Plugs somebody else's network namespace or tap into the tunnel of a VPN connection.
    pub fn attach_link(&self, connection: &VpnConnection, guest: Guest, ends: Ends) -> anyhow::Result<()> {
        let link = connection.link;
        match guest {
            Guest::Namespace(target, name) => {
                let spec = PortSpec {
                    target: target.clone(),
                    inside_name: name,
                    mac: host::Mac(link.mac.0),
                    mtu: u32::from(VPN_MTU),
                    addresses: ends.addresses,
                    gateway: None,
                    neighbours: Vec::new(),
                    routes: ends.routes,
                };
                let port = self.make_port(link.port, &spec, &host::Into::Guest(target.clone()))?;
                self.there().attached.insert(link.port, (port, target));
            }
            Guest::Tap(name) => {
                let socket = PacketSocket::open(&Namespace::current()?, &name)?;
                self.forwarder.add_port(link.port, socket).wait()??;
            }
        }
        Ok(())
    }

    /// Unplugs what is plugged into tunnels of connections that are gone.
    fn detach_gone_links(&self, state: &State) {
        let links = || state.vpn_connections.values().map(|connection| connection.link.port);
        let known = |port: &NetworkInterfaceId| {
            state.network_interfaces.contains_key(port) || links().any(|link| link == *port)
        };
        let attached: Vec<_> = self.there().attached.keys().copied().collect();
        attached.into_iter().filter(|port| !known(port)).for_each(|port| self.detach(port));
        let gone = self.gone_on_premises(|id| state.vpn_connections.contains_key(&id));
        gone.into_iter().for_each(|id| self.destroy_on_premises(id));
    }

    /// Takes an attached namespace's port away.
    pub fn detach(&self, interface: NetworkInterfaceId) {
        let attached = self.there().attached.remove(&interface);
        if let Some((port, _)) = attached {
            self.disconnect(interface, &port);
        }
    }

    /// Takes all of them down: for a reset. What is in the state is built again.
    pub fn clear(&self) {
        let ids: Vec<_> = self.there().machines.keys().copied().collect();
        ids.into_iter().for_each(|id| self.destroy(id));
        let premises: Vec<_> = self.there().premises.keys().copied().collect();
        premises.into_iter().for_each(|id| self.destroy_on_premises(id));
        let attached = std::mem::take(&mut self.there().attached);
        for (interface, (port, _)) in &attached {
            self.disconnect(*interface, port);
        }
        self.there().failed.clear();
    }
}

/// Tasks that have to follow each other, those of one instance, in their order.
fn chains(tasks: Vec<Task>) -> Vec<Vec<Task>> {
    let mut chains: Vec<Vec<Task>> = Vec::new();
    let mut of_instance: BTreeMap<InstanceId, usize> = BTreeMap::new();
    for task in tasks {
        match task.instance() {
            Some(id) => {
                let at = *of_instance.entry(id).or_insert(chains.len());
                match chains.get_mut(at) {
                    Some(chain) => chain.push(task),
                    None => chains.push(vec![task]),
                }
            }
            None => chains.push(vec![task]),
        }
    }
    chains
}

fn joined(done: Option<Result<bool, tokio::task::JoinError>>) -> bool {
    match done {
        Some(Ok(did)) => did,
        Some(Err(error)) => {
            tracing::error!(%error, "work of the reconciler ended early");
            false
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_one_instance_keeps_its_order_and_the_rest_goes_beside_it() {
        let (one, other) = (InstanceId::from_number(1), InstanceId::from_number(2));
        let (first, second) = (NetworkInterfaceId::from_number(1), NetworkInterfaceId::from_number(2));
        let tasks = vec![Task::Unplug(one, first), Task::Build(other), Task::Plug(one, second)];
        let expected =
            vec![vec![Task::Unplug(one, first), Task::Plug(one, second)], vec![Task::Build(other)]];
        assert_eq!(chains(tasks), expected);
    }
}
