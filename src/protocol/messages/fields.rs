//! The fields of a message, in Erlang's syntax.
//!
//! In: a control message, the request that it makes or answers, and the atoms of its header. Out: its fields in a
//! [`MessageBatch`]. Terms are formatted here, while their bytes and the atom cache are at hand: the next segment
//! may replace both.

use std::fmt::Write;

use super::atom_cache::HeaderAtoms;
use crate::cursor::Cursor;
use crate::observe::messages::{FieldKind, FieldWriter, MessageBatch, MessageMeta};
use crate::wire::control::{ControlMessage, MOST_FIELDS, OPERATIONS, Operation};
use crate::wire::otp::{Execution, Function, LostConnection, OtpRequest, execution};
use crate::wire::term::{Erlang, Numbered, PrintLimits, Spelling, Term, TermKind};

/// Appends a message that came in one frame, or the first frame of one, to `batch`.
#[inline(never)] // it would take registers from the path of messages that are not printed
pub(super) fn append(
    batch: &mut MessageBatch,
    meta: MessageMeta,
    control: &ControlMessage<'_>,
    reason: Option<Term<'_>>,
    (request, latency_us): (Option<&OtpRequest<'_>>, Option<u64>),
    lost: Option<&LostConnection<'_>>,
    atoms: &HeaderAtoms<'_>,
) {
    batch.append(meta, |writer, cursor| {
        let mut terms = TermWriter { writer, atoms };
        let cursor = terms.control(cursor, control, reason)?;
        match (request, lost) {
            (Some(request), _) => terms.call(cursor, request, latency_us),
            (None, Some(lost)) => terms.lost(cursor, lost),
            (None, None) => Some(cursor),
        }
    });
}

/// The fields of an operation in output order, each with its index in the control message.
type FieldOrder = [Option<(FieldKind, usize)>; MOST_FIELDS + 1];

/// The index that means the term behind the control message, where that is the reason why a process ended.
const REASON: usize = MOST_FIELDS;

/// The order of each operation. Most have their fields in the order in which they are sent.
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated at compile time"
)]
static ORDERS: [FieldOrder; OPERATIONS] = {
    let mut all = [[None; MOST_FIELDS + 1]; OPERATIONS];
    let mut code = 0;
    while code < OPERATIONS {
        all[code] = order(Operation(code as u8));
        code += 1;
    }
    all
};

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn order(operation: Operation) -> FieldOrder {
    let mut order = [None; MOST_FIELDS + 1];
    let Some(fields) = operation.fields() else { return order };
    let mut index = 0;
    while index < fields.len() {
        if let Some(kind) = FieldKind::of(fields[index]) {
            order = inserted(order, kind, index);
        }
        index += 1;
    }
    if operation.has_payload() { inserted(order, FieldKind::Reason, REASON) } else { order }
}

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn inserted(mut order: FieldOrder, kind: FieldKind, index: usize) -> FieldOrder {
    let (mut at, mut carried) = (0, Some((kind, index)));
    while let Some((kind, _)) = carried {
        let goes_here = match order[at] {
            Some((other, _)) => other as u8 > kind as u8,
            None => true,
        };
        if goes_here {
            (order[at], carried) = (carried, order[at]);
        }
        at += 1;
    }
    order
}

/// Writes terms as fields. Its methods give `None` where the message is too long.
struct TermWriter<'w, 'b, 'a> {
    writer: &'w mut FieldWriter<'b>,
    atoms: &'a HeaderAtoms<'a>,
}

