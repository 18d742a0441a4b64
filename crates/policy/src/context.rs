//! The condition keys of a request.

use crate::hash::hash;
use crate::value::Value;

/// Condition keys and their values. Key names do not distinguish case; a key has one value or is multivalued.
///
/// A multivalued key without values counts as absent, as it does for AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// In the order of the keys.
    slots: Vec<Slot>,
    /// Of the slots' keys, apart so that looking one up reads little memory.
    hashes: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    lower_case_key: Box<str>,
    entry: Entry,
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
        self.set(key, Entry { values: vec![value.into()], multivalued: false });
    }

    /// Sets a multivalued key, replacing what it had. No values: the key is removed.
    pub fn insert_many<V: Into<Value>>(&mut self, key: &str, values: impl IntoIterator<Item = V>) {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            self.remove(key);
        } else {
            self.set(key, Entry { values, multivalued: true });
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
        if let Ok(at) = self.find(&key.to_lowercase()) {
            self.slots.remove(at);
            self.hashes.remove(at);
        }
    }

    /// The values of a key, empty when it is absent.
    #[must_use]
    pub fn get(&self, key: &str) -> &[Value] {
        self.find(&key.to_lowercase()).map_or(&[], |at| self.slots[at].entry.values.as_slice())
    }

    /// All keys in lower case, in order, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.slots.iter().map(|slot| (&*slot.lower_case_key, slot.entry.values.as_slice()))
    }

    /// The entry of a key that is in lower case already, by its [`hash`].
    pub(crate) fn entry(&self, key_hash: u64, lower_case_key: &str) -> Option<&Entry> {
        let same_hash = self.hashes.iter().zip(&self.slots).filter(|(hash, _)| **hash == key_hash);
        let mut same_key = same_hash.filter(|(_, slot)| *slot.lower_case_key == *lower_case_key);
        same_key.next().map(|(_, slot)| &slot.entry)
    }

    fn set(&mut self, key: &str, entry: Entry) {
        let lower_case_key: Box<str> = key.to_lowercase().into();
        match self.find(&lower_case_key) {
            Ok(at) => self.slots[at].entry = entry,
            Err(at) => {
                self.hashes.insert(at, hash(&lower_case_key));
                self.slots.insert(at, Slot { lower_case_key, entry });
            }
        }
    }

    fn find(&self, lower_case_key: &str) -> Result<usize, usize> {
        self.slots.binary_search_by(|slot| (*slot.lower_case_key).cmp(lower_case_key))
    }
}
