//! Frames that wait until it is known whether they matter, and those behind them.
//!
//! Frames leave in the order in which they came. A frame that opens a connection matters if the first payload does, so it
//! waits for that; the frames behind it wait with it.
//!
//! The clock of an engine follows the latest frame. If a frame that matters comes behind later ones, and the latest of those
//! is left out, the time of that one matters: it is kept without its bytes.

use std::collections::VecDeque;

use crate::capture::{Comment, Frame, LinkType};
use crate::packet::FrameRef;
use crate::time::Timestamp;

/// What a selection keeps, in the order of the input.
#[derive(Debug)]
pub enum KeptItem<'a, I> {
    /// A frame of the input.
    Frame(&'a Frame<'a>),
    /// Anything else, which always matters.
    Other(I),
}

/// Takes what is kept.
pub trait KeptItems<I> {
    /// Takes the next item.
    fn on_kept(&mut self, item: KeptItem<'_, I>);
}

/// Frames and other items in the order of the input.
#[derive(Debug)]
pub(super) struct WaitingItems<I> {
    items: VecDeque<WaitingItem<I>>,
    /// The state of each item: apart, because few of the items are looked at again before they leave.
    states: VecDeque<ItemState>,
    /// Number of items that have left. The items in the queue are numbered from here.
    left: u64,
    /// The bytes of the frames in the queue.
    bytes: FrameBytes,
    /// Bytes of the other items in the queue.
    other_bytes: usize,
    /// Number of frames that were kept or have waited.
    taken: u64,
    /// Whether the next frame is kept whatever becomes of it.
    keeps_next: bool,
    /// The latest frame, as long as it is not kept: all that matter are earlier, or before it.
    held: Option<ClockFrame>,
    /// Latest time of a frame that is kept or held.
    clock_at: Timestamp,
}

/// What is needed of a frame for the clock of an engine. Its bytes would have to be copied for nearly every frame of a capture.
#[derive(Debug)]
struct ClockFrame {
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    /// The number by which it waits.
    waits_as: Option<u64>,
}

#[derive(Debug)]
enum WaitingItem<I> {
    Frame(FrameInQueue),
    Other { item: I, bytes: usize },
}

/// A frame without its bytes.
#[derive(Debug)]
struct FrameInQueue {
    id: FrameRef,
    at: Timestamp,
    link: LinkType,
    interface: Option<u32>,
    wire_len: u32,
    bytes: BytesRange,
    comments: Box<[Comment]>,
}

/// Bytes of frames one behind the other, in blocks that are used again: an allocation for each frame took a third of the
/// time.
#[derive(Debug, Default)]
struct FrameBytes {
    blocks: VecDeque<Vec<u8>>,
    /// Number of blocks that were emptied. Those in the queue are numbered from here.
    emptied: u64,
    /// A block that was emptied.
    spare: Option<Vec<u8>>,
    /// Number of bytes of all frames in the queue.
    len: usize,
}

/// Place of the bytes of one frame: in one block.
#[derive(Clone, Copy, Debug, Default)]
struct BytesRange {
    block: u64,
    start: usize,
    len: usize,
}

impl FrameBytes {
    fn push(&mut self, bytes: &[u8]) -> BytesRange {
        let has_room = |block: &Vec<u8>| block.capacity() - block.len() >= bytes.len();
        if !self.blocks.back().is_some_and(has_room) {
            let spare = self.spare.take().filter(has_room);
            let new = || Vec::with_capacity(BLOCK.max(bytes.len()));
            self.blocks.push_back(spare.unwrap_or_else(new));
        }
        let block = self.emptied + (self.blocks.len() as u64).saturating_sub(1);
        let start = self.blocks.back().map_or(0, Vec::len);
        if let Some(last) = self.blocks.back_mut() {
            last.extend_from_slice(bytes);
        }
        self.len += bytes.len();
        BytesRange { block, start, len: bytes.len() }
    }

    fn get(&self, BytesRange { block, start, len }: BytesRange) -> &[u8] {
        let index = usize::try_from(block.wrapping_sub(self.emptied)).unwrap_or(usize::MAX);
        let block = self.blocks.get(index);
        block.and_then(|bytes| bytes.get(start..start + len)).unwrap_or_default()
    }

