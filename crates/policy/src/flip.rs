//! The smallest change that would turn a decision round, found by trying.
//!
//! Candidates are changes that a person could make: to leave a statement or a condition out, to widen a statement, to add
//! one to a policy that is asked, or to make the same request under other circumstances. Each is made on a copy and the
//! evaluator is asked again; first each alone, then two together, then three.
//! INVARIANT: what is proposed was tried: with it, [`decide`] says the opposite.

use std::fmt;
use std::sync::Arc;

use crate::condition::Condition;
use crate::document::{Effect, Kind, PolicyDocument};
use crate::evaluate::{Outcome, decide, evaluate};
use crate::explain::{Finding, Miss, Reason};
use crate::index::Index;
use crate::place::Place;
use crate::principal::Principal;
use crate::print::quoted;
use crate::request::{Request, is_derived_key};
use crate::set::{NamedPolicy, PolicySet, PolicyType};
use crate::statement::Statement;

/// The most candidates that are combined; those that say most about the request come first.
const CANDIDATES_MAX: usize = 64;
/// How many candidates may be needed together.
const TOGETHER_MAX: usize = 3;
/// How many ways are told, where several are as small.
const WAYS_MAX: usize = 6;
/// How many of a condition's values are tried.
const VALUES_MAX: usize = 3;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What would be done.
    pub what: ChangeKind,
    /// The type of the policy that is changed; none where the request is.
    pub policy_type: Option<PolicyType>,
    /// The policy that is changed; none where there would be a new one.
    pub policy: Option<Arc<str>>,
    /// The statement that is changed.
    pub statement: Option<usize>,
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
    /// Where it begins.
    pub place: Option<Place>,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// The statement goes.
    RemoveStatement,
    /// These conditions of the statement go: operator and key of each.
    RemoveConditions(Vec<(Arc<str>, Arc<str>)>),
    /// The statement is about this action as well.
    AddAction(String),
    /// The statement is about this resource as well.
    AddResource(String),
    /// The statement names this principal as well.
    AddPrincipal(String),
    /// There is a statement more, with this effect, about the request's action on its resource.
    AddStatement {
        /// Whether it allows.
        allows: bool,
        /// About what.
        action: String,
        /// On what.
        resource: String,
    },
    /// The request is made with this key and value.
    SetKey {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
}

/// The smallest changes that turn a decision round: each way is a list of changes to be made together, and all ways have
/// as many. Empty where nothing of up to three changes does.
#[must_use]
pub fn smallest_flips(policies: &PolicySet, request: &Request) -> Vec<Vec<Change>> {
    let evaluation = evaluate(policies, request);
    let was_allowed = evaluation.is_allowed();
    let mut candidates = match was_allowed {
        true => against(policies, request, &evaluation.reasons),
        false => in_favour(policies, request, &evaluation.reasons),
    };
    candidates.truncate(CANDIDATES_MAX);
    let flips = |chosen: &[&Candidate]| {
        let (mut policies, mut request) = (policies.clone(), request.clone());
        chosen.iter().for_each(|candidate| candidate.make(&mut policies, &mut request));
        matches!(decide(&policies, &request), Outcome::Allowed) != was_allowed
    };
    for together in 1..=TOGETHER_MAX {
        let mut ways = Vec::new();
        combinations(&candidates, together, &mut |chosen| {
            if flips(chosen) {
                ways.push(chosen.iter().map(|candidate| candidate.change.clone()).collect());
            }
            ways.len() < WAYS_MAX
        });
        if !ways.is_empty() {
            return ways;
        }
    }
    Vec::new()
}

