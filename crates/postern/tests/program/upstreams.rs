//! Services that other programs answer for: CloudWatch Logs and Kinesis on a moto server, with the real `aws` in an
//! instance; what is signed anew; what an upstream that is gone, or a service that nobody added, answers; and bad values.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use http::{HeaderMap, HeaderName, HeaderValue};
use nix::sys::signal::Signal;
use postern_wire::Timestamp;
use postern_wire::sigv4::{self, Payload, RequestParts, Rules, SecretAccessKey};
use serde_json::{Value, json};

use crate::aws::{Aws, Boto, now_milliseconds};
use crate::harness::{Region, World, eventually, tools};
use crate::network::{Network, audit, role, text};

crate::both_ways!(logs_and_kinesis_of_another_program);
crate::one_way!(
    requests_are_signed_anew,
    each_protocol_has_its_actions_and_resources,
    an_s3_of_another_region_has_its_own_door,
    a_way_back_to_the_region_is_seen,
    an_upstream_that_fails_is_said_to,
    services_stay_and_go,
    wrong_values_are_named,
);

/// A program that answers for services.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(world: &World, program: &str, arguments: &[&str], port: u16) -> Self {
        let log = std::fs::File::create(world.home().join(format!("{program}.log"))).unwrap();
        let mut command = world.command(&tools().join("bin").join(program));
        command.args(arguments).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap();
        let server = Self { child, url: format!("http://127.0.0.1:{port}") };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        eventually("the server listens", 60, || TcpStream::connect(address).ok());
        server
    }

    fn moto(world: &World) -> Self {
        let port = free_port();
        Self::start(world, "moto_server", &["-H", "127.0.0.1", "-p", &port.to_string()], port)
    }

    fn stop(&mut self) {
        // Whoever runs it may have put a shell before it, so all that descends from it ends.
        let all = crate::harness::descendants(self.child.id().try_into().unwrap());
        for pid in all {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A network with an instance of a role with this policy, and DNS as private names need it.
fn instance(aws: &Aws, policy: &Value) -> (Network, String) {
    let network = Network::new(aws);
    let on = json!({ "VpcId": network.vpc, "EnableDnsHostnames": { "Value": true } });
    aws.ec2("ModifyVpcAttribute", on);
    role(aws, "worker", policy);
    let instance = network.run(aws, json!({ "IamInstanceProfile": { "Name": "worker" } }));
    (network, instance)
}

/// An interface endpoint with private DNS, once packets and names lead there.
fn endpoint(aws: &Aws, network: &Network, service: &str, policy: Option<Value>) -> String {
    let mut request = json!({
        "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet],
        "ServiceName": format!("com.amazonaws.{}.{service}", aws.region), "PrivateDnsEnabled": true,
    });
    if let Some(policy) = policy {
        request["PolicyDocument"] = policy.to_string().into();
    }
    let endpoint = text(&aws.ec2("CreateVpcEndpoint", request)["VpcEndpoint"]["VpcEndpointId"]);
    eventually("the endpoint is available", 15, || {
        let found = aws.ec2("DescribeVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
        (found["VpcEndpoints"][0]["State"] == "available").then_some(())
    });
    endpoint
}

/// What `aws` in an instance prints when it fails.
#[track_caller]
fn refused(region: &Region<'_>, instance: &str, command: &str) -> String {
    let line = format!("AWS_MAX_ATTEMPTS=1 aws {command}");
    let ran = region.exec(instance, &["/bin/sh", "-c", &line]);
    assert_ne!(ran.code, Some(0), "`{command}` worked: {}", ran.stdout);
    ran.stderr
}

fn logs_and_kinesis_of_another_program(world: &World) {
    let mut moto = Server::moto(world);
    let region = world.up(&[]);
    let aws = region.aws();
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "logs:*", "Resource": "arn:aws:logs:*:*:log-group:work/*" },
        { "Effect": "Allow", "Action": "kinesis:*", "Resource": "*" },
        { "Effect": "Deny", "Action": "kinesis:DeleteStream", "Resource": "arn:aws:kinesis:*:*:stream/kept" },
    ] });
    let (network, instance) = instance(&aws, &policy);
    region.json(&["service", "add", "logs", "--upstream", &moto.url]);
    region.json(&["service", "add", "kinesis-streams", "--upstream", &moto.url]);
    let door = json!({ "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*" },
        { "Effect": "Deny", "Principal": "*", "Action": "logs:DeleteLogGroup", "Resource": "*" } ] });
    let logs = endpoint(&aws, &network, "logs", Some(door));
    let kinesis = endpoint(&aws, &network, "kinesis-streams", None);

    // What is written comes back.
    region.sh(&instance, "aws logs create-log-group --log-group-name work/a");
    region.sh(&instance, "aws logs create-log-stream --log-group-name work/a --log-stream-name s");
    let events = format!("timestamp={},message=hello", now_milliseconds());
    region.sh(
        &instance,
        &format!("aws logs put-log-events --log-group-name work/a --log-stream-name s --log-events {events}"),
    );
    let read = region.sh(
        &instance,
        "aws logs get-log-events --log-group-name work/a --log-stream-name s --query events[].message --output text",
    );
    assert_eq!(read.trim(), "hello");
    region.sh(&instance, "aws kinesis create-stream --stream-name kept --shard-count 1");
    region.sh(&instance, "aws kinesis put-record --stream-name kept --partition-key k --data aGVsbG8=");
    let described =
        region.sh(&instance, "aws kinesis describe-stream-summary --stream-name kept --output text");
    assert!(described.contains("ACTIVE"), "{described}");

    // Each kind of policy, in AWS's words.
    let role = format!("assumed-role/worker/{instance}");
    let said = refused(&region, &instance, "logs create-log-group --log-group-name other");
    assert!(said.contains("(AccessDeniedException)") && said.contains(&role), "{said}");
    assert!(said.contains("logs:CreateLogGroup on resource: arn:aws:logs:us-east-1:"), "{said}");
    assert!(said.contains(":log-group:other:log-stream: because no identity-based policy allows"), "{said}");
    let said = refused(&region, &instance, "logs delete-log-group --log-group-name work/a");
    assert!(said.contains("with an explicit deny in a VPC endpoint policy"), "{said}");
    let said = refused(&region, &instance, "kinesis delete-stream --stream-name kept");
    assert!(said.contains("stream/kept with an explicit deny in an identity-based policy"), "{said}");

    // By which door each came, and what was decided.
    let record = |name: &str, decision: &str| {
        eventually("the call is recorded", 10, || {
            let fits = |record: &Value| {
                record["eventName"] == name && record["additionalEventData"]["decision"] == decision
            };
            audit(&region).into_iter().find(fits)
        })
    };
    assert_eq!(record("PutLogEvents", "allowed")["vpcEndpointId"], logs.as_str());
    assert_eq!(record("PutRecord", "allowed")["vpcEndpointId"], kinesis.as_str());
    let denied = record("DeleteLogGroup", "denied");
    assert_eq!((&denied["eventSource"], &denied["httpStatus"]), (&json!("logs.amazonaws.com"), &json!(400)));

    // From outside, with boto3, as the root user.
    let mut boto = Boto::new(&aws);
    let groups = boto.call("logs", "describe_log_groups", json!({}));
    assert_eq!(groups["logGroups"][0]["logGroupName"], "work/a");
    drop(boto);

    // Without its program a service has no answer, and makes none up.
    moto.stop();
    let said = refused(&region, &instance, "kinesis list-streams");
    assert!(said.contains("(ServiceUnavailableException)") && said.contains("gave no answer"), "{said}");
    assert!(!said.contains("127.0.0.1"), "{said}");
    assert_eq!(record("ListStreams", "failed")["httpStatus"], 503);
    region.end_by(Signal::SIGTERM);
}

