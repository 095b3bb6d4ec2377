//! Cuts one direction of a distribution connection into handshake messages.
//!
//! In: plain bytes and gaps in stream order. Out: whole handshake messages, and the position at which frames begin,
//! which `messages/` cuts. The caller decides after which message the frames begin.

use crate::identify::{self, PayloadMatch};
use crate::memory::Reservation;
use crate::wire::header::{Credible, credible_frame};
use crate::wire::{Cut, framing};

/// One item cut from a stream.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum FramingItem<'a> {
    /// A whole handshake message, without its length.
    Handshake(&'a [u8]),
    /// A handshake message of this length. The capture lacks a part of it.
    HandshakeLost(usize),
    /// Four zero bytes at an unknown position in the protocol: a tick, or bytes of a message.
    MaybeTick,
    /// The first bytes of the stream, which are no handshake message.
    Foreign(&'a [u8]),
    /// Bytes at an unknown position in the protocol, which begin neither a handshake message nor a frame.
    Unknown,
}

/// The cutter of one direction, with the incomplete handshake message at the end of its bytes so far.
#[derive(Debug)]
pub(super) struct Framing {
    mode: Mode,
    /// The incomplete message; never longer than a handshake message with its length prefix.
    tail: Vec<u8>,
    /// Memory that `tail` uses, but for the length of the message.
    memory: Reservation,
    /// Number of bytes of the message in `tail` that the capture lacks.
    missing: usize,
    /// Length of the longest handshake message accepted, without its prefix.
    max: usize,
    /// Bytes of the length before a handshake message.
    prefix: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// Handshake messages, `{packet, 2}`; inside TLS `{packet, 4}`.
    Handshake,
    /// Frames, `{packet, 4}`, which `messages/` cuts.
    Frames,
    /// The position in the protocol is unknown, since a gap or from the start.
    Searching,
    /// The rest of the stream is ignored.
    Opaque,
}

impl Framing {
    /// A cutter of bytes that may begin anywhere in the stream; `max` bounds a handshake message. Incomplete messages count
    /// against the budget of `memory`.
    pub(super) const fn new(max: usize, memory: Reservation) -> Self {
        Self { mode: Mode::Searching, tail: Vec::new(), memory, missing: 0, max, prefix: 2 }
    }

    /// Expects lengths of four bytes before handshake messages, as inside TLS (`inet_tls_dist.erl`).
    pub(super) const fn use_long_prefix(&mut self) {
        self.prefix = 4;
    }

    /// Expects the first byte of the stream next.
    pub(super) const fn begin(&mut self) {
        self.mode = Mode::Handshake;
    }

    /// Expects frames next, since the last handshake message of this direction has come.
    pub(super) fn switch_to_frames(&mut self) {
        self.restart(Mode::Frames);
    }

    /// Whether frames are expected next.
    #[inline]
    pub(super) fn is_in_frames(&self) -> bool {
        self.mode == Mode::Frames
    }

    /// Searches for the next message, since the expected frame is none or was not captured.
    pub(super) fn lose_frames(&mut self) {
        self.restart(Mode::Searching);
    }

    /// Ignores the rest of this direction, which cannot be read.
    pub(super) fn close(&mut self) {
        self.restart(Mode::Opaque);
        self.tail = Vec::new();
    }

    /// Takes the bytes of an incomplete message out, for the caller to put before the next ones.
    pub(super) fn take_tail(&mut self) -> Option<Vec<u8>> {
        let is_whole = self.missing == 0 && !self.tail.is_empty();
        is_whole.then(|| {
            self.memory.release_all();
            std::mem::take(&mut self.tail)
        })
    }

    /// Cuts the next item from the front of `input`; `None` if it is used up or frames begin.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<FramingItem<'a>> {
        match self.mode {
            _ if input.is_empty() => None,
            Mode::Handshake => self.handshake(input),
            Mode::Frames => None,
            Mode::Searching => self.search(input),
            Mode::Opaque => {
                *input = &[];
                None
            }
        }
    }

    /// Skips `bytes` bytes that the capture lacks.
    pub(super) fn gap(&mut self, bytes: u64) -> Option<FramingItem<'static>> {
        match self.mode {
            Mode::Opaque => return None,
            Mode::Handshake => {
                if let Some(len) = self.announced() {
                    let left = (len + self.prefix).saturating_sub(self.tail.len() + self.missing);
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    if bytes < left {
                        self.missing += bytes;
                        return None;
                    }
                    let mode = if bytes == left { Mode::Handshake } else { Mode::Searching };
                    self.restart(mode);
                    return Some(FramingItem::HandshakeLost(len));
                }
            }
            Mode::Frames | Mode::Searching => {}
        }
        self.restart(Mode::Searching);
        None
    }

    fn restart(&mut self, mode: Mode) {
        self.mode = mode;
        self.tail.clear();
        self.memory.release_all();
        self.missing = 0;
    }

    fn handshake<'a>(&mut self, input: &mut &'a [u8]) -> Option<FramingItem<'a>> {
        if self.missing > 0 {
            return self.skip_rest_of_lost(input);
        }
        if input.get(self.prefix).is_some_and(|tag| !HANDSHAKE_TAGS.contains(tag)) {
            return Some(self.foreign(input));
        }
        let cut = if self.prefix == 2 {
            framing::cut_packet2(input)
        } else {
            framing::cut_packet4(input, self.max)
        };
        match cut {
            Cut::Message { body, .. } if body.is_empty() || body.len() > self.max => {
                Some(self.foreign(input))
            }
            Cut::Message { body, used } => {
                *input = input.get(used..).unwrap_or_default();
                Some(FramingItem::Handshake(body))
            }
            Cut::TooLong(_) => Some(self.foreign(input)),
            Cut::Need(more) if input.len() + more > self.max + self.prefix => {
                Some(self.foreign(input))
            }
            Cut::Need(_) => {
                self.keep_tail(input);
                None
            }
        }
    }

    /// The length that the incomplete message in `tail` begins with.
    fn announced(&self) -> Option<usize> {
        let low = self.tail.get(self.prefix - 2..)?.first_chunk()?;
        Some(u16::from_be_bytes(*low).into())
    }

    /// Skips the rest of a message of which the capture lacks a part.
    fn skip_rest_of_lost<'a>(&mut self, input: &mut &'a [u8]) -> Option<FramingItem<'a>> {
        let len = self.announced().unwrap_or(0);
        let left = (len + self.prefix).saturating_sub(self.tail.len() + self.missing);
        let here = left.min(input.len());
        *input = input.get(here..).unwrap_or_default();
        if here < left {
            self.missing += here;
            return None;
        }
        self.restart(Mode::Handshake);
        Some(FramingItem::HandshakeLost(len))
    }

    /// Searches for a message or a frame at the start of the bytes of one segment.
    fn search<'a>(&mut self, input: &mut &'a [u8]) -> Option<FramingItem<'a>> {
        match (self.handshake_start(input), credible_frame(input)) {
            (PayloadMatch::Certain | PayloadMatch::Fits, _) => {
                self.mode = Mode::Handshake;
                self.handshake(input)
            }
            (_, Credible::Yes) => {
                self.mode = Mode::Frames;
                None
            }
            (_, Credible::Tick) if has_zeros(input) => {
                *input = &[];
                Some(FramingItem::Unknown)
            }
            (_, Credible::Tick) => {
                // The next call examines the bytes behind the tick.
                *input = input.get(4..).unwrap_or_default();
                Some(FramingItem::MaybeTick)
            }
            (PayloadMatch::Unsure, _) | (_, Credible::NeedMore(_))
                if input.len() <= MAX_SEARCHED =>
            {
                self.keep_tail(input);
                None
            }
            _ => {
                *input = &[];
                Some(FramingItem::Unknown)
            }
        }
    }

    /// Whether a handshake message begins here. Of a length of four bytes, the first two are zero.
    fn handshake_start(&self, input: &[u8]) -> PayloadMatch {
        match input {
            _ if self.prefix == 2 => identify::handshake_start(input),
            [0, 0, rest @ ..] => identify::handshake_start(rest),
            [] | [0] => PayloadMatch::Unsure,
            _ => PayloadMatch::No,
        }
    }

    fn foreign<'a>(&mut self, input: &mut &'a [u8]) -> FramingItem<'a> {
        self.close();
        FramingItem::Foreign(std::mem::take(input))
    }

    /// Keeps the bytes of an incomplete message. Without memory for them, they are as if the capture lacked them, and the
    /// length of the message is kept, so that the next one is found.
    fn keep_tail(&mut self, input: &mut &[u8]) {
        let bytes = std::mem::take(input);
        let of_length = self.prefix.saturating_sub(self.tail.len()).min(bytes.len());
        let (length, rest) = bytes.split_at_checked(of_length).unwrap_or_default();
        self.tail.extend_from_slice(length);
        if self.memory.take(rest.len()) {
            self.tail.extend_from_slice(rest);
        } else if self.mode == Mode::Handshake {
            self.missing += rest.len();
        } else {
            self.restart(Mode::Searching);
        }
    }
}

