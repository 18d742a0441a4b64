//! Why an organization is not changed.

use crate::id::AccountId;

/// What can be named in an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Its root.
    Root,
    /// A unit.
    Unit,
    /// An account.
    Account,
    /// The root or a unit, above something.
    Parent,
    /// The root or a unit, where an account is to go.
    Destination,
    /// What a policy or a tag can be attached to.
    Target,
    /// A policy.
    Policy,
    /// An invitation.
    Handshake,
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Root => "root",
            Self::Unit => "unit",
            Self::Account => "account",
            Self::Parent => "parent",
            Self::Destination => "destination",
            Self::Target => "target",
            Self::Policy => "policy",
            Self::Handshake => "handshake",
        })
    }
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message says it")]
pub enum OrganizationRefusal {
    #[error("the account is in no organization")]
    NotInUse,
    #[error("the account does not manage its organization")]
    NotManagement,
    #[error("account `{0}` is in an organization already")]
    AlreadyIn(AccountId),
    #[error("there is no {node} `{id}` in the organization")]
    NotFound { node: Node, id: String },
    #[error("the organization still has member accounts")]
    NotEmpty,
    #[error("unit `{0}` still has accounts or units")]
    UnitNotEmpty(String),
    #[error("there is a unit named `{0}` under that parent already")]
    UnitExists(String),
    #[error("a unit would stand deeper than {0} units under the root")]
    TooDeep(usize),
    #[error("`{account}` is not under `{parent}`")]
    NotThere { account: AccountId, parent: String },
    #[error("`{account}` is under `{parent}` already")]
    ThereAlready { account: AccountId, parent: String },
    #[error("the management account stays in its organization")]
    ManagementStays,
    #[error("the organization is for billing only, so it has no policies")]
    BillingOnly,
    #[error("the type of policies is enabled already")]
    TypeEnabled,
    #[error("the type of policies is not enabled")]
    TypeNotEnabled,
    #[error("there is a policy named `{0}` already")]
    PolicyExists(String),
    #[error("policy `{0}` is attached to something")]
    PolicyAttached(String),
    #[error("policy `{0}` is AWS's")]
    PolicyOfAws(String),
    #[error("policy `{policy}` is attached to `{target}` already")]
    AttachedAlready { policy: String, target: String },
    #[error("policy `{policy}` is not attached to `{target}`")]
    NotAttached { policy: String, target: String },
    #[error("`{0}` keeps at least one service control policy")]
    LastPolicy(String),
    #[error("`{target}` has {limit} policies of the type already")]
    TooManyAttached { target: String, limit: usize },
    #[error("account `{0}` is invited already")]
    InvitedAlready(AccountId),
    #[error("handshake `{0}` is settled already")]
    HandshakeSettled(String),
    #[error("an account has the address `{0}` already")]
    EmailTaken(String),
    #[error("the organization has {limit} {what} already")]
    Full { what: &'static str, limit: usize },
}
