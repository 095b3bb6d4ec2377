//! Requests that wait for an answer.
//!
//! In: requests by their keys. Out: the request of a key, when its answer comes. Their number is bounded: the oldest
//! request is dropped for a new one. Requests are stored in one array in order of arrival, with a table of their
//! indices beside it. Stored in the table itself, each request of a busy connection would miss the cache more than
//! once.

use hashbrown::{HashTable, hash_table};

use super::calls::{CallKind, CallRequest};
use crate::memory::Reservation;
use crate::packet::FrameRef;
use crate::packet::PacketRef;
use crate::time::Timestamp;

/// The key of a request: a hash, with a seed of this run, of the reference that its caller made for it. Two pending
/// requests have the same key by chance once in 10^12 connections.
pub(super) type RequestKey = u64;

/// The pending requests of one side, in order of arrival.
#[derive(Debug)]
pub(super) struct PendingRequests {
    entries: Vec<Entry>,
    /// The index of each request, by key.
    places: HashTable<EntryIndex>,
    /// The index of the oldest request, and below that of the newest.
    first: EntryIndex,
    last: EntryIndex,
    /// The first unused entry. Unused entries form a list.
    free: EntryIndex,
}

/// A request, packed without padding into half a cache line.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: RequestKey,
    at: Timestamp,
    number: u64,
    input: u16,
    before: EntryIndex,
    behind: EntryIndex,
    kind: CallKind,
}

impl Entry {
    fn request(&self) -> CallRequest {
        let frame = FrameRef { input: self.input, number: self.number };
        CallRequest { kind: self.kind, mark: PacketRef { frame, at: self.at } }
    }
}

type EntryIndex = u16;

/// The index that means "no entry".
const NO_ENTRY: EntryIndex = EntryIndex::MAX;

impl Default for PendingRequests {
    fn default() -> Self {
        let (entries, places) = (Vec::new(), HashTable::new());
        Self { entries, places, first: NO_ENTRY, last: NO_ENTRY, free: NO_ENTRY }
    }
}

impl PendingRequests {
    /// All pending requests, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = CallRequest> {
        let mut place = self.first;
        std::iter::from_fn(move || {
            let entry = self.entries.get(usize::from(place))?;
            place = entry.behind;
            Some(entry.request())
        })
    }

    /// The request with this key, and what `outcome` makes of it; removed, unless that is `None`. One search for both.
    pub(super) fn end<T>(
        &mut self,
        key: RequestKey,
        outcome: impl FnOnce(&CallRequest) -> Option<T>,
    ) -> Option<(CallRequest, Option<T>)> {
        let Self { places, entries, .. } = self;
        let found = places.find_entry(key, |place| is_at(entries, *place, key)).ok()?;
        let place = *found.get();
        let entry = *entries.get(usize::from(place))?;
        let request = entry.request();
        let outcome = outcome(&request);
        if outcome.is_some() {
            found.remove();
            self.link(entry.before, entry.behind);
            if let Some(entry) = self.entries.get_mut(usize::from(place)) {
                entry.behind = std::mem::replace(&mut self.free, place);
            }
        }
        Some((request, outcome))
    }

    /// Removes the request with this key.
    pub(super) fn remove(&mut self, key: RequestKey) -> Option<CallRequest> {
        self.end(key, |_| Some(())).map(|(request, _)| request)
    }

    /// Adds a request as the newest. Without memory it is left out.
    pub(super) fn insert(&mut self, key: RequestKey, asked: CallRequest, memory: &mut Reservation) {
        if self.free == NO_ENTRY
            && self.entries.len() >= MOST
            && let Some(oldest) = self.entries.get(usize::from(self.first))
        {
            self.remove(oldest.key);
        }
        if self.free == NO_ENTRY && !self.make_room(memory) {
            return;
        }
        let Self { places, entries, .. } = self;
        let place = if self.free == NO_ENTRY { entries.len() } else { usize::from(self.free) };
        let Ok(place) = EntryIndex::try_from(place) else { return };
        let is_it = |place: &EntryIndex| is_at(entries, *place, key);
        let CallRequest { kind, mark: PacketRef { frame: FrameRef { input, number }, at } } = asked;
        let mut entry = Entry { key, at, number, input, before: self.last, behind: NO_ENTRY, kind };
        match places.entry(key, is_it, |place| key_at(entries, *place)) {
            // References are unique per request; on a duplicate the later request wins.
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
        self.link(place, NO_ENTRY);
    }

    /// Makes room for one more entry at the end.
    fn make_room(&mut self, memory: &mut Reservation) -> bool {
        let len = self.entries.len();
        if len < self.entries.capacity() {
            return true;
        }
        // Grows fourfold, so that entries are moved rarely.
        let more = (3 * len).clamp(FIRST, MOST - len);
        let has_room = memory.take(more * (size_of::<Entry>() + ENTRY));
        if has_room {
            self.entries.reserve_exact(more);
            let Self { places, entries, .. } = self;
            places.reserve(more, |place| key_at(entries, *place));
        }
        has_room
    }

    /// Links two entries, so that `behind` follows `before`.
    fn link(&mut self, before: EntryIndex, behind: EntryIndex) {
        match self.entries.get_mut(usize::from(before)) {
            Some(entry) => entry.behind = behind,
            None => self.first = behind,
        }
        match self.entries.get_mut(usize::from(behind)) {
            Some(entry) => entry.before = before,
            None => self.last = before,
        }
    }
}

