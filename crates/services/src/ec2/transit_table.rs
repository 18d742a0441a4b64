//! Route tables of transit gateways: who is associated with them, and who propagates to them.

use postern_model::transit::{TransitAction, TransitGatewayAttachment, TransitGatewayRouteTable};
use postern_model::{Action, State, TransitGatewayAttachmentId, TransitGatewayRouteTableId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, shown, text};
use super::pagination::USUAL;
use super::parameters::{self, DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::transit_attachment::NEW_TAGS;
use super::view::{created, some, tags, timestamp};

const BOTH: &[&str] = &["TransitGatewayAttachmentId", "TransitGatewayRouteTableId"];
const ASKED_OF_BOTH: &[Asked] =
    &[Asked::Named(By::Id, "TransitGatewayAttachmentId"), Asked::Named(By::Id, "TransitGatewayRouteTableId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateTransitGatewayRouteTable = create;
        honoured: &[DRY_RUN, NEW_TAGS, &["TransitGatewayId"]],
        asked: &[Asked::New("transit-gateway-route-table"), Asked::Named(By::Id, "TransitGatewayId")],
    },
    operation! { write DeleteTransitGatewayRouteTable = delete;
        honoured: &[DRY_RUN, &["TransitGatewayRouteTableId"]],
        asked: &[Asked::Named(By::Id, "TransitGatewayRouteTableId")],
    },
    operation! { read DescribeTransitGatewayRouteTables = describe;
        filters: filters::names::<ec2::TransitGatewayRouteTable>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayRouteTableIds"]],
    },
    operation! { write AssociateTransitGatewayRouteTable = associate;
        honoured: &[DRY_RUN, BOTH],
        asked: ASKED_OF_BOTH,
    },
    operation! { write DisassociateTransitGatewayRouteTable = disassociate;
        honoured: &[DRY_RUN, BOTH],
        asked: ASKED_OF_BOTH,
    },
    operation! { write EnableTransitGatewayRouteTablePropagation = enable;
        honoured: &[DRY_RUN, BOTH],
        asked: ASKED_OF_BOTH,
    },
    operation! { write DisableTransitGatewayRouteTablePropagation = disable;
        honoured: &[DRY_RUN, BOTH],
        asked: ASKED_OF_BOTH,
    },
    operation! { read GetTransitGatewayRouteTableAssociations = associations;
        filters: filters::names::<ec2::TransitGatewayRouteTableAssociation>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayRouteTableId"]],
    },
    operation! { read GetTransitGatewayRouteTablePropagations = propagations;
        filters: filters::names::<ec2::TransitGatewayRouteTablePropagation>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayRouteTableId"]],
    },
    operation! { read GetTransitGatewayAttachmentPropagations = propagations_of;
        filters: filters::names::<ec2::TransitGatewayAttachmentPropagation>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayAttachmentId"]],
    },
];

fn show(state: &State, table: &TransitGatewayRouteTable, word: &str) -> ec2::TransitGatewayRouteTable {
    let gateway = state.transit_gateways.get(&table.gateway);
    let is = |chosen: Option<TransitGatewayRouteTableId>| Some(chosen == Some(table.id));
    ec2::TransitGatewayRouteTable {
        creation_time: Some(timestamp(table.created_at)),
        default_association_route_table: is(gateway.and_then(|gateway| gateway.association_table)),
        default_propagation_route_table: is(gateway.and_then(|gateway| gateway.propagation_table)),
        state: some(word),
        tags: tags(&table.tags),
        transit_gateway_id: some(table.gateway),
        transit_gateway_route_table_id: some(table.id),
    }
}

impl Row for ec2::TransitGatewayRouteTable {
    const FILTERS: FilterTable<Self> = &[
        ("default-association-route-table", |t| shown(t.default_association_route_table)),
        ("default-propagation-route-table", |t| shown(t.default_propagation_route_table)),
        ("state", |t| text(t.state.as_ref())),
        ("transit-gateway-id", |t| text(t.transit_gateway_id.as_ref())),
        ("transit-gateway-route-table-id", |t| text(t.transit_gateway_route_table_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.transit_gateway_route_table_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

impl Row for ec2::TransitGatewayRouteTableAssociation {
    const FILTERS: FilterTable<Self> = &[
        ("resource-id", |a| text(a.resource_id.as_ref())),
        ("resource-type", |a| text(a.resource_type.as_ref())),
        ("transit-gateway-attachment-id", |a| text(a.transit_gateway_attachment_id.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.transit_gateway_attachment_id.clone().unwrap_or_default()
    }
}

impl Row for ec2::TransitGatewayRouteTablePropagation {
    const FILTERS: FilterTable<Self> = &[
        ("resource-id", |a| text(a.resource_id.as_ref())),
        ("resource-type", |a| text(a.resource_type.as_ref())),
        ("transit-gateway-attachment-id", |a| text(a.transit_gateway_attachment_id.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.transit_gateway_attachment_id.clone().unwrap_or_default()
    }
}

impl Row for ec2::TransitGatewayAttachmentPropagation {
    const FILTERS: FilterTable<Self> =
        &[("transit-gateway-route-table-id", |a| text(a.transit_gateway_route_table_id.as_ref()))];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.transit_gateway_route_table_id.clone().unwrap_or_default()
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateTransitGatewayRouteTableRequest,
) -> Result<ec2::CreateTransitGatewayRouteTableResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["transit-gateway-route-table"])?;
    let gateway = parameters::id(&parameters::required(request.transit_gateway_id, "TransitGatewayId")?)?;
    let done = call.execute(None, Action::Transit(TransitAction::CreateTable { gateway, tags })).await?;
    let id = created!(done, TransitGatewayRouteTable)?;
    let table = done.state.get::<TransitGatewayRouteTable>(call.account, id).map_err(|e| call.refuse(e))?;
    let transit_gateway_route_table = Some(show(&done.state, &table, "available"));
    Ok(ec2::CreateTransitGatewayRouteTableResult { transit_gateway_route_table })
}

/// The table that a request names.
pub(super) fn table_id(text: Option<String>) -> Result<TransitGatewayRouteTableId, AwsError> {
    parameters::id(&parameters::required(text, "TransitGatewayRouteTableId")?)
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteTransitGatewayRouteTableRequest,
) -> Result<ec2::DeleteTransitGatewayRouteTableResult, AwsError> {
    let table = table_id(request.transit_gateway_route_table_id)?;
    let before =
        call.state.get::<TransitGatewayRouteTable>(call.account, table).map_err(|e| call.refuse(e))?;
    call.execute(None, Action::Transit(TransitAction::DeleteTable { table })).await?;
    let transit_gateway_route_table = Some(show(&call.state, &before, "deleting"));
    Ok(ec2::DeleteTransitGatewayRouteTableResult { transit_gateway_route_table })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeTransitGatewayRouteTablesRequest,
) -> Result<ec2::DescribeTransitGatewayRouteTablesResult, AwsError> {
    let rows = call.select::<TransitGatewayRouteTable>(&request.transit_gateway_route_table_ids)?;
    let rows = rows.iter().map(|table| show(&call.state, table, "available")).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (transit_gateway_route_tables, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeTransitGatewayRouteTablesResult { next_token, transit_gateway_route_tables })
}

/// The table and the attachment that a request names.
fn both(
    table: Option<String>,
    attachment: Option<String>,
) -> Result<(TransitGatewayRouteTableId, TransitGatewayAttachmentId), AwsError> {
    let attachment = parameters::required(attachment, "TransitGatewayAttachmentId")?;
    Ok((table_id(table)?, parameters::id(&attachment)?))
}

/// What an attachment is of, as a response about it and a table says.
fn attached(
    call: &Call<'_>,
    id: TransitGatewayAttachmentId,
) -> Result<std::sync::Arc<TransitGatewayAttachment>, AwsError> {
    call.state.get::<TransitGatewayAttachment>(call.account, id).map_err(|e| call.refuse(e))
}

fn association(
    attachment: &TransitGatewayAttachment,
    table: TransitGatewayRouteTableId,
    word: &str,
) -> ec2::TransitGatewayAssociation {
    ec2::TransitGatewayAssociation {
        resource_id: some(attachment.to.resource()),
        resource_type: some(attachment.to.kind()),
        state: some(word),
        transit_gateway_attachment_id: some(attachment.id),
        transit_gateway_route_table_id: some(table),
    }
}

async fn associate(
    call: &Call<'_>,
    request: ec2::AssociateTransitGatewayRouteTableRequest,
) -> Result<ec2::AssociateTransitGatewayRouteTableResult, AwsError> {
    let (table, attachment) =
        both(request.transit_gateway_route_table_id, request.transit_gateway_attachment_id)?;
    let found = attached(call, attachment)?;
    call.execute(None, Action::Transit(TransitAction::Associate { table, attachment })).await?;
    let association = Some(association(&found, table, "associated"));
    Ok(ec2::AssociateTransitGatewayRouteTableResult { association })
}

async fn disassociate(
    call: &Call<'_>,
    request: ec2::DisassociateTransitGatewayRouteTableRequest,
) -> Result<ec2::DisassociateTransitGatewayRouteTableResult, AwsError> {
    let (table, attachment) =
        both(request.transit_gateway_route_table_id, request.transit_gateway_attachment_id)?;
    let found = attached(call, attachment)?;
    call.execute(None, Action::Transit(TransitAction::Disassociate { table, attachment })).await?;
    let association = Some(association(&found, table, "disassociating"));
    Ok(ec2::DisassociateTransitGatewayRouteTableResult { association })
}

async fn propagate(
    call: &Call<'_>,
    (table, attachment): (TransitGatewayRouteTableId, TransitGatewayAttachmentId),
    on: bool,
) -> Result<Option<ec2::TransitGatewayPropagation>, AwsError> {
    let found = attached(call, attachment)?;
    call.execute(None, Action::Transit(TransitAction::SetPropagation { table, attachment, on })).await?;
    Ok(Some(ec2::TransitGatewayPropagation {
        resource_id: some(found.to.resource()),
        resource_type: some(found.to.kind()),
        state: some(if on { "enabled" } else { "disabled" }),
        transit_gateway_attachment_id: some(attachment),
        transit_gateway_route_table_id: some(table),
        ..Default::default()
    }))
}

async fn enable(
    call: &Call<'_>,
    request: ec2::EnableTransitGatewayRouteTablePropagationRequest,
) -> Result<ec2::EnableTransitGatewayRouteTablePropagationResult, AwsError> {
    let both = both(request.transit_gateway_route_table_id, request.transit_gateway_attachment_id)?;
    let propagation = propagate(call, both, true).await?;
    Ok(ec2::EnableTransitGatewayRouteTablePropagationResult { propagation })
}

async fn disable(
    call: &Call<'_>,
    request: ec2::DisableTransitGatewayRouteTablePropagationRequest,
) -> Result<ec2::DisableTransitGatewayRouteTablePropagationResult, AwsError> {
    let both = both(request.transit_gateway_route_table_id, request.transit_gateway_attachment_id)?;
    let propagation = propagate(call, both, false).await?;
    Ok(ec2::DisableTransitGatewayRouteTablePropagationResult { propagation })
}

/// The attachments of a table that is the caller's.
fn attachments_where(
    call: &Call<'_>,
    table: Option<String>,
    holds: impl Fn(&TransitGatewayAttachment, TransitGatewayRouteTableId) -> bool,
) -> Result<Vec<std::sync::Arc<TransitGatewayAttachment>>, AwsError> {
    let table = table_id(table)?;
    call.state.get::<TransitGatewayRouteTable>(call.account, table).map_err(|e| call.refuse(e))?;
    let all = call.state.visible::<TransitGatewayAttachment>(call.account);
    Ok(all.filter(|attachment| holds(attachment, table)).cloned().collect())
}

fn associations(
    call: &Call<'_>,
    request: ec2::GetTransitGatewayRouteTableAssociationsRequest,
) -> Result<ec2::GetTransitGatewayRouteTableAssociationsResult, AwsError> {
    let table = request.transit_gateway_route_table_id;
    let rows = attachments_where(call, table, |attachment, table| attachment.association == Some(table))?;
    let row =
        |attachment: &std::sync::Arc<TransitGatewayAttachment>| ec2::TransitGatewayRouteTableAssociation {
            resource_id: some(attachment.to.resource()),
            resource_type: some(attachment.to.kind()),
            state: some("associated"),
            transit_gateway_attachment_id: some(attachment.id),
        };
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (associations, next_token) = call.list(rows.iter().map(row).collect(), listing)?;
    Ok(ec2::GetTransitGatewayRouteTableAssociationsResult { associations, next_token })
}

fn propagations(
    call: &Call<'_>,
    request: ec2::GetTransitGatewayRouteTablePropagationsRequest,
) -> Result<ec2::GetTransitGatewayRouteTablePropagationsResult, AwsError> {
    let table = request.transit_gateway_route_table_id;
    let rows = attachments_where(call, table, |attachment, table| attachment.propagations.contains(&table))?;
    let row =
        |attachment: &std::sync::Arc<TransitGatewayAttachment>| ec2::TransitGatewayRouteTablePropagation {
            resource_id: some(attachment.to.resource()),
            resource_type: some(attachment.to.kind()),
            state: some("enabled"),
            transit_gateway_attachment_id: some(attachment.id),
            ..Default::default()
        };
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let rows = rows.iter().map(row).collect();
    let (transit_gateway_route_table_propagations, next_token) = call.list(rows, listing)?;
    Ok(ec2::GetTransitGatewayRouteTablePropagationsResult {
        next_token,
        transit_gateway_route_table_propagations,
    })
}

fn propagations_of(
    call: &Call<'_>,
    request: ec2::GetTransitGatewayAttachmentPropagationsRequest,
) -> Result<ec2::GetTransitGatewayAttachmentPropagationsResult, AwsError> {
    let id = parameters::required(request.transit_gateway_attachment_id, "TransitGatewayAttachmentId")?;
    let attachment = attached(call, parameters::id(&id)?)?;
    let row = |table: &TransitGatewayRouteTableId| ec2::TransitGatewayAttachmentPropagation {
        state: some("enabled"),
        transit_gateway_route_table_id: some(table),
    };
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let rows = attachment.propagations.iter().map(row).collect();
    let (transit_gateway_attachment_propagations, next_token) = call.list(rows, listing)?;
    Ok(ec2::GetTransitGatewayAttachmentPropagationsResult {
        next_token,
        transit_gateway_attachment_propagations,
    })
}
