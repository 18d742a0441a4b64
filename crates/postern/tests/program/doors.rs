//! Postern's doors from inside: who S3 takes a connection for, what instance metadata gives, and what a change of the
//! network does to connections that live.

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Region, Talk, World, eventually};
use crate::network::{Network, audit, becomes, role, text};

crate::both_ways!(equal_networks_are_told_apart, changes_reach_connections_that_live);
crate::one_way!(credentials_come_from_the_role, accounts_do_not_see_each_other);

/// A client that does what it is told: `connect PORT` (from that port of its own), `get AGENT TARGET`,
/// `begin TARGET` (and read a little of the answer), `rest` (of it).
const CLIENT: &str = r#"
import http.client, socket, ssl, sys
host = sys.argv[1]
context = ssl.create_default_context(cafile="/etc/postern/ca.pem")
held = response = None
read = 0
def ask(target, agent):
    held.sendall((
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\n"
        "X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\n"
        "Via: 1.1 vpce-0123456789abcdef0\r\nAws-SourceVpce: vpce-0123456789abcdef0\r\n"
        "Aws-SourceVpc: vpc-0123456789abcdef0\r\n\r\n").encode())
    answer = http.client.HTTPResponse(held, method="GET")
    answer.begin()
    return answer
for line in sys.stdin:
    verb, *words = line.split()
    try:
        if verb == "connect":
            plain = socket.create_connection((host, 443), timeout=3, source_address=("", int(words[0])))
            held = context.wrap_socket(plain, server_hostname=host)
            print("connected", *held.getsockname())
        elif verb == "get":
            answer = ask(words[1], words[0])
            print("status", answer.status, len(answer.read()))
        elif verb == "begin":
            response = ask(words[0], "begin")
            read = len(response.read(100_000))
            print("begun", response.status, response.length)
        elif verb == "rest":
            try:
                while part := response.read1(1 << 16):
                    read += len(part)
                print("broken" if response.length else "all", read, "end of stream")
            except OSError as error:
                print("broken", read, repr(error))
    except OSError as error:
        print("no:", repr(error))
    sys.stdout.flush()
"#;

fn s3_host(aws: &Aws) -> String {
    format!("s3.{}.amazonaws.com", aws.region)
}

fn client(region: &Region<'_>, aws: &Aws, instance: &str) -> Talk {
    region.talk(instance, &["/usr/bin/python3", "-u", "-c", CLIENT, &s3_host(aws)])
}

