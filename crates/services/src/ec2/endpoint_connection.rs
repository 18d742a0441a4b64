//! The endpoints that are connected to the caller's services, or want to be.
//!
//! INVARIANT: an owner of a service learns of an endpoint what AWS tells, its id, account, state and names, and nothing of
//! its VPC.

use postern_model::endpoint::VpcEndpoint;
use postern_model::endpoint_service::{
    EndpointService, EndpointServiceAction, check_connection, connections,
};
use postern_model::{Action, State, VpcEndpointId};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::endpoint_service_configuration::{BOUNDS, arns, named, unsuccessful_item};
use super::error;
use super::filters::{self, FilterTable, Row, text};
use super::parameters::{self, DRY_RUN, FILTERS, PAGES};
use super::table::{Entry, operation};
use super::view::{some, timestamp};

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { read DescribeVpcEndpointConnections = describe;
        filters: filters::names::<ec2::VpcEndpointConnection>,
        honoured: &[DRY_RUN, FILTERS, PAGES],
    },
    operation! { write AcceptVpcEndpointConnections = accept;
        honoured: &[DRY_RUN, &["ServiceId", "VpcEndpointId"]],
        asked: &[Asked::Named(By::Id, "ServiceId")],
    },
    operation! { write RejectVpcEndpointConnections = reject;
        honoured: &[DRY_RUN, &["ServiceId", "VpcEndpointId"]],
        asked: &[Asked::Named(By::Id, "ServiceId")],
    },
];

fn show(state: &State, service: &EndpointService, endpoint: &VpcEndpoint) -> ec2::VpcEndpointConnection {
    let names = endpoint.dns(state).own.into_iter();
    let entry = |(name, _): (String, Vec<_>)| ec2::DnsEntry { dns_name: Some(name), hosted_zone_id: None };
    ec2::VpcEndpointConnection {
        creation_timestamp: Some(timestamp(endpoint.created_at)),
        dns_entries: Some(names.map(entry).collect()),
        ip_address_type: some("ipv4"),
        network_load_balancer_arns: Some(arns(state, service)),
        service_id: some(service.id),
        tags: Some(Vec::new()),
        vpc_endpoint_connection_id: some(format!("vpce-con-{:017x}", endpoint.id.number())),
        vpc_endpoint_id: some(endpoint.id),
        vpc_endpoint_owner: some(endpoint.owner),
        vpc_endpoint_region: some(&state.region.name),
        vpc_endpoint_state: some(endpoint.state.name()),
        ..Default::default()
    }
}

impl Row for ec2::VpcEndpointConnection {
    const FILTERS: FilterTable<Self> = &[
        ("ip-address-type", |c| text(c.ip_address_type.as_ref())),
        ("service-id", |c| text(c.service_id.as_ref())),
        ("vpc-endpoint-id", |c| text(c.vpc_endpoint_id.as_ref())),
        ("vpc-endpoint-owner", |c| text(c.vpc_endpoint_owner.as_ref())),
        ("vpc-endpoint-region", |c| text(c.vpc_endpoint_region.as_ref())),
        ("vpc-endpoint-state", |c| text(c.vpc_endpoint_state.as_ref())),
    ];
    const TAGGED: bool = false;

    fn key(&self) -> String {
        self.vpc_endpoint_id.clone().unwrap_or_default()
    }
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpcEndpointConnectionsRequest,
) -> Result<ec2::DescribeVpcEndpointConnectionsResult, AwsError> {
    let state = &call.state;
    let of_service = |service: &std::sync::Arc<EndpointService>| {
        let rows = connections(state, service).map(|endpoint| show(state, service, endpoint));
        rows.collect::<Vec<_>>()
    };
    let rows = state.visible::<EndpointService>(call.account).flat_map(of_service).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results.map(|most| most.min(BOUNDS.most)),
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (vpc_endpoint_connections, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeVpcEndpointConnectionsResult { next_token, vpc_endpoint_connections })
}

async fn accept(
    call: &Call<'_>,
    request: ec2::AcceptVpcEndpointConnectionsRequest,
) -> Result<ec2::AcceptVpcEndpointConnectionsResult, AwsError> {
    let unsuccessful = Some(decide(call, request.service_id, &request.vpc_endpoint_ids, true).await?);
    Ok(ec2::AcceptVpcEndpointConnectionsResult { unsuccessful })
}

async fn reject(
    call: &Call<'_>,
    request: ec2::RejectVpcEndpointConnectionsRequest,
) -> Result<ec2::RejectVpcEndpointConnectionsResult, AwsError> {
    let unsuccessful = Some(decide(call, request.service_id, &request.vpc_endpoint_ids, false).await?);
    Ok(ec2::RejectVpcEndpointConnectionsResult { unsuccessful })
}

/// Accepts or rejects what can be; the rest is told in the answer.
async fn decide(
    call: &Call<'_>,
    service: Option<String>,
    endpoints: &[String],
    accept: bool,
) -> Result<Vec<ec2::UnsuccessfulItem>, AwsError> {
    let id = named(call, service)?;
    if endpoints.is_empty() {
        return Err(parameters::missing("VpcEndpointId"));
    }
    let service = call.state.get::<EndpointService>(call.account, id).map_err(|e| call.refuse(e))?;
    let wanted: Vec<VpcEndpointId> = parameters::ids(endpoints)?;
    let (mut decided, mut unsuccessful) = (Vec::new(), Vec::new());
    for wanted in wanted {
        let found = connections(&call.state, &service).find(|endpoint| endpoint.id == wanted);
        let refused = match found.map(|endpoint| check_connection(endpoint, accept)) {
            Some(Ok(())) => {
                decided.push(wanted);
                continue;
            }
            Some(Err(refusal)) => AwsError::new("InvalidState", call.refuse(refusal).message),
            None => AwsError::new("InvalidVpcEndpoint.NotFound", error::not_found(&[wanted.into()]).message),
        };
        unsuccessful.push(unsuccessful_item(wanted.to_string(), refused));
    }
    // What changes nothing makes no revision.
    if !decided.is_empty() || call.is_dry_run() {
        let (service, endpoints) = (id, decided);
        call.execute(
            None,
            Action::EndpointService(match accept {
                true => EndpointServiceAction::AcceptConnections { service, endpoints },
                false => EndpointServiceAction::RejectConnections { service, endpoints },
            }),
        )
        .await?;
    }
    Ok(unsuccessful)
}