/// A server that says, in JSON, what it was asked.
const ECHO: &str = r#"
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length).decode()
        mode = json.loads(body).get("logGroupNamePrefix", "") if body.startswith("{") else ""
        if mode == "drop":
            self.close_connection = True
            return
        if mode == "half":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
            return
        seen = {"method": self.command, "path": self.path, "headers": self.headers.items(), "body": body}
        answer = json.dumps({"logGroups": [{"logGroupName": json.dumps(seen)}]}).encode()
        self.send_response(400 if mode == "refuse" else 200)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(answer)))
        self.send_header("x-amzn-requestid", "the-upstreams-own")
        if mode == "refuse":
            self.send_header("x-amzn-errortype", "InvalidParameterException:http://x/")
        self.end_headers()
        self.wfile.write(answer)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"#;

fn echo(world: &World) -> Server {
    let port = free_port();
    Server::start(world, "python3", &["-c", ECHO, &port.to_string()], port)
}

/// What an echo was asked by boto3.
fn asked(boto: &mut Boto) -> Value {
    let groups = boto.call("logs", "describe_log_groups", json!({ "logGroupNamePrefix": "x" }));
    serde_json::from_str(groups["logGroups"][0]["logGroupName"].as_str().unwrap()).unwrap()
}

fn headers_of(seen: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for pair in seen["headers"].as_array().unwrap() {
        let name = HeaderName::try_from(pair[0].as_str().unwrap()).unwrap();
        headers.append(name, HeaderValue::from_str(pair[1].as_str().unwrap()).unwrap());
    }
    headers
}

