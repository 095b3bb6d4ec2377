//! Messages after the handshake, as data.
//!
//! In: the fields of control messages, written by `protocol::messages` while the bytes are at hand. Out: a
//! [`MessageView`] for each message, which the outputs print and the rules read. Terms are text in Erlang's syntax;
//! nothing here is escaped for an output format.
//!
//! All messages of one TCP segment share the buffers of one [`MessageBatch`], which the next segment reuses: a
//! message costs no allocation. On busy connections messages outnumber all other events a thousand to one.

use std::ops::Range;
use std::str;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ConnectionIds, NodeNames, Role};
use crate::cursor::{Cursor, LineBuffer};
use crate::packet::PacketRef;
use crate::wire::control::Field;
pub use crate::wire::control::{OPERATIONS, Operation};
pub use crate::wire::otp::{Execution, RequestKind};
use crate::wire::term::{Atoms, Erlang, PrintLimits, Term};

/// Defines [`FieldKind`] from one table. The match in `FieldKind::of` has no wildcard: a field of control
/// messages that is missing in the table does not compile.
macro_rules! field_kinds {
    ($(#[doc = $doc:literal] $kind:ident $name:literal $part:ident $value:ident $(= $field:ident)?;)+) => {
        /// The fields that a message may have besides its [`MessageMeta`], in output order.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum FieldKind {
            $(#[doc = $doc] $kind,)+
        }

        impl FieldKind {
            /// Every kind, in output order.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The name of the field in every output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// One sentence that describes the field.
            pub const fn doc(self) -> &'static str {
                match self { $(Self::$kind => $doc.trim_ascii(),)+ }
            }

            /// The part of the message that the field belongs to.
            pub const fn part(self) -> MessagePart {
                match self { $(Self::$kind => MessagePart::$part,)+ }
            }

            /// The type of the field's value.
            pub const fn value_type(self) -> ValueType {
                match self { $(Self::$kind => ValueType::$value,)+ }
            }

            /// The kind that shows a field of control messages; `None` for the one that carries nothing.
            pub const fn of(field: Field) -> Option<Self> {
                match field {
                    $($(Field::$field => Some(Self::$kind),)?)+
                    Field::Unused => None,
                }
            }
        }
    };
}

field_kinds! {
    /// The process or name that the signal is from.
    FromPid "from_pid" Signal Text = From;
    /// The process, name or alias that it is for.
    To "to" Signal Text = To;
    /// The registered name that it is for.
    ToName "to_name" Signal Text = ToName;
    /// Reference of a monitor, or of a request to spawn.
    Reference "ref" Signal Text = Reference;
    /// Why a process ended: the reason by its outer shape.
    Reason "reason" Signal Text = Reason;
    /// Number that an unlink has from its sender.
    Id "id" Signal Text = Id;
    /// Group leader of a process to be spawned.
    GroupLeader "group_leader" Signal Text = GroupLeader;
    /// Module, function and arity to be spawned: `{M,F,A}`.
    Mfa "mfa" Signal Text = Mfa;
    /// Options of a request to spawn.
    Options "options" Signal Text = Options;
    /// Bits that depend on the operation.
    Flags "flags" Signal Text = Flags;
    /// The spawned process, or why there is none.
    Result "result" Signal Text = Result;
    /// Trace token of a traced signal: `{Flags,Label,Serial,From,LastCnt}`.
    Token "token" Signal Text = Token;
    /// Of global's `lost_connection`: the node that lost another one.
    LostBy "lost_by" Signal Text;
    /// Of global's `lost_connection`: the node that it lost.
    LostNode "lost_node" Signal Text;
    /// The reference that pairs a request with its answer.
    Tag "tag" Call Text;
    /// The atom that a request, or the reason of an end, is or begins with.
    Request "request" Call Text;
    /// Module of the function to be run.
    Module "module" Call Text;
    /// Name of the function to be run.
    Function "function" Call Text;
    /// Number of arguments of the function.
    Arity "arity" Call Number;
    /// Of an answer: the time since its request, in microseconds.
    LatencyUs "latency_us" Call Number;
}

