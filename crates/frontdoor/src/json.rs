//! Services that speak AWS's JSON protocols: one JSON object each way, and the operation in the header `x-amz-target`, or in
//! method and path.
//!
//! INVARIANT: a service serves only what it asked for and got a [`Permit`] for; a request that asks for nothing is
//! refused.
//! INVARIANT: what a service says of a failure of its own stays in the program's log, by the request's id.
//! Source: "AWS JSON 1.0 protocol" and "AWS restJson1 protocol" of Smithy, and "DynamoDB low-level API" for what DynamoDB adds to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crc_fast::{CrcAlgorithm, checksum};
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{HeaderName, Method, Request, Response, StatusCode};
use postern_wire::AwsError;
use postern_wire::error::ErrorStyle;
use postern_wire::sigv4::Rules;
use tracing::Instrument as _;

use crate::audit::{Audit, Call, Record, UserIdentity};
use crate::authenticate::authenticate;
use crate::authorise::{Ask, Authoriser, Permit, Refusal};
use crate::body::{CollectError, Collector, HttpService, RequestBody, Responding, ResponseBody, full, plain};
use crate::caller::{Caller, Origin};
use crate::evidence::Notes;
use crate::metrics::Metrics;
use crate::random::request_id;
use crate::route::text;

/// The namespace of the errors that all of AWS's JSON services have in common.
const COMMON: &str = "com.amazon.coral.service";

/// A request of a JSON protocol, authenticated but not yet allowed.
#[derive(Debug, Clone)]
pub struct JsonRequest {
    /// Such as `GetItem`, as [`JsonService::operation`] knows it.
    pub operation: &'static str,
    /// What stands behind the path's question mark, as it came.
    pub query: String,
    /// The JSON document, as it came.
    pub body: Vec<u8>,
}

/// An operation that is known by method and path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestOperation {
    /// Such as `POST`.
    pub method: &'static str,
    /// The whole path.
    pub path: &'static str,
    /// Its name.
    pub name: &'static str,
}

/// An error of a JSON protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// AWS's code without its namespace: `AccessDeniedException`.
    pub code: String,
    /// AWS's sentence; empty where AWS has none.
    pub message: String,
    /// The HTTP status.
    pub status: u16,
    /// The document.
    pub body: String,
}

impl JsonError {
    /// An error that all JSON services have in common, with the status 400.
    pub fn common(code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let kind = format!("{COMMON}#{code}");
        // These two have no message, or have it under a name of its own; captured from DynamoDB.
        let body = match code {
            _ if message.is_empty() => serde_json::json!({ "__type": kind }),
            "AccessDeniedException" | "SerializationException" => {
                serde_json::json!({ "__type": kind, "Message": message })
            }
            _ => serde_json::json!({ "__type": kind, "message": message }),
        };
        Self { code: code.to_owned(), message, status: 400, body: body.to_string() }
    }

    /// An error of a service that speaks REST: the code goes into a header, beside the document.
    pub fn rest(code: &str, message: impl Into<String>, status: u16) -> Self {
        let message = message.into();
        let body = serde_json::json!({ "message": message }).to_string();
        Self { code: code.to_owned(), message, status, body }
    }

    /// A failure of the service's own; the message is for the log.
    pub fn internal(message: impl Into<String>) -> Self {
        let error = Self::common("InternalServerError", message);
        Self { status: 500, ..error }
    }
}

impl From<AwsError> for JsonError {
    fn from(error: AwsError) -> Self {
        Self { status: error.status, ..Self::common(&error.code, error.message) }
    }
}

/// What a service makes of a request before it is allowed.
pub struct Begun<'a> {
    /// Everything that the request asks for. All of it must be allowed. Never empty.
    pub asks: Vec<Ask>,
    /// Serves the request, against the permits for all of its asks.
    pub serve: Box<dyn FnOnce(Vec<Permit>) -> Serving<'a> + Send + 'a>,
}

/// What [`JsonService::begin`] answers.
pub type Beginning<'a> = Pin<Box<dyn Future<Output = Result<Begun<'a>, JsonError>> + Send + 'a>>;
/// What [`Begun::serve`] answers: the JSON document.
pub type Serving<'a> = Pin<Box<dyn Future<Output = Result<String, JsonError>> + Send + 'a>>;

/// A service that speaks a JSON protocol (DynamoDB).
pub trait JsonService: Send + Sync {
    /// The name in credential scopes, such as `dynamodb`.
    fn signing_name(&self) -> &'static str;

    /// What stands before the operation in `x-amz-target`: `DynamoDB_20120810`.
    fn target_prefix(&self) -> &'static str;

