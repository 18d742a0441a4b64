//! Which bucket a `Host` header names: virtual-hosted style, path style, and the names of interface endpoints.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html>

use std::sync::Arc;

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// The names S3 answers to.
#[derive(Clone, Debug)]
pub struct Hosts {
    domains: Vec<String>,
    endpoint_suffix: String,
}

impl Hosts {
    /// AWS's names of S3 in `region`, and `more` besides (without port).
    pub fn new(region: &str, more: impl IntoIterator<Item = String>) -> Self {
        let mut domains = vec![
            format!("s3.{region}.amazonaws.com"),
            format!("s3.dualstack.{region}.amazonaws.com"),
            format!("s3-{region}.amazonaws.com"),
            "s3.amazonaws.com".to_owned(),
            "localhost".to_owned(),
        ];
        domains.extend(more.into_iter().map(|domain| domain.to_ascii_lowercase()));
        // The longest first, so that a domain never takes another's label for a bucket.
        domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
        Self { domains, endpoint_suffix: format!(".s3.{region}.vpce.amazonaws.com") }
    }

    /// The bucket in `host` (which may carry a port), `None` for path style. Hosts that are not S3's names are taken
    /// as path style: whoever routed the request here knew better.
    pub fn bucket<'h>(&self, host: &'h str) -> Option<&'h str> {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let before = |suffix: &str| {
            let cut = name.len().checked_sub(suffix.len())?;
            let (head, tail) = (name.get(..cut)?, name.get(cut..)?);
            tail.eq_ignore_ascii_case(suffix).then_some(head)
        };
        if let Some(head) = before(&self.endpoint_suffix) {
            // `bucket.vpce-…` is path style; `NAME.bucket.vpce-…` names a bucket.
            let (labels, _endpoint) = head.rsplit_once('.')?;
            return labels.strip_suffix(".bucket").filter(|bucket| !bucket.is_empty());
        }
        for domain in &self.domains {
            match before(domain) {
                Some("") => return None,
                Some(head) => {
                    if let Some(bucket) = head.strip_suffix('.') {
                        return (!bucket.is_empty()).then_some(bucket);
                    }
                }
                None => {}
            }
        }
        None
    }
}

/// The names, for the protocol layer of one request.
pub(super) struct SharedHosts(pub(super) Arc<Hosts>);

impl S3Host for SharedHosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let named = VirtualHost::new(host);
        Ok(match self.0.bucket(host) {
            Some(bucket) => named.with_bucket(bucket),
            None => named,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_in_hosts() {
        let hosts = Hosts::new("eu-west-1", ["s3.example.test".to_owned()]);
        for (host, bucket) in [
            ("s3.eu-west-1.amazonaws.com", None),
            ("b.s3.eu-west-1.amazonaws.com", Some("b")),
            ("a.b.c.s3.eu-west-1.amazonaws.com:443", Some("a.b.c")),
            ("b.s3.amazonaws.com", Some("b")),
            ("b.s3.dualstack.eu-west-1.amazonaws.com", Some("b")),
            ("b.s3-eu-west-1.amazonaws.com", Some("b")),
            ("bucket.localhost:4566", Some("bucket")),
            ("localhost:4566", None),
            ("127.0.0.1:4566", None),
            ("[::1]:4566", None),
            ("b.S3.Example.Test.", Some("b")),
            ("bucket.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", None),
            ("mine.bucket.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", Some("mine")),
            ("vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", None),
            ("notlocalhost", None),
            (".localhost", None),
            ("", None),
            ("bücket.é", None),
            ("elsewhere.test", None),
        ] {
            assert_eq!(hosts.bucket(host), bucket, "{host}");
        }
    }
}