    /// The frame with these bytes has left, and all before it.
    fn leave(&mut self, BytesRange { block, len, .. }: BytesRange) {
        self.len -= len;
        while self.emptied < block
            && let Some(mut emptied) = self.blocks.pop_front()
        {
            emptied.clear();
            self.emptied += 1;
            self.spare = Some(emptied);
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ItemState {
    Kept,
    Undecided,
    Dropped,
}

impl<I> Default for WaitingItems<I> {
    fn default() -> Self {
        let (items, states) = (VecDeque::new(), VecDeque::new());
        let (bytes, held, clock_at) = (FrameBytes::default(), None, Timestamp::default());
        let (left, other_bytes, taken, keeps_next) = (0, 0, 0, false);
        Self { items, states, left, bytes, other_bytes, taken, keeps_next, held, clock_at }
    }
}

impl<I> WaitingItems<I> {
    /// Number of frames that were kept or have waited.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Lets the next frame not wait: it is kept.
    pub(super) const fn keep_next(&mut self) {
        self.keeps_next = true;
    }

    /// Keeps a frame, behind those that wait.
    pub(super) fn keep(&mut self, frame: &Frame<'_>, out: &mut impl KeptItems<I>) {
        self.taken += 1;
        self.keeps_next = false;
        self.keep_held_before(frame.at, out);
        self.keep_in_place(frame, out);
    }

    fn keep_in_place(&mut self, frame: &Frame<'_>, out: &mut impl KeptItems<I>) {
        self.set_clock(frame.at);
        if self.items.is_empty() {
            out.on_kept(KeptItem::Frame(frame));
        } else {
            self.push(frame, ItemState::Kept, out);
        }
    }

    /// Holds a frame that was neither kept nor [waits](Self::wait), if it is the latest.
    #[inline(always)] // the loop over frames
    pub(super) fn hold(&mut self, frame: &Frame<'_>) {
        if frame.at > self.clock_at {
            let Frame { id, at, link, interface, .. } = *frame;
            self.held = Some(ClockFrame { id, at, link, interface, waits_as: None });
            self.clock_at = at;
        }
    }

    /// Holds the frame that came last, if it waits and is the latest.
    #[inline]
    pub(super) fn hold_last(&mut self) {
        let number = (self.left + self.items.len() as u64).saturating_sub(1);
        let Some(WaitingItem::Frame(frame)) = self.items.back() else { return };
        let is_undecided = self.states.back() == Some(&ItemState::Undecided);
        if is_undecided && frame.at > self.clock_at {
            let FrameInQueue { id, at, link, interface, .. } = *frame;
            self.held = Some(ClockFrame { id, at, link, interface, waits_as: Some(number) });
            self.clock_at = at;
        }
    }

    /// Keeps the frame that is held, if one of time `at` comes behind it and is earlier.
    #[inline]
    fn keep_held_before(&mut self, at: Timestamp, out: &mut impl KeptItems<I>) {
        if at < self.clock_at {
            self.keep_held(out);
        }
    }

    #[cold] // most captures are in order
    fn keep_held(&mut self, out: &mut impl KeptItems<I>) {
        let Some(ClockFrame { id, at, link, interface, waits_as }) = self.held.take() else {
            return;
        };
        if let Some(number) = waits_as {
            self.settle([number], true, out);
        } else {
            let (bytes, comments) = (&[][..], &[][..]);
            let frame = Frame { id, at, link, interface, wire_len: 0, bytes, comments };
            self.keep_in_place(&frame, out);
        }
    }

    /// A frame of this time is kept: an earlier one that is held is of no use.
    #[inline]
    fn set_clock(&mut self, at: Timestamp) {
        if at >= self.clock_at {
            self.clock_at = at;
            self.held = None;
        }
    }

    /// Keeps anything but a frame, which takes so many bytes, behind the frames that wait.
    pub(super) fn keep_other(&mut self, item: I, bytes: usize, out: &mut impl KeptItems<I>) {
        if self.items.is_empty() {
            out.on_kept(KeptItem::Other(item));
        } else {
            self.items.push_back(WaitingItem::Other { item, bytes });
            self.states.push_back(ItemState::Kept);
            self.other_bytes += bytes;
            self.bound(out);
        }
    }

    /// Lets a frame wait, unless it is [to be kept](Self::keep_next). Returns its number, by which it is
    /// [settled](Self::settle).
    pub(super) fn wait(&mut self, frame: &Frame<'_>, out: &mut impl KeptItems<I>) -> u64 {
        self.keep_held_before(frame.at, out);
        let number = self.left + self.items.len() as u64;
        self.taken += 1;
        if !std::mem::take(&mut self.keeps_next) {
            self.push(frame, ItemState::Undecided, out);
        } else {
            self.left += u64::from(self.items.is_empty());
            self.keep_in_place(frame, out);
        }
        number
    }

    fn push(&mut self, frame: &Frame<'_>, state: ItemState, out: &mut impl KeptItems<I>) {
        let Frame { id, at, link, interface, wire_len, bytes, comments } = *frame;
        let (bytes, comments) = (self.bytes.push(bytes), comments.into());
        let frame = FrameInQueue { id, at, link, interface, wire_len, bytes, comments };
        self.items.push_back(WaitingItem::Frame(frame));
        self.states.push_back(state);
        self.bound(out);
    }

    /// Lets those leave that wait the longest, if there are too many: what is not known to matter may matter.
    fn bound(&mut self, out: &mut impl KeptItems<I>) {
        while self.bytes.len > MOST_BYTES
            || self.other_bytes > MOST_BYTES
            || self.items.len() > MOST_ITEMS
        {
            self.release_first(out);
        }
    }

    /// The frame of this number, if it still waits.
    pub(super) fn with_frame(&self, number: u64, take: impl FnOnce(&Frame<'_>)) {
        let item = self.place(number).and_then(|place| self.items.get(place));
        if let Some(WaitingItem::Frame(frame)) = item {
            take(&frame.borrowed(&self.bytes));
        }
    }

    /// The place in the queue of the item of this number; `None` if it has left.
    fn place(&self, number: u64) -> Option<usize> {
        number.checked_sub(self.left).and_then(|place| usize::try_from(place).ok())
    }

    /// Whether one of these frames is kept: those that have left were.
    pub(super) fn has_one_kept(&self, mut numbers: impl Iterator<Item = u64>) -> bool {
        numbers.any(|number| match self.place(number) {
            Some(place) => self.states.get(place) == Some(&ItemState::Kept),
            None => true,
        })
    }

    /// Decides over frames that wait: whether they are kept. It was decided over those that have left.
    pub(super) fn settle(
        &mut self,
        numbers: impl IntoIterator<Item = u64>,
        is_kept: bool,
        out: &mut impl KeptItems<I>,
    ) {
        for number in numbers {
            let Some(place) = self.place(number) else { continue };
            let Some(state @ ItemState::Undecided) = self.states.get_mut(place) else { continue };
            *state = if is_kept { ItemState::Kept } else { ItemState::Dropped };
            if is_kept {
                if let Some(WaitingItem::Frame(frame)) = self.items.get(place) {
                    self.set_clock(frame.at);
                }
            } else if let Some(held) = self.held.as_mut().filter(|it| it.waits_as == Some(number)) {
                held.waits_as = None;
            }
        }
        while self.states.front().is_some_and(|state| *state != ItemState::Undecided) {
            self.release_first(out);
        }
    }

    /// Lets leave what waits since before this time.
    pub(super) fn release_before(&mut self, at: Timestamp, out: &mut impl KeptItems<I>) {
        let is_early = |item: &WaitingItem<I>| match item {
            WaitingItem::Frame(frame) => frame.at < at,
            WaitingItem::Other { .. } => true,
        };
        while self.items.front().is_some_and(is_early) {
            self.release_first(out);
        }
    }

    /// Lets everything leave: what is undecided may matter.
    pub(super) fn release(&mut self, out: &mut impl KeptItems<I>) {
        while !self.items.is_empty() {
            self.release_first(out);
        }
    }

    fn release_first(&mut self, out: &mut impl KeptItems<I>) {
        let (item, state) = (self.items.pop_front(), self.states.pop_front());
        let Some(item) = item else { return };
        self.left += 1;
        match item {
            WaitingItem::Frame(frame) => {
                if state != Some(ItemState::Dropped) {
                    self.set_clock(frame.at);
                    out.on_kept(KeptItem::Frame(&frame.borrowed(&self.bytes)));
                }
                self.bytes.leave(frame.bytes);
            }
            WaitingItem::Other { item, bytes } => {
                self.other_bytes -= bytes;
                out.on_kept(KeptItem::Other(item));
            }
        }
    }
}

impl FrameInQueue {
    fn borrowed<'a>(&'a self, of: &'a FrameBytes) -> Frame<'a> {
        let Self { id, at, link, interface, wire_len, ref comments, .. } = *self;
        Frame { id, at, link, interface, wire_len, bytes: of.get(self.bytes), comments }
    }
}

/// Bytes of frames that wait, and of other items. Beyond, the first that waits is kept.
const MOST_BYTES: usize = 4 << 20;

/// Frames that wait: those of several thousand connections that are being opened.
const MOST_ITEMS: usize = 1 << 14;

/// Bytes of a block: small beside all, and for many frames.
const BLOCK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of the frames that were kept, and the other items.
    #[derive(Default)]
    struct Seen(Vec<u64>, Vec<&'static str>);

    impl KeptItems<&'static str> for Seen {
        fn on_kept(&mut self, item: KeptItem<'_, &'static str>) {
            match item {
                KeptItem::Frame(frame) => self.0.push(frame.id.number),
                KeptItem::Other(other) => self.1.push(other),
            }
        }
    }

    fn frame(number: u64, bytes: &[u8]) -> Frame<'_> {
        Frame {
            id: FrameRef { input: 0, number },
            at: Timestamp(number),
            link: LinkType::ETHERNET,
            interface: None,
            wire_len: 0,
            bytes,
            comments: &[],
        }
    }

    #[test]
    fn frames_leave_in_their_order_whenever_they_are_settled() {
        let (mut waiting, mut seen) = (WaitingItems::default(), Seen::default());
        waiting.keep_next();
        let first = waiting.wait(&frame(1, b""), &mut seen);
        assert_eq!(
            (&*seen.0, waiting.has_one_kept([first].into_iter())),
            (&[1][..], true),
            "the first"
        );
        let [a, b] = [2, 3].map(|number| waiting.wait(&frame(number, b""), &mut seen));
        waiting.keep(&frame(4, b""), &mut seen);
        waiting.keep_other("names", 5, &mut seen);
        let c = waiting.wait(&frame(5, b""), &mut seen);
        waiting.settle([b], true, &mut seen);
        assert_eq!((&*seen.0, seen.1.len()), (&[1][..], 0), "{a} comes first");
        waiting.settle([a], false, &mut seen);
        assert_eq!((&*seen.0, &*seen.1), (&[1, 3, 4][..], &["names"][..]));
        // What has left was kept, and stays so.
        waiting.settle([first, a, b], false, &mut seen);
        assert!(waiting.has_one_kept([a].into_iter()) && !waiting.has_one_kept([c].into_iter()));
        // The first of another input is kept, and stays behind those that wait.
        waiting.keep_next();
        let d = waiting.wait(&frame(6, b""), &mut seen);
        let e = waiting.wait(&frame(7, b""), &mut seen);
        assert!(waiting.has_one_kept([e, d].into_iter()) && !waiting.has_one_kept([e].into_iter()));
        waiting.settle([d, e], false, &mut seen);
        assert_eq!(seen.0, [1, 3, 4]);
        waiting.release(&mut seen);
        assert_eq!(seen.0, [1, 3, 4, 5, 6]);
    }

    /// A frame of this number, captured so many seconds late.
    fn late(number: u64, seconds: u64) -> Frame<'static> {
        Frame { at: Timestamp::new(seconds, 0), ..frame(number, b"late") }
    }

    #[test]
    fn the_latest_frame_is_kept_if_an_earlier_one_behind_it_is() {
        let kept = |take: fn(&mut WaitingItems<&'static str>, &mut Seen)| {
            let (mut waiting, mut seen) = (WaitingItems::default(), Seen::default());
            waiting.keep(&late(1, 1), &mut seen);
            take(&mut waiting, &mut seen);
            waiting.keep(&late(9, 1), &mut seen);
            waiting.release(&mut seen);
            seen.0
        };
        let none = kept(|_, _| {});
        assert_eq!(none, [1, 9]);
        let held = kept(|waiting, _| waiting.hold(&late(2, 5)));
        assert_eq!(held, [1, 2, 9]);
        let close = kept(|waiting, _| {
            waiting.hold(&late(2, 5));
            waiting.hold(&Frame { at: Timestamp(late(2, 5).at.0 + 1), ..late(3, 5) });
        });
        assert_eq!(close, [1, 3, 9], "the latest, however close");
        let earlier =
            kept(|waiting, _| [late(2, 5), late(3, 4)].iter().for_each(|it| waiting.hold(it)));
        assert_eq!(earlier, [1, 2, 9], "the latest, and not the last");
        let behind = kept(|waiting, seen| {
            waiting.hold(&late(2, 5));
            waiting.keep(&late(3, 7), seen);
        });
        assert_eq!(behind, [1, 3, 9], "one that is kept is later");
        let waits = kept(|waiting, seen| {
            waiting.wait(&late(2, 5), seen);
            waiting.hold_last();
        });
        assert_eq!(waits, [1, 2, 9]);
        let dropped = kept(|waiting, seen| {
            let number = waiting.wait(&late(2, 5), seen);
            waiting.hold_last();
            waiting.settle([number], false, seen);
        });
        assert_eq!(dropped, [1, 2, 9]);
        let settled = kept(|waiting, seen| {
            let number = waiting.wait(&late(2, 5), seen);
            waiting.hold_last();
            waiting.settle([number], true, seen);
        });
        assert_eq!(settled, [1, 2, 9], "once");
        let undecided = kept(|waiting, seen| {
            waiting.hold(&late(2, 5));
            let number = waiting.wait(&late(3, 3), seen);
            waiting.settle([number], false, seen);
        });
        assert_eq!(undecided, [1, 2, 9], "before one that waits");
    }

    /// Lengths of the frames that were kept.
    struct Lengths(Vec<(usize, u32)>);

    impl KeptItems<&'static str> for Lengths {
        fn on_kept(&mut self, item: KeptItem<'_, &'static str>) {
            if let KeptItem::Frame(frame) = item {
                self.0.push((frame.bytes.len(), frame.wire_len));
            }
        }
    }

