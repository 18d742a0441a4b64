//! A second evaluator, written as plainly as can be from AWS's documentation, over the JSON itself.
//!
//! It shares no code with the crate, so that a shared mistake cannot agree with itself: it reads documents as generic
//! JSON, keeps nothing compiled, matches wildcards by trying everything and knows every rule in its own words.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html>

use serde_json::Value;

use crate::matching::{self, Token};

/// Who asks, in plain text.
#[derive(Debug, Clone, PartialEq)]
pub enum Who {
    Nobody,
    Root { account: String },
    User { arn: String },
    Role { role: String, session: String },
    Federated { session: String, issuer: String },
    Service { name: String },
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    pub who: Who,
    pub action: String,
    pub resource: String,
    pub owner: Option<String>,
    /// Keys in lower case, their values, and whether there may be several.
    pub context: Vec<(String, Vec<String>, bool)>,
}

/// The documents in their places.
#[derive(Debug, Clone, Default)]
pub struct Documents {
    pub identity: Vec<Value>,
    pub boundary: Option<Value>,
    pub session: Vec<Value>,
    pub resource: Option<Value>,
    pub resource_is_trust: bool,
    pub resource_required: bool,
    pub endpoint: Option<Value>,
    pub endpoint_is_gateway: bool,
    pub service_control: Vec<Vec<Value>>,
    pub resource_control: Vec<Vec<Value>>,
}

/// `allowed`, or how and by which type of policy it is denied.
pub fn decide(documents: &Documents, ask: &Ask) -> String {
    let case = Case { documents, ask };
    let resource_type =
        if documents.resource_is_trust { "role trust policy" } else { "resource-based policy" };
    let has_account = case.account().is_some();
    let explicit = [
        ("service control policy", documents.service_control.iter().flatten().collect(), has_account),
        ("resource control policy", documents.resource_control.iter().flatten().collect(), true),
        (resource_type, documents.resource.iter().collect::<Vec<_>>(), true),
        ("identity-based policy", documents.identity.iter().collect(), has_account),
        ("permissions boundary", documents.boundary.iter().collect(), true),
        ("session policy", documents.session.iter().collect(), true),
        ("VPC endpoint policy", documents.endpoint.iter().collect(), true),
    ];
    for (name, policies, applies) in explicit {
        if applies && policies.iter().any(|policy| case.has(policy, "Deny", name)) {
            return format!("denied, explicit, {name}");
        }
    }
    match case.implicit(resource_type) {
        Some(name) => format!("denied, implicit, {name}"),
        None => "allowed".to_owned(),
    }
}

/// How a statement that allows names the caller.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Named {
    /// So that nothing but an explicit denial takes it away.
    Directly,
    /// By the role, or by the user who made the federated session: boundary and session policies still limit.
    ByRole,
    /// By the account, whose own policies decide.
    ByAccount,
}

struct Case<'a> {
    documents: &'a Documents,
    ask: &'a Ask,
}