fn requests_are_signed_anew(world: &World) {
    let echo = echo(world);
    let region = world.up(&[]);
    let aws = region.aws();
    let mut boto = Boto::new(&aws);
    // As it came: the caller's own signature, for the host that it spoke to.
    region.json(&["service", "add", "logs", "--upstream", &echo.url]);
    let headers = headers_of(&asked(&mut boto));
    assert_eq!(headers["host"], aws.host.as_str());
    assert!(headers["authorization"].to_str().unwrap().contains(&aws.key), "{headers:?}");
    assert_eq!(region.run(&["service", "remove", "logs"]).code, Some(0));

    let secret_file = world.home().join("secret");
    std::fs::write(&secret_file, "upstream-secret\n").unwrap();
    world.hand_over(&secret_file);
    let added = region.json(&[
        "service",
        "add",
        "logs",
        "--upstream",
        &echo.url,
        "--key-id",
        "AKIAUPSTREAM",
        "--secret-file",
        secret_file.to_str().unwrap(),
        "--upstream-region",
        "eu-west-1",
    ]);
    assert_eq!(added[0]["key_id"], "AKIAUPSTREAM");
    let seen = asked(&mut boto);
    let headers = headers_of(&seen);
    assert_eq!(format!("http://{}", headers["host"].to_str().unwrap()), echo.url);
    assert!(!headers["authorization"].to_str().unwrap().contains(&aws.key), "{headers:?}");
    // The upstream can verify it.
    let path = seen["path"].as_str().unwrap();
    let parts = RequestParts { method: "POST", path, query: "", headers: &headers };
    let claim = sigv4::parse(&parts).unwrap().unwrap();
    assert_eq!(claim.access_key_id, "AKIAUPSTREAM");
    let rules = Rules { service: "logs", regions: &["eu-west-1"] };
    let body = seen["body"].as_str().unwrap().as_bytes();
    let secret = SecretAccessKey::new("upstream-secret");
    let now = Timestamp::from_millis(now_milliseconds());
    claim.verify(&parts, Payload::Body(body), &rules, &secret, now).unwrap();
    // INVARIANT: a secret is in no answer and no log.
    assert!(!region.json(&["service", "list"]).to_string().contains("upstream-secret"));
    assert!(!region.logged().contains("upstream-secret"));
    drop(boto);
    region.end_by(Signal::SIGTERM);
}

