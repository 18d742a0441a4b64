//! What was acknowledged stays: across kills at any moment, restarts, backups.
//!
//! `POSTERN_KILLS` says how many times to kill (8 if it is not set), `POSTERN_SEED` with which delays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::aws::{Aws, Failed};
use crate::harness::{Ran, World, eventually};
use crate::network::{Network, role, text};

crate::both_ways!(a_restart_serves_the_same);
crate::one_way!(kills_lose_nothing_acknowledged, a_backup_is_the_region);

/// The content of a key that was last acknowledged, and the one that was being written.
type Written = (Option<Vec<u8>>, Option<Vec<u8>>);

/// What a writer did: acknowledged, or begun and never answered.
#[derive(Default)]
struct Done {
    subnets: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
    /// By key.
    objects: BTreeMap<String, Written>,
    buckets: BTreeSet<String>,
    /// The port of the rules that was last acknowledged, and the one that was being set.
    ports: (i64, i64),
    calls: usize,
}

/// A writer's part of the network: a VPC, and a group with two rules that always change together.
struct Part {
    vpc: String,
    group: String,
    rules: Vec<String>,
}

impl Part {
    fn new(aws: &Aws, writer: usize) -> Self {
        let made = aws.ec2("CreateVpc", json!({ "CidrBlock": format!("10.{writer}.0.0/16") }));
        let vpc = text(&made["Vpc"]["VpcId"]);
        let pair = json!({ "VpcId": vpc, "GroupName": "pair", "Description": "rules that change together" });
        let group = text(&aws.ec2("CreateSecurityGroup", pair)["GroupId"]);
        let rule = |cidr: &str| json!({ "IpProtocol": "tcp", "FromPort": 0, "ToPort": 0, "IpRanges": [{ "CidrIp": cidr }] });
        let rules = json!({ "GroupId": group, "IpPermissions": CIDRS.map(rule) });
        let made = aws.ec2("AuthorizeSecurityGroupIngress", rules);
        let rules = made["SecurityGroupRules"].as_array().unwrap().iter();
        let rules = rules.map(|rule| text(&rule["SecurityGroupRuleId"])).collect();
        Self { vpc, group, rules }
    }

    /// The request that gives both rules another port.
    fn change(&self, port: i64) -> Value {
        let updates = self.rules.iter().zip(CIDRS).map(|(rule, cidr)| {
            let new = json!({ "IpProtocol": "tcp", "FromPort": port, "ToPort": port, "CidrIpv4": cidr });
            json!({ "SecurityGroupRuleId": rule, "SecurityGroupRule": new })
        });
        json!({ "GroupId": self.group, "SecurityGroupRules": updates.collect::<Vec<_>>() })
    }

    /// The ports of the rules as they are.
    fn ports(&self, aws: &Aws) -> Vec<i64> {
        let found = aws.ec2("DescribeSecurityGroupRules", json!({ "SecurityGroupRuleIds": self.rules }));
        let rules = found["SecurityGroupRules"].as_array().unwrap().iter();
        rules.map(|rule| rule["FromPort"].as_i64().unwrap()).collect()
    }
}

const CIDRS: [&str; 2] = ["10.0.0.0/8", "192.0.2.0/24"];

const WRITERS: usize = 4;

/// Writes until the region is gone. Each writer has a part of the network, and keys, of its own.
fn write(aws: &Aws, part: &Part, writer: usize, round: usize, done: &mut Done, stop: &AtomicBool) {
    for step in 0..usize::MAX {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if one_step(aws, part, writer, round, step, done).is_none() {
            return;
        }
        done.calls += 1;
    }
}

/// None if nobody answered.
fn one_step(aws: &Aws, part: &Part, writer: usize, round: usize, step: usize, done: &mut Done) -> Option<()> {
    let accepted = |answer: Result<Value, Failed>| match answer {
        Ok(value) => Some(Some(value)),
        // A quota, or no room left in the VPC: an answer too.
        Err(Failed::Refused(_, _)) => Some(None),
        Err(Failed::Silence) => None,
    };
    let number = round * 16 + step;
    let cidr = format!("10.{}.{}.{}/28", writer, (number / 16) % 256, (number % 16) * 16);
    let name = format!("w{writer}-{number}");
    let tags = json!([{ "ResourceType": "subnet", "Tags": [{ "Key": "Name", "Value": name }] }]);
    let created = aws.try_call(
        "ec2",
        "CreateSubnet",
        &json!({ "VpcId": part.vpc, "CidrBlock": cidr, "TagSpecifications": tags }),
    );
    if let Some(created) = accepted(created)? {
        let subnet = text(&created["Subnet"]["SubnetId"]);
        done.subnets.insert(subnet.clone(), name);
        let more = format!("{round}-{step}");
        let tag = json!({ "Resources": [subnet], "Tags": [{ "Key": "Name", "Value": more }] });
        // In between it may be called either.
        done.subnets.remove(&subnet);
        let tagged = accepted(aws.try_call("ec2", "CreateTags", &tag))?;
        if tagged.is_some() {
            done.subnets.insert(subnet.clone(), more);
        }
        if step % 3 == 2 {
            done.subnets.remove(&subnet);
            accepted(aws.try_call("ec2", "DeleteSubnet", &json!({ "SubnetId": subnet })))?;
            done.deleted.insert(subnet);
        }
    }
    let port = done.ports.0 % 60_000 + 1;
    done.ports.1 = port;
    if accepted(aws.try_call("ec2", "ModifySecurityGroupRules", &part.change(port)))?.is_some() {
        done.ports.0 = port;
    }
    if step.is_multiple_of(4) {
        let bucket = format!("w{writer}-{round}-{step}");
        if aws.s3("PUT", &format!("/{bucket}"), "", b"")?.status == 200 {
            done.buckets.insert(bucket);
        }
    }
    // The same keys again and again: the old content or the new one, and nothing in between.
    let key = format!("w{writer}-{}", step % 5);
    let length = if step.is_multiple_of(2) { 500 } else { 700_000 };
    let content: Vec<u8> = format!("{round}-{step}-").into_bytes().into_iter().cycle().take(length).collect();
    done.objects.entry(key.clone()).or_default().1 = Some(content.clone());
    if aws.s3("PUT", &format!("/kept-bucket/{key}"), "", &content)?.status == 200 {
        done.objects.insert(key, (Some(content), None));
    }
    Some(())
}

