//! The condition keys of a request.

use std::collections::BTreeMap;

use crate::value::Value;

/// Condition keys and their values. Key names do not distinguish case; a key has one value or is multivalued.
///
/// A multivalued key without values counts as absent, as it does for AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) values: Vec<Value>,
    pub(crate) multivalued: bool,
}

impl Context {
    /// A context without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a single-valued key, replacing what it had.
    pub fn insert(&mut self, key: &str, value: impl Into<Value>) {
        let entry = Entry { values: vec![value.into()], multivalued: false };
        self.entries.insert(key.to_lowercase(), entry);
    }

    /// Sets a multivalued key, replacing what it had. No values: the key is removed.
    pub fn insert_many<V: Into<Value>>(&mut self, key: &str, values: impl IntoIterator<Item = V>) {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            self.remove(key);
        } else {
            self.entries.insert(key.to_lowercase(), Entry { values, multivalued: true });
        }
    }

    /// [`insert`](Self::insert), for building in one expression.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.insert(key, value);
        self
    }

    /// [`insert_many`](Self::insert_many), for building in one expression.
    #[must_use]
    pub fn with_many<V: Into<Value>>(mut self, key: &str, values: impl IntoIterator<Item = V>) -> Self {
        self.insert_many(key, values);
        self
    }

    /// Makes a key absent.
    pub fn remove(&mut self, key: &str) {
        self.entries.remove(&key.to_lowercase());
    }

    /// The values of a key, empty when it is absent.
    #[must_use]
    pub fn get(&self, key: &str) -> &[Value] {
        self.entries.get(&key.to_lowercase()).map_or(&[], |entry| entry.values.as_slice())
    }

    /// All keys in lower case, in order, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry.values.as_slice()))
    }

    /// The entry of a key that is in lower case already.
    pub(crate) fn entry(&self, lower_case_key: &str) -> Option<&Entry> {
        self.entries.get(lower_case_key)
    }
}
