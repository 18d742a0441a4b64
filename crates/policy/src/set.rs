//! The policies that apply to a request, each in its place.

use std::fmt;
use std::sync::Arc;

use crate::document::{Kind, PolicyDocument};

/// The types of policies, as AWS's messages tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyType {
    /// Over the principals of an organization.
    ServiceControl,
    /// Over the resources of an organization.
    ResourceControl,
    /// Attached to the resource.
    Resource,
    /// Attached to the role that is to be assumed.
    Trust,
    /// Attached to the principal.
    Identity,
    /// The most a principal may have.
    Boundary,
    /// The most a session may have.
    Session,
    /// Attached to the endpoint that the request came through.
    Endpoint,
}

impl PolicyType {
    /// The words of AWS's denial messages, without an article.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::ServiceControl => "service control policy",
            Self::ResourceControl => "resource control policy",
            Self::Resource => "resource-based policy",
            Self::Trust => "role trust policy",
            Self::Identity => "identity-based policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
            Self::Endpoint => "VPC endpoint policy",
        }
    }
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.phrase())
    }
}

/// A policy and what to call it in explanations: an ARN, a name, or the id of the endpoint or bucket it is on.
#[derive(Debug, Clone)]
pub struct NamedPolicy {
    pub(crate) name: Arc<str>,
    pub(crate) document: PolicyDocument,
}

impl NamedPolicy {
    /// Names a document.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, document: PolicyDocument) -> Self {
        Self { name: name.into(), document }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &PolicyDocument {
        &self.document
    }
}

/// The policies at one level of an organization: its root, a unit, or the account.
#[derive(Debug, Clone, Default)]
pub struct Level {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) policies: Vec<NamedPolicy>,
}

impl Level {
    /// Names a level, for explanations, by its id (`r-…`, `ou-…` or an account's).
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, policies: Vec<NamedPolicy>) -> Self {
        Self { name: Some(name.into()), policies }
    }
}

impl From<Vec<NamedPolicy>> for Level {
    fn from(policies: Vec<NamedPolicy>) -> Self {
        Self { name: None, policies }
    }
}

/// A document in a place that its kind does not belong to. It was validated by other rules, so it is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy `{name}` is {kind} and cannot be used as {place}")]
pub struct WrongKind {
    /// The policy.
    pub name: String,
    /// What it was parsed as.
    pub kind: Kind,
    /// Where it was put.
    pub place: PolicyType,
}

/// All policies that apply to one request. Without any, everything but an account's own root is denied.
#[derive(Debug, Clone, Default)]
pub struct PolicySet {
    pub(crate) identity: Vec<NamedPolicy>,
    pub(crate) boundary: Option<NamedPolicy>,
    pub(crate) session: Vec<NamedPolicy>,
    pub(crate) resource: Option<NamedPolicy>,
    pub(crate) endpoint: Option<NamedPolicy>,
    pub(crate) service_control: Vec<Level>,
    pub(crate) resource_control: Vec<Level>,
    pub(crate) resource_required: bool,
}

impl PolicySet {
    /// No policies.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one of the principal's own policies (of a federated user: those of the user who called).
    ///
    /// # Errors
    /// [`WrongKind`] unless it is [`Kind::Identity`].
    pub fn add_identity(&mut self, policy: NamedPolicy) -> Result<(), WrongKind> {
        self.identity.push(checked(policy, PolicyType::Identity, &[Kind::Identity])?);
        Ok(())
    }

    /// Sets the principal's permissions boundary.
    ///
    /// # Errors
    /// [`WrongKind`] unless it is [`Kind::Boundary`] or [`Kind::Identity`].
    pub fn set_boundary(&mut self, policy: NamedPolicy) -> Result<(), WrongKind> {
        self.boundary = Some(checked(policy, PolicyType::Boundary, &[Kind::Boundary, Kind::Identity])?);
        Ok(())
    }

    /// Adds a session policy. With none a role session is not limited, and a federated user has nothing but
    /// what resource policies give the session.
    ///
    /// # Errors
    /// [`WrongKind`] unless it is [`Kind::Session`] or [`Kind::Identity`].
    pub fn add_session(&mut self, policy: NamedPolicy) -> Result<(), WrongKind> {
        self.session.push(checked(policy, PolicyType::Session, &[Kind::Session, Kind::Identity])?);
        Ok(())
    }

    /// Sets the resource's policy. A trust policy has to allow by itself (see
    /// [`require_resource`](Self::require_resource)).
    ///
    /// # Errors
    /// [`WrongKind`] unless it is [`Kind::Resource`] or [`Kind::Trust`].
    pub fn set_resource(&mut self, policy: NamedPolicy) -> Result<(), WrongKind> {
        self.resource = Some(checked(policy, PolicyType::Resource, &[Kind::Resource, Kind::Trust])?);
        Ok(())
    }

    /// Says that the resource's policy has to allow even within one account, as that of a KMS key does.
    pub fn require_resource(&mut self) {
        self.resource_required = true;
    }

    /// Sets the policy of the endpoint that the request came through. Without one nothing is filtered, as for a
    /// request that came through no endpoint.
    ///
    /// # Errors
    /// [`WrongKind`] unless it is [`Kind::Endpoint`].
    pub fn set_endpoint(&mut self, policy: NamedPolicy) -> Result<(), WrongKind> {
        let kinds = [Kind::Endpoint { gateway: true }, Kind::Endpoint { gateway: false }];
        self.endpoint = Some(checked(policy, PolicyType::Endpoint, &kinds)?);
        Ok(())
    }

    /// Adds a level (root, organizational unit, account) of service control policies over the principal's
    /// account. Each level has to allow, so a level without policies denies. Add none for a management account
    /// or a service-linked role.
    ///
    /// # Errors
    /// [`WrongKind`] unless all are [`Kind::ServiceControl`].
    pub fn add_service_control_level(&mut self, level: impl Into<Level>) -> Result<(), WrongKind> {
        let kinds = [Kind::ServiceControl];
        self.service_control.push(checked_level(level.into(), PolicyType::ServiceControl, &kinds)?);
        Ok(())
    }

    /// Adds a level of resource control policies over the resource's account. AWS's full access is in force at
    /// every level by itself.
    ///
    /// # Errors
    /// [`WrongKind`] unless all are [`Kind::ResourceControl`].
    pub fn add_resource_control_level(&mut self, level: impl Into<Level>) -> Result<(), WrongKind> {
        let kinds = [Kind::ResourceControl];
        self.resource_control.push(checked_level(level.into(), PolicyType::ResourceControl, &kinds)?);
        Ok(())
    }

    /// What the resource's policy is called in messages.
    pub(crate) fn resource_type(&self) -> PolicyType {
        match &self.resource {
            Some(policy) if policy.document.kind == Kind::Trust => PolicyType::Trust,
            Some(_) | None => PolicyType::Resource,
        }
    }
}

fn checked(policy: NamedPolicy, place: PolicyType, kinds: &[Kind]) -> Result<NamedPolicy, WrongKind> {
    if kinds.contains(&policy.document.kind) {
        Ok(policy)
    } else {
        Err(WrongKind { name: policy.name.to_string(), kind: policy.document.kind, place })
    }
}

fn checked_level(level: Level, place: PolicyType, kinds: &[Kind]) -> Result<Level, WrongKind> {
    let policies = level.policies.into_iter().map(|policy| checked(policy, place, kinds));
    Ok(Level { name: level.name, policies: policies.collect::<Result<_, _>>()? })
}