fn check(aws: &Aws, part: &Part, done: &mut Done) {
    let ports = part.ports(aws);
    let whole = [done.ports.0, done.ports.1].iter().any(|port| ports == [*port, *port]);
    assert!(whole, "two rules that one request changes have {ports:?}, of {:?}", done.ports);
    done.ports = (ports[0], ports[0]);
    let subnets = aws.ec2("DescribeSubnets", json!({}));
    let found: BTreeMap<String, String> = subnets["Subnets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|subnet| {
            (text(&subnet["SubnetId"]), subnet["Tags"][0]["Value"].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    for (subnet, name) in &done.subnets {
        assert_eq!(found.get(subnet), Some(name), "an acknowledged subnet");
    }
    for subnet in &done.deleted {
        assert!(!found.contains_key(subnet), "{subnet} was deleted");
    }
    let listed = aws.s3("GET", "/", "", b"").unwrap().text();
    for bucket in &done.buckets {
        assert!(listed.contains(&format!("<Name>{bucket}</Name>")), "{bucket} was made");
    }
    for (key, (acknowledged, begun)) in &mut done.objects {
        let answer = aws.s3("GET", &format!("/kept-bucket/{key}"), "", b"").unwrap();
        let there = (answer.status == 200).then_some(answer.body);
        assert!(
            there == *acknowledged || (begun.is_some() && there == *begun),
            "{key} is neither as acknowledged nor as was being written: {:?}",
            there.map(|body| (body.len(), String::from_utf8_lossy(&body[..20]).into_owned()))
        );
        // From here on what is there counts, acknowledged or not.
        (*acknowledged, *begun) = (there, None);
    }
}

fn kills_lose_nothing_acknowledged(world: &World) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let kills = number("POSTERN_KILLS").unwrap_or(8);
    let mut random = number("POSTERN_SEED").unwrap_or_else(|| crate::aws::now_milliseconds().cast_unsigned());
    println!("POSTERN_SEED={random}");
    let mut dones: Vec<Done> = (0..WRITERS).map(|_| Done::default()).collect();
    let mut region = world.up(&[]);
    let aws = region.aws();
    let parts: Vec<Part> = (0..WRITERS).map(|writer| Part::new(&aws, writer)).collect();
    assert_eq!(aws.s3("PUT", "/kept-bucket", "", b"").unwrap().status, 200);
    let environment = region.json(&["env"]);
    for round in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let delay = Duration::from_millis(20 + (random >> 33) % 600);
        let aws = region.aws();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for ((writer, done), part) in dones.iter_mut().enumerate().zip(&parts) {
                let (aws, stop) = (&aws, &stop);
                scope.spawn(move || write(aws, part, writer, usize::try_from(round).unwrap(), done, stop));
            }
            std::thread::sleep(delay);
            region.look();
            region.kill();
            stop.store(true, Ordering::Relaxed);
        });
        region.killed();
        region = world.up(&[]);
        let aws = region.aws();
        dones.iter_mut().zip(&parts).for_each(|(done, part)| check(&aws, part, done));
    }
    // Keys and the certificate authority are the same as in the beginning.
    let now = region.json(&["env"]);
    assert_eq!(now["AWS_SECRET_ACCESS_KEY"], environment["AWS_SECRET_ACCESS_KEY"]);
    let calls: usize = dones.iter().map(|done| done.calls).sum();
    println!("{calls} steps were acknowledged");
    assert!(calls as u64 > 2 * kills, "the writers got hardly anything done: {calls}");
    // Every line of the audit log but one that a kill cut is whole.
    let log = std::fs::read_to_string(region.state.join("audit.log")).unwrap();
    let broken = log.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
    assert!(broken as u64 <= kills, "{broken} lines of the audit log are broken");
    region.down();
}

