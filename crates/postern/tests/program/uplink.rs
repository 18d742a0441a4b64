//! The way out of a region: an "outside" world in a network of its own behind an interface of the region's host, which
//! instances reach by name where AWS would let them, and nothing else of the host.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::aws::Aws;
use crate::harness::{Region, World, eventually, tools};
use crate::network::{Network, text};

crate::both_ways!(instances_reach_the_outside_where_aws_lets_them);
crate::one_way!(
    an_interface_that_leads_nowhere_is_refused_at_once,
    without_an_uplink_nothing_leaves,
    what_cuts_a_flow_ends_its_connection_outside,
    an_address_that_becomes_the_hosts_is_spoken_to_no_more,
);

const STAGE: &str = include_str!("uplink/stage.sh");
const WORLD: &str = include_str!("uplink/world.py");

/// A host with a way out, and a region on it.
struct Staged<'w> {
    region: Region<'w>,
    aws: Aws,
    folder: PathBuf,
}

/// A command that becomes the program on a host with a way out.
fn staged(world: &World, name: &str, arguments: &[&str]) -> (std::process::Command, PathBuf) {
    let folder = world.home().join(name);
    std::fs::create_dir(&folder).unwrap();
    for (file, content) in [("stage.sh", STAGE), ("world.py", WORLD)] {
        std::fs::write(folder.join(file), content).unwrap();
    }
    world.hand_over(&folder);
    let state = world.state("state");
    let postern = world.postern(&state, &["up", "--listen", "127.0.0.1:0"]);
    let mut command = world.command(Path::new("/usr/bin/unshare"));
    if world.way == crate::harness::Way::User {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--mount", "sh"]).arg(folder.join("stage.sh")).arg(&folder);
    command.arg(tools().join("bin/python3")).arg(folder.join("world.py"));
    command.arg(env!("CARGO_BIN_EXE_postern"));
    command.args(postern.get_args().skip_while(|argument| *argument != "--state-dir"));
    command.arg("--tools").arg(tools()).args(arguments);
    (command, folder)
}

impl<'w> Staged<'w> {
    fn up(world: &'w World, arguments: &[&str]) -> Self {
        let (command, folder) = staged(world, "stage", arguments);
        let mut region = world.start(command, &world.state("state")).unwrap();
        let port = region.url.rsplit(':').next().unwrap().to_owned();
        region.url = relay(&folder.join("relay"), port);
        let mut environment = region.json(&["env"]);
        environment["AWS_ENDPOINT_URL"] = json!(region.url);
        let aws = Aws::from_environment(&environment);
        Self { region, aws, folder }
    }

    /// What a metric says.
    fn metric(&self, name: &str) -> u64 {
        let page = Aws::page(self.region.host(), "GET", "/_postern/metrics").unwrap().text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        line.unwrap_or_else(|| panic!("no {name} in {page}"))
    }

    /// Names that the outside was asked for, as they are on the wire.
    fn asked(&self) -> String {
        let bytes = std::fs::read(self.folder.join("asked")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Leads a port here to one of the staged host's, by a socket in a folder. Returns its URL.
fn relay(socket: &Path, port: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let socket = socket.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            // Once the region has gone, nobody listens at the socket.
            let (Ok(client), Ok(mut server)) = (client, UnixStream::connect(&socket)) else { continue };
            let _ = writeln!(server, "{port}");
            let _ = pump(&client, &server);
        }
    });
    url
}

fn pump(client: &TcpStream, server: &UnixStream) -> std::io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(std::net::Shutdown::Write);
    });
    Ok(())
}

/// A VPC with a public subnet, one behind a NAT gateway, and one without any way out; an instance in each.
struct Vpc {
    network: Network,
    public: String,
    private: String,
    shut: String,
}

