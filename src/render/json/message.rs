//! Messages as lines of JSON, and their schema.
//!
//! In: a [`MessageEvent`]. Out: one line with the envelope of [`ndjson`](crate::render::ndjson). The serializer of
//! `serde` would take longer for a line than all stages before it together (1.1 of 1.6 µs). So lines are written by
//! hand: what is the same on many lines is kept as bytes, the keys of fields are joined at compile time, and texts
//! without special characters are copied. Keys, order and schema follow [`FieldKind`]; a test holds each line
//! against the schema.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::escaped::{escape_char, to_writer};
use super::term::JsonTerm;
use crate::cursor::{CHUNK, Cursor, LineBuffer, nine_digits};
use crate::observe::NodeNames;
use crate::observe::messages::{
    FieldKind, FieldView, MessageEvent, MessagePart, MessageView, OPERATIONS, Operation, PAYLOAD,
    Payload, RequestKind, UNASSIGNED, ValueType,
};
use crate::packet::PacketRef;
use crate::record::{ConnectionIds, Role, VERSION};
use crate::render::TermStyle;
use crate::render::escape::is_unsafe;
use crate::time::Timestamp;

/// Writes lines, and keeps the parts that lines have in common.
pub(in crate::render) struct MessageLines {
    terms: TermStyle,
    start: LineStart,
    /// The input of the last line, and its bytes in the line up to the number of the frame.
    input: Option<(u16, LineBuffer)>,
    connections: Connections,
}

impl MessageLines {
    pub(in crate::render) fn new(terms: TermStyle) -> Self {
        let (start, connections) = (LineStart::default(), Connections::default());
        Self { terms, start, input: None, connections }
    }

    /// Appends one line to `lines`; `name` gives the name of an input.
    pub(in crate::render) fn write(
        &mut self,
        lines: &mut LineBuffer,
        seq: u64,
        name: impl FnOnce(u16) -> Option<Arc<str>>,
        event: &MessageEvent<'_>,
    ) -> io::Result<()> {
        let MessageEvent { connection, nodes, message } = event;
        let PacketRef { frame, at } = message.meta.packet;
        if self.start.at != at || self.start.len == 0 {
            self.start.set_time(at);
        }
        self.set_input(frame.input, name)?;
        let Self { terms, start, input, connections } = self;
        let (input, input_len) = match input {
            Some((_, buffer)) => (buffer.with_rest(), buffer.len()),
            None => (&[][..], 0),
        };
        let ids = connections.bytes(connection, *nodes)?;
        let room = LineStart::ROOM + input_len + ids.len() + message_room(message);
        let is_written = lines.append(room, |cursor| {
            let cursor = cursor
                .put_prefix(&start.bytes, start.len)?
                .number(seq)?
                .copy_prefix(input, input_len)?
                .number(frame.number)?
                .copy(ids)?;
            let cursor = write_message(cursor, message)?;
            match message.payload {
                Some(_) => cursor.put(b",\"payload\":"),
                None => cursor.put(b"}}\n"),
            }
        });
        match message.payload {
            Some(payload) if is_written => {
                to_writer(&mut *lines, &PayloadJson { payload, terms: *terms })?;
                lines.write_all(b"}}\n")
            }
            _ => Ok(()),
        }
    }

    fn set_input(
        &mut self,
        input: u16,
        name: impl FnOnce(u16) -> Option<Arc<str>>,
    ) -> io::Result<()> {
        if self.input.as_ref().is_none_or(|(known, _)| *known != input) {
            let mut buffer = LineBuffer::with_capacity(CHUNK);
            if let Some(name) = name(input) {
                buffer.write_all(b",\"input\":")?;
                to_writer(&mut buffer, &*name)?;
            }
            buffer.write_all(b",\"frame\":")?;
            self.input = Some((input, buffer));
        }
        Ok(())
    }
}

