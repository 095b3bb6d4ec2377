//! One direction of a distribution connection, cut into handshake messages.
//!
//! In: plain bytes and gaps in stream order. Out: whole handshake messages, and the position at which frames begin:
//! `messages/` cuts those. Which message changes the framing is known to the caller.

use crate::identify::{self, PayloadMatch};
use crate::wire::header::{Credible, credible_frame};
use crate::wire::{Cut, framing};

/// What was cut from a stream.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum FramingItem<'a> {
    /// A whole handshake message, without its length.
    Handshake(&'a [u8]),
    /// A handshake message of this length of which the capture lacks a part.
    HandshakeLost(usize),
    /// Four zero bytes where the position in the protocol is not known: a tick, or nothing.
    MaybeTick,
    /// The stream begins with these bytes, which are no handshake message.
    Foreign(&'a [u8]),
    /// These bytes, of a stream whose position in the protocol is lost, begin nothing.
    Unknown,
}

/// Cuts one direction. Holds the unfinished tail of a handshake message.
#[derive(Debug)]
pub(super) struct Framing {
    mode: Mode,
    /// Unfinished tail; never longer than a handshake message with its length.
    tail: Vec<u8>,
    /// Number of bytes of the message in `tail` that the capture does not have.
    hole: usize,
    /// Longest handshake message accepted.
    max: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mode {
    /// Handshake messages, `{packet, 2}`.
    Handshake,
    /// Frames, `{packet, 4}`, which `messages/` cuts.
    Frames,
    /// The position in the protocol is lost, or was never known.
    Searching,
    /// Nothing more is read.
    Opaque,
}

impl Framing {
    /// A direction whose first byte need not be the first of the stream.
    pub(super) const fn new(max: usize) -> Self {
        Self { mode: Mode::Searching, tail: Vec::new(), hole: 0, max }
    }

    /// The next byte is the first of the stream.
    pub(super) const fn begin(&mut self) {
        self.mode = Mode::Handshake;
    }

    /// The handshake of this direction is over.
    pub(super) fn switch_to_frames(&mut self) {
        self.mode = Mode::Frames;
        self.tail.clear();
    }

    /// Whether frames come next.
    #[inline]
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

    /// Takes the bytes that wait for more, to be put before those that come next.
    pub(super) fn take_tail(&mut self) -> Option<Vec<u8>> {
        (self.hole == 0 && !self.tail.is_empty()).then(|| std::mem::take(&mut self.tail))
    }

    /// Cuts the next item from the front of `input`; `None` when it holds no more, or frames begin.
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

    /// Passes over `bytes` that the capture does not have.
    pub(super) fn gap(&mut self, bytes: u64) -> Option<FramingItem<'static>> {
        match self.mode {
            Mode::Opaque => return None,
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
        self.hole = 0;
    }

    fn handshake<'a>(&mut self, input: &mut &'a [u8]) -> Option<FramingItem<'a>> {
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
                Some(FramingItem::Handshake(body))
            }
            Cut::Need(more) if input.len() + more > self.max + 2 => Some(self.foreign(input)),
            _ => {
                self.hold(input);
                None
            }
        }
    }

    /// Passes over what is left of a message with a hole in it.
    fn rest_of_lost<'a>(&mut self, input: &mut &'a [u8]) -> Option<FramingItem<'a>> {
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
        Some(FramingItem::HandshakeLost(len))
    }

    /// Looks for a message or a frame at the start of what one segment brought.
    fn search<'a>(&mut self, input: &mut &'a [u8]) -> Option<FramingItem<'a>> {
        match (identify::handshake_start(input), credible_frame(input)) {
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
                // The bytes behind it, if any, are judged by the next call.
                *input = input.get(4..).unwrap_or_default();
                Some(FramingItem::MaybeTick)
            }
            (PayloadMatch::Unsure, _) | (_, Credible::NeedMore(_))
                if input.len() <= MAX_SEARCHED =>
            {
                self.hold(input);
                None
            }
            _ => {
                *input = &[];
                Some(FramingItem::Unknown)
            }
        }
    }

    fn foreign<'a>(&mut self, input: &mut &'a [u8]) -> FramingItem<'a> {
        self.close();
        FramingItem::Foreign(std::mem::take(input))
    }

    fn hold(&mut self, input: &mut &[u8]) {
        self.tail.extend_from_slice(std::mem::take(input));
    }
}

const HANDSHAKE_TAGS: [Option<u8>; 6] =
    [Some(b'N'), Some(b'n'), Some(b's'), Some(b'c'), Some(b'r'), Some(b'a')];

/// Whether the front has more zeros than ticks come at once: then they are bytes of a message.
fn has_zeros(input: &[u8]) -> bool {
    input.get(..4 * MOST_TICKS).is_some_and(|front| front.iter().all(|byte| *byte == 0))
}

/// Most ticks that one packet brings, after minutes in which the network let none pass.
const MOST_TICKS: usize = 16;

/// Enough for a whole distribution header with full cache references, and the control term behind it.
const MAX_SEARCHED: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of `size` bytes and returns the items, shortened.
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
        let mut framing = Framing::new(600);
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
    fn a_hole_in_a_message_does_not_lose_the_one_behind_it() {
        let mut framing = from_start();
        assert!(cut(&mut framing, b"\0\x06sal", 99).is_empty());
        assert_eq!(framing.gap(2), None);
        assert_eq!(cut(&mut framing, b"e\0\x03sok", 99), ["HandshakeLost(6)", "sok"]);
        assert!(cut(&mut framing, b"\0\x06sal", 99).is_empty());
        assert_eq!(framing.gap(3), Some(FramingItem::HandshakeLost(6)));
        assert_eq!(cut(&mut framing, b"\0\x03sok", 99), ["sok"]);
    }

    #[test]
    fn behind_a_hole_of_unknown_content_a_credible_start_is_looked_for() {
        let mut framing = from_start();
        assert_eq!(framing.gap(7), None);
        assert_eq!(cut(&mut framing, b"rubbish!", 99), ["Unknown"]);
        assert_eq!(cut(&mut framing, b"\0\x03sok", 99), ["sok"]);
    }

    #[test]
    fn behind_a_hole_zeros_of_a_message_are_no_ticks() {
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
