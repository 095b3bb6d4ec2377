//! Messages in the words of their lines.
//!
//! In: a message, term by term, as it is read. Out: the JSON that [`Message`]'s own serialization gives, up to
//! what is known only at its end, octet for octet; tests hold the two together. And the [`Message`], for
//! whoever wants to look at it.
//!
//! Messages come by the million where everything else comes by the thousand, and nearly all of them become
//! nothing but lines. Kept as texts and serialized later, a line took thrice the instructions; now each term is
//! written once, where it is read, and the line takes all of them as a whole.

use std::ops::Range;

use super::digits::{dot_number, number};
use super::{Call, Message, Payload, Role, Telling};
use crate::wire::control::Field;
use crate::wire::term::Numbered;

/// A message as it is told.
#[derive(Clone, Copy, Debug)]
pub struct Wording<'a> {
    /// What is known of it beside its terms.
    pub facts: &'a Facts,
    /// What it carries, if somebody asked for that.
    pub payload: Option<Payload<'a>>,
    words: &'a [u8],
    escaped: &'a str,
    parts: &'a [(Part, Place)],
}

/// What is known of a message beside its terms; see [`Message`] and [`Call`].
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented where they are told")]
pub struct Facts {
    pub from: Role,
    pub operation: &'static str,
    pub call: Option<CallFacts>,
    pub fragments: u32,
    pub payload_octets: Option<u64>,
    pub telling: Option<Telling>,
}

/// What is known of a call beside its terms.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "documented where they are told")]
pub struct CallFacts {
    pub kind: &'static str,
    pub arity: Option<u32>,
    pub latency_us: Option<u64>,
}

/// What a term is in its message, in the order in which they are told.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    From,
    To,
    ToName,
    Reference,
    Reason,
    Id,
    GroupLeader,
    Mfa,
    Options,
    Flags,
    Result,
    Token,
    Tag,
    Request,
    Module,
    Function,
}

impl Part {
    /// As which a field of a control message is told, if it is.
    #[inline]
    pub(crate) const fn of(field: Field) -> Option<Self> {
        Some(match field {
            Field::From => Self::From,
            Field::To => Self::To,
            Field::ToName => Self::ToName,
            Field::Reference => Self::Reference,
            Field::Reason => Self::Reason,
            Field::Id => Self::Id,
            Field::GroupLeader => Self::GroupLeader,
            Field::Mfa => Self::Mfa,
            Field::Options => Self::Options,
            Field::Flags => Self::Flags,
            Field::Result => Self::Result,
            Field::Token => Self::Token,
            Field::Unused => return None,
        })
    }
}

/// How each begins in its line, and how long that is.
static KEYS: [([u8; 24], usize); 16] = [
    padded(b",\"from_pid\":\""),
    padded(b",\"to\":\""),
    padded(b",\"to_name\":\""),
    padded(b",\"ref\":\""),
    padded(b",\"reason\":\""),
    padded(b",\"id\":\""),
    padded(b",\"group_leader\":\""),
    padded(b",\"mfa\":\""),
    padded(b",\"options\":\""),
    padded(b",\"flags\":\""),
    padded(b",\"result\":\""),
    padded(b",\"token\":\""),
    padded(b",\"tag\":\""),
    padded(b",\"request\":\""),
    padded(b",\"module\":\""),
    padded(b",\"function\":\""),
];

const fn padded<const N: usize>(text: &[u8; N]) -> ([u8; 24], usize) {
    let mut padded = [0; 24];
    let (front, _) = padded.split_at_mut(N);
    front.copy_from_slice(text);
    (padded, N)
}

/// Where a term stands, counted from where its message begins.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In the words: JSON takes it as it is.
    Words(Span),
    /// In the texts that JSON escapes.
    Escaped(Span),
}

/// From one octet of a text to another. There are many, so that they are small: what is said in one segment
/// is far below 4 GiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    from: u32,
    to: u32,
}

impl Span {
    pub(crate) fn new(from: usize, to: usize) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { from: place(from), to: place(to) }
    }

    pub(crate) const fn range(self) -> Range<usize> {
        self.from as usize..self.to as usize
    }
}

/// The words of messages, one behind the other.
///
/// Of each, [`begin`](Self::begin) comes first, then its terms in the order of the fields of [`Message`], then
/// its call, and [`end`](Self::end).
#[derive(Clone, Debug, Default)]
pub(crate) struct Wordings {
    words: Vec<u8>,
    escaped: String,
    parts: Vec<(Part, Place)>,
    /// Where the message begins that is being written.
    begin: WordingMark,
}

