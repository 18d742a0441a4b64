//! Interface endpoints from inside and outside: who a service takes a connection for, what a change does to connections
//! that live, names with their certificates, and what boto3 makes of the API.

use serde_json::{Value, json};

use crate::aws::{Aws, Boto};
use crate::harness::{Region, World, eventually};
use crate::network::{Network, audit, becomes, private_address, role, text};

crate::both_ways!(connections_outlive_changes_that_are_not_theirs);
crate::one_way!(
    a_service_without_a_backend_says_so,
    boto3_reads_what_it_wrote,
    programs_in_an_instance_publish_to_topics
);

/// A client that does what it is told: `connect HOST`, `get TARGET`, `begin TARGET` (and read a little of the answer),
/// `rest` (of it), `names HOST`, `post HOST` (and say what came).
const CLIENT: &str = r#"
import http.client, socket, ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/etc/postern/ca.pem")
held = response = host = None
read = 0
def ask(target):
    held.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(held, method="GET")
    answer.begin()
    return answer
for line in sys.stdin:
    verb, *words = line.split()
    try:
        if verb == "connect":
            host = words[0]
            plain = socket.create_connection((host, 443), timeout=3)
            held = context.wrap_socket(plain, server_hostname=host)
            print("connected", held.getpeername()[0])
        elif verb == "names":
            print(*sorted({entry[4][0] for entry in socket.getaddrinfo(words[0], 443, socket.AF_INET)}))
        elif verb == "get":
            answer = ask(words[0])
            print("status", answer.status, len(answer.read()))
        elif verb == "begin":
            response = ask(words[0])
            read = len(response.read(100_000))
            print("begun", response.status, response.length)
        elif verb == "rest":
            try:
                while part := response.read1(1 << 16):
                    read += len(part)
                print("broken" if response.length else "all", read)
            except OSError as error:
                print("broken", read, repr(error))
        elif verb == "post":
            try:
                request = urllib.request.Request(f"https://{words[0]}/", data=b"Action=Nothing", method="POST")
                print(urllib.request.urlopen(request, timeout=5, context=context).status)
            except urllib.error.HTTPError as error:
                print(error.code, error.read().decode().replace("\n", " "))
    except OSError as error:
        print("no:", repr(error))
    sys.stdout.flush()
"#;

const SIZE: usize = 48 << 20;

