//! Route tables and their associations. The local routes that the model implies are shown first.

use postern_model::route::{Route, RouteDestination, RouteTable, RouteTarget};
use postern_model::subnet::Subnet;
use postern_model::vpc::Vpc;
use postern_model::{Action, IpNet, RouteTableAssociationId, State, VpnGatewayId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, each, none, text};
use super::pagination::Bounds;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::view::{created, some, tags};
use super::{error, tag};

const BOUNDS: Bounds = Bounds { least: 5, most: 100 };

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateRouteTable = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, &["VpcId"]],
        asked: &[Asked::New("route-table"), Asked::Named(By::Id, "VpcId")],
    },
    operation! { write DeleteRouteTable = delete;
        honoured: &[DRY_RUN, &["RouteTableId"]],
        asked: &[Asked::Named(By::Id, "RouteTableId")],
    },
    operation! { read DescribeRouteTables = describe; filters: filters::names::<ec2::RouteTable>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["RouteTableId"]],
    },
    operation! { write AssociateRouteTable = associate;
        honoured: &[DRY_RUN, &["RouteTableId", "SubnetId"]],
        asked: &[Asked::Named(By::Id, "RouteTableId"), Asked::Named(By::Id, "SubnetId")],
    },
    operation! { write DisassociateRouteTable = disassociate;
        honoured: &[DRY_RUN, &["AssociationId"]],
        asked: &[Asked::Named(By::Association, "AssociationId")],
    },
    operation! { write ReplaceRouteTableAssociation = replace_association;
        honoured: &[DRY_RUN, &["AssociationId", "RouteTableId"]],
        asked: &[Asked::Named(By::Id, "RouteTableId"), Asked::Named(By::Association, "AssociationId")],
    },
];

fn show_route(state: &State, table: &RouteTable, route: &Route) -> ec2::Route {
    let blackhole = route.is_blackhole(state, table.vpc);
    let mut shown = ec2::Route {
        origin: some("CreateRoute"),
        state: some(if blackhole { "blackhole" } else { "active" }),
        ..ec2::Route::default()
    };
    match route.destination {
        RouteDestination::Cidr(cidr @ IpNet::V4(_)) => shown.destination_cidr_block = some(cidr),
        RouteDestination::Cidr(cidr @ IpNet::V6(_)) => shown.destination_ipv6_cidr_block = some(cidr),
        RouteDestination::PrefixList(list) => shown.destination_prefix_list_id = some(list),
    }
    match route.target {
        RouteTarget::InternetGateway(id) => shown.gateway_id = some(id),
        RouteTarget::VpcEndpoint(id) => shown.gateway_id = some(id),
        RouteTarget::VpnGateway(id) => shown.gateway_id = some(id),
        RouteTarget::TransitGateway(id) => shown.transit_gateway_id = some(id),
        RouteTarget::VpcPeering(id) => shown.vpc_peering_connection_id = some(id),
        RouteTarget::NatGateway(id) => shown.nat_gateway_id = some(id),
        RouteTarget::NetworkInterface(id) => {
            shown.network_interface_id = some(id);
            let interface = state.network_interfaces.get(&id);
            let instance = interface.and_then(|interface| interface.attachment).and_then(|a| a.instance);
            shown.instance_id = instance.map(|id| id.to_string());
            shown.instance_owner_id = instance.and(interface.map(|interface| interface.owner.to_string()));
        }
    }
    shown
}

fn associations(state: &State, table: &RouteTable) -> Vec<ec2::RouteTableAssociation> {
    let associated = |id: RouteTableAssociationId, subnet: Option<&Subnet>| ec2::RouteTableAssociation {
        association_state: Some(association_state("associated")),
        main: Some(subnet.is_none()),
        route_table_association_id: some(id),
        route_table_id: some(table.id),
        subnet_id: subnet.map(|subnet| subnet.id.to_string()),
        ..ec2::RouteTableAssociation::default()
    };
    let main = state.vpcs.get(&table.vpc).filter(|vpc| vpc.main_route_table == table.id);
    let main = main.map(|vpc| associated(vpc.main_association, None));
    let of_subnet = |subnet: &std::sync::Arc<Subnet>| {
        let (id, _) = subnet.route_table.filter(|(_, chosen)| *chosen == table.id)?;
        Some(associated(id, Some(subnet)))
    };
    main.into_iter().chain(state.subnets.values().filter_map(of_subnet)).collect()
}

