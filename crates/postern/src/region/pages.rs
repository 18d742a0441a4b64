//! Postern's own pages: health, metrics, reset, and where the region is.

use std::sync::{Arc, OnceLock, Weak};

use http::{Method, Request, Response, StatusCode};
use postern_frontdoor::body::full;
use postern_frontdoor::pages::{Health, Pages, Paging, Resetting};
use postern_frontdoor::{Origin, RequestBody, ResponseBody};
use serde_json::{Value, json};

use super::Region;

/// The pages of a region, which shows itself once it is ready.
#[derive(Default)]
pub struct RegionPages(OnceLock<Weak<Region>>);

impl RegionPages {
    /// From now on the pages are this region's.
    pub fn show(&self, region: &Arc<Region>) {
        // A region shows itself once.
        let _ = self.0.set(Arc::downgrade(region));
    }

    fn region(&self) -> Option<Arc<Region>> {
        self.0.get().and_then(Weak::upgrade)
    }

    /// The certificate of what signs the messages of topics, whose URL is in each of them.
    fn certificate(&self, name: &str) -> Option<Response<ResponseBody>> {
        let region = self.region()?;
        let mut response = Response::new(full(region.posts.certificate(name)?.to_owned()));
        let pem = http::HeaderValue::from_static("application/x-pem-file");
        response.headers_mut().insert(http::header::CONTENT_TYPE, pem);
        Some(response)
    }
}

impl Pages for RegionPages {
    fn health(&self) -> Health {
        let Some(region) = self.region() else {
            return Health { ready: false, details: json!({ "status": "starting" }) };
        };
        let ailments = region.ailments.list();
        let ready = ailments.is_empty();
        let details = json!({
            "status": if ready { "ready" } else { "ailing" },
            "ailments": ailments,
            "version": env!("CARGO_PKG_VERSION"),
            "region": region.options.region.name,
            "packets": { "move": region.packets.is_ok(), "how": region.packets_in_words() },
        });
        Health { ready, details }
    }

    fn reset<'a>(&'a self) -> Resetting<'a> {
        Box::pin(async move {
            match self.region() {
                Some(region) => region.reset().await.map_err(|error| crate::said::said(&error)),
                None => Err("the region is still starting".to_owned()),
            }
        })
    }

    fn metrics(&self) -> String {
        self.region().map(|region| super::metrics::render(&region)).unwrap_or_default()
    }

    fn page<'a>(&'a self, name: &'a str, request: Request<RequestBody>) -> Paging<'a> {
        if let Some(certificate) = self.certificate(name) {
            return Box::pin(std::future::ready(Some(certificate)));
        }
        let page = (name == "region").then(|| match (self.region(), request.method()) {
            (_, method) if *method != Method::GET && *method != Method::HEAD => {
                answer(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": "this page is read by GET" }))
            }
            (None, _) => {
                answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "the region is still starting" }))
            }
            (Some(region), _) => answer(StatusCode::OK, &about(&region, is_of_this_machine(&request))),
        });
        Box::pin(std::future::ready(page))
    }
}

/// What a region says of itself; on its own machine also where its things are. Whether they can be opened is what the
/// files' permissions say.
fn about(region: &Region, of_this_machine: bool) -> Value {
    let mut about = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "region": region.options.region.name,
        "run": region.run,
    });
    let state_dir = &region.options.state_dir;
    if let Some(about) = about.as_object_mut().filter(|_| of_this_machine) {
        about.insert("process".to_owned(), std::process::id().into());
        about.insert("state_dir".to_owned(), state_dir.root().display().to_string().into());
        about.insert("control_socket".to_owned(), state_dir.control_socket().display().to_string().into());
        about.insert("ca_bundle".to_owned(), state_dir.ca_bundle().display().to_string().into());
    }
    about
}

/// Whether a request came over loopback, from outside every VPC.
fn is_of_this_machine(request: &Request<RequestBody>) -> bool {
    let origin = request.extensions().get::<Origin>();
    origin.is_some_and(|origin| origin.peer.is_none() && origin.remote.ip().to_canonical().is_loopback())
}

fn answer(status: StatusCode, page: &Value) -> Response<ResponseBody> {
    let mut response = Response::new(full(format!("{page}\n")));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}
