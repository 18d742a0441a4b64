//! Services that an operator put behind Postern's doors: those of AWS's that another program stands in for, and others
//! that AWS does not have, under names of their own.
//!
//! INVARIANT: [`State::services`] is the catalogue and the services made here, and nothing else: it follows from the
//! region and [`State::upstreams`] ([`restore`]).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::EndpointKind;
use super::catalogue::{Service, block, catalogue, public_addresses};
use crate::error::ModelError;
use crate::event::Event;
use crate::iam::Secret;
use crate::id::{AccountId, Timestamp};
use crate::state::{Region, State};
use crate::txn::Txn;

/// Where the blocks of services begin that AWS does not have: the third octet of 198.19.0.0/16. Each has a /24.
const FIRST_OCTET: u8 = 200;
/// How many private names a service may have. AWS names no number; this one is ours.
pub const MAX_PRIVATE_NAMES: usize = 16;
/// How many characters an upstream's URL may have.
pub const MAX_URL_CHARACTERS: usize = 512;

/// How clients speak to a service. The names are Smithy's and botocore's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpstreamProtocol {
    /// The operation in the header `x-amz-target`, a JSON document each way.
    Json,
    /// The operation in the form's `Action`, XML back.
    Query,
    /// EC2's dialect of it.
    Ec2,
    /// The operation is the method and the path; JSON documents.
    RestJson,
    /// The operation is the method and the path; XML documents.
    RestXml,
    /// The operation is in the path, a CBOR document each way.
    RpcV2Cbor,
    /// Plain HTTP to an API of a user's, as API Gateway's `execute-api`: everything is one operation.
    ExecuteApi,
}

impl UpstreamProtocol {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Json,
        Self::Query,
        Self::Ec2,
        Self::RestJson,
        Self::RestXml,
        Self::RpcV2Cbor,
        Self::ExecuteApi,
    ];

    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Query => "query",
            Self::Ec2 => "ec2",
            Self::RestJson => "rest-json",
            Self::RestXml => "rest-xml",
            Self::RpcV2Cbor => "rpc-v2-cbor",
            Self::ExecuteApi => "execute-api",
        }
    }
}

impl std::fmt::Display for UpstreamProtocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no protocol of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a protocol: there are json, query, ec2, rest-json, rest-xml, rpc-v2-cbor and execute-api"
)]
pub struct UnknownProtocol(pub String);

impl std::str::FromStr for UpstreamProtocol {
    type Err = UnknownProtocol;

    fn from_str(text: &str) -> Result<Self, UnknownProtocol> {
        let found = Self::ALL.into_iter().find(|protocol| protocol.name() == text);
        found.ok_or_else(|| UnknownProtocol(text.to_owned()))
    }
}

/// What requests are signed with on their way to an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamKey {
    /// The access key's id.
    pub id: String,
    /// What signs.
    pub secret: Secret,
    /// The region that the upstream is in; none for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// Who answers for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The service: `com.amazonaws.us-east-1.logs`.
    pub service: String,
    /// Where it is: `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub url: String,
    /// How clients speak to it.
    pub protocol: UpstreamProtocol,
    /// Its name in credential scopes, such as `kinesis` for `kinesis-streams`.
    pub signing_name: String,
    /// What it stands under in policies: `cloudwatch` for `monitoring`.
    pub action_prefix: String,
    /// What requests are signed with anew; none where they are passed on as they came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<UpstreamKey>,
    /// What there is of a service that AWS does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnService>,
    /// Since when.
    pub created_at: Timestamp,
}

/// A service that AWS does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnService {
    /// What stands for it in the names of its endpoints.
    pub label: String,
    /// The names that lead to its endpoints inside their VPCs. One below `amazonaws.com` is a public name as well.
    pub private_dns_names: Vec<String>,
    /// The partner whose service it is; none for the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<AccountId>,
    /// Where its public addresses are.
    third_octet: u8,
}

impl OwnService {
    fn service(&self, name: &str, signing_name: &str) -> Service {
        let public = self.private_dns_names.iter().filter(|name| is_of_aws(name));
        Service {
            name: name.to_owned(),
            signing_name: signing_name.to_owned(),
            dns_names: public.cloned().collect(),
            public_addresses: public_addresses(self.third_octet),
            public_blocks: vec![block(self.third_octet, 24)],
            prefix_list: None,
            endpoint_kinds: vec![EndpointKind::Interface],
            endpoint_policies: true,
            endpoint_label: self.label.clone(),
            endpoint_names_below: false,
            private_dns_names: self.private_dns_names.clone(),
        }
    }
}