    #[test]
    fn a_frame_that_is_kept_for_its_time_alone_has_no_bytes() {
        let (mut waiting, mut seen) = (WaitingItems::default(), Lengths(Vec::new()));
        let whole = |number, seconds| Frame { wire_len: 4, ..late(number, seconds) };
        waiting.keep(&whole(1, 1), &mut seen);
        waiting.hold(&whole(2, 5));
        waiting.keep(&whole(3, 1), &mut seen);
        // One that had waited has its bytes.
        waiting.wait(&whole(4, 6), &mut seen);
        waiting.hold_last();
        waiting.keep(&whole(5, 1), &mut seen);
        assert_eq!(seen.0, [(4, 4), (0, 0), (4, 4), (4, 4), (4, 4)]);
    }

    #[test]
    fn frames_that_have_waited_for_long_leave_with_those_behind_them() {
        let (mut waiting, mut seen) = (WaitingItems::default(), Seen::default());
        waiting.wait(&late(1, 1), &mut seen);
        waiting.keep_other("names", 5, &mut seen);
        waiting.keep(&late(2, 2), &mut seen);
        waiting.wait(&late(3, 9), &mut seen);
        waiting.release_before(late(0, 1).at, &mut seen);
        assert_eq!((&*seen.0, seen.1.len()), (&[][..], 0));
        waiting.release_before(late(0, 8).at, &mut seen);
        assert_eq!((&*seen.0, &*seen.1), (&[1, 2][..], &["names"][..]));
        assert_eq!(waiting.items.len(), 1);
    }

    #[test]
    fn frames_that_are_never_settled_are_kept_and_bounded() {
        let (mut waiting, mut seen) = (WaitingItems::default(), Seen::default());
        let bytes = vec![0; 1000];
        for number in 1..=10_000 {
            waiting.wait(&frame(number, &bytes), &mut seen);
            assert!(waiting.bytes.len <= MOST_BYTES && waiting.items.len() <= MOST_ITEMS);
        }
        waiting.release(&mut seen);
        assert!(seen.0.iter().copied().eq(1..=10_000));
    }
}
