//! Who asks, and whether a policy's `Principal` or `NotPrincipal` names them.

use crate::arn::{AccountId, Arn};
use crate::document::Effect;
use crate::place::At;
use crate::request::Facts;

/// The authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Nobody: an unsigned request.
    Anonymous,
    /// The root user of an account.
    Root {
        /// The account.
        account: AccountId,
    },
    /// An IAM user.
    User {
        /// `arn:aws:iam::<account>:user/<path><name>`.
        arn: Arn,
    },
    /// A session of a role.
    AssumedRole {
        /// `arn:aws:iam::<account>:role/<path><name>`.
        role_arn: Arn,
        /// `arn:aws:sts::<account>:assumed-role/<name>/<session>`.
        session_arn: Arn,
    },
    /// A session from `GetFederationToken`.
    FederatedUser {
        /// `arn:aws:sts::<account>:federated-user/<name>`.
        session_arn: Arn,
        /// The user (or `…:root`) whose session it is.
        issuer_arn: Arn,
    },
    /// Someone vouched for by an identity provider, before a role is assumed (only trust policies see it).
    Federated {
        /// The provider: an ARN, or a name such as `accounts.google.com`.
        provider: String,
    },
    /// A service on its own behalf.
    Service {
        /// For example `ec2.amazonaws.com`.
        name: String,
    },
}

impl Principal {
    /// The caller's account; services, identity providers and nobody have none.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Anonymous | Self::Federated { .. } | Self::Service { .. } => None,
            Self::Root { account } => Some(account.as_str()),
            Self::User { arn } => Some(arn.account()),
            Self::AssumedRole { role_arn, .. } => Some(role_arn.account()),
            Self::FederatedUser { session_arn, .. } => Some(session_arn.account()),
        }
    }

    /// How AWS names the caller in messages and logs: a role session by its session ARN.
    #[must_use]
    pub fn display_name(&self) -> String {
        match self {
            Self::Anonymous => "anonymous".to_owned(),
            Self::Root { account } => root_arn(account),
            Self::User { arn } => arn.to_string(),
            Self::AssumedRole { session_arn, .. } | Self::FederatedUser { session_arn, .. } => {
                session_arn.to_string()
            }
            Self::Federated { provider } => provider.clone(),
            Self::Service { name } => name.clone(),
        }
    }

    /// `aws:PrincipalArn`: a role session has its role's ARN. A root user's is made up of its account, and is not kept
    /// anywhere.
    pub(crate) fn principal_arn(&self) -> Option<&str> {
        match self {
            Self::Anonymous | Self::Root { .. } | Self::Federated { .. } | Self::Service { .. } => None,
            Self::AssumedRole { role_arn, .. } => Some(role_arn.as_str()),
            Self::User { arn } => Some(arn.as_str()),
            Self::FederatedUser { session_arn, .. } => Some(session_arn.as_str()),
        }
    }

    /// `aws:PrincipalAccount`.
    pub(crate) fn principal_account(&self) -> Option<&str> {
        match self {
            Self::Anonymous => Some("anonymous"),
            Self::Root { .. }
            | Self::User { .. }
            | Self::AssumedRole { .. }
            | Self::FederatedUser { .. }
            | Self::Federated { .. }
            | Self::Service { .. } => self.account(),
        }
    }

    /// `aws:PrincipalType`.
    pub(crate) fn principal_type(&self) -> Option<&'static str> {
        match self {
            Self::Anonymous => Some("Anonymous"),
            Self::Root { .. } => Some("Account"),
            Self::User { .. } => Some("User"),
            Self::AssumedRole { .. } => Some("AssumedRole"),
            Self::FederatedUser { .. } => Some("FederatedUser"),
            Self::Federated { .. } | Self::Service { .. } => None,
        }
    }

    /// `aws:PrincipalIsAWSService`, absent for an anonymous caller.
    pub(crate) fn is_service(&self) -> Option<bool> {
        match self {
            Self::Anonymous => None,
            Self::Service { .. } => Some(true),
            Self::Root { .. }
            | Self::User { .. }
            | Self::AssumedRole { .. }
            | Self::FederatedUser { .. }
            | Self::Federated { .. } => Some(false),
        }
    }

    /// `aws:PrincipalServiceName`.
    pub(crate) fn service_name(&self) -> Option<&str> {
        match self {
            Self::Service { name } => Some(name),
            Self::Anonymous
            | Self::Root { .. }
            | Self::User { .. }
            | Self::AssumedRole { .. }
            | Self::FederatedUser { .. }
            | Self::Federated { .. } => None,
        }
    }

    /// `aws:username`, which only users have.
    pub(crate) fn user_name(&self) -> Option<&str> {
        match self {
            Self::User { arn } => arn.resource().rsplit('/').next(),
            Self::Anonymous
            | Self::Root { .. }
            | Self::AssumedRole { .. }
            | Self::FederatedUser { .. }
            | Self::Federated { .. }
            | Self::Service { .. } => None,
        }
    }

    /// `aws:userid` where it follows from the principal alone.
    pub(crate) fn fixed_user_id(&self) -> Option<&str> {
        match self {
            Self::Anonymous => Some("anonymous"),
            Self::Root { account } => Some(account.as_str()),
            Self::User { .. }
            | Self::AssumedRole { .. }
            | Self::FederatedUser { .. }
            | Self::Federated { .. }
            | Self::Service { .. } => None,
        }
    }

    /// Whether no identity policy is needed: the root user, also behind a federated session.
    pub(crate) fn is_root(&self) -> bool {
        match self {
            Self::Root { .. } => true,
            Self::FederatedUser { issuer_arn, .. } => issuer_arn.resource() == "root",
            Self::Anonymous
            | Self::User { .. }
            | Self::AssumedRole { .. }
            | Self::Federated { .. }
            | Self::Service { .. } => false,
        }
    }
}

