//! Interface endpoints: a network interface in each of their subnets, security groups, and names.
//!
//! Rules from "Access an AWS service using an interface VPC endpoint", "Configure an interface endpoint" and "Private DNS
//! names" in the AWS PrivateLink guide.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::{EndpointKind, EndpointState, Service, VpcEndpoint, check_kind};
use crate::endpoint_service::{self, EndpointService};
use crate::error::ModelError;
use crate::id::*;
use crate::interface::{Attachment, InterfaceKind, NetworkInterface, NewInterface, resolve_groups};
use crate::quota::Quota;
use crate::state::State;
use crate::subnet::Subnet;
use crate::tag::{self, TagSet};
use crate::txn::Txn;
use crate::vpc::Vpc;

/// What only an interface endpoint has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfacePart {
    /// What tells its names from those of others: `vpce-…-0h4w5u94`.
    pub label: String,
    /// Its network interface in each subnet. No two of them are in one zone.
    pub interfaces: OrdMap<SubnetId, NetworkInterfaceId>,
    /// The security groups of all of its interfaces. Never empty.
    pub groups: Vec<SecurityGroupId>,
    /// Whether the service's own names lead to it inside the VPC.
    pub private_dns: bool,
    /// How its names are answered.
    pub dns: DnsOptions,
}

/// How the names of an interface endpoint are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsOptions {
    /// Which records there are.
    pub record_ip_type: DnsRecordIpType,
    /// Whether the service's own names lead to it only for who asks from outside the VPC, by an inbound resolver.
    pub inbound_only: bool,
}

/// Which records an endpoint's names have. What is here has IPv4 alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsRecordIpType {
    /// A records.
    Ipv4,
    /// Those that the service chooses: A records for all services here.
    ServiceDefined,
}

impl DnsRecordIpType {
    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::ServiceDefined => "service-defined",
        }
    }
}

/// What a request says of [`DnsOptions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsChoice {
    /// Which records there are.
    pub record_ip_type: Option<DnsRecordIpType>,
    /// Whether private names are for inbound resolvers alone.
    pub inbound_only: Option<bool>,
}

/// How an interface endpoint is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewInterfaceEndpoint {
    /// The VPC that it will serve.
    pub vpc: VpcId,
    /// What it will lead to.
    pub service_name: String,
    /// Where it will have interfaces.
    pub subnets: Vec<SubnetId>,
    /// The addresses that were chosen, of subnets among those.
    pub addresses: Vec<(SubnetId, Ipv4Addr)>,
    /// Its security groups; none means the VPC's default one.
    pub groups: Vec<SecurityGroupId>,
    /// Whether the service's own names will lead to it.
    pub private_dns: bool,
    /// How its names will be answered.
    pub dns: DnsChoice,
    /// The text of its policy; none means full access.
    pub policy: Option<String>,
    /// Its tags.
    pub tags: TagSet,
}

/// What can change of an interface endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InterfaceChange {
    /// Subnets in which it will have an interface.
    pub add_subnets: Vec<SubnetId>,
    /// Subnets in which it will have none.
    pub remove_subnets: Vec<SubnetId>,
    /// Addresses that its interfaces will have: those that have others are made anew.
    pub addresses: Vec<(SubnetId, Ipv4Addr)>,
    /// Security groups that it will have too.
    pub add_groups: Vec<SecurityGroupId>,
    /// Security groups that it will no longer have.
    pub remove_groups: Vec<SecurityGroupId>,
    /// Whether the service's own names will lead to it.
    pub private_dns: Option<bool>,
    /// How its names will be answered.
    pub dns: DnsChoice,
}

