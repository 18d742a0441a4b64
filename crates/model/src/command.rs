//! The commands: everything that can change a state, and the one function that applies them.

mod tags;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::connection_notification::ConnectionNotificationAction;
use crate::elb::ElbAction;
use crate::endpoint::{EndpointChange, NewGatewayEndpoint, NewInterfaceEndpoint, NewUpstream};
use crate::endpoint_service::EndpointServiceAction;
use crate::error::ModelError;
use crate::event::Event;
use crate::iam::{IamAction, Secret};
use crate::id::*;
use crate::instance::{InstanceChange, InstanceState, Launch, NewKeyPair};
use crate::interface::{InterfaceChange, NewInterface};
use crate::network_acl::AclEntry;
use crate::organization::OrganizationAction;
use crate::peering::PeeringAction;
use crate::prefix_list::{NewPrefixList, PrefixListChange};
use crate::quota::Quota;
use crate::resolver_endpoint::ResolverAction;
use crate::route::{RouteDestination, RouteTargetChoice};
use crate::security_group::{NewRule, RuleChoice};
use crate::sns::SnsAction;
use crate::state::State;
use crate::tag::TagSet;
use crate::transit::TransitAction;
use crate::txn::{Admission, Txn};
use crate::vpn::VpnAction;

/// How many client tokens of an account are remembered. AWS keeps them for a day; the oldest go first here.
const MAX_CLIENT_TOKENS: usize = 2_000;
/// How many parts a batch may have: as many as the largest request names resources.
const MAX_BATCH: usize = 1_000;

/// One change that somebody wants, with everything that makes it replayable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// On whose behalf.
    pub account: AccountId,
    /// When.
    pub at: Timestamp,
    /// Where the ids of what it creates come from.
    pub seed: u64,
    /// A name for the request, so that repeating it changes nothing.
    pub client_token: Option<String>,
    /// What to do.
    pub action: Action,
}

/// What a client token stood for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// When it was first used.
    pub at: Timestamp,
    /// The request that it named.
    pub action: Action,
    /// What that request did.
    pub events: Vec<Event>,
}

