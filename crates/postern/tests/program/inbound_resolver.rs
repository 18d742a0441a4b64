//! Inbound endpoints of a VPC's resolver, by boto3 and from on premises.

use serde_json::{Value, json};

use crate::aws::{Aws, Boto};
use crate::harness::{World, eventually};
use crate::network::{Network, text};
use crate::on_premises::vpn;

crate::both_ways!(on_premises_asks_an_inbound_endpoint, an_inbound_endpoint_is_made_and_changed_by_boto3);

/// Speaks TLS to a name, and says where that is and what is answered.
const BY_NAME: &str = r#"
import os, socket, ssl, sys
name = sys.argv[1]
context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
with socket.create_connection((name, 443), 10) as plain:
    print(plain.getpeername()[0])
    with context.wrap_socket(plain, server_hostname=name) as there:
        there.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        print(there.recv(1000).split(b"\r\n")[0].decode())
"#;

/// Asks a resolver for a name, and prints what it says, an answer each line: `udp|tcp NAME [SERVER]`.
const ASK: &str = r#"
import socket, struct, sys
way, name, *server = sys.argv[1:]
if not server:
    server = [line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver")]
kind = 12 if name.endswith(".arpa") else 1
question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + question + struct.pack(">HH", kind, 1)
def read(answer):
    count, at = struct.unpack(">H", answer[6:8])[0], 12 + len(question) + 4
    for _ in range(count):
        # The name is a pointer to the question's.
        length = struct.unpack(">H", answer[at + 10:at + 12])[0]
        data = answer[at + 12:at + 12 + length]
        at += 12 + length
        labels, rest = [], data
        while kind == 12 and rest[0] and rest[0] < 0xc0:
            labels.append(rest[1:1 + rest[0]].decode())
            rest = rest[1 + rest[0]:]
        print(socket.inet_ntoa(data) if kind == 1 else ".".join(labels) + ".")
try:
    if way == "tcp":
        there = socket.create_connection((server[0], 53), 3)
        there.sendall(struct.pack(">H", len(query)) + query)
        there.settimeout(3)
        whole = there.makefile("rb")
        read(whole.read(struct.unpack(">H", whole.read(2))[0]))
    else:
        there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        there.settimeout(3)
        there.sendto(query, (server[0], 53))
        read(there.recv(4096))
except OSError as error:
    print(type(error).__name__)
"#;

/// Lets the VPC's group admit DNS and HTTPS from on premises.
fn admit(aws: &Aws, network: &Network) {
    let rule = |protocol: &str, port: u16| {
        json!({ "IpProtocol": protocol, "FromPort": port, "ToPort": port,
            "IpRanges": [{ "CidrIp": "192.168.0.0/16" }] })
    };
    let permissions = json!([rule("udp", 53), rule("tcp", 53), rule("tcp", 443)]);
    let allow = json!({ "GroupId": network.group, "IpPermissions": permissions });
    aws.ec2("AuthorizeSecurityGroupIngress", allow);
}

/// An inbound endpoint with these addresses in the network's subnet; waits until it answers.
fn inbound(boto3: &mut Boto, network: &Network, addresses: &[&str]) -> String {
    let places: Vec<Value> =
        addresses.iter().map(|ip| json!({ "SubnetId": network.subnet, "Ip": ip })).collect();
    let new = json!({ "CreatorRequestId": "one", "Name": "inbound", "Direction": "INBOUND",
        "SecurityGroupIds": [network.group], "IpAddresses": places });
    let made = boto3.call("route53resolver", "create_resolver_endpoint", new);
    let id = text(&made["ResolverEndpoint"]["Id"]);
    operational(boto3, &id);
    id
}

fn operational(boto3: &mut Boto, id: &str) {
    eventually("the endpoint is operational", 15, || {
        let get = json!({ "ResolverEndpointId": id });
        let shown = boto3.call("route53resolver", "get_resolver_endpoint", get);
        (shown["ResolverEndpoint"]["Status"] == "OPERATIONAL").then_some(())
    });
}

fn on_premises_asks_an_inbound_endpoint(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let mut boto3 = Boto::new(&aws);
    let network = Network::new(&aws);
    let hostnames = json!({ "VpcId": network.vpc, "EnableDnsHostnames": { "Value": true } });
    aws.ec2("ModifyVpcAttribute", hostnames);
    admit(&aws, &network);
    network.s3_endpoint(&aws);
    let door = json!({ "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet],
        "ServiceName": "com.amazonaws.us-east-1.s3", "PrivateDnsEnabled": true,
        "SubnetConfigurations": [{ "SubnetId": network.subnet, "Ipv4": "10.0.1.99" }] });
    let door = aws.ec2("CreateVpcEndpoint", door);
    let options = &door["VpcEndpoint"]["DnsOptions"]["PrivateDnsOnlyForInboundResolverEndpoint"];
    assert_eq!(options, &json!(true), "as for S3 where nothing else is said");
    let door = text(&door["VpcEndpoint"]["VpcEndpointId"]);
    let endpoint = inbound(&mut boto3, &network, &["10.0.1.53", "10.0.1.54"]);
    let instance = network.run(&aws, json!({}));
    let vpn = vpn(&aws, &network);
    let asks = |from: &str, way: &str, name: &str, server: &[&str]| {
        let fixed = ["/usr/bin/python3", "-c", ASK, way, name];
        region.exec(from, &[&fixed[..], server].concat()).stdout
    };
    let ask = |from: &str, way: &str, server: &[&str]| asks(from, way, "s3.us-east-1.amazonaws.com", server);

    // By both of its addresses, over UDP and TCP, S3's usual name leads on premises to the interface endpoint.
    assert_eq!(ask(&vpn, "udp", &["10.0.1.53"]), "10.0.1.99\n");
    assert_eq!(ask(&vpn, "tcp", &["10.0.1.54"]), "10.0.1.99\n");
    // In the VPC it is still what the gateway endpoint takes, but for who asks there by the endpoint.
    assert!(ask(&instance, "udp", &[]).starts_with("198.19."), "{}", ask(&instance, "udp", &[]));
    assert_eq!(ask(&instance, "udp", &["10.0.1.53"]), "10.0.1.99\n");
    // Programs on premises that know nothing of it reach S3 there, by that name.
    assert_eq!(ask(&vpn, "udp", &[]), "10.0.1.99\n");
    let answered = region.exec(&vpn, &["/usr/bin/python3", "-c", BY_NAME, "s3.us-east-1.amazonaws.com"]);
    assert!(answered.stdout.starts_with("10.0.1.99\nHTTP/1.1 "), "{answered:?}");
    // Private names of the VPC are answered too, and what it takes besides DNS is nothing.
    let own = asks(&vpn, "udp", "99.1.0.10.in-addr.arpa", &["10.0.1.53"]);
    assert_eq!(own, "ip-10-0-1-99.ec2.internal.\n");
    let trace = region.json(&["trace", "--from", &vpn, "--to", "10.0.1.53:443"]);
    let last = trace["stages"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["stage"], &last["resource"]), (&json!("endpoint"), &json!(endpoint)));

    // For everybody: the VPC sees it too.
    let all = json!({ "VpcEndpointId": door,
        "DnsOptions": { "PrivateDnsOnlyForInboundResolverEndpoint": false } });
    aws.ec2("ModifyVpcEndpoint", all);
    eventually("the VPC sees the interface endpoint", 15, || {
        (ask(&instance, "udp", &[]) == "10.0.1.99\n").then_some(())
    });

    // The groups bite at once, and what is deleted answers nobody.
    let revoke = json!({ "GroupId": network.group, "IpPermissions": [{ "IpProtocol": "udp", "FromPort": 53,
        "ToPort": 53, "IpRanges": [{ "CidrIp": "192.168.0.0/16" }] }] });
    aws.ec2("RevokeSecurityGroupIngress", revoke);
    assert!(ask(&vpn, "udp", &["10.0.1.53"]).contains("TimeoutError"));
    assert_eq!(ask(&vpn, "tcp", &["10.0.1.53"]), "10.0.1.99\n");
    boto3.call("route53resolver", "delete_resolver_endpoint", json!({ "ResolverEndpointId": endpoint }));
    let refused = ask(&vpn, "tcp", &["10.0.1.53"]);
    assert!(!refused.contains("10.0.1.99"), "{refused}");
    drop(boto3);
    region.down();
}

