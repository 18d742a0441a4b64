//! What has stopped working, for the health page: a part that ends by itself is told once and never forgotten.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The parts that no longer work, and why.
#[derive(Debug, Default)]
pub struct Ailments(Mutex<BTreeMap<&'static str, String>>);

impl Ailments {
    /// This part does not work any more.
    pub fn note(&self, part: &'static str, why: &str) {
        tracing::error!(part, why, "it does not work any more");
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, why.to_owned());
    }

    /// All of them.
    pub fn list(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