fn root_arn(account: &AccountId) -> String {
    format!("arn:aws:iam::{account}:root")
}

/// How a `Principal` element came to name the caller. Weaker forms first: what an implicit deny elsewhere can
/// still take away depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PrincipalMatch {
    /// By the account, which delegates to the account's own policies.
    Account,
    /// By the user's ARN, for a federated session of that user.
    FederationIssuer,
    /// By the role's ARN, for a session of the role.
    Role,
    /// By the session's own ARN (role session or federated user).
    Session,
    /// By the user's ARN.
    User,
    /// By the service's name.
    Service,
    /// By the identity provider.
    Provider,
    /// By `*`, or by not being listed in `NotPrincipal`.
    Anyone,
    /// The policy belongs to the caller and has no `Principal`.
    Implied,
}

/// A compiled `Principal` or `NotPrincipal`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrincipalClause {
    pub(crate) negated: bool,
    pub(crate) anyone: bool,
    pub(crate) aws: Vec<AwsName>,
    /// Names, or `*` for any service.
    pub(crate) services: Vec<String>,
    pub(crate) providers: Vec<String>,
    pub(crate) canonical_users: Vec<String>,
    /// On a gateway endpoint an account means its root user alone when it allows.
    pub(crate) account_is_root_only: bool,
    /// Of the element's value.
    pub(crate) at: At,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AwsName {
    Account(AccountId),
    /// A user, a role or a session.
    Arn(String),
    /// `AIDA…` or `AROA…`, what AWS keeps of a deleted user or role.
    UniqueId(String),
}

impl PrincipalClause {
    /// A clause that names nobody yet.
    pub(crate) fn new(negated: bool, at: At) -> Self {
        Self {
            negated,
            anyone: false,
            aws: Vec::new(),
            services: Vec::new(),
            providers: Vec::new(),
            canonical_users: Vec::new(),
            account_is_root_only: false,
            at,
        }
    }

    /// How the clause applies to the caller, if it does.
    pub(crate) fn applies(&self, effect: Effect, facts: &Facts<'_>) -> Option<PrincipalMatch> {
        if self.negated {
            return self.excepts_others(effect, facts).then_some(PrincipalMatch::Anyone);
        }
        let named = self.names(facts);
        let root_only = self.account_is_root_only && effect == Effect::Allow;
        named.filter(|by| {
            !(root_only && *by == PrincipalMatch::Account)
                || matches!(facts.request.principal, Principal::Root { .. })
        })
    }

    /// `NotPrincipal`. A denial spares only a caller whose every level is listed (the account, then the role,
    /// then the session) and never one with a permissions boundary; an allowance leaves out whom any level lists.
    fn excepts_others(&self, effect: Effect, facts: &Facts<'_>) -> bool {
        match effect {
            Effect::Deny => facts.has_boundary || !(self.anyone || self.lists_every_level(facts)),
            Effect::Allow => self.names(facts).is_none(),
        }
    }

