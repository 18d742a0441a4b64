//! What each statement had to say about a request, for people.

use std::fmt;
use std::sync::Arc;

use crate::place::Place;
use crate::principal::PrincipalMatch;
use crate::set::PolicyType;

/// What one statement of one policy did, or that a type of policy had nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The type of the policy.
    pub policy_type: PolicyType,
    /// The policy's name; `None` when there is no policy of this type.
    pub policy: Option<Arc<str>>,
    /// The index of the statement.
    pub statement: Option<usize>,
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
    /// Where it begins in its document.
    pub place: Option<Place>,
    /// The level of the organization that the policy is attached to, or that has none.
    pub level: Option<Arc<str>>,
    /// What it did.
    pub finding: Finding,
    /// Its conditions with what the request has, where they decide: action, resource and principal fit.
    pub conditions: Vec<ConditionSeen>,
}

/// A condition beside the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionSeen {
    /// The operator as written.
    pub operator: Arc<str>,
    /// The key as written.
    pub key: Arc<str>,
    /// The policy's values, joined and shortened.
    pub wanted: Arc<str>,
    /// The request's values; `None` when the key is absent.
    pub actual: Option<Vec<String>>,
    /// Whether it holds.
    pub holds: bool,
}

/// What a statement did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It allows.
    Allows(PrincipalMatch),
    /// It denies.
    Denies(PrincipalMatch),
    /// It would allow, but this does not fit.
    DoesNotAllow(Miss),
    /// It would deny, but this does not fit.
    DoesNotDeny(Miss),
    /// There is no policy of this type, and one would be needed.
    NoPolicy,
    /// No identity policy is needed: the caller is an account's root user.
    RootNeedsNone,
}

/// The first part of a statement that does not fit the request, in the order in which they are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// Another action.
    Action,
    /// Another resource.
    Resource,
    /// Another principal.
    Principal,
    /// A condition that does not hold.
    Condition {
        /// The operator as written.
        operator: Arc<str>,
        /// The key as written.
        key: Arc<str>,
        /// Why it does not hold.
        why: ConditionMiss,
    },
}

/// Why a condition does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionMiss {
    /// The request does not have the key.
    KeyAbsent,
    /// The request has these values, the policy asks for those.
    Values {
        /// The request's, joined.
        actual: String,
        /// The policy's, joined and shortened.
        wanted: Arc<str>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy_type)?;
        if let Some(policy) = &self.policy {
            write!(f, " `{policy}`")?;
        }
        if let Some(level) = &self.level {
            write!(f, " at `{level}`")?;
        }
        if let Some(statement) = self.statement {
            write!(f, ", statement {statement}")?;
        }
        if let Some(sid) = &self.sid {
            write!(f, " (`{sid}`)")?;
        }
        write!(f, ": {}", self.finding)
    }
}

impl Reason {
    /// Whether the statement takes part in the decision: it applies, or there is nothing where something is needed.
    #[must_use]
    pub fn applies(&self) -> bool {
        match self.finding {
            Finding::Allows(_) | Finding::Denies(_) | Finding::NoPolicy | Finding::RootNeedsNone => true,
            Finding::DoesNotAllow(_) | Finding::DoesNotDeny(_) => false,
        }
    }
}

impl fmt::Display for ConditionSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, key, wanted, actual, holds } = self;
        let verdict = if *holds { "holds" } else { "does not hold" };
        match actual {
            None => write!(
                f,
                "`{operator}` on `{key}` with {wanted} {verdict}: the request does not have this key"
            ),
            Some(values) => {
                let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
                write!(
                    f,
                    "`{operator}` on `{key}` with {wanted} {verdict}: the request has {}",
                    values.join(" and ")
                )
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allows(by) => write!(f, "allows{}", how(*by)),
            Self::Denies(by) => write!(f, "denies{}", how(*by)),
            Self::DoesNotAllow(miss) => write!(f, "does not allow, {miss}"),
            Self::DoesNotDeny(miss) => write!(f, "does not deny, {miss}"),
            Self::NoPolicy => f.write_str("there is none, so nothing is allowed"),
            Self::RootNeedsNone => f.write_str("the root user needs none"),
        }
    }
}

fn how(by: PrincipalMatch) -> &'static str {
    match by {
        PrincipalMatch::Account => ", naming the caller's account",
        PrincipalMatch::FederationIssuer => ", naming the user who made the session",
        PrincipalMatch::Role => ", naming the caller's role",
        PrincipalMatch::Session => ", naming the caller's session",
        PrincipalMatch::User => ", naming the user",
        PrincipalMatch::Service => ", naming the service",
        PrincipalMatch::Provider => ", naming the identity provider",
        PrincipalMatch::Anyone => ", naming anyone",
        PrincipalMatch::Implied => "",
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action => f.write_str("it is about other actions"),
            Self::Resource => f.write_str("it is about other resources"),
            Self::Principal => f.write_str("it is about other principals"),
            Self::Condition { operator, key, why: ConditionMiss::KeyAbsent } => {
                write!(f, "`{operator}` on `{key}`: the request does not have this key")
            }
            Self::Condition { operator, key, why: ConditionMiss::Values { actual, wanted } } => {
                write!(f, "`{operator}` on `{key}`: the request has {actual}, the policy says {wanted}")
            }
        }
    }
}
