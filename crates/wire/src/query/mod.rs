//! The query protocols: a form of dotted parameters to a request's fields, and a request's fields to a form.
//!
//! INVARIANT: every parameter of a form either lands in a field of the request or is an error that names it.

pub mod constraint;
mod decode;
mod encode;
mod form;
mod pattern;
pub mod percent;

pub use decode::{DecodeError, decode, decode_fields};
pub use encode::{encode, encode_request};
pub use form::{Form, FormError, Limits};
