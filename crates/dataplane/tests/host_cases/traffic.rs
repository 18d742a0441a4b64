//! Ports: packets between instances, to the doors and to a foreign namespace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use postern_dataplane::host::{
    ExitStatus, Host, Instance, InstanceSpec, Mac, Namespace, PacketSocket, Port, PortRoute, PortSpec, Prefix,
};

use crate::Context;
use crate::cases::{PATIENCE, launch, run, shell, spec, start_host, tool};
use crate::relay::Relay;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    let (address, length) = text.split_once('/').unwrap();
    Prefix { address: ip(address), length: length.parse().unwrap() }
}

fn port_spec(target: &Namespace, last: u8, address: &str) -> PortSpec {
    PortSpec {
        target: target.clone(),
        inside_name: "ens5".to_owned(),
        mac: Mac([2, 0, 0, 0, 0, last]),
        mtu: 9001,
        addresses: vec![prefix(address)],
        gateway: None,
        neighbours: Vec::new(),
        routes: Vec::new(),
    }
}

fn connect(host: &Host, instance: &Instance, last: u8, address: &str) -> (Port, PacketSocket) {
    let port = host
        .create_port(&port_spec(instance.network(), last, address))
        .unwrap_or_else(|error| panic!("{error}"));
    let socket = host.open_port(&port).unwrap_or_else(|error| panic!("{error}"));
    (port, socket)
}

fn two_instances(context: &Context, host: &Host) -> (Arc<Instance>, Arc<Instance>, Relay) {
    join(host, ["i-a", "i-b"].map(|name| spec(context, name)))
}

/// Two instances, 10.0.0.5 and 10.0.0.6, with a relay between them.
pub fn join(host: &Host, specs: [InstanceSpec; 2]) -> (Arc<Instance>, Arc<Instance>, Relay) {
    let [a, b] = specs.map(|spec| host.create_instance(&spec).unwrap_or_else(|error| panic!("{error}")));
    let (_, left) = connect(host, &a, 5, "10.0.0.5/24");
    let (_, right) = connect(host, &b, 6, "10.0.0.6/24");
    (a, b, Relay::start(left, right))
}

pub fn ping_and_transfer(context: &Context) {
    let host = start_host(context);
    let (a, b, relay) = two_instances(context, &host);
    assert_eq!(
        shell(&a, "cat /sys/class/net/ens5/address /sys/class/net/ens5/mtu").1,
        "02:00:00:00:00:05\n9001\n"
    );
    let (status, text) = run(&a, &tool(context, &["ping", "10.0.0.6"]));
    assert_eq!((status, text.trim()), (ExitStatus::Exited(0), "pong"));
    let bytes = 256 << 20;
    let count = bytes.to_string();
    let (server, output) = launch(&b, &tool(context, &["serve", "10.0.0.6:80", &count]));
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "listening");
    let began = Instant::now();
    let (status, text) = run(&a, &tool(context, &["fetch", "10.0.0.6:80", &count]));
    let took = began.elapsed();
    assert_eq!((status, text.trim()), (ExitStatus::Exited(0), format!("fetched {bytes}").as_str()));
    assert_eq!(server.wait_timeout(PATIENCE), Some(ExitStatus::Exited(0)));
    let largest = relay.seen.largest.load(Ordering::Relaxed);
    let gso = relay.seen.gso.load(Ordering::Relaxed);
    assert!(largest > 9001 + 14, "no frame was larger than the MTU: {largest}");
    assert!(gso > 0, "no frame was to be segmented");
    let statistics = relay.stop();
    println!(
        "note: {:.1} Gbit/s, largest frame {largest}, {gso} of them whole segments; {statistics}",
        bytes as f64 * 8.0 / took.as_secs_f64() / 1e9
    );
}

