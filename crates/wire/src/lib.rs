//! AWS's wire: the shapes of its requests and responses, the query protocols in both directions, SigV4, error bodies.
//!
//! This crate is pure: it opens no socket, reads no clock and draws no randomness, and it knows no other Postern
//! crate. Everything that comes from outside is bounded ([`query::Limits`]) and refused by name where it is not
//! understood: a parameter that no shape has is an error, never ignored.
//!
//! - [`ec2`], [`elbv2`], [`iam`], [`sns`], [`sts`]: generated structs, one row per member, each with the table of its service.
//! - [`query`]: a form to a request, and back.
//! - [`xml`]: a response to a document, and back.
//! - [`client`]: both protocols from and to JSON with AWS's own names, for programs that call the API.
//! - [`sigv4`]: parse, verify and make signatures.
//! - [`error`]: one error type, a body for each protocol.
//! - [`protocols`]: how each of AWS's services is spoken to, and which operation a REST request is for.

pub mod client;
pub mod crypto;
pub mod error;
mod generate;
mod generated;
pub mod operation;
pub mod protocols;
pub mod query;
pub mod sensitive;
pub mod shape;
pub mod sigv4;
pub mod timestamp;
pub mod value;
pub mod xml;

pub use error::AwsError;
pub use generated::{BOTOCORE_VERSION, SERVICES, ec2, elbv2, iam, sns, sts};
pub use operation::Operation;
pub use sensitive::{Blob, Sensitive};
pub use timestamp::Timestamp;
pub use value::Structure;
