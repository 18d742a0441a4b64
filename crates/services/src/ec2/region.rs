//! The region, its zones, and what accounts are told about themselves.

use postern_model::{Quota, Zone, default_vpc};
use postern_wire::{AwsError, ec2};

use super::call::Call;
use super::filters::{self, FilterTable, Row, none, text};
use super::parameters::{self, DRY_RUN, FILTERS};
use super::table::{Entry, operation};
use super::view::some;

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { read DescribeRegions = regions; filters: filters::names::<ec2::Region>,
        honoured: &[DRY_RUN, FILTERS, &["RegionName"]],
        // There is one, and it is opted into.
        only: &[("AllRegions", &["true", "false"])],
    },
    operation! { read DescribeAvailabilityZones = zones; filters: filters::names::<ec2::AvailabilityZone>,
        honoured: &[DRY_RUN, FILTERS, &["ZoneId", "ZoneName"]],
        only: &[("AllAvailabilityZones", &["true", "false"])],
    },
    operation! { read DescribeAccountAttributes = account_attributes; honoured: &[DRY_RUN, &["AttributeName"]] },
];

impl Row for ec2::Region {
    const FILTERS: FilterTable<Self> = &[
        ("endpoint", |r| text(r.endpoint.as_ref())),
        ("opt-in-status", |r| text(r.opt_in_status.as_ref())),
        ("region-name", |r| text(r.region_name.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.region_name.clone().unwrap_or_default()
    }
}

fn regions(
    call: &Call<'_>,
    request: ec2::DescribeRegionsRequest,
) -> Result<ec2::DescribeRegionsResult, AwsError> {
    let name = call.region();
    if let Some(other) = request.region_names.iter().find(|other| *other != name) {
        return Err(AwsError::new("InvalidParameterValue", format!("Region not found: {other}")));
    }
    let region = ec2::Region {
        endpoint: some(format!("ec2.{name}.amazonaws.com")),
        geography: None,
        opt_in_status: some("opt-in-not-required"),
        region_name: some(name),
    };
    Ok(ec2::DescribeRegionsResult { regions: call.all(vec![region], &request.filters)? })
}

impl Row for ec2::AvailabilityZone {
    const FILTERS: FilterTable<Self> = &[
        ("group-long-name", |z| text(z.group_long_name.as_ref())),
        ("group-name", |z| text(z.group_name.as_ref())),
        ("message", none),
        ("opt-in-status", |z| text(z.opt_in_status.as_ref())),
        ("parent-zone-id", none),
        ("parent-zone-name", none),
        ("region-name", |z| text(z.region_name.as_ref())),
        ("state", |z| text(z.state.as_ref())),
        ("zone-id", |z| text(z.zone_id.as_ref())),
        ("zone-name", |z| text(z.zone_name.as_ref())),
        ("zone-type", |z| text(z.zone_type.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.zone_name.clone().unwrap_or_default()
    }
}

fn zones(
    call: &Call<'_>,
    request: ec2::DescribeAvailabilityZonesRequest,
) -> Result<ec2::DescribeAvailabilityZonesResult, AwsError> {
    let known = &call.state.region.zones;
    let unknown = |wanted: &[String], of: fn(&Zone) -> &String| {
        wanted.iter().find(|name| !known.iter().any(|zone| of(zone) == *name)).cloned()
    };
    let unknown = unknown(&request.zone_names, |zone| &zone.name)
        .or_else(|| unknown(&request.zone_ids, |zone| &zone.id));
    if let Some(unknown) = unknown {
        return Err(AwsError::new(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{unknown}]"),
        ));
    }
    let all = request.zone_names.is_empty() && request.zone_ids.is_empty();
    let wanted =
        |zone: &&Zone| all || request.zone_names.contains(&zone.name) || request.zone_ids.contains(&zone.id);
    let show = |zone: &Zone| ec2::AvailabilityZone {
        group_name: some(call.region()),
        messages: Some(Vec::new()),
        network_border_group: some(call.region()),
        opt_in_status: some("opt-in-not-required"),
        region_name: some(call.region()),
        state: some("available"),
        zone_id: some(&zone.id),
        zone_name: some(&zone.name),
        zone_type: some("availability-zone"),
        ..Default::default()
    };
    let rows = known.iter().filter(wanted).map(show).collect();
    let availability_zones = call.all(rows, &request.filters)?;
    Ok(ec2::DescribeAvailabilityZonesResult { availability_zones })
}

fn account_attributes(
    call: &Call<'_>,
    request: ec2::DescribeAccountAttributesRequest,
) -> Result<ec2::DescribeAccountAttributesResult, AwsError> {
    let limit = |quota| postern_model::quota::limit(&call.state, call.account, quota).to_string();
    let default_vpc = default_vpc::find(&call.state, call.account).map(|vpc| vpc.id.to_string());
    let known = [
        ("supported-platforms", "VPC".to_owned()),
        ("default-vpc", default_vpc.unwrap_or_else(|| "none".to_owned())),
        ("vpc-max-security-groups-per-interface", limit(Quota::GroupsPerInterface)),
        ("vpc-max-elastic-ips", limit(Quota::ElasticAddresses)),
    ];
    let unknown = |name: &&String| !known.iter().any(|(known, _)| *known == name.as_str());
    if let Some(name) = request.attribute_names.iter().find(unknown) {
        return Err(parameters::invalid("attributeName", name, "Unknown attribute."));
    }
    let wanted = |(name, _): &(&str, String)| {
        request.attribute_names.is_empty() || request.attribute_names.iter().any(|n| n == name)
    };
    let show = |(name, value): (&str, String)| ec2::AccountAttribute {
        attribute_name: some(name),
        attribute_values: Some(vec![ec2::AccountAttributeValue { attribute_value: Some(value) }]),
    };
    let attributes = known.into_iter().filter(wanted).map(show).collect();
    Ok(ec2::DescribeAccountAttributesResult { account_attributes: Some(attributes) })
}
