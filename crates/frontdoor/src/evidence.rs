//! What decisions rested on, kept for a while so that they can be explained.
//!
//! INVARIANT: an explanation is of the policies and the circumstances of the request itself, not of those of later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use postern_policy::{PolicySet, Request};

/// How many requests are remembered.
pub const REQUESTS_KEPT: usize = 4_096;
/// How many decisions of a request are remembered: the first ones, and the one that refused it.
pub const DECISIONS_KEPT: usize = 16;

/// One decision: everything that was asked, and everything that had a say.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The policies, each in its place.
    pub policies: PolicySet,
    /// Who, what, on what, and under which circumstances.
    pub request: Request,
    /// Whether the caller and the resource are of one organization.
    pub same_organization: bool,
    /// What turned the caller away before any policy was asked, as the service calls it: S3's `RestrictPublicBuckets`.
    pub turned_away_by: Option<&'static str>,
}

impl Evidence {
    /// The same, of a caller that is turned away whatever the policies say.
    #[must_use]
    pub fn turned_away(self, by: &'static str) -> Self {
        Self { turned_away_by: Some(by), ..self }
    }
}

/// The decisions of a request while it is under way.
#[derive(Debug, Default)]
pub struct Notes {
    decisions: Vec<Evidence>,
}

impl Notes {
    /// Takes down that a caller was turned away before any policy was asked.
    pub fn take_turned_away(&mut self, evidence: Evidence) {
        self.take(evidence, true);
    }

    /// Takes a decision down. Beyond so many, only one that refuses, which is the last.
    pub(crate) fn take(&mut self, evidence: Evidence, refused: bool) {
        if self.decisions.len() < DECISIONS_KEPT || refused {
            self.decisions.push(evidence);
        }
    }
}

/// What is remembered of the last requests, by the ids that their answers are known by.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: Mutex<VecDeque<(String, Arc<[Evidence]>)>>,
}

impl Memory {
    pub(crate) fn keep(&self, id: &str, notes: Notes) {
        if notes.decisions.is_empty() {
            return;
        }
        let entry = (id.to_owned(), Arc::from(notes.decisions));
        // Nothing in here panics half way. What goes is dropped outside.
        let gone = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(entry);
            if kept.len() > REQUESTS_KEPT { kept.pop_front() } else { None }
        };
        drop(gone);
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<[Evidence]>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().find(|(known, _)| known == id).map(|(_, evidence)| Arc::clone(evidence))
    }
}

#[cfg(test)]
mod tests {
    use postern_policy::{Action, Principal};

    use super::*;

    fn evidence(resource: &str) -> Evidence {
        let action = Action::parse("s3:GetObject").unwrap();
        Evidence {
            policies: PolicySet::new(),
            request: Request::new(Principal::Anonymous, action, resource),
            same_organization: false,
            turned_away_by: None,
        }
    }

    #[test]
    fn the_last_requests_are_remembered_and_of_each_the_refusal() {
        let memory = Memory::default();
        for n in 0..=REQUESTS_KEPT {
            let mut notes = Notes::default();
            notes.take(evidence("*"), false);
            memory.keep(&n.to_string(), notes);
        }
        assert!(memory.find("0").is_none() && memory.find("1").is_some());
        let mut notes = Notes::default();
        for n in 0..100 {
            notes.take(evidence(&n.to_string()), n == 99);
        }
        memory.keep("many", notes);
        let found = memory.find("many").unwrap();
        assert_eq!(found.len(), DECISIONS_KEPT + 1);
        assert_eq!(found.last().unwrap().request.resource, "99");
        memory.keep("none", Notes::default());
        assert!(memory.find("none").is_none());
    }
}
