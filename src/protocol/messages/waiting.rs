//! Requests that wait for an answer.
//!
//! In: requests, by what names them. Out: each again, with its answer. Of a bounded number: the one that has
//! waited longest makes room. They lie side by side, in order, with a table of their places beside them: were
//! they in the table, each request on a busy connection would miss the cache, more than once.

use hashbrown::{HashTable, hash_table};

use super::calls::{Asked, Kind};
use crate::memory::Reservation;
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// Names a request: a hash, with a seed of this run, of the reference that its caller made for it. Two of
/// those that wait at a time are alike by chance once in 10^12 connections.
pub(super) type Key = u64;

/// Requests of one side, in the order in which they came.
#[derive(Debug)]
pub(super) struct Waiting {
    entries: Vec<Entry>,
    /// By key, where its request lies.
    places: HashTable<Place>,
    /// The one that came first, and the one that came last.
    first: Place,
    last: Place,
    /// An entry that nothing is in; those lead on to further ones.
    free: Place,
}

/// A request, without room between its parts: half a line of the cache.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    at: Timestamp,
    number: u64,
    input: u16,
    before: Place,
    behind: Place,
    kind: Kind,
}

impl Entry {
    fn asked(&self) -> Asked {
        let frame = FrameRef { input: self.input, number: self.number };
        Asked { kind: self.kind, mark: PacketRef { frame, at: self.at } }
    }
}

type Place = u16;

/// No entry.
const NONE: Place = Place::MAX;

impl Default for Waiting {
    fn default() -> Self {
        let (entries, places) = (Vec::new(), HashTable::new());
        Self { entries, places, first: NONE, last: NONE, free: NONE }
    }
}

impl Waiting {
    /// Each of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Asked> {
        let mut place = self.first;
        std::iter::from_fn(move || {
            let entry = self.entries.get(usize::from(place))?;
            place = entry.behind;
            Some(entry.asked())
        })
    }

    /// The request that `key` names.
    pub(super) fn get(&self, key: Key) -> Option<Asked> {
        let place = self.places.find(key, |place| self.has(*place, key))?;
        self.entries.get(usize::from(*place)).map(Entry::asked)
    }

    /// Takes it out.
    pub(super) fn remove(&mut self, key: Key) -> Option<Asked> {
        let Self { places, entries, .. } = self;
        let found = places.find_entry(key, |place| is_at(entries, *place, key)).ok()?;
        let (place, _) = found.remove();
        let entry = *self.entries.get(usize::from(place))?;
        self.link(entry.before, entry.behind);
        if let Some(entry) = self.entries.get_mut(usize::from(place)) {
            entry.behind = std::mem::replace(&mut self.free, place);
        }
        Some(entry.asked())
    }

    /// Puts one in, as the last; without room it is left out.
    pub(super) fn insert(&mut self, key: Key, asked: Asked, memory: &mut Reservation) {
        if self.free == NONE && self.entries.len() >= MOST {
            if let Some(oldest) = self.entries.get(usize::from(self.first)) {
                self.remove(oldest.key);
            }
        }
        if self.free == NONE && !self.make_room(memory) {
            return;
        }
        let Self { places, entries, .. } = self;
        let place = if self.free == NONE { entries.len() } else { usize::from(self.free) };
        let Ok(place) = Place::try_from(place) else { return };
        let is_it = |place: &Place| is_at(entries, *place, key);
        let Asked { kind, mark: PacketRef { frame: FrameRef { input, number }, at } } = asked;
        let mut entry = Entry { key, at, number, input, before: self.last, behind: NONE, kind };
        match places.entry(key, is_it, |place| key_at(entries, *place)) {
            // Nobody asks twice under one reference; of whoever does, the later request counts.
            hash_table::Entry::Occupied(known) => {
                if let Some(known) = entries.get_mut(usize::from(*known.get())) {
                    (entry.before, entry.behind) = (known.before, known.behind);
                    *known = entry;
                }
                return;
            }
            hash_table::Entry::Vacant(vacant) => vacant.insert(place),
        };
        match entries.get_mut(usize::from(place)) {
            Some(free) => self.free = std::mem::replace(free, entry).behind,
            None => entries.push(entry),
        }
        self.link(entry.before, place);
        self.link(place, NONE);
    }

    /// Room for one more behind the others.
    fn make_room(&mut self, memory: &mut Reservation) -> bool {
        let len = self.entries.len();
        if len < self.entries.capacity() {
            return true;
        }
        // Each time fourfold: what is moved is moved seldom.
        let more = (3 * len).clamp(FIRST, MOST - len);
        let has_room = memory.take(more * (size_of::<Entry>() + ENTRY));
        if has_room {
            self.entries.reserve_exact(more);
            let Self { places, entries, .. } = self;
            places.reserve(more, |place| key_at(entries, *place));
        }
        has_room
    }

    /// From now on `behind` comes next after `before`.
    fn link(&mut self, before: Place, behind: Place) {
        match self.entries.get_mut(usize::from(before)) {
            Some(entry) => entry.behind = behind,
            None => self.first = behind,
        }
        match self.entries.get_mut(usize::from(behind)) {
            Some(entry) => entry.before = before,
            None => self.last = before,
        }
    }

    fn has(&self, place: Place, key: Key) -> bool {
        is_at(&self.entries, place, key)
    }
}

