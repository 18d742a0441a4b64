//! How network interfaces are shown, and what they can be filtered by.

use std::net::Ipv4Addr;

use postern_model::gateway::{Address, elastic_of};
use postern_model::interface::{Attachment, InterfaceKind, NetworkInterface};
use postern_model::{AttachmentId, SecurityGroupId, State};
use postern_wire::ec2;

use super::filters::{FilterTable, Row, each, none, shown, text};
use super::view::{private_name, public_name, some, tags, timestamp, vpc_has, zone_id};

/// Who AWS says manages the interfaces of its gateways.
pub const AWS_OWNER: &str = "amazon-aws";

/// The account of AWS's that makes the interfaces of endpoints.
const ENDPOINT_REQUESTER: &str = "727180483921";

/// A public address of an interface, and whose it is.
pub enum Public<'a> {
    /// An Elastic IP address.
    Elastic(&'a Address),
    /// One that came with the launch.
    Automatic(Ipv4Addr),
}

impl Public<'_> {
    /// The address.
    pub fn address(&self) -> Ipv4Addr {
        match self {
            Self::Elastic(address) => address.public_address,
            Self::Automatic(address) => *address,
        }
    }

    /// `IpOwnerId`.
    pub fn owner(&self) -> String {
        match self {
            Self::Elastic(address) => address.owner.to_string(),
            Self::Automatic(_) => "amazon".to_owned(),
        }
    }
}

/// The public address of one private address of an interface.
pub fn public_of<'a>(
    state: &'a State,
    interface: &NetworkInterface,
    private: Ipv4Addr,
) -> Option<Public<'a>> {
    let automatic = || {
        let first = interface.primary_address() == private;
        interface.automatic_public_address.filter(|_| first).map(Public::Automatic)
    };
    elastic_of(state, interface.id, private).map(Public::Elastic).or_else(automatic)
}

/// The public name of an address, which needs the VPC's DNS host names.
pub fn public_dns_name(state: &State, interface: &NetworkInterface, address: Ipv4Addr) -> Option<String> {
    let named = vpc_has(state, interface.vpc, |vpc| vpc.dns_hostnames && vpc.dns_support);
    named.then(|| public_name(&state.region.name, address))
}

fn association(
    state: &State,
    interface: &NetworkInterface,
    private: Ipv4Addr,
) -> Option<ec2::NetworkInterfaceAssociation> {
    let public = public_of(state, interface, private)?;
    let (allocation, association) = match public {
        Public::Elastic(address) => (some(address.id), address.association.map(|a| a.id.to_string())),
        Public::Automatic(_) => (None, None),
    };
    Some(ec2::NetworkInterfaceAssociation {
        allocation_id: allocation,
        association_id: association,
        ip_owner_id: some(public.owner()),
        public_dns_name: public_dns_name(state, interface, public.address()).or_else(|| some("")),
        public_ip: some(public.address()),
        ..Default::default()
    })
}

/// Groups as they are listed with interfaces and instances.
pub fn groups(state: &State, groups: &[SecurityGroupId]) -> Vec<ec2::GroupIdentifier> {
    let shown = |id: &SecurityGroupId| ec2::GroupIdentifier {
        group_id: some(id),
        group_name: state.security_groups.get(id).map(|group| group.name.clone()),
    };
    groups.iter().map(shown).collect()
}

/// What the ids of attachments begin with that AWS's own gateways and endpoints have.
const MANAGED_ATTACHMENT: &str = "ela-attach-";
/// What those of others begin with.
const ATTACHMENT: &str = "eni-attach-";

/// An attachment's id, as it is shown.
fn attachment_id(kind: InterfaceKind, id: AttachmentId) -> String {
    let text = id.to_string();
    match text.strip_prefix(ATTACHMENT).filter(|_| kind.is_requester_managed()) {
        Some(number) => format!("{MANAGED_ATTACHMENT}{number}"),
        None => text,
    }
}

/// The text of an attachment's id as the model has it.
pub fn attachment_text(shown: &str) -> String {
    let number = shown.strip_prefix(MANAGED_ATTACHMENT);
    number.map_or_else(|| shown.to_owned(), |number| format!("{ATTACHMENT}{number}"))
}

