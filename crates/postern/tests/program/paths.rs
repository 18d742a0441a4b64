//! Where packets go: what `trace` says and what a real socket sees are the same; and somebody else's network is an
//! interface like any other.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Region, World};
use crate::network::{Network, becomes, private_address, text};

crate::one_way!(trace_agrees_with_reality);
crate::both_ways!(a_foreign_network_is_plugged_in);

/// A subnet of its own for one instance, with a network ACL that has these entries before it allows all.
fn behind_acl(aws: &Aws, network: &Network, cidr: &str, egress: bool, denied: &str) -> (Network, String) {
    let subnet = aws.ec2("CreateSubnet", json!({ "VpcId": network.vpc, "CidrBlock": cidr }));
    let subnet = text(&subnet["Subnet"]["SubnetId"]);
    let acl = aws.ec2("CreateNetworkAcl", json!({ "VpcId": network.vpc }));
    let acl = text(&acl["NetworkAcl"]["NetworkAclId"]);
    let entry = |number: u16, action: &str, egress: bool, cidr: &str| {
        json!({ "NetworkAclId": acl, "RuleNumber": number, "Protocol": "-1", "RuleAction": action,
                "Egress": egress, "CidrBlock": cidr })
    };
    aws.ec2("CreateNetworkAclEntry", entry(90, "deny", egress, denied));
    aws.ec2("CreateNetworkAclEntry", entry(100, "allow", false, "0.0.0.0/0"));
    aws.ec2("CreateNetworkAclEntry", entry(100, "allow", true, "0.0.0.0/0"));
    let of_subnet = json!({ "Filters": [{ "Name": "association.subnet-id", "Values": [subnet] }] });
    let found = aws.ec2("DescribeNetworkAcls", of_subnet);
    let associations = found["NetworkAcls"][0]["Associations"].as_array().unwrap();
    let association = associations.iter().find(|association| association["SubnetId"] == subnet).unwrap();
    let replace = json!({ "AssociationId": association["NetworkAclAssociationId"], "NetworkAclId": acl });
    aws.ec2("ReplaceNetworkAclAssociation", replace);
    let behind = Network {
        vpc: network.vpc.clone(),
        subnet,
        table: network.table.clone(),
        group: network.group.clone(),
    };
    (behind, acl)
}

