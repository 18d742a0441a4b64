//! VPC endpoints. Gateway endpoints are served; the other kinds are refused by name.

use std::collections::BTreeSet;

use postern_model::endpoint::{EndpointChange, EndpointKind, NewGatewayEndpoint, VpcEndpoint};
use postern_model::{Action, State, VpcEndpointId};
use postern_policy::{DEFAULT_GATEWAY_ENDPOINT_POLICY, Kind, PolicyDocument, unenforceable};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, text};
use super::pagination::Bounds;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags, timestamp};
use crate::directory::condition_keys;

/// "Constraint: If the value is greater than 1,000, we return only 1,000 items."
const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };
/// How many endpoints one request may delete.
const MAX_DELETED: usize = 25;

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateVpcEndpoint = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, &[
            "PolicyDocument", "RouteTableId", "ServiceName", "ServiceRegion", "VpcEndpointType", "VpcId",
        ]],
        only: &[("IpAddressType", &["ipv4"]), ("PrivateDnsEnabled", &["false"])],
        asked: &[
            Asked::New("vpc-endpoint"),
            Asked::Named(By::Id, "VpcId"),
            Asked::Named(By::Id, "RouteTableId"),
        ],
    },
    operation! { write ModifyVpcEndpoint = modify;
        honoured: &[DRY_RUN, &[
            "AddRouteTableId", "PolicyDocument", "RemoveRouteTableId", "ResetPolicy", "VpcEndpointId",
        ]],
        only: &[("IpAddressType", &["ipv4"]), ("PrivateDnsEnabled", &["false"])],
        asked: &[
            Asked::Named(By::Id, "VpcEndpointId"),
            Asked::Named(By::Id, "AddRouteTableId"),
            Asked::Named(By::Id, "RemoveRouteTableId"),
        ],
    },
    operation! { read DescribeVpcEndpoints = describe; filters: filters::names::<ec2::VpcEndpoint>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["VpcEndpointId"]],
    },
    operation! { write DeleteVpcEndpoints = delete;
        honoured: &[DRY_RUN, &["VpcEndpointId"]],
        asked: &[Asked::Named(By::Id, "VpcEndpointId")],
    },
];

/// `VpcEndpointType`.
pub fn kind_name(kind: EndpointKind) -> &'static str {
    match kind {
        EndpointKind::Gateway => "Gateway",
    }
}

fn show(state: &State, endpoint: &VpcEndpoint) -> ec2::VpcEndpoint {
    let policy = endpoint.policy.as_deref().unwrap_or(match endpoint.kind {
        EndpointKind::Gateway => DEFAULT_GATEWAY_ENDPOINT_POLICY,
    });
    ec2::VpcEndpoint {
        creation_timestamp: Some(timestamp(endpoint.created_at)),
        dns_entries: Some(Vec::new()),
        groups: Some(Vec::new()),
        ip_address_type: some("ipv4"),
        network_interface_ids: Some(Vec::new()),
        owner_id: some(endpoint.owner),
        policy_document: some(policy),
        private_dns_enabled: Some(false),
        requester_managed: Some(false),
        route_table_ids: Some(endpoint.route_tables.iter().map(ToString::to_string).collect()),
        service_name: some(&endpoint.service_name),
        service_region: some(&state.region.name),
        state: some(endpoint.state.name()),
        subnet_ids: Some(Vec::new()),
        tags: tags(&endpoint.tags),
        vpc_endpoint_id: some(endpoint.id),
        vpc_endpoint_type: some(kind_name(endpoint.kind)),
        vpc_id: some(endpoint.vpc),
        ..Default::default()
    }
}

