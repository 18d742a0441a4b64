//! The model's refusals in AWS's words, one by one, so that a new one cannot go without.

mod bounds;

use postern_model::{ModelError, ResourceId};
use postern_wire::AwsError;

use super::error::{
    association_not_found, attachment_not_found, internal, key_pair_not_found, not_found, noun,
    route_to_list_exists, service_not_found,
};
use super::parameters;
use bounds::{limit, quota};

fn in_use(resource: ResourceId, used_by: &str) -> AwsError {
    let depends = |message: String| AwsError::new("DependencyViolation", message);
    let usual = || {
        let noun = noun(resource);
        depends(format!("The {noun} '{resource}' has dependencies and cannot be deleted."))
    };
    match resource {
        ResourceId::Vpc(_)
        | ResourceId::Subnet(_)
        | ResourceId::RouteTable(_)
        | ResourceId::InternetGateway(_)
        | ResourceId::NetworkAcl(_)
        | ResourceId::DhcpOptions(_)
        | ResourceId::NatGateway(_)
        | ResourceId::VpcPeeringConnection(_)
        | ResourceId::CustomerGateway(_)
        | ResourceId::VpnGateway(_)
        | ResourceId::VpnConnection(_)
        | ResourceId::Address(_)
        | ResourceId::VpcEndpoint(_)
        | ResourceId::EndpointService(_)
        | ResourceId::ConnectionNotification(_)
        | ResourceId::LoadBalancer(_)
        | ResourceId::Listener(_)
        | ResourceId::TargetGroup(_)
        | ResourceId::ResolverEndpoint(_)
        | ResourceId::KeyPair(_) => usual(),
        ResourceId::TransitGateway(_)
        | ResourceId::TransitGatewayAttachment(_)
        | ResourceId::TransitGatewayRouteTable(_) => {
            AwsError::new("IncorrectState", format!("{resource} is still in use by {used_by}."))
        }
        ResourceId::SecurityGroup(_) | ResourceId::SecurityGroupRule(_) => {
            depends(format!("resource {resource} has a dependent object"))
        }
        ResourceId::PrefixList(_) => depends(format!(
            "The prefix list '{resource}' is referenced by '{used_by}' and cannot be deleted."
        )),
        ResourceId::NetworkInterface(_) => {
            AwsError::new("InvalidNetworkInterface.InUse", format!("Interface: [{resource}] in use."))
        }
        ResourceId::Instance(_) => AwsError::new(
            "IncorrectState",
            format!("There is an existing association for instance {resource}"),
        ),
    }
}

fn wrong_state(operation: &str, resource: ResourceId, state: &str, needed: &str) -> AwsError {
    if !matches!(resource, ResourceId::Instance(_)) {
        let noun = noun(resource);
        let message =
            format!("The {noun} '{resource}' is {state}, and the operation needs it to be {needed}.");
        return AwsError::new("IncorrectState", message);
    }
    let what = match operation {
        "StartInstances" => "started",
        "StopInstances" => "stopped",
        "TerminateInstances" => "terminated",
        "RebootInstances" => "rebooted",
        "ModifyInstanceAttribute" => "modified",
        _ => "used",
    };
    let message = format!(
        "The instance '{resource}' is not in a state from which it can be {what}. It is {state}, not {needed}."
    );
    AwsError::new("IncorrectInstanceState", message)
}

/// A block that cannot be had: AWS's code depends on what it was for.
fn block(operation: &str, message: String) -> AwsError {
    let code = match operation {
        "CreateSubnet" => "InvalidSubnet.Range",
        "CreateVpc" | "AssociateVpcCidrBlock" => "InvalidVpc.Range",
        _ => "InvalidParameterValue",
    };
    AwsError::new(code, message)
}

