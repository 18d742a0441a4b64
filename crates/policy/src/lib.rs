//! The IAM policy language: parse, validate, compile, evaluate, explain.
//!
//! The crate is pure: it does no IO, reads no clock and knows no networks. Everything a policy may ask about
//! comes in with the [`Request`]. It has one evaluator; [`evaluate`] and [`decide`] are that evaluator with and
//! without the list of reasons, so an explanation cannot disagree with a decision.
//!
//! ```
//! use postern_policy::{Action, Arn, Context, Kind, NamedPolicy, PolicyDocument, PolicySet, Principal, Request};
//!
//! let reader = PolicyDocument::parse(
//!     r#"{"Version": "2012-10-17",
//!         "Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::logs/*"}}"#,
//!     Kind::Identity,
//! )?;
//! let door = PolicyDocument::parse(
//!     r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:*",
//!                       "Resource": "arn:aws:s3:::other/*"}}"#,
//!     Kind::Endpoint { gateway: true },
//! )?;
//!
//! let mut policies = PolicySet::new();
//! policies.add_identity(NamedPolicy::new("reader", reader))?;
//! let request = Request::new(
//!     Principal::User { arn: Arn::parse("arn:aws:iam::111111111111:user/ana")? },
//!     Action::parse("s3:GetObject")?,
//!     "arn:aws:s3:::logs/today",
//! )
//! .with_resource_account("111111111111".parse()?)
//! .with_context(Context::new().with("aws:SourceVpce", "vpce-0a1b2c3d4e5f60718"));
//! assert!(postern_policy::evaluate(&policies, &request).is_allowed());
//!
//! // The same request through an endpoint whose policy lets another bucket through only.
//! policies.set_endpoint(NamedPolicy::new("vpce-0a1b2c3d4e5f60718", door))?;
//! let evaluation = postern_policy::evaluate(&policies, &request);
//! assert_eq!(
//!     evaluation.denial().map(|denial| denial.message(&request, true)).as_deref(),
//!     Some(
//!         "User: arn:aws:iam::111111111111:user/ana is not authorized to perform: s3:GetObject on resource: \
//!          \"arn:aws:s3:::logs/today\" because no VPC endpoint policy allows the s3:GetObject action"
//!     )
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # From text to answer
//! [`PolicyDocument::parse`] reads strictly and says where and what it expected; [`PolicyDocument::warnings`] tells what is
//! accepted and most likely a mistake; [`PolicyDocument::print`] writes one plain form. [`PolicySet`] holds the documents in
//! their places, [`Organization`] puts those of a tree of accounts over both sides of a request.
//! A decision takes no memory; an [`Evaluation`] has every statement with its place and the values that were seen.
//!
//! # Who adds which condition key
//! Keys that follow from the principal or the resource are derived during evaluation and cannot be overridden
//! by the context (see [`is_derived_key`]). All others, the network keys above all, are put into the
//! [`Context`] by the caller, who alone knows which path a request took. A key that is not in the context is
//! *absent*, and the missing-key rules of the operators apply.

mod arn;
mod condition;
mod context;
mod denial;
mod document;
mod enforce;
mod error;
mod evaluate;
mod explain;
mod flip;
mod glob;
mod hash;
mod index;
mod json;
mod key;
mod organization;
mod parse;
mod pattern;
mod place;
mod principal;
mod print;
mod public;
mod request;
mod set;
mod statement;
mod value;
mod warn;

pub use arn::{AccountId, Arn, ArnError};
pub use context::Context;
pub use denial::{ACCESS_DENIED, Denial};
pub use document::{
    DEFAULT_GATEWAY_ENDPOINT_POLICY, DEFAULT_INTERFACE_ENDPOINT_POLICY, Effect, Kind, PolicyDocument,
    SizeQuota, Version,
};
pub use enforce::unenforceable;
pub use error::{ParseError, Problem};
pub use evaluate::{Evaluation, Outcome, decide, evaluate};
pub use explain::{ConditionMiss, ConditionSeen, Finding, Miss, Reason};
pub use flip::{Change, ChangeKind, smallest_flips};
pub use glob::Glob;
pub use organization::{FULL_AWS_ACCESS, FULL_AWS_ACCESS_ARN, Organization, OrganizationError};
pub use place::Place;
pub use principal::{Principal, PrincipalMatch};
pub use public::is_public;
pub use request::{Action, ActionError, Request, has_resource_keys, is_derived_key};
pub use set::{Level, NamedPolicy, PolicySet, PolicyType, WrongKind};
pub use value::Value;
pub use warn::{Concern, Warning};