    fn lists_every_level(&self, facts: &Facts<'_>) -> bool {
        let arn =
            |arn: &Arn| self.aws.iter().any(|name| matches!(name, AwsName::Arn(a) if a == arn.as_str()));
        let account = || {
            let own = |name: &AwsName| matches!(name, AwsName::Account(a) if Some(a.as_str()) == facts.request.principal.account());
            self.aws.iter().any(own) || self.lists_canonical_user(facts)
        };
        match &facts.request.principal {
            Principal::Anonymous => false,
            Principal::Root { .. } => account(),
            Principal::User { arn: user } => account() && arn(user),
            Principal::AssumedRole { role_arn, session_arn } => {
                account() && arn(role_arn) && arn(session_arn)
            }
            Principal::FederatedUser { session_arn, .. } => account() && arn(session_arn),
            Principal::Federated { .. } | Principal::Service { .. } => self.names(facts).is_some(),
        }
    }

    /// The strongest form in which the clause names the caller.
    fn names(&self, facts: &Facts<'_>) -> Option<PrincipalMatch> {
        if self.anyone {
            return Some(PrincipalMatch::Anyone);
        }
        let listed = |names: &[String], name: &str| names.iter().any(|n| n == name || n == "*");
        match &facts.request.principal {
            Principal::Anonymous => None,
            Principal::Service { name } => listed(&self.services, name).then_some(PrincipalMatch::Service),
            Principal::Federated { provider } => {
                listed(&self.providers, provider).then_some(PrincipalMatch::Provider)
            }
            principal @ (Principal::Root { .. }
            | Principal::User { .. }
            | Principal::AssumedRole { .. }
            | Principal::FederatedUser { .. }) => {
                let by_name = self.aws.iter().filter_map(|name| name.names(principal, facts)).max();
                let by_canonical = self.lists_canonical_user(facts).then_some(PrincipalMatch::Account);
                by_name.max(by_canonical)
            }
        }
    }

    fn lists_canonical_user(&self, facts: &Facts<'_>) -> bool {
        facts.request.canonical_user.as_ref().is_some_and(|id| self.canonical_users.contains(id))
    }
}

impl AwsName {
    fn names(&self, principal: &Principal, facts: &Facts<'_>) -> Option<PrincipalMatch> {
        match self {
            Self::Account(account) => {
                (principal.account() == Some(account.as_str())).then_some(PrincipalMatch::Account)
            }
            Self::Arn(arn) => by_arn(arn, principal),
            Self::UniqueId(id) => by_unique_id(id, principal, facts),
        }
    }
}

fn by_arn(arn: &str, principal: &Principal) -> Option<PrincipalMatch> {
    match principal {
        Principal::User { arn: user } => (user.as_str() == arn).then_some(PrincipalMatch::User),
        Principal::AssumedRole { session_arn, .. } if session_arn.as_str() == arn => {
            Some(PrincipalMatch::Session)
        }
        Principal::AssumedRole { role_arn, .. } => (role_arn.as_str() == arn).then_some(PrincipalMatch::Role),
        Principal::FederatedUser { session_arn, .. } if session_arn.as_str() == arn => {
            Some(PrincipalMatch::Session)
        }
        Principal::FederatedUser { issuer_arn, .. } => {
            (issuer_arn.as_str() == arn).then_some(PrincipalMatch::FederationIssuer)
        }
        Principal::Anonymous
        | Principal::Root { .. }
        | Principal::Federated { .. }
        | Principal::Service { .. } => None,
    }
}

/// Users and roles by the id in `aws:userid`, which for a role session is `<role id>:<session name>`.
fn by_unique_id(id: &str, principal: &Principal, facts: &Facts<'_>) -> Option<PrincipalMatch> {
    let found = facts.user_id()?;
    let user_id = found.values().next()?;
    match principal {
        Principal::User { .. } => user_id.with_text(|text| text == id).then_some(PrincipalMatch::User),
        Principal::AssumedRole { .. } => {
            let is_roles = |text: &str| text.split(':').next() == Some(id);
            user_id.with_text(is_roles).then_some(PrincipalMatch::Role)
        }
        Principal::Anonymous
        | Principal::Root { .. }
        | Principal::FederatedUser { .. }
        | Principal::Federated { .. }
        | Principal::Service { .. } => None,
    }
}