const BOTO3: &str = r#"
import boto3, botocore, botocore.config, json, time
plain_config = botocore.config.Config(parameter_validation=False)
ec2, resolver = boto3.client("ec2"), boto3.client("route53resolver", config=plain_config)
vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
one = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
two = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.2.0/24")["Subnet"]["SubnetId"]
other = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
far = ec2.create_subnet(VpcId=other, CidrBlock="10.1.1.0/24")["Subnet"]["SubnetId"]
group = ec2.create_security_group(VpcId=vpc, GroupName="dns", Description="dns")["GroupId"]
words = {vpc: "vpc", one: "one", two: "two", far: "far", group: "group", other: "other"}
def plain(text):
    for word, name in words.items():
        text = text.replace(word, name)
    return text
def refused(call):
    try:
        print("not refused", call())
    except botocore.exceptions.ClientError as error:
        more = [error.response.get(key) for key in ("FieldName", "ResourceType") if error.response.get(key)]
        print(error.response["Error"]["Code"], plain(error.response["Error"]["Message"]), *more)
def create(request, places, **more):
    new = dict(CreatorRequestId=request, Direction="INBOUND", SecurityGroupIds=[group])
    new.update(IpAddresses=places, **more)
    return resolver.create_resolver_endpoint(**new)["ResolverEndpoint"]
