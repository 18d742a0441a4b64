//! How instances are shown.

use std::net::Ipv4Addr;

use postern_model::instance::{Instance, InstanceState, MetadataOptions};
use postern_model::interface::{Attachment, NetworkInterface};
use postern_model::{AccountId, State, Timestamp};
use postern_wire::ec2;

use super::image;
use super::instance_type::InstanceType;
use super::interface_view::{groups, kind_name, private_dns_name, public_dns_name, public_of};
use super::view::{private_name, some, tags, timestamp, vpc_has, zone_id};

/// A state as it is shown.
pub fn state_of(state: InstanceState) -> ec2::InstanceState {
    ec2::InstanceState { code: Some(state.code().into()), name: some(state.name()) }
}

/// A profile as it is shown with its instance.
pub fn profile(state: &State, account: AccountId, name: &str) -> Option<ec2::IamInstanceProfile> {
    let profile = state.iam.get(&account)?.instance_profiles.get(name)?;
    Some(ec2::IamInstanceProfile {
        arn: some(format!("arn:aws:iam::{account}:instance-profile{}{}", profile.path, profile.name)),
        id: some(&profile.unique_id),
    })
}

/// Metadata options as they are shown. Sessions are always required.
pub fn metadata(options: MetadataOptions) -> ec2::InstanceMetadataOptionsResponse {
    ec2::InstanceMetadataOptionsResponse {
        http_endpoint: some(if options.enabled { "enabled" } else { "disabled" }),
        http_protocol_ipv6: some("disabled"),
        http_put_response_hop_limit: Some(options.hop_limit.into()),
        http_tokens: some("required"),
        instance_metadata_tags: some("disabled"),
        state: some("applied"),
    }
}

fn association(
    state: &State,
    interface: &NetworkInterface,
    private: Ipv4Addr,
) -> Option<ec2::InstanceNetworkInterfaceAssociation> {
    let public = public_of(state, interface, private)?;
    Some(ec2::InstanceNetworkInterfaceAssociation {
        ip_owner_id: some(public.owner()),
        public_dns_name: public_dns_name(state, interface, public.address()).or_else(|| some("")),
        public_ip: some(public.address()),
        ..Default::default()
    })
}

fn attachment(attachment: Attachment) -> ec2::InstanceNetworkInterfaceAttachment {
    ec2::InstanceNetworkInterfaceAttachment {
        attach_time: Some(timestamp(attachment.attached_at)),
        attachment_id: some(attachment.id),
        delete_on_termination: Some(attachment.delete_on_termination),
        device_index: Some(attachment.device_index.into()),
        network_card_index: Some(0),
        status: some("attached"),
        ..Default::default()
    }
}

fn interface(state: &State, interface: &NetworkInterface) -> ec2::InstanceNetworkInterface {
    let primary = interface.primary_address();
    let address = |address: Ipv4Addr| ec2::InstancePrivateIpAddress {
        association: association(state, interface, address),
        primary: Some(address == primary),
        private_dns_name: private_dns_name(state, interface, address),
        private_ip_address: some(address),
    };
    ec2::InstanceNetworkInterface {
        association: association(state, interface, primary),
        attachment: interface.attachment.map(attachment),
        description: some(&interface.description),
        groups: Some(groups(state, &interface.groups)),
        interface_type: some(kind_name(interface.kind)),
        ipv6_addresses: Some(Vec::new()),
        mac_address: some(interface.mac),
        network_interface_id: some(interface.id),
        owner_id: some(interface.owner),
        private_dns_name: private_dns_name(state, interface, primary),
        private_ip_address: some(primary),
        private_ip_addresses: Some(interface.private_addresses.iter().map(|p| address(p.address)).collect()),
        source_dest_check: Some(interface.source_dest_check),
        status: some("in-use"),
        subnet_id: some(interface.subnet),
        vpc_id: some(interface.vpc),
        ..Default::default()
    }
}

/// Why an instance is in its state, in AWS's codes where the reason is AWS's own.
fn state_reason(instance: &Instance) -> Option<ec2::StateReason> {
    let reason = |code: &str, message: String| ec2::StateReason { code: some(code), message: Some(message) };
    match (instance.state, instance.state_reason.as_str()) {
        (InstanceState::Running, _) => None,
        (InstanceState::Pending, _) => Some(reason("pending", "pending".to_owned())),
        (_, "User initiated") => {
            let code = "Client.UserInitiatedShutdown";
            Some(reason(code, format!("{code}: User initiated shutdown")))
        }
        (_, "") => None,
        (_, other) => Some(reason("Server.InternalError", format!("Server.InternalError: {other}"))),
    }
}

