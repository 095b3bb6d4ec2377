//! The messages of one segment, on their way from the connection to the output.
//!
//! In: control messages, and the atoms of their headers. Out: each with its terms as text. Kept in one
//! text for all, which is used again for the next segment: a message costs no allocation.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use super::atom_cache::HeaderAtoms;
use crate::event::{Call, Mark, Message, Payload, PayloadStyle, Role, Telling};
use crate::wire::control::{ControlMessage, Field};
use crate::wire::otp::{Execution, Function, Request, RequestKind, execution};
use crate::wire::term::{Budget, Erlang, Kind, Term};

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub struct MessageLog {
    entries: Vec<Entry>,
    text: String,
    payloads: Vec<u8>,
    /// The atoms of the headers of messages with payloads.
    atoms: Vec<Option<Arc<str>>>,
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
    payload: Option<PayloadEntry>,
    telling: Option<Telling>,
}

#[derive(Clone, Copy, Debug)]
struct PayloadEntry {
    octets: Span,
    atoms: Span,
    style: PayloadStyle,
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

/// From one octet of the text to another. An entry holds a dozen, so that they are small: what the messages of
/// one segment say is far below 4 GiB.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u32,
    to: u32,
}

impl Span {
    fn new(from: usize, to: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { from: place(from), to: place(to) }
    }

    const fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }

    /// The same stretch, were the text before it `more` octets longer and `fewer` shorter.
    fn moved(self, more: usize, fewer: usize) -> Self {
        let place = |at: u32| (at as usize).saturating_add(more).saturating_sub(fewer);
        Self::new(place(self.from), place(self.to))
    }
}

/// What is to be told of a message beside its terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) mark: Mark,
    pub(super) from: Role,
    pub(super) payload_octets: Option<u64>,
    pub(super) latency_us: Option<u64>,
    pub(super) telling: Option<Telling>,
}

impl MessageLog {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything, and keeps the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.payloads.clear();
        self.atoms.clear();
    }

    /// Each message, and the packet that brought its last octet.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, Message<'_>)> {
        self.entries.iter().map(|entry| (entry.mark, self.message(entry)))
    }

    fn message(&self, entry: &Entry) -> Message<'_> {
        let text = |span: Option<Span>| self.text.get(span?.range());
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
            payload: entry.payload.and_then(|PayloadEntry { octets, atoms, style }| {
                let term = Term::cut_off(self.payloads.get(octets.range())?);
                Some(Payload { term, atoms: self.atoms.get(atoms.range())?, style })
            }),
            telling: entry.telling,
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
        let call = request.map(|request| CallEntry {
            kind: request.kind,
            tag: request.reference.map(|tag| self.term(tag, atoms)),
            request: request.label().map(|label| self.atom(label, atoms)),
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
            telling: told.telling,
        });
    }

    /// Gives the message added last its payload, or as much of it as is kept.
    pub(super) fn set_payload(
        &mut self,
        octets: &[u8],
        atoms: impl Iterator<Item = Option<Arc<str>>>,
        style: PayloadStyle,
    ) {
        let Some(entry) = self.entries.last_mut() else { return };
        let (from, first_atom) = (self.payloads.len(), self.atoms.len());
        self.payloads.extend_from_slice(octets);
        self.atoms.extend(atoms);
        entry.payload = Some(PayloadEntry {
            octets: Span::new(from, self.payloads.len()),
            atoms: Span::new(first_atom, self.atoms.len()),
            style,
        });
    }

    /// Takes the message added last out, to be put back when all of it is here. It has no payload yet.
    pub(super) fn take_last(&mut self) -> Option<Self> {
        let mut entry = self.entries.pop()?;
        let from = entry.spans().map(|span| span.range().start).min();
        let from = from.unwrap_or(self.text.len());
        let text = self.text.split_off(from);
        entry.spans().for_each(|span| *span = span.moved(0, from));
        Some(Self { entries: vec![entry], text, payloads: Vec::new(), atoms: Vec::new() })
    }

    /// Puts back what was taken out, now that it is here as a whole.
    pub(super) fn put_back(&mut self, begun: &Self, mark: Mark, fragments: u32, octets: u64) {
        let Some(mut entry) = begun.entries.first().copied() else { return };
        let from = self.text.len();
        self.text.push_str(&begun.text);
        entry.spans().for_each(|span| *span = span.moved(from, 0));
        entry.mark = mark;
        entry.fragments = fragments;
        entry.payload_octets = Some(octets);
        self.entries.push(entry);
    }

    /// Octets that this takes, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Entry>() + self.text.len()
    }

    fn term(&mut self, term: Term<'_>, atoms: HeaderAtoms<'_>) -> Span {
        let from = self.text.len();
        // Writing to a `String` cannot fail.
        let _ = Erlang::within(term, &atoms, FIELD).write_to(&mut self.text);
        Span::new(from, self.text.len())
    }

    /// An atom without quotes.
    fn atom(&mut self, atom: Term<'_>, atoms: HeaderAtoms<'_>) -> Span {
        let from = self.text.len();
        if let Some(text) = atom.as_atom(&atoms) {
            let _ = write!(self.text, "{text}");
        }
        Span::new(from, self.text.len())
    }

    /// The outer shape of a reason: what it is, or begins with; the rest may be anybody's data.
    fn shape(&mut self, reason: Term<'_>, atoms: HeaderAtoms<'_>) -> Span {
        let from = self.text.len();
        match reason.kind() {
            Kind::Atom => return self.term(reason, atoms),
            Kind::Tuple => {
                let first = reason.as_tuple().and_then(|mut elements| elements.next());
                match first.filter(|first| first.kind() == Kind::Atom) {
                    Some(first) => {
                        self.text.push('{');
                        self.term(first, atoms);
                        self.text.push_str(",…}");
                    }
                    None => self.text.push_str("{…}"),
                }
            }
            Kind::List => self.text.push_str("[…]"),
            Kind::Map => self.text.push_str("#{…}"),
            _ => self.text.push('…'),
        }
        Span::new(from, self.text.len())
    }
}

impl Entry {
    /// Every place in the text that it holds.
    fn spans(&mut self) -> impl Iterator<Item = &mut Span> {
        let call = self.call.iter_mut().flat_map(|call| {
            [&mut call.tag, &mut call.request, &mut call.module, &mut call.function]
        });
        self.fields.iter_mut().chain(call).flatten()
    }
}

/// Writes `module:name/arity`.
pub(super) fn write_function(out: &mut String, function: &Function<'_>, atoms: HeaderAtoms<'_>) {
    let text = |atom: Term<'_>, out: &mut String| {
        // Writing to a `String` cannot fail.
        let _ = Erlang::within(atom, &atoms, FIELD).write_to(out);
    };
    text(function.module, out);
    out.push(':');
    text(function.name, out);
    if let Some(arity) = function.arity {
        let _ = write!(out, "/{arity}");
    }
}

/// What a function does on the node that runs it, where that is to run what it is told.
pub(super) fn execution_of(function: &Function<'_>, atoms: HeaderAtoms<'_>) -> Option<Execution> {
    let module = function.module.as_atom(&atoms)?.text()?;
    let name = function.name.as_atom(&atoms)?.text()?;
    execution(&module, &name)
}

/// Values of [`Field`].
const FIELDS: usize = 13;

/// A field as text: pids and references have some 40 octets, names of nodes 511 at most.
const FIELD: Budget = Budget { octets: 600, terms: 64, depth: 16 };