/// The model's refusal of an operation's command.
pub fn refused(operation: &str, refusal: ModelError) -> AwsError {
    let invalid = |message: String| AwsError::new("InvalidParameterValue", message);
    let not_permitted = |message: String| AwsError::new("OperationNotPermitted", message);
    let endpoint = |message: String| AwsError::new("InvalidParameter", message);
    match refusal {
        ModelError::AccountNotFound(account) => AwsError::new(
            "AuthFailure",
            format!("AWS was not able to validate the provided access credentials: there is no account {account}"),
        )
        .with_status(401),
        ModelError::AccountExists(account) => internal(&format!("account {account} is there already")),
        ModelError::NotFound(resource) => not_found(&[resource]),
        ModelError::AssociationNotFound(id) => match operation {
            "DisassociateVpcCidrBlock" => AwsError::new(
                "InvalidVpcCidrBlockAssociationID.NotFound",
                format!("The vpc CIDR block association ID '{id}' does not exist"),
            ),
            _ => association_not_found(&id),
        },
        ModelError::AttachmentNotFound(id) => attachment_not_found(&id.to_string()),
        ModelError::InUse { resource, used_by } => match (operation, resource) {
            ("DeleteNetworkInterface", ResourceId::NetworkInterface(id)) => {
                invalid(format!("Network interface '{id}' is currently in use."))
            }
            _ => in_use(resource, &used_by),
        },
        ModelError::WrongState { resource, state, needed } => wrong_state(operation, resource, state, needed),
        ModelError::DifferentVpcs { a, b } => different_networks(operation, a, b),
        ModelError::DifferentZones { .. } => invalid(
            "You may not attach a network interface to an instance if they are not in the same availability zone"
                .to_owned(),
        ),
        ModelError::HostBits(cidr) => block(operation, format!("The CIDR '{cidr}' is invalid.")),
        ModelError::BlockSize { cidr, .. } => block(operation, format!("The CIDR '{cidr}' is invalid.")),
        ModelError::BlockRestricted { cidr } => block(
            operation,
            format!(
                "The CIDR '{cidr}' is restricted. Use a CIDR from the same private address range as the current VPC \
                 CIDR, or use a publicly-routable CIDR. For additional restrictions, see \
                 https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Subnets.html"
            ),
        ),
        ModelError::BlockOverlap { cidr, other } => match operation {
            "CreateSubnet" => {
                AwsError::new("InvalidSubnet.Conflict", format!("The CIDR '{cidr}' conflicts with another subnet"))
            }
            _ => block(operation, format!("The CIDR '{cidr}' conflicts with the CIDR '{other}' of the VPC.")),
        },
        ModelError::BlockOutsideVpc { cidr, .. } => block(operation, format!("The CIDR '{cidr}' is invalid.")),
        ModelError::BlockHasSubnets { cidr, vpc } => AwsError::new(
            "DependencyViolation",
            format!("The CIDR '{cidr}' of the vpc '{vpc}' has dependencies and cannot be disassociated."),
        ),
        ModelError::PrimaryBlock { cidr, vpc } => AwsError::new(
            "OperationNotPermitted",
            format!("The vpc CIDR block '{cidr}' may not be disassociated. It is the primary IPv4 CIDR block of the VPC '{vpc}'"),
        ),
        ModelError::ZoneNotFound(zone) => invalid(format!(
            "Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the \
             following availability zones of this region."
        )),
        ModelError::SubnetFull { .. } => AwsError::new(
            "InsufficientFreeAddressesInSubnet",
            "The specified subnet does not have enough free addresses to satisfy the request.",
        ),
        ModelError::AddressOutsideSubnet { address, .. } => {
            invalid(format!("Address {address} does not fall within the subnet's address range"))
        }
        ModelError::AddressReserved { address, .. } => {
            invalid(format!("Address {address} is in subnet's reserved address range"))
        }
        ModelError::AddressInUse { address, .. } => {
            AwsError::new("InvalidIPAddress.InUse", format!("Address {address} is in use."))
        }
        ModelError::AddressNotAssigned { address, interface } => invalid(format!(
            "The address {address} is not one of the network interface {interface}'s that can be used here"
        )),
        ModelError::PublicAddressesExhausted => AwsError::new(
            "InsufficientAddressCapacity",
            "Not enough available addresses to satisfy your address request.",
        ),
        ModelError::PeeringExists { peering } => AwsError::new(
            "VpcPeeringConnectionAlreadyExists",
            format!("The VPC peering connection '{peering}' already exists between the two VPCs."),
        ),
        ModelError::PeeringNotYours { peering, account, verb } => {
            not_permitted(format!("User {account} cannot {verb} peering {peering}"))
        }
        ModelError::PeeringTransition { peering, from, to } => AwsError::new(
            "InvalidStateTransition",
            format!("Invalid state transition for {peering}, attempted to transition from {from} to {to}"),
        ),
        ModelError::VpnGatewayAttached { gateway, vpc } => AwsError::new(
            "VpnGatewayAttachmentLimitExceeded",
            format!("The virtual private gateway {gateway} is already attached to network {vpc}"),
        ),
        ModelError::VpcHasVpnGateway { vpc, .. } => {
            invalid(format!("Network {vpc} already has a virtual private gateway attached"))
        }
        ModelError::VpnGatewayNotAttached { gateway, vpc } => match operation {
            "DetachVpnGateway" => AwsError::new(
                "InvalidVpnGatewayAttachment.NotFound",
                format!("The attachment with vpn gateway ID '{gateway}' and vpc ID '{vpc}' does not exist"),
            ),
            "CreateRoute" | "ReplaceRoute" => invalid(format!(
                "the route table of network {vpc} and network gateway {gateway} belong to different networks"
            )),
            _ => AwsError::new("Gateway.NotAttached", format!("resource {gateway} is not attached to network {vpc}")),
        },
        ModelError::VpnRouteNotFound { connection, block } => AwsError::new(
            "InvalidRoute.NotFound",
            format!("no route with destination-cidr-block {block} in VPN connection {connection}"),
        ),
        ModelError::TransitAttached { attachment, resource } => AwsError::new(
            "DuplicateTransitGatewayAttachment",
            format!("The transit gateway has the non-deleted attachment {attachment} of {resource} already."),
        ),
        ModelError::TransitNotAttached { gateway, vpc } => AwsError::new(
            "InvalidTransitGatewayID.NotFound",
            format!("Transit Gateway {gateway} was deleted or is not attached to {vpc}."),
        ),
        ModelError::TransitWithoutSubnet { vpc } => {
            invalid(format!("The attachment of {vpc} must have at least one subnet."))
        }
        ModelError::TransitZoneTaken { subnet, zone } => AwsError::new(
            "DuplicateSubnetsInSameZone",
            format!("Duplicate Subnets for same AZ: {subnet} is in {zone}, where the attachment has one."),
        ),
        ModelError::TransitAssociated { attachment, table } => AwsError::new(
            "Resource.AlreadyAssociated",
            format!("Transit Gateway Attachment {attachment} is already associated to the route table {table}."),
        ),
        ModelError::TransitNotAssociated { attachment, table } => AwsError::new(
            "InvalidAssociation.NotFound",
            format!("Transit Gateway Attachment {attachment} is not associated to the route table {table}."),
        ),
        ModelError::TransitPropagates { attachment, table } => AwsError::new(
            "TransitGatewayRouteTablePropagation.Duplicate",
            format!("Propagation of {attachment} to {table} is already enabled."),
        ),
        ModelError::TransitNotPropagating { attachment, table } => AwsError::new(
            "TransitGatewayRouteTablePropagation.NotFound",
            format!("Propagation of {attachment} to {table} is not enabled."),
        ),
        ModelError::TransitRouteExists { table, block } => AwsError::new(
            "RouteAlreadyExists",
            format!("Route {block} already exists in Transit Gateway Route Table {table}."),
        ),
        ModelError::TransitRouteNotFound { table, block } => AwsError::new(
            "InvalidRoute.NotFound",
            format!("Route {block} does not exist in Transit Gateway Route Table {table}."),
        ),
        ModelError::TransitConnection { connection } => AwsError::new(
            "OperationNotPermitted",
            format!(
                "VPN connection {connection} is attached to a transit gateway: its static routes are routes of the \
                 transit gateway's route tables."
            ),
        ),
        ModelError::RouteExists { table, destination } => match destination {
            postern_model::route::RouteDestination::PrefixList(list) => route_to_list_exists(table, list),
            postern_model::route::RouteDestination::Cidr(cidr) => AwsError::new(
                "RouteAlreadyExists",
                format!("The route identified by {cidr} already exists."),
            ),
        },
        ModelError::RouteNotFound { table, destination } => match operation {
            "ReplaceRoute" => invalid(format!(
                "There is no route defined for '{destination}' in the route table. Use CreateRoute instead."
            )),
            _ => AwsError::new(
                "InvalidRoute.NotFound",
                format!("no route with destination-cidr-block {destination} in route table {table}"),
            ),
        },
        ModelError::RouteManaged { table, destination } => invalid(format!(
            "The route to {destination} of route table {table} is managed by a VPC endpoint: it comes and goes with \
             the endpoint's association with the route table."
        )),
        ModelError::RouteShadowsLocal { destination, local } => match operation {
            "AssociateVpcCidrBlock" => block(
                operation,
                format!("The CIDR '{local}' is the same as or larger than the destination {destination} of a route of the VPC."),
            ),
            _ => invalid(format!(
                "Route destination doesn't match any subnet CIDR blocks. The destination {destination} lies in the \
                 local route {local}."
            )),
        },
        ModelError::RouteRestricted { destination } => {
            invalid(format!("The destination CIDR block {destination} is reserved for AWS services."))
        }
        ModelError::RouteTargetUnsupported(target) => match target {
            ResourceId::VpcEndpoint(_) => AwsError::new(
                "RouteNotSupported",
                format!(
                    "Route table contains unsupported route target: {target}. VPC Endpoints of this type cannot be \
                     used as route targets."
                ),
            ),
            ResourceId::Vpc(_)
            | ResourceId::Subnet(_)
            | ResourceId::RouteTable(_)
            | ResourceId::InternetGateway(_)
            | ResourceId::NatGateway(_)
            | ResourceId::VpcPeeringConnection(_)
            | ResourceId::CustomerGateway(_)
            | ResourceId::VpnGateway(_)
            | ResourceId::VpnConnection(_)
            | ResourceId::TransitGateway(_)
            | ResourceId::TransitGatewayAttachment(_)
            | ResourceId::TransitGatewayRouteTable(_)
            | ResourceId::Address(_)
            | ResourceId::NetworkInterface(_)
            | ResourceId::SecurityGroup(_)
            | ResourceId::SecurityGroupRule(_)
            | ResourceId::NetworkAcl(_)
            | ResourceId::PrefixList(_)
            | ResourceId::EndpointService(_)
            | ResourceId::ConnectionNotification(_)
            | ResourceId::LoadBalancer(_)
            | ResourceId::Listener(_)
            | ResourceId::TargetGroup(_)
            | ResourceId::ResolverEndpoint(_)
            | ResourceId::Instance(_)
            | ResourceId::DhcpOptions(_)
            | ResourceId::KeyPair(_) => AwsError::new(
                "RouteNotSupported",
                format!("Route table contains unsupported route target: {target}."),
            ),
        },
        ModelError::MainRouteTable(table) => {
            invalid(format!("cannot disassociate the main route table association of {table}"))
        }
        ModelError::SubnetAssociated { subnet } => AwsError::new(
            "Resource.AlreadyAssociated",
            format!("the specified association for subnet {subnet} conflicts with an existing association"),
        ),
        ModelError::GatewayAttached { gateway, vpc } => AwsError::new(
            "Resource.AlreadyAssociated",
            format!("resource {gateway} is already attached to network {vpc}"),
        ),
        ModelError::VpcHasGateway { vpc, .. } => {
            invalid(format!("Network {vpc} already has an internet gateway attached"))
        }
        ModelError::GatewayNotAttached { gateway, vpc } => match operation {
            "CreateRoute" | "ReplaceRoute" => {
                invalid(format!("the route table of network {vpc} and network gateway {gateway} belong to different networks"))
            }
            _ => AwsError::new(
                "Gateway.NotAttached",
                format!("resource {gateway} is not attached to network {vpc}"),
            ),
        },
        ModelError::VpcWithoutGateway { vpc } => AwsError::new(
            "Gateway.NotAttached",
            format!("Network {vpc} is not attached to any internet gateway"),
        ),
        ModelError::PublicAddressesMapped { vpc } => AwsError::new(
            "DependencyViolation",
            format!(
                "Network {vpc} has some mapped public address(es). Please unmap those public address(es) before \
                 detaching the gateway."
            ),
        ),
        ModelError::AddressAssociated { allocation, interface } => match operation {
            "ReleaseAddress" => AwsError::new(
                "InvalidIPAddress.InUse",
                format!("Address {allocation} is in use by {interface}."),
            ),
            _ => AwsError::new(
                "Resource.AlreadyAssociated",
                format!("resource {allocation} is already associated with {interface}"),
            ),
        },
        ModelError::GroupNameTaken { name, vpc } => AwsError::new(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ),
        ModelError::DefaultResource(resource) => match resource {
            ResourceId::SecurityGroup(id) => AwsError::new(
                "CannotDelete",
                format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user"),
            ),
            ResourceId::Vpc(_)
            | ResourceId::Subnet(_)
            | ResourceId::RouteTable(_)
            | ResourceId::InternetGateway(_)
            | ResourceId::NatGateway(_)
            | ResourceId::VpcPeeringConnection(_)
            | ResourceId::CustomerGateway(_)
            | ResourceId::VpnGateway(_)
            | ResourceId::VpnConnection(_)
            | ResourceId::TransitGateway(_)
            | ResourceId::TransitGatewayAttachment(_)
            | ResourceId::TransitGatewayRouteTable(_)
            | ResourceId::Address(_)
            | ResourceId::NetworkInterface(_)
            | ResourceId::SecurityGroupRule(_)
            | ResourceId::NetworkAcl(_)
            | ResourceId::PrefixList(_)
            | ResourceId::VpcEndpoint(_)
            | ResourceId::EndpointService(_)
            | ResourceId::ConnectionNotification(_)
            | ResourceId::LoadBalancer(_)
            | ResourceId::Listener(_)
            | ResourceId::TargetGroup(_)
            | ResourceId::ResolverEndpoint(_)
            | ResourceId::Instance(_)
            | ResourceId::DhcpOptions(_)
            | ResourceId::KeyPair(_) => {
                invalid(format!("cannot delete default {} {resource}", noun(resource)))
            }
        },
        ModelError::RuleExists { .. } => {
            AwsError::new("InvalidPermission.Duplicate", "the specified rule already exists")
        }
        ModelError::RuleNotFound { rule, .. } => match rule.parse::<ResourceId>() {
            Ok(id) => not_found(&[id]),
            Err(_) => AwsError::new(
                "InvalidPermission.NotFound",
                "The specified rule does not exist in this security group.",
            ),
        },
        ModelError::PortRange { from, to } => {
            invalid(format!("Invalid TCP/UDP port range ({from}:{to})"))
        }
        ModelError::InvalidProtocol(number) => invalid(format!("Invalid protocol number '{number}'")),
        ModelError::RuleNumber(number) => invalid(format!(
            "Value ({number}) for parameter ruleNumber is invalid. Expecting a value between 1 and 32766."
        )),
        ModelError::AclEntryExists { number, .. } => AwsError::new(
            "NetworkAclEntryAlreadyExists",
            format!("The network acl entry identified by {number} already exists."),
        ),
        ModelError::AclEntryNotFound { number, .. } => AwsError::new(
            "InvalidNetworkAclEntry.NotFound",
            format!("The network acl entry identified by {number} does not exist"),
        ),
        ModelError::PrefixListManaged(list) => {
            not_permitted(format!("The prefix list '{list}' is managed by AWS and cannot be changed."))
        }
        ModelError::PrefixListName(name) => {
            invalid(format!("Value ({name}) for parameter prefixListName is invalid. It has 1 to 255 characters and does not start with com.amazonaws."))
        }
        ModelError::PrefixListVersion { .. } => AwsError::new(
            "PrefixListVersionMismatch",
            "The prefix list has the incorrect version number.",
        ),
        ModelError::PrefixListNoVersion { list, version } => {
            invalid(format!("The prefix list '{list}' has no version {version}."))
        }
        ModelError::PrefixListFull { list, limit } => {
            let message = if operation == "CreateManagedPrefixList" {
                format!("The number of entries exceeds the maximum of {limit} entries of the prefix list.")
            } else {
                format!("You've reached the maximum number of entries for the prefix list '{list}': {limit}.")
            };
            AwsError::new("PrefixListMaxEntriesExceeded", message)
        }
        ModelError::PrefixListEntryNotFound { list, cidr } => AwsError::new(
            "InvalidPrefixListModification",
            format!("The prefix list '{list}' has no entry {cidr}."),
        ),
        ModelError::PrefixListMixedChange => AwsError::new(
            "InvalidPrefixListModification",
            "You cannot modify the entries of a prefix list and modify the size of a prefix list in the same request.",
        ),
        ModelError::PrefixListSize(size) => {
            invalid(format!("Value ({size}) for parameter maxEntries is invalid. Expecting a value between 1 and 1000."))
        }
        ModelError::ServiceNotFound(name) => service_not_found(&name),
        ModelError::EndpointType { kind, offered, .. } => endpoint(format!(
            "Endpoint type ({kind}) does not match available service types ([{offered}])."
        )),
        ModelError::EndpointPart { endpoint: id, kind } => {
            let kind = kind.name();
            endpoint(format!("The endpoint {id} is a {kind} endpoint, which this parameter is not applicable to."))
        }
        ModelError::EndpointZoneTaken { existing } => AwsError::new(
            "DuplicateSubnetsInSameZone",
            format!("Found another VPC endpoint subnet in the availability zone of {existing}"),
        ),
        ModelError::EndpointSubnet { subnet } => {
            endpoint(format!("The subnet {subnet} is not one of the VPC endpoint's, or is given twice."))
        }
        ModelError::EndpointWithoutGroup { endpoint: id } => {
            endpoint(format!("The VPC endpoint {id} must have at least one security group."))
        }
        ModelError::NoPrivateName { service, unverified: false } => endpoint(format!(
            "Private DNS can't be enabled because the service {service} does not provide a private DNS name."
        )),
        ModelError::NoPrivateName { service, unverified: true } => endpoint(format!(
            "Private DNS can't be enabled because the service {service} has not verified the private DNS name."
        )),
        ModelError::PrivateDnsAttributes { vpc } => endpoint(format!(
            "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for {vpc}"
        )),
        ModelError::PrivateNameTaken { name, vpc } => endpoint(format!(
            "private-dns-enabled cannot be set because there is already a conflicting DNS domain for {name} in the VPC {vpc}"
        )),
        // Route 53 Resolver's commands have words of their own.
        ModelError::ResolverAddressesTooFew { .. }
        | ModelError::CreatorRequestTaken { .. }
        | ModelError::ResolverAddressNotFound { .. } => invalid(refusal.to_string()),
        ModelError::InboundOnly { service } => endpoint(format!(
            "PrivateDnsOnlyForInboundResolverEndpoint needs private DNS and a service that supports both Gateway and \
             Interface VPC Endpoints, and {service} is not used so."
        )),
        ModelError::InboundOnlyWithoutGateway { vpc } => endpoint(format!(
            "To set PrivateDnsOnlyForInboundResolverEndpoint to true, the VPC {vpc} must have a Gateway endpoint for \
             the service."
        )),
        ModelError::EndpointAssociated { endpoint, table } => AwsError::new(
            "RouteAlreadyExists",
            format!("route table {table} already has a route to the endpoint {endpoint}"),
        ),
        ModelError::EndpointZoneUnsupported { service, subnet } => AwsError::new(
            "InvalidParameter",
            format!(
                "The VPC endpoint service {service} does not support the availability zone of the subnet: {subnet}."
            ),
        ),
        ModelError::EndpointPolicyUnsupported { service } => AwsError::new(
            "InvalidParameter",
            format!("Endpoint policies are not supported for the VPC endpoint service {service}."),
        ),
        ModelError::ServiceConnected(_) => AwsError::new(
            "ExistingVpcEndpointConnections",
            "Service has existing active VPC Endpoint connections!",
        ),
        ModelError::NoLoadBalancers => parameters::missing("NetworkLoadBalancerArn"),
        ModelError::PrivateDnsName(name) => AwsError::new(
            "InvalidParameter",
            format!("Private DNS name '{name}' is not a valid domain name."),
        ),
        ModelError::NoPrivateDnsName(service) => AwsError::new(
            "InvalidParameter",
            format!("The VPC endpoint service '{service}' does not have a private DNS name."),
        ),
        ModelError::Principal(principal) => AwsError::new(
            "InvalidParameter",
            format!("Invalid principal: '{principal}'. Specify the ARN of an account, a user or a role without a path, or *."),
        ),
        // Service Quotas has words of its own for it.
        ModelError::QuotaNotRaised { .. } => invalid(refusal.to_string()),
        ModelError::NoConnectionEvents => parameters::missing("ConnectionEvents"),
        ModelError::TopicNotFound(topic) => AwsError::new(
            "InvalidParameter",
            format!("The SNS topic '{topic}' does not exist."),
        ),
        // Refusals of load balancers and of topics, which have APIs of their own.
        ModelError::TopicName(_)
        | ModelError::TopicDiffers(_)
        | ModelError::SubscriptionNotFound(_)
        | ModelError::BalancingName { .. }
        | ModelError::BalancingNameTaken { .. }
        | ModelError::NoZones
        | ModelError::ZoneTwice { .. }
        | ModelError::AddressNotForInternal { .. }
        | ModelError::PrivateAddressNotForInternet { .. }
        | ModelError::GroupsOfLoadBalancer { .. }
        | ModelError::DeletionProtected(_)
        | ModelError::ListenerExists { .. }
        | ModelError::ListenerProtocol { .. }
        | ModelError::Target { .. }
        | ModelError::OutOfRange { .. } => internal(&refusal.to_string()),
        ModelError::Limit { what, limit: most } => limit(what, most),
        ModelError::Quota { quota: reached, limit } => quota(operation, reached, limit),
        // No operation of this API sets a quota, or who answers for a service.
        ModelError::QuotaTooHigh { .. }
        | ModelError::QuotasTooHigh { .. }
        | ModelError::UpstreamValue { .. }
        | ModelError::UpstreamExists { .. }
        | ModelError::UpstreamNotFound { .. }
        | ModelError::UpstreamOfAws { .. }
        | ModelError::UpstreamNameTaken { .. }
        | ModelError::UpstreamInUse { .. } => internal(&refusal.to_string()),
        ModelError::DefaultVpcExists(_) => AwsError::new(
            "DefaultVpcAlreadyExists",
            "A Default VPC already exists for this account in this region.",
        ),
        ModelError::NoDefaultVpc => {
            AwsError::new("DefaultVpcDoesNotExist", "There is no default VPC for this account in this region.")
        }
        ModelError::DefaultSubnetExists { subnet, zone } => AwsError::new(
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
            format!("'{subnet}' is already the default subnet in {zone}."),
        ),
        ModelError::NoBlockForDefaultSubnet(vpc) => AwsError::new(
            "InsufficientFreeAddressesInSubnet",
            format!("The VPC '{vpc}' has no free /20 CIDR block for a default subnet."),
        ),
        ModelError::KeyPairExists(name) => {
            AwsError::new("InvalidKeyPair.Duplicate", format!("The keypair '{name}' already exists."))
        }
        ModelError::KeyPairNotFound(name) => key_pair_not_found(&name),
        ModelError::InstanceCount { given, limit: 1 } => parameters::combination(format!(
            "A network interface or a private address may be given to a single instance only, and {given} were asked for"
        )),
        ModelError::InstanceCount { given, limit } => invalid(format!(
            "Value ({given}) for parameter maxCount is invalid. Expecting a value between 1 and {limit}."
        )),
        ModelError::TerminationProtected(id) => not_permitted(format!(
            "The instance '{id}' may not be terminated. Modify its 'disableApiTermination' instance attribute and \
             try again."
        )),
        ModelError::DeviceIndexTaken { instance, index } => invalid(format!(
            "Instance '{instance}' already has an interface attached at device index '{index}'."
        )),
        ModelError::PrimaryInterface(_) => {
            not_permitted("The network interface at device index 0 cannot be detached.".to_owned())
        }
        ModelError::InterfaceManaged { .. } if operation == "DetachNetworkInterface" => {
            not_permitted("You are not allowed to manage 'ela-attach' attachments.".to_owned())
        }
        ModelError::InterfaceManaged { interface } => {
            not_permitted(format!("You do not have permission to manage the network interface '{interface}': AWS manages it."))
        }
        ModelError::IdentityNotFound { kind, name } => {
            let kind = if kind == "instance profile" { "Instance Profile" } else { kind };
            invalid(format!("Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM {kind} name"))
        }
        ModelError::IdentityExists { kind, name } => invalid(format!("The {kind} '{name}' already exists.")),
        ModelError::IdentityInUse { kind, name, what } => {
            AwsError::new("DependencyViolation", format!("The {kind} '{name}' still has {what}."))
        }
        ModelError::IdentityName { kind, name } => invalid(format!("'{name}' is not a name for a {kind}.")),
        ModelError::Organization(refusal) => invalid(format!("{refusal}.")),
        ModelError::ProfileHasRole => invalid("An instance profile holds one role.".to_owned()),
        ModelError::ProfileWithoutRole { account, path, name } => invalid(format!(
            "IAM Instance Profile \"arn:aws:iam::{account}:instance-profile{path}{name}\" has no associated IAM Roles"
        )),
        ModelError::InvalidTagKey(key) => invalid(tag_key(&key)),
        ModelError::InvalidTagValue(_) => {
            invalid("Tag value exceeds the maximum length of 256 characters".to_owned())
        }
        ModelError::TooManyTags { limit } => AwsError::new(
            "TagLimitExceeded",
            format!("The maximum number of Tags for a resource has been reached: {limit}."),
        ),
        ModelError::Unchangeable { resource, what } => {
            AwsError::new("IncorrectState", format!("The {what} of '{resource}' cannot be changed now."))
        }
        ModelError::TokenReused { .. } => AwsError::new(
            "IdempotentParameterMismatch",
            "The request uses the same client token as a previous, but non-identical request. Do not reuse a client \
             token with different requests, unless the requests are identical.",
        ),
        ModelError::IdsExhausted => internal("no free id could be made"),
    }
}

