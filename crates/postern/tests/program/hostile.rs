//! Machines that give little, and callers who send nonsense: each is told what is wrong, nothing is lost, and the next
//! one is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::aws::{Answer, Aws, exchange, now_milliseconds};
use crate::harness::{Region, Way, World, eventually};
use crate::network::{Network, becomes, private_address, text};

crate::both_ways!(without_namespaces_the_rest_is_served);
crate::one_way!(
    nonsense_on_the_control_socket,
    nonsense_on_the_api,
    dev_takes_anybody_and_resets,
    metrics_add_up,
    a_full_disk_loses_nothing,
);

fn without_namespaces_the_rest_is_served(world: &World) {
    let state = world.state("state");
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let postern = world.postern(&state, &["up", "--listen", "127.0.0.1:0"]);
    let mut command = world.command(Path::new("/usr/bin/unshare"));
    command.args(["--user", "--map-root-user", "sh", "-c", script, env!("CARGO_BIN_EXE_postern")]);
    let arguments: Vec<_> = postern.get_args().skip_while(|argument| *argument != "--state-dir").collect();
    command.args(arguments);
    let region = world.start(command, &state).unwrap();
    assert!(region.packets.starts_with("none move: ") && region.packets.len() > 30, "{}", region.packets);
    let status = region.json(&["status"]);
    assert!(text(&status["packets"]).starts_with("none move: "), "{status}");
    let health = Aws::page(region.host(), "GET", "/_postern/health").unwrap();
    assert!(health.status == 200 && health.text().contains("\"move\":false"), "{}", health.text());

    let aws = region.aws();
    let network = Network::new(&aws);
    // What waits for packets elsewhere does not wait for ever here.
    let endpoint = network.s3_endpoint(&aws);
    let gateway = network.launch(&aws, json!({}));
    becomes(&aws, &gateway, "terminated");
    let reason = text(&crate::network::describe(&aws, &gateway)["StateReason"]["Message"]);
    assert!(reason.contains("no packets"), "{reason}");
    assert_eq!(aws.s3("PUT", "/a-bucket", "", b"").unwrap().status, 200);
    let ran = region.exec("i-0123456789abcdef0", &["true"]);
    assert!(ran.failure().contains("no packets move here"), "{ran:?}");
    let interface = aws.ec2("CreateNetworkInterface", json!({ "SubnetId": network.subnet }));
    let interface = text(&interface["NetworkInterface"]["NetworkInterfaceId"]);
    let s3 = format!("s3.{}.amazonaws.com:443", aws.region);
    let trace = region.json(&["trace", "--from", &interface, "--to", &s3]);
    assert!(trace["text"].as_str().unwrap().contains(&endpoint), "{trace}");
    let probe = region.run(&["trace", "--probe", "--from", &interface, "--to", &s3]);
    assert!(probe.failure().contains("no packets move here"), "{probe:?}");
    assert!(region.run(&["flows"]).failure().contains("no packets move here"));
    region.down();
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

fn nonsense_on_the_control_socket(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let instance = Network::new(&aws).run(&aws, json!({}));
    let path = region.state.join("run/control.sock");
    let connect = || {
        let socket = UnixStream::connect(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    };
    // What comes back before the connection ends or is left.
    let say = |bytes: &[u8]| {
        let mut socket = connect();
        let _ = socket.write_all(bytes);
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(answer.get(4..).unwrap_or_default()).into_owned()
    };
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x01",
        b"\x10\x00\x00\x00short",
        &[0; 5000],
        &frame(&vec![b'['; 1 << 20]),
    ] {
        let answer = say(bytes);
        assert!(answer.is_empty() || answer.contains("Failed"), "{answer}");
    }
    assert!(say(&frame(b"\"Nothing\"")).contains("another version"));
    assert!(say(&frame(b"{\"Status\":1}")).contains("Failed"));
    assert!(say(&frame(b"\"Status\"")).contains(&region.url));
    let exec = json!({ "Exec": { "instance": instance, "argv": ["true"], "terminal": null } });
    assert!(say(&frame(exec.to_string().as_bytes())).contains("three descriptors"));
    let exec = json!({ "Exec": { "instance": instance, "argv": [], "terminal": [24, 80] } });
    assert!(say(&frame(exec.to_string().as_bytes())).contains("Failed"));
    assert!(say(&frame(b"\"Backup\"")).contains("Failed"));
    assert!(say(&frame(b"\"Reset\"")).contains("--dev"));
    // Several requests on one connection.
    let twice = [frame(b"\"Status\""), frame(b"\"ListAccounts\"")].concat();
    assert!(say(&twice).contains("Accounts"));

    // A crowd that says nothing. Whoever comes after is told so, and served when it has gone.
    let crowd: Vec<UnixStream> = (0..300).map(|_| connect()).collect();
    let ran =
        eventually("one is refused", 10, || Some(region.run(&["status"])).filter(|ran| ran.code != Some(0)));
    assert!(ran.stderr.contains("commands speak to the region already"), "{ran:?}");
    drop(crowd);
    eventually("commands are served again", 10, || (region.run(&["status"]).code == Some(0)).then_some(()));
    assert_eq!(region.sh(&instance, "echo still here"), "still here\n");
    assert!(!region.logged().contains("panicked"), "{}", region.logged());
    region.end_by(Signal::SIGTERM);
}

fn raw(host: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn nonsense_on_the_api(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let host = region.host();
    for bytes in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"\x00\x00\x00\x00",
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        &[b'A'; 200_000],
    ] {
        let answer = raw(host, bytes);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let code = |answer: Option<Answer>| {
        let answer = answer.expect("an answer");
        (answer.status, answer.refusal().0)
    };
    let form = "Action=DescribeVpcs&Version=2016-11-15";
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    let wrong = Aws { secret: "wrong".to_owned(), ..aws.clone() };
    let unknown = Aws { key: "AKIAIOSFODNN7EXAMPLE".to_owned(), ..aws.clone() };
    let forged = Aws { token: Some("made up".to_owned()), ..aws.clone() };
    let now = now_milliseconds();
    assert_eq!(code(wrong.send("ec2", form, now)), (401, "AuthFailure".to_owned()));
    assert_eq!(code(wrong.send("sts", identity, now)), (403, "SignatureDoesNotMatch".to_owned()));
    assert_eq!(code(wrong.s3("GET", "/", "", b"")), (403, "SignatureDoesNotMatch".to_owned()));
    assert_eq!(code(unknown.send("ec2", form, now)), (401, "AuthFailure".to_owned()));
    assert_eq!(code(unknown.send("sts", identity, now)), (403, "InvalidClientTokenId".to_owned()));
    assert_eq!(code(unknown.s3("GET", "/", "", b"")), (403, "InvalidAccessKeyId".to_owned()));
    assert_eq!(code(forged.send("sts", identity, now)), (403, "InvalidClientTokenId".to_owned()));
    for minutes in [-20, 20] {
        let then = now + minutes * 60_000;
        assert_eq!(code(aws.send("ec2", form, then)), (400, "RequestExpired".to_owned()), "{minutes}");
        assert_eq!(
            code(aws.send("sts", identity, then)),
            (403, "SignatureDoesNotMatch".to_owned()),
            "{minutes}"
        );
    }
    let (status, _) = code(aws.send("ec2", &format!("{form}&X={}", "x".repeat(20 << 20)), now));
    assert!((400..500).contains(&status), "an oversized body: {status}");
    assert_eq!(code(aws.send("ec2", "Action=Nonsense&Version=2016-11-15", now)).1, "InvalidAction");
    let (name, message) = aws.refused("ec2", "CreateVpc", json!({ "CidrBlock": "10.0.0.0/33" }));
    assert!(name == "InvalidParameterValue" && message.contains("10.0.0.0/33"), "{name}: {message}");
    // Not a body as was signed.
    let mut headers = vec![("host".to_owned(), host.to_owned())];
    headers.push(("authorization".to_owned(), "AWS4-HMAC-SHA256 nonsense".to_owned()));
    assert!(exchange(host, "POST", "/", &headers, form.as_bytes()).unwrap().status >= 400);

    let crowd: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(host).unwrap()).collect();
    assert_eq!(Aws::page(host, "GET", "/_postern/health").unwrap().status, 200);
    aws.ec2("DescribeVpcs", json!({}));
    drop(crowd);
    assert_eq!(Aws::page(host, "POST", "/_postern/reset").unwrap().status, 403, "not without --dev");
    assert_eq!(Aws::page(host, "GET", "/_postern/nothing").unwrap().status, 404);
    assert!(!region.logged().contains("panicked"), "{}", region.logged());
    let records = crate::network::audit(&region);
    assert!(
        records.iter().any(|r| r["errorCode"] == "AuthFailure" && r["userIdentity"]["type"] == "Unknown"),
        "{records:?}"
    );
    region.end_by(Signal::SIGTERM);
}

fn dev_takes_anybody_and_resets(world: &World) {
    let region = world.up(&["--dev"]);
    let issued = region.aws();
    let with_key = |key: &str| Aws { key: key.to_owned(), secret: "whatever".to_owned(), ..issued.clone() };
    let account = |aws: &Aws| text(&aws.call("sts", "GetCallerIdentity", json!({}))["Account"]);
    assert_eq!(account(&with_key("test")), "123456789012");
    assert_eq!(account(&with_key("111111111111")), "111111111111");
    assert_eq!(account(&Aws { secret: "wrong".to_owned(), ..issued.clone() }), account(&issued));
    // Keys that were issued keep their principal and its policies.
    issued.call("iam", "CreateUser", json!({ "UserName": "limited" }));
    let key = issued.call("iam", "CreateAccessKey", json!({ "UserName": "limited" }));
    let limited = with_key(key["AccessKey"]["AccessKeyId"].as_str().unwrap());
    assert_eq!(limited.refused("ec2", "DescribeVpcs", json!({})).0, "UnauthorizedOperation");

    let bare = region.processes();
    let network = Network::new(&issued);
    let instance = network.run(&issued, json!({}));
    assert!(region.processes() > bare);
    assert_eq!(issued.s3("PUT", "/dev-bucket", "", b"").unwrap().status, 200);
    assert_eq!(issued.s3("PUT", "/dev-bucket/key", "", &[b'x'; 100_000]).unwrap().status, 200);
    assert_eq!(Aws::page(region.host(), "GET", "/_postern/reset").unwrap().status, 405);
    let mut of_a_browser = vec![("host".to_owned(), region.host().to_owned())];
    of_a_browser.push(("origin".to_owned(), "https://example.com".to_owned()));
    assert_eq!(exchange(region.host(), "POST", "/_postern/reset", &of_a_browser, b"").unwrap().status, 403);
    assert_eq!(issued.ec2("DescribeVpcs", json!({}))["Vpcs"].as_array().unwrap().len(), 1);

    for _ in 0..2 {
        let reset = Aws::page(region.host(), "POST", "/_postern/reset").unwrap();
        assert_eq!(reset.status, 200, "{}", reset.text());
        let aws = region.aws();
        assert_eq!(account(&aws), "123456789012");
        for (operation, list) in [
            ("DescribeVpcs", "Vpcs"),
            ("DescribeInstances", "Reservations"),
            ("DescribeNetworkInterfaces", "NetworkInterfaces"),
        ] {
            assert_eq!(aws.ec2(operation, json!({}))[list], json!([]), "{operation}");
        }
        assert_eq!(aws.s3("HEAD", "/dev-bucket", "", b"").unwrap().status, 404);
        assert!(region.exec(&instance, &["true"]).code != Some(0));
        eventually("the sandboxes are gone", 10, || (region.processes() <= bare).then_some(()));
    }
    let aws = region.aws();
    let again = Network::new(&aws);
    let instance = again.run(&aws, json!({}));
    assert_eq!(aws.s3("PUT", "/dev-bucket", "", b"").unwrap().status, 200);
    again.s3_endpoint(&aws);
    let trace =
        region.json(&["trace", "--probe", "--from", &instance, "--to", "s3.us-east-1.amazonaws.com:443"]);
    assert_eq!((&trace["arrives"], &trace["probe"]["agrees"]), (&json!(true), &json!(true)), "{trace}");
    region.end_by(Signal::SIGTERM);
    // And it was all durable.
    let region = world.up(&["--dev"]);
    assert_eq!(region.aws().ec2("DescribeVpcs", json!({}))["Vpcs"].as_array().unwrap().len(), 1);
    region.down();
}

/// Prometheus's text: name, labels and value of every line that is no comment.
fn metrics(region: &Region<'_>) -> Vec<(String, f64)> {
    let page = Aws::page(region.host(), "GET", "/_postern/metrics").unwrap();
    assert_eq!(page.status, 200);
    let text = page.text();
    let mut typed = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split_whitespace();
            let (kind, name) = (words.next().unwrap(), words.next().unwrap().to_owned());
            assert!(kind == "HELP" || (kind == "TYPE" && typed.insert(name)), "told twice: {line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let family = name.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
        assert!(
            typed.contains(family) || of_histogram.is_some_and(|name| typed.contains(name)),
            "no type: {line}"
        );
        assert!(found.iter().all(|(known, _)| known != name), "twice: {line}");
        found.push((name.to_owned(), value.parse().unwrap()));
    }
    found
}

/// The metrics once no packet is under way any more.
fn settled_metrics(region: &Region<'_>) -> Vec<(String, f64)> {
    let packets = |all: &[(String, f64)]| -> Vec<f64> {
        all.iter().filter(|(name, _)| name.starts_with("postern_packets_")).map(|(_, value)| *value).collect()
    };
    let mut last = metrics(region);
    for _ in 0..50 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = metrics(region);
        if packets(&now) == packets(&last) {
            return now;
        }
        last = now;
    }
    panic!("packets go on: {last:?}");
}