/// Between two messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WordingMark {
    words: usize,
    escaped: usize,
    parts: usize,
}

impl Wordings {
    /// A message begins.
    #[inline]
    pub(crate) fn begin(&mut self, from: Role, operation: &str) {
        match from {
            Role::Initiator => self.put(b"{\"from\":\"initiator\",\"operation\":\""),
            Role::Acceptor => self.put(b"{\"from\":\"acceptor\",\"operation\":\""),
        }
        self.words.extend_from_slice(operation.as_bytes());
        self.put(b"\"");
    }

    /// A term.
    #[inline]
    pub(crate) fn short(&mut self, part: Part, text: &ShortText) {
        let from = self.key(part);
        text.append_to(&mut self.words);
        self.close(part, from);
    }

    /// A pid or a reference; `node` is the name of its node.
    #[inline]
    pub(crate) fn numbered(&mut self, part: Part, node: &ShortText, term: &Numbered<'_>) {
        let from = self.key(part);
        if term.is_reference {
            self.put(b"#Ref<");
        } else {
            self.put(b"<");
        }
        node.append_to(&mut self.words);
        term.printed().for_each(|number| dot_number(&mut self.words, number.into()));
        self.put(b">");
        self.close(part, from);
    }

    /// Any text, which `write` writes.
    pub(crate) fn text(&mut self, part: Part, write: impl FnOnce(&mut String)) {
        let start = self.escaped.len();
        write(&mut self.escaped);
        let text = self.escaped.get(start..).unwrap_or_default();
        if is_plain(text) {
            let from = key(&mut self.words, part);
            self.words.extend_from_slice(text.as_bytes());
            self.escaped.truncate(start);
            self.close(part, from);
        } else {
            key(&mut self.words, part);
            escape(&mut self.words, text);
            self.put(b"\"");
            let begin = self.begin.escaped;
            let span = Span::new(start - begin, self.escaped.len() - begin);
            self.parts.push((part, Place::Escaped(span)));
        }
    }

    /// What OTP's conventions make of the message begins; its terms are next.
    #[inline]
    pub(crate) fn begin_call(&mut self, kind: &str) {
        self.put(b",\"call\":{\"kind\":\"");
        self.words.extend_from_slice(kind.as_bytes());
        self.put(b"\"");
    }

    /// It ends.
    #[inline]
    pub(crate) fn end_call(&mut self, arity: Option<u32>, latency_us: Option<u64>) {
        if let Some(arity) = arity {
            self.put(b",\"arity\":");
            number(&mut self.words, arity.into());
        }
        if let Some(latency) = latency_us {
            self.put(b",\"latency_us\":");
            number(&mut self.words, latency);
        }
        self.put(b"}");
    }

    /// The message ends: here.
    #[inline]
    pub(crate) fn end(&mut self) -> WordingMark {
        let Self { words, escaped, parts, .. } = self;
        self.begin = WordingMark { words: words.len(), escaped: escaped.len(), parts: parts.len() };
        self.begin
    }

    /// A message that lies between two marks.
    #[inline]
    pub(crate) fn wording<'a>(
        &'a self,
        from: WordingMark,
        to: WordingMark,
        facts: &'a Facts,
    ) -> Wording<'a> {
        Wording {
            facts,
            payload: None,
            words: self.words.get(from.words..to.words).unwrap_or_default(),
            escaped: self.escaped.get(from.escaped..to.escaped).unwrap_or_default(),
            parts: self.parts.get(from.parts..to.parts).unwrap_or_default(),
        }
    }

    /// Takes out what stands behind `mark`.
    pub(crate) fn split_off(&mut self, mark: WordingMark) -> Self {
        let taken = Self {
            words: self.words.get(mark.words..).unwrap_or_default().to_vec(),
            escaped: self.escaped.get(mark.escaped..).unwrap_or_default().to_owned(),
            parts: self.parts.get(mark.parts..).unwrap_or_default().to_vec(),
            begin: WordingMark::default(),
        };
        self.words.truncate(mark.words);
        self.escaped.truncate(mark.escaped);
        self.parts.truncate(mark.parts);
        self.begin = mark;
        taken
    }

    /// Adds one message of another's: all that it has.
    pub(crate) fn append(&mut self, other: &Self) -> WordingMark {
        self.words.extend_from_slice(&other.words);
        self.escaped.push_str(&other.escaped);
        self.parts.extend_from_slice(&other.parts);
        self.end()
    }

    /// Forgets all messages, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.escaped.clear();
        self.parts.clear();
        self.begin = WordingMark::default();
    }

    /// Octets that this takes, about.
    pub(crate) fn size(&self) -> usize {
        self.words.len() + self.escaped.len() + size_of_val(&*self.parts)
    }

    /// Begins a field, and gives the place behind its first quote.
    #[inline]
    fn key(&mut self, part: Part) -> usize {
        key(&mut self.words, part)
    }

    /// Ends the field whose text begins at `from`.
    #[inline]
    fn close(&mut self, part: Part, from: usize) {
        let begin = self.begin.words;
        let span = Span::new(from - begin, self.words.len() - begin);
        self.parts.push((part, Place::Words(span)));
        self.put(b"\"");
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, text: &[u8; N]) {
        self.words.extend_from_slice(text);
    }
}