/// The parts of a message that fields belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessagePart {
    /// The control message itself.
    Signal,
    /// What the conventions of OTP's libraries make of it.
    Call,
}

/// The types that values of fields have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ValueType {
    /// A term in Erlang's syntax, or an atom without quotes.
    Text,
    /// An unsigned integer in decimal digits.
    Number,
}

/// What is known of a message besides its fields.
#[derive(Clone, Copy, Debug)]
pub struct MessageMeta {
    /// The packet that carried its last byte.
    pub packet: PacketRef,
    /// The node that sent it.
    pub from: Role,
    /// The operation of its control message.
    pub operation: Operation,
    /// The convention of OTP's libraries that it follows, if any.
    pub call: Option<RequestKind>,
    /// The number of distribution frames it came in.
    pub fragments: u32,
    /// Bytes of the message term; `None` where the operation has none.
    pub payload_bytes: Option<u64>,
    /// The reason why rules look at it, if any.
    pub trigger: Option<RuleTrigger>,
}

impl MessageMeta {
    /// The specification's name of its operation.
    pub fn operation_name(&self) -> &'static str {
        self.operation.name().unwrap_or(UNASSIGNED)
    }
}

/// The name of an operation that the specification does not assign.
pub const UNASSIGNED: &str = "unassigned";

/// The messages that rules look at.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleTrigger {
    /// It has the other node run a function that executes what it is given.
    Execution(Execution),
    /// It has `global` on the other node disconnect, to prevent overlapping partitions.
    Disconnect,
    /// It informs `global` on the other node that two nodes lost contact.
    LostConnection {
        /// Whether the sender is the node that lost the other one, and does not pass the news on.
        by_sender: bool,
    },
}

/// A message with its connection, as outputs and rules get it; valid until the next segment.
#[derive(Clone, Copy, Debug)]
pub struct MessageEvent<'a> {
    /// The TCP connection that carried it.
    pub connection: &'a Arc<ConnectionIds>,
    /// The two nodes, if the capture has a part of their handshake.
    pub nodes: Option<&'a Arc<NodeNames>>,
    /// The message with its fields.
    pub message: MessageView<'a>,
}

/// One message of a batch.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    /// What is known of it besides its fields.
    pub meta: &'a MessageMeta,
    /// What it carries, where payloads are kept.
    pub payload: Option<Payload<'a>>,
    fields: Fields<'a>,
    /// The number of fields of the control message, which come before those of the call.
    signal_len: usize,
    /// Bytes of the text of all fields.
    text_len: usize,
}

impl<'a> MessageView<'a> {
    /// Its fields in the order of their kinds.
    #[inline]
    pub const fn fields(&self) -> Fields<'a> {
        self.fields
    }

    /// The number of fields of the control message, which come before those of the call.
    #[inline]
    pub const fn signal_len(&self) -> usize {
        self.signal_len
    }

    /// The text of one of its fields.
    pub fn text(&self, kind: FieldKind) -> Option<&'a str> {
        self.fields().find(|field| field.kind == kind).map(|field| field.text())
    }

    /// The value of one of its fields that is a number.
    pub fn number(&self, kind: FieldKind) -> Option<u64> {
        self.text(kind)?.parse().ok()
    }

    /// Bytes of the text of all its fields.
    #[inline]
    pub(crate) const fn text_len(&self) -> usize {
        self.text_len
    }
}

/// The fields of a message, in the order of their kinds.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    fields: &'a [StoredField],
    /// Begins with the text of all fields, one behind the other.
    text: &'a [u8],
}

