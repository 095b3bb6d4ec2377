//! One direction of a distribution connection, cut into messages.
//!
//! In: bytes and gaps in stream order. Out: handshake messages whole, and the place where frames begin:
//! those are cut elsewhere. Which message makes the framing change is the caller's knowledge.

use crate::identify::{self, Verdict};
use crate::wire::header::{Credible, credible_frame};
use crate::wire::tls::{self, Alert, ContentType, RecordHeader};
use crate::wire::{Cut, decode, framing};

/// What was cut from a stream.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Item<'a> {
    /// A whole handshake message, without its length.
    Handshake(&'a [u8]),
    /// A handshake message of this length that the capture has in part only.
    HandshakeLost(usize),
    /// The body of the first record of a TLS connection: a whole hello.
    TlsHello(&'a [u8]),
    /// A TLS alert in clear.
    TlsAlert(Alert),
    /// The header of a sealed TLS record with a body of this length.
    TlsSealed(u16),
    /// Four zero bytes where the place in the protocol is not known: a tick, or nothing.
    MaybeTick,
    /// The stream begins with these bytes, which are no handshake.
    Foreign(&'a [u8]),
    /// These bytes, of a stream whose place in the protocol is lost, begin nothing.
    Unknown,
}

/// Cuts one direction. Holds the unfinished tail of a handshake message.
#[derive(Debug)]
pub(super) struct Reader {
    mode: Mode,
    /// Unfinished tail; never longer than a handshake message with its length.
    tail: Vec<u8>,
    /// Bytes of the message in `tail` that the capture does not have.
    hole: usize,
    /// Bytes of the current record still to skip.
    skip: u64,
    /// Longest handshake message taken.
    max: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// Nothing was read; the stream's first byte comes next.
    Start,
    /// `{packet, 2}`.
    Handshake,
    /// `{packet, 4}`, which is not read here.
    Frames,
    /// Records of TLS behind a hello, as long as they are in clear.
    Tls,
    /// Records of TLS, of which some are sealed.
    TlsSealed,
    /// The place in the protocol is lost, or was never known.
    Searching,
    /// Nothing more is read.
    Opaque,
}

impl Reader {
    /// A reader whose stream may begin in its middle.
    pub(super) const fn new(max: usize) -> Self {
        Self { mode: Mode::Searching, tail: Vec::new(), hole: 0, skip: 0, max }
    }

    /// The next byte is the first of the stream.
    pub(super) const fn begin(&mut self) {
        self.mode = Mode::Start;
    }

    /// The handshake of this direction is over.
    pub(super) fn switch_to_frames(&mut self) {
        self.mode = Mode::Frames;
        self.tail.clear();
    }

    /// Whether frames come next.
    pub(super) fn is_in_frames(&self) -> bool {
        self.mode == Mode::Frames
    }

    /// What should be a frame is none, or was not captured.
    pub(super) fn lose_frames(&mut self) {
        self.restart(Mode::Searching);
    }

    /// Nothing more of this direction can be read.
    pub(super) fn close(&mut self) {
        self.mode = Mode::Opaque;
        self.tail = Vec::new();
    }

    /// Bytes that wait for more: to be put before those that come next.
    pub(super) fn take_tail(&mut self) -> Option<Vec<u8>> {
        (self.hole == 0 && !self.tail.is_empty()).then(|| std::mem::take(&mut self.tail))
    }

    /// Cuts the next item from the front of `input`; `None` when it holds no more, or frames begin.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        match self.mode {
            _ if input.is_empty() => None,
            Mode::Start => match input.first() {
                // Read as a length, these would be longer than any handshake message.
                Some(&TLS_ALERT | &TLS_HANDSHAKE) => self.tls(input),
                _ => {
                    self.mode = Mode::Handshake;
                    self.handshake(input)
                }
            },
            Mode::Handshake => self.handshake(input),
            Mode::Frames => None,
            Mode::Tls | Mode::TlsSealed => self.record(input),
            Mode::Searching => self.search(input),
            Mode::Opaque => self.end(input),
        }
    }

    /// The capture does not have the next `bytes`.
    pub(super) fn gap(&mut self, bytes: u64) -> Option<Item<'static>> {
        match self.mode {
            Mode::Opaque => return None,
            Mode::Tls | Mode::TlsSealed if self.tail.is_empty() && bytes <= self.skip => {
                self.skip -= bytes;
                return None;
            }
            Mode::Tls | Mode::TlsSealed => {
                self.close();
                return None;
            }
            Mode::Handshake => {
                if let Some(len) = self.tail.first_chunk().map(|len| u16::from_be_bytes(*len)) {
                    let len = usize::from(len);
                    let left = (len + 2).saturating_sub(self.tail.len() + self.hole);
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    if bytes < left {
                        self.hole += bytes;
                        return None;
                    }
                    let mode = if bytes == left { Mode::Handshake } else { Mode::Searching };
                    self.restart(mode);
                    return Some(Item::HandshakeLost(len));
                }
            }
            _ => {}
        }
        self.restart(Mode::Searching);
        None
    }

    fn restart(&mut self, mode: Mode) {
        self.mode = mode;
        self.tail.clear();
        self.hole = 0;
        self.skip = 0;
    }

    fn handshake<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        if self.hole > 0 {
            return self.rest_of_lost(input);
        }
        if input.get(2..3).is_some_and(|tag| !HANDSHAKE_TAGS.contains(&tag.first().copied())) {
            return Some(self.foreign(input));
        }
        match framing::cut_packet2(input) {
            Cut::Message { body, .. } if body.is_empty() || body.len() > self.max => {
                Some(self.foreign(input))
            }
            Cut::Message { body, used } => {
                *input = input.get(used..).unwrap_or_default();
                Some(Item::Handshake(body))
            }
            Cut::Need(more) if input.len() + more > self.max + 2 => Some(self.foreign(input)),
            _ => {
                self.keep(input);
                None
            }
        }
    }

    /// Passes over what is left of a message with a hole in it.
    fn rest_of_lost<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        let len = self.tail.first_chunk().map_or(0, |len| u16::from_be_bytes(*len));
        let len = usize::from(len);
        let left = (len + 2).saturating_sub(self.tail.len() + self.hole);
        let here = left.min(input.len());
        *input = input.get(here..).unwrap_or_default();
        if here < left {
            self.hole += here;
            return None;
        }
        self.restart(Mode::Handshake);
        Some(Item::HandshakeLost(len))
    }

    /// Passes over what is left of the current record.
    fn pass_over(&mut self, input: &mut &[u8]) {
        let here = usize::try_from(self.skip).unwrap_or(usize::MAX).min(input.len());
        self.skip -= here as u64;
        *input = input.get(here..).unwrap_or_default();
    }

    /// Walks over records to an alert in clear or a sealed one; nothing of them is kept.
    fn record<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        loop {
            self.pass_over(input);
            let Some((header, body)) = input.split_at_checked(RecordHeader::LEN) else {
                return self.keep_all(input);
            };
            let Ok(RecordHeader { content_type, length }) = decode(header, tls::record_header)
            else {
                return self.end(input);
            };
            match (content_type, self.mode) {
                _ if length > RecordHeader::MAX_LENGTH => return self.end(input),
                (ContentType::ALERT, Mode::Tls) if length == Alert::LEN => {
                    let Some((alert, rest)) = body.split_at_checked(Alert::LEN.into()) else {
                        return self.keep_all(input);
                    };
                    *input = rest;
                    return decode(alert, tls::alert).ok().map(Item::TlsAlert);
                }
                // A handshake goes on in clear behind it where TLS 1.3 retries its hellos.
                (ContentType::CHANGE_CIPHER_SPEC, _) => self.mode = Mode::TlsSealed,
                (ContentType::HANDSHAKE, _) => {}
                (ContentType::APPLICATION_DATA, _) => {
                    self.mode = Mode::TlsSealed;
                    self.skip = length.into();
                    *input = body;
                    return Some(Item::TlsSealed(length));
                }
                // Sealed as in TLS 1.2, or no TLS.
                _ => return self.end(input),
            }
            self.skip = length.into();
            *input = body;
        }
    }

    fn end<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        self.close();
        *input = &[];
        None
    }

    /// Looks for a place to go on at, at the start of what one segment brought.
    fn search<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        match (identify::handshake_start(input), credible_frame(input)) {
            (Verdict::Certain | Verdict::Fits, _) => {
                self.mode = Mode::Handshake;
                self.handshake(input)
            }
            (_, Credible::Yes) => {
                self.mode = Mode::Frames;
                None
            }
            (_, Credible::Tick) if has_zeros(input) => {
                *input = &[];
                Some(Item::Unknown)
            }
            (_, Credible::Tick) => {
                // A tick alone, or before what the next look can judge.
                *input = input.get(4..).unwrap_or_default();
                Some(Item::MaybeTick)
            }
            (Verdict::Unsure, _) | (_, Credible::NeedMore(_)) if input.len() <= MAX_SEARCHED => {
                self.keep(input);
                None
            }
            _ => {
                *input = &[];
                Some(Item::Unknown)
            }
        }
    }

    fn tls<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        match **input {
            [TLS_ALERT, TLS_MAJOR, 0..=4, 0, 2, level @ (1 | 2), description, ..] => {
                self.close();
                *input = &[];
                Some(Item::TlsAlert(Alert { level, description }))
            }
            // A ServerHello or ClientHello that is whole: type, length, and a record that holds it.
            [TLS_HANDSHAKE, TLS_MAJOR, 0..=4, high, low, 1 | 2, 0, ..] => {
                let len = usize::from(u16::from_be_bytes([high, low]));
                match input.get(RecordHeader::LEN..) {
                    Some(body) if (40..=MAX_TLS_RECORD).contains(&len) => {
                        let Some((hello, rest)) = body.split_at_checked(len) else {
                            return self.keep_all(input);
                        };
                        self.mode = Mode::Tls;
                        *input = rest;
                        Some(Item::TlsHello(hello))
                    }
                    _ => Some(self.foreign(input)),
                }
            }
            [TLS_ALERT | TLS_HANDSHAKE]
            | [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR]
            | [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR, 0..=4]
            | [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR, 0..=4, _]
            | [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR, 0..=4, _, _]
            | [TLS_ALERT | TLS_HANDSHAKE, TLS_MAJOR, 0..=4, _, _, 1 | 2] => self.keep_all(input),
            _ => Some(self.foreign(input)),
        }
    }

    fn foreign<'a>(&mut self, input: &mut &'a [u8]) -> Item<'a> {
        self.close();
        Item::Foreign(std::mem::take(input))
    }

    fn keep(&mut self, input: &mut &[u8]) {
        self.tail.extend_from_slice(std::mem::take(input));
    }

    fn keep_all<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        self.keep(input);
        None
    }
}

