//! What the tests of IAM, STS, load balancers and instance metadata stand on: a region in memory, and calls that pass the real
//! authoriser.
#![expect(dead_code, reason = "each test file uses a part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use postern_frontdoor::*;
use postern_model::iam::Secret;
use postern_model::{AccountId, Action, Command, ModelError, Region, State, Timestamp};
use postern_services::commands::{CommandError, Commands, Done, Executing};
use postern_services::directory::RegionDirectory;
use postern_services::directory::session::SessionKeys;
use postern_services::ec2::{Consoles, Ec2Service};
use postern_services::elbv2::ElbService;
use postern_services::elbv2::health::{Health as TargetHealth, Seen};
use postern_services::iam::IamService;
use postern_services::organizations::OrganizationsService;
use postern_services::sts::StsService;
use postern_wire::shape::Service;
use postern_wire::{AwsError, client};
use serde_json::Value as Json;

/// 2026-01-31T12:00:00Z.
pub const NOON_MILLIS: u64 = 1_769_860_800_000;
/// The account of most tests.
pub const ONE: u64 = 111_122_223_333;
/// Another one.
pub const TWO: u64 = 444_455_556_666;

/// Commands over a state in memory.
pub struct Memory {
    state: Mutex<Arc<State>>,
    now: AtomicU64,
    seed: AtomicU64,
}

impl Memory {
    /// A region with two accounts, each with a root key `AKIAROOT<n>` and the secret `secret`.
    pub fn new() -> Arc<Self> {
        let region = Region::new("us-east-1").unwrap();
        let memory = Self {
            state: Mutex::new(Arc::new(State::new(region))),
            now: AtomicU64::new(NOON_MILLIS),
            seed: AtomicU64::new(1),
        };
        for (number, key) in [(ONE, "AKIAROOT1"), (TWO, "AKIAROOT2")] {
            let root_key = Some((key.to_owned(), Secret("secret".to_owned())));
            memory.run(account(number), Action::CreateAccount { name: "test".to_owned(), root_key }).unwrap();
        }
        Arc::new(memory)
    }

    /// The same region at real time, for clients with real clocks.
    pub fn at_real_time() -> Arc<Self> {
        let memory = Self::new();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        memory.now.store(u64::try_from(now.as_millis()).unwrap(), Ordering::SeqCst);
        memory
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: u64) {
        self.now.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    /// Carries a command out at once.
    pub fn run(&self, account: AccountId, action: Action) -> Result<Done, ModelError> {
        let mut state = self.state.lock().unwrap();
        let command = self.command(account, action);
        let (next, events) = postern_model::apply(&state, &command)?;
        *state = Arc::new(next);
        Ok(Done { state: Arc::clone(&state), events })
    }

    fn command(&self, account: AccountId, action: Action) -> Command {
        let at = Timestamp(self.now_milliseconds());
        Command { account, at, seed: self.seed.fetch_add(1, Ordering::SeqCst), client_token: None, action }
    }
}

impl Commands for Memory {
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.lock().unwrap())
    }

    fn execute<'a>(&'a self, account: AccountId, _: Option<String>, action: Action) -> Executing<'a> {
        Box::pin(async move { self.run(account, action).map_err(CommandError::Refused) })
    }

    fn dry_run(&self, account: AccountId, action: &Action) -> Result<(), ModelError> {
        postern_model::apply(&self.state(), &self.command(account, action.clone())).map(|_| ())
    }

    fn now_milliseconds(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }
}

pub fn account(number: u64) -> AccountId {
    AccountId::from_number(number).unwrap()
}

/// A region in memory and the services over it.
pub struct World {
    pub memory: Arc<Memory>,
    pub sessions: Arc<SessionKeys>,
    pub directory: Arc<RegionDirectory>,
    pub authoriser: Arc<Authoriser>,
    pub iam: Arc<IamService>,
    pub sts: Arc<StsService>,
    pub elb: Arc<ElbService>,
    pub organizations: Arc<OrganizationsService>,
    pub checks: Arc<Checks>,
}

/// What checks saw of targets, by their ids; nothing of those that are not there.
#[derive(Default)]
pub struct Checks(pub Mutex<std::collections::BTreeMap<String, Seen>>);

impl TargetHealth for Checks {
    fn seen(&self, _: postern_model::TargetGroupId, target: postern_model::elb::TargetKey) -> Seen {
        self.0.lock().unwrap().get(&target.id.to_string()).copied().unwrap_or(Seen::Nothing)
    }
}

/// Nothing runs here.
struct NoConsoles;

impl Consoles for NoConsoles {
    fn console(&self, _: postern_model::InstanceId) -> Option<Vec<u8>> {
        None
    }