/// `User initiated (2026-01-31 12:34:56 GMT)`.
fn transition_reason(reason: &str, at: Timestamp) -> String {
    if reason.is_empty() {
        return String::new();
    }
    let at = timestamp(at).iso_seconds().replace('T', " ").replace('Z', " GMT");
    format!("{reason} ({at})")
}

fn placement(state: &State, instance: &Instance) -> ec2::Placement {
    let zone = state.subnets.get(&instance.subnet).map(|subnet| subnet.zone.clone());
    ec2::Placement {
        availability_zone_id: zone.as_deref().and_then(|zone| zone_id(state, zone)),
        availability_zone: zone,
        group_name: some(""),
        tenancy: some("default"),
        ..Default::default()
    }
}

/// An instance as `DescribeInstances` shows it.
pub fn show(state: &State, instance: &Instance) -> ec2::Instance {
    let gone = instance.state == InstanceState::Terminated;
    let mut interfaces: Vec<_> = instance.interfaces(state).collect();
    interfaces.sort_by_key(|interface| interface.attachment.map(|attachment| attachment.device_index));
    let primary = instance.primary_interface(state);
    let private = primary.map(|interface| interface.primary_address());
    let public = primary.and_then(|interface| public_of(state, interface, interface.primary_address()));
    let public_name = primary
        .zip(public.as_ref())
        .and_then(|(interface, public)| public_dns_name(state, interface, public.address()));
    let resolves = vpc_has(state, instance.vpc, |vpc| vpc.dns_support);
    let private_name = private.filter(|_| resolves).map(|address| private_name(&state.region.name, address));
    let instance_type = InstanceType::find(&instance.instance_type);
    ec2::Instance {
        ami_launch_index: Some(instance.launch_index.into()),
        architecture: some(image::ARCHITECTURE),
        block_device_mappings: Some(Vec::new()),
        boot_mode: some("uefi-preferred"),
        capacity_reservation_specification: Some(ec2::CapacityReservationSpecificationResponse {
            capacity_reservation_preference: some("open"),
            capacity_reservation_target: None,
        }),
        client_token: some(""),
        cpu_options: instance_type.map(InstanceType::cpu_options),
        current_instance_boot_mode: some("uefi"),
        ebs_optimized: Some(false),
        ena_support: Some(true),
        enclave_options: Some(ec2::EnclaveOptions { enabled: Some(false) }),
        hibernation_options: Some(ec2::HibernationOptions { configured: Some(false) }),
        hypervisor: some("xen"),
        iam_instance_profile: instance
            .profile
            .as_ref()
            .and_then(|(_, name)| profile(state, instance.owner, name)),
        image_id: some(&instance.image),
        instance_id: some(instance.id),
        instance_type: some(&instance.instance_type),
        key_name: instance.key_name.clone(),
        launch_time: Some(timestamp(instance.launched_at)),
        maintenance_options: Some(ec2::InstanceMaintenanceOptions {
            auto_recovery: some("disabled"),
            reboot_migration: None,
        }),
        metadata_options: Some(metadata(instance.metadata)),
        monitoring: Some(ec2::Monitoring { state: some("disabled"), ..Default::default() }),
        network_interfaces: Some(interfaces.iter().map(|found| interface(state, found)).collect()),
        placement: Some(placement(state, instance)),
        platform_details: some(image::PLATFORM_DETAILS),
        private_dns_name: Some(private_name.unwrap_or_default()),
        private_dns_name_options: (!gone).then(|| ec2::PrivateDnsNameOptionsResponse {
            enable_resource_name_dns_aaaa_record: Some(false),
            enable_resource_name_dns_a_record: Some(false),
            hostname_type: some("ip-name"),
        }),
        private_ip_address: private.map(|address| address.to_string()),
        product_codes: Some(Vec::new()),
        public_dns_name: Some(public_name.unwrap_or_default()),
        public_ip_address: public.map(|public| public.address().to_string()),
        root_device_name: some(image::ROOT_DEVICE_NAME),
        root_device_type: some(image::ROOT_DEVICE_TYPE),
        security_groups: Some(primary.map(|found| groups(state, &found.groups)).unwrap_or_default()),
        source_dest_check: primary.map(|found| found.source_dest_check),
        state: Some(state_of(instance.state)),
        state_reason: state_reason(instance),
        state_transition_reason: Some(transition_reason(&instance.state_reason, instance.state_at)),
        subnet_id: (!gone).then(|| instance.subnet.to_string()),
        tags: tags(&instance.tags),
        usage_operation: some("RunInstances"),
        usage_operation_update_time: Some(timestamp(instance.launched_at)),
        virtualization_type: some(image::VIRTUALIZATION_TYPE),
        vpc_id: (!gone).then(|| instance.vpc.to_string()),
        ..Default::default()
    }
}
