//! One operation as a type: what goes in, what comes out, and how the answer is written.

use crate::shape::Service;
use crate::value::Structure;
use crate::xml;

/// An operation of a generated service.
pub trait Operation {
    /// `CreateVpc`.
    const NAME: &'static str;
    /// What a client sends.
    type Request: Structure;
    /// What the service answers; `()` where AWS only acknowledges.
    type Response: Structure;

    /// The service that has it.
    fn service() -> &'static Service;

    /// The response document.
    fn respond(response: Self::Response, request_id: &str) -> String {
        let shape = Self::Response::SHAPE;
        xml::response(Self::service(), Self::NAME, shape, &response.into_fields(), request_id)
    }
}
