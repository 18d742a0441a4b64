//! A region that is killed while packets flow: connections go on without it, and with the next one.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Ran, Region, Talk, Way, World, eventually};
use crate::network::{Network, private_address};

/// Only root has the kernel program, without which nothing goes on.
macro_rules! as_root {
    ($($name:ident),+ $(,)?) => {
        mod as_root {
            $(#[test] fn $name() { super::World::of(super::Way::Root, super::$name); })+
        }
    };
}

as_root!(
    connections_outlive_two_kills,
    what_nobody_takes_over_ends,
    down_ends_what_a_killed_region_left,
    what_is_not_wanted_is_not_gone_on_with,
    tracked_connections_stay_tracked,
    what_another_version_pinned_is_replaced,
    guests_stay_plugged_in,
    a_start_that_fails_ends_nothing,
    kills_may_come_at_any_moment,
    a_keeper_of_another_version_is_ended,
);

/// Long enough for a start on a busy machine.
const LINGER: &str = "45";

/// Sends back what it gets, and prints a line for each connection.
const SERVER: &str = r#"
import socket, threading
def serve(c):
    with c:
        while True:
            d = c.recv(65536)
            if not d: return
            c.sendall(d)
s = socket.create_server(("", 8080))
while True:
    c, peer = s.accept()
    print("connection from", peer[0], flush=True)
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"#;

/// Streams numbered blocks through the server and compares what comes back; says how many bytes did whenever asked.
const STREAM: &str = r#"
import socket, sys, threading, time
s = socket.create_connection((sys.argv[1], 8080))
block = lambda n: n.to_bytes(8, "big") * 1024
came, wrong = 0, ""
def send():
    n = 0
    while True:
        s.sendall(block(n)); n += 1
        time.sleep(0.0005)
def receive():
    global came, wrong
    f, n = s.makefile("rb", 1 << 20), 0
    try:
        while True:
            d = f.read(8192)
            if d != block(n): wrong = f"block {n} is wrong or short: {len(d)} bytes"; return
            n += 1; came += len(d)
    except Exception as e: wrong = repr(e)
for t in (send, receive): threading.Thread(target=t, daemon=True).start()
print("connected", flush=True)
for line in sys.stdin: print(wrong or f"ok {came}", flush=True)
"#;

/// One connection, and a request on it whenever asked; or a new one for each, where told so.
const REQUESTS: &str = r#"
import socket, sys
connect = lambda: socket.create_connection((sys.argv[1], 8080), timeout=8)
s = connect()
print("connected", flush=True)
for line in sys.stdin:
    try:
        c = s if line.strip() == "again" else connect()
        for n in range(200 if c is s else 1):
            asked = f"request {n}".encode()
            c.sendall(asked)
            if c.recv(100) != asked: raise Exception("another answer")
        print("ok", flush=True)
    except Exception as e: print(repr(e), flush=True)
"#;

/// Two instances that speak with each other.
struct Pair {
    network: Network,
    client: String,
    server: String,
}

/// Until the program stands on all ports the forwarder carries what comes in there, and that ends with the region.
fn wait_for_the_program(region: &Region<'_>) {
    eventually("the kernel program carries what comes in by all ports", 10, || {
        let page = Aws::page(region.host(), "GET", "/_postern/metrics").unwrap().text();
        page.contains("postern_ports{carrier=\"forwarder\"} 0\n").then_some(())
    });
}

impl Pair {
    fn in_region(region: &Region<'_>) -> Self {
        let aws = region.aws();
        let network = Network::new(&aws);
        let server =
            format!("#!/bin/sh\necho started >> /home/ec2-user/started\nexec python3 -c '{SERVER}'\n");
        let server = network.run(&aws, json!({ "UserData": base64(&server) }));
        let client = network.run(&aws, json!({}));
        wait_for_the_program(region);
        Self { network, client, server }
    }

    fn talk(&self, region: &Region<'_>, program: &str) -> Talk {
        let address = private_address(&region.aws(), &self.server);
        eventually("the server listens", 20, || {
            let try_it = format!("import socket; socket.create_connection(('{address}', 8080), timeout=2)");
            (region.exec(&self.client, &["python3", "-c", &try_it]).code == Some(0)).then_some(())
        });
        let talk = region.talk(&self.client, &["python3", "-c", program, &address]);
        assert_eq!(talk.hear(), "connected");
        talk
    }
}

/// The digits of base64.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(text: &str) -> String {
    let encode = |part: &[u8]| {
        let bits =
            part.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        let digit = |at: usize| {
            if at > part.len() { '=' } else { char::from(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63]) }
        };
        [digit(0), digit(1), digit(2), digit(3)]
    };
    text.as_bytes().chunks(3).flat_map(encode).collect()
}

