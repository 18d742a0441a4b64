//! What AWS accepts and is most likely a mistake.
//!
//! Nothing here decides anything: a document with warnings is enforced as it is written.

mod catalogue;
mod condition;

use std::fmt;

use crate::document::{Effect, Kind, PolicyDocument};
use crate::organization::is_reached_by_resource_control;
use crate::place::Place;
use crate::principal::{AwsName, PrincipalClause};
use crate::statement::{ActionPattern, Statement};

use self::catalogue::{ActionFacts, Catalogue};

/// A likely mistake, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The index of the statement.
    pub statement: usize,
    /// Where.
    pub place: Place,
    /// What.
    pub concern: Concern,
}

/// What is most likely a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concern {
    /// No service has this name.
    UnknownService {
        /// The action with it.
        action: String,
    },
    /// The service has no such action.
    UnknownAction {
        /// The action, perhaps with wildcards.
        action: String,
        /// What may be meant.
        near: Option<String>,
    },
    /// Resource control policies do not reach this service.
    UnreachedService {
        /// The action with it.
        action: String,
    },
    /// No request has this condition key.
    UnknownKey {
        /// The key.
        key: String,
        /// What may be meant.
        near: Option<String>,
    },
    /// No request for any of the statement's actions has this condition key.
    KeyOfOtherActions {
        /// The key.
        key: String,
    },
    /// The key is of another type than the operator compares.
    TypeMismatch {
        /// The key.
        key: String,
        /// The operator.
        operator: String,
        /// The operators that compare it, by what their names begin with.
        wanted: &'static str,
    },
    /// An endpoint's policy sees the requests through this endpoint only, whose key is always the same.
    KeyOfTheEndpointItself {
        /// The key.
        key: String,
    },
    /// Requests through an endpoint never have this key.
    KeyAbsentThroughEndpoints {
        /// The key.
        key: String,
    },
    /// `aws:SourceIp` is a public address.
    PrivateSourceIp {
        /// The address or block.
        network: String,
        /// Whether the operator is `NotIpAddress`.
        negated: bool,
        /// Whether none of the condition's values is public.
        all: bool,
    },
    /// `ForAllValues` on a key with one value: it holds where the key is absent.
    ForAllValuesOnSingle {
        /// The key.
        key: String,
    },
    /// An allowance by `ForAllValues` holds where the key is absent, unless `Null` asks for it.
    ForAllValuesWithoutNull {
        /// The key.
        key: String,
    },
    /// A key with several values, and no `ForAllValues` or `ForAnyValue`.
    SetWithoutQuantifier {
        /// The key.
        key: String,
    },
    /// An asterisk where the operator knows no wildcards.
    LiteralWildcard {
        /// The value.
        value: String,
        /// The operator.
        operator: String,
    },
    /// `${…}` is text in the older version of the language.
    LiteralVariable {
        /// The value.
        value: String,
    },
    /// The policy limits what others allow, and allows nothing.
    AllowsNothing {
        /// The kind.
        kind: Kind,
    },
    /// `NotPrincipal` that allows, which lets nobody in particular in as well.
    AllowsAllOthers,
    /// `NotPrincipal` that denies, which denies every principal with a permissions boundary.
    DeniesAllOthers,
    /// A gateway endpoint takes an account for its root user alone.
    AccountIsRootOnly {
        /// The account.
        account: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement[{}]: {} ({})", self.statement, self.concern, self.place)
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownService { action } => write!(f, "`{action}` is of a service that does not exist"),
            Self::UnknownAction { action, near } => {
                write!(f, "there is no action `{action}`{}", meant(near.as_deref()))
            }
            Self::UnreachedService { action } => {
                write!(f, "`{action}` is of a service that resource control policies do not reach")
            }
            Self::UnknownKey { key, near } => {
                write!(f, "no request has the condition key `{key}`{}", meant(near.as_deref()))
            }
            Self::KeyOfOtherActions { key } => {
                write!(f, "no request for these actions has the condition key `{key}`")
            }
            Self::TypeMismatch { key, operator, wanted: _ } => {
                write!(f, "`{operator}` does not compare what the condition key `{key}` holds")
            }
            Self::KeyOfTheEndpointItself { key } => {
                write!(
                    f,
                    "every request that this policy sees came through its own endpoint, so `{key}` is always the same"
                )
            }
            Self::KeyAbsentThroughEndpoints { key } => {
                write!(f, "requests through an endpoint never have the condition key `{key}`")
            }
            Self::PrivateSourceIp { network, negated: _, all: _ } => {
                write!(
                    f,
                    "`aws:SourceIp` is a public address and never in `{network}`; through an endpoint it is `aws:VpcSourceIp`"
                )
            }
            Self::ForAllValuesOnSingle { key } => {
                write!(f, "`{key}` has one value, and `ForAllValues` holds where it is absent")
            }
            Self::ForAllValuesWithoutNull { key } => {
                write!(
                    f,
                    "`ForAllValues` holds where `{key}` is absent; a condition `Null` with `false` asks for it"
                )
            }
            Self::SetWithoutQuantifier { key } => {
                write!(f, "`{key}` has several values and needs `ForAllValues` or `ForAnyValue`")
            }
            Self::LiteralWildcard { value, operator } => {
                write!(f, "`{operator}` knows no wildcards, so the asterisk in `{value}` is one")
            }
            Self::LiteralVariable { value } => {
                write!(f, "`{value}` has a variable, which needs `Version` 2012-10-17")
            }
            Self::AllowsNothing { kind } => write!(f, "{kind} that only denies lets nothing through"),
            Self::AllowsAllOthers => {
                f.write_str("`NotPrincipal` with `Allow` lets in everybody else, also unsigned requests")
            }
            Self::DeniesAllOthers => f.write_str(
                "`NotPrincipal` with `Deny` also denies every principal that has a permissions boundary",
            ),
            Self::AccountIsRootOnly { account } => {
                write!(
                    f,
                    "on a gateway endpoint `{account}` is the account's root user alone; use `*` and `aws:PrincipalAccount`"
                )
            }
        }
    }
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!("; `{near}` may be meant")).unwrap_or_default()
}

