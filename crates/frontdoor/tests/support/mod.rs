//! What the front door's tests stand on: a directory of two keys, a service of one operation, raw connections.
#![expect(dead_code, reason = "each test file uses a part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use postern_frontdoor::caller::Identity;
use postern_frontdoor::pages::{Health, Pages, Resetting};
use postern_frontdoor::service::Serving;
use postern_frontdoor::*;
use postern_model::{AccountId, NetworkInterfaceId, VpcEndpointId, VpcId};
use postern_path::{Peer, PeerLookup, Through};
use postern_policy::{Arn, Context, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal};
use postern_wire::error::ErrorStyle;
use postern_wire::sigv4::{RequestParts, SecretAccessKey, Signer};
use postern_wire::{AwsError, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// The endpoint that [`Fabric`] puts behind 127.0.0.1, and its VPC.
pub const ENDPOINT: VpcEndpointId = VpcEndpointId::from_number(1 << 40);
/// Its VPC.
pub const VPC: VpcId = VpcId::from_number(1 << 41);
/// When the tests take place.
pub const NOON: Timestamp = Timestamp::from_seconds(1_769_860_800);

/// Knows `AKIDROOT`, `AKIDUSER` (who may get users), `ASIATEMP` with the token `good`, and `ASIAOVER`, which expired.
pub struct TwoKeys {
    pub now_seconds: AtomicI64,
    pub checks: bool,
    pub endpoint_service: Mutex<Option<String>>,
}

impl TwoKeys {
    pub fn new() -> Arc<Self> {
        let endpoint_service = Mutex::new(Some("iam".to_owned()));
        Arc::new(Self { now_seconds: AtomicI64::new(NOON.seconds()), checks: true, endpoint_service })
    }
}

pub const ACCOUNT: &str = "111122223333";

fn caller(principal: Principal, identity: Identity, key: &str) -> Caller {
    Caller {
        principal,
        account: ACCOUNT.parse().ok(),
        access_key: Some(key.to_owned()),
        user_id: Some("AIDATEST".to_owned()),
        identity,
        session_policies: Vec::new(),
        traits: Traits::default(),
    }
}

impl Directory for TwoKeys {
    fn credential(&self, key: &str, token: Option<&str>) -> Result<Credential, CredentialError> {
        let root = Principal::Root { account: ACCOUNT.parse().unwrap() };
        let user = Principal::User { arn: Arn::parse(&format!("arn:aws:iam::{ACCOUNT}:user/ana")).unwrap() };
        let caller = match (key, token) {
            ("AKIDROOT", None) => caller(root, Identity::Root, key),
            ("ASIATEMP", Some("good")) => caller(root, Identity::Root, key),
            ("ASIATEMP", _) => return Err(CredentialError::InvalidToken(key.to_owned())),
            ("ASIAOVER", _) => return Err(CredentialError::Expired(key.to_owned())),
            ("AKIDUSER", None) => caller(user, Identity::User("ana".to_owned()), key),
            _ => return Err(CredentialError::Unknown(key.to_owned())),
        };
        Ok(Credential { secret: "secret".to_owned(), caller })
    }

    fn policies(&self, _: &Caller) -> Result<PolicySet, String> {
        let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iam:GetUser","Resource":"*"}}"#;
        let mut set = PolicySet::new();
        let document = PolicyDocument::parse(text, Kind::Identity).map_err(|error| error.to_string())?;
        set.add_identity(NamedPolicy::new("reader", document)).map_err(|error| error.name)?;
        Ok(set)
    }

    fn endpoint_policy(&self, _: VpcEndpointId) -> EndpointPolicy {
        EndpointPolicy::Full
    }

    fn endpoint_service(&self, _: VpcEndpointId) -> Option<String> {
        self.endpoint_service.lock().unwrap().clone()
    }

    fn endpoint_owner(&self, _: VpcEndpointId) -> Option<AccountId> {
        None
    }

    fn checks_signatures(&self) -> bool {
        self.checks
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.now_seconds.load(Ordering::SeqCst))
    }
}