def settled(id):
    while True:
        found = resolver.get_resolver_endpoint(ResolverEndpointId=id)["ResolverEndpoint"]
        if found["Status"] == "OPERATIONAL":
            return found
        time.sleep(0.1)
places = [dict(SubnetId=one, Ip="10.0.1.53"), dict(SubnetId=two)]
made = create("first", places, Name="in", Tags=[dict(Key="team", Value="net")])
id = made["Id"]
words[id] = "endpoint"
print(made["Direction"], made["IpAddressCount"], made["Status"], made["HostVPCId"] == vpc, made["Name"],
    made["SecurityGroupIds"] == [group], made["Protocols"], made["ResolverEndpointType"], plain(made["Arn"]).split(":")[5:])
print(settled(id)["StatusMessage"])
addresses = resolver.list_resolver_endpoint_ip_addresses(ResolverEndpointId=id)["IpAddresses"]
print(sorted((plain(address["SubnetId"]), address["Ip"], address["Status"]) for address in addresses))
eni = [eni for eni in ec2.describe_network_interfaces()["NetworkInterfaces"] if eni["PrivateIpAddress"] == "10.0.1.53"][0]
ids = {address["Ip"]: address["IpId"] for address in addresses}
words[eni["NetworkInterfaceId"]] = "eni"
print(eni["RequesterManaged"], eni["Description"] == f"Route 53 Resolver: {id}:{ids['10.0.1.53']}",
    eni["Groups"][0]["GroupId"] == group, eni["Status"], eni["InterfaceType"])
