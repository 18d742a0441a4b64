//! How VPC endpoints are shown, and what they can be filtered by.

use postern_model::State;
use postern_model::endpoint::{EndpointKind, InterfacePart, VpcEndpoint};
use postern_policy::{DEFAULT_GATEWAY_ENDPOINT_POLICY, DEFAULT_INTERFACE_ENDPOINT_POLICY};
use postern_wire::ec2;

use super::filters::{FilterTable, Row, text};
use super::interface_view::groups;
use super::view::{some, tags, timestamp};

/// An endpoint as `DescribeVpcEndpoints` shows it.
pub fn show(state: &State, endpoint: &VpcEndpoint) -> ec2::VpcEndpoint {
    let policy = endpoint.policy.as_deref().unwrap_or(match endpoint.kind {
        EndpointKind::Gateway => DEFAULT_GATEWAY_ENDPOINT_POLICY,
        EndpointKind::Interface => DEFAULT_INTERFACE_ENDPOINT_POLICY,
    });
    let part = endpoint.interface.as_ref();
    let interfaces = || part.into_iter().flat_map(|part| part.interfaces.iter());
    ec2::VpcEndpoint {
        creation_timestamp: Some(timestamp(endpoint.created_at)),
        dns_entries: Some(dns_entries(state, endpoint)),
        dns_options: part.map(dns_options),
        groups: Some(part.map_or_else(Vec::new, |part| group_identifiers(state, part))),
        ip_address_type: some("ipv4"),
        network_interface_ids: Some(interfaces().map(|(_, interface)| interface.to_string()).collect()),
        owner_id: some(endpoint.owner),
        policy_document: some(policy),
        private_dns_enabled: Some(part.is_some_and(|part| part.private_dns)),
        requester_managed: Some(false),
        route_table_ids: Some(endpoint.route_tables.iter().map(ToString::to_string).collect()),
        service_name: some(&endpoint.service_name),
        service_region: some(&state.region.name),
        state: some(endpoint.state.name()),
        subnet_ids: Some(interfaces().map(|(subnet, _)| subnet.to_string()).collect()),
        tags: tags(&endpoint.tags),
        vpc_endpoint_id: some(endpoint.id),
        vpc_endpoint_type: some(endpoint.kind.name()),
        vpc_id: some(endpoint.vpc),
        ..Default::default()
    }
}

fn group_identifiers(state: &State, part: &InterfacePart) -> Vec<ec2::SecurityGroupIdentifier> {
    let named = groups(state, &part.groups).into_iter();
    named
        .map(|group| ec2::SecurityGroupIdentifier { group_id: group.group_id, group_name: group.group_name })
        .collect()
}

fn dns_options(part: &InterfacePart) -> ec2::DnsOptions {
    ec2::DnsOptions {
        dns_record_ip_type: some(part.dns.record_ip_type.name()),
        private_dns_only_for_inbound_resolver_endpoint: Some(part.dns.inbound_only),
        ..Default::default()
    }
}

/// The names of an endpoint, each with the hosted zone that it is in: its own are all in one of AWS's, the service's are
/// in a private one of the endpoint's.
pub fn dns_entries(state: &State, endpoint: &VpcEndpoint) -> Vec<ec2::DnsEntry> {
    let entry =
        |dns_name: String, zone: &str| ec2::DnsEntry { dns_name: Some(dns_name), hosted_zone_id: some(zone) };
    let dns = endpoint.dns(state);
    let (public, private) = (region_zone(&state.region.name), hosted_zone(&endpoint.id.to_string()));
    let front = if dns.below { "*." } else { "" };
    let own = dns.own.iter().map(|(name, _)| entry(format!("{front}{name}"), &public));
    own.chain(dns.private.iter().map(|name| entry(name.clone(), &private))).collect()
}

/// The hosted zone of `vpce.amazonaws.com` in a region: AWS's own in us-east-1, another one elsewhere.
fn region_zone(region: &str) -> String {
    match region {
        "us-east-1" => "Z7HUB22UULQXV".to_owned(),
        other => hosted_zone(other),
    }
}

/// A hosted zone's id that follows from a text: `Z` and twenty letters and digits (FNV-1a, then splitmix64).
fn hosted_zone(of: &str) -> String {
    const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut number = of.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut letter = || {
        number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        LETTERS.get(((z ^ (z >> 27)) % 36) as usize).copied().map_or('A', char::from)
    };
    std::iter::once('Z').chain((0..20).map(|_| letter())).collect()
}

impl Row for ec2::VpcEndpoint {
    const FILTERS: FilterTable<Self> = &[
        ("ip-address-type", |e| text(e.ip_address_type.as_ref())),
        ("service-name", |e| text(e.service_name.as_ref())),
        ("service-region", |e| text(e.service_region.as_ref())),
        ("vpc-endpoint-id", |e| text(e.vpc_endpoint_id.as_ref())),
        ("vpc-endpoint-state", |e| text(e.state.as_ref())),
        ("vpc-endpoint-type", |e| text(e.vpc_endpoint_type.as_ref())),
        ("vpc-id", |e| text(e.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.vpc_endpoint_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}
