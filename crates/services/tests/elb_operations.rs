//! Load balancers, target groups and targets through the ELBv2 API, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use iam_support::*;
use postern_frontdoor::Caller;
use postern_model::instance::{InstanceState, Launch, LaunchInterface, MetadataOptions};
use postern_model::{Action, Event, InstanceId, ResourceId, SubnetId, VpcId};
use postern_services::elbv2::health::{Failure, Seen};
use serde_json::{Value as Json, json};

/// A region with a VPC of two subnets in two zones, and somebody who may do everything.
struct Region {
    world: World,
    root: Caller,
    vpc: VpcId,
    subnets: [SubnetId; 2],
}

impl Region {
    fn new() -> Self {
        let world = World::new();
        let root = world.root();
        let run = |action| world.memory.run(account(ONE), action).unwrap().events;
        let first = |events: Vec<Event>| match events[0] {
            Event::Created(id) => id,
            other => panic!("{other:?}"),
        };
        let ResourceId::Vpc(vpc) =
            first(run(Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: Vec::new() }))
        else {
            panic!("no VPC")
        };
        let subnets = ["a", "b"].map(|letter| {
            let third = if letter == "a" { 1 } else { 2 };
            let cidr = format!("10.0.{third}.0/24").parse().unwrap();
            let zone = Some(format!("us-east-1{letter}"));
            match first(run(Action::CreateSubnet { vpc, cidr, zone, tags: Vec::new() })) {
                ResourceId::Subnet(id) => id,
                other => panic!("{other}"),
            }
        });
        Self { world, root, vpc, subnets }
    }

    async fn call(&self, operation: &str, parameters: Json) -> Json {
        let outcome = self.world.elb(&self.root, operation, parameters).await;
        outcome.unwrap_or_else(|error| panic!("{operation}: {error}"))
    }

    async fn refusal(&self, operation: &str, parameters: Json) -> String {
        refusal(self.world.elb(&self.root, operation, parameters).await)
    }

    fn run(&self, action: Action) -> Vec<Event> {
        self.world.memory.run(account(ONE), action).unwrap().events
    }

    fn instance(&self, subnet: SubnetId) -> InstanceId {
        let launch = Launch {
            count: 1,
            least: None,
            image: "ami-1".to_owned(),
            instance_type: "t3.micro".to_owned(),
            interface: LaunchInterface::New {
                subnet,
                groups: None,
                private_address: None,
                public_address: None,
                description: String::new(),
                delete_on_termination: true,
            },
            key_name: None,
            profile: None,
            user_data: None,
            metadata: MetadataOptions::default(),
            termination_protected: false,
            tags: Vec::new(),
            interface_tags: Vec::new(),
        };
        let events = self.run(Action::RunInstances(launch));
        let found = events.iter().find_map(|event| match event {
            Event::Created(ResourceId::Instance(id)) => Some(*id),
            _ => None,
        });
        let instance = found.unwrap();
        self.report(instance, InstanceState::Running);
        instance
    }

    fn report(&self, instance: InstanceId, state: InstanceState) {
        self.run(Action::ReportInstance { instance, state, reason: String::new() });
    }

    async fn balancer(&self, name: &str) -> String {
        let subnets = self.subnets.map(|id| id.to_string());
        let parameters = json!({ "Name": name, "Type": "network", "Scheme": "internal", "Subnets": subnets });
        text(&self.call("CreateLoadBalancer", parameters).await["LoadBalancers"][0]["LoadBalancerArn"])
    }

    async fn group(&self, name: &str, more: Json) -> String {
        let mut parameters =
            json!({ "Name": name, "Protocol": "TCP", "Port": 80, "VpcId": self.vpc.to_string() });
        for (key, value) in more.as_object().unwrap() {
            parameters[key] = value.clone();
        }
        text(&self.call("CreateTargetGroup", parameters).await["TargetGroups"][0]["TargetGroupArn"])
    }

    /// Lets targets see the load balancer's address.
    async fn stop_preserving(&self, group: &str) {
        let attributes = json!([{ "Key": "preserve_client_ip.enabled", "Value": "false" }]);
        let parameters = json!({ "TargetGroupArn": group, "Attributes": attributes });
        self.call("ModifyTargetGroupAttributes", parameters).await;
    }

    async fn listener(&self, balancer: &str, group: &str) -> String {
        self.stop_preserving(group).await;
        let action = json!([{ "Type": "forward", "TargetGroupArn": group }]);
        let parameters =
            json!({ "LoadBalancerArn": balancer, "Protocol": "TCP", "Port": 80, "DefaultActions": action });
        text(&self.call("CreateListener", parameters).await["Listeners"][0]["ListenerArn"])
    }

    /// State, reason and sentence of the one target of a group.
    async fn health(&self, group: &str) -> (String, Json, Json) {
        let told = self.call("DescribeTargetHealth", json!({ "TargetGroupArn": group })).await;
        let health = &told["TargetHealthDescriptions"][0]["TargetHealth"];
        (text(&health["State"]), health["Reason"].clone(), health["Description"].clone())
    }
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn attribute<'a>(told: &'a Json, key: &str) -> &'a Json {
    let all = told["Attributes"].as_array().unwrap();
    all.iter().find(|attribute| attribute["Key"] == key).map(|found| &found["Value"]).unwrap()
}

