//! The EC2 query API over the pure model: a request becomes asks and a command, a state becomes a response.
//!
//! **Job.** Serve every operation of the generated EC2 table: say what a request asks for, carry it out as commands
//! of the model, and write the answer as AWS writes it.
//!
//! **Invariants.**
//! - Every parameter of a request is honoured or refused by name ([`table`] says which), none is ignored.
//! - A request sees the caller's account alone: an id of another account is answered as one that was never given.
//! - Nothing is served without a permit for each of its asks, made again when it is served.
//!
//! **Must never know.** How packets move, how commands are stored, who may do what.

mod address;
mod ask;
mod authorization_message;
mod call;
mod connection_notification;
mod dhcp_options;
mod endpoint;
mod endpoint_connection;
mod endpoint_service;
mod endpoint_service_configuration;
mod endpoint_service_permission;
mod endpoint_view;
mod error;
mod filters;
mod gateway;
mod image;
mod instance;
mod instance_attribute;
mod instance_filters;
mod instance_profile;
mod instance_status;
mod instance_type;
mod instance_view;
mod interface;
mod interface_attribute;
mod interface_view;
mod key_pair;
mod launch;
mod nat_gateway;
mod network_acl;
mod pagination;
mod parameters;
mod peering;
mod permission;
mod prefix_list;
mod refusal;
mod region;
pub(crate) mod resource_keys;
mod route;
mod route_table;
mod security_group;
mod security_group_rule;
mod ssh;
mod subnet;
mod table;
mod tag;
mod transit_attachment;
mod transit_gateway;
mod transit_route;
mod transit_table;
mod view;
mod vpc;
mod vpn;
mod vpn_gateway;

use std::sync::Arc;

use postern_frontdoor::caller::Identity;
use postern_frontdoor::service::Serving;
use postern_frontdoor::{Ask, Caller, Origin, Permit, QueryRequest, QueryService, Refusal};
use postern_model::{AccountId, InstanceId};
use postern_wire::error::ErrorStyle;
use postern_wire::query::{DecodeError, Form, Limits};
use postern_wire::shape::Protocol;
use postern_wire::{AwsError, ec2};

pub use connection_notification::{TELLER, source_arn};
pub use image::IMAGE_ID;
pub use table::{Entry, entries};
pub(crate) use view::timestamp;

use crate::commands::Commands;
use crate::directory::session::SessionKeys;

/// The consoles of instances: what they printed, and their reset button. The program implements it.
pub trait Consoles: Send + Sync {
    /// What the instance printed so far, the newest at the end; none if nothing is known of it.
    fn console(&self, instance: InstanceId) -> Option<Vec<u8>>;

    /// Asks for a reboot and does not wait for it.
    ///
    /// # Errors
    /// Why it cannot be rebooted.
    fn reboot(&self, instance: InstanceId) -> Result<(), String>;
}

/// The EC2 API.
pub struct Ec2Service {
    commands: Arc<dyn Commands>,
    consoles: Arc<dyn Consoles>,
    sealing: Option<Arc<SessionKeys>>,
}

impl Ec2Service {
    /// The API over this region.
    pub fn new(commands: Arc<dyn Commands>, consoles: Arc<dyn Consoles>) -> Self {
        Self { commands, consoles, sealing: None }
    }

    /// The same with encoded messages in its refusals, which STS decodes that has the same keys.
    #[must_use]
    pub fn sealing(self, keys: Arc<SessionKeys>) -> Self {
        Self { sealing: Some(keys), ..self }
    }

    async fn answer(
        &self,
        caller: &Caller,
        request: &QueryRequest,
        permits: &[Permit],
    ) -> Result<postern_frontdoor::Answer, AwsError> {
        let account = account_of(caller)?;
        let (entry, form) = understand(request)?;
        let state = self.commands.state();
        for ask in ask::asks(&state, account, entry, &form) {
            let permitted = |permit: &Permit| {
                permit.action() == ask.action.as_str() && permit.resource() == ask.resource.as_str()
            };
            if !permits.iter().any(permitted) {
                return Err(error::unauthorized("No permit covers all of this request."));
            }
        }
        let call = call::Call::new(
            &*self.commands,
            &*self.consoles,
            (account, principal(caller, account)),
            entry,
            &form,
            state,
        );
        let body = entry.run(&call, &form, &request.request_id).await?;
        if call.is_dry_run() { Err(error::dry_run()) } else { Ok(postern_frontdoor::Answer { body }) }
    }
}

/// The account that asks. An anonymous caller has none.
fn account_of(caller: &Caller) -> Result<AccountId, AwsError> {
    caller.account.ok_or_else(|| {
        AwsError::new("AuthFailure", "AWS was not able to validate the provided access credentials")
            .with_status(401)
    })
}

/// Who in the account asks, as lists of allowed principals name them; none for its root user.
fn principal(caller: &Caller, account: AccountId) -> Option<String> {
    match &caller.identity {
        Identity::User(name) => Some(format!("arn:aws:iam::{account}:user/{name}")),
        Identity::Role(name) => Some(format!("arn:aws:iam::{account}:role/{name}")),
        Identity::Root | Identity::Anonymous => None,
    }
}

/// The operation and its parameters, each of them known and honoured.
fn understand(request: &QueryRequest) -> Result<(&'static Entry, Form), AwsError> {
    let to_aws = |error: DecodeError| error.to_aws(Protocol::Ec2);
    let form = Form::parse("", &request.body, Limits::DEFAULT).map_err(|e| to_aws(e.into()))?;
    ec2::Request::decode(&form).map_err(to_aws)?;
    let entry = table::find(&form.action).ok_or_else(|| error::unknown_action(&form.action))?;
    parameters::check_honoured(entry, &form)?;
    Ok((entry, form))
}

impl QueryService for Ec2Service {
    fn signing_name(&self) -> &'static str {
        "ec2"
    }

    fn error_style(&self) -> ErrorStyle {
        ErrorStyle::Ec2
    }

    fn asks(&self, caller: &Caller, request: &QueryRequest) -> Result<Vec<Ask>, AwsError> {
        let account = account_of(caller)?;
        let (entry, form) = understand(request)?;
        Ok(ask::asks(&self.commands.state(), account, entry, &form))
    }

    fn refused(&self, refusal: &Refusal) -> AwsError {
        let sealed = self.sealing.as_deref().and_then(|keys| authorization_message::encoded(keys, refusal));
        match sealed {
            None => error::unauthorized(&refusal.message),
            Some(sealed) => error::unauthorized(&format!(
                "{}. Encoded authorization failure message: {sealed}",
                refusal.message
            )),
        }
    }

    fn serve<'a>(
        &'a self,
        caller: &'a Caller,
        _origin: &'a Origin,
        request: QueryRequest,
        permits: Vec<Permit>,
    ) -> Serving<'a> {
        Box::pin(async move { self.answer(caller, &request, &permits).await })
    }
}