/// The most bytes that [`write_message`] and the two numbers before it take.
fn message_room(message: &MessageView<'_>) -> usize {
    OTHER_ROOM + (MAX_KEY + 1) * message.fields().len() + MAX_ESCAPE * message.text_len()
}

/// JSON writes one byte of text as up to six: `\u001f`.
const MAX_ESCAPE: usize = 6;

/// Room for the start of a message, the start of its call, four numbers with their keys, and one chunk that is
/// stored beyond the end.
const OTHER_ROOM: usize = 448 + CHUNK;

/// Writes the object of a message up to its payload, without the brace that closes it.
#[inline]
fn write_message<'c>(mut cursor: Cursor<'c>, message: &MessageView<'_>) -> Option<Cursor<'c>> {
    let meta = message.meta;
    let starts = STARTS.get(meta.from.index())?;
    // Unassigned operations share entry 0, which is unassigned too.
    let (bytes, len) = starts.get(usize::from(meta.operation.0)).or_else(|| starts.first())?;
    cursor = cursor.put_prefix(bytes, *len)?;
    let fields = message.fields();
    let call_at = message.signal_len();
    for (at, field) in fields.enumerate() {
        if at == call_at {
            cursor = write_call_start(cursor, meta.call)?;
        }
        cursor = write_field(cursor, &field)?;
    }
    if fields.len() == call_at {
        cursor = write_call_start(cursor, meta.call)?;
    }
    cursor = cursor.put_prefix(b"}", usize::from(meta.call.is_some()))?;
    // Nearly all messages come in one frame.
    cursor = match meta.fragments {
        1 => cursor.put(b",\"fragments\":1")?,
        fragments => cursor.put(b",\"fragments\":")?.number(fragments.into())?,
    };
    match meta.payload_bytes {
        Some(bytes) => cursor.put(b",\"payload_bytes\":")?.number(bytes),
        None => Some(cursor),
    }
}

/// Writes the start of the object `call`, for a message that is one.
#[inline]
fn write_call_start(cursor: Cursor<'_>, call: Option<RequestKind>) -> Option<Cursor<'_>> {
    let Some(kind) = call else { return Some(cursor) };
    let (bytes, len) = CALL_STARTS.get(kind as usize)?;
    cursor.put_prefix(bytes, *len)
}

#[inline(always)] // called once, in the loop over fields
fn write_field<'c>(cursor: Cursor<'c>, field: &FieldView<'_>) -> Option<Cursor<'c>> {
    let JsonKey { start, end } = KEYS.get(field.kind as usize)?;
    let cursor = cursor.put_prefix(&start.0, start.1)?;
    let cursor =
        if field.is_plain { field.copy_to(cursor)? } else { write_escaped(cursor, field.text())? };
    cursor.put_prefix(b"\"", *end)
}

#[cold]
fn write_escaped<'c>(cursor: Cursor<'c>, text: &str) -> Option<Cursor<'c>> {
    text.chars().try_fold(cursor, |cursor, c| match u8::try_from(c) {
        Ok(byte @ ..0x7f) => write_escaped_byte(cursor, byte),
        _ if is_unsafe(c) => {
            let mut escaped = [0; 2 * MAX_ESCAPE];
            let mut rest = &mut escaped[..];
            escape_char(&mut rest, c).ok()?;
            let left = rest.len();
            cursor.copy(escaped.get(..2 * MAX_ESCAPE - left)?)
        }
        _ => cursor.copy(c.encode_utf8(&mut [0; 4]).as_bytes()),
    })
}

fn write_escaped_byte(cursor: Cursor<'_>, byte: u8) -> Option<Cursor<'_>> {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\x08' => b'b',
        b'\x0c' => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        b'\0'..b' ' => return cursor.copy(format!("\\u{byte:04x}").as_bytes()),
        _ => return cursor.put(&[byte]),
    };
    cursor.put(&[b'\\', short])
}

