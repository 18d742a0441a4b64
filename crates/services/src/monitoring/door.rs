//! CloudWatch behind the front door: who asks, may they, and the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use postern_frontdoor::audit::Call as Called;
use postern_frontdoor::authenticate::authenticate;
use postern_frontdoor::body::full;
use postern_frontdoor::{
    Ask, Audit, Authoriser, Caller, Collector, Dialect, HttpService, Metrics, Notes, Origin, Record,
    RequestBody, Responding, ResponseBody, UserIdentity, request_id,
};
use postern_policy::Context;
use postern_wire::AwsError;
use postern_wire::sigv4::Rules;

use super::Monitoring;
use super::query::{Asker, OPERATIONS, answer};
use super::wire::{self, Fault, Out};

/// Bytes of a request: 500 queries of the longest names are shorter.
const BODY_BYTES_MAX: usize = 1 << 20;
/// The name in credential scopes.
const SIGNING_NAME: &str = "monitoring";

/// CloudWatch, as the front door mounts it: it authenticates, authorises and records its calls.
pub struct MonitoringDoor {
    monitoring: Arc<Monitoring>,
    authoriser: Arc<Authoriser>,
    region: String,
    audit: Audit,
    metrics: Arc<Metrics>,
    bodies: Collector,
}

/// How far a request came.
#[derive(Default)]
struct Course {
    operation: Option<&'static str>,
    caller: Option<Caller>,
    refused: bool,
    notes: Notes,
}

/// Why a request has no answer.
enum Refused {
    /// It did not get as far as the service.
    Common(AwsError),
    /// The service's own.
    Fault(Fault),
}

impl MonitoringDoor {
    /// Over what was measured, decided by this authoriser; a body may fall silent for `stall`.
    pub fn new(
        monitoring: Arc<Monitoring>,
        authoriser: Arc<Authoriser>,
        region: impl Into<String>,
        audit: Audit,
        metrics: Arc<Metrics>,
        stall: Duration,
    ) -> Self {
        let bodies = Collector::new(BODY_BYTES_MAX, stall);
        Self { monitoring, authoriser, region: region.into(), audit, metrics, bodies }
    }

    async fn answer(&self, request: Request<RequestBody>) -> Response<ResponseBody> {
        let started = Instant::now();
        let Some(origin) = request.extensions().get::<Origin>().copied() else {
            let mut response = Response::new(full("the origin of the request is not known\n"));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        let (parts, body) = request.into_parts();
        let (id, dialect) = (request_id(), wire::dialect(&parts));
        let mut course = Course::default();
        let attempted = self.attempt(&parts, body, &origin, dialect, &mut course).await;
        let operation = course.operation.unwrap_or("unknown");
        let (response, error) = match attempted {
            Ok(out) => (wire::answer(dialect, operation, &out, &id), None),
            Err(Refused::Common(error)) => (dialect.response(&error, &id), Some((error.code, error.message))),
            Err(Refused::Fault(fault)) => {
                (wire::fault(dialect, &fault, &id), Some((fault.code.to_owned(), fault.message)))
            }
        };
        let code = error.as_ref().map_or("OK", |(code, _)| code.as_str());
        self.metrics.request(SIGNING_NAME, operation, code, started.elapsed());
        self.record(&parts, &origin, &id, &course, (response.status(), error)).await;
        self.authoriser.remember(&id, course.notes);
        response
    }

    async fn attempt(
        &self,
        parts: &Parts,
        body: RequestBody,
        origin: &Origin,
        dialect: Dialect,
        course: &mut Course,
    ) -> Result<Out, Refused> {
        let body = self.bodies.collect(body).await.map_err(|error| Refused::Common(error.to_aws()))?;
        let call = wire::read(parts, &body).map_err(Refused::Common)?;
        let operation = OPERATIONS.into_iter().find(|known| *known == call.operation);
        let operation = operation.ok_or_else(|| Refused::Common(wire::unknown(&call.operation)))?;
        course.operation = Some(operation);
        let account = self.caller(parts, &body, dialect, course).await.map_err(Refused::Common)?;
        // "Actions, resources, and condition keys for Amazon CloudWatch": none of these has resource types.
        let ask = Ask {
            action: format!("cloudwatch:{operation}"),
            resource: "*".to_owned(),
            resource_account: None,
            resource_policy: None,
            context: Context::new(),
        };
        let caller =
            course.caller.as_ref().ok_or_else(|| Refused::Common(dialect.denied("Access Denied")))?;
        if let Err(refusal) = self.authoriser.authorise(caller, origin, &ask, &mut course.notes) {
            course.refused = true;
            return Err(Refused::Common(dialect.denied(refusal.message)));
        }
        // The data plane is asked, and this runtime's other tasks go on meanwhile.
        tokio::task::block_in_place(|| {
            let series = self.monitoring.measured();
            let now = self.monitoring.meters.now_seconds();
            answer(&Asker { account, now, series: &series }, operation, &call.input)
        })
        .map_err(Refused::Fault)
    }

    async fn caller(
        &self,
        parts: &Parts,
        body: &[u8],
        dialect: Dialect,
        course: &mut Course,
    ) -> Result<postern_model::AccountId, AwsError> {
        let directory = self.authoriser.directory().as_ref();
        let rules = Rules { service: SIGNING_NAME, regions: &[self.region.as_str()] };
        let caller = authenticate(directory, parts, body, &rules, dialect.style()).inspect_err(|_| {
            course.refused = true;
        })?;
        let caller = &*course.caller.insert(caller);
        directory.welcome(caller).await.map_err(|reason| {
            tracing::error!(reason, "a caller could not be welcomed");
            AwsError::new("InternalFailure", "The request could not be prepared.").with_status(500)
        })?;
        caller.account.ok_or_else(|| dialect.denied("Access Denied"))
    }

    async fn record(
        &self,
        parts: &Parts,
        origin: &Origin,
        id: &str,
        course: &Course,
        (status, error): (StatusCode, Option<(String, String)>),
    ) {
        let mut record = Record::of(Called {
            at: self.authoriser.directory().now(),
            service: SIGNING_NAME,
            operation: course.operation.unwrap_or("unknown"),
            region: &self.region,
            identity: UserIdentity::behind(course.caller.as_ref(), parts),
            origin,
            user_agent: parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()),
            request_id: id,
            status: status.as_u16(),
            error,
        });
        if course.refused {
            record.additional_event_data.decision = "denied";
        }
        self.audit.record(record).await;
    }
}

impl HttpService for MonitoringDoor {
    fn call<'a>(&'a self, request: Request<RequestBody>) -> Responding<'a> {
        Box::pin(self.answer(request))
    }
}
