//! Everything that is wrong with a document, in the order in which it is found.
//!
//! INVARIANT: a document with faults is never used: what goes on after one is there to find the others.

use crate::error::ParseError;

/// How many are told. Whoever has so many to mend asks again.
const MOST: usize = 100;

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<ParseError>);

impl Faults {
    /// Takes one down.
    pub(super) fn push(&mut self, fault: ParseError) {
        if self.0.len() < MOST {
            self.0.push(fault);
        }
    }

    /// What came of reading something; none where that is at fault.
    pub(super) fn take<T>(&mut self, read: Result<T, ParseError>) -> Option<T> {
        read.map_err(|fault| self.push(fault)).ok()
    }

    /// What was read as a whole, if there are none.
    pub(super) fn or<T>(self, whole: Option<T>) -> Result<T, Vec<ParseError>> {
        match whole {
            Some(whole) if self.0.is_empty() => Ok(whole),
            Some(_) | None => Err(self.0),
        }
    }
}