refused(lambda: ec2.delete_network_interface(NetworkInterfaceId=eni["NetworkInterfaceId"]))
refused(lambda: ec2.delete_security_group(GroupId=group))
refused(lambda: create("first", places))
refused(lambda: create("few", places[:1]))
refused(lambda: create("taken", [dict(SubnetId=one, Ip="10.0.1.53"), dict(SubnetId=two)]))
refused(lambda: create("reserved", [dict(SubnetId=one, Ip="10.0.1.2"), dict(SubnetId=two)]))
refused(lambda: create("outside", [dict(SubnetId=one, Ip="10.0.9.9"), dict(SubnetId=two)]))
refused(lambda: create("apart", [dict(SubnetId=one), dict(SubnetId=far)]))
refused(lambda: create("nowhere", [dict(SubnetId="subnet-0123456789abcdef0"), dict(SubnetId=two)]))
refused(lambda: create("out", places, Direction="OUTBOUND"))
refused(lambda: create("six", places, ResolverEndpointType="DUALSTACK"))
refused(lambda: create("doh", places, Protocols=["Do53", "DoH"]))
refused(lambda: create("name", places, Name="12"))
refused(lambda: create("group", [dict(SubnetId=one)] * 2, SecurityGroupIds=["sg-0123456789abcdef0"]))
refused(lambda: create("none", [dict(SubnetId=one)] * 2, SecurityGroupIds=[]))
refused(lambda: create("many", [dict(SubnetId=one)] * 7))
refused(lambda: resolver.get_resolver_endpoint(ResolverEndpointId="rslvr-in-0123456789abcdef0"))
refused(lambda: resolver.list_resolver_endpoints(NextToken="?"))
refused(lambda: resolver.list_resolver_endpoints(Filters=[dict(Name="Dogs", Values=["1"])]))
refused(lambda: resolver.list_resolver_rules())
update = dict(ResolverEndpointId=id)
print(resolver.update_resolver_endpoint(Name="renamed", **update)["ResolverEndpoint"]["Name"])
added = resolver.associate_resolver_endpoint_ip_address(IpAddress=dict(SubnetId=one, Ip="10.0.1.54"), **update)
print(added["ResolverEndpoint"]["Status"], added["ResolverEndpoint"]["IpAddressCount"])
settled(id)
gone = resolver.disassociate_resolver_endpoint_ip_address(IpAddress=dict(IpId=ids["10.0.1.53"]), **update)
print(gone["ResolverEndpoint"]["IpAddressCount"])
settled(id)
refused(lambda: resolver.disassociate_resolver_endpoint_ip_address(IpAddress=dict(Ip="10.0.1.54"), **update))
refused(lambda: resolver.disassociate_resolver_endpoint_ip_address(IpAddress=dict(Ip="10.0.1.53"), **update))
arn = dict(ResourceArn=made["Arn"])
resolver.tag_resource(Tags=[dict(Key="cost", Value="7")], **arn)
resolver.untag_resource(TagKeys=["team"], **arn)
print(resolver.list_tags_for_resource(**arn)["Tags"])
refused(lambda: resolver.tag_resource(Tags=[dict(Key="aws:x", Value="7")], **arn))
listed = resolver.list_resolver_endpoints(Filters=[dict(Name="Direction", Values=["INBOUND"]), dict(Name="Name", Values=["renamed"])])
print([plain(found["Id"]) for found in listed["ResolverEndpoints"]], listed["MaxResults"])
print(resolver.list_resolver_endpoints(Filters=[dict(Name="HostVPCId", Values=["vpc-1"])])["ResolverEndpoints"])
for n in range(3):
    create(f"more {n}", [dict(SubnetId=one), dict(SubnetId=two)])
