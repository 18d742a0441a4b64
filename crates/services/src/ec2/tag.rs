//! Tags: on what is made, on what is there, and the list of them all.

use postern_model::instance::{Instance, KeyPair};
use postern_model::peering::VpcPeeringConnection;
use postern_model::state::Resource;
use postern_model::{Action, ResourceId, TagSet};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, PAGES, invalid};
use super::table::{Entry, operation};
use super::view::some;

/// How many resources one request may tag ("CreateTags").
const MAX_RESOURCES: usize = 1000;

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateTags = create;
        honoured: &[DRY_RUN, &["ResourceId", "Tag.Key", "Tag.Value"]],
        asked: &[Asked::Named(By::Id, "ResourceId")],
    },
    operation! { write DeleteTags = delete;
        honoured: &[DRY_RUN, &["ResourceId", "Tag.Key", "Tag.Value"]],
        asked: &[Asked::Named(By::Id, "ResourceId")],
    },
    operation! { read DescribeTags = describe; filters: filters::names::<DescribedTag>, honoured: &[DRY_RUN, FILTERS, PAGES] },
];

/// AWS's name for a resource's kind, in tag specifications and ARNs.
pub fn kind_of(id: ResourceId) -> &'static str {
    match id {
        ResourceId::Vpc(_) => "vpc",
        ResourceId::Subnet(_) => "subnet",
        ResourceId::RouteTable(_) => "route-table",
        ResourceId::InternetGateway(_) => "internet-gateway",
        ResourceId::NatGateway(_) => "natgateway",
        ResourceId::VpcPeeringConnection(_) => "vpc-peering-connection",
        ResourceId::CustomerGateway(_) => "customer-gateway",
        ResourceId::VpnGateway(_) => "vpn-gateway",
        ResourceId::VpnConnection(_) => "vpn-connection",
        ResourceId::TransitGateway(_) => "transit-gateway",
        ResourceId::TransitGatewayAttachment(_) => "transit-gateway-attachment",
        ResourceId::TransitGatewayRouteTable(_) => "transit-gateway-route-table",
        ResourceId::Address(_) => "elastic-ip",
        ResourceId::NetworkInterface(_) => "network-interface",
        ResourceId::SecurityGroup(_) => "security-group",
        ResourceId::SecurityGroupRule(_) => "security-group-rule",
        ResourceId::NetworkAcl(_) => "network-acl",
        ResourceId::PrefixList(_) => "prefix-list",
        ResourceId::VpcEndpoint(_) => "vpc-endpoint",
        ResourceId::EndpointService(_) => "vpc-endpoint-service",
        ResourceId::ConnectionNotification(_) => "vpc-endpoint-connection-notification",
        ResourceId::LoadBalancer(_) => "loadbalancer",
        ResourceId::Listener(_) => "listener",
        ResourceId::TargetGroup(_) => "targetgroup",
        ResourceId::ResolverEndpoint(_) => "resolver-endpoint",
        ResourceId::Instance(_) => "instance",
        ResourceId::DhcpOptions(_) => "dhcp-options",
        ResourceId::KeyPair(_) => "key-pair",
    }
}

/// The tags that a request gives to what it makes, for each of the kinds that it makes.
pub fn of_new<const N: usize>(
    specifications: Vec<ec2::TagSpecification>,
    kinds: [&str; N],
) -> Result<[TagSet; N], AwsError> {
    let mut sets: [TagSet; N] = std::array::from_fn(|_| TagSet::new());
    let mut given = [false; N];
    for specification in specifications {
        let kind = parameters::required(specification.resource_type, "TagSpecification.ResourceType")?;
        let Some(at) = kinds.iter().position(|known| *known == kind) else {
            let message = format!("'{kind}' is not a valid taggable resource type for this operation.");
            return Err(AwsError::new("InvalidParameterValue", message));
        };
        let tags = read(specification.tags)?;
        if tags.is_empty() {
            let message = "Tag specification must have at least one tag";
            return Err(AwsError::new("InvalidParameterValue", message));
        }
        match (given.get_mut(at), sets.get_mut(at)) {
            (Some(given @ false), Some(set)) => {
                *given = true;
                *set = tags;
            }
            _ => {
                let message = format!("Tag specification resource type '{kind}' is given more than once");
                return Err(AwsError::new("InvalidParameterValue", message));
            }
        }
    }
    Ok(sets)
}

