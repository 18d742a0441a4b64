//! Whose turn it is to hear an answer, where several ask over one channel and the answers keep the order of the
//! questions.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The turns of one channel.
#[derive(Debug, Default)]
pub(super) struct Turns {
    counts: Mutex<Counts>,
    passed: Condvar,
}

#[derive(Debug, Default)]
struct Counts {
    taken: u64,
    passed: u64,
}

/// A place in the order. Dropping it lets the next one have its turn.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    number: u64,
}

impl Turns {
    /// The next place. To be taken while nobody else can ask.
    pub fn take(&self) -> Turn<'_> {
        let mut counts = self.counts();
        let number = counts.taken;
        counts.taken += 1;
        Turn { turns: self, number }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Each change of it is one statement.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&self, number: u64) {
        let waited = self.passed.wait_while(self.counts(), |counts| counts.passed < number);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Turn<'_> {
    /// Waits until everybody before has heard.
    pub fn wait(&self) {
        self.turns.wait_for(self.number);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // INVARIANT: turns pass in order, also that of somebody who never waited for it.
        self.wait();
        self.turns.counts().passed += 1;
        self.turns.passed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_in_the_order_in_which_they_were_taken() {
        let turns = Turns::default();
        let heard = Mutex::new(Vec::new());
        let taken: Vec<_> = (0..20).map(|number| (number, turns.take())).collect();
        std::thread::scope(|scope| {
            for (number, turn) in taken.into_iter().rev() {
                let heard = &heard;
                scope.spawn(move || {
                    turn.wait();
                    heard.lock().unwrap().push(number);
                });
            }
        });
        assert_eq!(heard.into_inner().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
