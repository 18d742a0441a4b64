//! One statement.

use std::sync::Arc;

use super::faults::Faults;
use super::{Rules, condition, endpoint, principal, string, strings};
use crate::document::{Effect, Kind};
use crate::error::{ParseError, Problem};
use crate::glob::Glob;
use crate::json::{Json, Node};
use crate::pattern::ArnPattern;
use crate::place::{At, Place};
use crate::principal::PrincipalClause;
use crate::statement::{ActionPattern, Actions, ResourcePattern, Resources, Statement};

/// The elements of a statement as they stand in the document.
struct Elements {
    place: Place,
    end: Place,
    sid: Option<Node>,
    effect: Option<Node>,
    action: Option<Node>,
    not_action: Option<Node>,
    resource: Option<Node>,
    not_resource: Option<Node>,
    principal: Option<Node>,
    not_principal: Option<Node>,
    condition: Option<Node>,
}

/// The statement; none where something is wrong with it. All of its elements are looked at all the same.
pub(super) fn read(value: Node, at: &str, rules: Rules, faults: &mut Faults) -> Option<Statement> {
    let elements = Elements::collect(value, at, faults)?;
    let full_access = rules.kind == Kind::ResourceControl && is_full_access(&elements);
    let sid = faults.take(elements.sid(at, rules));
    let effect = faults.take(elements.effect(at));
    let principals = faults.take(elements.principals(at, rules));
    let actions = elements.actions(at, rules, full_access, faults);
    let resources = elements.resources(at, rules, faults);
    let conditions = match &elements.condition {
        Some(block) => condition::read(block, &format!("{at}.Condition"), rules, faults),
        None => Some(Vec::new()),
    };
    let statement = Statement {
        sid: sid?,
        effect: effect?,
        principals: principals?,
        actions: actions?,
        resources: resources?,
        conditions: conditions?,
        at: At(elements.place),
        end: At(elements.end),
    };
    let whole = check_as_whole(&statement, full_access, rules.kind);
    faults.take(whole.map_err(|problem| problem.at(at, elements.place)))?;
    Some(statement)
}

impl Elements {
    fn at(place: Place, end: Place) -> Self {
        Self {
            place,
            end,
            sid: None,
            effect: None,
            action: None,
            not_action: None,
            resource: None,
            not_resource: None,
            principal: None,
            not_principal: None,
            condition: None,
        }
    }

    fn collect(value: Node, at: &str, faults: &mut Faults) -> Option<Self> {
        let Json::Object(members) = value.json else {
            let problem = Problem::WrongType { expected: "an object", found: value.json.noun() };
            faults.push(problem.at(at, value.place));
            return None;
        };
        let mut elements = Self::at(value.place, value.end);
        for member in members {
            let slot = match member.name.as_str() {
                "Sid" => &mut elements.sid,
                "Effect" => &mut elements.effect,
                "Action" => &mut elements.action,
                "NotAction" => &mut elements.not_action,
                "Resource" => &mut elements.resource,
                "NotResource" => &mut elements.not_resource,
                "Principal" => &mut elements.principal,
                "NotPrincipal" => &mut elements.not_principal,
                "Condition" => &mut elements.condition,
                _ => {
                    faults.push(Problem::UnknownElement(member.name).at(at, member.place));
                    continue;
                }
            };
            *slot = Some(member.value);
        }
        Some(elements)
    }

    fn missing(&self, element: &'static str, at: &str) -> ParseError {
        Problem::Missing(element).at(at, self.place)
    }

