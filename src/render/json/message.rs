//! Messages as lines of JSON.
//!
//! In: a [`MessageEvent`]. Out: the line that [`Message`](crate::record::Message)'s own serialization and
//! the envelope of [`ndjson`](super::ndjson) would give, byte for byte; a test holds the two together.
//!
//! Messages come by the million where everything else comes by the thousand: through the serializer a line
//! costs more than all that went before it, reading and pairing included (1.1 of 1.6 µs). What is the same
//! on many lines is kept as it was written, and a message comes in [words](crate::record::Wording).

use std::io::{self, Write};
use std::sync::Arc;

use crate::record::pen::{Page, nine_digits};
use crate::record::{ConnectionIds, MessageEvent, VERSION};
use crate::time::Timestamp;

/// Writes lines.
#[derive(Default)]
pub(super) struct MessageLines {
    head: Head,
    /// The input that lines were written for last, and as it is written, up to the number of the frame.
    input: Option<(u16, Vec<u8>)>,
    connections: Connections,
}

/// How a line begins, up to its number. What is sent within one second differs in nine digits, and what came
/// in one packet not at all.
struct Head {
    at: Timestamp,
    /// As many bytes of it as `len`: none at first.
    text: [u8; Self::ROOM],
    len: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self { at: Timestamp::default(), text: [0; Self::ROOM], len: 0 }
    }
}

impl MessageLines {
    /// Writes one line behind `lines`; `name` gives the name of an input.
    pub(super) fn write(
        &mut self,
        lines: &mut Page,
        seq: u64,
        name: impl FnOnce(u16) -> Option<Arc<str>>,
        event: &MessageEvent<'_>,
    ) -> io::Result<()> {
        let MessageEvent { mark, connection, wording } = event;
        if self.head.at != mark.at || self.head.len == 0 {
            self.head.turn_to(mark.at);
        }
        self.turn_to_input(mark.frame.input, name)?;
        let Self { head, input, connections } = self;
        let input = input.as_ref().map_or(&[][..], |(_, written)| written);
        let fields = connections.fields(connection)?;
        let words = wording.words;
        let room = Head::ROOM + input.len() + fields.len() + words.len() + OTHERS;
        lines.add(room, |pen| {
            let pen = pen
                .put_some(&head.text, head.len)?
                .number(seq)?
                .copy(input)?
                .number(mark.frame.number)?;
            let pen = pen.copy(fields)?.copy(words)?;
            let facts = wording.facts;
            // Nearly all messages come in one.
            let pen = match facts.fragments {
                1 => pen.put(b",\"fragments\":1")?,
                fragments => pen.put(b",\"fragments\":")?.number(fragments.into())?,
            };
            let pen = match facts.payload_bytes {
                Some(bytes) => pen.put(b",\"payload_bytes\":")?.number(bytes)?,
                None => pen,
            };
            match wording.payload {
                Some(_) => pen.put(b",\"payload\":"),
                None => pen.put(b"}}\n"),
            }
        });
        if let Some(payload) = &wording.payload {
            serde_json::to_writer(&mut *lines, payload)?;
            lines.write_all(b"}}\n")?;
        }
        Ok(())
    }

    fn turn_to_input(
        &mut self,
        input: u16,
        name: impl FnOnce(u16) -> Option<Arc<str>>,
    ) -> io::Result<()> {
        if self.input.as_ref().is_none_or(|(known, _)| *known != input) {
            let mut written = Vec::new();
            if let Some(name) = name(input) {
                written.extend(b",\"input\":");
                serde_json::to_writer(&mut written, &*name)?;
            }
            written.extend(b",\"frame\":");
            self.input = Some((input, written));
        }
        Ok(())
    }
}

/// Bytes that a line has at the most beside what is known before: four numbers, and what stands in front of
/// them.
const OTHERS: usize = 256;

/// Connections that messages came on lately, by a part of their address, and as they are written, up to the
/// message.
#[derive(Default)]
struct Connections(Vec<Option<(Arc<ConnectionIds>, Vec<u8>)>>);

impl Connections {
    fn fields(&mut self, connection: &Arc<ConnectionIds>) -> io::Result<&[u8]> {
        if self.0.is_empty() {
            self.0.resize(CONNECTIONS, None);
        }
        let place = (Arc::as_ptr(connection).addr() / align_of::<ConnectionIds>()) % CONNECTIONS;
        let Some(place) = self.0.get_mut(place) else { return Ok(&[]) };
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
        Ok(place.as_ref().map_or(&[], |(_, fields)| fields))
    }
}

/// Enough for the connections that talk at one time; two that share a place cost a moment each.
const CONNECTIONS: usize = 4096;

impl Head {
    fn turn_to(&mut self, at: Timestamp) {
        let (second, nanos) = at.parts();
        if self.at.parts().0 != second || self.len == 0 {
            let start = Timestamp::new(second, 0);
            let text = format!("{{\"v\":{VERSION},\"timestamp\":\"{start}{}", Self::BEHIND);
            if let Some(place) = self.text.get_mut(..text.len()) {
                place.copy_from_slice(text.as_bytes());
                self.len = text.len();
            }
        }
        // The nine digits in front of the `Z`.
        let end = self.len.saturating_sub(Self::BEHIND.len() + 1);
        let decimals = self.text.get_mut(..end).and_then(|text| text.last_chunk_mut());
        if let Some(decimals) = decimals {
            *decimals = nine_digits(nanos);
        }
        self.at = at;
    }

    const BEHIND: &str = "\",\"event_type\":\"message\",\"seq\":";

    /// It has 81 bytes.
    const ROOM: usize = 96;
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::packet::FrameRef;
    use crate::packet::PacketRef;
    use crate::record::samples::{Worded, message};
    use crate::record::{Call, Event, Message, Payload, PayloadStyle, Role};
    use crate::render::samples;
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
            payload_bytes: Some(1 << 40),
            payload: Some(Payload { term, atoms, style: PayloadStyle::Erlang }),
            trigger: None,
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
            let worded = Worded::new(&message);
            let event = MessageEvent {
                mark: PacketRef { frame, at },
                connection: &connection,
                wording: worded.wording(),
            };
            let name = |input: u16| Some(["a.pcap", "b \".pcap"][usize::from(input)].into());
            let mut written = Page::default();
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
            assert_eq!(str::from_utf8(written.bytes()).unwrap(), expected);
        }
    }
}