    fn reboot(&self, _: postern_model::InstanceId) -> Result<(), String> {
        Ok(())
    }
}

impl World {
    pub fn new() -> Self {
        Self::over(Memory::new(), false)
    }

    pub fn over(memory: Arc<Memory>, dev: bool) -> Self {
        let sessions = Arc::new(SessionKeys::from_bytes([9; 32]).unwrap());
        let commands: Arc<dyn Commands> = Arc::clone(&memory) as _;
        let directory = Arc::new(RegionDirectory::new(Arc::clone(&commands), Arc::clone(&sessions), dev));
        let authoriser = Arc::new(Authoriser::new(Arc::clone(&directory) as _).in_region("us-east-1"));
        let iam = Arc::new(IamService::new(Arc::clone(&commands)));
        let checks = Arc::new(Checks::default());
        let elb = Arc::new(ElbService::new(Arc::clone(&commands), Arc::clone(&checks) as _));
        let organizations = Arc::new(OrganizationsService::new(Arc::clone(&commands)));
        let sts = Arc::new(StsService::new(commands, Arc::clone(&sessions)));
        Self { memory, sessions, directory, authoriser, iam, sts, elb, organizations, checks }
    }

    /// The holder of a key.
    pub fn caller(&self, key: &str, token: Option<&str>) -> Result<Caller, CredentialError> {
        self.directory.credential(key, token).map(|known| known.caller)
    }

    pub fn root(&self) -> Caller {
        self.caller("AKIAROOT1", None).unwrap()
    }

    /// One call of IAM, as the front door makes it.
    pub async fn iam(&self, caller: &Caller, operation: &str, parameters: Json) -> Result<Json, AwsError> {
        self.call(self.iam.as_ref(), &postern_wire::iam::SERVICE, caller, operation, parameters).await
    }

    /// One call of STS, as the front door makes it.
    pub async fn sts(&self, caller: &Caller, operation: &str, parameters: Json) -> Result<Json, AwsError> {
        self.call(self.sts.as_ref(), &postern_wire::sts::SERVICE, caller, operation, parameters).await
    }

    /// One call of Elastic Load Balancing, as the front door makes it.
    pub async fn elb(&self, caller: &Caller, operation: &str, parameters: Json) -> Result<Json, AwsError> {
        self.call(self.elb.as_ref(), &postern_wire::elbv2::SERVICE, caller, operation, parameters).await
    }

    /// One call of EC2, as the front door makes it.
    pub async fn ec2(&self, caller: &Caller, operation: &str, parameters: Json) -> Result<Json, AwsError> {
        let commands: Arc<dyn Commands> = Arc::clone(&self.memory) as _;
        let ec2 = Ec2Service::new(commands, Arc::new(NoConsoles)).sealing(Arc::clone(&self.sessions));
        self.call(&ec2, &postern_wire::ec2::SERVICE, caller, operation, parameters).await
    }

    /// One call of Organizations, as the front door makes it; an error by its code and sentence.
    pub async fn organizations(
        &self,
        caller: &Caller,
        operation: &str,
        parameters: Json,
    ) -> Result<Json, String> {
        let told = |error: JsonError| format!("{}: {}", error.code, error.message);
        let service = self.organizations.as_ref();
        let operation = service.operation(operation).unwrap_or_else(|| panic!("`{operation}` is not served"));
        let request =
            JsonRequest { operation, query: String::new(), body: parameters.to_string().into_bytes() };
        let begun = service.begin(caller, request).await.map_err(told)?;
        assert!(!begun.asks.is_empty());
        let mut permits = Vec::new();
        for ask in &begun.asks {
            let permit =
                self.authoriser.authorise(caller, &outside(), ask, &mut postern_frontdoor::Notes::default());
            permits.push(permit.map_err(|refusal| told(service.refused(&refusal)))?);
        }
        let answer = (begun.serve)(permits).await.map_err(told)?;
        Ok(serde_json::from_str(&answer).unwrap())
    }

    /// One call of a service, as the front door makes it.
    pub async fn call(
        &self,
        service: &dyn QueryService,
        table: &'static Service,
        caller: &Caller,
        operation: &str,
        parameters: Json,
    ) -> Result<Json, AwsError> {
        let form = client::encode(table, operation, &parameters).unwrap_or_else(|error| panic!("{error}"));
        let body = form.to_body().into_bytes();
        let request =
            QueryRequest { operation: operation.to_owned(), body, request_id: "request-id".to_owned() };
        let origin = outside();
        let asks = service.asks(caller, &request)?;
        assert!(!asks.is_empty() || service.needs_no_permission(operation));
        let mut permits = Vec::new();
        for ask in &asks {
            let permit =
                self.authoriser.authorise(caller, &origin, ask, &mut postern_frontdoor::Notes::default());
            permits.push(permit.map_err(|refusal| service.refused(&refusal))?);
        }
        let answer = service.serve(caller, &origin, request, permits).await?;
        Ok(client::decode(table, operation, &answer.body)
            .unwrap_or_else(|error| panic!("{error}: {}", answer.body)))
    }

