//! The names of an interface endpoint ("Access an AWS service using an interface VPC endpoint", DNS hostnames).

use std::net::Ipv4Addr;

use super::{InterfacePart, VpcEndpoint};
use crate::endpoint_service::{PrivateDnsState, by_name};
use crate::state::State;

/// The names of an interface endpoint. One without interfaces has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointDns {
    /// The name that leads to all of its interfaces, and one for each zone, each with where it leads.
    pub own: Vec<(String, Vec<Ipv4Addr>)>,
    /// Whether only what is below its own names leads there, as S3's do: `bucket.vpce-…`.
    pub below: bool,
    /// The service's names that lead to it inside the VPC, if it has private DNS. They may begin with `*.`.
    pub private: Vec<String>,
}

/// What an endpoint's names take from its service.
struct OfService {
    label: String,
    below: bool,
    private: Vec<String>,
}

fn of_service(state: &State, name: &str) -> Option<OfService> {
    if let Some(service) = state.services.get(name) {
        return Some(OfService {
            label: service.endpoint_label.clone(),
            below: service.endpoint_names_below,
            private: service.private_dns_names.clone(),
        });
    }
    let service = by_name(state, name)?;
    let verified = service.private_dns.iter().filter(|private| private.state == PrivateDnsState::Verified);
    Some(OfService {
        label: service.id.to_string(),
        below: false,
        private: verified.map(|private| private.name.to_ascii_lowercase()).collect(),
    })
}

impl VpcEndpoint {
    /// Its names, and where they lead. None for a gateway endpoint.
    pub fn dns(&self, state: &State) -> EndpointDns {
        let service = of_service(state, &self.service_name);
        let (Some(part), Some(service)) = (&self.interface, service) else { return EndpointDns::default() };
        let mut zones = addresses(state, part);
        zones.sort();
        if zones.is_empty() {
            return EndpointDns::default();
        }
        let domain = format!("{}.{}.vpce.amazonaws.com", service.label, state.region.name);
        let start = format!("{}-{}", self.id, part.label);
        let all = zones.iter().map(|(_, address)| *address).collect();
        let mut own = vec![(format!("{start}.{domain}"), all)];
        own.extend(zones.iter().map(|(zone, address)| (format!("{start}-{zone}.{domain}"), vec![*address])));
        let private = if part.private_dns { service.private } else { Vec::new() };
        EndpointDns { own, below: service.below, private }
    }
}

/// The zones of an endpoint, and its address in each.
fn addresses(state: &State, part: &InterfacePart) -> Vec<(String, Ipv4Addr)> {
    let each = part.interfaces.iter().filter_map(|(subnet, interface)| {
        let zone = state.subnets.get(subnet)?.zone.clone();
        Some((zone, state.network_interfaces.get(interface)?.primary_address()))
    });
    each.collect()
}
