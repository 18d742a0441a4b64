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
    access_points: String,
    control: String,
}

/// A name of S3's that leads to no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoBucket {
    /// To an access point.
    AccessPoint,
    /// To the API that manages access points and batches.
    Control,
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
        Self {
            domains,
            endpoint_suffix: format!(".s3.{region}.vpce.amazonaws.com"),
            access_points: format!("s3-accesspoint.{region}.amazonaws.com"),
            control: format!("s3-control.{region}.amazonaws.com"),
        }
    }

    /// What `host` leads to, where that is neither a bucket nor all of them. Source:
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html>
    pub(super) fn without_bucket(&self, host: &str) -> Option<NoBucket> {
        let name = plain(host).to_ascii_lowercase();
        let is =
            |what: &str| name.strip_suffix(what).is_some_and(|head| head.is_empty() || head.ends_with('.'));
        if is(&self.access_points) {
            return Some(NoBucket::AccessPoint);
        }
        if is(&self.control) {
            return Some(NoBucket::Control);
        }
        let (labels, _endpoint) = name.strip_suffix(&self.endpoint_suffix)?.rsplit_once('.')?;
        match labels.rsplit_once('.').map_or(labels, |(_, last)| last) {
            "accesspoint" => Some(NoBucket::AccessPoint),
            "control" => Some(NoBucket::Control),
            _ => None,
        }
    }

    /// The bucket in `host` (which may carry a port), `None` for path style. Hosts that are not S3's names are taken
    /// as path style: whoever routed the request here knew better.
    pub fn bucket<'h>(&self, host: &'h str) -> Option<&'h str> {
        let name = plain(host);
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

/// A host without its port and last dot.
fn plain(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
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

    #[test]
    fn names_without_a_bucket() {
        let hosts = Hosts::new("eu-west-1", []);
        let (points, control) = (Some(NoBucket::AccessPoint), Some(NoBucket::Control));
        for (host, leads_to) in [
            ("accesspoint.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", points),
            ("mine-111122223333.accesspoint.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com:443", points),
            ("mine-111122223333.s3-accesspoint.eu-west-1.amazonaws.com", points),
            ("control.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", control),
            ("111122223333.Control.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com.", control),
            ("111122223333.s3-control.eu-west-1.amazonaws.com", control),
            ("bucket.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", None),
            ("control.bucket.vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", None),
            ("vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com", None),
            ("accesspoint.s3.eu-west-1.amazonaws.com", None),
            ("localhost", None),
        ] {
            assert_eq!(hosts.without_bucket(host), leads_to, "{host}");
        }
    }
}