    /// Makes a user with a key and a policy, and gives who holds it.
    pub async fn user(&self, name: &str, policy: Option<&str>) -> Caller {
        let root = self.root();
        let named = serde_json::json!({ "UserName": name });
        self.iam(&root, "CreateUser", named.clone()).await.unwrap();
        if let Some(policy) = policy {
            let put = serde_json::json!({ "UserName": name, "PolicyName": "p", "PolicyDocument": policy });
            self.iam(&root, "PutUserPolicy", put).await.unwrap();
        }
        let key = self.iam(&root, "CreateAccessKey", named).await.unwrap();
        self.caller(key["AccessKey"]["AccessKeyId"].as_str().unwrap(), None).unwrap()
    }

    /// Who holds temporary credentials that STS gave.
    pub fn holder(&self, credentials: &Json) -> Result<Caller, CredentialError> {
        self.caller(credentials["AccessKeyId"].as_str().unwrap(), credentials["SessionToken"].as_str())
    }
}

/// From outside every VPC.
fn outside() -> Origin {
    Origin { peer: None, remote: SocketAddr::from(([203, 0, 113, 9], 5)), secure: true }
}

/// A policy that allows these actions on everything.
pub fn allow(actions: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":{actions},"Resource":"*"}}}}"#
    )
}

/// A trust policy for this principal, with a condition or `{}`.
pub fn trust(principal: &str, condition: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{principal},"Condition":{condition}}}}}"#
    )
}

/// Code and sentence.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, AwsError>) -> String {
    outcome.unwrap_err().to_string()
}

/// A front door on loopback over this world; it ends with the runtime.
pub async fn front_door(world: &World, dev: bool) -> (SocketAddr, Arc<Authority>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let (audit, mut records) = Audit::channel(100, Arc::clone(&metrics));
    tokio::spawn(async move { while records.recv().await.is_some() {} });
    let organizations = JsonDoor::new(
        Arc::clone(&world.organizations) as _,
        Arc::clone(&world.authoriser),
        "us-east-1",
        audit.clone(),
        Arc::clone(&metrics),
        std::time::Duration::from_secs(5),
    );
    let organizations = Mount {
        signing_name: "organizations",
        hosts: HostNames::new(["organizations.us-east-1.amazonaws.com"]),
        service: Arc::new(organizations),
    };
    let (address, authority) = front_door_to(world, dev, vec![organizations], audit, &metrics).await;
    (address, authority, metrics)
}

/// The same with these services beside IAM and STS.
pub async fn front_door_to(
    world: &World,
    dev: bool,
    http_services: Vec<Mount>,
    audit: Audit,
    metrics: &Arc<Metrics>,
) -> (SocketAddr, Arc<Authority>) {
    let authority = Arc::new(Authority::generate("us-east-1").unwrap());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = FrontDoor::new(Config {
        region: "us-east-1".to_owned(),
        authoriser: Arc::clone(&world.authoriser),
        authority: Arc::clone(&authority),
        query_services: vec![
            Arc::clone(&world.iam) as _,
            Arc::clone(&world.sts) as _,
            Arc::clone(&world.elb) as _,
        ],
        others: Arc::new(postern_frontdoor::NoOthers),
        http_services,
        names: Vec::new(),
        addresses: vec![address.ip()],
        audit,
        metrics: Arc::clone(metrics),
        pages: Arc::new(NoPages),
        dev,
        limits: Limits::default(),
    })
    .unwrap();
    tokio::spawn(async move { door.serve_tcp(listener, OriginSource::Outside).await });
    (address, authority)
}

struct NoPages;

impl Pages for NoPages {
    fn health(&self) -> Health {
        Health { ready: true, details: Json::Null }
    }

    fn reset<'a>(&'a self) -> postern_frontdoor::pages::Resetting<'a> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A program that `cargo xtask install` puts there.
pub fn tool(name: &str) -> PathBuf {
    let told = std::env::var_os("POSTERN_TOOLS").map(PathBuf::from);
    let tools = told.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"));
    let path = tools.join("bin").join(name);
    assert!(path.exists(), "`{}` is not there: run `cargo xtask install` first", path.display());
    path
}