impl Vpc {
    fn new(aws: &Aws) -> Self {
        let network = Network::new(aws);
        let gateway = aws.ec2("CreateInternetGateway", json!({}));
        let gateway = text(&gateway["InternetGateway"]["InternetGatewayId"]);
        aws.ec2("AttachInternetGateway", json!({ "InternetGatewayId": gateway, "VpcId": network.vpc }));
        let route = |table: &str, key: &str, target: &str| {
            let route = json!({ "RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", key: target });
            aws.ec2("CreateRoute", route);
        };
        route(&network.table, "GatewayId", &gateway);
        aws.ec2(
            "ModifySubnetAttribute",
            json!({ "SubnetId": network.subnet, "MapPublicIpOnLaunch": { "Value": true } }),
        );
        let allocation = text(&aws.ec2("AllocateAddress", json!({ "Domain": "vpc" }))["AllocationId"]);
        let nat = json!({ "SubnetId": network.subnet, "AllocationId": allocation });
        let nat = text(&aws.ec2("CreateNatGateway", nat)["NatGateway"]["NatGatewayId"]);
        eventually("the NAT gateway is available", 15, || {
            let found = aws.ec2("DescribeNatGateways", json!({ "NatGatewayIds": [nat] }));
            (found["NatGateways"][0]["State"] == "available").then_some(())
        });
        let subnet = |cidr: &str| {
            let made = aws.ec2("CreateSubnet", json!({ "VpcId": network.vpc, "CidrBlock": cidr }));
            let subnet = text(&made["Subnet"]["SubnetId"]);
            let table = aws.ec2("CreateRouteTable", json!({ "VpcId": network.vpc }));
            let table = text(&table["RouteTable"]["RouteTableId"]);
            aws.ec2("AssociateRouteTable", json!({ "RouteTableId": table, "SubnetId": subnet }));
            (subnet, table)
        };
        let (private, private_table) = subnet("10.0.2.0/24");
        let (shut, _) = subnet("10.0.3.0/24");
        route(&private_table, "NatGatewayId", &nat);
        let run = |subnet: &str| network.run(aws, json!({ "SubnetId": subnet }));
        let (public, private, shut) = (run(&network.subnet), run(&private), run(&shut));
        Self { network, public, private, shut }
    }
}

/// Fetches a page with a few seconds' patience; says how that ended.
const GET: &str = "curl --silent --show-error --max-time 8 --noproxy '*' ";

fn instances_reach_the_outside_where_aws_lets_them(world: &World) {
    let staged = Staged::up(world, &["--uplink", "up0"]);
    let (region, aws) = (&staged.region, &staged.aws);
    let status = region.json(&["status"]);
    assert_eq!(status["uplink"], "up0: TCP, UDP and ICMP echo");
    let vpc = Vpc::new(aws);

    for instance in [&vpc.public, &vpc.private] {
        // By name; the source outside is the host's own address.
        let page = region.sh(instance, &format!("{GET} http://web.example/{instance}"));
        assert_eq!(page, format!("hello /{instance} from 203.0.113.1\n"));
        // An answer that is larger than a packet of the internet comes in pieces.
        let echo = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)\n\
                    for what in b'xxxxx', b'3' * 1000: s.sendto(what, ('203.0.113.7', 7)); print(len(s.recv(9000)))";
        let echoed = region.sh(instance, &format!("python3 -c \"{echo}\""));
        assert_eq!(echoed, format!("{}\n{}\n", 5 + 17, 3000 + 17), "with ` from 203.0.113.1`");
        let pinged = region.sh(instance, "ping -c 2 -i 0.2 -W 5 203.0.113.7");
        assert!(pinged.contains("2 received"), "{pinged}");
        // Each half of a connection ends on its own.
        let counted = "import socket; s = socket.create_connection(('203.0.113.7', 9), 8)\n\
                       s.sendall(b'x' * 5000000); s.shutdown(socket.SHUT_WR); print(s.recv(99).decode())";
        assert_eq!(region.sh(instance, &format!("python3 -c \"{counted}\"")).trim(), "5000000 bytes");
    }
    // The doors' own echoes are still answered, by themselves.
    let own = region.sh(&vpc.public, "ping -c 1 -W 5 s3.us-east-1.amazonaws.com");
    assert!(own.contains("1 received"), "{own}");
    many_at_once(&staged, &vpc);
    names(&staged, &vpc);
    refusals(&staged, &vpc);

    for metric in
        ["postern_uplink_flows_total{protocol=\"tcp\"}", "postern_uplink_flows_total{protocol=\"udp\"}"]
    {
        assert!(staged.metric(metric) >= 2, "{metric}");
    }
    assert!(staged.metric("postern_uplink_bytes_total{direction=\"out\"}") >= 10_000_000);
    let traced = region.run(&["trace", "--from", &vpc.private, "--to", "web.example:80", "--probe"]);
    assert!(traced.stdout.contains("leaves the region by up0"), "{traced:?}");
    assert!(traced.stdout.contains("(as explained)"), "{traced:?}");
    staged.region.down();
}

fn many_at_once(staged: &Staged<'_>, vpc: &Vpc) {
    // All are there before the first one ends, and afterwards nothing is left of any.
    let many = "import socket\nall = [socket.create_connection(('203.0.113.7', 9), 20) for n in range(200)]\n\
                for n, s in enumerate(all): s.sendall(b'x' * n); s.shutdown(socket.SHUT_WR)\n\
                print(sum(s.recv(99) == b'%d bytes\\n' % n for n, s in enumerate(all)))";
    for instance in [&vpc.public, &vpc.private] {
        assert_eq!(staged.region.sh(instance, &format!("python3 -c \"{many}\"")).trim(), "200");
    }
    eventually("no connection is carried any more", 20, || {
        (staged.metric("postern_uplink_flows{protocol=\"tcp\"}") == 0).then_some(())
    });
}

