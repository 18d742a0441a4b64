//! A region in memory, and callers of its API.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use postern_frontdoor::{
    Ask, Authoriser, Caller, Credential, CredentialError, Directory, EndpointPolicy, Identity, Origin,
    Permit, QueryRequest, QueryService,
};
use postern_model::{
    AccountId, Action, Command, Event, InstanceId, ModelError, Quota, Region, State, Timestamp, VpcEndpointId,
};
use postern_policy::{Kind, NamedPolicy, PolicyDocument, PolicySet, Principal};
use postern_services::commands::{CommandError, Commands, Done, Executing};
use postern_services::ec2::{Consoles, Ec2Service};
use postern_wire::query::Form;
use postern_wire::{AwsError, client, ec2};
use serde_json::Value;

/// The account whose things are tested.
pub const ALICE: u64 = 111_111_111_111;
/// Another one, which must see nothing of it.
pub const BOB: u64 = 222_222_222_222;

pub fn account(number: u64) -> AccountId {
    AccountId::from_number(number).unwrap()
}

/// The region's state behind a lock. Time goes on by a second with each command; seeds count up.
pub struct Ledger {
    state: Mutex<Arc<State>>,
}

impl Ledger {
    pub fn new(state: State) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(Arc::new(state)) })
    }

    pub fn apply(
        &self,
        account: AccountId,
        token: Option<String>,
        action: Action,
    ) -> Result<Done, ModelError> {
        let mut state = self.state.lock().unwrap();
        let command = Command {
            account,
            at: Timestamp(1_800_000_000_000 + state.revision * 1_000),
            seed: state.revision + 1,
            client_token: token,
            action,
        };
        let (next, events) = postern_model::apply(&state, &command)?;
        *state = Arc::new(next);
        Ok(Done { state: state.clone(), events })
    }
}

impl Commands for Ledger {
    fn state(&self) -> Arc<State> {
        self.state.lock().unwrap().clone()
    }

    fn execute<'a>(&'a self, account: AccountId, token: Option<String>, action: Action) -> Executing<'a> {
        Box::pin(async move { self.apply(account, token, action).map_err(CommandError::from) })
    }

    fn dry_run(&self, account: AccountId, action: &Action) -> Result<(), ModelError> {
        let command =
            Command { account, at: Timestamp(0), seed: 1, client_token: None, action: action.clone() };
        postern_model::apply(&self.state(), &command).map(|_| ())
    }

    fn now_milliseconds(&self) -> u64 {
        1_800_000_000_000 + self.state().revision * 1_000
    }
}

/// Consoles that print their instance's id, and count reboots.
#[derive(Default)]
pub struct TestConsoles {
    pub reboots: Mutex<Vec<InstanceId>>,
}

impl Consoles for TestConsoles {
    fn console(&self, instance: InstanceId) -> Option<Vec<u8>> {
        Some(format!("hello from {instance}\n").into_bytes())
    }

    fn reboot(&self, instance: InstanceId) -> Result<(), String> {
        self.reboots.lock().unwrap().push(instance);
        Ok(())
    }
}

/// Policies of users by name; the root user needs none.
#[derive(Default)]
pub struct TestDirectory {
    pub policies: Mutex<BTreeMap<String, String>>,
}

impl Directory for TestDirectory {
    fn credential(&self, key: &str, _: Option<&str>) -> Result<Credential, CredentialError> {
        Err(CredentialError::Unknown(key.to_owned()))
    }

    fn policies(&self, caller: &Caller) -> Result<PolicySet, String> {
        let mut set = PolicySet::new();
        if let Identity::User(name) = &caller.identity
            && let Some(text) = self.policies.lock().unwrap().get(name)
        {
            let document = PolicyDocument::parse(text, Kind::Identity).map_err(|e| e.to_string())?;
            set.add_identity(NamedPolicy::new(name.as_str(), document)).map_err(|e| e.to_string())?;
        }
        Ok(set)
    }

    fn endpoint_policy(&self, _: VpcEndpointId) -> EndpointPolicy {
        EndpointPolicy::Full
    }

    fn endpoint_service(&self, _: VpcEndpointId) -> Option<String> {
        None
    }

    fn endpoint_owner(&self, _: VpcEndpointId) -> Option<AccountId> {
        None
    }
}

/// A region and its API.
pub struct Api {
    pub ledger: Arc<Ledger>,
    pub consoles: Arc<TestConsoles>,
    pub directory: Arc<TestDirectory>,
    service: Ec2Service,
    authoriser: Authoriser,
    who: u64,
}

fn root(number: u64) -> Caller {
    Caller {
        principal: Principal::Root { account: format!("{number:012}").parse().unwrap() },
        account: Some(account(number)),
        access_key: None,
        user_id: None,
        identity: Identity::Root,
        session_policies: Vec::new(),
        traits: postern_frontdoor::Traits::default(),
    }
}

/// A user of an account.
pub fn user(number: u64, name: &str) -> Caller {
    let arn = postern_policy::Arn::parse(&format!("arn:aws:iam::{number:012}:user/{name}")).unwrap();
    Caller { principal: Principal::User { arn }, identity: Identity::User(name.to_owned()), ..root(number) }
}

