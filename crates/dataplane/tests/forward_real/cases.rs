//! The cases.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::time::{Duration, Instant};

use postern_dataplane::forward::FlowOutcome;
use postern_path::{Door, DropReason, Through};

use crate::measure::forwarder_seconds;
use crate::net::{PATIENCE, connect, connect_from, echo_server, is_silent, ping, probe, say};
use crate::world::{A, B, ENDPOINT, NAT, NAT_HOP, OUTSIDE, SERVICES, VISIBLE, VPC, World, eni};

fn at(address: std::net::Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::from((address, port))
}

pub fn neighbours(directory: &Path) {
    let world = World::start(directory);
    let [a, b, _] = &world.networks;
    let server = echo_server(b, at(B, 80), 1);
    let mut stream = connect(a, at(B, 80)).unwrap();
    say(&mut stream, b"hello").unwrap();
    drop(stream);
    let peers = server.join().unwrap();
    assert_eq!(peers[0].ip(), A);
    assert!(ping(a, B, 7).is_some());
    assert!(ping(b, A, 7).is_some());
    let receiver = b.bind_udp(at(B, 5353)).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = a.bind_udp(at(A, 0)).unwrap();
    sender.set_read_timeout(Some(PATIENCE)).unwrap();
    // The second is cut into fragments by its sender.
    for length in [100, 30_000] {
        sender.send_to(&vec![7; length], at(B, 5353)).unwrap();
        let mut buffer = vec![0; 40_000];
        let (read, from) = receiver.recv_from(&mut buffer).unwrap();
        assert_eq!((read, from), (length, sender.local_addr().unwrap()));
        receiver.send_to(&buffer[..read], from).unwrap();
        assert_eq!(sender.recv(&mut buffer).unwrap(), length);
    }
    let refused = connect(a, at(B, 81)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let counters = world.counters();
    let own = counters.interface(eni(0)).unwrap().counters;
    assert_eq!(own.received.packets, own.passed.packets + own.answered + own.drops.total(), "{own:?}");
    assert!(own.answered > 0, "ARP was asked for");
    world.stop();
}

pub fn large_transfer(directory: &Path) {
    const BYTES: usize = 512 << 20;
    let world = World::start(directory);
    let [a, b, _] = &world.networks;
    let listener = b.listen_tcp(at(B, 80)).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0_usize;
        loop {
            let read = stream.read(&mut buffer).unwrap();
            if read == 0 {
                return total;
            }
            // Each byte says where it belongs.
            for (index, byte) in buffer[..read].iter().enumerate().step_by(4093) {
                assert_eq!(*byte, ((total + index) % 251) as u8, "byte {}", total + index);
            }
            total += read;
        }
    });
    let pattern: Vec<u8> = (0..1 << 20).map(|byte| (byte % 251) as u8).collect();
    let mut stream = connect(a, at(B, 80)).unwrap();
    let reno = nix::sys::socket::sockopt::TcpCongestion;
    nix::sys::socket::setsockopt(&stream, reno, &"reno".into()).unwrap();
    let began = Instant::now();
    let mut sent = 0;
    while sent < BYTES {
        // The pattern goes on where it was: its period is 251.
        let block = &pattern[sent % 251..];
        let part = block.len().min(BYTES - sent);
        stream.write_all(&block[..part]).unwrap();
        sent += part;
    }
    drop(stream);
    let total = server.join().unwrap();
    assert_eq!(total, BYTES);
    let took = began.elapsed().as_secs_f64();
    let counters = world.counters();
    let own = counters.interface(eni(0)).unwrap().counters;
    assert!(own.passed.bytes / own.passed.packets.max(1) > 9001, "frames came whole: {own:?}");
    println!(
        "note: {:.1} Gbit/s, {} bytes a packet, {} overruns, {:?} lost in sending",
        BYTES as f64 * 8.0 / took / 1e9,
        own.passed.bytes / own.passed.packets.max(1),
        own.overruns,
        own.drops.get(DropReason::SendFailed)
    );
    world.stop();
}

pub fn door(directory: &Path) {
    let world = World::start(directory);
    let [a, b, _] = &world.networks;
    let mut log = world.forwarder.subscribe();
    let front = Door::FrontDoor.address();
    let server = echo_server(&world.doors, at(front, 443), 3);
    let lookup = world.forwarder.peers();
    // The same port to two addresses of the service, and from another interface.
    let from = SocketAddrV4::new(A, 40_000);
    let mut streams = vec![
        connect_from(a, from, SocketAddrV4::new(SERVICES[0], 443)).unwrap(),
        connect_from(a, from, SocketAddrV4::new(SERVICES[1], 443)).unwrap(),
        connect_from(b, SocketAddrV4::new(B, 40_000), SocketAddrV4::new(SERVICES[0], 443)).unwrap(),
    ];
    for stream in &mut streams {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        say(stream, &vec![1; 200_000]).unwrap();
    }
    drop(streams);
    let peers = server.join().unwrap();
    let who: Vec<_> = peers.iter().map(|peer| lookup.peer(peer.ip()).unwrap()).collect();
    assert!(peers.iter().all(|peer| peer.port() == 40_000), "{peers:?}");
    assert_eq!(
        (who[0].interface, who[0].address, who[0].through),
        (eni(0), A, Through::Endpoint(ENDPOINT, VPC))
    );
    assert_eq!(who[0], who[1]);
    assert_ne!(peers[0].ip(), peers[1].ip());
    assert_eq!(who[2].interface, eni(1));
    let record = log.blocking_recv().unwrap();
    let FlowOutcome::Accepted { through, peer, .. } = record.outcome else { panic!("{record:?}") };
    assert_eq!((through, peer), (Some(ENDPOINT.into()), Some(who[0])));
    world.stop();
}

