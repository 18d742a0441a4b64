//! Which service a request is for.
//!
//! INVARIANT: through an endpoint only the service that the endpoint leads to can be reached, whatever the request
//! says.

use http::HeaderMap;
use http::Method;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use postern_wire::sigv4::{self, RequestParts};

use crate::host::{HostNames, bare};

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// Postern's own pages, by what follows `/_postern/`.
    Page(String),
    /// A service, by its name in credential scopes.
    Service(String),
    /// Nothing says which service: a form without a signature.
    UnsignedForm,
}

/// What a request says about where it wants to go.
pub(crate) struct Asked<'a> {
    pub parts: &'a Parts,
    /// Whether it came from outside every VPC.
    pub outside: bool,
    /// The service of the endpoint that it came through.
    pub endpoint_service: Option<&'a str>,
}

/// Decides by the way, then the path of Postern's own pages, the host, and the signature's scope; `by_host` knows the
/// services' host names. What is left is S3's: an anonymous request, or one that S3 refuses in its own words.
pub(crate) fn route(asked: &Asked<'_>, by_host: impl Fn(&str) -> Option<String>) -> Route {
    let Asked { parts, outside, endpoint_service } = asked;
    if let Some(service) = endpoint_service {
        return Route::Service((*service).to_owned());
    }
    if *outside && let Some(page) = parts.uri.path().strip_prefix("/_postern/") {
        return Route::Page(page.to_owned());
    }
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(bare);
    if let Some(service) = host.as_deref().and_then(by_host) {
        return Route::Service(service);
    }
    if let Some(service) = scope_service(parts) {
        return Route::Service(service);
    }
    if is_form(parts) { Route::UnsignedForm } else { Route::Service("s3".to_owned()) }
}

/// The service that the signature is made for, if there is one. Nothing is verified here.
pub(crate) fn scope_service(parts: &Parts) -> Option<String> {
    claim(parts).map(|claim| claim.scope.service)
}

/// What the request claims about its signature.
pub(crate) fn claim(parts: &Parts) -> Option<sigv4::Unverified> {
    sigv4::parse(&signed_parts(parts)).ok().flatten()
}

/// The parts of a request that signatures are about.
pub(crate) fn signed_parts(parts: &Parts) -> RequestParts<'_> {
    RequestParts {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    }
}

fn is_form(parts: &Parts) -> bool {
    let content_type = text(&parts.headers, CONTENT_TYPE.as_str()).unwrap_or_default();
    let form = content_type.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let query = parts.uri.query().unwrap_or_default();
    let action = query.split('&').any(|pair| pair.starts_with("Action="));
    action || parts.headers.contains_key("x-amz-target") || (parts.method == Method::POST && form)
}

/// The text of a header.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether a browser sent the request on behalf of another site's page. Where no signature protects (Postern's own
/// pages, `--dev`), such requests are refused: any page that a developer looks at could send them.
pub(crate) fn is_cross_site(parts: &Parts) -> bool {
    let same_host = |origin: &str| {
        let host = origin.split_once("://").map(|(_, host)| host);
        host.is_some() && host == text(&parts.headers, HOST.as_str())
    };
    // A header that is not text is none of ours; of several, each has to be.
    let each = |name: &str, fits: &dyn Fn(&str) -> bool| {
        parts.headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(fits))
    };
    let own_origin = each("origin", &same_host);
    let own_fetch = each("sec-fetch-site", &|site| site == "same-origin" || site == "none");
    !own_origin || !own_fetch
}

/// Whether the host is one that only somebody on this machine, or with its address, can mean, or one of our own names:
/// a name that resolves to it by somebody else's DNS is not among them.
pub(crate) fn is_local_host(parts: &Parts, own_names: &HostNames) -> bool {
    let Some(host) = text(&parts.headers, HOST.as_str()).map(bare) else { return true };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    own_names.contains(&host)
        || host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const SIGNED_EC2: &str = "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/ec2/aws4_request, \
        SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000";

    fn to(
        outside: bool,
        endpoint: Option<&str>,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> String {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let by_host = |host: &str| match host {
            "ec2.us-east-1.amazonaws.com" => Some("ec2".to_owned()),
            "iam.amazonaws.com" => Some("iam".to_owned()),
            host if host.ends_with("s3.us-east-1.amazonaws.com") => Some("s3".to_owned()),
            _ => None,
        };
        match route(&Asked { parts: &parts, outside, endpoint_service: endpoint }, by_host) {
            Route::Page(page) => format!("page {page}"),
            Route::Service(service) => service,
            Route::UnsignedForm => "unsigned".to_owned(),
        }
    }

    #[test]
    fn the_host_decides_then_the_scope() {
        let auth =
            [("authorization", SIGNED_EC2), ("x-amz-date", "20260101T000000Z"), ("host", "localhost:4566")];
        assert_eq!(to(true, None, "POST", "/", &auth), "ec2");
        let host = |name| [("authorization", SIGNED_EC2), ("x-amz-date", "20260101T000000Z"), ("host", name)];
        assert_eq!(to(false, None, "POST", "/", &host("iam.amazonaws.com")), "iam");
        assert_eq!(to(false, None, "GET", "/k", &host("b.s3.us-east-1.amazonaws.com")), "s3");
        assert_eq!(to(true, None, "GET", "/bucket/key", &[("host", "localhost:4566")]), "s3");
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        assert_eq!(to(true, None, "POST", "/", &[("host", "localhost:4566"), form]), "unsigned");
        assert_eq!(to(true, None, "GET", "/?Action=ListUsers", &[("host", "localhost")]), "unsigned");
    }

    #[test]
    fn an_endpoint_leads_to_its_service_only() {
        let ec2 = [("host", "ec2.us-east-1.amazonaws.com")];
        assert_eq!(to(false, Some("s3"), "POST", "/", &ec2), "s3");
    }

    #[test]
    fn the_pages_are_outside_the_vpcs_only() {
        assert_eq!(to(true, None, "GET", "/_postern/health", &[]), "page health");
        assert_eq!(to(false, None, "GET", "/_postern/health", &[]), "s3");
    }

    #[test]
    fn other_sites_pages_are_told_by_what_browsers_say() {
        let cross = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().uri("/").header("host", "localhost:4566");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            is_cross_site(&request.body(()).unwrap().into_parts().0)
        };
        assert!(!cross(&[]));
        assert!(!cross(&[("origin", "http://localhost:4566"), ("sec-fetch-site", "same-origin")]));
        assert!(cross(&[("origin", "https://evil.example")]));
        assert!(cross(&[("origin", "null")]));
        assert!(cross(&[("sec-fetch-site", "cross-site")]));
        assert!(cross(&[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]));
        assert!(cross(&[("origin", "http://localhost:4566"), ("origin", "https://evil.example")]));
        assert!(cross(&[("origin", "http://\u{e9}vil.example")]));
    }
}