fn is_of_aws(name: &str) -> bool {
    name.ends_with(".amazonaws.com")
}

/// A service that is to be added, or an upstream for one that AWS has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUpstream {
    /// The end of its name: `logs`.
    pub name: String,
    /// See [`Upstream`].
    pub url: String,
    /// See [`Upstream`].
    pub protocol: UpstreamProtocol,
    /// See [`Upstream`].
    pub signing_name: String,
    /// See [`Upstream`].
    pub action_prefix: String,
    /// See [`Upstream`].
    pub key: Option<UpstreamKey>,
    /// The names of a service that AWS does not have; none are given for one that it has.
    pub private_dns_names: Vec<String>,
    /// The partner whose service it is.
    pub owner: Option<AccountId>,
}

/// The whole name of a service of this region.
pub fn full_name(region: &str, name: &str) -> String {
    format!("com.amazonaws.{region}.{name}")
}

pub(crate) fn add(txn: &mut Txn, new: NewUpstream) -> Result<(), ModelError> {
    txn.admit(|_| check_texts(&new))?;
    let region = txn.state.region.clone();
    let name = full_name(&region.name, &new.name);
    if txn.state.upstreams.contains_key(&name) {
        return Err(ModelError::UpstreamExists { service: name });
    }
    let of_aws = catalogue(&region).0.contains_key(&name);
    let own = if of_aws { check_of_aws(&new, &name).map(|()| None)? } else { Some(own(txn, &new, &region)?) };
    let upstream = Upstream {
        service: name.clone(),
        url: new.url,
        protocol: new.protocol,
        signing_name: new.signing_name,
        action_prefix: new.action_prefix,
        key: new.key,
        own,
        created_at: txn.at,
    };
    txn.state.upstreams.insert(name, Arc::new(upstream));
    restore(&mut txn.state);
    txn.events.push(Event::IdentityChanged);
    Ok(())
}

/// What AWS's own service has already cannot be said anew.
fn check_of_aws(new: &NewUpstream, name: &str) -> Result<(), ModelError> {
    if new.private_dns_names.is_empty() && new.owner.is_none() {
        return Ok(());
    }
    Err(ModelError::UpstreamOfAws { service: name.to_owned() })
}

fn own(txn: &Txn, new: &NewUpstream, region: &Region) -> Result<OwnService, ModelError> {
    if let Some(owner) = new.owner
        && !txn.state.accounts.contains_key(&owner)
    {
        return Err(ModelError::AccountNotFound(owner));
    }
    let given = new.private_dns_names.iter().map(|name| name.to_ascii_lowercase());
    let mut private: Vec<String> = given.collect();
    if private.is_empty() {
        private.push(format!("{}.{}.amazonaws.com", new.name, region.name));
    }
    for (at, name) in private.iter().enumerate() {
        let twice = private.iter().take(at).any(|before| before == name);
        if twice || is_taken(&txn.state, name) {
            return Err(ModelError::UpstreamNameTaken { name: name.clone() });
        }
    }
    let used = |octet: &u8| {
        let mut owns = txn.state.upstreams.values().filter_map(|upstream| upstream.own.as_ref());
        owns.any(|own| own.third_octet == *octet)
    };
    let free = (FIRST_OCTET..=u8::MAX).find(|octet| !used(octet));
    let (what, limit) = ("services of the operator's", usize::from(u8::MAX - FIRST_OCTET) + 1);
    let third_octet = free.ok_or(ModelError::Limit { what, limit })?;
    // The names of endpoints have one label for the service.
    let label = new.name.replace('.', "-");
    let label_taken = txn.state.services.values().any(|service| service.endpoint_label == label);
    if label_taken {
        return Err(ModelError::UpstreamNameTaken { name: label });
    }
    Ok(OwnService { label, private_dns_names: private, owner: new.owner, third_octet })
}