#[tokio::test]
async fn load_balancers_are_made_shown_changed_and_deleted() {
    let region = Region::new();
    let [first, second] = region.subnets.map(|id| id.to_string());
    let mapping = json!([{ "SubnetId": first, "PrivateIPv4Address": "10.0.1.50" }]);
    let parameters = json!({
        "Name": "one", "Type": "network", "Scheme": "internal", "SubnetMappings": mapping, "IpAddressType": "ipv4",
        "Tags": [{ "Key": "team", "Value": "net" }],
    });
    let made = region.call("CreateLoadBalancer", parameters.clone()).await;
    let made = &made["LoadBalancers"][0];
    let arn = text(&made["LoadBalancerArn"]);
    let number = arn.rsplit('/').next().unwrap();
    assert_eq!(arn, format!("arn:aws:elasticloadbalancing:us-east-1:{ONE}:loadbalancer/net/one/{number}"));
    assert_eq!(made["DNSName"], format!("one-{number}.elb.us-east-1.amazonaws.com"));
    assert_eq!(made["CanonicalHostedZoneId"], "Z26RNL4JYFTOTI");
    assert_eq!((&made["State"]["Code"], &made["Type"]), (&json!("provisioning"), &json!("network")));
    assert_eq!(made["VpcId"], region.vpc.to_string());
    let zone = &made["AvailabilityZones"][0];
    assert_eq!((&zone["ZoneName"], &zone["SubnetId"]), (&json!("us-east-1a"), &json!(first)));
    assert_eq!(zone["LoadBalancerAddresses"][0]["PrivateIPv4Address"], "10.0.1.50");

    // Making the same again is no error, and making another of its name is.
    let again = region.call("CreateLoadBalancer", parameters.clone()).await;
    assert_eq!(again["LoadBalancers"][0]["LoadBalancerArn"], arn);
    let mut other = parameters;
    other["Scheme"] = json!("internal");
    other["SubnetMappings"] = json!([{ "SubnetId": second }]);
    assert_eq!(
        region.refusal("CreateLoadBalancer", other).await,
        "DuplicateLoadBalancerName: A load balancer with the same name 'one' exists, but with different settings"
    );

    let set = json!({ "LoadBalancerArn": arn, "Subnets": [first, second] });
    let zones = region.call("SetSubnets", set).await;
    assert_eq!(zones["AvailabilityZones"].as_array().unwrap().len(), 2);
    for by in [json!({}), json!({ "Names": ["one"] }), json!({ "LoadBalancerArns": [arn] })] {
        let found = region.call("DescribeLoadBalancers", by).await;
        assert_eq!(found["LoadBalancers"][0]["LoadBalancerArn"], arn);
    }
    let kept =
        region.call("SetIpAddressType", json!({ "LoadBalancerArn": arn, "IpAddressType": "ipv4" })).await;
    assert_eq!(kept["IpAddressType"], "ipv4");

    let on = json!([
        { "Key": "deletion_protection.enabled", "Value": "true" },
        { "Key": "load_balancing.cross_zone.enabled", "Value": "true" },
        { "Key": "access_logs.s3.enabled", "Value": "false" },
    ]);
    let modify = json!({ "LoadBalancerArn": arn, "Attributes": on });
    assert_eq!(
        attribute(&region.call("ModifyLoadBalancerAttributes", modify).await, "deletion_protection.enabled"),
        "true"
    );
    let told = region.call("DescribeLoadBalancerAttributes", json!({ "LoadBalancerArn": arn })).await;
    assert_eq!(attribute(&told, "load_balancing.cross_zone.enabled"), "true");
    assert_eq!(attribute(&told, "dns_record.client_routing_policy"), "any_availability_zone");
    let delete = json!({ "LoadBalancerArn": arn });
    assert_eq!(
        region.refusal("DeleteLoadBalancer", delete.clone()).await,
        format!(
            "OperationNotPermitted: Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
        )
    );
    let off = json!([{ "Key": "deletion_protection.enabled", "Value": "false" }]);
    region.call("ModifyLoadBalancerAttributes", json!({ "LoadBalancerArn": arn, "Attributes": off })).await;
    region.call("DeleteLoadBalancer", delete.clone()).await;
    // Deleting what is gone succeeds; describing it does not.
    region.call("DeleteLoadBalancer", delete).await;
    assert_eq!(
        region.refusal("DescribeLoadBalancers", json!({ "LoadBalancerArns": [arn] })).await,
        format!("LoadBalancerNotFound: Load balancer '{arn}' not found")
    );
}

