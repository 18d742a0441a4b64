//! One statement.

use std::sync::Arc;

use super::{Rules, condition, endpoint, principal, string, strings};
use crate::document::{Actions, Effect, Kind, Resources, Statement};
use crate::error::{ParseError, Problem};
use crate::glob::Glob;
use crate::json::Json;
use crate::pattern::ArnPattern;
use crate::principal::PrincipalClause;

/// The elements of a statement as they stand in the document.
#[derive(Default)]
struct Elements {
    sid: Option<Json>,
    effect: Option<Json>,
    action: Option<Json>,
    not_action: Option<Json>,
    resource: Option<Json>,
    not_resource: Option<Json>,
    principal: Option<Json>,
    not_principal: Option<Json>,
    condition: Option<Json>,
}

pub(super) fn read(value: Json, at: &str, rules: Rules) -> Result<Statement, ParseError> {
    let elements = Elements::collect(value, at)?;
    let statement = Statement {
        sid: elements.sid(at, rules)?,
        effect: elements.effect(at)?,
        principals: elements.principals(at, rules)?,
        actions: elements.actions(at, rules)?,
        resources: elements.resources(at, rules)?,
        conditions: match &elements.condition {
            Some(block) => condition::read(block, &format!("{at}.Condition"), rules)?,
            None => Vec::new(),
        },
    };
    check_as_whole(&statement, &elements, at, rules.kind)?;
    Ok(statement)
}

impl Elements {
    fn collect(value: Json, at: &str) -> Result<Self, ParseError> {
        let Json::Object(entries) = value else {
            return Err(Problem::WrongType { expected: "an object", found: value.noun() }.at(at));
        };
        let mut elements = Self::default();
        for (name, value) in entries {
            let slot = match name.as_str() {
                "Sid" => &mut elements.sid,
                "Effect" => &mut elements.effect,
                "Action" => &mut elements.action,
                "NotAction" => &mut elements.not_action,
                "Resource" => &mut elements.resource,
                "NotResource" => &mut elements.not_resource,
                "Principal" => &mut elements.principal,
                "NotPrincipal" => &mut elements.not_principal,
                "Condition" => &mut elements.condition,
                _ => return Err(Problem::UnknownElement(name).at(at)),
            };
            *slot = Some(value);
        }
        Ok(elements)
    }

