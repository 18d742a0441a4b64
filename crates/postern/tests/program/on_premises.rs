//! A network on premises at the end of a VPN: what it reaches of a VPC, what reaches it, and what it never does.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::json;

use crate::aws::Aws;
use crate::balancers::{becomes, elb};
use crate::harness::{Region, World};
use crate::network::{Network, private_address, text};
use crate::paths::container;

crate::both_ways!(
    a_network_on_premises_is_plugged_into_a_vpn,
    programs_run_on_premises,
    a_network_on_premises_reaches_a_load_balancer
);

/// Gives back what comes to port 7, and connects to what it is told.
const SITE: &str = r#"
import socket, sys, threading
def echo():
    server = socket.create_server(("0.0.0.0", 7))
    while True:
        there, _ = server.accept()
        there.sendall(there.recv(100))
        there.close()
threading.Thread(target=echo, daemon=True).start()
print("listening", flush=True)
for line in sys.stdin:
    address, port = line.split()
    try:
        socket.create_connection((address, int(port)), 5).close()
        print("connected", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"#;

/// Says what comes of a connection, as `Site::connect` does.
const CONNECT: &str = r#"
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()
    print("connected")
except OSError as error:
    print(type(error).__name__)
"#;

/// The host on premises.
struct Site {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Site {
    fn new(world: &World, region: &Region<'_>) -> Self {
        let mut command = container(world, region, SITE);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut site = Self { stdin, stdout: BufReader::new(child.stdout.take().unwrap()), child };
        assert_eq!(site.line(), "listening");
        site
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// What comes of a connection from there.
    fn connect(&mut self, address: &str, port: u16) -> String {
        writeln!(self.stdin, "{address} {port}").unwrap();
        self.line()
    }

    fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.child.id())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A VPN of the network's VPC, with a route to 192.168.0.0/16 that its main table has.
pub fn vpn(aws: &Aws, network: &Network) -> String {
    let customer = json!({ "Type": "ipsec.1", "BgpAsn": 65_000, "IpAddress": "203.0.113.7" });
    let customer = text(&aws.ec2("CreateCustomerGateway", customer)["CustomerGateway"]["CustomerGatewayId"]);
    let gateway = aws.ec2("CreateVpnGateway", json!({ "Type": "ipsec.1" }));
    let gateway = text(&gateway["VpnGateway"]["VpnGatewayId"]);
    aws.ec2("AttachVpnGateway", json!({ "VpcId": network.vpc, "VpnGatewayId": gateway }));
    let made = aws.ec2(
        "CreateVpnConnection",
        json!({ "Type": "ipsec.1", "CustomerGatewayId": customer, "VpnGatewayId": gateway,
            "Options": { "StaticRoutesOnly": true } }),
    );
    let vpn = text(&made["VpnConnection"]["VpnConnectionId"]);
    let route = json!({ "VpnConnectionId": vpn, "DestinationCidrBlock": "192.168.0.0/16" });
    aws.ec2("CreateVpnConnectionRoute", route);
    aws.ec2("EnableVgwRoutePropagation", json!({ "RouteTableId": network.table, "GatewayId": gateway }));
    vpn
}

/// Lets the VPC's group admit the network on premises.
fn admit_premises(aws: &Aws, network: &Network) {
    let permissions = json!([{ "IpProtocol": "tcp", "FromPort": 0, "ToPort": 65_535,
        "IpRanges": [{ "CidrIp": "192.168.0.0/16" }] }]);
    let allow = json!({ "GroupId": network.group, "IpPermissions": permissions });
    aws.ec2("AuthorizeSecurityGroupIngress", allow);
}

fn a_network_on_premises_is_plugged_into_a_vpn(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    admit_premises(&aws, &network);
    let gateway_endpoint = network.s3_endpoint(&aws);
    let door = json!({ "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet],
        "ServiceName": "com.amazonaws.us-east-1.ec2", "PrivateDnsEnabled": false });
    let door = aws.ec2("CreateVpcEndpoint", door);
    let door = json!({ "NetworkInterfaceIds": [door["VpcEndpoint"]["NetworkInterfaceIds"][0]] });
    let door = aws.ec2("DescribeNetworkInterfaces", door);
    let door = text(&door["NetworkInterfaces"][0]["PrivateIpAddress"]);
    let instance = network.run(&aws, json!({}));
    let vpn = vpn(&aws, &network);
    let telemetry = || {
        let shown = aws.ec2("DescribeVpnConnections", json!({ "VpnConnectionIds": [vpn] }));
        text(&shown["VpnConnections"][0]["VgwTelemetry"][0]["Status"])
    };
    let mut site = Site::new(world, &region);

    // What is none is refused, and the tunnel stays down.
    let netns = site.netns();
    for (connection, address, word) in [
        ("vpn-0123456789abcdef0", "192.168.0.10/24", "`vpn-0123456789abcdef0`"),
        (vpn.as_str(), "192.168.0.10", "`192.168.0.10`"),
    ] {
        let ran = region.run(&["attach", "--netns", &netns, "--vpn", connection, "--address", address]);
        assert!(ran.failure().contains(word), "{connection} {address}: {ran:?}");
    }
    assert_eq!(telemetry(), "DOWN");
    let attached = region.json(&["attach", "--netns", &netns, "--vpn", &vpn, "--address", "192.168.0.10/24"]);
    assert_eq!(attached["address"], "192.168.0.10");
    assert_eq!(telemetry(), "UP");
    let twice = region.run(&["attach", "--netns", &netns, "--vpn", &vpn]);
    assert!(twice.failure().contains("already"), "{twice:?}");

    // The instance reaches it, and it the instance: nobody listens on port 9, and the instance says so.
    let script = "import socket; s = socket.create_connection(('192.168.0.10', 7), 5); \
                  s.sendall(b'through'); print(s.recv(100))";
    assert_eq!(region.exec(&instance, &["/usr/bin/python3", "-c", script]).stdout, "b'through'\n");
    let address = private_address(&aws, &instance);
    assert_eq!(site.connect(&address, 9), "ConnectionRefusedError");
    // The interface endpoint serves it; the gateway endpoint is named as what does not.
    assert_eq!(site.connect(&door, 443), "connected");
    let trace = region.json(&["trace", "--from", &vpn, "--to", "198.19.0.10:443"]);
    let last = trace["stages"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["stage"], &last["resource"], &trace["arrives"]),
        (&json!("endpoint"), &json!(gateway_endpoint), &json!(false))
    );

    // Without its route, nothing comes back; without the connection, nothing is plugged in.
    let route = json!({ "VpnConnectionId": vpn, "DestinationCidrBlock": "192.168.0.0/16" });
    aws.ec2("DeleteVpnConnectionRoute", route);
    assert_eq!(site.connect(&address, 9), "TimeoutError");
    aws.ec2("DeleteVpnConnection", json!({ "VpnConnectionId": vpn }));
    let gone = std::time::Instant::now();
    while site.connect(&address, 9) != "OSError" {
        assert!(gone.elapsed().as_secs() < 60, "the link is still there");
    }
    drop(site);
    region.down();
}

fn programs_run_on_premises(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    admit_premises(&aws, &network);
    let door = json!({ "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet],
        "ServiceName": "com.amazonaws.us-east-1.ec2", "PrivateDnsEnabled": false });
    let door = aws.ec2("CreateVpcEndpoint", door);
    let name = text(&door["VpcEndpoint"]["DnsEntries"][0]["DnsName"]);
    let instance = network.run(&aws, json!({}));
    let address = private_address(&aws, &instance);
    let vpn = vpn(&aws, &network);
    let connect = |host: &str, port: &str| {
        region.exec(&vpn, &["/usr/bin/python3", "-c", CONNECT, host, port]).stdout.trim().to_owned()
    };

    // Nobody listens on port 9, and the instance says so; the endpoint is there by its own name, which everybody knows.
    assert_eq!(connect(&address, "9"), "ConnectionRefusedError");
    assert_eq!(connect(&name, "443"), "connected");
    // The service's public addresses are behind the VPN for nobody.
    assert_eq!(connect("198.19.0.10", "443"), "TimeoutError");
    let shown = aws.ec2("DescribeVpnConnections", json!({ "VpnConnectionIds": [vpn] }));
    assert_eq!(shown["VpnConnections"][0]["VgwTelemetry"][0]["Status"], "UP");
    let trace = region.json(&["trace", "--from", &vpn, "--to", &format!("{name}:443"), "--probe"]);
    assert_eq!((&trace["arrives"], &trace["probe"]["agrees"]), (&json!(true), &json!(true)));

    // It goes with its connection.
    aws.ec2("DeleteVpnConnection", json!({ "VpnConnectionId": vpn }));
    let gone = region.run(&["exec", &vpn, "--", "/bin/true"]);
    assert!(gone.failure().contains("there is no"), "{gone:?}");
    region.down();
}

/// Tells each who connects the address that it sees.
const WHO: &str = r#"
import socket
server = socket.create_server(("", 8080))
print("ready", flush=True)
while True:
    there, peer = server.accept()
    try:
        there.sendall(peer[0].encode())
    except OSError:
        pass
    there.close()
"#;

/// Asks it.
const ASK: &str = r#"
import socket, sys
try:
    print(socket.create_connection((sys.argv[1], 80), 5).recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"#;

fn a_network_on_premises_reaches_a_load_balancer(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let allow = json!({ "GroupId": network.group, "IpPermissions": [{ "IpProtocol": "tcp", "FromPort": 8_080,
        "ToPort": 8_080, "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }] });
    aws.ec2("AuthorizeSecurityGroupIngress", allow);
    let instance = network.run(&aws, json!({}));
    let server = region.talk(&instance, &["/usr/bin/python3", "-u", "-c", WHO]);
    assert_eq!(server.hear(), "ready");
    let vpn = vpn(&aws, &network);

    let new = json!({ "Name": "one", "Type": "network", "Scheme": "internal", "Subnets": [network.subnet] });
    let balancer = elb(&aws, "CreateLoadBalancer", new)["LoadBalancers"][0].clone();
    let arn = text(&balancer["LoadBalancerArn"]);
    let own = text(&balancer["AvailabilityZones"][0]["LoadBalancerAddresses"][0]["PrivateIPv4Address"]);
    let group = json!({ "Name": "targets", "Protocol": "TCP", "Port": 8_080, "VpcId": network.vpc,
        "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2 });
    let group = text(&elb(&aws, "CreateTargetGroup", group)["TargetGroups"][0]["TargetGroupArn"]);
    elb(&aws, "RegisterTargets", json!({ "TargetGroupArn": group, "Targets": [{ "Id": instance }] }));
    let forward = json!([{ "Type": "forward", "TargetGroupArn": group }]);
    let listener =
        json!({ "LoadBalancerArn": arn, "Protocol": "TCP", "Port": 80, "DefaultActions": forward });
    elb(&aws, "CreateListener", listener);
    becomes(&aws, &group, "healthy", "");
    let ask = || region.exec(&vpn, &["/usr/bin/python3", "-c", ASK, &own]).stdout.trim().to_owned();

    // An instance sees its clients, and what it says to them finds its way back through the load balancer.
    assert_eq!(ask(), "192.168.0.1");
    let hide = json!([{ "Key": "preserve_client_ip.enabled", "Value": "false" }]);
    elb(&aws, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": group, "Attributes": hide }));
    assert_eq!(ask(), own);
    // The answer to the client on premises needs its route, whoever gives it.
    let route = json!({ "VpnConnectionId": vpn, "DestinationCidrBlock": "192.168.0.0/16" });
    aws.ec2("DeleteVpnConnectionRoute", route);
    assert_eq!(ask(), "TimeoutError");
    drop(server);
    region.down();
}
