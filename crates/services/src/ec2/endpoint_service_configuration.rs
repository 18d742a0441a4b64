//! Endpoint services of the caller's own: what is offered to the endpoints of others.

use postern_model::endpoint_service::{
    EndpointService, EndpointServiceAction, EndpointServiceChange, NewEndpointService, Payer,
    PrivateDnsChange, PrivateDnsName,
};
use postern_model::{Action, EndpointServiceId, LoadBalancerId, State};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::{Call, Listing};
use super::error;
use super::filters::{self, FilterTable, Row, text};
use super::pagination::Bounds;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, FILTERS, NEW_TAGS, PAGES};
use super::table::{Entry, operation};
use super::tag;
use super::view::{created, some, tags, zone_id};
use crate::elbv2::{load_balancer_arn, read_load_balancer};

/// "If this value is greater than 1,000, we return only 1,000 items."
pub(super) const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };
/// How many services one request may delete.
const MAX_DELETED: usize = 25;

pub(super) const OPERATIONS: &[Entry] = &[
    operation! { write CreateVpcEndpointServiceConfiguration = create;
        honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, &[
            "AcceptanceRequired", "NetworkLoadBalancerArn", "PrivateDnsName", "SupportedRegion",
        ]],
        only: &[("SupportedIpAddressType", &["ipv4"])],
        asked: &[Asked::New("vpc-endpoint-service")],
    },
    operation! { write ModifyVpcEndpointServiceConfiguration = modify;
        honoured: &[DRY_RUN, &[
            "AcceptanceRequired", "AddNetworkLoadBalancerArn", "AddSupportedRegion", "PrivateDnsName",
            "RemoveNetworkLoadBalancerArn", "RemovePrivateDnsName", "ServiceId",
        ]],
        only: &[
            ("AddSupportedIpAddressType", &["ipv4"]),
            ("RemoveSupportedIpAddressType", &["ipv6"]),
        ],
        asked: &[Asked::Named(By::Id, "ServiceId")],
    },
    operation! { read DescribeVpcEndpointServiceConfigurations = describe;
        filters: filters::names::<ec2::ServiceConfiguration>,
        honoured: &[DRY_RUN, FILTERS, PAGES, &["ServiceId"]],
    },
    operation! { write DeleteVpcEndpointServiceConfigurations = delete;
        honoured: &[DRY_RUN, &["ServiceId"]],
        asked: &[Asked::Named(By::Id, "ServiceId")],
    },
    operation! { write ModifyVpcEndpointServicePayerResponsibility = set_payer;
        honoured: &[DRY_RUN, &["PayerResponsibility", "ServiceId"]],
        asked: &[Asked::Named(By::Id, "ServiceId")],
    },
    operation! { write StartVpcEndpointServicePrivateDnsVerification = start_verification;
        honoured: &[DRY_RUN, &["ServiceId"]],
        asked: &[Asked::Named(By::Id, "ServiceId")],
    },
];

/// The ARNs of a service's load balancers.
pub(super) fn arns(state: &State, service: &EndpointService) -> Vec<String> {
    let found = service.load_balancers.iter().filter_map(|id| state.load_balancers.get(id));
    found.map(|balancer| load_balancer_arn(state, balancer)).collect()
}

/// The name's state, and the record that shows whose it is.
fn name_configuration(name: &PrivateDnsName) -> ec2::PrivateDnsNameConfiguration {
    ec2::PrivateDnsNameConfiguration {
        name: some(&name.record_name),
        state: some(name.state.name()),
        r#type: some("TXT"),
        value: some(&name.record_value),
    }
}

fn show(state: &State, service: &EndpointService) -> ec2::ServiceConfiguration {
    let region = &state.region.name;
    let zones: Vec<_> = service.zones(state).into_iter().collect();
    let supported = ec2::SupportedRegionDetail { region: some(region), service_state: some("Available") };
    ec2::ServiceConfiguration {
        acceptance_required: Some(service.acceptance_required),
        availability_zone_ids: Some(zones.iter().filter_map(|zone| zone_id(state, zone)).collect()),
        availability_zones: Some(zones),
        base_endpoint_dns_names: Some(vec![service.base_dns_name(region)]),
        manages_vpc_endpoints: Some(false),
        network_load_balancer_arns: Some(arns(state, service)),
        payer_responsibility: match service.payer {
            Payer::EndpointOwner => None,
            Payer::ServiceOwner => some("ServiceOwner"),
        },
        private_dns_name: service.private_dns.as_ref().map(|name| name.name.clone()),
        private_dns_name_configuration: service.private_dns.as_ref().map(name_configuration),
        remote_access_enabled: Some(false),
        service_id: some(service.id),
        service_name: some(service.name(region)),
        service_state: some("Available"),
        service_type: Some(vec![ec2::ServiceTypeDetail { service_type: some("Interface") }]),
        supported_ip_address_types: Some(vec!["ipv4".to_owned()]),
        supported_regions: Some(vec![supported]),
        tags: tags(&service.tags),
        ..Default::default()
    }
}

