//! The condition keys about the way of a request: there through an endpoint, for the services that AWS lists, and moved by
//! nothing that a client says.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::aws::{Aws, Boto};
use crate::harness::{Region, World, eventually};
use crate::network::{Network, becomes, private_address, role, text};

crate::both_ways!(no_client_moves_the_keys_of_the_way);
crate::one_way!(each_service_has_its_keys_of_the_way);

/// Asks for each target that it reads, with everything in it that could be taken for a way: what came of it, line by line.
const CLIENT: &str = r#"
import socket, ssl, sys
host, endpoint, vpc, account, organization = sys.argv[1:]
context = ssl.create_default_context(cafile="/etc/postern/ca.pem")
claims = {
    "aws:SourceVpce": endpoint, "aws:SourceVpc": vpc, "aws:VpceAccount": account, "aws:VpceOrgID": organization,
    "aws:VpceOrgPaths": organization + "/", "aws:SourceVpcArn": f"arn:aws:ec2:us-east-1:{account}:vpc/{vpc}",
    "aws:VpcSourceIp": "10.9.9.9", "aws:SourceIp": "203.0.113.9",
}
headers = "".join(
    f"{name}: {value}\r\n" for key, value in claims.items()
    for name in (key.replace(":", "-"), "x-" + key.replace(":", "-"), "x-amzn-" + key.split(":")[1]))
