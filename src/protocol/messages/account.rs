//! The messages of one direction, added up.
//!
//! In: each message by its operation, size, and the name or function that it is for. Out: the sums of an
//! observation. Memory does not grow with the number of messages.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::fragments::FragmentedMessage;
use crate::memory::Reservation;
use crate::observe::{LargestMessage, MessageSums, NameCount};
use crate::packet::PacketRef;
use crate::wire::control::Operation;
use crate::wire::usual::UsualMessage;

/// Messages, and their bytes with all frames.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Count {
    messages: u64,
    bytes: u64,
}

/// The counts of one direction.
#[derive(Debug)]
pub(super) struct MessageAccount {
    /// Counts by number of the operation.
    operations: [Count; OPERATIONS],
    names: Busiest,
    functions: Busiest,
    largest: Option<LargestSeen>,
    pub(super) fragmented: u64,
    pub(super) fragments: u64,
    pub(super) unfinished: u64,
    /// Frames of which the capture lacks the header or the control term.
    pub(super) unreadable: u64,
}

#[derive(Clone, Copy, Debug)]
struct LargestSeen {
    bytes: u64,
    operation: Operation,
    mark: PacketRef,
}

impl MessageAccount {
    pub(super) fn new(memory: impl Fn() -> Reservation) -> Self {
        Self {
            operations: [Count::default(); OPERATIONS],
            names: Busiest::new(memory()),
            functions: Busiest::new(memory()),
            largest: None,
            fragmented: 0,
            fragments: 0,
            unfinished: 0,
            unreadable: 0,
        }
    }

    /// Counts a message in one frame, or the first frame of one.
    pub(super) fn on_message(&mut self, operation: Operation, bytes: u64) {
        if let Some(count) = self.operations.get_mut(usize::from(operation.0)) {
            count.messages += 1;
            count.bytes += bytes;
        }
    }

    /// Counts a message that was read in one pass.
    #[inline]
    pub(super) fn on_usual(&mut self, message: &UsualMessage<'_>, bytes: u64, mark: &PacketRef) {
        self.on_message(message.operation, bytes);
        if let Some(name) = message.name {
            self.names.add_bytes(name, bytes);
        }
        self.on_whole(message.operation, bytes, mark);
    }

    /// Counts a further frame of a message.
    pub(super) fn on_fragment(&mut self, fragmented: &FragmentedMessage, bytes: u64) {
        self.fragments += 1;
        if let Some(count) = self.operations.get_mut(usize::from(fragmented.operation.0)) {
            count.bytes += bytes;
        }
        if let Some(name) = &fragmented.name {
            self.names.add_more(name, bytes);
        }
        if let Some(function) = &fragmented.function {
            self.functions.add_more(function, bytes);
        }
    }

    /// Counts a message to this registered name.
    pub(super) fn on_name(&mut self, name: &str, bytes: u64) {
        self.names.add(name, bytes);
    }

    /// Counts a message that asks to run this function.
    pub(super) fn on_function(&mut self, function: &str, bytes: u64) {
        self.functions.add(function, bytes);
    }

    /// Counts a message whose last frame has come.
    pub(super) fn on_whole(&mut self, operation: Operation, bytes: u64, mark: &PacketRef) {
        if self.largest.is_none_or(|largest| bytes > largest.bytes) {
            self.largest = Some(LargestSeen { bytes, operation, mark: *mark });
        }
    }

    /// The counts, sorted, without the fields that other parts fill in.
    pub(super) fn sums(&self) -> MessageSums {
        let counts = (0..).map(Operation).zip(&self.operations);
        let counts = counts.filter(|(_, count)| count.messages > 0);
        let mut operations: Vec<_> = counts
            .filter_map(|(operation, count)| {
                let Count { messages, bytes } = *count;
                Some(NameCount { name: operation.name()?.into(), messages, bytes })
            })
            .collect();
        operations.sort_by(busiest_first);
        MessageSums {
            operations,
            names: self.names.sums(),
            functions: self.functions.sums(),
            largest: self.largest.map(|largest| LargestMessage {
                bytes: largest.bytes,
                operation: largest.operation.name().unwrap_or_default().into(),
                at: largest.mark,
            }),
            fragmented: self.fragmented,
            fragments: self.fragments,
            unfinished: self.unfinished,
            unreadable: self.unreadable,
            ..MessageSums::default()
        }
    }
}

/// The most frequent names of any number of names.
#[derive(Debug)]
struct Busiest {
    counts: Vec<(Box<str>, Count)>,
    /// The index of each name in `counts`.
    places: HashTable<usize>,
    seed: RandomState,
    /// The index of the last name: names come in bursts, so it is compared first.
    last: usize,
    memory: Reservation,
}

impl Busiest {
    fn new(memory: Reservation) -> Self {
        let (counts, places) = (Vec::new(), HashTable::new());
        Self { counts, places, seed: RandomState::default(), last: 0, memory }
    }

