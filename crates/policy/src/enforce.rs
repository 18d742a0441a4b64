//! What a document asks that a service cannot answer.

use std::collections::BTreeMap;

use crate::document::PolicyDocument;
use crate::principal::AwsName;
use crate::request::is_derived_key;
use crate::statement::Statement;

/// The condition keys that the document uses, in conditions, in policy variables or through a unique id in
/// `Principal`, and that the caller cannot provide; as written, sorted, each once. Keys derived during evaluation
/// are not asked about.
///
/// A service that gets a list that is not empty refuses to store the document: a condition on a key that is
/// never there would quietly deny, or quietly allow.
///
/// `supported_keys` is asked with the key in lower case.
#[must_use]
pub fn unenforceable(document: &PolicyDocument, supported_keys: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut keys = condition_keys(document);
    keys.retain(|key| {
        let lower_case = key.to_lowercase();
        !is_derived_key(&lower_case) && !supported_keys(&lower_case)
    });
    keys
}

pub(crate) fn condition_keys(document: &PolicyDocument) -> Vec<String> {
    let mut by_name = BTreeMap::new();
    for key in document.statements.iter().flat_map(keys) {
        by_name.entry(key.to_lowercase()).or_insert_with(|| key.to_owned());
    }
    let mut keys: Vec<String> = by_name.into_values().collect();
    keys.sort();
    keys
}

fn keys(statement: &Statement) -> Vec<&str> {
    let mut keys: Vec<&str> = Vec::new();
    for condition in &statement.conditions {
        keys.push(condition.key.written());
        keys.extend(condition.variable_keys());
    }
    keys.extend(statement.resources.patterns.iter().flat_map(|resource| resource.pattern.keys()));
    let by_id = |name: &AwsName| matches!(name, AwsName::UniqueId(_));
    if statement.principals.as_ref().is_some_and(|clause| clause.aws.iter().any(by_id)) {
        keys.push("aws:userid");
    }
    keys
}
