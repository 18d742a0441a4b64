//! `Condition` blocks and their operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::faults::Faults;
use super::{Rules, endpoint};
use crate::condition::{Comparison, Condition, Quantifier, Test};
use crate::error::{ParseError, Problem};
use crate::json::{Json, Member, Node};
use crate::key::Key;
use crate::pattern::{ArnPattern, Pattern, Syntax, is_condition_key};
use crate::place::{At, Place};
use crate::value::{OwnNumber, parse_binary, parse_bool, parse_instant};

/// An operator's name taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operator {
    quantifier: Option<Quantifier>,
    pub(super) base: Base,
    negated: bool,
    if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Comparison),
    Date(Comparison),
    Bool,
    BinaryEquals,
    IpAddress,
    Arn,
    Null,
}

pub(super) fn read(block: &Node, at: &str, rules: Rules, faults: &mut Faults) -> Option<Vec<Condition>> {
    let mut conditions = Vec::new();
    for tests in faults.take(object(block, at))? {
        let at = format!("{at}.{}", tests.name);
        let operator = Operator::parse(&tests.name)
            .ok_or_else(|| Problem::UnknownOperator(tests.name.clone()).at(at.as_str(), tests.place));
        let Some(operator) = faults.take(operator) else { continue };
        let operator_name: Arc<str> = Arc::from(tests.name.as_str());
        let mut spellings: BTreeMap<String, &str> = BTreeMap::new();
        for member in faults.take(object(&tests.value, &at)).unwrap_or_default() {
            // <https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html>
            if let Some(before) = spellings.insert(member.name.to_lowercase(), &member.name) {
                let problem = Problem::DuplicateConditionKey(member.name.clone(), before.to_owned());
                faults.push(problem.at(at.as_str(), member.place));
                continue;
            }
            conditions.extend(faults.take(read_key(member, &operator_name, operator, &at, rules)));
        }
    }
    Some(conditions)
}

fn read_key(
    member: &Member,
    operator_name: &Arc<str>,
    operator: Operator,
    at: &str,
    rules: Rules,
) -> Result<Condition, ParseError> {
    let key = member.name.as_str();
    if !is_condition_key(key) {
        return Err(Problem::BadConditionKey(key.to_owned()).at(at, member.place));
    }
    let at = format!("{at}.{key}");
    let values = scalars(&member.value, &at)?;
    let read = |values: &[String]| {
        endpoint::check_condition(operator.base, key, values, rules.kind)?;
        operator.base.test(values, rules)
    };
    let test = read(&values).map_err(|problem| {
        let culprit = values.chunks(1).position(|value| read(value).is_err()).unwrap_or(0);
        problem.at(at.as_str(), nth_place(&member.value, culprit))
    })?;
    Ok(Condition {
        operator: Arc::clone(operator_name),
        key: Key::new(key),
        values,
        quantifier: operator.quantifier,
        negated: operator.negated,
        if_exists: operator.if_exists,
        test,
        at: At(member.place),
    })
}

fn object<'a>(value: &'a Node, at: &str) -> Result<&'a [Member], ParseError> {
    match &value.json {
        Json::Object(members) => Ok(members),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_) => {
            Err(Problem::WrongType { expected: "an object", found: value.json.noun() }.at(at, value.place))
        }
    }
}

/// Where one of the values stands.
fn nth_place(value: &Node, index: usize) -> Place {
    match &value.json {
        Json::List(items) => items.get(index).map_or(value.place, |item| item.place),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => value.place,
    }
}

/// One value or a list of values; booleans and numbers may stand without quotes.
fn scalars(value: &Node, at: &str) -> Result<Vec<String>, ParseError> {
    let one = |item: &Node| match &item.json {
        Json::Text(text) => Ok(text.clone()),
        Json::Bool(truth) => Ok(truth.to_string()),
        Json::Number(number) => Ok(number.clone()),
        Json::Null | Json::List(_) | Json::Object(_) => {
            let problem =
                Problem::WrongType { expected: "a string, a number or a boolean", found: item.json.noun() };
            Err(problem.at(at, item.place))
        }
    };
    match &value.json {
        Json::List(items) if items.is_empty() => Err(Problem::Empty.at(at, value.place)),
        Json::List(items) => items.iter().map(one).collect(),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_) => {
            Ok(vec![one(value)?])
        }
    }
}

