//! What AWS accepts and is most likely a mistake.

use crate::document::PolicyDocument;
use crate::place::Place;

/// A likely mistake, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub concern: Concern,
}

/// What is most likely a mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {}

pub(crate) fn warnings(_: &PolicyDocument) -> Vec<Warning> {
    Vec::new()
}