/// What to do. Names are AWS's where AWS has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum Action {
    CreateAccount {
        name: String,
        root_key: Option<(String, Secret)>,
    },
    CreateRootKey {
        id: String,
        secret: Secret,
    },
    /// None makes the quota as usual again.
    SetQuota {
        quota: Quota,
        limit: Option<usize>,
    },
    /// More than there are now. It is decided at once.
    RequestQuotaIncrease {
        quota: Quota,
        /// AWS's code of it.
        code: String,
        /// What the request is called.
        id: String,
        desired: usize,
        /// Who asks, in AWS's JSON.
        requester: String,
    },
    /// Postern's own: a service of AWS's gets somebody who answers for it, or there is one that AWS does not have.
    AddService(NewUpstream),
    RemoveService {
        name: String,
    },
    Iam(IamAction),
    /// A change to an organization.
    Organization(OrganizationAction),
    Elb(ElbAction),
    EndpointService(EndpointServiceAction),
    ConnectionNotification(ConnectionNotificationAction),
    Sns(SnsAction),
    Peering(PeeringAction),
    Resolver(ResolverAction),
    Vpn(VpnAction),
    Transit(TransitAction),
    /// All of these in this order, or none of them: what one request changes at several places.
    Batch(Vec<Action>),

    CreateVpc {
        cidr: Ipv4Net,
        tags: TagSet,
    },
    CreateDefaultVpc,
    DeleteVpc {
        vpc: VpcId,
    },
    SetVpcDns {
        vpc: VpcId,
        support: Option<bool>,
        hostnames: Option<bool>,
    },
    AssociateVpcCidrBlock {
        vpc: VpcId,
        cidr: Ipv4Net,
    },
    DisassociateVpcCidrBlock {
        association: VpcCidrAssociationId,
    },
    CreateDhcpOptions {
        options: BTreeMap<String, Vec<String>>,
        tags: TagSet,
    },
    AssociateDhcpOptions {
        vpc: VpcId,
        options: DhcpOptionsId,
    },
    DeleteDhcpOptions {
        options: DhcpOptionsId,
    },

    CreateSubnet {
        vpc: VpcId,
        cidr: Ipv4Net,
        zone: Option<String>,
        tags: TagSet,
    },
    CreateDefaultSubnet {
        zone: String,
    },
    DeleteSubnet {
        subnet: SubnetId,
    },
    SetMapPublicIpOnLaunch {
        subnet: SubnetId,
        on: bool,
    },

    CreateRouteTable {
        vpc: VpcId,
        tags: TagSet,
    },
    DeleteRouteTable {
        table: RouteTableId,
    },
    CreateRoute {
        table: RouteTableId,
        destination: RouteDestination,
        target: RouteTargetChoice,
    },
    ReplaceRoute {
        table: RouteTableId,
        destination: RouteDestination,
        target: RouteTargetChoice,
    },
    DeleteRoute {
        table: RouteTableId,
        destination: RouteDestination,
    },
    AssociateRouteTable {
        table: RouteTableId,
        subnet: SubnetId,
    },
    DisassociateRouteTable {
        association: RouteTableAssociationId,
    },
    ReplaceRouteTableAssociation {
        association: RouteTableAssociationId,
        table: RouteTableId,
    },

    CreateInternetGateway {
        tags: TagSet,
    },
    DeleteInternetGateway {
        gateway: InternetGatewayId,
    },
    AttachInternetGateway {
        gateway: InternetGatewayId,
        vpc: VpcId,
    },
    DetachInternetGateway {
        gateway: InternetGatewayId,
        vpc: VpcId,
    },
    AllocateAddress {
        tags: TagSet,
    },
    ReleaseAddress {
        allocation: AllocationId,
    },
    AssociateAddress {
        allocation: AllocationId,
        interface: NetworkInterfaceId,
        private_address: Option<Ipv4Addr>,
        allow_reassociation: bool,
    },
    DisassociateAddress {
        association: AddressAssociationId,
    },
    CreateNatGateway {
        subnet: SubnetId,
        allocation: Option<AllocationId>,
        private_address: Option<Ipv4Addr>,
        tags: TagSet,
    },
    DeleteNatGateway {
        gateway: NatGatewayId,
    },
    ReportNatGatewayReady {
        gateway: NatGatewayId,
    },

    CreateNetworkInterface(NewInterface),
    DeleteNetworkInterface {
        interface: NetworkInterfaceId,
    },
    AttachNetworkInterface {
        interface: NetworkInterfaceId,
        instance: Option<InstanceId>,
        device_index: u32,
    },
    DetachNetworkInterface {
        attachment: AttachmentId,
    },
    ModifyNetworkInterface {
        interface: NetworkInterfaceId,
        change: InterfaceChange,
    },
    AssignPrivateAddresses {
        interface: NetworkInterfaceId,
        addresses: Vec<Ipv4Addr>,
        count: usize,
    },
    UnassignPrivateAddresses {
        interface: NetworkInterfaceId,
        addresses: Vec<Ipv4Addr>,
    },

    CreateSecurityGroup {
        vpc: VpcId,
        name: String,
        description: String,
        tags: TagSet,
    },
    DeleteSecurityGroup {
        group: SecurityGroupId,
    },
    AuthorizeSecurityGroup {
        group: SecurityGroupId,
        rules: Vec<NewRule>,
        tags: TagSet,
    },
    RevokeSecurityGroup {
        group: SecurityGroupId,
        egress: bool,
        rules: RuleChoice,
    },
    ModifySecurityGroupRule {
        group: SecurityGroupId,
        rule: SecurityGroupRuleId,
        new: NewRule,
    },

    CreateNetworkAcl {
        vpc: VpcId,
        tags: TagSet,
    },
    DeleteNetworkAcl {
        acl: NetworkAclId,
    },
    CreateNetworkAclEntry {
        acl: NetworkAclId,
        egress: bool,
        entry: AclEntry,
    },
    ReplaceNetworkAclEntry {
        acl: NetworkAclId,
        egress: bool,
        entry: AclEntry,
    },
    DeleteNetworkAclEntry {
        acl: NetworkAclId,
        egress: bool,
        number: u16,
    },
    ReplaceNetworkAclAssociation {
        association: NetworkAclAssociationId,
        acl: NetworkAclId,
    },

    CreateManagedPrefixList(NewPrefixList),
    ModifyManagedPrefixList {
        list: PrefixListId,
        change: PrefixListChange,
    },
    RestoreManagedPrefixListVersion {
        list: PrefixListId,
        previous: u64,
        current: u64,
    },
    DeleteManagedPrefixList {
        list: PrefixListId,
    },

    CreateGatewayEndpoint(NewGatewayEndpoint),
    CreateInterfaceEndpoint(NewInterfaceEndpoint),
    ModifyVpcEndpoint {
        endpoint: VpcEndpointId,
        change: EndpointChange,
    },
    DeleteVpcEndpoint {
        endpoint: VpcEndpointId,
    },
    ReportVpcEndpointReady {
        endpoint: VpcEndpointId,
    },
    ReportVpcEndpointGone {
        endpoint: VpcEndpointId,
    },
    ForgetVpcEndpoint {
        endpoint: VpcEndpointId,
    },

    RunInstances(Launch),
    StopInstances {
        instances: Vec<InstanceId>,
    },
    StartInstances {
        instances: Vec<InstanceId>,
    },
    TerminateInstances {
        instances: Vec<InstanceId>,
    },
    ModifyInstance {
        instance: InstanceId,
        change: InstanceChange,
    },
    ReportInstance {
        instance: InstanceId,
        state: InstanceState,
        reason: String,
    },
    ForgetInstance {
        instance: InstanceId,
    },
    CreateKeyPair(NewKeyPair),
    DeleteKeyPair {
        key_pair: KeyPairId,
    },

    CreateTags {
        resources: Vec<ResourceId>,
        tags: TagSet,
    },
    /// A value of none removes the tag whatever its value is.
    DeleteTags {
        resources: Vec<ResourceId>,
        tags: Vec<(String, Option<String>)>,
    },
}