fn association_state(state: &str) -> ec2::RouteTableAssociationState {
    ec2::RouteTableAssociationState { state: some(state), status_message: None }
}

fn show(state: &State, table: &RouteTable) -> ec2::RouteTable {
    let blocks = state.vpcs.get(&table.vpc).map(|vpc| vpc.blocks.as_slice()).unwrap_or_default();
    let local = blocks.iter().map(|block| ec2::Route {
        destination_cidr_block: some(block.cidr),
        gateway_id: some("local"),
        origin: some("CreateRouteTable"),
        state: some("active"),
        ..ec2::Route::default()
    });
    let routes = table.routes.values().map(|route| show_route(state, table, route));
    // What a VPN's gateway put into it.
    let propagated = postern_model::vpn::propagated(state, table).into_iter();
    let propagated = propagated.map(|(block, gateway)| ec2::Route {
        destination_cidr_block: some(block),
        gateway_id: some(gateway),
        origin: some("EnableVgwRoutePropagation"),
        state: some("active"),
        ..ec2::Route::default()
    });
    let propagating = |gateway: &VpnGatewayId| ec2::PropagatingVgw { gateway_id: some(gateway) };
    ec2::RouteTable {
        associations: Some(associations(state, table)),
        owner_id: some(table.owner),
        propagating_vgws: Some(table.propagating.iter().map(propagating).collect()),
        route_table_id: some(table.id),
        routes: Some(local.chain(routes).chain(propagated).collect()),
        tags: tags(&table.tags),
        vpc_id: some(table.vpc),
    }
}

impl Row for ec2::RouteTable {
    const FILTERS: FilterTable<Self> = &[
        ("association.gateway-id", |t| each(t.associations.as_ref(), |a| a.gateway_id.clone())),
        ("association.main", |t| each(t.associations.as_ref(), |a| a.main)),
        ("association.route-table-association-id", |t| {
            each(t.associations.as_ref(), |a| a.route_table_association_id.clone())
        }),
        ("association.route-table-id", |t| each(t.associations.as_ref(), |a| a.route_table_id.clone())),
        ("association.subnet-id", |t| each(t.associations.as_ref(), |a| a.subnet_id.clone())),
        ("owner-id", |t| text(t.owner_id.as_ref())),
        ("route-table-id", |t| text(t.route_table_id.as_ref())),
        ("route.carrier-gateway-id", none),
        ("route.destination-cidr-block", |t| each(t.routes.as_ref(), |r| r.destination_cidr_block.clone())),
        ("route.destination-ipv6-cidr-block", |t| {
            each(t.routes.as_ref(), |r| r.destination_ipv6_cidr_block.clone())
        }),
        ("route.destination-prefix-list-id", |t| {
            each(t.routes.as_ref(), |r| r.destination_prefix_list_id.clone())
        }),
        ("route.egress-only-internet-gateway-id", none),
        ("route.gateway-id", |t| each(t.routes.as_ref(), |r| r.gateway_id.clone())),
        ("route.instance-id", |t| each(t.routes.as_ref(), |r| r.instance_id.clone())),
        ("route.nat-gateway-id", |t| each(t.routes.as_ref(), |r| r.nat_gateway_id.clone())),
        ("route.network-interface-id", |t| each(t.routes.as_ref(), |r| r.network_interface_id.clone())),
        ("route.origin", |t| each(t.routes.as_ref(), |r| r.origin.clone())),
        ("route.state", |t| each(t.routes.as_ref(), |r| r.state.clone())),
        ("route.transit-gateway-id", |t| each(t.routes.as_ref(), |r| r.transit_gateway_id.clone())),
        ("route.vpc-peering-connection-id", |t| {
            each(t.routes.as_ref(), |r| r.vpc_peering_connection_id.clone())
        }),
        ("transit-gateway-id", |t| each(t.routes.as_ref(), |r| r.transit_gateway_id.clone())),
        ("vpc-id", |t| text(t.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.route_table_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateRouteTableRequest,
) -> Result<ec2::CreateRouteTableResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["route-table"])?;
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    let client_token = request.client_token;
    let done = call.execute(client_token.as_deref(), Action::CreateRouteTable { vpc, tags }).await?;
    let id = created!(done, RouteTable)?;
    let table = done.state.get::<RouteTable>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateRouteTableResult { client_token, route_table: Some(show(&done.state, &table)) })
}