impl Operator {
    fn parse(name: &str) -> Option<Self> {
        let (quantifier, name) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Quantifier::ForAllValues), rest),
            Some(("ForAnyValue", rest)) => (Some(Quantifier::ForAnyValue), rest),
            Some(_) => return None,
            None => (None, name),
        };
        let (if_exists, name) = match name.strip_suffix("IfExists") {
            Some(base) => (true, base),
            None => (false, name),
        };
        let (base, negated) = Base::parse(name)?;
        // Presence is a question about the key, not about its values.
        if base == Base::Null && (if_exists || quantifier.is_some()) {
            return None;
        }
        Some(Self { quantifier, base, negated, if_exists })
    }
}

impl Base {
    fn parse(name: &str) -> Option<(Self, bool)> {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
        Some(match name {
            "StringEquals" => (Self::StringEquals, false),
            "StringNotEquals" => (Self::StringEquals, true),
            "StringEqualsIgnoreCase" => (Self::StringEqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Self::StringEqualsIgnoreCase, true),
            "StringLike" => (Self::StringLike, false),
            "StringNotLike" => (Self::StringLike, true),
            "NumericEquals" => (Self::Numeric(Equal), false),
            "NumericNotEquals" => (Self::Numeric(Equal), true),
            "NumericLessThan" => (Self::Numeric(Less), false),
            "NumericLessThanEquals" => (Self::Numeric(LessOrEqual), false),
            "NumericGreaterThan" => (Self::Numeric(Greater), false),
            "NumericGreaterThanEquals" => (Self::Numeric(GreaterOrEqual), false),
            "DateEquals" => (Self::Date(Equal), false),
            "DateNotEquals" => (Self::Date(Equal), true),
            "DateLessThan" => (Self::Date(Less), false),
            "DateLessThanEquals" => (Self::Date(LessOrEqual), false),
            "DateGreaterThan" => (Self::Date(Greater), false),
            "DateGreaterThanEquals" => (Self::Date(GreaterOrEqual), false),
            "Bool" => (Self::Bool, false),
            "BinaryEquals" => (Self::BinaryEquals, false),
            "IpAddress" => (Self::IpAddress, false),
            "NotIpAddress" => (Self::IpAddress, true),
            "ArnEquals" | "ArnLike" => (Self::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Self::Arn, true),
            "Null" => (Self::Null, false),
            _ => return None,
        })
    }

    fn test(self, values: &[String], rules: Rules) -> Result<Test, Problem> {
        let literal = Syntax::literal(rules.version);
        Ok(match self {
            Self::StringEquals => Test::Text(patterns(values, literal)?),
            Self::StringLike => Test::Text(patterns(values, Syntax::wild(rules.version))?),
            Self::StringEqualsIgnoreCase => {
                Test::TextIgnoringCase(patterns(values, Syntax::folded(rules.version))?)
            }
            Self::Numeric(comparison) => {
                Test::Number(comparison, all(values, "a decimal number", OwnNumber::parse)?)
            }
            Self::Date(comparison) => Test::Instant(
                comparison,
                all(values, "an iso 8601 date or seconds since 1970", parse_instant)?,
            ),
            Self::Bool => Test::Bool(all(values, "`true` or `false`", parse_bool)?),
            Self::BinaryEquals => Test::Binary(all(values, "base64", parse_binary)?),
            Self::IpAddress => Test::Network(all(values, "an ip address or cidr block", parse_network)?),
            Self::Arn => {
                let read = |text: &String| {
                    let pattern = ArnPattern::condition(text, rules.version)?;
                    endpoint::check_arn(text, &pattern, rules.kind)?;
                    Ok(pattern)
                };
                Test::Arn(values.iter().map(read).collect::<Result<_, Problem>>()?)
            }
            Self::Null => Test::Null(all(values, "`true` or `false`", parse_bool)?),
        })
    }
}

fn patterns(values: &[String], syntax: Syntax) -> Result<Vec<Pattern>, Problem> {
    values.iter().map(|text| Pattern::parse(text, syntax)).collect()
}

fn all<T>(
    values: &[String],
    expected: &'static str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Problem> {
    let one = |text: &String| read(text).ok_or_else(|| Problem::BadValue { value: text.clone(), expected });
    values.iter().map(one).collect()
}

fn parse_network(text: &str) -> Option<IpNet> {
    match text.parse::<IpNet>() {
        Ok(network) => Some(network),
        Err(_) => text.parse::<std::net::IpAddr>().ok().map(IpNet::from),
    }
}
