//! What a lab has made in a region that outlives it and nobody has taken down yet: for whoever has to be told when
//! the clean-up does not come to its end.

use std::sync::{Mutex, PoisonError};

/// A clean-up step that is still to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// The step's id.
    pub id: String,
    /// What a person would type to do it.
    pub command: String,
}

/// What is to be taken down, in the order in which that has to be done. The engine writes it after every step, and
/// another thread may read it at any time.
#[derive(Debug, Default)]
pub struct Leftovers(Mutex<Vec<LeftOver>>);

impl Leftovers {
    /// What is there now.
    pub fn list(&self) -> Vec<LeftOver> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, left: Vec<LeftOver>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }
}