pub fn doors(context: &Context) {
    let host = start_host(context);
    let instance = host.create_instance(&spec(context, "i-a")).unwrap();
    let mut inner = port_spec(instance.network(), 5, "10.0.0.5/24");
    inner.gateway = Some(ip("10.0.0.1"));
    inner.neighbours = vec![(ip("10.0.0.1"), Mac([2, 0, 0, 0, 1, 1]))];
    let inner = host.create_port(&inner).unwrap_or_else(|error| panic!("{error}"));
    let mut outer = port_spec(host.doors(), 1, "169.254.0.1/32");
    outer.inside_name = "doors".to_owned();
    outer.mac = Mac([2, 0, 0, 0, 1, 1]);
    outer.neighbours = vec![(ip("169.254.0.2"), Mac([2, 0, 0, 0, 0, 5]))];
    outer.routes = vec![PortRoute { destination: prefix("10.0.0.0/24"), via: Some(ip("169.254.0.2")) }];
    let outer = host.create_port(&outer).unwrap_or_else(|error| panic!("{error}"));
    host.serve_prefix(prefix("198.51.100.0/24")).unwrap();
    host.serve_prefix(prefix("198.51.100.0/24")).unwrap();
    let listener = host.doors().listen_tcp("0.0.0.0:443".parse().unwrap()).unwrap();
    let udp = host.doors().bind_udp("0.0.0.0:53".parse().unwrap()).unwrap();
    let relay = Relay::start(host.open_port(&inner).unwrap(), host.open_port(&outer).unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.write_all(&[0, 1, 2]).unwrap();
        (stream.local_addr().unwrap(), peer.ip())
    });
    let (status, text) = run(&instance, &tool(context, &["fetch", "198.51.100.7:443", "3"]));
    assert_eq!((status, text.trim()), (ExitStatus::Exited(0), "fetched 3"));
    let (served, peer) = server.join().unwrap();
    assert_eq!(served.to_string(), "198.51.100.7:443");
    assert_eq!(peer, ip("10.0.0.5"));
    let taken = host.doors().listen_tcp("203.0.113.1:0".parse().unwrap());
    assert!(taken.is_ok(), "the doors can listen on addresses they do not have yet");
    let (_, mut out) =
        launch(&instance, &crate::cases::words(&["bash", "-c", "echo -n q > /dev/udp/198.51.100.9/53"]));
    out.read_to_string(&mut String::new()).unwrap();
    udp.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(udp.recv_from(&mut [0; 8]).unwrap().0, 1);
    relay.stop();
    host.delete_port(&inner).unwrap();
    host.delete_port(&inner).unwrap();
    assert_eq!(shell(&instance, "ls /sys/class/net").1.trim(), "lo");
    let gone = host.open_port(&inner).unwrap_err();
    assert!(gone.to_string().contains(&inner.name), "{gone}");
}

/// Somebody else's network namespace, by its path.
pub fn foreign_namespace(context: &Context) {
    use nix::sched::{CloneFlags, unshare};
    let host = start_host(context);
    let (send_path, path) = std::sync::mpsc::channel();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    // A container, reduced to its network: it lives as long as this thread.
    let container = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let thread = nix::unistd::gettid();
        send_path.send(format!("/proc/{}/task/{thread}/ns/net", std::process::id())).unwrap();
        let _ = finished.recv();
    });
    let namespace = Namespace::open(path.recv().unwrap().as_ref()).unwrap();
    let port =
        host.create_port(&port_spec(&namespace, 9, "10.0.0.9/24")).unwrap_or_else(|error| panic!("{error}"));
    let names = namespace.run(|| nix::net::if_::if_nametoindex("ens5").unwrap()).unwrap();
    assert_eq!(names, port.inside_index);
    finish.send(()).unwrap();
    container.join().unwrap();
    drop(namespace);
    // The kernel takes a namespace down in its own time; deleting the port works before and after.
    host.delete_port(&port).unwrap();
    let missing = Namespace::open("/proc/self/ns/nothing".as_ref()).unwrap_err();
    assert!(missing.to_string().contains("`/proc/self/ns/nothing`"), "{missing}");
    let file =
        std::fs::File::create(context.dir.join("file")).map(|_| Namespace::open(&context.dir.join("file")));
    let wrong = file.unwrap().unwrap().run(|| ()).unwrap_err();
    assert!(wrong.to_string().contains("file`"), "{wrong}");
}

pub fn many_ports(context: &Context) {
    const PORTS: u8 = 50;
    const INSTANCES: u8 = 10;
    let host = start_host(context);
    let began = Instant::now();
    let instances: Vec<_> =
        (0..INSTANCES).map(|n| host.create_instance(&spec(context, &format!("i-{n}"))).unwrap()).collect();
    let sandboxes = began.elapsed() / u32::from(INSTANCES);
    let began = Instant::now();
    let ports: Vec<_> = (0..PORTS)
        .map(|n| {
            let target = instances[usize::from(n % INSTANCES)].network();
            let mut spec = port_spec(target, n, &format!("10.0.{n}.5/24"));
            spec.inside_name = format!("ens{}", 5 + n / INSTANCES);
            host.create_port(&spec).unwrap_or_else(|error| panic!("{error}"))
        })
        .collect();
    let each = began.elapsed() / u32::from(PORTS);
    let names: std::collections::BTreeSet<_> = ports.iter().map(|port| &port.name).collect();
    assert_eq!(names.len(), usize::from(PORTS));
    let began = Instant::now();
    ports.iter().for_each(|port| host.delete_port(port).unwrap());
    println!(
        "note: {sandboxes:?} an instance, {each:?} a port, {:?} to delete one",
        began.elapsed() / u32::from(PORTS)
    );
}

