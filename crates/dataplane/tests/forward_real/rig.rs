//! Links, and whatever carries packets between them: frames go in at one end and come out at another.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use postern_dataplane::forward::packet::{ROUTER_MAC, checksum};
use postern_dataplane::forward::{Counters, Forwarder, LiveFlow, Options, Rate};
use postern_dataplane::host::{
    FrameBatch, Host, MAX_BATCH, Mac, Namespace, PacketSocket, PortSpec, VirtioNetHdr,
};
use postern_dataplane::kernel::KernelProgram;

use crate::world::{DOORS_MAC, Rules, eni, load_program, mac, network};

/// Interfaces 0, 1 and 2, and then the doors.
pub const LINKS: usize = 4;
pub const DOORS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(5);

/// Numbers that look like chance and are the same every time.
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    pub fn one_in(&mut self, of: usize) -> bool {
        self.roll(of) == 0
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

/// A frame as it came out: where, its offload state, its bytes.
pub type Out = (usize, VirtioNetHdr, Vec<u8>);

/// Four links, and what is between them.
pub struct Rig {
    pub forwarder: Forwarder,
    pub inner: Vec<PacketSocket>,
    batch: FrameBatch,
    taken: [u64; LINKS],
    /// Packets that the counters told of as sent there.
    told: [u64; LINKS],
    /// Frames that were put in.
    pub received: u64,
    _alive: Vec<Sender<()>>,
}

/// The links' ends.
pub struct Links {
    pub inner: Vec<PacketSocket>,
    /// The indices of the host ends.
    pub outer: Vec<u32>,
    /// The networks that the inner ends are in last as long as these.
    pub alive: Vec<Sender<()>>,
}

impl Links {
    /// New ones, which are the forwarder's ports from now on.
    pub fn plugged_in(host: &Host, forwarder: &Forwarder) -> Self {
        let mut links = Self { inner: Vec::new(), outer: Vec::new(), alive: Vec::new() };
        for number in 0..LINKS {
            let (namespace, lives) = network();
            quieten(&namespace);
            let port = host
                .create_port(&PortSpec {
                    target: namespace.clone(),
                    inside_name: "ens5".to_owned(),
                    // Nobody's in any plan: the kernel inside takes no frame for its own.
                    mac: Mac([2, 7, 7, 7, 7, number as u8]),
                    mtu: 9001,
                    addresses: Vec::new(),
                    gateway: None,
                    neighbours: Vec::new(),
                    routes: Vec::new(),
                })
                .unwrap();
            let socket = host.open_port(&port).unwrap();
            let added = match number {
                DOORS => forwarder.add_doors_port(socket, postern_model::Mac(DOORS_MAC)),
                number => forwarder.add_port(eni(number as u64), socket),
            };
            added.wait().unwrap().unwrap();
            links.alive.push(lives);
            links.outer.push(port.index);
            links.inner.push(PacketSocket::open(&namespace, "ens5").unwrap());
        }
        links
    }
}

impl Rig {
    pub fn start(host: &Host, rules: Rules, with_program: bool) -> Self {
        let program = with_program.then(|| load_program(host.fabric()).unwrap());
        let mut options = Options::with_seed(7);
        // How many answers are left out depends on the moment at which each of the two takes a packet.
        options.limits.replies = Rate { per_second: 1_000_000, burst: 1_000_000 };
        Self::start_with(host, rules, options, program)
    }

    pub fn start_with(host: &Host, rules: Rules, options: Options, program: Option<KernelProgram>) -> Self {
        let forwarder = Forwarder::start_with(Arc::new(rules), &rules.stamps(), options, program).unwrap();
        let links = Links::plugged_in(host, &forwarder);
        Self {
            forwarder,
            inner: links.inner,
            batch: FrameBatch::new(MAX_BATCH),
            taken: [0; LINKS],
            told: [0; LINKS],
            received: 0,
            _alive: links.alive,
        }
    }

    pub fn counters(&self) -> Counters {
        self.forwarder.counters().wait().unwrap()
    }

    pub fn take_out(&mut self, out: &mut Vec<Out>) {
        for (at, inner) in self.inner.iter().enumerate() {
            while inner.recv_batch(&mut self.batch).unwrap() > 0 {
                for (meta, bytes) in self.batch.frames() {
                    out.push((at, meta.header, bytes.to_vec()));
                    self.taken[at] += 1;
                }
            }
        }
    }

    /// Everything that came out since the last time, once all that the counters tell of is there. Of a packet that
    /// was cut into fragments they tell once.
    pub fn settle(&mut self, received: u64) -> (Vec<Out>, Counters) {
        let deadline = Instant::now() + PATIENCE;
        let mut out = Vec::new();
        let before = self.taken;
        loop {
            self.take_out(&mut out);
            let counters = self.counters();
            let came: u64 = counters.ports.iter().map(|port| port.counters.received.packets).sum();
            let mut told = self.told;
            for (told, port) in told.iter_mut().zip(&counters.ports) {
                *told = port.counters.delivered.packets + port.counters.replies;
            }
            let all_out = (0..LINKS).all(|at| told[at] - self.told[at] <= self.taken[at] - before[at]);
            if came == received && all_out {
                self.told = told;
                return (out, counters);
            }
            assert!(Instant::now() < deadline, "{came} of {received}; {:?}: {counters:?}", self.taken);
        }
    }

    pub fn flows(&self) -> Vec<LiveFlow> {
        let mut flows = self.forwarder.flows(100_000).wait().unwrap();
        flows.sort_by_key(|flow| format!("{:?}{:?}", flow.flow, flow.source));
        flows
    }
}

/// No kernel speaks unasked.
fn quieten(namespace: &Namespace) {
    namespace
        .run(|| {
            for which in ["all", "default"] {
                // Where the kernel has no IPv6 there is nothing to turn off.
                let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"), "1");
            }
        })
        .unwrap();
}

/// An IPv4 packet that is about to be made.
#[derive(Clone)]
pub struct Packet {
    pub at: usize,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub protocol: u8,
    pub ttl: u8,
    pub flags: u16,
    /// The transport header, with a checksum of zero, and what follows.
    pub content: Vec<u8>,
}

pub fn tcp(ports: (u16, u16), flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
    let mut header = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    header.extend([0, 0, 0, 7, 0, 0, 0, 9, ((20 + options.len()) / 4 * 16) as u8, flags]);
    header.extend([0x10, 0, 0, 0, 0, 0]);
    header.extend(options);
    header.extend((0..payload).map(|at| at as u8));
    header
}

pub fn udp(ports: (u16, u16), payload: usize) -> Vec<u8> {
    let mut header = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
    header.extend(((8 + payload) as u16).to_be_bytes());
    header.extend([0, 0]);
    header.extend((0..payload).map(|at| at as u8));
    header
}

pub fn echo(kind: u8, identifier: u16) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend([0, 1, 1, 2, 3]);
    let sum = checksum::over(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

impl Packet {
    pub const fn checksum_at(&self) -> Option<usize> {
        match self.protocol {
            6 => Some(16),
            17 => Some(6),
            _ => None,
        }
    }

    pub fn header_bytes(&self) -> usize {
        if self.protocol == 6 { usize::from(self.content[12] >> 4) * 4 } else { 8 }
    }

    /// The frame, with the checksum whole, partial (as it must be of one that is still to be cut), or left out.
    pub fn frame(&self, dice: &mut Dice, partial: bool, segment: u16) -> (VirtioNetHdr, Vec<u8>) {
        let mac = if self.at == DOORS { DOORS_MAC } else { mac(self.at as u64) };
        let mut frame = [&ROUTER_MAC.0[..], &mac, &[8, 0, 0x45, 0]].concat();
        frame.extend(((20 + self.content.len()) as u16).to_be_bytes());
        frame.extend((dice.roll(65_536) as u16).to_be_bytes());
        frame.extend(self.flags.to_be_bytes());
        frame.extend([self.ttl, self.protocol, 0, 0]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        let sum = checksum::over(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        let mut content = self.content.clone();
        let mut header = VirtioNetHdr::default();
        if let Some(at) = self.checksum_at() {
            let length = content.len() as u16;
            let pseudo = checksum::pseudo_header(self.source, self.destination, self.protocol, length);
            let left_out = self.protocol == 17 && !partial && dice.one_in(4);
            let sum = if partial {
                (header.flags, header.csum_start, header.csum_offset) =
                    (VirtioNetHdr::NEEDS_CSUM, 34, at as u16);
                checksum::fold(pseudo)
            } else if left_out {
                0
            } else {
                !checksum::fold(pseudo + checksum::sum(&content))
            };
            content[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        if segment > 0 {
            let kind = if self.protocol == 6 { VirtioNetHdr::GSO_TCPV4 } else { VirtioNetHdr::GSO_UDP_L4 };
            (header.gso_type, header.gso_size) = (kind, segment);
            header.hdr_len = (34 + self.header_bytes()) as u16;
        }
        frame.extend(content);
        (header, frame)
    }
}
