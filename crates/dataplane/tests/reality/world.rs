//! Sixteen interfaces and the doors, made once. Which interfaces of a topology they are changes with each case.
//!
//! The inner ends have no addresses, so that no kernel answers: frames are put in and taken out by packet sockets
//! inside the namespaces.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use postern_dataplane::forward::{Counters, Decider, Forwarder, Limits, Options, PortCounters, Rate};
use postern_dataplane::host::{
    FrameBatch, Host, MAX_BATCH, Mac, Namespace, PacketSocket, Port, PortSpec, StartOptions, VirtioNetHdr,
    start,
};
use postern_dataplane::kernel::{KernelError, KernelProgram, Size};
use postern_model::{NetworkInterfaceId, State};
use postern_path::{Plan, Stamp, Uplink};

use crate::expect::Receiver;
use crate::frames::{Seen, read};

pub const INTERFACES: usize = 16;
pub const DOORS_MAC: postern_model::Mac = postern_model::Mac([2, 0, 0, 0, 0, 8]);
const PATIENCE: Duration = Duration::from_secs(5);

/// A link: its inner end, and whose it is now.
struct Link {
    port: Option<Port>,
    inner: PacketSocket,
    owner: Receiver,
    /// Frames taken out since it became that.
    taken: u64,
}

pub struct World {
    pub forwarder: Forwarder,
    pub plan: Plan,
    pub state: State,
    host: Host,
    /// The doors' is the last.
    links: Vec<Link>,
    batch: FrameBatch,
    _alive: Vec<Sender<()>>,
}

/// A network of its own, without IPv6 and what that says unasked, until the sender is dropped.
fn network() -> (Namespace, Sender<()>) {
    let (send, receive) = channel();
    let (alive, end) = channel::<()>();
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        for which in ["all", "default"] {
            // Where the kernel has no IPv6 there is nothing to turn off.
            let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
        }
        send.send(Namespace::current().unwrap()).unwrap();
        let _ = end.recv();
    });
    (receive.recv().unwrap(), alive)
}

/// Whether the kernel program carries flows.
fn is_kernel() -> bool {
    std::env::var(crate::KERNEL_VARIABLE).is_ok_and(|value| !value.is_empty())
}

