//! Load balancers: their health checks go out by their own interfaces, and say what targets really do.

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{Talk, World, eventually};
use crate::network::{Network, private_address, text};

crate::both_ways!(
    checks_and_connections_come_from_the_load_balancer_and_pass_what_anybody_must,
    an_endpoint_leads_to_the_load_balancer_of_a_service_that_accepts_it
);

/// A web server that answers with the status that it was last told, and says whom it answered.
const SERVER: &str = r#"
import http.server, sys, threading
status = [200]
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(status[0])
        self.end_headers()
        seen.add((self.client_address[0], self.path, self.headers["User-Agent"]))
    def log_message(self, *_):
        pass
seen = set()
server = http.server.ThreadingHTTPServer(("", 8080), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "seen":
        print(sorted(seen), flush=True)
    else:
        status[0] = int(line)
        print("told", flush=True)
"#;

/// Calls an operation of load balancers that must work.
pub fn elb(aws: &Aws, operation: &str, parameters: Value) -> Value {
    aws.call("elasticloadbalancing", operation, parameters)
}

/// State and reason of the one target of a group.
fn health(aws: &Aws, group: &str) -> Option<(String, String)> {
    let told = elb(aws, "DescribeTargetHealth", json!({ "TargetGroupArn": group }));
    let health = told["TargetHealthDescriptions"].get(0)?["TargetHealth"].clone();
    Some((text(&health["State"]), health["Reason"].as_str().unwrap_or_default().to_owned()))
}

/// Waits until the one target of a group is like this.
#[track_caller]
pub fn becomes(aws: &Aws, group: &str, state: &str, reason: &str) {
    let mut seen = None;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(40);
    while std::time::Instant::now() < deadline {
        seen = health(aws, group);
        if seen == Some((state.to_owned(), reason.to_owned())) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("the target is {seen:?}, not {state} {reason}");
}

/// A client that connects, says what it heard when it asked for a path, and how its held connection ended.
const CLIENT: &str = r#"
import http.client, socket, sys
held = None
for line in sys.stdin:
    verb, address, *rest = line.split()
    try:
        if verb == "get":
            host, _, port = address.partition(":")
            asked = http.client.HTTPConnection(host, int(port or 80), timeout=5)
            asked.request("GET", rest[0], headers={"User-Agent": "me"})
            print(asked.getresponse().status, flush=True)
        elif verb == "hold":
            held = socket.create_connection((address, 80), timeout=5)
            print("held", flush=True)
        elif verb == "end":
            held.settimeout(10)
            held.sendall(b"G")
            print("closed" if held.recv(1) == b"" else "data", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"#;

fn checks_and_connections_come_from_the_load_balancer_and_pass_what_anybody_must(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let instance = network.run(&aws, json!({}));
    let mut server = region.talk(&instance, &["/usr/bin/python3", "-u", "-c", SERVER]);
    assert_eq!(server.hear(), "ready");

    let new = json!({ "Name": "one", "Type": "network", "Scheme": "internal", "Subnets": [network.subnet] });
    let balancer = elb(&aws, "CreateLoadBalancer", new)["LoadBalancers"][0].clone();
    let arn = text(&balancer["LoadBalancerArn"]);
    let own = text(&balancer["AvailabilityZones"][0]["LoadBalancerAddresses"][0]["PrivateIPv4Address"]);
    let name = text(&balancer["DNSName"]);
    eventually("the load balancer is active", 15, || {
        let found = elb(&aws, "DescribeLoadBalancers", json!({ "LoadBalancerArns": [arn] }));
        (found["LoadBalancers"][0]["State"]["Code"] == "active").then_some(())
    });
    let group = json!({
        "Name": "web", "Protocol": "TCP", "Port": 8080, "VpcId": network.vpc, "HealthCheckProtocol": "HTTP",
        "HealthCheckPath": "/up", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2,
        "HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2,
    });
    let group = text(&elb(&aws, "CreateTargetGroup", group)["TargetGroups"][0]["TargetGroupArn"]);
    let targets = json!({ "TargetGroupArn": group, "Targets": [{ "Id": instance }] });
    elb(&aws, "RegisterTargets", targets.clone());
    becomes(&aws, &group, "unused", "Target.NotInUse");
    let own_address = json!([{ "Key": "preserve_client_ip.enabled", "Value": "false" }]);
    elb(&aws, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": group, "Attributes": own_address }));
    let forward = json!([{ "Type": "forward", "TargetGroupArn": group }]);
    elb(
        &aws,
        "CreateListener",
        json!({ "LoadBalancerArn": arn, "Protocol": "TCP", "Port": 80, "DefaultActions": forward }),
    );
    // The target's security group lets nobody in but its own members.
    becomes(&aws, &group, "unhealthy", "Target.Timeout");
    assert_eq!(server.ask("seen"), "[]");
    let rule = json!({ "GroupId": network.group, "IpPermissions": [{
        "IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "IpRanges": [{ "CidrIp": format!("{own}/32") }] }] });
    aws.ec2("AuthorizeSecurityGroupIngress", rule);
    becomes(&aws, &group, "healthy", "");
    assert_eq!(server.ask("seen"), format!("[('{own}', '/up', 'ELB-HealthChecker/2.0')]"));
    assert_ne!(own, private_address(&aws, &instance));
    // A client in the VPC that knows the load balancer by its name, or a zone's, is carried there, and the target sees the
    // load balancer.
    let other = network.run(&aws, json!({}));
    let mut client = region.talk(&other, &["/usr/bin/python3", "-u", "-c", CLIENT]);
    assert_eq!(client.ask(&format!("get {name} /hello")), "200");
    assert_eq!(client.ask(&format!("get us-east-1a.{name} /hello")), "200");
    assert_eq!(client.ask(&format!("get us-east-1c.{name} /hello")), "gaierror");
    let seen = server.ask("seen");
    assert!(seen.contains(&format!("('{own}', '/hello', 'me')")), "{seen}");
    keeps_the_clients_address(&aws, &network, (&arn, &instance), &mut client, (&own, &mut server));
    assert_eq!(client.ask(&format!("hold {own}")), "held");
    assert_eq!(server.ask("500"), "told");
    becomes(&aws, &group, "unhealthy", "Target.ResponseCodeMismatch");
    // Who goes on with a connection of a target that failed hears that it is no more.
    assert_eq!(client.ask(&format!("end {own}")), "ConnectionResetError");

    let at_once = json!([{ "Key": "deregistration_delay.timeout_seconds", "Value": "0" }]);
    elb(&aws, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": group, "Attributes": at_once }));
    elb(&aws, "DeregisterTargets", targets);
    eventually("the target is gone", 15, || health(&aws, &group).is_none().then_some(()));
    elb(&aws, "DeleteLoadBalancer", json!({ "LoadBalancerArn": arn }));
    elb(&aws, "DeleteTargetGroup", json!({ "TargetGroupArn": group }));
    region.down();
}

/// A group as AWS makes it: targets see who asks.
fn keeps_the_clients_address(
    aws: &Aws,
    network: &Network,
    (balancer, target): (&str, &str),
    client: &mut Talk,
    (own, server): (&str, &mut Talk),
) {
    let group = json!({
        "Name": "kept", "Protocol": "TCP", "Port": 8080, "VpcId": network.vpc, "HealthCheckIntervalSeconds": 5,
        "HealthCheckTimeoutSeconds": 2,
    });
    let group = text(&elb(aws, "CreateTargetGroup", group)["TargetGroups"][0]["TargetGroupArn"]);
    elb(aws, "RegisterTargets", json!({ "TargetGroupArn": group, "Targets": [{ "Id": target }] }));
    let forward = json!([{ "Type": "forward", "TargetGroupArn": group }]);
    let listener =
        json!({ "LoadBalancerArn": balancer, "Protocol": "TCP", "Port": 82, "DefaultActions": forward });
    let listener = text(&elb(aws, "CreateListener", listener)["Listeners"][0]["ListenerArn"]);
    becomes(aws, &group, "healthy", "");
    // Its security group is asked about the client, and lets its own members' addresses in by none of its rules.
    assert_eq!(client.ask(&format!("get {own}:82 /refused")), "TimeoutError");
    let rule = json!({ "GroupId": network.group, "IpPermissions": [{
        "IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080, "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }] });
    aws.ec2("AuthorizeSecurityGroupIngress", rule.clone());
    assert_eq!(client.ask(&format!("get {own}:82 /kept")), "200");
    let seen = server.ask("seen");
    let kept = seen.split("(").find(|part| part.contains("'/kept'")).unwrap_or_default().to_owned();
    assert!(!kept.contains(own) && kept.starts_with("'"), "{seen}");
    assert!(!seen.contains("/refused"), "{seen}");
    aws.ec2("RevokeSecurityGroupIngress", rule);
    elb(aws, "DeleteListener", json!({ "ListenerArn": listener }));
    elb(aws, "DeleteTargetGroup", json!({ "TargetGroupArn": group }));
}

/// A server that says what each connection began with, as far as it came at once, and answers with two letters.
const PLAIN: &str = r#"
import socket
listening = socket.create_server(("", 9090))
print("ready", flush=True)
held = []
while True:
    taken, whom = listening.accept()
    taken.settimeout(1)
    try:
        said = taken.recv(200)
    except OSError:
        said = b""
    if said:
        print(whom[0], said.hex(), flush=True)
        taken.sendall(b"ok")
        held.append(taken)
"#;

/// A client that says something at once, waits for the answer, and later says how the connection ended.
const SPEAKER: &str = r#"
import socket, sys
held = None
for line in sys.stdin:
    verb, *rest = line.split()
    try:
        if verb == "say":
            held = socket.create_connection((rest[0], 81), timeout=3)
            held.sendall(b"hello")
            print(held.recv(2).decode() or "closed", flush=True)
        else:
            held.settimeout(10)
            held.sendall(b"more")
            print("closed" if held.recv(1) == b"" else "data", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"#;

fn an_endpoint_leads_to_the_load_balancer_of_a_service_that_accepts_it(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    // Two networks of the same addresses.
    let (provider, consumer) = (Network::new(&aws), Network::new(&aws));
    let target = provider.run(&aws, json!({}));
    let server = region.talk(&target, &["/usr/bin/python3", "-u", "-c", PLAIN]);
    assert_eq!(server.hear(), "ready");
    let new = json!({ "Name": "one", "Type": "network", "Scheme": "internal", "Subnets": [provider.subnet] });
    let balancer = elb(&aws, "CreateLoadBalancer", new)["LoadBalancers"][0].clone();
    let arn = text(&balancer["LoadBalancerArn"]);
    let own = text(&balancer["AvailabilityZones"][0]["LoadBalancerAddresses"][0]["PrivateIPv4Address"]);
    let rule = json!({ "GroupId": provider.group, "IpPermissions": [{
        "IpProtocol": "tcp", "FromPort": 9090, "ToPort": 9090, "IpRanges": [{ "CidrIp": format!("{own}/32") }] }] });
    aws.ec2("AuthorizeSecurityGroupIngress", rule);
    let group = json!({
        "Name": "plain", "Protocol": "TCP", "Port": 9090, "VpcId": provider.vpc, "HealthCheckIntervalSeconds": 5,
        "HealthCheckTimeoutSeconds": 2,
    });
    let group = text(&elb(&aws, "CreateTargetGroup", group)["TargetGroups"][0]["TargetGroupArn"]);
    let attributes = json!([
        { "Key": "preserve_client_ip.enabled", "Value": "false" },
        { "Key": "proxy_protocol_v2.enabled", "Value": "true" },
    ]);
    elb(&aws, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": group, "Attributes": attributes }));
    elb(&aws, "RegisterTargets", json!({ "TargetGroupArn": group, "Targets": [{ "Id": target }] }));
    let forward = json!([{ "Type": "forward", "TargetGroupArn": group }]);
    elb(
        &aws,
        "CreateListener",
        json!({ "LoadBalancerArn": arn, "Protocol": "TCP", "Port": 81, "DefaultActions": forward }),
    );
    becomes(&aws, &group, "healthy", "");

    let service = aws.ec2(
        "CreateVpcEndpointServiceConfiguration",
        json!({ "AcceptanceRequired": true, "NetworkLoadBalancerArns": [arn] }),
    );
    let service = service["ServiceConfiguration"].clone();
    let client = consumer.run(&aws, json!({}));
    let endpoint = aws.ec2(
        "CreateVpcEndpoint",
        json!({
            "VpcId": consumer.vpc, "VpcEndpointType": "Interface", "SubnetIds": [consumer.subnet],
            "ServiceName": text(&service["ServiceName"]),
        }),
    );
    let endpoint = text(&endpoint["VpcEndpoint"]["VpcEndpointId"]);
    let shown = || {
        aws.ec2("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }))["VpcEndpoints"][0].clone()
    };
    assert_eq!(shown()["State"], "pendingAcceptance");
    let interface = text(&shown()["NetworkInterfaceIds"][0]);
    let found = aws.ec2("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [interface] }));
    let address = text(&found["NetworkInterfaces"][0]["PrivateIpAddress"]);

    let mut speaker = region.talk(&client, &["/usr/bin/python3", "-u", "-c", SPEAKER]);
    let say = format!("say {address}");
    assert_ne!(speaker.ask(&say), "ok", "it is not accepted yet");
    let named = json!({ "ServiceId": text(&service["ServiceId"]), "VpcEndpointIds": [endpoint] });
    aws.ec2("AcceptVpcEndpointConnections", named.clone());
    eventually("the endpoint is available", 15, || (shown()["State"] == "available").then_some(()));
    assert_eq!(speaker.ask(&say), "ok");
    // The provider sees its load balancer, and reads from the header who speaks through which endpoint.
    let heard = server.hear();
    let (from, said) = heard.split_once(' ').unwrap();
    assert_eq!(from, own);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let client_address: std::net::Ipv4Addr = private_address(&aws, &client).parse().unwrap();
    assert!(said.starts_with(&hex(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")), "{said}");
    assert_eq!(said[32..40], hex(&client_address.octets()), "{said}");
    assert!(said.contains(&hex(endpoint.as_bytes())), "{said}");
    // Who is rejected is cut at once, and comes in no more.
    aws.ec2("RejectVpcEndpointConnections", named);
    assert_eq!(shown()["State"], "rejected");
    assert_ne!(speaker.ask("again"), "data");
    assert_ne!(speaker.ask(&say), "ok");
    region.down();
}
