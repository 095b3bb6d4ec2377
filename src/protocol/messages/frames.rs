//! One direction after the handshake, cut into frames.
//!
//! In: bytes and gaps in stream order. Out: each frame once its last byte has come, with the bytes at its front
//! that hold its header and control term. Bytes behind those are never kept: a frame of a gigabyte needs as much
//! memory as its front.

use crate::memory::Reservation;
use crate::wire::header::FrameKind;

/// A frame whose last byte has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct DistFrame<'a> {
    pub(super) kind: FrameKind,
    /// The number of bytes behind the length prefix.
    pub(super) len: u32,
    /// The first of these bytes: all of them, or as many as were wanted.
    pub(super) head: &'a [u8],
    /// Whether the capture lacks bytes of the head.
    pub(super) is_cut: bool,
}

/// The next result of cutting a stretch of the stream.
#[derive(Debug)]
pub(super) enum FrameStep<'a> {
    /// A frame has ended.
    Frame(DistFrame<'a>),
    /// No further frame ends in the stretch.
    End(FrameScanEnd),
}

/// Why no further frame was found in a stretch of the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::protocol) enum FrameScanEnd {
    /// All of its bytes were read.
    AllRead,
    /// The bytes where a frame should begin are none.
    NoFrame {
        /// The value of the length prefix.
        len: u32,
        /// The bytes behind the length prefix.
        start: [u8; 2],
    },
}

/// The effect of a gap in the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum GapOutcome {
    /// The gap is within one frame, whose end is known.
    InFrame,
    /// The start of the next frame is unknown.
    Lost,
}

/// Cuts frames. Holds the front of the current frame where the frame comes in several segments.
#[derive(Debug)]
pub(super) struct FrameCutter {
    /// Length prefix and front of the current frame, unless all of the frame is in the input.
    held: Vec<u8>,
    memory: Reservation,
    position: FramePosition,
    /// The number of frames whose kind was seen.
    begun: u64,
}

/// How much of the current frame was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum FramePosition {
    /// At most a part of its length prefix and kind.
    Start,
    /// A part of its front, of which `wanted` bytes are kept, the prefix included.
    Front { wanted: usize },
    /// Its front, or all up to a gap in it. `left` bytes of the frame follow.
    Rest { left: u64, is_cut: bool },
    /// All of it. Its front is still held, because the caller borrows it.
    End,
}

impl FrameCutter {
    pub(super) const fn new(memory: Reservation) -> Self {
        Self { held: Vec::new(), memory, position: FramePosition::Start, begun: 0 }
    }