impl Fields<'_> {
    /// The number of fields that are left.
    #[inline]
    pub const fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether no field is left.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = FieldView<'a>;

    #[inline]
    fn next(&mut self) -> Option<FieldView<'a>> {
        let (field, fields) = self.fields.split_first()?;
        let StoredField { kind, is_plain, len } = *field;
        let view = FieldView { kind, is_plain, len, front: self.text };
        self.fields = fields;
        self.text = self.text.get(len..)?;
        Some(view)
    }
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub struct FieldView<'a> {
    /// What the field is.
    pub kind: FieldKind,
    /// Whether its text is ASCII without control characters, quotation marks or backslashes, so that no output escapes any
    /// of it.
    pub is_plain: bool,
    len: usize,
    /// Begins with its text.
    front: &'a [u8],
}

impl<'a> FieldView<'a> {
    /// Its value as text.
    pub fn text(&self) -> &'a str {
        str::from_utf8(self.bytes()).unwrap_or_default()
    }

    /// Its value as the bytes of UTF-8 text.
    #[inline]
    pub fn bytes(&self) -> &'a [u8] {
        self.front.get(..self.len).unwrap_or_default()
    }

    /// Writes its text as it is.
    #[inline(always)]
    pub(crate) fn copy_to<'c>(&self, cursor: Cursor<'c>) -> Option<Cursor<'c>> {
        cursor.copy_prefix(self.front, self.len)
    }
}

/// A field as a batch stores it.
#[derive(Clone, Copy, Debug)]
struct StoredField {
    kind: FieldKind,
    is_plain: bool,
    /// Bytes of its text.
    len: usize,
}

/// Messages in the order in which their last bytes came.
#[derive(Debug, Default)]
pub struct MessageBatch {
    messages: Vec<StoredMessage>,
    fields: Vec<StoredField>,
    /// The texts of all fields, one behind the other.
    text: LineBuffer,
    payloads: Vec<u8>,
    /// The atoms of the distribution headers of messages with payloads.
    atoms: Vec<Option<Arc<str>>>,
    /// The text of a field that takes more than a copy, before its length is known.
    scratch: String,
}

/// A message as a batch stores it. Its fields and their text begin where those of the message before it end.
#[derive(Clone, Copy, Debug)]
struct StoredMessage {
    meta: MessageMeta,
    /// The number of fields of its control message.
    signal_len: usize,
    end: FieldEnd,
    payload: Option<StoredPayload>,
}

/// The end of some fields: in the list of fields, and in the buffer of their texts.
#[derive(Clone, Copy, Debug, Default)]
struct FieldEnd {
    field: usize,
    text: usize,
}

/// Where a payload begins and ends.
#[derive(Clone, Copy, Debug)]
struct StoredPayload {
    bytes: (usize, usize),
    atoms: (usize, usize),
}