fn read(tags: Vec<ec2::Tag>) -> Result<TagSet, AwsError> {
    let mut set = TagSet::new();
    for ec2::Tag { key, value } in tags {
        let key = parameters::required(key, "Tag.Key")?;
        let Some(value) = value else {
            return Err(AwsError::new(
                "InvalidParameterValue",
                "Tag value cannot be null. Use empty string instead.",
            ));
        };
        if set.iter().any(|(known, _)| *known == key) {
            let message = format!("Duplicate tag key '{key}' specified.");
            return Err(AwsError::new("InvalidParameterValue", message));
        }
        set.push((key, value));
    }
    Ok(set)
}

fn resources(texts: &[String]) -> Result<Vec<ResourceId>, AwsError> {
    if texts.is_empty() {
        return Err(parameters::missing("resourceIdSet"));
    }
    if texts.len() > MAX_RESOURCES {
        let why = format!("At most {MAX_RESOURCES} resources can be tagged at once.");
        return Err(invalid("resourceIdSet", texts.len(), &why));
    }
    let resources = parameters::ids(texts)?;
    match texts.iter().zip(&resources).find(|(_, resource)| !has_id(**resource)) {
        Some((text, _)) => Err(AwsError::new("InvalidID", format!("The ID '{text}' is not valid"))),
        None => Ok(resources),
    }
}

/// Whether EC2 knows a resource by its id. Load balancers and what belongs to them have ARNs, and an API of their own, and so
/// have endpoints of resolvers.
fn has_id(resource: ResourceId) -> bool {
    match resource {
        ResourceId::LoadBalancer(_)
        | ResourceId::Listener(_)
        | ResourceId::TargetGroup(_)
        | ResourceId::ResolverEndpoint(_) => false,
        ResourceId::Vpc(_)
        | ResourceId::Subnet(_)
        | ResourceId::RouteTable(_)
        | ResourceId::InternetGateway(_)
        | ResourceId::NatGateway(_)
        | ResourceId::VpcPeeringConnection(_)
        | ResourceId::CustomerGateway(_)
        | ResourceId::VpnGateway(_)
        | ResourceId::VpnConnection(_)
        | ResourceId::TransitGateway(_)
        | ResourceId::TransitGatewayAttachment(_)
        | ResourceId::TransitGatewayRouteTable(_)
        | ResourceId::Address(_)
        | ResourceId::NetworkInterface(_)
        | ResourceId::SecurityGroup(_)
        | ResourceId::SecurityGroupRule(_)
        | ResourceId::NetworkAcl(_)
        | ResourceId::PrefixList(_)
        | ResourceId::VpcEndpoint(_)
        | ResourceId::EndpointService(_)
        | ResourceId::ConnectionNotification(_)
        | ResourceId::Instance(_)
        | ResourceId::DhcpOptions(_)
        | ResourceId::KeyPair(_) => true,
    }
}

async fn create(call: &Call<'_>, request: ec2::CreateTagsRequest) -> Result<(), AwsError> {
    let resources = resources(&request.resources)?;
    let tags = read(request.tags)?;
    if tags.is_empty() {
        return Err(parameters::missing("tagSet"));
    }
    call.execute(None, Action::CreateTags { resources, tags }).await.map(|_| ())
}

async fn delete(call: &Call<'_>, request: ec2::DeleteTagsRequest) -> Result<(), AwsError> {
    let resources = resources(&request.resources)?;
    let mut tags = Vec::new();
    for ec2::Tag { key, value } in request.tags {
        tags.push((parameters::required(key, "Tag.Key")?, value));
    }
    // "If you omit this parameter, we delete all user-defined tags for the specified resources."
    if tags.is_empty() {
        let of_request = |row: &ec2::TagDescription| {
            row.resource_id.as_deref().is_some_and(|id| resources.iter().any(|r| r.to_string() == id))
        };
        let all = rows(call).into_iter().filter(of_request);
        tags = all.filter_map(|row| row.key).map(|key| (key, None)).collect();
    }
    call.execute(None, Action::DeleteTags { resources, tags }).await.map(|_| ())
}