impl InterfaceChange {
    /// Whether it says nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

pub(crate) fn create(txn: &mut Txn, new: NewInterfaceEndpoint) -> Result<(), ModelError> {
    let vpc = txn.get::<Vpc>(new.vpc)?;
    let own = endpoint_service::by_name(&txn.state, &new.service_name).cloned();
    let service = known_service(&txn.state, &new.service_name);
    let service = service.ok_or_else(|| ModelError::ServiceNotFound(new.service_name.clone()))?;
    check_kind(&service, EndpointKind::Interface)?;
    if let Some(own) = &own {
        txn.admit(|txn| check_offer(txn, own, &new))?;
    }
    let state = match &own {
        Some(own) if own.acceptance_required => EndpointState::PendingAcceptance,
        Some(_) | None => EndpointState::Pending,
    };
    txn.within(Quota::InterfaceEndpoints, |txn| of_vpc(&txn.state, new.vpc).count() + 1)?;
    let groups = resolve_groups(txn, new.vpc, Some(new.groups))?;
    let options = chosen(&service, new.private_dns, DnsOptions::USUAL, new.dns);
    txn.admit(|txn| check_names(txn, &vpc, &service, None, new.private_dns, options))?;
    check_addresses(&new.subnets, &new.addresses)?;
    let id = txn.mint::<VpcEndpoint>(VpcEndpointId::from_number)?;
    let (label, tags) = (label(txn), tag::collect(&new.tags)?);
    txn.insert(VpcEndpoint {
        id,
        owner: txn.account,
        vpc: new.vpc,
        service_name: new.service_name,
        kind: EndpointKind::Interface,
        route_tables: Default::default(),
        interface: Some(InterfacePart {
            label,
            interfaces: OrdMap::new(),
            groups,
            private_dns: new.private_dns,
            dns: options,
        }),
        policy: new.policy,
        state,
        created_at: txn.at,
        deleted_at: None,
        tags,
    });
    new.subnets
        .iter()
        .try_for_each(|subnet| add_subnet(txn, id, *subnet, address_of(&new.addresses, *subnet)))
}

impl DnsOptions {
    /// What an endpoint has whose maker said nothing.
    const USUAL: Self = Self { record_ip_type: DnsRecordIpType::Ipv4, inbound_only: false };
}

/// A service by its name, whoever runs it, with what endpoints ask of it.
fn known_service(state: &State, name: &str) -> Option<Arc<Service>> {
    let own =
        || endpoint_service::by_name(state, name).map(|own| Arc::new(own.as_service(&state.region.name)));
    state.services.get(name).cloned().or_else(own)
}

/// Refuses an endpoint that a service of a user's is not offered for. Which principals of the account are allowed is
/// asked at the API edge, which knows who asks. Who is not allowed learns no more than if there were no such service.
fn check_offer(txn: &Txn, own: &EndpointService, new: &NewInterfaceEndpoint) -> Result<(), ModelError> {
    if !own.admits_some_of(txn.account) {
        return Err(ModelError::ServiceNotFound(new.service_name.clone()));
    }
    if new.policy.is_some() {
        return Err(ModelError::EndpointPolicyUnsupported { service: new.service_name.clone() });
    }
    new.subnets.iter().try_for_each(|subnet| check_zone(txn, &new.service_name, *subnet))
}

/// Refuses a subnet of a zone in which a user's service has no load balancer.
fn check_zone(txn: &Txn, service_name: &str, subnet: SubnetId) -> Result<(), ModelError> {
    let Some(own) = endpoint_service::by_name(&txn.state, service_name) else { return Ok(()) };
    let zone = &txn.get::<Subnet>(subnet)?.zone;
    if own.zones(&txn.state).contains(zone) {
        return Ok(());
    }
    Err(ModelError::EndpointZoneUnsupported { service: service_name.to_owned(), subnet })
}

/// What was chosen, and what follows where nothing was: of a service that has gateway endpoints too, private names are
/// for inbound resolvers alone unless a request says otherwise.
fn chosen(service: &Service, private_dns: bool, now: DnsOptions, choice: DnsChoice) -> DnsOptions {
    let usual = private_dns && service.endpoint_kinds.contains(&EndpointKind::Gateway);
    DnsOptions {
        record_ip_type: choice.record_ip_type.unwrap_or(now.record_ip_type),
        inbound_only: choice.inbound_only.unwrap_or(usual),
    }
}

/// The interface endpoints of a VPC that are somebody's.
fn of_vpc(state: &State, vpc: VpcId) -> impl Iterator<Item = (&VpcEndpoint, &InterfacePart)> {
    let all = state.vpc_endpoints.values().map(AsRef::as_ref);
    let live = all.filter(move |endpoint| endpoint.vpc == vpc && endpoint.state.is_live());
    live.filter_map(|endpoint| Some((endpoint, endpoint.interface.as_ref()?)))
}

/// Refuses names that an endpoint cannot have.
fn check_names(
    txn: &Txn,
    vpc: &Vpc,
    service: &Service,
    own: Option<VpcEndpointId>,
    private_dns: bool,
    options: DnsOptions,
) -> Result<(), ModelError> {
    let name = service.private_dns_names.first();
    if private_dns && name.is_none() {
        let own = crate::endpoint_service::by_name(&txn.state, &service.name);
        let unverified = own.is_some_and(|own| own.private_dns.is_some());
        return Err(ModelError::NoPrivateName { service: service.name.clone(), unverified });
    }
    if options.inbound_only {
        check_inbound_only(txn, vpc.id, service, private_dns)?;
    }
    let Some(name) = name.filter(|_| private_dns) else { return Ok(()) };
    if !(vpc.dns_support && vpc.dns_hostnames) {
        return Err(ModelError::PrivateDnsAttributes { vpc: vpc.id });
    }
    let taken = of_vpc(&txn.state, vpc.id).any(|(other, part)| {
        let other_service = known_service(&txn.state, &other.service_name);
        let names = other_service.is_some_and(|service| service.private_dns_names.contains(name));
        part.private_dns && Some(other.id) != own && names
    });
    if taken { Err(ModelError::PrivateNameTaken { name: name.clone(), vpc: vpc.id }) } else { Ok(()) }
}

/// "This option is available only for services that support both gateway and interface endpoints. It routes traffic that
/// originates from the VPC to the gateway endpoint", so there has to be one.
fn check_inbound_only(txn: &Txn, vpc: VpcId, service: &Service, private_dns: bool) -> Result<(), ModelError> {
    if !private_dns || !service.endpoint_kinds.contains(&EndpointKind::Gateway) {
        return Err(ModelError::InboundOnly { service: service.name.clone() });
    }
    let mut endpoints = txn.state.vpc_endpoints.values();
    let there =
        endpoints.any(|e| e.vpc == vpc && e.kind == EndpointKind::Gateway && e.service_name == service.name);
    if there { Ok(()) } else { Err(ModelError::InboundOnlyWithoutGateway { vpc }) }
}

/// Refuses addresses in subnets that the endpoint is not to be in.
fn check_addresses(subnets: &[SubnetId], addresses: &[(SubnetId, Ipv4Addr)]) -> Result<(), ModelError> {
    let stray = addresses.iter().find(|(subnet, _)| !subnets.contains(subnet));
    stray.map_or(Ok(()), |(subnet, _)| Err(ModelError::EndpointSubnet { subnet: *subnet }))
}

fn address_of(addresses: &[(SubnetId, Ipv4Addr)], subnet: SubnetId) -> Option<Ipv4Addr> {
    addresses.iter().find(|(of, _)| *of == subnet).map(|(_, address)| *address)
}

/// Eight small letters and digits.
fn label(txn: &mut Txn) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
    let letter = |number: u64| LETTERS.get(number as usize & 31).copied().map_or('a', char::from);
    (0..8).map(|_| letter(txn.next_random())).collect()
}