fn key_at(entries: &[Entry], place: Place) -> Key {
    entries.get(usize::from(place)).map_or(0, |entry| entry.key)
}

fn is_at(entries: &[Entry], place: Place, key: Key) -> bool {
    entries.get(usize::from(place)).is_some_and(|entry| entry.key == key)
}

/// Most of one side that wait at a time.
const MOST: usize = 1024;

/// Those that there is room for at first.
const FIRST: usize = 16;

/// What one costs in the table of places, at the most.
const ENTRY: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::memory::MemoryBudget;

    fn asked(number: u64) -> Asked {
        let mark = PacketRef { frame: FrameRef { input: 0, number }, at: Timestamp(number) };
        Asked { kind: Kind::GenCall, mark }
    }

    fn all(waiting: &Waiting) -> Vec<u64> {
        waiting.iter().map(|asked| asked.mark.frame.number).collect()
    }

    #[test]
    fn whatever_comes_and_goes_those_that_came_last_wait_in_order() {
        let pool = MemoryBudget::new(1 << 20);
        let (mut waiting, mut memory) = (Waiting::default(), pool.reservation());
        let (mut model, mut forgotten) = (VecDeque::new(), 0);
        let mut random = 1_u64;
        for number in 0..40_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // More come than go, until there are as many as there may be.
            let key = (random >> 33) % 9000;
            if random >> 62 == 0 || model.iter().any(|(known, _)| *known == key) {
                let place = model.iter().position(|(known, _)| *known == key);
                let expected =
                    place.and_then(|place| model.remove(place)).map(|(_, number)| number);
                assert_eq!(waiting.get(key).map(|it| it.mark.frame.number), expected);
                let removed = waiting.remove(key);
                assert_eq!(removed.map(|it| it.mark.frame.number), expected);
            } else {
                model.push_back((key, number));
                if model.len() > MOST {
                    model.pop_front();
                    forgotten += 1;
                }
                waiting.insert(key, asked(number), &mut memory);
            }
            if number % 1000 == 0 {
                assert_eq!(all(&waiting), model.iter().map(|(_, n)| *n).collect::<Vec<_>>());
            }
        }
        assert!(forgotten > 1000, "{forgotten}");
        assert!(waiting.entries.capacity() <= MOST && waiting.places.capacity() <= 4 * MOST);
    }

    #[test]
    fn without_room_none_is_added_and_those_that_wait_stay() {
        let pool = MemoryBudget::new(FIRST * (size_of::<Entry>() + ENTRY));
        let (mut waiting, mut memory) = (Waiting::default(), pool.reservation());
        for number in 0..100 {
            waiting.insert(number, asked(number), &mut memory);
        }
        assert_eq!(all(&waiting), (0..FIRST as u64).collect::<Vec<_>>());
        waiting.remove(3);
        waiting.insert(200, asked(200), &mut memory);
        assert_eq!(all(&waiting).last(), Some(&200));
    }
}
