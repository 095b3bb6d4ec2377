//! One direction after the handshake, cut into frames.
//!
//! In: bytes and gaps in stream order. Out: each frame once it has passed as a whole, with the bytes at
//! its front that tell what it is. Nothing behind those is ever kept: a frame of a gigabyte costs what its
//! front costs.

use crate::memory::Reservation;
use crate::wire::header::FrameKind;

/// A frame that has passed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Frame<'a> {
    pub(super) kind: FrameKind,
    /// Bytes behind the length prefix.
    pub(super) len: u32,
    /// The first of them: all, or as many as were wanted.
    pub(super) head: &'a [u8],
    /// The capture lacks bytes of the head.
    pub(super) is_cut: bool,
}

/// What a walk over a stretch of the stream comes to next.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// A frame.
    Frame(Frame<'a>),
    /// The end of the stretch.
    Ended(Walked),
}

/// How a walk over a stretch of the stream ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::protocol) enum Walked {
    /// The stretch is used up.
    Whole,
    /// Where a frame should begin stand bytes that begin none. The length said so much.
    Broken {
        /// The length prefix.
        len: u32,
        /// The bytes behind it.
        start: [u8; 2],
    },
}

/// What becomes of a hole in the stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hole {
    /// The frames go on behind it.
    Passed,
    /// Where the next frame begins is not known.
    Lost,
}

/// Cuts frames. Holds the front of the current one where it did not come in one piece.
#[derive(Debug)]
pub(super) struct Frames {
    /// Length prefix and front of the current frame, unless all of it lies in the input.
    held: Vec<u8>,
    memory: Reservation,
    at: At,
    /// Frames whose kind was seen, whole or not.
    begun: u64,
}

/// Where in a frame the stream stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum At {
    /// In its length prefix or kind, or before them.
    Start,
    /// In its front, of which so many bytes are wanted, the prefix included.
    Front { wanted: usize },
    /// Behind its front, or behind a hole in it.
    Rest { left: u64, is_cut: bool },
    /// Behind a frame whose front is still held.
    BackgroundWriter,
}

impl Frames {
    pub(super) const fn new(memory: Reservation) -> Self {
        Self { held: Vec::new(), memory, at: At::Start, begun: 0 }
    }

