//! A command under way: the next state being made, what has changed so far, and where new ids come from.

use std::sync::Arc;

use crate::error::ModelError;
use crate::event::Event;
use crate::id::{AccountId, Timestamp};
use crate::quota::Quota;
use crate::state::{Resource, State};

pub(crate) struct Txn {
    pub state: State,
    pub events: Vec<Event>,
    pub at: Timestamp,
    pub account: AccountId,
    random: u64,
    admission: Admission,
}

/// Whether a command still has to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new.
    Asked,
    /// It was accepted once, and is applied again.
    Given,
}

impl Txn {
    pub fn new(state: State, account: AccountId, at: Timestamp, seed: u64, admission: Admission) -> Self {
        Self { state, events: Vec::new(), at, account, random: seed, admission }
    }

    /// Does one part of a command that has several, with a seed of its own; its events follow those that are there.
    pub fn part(
        &mut self,
        seed: u64,
        work: impl FnOnce(&mut Self) -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        let random = std::mem::replace(&mut self.random, seed);
        let mut events = std::mem::take(&mut self.events);
        work(self)?;
        events.append(&mut self.events);
        (self.events, self.random) = (events, random);
        Ok(())
    }

    /// Asks a rule about which commands are accepted. INVARIANT: such a rule changes nothing, and is not asked of what
    /// was accepted before, so it may become stricter and old logs still read.
    pub fn admit(&self, rule: impl FnOnce(&Self) -> Result<(), ModelError>) -> Result<(), ModelError> {
        match self.admission {
            Admission::Asked => rule(self),
            Admission::Given => Ok(()),
        }
    }

    /// Refuses more than the account's quota; `wanted` is how many there would be.
    pub fn within(&self, quota: Quota, wanted: impl FnOnce(&Self) -> usize) -> Result<(), ModelError> {
        self.admit(|txn| {
            let limit = crate::quota::limit(&txn.state, txn.account, quota);
            if wanted(txn) > limit { Err(ModelError::Quota { quota, limit }) } else { Ok(()) }
        })
    }

    /// Refuses one more of a kind of resource than the account's quota.
    pub fn room_for_one<R: Resource>(&self, quota: Quota) -> Result<(), ModelError> {
        self.within(quota, |txn| txn.state.visible::<R>(txn.account).count() + 1)
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