fn key_at(entries: &[Entry], place: EntryIndex) -> RequestKey {
    entries.get(usize::from(place)).map_or(0, |entry| entry.key)
}

fn is_at(entries: &[Entry], place: EntryIndex, key: RequestKey) -> bool {
    entries.get(usize::from(place)).is_some_and(|entry| entry.key == key)
}

/// The most pending requests of one side.
const MOST: usize = 1024;

/// The capacity with the first request.
const FIRST: usize = 16;

/// The most bytes that a request needs in the table of indices.
const ENTRY: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::memory::MemoryBudget;

    fn asked(number: u64) -> CallRequest {
        let mark = PacketRef { frame: FrameRef { input: 0, number }, at: Timestamp(number) };
        CallRequest { kind: CallKind::GenCall, mark }
    }

    fn all(pending: &PendingRequests) -> Vec<u64> {
        pending.iter().map(|asked| asked.mark.frame.number).collect()
    }

    #[test]
    fn the_newest_requests_are_pending_in_order_of_arrival() {
        let pool = MemoryBudget::new(1 << 20);
        let (mut pending, mut memory) = (PendingRequests::default(), pool.reservation());
        let (mut model, mut forgotten) = (VecDeque::new(), 0);
        let mut random = 1_u64;
        for number in 0..40_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // More requests are added than removed, until their number reaches its bound.
            let key = (random >> 33) % 9000;
            if random >> 62 == 0 || model.iter().any(|(known, _)| *known == key) {
                let place = model.iter().position(|(known, _)| *known == key);
                let expected =
                    place.and_then(|place| model.remove(place)).map(|(_, number)| number);
                let kept = pending.end(key, |_| None::<()>);
                assert_eq!(kept.map(|(it, _)| it.mark.frame.number), expected);
                let removed = pending.remove(key);
                assert_eq!(removed.map(|it| it.mark.frame.number), expected);
            } else {
                model.push_back((key, number));
                if model.len() > MOST {
                    model.pop_front();
                    forgotten += 1;
                }
                pending.insert(key, asked(number), &mut memory);
            }
            if number % 1000 == 0 {
                assert_eq!(all(&pending), model.iter().map(|(_, n)| *n).collect::<Vec<_>>());
            }
        }
        assert!(forgotten > 1000, "{forgotten}");
        assert!(pending.entries.capacity() <= MOST && pending.places.capacity() <= 4 * MOST);
    }

    #[test]
    fn without_memory_no_request_is_added_and_pending_ones_stay() {
        let pool = MemoryBudget::new(FIRST * (size_of::<Entry>() + ENTRY));
        let (mut pending, mut memory) = (PendingRequests::default(), pool.reservation());
        for number in 0..100 {
            pending.insert(number, asked(number), &mut memory);
        }
        assert_eq!(all(&pending), (0..FIRST as u64).collect::<Vec<_>>());
        pending.remove(3);
        pending.insert(200, asked(200), &mut memory);
        assert_eq!(all(&pending).last(), Some(&200));
    }
}