    /// The number of frames whose kind was seen.
    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }

    /// Reads up to the end of the next frame, and removes what it read from `input`. For a frame that comes in
    /// several segments, `wants` gives the number of bytes of its body to keep, from the bytes that are held so far.
    #[inline]
    pub(super) fn next<'f, 'a: 'f>(
        &'f mut self,
        input: &mut &'a [u8],
        wants: impl Fn(FrameKind, &[u8]) -> usize,
    ) -> FrameStep<'f> {
        if self.held.is_empty() {
            if input.is_empty() {
                return FrameStep::End(FrameScanEnd::AllRead);
            }
            // Nearly all frames are complete in the input: nothing is copied.
            if let Some((frame, behind)) = whole(input) {
                self.begun += 1;
                *input = behind;
                return FrameStep::Frame(frame);
            }
            // Of most others, length prefix and kind are in the input: they need not be held byte by byte.
            if let Some((len, kind)) = input.get(..START).map(start) {
                self.begin(len, kind);
            }
        }
        self.next_in_pieces(input, wants)
    }

    fn next_in_pieces<'f, 'a: 'f>(
        &'f mut self,
        input: &mut &'a [u8],
        wants: impl Fn(FrameKind, &[u8]) -> usize,
    ) -> FrameStep<'f> {
        loop {
            match self.position {
                FramePosition::End => {
                    self.clear();
                    return self.next(input, wants);
                }
                FramePosition::Start => {
                    if !self.fill(input, PREFIX) {
                        return FrameStep::End(FrameScanEnd::AllRead);
                    }
                    if self.start().0 == 0 {
                        self.begun += 1;
                        self.clear();
                        return FrameStep::Frame(TICK);
                    }
                    if !self.fill(input, START) {
                        return FrameStep::End(FrameScanEnd::AllRead);
                    }
                    let (len, kind) = self.start();
                    if !self.begin(len, kind) {
                        let start = [4, 5].map(|at| self.held.get(at).copied().unwrap_or(0));
                        self.clear();
                        return FrameStep::End(FrameScanEnd::NoFrame { len, start });
                    }
                }
                FramePosition::Front { wanted } => {
                    if !self.fill(input, wanted) {
                        return FrameStep::End(FrameScanEnd::AllRead);
                    }
                    let (len, kind) = self.start();
                    let whole = PREFIX.saturating_add(size(len));
                    let mut more = whole;
                    if wanted < whole {
                        let head = self.held.get(PREFIX..).unwrap_or_default();
                        more = PREFIX.saturating_add(wants(kind, head).min(MAX_HEAD)).min(whole);
                    }
                    self.position = if more > wanted && self.memory.take(more - wanted) {
                        FramePosition::Front { wanted: more }
                    } else {
                        FramePosition::Rest {
                            left: (whole - self.held.len()) as u64,
                            is_cut: more > wanted,
                        }
                    };
                }
                FramePosition::Rest { left, is_cut } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    *input = input.get(here..).unwrap_or_default();
                    let left = left - here as u64;
                    if left > 0 {
                        self.position = FramePosition::Rest { left, is_cut };
                        return FrameStep::End(FrameScanEnd::AllRead);
                    }
                    self.position = FramePosition::End;
                    let (len, kind) = self.start();
                    let head = self.held.get(PREFIX..).unwrap_or_default();
                    return FrameStep::Frame(DistFrame { kind, len, head, is_cut });
                }
            }
        }
    }

    /// Passes over the next `bytes`, which the capture lacks.
    pub(super) fn gap(&mut self, bytes: u64) -> GapOutcome {
        match self.position {
            FramePosition::Rest { left, is_cut } if bytes <= left => {
                self.position = FramePosition::Rest { left: left - bytes, is_cut };
                GapOutcome::InFrame
            }
            FramePosition::Front { .. } => {
                let (len, _) = self.start();
                let left = (PREFIX as u64 + u64::from(len)).saturating_sub(self.held.len() as u64);
                if bytes <= left {
                    self.position = FramePosition::Rest { left: left - bytes, is_cut: true };
                    GapOutcome::InFrame
                } else {
                    self.clear();
                    GapOutcome::Lost
                }
            }
            FramePosition::Start | FramePosition::Rest { .. } | FramePosition::End => {
                self.clear();
                GapOutcome::Lost
            }
        }
    }

    /// Holds bytes of `input` until `wanted` bytes are held. False when `input` ends before.
    fn fill(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let here = wanted.saturating_sub(self.held.len()).min(input.len());
        if let Some((now, later)) = input.split_at_checked(here) {
            self.held.extend_from_slice(now);
            *input = later;
        }
        self.held.len() >= wanted
    }

    /// The length and the kind of the frame whose front is held.
    fn start(&self) -> (u32, FrameKind) {
        start(&self.held)
    }

    /// Begins a frame of this length and kind. False when no frame has them.
    fn begin(&mut self, len: u32, kind: FrameKind) -> bool {
        let is_frame = len >= 2 && kind != FrameKind::Unknown;
        if is_frame {
            self.begun += 1;
            self.position = FramePosition::Front { wanted: PREFIX + FIRST_WANTED.min(size(len)) };
        }
        is_frame
    }

    fn clear(&mut self) {
        self.held.clear();
        // A long front is rare, so its memory is freed.
        if self.held.capacity() > PREFIX + FIRST_WANTED {
            self.held = Vec::new();
        }
        self.memory.release_all();
        self.position = FramePosition::Start;
    }
}

/// The length and the kind of the frame at the front of `bytes`.
fn start(bytes: &[u8]) -> (u32, FrameKind) {
    let len = bytes.first_chunk::<PREFIX>().map_or(0, |len| u32::from_be_bytes(*len));
    (len, FrameKind::of(bytes.get(PREFIX..START).unwrap_or_default()))
}

/// The frame at the front of `input`, if it is complete there, and the bytes behind it.
#[inline]
fn whole(input: &[u8]) -> Option<(DistFrame<'_>, &[u8])> {
    let (prefix, rest) = input.split_first_chunk::<PREFIX>()?;
    let len = u32::from_be_bytes(*prefix);
    let (body, behind) = rest.split_at_checked(size(len))?;
    let kind = FrameKind::of(body);
    let head = body.get(..MAX_HEAD).unwrap_or(body);
    (kind != FrameKind::Unknown).then_some((DistFrame { kind, len, head, is_cut: false }, behind))
}

const TICK: DistFrame<'_> = DistFrame { kind: FrameKind::Tick, len: 0, head: &[], is_cut: false };

