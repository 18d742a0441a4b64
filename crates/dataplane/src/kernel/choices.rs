//! The tables by which the program chooses targets.
//!
//! INVARIANT: a table is written before a template names it, and its place is another's only when the last template that
//! named it is gone, which is not before a program that found that has long ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use postern_path::Table;
use postern_path::balance::BUCKETS;

use super::layout::{CHOICE_TABLES, CHOICES};
use super::maps::Maps;

/// A table, and how many templates name it.
#[derive(Debug)]
struct Known {
    table: Arc<Table>,
    users: usize,
}

/// All of them.
#[derive(Debug)]
pub(super) struct ChoiceTables {
    maps: Arc<Maps>,
    known: Vec<Option<Known>>,
    free: Vec<u32>,
    /// Where a table is, by where it lies in memory. What is here lives.
    places: HashMap<usize, u32>,
}

impl ChoiceTables {
    pub fn new(maps: Arc<Maps>) -> Self {
        Self { maps, known: Vec::new(), free: Vec::new(), places: HashMap::new() }
    }

    /// The place of a table, for one template more. None where there is no room, or where it chooses among more than the
    /// program can.
    pub fn hold(&mut self, table: &Arc<Table>) -> Option<u32> {
        if let Some(place) = self.places.get(&address(table)).copied() {
            self.known.get_mut(place as usize)?.as_mut()?.users += 1;
            return Some(place);
        }
        let is_whole = table.owners().len() == BUCKETS;
        if !is_whole || table.owners().iter().any(|owner| usize::from(*owner) >= CHOICES) {
            return None;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.known.len() < CHOICE_TABLES as usize => {
                self.known.push(None);
                (self.known.len() - 1) as u32
            }
            None => return None,
        };
        self.write(place, table);
        self.places.insert(address(table), place);
        let slot = self.known.get_mut(place as usize)?;
        *slot = Some(Known { table: Arc::clone(table), users: 1 });
        Some(place)
    }

    fn write(&self, place: u32, table: &Table) {
        let Some(shared) = self.maps.choices.get(place as usize) else { return };
        shared.sticky.store(u32::from(table.is_sticky()), Ordering::Relaxed);
        for (word, owners) in shared.owners.iter().zip(table.owners().chunks(4)) {
            // Each fits a byte, as there are not more of them.
            let number = |shift: usize, owner: u16| (u32::from(owner) + 1) << (8 * shift);
            let packed = owners.iter().enumerate().map(|(at, owner)| number(at, *owner));
            word.store(packed.fold(0, |all, one| all | one), Ordering::Relaxed);
        }
    }

    /// One template less names a table.
    pub fn let_go(&mut self, place: u32) {
        let Some(slot) = self.known.get_mut(place as usize) else { return };
        let Some(known) = slot else { return };
        known.users -= 1;
        if known.users == 0 {
            self.places.remove(&address(&known.table));
            *slot = None;
            self.free.push(place);
        }
    }
}

/// Where a table lies in memory.
fn address(table: &Arc<Table>) -> usize {
    Arc::as_ptr(table).addr()
}