refused(lambda: create("fifth", [dict(SubnetId=one), dict(SubnetId=two)]))
paginator = resolver.get_paginator("list_resolver_endpoints")
pages = list(paginator.paginate(PaginationConfig=dict(PageSize=3)))
print([len(page["ResolverEndpoints"]) for page in pages])
iam = boto3.client("iam")
iam.create_user(UserName="dns")
tagged = dict(Effect="Allow", Action="route53resolver:*", Resource="*", Condition={"StringEquals": {"aws:ResourceTag/cost": "7"}})
making = dict(Effect="Allow", Action="route53resolver:CreateResolverEndpoint", Resource="*")
iam.put_user_policy(UserName="dns", PolicyName="p", PolicyDocument=json.dumps(dict(Version="2012-10-17", Statement=[tagged, making])))
key = iam.create_access_key(UserName="dns")["AccessKey"]
limited = boto3.client("route53resolver", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
def denied(call):
    try:
        print("not denied", call())
    except botocore.exceptions.ClientError as error:
        message = error.response["Error"]["Message"]
        print(error.response["Error"]["Code"], message.split("to perform: ")[1].split()[0])
print(limited.get_resolver_endpoint(**update)["ResolverEndpoint"]["Id"] == id)
denied(lambda: limited.delete_resolver_endpoint(**update))
denied(lambda: limited.list_resolver_endpoints())
denied(lambda: limited.get_resolver_endpoint(ResolverEndpointId=pages[0]["ResolverEndpoints"][0]["Id"] if pages[0]["ResolverEndpoints"][0]["Id"] != id else pages[0]["ResolverEndpoints"][1]["Id"]))
denied(lambda: limited.create_resolver_endpoint(CreatorRequestId="x", Direction="INBOUND", SecurityGroupIds=[group], IpAddresses=places))
quotas = boto3.client("service-quotas")
print(quotas.get_service_quota(ServiceCode="route53resolver", QuotaCode="L-4A669CC0")["Quota"]["Value"])
for page in pages:
    for found in page["ResolverEndpoints"]:
        print(resolver.delete_resolver_endpoint(ResolverEndpointId=found["Id"])["ResolverEndpoint"]["Status"])
while resolver.list_resolver_endpoints()["ResolverEndpoints"]:
    time.sleep(0.1)
refused(lambda: resolver.delete_resolver_endpoint(**update))
print(ec2.describe_network_interfaces()["NetworkInterfaces"])
for subnet in (one, two):
    ec2.delete_subnet(SubnetId=subnet)
ec2.delete_security_group(GroupId=group)
ec2.delete_vpc(VpcId=vpc)
print("gone")
"#;

const BOTO3_SAYS: &str = "\
INBOUND 2 CREATING True in True ['Do53'] IPV4 ['resolver-endpoint/endpoint']
This Resolver Endpoint is operational.
[('one', '10.0.1.53', 'ATTACHED'), ('two', '10.0.2.4', 'ATTACHED')]
True True True in-use interface
InvalidParameterValue Network interface 'eni' is currently in use.
DependencyViolation resource group has a dependent object
ResourceExistsException Resolver endpoint with creator request ID 'first' already exists resolver-endpoint
InvalidRequestException Resolver endpoint needs to have at least 2 IP addresses
ResourceExistsException The IP address '10.0.1.53' in subnet 'one' is already in use resolver-endpoint
InvalidRequestException IP address '10.0.1.2' is either not in subnet 'one' CIDR range or is reserved
InvalidRequestException IP address '10.0.9.9' is either not in subnet 'one' CIDR range or is reserved
InvalidRequestException 'far' is not in the VPC 'vpc': an endpoint is in one VPC alone
InvalidParameterException The subnet ID 'subnet-0123456789abcdef0' does not exist SubnetId
InvalidParameterException Direction 'OUTBOUND' is not supported by this endpoint yet. Direction
InvalidParameterException ResolverEndpointType 'DUALSTACK' is not supported by this endpoint yet. ResolverEndpointType
InvalidParameterException Protocols 'DoH' is not supported by this endpoint yet. Protocols
InvalidParameterException '12' is not a name of letters, digits, '-', '_', apostrophes and spaces. Name
ResourceNotFoundException The security group 'sg-0123456789abcdef0' does not exist security-group
InvalidParameterException At least one security group is required. SecurityGroupIds
LimitExceededException An endpoint can have at most 6 IP addresses resolver-endpoint
ResourceNotFoundException Resolver endpoint with ID 'rslvr-in-0123456789abcdef0' does not exist resolver-endpoint
InvalidNextTokenException Invalid value passed for the NextToken parameter
InvalidParameterException The filter 'Dogs' is invalid Filters
UnknownOperationException\x20
renamed
UPDATING 3
2
InvalidRequestException Resolver endpoint needs to have at least 2 IP addresses
ResourceNotFoundException IP address '10.0.1.53' is not associated with resolver endpoint 'endpoint' ip-address
[{'Key': 'cost', 'Value': '7'}]
InvalidTagException The tag key 'aws:x' begins with 'aws:', which is AWS's own.
['endpoint'] 100
[]
LimitExceededException The account has reached its limit of 4 resolver endpoints resolver-endpoint
[3, 1]
True
AccessDeniedException ec2:DeleteNetworkInterface
AccessDeniedException route53resolver:ListResolverEndpoints
AccessDeniedException route53resolver:GetResolverEndpoint
AccessDeniedException ec2:DescribeAvailabilityZones
4.0
DELETING
DELETING
DELETING
DELETING
ResourceNotFoundException Resolver endpoint with ID 'endpoint' does not exist resolver-endpoint
[]
gone
";

fn an_inbound_endpoint_is_made_and_changed_by_boto3(world: &World) {
    let region = world.up(&[]);
    let ran = region.aws().boto3(BOTO3);
    assert_eq!(ran.stdout, BOTO3_SAYS, "{}", ran.stderr);
    region.down();
}
