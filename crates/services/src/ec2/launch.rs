//! `RunInstances`. It waits for nothing: instances are `pending` until the data plane reports that they run.

use postern_model::instance::{Launch, LaunchInterface, MAX_LAUNCH, MetadataOptions};
use postern_model::subnet::Subnet;
use postern_model::{Action, InstanceId, NetworkInterfaceId, ResourceId, SubnetId, default_vpc};
use postern_wire::{AwsError, ec2};

use super::ask::{Asked, By};
use super::call::Call;
use super::instance::reservations;
use super::instance_type::InstanceType;
use super::parameters::{self, CLIENT_TOKEN, DRY_RUN, NEW_TAGS, combination};
use super::table::{Entry, operation};
use super::view::zone_id;
use super::{error, image, instance_attribute, instance_profile, tag};

pub(super) const OPERATIONS: &[Entry] = &[operation! { write RunInstances = run;
    honoured: &[DRY_RUN, CLIENT_TOKEN, NEW_TAGS, &[
        "DisableApiTermination", "IamInstanceProfile.Arn", "IamInstanceProfile.Name", "ImageId", "InstanceType",
        "KeyName", "MaxCount", "MetadataOptions.HttpEndpoint", "MetadataOptions.HttpPutResponseHopLimit", "MinCount",
        "NetworkInterface.AssociatePublicIpAddress", "NetworkInterface.DeleteOnTermination",
        "NetworkInterface.Description", "NetworkInterface.NetworkInterfaceId", "NetworkInterface.PrivateIpAddress",
        "NetworkInterface.SecurityGroupId", "NetworkInterface.SubnetId", "Placement.AvailabilityZone",
        "Placement.AvailabilityZoneId", "PrivateIpAddress", "SecurityGroupId", "SubnetId", "UserData",
    ]],
    only: &[
        ("CapacityReservationSpecification.CapacityReservationPreference", &["open", "none"]),
        // Nothing here has CPU credits, so no instance is ever held back for want of them.
        ("CreditSpecification.CpuCredits", &["unlimited"]),
        ("DisableApiStop", &["false"]),
        ("EbsOptimized", &["false"]),
        ("EnclaveOptions.Enabled", &["false"]),
        ("HibernationOptions.Configured", &["false"]),
        ("InstanceInitiatedShutdownBehavior", &["stop"]),
        ("MaintenanceOptions.AutoRecovery", &["disabled"]),
        ("MetadataOptions.HttpProtocolIpv6", &["disabled"]),
        ("MetadataOptions.HttpTokens", &["required"]),
        ("MetadataOptions.InstanceMetadataTags", &["disabled"]),
        ("Monitoring.Enabled", &["false"]),
        ("NetworkInterface.DeviceIndex", &["0"]),
        ("NetworkInterface.InterfaceType", &["interface"]),
        ("NetworkInterface.NetworkCardIndex", &["0"]),
        ("Placement.Tenancy", &["default"]),
        ("PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord", &["false"]),
        ("PrivateDnsNameOptions.EnableResourceNameDnsARecord", &["false"]),
        ("PrivateDnsNameOptions.HostnameType", &["ip-name"]),
    ],
    asked: &[
        Asked::New("instance"),
        Asked::New("network-interface"),
        Asked::Named(By::ImageId, "ImageId"),
        Asked::Named(By::KeyName, "KeyName"),
        Asked::Named(By::Id, "SubnetId"),
        Asked::Named(By::Id, "SecurityGroupId"),
        Asked::Named(By::Id, "NetworkInterface.SubnetId"),
        Asked::Named(By::Id, "NetworkInterface.SecurityGroupId"),
        Asked::Named(By::Id, "NetworkInterface.NetworkInterfaceId"),
        Asked::PassedRole("IamInstanceProfile.Name"),
        Asked::PassedRole("IamInstanceProfile.Arn"),
    ],
}];

/// The least and the most instances that the request is content with.
fn counts(request: &ec2::RunInstancesRequest) -> Result<(usize, usize), AwsError> {
    let least = parameters::required(request.min_count, "MinCount")?;
    let most = parameters::required(request.max_count, "MaxCount")?;
    let limit = i64::try_from(MAX_LAUNCH).unwrap_or(i64::MAX);
    if least < 1 {
        return Err(parameters::invalid("minCount", least, "Minimum value is 1."));
    }
    if most < least {
        return Err(parameters::invalid("maxCount", most, "It is less than minCount."));
    }
    if least > limit {
        let message =
            format!("You have requested more instances ({least}) than your current limit of {limit} allows.");
        return Err(AwsError::new("InstanceLimitExceeded", message));
    }
    Ok((parameters::number(least, "minCount")?, parameters::number(most.min(limit), "maxCount")?))
}

