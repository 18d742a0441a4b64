//! VPN connections, their static routes, and the route tables that have them. One that ends at a transit gateway is attached to
//! it, and has its routes in the gateway's tables.
//!
//! A connection's tunnel is what `postern attach --vpn` plugs into it: there is no IPsec and no BGP, so a connection has
//! static routes only, and no configuration for a device.

use postern_model::vpn::{VpnAction, VpnConnection, VpnEnd};
use postern_model::{Action, ResourceId, State, VpnConnectionId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::Call;
use super::error;
use super::filters::{self, FilterTable, Row, each, none, text};
use super::parameters::{self, DRY_RUN, FILTERS, NEW_TAGS};
use super::table::{Entry, operation};
use super::tag;
use super::view::{some, tags, timestamp};
use super::vpn_gateway::check_type;

const NAMED: &[Asked] = &[Asked::Named(By::Id, "VpnConnectionId")];
const PROPAGATION: &[Asked] = &[Asked::Named(By::Id, "RouteTableId"), Asked::Named(By::Id, "GatewayId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateVpnConnection = create;
        honoured: &[
            DRY_RUN, NEW_TAGS,
            &["CustomerGatewayId", "Options.StaticRoutesOnly", "TransitGatewayId", "Type", "VpnGatewayId"],
        ],
        only: &[("Options.EnableAcceleration", &["false"]), ("Options.TunnelInsideIpVersion", &["ipv4"])],
        asked: &[
            Asked::New("vpn-connection"),
            Asked::Named(By::Id, "CustomerGatewayId"),
            Asked::Named(By::Id, "VpnGatewayId"),
            Asked::Named(By::Id, "TransitGatewayId"),
        ],
    },
    operation! { write DeleteVpnConnection = delete;
        honoured: &[DRY_RUN, &["VpnConnectionId"]],
        asked: NAMED,
    },
    operation! { read DescribeVpnConnections = describe; filters: filters::names::<ec2::VpnConnection>,
        honoured: &[DRY_RUN, FILTERS, &["VpnConnectionId"]],
    },
    operation! { write CreateVpnConnectionRoute = create_route;
        honoured: &[&["DestinationCidrBlock", "VpnConnectionId"]],
        asked: NAMED,
    },
    operation! { write DeleteVpnConnectionRoute = delete_route;
        honoured: &[&["DestinationCidrBlock", "VpnConnectionId"]],
        asked: NAMED,
    },
    operation! { write EnableVgwRoutePropagation = enable;
        honoured: &[DRY_RUN, &["GatewayId", "RouteTableId"]],
        asked: PROPAGATION,
    },
    operation! { write DisableVgwRoutePropagation = disable;
        honoured: &[DRY_RUN, &["GatewayId", "RouteTableId"]],
        asked: PROPAGATION,
    },
];

fn show(state: &State, connection: &VpnConnection) -> ec2::VpnConnection {
    let link = connection.link;
    let outside = state.customer_gateways.get(&connection.customer_gateway).map(|gateway| gateway.address);
    let route = |block| ec2::VpnStaticRoute {
        destination_cidr_block: some(block),
        source: some("Static"),
        state: some("available"),
    };
    let (vpn_gateway_id, transit_gateway_id) = match connection.near {
        VpnEnd::Virtual(id) => (some(id), None),
        VpnEnd::Transit(id) => (None, some(id)),
    };
    ec2::VpnConnection {
        category: some("VPN"),
        customer_gateway_id: some(connection.customer_gateway),
        options: Some(ec2::VpnConnectionOptions {
            enable_acceleration: Some(false),
            static_routes_only: Some(true),
            tunnel_inside_ip_version: some("ipv4"),
            tunnel_options: Some(vec![ec2::TunnelOption {
                tunnel_inside_cidr: some(link.inside),
                ..Default::default()
            }]),
            ..Default::default()
        }),
        routes: Some(connection.routes.iter().map(route).collect()),
        state: some("available"),
        tags: tags(&connection.tags),
        r#type: some("ipsec.1"),
        vgw_telemetry: Some(vec![ec2::VgwTelemetry {
            accepted_route_count: i64::try_from(connection.routes.len()).ok(),
            last_status_change: Some(timestamp(link.changed_at)),
            outside_ip_address: outside.map(|address| address.to_string()),
            status: some(if link.up { "UP" } else { "DOWN" }),
            status_message: some(if link.up { "" } else { "Nothing is plugged into the tunnel" }),
            ..Default::default()
        }]),
        vpn_connection_id: some(connection.id),
        vpn_gateway_id,
        transit_gateway_id,
        ..Default::default()
    }
}

impl Row for ec2::VpnConnection {
    const FILTERS: FilterTable<Self> = &[
        ("customer-gateway-configuration", none),
        ("customer-gateway-id", |c| text(c.customer_gateway_id.as_ref())),
        ("option.static-routes-only", |c| {
            let only = c.options.as_ref().and_then(|options| options.static_routes_only);
            text(only.map(|only| only.to_string()).as_ref())
        }),
        ("route.destination-cidr-block", |c| each(c.routes.as_ref(), |r| r.destination_cidr_block.clone())),
        ("state", |c| text(c.state.as_ref())),
        ("transit-gateway-id", |c| text(c.transit_gateway_id.as_ref())),
        ("type", |c| text(c.r#type.as_ref())),
        ("vpn-connection-id", |c| text(c.vpn_connection_id.as_ref())),
        ("vpn-gateway-id", |c| text(c.vpn_gateway_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.vpn_connection_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateVpnConnectionRequest,
) -> Result<ec2::CreateVpnConnectionResult, AwsError> {
    check_type(request.r#type.as_deref())?;
    let [tags] = tag::of_new(request.tag_specifications, ["vpn-connection"])?;
    let customer_gateway =
        parameters::id(&parameters::required(request.customer_gateway_id, "CustomerGatewayId")?)?;
    let near = match (request.vpn_gateway_id, request.transit_gateway_id) {
        (Some(id), None) => VpnEnd::Virtual(parameters::id(&id)?),
        (None, Some(id)) => VpnEnd::Transit(parameters::id(&id)?),
        (None, None) => return Err(parameters::missing("VpnGatewayId")),
        (Some(_), Some(_)) => {
            let why = "VpnGatewayId and TransitGatewayId cannot be given together";
            return Err(parameters::combination(why));
        }
    };
    // "Default: false", which is BGP.
    if request.options.and_then(|options| options.static_routes_only) != Some(true) {
        return Err(error::unsupported_value("Options.StaticRoutesOnly", "false", &["true"]));
    }
    let action = VpnAction::CreateConnection { customer_gateway, near, tags };
    let done = call.execute(None, Action::Vpn(action)).await?;
    // One that is there already is changed by nothing, and answered.
    let named = done.events.iter().find_map(|event| match event {
        postern_model::Event::Created(ResourceId::VpnConnection(id))
        | postern_model::Event::Changed(ResourceId::VpnConnection(id)) => Some(*id),
        postern_model::Event::Created(_)
        | postern_model::Event::Changed(_)
        | postern_model::Event::Deleted(_)
        | postern_model::Event::IdentityChanged => None,
    });
    let id = named.ok_or_else(|| error::internal("the command created nothing"))?;
    let connection = done.state.get::<VpnConnection>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateVpnConnectionResult { vpn_connection: Some(show(&done.state, &connection)) })
}

fn id(text: Option<String>) -> Result<VpnConnectionId, AwsError> {
    parameters::id(&parameters::required(text, "VpnConnectionId")?)
}

async fn delete(call: &Call<'_>, request: ec2::DeleteVpnConnectionRequest) -> Result<(), AwsError> {
    let connection = id(request.vpn_connection_id)?;
    call.execute(None, Action::Vpn(VpnAction::DeleteConnection { connection })).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpnConnectionsRequest,
) -> Result<ec2::DescribeVpnConnectionsResult, AwsError> {
    let rows = call.select::<VpnConnection>(&request.vpn_connection_ids)?;
    let rows = rows.iter().map(|connection| show(&call.state, connection)).collect();
    Ok(ec2::DescribeVpnConnectionsResult { vpn_connections: call.all(rows, &request.filters)? })
}

async fn create_route(
    call: &Call<'_>,
    request: ec2::CreateVpnConnectionRouteRequest,
) -> Result<(), AwsError> {
    let connection = id(request.vpn_connection_id)?;
    let text = parameters::required(request.destination_cidr_block, "DestinationCidrBlock")?;
    let block = parameters::ipv4_block(&text, "destinationCidrBlock")?;
    call.execute(None, Action::Vpn(VpnAction::CreateRoute { connection, block })).await.map(|_| ())
}

async fn delete_route(
    call: &Call<'_>,
    request: ec2::DeleteVpnConnectionRouteRequest,
) -> Result<(), AwsError> {
    let connection = id(request.vpn_connection_id)?;
    let text = parameters::required(request.destination_cidr_block, "DestinationCidrBlock")?;
    let block = parameters::ipv4_block(&text, "destinationCidrBlock")?;
    call.execute(None, Action::Vpn(VpnAction::DeleteRoute { connection, block })).await.map(|_| ())
}

async fn enable(call: &Call<'_>, request: ec2::EnableVgwRoutePropagationRequest) -> Result<(), AwsError> {
    propagate(call, request.route_table_id, request.gateway_id, true).await
}

async fn disable(call: &Call<'_>, request: ec2::DisableVgwRoutePropagationRequest) -> Result<(), AwsError> {
    propagate(call, request.route_table_id, request.gateway_id, false).await
}

async fn propagate(
    call: &Call<'_>,
    table: Option<String>,
    gateway: Option<String>,
    on: bool,
) -> Result<(), AwsError> {
    let table = parameters::id(&parameters::required(table, "RouteTableId")?)?;
    let gateway = parameters::id(&parameters::required(gateway, "GatewayId")?)?;
    call.execute(None, Action::Vpn(VpnAction::SetPropagation { table, gateway, on })).await.map(|_| ())
}
