//! Packets that nothing holds up: programs that take each other's place, and forwarders that die and are followed by others.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use postern_dataplane::forward::{Counters, PortCounters};
use postern_dataplane::host::{self, Into, Namespace, StartOptions, start};
use postern_dataplane::kernel::{KernelProgram, Pins, Size};
use postern_path::DropReason;

use crate::net::{connect, echo_server, is_silent, say};
use crate::world::{A, B, NAT, OPEN, OUTSIDE, Rules, World, eni, network};
use crate::{CASE_VARIABLE, DIR_VARIABLE};

fn at(address: std::net::Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

/// The networks are made when the host side is started, before which there may be no thread.
fn pinned(directory: &Path, networks: impl FnOnce() -> Vec<Namespace>) -> World {
    let host = start(StartOptions { runtime_dir: directory.join("run"), hidden: Vec::new() }).unwrap();
    host.keep_for_others(&directory.join("keeper.sock"));
    let pins = Pins::new(host.pins(true).unwrap()).unwrap();
    let program = KernelProgram::load_pinned(host.fabric(), Size { flows: 1 << 15 }, 7, pins).unwrap();
    World::of(host, Some(program), networks().try_into().unwrap())
}

/// What the kernel threw away at receivers' sockets in a network.
fn overflown(namespace: &Namespace) -> u64 {
    let text = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap()).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|name| name == "RcvbufErrors").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// How many programs run, one after the other.
const SWAPS: usize = 16;

/// Programs take each other's place while packets come as fast as they can be sent: each one arrives, or is counted.
pub fn program_swaps(directory: &Path) {
    let mut alive = Vec::new();
    let mut make = || {
        let (network, lives) = network();
        alive.push(lives);
        network
    };
    let world = pinned(directory, || (0..3).map(|_| make()).collect());
    let [a, b, _] = &world.networks;
    let receiver = b.bind_udp(at(B, 5353)).unwrap();
    setsockopt(&receiver, sockopt::RcvBufForce, &(64 << 20)).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let sender = a.bind_udp(at(A, 0)).unwrap();
    sender.connect(at(B, 5353)).unwrap();
    // The first one makes the flow.
    sender.send(&[0; 8]).unwrap();
    receiver.recv(&mut [0; 8]).unwrap();
    let own = |counters: &Counters| counters.interface(eni(0)).unwrap().counters;
    let before = world.counters();
    let lost_before = overflown(b);

    let done = AtomicBool::new(false);
    let (sent, received) = std::thread::scope(|scope| {
        let sending = scope.spawn(|| send_until(&sender, &done));
        let receiving = scope.spawn(|| receive_all(&receiver, &done));
        let renewed: Vec<_> = (0..SWAPS).map(|_| world.forwarder.renew_program()).collect();
        done.store(true, Ordering::Relaxed);
        renewed.into_iter().for_each(Result::unwrap);
        (sending.join().unwrap(), receiving.join().unwrap())
    });
    let after = world.counters();
    let (before, after) = (own(&before), own(&after));
    println!("note: {SWAPS} programs one after the other, {sent} packets sent, {received} received");
    assert_eq!(received + overflown(b) - lost_before, sent, "packets were lost on the way");
    assert_eq!(
        after.in_kernel.packets - before.in_kernel.packets,
        sent,
        "and one program or the other carried each"
    );
    assert_eq!(after.passed.packets - before.passed.packets, sent);
    // But for what the networks' own stacks say in IPv6, before it is switched off there.
    let dropped = |own: &PortCounters| own.drops.total() - own.drops.get(DropReason::Unsupported);
    assert_eq!(dropped(&after), dropped(&before));
    world.stop();
    drop(alive);
}

fn send_until(socket: &UdpSocket, done: &AtomicBool) -> u64 {
    let mut sent = 0_u64;
    while !done.load(Ordering::Relaxed) {
        for _ in 0..64 {
            socket.send(&sent.to_be_bytes()).unwrap();
            sent += 1;
        }
    }
    sent
}

fn receive_all(socket: &UdpSocket, done: &AtomicBool) -> u64 {
    let (mut received, mut next) = (0, 0);
    let mut buffer = [0; 8];
    loop {
        match socket.recv(&mut buffer) {
            Ok(_) => {
                let number = u64::from_be_bytes(buffer);
                assert!(number >= next, "{number} came after {next}");
                next = number + 1;
                received += 1;
            }
            Err(_) if done.load(Ordering::Relaxed) => return received,
            Err(_) => {}
        }
    }
}

