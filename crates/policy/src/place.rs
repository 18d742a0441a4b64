//! Where something stands in a document.

use std::fmt;

/// A line and a column of a document's text, both from 1. Columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Place {
    /// The first character of a text.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// The place behind one more character.
    pub(crate) fn after(self, character: char) -> Self {
        if character == '\n' {
            Self { line: self.line.saturating_add(1), column: 1 }
        } else {
            Self { column: self.column.saturating_add(1), ..self }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The place of a part of a compiled document.
///
/// INVARIANT: any two are equal, so that parts compare by what they say and not by where they say it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) Place);

impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for At {}