fn metrics_add_up(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let (one, two) = (network.launch(&aws, json!({})), network.launch(&aws, json!({})));
    becomes(&aws, &one, "running");
    becomes(&aws, &two, "running");
    let interface = |instance: &str| {
        text(&crate::network::describe(&aws, instance)["NetworkInterfaces"][0]["NetworkInterfaceId"])
    };
    let (from, to) = (interface(&one), interface(&two));
    let value = |all: &[(String, f64)], name: &str| {
        all.iter().find(|(n, _)| n == name).map_or(0.0, |(_, value)| *value)
    };
    let of = |name: &str, interface: &str| format!("{name}{{interface=\"{interface}\"}}");
    let described = "postern_requests_total{service=\"ec2\",operation=\"DescribeVpcs\",code=\"OK\"}";

    let serve = "import socket; s = socket.create_server(('0.0.0.0', 7000)); print('on', flush=True); c, _ = s.accept()\nn = 0\nwhile d := c.recv(65536): n += len(d)\nprint(n, flush=True)";
    let server = region.talk(&two, &["/usr/bin/python3", "-c", serve]);
    assert_eq!(server.hear(), "on");
    let before = metrics(&region);
    for _ in 0..5 {
        aws.ec2("DescribeVpcs", json!({}));
    }
    let address = private_address(&aws, &two);
    let send = format!(
        "import socket; s = socket.create_connection(('{address}', 7000), 5); s.sendall(b'x' * 3000000)"
    );
    assert_eq!(region.exec(&one, &["/usr/bin/python3", "-c", &send]).code, Some(0));
    assert_eq!(server.hear(), "3000000");
    // Two connections that no rule lets out.
    let blocked = "import socket, sys\nfor p in (1, 2):\n  s = socket.socket(); s.settimeout(0.4)\n  try: s.connect(('10.9.9.9', p))\n  except OSError: pass";
    region.exec(&one, &["/usr/bin/python3", "-c", blocked]);
    let after = settled_metrics(&region);
    let grew = |name: &str| value(&after, name) - value(&before, name);
    assert_eq!(grew(described), 5.0);
    for name in [of("postern_bytes_received_total", &from), of("postern_bytes_delivered_total", &to)] {
        assert!((3_000_000.0..4_000_000.0).contains(&grew(&name)), "{name} grew by {}", grew(&name));
    }
    assert!(grew(&of("postern_new_flows_total", &from)) >= 1.0);
    let dropped: f64 = after
        .iter()
        .filter(|(name, _)| {
            name.starts_with("postern_drops_total") && name.contains(&from) && name.contains("route")
        })
        .map(|(name, _)| grew(name))
        .sum();
    assert!(dropped >= 2.0, "{after:?}");
    // And the table that led nowhere is named.
    let by_table: f64 = after
        .iter()
        .filter(|(name, _)| name.starts_with("postern_drops_by_resource_total{resource=\"rtb-"))
        .map(|(name, _)| grew(name))
        .sum();
    assert!(by_table >= 2.0, "{after:?}");
    assert!(grew(&of("postern_upcalls_total", &from)) >= 1.0);
    // What came in went on, was answered or was dropped; and what went on was delivered.
    let sum = |family: &str| -> f64 {
        let of_family = after.iter().filter(|(name, _)| name.starts_with(&format!("{family}{{")));
        of_family.map(|(_, value)| value).sum()
    };
    let (received, passed) = (sum("postern_packets_received_total"), sum("postern_packets_passed_total"));
    let (answered, drops) = (sum("postern_packets_answered_total"), sum("postern_drops_total"));
    assert_eq!(received, passed + answered + drops, "{after:?}");
    assert_eq!(passed, sum("postern_packets_delivered_total"), "{after:?}");
    assert_eq!(sum("postern_packets_lost_total"), 0.0, "{after:?}");
    assert_eq!(value(&after, "postern_instances"), 2.0);
    drop(server);
    region.end_by(Signal::SIGTERM);
}

