//! How each of AWS's services is spoken to, and which operation a REST request is for.
//!
//! Source: botocore's models of all services, as one text that `cargo xtask codegen` writes: the names of services, and
//! of those that speak REST the method and path of each operation. Of shapes there is no more than what [`taken`] says.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::query::percent::{self, Plus};

const TEXT: &str = include_str!("generated/protocols.txt");

/// A service, as botocore knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownService {
    /// The first label of its host names: `monitoring`.
    pub endpoint_prefix: &'static str,
    /// Its name in credential scopes.
    pub signing_name: &'static str,
    /// As botocore writes it: `json`, `query`, `ec2`, `rest-json`, `rest-xml` or `smithy-rpc-v2-cbor`.
    pub protocol: &'static str,
    /// Of one that speaks REST.
    routes: Vec<Route>,
    /// What each operation takes at the top level that is a text or a list of texts; of some services only.
    takes: BTreeMap<&'static str, Vec<&'static str>>,
}

/// What a REST request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestOperation {
    /// Such as `CreateFunction`.
    pub name: &'static str,
    /// What stands in the places of the path that have a name, decoded: `FunctionName`.
    pub labels: BTreeMap<&'static str, String>,
}

/// The method and path of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    method: &'static str,
    segments: Vec<Segment>,
    /// What has to be in the query string: `policy`, or `list-type=2`.
    query: Vec<&'static str>,
    operation: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment {
    Literal(&'static str),
    Label(&'static str),
    /// The rest of the path, slashes included.
    Greedy(&'static str),
}

/// All of them, in the order of botocore's names.
fn all() -> &'static [KnownService] {
    static ALL: OnceLock<Vec<KnownService>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut services: Vec<KnownService> = Vec::new();
        for line in TEXT.lines() {
            let words: Vec<&'static str> = line.split(' ').collect();
            match words.as_slice() {
                ["service", _, endpoint_prefix, signing_name, protocol] => {
                    let (routes, takes) = (Vec::new(), BTreeMap::new());
                    services.push(KnownService { endpoint_prefix, signing_name, protocol, routes, takes });
                }
                ["takes", operation, taken @ ..] => {
                    if let Some(service) = services.last_mut() {
                        service.takes.insert(operation, taken.to_vec());
                    }
                }
                [method, path, operation] => {
                    if let Some(service) = services.last_mut() {
                        service.routes.push(Route::read(method, path, operation));
                    }
                }
                _ => {}
            }
        }
        services
    })
}

/// The service that is called this, in the names of hosts or in credential scopes: the first of AWS's own models, which
/// is the oldest.
pub fn known_service(name: &str) -> Option<&'static KnownService> {
    let by_prefix = all().iter().find(|service| service.endpoint_prefix == name);
    by_prefix.or_else(|| all().iter().find(|service| service.signing_name == name))
}

/// What the services speak whose hosts are called this, each once: several where AWS has several APIs at one name, as SES has.
pub fn spoken_at(endpoint_prefix: &str) -> Vec<&'static str> {
    let services = all().iter().filter(|service| service.endpoint_prefix == endpoint_prefix);
    let mut spoken: Vec<&'static str> = services.map(|service| service.protocol).collect();
    spoken.sort_unstable();
    spoken.dedup();
    spoken
}

/// What an operation takes at the top level that is a text or a list of texts; none where that is not known here.
pub fn taken(signing_name: &str, operation: &str) -> Option<&'static [&'static str]> {
    let mut services = all().iter().filter(|service| service.signing_name == signing_name);
    services.find_map(|service| service.takes.get(operation).map(Vec::as_slice))
}

/// Whether it is known what the operations of a service take.
pub fn is_taken_known(signing_name: &str) -> bool {
    all().iter().any(|service| service.signing_name == signing_name && !service.takes.is_empty())
}

/// The operation that a REST request to a service is for, by its name in credential scopes: of those whose method,
/// path and query fit, the one that says most about them.
pub fn rest_operation(signing_name: &str, method: &str, path: &str, query: &str) -> Option<RestOperation> {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    let services = all().iter().filter(|service| service.signing_name == signing_name);
    let routes = services.flat_map(|service| &service.routes).filter(|route| route.method == method);
    let fitting = routes.filter_map(|route| Some((route, route.fit(&segments, &pairs)?)));
    // The first of those that say as much: older services stand before those that were made beside them.
    let (route, labels) = fitting.min_by_key(|(route, _)| std::cmp::Reverse(route.weight()))?;
    Some(RestOperation { name: route.operation, labels })
}