/// An attachment as it is listed with its interface.
pub fn attachment(interface: &NetworkInterface, attachment: Attachment) -> ec2::NetworkInterfaceAttachment {
    let owner = match (interface.kind, attachment.instance) {
        (InterfaceKind::Interface, Some(_)) => some(interface.owner),
        (InterfaceKind::Interface, None)
        | (
            InterfaceKind::NatGateway
            | InterfaceKind::LoadBalancer
            | InterfaceKind::VpcEndpoint(_)
            | InterfaceKind::ResolverEndpoint(_),
            _,
        ) => some(AWS_OWNER),
    };
    ec2::NetworkInterfaceAttachment {
        attach_time: Some(timestamp(attachment.attached_at)),
        attachment_id: some(attachment_id(interface.kind, attachment.id)),
        delete_on_termination: Some(attachment.delete_on_termination),
        device_index: Some(attachment.device_index.into()),
        instance_id: attachment.instance.map(|id| id.to_string()),
        instance_owner_id: owner,
        network_card_index: Some(0),
        status: some("attached"),
        ..Default::default()
    }
}

/// The private name of an interface's address, which needs the VPC's DNS host names.
pub fn private_dns_name(state: &State, interface: &NetworkInterface, address: Ipv4Addr) -> Option<String> {
    let named = vpc_has(state, interface.vpc, |vpc| vpc.dns_hostnames);
    named.then(|| private_name(&state.region.name, address))
}

fn private_addresses(
    state: &State,
    interface: &NetworkInterface,
) -> Vec<ec2::NetworkInterfacePrivateIpAddress> {
    let primary = interface.primary_address();
    let addresses = interface.private_addresses.iter().map(|private| private.address);
    let shown = |address| ec2::NetworkInterfacePrivateIpAddress {
        association: association(state, interface, address),
        primary: Some(address == primary),
        private_dns_name: private_dns_name(state, interface, address),
        private_ip_address: some(address),
    };
    addresses.map(shown).collect()
}

/// `InterfaceType`.
pub fn kind_name(kind: InterfaceKind) -> &'static str {
    match kind {
        // AWS has no type of its own for the interfaces of a resolver's endpoints.
        InterfaceKind::Interface | InterfaceKind::ResolverEndpoint(_) => "interface",
        InterfaceKind::NatGateway => "nat_gateway",
        InterfaceKind::VpcEndpoint(_) => "vpc_endpoint",
        InterfaceKind::LoadBalancer => "network_load_balancer",
    }
}

/// `RequesterId`: who made it, if it was not its owner.
fn requester(kind: InterfaceKind) -> Option<&'static str> {
    match kind {
        InterfaceKind::Interface => None,
        InterfaceKind::NatGateway => Some(AWS_OWNER),
        InterfaceKind::VpcEndpoint(_) => Some(ENDPOINT_REQUESTER),
        InterfaceKind::LoadBalancer => Some("amazon-elb"),
        InterfaceKind::ResolverEndpoint(_) => Some(AWS_OWNER),
    }
}

/// An interface as `DescribeNetworkInterfaces` shows it.
pub fn show(state: &State, interface: &NetworkInterface) -> ec2::NetworkInterface {
    let primary = interface.primary_address();
    let zone = state.subnets.get(&interface.subnet).map(|subnet| subnet.zone.clone());
    let managed = interface.kind.is_requester_managed();
    ec2::NetworkInterface {
        association: association(state, interface, primary),
        attachment: interface.attachment.map(|current| attachment(interface, current)),
        availability_zone_id: zone.as_deref().and_then(|zone| zone_id(state, zone)),
        availability_zone: zone,
        deny_all_igw_traffic: Some(false),
        description: some(&interface.description),
        groups: Some(groups(state, &interface.groups)),
        interface_type: some(kind_name(interface.kind)),
        ipv6_addresses: Some(Vec::new()),
        mac_address: some(interface.mac),
        network_interface_id: some(interface.id),
        owner_id: some(interface.owner),
        private_dns_name: private_dns_name(state, interface, primary),
        private_ip_address: some(primary),
        private_ip_addresses: Some(private_addresses(state, interface)),
        requester_id: requester(interface.kind).map(str::to_owned),
        requester_managed: Some(managed),
        source_dest_check: Some(interface.source_dest_check),
        status: some(if interface.attachment.is_some() { "in-use" } else { "available" }),
        subnet_id: some(interface.subnet),
        tag_set: tags(&interface.tags),
        vpc_id: some(interface.vpc),
        ..Default::default()
    }
}