/// Bytes that are joined at compile time, and how many of them count.
type Joined<const N: usize> = ([u8; N], usize);

/// The bytes around the value of a field.
#[derive(Clone, Copy)]
struct JsonKey {
    start: Joined<MAX_KEY>,
    /// How many quotation marks end the value: one behind text.
    end: usize,
}

/// The key of each kind of field, by its number.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static KEYS: [JsonKey; FieldKind::ALL.len()] = {
    let mut keys = [JsonKey { start: joined(&[]), end: 0 }; FieldKind::ALL.len()];
    let mut at = 0;
    while at < keys.len() {
        let kind = FieldKind::ALL[at];
        keys[at] = match kind.value_type() {
            ValueType::Text => JsonKey { start: joined(&[",\"", kind.name(), "\":\""]), end: 1 },
            ValueType::Number => JsonKey { start: joined(&[",\"", kind.name(), "\":"]), end: 0 },
        };
        at += 1;
    }
    keys
};

/// The longest name of a field has 18 characters. A longer one does not compile.
const MAX_KEY: usize = 24;

/// The start of a message, by the role of its sender and its operation: one table load instead of two branches
/// that are mispredicted.
static STARTS: [[Joined<64>; OPERATIONS]; 2] =
    [starts("\"from\":\"initiator\""), starts("\"from\":\"acceptor\"")];

#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated at compile time"
)]
const fn starts(from: &str) -> [Joined<64>; OPERATIONS] {
    let mut all = [joined(&[]); OPERATIONS];
    let mut code = 0;
    while code < OPERATIONS {
        let name = match Operation(code as u8).name() {
            Some(name) => name,
            None => UNASSIGNED,
        };
        all[code] = joined(&[from, ",\"operation\":\"", name, "\""]);
        code += 1;
    }
    all
}

