//! Endpoint services: what an account offers to others through their interface endpoints, behind its load balancers.
//!
//! Rules from "Share your services through AWS PrivateLink" in the AWS PrivateLink guide.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::connection_notification::{Notified, forget_about};
use crate::elb::LoadBalancer;
use crate::endpoint::{EndpointKind, EndpointState, Service, VpcEndpoint};
use crate::error::ModelError;
use crate::event::Event;
use crate::id::*;
use crate::quota::Quota;
use crate::state::State;
use crate::tag::{self, TagSet, Tags};
use crate::txn::Txn;

/// How many load balancers a service may have. AWS names no number; this one is ours.
pub const MAX_LOAD_BALANCERS: usize = 50;
/// How many principals a service may allow. AWS names no number; this one is ours.
pub const MAX_PRINCIPALS: usize = 1_000;

/// An endpoint service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointService {
    /// Its id.
    pub id: EndpointServiceId,
    /// Whose it is.
    pub owner: AccountId,
    /// Whether each endpoint waits until the owner accepts it.
    pub acceptance_required: bool,
    /// What takes its connections. Never empty.
    pub load_balancers: BTreeSet<LoadBalancerId>,
    /// Who may have endpoints to it besides its owner, by principal.
    pub permissions: OrdMap<String, Permission>,
    /// The name that consumers can reach it by, if it has one.
    pub private_dns: Option<PrivateDnsName>,
    /// Who pays for its endpoints.
    pub payer: Payer,
    /// Since when.
    pub created_at: Timestamp,
    /// What people wrote on it.
    pub tags: Tags,
}

impl EndpointService {
    /// Its name: `com.amazonaws.vpce.us-east-1.vpce-svc-…`.
    pub fn name(&self, region: &str) -> String {
        format!("com.amazonaws.vpce.{region}.{}", self.id)
    }

    /// The name in DNS that its endpoints' names end in.
    pub fn base_dns_name(&self, region: &str) -> String {
        format!("{}.{region}.vpce.amazonaws.com", self.id)
    }

    /// What an AWS service would be that has the same endpoints.
    pub(crate) fn as_service(&self, region: &str) -> Service {
        let verified = self.private_dns.iter().filter(|private| private.state == PrivateDnsState::Verified);
        Service {
            name: self.name(region),
            signing_name: String::new(),
            dns_names: Vec::new(),
            public_addresses: Vec::new(),
            public_blocks: Vec::new(),
            prefix_list: None,
            endpoint_kinds: vec![EndpointKind::Interface],
            endpoint_policies: false,
            endpoint_label: self.id.to_string(),
            endpoint_names_below: false,
            private_dns_names: verified.map(|private| private.name.clone()).collect(),
        }
    }

    /// The zones of its load balancers, by name.
    pub fn zones(&self, state: &State) -> BTreeSet<String> {
        let balancers = self.load_balancers.iter().filter_map(|id| state.load_balancers.get(id));
        balancers.flat_map(|balancer| balancer.zones.iter().map(|zone| zone.zone.clone())).collect()
    }

    /// Whether a principal may know of it and have endpoints to it: the owner's account, a principal that is allowed by
    /// its ARN, and any principal of an account that is allowed as a whole. `principal` is the caller's ARN, for those
    /// who are not root.
    pub fn admits(&self, account: AccountId, principal: Option<&str>) -> bool {
        let listed = |principal: &str| self.permissions.contains_key(principal);
        account == self.owner
            || listed("*")
            || listed(&format!("arn:aws:iam::{account}:root"))
            || principal.is_some_and(listed)
    }
}

impl EndpointService {
    /// Whether anybody of an account may have endpoints to it.
    pub fn admits_some_of(&self, account: AccountId) -> bool {
        let start = format!("arn:aws:iam::{account}:");
        self.admits(account, None) || self.permissions.keys().any(|principal| principal.starts_with(&start))
    }
}

/// A principal's permission to have endpoints to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// Its id.
    pub id: ServicePermissionId,
    /// What people wrote on it.
    pub tags: Tags,
}

/// A name of the owner's own domain that consumers can reach a service by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateDnsName {
    /// The name. It may begin with `*.`.
    pub name: String,
    /// The name of the TXT record that shows whose domain it is, within the domain.
    pub record_name: String,
    /// What the record says.
    pub record_value: String,
    /// Whether it was seen there.
    pub state: PrivateDnsState,
    /// Whether somebody is to look for it.
    #[serde(default)]
    pub look: bool,
}

