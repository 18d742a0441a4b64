//! What CloudWatch says of endpoints, endpoint services and load balancers, after real packets: the same as the data plane's
//! own counters.

use serde_json::{Value, json};

use crate::aws::{Aws, Boto};
use crate::balancers::{becomes, elb};
use crate::harness::{Talk, World, eventually};
use crate::network::{Network, private_address, text};

crate::both_ways!(cloudwatch_says_what_the_data_plane_counted);

/// How much each connection through the endpoint sends.
const SENT: u64 = 200_000;

/// Answers each connection with how much came, and each datagram with itself.
const SERVER: &str = r#"
import socket, threading
def count(taken):
    with taken:
        total = 0
        while data := taken.recv(65536):
            total += len(data)
        taken.sendall(b"%d" % total)
def echo(port):
    while True:
        data, whom = port.recvfrom(2000)
        port.sendto(data, whom)
listening = socket.create_server(("", 9090))
port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
port.bind(("", 9053))
threading.Thread(target=echo, args=(port,), daemon=True).start()
print("ready", flush=True)
while True:
    threading.Thread(target=count, args=(listening.accept()[0],), daemon=True).start()
"#;

/// Sends so many bytes over a connection, or datagrams over a socket of its own, and says what came back.
const CLIENT: &str = r#"
import socket, sys
for line in sys.stdin:
    verb, address, number = line.split()
    try:
        if verb == "send":
            with socket.create_connection((address, 81), timeout=10) as held:
                held.sendall(b"x" * int(number))
                held.shutdown(socket.SHUT_WR)
                print(held.recv(100).decode(), flush=True)
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
                port.settimeout(5)
                port.connect((address, 53))
                for n in range(int(number)):
                    port.send(b"datagram %d" % n)
                    assert port.recv(2000) == b"datagram %d" % n
                print("echoed", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"#;

/// A provider's load balancer and a consumer's endpoint to the service behind it.
struct Made {
    balancer: String,
    group: String,
    own: String,
    service: String,
    endpoint: String,
    endpoint_address: String,
}

fn cloudwatch_says_what_the_data_plane_counted(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let (provider, consumer) = (Network::new(&aws), Network::new(&aws));
    let target = provider.run(&aws, json!({}));
    let server = region.talk(&target, &["/usr/bin/python3", "-u", "-c", SERVER]);
    assert_eq!(server.hear(), "ready");
    let rule = |protocol: &str, port: u16| {
        json!({ "GroupId": provider.group, "IpPermissions": [{ "IpProtocol": protocol, "FromPort": port,
            "ToPort": port, "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }] })
    };
    aws.ec2("AuthorizeSecurityGroupIngress", rule("tcp", 9090));
    aws.ec2("AuthorizeSecurityGroupIngress", rule("udp", 9053));
    let made = make(&aws, &provider, &consumer, &target);

    // Packets go on plainly: without a header, the connection's bytes are the target's.
    let python = |instance: &str| region.talk(instance, &["/usr/bin/python3", "-u", "-c", CLIENT]);
    let mut far = python(&consumer.run(&aws, json!({})));
    for _ in 0..3 {
        assert_eq!(far.ask(&format!("send {} {SENT}", made.endpoint_address)), SENT.to_string());
    }
    let mut near: Talk = python(&provider.run(&aws, json!({})));
    assert_eq!(near.ask(&format!("echo {} 5", made.own)), "echoed");
    assert_eq!(private_address(&aws, &target).split('.').count(), 4);

    let mut boto = Boto::new(&aws);
    let counted = |resource: &str, what: &str| -> u64 {
        let page = Aws::page(region.host(), "GET", "/_postern/metrics").unwrap().text();
        let line = format!("postern_gateway_{what}{{resource=\"{resource}\"}} ");
        page.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok()).unwrap_or_default()
    };
    let bytes = |id: &str| counted(id, "bytes_out_total") + counted(id, "bytes_in_total");
    let id = balancer_id(&made);
    // The last packets of what has ended may be on their way still.
    eventually("CloudWatch and the counters agree", 20, || {
        let (through, own) = (bytes(&made.endpoint), bytes(&id));
        let said = sums(&mut boto, &made);
        let expected = [through, 3, through, through, own + through, 4, 3];
        (through > 3 * SENT && own > 0 && said == expected.map(|number| number as f64)).then_some(())
    });
    the_rest_is_as_it_is(&mut boto, &made);
    region.down();
}

/// The load balancer's id, as the page of counters has it.
fn balancer_id(made: &Made) -> String {
    let page_id = made.balancer.rsplit('/').next().unwrap();
    format!("net-{:017x}", u64::from_str_radix(page_id, 16).unwrap())
}

fn make(aws: &Aws, provider: &Network, consumer: &Network, target: &str) -> Made {
    let new = json!({ "Name": "one", "Type": "network", "Scheme": "internal", "Subnets": [provider.subnet] });
    let balancer = elb(aws, "CreateLoadBalancer", new)["LoadBalancers"][0].clone();
    let arn = text(&balancer["LoadBalancerArn"]);
    let own = text(&balancer["AvailabilityZones"][0]["LoadBalancerAddresses"][0]["PrivateIPv4Address"]);
    let group = |name: &str, protocol: &str, port: u16, listens: u16| {
        let new = json!({ "Name": name, "Protocol": protocol, "Port": port, "VpcId": provider.vpc,
            "HealthCheckProtocol": "TCP", "HealthCheckPort": "9090", "HealthCheckIntervalSeconds": 5,
            "HealthCheckTimeoutSeconds": 2 });
        let group = text(&elb(aws, "CreateTargetGroup", new)["TargetGroups"][0]["TargetGroupArn"]);
        elb(aws, "RegisterTargets", json!({ "TargetGroupArn": group, "Targets": [{ "Id": target }] }));
        let forward = json!([{ "Type": "forward", "TargetGroupArn": group }]);
        let new = json!({ "LoadBalancerArn": arn, "Protocol": protocol, "Port": listens, "DefaultActions": forward });
        elb(aws, "CreateListener", new);
        becomes(aws, &group, "healthy", "");
        group
    };
    let plain = group("plain", "TCP", 9090, 81);
    group("datagrams", "UDP", 9053, 53);
    let service = aws.ec2(
        "CreateVpcEndpointServiceConfiguration",
        json!({ "AcceptanceRequired": false, "NetworkLoadBalancerArns": [arn] }),
    )["ServiceConfiguration"]
        .clone();
    let new = json!({ "VpcId": consumer.vpc, "VpcEndpointType": "Interface", "SubnetIds": [consumer.subnet],
        "ServiceName": text(&service["ServiceName"]) });
    let endpoint = text(&aws.ec2("CreateVpcEndpoint", new)["VpcEndpoint"]["VpcEndpointId"]);
    let interface = eventually("the endpoint is available", 15, || {
        let shown = aws.ec2("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
        let shown = &shown["VpcEndpoints"][0];
        (shown["State"] == "available").then(|| text(&shown["NetworkInterfaceIds"][0]))
    });
    let found = aws.ec2("DescribeNetworkInterfaces", json!({ "NetworkInterfaceIds": [interface] }));
    let endpoint_address = text(&found["NetworkInterfaces"][0]["PrivateIpAddress"]);
    Made {
        balancer: arn,
        group: plain,
        own,
        service: text(&service["ServiceId"]),
        endpoint,
        endpoint_address,
    }
}

/// A metric of all that was measured in the last half hour.
fn query(id: &str, namespace: &str, name: &str, dimensions: &[(&str, &str)], stat: &str) -> Value {
    let dimensions: Vec<_> = dimensions.iter().map(|(n, v)| json!({ "Name": n, "Value": v })).collect();
    json!({ "Id": id, "MetricStat": { "Stat": stat, "Period": 60,
        "Metric": { "Namespace": namespace, "MetricName": name, "Dimensions": dimensions } } })
}

fn asked(boto: &mut Boto, queries: Vec<Value>) -> Vec<f64> {
    let now = crate::aws::now_milliseconds() / 1_000;
    let at = |seconds: i64| postern_wire::Timestamp::from_seconds(seconds).iso_seconds();
    let parameters =
        json!({ "StartTime": at(now - 1_800), "EndTime": at(now + 60), "MetricDataQueries": queries });
    let answer = boto.call("cloudwatch", "get_metric_data", parameters);
    let results = answer["MetricDataResults"].as_array().unwrap().iter();
    results.map(|one| one["Values"].as_array().unwrap().iter().filter_map(Value::as_f64).sum()).collect()
}

/// Bytes and new connections of the endpoint, bytes of the service and of the service's endpoint, bytes and new flows of the
/// load balancer, which is the one that also had datagrams; and the endpoint's own connections by its subnet.
fn sums(boto: &mut Boto, made: &Made) -> Vec<f64> {
    let listed = boto.call("cloudwatch", "list_metrics", json!({ "Namespace": "AWS/PrivateLinkEndpoints",
        "MetricName": "NewConnections", "Dimensions": [{ "Name": "VPC Endpoint Id", "Value": made.endpoint }] }));
    // As a client would: the dimensions are those that are listed, with and without the subnet.
    let listed = listed["Metrics"].as_array().unwrap().clone();
    let longest = listed.iter().max_by_key(|one| one["Dimensions"].as_array().map(Vec::len));
    let shortest = listed.iter().min_by_key(|one| one["Dimensions"].as_array().map(Vec::len));
    let (Some(longest), Some(shortest)) = (longest, shortest) else { return Vec::new() };
    let pairs = |metric: &Value| -> Vec<(String, String)> {
        let all = metric["Dimensions"].as_array().unwrap().iter();
        all.map(|one| (text(&one["Name"]), text(&one["Value"]))).collect()
    };
    let (of_subnet, whole) = (pairs(longest), pairs(shortest));
    assert_eq!((whole.len(), of_subnet.len()), (4, 5));
    let borrowed = |all: &'static str, pairs: &[(String, String)], id: &str| {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        query(id, "AWS/PrivateLinkEndpoints", all, &pairs, "Sum")
    };
    let short = made.balancer.split_once(":loadbalancer/").unwrap().1;
    let (service, endpoint) =
        (("Service Id", made.service.as_str()), ("VPC Endpoint Id", made.endpoint.as_str()));
    let balancer = [("LoadBalancer", short)];
    asked(
        boto,
        vec![
            borrowed("BytesProcessed", &whole, "a"),
            borrowed("NewConnections", &whole, "b"),
            query("c", "AWS/PrivateLinkServices", "BytesProcessed", &[service], "Sum"),
            query("d", "AWS/PrivateLinkServices", "BytesProcessed", &[endpoint, service], "Sum"),
            query("e", "AWS/NetworkELB", "ProcessedBytes", &balancer, "Sum"),
            query("f", "AWS/NetworkELB", "NewFlowCount", &balancer, "Sum"),
            borrowed("NewConnections", &of_subnet, "g"),
        ],
    )
}

fn the_rest_is_as_it_is(boto: &mut Boto, made: &Made) {
    let short = made.balancer.split_once(":loadbalancer/").unwrap().1;
    let group = made.group.rsplit(':').next().unwrap();
    let dimensions = [("LoadBalancer", short), ("TargetGroup", group)];
    // A minute's greatest, of however many minutes it took.
    let hosts = |boto: &mut Boto, name: &str| {
        asked(boto, vec![query("a", "AWS/NetworkELB", name, &dimensions, "Maximum")])[0]
    };
    assert!(hosts(boto, "HealthyHostCount") >= 1.0);
    assert!(hosts(boto, "UnHealthyHostCount") < 1.0);
    let service = [("Service Id", made.service.as_str())];
    assert!(
        asked(boto, vec![query("a", "AWS/PrivateLinkServices", "EndpointsCount", &service, "Maximum")])[0]
            >= 1.0
    );
}