/// What boto3 is told, call by call, as a user who may some of it.
const EACH_PROTOCOL: &str = r#"
import json, boto3
from botocore.config import Config
from botocore.exceptions import ClientError
quick = Config(retries={"max_attempts": 0})
iam, account = boto3.client("iam"), boto3.client("sts").get_caller_identity()["Account"]
iam.create_user(UserName="u")
key = iam.create_access_key(UserName="u")["AccessKey"]
iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["sqs:*", "ssm:*", "ses:VerifyEmailIdentity", "lambda:ListFunctions"], "Resource": "*"},
    {"Effect": "Deny", "Action": "sqs:SendMessage", "Resource": f"arn:aws:sqs:*:{account}:closed"},
    {"Effect": "Deny", "Action": "ssm:GetParameter", "Resource": f"arn:aws:ssm:*:{account}:parameter/secret"}]}))
def client(name):
    return boto3.client(name, config=quick, aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
def told(call):
    try:
        call()
        print("done")
    except ClientError as error:
        message = error.response["Error"]["Message"].replace(account, "ACCOUNT")
        print(error.response["Error"]["Code"], message.split("perform: ")[-1])
sqs, ssm, ses, functions = map(client, ("sqs", "ssm", "ses", "lambda"))
for name in ("open", "closed"):
    told(lambda: sqs.create_queue(QueueName=name))
    told(lambda: sqs.send_message(QueueUrl=f"http://host/{account}/{name}", MessageBody="m"))
told(lambda: ssm.put_parameter(Name="/secret", Value="v", Type="String"))
told(lambda: ssm.get_parameter(Name="/secret"))
told(lambda: ses.verify_email_identity(EmailAddress="a@b.example"))
told(lambda: ses.list_identities())
told(lambda: functions.list_functions())
told(lambda: functions.get_function(FunctionName="f"))
"#;

fn each_protocol_has_its_actions_and_resources(world: &World) {
    let moto = Server::moto(world);
    let region = world.up(&[]);
    let aws = region.aws();
    for service in ["sqs", "ssm", "lambda"] {
        region.json(&["service", "add", service, "--upstream", &moto.url]);
    }
    region.json(&["service", "add", "email", "--upstream", &moto.url, "--protocol", "query"]);
    let ran = aws.boto3(EACH_PROTOCOL);
    let expected = "done\ndone\ndone\n\
        AccessDeniedException sqs:SendMessage on resource: arn:aws:sqs:us-east-1:ACCOUNT:closed with an explicit deny in an identity-based policy\n\
        done\n\
        AccessDeniedException ssm:GetParameter on resource: arn:aws:ssm:us-east-1:ACCOUNT:parameter/secret with an explicit deny in an identity-based policy\n\
        done\n\
        AccessDenied ses:ListIdentities because no identity-based policy allows the ses:ListIdentities action\n\
        done\n\
        AccessDeniedException lambda:GetFunction on resource: arn:aws:lambda:us-east-1:ACCOUNT:function:f because no identity-based policy allows the lambda:GetFunction action\n";
    assert_eq!(ran.stdout, expected, "{}", ran.stderr);
    region.end_by(Signal::SIGTERM);
}

fn an_s3_of_another_region_has_its_own_door(world: &World) {
    let far = world.up_in("far", &[]);
    let theirs = far.aws();
    assert_eq!(theirs.s3("PUT", "/far-bucket", "", b"").unwrap().status, 200);
    assert_eq!(theirs.s3("PUT", "/far-bucket/secret", "", b"secret").unwrap().status, 200);
    let region = world.up(&[]);
    let aws = region.aws();
    let secret_file = world.home().join("secret");
    std::fs::write(&secret_file, &theirs.secret).unwrap();
    world.hand_over(&secret_file);
    let names = ["--private-dns", "archive.example", "--private-dns", "*.archive.example"];
    let key = ["--key-id", &theirs.key, "--secret-file", secret_file.to_str().unwrap()];
    let add = ["service", "add", "archive", "--upstream", &far.url, "--signing-name", "s3"];
    region.json(&[&add[..], &names, &key].concat());
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "s3:*", "Resource": ["arn:aws:s3:::far-bucket", "arn:aws:s3:::far-bucket/*"] },
        { "Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::far-bucket/secret" } ] });
    let (network, instance) = instance(&aws, &policy);
    let endpoint = endpoint(&aws, &network, "archive", None);
    let s3 = "AWS_MAX_ATTEMPTS=1 aws --endpoint-url https://archive.example";
    // In one piece with trailing checksums, in parts, with metadata, and by copy.
    region.sh(&instance, &format!("echo hello > a && {s3} s3 cp --quiet --metadata k=v a s3://far-bucket/a"));
    region.sh(
        &instance,
        &format!(
            "head -c 9000000 /dev/urandom > b && {s3} s3 cp --quiet b s3://far-bucket/b && \
                  {s3} s3 cp --quiet s3://far-bucket/b c && cmp b c"
        ),
    );
    region.sh(&instance, &format!("{s3} s3 cp --quiet s3://far-bucket/a s3://far-bucket/copy"));
    assert_eq!(theirs.s3("GET", "/far-bucket/copy", "", b"").unwrap().text(), "hello\n");
    // By the bucket's name before the host's, and by a URL that is signed beforehand.
    let virtual_hosted = format!(
        "aws configure set default.s3.addressing_style virtual && {s3} s3 cp --quiet s3://far-bucket/a - && \
         python3 -c 'import boto3, urllib.request as u, ssl; \
         c = boto3.client(\"s3\", endpoint_url=\"https://archive.example\", config=boto3.session.Config(signature_version=\"s3v4\")); \
         url = c.generate_presigned_url(\"get_object\", Params=dict(Bucket=\"far-bucket\", Key=\"a\")); \
         print(u.urlopen(url, context=ssl.create_default_context(cafile=\"/etc/postern/ca.pem\")).read().decode())'"
    );
    assert_eq!(region.sh(&instance, &virtual_hosted).trim(), "hello\nhello");
    // What is denied is denied by each way to name it.
    for command in [
        "s3 cp s3://far-bucket/secret -",
        "s3api copy-object --bucket far-bucket --key mine --copy-source far-bucket/secret",
        "s3api delete-objects --bucket far-bucket --delete 'Objects=[{Key=a},{Key=secret}]'",
    ] {
        let line = format!("AWS_MAX_ATTEMPTS=1 aws --endpoint-url https://archive.example {command}");
        let ran = region.exec(&instance, &["/bin/sh", "-c", &line]);
        assert_ne!(ran.code, Some(0), "{command}: {}", ran.stdout);
        assert!(ran.stderr.contains("Denied") || ran.stderr.contains("403"), "{command}: {}", ran.stderr);
    }
    assert_eq!(theirs.s3("GET", "/far-bucket/secret", "", b"").unwrap().text(), "secret");
    assert_eq!(theirs.s3("GET", "/far-bucket/a", "", b"").unwrap().text(), "hello\n");
    let line = "AWS_MAX_ATTEMPTS=1 aws --endpoint-url https://archive.example s3api put-object-acl --bucket far-bucket --key a --acl private";
    let ran = region.exec(&instance, &["/bin/sh", "-c", line]);
    assert!(ran.stderr.contains("(NotImplemented)"), "{}", ran.stderr);
    let came = audit(&region).into_iter().find(|record| record["eventName"] == "UploadPart").unwrap();
    assert_eq!(came["vpcEndpointId"], endpoint.as_str());
    region.end_by(Signal::SIGTERM);
    far.end_by(Signal::SIGTERM);
}