pub fn nat_gateway(directory: &Path) {
    let world = World::start(directory);
    let [a, b, outside] = &world.networks;
    let server = echo_server(outside, at(OUTSIDE, 80), 2);
    let mut streams: Vec<_> = [(a, A), (b, B)]
        .into_iter()
        .map(|(network, address)| {
            let from = SocketAddrV4::new(address, 40_000);
            connect_from(network, from, SocketAddrV4::new(OUTSIDE, 80)).unwrap()
        })
        .collect();
    for stream in &mut streams {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        say(stream, &vec![1; 300_000]).unwrap();
    }
    assert!(ping(a, OUTSIDE, 77).is_some());
    let flows = world.forwarder.flows(100).wait().unwrap();
    assert_eq!(flows.iter().filter(|flow| flow.through == Some(NAT.into())).count(), 3);
    drop(streams);
    let peers = server.join().unwrap();
    assert!(peers.iter().all(|peer| peer.ip() == VISIBLE), "{peers:?}");
    assert_ne!(peers[0].port(), peers[1].port());
    assert_eq!(world.counters().gateway(NAT.into()).unwrap().attempts, 3);
    world.stop();
}

pub fn errors_and_hops(directory: &Path) {
    let world = World::start(directory);
    let [a, _, _] = &world.networks;
    let probes = [
        ("the gateway is a hop", at(OUTSIDE, 33434), 1, (NAT_HOP, 11, 0)),
        ("then the target says: no such port", at(OUTSIDE, 33435), 2, (OUTSIDE, 3, 3)),
        ("no hop inside the VPC", at(B, 33436), 1, (B, 3, 3)),
        ("nor to an endpoint", at(SERVICES[0], 33437), 1, (SERVICES[0], 3, 3)),
    ];
    for (what, to, ttl, answer) in probes {
        assert_eq!(probe(a, to, ttl), Some(answer), "{what}: {:?}", world.counters());
    }
    assert_eq!(world.dropped(0, DropReason::TtlExpired), 1);
    world.stop();
}

pub fn path_mtu(directory: &Path) {
    let world = World::start(directory);
    let [a, _, outside] = &world.networks;
    let receiver = outside.bind_udp(at(OUTSIDE, 9)).unwrap();
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let sender = a.bind_udp(at(A, 0)).unwrap();
    // The first is too long for the way and is not to be cut; its sender is told, and cuts the next itself.
    sender.send_to(&[1; 4000], at(OUTSIDE, 9)).unwrap();
    let mut tries = 0;
    let told = loop {
        match sender.send_to(&[2; 4000], at(OUTSIDE, 9)) {
            Ok(_) if world.dropped(0, DropReason::TooBig) > 0 => break true,
            Ok(_) | Err(_) if tries < 100 => tries += 1,
            Ok(_) | Err(_) => break false,
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(told);
    std::thread::sleep(Duration::from_millis(20));
    sender.send_to(&[3; 4000], at(OUTSIDE, 9)).unwrap();
    let mut buffer = [0; 5000];
    let (read, from) = receiver.recv_from(&mut buffer).unwrap();
    assert_eq!((read, from.ip()), (4000, VISIBLE.into()));
    world.stop();
}

pub fn changes(directory: &Path) {
    let mut world = World::start(directory);
    let [a, b, _] = world.networks.clone();
    let neighbour = echo_server(&b, at(B, 80), 1);
    let front = echo_server(&world.doors, at(Door::FrontDoor.address(), 443), 1);
    let mut near = connect(&a, at(B, 80)).unwrap();
    let mut far = connect(&a, at(SERVICES[0], 443)).unwrap();
    world.publish(|rules| rules.open = false);
    say(&mut near, b"tracked").unwrap();
    say(&mut far, b"tracked").unwrap();
    assert!(is_silent(&a, at(B, 80)), "nothing new");
    assert!(world.dropped(0, DropReason::EgressSecurityGroup) > 0);
    let took = world.publish(|rules| rules.routed = false);
    let ended = say(&mut far, b"cut").unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "an endpoint says so");
    near.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(say(&mut near, b"cut").is_err());
    assert!(world.dropped(0, DropReason::Cut) > 0);
    println!("note: effective after {took:?}");
    drop((near, far));
    world.stop();
    drop((neighbour, front));
}

pub fn silence(directory: &Path) {
    let world = World::start(directory);
    let [a, _, outside] = &world.networks;
    let server = echo_server(outside, at(OUTSIDE, 80), 1);
    let mut stream = connect(a, at(OUTSIDE, 80)).unwrap();
    say(&mut stream, b"hello").unwrap();
    world.forwarder.clock().advance(Duration::from_secs(349));
    say(&mut stream, b"still here").unwrap();
    world.forwarder.clock().advance(Duration::from_secs(351));
    let ended = say(&mut stream, b"too late").unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
    world.stop();
    drop(server);
}

pub fn many_connections(directory: &Path) {
    const CONNECTIONS: usize = 3_000;
    let world = World::start(directory);
    let [a, b, _] = world.networks.clone();
    let listener = b.listen_tcp(at(B, 80)).unwrap();
    let server = std::thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            stream.write_all(&byte).unwrap();
        }
    });
    let took = a
        .run(|| {
            let began = Instant::now();
            for _ in 0..CONNECTIONS {
                let mut stream = std::net::TcpStream::connect(at(B, 80)).unwrap();
                say(&mut stream, b"x").unwrap();
            }
            began.elapsed()
        })
        .unwrap();
    server.join().unwrap();
    let counters = world.counters();
    let own = counters.interface(eni(0)).unwrap().counters;
    assert_eq!(own.new_flows, CONNECTIONS as u64);
    assert!(own.upcalls <= 2, "one template serves all: {own:?}");
    println!(
        "note: {:.0} connections a second, one after the other",
        CONNECTIONS as f64 / took.as_secs_f64()
    );
    world.stop();
}

