//! What instances can be filtered by: their own members, their interfaces' and their launch's.

use postern_wire::ec2;

use super::filters::{FilterTable, Row, each, none, shown, text};

/// An instance and the launch that it is part of.
pub struct Launched {
    /// The launch's id.
    pub reservation: String,
    /// Whose it is.
    pub owner: String,
    /// The instance.
    pub instance: ec2::Instance,
}

/// A member of every interface.
fn interfaces(row: &Launched, member: fn(&ec2::InstanceNetworkInterface) -> Option<String>) -> Vec<String> {
    each(row.instance.network_interfaces.as_ref(), member)
}

/// A member of every private address of every interface.
fn addresses(row: &Launched, member: fn(&ec2::InstancePrivateIpAddress) -> Option<String>) -> Vec<String> {
    let addresses =
        row.instance.network_interfaces.iter().flatten().flat_map(|i| i.private_ip_addresses.iter());
    addresses.flatten().filter_map(member).collect()
}

/// A member of the metadata options.
fn metadata(
    row: &Launched,
    member: fn(&ec2::InstanceMetadataOptionsResponse) -> Option<String>,
) -> Vec<String> {
    row.instance.metadata_options.as_ref().and_then(member).into_iter().collect()
}

impl Row for Launched {
    const FILTERS: FilterTable<Self> = &[
        ("affinity", none),
        ("architecture", |r| text(r.instance.architecture.as_ref())),
        ("availability-zone", |r| {
            text(r.instance.placement.as_ref().and_then(|p| p.availability_zone.as_ref()))
        }),
        ("availability-zone-id", |r| {
            text(r.instance.placement.as_ref().and_then(|p| p.availability_zone_id.as_ref()))
        }),
        ("block-device-mapping.attach-time", none),
        ("block-device-mapping.delete-on-termination", none),
        ("block-device-mapping.device-name", none),
        ("block-device-mapping.status", none),
        ("block-device-mapping.volume-id", none),
        ("boot-mode", |r| text(r.instance.boot_mode.as_ref())),
        ("client-token", |r| text(r.instance.client_token.as_ref())),
        ("current-instance-boot-mode", |r| text(r.instance.current_instance_boot_mode.as_ref())),
        ("dns-name", |r| text(r.instance.public_dns_name.as_ref())),
        ("ebs-optimized", |r| shown(r.instance.ebs_optimized)),
        ("ena-support", |r| shown(r.instance.ena_support)),
        ("hibernation-options.configured", |r| {
            shown(r.instance.hibernation_options.as_ref().and_then(|o| o.configured))
        }),
        ("host-id", none),
        ("hypervisor", |r| text(r.instance.hypervisor.as_ref())),
        ("iam-instance-profile.arn", |r| {
            text(r.instance.iam_instance_profile.as_ref().and_then(|p| p.arn.as_ref()))
        }),
        ("iam-instance-profile.id", |r| {
            text(r.instance.iam_instance_profile.as_ref().and_then(|p| p.id.as_ref()))
        }),
        ("image-id", |r| text(r.instance.image_id.as_ref())),
        ("instance-id", |r| text(r.instance.instance_id.as_ref())),
        ("instance-lifecycle", none),
        ("instance-state-code", |r| shown(r.instance.state.as_ref().and_then(|s| s.code))),
        ("instance-state-name", |r| text(r.instance.state.as_ref().and_then(|s| s.name.as_ref()))),
        ("instance-type", |r| text(r.instance.instance_type.as_ref())),
        ("instance.group-id", |r| each(r.instance.security_groups.as_ref(), |g| g.group_id.clone())),
        ("instance.group-name", |r| each(r.instance.security_groups.as_ref(), |g| g.group_name.clone())),
        ("ip-address", |r| text(r.instance.public_ip_address.as_ref())),
        ("ipv6-address", none),
        ("kernel-id", none),
        ("key-name", |r| text(r.instance.key_name.as_ref())),
        ("launch-index", |r| shown(r.instance.ami_launch_index)),
        ("launch-time", |r| shown(r.instance.launch_time.map(|at| at.iso_millis()))),
        ("metadata-options.http-endpoint", |r| metadata(r, |m| m.http_endpoint.clone())),
        ("metadata-options.http-protocol-ipv4", |r| metadata(r, |m| m.http_endpoint.clone())),
        ("metadata-options.http-protocol-ipv6", |r| metadata(r, |m| m.http_protocol_ipv6.clone())),
        ("metadata-options.http-put-response-hop-limit", |r| {
            metadata(r, |m| m.http_put_response_hop_limit.map(|hops| hops.to_string()))
        }),
        ("metadata-options.http-tokens", |r| metadata(r, |m| m.http_tokens.clone())),
        ("metadata-options.instance-metadata-tags", |r| metadata(r, |m| m.instance_metadata_tags.clone())),
        ("monitoring-state", |r| text(r.instance.monitoring.as_ref().and_then(|m| m.state.as_ref()))),
        ("network-interface.addresses.association.ip-owner-id", |r| {
            addresses(r, |a| a.association.as_ref()?.ip_owner_id.clone())
        }),
        ("network-interface.addresses.association.public-ip", |r| {
            addresses(r, |a| a.association.as_ref()?.public_ip.clone())
        }),
        ("network-interface.addresses.primary", |r| addresses(r, |a| a.primary.map(|p| p.to_string()))),
        ("network-interface.addresses.private-ip-address", |r| {
            addresses(r, |a| a.private_ip_address.clone())
        }),
        ("network-interface.association.ip-owner-id", |r| {
            interfaces(r, |i| i.association.as_ref()?.ip_owner_id.clone())
        }),
        ("network-interface.association.public-ip", |r| {
            interfaces(r, |i| i.association.as_ref()?.public_ip.clone())
        }),
        ("network-interface.attachment.attach-time", |r| {
            interfaces(r, |i| i.attachment.as_ref()?.attach_time.map(|at| at.iso_millis()))
        }),
        ("network-interface.attachment.attachment-id", |r| {
            interfaces(r, |i| i.attachment.as_ref()?.attachment_id.clone())
        }),
        ("network-interface.attachment.delete-on-termination", |r| {
            interfaces(r, |i| i.attachment.as_ref()?.delete_on_termination.map(|on| on.to_string()))
        }),
        ("network-interface.attachment.device-index", |r| {
            interfaces(r, |i| i.attachment.as_ref()?.device_index.map(|n| n.to_string()))
        }),
        ("network-interface.attachment.instance-id", |r| {
            let attached = r.instance.network_interfaces.as_ref().is_some_and(|list| !list.is_empty());
            text(r.instance.instance_id.as_ref().filter(|_| attached))
        }),
        ("network-interface.attachment.instance-owner-id", |r| interfaces(r, |i| i.owner_id.clone())),
        ("network-interface.attachment.status", |r| interfaces(r, |i| i.attachment.as_ref()?.status.clone())),
        ("network-interface.availability-zone", |r| {
            text(r.instance.placement.as_ref().and_then(|p| p.availability_zone.as_ref()))
        }),
        ("network-interface.description", |r| interfaces(r, |i| i.description.clone())),
        ("network-interface.group-id", |r| {
            let groups =
                r.instance.network_interfaces.iter().flatten().flat_map(|i| i.groups.iter().flatten());
            groups.filter_map(|group| group.group_id.clone()).collect()
        }),
        ("network-interface.group-name", |r| {
            let groups =
                r.instance.network_interfaces.iter().flatten().flat_map(|i| i.groups.iter().flatten());
            groups.filter_map(|group| group.group_name.clone()).collect()
        }),
        ("network-interface.ipv6-addresses.ipv6-address", none),
        ("network-interface.mac-address", |r| interfaces(r, |i| i.mac_address.clone())),
        ("network-interface.network-interface-id", |r| interfaces(r, |i| i.network_interface_id.clone())),
        ("network-interface.owner-id", |r| interfaces(r, |i| i.owner_id.clone())),
        ("network-interface.private-dns-name", |r| interfaces(r, |i| i.private_dns_name.clone())),
        ("network-interface.private-ip-address", |r| interfaces(r, |i| i.private_ip_address.clone())),
        ("network-interface.requester-id", none),
        ("network-interface.requester-managed", |r| interfaces(r, |_| Some("false".to_owned()))),
        ("network-interface.source-dest-check", |r| {
            interfaces(r, |i| i.source_dest_check.map(|on| on.to_string()))
        }),
        ("network-interface.status", |r| interfaces(r, |i| i.status.clone())),
        ("network-interface.subnet-id", |r| interfaces(r, |i| i.subnet_id.clone())),
        ("network-interface.vpc-id", |r| interfaces(r, |i| i.vpc_id.clone())),
        ("outpost-arn", none),
        ("owner-id", |r| vec![r.owner.clone()]),
        ("placement-group-name", none),
        ("placement-partition-number", none),
        ("platform", none),
        ("platform-details", |r| text(r.instance.platform_details.as_ref())),
        ("private-dns-name", |r| text(r.instance.private_dns_name.as_ref())),
        ("private-ip-address", |r| text(r.instance.private_ip_address.as_ref())),
        ("product-code", none),
        ("product-code.type", none),
        ("ramdisk-id", none),
        ("reason", |r| text(r.instance.state_transition_reason.as_ref())),
        ("requester-id", none),
        ("reservation-id", |r| vec![r.reservation.clone()]),
        ("root-device-name", |r| text(r.instance.root_device_name.as_ref())),
        ("root-device-type", |r| text(r.instance.root_device_type.as_ref())),
        ("source-dest-check", |r| shown(r.instance.source_dest_check)),
        ("spot-instance-request-id", none),
        ("state-reason-code", |r| text(r.instance.state_reason.as_ref().and_then(|s| s.code.as_ref()))),
        ("state-reason-message", |r| text(r.instance.state_reason.as_ref().and_then(|s| s.message.as_ref()))),
        ("subnet-id", |r| text(r.instance.subnet_id.as_ref())),
        ("tenancy", |r| text(r.instance.placement.as_ref().and_then(|p| p.tenancy.as_ref()))),
        ("usage-operation", |r| text(r.instance.usage_operation.as_ref())),
        ("usage-operation-update-time", |r| {
            shown(r.instance.usage_operation_update_time.map(|at| at.iso_millis()))
        }),
        ("virtualization-type", |r| text(r.instance.virtualization_type.as_ref())),
        ("vpc-id", |r| text(r.instance.vpc_id.as_ref())),
    ];

    /// Instances of a launch stand together.
    fn key(&self) -> String {
        format!("{} {}", self.reservation, self.instance.instance_id.clone().unwrap_or_default())
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.instance.tags.as_deref().unwrap_or_default()
    }
}