impl Case<'_> {
    fn account(&self) -> Option<String> {
        match &self.ask.who {
            Who::Nobody | Who::Service { .. } => None,
            Who::Root { account } => Some(account.clone()),
            Who::User { arn } => arn.split(':').nth(4).map(str::to_owned),
            Who::Role { role, .. } => role.split(':').nth(4).map(str::to_owned),
            Who::Federated { session, .. } => session.split(':').nth(4).map(str::to_owned),
        }
    }

    /// The type that lacks an allowance.
    fn implicit(&self, resource_type: &'static str) -> Option<&'static str> {
        let grants: Vec<Named> =
            self.documents.resource.iter().flat_map(|policy| self.grants(policy)).collect();
        let same_account = match (&self.account(), &self.ask.owner) {
            (Some(own), Some(owner)) => own == owner,
            // An unknown owner is the caller's own account, but not where the resource has a policy.
            (Some(_), None) => self.documents.resource.is_none(),
            (None, _) => false,
        };
        let core = if self.account().is_none() {
            grants.is_empty().then_some(resource_type)
        } else if !same_account {
            self.identity_side().or(grants.is_empty().then_some(resource_type))
        } else if grants.contains(&Named::Directly) {
            None
        } else if grants.contains(&Named::ByRole) {
            self.limits()
        } else if grants.is_empty() && (self.documents.resource_is_trust || self.documents.resource_required)
        {
            Some(resource_type)
        } else {
            self.identity_side()
        };
        let levels = &self.documents.service_control;
        let level_allows =
            |level: &Vec<Value>| level.iter().any(|one| self.has(one, "Allow", "service control policy"));
        let service_control = self.account().is_some() && !levels.iter().all(level_allows);
        let endpoint = self.documents.endpoint.as_ref();
        let endpoint_refuses =
            endpoint.is_some_and(|policy| !self.has(policy, "Allow", "VPC endpoint policy"));
        core.or(service_control.then_some("service control policy"))
            .or(endpoint_refuses.then_some("VPC endpoint policy"))
    }

    fn identity_side(&self) -> Option<&'static str> {
        let is_root = match &self.ask.who {
            Who::Root { .. } => true,
            Who::Federated { issuer, .. } => issuer.ends_with(":root"),
            Who::Nobody | Who::User { .. } | Who::Role { .. } | Who::Service { .. } => false,
        };
        let allows = |policy: &Value| self.has(policy, "Allow", "identity-based policy");
        if !is_root && !self.documents.identity.iter().any(allows) {
            return Some("identity-based policy");
        }
        self.limits()
    }

    fn limits(&self) -> Option<&'static str> {
        let boundary = self.documents.boundary.as_ref();
        if boundary.is_some_and(|policy| !self.has(policy, "Allow", "permissions boundary")) {
            return Some("permissions boundary");
        }
        let sessions = &self.documents.session;
        let federated = matches!(self.ask.who, Who::Federated { .. });
        let allowed = sessions.iter().any(|policy| self.has(policy, "Allow", "session policy"));
        ((federated || !sessions.is_empty()) && !allowed).then_some("session policy")
    }

    /// Whether a document has a statement of this effect that applies.
    fn has(&self, policy: &Value, effect: &str, place: &str) -> bool {
        statements(policy)
            .any(|statement| statement["Effect"] == effect && self.applies(policy, statement, place))
    }

    /// How the resource's policy allows.
    fn grants(&self, policy: &Value) -> Vec<Named> {
        let allowing = statements(policy).filter(|statement| statement["Effect"] == "Allow");
        let applying = allowing.filter(|statement| self.applies(policy, statement, "resource"));
        applying.filter_map(|statement| self.named(statement)).collect()
    }

    fn applies(&self, policy: &Value, statement: &Value, place: &str) -> bool {
        let variables = policy["Version"] == "2012-10-17";
        self.action_fits(statement)
            && self.resource_fits(statement, variables)
            && self.principal_fits(statement, place)
            && self.conditions_fit(statement, variables)
    }

    fn action_fits(&self, statement: &Value) -> bool {
        let action = self.ask.action.to_lowercase();
        let one = |pattern: &str| matching::wild(&pattern.to_lowercase(), &action) || pattern == "*:*";
        match statement.get("NotAction") {
            Some(not) => !texts(not).iter().any(|pattern| one(pattern)),
            None => texts(&statement["Action"]).iter().any(|pattern| one(pattern)),
        }
    }

    fn resource_fits(&self, statement: &Value, variables: bool) -> bool {
        let one = |pattern: &String| pattern == "*" || self.arn_fits(pattern, &self.ask.resource, variables);
        match (statement.get("NotResource"), statement.get("Resource")) {
            (Some(not), _) => !texts(not).iter().any(one),
            (None, Some(resources)) => texts(resources).iter().any(one),
            (None, None) => true,
        }
    }

    /// Part by part, the sixth being all the rest.
    fn arn_fits(&self, pattern: &str, text: &str, variables: bool) -> bool {
        let mut parts: Vec<Vec<Token>> = vec![Vec::new()];
        for piece in matching::pieces(pattern, true, variables) {
            match piece {
                matching::Piece::Token(Token::Is(':')) if parts.len() < 6 => parts.push(Vec::new()),
                matching::Piece::Token(token) => parts.last_mut().unwrap().push(token),
                matching::Piece::Variable(key, default) => match self.variable(&key, default) {
                    Some(value) => parts.last_mut().unwrap().extend(value.chars().map(Token::Is)),
                    None => return false,
                },
            }
        }
        let texts: Vec<&str> = text.splitn(6, ':').collect();
        parts.len() == 6
            && texts.len() == 6
            && parts.iter().zip(texts).all(|(pattern, text)| matching::tokens_fit(pattern, text))
    }

    /// A key with several values cannot be put into a text, not even by its default.
    fn variable(&self, key: &str, default: Option<String>) -> Option<String> {
        match self.key(key) {
            Some((_, true)) => None,
            Some((values, false)) => values.first().cloned(),
            None => default,
        }
    }

    /// The values of a key, and whether there may be several.
    fn key(&self, key: &str) -> Option<(Vec<String>, bool)> {
        let key = key.to_lowercase();
        let who = &self.ask.who;
        let derived = match key.as_str() {
            "aws:principalarn" => match who {
                Who::Nobody | Who::Service { .. } => Some(None),
                Who::Root { account } => Some(Some(format!("arn:aws:iam::{account}:root"))),
                Who::User { arn } | Who::Role { role: arn, .. } | Who::Federated { session: arn, .. } => {
                    Some(Some(arn.clone()))
                }
            },
            "aws:principalaccount" if *who == Who::Nobody => Some(Some("anonymous".to_owned())),
            "aws:principalaccount" => Some(self.account()),
            "aws:principaltype" => Some(match who {
                Who::Nobody => Some("Anonymous".to_owned()),
                Who::Root { .. } => Some("Account".to_owned()),
                Who::User { .. } => Some("User".to_owned()),
                Who::Role { .. } => Some("AssumedRole".to_owned()),
                Who::Federated { .. } => Some("FederatedUser".to_owned()),
                Who::Service { .. } => None,
            }),
            "aws:username" => Some(match who {
                Who::User { arn } => arn.rsplit('/').next().map(str::to_owned),
                Who::Nobody
                | Who::Root { .. }
                | Who::Role { .. }
                | Who::Federated { .. }
                | Who::Service { .. } => None,
            }),
            "aws:resourceaccount" if self.ask.owner.is_some() => Some(self.ask.owner.clone()),
            _ => None,
        };
        match derived {
            Some(value) => value.map(|value| (vec![value], false)),
            None if *who == Who::Nobody && key.starts_with("aws:principaltag/") => None,
            None => {
                let found =
                    self.ask.context.iter().find(|(name, values, _)| *name == key && !values.is_empty());
                found.map(|(_, values, several)| (values.clone(), *several))
            }
        }
    }

    fn principal_fits(&self, statement: &Value, place: &str) -> bool {
        let denies = statement["Effect"] == "Deny";
        if let Some(not) = statement.get("NotPrincipal") {
            return if denies {
                self.documents.boundary.is_some() || !self.spared(not)
            } else {
                self.how(not).is_none()
            };
        }
        let Some(principal) = statement.get("Principal") else { return true };
        let root_only = place == "VPC endpoint policy" && self.documents.endpoint_is_gateway && !denies;
        match self.how(principal) {
            None => false,
            Some(Named::ByAccount) if root_only => matches!(self.ask.who, Who::Root { .. }),
            Some(Named::Directly | Named::ByRole | Named::ByAccount) => true,
        }
    }

    fn named(&self, statement: &Value) -> Option<Named> {
        match statement.get("NotPrincipal") {
            Some(_) => Some(Named::Directly),
            None => self.how(&statement["Principal"]),
        }
    }

    /// Whether a denial by `NotPrincipal` leaves the caller alone: account and all levels below are listed.
    fn spared(&self, principal: &Value) -> bool {
        let aws = if principal == "*" { vec!["*".to_owned()] } else { texts(&principal["AWS"]) };
        if aws.contains(&"*".to_owned()) {
            return true;
        }
        let account = self.account().unwrap_or_default();
        let lists = |name: &String| aws.contains(name);
        let account_listed = lists(&account) || lists(&format!("arn:aws:iam::{account}:root"));
        match &self.ask.who {
            Who::Nobody => false,
            Who::Root { .. } => account_listed,
            Who::User { arn } => account_listed && lists(arn),
            Who::Role { role, session } => account_listed && lists(role) && lists(session),
            Who::Federated { session, .. } => account_listed && lists(session),
            Who::Service { name } => texts(&principal["Service"]).iter().any(|one| one == name || one == "*"),
        }
    }

    fn how(&self, principal: &Value) -> Option<Named> {
        if principal == "*" {
            return Some(Named::Directly);
        }
        let aws = texts(&principal["AWS"]);
        let lists = |name: &str| aws.iter().any(|one| one == name);
        if lists("*") {
            return Some(Named::Directly);
        }
        let account = self.account().unwrap_or_default();
        let account_listed = lists(&account) || lists(&format!("arn:aws:iam::{account}:root"));
        let weaker = account_listed.then_some(Named::ByAccount);
        match &self.ask.who {
            Who::Nobody => None,
            Who::Service { name } => {
                let listed = texts(&principal["Service"]).iter().any(|one| one == name || one == "*");
                listed.then_some(Named::Directly)
            }
            Who::Root { .. } => weaker,
            Who::User { arn } => {
                if lists(arn) {
                    Some(Named::Directly)
                } else {
                    weaker
                }
            }
            Who::Role { session, .. } if lists(session) => Some(Named::Directly),
            Who::Role { role, .. } => {
                if lists(role) {
                    Some(Named::ByRole)
                } else {
                    weaker
                }
            }
            Who::Federated { session, .. } if lists(session) => Some(Named::Directly),
            Who::Federated { issuer, .. } => {
                if lists(issuer) {
                    Some(Named::ByRole)
                } else {
                    weaker
                }
            }
        }
    }

    fn conditions_fit(&self, statement: &Value, variables: bool) -> bool {
        let Some(Value::Object(operators)) = statement.get("Condition") else { return true };
        operators.iter().all(|(operator, keys)| {
            let keys = keys.as_object().unwrap();
            keys.iter().all(|(key, wanted)| self.condition_holds(operator, key, &texts(wanted), variables))
        })
    }

    fn condition_holds(&self, operator: &str, key: &str, wanted: &[String], variables: bool) -> bool {
        let found = self.key(key).map(|(values, _)| values);
        if operator == "Null" {
            return wanted.iter().any(|absent| (absent == "true") == found.is_none());
        }
        let (set, operator) = operator.split_once(':').unwrap_or(("", operator));
        let (operator, if_exists) = match operator.strip_suffix("IfExists") {
            Some(operator) => (operator, true),
            None => (operator, false),
        };
        // `Not` stands within the name: `StringNotEquals`, `NotIpAddress`.
        let negated = operator.contains("Not");
        let positive = operator.replace("Not", "");
        let one = |value: &String| {
            wanted.iter().any(|want| self.compare(&positive, value, want, variables)) != negated
        };
        let values = found.filter(|values| set.is_empty() || values.iter().any(|value| !value.is_empty()));
        match (values, set) {
            (None, _) if if_exists => true,
            (None, "ForAllValues") => true,
            (None, "ForAnyValue") => false,
            (None, _) => negated,
            (Some(values), "ForAllValues") => values.iter().all(one),
            (Some(values), "ForAnyValue") => values.iter().any(one),
            (Some(values), _) if negated => values.iter().all(one),
            (Some(values), _) => values.iter().any(one),
        }
    }

    fn compare(&self, operator: &str, value: &str, want: &str, variables: bool) -> bool {
        match operator {
            "StringEquals" => self.text_fits(want, value, false, variables),
            "StringLike" => self.text_fits(want, value, true, variables),
            "StringEqualsIgnoreCase" => match self.tokens(want, false, variables) {
                // Letters that the drawn texts have are folded alike by every method.
                Some(tokens) => {
                    let text: String = tokens
                        .iter()
                        .map(|token| match token {
                            Token::Is(letter) => *letter,
                            Token::One => '?',
                            Token::Many => '*',
                        })
                        .collect();
                    text.to_lowercase() == value.to_lowercase()
                }
                None => false,
            },
            "ArnEquals" | "ArnLike" => {
                want == "*"
                    || self.arn_fits(want, value, variables)
                    || self.whole_variable_fits(want, value, variables)
            }
            "Bool" => {
                value.eq_ignore_ascii_case(want) && matches!(want.to_lowercase().as_str(), "true" | "false")
            }
            "BinaryEquals" => value == want,
            "IpAddress" => matching::in_network(want, value),
            numeric if numeric.starts_with("Numeric") => matching::ordered(
                numeric.trim_start_matches("Numeric"),
                matching::number(value),
                matching::number(want),
            ),
            date => matching::ordered(
                date.trim_start_matches("Date"),
                matching::instant(value),
                matching::instant(want),
            ),
        }
    }

    /// One variable alone may stand for a whole ARN.
    fn whole_variable_fits(&self, want: &str, value: &str, variables: bool) -> bool {
        match matching::pieces(want, true, variables).as_slice() {
            [matching::Piece::Variable(key, default)] => {
                self.variable(key, default.clone()).as_deref() == Some(value)
            }
            _ => false,
        }
    }

    fn text_fits(&self, want: &str, value: &str, wildcards: bool, variables: bool) -> bool {
        self.tokens(want, wildcards, variables).is_some_and(|tokens| matching::tokens_fit(&tokens, value))
    }

    fn tokens(&self, pattern: &str, wildcards: bool, variables: bool) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        for piece in matching::pieces(pattern, wildcards, variables) {
            match piece {
                matching::Piece::Token(token) => tokens.push(token),
                matching::Piece::Variable(key, default) => {
                    tokens.extend(self.variable(&key, default)?.chars().map(Token::Is));
                }
            }
        }
        Some(tokens)
    }
}

fn statements(policy: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match &policy["Statement"] {
        Value::Array(statements) => Box::new(statements.iter()),
        one => Box::new(std::iter::once(one)),
    }
}

/// One text, or several.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}