headers += "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\nX-Amzn-Vpce-Id: " + endpoint + "\r\n"
proxy_one = b"PROXY TCP4 203.0.113.9 198.19.0.10 4000 443\r\n"
proxy_two = bytes.fromhex("0d0a0d0a000d0a515549540a2111000ccb007109c613000a0fa001bb")
def ask(target, before=b"", first=b""):
    plain = socket.create_connection((host, 443), timeout=5)
    try:
        plain.sendall(before)
        held = context.wrap_socket(plain, server_hostname=host)
        held.sendall(first + f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n".encode())
        return held.makefile("rb").readline().split(b" ")[1].decode()
    except (OSError, IndexError):
        return "cut"
    finally:
        plain.close()
for line in sys.stdin:
    target = line.strip()
    query = "&".join(f"{name}={value}" for name, value in claims.items())
    print(ask(target), ask(target + "&" + query), ask(target, before=proxy_one), ask(target, before=proxy_two),
          ask(target, first=proxy_one), flush=True)
"#;

/// A bucket policy that refuses what has not this.
fn only(condition: &Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::the-bucket/*",
        "Condition": condition }] })
    .to_string()
}

fn put_policy(aws: &Aws, policy: &str) {
    let put = aws.s3("PUT", "/the-bucket", "policy=", policy.as_bytes()).unwrap();
    assert_eq!(put.status, 204, "{}", put.text());
}

fn organization(boto: &mut Boto) -> (String, String) {
    let made = boto.call("organizations", "create_organization", json!({ "FeatureSet": "ALL" }));
    let roots = boto.call("organizations", "list_roots", json!({}));
    (text(&made["Organization"]["Id"]), text(&roots["Roots"][0]["Id"]))
}

fn no_client_moves_the_keys_of_the_way(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let (id, root) = organization(&mut Boto::new(&aws));
    let account = text(&region.json(&["account", "list"])[0]["id"]);
    assert_eq!(aws.s3("PUT", "/the-bucket", "", b"").unwrap().status, 200);
    assert_eq!(aws.s3("PUT", "/the-bucket/key", "", b"content").unwrap().status, 200);
    let host = format!("s3.{}.amazonaws.com", aws.region);
    let target = aws.presigned(&host, "/the-bucket/key");
    let network = Network::new(&aws);
    let instance = network.launch(&aws, json!({}));
    let endpoint = network.s3_endpoint(&aws);
    becomes(&aws, &instance, "running");
    let address = private_address(&aws, &instance);
    let client = |claimed: [&str; 4]| {
        let arguments = ["/usr/bin/python3", "-u", "-c", CLIENT, &host];
        region.talk(&instance, &[&arguments[..], &claimed].concat())
    };
    let vpc = &network.vpc;
    let arn = format!("arn:aws:ec2:{}:{account}:vpc/{vpc}", aws.region);
    let right = [
        json!({ "StringNotEquals": { "aws:SourceVpce": endpoint } }),
        json!({ "StringNotEquals": { "aws:SourceVpc": vpc } }),
        json!({ "ArnNotEquals": { "aws:SourceVpcArn": arn } }),
        json!({ "StringNotEquals": { "aws:VpceAccount": account } }),
        json!({ "StringNotEquals": { "aws:VpceOrgID": id } }),
        json!({ "ForAllValues:StringNotLike": { "aws:VpceOrgPaths": format!("{id}/{root}/*") } }),
        json!({ "NotIpAddress": { "aws:VpcSourceIp": format!("{address}/32") } }),
        json!({ "Null": { "aws:SourceIp": "false" } }),
    ];
    let wrong = ["vpce-00000000000000bad", "vpc-00000000000000bad", "000000000666", "o-forged0000"];
    let claims_wrong = [
        json!({ "StringNotEquals": { "aws:SourceVpce": wrong[0] } }),
        json!({ "StringNotEquals": { "aws:SourceVpc": wrong[1] } }),
        json!({ "StringNotEquals": { "aws:VpceAccount": wrong[2] } }),
        json!({ "StringNotEquals": { "aws:VpceOrgID": wrong[3] } }),
        json!({ "ForAllValues:StringNotLike": { "aws:VpceOrgPaths": format!("{}/*", wrong[3]) } }),
        json!({ "NotIpAddress": { "aws:VpcSourceIp": "10.9.9.9/32" } }),
        json!({ "NotIpAddress": { "aws:SourceIp": "203.0.113.9/32" } }),
    ];
    // Through the endpoint the keys are there, whatever else is claimed. A query that is not what was signed is refused, and
    // what is not TLS at once, or no request, is cut off.
    let mut talk = client(wrong);
    for condition in &right {
        put_policy(&aws, &only(condition));
        let came = talk.ask(&target);
        assert_eq!(came, "200 403 cut cut 400", "{condition}");
    }
    for condition in &claims_wrong {
        put_policy(&aws, &only(condition));
        assert!(talk.ask(&target).starts_with("403 403 cut cut 400"), "{condition}");
    }
    // From outside there are none, however well they are claimed.
    for (condition, name) in right.iter().zip(["vpce", "vpc", "arn", "account", "org", "paths", "ip", "none"])
    {
        put_policy(&aws, &only(condition));
        let claims: [(&str, &str); 4] = [
            ("aws-sourcevpce", &endpoint),
            ("aws-sourcevpc", vpc),
            ("aws-vpceaccount", &account),
            ("aws-vpceorgid", &id),
        ];
        for claim in claims {
            assert_eq!(aws.with_header("GET", "/the-bucket/key", claim).status, 403, "{name}: {claim:?}");
        }
    }
    drop(talk);
    region.end_by(Signal::SIGTERM);
}

/// An interface endpoint with private DNS.
fn interface_endpoint(aws: &Aws, network: &Network, service: &str) {
    let request = json!({
        "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet],
        "ServiceName": service, "PrivateDnsEnabled": true,
    });
    let endpoint = text(&aws.ec2("CreateVpcEndpoint", request)["VpcEndpoint"]["VpcEndpointId"]);
    eventually("the endpoint is available", 15, || {
        let found = aws.ec2("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
        (found["VpcEndpoints"][0]["State"] == "available").then_some(())
    });
}

/// Whether a program of the instance may do this while its role may only where a key is there, and while only where it is not.
fn seen(region: &Region<'_>, aws: &Aws, instance: &str, key: &str, command: &str) -> [bool; 2] {
    ["false", "true"].map(|absent| {
        let policy = json!({ "Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": { "Null": { key: absent } } }] });
        let put = json!({ "RoleName": "worker", "PolicyName": "p", "PolicyDocument": policy.to_string() });
        aws.call("iam", "PutRolePolicy", put);
        let line = format!("AWS_MAX_ATTEMPTS=1 aws {command}");
        region.exec(instance, &["/bin/sh", "-c", &line]).code == Some(0)
    })
}

fn each_service_has_its_keys_of_the_way(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    organization(&mut Boto::new(&aws));
    let network = Network::new(&aws);
    let on = json!({ "VpcId": network.vpc, "EnableDnsHostnames": { "Value": true } });
    aws.ec2("ModifyVpcAttribute", on);
    let nothing = json!({ "Effect": "Deny", "Action": "*", "Resource": "*" });
    role(&aws, "worker", &json!({ "Version": "2012-10-17", "Statement": [nothing] }));
    let instance = network.run(&aws, json!({ "IamInstanceProfile": { "Name": "worker" } }));
    network.s3_endpoint(&aws);
    interface_endpoint(&aws, &network, "com.amazonaws.iam");
    interface_endpoint(&aws, &network, &format!("com.amazonaws.{}.ec2", aws.region));
    let gateway = json!({ "VpcId": network.vpc, "VpcEndpointType": "Gateway", "RouteTableIds": [network.table],
        "ServiceName": format!("com.amazonaws.{}.dynamodb", aws.region) });
    aws.ec2("CreateVpcEndpoint", gateway);
    let s3 = "s3api list-buckets";
    let dynamodb = "dynamodb list-tables";
    let ec2 = "ec2 describe-vpcs";
    let iam = "iam list-roles";
    for (key, of, lacking) in [
        ("aws:SourceVpce", &[s3, dynamodb, ec2, iam][..], &[][..]),
        ("aws:SourceVpcArn", &[s3, iam], &[dynamodb, ec2]),
        ("aws:VpceAccount", &[s3, dynamodb, iam], &[ec2]),
        ("aws:VpceOrgID", &[s3, dynamodb, iam], &[ec2]),
        ("aws:VpceOrgPaths", &[s3, dynamodb, iam], &[ec2]),
        ("aws:UserAgent", &[s3, dynamodb, ec2, iam], &[]),
        ("aws:referer", &[], &[s3, dynamodb, ec2, iam]),
        ("aws:SourceIp", &[], &[s3, dynamodb, ec2, iam]),
    ] {
        for command in of {
            assert_eq!(seen(&region, &aws, &instance, key, command), [true, false], "{key}: {command}");
        }
        for command in lacking {
            assert_eq!(seen(&region, &aws, &instance, key, command), [false, true], "{key}: {command}");
        }
    }
    region.end_by(Signal::SIGTERM);
}
