//! Events and messages as lines of JSON, their schema, and the way back.
//!
//! In: events and messages. Out: one JSON object a line, and from such lines the session records again.

mod escaped;
mod facts;
mod message;
mod ndjson;
mod observations;
mod read;
mod schema;
mod term;

use std::io;
use std::sync::Arc;

pub use facts::{NoFacts, facts_line, read_facts, summary_line};
pub use ndjson::json_line;
pub use observations::{KeptObservations, NoObservations, observations_head, write_observation};
pub use read::{KeptEvents, PairRecord, ReadError, Records, input_names};
pub use schema::schema;
pub use term::JsonTerm;

use super::{InputNames, Renderer, TermStyle};
use crate::cursor::LineBuffer;
use crate::observe::messages::MessageEvent;
use crate::record::Event;

/// Writes each event and each message as one line of JSON.
pub(super) struct JsonLines {
    inputs: InputNames,
    messages: message::MessageLines,
}

impl JsonLines {
    pub(super) fn new(inputs: InputNames, terms: TermStyle) -> Self {
        Self { inputs, messages: message::MessageLines::new(terms) }
    }
}

impl Renderer for JsonLines {
    fn record(&mut self, seq: u64, event: &Event, out: &mut LineBuffer) -> io::Result<()> {
        ndjson::write(out, seq, self.inputs.of(event).map(|input| &**input), event)
    }

    fn set_inputs(&mut self, inputs: InputNames) {
        self.inputs = inputs;
    }

    fn message(
        &mut self,
        seq: u64,
        event: &MessageEvent<'_>,
        out: &mut LineBuffer,
    ) -> io::Result<()> {
        let Self { inputs, messages } = self;
        messages.write(out, seq, |input| inputs.get(input).map(Arc::clone), event)
    }
}