fn equal_networks_are_told_apart(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    assert_eq!(aws.s3("PUT", "/shared-bucket", "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/shared-bucket/key", "", b"content").unwrap().status, 200);
    let target = aws.presigned(&s3_host(&aws), "/shared-bucket/key");
    let sides: Vec<_> = (0..2)
        .map(|_| {
            let network = Network::new(&aws);
            let instance = network.launch(&aws, json!({ "PrivateIpAddress": "10.0.1.10" }));
            let endpoint = network.s3_endpoint(&aws);
            (network, instance, endpoint)
        })
        .collect();
    let mut clients: Vec<Talk> = sides
        .iter()
        .map(|(_, instance, _)| {
            becomes(&aws, instance, "running");
            client(&region, &aws, instance)
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.ask("connect 40000"), "connected 10.0.1.10 40000");
    }
    // In turns, on connections that stay open.
    for round in 0..3 {
        for (side, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.ask(&format!("get agent-{side}-{round} {target}")), "status 200 7");
        }
    }
    // And the ways of the others, from outside.
    assert_eq!(aws.s3("GET", "/shared-bucket/key", "", b"").unwrap().status, 200);
    drop(clients);
    let records = eventually("all is recorded", 10, || {
        let records = audit(&region);
        let count = |r: &&Value| r["eventName"] == "GetObject";
        (records.iter().filter(count).count() == 7).then_some(records)
    });
    for (side, (network, _, endpoint)) in sides.iter().enumerate() {
        let of_side: Vec<_> = records
            .iter()
            .filter(|record| {
                record["userAgent"].as_str().unwrap_or_default().starts_with(&format!("agent-{side}-"))
            })
            .collect();
        assert_eq!(of_side.len(), 3);
        for record in of_side {
            assert_eq!(record["vpcEndpointId"], *endpoint, "{record}");
            assert_eq!(record["vpcId"], network.vpc, "{record}");
            assert_eq!(record["sourceIPAddress"], "10.0.1.10", "{record}");
        }
    }
    let outside = records
        .iter()
        .rfind(|record| record["eventName"] == "GetObject" && record.get("userAgent").is_none());
    let outside = outside.expect("the request from outside");
    assert!(outside.get("vpcEndpointId").is_none() && outside.get("vpcId").is_none(), "{outside}");
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn changes_reach_connections_that_live(world: &World) {
    const SIZE: usize = 48 << 20;
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let instance = network.launch(&aws, json!({}));
    let endpoint = network.s3_endpoint(&aws);
    assert_eq!(aws.s3("PUT", "/large-bucket", "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/large-bucket/large", "", &vec![b'x'; SIZE]).unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/large-bucket/small", "", b"small").unwrap().status, 200);
    let large = aws.presigned(&s3_host(&aws), "/large-bucket/large");
    let small = aws.presigned(&s3_host(&aws), "/large-bucket/small");
    becomes(&aws, &instance, "running");

    // A security group's change lets tracked connections live and stops new ones.
    let mut tracked = client(&region, &aws, &instance);
    assert!(tracked.ask("connect 0").starts_with("connected"));
    assert_eq!(tracked.ask(&format!("get a {small}")), "status 200 5");
    let all = json!({ "GroupId": network.group, "IpPermissions": [{ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }] });
    aws.ec2("RevokeSecurityGroupEgress", all.clone());
    assert_eq!(tracked.ask(&format!("get b {small}")), "status 200 5");
    let mut new = client(&region, &aws, &instance);
    let answer = new.ask("connect 0");
    assert!(answer.starts_with("no:") && answer.contains("timed out"), "{answer}");
    aws.ec2("AuthorizeSecurityGroupEgress", all);
    assert!(new.ask("connect 0").starts_with("connected"));
    assert_eq!(tracked.ask(&format!("get c {small}")), "status 200 5");

    // Deleting the endpoint cuts a download in the middle.
    assert_eq!(new.ask(&format!("begin {large}")), format!("begun 200 {}", SIZE - 100_000));
    let gone = aws.ec2("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
    assert_eq!(gone["Unsuccessful"].as_array().map_or(0, Vec::len), 0, "{gone}");
    let rest = new.ask("rest");
    let read: usize = rest.split_whitespace().nth(1).unwrap().parse().unwrap();
    println!("{rest}");
    assert!(rest.starts_with("broken") && read < SIZE / 2, "{rest}");
    let answer = tracked.ask(&format!("get d {small}"));
    assert!(answer.starts_with("no:"), "{answer}");
    let answer = new.ask("connect 0");
    assert!(answer.starts_with("no:") && answer.contains("timed out"), "{answer}");

    // With another endpoint it works at once.
    network.s3_endpoint(&aws);
    assert!(new.ask("connect 0").starts_with("connected"));
    assert_eq!(new.ask(&format!("get e {small}")), "status 200 5");
    drop((new, tracked));
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

/// Asks instance metadata, with or without a token.
const METADATA: &str = r#"
import sys, urllib.error, urllib.request
base = "http://169.254.169.254/latest/"
def ask(path, method="GET", headers={}):
    try:
        with urllib.request.urlopen(urllib.request.Request(base + path, method=method, headers=headers), timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
print(ask("meta-data/instance-id")[0])
print(ask("meta-data/instance-id", headers={"X-aws-ec2-metadata-token": "made-up"})[0])
print(ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60", "X-Forwarded-For": "10.0.0.1"})[0])
token = {"X-aws-ec2-metadata-token": ask("api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})[1]}
for path in sys.argv[1:]:
    print(*ask(path, headers=token))
"#;

fn credentials_come_from_the_role(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let object = "arn:aws:s3:::role-bucket/key";
    let may = |actions: &[&str]| json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }] });
    role(&aws, "reader", &may(&["s3:ListAllMyBuckets"]));
    let instance = network.launch(&aws, json!({ "IamInstanceProfile": { "Name": "reader" } }));
    let nobody = network.launch(&aws, json!({}));
    network.s3_endpoint(&aws);
    assert_eq!(aws.s3("PUT", "/role-bucket", "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/role-bucket/key", "", b"content").unwrap().status, 200);
    becomes(&aws, &instance, "running");
    becomes(&aws, &nobody, "running");

    let paths = [
        "meta-data/instance-id",
        "meta-data/iam/security-credentials/",
        "meta-data/placement/region",
        "meta-data/nothing",
    ];
    let metadata = |instance: &str| {
        let ran = region.exec(instance, &[&["/usr/bin/python3", "-c", METADATA], &paths[..]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let of_instance = format!("200 {instance}");
    assert_eq!(
        metadata(&instance),
        ["401", "401", "403", &of_instance, "200 reader", "200 us-east-1", "404 "]
    );
    let of_nobody = format!("200 {nobody}");
    assert_eq!(metadata(&nobody), ["401", "401", "403", &of_nobody, "404 ", "200 us-east-1", "404 "]);

    let with_aws = |arguments: &str| {
        let line =
            format!("AWS_MAX_ATTEMPTS=1 aws --cli-connect-timeout 3 --cli-read-timeout 10 {arguments}");
        region.exec(&instance, &["sh", "-c", &line])
    };
    let listed = with_aws("s3api list-buckets --query Buckets[].Name --output text");
    assert_eq!(listed.stdout, "role-bucket\n", "{listed:?}");
    let get = "s3api get-object --bucket role-bucket --key key /tmp/got";
    let account = text(&aws.call("sts", "GetCallerIdentity", json!({}))["Account"]);
    let sentence = format!(
        "User: arn:aws:sts::{account}:assumed-role/reader/{instance} is not authorized to perform: s3:GetObject on \
         resource: \"{object}\" because no identity-based policy allows the s3:GetObject action"
    );
    let refused = || {
        let ran = with_aws(get);
        assert!(ran.failure().contains("(AccessDenied)") && ran.stderr.contains(&sentence), "{}", ran.stderr);
    };
    refused();
    let policy = |name: &str, document: Value| json!({ "RoleName": "reader", "PolicyName": name, "PolicyDocument": document.to_string() });
    aws.call("iam", "PutRolePolicy", policy("more", may(&["s3:GetObject"])));
    let ran = with_aws(get);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    aws.call("iam", "DeleteRolePolicy", json!({ "RoleName": "reader", "PolicyName": "more" }));
    refused();
    let ran = region.exec(&nobody, &["sh", "-c", "AWS_MAX_ATTEMPTS=1 aws s3 ls"]);
    assert!(ran.failure().contains("Unable to locate credentials"), "{}", ran.stderr);
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn accounts_do_not_see_each_other(world: &World) {
    let region = world.up(&["--dev"]);
    let one = region.aws();
    let made = region.json(&["account", "create", "other", "--id", "222222222222"]);
    assert_eq!(made["account"], "222222222222");
    let mut other = one.clone();
    other.key = text(&made["access_key_id"]);
    other.secret = text(&made["secret_access_key"]);
    let again = region.run(&["account", "create", "other", "--id", "222222222222"]);
    assert!(again.failure().contains("222222222222"), "{again:?}");

    let network = Network::new(&one);
    let instance = network.launch(&one, json!({}));
    network.s3_endpoint(&one);
    role(
        &one,
        "mine",
        &json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Deny", "Action": "*", "Resource": "*" }] }),
    );
    assert_eq!(one.s3("PUT", "/bucket-of-one", "", b"").unwrap().status, 200);
    assert_eq!(one.s3("PUT", "/bucket-of-one/key", "", b"content").unwrap().status, 200);

    for (operation, list) in [
        ("DescribeVpcs", "Vpcs"),
        ("DescribeSubnets", "Subnets"),
        ("DescribeRouteTables", "RouteTables"),
        ("DescribeSecurityGroups", "SecurityGroups"),
        ("DescribeVpcEndpoints", "VpcEndpoints"),
        ("DescribeInstances", "Reservations"),
        ("DescribeNetworkInterfaces", "NetworkInterfaces"),
        ("DescribeTags", "Tags"),
    ] {
        assert_eq!(other.ec2(operation, json!({}))[list], json!([]), "{operation}");
        assert!(
            operation == "DescribeTags" || one.ec2(operation, json!({}))[list] != json!([]),
            "{operation}"
        );
    }
    assert_eq!(other.call("iam", "ListRoles", json!({}))["Roles"], json!([]));
    let (code, message) = other.refused("ec2", "DescribeVpcs", json!({ "VpcIds": [network.vpc] }));
    assert_eq!((code.as_str(), message.contains(&network.vpc)), ("InvalidVpcID.NotFound", true));
    assert_eq!(other.refused("ec2", "DeleteVpc", json!({ "VpcId": network.vpc })).0, "InvalidVpcID.NotFound");
    let ids = json!({ "InstanceIds": [instance] });
    assert_eq!(other.refused("ec2", "TerminateInstances", ids).0, "InvalidInstanceID.NotFound");
    let subnet = json!({ "VpcId": network.vpc, "CidrBlock": "10.0.9.0/24" });
    assert_eq!(other.refused("ec2", "CreateSubnet", subnet).0, "InvalidVpcID.NotFound");

    assert!(!other.s3("GET", "/", "", b"").unwrap().text().contains("bucket-of-one"));
    for (method, path) in [
        ("GET", "/bucket-of-one"),
        ("GET", "/bucket-of-one/key"),
        ("PUT", "/bucket-of-one/key"),
        ("DELETE", "/bucket-of-one"),
    ] {
        let answer = other.s3(method, path, "", b"").unwrap();
        assert_eq!((answer.status, answer.refusal().0.as_str()), (403, "AccessDenied"), "{method} {path}");
    }
    // A name that somebody has is taken for all.
    assert_eq!(other.s3("PUT", "/bucket-of-one", "", b"").unwrap().refusal().0, "BucketAlreadyExists");
    let accounts = region.json(&["account", "list"]);
    assert_eq!(accounts.as_array().unwrap().len(), 2);
    becomes(&one, &instance, "running");
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}