impl Row for ec2::ServiceConfiguration {
    const FILTERS: FilterTable<Self> = &[
        ("service-name", |s| text(s.service_name.as_ref())),
        ("service-id", |s| text(s.service_id.as_ref())),
        ("service-state", |s| text(s.service_state.as_ref())),
        ("supported-ip-address-types", |s| s.supported_ip_address_types.clone().unwrap_or_default()),
    ];

    fn key(&self) -> String {
        self.service_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tags.as_deref().unwrap_or_default()
    }
}

fn load_balancers(call: &Call<'_>, texts: &[String]) -> Result<Vec<LoadBalancerId>, AwsError> {
    let read = |text: &String| {
        let found = read_load_balancer(&call.state, call.account, text).map(|balancer| balancer.id);
        found.map_err(|problem| match problem.code.as_ref() {
            "LoadBalancerNotFound" => AwsError::new(
                "InvalidNetworkLoadBalancerArn.NotFound",
                format!("The Network Load Balancer ARN '{text}' does not exist"),
            ),
            _ => AwsError::new(
                "InvalidNetworkLoadBalancerArn.Malformed",
                format!("The Network Load Balancer ARN '{text}' is malformed"),
            ),
        })
    };
    texts.iter().map(read).collect()
}

/// A service is offered in its own region; others are refused by name.
fn check_regions(call: &Call<'_>, parameter: &str, regions: &[String]) -> Result<(), AwsError> {
    match regions.iter().find(|region| *region != call.region()) {
        Some(other) => Err(error::unsupported_value(parameter, other, &[call.region()])),
        None => Ok(()),
    }
}

async fn create(
    call: &Call<'_>,
    request: ec2::CreateVpcEndpointServiceConfigurationRequest,
) -> Result<ec2::CreateVpcEndpointServiceConfigurationResult, AwsError> {
    let [tags] = tag::of_new(request.tag_specifications, ["vpc-endpoint-service"])?;
    check_regions(call, "SupportedRegion", &request.supported_regions)?;
    let new = NewEndpointService {
        // "AcceptanceRequired" is true unless a request says otherwise, as the console has it too.
        acceptance_required: request.acceptance_required.unwrap_or(true),
        load_balancers: load_balancers(call, &request.network_load_balancer_arns)?,
        private_dns_name: request.private_dns_name,
        tags,
    };
    let client_token = request.client_token;
    let action = Action::EndpointService(EndpointServiceAction::Create(new));
    let done = call.execute(client_token.as_deref(), action).await?;
    let id = created!(done, EndpointService)?;
    let service = done.state.get::<EndpointService>(call.account, id).map_err(|e| call.refuse(e))?;
    let service_configuration = Some(show(&done.state, &service));
    Ok(ec2::CreateVpcEndpointServiceConfigurationResult { client_token, service_configuration })
}

/// The service that a request names.
pub(super) fn named(call: &Call<'_>, text: Option<String>) -> Result<EndpointServiceId, AwsError> {
    let text = parameters::required(text, "ServiceId")?;
    call.get::<EndpointService>(&text).map(|service| service.id)
}