/// A service that says `served` to what it asked `iam:<operation>` for, and asks for nothing where it is told so.
pub struct Echo;

impl QueryService for Echo {
    fn signing_name(&self) -> &'static str {
        "iam"
    }

    fn error_style(&self) -> ErrorStyle {
        ErrorStyle::Query { xml_namespace: "urn:test" }
    }

    fn asks(&self, _: &Caller, request: &QueryRequest) -> Result<Vec<Ask>, AwsError> {
        if request.operation == "AskNothing" {
            return Ok(Vec::new());
        }
        Ok(vec![Ask {
            action: format!("iam:{}", request.operation),
            resource: "*".to_owned(),
            resource_account: None,
            resource_policy: None,
            context: Context::new(),
        }])
    }

    fn refused(&self, refusal: &Refusal) -> AwsError {
        AwsError::new("AccessDenied", refusal.message.clone()).with_status(403)
    }

    fn serve<'a>(
        &'a self,
        _: &'a Caller,
        _: &'a Origin,
        request: QueryRequest,
        permits: Vec<Permit>,
    ) -> Serving<'a> {
        Box::pin(async move {
            match request.operation.as_str() {
                "Slow" => tokio::time::sleep(Duration::from_millis(300)).await,
                "Panic" => panic!("as the test asked"),
                _ => {}
            }
            if request.operation == "Fail" {
                let detail = "`/var/lib/postern/ledger` cannot be written";
                return Err(AwsError::new("InternalFailure", detail).with_status(500));
            }
            assert_eq!(permits[0].action(), format!("iam:{}", request.operation));
            Ok(Answer { body: "<served/>".to_owned() })
        })
    }
}

/// S3 as far as these tests need it: it says that it was reached, and reads the body.
pub struct Elsewhere;

impl HttpService for Elsewhere {
    fn call<'a>(&'a self, request: http::Request<RequestBody>) -> Responding<'a> {
        Box::pin(async move {
            use http_body_util::BodyExt as _;
            match request.into_body().collect().await {
                Ok(body) => http::Response::new(postern_frontdoor::body::full(format!(
                    "s3 got {} bytes",
                    body.to_bytes().len()
                ))),
                Err(error) => http::Response::new(postern_frontdoor::body::full(format!("s3 saw: {error}"))),
            }
        })
    }
}

pub struct PlainPages;

impl Pages for PlainPages {
    fn health(&self) -> Health {
        Health { ready: true, details: serde_json::json!({ "ready": true }) }
    }

    fn reset<'a>(&'a self) -> Resetting<'a> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Puts [`ENDPOINT`] behind 127.0.0.1 and nobody behind any other address.
pub struct Fabric;

impl PeerLookup for Fabric {
    fn peer(&self, address: IpAddr) -> Option<Peer> {
        (address == IpAddr::V4(Ipv4Addr::LOCALHOST)).then(|| Peer {
            account: ACCOUNT.parse::<AccountId>().unwrap(),
            vpc: VPC,
            interface: NetworkInterfaceId::from_number(1 << 42),
            instance: None,
            address: Ipv4Addr::new(10, 0, 0, 5),
            through: Through::Endpoint(ENDPOINT, VPC),
        })
    }
}

/// Nobody is anybody.
pub struct Void;

impl PeerLookup for Void {
    fn peer(&self, _: IpAddr) -> Option<Peer> {
        None
    }
}

/// A front door on loopback, with its records.
pub struct Running {
    pub address: SocketAddr,
    pub door: FrontDoor,
    pub metrics: Arc<Metrics>,
    pub records: mpsc::Receiver<Record>,
    pub authority: Arc<Authority>,
    pub directory: Arc<TwoKeys>,
    pub task: JoinHandle<Result<(), ServeError>>,
}

/// Limits that tests can wait for.
pub fn quick() -> Limits {
    let short = Duration::from_millis(300);
    Limits { handshake: short, header: short, stall: short, connections_per_peer: 2, ..Limits::default() }
}

