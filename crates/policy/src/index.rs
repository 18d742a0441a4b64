//! Which statements of a large document may be about an action.
//!
//! INVARIANT: the index only leaves out statements that do not cover the action; it decides nothing.

use crate::request::ActionHashes;
use crate::statement::{ActionPattern, Statement};

/// Up to here looking at every statement is as quick.
const SMALL: usize = 16;

/// Which statements to look at.
#[derive(Debug)]
pub(crate) struct Index {
    count: usize,
    /// Sorted pairs of what an action hashes to and a statement; none in a small document.
    by_hash: Box<[(u64, u32)]>,
    /// Statements that may be about any service.
    any: Box<[u32]>,
    is_small: bool,
}

/// What an action pattern is filed under.
enum Shelf {
    Any,
    Hash(u64),
}

impl Index {
    pub(crate) fn new(statements: &[Statement]) -> Self {
        let is_small = statements.len() <= SMALL;
        let (mut by_hash, mut any) = (Vec::new(), Vec::new());
        // A document is far too short for more statements than 32 bits count.
        for (number, statement) in (0_u32..).zip(statements).take_while(|_| !is_small) {
            let shelves: Vec<Shelf> = if statement.actions.negated {
                vec![Shelf::Any]
            } else {
                statement.actions.patterns.iter().map(shelf).collect()
            };
            if shelves.iter().any(|shelf| matches!(shelf, Shelf::Any)) {
                any.push(number);
                continue;
            }
            by_hash.extend(shelves.into_iter().filter_map(|shelf| match shelf {
                Shelf::Any => None,
                Shelf::Hash(hash) => Some((hash, number)),
            }));
        }
        by_hash.sort_unstable();
        by_hash.dedup();
        Self { count: statements.len(), by_hash: by_hash.into(), any: any.into(), is_small }
    }

    /// The numbers of the statements to look at, in no order; one may come twice.
    pub(crate) fn candidates(&self, action: ActionHashes) -> impl Iterator<Item = usize> + '_ {
        let all = if self.is_small { 0..self.count } else { 0..0 };
        let filed = self.under(action.whole).iter().chain(self.under(action.service));
        let filed = filed.map(|(_, number)| number).chain(&self.any);
        all.chain(filed.map(|number| *number as usize))
    }

    fn under(&self, wanted: u64) -> &[(u64, u32)] {
        let start = self.by_hash.partition_point(|(hash, _)| *hash < wanted);
        let found = &self.by_hash[start..];
        let end = found.partition_point(|(hash, _)| *hash == wanted);
        &found[..end]
    }
}

fn shelf(pattern: &ActionPattern) -> Shelf {
    let lower_case = pattern.text.to_ascii_lowercase();
    match lower_case.split_once(':') {
        None => Shelf::Any,
        Some((service, _)) if service.contains(['*', '?']) => Shelf::Any,
        Some((_, name)) if name.contains(['*', '?']) => Shelf::Hash(ActionHashes::of(&lower_case).service),
        Some(_) => Shelf::Hash(ActionHashes::of(&lower_case).whole),
    }
}
