//! What is behind the door: services that speak a query protocol.

use std::future::Future;
use std::pin::Pin;

use postern_wire::AwsError;
use postern_wire::error::ErrorStyle;

use crate::authorise::{Ask, Permit, Refusal};
use crate::caller::{Caller, Origin};

/// A request of a query protocol, authenticated but not yet allowed.
#[derive(Debug, Clone)]
pub struct QueryRequest {
    /// Such as `CreateVpc`.
    pub operation: String,
    /// The form, as it came (`Action` and `Version` included).
    pub body: Vec<u8>,
    /// What the answer will be known by.
    pub request_id: String,
}

/// An answer of a query protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The XML document.
    pub body: String,
}

/// What a service's future answers.
pub type Serving<'a> = Pin<Box<dyn Future<Output = Result<Answer, AwsError>> + Send + 'a>>;

/// A service that speaks a query protocol (EC2, IAM, STS).
pub trait QueryService: Send + Sync {
    /// The name in credential scopes, such as `ec2`.
    fn signing_name(&self) -> &'static str;

    /// How it writes errors.
    fn error_style(&self) -> ErrorStyle;

    /// Whether it has one endpoint for all regions, so that requests may be signed for `us-east-1` as well.
    fn is_global(&self) -> bool {
        false
    }

    /// Whether this can be asked for without a signature, as by a URL that was sent to somebody. Who asks so is nobody.
    fn serves_unsigned(&self, operation: &str) -> bool {
        let _ = operation;
        false
    }

    /// Whether AWS lets every authenticated caller do this, whatever policies say.
    fn needs_no_permission(&self, operation: &str) -> bool {
        let _ = operation;
        false
    }

    /// Everything that a request asks for. All of it must be allowed. Never empty, unless
    /// [`needs_no_permission`](Self::needs_no_permission) says so: a request that asks for nothing is refused.
    ///
    /// # Errors
    /// Where the request makes no sense (an unknown operation, a malformed parameter), before anything is decided.
    fn asks(&self, caller: &Caller, request: &QueryRequest) -> Result<Vec<Ask>, AwsError>;

    /// The service's words for a refusal (`UnauthorizedOperation` of EC2, `AccessDenied` of the others).
    fn refused(&self, refusal: &Refusal) -> AwsError;

    /// Serves a request, against the permits for all of its asks.
    fn serve<'a>(
        &'a self,
        caller: &'a Caller,
        origin: &'a Origin,
        request: QueryRequest,
        permits: Vec<Permit>,
    ) -> Serving<'a>;
}