fn load_program(fabric: &Namespace) -> Result<KernelProgram, KernelError> {
    KernelProgram::load(fabric, Size { flows: 1 << 15 }, 7)
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

fn unlimited() -> Limits {
    let rate = Rate { per_second: 1_000_000, burst: 1_000_000 };
    Limits { upcalls: rate, replies: rate, ..Limits::default() }
}

fn link(host: &Host, target: &Namespace, number: u8) -> (Port, PacketSocket) {
    let spec = PortSpec {
        target: target.clone(),
        inside_name: "ens5".to_owned(),
        // Nobody's in any plan: the kernel inside takes no frame for its own.
        mac: Mac([2, 7, 7, 7, 7, number]),
        mtu: 9001,
        addresses: Vec::new(),
        gateway: None,
        neighbours: Vec::new(),
        routes: Vec::new(),
    };
    (host.create_port(&spec).unwrap(), PacketSocket::open(target, "ens5").unwrap())
}

impl World {
    pub fn start(directory: &Path) -> Self {
        let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
        let state = postern_testkit::World::new(0).state;
        let compiled = Plan::compile(&state);
        let options = Options { limits: unlimited(), ..Options::with_seed(7) };
        let program = is_kernel().then(|| load_program(host.fabric()).unwrap());
        let plan = Arc::new(compiled.plan.clone());
        let forwarder = Forwarder::start_with(plan, &compiled.changed, options, program).unwrap();
        let mut alive = Vec::new();
        let mut links: Vec<Link> = (0..INTERFACES)
            .map(|number| {
                let (namespace, lives) = network();
                alive.push(lives);
                let (port, inner) = link(&host, &namespace, number as u8);
                Link { port: Some(port), inner, owner: None, taken: 0 }
            })
            .collect();
        let (port, inner) = link(&host, host.doors(), INTERFACES as u8);
        let socket = host.open_port(&port).unwrap();
        forwarder.add_doors_port(socket, DOORS_MAC).wait().unwrap().unwrap();
        links.push(Link { port: None, inner, owner: None, taken: 0 });
        let batch = FrameBatch::new(MAX_BATCH);
        Self { forwarder, plan: compiled.plan, state, host, links, batch, _alive: alive }
    }

    /// Another state, and what is said of it.
    pub fn publish(
        &mut self,
        state: State,
        uplink: Option<Uplink>,
        decider: impl FnOnce(&Plan) -> Arc<dyn Decider>,
    ) {
        let compiled = self.plan.advance(&self.state, &state);
        let other = compiled.plan.with_uplink(uplink);
        (self.plan, self.state) = (other.plan, state);
        self.announce(decider(&self.plan), [compiled.changed, other.changed].concat());
    }

    fn announce(&self, decider: Arc<dyn Decider>, changed: Vec<Stamp>) {
        self.forwarder.publish(decider, changed).wait().unwrap();
    }

    /// The links become these interfaces.
    pub fn plug(&mut self, interfaces: &[NetworkInterfaceId]) {
        for link in &mut self.links {
            if let Some(owner) = link.owner.take() {
                assert!(self.forwarder.remove_port(owner).wait().unwrap());
            }
        }
        // What a case that failed has left.
        while !self.take_out().is_empty() {}
        for (link, owner) in self.links.iter_mut().zip(interfaces) {
            let Some(port) = &link.port else { continue };
            (link.owner, link.taken) = (Some(*owner), 0);
            let socket = self.host.open_port(port).unwrap();
            self.forwarder.add_port(*owner, socket).wait().unwrap().unwrap();
        }
    }

    pub fn is_plugged(&self, id: NetworkInterfaceId) -> bool {
        self.links.iter().any(|link| link.owner == Some(id))
    }

    /// Puts frames in at an inner end.
    pub fn put_in(&self, at: Receiver, frames: &[Vec<u8>]) {
        let link = self.links.iter().find(|link| link.owner == at && (at.is_some() || link.port.is_none()));
        for part in frames.chunks(MAX_BATCH) {
            let mut left: Vec<_> =
                part.iter().map(|frame| (VirtioNetHdr::default(), frame.as_slice())).collect();
            while !left.is_empty() {
                let sent = link.unwrap().inner.send_batch(&left).unwrap();
                left.drain(..sent);
            }
        }
    }

    /// Takes out what has come to the inner ends.
    fn take_out(&mut self) -> Vec<(Receiver, Vec<u8>)> {
        let mut all = Vec::new();
        for link in &mut self.links {
            while link.inner.recv_batch(&mut self.batch).unwrap() > 0 {
                let before = all.len();
                all.extend(self.batch.frames().map(|(_, bytes)| (link.owner, bytes.to_vec())));
                link.taken += (all.len() - before) as u64;
            }
        }
        all
    }

    /// Waits until the forwarder has seen so many packets more than it had `before`, and everything that it then sent
    /// is taken out. Returns that, and the counters.
    pub fn settle(&mut self, before: &Tally, packets: u64) -> Result<(Vec<(Receiver, Seen)>, Tally), String> {
        let deadline = Instant::now() + PATIENCE;
        let mut out = Vec::new();
        loop {
            out.extend(self.take_out());
            let now = self.tally();
            let received = now.received() - before.received();
            let behind = self.behind(&now);
            if received == packets && behind.is_empty() {
                let seen = out.iter().map(|(at, frame)| Ok((*at, read(frame)?)));
                return seen.collect::<Result<_, String>>().map(|seen| (seen, now));
            }
            if Instant::now() > deadline {
                return Err(format!("{received} of {packets} packets came in; {behind:?}"));
            }
            std::thread::yield_now();
        }
    }

    /// Where not as much was taken out as the forwarder sent.
    fn behind(&self, tally: &Tally) -> Vec<String> {
        let wrong = self.links.iter().filter(|link| link.owner.is_some() || link.port.is_none());
        wrong
            .filter_map(|link| {
                let counters = tally.of(link.owner)?;
                let sent = counters.delivered.packets + counters.replies;
                (link.taken != sent).then(|| format!("{:?}: {} of {sent}", link.owner, link.taken))
            })
            .collect()
    }

    pub fn tally(&self) -> Tally {
        Tally { counters: self.forwarder.counters().wait().unwrap() }
    }

    pub fn stop(self) {
        self.forwarder.shutdown();
        self.host.shutdown(Duration::ZERO).unwrap();
    }
}

/// The counters at one moment.
pub struct Tally {
    counters: Counters,
}

impl Tally {
    pub fn of(&self, at: Receiver) -> Option<PortCounters> {
        self.counters.ports.iter().find(|port| port.interface == at).map(|port| port.counters)
    }

    fn received(&self) -> u64 {
        self.counters.ports.iter().map(|port| port.counters.received.packets).sum()
    }

    /// Every port's, by whose it is.
    pub fn all(&self) -> BTreeMap<Receiver, PortCounters> {
        self.counters.ports.iter().map(|port| (port.interface, port.counters)).collect()
    }
}