/// The start of a call, by the number of its kind.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static CALL_STARTS: [Joined<32>; RequestKind::ALL.len()] = {
    let mut all = [joined(&[]); RequestKind::ALL.len()];
    let mut at = 0;
    while at < all.len() {
        all[at] = joined(&[",\"call\":{\"kind\":\"", RequestKind::ALL[at].name(), "\""]);
        at += 1;
    }
    all
};

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn joined<const N: usize>(pieces: &[&str]) -> Joined<N> {
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

/// The start of a line up to its number. Lines of one second differ in nine digits of it, and lines of one packet
/// not at all.
struct LineStart {
    at: Timestamp,
    bytes: [u8; Self::ROOM],
    /// The number of bytes that count: 0 before the first line.
    len: usize,
}

impl Default for LineStart {
    fn default() -> Self {
        Self { at: Timestamp::default(), bytes: [0; Self::ROOM], len: 0 }
    }
}

impl LineStart {
    fn set_time(&mut self, at: Timestamp) {
        let (second, nanos) = at.parts();
        if at == Timestamp::default() {
            self.set_no_time();
            return;
        }
        if self.at.parts().0 != second || self.len == 0 {
            let time = Timestamp::new(second, 0);
            self.set(&format!("{{\"v\":{VERSION},\"timestamp\":\"{time}{}", Self::AFTER_TIME));
        }
        // The nine digits in front of the `Z`.
        let end = self.len.saturating_sub(Self::AFTER_TIME.len() + 1);
        let decimals = self.bytes.get_mut(..end).and_then(|bytes| bytes.last_chunk_mut());
        if let Some(decimals) = decimals {
            *decimals = nine_digits(nanos);
        }
        self.at = at;
    }

    #[cold]
    fn set_no_time(&mut self) {
        let after = Self::AFTER_TIME.trim_start_matches('"');
        self.set(&format!("{{\"v\":{VERSION},\"timestamp\":null{after}"));
        // No other time is in this second, so the next one sets the whole start anew.
        self.at = Timestamp::default();
    }

    fn set(&mut self, text: &str) {
        if let Some(target) = self.bytes.get_mut(..text.len()) {
            target.copy_from_slice(text.as_bytes());
            self.len = text.len();
        }
    }

    const AFTER_TIME: &str = "\",\"event_type\":\"message\",\"seq\":";

    /// The start of a line has 81 bytes.
    const ROOM: usize = 96;
}

/// The connections of recent messages, by a part of the address of their names, each with its bytes in the line up
/// to the sender of the message.
#[derive(Default)]
struct Connections(Vec<Option<CachedStart>>);

/// A connection and the names of its nodes, and the bytes of both in a line.
type CachedStart = (Arc<ConnectionIds>, Option<Arc<NodeNames>>, Vec<u8>);

impl Connections {
    fn bytes(
        &mut self,
        connection: &Arc<ConnectionIds>,
        nodes: Option<&Arc<NodeNames>>,
    ) -> io::Result<&[u8]> {
        if self.0.is_empty() {
            self.0.resize(CONNECTIONS, None);
        }
        let index = (Arc::as_ptr(connection).addr() / align_of::<ConnectionIds>()) % CONNECTIONS;
        let Some(entry) = self.0.get_mut(index) else { return Ok(&[]) };
        let is_known = |(known, names, _): &CachedStart| {
            Arc::ptr_eq(known, connection)
                && names.as_ref().map(Arc::as_ptr) == nodes.map(Arc::as_ptr)
        };
        if !entry.as_ref().is_some_and(is_known) {
            let mut bytes = Vec::new();
            to_writer(&mut bytes, &**connection)?;
            // The fields of the object, without its braces.
            bytes.pop();
            if let Some(open) = bytes.first_mut() {
                *open = b',';
            }
            bytes.extend(b",\"message\":{");
            let names = nodes.into_iter().flat_map(|nodes| nodes.each());
            for (role, name) in names {
                if let Some(name) = name {
                    write!(bytes, "\"{role}\":")?;
                    to_writer(&mut bytes, &**name)?;
                    bytes.push(b',');
                }
            }
            *entry = Some((Arc::clone(connection), nodes.cloned(), bytes));
        }
        Ok(entry.as_ref().map_or(&[], |(_, _, bytes)| bytes))
    }
}

/// Enough for the connections that are busy at one time. Two that share an entry replace each other, which costs
/// one serialization for each change.
const CONNECTIONS: usize = 4096;

/// A payload as a value of JSON.
struct PayloadJson<'a> {
    payload: Payload<'a>,
    terms: TermStyle,
}

impl Serialize for PayloadJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let payload = &self.payload;
        match self.terms {
            TermStyle::Erlang => serializer.collect_str(&payload.erlang(PAYLOAD)),
            TermStyle::Json => JsonTerm::whole(payload.term, payload).serialize(serializer),
        }
    }
}

/// The schema of the object of a message.
pub(in crate::render) struct MessageSchema;

impl JsonSchema for MessageSchema {
    fn schema_name() -> Cow<'static, str> {
        "Message".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut from = generator.subschema_for::<Role>();
        from.insert("description".into(), "The node that sent it.".into());
        let mut properties = Map::new();
        for (role, description) in [
            (Role::Initiator, "Name of the initiator, if the capture has its handshake."),
            (Role::Acceptor, "Name of the acceptor, if the capture has its handshake."),
        ] {
            let name = value_schema(ValueType::Text, description);
            properties.insert(role.to_string(), name);
        }
        properties.insert("from".into(), from.to_value());
        let operation = json_schema!({
            "type": "string",
            "description": "Name of the operation in the specification.",
        });
        properties.insert("operation".into(), operation.to_value());
        properties.extend(field_schemas(MessagePart::Signal));
        let mut call = generator.subschema_for::<CallSchema>();
        call.insert("description".into(), "What OTP's own conventions make of it.".into());
        properties.insert("call".into(), call.to_value());
        let number = |description| value_schema(ValueType::Number, description);
        properties.insert("fragments".into(), number("Frames it came in."));
        let bytes = "Bytes of the message term; absent where the operation has none.";
        properties.insert("payload_bytes".into(), number(bytes));
        let payload = "The message term, only with `--payloads`: text in Erlang's syntax or, with --terms json, JSON.";
        properties.insert("payload".into(), json_schema!({ "description": payload }).to_value());
        object_schema(
            "One distribution message. Pids, references and other terms are in Erlang's syntax; `#3` in them is an \
             atom that the capture does not show, by its number in the message's header.",
            properties,
            &["from", "operation", "fragments"],
        )
    }
}