/// Calls with every choice of so many, in order, until told to stop.
fn combinations<'c>(
    candidates: &'c [Candidate],
    count: usize,
    each: &mut impl FnMut(&[&'c Candidate]) -> bool,
) {
    fn choose<'c>(
        rest: &'c [Candidate],
        count: usize,
        chosen: &mut Vec<&'c Candidate>,
        each: &mut impl FnMut(&[&'c Candidate]) -> bool,
    ) -> bool {
        if count == 0 {
            return each(chosen);
        }
        for (at, candidate) in rest.iter().enumerate() {
            chosen.push(candidate);
            let go_on = choose(rest.get(at + 1..).unwrap_or_default(), count - 1, chosen, each);
            chosen.pop();
            if !go_on {
                return false;
            }
        }
        true
    }
    choose(candidates, count, &mut Vec::new(), each);
}

/// A change, and how it is made.
struct Candidate {
    change: Change,
    edit: Edit,
}

enum Edit {
    /// Of the statement that begins there, in the policy of this very name.
    Statement(Arc<str>, Place, How),
    /// One statement more in the policy of this very name.
    Append(Arc<str>, Statement),
    /// A policy that was not there.
    Add(PolicyType, NamedPolicy),
    Set(String, String),
}

enum How {
    Remove,
    /// Conditions by operator and key.
    RemoveConditions(Vec<(Arc<str>, Arc<str>)>),
    /// What this statement is about, or whom it names, as well.
    AddActions(Statement),
    AddResources(Statement),
    AddPrincipals(Statement),
}

impl Candidate {
    fn make(&self, policies: &mut PolicySet, request: &mut Request) {
        match &self.edit {
            Edit::Set(key, value) => request.context.insert(key, value.clone()),
            Edit::Add(policy_type, policy) => add(policies, *policy_type, policy.clone()),
            Edit::Append(name, statement) => change(policies, name, |statements| {
                statements.push(statement.clone());
            }),
            Edit::Statement(name, place, how) => change(policies, name, |statements| {
                let Some(at) = statements.iter().position(|statement| statement.at.0 == *place) else {
                    return;
                };
                match how {
                    How::Remove => {
                        statements.remove(at);
                    }
                    how => how.change(&mut statements[at]),
                }
            }),
        }
    }
}

impl How {
    fn change(&self, statement: &mut Statement) {
        match self {
            Self::Remove => {}
            Self::RemoveConditions(gone) => {
                statement.conditions.retain(|condition| !is_among(condition, gone))
            }
            Self::AddActions(other) => {
                statement.actions.patterns.extend(other.actions.patterns.iter().cloned())
            }
            Self::AddResources(other) => {
                statement.resources.patterns.extend(other.resources.patterns.iter().cloned());
            }
            Self::AddPrincipals(other) => {
                if let (Some(clause), Some(more)) = (&mut statement.principals, &other.principals) {
                    clause.anyone |= more.anyone;
                    clause.aws.extend(more.aws.iter().cloned());
                }
            }
        }
    }
}

fn is_among(condition: &Condition, named: &[(Arc<str>, Arc<str>)]) -> bool {
    named.iter().any(|(operator, key)| *operator == condition.operator && **key == *condition.key.shared())
}

/// Changes the statements of the policy of this very name.
fn change(policies: &mut PolicySet, name: &Arc<str>, edit: impl Fn(&mut Vec<Statement>)) {
    for policy in all_mut(policies).filter(|policy| Arc::ptr_eq(&policy.name, name)) {
        let mut statements = policy.document.statements.to_vec();
        edit(&mut statements);
        let statements: Arc<[Statement]> = Arc::from(statements);
        let index = Arc::new(Index::new(&statements));
        policy.document = PolicyDocument { statements, index, ..policy.document.clone() };
    }
}

/// Every policy of a set, with its type.
fn all(policies: &PolicySet) -> impl Iterator<Item = (PolicyType, &NamedPolicy)> {
    let of = |policy_type| move |policy| (policy_type, policy);
    let levels = policies.service_control.iter().flat_map(|level| &level.policies);
    let resource_levels = policies.resource_control.iter().flat_map(|level| &level.policies);
    levels
        .map(of(PolicyType::ServiceControl))
        .chain(resource_levels.map(of(PolicyType::ResourceControl)))
        .chain(policies.resource.iter().map(of(policies.resource_type())))
        .chain(policies.identity.iter().map(of(PolicyType::Identity)))
        .chain(policies.boundary.iter().map(of(PolicyType::Boundary)))
        .chain(policies.session.iter().map(of(PolicyType::Session)))
        .chain(policies.endpoint.iter().map(of(PolicyType::Endpoint)))
}

fn all_mut(policies: &mut PolicySet) -> impl Iterator<Item = &mut NamedPolicy> {
    let levels = policies.service_control.iter_mut().chain(&mut policies.resource_control);
    levels
        .flat_map(|level| &mut level.policies)
        .chain(&mut policies.resource)
        .chain(&mut policies.identity)
        .chain(&mut policies.boundary)
        .chain(&mut policies.session)
        .chain(&mut policies.endpoint)
}

fn add(policies: &mut PolicySet, policy_type: PolicyType, policy: NamedPolicy) {
    match policy_type {
        PolicyType::Identity => policies.identity.push(policy),
        PolicyType::Session => policies.session.push(policy),
        PolicyType::Resource | PolicyType::Trust => policies.resource = Some(policy),
        PolicyType::Boundary => policies.boundary = Some(policy),
        PolicyType::Endpoint => policies.endpoint = Some(policy),
        // A level of an organization has policies or it is none; only statements are added there.
        PolicyType::ServiceControl | PolicyType::ResourceControl => {}
    }
}

/// The statement that a reason is of.
fn statement_of<'p>(policies: &'p PolicySet, reason: &Reason) -> Option<(&'p NamedPolicy, &'p Statement)> {
    let name = reason.policy.as_ref()?;
    let mut named = all(policies).filter(|(_, policy)| Arc::ptr_eq(&policy.name, name));
    let (_, policy) = named.next()?;
    Some((policy, policy.document.statements.get(reason.statement?)?))
}

fn of_statement(reason: &Reason, what: ChangeKind, how: How) -> Option<Candidate> {
    let edit = Edit::Statement(Arc::clone(reason.policy.as_ref()?), reason.place?, how);
    let change = Change {
        what,
        policy_type: Some(reason.policy_type),
        policy: reason.policy.clone(),
        statement: reason.statement,
        sid: reason.sid.clone(),
        place: reason.place,
    };
    Some(Candidate { change, edit })
}

/// What could make a refused request pass.
fn in_favour(policies: &PolicySet, request: &Request, reasons: &[Reason]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for reason in reasons {
        match &reason.finding {
            Finding::Denies(_) => {
                candidates.extend(of_statement(reason, ChangeKind::RemoveStatement, How::Remove));
                candidates.extend(other_circumstances(policies, reason));
            }
            Finding::DoesNotAllow(miss) => {
                candidates.extend(widened(request, reason, miss));
                if matches!(miss, Miss::Condition { .. }) {
                    candidates.extend(other_circumstances(policies, reason));
                }
            }
            Finding::Allows(_) | Finding::DoesNotDeny(_) | Finding::NoPolicy | Finding::RootNeedsNone => {}
        }
    }
    candidates.extend(more_statements(policies, request, Effect::Allow));
    candidates
}

/// What could make an allowed request be refused: what allows goes, or something denies.
fn against(policies: &PolicySet, request: &Request, reasons: &[Reason]) -> Vec<Candidate> {
    let allowing = reasons.iter().filter(|reason| matches!(reason.finding, Finding::Allows(_)));
    let mut candidates: Vec<Candidate> = allowing
        .filter_map(|reason| of_statement(reason, ChangeKind::RemoveStatement, How::Remove))
        .collect();
    candidates.extend(more_statements(policies, request, Effect::Deny));
    candidates
}

/// A statement that would allow, with what does not fit made fit.
fn widened(request: &Request, reason: &Reason, miss: &Miss) -> Option<Candidate> {
    match miss {
        Miss::Action => {
            let action = request.action.as_str().to_owned();
            let statement = statement_about(request, Kind::Identity, Effect::Allow)?;
            of_statement(reason, ChangeKind::AddAction(action), How::AddActions(statement))
        }
        Miss::Resource => {
            let statement = statement_about(request, Kind::Identity, Effect::Allow)?;
            let resource = request.resource.clone();
            of_statement(reason, ChangeKind::AddResource(resource), How::AddResources(statement))
        }
        Miss::Principal => {
            let statement = statement_about(request, Kind::Resource, Effect::Allow)?;
            let principal = named(&request.principal)?;
            of_statement(reason, ChangeKind::AddPrincipal(principal), How::AddPrincipals(statement))
        }
        Miss::Condition { .. } => {
            let missed = reason.conditions.iter().filter(|condition| !condition.holds);
            let gone: Vec<_> = missed
                .map(|condition| (Arc::clone(&condition.operator), Arc::clone(&condition.key)))
                .collect();
            of_statement(reason, ChangeKind::RemoveConditions(gone.clone()), How::RemoveConditions(gone))
        }
    }
}

/// The request with a value that a condition of the statement names.
fn other_circumstances(policies: &PolicySet, reason: &Reason) -> Vec<Candidate> {
    let Some((_, statement)) = statement_of(policies, reason) else { return Vec::new() };
    let denies = statement.effect == Effect::Deny;
    let decides = |condition: &&Condition| {
        // A denial ends where one of its conditions no longer holds, an allowance needs all of them.
        let seen = reason
            .conditions
            .iter()
            .find(|seen| seen.operator == condition.operator && *seen.key == *condition.key.shared());
        seen.is_some_and(|seen| seen.holds == denies) && !is_derived_key(condition.key.written())
    };
    let pairs = statement.conditions.iter().filter(decides).flat_map(|condition| {
        let literal = condition.values.iter().filter(|value| !value.contains(['*', '?', '$']));
        literal.take(VALUES_MAX).map(|value| (condition.key.written().to_owned(), value.clone()))
    });
    pairs
        .map(|(key, value)| Candidate {
            change: Change {
                what: ChangeKind::SetKey { key: key.clone(), value: value.clone() },
                policy_type: None,
                policy: None,
                statement: None,
                sid: None,
                place: None,
            },
            edit: Edit::Set(key, value),
        })
        .collect()
}

/// One more statement about the request in each policy that has a say, and in the types that may have their first.
fn more_statements(policies: &PolicySet, request: &Request, effect: Effect) -> Vec<Candidate> {
    let what = || ChangeKind::AddStatement {
        allows: effect == Effect::Allow,
        action: request.action.as_str().to_owned(),
        resource: request.resource.clone(),
    };
    let change = |policy_type, policy| Change {
        what: what(),
        policy_type: Some(policy_type),
        policy,
        statement: None,
        sid: None,
        place: None,
    };
    let mut candidates = Vec::new();
    let mut seen = Vec::new();
    for (policy_type, policy) in all(policies) {
        // AWS's full access is no policy of anybody's to change, and one of several is enough.
        let once =
            matches!(policy_type, PolicyType::Identity | PolicyType::Session) && seen.contains(&policy_type);
        let Some(statement) = statement_about(request, policy.document.kind, effect).filter(|_| !once) else {
            continue;
        };
        seen.push(policy_type);
        let change = change(policy_type, Some(Arc::clone(&policy.name)));
        candidates.push(Candidate { change, edit: Edit::Append(Arc::clone(&policy.name), statement) });
    }
    let first = [
        (PolicyType::Identity, Kind::Identity, request.principal.account().is_some()),
        (PolicyType::Resource, Kind::Resource, request.resource_account.is_some()),
    ];
    for (policy_type, kind, possible) in first {
        let missing = possible && !all(policies).any(|(there, _)| there == policy_type);
        if let Some(document) =
            Some(()).filter(|()| missing).and_then(|()| document_about(request, kind, effect))
        {
            let edit = Edit::Add(policy_type, NamedPolicy::new("new", document));
            candidates.push(Candidate { change: change(policy_type, None), edit });
        }
    }
    candidates
}

/// The ARN that a policy names a principal by: a session by its role's.
fn named(principal: &Principal) -> Option<String> {
    match principal {
        Principal::Root { .. } | Principal::User { .. } | Principal::FederatedUser { .. } => {
            Some(principal.display_name())
        }
        Principal::AssumedRole { role_arn, .. } => Some(role_arn.to_string()),
        Principal::Anonymous => Some("*".to_owned()),
        Principal::Federated { .. } | Principal::Service { .. } => None,
    }
}

fn statement_about(request: &Request, kind: Kind, effect: Effect) -> Option<Statement> {
    document_about(request, kind, effect)?.statements.first().cloned()
}

/// A document of one statement about nothing but this request.
fn document_about(request: &Request, kind: Kind, effect: Effect) -> Option<PolicyDocument> {
    let mut members = vec![format!("\"Effect\": {}", quoted(effect.as_str()))];
    let anybody = matches!(kind, Kind::Endpoint { .. } | Kind::ResourceControl);
    if kind.has_principal() {
        let principal = if anybody { "*".to_owned() } else { named(&request.principal)? };
        let names = quoted(&principal);
        members.push(match principal.as_str() {
            "*" => format!("\"Principal\": {names}"),
            _ => format!("\"Principal\": {{\"AWS\": {names}}}"),
        });
    }
    members.push(format!("\"Action\": {}", quoted(request.action.as_str())));
    if kind != Kind::Trust {
        members.push(format!("\"Resource\": {}", quoted(&request.resource)));
    }
    let text = format!("{{\"Version\": \"2012-10-17\", \"Statement\": {{{}}}}}", members.join(", "));
    PolicyDocument::parse(&text, kind).ok()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, policy_type, policy, statement, sid, place } = self;
        match what {
            ChangeKind::RemoveStatement => write!(f, "without")?,
            ChangeKind::RemoveConditions(gone) => {
                let each = gone.iter().map(|(operator, key)| format!("`{operator}` on `{key}`"));
                write!(f, "without {} in", each.collect::<Vec<_>>().join(" and "))?;
            }
            ChangeKind::AddAction(action) => write!(f, "with the action `{action}` in")?,
            ChangeKind::AddResource(resource) => write!(f, "with the resource `{resource}` in")?,
            ChangeKind::AddPrincipal(principal) => write!(f, "with the principal `{principal}` in")?,
            ChangeKind::AddStatement { allows, action, resource } => {
                let verb = if *allows { "allows" } else { "denies" };
                write!(f, "with one more statement that {verb} `{action}` on `{resource}` in")?;
            }
            ChangeKind::SetKey { key, value } => {
                return write!(f, "for a request whose `{key}` is `{value}`");
            }
        }
        if let Some(statement) = statement {
            write!(f, " statement {statement}")?;
            match (sid, place) {
                (Some(sid), Some(place)) => write!(f, " (`{sid}`, {place})")?,
                (None, Some(place)) => write!(f, " ({place})")?,
                (_, None) => {}
            }
            write!(f, " of")?;
        }
        match (policy_type, policy) {
            (Some(policy_type), Some(policy)) => write!(f, " the {policy_type} `{policy}`"),
            (Some(policy_type), None) => write!(f, " a new {policy_type}"),
            (None, _) => Ok(()),
        }
    }
}
