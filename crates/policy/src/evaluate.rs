//! The evaluator: statements, then types of policies, then how the types combine.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>
//! INVARIANT: a denying statement that applies wins over everything.
//! INVARIANT: an endpoint policy only takes away. The decision without it is made first and is not revisited.

use std::sync::Arc;

use crate::condition::Condition;
use crate::denial::Denial;
use crate::document::Effect;
use crate::explain::{ConditionMiss, ConditionSeen, Finding, Miss, Reason};
use crate::index::Probe;
use crate::pattern::SplitArn;
use crate::principal::{Principal, PrincipalMatch};
use crate::request::{Facts, Request};
use crate::set::{Level, NamedPolicy, PolicySet, PolicyType};
use crate::statement::Statement;

/// Allowed or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Every policy that has a say allows.
    Allowed,
    /// Refused, for the reason that the caller is told.
    Denied(Denial),
}

/// A decision and what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The decision.
    pub outcome: Outcome,
    /// What every statement of every policy had to say, by type in the order of [`PolicyType`].
    pub reasons: Vec<Reason>,
}

impl Evaluation {
    /// Whether the request may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.denial().is_none()
    }

    /// The refusal, if it is one.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        match &self.outcome {
            Outcome::Allowed => None,
            Outcome::Denied(denial) => Some(denial),
        }
    }
}

impl Evaluation {
    /// The reasons that made the decision: every statement that denies if one does, else what allows, and of the
    /// type to which an implicit denial is ascribed all there is.
    pub fn decisive(&self) -> impl Iterator<Item = &Reason> {
        let decided = self.denial().map(|denial| (denial.explicit, denial.policy_type));
        self.reasons.iter().filter(move |reason| match (decided, &reason.finding) {
            (Some((true, _)), finding) => matches!(finding, Finding::Denies(_)),
            (Some((false, policy_type)), finding) => {
                reason.policy_type == policy_type && !matches!(finding, Finding::DoesNotDeny(_))
            }
            (None, finding) => matches!(finding, Finding::Allows(_) | Finding::RootNeedsNone),
        })
    }
}

/// Decides a request and says why.
#[must_use]
pub fn evaluate(policies: &PolicySet, request: &Request) -> Evaluation {
    let mut reasons = Vec::new();
    let outcome = run(policies, request, Some(&mut reasons));
    Evaluation { outcome, reasons }
}

/// [`evaluate`] without collecting reasons.
#[must_use]
pub fn decide(policies: &PolicySet, request: &Request) -> Outcome {
    run(policies, request, None)
}

fn run(policies: &PolicySet, request: &Request, reasons: Option<&mut Vec<Reason>>) -> Outcome {
    let facts = Facts::new(request, policies.boundary.is_some());
    let mut scan = Scan {
        facts: &facts,
        resource: SplitArn::new(&request.resource),
        denial: None,
        probe: None,
        reasons,
    };
    // In the order in which explicit denials are named when there is more than one.
    let service_control = scan.service_control(policies);
    for level in &policies.resource_control {
        scan.all(PolicyType::ResourceControl, &level.policies, level.name.as_ref());
    }
    let grants = Grants {
        service_control,
        resource: scan.all(policies.resource_type(), policies.resource.as_slice(), None),
        identity: scan.identity(policies),
        boundary: scan.limit(PolicyType::Boundary, policies.boundary.as_slice()),
        session: scan.session(policies),
        endpoint: scan.limit(PolicyType::Endpoint, policies.endpoint.as_slice()),
    };
    if let Some(denial) = scan.denial {
        return Outcome::Denied(denial);
    }
    match grants.combine(policies, request) {
        Ok(()) => Outcome::Allowed,
        Err(policy_type) => Outcome::Denied(implicit(policy_type, policies, &grants)),
    }
}

/// How the caller stands to the resource.
enum Relation {
    /// Of the same account.
    Member,
    /// Of another account.
    Foreigner,
    /// Nobody, a service or an identity provider: there is no identity side.
    Stateless,
}

