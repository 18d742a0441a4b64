//! Likely mistakes in conditions.

use ipnet::IpNet;

use super::catalogue::{KeyFacts, ValueType};
use super::{Concern, Look};
use crate::condition::{Condition, Quantifier, Test};
use crate::document::{Effect, Kind};
use crate::glob::Glob;
use crate::place::Place;
use crate::statement::Statement;

/// Keys of one service that requests to others carry as well: they tell where the credentials come from.
const OF_CREDENTIALS: [&str; 7] = [
    "ec2:roledelivery",
    "ec2:sourceinstancearn",
    "lambda:sourcefunctionarn",
    "ssm:sourceinstancearn",
    "sts:identitystore:userid",
    "sts:rolesessionname",
    "sts:sourceidentity",
];

impl Look<'_> {
    pub(super) fn conditions(&mut self, statement: &Statement) {
        for condition in &statement.conditions {
            let place = condition.at.0;
            self.known(statement, condition, place);
            self.network(condition, place);
            self.quantifier(statement, condition, place);
            self.values(condition, place);
        }
    }

    /// Whether requests have the key, and what it holds.
    fn known(&mut self, statement: &Statement, condition: &Condition, place: Place) {
        let key = condition.key.lower_case();
        let written = || condition.key.written().to_owned();
        let Some((prefix, _)) = key.split_once(':') else { return };
        match self.catalogue.key(key) {
            Some(facts) => {
                if !fits(facts.value_type, &condition.test) {
                    let operator = condition.operator.to_string();
                    let wanted = facts.value_type.operators();
                    self.warn(place, Concern::TypeMismatch { key: written(), operator, wanted });
                }
                if !is_of_some_action(statement, key, prefix, facts) {
                    self.warn(place, Concern::KeyOfOtherActions { key: written() });
                }
            }
            None if self.catalogue.lists_keys_of(prefix) || !self.catalogue.is_prefix(prefix) => {
                let near = self.catalogue.key_like(key).map(str::to_owned);
                self.warn(place, Concern::UnknownKey { key: written(), near });
            }
            None => {}
        }
    }

    /// Keys that say how a request came.
    fn network(&mut self, condition: &Condition, place: Place) {
        let key = condition.key.lower_case();
        let written = condition.key.written().to_owned();
        let is_endpoint = matches!(self.document.kind, Kind::Endpoint { .. });
        match key {
            "aws:sourcevpce" | "aws:sourcevpc" | "aws:vpceaccount" if is_endpoint => {
                self.warn(place, Concern::KeyOfTheEndpointItself { key: written });
            }
            "aws:sourceip" if is_endpoint => {
                self.warn(place, Concern::KeyAbsentThroughEndpoints { key: written });
            }
            "aws:sourceip" => {
                let (private, all): (Vec<_>, _) = match &condition.test {
                    Test::Network(networks) => (
                        networks.iter().filter(|network| is_private(network)).collect(),
                        networks.iter().all(is_private),
                    ),
                    Test::Text(_)
                    | Test::TextIgnoringCase(_)
                    | Test::Number(..)
                    | Test::Instant(..)
                    | Test::Bool(_)
                    | Test::Binary(_)
                    | Test::Arn(_)
                    | Test::Null(_) => (Vec::new(), false),
                };
                for network in private {
                    let (network, negated) = (network.to_string(), condition.negated);
                    self.warn(place, Concern::PrivateSourceIp { network, negated, all });
                }
            }
            _ => {}
        }
    }

    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html>
    fn quantifier(&mut self, statement: &Statement, condition: &Condition, place: Place) {
        let Some(facts) = self.catalogue.key(condition.key.lower_case()) else { return };
        let key = condition.key.written().to_owned();
        let asks_for_key = |other: &Condition| {
            let no_absence = matches!(&other.test, Test::Null(absent) if *absent == [false]);
            no_absence && other.key.lower_case() == condition.key.lower_case()
        };
        match condition.quantifier {
            Some(Quantifier::ForAllValues) if !facts.multivalued => {
                self.warn(place, Concern::ForAllValuesOnSingle { key });
            }
            Some(Quantifier::ForAllValues)
                if statement.effect == Effect::Allow && !statement.conditions.iter().any(asks_for_key) =>
            {
                self.warn(place, Concern::ForAllValuesWithoutNull { key });
            }
            None if facts.multivalued && !matches!(condition.test, Test::Null(_)) => {
                self.warn(place, Concern::SetWithoutQuantifier { key });
            }
            Some(Quantifier::ForAllValues | Quantifier::ForAnyValue) | None => {}
        }
    }

    fn values(&mut self, condition: &Condition, place: Place) {
        let is_literal = condition.operator.contains("Equals")
            && matches!(condition.test, Test::Text(_) | Test::TextIgnoringCase(_));
        for value in &condition.values {
            self.variables(value, place);
            if is_literal && value.replace("${*}", "").contains('*') {
                let operator = condition.operator.to_string();
                self.warn(place, Concern::LiteralWildcard { value: value.clone(), operator });
            }
        }
    }
}

/// Whether an operator compares what a key holds. Text operators compare anything's text, but hardly an address's
/// block, a date or a truth.
fn fits(value_type: ValueType, test: &Test) -> bool {
    match test {
        Test::Null(_) => true,
        Test::Text(_) | Test::TextIgnoringCase(_) => {
            matches!(value_type, ValueType::Text | ValueType::Arn | ValueType::Bool)
        }
        Test::Number(..) => matches!(value_type, ValueType::Number | ValueType::Date),
        Test::Instant(..) => value_type == ValueType::Date,
        Test::Bool(_) => value_type == ValueType::Bool,
        Test::Network(_) => value_type == ValueType::Address,
        Test::Arn(_) => value_type == ValueType::Arn,
        // The catalogue has no keys of bytes.
        Test::Binary(_) => false,
    }
}

/// Whether one of the statement's actions may have the key.
fn is_of_some_action(statement: &Statement, key: &str, prefix: &str, facts: &KeyFacts) -> bool {
    // Keys of `sts` and `iam` are also those of identity providers and of credentials.
    if prefix == "aws" || statement.actions.negated || OF_CREDENTIALS.contains(&key) || prefix.contains('.') {
        return true;
    }
    statement.actions.patterns.iter().any(|action| {
        let lower_case = action.text.to_ascii_lowercase();
        let Some((service, name)) = lower_case.split_once(':') else { return true };
        let same_service = service == prefix || service == "*" || shares_keys(service, prefix);
        let name = Glob::new(name);
        same_service && (facts.actions.is_empty() || facts.actions.iter().any(|action| name.matches(action)))
    })
}

/// Services that have keys of another's name.
fn shares_keys(service: &str, prefix: &str) -> bool {
    matches!(
        (service, prefix),
        ("sts", "iam" | "saml") | ("s3express" | "s3-object-lambda" | "s3-outposts", "s3") | ("ec2", "ssm")
    )
}

/// Addresses that no request from the internet comes from.
fn is_private(network: &IpNet) -> bool {
    const PRIVATE: [&str; 7] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "fc00::/7",
    ];
    PRIVATE.iter().filter_map(|block| block.parse::<IpNet>().ok()).any(|block| block.contains(network))
}
