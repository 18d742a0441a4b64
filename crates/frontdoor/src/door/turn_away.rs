//! What is refused before a service is found: it gets its answer, its record and its count like everything else.

use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use postern_wire::query::{Form, Limits as FormLimits};
use postern_wire::sigv4::CredentialError;
use postern_wire::{AwsError, SERVICES};

use super::Hall;
use crate::ambiguity::Ambiguity;
use crate::audit::{Call, OWN_SERVICE, Record, UserIdentity};
use crate::body::{RequestBody, ResponseBody, plain, plain_refusal};
use crate::caller::Origin;
use crate::dialect::Dialect;
use crate::pages::{brief_health, page};
use crate::random::request_id;
use crate::route::{is_cross_site, is_local_host, text};

/// How much of a name that only the request knows is recorded.
const FOREIGN_NAME_MAX: usize = 64;

/// How a request ended that no service of AWS's served.
struct End<'a> {
    service: &'a str,
    operation: &'a str,
    status: StatusCode,
    /// Code and sentence, where it was refused.
    error: Option<(&'a str, &'a str)>,
    took: Duration,
}

impl Hall {
    /// A request that could be understood in more than one way.
    pub(super) async fn ambiguous(
        &self,
        parts: &Parts,
        origin: &Origin,
        why: Ambiguity,
    ) -> Response<ResponseBody> {
        self.refuse(parts, origin, "unknown", StatusCode::BAD_REQUEST, ("BadRequest", &why.to_string())).await
    }

