//! The messages of one segment, on their way from the connection to the output.
//!
//! In: control messages, and the atoms of their headers. Out: each with its terms as they are printed. Kept
//! in one text for all, which is used again for the next segment: a message costs no allocation.

use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use super::atom_cache::HeaderAtoms;
use super::spelling::Spellings;
use crate::event::{Call, Mark, Message, Payload, PayloadStyle, Printed, Role, Telling};
use crate::wire::control::{ControlMessage, Field};
use crate::wire::otp::{Execution, Function, Request, RequestKind, execution};
use crate::wire::term::{Budget, Erlang, Kind, MAX_WORDS, Term};

/// Messages in the order in which they came.
#[derive(Debug, Default)]
pub struct MessageLog {
    entries: Vec<Entry>,
    /// What they hold, message for message.
    parts: Vec<(Part, Piece)>,
    text: String,
    spellings: Spellings,
    payloads: Vec<u8>,
    /// The atoms of the headers of messages with payloads.
    atoms: Vec<Option<Arc<str>>>,
}

/// One message.
#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: Mark,
    from: Role,
    operation: &'static str,
    /// Where its parts end; they begin where those of the message before it end.
    parts: usize,
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
    arity: Option<u32>,
    latency_us: Option<u64>,
}

/// What a term is in its message.
#[derive(Clone, Copy, Debug)]
enum Part {
    Field(Field),
    Tag,
    Request,
    Module,
    Function,
}

/// A term, ready to be [`Printed`].
#[derive(Clone, Copy, Debug)]
enum Piece {
    /// In the log's text.
    Text(Span),
    /// In its spellings.
    Atom(Span),
    /// The name of the node in its spellings, and the numbers as they are printed.
    Pid(Span, [u32; 2]),
    /// The same, and how many numbers there are.
    Reference(Span, usize, [u32; MAX_WORDS]),
}

/// From one octet of a text to another. There are many, so that they are small: what the messages of one
/// segment say is far below 4 GiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    from: u32,
    to: u32,
}

impl Span {
    pub(super) fn new(from: usize, to: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { from: place(from), to: place(to) }
    }