/// The tags with which handshake messages begin.
const HANDSHAKE_TAGS: [u8; 6] = *b"Nnscra";

/// Whether `input` begins with more zeros than ticks come in one packet: then they are bytes of a message.
fn has_zeros(input: &[u8]) -> bool {
    input.get(..4 * MOST_TICKS).is_some_and(|front| front.iter().all(|byte| *byte == 0))
}

/// Most ticks in one packet: those queued while the network was interrupted for minutes.
const MOST_TICKS: usize = 16;

/// Most bytes kept while searching: enough for a distribution header with all its cache references, and the
/// control term behind it.
const MAX_SEARCHED: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBudget;

    /// Feeds `stream` in chunks of `size` bytes and returns the items in a short form.
    fn cut(framing: &mut Framing, stream: &[u8], size: usize) -> Vec<String> {
        let mut out = Vec::new();
        for piece in stream.chunks(size) {
            let joined = framing.take_tail().map(|mut tail| {
                tail.extend_from_slice(piece);
                tail
            });
            let mut input = joined.as_deref().unwrap_or(piece);
            while let Some(item) = framing.next(&mut input) {
                out.push(match item {
                    FramingItem::Handshake(body) => String::from_utf8_lossy(body).into_owned(),
                    other => format!("{other:?}"),
                });
            }
        }
        out
    }

    fn from_start() -> Framing {
        let mut framing = Framing::new(600, MemoryBudget::new(1 << 20).reservation());
        framing.begin();
        framing
    }

    #[test]
    fn any_segmentation_gives_the_same_messages() {
        for size in 1..16 {
            let mut framing = from_start();
            assert_eq!(cut(&mut framing, b"\0\x03sok\0\x06salive", size), ["sok", "salive"]);
        }
    }

    #[test]
    fn a_message_of_the_most_bytes_is_waited_for_and_a_longer_one_is_refused_by_its_length() {
        let message = |len: u16| {
            let body = [b"n".as_slice(), &vec![b'x'; usize::from(len) - 1]].concat();
            [len.to_be_bytes().as_slice(), &body].concat()
        };
        for size in [1, 3, 601, 602] {
            let out = cut(&mut from_start(), &message(600), size);
            assert_eq!(out.iter().map(String::len).collect::<Vec<_>>(), [600], "{size}");
        }
        for size in [3, 602, 603] {
            let out = cut(&mut from_start(), &message(601)[..size], size);
            assert!(out[0].starts_with("Foreign"), "{size}: {out:?}");
        }
        let mut long = from_start();
        long.use_long_prefix();
        assert!(cut(&mut long, b"\0\0\x02\x58n", 9).is_empty());
        let mut long = from_start();
        long.use_long_prefix();
        assert!(cut(&mut long, b"\0\0\x02\x59n", 9)[0].starts_with("Foreign"));
    }

    #[test]
    fn inside_tls_a_length_has_four_bytes() {
        let framing = || {
            let mut framing = from_start();
            framing.use_long_prefix();
            framing
        };
        for size in 1..16 {
            let stream = b"\0\0\0\x03sok\0\0\0\x06salive";
            assert_eq!(cut(&mut framing(), stream, size), ["sok", "salive"]);
        }
        let mut lost = framing();
        assert!(cut(&mut lost, b"\0\0\0\x06sal", 99).is_empty());
        assert_eq!(lost.gap(2), None);
        assert_eq!(cut(&mut lost, b"e\0\0\0\x03sok", 99), ["HandshakeLost(6)", "sok"]);
        assert_eq!(lost.gap(u64::MAX), None);
        assert_eq!(cut(&mut lost, b"\0\0\0\x03sok", 99), ["sok"]);
        for stream in [&b"\0\x03sok"[..], b"\0\x01\0\x03sok", b"\0\0\0\0"] {
            let out = cut(&mut framing(), stream, 99);
            assert!(out[0].starts_with("Foreign"), "{out:?}");
        }
    }

    #[test]
    fn without_memory_a_message_in_parts_is_lost_and_the_next_one_is_found() {
        let budget = MemoryBudget::new(8);
        let mut framing = Framing::new(600, budget.reservation());
        framing.begin();
        let parts = [&b"\0\x0cnthis is too"[..], b"\0\x03s", b"ok"];
        let found: Vec<_> = parts.iter().flat_map(|part| cut(&mut framing, part, 99)).collect();
        assert_eq!(found, ["nthis is too", "sok"], "whole ones need no memory");
        let parts = [&b"\0\x22nthis is too"[..], b" long for what is kept", b"\0\x03s", b"ok"];
        let mut framing = Framing::new(600, budget.reservation());
        framing.begin();
        let found: Vec<_> = parts.iter().flat_map(|part| cut(&mut framing, part, 99)).collect();
        assert_eq!(found, ["HandshakeLost(34)", "sok"]);
        assert_eq!(budget.used(), 0, "what was kept was given back");
    }

    #[test]
    fn a_gap_in_a_message_does_not_lose_the_next_message() {
        let mut framing = from_start();
        assert!(cut(&mut framing, b"\0\x06sal", 99).is_empty());
        assert_eq!(framing.gap(2), None);
        assert_eq!(cut(&mut framing, b"e\0\x03sok", 99), ["HandshakeLost(6)", "sok"]);
        assert!(cut(&mut framing, b"\0\x06s", 99).is_empty());
        assert_eq!(framing.gap(2), None);
        assert_eq!(cut(&mut framing, b"ive\0\x03sok", 1), ["HandshakeLost(6)", "sok"]);
        assert!(cut(&mut framing, b"\0\x06sal", 99).is_empty());
        assert_eq!(framing.gap(3), Some(FramingItem::HandshakeLost(6)));
        assert_eq!(cut(&mut framing, b"\0\x03sok", 99), ["sok"]);
    }

    #[test]
    fn behind_a_gap_of_unknown_content_a_credible_start_is_searched_for() {
        let mut framing = from_start();
        assert_eq!(framing.gap(7), None);
        assert_eq!(cut(&mut framing, b"rubbish!", 99), ["Unknown"]);
        assert_eq!(cut(&mut framing, b"\0\x03sok", 99), ["sok"]);
    }

    #[test]
    fn behind_a_gap_zeros_of_a_message_are_no_ticks() {
        let mut framing = from_start();
        assert_eq!(framing.gap(7), None);
        assert_eq!(cut(&mut framing, &[0; 1448], 1448), ["Unknown"]);
        assert_eq!(cut(&mut framing, &[0; 12], 99), ["MaybeTick"; 3]);
    }

    #[test]
    fn other_protocols_are_foreign_at_once() {
        for stream in [&b"GET / HTTP/1.1"[..], b"\0\0", b"\xff\xff\x01", b"\0\x3cQ", b"SSH-2.0"] {
            let out = cut(&mut from_start(), stream, 99);
            assert!(out[0].starts_with("Foreign"), "{out:?}");
        }
    }
}
