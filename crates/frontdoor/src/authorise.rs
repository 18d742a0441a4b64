//! May this caller do this? The one place where a [`Permit`] is made.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use postern_model::{AccountId, VpcEndpointId};
use postern_path::Through;
use postern_policy::{Action, Context, Denial, NamedPolicy, Organization, Outcome, PolicySet, Request};
use postern_wire::Timestamp;

use crate::caller::{Caller, Credential, CredentialError, Origin};
use crate::conditions::global_context;
use crate::evidence::{Evidence, Memory, Notes};
use crate::organizations::Organizations;

/// One thing that a request wants to do.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Such as `s3:GetObject`.
    pub action: String,
    /// The ARN, or `*`.
    pub resource: String,
    /// Whose the resource is; none means the caller's own account.
    pub resource_account: Option<AccountId>,
    /// The resource's own policy, if it has one.
    pub resource_policy: Option<Arc<NamedPolicy>>,
    /// Condition keys of the service's own, such as `s3:prefix`. The network keys are added here, from the origin.
    pub context: Context,
}

/// Proof that a caller may do one thing.
///
/// INVARIANT: only [`Authoriser::authorise`] makes one. It cannot be copied, defaulted or read from anywhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    action: String,
    resource: String,
    _sealed: (),
}

impl Permit {
    /// The action that was allowed.
    pub fn action(&self) -> &str {
        &self.action
    }

    /// The resource that it was allowed on.
    pub fn resource(&self) -> &str {
        &self.resource
    }
}

/// Why a caller may not do something.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// AWS's sentence, which names the kind of policy.
    pub message: String,
    /// What the policies said.
    pub denial: Option<Denial>,
    /// What was asked, as the policies saw it; none where they were not asked.
    pub request: Option<Box<Request>>,
}

/// What an endpoint lets through.
#[derive(Debug, Clone)]
pub enum EndpointPolicy {
    /// Everything: no policy was given.
    Full,
    /// What the document allows.
    Document(Arc<NamedPolicy>),
    /// Nothing: the endpoint is gone, or its document cannot be read.
    Nothing,
}

/// Who there is, and what their policies say.
pub trait Directory: Send + Sync {
    /// What is known of an access key.
    ///
    /// # Errors
    /// See [`CredentialError`].
    fn credential(
        &self,
        access_key: &str,
        session_token: Option<&str>,
    ) -> Result<Credential, CredentialError>;

    /// The caller's identity policies, permissions boundary and session policies.
    ///
    /// # Errors
    /// The name of a policy that cannot be read; the request is refused then.
    fn policies(&self, caller: &Caller) -> Result<PolicySet, String>;

    /// What an endpoint lets through.
    fn endpoint_policy(&self, endpoint: VpcEndpointId) -> EndpointPolicy;

    /// The organization that an account is in; policies over its accounts and `aws:PrincipalOrgID` and the like follow from
    /// it.
    ///
    /// # Errors
    /// The name of a policy that cannot be read; the request is refused then.
    fn organization(&self, account: AccountId) -> Result<Option<Arc<Organization>>, String> {
        let _ = account;
        Ok(None)
    }

    /// The service that an endpoint leads to, by the name that requests for it are routed by (`s3`); none for an endpoint that is
    /// not there any more. Nothing else can be reached through it.
    fn endpoint_service(&self, endpoint: VpcEndpointId) -> Option<String>;

    /// Whose an endpoint is; none for one that is not there any more.
    fn endpoint_owner(&self, endpoint: VpcEndpointId) -> Option<AccountId>;

    /// Whether a request has to be signed with the secret of its key. Only `--dev` says no, and a front door that was
    /// not made for it refuses to serve then.
    fn checks_signatures(&self) -> bool {
        true
    }

    /// The time, for signatures, expiry and conditions.
    fn now(&self) -> Timestamp {
        Timestamp::from(std::time::SystemTime::now())
    }

    /// Called for each authenticated caller of an API before it is served, so that `--dev` can make an account that is
    /// not there yet.
    fn welcome<'a>(&'a self, caller: &'a Caller) -> Welcoming<'a> {
        let _ = caller;
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What [`Directory::welcome`] answers; an error is a reason for the log.
pub type Welcoming<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Decides requests by the policies of a [`Directory`].
pub struct Authoriser {
    directory: Arc<dyn Directory>,
    region: Option<String>,
    memory: Memory,
}

impl Authoriser {
    /// One that asks this directory.
    pub fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory, region: None, memory: Memory::default() }
    }

