//! The hop limit of instance metadata, as the packets have it.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{Holder, Region, Way, World, eventually, is_root};
use crate::network::{Network, describe, text};

crate::one_way!(the_hop_limit_is_in_the_packets, an_instance_shows_who_it_is);

/// Asks instance metadata as often as told, on one connection if it stays open, and prints for each answer its status
/// and the times to live of the packets that brought it.
const WATCHED: &str = r#"
import http.client, socket, sys
token = "x-aws-ec2-metadata-token"
wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
held, known = None, ""
for method in sys.argv[1:]:
    if held is None or held.sock is None:
        held = http.client.HTTPConnection("169.254.169.254", timeout=5)
        held.connect()
        print("connected")
    port = held.sock.getsockname()[1]
    path = "/latest/api/token" if method == "PUT" else "/latest/meta-data/instance-id"
    held.request(method, path, headers={token + "-ttl-seconds": "60"} if method == "PUT" else {token: known})
    answer = held.getresponse()
    body = answer.read().decode()
    known = body if method == "PUT" else known
    wire.settimeout(0.3)
    seen = set()
    try:
        while True:
            packet, where = wire.recvfrom(1 << 16)
            header = (packet[0] & 15) * 4
            data = len(packet) - header - (packet[header + 12] >> 4) * 4 if packet[9] == 6 else 0
            towards = int.from_bytes(packet[header + 2:header + 4], "big")
            if where[2] != 4 and towards == port and data > 0:
                seen.add(packet[8])
    except TimeoutError:
        pass
    print(method, answer.status, *sorted(seen))
"#;

/// Asks for a token and then for the instance's id.
const CONTAINER: &str = r#"
import urllib.request
base = "http://169.254.169.254/latest/"
def ask(path, method="GET", headers={}):
    asked = urllib.request.Request(base + path, method=method, headers=headers)
    with urllib.request.urlopen(asked, timeout=3) as answer:
        return answer.read().decode()
try:
    token = ask("api/token", "PUT", {"x-aws-ec2-metadata-token-ttl-seconds": "60"})
    print(ask("meta-data/instance-id", headers={"x-aws-ec2-metadata-token": token}))
except TimeoutError:
    print("no answer")
"#;

/// Runs something in the network namespace of a process, as root.
fn beside(pid: u32, argv: &[&str]) -> String {
    let mut command = Command::new("/usr/bin/nsenter");
    command.args(["--target", &pid.to_string(), "--net"]).args(argv).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{argv:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A process in the instance, by the number that it has out here.
fn process_of(region: &Region<'_>, instance: &str) -> u32 {
    let network = region.sh(instance, "readlink /proc/self/ns/net").trim().to_owned();
    let pids = std::fs::read_dir("/proc").unwrap();
    let mut pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let there = |pid: &u32| {
        std::fs::read_link(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|link| link.display().to_string() == network)
    };
    pids.find(there).expect("a process of the instance")
}

/// Gets the identity document and its signatures into files, and prints them.
const IDENTITY: &str = r#"
import json, urllib.request
base = "http://169.254.169.254/latest/"
def ask(path, method="GET", headers={}):
    with urllib.request.urlopen(urllib.request.Request(base + path, method=method, headers=headers), timeout=5) as answer:
        return answer.read().decode()
token = {"x-aws-ec2-metadata-token": ask("api/token", "PUT", {"x-aws-ec2-metadata-token-ttl-seconds": "60"})}
names = ask("dynamic/instance-identity/", headers=token).split()
print(json.dumps({name: ask("dynamic/instance-identity/" + name, headers=token) for name in names}))
"#;

fn an_instance_shows_who_it_is(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    let shown = region.exec(&instance, &["/usr/bin/python3", "-c", IDENTITY]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text(&shown["document"])).unwrap();
    assert_eq!(document["instanceId"], instance);
    let directory = tempfile::tempdir().unwrap();
    let message = format!("-----BEGIN PKCS7-----\n{}\n-----END PKCS7-----\n", text(&shown["rsa2048"]));
    std::fs::write(directory.path().join("message"), message).unwrap();
    let mut command = Command::new("openssl");
    command.args(["smime", "-verify", "-in", "message", "-inform", "PEM", "-noverify", "-certfile"]);
    command.arg(region.state.join("instance-identity.pem")).current_dir(directory.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), text(&shown["document"]));
    region.down();
}

fn the_hop_limit_is_in_the_packets(world: &World) {
    if !is_root() || world.way != Way::Root {
        println!("skipped: only root can look at an instance's packets");
        return;
    }
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let instance = network.run(&aws, json!({}));
    let pid = process_of(&region, &instance);
    let watched = |methods: &[&str]| beside(pid, &[&["/usr/bin/python3", "-c", WATCHED], methods].concat());

    // One hop for the token and no limit for the rest; whose answer is limited ends its connection.
    let told = watched(&["PUT", "GET", "GET", "PUT", "GET"]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines,
        [
            "connected",
            "PUT 200 1",
            "connected",
            "GET 200 64",
            "GET 200 64",
            "PUT 200 1",
            "connected",
            "GET 200 64"
        ]
    );

    // A container in the instance, with an address of the interface's own, which the instance forwards for.
    let interface = text(&describe(&aws, &instance)["NetworkInterfaces"][0]["NetworkInterfaceId"]);
    let assign = json!({ "NetworkInterfaceId": interface, "PrivateIpAddresses": ["10.0.1.77"] });
    aws.ec2("AssignPrivateIpAddresses", assign);
    let container = Holder::with_network();
    let inside = container.pid();
    let script = format!(
        "echo 1 > /proc/sys/net/ipv4/ip_forward
         ip link add hop0 type veth peer name eth0 netns {inside}
         ip address add 192.0.2.1/32 dev hop0
         ip link set hop0 up
         ip route add 10.0.1.77/32 dev hop0"
    );
    beside(pid, &["sh", "-ec", &script]);
    let script = "ip link set lo up; ip address add 10.0.1.77/32 dev eth0; ip link set eth0 up
                  ip route add 192.0.2.1 dev eth0; ip route add default via 192.0.2.1";
    beside(inside, &["sh", "-ec", script]);
    let asks = || beside(inside, &["/usr/bin/python3", "-c", CONTAINER]);
    assert_eq!(asks().trim(), "no answer");

    let limit = json!({ "InstanceId": instance, "HttpPutResponseHopLimit": 2 });
    aws.ec2("ModifyInstanceMetadataOptions", limit);
    eventually("two hops are allowed", 5, || (asks().trim() == instance).then_some(()));
    assert_eq!(watched(&["PUT"]).lines().last(), Some("PUT 200 2"));
    drop(container);
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}