/// A process that keeps a small file system in a mount namespace of its own.
struct SmallDisk {
    holder: Child,
    place: PathBuf,
}

impl SmallDisk {
    fn new(world: &World, place: &Path, size: &str) -> Self {
        std::fs::create_dir(place).unwrap();
        world.hand_over(place);
        let script = "mount -t tmpfs -o size=$2,mode=700 small \"$1\" && echo mounted && exec sleep 300";
        let mut command = world.command(Path::new("/usr/bin/unshare"));
        match world.way {
            Way::Root => command.arg("--mount"),
            Way::User => command.args(["--user", "--map-root-user", "--mount"]),
        };
        command.args(["sh", "-c", script, "sh"]).arg(place).arg(size);
        let mut holder = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut mounted = [0; 8];
        holder.stdout.as_mut().unwrap().read_exact(&mut mounted).unwrap();
        Self { holder, place: place.to_owned() }
    }

    /// The same place as others see it.
    fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.place.strip_prefix("/").unwrap())
    }

    fn up<'w>(&self, world: &'w World) -> Region<'w> {
        let postern = world.postern(&self.place, &["up", "--listen", "127.0.0.1:0"]);
        let mut command = world.command(Path::new("/usr/bin/nsenter"));
        command.args(["--target", &self.holder.id().to_string(), "--mount"]);
        if world.way == Way::User {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(env!("CARGO_BIN_EXE_postern"));
        command.args(postern.get_args().skip_while(|argument| *argument != "--state-dir"));
        let mut region = world.start(command, &self.seen()).unwrap();
        region.beside = Some(self.holder.id());
        region
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn a_full_disk_loses_nothing(world: &World) {
    let disk = SmallDisk::new(world, &world.state("small"), "48m");
    let region = disk.up(world);
    let aws = region.aws();
    let network = Network::new(&aws);
    assert_eq!(aws.s3("PUT", "/small-bucket", "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/small-bucket/kept", "", b"kept").unwrap().status, 200);

    let filler = disk.seen().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    let block = vec![b'x'; 1 << 16];
    while file.write_all(&block).is_ok() {}
    while file.write_all(b"x").is_ok() {}
    // Until storage itself is full too: what fits is done, what does not is refused with a reason.
    let mut acknowledged = Vec::new();
    let mut refused = None;
    for number in 0..300 {
        match aws.try_call("ec2", "CreateSubnet", &json!({ "VpcId": network.vpc, "CidrBlock": format!("10.0.{}.{}/28", 16 + number / 16, number % 16 * 16) })) {
            Ok(made) => acknowledged.push(text(&made["Subnet"]["SubnetId"])),
            Err(crate::aws::Failed::Refused(code, message)) => {
                refused = Some((code, message));
                break;
            }
            Err(crate::aws::Failed::Silence) => panic!("nobody answers: {}", region.logged()),
        }
    }
    let large = aws.s3("PUT", "/small-bucket/large", "", &vec![b'y'; 8 << 20]).unwrap();
    assert!(large.status >= 500, "{}: {}", large.status, large.text());
    if let Some((code, message)) = &refused {
        println!("refused after {} subnets: {code}: {message}", acknowledged.len());
        // Why, is in the log: it may tell of paths and devices.
        assert!(code == "InternalError" && message.contains("Request ID: "), "{code}: {message}");
        let id = message.rsplit(' ').next().unwrap();
        let log = region.logged();
        let line = log.lines().find(|line| line.contains(id) && line.contains("could not be stored"));
        assert!(line.is_some(), "{id} is not in the log: {log}");
    }
    // The audit log cannot be written either: requests go on, and what is missing is counted.
    let counted = |name: &str| {
        let page = Aws::page(region.host(), "GET", "/_postern/metrics").unwrap().text();
        let found = page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        found.unwrap_or_else(|| panic!("no {name}: {page}"))
    };
    let lost = || counted("postern_frontdoor_audit_records_lost_total");
    eventually("records are lost", 10, || {
        aws.ec2("DescribeVpcs", json!({}));
        (lost() > 0).then_some(())
    });
    // Everything can still be read.
    assert_eq!(aws.s3("GET", "/small-bucket/kept", "", b"").unwrap().body, b"kept");
    let subnets = |aws: &Aws| {
        aws.ec2("DescribeSubnets", json!({}))["Subnets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| text(&s["SubnetId"]))
            .collect::<Vec<_>>()
    };
    let there = subnets(&aws);
    assert_eq!(there.len(), acknowledged.len() + 1);
    assert!(acknowledged.iter().all(|subnet| there.contains(subnet)));
    assert_eq!(region.run(&["status"]).code, Some(0));

    std::fs::remove_file(&filler).unwrap();
    drop(file);
    // With room again it goes on, without being started anew.
    let made = aws.ec2("CreateSubnet", json!({ "VpcId": network.vpc, "CidrBlock": "10.0.200.0/24" }));
    acknowledged.push(text(&made["Subnet"]["SubnetId"]));
    assert_eq!(aws.s3("PUT", "/small-bucket/large", "", &vec![b'y'; 8 << 20]).unwrap().status, 200);
    let log = std::fs::read_to_string(disk.seen().join("audit.log")).unwrap();
    assert!(
        log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()),
        "half a line in the audit log"
    );
    let gaps =
        log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["recordsLost"].as_u64());
    assert_eq!(gaps.sum::<u64>(), lost(), "the log tells how many records are missing");
    assert!(region.logged().contains("audit records are lost"), "{}", region.logged());
    region.killed();
    let region = disk.up(world);
    let there = subnets(&region.aws());
    assert!(acknowledged.iter().all(|subnet| there.contains(subnet)), "{acknowledged:?} {there:?}");
    assert_eq!(region.aws().s3("GET", "/small-bucket/kept", "", b"").unwrap().body, b"kept");
    region.end_by(Signal::SIGTERM);
}
