//! The messages of one segment, on their way from the connection to the output.
//!
//! In: control messages, and the atoms of their headers. Out: each with its terms as text. Kept in one
//! text for all, which is used again for the next segment: a message costs no allocation.

use std::fmt::Write;

use super::atom_cache::HeaderAtoms;
use crate::event::{Call, Mark, Message, Payload, PayloadStyle, Role};
use crate::wire::control::{ControlMessage, Field};
use crate::wire::otp::{Execution, Request, RequestKind, execution};
use crate::wire::term::{AtomText, Budget, Erlang, Kind, Term, expand};

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub struct MessageLog {
    entries: Vec<Entry>,
    text: String,
    payloads: Vec<u8>,
}

/// One message: where its terms stand in the log's text.
#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: Mark,
    from: Role,
    operation: &'static str,
    /// By [`Field`].
    fields: [Option<Span>; FIELDS],
    call: Option<CallEntry>,
    fragments: u32,
    payload_octets: Option<u64>,
    payload: Option<Span>,
    style: PayloadStyle,
    execution: Option<Execution>,
}

#[derive(Clone, Copy, Debug)]
struct CallEntry {
    kind: RequestKind,
    tag: Option<Span>,
    request: Option<Span>,
    module: Option<Span>,
    function: Option<Span>,
    arity: Option<u32>,
    latency_us: Option<u64>,
}

/// From one octet of the text to another.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: usize,
    to: usize,
}

/// A message that goes on in further frames.
#[derive(Debug)]
pub(super) struct Begun(MessageLog);

/// What is to be told of a message beside its terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) mark: Mark,
    pub(super) from: Role,
    pub(super) payload_octets: Option<u64>,
    pub(super) latency_us: Option<u64>,
}

impl MessageLog {
    /// Whether nothing was said.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything, and keeps the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.payloads.clear();
    }

    /// Each message, and the packet that brought its last octet.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, Message<'_>)> {
        self.entries.iter().map(|entry| (entry.mark, self.message(entry)))
    }

    fn message(&self, entry: &Entry) -> Message<'_> {
        let text = |span: Option<Span>| self.text.get(span?.from..span?.to);
        let field = |field: Field| text(*entry.fields.get(field as usize)?);
        Message {
            from: entry.from,
            operation: entry.operation,
            from_pid: field(Field::From),
            to: field(Field::To),
            to_name: field(Field::ToName),
            reference: field(Field::Reference),
            reason: field(Field::Reason),
            id: field(Field::Id),
            group_leader: field(Field::GroupLeader),
            mfa: field(Field::Mfa),
            options: field(Field::Options),
            flags: field(Field::Flags),
            result: field(Field::Result),
            token: field(Field::Token),
            call: entry.call.map(|call| Call {
                kind: call.kind.name(),
                tag: text(call.tag),
                request: text(call.request),
                module: text(call.module),
                function: text(call.function),
                arity: call.arity,
                latency_us: call.latency_us,
            }),
            fragments: entry.fragments,
            payload_octets: entry.payload_octets,
            payload: entry.payload.and_then(|span| {
                let octets = self.payloads.get(span.from..span.to)?;
                Some(Payload { term: Term::cut_off(octets), style: entry.style })
            }),
            execution: entry.execution,
        }
    }

    /// Adds a message that came in one frame, or the first of several.
    pub(super) fn add(
        &mut self,
        control: &ControlMessage<'_>,
        reason: Option<Term<'_>>,
        request: Option<&Request<'_>>,
        atoms: HeaderAtoms<'_>,
        told: Told,
    ) {
        let mut fields = [None; FIELDS];
        for (field, term) in control.fields() {
            let span = match field {
                Field::Unused => continue,
                Field::Reason => self.shape(term, atoms),
                _ => self.term(term, atoms),
            };
            if let Some(place) = fields.get_mut(field as usize) {
                *place = Some(span);
            }
        }
        if let (Some(reason), Some(place)) = (reason, fields.get_mut(Field::Reason as usize)) {
            *place = Some(self.shape(reason, atoms));
        }
        let execution = request.and_then(|request| executed(request, atoms));
        let call = request.map(|request| CallEntry {
            kind: request.kind,
            tag: request.reference.map(|tag| self.display(&tag.display(&atoms))),
            request: request.label.map(|label| self.atom(label, atoms)),
            module: request.function.map(|function| self.atom(function.module, atoms)),
            function: request.function.map(|function| self.atom(function.name, atoms)),
            arity: request.function.and_then(|function| function.arity),
            latency_us: told.latency_us,
        });
        self.entries.push(Entry {
            mark: told.mark,
            from: told.from,
            operation: control.operation.name().unwrap_or("unassigned"),
            fields,
            call,
            fragments: 1,
            payload_octets: told.payload_octets,
            payload: None,
            style: PayloadStyle::Erlang,
            execution,
        });
    }
}