/// The name of the case that is started in order to be killed.
pub const REGION: &str = "hitless_region";
const NETWORKS_VARIABLE: &str = "POSTERN_FORWARD_NETWORKS";
const HOW_VARIABLE: &str = "POSTERN_FORWARD_HOW";

/// How a region comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// It is the first.
    First,
    /// Nothing has changed.
    Same,
    /// A security group lets new flows pass no more, since before the last one ended.
    Closed,
    /// The same, and nobody knows since when.
    ClosedMeanwhile,
    /// There is no route any more.
    Unrouted,
}

impl How {
    const ALL: [Self; 5] = [Self::First, Self::Same, Self::Closed, Self::ClosedMeanwhile, Self::Unrouted];

    fn rules(self) -> Rules {
        let open = !matches!(self, Self::Closed | Self::ClosedMeanwhile);
        Rules { routed: self != Self::Unrouted, open, ..OPEN }
    }
}

/// A region that is told its end, or killed.
pub fn region(directory: &Path) {
    let networks = std::env::var(NETWORKS_VARIABLE).unwrap();
    let networks: Vec<_> =
        networks.split(',').map(|path| Namespace::open(Path::new(path)).unwrap()).collect();
    let how = std::env::var(HOW_VARIABLE).unwrap();
    let how = How::ALL.into_iter().find(|known| format!("{known:?}") == how).unwrap();
    let world = if how == How::First {
        let world = pinned(directory, || networks);
        for ((number, port), network) in (0..).zip(&world.ports).zip(&world.networks) {
            let into = Into::Guest(network.clone());
            world.host.keep_port(&eni(number).to_string(), port, &into).unwrap();
        }
        world
    } else {
        let socket = directory.join("keeper.sock");
        World::go_on(&socket, how.rules(), how != How::ClosedMeanwhile, networks.try_into().unwrap())
    };
    world.host.linger(20).unwrap();
    let adopted = world.forwarder.adopted().unwrap_or_default();
    println!("ready {} {} {}", adopted.ports, adopted.flows, adopted.ended);
    std::io::stdout().flush().unwrap();
    for line in std::io::stdin().lock().lines() {
        match line.unwrap().as_str() {
            "nat" => {
                let counters = world.counters();
                let nat = counters.gateway(NAT.into()).copied().unwrap_or_default();
                println!("{} {}", nat.active, nat.outward.packets);
            }
            "end" => break,
            other => panic!("`{other}`"),
        }
        std::io::stdout().flush().unwrap();
    }
    world.stop();
}

/// A region in a process of its own.
struct Region {
    child: Child,
    from: BufReader<std::process::ChildStdout>,
    /// Ports and flows that it went on with, and flows that ended.
    adopted: Vec<u64>,
}

