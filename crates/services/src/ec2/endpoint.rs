//! VPC endpoints. Gateway and interface endpoints are served; the other kinds are refused by name.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use postern_model::endpoint::{
    DnsChoice, DnsRecordIpType, EndpointChange, EndpointKind, EndpointState, InterfaceChange,
    NewGatewayEndpoint, NewInterfaceEndpoint, VpcEndpoint,
};
use postern_model::{Action, SubnetId, VpcEndpointId};
use postern_policy::{Kind, PolicyDocument, unenforceable};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::endpoint_view::show;
use super::error;
use super::filters;
use super::pagination::Bounds;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some};
use crate::directory::condition_keys;
use crate::malformed;

/// "Constraint: If the value is greater than 1,000, we return only 1,000 items."
const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };
/// How many endpoints one request may delete.
const MAX_DELETED: usize = 25;
/// What requests say of an interface endpoint's names and addresses.
const OF_INTERFACES: &[&str] = &[
    "DnsOptions.DnsRecordIpType",
    "DnsOptions.PrivateDnsOnlyForInboundResolverEndpoint",
    "PrivateDnsEnabled",
    "SubnetConfiguration.Ipv4",
    "SubnetConfiguration.SubnetId",
];

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateVpcEndpoint = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, OF_INTERFACES, &[
            "PolicyDocument", "ResourceConfigurationArn", "RouteTableId", "SecurityGroupId", "ServiceName",
            "ServiceRegion", "SubnetId", "VpcEndpointType", "VpcId",
        ]],
        only: &[("IpAddressType", &["ipv4"])],
        asked: &[
            Asked::New("vpc-endpoint"),
            Asked::Named(By::Id, "VpcId"),
            Asked::Named(By::Id, "RouteTableId"),
            Asked::Named(By::Id, "SubnetId"),
            Asked::Named(By::Id, "SecurityGroupId"),
        ],
    },
    operation! { write ModifyVpcEndpoint = modify;
        honoured: &[DRY_RUN, OF_INTERFACES, &[
            "AddRouteTableId", "AddSecurityGroupId", "AddSubnetId", "PolicyDocument", "RemoveRouteTableId",
            "RemoveSecurityGroupId", "RemoveSubnetId", "ResetPolicy", "VpcEndpointId",
        ]],
        only: &[("IpAddressType", &["ipv4"])],
        asked: &[
            Asked::Named(By::Id, "VpcEndpointId"),
            Asked::Named(By::Id, "AddRouteTableId"),
            Asked::Named(By::Id, "RemoveRouteTableId"),
            Asked::Named(By::Id, "AddSubnetId"),
            Asked::Named(By::Id, "RemoveSubnetId"),
            Asked::Named(By::Id, "AddSecurityGroupId"),
            Asked::Named(By::Id, "RemoveSecurityGroupId"),
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

/// Makes sure that a policy can be read, and that all of it can be enforced. It is stored as it was given.
fn check_policy(text: &str, kind: EndpointKind) -> Result<(), AwsError> {
    let invalid = |why: String| AwsError::new("InvalidPolicyDocument", why);
    let document = PolicyDocument::parse(text, Kind::Endpoint { gateway: kind == EndpointKind::Gateway })
        .map_err(|problem| invalid(malformed::by_ec2(&problem)))?;
    match unenforceable(&document, &condition_keys::is_provided).first() {
        None => {
            // It is stored as it is, as AWS does; who runs the region can see what was probably not meant.
            for warning in document.warnings() {
                tracing::warn!("the policy of an endpoint is taken, but {warning}");
            }
            Ok(())
        }
        Some(key) => Err(invalid(format!(
            "The condition key {key} cannot be enforced by this endpoint yet, so the policy is not stored."
        ))),
    }
}

fn kind_of(text: Option<&str>) -> Result<EndpointKind, AwsError> {
    match text {
        None | Some("Gateway") => Ok(EndpointKind::Gateway),
        Some("Interface") => Ok(EndpointKind::Interface),
        Some(other) => Err(error::not_served(&format!(
            "The value ({other}) of the parameter VpcEndpointType is not supported by this endpoint yet: gateway and \
             interface endpoints are served"
        ))),
    }
}

/// What a request gave that only another kind of endpoint has.
fn not_applicable(parameter: &str, kind: EndpointKind) -> AwsError {
    let name = kind.name();
    AwsError::new("InvalidParameter", format!("{parameter} is applicable only to {name} VPC Endpoints."))
}

/// What a request says of an interface endpoint's names and addresses.
struct OfInterfaces {
    addresses: Vec<(SubnetId, Ipv4Addr)>,
    private_dns: Option<bool>,
    dns: DnsChoice,
}

impl OfInterfaces {
    fn read(
        private_dns: Option<bool>,
        options: Option<ec2::DnsOptionsSpecification>,
        addresses: &[ec2::SubnetConfiguration],
    ) -> Result<Self, AwsError> {
        let options = options.unwrap_or_default();
        let record_ip_type = options.dns_record_ip_type.as_deref().map(record_ip_type).transpose()?;
        let inbound_only = options.private_dns_only_for_inbound_resolver_endpoint;
        let addresses = addresses.iter().map(address).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { addresses, private_dns, dns: DnsChoice { record_ip_type, inbound_only } })
    }

    /// Refuses, by name, what a gateway endpoint does not have. That it has no private DNS may be said.
    fn check_gateway(&self) -> Result<(), AwsError> {
        let refused = |parameter| Err(not_applicable(parameter, EndpointKind::Interface));
        if self.dns.inbound_only.is_some() {
            return refused("DnsOptions PrivateDnsOnlyForInboundResolverEndpoint");
        }
        if self.dns.record_ip_type.is_some() {
            return refused("DnsOptions DnsRecordIpType");
        }
        if self.private_dns == Some(true) {
            return refused("PrivateDnsEnabled");
        }
        if self.addresses.is_empty() { Ok(()) } else { refused("SubnetConfigurations") }
    }
}

/// "If the IP address type is IPv4, the DNS record IP type must be IPv4 or service defined."
fn record_ip_type(text: &str) -> Result<DnsRecordIpType, AwsError> {
    match text {
        "ipv4" => Ok(DnsRecordIpType::Ipv4),
        "service-defined" => Ok(DnsRecordIpType::ServiceDefined),
        other => Err(AwsError::new(
            "InvalidParameter",
            format!("The DNS record IP type {other} is not compatible with the IP address type ipv4."),
        )),
    }
}

fn address(given: &ec2::SubnetConfiguration) -> Result<(SubnetId, Ipv4Addr), AwsError> {
    let subnet = parameters::required(given.subnet_id.as_deref(), "SubnetConfiguration.SubnetId")?;
    let address = parameters::required(given.ipv4.as_deref(), "SubnetConfiguration.Ipv4")?;
    Ok((parameters::id(subnet)?, parameters::address(address, "ipv4")?))
}

/// A service of another region can be had by interface endpoints alone, and none of another region is known here.
fn check_region(
    call: &Call<'_>,
    kind: EndpointKind,
    region: Option<&str>,
    service: &str,
) -> Result<(), AwsError> {
    match (region, kind) {
        (Some(other), EndpointKind::Gateway) if other != call.region() => {
            Err(not_applicable(&format!("ServiceRegion ({other})"), EndpointKind::Interface))
        }
        (Some(other), EndpointKind::Interface) if other != call.region() => {
            Err(error::service_not_found(service))
        }
        (Some(_) | None, EndpointKind::Gateway | EndpointKind::Interface) => Ok(()),
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateVpcEndpointRequest,
) -> Result<ec2::CreateVpcEndpointResult, AwsError> {
    let client_token = request.client_token.clone();
    let action = creation(call, request)?;
    let done = call.execute(client_token.as_deref(), action).await?;
    let id = created!(done, VpcEndpoint)?;
    let endpoint = done.state.get::<VpcEndpoint>(call.account, id).map_err(|e| call.refuse(e))?;
    Ok(ec2::CreateVpcEndpointResult { client_token, vpc_endpoint: Some(show(&done.state, &endpoint)) })
}

/// Nobody has resource configurations here, so what an ARN names is not there ("Error codes for the Amazon EC2 API").
fn no_resource_configuration(arn: &str) -> AwsError {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let named = match parts.as_slice() {
        ["arn", _, "vpc-lattice", _, _, resource] => resource.strip_prefix("resourceconfiguration/rcfg-"),
        _ => None,
    };
    let fits = |id: &str| id.len() == 17 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if named.is_some_and(fits) {
        let message = format!("The Resource Configuration ARN '{arn}' does not exist");
        return AwsError::new("InvalidResourceConfigurationArn.NotFound", message);
    }
    let message = format!("The Resource Configuration ARN '{arn}' is malformed");
    AwsError::new("InvalidResourceConfigurationArn.Malformed", message)
}

fn creation(call: &Call<'_>, request: ec2::CreateVpcEndpointRequest) -> Result<Action, AwsError> {
    if let Some(arn) = &request.resource_configuration_arn {
        return Err(no_resource_configuration(arn));
    }
    let kind = kind_of(request.vpc_endpoint_type.as_deref())?;
    let service_name = parameters::required(request.service_name, "ServiceName")?;
    check_region(call, kind, request.service_region.as_deref(), &service_name)?;
    check_admitted(call, &service_name)?;
    let [tags] = tag::of_new(request.tag_specifications, ["vpc-endpoint"])?;
    if let Some(policy) = &request.policy_document {
        check_policy(policy, kind)?;
    }
    let vpc = parameters::id(&parameters::required(request.vpc_id, "VpcId")?)?;
    let (route_tables, subnets) =
        (parameters::ids(&request.route_table_ids)?, parameters::ids(&request.subnet_ids)?);
    let groups = parameters::ids(&request.security_group_ids)?;
    let given =
        OfInterfaces::read(request.private_dns_enabled, request.dns_options, &request.subnet_configurations)?;
    let policy = request.policy_document;
    match kind {
        EndpointKind::Gateway => {
            given.check_gateway()?;
            if !subnets.is_empty() {
                return Err(not_applicable("SubnetIds", EndpointKind::Interface));
            }
            if !groups.is_empty() {
                return Err(not_applicable("SecurityGroupIds", EndpointKind::Interface));
            }
            let new = NewGatewayEndpoint { vpc, service_name, route_tables, policy, tags };
            Ok(Action::CreateGatewayEndpoint(new))
        }
        EndpointKind::Interface => {
            if !route_tables.is_empty() {
                return Err(not_applicable("RouteTableIds", EndpointKind::Gateway));
            }
            let OfInterfaces { addresses, private_dns, dns } = given;
            // The `aws` command's own examples show an endpoint without private DNS where nothing was said of it.
            let private_dns = private_dns.unwrap_or(false);
            Ok(Action::CreateInterfaceEndpoint(NewInterfaceEndpoint {
                vpc,
                service_name,
                subnets,
                addresses,
                groups,
                private_dns,
                dns,
                policy,
                tags,
            }))
        }
    }
}

/// Refuses a service of a user's that is not offered to who asks, though perhaps to others of the account. What is offered
/// to nobody of the account is refused by the model.
fn check_admitted(call: &Call<'_>, service_name: &str) -> Result<(), AwsError> {
    let own = postern_model::endpoint_service::by_name(&call.state, service_name);
    match own.map(|own| own.admits(call.account, call.principal.as_deref())) {
        Some(false) => Err(error::service_not_found(service_name)),
        Some(true) | None => Ok(()),
    }
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyVpcEndpointRequest,
) -> Result<ec2::ModifyVpcEndpointResult, AwsError> {
    let text = parameters::required(request.vpc_endpoint_id, "VpcEndpointId")?;
    let found = call.get::<VpcEndpoint>(&text)?;
    let policy = match (request.policy_document, request.reset_policy.unwrap_or(false)) {
        (Some(_), true) => {
            return Err(parameters::combination("PolicyDocument and ResetPolicy cannot be given together"));
        }
        (Some(policy), false) => {
            check_policy(&policy, found.kind)?;
            Some(Some(policy))
        }
        (None, true) => Some(None),
        (None, false) => None,
    };
    let given =
        OfInterfaces::read(request.private_dns_enabled, request.dns_options, &request.subnet_configurations)?;
    let private_dns = match found.kind {
        EndpointKind::Gateway => {
            given.check_gateway()?;
            None
        }
        EndpointKind::Interface => given.private_dns,
    };
    let change = EndpointChange {
        add_route_tables: parameters::ids(&request.add_route_table_ids)?,
        remove_route_tables: parameters::ids(&request.remove_route_table_ids)?,
        policy,
        interface: InterfaceChange {
            add_subnets: parameters::ids(&request.add_subnet_ids)?,
            remove_subnets: parameters::ids(&request.remove_subnet_ids)?,
            addresses: given.addresses,
            add_groups: parameters::ids(&request.add_security_group_ids)?,
            remove_groups: parameters::ids(&request.remove_security_group_ids)?,
            private_dns,
            dns: given.dns,
        },
    };
    call.execute(None, Action::ModifyVpcEndpoint { endpoint: found.id, change }).await?;
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
    let is_there = |id: &VpcEndpointId| {
        let found = call.state.get::<VpcEndpoint>(call.account, *id);
        found.is_ok_and(|endpoint| endpoint.state != EndpointState::Deleted)
    };
    let (there, missing): (Vec<_>, Vec<_>) = ids.into_iter().partition(is_there);
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
