//! Organizations: accounts under one management account, and the policies over them.
//!
//! What the policies do to requests is the front door's business (`directory`); here they are kept and shown.
//!
//! INVARIANT: every parameter of a served operation is honoured or refused by its name.
//! INVARIANT: a policy that cannot be enforced whole is refused, never stored.

mod ask;
mod call;
mod error;
mod handshakes;
mod page;
mod policies;
mod request;
pub(crate) mod shape;
mod tree;

use std::sync::Arc;

use postern_frontdoor::json::{Beginning, Begun};
use postern_frontdoor::{Caller, JsonError, JsonRequest, JsonService, Permit, Refusal};
use postern_model::organization::Organization;
use postern_model::{AccountId, State};

use self::call::Call;
use self::request::Request;
use crate::commands::Commands;

/// Bytes of a request: the largest policy, and room for what is around it.
const BODY_BYTES_MAX: usize = 1 << 20;

/// AWS Organizations.
pub struct OrganizationsService {
    commands: Arc<dyn Commands>,
}

impl OrganizationsService {
    /// Over the region's commands.
    pub fn new(commands: Arc<dyn Commands>) -> Self {
        Self { commands }
    }
}

/// The organization that a request is about: the caller's, or that which invited it.
fn organization_of<'s>(
    state: &'s State,
    account: AccountId,
    request: &Request,
) -> Option<&'s Arc<Organization>> {
    let invitation = match request {
        Request::AcceptHandshake(r) => Some(&r.handshake_id),
        Request::DeclineHandshake(r) => Some(&r.handshake_id),
        Request::DescribeHandshake(r) => Some(&r.handshake_id),
        _ => None,
    };
    let inviting = invitation.and_then(|id| {
        state.organizations.values().find(|organization| {
            organization.handshakes.get(id).is_some_and(|handshake| handshake.account == account)
        })
    });
    inviting.or_else(|| state.organization_of(account))
}

impl JsonService for OrganizationsService {
    fn signing_name(&self) -> &'static str {
        "organizations"
    }

    fn target_prefix(&self) -> &'static str {
        "AWSOrganizationsV20161128"
    }

    fn content_type(&self) -> &'static str {
        "application/x-amz-json-1.1"
    }

    fn is_global(&self) -> bool {
        true
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn operation(&self, name: &str) -> Option<&'static str> {
        Request::OPERATIONS.iter().find(|operation| **operation == name).copied()
    }

    fn begin<'a>(&'a self, caller: &'a Caller, request: JsonRequest) -> Beginning<'a> {
        Box::pin(async move {
            let account = caller.account.ok_or_else(error::denied)?;
            let request = Request::read(request.operation, &request.body)?;
            let state = self.commands.state();
            let organization = organization_of(&state, account, &request).cloned();
            let asks = ask::asks(organization.as_deref(), &request);
            let serve = move |permits: Vec<Permit>| async move {
                if permits.is_empty() {
                    return Err(error::denied());
                }
                let mut call = Call { commands: self.commands.as_ref(), account, state };
                Ok(call.answer(request).await?.to_string())
            };
            Ok(Begun { asks, serve: Box::new(move |permits| Box::pin(serve(permits))) })
        })
    }

    fn refused(&self, refusal: &Refusal) -> JsonError {
        error::error("AccessDeniedException", refusal.message.clone())
    }
}