    /// Frames whose kind was seen, whole or not.
    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }

    /// Walks over what comes next up to the end of a frame, and takes from `input` what it walked over. `wants`
    /// is asked, for a frame that comes in pieces and once so much of it is here, how many bytes of its body
    /// are to be kept.
    #[inline]
    pub(super) fn next<'f, 'a: 'f>(
        &'f mut self,
        input: &mut &'a [u8],
        wants: impl Fn(FrameKind, &[u8]) -> usize,
    ) -> Step<'f> {
        if self.held.is_empty() {
            if input.is_empty() {
                return Step::Ended(Walked::Whole);
            }
            // Nearly all lie in the input as wholes: nothing is copied.
            if let Some((frame, behind)) = whole(input) {
                self.begun += 1;
                *input = behind;
                return Step::Frame(frame);
            }
            // Nearly all others begin with their length and kind in it: those are not held one by one.
            if let Some((len, kind)) = input.get(..START).map(start) {
                self.begin(len, kind);
            }
        }
        self.next_of_pieces(input, wants)
    }

    fn next_of_pieces<'f, 'a: 'f>(
        &'f mut self,
        input: &mut &'a [u8],
        wants: impl Fn(FrameKind, &[u8]) -> usize,
    ) -> Step<'f> {
        loop {
            match self.at {
                At::BackgroundWriter => {
                    self.clear();
                    return self.next(input, wants);
                }
                At::Start => {
                    if !self.fill(input, PREFIX) {
                        return Step::Ended(Walked::Whole);
                    }
                    if self.start().0 == 0 {
                        self.begun += 1;
                        self.clear();
                        return Step::Frame(TICK);
                    }
                    if !self.fill(input, START) {
                        return Step::Ended(Walked::Whole);
                    }
                    let (len, kind) = self.start();
                    if !self.begin(len, kind) {
                        let start = [4, 5].map(|at| self.held.get(at).copied().unwrap_or(0));
                        self.clear();
                        return Step::Ended(Walked::Broken { len, start });
                    }
                }
                At::Front { wanted } => {
                    if !self.fill(input, wanted) {
                        return Step::Ended(Walked::Whole);
                    }
                    let (len, kind) = self.start();
                    let whole = PREFIX.saturating_add(size(len));
                    let mut more = whole;
                    if wanted < whole {
                        let head = self.held.get(PREFIX..).unwrap_or_default();
                        more = PREFIX.saturating_add(wants(kind, head).min(MAX_HEAD)).min(whole);
                    }
                    self.at = if more > wanted && self.memory.take(more - wanted) {
                        At::Front { wanted: more }
                    } else {
                        At::Rest { left: (whole - self.held.len()) as u64, is_cut: more > wanted }
                    };
                }
                At::Rest { left, is_cut } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    *input = input.get(here..).unwrap_or_default();
                    let left = left - here as u64;
                    if left > 0 {
                        self.at = At::Rest { left, is_cut };
                        return Step::Ended(Walked::Whole);
                    }
                    self.at = At::BackgroundWriter;
                    let (len, kind) = self.start();
                    let head = self.held.get(PREFIX..).unwrap_or_default();
                    return Step::Frame(Frame { kind, len, head, is_cut });
                }
            }
        }
    }

    /// The capture does not have the next `bytes`.
    pub(super) fn gap(&mut self, bytes: u64) -> Hole {
        match self.at {
            At::Rest { left, is_cut } if bytes <= left => {
                self.at = At::Rest { left: left - bytes, is_cut };
                Hole::Passed
            }
            At::Front { .. } => {
                let (len, _) = self.start();
                let left = (PREFIX as u64 + u64::from(len)).saturating_sub(self.held.len() as u64);
                if bytes <= left {
                    self.at = At::Rest { left: left - bytes, is_cut: true };
                    Hole::Passed
                } else {
                    self.clear();
                    Hole::Lost
                }
            }
            At::Start | At::Rest { .. } | At::BackgroundWriter => {
                self.clear();
                Hole::Lost
            }
        }
    }

    /// Holds bytes of `input` up to `wanted` in all; false when there are not enough.
    fn fill(&mut self, input: &mut &[u8], wanted: usize) -> bool {
        let here = wanted.saturating_sub(self.held.len()).min(input.len());
        if let Some((now, later)) = input.split_at_checked(here) {
            self.held.extend_from_slice(now);
            *input = later;
        }
        self.held.len() >= wanted
    }

    /// Length and kind of the frame whose front is held.
    fn start(&self) -> (u32, FrameKind) {
        start(&self.held)
    }

    /// A frame begins, of such a length and kind; false where no frame does so.
    fn begin(&mut self, len: u32, kind: FrameKind) -> bool {
        let is_frame = len >= 2 && kind != FrameKind::Unknown;
        if is_frame {
            self.begun += 1;
            self.at = At::Front { wanted: PREFIX + FIRST_WANTED.min(size(len)) };
        }
        is_frame
    }

    fn clear(&mut self) {
        self.held.clear();
        // A long head is rare, and its room is given back.
        if self.held.capacity() > PREFIX + FIRST_WANTED {
            self.held = Vec::new();
        }
        self.memory.release_all();
        self.at = At::Start;
    }
}

/// Length and kind of the frame at the front of `bytes`.
fn start(bytes: &[u8]) -> (u32, FrameKind) {
    let len = bytes.first_chunk::<PREFIX>().map_or(0, |len| u32::from_be_bytes(*len));
    (len, FrameKind::of(bytes.get(PREFIX..START).unwrap_or_default()))
}

/// The frame at the front of `input`, where all of it lies there, and what stands behind it.
#[inline]
fn whole(input: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (prefix, rest) = input.split_first_chunk::<PREFIX>()?;
    let len = u32::from_be_bytes(*prefix);
    let (body, behind) = rest.split_at_checked(size(len))?;
    let kind = FrameKind::of(body);
    let head = body.get(..MAX_HEAD).unwrap_or(body);
    (kind != FrameKind::Unknown).then_some((Frame { kind, len, head, is_cut: false }, behind))
}

const TICK: Frame<'_> = Frame { kind: FrameKind::Tick, len: 0, head: &[], is_cut: false };