    /// Of a service whose operations are known by method and path, all of them; others have none.
    fn rest_operations(&self) -> &'static [RestOperation] {
        &[]
    }

    /// The protocol's version: `application/x-amz-json-1.0`.
    fn content_type(&self) -> &'static str;

    /// Whether it has one endpoint for all regions, so that requests may be signed for `us-east-1` as well.
    fn is_global(&self) -> bool {
        false
    }

    /// Bytes that a request may have.
    fn body_bytes_max(&self) -> usize;

    /// The operation of this name, if it is served.
    fn operation(&self, name: &str) -> Option<&'static str>;

    /// Reads a request, and says what it asks for.
    ///
    /// # Errors
    /// Where the request makes no sense, before anything is decided.
    fn begin<'a>(&'a self, caller: &'a Caller, request: JsonRequest) -> Beginning<'a>;

    /// The service's words for a refusal.
    fn refused(&self, refusal: &Refusal) -> JsonError {
        JsonError::common("AccessDeniedException", refusal.message.clone())
    }
}

/// A JSON service as the front door mounts it: it authenticates, authorises and records its calls.
pub struct JsonDoor {
    service: Arc<dyn JsonService>,
    authoriser: Arc<Authoriser>,
    region: String,
    audit: Audit,
    metrics: Arc<Metrics>,
    bodies: Collector,
}