/// Hands everything on but the page by which a region is known.
const RELAY: &str = r#"
import http.client, http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_error(404)
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        there = http.client.HTTPConnection(sys.argv[2])
        there.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            there.putheader(name, value)
        there.endheaders(body)
        answer = there.getresponse()
        text = answer.read()
        self.send_response(answer.status)
        self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

fn a_way_back_to_the_region_is_seen(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let direct = region.run(&["service", "add", "logs", "--upstream", &region.url]);
    assert!(direct.failure().contains("is this region itself"), "{}", direct.stderr);
    let port = free_port();
    let relay = Server::start(world, "python3", &["-c", RELAY, &port.to_string(), region.host()], port);
    region.json(&["service", "add", "logs", "--upstream", &relay.url]);
    let headers =
        [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "Logs_20140328.DescribeLogGroups")];
    let answer = aws.request("logs", "POST", "/", "", &headers, b"{}", now_milliseconds()).unwrap();
    assert_eq!(answer.status, 508, "{}", answer.text());
    assert!(answer.text().contains("LoopDetected"), "{}", answer.text());
    region.end_by(Signal::SIGTERM);
}

fn an_upstream_that_fails_is_said_to(world: &World) {
    let echo = echo(world);
    let region = world.up(&[]);
    let aws = region.aws();
    region.json(&["service", "add", "logs", "--upstream", &echo.url]);
    let describe = |prefix: &str| {
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("x-amz-target", "Logs_20140328.DescribeLogGroups"),
        ];
        let body = json!({ "logGroupNamePrefix": prefix }).to_string();
        aws.request("logs", "POST", "/", "", &headers, body.as_bytes(), now_milliseconds())
    };
    let dropped = describe("drop").expect("an answer");
    assert_eq!(dropped.status, 503, "{}", dropped.text());
    assert!(dropped.text().contains("ServiceUnavailableException"), "{}", dropped.text());
    // An answer that breaks off is not whole for the client either.
    assert!(describe("half").is_none());
    let refused = describe("refuse").expect("an answer");
    assert_eq!(refused.status, 400);
    let record = eventually("it is recorded", 10, || {
        audit(&region).into_iter().find(|record| record["errorCode"] == "InvalidParameterException")
    });
    assert_eq!(record["additionalEventData"]["decision"], "failed");
    assert_ne!(record["requestID"], "the-upstreams-own");
    // Nobody reaches the upstream without a signature that holds.
    let forged = Aws { secret: "another".to_owned(), ..aws.clone() };
    let headers =
        [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "Logs_20140328.DescribeLogGroups")];
    let answer = forged.request("logs", "POST", "/", "", &headers, b"{}", now_milliseconds()).unwrap();
    assert!(answer.text().contains("InvalidSignatureException"), "{}", answer.text());
    region.end_by(Signal::SIGTERM);
}

