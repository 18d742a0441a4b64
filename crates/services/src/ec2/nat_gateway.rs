//! NAT gateways.

use postern_model::gateway::{NatGateway, NatGatewayState};
use postern_model::{Action, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::filters::{self, FilterTable, Row, text};
use super::pagination::USUAL;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags, timestamp, zone_id};

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateNatGateway = create;
        honoured: &[
            DRY_RUN, CLIENT_TOKEN, NEW_TAGS,
            &["AllocationId", "ConnectivityType", "PrivateIpAddress", "SubnetId"],
        ],
        only: &[("AvailabilityMode", &["zonal"])],
        asked: &[
            Asked::New("natgateway"),
            Asked::Named(By::Id, "SubnetId"),
            Asked::Named(By::Id, "AllocationId"),
        ],
    },
    operation! { write DeleteNatGateway = delete;
        honoured: &[DRY_RUN, &["NatGatewayId"]],
        asked: &[Asked::Named(By::Id, "NatGatewayId")],
    },
    operation! { read DescribeNatGateways = describe; filters: filters::names::<ec2::NatGateway>,
        honoured: &[DRY_RUN, &["Filter.Name", "Filter.Value"], PAGES, &["NatGatewayId"]],
    },
];

fn address(state: &State, gateway: &NatGateway) -> ec2::NatGatewayAddress {
    let allocation = gateway.allocation.and_then(|id| state.addresses.get(&id));
    let association = allocation.and_then(|address| address.association);
    let association = association.filter(|a| Some(a.interface) == gateway.interface);
    let zone = state.subnets.get(&gateway.subnet).map(|subnet| subnet.zone.as_str());
    ec2::NatGatewayAddress {
        allocation_id: gateway.allocation.map(|id| id.to_string()),
        association_id: association.map(|association| association.id.to_string()),
        availability_zone: zone.map(str::to_owned),
        availability_zone_id: zone.and_then(|zone| zone_id(state, zone)),
        is_primary: Some(true),
        network_interface_id: gateway.interface.map(|id| id.to_string()),
        private_ip: some(gateway.private_address),
        public_ip: gateway.public_address.map(|address| address.to_string()),
        status: some("succeeded"),
        ..ec2::NatGatewayAddress::default()
    }
}

fn show(state: &State, gateway: &NatGateway) -> ec2::NatGateway {
    ec2::NatGateway {
        availability_mode: some("zonal"),
        connectivity_type: some(if gateway.allocation.is_some() { "public" } else { "private" }),
        create_time: Some(timestamp(gateway.created_at)),
        delete_time: gateway.deleted_at.map(timestamp),
        nat_gateway_addresses: Some(vec![address(state, gateway)]),
        nat_gateway_id: some(gateway.id),
        state: some(gateway.state.name()),
        subnet_id: some(gateway.subnet),
        tags: tags(&gateway.tags),
        vpc_id: some(gateway.vpc),
        ..ec2::NatGateway::default()
    }
}

impl Row for ec2::NatGateway {
    const FILTERS: FilterTable<Self> = &[
        ("nat-gateway-id", |g| text(g.nat_gateway_id.as_ref())),
        ("state", |g| text(g.state.as_ref())),
        ("subnet-id", |g| text(g.subnet_id.as_ref())),
        ("vpc-id", |g| text(g.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.nat_gateway_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateNatGatewayRequest,
) -> Result<ec2::CreateNatGatewayResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["natgateway"])?;
    let subnet = parameters::id(&parameters::required(request.subnet_id, "subnetId")?)?;
    let allocation = parameters::optional_id(request.allocation_id.as_deref())?;
    match (request.connectivity_type.as_deref().unwrap_or("public"), allocation) {
        ("public", None) => return Err(parameters::missing("AllocationId")),
        ("private", Some(_)) => {
            return Err(parameters::combination("A private NAT gateway cannot have an AllocationId"));
        }
        _ => {}
    }
    let private_address = request.private_ip_address.as_deref();
    let private_address =
        private_address.map(|text| parameters::address(text, "privateIpAddress")).transpose()?;
    let client_token = request.client_token;
    let action = Action::CreateNatGateway { subnet, allocation, private_address, tags };
    let done = call.execute(client_token.as_deref(), action).await?;
    let id = created!(done, NatGateway)?;
    let gateway = done.state.get::<NatGateway>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateNatGatewayResult { client_token, nat_gateway: Some(show(&done.state, &gateway)) })
}

async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteNatGatewayRequest,
) -> Result<ec2::DeleteNatGatewayResult, AwsError> {
    let gateway = parameters::id(&parameters::required(request.nat_gateway_id, "NatGatewayId")?)?;
    call.execute(None, Action::DeleteNatGateway { gateway }).await?;
    Ok(ec2::DeleteNatGatewayResult { nat_gateway_id: some(gateway) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeNatGatewaysRequest,
) -> Result<ec2::DescribeNatGatewaysResult, AwsError> {
    let now = call.now().millis();
    // A deleted gateway is shown for an hour; the model keeps it until the account makes the next one.
    let visible = |gateway: &NatGateway| match gateway.state {
        NatGatewayState::Pending | NatGatewayState::Available => true,
        NatGatewayState::Deleted => gateway.deleted_at.is_none_or(|at| {
            let age = now.saturating_sub(timestamp(at).millis());
            u64::try_from(age).unwrap_or(0) <= postern_model::gateway::DELETED_NAT_GATEWAY_SHOWN_MILLISECONDS
        }),
    };
    let rows = call.select::<NatGateway>(&request.nat_gateway_ids)?;
    let rows = rows.iter().filter(|g| visible(g)).map(|gateway| show(&call.state, gateway)).collect();
    let listing = Listing {
        filters: request.filter,
        max_results: request.max_results,
        next_token: request.next_token,
        bounds: USUAL,
    };
    let (nat_gateways, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeNatGatewaysResult { nat_gateways, next_token })
}