impl JsonDoor {
    /// This service, decided by this authoriser; a body may fall silent for `stall`.
    pub fn new(
        service: Arc<dyn JsonService>,
        authoriser: Arc<Authoriser>,
        region: impl Into<String>,
        audit: Audit,
        metrics: Arc<Metrics>,
        stall: Duration,
    ) -> Self {
        let bodies = Collector::new(service.body_bytes_max(), stall);
        Self { service, authoriser, region: region.into(), audit, metrics, bodies }
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let started = Instant::now();
        let Some(origin) = request.extensions().get::<Origin>().copied() else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the origin of the request is not known");
        };
        let (parts, body) = request.into_parts();
        let id = request_id();
        let mut course = Course::default();
        let span = tracing::error_span!("request", id = %id, service = self.service.signing_name());
        let answered = self.attempt(&parts, body, &origin, &mut course).instrument(span).await;
        let answered = answered.map_err(|error| self.veiled(error, &id));
        let (status, document, error) = match answered {
            Ok(document) => (200, document, None),
            Err(error) => (error.status, error.body, Some((error.code, error.message))),
        };
        let named = error.as_ref().map(|(code, _)| code.clone()).filter(|_| self.is_rest());
        let code = error.as_ref().map_or("OK", |(code, _)| code.as_str());
        let operation = course.operation.unwrap_or("unknown");
        self.metrics.request(self.service.signing_name(), operation, code, started.elapsed());
        self.record(&parts, &origin, &id, &course, (status, error)).await;
        self.authoriser.remember(&id, course.notes);
        let mut response = self.respond(status, document, &id);
        if let Some(code) = named.and_then(|code| HeaderValue::try_from(code).ok()) {
            response.headers_mut().insert(HeaderName::from_static("x-amzn-errortype"), code);
        }
        response
    }

    async fn record(
        &self,
        parts: &Parts,
        origin: &Origin,
        id: &str,
        course: &Course,
        (status, error): (u16, Option<(String, String)>),
    ) {
        let mut record = Record::of(Call {
            at: self.authoriser.directory().now(),
            service: self.service.signing_name(),
            operation: course.operation.unwrap_or("unknown"),
            region: &self.region,
            identity: UserIdentity::behind(course.caller.as_ref(), parts),
            origin,
            user_agent: text(&parts.headers, USER_AGENT.as_str()),
            request_id: id,
            status,
            error,
        });
        // JSON services refuse with the status 400.
        if course.refused {
            record.additional_event_data.decision = "denied";
        }
        self.audit.record(record).await;
    }

    async fn attempt(
        &self,
        parts: &Parts,
        body: RequestBody,
        origin: &Origin,
        course: &mut Course,
    ) -> Result<String, JsonError> {
        course.operation = Some(self.operation(parts).map_err(|error| self.worded(error))?);
        let body = self.bodies.collect(body).await.map_err(|error| self.worded(unreadable(&error)))?;
        let directory = self.authoriser.directory().as_ref();
        let regions = [self.region.as_str(), "us-east-1"];
        let regions = if self.service.is_global() { &regions[..] } else { &regions[..1] };
        let rules = Rules { service: self.service.signing_name(), regions };
        let style = ErrorStyle::Json { content_type: self.service.content_type() };
        let caller = authenticate(directory, parts, &body, &rules, style);
        course.refused = caller.is_err();
        let caller = &*course.caller.insert(caller.map_err(|error| self.unknown_caller(error))?);
        directory
            .welcome(caller)
            .await
            .map_err(|reason| JsonError::internal(format!("a caller could not be welcomed: {reason}")))?;
        let operation = course.operation.unwrap_or("unknown");
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let request = JsonRequest { operation, query, body };
        let Begun { asks, serve } = self.service.begin(caller, request).await?;
        if asks.is_empty() {
            return Err(JsonError::internal("the service asks for nothing"));
        }
        let mut permits = Vec::with_capacity(asks.len());
        for ask in &asks {
            match self.authoriser.authorise(caller, origin, ask, &mut course.notes) {
                Ok(permit) => permits.push(permit),
                Err(refusal) => {
                    course.refused = true;
                    return Err(self.service.refused(&refusal));
                }
            }
        }
        serve(permits).await
    }

    /// Which operation a request names. What is not one of this service's is answered as DynamoDB answers it, before
    /// anybody is authenticated.
    fn operation(&self, parts: &Parts) -> Result<&'static str, JsonError> {
        if self.is_rest() {
            let mut all = self.service.rest_operations().iter();
            let asked =
                |it: &&RestOperation| it.method == parts.method.as_str() && it.path == parts.uri.path();
            let unknown = || {
                let error = JsonError::common("UnknownOperationException", "");
                JsonError { status: 404, ..error }
            };
            return all.find(asked).map(|it| it.name).ok_or_else(unknown);
        }
        let content_type = text(&parts.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().trim();
        let speaks = content_type.eq_ignore_ascii_case(self.service.content_type());
        if parts.method != Method::POST || parts.uri.path() != "/" || !speaks {
            let error = JsonError::common("UnknownOperationException", "");
            return Err(JsonError { status: 404, ..error });
        }
        let target = text(&parts.headers, "x-amz-target").and_then(|target| target.split_once('.'));
        let operation = target
            .filter(|(prefix, _)| *prefix == self.service.target_prefix())
            .and_then(|(_, operation)| self.service.operation(operation));
        operation.ok_or_else(|| JsonError::common("UnknownOperationException", ""))
    }

    fn is_rest(&self) -> bool {
        !self.service.rest_operations().is_empty()
    }

    /// An error of the door's own, in the form of the service's protocol.
    fn worded(&self, error: JsonError) -> JsonError {
        if self.is_rest() { JsonError::rest(&error.code, error.message, error.status) } else { error }
    }

    /// Who is not known is answered 403 where the status says what happened ("Common errors" of AWS's REST services).
    fn unknown_caller(&self, error: AwsError) -> JsonError {
        let error = JsonError::from(error);
        let status = if self.is_rest() && error.status == 400 { 403 } else { error.status };
        self.worded(JsonError { status, ..error })
    }

    /// A failure of the service's own, as its caller may know it: the rest goes into the log.
    fn veiled(&self, error: JsonError, id: &str) -> JsonError {
        if error.status < 500 {
            return error;
        }
        let service = self.service.signing_name();
        tracing::error!(
            request_id = id,
            service,
            code = error.code,
            error = error.message,
            "a request failed"
        );
        self.worded(JsonError::internal(format!("An internal error has occurred. Request ID: {id}")))
    }

    fn respond(&self, status: u16, document: String, id: &str) -> Response<ResponseBody> {
        // DynamoDB's clients check the sum where it is given, and take an answer that it does not fit to be cut short.
        let sum = checksum(CrcAlgorithm::Crc32IsoHdlc, document.as_bytes());
        let mut response = Response::new(full(document));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.service.content_type()));
        headers.insert(HeaderName::from_static("x-amz-crc32"), HeaderValue::from(sum));
        if let Ok(id) = HeaderValue::from_str(id) {
            headers.insert(HeaderName::from_static("x-amzn-requestid"), id);
        }
        response
    }
}

impl HttpService for JsonDoor {
    fn call<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        Box::pin(self.answer(request))
    }
}

/// How far a request came.
#[derive(Default)]
struct Course {
    operation: Option<&'static str>,
    caller: Option<Caller>,
    refused: bool,
    notes: Notes,
}

fn unreadable(error: &CollectError) -> JsonError {
    let error = error.to_aws();
    JsonError { status: error.status, ..JsonError::common(&error.code, error.message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_errors_are_written_as_aws_writes_them() {
        let body = |code, message: &str| JsonError::common(code, message).body;
        assert_eq!(
            body("UnknownOperationException", ""),
            r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#
        );
        assert_eq!(
            body("AccessDeniedException", "no"),
            r#"{"Message":"no","__type":"com.amazon.coral.service#AccessDeniedException"}"#
        );
        assert_eq!(
            body("UnrecognizedClientException", "no"),
            r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"no"}"#
        );
    }
}