fn services_stay_and_go(world: &World) {
    let region = world.up(&[]);
    let aws = region.aws();
    let network = Network::new(&aws);
    let account = text(&region.json(&["account", "list"])[0]["id"]);
    region.json(&[
        "service",
        "add",
        "partner",
        "--upstream",
        "http://127.0.0.1:9",
        "--private-dns",
        "api.partner.example",
        "--protocol",
        "rest-json",
        "--owner",
        &account,
    ]);
    region.json(&["service", "add", "logs", "--upstream", "http://127.0.0.1:9"]);
    let name = format!("com.amazonaws.{}.partner", aws.region);
    let offered = |aws: &Aws| {
        let wanted = json!({ "ServiceNames": [name] });
        aws.ec2("DescribeVpcEndpointServices", wanted)["ServiceDetails"][0].clone()
    };
    assert_eq!(offered(&aws)["Owner"], account.as_str());
    assert_eq!(offered(&aws)["PrivateDnsName"], "api.partner.example");
    let made = aws.ec2(
        "CreateVpcEndpoint",
        json!({ "VpcId": network.vpc, "VpcEndpointType": "Interface", "SubnetIds": [network.subnet], "ServiceName": name }),
    );
    let endpoint = text(&made["VpcEndpoint"]["VpcEndpointId"]);
    let ran = region.run(&["service", "remove", "partner"]);
    assert!(
        ran.failure().contains(&format!("`{endpoint}` leads to `{name}`: delete it first")),
        "{}",
        ran.stderr
    );
    region.end_by(Signal::SIGTERM);

    // Another run of the region knows them.
    let region = world.up(&[]);
    let aws = region.aws();
    let listed = region.json(&["service", "list"]);
    let of = |name: &str| {
        listed.as_array().unwrap().iter().find(|service| service["name"] == name).unwrap().clone()
    };
    assert_eq!(of("partner")["served_by"], "http://127.0.0.1:9");
    assert_eq!(of("partner")["protocol"], "rest-json");
    assert_eq!(of("logs")["served_by"], "http://127.0.0.1:9");
    assert_eq!(of("s3")["served_by"], "postern");
    assert_eq!(of("kms")["served_by"], Value::Null);
    assert_eq!(offered(&aws)["PrivateDnsName"], "api.partner.example");
    aws.ec2("DeleteVpcEndpoints", json!({ "VpcEndpointIds": [endpoint] }));
    assert_eq!(region.run(&["service", "remove", "partner"]).code, Some(0));
    let (code, _) = aws.refused("ec2", "DescribeVpcEndpointServices", json!({ "ServiceNames": [name] }));
    assert_eq!(code, "InvalidServiceName");
    assert_eq!(
        region.run(&["service", "remove", &format!("com.amazonaws.{}.logs", aws.region)]).code,
        Some(0)
    );
    region.end_by(Signal::SIGTERM);
}

