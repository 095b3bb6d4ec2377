//! Messages that come in several frames.
//!
//! In: first fragments and continuations, in any interleaving. Out: when a message is whole. What a
//! continuation carries is counted, and kept only for a payload that somebody asked to see.

use std::sync::Arc;

use crate::memory::Reservation;
use crate::observe::messages::MessageBatch;
use crate::wire::control::Operation;
use crate::wire::header::Fragment;

/// The messages of one direction that are under way.
#[derive(Debug)]
pub(super) struct FragmentReassembly {
    /// In the order in which they began.
    under_way: Vec<FragmentedMessage>,
    memory: Reservation,
}

/// One of them.
#[derive(Debug)]
pub(super) struct FragmentedMessage {
    sequence: u64,
    /// The number that the next fragment must have.
    next: u32,
    pub(super) operation: Operation,
    pub(super) fragments: u32,
    /// Bytes of its frames.
    pub(super) bytes: u64,
    /// Bytes of its message term.
    pub(super) payload_bytes: u64,
    /// What is to be told of it, if anything is.
    pub(super) begun: Option<MessageBatch>,
    /// The registered name that it is for.
    pub(super) name: Option<Box<str>>,
    /// The function that it has run.
    pub(super) function: Option<Box<str>>,
    /// The start of its message term, if somebody asked for it.
    pub(super) payload: Vec<u8>,
    /// The atoms of its first header, which its term refers to.
    pub(super) atoms: Vec<Option<Arc<str>>>,
    size: usize,
}

impl FragmentedMessage {
    pub(super) const fn new(fragment: Fragment, operation: Operation, bytes: u64) -> Self {
        Self {
            sequence: fragment.sequence,
            next: fragment.left - 1,
            operation,
            fragments: 1,
            bytes,
            payload_bytes: 0,
            begun: None,
            name: None,
            function: None,
            payload: Vec::new(),
            atoms: Vec::new(),
            size: 0,
        }
    }
}

/// What a continuation belongs to.
#[derive(Debug)]
pub(super) enum Continued<'a> {
    /// A message that goes on behind it.
    GoesOn(&'a FragmentedMessage),
    /// A message that ends with it.
    Whole(Box<FragmentedMessage>),
    /// One whose next part this is not: it will never be whole.
    OutOfOrder,
    /// None that is known.
    Unknown,
}

impl FragmentReassembly {
    pub(super) const fn new(memory: Reservation) -> Self {
        Self { under_way: Vec::new(), memory }
    }

    /// A message begins, of which more is to come. Gives how many others this leaves without an end.
    pub(super) fn begin(&mut self, mut train: FragmentedMessage) -> u64 {
        let mut unfinished = 0;
        // The sender has begun another: what is left of the one before will not come.
        if let Some(place) = self.place(train.sequence) {
            self.remove(place);
            unfinished += 1;
        }
        if self.under_way.len() >= MOST {
            self.remove(0);
            unfinished += 1;
        }
        train.size = TRAIN
            + train.begun.as_ref().map_or(0, MessageBatch::size)
            + [&train.name, &train.function]
                .into_iter()
                .flatten()
                .map(|it| it.len())
                .sum::<usize>()
            + train.payload.capacity()
            + train.atoms.len() * size_of::<Option<Arc<str>>>();
        if self.memory.take(train.size) {
            self.under_way.push(train);
        } else {
            unfinished += 1;
        }
        unfinished
    }

    /// A continuation of `bytes`, its payload with this start, comes.
    pub(super) fn go_on(
        &mut self,
        fragment: Fragment,
        bytes: u64,
        payload_bytes: u64,
        start: &[u8],
        kept: usize,
    ) -> Continued<'_> {
        let Some(place) = self.place(fragment.sequence) else { return Continued::Unknown };
        let Some(train) = self.under_way.get_mut(place) else { return Continued::Unknown };
        if train.next != fragment.left {
            self.remove(place);
            return Continued::OutOfOrder;
        }
        train.next -= 1;
        train.fragments += 1;
        train.bytes += bytes;
        train.payload_bytes += payload_bytes;
        let room = kept.saturating_sub(train.payload.len()).min(start.len());
        // Only what is behind bytes that are all there.
        let is_joined = train.payload_bytes - payload_bytes == train.payload.len() as u64;
        if room > 0 && is_joined && self.memory.take(room) {
            train.size += room;
            train.payload.extend_from_slice(start.get(..room).unwrap_or_default());
        }
        if train.next == 0 {
            let train = self.remove(place).map(Box::new);
            return train.map_or(Continued::Unknown, Continued::Whole);
        }
        self.under_way.get(place).map_or(Continued::Unknown, Continued::GoesOn)
    }

    /// Bytes were lost: no message that is under way will be whole. Gives how many there were.
    pub(super) fn forget(&mut self) -> u64 {
        let unfinished = self.under_way.len() as u64;
        self.under_way.clear();
        self.memory.release_all();
        unfinished
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        self.under_way.iter().position(|train| train.sequence == sequence)
    }

    fn remove(&mut self, place: usize) -> Option<FragmentedMessage> {
        let train = (place < self.under_way.len()).then(|| self.under_way.remove(place))?;
        self.memory.release(train.size);
        Some(train)
    }
}

/// Messages under way at a time, one for each process that sends a long one. A node puts no more frames of
/// others between two fragments than its queue to the other node holds.
const MOST: usize = 256;

/// What one costs beside what it keeps, about.
const TRAIN: usize = size_of::<FragmentedMessage>();