    /// Something that cannot be read as a request: nothing is known of it but where it came from.
    pub(super) async fn unreadable(&self, origin: &Origin, status: StatusCode) {
        let (parts, ()) = Request::new(()).into_parts();
        let error = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ("HeaderTooLarge", "the header is too long"),
            _ => ("BadRequest", "what came cannot be read as a request"),
        };
        let end = End {
            service: "unknown",
            operation: "unknown",
            status,
            error: Some(error),
            took: Duration::ZERO,
        };
        self.recorded_as(&parts, origin, &request_id(), end).await;
    }

    /// A request that came in the clear where TLS is required.
    pub(super) async fn in_the_clear(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let origin = request.extensions().get::<Origin>().copied();
        let (parts, _) = request.into_parts();
        if let Some(origin) = origin {
            let response = plain_refusal();
            let error = ("SecureTransportRequired", "plain HTTP is not served at this address");
            let end = End {
                service: "unknown",
                operation: "unknown",
                status: response.status(),
                error: Some(error),
                took: Duration::ZERO,
            };
            return self.recorded(&parts, &origin, end, response).await;
        }
        plain_refusal()
    }

    /// A request that the page of another web site made a browser send, in a region that checks no signatures.
    pub(super) async fn of_another_site(&self, parts: &Parts, origin: &Origin) -> Response<ResponseBody> {
        let why = "requests of another site's page are not served";
        self.refuse(parts, origin, "unknown", StatusCode::FORBIDDEN, ("CrossSiteRequest", why)).await
    }

    /// One of Postern's own pages. What is only looked at leaves no record, unless it is refused.
    pub(super) async fn page(
        &self,
        name: &str,
        parts: Parts,
        body: RequestBody,
        origin: &Origin,
    ) -> Response<ResponseBody> {
        let started = Instant::now();
        let looks = parts.method == Method::GET || parts.method == Method::HEAD;
        let on_this_machine = self.is_on_this_machine(origin);
        if name == "health" && looks && !on_this_machine {
            return brief_health(&self.pages.health());
        }
        if is_cross_site(&parts) || !is_local_host(&parts, &self.own_names) || !on_this_machine {
            let why = "this page is for this machine's own programs";
            return self.refuse(&parts, origin, OWN_SERVICE, StatusCode::FORBIDDEN, ("Forbidden", why)).await;
        }
        let (id, about) = (request_id(), parts.clone());
        let response = page(self.pages.as_ref(), &self.metrics, self.dev, &id, name, parts, body).await;
        if looks && response.status() != StatusCode::FORBIDDEN {
            return response;
        }
        let code = response.status().as_u16().to_string();
        let refused = !response.status().is_success();
        let operation = if name == "reset" { "Reset" } else { "Page" };
        let error =
            refused.then(|| (code.as_str(), response.status().canonical_reason().unwrap_or_default()));
        let (status, took) = (response.status(), started.elapsed());
        let end = End { service: OWN_SERVICE, operation, status, error, took };
        self.recorded_as(&about, origin, &id, end).await;
        with_id(response, &id)
    }

    /// Pages tell of all accounts and of the machine, and only somebody on it may know that: over a network there is
    /// whether the region works, and no more. Who connects from an address that is listened at is on this machine.
    fn is_on_this_machine(&self, origin: &Origin) -> bool {
        let from = origin.remote.ip();
        from.is_loopback() || self.addresses.contains(&from)
    }

    /// A request for a service that nobody serves here, in the words of one that cannot be had now: what it would do is
    /// never made up.
    pub(super) async fn not_served(
        &self,
        name: &str,
        parts: &Parts,
        origin: &Origin,
    ) -> Response<ResponseBody> {
        let dialect = Dialect::said_by(parts).or_else(|| self.others.dialect(name)).unwrap_or(Dialect::Xml);
        let error = dialect.unavailable(format!("The service `{name}` is not served here."));
        let operation = target(parts).unwrap_or_else(|| "unknown".to_owned());
        self.worded(parts, origin, (name, &operation), dialect, error).await
    }

    /// A form that nobody signed, at a host that is no service's. What it asks for is known if it comes whole.
    pub(super) async fn unsigned(
        &self,
        parts: &Parts,
        body: RequestBody,
        origin: &Origin,
    ) -> Response<ResponseBody> {
        let body = self.bodies.collect(body).await.unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default();
        let action = Form::parse(query, &body, FormLimits::DEFAULT).ok().map(|form| form.action);
        let known = action.and_then(|action| {
            SERVICES.iter().find_map(|service| Some((service.name, service.operation(&action)?.name)))
        });
        let target = target(parts).unwrap_or_else(|| "unknown".to_owned());
        let wanted = known.unwrap_or(("unknown", &target));
        let dialect = Dialect::said_by(parts).unwrap_or(Dialect::Xml);
        self.worded(parts, origin, wanted, dialect, CredentialError::Missing.to_aws(dialect.style())).await
    }

    /// A refusal in AWS's words.
    async fn worded(
        &self,
        parts: &Parts,
        origin: &Origin,
        (service, operation): (&str, &str),
        dialect: Dialect,
        error: AwsError,
    ) -> Response<ResponseBody> {
        let id = request_id();
        let response = dialect.response(&error, &id);
        let end = End {
            service,
            operation,
            status: response.status(),
            error: Some((&error.code, &error.message)),
            took: Duration::ZERO,
        };
        self.recorded_as(parts, origin, &id, end).await;
        response
    }

    /// A refusal for people.
    async fn refuse(
        &self,
        parts: &Parts,
        origin: &Origin,
        service: &str,
        status: StatusCode,
        error: (&str, &str),
    ) -> Response<ResponseBody> {
        let end = End { service, operation: "unknown", status, error: Some(error), took: Duration::ZERO };
        self.recorded(parts, origin, end, plain(status, error.1)).await
    }

    async fn recorded(
        &self,
        parts: &Parts,
        origin: &Origin,
        end: End<'_>,
        response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        let id = request_id();
        self.recorded_as(parts, origin, &id, end).await;
        with_id(response, &id)
    }

    async fn recorded_as(&self, parts: &Parts, origin: &Origin, id: &str, end: End<'_>) {
        // The names come from the request, so they are recorded and not counted by.
        let counted = if end.service == OWN_SERVICE { OWN_SERVICE } else { "unknown" };
        let code = end.error.map_or("OK", |(code, _)| code);
        self.metrics.request(counted, "unknown", code, end.took);
        let call = Call {
            at: self.authoriser.directory().now(),
            service: end.service,
            operation: end.operation,
            region: &self.region,
            identity: UserIdentity::behind(None, parts),
            origin,
            user_agent: text(&parts.headers, USER_AGENT.as_str()),
            request_id: id,
            status: end.status.as_u16(),
            error: end.error.map(|(code, message)| (code.to_owned(), message.to_owned())),
        };
        self.audit.record(Record::of(call)).await;
    }
}

/// The operation of a JSON service's request, as its header has it: `DynamoDB_20120810.ListTables`.
fn target(parts: &Parts) -> Option<String> {
    let target = text(&parts.headers, "x-amz-target")?;
    let operation = target.rsplit('.').next().unwrap_or(target);
    let named = !operation.is_empty()
        && operation.len() <= FOREIGN_NAME_MAX
        && operation.bytes().all(|byte| byte.is_ascii_alphanumeric());
    named.then(|| operation.to_owned())
}

fn with_id(mut response: Response<ResponseBody>, id: &str) -> Response<ResponseBody> {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(HeaderName::from_static("x-amzn-requestid"), id);
    }
    response
}