/// A resource with a policy but without a known owner is nobody's own: both sides have to allow.
fn relation(policies: &PolicySet, request: &Request) -> Relation {
    let owner_unknown = request.resource_account.is_none() && policies.resource.is_some();
    match request.principal.account() {
        None => Relation::Stateless,
        Some(_) if request.is_same_account() && !owner_unknown => Relation::Member,
        Some(_) => Relation::Foreigner,
    }
}

/// What the types of policies allow, before they are combined.
struct Grants<'p> {
    /// `Err` with the first level that allows nothing.
    service_control: Result<(), &'p Level>,
    /// The strongest form in which the resource's policy allows.
    resource: Option<PrincipalMatch>,
    identity: bool,
    boundary: bool,
    session: bool,
    endpoint: bool,
}

impl Grants<'_> {
    /// `Err` names the type to which an implicit denial is ascribed: identity and resource, then service
    /// control, then the endpoint. AWS documents no order.
    fn combine(&self, policies: &PolicySet, request: &Request) -> Result<(), PolicyType> {
        let resource_type = policies.resource_type();
        match relation(policies, request) {
            Relation::Stateless => self.resource.map(|_| ()).ok_or(resource_type)?,
            Relation::Foreigner => {
                self.identity_side()?;
                self.resource.ok_or(resource_type)?;
            }
            Relation::Member => self.same_account(policies)?,
        }
        if self.service_control.is_err() {
            return Err(PolicyType::ServiceControl);
        }
        if !self.endpoint {
            return Err(PolicyType::Endpoint);
        }
        Ok(())
    }

    /// Identity or resource policy; how the resource policy names the caller decides what still limits it.
    fn same_account(&self, policies: &PolicySet) -> Result<(), PolicyType> {
        let resource_type = policies.resource_type();
        let required = policies.resource_required || resource_type == PolicyType::Trust;
        match self.resource {
            Some(
                PrincipalMatch::User
                | PrincipalMatch::Session
                | PrincipalMatch::Anyone
                | PrincipalMatch::Service
                | PrincipalMatch::Provider
                | PrincipalMatch::Implied,
            ) => Ok(()),
            Some(PrincipalMatch::Role | PrincipalMatch::FederationIssuer) => self.limits(),
            // The account delegates to its own policies, which decide.
            Some(PrincipalMatch::Account) => self.identity_side(),
            None if required => Err(resource_type),
            None => self.identity_side(),
        }
    }

    fn identity_side(&self) -> Result<(), PolicyType> {
        if !self.identity {
            return Err(PolicyType::Identity);
        }
        self.limits()
    }

    fn limits(&self) -> Result<(), PolicyType> {
        if !self.boundary {
            return Err(PolicyType::Boundary);
        }
        if !self.session {
            return Err(PolicyType::Session);
        }
        Ok(())
    }
}

fn implicit(policy_type: PolicyType, policies: &PolicySet, grants: &Grants<'_>) -> Denial {
    let level = grants.service_control.err().filter(|_| policy_type == PolicyType::ServiceControl);
    let candidates = match policy_type {
        PolicyType::ServiceControl => level.map_or(&[][..], |level| level.policies.as_slice()),
        PolicyType::ResourceControl => &[],
        PolicyType::Resource | PolicyType::Trust => policies.resource.as_slice(),
        PolicyType::Identity => policies.identity.as_slice(),
        PolicyType::Boundary => policies.boundary.as_slice(),
        PolicyType::Session => policies.session.as_slice(),
        PolicyType::Endpoint => policies.endpoint.as_slice(),
    };
    let policy = match candidates {
        [only] => Some(Arc::clone(&only.name)),
        [] | [_, ..] => None,
    };
    let level = level.and_then(|level| level.name.clone());
    Denial { policy_type, explicit: false, policy, statement: None, sid: None, place: None, level }
}

/// One walk over all statements.
struct Scan<'a, 'r> {
    facts: &'a Facts<'a>,
    resource: SplitArn<'a>,
    /// The first denial found.
    denial: Option<Denial>,
    /// What large documents are searched by; made when the first is met.
    probe: Option<Probe>,
    reasons: Option<&'r mut Vec<Reason>>,
}