/// The part of an endpoint that only interface endpoints have.
fn part(endpoint: &VpcEndpoint) -> Result<&InterfacePart, ModelError> {
    let kind = endpoint.kind;
    endpoint.interface.as_ref().ok_or(ModelError::EndpointPart { endpoint: endpoint.id, kind })
}

fn change_part(
    txn: &mut Txn,
    id: VpcEndpointId,
    change: impl FnOnce(&mut InterfacePart),
) -> Result<(), ModelError> {
    txn.update::<VpcEndpoint>(id, |endpoint| {
        if let Some(part) = &mut endpoint.interface {
            change(part);
        }
    })
}

/// Makes the interface in a subnet.
fn add_subnet(
    txn: &mut Txn,
    id: VpcEndpointId,
    subnet_id: SubnetId,
    private_address: Option<Ipv4Addr>,
) -> Result<(), ModelError> {
    let endpoint = txn.get::<VpcEndpoint>(id)?;
    let there = part(&endpoint)?;
    let subnet = txn.get::<Subnet>(subnet_id)?;
    if subnet.vpc != endpoint.vpc {
        return Err(ModelError::DifferentVpcs { a: subnet_id.into(), b: endpoint.vpc.into() });
    }
    // "You can specify one subnet per Availability Zone."
    let in_zone = |other: &&SubnetId| txn.get::<Subnet>(**other).is_ok_and(|other| other.zone == subnet.zone);
    if let Some(existing) = there.interfaces.keys().find(in_zone) {
        return Err(ModelError::EndpointZoneTaken { existing: *existing });
    }
    let interface = crate::interface::insert(
        txn,
        NewInterface {
            subnet: subnet_id,
            description: format!("VPC Endpoint Interface {id}"),
            private_address,
            secondary_addresses: Vec::new(),
            secondary_count: 0,
            groups: Some(there.groups.clone()),
            kind: InterfaceKind::VpcEndpoint(id),
            tags: Vec::new(),
        },
    )?;
    let attachment = Attachment {
        id: AttachmentId::from_number(txn.id_number()),
        instance: None,
        device_index: 1,
        delete_on_termination: false,
        attached_at: txn.at,
    };
    txn.update::<NetworkInterface>(interface, |interface| interface.attachment = Some(attachment))?;
    change_part(txn, id, |part| {
        part.interfaces.insert(subnet_id, interface);
    })
}