fn tag_key(key: &str) -> String {
    if key.is_empty() {
        "Tag key cannot be null or empty".to_owned()
    } else if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        format!("Tag keys starting with 'aws:' are reserved for internal use: '{key}'")
    } else {
        "Tag key exceeds the maximum length of 128 characters".to_owned()
    }
}

fn different_networks(operation: &str, a: ResourceId, b: ResourceId) -> AwsError {
    match (a, b) {
        (ResourceId::SecurityGroup(group), other) => AwsError::new(
            if operation == "RunInstances" { "InvalidParameter" } else { "InvalidGroup.NotFound" },
            format!("Security group {group} and {} {other} belong to different networks.", noun(other)),
        ),
        (ResourceId::RouteTable(table), ResourceId::Subnet(subnet)) => AwsError::new(
            "InvalidParameterValue",
            format!("Route table {table} and subnet {subnet} belong to different networks"),
        ),
        (ResourceId::RouteTable(table), gateway @ ResourceId::InternetGateway(_)) => AwsError::new(
            "InvalidParameterValue",
            format!("route table {table} and network gateway {gateway} belong to different networks"),
        ),
        (ResourceId::RouteTable(table), interface @ ResourceId::NetworkInterface(_)) => AwsError::new(
            "InvalidParameterValue",
            format!("route table {table} and interface {interface} belong to different networks"),
        ),
        (a, b) => AwsError::new(
            "InvalidParameterValue",
            format!("{} {a} and {} {b} belong to different networks", noun(a), noun(b)),
        ),
    }
}