/// Whether a name leads somewhere already, by itself or under a wildcard; a wildcard must not take in others' names.
fn is_taken(state: &State, name: &str) -> bool {
    let covers = |wide: &str, narrow: &str| match wide.strip_prefix('*') {
        Some(suffix) => narrow.ends_with(suffix),
        None => wide == narrow,
    };
    let all = state
        .services
        .values()
        .flat_map(|service| service.dns_names.iter().chain(&service.private_dns_names));
    all.map(String::as_str).any(|known| covers(known, name) || covers(name, known))
}

pub(crate) fn remove(txn: &mut Txn, name: &str) -> Result<(), ModelError> {
    let name = full_name(&txn.state.region.name, name);
    let found = txn.state.upstreams.get(&name).cloned();
    let found = found.ok_or_else(|| ModelError::UpstreamNotFound { service: name.clone() })?;
    if found.own.is_some() {
        let mut endpoints = txn.state.vpc_endpoints.values();
        // Deleted ones are remembered under the service's name for a while, and no longer need it.
        let user = endpoints.find(|endpoint| endpoint.service_name == name && endpoint.state.is_live());
        if let Some(endpoint) = user {
            return Err(ModelError::UpstreamInUse { service: name, endpoint: endpoint.id });
        }
    }
    txn.state.upstreams.remove(&name);
    restore(&mut txn.state);
    txn.events.push(Event::IdentityChanged);
    Ok(())
}

/// Makes the services anew from what they follow from.
pub(crate) fn restore(state: &mut State) {
    let mut services = catalogue(&state.region).0;
    for upstream in state.upstreams.values() {
        if let Some(own) = &upstream.own {
            let service = own.service(&upstream.service, &upstream.signing_name);
            services.insert(upstream.service.clone(), Arc::new(service));
        }
    }
    state.services = services;
}

/// Refuses texts that cannot be what they are to be.
fn check_texts(new: &NewUpstream) -> Result<(), ModelError> {
    let refuse = |what: &'static str, value: &str| {
        let shown = value.chars().take(MAX_URL_CHARACTERS).collect();
        Err(ModelError::UpstreamValue { what, value: shown })
    };
    if !new.name.split('.').all(is_label) || new.name.len() > 63 {
        return refuse("a service's name (small letters, digits, `-` and `.`)", &new.name);
    }
    for (what, name) in [
        ("a name in credential scopes", &new.signing_name),
        ("a service's prefix in policies", &new.action_prefix),
    ] {
        if !is_label(name) {
            return refuse(what, name);
        }
    }
    if !is_url(&new.url) {
        return refuse("the URL of a service (`http://HOST[:PORT]` or `https://HOST[:PORT]`)", &new.url);
    }
    if let Some(wrong) = new.private_dns_names.iter().find(|name| !is_name(name)) {
        return refuse("a name in DNS", wrong);
    }
    if new.private_dns_names.len() > MAX_PRIVATE_NAMES {
        return Err(ModelError::Limit { what: "private names of a service", limit: MAX_PRIVATE_NAMES });
    }
    let of_key = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match &new.key {
        Some(key) if !(1..=128).contains(&key.id.len()) || !key.id.bytes().all(of_key) => {
            refuse("an access key's id", &key.id)
        }
        Some(key) if key.region.as_ref().is_some_and(|region| !is_label(region)) => {
            refuse("a region", key.region.as_deref().unwrap_or_default())
        }
        Some(_) | None => Ok(()),
    }
}

fn is_label(text: &str) -> bool {
    let of_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(of_label)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A name with a dot in it, with or without a wildcard for its first label.
fn is_name(text: &str) -> bool {
    let name = text.to_ascii_lowercase();
    let name = name.strip_prefix("*.").unwrap_or(&name);
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}

/// A scheme, a host and a port, and nothing else: what is behind the host is the request's own.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let Some(authority) = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)) else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.to_ascii_lowercase().split('.').all(is_label),
    };
    text.len() <= MAX_URL_CHARACTERS && is_host && port.is_none_or(is_port)
}

impl State {
    /// What requests for a service are told apart by: its name in credential scopes, or of a service that AWS does not
    /// have its whole name, for nobody knows what else has that signing name.
    pub fn route_of<'s>(&self, service: &'s Service) -> &'s str {
        match self.upstreams.get(&service.name) {
            Some(upstream) if upstream.own.is_some() => &service.name,
            Some(_) | None => &service.signing_name,
        }
    }
}
