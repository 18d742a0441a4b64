//! A compiled statement. Each part keeps what was written, so that it can be printed and explained.

use std::sync::Arc;

use crate::condition::Condition;
use crate::document::Effect;
use crate::glob::Glob;
use crate::pattern::{ArnPattern, SplitArn};
use crate::place::At;
use crate::principal::PrincipalClause;
use crate::request::Facts;

/// A compiled statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statement {
    pub(crate) sid: Option<Arc<str>>,
    pub(crate) effect: Effect,
    pub(crate) actions: Actions,
    pub(crate) resources: Resources,
    /// Absent in policies that belong to their principal.
    pub(crate) principals: Option<PrincipalClause>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) at: At,
    /// Behind its last character.
    pub(crate) end: At,
}

/// `Action` or `NotAction`, over lower-case text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Actions {
    pub(crate) negated: bool,
    pub(crate) patterns: Vec<ActionPattern>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ActionPattern {
    pub(crate) text: String,
    pub(crate) glob: Glob,
    pub(crate) at: At,
}

/// `Resource` or `NotResource`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resources {
    pub(crate) negated: bool,
    pub(crate) patterns: Vec<ResourcePattern>,
    /// The statement has neither, as those of trust policies, and is about any.
    pub(crate) implied: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResourcePattern {
    pub(crate) text: String,
    pub(crate) pattern: ArnPattern,
    pub(crate) at: At,
}

impl Actions {
    pub(crate) fn cover(&self, lower_case_action: &str) -> bool {
        self.patterns.iter().any(|action| action.glob.matches(lower_case_action)) != self.negated
    }
}

impl Resources {
    pub(crate) fn cover(&self, resource: SplitArn<'_>, facts: &Facts<'_>) -> bool {
        self.implied || self.patterns.iter().any(|one| one.pattern.matches(resource, facts)) != self.negated
    }
}