/// Answers that say all of what a region holds.
fn everything(aws: &Aws) -> Vec<(&'static str, Value)> {
    [
        ("ec2", "DescribeVpcs"),
        ("ec2", "DescribeSubnets"),
        ("ec2", "DescribeRouteTables"),
        ("ec2", "DescribeSecurityGroups"),
        ("ec2", "DescribeNetworkAcls"),
        ("ec2", "DescribeNetworkInterfaces"),
        ("ec2", "DescribeVpcEndpoints"),
        ("ec2", "DescribeInstances"),
        ("ec2", "DescribeInternetGateways"),
        ("ec2", "DescribeAddresses"),
        ("ec2", "DescribeTags"),
        ("ec2", "DescribePrefixLists"),
        ("ec2", "DescribeDhcpOptions"),
        ("iam", "ListRoles"),
        ("iam", "ListInstanceProfiles"),
        ("sts", "GetCallerIdentity"),
    ]
    .map(|(service, operation)| (operation, aws.call(service, operation, json!({}))))
    .into()
}

/// A region with something of everything; an instance that runs, and its endpoint.
fn furnish(aws: &Aws) -> (String, String) {
    let network = Network::new(aws);
    let may = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }] });
    role(aws, "kept", &may);
    let instance = network.run(aws, json!({ "IamInstanceProfile": { "Name": "kept" } }));
    let endpoint = network.s3_endpoint(aws);
    let gateway = aws.ec2("CreateInternetGateway", json!({}));
    let gateway = text(&gateway["InternetGateway"]["InternetGatewayId"]);
    aws.ec2("AttachInternetGateway", json!({ "InternetGatewayId": gateway, "VpcId": network.vpc }));
    aws.ec2("AllocateAddress", json!({ "Domain": "vpc" }));
    aws.ec2(
        "CreateTags",
        json!({ "Resources": [network.vpc, endpoint], "Tags": [{ "Key": "Name", "Value": "kept" }] }),
    );
    (instance, endpoint)
}

/// Whether the instance's way to S3 is there, with its credentials.
const LIST: &str = "AWS_MAX_ATTEMPTS=1 aws --cli-connect-timeout 3 --cli-read-timeout 10 s3api list-buckets \
                    --query Buckets[].Name --output text";

fn a_restart_serves_the_same(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let (instance, endpoint) = furnish(&aws);
    assert_eq!(aws.s3("PUT", "/bucket-that-stays", "", b"").unwrap().status, 200);
    assert_eq!(region.sh(&instance, LIST), "bucket-that-stays\n");
    let before = everything(&aws);
    let ca = std::fs::read_to_string(region.state.join("ca.pem")).unwrap();
    region.down();

    let region = world.up(&[]);
    let aws = region.aws();
    assert_eq!(everything(&aws), before);
    assert_eq!(std::fs::read_to_string(region.state.join("ca.pem")).unwrap(), ca);
    eventually("the instance is there", 15, || {
        (region.exec(&instance, &["true"]).code == Some(0)).then_some(())
    });
    assert_eq!(region.sh(&instance, LIST), "bucket-that-stays\n");
    let records = crate::network::audit(&region);
    let through = records
        .iter()
        .filter(|record| record["eventName"] == "ListBuckets" && record["vpcEndpointId"] == endpoint);
    assert_eq!(through.count(), 2);
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn a_backup_is_the_region(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let (instance, _) = furnish(&aws);
    let file = world.home().join("backup");
    let path = file.to_str().unwrap();
    let before = everything(&aws);
    let ran = region.run(&["backup", path]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // What comes later is not in it.
    aws.ec2("CreateVpc", json!({ "CidrBlock": "172.16.0.0/16" }));
    let again = region.run(&["backup", path]);
    assert!(again.failure().contains(path), "a file is not overwritten: {again:?}");
    let ran = region.run(&["backup", "/no/such/folder/file"]);
    assert!(ran.failure().contains("`/no/such/folder/file`"), "{ran:?}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "it holds keys");

    let restore =
        |state: &str, file: &str| Ran::of(world.postern(&world.state(state), &["restore", file]), b"");
    assert!(restore("state", path).failure().contains("in use"));
    let ran = restore("restored", path);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("us-east-1"), "{ran:?}");
    region.down();
    let said = restore("state", path);
    assert!(said.failure().contains("not empty"), "{said:?}");
    let said = restore("restored", path);
    assert!(said.failure().contains("not empty"), "{said:?}");

    let region = world.up_in("restored", &[]);
    let aws = region.aws();
    assert_eq!(everything(&aws), before);
    eventually("the instance is there", 15, || {
        (region.exec(&instance, &["true"]).code == Some(0)).then_some(())
    });
    region.down();

    let whole = std::fs::read(&file).unwrap();
    for (name, damaged) in
        [("cut", whole[..whole.len() / 2].to_vec()), ("other", b"something else\n".to_vec())]
    {
        let broken = world.home().join(name);
        std::fs::write(&broken, damaged).unwrap();
        world.hand_over(&broken);
        let said = restore("from-broken", broken.to_str().unwrap());
        assert!(said.failure().contains("backup"), "{said:?}");
    }
    assert_eq!(restore("from-broken", path).code, Some(0), "what failed leaves nothing in the way");
}