#[tokio::test]
async fn security_groups_and_elastic_addresses_are_honoured() {
    let region = Region::new();
    let group = |name: &str| {
        let events = region.run(Action::CreateSecurityGroup {
            vpc: region.vpc,
            name: name.to_owned(),
            description: String::new(),
            tags: Vec::new(),
        });
        match events[0] {
            Event::Created(id) => id.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let (a, b) = (group("a"), group("b"));
    let subnet = region.subnets[0].to_string();
    let grouped = json!({
        "Name": "grouped", "Type": "network", "Scheme": "internal", "Subnets": [subnet], "SecurityGroups": [a],
    });
    let made = region.call("CreateLoadBalancer", grouped).await;
    let arn = text(&made["LoadBalancers"][0]["LoadBalancerArn"]);
    assert_eq!(made["LoadBalancers"][0]["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"], "on");
    let set = json!({
        "LoadBalancerArn": arn, "SecurityGroups": [b],
        "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic": "off",
    });
    let told = region.call("SetSecurityGroups", set).await;
    assert_eq!(told["SecurityGroupIds"], json!([b]));
    assert_eq!(told["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"], "off");
    let without = region.balancer("without").await;
    assert_eq!(
        region
            .refusal("SetSecurityGroups", json!({ "LoadBalancerArn": without, "SecurityGroups": [a] }))
            .await,
        "InvalidConfigurationRequest: You cannot set security groups on a load balancer that was created without \
         security groups"
    );

    let facing = |mapping: Json| json!({ "Name": "web", "Type": "network", "SubnetMappings": [mapping] });
    assert_eq!(
        region.refusal("CreateLoadBalancer", facing(json!({ "SubnetId": subnet }))).await,
        format!("InvalidSubnet: VPC {} has no internet gateway", region.vpc)
    );
    let created = |events: Vec<Event>| match events[0] {
        Event::Created(id) => id,
        other => panic!("{other:?}"),
    };
    let gateway = created(region.run(Action::CreateInternetGateway { tags: Vec::new() }));
    let ResourceId::InternetGateway(gateway) = gateway else { panic!("{gateway}") };
    region.run(Action::AttachInternetGateway { gateway, vpc: region.vpc });
    let allocation = created(region.run(Action::AllocateAddress { tags: Vec::new() })).to_string();
    let mapping = json!({ "SubnetId": subnet, "AllocationId": allocation });
    let made = region.call("CreateLoadBalancer", facing(mapping)).await;
    let address = &made["LoadBalancers"][0]["AvailabilityZones"][0]["LoadBalancerAddresses"][0];
    assert_eq!(address["AllocationId"], allocation);
    assert!(text(&address["IpAddress"]).starts_with("198.18."), "{address}");
    assert_eq!(made["LoadBalancers"][0]["Scheme"], "internet-facing");
}

#[tokio::test]
async fn listeners_and_groups_belong_together() {
    let region = Region::new();
    let balancer = region.balancer("one").await;
    let check = json!({
        "HealthCheckProtocol": "HTTP", "HealthCheckPort": "8080", "HealthCheckPath": "/up",
        "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 3, "Matcher": { "HttpCode": "200,204-299" }, "TargetType": "ip",
        "HealthCheckEnabled": true, "IpAddressType": "ipv4", "Tags": [{ "Key": "k", "Value": "v" }],
    });
    let group = region.group("web", check).await;
    let told = region.call("DescribeTargetGroups", json!({ "TargetGroupArns": [group] })).await;
    let told = &told["TargetGroups"][0];
    for (key, value) in [
        ("HealthCheckProtocol", json!("HTTP")),
        ("HealthCheckPort", json!("8080")),
        ("HealthCheckPath", json!("/up")),
        ("HealthCheckIntervalSeconds", json!(5)),
        ("HealthCheckTimeoutSeconds", json!(2)),
        ("HealthyThresholdCount", json!(2)),
        ("UnhealthyThresholdCount", json!(3)),
        ("Matcher", json!({ "HttpCode": "200,204-299" })),
        ("TargetType", json!("ip")),
        ("Protocol", json!("TCP")),
        ("Port", json!(80)),
        ("LoadBalancerArns", json!([])),
    ] {
        assert_eq!(told[key], value, "{key}");
    }
    let plain = region.group("plain", json!({})).await;
    let told = region.call("DescribeTargetGroups", json!({ "Names": ["plain"] })).await;
    let told = &told["TargetGroups"][0];
    assert_eq!(
        (&told["HealthCheckProtocol"], &told["HealthCheckPort"]),
        (&json!("TCP"), &json!("traffic-port"))
    );
    assert_eq!((&told["HealthyThresholdCount"], &told["UnhealthyThresholdCount"]), (&json!(5), &json!(2)));
    assert_eq!(region.group("plain", json!({})).await, plain);
    // A header and the client's own address are not to be had together yet.
    let introduce = |on: &str| {
        let attributes = json!([{ "Key": "proxy_protocol_v2.enabled", "Value": on }]);
        json!({ "TargetGroupArn": plain, "Attributes": attributes })
    };
    region.call("ModifyTargetGroupAttributes", introduce("true")).await;
    let preserving = json!({
        "LoadBalancerArn": balancer, "Protocol": "TCP", "Port": 90,
        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": plain }],
    });
    let expected = format!(
        "InvalidConfigurationRequest: Proxy protocol v2 together with client IP preservation is not supported by this \
         endpoint yet: set the attribute 'preserve_client_ip.enabled' of the target group '{plain}' to 'false'."
    );
    assert_eq!(region.refusal("CreateListener", preserving.clone()).await, expected);
    region.call("ModifyTargetGroupAttributes", introduce("false")).await;
    let kept = region.call("CreateListener", preserving).await["Listeners"][0]["ListenerArn"].clone();
    assert_eq!(region.refusal("ModifyTargetGroupAttributes", introduce("true")).await, expected);
    region.call("DeleteListener", json!({ "ListenerArn": kept })).await;

    let listener = region.listener(&balancer, &group).await;
    let number = listener.rsplit('/').next().unwrap();
    let start = balancer.replacen(":loadbalancer/", ":listener/", 1);
    assert_eq!(listener, format!("{start}/{number}"));
    let told = region.call("DescribeTargetGroups", json!({ "LoadBalancerArn": balancer })).await;
    assert_eq!(told["TargetGroups"][0]["LoadBalancerArns"], json!([balancer]));
    let busy = json!({ "TargetGroupArn": group });
    assert_eq!(
        region.refusal("DeleteTargetGroup", busy).await,
        format!("ResourceInUse: Target group '{group}' is currently in use by a listener or a rule")
    );
    let twin = json!({
        "LoadBalancerArn": balancer, "Protocol": "TCP", "Port": 80,
        "DefaultActions": [{ "Type": "forward", "ForwardConfig": { "TargetGroups": [{ "TargetGroupArn": plain }] } }],
    });
    assert!(region.refusal("CreateListener", twin).await.starts_with("DuplicateListener: "));
    let change = json!({
        "ListenerArn": listener, "Port": 81, "Protocol": "TCP",
        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": plain, "Order": 1 }],
    });
    let told = region.call("ModifyListener", change).await;
    let told = &told["Listeners"][0];
    assert_eq!((&told["Port"], &told["DefaultActions"][0]["TargetGroupArn"]), (&json!(81), &json!(plain)));
    let idle = json!([{ "Key": "tcp.idle_timeout.seconds", "Value": "60" }]);
    region.call("ModifyListenerAttributes", json!({ "ListenerArn": listener, "Attributes": idle })).await;
    let told = region.call("DescribeListenerAttributes", json!({ "ListenerArn": listener })).await;
    assert_eq!(attribute(&told, "tcp.idle_timeout.seconds"), "60");
    for by in [json!({ "LoadBalancerArn": balancer }), json!({ "ListenerArns": [listener] })] {
        let told = region.call("DescribeListeners", by).await;
        assert_eq!(told["Listeners"][0]["ListenerArn"], listener);
    }
    region.call("DeleteTargetGroup", json!({ "TargetGroupArn": group })).await;
    region.call("DeleteListener", json!({ "ListenerArn": listener })).await;
    assert_eq!(
        region.refusal("DeleteListener", json!({ "ListenerArn": listener })).await,
        "ListenerNotFound: One or more listeners not found"
    );
}

#[tokio::test]
async fn health_says_what_makes_a_target_get_connections_or_not() {
    let region = Region::new();
    let group = region.group("i", json!({})).await;
    let instance = region.instance(region.subnets[0]);
    let target = json!({ "TargetGroupArn": group, "Targets": [{ "Id": instance.to_string() }] });
    region.call("RegisterTargets", target.clone()).await;
    let state =
        |state: &str, reason: &str, sentence: &str| (state.to_owned(), json!(reason), json!(sentence));
    let unused = "Target group is not configured to receive traffic from the load balancer";
    assert_eq!(region.health(&group).await, state("unused", "Target.NotInUse", unused));
    let balancer = region.balancer("one").await;
    region.listener(&balancer, &group).await;
    let saw = |seen| region.world.checks.0.lock().unwrap().insert(instance.to_string(), seen);
    let registering = state("initial", "Elb.RegistrationInProgress", "Target registration is in progress");
    assert_eq!(region.health(&group).await, registering);
    for (seen, expected) in [
        (Seen::Beginning, state("initial", "Elb.InitialHealthChecking", "Initial health checks in progress")),
        (Seen::Healthy, ("healthy".to_owned(), Json::Null, Json::Null)),
        (Seen::Unhealthy(Failure::Timeout), state("unhealthy", "Target.Timeout", "Request timed out")),
        (
            Seen::Unhealthy(Failure::NoConnection),
            state("unhealthy", "Target.FailedHealthChecks", "Health checks failed"),
        ),
        (
            Seen::Unhealthy(Failure::Status(503)),
            state("unhealthy", "Target.ResponseCodeMismatch", "Health checks failed with these codes: [503]"),
        ),
    ] {
        saw(seen);
        assert_eq!(region.health(&group).await, expected);
    }
    // Who is not registered is said not to be.
    let stranger =
        json!({ "TargetGroupArn": group, "Targets": [{ "Id": "i-0aaaaaaaaaaaaaaaa", "Port": 9 }] });
    let told = region.call("DescribeTargetHealth", stranger).await;
    assert_eq!(told["TargetHealthDescriptions"][0]["TargetHealth"]["Reason"], "Target.NotRegistered");

    let zone = json!({ "LoadBalancerArn": balancer, "Subnets": [region.subnets[1].to_string()] });
    region.call("SetSubnets", zone).await;
    let elsewhere = "Target is in an Availability Zone that is not enabled for the load balancer";
    assert_eq!(region.health(&group).await, state("unused", "Target.NotInUse", elsewhere));
    region.run(Action::StopInstances { instances: vec![instance] });
    region.report(instance, InstanceState::Stopped);
    let stopped = state("unused", "Target.InvalidState", "Target is in the stopped state");
    assert_eq!(region.health(&group).await, stopped);
    region.call("DeregisterTargets", target).await;
    let draining =
        state("draining", "Target.DeregistrationInProgress", "Target deregistration is in progress");
    assert_eq!(region.health(&group).await, draining);
}

#[tokio::test]
async fn attributes_take_what_aws_takes_and_no_more() {
    let region = Region::new();
    let group = region.group("ip", json!({ "TargetType": "ip" })).await;
    let udp = region.group("udp", json!({ "Protocol": "UDP" })).await;
    let modify = |group: &str, key: &str, value: &str| {
        let attributes = json!([{ "Key": key, "Value": value }]);
        json!({ "TargetGroupArn": group, "Attributes": attributes })
    };
    let told = region.call("DescribeTargetGroupAttributes", json!({ "TargetGroupArn": group })).await;
    for (key, usual, other) in [
        ("deregistration_delay.timeout_seconds", "300", "0"),
        ("deregistration_delay.connection_termination.enabled", "false", "true"),
        ("preserve_client_ip.enabled", "false", "true"),
        ("proxy_protocol_v2.enabled", "false", "true"),
        ("stickiness.enabled", "false", "true"),
        ("load_balancing.cross_zone.enabled", "use_load_balancer_configuration", "false"),
        ("target_health_state.unhealthy.connection_termination.enabled", "true", "false"),
    ] {
        assert_eq!(attribute(&told, key), usual, "{key}");
        let set = region.call("ModifyTargetGroupAttributes", modify(&group, key, other)).await;
        assert_eq!(attribute(&set, key), other, "{key}");
        let bad = region.refusal("ModifyTargetGroupAttributes", modify(&group, key, "maybe")).await;
        assert_eq!(
            bad,
            format!("InvalidConfigurationRequest: Invalid attribute value 'maybe' for attribute '{key}'")
        );
    }
    let draining = "target_health_state.unhealthy.draining_interval_seconds";
    let kept = "preserve_client_ip.enabled";
    assert_eq!(
        region.refusal("ModifyTargetGroupAttributes", modify(&udp, kept, "false")).await,
        format!(
            "InvalidConfigurationRequest: Attribute '{kept}' cannot be disabled for a target group with the protocol UDP"
        )
    );
    assert_eq!(
        region
            .refusal("ModifyTargetGroupAttributes", modify(&group, "slow_start.duration_seconds", "9"))
            .await,
        "ValidationError: Attribute key 'slow_start.duration_seconds' is not recognized"
    );
    assert_eq!(
        region.refusal("ModifyTargetGroupAttributes", modify(&group, draining, "30")).await,
        format!(
            "InvalidConfigurationRequest: The value '30' of the attribute '{draining}', which is '0', is not \
             supported by this endpoint yet."
        )
    );
    assert_eq!(
        region.refusal("ModifyTargetGroupAttributes", modify(&group, "stickiness.type", "lb_cookie")).await,
        "InvalidConfigurationRequest: The value 'lb_cookie' of the attribute 'stickiness.type', which is \
         'source_ip', is not supported by this endpoint yet."
    );
}

#[tokio::test]
async fn what_is_not_here_is_refused_by_name() {
    let region = Region::new();
    let balancer = region.balancer("one").await;
    let group = region.group("web", json!({})).await;
    region.stop_preserving(&group).await;
    let tls = region.group("tls", json!({ "Protocol": "TLS", "TargetType": "ip" })).await;
    let subnet = region.subnets[0].to_string();
    let network = |more: Json| {
        let mut all = json!({ "Name": "two", "Type": "network", "Scheme": "internal", "Subnets": [subnet] });
        more.as_object().unwrap().iter().for_each(|(key, value)| all[key] = value.clone());
        all
    };
    let target_group = |more: Json| {
        let mut all = json!({ "Name": "g", "Protocol": "TCP", "Port": 80, "VpcId": region.vpc.to_string() });
        more.as_object().unwrap().iter().for_each(|(key, value)| all[key] = value.clone());
        all
    };
    let listener = |more: Json| {
        let action = json!([{ "Type": "forward", "TargetGroupArn": group }]);
        let mut all =
            json!({ "LoadBalancerArn": balancer, "Protocol": "TCP", "Port": 80, "DefaultActions": action });
        more.as_object().unwrap().iter().for_each(|(key, value)| all[key] = value.clone());
        all
    };
    let not_yet =
        |what: &str| format!("InvalidConfigurationRequest: {what} is not supported by this endpoint yet.");
    let gone = "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/no/0000000000000001";
    let certificate = "arn:aws:acm:us-east-1:111122223333:certificate/1";
    for (operation, parameters, expected) in [
        ("CreateLoadBalancer", network(json!({ "Type": "application" })), not_yet("The load balancer type 'application'")),
        ("CreateLoadBalancer", network(json!({ "Type": "gateway" })), not_yet("The load balancer type 'gateway'")),
        ("CreateLoadBalancer", network(json!({ "IpAddressType": "dualstack" })), not_yet("The IP address type 'dualstack'")),
        (
            "CreateLoadBalancer",
            network(json!({ "EnablePrefixForIpv6SourceNat": "on" })),
            not_yet("The parameter EnablePrefixForIpv6SourceNat"),
        ),
        (
            "CreateLoadBalancer",
            network(json!({ "Subnets": ["subnet-0aaaaaaaaaaaaaaaa"] })),
            "SubnetNotFound: The subnet ID 'subnet-0aaaaaaaaaaaaaaaa' does not exist".to_owned(),
        ),
        (
            "CreateLoadBalancer",
            network(json!({ "Subnets": [] })),
            "ValidationError: At least one subnet must be specified".to_owned(),
        ),
        (
            "CreateLoadBalancer",
            network(json!({ "SecurityGroups": ["sg-0aaaaaaaaaaaaaaaa"] })),
            "InvalidSecurityGroup: The security group 'sg-0aaaaaaaaaaaaaaaa' does not exist".to_owned(),
        ),
        ("CreateTargetGroup", target_group(json!({ "TargetType": "alb" })), not_yet("The target type 'alb'")),
        ("CreateTargetGroup", target_group(json!({ "TargetType": "lambda" })), not_yet("The target type 'lambda'")),
        ("CreateTargetGroup", target_group(json!({ "Protocol": "HTTP" })), not_yet("The target group protocol 'HTTP'")),
        ("CreateTargetGroup", target_group(json!({ "ProtocolVersion": "HTTP1" })), not_yet("The parameter ProtocolVersion")),
        (
            "CreateTargetGroup",
            target_group(json!({ "HealthCheckEnabled": false })),
            "ValidationError: Health checks cannot be disabled for this target type".to_owned(),
        ),
        (
            "CreateTargetGroup",
            target_group(json!({ "HealthCheckPath": "/" })),
            "InvalidConfigurationRequest: Health check paths and matchers are supported for HTTP and HTTPS health \
             checks only"
                .to_owned(),
        ),
        (
            "CreateTargetGroup",
            target_group(json!({ "HealthCheckProtocol": "HTTP", "Matcher": { "HttpCode": "100" } })),
            "ValidationError: Health check matcher HTTP code '100' must be within '200-599' inclusive".to_owned(),
        ),
        (
            "CreateTargetGroup",
            target_group(json!({ "Name": "-" })),
            "ValidationError: The target group name '-' must be 1 to 32 alphanumeric characters or hyphens, must not \
             begin or end with a hyphen, and must not begin with \"internal-\""
                .to_owned(),
        ),
        (
            "CreateTargetGroup",
            target_group(json!({ "VpcId": "vpc-0aaaaaaaaaaaaaaaa" })),
            "ValidationError: The VPC ID 'vpc-0aaaaaaaaaaaaaaaa' is not found".to_owned(),
        ),
        (
            "CreateListener",
            listener(json!({ "Protocol": "HTTP" })),
            "UnsupportedProtocol: Listener protocol 'HTTP' is not supported for a network load balancer".to_owned(),
        ),
        (
            "CreateListener",
            listener(json!({ "Protocol": "TLS", "Certificates": [{ "CertificateArn": certificate }] })),
            format!("CertificateNotFound: Certificate '{certificate}' not found"),
        ),
        (
            "CreateListener",
            listener(json!({ "SslPolicy": "ELBSecurityPolicy-2016-08" })),
            "InvalidConfigurationRequest: SslPolicy can be specified for TLS listeners only".to_owned(),
        ),
        (
            "CreateListener",
            listener(json!({ "DefaultActions": [{ "Type": "redirect" }] })),
            "InvalidConfigurationRequest: The action type 'redirect' is not supported for a network load balancer"
                .to_owned(),
        ),
        (
            "CreateListener",
            listener(json!({ "DefaultActions": [{ "Type": "forward", "TargetGroupArn": gone }] })),
            "TargetGroupNotFound: One or more target groups not found".to_owned(),
        ),
        (
            "CreateListener",
            listener(json!({ "Protocol": "UDP" })),
            "IncompatibleProtocols: The protocol TCP of the target group is not compatible with a UDP listener"
                .to_owned(),
        ),
        (
            "CreateListener",
            listener(json!({ "Protocol": "QUIC" })),
            not_yet("The listener protocol 'QUIC'"),
        ),
        (
            "CreateListener",
            listener(json!({ "DefaultActions": [{ "Type": "forward", "TargetGroupArn": tls }] })),
            "IncompatibleProtocols: The protocol TLS of the target group is not compatible with a TCP listener"
                .to_owned(),
        ),
        (
            "RegisterTargets",
            json!({ "TargetGroupArn": group, "Targets": [{ "Id": "i-0aaaaaaaaaaaaaaaa" }] }),
            "InvalidTarget: The following targets are not in a running state and cannot be registered: \
             'i-0aaaaaaaaaaaaaaaa'"
                .to_owned(),
        ),
        (
            "RegisterTargets",
            json!({ "TargetGroupArn": group, "Targets": [{ "Id": "10.0.1.9" }] }),
            "ValidationError: The target '10.0.1.9' does not match the target type of the target group".to_owned(),
        ),
        (
            "RegisterTargets",
            json!({ "TargetGroupArn": "x", "Targets": [{ "Id": "10.0.1.9" }] }),
            "ValidationError: 'x' is not a valid target group ARN".to_owned(),
        ),
        (
            "DescribeTargetHealth",
            json!({ "TargetGroupArn": group, "Include": ["All"] }),
            not_yet("The parameter Include"),
        ),
    ] {
        assert_eq!(region.refusal(operation, parameters.clone()).await, expected, "{operation} {parameters}");
    }
}

#[tokio::test]
async fn tags_are_kept_on_all_three_and_pages_are_turned() {
    let region = Region::new();
    let balancer = region.balancer("one").await;
    let group = region.group("web", json!({})).await;
    let listener = region.listener(&balancer, &group).await;
    let all = json!([balancer, group, listener]);
    let tags = json!([{ "Key": "team", "Value": "net" }, { "Key": "empty" }]);
    region.call("AddTags", json!({ "ResourceArns": all, "Tags": tags })).await;
    let told = region.call("DescribeTags", json!({ "ResourceArns": all })).await;
    for (description, arn) in told["TagDescriptions"].as_array().unwrap().iter().zip(all.as_array().unwrap())
    {
        assert_eq!(description["ResourceArn"], *arn);
        let expected = json!([{ "Key": "empty", "Value": "" }, { "Key": "team", "Value": "net" }]);
        assert_eq!(description["Tags"], expected);
    }
    region.call("RemoveTags", json!({ "ResourceArns": [group], "TagKeys": ["team"] })).await;
    let told = region.call("DescribeTags", json!({ "ResourceArns": [group] })).await;
    assert_eq!(told["TagDescriptions"][0]["Tags"], json!([{ "Key": "empty", "Value": "" }]));

    for name in ["a", "b", "c"] {
        region.group(name, json!({})).await;
    }
    let (mut names, mut marker) = (Vec::new(), Json::Null);
    loop {
        let mut parameters = json!({ "PageSize": 2 });
        if !marker.is_null() {
            parameters["Marker"] = marker;
        }
        let told = region.call("DescribeTargetGroups", parameters).await;
        let page = told["TargetGroups"].as_array().unwrap();
        assert!(page.len() <= 2);
        names.extend(page.iter().map(|group| text(&group["TargetGroupName"])));
        marker = told["NextMarker"].clone();
        if marker.is_null() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "web"]);
    let limits = region.call("DescribeAccountLimits", json!({})).await;
    assert_eq!(limits["Limits"][1], json!({ "Name": "network-load-balancers", "Max": "50" }));
}

#[tokio::test]
async fn policies_decide_and_accounts_see_nothing_of_each_other() {
    let region = Region::new();
    let (balancer, group) = (region.balancer("one").await, region.group("web", json!({})).await);
    let other = region.world.caller("AKIAROOT2", None).unwrap();
    let theirs = region.world.elb(&other, "DescribeLoadBalancers", json!({})).await.unwrap();
    assert_eq!(theirs["LoadBalancers"], json!([]));
    let named = region.world.elb(&other, "DeleteTargetGroup", json!({ "TargetGroupArn": group })).await;
    named.unwrap();
    region.call("DescribeTargetGroups", json!({ "TargetGroupArns": [group] })).await;
    assert_eq!(
        refusal(
            region
                .world
                .elb(&other, "SetSubnets", json!({ "LoadBalancerArn": balancer, "Subnets": [] }))
                .await
        ),
        format!("LoadBalancerNotFound: Load balancer '{balancer}' not found")
    );

    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "elasticloadbalancing:*",
                "Resource": format!("arn:aws:elasticloadbalancing:us-east-1:{ONE}:targetgroup/*"),
                "Condition": { "StringNotEquals": { "aws:RequestTag/team": "other" } },
            },
        ],
    });
    let user = region.world.user("ann", Some(&policy.to_string())).await;
    let attempt = async |operation: &str, parameters: Json| {
        region.world.elb(&user, operation, parameters).await.map(|_| ()).map_err(|error| error.code)
    };
    let denied = Err("AccessDenied".to_owned());
    assert_eq!(attempt("DescribeLoadBalancers", json!({})).await, denied);
    assert_eq!(attempt("DeleteLoadBalancer", json!({ "LoadBalancerArn": balancer })).await, denied);
    let new = |name: &str, team: &str| {
        let tags = json!([{ "Key": "team", "Value": team }]);
        json!({ "Name": name, "Protocol": "TCP", "Port": 80, "VpcId": region.vpc.to_string(), "Tags": tags })
    };
    assert_eq!(attempt("CreateTargetGroup", new("theirs", "other")).await, denied);
    assert_eq!(attempt("CreateTargetGroup", new("ours", "net")).await, Ok(()));
    assert_eq!(attempt("DeleteTargetGroup", json!({ "TargetGroupArn": group })).await, Ok(()));
}
