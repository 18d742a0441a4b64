//! Routes of transit gateways' tables: static ones, and the search among them and those that are propagated.

use postern_model::transit::{Found, TransitAction, TransitGatewayRouteTable, routes};
use postern_model::{Action, Ipv4Net, State, TransitGatewayAttachmentId, TransitGatewayRouteTableId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, none, text};
use super::pagination::Bounds;
use super::parameters::{self, DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::transit_table::table_id;
use super::view::some;

/// "MaxResults: … Valid Range: Minimum value of 5. Maximum value of 1000."
const BOUNDS: Bounds = Bounds { least: 5, most: 1000 };
const TARGET: &[&str] =
    &["Blackhole", "DestinationCidrBlock", "TransitGatewayAttachmentId", "TransitGatewayRouteTableId"];
const ASKED: &[Asked] =
    &[Asked::Named(By::Id, "TransitGatewayRouteTableId"), Asked::Named(By::Id, "TransitGatewayAttachmentId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateTransitGatewayRoute = create; honoured: &[DRY_RUN, TARGET], asked: ASKED },
    operation! { write ReplaceTransitGatewayRoute = replace; honoured: &[DRY_RUN, TARGET], asked: ASKED },
    operation! { write DeleteTransitGatewayRoute = delete;
        honoured: &[DRY_RUN, &["DestinationCidrBlock", "TransitGatewayRouteTableId"]],
        asked: &[Asked::Named(By::Id, "TransitGatewayRouteTableId")],
    },
    operation! { read SearchTransitGatewayRoutes = search;
        filters: filter_names,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["TransitGatewayRouteTableId"]],
    },
];

fn filter_names() -> Vec<&'static str> {
    let searches = Search::ALL.iter().map(|(name, _)| *name);
    filters::names::<ec2::TransitGatewayRoute>().into_iter().chain(searches).collect()
}

fn show(state: &State, block: Ipv4Net, route: Found) -> ec2::TransitGatewayRoute {
    let attachment = route.leads_to(state);
    ec2::TransitGatewayRoute {
        destination_cidr_block: some(block),
        state: some(if attachment.is_some() { "active" } else { "blackhole" }),
        transit_gateway_attachments: attachment.map(|attachment| {
            vec![ec2::TransitGatewayRouteAttachment {
                resource_id: some(attachment.to.resource()),
                resource_type: some(attachment.to.kind()),
                transit_gateway_attachment_id: some(attachment.id),
            }]
        }),
        r#type: some(if route.is_static { "static" } else { "propagated" }),
        ..Default::default()
    }
}