impl MessageBatch {
    /// Whether it holds no message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Removes all messages, and keeps the capacity of the buffers.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.fields.clear();
        self.text.truncate(0);
        self.payloads.clear();
        self.atoms.clear();
    }

    /// The number of messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Its messages, in order.
    pub fn iter(&self) -> impl Iterator<Item = MessageView<'_>> {
        self.range(0..self.len())
    }

    /// The messages with these indices, in order.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = MessageView<'_>> {
        let before = range.start.checked_sub(1).and_then(|before| self.messages.get(before));
        let mut start = before.map_or_else(FieldEnd::default, |before| before.end);
        let messages = self.messages.get(range).unwrap_or_default();
        messages.iter().map(move |message| {
            let StoredMessage { meta, signal_len, end, payload } = message;
            let fields = Fields {
                fields: self.fields.get(start.field..end.field).unwrap_or_default(),
                text: self.text.with_rest().get(start.text..).unwrap_or_default(),
            };
            let text_len = end.text.saturating_sub(start.text);
            start = *end;
            let payload = payload.as_ref().and_then(|payload| self.payload(payload));
            MessageView { meta, payload, fields, signal_len: *signal_len, text_len }
        })
    }

    fn payload(&self, payload: &StoredPayload) -> Option<Payload<'_>> {
        let term = Term::cut_off(self.payloads.get(payload.bytes.0..payload.bytes.1)?);
        let atoms = self.atoms.get(payload.atoms.0..payload.atoms.1)?;
        Some(Payload { term, atoms })
    }

    /// Appends a message with these fields.
    pub fn push(&mut self, meta: MessageMeta, fields: &[(FieldKind, &str)]) {
        let mut fields = fields.to_vec();
        fields.sort_by_key(|(kind, _)| *kind);
        self.append(meta, |writer, mut cursor| {
            for (kind, text) in &fields {
                if kind.part() == MessagePart::Call {
                    writer.begin_call();
                }
                cursor = writer.text(cursor, *kind, |out| out.push_str(text))?;
            }
            Some(cursor)
        });
    }

    /// Appends a message whose fields `write` writes, in the order of their kinds. Fields that together are longer
    /// than [`MESSAGE_ROOM`] are all left out.
    #[inline]
    pub(crate) fn append(
        &mut self,
        meta: MessageMeta,
        write: impl for<'c> FnOnce(&mut FieldWriter<'_>, Cursor<'c>) -> Option<Cursor<'c>>,
    ) {
        let Self { messages, fields, text, scratch, .. } = self;
        let start = fields.len();
        let mut signal_end = None;
        let is_written = text.append(MESSAGE_ROOM, |cursor| {
            let left = cursor.left();
            let mut writer = FieldWriter { fields, scratch, signal_end: None, left };
            let cursor = write(&mut writer, cursor);
            signal_end = writer.signal_end;
            cursor
        });
        if !is_written {
            fields.truncate(start);
            signal_end = None;
        }
        let end = FieldEnd { field: fields.len(), text: text.len() };
        let signal_len = signal_end.unwrap_or(end.field).saturating_sub(start);
        messages.push(StoredMessage { meta, signal_len, end, payload: None });
    }

    /// Gives the last message its payload, or as much of it as is kept, and the atoms that the term refers to.
    pub fn set_payload(&mut self, bytes: &[u8], atoms: impl Iterator<Item = Option<Arc<str>>>) {
        let Some(message) = self.messages.last_mut() else { return };
        let (first_byte, first_atom) = (self.payloads.len(), self.atoms.len());
        self.payloads.extend_from_slice(bytes);
        self.atoms.extend(atoms);
        message.payload = Some(StoredPayload {
            bytes: (first_byte, self.payloads.len()),
            atoms: (first_atom, self.atoms.len()),
        });
    }

    /// Takes out the last message, whose further fragments are still to come. It has no payload yet.
    pub(crate) fn take_last(&mut self) -> Option<Self> {
        let last = self.messages.pop()?;
        let start = self.messages.last().map_or_else(FieldEnd::default, |before| before.end);
        let fields = self.fields.split_off(start.field.min(self.fields.len()));
        let mut taken = Self { fields, ..Self::default() };
        let bytes = self.text.bytes().get(start.text..).unwrap_or_default();
        taken.text.append(bytes.len(), |cursor| cursor.copy(bytes));
        self.text.truncate(start.text);
        let end = FieldEnd { field: taken.fields.len(), text: taken.text.len() };
        taken.messages.push(StoredMessage { end, ..last });
        Some(taken)
    }

    /// Appends a message that was [taken out](Self::take_last), now that all of its fragments have come.
    pub(crate) fn put_back(
        &mut self,
        begun: &Self,
        packet: PacketRef,
        fragments: u32,
        payload_bytes: u64,
    ) {
        let Some(message) = begun.messages.first() else { return };
        let bytes = begun.text.bytes();
        if !self.text.append(bytes.len(), |cursor| cursor.copy(bytes)) {
            return;
        }
        self.fields.extend_from_slice(&begun.fields);
        let payload_bytes = Some(payload_bytes);
        let meta = MessageMeta { packet, fragments, payload_bytes, ..message.meta };
        let end = FieldEnd { field: self.fields.len(), text: self.text.len() };
        self.messages.push(StoredMessage { meta, end, ..*message });
    }

    /// Bytes that its messages take, payloads aside.
    pub(crate) fn size(&self) -> usize {
        self.messages.len() * size_of::<StoredMessage>()
            + self.fields.len() * size_of::<StoredField>()
            + self.text.len()
    }
}