    fn sid(&self, at: &str, rules: Rules) -> Result<Option<Arc<str>>, ParseError> {
        let Some(value) = &self.sid else { return Ok(None) };
        let at = format!("{at}.Sid");
        let sid = string(value, &at)?;
        // Services that keep their own policies accept more than IAM does (a bucket policy's spaces).
        if rules.kind.is_kept_by_iam() && !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Problem::BadSid(sid.to_owned()).at(at));
        }
        Ok(Some(Arc::from(sid)))
    }

    fn effect(&self, at: &str) -> Result<Effect, ParseError> {
        let value = self.effect.as_ref().ok_or_else(|| Problem::Missing("Effect").at(at))?;
        let at = format!("{at}.Effect");
        match string(value, &at)? {
            "Allow" => Ok(Effect::Allow),
            "Deny" => Ok(Effect::Deny),
            other => Err(Problem::BadEffect(other.to_owned()).at(at)),
        }
    }

    fn principals(&self, at: &str, rules: Rules) -> Result<Option<PrincipalClause>, ParseError> {
        let pair = one_of(("Principal", &self.principal), ("NotPrincipal", &self.not_principal), at)?;
        let forbidden = |element| Err(Problem::Forbidden { element, kind: rules.kind }.at(at));
        match pair {
            Some((value, negated)) => {
                let element = if negated { "NotPrincipal" } else { "Principal" };
                let not_here = match rules.kind {
                    Kind::Endpoint { gateway: true } | Kind::ResourceControl => negated,
                    Kind::Resource | Kind::Trust | Kind::Endpoint { gateway: false } => false,
                    Kind::Identity | Kind::Boundary | Kind::Session | Kind::ServiceControl => true,
                };
                if not_here {
                    return forbidden(element);
                }
                principal::read(value, negated, &format!("{at}.{element}"), rules.kind).map(Some)
            }
            None if rules.kind.has_principal() => Err(Problem::Missing("Principal").at(at)),
            None => Ok(None),
        }
    }

    fn actions(&self, at: &str, rules: Rules) -> Result<Actions, ParseError> {
        let pair = one_of(("Action", &self.action), ("NotAction", &self.not_action), at)?;
        let (value, negated) = pair.ok_or_else(|| Problem::Missing("Action").at(at))?;
        if negated && rules.kind == Kind::Trust {
            return Err(Problem::Forbidden { element: "NotAction", kind: rules.kind }.at(at));
        }
        let at = format!("{at}.{}", if negated { "NotAction" } else { "Action" });
        let patterns: Result<Vec<Glob>, ParseError> = strings(value, &at)?
            .into_iter()
            .map(|text| read_action(text, rules.kind).map_err(|problem| problem.at(at.as_str())))
            .collect();
        Ok(Actions { negated, patterns: patterns? })
    }

    fn resources(&self, at: &str, rules: Rules) -> Result<Resources, ParseError> {
        let pair = one_of(("Resource", &self.resource), ("NotResource", &self.not_resource), at)?;
        let (value, negated) = match (pair, rules.kind) {
            (Some((_, negated)), Kind::Trust) => {
                let element = if negated { "NotResource" } else { "Resource" };
                return Err(Problem::Forbidden { element, kind: rules.kind }.at(at));
            }
            (None, Kind::Trust) => {
                return Ok(Resources { negated: false, patterns: vec![ArnPattern::Any] });
            }
            (Some(pair), _) => pair,
            (None, _) => return Err(Problem::Missing("Resource").at(at)),
        };
        let at = format!("{at}.{}", if negated { "NotResource" } else { "Resource" });
        let mut patterns = Vec::new();
        for text in strings(value, &at)? {
            let pattern =
                ArnPattern::resource(text, rules.version).map_err(|problem| problem.at(at.as_str()))?;
            endpoint::check_arn(text, &pattern, rules.kind).map_err(|problem| problem.at(at.as_str()))?;
            patterns.push(pattern);
        }
        Ok(Resources { negated, patterns })
    }
}

/// The one of an element and its negation that is there.
fn one_of<'a>(
    (name, positive): (&'static str, &'a Option<Json>),
    (negated_name, negated): (&'static str, &'a Option<Json>),
    at: &str,
) -> Result<Option<(&'a Json, bool)>, ParseError> {
    match (positive, negated) {
        (Some(_), Some(_)) => Err(Problem::Both(name, negated_name).at(at)),
        (Some(value), None) => Ok(Some((value, false))),
        (None, Some(value)) => Ok(Some((value, true))),
        (None, None) => Ok(None),
    }
}

fn read_action(text: &str, kind: Kind) -> Result<Glob, Problem> {
    let bad = |why| Err(Problem::BadAction { value: text.to_owned(), why });
    let lower_case = text.to_ascii_lowercase();
    if kind == Kind::Trust && !lower_case.starts_with("sts:") {
        return bad("a role trust policy is about sts actions only");
    }
    if text == "*" || text == "*:*" {
        return Ok(Glob::new("*"));
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
    Ok(Glob::new(&lower_case))
}

/// Rules about how elements of one statement go together.
fn check_as_whole(
    statement: &Statement,
    elements: &Elements,
    at: &str,
    kind: Kind,
) -> Result<(), ParseError> {
    let allows = statement.effect == Effect::Allow;
    let negated_principal = statement.principals.as_ref().is_some_and(|clause| clause.negated);
    let why = match kind {
        Kind::Trust if allows && negated_principal => "`NotPrincipal` goes with `Deny` only",
        Kind::ResourceControl if allows && !is_full_access(elements) => {
            "apart from full access `Effect` is `Deny` only"
        }
        Kind::Identity
        | Kind::Resource
        | Kind::Trust
        | Kind::Endpoint { .. }
        | Kind::Boundary
        | Kind::Session
        | Kind::ServiceControl
        | Kind::ResourceControl => return Ok(()),
    };
    Err(Problem::BadStatement { why, kind }.at(at))
}

/// The statement of AWS's own `RCPFullAWSAccess`.
fn is_full_access(elements: &Elements) -> bool {
    let star = |value: &Option<Json>| matches!(value, Some(Json::Text(text)) if text == "*");
    star(&elements.action) && star(&elements.resource) && elements.condition.is_none()
}
