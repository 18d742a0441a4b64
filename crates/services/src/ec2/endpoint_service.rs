//! The services that endpoints can lead to.

use postern_model::endpoint::{EndpointKind, Service};
use postern_model::endpoint_service::{EndpointService, Payer, PrivateDnsName};
use postern_model::{Region, State};
use postern_wire::{AwsError, ec2};

use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, each, text};
use super::pagination::Bounds;
use super::parameters::{DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::{some, tags, zone_id};

/// "Constraint: If the value is greater than 1,000, we return only 1,000 items."
const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { read DescribeVpcEndpointServices = describe; filters: filters::names::<ec2::ServiceDetail>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["ServiceName", "ServiceRegion"]],
    },
];

/// A service's id: the same for every account and after every start, as it follows from the name (FNV-1a). Each kind of
/// endpoint has a service of its own.
fn service_id(service: &Service, kind: EndpointKind) -> String {
    let name = match kind {
        EndpointKind::Gateway => service.name.clone(),
        EndpointKind::Interface => format!("{} interface", service.name),
    };
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("vpce-svc-{hash:017x}")
}

/// The names of a service that its endpoints are reached by: those that it has everywhere (names with a wildcard stand for
/// parts of it), or what the endpoints' own names end in.
fn base_names(region: &Region, service: &Service, kind: EndpointKind) -> Vec<String> {
    match kind {
        EndpointKind::Gateway => {
            service.dns_names.iter().filter(|name| !name.starts_with('*')).take(1).cloned().collect()
        }
        EndpointKind::Interface => {
            vec![format!("{}.{}.vpce.amazonaws.com", service.endpoint_label, region.name)]
        }
    }
}

/// The names that an interface endpoint takes over with private DNS.
fn private_names(service: &Service, kind: EndpointKind) -> &[String] {
    match kind {
        EndpointKind::Gateway => &[],
        EndpointKind::Interface => &service.private_dns_names,
    }
}

/// A service of AWS's or of the operator's; the latter may be a partner's.
fn show(state: &State, service: &Service, kind: EndpointKind) -> ec2::ServiceDetail {
    let region = &state.region;
    let upstream = state.upstreams.get(&service.name);
    let partner = upstream.and_then(|upstream| upstream.own.as_ref()?.owner);
    let private = private_names(service, kind);
    let named = |name: &String| ec2::PrivateDnsDetails { private_dns_name: some(name) };
    ec2::ServiceDetail {
        acceptance_required: Some(false),
        availability_zone_ids: Some(region.zones.iter().map(|zone| zone.id.clone()).collect()),
        availability_zones: Some(region.zones.iter().map(|zone| zone.name.clone()).collect()),
        base_endpoint_dns_names: Some(base_names(region, service, kind)),
        manages_vpc_endpoints: Some(false),
        owner: partner.map(|partner| partner.to_string()).or_else(|| some("amazon")),
        private_dns_name: private.first().cloned(),
        private_dns_name_verification_state: private.first().and_then(|_| some("verified")),
        private_dns_names: (!private.is_empty()).then(|| private.iter().map(named).collect()),
        service_id: some(service_id(service, kind)),
        service_name: some(&service.name),
        service_region: some(&region.name),
        service_type: Some(vec![ec2::ServiceTypeDetail { service_type: some(kind.name()) }]),
        supported_ip_address_types: Some(vec!["ipv4".to_owned()]),
        tags: Some(Vec::new()),
        vpc_endpoint_policy_supported: Some(service.endpoint_policies),
        ..Default::default()
    }
}

impl Row for ec2::ServiceDetail {
    const FILTERS: FilterTable<Self> = &[
        ("owner", |s| text(s.owner.as_ref())),
        ("service-name", |s| text(s.service_name.as_ref())),
        ("service-region", |s| text(s.service_region.as_ref())),
        ("service-type", |s| each(s.service_type.as_ref(), |t| t.service_type.clone())),
        ("supported-ip-address-types", |s| each(s.supported_ip_address_types.as_ref(), |t| Some(t.clone()))),
    ];

