//! Routes, put into and taken from tables by hand.

use postern_model::route::{RouteDestination, RouteTarget, RouteTargetChoice};
use postern_model::{Action, RouteTableId, VpcEndpointId, VpnGatewayId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::Call;
use super::parameters::{self, DRY_RUN};
use super::table::{Entry, operation};

const DESTINATION: &[&str] =
    &["DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId", "RouteTableId"];
const TARGET: &[&str] = &[
    "GatewayId",
    "InstanceId",
    "NatGatewayId",
    "NetworkInterfaceId",
    "TransitGatewayId",
    "VpcEndpointId",
    "VpcPeeringConnectionId",
];
const NAMED: &[Asked] = &[Asked::Named(By::Id, "RouteTableId")];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateRoute = create; honoured: &[DRY_RUN, DESTINATION, TARGET], asked: NAMED },
    operation! { write ReplaceRoute = replace;
        honoured: &[DRY_RUN, DESTINATION, TARGET],
        only: &[("LocalTarget", &["false"])],
        asked: NAMED,
    },
    operation! { write DeleteRoute = delete; honoured: &[DRY_RUN, DESTINATION], asked: NAMED },
];

/// What of several exclusive parameters is given.
fn only_one<'a>(given: &[Option<&'a str>], what: &str) -> Result<&'a str, AwsError> {
    let mut given = given.iter().copied().flatten();
    match (given.next(), given.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(parameters::missing(what)),
        (Some(_), Some(_)) => Err(parameters::combination(format!("Exactly one {what} must be given"))),
    }
}

fn destination(v4: Option<&str>, v6: Option<&str>, list: Option<&str>) -> Result<RouteDestination, AwsError> {
    only_one(&[v4, v6, list], "destinationCidrBlock")?;
    if let Some(text) = v4 {
        return Ok(RouteDestination::Cidr(parameters::ipv4_block(text, "destinationCidrBlock")?.into()));
    }
    if let Some(text) = v6 {
        return Ok(RouteDestination::Cidr(parameters::ipv6_block(text, "destinationIpv6CidrBlock")?));
    }
    parameters::id(list.unwrap_or_default()).map(RouteDestination::PrefixList)
}

/// The parameters that may name a target.
struct Targets<'a> {
    gateway: Option<&'a str>,
    instance: Option<&'a str>,
    nat_gateway: Option<&'a str>,
    interface: Option<&'a str>,
    endpoint: Option<&'a str>,
    peering: Option<&'a str>,
    transit: Option<&'a str>,
}

fn target(given: &Targets<'_>) -> Result<RouteTargetChoice, AwsError> {
    let Targets { gateway, instance, nat_gateway, interface, endpoint, peering, transit } = *given;
    only_one(&[gateway, instance, nat_gateway, interface, endpoint, peering, transit], "target")?;
    let target = if let Some(text) = gateway {
        by_gateway(text)?
    } else if let Some(text) = nat_gateway {
        RouteTarget::NatGateway(parameters::id(text)?)
    } else if let Some(text) = interface {
        RouteTarget::NetworkInterface(parameters::id(text)?)
    } else if let Some(text) = endpoint {
        RouteTarget::VpcEndpoint(parameters::id(text)?)
    } else if let Some(text) = peering {
        RouteTarget::VpcPeering(parameters::id(text)?)
    } else if let Some(text) = transit {
        RouteTarget::TransitGateway(parameters::id(text)?)
    } else {
        return parameters::id(instance.unwrap_or_default()).map(RouteTargetChoice::Instance);
    };
    Ok(RouteTargetChoice::Target(target))
}

/// `GatewayId` takes virtual private gateways as well, and endpoints, which the model refuses in AWS's way.
fn by_gateway(text: &str) -> Result<RouteTarget, AwsError> {
    if let Ok(gateway) = text.parse::<VpnGatewayId>() {
        return Ok(RouteTarget::VpnGateway(gateway));
    }
    match text.parse::<VpcEndpointId>() {
        Ok(endpoint) => Ok(RouteTarget::VpcEndpoint(endpoint)),
        Err(_) => parameters::id(text).map(RouteTarget::InternetGateway),
    }
}

fn table(text: Option<&str>) -> Result<RouteTableId, AwsError> {
    parameters::id(parameters::required(text, "RouteTableId")?)
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateRouteRequest,
) -> Result<ec2::CreateRouteResult, AwsError> {
    let table = table(request.route_table_id.as_deref())?;
    let destination = destination(
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    let target = target(&Targets {
        gateway: request.gateway_id.as_deref(),
        instance: request.instance_id.as_deref(),
        nat_gateway: request.nat_gateway_id.as_deref(),
        interface: request.network_interface_id.as_deref(),
        endpoint: request.vpc_endpoint_id.as_deref(),
        peering: request.vpc_peering_connection_id.as_deref(),
        transit: request.transit_gateway_id.as_deref(),
    })?;
    call.execute(None, Action::CreateRoute { table, destination, target }).await?;
    Ok(ec2::CreateRouteResult { r#return: Some(true) })
}

async fn replace(call: &Call<'_>, request: ec2::ReplaceRouteRequest) -> Result<(), AwsError> {
    let table = table(request.route_table_id.as_deref())?;
    let destination = destination(
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    let target = target(&Targets {
        gateway: request.gateway_id.as_deref(),
        instance: request.instance_id.as_deref(),
        nat_gateway: request.nat_gateway_id.as_deref(),
        interface: request.network_interface_id.as_deref(),
        endpoint: request.vpc_endpoint_id.as_deref(),
        peering: request.vpc_peering_connection_id.as_deref(),
        transit: request.transit_gateway_id.as_deref(),
    })?;
    call.execute(None, Action::ReplaceRoute { table, destination, target }).await.map(|_| ())
}

async fn delete(call: &Call<'_>, request: ec2::DeleteRouteRequest) -> Result<(), AwsError> {
    let table = table(request.route_table_id.as_deref())?;
    let destination = destination(
        request.destination_cidr_block.as_deref(),
        request.destination_ipv6_cidr_block.as_deref(),
        request.destination_prefix_list_id.as_deref(),
    )?;
    call.execute(None, Action::DeleteRoute { table, destination }).await.map(|_| ())
}
