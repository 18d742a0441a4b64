//! Services that somebody else serves: behind the front door's signatures and policies, at a URL that the operator said.
//!
//! A request passes, in this order:
//! 1. [`call`] reads which operation it is, in the one protocol that it speaks; what could be read in two ways is refused;
//! 2. the front door verifies who signed it;
//! 3. [`resource`] says on what it asks to do that: ARNs where they follow from the request, else `*`;
//! 4. the policies decide, with everything that the path of the request says;
//! 5. [`client`] hands it to the upstream, signed anew or as it came, and its answer back.
//!
//! INVARIANT: an upstream sees no request that was not allowed, and the answer is the upstream's own: where there is none
//! the caller is told so (503), and nothing is made up.
//! INVARIANT: bodies, waits and requests under way are bounded.
//! INVARIANT: a request that was handed on and comes back is refused: each carries a mark.

mod call;
mod client;
mod door;
mod resource;
mod s3;
mod s3_document;

use std::sync::{Arc, Mutex, PoisonError};

use postern_frontdoor::{
    Audit, Authoriser, Dialect, HostNames, HttpService, Metrics, OtherServices, request_id,
};
use postern_model::State;
use postern_model::endpoint::{Service, Upstream, UpstreamProtocol};
use postern_wire::protocols::known_service;

use crate::commands::Commands;

pub use self::client::{ClientError, TrustError, host_roots, page_at};
pub use self::door::UpstreamDoor;

/// The names of the hosts of each service, by what its requests are routed by.
type Hosts = Arc<Vec<(String, HostNames)>>;

/// The services of a region that Postern does not serve itself: those that an upstream answers for, and those that
/// nobody does.
pub struct Upstreams {
    commands: Arc<dyn Commands>,
    authoriser: Arc<Authoriser>,
    audit: Audit,
    metrics: Arc<Metrics>,
    /// The names in credential scopes of those that Postern serves.
    served: Vec<&'static str>,
    /// What requests carry that were handed on from here, so that one that comes back is known.
    mark: String,
    kept: Mutex<Kept>,
}

/// What follows from a state, made anew when that changes.
#[derive(Default)]
struct Kept {
    of: Option<Arc<State>>,
    hosts: Hosts,
    doors: Vec<(Arc<Upstream>, Arc<UpstreamDoor>)>,
}

impl Upstreams {
    /// Over a region's state.
    pub fn new(
        commands: Arc<dyn Commands>,
        authoriser: Arc<Authoriser>,
        audit: Audit,
        metrics: Arc<Metrics>,
        served: Vec<&'static str>,
    ) -> Self {
        // A name that nobody else has ("Via": RFC 9110, section 7.6.3).
        let mark = format!("postern-{}", request_id());
        Self { commands, authoriser, audit, metrics, served, mark, kept: Mutex::default() }
    }

    /// Whether Postern itself serves what has this name in credential scopes.
    pub fn is_served(&self, signing_name: &str) -> bool {
        self.served.contains(&signing_name)
    }

    fn with_kept<T>(&self, read: impl FnOnce(&State, &mut Kept) -> T) -> T {
        let state = self.commands.state();
        // Nothing in here panics half way.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |of: &Arc<State>| of.services.ptr_eq(&state.services) && of.upstreams.ptr_eq(&state.upstreams);
        if !kept.of.as_ref().is_some_and(same) {
            kept.hosts = Arc::new(self.hosts_of(&state));
            // A door that is still wanted stays: it knows what is under way.
            kept.doors.retain(|(upstream, _)| {
                state.upstreams.get(&upstream.service).is_some_and(|now| Arc::ptr_eq(now, upstream))
            });
            kept.of = Some(Arc::clone(&state));
        }
        read(&state, &mut kept)
    }