/// A row with its tag as a tag, for the filter `tag:<key>`.
struct DescribedTag {
    row: ec2::TagDescription,
    tag: [ec2::Tag; 1],
}

impl Row for DescribedTag {
    const FILTERS: FilterTable<Self> = &[
        ("key", |row| text(row.row.key.as_ref())),
        ("resource-id", |row| text(row.row.resource_id.as_ref())),
        ("resource-type", |row| text(row.row.resource_type.as_ref())),
        ("value", |row| text(row.row.value.as_ref())),
    ];

    fn key(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{} {}", part(&self.row.resource_id), part(&self.row.key))
    }

    fn tags(&self) -> &[ec2::Tag] {
        &self.tag
    }
}

fn describe(call: &Call<'_>, request: ec2::DescribeTagsRequest) -> Result<ec2::DescribeTagsResult, AwsError> {
    let described = |row: ec2::TagDescription| {
        let tag = [ec2::Tag { key: row.key.clone(), value: row.value.clone() }];
        DescribedTag { row, tag }
    };
    let rows = rows(call).into_iter().map(described).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (rows, next_token) = call.list(rows, listing)?;
    let tags = rows.map(|rows| rows.into_iter().map(|row| row.row).collect());
    Ok(ec2::DescribeTagsResult { next_token, tags })
}

/// Every tag of the account.
fn rows(call: &Call<'_>) -> Vec<ec2::TagDescription> {
    fn of<R: Resource>(call: &Call<'_>, rows: &mut Vec<ec2::TagDescription>) {
        for resource in call.state.visible::<R>(call.account) {
            push(rows, resource.id().into(), resource.tags());
        }
    }
    fn push(rows: &mut Vec<ec2::TagDescription>, id: ResourceId, tags: &postern_model::Tags) {
        rows.extend(tags.iter().map(|(key, value)| ec2::TagDescription {
            key: some(key),
            resource_id: some(id),
            resource_type: some(kind_of(id)),
            value: some(value),
        }));
    }
    let mut rows = Vec::new();
    of::<postern_model::vpc::Vpc>(call, &mut rows);
    of::<postern_model::vpc::DhcpOptions>(call, &mut rows);
    of::<postern_model::subnet::Subnet>(call, &mut rows);
    of::<postern_model::route::RouteTable>(call, &mut rows);
    of::<postern_model::gateway::InternetGateway>(call, &mut rows);
    of::<postern_model::gateway::NatGateway>(call, &mut rows);
    of::<postern_model::gateway::Address>(call, &mut rows);
    of::<postern_model::interface::NetworkInterface>(call, &mut rows);
    of::<postern_model::security_group::SecurityGroup>(call, &mut rows);
    of::<postern_model::network_acl::NetworkAcl>(call, &mut rows);
    of::<postern_model::prefix_list::PrefixList>(call, &mut rows);
    of::<postern_model::endpoint::VpcEndpoint>(call, &mut rows);
    of::<postern_model::vpn::CustomerGateway>(call, &mut rows);
    of::<postern_model::vpn::VpnGateway>(call, &mut rows);
    of::<postern_model::vpn::VpnConnection>(call, &mut rows);
    of::<postern_model::transit::TransitGateway>(call, &mut rows);
    of::<postern_model::transit::TransitGatewayAttachment>(call, &mut rows);
    of::<postern_model::transit::TransitGatewayRouteTable>(call, &mut rows);
    of::<postern_model::endpoint_service::EndpointService>(call, &mut rows);
    of::<Instance>(call, &mut rows);
    of::<KeyPair>(call, &mut rows);
    for peering in call.state.visible::<VpcPeeringConnection>(call.account) {
        push(&mut rows, peering.id.into(), peering.tags_of(call.account));
    }
    for group in call.state.visible::<postern_model::security_group::SecurityGroup>(call.account) {
        group.rules.values().for_each(|rule| push(&mut rows, rule.id.into(), &rule.tags));
    }
    rows
}
