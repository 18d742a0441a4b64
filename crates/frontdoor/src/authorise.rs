//! May this caller do this? The one place where a [`Permit`] is made.

use std::sync::Arc;

use postern_model::{AccountId, VpcEndpointId};
use postern_path::Through;
use postern_policy::{Action, Context, Denial, NamedPolicy, PolicySet, Request};

use crate::caller::{Caller, Credential, CredentialError, Origin};

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
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// AWS's sentence, which names the kind of policy.
    pub message: String,
    /// What the policies said.
    pub denial: Option<Denial>,
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
}

/// Decides requests by the policies of a [`Directory`].
pub struct Authoriser {
    directory: Arc<dyn Directory>,
}

impl Authoriser {
    /// One that asks this directory.
    pub fn new(directory: Arc<dyn Directory>) -> Self {
        Self { directory }
    }

    /// Who there is.
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }

    /// Decides one ask.
    ///
    /// # Errors
    /// The refusal, in AWS's words.
    pub fn authorise(&self, caller: &Caller, origin: &Origin, ask: &Ask) -> Result<Permit, Refusal> {
        let broken = |what: String| Refusal { message: what, denial: None };
        let action = Action::parse(&ask.action).map_err(|error| broken(error.to_string()))?;
        let mut policies = self
            .directory
            .policies(caller)
            .map_err(|name| broken(format!("policy `{name}` cannot be read, so nothing is allowed")))?;
        if let Some(Through::Endpoint(endpoint, _)) = origin.peer.map(|peer| peer.through) {
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
        let mut request = Request::new(caller.principal.clone(), action, ask.resource.clone())
            .with_context(network_context(ask.context.clone(), caller, origin));
        if let Some(account) = ask.resource_account {
            let account = account.to_string().parse().map_err(|_| broken(format!("account `{account}`")))?;
            request = request.with_resource_account(account);
        }
        let evaluation = postern_policy::evaluate(&policies, &request);
        match evaluation.denial() {
            None => Ok(Permit { action: ask.action.clone(), resource: ask.resource.clone(), _sealed: () }),
            Some(denial) => Err(Refusal {
                message: denial.message(&request, ask.action.starts_with("s3:")),
                denial: Some(denial.clone()),
            }),
        }
    }
}

/// The keys that follow from where a request came from ("AWS global condition context keys").
fn network_context(context: Context, caller: &Caller, origin: &Origin) -> Context {
    let mut context = context.with("aws:SecureTransport", if origin.secure { "true" } else { "false" });
    if let Some(address) = origin.source_ip() {
        context = context.with("aws:SourceIp", address.to_string());
    }
    if let Some(user_id) = &caller.user_id {
        context = context.with("aws:userid", user_id.clone());
    }
    match origin.peer {
        Some(peer) => match peer.through {
            Through::Endpoint(endpoint, vpc) => context
                .with("aws:SourceVpce", endpoint.to_string())
                .with("aws:SourceVpc", vpc.to_string())
                .with("aws:VpcSourceIp", peer.address.to_string())
                .with("aws:VpceAccount", peer.account.to_string()),
            Through::Internet(_) | Through::Link => context,
        },
        None => context,
    }
}