/// An interface goes without a word, as a container's does.
pub fn unplugged(directory: &Path) {
    let world = World::start(directory);
    let [a, b, _] = world.networks.clone();
    let server = echo_server(&b, at(B, 80), 1);
    let mut stream = connect(&a, at(B, 80)).unwrap();
    say(&mut stream, b"hello").unwrap();
    assert!(world.host.delete_port(&world.ports[1]).is_ok());
    let before = forwarder_seconds();
    std::thread::sleep(Duration::from_millis(500));
    assert!(forwarder_seconds() - before < 0.1, "the thread spins on what is gone");
    stream.write_all(b"lost").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while world.dropped(0, DropReason::SendFailed) == 0 {
        assert!(Instant::now() < deadline, "{:?}", world.counters());
    }
    assert!(world.forwarder.remove_port(eni(1)).wait().unwrap());
    assert!(!world.forwarder.remove_port(eni(1)).wait().unwrap());
    assert!(is_silent(&a, at(B, 80)));
    assert!(world.dropped(0, DropReason::TargetDown) > 0);
    world.stop();
    drop(server);
}

/// More flows than the kernel program has room for: the forwarder carries the others, others than who began so many
/// find room still, and places come free again.
pub fn crowded(directory: &Path) {
    const ROOM: usize = 64;
    const CONNECTIONS: usize = 100;
    let world = World::with_room(directory, ROOM as u32);
    let [a, b, outside] = world.networks.clone();
    let in_kernel = |world: &World| world.counters().interface(eni(0)).unwrap().counters.in_kernel.packets;
    let server = echo_server(&b, at(B, 80), CONNECTIONS + 1);
    let mut streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(&a, at(B, 80)).unwrap()).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        let before = in_kernel(&world);
        say(stream, b"one of many").unwrap();
        let carried = in_kernel(&world) > before;
        assert_eq!(carried, number < ROOM / 2, "connection {number}");
    }
    let counters = world.counters();
    assert_eq!(counters.flows, CONNECTIONS);
    let own = counters.interface(eni(0)).unwrap().counters;
    assert!(own.in_kernel.packets < own.passed.packets, "{own:?}");
    let others = echo_server(&outside, at(OUTSIDE, 80), 1);
    let mut stream = connect(&b, at(OUTSIDE, 80)).unwrap();
    let of_b = |world: &World| world.counters().interface(eni(1)).unwrap().counters.in_kernel.packets;
    let before = of_b(&world);
    say(&mut stream, b"one of few").unwrap();
    assert!(of_b(&world) > before);
    drop((stream, streams));
    others.join().unwrap();
    // Their ends send nothing more, and are forgotten.
    let deadline = Instant::now() + PATIENCE;
    while world.counters().flows > 0 {
        world.forwarder.clock().advance(Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(50));
        assert!(Instant::now() < deadline, "{:?}", world.counters());
    }
    world.forwarder.clock().advance(Duration::from_secs(2));
    let mut stream = connect(&a, at(B, 80)).unwrap();
    let before = in_kernel(&world);
    say(&mut stream, b"there is room again").unwrap();
    assert!(in_kernel(&world) > before);
    drop(stream);
    server.join().unwrap();
    world.stop();
}
