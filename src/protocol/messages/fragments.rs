//! Messages that come in several frames.
//!
//! In: first fragments and continuations, in any interleaving. Out: each message that is complete. The bytes of a
//! continuation are counted, and kept only for payloads that are printed.

use std::sync::Arc;

use crate::memory::Reservation;
use crate::observe::messages::MessageBatch;
use crate::wire::control::Operation;
use crate::wire::header::FragmentId;

/// The messages of one direction whose last fragment has not come.
#[derive(Debug)]
pub(super) struct FragmentReassembly {
    /// These messages in the order in which they began.
    incomplete: Vec<FragmentedMessage>,
    memory: Reservation,
}

/// A message of which further fragments are to come.
#[derive(Debug)]
pub(super) struct FragmentedMessage {
    sequence: u64,
    /// The `FragmentId` that the next fragment must have: they count down to 1.
    next: u32,
    pub(super) operation: Operation,
    pub(super) fragments: u32,
    /// Bytes of all its frames.
    pub(super) bytes: u64,
    /// Bytes of its message term in all frames.
    pub(super) payload_bytes: u64,
    /// Its fields, if it is to be printed.
    pub(super) begun: Option<MessageBatch>,
    /// The registered name that it is sent to.
    pub(super) name: Option<Box<str>>,
    /// The function that it asks to run.
    pub(super) function: Option<Box<str>>,
    /// The start of its message term, if payloads are printed.
    pub(super) payload: Vec<u8>,
    /// The atoms of its first header, which its message term refers to.
    pub(super) atoms: Vec<Option<Arc<str>>>,
    size: usize,
}

impl FragmentedMessage {
    pub(super) const fn new(fragment: FragmentId, operation: Operation, bytes: u64) -> Self {
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

/// The message that a continuation belongs to.
#[derive(Debug)]
pub(super) enum FragmentOutcome<'a> {
    /// A message of which further fragments are to come.
    Continues(&'a FragmentedMessage),
    /// A message that is complete now.
    Complete(Box<FragmentedMessage>),
    /// A message whose next fragment is another one: it will never be complete.
    OutOfOrder,
    /// A message whose first fragment was not seen.
    Unknown,
}

impl FragmentReassembly {
    pub(super) const fn new(memory: Reservation) -> Self {
        Self { incomplete: Vec::new(), memory }
    }

    /// Adds the first fragment of a message. Gives the number of messages that will therefore never be complete.
    pub(super) fn begin(&mut self, mut message: FragmentedMessage) -> u64 {
        let mut unfinished = 0;
        // The sender begins another message under this number: the rest of the former one will not come.
        if let Some(place) = self.place(message.sequence) {
            self.remove(place);
            unfinished += 1;
        }
        if self.incomplete.len() >= MAX_INCOMPLETE {
            self.remove(0);
            unfinished += 1;
        }
        message.size = MESSAGE_COST
            + message.begun.as_ref().map_or(0, MessageBatch::size)
            + [&message.name, &message.function]
                .into_iter()
                .flatten()
                .map(|it| it.len())
                .sum::<usize>()
            + message.payload.capacity()
            + message.atoms.len() * size_of::<Option<Arc<str>>>();
        if self.memory.take(message.size) {
            self.incomplete.push(message);
        } else {
            unfinished += 1;
        }
        unfinished
    }

    /// Adds a continuation of `bytes` whose payload begins with `start`, of which up to `kept` bytes are kept.
    pub(super) fn add_continuation(
        &mut self,
        fragment: FragmentId,
        bytes: u64,
        payload_bytes: u64,
        start: &[u8],
        kept: usize,
    ) -> FragmentOutcome<'_> {
        let Some(place) = self.place(fragment.sequence) else { return FragmentOutcome::Unknown };
        let Some(message) = self.incomplete.get_mut(place) else { return FragmentOutcome::Unknown };
        if message.next != fragment.left {
            self.remove(place);
            return FragmentOutcome::OutOfOrder;
        }
        message.next -= 1;
        message.fragments += 1;
        message.bytes += bytes;
        message.payload_bytes += payload_bytes;
        let room = kept.saturating_sub(message.payload.len()).min(start.len());
        // Only bytes that follow the kept ones without a gap.
        let is_joined = message.payload_bytes - payload_bytes == message.payload.len() as u64;
        if room > 0 && is_joined && self.memory.take(room) {
            message.size += room;
            message.payload.extend_from_slice(start.get(..room).unwrap_or_default());
        }
        if message.next == 0 {
            let message = self.remove(place).map(Box::new);
            return message.map_or(FragmentOutcome::Unknown, FragmentOutcome::Complete);
        }
        self.incomplete.get(place).map_or(FragmentOutcome::Unknown, FragmentOutcome::Continues)
    }

    /// Forgets all messages, because bytes were lost. Gives the number of messages.
    pub(super) fn forget(&mut self) -> u64 {
        let unfinished = self.incomplete.len() as u64;
        self.incomplete.clear();
        self.memory.release_all();
        unfinished
    }

    /// The number of incomplete messages.
    pub(super) fn len(&self) -> usize {
        self.incomplete.len()
    }

    fn place(&self, sequence: u64) -> Option<usize> {
        self.incomplete.iter().position(|message| message.sequence == sequence)
    }

    fn remove(&mut self, place: usize) -> Option<FragmentedMessage> {
        let message = (place < self.incomplete.len()).then(|| self.incomplete.remove(place))?;
        self.memory.release(message.size);
        Some(message)
    }
}

/// The most incomplete messages at a time: one for each process that sends a long message. Between two fragments, a
/// node sends no more frames of others than its distribution queue holds.
const MAX_INCOMPLETE: usize = 256;

/// Bytes that an incomplete message needs besides its kept bytes, about.
const MESSAGE_COST: usize = size_of::<FragmentedMessage>();
