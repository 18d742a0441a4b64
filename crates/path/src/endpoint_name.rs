//! Names that lead to interface endpoints: their own from everywhere, and services' private ones inside a VPC.
//!
//! Rules from "Private DNS names" and "DNS hostnames" of "Access an AWS service using an interface VPC endpoint".
//!
//! INVARIANT: what an endpoint put here is what its plan remembers, so that it can be taken out without a look at others.

use std::net::Ipv4Addr;
use std::sync::Arc;

use postern_model::endpoint::VpcEndpoint;
use postern_model::{State, VpcEndpointId, VpcId};

use crate::name::{NameSource, Resolution, View};
use crate::plan::{Plan, Table};

/// Where a name leads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Led {
    endpoint: VpcEndpointId,
    /// Never empty.
    addresses: Vec<Ipv4Addr>,
    /// Whether only what is below the name leads there.
    below: bool,
    /// Whether it leads there only for who asks by an inbound endpoint.
    inbound_only: bool,
}

impl Led {
    fn says(&self, private: bool) -> Resolution {
        let source = NameSource::Endpoint { endpoint: self.endpoint, private };
        Resolution::Addresses { addresses: self.addresses.clone(), source }
    }
}

/// All of these names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct EndpointNames {
    /// Endpoints' own, without their common domain: `vpce-…-0h4w5u94.ec2`.
    own: Table<String, Arc<Led>>,
    /// Services' in a VPC. They may begin with `*.`.
    private: Table<(VpcId, String), Arc<Led>>,
}

/// Those of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NamesOfEndpoint {
    own: Vec<(String, Arc<Led>)>,
    private: Vec<((VpcId, String), Arc<Led>)>,
}

impl NamesOfEndpoint {
    pub fn new(state: &State, endpoint: &VpcEndpoint) -> Self {
        let dns = endpoint.dns(state);
        let domain = format!(".{}.vpce.amazonaws.com", state.region.name);
        let led = |addresses: &[Ipv4Addr], below, inbound_only| {
            Arc::new(Led { endpoint: endpoint.id, addresses: addresses.to_vec(), below, inbound_only })
        };
        let short = |name: &str| name.strip_suffix(&domain).unwrap_or(name).to_owned();
        let own = dns.own.iter().map(|(name, addresses)| (short(name), led(addresses, dns.below, false)));
        // In the VPC itself the service's names stay what they are, if only inbound resolvers are to see others
        // (`PrivateDnsOnlyForInboundResolverEndpoint`).
        let inbound_only = endpoint.interface.as_ref().is_some_and(|part| part.dns.inbound_only);
        let all = dns.own.first().map(|(_, all)| led(all, false, inbound_only));
        let private = all.iter().flat_map(|all| {
            dns.private.iter().map(|name| ((endpoint.vpc, name.to_ascii_lowercase()), Arc::clone(all)))
        });
        Self { own: own.collect(), private: private.collect() }
    }
}

impl EndpointNames {
    pub fn insert(&mut self, names: &NamesOfEndpoint) {
        self.own.extend(names.own.iter().cloned());
        self.private.extend(names.private.iter().cloned());
    }

    pub fn remove(&mut self, names: &NamesOfEndpoint) {
        for (name, _) in &names.own {
            self.own.remove(name);
        }
        // The name may be another endpoint's by now.
        for (name, led) in &names.private {
            if self.private.get(name).is_some_and(|now| now.endpoint == led.endpoint) {
                self.private.remove(name);
            }
        }
    }

    /// What a service's name leads to in a VPC: its own entry, or the nearest wildcard above it.
    fn private(&self, vpc: VpcId, view: View, name: &str) -> Option<&Led> {
        let exact = self.private.get(&(vpc, name.to_owned()));
        let above = || {
            let parents = std::iter::successors(name.split_once('.'), |(_, rest)| rest.split_once('.'));
            parents.filter_map(|(_, parent)| self.private.get(&(vpc, format!("*.{parent}")))).next()
        };
        let led = exact.or_else(above).map(AsRef::as_ref);
        led.filter(|led| view == View::Inbound || !led.inbound_only)
    }

    /// What an endpoint's own name leads to; an inner none is a name that has only others below it.
    fn own(&self, name: &str, domain: &str) -> Option<Option<&Led>> {
        let name = name.strip_suffix(domain)?.strip_suffix('.')?;
        let (rest, service) = name.rsplit_once('.')?;
        let (front, start) =
            rest.rsplit_once('.').map_or((None, rest), |(front, start)| (Some(front), start));
        let led = self.own.get(&format!("{start}.{service}"))?;
        match (front, led.below) {
            (None, false) | (Some(_), true) => Some(Some(led)),
            (None, true) => Some(None),
            (Some(_), false) => None,
        }
    }
}

impl Plan {
    /// What a name says that leads to an interface endpoint.
    pub(crate) fn endpoint_name(&self, vpc: VpcId, view: View, name: &str) -> Option<Resolution> {
        // "To use private DNS, you must set enableDnsHostnames and enableDnsSupport"; the resolver is off without the latter.
        let private = self.vpcs.get(&vpc).filter(|vpc| vpc.dns_hostnames);
        let private = private.and_then(|_| self.endpoint_names.private(vpc, view, name));
        match private {
            Some(led) => Some(led.says(true)),
            None => self.own_endpoint_name(name),
        }
    }

    /// What an endpoint's own name says, to everybody.
    pub(crate) fn own_endpoint_name(&self, name: &str) -> Option<Resolution> {
        let own = self.endpoint_names.own(name, &self.names.endpoint_domain)?;
        Some(own.map_or(Resolution::NoData, |led| led.says(false)))
    }
}