    /// The same in this region, for `aws:RequestedRegion`.
    #[must_use]
    pub fn in_region(self, region: impl Into<String>) -> Self {
        Self { region: Some(region.into()), ..self }
    }

    /// Who there is.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }

    /// Decides one ask, and takes down what the decision rested on.
    ///
    /// # Errors
    /// The refusal, in AWS's words.
    pub fn authorise(
        &self,
        caller: &Caller,
        origin: &Origin,
        ask: &Ask,
        notes: &mut Notes,
    ) -> Result<Permit, Refusal> {
        let evidence = self.weigh(caller, origin, ask)?;
        let outcome = postern_policy::decide(&evidence.policies, &evidence.request);
        let decided = match outcome {
            Outcome::Allowed => {
                Ok(Permit { action: ask.action.clone(), resource: ask.resource.clone(), _sealed: () })
            }
            Outcome::Denied(denial) => {
                let message = sentence(&evidence.request, &denial, evidence.same_organization);
                let request = Some(Box::new(evidence.request.clone()));
                Err(Refusal { message, denial: Some(denial), request })
            }
        };
        notes.take(evidence, decided.is_err());
        decided
    }

    /// What a decision would rest on: everything that has a say, and the circumstances that it is asked under.
    ///
    /// # Errors
    /// Where a policy cannot be read, or an endpoint is gone: nothing is allowed then.
    pub fn weigh(&self, caller: &Caller, origin: &Origin, ask: &Ask) -> Result<Evidence, Refusal> {
        let broken = |what: String| Refusal { message: what, denial: None, request: None };
        let action = Action::parse(&ask.action).map_err(|error| broken(error.to_string()))?;
        let through = match origin.peer.map(|peer| peer.through) {
            Some(Through::Endpoint(endpoint, _)) => Some(endpoint),
            Some(Through::Internet(_) | Through::Resolver(..) | Through::Link) | None => None,
        };
        let mut policies = self
            .directory
            .policies(caller)
            .map_err(|name| broken(format!("policy `{name}` cannot be read, so nothing is allowed")))?;
        if let Some(endpoint) = through {
            match self.directory.endpoint_policy(endpoint) {
                EndpointPolicy::Full => {}
                EndpointPolicy::Document(document) => {
                    policies.set_endpoint((*document).clone()).map_err(|error| broken(error.to_string()))?;
                }
                EndpointPolicy::Nothing => {
                    return Err(broken(format!("endpoint {endpoint} is not there any more")));
                }
            }
        }
        if let Some(document) = &ask.resource_policy {
            policies.set_resource((**document).clone()).map_err(|error| broken(error.to_string()))?;
        }
        let owner = through.and_then(|endpoint| self.directory.endpoint_owner(endpoint));
        let organizations = Organizations::of(self.directory.as_ref(), caller, owner, ask)
            .map_err(|name| broken(format!("policy `{name}` cannot be read, so nothing is allowed")))?;
        let (way, region) = ((origin, owner), self.region.as_deref());
        let mut context = global_context(ask, caller, way, region, self.directory.now());
        organizations.set_keys(&mut context, caller, owner, ask);
        let mut request =
            Request::new(caller.principal.clone(), action, ask.resource.clone()).with_context(context);
        if let Some(account) = ask.resource_account {
            let account = account.to_string().parse().map_err(|_| broken(format!("account `{account}`")))?;
            request = request.with_resource_account(account);
        }
        organizations.apply(&mut policies, &request).map_err(|error| broken(error.to_string()))?;
        let same_organization = organizations.are_one();
        Ok(Evidence { policies, request, same_organization, turned_away_by: None })
    }

    /// Remembers what the decisions of a request rested on, by the id that its answer is known by.
    pub fn remember(&self, request_id: &str, notes: Notes) {
        self.memory.keep(request_id, notes);
    }

    /// What the decisions of one of the last requests rested on.
    pub fn recall(&self, request_id: &str) -> Option<Arc<[Evidence]>> {
        self.memory.find(request_id)
    }
}

/// What a refused caller is told. S3 quotes the resource, and tells the reason to callers of the resource's own account or
/// organization only.
pub fn sentence(request: &Request, denial: &Denial, same_organization: bool) -> String {
    if !request.action.as_str().starts_with("s3:") {
        denial.message(request, false)
    } else if denial.is_told_by_s3(request, same_organization) {
        denial.message(request, true)
    } else {
        denial.plain_message().to_owned()
    }
}
