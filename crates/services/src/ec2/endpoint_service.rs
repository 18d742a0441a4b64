//! The services that endpoints can lead to.

use postern_model::endpoint::{EndpointKind, Service};
use postern_model::{Region, State};
use postern_wire::{AwsError, ec2};

use super::call::{Call, Listing};
use super::endpoint::kind_name;
use super::error;
use super::filters::{self, FilterTable, Row, each, text};
use super::pagination::Bounds;
use super::parameters::{DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::some;

/// "Constraint: If the value is greater than 1,000, we return only 1,000 items."
const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { read DescribeVpcEndpointServices = describe; filters: filters::names::<ec2::ServiceDetail>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["ServiceName", "ServiceRegion"]],
    },
];

/// A service's id: the same for every account and after every start, as it follows from the name (FNV-1a).
fn service_id(service: &Service) -> String {
    let hash = service.name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("vpce-svc-{hash:017x}")
}

/// The names that reach a service from everywhere; names with a wildcard stand for parts of it.
fn base_names(service: &Service) -> Vec<String> {
    service.dns_names.iter().filter(|name| !name.starts_with('*')).take(1).cloned().collect()
}

fn show(region: &Region, service: &Service) -> ec2::ServiceDetail {
    let kind = |kind: &EndpointKind| ec2::ServiceTypeDetail { service_type: some(kind_name(*kind)) };
    ec2::ServiceDetail {
        acceptance_required: Some(false),
        availability_zone_ids: Some(region.zones.iter().map(|zone| zone.id.clone()).collect()),
        availability_zones: Some(region.zones.iter().map(|zone| zone.name.clone()).collect()),
        base_endpoint_dns_names: Some(base_names(service)),
        manages_vpc_endpoints: Some(false),
        owner: some("amazon"),
        service_id: some(service_id(service)),
        service_name: some(&service.name),
        service_region: some(&region.name),
        service_type: Some(service.endpoint_kinds.iter().map(kind).collect()),
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
        self.service_name.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
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
        if !offered(state).any(|service| service.name == *name) {
            return Err(error::service_not_found(name));
        }
    }
    if let Some(other) = request.service_regions.iter().find(|region| *region != call.region()) {
        return Err(error::unsupported_value("ServiceRegion", other, &[call.region()]));
    }
    let wanted = |service: &&Service| {
        request.service_names.is_empty() || request.service_names.contains(&service.name)
    };
    let rows = offered(state).filter(wanted).map(|service| show(&state.region, service)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results.map(|most| most.min(BOUNDS.most)),
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (service_details, next_token) = call.list(rows, listing)?;
    let names = service_details.iter().flatten().filter_map(|detail| detail.service_name.clone());
    Ok(ec2::DescribeVpcEndpointServicesResult {
        next_token,
        service_names: Some(names.collect()),
        service_details,
    })
}
