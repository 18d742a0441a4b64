//! A state under construction: runs commands one after the other.

use postern_model::quota::highest;
use postern_model::{
    AccountId, Action, Command, Event, ModelError, Region, ResourceId, State, Timestamp, apply,
};

/// A state, and where the ids and times of the next command come from.
#[derive(Debug, Clone)]
pub struct World {
    /// What is so.
    pub state: State,
    seed: u64,
    step: u64,
}

/// The accounts of every world.
pub fn accounts() -> [AccountId; 2] {
    [111_111_111_111, 222_222_222_222].map(|number| AccountId::from_number(number).unwrap_or(FIRST))
}

const FIRST: AccountId = match AccountId::from_number(111_111_111_111) {
    Some(account) => account,
    None => panic!("twelve digits"),
};

impl World {
    /// `us-east-1` with two accounts and nothing else.
    ///
    /// # Panics
    /// If the model refuses that.
    #[expect(clippy::expect_used, reason = "a test cannot go on without")]
    pub fn new(seed: u64) -> Self {
        let region = Region::new("us-east-1").expect("a region's name");
        let mut world = Self { state: State::new(region), seed, step: 0 };
        for account in accounts() {
            let action = Action::CreateAccount { name: account.to_string(), root_key: None };
            world.run(account, action).expect("an account");
            // Worlds are about packets, not about how much of a network an account may have.
            world.state.quotas.insert(account, highest());
        }
        world
    }

    /// Runs a command. What it created or changed comes back; refused, it changes nothing.
    pub fn run(&mut self, account: AccountId, action: Action) -> Result<Vec<Event>, ModelError> {
        self.step += 1;
        let at = Timestamp(1_000_000 + self.step * 1_000);
        // Far apart, so that no two commands draw the same ids.
        let seed = self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(self.step << 20);
        let command = Command { account, at, seed, client_token: None, action };
        let (state, events) = apply(&self.state, &command)?;
        self.state = state;
        Ok(events)
    }

    /// Runs a command that creates something, and says what.
    pub fn create(&mut self, account: AccountId, action: Action) -> Result<Option<ResourceId>, ModelError> {
        let events = self.run(account, action)?;
        Ok(events.iter().find_map(|event| match event {
            Event::Created(id) => Some(*id),
            Event::Changed(_) | Event::Deleted(_) | Event::IdentityChanged => None,
        }))
    }
}
