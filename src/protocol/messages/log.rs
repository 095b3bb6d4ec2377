//! The messages of one segment, on their way from the connection to the output.
//!
//! In: control messages, and the atoms of their headers. Out: each in the [words](Wording) of its line. Kept in
//! one text for all, which is used again for the next segment: a message costs no allocation.

use std::fmt::Write;
use std::sync::Arc;

use super::atom_cache::HeaderAtoms;
use crate::packet::PacketRef;
use crate::record::pen::Pen;
use crate::record::{
    Facts, Part, Payload, PayloadStyle, Role, RuleTrigger, Wording, WordingMark, Wordings, Words,
};
use crate::wire::control::{ControlMessage, MOST_FIELDS, OPERATIONS, Operation};
use crate::wire::otp::{Execution, Function, Request, execution};
use crate::wire::term::{Budget, Erlang, Kind, Spelling, Term};

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub struct MessageLog {
    entries: Vec<Entry>,
    wordings: Wordings,
    payloads: Vec<u8>,
    /// The atoms of the headers of messages with payloads.
    atoms: Vec<Option<Arc<str>>>,
}

/// One message.
#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: PacketRef,
    facts: Facts,
    /// Where its words end; they begin where those of the message before it end.
    end: WordingMark,
    payload: Option<PayloadEntry>,
}

/// Of a stretch.
type Ends = (usize, usize);

#[derive(Clone, Copy, Debug)]
struct PayloadEntry {
    bytes: Ends,
    atoms: Ends,
    style: PayloadStyle,
}

/// What is to be told of a message beside its terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) mark: PacketRef,
    pub(super) from: Role,
    pub(super) payload_bytes: Option<u64>,
    pub(super) latency_us: Option<u64>,
    pub(super) trigger: Option<RuleTrigger>,
}

impl MessageLog {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The number of messages in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets everything, and keeps the room.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.wordings.clear();
        self.payloads.clear();
        self.atoms.clear();
    }

    /// Each message, and the packet that brought its last byte.
    pub fn iter(&self) -> impl Iterator<Item = (PacketRef, Wording<'_>)> {
        let mut begin = WordingMark::default();
        self.entries.iter().map(move |entry| {
            let mut wording = self.wordings.wording(begin, entry.end, &entry.facts);
            begin = entry.end;
            if let Some(payload) = &entry.payload {
                wording.payload = self.payload(payload);
            }
            (entry.mark, wording)
        })
    }

    fn payload(&self, payload: &PayloadEntry) -> Option<Payload<'_>> {
        let term = Term::cut_off(self.payloads.get(payload.bytes.0..payload.bytes.1)?);
        let atoms = self.atoms.get(payload.atoms.0..payload.atoms.1)?;
        Some(Payload { term, atoms, style: payload.style })
    }

    /// Adds a message that came in one frame, or the first of several.
    pub(super) fn add(
        &mut self,
        control: &ControlMessage<'_>,
        reason: Option<Term<'_>>,
        request: Option<&Request<'_>>,
        atoms: &HeaderAtoms<'_>,
        told: &Told,
    ) {
        let operation = control.operation;
        let end = self.wordings.add(|words, pen| {
            let mut writer = Writer { words, atoms };
            let pen = Words::begin(pen, told.from, operation)?;
            let pen = writer.fields(pen, control, reason)?;
            match request {
                Some(request) => writer.call(pen, request, told.latency_us),
                None => Some(pen),
            }
        });
        let facts = Facts {
            from: told.from,
            operation,
            call: request.map(|request| request.kind),
            fragments: 1,
            payload_bytes: told.payload_bytes,
            trigger: told.trigger,
        };
        self.entries.push(Entry { mark: told.mark, facts, end, payload: None });
    }

    /// Gives the message added last its payload, or as much of it as is kept.
    pub(super) fn set_payload(
        &mut self,
        bytes: &[u8],
        atoms: impl Iterator<Item = Option<Arc<str>>>,
        style: PayloadStyle,
    ) {
        let Some(entry) = self.entries.last_mut() else { return };
        let (from, first_atom) = (self.payloads.len(), self.atoms.len());
        self.payloads.extend_from_slice(bytes);
        self.atoms.extend(atoms);
        entry.payload = Some(PayloadEntry {
            bytes: (from, self.payloads.len()),
            atoms: (first_atom, self.atoms.len()),
            style,
        });
    }

    /// Takes the message added last out, to be put back when all of it is here. It has no payload yet.
    pub(super) fn take_last(&mut self) -> Option<Self> {
        let entry = self.entries.pop()?;
        let begin = self.entries.last().map(|before| before.end).unwrap_or_default();
        let wordings = self.wordings.split_off(begin);
        Some(Self { entries: vec![entry], wordings, ..Self::default() })
    }

    /// Puts back what was taken out, now that it is here as a whole.
    pub(super) fn put_back(&mut self, begun: &Self, mark: PacketRef, fragments: u32, bytes: u64) {
        let Some(Entry { facts, .. }) = begun.entries.first() else { return };
        let facts = Facts { fragments, payload_bytes: Some(bytes), ..*facts };
        let end = self.wordings.append(&begun.wordings);
        self.entries.push(Entry { mark, facts, end, payload: None });
    }

    /// Bytes that this takes, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Entry>() + self.wordings.size()
    }
}

/// What is told of a message, in the order in which that is done: each with its place among the terms.
type Order = [Option<(Part, usize)>; MOST_FIELDS + 1];

/// The place of what follows a control term, where that is the reason why a process ended.
const REASON: usize = MOST_FIELDS;