impl Row for ec2::VpcEndpoint {
    const FILTERS: FilterTable<Self> = &[
        ("ip-address-type", |e| text(e.ip_address_type.as_ref())),
        ("service-name", |e| text(e.service_name.as_ref())),
        ("service-region", |e| text(e.service_region.as_ref())),
        ("vpc-endpoint-id", |e| text(e.vpc_endpoint_id.as_ref())),
        ("vpc-endpoint-state", |e| text(e.state.as_ref())),
        ("vpc-endpoint-type", |e| text(e.vpc_endpoint_type.as_ref())),
        ("vpc-id", |e| text(e.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.vpc_endpoint_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

/// Makes sure that a policy can be read, and that all of it can be enforced. It is stored as it was given.
fn check_policy(text: &str) -> Result<(), AwsError> {
    let invalid = |why: String| AwsError::new("InvalidPolicyDocument", why);
    let document = PolicyDocument::parse(text, Kind::Endpoint { gateway: true })
        .map_err(|problem| invalid(format!("The policy document is invalid: {problem}.")))?;
    match unenforceable(&document, &condition_keys::is_provided).first() {
        None => Ok(()),
        Some(key) => Err(invalid(format!(
            "The condition key {key} cannot be enforced by this endpoint yet, so the policy is not stored."
        ))),
    }
}

fn check_kind(kind: Option<&str>) -> Result<(), AwsError> {
    match kind {
        None | Some("Gateway") => Ok(()),
        Some(other) => Err(error::not_served(&format!(
            "The value ({other}) of the parameter VpcEndpointType is not supported by this endpoint yet: only \
             gateway endpoints are served"
        ))),
    }
}

fn check_region(call: &Call<'_>, region: Option<&str>) -> Result<(), AwsError> {
    match region {
        Some(other) if other != call.region() => Err(AwsError::new(
            "InvalidParameter",
            format!("ServiceRegion ({other}) is applicable only to Interface VPC Endpoints."),
        )),
        Some(_) | None => Ok(()),
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateVpcEndpointRequest,
) -> Result<ec2::CreateVpcEndpointResult, AwsError> {
    check_kind(request.vpc_endpoint_type.as_deref())?;
    check_region(call, request.service_region.as_deref())?;
    let [tags] = tag::of_new(request.tag_specifications, ["vpc-endpoint"])?;
    if let Some(policy) = &request.policy_document {
        check_policy(policy)?;
    }
    let action = Action::CreateGatewayEndpoint(NewGatewayEndpoint {
        vpc: parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?,
        service_name: parameters::required(request.service_name, "ServiceName")?,
        route_tables: parameters::ids(&request.route_table_ids)?,
        policy: request.policy_document,
        tags,
    });
    let client_token = request.client_token;
    let done = call.execute(client_token.as_deref(), action).await?;
    let id = created!(done, VpcEndpoint)?;
    let endpoint = done.state.get::<VpcEndpoint>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateVpcEndpointResult { client_token, vpc_endpoint: Some(show(&done.state, &endpoint)) })
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyVpcEndpointRequest,
) -> Result<ec2::ModifyVpcEndpointResult, AwsError> {
    let endpoint = parameters::id(&parameters::required(request.vpc_endpoint_id, "VpcEndpointId")?)?;
    let policy = match (request.policy_document, request.reset_policy.unwrap_or(false)) {
        (Some(_), true) => {
            return Err(parameters::combination("PolicyDocument and ResetPolicy cannot be given together"));
        }
        (Some(policy), false) => {
            check_policy(&policy)?;
            Some(Some(policy))
        }
        (None, true) => Some(None),
        (None, false) => None,
    };
    let change = EndpointChange {
        add_route_tables: parameters::ids(&request.add_route_table_ids)?,
        remove_route_tables: parameters::ids(&request.remove_route_table_ids)?,
        policy,
    };
    call.execute(None, Action::ModifyVpcEndpoint { endpoint, change }).await?;
    Ok(ec2::ModifyVpcEndpointResult { r#return: Some(true) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpcEndpointsRequest,
) -> Result<ec2::DescribeVpcEndpointsResult, AwsError> {
    let rows = call.select::<VpcEndpoint>(&request.vpc_endpoint_ids)?;
    let rows = rows.iter().map(|endpoint| show(&call.state, endpoint)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results.map(|most| most.min(BOUNDS.most)),
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (vpc_endpoints, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeVpcEndpointsResult { next_token, vpc_endpoints })
}

/// Endpoints that are not there are told in the answer; the others are deleted together.
async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteVpcEndpointsRequest,
) -> Result<ec2::DeleteVpcEndpointsResult, AwsError> {
    if request.vpc_endpoint_ids.is_empty() {
        return Err(parameters::missing("VpcEndpointId"));
    }
    if request.vpc_endpoint_ids.len() > MAX_DELETED {
        let why = format!("At most {MAX_DELETED} endpoints can be deleted at once.");
        return Err(parameters::invalid("vpcEndpointId", request.vpc_endpoint_ids.len(), &why));
    }
    let ids: BTreeSet<VpcEndpointId> = parameters::ids(&request.vpc_endpoint_ids)?.into_iter().collect();
    let (there, missing): (Vec<_>, Vec<_>) =
        ids.into_iter().partition(|id| call.state.get::<VpcEndpoint>(call.account, *id).is_ok());
    let deletions: Vec<_> =
        there.into_iter().map(|endpoint| Action::DeleteVpcEndpoint { endpoint }).collect();
    // What changes nothing makes no revision.
    if !deletions.is_empty() || call.is_dry_run() {
        call.execute(None, Action::Batch(deletions)).await?;
    }
    let unsuccessful = missing.into_iter().map(|endpoint| ec2::UnsuccessfulItem {
        error: Some(ec2::UnsuccessfulItemError {
            // Only this operation says it so.
            code: some("InvalidVpcEndpoint.NotFound"),
            message: some(error::not_found(&[endpoint.into()]).message),
        }),
        resource_id: some(endpoint),
    });
    Ok(ec2::DeleteVpcEndpointsResult { unsuccessful: Some(unsuccessful.collect()) })
}