impl PrivateDnsName {
    /// The whole name of the record: it is in the domain itself, that of `*.example.com` being `example.com`.
    pub fn record(&self) -> String {
        format!("{}.{}", self.record_name, self.name.trim_start_matches("*."))
    }
}

/// Whether a private name was seen to be its owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PrivateDnsState {
    /// Nobody has looked, or the first look is under way.
    PendingVerification,
    /// It was.
    Verified,
    /// It was not.
    Failed,
}

impl PrivateDnsState {
    /// AWS's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PendingVerification => "pendingVerification",
            Self::Verified => "verified",
            Self::Failed => "failed",
        }
    }
}

/// Who pays for the endpoints of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payer {
    /// Whose endpoints they are.
    EndpointOwner,
    /// Whose service it is. "You can't change it back."
    ServiceOwner,
}

/// What can be done with endpoint services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "AWS's operations of the same names; fields as theirs")]
pub enum EndpointServiceAction {
    Create(NewEndpointService),
    Modify {
        service: EndpointServiceId,
        change: EndpointServiceChange,
    },
    Delete {
        service: EndpointServiceId,
    },
    ModifyPermissions {
        service: EndpointServiceId,
        add: Vec<String>,
        add_tags: TagSet,
        remove: Vec<String>,
    },
    SetPayerServiceOwner {
        service: EndpointServiceId,
    },
    StartPrivateDnsVerification {
        service: EndpointServiceId,
    },
    /// Endpoints that wait, or that were rejected, may be used.
    AcceptConnections {
        service: EndpointServiceId,
        endpoints: Vec<VpcEndpointId>,
    },
    /// Endpoints may not be used, those included that are.
    RejectConnections {
        service: EndpointServiceId,
        endpoints: Vec<VpcEndpointId>,
    },
    /// What a look at the name of a service found.
    ReportPrivateDnsVerification {
        service: EndpointServiceId,
        record_value: String,
        verified: bool,
    },
}

/// How an endpoint service is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of an endpoint service")]
pub struct NewEndpointService {
    pub acceptance_required: bool,
    pub load_balancers: Vec<LoadBalancerId>,
    pub private_dns_name: Option<String>,
    pub tags: TagSet,
}

/// What can change of an endpoint service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of an endpoint service")]
pub struct EndpointServiceChange {
    pub acceptance_required: Option<bool>,
    pub add_load_balancers: Vec<LoadBalancerId>,
    pub remove_load_balancers: Vec<LoadBalancerId>,
    pub private_dns_name: PrivateDnsChange,
}

/// What becomes of the private name of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum PrivateDnsChange {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Remove,
    /// It is this one.
    Set(String),
}

/// The endpoint service of that name.
pub fn by_name<'a>(state: &'a State, name: &str) -> Option<&'a Arc<EndpointService>> {
    let (start, id) = name.rsplit_once('.')?;
    let known = start == format!("com.amazonaws.vpce.{}", state.region.name);
    let id: EndpointServiceId = id.parse().ok().filter(|_| known)?;
    state.endpoint_services.get(&id)
}

pub(crate) fn apply(txn: &mut Txn, action: EndpointServiceAction) -> Result<(), ModelError> {
    use EndpointServiceAction::*;
    match action {
        Create(new) => create(txn, new),
        Modify { service, change } => modify(txn, service, change),
        Delete { service } => delete(txn, service),
        ModifyPermissions { service, add, add_tags, remove } => {
            modify_permissions(txn, service, add, &add_tags, &remove)
        }
        SetPayerServiceOwner { service } => {
            txn.update::<EndpointService>(service, |service| service.payer = Payer::ServiceOwner)
        }
        AcceptConnections { service, endpoints } => connect(txn, service, &endpoints, true),
        RejectConnections { service, endpoints } => connect(txn, service, &endpoints, false),
        StartPrivateDnsVerification { service } => start_verification(txn, service),
        ReportPrivateDnsVerification { service, record_value, verified } => {
            report_verification(txn, service, &record_value, verified)
        }
    }
}

fn create(txn: &mut Txn, new: NewEndpointService) -> Result<(), ModelError> {
    let load_balancers: BTreeSet<_> = new.load_balancers.into_iter().collect();
    check_load_balancers(txn, &load_balancers)?;
    txn.room_for_one::<EndpointService>(Quota::EndpointServices)?;
    let id = txn.mint::<EndpointService>(EndpointServiceId::from_number)?;
    let private_dns = new.private_dns_name.map(|name| private_name(txn, name)).transpose()?;
    let tags = tag::collect(&new.tags)?;
    txn.insert(EndpointService {
        id,
        owner: txn.account,
        acceptance_required: new.acceptance_required,
        load_balancers,
        permissions: OrdMap::new(),
        private_dns,
        payer: Payer::EndpointOwner,
        created_at: txn.at,
        tags,
    });
    Ok(())
}