fn size(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

const PREFIX: usize = 4;

/// Bytes of the length prefix and the kind.
const START: usize = PREFIX + 2;

/// Bytes that are kept at first of a frame that comes in several segments: header and control term of nearly every
/// message, and as much of the message term as is parsed.
const FIRST_WANTED: usize = 640;

/// The most bytes of a frame that are parsed. The longest distribution header has 255 atoms of 1,020 bytes,
/// 260,994 in all; control terms are short, but for the reasons in those of OTP 21 and older.
pub(super) const MAX_HEAD: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBudget;

    fn frames() -> FrameCutter {
        FrameCutter::new(MemoryBudget::new(MAX_HEAD).reservation())
    }

    /// Cuts `stream`, which comes in pieces of `size` bytes, and describes each frame.
    fn cut(frames: &mut FrameCutter, stream: &[u8], size: usize, wanted: usize) -> Vec<String> {
        let mut frames_cut = Vec::new();
        for mut piece in stream.chunks(size) {
            let end = loop {
                match frames.next(&mut piece, |_, _| wanted) {
                    FrameStep::Frame(DistFrame { kind, len, head, is_cut }) => {
                        let head = if wanted < head.len() { &head[..wanted] } else { head };
                        let cut = if is_cut { " cut" } else { "" };
                        frames_cut.push(format!("{kind:?} {len} {}{cut}", head.len()));
                    }
                    FrameStep::End(end) => break end,
                }
            };
            if let FrameScanEnd::NoFrame { len, start } = end {
                frames_cut.push(format!("NoFrame {len} {start:?}"));
                break;
            }
        }
        frames_cut
    }

    #[test]
    fn any_segmentation_gives_the_same_frames() {
        let stream = b"\0\0\0\0\0\0\0\x06\x83D\0haa\0\0\0\x05p\x83haa\0\0\0\0\0\0\0\x02\x83E";
        let expected =
            ["Tick 0 0", "Normal 6 6", "PassThrough 5 5", "Tick 0 0", "FirstFragment 2 2"];
        for size in 1..40 {
            let mut frames = frames();
            assert_eq!(cut(&mut frames, stream, size, 99), expected, "{size}");
            assert_eq!(frames.begun(), 5);
        }
    }

    fn long(len: u32) -> Vec<u8> {
        let mut frame = len.to_be_bytes().to_vec();
        frame.extend(b"\x83D");
        frame.resize(4 + len as usize, 7);
        frame
    }

    #[test]
    fn a_frame_in_pieces_keeps_as_many_bytes_as_are_wanted() {
        for (wanted, kept) in [(10, 10), (1024, 1024), (5000, 5000), (1 << 20, 9000)] {
            let mut frames = frames();
            let found = cut(&mut frames, &long(9000), 100, wanted);
            assert_eq!(found, [format!("Normal 9000 {kept}")]);
            assert!(frames.held.capacity() <= PREFIX + FIRST_WANTED);
        }
    }

    #[test]
    fn a_frame_of_a_gigabyte_keeps_its_front_alone() {
        let mut frames = frames();
        let mut stream = long(1 << 30 >> 10);
        stream[..4].copy_from_slice(&(1_u32 << 30).to_be_bytes());
        assert!(cut(&mut frames, &stream, 1448, 600).is_empty());
        assert!(frames.held.len() <= PREFIX + FIRST_WANTED);
    }

    #[test]
    fn without_memory_a_long_front_is_cut_and_the_next_frame_is_found() {
        let mut frames = FrameCutter::new(MemoryBudget::new(2000).reservation());
        let stream = [long(9000), vec![0; 4]].concat();
        let cut_frame = format!("Normal 9000 {FIRST_WANTED} cut");
        assert_eq!(cut(&mut frames, &stream, 100, 5000), [&cut_frame, "Tick 0 0"]);
        let stream = long(2500);
        assert_eq!(cut(&mut frames, &stream, 100, 2500), ["Normal 2500 2500"], "given back");
    }

    #[test]
    fn a_gap_behind_the_front_costs_nothing_and_one_in_it_costs_the_front() {
        let whole = format!("Normal 9000 {FIRST_WANTED}");
        for (before, expected) in [(1500, &*whole), (500, "Normal 9000 496 cut")] {
            let mut frames = frames();
            let stream = long(9000);
            assert!(cut(&mut frames, &stream[..before], 100, 10).is_empty());
            let hole = stream.len() - before;
            assert_eq!(frames.gap(hole as u64), GapOutcome::InFrame);
            let out = cut(&mut frames, &[0; 4], 99, 1024);
            assert_eq!(out, [expected, "Tick 0 0"]);
        }
    }

    #[test]
    fn a_gap_over_the_end_of_a_frame_loses_the_start_of_the_next() {
        for before in [2, 500, 1500] {
            let mut frames = frames();
            let stream = long(9000);
            assert!(cut(&mut frames, &stream[..before], 100, 10).is_empty());
            assert_eq!(frames.gap((stream.len() - before) as u64 + 1), GapOutcome::Lost);
            assert_eq!(cut(&mut frames, &[0; 4], 99, 10), ["Tick 0 0"]);
        }
        assert_eq!(frames().gap(1), GapOutcome::Lost);
    }

    #[test]
    fn bytes_that_begin_no_frame_end_the_reading() {
        for (stream, expected) in [
            (&b"\0\0\0\x05hello"[..], "NoFrame 5 [104, 101]"),
            (b"\0\0\0\x01\x83D", "NoFrame 1 [131, 68]"),
            (b"GET / HTTP", "NoFrame 1195725856 [47, 32]"),
        ] {
            for size in [1, 3, 99] {
                assert_eq!(cut(&mut frames(), stream, size, 99), [expected]);
            }
        }
    }
}
