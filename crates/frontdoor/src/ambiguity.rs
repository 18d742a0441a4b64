//! Requests that two readers could understand differently are understood by nobody.
//!
//! INVARIANT: past this check a request names exactly one host, and its target is a path: what is routed, what was
//! signed and what a service reads are then the same.
//! Source: RFC 9112, sections 3.2 ("a server MUST respond with a 400 to any request that lacks a Host header, contains
//! more than one, or one with an invalid field value") and 3.2.2 (the absolute form overrides `Host`).

use http::header::HOST;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Uri, Version};

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ambiguity {
    /// No host at all, which HTTP/1.1 requires.
    #[error("the request has no Host header")]
    NoHost,
    /// More than one.
    #[error("the request has more than one Host header")]
    TwoHosts,
    /// Not a name or address with or without a port.
    #[error("the Host header is not the name of a host")]
    NotAHost,
    /// The target says another host than the header.
    #[error("the request's target and its Host header name different hosts")]
    OtherHost,
    /// Neither a path nor a URL.
    #[error("the request's target is not a path")]
    NoPath,
}

/// Checks a request, and leaves only the path and query of its target.
pub(crate) fn resolve(parts: &mut Parts) -> Result<(), Ambiguity> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => return Err(Ambiguity::TwoHosts),
        (Some(host), None) => {
            let host = host.to_str().map_err(|_| Ambiguity::NotAHost)?;
            Some(host).filter(|host| is_host(host)).ok_or(Ambiguity::NotAHost)?.to_owned().into()
        }
        (None, _) if parts.version >= Version::HTTP_11 => return Err(Ambiguity::NoHost),
        (None, _) => None,
    };
    if let Some(authority) = parts.uri.authority() {
        let same = host.is_none_or(|host: String| authority.as_str().eq_ignore_ascii_case(&host));
        if !same {
            return Err(Ambiguity::OtherHost);
        }
    }
    let path = parts.uri.path_and_query().cloned().ok_or(Ambiguity::NoPath)?;
    let rooted = path.path().starts_with('/') || path.path() == "*";
    parts.uri = if rooted { path_only(path) } else { return Err(Ambiguity::NoPath) };
    Ok(())
}

fn path_only(path: PathAndQuery) -> Uri {
    Uri::from(path)
}

/// A name, an IPv4 address, or an IPv6 address in brackets, with or without a port. Nothing else can be in one that a
/// parser further on could take for something.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let of_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
    let named = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(of_address),
        None => !name.is_empty() && name.bytes().all(of_name),
    };
    named && port.is_none_or(|port| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn told(uri: &str, hosts: &[&str]) -> String {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        match resolve(&mut parts) {
            Ok(()) => parts.uri.to_string(),
            Err(why) => format!("{why:?}"),
        }
    }

    #[test]
    fn one_host_and_a_path() {
        for (uri, hosts, expected) in [
            ("/a/b?c=d", &["localhost:4566"][..], "/a/b?c=d"),
            ("/", &["iam.amazonaws.com"], "/"),
            ("/", &["[::1]:4566"], "/"),
            ("/", &["[::1]"], "/"),
            ("/", &["my_bucket.s3.us-east-1.amazonaws.com."], "/"),
            ("http://iam.amazonaws.com/a?b", &["IAM.amazonaws.com"], "/a?b"),
            ("http://iam.amazonaws.com/", &["s3.us-east-1.amazonaws.com"], "OtherHost"),
            ("http://iam.amazonaws.com@evil.example/", &["iam.amazonaws.com"], "OtherHost"),
            ("/", &[], "NoHost"),
            ("/", &["iam.amazonaws.com", "s3.us-east-1.amazonaws.com"], "TwoHosts"),
            ("/", &["iam.amazonaws.com", "iam.amazonaws.com"], "TwoHosts"),
            ("/", &[""], "NotAHost"),
            ("/", &["iam.amazonaws.com, evil"], "NotAHost"),
            ("/", &["user@iam.amazonaws.com"], "NotAHost"),
            ("/", &["iam.amazonaws.com/x"], "NotAHost"),
            ("/", &["iam.amazonaws.com:port"], "NotAHost"),
            ("/", &[":80"], "NotAHost"),
            ("iam.amazonaws.com:443", &["iam.amazonaws.com:443"], "NoPath"),
        ] {
            assert_eq!(told(uri, hosts), expected, "{uri} {hosts:?}");
        }
    }
}