async fn modify(
    call: &Call<'_>,
    request: ec2::ModifyVpcEndpointServiceConfigurationRequest,
) -> Result<ec2::ModifyVpcEndpointServiceConfigurationResult, AwsError> {
    let service = named(call, request.service_id)?;
    check_regions(call, "AddSupportedRegion", &request.add_supported_regions)?;
    let private_dns_name = match (request.private_dns_name, request.remove_private_dns_name.unwrap_or(false))
    {
        (Some(_), true) => {
            let message = "PrivateDnsName and RemovePrivateDnsName cannot be given together";
            return Err(parameters::combination(message));
        }
        (Some(name), false) => PrivateDnsChange::Set(name),
        (None, true) => PrivateDnsChange::Remove,
        (None, false) => PrivateDnsChange::Keep,
    };
    let change = EndpointServiceChange {
        acceptance_required: request.acceptance_required,
        add_load_balancers: load_balancers(call, &request.add_network_load_balancer_arns)?,
        remove_load_balancers: load_balancers(call, &request.remove_network_load_balancer_arns)?,
        private_dns_name,
    };
    let action = EndpointServiceAction::Modify { service, change };
    call.execute(None, Action::EndpointService(action)).await?;
    Ok(ec2::ModifyVpcEndpointServiceConfigurationResult { r#return: Some(true) })
}

fn describe(
    call: &Call<'_>,
    request: ec2::DescribeVpcEndpointServiceConfigurationsRequest,
) -> Result<ec2::DescribeVpcEndpointServiceConfigurationsResult, AwsError> {
    let rows = call.select::<EndpointService>(&request.service_ids)?;
    let rows = rows.iter().map(|service| show(&call.state, service)).collect();
    let listing = Listing {
        filters: request.filters,
        max_results: request.max_results.map(|most| most.min(BOUNDS.most)),
        next_token: request.next_token,
        bounds: BOUNDS,
    };
    let (service_configurations, next_token) = call.list(rows, listing)?;
    Ok(ec2::DescribeVpcEndpointServiceConfigurationsResult { next_token, service_configurations })
}

/// Each service is deleted by itself; what cannot be is told in the answer.
async fn delete(
    call: &Call<'_>,
    request: ec2::DeleteVpcEndpointServiceConfigurationsRequest,
) -> Result<ec2::DeleteVpcEndpointServiceConfigurationsResult, AwsError> {
    if request.service_ids.is_empty() {
        return Err(parameters::missing("ServiceId"));
    }
    if request.service_ids.len() > MAX_DELETED {
        let why = format!("At most {MAX_DELETED} services can be deleted at once.");
        return Err(parameters::invalid("serviceId", request.service_ids.len(), &why));
    }
    let ids: Vec<EndpointServiceId> = parameters::ids(&request.service_ids)?;
    let mut unsuccessful = Vec::new();
    for service in ids {
        let refused = match call.state.get::<EndpointService>(call.account, service) {
            // Only this operation says it so.
            Err(_) => AwsError::new(
                "InvalidVpcEndpointService.NotFound",
                error::not_found(&[service.into()]).message,
            ),
            Ok(_) => {
                let action = Action::EndpointService(EndpointServiceAction::Delete { service });
                match call.execute(None, action).await {
                    Ok(_) => continue,
                    Err(refused) if refused.code == "ExistingVpcEndpointConnections" => refused,
                    Err(refused) if refused.code == "DryRunOperation" => continue,
                    Err(other) => return Err(other),
                }
            }
        };
        unsuccessful.push(unsuccessful_item(service.to_string(), refused));
    }
    Ok(ec2::DeleteVpcEndpointServiceConfigurationsResult { unsuccessful: Some(unsuccessful) })
}

/// What could not be done with one of several resources.
pub(super) fn unsuccessful_item(resource: String, refused: AwsError) -> ec2::UnsuccessfulItem {
    ec2::UnsuccessfulItem {
        error: Some(ec2::UnsuccessfulItemError { code: some(refused.code), message: some(refused.message) }),
        resource_id: Some(resource),
    }
}

async fn set_payer(
    call: &Call<'_>,
    request: ec2::ModifyVpcEndpointServicePayerResponsibilityRequest,
) -> Result<ec2::ModifyVpcEndpointServicePayerResponsibilityResult, AwsError> {
    // The shape allows `ServiceOwner` alone: there is no way back.
    let service = named(call, request.service_id)?;
    let action = EndpointServiceAction::SetPayerServiceOwner { service };
    call.execute(None, Action::EndpointService(action)).await?;
    Ok(ec2::ModifyVpcEndpointServicePayerResponsibilityResult { return_value: Some(true) })
}

/// Somebody looks for the record, and what comes of it is shown as the name's state.
async fn start_verification(
    call: &Call<'_>,
    request: ec2::StartVpcEndpointServicePrivateDnsVerificationRequest,
) -> Result<ec2::StartVpcEndpointServicePrivateDnsVerificationResult, AwsError> {
    let service = named(call, request.service_id)?;
    let action = EndpointServiceAction::StartPrivateDnsVerification { service };
    call.execute(None, Action::EndpointService(action)).await?;
    Ok(ec2::StartVpcEndpointServicePrivateDnsVerificationResult { return_value: Some(true) })
}