/// The next state, and what changed. A command that repeats a client token changes nothing and reports what the
/// first one did.
pub fn apply(state: &State, command: &Command) -> Result<(State, Vec<Event>), ModelError> {
    apply_as(state, command, Admission::Asked)
}

/// What a command of a log did: as [`apply`], but rules about which commands are accepted (quotas among them) are not
/// asked again, for they may be stricter now than they were then.
pub fn replay(state: &State, command: &Command) -> Result<(State, Vec<Event>), ModelError> {
    apply_as(state, command, Admission::Given)
}

/// The seed of one part of a batch. A batch within a batch would draw what a later part draws; nobody makes one.
pub fn seed_of_part(seed: u64, index: usize) -> u64 {
    // Far apart, so that no part draws the numbers of another.
    seed.wrapping_add(0x2545_f491_4f6c_dd1d_u64.wrapping_mul(index as u64 + 1))
}

fn apply_as(
    state: &State,
    command: &Command,
    admission: Admission,
) -> Result<(State, Vec<Event>), ModelError> {
    let creates_account = matches!(command.action, Action::CreateAccount { .. });
    if !creates_account && !state.accounts.contains_key(&command.account) {
        return Err(ModelError::AccountNotFound(command.account));
    }
    let token = command.client_token.as_ref().map(|token| format!("{}/{token}", command.account));
    if let Some(record) = token.as_ref().and_then(|token| state.client_tokens.get(token)) {
        if record.action == command.action {
            return Ok((state.clone(), record.events.clone()));
        }
        return Err(ModelError::TokenReused { token: command.client_token.clone().unwrap_or_default() });
    }
    let mut txn = Txn::new(state.clone(), command.account, command.at, command.seed, admission);
    dispatch(&mut txn, command.action.clone(), command.seed)?;
    let Txn { mut state, events, .. } = txn;
    if let Some(token) = token {
        remember(&mut state, token, command, &events);
    }
    state.revision += 1;
    Ok((state, events))
}

fn remember(state: &mut State, token: String, command: &Command, events: &[Event]) {
    let record = TokenRecord { at: command.at, action: command.action.clone(), events: events.to_vec() };
    state.client_tokens.insert(token, Arc::new(record));
    // INVARIANT: an account's requests never make another account's tokens forgotten. `0` follows `/`.
    let (first, end) = (format!("{}/", command.account), format!("{}0", command.account));
    let of_account = || state.client_tokens.range::<_, String>(&first..&end);
    if of_account().count() > MAX_CLIENT_TOKENS {
        let oldest = of_account().min_by_key(|(_, record)| record.at).map(|(token, _)| token.clone());
        if let Some(oldest) = oldest {
            state.client_tokens.remove(&oldest);
        }
    }
}

fn batch(txn: &mut Txn, actions: Vec<Action>, seed: u64) -> Result<(), ModelError> {
    if actions.len() > MAX_BATCH {
        return Err(ModelError::Limit { what: "parts of a batch", limit: MAX_BATCH });
    }
    actions.into_iter().enumerate().try_for_each(|(index, action)| {
        let seed = seed_of_part(seed, index);
        txn.part(seed, |txn| dispatch(txn, action, seed))
    })
}