#[inline]
fn key(words: &mut Vec<u8>, part: Part) -> usize {
    if let Some((key, len)) = KEYS.get(part as usize) {
        append(words, key, *len);
    }
    words.len()
}

/// Adds the first `len` of `octets`: all are stored, which takes a moment where their number is known when this
/// is compiled, and what is too much taken away again.
#[inline]
pub(crate) fn append<const N: usize>(words: &mut Vec<u8>, octets: &[u8; N], len: usize) {
    words.extend_from_slice(octets);
    words.truncate(words.len() + len - N);
}

/// A short text that JSON takes as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortText {
    octets: [u8; Self::MOST],
    len: u8,
}

impl ShortText {
    /// With its length, and one octet more, a line of the cache. Longer names of nodes are rare.
    const MOST: usize = 62;

    /// `None` for what is none.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let mut octets = [0; Self::MOST];
        octets.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        is_plain(text).then_some(Self { octets, len: u8::try_from(text.len()).ok()? })
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len.into()).unwrap_or_default()
    }

    #[inline]
    fn append_to(&self, words: &mut Vec<u8>) {
        append(words, &self.octets, self.len.into());
    }
}

/// Whether JSON takes a text as it is.
fn is_plain(text: &str) -> bool {
    !text.bytes().any(|octet| octet < b' ' || octet == b'"' || octet == b'\\')
}

fn escape(words: &mut Vec<u8>, text: &str) {
    for octet in text.bytes() {
        let short = match octet {
            b'"' | b'\\' => octet,
            b'\x08' => b'b',
            b'\x0c' => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            b'\0'..b' ' => {
                words.extend_from_slice(format!("\\u{octet:04x}").as_bytes());
                continue;
            }
            _ => {
                words.push(octet);
                continue;
            }
        };
        words.extend_from_slice(&[b'\\', short]);
    }
}

impl<'a> Wording<'a> {
    /// Its JSON up to `fragments`.
    #[inline]
    pub(crate) const fn words(&self) -> &'a [u8] {
        self.words
    }

    /// The message, taken apart.
    pub fn message(&self) -> Message<'a> {
        let mut call = self.facts.call.map(|call| Call {
            kind: call.kind,
            tag: None,
            request: None,
            module: None,
            function: None,
            arity: call.arity,
            latency_us: call.latency_us,
        });
        let mut message = Message {
            fragments: self.facts.fragments,
            payload_octets: self.facts.payload_octets,
            payload: self.payload,
            telling: self.facts.telling,
            ..Message::new(self.facts.from, self.facts.operation)
        };
        for (part, place) in self.parts {
            let text = self.text(*place);
            match (part, &mut call) {
                (Part::From, _) => message.from_pid = text,
                (Part::To, _) => message.to = text,
                (Part::ToName, _) => message.to_name = text,
                (Part::Reference, _) => message.reference = text,
                (Part::Reason, _) => message.reason = text,
                (Part::Id, _) => message.id = text,
                (Part::GroupLeader, _) => message.group_leader = text,
                (Part::Mfa, _) => message.mfa = text,
                (Part::Options, _) => message.options = text,
                (Part::Flags, _) => message.flags = text,
                (Part::Result, _) => message.result = text,
                (Part::Token, _) => message.token = text,
                (Part::Tag, Some(call)) => call.tag = text,
                (Part::Request, Some(call)) => call.request = text,
                (Part::Module, Some(call)) => call.module = text,
                (Part::Function, Some(call)) => call.function = text,
                (_, None) => {}
            }
        }
        message.call = call;
        message
    }

    fn text(&self, place: Place) -> Option<&'a str> {
        match place {
            Place::Words(span) => str::from_utf8(self.words.get(span.range())?).ok(),
            Place::Escaped(span) => self.escaped.get(span.range()),
        }
    }
}