pub fn port_refusals(context: &Context) {
    let host = start_host(context);
    let instance = host.create_instance(&spec(context, "i-a")).unwrap();
    let refused = |change: &dyn Fn(&mut PortSpec)| {
        let mut spec = port_spec(instance.network(), 5, "10.0.0.5/24");
        change(&mut spec);
        let error = host.create_port(&spec).unwrap_err().to_string();
        // Nothing of a refused port is left.
        assert_eq!(shell(&instance, "ls /sys/class/net").1.trim(), "lo", "{error}");
        error
    };
    let text = refused(&|spec| spec.addresses.push(Prefix { address: ip("10.0.0.6"), length: 33 }));
    assert!(text.contains("`10.0.0.6/33`") && text.contains("`i-a`"), "{text}");
    let text = refused(&|spec| spec.inside_name = "a-name-that-is-too-long".to_owned());
    assert!(text.contains("`a-name-that-is-too-long`"), "{text}");
    let text = refused(&|spec| spec.mtu = 1_000_000);
    assert!(text.contains("ens5"), "{text}");
    let text = refused(&|spec| spec.routes.push(PortRoute { destination: prefix("10.9.0.1/8"), via: None }));
    assert!(text.contains("`10.9.0.1/8`"), "{text}");
    let spec = port_spec(instance.network(), 5, "10.0.0.5/24");
    let port = host.create_port(&spec).unwrap();
    let again = host.create_port(&spec).unwrap_err().to_string();
    assert!(again.contains("File exists"), "{again}");
    host.delete_port(&port).unwrap();
    let nowhere = PacketSocket::open(host.fabric(), "nothing").unwrap_err().to_string();
    assert!(nowhere.contains("`nothing`") && nowhere.contains("`fabric`"), "{nowhere}");
}

/// Nobody but a packet socket answers on the fabric: not to ARP, not to echo requests, not to connections, whoever
/// the frames are sent to.
pub fn fabric_is_silent(context: &Context) {
    let host = start_host(context);
    let instance = host.create_instance(&spec(context, "i-a")).unwrap();
    let mut spec = port_spec(instance.network(), 5, "10.0.0.5/24");
    spec.gateway = Some(ip("10.0.0.1"));
    let port = host.create_port(&spec).unwrap_or_else(|error| panic!("{error}"));
    let socket = host.open_port(&port).unwrap();
    let host_end = host
        .fabric()
        .run(|| {
            let mut all = nix::ifaddrs::getifaddrs().unwrap();
            let found = all.find(|entry| entry.interface_name == port.name).unwrap();
            Mac(found.address.unwrap().as_link_addr().unwrap().addr().unwrap())
        })
        .unwrap();
    let mut reachable = port_spec(instance.network(), 6, "10.0.1.5/24");
    reachable.inside_name = "ens6".to_owned();
    reachable.neighbours = vec![(ip("10.0.1.1"), host_end), (ip("10.0.1.2"), Mac([255; 6]))];
    let second = host.create_port(&reachable).unwrap_or_else(|error| panic!("{error}"));
    let second = host.open_port(&second).unwrap();
    for target in ["10.0.0.1", "10.0.0.255", "10.0.1.1", "10.0.1.2", "198.51.100.1"] {
        let pinged = run(&instance, &tool(context, &["ping-briefly", target])).0;
        assert_eq!(pinged, ExitStatus::Exited(1), "{target} answered");
    }
    let received = "cat /sys/class/net/ens5/statistics/rx_packets /sys/class/net/ens6/statistics/rx_packets";
    assert_eq!(shell(&instance, received).1, "0\n0\n", "the fabric sent something");
    let mut buffer = vec![0; postern_dataplane::host::MAX_FRAME_BYTES];
    for socket in [socket, second] {
        let meta = socket.recv(&mut buffer).unwrap().expect("the instance's frames were there to be read");
        assert!(meta.length >= 14 && meta.vlan.is_none());
    }
}

/// A virtual machine's interface: a tap is read and written as a port is.
pub fn tap(context: &Context) {
    if !context.root {
        let here = Namespace::current().unwrap();
        let host = start_host(context);
        let refused = PacketSocket::open(&here, "lo").unwrap_err().to_string();
        assert!(refused.contains("Operation not permitted"), "{refused}");
        return drop(host);
    }
    let (send_path, path) = std::sync::mpsc::channel();
    let machine = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let thread = nix::unistd::gettid();
        let mut tap = crate::tools::open_tap("vm0");
        send_path.send(format!("/proc/{}/task/{thread}/ns/net", std::process::id())).unwrap();
        let mut frame = [0_u8; 64];
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame[14] = 42;
        // The other side opens its socket meanwhile; a frame that comes too early is not read.
        let mut answer = [0; 128];
        loop {
            tap.write_all(&frame).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
            match tap.read(&mut answer) {
                Ok(64) if answer[14] == 43 => return true,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
        }
    });
    let namespace = Namespace::open(path.recv().unwrap().as_ref()).unwrap();
    let socket = PacketSocket::open(&namespace, "vm0").unwrap_or_else(|error| panic!("{error}"));
    let mut buffer = [0; 2048];
    let began = Instant::now();
    let meta = loop {
        assert!(began.elapsed() < PATIENCE, "no frame came");
        match socket.recv(&mut buffer).unwrap() {
            Some(meta) if buffer[12..15] == [0x88, 0xb5, 42] => break meta,
            Some(_) | None => std::thread::sleep(std::time::Duration::from_millis(1)),
        }
    };
    buffer[14] = 43;
    assert!(socket.send(&meta.header, &buffer[..meta.length]).unwrap());
    assert!(machine.join().unwrap());
}