/// Adds the fields of one message to a batch.
pub(crate) struct FieldWriter<'b> {
    fields: &'b mut Vec<StoredField>,
    scratch: &'b mut String,
    /// The end of the fields of the control message, where a call follows them.
    signal_end: Option<usize>,
    /// Bytes that were left to the cursor at the end of the field before.
    left: usize,
}

impl FieldWriter<'_> {
    /// The fields of the control message end here, and those of the call begin. Only the first time counts.
    #[inline]
    pub(crate) fn begin_call(&mut self) {
        self.signal_end.get_or_insert(self.fields.len());
    }

    /// Ends a field: its text is what was written since the end of the field before.
    #[inline(always)]
    pub(crate) fn end_field(&mut self, cursor: &Cursor<'_>, kind: FieldKind, is_plain: bool) {
        let left = cursor.left();
        self.fields.push(StoredField { kind, is_plain, len: self.left - left });
        self.left = left;
    }

    /// Adds a field with any text, which `write` writes.
    pub(crate) fn text<'c>(
        &mut self,
        cursor: Cursor<'c>,
        kind: FieldKind,
        write: impl FnOnce(&mut String),
    ) -> Option<Cursor<'c>> {
        self.scratch.clear();
        write(self.scratch);
        let cursor = cursor.copy(self.scratch.as_bytes())?;
        let is_plain = is_plain(self.scratch);
        self.end_field(&cursor, kind, is_plain);
        Some(cursor)
    }

    /// Adds a field with a number.
    #[inline]
    pub(crate) fn number<'c>(
        &mut self,
        cursor: Cursor<'c>,
        kind: FieldKind,
        number: u64,
    ) -> Option<Cursor<'c>> {
        let cursor = cursor.number(number)?;
        self.end_field(&cursor, kind, true);
        Some(cursor)
    }
}

/// Whether no output escapes any character of a text.
fn is_plain(text: &str) -> bool {
    !text.bytes().any(|byte| !matches!(byte, b' '..=b'~') || byte == b'"' || byte == b'\\')
}

/// Bytes that the fields of one message may take: a dozen terms of 600 bytes and what closes them, and four atoms
/// of 1,020 bytes.
const MESSAGE_ROOM: usize = 32 << 10;

/// The term that a message carries.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The term, or as much of it as is kept.
    pub term: Term<'a>,
    /// The atoms that it refers to by number, as far as they are known.
    pub atoms: &'a [Option<Arc<str>>],
}

impl Payload<'_> {
    /// The payload in Erlang's syntax.
    pub const fn erlang(&self, limits: PrintLimits) -> Erlang<'_, Self> {
        Erlang::within(self.term, self, limits)
    }
}

impl Atoms for Payload<'_> {
    fn atom(&self, reference: u8) -> Option<&str> {
        self.atoms.get(usize::from(reference))?.as_deref()
    }
}