/// The schema of the object `call` of a message.
struct CallSchema;

impl JsonSchema for CallSchema {
    fn schema_name() -> Cow<'static, str> {
        "Call".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kinds: Vec<_> = RequestKind::ALL.iter().map(|kind| kind.name()).collect();
        let kind = json_schema!({
            "enum": kinds,
            "description": "The convention that it follows.",
        });
        let mut properties = Map::new();
        properties.insert("kind".into(), kind.to_value());
        properties.extend(field_schemas(MessagePart::Call));
        object_schema(
            "What a message asks for, or answers, by the conventions of OTP's libraries. Never its arguments.",
            properties,
            &["kind"],
        )
    }
}

fn field_schemas(part: MessagePart) -> impl Iterator<Item = (String, Value)> {
    let kinds = FieldKind::ALL.iter().filter(move |kind| kind.part() == part);
    kinds.map(|kind| (kind.name().to_owned(), value_schema(kind.value_type(), kind.doc())))
}

fn value_schema(value_type: ValueType, description: &str) -> Value {
    let schema = match value_type {
        ValueType::Text => json_schema!({ "type": "string", "description": description }),
        ValueType::Number => {
            json_schema!({ "type": "integer", "minimum": 0, "description": description })
        }
    };
    schema.to_value()
}

