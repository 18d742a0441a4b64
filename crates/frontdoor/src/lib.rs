//! The one door for every request, from a VPC or from loopback, to S3 or to the EC2 API alike.
//!
//! **Job.** Accept a connection, know who is behind it, authenticate the request, decide whether its caller may do
//! what it asks for, and hand it to its service with the proof: a [`Permit`].
//!
//! **Invariants.**
//! - Default deny: a service serves only against a [`Permit`], and only [`authorise`](Authoriser::authorise) makes one.
//! - Where a request came from ([`Origin`]) follows from the connection, never from anything in it.
//! - Every refusal is in AWS's words.
//!
//! **Must never know.** How a service works, how packets moved, how state is stored.

pub mod authorise;
pub mod caller;
pub mod service;

pub use authorise::{Ask, Authoriser, Directory, EndpointPolicy, Permit, Refusal};
pub use caller::{Caller, Credential, CredentialError, Origin};
pub use service::{Answer, QueryRequest, QueryService};