/// What the instance-level parameters and the one network interface of a request say together.
struct InterfaceParts {
    existing: Option<String>,
    subnet: Option<String>,
    groups: Vec<String>,
    private_address: Option<String>,
    public_address: Option<bool>,
    description: Option<String>,
    delete_on_termination: Option<bool>,
}

fn interface_parts(request: &ec2::RunInstancesRequest) -> Result<InterfaceParts, AwsError> {
    let Some(listed) = request.network_interfaces.first() else {
        return Ok(InterfaceParts {
            existing: None,
            subnet: request.subnet_id.clone(),
            groups: request.security_group_ids.clone(),
            private_address: request.private_ip_address.clone(),
            public_address: None,
            description: None,
            delete_on_termination: None,
        });
    };
    if request.network_interfaces.len() > 1 {
        return Err(error::unsupported("NetworkInterface.2"));
    }
    let beside = [
        (request.subnet_id.is_some(), "subnet ID"),
        (!request.security_group_ids.is_empty(), "security groups"),
        (request.private_ip_address.is_some(), "private address"),
    ];
    if let Some((_, what)) = beside.into_iter().find(|(given, _)| *given) {
        return Err(combination(format!(
            "Network interfaces and an instance-level {what} may not be specified on the same request"
        )));
    }
    Ok(InterfaceParts {
        existing: listed.network_interface_id.clone(),
        subnet: listed.subnet_id.clone(),
        groups: listed.groups.clone(),
        private_address: listed.private_ip_address.clone(),
        public_address: listed.associate_public_ip_address,
        description: listed.description.clone(),
        delete_on_termination: listed.delete_on_termination,
    })
}

/// The zone that a request wants. An empty text is as good as none: Terraform sends one.
fn wanted_zone(placement: Option<&ec2::Placement>) -> (Option<&String>, Option<&String>) {
    let given = |zone: &&String| !zone.is_empty();
    let name = placement.and_then(|placement| placement.availability_zone.as_ref()).filter(given);
    let id = placement.and_then(|placement| placement.availability_zone_id.as_ref()).filter(given);
    (name, id)
}

/// The subnet of a launch that names none: "a default subnet from your default VPC", of the wanted zone or the first
/// that there is.
fn default_subnet(call: &Call<'_>, placement: Option<&ec2::Placement>) -> Result<SubnetId, AwsError> {
    let Some(vpc) = default_vpc::find(&call.state, call.account) else {
        return Err(AwsError::new(
            "VPCIdNotSpecified",
            "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
        ));
    };
    let subnets = default_vpc::subnets(&call.state, call.account);
    let (name, id) = wanted_zone(placement);
    let in_zone = |subnet: &&std::sync::Arc<Subnet>| {
        name.is_none_or(|name| *name == subnet.zone)
            && id.is_none_or(|id| Some(id) == zone_id(&call.state, &subnet.zone).as_ref())
    };
    let missing = |message: String| AwsError::new("MissingInput", message);
    match (subnets.is_empty(), subnets.into_iter().find(in_zone), name.or(id)) {
        (false, Some(subnet), _) => Ok(subnet.id),
        (false, None, Some(zone)) => {
            Err(missing(format!("No default subnet for availability zone: '{zone}'.")))
        }
        (true, ..) | (false, None, None) => Err(missing(format!(
            "No subnets found for the default VPC '{}'. Please specify a subnet.",
            vpc.id
        ))),
    }
}

fn launch_interface(
    call: &Call<'_>,
    parts: InterfaceParts,
    placement: Option<&ec2::Placement>,
) -> Result<LaunchInterface, AwsError> {
    if let Some(existing) = parts.existing {
        let more = parts.subnet.is_some()
            || !parts.groups.is_empty()
            || parts.private_address.is_some()
            || parts.public_address.is_some()
            || parts.description.is_some()
            || parts.delete_on_termination == Some(true);
        if more {
            return Err(combination(
                "A network interface may not specify both a network interface ID and what a new one would have",
            ));
        }
        return parameters::id::<NetworkInterfaceId>(&existing).map(LaunchInterface::Existing);
    }
    let subnet = match parts.subnet {
        Some(subnet) => parameters::id(&subnet)?,
        None => default_subnet(call, placement)?,
    };
    let groups = parameters::ids(&parts.groups)?;
    let address = parts.private_address.as_deref();
    Ok(LaunchInterface::New {
        subnet,
        groups: (!groups.is_empty()).then_some(groups),
        private_address: address.map(|text| parameters::address(text, "privateIpAddress")).transpose()?,
        public_address: parts.public_address,
        description: parts.description.unwrap_or_default(),
        delete_on_termination: parts.delete_on_termination.unwrap_or(true),
    })
}