fn remove_subnet(txn: &mut Txn, id: VpcEndpointId, subnet: SubnetId) -> Result<(), ModelError> {
    let endpoint = txn.get::<VpcEndpoint>(id)?;
    let interface = part(&endpoint)?.interfaces.get(&subnet).copied();
    let interface = interface.ok_or(ModelError::EndpointSubnet { subnet })?;
    crate::interface::remove(txn, interface)?;
    change_part(txn, id, |part| {
        part.interfaces.remove(&subnet);
    })
}

/// What is removed goes first, so that a subnet can be put in the place of another of its zone.
pub(super) fn modify(
    txn: &mut Txn,
    endpoint: &VpcEndpoint,
    change: InterfaceChange,
) -> Result<(), ModelError> {
    if change.is_nothing() {
        return Ok(());
    }
    let (id, before) = (endpoint.id, part(endpoint)?.clone());
    modify_names(txn, endpoint, &before, &change)?;
    modify_groups(txn, endpoint, &before, &change)?;
    change.remove_subnets.iter().try_for_each(|subnet| remove_subnet(txn, id, *subnet))?;
    for subnet in &change.add_subnets {
        txn.admit(|txn| check_zone(txn, &endpoint.service_name, *subnet))?;
        add_subnet(txn, id, *subnet, address_of(&change.addresses, *subnet))?;
    }
    modify_addresses(txn, id, &change)?;
    // The data plane says when it knows all of that. Packets through what stays do not wait for it.
    txn.update::<VpcEndpoint>(id, |endpoint| {
        let names = endpoint.interface.as_ref().map(|part| (&part.interfaces, part.private_dns, part.dns));
        let changed = names != Some((&before.interfaces, before.private_dns, before.dns));
        if changed && endpoint.state == EndpointState::Available {
            endpoint.state = EndpointState::Pending;
        }
    })
}

