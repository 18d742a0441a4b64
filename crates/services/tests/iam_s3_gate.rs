//! S3 behind the front door: who is let in by which policies, in whose words, and what is recorded of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod iam_support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue};
use iam_support::*;
use postern_frontdoor::{
    Audit, HostNames, HttpService, Limits, Metrics, Origin, OriginSource, Record, Server,
};
use postern_model::endpoint::NewGatewayEndpoint;
use postern_model::{Action, Event, NetworkInterfaceId, ResourceId, VpcEndpointId, VpcId};
use postern_path::{Peer, PeerLookup, Through};
use postern_services::s3::host::Hosts;
use postern_services::s3::storage::Store;
use postern_services::s3::{Options, S3Service};
use postern_services::s3_gate::{S3Door, S3Gate, policy_check};
use postern_wire::Timestamp;
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// S3 over a world, with a place to put requests to and their records.
struct S3 {
    world: World,
    door: Arc<S3Door>,
    records: Mutex<mpsc::Receiver<Record>>,
    _disk: tempfile::TempDir,
}

#[derive(Clone, Copy)]
struct Keys<'a>(&'a str, &'a str, Option<&'a str>);

const ROOT: Option<Keys<'static>> = Some(Keys("AKIAROOT1", "secret", None));
const OTHER: Option<Keys<'static>> = Some(Keys("AKIAROOT2", "secret", None));

impl S3 {
    fn new(dev: bool) -> Self {
        let world = World::over(Memory::at_real_time(), dev);
        let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let gate = Arc::new(S3Gate::new(Arc::clone(&world.authoriser)));
        let options = Options { policy_check: Some(policy_check()), ..Options::new("us-east-1") };
        let service = S3Service::new(Store::open(disk.path()).unwrap(), gate, options);
        let metrics = Arc::new(Metrics::default());
        let (audit, records) = Audit::channel(1000, Arc::clone(&metrics));
        let hosts = Hosts::new("us-east-1", []);
        let authoriser = Arc::clone(&world.authoriser);
        let door = Arc::new(S3Door::new(service, authoriser, hosts, "us-east-1", audit, metrics));
        assert!(HostNames::of_s3("us-east-1").contains("s3.us-east-1.amazonaws.com"));
        Self { world, door, records: Mutex::new(records), _disk: disk }
    }

    fn now(&self) -> Timestamp {
        use postern_services::commands::Commands as _;
        Timestamp::from_millis(i64::try_from(self.world.memory.now_milliseconds()).unwrap())
    }

    /// Status, error code and sentence of a request.
    async fn ask(&self, peer: Option<Peer>, keys: Option<Keys<'_>>, line: &str, body: &str) -> String {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("s3.us-east-1.amazonaws.com"));
        headers.insert("content-length", HeaderValue::from(body.len()));
        if let Some(Keys(id, secret, token)) = keys {
            let secret = SecretAccessKey::new(secret);
            let signer = Signer {
                access_key_id: id,
                secret: &secret,
                session_token: token,
                region: "us-east-1",
                service: "s3",
            };
            let parts = RequestParts { method, path, query, headers: &headers };
            let signed = signer.sign(&parts, &Signer::hash(body.as_bytes()), self.now()).unwrap();
            headers.extend(signed.headers);
        }
        let mut request = http::Request::builder().method(method).uri(target);
        *request.headers_mut().unwrap() = headers;
        let mut request = request.body(postern_frontdoor::body::full(body.to_owned())).unwrap();
        let remote = SocketAddr::from(([203, 0, 113, 9], 5));
        request.extensions_mut().insert(Origin { peer, remote, secure: true });
        let response = self.door.call(request).await;
        let status = response.status().as_u16();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        match postern_wire::client::decode_error(&String::from_utf8_lossy(&bytes)) {
            Some((code, message, _)) => format!("{status} {code}: {message}"),
            None => status.to_string(),
        }
    }

    async fn put_policy(&self, document: Json) -> String {
        self.ask(None, ROOT, "PUT /logs?policy", &document.to_string()).await
    }