    fn add(&mut self, name: &str, bytes: u64) {
        self.add_bytes(name.as_bytes(), bytes);
    }

    /// The same for a name whose bytes were not yet found to be text.
    #[inline]
    fn add_bytes(&mut self, name: &[u8], bytes: u64) {
        let count = match self.counts.get_mut(self.last) {
            Some((last, count)) if last.as_bytes() == name => count,
            _ => match str::from_utf8(name).ok().and_then(|name| self.find(name)) {
                Some(count) => count,
                None => return,
            },
        };
        count.messages += 1;
        count.bytes += bytes;
    }

    /// Adds the bytes of a further frame of a message.
    fn add_more(&mut self, name: &str, bytes: u64) {
        if let Some(place) = self.place(name)
            && let Some((_, count)) = self.counts.get_mut(place)
        {
            count.bytes += bytes;
        }
    }

    /// The count of a name, which may be new; `None` without memory for it.
    #[inline(never)]
    fn find(&mut self, name: &str) -> Option<&mut Count> {
        if self.counts.len() >= MAX_NAMES {
            self.thin_out();
        }
        self.last = match self.place(name) {
            Some(place) => place,
            None if self.memory.take(name.len() + NAME_COST) => {
                self.counts.push((name.into(), Count::default()));
                self.enter(self.counts.len() - 1);
                self.counts.len() - 1
            }
            None => return None,
        };
        self.counts.get_mut(self.last).map(|(_, count)| count)
    }

    fn place(&self, name: &str) -> Option<usize> {
        let is_it = |place: &usize| self.counts.get(*place).is_some_and(|(it, _)| **it == *name);
        self.places.find(self.seed.hash_one(name), is_it).copied()
    }

    fn enter(&mut self, place: usize) {
        let Self { counts, places, seed, .. } = self;
        let hash = |place: &usize| counts.get(*place).map_or(0, |(name, _)| seed.hash_one(name));
        places.insert_unique(hash(&place), place, hash);
    }

    /// Forgets the less frequent half, so that frequent names are found among any number of rare ones.
    fn thin_out(&mut self) {
        let mut messages: Vec<u64> = self.counts.iter().map(|(_, count)| count.messages).collect();
        let middle = messages.len() / 2;
        let (_, least, _) = messages.select_nth_unstable(middle);
        let least = *least;
        let mut freed = 0;
        self.counts.retain(|(name, count)| {
            let stays = count.messages > least;
            freed += if stays { 0 } else { name.len() + NAME_COST };
            stays
        });
        self.memory.release(freed);
        self.places.clear();
        (0..self.counts.len()).for_each(|place| self.enter(place));
    }

    fn sums(&self) -> Vec<NameCount> {
        let mut shares: Vec<_> = self
            .counts
            .iter()
            .map(|(name, count)| NameCount {
                name: name.clone(),
                messages: count.messages,
                bytes: count.bytes,
            })
            .collect();
        shares.sort_by(busiest_first);
        shares.truncate(REPORTED_NAMES);
        shares
    }
}

fn busiest_first(a: &NameCount, b: &NameCount) -> std::cmp::Ordering {
    b.messages.cmp(&a.messages).then_with(|| a.name.cmp(&b.name))
}

/// One more than the highest number of an operation, 37.
const OPERATIONS: usize = 38;

/// The most names that are counted at a time: far more than are reported.
const MAX_NAMES: usize = 256;

/// The number of names that are reported.
const REPORTED_NAMES: usize = 10;

/// Bytes that a name needs besides its text, about.
const NAME_COST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBudget;

    fn busiest(pool: &MemoryBudget) -> Busiest {
        Busiest::new(pool.reservation())
    }

    #[test]
    fn the_busiest_names_are_found_among_any_number_of_others() {
        let pool = MemoryBudget::new(1 << 20);
        let mut names = busiest(&pool);
        for round in 0..20_000 {
            names.add(&format!("once-{round}"), 1);
            if round % 10 == 0 {
                names.add("rex", 100);
            }
            if round % 50 == 0 {
                names.add("global_name_server", 10);
            }
        }
        let summary = names.sums();
        assert_eq!(
            (&*summary[0].name, summary[0].messages, summary[0].bytes),
            ("rex", 2000, 200_000)
        );
        assert_eq!((&*summary[1].name, summary[1].messages), ("global_name_server", 400));
        assert!(names.counts.len() <= MAX_NAMES);
        assert_eq!(summary.len(), REPORTED_NAMES);
    }

    #[test]
    fn without_memory_no_further_name_is_counted() {
        let pool = MemoryBudget::new(NAME_COST + 3);
        let mut names = busiest(&pool);
        names.add("rex", 1);
        names.add("other", 1);
        names.add("rex", 1);
        assert_eq!(names.sums().len(), 1);
        assert_eq!(names.sums()[0].messages, 2);
        drop(names);
        assert!(pool.reservation().take(NAME_COST + 3), "given back");
    }
}
