//! A command under way: the next state being made, what has changed so far, and where new ids come from.

use std::sync::Arc;

use crate::error::ModelError;
use crate::event::Event;
use crate::id::{AccountId, Timestamp};
use crate::state::{Resource, State};

pub(crate) struct Txn {
    pub state: State,
    pub events: Vec<Event>,
    pub at: Timestamp,
    pub account: AccountId,
    random: u64,
}

impl Txn {
    pub fn new(state: State, account: AccountId, at: Timestamp, seed: u64) -> Self {
        Self { state, events: Vec::new(), at, account, random: seed }
    }

    /// The next pseudo-random number of this command (splitmix64): the same seed always gives the same ones.
    pub fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number for an id that prints with seventeen digits.
    pub fn id_number(&mut self) -> u64 {
        loop {
            let number = self.next_random();
            if number >= 1 << 32 {
                return number;
            }
        }
    }

    /// A new id of a resource, free in its table.
    pub fn mint<R: Resource>(&mut self, from_number: fn(u64) -> R::Id) -> Result<R::Id, ModelError> {
        for _ in 0..64 {
            let id = from_number(self.id_number());
            if !R::table(&self.state).contains_key(&id) {
                return Ok(id);
            }
        }
        Err(ModelError::IdsExhausted)
    }

    /// The resource, if this account may see it.
    pub fn get<R: Resource>(&self, id: R::Id) -> Result<Arc<R>, ModelError> {
        self.state.get::<R>(self.account, id)
    }

    pub fn insert<R: Resource>(&mut self, resource: R) {
        let id = resource.id();
        R::table_mut(&mut self.state).insert(id, Arc::new(resource));
        self.events.push(Event::Created(id.into()));
    }

    /// Changes a resource of this account.
    pub fn update<R: Resource>(&mut self, id: R::Id, change: impl FnOnce(&mut R)) -> Result<(), ModelError> {
        let mut resource = self.get::<R>(id)?;
        change(Arc::make_mut(&mut resource));
        R::table_mut(&mut self.state).insert(id, resource);
        let event = Event::Changed(id.into());
        if self.events.last() != Some(&event) {
            self.events.push(event);
        }
        Ok(())
    }

    pub fn remove<R: Resource>(&mut self, id: R::Id) -> Result<Arc<R>, ModelError> {
        let resource = self.get::<R>(id)?;
        R::table_mut(&mut self.state).remove(&id);
        self.events.push(Event::Deleted(id.into()));
        Ok(resource)
    }
}