    fn last_record(&self) -> Record {
        let mut records = self.records.lock().unwrap();
        let mut last = None;
        while let Ok(record) = records.try_recv() {
            last = Some(record);
        }
        last.unwrap()
    }

    /// A gateway endpoint to S3 with this policy, and who comes through it.
    fn endpoint(&self, policy: Option<String>) -> Peer {
        let run = |action| self.world.memory.run(account(ONE), action).unwrap().events;
        let created = |events: Vec<Event>| {
            events.into_iter().find_map(|event| match event {
                Event::Created(id) => Some(id),
                Event::Changed(_) | Event::Deleted(_) | Event::IdentityChanged => None,
            })
        };
        let vpc = run(Action::CreateVpc { cidr: "10.0.0.0/16".parse().unwrap(), tags: vec![] });
        let Some(ResourceId::Vpc(vpc)) = created(vpc) else { panic!("a VPC") };
        let service_name = "com.amazonaws.us-east-1.s3".to_owned();
        let new = NewGatewayEndpoint { vpc, service_name, route_tables: vec![], policy, tags: vec![] };
        let Some(ResourceId::VpcEndpoint(endpoint)) = created(run(Action::CreateGatewayEndpoint(new))) else {
            panic!("an endpoint")
        };
        through(endpoint, vpc)
    }
}

fn through(endpoint: VpcEndpointId, vpc: VpcId) -> Peer {
    Peer {
        account: account(ONE),
        vpc,
        interface: NetworkInterfaceId::from_number(1 << 40),
        instance: None,
        address: Ipv4Addr::new(10, 0, 1, 5),
        through: Through::Endpoint(endpoint, vpc),
    }
}

const NO_IDENTITY: &str = "403 AccessDenied: User: arn:aws:iam::111122223333:user/ana is not authorized to perform: \
    s3:GetObject on resource: \"arn:aws:s3:::logs/k\" because no identity-based policy allows the s3:GetObject action";

