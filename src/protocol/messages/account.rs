//! What one side has sent, added up.
//!
//! In: each message by its operation, size, and whom or what it is for. Out: the account of a session
//! record. Takes no more room the longer it goes on.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::fragments::FragmentedMessage;
use crate::memory::Reservation;
use crate::observe::{LargestMessage, MessageSums, NameCount};
use crate::packet::PacketRef;
use crate::wire::control::Operation;

/// Messages, and their bytes with all frames.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Count {
    messages: u64,
    bytes: u64,
}

/// The account of one direction.
#[derive(Debug)]
pub(super) struct Account {
    /// By number.
    operations: [Count; OPERATIONS],
    names: Busiest,
    functions: Busiest,
    largest: Option<Largest>,
    pub(super) fragmented: u64,
    pub(super) fragments: u64,
    pub(super) unfinished: u64,
    /// Messages of which the capture lacks what tells what they are.
    pub(super) unreadable: u64,
}

#[derive(Clone, Copy, Debug)]
struct Largest {
    bytes: u64,
    operation: Operation,
    mark: PacketRef,
}

impl Account {
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

    /// A message of one frame, or the first of several.
    pub(super) fn on_message(&mut self, operation: Operation, bytes: u64) {
        if let Some(count) = self.operations.get_mut(usize::from(operation.0)) {
            count.messages += 1;
            count.bytes += bytes;
        }
    }

    /// A further frame of a message.
    pub(super) fn on_fragment(&mut self, train: &FragmentedMessage, bytes: u64) {
        self.fragments += 1;
        if let Some(count) = self.operations.get_mut(usize::from(train.operation.0)) {
            count.bytes += bytes;
        }
        if let Some(name) = &train.name {
            self.names.add_more(name, bytes);
        }
        if let Some(function) = &train.function {
            self.functions.add_more(function, bytes);
        }
    }

    /// It is for this registered name.
    pub(super) fn on_name(&mut self, name: &str, bytes: u64) {
        self.names.add(name, bytes);
    }

    /// It has this function run.
    pub(super) fn on_function(&mut self, function: &str, bytes: u64) {
        self.functions.add(function, bytes);
    }

    /// All of a message was sent.
    pub(super) fn on_whole(&mut self, operation: Operation, bytes: u64, mark: &PacketRef) {
        if self.largest.is_none_or(|largest| bytes > largest.bytes) {
            self.largest = Some(Largest { bytes, operation, mark: *mark });
        }
    }

    /// As a record tells it.
    pub(super) fn told(&self) -> MessageSums {
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
            names: self.names.told(),
            functions: self.functions.told(),
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

/// The names that come most often, of any number of names.
#[derive(Debug)]
struct Busiest {
    counts: Vec<(Box<str>, Count)>,
    /// Where each is.
    places: HashTable<usize>,
    seed: RandomState,
    /// Where the one is that came last: names come in bursts.
    last: usize,
    memory: Reservation,
}

impl Busiest {
    fn new(memory: Reservation) -> Self {
        let (counts, places) = (Vec::new(), HashTable::new());
        Self { counts, places, seed: RandomState::default(), last: 0, memory }
    }

    fn add(&mut self, name: &str, bytes: u64) {
        let count = match self.counts.get_mut(self.last) {
            Some((last, count)) if **last == *name => count,
            _ => match self.find(name) {
                Some(count) => count,
                None => return,
            },
        };
        count.messages += 1;
        count.bytes += bytes;
    }

    /// A message that was added goes on.
    fn add_more(&mut self, name: &str, bytes: u64) {
        if let Some(place) = self.place(name) {
            if let Some((_, count)) = self.counts.get_mut(place) {
                count.bytes += bytes;
            }
        }
    }

    /// The count of a name, which may be new; `None` without room for it.
    #[inline(never)]
    fn find(&mut self, name: &str) -> Option<&mut Count> {
        if self.counts.len() >= MOST_NAMES {
            self.thin_out();
        }
        self.last = match self.place(name) {
            Some(place) => place,
            None if self.memory.take(name.len() + NAME) => {
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

    /// Forgets the half that came least often: what remains is found among many that came once.
    fn thin_out(&mut self) {
        let mut messages: Vec<u64> = self.counts.iter().map(|(_, count)| count.messages).collect();
        let middle = messages.len() / 2;
        let (_, least, _) = messages.select_nth_unstable(middle);
        let least = *least;
        let mut freed = 0;
        self.counts.retain(|(name, count)| {
            let stays = count.messages > least;
            freed += if stays { 0 } else { name.len() + NAME };
            stays
        });
        self.memory.release(freed);
        self.places.clear();
        (0..self.counts.len()).for_each(|place| self.enter(place));
    }

    fn told(&self) -> Vec<NameCount> {
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
        shares.truncate(TOLD);
        shares
    }
}

fn busiest_first(a: &NameCount, b: &NameCount) -> std::cmp::Ordering {
    b.messages.cmp(&a.messages).then_with(|| a.name.cmp(&b.name))
}

/// Operations are numbered up to 37.
const OPERATIONS: usize = 38;

/// Names counted at a time: far more than are told.
const MOST_NAMES: usize = 256;

/// Names told.
const TOLD: usize = 10;

/// What a name costs beside its text, about.
const NAME: usize = 64;

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
        let told = names.told();
        assert_eq!((&*told[0].name, told[0].messages, told[0].bytes), ("rex", 2000, 200_000));
        assert_eq!((&*told[1].name, told[1].messages), ("global_name_server", 400));
        assert!(names.counts.len() <= MOST_NAMES);
        assert_eq!(told.len(), TOLD);
    }

    #[test]
    fn without_room_no_further_name_is_counted() {
        let pool = MemoryBudget::new(NAME + 3);
        let mut names = busiest(&pool);
        names.add("rex", 1);
        names.add("other", 1);
        names.add("rex", 1);
        assert_eq!(names.told().len(), 1);
        assert_eq!(names.told()[0].messages, 2);
        drop(names);
        assert!(pool.reservation().take(NAME + 3), "given back");
    }
}