fn dispatch(txn: &mut Txn, action: Action, seed: u64) -> Result<(), ModelError> {
    use crate::{
        account, connection_notification, default_vpc, elb, endpoint, endpoint_service, gateway, iam,
        instance, interface, network_acl, peering, prefix_list,
    };
    use crate::{quota, resolver_endpoint, route, security_group, sns, subnet, vpc, vpn};
    match action {
        Action::CreateAccount { name, root_key } => {
            account::create(txn, name, root_key.map(|(id, s)| (id, s.0)))
        }
        Action::CreateRootKey { id, secret } => account::create_root_key(txn, (id, secret.0)),
        Action::SetQuota { quota, limit } => quota::set(txn, quota, limit),
        Action::RequestQuotaIncrease { quota, code, id, desired, requester } => {
            quota::request(txn, quota, (code, id), desired, requester)
        }
        Action::AddService(new) => endpoint::add_service(txn, new),
        Action::RemoveService { name } => endpoint::remove_service(txn, &name),
        Action::Iam(action) => iam::apply(txn, action),
        Action::Organization(action) => crate::organization::apply(txn, action),
        Action::Elb(action) => elb::apply(txn, action),
        Action::EndpointService(action) => endpoint_service::apply(txn, action),
        Action::ConnectionNotification(action) => connection_notification::apply(txn, action),
        Action::Sns(action) => sns::apply(txn, action),
        Action::Peering(action) => peering::apply(txn, action),
        Action::Resolver(action) => resolver_endpoint::apply(txn, action),
        Action::Vpn(action) => vpn::apply(txn, action),
        Action::Transit(action) => crate::transit::apply(txn, action),
        Action::Batch(actions) => batch(txn, actions, seed),

        Action::CreateVpc { cidr, tags } => vpc::create(txn, cidr, &tags).map(|_| ()),
        Action::CreateDefaultVpc => default_vpc::create(txn),
        Action::DeleteVpc { vpc } => vpc::delete(txn, vpc),
        Action::SetVpcDns { vpc, support, hostnames } => vpc::set_dns(txn, vpc, support, hostnames),
        Action::AssociateVpcCidrBlock { vpc, cidr } => vpc::associate_block(txn, vpc, cidr),
        Action::DisassociateVpcCidrBlock { association } => vpc::disassociate_block(txn, association),
        Action::CreateDhcpOptions { options, tags } => vpc::create_dhcp_options(txn, options, &tags),
        Action::AssociateDhcpOptions { vpc, options } => vpc::associate_dhcp_options(txn, vpc, options),
        Action::DeleteDhcpOptions { options } => vpc::delete_dhcp_options(txn, options),

        Action::CreateSubnet { vpc, cidr, zone, tags } => {
            subnet::create(txn, vpc, cidr, zone.as_deref(), &tags).map(|_| ())
        }
        Action::CreateDefaultSubnet { zone } => default_vpc::create_subnet(txn, &zone),
        Action::DeleteSubnet { subnet } => subnet::delete(txn, subnet),
        Action::SetMapPublicIpOnLaunch { subnet, on } => subnet::set_map_public_ip(txn, subnet, on),

        Action::CreateRouteTable { vpc, tags } => route::create_table(txn, vpc, &tags),
        Action::DeleteRouteTable { table } => route::delete_table(txn, table),
        Action::CreateRoute { table, destination, target } => {
            route::create_route(txn, table, destination, target)
        }
        Action::ReplaceRoute { table, destination, target } => {
            route::replace_route(txn, table, destination, target)
        }
        Action::DeleteRoute { table, destination } => route::delete_route(txn, table, destination),
        Action::AssociateRouteTable { table, subnet } => route::associate(txn, table, subnet),
        Action::DisassociateRouteTable { association } => route::disassociate(txn, association),
        Action::ReplaceRouteTableAssociation { association, table } => {
            route::replace_association(txn, association, table)
        }

        Action::CreateInternetGateway { tags } => gateway::create_internet_gateway(txn, &tags).map(|_| ()),
        Action::DeleteInternetGateway { gateway } => gateway::delete_internet_gateway(txn, gateway),
        Action::AttachInternetGateway { gateway, vpc } => gateway::attach(txn, gateway, vpc),
        Action::DetachInternetGateway { gateway, vpc } => gateway::detach(txn, gateway, vpc),
        Action::AllocateAddress { tags } => gateway::allocate_address(txn, &tags),
        Action::ReleaseAddress { allocation } => gateway::release_address(txn, allocation),
        Action::AssociateAddress { allocation, interface, private_address, allow_reassociation } => {
            gateway::associate_address(txn, allocation, interface, private_address, allow_reassociation)
        }
        Action::DisassociateAddress { association } => gateway::disassociate_address(txn, association),
        Action::CreateNatGateway { subnet, allocation, private_address, tags } => {
            gateway::create_nat_gateway(txn, subnet, allocation, private_address, &tags)
        }
        Action::DeleteNatGateway { gateway } => gateway::delete_nat_gateway(txn, gateway),
        Action::ReportNatGatewayReady { gateway } => gateway::nat_gateway_ready(txn, gateway),

        Action::CreateNetworkInterface(new) => interface::create(txn, new),
        Action::DeleteNetworkInterface { interface } => interface::delete(txn, interface),
        Action::AttachNetworkInterface { interface, instance, device_index } => {
            interface::attach(txn, interface, instance, device_index)
        }
        Action::DetachNetworkInterface { attachment } => interface::detach(txn, attachment),
        Action::ModifyNetworkInterface { interface, change } => interface::modify(txn, interface, change),
        Action::AssignPrivateAddresses { interface, addresses, count } => {
            interface::assign_addresses(txn, interface, &addresses, count)
        }
        Action::UnassignPrivateAddresses { interface, addresses } => {
            interface::unassign_addresses(txn, interface, &addresses)
        }

        Action::CreateSecurityGroup { vpc, name, description, tags } => {
            security_group::create(txn, vpc, name, description, &tags)
        }
        Action::DeleteSecurityGroup { group } => security_group::delete(txn, group),
        Action::AuthorizeSecurityGroup { group, rules, tags } => {
            security_group::authorize(txn, group, rules, &tags)
        }
        Action::RevokeSecurityGroup { group, egress, rules } => {
            security_group::revoke(txn, group, egress, &rules)
        }
        Action::ModifySecurityGroupRule { group, rule, new } => {
            security_group::modify_rule(txn, group, rule, new)
        }

        Action::CreateNetworkAcl { vpc, tags } => network_acl::create(txn, vpc, &tags),
        Action::DeleteNetworkAcl { acl } => network_acl::delete(txn, acl),
        Action::CreateNetworkAclEntry { acl, egress, entry } => {
            network_acl::create_entry(txn, acl, egress, entry)
        }
        Action::ReplaceNetworkAclEntry { acl, egress, entry } => {
            network_acl::replace_entry(txn, acl, egress, entry)
        }
        Action::DeleteNetworkAclEntry { acl, egress, number } => {
            network_acl::delete_entry(txn, acl, egress, number)
        }
        Action::ReplaceNetworkAclAssociation { association, acl } => {
            network_acl::replace_association(txn, association, acl)
        }

        Action::CreateManagedPrefixList(new) => prefix_list::create(txn, new),
        Action::ModifyManagedPrefixList { list, change } => prefix_list::modify(txn, list, change),
        Action::RestoreManagedPrefixListVersion { list, previous, current } => {
            prefix_list::restore(txn, list, previous, current)
        }
        Action::DeleteManagedPrefixList { list } => prefix_list::delete(txn, list),

        Action::CreateGatewayEndpoint(new) => endpoint::create_gateway(txn, new),
        Action::CreateInterfaceEndpoint(new) => endpoint::create_interface(txn, new),
        Action::ModifyVpcEndpoint { endpoint, change } => endpoint::modify(txn, endpoint, change),
        Action::DeleteVpcEndpoint { endpoint } => endpoint::delete(txn, endpoint),
        Action::ReportVpcEndpointReady { endpoint } => endpoint::ready(txn, endpoint),
        Action::ReportVpcEndpointGone { endpoint } => endpoint::gone(txn, endpoint),
        Action::ForgetVpcEndpoint { endpoint } => endpoint::forget(txn, endpoint),

        Action::RunInstances(launch) => instance::launch(txn, &launch),
        Action::StopInstances { instances } => instance::stop(txn, &instances),
        Action::StartInstances { instances } => instance::start(txn, &instances),
        Action::TerminateInstances { instances } => instance::terminate(txn, &instances),
        Action::ModifyInstance { instance, change } => instance::modify(txn, instance, change),
        Action::ReportInstance { instance, state, reason } => instance::report(txn, instance, state, &reason),
        Action::ForgetInstance { instance } => instance::forget(txn, instance),
        Action::CreateKeyPair(new) => instance::create_key_pair(txn, new),
        Action::DeleteKeyPair { key_pair } => instance::delete_key_pair(txn, key_pair),

        Action::CreateTags { resources, tags } => tags::create(txn, resources, &tags),
        Action::DeleteTags { resources, tags } => tags::delete(txn, resources, &tags),
    }
}