impl Scan<'_, '_> {
    /// Every level has to allow; callers without an account are not in an organization.
    fn service_control<'p>(&mut self, policies: &'p PolicySet) -> Result<(), &'p Level> {
        if self.facts.request.principal.account().is_none() {
            return Ok(());
        }
        let mut allowed = Ok(());
        for level in &policies.service_control {
            if level.policies.is_empty() {
                self.note_absent(PolicyType::ServiceControl, level.name.as_ref(), Finding::NoPolicy);
            }
            let by = self.all(PolicyType::ServiceControl, &level.policies, level.name.as_ref());
            if by.is_none() {
                allowed = allowed.and(Err(level));
            }
        }
        allowed
    }

    fn identity(&mut self, policies: &PolicySet) -> bool {
        let principal = &self.facts.request.principal;
        if principal.account().is_none() {
            return false;
        }
        let is_root = principal.is_root();
        if is_root {
            self.note_absent(PolicyType::Identity, None, Finding::RootNeedsNone);
        } else if policies.identity.is_empty() {
            self.note_absent(PolicyType::Identity, None, Finding::NoPolicy);
        }
        self.all(PolicyType::Identity, &policies.identity, None).is_some() || is_root
    }

    fn session(&mut self, policies: &PolicySet) -> bool {
        let is_federated = matches!(self.facts.request.principal, Principal::FederatedUser { .. });
        if is_federated && policies.session.is_empty() {
            self.note_absent(PolicyType::Session, None, Finding::NoPolicy);
            return false;
        }
        self.limit(PolicyType::Session, &policies.session)
    }

    /// A type that limits where it is present.
    fn limit(&mut self, policy_type: PolicyType, policies: &[NamedPolicy]) -> bool {
        self.all(policy_type, policies, None).is_some() || policies.is_empty()
    }

    /// Looks at every statement that may have something to say, with reasons at all; returns the strongest
    /// allowance.
    fn all(
        &mut self,
        policy_type: PolicyType,
        policies: &[NamedPolicy],
        level: Option<&Arc<str>>,
    ) -> Option<PrincipalMatch> {
        let mut strongest = None;
        for policy in policies {
            let source = Source { policy_type, policy, level };
            let statements = &policy.document.statements;
            if self.reasons.is_some() {
                for index in 0..statements.len() {
                    strongest = strongest.max(self.look_at(source, index, &statements[index]));
                }
            } else {
                let mut probe = self.probe.take();
                let facts = self.facts;
                policy.document.index.candidates(facts, &mut probe, |index| {
                    strongest = strongest.max(self.look_at(source, index, &statements[index]));
                });
                self.probe = probe;
            }
        }
        strongest
    }

    /// The allowance that a statement gives.
    fn look_at(&mut self, source: Source<'_>, index: usize, statement: &Statement) -> Option<PrincipalMatch> {
        let applies = self.applies(statement);
        self.note(source, index, statement, &applies);
        match (applies, statement.effect) {
            (Ok(by), Effect::Allow) => Some(by),
            (Ok(_), Effect::Deny) => {
                self.deny(source, index, statement);
                None
            }
            (Err(_), Effect::Allow | Effect::Deny) => None,
        }
    }

    fn applies<'s>(&self, statement: &'s Statement) -> Result<PrincipalMatch, Unfit<'s>> {
        if !statement.actions.cover(self.facts.request.action.lower_case()) {
            return Err(Unfit::Action);
        }
        if !statement.resources.cover(self.resource, self.facts) {
            return Err(Unfit::Resource);
        }
        let by = match &statement.principals {
            None => PrincipalMatch::Implied,
            Some(clause) => clause.applies(statement.effect, self.facts).ok_or(Unfit::Principal)?,
        };
        match statement.conditions.iter().find(|condition| !condition.holds(self.facts)) {
            Some(condition) => Err(Unfit::Condition(condition)),
            None => Ok(by),
        }
    }

    /// The first policy with a denying statement is named, and the first such statement in it.
    fn deny(&mut self, source: Source<'_>, index: usize, statement: &Statement) {
        let is_first = match &self.denial {
            None => true,
            // Statements come in no order where an index finds them.
            Some(denial) => {
                denial.statement.is_some_and(|before| index < before)
                    && denial.policy_type == source.policy_type
                    && denial.policy.as_ref().is_some_and(|before| Arc::ptr_eq(before, &source.policy.name))
            }
        };
        if is_first {
            self.denial = Some(Denial {
                policy_type: source.policy_type,
                explicit: true,
                policy: Some(Arc::clone(&source.policy.name)),
                statement: Some(index),
                sid: statement.sid.clone(),
                place: Some(statement.at.0),
                level: source.level.cloned(),
            });
        }
    }

    fn note_absent(&mut self, policy_type: PolicyType, level: Option<&Arc<str>>, finding: Finding) {
        if let Some(reasons) = &mut self.reasons {
            reasons.push(Reason {
                policy_type,
                policy: None,
                statement: None,
                sid: None,
                place: None,
                level: level.cloned(),
                finding,
                conditions: Vec::new(),
            });
        }
    }

    fn note(
        &mut self,
        source: Source<'_>,
        index: usize,
        statement: &Statement,
        applies: &Result<PrincipalMatch, Unfit<'_>>,
    ) {
        let Some(reasons) = &mut self.reasons else { return };
        let finding = match (applies, statement.effect) {
            (Ok(by), Effect::Allow) => Finding::Allows(*by),
            (Ok(by), Effect::Deny) => Finding::Denies(*by),
            (Err(unfit), Effect::Allow) => Finding::DoesNotAllow(unfit.explain(self.facts)),
            (Err(unfit), Effect::Deny) => Finding::DoesNotDeny(unfit.explain(self.facts)),
        };
        let conditions = match applies {
            Ok(_) | Err(Unfit::Condition(_)) => {
                statement.conditions.iter().map(|condition| seen(condition, self.facts)).collect()
            }
            Err(Unfit::Action | Unfit::Resource | Unfit::Principal) => Vec::new(),
        };
        reasons.push(Reason {
            policy_type: source.policy_type,
            policy: Some(Arc::clone(&source.policy.name)),
            statement: Some(index),
            sid: statement.sid.clone(),
            place: Some(statement.at.0),
            level: source.level.cloned(),
            finding,
            conditions,
        });
    }
}