fn names(staged: &Staged<'_>, vpc: &Vpc) {
    let region = &staged.region;
    let dig = |arguments: &str| region.sh(&vpc.shut, &format!("dig +time=8 +tries=1 {arguments}"));
    assert_eq!(dig("+short web.example").trim(), "203.0.113.80", "names are for all, whatever their routes");
    assert!(dig("web.example TYPE65400").contains("\\# 4 C0010203"));
    let big = dig("+noedns big.example TXT");
    assert_eq!(big.matches(&"x".repeat(200)).count(), 3, "over TCP where UDP does not do: {big}");
    assert!(dig("nobody.example").contains("NXDOMAIN"));
    // What can only be the region's is asked of nobody else.
    for own in ["unheard-of.us-east-1.amazonaws.com", "ip-10-0-9-9.ec2.internal", "-x 10.9.9.9"] {
        assert!(dig(own).contains("NXDOMAIN"), "{own}");
    }
    let asked = staged.asked();
    assert!(asked.contains("nobody") && !asked.contains("unheard") && !asked.contains("internal"), "{asked}");
    assert!(!asked.contains("in-addr"), "{asked}");
    assert!(staged.metric("postern_dns_queries_total{result=\"forwarded\"}") >= 4);
    let unsupported = json!({ "VpcId": vpc.network.vpc, "EnableDnsSupport": { "Value": false } });
    staged.aws.ec2("ModifyVpcAttribute", unsupported);
    let silent = region.exec(&vpc.shut, &["dig", "+time=1", "+tries=1", "web.example"]);
    assert!(silent.stdout.contains("timed out") || silent.stdout.contains("no servers"), "{silent:?}");
    let supported = json!({ "VpcId": vpc.network.vpc, "EnableDnsSupport": { "Value": true } });
    staged.aws.ec2("ModifyVpcAttribute", supported);
}

fn refusals(staged: &Staged<'_>, vpc: &Vpc) {
    let region = &staged.region;
    let get = |instance: &str, url: &str| region.exec(instance, &["/bin/sh", "-c", &format!("{GET} {url}")]);
    // No way out of this one, with an uplink or without.
    assert!(get(&vpc.shut, "http://203.0.113.80/").failure().contains("timed out"));
    // Nothing of the host is reached, by whichever of its addresses.
    for own in ["203.0.113.1", "198.51.100.7", "192.0.2.50"] {
        let began = std::time::Instant::now();
        let refused = get(&vpc.public, &format!("http://{own}:8080/"));
        assert!(refused.stdout.is_empty() && refused.code != Some(0), "{own}: {refused:?}");
        assert!(began.elapsed().as_secs() < 5, "{own}: it hangs");
    }
    assert!(staged.metric("postern_uplink_refusals_total{reason=\"host-address\"}") >= 3);
    for nowhere in ["192.168.7.7", "127.0.0.1", "100.64.0.1", "198.18.200.200", "10.200.0.1"] {
        let refused = get(&vpc.public, &format!("http://{nowhere}:8080/"));
        assert!(refused.stdout.is_empty() && refused.code != Some(0), "{nowhere}: {refused:?}");
    }
    assert_eq!(
        get(&vpc.public, "http://192.168.7.7/").code,
        Some(7),
        "told at once, and not after a time-out"
    );
    // What a router says of one packet ends no flow, and the next one does not pay for it.
    let flows = || staged.metric("postern_uplink_flows_total{protocol=\"udp\"}");
    let before = flows();
    let prohibited = "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                      for n in range(5): s.sendto(b'x', ('192.0.2.9', 9)); time.sleep(0.2)";
    region.sh(&vpc.public, &format!("python3 -c \"{prohibited}\""));
    assert_eq!(flows(), before + 1);
    assert!(staged.metric("postern_uplink_refusals_total{reason=\"unreachable\"}") >= 2);
    // What is heard is what came of it outside: that somebody refused, or that nobody is there.
    let closed = "import socket; print(socket.socket().connect_ex(('203.0.113.80', 81)))";
    for instance in [&vpc.public, &vpc.private] {
        let code = region.sh(instance, &format!("python3 -c \"{closed}\""));
        assert_eq!(code.trim(), "111", "ECONNREFUSED");
    }
    let log = region.keep_running(&["flows", "--follow"]);
    // More than once, for the log may not be followed from the first on.
    let often = "import socket, time\n\
                 for n in range(8): socket.socket().connect_ex(('203.0.113.80', 81)); time.sleep(0.5)";
    region.sh(&vpc.public, &format!("python3 -c \"{often}\""));
    let refused = (0..20).map(|_| log.hear()).find(|line| line.contains("outside-refused")).unwrap();
    assert!(refused.contains(" -> 203.0.113.80 tcp ") && refused.contains("->81 "), "{refused}");
    drop(log);
    let traced = region.run(&["trace", "--from", &vpc.public, "--to", "203.0.113.80:81", "--probe"]);
    assert!(traced.stdout.contains("refused the connection"), "{traced:?}");
    let nobody =
        "import socket; s = socket.socket(); s.settimeout(12); print(s.connect_ex(('203.0.113.99', 80)))";
    let code = region.sh(&vpc.public, &format!("python3 -c \"{nobody}\""));
    assert!(["101", "113"].contains(&code.trim()), "unreachable, and not connected: {code}");
    assert!(staged.metric("postern_uplink_refusals_total{reason=\"refused\"}") >= 1);
}

