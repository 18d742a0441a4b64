//! Load balancers: their health checks go out by their own interfaces, and say what targets really do.

use serde_json::{Value, json};

use crate::aws::Aws;
use crate::harness::{World, eventually};
use crate::network::{Network, private_address, text};

crate::both_ways!(checks_come_from_the_load_balancer_and_pass_what_anybody_must);

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

fn elb(aws: &Aws, operation: &str, parameters: Value) -> Value {
    aws.call("elasticloadbalancing", operation, parameters)
}

/// State and reason of the one target of a group.
fn health(aws: &Aws, group: &str) -> Option<(String, String)> {
    let told = elb(aws, "DescribeTargetHealth", json!({ "TargetGroupArn": group }));
    let health = told["TargetHealthDescriptions"].get(0)?["TargetHealth"].clone();
    Some((text(&health["State"]), health["Reason"].as_str().unwrap_or_default().to_owned()))
}

#[track_caller]
fn becomes(aws: &Aws, group: &str, state: &str, reason: &str) {
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

fn checks_come_from_the_load_balancer_and_pass_what_anybody_must(world: &World) {
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
    assert_eq!(server.ask("500"), "told");
    becomes(&aws, &group, "unhealthy", "Target.ResponseCodeMismatch");

    let at_once = json!([{ "Key": "deregistration_delay.timeout_seconds", "Value": "0" }]);
    elb(&aws, "ModifyTargetGroupAttributes", json!({ "TargetGroupArn": group, "Attributes": at_once }));
    elb(&aws, "DeregisterTargets", targets);
    eventually("the target is gone", 15, || health(&aws, &group).is_none().then_some(()));
    elb(&aws, "DeleteLoadBalancer", json!({ "LoadBalancerArn": arn }));
    elb(&aws, "DeleteTargetGroup", json!({ "TargetGroupArn": group }));
    region.down();
}
