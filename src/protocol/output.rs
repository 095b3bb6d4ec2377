//! The output of a connection: the observations and messages that one input made it report.
//!
//! In: observations and messages, in the order in which the connection produces them. Out: the same, with one common
//! source. The messages lie in a batch, which is used again for the next input, so that they cost no allocation each.

use std::ops::Range;
use std::sync::Arc;

use crate::observe::messages::{MessageBatch, MessageEvent};
use crate::observe::{
    Anomaly, EpmdObservation, Fact, HandshakeObservation, NodeNames, Observation, ProxyHeaderFacts,
    Settled,
};

/// What one input (a segment, a timer, the end of the capture) made a connection report.
#[derive(Debug, Default)]
pub struct ConnOutput {
    /// Events and ranges of messages, in the order in which the connection produced them.
    events: Vec<ConnEvent>,
    /// The messages that the ranges in `events` refer to.
    pub(super) messages: MessageBatch,
    /// Number of messages that the ranges in `events` cover.
    placed: usize,
    /// Set when the input has been processed and there is something to report.
    source: Option<Settled>,
    /// The names of the nodes of the messages.
    nodes: Option<Arc<NodeNames>>,
}

/// One entry of the output of a connection.
#[derive(Debug)]
pub enum ConnEvent {
    /// An observation other than a message after the handshake.
    Observed(Observed),
    /// Consecutive messages after the handshake: indices for [`ConnOutput::each_message`].
    Messages(Range<usize>),
}

/// One observation, before its time and its connection are added.
#[derive(Debug)]
pub enum Observed {
    /// The state of a distribution connection.
    Connection(Box<Observation>),
    /// A request to EPMD and its outcome.
    Epmd(Box<EpmdObservation>),
    /// One message of a handshake.
    Handshake(Box<HandshakeObservation>),
    /// Data that the protocol does not allow.
    Anomaly(Anomaly),
    /// A PROXY protocol header in front of the protocol.
    ProxyHeader(ProxyHeaderFacts),
}

impl Observed {
    /// The fact that the connection and time of `settled` have this observation.
    pub fn settled(self, settled: Settled) -> Fact {
        match self {
            Self::Connection(seen) => Fact::Connection { settled, seen },
            Self::Epmd(seen) => Fact::Epmd { settled, seen },
            Self::Handshake(message) => Fact::Handshake { settled, message },
            Self::Anomaly(anomaly) => Fact::Anomaly { settled, anomaly },
            Self::ProxyHeader(header) => Fact::ProxyHeader { settled, header },
        }
    }
}

impl ConnOutput {
    /// Whether the connection reported nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.messages.is_empty()
    }

    /// Moves the events out, with their common source; `None` when there are none. The messages stay,
    /// so that [`Self::each_message`] can read the ranges.
    pub fn take_events(&mut self) -> Option<(Settled, Vec<ConnEvent>)> {
        Some((self.source.take()?, std::mem::take(&mut self.events)))
    }

    /// Calls `report` for each message of a range.
    pub fn each_message(
        &self,
        source: &Settled,
        range: Range<usize>,
        mut report: impl FnMut(&MessageEvent<'_>),
    ) {
        let connection = &source.connection;
        for message in self.messages.range(range) {
            report(&MessageEvent { connection, nodes: self.nodes.as_ref(), message });
        }
    }

    /// Empties the output for the next input. `events` is the list of [`Self::take_events`]: its allocation is used
    /// again, as those of the messages are.
    pub fn reuse(&mut self, mut events: Vec<ConnEvent>) {
        events.clear();
        self.events = events;
        self.messages.clear();
        self.placed = 0;
        self.source = None;
        self.nodes = None;
    }

    #[cfg(test)]
    pub(super) fn observed(&self) -> impl DoubleEndedIterator<Item = &Observed> {
        self.events.iter().filter_map(|event| match event {
            ConnEvent::Observed(observed) => Some(observed),
            ConnEvent::Messages(_) => None,
        })
    }

    /// Whether there is an observation other than a message, or a range of messages.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Appends an observation behind the messages of the same input so far.
    pub(super) fn push(&mut self, observed: Observed) {
        self.place_messages();
        self.events.push(ConnEvent::Observed(observed));
    }

    /// Appends an observation in front of the messages of the same input.
    pub(super) fn push_before_messages(&mut self, observed: Observed) {
        self.events.push(ConnEvent::Observed(observed));
    }

    /// Sets the source of everything that the input made the connection report, and the names of the nodes of the
    /// messages; appends the last messages.
    #[inline]
    pub(super) fn complete(&mut self, source: Settled, nodes: Option<&Arc<NodeNames>>) {
        self.place_messages();
        self.source.get_or_insert(source);
        self.nodes = nodes.filter(|_| !self.messages.is_empty()).cloned();
    }

    /// Appends the range of the messages that no range covers yet.
    #[inline]
    fn place_messages(&mut self) {
        let (begin, end) = (self.placed, self.messages.len());
        if begin < end {
            self.events.push(ConnEvent::Messages(begin..end));
            self.placed = end;
        }
    }
}