impl Row for ec2::TransitGatewayRoute {
    const FILTERS: FilterTable<Self> = &[
        ("attachment.transit-gateway-attachment-id", |r| {
            each(r.transit_gateway_attachments.as_ref(), |a| a.transit_gateway_attachment_id.clone())
        }),
        ("attachment.resource-id", |r| {
            each(r.transit_gateway_attachments.as_ref(), |a| a.resource_id.clone())
        }),
        ("attachment.resource-type", |r| {
            each(r.transit_gateway_attachments.as_ref(), |a| a.resource_type.clone())
        }),
        ("prefix-list-id", none),
        ("state", |r| text(r.state.as_ref())),
        ("type", |r| text(r.r#type.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.destination_cidr_block.clone().unwrap_or_default()
    }
}

/// How routes are searched by a block.
#[derive(Clone, Copy)]
enum Search {
    Exact,
    Longest,
    SubnetOf,
    SupernetOf,
}

impl Search {
    const ALL: [(&'static str, Self); 4] = [
        ("route-search.exact-match", Self::Exact),
        ("route-search.longest-prefix-match", Self::Longest),
        ("route-search.subnet-of-match", Self::SubnetOf),
        ("route-search.supernet-of-match", Self::SupernetOf),
    ];

    /// Whether a route to `route` is found by `wanted` among all the blocks that there are.
    fn finds(self, wanted: Ipv4Net, route: Ipv4Net, all: &[Ipv4Net]) -> bool {
        match self {
            Self::Exact => route == wanted,
            Self::SubnetOf => wanted.contains(&route),
            Self::SupernetOf => route.contains(&wanted),
            Self::Longest => {
                let around = all.iter().filter(|block| block.contains(&wanted));
                around.max_by_key(|block| block.prefix_len()) == Some(&route)
            }
        }
    }
}

fn search(
    call: &Call<'_>,
    request: ec2::SearchTransitGatewayRoutesRequest,
) -> Result<ec2::SearchTransitGatewayRoutesResult, AwsError> {
    let id = table_id(request.transit_gateway_route_table_id)?;
    let table = call.state.get::<TransitGatewayRouteTable>(call.account, id).map_err(|e| call.refuse(e))?;
    if request.filters.is_empty() {
        return Err(parameters::missing("Filters"));
    }
    let mut found = routes(&call.state, &table);
    let all: Vec<Ipv4Net> = found.keys().copied().collect();
    let mut filters = Vec::new();
    for filter in request.filters {
        let name = filter.name.as_deref().unwrap_or_default();
        let Some((_, search)) = Search::ALL.into_iter().find(|(known, _)| *known == name) else {
            filters.push(filter);
            continue;
        };
        if filter.values.is_empty() {
            let message = format!("The filter '{name}' has no values");
            return Err(AwsError::new("InvalidParameterValue", message));
        }
        // An address stands for itself alone.
        let wanted = filter.values.iter().map(|text| {
            let block =
                text.parse::<Ipv4Net>().or_else(|_| text.parse::<std::net::Ipv4Addr>().map(Ipv4Net::from));
            block.map_err(|_| parameters::invalid(name, text, "This is not a valid CIDR block."))
        });
        let wanted = wanted.collect::<Result<Vec<_>, _>>()?;
        found.retain(|block, _| wanted.iter().any(|wanted| search.finds(wanted.trunc(), *block, &all)));
    }
    let rows = found.into_iter().map(|(block, route)| show(&call.state, block, route)).collect();
    let (max_results, next_token) = (request.max_results, request.next_token);
    let (routes, next_token) =
        call.list(rows, Listing { filters, max_results, next_token, bounds: BOUNDS })?;
    Ok(ec2::SearchTransitGatewayRoutesResult {
        additional_routes_available: Some(next_token.is_some()),
        next_token,
        routes,
    })
}

/// What a request says of a route: its table, its block, and where it leads.
type Given = (TransitGatewayRouteTableId, Ipv4Net, Option<TransitGatewayAttachmentId>);

fn given(
    table: Option<String>,
    block: Option<String>,
    attachment: Option<String>,
    blackhole: Option<bool>,
) -> Result<Given, AwsError> {
    let table = table_id(table)?;
    let block = parameters::required(block, "DestinationCidrBlock")?;
    let block = parameters::ipv4_block(&block, "DestinationCidrBlock")?;
    let target = match (attachment, blackhole) {
        (Some(attachment), None | Some(false)) => Some(parameters::id(&attachment)?),
        (None, Some(true)) => None,
        (Some(_), Some(true)) => {
            return Err(parameters::combination(
                "Blackhole and TransitGatewayAttachmentId cannot be given together",
            ));
        }
        (None, None | Some(false)) => return Err(parameters::missing("TransitGatewayAttachmentId")),
    };
    Ok((table, block, target))
}

fn shown(state: &State, (_, block, target): Given) -> Option<ec2::TransitGatewayRoute> {
    Some(show(state, block, Found { target, is_static: true }))
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateTransitGatewayRouteRequest,
) -> Result<ec2::CreateTransitGatewayRouteResult, AwsError> {
    let given = given(
        request.transit_gateway_route_table_id,
        request.destination_cidr_block,
        request.transit_gateway_attachment_id,
        request.blackhole,
    )?;
    let (table, block, target) = given;
    let action = TransitAction::CreateRoute { table, block, target };
    let done = call.execute(None, Action::Transit(action)).await?;
    Ok(ec2::CreateTransitGatewayRouteResult { route: shown(&done.state, given) })
}

async fn replace(
    call: &Call<'_>,
    request: ec2::ReplaceTransitGatewayRouteRequest,
) -> Result<ec2::ReplaceTransitGatewayRouteResult, AwsError> {
    let given = given(
        request.transit_gateway_route_table_id,
        request.destination_cidr_block,
        request.transit_gateway_attachment_id,
        request.blackhole,
    )?;
    let (table, block, target) = given;
    let action = TransitAction::ReplaceRoute { table, block, target };
    let done = call.execute(None, Action::Transit(action)).await?;
    Ok(ec2::ReplaceTransitGatewayRouteResult { route: shown(&done.state, given) })
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteTransitGatewayRouteRequest,
) -> Result<ec2::DeleteTransitGatewayRouteResult, AwsError> {
    let id = table_id(request.transit_gateway_route_table_id)?;
    let block = parameters::required(request.destination_cidr_block, "DestinationCidrBlock")?;
    let block = parameters::ipv4_block(&block, "DestinationCidrBlock")?;
    let before = call.state.get::<TransitGatewayRouteTable>(call.account, id).map_err(|e| call.refuse(e))?;
    call.execute(None, Action::Transit(TransitAction::DeleteRoute { table: id, block })).await?;
    let target = before.routes.get(&block).copied().flatten();
    let route = show(&call.state, block, Found { target, is_static: true });
    let route = ec2::TransitGatewayRoute { state: some("deleted"), ..route };
    Ok(ec2::DeleteTransitGatewayRouteResult { route: Some(route) })
}