#[tokio::test]
async fn policies_decide_and_s3_says_so_in_its_words() {
    let s3 = S3::new(false);
    assert_eq!(s3.ask(None, ROOT, "PUT /logs", "").await, "200");
    assert_eq!(s3.ask(None, ROOT, "PUT /logs/k", "hello").await, "200");
    assert_eq!(s3.ask(None, None, "GET /logs/k", "").await, "403 AccessDenied: Access Denied");
    assert_eq!(s3.ask(None, OTHER, "GET /logs/k", "").await, "403 AccessDenied: Access Denied");
    let wrong = Some(Keys("AKIAROOT1", "wrong", None));
    assert!(s3.ask(None, wrong, "GET /logs/k", "").await.starts_with("403 SignatureDoesNotMatch"));
    let unknown = Some(Keys("AKIANOBODY", "secret", None));
    assert!(s3.ask(None, unknown, "GET /logs/k", "").await.starts_with("403 InvalidAccessKeyId"));

    let root = s3.world.root();
    s3.world.iam(&root, "CreateUser", json!({ "UserName": "ana" })).await.unwrap();
    let key = s3.world.iam(&root, "CreateAccessKey", json!({ "UserName": "ana" })).await.unwrap();
    let key = &key["AccessKey"];
    let ana =
        Some(Keys(key["AccessKeyId"].as_str().unwrap(), key["SecretAccessKey"].as_str().unwrap(), None));
    assert_eq!(s3.ask(None, ana, "GET /logs/k", "").await, NO_IDENTITY);
    let record = s3.last_record();
    assert_eq!(record.event_name, "GetObject");
    assert_eq!(record.user_identity.arn.as_deref(), Some("arn:aws:iam::111122223333:user/ana"));
    assert_eq!((record.http_status, record.error_code.as_deref()), (403, Some("AccessDenied")));
    assert_eq!(record.source_ip_address.as_deref(), Some("203.0.113.9"));
    assert_eq!(record.vpc_endpoint_id, None);
    let about = record.request_parameters.unwrap();
    assert_eq!((about.bucket_name.as_str(), about.key.as_deref()), ("logs", Some("k")));

    let everybody = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*",
        "Condition": { "IpAddress": { "aws:SourceIp": "203.0.113.0/24" } } } });
    assert_eq!(s3.put_policy(everybody).await, "204");
    assert_eq!(s3.ask(None, None, "GET /logs/k", "").await, "200");
    assert_eq!(s3.ask(None, ana, "GET /logs/k", "").await, "200");
    let peer = s3.endpoint(None);
    let elsewhere = s3.ask(Some(peer), None, "GET /logs/k", "").await;
    assert_eq!(elsewhere, "403 AccessDenied: Access Denied", "a private address is no aws:SourceIp");
    let unknown_key = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::logs/*",
        "Condition": { "StringEquals": { "aws:CalledViaFirst": "b" } } } });
    assert_eq!(
        s3.put_policy(unknown_key).await,
        "400 MalformedPolicy: The condition key aws:CalledViaFirst cannot be enforced by this endpoint"
    );
}

#[tokio::test]
async fn an_endpoint_filters_and_is_recorded() {
    let s3 = S3::new(false);
    s3.ask(None, ROOT, "PUT /logs", "").await;
    s3.ask(None, ROOT, "PUT /other", "").await;
    let only_logs = json!({ "Statement": { "Effect": "Allow", "Principal": "*", "Action": "s3:*",
        "Resource": ["arn:aws:s3:::logs", "arn:aws:s3:::logs/*"] } });
    let peer = s3.endpoint(Some(only_logs.to_string()));
    let Through::Endpoint(endpoint, vpc) = peer.through else { panic!("an endpoint") };
    assert_eq!(s3.ask(Some(peer), ROOT, "PUT /logs/k", "x").await, "200");
    let record = s3.last_record();
    assert_eq!(record.vpc_endpoint_id, Some(endpoint.to_string()));
    assert_eq!(record.vpc_id, Some(vpc.to_string()));
    assert_eq!(record.source_ip_address.as_deref(), Some("10.0.1.5"));
    assert_eq!((record.event_name.as_str(), record.read_only), ("PutObject", false));
    assert_eq!(
        s3.ask(Some(peer), ROOT, "PUT /other/k", "x").await,
        "403 AccessDenied: User: arn:aws:iam::111122223333:root is not authorized to perform: s3:PutObject on \
         resource: \"arn:aws:s3:::other/k\" because no VPC endpoint policy allows the s3:PutObject action"
    );
    let gone = through(VpcEndpointId::from_number(1 << 50), vpc);
    assert!(s3.ask(Some(gone), ROOT, "GET /logs/k", "").await.starts_with("403 AccessDenied"));
    let only_endpoint = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::logs/*",
        "Condition": { "StringNotEquals": { "aws:SourceVpce": endpoint.to_string() } } } });
    assert_eq!(s3.put_policy(only_endpoint).await, "204");
    assert_eq!(s3.ask(Some(peer), ROOT, "GET /logs/k", "").await, "200");
    let denied = s3.ask(None, ROOT, "GET /logs/k", "").await;
    assert!(denied.ends_with("with an explicit deny in a resource-based policy"), "{denied}");
}

#[tokio::test]
async fn nobody_locks_a_bucket_for_ever() {
    let s3 = S3::new(false);
    s3.ask(None, ROOT, "PUT /logs", "").await;
    let nobody = json!({ "Version": "2012-10-17", "Statement": { "Effect": "Deny", "Principal": "*",
        "Action": "s3:*", "Resource": ["arn:aws:s3:::logs", "arn:aws:s3:::logs/*"] } });
    assert_eq!(s3.put_policy(nobody).await, "204");
    assert!(s3.ask(None, ROOT, "GET /logs/k", "").await.starts_with("403 "), "the policy holds");
    // The root user of the bucket's own account, and only for the policy itself.
    assert_eq!(s3.ask(None, ROOT, "GET /logs?policy", "").await.get(..3), Some("200"));
    assert_eq!(s3.ask(None, ROOT, "DELETE /logs?policy", "").await, "204");
    assert_eq!(s3.ask(None, ROOT, "PUT /logs/k", "x").await, "200");
}

#[tokio::test]
async fn a_temporary_key_needs_its_own_token_and_time() {
    let s3 = S3::new(false);
    s3.ask(None, ROOT, "PUT /logs", "").await;
    let given =
        s3.world.sts(&s3.world.root(), "GetSessionToken", json!({ "DurationSeconds": 900 })).await.unwrap();
    let other =
        s3.world.sts(&s3.world.root(), "GetSessionToken", json!({ "DurationSeconds": 900 })).await.unwrap();
    let text = |given: &Json, name: &str| given["Credentials"][name].as_str().unwrap().to_owned();
    let (id, secret) = (text(&given, "AccessKeyId"), text(&given, "SecretAccessKey"));
    let (token, others) = (text(&given, "SessionToken"), text(&other, "SessionToken"));
    let with = |token| Some(Keys(&id, &secret, token));
    assert_eq!(s3.ask(None, with(Some(&token)), "PUT /logs/k", "x").await, "200");
    assert!(s3.ask(None, with(Some(&others)), "GET /logs/k", "").await.starts_with("400 InvalidToken"));
    assert!(s3.ask(None, with(Some("x")), "GET /logs/k", "").await.starts_with("400 InvalidToken"));
    assert!(s3.ask(None, with(None), "GET /logs/k", "").await.starts_with("403 InvalidAccessKeyId"));
    let long_term = Some(Keys("AKIAROOT1", "secret", Some(token.as_str())));
    assert!(s3.ask(None, long_term, "GET /logs/k", "").await.starts_with("400 InvalidToken"));
    s3.world.memory.advance(901);
    assert!(s3.ask(None, with(Some(&token)), "GET /logs/k", "").await.starts_with("400 ExpiredToken"));
    assert_eq!(s3.last_record().user_identity.kind, "Unknown");
}

/// Nobody inside.
struct Void;

impl PeerLookup for Void {
    fn peer(&self, _: IpAddr) -> Option<Peer> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_development_region_any_key_and_any_signature_do() {
    let s3 = S3::new(true);
    let server =
        Server::new(Arc::clone(&s3.door) as _, None, Limits::default(), Arc::new(Metrics::default()));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve_tcp(listener, OriginSource::Outside).await });
    let script = format!(
        "import boto3, botocore.config, urllib.request\n\
         v4 = botocore.config.Config(signature_version='s3v4')\n\
         def s3(key): return boto3.client('s3', endpoint_url='http://{address}', region_name='us-east-1',\n\
         \x20   aws_access_key_id=key, aws_secret_access_key='anything', config=v4)\n\
         s3('test').create_bucket(Bucket='dev')\n\
         s3('test').put_object(Bucket='dev', Key='a b/ü', Body=b'x' * 300000)\n\
         print(len(s3('test').get_object(Bucket='dev', Key='a b/ü')['Body'].read()))\n\
         url = s3('test').generate_presigned_url('get_object', Params=dict(Bucket='dev', Key='a b/ü'), ExpiresIn=60)\n\
         print(len(urllib.request.urlopen(url).read()))\n\
         try: s3('444455556666').get_object(Bucket='dev', Key='a b/ü')\n\
         except Exception as error: print(error.response['Error']['Message'])"
    );
    let home = tempfile::tempdir().unwrap();
    let output = tokio::process::Command::new(tool("python3"))
        .args(["-c", &script])
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", "/usr/bin:/bin")
        .env("PYTHONUTF8", "1")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, "300000\n300000\nAccess Denied\n", "{}", String::from_utf8_lossy(&output.stderr));
    // Inside, strangers stay out in a development region, too.
    let inside = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = inside.local_addr().unwrap();
    let source = OriginSource::Inside { peers: Arc::new(Void), tls: false };
    tokio::spawn(async move { server.serve_tcp(inside, source).await });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}