/// What a trace says: whether packets arrive, and by whom they are refused.
struct Case {
    name: &'static str,
    to: String,
    protocol: &'static str,
    arrives: bool,
    /// Stage and resource of the refusal.
    refused: Option<(&'static str, String)>,
}

fn try_case(region: &Region<'_>, from: &str, case: &Case) {
    let trace = region.run(&[
        "--output",
        "json",
        "trace",
        "--probe",
        "--from",
        from,
        "--to",
        &case.to,
        "--protocol",
        case.protocol,
    ]);
    let said: Value = serde_json::from_str(&trace.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {trace:?}", case.name));
    let text = said["text"].as_str().unwrap_or_default();
    assert_eq!(said["arrives"], case.arrives, "{}: {text}", case.name);
    assert_eq!(said["probe"]["agrees"], true, "{}: {text}", case.name);
    assert_eq!(said["probe"]["answered"], case.arrives, "{}: {text}", case.name);
    assert_eq!(trace.code, Some(0), "{}: {text}", case.name);
    let stages = said["stages"].as_array().expect("stages");
    for stage in stages {
        assert!(
            stage["passed"].is_boolean() && stage["stage"].is_string() && stage["why"].is_string(),
            "{stage}"
        );
        for field in ["resource", "rule", "remedy"] {
            assert!(stage[field].is_string() || stage[field].is_null(), "{}: {field} of {stage}", case.name);
        }
    }
    let refusal = stages.iter().find(|stage| stage["passed"] == false);
    match (&case.refused, refusal) {
        (Some((stage, resource)), Some(found)) => {
            assert_eq!(found["stage"], *stage, "{}: {text}", case.name);
            assert_eq!(found["resource"], *resource, "{}: {text}", case.name);
            // The text for people names it as well.
            assert!(text.contains(resource.as_str()), "{}: {text}", case.name);
        }
        (None, None) => {}
        (expected, found) => panic!("{}: expected {expected:?}, found {found:?}: {text}", case.name),
    }
}

fn trace_agrees_with_reality(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let closed = aws.ec2(
        "CreateSecurityGroup",
        json!({ "GroupName": "closed", "Description": "d", "VpcId": network.vpc }),
    );
    let closed = text(&closed["GroupId"]);
    let (no_entry, acl_in) = behind_acl(&aws, &network, "10.0.2.0/24", false, "10.0.1.0/24");
    let (no_way_back, acl_out) = behind_acl(&aws, &network, "10.0.3.0/24", true, "10.0.1.0/24");
    let source = network.launch(&aws, json!({}));
    let peer = network.launch(&aws, json!({}));
    let shut = network.launch(&aws, json!({ "SecurityGroupIds": [closed] }));
    let walled = no_entry.launch(&aws, json!({}));
    let mute = no_way_back.launch(&aws, json!({}));
    let stopped = network.run(&aws, json!({}));
    aws.ec2("StopInstances", json!({ "InstanceIds": [stopped] }));
    for instance in [&source, &peer, &shut, &walled, &mute] {
        becomes(&aws, instance, "running");
    }
    becomes(&aws, &stopped, "stopped");

    let at = |instance: &str, port: &str| format!("{}{port}", private_address(&aws, instance));
    let s3 = format!("s3.{}.amazonaws.com:443", aws.region);
    let interface = |instance: &str| {
        text(&crate::network::describe(&aws, instance)["NetworkInterfaces"][0]["NetworkInterfaceId"])
    };
    let case = |name, to: String, protocol, refused: Option<(&'static str, String)>| Case {
        name,
        to,
        protocol,
        arrives: refused.is_none(),
        refused,
    };
    let cases = [
        case("no route", s3.clone(), "tcp", Some(("route", network.table.clone()))),
        case("peer", at(&peer, ":8080"), "tcp", None),
        case("peer, UDP", at(&peer, ":8080"), "udp", None),
        case("peer, echo", at(&peer, ""), "icmp", None),
        case("security group", at(&shut, ":22"), "tcp", Some(("ingress security group", closed.clone()))),
        case("security group, echo", at(&shut, ""), "icmp", Some(("ingress security group", closed.clone()))),
        case("ACL inward", at(&walled, ":22"), "tcp", Some(("ingress network ACL", acl_in))),
        case("ACL on the way back", at(&mute, ":22"), "tcp", Some(("return network ACL", acl_out))),
        case("stopped", at(&stopped, ":22"), "tcp", Some(("target", interface(&stopped)))),
        case("nobody", "10.0.1.200:22".to_owned(), "tcp", Some(("target", network.vpc.clone()))),
        case("resolver", "10.0.0.2:53".to_owned(), "udp", None),
    ];
    std::thread::scope(|scope| {
        for case in &cases {
            let (region, source) = (&region, &source);
            scope.spawn(move || try_case(region, source, case));
        }
    });
    let endpoint = network.s3_endpoint(&aws);
    try_case(&region, &interface(&source), &case("endpoint", s3.clone(), "tcp", None));
    let trace = region.json(&["trace", "--from", &source, "--to", &s3]);
    let stages = trace["stages"].as_array().unwrap();
    assert!(stages.iter().any(|stage| stage["resource"] == endpoint), "{trace}");
    assert!(trace.get("probe").is_none(), "it was not asked to try: {trace}");

    aws.ec2("ModifyVpcAttribute", json!({ "VpcId": network.vpc, "EnableDnsSupport": { "Value": false } }));
    let trace = region.json(&["trace", "--from", &source, "--to", &s3]);
    assert_eq!((&trace["arrives"], &trace["stages"][0]["stage"]), (&json!(false), &json!("name")), "{trace}");

    for (arguments, word) in [
        (["--from", "i-0123456789abcdef0", "--to", "10.0.1.1:22"], "`i-0123456789abcdef0`"),
        (["--from", "nonsense", "--to", "10.0.1.1:22"], "`nonsense`"),
        (["--from", &source, "--to", "10.0.1.1"], "`10.0.1.1`"),
        (["--from", &source, "--to", "10.0.1.1:99999"], "`99999`"),
    ] {
        let ran = region.run(&[&["trace"], &arguments[..]].concat());
        assert!(ran.failure().contains(word), "{arguments:?}: {ran:?}");
    }
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

/// Listens on port 7 and gives back what comes.
const ECHO: &str = r#"
import socket
server = socket.create_server(("0.0.0.0", 7))
print("listening", flush=True)
while True:
    there, _ = server.accept()
    there.sendall(there.recv(100))
    there.close()
"#;

/// A container, reduced to its network: a process in a network namespace that the region may change. An ordinary
/// user's region may change those that belong to its own user namespace.
pub fn container(world: &World, region: &Region<'_>, script: &str) -> Command {
    match world.way {
        crate::harness::Way::Root => {
            let mut command = world.command(Path::new("/usr/bin/unshare"));
            command.args(["--net", "/usr/bin/python3", "-c", script]);
            command
        }
        crate::harness::Way::User => {
            let mut command = world.command(Path::new("/usr/bin/nsenter"));
            command.args(["--target", &region.pid().to_string(), "--user", "--preserve-credentials"]);
            command.args(["/usr/bin/unshare", "--net", "/usr/bin/python3", "-c", script]);
            command
        }
    }
}

fn a_foreign_network_is_plugged_in(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let instance = network.launch(&aws, json!({}));
    let mut child = container(world, &region, ECHO).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "listening\n");
    let netns = format!("/proc/{}/ns/net", child.id());
    becomes(&aws, &instance, "running");
    let interfaces =
        || aws.ec2("DescribeNetworkInterfaces", json!({}))["NetworkInterfaces"].as_array().unwrap().len();
    let before = interfaces();

    // What is none is refused, and leaves no interface in the model.
    let group = network.group.as_str();
    for (path, subnet, group, word) in [
        ("/etc/hostname", network.subnet.as_str(), group, "/etc/hostname"),
        ("/no/such/file", &network.subnet, group, "`/no/such/file`"),
        ("/proc/self/ns/mnt", &network.subnet, group, "`/proc/self/ns/mnt`"),
        ("/dev/null", &network.subnet, group, "`/dev/null`"),
        (&netns, "subnet-0123456789abcdef0", group, "`subnet-0123456789abcdef0`"),
        (&netns, "nonsense", group, "nonsense"),
        (&netns, &network.subnet, "sg-0123456789abcdef0", "sg-0123456789abcdef0"),
    ] {
        let ran = region.run(&["attach", "--netns", path, "--subnet", subnet, "--group", group]);
        println!("{path} {subnet} {group}: {}", ran.stderr);
        assert!(!ran.failure().is_empty() && !ran.stderr.contains("panicked"), "{path} {subnet}: {ran:?}");
        assert!(ran.stderr.contains(word), "{path} {subnet} {group}: {ran:?}");
        assert_eq!(interfaces(), before, "{path} {subnet} {group}: {ran:?}");
    }

    let attached = region.json(&["attach", "--netns", &netns, "--subnet", &network.subnet, "--group", group]);
    let (interface, address) = (text(&attached["interface"]), text(&attached["address"]));
    assert_eq!(interfaces(), before + 1);
    let described = aws.ec2("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [interface] }));
    assert_eq!(described["NetworkInterfaces"][0]["Status"], "in-use");
    let script = format!(
        "import socket; s = socket.create_connection(('{address}', 7), 5); s.sendall(b'through'); print(s.recv(100))"
    );
    assert_eq!(region.exec(&instance, &["/usr/bin/python3", "-c", &script]).stdout, "b'through'\n");
    // The other way round, by a trace that tries it from there.
    let peer = private_address(&aws, &instance);
    let trace = region.json(&["trace", "--probe", "--from", &interface, "--to", &format!("{peer}:9")]);
    assert_eq!((&trace["arrives"], &trace["probe"]["agrees"]), (&json!(true), &json!(true)), "{trace}");
    let twice = region.run(&["attach", "--netns", &netns, "--subnet", &network.subnet]);
    assert!(twice.failure().contains("ens5"), "a name that is taken inside: {twice:?}");
    assert_eq!(interfaces(), before + 1);

    child.kill().unwrap();
    child.wait().unwrap();
    // The region goes on without it, and after a restart nothing stands for it.
    assert_eq!(region.sh(&instance, "echo on"), "on\n");
    region.down();
    let region = world.up(&[]);
    let aws = region.aws();
    let left = aws.ec2("DescribeNetworkInterfaces", json!({}));
    let left = left["NetworkInterfaces"].as_array().unwrap();
    assert!(
        left.iter().all(|x| x["NetworkInterfaceId"] != interface),
        "what it was plugged into is gone: {left:?}"
    );
    region.down();
}