/// Whose statement is looked at.
#[derive(Clone, Copy)]
struct Source<'a> {
    policy_type: PolicyType,
    policy: &'a NamedPolicy,
    level: Option<&'a Arc<str>>,
}

/// Why a statement does not apply, before it is put into words.
enum Unfit<'s> {
    Action,
    Resource,
    Principal,
    Condition(&'s Condition),
}

impl Unfit<'_> {
    fn explain(&self, facts: &Facts<'_>) -> Miss {
        match self {
            Self::Action => Miss::Action,
            Self::Resource => Miss::Resource,
            Self::Principal => Miss::Principal,
            Self::Condition(condition) => Miss::Condition {
                operator: Arc::clone(&condition.operator),
                key: condition.key.shared(),
                why: condition_miss(condition, facts),
            },
        }
    }
}

fn condition_miss(condition: &Condition, facts: &Facts<'_>) -> ConditionMiss {
    match seen_values(condition, facts) {
        None => ConditionMiss::KeyAbsent,
        Some(values) => {
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            ConditionMiss::Values { actual: values.join(" and "), wanted: shown(&condition.values) }
        }
    }
}

fn seen(condition: &Condition, facts: &Facts<'_>) -> ConditionSeen {
    ConditionSeen {
        operator: Arc::clone(&condition.operator),
        key: condition.key.shared(),
        wanted: shown(&condition.values),
        actual: seen_values(condition, facts),
        holds: condition.holds(facts),
    }
}

fn seen_values(condition: &Condition, facts: &Facts<'_>) -> Option<Vec<String>> {
    let found = facts.lookup(&condition.key)?;
    Some(found.values().map(|value| value.with_text(str::to_owned)).collect())
}

/// The most of the wanted values that an explanation repeats.
const SHOWN_CHARACTERS: usize = 200;

fn shown(values: &[String]) -> Arc<str> {
    let all = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(" or ");
    if all.chars().count() <= SHOWN_CHARACTERS {
        return all.into();
    }
    let mut short: String = all.chars().take(SHOWN_CHARACTERS).collect();
    short.push('…');
    short.into()
}