fn check_load_balancers(txn: &Txn, all: &BTreeSet<LoadBalancerId>) -> Result<(), ModelError> {
    all.iter().try_for_each(|id| txn.get::<LoadBalancer>(*id).map(|_| ()))?;
    if all.is_empty() {
        return Err(ModelError::NoLoadBalancers);
    }
    let (what, limit) = ("load balancers of an endpoint service", MAX_LOAD_BALANCERS);
    if all.len() > limit { Err(ModelError::Limit { what, limit }) } else { Ok(()) }
}

/// A name with a new record to be seen.
fn private_name(txn: &mut Txn, name: String) -> Result<PrivateDnsName, ModelError> {
    txn.admit(|_| check_name(&name))?;
    let (record_name, record_value) =
        (format!("_{}", letters(txn, 20)), format!("vpce:{}", letters(txn, 20)));
    Ok(PrivateDnsName {
        name,
        record_name,
        record_value,
        state: PrivateDnsState::PendingVerification,
        look: false,
    })
}

/// A domain name of two labels or more; the first may be `*`.
fn check_name(name: &str) -> Result<(), ModelError> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let fits = |label: &str| {
        let letters = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        !label.is_empty() && label.len() <= 63 && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    let known = host.len() <= 253 && host.contains('.') && host.split('.').all(fits);
    if known { Ok(()) } else { Err(ModelError::PrivateDnsName(name.to_owned())) }
}

/// So many small letters and digits.
fn letters(txn: &mut Txn, count: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz012345";
    let letter = |number: u64| LETTERS.get(number as usize & 31).copied().map_or('a', char::from);
    (0..count).map(|_| letter(txn.next_random())).collect()
}

/// The endpoints of a service, whoever has them, deleted ones not.
pub fn connections<'a>(
    state: &'a State,
    service: &EndpointService,
) -> impl Iterator<Item = &'a Arc<VpcEndpoint>> + use<'a> {
    let name = service.name(&state.region.name);
    state
        .vpc_endpoints
        .values()
        .filter(move |endpoint| endpoint.service_name == name && endpoint.state != EndpointState::Deleted)
}

/// Whether something is connected to a service, or waits to be.
fn is_connected(txn: &Txn, service: &EndpointService) -> bool {
    connections(&txn.state, service).any(|endpoint| match endpoint.state {
        EndpointState::PendingAcceptance
        | EndpointState::Pending
        | EndpointState::Available
        | EndpointState::Deleting => true,
        EndpointState::Rejected | EndpointState::Expired | EndpointState::Failed | EndpointState::Deleted => {
            false
        }
    })
}

/// Why an endpoint's connection cannot be accepted, or rejected, now.
pub fn check_connection(endpoint: &VpcEndpoint, accept: bool) -> Result<(), ModelError> {
    let possible = match endpoint.state {
        EndpointState::PendingAcceptance => true,
        EndpointState::Rejected => accept,
        // "You can reject an endpoint connection after it was accepted."
        EndpointState::Pending | EndpointState::Available => !accept,
        EndpointState::Expired | EndpointState::Failed | EndpointState::Deleting | EndpointState::Deleted => {
            false
        }
    };
    if possible {
        return Ok(());
    }
    let needed = if accept { "pendingAcceptance or rejected" } else { "pendingAcceptance or available" };
    Err(ModelError::WrongState { resource: endpoint.id.into(), state: endpoint.state.name(), needed })
}

/// Accepts or rejects connections of endpoints, which are others' mostly.
fn connect(
    txn: &mut Txn,
    id: EndpointServiceId,
    endpoints: &[VpcEndpointId],
    accept: bool,
) -> Result<(), ModelError> {
    let service = txn.get::<EndpointService>(id)?;
    for id in endpoints {
        let endpoint = connections(&txn.state, &service).find(|endpoint| endpoint.id == *id).cloned();
        let mut endpoint = endpoint.ok_or(ModelError::NotFound((*id).into()))?;
        check_connection(&endpoint, accept)?;
        Arc::make_mut(&mut endpoint).state =
            if accept { EndpointState::Pending } else { EndpointState::Rejected };
        txn.state.vpc_endpoints.insert(*id, endpoint);
        txn.events.push(Event::Changed((*id).into()));
    }
    Ok(())
}