/// The zone that the request wants must be the one of its subnet.
fn check_placement(
    call: &Call<'_>,
    placement: Option<&ec2::Placement>,
    interface: &LaunchInterface,
) -> Result<(), AwsError> {
    let (name, wanted_id) = wanted_zone(placement);
    let subnet = match interface {
        LaunchInterface::New { subnet, .. } => Some(*subnet),
        LaunchInterface::Existing(id) => {
            let found = call.state.get::<postern_model::interface::NetworkInterface>(call.account, *id);
            found.ok().map(|interface| interface.subnet)
        }
    };
    let subnet = subnet.and_then(|id| call.state.get::<Subnet>(call.account, id).ok());
    let Some(subnet) = subnet else { return Ok(()) };
    let id = zone_id(&call.state, &subnet.zone);
    let wrong_name = name.filter(|zone| **zone != subnet.zone);
    let wrong_id = wanted_id.filter(|zone| Some(*zone) != id.as_ref());
    match wrong_name.or(wrong_id) {
        None => Ok(()),
        Some(zone) => {
            let subnet = subnet.id;
            Err(parameters::invalid(
                "availabilityZone",
                zone,
                &format!("The subnet '{subnet}' is in another zone."),
            ))
        }
    }
}

fn metadata_options(
    request: Option<&ec2::InstanceMetadataOptionsRequest>,
) -> Result<MetadataOptions, AwsError> {
    let Some(request) = request else { return Ok(MetadataOptions::default()) };
    instance_attribute::metadata(
        MetadataOptions::default(),
        request.http_endpoint.as_deref(),
        request.http_put_response_hop_limit,
    )
}

fn instance_type(name: Option<String>) -> Result<String, AwsError> {
    let name = name.unwrap_or_else(|| InstanceType::DEFAULT.to_owned());
    InstanceType::served(&name).map(|_| name)
}

fn user_data(text: Option<&str>) -> Result<Option<Vec<u8>>, AwsError> {
    use base64::Engine as _;
    let Some(text) = text else { return Ok(None) };
    let data = base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|_| AwsError::new("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data."))?;
    Ok((!data.is_empty()).then_some(data))
}

fn launch(call: &Call<'_>, request: ec2::RunInstancesRequest, count: usize) -> Result<Launch, AwsError> {
    let image = parameters::required(request.image_id.clone(), "ImageId")?;
    image::check(&image)?;
    let placement = request.placement.as_ref();
    let interface = launch_interface(call, interface_parts(&request)?, placement)?;
    check_placement(call, placement, &interface)?;
    let metadata = metadata_options(request.metadata_options.as_ref())?;
    let user_data = user_data(request.user_data.as_ref().map(|text| text.expose().as_str()))?;
    let profile = request.iam_instance_profile.as_ref();
    let profile = profile.map(|profile| instance_profile::name(call, profile)).transpose()?;
    // Tags of volumes are taken as well: an instance here has no volumes to put them on.
    let [tags, interface_tags, _] =
        tag::of_new(request.tag_specifications, ["instance", "network-interface", "volume"])?;
    Ok(Launch {
        count,
        least: None,
        image,
        instance_type: instance_type(request.instance_type)?,
        interface,
        key_name: request.key_name,
        profile,
        user_data,
        metadata,
        termination_protected: request.disable_api_termination.unwrap_or(false),
        tags,
        interface_tags,
    })
}

async fn run(call: &Call<'_>, request: ec2::RunInstancesRequest) -> Result<ec2::Reservation, AwsError> {
    let (least, most) = counts(&request)?;
    let client_token = request.client_token.clone();
    let launch = Launch { least: Some(least), ..launch(call, request, most)? };
    let done = call.execute(client_token.as_deref(), Action::RunInstances(launch)).await?;
    let created = |event: &postern_model::Event| match event {
        postern_model::Event::Created(ResourceId::Instance(id)) => Some(*id),
        postern_model::Event::Created(_)
        | postern_model::Event::Changed(_)
        | postern_model::Event::Deleted(_)
        | postern_model::Event::IdentityChanged => None,
    };
    let ids: Vec<InstanceId> = done.events.iter().filter_map(created).collect();
    let instances = ids.iter().filter_map(|id| done.state.get(call.account, *id).ok());
    let mut reservations = reservations(&done.state, instances.collect());
    match reservations.pop() {
        Some(reservation) => Ok(reservation),
        // A repeated request whose instances are forgotten.
        None => Err(error::not_found(&ids.into_iter().map(ResourceId::from).collect::<Vec<_>>())),
    }
}
