//! Counters are exact while packets fly: nothing is counted twice, and nothing is forgotten.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postern_dataplane::forward::{Counters, PortCounters};
use postern_path::DropReason;

use crate::world::{A, B, OUTSIDE, World, eni};

/// Datagrams of each sender.
const EACH: u64 = 20_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// Four senders at once, to where they may and to where nobody is, while somebody reads the counters all the time.
pub fn counting(directory: &Path) {
    let world = World::start(directory);
    let takers: Vec<UdpSocket> = [(&world.networks[1], 7_000), (&world.networks[2], 7_000)]
        .map(|(network, port)| network.bind_udp(SocketAddr::from(([0; 4], port))).unwrap())
        .into();
    for network in &world.networks {
        // The kernel inside says nothing of its own accord; where it has no IPv6 there is nothing to turn off.
        let quieten = || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let _ = network.run(quieten).unwrap();
    }
    // Neighbours are known, so that from here on every packet is one of those that are sent below.
    say(&world, 0, SocketAddr::from((B, 7_000)), 1);
    say(&world, 0, SocketAddr::from((OUTSIDE, 7_000)), 1);
    say(&world, 1, SocketAddr::from((A, 7_000)), 1);
    std::thread::sleep(Duration::from_millis(300));
    let before = world.counters();
    let done = AtomicBool::new(false);
    let nowhere = SocketAddr::from(([10, 0, 0, 77], 7_000));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = world.counters();
            let mut read = 0;
            while !done.load(Ordering::Relaxed) {
                let now = world.counters();
                never_less(&last, &now);
                last = now;
                read += 1;
            }
            read
        });
        let targets = [(0, (B, 7_000).into()), (0, (OUTSIDE, 7_000).into()), (0, nowhere), (1, nowhere)];
        let senders = targets.map(|(from, to)| {
            let world = &world;
            scope.spawn(move || say(world, from, to, EACH))
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        done.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 10, "the counters were read while packets flew");
    });
    let after = settled(&world);
    let grew = |number: u64, of: fn(&PortCounters) -> u64| {
        of(&after.interface(eni(number)).unwrap().counters)
            - of(&before.interface(eni(number)).unwrap().counters)
    };
    for number in [0, 1, 2] {
        let (received, passed) = (grew(number, |p| p.received.packets), grew(number, |p| p.passed.packets));
        let (answered, drops) = (grew(number, |p| p.answered), grew(number, |p| p.drops.total()));
        let not_sent = grew(number, |p| p.drops.get(DropReason::SendFailed));
        assert_eq!(received, passed + answered + drops - not_sent, "{number}: {after:?}");
    }
    let sent = |number| grew(number, |p| p.received.packets + p.overruns) - grew(number, |p| p.answered);
    assert_eq!(sent(0), 3 * EACH, "{after:?}");
    assert_eq!(sent(1) - grew(1, |p| p.passed.packets), EACH, "{after:?}");
    // What went on arrived, but for what the receiver's interface could not take.
    let passed = grew(0, |p| p.passed.packets) - grew(0, |p| p.drops.get(DropReason::SendFailed));
    let delivered = grew(1, |p| p.delivered.packets) + grew(2, |p| p.delivered.packets);
    assert!(delivered >= passed, "{delivered} of {passed}: {after:?}");
    let refused: u64 = after
        .resources
        .iter()
        .filter(|drops| drops.reason == DropReason::NoSuchAddress)
        .map(|drops| drops.packets)
        .sum();
    let by_reason =
        |number: u64| after.interface(eni(number)).unwrap().counters.drops.get(DropReason::NoSuchAddress);
    assert_eq!(refused, by_reason(0) + by_reason(1), "{after:?}");
    drop(takers);
    world.stop();
}

/// Datagrams from an interface, one after the other.
fn say(world: &World, from: usize, to: SocketAddr, count: u64) {
    let socket = world.networks[from].bind_udp(SocketAddr::from(([0; 4], 0))).unwrap();
    let mut said = 0;
    while said < count {
        // A full queue, or an error that is about an earlier one.
        if socket.send_to(b"count me", to).is_ok() {
            said += 1;
        }
    }
}

/// No count of any port goes down.
fn never_less(one: &Counters, other: &Counters) {
    for (one, other) in one.ports.iter().zip(&other.ports) {
        let of = |p: &PortCounters| {
            [
                p.received.packets,
                p.passed.packets,
                p.delivered.packets,
                p.drops.total(),
                p.upcalls,
                p.overruns,
            ]
        };
        let (one, other) = (of(&one.counters), of(&other.counters));
        assert!(one.iter().zip(&other).all(|(one, other)| one <= other), "{one:?} {other:?}");
    }
}

/// The counters once nothing is under way.
fn settled(world: &World) -> Counters {
    let deadline = Instant::now() + PATIENCE;
    let mut last = world.counters();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = world.counters();
        if now.ports == last.ports {
            return now;
        }
        assert!(Instant::now() < deadline, "packets go on: {now:?}");
        last = now;
    }
}