    fn key(&self) -> String {
        let kind = self.service_type.iter().flatten().filter_map(|kind| kind.service_type.as_deref());
        let name = self.service_name.as_deref().into_iter();
        name.chain(kind).collect::<Vec<_>>().join(" ")
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

/// A service of a user's, as those see it who may have endpoints to it.
fn show_own(state: &State, service: &EndpointService) -> ec2::ServiceDetail {
    let region = &state.region.name;
    let zones: Vec<_> = service.zones(state).into_iter().collect();
    let private = service.private_dns.as_ref();
    let details = |name: &PrivateDnsName| vec![ec2::PrivateDnsDetails { private_dns_name: some(&name.name) }];
    ec2::ServiceDetail {
        acceptance_required: Some(service.acceptance_required),
        availability_zone_ids: Some(zones.iter().filter_map(|zone| zone_id(state, zone)).collect()),
        availability_zones: Some(zones),
        base_endpoint_dns_names: Some(vec![service.base_dns_name(region)]),
        manages_vpc_endpoints: Some(false),
        owner: some(service.owner),
        payer_responsibility: match service.payer {
            Payer::EndpointOwner => None,
            Payer::ServiceOwner => some("ServiceOwner"),
        },
        private_dns_name: private.map(|name| name.name.clone()),
        private_dns_name_verification_state: private.map(|name| name.state.name().to_owned()),
        private_dns_names: private.map(details),
        service_id: some(service.id),
        service_name: some(service.name(region)),
        service_region: some(region),
        service_type: Some(vec![ec2::ServiceTypeDetail { service_type: some("Interface") }]),
        supported_ip_address_types: Some(vec!["ipv4".to_owned()]),
        tags: tags(&service.tags),
        vpc_endpoint_policy_supported: Some(false),
    }
}

/// The services of users that the caller may have endpoints to.
fn admitting<'a>(call: &'a Call<'_>) -> impl Iterator<Item = &'a EndpointService> {
    let all = call.state.endpoint_services.values().map(AsRef::as_ref);
    all.filter(|service| service.admits(call.account, call.principal.as_deref()))
}

/// Those that some kind of endpoint can lead to.
fn offered(state: &State) -> impl Iterator<Item = &Service> {
    state.services.values().map(AsRef::as_ref).filter(|service| !service.endpoint_kinds.is_empty())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpcEndpointServicesRequest,
) -> Result<ec2::DescribeVpcEndpointServicesResult, AwsError> {
    let state = &call.state;
    for name in &request.service_names {
        let own = || admitting(call).any(|service| service.name(call.region()) == *name);
        if !offered(state).any(|service| service.name == *name) && !own() {
            return Err(error::service_not_found(name));
        }
    }
    if let Some(other) = request.service_regions.iter().find(|region| *region != call.region()) {
        return Err(error::unsupported_value("ServiceRegion", other, &[call.region()]));
    }
    let wanted = |service: &&Service| {
        request.service_names.is_empty() || request.service_names.contains(&service.name)
    };
    // A service that has several kinds of endpoints is listed once for each.
    let each = |service: &Service| {
        service.endpoint_kinds.iter().map(|kind| show(state, service, *kind)).collect::<Vec<_>>()
    };
    let is_wanted = |name: &String| request.service_names.is_empty() || request.service_names.contains(name);
    let own = admitting(call).map(|service| show_own(state, service));
    let own = own.filter(|detail| detail.service_name.as_ref().is_some_and(is_wanted));
    let rows = offered(state).filter(wanted).flat_map(each).chain(own).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results.map(|most| most.min(BOUNDS.most)),
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (service_details, next_token) = call.list(rows, listing)?;
    let mut names: Vec<_> =
        service_details.iter().flatten().filter_map(|detail| detail.service_name.clone()).collect();
    names.dedup();
    Ok(ec2::DescribeVpcEndpointServicesResult { next_token, service_names: Some(names), service_details })
}
