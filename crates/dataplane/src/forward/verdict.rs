//! A decision as the tables keep it: what is done, and what must stay as it is for that to be right.

use postern_path::{Action, Decision, Outcome, Stamps};

use super::generation::Generations;

/// What the tables keep of a decision. Templates and flows share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it passes, and how or why not.
    pub outcome: Outcome,
    /// What it rests on. New flows come of it only while all of this is as it was.
    pub consulted: Stamps,
    /// What its flows rest on while they live.
    pub cut: Stamps,
    /// How many of `consulted`, the first ones, say only that a target is to be chosen among several.
    pub before_choice: usize,
}

impl From<&Decision> for Verdict {
    fn from(decision: &Decision) -> Self {
        Self {
            outcome: decision.outcome,
            consulted: decision.consulted.clone(),
            cut: decision.cut.clone(),
            before_choice: decision.choice.as_ref().map_or(0, |choice| choice.consulted),
        }
    }
}

impl Verdict {
    /// What is done to packets, if they pass.
    #[inline]
    pub fn action(&self) -> Option<&Action> {
        match &self.outcome {
            Outcome::Forward(action) => Some(action),
            Outcome::Refuse(_) => None,
        }
    }

    /// Whether flows may still be made of it.
    pub fn is_current(&self, generations: &Generations) -> bool {
        generations.all_current(&self.consulted)
    }

    /// Whether flows that were made of it may still pass.
    pub fn holds(&self, generations: &Generations) -> bool {
        generations.all_current(&self.cut)
    }
}