fn what_cuts_a_flow_ends_its_connection_outside(world: &World) {
    let staged = Staged::up(world, &["--uplink", "up0"]);
    let vpc = Vpc::new(&staged.aws);
    let listening = "import socket\ns = socket.create_connection(('203.0.113.7', 13), 8)\nprint('heard', flush=True)\n\
                     while s.recv(100): pass";
    let talk = staged.region.talk(&vpc.public, &["python3", "-c", listening]);
    assert_eq!(talk.hear(), "heard");
    assert_eq!(staged.metric("postern_uplink_flows{protocol=\"tcp\"}"), 1);
    let route = json!({ "RouteTableId": vpc.network.table, "DestinationCidrBlock": "0.0.0.0/0" });
    staged.aws.ec2("DeleteRoute", route);
    eventually("the connection outside ends", 10, || staged.folder.join("broken").exists().then_some(()));
    eventually("nothing is carried", 5, || {
        (staged.metric("postern_uplink_flows{protocol=\"tcp\"}") == 0).then_some(())
    });
    drop(talk);
    staged.region.down();
}

fn an_address_that_becomes_the_hosts_is_spoken_to_no_more(world: &World) {
    let staged = Staged::up(world, &["--uplink", "up0"]);
    let vpc = Vpc::new(&staged.aws);
    let speaking = "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(8)\n\
                    there = ('203.0.113.7', 7)\ns.sendto(b'first', there); print(s.recv(99).decode(), flush=True)\n\
                    input()\nfor n in range(30): s.sendto(b'%d' % n, there); time.sleep(0.1)\nprint('said', flush=True)";
    let mut talk = staged.region.talk(&vpc.public, &["python3", "-c", speaking]);
    assert_eq!(talk.hear(), "first from 203.0.113.1");
    std::fs::write(staged.folder.join("take"), "").unwrap();
    eventually("the host has the address", 10, || staged.folder.join("taken").exists().then_some(()));
    assert_eq!(talk.ask(""), "said");
    let reached = std::fs::read_to_string(staged.folder.join("reached")).unwrap_or_default();
    let late: Vec<&str> = reached.lines().filter(|n| n.parse().is_ok_and(|n: u32| n >= 15)).collect();
    assert!(late.is_empty(), "the host heard {late:?}");
    assert!(staged.metric("postern_uplink_refusals_total{reason=\"host-address\"}") >= 10);
    drop(talk);
    staged.region.down();
}

fn without_an_uplink_nothing_leaves(world: &World) {
    let staged = Staged::up(world, &[]);
    let vpc = Vpc::new(&staged.aws);
    let region = &staged.region;
    assert_eq!(region.json(&["status"])["uplink"], serde_json::Value::Null);
    let began = std::time::Instant::now();
    assert!(region.sh(&vpc.public, "dig web.example").contains("NXDOMAIN"));
    for instance in [&vpc.public, &vpc.private] {
        let ran = region.exec(instance, &["/bin/sh", "-c", &format!("{GET} http://203.0.113.80/")]);
        assert!(ran.code == Some(7) && ran.stdout.is_empty(), "{ran:?}");
    }
    assert!(began.elapsed().as_secs() < 5, "all of it is said at once: {:?}", began.elapsed());
    assert_eq!(staged.asked(), "", "nobody outside is asked");
    staged.region.down();
}

fn an_interface_that_leads_nowhere_is_refused_at_once(world: &World) {
    for (name, says) in [
        ("nosuch0", "this host has no network interface `nosuch0`"),
        ("down0", "the network interface `down0` is down"),
        ("lo", "the network interface `lo` is the host's loopback, which leads nowhere"),
        ("a/b", "`a/b` is not the name of a network interface"),
    ] {
        let (mut command, _) = staged(world, &name.replace('/', "-"), &["--uplink", name]);
        let began = std::time::Instant::now();
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{name}: {said}");
        assert!(began.elapsed().as_secs() < 15, "{name}");
    }
}

#[test]
fn the_stage_relays_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("relay");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let url = relay(&socket, "7".to_owned());
    let mut client = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"there").unwrap();
    let mut heard = [0; 7];
    server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"7\nthere");
}
