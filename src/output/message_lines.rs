//! Stage 8: messages as lines of JSON.
//!
//! In: a [`MessageEvent`]. Out: the line that [`Message`](crate::event::Message)'s own serialization and
//! the envelope of [`ndjson`](super::ndjson) would give, octet for octet; a test holds the two together.
//!
//! Messages come by the million where everything else comes by the thousand: through the serializer a line
//! costs more than all that went before it, reading and pairing included (1.1 of 1.6 µs). What is the same
//! on many lines is kept as it was written, and text from terms, which has no control characters, is looked
//! through for the two characters that JSON escapes before it is copied as a whole.

use std::io::{self, Write};
use std::sync::Arc;

use crate::event::{Call, ConnectionIds, Message, MessageEvent, Role, VERSION};
use crate::time::Timestamp;

/// Writes lines.
#[derive(Default)]
pub(super) struct MessageLines {
    line: Vec<u8>,
    /// The input that lines were written for last, and as it is written.
    input: Option<(u16, Vec<u8>)>,
    /// Connections that messages came on lately, by a part of their address, and as they are written, up to
    /// the message.
    connections: Vec<Option<(Arc<ConnectionIds>, Vec<u8>)>>,
    /// The second that they were about, and how a line begins, up to its decimals.
    second: Option<(u64, Vec<u8>)>,
}

impl MessageLines {
    /// Writes one line; `name` gives the name of an input.
    pub(super) fn write(
        &mut self,
        out: &mut impl Write,
        seq: u64,
        name: impl FnOnce(u16) -> Option<Arc<str>>,
        event: &MessageEvent<'_>,
    ) -> io::Result<()> {
        let MessageEvent { mark, connection, message } = event;
        let (second, nanos) = mark.at.parts();
        if self.second.as_ref().is_none_or(|(known, _)| *known != second) {
            let text = Timestamp::new(second, 0).to_string();
            // "2014-05-25T14:32:25." of "2014-05-25T14:32:25.000000000Z"
            let whole = text.split_inclusive('.').next().unwrap_or_default();
            let start = format!("{{\"v\":{VERSION},\"timestamp\":\"{whole}");
            self.second = Some((second, start.into()));
        }
        if self.input.as_ref().is_none_or(|(known, _)| *known != mark.frame.input) {
            let mut written = Vec::new();
            if let Some(name) = name(mark.frame.input) {
                written.extend(b",\"input\":");
                serde_json::to_writer(&mut written, &*name)?;
            }
            self.input = Some((mark.frame.input, written));
        }
        if self.connections.is_empty() {
            self.connections.resize(CONNECTIONS, None);
        }
        let place = (Arc::as_ptr(connection).addr() / align_of::<ConnectionIds>()) % CONNECTIONS;
        let Some(place) = self.connections.get_mut(place) else { return Ok(()) };
        if place.as_ref().is_none_or(|(known, _)| !Arc::ptr_eq(known, connection)) {
            let mut fields = serde_json::to_vec(&**connection)?;
            // Its fields, without the braces around them.
            fields.pop();
            if let Some(open) = fields.first_mut() {
                *open = b',';
            }
            fields.extend(b",\"message\":");
            *place = Some((Arc::clone(connection), fields));
        }
        let fields = place.as_ref().map_or(&[][..], |(_, fields)| fields);
        let line = &mut self.line;
        line.clear();
        line.extend(self.second.as_ref().map_or(&[][..], |(_, second)| second));
        decimals(line, nanos);
        line.extend(b"Z\",\"event_type\":\"message\",\"seq\":");
        number(line, seq);
        line.extend(self.input.as_ref().map_or(&[][..], |(_, input)| input));
        line.extend(b",\"frame\":");
        number(line, mark.frame.number);
        line.extend(fields);
        body(line, message)?;
        line.extend(b"}\n");
        out.write_all(line)
    }
}

/// Enough for the connections that talk at one time; more cost a moment each.
const CONNECTIONS: usize = 512;

fn body(line: &mut Vec<u8>, message: &Message<'_>) -> io::Result<()> {
    line.extend(match message.from {
        Role::Initiator => &b"{\"from\":\"initiator\""[..],
        Role::Acceptor => b"{\"from\":\"acceptor\"",
    });
    word(line, b",\"operation\":", message.operation);
    text(line, b",\"from_pid\":", message.from_pid);
    text(line, b",\"to\":", message.to);
    text(line, b",\"to_name\":", message.to_name);
    text(line, b",\"ref\":", message.reference);
    text(line, b",\"reason\":", message.reason);
    text(line, b",\"id\":", message.id);
    text(line, b",\"group_leader\":", message.group_leader);
    text(line, b",\"mfa\":", message.mfa);
    text(line, b",\"options\":", message.options);
    text(line, b",\"flags\":", message.flags);
    text(line, b",\"result\":", message.result);
    text(line, b",\"token\":", message.token);
    if let Some(call) = &message.call {
        called(line, call);
    }
    line.extend(b",\"fragments\":");
    number(line, message.fragments.into());
    if let Some(octets) = message.payload_octets {
        line.extend(b",\"payload_octets\":");
        number(line, octets);
    }
    if let Some(payload) = &message.payload {
        line.extend(b",\"payload\":");
        serde_json::to_writer(&mut *line, payload)?;
    }
    line.push(b'}');
    Ok(())
}