/// What warnings are found with.
struct Look<'d> {
    document: &'d PolicyDocument,
    catalogue: &'static Catalogue,
    statement: usize,
    found: Vec<Warning>,
}

pub(crate) fn warnings(document: &PolicyDocument) -> Vec<Warning> {
    let mut look = Look { document, catalogue: Catalogue::get(), statement: 0, found: Vec::new() };
    look.effects();
    for (index, statement) in document.statements.iter().enumerate() {
        look.statement = index;
        look.principals(statement);
        for action in &statement.actions.patterns {
            look.action(action);
        }
        for resource in &statement.resources.patterns {
            look.variables(&resource.text, resource.at.0);
        }
        look.conditions(statement);
    }
    look.found.sort_by_key(|warning| warning.place);
    look.found
}

impl Look<'_> {
    fn warn(&mut self, place: Place, concern: Concern) {
        self.found.push(Warning { statement: self.statement, place, concern });
    }

    /// A policy that limits has to allow something.
    fn effects(&mut self) {
        let limits = match self.document.kind {
            Kind::Endpoint { .. } | Kind::Boundary | Kind::Session => true,
            // Others allow beside these: policies of the same principal, or full access at the same level.
            Kind::Identity | Kind::Resource | Kind::Trust | Kind::ServiceControl | Kind::ResourceControl => {
                false
            }
        };
        let allows = self.document.statements.iter().any(|statement| statement.effect == Effect::Allow);
        if let (true, false, Some(first)) = (limits, allows, self.document.statements.first()) {
            self.warn(first.at.0, Concern::AllowsNothing { kind: self.document.kind });
        }
    }

    fn principals(&mut self, statement: &Statement) {
        let Some(clause) = &statement.principals else { return };
        let place = clause.at.0;
        match (clause.negated, statement.effect) {
            (true, Effect::Allow) => self.warn(place, Concern::AllowsAllOthers),
            (true, Effect::Deny) => self.warn(place, Concern::DeniesAllOthers),
            (false, Effect::Allow) => self.root_only(clause),
            (false, Effect::Deny) => {}
        }
    }

    /// <https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html>
    fn root_only(&mut self, clause: &PrincipalClause) {
        if !clause.account_is_root_only || clause.anyone {
            return;
        }
        for name in &clause.aws {
            match name {
                AwsName::Account(account) => {
                    self.warn(clause.at.0, Concern::AccountIsRootOnly { account: account.to_string() });
                }
                AwsName::Arn(_) | AwsName::UniqueId(_) => {}
            }
        }
    }

    fn action(&mut self, action: &ActionPattern) {
        let lower_case = action.text.to_ascii_lowercase();
        let Some((service, name)) = lower_case.split_once(':').filter(|(service, _)| *service != "*") else {
            return;
        };
        let action_text = || action.text.clone();
        let place = action.at.0;
        match self.catalogue.action(service, name) {
            ActionFacts::Known
                if self.document.kind == Kind::ResourceControl
                    && !is_reached_by_resource_control(service) =>
            {
                self.warn(place, Concern::UnreachedService { action: action_text() });
            }
            ActionFacts::Known => {}
            ActionFacts::UnknownService => {
                self.warn(place, Concern::UnknownService { action: action_text() })
            }
            ActionFacts::UnknownAction(near) => {
                self.warn(place, Concern::UnknownAction { action: action_text(), near });
            }
        }
    }

    fn variables(&mut self, text: &str, place: Place) {
        if text.contains("${") && !self.document.version().has_variables() {
            self.warn(place, Concern::LiteralVariable { value: text.to_owned() });
        }
    }
}