fn modify_names(
    txn: &mut Txn,
    endpoint: &VpcEndpoint,
    before: &InterfacePart,
    change: &InterfaceChange,
) -> Result<(), ModelError> {
    if change.private_dns.is_none() && change.dns == DnsChoice::default() {
        return Ok(());
    }
    let vpc = txn.get::<Vpc>(endpoint.vpc)?;
    let service = known_service(&txn.state, &endpoint.service_name);
    let service = service.ok_or_else(|| ModelError::ServiceNotFound(endpoint.service_name.clone()))?;
    let private_dns = change.private_dns.unwrap_or(before.private_dns);
    // Who turns private names on without a word about inbound resolvers gets what a new endpoint would.
    let kept =
        change.dns.inbound_only.or((private_dns && before.private_dns).then_some(before.dns.inbound_only));
    let choice = DnsChoice { inbound_only: kept, ..change.dns };
    let options = chosen(&service, private_dns, before.dns, choice);
    txn.admit(|txn| check_names(txn, &vpc, &service, Some(endpoint.id), private_dns, options))?;
    change_part(txn, endpoint.id, |part| {
        part.private_dns = private_dns;
        part.dns = options;
    })
}

fn modify_groups(
    txn: &mut Txn,
    endpoint: &VpcEndpoint,
    before: &InterfacePart,
    change: &InterfaceChange,
) -> Result<(), ModelError> {
    if change.add_groups.is_empty() && change.remove_groups.is_empty() {
        return Ok(());
    }
    let mut groups = before.groups.clone();
    for gone in &change.remove_groups {
        if !groups.contains(gone) {
            return Err(ModelError::NotFound((*gone).into()));
        }
        groups.retain(|group| group != gone);
    }
    groups.extend(&change.add_groups);
    if groups.is_empty() {
        return Err(ModelError::EndpointWithoutGroup { endpoint: endpoint.id });
    }
    let groups = resolve_groups(txn, endpoint.vpc, Some(groups))?;
    for interface in before.interfaces.values() {
        txn.update::<NetworkInterface>(*interface, |interface| interface.groups = groups.clone())?;
    }
    change_part(txn, endpoint.id, |part| part.groups = groups)
}

/// "If you specify an IPv4 address when modifying a VPC endpoint, we replace the existing endpoint network interface with
/// a new endpoint network interface with this IP address."
fn modify_addresses(txn: &mut Txn, id: VpcEndpointId, change: &InterfaceChange) -> Result<(), ModelError> {
    let mut seen = BTreeSet::new();
    for (subnet, address) in &change.addresses {
        let endpoint = txn.get::<VpcEndpoint>(id)?;
        let interface = part(&endpoint)?.interfaces.get(subnet).copied();
        let interface = interface.ok_or(ModelError::EndpointSubnet { subnet: *subnet })?;
        if !seen.insert(*subnet) {
            return Err(ModelError::EndpointSubnet { subnet: *subnet });
        }
        if txn.get::<NetworkInterface>(interface)?.primary_address() != *address {
            remove_subnet(txn, id, *subnet)?;
            add_subnet(txn, id, *subnet, Some(*address))?;
        }
    }
    Ok(())
}

/// "When you delete an interface endpoint, we delete its endpoint network interfaces."
pub(super) fn delete(txn: &mut Txn, endpoint: &VpcEndpoint) -> Result<(), ModelError> {
    for interface in part(endpoint)?.interfaces.values() {
        crate::interface::remove(txn, *interface)?;
    }
    txn.update::<VpcEndpoint>(endpoint.id, |endpoint| {
        endpoint.state = EndpointState::Deleting;
        if let Some(part) = &mut endpoint.interface {
            part.interfaces = OrdMap::new();
        }
    })
}

/// An endpoint that has a security group, with or without interfaces.
pub(crate) fn holds_group(state: &State, group: SecurityGroupId) -> Option<VpcEndpointId> {
    let mut live = state.vpc_endpoints.values().filter(|endpoint| endpoint.state.is_live());
    let holds = |part: &InterfacePart| part.groups.contains(&group);
    live.find(|endpoint| endpoint.interface.as_ref().is_some_and(holds)).map(|endpoint| endpoint.id)
}
