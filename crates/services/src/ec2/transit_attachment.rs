//! What is attached to transit gateways: VPCs, and the VPNs that were made with one.

use postern_model::transit::{Attached, TransitAction, TransitGatewayAttachment};
use postern_model::{Action, State, TransitGatewayAttachmentId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, shown, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::transit_gateway::{OFF, is_on, switch};
use super::view::{created, some, tags, timestamp};

/// Where some operations have the tags of what they make.
pub(super) const NEW_TAGS: &[&str] =
    &["TagSpecifications.ResourceType", "TagSpecifications.Tag.Key", "TagSpecifications.Tag.Value"];
const NAMED: &[Asked] = &[Asked::Named(By::Id, "TransitGatewayAttachmentId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateTransitGatewayVpcAttachment = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["Options.DnsSupport", "SubnetIds", "TransitGatewayId", "VpcId"]],
        only: &[
            ("Options.ApplianceModeSupport", OFF),
            ("Options.Ipv6Support", OFF),
            ("Options.SecurityGroupReferencingSupport", OFF),
        ],
        asked: &[
            Asked::New("transit-gateway-attachment"),
            Asked::Named(By::Id, "TransitGatewayId"),
            Asked::Named(By::Id, "VpcId"),
            Asked::Named(By::Id, "SubnetIds"),
        ],
    },
    operation! { write ModifyTransitGatewayVpcAttachment = modify;
        honoured: &[DRY_RUN, &[
            "AddSubnetIds", "Options.DnsSupport", "RemoveSubnetIds", "TransitGatewayAttachmentId",
        ]],
        only: &[
            ("Options.ApplianceModeSupport", OFF),
            ("Options.Ipv6Support", OFF),
            ("Options.SecurityGroupReferencingSupport", OFF),
        ],
        asked: &[
            Asked::Named(By::Id, "TransitGatewayAttachmentId"),
            Asked::Named(By::Id, "AddSubnetIds"),
            Asked::Named(By::Id, "RemoveSubnetIds"),
        ],
    },
    operation! { write DeleteTransitGatewayVpcAttachment = delete;
        honoured: &[DRY_RUN, &["TransitGatewayAttachmentId"]],
        asked: NAMED,
    },
    operation! { read DescribeTransitGatewayVpcAttachments = describe_vpcs;
        filters: filters::names::<ec2::TransitGatewayVpcAttachment>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayAttachmentIds"]],
    },
    operation! { read DescribeTransitGatewayAttachments = describe;
        filters: filters::names::<ec2::TransitGatewayAttachment>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayAttachmentIds"]],
    },
];

/// The attachment of a VPC; none for one of anything else.
fn show_vpc(attachment: &TransitGatewayAttachment, word: &str) -> Option<ec2::TransitGatewayVpcAttachment> {
    let Attached::Vpc { vpc, subnets, dns_support } = &attachment.to else { return None };
    Some(ec2::TransitGatewayVpcAttachment {
        creation_time: Some(timestamp(attachment.created_at)),
        options: Some(ec2::TransitGatewayVpcAttachmentOptions {
            appliance_mode_support: switch(false),
            dns_support: switch(*dns_support),
            ipv6_support: switch(false),
            security_group_referencing_support: switch(false),
        }),
        state: some(word),
        subnet_ids: Some(subnets.values().map(ToString::to_string).collect()),
        tags: tags(&attachment.tags),
        transit_gateway_attachment_id: some(attachment.id),
        transit_gateway_id: some(attachment.gateway),
        vpc_id: some(vpc),
        vpc_owner_id: some(attachment.owner),
    })
}

fn show(attachment: &TransitGatewayAttachment) -> ec2::TransitGatewayAttachment {
    ec2::TransitGatewayAttachment {
        association: attachment.association.map(|table| ec2::TransitGatewayAttachmentAssociation {
            state: some("associated"),
            transit_gateway_route_table_id: some(table),
            ..Default::default()
        }),
        creation_time: Some(timestamp(attachment.created_at)),
        resource_id: some(attachment.to.resource()),
        resource_owner_id: some(attachment.owner),
        resource_type: some(attachment.to.kind()),
        state: some("available"),
        tags: tags(&attachment.tags),
        transit_gateway_attachment_id: some(attachment.id),
        transit_gateway_id: some(attachment.gateway),
        transit_gateway_owner_id: some(attachment.owner),
        ..Default::default()
    }
}

impl Row for ec2::TransitGatewayVpcAttachment {
    const FILTERS: FilterTable<Self> = &[
        ("state", |a| text(a.state.as_ref())),
        ("transit-gateway-attachment-id", |a| text(a.transit_gateway_attachment_id.as_ref())),
        ("transit-gateway-id", |a| text(a.transit_gateway_id.as_ref())),
        ("vpc-id", |a| text(a.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.transit_gateway_attachment_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl Row for ec2::TransitGatewayAttachment {
    const FILTERS: FilterTable<Self> = &[
        ("association.state", |a| shown(a.association.as_ref().and_then(|x| x.state.clone()))),
        ("association.transit-gateway-route-table-id", |a| {
            shown(a.association.as_ref().and_then(|x| x.transit_gateway_route_table_id.clone()))
        }),
        ("resource-id", |a| text(a.resource_id.as_ref())),
        ("resource-owner-id", |a| text(a.resource_owner_id.as_ref())),
        ("resource-type", |a| text(a.resource_type.as_ref())),
        ("state", |a| text(a.state.as_ref())),
        ("transit-gateway-attachment-id", |a| text(a.transit_gateway_attachment_id.as_ref())),
        ("transit-gateway-id", |a| text(a.transit_gateway_id.as_ref())),
        ("transit-gateway-owner-id", |a| text(a.transit_gateway_owner_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.transit_gateway_attachment_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

fn shown_vpc(
    call: &Call<'_>,
    state: &State,
    id: TransitGatewayAttachmentId,
    word: &str,
) -> Result<Option<ec2::TransitGatewayVpcAttachment>, AwsError> {
    let found = state.get::<TransitGatewayAttachment>(call.account, id).map_err(|e| call.refuse(e))?;
    show_vpc(&found, word).map(Some).ok_or_else(|| error::not_found(&[id.into()]))
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateTransitGatewayVpcAttachmentRequest,
) -> Result<ec2::CreateTransitGatewayVpcAttachmentResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["transit-gateway-attachment"])?;
    let gateway = parameters::id(&parameters::required(request.transit_gateway_id, "TransitGatewayId")?)?;
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    let subnets = parameters::ids(&request.subnet_ids)?;
    let dns = request.options.and_then(|options| options.dns_support);
    let dns_support = is_on(dns.as_deref(), "DnsSupport")?.unwrap_or(true);
    let action = TransitAction::AttachVpc { gateway, vpc, subnets, dns_support, tags };
    let done = call.execute(None, Action::Transit(action)).await?;
    let id = created!(done, TransitGatewayAttachment)?;
    let transit_gateway_vpc_attachment = shown_vpc(call, &done.state, id, "available")?;
    Ok(ec2::CreateTransitGatewayVpcAttachmentResult { transit_gateway_vpc_attachment })
}

fn id(text: Option<String>) -> Result<TransitGatewayAttachmentId, AwsError> {
    parameters::id(&parameters::required(text, "TransitGatewayAttachmentId")?)
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyTransitGatewayVpcAttachmentRequest,
) -> Result<ec2::ModifyTransitGatewayVpcAttachmentResult, AwsError> {
    let attachment = id(request.transit_gateway_attachment_id)?;
    let (add, remove) =
        (parameters::ids(&request.add_subnet_ids)?, parameters::ids(&request.remove_subnet_ids)?);
    let dns = request.options.and_then(|options| options.dns_support);
    let dns_support = is_on(dns.as_deref(), "DnsSupport")?;
    let action = TransitAction::ModifyVpcAttachment { attachment, add, remove, dns_support };
    let done = call.execute(None, Action::Transit(action)).await?;
    let transit_gateway_vpc_attachment = shown_vpc(call, &done.state, attachment, "available")?;
    Ok(ec2::ModifyTransitGatewayVpcAttachmentResult { transit_gateway_vpc_attachment })
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteTransitGatewayVpcAttachmentRequest,
) -> Result<ec2::DeleteTransitGatewayVpcAttachmentResult, AwsError> {
    let attachment = id(request.transit_gateway_attachment_id)?;
    let transit_gateway_vpc_attachment = shown_vpc(call, &call.state, attachment, "deleting")?;
    call.execute(None, Action::Transit(TransitAction::DeleteVpcAttachment { attachment })).await?;
    Ok(ec2::DeleteTransitGatewayVpcAttachmentResult { transit_gateway_vpc_attachment })
}

fn describe_vpcs(
    call: &Call<'_>,
    request: ec2::DescribeTransitGatewayVpcAttachmentsRequest,
) -> Result<ec2::DescribeTransitGatewayVpcAttachmentsResult, AwsError> {
    let rows = call.select::<TransitGatewayAttachment>(&request.transit_gateway_attachment_ids)?;
    let rows = rows.iter().filter_map(|attachment| show_vpc(attachment, "available")).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (transit_gateway_vpc_attachments, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeTransitGatewayVpcAttachmentsResult { next_token, transit_gateway_vpc_attachments })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeTransitGatewayAttachmentsRequest,
) -> Result<ec2::DescribeTransitGatewayAttachmentsResult, AwsError> {
    let rows = call.select::<TransitGatewayAttachment>(&request.transit_gateway_attachment_ids)?;
    let rows = rows.iter().map(|attachment| show(attachment)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (transit_gateway_attachments, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeTransitGatewayAttachmentsResult { next_token, transit_gateway_attachments })
}