impl Route {
    fn read(method: &'static str, path: &'static str, operation: &'static str) -> Self {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let segment =
            |text: &'static str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
                Some(label) => label.strip_suffix('+').map_or(Segment::Label(label), Segment::Greedy),
                None => Segment::Literal(text),
            };
        let path = path.strip_prefix('/').unwrap_or(path);
        Self {
            method,
            segments: path.strip_suffix('/').unwrap_or(path).split('/').map(segment).collect(),
            query: query.split('&').filter(|pair| !pair.is_empty()).collect(),
            operation,
        }
    }

    /// How much it says: literals of the query first, then those of the path.
    fn weight(&self) -> (usize, usize, usize) {
        let literal = self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count();
        let greedy = self.segments.iter().any(|segment| matches!(segment, Segment::Greedy(_)));
        (self.query.len(), literal, usize::from(!greedy))
    }

    /// The labels of a request that it fits.
    fn fit(&self, path: &[&str], query: &[&str]) -> Option<BTreeMap<&'static str, String>> {
        let has = |wanted: &&str| {
            let wanted_name = wanted.strip_suffix('=').unwrap_or(wanted);
            query.iter().any(|pair| pair == wanted || pair.strip_suffix('=').unwrap_or(pair) == wanted_name)
        };
        if !self.query.iter().all(has) {
            return None;
        }
        let mut labels = BTreeMap::new();
        let mut rest = path;
        for (at, segment) in self.segments.iter().enumerate() {
            let behind = self.segments.len() - at - 1;
            let (first, after) = rest.split_first()?;
            match segment {
                Segment::Literal(text) => {
                    if decode(first)? != *text {
                        return None;
                    }
                    rest = after;
                }
                Segment::Label(name) => {
                    let value = decode(first).filter(|value| !value.is_empty())?;
                    labels.insert(*name, value);
                    rest = after;
                }
                Segment::Greedy(name) => {
                    let taken = rest.len().checked_sub(behind).filter(|taken| *taken > 0)?;
                    let (value, after) = rest.split_at(taken);
                    let value = decode(&value.join("/")).filter(|value| !value.is_empty())?;
                    labels.insert(*name, value);
                    rest = after;
                }
            }
        }
        // A slash at the end says nothing more.
        (rest.is_empty() || rest == [""]).then_some(labels)
    }
}

fn decode(text: &str) -> Option<String> {
    percent::decode(text, Plus::Plus).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(service: &str, method: &str, target: &str) -> String {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match rest_operation(service, method, path, query) {
            None => "nothing".to_owned(),
            Some(RestOperation { name, labels }) => {
                let labels = labels.iter().map(|(name, value)| format!(" {name}={value}"));
                format!("{name}{}", labels.collect::<String>())
            }
        }
    }

    #[test]
    fn operations_are_found_by_method_path_and_query() {
        for (service, method, target, expected) in [
            ("lambda", "GET", "/2015-03-31/functions", "ListFunctions"),
            ("lambda", "GET", "/2015-03-31/functions/", "ListFunctions"),
            ("lambda", "POST", "/2015-03-31/functions/f/invocations", "Invoke FunctionName=f"),
            ("lambda", "GET", "/2015-03-31/functions/arn%3Aaws%3Aa", "GetFunction FunctionName=arn:aws:a"),
            ("lambda", "PATCH", "/2015-03-31/functions", "nothing"),
            ("lambda", "GET", "/2015-03-31/functions/%zz", "nothing"),
            ("lambda", "GET", "/", "nothing"),
            ("s3", "GET", "/b/a/deep/key", "GetObject Bucket=b Key=a/deep/key"),
            ("s3", "GET", "/b?list-type=2&prefix=x", "ListObjectsV2 Bucket=b"),
            ("s3", "GET", "/b?policy", "GetBucketPolicy Bucket=b"),
            ("s3", "GET", "/b?policy=", "GetBucketPolicy Bucket=b"),
            ("s3", "GET", "/b", "ListObjects Bucket=b"),
            ("s3", "GET", "/", "ListBuckets"),
            ("apigateway", "GET", "/restapis/a1/stages", "GetStages restapi_id=a1"),
            ("nobody", "GET", "/", "nothing"),
        ] {
            assert_eq!(told(service, method, target), expected, "{service} {method} {target}");
        }
    }

    #[test]
    fn services_are_found_by_their_names() {
        let known = |name| known_service(name).map(|service| (service.signing_name, service.protocol));
        assert_eq!(known("logs"), Some(("logs", "json")));
        assert_eq!(known("kinesis"), Some(("kinesis", "json")));
        assert_eq!(known("monitoring"), Some(("monitoring", "smithy-rpc-v2-cbor")));
        assert_eq!(known("lambda"), Some(("lambda", "rest-json")));
        assert_eq!(known("sns"), Some(("sns", "query")));
        assert_eq!(known("nobody"), None);
        assert_eq!(known("email").map(|(signing_name, _)| signing_name), Some("ses"));
        assert_eq!(spoken_at("email"), ["query", "rest-json"]);
        assert_eq!(spoken_at("logs"), ["json"]);
        assert_eq!(spoken_at("nobody"), [""; 0]);
        assert_eq!(
            taken("kinesis", "DescribeStream"),
            Some(&["ExclusiveStartShardId", "StreamARN", "StreamId", "StreamName"][..])
        );
        assert!(is_taken_known("logs") && !is_taken_known("glue") && taken("logs", "Nothing").is_none());
        assert!(all().len() > 300 && all().iter().map(|service| service.routes.len()).sum::<usize>() > 9_000);
    }
}
