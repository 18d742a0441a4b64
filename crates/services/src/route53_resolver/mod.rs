//! Route 53 Resolver: inbound endpoints, by which networks outside a VPC ask the VPC's resolver.
//!
//! Names and shapes are those of the "Amazon Route 53 Resolver" API reference. Outbound endpoints, rules, query logs and the
//! DNS firewall are not served: what asks for them is refused by name.
//!
//! INVARIANT: every member of a served request is honoured or refused by its name.

mod ask;
mod call;
mod error;
mod page;
mod request;
mod shape;

use std::sync::Arc;

use postern_frontdoor::json::{Beginning, Begun};
use postern_frontdoor::{Caller, JsonError, JsonRequest, JsonService, Permit, Refusal};

use self::call::Call;
use self::request::Request;
use crate::commands::Commands;

/// Bytes of a request: twenty addresses and two hundred tags, and room for what is around them.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Route 53 Resolver.
pub struct ResolverService {
    commands: Arc<dyn Commands>,
}

impl ResolverService {
    /// Over the region's commands.
    pub fn new(commands: Arc<dyn Commands>) -> Self {
        Self { commands }
    }
}

impl JsonService for ResolverService {
    fn signing_name(&self) -> &'static str {
        "route53resolver"
    }

    fn target_prefix(&self) -> &'static str {
        "Route53Resolver"
    }

    fn content_type(&self) -> &'static str {
        "application/x-amz-json-1.1"
    }

    fn body_bytes_max(&self) -> usize {
        BODY_BYTES_MAX
    }

    fn operation(&self, name: &str) -> Option<&'static str> {
        Request::OPERATIONS.iter().find(|operation| **operation == name).copied()
    }

    fn begin<'a>(&'a self, caller: &'a Caller, request: JsonRequest) -> Beginning<'a> {
        Box::pin(async move {
            let account = caller.account.ok_or_else(|| error::denied("Access Denied"))?;
            let request = Request::read(request.operation, &request.body)?;
            let state = self.commands.state();
            let asks = ask::asks(&state, account, &request);
            let serve = move |permits: Vec<Permit>| async move {
                if permits.is_empty() {
                    return Err(error::denied("Access Denied"));
                }
                let mut call = Call { commands: self.commands.as_ref(), account, state };
                Ok(call.answer(request).await?.to_string())
            };
            Ok(Begun { asks, serve: Box::new(move |permits| Box::pin(serve(permits))) })
        })
    }

    fn refused(&self, refusal: &Refusal) -> JsonError {
        error::denied(&refusal.message)
    }
}