fn modify(txn: &mut Txn, id: EndpointServiceId, change: EndpointServiceChange) -> Result<(), ModelError> {
    let service = txn.get::<EndpointService>(id)?;
    let mut load_balancers = service.load_balancers.clone();
    load_balancers.extend(&change.add_load_balancers);
    for gone in &change.remove_load_balancers {
        if !load_balancers.remove(gone) {
            return Err(ModelError::NotFound((*gone).into()));
        }
    }
    check_load_balancers(txn, &load_balancers)?;
    if !change.remove_load_balancers.is_empty() && is_connected(txn, &service) {
        return Err(ModelError::ServiceConnected(id));
    }
    let private_dns = match change.private_dns_name {
        PrivateDnsChange::Keep => service.private_dns.clone(),
        PrivateDnsChange::Remove => None,
        PrivateDnsChange::Set(name) => match &service.private_dns {
            Some(known) if known.name == name => Some(known.clone()),
            Some(_) | None => Some(private_name(txn, name)?),
        },
    };
    txn.update::<EndpointService>(id, |service| {
        service.acceptance_required = change.acceptance_required.unwrap_or(service.acceptance_required);
        service.load_balancers = load_balancers;
        service.private_dns = private_dns;
    })
}

fn delete(txn: &mut Txn, id: EndpointServiceId) -> Result<(), ModelError> {
    let service = txn.get::<EndpointService>(id)?;
    if is_connected(txn, &service) {
        return Err(ModelError::ServiceConnected(id));
    }
    forget_about(txn, Notified::Service(id));
    txn.remove::<EndpointService>(id).map(|_| ())
}

/// Removing a permission takes no endpoint away that is there ("Manage permissions").
fn modify_permissions(
    txn: &mut Txn,
    id: EndpointServiceId,
    add: Vec<String>,
    add_tags: &TagSet,
    remove: &[String],
) -> Result<(), ModelError> {
    let service = txn.get::<EndpointService>(id)?;
    let mut permissions = service.permissions.clone();
    let tags = tag::collect(add_tags)?;
    for principal in remove {
        permissions.remove(principal);
    }
    for principal in add {
        txn.admit(|_| check_principal(&principal))?;
        let permission =
            Permission { id: ServicePermissionId::from_number(txn.id_number()), tags: tags.clone() };
        permissions.entry(principal).or_insert(permission);
    }
    let (what, limit) = ("allowed principals of an endpoint service", MAX_PRINCIPALS);
    if permissions.len() > limit {
        return Err(ModelError::Limit { what, limit });
    }
    txn.update::<EndpointService>(id, |service| service.permissions = permissions)
}

/// What a principal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrincipalType {
    /// `*`.
    All,
    /// A whole account.
    Account,
    /// A user.
    User,
    /// A role.
    Role,
}

/// What kind of principal a text names, if it names one. "ARNs with paths aren't supported."
pub fn principal_type(text: &str) -> Option<PrincipalType> {
    if text == "*" {
        return Some(PrincipalType::All);
    }
    let (account, what) = text.strip_prefix("arn:aws:iam::")?.split_once(':')?;
    account.parse::<AccountId>().ok()?;
    let named = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b))
    };
    match what.split_once('/') {
        None if what == "root" => Some(PrincipalType::Account),
        Some(("user", name)) if named(name) => Some(PrincipalType::User),
        Some(("role", name)) if named(name) => Some(PrincipalType::Role),
        None | Some(_) => None,
    }
}

fn check_principal(text: &str) -> Result<(), ModelError> {
    principal_type(text).map(|_| ()).ok_or_else(|| ModelError::Principal(text.to_owned()))
}

fn start_verification(txn: &mut Txn, id: EndpointServiceId) -> Result<(), ModelError> {
    let service = txn.get::<EndpointService>(id)?;
    if service.private_dns.is_none() {
        return Err(ModelError::NoPrivateDnsName(id));
    }
    txn.update::<EndpointService>(id, |service| {
        if let Some(private) = &mut service.private_dns {
            // Who has the name keeps it until a look finds otherwise: consumers use it meanwhile.
            if private.state != PrivateDnsState::Verified {
                private.state = PrivateDnsState::PendingVerification;
            }
            private.look = true;
        }
    })
}

/// A report about a record that is no longer the one to be seen changes nothing.
fn report_verification(
    txn: &mut Txn,
    id: EndpointServiceId,
    record_value: &str,
    verified: bool,
) -> Result<(), ModelError> {
    let state = if verified { PrivateDnsState::Verified } else { PrivateDnsState::Failed };
    txn.update::<EndpointService>(id, |service| {
        if let Some(private) = service.private_dns.as_mut().filter(|p| p.record_value == record_value) {
            private.state = state;
            private.look = false;
        }
    })
}