    pub(super) const fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
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
        self.parts.clear();
        self.text.clear();
        self.spellings.tidy();
        self.payloads.clear();
        self.atoms.clear();
    }

    /// Each message, and the packet that brought its last octet.
    pub fn each(&self, mut tell: impl FnMut(Mark, &Message<'_>)) {
        let mut begin = 0;
        for entry in &self.entries {
            let parts = self.parts.get(begin..entry.parts).unwrap_or_default();
            begin = entry.parts;
            let mut message = Message::new(entry.from, entry.operation);
            message.fragments = entry.fragments;
            message.payload_octets = entry.payload_octets;
            message.telling = entry.telling;
            if let Some(payload) = &entry.payload {
                message.payload = self.payload(payload);
            }
            if let Some(call) = &entry.call {
                message.call = Some(call.told());
            }
            self.fill(&mut message, parts);
            tell(entry.mark, &message);
        }
    }

    fn payload(&self, payload: &PayloadEntry) -> Option<Payload<'_>> {
        let term = Term::cut_off(self.payloads.get(payload.octets.range())?);
        let atoms = self.atoms.get(payload.atoms.range())?;
        Some(Payload { term, atoms, style: payload.style })
    }

    /// Gives a message its terms.
    #[inline]
    fn fill<'a>(&'a self, message: &mut Message<'a>, parts: &'a [(Part, Piece)]) {
        for (part, piece) in parts {
            let printed = self.printed(piece);
            if let Part::Field(field) = part {
                let place = match field {
                    Field::From => &mut message.from_pid,
                    Field::To => &mut message.to,
                    Field::ToName => &mut message.to_name,
                    Field::Reference => &mut message.reference,
                    Field::Reason => &mut message.reason,
                    Field::Token => &mut message.token,
                    Field::Id => &mut message.id,
                    Field::GroupLeader => &mut message.group_leader,
                    Field::Mfa => &mut message.mfa,
                    Field::Options => &mut message.options,
                    Field::Flags => &mut message.flags,
                    Field::Result => &mut message.result,
                    Field::Unused => continue,
                };
                *place = Some(printed);
            } else if let Some(call) = &mut message.call {
                match part {
                    Part::Request => call.request = printed.as_text(),
                    Part::Module => call.module = printed.as_text(),
                    Part::Function => call.function = printed.as_text(),
                    Part::Tag | Part::Field(_) => call.tag = Some(printed),
                }
            }
        }
    }

    #[inline]
    fn printed<'a>(&'a self, piece: &'a Piece) -> Printed<'a> {
        match piece {
            Piece::Text(span) => Printed::Text(self.text.get(span.range()).unwrap_or_default()),
            Piece::Atom(span) => Printed::Plain(self.spellings.text(*span)),
            Piece::Pid(node, numbers) => Printed::Pid { node: self.spellings.text(*node), numbers },
            Piece::Reference(node, count, numbers) => Printed::Reference {
                node: self.spellings.text(*node),
                numbers: numbers.get(..*count).unwrap_or_default(),
            },
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
        for (field, term) in control.fields() {
            let piece = match field {
                Field::Unused => continue,
                Field::Reason => Piece::Text(self.shape(term, atoms)),
                _ => self.piece(term, atoms),
            };
            self.parts.push((Part::Field(field), piece));
        }
        if let Some(reason) = reason {
            let shape = Piece::Text(self.shape(reason, atoms));
            self.parts.push((Part::Field(Field::Reason), shape));
        }
        let function = request.and_then(|request| request.function);
        if let Some(request) = request {
            if let Some(tag) = request.reference {
                let tag = self.piece(tag, atoms);
                self.parts.push((Part::Tag, tag));
            }
            let function = request.function;
            let names = [
                (Part::Request, request.label()),
                (Part::Module, function.map(|function| function.module)),
                (Part::Function, function.map(|function| function.name)),
            ];
            for (part, name) in names {
                if let Some(name) = name {
                    let name = self.atom(name, atoms);
                    self.parts.push((part, name));
                }
            }
        }
        self.entries.push(Entry {
            mark: told.mark,
            from: told.from,
            operation: control.operation.name().unwrap_or("unassigned"),
            parts: self.parts.len(),
            call: request.map(|request| CallEntry {
                kind: request.kind,
                arity: function.and_then(|function| function.arity),
                latency_us: told.latency_us,
            }),
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
        let entry = self.entries.pop()?;
        let mut taken = Self::default();
        let begin = self.entries.last().map_or(0, |before| before.parts);
        for (part, piece) in self.parts.get(begin..entry.parts).unwrap_or_default() {
            taken.say(*part, self.printed(piece));
        }
        self.parts.truncate(begin);
        taken.entries.push(entry);
        Some(taken)
    }

    /// Puts back what was taken out, now that it is here as a whole.
    pub(super) fn put_back(&mut self, begun: &Self, mark: Mark, fragments: u32, octets: u64) {
        let Some(entry) = begun.entries.first() else { return };
        for (part, piece) in &begun.parts {
            self.say(*part, begun.printed(piece));
        }
        let parts = self.parts.len();
        self.entries.push(Entry { mark, parts, fragments, payload_octets: Some(octets), ..*entry });
    }

    /// Octets that this takes, about.
    pub(super) fn size(&self) -> usize {
        size_of::<Entry>() + size_of_val(&*self.parts) + self.text.len()
    }

    /// Adds what another log says.
    fn say(&mut self, part: Part, printed: Printed<'_>) {
        let from = self.text.len();
        // Writing to a `String` cannot fail.
        let _ = write!(self.text, "{printed}");
        self.parts.push((part, Piece::Text(Span::new(from, self.text.len()))));
    }

    #[inline]
    fn piece(&mut self, term: Term<'_>, atoms: HeaderAtoms<'_>) -> Piece {
        let usual = match term.kind() {
            Kind::Atom => self.spellings.printed(term, &atoms).map(Piece::Atom),
            Kind::Pid => term.as_pid().and_then(|pid| {
                let node = self.spellings.printed(pid.node, &atoms)?;
                Some(Piece::Pid(node, [pid.id, pid.serial]))
            }),
            Kind::Reference => term.as_reference().and_then(|reference| {
                let node = self.spellings.printed(reference.node, &atoms)?;
                let words = reference.words();
                let mut numbers = [0; MAX_WORDS];
                numbers.iter_mut().zip(words.iter().rev()).for_each(|(to, word)| *to = *word);
                Some(Piece::Reference(node, words.len(), numbers))
            }),
            _ => None,
        };
        usual.unwrap_or_else(|| Piece::Text(self.term(term, atoms)))
    }

    fn term(&mut self, term: Term<'_>, atoms: HeaderAtoms<'_>) -> Span {
        let from = self.text.len();
        // Writing to a `String` cannot fail.
        let _ = Erlang::within(term, &atoms, FIELD).write_to(&mut self.text);
        Span::new(from, self.text.len())
    }

    /// An atom without quotes.
    fn atom(&mut self, atom: Term<'_>, atoms: HeaderAtoms<'_>) -> Piece {
        if let Some(own) = self.spellings.own(atom, &atoms) {
            return Piece::Atom(own);
        }
        let from = self.text.len();
        if let Some(text) = atom.as_atom(&atoms) {
            let _ = write!(self.text, "{text}");
        }
        Piece::Text(Span::new(from, self.text.len()))
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

impl CallEntry {
    const fn told<'a>(&self) -> Call<'a> {
        let Self { kind, arity, latency_us } = *self;
        let kind = kind.name();
        Call { kind, tag: None, request: None, module: None, function: None, arity, latency_us }
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

/// A field as text: pids and references have some 40 octets, names of nodes 511 at most.
pub(super) const FIELD: Budget = Budget { octets: 600, terms: 64, depth: 16 };