async fn delete(call: &Call<'_>, request: ec2::DeleteRouteTableRequest) -> Result<(), AwsError> {
    let table = parameters::id(&parameters::required(request.route_table_id, "RouteTableId")?)?;
    call.execute(None, Action::DeleteRouteTable { table }).await.map(|_| ())
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeRouteTablesRequest,
) -> Result<ec2::DescribeRouteTablesResult, AwsError> {
    let rows = call.select::<RouteTable>(&request.route_table_ids)?;
    let rows = rows.iter().map(|table| show(&call.state, table)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (route_tables, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeRouteTablesResult { next_token, route_tables })
}

async fn associate(
    call: &Call<'_>,
    request: ec2::AssociateRouteTableRequest,
) -> Result<ec2::AssociateRouteTableResult, AwsError> {
    let table = parameters::id(&parameters::required(request.route_table_id, "RouteTableId")?)?;
    let subnet = parameters::id(&parameters::required(request.subnet_id, "subnetId")?)?;
    let done = call.execute(None, Action::AssociateRouteTable { table, subnet }).await?;
    let found = done.state.get::<Subnet>(call.account, subnet).map_err(|e| call.refuse(e))?;
    Ok(ec2::AssociateRouteTableResult {
        association_id: found.route_table.map(|(id, _)| id.to_string()),
        association_state: Some(association_state("associated")),
    })
}

fn association(text: Option<String>) -> Result<RouteTableAssociationId, AwsError> {
    parameters::id(&parameters::required(text, "AssociationId")?)
}

async fn disassociate(call: &Call<'_>, request: ec2::DisassociateRouteTableRequest) -> Result<(), AwsError> {
    let association = association(request.association_id)?;
    call.execute(None, Action::DisassociateRouteTable { association }).await.map(|_| ())
}

async fn replace_association(
    call: &Call<'_>,
    request: ec2::ReplaceRouteTableAssociationRequest,
) -> Result<ec2::ReplaceRouteTableAssociationResult, AwsError> {
    use postern_model::route::{Associated, find_association};
    let association = association(request.association_id)?;
    let table = parameters::id(&parameters::required(request.route_table_id, "RouteTableId")?)?;
    let before = find_association(&call.state, call.account, association);
    let done = call.execute(None, Action::ReplaceRouteTableAssociation { association, table }).await?;
    let new = match before {
        Ok((Associated::Subnet(subnet), _)) => {
            let subnet = done.state.get::<Subnet>(call.account, subnet).ok();
            subnet.and_then(|subnet| subnet.route_table).map(|(id, _)| id)
        }
        Ok((Associated::Main(vpc), _)) => {
            done.state.get::<Vpc>(call.account, vpc).ok().map(|vpc| vpc.main_association)
        }
        Err(_) => None,
    };
    let new = new.ok_or_else(|| error::association_not_found(&association.to_string()))?;
    Ok(ec2::ReplaceRouteTableAssociationResult {
        association_state: Some(association_state("associated")),
        new_association_id: some(new),
    })
}