fn size(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

const PREFIX: usize = 4;

/// Length prefix and kind.
const START: usize = PREFIX + 2;

/// Bytes of a frame kept at first where it comes in pieces: header and control term of nearly every
/// message, with as much as is looked at of what it carries.
const FIRST_WANTED: usize = 640;

/// Most bytes of a frame that are looked at. The longest distribution header has 255 atoms of 1,020 bytes,
/// 260,994 in all; control terms are short, but for the reasons in those of OTP 21 and older.
pub(super) const MAX_HEAD: usize = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryBudget;

    fn frames() -> Frames {
        Frames::new(MemoryBudget::new(MAX_HEAD).reservation())
    }

    /// Walks over `stream` in pieces of `size` bytes, and tells each frame.
    fn walk(frames: &mut Frames, stream: &[u8], size: usize, wanted: usize) -> Vec<String> {
        let mut told = Vec::new();
        for mut piece in stream.chunks(size) {
            let walked = loop {
                match frames.next(&mut piece, |_, _| wanted) {
                    Step::Frame(Frame { kind, len, head, is_cut }) => {
                        let head = if wanted < head.len() { &head[..wanted] } else { head };
                        let cut = if is_cut { " cut" } else { "" };
                        told.push(format!("{kind:?} {len} {}{cut}", head.len()));
                    }
                    Step::Ended(walked) => break walked,
                }
            };
            if let Walked::Broken { len, start } = walked {
                told.push(format!("Broken {len} {start:?}"));
                break;
            }
        }
        told
    }

    #[test]
    fn any_segmentation_gives_the_same_frames() {
        let stream = b"\0\0\0\0\0\0\0\x06\x83D\0haa\0\0\0\x05p\x83haa\0\0\0\0\0\0\0\x02\x83E";
        let expected =
            ["Tick 0 0", "Normal 6 6", "PassThrough 5 5", "Tick 0 0", "FirstFragment 2 2"];
        for size in 1..40 {
            let mut frames = frames();
            assert_eq!(walk(&mut frames, stream, size, 99), expected, "{size}");
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
    fn of_a_frame_in_pieces_as_much_is_kept_as_is_wanted() {
        for (wanted, kept) in [(10, 10), (1024, 1024), (5000, 5000), (1 << 20, 9000)] {
            let mut frames = frames();
            let told = walk(&mut frames, &long(9000), 100, wanted);
            assert_eq!(told, [format!("Normal 9000 {kept}")]);
            assert!(frames.held.capacity() <= PREFIX + FIRST_WANTED);
        }
    }

    #[test]
    fn a_frame_of_a_gigabyte_keeps_its_front_alone() {
        let mut frames = frames();
        let mut stream = long(1 << 30 >> 10);
        stream[..4].copy_from_slice(&(1_u32 << 30).to_be_bytes());
        assert!(walk(&mut frames, &stream, 1448, 600).is_empty());
        assert!(frames.held.len() <= PREFIX + FIRST_WANTED);
    }

    #[test]
    fn without_room_a_long_front_is_cut_and_the_frame_keeps_its_place() {
        let mut frames = Frames::new(MemoryBudget::new(2000).reservation());
        let stream = [long(9000), vec![0; 4]].concat();
        let cut = format!("Normal 9000 {FIRST_WANTED} cut");
        assert_eq!(walk(&mut frames, &stream, 100, 5000), [&cut, "Tick 0 0"]);
        let stream = long(2500);
        assert_eq!(walk(&mut frames, &stream, 100, 2500), ["Normal 2500 2500"], "given back");
    }

    #[test]
    fn a_hole_behind_the_front_costs_nothing_and_one_in_it_the_front() {
        let whole = format!("Normal 9000 {FIRST_WANTED}");
        for (before, told) in [(1500, &*whole), (500, "Normal 9000 496 cut")] {
            let mut frames = frames();
            let stream = long(9000);
            assert!(walk(&mut frames, &stream[..before], 100, 10).is_empty());
            let hole = stream.len() - before;
            assert_eq!(frames.gap(hole as u64), Hole::Passed);
            let out = walk(&mut frames, &[0; 4], 99, 1024);
            assert_eq!(out, [told, "Tick 0 0"]);
        }
    }

    #[test]
    fn a_hole_over_the_end_of_a_frame_loses_the_place() {
        for before in [2, 500, 1500] {
            let mut frames = frames();
            let stream = long(9000);
            assert!(walk(&mut frames, &stream[..before], 100, 10).is_empty());
            assert_eq!(frames.gap((stream.len() - before) as u64 + 1), Hole::Lost);
            assert_eq!(walk(&mut frames, &[0; 4], 99, 10), ["Tick 0 0"]);
        }
        assert_eq!(frames().gap(1), Hole::Lost);
    }

    #[test]
    fn bytes_that_begin_no_frame_end_the_walk() {
        for (stream, told) in [
            (&b"\0\0\0\x05hello"[..], "Broken 5 [104, 101]"),
            (b"\0\0\0\x01\x83D", "Broken 1 [131, 68]"),
            (b"GET / HTTP", "Broken 1195725856 [47, 32]"),
        ] {
            for size in [1, 3, 99] {
                assert_eq!(walk(&mut frames(), stream, size, 99), [told]);
            }
        }
    }
}
