//! Writing the words of messages.
//!
//! In: a message, term by term, as it is read. Out: its [`Wording`], in a page that is used again: a message
//! costs no allocation.

use super::pen::{Page, Pen};
use super::{Facts, Role, Wording};
use crate::wire::control::{Field, OPERATIONS, Operation};
use crate::wire::otp::RequestKind;
use crate::wire::term::{Numbered, Spelling};

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

/// What is the same in many lines: so many bytes of it count.
type Piece<const N: usize> = ([u8; N], usize);

/// How each begins in its line.
static KEYS: [Piece<24>; 16] = [
    joined(&[",\"from_pid\":\""]),
    joined(&[",\"to\":\""]),
    joined(&[",\"to_name\":\""]),
    joined(&[",\"ref\":\""]),
    joined(&[",\"reason\":\""]),
    joined(&[",\"id\":\""]),
    joined(&[",\"group_leader\":\""]),
    joined(&[",\"mfa\":\""]),
    joined(&[",\"options\":\""]),
    joined(&[",\"flags\":\""]),
    joined(&[",\"result\":\""]),
    joined(&[",\"token\":\""]),
    joined(&[",\"tag\":\""]),
    joined(&[",\"request\":\""]),
    joined(&[",\"module\":\""]),
    joined(&[",\"function\":\""]),
];

/// How the messages of each side begin, by their operation. One look instead of two choices that no processor
/// can foresee.
static BEGINNINGS: [[Piece<64>; OPERATIONS]; 2] =
    [beginnings("{\"from\":\"initiator\""), beginnings("{\"from\":\"acceptor\"")];

#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "while it is compiled"
)]
const fn beginnings(from: &str) -> [Piece<64>; OPERATIONS] {
    let mut all = [joined(&[]); OPERATIONS];
    let mut code = 0;
    while code < OPERATIONS {
        let name = name(Operation(code as u8));
        all[code] = joined(&[from, ",\"operation\":\"", name, "\""]);
        code += 1;
    }
    all
}

pub(super) const fn name(operation: Operation) -> &'static str {
    match operation.name() {
        Some(name) => name,
        None => "unassigned",
    }
}

/// How calls begin, by their kind.
#[expect(clippy::indexing_slicing, reason = "while it is compiled")]
static CALLS: [Piece<32>; KINDS.len()] = {
    let mut all = [joined(&[]); KINDS.len()];
    let mut at = 0;
    while at < KINDS.len() {
        let kind = KINDS[at];
        all[kind as usize] = joined(&[",\"call\":{\"kind\":\"", kind.name(), "\""]);
        at += 1;
    }
    all
};

/// All there are.
pub(crate) const KINDS: [RequestKind; RequestKind::Down as usize + 1] = [
    RequestKind::GenCall,
    RequestKind::GenCast,
    RequestKind::GenReply,
    RequestKind::IoRequest,
    RequestKind::IoReply,
    RequestKind::RpcCall,
    RequestKind::RpcCast,
    RequestKind::ErpcCall,
    RequestKind::ErpcCast,
    RequestKind::Spawn,
    RequestKind::SpawnReply,
    RequestKind::Down,
];

#[expect(clippy::indexing_slicing, reason = "while it is compiled")]
const fn joined<const N: usize>(pieces: &[&str]) -> Piece<N> {
    let (mut joined, mut len, mut piece) = ([0; N], 0, 0);
    while piece < pieces.len() {
        let (bytes, mut at) = (pieces[piece].as_bytes(), 0);
        while at < bytes.len() {
            joined[len] = bytes[at];
            len += 1;
            at += 1;
        }
        piece += 1;
    }
    (joined, len)
}

/// The words of messages, one behind the other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wordings {
    words: Page,
    /// The texts in them of which JSON escapes something, as they are.
    escaped: String,
}

/// Between two messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WordingMark {
    words: usize,
    escaped: usize,
}

impl Wordings {
    /// Adds a message, which `write` writes, and gives its end.
    #[inline]
    pub(crate) fn add(
        &mut self,
        write: impl for<'a> FnOnce(&mut Words<'_>, Pen<'a>) -> Option<Pen<'a>>,
    ) -> WordingMark {
        let Self { words, escaped } = self;
        words.add(ROOM, |pen| write(&mut Words { escaped }, pen));
        self.end()
    }

    fn end(&self) -> WordingMark {
        WordingMark { words: self.words.len(), escaped: self.escaped.len() }
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
            words: self.words.bytes().get(from.words..to.words).unwrap_or_default(),
            escaped: self.escaped.get(from.escaped..to.escaped).unwrap_or_default(),
        }
    }

    /// Takes out what stands behind `mark`.
    pub(crate) fn split_off(&mut self, mark: WordingMark) -> Self {
        let bytes = self.words.bytes().get(mark.words..).unwrap_or_default();
        let mut words = Page::default();
        words.add(bytes.len(), |pen| pen.copy(bytes));
        self.words.truncate(mark.words);
        Self { words, escaped: self.escaped.split_off(mark.escaped) }
    }

    /// Adds what another has, one message, and gives its end.
    pub(crate) fn append(&mut self, other: &Self) -> WordingMark {
        self.words.add(other.words.len(), |pen| pen.copy(other.words.bytes()));
        self.escaped.push_str(&other.escaped);
        self.end()
    }

    /// Forgets all messages, and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.words.truncate(0);
        self.escaped.clear();
    }

    /// Bytes that this takes, about.
    pub(crate) fn size(&self) -> usize {
        self.words.len() + self.escaped.len()
    }
}