/// What an instance printed.
fn console(aws: &Aws, instance: &str) -> String {
    let said = aws.ec2("GetConsoleOutput", json!({ "InstanceId": instance }));
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0);
    for digit in said["Output"].as_str().unwrap().bytes() {
        let Some(value) = ALPHABET.iter().position(|known| *known == digit) else { continue };
        (bits, held) = (bits << 6 | value as u32, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How many bytes came back so far, all of them right.
#[track_caller]
fn bytes(stream: &mut Talk) -> u64 {
    let said = stream.ask("how many?");
    said.strip_prefix("ok ").unwrap_or_else(|| panic!("the stream broke: {said}")).parse().unwrap()
}

/// The stream goes on.
#[track_caller]
fn flows(stream: &mut Talk) {
    let before = bytes(stream);
    eventually("more bytes come", 5, || (bytes(stream) > before + 100_000).then_some(()));
}

fn has_the_program(region: &Region<'_>) -> bool {
    let has = region.packets.contains("kernel program");
    if !has {
        println!("skipped: packets move {}", region.packets);
    }
    has
}

fn lingering(world: &World, state: &Path) -> Option<Value> {
    let ran = Ran::of(world.postern(state, &["--output", "json", "status"]), b"");
    assert_ne!(ran.code, Some(0), "no region runs: {}", ran.stdout);
    Some(serde_json::from_str::<Value>(&ran.stdout).ok()?["lingering"].clone())
}

/// Whether a process is there.
fn lives(pid: i64) -> bool {
    // One that has ended and that nobody has asked about yet is still listed.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn connections_outlive_two_kills(world: &World) {
    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let pair = Pair::in_region(&region);
    let mut stream = pair.talk(&region, STREAM);
    let mut requests = pair.talk(&region, REQUESTS);
    assert_eq!(requests.ask("again"), "ok");
    flows(&mut stream);
    let keeper = |region: &Region<'_>| region.json(&["status"])["linger"].clone();
    assert_eq!(keeper(&region), json!(45));

    let mut process = None;
    for round in 1..=2 {
        region.kill();
        let killed = Instant::now();
        for _ in 0..5 {
            flows(&mut stream);
            assert_eq!(requests.ask("again"), "ok", "round {round}, {:?} after the kill", killed.elapsed());
            // What was decided about others of its kind holds for new ones, too.
            assert_eq!(
                requests.ask("a new one"),
                "ok",
                "round {round}, {:?} after the kill",
                killed.elapsed()
            );
        }
        let left = lingering(world, &region.state).expect("the keeper says how long it waits");
        assert_eq!(left["instances"], 2);
        assert!(left["seconds_left"].as_f64().unwrap() <= 45.0, "{left}");
        // The same process from beginning to end.
        assert_eq!(*process.get_or_insert(left["pid"].clone()), left["pid"]);

        region = world.up(&["--linger", LINGER]);
        flows(&mut stream);
        assert_eq!(requests.ask("again"), "ok", "round {round}, with the next region");
        assert_eq!(requests.ask("a new one"), "ok", "round {round}, with the next region");
        let started = region.sh(&pair.server, "cat /home/ec2-user/started");
        assert_eq!(started, "started\n", "user data runs once, and the disk is the same");
        let printed = console(&region.aws(), &pair.server);
        assert!(printed.contains("is lost, but for the last of it"), "round {round}: {printed}");
        assert!(printed.contains("connection from"), "round {round}: it printed meanwhile: {printed}");
        let flows = region.run(&["flows"]).stdout;
        assert!(flows.contains("8080") && flows.contains("established"), "it knows the flows: {flows}");
    }
    drop((stream, requests));
    let process = process.and_then(|process| process.as_i64()).unwrap();
    region.down();
    eventually("the keeper ends with the region", 10, || (!lives(process)).then_some(()));
}

fn what_nobody_takes_over_ends(world: &World) {
    let mut region = world.up(&["--linger", "3"]);
    if !has_the_program(&region) {
        return region.down();
    }
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    region.sh(&instance, "sleep 600 >/dev/null 2>&1 </dev/null & echo started");
    region.look();
    region.kill();
    let killed = Instant::now();
    let left = lingering(world, &region.state).expect("it lingers");
    assert_eq!(left["instances"], 1);
    let process = left["pid"].as_i64().unwrap();
    eventually("the keeper ends", 8, || (!lives(process)).then_some(()));
    assert!(killed.elapsed() > Duration::from_millis(2_500), "not before its time");
    region.gone(Duration::from_secs(1));
    assert_eq!(lingering(world, &region.state), None);
    assert!(!region.state.join("run/keeper.sock").exists());
    // And the next one makes all of it anew.
    let again = world.up(&[]);
    crate::network::becomes(&again.aws(), &instance, "running");
    eventually("the instance is there again", 15, || {
        (again.exec(&instance, &["true"]).code == Some(0)).then_some(())
    });
    again.down();
}

fn down_ends_what_a_killed_region_left(world: &World) {
    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let aws = region.aws();
    Network::new(&aws).run(&aws, json!({}));
    region.look();
    region.kill();
    let ran = Ran::of(world.postern(&region.state, &["status"]), b"");
    assert!(ran.code != Some(0) && ran.stdout.contains("1 instances"), "{ran:?}");
    let ran = Ran::of(world.postern(&region.state, &["down"]), b"");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    region.gone(Duration::from_secs(1));
    let ran = Ran::of(world.postern(&region.state, &["down"]), b"");
    assert!(ran.failure().contains("no region runs"), "{ran:?}");
}

fn what_is_not_wanted_is_not_gone_on_with(world: &World) {
    let refused = |arguments: &[&str], why: &str| {
        let said = world.try_up(&world.state("other"), arguments).err().expect("it is refused");
        assert!(said.contains("--linger") && said.contains(why), "{said}");
    };
    refused(&["--linger", "5", "--forwarder"], "forwarder");
    refused(&["--linger", "5", "--ephemeral"], "no state");

    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let aws: Aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    region.sh(&instance, "echo here > /home/ec2-user/here");
    region.look();
    region.kill();
    let by_hand = world.up(&["--forwarder"]);
    assert!(by_hand.logged().contains("what a killed region left was ended"), "{}", by_hand.logged());
    region.gone(Duration::from_secs(1));
    eventually("the instance is there again, and new", 20, || {
        let ran = by_hand.exec(&instance, &["ls", "/home/ec2-user"]);
        (ran.code == Some(0) && ran.stdout.is_empty()).then_some(())
    });
    by_hand.down();
}

/// Security groups are not asked about connections that are tracked, before a kill and after it; of new ones they are.
fn tracked_connections_stay_tracked(world: &World) {
    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let pair = Pair::in_region(&region);
    let mut requests = pair.talk(&region, REQUESTS);
    let aws = region.aws();
    let described = aws.ec2("DescribeSecurityGroups", json!({ "GroupIds": [pair.network.group] }));
    let lets_in = described["SecurityGroups"][0]["IpPermissions"].clone();
    let group = &pair.network.group;
    aws.ec2("RevokeSecurityGroupIngress", json!({ "GroupId": group, "IpPermissions": lets_in }));
    // At once: the kernel program must not need anybody to ask what the change means for ports where nothing came since.
    region.kill();
    assert_eq!(requests.ask("again"), "ok");
    region = world.up(&["--linger", LINGER]);
    assert_eq!(requests.ask("again"), "ok");
    let refused = requests.ask("a new one");
    assert!(refused.contains("timed out"), "{refused}");

    // What ends connections that are tracked ends those that were gone on with, too.
    let aws = region.aws();
    let of_vpc = json!({ "Filters": [{ "Name": "vpc-id", "Values": [pair.network.vpc] }] });
    let acl = aws.ec2("DescribeNetworkAcls", of_vpc)["NetworkAcls"][0]["NetworkAclId"].clone();
    for egress in [true, false] {
        aws.ec2(
            "ReplaceNetworkAclEntry",
            json!({ "NetworkAclId": acl, "RuleNumber": 100, "Protocol": "-1",
            "RuleAction": "deny", "Egress": egress, "CidrBlock": "0.0.0.0/0" }),
        );
    }
    // The two are in one subnet, where ACLs do not apply; without its instance there is nobody to talk to.
    assert_eq!(requests.ask("again"), "ok");
    aws.ec2("TerminateInstances", json!({ "InstanceIds": [pair.server] }));
    crate::network::becomes(&aws, &pair.server, "terminated");
    assert_ne!(requests.ask("again"), "ok");
    region.down();
}

/// Writes another fingerprint into the notes of what is pinned: $1 is the keeper's process.
const TAMPER: &str = r#"
import ctypes, os, platform, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
def bpf(command, attribute):
    buffer = ctypes.create_string_buffer(attribute, len(attribute))
    result = libc.syscall(number, command, buffer, len(attribute))
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
found = 0
folder = f"/proc/{sys.argv[1]}/fd"
for fd in os.listdir(folder):
    path = f"{folder}/{fd}/notes"
    if not os.path.exists(path): continue
    name = ctypes.create_string_buffer(path.encode())
    notes = bpf(7, struct.pack("QIIii", ctypes.addressof(name), 0, 0, 0, 0))
    key, value = ctypes.create_string_buffer(struct.pack("I", 0), 4), ctypes.create_string_buffer(64)
    element = lambda: struct.pack("IIQQQ", notes, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
    bpf(1, element())
    words = list(struct.unpack("8Q", value.raw))
    words[1] ^= 1
    value = ctypes.create_string_buffer(struct.pack("8Q", *words), 64)
    bpf(2, element())
    found += 1
print(found)
"#;

/// What the maps of another version mean is nobody's guess: they are replaced. Instances stay.
fn what_another_version_pinned_is_replaced(world: &World) {
    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let pair = Pair::in_region(&region);
    let mut requests = pair.talk(&region, REQUESTS);
    assert_eq!(requests.ask("again"), "ok");
    region.kill();
    let process = lingering(world, &region.state).expect("it lingers")["pid"].to_string();
    let mut tamper = world.command(&crate::harness::tools().join("bin/python3"));
    tamper.args(["-c", TAMPER, &process]);
    let ran = Ran::of(tamper, b"");
    assert_eq!((ran.code, ran.stdout.trim()), (Some(0), "1"), "{ran:?}");
    assert_eq!(requests.ask("again"), "ok", "the program itself reads no notes");

    let region = world.up(&["--linger", LINGER]);
    let logged = region.logged();
    assert!(
        logged.contains("is replaced, and its flows end") && logged.contains("its maps are laid out"),
        "{logged}"
    );
    assert_ne!(requests.ask("again"), "ok", "its flow is not known");
    let mut anew = pair.talk(&region, REQUESTS);
    assert_eq!(anew.ask("again"), "ok");
    assert_eq!(region.sh(&pair.server, "cat /home/ec2-user/started"), "started\n");
    // What was replaced is gone on with as anything else.
    let mut region = region;
    region.kill();
    assert_eq!(anew.ask("again"), "ok");
    let region = world.up(&["--linger", LINGER]);
    assert_eq!(anew.ask("again"), "ok");
    region.down();
}

/// A container that was attached keeps its interface and its connections.
fn guests_stay_plugged_in(world: &World) {
    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let pair = Pair::in_region(&region);
    let address = private_address(&region.aws(), &pair.server);
    let guest = crate::harness::Holder::with_network();
    let pid = guest.pid().to_string();
    let attached = region.json(&[
        "attach",
        "--netns",
        &format!("/proc/{pid}/ns/net"),
        "--subnet",
        &pair.network.subnet,
        "--group",
        &pair.network.group,
    ]);
    wait_for_the_program(&region);
    let mut enter = world.command(Path::new("/usr/bin/nsenter"));
    let python = crate::harness::tools().join("bin/python3");
    enter.args(["--net", "--target", &pid]).arg(python).args(["-c", REQUESTS, &address]);
    let mut requests = Talk::with(&mut enter);
    assert_eq!(requests.hear(), "connected");
    assert_eq!(requests.ask("again"), "ok");
    for _ in 0..2 {
        region.kill();
        assert_eq!(requests.ask("again"), "ok");
        region = world.up(&["--linger", LINGER]);
        assert_eq!(requests.ask("again"), "ok");
        assert_eq!(requests.ask("a new one"), "ok");
        let found = region
            .aws()
            .ec2("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [attached["interface"]] }));
        assert_eq!(found["NetworkInterfaces"][0]["Status"], "in-use", "{found}");
    }
    region.beside = Some(guest.pid());
    region.down();
}

/// An `up` that cannot come up leaves what it found to the next one, for no longer than before.
fn a_start_that_fails_ends_nothing(world: &World) {
    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let pair = Pair::in_region(&region);
    let mut requests = pair.talk(&region, REQUESTS);
    region.kill();
    let before = lingering(world, &region.state).expect("it lingers")["seconds_left"].as_f64().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for arguments in [&["--listen", &taken.local_addr().unwrap().to_string()][..], &["--region", "eu-west-1"]]
    {
        let mut command = world.postern(&region.state, &["up"]);
        command.args(arguments);
        let said = Ran::of(command, b"");
        assert!(said.failure().contains("in use") || said.failure().contains("eu-west-1"), "{said:?}");
        assert_eq!(requests.ask("again"), "ok", "after {arguments:?}");
        let left = lingering(world, &region.state).expect("it lingers on")["seconds_left"].as_f64().unwrap();
        assert!(left <= before, "{left} s, and {before} s before");
    }
    let region = world.up(&["--linger", LINGER]);
    assert_eq!(requests.ask("again"), "ok");
    region.down();
}

/// Regions are killed while they come up, take over, and make instances: connections go on, and what was begun is finished
/// by the one that lives.
fn kills_may_come_at_any_moment(world: &World) {
    let mut region = world.up(&["--linger", LINGER]);
    if !has_the_program(&region) {
        return region.down();
    }
    let pair = Pair::in_region(&region);
    let mut stream = pair.talk(&region, STREAM);
    let mut requests = pair.talk(&region, REQUESTS);
    let mut launched = Vec::new();
    for round in 0..6 {
        // One that is asked for, and of which nobody knows how far it came.
        launched.push(pair.network.launch(&region.aws(), json!({})));
        std::thread::sleep(Duration::from_millis(7 * round * round));
        region.kill();
        for moment in [15, 60, 150, 300, 600] {
            let mut command =
                world.postern(&region.state, &["up", "--listen", "127.0.0.1:0", "--linger", LINGER]);
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
            let mut child = command.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(moment + 11 * round));
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(requests.ask("again"), "ok", "round {round}, killed after {moment} ms");
        }
        flows(&mut stream);
        region = world.up(&["--linger", LINGER]);
        flows(&mut stream);
        assert_eq!(requests.ask("a new one"), "ok", "round {round}");
    }
    let aws = region.aws();
    for instance in &launched {
        crate::network::becomes(&aws, instance, "running");
        eventually("the instance is there", 15, || {
            (region.exec(instance, &["true"]).code == Some(0)).then_some(())
        });
    }
    let started = region.sh(&pair.server, "cat /home/ec2-user/started");
    assert_eq!(started, "started\n");
    drop((stream, requests));
    region.down();
}

/// Listens as a keeper that speaks otherwise.
const OTHER_KEEPER: &str = r#"
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.bind(sys.argv[1]); s.listen()
print("listening", flush=True)
while True:
    c, _ = s.accept()
    asked = json.loads(c.recv(65536)[1:])
    say = lambda answer: c.send(b"\0" + json.dumps(answer).encode())
    if asked["wish"] == "End":
        os.unlink(sys.argv[1]); say("Ends"); break
    say({"Lingers": {"version": 999, "milliseconds": 5000, "instances": 3}})
"#;

/// What a keeper of another version means is not guessed: it is told to end, in words that all versions have.
fn a_keeper_of_another_version_is_ended(world: &World) {
    let region = world.up(&[]);
    let (state, has) = (region.state.clone(), has_the_program(&region));
    region.down();
    if !has {
        return;
    }
    let socket = state.join("run/keeper.sock");
    let mut other = world.command(&crate::harness::tools().join("bin/python3"));
    other.args(["-c", OTHER_KEEPER]).arg(&socket);
    let other = Talk::with(&mut other);
    assert_eq!(other.hear(), "listening");
    let status = Ran::of(world.postern(&state, &["status"]), b"");
    assert!(status.code != Some(0) && status.stdout.contains("3 instances"), "{status:?}");
    let region = world.up(&["--linger", LINGER]);
    let logged = region.logged();
    assert!(logged.contains("it speaks version `999`") && logged.contains("was ended"), "{logged}");
    assert_eq!(region.json(&["status"])["linger"], 45);
    region.down();
}
