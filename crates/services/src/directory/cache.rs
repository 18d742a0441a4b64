//! Compiled policy documents, by their texts.
//!
//! INVARIANT: the cache is bounded; a document is compiled anew rather than one too many kept.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use postern_policy::{Kind, ParseError, PolicyDocument};

/// How many documents are kept, of all kinds together.
const DOCUMENTS_MAX: usize = 4096;

#[derive(Default)]
pub(crate) struct PolicyCache {
    kept: RwLock<Kept>,
}

#[derive(Default)]
struct Kept {
    by_kind: HashMap<Kind, HashMap<Box<str>, PolicyDocument>>,
    count: usize,
}

impl PolicyCache {
    pub(crate) fn document(&self, kind: Kind, text: &str) -> Result<PolicyDocument, ParseError> {
        if let Some(found) = self.find(kind, text) {
            return Ok(found);
        }
        let document = PolicyDocument::parse(text, kind)?;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.count >= DOCUMENTS_MAX {
            *kept = Kept::default();
        }
        let replaced = kept.by_kind.entry(kind).or_default().insert(text.into(), document.clone());
        if replaced.is_none() {
            kept.count += 1;
        }
        Ok(document)
    }

    fn find(&self, kind: Kind, text: &str) -> Option<PolicyDocument> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.by_kind.get(&kind)?.get(text).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: usize) -> String {
        format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Action":"s3:Get{n}","Resource":"*"}}}}"#
        )
    }

    #[test]
    fn a_text_is_compiled_for_each_kind_once() {
        let cache = PolicyCache::default();
        let first = cache.document(Kind::Identity, &text(1)).unwrap();
        assert_eq!(cache.document(Kind::Identity, &text(1)).unwrap(), first);
        assert_eq!(cache.document(Kind::Session, &text(1)).unwrap().kind(), Kind::Session);
        assert!(cache.document(Kind::Resource, &text(1)).is_err(), "it has no principal");
        assert_eq!(cache.kept.read().unwrap().count, 2);
    }

    #[test]
    fn it_is_bounded() {
        let cache = PolicyCache::default();
        for n in 0..DOCUMENTS_MAX + 10 {
            cache.document(Kind::Identity, &text(n)).unwrap();
        }
        assert!(cache.kept.read().unwrap().count <= DOCUMENTS_MAX);
    }
}
