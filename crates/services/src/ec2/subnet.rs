//! Subnets.

use postern_model::subnet::Subnet;
use postern_model::{Action, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, none, shown, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{count, created, some, tags, zone_id};

const NAMED: &[Asked] = &[Asked::Named(By::Id, "SubnetId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateSubnet = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["AvailabilityZone", "AvailabilityZoneId", "CidrBlock", "VpcId"]],
        only: &[("Ipv6Native", &["false"])],
        asked: &[Asked::New("subnet"), Asked::Named(By::Id, "VpcId")],
    },
    operation! { write CreateDefaultSubnet = create_default;
        honoured: &[DRY_RUN, &["AvailabilityZone", "AvailabilityZoneId"]],
        only: &[("Ipv6Native", &["false"])],
        asked: &[],
    },
    operation! { write DeleteSubnet = delete; honoured: &[DRY_RUN, &["SubnetId"]], asked: NAMED },
    operation! { read DescribeSubnets = describe; filters: filters::names::<ec2::Subnet>, honoured: &[DRY_RUN, FILTERS, PAGES, &["SubnetId"]] },
    operation! { write ModifySubnetAttribute = modify_attribute;
        honoured: &[&["MapPublicIpOnLaunch.Value", "SubnetId"]],
        only: &[
            ("AssignIpv6AddressOnCreation.Value", &["false"]),
            ("EnableDns64.Value", &["false"]),
            ("EnableResourceNameDnsAAAARecordOnLaunch.Value", &["false"]),
            ("EnableResourceNameDnsARecordOnLaunch.Value", &["false"]),
            ("MapCustomerOwnedIpOnLaunch.Value", &["false"]),
            ("PrivateDnsHostnameTypeOnLaunch", &["ip-name"]),
        ],
        asked: NAMED,
    },
];

/// The ARN of a subnet.
fn arn(state: &State, subnet: &Subnet) -> String {
    format!("arn:aws:ec2:{}:{}:subnet/{}", state.region.name, subnet.owner, subnet.id)
}

fn show(state: &State, subnet: &Subnet) -> ec2::Subnet {
    ec2::Subnet {
        assign_ipv6_address_on_creation: Some(false),
        availability_zone: some(&subnet.zone),
        availability_zone_id: zone_id(state, &subnet.zone),
        available_ip_address_count: count(subnet.available_address_count(state)),
        cidr_block: some(subnet.cidr),
        default_for_az: Some(subnet.default_for_zone),
        enable_dns64: Some(false),
        ipv6_cidr_block_association_set: Some(Vec::new()),
        ipv6_native: Some(false),
        map_customer_owned_ip_on_launch: Some(false),
        map_public_ip_on_launch: Some(subnet.map_public_ip_on_launch),
        owner_id: some(subnet.owner),
        private_dns_name_options_on_launch: Some(ec2::PrivateDnsNameOptionsOnLaunch {
            enable_resource_name_dns_aaaa_record: Some(false),
            enable_resource_name_dns_a_record: Some(false),
            hostname_type: some("ip-name"),
        }),
        state: some("available"),
        subnet_arn: some(arn(state, subnet)),
        subnet_id: some(subnet.id),
        tags: tags(&subnet.tags),
        vpc_id: some(subnet.vpc),
        ..ec2::Subnet::default()
    }
}

impl Row for ec2::Subnet {
    const FILTERS: FilterTable<Self> = &[
        ("availability-zone", |s| text(s.availability_zone.as_ref())),
        ("availabilityZone", |s| text(s.availability_zone.as_ref())),
        ("availability-zone-id", |s| text(s.availability_zone_id.as_ref())),
        ("availabilityZoneId", |s| text(s.availability_zone_id.as_ref())),
        ("available-ip-address-count", |s| shown(s.available_ip_address_count)),
        ("cidr", |s| text(s.cidr_block.as_ref())),
        ("cidr-block", |s| text(s.cidr_block.as_ref())),
        ("cidrBlock", |s| text(s.cidr_block.as_ref())),
        ("customer-owned-ipv4-pool", none),
        ("default-for-az", |s| shown(s.default_for_az)),
        ("defaultForAz", |s| shown(s.default_for_az)),
        ("enable-dns64", |s| shown(s.enable_dns64)),
        ("enable-lni-at-device-index", none),
        ("ipv6-cidr-block-association.association-id", none),
        ("ipv6-cidr-block-association.ipv6-cidr-block", none),
        ("ipv6-cidr-block-association.state", none),
        ("ipv6-native", |s| shown(s.ipv6_native)),
        ("map-customer-owned-ip-on-launch", |s| shown(s.map_customer_owned_ip_on_launch)),
        ("map-public-ip-on-launch", |s| shown(s.map_public_ip_on_launch)),
        ("outpost-arn", none),
        ("owner-id", |s| text(s.owner_id.as_ref())),
        ("private-dns-name-options-on-launch.enable-resource-name-dns-a-record", |s| {
            let options = s.private_dns_name_options_on_launch.as_ref();
            shown(options.and_then(|o| o.enable_resource_name_dns_a_record))
        }),
        ("private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record", |s| {
            let options = s.private_dns_name_options_on_launch.as_ref();
            shown(options.and_then(|o| o.enable_resource_name_dns_aaaa_record))
        }),
        ("private-dns-name-options-on-launch.hostname-type", |s| {
            text(s.private_dns_name_options_on_launch.as_ref().and_then(|o| o.hostname_type.as_ref()))
        }),
        ("state", |s| text(s.state.as_ref())),
        ("subnet-arn", |s| text(s.subnet_arn.as_ref())),
        ("subnet-id", |s| text(s.subnet_id.as_ref())),
        ("vpc-id", |s| text(s.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.subnet_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

/// The zone by name or id; both only where they agree.
fn zone(call: &Call<'_>, name: Option<String>, id: Option<String>) -> Result<Option<String>, AwsError> {
    match (name, id) {
        (Some(name), Some(id)) if zone_id(&call.state, &name).as_ref() != Some(&id) => {
            Err(parameters::combination(format!("The zone '{name}' does not have the zone id '{id}'")))
        }
        (Some(name), _) => Ok(Some(name)),
        (None, id) => Ok(id),
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateSubnetRequest,
) -> Result<ec2::CreateSubnetResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["subnet"])?;
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    let cidr = parameters::required(request.cidr_block, "cidrBlock")?;
    let cidr = parameters::ipv4_block(&cidr, "cidrBlock")?;
    let zone = zone(call, request.availability_zone, request.availability_zone_id)?;
    let done = call.execute(None, Action::CreateSubnet { vpc, cidr, zone, tags }).await?;
    let id = created!(done, Subnet)?;
    let subnet = done.state.get::<Subnet>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateSubnetResult { subnet: Some(show(&done.state, &subnet)) })
}

async fn create_default(
    call: &Call<'_>,
    request: ec2::CreateDefaultSubnetRequest,
) -> Result<ec2::CreateDefaultSubnetResult, AwsError> {
    let given = zone(call, request.availability_zone, request.availability_zone_id)?;
    let given = parameters::required(given, "AvailabilityZone")?;
    // The model knows default subnets by the name of their zone.
    let known = call.state.region.zones.iter().find(|zone| zone.name == given || zone.id == given);
    let zone = known.map_or(given, |zone| zone.name.clone());
    let done = call.execute(None, Action::CreateDefaultSubnet { zone }).await?;
    let id = created!(done, Subnet)?;
    let subnet = done.state.get::<Subnet>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateDefaultSubnetResult { subnet: Some(show(&done.state, &subnet)) })
}

async fn delete(call: &Call<'_>, request: ec2::DeleteSubnetRequest) -> Result<(), AwsError> {
    let subnet = parameters::id(&parameters::required(request.subnet_id, "SubnetId")?)?;
    call.execute(None, Action::DeleteSubnet { subnet }).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeSubnetsRequest,
) -> Result<ec2::DescribeSubnetsResult, AwsError> {
    let rows = call.select::<Subnet>(&request.subnet_ids)?;
    let rows = rows.iter().map(|subnet| show(&call.state, subnet)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (subnets, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeSubnetsResult { next_token, subnets })
}

async fn modify_attribute(
    call: &Call<'_>,
    request: ec2::ModifySubnetAttributeRequest,
) -> Result<(), AwsError> {
    let found = call.get::<Subnet>(&parameters::required(request.subnet_id, "SubnetId")?)?;
    match request.map_public_ip_on_launch.and_then(|attribute| attribute.value) {
        // The other attributes can only say what is so.
        None => Ok(()),
        Some(on) => {
            let action = Action::SetMapPublicIpOnLaunch { subnet: found.id, on };
            call.execute(None, action).await.map(|_| ())
        }
    }
}