fn called(line: &mut Vec<u8>, call: &Call<'_>) {
    word(line, b",\"call\":{\"kind\":", call.kind);
    text(line, b",\"tag\":", call.tag);
    text(line, b",\"request\":", call.request);
    text(line, b",\"module\":", call.module);
    text(line, b",\"function\":", call.function);
    if let Some(arity) = call.arity {
        line.extend(b",\"arity\":");
        number(line, arity.into());
    }
    if let Some(latency) = call.latency_us {
        line.extend(b",\"latency_us\":");
        number(line, latency);
    }
    line.push(b'}');
}

/// A field whose value is text, if it has one.
#[inline]
fn text(line: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    let Some(value) = value else { return };
    line.extend(key);
    // All octets are looked at, so that the compiler can take many at once.
    let escapes = |octet: u8| octet < b' ' || octet == b'"' || octet == b'\\';
    let has_escapes = value.bytes().fold(false, |has, octet| has | escapes(octet));
    if has_escapes {
        // Writing to a `Vec` cannot fail.
        let _ = serde_json::to_writer(&mut *line, value);
    } else {
        line.push(b'"');
        line.extend(value.as_bytes());
        line.push(b'"');
    }
}

/// A field whose value is a word of ours.
#[inline]
fn word(line: &mut Vec<u8>, key: &[u8], value: &str) {
    line.extend(key);
    line.push(b'"');
    line.extend(value.as_bytes());
    line.push(b'"');
}

fn number(line: &mut Vec<u8>, number: u64) {
    line.extend(itoa::Buffer::new().format(number).as_bytes());
}

/// Nine digits.
fn decimals(line: &mut Vec<u8>, nanos: u64) {
    // A leading digit holds the place of zeros in front.
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(nanos + 1_000_000_000);
    line.extend(digits.as_bytes().get(1..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::capture::FrameRef;
    use crate::event::samples::message;
    use crate::event::{Event, Mark, Payload, PayloadStyle};
    use crate::output::samples;
    use crate::wire::term::Term;

    #[derive(Serialize)]
    struct Line<'a> {
        v: u8,
        timestamp: Timestamp,
        event_type: &'a str,
        seq: u64,
        input: &'a str,
        frame: u64,
        #[serde(flatten)]
        connection: &'a ConnectionIds,
        message: &'a Message<'a>,
    }

    /// Messages in which each field has a value at least once, and is absent at least once.
    fn messages<'a>(atoms: &'a [Option<Arc<str>>]) -> Vec<Message<'a>> {
        let empty = message("LINK");
        let call = Call {
            kind: "gen_call",
            tag: Some("#Ref<a@h.1.2.3>"),
            request: Some("a \"quoted\" one"),
            module: Some("lists"),
            function: Some("seq"),
            arity: Some(2),
            latency_us: Some(412),
        };
        let bare = Call {
            tag: None,
            request: None,
            module: None,
            function: None,
            arity: None,
            latency_us: None,
            ..call
        };
        let term = Term::cut_off(b"h\x02R\0w\x02ok");
        let whole = Message {
            from: Role::Acceptor,
            operation: "REG_SEND",
            from_pid: Some("<'a@h'.1.2>"),
            to: Some("'\\\\'"),
            to_name: Some("rex"),
            reference: Some("#Ref<a@h.1>"),
            reason: Some("{badarg,\u{2026}}"),
            id: Some("18446744073709551615"),
            group_leader: Some("<a@h.3.4>"),
            mfa: Some("{m,f,1}"),
            options: Some("[link]"),
            flags: Some("4"),
            result: Some("\u{1}"),
            token: Some("{1,2,3,<a@h.3.4>,5}"),
            call: Some(call),
            fragments: 3,
            payload_octets: Some(1 << 40),
            payload: Some(Payload { term, atoms, style: PayloadStyle::Erlang }),
            telling: None,
        };
        let payload = Some(Payload { term, atoms, style: PayloadStyle::Json });
        vec![empty, whole, Message { call: Some(bare), payload, ..empty }, whole]
    }

    #[test]
    fn a_line_is_what_serialization_gives() {
        let Event { connection, .. } = samples::epmd();
        let connection = connection.unwrap();
        let atoms = [Some("known".into())];
        let mut lines = MessageLines::default();
        for (seq, message) in (1..).zip(messages(&atoms)) {
            // Two in one second, then one in the next; of two inputs.
            let at = Timestamp::new(1_401_028_345 + seq / 3, 7 * seq);
            let frame = FrameRef { input: u16::from(seq == 4), number: 9 + seq };
            let event = MessageEvent {
                mark: Mark { frame, at },
                connection: &connection,
                message: &message,
            };
            let name = |input: u16| Some(["a.pcap", "b \".pcap"][usize::from(input)].into());
            let mut written = Vec::new();
            lines.write(&mut written, seq, name, &event).unwrap();
            let expected = Line {
                v: VERSION,
                timestamp: at,
                event_type: "message",
                seq,
                input: &name(frame.input).unwrap(),
                frame: frame.number,
                connection: &connection,
                message: &message,
            };
            let mut expected = serde_json::to_string(&expected).unwrap();
            expected.push('\n');
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }
}
