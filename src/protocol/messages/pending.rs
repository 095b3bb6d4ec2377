//! Requests that wait for an answer.
//!
//! In: requests by their keys. Out: the request of a key, when its answer comes. Their number is bounded: the oldest
//! request is dropped for a new one. Requests are stored in one array in order of arrival. A table has the first request of
//! each hash, and each request the next one: stored in the table itself, each request of a busy connection would miss the
//! cache more than once, and adding one to a general hash table takes three times the instructions.

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
    /// The first request of each hash, which is the end of a key. Their number is a power of two.
    hashes: Vec<EntryIndex>,
    /// The index of the oldest request, and below that of the newest.
    first: EntryIndex,
    last: EntryIndex,
    /// The first unused entry. Unused entries form a list.
    free: EntryIndex,
}

/// A request, packed without padding into less than a cache line.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: RequestKey,
    at: Timestamp,
    number: u64,
    input: u16,
    before: EntryIndex,
    behind: EntryIndex,
    /// The next request with the same hash.
    alike: EntryIndex,
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
        let (entries, hashes) = (Vec::new(), Vec::new());
        Self { entries, hashes, first: NO_ENTRY, last: NO_ENTRY, free: NO_ENTRY }
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

    /// The request with this key.
    pub(super) fn get(&self, key: RequestKey) -> Option<CallRequest> {
        self.entries.get(usize::from(self.find(key))).map(Entry::request)
    }

    /// Removes the request with this key.
    pub(super) fn remove(&mut self, key: RequestKey) -> Option<CallRequest> {
        let place = self.find(key);
        let entry = *self.entries.get(usize::from(place))?;
        self.unchain(place, &entry);
        self.link(entry.before, entry.behind);
        if let Some(entry) = self.entries.get_mut(usize::from(place)) {
            entry.behind = std::mem::replace(&mut self.free, place);
        }
        Some(entry.request())
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
        let CallRequest { kind, mark: PacketRef { frame: FrameRef { input, number }, at } } = asked;
        let known = self.find(key);
        if let Some(entry) = self.entries.get_mut(usize::from(known)) {
            // References are unique per request; on a duplicate the later request wins.
            *entry = Entry { at, number, input, kind, ..*entry };
            return;
        }
        let place = if self.free == NO_ENTRY { self.entries.len() } else { self.free.into() };
        let Ok(place) = EntryIndex::try_from(place) else { return };
        let (before, behind, alike) = (self.last, NO_ENTRY, self.chain(key, place));
        let entry = Entry { key, at, number, input, before, behind, alike, kind };
        match self.entries.get_mut(usize::from(place)) {
            Some(free) => self.free = std::mem::replace(free, entry).behind,
            None => self.entries.push(entry),
        }
        self.link(before, place);
        self.last = place;
    }

    /// Makes room for one more entry at the end.
    fn make_room(&mut self, memory: &mut Reservation) -> bool {
        let len = self.entries.len();
        if len < self.entries.capacity() {
            return true;
        }
        // Grows fourfold, so that entries are moved rarely. All of them are in use.
        let more = (3 * len).clamp(FIRST, MOST - len);
        let has_room = memory.take(more * (size_of::<Entry>() + HASHES * size_of::<EntryIndex>()));
        if has_room {
            self.entries.reserve_exact(more);
            self.hashes = vec![NO_ENTRY; HASHES * (len + more)];
            for place in 0..len {
                let key = self.entries.get(place).map_or(0, |entry| entry.key);
                let alike = EntryIndex::try_from(place).map_or(NO_ENTRY, |it| self.chain(key, it));
                if let Some(entry) = self.entries.get_mut(place) {
                    entry.alike = alike;
                }
            }
        }
        has_room
    }

    /// The index of the first entry with the hash of `key`.
    #[inline]
    fn head(&mut self, key: RequestKey) -> Option<&mut EntryIndex> {
        let place = hash(key, self.hashes.len());
        self.hashes.get_mut(place)
    }

    /// The index of the entry with this key, or [`NO_ENTRY`].
    #[inline]
    fn find(&self, key: RequestKey) -> EntryIndex {
        let mut place = self.hashes.get(hash(key, self.hashes.len())).copied().unwrap_or(NO_ENTRY);
        while let Some(entry) = self.entries.get(usize::from(place)).filter(|it| it.key != key) {
            place = entry.alike;
        }
        place
    }

    /// Puts the entry at `place` in front of those with the same hash. Gives the next of them.
    #[inline]
    fn chain(&mut self, key: RequestKey, place: EntryIndex) -> EntryIndex {
        self.head(key).map_or(NO_ENTRY, |head| std::mem::replace(head, place))
    }

    /// Takes the entry at `place` from those with the same hash.
    #[inline]
    fn unchain(&mut self, place: EntryIndex, entry: &Entry) {
        let Some(head) = self.head(entry.key) else { return };
        if *head == place {
            *head = entry.alike;
            return;
        }
        let mut other = *head;
        while let Some(it) = self.entries.get_mut(usize::from(other)) {
            if it.alike == place {
                it.alike = entry.alike;
                return;
            }
            other = it.alike;
        }
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

/// The index of the hash of `key` among `count`, a power of two.
#[inline]
fn hash(key: RequestKey, count: usize) -> usize {
    usize::try_from(key & (count as u64).wrapping_sub(1)).unwrap_or(usize::MAX)
}

/// The most pending requests of one side.
const MOST: usize = 1024;

/// The capacity with the first request.
const FIRST: usize = 16;

/// Hashes for each entry that there is room for.
const HASHES: usize = 2;

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
                assert_eq!(pending.get(key).map(|it| it.mark.frame.number), expected);
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
        assert!(pending.entries.capacity() <= MOST && pending.hashes.len() == HASHES * MOST);
    }

    #[test]
    fn without_memory_no_request_is_added_and_pending_ones_stay() {
        let pool =
            MemoryBudget::new(FIRST * (size_of::<Entry>() + HASHES * size_of::<EntryIndex>()));
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