fn state(aws: &Aws, endpoint: &str) -> Value {
    let found = aws.ec2("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
    found["VpcEndpoints"][0].clone()
}

/// Makes an interface endpoint for a service, and waits until packets and names lead there.
fn endpoint(aws: &Aws, network: &Network, service: &str, more: Value) -> String {
    let mut request = json!({
        "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet],
        "ServiceName": format!("com.amazonaws.{}.{service}", aws.region),
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let endpoint = text(&aws.ec2("CreateVpcEndpoint", request)["VpcEndpoint"]["VpcEndpointId"]);
    available(aws, &endpoint);
    endpoint
}

fn available(aws: &Aws, endpoint: &str) {
    eventually("the endpoint is available", 15, || {
        (state(aws, endpoint)["State"] == "available").then_some(())
    });
}

fn modify(aws: &Aws, endpoint: &str, more: Value) {
    let mut request = json!({ "VpcEndpointId": endpoint });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    aws.ec2("ModifyVpcEndpoint", request);
    available(aws, endpoint);
}

/// A network whose DNS attributes are both on.
fn network(aws: &Aws) -> Network {
    let network = Network::new(aws);
    let on = json!({ "VpcId": network.vpc, "EnableDnsHostnames": { "Value": true } });
    aws.ec2("ModifyVpcAttribute", on);
    network
}

fn last_record(region: &Region<'_>, name: &str) -> Value {
    let records = audit(region);
    records.into_iter().rfind(|record| record["eventName"] == name).expect("a record")
}

fn connections_outlive_changes_that_are_not_theirs(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = network(&aws);
    let instance = network.run(&aws, json!({}));
    assert_eq!(aws.s3("PUT", "/large-bucket", "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/large-bucket/large", "", &vec![b'x'; SIZE]).unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/large-bucket/small", "", b"small").unwrap().status, 200);
    let endpoint = endpoint(&aws, &network, "s3", json!({}));
    let entries = state(&aws, &endpoint)["DnsEntries"].clone();
    let host = text(&entries[0]["DnsName"]).replacen('*', "bucket", 1);
    let (large, small) =
        (aws.presigned(&host, "/large-bucket/large"), aws.presigned(&host, "/large-bucket/small"));

    // By the endpoint's own name, whose certificate is checked; the address is in the subnet.
    let mut one = region.talk(&instance, &["/usr/bin/python3", "-u", "-c", CLIENT]);
    let connected = one.ask(&format!("connect {host}"));
    assert!(connected.starts_with("connected 10.0.1."), "{connected}");
    assert_eq!(one.ask(&format!("get {small}")), "status 200 5");
    let address = connected.rsplit(' ').next().unwrap().to_owned();
    assert_eq!(one.ask(&format!("names {host}")), address);
    let record = eventually("it is recorded", 10, || {
        let records = audit(&region);
        records.into_iter().rfind(|record| record["eventName"] == "GetObject")
    });
    assert_eq!(record["vpcEndpointId"], *endpoint, "{record}");
    assert_eq!(record["vpcId"], network.vpc, "{record}");
    assert_eq!(record["sourceIPAddress"], private_address(&aws, &instance), "{record}");

    // Another subnet, private names and a group that lets nobody in change nothing for who is there.
    assert_eq!(one.ask(&format!("begin {large}")), format!("begun 200 {}", SIZE - 100_000));
    let zone = format!("{}b", aws.region);
    let other = json!({ "VpcId": network.vpc, "CidrBlock": "10.0.2.0/24", "AvailabilityZone": zone });
    let other = text(&aws.ec2("CreateSubnet", other)["Subnet"]["SubnetId"]);
    let dns = json!({ "PrivateDnsOnlyForInboundResolverEndpoint": false });
    modify(&aws, &endpoint, json!({ "AddSubnetIds": [other], "PrivateDnsEnabled": true, "DnsOptions": dns }));
    let shut = json!({ "GroupName": "shut", "Description": "nobody", "VpcId": network.vpc });
    let shut = text(&aws.ec2("CreateSecurityGroup", shut)["GroupId"]);
    modify(
        &aws,
        &endpoint,
        json!({ "AddSecurityGroupIds": [shut], "RemoveSecurityGroupIds": [network.group] }),
    );
    assert_eq!(one.ask("rest"), format!("all {SIZE}"));
    let usual = format!("s3.{}.amazonaws.com", aws.region);
    let both = one.ask(&format!("names {usual}"));
    assert!(both.split(' ').count() == 2 && both.contains(&address), "{both}");
    assert_eq!(one.ask(&format!("get {small}")), "status 200 5", "the connection is tracked");
    let mut two = region.talk(&instance, &["/usr/bin/python3", "-u", "-c", CLIENT]);
    let refused = two.ask(&format!("connect {usual}"));
    assert!(refused.starts_with("no:") && refused.contains("timed out"), "{refused}");
    modify(
        &aws,
        &endpoint,
        json!({ "AddSecurityGroupIds": [network.group], "RemoveSecurityGroupIds": [shut] }),
    );
    assert!(two.ask(&format!("connect {usual}")).starts_with("connected 10.0."));

    // The endpoint's policy is asked about each request.
    let deny = json!({ "Statement": [{ "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "*" }] });
    modify(&aws, &endpoint, json!({ "PolicyDocument": deny.to_string() }));
    assert!(one.ask(&format!("get {small}")).starts_with("status 403 "));
    eventually("it is recorded", 10, || {
        // Until then the last record may be that of a request that was let through.
        let record = last_record(&region, "GetObject");
        let message = record["errorMessage"].as_str().unwrap_or_default();
        message.contains("explicit deny in a VPC endpoint policy").then_some(())
    });
    modify(&aws, &endpoint, json!({ "ResetPolicy": true }));
    assert_eq!(one.ask(&format!("get {small}")), "status 200 5");

    // Deleting it ends them, and its names.
    assert_eq!(one.ask(&format!("begin {large}")), format!("begun 200 {}", SIZE - 100_000));
    aws.ec2("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
    let rest = one.ask("rest");
    assert!(rest.starts_with("broken"), "{rest}");
    eventually("it is deleted", 15, || (state(&aws, &endpoint)["State"] == "deleted").then_some(()));
    let gone = two.ask(&format!("names {host}"));
    assert!(gone.starts_with("no:") && gone.contains("gaierror"), "{gone}");
    let public = two.ask(&format!("names {usual}"));
    assert!(!public.contains("10.0."), "{public}");
    drop((one, two));
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn a_service_without_a_backend_says_so(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = network(&aws);
    let instance = network.launch(&aws, json!({}));
    let endpoint = endpoint(&aws, &network, "logs", json!({ "PrivateDnsEnabled": true }));
    becomes(&aws, &instance, "running");
    let mut client = region.talk(&instance, &["/usr/bin/python3", "-u", "-c", CLIENT]);
    let own = text(&state(&aws, &endpoint)["DnsEntries"][0]["DnsName"]);
    for host in [format!("logs.{}.amazonaws.com", aws.region), own] {
        let answer = client.ask(&format!("post {host}"));
        assert!(answer.starts_with("503 ") && answer.contains("ServiceUnavailable"), "{host}: {answer}");
    }
    drop(client);
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

fn programs_in_an_instance_publish_to_topics(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = network(&aws);
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "sns:*", "Resource": "*" } ] });
    role(&aws, "publisher", &policy);
    let profile = json!({ "IamInstanceProfile": { "Name": "publisher" } });
    let instance = network.launch(&aws, profile);
    let door = endpoint(&aws, &network, "sns", json!({ "PrivateDnsEnabled": true }));
    becomes(&aws, &instance, "running");
    let topic = region.sh(&instance, "aws sns create-topic --name one --query TopicArn --output text");
    let published =
        region.sh(&instance, &format!("aws sns publish --topic-arn {} --message hi", topic.trim()));
    assert!(published.contains("MessageId"), "{published}");
    let record = last_record(&region, "Publish");
    assert_eq!(
        (&record["eventSource"], &record["vpcEndpointId"]),
        (&json!("sns.amazonaws.com"), &json!(door))
    );
    // Route 53 Resolver has no endpoint for its own API, as on AWS; its name is known, and leads to the internet.
    let found = region.sh(&instance, "getent ahostsv4 route53resolver.us-east-1.amazonaws.com");
    assert!(found.starts_with("198.19."), "{found}");
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}

/// Each parameter, by a real client.
fn boto3_reads_what_it_wrote(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = network(&aws);
    let mut boto = Boto::new(&aws);
    let zone = format!("{}b", aws.region);
    let other = json!({ "VpcId": network.vpc, "CidrBlock": "10.0.2.0/24", "AvailabilityZone": zone });
    let other = text(&boto.call("ec2", "create_subnet", other)["Subnet"]["SubnetId"]);
    let service = format!("com.amazonaws.{}.sts", aws.region);
    let policy = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:GetCallerIdentity","Resource":"*"}]}"#;
    let made = boto.call(
        "ec2",
        "create_vpc_endpoint",
        json!({
            "VpcEndpointType": "Interface", "VpcId": network.vpc, "ServiceName": service, "PolicyDocument": policy,
            "SubnetIds": [network.subnet], "SecurityGroupIds": [network.group], "IpAddressType": "ipv4",
            "DnsOptions": { "DnsRecordIpType": "service-defined" }, "ClientToken": "once", "PrivateDnsEnabled": true,
            "TagSpecifications": [{ "ResourceType": "vpc-endpoint", "Tags": [{ "Key": "Name", "Value": "door" }] }],
            "SubnetConfigurations": [{ "SubnetId": network.subnet, "Ipv4": "10.0.1.77" }], "ServiceRegion": aws.region,
        }),
    );
    assert_eq!(made["ClientToken"], "once");
    let id = text(&made["VpcEndpoint"]["VpcEndpointId"]);
    let shown = |boto: &mut Boto, state: &str| {
        eventually("the endpoint is as it is to be", 15, || {
            let found = boto.call("ec2", "describe_vpc_endpoints", json!({ "VpcEndpointIds": [id] }));
            (found["VpcEndpoints"][0]["State"] == state).then(|| found["VpcEndpoints"][0].clone())
        })
    };
    let endpoint = shown(&mut boto, "available");
    let names: Vec<_> =
        endpoint["DnsEntries"].as_array().unwrap().iter().map(|e| text(&e["DnsName"])).collect();
    assert_eq!((names.len(), names[2].as_str()), (3, &*format!("sts.{}.amazonaws.com", aws.region)));
    assert_eq!(endpoint["PolicyDocument"], policy);
    assert_eq!(endpoint["DnsOptions"]["DnsRecordIpType"], "service-defined");
    assert_eq!(endpoint["Tags"][0]["Value"], "door");
    let eni = json!({ "NetworkInterfaceIds": endpoint["NetworkInterfaceIds"] });
    let eni = boto.call("ec2", "describe_network_interfaces", eni)["NetworkInterfaces"][0].clone();
    assert_eq!(
        (&eni["PrivateIpAddress"], &eni["InterfaceType"]),
        (&json!("10.0.1.77"), &json!("vpc_endpoint"))
    );
    boto.call(
        "ec2",
        "modify_vpc_endpoint",
        json!({
            "VpcEndpointId": id, "AddSubnetIds": [other], "RemoveSubnetIds": [network.subnet], "ResetPolicy": true,
            "SubnetConfigurations": [{ "SubnetId": other, "Ipv4": "10.0.2.77" }], "PrivateDnsEnabled": false,
            "DnsOptions": { "DnsRecordIpType": "ipv4" }, "IpAddressType": "ipv4",
        }),
    );
    let endpoint = shown(&mut boto, "available");
    assert_eq!(endpoint["SubnetIds"], json!([other]));
    assert_eq!(
        (&endpoint["PrivateDnsEnabled"], endpoint["DnsEntries"].as_array().unwrap().len()),
        (&json!(false), 2)
    );
    let services = json!({ "ServiceNames": [service], "Filters": [{ "Name": "service-type", "Values": ["Interface"] }] });
    let services = boto.call("ec2", "describe_vpc_endpoint_services", services);
    assert_eq!(services["ServiceDetails"][0]["PrivateDnsName"], names[2]);
    let deleted = boto.call("ec2", "delete_vpc_endpoints", json!({ "VpcEndpointIds": [id] }));
    assert_eq!(deleted["Unsuccessful"], json!([]));
    shown(&mut boto, "deleted");
    drop(boto);
    region.end_by(nix::sys::signal::Signal::SIGTERM);
}