const HANDSHAKE_TAGS: [Option<u8>; 6] =
    [Some(b'N'), Some(b'n'), Some(b's'), Some(b'c'), Some(b'r'), Some(b'a')];

/// Whether there are more zeros at the front than ticks come at once: they are bytes of a message.
fn has_zeros(input: &[u8]) -> bool {
    input.get(..4 * MOST_TICKS).is_some_and(|front| front.iter().all(|byte| *byte == 0))
}

/// Ticks that one packet brings, after minutes in which none came through.
const MOST_TICKS: usize = 16;

/// Enough to read a whole distribution header with full cache references and the control term behind it.
const MAX_SEARCHED: usize = 2048;

const TLS_ALERT: u8 = ContentType::ALERT.0;
const TLS_HANDSHAKE: u8 = ContentType::HANDSHAKE.0;
const TLS_MAJOR: u8 = 3;

/// RFC 8446, section 5.1.
const MAX_TLS_RECORD: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of `size` bytes and tells the items, shortened.
    fn cut(reader: &mut Reader, stream: &[u8], size: usize) -> Vec<String> {
        let mut out = Vec::new();
        for piece in stream.chunks(size) {
            let joined = reader.take_tail().map(|mut tail| {
                tail.extend_from_slice(piece);
                tail
            });
            let mut input = joined.as_deref().unwrap_or(piece);
            while let Some(item) = reader.next(&mut input) {
                out.push(match item {
                    Item::Handshake(body) => String::from_utf8_lossy(body).into_owned(),
                    Item::TlsHello(_) => "TlsHello".to_owned(),
                    other => format!("{other:?}"),
                });
            }
        }
        out
    }

    fn from_start() -> Reader {
        let mut reader = Reader::new(600);
        reader.begin();
        reader
    }

    #[test]
    fn any_segmentation_gives_the_same_messages() {
        for size in 1..16 {
            let mut reader = from_start();
            assert_eq!(cut(&mut reader, b"\0\x03sok\0\x06salive", size), ["sok", "salive"]);
        }
    }

    #[test]
    fn a_hole_in_a_message_does_not_lose_the_one_behind_it() {
        let mut reader = from_start();
        assert!(cut(&mut reader, b"\0\x06sal", 99).is_empty());
        assert_eq!(reader.gap(2), None);
        assert_eq!(cut(&mut reader, b"e\0\x03sok", 99), ["HandshakeLost(6)", "sok"]);
        assert!(cut(&mut reader, b"\0\x06sal", 99).is_empty());
        assert_eq!(reader.gap(3), Some(Item::HandshakeLost(6)));
        assert_eq!(cut(&mut reader, b"\0\x03sok", 99), ["sok"]);
    }

    #[test]
    fn behind_a_hole_of_unknown_content_a_credible_start_is_looked_for() {
        let mut reader = from_start();
        assert_eq!(reader.gap(7), None);
        assert_eq!(cut(&mut reader, b"rubbish!", 99), ["Unknown"]);
        assert_eq!(cut(&mut reader, b"\0\x03sok", 99), ["sok"]);
    }

    #[test]
    fn behind_a_hole_zeros_of_a_message_are_no_ticks() {
        let mut reader = from_start();
        assert_eq!(reader.gap(7), None);
        assert_eq!(cut(&mut reader, &[0; 1448], 1448), ["Unknown"]);
        assert_eq!(cut(&mut reader, &[0; 12], 99), ["MaybeTick"; 3]);
    }

    #[test]
    fn other_protocols_are_foreign_at_once() {
        for stream in [&b"GET / HTTP/1.1"[..], b"\0\0", b"\xff\xff\x01", b"\0\x3cQ", b"SSH-2.0"] {
            let out = cut(&mut from_start(), stream, 99);
            assert!(out[0].starts_with("Foreign"), "{out:?}");
        }
    }

    fn alert(level: u8, description: u8) -> String {
        format!("TlsAlert(Alert {{ level: {level}, description: {description} }})")
    }

    /// A record with `body_len` bytes of a handshake.
    fn flight(body_len: u8) -> Vec<u8> {
        let mut record = vec![0x16, 3, 3, 0, body_len, 2, 0, 0, body_len - 4];
        record.resize(usize::from(body_len) + 5, 0x15);
        record
    }

    #[test]
    fn an_alert_is_found_behind_any_number_of_records_in_clear() {
        let stream = [flight(60), flight(250), flight(4), b"\x15\x03\x03\0\x02\x02\x30".to_vec()];
        let stream = stream.concat();
        for size in 1..20 {
            let mut reader = from_start();
            assert_eq!(cut(&mut reader, &stream, size), ["TlsHello".to_owned(), alert(2, 48)]);
            assert!(reader.tail.is_empty());
        }
    }

    const CHANGE_CIPHER_SPEC: &[u8] = b"\x14\x03\x03\0\x01\x01";
    const CLEAR_ALERT: &[u8] = b"\x15\x03\x03\0\x02\x02\x30";

    #[test]
    fn of_what_is_sealed_the_length_alone_is_told() {
        let data = b"\x17\x03\x03\0\x03\x15\x03\x03".to_vec();
        let retried = [&flight(60), CHANGE_CIPHER_SPEC, &flight(60), &data, &data, CLEAR_ALERT];
        for size in 1..20 {
            let mut reader = from_start();
            let out = cut(&mut reader, &retried.concat(), size);
            assert_eq!(out, ["TlsHello", "TlsSealed(3)", "TlsSealed(3)"]);
            assert!(reader.tail.is_empty());
        }
    }

    #[test]
    fn nothing_is_read_where_alerts_are_sealed_and_where_there_is_no_tls() {
        let sealed = [CHANGE_CIPHER_SPEC, CLEAR_ALERT].concat();
        let long = [b"\x15\x03\x03\0\x1a\x02\x30", CLEAR_ALERT].concat();
        let over_long = [b"\x17\x03\x03\xff\xff", CLEAR_ALERT].concat();
        for rest in [sealed, long, over_long, b"rubbish".to_vec()] {
            let stream = [flight(60), rest].concat();
            for size in [1, 3, 99] {
                assert_eq!(cut(&mut from_start(), &stream, size), ["TlsHello"]);
            }
        }
    }

    #[test]
    fn a_hole_inside_a_record_loses_nothing_and_one_across_its_end_all() {
        for (bytes, found) in [(40, true), (41, false)] {
            let mut reader = from_start();
            assert_eq!(cut(&mut reader, &flight(60), 99), ["TlsHello"]);
            assert!(cut(&mut reader, &flight(60)[..25], 99).is_empty());
            assert_eq!(reader.gap(bytes), None);
            let out = cut(&mut reader, b"\x15\x03\x03\0\x02\x02\x30", 99);
            assert_eq!(!out.is_empty(), found, "{bytes}");
        }
    }

    #[test]
    fn tls_is_a_whole_hello_and_not_two_bytes() {
        let mut hello = vec![0x16, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3];
        hello.extend([0; 54]);
        for size in [1, 7, 99] {
            assert_eq!(cut(&mut from_start(), &hello, size), ["TlsHello"]);
        }
        assert_eq!(cut(&mut from_start(), b"\x15\x03\x03\0\x02\x02\x0a", 1), [alert(2, 10)]);
        assert!(cut(&mut from_start(), &hello[..20], 99).is_empty());
        assert!(cut(&mut from_start(), b"\x16\x03\x01\0\x05hello", 99)[0].starts_with("Foreign"));
    }
}