impl Region {
    fn start(directory: &Path, networks: &[Namespace], how: How) -> Self {
        let path =
            |network: &Namespace| format!("/proc/{}/fd/{}", std::process::id(), network.as_fd().as_raw_fd());
        let networks: Vec<_> = networks.iter().map(path).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(CASE_VARIABLE, REGION)
            .env(DIR_VARIABLE, directory)
            .env(NETWORKS_VARIABLE, networks.join(","))
            .env(HOW_VARIABLE, format!("{how:?}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut region = Self { child, from, adopted: Vec::new() };
        let ready = region.hear();
        let ready = ready.strip_prefix("ready ").unwrap_or_else(|| panic!("{how:?}: `{ready}`"));
        region.adopted = numbers(ready);
        region
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    /// Flows through the NAT gateway, and packets outward through it ever.
    fn nat(&mut self) -> Vec<u64> {
        self.tell("nat");
        numbers(&self.hear())
    }

    /// Waits until resets have ended all others.
    fn until_nat_flows_are(&mut self, count: u64) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.nat()[0] != count {
            assert!(Instant::now() < deadline, "{:?} instead of {count}", self.nat());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

/// What lingers ends with the case, also where that fails.
struct Keeper(PathBuf);

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = host::end(&self.0);
    }
}

/// Forwarders die and are followed by others, under load and with other rules.
pub fn gone_on_with(directory: &Path) {
    let (networks, _alive): (Vec<_>, Vec<_>) = (0..3).map(|_| network()).unzip();
    let [a, b, outside] = &networks[..] else { unreachable!() };
    let _keeper = Keeper(directory.join("keeper.sock"));
    let mut region = Region::start(directory, &networks, How::First);
    let _near = echo_server(b, at(B, 80), 8);
    let _far = echo_server(outside, at(OUTSIDE, 80), 8);
    let mut near = connect(a, at(B, 80)).unwrap();
    let mut far = connect(a, at(OUTSIDE, 80)).unwrap();
    let both = |near: &mut TcpStream, far: &mut TcpStream| {
        for _ in 0..20 {
            say(near, &[7; 3_000]).unwrap();
            say(far, &[9; 3_000]).unwrap();
        }
    };
    both(&mut near, &mut far);
    assert_eq!(region.nat()[0], 1);

    let mut through_nat = 0;
    for how in [How::Same, How::Same, How::Closed] {
        let before = region.nat()[1];
        assert!(before > through_nat, "what was counted before counts on");
        through_nat = before;
        region.kill();
        both(&mut near, &mut far);
        // The kernel program goes on making flows of what was decided before.
        let mut new_near = connect(a, at(B, 80)).unwrap();
        let mut new_far = connect(a, at(OUTSIDE, 80)).unwrap();
        both(&mut new_near, &mut new_far);
        region = Region::start(directory, &networks, how);
        // Connections that were closed just now are still known, too.
        let [ports, flows, ended] = region.adopted[..] else { unreachable!() };
        assert!(ports == 3 && flows >= 4 && ended == 0, "{how:?}: {:?}", region.adopted);
        both(&mut near, &mut far);
        both(&mut new_near, &mut new_far);
        assert_eq!(region.nat()[0], 2, "{how:?}");
        reset(new_near);
        reset(new_far);
        region.until_nat_flows_are(1);
        let lets_in = how != How::Closed;
        assert_eq!(is_silent(a, at(B, 80)), !lets_in, "{how:?}");
        if lets_in {
            // A second one through the gateway has another of its ports.
            let mut second = connect(b, at(OUTSIDE, 80)).unwrap();
            say(&mut second, b"the second").unwrap();
            assert_eq!(region.nat()[0], 2);
            reset(second);
            region.until_nat_flows_are(1);
        }
    }
    // Whether a group has ended it meanwhile cannot be known: what would not be let in now does not stay.
    region.kill();
    both(&mut near, &mut far);
    region = Region::start(directory, &networks, How::ClosedMeanwhile);
    let [ports, flows, ended] = region.adopted[..] else { unreachable!() };
    assert!(ports == 3 && flows == 0 && ended >= 2, "{:?}", region.adopted);
    ends(&mut near);
    ends(&mut far);
    assert_eq!(region.nat()[0], 0);
    region.tell("end");
    assert!(region.child.wait().unwrap().success());
    assert_eq!(
        host::look(&directory.join("keeper.sock")),
        None,
        "nothing lingers after an end that was told"
    );
    assert!(!directory.join("keeper.sock").exists());
    routes_end_flows(directory, &networks);
}

/// A route that is gone when the next one comes up.
fn routes_end_flows(directory: &Path, networks: &[Namespace]) {
    let [a, b, _] = networks else { unreachable!() };
    let region = Region::start(directory, networks, How::First);
    let _server = echo_server(b, at(B, 81), 1);
    let mut stream = connect(a, at(B, 81)).unwrap();
    say(&mut stream, b"once").unwrap();
    region.kill();
    say(&mut stream, b"twice").unwrap();
    let lingers = host::look(&directory.join("keeper.sock")).unwrap();
    assert!(lingers.left <= Duration::from_secs(20), "{lingers:?}");
    let mut region = Region::start(directory, networks, How::Unrouted);
    assert_eq!(region.adopted, [3, 0, 1]);
    ends(&mut stream);
    region.tell("end");
    assert!(region.child.wait().unwrap().success());
}

/// Nothing comes through any more.
fn ends(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    assert!(say(stream, b"is anybody there?").is_err());
}

/// Closes a connection with a reset.
fn reset(stream: TcpStream) {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &linger).unwrap();
    drop(stream);
}
