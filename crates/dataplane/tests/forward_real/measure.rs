//! How quick the forwarder is beside a plain veth pair, in interleaved rounds. Not a test: it runs only by name,
//! `cargo test --release -p postern-dataplane --test forward_real -- measure`, and needs `ip` for the plain pair.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use postern_dataplane::host::Namespace;

use crate::world::{B, OUTSIDE, World};

const ROUND: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

/// Two networks, and the address of the second as the first reaches it.
struct Way<'a> {
    name: &'static str,
    client: &'a Namespace,
    server: &'a Namespace,
    target: Ipv4Addr,
}

fn reno(stream: &TcpStream) {
    setsockopt(stream, sockopt::TcpCongestion, &"cubic".into())
        .or_else(|_| setsockopt(stream, sockopt::TcpCongestion, &"reno".into()))
        .unwrap();
}

pub fn measure(directory: &Path) {
    let mut world = World::start(directory);
    let (left, _left_alive) = crate::world::network();
    let (right, _right_alive) = crate::world::network();
    let right_path = format!("/proc/{}/fd/{}", std::process::id(), raw(&right));
    let ip = |namespace: &Namespace, line: &str| {
        let status = namespace.run(|| Command::new("ip").args(line.split(' ')).status().unwrap()).unwrap();
        assert!(status.success(), "ip {line}");
    };
    ip(&left, &format!("link add v0 mtu 9001 type veth peer name v1 mtu 9001 netns {right_path}"));
    for (namespace, name, address) in [(&left, "v0", "10.9.0.1/24"), (&right, "v1", "10.9.0.2/24")] {
        ip(namespace, &format!("address add {address} dev {name}"));
        ip(namespace, &format!("link set {name} up"));
    }
    let [a, b, outside] = world.networks.clone();
    let ways = [
        Way { name: "plain veth", client: &left, server: &right, target: Ipv4Addr::new(10, 9, 0, 2) },
        Way { name: "instance to instance", client: &a, server: &b, target: B },
        Way { name: "through NAT", client: &a, server: &outside, target: OUTSIDE },
    ];
    for (what, unit, run) in [
        ("one stream", "Gbit/s", one_stream as fn(&Way<'_>) -> f64),
        ("eight streams", "Gbit/s", |way| streams(way, 8)),
        ("new connections, 32 clients", "a second", connections),
        ("requests on 32 connections", "a second", requests),
        ("round trip, one byte over TCP", "µs", round_trip),
    ] {
        let mut figures = vec![Vec::new(); ways.len()];
        for _ in 0..ROUNDS {
            for (way, figures) in ways.iter().zip(&mut figures) {
                figures.push(run(way));
            }
        }
        let medians: Vec<f64> = figures.iter_mut().map(|f| median(f)).collect();
        for (way, figure) in ways.iter().zip(&medians) {
            println!("note: {what}: {} {figure:.1} {unit} (x{:.2})", way.name, figure / medians[0]);
        }
    }
    let (cpu, before) = (forwarder_seconds(), world.counters());
    one_stream(&ways[1]);
    let cpu = forwarder_seconds() - cpu;
    let volume = |counters: &postern_dataplane::forward::Counters| {
        counters.interface(crate::world::eni(0)).unwrap().counters.passed
    };
    let (before, after) = (volume(&before), volume(&world.counters()));
    println!(
        "note: the forwarder's own time: {:.3} s a GB, {:.1} µs a frame of {} bytes and its acknowledgements",
        cpu / (after.bytes - before.bytes) as f64 * 1e9,
        cpu / (after.packets - before.packets) as f64 * 1e6,
        (after.bytes - before.bytes) / (after.packets - before.packets),
    );
    let plain = first_packet(&ways[0], || {});
    let slow = first_packet(&ways[1], || {
        world.publish(|_| {});
    });
    println!("note: first packet: plain {plain:.1} µs, decided anew {slow:.1} µs (x{:.2})", slow / plain);
    println!("note: {:?}", world.counters().interface(crate::world::eni(0)).unwrap().counters);
    world.stop();
}

/// How long the forwarder's thread has run.
pub fn forwarder_seconds() -> f64 {
    let own =
        std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path()).find(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "forwarder")
        });
    let times = std::fs::read_to_string(own.unwrap().join("schedstat")).unwrap();
    times.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn raw(namespace: &Namespace) -> i32 {
    use std::os::fd::{AsFd, AsRawFd};
    namespace.as_fd().as_raw_fd()
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn one_stream(way: &Way<'_>) -> f64 {
    streams(way, 1)
}

fn streams(way: &Way<'_>, count: usize) -> f64 {
    let target = SocketAddr::from((way.target, 5001));
    let listener = way.server.listen_tcp(target).unwrap();
    let received = Arc::new(AtomicU64::new(0));
    let servers: Vec<_> = {
        let listener = Arc::new(listener);
        (0..count)
            .map(|_| {
                let (listener, received) = (Arc::clone(&listener), Arc::clone(&received));
                std::thread::spawn(move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut buffer = vec![0; 256 << 10];
                    while let Ok(read @ 1..) = stream.read(&mut buffer) {
                        received.fetch_add(read as u64, Ordering::Relaxed);
                    }
                })
            })
            .collect()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = way.client.run(|| TcpStream::connect(target)).unwrap().unwrap();
            reno(&stream);
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let block = vec![1; 256 << 10];
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(&block).unwrap();
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let (before, began) = (received.load(Ordering::Relaxed), Instant::now());
    std::thread::sleep(ROUND);
    let bytes = received.load(Ordering::Relaxed) - before;
    let took = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for thread in clients.into_iter().chain(servers) {
        thread.join().unwrap();
    }
    bytes as f64 * 8.0 / took / 1e9
}

fn connections(way: &Way<'_>) -> f64 {
    let target = SocketAddr::from((way.target, 5002));
    let listener = Arc::new(way.server.listen_tcp(target).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let servers: Vec<_> = (0..4)
        .map(|_| {
            let (listener, stop) = (Arc::clone(&listener), Arc::clone(&stop));
            std::thread::spawn(move || serve_one_byte(&listener, &stop))
        })
        .collect();
    let done = AtomicU64::new(0);
    let began = Instant::now();
    way.client
        .run(|| {
            std::thread::scope(|scope| {
                for _ in 0..32 {
                    scope.spawn(|| {
                        while began.elapsed() < ROUND {
                            let mut stream = TcpStream::connect(target).unwrap();
                            stream.write_all(b"x").unwrap();
                            // Until the server has closed: else both close at once, the client keeps its port
                            // for a minute, and soon has none left.
                            while stream.read(&mut [0]).unwrap() > 0 {}
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            });
        })
        .unwrap();
    let took = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for _ in 0..4 {
        // Wakes a server that waits.
        let _ = way.client.run(|| TcpStream::connect(target));
    }
    servers.into_iter().for_each(|server| server.join().unwrap());
    done.load(Ordering::Relaxed) as f64 / took
}

fn serve_one_byte(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut byte = [0];
        if let Ok(1) = stream.read(&mut byte) {
            let _ = stream.write_all(&byte);
        }
    }
}

/// Requests and answers of one byte on connections that stay.
fn requests(way: &Way<'_>) -> f64 {
    const CONNECTIONS: usize = 32;
    let target = SocketAddr::from((way.target, 5005));
    let listener = way.server.listen_tcp(target).unwrap();
    let done = AtomicU64::new(0);
    let clients: Vec<TcpStream> =
        (0..CONNECTIONS).map(|_| way.client.run(|| TcpStream::connect(target)).unwrap().unwrap()).collect();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for client in clients {
            let (mut server, _) = listener.accept().unwrap();
            server.set_nodelay(true).unwrap();
            client.set_nodelay(true).unwrap();
            scope.spawn(move || {
                while let Ok(1) = server.read(&mut [0]) {
                    server.write_all(b"y").unwrap();
                }
            });
            scope.spawn(|| {
                let mut client = client;
                while began.elapsed() < ROUND {
                    client.write_all(b"x").unwrap();
                    client.read_exact(&mut [0]).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
}

fn round_trip(way: &Way<'_>) -> f64 {
    let target = SocketAddr::from((way.target, 5003));
    let listener = way.server.listen_tcp(target).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut byte = [0];
        while let Ok(1) = stream.read(&mut byte) {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut stream = way.client.run(|| TcpStream::connect(target)).unwrap().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut times: Vec<f64> = (0..10_000)
        .map(|_| {
            let began = Instant::now();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    drop(stream);
    server.join().unwrap();
    median(&mut times)
}

fn first_packet(way: &Way<'_>, mut before: impl FnMut()) -> f64 {
    let target = SocketAddr::from((way.target, 5004));
    let server = way.server.bind_udp(target).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while !stopped.load(Ordering::Relaxed) {
            if let Ok((read, from)) = server.recv_from(&mut buffer) {
                server.send_to(&buffer[..read], from).unwrap();
            }
        }
    });
    let mut times: Vec<f64> = (0..2_000)
        .map(|_| {
            before();
            let socket = way.client.bind_udp("0.0.0.0:0".parse().unwrap()).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            ask(&socket, target)
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    echo.join().unwrap();
    median(&mut times)
}

fn ask(socket: &UdpSocket, target: SocketAddr) -> f64 {
    let began = Instant::now();
    socket.send_to(b"first", target).unwrap();
    socket.recv(&mut [0; 64]).unwrap();
    began.elapsed().as_secs_f64() * 1e6
}
