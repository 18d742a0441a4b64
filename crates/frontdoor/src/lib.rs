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

pub mod audit;
pub mod authenticate;
pub mod authorise;
pub mod body;
pub mod caller;
pub mod conditions;
pub mod dialect;
pub mod door;
pub mod evidence;
pub mod host;
pub mod json;
pub mod metrics;
mod organizations;
pub mod others;
pub mod pages;
pub mod random;
pub mod server;
pub mod service;
pub mod tls;

mod ambiguity;
mod network_keys;
mod places;
mod route;
mod stream;

pub use audit::{Audit, Record, UserIdentity};
pub use authorise::{Ask, Authoriser, Directory, EndpointPolicy, Permit, Refusal};
pub use body::{CollectError, Collector, HttpService, RequestBody, Responding, ResponseBody, Watched};
pub use caller::{Caller, Credential, CredentialError, Identity, Origin, SessionPolicy, Traits};
pub use dialect::Dialect;
pub use door::{Config, FrontDoor, FrontDoorError, Mount};
pub use evidence::{Evidence, Notes};
pub use host::HostNames;
pub use json::{JsonDoor, JsonError, JsonRequest, JsonService, RestOperation};
pub use metrics::{Counter, Metrics};
pub use others::{NoOthers, OtherServices};
pub use pages::{Health, Pages};
pub use random::request_id;
pub use server::{Limits, OriginSource, ServeError, Server};
pub use service::{Answer, QueryRequest, QueryService};
pub use stream::AnswerHops;
pub use tls::{Authority, TlsError};