    fn hosts_of(&self, state: &State) -> Vec<(String, HostNames)> {
        // A service that AWS does not have may share a signing name with one that Postern serves: its hosts are its own.
        let others = state.services.values().filter(|service| {
            !self.is_served(&service.signing_name) || state.route_of(service) == service.name
        });
        let names = |service: &Service| {
            let endpoints = format!("*.{}.{}.vpce.amazonaws.com", service.endpoint_label, state.region.name);
            HostNames::new(service.dns_names.iter().chain(&service.private_dns_names).chain([&endpoints]))
        };
        others.map(|service| (state.route_of(service).to_owned(), names(service))).collect()
    }
}

/// The service that requests with this name are routed to. At no host of its own a request is for whom it is signed for.
fn routed<'s>(state: &'s State, name: &str) -> Option<&'s Service> {
    let services = || state.services.values().map(AsRef::as_ref);
    let by_route = services().find(|service| state.route_of(service) == name);
    let mut signed = services().filter(|service| service.signing_name == name);
    by_route.or_else(|| signed.next().filter(|_| signed.next().is_none()))
}

impl OtherServices for Upstreams {
    fn hosts(&self) -> Hosts {
        self.with_kept(|_, kept| Arc::clone(&kept.hosts))
    }

    fn service(&self, name: &str) -> Option<Arc<dyn HttpService>> {
        self.with_kept(|state, kept| {
            let upstream = state.upstreams.get(&routed(state, name)?.name)?;
            if let Some((_, door)) = kept.doors.iter().find(|(of, _)| Arc::ptr_eq(of, upstream)) {
                return Some(Arc::clone(door) as _);
            }
            let door = UpstreamDoor::new(
                Arc::clone(upstream),
                Arc::clone(&self.authoriser),
                (&state.region.name, &self.mark),
                self.audit.clone(),
                Arc::clone(&self.metrics),
            );
            let door = Arc::new(door);
            kept.doors.push((Arc::clone(upstream), Arc::clone(&door)));
            Some(door as _)
        })
    }

    fn dialect(&self, name: &str) -> Option<Dialect> {
        let state = self.commands.state();
        let service = routed(&state, name)?;
        let protocol = protocol_of(&service.signing_name)?;
        Some(dialect_of(protocol, &service.signing_name))
    }
}

/// How the clients of a service of AWS's speak, by its name in credential scopes.
pub fn protocol_of(signing_name: &str) -> Option<UpstreamProtocol> {
    // botocore knows only how APIs are managed, and nothing of their calls.
    if signing_name == "execute-api" {
        return Some(UpstreamProtocol::ExecuteApi);
    }
    match known_service(signing_name)?.protocol {
        "json" => Some(UpstreamProtocol::Json),
        "query" => Some(UpstreamProtocol::Query),
        "ec2" => Some(UpstreamProtocol::Ec2),
        "rest-json" => Some(UpstreamProtocol::RestJson),
        "rest-xml" => Some(UpstreamProtocol::RestXml),
        "smithy-rpc-v2-cbor" => Some(UpstreamProtocol::RpcV2Cbor),
        _ => None,
    }
}

/// What a service is called in policies, by its name in credential scopes ("Service prefix" in the service authorization
/// reference).
pub fn action_prefix_of(signing_name: &str) -> &str {
    match signing_name {
        "monitoring" => "cloudwatch",
        "email" => "ses",
        same => same,
    }
}

/// How the clients of a service read errors, where their requests do not say.
pub(crate) fn dialect_of(protocol: UpstreamProtocol, signing_name: &str) -> Dialect {
    match protocol {
        UpstreamProtocol::Json => Dialect::Json { content_type: "application/x-amz-json-1.1" },
        UpstreamProtocol::Query => Dialect::Xml,
        UpstreamProtocol::Ec2 => Dialect::Ec2,
        UpstreamProtocol::RestJson => Dialect::RestJson,
        UpstreamProtocol::RestXml if signing_name == "s3" => Dialect::S3,
        UpstreamProtocol::RestXml => Dialect::Xml,
        UpstreamProtocol::RpcV2Cbor => Dialect::Cbor,
        UpstreamProtocol::ExecuteApi => Dialect::ExecuteApi,
    }
}