impl Api {
    /// A region with two accounts and nothing in it.
    pub fn empty() -> Self {
        let state = State::new(Region::new("us-east-1").unwrap());
        let api = Self::over(state);
        for number in [ALICE, BOB] {
            let action = Action::CreateAccount { name: "x".to_owned(), root_key: None };
            api.ledger.apply(account(number), None, action).unwrap();
        }
        // Quotas have tests of their own, which take these away.
        let raise = |quota: &Quota| {
            // The rules of a group are as many as sixteen groups of an interface allow.
            let most = if *quota == Quota::SecurityGroupRules { 62 } else { quota.most() };
            Action::SetQuota { quota: *quota, limit: Some(most) }
        };
        for number in [ALICE, BOB] {
            let raised = Action::Batch(Quota::ALL.iter().map(raise).collect());
            api.ledger.apply(account(number), None, raised).unwrap();
        }
        api
    }

    /// The API over this state.
    pub fn over(state: State) -> Self {
        let ledger = Ledger::new(state);
        let consoles = Arc::new(TestConsoles::default());
        let directory = Arc::new(TestDirectory::default());
        let service = Ec2Service::new(ledger.clone(), consoles.clone());
        let authoriser = Authoriser::new(directory.clone());
        Self { ledger, consoles, directory, service, authoriser, who: ALICE }
    }

    /// The same API, asked by another account from now on.
    pub fn asked_by(self, who: u64) -> Self {
        Self { who, ..self }
    }

    pub fn state(&self) -> Arc<State> {
        self.ledger.state()
    }

    /// Asks as the root user of an account; parameters as the `aws` command takes them.
    pub fn try_as(&self, number: u64, operation: &str, parameters: &Value) -> Result<Value, AwsError> {
        let form = client::encode(&ec2::SERVICE, operation, parameters)
            .unwrap_or_else(|e| panic!("{operation} {parameters}: {e}"));
        self.send(&root(number), &form)
    }

    /// Asks as Alice, or who else was said.
    pub fn attempt(&self, operation: &str, parameters: Value) -> Result<Value, AwsError> {
        self.try_as(self.who, operation, &parameters)
    }

    /// Asks and gets what was wanted.
    pub fn call(&self, operation: &str, parameters: Value) -> Value {
        let answer = self.try_as(self.who, operation, &parameters);
        answer.unwrap_or_else(|error| panic!("{operation} {parameters}: {error}"))
    }

    /// Asks and is refused: code and sentence.
    pub fn refusal(&self, operation: &str, parameters: Value) -> String {
        match self.try_as(self.who, operation, &parameters) {
            Ok(answer) => panic!("{operation} {parameters} was answered: {answer}"),
            Err(error) => error.to_string(),
        }
    }

    /// What a request asks for.
    pub fn asks(&self, caller: &Caller, operation: &str, parameters: &Value) -> Result<Vec<Ask>, AwsError> {
        let form = client::encode(&ec2::SERVICE, operation, parameters).unwrap();
        self.service.asks(caller, &request(&form))
    }

    /// The whole way of a request, as the front door goes it.
    pub fn send(&self, caller: &Caller, form: &Form) -> Result<Value, AwsError> {
        let origin = Origin { peer: None, remote: SocketAddr::from(([127, 0, 0, 1], 1)), secure: true };
        let asks = self.service.asks(caller, &request(form))?;
        assert!(!asks.is_empty(), "{} asks for nothing", form.action);
        let permits: Result<Vec<Permit>, AwsError> = asks
            .iter()
            .map(|ask| {
                self.authoriser
                    .authorise(caller, &origin, ask, &mut postern_frontdoor::Notes::default())
                    .map_err(|refusal| self.service.refused(&refusal))
            })
            .collect();
        let answer = block_on(self.service.serve(caller, &origin, request(form), permits?))?;
        let json = client::decode(&ec2::SERVICE, &form.action, &answer.body);
        Ok(json.unwrap_or_else(|error| panic!("{}: {error}: {}", form.action, answer.body)))
    }

    /// A request that comes with permits of the caller's choice.
    pub fn serve_with(
        &self,
        number: u64,
        operation: &str,
        parameters: &Value,
        permits: Vec<Permit>,
    ) -> Result<(), AwsError> {
        let origin = Origin { peer: None, remote: SocketAddr::from(([127, 0, 0, 1], 1)), secure: true };
        let form = client::encode(&ec2::SERVICE, operation, parameters).unwrap();
        block_on(self.service.serve(&root(number), &origin, request(&form), permits)).map(|_| ())
    }

    /// What the data plane would report.
    pub fn report(&self, action: Action) -> Vec<Event> {
        self.ledger.apply(account(self.who), None, action).unwrap().events
    }
}

fn request(form: &Form) -> QueryRequest {
    QueryRequest {
        operation: form.action.clone(),
        body: form.to_body().into_bytes(),
        request_id: "11111111-2222-3333-4444-555555555555".to_owned(),
    }
}

/// Runs a future; one that has to wait (a key being made) runs in a small runtime.
fn block_on<F: Future + Send>(future: F) -> F::Output {
    let mut future = Box::pin(future);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => runtime.block_on(future),
    }
}

/// A member by its path: `Vpcs.0.VpcId`.
pub fn at<'a>(json: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(json, |json, step| match step.parse::<usize>() {
        Ok(index) => &json[index],
        Err(_) => &json[step],
    })
}

/// A text by its path.
pub fn text(json: &Value, path: &str) -> String {
    at(json, path).as_str().unwrap_or_else(|| panic!("no text at {path} in {json}")).to_owned()
}

/// The texts at a path in each item of a list.
pub fn texts(json: &Value, list: &str, path: &str) -> Vec<String> {
    at(json, list).as_array().unwrap().iter().map(|item| text(item, path)).collect()
}