/// That of each operation. Most tell their fields in the order in which they are sent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "while it is compiled"
)]
static ORDERS: [Order; OPERATIONS] = {
    let mut all = [[None; MOST_FIELDS + 1]; OPERATIONS];
    let mut code = 0;
    while code < OPERATIONS {
        all[code] = order(Operation(code as u8));
        code += 1;
    }
    all
};

#[expect(clippy::indexing_slicing, reason = "while it is compiled")]
const fn order(operation: Operation) -> Order {
    let mut order = [None; MOST_FIELDS + 1];
    let Some(fields) = operation.fields() else { return order };
    let mut place = 0;
    while place < fields.len() {
        if let Some(part) = Part::of(fields[place]) {
            order = inserted(order, part, place);
        }
        place += 1;
    }
    if operation.has_payload() { inserted(order, Part::Reason, REASON) } else { order }
}

#[expect(clippy::indexing_slicing, reason = "while it is compiled")]
const fn inserted(mut order: Order, part: Part, place: usize) -> Order {
    let (mut at, mut carried) = (0, Some((part, place)));
    while let Some((part, _)) = carried {
        let stands_behind = match order[at] {
            Some((known, _)) => known as u8 > part as u8,
            None => true,
        };
        if stands_behind {
            (order[at], carried) = (carried, order[at]);
        }
        at += 1;
    }
    order
}

/// Puts terms into words. `None` where there is no room.
struct Writer<'a, 'w> {
    words: &'a mut Words<'w>,
    atoms: &'a HeaderAtoms<'a>,
}

impl Writer<'_, '_> {
    #[inline]
    fn fields<'p>(
        &mut self,
        mut pen: Pen<'p>,
        control: &ControlMessage<'_>,
        reason: Option<Term<'_>>,
    ) -> Option<Pen<'p>> {
        let order = ORDERS.get(usize::from(control.operation.0))?;
        for (part, place) in order.iter().map_while(|told| *told) {
            let term = if place == REASON { reason } else { control.term(place) };
            if let Some(term) = term {
                pen = self.field(pen, part, term)?;
            }
        }
        Some(pen)
    }

    #[inline(always)] // into the one place that it is called from
    fn field<'p>(&mut self, pen: Pen<'p>, part: Part, term: Term<'_>) -> Option<Pen<'p>> {
        match part {
            Part::Reason => self.words.text(pen, part, |out| write_shape(out, term, self.atoms)),
            _ => self.term(pen, part, term),
        }
    }

    #[inline]
    fn call<'p>(
        &mut self,
        mut pen: Pen<'p>,
        request: &Request<'_>,
        latency_us: Option<u64>,
    ) -> Option<Pen<'p>> {
        pen = Words::begin_call(pen, request.kind)?;
        if let Some(tag) = request.reference {
            pen = self.term(pen, Part::Tag, tag)?;
        }
        if let Some(label) = request.label() {
            pen = self.atom(pen, Part::Request, label)?;
        }
        let mut arity = None;
        if let Some(function) = &request.function {
            pen = self.atom(pen, Part::Module, function.module)?;
            pen = self.atom(pen, Part::Function, function.name)?;
            arity = function.arity;
        }
        Words::end_call(pen, arity, latency_us)
    }

    /// A term in Erlang's syntax. Most are pids, references, and atoms, of which most have a [`Spelling`].
    #[inline(never)] // it needs all registers
    fn term<'p>(&mut self, pen: Pen<'p>, part: Part, term: Term<'_>) -> Option<Pen<'p>> {
        let atoms = self.atoms;
        if let Some(numbered) = term.as_numbered() {
            if let Some(node) = numbered.node.spelling(atoms) {
                return Words::numbered(pen, part, node, &numbered);
            }
        } else if let Some(atom) = term.spelling(atoms) {
            return Words::atom(pen, part, atom);
        }
        self.other(pen, part, term)
    }

    #[cold]
    fn other<'p>(&mut self, pen: Pen<'p>, part: Part, term: Term<'_>) -> Option<Pen<'p>> {
        self.words.text(pen, part, |out| write_term(out, term, self.atoms))
    }

    /// An atom without quotes.
    fn atom<'p>(&mut self, pen: Pen<'p>, part: Part, atom: Term<'_>) -> Option<Pen<'p>> {
        match atom.spelling(self.atoms) {
            Some(known) => Words::atom(pen, part, Spelling { has_quotes: false, ..known }),
            None => self.other_atom(pen, part, atom),
        }
    }

    #[cold]
    fn other_atom<'p>(&mut self, pen: Pen<'p>, part: Part, atom: Term<'_>) -> Option<Pen<'p>> {
        self.words.text(pen, part, |out| {
            if let Some(text) = atom.as_atom(self.atoms) {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "{text}");
            }
        })
    }
}

fn write_term(out: &mut String, term: Term<'_>, atoms: &HeaderAtoms<'_>) {
    // Writing to a `String` cannot fail.
    let _ = Erlang::within(term, atoms, FIELD).write_to(out);
}

/// The outer shape of a reason: what it is, or begins with; the rest may be anybody's data.
fn write_shape(out: &mut String, reason: Term<'_>, atoms: &HeaderAtoms<'_>) {
    match reason.kind() {
        Kind::Atom => write_term(out, reason, atoms),
        Kind::Tuple => {
            let first = reason.as_tuple().and_then(|mut elements| elements.next());
            match first.filter(|first| first.kind() == Kind::Atom) {
                Some(first) => {
                    out.push('{');
                    write_term(out, first, atoms);
                    out.push_str(",…}");
                }
                None => out.push_str("{…}"),
            }
        }
        Kind::List => out.push_str("[…]"),
        Kind::Map => out.push_str("#{…}"),
        _ => out.push('…'),
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

/// A field as text: pids and references have some 40 bytes, names of nodes 511 at most.
pub(super) const FIELD: Budget = Budget { bytes: 600, terms: 64, depth: 16 };
