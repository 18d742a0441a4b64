//! The host names of a service.

/// Host names, some of them with one wildcard in front: `*.s3.us-east-1.amazonaws.com`. With `**.` in front, every parent
/// of such names gets a certificate of its own: `**.s3.us-east-1.vpce.amazonaws.com` stands for the names of endpoints, and
/// for what is below those.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostNames {
    names: Vec<String>,
}

impl HostNames {
    /// From names in whatever case.
    pub fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self { names: names.into_iter().map(|name| name.as_ref().to_ascii_lowercase()).collect() }
    }

    /// The names of an AWS service that has one in each region and a global one, and of its interface endpoints.
    pub fn of_service(service: &str, region: &str) -> Self {
        Self::new([
            format!("{service}.{region}.amazonaws.com"),
            format!("{service}.amazonaws.com"),
            format!("*.{service}.{region}.vpce.amazonaws.com"),
        ])
    }

    /// AWS's names of S3 in a region, buckets' own and those of its interface endpoints included.
    pub fn of_s3(region: &str) -> Self {
        let bases = [
            format!("s3.{region}.amazonaws.com"),
            format!("s3.dualstack.{region}.amazonaws.com"),
            format!("s3-{region}.amazonaws.com"),
            "s3.amazonaws.com".to_owned(),
        ];
        let parts = ["s3-accesspoint", "s3-control"].map(|part| format!("{part}.{region}.amazonaws.com"));
        let names = bases.iter().chain(&parts).flat_map(|base| [base.clone(), format!("*.{base}")]);
        Self::new(names.chain([format!("**.s3.{region}.vpce.amazonaws.com")]))
    }

    /// AWS's names of DynamoDB in a region, those that accounts have for themselves ("Account-based endpoints") and those
    /// of its interface endpoints included.
    pub fn of_dynamodb(region: &str) -> Self {
        Self::new([
            format!("dynamodb.{region}.amazonaws.com"),
            format!("*.ddb.{region}.amazonaws.com"),
            format!("*.dynamodb.{region}.vpce.amazonaws.com"),
        ])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Whether this host, as [`bare`] gives it, is one of them. A wildcard stands for one label or more: the names of
    /// buckets may have dots.
    pub fn contains(&self, host: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("**").or_else(|| name.strip_prefix('*')) {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => name == host,
        })
    }

    /// The wildcard under which a certificate for `host` is made that is below one of several parents.
    pub(crate) fn certified_below(&self, host: &str) -> Option<String> {
        let (_, parent) = host.split_once('.')?;
        let mut deep = self.names.iter().filter_map(|name| name.strip_prefix("**."));
        // The first labels of a parent are an endpoint's: what is above that is no parent of anything.
        let below = deep.any(|suffix| parent.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.')));
        below.then(|| format!("*.{parent}"))
    }

    /// The name under which a certificate for `host` is made: the name itself, or the wildcard that stands for its
    /// first label, as TLS clients read wildcards.
    pub(crate) fn certified(&self, host: &str) -> Option<&str> {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let covers = |name: &&String| match name.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => name.as_str() == host,
        };
        self.names.iter().find(covers).map(String::as_str)
    }
}

/// A `Host` header without port and final dot, in small letters.
pub(crate) fn bare(host: &str) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_name_and_wildcard() {
        let s3 = HostNames::of_s3("eu-west-1");
        for (host, found) in [
            ("s3.eu-west-1.amazonaws.com", true),
            ("S3.EU-WEST-1.amazonaws.com.:443", true),
            ("bucket.s3.eu-west-1.amazonaws.com", true),
            ("a.b.s3.eu-west-1.amazonaws.com", true),
            (".s3.eu-west-1.amazonaws.com", false),
            ("evils3.eu-west-1.amazonaws.com", false),
            ("ec2.eu-west-1.amazonaws.com", false),
            ("localhost:4566", false),
            ("", false),
        ] {
            assert_eq!(s3.contains(&bare(host)), found, "{host}");
        }
    }

    #[test]
    fn names_below_endpoints_have_a_certificate_for_each_parent() {
        let s3 = HostNames::of_s3("eu-west-1");
        let endpoint = "vpce-0a1b-c2d3.s3.eu-west-1.vpce.amazonaws.com";
        for (host, certified) in [
            (format!("bucket.{endpoint}"), Some(format!("*.{endpoint}"))),
            (format!("mine.bucket.{endpoint}"), Some(format!("*.bucket.{endpoint}"))),
            (endpoint.to_owned(), None),
            ("bucket.vpce-0a1b-c2d3.ec2.eu-west-1.vpce.amazonaws.com".to_owned(), None),
        ] {
            assert_eq!(s3.certified_below(&host), certified, "{host}");
        }
        assert!(s3.contains(&format!("bucket.{endpoint}")) && s3.contains(endpoint));
        let ec2 = HostNames::of_service("ec2", "eu-west-1");
        let name = "vpce-0a1b-c2d3-eu-west-1a.ec2.eu-west-1.vpce.amazonaws.com";
        assert_eq!(ec2.certified(name), Some("*.ec2.eu-west-1.vpce.amazonaws.com"));
    }

    #[test]
    fn dynamodb_has_a_name_for_all_and_one_for_each_account() {
        let dynamodb = HostNames::of_dynamodb("eu-west-1");
        for (host, found) in [
            ("dynamodb.eu-west-1.amazonaws.com", true),
            ("111122223333.ddb.eu-west-1.amazonaws.com", true),
            ("ddb.eu-west-1.amazonaws.com", false),
            ("vpce-0a1b-c2d3.dynamodb.eu-west-1.vpce.amazonaws.com", true),
            ("dynamodb.us-east-1.amazonaws.com", false),
        ] {
            assert_eq!(dynamodb.contains(host), found, "{host}");
        }
        let certified = dynamodb.certified("111122223333.ddb.eu-west-1.amazonaws.com");
        assert_eq!(certified, Some("*.ddb.eu-west-1.amazonaws.com"));
    }

    #[test]
    fn a_certificate_covers_one_label() {
        let s3 = HostNames::of_s3("eu-west-1");
        assert_eq!(s3.certified("b.s3.eu-west-1.amazonaws.com"), Some("*.s3.eu-west-1.amazonaws.com"));
        assert_eq!(s3.certified("a.b.s3.eu-west-1.amazonaws.com"), None);
        assert_eq!(s3.certified("s3.eu-west-1.amazonaws.com"), Some("s3.eu-west-1.amazonaws.com"));
    }
}
