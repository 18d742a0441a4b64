//! Postern's own pages, under `/_postern/` outside the VPCs: health, metrics, reset, and what the program adds.
//!
//! INVARIANT: no page of another web site can use them: the door refuses requests that a browser sends for one, and
//! hosts that are names in somebody else's DNS.

use std::future::Future;
use std::pin::Pin;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use crate::body::{RequestBody, ResponseBody, full, plain};
use crate::metrics::Metrics;

/// How the region is.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Whether everything works.
    pub ready: bool,
    /// The page: what is there, and how it is.
    pub details: serde_json::Value,
}

/// What a reset answers; an error is the reason, for people.
pub type Resetting<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;
/// What another page answers; none if there is no such page.
pub type Paging<'a> = Pin<Box<dyn Future<Output = Option<Response<ResponseBody>>> + Send + 'a>>;

/// What the pages show and do.
pub trait Pages: Send + Sync {
    /// How the region is.
    fn health(&self) -> Health;

    /// Returns everything to the start. Asked for in development regions only.
    fn reset<'a>(&'a self) -> Resetting<'a>;

    /// Further metrics, in Prometheus's text format.
    fn metrics(&self) -> String {
        String::new()
    }

    /// Another page, by what follows `/_postern/`.
    fn page<'a>(&'a self, name: &'a str, request: Request<RequestBody>) -> Paging<'a> {
        let _ = (name, request);
        Box::pin(std::future::ready(None))
    }
}

pub(crate) async fn page(
    pages: &dyn Pages,
    metrics: &Metrics,
    dev: bool,
    id: &str,
    name: &str,
    parts: Parts,
    body: RequestBody,
) -> Response<ResponseBody> {
    let get = parts.method == Method::GET || parts.method == Method::HEAD;
    match (name, get, parts.method == Method::POST) {
        ("health", true, _) => health(&pages.health()),
        ("metrics", true, _) => {
            typed(StatusCode::OK, "text/plain; version=0.0.4", metrics.render() + &pages.metrics())
        }
        ("reset", _, true) if !dev => {
            plain(StatusCode::FORBIDDEN, "only a region that was started with --dev can be reset")
        }
        ("reset", _, true) => match pages.reset().await {
            Ok(()) => plain(StatusCode::OK, "reset"),
            Err(reason) => {
                tracing::error!(request_id = id, reason, "the region could not be reset");
                let told = format!("the region could not be reset: its log says why, at the request id {id}");
                plain(StatusCode::INTERNAL_SERVER_ERROR, told)
            }
        },
        ("health" | "metrics" | "reset", _, _) => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "this page is asked for in another way")
        }
        _ => {
            let found = pages.page(name, Request::from_parts(parts, body)).await;
            found.unwrap_or_else(|| plain(StatusCode::NOT_FOUND, "there is no such page"))
        }
    }
}

fn health(health: &Health) -> Response<ResponseBody> {
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    typed(status, "application/json", format!("{}\n", health.details))
}

/// Whether the region works, without saying more.
pub(crate) fn brief_health(health: &Health) -> Response<ResponseBody> {
    let (status, word) =
        if health.ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    typed(status, "application/json", format!("{}\n", serde_json::json!({ "status": word })))
}

fn typed(status: StatusCode, content_type: &'static str, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