    fn sid(&self, at: &str, rules: Rules) -> Result<Option<Arc<str>>, ParseError> {
        let Some(value) = &self.sid else { return Ok(None) };
        let at = format!("{at}.Sid");
        let sid = string(value, &at)?;
        // Services that keep their own policies accept more than IAM does (a bucket policy's spaces).
        if rules.kind.is_kept_by_iam() && !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Problem::BadSid(sid.to_owned()).at(at, value.place));
        }
        Ok(Some(Arc::from(sid)))
    }

    fn effect(&self, at: &str) -> Result<Effect, ParseError> {
        let value = self.effect.as_ref().ok_or_else(|| self.missing("Effect", at))?;
        let at = format!("{at}.Effect");
        match string(value, &at)? {
            "Allow" => Ok(Effect::Allow),
            "Deny" => Ok(Effect::Deny),
            other => Err(Problem::BadEffect(other.to_owned()).at(at, value.place)),
        }
    }

    fn principals(&self, at: &str, rules: Rules) -> Result<Option<PrincipalClause>, ParseError> {
        let pair =
            one_of(("Principal", &self.principal), ("NotPrincipal", &self.not_principal), at, self.place)?;
        match pair {
            Some((value, negated)) => {
                let element = if negated { "NotPrincipal" } else { "Principal" };
                let not_here = match rules.kind {
                    Kind::Endpoint { gateway: true } | Kind::ResourceControl => negated,
                    Kind::Resource | Kind::Trust | Kind::Endpoint { gateway: false } => false,
                    Kind::Identity | Kind::Boundary | Kind::Session | Kind::ServiceControl => true,
                };
                if not_here {
                    return Err(Problem::Forbidden { element, kind: rules.kind }.at(at, value.place));
                }
                principal::read(value, negated, &format!("{at}.{element}"), rules.kind).map(Some)
            }
            None if rules.kind.has_principal() => Err(self.missing("Principal", at)),
            None => Ok(None),
        }
    }

    fn actions(&self, at: &str, rules: Rules, full_access: bool, faults: &mut Faults) -> Option<Actions> {
        let pair = one_of(("Action", &self.action), ("NotAction", &self.not_action), at, self.place);
        let pair = faults.take(pair)?;
        let (value, negated) = faults.take(pair.ok_or_else(|| self.missing("Action", at)))?;
        if negated && matches!(rules.kind, Kind::Trust | Kind::ResourceControl) {
            faults.push(Problem::Forbidden { element: "NotAction", kind: rules.kind }.at(at, value.place));
            return None;
        }
        let at = format!("{at}.{}", if negated { "NotAction" } else { "Action" });
        let mut patterns = Vec::new();
        for (text, place) in faults.take(strings(value, &at))? {
            let pattern = read_action(text, rules.kind, full_access, place);
            patterns.extend(faults.take(pattern.map_err(|problem| problem.at(at.as_str(), place))));
        }
        Some(Actions { negated, patterns })
    }

    fn resources(&self, at: &str, rules: Rules, faults: &mut Faults) -> Option<Resources> {
        let pair = one_of(("Resource", &self.resource), ("NotResource", &self.not_resource), at, self.place);
        let pair = faults.take(pair)?;
        let (value, negated) = match (pair, rules.kind) {
            (Some((value, negated)), Kind::Trust) => {
                let element = if negated { "NotResource" } else { "Resource" };
                faults.push(Problem::Forbidden { element, kind: rules.kind }.at(at, value.place));
                return None;
            }
            (None, Kind::Trust) => {
                return Some(Resources { negated: false, patterns: Vec::new(), implied: true });
            }
            (Some(pair), _) => pair,
            (None, _) => {
                faults.push(self.missing("Resource", at));
                return None;
            }
        };
        let at = format!("{at}.{}", if negated { "NotResource" } else { "Resource" });
        let mut patterns = Vec::new();
        for (text, place) in faults.take(strings(value, &at))? {
            let here = |problem: Problem| problem.at(at.as_str(), place);
            let Some(pattern) = faults.take(ArnPattern::resource(text, rules.version).map_err(here)) else {
                continue;
            };
            faults.take(endpoint::check_arn(text, &pattern, rules.kind).map_err(here));
            patterns.push(ResourcePattern { text: text.to_owned(), pattern, at: At(place) });
        }
        Some(Resources { negated, patterns, implied: false })
    }
}

/// The one of an element and its negation that is there.
fn one_of<'a>(
    (name, positive): (&'static str, &'a Option<Node>),
    (negated_name, negated): (&'static str, &'a Option<Node>),
    at: &str,
    place: Place,
) -> Result<Option<(&'a Node, bool)>, ParseError> {
    match (positive, negated) {
        (Some(_), Some(_)) => Err(Problem::Both(name, negated_name).at(at, place)),
        (Some(value), None) => Ok(Some((value, false))),
        (None, Some(value)) => Ok(Some((value, true))),
        (None, None) => Ok(None),
    }
}

fn read_action(text: &str, kind: Kind, full_access: bool, place: Place) -> Result<ActionPattern, Problem> {
    let pattern =
        |glob: &str| Ok(ActionPattern { text: text.to_owned(), glob: Glob::new(glob), at: At(place) });
    let bad = |why| Err(Problem::BadAction { value: text.to_owned(), why });
    let lower_case = text.to_ascii_lowercase();
    if kind == Kind::Trust && !lower_case.starts_with("sts:") {
        return bad("a role trust policy is about sts actions only");
    }
    if text == "*" || text == "*:*" {
        return match kind {
            Kind::ResourceControl if !full_access => bad("resource control policies name a service"),
            Kind::ResourceControl
            | Kind::Identity
            | Kind::Resource
            | Kind::Trust
            | Kind::Endpoint { .. }
            | Kind::Boundary
            | Kind::Session
            | Kind::ServiceControl => pattern("*"),
        };
    }
    let Some((service, name)) = lower_case.split_once(':') else {
        return bad("it must be `*` or have the form service:Name");
    };
    if service.is_empty() || !service.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return bad("its service must be written out with letters, digits and hyphens");
    }
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-_.*?".contains(c);
    if name.is_empty() || !name.chars().all(in_name) {
        return bad("its name must have letters, digits and wildcards");
    }
    pattern(&lower_case)
}

/// Rules about how elements of one statement go together.
fn check_as_whole(statement: &Statement, full_access: bool, kind: Kind) -> Result<(), Problem> {
    let allows = statement.effect == Effect::Allow;
    let negated_principal = statement.principals.as_ref().is_some_and(|clause| clause.negated);
    let why = match kind {
        Kind::Trust if allows && negated_principal => "`NotPrincipal` goes with `Deny` only",
        Kind::ResourceControl if allows && !full_access => "apart from full access `Effect` is `Deny` only",
        Kind::Identity
        | Kind::Resource
        | Kind::Trust
        | Kind::Endpoint { .. }
        | Kind::Boundary
        | Kind::Session
        | Kind::ServiceControl
        | Kind::ResourceControl => return Ok(()),
    };
    Err(Problem::BadStatement { why, kind })
}

/// The statement of AWS's own `RCPFullAWSAccess`, apart from its effect.
fn is_full_access(elements: &Elements) -> bool {
    let text = |value: &Option<Node>, wanted: &str| {
        value.as_ref().is_some_and(|node| matches!(&node.json, Json::Text(text) if text == wanted))
    };
    text(&elements.effect, "Allow")
        && text(&elements.action, "*")
        && text(&elements.resource, "*")
        && elements.condition.is_none()
}