/// The limits of a payload that is printed in Erlang's syntax: a term of a few screens.
pub const PAYLOAD: PrintLimits = PrintLimits { bytes: 4096, terms: 4096, depth: 64 };

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use crate::packet::FrameRef;
    use crate::time::Timestamp;

    /// A message of the initiator that consists of its operation alone, in the first frame.
    pub(crate) fn meta(operation: Operation) -> MessageMeta {
        let frame = FrameRef { input: 0, number: 1 };
        MessageMeta {
            packet: PacketRef { frame, at: Timestamp::default() },
            from: Role::Initiator,
            operation,
            call: None,
            fragments: 1,
            payload_bytes: None,
            trigger: None,
        }
    }

    /// A batch of one message.
    pub(crate) fn batch(meta: MessageMeta, fields: &[(FieldKind, &str)]) -> MessageBatch {
        let mut batch = MessageBatch::default();
        batch.push(meta, fields);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::samples::meta;
    use super::*;

    fn texts<'a>(view: &MessageView<'a>) -> Vec<(FieldKind, &'a str, bool)> {
        view.fields().map(|field| (field.kind, field.text(), field.is_plain)).collect()
    }

    #[test]
    fn kinds_are_listed_in_order_signal_first_and_have_names_of_their_own() {
        for (index, kind) in FieldKind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert!(kind.doc().ends_with('.'), "{kind:?}");
            let same = FieldKind::ALL.iter().filter(|other| other.name() == kind.name());
            assert_eq!(same.count(), 1, "{kind:?}");
        }
        let call = FieldKind::ALL.iter().position(|kind| kind.part() == MessagePart::Call).unwrap();
        assert!(FieldKind::ALL[call..].iter().all(|kind| kind.part() == MessagePart::Call));
    }

    #[test]
    fn each_message_has_its_own_fields_in_order() {
        let mut batch = MessageBatch::default();
        let link = [(FieldKind::To, "<a@h.1.0>"), (FieldKind::FromPid, "\"é\\\"")];
        batch.push(meta(Operation::LINK), &link);
        batch.push(meta(Operation::LINK), &[]);
        let call = [(FieldKind::LatencyUs, "7"), (FieldKind::To, ""), (FieldKind::Tag, "x")];
        batch.push(meta(Operation::SEND_SENDER), &call);
        let views: Vec<_> = batch.iter().collect();
        assert_eq!(
            texts(&views[0]),
            [(FieldKind::FromPid, "\"é\\\"", false), (FieldKind::To, "<a@h.1.0>", true)]
        );
        assert_eq!(texts(&views[1]), []);
        assert_eq!(
            texts(&views[2]),
            [
                (FieldKind::To, "", true),
                (FieldKind::Tag, "x", true),
                (FieldKind::LatencyUs, "7", true)
            ]
        );
        let signal: Vec<_> = views.iter().map(MessageView::signal_len).collect();
        assert_eq!(signal, [2, 0, 1]);
        assert_eq!(views[2].number(FieldKind::LatencyUs), Some(7));
        assert_eq!(views[2].text(FieldKind::Reason), None);
    }

    #[test]
    fn a_message_that_is_taken_out_comes_back_whole() {
        let mut batch = MessageBatch::default();
        batch.push(meta(Operation::LINK), &[(FieldKind::To, "first")]);
        let fields = [(FieldKind::To, "second"), (FieldKind::Tag, "tag")];
        batch.push(meta(Operation::SEND_SENDER), &fields);
        let begun = batch.take_last().unwrap();
        assert_eq!(batch.iter().count(), 1);
        batch.push(meta(Operation::LINK), &[(FieldKind::To, "third")]);
        let packet = meta(Operation::LINK).packet;
        batch.put_back(&begun, packet, 3, 70_000);
        batch.set_payload(b"\x61\x07", [None].into_iter());
        let view = batch.iter().nth(2).unwrap();
        assert_eq!((view.meta.fragments, view.meta.payload_bytes), (3, Some(70_000)));
        assert_eq!(view.payload.unwrap().erlang(PrintLimits::ALL).to_string(), "7");
        assert_eq!(texts(&view), [(FieldKind::To, "second", true), (FieldKind::Tag, "tag", true)]);
        assert_eq!(view.signal_len(), 1);
        assert_eq!(batch.iter().nth(1).unwrap().text(FieldKind::To), Some("third"));
    }

    #[test]
    fn fields_without_room_are_left_out_together() {
        let long = "x".repeat(MESSAGE_ROOM);
        let mut batch = MessageBatch::default();
        batch.push(meta(Operation::LINK), &[(FieldKind::FromPid, "a"), (FieldKind::To, &long)]);
        batch.push(meta(Operation::LINK), &[(FieldKind::FromPid, "b")]);
        let texts: Vec<_> = batch.iter().map(|view| texts(&view).len()).collect();
        assert_eq!(texts, [0, 1]);
        assert_eq!(batch.iter().nth(1).unwrap().text(FieldKind::FromPid), Some("b"));
    }
}