/// Bytes that one message may need: it has a dozen terms of 600 bytes and what closes them, each of which JSON
/// writes as six at the most.
const ROOM: usize = 64 << 10;

/// Writes the words of a message.
///
/// [`begin`](Self::begin) comes first, then terms in the order of the fields of [`Message`](super::Message), then its call.
pub(crate) struct Words<'a> {
    escaped: &'a mut String,
}

impl Words<'_> {
    /// The message begins.
    #[inline]
    pub(crate) fn begin(pen: Pen<'_>, from: Role, operation: Operation) -> Option<Pen<'_>> {
        let all = BEGINNINGS.get(from.index())?;
        // What is not assigned begins as 0 does, which is not either.
        let (bytes, len) = all.get(usize::from(operation.0)).or_else(|| all.first())?;
        pen.put_some(bytes, *len)
    }

    /// An atom.
    #[inline]
    pub(crate) fn atom<'p>(pen: Pen<'p>, part: Part, atom: Spelling<'_>) -> Option<Pen<'p>> {
        spelled(key(pen, part)?, atom)?.put(b"\"")
    }

    /// A pid or a reference; `node` is the name of its node.
    #[inline(always)] // into the one place that it is called from
    pub(crate) fn numbered<'p>(
        pen: Pen<'p>,
        part: Part,
        node: Spelling<'_>,
        term: &Numbered<'_>,
    ) -> Option<Pen<'p>> {
        let pen = key(pen, part)?;
        let pen = if term.is_reference { pen.put(b"#Ref<")? } else { pen.put(b"<")? };
        let pen = spelled(pen, node)?;
        let pen = if term.is_reference {
            // Printed from the last to the first.
            term.numbers.rchunks_exact(4).try_fold(pen, dot_number)?
        } else {
            term.numbers.chunks_exact(4).try_fold(pen, dot_number)?
        };
        pen.put(b">\"")
    }

    /// Any text, which `write` writes.
    pub(crate) fn text<'p>(
        &mut self,
        pen: Pen<'p>,
        part: Part,
        write: impl FnOnce(&mut String),
    ) -> Option<Pen<'p>> {
        let start = self.escaped.len();
        write(self.escaped);
        let pen = key(pen, part)?;
        let text = self.escaped.get(start..).unwrap_or_default();
        let pen = if is_plain(text) {
            let pen = pen.copy(text.as_bytes())?;
            self.escaped.truncate(start);
            pen
        } else {
            text.bytes().try_fold(pen, escape)?
        };
        pen.put(b"\"")
    }

    /// What OTP's conventions make of the message begins; its terms are next.
    #[inline]
    pub(crate) fn begin_call(pen: Pen<'_>, kind: RequestKind) -> Option<Pen<'_>> {
        let (bytes, len) = CALLS.get(kind as usize)?;
        pen.put_some(bytes, *len)
    }

    /// It ends.
    #[inline]
    pub(crate) fn end_call(
        mut pen: Pen<'_>,
        arity: Option<u32>,
        latency_us: Option<u64>,
    ) -> Option<Pen<'_>> {
        if let Some(arity) = arity {
            pen = pen.put(b",\"arity\":")?.number(arity.into())?;
        }
        if let Some(latency) = latency_us {
            pen = pen.put(b",\"latency_us\":")?.number(latency)?;
        }
        pen.put(b"}")
    }
}

/// Begins a field whose value is text.
#[inline]
fn key(pen: Pen<'_>, part: Part) -> Option<Pen<'_>> {
    let (key, len) = KEYS.get(part as usize)?;
    pen.put_some(key, *len)
}

/// An atom as Erlang writes it.
#[inline]
fn spelled<'p>(pen: Pen<'p>, Spelling { text, has_quotes }: Spelling<'_>) -> Option<Pen<'p>> {
    let quotes = usize::from(has_quotes);
    pen.put_some(b"'", quotes)?.copy_short(text)?.put_some(b"'", quotes)
}

/// One number of four bytes.
#[inline]
fn dot_number<'p>(pen: Pen<'p>, bytes: &[u8]) -> Option<Pen<'p>> {
    pen.dot_number(u32::from_be_bytes(bytes.try_into().ok()?).into())
}

/// Whether JSON takes a text as it is.
fn is_plain(text: &str) -> bool {
    !text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
}

fn escape(pen: Pen<'_>, byte: u8) -> Option<Pen<'_>> {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\x08' => b'b',
        b'\x0c' => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'\0'..b' ' => return pen.copy(format!("\\u{byte:04x}").as_bytes()),
        _ => return pen.put(&[byte]),
    };
    pen.put(&[b'\\', short])
}