pub fn config(directory: Arc<TwoKeys>, limits: Limits, dev: bool) -> (Config, mpsc::Receiver<Record>) {
    let metrics = Arc::new(Metrics::default());
    let (audit, records) = Audit::channel(10_000, Arc::clone(&metrics));
    let config = Config {
        region: "us-east-1".to_owned(),
        authoriser: Arc::new(Authoriser::new(directory).in_region("us-east-1")),
        authority: Arc::new(Authority::generate("us-east-1").unwrap()),
        query_services: vec![Arc::new(Echo)],
        others: Arc::new(postern_frontdoor::NoOthers),
        http_services: vec![Mount {
            signing_name: "s3",
            hosts: HostNames::of_s3("us-east-1"),
            service: Arc::new(Elsewhere),
        }],
        names: Vec::new(),
        addresses: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        audit,
        metrics,
        pages: Arc::new(PlainPages),
        dev,
        limits,
    };
    (config, records)
}

pub async fn run(source: OriginSource, limits: Limits) -> Running {
    run_with(TwoKeys::new(), source, limits, false).await
}

pub async fn run_with(directory: Arc<TwoKeys>, source: OriginSource, limits: Limits, dev: bool) -> Running {
    let (config, records) = config(Arc::clone(&directory), limits, dev);
    let (metrics, authority) = (Arc::clone(&config.metrics), Arc::clone(&config.authority));
    let door = FrontDoor::new(config).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = door.clone();
    let task = tokio::spawn(async move { serving.serve_tcp(listener, source).await });
    Running { address, door, metrics, records, authority, directory, task }
}

/// Sends bytes and reads until the other side closes or answers a whole second of silence.
pub async fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    read_out(&mut stream).await
}

/// Reads until the end, at most ten seconds.
pub async fn read_out(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    match tokio::time::timeout(Duration::from_secs(10), read).await {
        Ok(_) => String::from_utf8_lossy(&answer).into_owned(),
        Err(_) => format!("HUNG after {}", String::from_utf8_lossy(&answer)),
    }
}

/// A signed form, as bytes on the wire.
pub struct Form<'a> {
    pub key: &'a str,
    pub secret: &'a str,
    pub token: Option<&'a str>,
    pub at: Timestamp,
    pub service: &'a str,
    pub region: &'a str,
    pub body: &'a str,
}

impl Default for Form<'_> {
    fn default() -> Self {
        Self {
            key: "AKIDROOT",
            secret: "secret",
            token: None,
            at: NOON,
            service: "iam",
            region: "us-east-1",
            body: "Action=GetUser&Version=2010-05-08",
        }
    }
}

impl Form<'_> {
    pub fn bytes(&self) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost:4566"));
        headers.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        let secret = SecretAccessKey::new(self.secret);
        let signer = Signer {
            access_key_id: self.key,
            secret: &secret,
            session_token: self.token,
            region: self.region,
            service: self.service,
        };
        let parts = RequestParts { method: "POST", path: "/", query: "", headers: &headers };
        let signed = signer.sign(&parts, &Signer::hash(self.body.as_bytes()), self.at).unwrap();
        headers.extend(signed.headers);
        let mut text = "POST / HTTP/1.1\r\n".to_owned();
        for (name, value) in &headers {
            text += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        text += &format!("content-length: {}\r\nconnection: close\r\n\r\n{}", self.body.len(), self.body);
        text.into_bytes()
    }

    /// Status and code of the answer.
    pub async fn send(&self, address: SocketAddr) -> String {
        summary(&talk(address, &self.bytes()).await)
    }
}

/// Status and error code of an answer.
pub fn summary(answer: &str) -> String {
    let status = answer.split(' ').nth(1).unwrap_or("none");
    let code =
        answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    format!("{status} {}", code.unwrap_or(if answer.contains("<served/>") { "served" } else { "-" }))
}