fn wrong_values_are_named(world: &World) {
    let region = world.up(&[]);
    let url = "http://127.0.0.1:9";
    for (arguments, said) in [
        (&["add", "s3", "--upstream", url][..], "`s3` is served by Postern itself"),
        (&["add", "ec2", "--upstream", url], "`ec2` is served by Postern itself"),
        (&["add", "logs", "--upstream", "127.0.0.1:9"], "`127.0.0.1:9` is not the URL of a service"),
        (&["add", "logs", "--upstream", "http://h/path"], "`http://h/path` is not the URL of a service"),
        (&["add", "mine", "--upstream", url], "--protocol has to say"),
        (&["add", "mine", "--upstream", url, "--signing-name", "s3"], "can only be signed anew"),
        (&["add", "mine", "--upstream", url, "--signing-name", "s3", "--protocol", "json"], "by rest-xml"),
        (&["add", "logs", "--upstream", &region.url], "is this region itself"),
        (&["add", "mine", "--upstream", url, "--protocol", "soap"], "`soap` is not a protocol"),
        (&["add", "email", "--upstream", url], "`email` are spoken to by query and rest-json"),
        (&["add", "logs", "--upstream", url, "--private-dns", "a.example"], "are AWS's own"),
        (
            &[
                "add",
                "mine",
                "--upstream",
                url,
                "--protocol",
                "json",
                "--private-dns",
                "logs.us-east-1.amazonaws.com",
            ],
            "the name `logs.us-east-1.amazonaws.com` is another service's",
        ),
        (&["add", "mine", "--upstream", url, "--protocol", "json", "--owner", "12"], "`12`"),
        (&["add", "logs", "--upstream", url, "--key-id", "AKIA"], "--secret-file"),
        (
            &["add", "logs", "--upstream", url, "--key-id", "A", "--secret-file", "/nonexistent"],
            "`/nonexistent`",
        ),
        (&["remove", "logs"], "`com.amazonaws.us-east-1.logs` was not added by anybody"),
    ] {
        let ran = region.run(&[&["service"], arguments].concat());
        assert_ne!(ran.code, Some(0), "{arguments:?}");
        assert!(ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
    region.end_by(Signal::SIGTERM);
}