impl TermWriter<'_, '_, '_> {
    #[inline]
    fn control<'c>(
        &mut self,
        mut cursor: Cursor<'c>,
        control: &ControlMessage<'_>,
        reason: Option<Term<'_>>,
    ) -> Option<Cursor<'c>> {
        let order = ORDERS.get(usize::from(control.operation.0))?;
        for (kind, index) in order.iter().map_while(|field| *field) {
            let term = if index == REASON { reason } else { control.term(index) };
            if let Some(term) = term {
                cursor = self.control_field(cursor, kind, term)?;
            }
        }
        Some(cursor)
    }

    #[inline(always)] // called once, in the loop over fields
    fn control_field<'c>(
        &mut self,
        cursor: Cursor<'c>,
        kind: FieldKind,
        term: Term<'_>,
    ) -> Option<Cursor<'c>> {
        match kind {
            FieldKind::Reason => {
                self.writer.text(cursor, kind, |out| write_shape(out, term, self.atoms))
            }
            _ => self.term(cursor, kind, term),
        }
    }

    #[inline]
    fn call<'c>(
        &mut self,
        mut cursor: Cursor<'c>,
        request: &OtpRequest<'_>,
        latency_us: Option<u64>,
    ) -> Option<Cursor<'c>> {
        self.writer.begin_call();
        if let Some(tag) = request.reference {
            cursor = self.term(cursor, FieldKind::Tag, tag)?;
        }
        if let Some(label) = request.label() {
            cursor = self.bare_atom(cursor, FieldKind::Request, label)?;
        }
        if let Some(function) = &request.function {
            cursor = self.bare_atom(cursor, FieldKind::Module, function.module)?;
            cursor = self.bare_atom(cursor, FieldKind::Function, function.name)?;
            if let Some(arity) = function.arity {
                cursor = self.writer.number(cursor, FieldKind::Arity, arity.into())?;
            }
        }
        if let Some(latency) = latency_us {
            cursor = self.writer.number(cursor, FieldKind::LatencyUs, latency)?;
        }
        Some(cursor)
    }

    #[cold] // of `global`, when a connection was lost
    fn lost<'c>(&mut self, cursor: Cursor<'c>, lost: &LostConnection<'_>) -> Option<Cursor<'c>> {
        let names = [(FieldKind::LostBy, lost.by), (FieldKind::LostNode, lost.node)];
        let is_known =
            |node: &Term<'_>| node.as_atom(self.atoms).is_some_and(|it| it.text().is_some());
        let mut known = names.into_iter().filter(|(_, node)| is_known(node));
        known.try_fold(cursor, |cursor, (kind, node)| self.bare_atom(cursor, kind, node))
    }

    /// Writes a term. Most are pids, references and atoms whose [`Spelling`] is known: those are copied without the
    /// printer of terms.
    #[inline(never)] // its many live values need all registers
    fn term<'c>(
        &mut self,
        cursor: Cursor<'c>,
        kind: FieldKind,
        term: Term<'_>,
    ) -> Option<Cursor<'c>> {
        let atoms = self.atoms;
        let cursor = if let Some(numbered) = term.as_numbered() {
            match numbered.node.spelling(atoms) {
                Some(node) => write_numbered(cursor, node, &numbered)?,
                None => return self.any_term(cursor, kind, term),
            }
        } else if let Some(atom) = term.spelling(atoms) {
            write_spelling(cursor, atom)?
        } else {
            return self.any_term(cursor, kind, term);
        };
        self.writer.end_field(&cursor, kind, true);
        Some(cursor)
    }

    #[cold]
    fn any_term<'c>(
        &mut self,
        cursor: Cursor<'c>,
        kind: FieldKind,
        term: Term<'_>,
    ) -> Option<Cursor<'c>> {
        self.writer.text(cursor, kind, |out| write_term(out, term, self.atoms))
    }

    /// Writes an atom without quotes.
    fn bare_atom<'c>(
        &mut self,
        cursor: Cursor<'c>,
        kind: FieldKind,
        atom: Term<'_>,
    ) -> Option<Cursor<'c>> {
        let Some(spelling) = atom.spelling(self.atoms) else {
            return self.any_bare_atom(cursor, kind, atom);
        };
        let cursor = cursor.copy_short(spelling.text)?;
        self.writer.end_field(&cursor, kind, true);
        Some(cursor)
    }

    #[cold]
    fn any_bare_atom<'c>(
        &mut self,
        cursor: Cursor<'c>,
        kind: FieldKind,
        atom: Term<'_>,
    ) -> Option<Cursor<'c>> {
        self.writer.text(cursor, kind, |out| {
            if let Some(text) = atom.as_atom(self.atoms) {
                // Writing to a `String` cannot fail.
                let _ = write!(out, "{text}");
            }
        })
    }
}

/// Writes a pid or a reference; `node` is the name of its node.
#[inline(always)] // called once, in `term`
fn write_numbered<'c>(
    cursor: Cursor<'c>,
    node: Spelling<'_>,
    term: &Numbered<'_>,
) -> Option<Cursor<'c>> {
    let cursor = if term.is_reference { cursor.put(b"#Ref<")? } else { cursor.put(b"<")? };
    let cursor = write_spelling(cursor, node)?;
    let cursor = if term.is_reference {
        // Erlang prints the words of a reference from the last to the first.
        term.numbers.rchunks_exact(4).try_fold(cursor, write_number)?
    } else {
        term.numbers.chunks_exact(4).try_fold(cursor, write_number)?
    };
    cursor.put(b">")
}

#[inline]
fn write_number<'c>(cursor: Cursor<'c>, bytes: &[u8]) -> Option<Cursor<'c>> {
    cursor.dot_number(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Writes an atom as Erlang does.
#[inline]
fn write_spelling<'c>(cursor: Cursor<'c>, atom: Spelling<'_>) -> Option<Cursor<'c>> {
    let quotes = usize::from(atom.has_quotes);
    cursor.put_prefix(b"'", quotes)?.copy_short(atom.text)?.put_prefix(b"'", quotes)
}

fn write_term(out: &mut String, term: Term<'_>, atoms: &HeaderAtoms<'_>) {
    // Writing to a `String` cannot fail.
    let _ = Erlang::within(term, atoms, FIELD).write_to(out);
}

/// Writes the outer shape of a reason: what it is, or what it begins with. The rest may be private data.
fn write_shape(out: &mut String, reason: Term<'_>, atoms: &HeaderAtoms<'_>) {
    match reason.kind() {
        TermKind::Atom => write_term(out, reason, atoms),
        TermKind::Tuple => {
            let first = reason.as_tuple().and_then(|mut elements| elements.next());
            match first.filter(|first| first.kind() == TermKind::Atom) {
                Some(first) => {
                    out.push('{');
                    write_term(out, first, atoms);
                    out.push_str(",…}");
                }
                None => out.push_str("{…}"),
            }
        }
        TermKind::List => out.push_str("[…]"),
        TermKind::Map => out.push_str("#{…}"),
        _ => out.push('…'),
    }
}

/// Writes a function as `module:name/arity`.
pub(super) fn write_function(out: &mut String, function: &Function<'_>, atoms: &HeaderAtoms<'_>) {
    write_term(out, function.module, atoms);
    out.push(':');
    write_term(out, function.name, atoms);
    if let Some(arity) = function.arity {
        // Writing to a `String` cannot fail.
        let _ = write!(out, "/{arity}");
    }
}

/// How a function executes what it is given, if it does.
pub(super) fn execution_of(function: &Function<'_>, atoms: &HeaderAtoms<'_>) -> Option<Execution> {
    let module = function.module.as_atom(atoms)?.text()?;
    let name = function.name.as_atom(atoms)?.text()?;
    execution(&module, &name)
}

/// The limits of one field. Pids and references have some 40 bytes, names of nodes at most 511.
pub(super) const FIELD: PrintLimits = PrintLimits { bytes: 600, terms: 64, depth: 16 };