/// A member of the association of the primary address.
fn of_association(
    interface: &ec2::NetworkInterface,
    member: fn(&ec2::NetworkInterfaceAssociation) -> Option<String>,
) -> Vec<String> {
    interface.association.as_ref().and_then(member).into_iter().collect()
}

/// A member of the attachment.
fn of_attachment(
    interface: &ec2::NetworkInterface,
    member: fn(&ec2::NetworkInterfaceAttachment) -> Option<String>,
) -> Vec<String> {
    interface.attachment.as_ref().and_then(member).into_iter().collect()
}

impl Row for ec2::NetworkInterface {
    const FILTERS: FilterTable<Self> = &[
        ("addresses.association.owner-id", |i| {
            each(i.private_ip_addresses.as_ref(), |a| a.association.as_ref()?.ip_owner_id.clone())
        }),
        ("addresses.association.public-ip", |i| {
            each(i.private_ip_addresses.as_ref(), |a| a.association.as_ref()?.public_ip.clone())
        }),
        ("addresses.primary", |i| each(i.private_ip_addresses.as_ref(), |a| a.primary)),
        ("addresses.private-ip-address", |i| {
            each(i.private_ip_addresses.as_ref(), |a| a.private_ip_address.clone())
        }),
        ("association.allocation-id", |i| of_association(i, |a| a.allocation_id.clone())),
        ("association.association-id", |i| of_association(i, |a| a.association_id.clone())),
        ("association.ip-owner-id", |i| of_association(i, |a| a.ip_owner_id.clone())),
        ("association.public-dns-name", |i| of_association(i, |a| a.public_dns_name.clone())),
        ("association.public-ip", |i| of_association(i, |a| a.public_ip.clone())),
        ("attachment.attach-time", |i| of_attachment(i, |a| a.attach_time.map(|t| t.iso_millis()))),
        ("attachment.attachment-id", |i| of_attachment(i, |a| a.attachment_id.clone())),
        ("attachment.delete-on-termination", |i| {
            of_attachment(i, |a| a.delete_on_termination.map(|on| on.to_string()))
        }),
        ("attachment.device-index", |i| of_attachment(i, |a| a.device_index.map(|n| n.to_string()))),
        ("attachment.instance-id", |i| of_attachment(i, |a| a.instance_id.clone())),
        ("attachment.instance-owner-id", |i| of_attachment(i, |a| a.instance_owner_id.clone())),
        ("attachment.status", |i| of_attachment(i, |a| a.status.clone())),
        ("availability-zone", |i| text(i.availability_zone.as_ref())),
        ("availability-zone-id", |i| text(i.availability_zone_id.as_ref())),
        ("description", |i| text(i.description.as_ref())),
        ("group-id", |i| each(i.groups.as_ref(), |g| g.group_id.clone())),
        ("group-name", |i| each(i.groups.as_ref(), |g| g.group_name.clone())),
        ("interface-type", |i| text(i.interface_type.as_ref())),
        ("ipv6-addresses.ipv6-address", none),
        ("mac-address", |i| text(i.mac_address.as_ref())),
        ("network-interface-id", |i| text(i.network_interface_id.as_ref())),
        ("owner-id", |i| text(i.owner_id.as_ref())),
        ("private-dns-name", |i| text(i.private_dns_name.as_ref())),
        ("private-ip-address", |i| text(i.private_ip_address.as_ref())),
        ("requester-id", |i| text(i.requester_id.as_ref())),
        ("requester-managed", |i| shown(i.requester_managed)),
        ("source-dest-check", |i| shown(i.source_dest_check)),
        ("status", |i| text(i.status.as_ref())),
        ("subnet-id", |i| text(i.subnet_id.as_ref())),
        ("vpc-id", |i| text(i.vpc_id.as_ref())),
    ];

    fn key(&self) -> String {
        self.network_interface_id.clone().unwrap_or_default()
    }

    fn tags(&self) -> &[ec2::Tag] {
        self.tag_set.as_deref().unwrap_or_default()
    }
}