fn object_schema(description: &str, properties: Map<String, Value>, required: &[&str]) -> Schema {
    json_schema!({
        "type": "object",
        "description": description,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::messages::samples::{batch, meta};
    use crate::observe::messages::{MessageBatch, MessageMeta};
    use crate::packet::FrameRef;
    use crate::record::Event;
    use crate::render::samples;

    /// Texts of every kind that JSON escapes, and some that look like JSON.
    const TEXTS: [&str; 11] = [
        "plain",
        "",
        "\"",
        "\\",
        "\\\"",
        "\u{1}\n\u{1f}u",
        "\":\"to\":",
        "é\\…",
        "\u{7f}\u{9b}a\u{202e}\u{200b}\u{e0041}",
        "\u{8}\u{c}\r\t",
        "a text that is longer than one chunk of sixty-four bytes, which is the case for some pids",
    ];

    /// A message with every field, with `turn` choosing the texts.
    fn full(turn: usize) -> MessageBatch {
        let fields = (turn..).zip(FieldKind::ALL).map(|(at, kind)| {
            let text = match kind.value_type() {
                ValueType::Text => TEXTS[at % TEXTS.len()],
                ValueType::Number => ["0", "18446744073709551615"][at % 2],
            };
            (*kind, text)
        });
        let meta = MessageMeta {
            from: Role::Acceptor,
            call: Some(RequestKind::ALL[turn % RequestKind::ALL.len()]),
            fragments: 3,
            payload_bytes: Some(1 << 40),
            ..meta(Operation::REG_SEND)
        };
        let mut batch = batch(meta, &fields.collect::<Vec<_>>());
        batch.set_payload(b"h\x02R\0w\x02ok", [Some("known".into())].into_iter());
        batch
    }

    fn line(lines: &mut MessageLines, seq: u64, message: MessageView<'_>) -> String {
        let Event { connection, .. } = samples::epmd();
        let connection = &connection.unwrap();
        let mut written = LineBuffer::default();
        let name = |input: u16| Some(["a.pcap", "b \".pcap"][usize::from(input)].into());
        lines
            .write(&mut written, seq, name, &MessageEvent { connection, nodes: None, message })
            .unwrap();
        String::from_utf8(written.bytes().to_vec()).unwrap()
    }

    fn valid(line: &str) -> Value {
        let value: Value = serde_json::from_str(line).unwrap();
        let schema: Value = serde_json::from_str(&crate::render::schema()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{error} at {}: {line}", error.instance_path());
        }
        value
    }

    #[test]
    fn each_line_is_valid_and_has_each_field_under_its_name() {
        let mut lines = MessageLines::new(TermStyle::Erlang);
        for turn in 0..2 * TEXTS.len() {
            let batch = full(turn);
            let message = batch.iter().next().unwrap();
            let line = valid(&line(&mut lines, 1, message));
            let (signal, call) = (&line["message"], &line["message"]["call"]);
            for kind in FieldKind::ALL {
                let object = if kind.part() == MessagePart::Call { call } else { signal };
                let value = &object[kind.name()];
                match kind.value_type() {
                    ValueType::Text => assert_eq!(value.as_str(), message.text(*kind)),
                    ValueType::Number => assert_eq!(value.as_u64(), message.number(*kind)),
                }
            }
            assert_eq!(call.as_object().unwrap().len(), 1 + 6);
            assert_eq!(signal.as_object().unwrap().len(), 6 + 14);
            let kind = RequestKind::ALL[turn % RequestKind::ALL.len()];
            assert_eq!(
                (&call["kind"], &signal["operation"]),
                (&kind.name().into(), &"REG_SEND".into())
            );
            assert_eq!((&signal["from"], &signal["fragments"]), (&"acceptor".into(), &3.into()));
            assert_eq!(signal["payload_bytes"], 1_u64 << 40);
            assert_eq!(signal["payload"], "{known,ok}");
        }
    }

    #[test]
    fn a_line_without_optional_fields_is_valid_too() {
        for code in [0, 1, 5, 37, 38, 255] {
            let batch = batch(meta(Operation(code)), &[]);
            let line =
                line(&mut MessageLines::new(TermStyle::Json), 1, batch.iter().next().unwrap());
            let message = &valid(&line)["message"];
            let operation = Operation(code).name().unwrap_or("unassigned");
            assert_eq!(
                *message,
                serde_json::json!({ "from": "initiator", "operation": operation, "fragments": 1 })
            );
        }
    }

    #[test]
    fn lines_name_their_own_packet() {
        let mut lines = MessageLines::new(TermStyle::Json);
        for seq in 1..8 {
            // Two in one second, then one in the next; of two inputs.
            let at = Timestamp::new(1_401_028_345 + seq / 3, 7 * seq);
            let frame = FrameRef { input: u16::from(seq == 4), number: 9 + seq };
            let meta = MessageMeta { packet: PacketRef { frame, at }, ..meta(Operation::LINK) };
            let mut batch = batch(meta, &[(FieldKind::To, "x")]);
            batch.set_payload(b"h\x01w\x02ok", std::iter::empty());
            let line = line(&mut lines, seq, batch.iter().next().unwrap());
            let input = if seq == 4 { "b \\\".pcap" } else { "a.pcap" };
            let start = format!(
                "{{\"v\":1,\"timestamp\":\"{at}\",\"event_type\":\"message\",\"seq\":{seq},\
                 \"input\":\"{input}\",\"frame\":{},\"session_id\":",
                frame.number
            );
            assert!(line.starts_with(&start), "{line}");
            let end = ",\"message\":{\"from\":\"initiator\",\"operation\":\"LINK\",\"to\":\"x\",\"fragments\":1,\
                       \"payload\":{\"tuple\":[{\"atom\":\"ok\"}]}}}\n";
            assert!(line.ends_with(end), "{line}");
            valid(&line);
        }
    }
}
